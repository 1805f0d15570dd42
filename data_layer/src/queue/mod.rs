//! `backfill_queue`: what is still to be fetched, who is at it, and what became of it.
//!
//! A row is one symbol (or, with an empty symbol, a whole market) and one half-open window. Workers hold rows by lease:
//! an increasing token, the node, the boot and the process. Whoever finishes must still hold the token, so a worker that
//! slept through its lease changes nothing. Every count that is shown or resumed from is kept in the same transaction.

use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::time::{DateRange, UtcTime};
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod counts;
mod lease;
pub use counts::{counts, open, recount};
pub use lease::*;

/// Attempts with a `Transient` or `Malformed` outcome after which a row is `FAILED`.
pub const MAX_ATTEMPTS: i64 = 8;
/// Outcome of a row that the key's plan does not include.
pub const NOT_ENTITLED: &str = "NOT_ENTITLED";

/// Why a row exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// First filling of a symbol's history.
    Bootstrap,
    /// The audit found something missing.
    Gap,
    /// Today's session.
    Forward,
    /// A second source is asked the same.
    QcProbe,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "BOOTSTRAP",
            Self::Gap => "GAP",
            Self::Forward => "FORWARD",
            Self::QcProbe => "QC_PROBE",
        }
    }
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "BOOTSTRAP" => Self::Bootstrap,
            "GAP" => Self::Gap,
            "FORWARD" => Self::Forward,
            "QC_PROBE" => Self::QcProbe,
            other => return Err(Error::new(code::CFG_VALUE, text!("'{other}' is not a kind of task"))),
        })
    }
    /// The default `priority` column: lower first.
    pub fn priority(self) -> i64 {
        match self {
            Self::Bootstrap => 0,
            Self::Gap => 1,
            Self::QcProbe => 2,
            Self::Forward => 5,
        }
    }
}

/// A row to be seeded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    pub dataset: String,
    /// Empty for a whole market.
    pub symbol: String,
    pub range: DateRange,
    pub kind: Kind,
    pub priority: i64,
    pub vendor: String,
    pub not_before: Option<UtcTime>,
    pub run_id: Option<String>,
}

/// What seeding changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedReport {
    pub inserted: u64,
    pub revived: u64,
    pub kept: u64,
}

/// Put rows in, or bring finished ones back. A `FAILED` row, one refused as not entitled, and any finished GAP or
/// QC_PROBE row becomes `PENDING` again with no attempts; a finished BOOTSTRAP or FORWARD row stays done; one that waits
/// or is being worked on is left alone, but a waiting one follows a changed route.
pub fn seed(tx: &Transaction<'_>, now: UtcTime, tasks: &[NewTask]) -> Result<SeedReport> {
    if tasks.len() > 1_000 {
        // Four indexes in four orders: 64 MiB of cache keep their pages from being written many times over.
        tx.execute_batch("PRAGMA cache_size=-65536")?;
    }
    let now = now.to_string();
    let mut report = SeedReport::default();
    let mut insert = tx.prepare_cached(
        "INSERT INTO backfill_queue (dataset, symbol, start_date, end_date, kind, priority, vendor, next_not_before, run_id, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10) ON CONFLICT (dataset, symbol, start_date, end_date, kind) DO NOTHING",
    )?;
    let mut fresh = Vec::new();
    for task in tasks {
        let (start, end) = (task.range.start.to_string(), task.range.end.to_string());
        let not_before = task.not_before.map(|t| t.to_string());
        let inserted =
            insert.execute(params![task.dataset, task.symbol, start, end, task.kind.as_str(), task.priority, task.vendor, not_before, task.run_id, now])?;
        if inserted == 1 {
            fresh.push((task.dataset.as_str(), task.kind.as_str()));
        } else if revive(tx, &now, task, [&start, &end], not_before)? {
            report.revived += 1;
        } else {
            report.kept += 1;
        }
    }
    report.inserted = fresh.len() as u64;
    counts::entered(tx, fresh)?;
    count(tx, "queue.inserted", report.inserted)?;
    count(tx, "queue.revived", report.revived)?;
    Ok(report)
}

/// Bring a row back that is there already, if it is one to come back.
fn revive(tx: &Transaction<'_>, now: &str, task: &NewTask, [start, end]: [&str; 2], not_before: Option<String>) -> Result<bool> {
    let kind = task.kind.as_str();
    let (id, status, outcome, vendor): (i64, String, Option<String>, String) = tx
        .prepare_cached(
            "SELECT id, status, outcome, vendor FROM backfill_queue WHERE dataset = ?1 AND symbol = ?2 AND start_date = ?3 AND end_date = ?4 AND kind = ?5",
        )?
        .query_row(params![task.dataset, task.symbol, start, end, kind], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let again = matches!(task.kind, Kind::Gap | Kind::QcProbe) || outcome.as_deref() == Some(NOT_ENTITLED);
    if status == "FAILED" || status == "DONE" && again {
        tx.prepare_cached(
            "UPDATE backfill_queue SET status = 'PENDING', attempts = 0, next_not_before = ?2, last_error = NULL, outcome = NULL, vendor = ?3,
               priority = ?4, run_id = coalesce(?5, run_id), updated_at = ?6 WHERE id = ?1",
        )?
        .execute(params![id, not_before, task.vendor, task.priority, task.run_id, now])?;
        counts::moved(tx, &status, "PENDING", [(task.dataset.as_str(), kind)])?;
        return Ok(true);
    }
    if status == "PENDING" && vendor != task.vendor {
        tx.prepare_cached("UPDATE backfill_queue SET vendor = ?2, updated_at = ?3 WHERE id = ?1")?.execute(params![id, task.vendor, now])?;
    }
    Ok(false)
}

/// When the oldest waiting row of each (dataset, kind) was put in.
pub fn oldest_waiting(db: &Db) -> Result<BTreeMap<(String, String), UtcTime>> {
    let conn = db.lock()?;
    let mut st = conn.prepare_cached("SELECT dataset, kind, min(created_at) FROM backfill_queue WHERE status = 'PENDING' GROUP BY 1, 2")?;
    let rows: Vec<(String, String, String)> = st.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<std::result::Result<_, _>>()?;
    rows.into_iter().map(|(dataset, kind, at)| Ok(((dataset, kind), UtcTime::parse(&at)?))).collect()
}

/// Add to a named counter in the transaction that does what is counted.
pub fn count(tx: &Transaction<'_>, name: &str, by: u64) -> Result<()> {
    if by > 0 {
        tx.prepare_cached("INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = value + excluded.value")?
            .execute(params![name, i64::try_from(by).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// Remove finished rows that were last touched before `before`; bookmarks and manifests keep what they brought.
pub fn purge(tx: &Transaction<'_>, before: UtcTime) -> Result<u64> {
    Ok(tx.execute("DELETE FROM backfill_queue WHERE status = 'DONE' AND kind <> 'BOOTSTRAP' AND updated_at < ?1", [before.to_string()])? as u64)
}

#[cfg(test)]
mod tests;
