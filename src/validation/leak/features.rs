//! Features computed again on altered panels, and features of names that were not members.

use super::{FeatureFn, LeakReport, sample};
use crate::features::FeatureBlock;
use crate::types::{Matrix, Panel};
use data_layer::error::Result;
use std::ops::Range;

/// Relative difference that counts as none: features need not be computed in the same order of additions.
const TOLERANCE: f64 = 1e-12;

/// What comparing one feature has shown so far.
#[derive(Clone, Default)]
struct Tally {
    compared: u64,
    different: u64,
    first: Option<String>,
}

/// One kind of comparison, over all features.
struct Comparison<'a> {
    name: &'static str,
    meaning: &'static str,
    features: &'a [String],
    tallies: Vec<Tally>,
}

/// A feature's column, wherever it stands; no values where the block leaves it out by name, as it does for want of a source that a
/// longer panel has.
fn column<'b>(block: &'b FeatureBlock, name: &str, missing: &'b Matrix) -> Option<&'b Matrix> {
    let left_out = block.excluded.iter().any(|e| e.name == name).then_some(missing);
    block.names.iter().position(|n| n == name).map_or(left_out, |at| block.columns.get(at))
}

pub(super) fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

impl<'a> Comparison<'a> {
    fn new(name: &'static str, meaning: &'static str, features: &'a [String]) -> Self {
        Self { name, meaning, features, tallies: vec![Tally::default(); features.len()] }
    }

    /// Compare the given days of every feature in `base` and `other`.
    fn compare(&mut self, panel: &Panel, base: &FeatureBlock, other: &FeatureBlock, days: Range<usize>) {
        let missing = Matrix::missing(panel.n_symbols(), panel.n_days());
        for (name, tally) in self.features.iter().zip(&mut self.tallies) {
            match column(base, name, &missing).zip(column(other, name, &missing)) {
                Some((a, b)) => tally.compare(panel, a, b, days.clone()),
                None => {
                    tally.different += 1;
                    tally.first.get_or_insert_with(|| "its shape or place does not follow the panel it is given".into());
                }
            }
        }
    }

    fn report(self, report: &mut LeakReport) {
        for (name, tally) in self.features.iter().zip(self.tallies) {
            let detail = match tally.first {
                Some(first) => text!("{} of {} values differ {}; {first}", tally.different, tally.compared, self.meaning),
                None => text!("{} values are the same {}", tally.compared, self.meaning),
            };
            report.add(self.name, name.clone(), tally.different == 0, detail);
        }
    }
}

impl Tally {
    fn compare(&mut self, panel: &Panel, a: &Matrix, b: &Matrix, days: Range<usize>) {
        for s in 0..a.rows() {
            for (i, (x, y)) in a.row(s)[days.clone()].iter().zip(&b.row(s)[days.clone()]).enumerate() {
                self.compared += u64::from(!x.is_nan() || !y.is_nan());
                if !same(*x, *y) {
                    self.different += 1;
                    let place = || text!("first {} on {}: {x:e} becomes {y:e}", panel.symbols[s], panel.days[days.start + i]);
                    self.first.get_or_insert_with(place);
                }
            }
        }
    }
}

/// The features of an altered panel; no columns at all if they do not have that panel's shape.
fn rebuild(panel: &Panel, build: FeatureFn<'_>) -> Result<FeatureBlock> {
    let mut block = build(panel).map_err(|e| e.during("recomputing features to look for look-ahead"))?;
    if block.check_shape(panel).is_err() {
        block.columns.clear();
    }
    Ok(block)
}

/// Compute the features on panels that end at each sampled day, whose later days are different, or that miss bars, and
/// compare every value up to that day.
pub(super) fn check_recomputed(report: &mut LeakReport, panel: &Panel, build: FeatureFn<'_>) -> Result<()> {
    let panel = sample::thinned(panel);
    let dates = sample::dates(&panel);
    let rebuild = |p: &Panel| rebuild(p, build);
    let base = rebuild(&panel)?;
    let mut truncate = Comparison::new("truncate", "on the last day of a panel that ends there", &base.names);
    let mut append = Comparison::new("append", "on earlier days once later rows are appended", &base.names);
    let mut change = Comparison::new("future_change", "when every later day is changed", &base.names);
    let mut fill = Comparison::new("back_fill", "beside missing bars once later bars are known", &base.names);
    for &t in &dates {
        let early = rebuild(&panel.truncated(t))?;
        truncate.compare(&panel, &early, &base, t..t + 1);
        append.compare(&panel, &early, &base, 0..t);
    }
    for &t in &[dates[0], dates[dates.len() / 2], dates[dates.len() - 1]] {
        change.compare(&panel, &base, &rebuild(&sample::with_other_future(&panel, t + 1))?, 0..t + 1);
    }
    let holes: Vec<usize> = dates.iter().copied().step_by(4).collect();
    // A bar may be missing on the day itself, or on the day before it.
    let missing: Vec<usize> = holes.iter().flat_map(|&t| [t.saturating_sub(1), t]).collect();
    let gapped = sample::with_gaps(&panel, &missing);
    let full = rebuild(&gapped)?;
    for &t in &holes {
        fill.compare(&gapped, &rebuild(&gapped.truncated(t))?, &full, t..t + 1);
    }
    for comparison in [truncate, append, change, fill] {
        comparison.report(report);
    }
    Ok(())
}

/// A value for a name that was not a member on that day, or had no close, means somebody else's day was used.
pub(super) fn check_members(report: &mut LeakReport, panel: &Panel, full: &FeatureBlock) {
    for (name, m) in full.names.iter().zip(&full.columns) {
        let (mut values, mut strangers, mut first) = (0_u64, 0_u64, None);
        for s in 0..m.rows() {
            for (t, v) in m.row(s).iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                values += 1;
                if !v.is_finite() || panel.member.at(s, t) <= 0.0 || panel.close.at(s, t).is_nan() {
                    strangers += 1;
                    first.get_or_insert_with(|| text!("{} on {}", panel.symbols[s], panel.days[t]));
                }
            }
        }
        let detail = match first {
            None => text!("all {values} values belong to members with a close that day"),
            Some(first) => text!("{strangers} of {values} values belong to no member with a close that day, or are infinite; first {first}"),
        };
        report.add("membership", name.clone(), strangers == 0, detail);
    }
}
