//! What files do not tell, and a new database must not forget: what was asked, and what was spent.
//!
//! Bookmarks are made from the manifests. Calls that were spent, freezes and what the vendors' plans allow come from the old
//! database where its pages can still be read, else from the newest backup that opens: a rebuild must not give a vendor's
//! limits a second time.

use crate::bookmarks::{self, Bookmark, Key};
use crate::control::{Db, Which, seal};
use crate::error::Result;
use crate::root::{DataPath, DataRoot};
use crate::segment;
use crate::store;
use crate::time::{DateRange, UtcTime};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// Tables about calls, copied from the newest source in which they make sense.
const SPENT: [&str; 4] = ["budget_spend", "budget_symbols", "vendor_state", "entitlements"];
/// Columns that hold a moment.
const MOMENTS: [&str; 5] = ["window_start", "learned_on", "frozen_until", "updated_at", "checked_at"];

/// Fill a new database with what is remembered. `aside`: where the old one is.
pub(super) fn bring_back(root: &DataRoot, db: &Db, aside: Option<&str>) -> Result<()> {
    let name = Which::Node.path().rsplit('/').next().unwrap_or_default();
    let mut backups = store::list(root, &DataPath::new("control/backup")?)?;
    backups.retain(|p| p.file_name().strip_prefix(&format!("{name}.")).is_some_and(|day| day.parse::<crate::time::TradingDay>().is_ok()));
    backups.retain(|p| seal::is_broken(root, p).is_ok_and(|broken| !broken));
    backups.reverse();
    // Which questions were ever answered: a damaged database may say anything, a backup that is as it was does not.
    if let Some(rows) = backups.iter().find_map(|source| rows_of(root, source, "bookmarks").ok()) {
        put(db, "bookmarks", &rows)?;
    }
    // And for which days the ledger answered.
    if let Some(rows) = backups.iter().find_map(|source| rows_of(root, source, "counters").ok()) {
        let days = |row: &&Values| matches!(row.first(), Some(Value::Text(name)) if name.starts_with("audit."));
        put(db, "counters", &rows.iter().filter(days).cloned().collect::<Vec<_>>())?;
    }
    asked(root, db)?;
    let aside = aside.map(DataPath::new).transpose()?;
    let sources: Vec<&DataPath> = aside.iter().chain(&backups).collect();
    for table in SPENT {
        if let Some(rows) = sources.iter().find_map(|source| rows_of(root, source, table).ok()) {
            put(db, table, &rows)?;
        }
    }
    Ok(())
}

/// A bookmark for each symbol of each question that a manifest answers.
fn asked(root: &DataRoot, db: &Db) -> Result<()> {
    let manifests = segment::all_manifests(root)?;
    db.write(|tx| {
        bookmarks::exact_from(tx, UtcTime::from_micros(0))?;
        for (_, m) in manifests.iter().filter(|(_, m)| m.complete && m.asked.t0 < m.asked.t1) {
            let range = DateRange { start: m.asked.t0, end: m.asked.t1 };
            let pages = m.requests.iter().map(|r| u64::from(r.pages)).sum();
            let mark = Bookmark { cursor: None, pages, rows: 0, complete: true, updated_at: m.ingested_at };
            let whole = m.asked.symbols.is_empty().then_some("");
            for symbol in m.asked.symbols.iter().map(String::as_str).chain(whole) {
                bookmarks::put(tx, &Key { vendor: &m.vendor, dataset: &m.dataset, symbol, range }, &mark)?;
            }
        }
        Ok(())
    })
}

type Values = Vec<Value>;

/// All rows of a table; an error where one cannot be read, or holds a moment that is none.
fn rows_of(root: &DataRoot, source: &DataPath, table: &str) -> Result<Vec<Values>> {
    let conn = Connection::open_with_flags(root.locate(source), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = conn.prepare(&format!("SELECT * FROM {table}"))?;
    let columns = statement.column_count();
    let moments: Vec<usize> = statement.column_names().enumerate().filter(|(_, n)| MOMENTS.contains(n)).map(|(i, _)| i).collect();
    let rows = statement.query_map([], |r| (0..columns).map(|i| r.get(i)).collect())?;
    let rows: Vec<Values> = rows.collect::<rusqlite::Result<_>>()?;
    for value in rows.iter().flat_map(|row| moments.iter().filter_map(|i| row.get(*i))) {
        if let Value::Text(text) = value
            && !text.is_empty()
        {
            UtcTime::parse(text.as_str())?;
        }
    }
    Ok(rows)
}

fn put(db: &Db, table: &str, rows: &[Values]) -> Result<()> {
    db.write(|tx| {
        for row in rows {
            let marks = vec!["?"; row.len()].join(", ");
            tx.prepare_cached(&format!("INSERT OR REPLACE INTO {table} VALUES ({marks})"))?.execute(rusqlite::params_from_iter(row))?;
        }
        Ok(())
    })
}
