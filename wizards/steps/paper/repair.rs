//! A person puts the journal's shares right.

use super::{Desk, STRATEGY};
use crate::kit::Act;
use data_layer::attach;
use data_layer::error::Result;
use engine::execution::repair::Repair;
use engine::pipelines::paper_day::AccountCheck;

impl Desk {
    /// Book a difference of shares that nothing explains, and reconcile: a symbol whose quantities agree again is free.
    pub fn repair(&self, act: &Act<'_>, account: &AccountCheck, symbol: &str, qty: f64, reason: &str, typed: &str) -> Result<String> {
        let _lock = attach::account_lock(act.root, &account.account)?;
        let repair = Repair { account: &account.account, strategy: STRATEGY, symbol, qty, reason, operator: "command line" };
        let report = self.with(act, |day| {
            repair.book(&day.log(), day.broker, typed, day.host.now())?;
            day.reconcile(&account.account)
        })?;
        let free = if report.quarantined.iter().any(|s| s == symbol) { "still set aside" } else { "the same at the broker" };
        Ok(text!("{symbol}: {qty:+} shares are booked with their reason; its quantity is {free}"))
    }
}
