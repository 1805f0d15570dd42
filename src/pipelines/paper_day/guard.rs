//! The tripwires over a paper account: what is measured from the journal and the broker, and what follows from a trip.

use super::send::open_seconds_between;
use super::{AccountCheck, PaperDay};
use crate::execution::calibration;
use crate::execution::switches::{self, Switch};
use crate::monitoring::tripwires::{self, Action, Measures, Portfolio, RiskAction, Touched};
use data_layer::error::Result;
use data_layer::time::{TradingDay, UtcTime, new_york};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest sessions that slippage is measured on.
const SLIPPAGE_SESSIONS: usize = 60;

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
        let (peak, before) = self.equities_of(&account.account, now)?;
        let measures = Measures {
            equity: Some(account.equity),
            peak_equity: Some(peak.map_or(account.equity, |p| p.max(account.equity))),
            day_start_equity: Some(before.unwrap_or(account.equity)),
            data_age_s: Some(open_seconds_between(data_at, now)),
            broker_errors_in_row: 0,
            slippage_bps: self.costs_by_session(&account.account)?,
            portfolio: self.portfolio(account)?,
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

    /// The wires of an account that could not be measured `looks` times in a row: what is not known trips. Returns how many were touched.
    pub(super) fn guard_blind(&self, account: &str, looks: u32) -> Result<usize> {
        let unknown = Measures {
            equity: None,
            peak_equity: None,
            day_start_equity: None,
            data_age_s: Some(0.0),
            broker_errors_in_row: looks,
            slippage_bps: Vec::new(),
            portfolio: Portfolio::default(),
        };
        let touched = tripwires::judge(&unknown, &self.config.limits);
        if switches::read(self.db, Switch::Breaker, account).at.is_some() {
            tripwires::journal(self.db, account, &touched, self.host.now())?;
        }
        Ok(touched.len())
    }

    /// The highest equity so far, and the one at the close of the last session before today's: the day is the exchange's, so that in the
    /// evening it is the one that has just ended. Money that the owner put in (or took out) since then stands on both sides.
    fn equities_of(&self, account: &str, now: UtcTime) -> Result<(Option<f64>, Option<f64>)> {
        let until = UtcTime::midnight_in(&new_york(), now.day_in(&new_york()));
        let transfers = self.transfers(account)?;
        let levelled = |sql: &str| -> Result<Vec<(UtcTime, f64)>> {
            let conn = self.db.lock()?;
            let mut q = conn.prepare(sql)?;
            let rows = q.query_map([account], |r| Ok((r.get::<_, String>(0)?, r.get::<_, f64>(1)?)))?.collect::<std::result::Result<Vec<_>, _>>()?;
            rows.into_iter().map(|(ts, equity)| UtcTime::parse(&ts).map(|at| (at, equity + transfers.between(at, None)))).collect()
        };
        let closes = levelled("SELECT ts, equity FROM snapshots WHERE account = ?1 ORDER BY ts")?;
        let sets = levelled("SELECT pinned_at, equity FROM order_sets WHERE account = ?1 ORDER BY trading_day, rebalance_no")?;
        let peak = closes.iter().chain(&sets).map(|(_, equity)| *equity).reduce(f64::max);
        // On its first day an account began with the equity that its first orders were sized from.
        let before = closes.iter().rev().find(|(at, _)| *at < until).or(sets.first()).map(|(_, equity)| *equity);
        Ok((peak, before))
    }

    /// The account's returns by session, and what the strategy holds at the broker's own prices. A name that the broker does not hold is no
    /// part of its book; one that it holds and has no price for is not a number.
    fn portfolio(&self, account: &AccountCheck) -> Result<Portfolio> {
        let returns = self.curve(&account.account, account.asof)?.map_or_else(Vec::new, |curve| curve.sessions());
        let held = crate::execution::positions::ledger(&self.log(), &account.account)?.of_strategy(&self.config.strategy);
        if held.is_empty() {
            return Ok(Portfolio { returns, ..Portfolio::default() });
        }
        let priced: BTreeMap<String, Option<f64>> = self.broker.positions()?.into_iter().map(|p| (p.symbol, p.price)).collect();
        let worth = |(symbol, q): (String, f64)| priced.get(&symbol).map(|price| (symbol.clone(), q * price.unwrap_or(f64::NAN)));
        Ok(Portfolio { returns, positions_usd: held.into_iter().filter_map(worth).collect() })
    }

    /// What own orders cost against the recorded opens of their sessions, in basis points without fees: the mean of each of the newest
    /// sessions. Names of one session are moved by the same market, so a session is one observation, and the night before it is none of
    /// the orders' doing. Nothing where no prices are known.
    fn costs_by_session(&self, account: &str) -> Result<Vec<f64>> {
        let Some(opens) = self.opens else { return Ok(Vec::new()) };
        let mut sessions: BTreeMap<TradingDay, Vec<f64>> = BTreeMap::new();
        for m in calibration::own_costs(&self.log(), account, opens)?.measured {
            sessions.entry(m.day).or_default().push(m.slippage_bps);
        }
        let newest = sessions.into_values().rev().take(SLIPPAGE_SESSIONS);
        Ok(newest.map(|costs| costs.iter().sum::<f64>() / costs.len() as f64).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MORNING, config, open, settled_morning};
    use super::super::{confirmation_token, default_sizer};
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use crate::execution::switches::TripReason;
    use rusqlite::params;

    #[test]
    fn the_bands_trip_the_breaker_once_print_a_plan_and_keep_its_first_targets() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (db, _) = settled_morning(dir.path(), &broker);
        let morning = UtcTime::parse(MORNING).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
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
    fn the_day_s_loss_is_counted_from_the_close_before_the_exchange_s_own_day() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (db, _) = settled_morning(dir.path(), &broker);
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let equity_at = |session: &str, equity: f64| {
            let sql = "INSERT OR REPLACE INTO snapshots (account, ts, equity, cash, positions_json, open_orders_json, log_hash) VALUES ('SIM1', ?1, ?2, 0, '{}', '[]', '')";
            db.write(|tx| Ok(tx.execute(sql, params![session, equity])?)).unwrap()
        };
        // Friday closed at 100,000, Monday at 106,000.
        equity_at("2017-12-01T21:00:00.000000Z", 100_000.0);
        equity_at("2017-12-04T21:00:00.000000Z", 106_000.0);
        let calm = day.account_check().unwrap();
        let lost = |now: &str, equity: f64| {
            let now = UtcTime::parse(now).unwrap();
            let db = open(dir.path(), None, now).unwrap();
            let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
            let touched = day.guard(&AccountCheck { equity, ..calm.clone() }, now).unwrap().touched;
            touched.iter().any(|t| t.reason == TripReason::DailyLossExceeded)
        };
        assert!(lost("2017-12-05T15:00:00Z", 100_500.0), "in Tuesday's session, 5,500 below Monday's close");
        assert!(lost("2017-12-05T13:00:00Z", 100_500.0), "before it opens too");
        assert!(!lost("2017-12-05T15:00:00Z", 106_500.0));
        assert!(lost("2017-12-04T22:00:00Z", 94_500.0), "on Monday's evening the day is Monday's");
        assert!(!lost("2017-12-04T22:00:00Z", 100_500.0));
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
