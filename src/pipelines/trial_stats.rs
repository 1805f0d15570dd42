//! How likely the best trial is luck: PBO over the trial matrix, deflated Sharpe ratio with the ledger's number of trials.

use crate::models::baseline::CODE;
use crate::models::registry::Registry;
use crate::models::trials::{STARTED_FOLD, Trial};
use crate::pipelines::config::Cell;
use crate::pipelines::cv::{CellReport, or_note};
use crate::pipelines::train::Pinned;
use crate::types::Matrix;
use crate::validation::dsr::{self, Deflated};
use crate::validation::pbo;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use polars::prelude::{DataFrame, DataType, NamedFrom, Series};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Blocks of the combinatorially symmetric cross-validation.
pub const PBO_BLOCKS: usize = 16;
/// Where a trial's row of the ledger, which is chained, says what its returns were.
pub(crate) const RETURNS_SHA256: &str = "returns_sha256";

/// Overfitting statistics; a null has its reason in `undefined`, and a null refuses later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overfitting {
    /// Distinct configurations ever tried in the family.
    pub trials: usize,
    /// Columns of the trial matrix: configurations of the family on this snapshot.
    pub columns: usize,
    /// Rows of the trial ledger, of all families, when this was judged; 0 = not recorded.
    #[serde(default)]
    pub ledger: i64,
    /// How many independent trials those columns are worth; for information, the deflated Sharpe ratio counts all.
    #[serde(default)]
    pub effective_trials: Option<f64>,
    pub pbo: Option<f64>,
    /// The deflated Sharpe ratio and what it was made of.
    pub deflated: Option<Deflated>,
    pub undefined: BTreeMap<String, String>,
}

/// `date, gross, net, turnover`.
pub fn returns_frame(days: &[TradingDay], gross: &[f64], net: &[f64], turnover: &[f64]) -> Result<DataFrame> {
    let date = Series::new("date".into(), days.iter().map(|d| d.0).collect::<Vec<i32>>()).cast(&DataType::Date)?;
    let column = |name: &str, values: &[f64]| Series::new(name.into(), values).into();
    Ok(DataFrame::new(days.len(), vec![date.into(), column("gross", gross), column("net", net), column("turnover", turnover)])?)
}

/// Daily net returns by day of a returns file.
pub fn read_net(root: &DataRoot, path: &DataPath) -> Result<BTreeMap<TradingDay, f64>> {
    let frame = store::read_parquet(root, path)?;
    let dates = frame.column("date")?.cast(&DataType::Int32)?;
    let (dates, net) = (dates.i32()?.clone(), frame.column("net")?.f64()?.clone());
    dates.iter().zip(net.iter()).map(|(d, r)| Ok((TradingDay(d.ok_or_else(|| damaged(path))?), r.ok_or_else(|| damaged(path))?))).collect()
}

fn damaged(path: &DataPath) -> Error {
    Error::new(code::SSD_DAMAGED, text!("{path} has empty cells")).fix("trademl train")
}

/// PBO and deflated Sharpe ratio of the chosen cell, from the ledger.
pub(crate) fn overfitting(root: &DataRoot, registry: &Registry, pinned: &Pinned, chosen: &CellReport, ledger: Option<i64>) -> Result<Overfitting> {
    let net = chosen.returns_path.as_ref().map(|path| read_net(root, path)).transpose()?.unwrap_or_default();
    judge_as_of(root, registry, &pinned.config.family, &pinned.snapshot, &net.into_values().collect::<Vec<f64>>(), ledger)
}

/// PBO of a family's trials on a snapshot, and the deflated Sharpe ratio of daily net returns among all its trials.
pub fn judge(root: &DataRoot, registry: &Registry, family_name: &str, snapshot: &str, net: &[f64]) -> Result<Overfitting> {
    judge_as_of(root, registry, family_name, snapshot, net, None)
}

/// [`judge`] with only the first rows of the ledger (`None` or 0: all).
fn judge_as_of(root: &DataRoot, registry: &Registry, family_name: &str, snapshot: &str, net: &[f64], ledger: Option<i64>) -> Result<Overfitting> {
    registry.verify_trials()?;
    let ledger = ledger.filter(|n| *n > 0).map_or_else(|| registry.trials_ever(), Ok)?;
    let family = registry.family_until(family_name, ledger)?;
    let mut out = Overfitting { trials: family.n, columns: 0, ledger, effective_trials: None, pbo: None, deflated: None, undefined: BTreeMap::new() };
    if let Some(columns) = or_note(trial_columns(root, registry, family_name, snapshot, ledger), "pbo", &mut out.undefined)? {
        out.columns = columns.len();
        let effective = matrix(&columns).and_then(|m| dsr::effective_trials(&m));
        out.effective_trials = or_note(effective, "effective_trials", &mut out.undefined)?;
        let pbo = matrix(&columns).and_then(|m| pbo::cscv(&m, PBO_BLOCKS));
        out.pbo = or_note(pbo, "pbo", &mut out.undefined)?.map(|p| p.pbo);
    }
    let deflated = dsr::luck(&family.history).and_then(|luck| dsr::deflated_by(net, &luck));
    out.deflated = or_note(deflated, "dsr", &mut out.undefined)?;
    Ok(out)
}

/// The logits behind PBO, one per combination; `None` when the matrix is too small for it.
pub fn logits(root: &DataRoot, registry: &Registry, family: &str, snapshot: &str) -> Result<Option<Vec<f64>>> {
    let columns = trial_columns(root, registry, family, snapshot, i64::MAX);
    let pbo = columns.and_then(|c| matrix(&c)).and_then(|m| pbo::cscv(&m, PBO_BLOCKS));
    Ok(or_note(pbo, "pbo", &mut BTreeMap::new())?.map(|p| p.logits))
}

type Columns = BTreeMap<String, BTreeMap<TradingDay, f64>>;

/// Net returns of every configuration of the family on this snapshot, by digest. Undefined when one that was traded is gone or is
/// not the one that was entered in the ledger: a matrix without the configurations that somebody took out says what they want.
fn trial_columns(root: &DataRoot, registry: &Registry, family: &str, snapshot: &str, ledger: i64) -> Result<Columns> {
    let mut out = BTreeMap::new();
    for trial in registry.trials_until(family, ledger)?.into_iter().filter(|t| t.data_snapshot == snapshot) {
        let Some(path) = &trial.returns_path else { continue };
        check_returns(root, &trial)?;
        out.insert(trial.config_sha256, read_net(root, path)?);
    }
    Ok(out)
}

/// Whether the returns of a trial are those that its row of the ledger speaks of. None: `ML_UNDEFINED`.
fn check_returns(root: &DataRoot, trial: &Trial) -> Result<()> {
    let Some(path) = &trial.returns_path else { return Ok(()) };
    let bad = |cause: String| {
        Err(Error::new(code::ML_UNDEFINED, text!("the returns of the trial {} cannot be believed", &trial.config_sha256[..8]))
            .cause(cause)
            .found(path.to_string())
            .fix("trademl fsck")
            .fix("trademl train, on newer data"))
    };
    let Some(sha256) = trial.metrics.get(RETURNS_SHA256).and_then(Value::as_str) else {
        return bad("the ledger does not say what they were: an older program wrote this row".into());
    };
    match store::read(root, path)? {
        None => bad("the file is gone".into()),
        Some(bytes) if store::sha256_hex(&bytes) != sha256 => bad("the file was changed after it was entered in the trial ledger".into()),
        Some(_) => Ok(()),
    }
}

/// The trials of every family whose returns are gone or changed, each with the reason: what `trademl fsck` asks.
pub fn damaged_returns(root: &DataRoot, registry: &Registry) -> Result<Vec<String>> {
    let sealed = |t: &Trial| t.metrics.get(RETURNS_SHA256).is_some();
    let mut out = Vec::new();
    for trial in registry.all_trials()?.iter().filter(|t| sealed(t)) {
        if let Err(e) = check_returns(root, trial) {
            out.push(text!("{}: {}", e.body().found.clone().unwrap_or_default(), e.body().cause.clone().unwrap_or_default()));
        }
    }
    Ok(out)
}

/// What the ledger says of a configuration from the moment at which it is begun.
pub(crate) fn begun(pinned: &Pinned, cell: &Cell) -> Result<Trial> {
    Ok(Trial {
        family: pinned.config.family.clone(),
        space_sha256: pinned.config.space_sha256()?,
        config_sha256: cell.config_sha256.clone(),
        config: cell.config.clone(),
        seed: pinned.seed,
        rung: 0,
        fold: STARTED_FOLD,
        data_snapshot: pinned.snapshot.clone(),
        code: CODE.into(),
        status: "started".into(),
        metrics: json!({"asof": pinned.asof}),
        returns_path: None,
        run_id: pinned.run_id.clone(),
    })
}

/// Enter every configuration before its first fit: what is looked at and then stopped was tried too.
pub(crate) fn begin(root: &DataRoot, pinned: &Pinned, cells: &[Cell]) -> Result<()> {
    let registry = Registry::open(root)?;
    cells.iter().try_for_each(|cell| registry.append_trial(&begun(pinned, cell)?).map(drop))
}

/// Trials x days over the days that all trials have.
fn matrix(columns: &Columns) -> Result<Matrix> {
    let Some(first) = columns.values().next() else { return Matrix::from_vec(0, 0, Vec::new()) };
    let days: Vec<TradingDay> = first.keys().copied().filter(|d| columns.values().all(|c| c.contains_key(d))).collect();
    let data = columns.values().flat_map(|c| days.iter().map(|d| c[d])).collect();
    Matrix::from_vec(columns.len(), days.len(), data)
}
