//! Fundamentals: what was restated, what is only repeated, and that no number is usable before it was filed.

use super::{Check, Classes, Section};
use crate::error::Result;
use crate::reference::{Fundamentals, Reported};
use crate::root::DataRoot;
use crate::time::TradingDay;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn section(root: &DataRoot) -> Result<Option<Section>> {
    let all = Fundamentals::load(root)?;
    if all.is_empty() {
        return Ok(None);
    }
    let mut out = Section { dataset: "fundamentals".into(), ..Section::default() };
    let mut classes = Classes::default();
    let (mut filings, mut companies) = (BTreeSet::new(), BTreeSet::new());
    let (mut asked, mut early, mut changed) = (0, 0, 0);
    for item in all.items() {
        let history = all.history(item);
        companies.insert(item.0.clone());
        filings.extend(history.iter().map(|r| r.accession.clone()));
        restatements(&item.1, history, &mut classes);
        for day in history.iter().map(|r| r.filed).collect::<BTreeSet<TradingDay>>() {
            // On the day of a filing its numbers are not yet usable, and nothing filed later may speak.
            asked += 1;
            let open = session_on_or_after(day);
            let usable = all.usable_at_open(item, open);
            early += u64::from(usable.is_some_and(|r| r.filed >= open));
            let then = Fundamentals::of(item.clone(), history.iter().filter(|r| r.filed < open).cloned().collect());
            changed += u64::from(then.usable_at_open(item, open) != usable);
        }
    }
    out.counts = BTreeMap::from([
        ("companies".into(), companies.len() as u64),
        ("numbers".into(), all.len() as u64),
        ("concepts and units".into(), all.items().count() as u64),
        ("filings".into(), filings.len() as u64),
    ]);
    out.checks = vec![
        Check { what: "a number was usable at an open on or before the day of its filing".into(), looked_at: asked, violations: early },
        Check { what: "an answer about a day changed when later filings arrived".into(), looked_at: asked, violations: changed },
    ];
    out.anomalies = classes.explained(why);
    Ok(Some(out))
}

fn session_on_or_after(day: TradingDay) -> TradingDay {
    let cal = crate::calendar::Calendar::xnys();
    if cal.is_session(day) { day } else { cal.next(day).unwrap_or(day) }
}

/// Statements about one period, in order of filing.
fn restatements(concept: &str, history: &[Reported], classes: &mut Classes) {
    let mut periods: BTreeMap<(TradingDay, Option<TradingDay>), &Reported> = BTreeMap::new();
    for r in history {
        if r.filed < r.end {
            classes.add("filed before its period ended", || text!("{concept} to {}: filed {} ({})", r.end, r.filed, r.form));
        }
        match periods.insert((r.end, r.start), r) {
            Some(before) if before.value != r.value => {
                classes
                    .add("a period was restated", || text!("{concept} to {}: {} filed {}, {} filed {}", r.end, before.value, before.filed, r.value, r.filed));
            }
            Some(_) => classes.add("a period is told again unchanged", || text!("{concept} to {}: again on {}", r.end, r.filed)),
            None => {}
        }
        if r.form.ends_with("/A") {
            classes.add("an amended form", || text!("{concept} to {}: {} filed {}", r.end, r.form, r.filed));
        }
    }
}

fn why(class: &str) -> &'static str {
    match class {
        "filed before its period ended" => {
            "A date on the cover page, or a period that a form speaks of in advance; the day of the filing decides when it counts."
        }
        "a period was restated" => {
            "A later filing tells the period otherwise (a split of shares, a new accounting rule, a correction). Both are kept; each counts from the session after its own filing."
        }
        "a period is told again unchanged" => "Every report repeats earlier periods for comparison. The first filing decides when the number was known.",
        "an amended form" => "The company filed the form again; it counts from its own filing.",
        _ => "",
    }
}
