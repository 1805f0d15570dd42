//! Labels made again from altered panels: they must not reach beyond their span, and must begin after the signal.

use super::features::same;
use super::{LabelSource, LeakReport, sample};
use crate::labels::horizon;
use crate::types::{Matrix, Panel};
use data_layer::error::Result;

/// Entry lags tried when recognising a label.
const LAGS: usize = 4;
/// How far beyond the stated span a label is searched, to say by how much the statement is wrong.
const BEYOND: usize = 25;
/// Cells compared before a whole matrix is.
const PROBES: usize = 200;

/// Recognise the labels as forward returns that end at `t + span`, then check that definition on altered panels.
pub(super) fn check_forward(report: &mut LeakReport, panel: &Panel, labels: &Matrix, span: usize) -> Result<()> {
    let (name, subject) = ("label_definition", "labels");
    for exact in [true, false] {
        for lag in (0..LAGS.min(span)).filter(|lag| !exact || probe(panel, labels, span - lag, *lag)) {
            let forward = horizon::forward(panel, span - lag, lag, true)?;
            let fits = if exact { equal(panel, labels, &forward, span) } else { ordered(panel, labels, &forward, span) };
            if fits {
                let kind = if exact { "forward returns" } else { "in each date's order of forward returns" };
                report.add(name, subject, true, text!("{kind} from t+{lag} to t+{span}"));
                let build = |p: &Panel| horizon::forward(p, span - lag, lag, true);
                return check_altered(report, panel, LabelSource { build: &build, span, entry_lag: lag });
            }
        }
    }
    let reaches = (0..LAGS).flat_map(|lag| (1..=span + BEYOND).map(move |k| (lag, k))).find(|&(lag, k)| probe(panel, labels, k, lag));
    let detail = match reaches {
        Some((lag, k)) => text!("they are forward returns from t+{lag} to t+{}, not to t+{span}, or a few of them are not", lag + k),
        None => text!("they are not forward returns that end at t+{span}; what they look at is unknown"),
    };
    report.add(name, subject, false, detail);
    Ok(())
}

/// Check labels against the function that is said to have made them.
pub(super) fn check_source(report: &mut LeakReport, panel: &Panel, labels: &Matrix, source: LabelSource<'_>) -> Result<()> {
    let again = (source.build)(panel)?;
    let fits = again.rows() == labels.rows() && again.cols() == labels.cols() && again.values().iter().zip(labels.values()).all(|(a, b)| same(*a, *b));
    let detail = if fits { "their source makes the same labels again" } else { "their source makes other labels" };
    report.add("label_definition", "labels", fits, detail);
    check_altered(report, panel, source)
}

/// Labels up to `t` must stay when everything after `t + span` is different; labels at `t` must move with the entry.
fn check_altered(report: &mut LeakReport, panel: &Panel, source: LabelSource<'_>) -> Result<()> {
    let panel = sample::thinned(panel);
    let base = (source.build)(&panel)?;
    let reach = panel.n_days().saturating_sub(source.span + 2);
    let (mut leak, mut entered) = (None, false);
    for t in [reach / 3, reach * 2 / 3, reach] {
        let other = (source.build)(&sample::with_other_future(&panel, t + source.span + 1))?;
        if other.rows() != base.rows() || other.cols() != base.cols() {
            leak = Some("their shape does not follow the panel they are given".to_owned());
            continue;
        }
        let moved = |s: usize| (0..=t).find(|&d| !same(base.at(s, d), other.at(s, d))).map(|d| (s, d));
        if let Some((s, d)) = (0..base.rows()).find_map(moved) {
            leak.get_or_insert_with(|| text!("{} on {} changes with prices after day t+{}", panel.symbols[s], panel.days[d], source.span));
        }
        let entry = t + source.entry_lag;
        let other = (source.build)(&sample::with_other_prices(&panel, entry..entry + 1))?;
        entered |= (0..base.rows()).any(|s| !base.at(s, t).is_nan() && !same(base.at(s, t), other.at(s, t)));
    }
    let fine = text!("unchanged by anything after t+{}", source.span);
    report.add("label_future", "labels", leak.is_none(), leak.unwrap_or(fine));
    let detail = match (source.entry_lag, entered) {
        (0, _) => "the position is entered at the very close that makes the signal".to_owned(),
        (lag, true) => text!("the position is entered at t+{lag}, after the signal"),
        (lag, false) => text!("the price of t+{lag} does not matter to the label, so the entry is somewhere else"),
    };
    report.add("label_entry", "labels", source.entry_lag > 0 && entered, detail);
    Ok(())
}

/// Whether the outcome was settled by a delisting before the label's end: its price is not in the panel.
fn settled_early(panel: &Panel, s: usize, end: usize) -> bool {
    panel.delisted[s].is_some_and(|d| panel.days.get(end).is_none_or(|last| d.last < *last))
}

/// A quick test on some cells: is the label `C[t + lag + k] / C[t + lag] - 1`?
fn probe(panel: &Panel, labels: &Matrix, k: usize, lag: usize) -> bool {
    let cells: Vec<usize> = (0..labels.values().len()).filter(|&i| labels.values()[i].is_finite()).collect();
    let (mut tried, mut right) = (0_usize, 0_usize);
    for i in cells.iter().step_by(cells.len().div_ceil(PROBES).max(1)) {
        let (s, t) = (i / labels.cols(), i % labels.cols());
        let Some(exit) = panel.close.row(s).get(t + lag + k).filter(|_| !settled_early(panel, s, t + lag + k)) else { continue };
        tried += 1;
        right += usize::from(close_to(exit / panel.close.at(s, t + lag) - 1.0, labels.at(s, t)));
    }
    tried > 0 && right * 10 >= tried * 9
}

fn close_to(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + b.abs())
}

/// Whether every label is the forward return (where a delisting did not settle it).
fn equal(panel: &Panel, labels: &Matrix, forward: &Matrix, span: usize) -> bool {
    let cell = |s: usize, t: usize| labels.at(s, t).is_nan() || settled_early(panel, s, t + span) || close_to(forward.at(s, t), labels.at(s, t));
    (0..labels.rows()).all(|s| (0..labels.cols()).all(|t| cell(s, t)))
}

/// Whether within every date labels rise with forward returns, and on some date do rise.
fn ordered(panel: &Panel, labels: &Matrix, forward: &Matrix, span: usize) -> bool {
    let mut rises = false;
    for t in 0..labels.cols() {
        let with_label = (0..labels.rows()).filter(|&s| !labels.at(s, t).is_nan() && !settled_early(panel, s, t + span));
        let mut pairs: Vec<(f64, f64)> = with_label.map(|s| (forward.at(s, t), labels.at(s, t))).collect();
        if pairs.iter().any(|(f, _)| f.is_nan()) {
            return false;
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in pairs.windows(2) {
            let ((f0, y0), (f1, y1)) = (pair[0], pair[1]);
            if y1 < y0 && !close_to(y0, y1) && !close_to(f0, f1) {
                return false;
            }
            rises |= y1 > y0;
        }
    }
    rises
}
