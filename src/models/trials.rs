//! The trial ledger: every configuration ever evaluated, appended and never changed.
//!
//! The number of trials of a deflated Sharpe ratio is the number of distinct configurations of the family over all
//! snapshots and runs, pruned, failed and merely begun ones included: a configuration stands here before its first fit,
//! and a run that is stopped because of what it showed has been counted.

use crate::models::registry::Registry;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataPath;
use data_layer::store;
use data_layer::time::TradingDay;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One evaluated configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub family: String,
    pub space_sha256: String,
    pub config_sha256: String,
    pub config: Value,
    pub seed: u64,
    pub rung: u32,
    pub fold: u32,
    pub data_snapshot: String,
    pub code: String,
    /// `started`, `done`, `pruned` or `failed`; a configuration that was begun has a row of its own for that.
    pub status: String,
    pub metrics: Value,
    pub returns_path: Option<DataPath>,
    pub run_id: String,
}

/// The fold under which the beginning of a configuration is entered.
pub const STARTED_FOLD: u32 = u32::MAX;

/// What the ledger says of a family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FamilyTrials {
    /// Distinct configurations ever tried.
    pub n: usize,
    /// Row by row: the distinct configurations up to and with it, and its own Sharpe ratio (per period) where it has one.
    pub history: Vec<(u64, Option<f64>)>,
}

impl Registry {
    /// Append a trial unless its key is there already. Returns whether a row was added.
    pub fn append_trial(&self, trial: &Trial) -> Result<bool> {
        self.db().write(|tx| {
            let known: Option<i64> = tx
                .query_row(
                    "SELECT seq FROM trials WHERE family = ?1 AND config_sha256 = ?2 AND fold = ?3 AND seed = ?4 AND data_snapshot = ?5",
                    params![trial.family, trial.config_sha256, trial.fold, seed_column(trial.seed)?, trial.data_snapshot],
                    |r| r.get(0),
                )
                .optional()?;
            if known.is_some() {
                return Ok(false);
            }
            let last: Option<(i64, String)> =
                tx.query_row("SELECT seq, hash FROM trials ORDER BY seq DESC LIMIT 1", [], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            let (seq, prev) = last.map_or((1, String::new()), |(seq, hash)| (seq + 1, hash));
            let hash = chain(seq, &prev, trial)?;
            tx.execute(
                "INSERT INTO trials (seq, family, space_sha256, config_sha256, config_json, seed, rung, fold, data_snapshot, code, status, metrics_json,
                 returns_path, run_id, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
                params![
                    seq,
                    trial.family,
                    trial.space_sha256,
                    trial.config_sha256,
                    store::canonical_json(&trial.config)?,
                    seed_column(trial.seed)?,
                    trial.rung,
                    trial.fold,
                    trial.data_snapshot,
                    trial.code,
                    trial.status,
                    store::canonical_json(&trial.metrics)?,
                    trial.returns_path.as_ref().map(DataPath::as_str),
                    trial.run_id,
                    prev,
                    hash
                ],
            )?;
            Ok(true)
        })
    }

    /// Rows of the ledger, of all families.
    pub fn trials_ever(&self) -> Result<i64> {
        Ok(self.db().lock()?.query_row("SELECT coalesce(max(seq), 0) FROM trials", [], |r| r.get(0))?)
    }

    /// Every trial of every family in the order of the ledger.
    pub fn all_trials(&self) -> Result<Vec<Trial>> {
        Ok(all(&*self.db().lock()?)?.into_iter().map(|r| r.1).collect())
    }

    /// Every trial of a family in the order of the ledger.
    pub fn trials(&self, family: &str) -> Result<Vec<Trial>> {
        self.trials_until(family, i64::MAX)
    }

    /// Every trial of a family among the first `ledger` rows.
    pub(crate) fn trials_until(&self, family: &str, ledger: i64) -> Result<Vec<Trial>> {
        let rows = all(&*self.db().lock()?)?;
        Ok(rows.into_iter().take_while(|r| r.0 <= ledger).map(|r| r.1).filter(|t| t.family == family).collect())
    }

    /// The number of distinct configurations of a family, and their Sharpe ratios.
    pub fn family(&self, family: &str) -> Result<FamilyTrials> {
        self.family_until(family, i64::MAX)
    }

    /// [`Registry::family`] among the first `ledger` rows.
    pub(crate) fn family_until(&self, family: &str, ledger: i64) -> Result<FamilyTrials> {
        let mut out = FamilyTrials::default();
        let mut seen = BTreeSet::new();
        for trial in self.trials_until(family, ledger)? {
            seen.insert(trial.config_sha256);
            out.history.push((seen.len() as u64, trial.metrics.get("sharpe_per_period").and_then(Value::as_f64)));
        }
        out.n = seen.len();
        Ok(out)
    }

    /// The newest session that any search of a family could see; none where nothing was searched.
    pub fn searched_until(&self, family: &str) -> Result<Option<TradingDay>> {
        Ok(self.trials(family)?.iter().filter_map(asof).max())
    }

    /// Walk the hash chain from its first row.
    pub fn verify_trials(&self) -> Result<()> {
        let (mut expected, mut prev) = (1, String::new());
        for (seq, trial, prev_hash, hash) in all(&*self.db().lock()?)? {
            if seq != expected || prev_hash != prev || chain(seq, &prev, &trial)? != hash {
                return Err(Error::new(code::SSD_CHAIN, text!("the trial ledger's chain is broken at row {seq}"))
                    .cause("a row was changed, inserted or removed outside the program")
                    .fix("restore models/registry.sqlite from control/backup, then run the same command"));
            }
            (expected, prev) = (seq + 1, hash);
        }
        Ok(())
    }
}

/// The newest session of a trial's data: recorded, or in older rows part of the folder of its returns.
fn asof(trial: &Trial) -> Option<TradingDay> {
    let recorded = trial.metrics.get("asof").and_then(Value::as_str);
    let folder = || trial.returns_path.as_ref()?.as_str().split('/').nth(2)?.strip_prefix(&format!("{}-", trial.family))?.get(..10);
    recorded.or_else(folder)?.parse().ok()
}

fn seed_column(seed: u64) -> Result<i64> {
    i64::try_from(seed).map_err(|_| Error::new(code::CFG_VALUE, "a seed must be below 2^63"))
}

/// SHA-256 over the previous hash and the row's canonical JSON.
fn chain(seq: i64, prev: &str, t: &Trial) -> Result<String> {
    let row = json!({
        "seq": seq, "family": t.family, "space_sha256": t.space_sha256, "config_sha256": t.config_sha256, "config_json": t.config, "seed": t.seed,
        "rung": t.rung, "fold": t.fold, "data_snapshot": t.data_snapshot, "code": t.code, "status": t.status, "metrics_json": t.metrics,
        "returns_path": t.returns_path, "run_id": t.run_id,
    });
    Ok(store::sha256_hex(format!("{prev}{}", store::canonical_json(&row)?).as_bytes()))
}

type Chained = (i64, Trial, String, String);

fn all(conn: &Connection) -> Result<Vec<Chained>> {
    let mut statement = conn.prepare(
        "SELECT seq, family, space_sha256, config_sha256, config_json, seed, rung, fold, data_snapshot, code, status, metrics_json, returns_path, run_id,
         prev_hash, hash FROM trials ORDER BY seq",
    )?;
    let rows = statement.query_map([], |r| {
        let json = |i: usize| r.get::<_, String>(i).map(|t| serde_json::from_str::<Value>(&t).unwrap_or(Value::Null));
        let path: Option<String> = r.get(12)?;
        let trial = Trial {
            family: r.get(1)?,
            space_sha256: r.get(2)?,
            config_sha256: r.get(3)?,
            config: json(4)?,
            seed: u64::try_from(r.get::<_, i64>(5)?).unwrap_or(0),
            rung: r.get(6)?,
            fold: r.get(7)?,
            data_snapshot: r.get(8)?,
            code: r.get(9)?,
            status: r.get(10)?,
            metrics: json(11)?,
            returns_path: path.and_then(|p| DataPath::new(p).ok()),
            run_id: r.get(13)?,
        };
        Ok((r.get(0)?, trial, r.get(14)?, r.get(15)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<Vec<Chained>>>()?)
}
