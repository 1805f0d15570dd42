//! Which sessions of minutes must be judged again.

use super::Task;
use crate::audit::plan::told;
use crate::audit::{AuditScope, shut, state};
use crate::calendar::YEARS;
use crate::error::Result;
use crate::ledger::scope::{self, Scope};
use crate::reference::sources;
use crate::root::DataRoot;
use crate::schema::timeframe;
use crate::sourcing::Endpoints;
use crate::stage::Stage;
use crate::store;
use crate::time::{DateRange, TradingDay};
use std::collections::{BTreeMap, BTreeSet};

/// Windows by symbol: sorted, disjoint, never empty.
pub(crate) type Wanted = BTreeMap<String, Vec<DateRange>>;

/// The sessions whose minutes a stage expects, out of `whole`; `None` where no minutes are collected.
pub(crate) fn window_of(root: &DataRoot, stage: &Stage, whole: DateRange) -> Result<Option<DateRange>> {
    let from = stage.minutes_from(&Endpoints::load(root)?)?;
    Ok(from.map(|from| DateRange { start: from.max(whole.start), end: whole.end }).filter(|w| w.start < w.end))
}

/// The work of one audit.
pub(super) struct Plan {
    pub dirty: Wanted,
    /// Symbols that are judged as a whole.
    pub afresh: Vec<String>,
    /// Symbols that are no longer expected at all.
    pub dropped: Vec<String>,
    facts: BTreeMap<String, String>,
    /// What the next audit is to know of lanes that were shut or opened.
    shut: Option<String>,
    seen: state::Seen,
}

pub(super) fn make(task: &Task<'_>) -> Result<Plan> {
    let seen = state::load(task.db, timeframe::MINUTE)?;
    let known = scope::of_minutes(&*task.db.lock()?)?;
    let wanted: BTreeSet<&str> = task.symbols.iter().map(String::as_str).collect();
    let mut spans: BTreeMap<&str, Vec<DateRange>> = BTreeMap::new();
    let mut touch = |names: &[String], days: DateRange| {
        for name in names.iter().filter_map(|n| wanted.get(n.as_str())) {
            spans.entry(name).or_default().push(days);
        }
    };
    for (path, manifest) in &task.minutes.manifests {
        let new = !seen.manifests.contains(path.as_str());
        if new {
            touch(&manifest.asked.symbols, DateRange { start: manifest.asked.t0, end: manifest.asked.t1 });
        }
        for segment in &manifest.segments {
            if new || sources::size(task.root, &segment.path) != Some(segment.bytes) {
                touch(&segment.symbols, DateRange { start: segment.t0, end: segment.t1 });
            }
        }
    }
    let (mut refused, shut) = task.facts.shut_minutes.news(task.db, timeframe::MINUTE, task.window)?;
    let mut plan = Plan { dirty: Wanted::new(), afresh: Vec::new(), dropped: Vec::new(), facts: BTreeMap::new(), shut, seen: state::Seen::default() };
    for symbol in wanted {
        let listed: Option<Vec<[Option<TradingDay>; 2]>> = task.facts.spans.spans(symbol).map(|s| s.iter().map(|(a, b)| [*a, *b]).collect());
        let digest = match told(task.facts, symbol) {
            None => store::digest_of(&listed)?,
            life => store::digest_of(&(listed, life))?,
        };
        let mut changed = spans.remove(symbol).unwrap_or_default();
        changed.extend(task.touched.get(symbol).into_iter().flatten());
        changed.extend(refused.remove(symbol).unwrap_or_default());
        if let Some(known) = known {
            changed.push(DateRange { start: task.window.start, end: known.start });
            changed.push(DateRange { start: known.asof.plus_days(1), end: task.window.end });
        }
        let afresh = task.depth == AuditScope::Full || known.is_none_or(|k| k.start < task.window.start) || seen.symbols.get(symbol) != Some(&digest);
        if afresh {
            changed = vec![task.window];
            plan.afresh.push(symbol.to_string());
        }
        let windows = merged(changed.iter().filter_map(|d| d.intersect(&task.window)).collect());
        if !windows.is_empty() {
            plan.dirty.insert(symbol.to_string(), windows);
        }
        plan.facts.insert(symbol.to_string(), digest);
    }
    plan.dropped = seen.symbols.keys().filter(|s| !plan.facts.contains_key(*s)).cloned().collect();
    plan.seen = seen;
    Ok(plan)
}

/// Remember what the ledger now reflects, after its rows are committed.
pub(super) fn finish(task: &Task<'_>, plan: &Plan) -> Result<()> {
    let news = plan.seen.news(task.minutes.manifests.iter().map(|(p, _)| p.as_str()), &plan.facts, &plan.dropped);
    let answered = Scope { start: task.window.start, asof: task.window.end.plus_days(-1) };
    let answered = (!task.symbols.is_empty()).then_some(answered);
    if news.is_empty() && plan.shut.is_none() && scope::of_minutes(&*task.db.lock()?)? == answered {
        return Ok(());
    }
    task.db.write(|tx| {
        news.save(tx, timeframe::MINUTE)?;
        shut::remember(tx, timeframe::MINUTE, plan.shut.as_ref())?;
        scope::set_of_minutes(tx, answered)
    })
}

/// Sorted, without overlap.
pub(crate) fn merged(mut windows: Vec<DateRange>) -> Vec<DateRange> {
    windows.retain(|w| w.start < w.end);
    windows.sort_by_key(|w| (w.start, w.end));
    let mut out: Vec<DateRange> = Vec::new();
    for w in windows {
        match out.last_mut() {
            Some(last) if w.start <= last.end => last.end = last.end.max(w.end),
            _ => out.push(w),
        }
    }
    out
}

/// The smallest window that holds all.
pub(super) fn hull(windows: &[DateRange]) -> Option<DateRange> {
    Some(DateRange { start: windows.first()?.start, end: windows.last()?.end })
}

/// The calendar years that the windows touch.
pub(super) fn years(wanted: &Wanted) -> BTreeSet<i16> {
    let of = |w: &DateRange| w.start.year().max(YEARS.0)..=w.end.plus_days(-1).year().min(YEARS.1);
    wanted.values().flatten().flat_map(of).collect()
}

/// The windows within one calendar year.
pub(super) fn within(wanted: &Wanted, year: i16) -> Wanted {
    let (Some(start), Some(end)) = (TradingDay::ymd(year, 1, 1), TradingDay::ymd(year + 1, 1, 1)) else { return Wanted::new() };
    let cut = |(symbol, windows): (&String, &Vec<DateRange>)| {
        let inside: Vec<DateRange> = windows.iter().filter_map(|w| w.intersect(&DateRange { start, end })).collect();
        (!inside.is_empty()).then(|| (symbol.clone(), inside))
    };
    wanted.iter().filter_map(cut).collect()
}
