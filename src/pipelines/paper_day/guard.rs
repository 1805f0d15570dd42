//! The tripwires over a paper account: what is measured from the journal and the broker, and what follows from a trip.

use super::send::open_seconds_between;
use super::{AccountCheck, PaperDay};
use crate::execution::switches::{self, Switch};
use crate::monitoring::tripwires::{self, Action, Measures, RiskAction, Touched};
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::time::UtcTime;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest fills that slippage is measured on.
const SLIPPAGE_FILLS: i64 = 60;

/// What the wires say, and, where one asks for it, a plan to get smaller.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct GuardReport {
    pub touched: Vec<Touched>,
    /// Signed shares to trade per symbol towards the targets that were stored when the wire was touched. Printed, not sent.
    pub plan: BTreeMap<String, f64>,
}

impl PaperDay<'_> {
    /// Measure, judge, and trip the breaker for everything above a warning. `data_at` is when the newest data that is traded
    /// on was true. Repeating it changes nothing: a trip is journalled once, a plan keeps its first targets.
    pub fn guard(&self, account: &AccountCheck, data_at: UtcTime) -> Result<GuardReport> {
        let now = self.host.now();
        let (peak, before) = self.equities_of(&account.account, account.asof_close())?;
        let measures = Measures {
            equity: Some(account.equity),
            peak_equity: Some(peak.map_or(account.equity, |p| p.max(account.equity))),
            day_start_equity: Some(before.unwrap_or(account.equity)),
            data_age_s: Some(open_seconds_between(data_at, now)),
            broker_errors_in_row: 0,
            slippage_bps: self.costs_of_fills(&account.account)?,
        };
        let touched = tripwires::judge(&measures, &self.config.limits);
        // An account that never passed its gate is stopped anyway; a trip would only have to be reset before the first order.
        let armed = switches::read(self.db, Switch::Breaker, &account.account).at.is_some();
        if armed {
            tripwires::journal(self.db, &account.account, &touched, now)?;
        }
        let mut plan = BTreeMap::new();
        if touched.iter().any(|t| t.action == Action::FlattenPlan) {
            let held = crate::execution::positions::ledger(&self.log(), &account.account)?.per_symbol();
            let targets = tripwires::risk_targets(self.db, &account.account, &text!("drawdown {}", account.asof), RiskAction::Flatten, &held)?;
            plan = tripwires::steps(&held, &targets);
        }
        Ok(GuardReport { touched, plan })
    }

    /// The highest equity so far, and the one at the last close before `until`.
    fn equities_of(&self, account: &str, until: UtcTime) -> Result<(Option<f64>, Option<f64>)> {
        let conn = self.db.lock()?;
        let peak = conn.query_row(
            "SELECT max(e) FROM (SELECT max(equity) AS e FROM snapshots WHERE account = ?1 UNION ALL SELECT max(equity) FROM order_sets WHERE account = ?1)",
            [account],
            |r| r.get(0),
        )?;
        let mut q = conn.prepare("SELECT equity FROM snapshots WHERE account = ?1 AND ts < ?2 ORDER BY ts DESC LIMIT 1")?;
        let before: Option<f64> = q.query_map(params![account, until.to_string()], |r| r.get(0))?.next().transpose()?;
        // On its first day an account began with the equity that its first orders were sized from.
        let first = "SELECT equity FROM order_sets WHERE account = ?1 ORDER BY trading_day, rebalance_no LIMIT 1";
        let began = conn.query_row(first, [account], |r| r.get(0)).optional()?;
        Ok((peak, before.or(began)))
    }

    /// Costs of the newest fills against their orders' reference prices, in basis points; a cost is positive.
    fn costs_of_fills(&self, account: &str) -> Result<Vec<f64>> {
        let conn = self.db.lock()?;
        let mut q = conn.prepare(
            "SELECT 1e4 * (CASE f.side WHEN 'BUY' THEN 1.0 ELSE -1.0 END) * (f.price / o.reference_price - 1.0) FROM fills f \
             JOIN orders o ON o.order_id = f.order_id WHERE f.account = ?1 AND f.kind = 'fill' AND f.qty > 0 ORDER BY f.ts DESC, f.fill_id LIMIT ?2",
        )?;
        Ok(q.query_map(params![account, SLIPPAGE_FILLS], |r| r.get(0))?.collect::<std::result::Result<_, _>>()?)
    }
}

impl AccountCheck {
    /// The close of the last closed session.
    fn asof_close(&self) -> UtcTime {
        Calendar::xnys().close(self.asof)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MORNING, config, evening_steps, open};
    use super::super::{confirmation_token, default_sizer};
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use crate::execution::switches::TripReason;

    #[test]
    fn the_bands_trip_the_breaker_once_print_a_plan_and_keep_its_first_targets() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        let morning = UtcTime::parse(MORNING).unwrap();
        broker.set_now(morning);
        broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
        let db = open(dir.path(), None, morning).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        day.settle(&key).unwrap();
        let calm = day.account_check().unwrap();
        assert_eq!(day.guard(&calm, morning).unwrap(), GuardReport::default());
        let lost = AccountCheck { equity: 84_000.0, ..calm.clone() };
        let report = day.guard(&lost, morning).unwrap();
        assert_eq!(report.touched[0].action, Action::FlattenPlan);
        assert_eq!(report.plan, BTreeMap::from([("AAPL".into(), -29.0), ("MSFT".into(), -59.0), ("XOM".into(), 60.0)]), "the short is bought back");
        assert_eq!(day.guard(&lost, morning).unwrap(), report);
        let state = switches::read(&db, Switch::Breaker, "SIM1");
        assert!(state.stopped && !switches::read(&db, Switch::Kill, "SIM1").stopped);
        assert_eq!(switches::trips_on(&db, "SIM1", morning.utc_day()).unwrap(), 2, "the drawdown and the day's loss, each once");
        let stale = day.guard(&calm, UtcTime::parse("2017-11-30T20:00:00Z").unwrap()).unwrap();
        assert_eq!(stale.touched[0].reason, TripReason::DataStale);
    }

    #[test]
    fn a_new_account_is_not_tripped_before_its_first_confirmation() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let db = open(dir.path(), None, evening()).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        let stale = day.guard(&account, UtcTime::parse("2017-11-01T20:00:00Z").unwrap()).unwrap();
        assert_eq!(stale.touched.len(), 1);
        assert!(switches::read(&db, Switch::Breaker, "SIM1").at.is_none());
        assert!(confirmation_token("SIM1", account.trading_day).starts_with("PAPER"));
    }
}
