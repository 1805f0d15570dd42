//! The server's own count of calls per vendor and window, to compare a client's budget ledger with.

use crate::error::{Error, Result};
use crate::time::UtcTime;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Mutex;

/// One counter. `window` is `minute`, `day` (UTC, by the world clock) or `total`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub vendor: String,
    pub window: String,
    pub window_start: String,
    pub calls: u64,
}

/// Counters in a small file of their own: losing the newest on a power cut hurts nobody, so writes are not synced.
pub struct Calls(Mutex<Connection>);

impl Calls {
    pub fn open(folder: &Path) -> Result<Self> {
        let conn = Connection::open(folder.join("calls.sqlite"))?;
        conn.query_row("PRAGMA journal_mode=MEMORY", [], |_| Ok(()))?;
        conn.execute_batch(
            "PRAGMA synchronous=OFF;
             CREATE TABLE IF NOT EXISTS calls(vendor TEXT NOT NULL, window TEXT NOT NULL, window_start TEXT NOT NULL, calls INTEGER NOT NULL,
               PRIMARY KEY(vendor, window, window_start));",
        )?;
        Ok(Self(Mutex::new(conn)))
    }

    /// Count one call at world time `now`; returns the vendor's running number, from 1.
    pub fn count(&self, vendor: &str, now: UtcTime) -> Result<u64> {
        let conn = self.0.lock().map_err(|_| Error::bug("a thread died while holding the call log"))?;
        let minute = UtcTime::from_micros(now.micros() - now.micros().rem_euclid(60_000_000)).to_string();
        let day = now.utc_day().to_string();
        let tx = conn.unchecked_transaction()?;
        for (window, start) in [("minute", minute.as_str()), ("day", day.as_str()), ("total", "")] {
            tx.execute(
                "INSERT INTO calls VALUES(?1, ?2, ?3, 1) ON CONFLICT(vendor, window, window_start) DO UPDATE SET calls = calls + 1",
                [vendor, window, start],
            )?;
        }
        let total: i64 = tx.query_row("SELECT calls FROM calls WHERE vendor = ?1 AND window = 'total'", [vendor], |r| r.get(0))?;
        tx.commit()?;
        Ok(u64::try_from(total).unwrap_or(0))
    }

    /// Every counter, by vendor, window and start.
    pub fn all(&self) -> Result<Vec<Count>> {
        let conn = self.0.lock().map_err(|_| Error::bug("a thread died while holding the call log"))?;
        let mut statement = conn.prepare("SELECT vendor, window, window_start, calls FROM calls ORDER BY vendor, window, window_start")?;
        let rows = statement.query_map([], |r| {
            Ok(Count { vendor: r.get(0)?, window: r.get(1)?, window_start: r.get(2)?, calls: u64::try_from(r.get::<_, i64>(3)?).unwrap_or(0) })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }
}
