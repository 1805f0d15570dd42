//! How complete a table is, counted over the (symbol, session) pairs that are expected.

use super::block::{Block, Place, quarters_of};
use super::{Status, each_block, scope};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::time::{DateRange, TradingDay};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts of expected partitions by colour and code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub expected: u64,
    pub green: u64,
    pub amber: u64,
    pub red: u64,
    pub codes: BTreeMap<String, u64>,
}

impl Coverage {
    /// GREEN / expected. Nothing expected is nothing known: 0, so that a gate over an empty ledger refuses.
    pub fn fraction(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.green as f64 / self.expected as f64 }
    }
    /// Count what another counts as well.
    pub fn join(&mut self, other: &Self) {
        self.expected += other.expected;
        self.green += other.green;
        self.amber += other.amber;
        self.red += other.red;
        for (code, n) in &other.codes {
            *self.codes.entry(code.clone()).or_default() += n;
        }
    }
    fn add(&mut self, status: &str, code: &str, n: u64) {
        self.expected += n;
        match status {
            "GREEN" => self.green += n,
            "AMBER" => self.amber += n,
            _ => self.red += n,
        }
        *self.codes.entry(code.to_string()).or_default() += n;
    }
}

/// Coverage of all that the ledger answers for in a table, from the counts that are kept: its cost does not depend on the
/// drive's size. The window, and `None` when the table has no row.
pub fn coverage_held(db: &Db, table: &str, partition_key: &str) -> Result<Option<(DateRange, Coverage)>> {
    let Some(window) = super::held(db, table)? else { return Ok(None) };
    Ok(Some((window, kept(db, table, partition_key, window)?)))
}

/// [`coverage`] over a window, from the kept counts where the window holds all that the table has.
pub fn coverage_kept(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<Coverage> {
    match super::held(db, table)? {
        Some(held) if window.start <= held.start && held.end <= window.end => kept(db, table, partition_key, window),
        _ => coverage(db, table, partition_key, window),
    }
}

fn kept(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<Coverage> {
    let mut out = Coverage::default();
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached(
        "SELECT status, qc_code, partitions FROM ledger_counts WHERE table_name=?1 AND (?2='' OR partition_key='' OR partition_key=?2) AND partitions > 0",
    )?;
    let mut rows = statement.query(params![table, partition_key])?;
    while let Some(r) = rows.next()? {
        out.add(r.get_ref(0)?.as_str().unwrap_or(""), r.get_ref(1)?.as_str().unwrap_or(""), u64::try_from(r.get::<_, i64>(2)?).unwrap_or(0));
    }
    add_unseen(&conn, table, window, &mut out)?;
    Ok(out)
}

/// Sessions of the window that lie before the first audited day count as RED for every symbol.
fn add_unseen(conn: &Connection, table: &str, window: DateRange, out: &mut Coverage) -> Result<()> {
    let Some(seen) = scope::in_db(conn)?.filter(|_| out.expected > 0) else { return Ok(()) };
    let before = DateRange { start: window.start, end: window.end.min(seen.start) };
    let unseen = Calendar::xnys().sessions(before).len() as u64;
    if unseen > 0 {
        let symbols: i64 = conn.query_row("SELECT count(DISTINCT symbol) FROM ledger_blocks WHERE table_name=?1", params![table], |r| r.get(0))?;
        out.add("RED", "NOT_AUDITED", unseen * u64::try_from(symbols).unwrap_or(1).max(1));
    }
    Ok(())
}

/// Go through the blocks that meet a window. An empty `partition_key` stands for any; rows without a key match every key.
fn each(conn: &Connection, table: &str, partition_key: &str, window: DateRange, mut look: impl FnMut(&Place, &Block)) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts FROM ledger_blocks
         WHERE table_name=?1 AND quarter BETWEEN ?2 AND ?3 AND (?4='' OR partition_key='' OR partition_key=?4)",
    )?;
    let (from, to) = quarters_of(window);
    each_block(statement.query(params![table, from, to, partition_key])?, |place, block| {
        look(&place, &block);
        Ok(())
    })
}

impl Coverage {
    fn take(&mut self, block: &Block, window: DateRange) {
        block.tally(Some(window)).into_iter().for_each(|(v, n)| self.add(v.status.as_str(), &v.qc_code, n));
    }
}

/// Coverage of a table over a window. An empty `partition_key` stands for any; rows without a key match every key.
/// Sessions that no audit has looked at, up to the newest audited day, count as RED `NOT_AUDITED`.
pub fn coverage(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<Coverage> {
    let mut out = Coverage::default();
    let conn = db.lock()?;
    each(&conn, table, partition_key, window, |_, block| out.take(block, window))?;
    add_unseen(&conn, table, window, &mut out)?;
    Ok(out)
}

/// Coverage per session: one column of a heat map.
pub fn coverage_by_day(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<BTreeMap<TradingDay, Coverage>> {
    let mut out: BTreeMap<TradingDay, Coverage> = BTreeMap::new();
    each(&*db.lock()?, table, partition_key, window, |_, block| {
        let inside = block.iter().filter(|(day, _)| window.contains(*day));
        inside.for_each(|(day, v)| out.entry(day).or_default().add(v.status.as_str(), &v.qc_code, 1));
    })?;
    Ok(out)
}

/// A table and a partition key.
pub type Of = (String, String);

/// Coverage per session of every table and partition key. One pass over the ledger.
pub fn coverage_of_all(db: &Db) -> Result<BTreeMap<Of, BTreeMap<TradingDay, Coverage>>> {
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached("SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts FROM ledger_blocks")?;
    let mut out: BTreeMap<Of, BTreeMap<TradingDay, Coverage>> = BTreeMap::new();
    each_block(statement.query([])?, |place, block| {
        let of = out.entry((place.table, place.key)).or_default();
        block.iter().for_each(|(day, v)| of.entry(day).or_default().add(v.status.as_str(), &v.qc_code, 1));
        Ok(())
    })?;
    Ok(out)
}

/// GREEN and expected partitions of a table by month (`2017-11`): a heat map's row. One pass over the table.
pub fn coverage_by_month(db: &Db, table: &str) -> Result<BTreeMap<String, (u64, u64)>> {
    let mut days: BTreeMap<TradingDay, (u64, u64)> = BTreeMap::new();
    let ever = DateRange { start: TradingDay(0), end: TradingDay(40_000) };
    each(&*db.lock()?, table, "", ever, |_, block| {
        for (day, v) in block.iter() {
            let (green, all) = days.entry(day).or_default();
            *green += u64::from(v.status == Status::Green);
            *all += 1;
        }
    })?;
    let mut out: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (day, (green, all)) in days {
        let month = out.entry(format!("{:04}-{:02}", day.year(), day.month())).or_default();
        *month = (month.0 + green, month.1 + all);
    }
    Ok(out)
}

/// Coverage per symbol.
pub fn coverage_by_symbol(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<BTreeMap<String, Coverage>> {
    let mut out: BTreeMap<String, Coverage> = BTreeMap::new();
    each(&*db.lock()?, table, partition_key, window, |place, block| {
        if block.iter().any(|(day, _)| window.contains(day)) {
            out.entry(place.symbol.clone()).or_default().take(block, window);
        }
    })?;
    Ok(out)
}
