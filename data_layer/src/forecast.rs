//! When what is asked for will be there: the waiting rows of the queue, laid against the vendors' limits.
//!
//! Calls are counted as the runners pack them, then sent in thought, as [`Departures`] tells: each when the windows, as they stand, have
//! room for it, no more an hour and a day than this kind of work may have, from the end of a freeze on. The answer is as good as the
//! limits are; what a vendor lacks is not foreseen.

use crate::budget::{self, Departures, Limits, Per, Slices};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::schema::dataset;
use crate::sourcing::{Endpoints, Entry, Vendor};
use crate::stage::Stage;
use crate::time::{DateRange, TradingDay, UtcTime};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Beyond this nothing is foretold.
const HORIZON_DAYS: i64 = 2 * 365;

/// One dataset from one vendor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    pub dataset: String,
    pub vendor: Vendor,
    /// Rows of the queue that are not done.
    pub tasks: u64,
    /// HTTP requests that they come to.
    pub calls: u64,
    /// When the last of them is answered; `None`: beyond two years, or never at these limits.
    pub ready_at: Option<UtcTime>,
    /// What holds it up longest: a window (`second`, `minute`, `hour`, `day`, `unique_symbols_month`), the calls before it that are
    /// under way (`latency`), or a row's own earliest time (`not due`).
    pub held_by: String,
}

/// Everything that waits, and the way to the next stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    pub at: UtcTime,
    /// By dataset and vendor.
    pub datasets: Vec<Outlook>,
    /// When everything that was asked for is there: GREEN, as far as the vendors have it.
    pub complete_at: Option<UtcTime>,
    /// When the symbols and years of stage 1 could be there, if they were asked for now; `None` beyond two years.
    pub stage_1_at: Option<UtcTime>,
}

/// How many calls in flight a vendor is given.
pub type Inflight<'a> = &'a dyn Fn(Vendor) -> usize;

/// Foretell from the queue and the budgets as they stand.
pub fn forecast(db: &Db, endpoints: &Endpoints, slices: Slices, inflight: Inflight<'_>, stage: &Stage, now: UtcTime) -> Result<Forecast> {
    let waiting = waiting(db, endpoints)?;
    let mut datasets = Vec::new();
    let mut complete = Some(now);
    let mut stage_1 = Some(now);
    for vendor in Vendor::ALL {
        let Some(limits) = endpoints.limits(*vendor, slices) else { continue };
        let pace = Pace::of(db, &limits, inflight(*vendor), now)?;
        let here = || waiting.iter().filter(|((_, v), _)| v == vendor);
        // Rows that are being worked on still count as waiting; a call of theirs that is under way need not leave again.
        let gone = pace.departures.under_way().min(here().map(|(_, w)| w.leased).sum());
        let mut before = 0;
        for ((name, _), w) in here() {
            // Rows of one vendor share its calls; those of a dataset end when all before them have.
            before += w.calls;
            let (sent, held_by) = pace.answered(before.saturating_sub(gone), w.symbols);
            let late = w.not_before.filter(|t| sent.is_some_and(|s| *t > s));
            let ready_at = late.or(sent);
            let held_by = if late.is_some() { "not due".to_string() } else { held_by };
            complete = complete.zip(ready_at).map(|(a, b)| a.max(b));
            datasets.push(Outlook { dataset: name.clone(), vendor: *vendor, tasks: w.tasks, calls: w.calls, ready_at, held_by });
        }
        let (more, symbols) = beyond(endpoints, *vendor, stage, now)?;
        if more > 0 {
            stage_1 = stage_1.zip(pace.answered((before + more).saturating_sub(gone), symbols).0).map(|(a, b)| a.max(b));
        }
    }
    datasets.sort_by(|a, b| (&a.dataset, a.vendor).cmp(&(&b.dataset, b.vendor)));
    Ok(Forecast { at: now, datasets, complete_at: complete, stage_1_at: stage_1.zip(complete).map(|(a, b)| a.max(b)) })
}

/// What waits of one dataset at one vendor.
#[derive(Default)]
struct Waiting {
    tasks: u64,
    calls: u64,
    /// Those of them that belong to rows at work.
    leased: u64,
    symbols: u64,
    /// Who these symbols are, where each has a pack of its own in every kind of row.
    names: BTreeSet<String>,
    not_before: Option<UtcTime>,
}

fn waiting(db: &Db, endpoints: &Endpoints) -> Result<BTreeMap<(String, Vendor), Waiting>> {
    let conn = db.lock()?;
    // Rows that share calls: those of one window, or, where the lane packs windows, those of one symbol.
    let packs: Vec<String> = endpoints.entries().iter().filter(|e| e.batch_windows > 1).map(|e| format!("{}/{}", e.vendor, e.dataset)).collect();
    let mut st = conn.prepare(
        "WITH waiting AS (SELECT *, vendor || '/' || dataset IN (SELECT value FROM json_each(?1)) AS packs FROM backfill_queue WHERE status IN ('PENDING', 'LEASED'))
         SELECT dataset, vendor, iif(packs, symbol, ''), min(start_date), max(end_date), count(*), sum(status = 'LEASED'), max(next_not_before) FROM waiting
         GROUP BY 1, 2, 3, iif(packs, '', start_date), iif(packs, '', end_date), kind",
    )?;
    type Group = (String, String, String, String, String, i64, i64, Option<String>);
    let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?, r.get(7)?));
    let groups: Vec<Group> = st.query_map([serde_json::to_string(&packs)?], read)?.collect::<std::result::Result<_, _>>()?;
    let mut out: BTreeMap<(String, Vendor), Waiting> = BTreeMap::new();
    for (name, vendor, symbol, start, end, n, leased, not_before) in groups {
        let (Ok(vendor), rows, leased) = (Vendor::parse(&vendor), n.unsigned_abs(), leased.unsigned_abs()) else { continue };
        let Some(entry) = endpoints.entry(vendor, &name) else { continue };
        let range = DateRange::new(start.parse::<TradingDay>()?, end.parse::<TradingDay>()?)?;
        let w = out.entry((name, vendor)).or_default();
        let packed = |rows: u64| if symbol.is_empty() { calls(entry, rows, range) } else { rows.div_ceil(entry.batch_windows as u64) * calls(entry, 1, range) };
        w.tasks += rows;
        w.calls += packed(rows);
        w.leased += if leased > 0 { packed(leased) } else { 0 };
        if symbol.is_empty() {
            w.symbols = w.symbols.max(rows);
        } else {
            w.names.insert(symbol);
            w.symbols = w.names.len() as u64;
        }
        w.not_before = w.not_before.max(not_before.map(|t| UtcTime::parse(&t)).transpose()?);
    }
    Ok(out)
}

/// Requests for `rows` symbols of one window, packed as the connectors pack them.
fn calls(entry: &Entry, rows: u64, range: DateRange) -> u64 {
    let sessions = Calendar::xnys().sessions(range).len() as u64;
    let batches = rows.div_ceil(entry.batch_symbols as u64);
    let pages = |per_symbol: u64| (rows.min(entry.batch_symbols as u64) * per_symbol).div_ceil(entry.page_rows as u64).max(1);
    match (entry.dataset.as_str(), entry.vendor) {
        (dataset::EQUITIES_EOD, Vendor::Massive) => batches * rows.min(sessions.max(1)),
        (dataset::EQUITIES_EOD, _) => batches * pages(sessions),
        (dataset::EQUITIES_MINUTE, _) => batches * sessions * pages(390),
        (dataset::CORP_ACTIONS, Vendor::Massive) | (dataset::LISTINGS, _) | (dataset::MACROS_FRED, _) => rows * 2,
        _ => batches,
    }
}

/// Calls and symbols that stage 1 asks of a vendor beyond stage 0, as far back as its lane reaches.
fn beyond(endpoints: &Endpoints, vendor: Vendor, stage: &Stage, now: UtcTime) -> Result<(u64, u64)> {
    let (Some(one), true) = (stage.targets.get(&1), stage.stage == 0) else { return Ok((0, 0)) };
    let have = stage.target()?;
    let today = now.utc_day();
    let (mut more, mut symbols) = (0, 0);
    for (name, years, held) in [
        (dataset::EQUITIES_EOD, one.eod_years, have.eod_years),
        (dataset::EQUITIES_MINUTE, one.minute_years, have.minute_years),
        (dataset::CORP_ACTIONS, one.eod_years, have.eod_years),
    ] {
        if !stage.is_active(name) {
            continue;
        }
        let mut packed = 0;
        for back in 0..i16::try_from(years).unwrap_or(0) {
            let range = DateRange { start: today.minus_years(back + 1), end: today.minus_years(back) };
            let Some(entry) = endpoints.routes(name, range.end.plus_days(-1)).into_iter().next().filter(|e| e.vendor == vendor) else { continue };
            let known = if back < i16::try_from(held).unwrap_or(0) { u64::from(have.symbols) } else { 0 };
            let rows = u64::from(one.symbols).saturating_sub(known);
            if entry.batch_windows > 1 {
                // The years of a symbol share a call, and are never so many that they need two.
                packed = packed.max(rows * calls(entry, 1, range));
            } else {
                more += calls(entry, rows, range);
            }
            symbols = u64::from(one.symbols);
        }
        more += packed;
    }
    Ok((more, symbols))
}

/// A vendor's limits from now on.
struct Pace {
    departures: Departures,
    now: UtcTime,
    /// Symbols left this month, and in each later one.
    symbols: Option<(u64, u64)>,
}

impl Pace {
    fn of(db: &Db, limits: &Limits, inflight: usize, now: UtcTime) -> Result<Self> {
        let conn = db.lock()?;
        let mut symbols = None;
        if let Some(spec) = limits.windows.iter().find(|w| w.per == Per::UniqueSymbolsMonth) {
            let cap = budget::effective_cap(&conn, now, &limits.vendor, *spec)?;
            symbols = Some((cap.saturating_sub(budget::symbols_this_month(&conn, now, &limits.vendor)?), cap));
        }
        Ok(Self { departures: Departures::of(&conn, db.root(), limits, inflight, now)?, now, symbols })
    }

    /// When `n` calls are answered, and which window held them up.
    fn answered(&self, n: u64, symbols: u64) -> (Option<UtcTime>, String) {
        let (at, held_by) = self.departures.answered(n);
        let (at, held_by) = match self.symbols {
            Some((left, each)) if symbols > left => {
                let months = (symbols - left).div_ceil(each.max(1));
                (at.max(month_after(self.now, months)), Per::UniqueSymbolsMonth.as_str())
            }
            _ => (at, held_by),
        };
        (Some(at).filter(|at| *at < self.now.plus_seconds(HORIZON_DAYS * 86_400)), held_by.to_string())
    }
}

/// The first instant of the `n`-th month after this one.
fn month_after(t: UtcTime, n: u64) -> UtcTime {
    let day = t.utc_day();
    let months = i64::from(day.year()) * 12 + i64::from(day.month()) - 1 + i64::try_from(n).unwrap_or(0);
    let first = TradingDay::ymd(i16::try_from(months.div_euclid(12)).unwrap_or(i16::MAX), i8::try_from(months.rem_euclid(12)).unwrap_or(0) + 1, 1);
    first.map_or(t, |d| UtcTime::from_micros(i64::from(d.0) * 86_400_000_000))
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
