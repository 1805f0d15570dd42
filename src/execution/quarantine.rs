//! Quarantine: a symbol that takes no increase until somebody explains a difference.

use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::time::UtcTime;
use data_layer::words::joined;
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeMap;

/// The one reason that ends by itself, when a reconcile finds the quantities equal again.
pub(crate) const QUANTITY: &str = "the journal and the broker hold different quantities";

/// Put a symbol of every strategy under quarantine; once, until it is released. Any other reason takes the place of [`QUANTITY`]: what only
/// a person may end must not end with a difference that happened to come first.
pub fn quarantine(db: &Db, symbol: &str, reason: &str, now: UtcTime) -> Result<()> {
    db.write(|tx| {
        let key = format!("*:{symbol}");
        let held: Option<String> = tx.query_row("SELECT reason FROM quarantine WHERE key = ?1 AND released_at IS NULL", [&key], |r| r.get(0)).optional()?;
        if held.as_deref() == Some(QUANTITY) && reason != QUANTITY {
            tx.execute("UPDATE quarantine SET reason = ?2 WHERE key = ?1", params![key, reason])?;
        } else if held.is_none() {
            tx.execute(
                "INSERT OR REPLACE INTO quarantine (key, symbol, since, reason) VALUES (?1, ?2, ?3, ?4)",
                params![key, symbol, now.to_string(), reason],
            )?;
        }
        Ok(())
    })
}

/// Symbols under quarantine, with the reason.
pub fn quarantined(db: &Db) -> Result<BTreeMap<String, String>> {
    let conn = db.lock()?;
    let mut q = conn.prepare("SELECT symbol, reason FROM quarantine WHERE released_at IS NULL")?;
    Ok(q.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<std::result::Result<_, _>>()?)
}

/// End a quarantine by an operator with a reason (or by a reconcile that explains it); never by time.
pub fn release(db: &Db, symbol: &str, by: &str, reason: &str, now: UtcTime) -> Result<()> {
    if by.is_empty() || reason.is_empty() {
        return Err(Error::new(code::GATE_REFUSED, "a release from quarantine needs an operator and a reason"));
    }
    let released = db.write(|tx| {
        let key = format!("*:{symbol}");
        Ok(tx.execute(
            "UPDATE quarantine SET released_at = ?1, released_by = ?2, release_reason = ?3 WHERE key = ?4 AND released_at IS NULL",
            params![now.to_string(), by, reason, key],
        )?)
    })?;
    if released > 0 {
        return Ok(());
    }
    let held = quarantined(db)?.into_keys().collect::<Vec<_>>();
    Err(Error::new(code::USE_ARGUMENT, text!("'{symbol}' is not in quarantine"))
        .found(if held.is_empty() { "no symbol is".to_string() } else { text!("in quarantine: {}", joined(&held, ", ")) })
        .fix("trademl paper status"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{evening, journal};

    #[test]
    fn a_graver_reason_takes_the_place_of_a_difference_and_not_the_other_way_round() {
        let (_dir, _root, db) = journal();
        let reason = || quarantined(&db).unwrap().remove("AAPL").unwrap();
        quarantine(&db, "AAPL", QUANTITY, evening()).unwrap();
        quarantine(&db, "AAPL", "the broker denies an order that it had accepted", evening()).unwrap();
        assert_eq!(reason(), "the broker denies an order that it had accepted");
        quarantine(&db, "AAPL", QUANTITY, evening()).unwrap();
        assert_eq!(reason(), "the broker denies an order that it had accepted", "only a person ends it");
    }
}
