//! `models/registry.sqlite`: models, their stages and the events that moved them. Shadow days are in [`super::shadow_days`],
//! the trial ledger in [`super::trials`].
//!
//! One champion per strategy is a unique index, not a convention. Trials and events are append-only (triggers refuse
//! updates and deletes), trials are hash-chained, and the number of trials that a deflated Sharpe ratio is told comes
//! from here: no command lowers it.

use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::UtcTime;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a model stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Candidate,
    Challenger,
    Shadow,
    Champion,
    Retired,
    Rejected,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => term!("candidate"),
            Self::Challenger => term!("challenger"),
            Self::Shadow => term!("shadow"),
            Self::Champion => term!("champion"),
            Self::Retired => term!("retired"),
            Self::Rejected => term!("rejected"),
        }
    }
    fn parse(text: &str) -> Result<Self> {
        let all = [Self::Candidate, Self::Challenger, Self::Shadow, Self::Champion, Self::Retired, Self::Rejected];
        all.into_iter().find(|s| s.as_str() == text).ok_or_else(|| Error::new(code::SSD_DAMAGED, text!("the registry holds the unknown stage '{text}'")))
    }
}

/// A registered model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRow {
    pub strategy: String,
    pub version: String,
    /// The artifact's folder.
    pub path: DataPath,
    /// SHA-256 of the artifact's `manifest.json`.
    pub sha256: String,
    pub stage: Stage,
    pub family: String,
    pub metrics: Value,
    pub config: Value,
    pub data_snapshot: String,
    pub run_id: String,
    pub created_at: UtcTime,
    pub activated_at: Option<UtcTime>,
    pub deactivated_at: Option<UtcTime>,
}

impl ModelRow {
    /// The session that the model was trained up to: every version begins with it.
    pub fn session(&self) -> &str {
        self.version.get(..10).unwrap_or(&self.version)
    }
}

/// Something that was decided about a model, whether or not it was applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelEvent {
    pub strategy: String,
    pub version: String,
    pub from_stage: Option<Stage>,
    pub to_stage: Stage,
    /// The rule that decided, such as `register` or `promote_if_beats_champion`.
    pub rule: String,
    pub verdict: Value,
    pub applied: bool,
    pub operator: String,
    pub reason: String,
    pub at: UtcTime,
}

/// The open registry of a data root.
pub struct Registry {
    db: Db,
}

const GUARDS: &str = "
CREATE TRIGGER IF NOT EXISTS trials_no_update BEFORE UPDATE ON trials BEGIN SELECT RAISE(ABORT, 'trials are append-only'); END;
CREATE TRIGGER IF NOT EXISTS trials_no_delete BEFORE DELETE ON trials BEGIN SELECT RAISE(ABORT, 'trials are append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_no_update BEFORE UPDATE ON model_events BEGIN SELECT RAISE(ABORT, 'model_events is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_no_delete BEFORE DELETE ON model_events BEGIN SELECT RAISE(ABORT, 'model_events is append-only'); END;";

impl Registry {
    pub fn open(root: &DataRoot) -> Result<Self> {
        let db = Db::open(root, Which::Registry)?;
        // Looking must not write: a seal on the database would be broken by it.
        let guards = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name IN ('trials_no_update', 'trials_no_delete', 'events_no_update', 'events_no_delete')";
        let guarded: i64 = db.lock()?.query_row(guards, [], |r| r.get(0))?;
        if guarded < 4 {
            db.write(|tx| Ok(tx.execute_batch(GUARDS)?))?;
        }
        Ok(Self { db })
    }

    pub fn db(&self) -> &Db {
        &self.db
    }

    fn now(&self) -> UtcTime {
        self.db.root().host().now()
    }

    /// Add a model in its stage. The same model again is not an error; the same version with other bytes is.
    /// The digest of the program that made it stands in the event, not in the artifact: two builds make the same bytes.
    pub fn register(&self, row: &ModelRow, rule: &str) -> Result<()> {
        let verdict = serde_json::json!({"program_sha256": self.db.root().host().program_sha256()?});
        self.db.write(|tx| {
            if let Some(known) = find(tx, &row.strategy, &row.version)? {
                if known.sha256 == row.sha256 {
                    return Ok(());
                }
                return Err(Error::new(code::DATA_CONFLICT, text!("{} {} is registered with other contents", row.strategy, row.version))
                    .found(text!("{} against {}", known.sha256, row.sha256))
                    .fix("train again: another configuration or snapshot makes another version"));
            }
            insert_model(tx, row)?;
            insert_event(
                tx,
                &ModelEvent {
                    strategy: row.strategy.clone(),
                    version: row.version.clone(),
                    from_stage: None,
                    to_stage: row.stage,
                    rule: rule.into(),
                    verdict,
                    applied: true,
                    operator: "trademl".into(),
                    reason: "registered".into(),
                    at: row.created_at,
                },
            )
        })
    }

    pub fn model(&self, strategy: &str, version: &str) -> Result<Option<ModelRow>> {
        find(&*self.db.lock()?, strategy, version)
    }

    /// Every model of a strategy, oldest first.
    pub fn models(&self, strategy: &str) -> Result<Vec<ModelRow>> {
        let conn = self.db.lock()?;
        let mut statement = conn.prepare(&format!("{SELECT_MODEL} WHERE strategy = ?1 ORDER BY created_at, version"))?;
        let rows = statement.query_map([strategy], read_model)?.collect::<rusqlite::Result<Vec<_>>>()?;
        rows.into_iter().map(RawModel::finish).collect()
    }

    /// The champion, which is what is served. None: `ML_NO_CHAMPION`.
    pub fn champion(&self, strategy: &str) -> Result<ModelRow> {
        self.champion_if_any(strategy)?
            .ok_or_else(|| Error::new(code::ML_NO_CHAMPION, text!("the registry has no champion for '{strategy}'")).fix("trademl train"))
    }

    pub fn champion_if_any(&self, strategy: &str) -> Result<Option<ModelRow>> {
        let conn = self.db.lock()?;
        conn.query_row(&text!("{SELECT_MODEL} WHERE strategy = ?1 AND stage = 'champion'"), [strategy], read_model)
            .optional()?
            .map(RawModel::finish)
            .transpose()
    }

    /// Move a model. A new champion retires the old one in the same transaction; the event is part of it too.
    pub fn set_stage(&self, strategy: &str, version: &str, to: Stage, decision: &Decision<'_>) -> Result<()> {
        let at = self.now();
        self.db.write(|tx| {
            let row = find(tx, strategy, version)?.ok_or_else(|| unknown(strategy, version))?;
            if row.stage == to {
                return Ok(());
            }
            let event = |version: &str, from, to, reason: &str| decision.event(strategy, version, from, to, reason, true, at);
            if to == Stage::Champion {
                let old: Option<String> =
                    tx.query_row("SELECT version FROM models WHERE strategy = ?1 AND stage = 'champion'", [strategy], |r| r.get(0)).optional()?;
                if let Some(old) = old {
                    tx.execute(
                        "UPDATE models SET stage = 'retired', deactivated_at = ?3 WHERE strategy = ?1 AND version = ?2",
                        params![strategy, old, at.to_string()],
                    )?;
                    insert_event(tx, &event(&old, Some(Stage::Champion), Stage::Retired, &text!("replaced by {version}")))?;
                }
                tx.execute(
                    "UPDATE models SET stage = 'champion', activated_at = ?3, deactivated_at = NULL WHERE strategy = ?1 AND version = ?2",
                    params![strategy, version, at.to_string()],
                )?;
            } else {
                let ended = (row.stage == Stage::Champion).then(|| at.to_string());
                tx.execute(
                    "UPDATE models SET stage = ?3, deactivated_at = coalesce(?4, deactivated_at) WHERE strategy = ?1 AND version = ?2",
                    params![strategy, version, to.as_str(), ended],
                )?;
            }
            insert_event(tx, &event(version, Some(row.stage), to, decision.reason))
        })
    }

    /// Record a decision that moved nothing. The same decision on the same evidence is one event, however often a run
    /// that was cut off says it again.
    pub fn record_verdict(&self, strategy: &str, version: &str, to: Stage, decision: &Decision<'_>) -> Result<()> {
        let at = self.now();
        self.db.write(|tx| {
            let row = find(tx, strategy, version)?.ok_or_else(|| unknown(strategy, version))?;
            let event = decision.event(strategy, version, Some(row.stage), to, decision.reason, false, at);
            let newest = "SELECT rule, verdict_json, reason FROM model_events WHERE strategy = ?1 AND version = ?2 ORDER BY seq DESC LIMIT 1";
            let said: Option<(String, String, String)> =
                tx.query_row(newest, params![strategy, version], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).optional()?;
            if said == Some((event.rule.clone(), store::canonical_json(&event.verdict)?, event.reason.clone())) {
                return Ok(());
            }
            insert_event(tx, &event)
        })
    }

    /// One event by its number.
    pub fn event(&self, seq: i64) -> Result<ModelEvent> {
        self.db.lock()?.query_row(&text!("{SELECT_EVENT} WHERE seq = ?1"), [seq], read_event)?
    }

    /// What was decided about a strategy's models, oldest first.
    pub fn events(&self, strategy: &str) -> Result<Vec<ModelEvent>> {
        let conn = self.db.lock()?;
        let mut statement = conn.prepare(&format!("{SELECT_EVENT} WHERE strategy = ?1 ORDER BY seq"))?;
        let raw = statement.query_map([strategy], read_event)?.collect::<rusqlite::Result<Vec<_>>>()?;
        raw.into_iter().collect()
    }
}

/// Who decided, by which rule and why.
pub struct Decision<'a> {
    pub rule: &'a str,
    pub verdict: Value,
    pub operator: &'a str,
    pub reason: &'a str,
}

impl Decision<'_> {
    #[allow(clippy::too_many_arguments)] // the fields of an event, in its order
    fn event(&self, strategy: &str, version: &str, from: Option<Stage>, to: Stage, reason: &str, applied: bool, at: UtcTime) -> ModelEvent {
        ModelEvent {
            strategy: strategy.into(),
            version: version.into(),
            from_stage: from,
            to_stage: to,
            rule: self.rule.into(),
            verdict: self.verdict.clone(),
            applied,
            operator: self.operator.into(),
            reason: reason.into(),
            at,
        }
    }
}

fn unknown(strategy: &str, version: &str) -> Error {
    Error::new(code::ML_ARTIFACT, text!("the registry has no model {strategy} {version}")).fix("trademl train")
}

const SELECT_MODEL: &str = "SELECT strategy, version, path, sha256, stage, family, metrics_json, config_json, data_snapshot, run_id, created_at, activated_at,
 deactivated_at FROM models";

/// A row as SQLite holds it; text is parsed outside the query.
struct RawModel([String; 11], Option<String>, Option<String>);

fn read_model(r: &Row<'_>) -> rusqlite::Result<RawModel> {
    let mut text: [String; 11] = Default::default();
    for (i, slot) in text.iter_mut().enumerate() {
        *slot = r.get(i)?;
    }
    Ok(RawModel(text, r.get(11)?, r.get(12)?))
}

impl RawModel {
    fn finish(self) -> Result<ModelRow> {
        let [strategy, version, path, sha256, stage, family, metrics, config, data_snapshot, run_id, created_at] = self.0;
        Ok(ModelRow {
            strategy,
            version,
            path: DataPath::new(path)?,
            sha256,
            stage: Stage::parse(&stage)?,
            family,
            metrics: serde_json::from_str(&metrics)?,
            config: serde_json::from_str(&config)?,
            data_snapshot,
            run_id,
            created_at: created_at.parse()?,
            activated_at: self.1.map(|t| t.parse()).transpose()?,
            deactivated_at: self.2.map(|t| t.parse()).transpose()?,
        })
    }
}

fn find(conn: &Connection, strategy: &str, version: &str) -> Result<Option<ModelRow>> {
    conn.query_row(&text!("{SELECT_MODEL} WHERE strategy = ?1 AND version = ?2"), [strategy, version], read_model).optional()?.map(RawModel::finish).transpose()
}

fn insert_model(conn: &Connection, row: &ModelRow) -> Result<()> {
    conn.execute(
        "INSERT INTO models (strategy, version, path, sha256, stage, family, metrics_json, config_json, data_snapshot, run_id, created_at, activated_at, deactivated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            row.strategy,
            row.version,
            row.path.as_str(),
            row.sha256,
            row.stage.as_str(),
            row.family,
            store::canonical_json(&row.metrics)?,
            store::canonical_json(&row.config)?,
            row.data_snapshot,
            row.run_id,
            row.created_at.to_string(),
            row.activated_at.map(|t| t.to_string()),
            row.deactivated_at.map(|t| t.to_string())
        ],
    )?;
    Ok(())
}

fn insert_event(conn: &Connection, e: &ModelEvent) -> Result<()> {
    conn.execute(
        "INSERT INTO model_events (strategy, version, from_stage, to_stage, rule, verdict_json, applied, operator, reason, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            e.strategy,
            e.version,
            e.from_stage.map(Stage::as_str),
            e.to_stage.as_str(),
            e.rule,
            store::canonical_json(&e.verdict)?,
            e.applied,
            e.operator,
            e.reason,
            e.at.to_string()
        ],
    )?;
    Ok(())
}

const SELECT_EVENT: &str = "SELECT strategy, version, from_stage, to_stage, rule, verdict_json, applied, operator, reason, at FROM model_events";

fn read_event(r: &Row<'_>) -> rusqlite::Result<Result<ModelEvent>> {
    let text = |i: usize| r.get::<_, String>(i);
    let (from, to, verdict, at): (Option<String>, String, String, String) = (r.get(2)?, text(3)?, text(5)?, text(9)?);
    let (strategy, version, rule, operator, reason) = (text(0)?, text(1)?, text(4)?, text(7)?, text(8)?);
    let applied: bool = r.get(6)?;
    let build = || -> Result<ModelEvent> {
        Ok(ModelEvent {
            strategy,
            version,
            from_stage: from.as_deref().map(Stage::parse).transpose()?,
            to_stage: Stage::parse(&to)?,
            rule,
            verdict: serde_json::from_str(&verdict)?,
            applied,
            operator,
            reason,
            at: at.parse()?,
        })
    };
    Ok(build())
}
