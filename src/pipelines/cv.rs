//! Combinatorial purged cross-validation of every cell of the search, resumable split by split.
//!
//! Fitting a split, and keeping what it found, is [`super::splits`]' business; here cells are judged and one is chosen.

use crate::backtest;
use crate::backtest::metric::ic::{self, IcSummary};
use crate::execution::cost::CostModel;
use crate::models::registry::Registry;
use crate::models::trials::Trial;
use crate::pipelines::config::Cell;
use crate::pipelines::controls::{self, Doubts};
use crate::pipelines::moved::{self, DriftReport};
pub(crate) use crate::pipelines::prepare::to_matrix;
use crate::pipelines::search;
use crate::pipelines::splits::{self, Batch, Work};
use crate::pipelines::train::{Pinned, Prepared};
use crate::pipelines::trial_stats::{self, Overfitting};
use crate::types::{Matrix, Progress, SESSIONS_PER_YEAR};
use crate::validation::dsr;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
    /// Of that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_sha256: Option<String>,
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
    /// What else could explain the chosen cell's score: refitted controls, walk-forward, nested choice, intervals.
    #[serde(default)]
    pub doubts: Doubts,
    /// What moved since: the newest sessions against those before.
    #[serde(default)]
    pub drift: DriftReport,
    pub notes: Vec<String>,
}

impl CvReport {
    pub fn chosen(&self) -> &CellReport {
        &self.cells[self.chosen]
    }
}

/// Fit and score every cell and split (in parallel, each by one thread of the caller's pool), record every cell as a trial, choose the best by mean rank IC.
pub fn cross_validate(root: &DataRoot, pinned: &Pinned, prepared: &Prepared, progress: &dyn Progress) -> Result<CvReport> {
    cross_validate_with(root, pinned, prepared, progress, rayon::current_num_threads())
}

/// [`cross_validate`] with a number of threads; the outcome does not depend on it.
pub fn cross_validate_with(root: &DataRoot, pinned: &Pinned, prepared: &Prepared, progress: &dyn Progress, threads: usize) -> Result<CvReport> {
    let work = Work { root, pinned, prepared, progress, threads };
    validate_cells(&work, search::cells(&work)?, None)
}

/// [`cross_validate`] of given cells. `ledger` counts only the first rows of the trial ledger, as a run that is repeated saw
/// them; all when it is `None`.
pub(crate) fn validate_cells(work: &Work<'_>, cells: Vec<Cell>, ledger: Option<i64>) -> Result<CvReport> {
    let Work { root, pinned, prepared, .. } = *work;
    // A run that is repeated tries nothing new.
    if ledger.is_none() {
        trial_stats::begin(root, pinned, &cells)?;
    }
    work.run(&Batch { tag: "", labels: &prepared.labels, cells: &cells, splits: &prepared.splits })?;
    let registry = Registry::open(root)?;
    let mut reports = Vec::with_capacity(cells.len());
    for cell in cells {
        let report = judge_cell(root, pinned, prepared, cell)?;
        registry.append_trial(&trial(pinned, &report)?)?;
        reports.push(report);
    }
    let chosen = choose(&reports)?;
    let overfitting = trial_stats::overfitting(root, &registry, pinned, &reports[chosen], ledger)?;
    let doubts = controls::raise(work, &reports, chosen)?;
    let scores = splits::mean_scores(root, pinned, prepared, "", &reports[chosen].cell, &prepared.splits)?;
    let drift = moved::measure(prepared, &scores)?;
    let days = &prepared.panel.days;
    let traded_share = prepared.admitted.share(&to_matrix(prepared, &scores));
    Ok(CvReport {
        version: pinned.version.clone(),
        splits: prepared.splits.len(),
        paths: crate::validation::cpcv::paths(&pinned.config.cpcv()).len(),
        rows: prepared.n_rows(),
        sessions: prepared.cv_days.len(),
        first_session: days[prepared.cv_days.start],
        last_session: days[prepared.cv_days.end - 1],
        cells: reports,
        chosen,
        overfitting,
        doubts,
        drift,
        notes: notes(pinned, prepared, traded_share),
    })
}

fn notes(pinned: &Pinned, prepared: &Prepared, traded_share: f64) -> Vec<String> {
    let mut out = prepared.notes.clone();
    out.extend(pinned.cap_note.clone());
    out.push("bin edges were found on all rows: they carry the distribution of held-out features, never a label".into());
    if traded_share < 1.0 {
        out.push(text!("the router lets {:.1} % of the scores be traded; the simulated books hold no other name", traded_share * 100.0));
    }
    if let Some(window) = &pinned.holdout {
        out.push(text!("the dark holdout {window} is sealed: no choice here has seen a label of it; the final model, once chosen, is fitted on all days"));
    }
    let months = prepared.cv_days.len() as f64 / pinned.config.cpcv.groups as f64 / (SESSIONS_PER_YEAR / 12.0);
    if months < pinned.config.cpcv.min_oos_months as f64 {
        out.push(text!("a group has {months:.1} months; {} were asked for and the window does not allow them", pinned.config.cpcv.min_oos_months));
    }
    out
}

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
    let scores = splits::mean_scores(root, pinned, p, "", &cell, &p.splits)?;
    let scores = to_matrix(p, &scores);
    let mut undefined = BTreeMap::new();
    // Labels of neighbouring days overlap for the horizon: that many lags enter the standard error.
    let lags = pinned.config.label.horizon;
    let ic = or_note(ic::summarise(&p.panel.days, &daily_ic(p, &scores)?, lags), "ic", &mut undefined)?;
    let rule = &pinned.config.portfolio;
    let run = backtest::run(&p.panel, p.admitted.through(scores).signal(), rule, &CostModel::flat(rule.cost_bps_round_trip), p.cv_days.clone());
    let (mut returns_path, mut returns_sha256, mut sharpe) = (None, None, None);
    if let Some(run) = or_note(run, "returns", &mut undefined)? {
        sharpe = or_note(dsr::moments(&run.net), "sharpe", &mut undefined)?.map(|m| m.sharpe);
        let path = pinned.work()?.join(&format!("cell-{}/returns.parquet", &cell.config_sha256[..8]))?;
        let info = store::write_parquet(root, &path, &mut trial_stats::returns_frame(&run.days, &run.gross, &run.net, &run.turnover)?)?;
        (returns_path, returns_sha256) = (Some(path), Some(info.sha256));
    }
    let sharpe_annual = sharpe.map(|s| s * SESSIONS_PER_YEAR.sqrt());
    Ok(CellReport { cell, ic, sharpe_per_period: sharpe, sharpe_annual, returns_path, returns_sha256, undefined })
}

fn trial(pinned: &Pinned, report: &CellReport) -> Result<Trial> {
    let metrics: Value = json!({
        "asof": pinned.asof, "mean_ic": report.ic.as_ref().map(|i| i.mean), "ic_days": report.ic.as_ref().map(|i| i.dates),
        "sharpe_per_period": report.sharpe_per_period, "undefined": report.undefined, trial_stats::RETURNS_SHA256: report.returns_sha256,
    });
    let status = if report.sharpe_per_period.is_some() && report.ic.is_some() { "done" } else { "failed" };
    Ok(Trial { fold: 0, status: status.into(), metrics, returns_path: report.returns_path.clone(), ..trial_stats::begun(pinned, &report.cell)? })
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
