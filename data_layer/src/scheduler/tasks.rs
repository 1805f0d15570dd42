//! Building rows for the queue. A window never crosses a calendar year (day bars, corporate actions) or a week (minutes),
//! and never leaves what was asked for.

use crate::calendar::Calendar;
use crate::error::Result;
use crate::queue::{Kind, NewTask};
use crate::schema::dataset;
use crate::sourcing::{Endpoints, Entry};
use crate::time::{DateRange, TradingDay, UtcTime};
use std::collections::BTreeSet;

/// Rows, and the windows that no enabled lane reaches back to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Planned {
    pub tasks: Vec<NewTask>,
    /// (dataset, window), one entry per window however many symbols it concerns.
    pub unserved: Vec<(String, DateRange)>,
}

/// One row per symbol and calendar year (minutes: week from Monday) of a window, routed by the registry, oldest window
/// first. Serves day bars, minutes and corporate actions.
pub fn bootstrap_tasks(endpoints: &Endpoints, dataset_name: &str, symbols: &[String], window: DateRange, kind: Kind, run_id: Option<&str>) -> Planned {
    let pieces = if dataset_name == dataset::EQUITIES_MINUTE { weeks(window) } else { years(window) };
    let mut out = Planned::default();
    for piece in pieces {
        let last = piece.end.plus_days(-1);
        let Ok(entry) = endpoints.route(dataset_name, last) else {
            out.unserved.push((dataset_name.to_string(), piece));
            continue;
        };
        // The lane's first day may lie inside the piece: what is before it is said to be unserved, not asked.
        let from = endpoints.depth(entry).map_or(piece.start, |d| d.max(piece.start));
        if from > piece.start
            && let Ok(early) = DateRange::new(piece.start, from)
        {
            out.unserved.push((dataset_name.to_string(), early));
        }
        let Ok(range) = DateRange::new(from, piece.end) else { continue };
        out.tasks.extend(symbols.iter().map(|s| task(entry, s, range, kind, None, run_id)));
    }
    out
}

/// A row for the best vendor that can be asked, reaches back to the window, and is none of those that have answered already.
pub fn second_opinion(endpoints: &Endpoints, dataset_name: &str, symbol: &str, range: DateRange, answered: &BTreeSet<String>, now: UtcTime) -> Option<NewTask> {
    let reaches = |e: &&Entry| endpoints.depth_on(e, now.utc_day()).is_none_or(|from| from <= range.start);
    let routes = endpoints.open_routes(dataset_name, range.end.plus_days(-1));
    let entry = routes.into_iter().find(|e| reaches(e) && !answered.contains(e.vendor.as_str()))?;
    Some(task(entry, symbol, range, Kind::Gap, None, None))
}

/// Today's row for every symbol: day bars or minutes of one session, not due before the vendor has them.
pub fn forward_tasks(endpoints: &Endpoints, name: &str, symbols: &[String], session: TradingDay, run_id: Option<&str>) -> Result<Vec<NewTask>> {
    let entry = endpoints.route(name, session)?;
    let range = DateRange::new(session, session.plus_days(1))?;
    let due = due_at(entry, session);
    Ok(symbols.iter().map(|s| task(entry, s, range, Kind::Forward, Some(due), run_id)).collect())
}

/// One row per date at which the listing is wanted (each costs two calls: active and delisted names).
pub fn listing_tasks(endpoints: &Endpoints, days: &[TradingDay], kind: Kind, run_id: Option<&str>) -> Result<Vec<NewTask>> {
    let mut out = Vec::new();
    for day in days {
        let entry = endpoints.route(dataset::LISTINGS, *day)?;
        out.push(task(entry, "", DateRange::new(*day, day.plus_days(1))?, kind, None, run_id));
    }
    Ok(out)
}

/// One row per macro series over a whole window: a series is one question however long it is.
pub fn macro_tasks(endpoints: &Endpoints, series: &[String], window: DateRange, kind: Kind, run_id: Option<&str>) -> Result<Vec<NewTask>> {
    let entry = endpoints.route(dataset::MACROS_FRED, window.end.plus_days(-1))?;
    Ok(series.iter().map(|s| task(entry, s, window, kind, None, run_id)).collect())
}

/// One row for a dataset that is asked for the whole market at once (index membership, an earnings calendar).
pub fn market_task(endpoints: &Endpoints, dataset_name: &str, window: DateRange, kind: Kind, run_id: Option<&str>) -> Result<NewTask> {
    let entry = endpoints.route(dataset_name, window.end.plus_days(-1))?;
    Ok(task(entry, "", window, kind, None, run_id))
}

/// When a session's data may first be asked for: the close (early ones included) plus the vendor's delay.
pub fn due_at(entry: &Entry, session: TradingDay) -> UtcTime {
    Calendar::xnys().close(session).plus_seconds(entry.min_age_minutes * 60)
}

fn task(entry: &Entry, symbol: &str, range: DateRange, kind: Kind, not_before: Option<UtcTime>, run_id: Option<&str>) -> NewTask {
    NewTask {
        dataset: entry.dataset.clone(),
        symbol: symbol.to_string(),
        range,
        kind,
        priority: kind.priority(),
        vendor: entry.vendor.as_str().to_string(),
        not_before,
        run_id: run_id.map(str::to_string),
    }
}

fn years(window: DateRange) -> Vec<DateRange> {
    cut(window, |day| TradingDay::ymd(day.year() + 1, 1, 1))
}

fn weeks(window: DateRange) -> Vec<DateRange> {
    cut(window, |day| Some(day.plus_days(7 - i32::from(day.weekday()))))
}

fn cut(window: DateRange, next: impl Fn(TradingDay) -> Option<TradingDay>) -> Vec<DateRange> {
    let mut out = Vec::new();
    let mut start = window.start;
    while start < window.end {
        let end = next(start).unwrap_or(window.end).min(window.end);
        out.push(DateRange { start, end });
        start = end;
    }
    out
}

/// What of a window may be asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clamp {
    Ask(DateRange),
    /// Nothing of it exists yet; the first part does from this moment.
    TooEarly(UtcTime),
    /// All of it lies before the plan's first day.
    BeforeDepth,
    /// The lane tells what stands now, and a later session has opened since.
    TooLate,
}

/// Cut a window to the contract before a call is spent: not before the lane's first day, not beyond the last session
/// whose data is due, or as many days beyond it as the lane announces.
pub fn clamp(endpoints: &Endpoints, entry: &Entry, range: DateRange, now: UtcTime) -> Result<Clamp> {
    let cal = Calendar::xnys();
    let start = endpoints.depth_on(entry, now.utc_day()).map_or(range.start, |d| d.max(range.start));
    if start >= range.end {
        return Ok(Clamp::BeforeDepth);
    }
    if entry.snapshot && now >= cal.open(cal.next(range.end.plus_days(-1))?) {
        return Ok(Clamp::TooLate);
    }
    let due = cal.last_closed(now.plus_seconds(-entry.min_age_minutes * 60))?;
    // Up to the next session everything is known, holidays and weekends included.
    let known = cal.next(due)?.plus_days(entry.ahead_days);
    let end = range.end.min(known);
    if start < end {
        return Ok(Clamp::Ask(DateRange::new(start, end)?));
    }
    let first = if cal.is_session(start) { start } else { cal.next(start)? };
    Ok(Clamp::TooEarly(due_at(entry, first)))
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
