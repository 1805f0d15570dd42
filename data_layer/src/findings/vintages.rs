//! Macro series: how often what was published changed later, and that no interval of publication overlaps another.

use super::{Check, Classes, Section};
use crate::error::Result;
use crate::reference::{Macros, Vintage};
use crate::root::DataRoot;
use crate::time::TradingDay;
use std::collections::BTreeMap;

pub(super) fn section(root: &DataRoot) -> Result<Option<Section>> {
    let macros = Macros::load(root)?;
    if macros.is_empty() {
        return Ok(None);
    }
    let mut out = Section { dataset: "macros_fred".into(), ..Section::default() };
    let mut classes = Classes::default();
    let (mut observations, mut looked, mut overlaps, mut early) = (0, 0, 0, 0);
    let mut moments: Vec<TradingDay> = Vec::new();
    for series in macros.series() {
        let Some(all) = macros.vintages(series) else { continue };
        for (observed, vintages) in all {
            observations += 1;
            moments.extend(vintages.iter().map(|v| v.from));
            revisions(series, *observed, vintages, &mut classes);
            for pair in vintages.windows(2) {
                looked += 1;
                overlaps += u64::from(pair[0].until.is_none_or(|end| end >= pair[1].from));
            }
            // Before the first publication nothing may be known.
            let eve = vintages.first().map(|v| v.from.plus_days(-1));
            early += u64::from(eve.is_some_and(|d| macros.value_as_of(series, *observed, d).is_some()));
        }
    }
    moments.sort();
    moments.dedup();
    out.counts = BTreeMap::from([
        ("series".into(), macros.series().count() as u64),
        ("observations".into(), observations),
        ("rows (vintages of observations)".into(), macros.len() as u64),
        ("days of publication".into(), moments.len() as u64),
    ]);
    out.checks = vec![
        Check { what: "two values of one observation stood on one day".into(), looked_at: looked, violations: overlaps },
        Check { what: "a value was known before it was published".into(), looked_at: observations, violations: early },
        yesterdays(&macros, &moments),
    ];
    out.anomalies = classes.explained(why);
    Ok(Some(out))
}

fn revisions(series: &str, observed: TradingDay, vintages: &[Vintage], classes: &mut Classes) {
    for pair in vintages.windows(2) {
        match (pair[0].value, pair[1].value) {
            (Some(a), Some(b)) if a != b => {
                classes.add("a published value was revised", || text!("{series} of {observed}: {a} until {}, then {b}", pair[1].from.plus_days(-1)))
            }
            (Some(a), None) => classes.add("a published value was withdrawn", || text!("{series} of {observed}: {a}, nothing from {}", pair[1].from)),
            _ => {}
        }
        if pair[0].until.is_some_and(|end| end.plus_days(1) < pair[1].from) {
            classes.add("a gap between two publications", || text!("{series} of {observed}: nothing stood before {}", pair[1].from));
        }
    }
    if vintages.iter().any(|v| v.value.is_none()) {
        classes.add("a missing value", || text!("{series} of {observed}"));
    }
}

/// Ask about each day of publication with and without everything published later: the answers must be the same.
fn yesterdays(macros: &Macros, moments: &[TradingDay]) -> Check {
    let (mut looked_at, mut violations) = (0, 0);
    for series in macros.series() {
        let Some(all) = macros.vintages(series) else { continue };
        for day in moments {
            looked_at += 1;
            let known = |v: &&Vintage| v.from <= *day;
            // What a drive that ended on that day would have said: of the newest observation, the newest word.
            let then = all.range(..=*day).rev().find_map(|(observed, v)| Some((*observed, v.iter().rev().find(known).filter(|v| v.stood_on(*day))?.value?)));
            violations += u64::from(macros.latest_as_of(series, *day) != then);
        }
    }
    Check { what: "an answer about a day changed when later vintages arrived".into(), looked_at, violations }
}

fn why(class: &str) -> &'static str {
    match class {
        "a published value was revised" => {
            "The statistical office published a better figure later. Both stand, each on its own days: a model sees the one that stood then."
        }
        "a published value was withdrawn" => "A later vintage has no value for the period.",
        "a gap between two publications" => "The question for one window of vintages was answered without this observation.",
        "a missing value" => "The source says that it has none (a holiday, or not yet measured). It is null, never zero.",
        _ => "",
    }
}
