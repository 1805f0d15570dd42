//! I3 and I5: the broker's cash moves by what the journal's rows say, and by nothing else.
//!
//! Where both hold the same shares, the account's gain at the broker's own prices differs from the journal's exactly as its cash does: so it
//! is the cash that is compared, against the first run that could. A person who lets increases through again, or repairs the journal, has
//! looked at what was off; the next run is the first again.

use super::Run;
use crate::execution::positions::Ledger;
use crate::execution::switches::{TripReason, last_reset};
use data_layer::control::Db;
use data_layer::error::Result;
use data_layer::time::UtcTime;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// Money of one execution or booking is rounded to a cent.
const ROUNDING_USD: f64 = 0.01;
/// A gain may differ by this share of the equity before increases are halted.
const TOLERANCE_GAIN: f64 = 1e-4;

/// The account's cash against the journal's, in account currency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Money {
    /// The broker's cash less what the journal's rows moved.
    pub unbooked: f64,
    /// What of it came since the first run.
    pub off: f64,
    /// More than a gain may be off: told by two runs in a row, it halts increases.
    pub too_much: bool,
    /// The run before this one said so too.
    pub again: bool,
}

impl Run<'_> {
    /// Compare the cash of an account whose shares agree and none of whose orders is in doubt. A difference is told; halting is the caller's.
    pub(super) fn compare_cash(&mut self, ledger: &Ledger) -> Result<()> {
        let in_doubt = !self.out.unknown_orders.is_empty() || self.out.differences.iter().any(|d| d.kind == "quantity");
        if in_doubt || !self.broker.tells_all_cash() {
            return Ok(());
        }
        let account = self.broker.account()?;
        let unbooked = account.cash - ledger.cash();
        let db = self.log.db();
        let since = judged_since(db, self.account)?;
        let first = run_with_money(db, self.account, &since, "ASC")?.unwrap_or(unbooked);
        let limit = TOLERANCE_GAIN * account.equity.abs();
        let before = run_with_money(db, self.account, &since, "DESC")?;
        let off = unbooked - first;
        let (too_much, again) = (off.abs() > limit, before.is_some_and(|b| (b - first).abs() > limit));
        let rows = self.log.fills(self.account)?.len() + crate::execution::positions::cash_events(&self.log, self.account)?.len();
        if off.abs() > ROUNDING_USD * (1 + rows) as f64 {
            self.differs("cash", self.account, text!("the broker has {off:+.2} {} that no row of the journal explains", account.currency));
        }
        self.out.money = Some(Money { unbooked, off, too_much, again });
        Ok(())
    }
}

/// From when on the cash of an account is judged: nothing before a person's newest look at it counts.
fn judged_since(db: &Db, account: &str) -> Result<String> {
    let reset = last_reset(db, account, TripReason::ReconcileFailed)?;
    let sql = "SELECT max(ts) FROM fills WHERE account = ?1 AND kind = 'repair'";
    let repaired: Option<String> = db.lock()?.query_row(sql, [account], |r| r.get(0))?;
    let repaired = repaired.map(|t| UtcTime::parse(&t)).transpose()?;
    Ok(reset.max(repaired).map(|t| t.to_string()).unwrap_or_default())
}

/// The unbooked cash of the first or last run after a moment that compared it.
fn run_with_money(db: &Db, account: &str, since: &str, order: &str) -> Result<Option<f64>> {
    let sql = format!(
        "SELECT unbooked_cash FROM reconciles WHERE ok = 1 AND unbooked_cash IS NOT NULL AND substr(id, 1, length(?1) + 1) = ?1 || '|' \
         AND started_at > ?2 ORDER BY started_at {order} LIMIT 1"
    );
    Ok(db.lock()?.query_row(&sql, params![account, since], |r| r.get(0)).optional()?)
}
