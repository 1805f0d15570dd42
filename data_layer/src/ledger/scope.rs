//! Which days the ledger answers for: everything that any audit was asked to look at.

use crate::error::{Result, code};
use crate::root::{DataPath, DataRoot};
use crate::store;
use crate::time::{DateRange, TradingDay};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

/// The same fact on the drive, so that a lost database is rebuilt for the same days.
pub const PATH: &str = "qc/audit_scope.json";

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
    /// The part of the scope up to a day: later sessions are not over, whatever a clock that ran ahead once said.
    #[must_use]
    pub fn up_to(self, day: TradingDay) -> Self {
        Self { asof: self.asof.min(day).max(self.start.plus_days(-1)), ..self }
    }
    /// The smallest scope that holds both.
    #[must_use]
    pub fn join(self, other: Option<Self>) -> Self {
        other.map_or(self, |o| Self { start: self.start.min(o.start), asof: self.asof.max(o.asof) })
    }
}

/// Counters of the days that were judged, for day bars and for minutes.
const DAYS: [&str; 2] = ["audit.start_day", "audit.asof_day"];
const MINUTES: [&str; 2] = ["audit.minutes.start_day", "audit.minutes.asof_day"];

/// The scope recorded in the database, or `None` before the first audit.
pub fn in_db(conn: &Connection) -> Result<Option<Scope>> {
    recorded(conn, DAYS)
}

/// The sessions whose minutes were judged; it lies within [`in_db`].
pub fn of_minutes(conn: &Connection) -> Result<Option<Scope>> {
    recorded(conn, MINUTES)
}

fn recorded(conn: &Connection, names: [&str; 2]) -> Result<Option<Scope>> {
    let read = |name: &str| -> Result<Option<TradingDay>> {
        let value: Option<i64> = conn.prepare_cached("SELECT value FROM counters WHERE name=?1")?.query_row([name], |r| r.get(0)).optional()?;
        Ok(value.and_then(|v| i32::try_from(v).ok()).map(TradingDay))
    };
    Ok(match (read(names[0])?, read(names[1])?) {
        (Some(start), Some(asof)) => Some(Scope { start, asof }),
        _ => None,
    })
}

/// Record the scope in the database.
pub fn set_in_db(conn: &Connection, scope: Scope) -> Result<()> {
    record(conn, DAYS, scope)
}

/// Record the sessions whose minutes were judged; `None`: none are.
pub fn set_of_minutes(conn: &Connection, scope: Option<Scope>) -> Result<()> {
    let Some(scope) = scope else {
        conn.execute("DELETE FROM counters WHERE name IN (?1, ?2)", MINUTES)?;
        return Ok(());
    };
    record(conn, MINUTES, scope)
}

fn record(conn: &Connection, names: [&str; 2], scope: Scope) -> Result<()> {
    for (name, day) in names.into_iter().zip([scope.start, scope.asof]) {
        conn.execute("INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value=?2", rusqlite::params![name, day.0])?;
    }
    Ok(())
}

/// The scope recorded on the drive; a damaged record counts as none.
pub fn on_drive(root: &DataRoot) -> Result<Option<Scope>> {
    match store::read_signed(root, &DataPath::new(PATH)?) {
        // The database knows it too, and it is written again.
        Err(e) if e.is(code::SSD_DAMAGED) => Ok(None),
        read => read,
    }
}

/// Record the scope on the drive, if it changed.
pub fn set_on_drive(root: &DataRoot, scope: Scope) -> Result<()> {
    super::store_if_changed(root, &DataPath::new(PATH)?, store::signed_json(&scope)?).map(drop)
}
