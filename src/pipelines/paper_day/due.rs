//! When the rule rebalances: counted in sessions, and owed until it was done.

use super::risk_actions::FIRST_RISK_REBALANCE;
use crate::execution::log::OrderLog;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result};
use data_layer::time::{DateRange, TradingDay};
use rusqlite::params;

/// Days and keys of the scheduled sets up to `until` that were carried out, oldest first: an order of theirs reached the broker, or there was
/// nothing to send. What was planned and then declined, refused or blocked changed nothing.
pub fn carried_out(log: &OrderLog<'_>, account: &str, strategy: &str, until: TradingDay) -> Result<Vec<(TradingDay, String)>> {
    let sql = "SELECT trading_day, run_key FROM order_sets s WHERE account = ?1 AND strategy = ?2 AND trading_day <= ?3 AND rebalance_no < ?4 \
         AND (lines = 0 OR EXISTS (SELECT 1 FROM orders o WHERE o.run_key = s.run_key AND o.state NOT IN \
         ('planned', 'dry_run', 'dropped', 'blocked_kill_switch', 'blocked_circuit_breaker', 'never_reached'))) ORDER BY trading_day, rebalance_no";
    let conn = log.db().lock()?;
    let mut q = conn.prepare(sql)?;
    let rows = q.query_map(params![account, strategy, until.to_string(), FIRST_RISK_REBALANCE], |r| Ok((r.get::<_, String>(0)?, r.get(1)?)))?;
    rows.map(|row| row.map_err(Error::from).and_then(|(day, key)| Ok((day.parse()?, key)))).collect()
}

/// Sessions from one day up to another, without the latter.
pub fn sessions_between(first: TradingDay, day: TradingDay) -> usize {
    DateRange::new(first, day).map_or(0, |r| Calendar::xnys().sessions(r).len())
}

/// Whether a rebalance is due for the session `day`. Periods of `every` sessions are counted from the first set that was carried out; one of a
/// period that was not carried out is due on each of its other days.
pub fn rebalance_is_due(log: &OrderLog<'_>, account: &str, strategy: &str, day: TradingDay, every: usize) -> Result<bool> {
    let done = carried_out(log, account, strategy, day.plus_days(-1))?;
    let Some((first, _)) = done.first() else { return Ok(true) };
    let period = |of: TradingDay| sessions_between(*first, of) / every.max(1);
    Ok(done.iter().all(|(of, _)| period(*of) < period(day)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use crate::pipelines::paper_day::tests::{TARGETS, config, input, open};
    use crate::pipelines::paper_day::{PaperDay, PlanInput, confirmation_token, default_sizer};
    use data_layer::time::UtcTime;

    #[test]
    fn a_set_that_was_pinned_and_never_confirmed_does_not_use_up_the_rebalance() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        // One evening after the other: what is due then, and whether the person confirms it.
        let evening_of = |date: &str, confirm: bool| {
            let now = UtcTime::parse(&format!("{date}T21:30:00Z")).unwrap();
            broker.set_now(now);
            broker.fill_all(now.plus_seconds(-3_600));
            let db = open(dir.path(), None, now).unwrap();
            let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
            let account = day.account_check().unwrap();
            day.reconcile("SIM1").unwrap();
            let due = rebalance_is_due(&day.log(), "SIM1", "equities_xs", account.trading_day, 3).unwrap();
            let targets = match (due, date > "2017-12-06") {
                (false, _) => &[],
                (true, false) => TARGETS,
                (true, true) => &[("BBB", 0.05)][..],
            };
            let mut wanted = PlanInput { asof: account.asof, ..input(targets) };
            if !due {
                wanted.prices.clear();
            }
            let set = day.plan(&account, &wanted).unwrap();
            if confirm && !set.lines.is_empty() {
                day.consent(&set.run_key, &confirmation_token("SIM1", set.trading_day)).unwrap();
                day.submit_all(&set.run_key).unwrap();
            }
            due
        };
        assert!(evening_of("2017-11-30", false) && evening_of("2017-12-01", false), "declined twice, still due");
        assert!(evening_of("2017-12-04", true));
        assert_eq!(["2017-12-05", "2017-12-06"].map(|d| evening_of(d, true)), [false, false], "once a period");
        assert!(evening_of("2017-12-07", false) && evening_of("2017-12-08", true), "the next period is caught up as well");
        assert!(!evening_of("2017-12-11", true), "and does not move the periods");
        assert!(evening_of("2017-12-12", true));
    }
}
