//! Which days the ledger answers for: everything that any audit was asked to look at.

use crate::error::Result;
use crate::root::{DataPath, DataRoot};
use crate::store;
use crate::time::{DateRange, TradingDay};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

/// The same fact on the drive, so that a lost database is rebuilt for the same days.
const PATH: &str = "qc/audit_scope.json";

/// Sessions from `start` to `asof`, both included, have been judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub start: TradingDay,
    pub asof: TradingDay,
}

impl Scope {
    /// The window of the scope, half-open.
    pub fn window(&self) -> DateRange {
        DateRange { start: self.start, end: self.asof.plus_days(1) }
    }
    /// The smallest scope that holds both.
    #[must_use]
    pub fn join(self, other: Option<Self>) -> Self {
        other.map_or(self, |o| Self { start: self.start.min(o.start), asof: self.asof.max(o.asof) })
    }
}

/// The scope recorded in the database, or `None` before the first audit.
pub fn in_db(conn: &Connection) -> Result<Option<Scope>> {
    let read = |name: &str| -> Result<Option<TradingDay>> {
        let value: Option<i64> = conn.prepare_cached("SELECT value FROM counters WHERE name=?1")?.query_row([name], |r| r.get(0)).optional()?;
        Ok(value.and_then(|v| i32::try_from(v).ok()).map(TradingDay))
    };
    Ok(match (read("audit.start_day")?, read("audit.asof_day")?) {
        (Some(start), Some(asof)) => Some(Scope { start, asof }),
        _ => None,
    })
}

/// Record the scope in the database.
pub fn set_in_db(conn: &Connection, scope: Scope) -> Result<()> {
    for (name, day) in [("audit.start_day", scope.start), ("audit.asof_day", scope.asof)] {
        conn.execute("INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value=?2", rusqlite::params![name, day.0])?;
    }
    Ok(())
}

/// The scope recorded on the drive.
pub fn on_drive(root: &DataRoot) -> Result<Option<Scope>> {
    Ok(store::read(root, &DataPath::new(PATH)?)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Record the scope on the drive, if it changed.
pub fn set_on_drive(root: &DataRoot, scope: Scope) -> Result<()> {
    super::store_if_changed(root, &DataPath::new(PATH)?, store::canonical_json(&scope)?.into_bytes()).map(drop)
}
