//! `partition_status`: what is complete, what is doubtful, what is missing; one row per (source, table, symbol, day, key).
//!
//! SQLite decides while running; `qc/partition_status.parquet` is its export, and both are rebuilt from the files.

use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::store::{self, FileInfo};
use crate::time::{DateRange, TradingDay, UtcTime};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

mod block;
mod coverage;
pub mod digests;
mod export;
pub mod scope;
mod write;
use block::{Block, Place, quarters_of};
pub use coverage::{Coverage, coverage, coverage_by_day, coverage_by_month, coverage_by_symbol, coverage_held, coverage_kept, coverage_of_all};
pub use export::{EXPORT, export, read_export};
pub use write::{Sheet, Trust, apply, bring};

/// Rows per transaction when many change; with what is said of them they are in memory at once.
pub const ROWS_PER_COMMIT: usize = 65_536;

/// Colour of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Green,
    Amber,
    Red,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Green => "GREEN",
            Self::Amber => "AMBER",
            Self::Red => "RED",
        }
    }
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "GREEN" => Ok(Self::Green),
            "AMBER" => Ok(Self::Amber),
            "RED" => Ok(Self::Red),
            other => Err(Error::new(code::SSD_DAMAGED, text!("'{other}' is not a partition status"))),
        }
    }
}

/// The unique key of a partition. `symbol` and `partition_key` are empty where they do not apply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub source_name: String,
    pub table_name: String,
    pub symbol: String,
    pub dt: TradingDay,
    pub partition_key: String,
}

impl Key {
    fn series(&self) -> (&str, &str, &str) {
        (&self.table_name, &self.symbol, &self.partition_key)
    }
}

/// What is known of a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub status: Status,
    pub qc_code: String,
    pub qc_score: f64,
    pub row_count: u64,
    pub expected_rows: Option<u64>,
    pub first_observed_at: Option<UtcTime>,
    pub last_observed_at: Option<UtcTime>,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: Key,
    pub verdict: Verdict,
}

/// A pending difference between the ledger and the truth.
#[derive(Clone, Debug)]
pub enum Change {
    Put(Row),
    Remove(Key),
}

impl Change {
    fn key(&self) -> &Key {
        match self {
            Self::Put(row) => &row.key,
            Self::Remove(key) => key,
        }
    }
}

/// How often the ledger was changed.
const REVISION: &str = "ledger.revision";

fn counted(conn: &Connection, name: &str, by: i64) -> Result<()> {
    conn.prepare_cached("INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = value + ?2")?
        .execute(params![name, by])?;
    Ok(())
}

/// What must change so that the rows of `have` become those of `want`.
pub fn differences(have: Vec<Row>, want: Vec<Row>) -> Vec<Change> {
    let mut old: BTreeMap<Key, Verdict> = have.into_iter().map(|r| (r.key, r.verdict)).collect();
    let mut out = Vec::new();
    for row in want {
        if old.remove(&row.key).as_ref() != Some(&row.verdict) {
            out.push(Change::Put(row));
        }
    }
    out.extend(old.into_keys().map(Change::Remove));
    out
}

/// Rows of one source, table, symbol and key with `from <= dt < to`, in order of the day.
pub fn rows_of(db: &Db, source: &str, table: &str, symbol: &str, key: &str, from: TradingDay, to: TradingDay) -> Result<Vec<Row>> {
    let mut out = Vec::new();
    if from >= to {
        return Ok(out);
    }
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached(
        "SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts FROM ledger_blocks
         WHERE source_name=?1 AND table_name=?2 AND symbol=?3 AND quarter BETWEEN ?4 AND ?5 AND partition_key=?6 ORDER BY quarter",
    )?;
    let (first, last) = quarters_of(DateRange { start: from, end: to });
    each_block(statement.query(params![source, table, symbol, first, last, key])?, |place, block| {
        out.extend(block.iter().filter(|(day, _)| from <= *day && *day < to).map(|(day, v)| place.row(day, v)));
        Ok(())
    })?;
    Ok(out)
}

/// Rows of a table that are not GREEN in `[from, to)`, in key order: what the gap planner and the doctor look at.
pub fn troubled(db: &Db, table: &str, from: TradingDay, to: TradingDay) -> Result<Vec<Row>> {
    let mut out = Vec::new();
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached(
        "SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts FROM ledger_blocks
         WHERE table_name=?1 AND quarter BETWEEN ?2 AND ?3 AND troubled > 0",
    )?;
    let (first, last) = quarters_of(DateRange { start: from, end: to });
    each_block(statement.query(params![table, first, last])?, |place, block| {
        let trouble = block.iter().filter(|(day, v)| v.status != Status::Green && from <= *day && *day < to);
        out.extend(trouble.map(|(day, v)| place.row(day, v)));
        Ok(())
    })?;
    out.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(out)
}

/// Every row, in key order.
pub fn all_rows(db: &Db) -> Result<Vec<Row>> {
    let mut out = Vec::new();
    let conn = db.lock()?;
    let mut statement = conn.prepare("SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts FROM ledger_blocks")?;
    each_block(statement.query([])?, |place, block| {
        out.extend(block.iter().map(|(day, v)| place.row(day, v)));
        Ok(())
    })?;
    out.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(out)
}

/// Symbols of which the rows of another source and table are not, block for block, those of a table under the same key. Where two
/// sources share a quarter a symbol may be named that does not differ.
pub fn symbols_apart(db: &Db, table: &str, other: (&str, &str), key: &str) -> Result<BTreeSet<String>> {
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached(
        "SELECT r.symbol FROM ledger_blocks r LEFT JOIN ledger_blocks c
           ON c.source_name=?2 AND c.table_name=?3 AND c.symbol=r.symbol AND c.quarter=r.quarter AND c.partition_key=?4
         WHERE r.source_name=?5 AND r.table_name=?1 AND r.partition_key=?4 AND (c.days IS NOT r.days OR c.verdicts IS NOT r.verdicts)",
    )?;
    let mut out = BTreeSet::new();
    let sources = sources_in(&conn, table)?;
    for source in &sources {
        let mut rows = statement.query([table, other.0, other.1, key, source])?;
        while let Some(r) = rows.next()? {
            out.insert(r.get(0)?);
        }
    }
    // Blocks that mirror nothing.
    let mut statement = conn.prepare_cached("SELECT symbol, quarter FROM ledger_blocks WHERE source_name=?1 AND table_name=?2 AND partition_key=?3")?;
    let mut mirrored =
        conn.prepare_cached("SELECT 1 FROM ledger_blocks WHERE source_name=?1 AND table_name=?2 AND symbol=?3 AND quarter=?4 AND partition_key=?5")?;
    let mut rows = statement.query([other.0, other.1, key])?;
    while let Some(r) = rows.next()? {
        let (symbol, quarter): (String, i64) = (r.get(0)?, r.get(1)?);
        let mut any = false;
        for source in &sources {
            any |= mirrored.exists(params![source, table, symbol, quarter, key])?;
        }
        if !any {
            out.insert(symbol);
        }
    }
    Ok(out)
}

/// Remove the rows of a table and key from a day on; how many there were.
pub fn forget_from(db: &Db, table: &str, key: &str, from: TradingDay) -> Result<u64> {
    let mut gone = Vec::new();
    {
        let conn = db.lock()?;
        let mut statement = conn.prepare(
            "SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts FROM ledger_blocks
             WHERE table_name=?1 AND quarter >= ?2 AND partition_key=?3",
        )?;
        let (first, _) = quarters_of(DateRange { start: from, end: from.plus_days(1) });
        each_block(statement.query(params![table, first, key])?, |place, block| {
            gone.extend(block.iter().filter(|(day, _)| *day >= from).map(|(day, v)| Change::Remove(place.row(day, v).key)));
            Ok(())
        })?;
    }
    apply(db, &gone)?;
    Ok(gone.len() as u64)
}

/// Go through blocks: the columns of a place, then `days` and `verdicts`.
fn each_block(mut rows: rusqlite::Rows<'_>, mut look: impl FnMut(Place, Block) -> Result<()>) -> Result<()> {
    while let Some(r) = rows.next()? {
        let place = Place { source: r.get(0)?, table: r.get(1)?, symbol: r.get(2)?, quarter: r.get(3)?, key: r.get(4)? };
        look(place, Block::parse(r.get_ref(5)?, r.get_ref(6)?)?)?;
    }
    Ok(())
}

/// The days that the ledger answers for in a table: first to last (excluded), `None` when there is no row.
pub fn held(db: &Db, table: &str) -> Result<Option<DateRange>> {
    let conn = db.lock()?;
    // Each end by itself: one step through the index instead of a walk along it.
    let found: (Option<String>, Option<String>) = conn
        .prepare_cached(
            "SELECT (SELECT min(first) FROM ledger_blocks WHERE table_name = ?1 AND quarter = (SELECT min(quarter) FROM ledger_blocks WHERE table_name = ?1)),
                    (SELECT max(last) FROM ledger_blocks WHERE table_name = ?1 AND quarter = (SELECT max(quarter) FROM ledger_blocks WHERE table_name = ?1))",
        )?
        .query_row([table], |r| Ok((r.get(0)?, r.get(1)?)))?;
    match found {
        (Some(first), Some(last)) => Ok(Some(DateRange::new(first.parse()?, last.parse::<TradingDay>()?.plus_days(1))?)),
        _ => Ok(None),
    }
}

/// Sources that have rows in a table.
pub fn sources(db: &Db, table: &str) -> Result<Vec<String>> {
    sources_in(&*db.lock()?, table)
}

fn sources_in(conn: &Connection, table: &str) -> Result<Vec<String>> {
    // Skips from source to source through the unique key instead of scanning the table.
    let mut statement = conn.prepare_cached("SELECT min(source_name) FROM ledger_blocks WHERE source_name > ?1")?;
    let mut probe = conn.prepare_cached("SELECT 1 FROM ledger_blocks WHERE source_name=?1 AND table_name=?2 LIMIT 1")?;
    let (mut out, mut at) = (Vec::new(), String::new());
    while let Some(next) = statement.query_row([&at], |r| r.get::<_, Option<String>>(0))? {
        if probe.exists([next.as_str(), table])? {
            out.push(next.clone());
        }
        at = next;
    }
    Ok(out)
}

/// Write bytes unless the file already holds exactly them. The flag says whether it was written.
pub(crate) fn store_if_changed(root: &DataRoot, path: &DataPath, bytes: Vec<u8>) -> Result<(FileInfo, bool)> {
    if store::read(root, path)?.as_deref() == Some(&bytes) {
        return Ok((FileInfo { path: path.clone(), sha256: store::sha256_hex(&bytes), bytes: bytes.len() as u64 }, false));
    }
    Ok((store::write_atomic(root, path, &bytes)?, true))
}
