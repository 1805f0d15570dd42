//! What else could explain a good score: controls that are refitted and must fail, walk-forward, a choice that had to be made
//! without the days it is judged on, and the width of the error.
//!
//! A control runs the same code on other labels, in training and in judging alike. With labels permuted within each date
//! there is nothing to learn: whoever still scores has seen the answer (trained on test rows, say). With each date's
//! labels taken from another date, only what belongs to a name for ever survives: a model that lives on that has learnt
//! who was lucky. With labels that begin after the horizon has passed, a short-lived signal fades; what does not fade is
//! slow, or was never about the next days.

use crate::backtest::metric::ic;
use crate::pipelines::config::Cell;
use crate::pipelines::cv::{self, CellReport, or_note};
use crate::pipelines::simple::{self, SimpleReport};
use crate::pipelines::splits::{self, Batch, Work};
use crate::pipelines::train::Prepared;
use crate::types::Matrix;
use crate::validation::bootstrap::{self, Interval, Plan};
use crate::validation::cpcv::{self, Split};
use crate::validation::walk_forward::{self, WalkForward};
use data_layer::error::{Error, Result, code};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A control that must fail and has a t above this has not failed: about one in 30,000 by chance.
pub const CAUGHT_T: f64 = 4.0;
/// Blocks of the walk-forward check.
const WALK_BLOCKS: usize = 4;

/// Other labels for the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Shuffled among the names of each date.
    PermutedWithinDate,
    /// Each date's labels are those of another date, name by name.
    PlaceboDates,
    /// The label that begins when the real one has ended.
    BeyondHorizon,
}

impl Control {
    pub const ALL: [Self; 3] = [Self::PermutedWithinDate, Self::PlaceboDates, Self::BeyondHorizon];
    fn tag(self) -> &'static str {
        match self {
            Self::PermutedWithinDate => term!("permuted"),
            Self::PlaceboDates => term!("placebo"),
            Self::BeyondHorizon => term!("beyond"),
        }
    }
    /// Whether a score on these labels is proof of a leak, and not of a slow signal.
    fn must_fail(self) -> bool {
        self == Self::PermutedWithinDate
    }
    /// In words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::PermutedWithinDate => "labels permuted within each date",
            Self::PlaceboDates => "labels of other dates",
            Self::BeyondHorizon => "labels that begin after the horizon",
        }
    }
}

/// What a control scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlReport {
    pub control: Control,
    pub mean_ic: Option<f64>,
    pub t: Option<f64>,
    pub dates: usize,
    pub must_fail: bool,
    /// A control that must fail and did not.
    pub caught: bool,
}

/// Everything that is held against the chosen cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Doubts {
    pub controls: Vec<ControlReport>,
    /// Ridge and the best single feature on the controls' splits.
    #[serde(default)]
    pub baselines: Vec<SimpleReport>,
    /// Mean rank IC of models that learnt from the past alone.
    pub walk_forward_ic: Option<f64>,
    pub walk_forward_t: Option<f64>,
    /// Mean rank IC when each group's cell is chosen on the other groups: what the search itself added is the difference.
    pub nested_ic: Option<f64>,
    /// Whether a search had chosen the cells before, by days of every group: then the nested choice is only among its finalists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nested_among_finalists: bool,
    /// Of the mean rank IC, by resampling blocks of dates.
    pub ic_interval: Option<Interval>,
    /// Why a number is null.
    pub undefined: BTreeMap<String, String>,
}

impl Doubts {
    /// Refuse when a control that must fail did not.
    pub fn require(&self) -> Result<()> {
        let Some(c) = self.controls.iter().find(|c| c.caught) else { return Ok(()) };
        Err(Error::new(code::GATE_LEAK, text!("the model scores on {}", c.control.sentence()))
            .cause("there was nothing to learn in them: some part of training or judging has seen the answers")
            .found(text!("mean rank IC {:.4}, t {:.1}", c.mean_ic.unwrap_or(f64::NAN), c.t.unwrap_or(f64::NAN)))
            .fix("look for rows that are trained on and tested in one split"))
    }

    /// One line each, for a report.
    pub fn sentences(&self) -> Vec<String> {
        let number = |v: Option<f64>, digits: usize| v.map_or("undefined".to_string(), |v| format!("{v:.digits$}"));
        let mut out: Vec<String> = self
            .controls
            .iter()
            .map(|c| text!("control: refitted on {}, mean rank IC {} (t {})", c.control.sentence(), number(c.mean_ic, 4), number(c.t, 1)))
            .collect();
        out.extend(self.baselines.iter().map(SimpleReport::sentence));
        if !self.controls.is_empty() {
            out.push(text!(
                "walk-forward, learning from the past alone: mean rank IC {} (t {})",
                number(self.walk_forward_ic, 4),
                number(self.walk_forward_t, 1)
            ));
            let nested = number(self.nested_ic, 4);
            out.push(if self.nested_among_finalists {
                text!("mean rank IC with the cell of each group chosen on the others, among finalists of a search that had seen every group: {nested}")
            } else {
                text!("mean rank IC with the cell of each group chosen on the others: {nested}")
            });
        }
        if let Some(i) = &self.ic_interval {
            out.push(text!(
                "mean rank IC {:.4}, {:.0} % of resampled blocks of {} sessions between {:.4} and {:.4}",
                i.value,
                i.level * 100.0,
                i.block,
                i.low,
                i.high
            ));
        }
        out
    }
}

/// Raise every doubt about the chosen cell. Fits are checkpoints like those of cross-validation.
pub(crate) fn raise(work: &Work<'_>, reports: &[CellReport], chosen: usize) -> Result<Doubts> {
    let p = work.prepared;
    let cell = &reports[chosen].cell;
    let mut out = Doubts { nested_among_finalists: work.pinned.config.search.halving.is_some(), ..Doubts::default() };
    let some = once_each(work);
    for control in Control::ALL {
        let labels = labels_of(p, control, work.pinned.config.label.span(), work.pinned.seed);
        let daily = refit(work, control.tag(), &labels, cell, &some)?;
        let summary = or_note(ic::summarise(&p.panel.days, &daily, lags(work)), control.tag(), &mut out.undefined)?;
        let t = summary.as_ref().map(|s| s.t);
        let caught = control.must_fail() && t.is_some_and(|t| t > CAUGHT_T);
        let dates = summary.as_ref().map_or(0, |s| s.dates);
        out.controls.push(ControlReport { control, mean_ic: summary.map(|s| s.mean), t, dates, must_fail: control.must_fail(), caught });
    }
    out.baselines = simple::compare(work, &some, &mut out.undefined)?;
    if let Some(walk) = or_note(walk_splits(work), "walk_forward", &mut out.undefined)? {
        let daily = refit(work, term!("walk"), &p.labels, cell, &walk)?;
        let summary = or_note(ic::summarise(&p.panel.days, &daily, lags(work)), "walk_forward", &mut out.undefined)?;
        (out.walk_forward_ic, out.walk_forward_t) = (summary.as_ref().map(|s| s.mean), summary.map(|s| s.t));
    }
    let cells: Vec<Vec<Option<f64>>> = reports.iter().map(|r| daily_of(work, &r.cell)).collect::<Result<_>>()?;
    let groups: Vec<std::ops::Range<usize>> = cpcv::folds(p.cv_days.len(), work.pinned.config.cpcv.groups);
    let groups: Vec<_> = groups.into_iter().map(|g| g.start + p.cv_days.start..g.end + p.cv_days.start).collect();
    out.nested_ic = or_note(nested(&cells, &groups), "nested", &mut out.undefined)?;
    let daily: Vec<f64> = cells[chosen].iter().flatten().copied().collect();
    let mean = |v: &[f64]| crate::types::defined(v.iter().sum::<f64>() / v.len() as f64, "the mean rank IC", "no date has one");
    out.ic_interval =
        or_note(bootstrap::interval(&daily, Plan::of_block(2 * work.pinned.config.label.span(), work.pinned.seed), mean), "interval", &mut out.undefined)?;
    Ok(out)
}

fn lags(work: &Work<'_>) -> usize {
    work.pinned.config.label.horizon
}

/// Splits that together test almost every group, none twice.
fn once_each(work: &Work<'_>) -> Vec<Split> {
    let mut covered = std::collections::BTreeSet::new();
    let mut out = Vec::new();
    for split in &work.prepared.splits {
        if split.test_groups.iter().all(|g| !covered.contains(g)) {
            covered.extend(split.test_groups.iter().copied());
            out.push(split.clone());
        }
    }
    out
}

/// Half of the days to begin with, the rest in blocks.
fn walk_splits(work: &Work<'_>) -> Result<Vec<Split>> {
    let days = &work.prepared.cv_days;
    let cfg = WalkForward { blocks: WALK_BLOCKS, least_training_sessions: (days.len() / 2).max(1), window_sessions: None };
    let mut out = walk_forward::splits(days.len(), work.pinned.config.label.span(), &cfg)?;
    out.iter_mut().flat_map(|s| s.train_days.iter_mut().chain(&mut s.test_days)).for_each(|d| *d += days.start);
    Ok(out)
}

/// Rank IC per day of a cell that was refitted on some labels, judged on the same labels.
fn refit(work: &Work<'_>, tag: &str, labels: &[f64], cell: &Cell, on: &[Split]) -> Result<Vec<Option<f64>>> {
    let p = work.prepared;
    work.run(&Batch { tag, labels, cells: std::slice::from_ref(cell), splits: on })?;
    let scores = splits::mean_scores(work.root, work.pinned, p, tag, cell, on)?;
    ic::per_date(&cv::to_matrix(p, &scores), &cv::to_matrix(p, labels))
}

/// Rank IC per day of a cell's own out-of-sample scores.
fn daily_of(work: &Work<'_>, cell: &Cell) -> Result<Vec<Option<f64>>> {
    let scores = splits::mean_scores(work.root, work.pinned, work.prepared, "", cell, &work.prepared.splits)?;
    cv::daily_ic(work.prepared, &cv::to_matrix(work.prepared, &scores))
}

/// Mean IC when each group's cell is the best one on all other groups.
pub(crate) fn nested(cells: &[Vec<Option<f64>>], groups: &[std::ops::Range<usize>]) -> Result<f64> {
    let mean = |days: Vec<Option<f64>>| {
        let known: Vec<f64> = days.into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let mut kept: Vec<Option<f64>> = Vec::new();
    for group in groups {
        let outside = |c: &[Option<f64>]| mean(groups.iter().filter(|g| *g != group).flat_map(|g| c[g.clone()].to_vec()).collect());
        let mut best: Option<(f64, usize)> = None;
        for (i, c) in cells.iter().enumerate() {
            if let Some(v) = outside(c).filter(|v| best.is_none_or(|(b, _)| *v > b)) {
                best = Some((v, i));
            }
        }
        if let Some((_, i)) = best {
            kept.extend_from_slice(&cells[i][group.clone()]);
        }
    }
    mean(kept).ok_or_else(|| Error::new(code::ML_UNDEFINED, "the nested rank correlation is undefined").cause("no date has a rank correlation"))
}

/// The labels of a control, one per row.
pub(crate) fn labels_of(p: &Prepared, control: Control, span: usize, seed: u64) -> Vec<f64> {
    match control {
        Control::PermutedWithinDate => permuted(p, seed),
        Control::PlaceboDates => placebo(p, span, seed),
        Control::BeyondHorizon => read(p, |t| t.checked_add(span)),
    }
}

fn permuted(p: &Prepared, seed: u64) -> Vec<f64> {
    let mut out = p.labels.clone();
    for day in p.cv_days.clone() {
        let rows: Vec<usize> = p.rows_of(day).filter(|r| p.labels[*r].is_finite()).collect();
        let mut values: Vec<f64> = rows.iter().map(|r| p.labels[*r]).collect();
        values.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ ((day as u64) << 20)));
        rows.iter().zip(values).for_each(|(r, v)| out[*r] = v);
    }
    out
}

/// Every date borrows from one at least two spans away, so that no label keeps a part of its own days.
fn placebo(p: &Prepared, span: usize, seed: u64) -> Vec<f64> {
    let (first, n) = (p.cv_days.start, p.cv_days.len());
    let far = (2 * span).min(n / 3).max(1);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x9E37_79B9);
    let source: Vec<usize> = (0..n).map(|t| first + (t + rng.random_range(far..(n - far).max(far + 1))) % n).collect();
    read(p, |t| t.checked_sub(first).and_then(|i| source.get(i).copied()))
}

/// Each row's label taken from the same name on another day.
fn read(p: &Prepared, other: impl Fn(usize) -> Option<usize>) -> Vec<f64> {
    let of: &Matrix = &p.label_matrix;
    let one = |r: usize| {
        let day = other(p.day[r] as usize).filter(|d| p.cv_days.contains(d));
        day.map_or(f64::NAN, |d| of.at(p.symbol[r] as usize, d))
    };
    (0..p.n_rows()).map(one).collect()
}
