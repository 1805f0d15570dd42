//! When what is asked for will be there: the waiting rows of the queue, laid against the vendors' limits.
//!
//! Calls are counted as the runners pack them, then sent in thought: at the pace of the second and minute windows, no more
//! an hour and a day than is left of those windows in this kind of work's slice, from the end of a freeze on, and begun
//! again at each reset. The answer is as good as the limits are; what a vendor lacks is not foreseen.

use crate::budget::{self, Limits, Per, Slices};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::queue::Kind;
use crate::schema::dataset;
use crate::sourcing::{Endpoints, Entry, Vendor};
use crate::stage::Stage;
use crate::time::{DateRange, TradingDay, UtcTime};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Seconds that one call takes, where nothing better is known: it bounds the pace by the calls in flight.
const LATENCY_SECONDS: f64 = 0.3;
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
    /// The window that holds it up longest: `second`, `minute`, `hour`, `day`, `unique_symbols_month`, or a row's own
    /// earliest time (`not due`).
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
        let pace = Pace::of(db, &limits, endpoints, *vendor, inflight(*vendor), now)?;
        let mut before = 0;
        for ((name, _), w) in waiting.iter().filter(|((_, v), _)| v == vendor) {
            // Rows of one vendor share its calls; those of a dataset end when all before them have.
            before += w.calls;
            let (sent, held_by) = pace.answered(before, w.symbols);
            let late = w.not_before.filter(|t| sent.is_some_and(|s| *t > s));
            let ready_at = late.or(sent);
            let held_by = if late.is_some() { "not due".to_string() } else { held_by };
            complete = complete.zip(ready_at).map(|(a, b)| a.max(b));
            datasets.push(Outlook { dataset: name.clone(), vendor: *vendor, tasks: w.tasks, calls: w.calls, ready_at, held_by });
        }
        let (more, symbols) = beyond(endpoints, *vendor, stage, now)?;
        if more > 0 {
            stage_1 = stage_1.zip(pace.answered(before + more, symbols).0).map(|(a, b)| a.max(b));
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
    symbols: u64,
    not_before: Option<UtcTime>,
}

fn waiting(db: &Db, endpoints: &Endpoints) -> Result<BTreeMap<(String, Vendor), Waiting>> {
    let conn = db.lock()?;
    let mut st = conn.prepare(
        "SELECT dataset, vendor, start_date, end_date, count(*), max(next_not_before) FROM backfill_queue
         WHERE status IN ('PENDING', 'LEASED') GROUP BY 1, 2, 3, 4, kind",
    )?;
    type Group = (String, String, String, String, i64, Option<String>);
    let groups: Vec<Group> =
        st.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)))?.collect::<std::result::Result<_, _>>()?;
    let mut out: BTreeMap<(String, Vendor), Waiting> = BTreeMap::new();
    for (name, vendor, start, end, n, not_before) in groups {
        let (Ok(vendor), rows) = (Vendor::parse(&vendor), n.unsigned_abs()) else { continue };
        let Some(entry) = endpoints.entry(vendor, &name) else { continue };
        let range = DateRange::new(start.parse::<TradingDay>()?, end.parse::<TradingDay>()?)?;
        let w = out.entry((name, vendor)).or_default();
        w.tasks += rows;
        w.calls += calls(entry, rows, range);
        w.symbols = w.symbols.max(rows);
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
        for back in 0..i16::try_from(years).unwrap_or(0) {
            let range = DateRange { start: today.minus_years(back + 1), end: today.minus_years(back) };
            let Some(entry) = endpoints.routes(name, range.end.plus_days(-1)).into_iter().next().filter(|e| e.vendor == vendor) else { continue };
            let known = if back < i16::try_from(held).unwrap_or(0) { u64::from(have.symbols) } else { 0 };
            more += calls(entry, u64::from(one.symbols).saturating_sub(known), range);
            symbols = u64::from(one.symbols);
        }
    }
    Ok((more, symbols))
}

/// A vendor's limits as a pace from now on.
struct Pace {
    from: UtcTime,
    /// Calls a second.
    rate: f64,
    rate_window: &'static str,
    /// Left in this hour, and in each later one.
    hour: Option<(u64, u64)>,
    /// Left today in the slice of ordinary work, in each later day, and when a day begins again.
    day: Option<(u64, u64, UtcTime)>,
    /// Symbols left this month, and in each later one.
    symbols: Option<(u64, u64)>,
}

impl Pace {
    fn of(db: &Db, limits: &Limits, endpoints: &Endpoints, vendor: Vendor, inflight: usize, now: UtcTime) -> Result<Self> {
        let conn = db.lock()?;
        let (mut rate, mut rate_window) = (inflight as f64 / LATENCY_SECONDS, "latency");
        for spec in endpoints.short_windows(vendor) {
            let cap = budget::effective_cap(&conn, now, vendor.as_str(), spec)?;
            let each = cap as f64 / spec.per.seconds() as f64;
            if each < rate {
                (rate, rate_window) = (each, spec.per.as_str());
            }
        }
        let mut out = Self { from: now, rate, rate_window, hour: None, day: None, symbols: None };
        for spec in &limits.windows {
            let cap = budget::effective_cap(&conn, now, vendor.as_str(), *spec)?;
            match spec.per {
                Per::Hour => out.hour = Some((cap.saturating_sub(budget::spent(&conn, now, limits, Per::Hour)?.0), cap)),
                Per::Day => {
                    let share = limits.slices.allowance(cap, Kind::Bootstrap);
                    let (spent, resets) = budget::spent(&conn, now, limits, Per::Day)?;
                    out.day = Some((share.saturating_sub(spent), share, resets));
                }
                Per::UniqueSymbolsMonth => out.symbols = Some((cap.saturating_sub(budget::symbols_this_month(&conn, now, vendor.as_str())?), cap)),
                _ => {}
            }
        }
        if let Some((until, _)) = budget::frozen(&conn, now, vendor.as_str())? {
            out.from = until;
        }
        Ok(out)
    }

    /// When `n` calls are answered, and which window held them up.
    fn answered(&self, n: u64, symbols: u64) -> (Option<UtcTime>, String) {
        let (mut left, mut t, mut held) = (n, self.from, self.rate_window);
        let mut day = self.day;
        let mut hour_left = self.hour.map(|h| h.0);
        let end = self.from.plus_seconds(HORIZON_DAYS * 86_400);
        while left > 0 && t < end {
            let next_hour = t.plus_seconds(3_600);
            let by_rate = (self.rate * 3_600.0) as u64;
            let room = by_rate.min(hour_left.unwrap_or(u64::MAX)).min(day.map_or(u64::MAX, |d| d.0));
            if left <= room {
                t = t.plus(Duration::from_secs_f64(left as f64 / self.rate));
                left = 0;
                continue;
            }
            left -= room;
            held = if day.is_some_and(|d| room == d.0) {
                "day"
            } else if hour_left == Some(room) {
                "hour"
            } else {
                self.rate_window
            };
            hour_left = self.hour.map(|h| h.1);
            t = next_hour;
            if let Some((today, whole, resets)) = day.as_mut() {
                *today = today.saturating_sub(room);
                if *today == 0 && t < *resets {
                    t = *resets;
                }
                while t >= *resets {
                    *today = *whole;
                    *resets = resets.plus_seconds(86_400);
                }
            }
        }
        if left > 0 {
            return (None, held.to_string());
        }
        match self.symbols {
            Some((now, _)) if symbols > now => {
                let months = (symbols - now).div_ceil(self.symbols.map_or(1, |s| s.1).max(1));
                (Some(t.max(month_after(self.from, months))), "unique_symbols_month".into())
            }
            _ => (Some(t), held.to_string()),
        }
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
