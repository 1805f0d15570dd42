//! The look-ahead detector. It runs inside `train`, on the very panel, features, labels and splits that are trained on.
//!
//! It trusts nobody's word: features are recomputed on panels that end earlier, whose future is changed, or that miss bars,
//! and every value up to the cut must come out the same. A report with a failed check blocks training.

mod features;
mod labels;
mod overlap;
mod sample;
mod smell;

#[cfg(test)]
mod tests;

use crate::features::FeatureBlock;
use crate::types::{Matrix, Panel};
use crate::validation::cpcv::Split;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// A panel with fewer sessions has no past and future worth comparing.
pub const MIN_SESSIONS: usize = 20;

/// Builds features from a panel and nothing else.
pub type FeatureFn<'a> = &'a dyn Fn(&Panel) -> Result<FeatureBlock>;

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// `shape`, `truncate`, `append`, `future_change`, `back_fill`, `membership`, `label_smell`, `label_definition`,
    /// `label_future`, `label_entry`, `split_overlap` or `split_embargo`.
    pub name: String,
    /// The feature, or what else was asked about.
    pub subject: String,
    pub passed: bool,
    /// What was compared, or the first offence found.
    pub detail: String,
}

/// Every check made, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakReport {
    pub checks: Vec<Check>,
}

impl LeakReport {
    /// Whether something was checked and nothing failed.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|c| c.passed)
    }
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| !c.passed)
    }
    /// An error that names what leaks, unless the report passed.
    pub fn require(&self) -> Result<()> {
        if self.passed() {
            return Ok(());
        }
        let all: Vec<String> = self.failures().map(|c| format!("{} of {}: {}", c.name, c.subject, c.detail)).collect();
        let cause = all.first().cloned().unwrap_or_else(|| "nothing was checked".into());
        Err(Error::new(code::GATE_LEAK, "the leak detector found look-ahead")
            .cause(cause)
            .found(format!("{} of {} checks failed", all.len(), self.checks.len()))
            .fix("take the named feature or label out of the training configuration, or mend it to use nothing after its own day"))
    }
    fn add(&mut self, name: &str, subject: impl Into<String>, passed: bool, detail: impl Into<String>) {
        self.checks.push(Check { name: name.into(), subject: subject.into(), passed, detail: detail.into() });
    }
}

/// How labels are made, so that they can be made again from an altered panel.
#[derive(Clone, Copy)]
pub struct LabelSource<'a> {
    pub build: &'a dyn Fn(&Panel) -> Result<Matrix>,
    /// The label of day `t` uses nothing after `t + span`.
    pub span: usize,
    /// The position is entered at `t + entry_lag`.
    pub entry_lag: usize,
}

/// Inspect features, labels and splits. The labels must be forward returns (`labels::horizon::forward`), or within each date
/// a non-decreasing function of them (demeaned, ranked), ending at `t + label_span`; for any other label there is
/// [`inspect_with`]. Errors only when there is too little to inspect or a builder fails.
pub fn inspect(panel: &Panel, features: FeatureFn<'_>, labels: &Matrix, label_span: usize, splits: &[Split], embargo: usize) -> Result<LeakReport> {
    let mut report = LeakReport::default();
    inspect_features(&mut report, panel, features, labels, label_span)?;
    labels::check_forward(&mut report, panel, labels, label_span)?;
    overlap::check(&mut report, panel.n_days(), label_span, splits, embargo);
    Ok(report)
}

/// [`inspect`] for labels of any kind, given the function that made them.
pub fn inspect_with(panel: &Panel, features: FeatureFn<'_>, labels: &Matrix, source: LabelSource<'_>, splits: &[Split], embargo: usize) -> Result<LeakReport> {
    let mut report = LeakReport::default();
    inspect_features(&mut report, panel, features, labels, source.span)?;
    labels::check_source(&mut report, panel, labels, source)?;
    overlap::check(&mut report, panel.n_days(), source.span, splits, embargo);
    Ok(report)
}

fn inspect_features(report: &mut LeakReport, panel: &Panel, build: FeatureFn<'_>, labels: &Matrix, span: usize) -> Result<()> {
    if panel.n_days() < MIN_SESSIONS || panel.n_symbols() == 0 {
        let found = format!("{} symbols, {} sessions", panel.n_symbols(), panel.n_days());
        return Err(Error::new(code::ML_UNDEFINED, format!("look-ahead cannot be looked for in fewer than {MIN_SESSIONS} sessions")).found(found));
    }
    if labels.rows() != panel.n_symbols() || labels.cols() != panel.n_days() {
        return Err(Error::bug(format!("labels are {} x {}, the panel is {} x {}", labels.rows(), labels.cols(), panel.n_symbols(), panel.n_days())));
    }
    let full = build(panel)?;
    if let Err(e) = full.check_shape(panel) {
        report.add("shape", "features", false, e.body().what.clone());
        return Ok(());
    }
    report.add("shape", "features", true, format!("{} features of {} symbols on {} sessions", full.names.len(), panel.n_symbols(), panel.n_days()));
    features::check_recomputed(report, panel, build)?;
    features::check_members(report, panel, &full);
    smell::check(report, &full, labels, span);
    Ok(())
}
