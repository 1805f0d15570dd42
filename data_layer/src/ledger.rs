//! `partition_status`: what is complete, what is doubtful, what is missing; one row per (source, table, symbol, day, key).
//!
//! SQLite decides while running; `qc/partition_status.parquet` is its export, and both are rebuilt from the files.

use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::store::{self, FileInfo};
use crate::time::{TradingDay, UtcTime};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

mod coverage;
pub mod digests;
mod export;
pub mod scope;
pub use coverage::{Coverage, coverage, coverage_by_day, coverage_by_month, coverage_by_symbol, coverage_held, coverage_kept, coverage_of_all};
pub use export::{EXPORT, export, read_export};

/// Rows per transaction when many change. Rows come by symbol, and an index orders them by day: each transaction writes most of that
/// index's pages once more, so a first stage's ledger is one of them.
pub const ROWS_PER_COMMIT: usize = 131_072;

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

const UPSERT: &str = "INSERT INTO partition_status (id, source_name, table_name, symbol, dt, partition_key, status, qc_score, row_count, expected_rows,
    qc_code, first_observed_at, last_observed_at) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)
  ON CONFLICT (source_name, table_name, symbol, dt, partition_key) DO UPDATE SET status=?7, qc_score=?8, row_count=?9, expected_rows=?10, qc_code=?11,
    first_observed_at=?12, last_observed_at=?13";
const DELETE: &str = "DELETE FROM partition_status WHERE source_name=?1 AND table_name=?2 AND symbol=?3 AND dt=?4 AND partition_key=?5";
const COLUMNS: &str =
    "source_name, table_name, symbol, dt, partition_key, status, qc_score, row_count, expected_rows, qc_code, first_observed_at, last_observed_at";

/// Apply differences, `ROWS_PER_COMMIT` to a transaction. Applying the same changes twice is harmless.
pub fn apply(db: &Db, changes: &[Change]) -> Result<()> {
    if changes.len() > 1_000 {
        // Bulk loads touch most pages of the table and its index; 64 MiB of cache keeps them from being written twice.
        db.lock()?.execute_batch("PRAGMA cache_size=-65536")?;
    }
    let mut words = Words::default();
    for chunk in changes.chunks(ROWS_PER_COMMIT) {
        db.write(|tx| {
            let series: BTreeSet<(&str, &str, &str)> = chunk.iter().map(|c| c.key().series()).collect();
            series.iter().try_for_each(|(table, symbol, key)| digests::forget(tx, table, symbol, key))?;
            let (mut put, mut remove) = (tx.prepare_cached(UPSERT)?, tx.prepare_cached(DELETE)?);
            for change in chunk {
                match change {
                    Change::Put(row) => words.put(&mut put, row)?,
                    Change::Remove(k) => drop(remove.execute(params![k.source_name, k.table_name, k.symbol, k.dt.to_string(), k.partition_key])?),
                }
            }
            counted(tx, REVISION, 1)
        })?;
    }
    Ok(())
}

/// How often the ledger was changed.
const REVISION: &str = "ledger.revision";

fn counted(conn: &Connection, name: &str, by: i64) -> Result<()> {
    conn.prepare_cached("INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = value + ?2")?
        .execute(params![name, by])?;
    Ok(())
}

/// Texts of a row as they are written, with the last of those that repeat.
#[derive(Default)]
struct Words {
    name: String,
    day: String,
    moments: [(Option<UtcTime>, Option<String>); 2],
}

impl Words {
    fn put(&mut self, statement: &mut rusqlite::Statement<'_>, Row { key: k, verdict: v }: &Row) -> Result<()> {
        use std::fmt::Write;
        self.day.clear();
        write!(self.day, "{}", k.dt).map_err(|e| Error::bug("a day that cannot be written").cause(e.to_string()))?;
        self.name.clear();
        for part in [&k.source_name, "|", &k.table_name, "|", &k.symbol, "|", &self.day, "|", &k.partition_key] {
            self.name.push_str(part);
        }
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let id: &str = id_of(&self.name).hyphenated().encode_lower(&mut id);
        for ((last, text), now) in self.moments.iter_mut().zip([v.first_observed_at, v.last_observed_at]) {
            if *last != now {
                (*last, *text) = (now, now.map(|t| t.to_string()));
            }
        }
        let [(_, first), (_, last)] = &self.moments;
        let (rows, expected, status) = (as_i64(v.row_count), v.expected_rows.map(as_i64), v.status.as_str());
        statement.execute(params![
            id,
            k.source_name,
            k.table_name,
            k.symbol,
            self.day,
            k.partition_key,
            status,
            v.qc_score,
            rows,
            expected,
            v.qc_code,
            first,
            last
        ])?;
        Ok(())
    }
}

/// UUIDv5 of a key, so that a rebuilt ledger has the same ids.
fn id_of(name: &str) -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())
}

fn as_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
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

fn row_of(r: &rusqlite::Row<'_>) -> Result<Row> {
    let time = |i| -> Result<Option<UtcTime>> { r.get::<_, Option<String>>(i)?.map(|t| t.parse()).transpose() };
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Row {
        key: Key {
            source_name: r.get(0)?,
            table_name: r.get(1)?,
            symbol: r.get(2)?,
            dt: r.get_ref(3)?.as_str().map_err(|_| Error::new(code::SSD_DAMAGED, "a ledger date is not text"))?.parse()?,
            partition_key: r.get(4)?,
        },
        verdict: Verdict {
            status: Status::parse(r.get_ref(5)?.as_str().unwrap_or(""))?,
            qc_score: r.get::<_, Option<f64>>(6)?.unwrap_or(0.0),
            row_count: count(r.get(7)?),
            expected_rows: r.get::<_, Option<i64>>(8)?.map(count),
            qc_code: r.get::<_, Option<String>>(9)?.unwrap_or_default(),
            first_observed_at: time(10)?,
            last_observed_at: time(11)?,
        },
    })
}

/// Rows of one source, table, symbol and key with `from <= dt < to`, in order of the day.
pub fn rows_of(db: &Db, source: &str, table: &str, symbol: &str, key: &str, from: TradingDay, to: TradingDay) -> Result<Vec<Row>> {
    let conn = db.lock()?;
    let sql = format!("SELECT {COLUMNS} FROM partition_status WHERE source_name=?1 AND table_name=?2 AND symbol=?3 AND dt>=?4 AND dt<?5 AND partition_key=?6");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![source, table, symbol, from.to_string(), to.to_string(), key])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(row_of(r)?);
    }
    Ok(out)
}

/// Rows of a table that are not GREEN in `[from, to)`, in key order: what the gap planner and the doctor look at.
pub fn troubled(db: &Db, table: &str, from: TradingDay, to: TradingDay) -> Result<Vec<Row>> {
    let conn = db.lock()?;
    let sql = format!(
        "SELECT {COLUMNS} FROM partition_status WHERE table_name=?1 AND dt>=?2 AND dt<?3 AND status<>'GREEN'
         ORDER BY source_name, table_name, symbol, dt, partition_key"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![table, from.to_string(), to.to_string()])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(row_of(r)?);
    }
    Ok(out)
}

/// Every row, in key order.
pub fn all_rows(db: &Db) -> Result<Vec<Row>> {
    let conn = db.lock()?;
    let sql = format!("SELECT {COLUMNS} FROM partition_status ORDER BY source_name, table_name, symbol, dt, partition_key");
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(row_of(r)?);
    }
    Ok(out)
}

/// The days that the ledger answers for in a table: first to last (excluded), `None` when there is no row.
pub fn held(db: &Db, table: &str) -> Result<Option<crate::time::DateRange>> {
    let conn = db.lock()?;
    let found: (Option<String>, Option<String>) =
        conn
        // Each end by itself: one step through the index instead of a walk along it.
        .prepare_cached(
            "SELECT (SELECT min(dt) FROM partition_status WHERE table_name = ?1 AND dt > ''), (SELECT max(dt) FROM partition_status WHERE table_name = ?1 AND dt > '')",
        )?
        .query_row([table], |r| Ok((r.get(0)?, r.get(1)?)))?;
    match found {
        (Some(first), Some(last)) => Ok(Some(crate::time::DateRange::new(first.parse()?, last.parse::<TradingDay>()?.plus_days(1))?)),
        _ => Ok(None),
    }
}

/// Sources that have rows in a table.
pub fn sources(db: &Db, table: &str) -> Result<Vec<String>> {
    let conn = db.lock()?;
    // Skips from source to source through the primary key instead of scanning the table.
    let mut statement = conn.prepare_cached("SELECT min(source_name) FROM partition_status WHERE source_name > ?1")?;
    let mut probe = conn.prepare_cached("SELECT 1 FROM partition_status WHERE source_name=?1 AND table_name=?2 LIMIT 1")?;
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
