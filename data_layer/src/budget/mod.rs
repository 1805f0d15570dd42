//! What may still be asked of a vendor: windows, slices, learned caps, freezes.
//!
//! Windows of an hour and longer are rows of `budget_spend` (several for one that slides), changed in the same transaction that decides, so two workers
//! cannot both take the last unit and a restart forgets nothing. Second and minute windows live in [`Pacer`]'s memory, and in a
//! file that the processes on one drive share: rows would cost a synchronous write for a count that is void at once. Spend is recorded before the request leaves, whatever becomes of it. The standing row (`window_start = ''`)
//! keeps what outlives a window: the learned cap and the two counts of refusals, the vendor's and our own.

use crate::error::Result;
use crate::queue::Kind;
use crate::time::{TradingDay, UtcTime, new_york};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod departures;
mod pacer;
mod turnstile;
mod view;
pub use departures::Departures;
pub use pacer::{Pacer, Ticket};
pub use view::{Standing, standings};

/// The span a limit counts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    /// Distinct symbols in a calendar month (counted by `budget_symbols`, not by calls).
    UniqueSymbolsMonth,
}

impl Per {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => term!("minute"),
            Self::Hour => term!("hour"),
            Self::Day => term!("day"),
            Self::Month => "month",
            Self::UniqueSymbolsMonth => "unique_symbols_month",
        }
    }
    /// Length in seconds; a month counts as 31 days where no calendar month applies.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month | Self::UniqueSymbolsMonth => 31 * 86_400,
        }
    }
    fn durable(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Month)
    }
    /// Calls of a window that slides are counted together for so many seconds: none is forgotten before the last of them is out of the window.
    fn bucket_seconds(self) -> i64 {
        if self <= Self::Hour { 60 } else { 900 }
    }
}

/// When a day or month begins again at this vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    UtcMidnight,
    EasternMidnight,
    FirstOfMonth,
    Sliding,
    /// Not documented: it may be any 24 hours, until the vendor shows otherwise.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    pub per: Per,
    pub calls: u64,
}

/// Which share of a day's quota each kind of work may use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slices {
    pub all_work: f64,
    pub probe_and_forward: f64,
}

impl Default for Slices {
    fn default() -> Self {
        Self { all_work: 0.85, probe_and_forward: 0.90 }
    }
}

impl Slices {
    /// Calls of a day's quota that a kind of work may use.
    pub fn allowance(self, cap: u64, kind: Kind) -> u64 {
        allowance(cap, self.share(kind))
    }
    fn share(self, kind: Kind) -> f64 {
        match kind {
            Kind::Bootstrap | Kind::Gap => self.all_work,
            Kind::QcProbe => self.probe_and_forward,
            Kind::Forward => 1.0,
        }
    }
}

/// One vendor's limits as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub vendor: String,
    pub windows: Vec<WindowSpec>,
    pub reset: Reset,
    pub slices: Slices,
}

/// May the request leave?
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// Yes, and it is already counted.
    Granted,
    /// Our own ledger says no until this moment.
    Blocked { per: Per, until: UtcTime },
    /// The vendor is frozen after a refusal.
    Frozen { until: UtcTime, reason: String },
}

/// Decide and count in one transaction; `weight` is the call's cost in the vendor's units.
pub fn spend(tx: &Transaction<'_>, now: UtcTime, limits: &Limits, kind: Kind, weight: u64) -> Result<Grant> {
    if let Some((until, reason)) = frozen(tx, now, &limits.vendor)? {
        return Ok(Grant::Frozen { until, reason });
    }
    let mut open = Vec::new();
    for spec in limits.windows.iter().filter(|w| w.per.durable()) {
        let window = active(tx, now, limits, spec.per)?;
        let cap = effective_cap(tx, now, &limits.vendor, *spec)?;
        let last_hour = window.known_reset && window.end.seconds_since(now) <= 3_600.0;
        let share = if last_hour { 1.0 } else { limits.slices.share(kind) };
        let share = if spec.per == Per::Hour { 1.0 } else { share };
        let allowed = allowance(cap, share);
        if window.spent + weight > allowed {
            standing(tx, &limits.vendor, spec.per, "local_blocked")?;
            let released = window.end.plus_seconds(-3_600);
            let early = window.known_reset && window.spent + weight <= cap && released > now;
            return Ok(Grant::Blocked { per: spec.per, until: if early { released } else { window.room_at(weight, allowed) } });
        }
        open.push((spec.per, window, Some(cap)));
    }
    if !open.iter().any(|(per, ..)| *per == Per::Day) {
        // Without a daily cap the day is still counted: the ledger must agree with the vendor's own count.
        open.push((Per::Day, active(tx, now, limits, Per::Day)?, None));
    }
    for (per, window, cap) in open {
        tx.execute(
            "INSERT INTO budget_spend (vendor, window, window_start, spent, cap) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET spent = spent + excluded.spent, cap = excluded.cap",
            params![limits.vendor, per.as_str(), window.row.to_string(), sql(weight), cap.map(sql)],
        )?;
        if window.row == now {
            forget_old(tx, &limits.vendor, per)?;
        }
    }
    Ok(Grant::Granted)
}

/// Old rows go, the newest stay: by their number, since a clock that jumped must not make the real ones old.
fn forget_old(tx: &Transaction<'_>, vendor: &str, per: Per) -> Result<()> {
    tx.execute(
        "DELETE FROM budget_spend WHERE vendor = ?1 AND window = ?2 AND window_start <> '' AND window_start < (SELECT window_start FROM budget_spend \
         WHERE vendor = ?1 AND window = ?2 AND window_start <> '' ORDER BY window_start DESC LIMIT 1 OFFSET ?3)",
        params![vendor, per.as_str(), ROWS_KEPT],
    )?;
    Ok(())
}

/// Whether some window that is counted in rows began after a call was booked, so that the booking is not in it.
pub fn began_since(conn: &Connection, now: UtcTime, limits: &Limits, booked: UtcTime) -> Result<bool> {
    // A day is counted at every vendor.
    for per in limits.windows.iter().map(|w| w.per).filter(|per| per.durable()).chain([Per::Day]) {
        if active(conn, now, limits, per)?.start > booked {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A call about a symbol, at a vendor that limits how many distinct ones may be asked for in a month. A symbol of this
/// month is free; a new one is counted, and [`SYMBOLS_KEPT`] of the month are left to repairs.
pub fn admit_symbol(tx: &Transaction<'_>, now: UtcTime, limits: &Limits, kind: Kind, symbol: &str) -> Result<Grant> {
    let Some(spec) = limits.windows.iter().find(|w| w.per == Per::UniqueSymbolsMonth) else { return Ok(Grant::Granted) };
    let month = month_of(now);
    let known: bool =
        tx.prepare_cached("SELECT 1 FROM budget_symbols WHERE vendor = ?1 AND month = ?2 AND symbol = ?3")?.exists(params![limits.vendor, month, symbol])?;
    if known {
        return Ok(Grant::Granted);
    }
    let cap = effective_cap(tx, now, &limits.vendor, *spec)?;
    let kept = if matches!(kind, Kind::Bootstrap | Kind::QcProbe) { SYMBOLS_KEPT.min(cap / 2) } else { 0 };
    if symbols_this_month(tx, now, &limits.vendor)? >= cap - kept {
        standing(tx, &limits.vendor, spec.per, "local_blocked")?;
        let until = calendar_window(Per::Month, limits.reset, now).map_or(now.plus_seconds(86_400), |(_, end)| end);
        return Ok(Grant::Blocked { per: spec.per, until });
    }
    tx.execute("INSERT INTO budget_symbols (vendor, month, symbol) VALUES (?1, ?2, ?3)", params![limits.vendor, month, symbol])?;
    Ok(Grant::Granted)
}

/// Rows of a window: more than a month of quarters of an hour, more than two days of minutes.
const ROWS_KEPT: i64 = 3_000;

/// Distinct symbols of a month that bootstrap work leaves to repairs.
pub const SYMBOLS_KEPT: u64 = 20;

fn month_of(now: UtcTime) -> String {
    let day = now.utc_day();
    format!("{:04}-{:02}", day.year(), day.month())
}

/// Distinct symbols that a vendor was asked for this month.
pub fn symbols_this_month(conn: &rusqlite::Connection, now: UtcTime, vendor: &str) -> Result<u64> {
    let n: i64 = conn.query_row("SELECT count(*) FROM budget_symbols WHERE vendor = ?1 AND month = ?2", params![vendor, month_of(now)], |r| r.get(0))?;
    Ok(n.unsigned_abs())
}

/// `floor(cap * share)`, but never nothing out of something.
fn allowance(cap: u64, share: f64) -> u64 {
    if share >= 1.0 { cap } else { ((cap as f64 * share).floor() as u64).max(cap.min(1)) }
}

/// Counts as SQLite stores them.
fn sql(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

struct Window {
    start: UtcTime,
    end: UtcTime,
    spent: u64,
    /// The vendor's reset instant is documented.
    known_reset: bool,
    /// The start of the row that counts a call of now.
    row: UtcTime,
    /// What leaves a window that slides, and when, oldest first.
    leaving: Vec<(UtcTime, u64)>,
}

impl Window {
    /// From when on a call of this weight stays within what is allowed.
    fn room_at(&self, weight: u64, allowed: u64) -> UtcTime {
        let mut left = self.spent;
        let enough = self.leaving.iter().find(|(_, calls)| {
            left = left.saturating_sub(*calls);
            left + weight <= allowed
        });
        enough.map_or(self.end, |(at, _)| *at)
    }
}

/// The window that `now` falls into, with what was spent in it. One that slides holds every call of its length, whenever it began: a
/// vendor's own may begin at any of them.
fn active(tx: &Connection, now: UtcTime, limits: &Limits, per: Per) -> Result<Window> {
    if let Some((start, end)) = calendar_window(per, limits.reset, now) {
        let spent: Option<i64> = tx
            .query_row(
                "SELECT spent FROM budget_spend WHERE vendor = ?1 AND window = ?2 AND window_start = ?3",
                params![limits.vendor, per.as_str(), start.to_string()],
                |r| r.get(0),
            )
            .optional()?;
        return Ok(Window { start, end, spent: spent.map_or(0, i64::unsigned_abs), known_reset: true, row: start, leaving: Vec::new() });
    }
    let (span, bucket) = (per.seconds(), per.bucket_seconds());
    // A row that began "after" now was written by a clock that has since been set back: it would block too long.
    let mut st = tx.prepare_cached(
        "SELECT window_start, spent FROM budget_spend WHERE vendor = ?1 AND window = ?2 AND window_start > ?3 AND window_start <= ?4 ORDER BY window_start",
    )?;
    let since = now.plus_seconds(-span - bucket).to_string();
    let rows = st.query_map(params![limits.vendor, per.as_str(), since, now.to_string()], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?)))?;
    let (mut leaving, mut spent, mut row) = (Vec::new(), 0, now);
    for counted in rows {
        let (began, calls) = counted?;
        let began = UtcTime::parse(&began)?;
        spent += calls.unsigned_abs();
        leaving.push((began.plus_seconds(span + bucket), calls.unsigned_abs()));
        if now < began.plus_seconds(bucket) {
            row = began;
        }
    }
    let end = leaving.last().map_or(now.plus_seconds(span), |(at, _)| *at);
    Ok(Window { start: now.plus_seconds(-span), end, spent, known_reset: false, row, leaving })
}

/// Bounds of a window that follows a calendar; `None` for one that slides from its first spend.
fn calendar_window(per: Per, reset: Reset, now: UtcTime) -> Option<(UtcTime, UtcTime)> {
    let eastern = reset == Reset::EasternMidnight;
    let day = if eastern { now.day_in(&new_york()) } else { now.utc_day() };
    let midnight = |d: TradingDay| if eastern { eastern_midnight(d) } else { UtcTime::from_micros(i64::from(d.0) * 86_400_000_000) };
    match (per, reset) {
        (Per::Day, Reset::UtcMidnight | Reset::EasternMidnight) => Some((midnight(day), midnight(day.plus_days(1)))),
        (Per::Month, _) => {
            let first = TradingDay::ymd(day.year(), day.month(), 1)?;
            let next = if day.month() == 12 { TradingDay::ymd(day.year() + 1, 1, 1) } else { TradingDay::ymd(day.year(), day.month() + 1, 1) }?;
            Some((midnight(first), midnight(next)))
        }
        _ => None,
    }
}

fn eastern_midnight(day: TradingDay) -> UtcTime {
    let at = new_york().to_zoned(day.date().at(0, 0, 0, 0)).map_or(0, |z| z.timestamp().as_microsecond());
    UtcTime::from_micros(at)
}

/// `min(configured, learned)`; a learned cap grows by 10 % a day after seven days without a refusal.
pub fn effective_cap(tx: &Connection, now: UtcTime, vendor: &str, spec: WindowSpec) -> Result<u64> {
    let learned: Option<(Option<i64>, Option<String>)> = tx
        .query_row(
            "SELECT learned_cap, learned_on FROM budget_spend WHERE vendor = ?1 AND window = ?2 AND window_start = ''",
            params![vendor, spec.per.as_str()],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .optional()?;
    let Some((Some(cap), Some(on))) = learned else { return Ok(spec.calls) };
    let clean_days = (now.seconds_since(UtcTime::parse(&on)?) / 86_400.0).floor();
    let grown = if clean_days >= 7.0 { cap as f64 * 1.1f64.powf((clean_days - 6.0).min(365.0)) } else { cap as f64 };
    Ok((grown.floor() as u64).min(spec.calls))
}

/// The vendor refused for its rate: count it, and lower the cap of that window. `counted` is how many calls we had made
/// in it; `stated` a limit that the vendor's headers name. Without one the cap never falls under a tenth of the
/// configured one: a refusal after a handful of calls tells of other users of the key, of a window that begins when nobody knows, or of the
/// vendor's own trouble; and a task that needs two calls must not be left with one.
pub fn learn(tx: &Transaction<'_>, now: UtcTime, limits: &Limits, per: Per, counted: Option<u64>, stated: Option<u64>) -> Result<()> {
    standing(tx, &limits.vendor, per, "remote_limited")?;
    let Some(spec) = limits.windows.iter().find(|w| w.per == per) else { return Ok(()) };
    let counted = match counted {
        Some(n) => n,
        None if per.durable() => active(tx, now, limits, per)?.spent,
        None => return Ok(()),
    };
    let floor = spec.calls.div_ceil(10);
    let cap = stated.unwrap_or_else(|| counted.saturating_sub(1).max(floor)).max(1);
    tx.execute(
        "UPDATE budget_spend SET learned_cap = ?3, learned_on = ?4 WHERE vendor = ?1 AND window = ?2 AND window_start = ''",
        params![limits.vendor, per.as_str(), sql(cap), now.to_string()],
    )?;
    Ok(())
}

/// Add one to a count of the standing row.
fn standing(tx: &Transaction<'_>, vendor: &str, per: Per, column: &'static str) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO budget_spend (vendor, window, window_start, {column}) VALUES (?1, ?2, '', 1) ON CONFLICT DO UPDATE SET {column} = {column} + 1"),
        params![vendor, per.as_str()],
    )?;
    Ok(())
}

/// Ask nothing of this vendor before `until`. A later freeze wins over an earlier one.
pub fn freeze(tx: &Transaction<'_>, now: UtcTime, vendor: &str, until: UtcTime, reason: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO vendor_state (vendor, frozen_until, reason, updated_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET reason = excluded.reason, updated_at = excluded.updated_at,
           frozen_until = CASE WHEN frozen_until > excluded.frozen_until AND updated_at <= excluded.updated_at THEN frozen_until ELSE excluded.frozen_until END",
        params![vendor, until.to_string(), reason, now.to_string()],
    )?;
    Ok(())
}

/// Until when, and why, a vendor is frozen. A freeze written by a clock that was since set back is void.
pub fn frozen(conn: &Connection, now: UtcTime, vendor: &str) -> Result<Option<(UtcTime, String)>> {
    let row: Option<(Option<String>, Option<String>, String)> = conn
        .query_row("SELECT frozen_until, reason, updated_at FROM vendor_state WHERE vendor = ?1", [vendor], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    let Some((Some(until), reason, updated)) = row else { return Ok(None) };
    let (until, updated) = (UtcTime::parse(&until)?, UtcTime::parse(&updated)?);
    let live = until > now && updated <= now.plus_seconds(3_600);
    Ok(live.then(|| (until, reason.unwrap_or_default())))
}

/// Calls sent, refused by us and refused by the vendor, per (vendor, window, window start): the ledger as it stands.
pub fn ledger(conn: &Connection) -> Result<BTreeMap<(String, String, String), (u64, u64, u64)>> {
    let mut st = conn.prepare("SELECT vendor, window, window_start, spent, local_blocked, remote_limited FROM budget_spend")?;
    let count = |v: i64| v.unsigned_abs();
    let rows = st.query_map([], |r| Ok(((r.get(0)?, r.get(1)?, r.get(2)?), (count(r.get(3)?), count(r.get(4)?), count(r.get(5)?)))))?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
