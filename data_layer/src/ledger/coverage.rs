//! How complete a table is, counted over the (symbol, session) pairs that are expected.

use super::scope;
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

/// A short window is found through the index; a long one is cheaper as one pass over the table.
const INDEXED_SESSIONS: usize = 40;

fn source(window: DateRange) -> &'static str {
    if Calendar::xnys().sessions(window).len() > INDEXED_SESSIONS { "partition_status NOT INDEXED" } else { "partition_status" }
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
        let sql = format!("SELECT count(DISTINCT symbol) FROM {} WHERE table_name=?1", source(window));
        let symbols: i64 = conn.query_row(&sql, params![table], |r| r.get(0))?;
        out.add("RED", "NOT_AUDITED", unseen * u64::try_from(symbols).unwrap_or(1).max(1));
    }
    Ok(())
}

/// Coverage of a table over a window. An empty `partition_key` stands for any; rows without a key match every key.
/// Sessions that no audit has looked at, up to the newest audited day, count as RED `NOT_AUDITED`.
pub fn coverage(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<Coverage> {
    let mut out = Coverage::default();
    let conn = db.lock()?;
    let sql = format!(
        "SELECT status, ifnull(qc_code,''), count(*) FROM {} WHERE table_name=?1 AND dt>=?2 AND dt<?3 AND (?4='' OR partition_key='' OR partition_key=?4)
         GROUP BY 1, 2",
        source(window)
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![table, window.start.to_string(), window.end.to_string(), partition_key])?;
    while let Some(r) = rows.next()? {
        out.add(r.get_ref(0)?.as_str().unwrap_or(""), r.get_ref(1)?.as_str().unwrap_or(""), u64::try_from(r.get::<_, i64>(2)?).unwrap_or(0));
    }
    add_unseen(&conn, table, window, &mut out)?;
    Ok(out)
}

fn grouped(db: &Db, column: &str, table: &str, partition_key: &str, window: DateRange) -> Result<BTreeMap<String, Coverage>> {
    let conn = db.lock()?;
    let sql = format!(
        "SELECT {column}, status, ifnull(qc_code,''), count(*) FROM {} WHERE table_name=?1 AND dt>=?2 AND dt<?3
         AND (?4='' OR partition_key='' OR partition_key=?4) GROUP BY 1, 2, 3",
        source(window)
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![table, window.start.to_string(), window.end.to_string(), partition_key])?;
    let mut out: BTreeMap<String, Coverage> = BTreeMap::new();
    while let Some(r) = rows.next()? {
        let n = u64::try_from(r.get::<_, i64>(3)?).unwrap_or(0);
        out.entry(r.get(0)?).or_default().add(r.get_ref(1)?.as_str().unwrap_or(""), r.get_ref(2)?.as_str().unwrap_or(""), n);
    }
    Ok(out)
}

/// Coverage per session: one column of a heat map.
pub fn coverage_by_day(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<BTreeMap<TradingDay, Coverage>> {
    grouped(db, "dt", table, partition_key, window)?.into_iter().map(|(day, c)| Ok((day.parse()?, c))).collect()
}

/// A table and a partition key.
pub type Of = (String, String);

/// Coverage per session of every table and partition key. One pass over the ledger.
pub fn coverage_of_all(db: &Db) -> Result<BTreeMap<Of, BTreeMap<TradingDay, Coverage>>> {
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached(
        "SELECT table_name, partition_key, dt, status, ifnull(qc_code,''), count(*) FROM partition_status NOT INDEXED WHERE dt <> '' GROUP BY 1, 2, 3, 4, 5",
    )?;
    let mut rows = statement.query([])?;
    let mut out: BTreeMap<Of, BTreeMap<TradingDay, Coverage>> = BTreeMap::new();
    while let Some(r) = rows.next()? {
        let day: TradingDay = r.get::<_, String>(2)?.parse()?;
        let n = u64::try_from(r.get::<_, i64>(5)?).unwrap_or(0);
        let of = out.entry((r.get(0)?, r.get(1)?)).or_default();
        of.entry(day).or_default().add(r.get_ref(3)?.as_str().unwrap_or(""), r.get_ref(4)?.as_str().unwrap_or(""), n);
    }
    Ok(out)
}

/// GREEN and expected partitions of a table by month (`2017-11`): a heat map's row. One pass over the table.
pub fn coverage_by_month(db: &Db, table: &str) -> Result<BTreeMap<String, (u64, u64)>> {
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached(
        "SELECT substr(dt, 1, 7), sum(status = 'GREEN'), count(*) FROM partition_status NOT INDEXED WHERE table_name = ?1 AND dt <> '' GROUP BY 1",
    )?;
    let rows = statement.query_map([table], |r| Ok((r.get(0)?, (r.get::<_, i64>(1)?.unsigned_abs(), r.get::<_, i64>(2)?.unsigned_abs()))))?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

/// Coverage per symbol.
pub fn coverage_by_symbol(db: &Db, table: &str, partition_key: &str, window: DateRange) -> Result<BTreeMap<String, Coverage>> {
    grouped(db, "symbol", table, partition_key, window)
}
