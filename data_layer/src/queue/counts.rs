//! How many rows of each dataset and kind are in which state, kept by the transactions that move them: where a drive stands is read in a
//! few rows, however many it holds. Every statement of ours that moves rows says so here, once for all rows that it moved. (A trigger cost
//! more than the moves themselves: with one on the table, each changed row copies every page that it touches.)

use crate::control::Db;
use crate::error::Result;
use rusqlite::{Connection, Params, Transaction, params};
use std::collections::BTreeMap;

/// Rows by (dataset, kind, status).
pub fn counts(db: &Db) -> Result<BTreeMap<(String, String, String), u64>> {
    let conn = db.lock()?;
    let mut st = conn.prepare_cached("SELECT dataset, kind, status, tasks FROM queue_counts WHERE tasks > 0")?;
    let rows = st.query_map([], |r| Ok(((r.get(0)?, r.get(1)?, r.get(2)?), r.get::<_, i64>(3)?.unsigned_abs())))?;
    Ok(rows.collect::<std::result::Result<_, _>>()?)
}

/// Rows of a dataset that wait or are being worked on.
pub fn open(conn: &Connection, dataset: &str) -> Result<u64> {
    let sql = "SELECT coalesce(sum(tasks), 0) FROM queue_counts WHERE dataset = ?1 AND status IN ('PENDING', 'LEASED')";
    Ok(conn.prepare_cached(sql)?.query_row([dataset], |r| r.get::<_, i64>(0))?.unsigned_abs())
}

/// Enter rows that were put in as `PENDING`, by dataset and kind.
pub(super) fn entered<'t>(tx: &Transaction<'_>, rows: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<()> {
    let mut st = tx.prepare_cached("INSERT INTO queue_counts VALUES (?1, ?2, 'PENDING', ?3) ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks")?;
    by_kind(rows).into_iter().try_for_each(|((dataset, kind), n)| Ok(st.execute(params![dataset, kind, n]).map(drop)?))
}

/// Enter that rows, given by dataset and kind, went from one state to another.
pub(super) fn moved<'t>(tx: &Transaction<'_>, from: &str, to: &str, rows: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<()> {
    let mut st =
        tx.prepare_cached("INSERT INTO queue_counts VALUES (?1, ?2, ?3, -?5), (?1, ?2, ?4, ?5) ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks")?;
    by_kind(rows).into_iter().try_for_each(|((dataset, kind), n)| Ok(st.execute(params![dataset, kind, from, to, n]).map(drop)?))
}

/// Run an `UPDATE ... RETURNING dataset, kind` that moves rows from one state to another; how many these were.
pub(super) fn move_all(tx: &Transaction<'_>, from: &str, to: &str, sql: &str, values: impl Params) -> Result<u64> {
    let rows: Vec<(String, String)> = tx.prepare_cached(sql)?.query_map(values, |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<std::result::Result<_, _>>()?;
    moved(tx, from, to, rows.iter().map(|(dataset, kind)| (dataset.as_str(), kind.as_str())))?;
    Ok(rows.len() as u64)
}

fn by_kind<'t>(rows: impl IntoIterator<Item = (&'t str, &'t str)>) -> BTreeMap<(&'t str, &'t str), i64> {
    let mut out = BTreeMap::new();
    rows.into_iter().for_each(|row| *out.entry(row).or_default() += 1);
    out
}

/// Count all rows anew. Goes through the whole queue: for what moves rows of several states at once, and seldom.
pub fn recount(tx: &Transaction<'_>) -> Result<()> {
    Ok(tx.execute_batch("DELETE FROM queue_counts; INSERT INTO queue_counts SELECT dataset, kind, status, count(*) FROM backfill_queue GROUP BY 1, 2, 3")?)
}
