//! A feature that orders names almost as their labels do knows the answer: honest daily features have rank correlations of
//! a few hundredths.

use super::LeakReport;
use crate::features::FeatureBlock;
use crate::models::rank::{MIN_BREADTH, spearman};
use crate::types::Matrix;

/// Mean per-date rank correlation beyond which a feature is not believed.
pub const IMPLAUSIBLE_IC: f64 = 0.5;
/// Dates looked at, evenly spaced.
const DATES: usize = 120;
/// Standard errors of pure noise that are forgiven on top of [`IMPLAUSIBLE_IC`] in a small panel.
const NOISE_ERRORS: f64 = 3.0;

pub(super) fn check(report: &mut LeakReport, full: &FeatureBlock, labels: &Matrix, span: usize) {
    let days: Vec<usize> = (0..labels.cols()).step_by(labels.cols().div_ceil(DATES).max(1)).collect();
    for (name, m) in full.names.iter().zip(&full.columns) {
        let found: Vec<(f64, usize)> = days.iter().filter_map(|&t| rank_correlation(&m.column(t), &labels.column(t))).collect();
        if found.is_empty() {
            report.add("label_smell", name.clone(), true, text!("no date has {MIN_BREADTH} names with different values and a label"));
            continue;
        }
        let mean = found.iter().map(|(c, _)| c).sum::<f64>() / found.len() as f64;
        let names = found.iter().map(|(_, n)| *n as f64).sum::<f64>() / found.len() as f64;
        // Overlapping labels repeat each other: only every span-th date says something new.
        let step = days.get(1).map_or(1, |d| d - days[0]);
        let dates = (found.len() * step) as f64 / span.max(step) as f64;
        let bar = (IMPLAUSIBLE_IC + NOISE_ERRORS / ((names - 1.0) * dates.max(1.0)).sqrt()).min(0.95);
        let detail = text!("mean rank correlation with the label {mean:.4} over {} dates of {names:.0} names; implausible beyond {bar:.2}", found.len());
        report.add("label_smell", name.clone(), mean.abs() <= bar, detail);
    }
}

/// Spearman's correlation over the names that have both, with their number; `None` if too few, or all equal.
fn rank_correlation(x: &[f64], y: &[f64]) -> Option<(f64, usize)> {
    let (a, b): (Vec<f64>, Vec<f64>) = x.iter().zip(y).filter(|(x, y)| x.is_finite() && y.is_finite()).map(|(x, y)| (*x, *y)).unzip();
    spearman(&a, &b, MIN_BREADTH).ok().map(|c| (c, a.len()))
}
