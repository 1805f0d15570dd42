//! Up to which day there are rows for new sessions: kept apart from the ledger, which may answer for a session before anybody
//! was asked about it.

use crate::control::Db;
use crate::error::Result;
use crate::time::TradingDay;
use rusqlite::{OptionalExtension, Transaction, params};

const COUNTER: &str = "forward.until";

/// The day after the last session that was seeded; `None` before the first.
pub(super) fn seeded_until(db: &Db) -> Result<Option<TradingDay>> {
    let conn = db.lock()?;
    let day: Option<i32> = conn.query_row("SELECT value FROM counters WHERE name = ?1", [COUNTER], |r| r.get(0)).optional()?;
    Ok(day.map(TradingDay))
}

/// Take back what a clock that ran ahead had seeded: sessions from `end` on are not over.
pub(super) fn not_beyond(tx: &Transaction<'_>, end: TradingDay) -> Result<()> {
    tx.execute("UPDATE counters SET value = ?2 WHERE name = ?1 AND value > ?2", params![COUNTER, end.0])?;
    Ok(())
}

/// Remember it, in the transaction that seeds.
pub(super) fn seeded(tx: &Transaction<'_>, until: TradingDay) -> Result<()> {
    tx.execute("INSERT OR REPLACE INTO counters (name, value) VALUES (?1, ?2)", params![COUNTER, until.0])?;
    Ok(())
}
