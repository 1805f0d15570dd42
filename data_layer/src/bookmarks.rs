//! How far a paged download has come, per vendor, dataset, symbol and window.
//!
//! A batch is bounded (100 symbols x a year, 25 symbols x a session), so its pages are held in memory and committed
//! together: a bookmark is written once, complete, in the transaction that registers the bytes. It can never be ahead of
//! them. `cursor` stays empty until a lane needs to commit between pages.

use crate::error::Result;
use crate::time::{DateRange, UtcTime};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// One bookmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    pub cursor: Option<String>,
    pub pages: u64,
    pub rows: u64,
    pub complete: bool,
    pub updated_at: UtcTime,
}

/// What a bookmark is about; `symbol` is empty for whole-market datasets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    pub vendor: &'a str,
    pub dataset: &'a str,
    pub symbol: &'a str,
    pub range: DateRange,
}

/// Write a bookmark; only inside the transaction that registers what it stands for.
pub fn put(tx: &Transaction<'_>, key: &Key<'_>, mark: &Bookmark) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO bookmarks (vendor, dataset, symbol, start_date, end_date, cursor, pages, rows, complete, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        key.vendor,
        key.dataset,
        key.symbol,
        key.range.start.to_string(),
        key.range.end.to_string(),
        mark.cursor,
        i64::try_from(mark.pages).unwrap_or(i64::MAX),
        i64::try_from(mark.rows).unwrap_or(i64::MAX),
        mark.complete,
        mark.updated_at.to_string()
    ])?;
    Ok(())
}

/// From when on a bookmark carries the very moment of its answer. Earlier versions of the program wrote the moment of the commit.
const EXACT_SINCE: &str = "bookmarks.exact_since";

/// Remember that bookmarks written from `at` on carry the moment of their answer; the first time counts.
pub fn exact_from(tx: &Transaction<'_>, at: UtcTime) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO counters (name, value) VALUES (?1, ?2)")?.execute(params![EXACT_SINCE, at.micros()])?;
    Ok(())
}

/// A clock that ran ahead may have written that moment too: it is not after `latest`.
pub fn exact_not_after(tx: &Transaction<'_>, latest: UtcTime) -> Result<()> {
    tx.execute("UPDATE counters SET value = ?2 WHERE name = ?1 AND value > ?2", params![EXACT_SINCE, latest.micros()])?;
    Ok(())
}

/// Since when bookmarks carry the moment of their answer; `None` = they do not yet.
pub fn exact_since(conn: &Connection) -> Result<Option<UtcTime>> {
    let micros: Option<i64> = conn.prepare_cached("SELECT value FROM counters WHERE name = ?1")?.query_row([EXACT_SINCE], |r| r.get(0)).optional()?;
    Ok(micros.map(UtcTime::from_micros))
}

/// The bookmark of a download, if it was ever committed.
pub fn get(conn: &Connection, key: &Key<'_>) -> Result<Option<Bookmark>> {
    let row: Option<(Option<String>, i64, i64, bool, String)> = conn
        .query_row(
            "SELECT cursor, pages, rows, complete, updated_at FROM bookmarks
             WHERE vendor = ?1 AND dataset = ?2 AND symbol = ?3 AND start_date = ?4 AND end_date = ?5",
            params![key.vendor, key.dataset, key.symbol, key.range.start.to_string(), key.range.end.to_string()],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)),
        )
        .optional()?;
    row.map(|(cursor, pages, rows, complete, at)| {
        Ok(Bookmark { cursor, pages: pages.unsigned_abs(), rows: rows.unsigned_abs(), complete, updated_at: UtcTime::parse(&at)? })
    })
    .transpose()
}
