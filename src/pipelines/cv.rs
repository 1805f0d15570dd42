//! Combinatorial purged cross-validation of every cell of the search, resumable split by split.
//!
//! A split's out-of-sample scores are a checkpoint: a small Parquet file and a JSON file with its digest, written after
//! it. A run that is killed in split 17 continues with split 17; a checkpoint that does not verify is made again.

use crate::backtest;
use crate::backtest::metric::ic::{self, IcSummary};
use crate::execution::cost::CostModel;
use crate::models::baseline::CODE;
use crate::models::gbdt::{Binned, Rows};
use crate::models::registry::Registry;
use crate::models::trials::Trial;
use crate::pipelines::config::Cell;
use crate::pipelines::train::{Pinned, Prepared};
use crate::pipelines::trial_stats::{self, Overfitting};
use crate::types::{Matrix, Progress};
use crate::validation::cpcv::Split;
use crate::validation::dsr;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use polars::prelude::{DataFrame, NamedFrom, Series};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Splits are fitted in parallel, each by one thread.
pub const THREADS: usize = 2;
/// Sessions in a year, for display.
pub const SESSIONS_PER_YEAR: f64 = 252.0;

/// What one configuration achieved out of sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    pub cell: Cell,
    /// Rank correlation of mean out-of-sample score and label by date: mean, HAC t, by year. Null when undefined.
    pub ic: Option<IcSummary>,
    /// Net of costs, per session.
    pub sharpe_per_period: Option<f64>,
    pub sharpe_annual: Option<f64>,
    /// `date, gross, net, turnover` of the portfolio that trades the mean out-of-sample score. Null when nothing traded.
    pub returns_path: Option<DataPath>,
    /// Why a number is null.
    pub undefined: BTreeMap<String, String>,
}

/// The outcome of cross-validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CvReport {
    pub version: String,
    pub splits: usize,
    pub paths: usize,
    pub rows: usize,
    pub sessions: usize,
    pub first_session: TradingDay,
    pub last_session: TradingDay,
    pub cells: Vec<CellReport>,
    /// Index into `cells` of the best mean rank IC.
    pub chosen: usize,
    pub overfitting: Overfitting,
    pub notes: Vec<String>,
}

impl CvReport {
    pub fn chosen(&self) -> &CellReport {
        &self.cells[self.chosen]
    }
}

/// Fit and score every cell and split, record every cell as a trial, choose the best by mean rank IC.
pub fn cross_validate(root: &DataRoot, pinned: &Pinned, prepared: &Prepared, progress: &dyn Progress) -> Result<CvReport> {
    cross_validate_with(root, pinned, prepared, progress, THREADS)
}

/// [`cross_validate`] with a number of threads; the outcome does not depend on it.
pub fn cross_validate_with(root: &DataRoot, pinned: &Pinned, prepared: &Prepared, progress: &dyn Progress, threads: usize) -> Result<CvReport> {
    let cells = pinned.config.cells()?;
    run_splits(root, pinned, prepared, &cells, progress, threads)?;
    let registry = Registry::open(root)?;
    let mut reports = Vec::with_capacity(cells.len());
    for cell in cells {
        let report = judge_cell(root, pinned, prepared, cell)?;
        registry.append_trial(&trial(pinned, &report)?)?;
        reports.push(report);
    }
    let chosen = choose(&reports)?;
    let overfitting = trial_stats::overfitting(root, &registry, pinned, &reports[chosen])?;
    let days = &prepared.panel.days;
    Ok(CvReport {
        version: pinned.version.clone(),
        splits: prepared.splits.len(),
        paths: crate::validation::cpcv::paths(&pinned.config.cpcv()).len(),
        rows: prepared.n_rows(),
        sessions: prepared.days.len(),
        first_session: days[prepared.days.start],
        last_session: days[prepared.days.end - 1],
        cells: reports,
        chosen,
        overfitting,
        notes: notes(pinned, prepared),
    })
}

fn notes(pinned: &Pinned, prepared: &Prepared) -> Vec<String> {
    let mut out = prepared.notes.clone();
    out.extend(pinned.cap_note.clone());
    out.push("bin edges were found on all rows: they carry the distribution of held-out features, never a label".into());
    let months = prepared.days.len() as f64 / pinned.config.cpcv.groups as f64 / (SESSIONS_PER_YEAR / 12.0);
    if months < pinned.config.cpcv.min_oos_months as f64 {
        out.push(format!("a group has {months:.1} months; {} were asked for and the window does not allow them", pinned.config.cpcv.min_oos_months));
    }
    out
}

// --- splits ---------------------------------------------------------------------------------------------------------

/// What verifies a checkpoint.
#[derive(Serialize, Deserialize, PartialEq)]
struct Seal {
    config_sha256: String,
    inputs_sha256: String,
    split: usize,
    rows: usize,
    sha256: String,
}

fn run_splits(root: &DataRoot, pinned: &Pinned, p: &Prepared, cells: &[Cell], progress: &dyn Progress, threads: usize) -> Result<()> {
    let mut pending = Vec::new();
    for cell in cells {
        for split in &p.splits {
            if load_scores(root, pinned, p, cell, split)?.is_none() {
                pending.push((cell, split));
            }
        }
    }
    let total = (cells.len() * p.splits.len()) as u64;
    let done = AtomicU64::new(total - pending.len() as u64);
    progress.tick(done.load(Ordering::SeqCst), total, "cross-validation");
    let Some((first, _)) = pending.first() else { return Ok(()) };
    let labels: Vec<f32> = p.labels.iter().map(|y| if y.is_finite() { *y as f32 } else { 0.0 }).collect();
    let weights: Vec<f32> = p.weights.iter().map(|w| *w as f32).collect();
    let rows = Rows { features: &p.features, labels: &labels, weights: &weights, names: &p.names };
    let binned = Binned::new(&rows, &first.params)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build().map_err(|e| Error::bug(format!("no worker threads: {e}")))?;
    pool.install(|| {
        pending.par_iter().try_for_each(|(cell, split)| {
            root.host().check_cancelled()?;
            run_split(root, pinned, p, &binned, cell, split)?;
            let so_far = done.fetch_add(1, Ordering::SeqCst) + 1;
            progress.tick(so_far, total, "cross-validation");
            Ok(())
        })
    })
}

fn run_split(root: &DataRoot, pinned: &Pinned, p: &Prepared, binned: &Binned, cell: &Cell, split: &Split) -> Result<()> {
    let train = labelled_rows(p, &split.train_days);
    let test = test_rows(p, split);
    if train.is_empty() || test.is_empty() {
        return Err(Error::new(code::DATA_MISSING, format!("split {} has no rows to train on or to test", split.id)).fix("trademl pi-data-node"));
    }
    let features: Vec<f32> = test.iter().flat_map(|r| p.row(*r as usize).iter().copied()).collect();
    let fitted = binned.fit(&train, &cell.params, &features)?;
    let columns = vec![Series::new("row".into(), test.clone()).into(), Series::new("score".into(), fitted.scores).into()];
    let mut frame = DataFrame::new(test.len(), columns)?;
    let info = store::write_parquet(root, &checkpoint(pinned, cell, split, "parquet")?, &mut frame)?;
    let seal = seal_of(p, cell, split, test.len(), info.sha256);
    store::write_atomic(root, &checkpoint(pinned, cell, split, "json")?, store::canonical_json(&seal)?.as_bytes())?;
    root.host().failpoint("checkpoint.after")
}

fn seal_of(p: &Prepared, cell: &Cell, split: &Split, rows: usize, sha256: String) -> Seal {
    Seal { config_sha256: cell.config_sha256.clone(), inputs_sha256: p.inputs_sha256.clone(), split: split.id, rows, sha256 }
}

/// Rows of the given days whose label is known, in order.
pub(crate) fn labelled_rows(p: &Prepared, days: &[usize]) -> Vec<u32> {
    let all = days.iter().flat_map(|d| p.rows_of(*d));
    all.filter(|r| p.labels[*r].is_finite()).filter_map(|r| u32::try_from(r).ok()).collect()
}

fn test_rows(p: &Prepared, split: &Split) -> Vec<u32> {
    split.test_days.iter().flat_map(|d| p.rows_of(*d)).filter_map(|r| u32::try_from(r).ok()).collect()
}

fn checkpoint(pinned: &Pinned, cell: &Cell, split: &Split, extension: &str) -> Result<DataPath> {
    pinned.work()?.join(&format!("cell-{}/split-{:02}.{extension}", &cell.config_sha256[..8], split.id))
}

/// A split's scores `(row, score)`, or none when there is no checkpoint that verifies.
pub(crate) fn load_scores(root: &DataRoot, pinned: &Pinned, p: &Prepared, cell: &Cell, split: &Split) -> Result<Option<Vec<(u32, f64)>>> {
    let Some(seal) = store::read(root, &checkpoint(pinned, cell, split, "json")?)? else { return Ok(None) };
    let Ok(seal) = serde_json::from_slice::<Seal>(&seal) else { return Ok(None) };
    let Some(bytes) = store::read(root, &checkpoint(pinned, cell, split, "parquet")?)? else { return Ok(None) };
    let expected = test_rows(p, split);
    if seal != seal_of(p, cell, split, expected.len(), store::sha256_hex(&bytes)) {
        return Ok(None);
    }
    let frame = store::parquet_frame(bytes)?;
    let rows: Vec<u32> = frame.column("row")?.u32()?.iter().flatten().collect();
    let scores: Vec<f64> = frame.column("score")?.f64()?.iter().flatten().collect();
    Ok((rows == expected && scores.len() == rows.len()).then(|| rows.into_iter().zip(scores).collect()))
}

/// Each row's mean out-of-sample score over the splits that tested it; `NaN` where none did.
pub(crate) fn mean_scores(root: &DataRoot, pinned: &Pinned, p: &Prepared, cell: &Cell) -> Result<Vec<f64>> {
    let (mut sum, mut count) = (vec![0.0; p.n_rows()], vec![0u32; p.n_rows()]);
    for split in &p.splits {
        let scores = load_scores(root, pinned, p, cell, split)?
            .ok_or_else(|| Error::new(code::SSD_DAMAGED, format!("the checkpoint of split {} is gone", split.id)).fix("trademl train"))?;
        for (row, score) in scores {
            sum[row as usize] += score;
            count[row as usize] += 1;
        }
    }
    Ok(sum.into_iter().zip(count).map(|(s, n)| if n == 0 { f64::NAN } else { s / f64::from(n) }).collect())
}

/// One value per row as a `symbols x days` matrix.
pub(crate) fn to_matrix(p: &Prepared, values: &[f64]) -> Matrix {
    let mut out = Matrix::missing(p.panel.n_symbols(), p.panel.n_days());
    for (r, v) in values.iter().enumerate() {
        out.set(p.symbol[r] as usize, p.day[r] as usize, *v);
    }
    out
}

// --- judging a cell -------------------------------------------------------------------------------------------------

/// Rank correlation of score and label on each session of the panel; none where it is undefined.
pub(crate) fn daily_ic(p: &Prepared, scores: &Matrix) -> Result<Vec<Option<f64>>> {
    ic::per_date(scores, &p.label_matrix)
}

/// The value of a statistic, or nothing with its reason noted; other errors pass.
pub(crate) fn or_note<T>(value: Result<T>, name: &str, undefined: &mut BTreeMap<String, String>) -> Result<Option<T>> {
    match value {
        Ok(v) => Ok(Some(v)),
        Err(e) if e.is(code::ML_UNDEFINED) => {
            undefined.insert(name.into(), e.to_string());
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

fn judge_cell(root: &DataRoot, pinned: &Pinned, p: &Prepared, cell: Cell) -> Result<CellReport> {
    let scores = mean_scores(root, pinned, p, &cell)?;
    let scores = to_matrix(p, &scores);
    let mut undefined = BTreeMap::new();
    // Labels of neighbouring days overlap for the horizon: that many lags enter the standard error.
    let lags = pinned.config.label.horizon;
    let ic = or_note(ic::summarise(&p.panel.days, &daily_ic(p, &scores)?, lags), "ic", &mut undefined)?;
    let rule = &pinned.config.portfolio;
    let run = backtest::run(&p.panel, &scores, rule, &CostModel::flat(rule.cost_bps_round_trip), p.days.clone());
    let mut returns_path = None;
    let mut sharpe = None;
    if let Some(run) = or_note(run, "returns", &mut undefined)? {
        sharpe = or_note(dsr::moments(&run.net), "sharpe", &mut undefined)?.map(|m| m.sharpe);
        let path = pinned.work()?.join(&format!("cell-{}/returns.parquet", &cell.config_sha256[..8]))?;
        store::write_parquet(root, &path, &mut trial_stats::returns_frame(&run.days, &run.gross, &run.net, &run.turnover)?)?;
        returns_path = Some(path);
    }
    Ok(CellReport { cell, ic, sharpe_per_period: sharpe, sharpe_annual: sharpe.map(|s| s * SESSIONS_PER_YEAR.sqrt()), returns_path, undefined })
}

fn trial(pinned: &Pinned, report: &CellReport) -> Result<Trial> {
    let metrics: Value = json!({
        "mean_ic": report.ic.as_ref().map(|i| i.mean), "ic_days": report.ic.as_ref().map(|i| i.dates), "sharpe_per_period": report.sharpe_per_period, "undefined": report.undefined,
    });
    Ok(Trial {
        family: pinned.config.family.clone(),
        space_sha256: pinned.config.space_sha256()?,
        config_sha256: report.cell.config_sha256.clone(),
        config: report.cell.config.clone(),
        seed: pinned.seed,
        rung: 0,
        fold: 0,
        data_snapshot: pinned.snapshot.clone(),
        code: CODE.into(),
        status: if report.sharpe_per_period.is_some() && report.ic.is_some() { "done" } else { "failed" }.into(),
        metrics,
        returns_path: report.returns_path.clone(),
        run_id: pinned.run_id.clone(),
    })
}

/// The best mean rank IC; ties by configuration digest.
fn choose(reports: &[CellReport]) -> Result<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, r) in reports.iter().enumerate() {
        let Some(ic) = r.ic.as_ref().map(|i| i.mean) else { continue };
        let wins = best.is_none_or(|(b, v)| ic > v || (ic == v && r.cell.config_sha256 < reports[b].cell.config_sha256));
        if wins {
            best = Some((i, ic));
        }
    }
    best.map(|b| b.0).ok_or_else(|| {
        Error::new(code::ML_UNDEFINED, "no configuration has a defined rank correlation out of sample")
            .cause("the cross-sections are too narrow, or every model predicts a constant")
            .fix("widen the universe: trademl pi-data-node")
    })
}
