//! A session with the book: events as they come, a reconcile after each gap and every five minutes, the tripwires, and what
//! had to wait for reductions.

use super::{AccountCheck, PaperDay, SubmitReport};
use crate::execution::broker::{Events, Heard};
use crate::execution::state::name;
use crate::execution::stream;
use crate::execution::switches::{self, Switch};
use crate::monitoring::alarms;
use data_layer::error::{Error, Result, code};
use data_layer::time::UtcTime;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Between two reconciles while the stream speaks, and while it does not.
const RECONCILE_S: f64 = 300.0;
const POLL_S: f64 = 30.0;
/// Real time to wait for one event: the longest that a stop file goes unnoticed.
const PATIENCE: Duration = Duration::from_millis(800);

/// What a session came to.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct WatchReport {
    pub events: usize,
    pub gaps: usize,
    pub reconciles: usize,
    pub trips: usize,
    pub last: SubmitReport,
}

/// Why a look is due.
struct Due {
    last: Option<UtcTime>,
    now: bool,
}

impl PaperDay<'_> {
    /// Follow the pinned set until `until`, or until nothing of it is open any more. Every step is idempotent, so a watch
    /// that dies is simply begun again; it plans nothing, and sends only lines of the confirmed set.
    pub fn watch(&self, account: &AccountCheck, run_key: &str, events: &mut dyn Events, until: UtcTime, note: &mut dyn FnMut(&str)) -> Result<WatchReport> {
        let mut out = WatchReport::default();
        let mut due = Due { last: None, now: true };
        let (mut stopped, mut blind) = (false, 0);
        let set = self.require_set(run_key)?;
        let mut turn = self.next_turn(&set);
        loop {
            let now = self.host.now();
            if turn.is_some_and(|at| now >= at) {
                due.now = true;
                turn = self.next_turn(&set);
            }
            let since = due.last.map_or(f64::INFINITY, |t| now.seconds_since(t));
            let interval = if events.is_connected() { RECONCILE_S } else { POLL_S };
            if due.now || since >= interval {
                self.look(account, run_key, &mut out, &mut blind, note)?;
                due = Due { last: Some(self.host.now()), now: false };
                if let Err(e) = alarms::raise(self.db) {
                    note(&text!("an alarm could not be sent: {e}"));
                }
                if self.nothing_left(run_key)? {
                    return Ok(out);
                }
            }
            if self.host.is_cancelled() {
                return Ok(out);
            }
            if self.host.now() >= until {
                let reconciled = self.reconcile(&set.account)?;
                self.end_overdue(&set, self.broker_clock()?.now, reconciled)?;
                return Ok(out);
            }
            let kill = switches::read(self.db, Switch::Kill, &account.account);
            if kill.stopped && !stopped {
                note(&text!("the kill switch is {}: {}", kill.state, kill.reason));
            }
            stopped = kill.stopped;
            match events.next(PATIENCE)? {
                Heard::Update(update) => {
                    out.events += 1;
                    let taken = stream::take_in(&self.log(), &update, self.host.now())?;
                    note(&format!("{} {} {}", update.event, update.order.symbol, update.order.status));
                    due.now |= taken.fetch;
                }
                Heard::Gap(why) => {
                    out.gaps += 1;
                    note(&why);
                    due.now = true;
                }
                Heard::Silence => {}
            }
        }
    }

    /// Reconcile, measure, and send what may go now. A broker that does not answer is asked again at the next look; as many looks in a row
    /// as the limits allow broker errors, at none of which the account could be measured, trip the breaker (`blind` counts them).
    fn look(&self, account: &AccountCheck, run_key: &str, out: &mut WatchReport, blind: &mut u32, note: &mut dyn FnMut(&str)) -> Result<()> {
        out.reconciles += 1;
        match self.submit_all(run_key) {
            Ok(report) => out.last = report,
            Err(e) if may_pass(&e) => note(&text!("the broker was asked in vain: {e}")),
            Err(e) => return Err(e),
        }
        match self.measure_and_act(run_key, out, note) {
            Ok(()) => *blind = 0,
            Err(e) if may_pass(&e) => {
                *blind += 1;
                note(&text!("the account could not be measured: {e}"));
                if *blind >= self.config.limits.broker_errors_in_row {
                    out.trips += self.guard_blind(&account.account, *blind)?;
                }
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn measure_and_act(&self, run_key: &str, out: &mut WatchReport, note: &mut dyn FnMut(&str)) -> Result<()> {
        let fresh = self.account_check()?;
        // The set was confirmed on the last close; inside its own session that is not stale.
        let guard = self.guard(&fresh, self.host.now())?;
        out.trips += guard.touched.len();
        guard.touched.iter().for_each(|t| note(&t.text));
        let prices = self.require_set(run_key)?.pins.prices;
        let smaller = self.act_on_risk(&fresh, &guard.touched, &prices)?;
        smaller.sentences().iter().for_each(|t| note(t));
        Ok(())
    }

    fn nothing_left(&self, run_key: &str) -> Result<bool> {
        Ok(self.log().orders_of(run_key)?.iter().all(|o| o.is_closed() && o.state != name::PLANNED))
    }
}

/// Whether a watch goes on after this: what the broker or the network did, and an account that may not trade now. Not what only a person can
/// mend, and never a point of death of a test.
fn may_pass(e: &Error) -> bool {
    !e.is(code::BUG_CRASH_POINT) && (e.code().exit.status() != 3 || e.is(code::ORD_REFUSED))
}

#[cfg(test)]
mod tests {
    use super::super::default_sizer;
    use super::super::tests::{config, evening_steps, open};
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use crate::execution::broker::{BrokerOrder, TradeUpdate};
    use data_layer::root::DataPath;
    use data_layer::store;

    /// A stream that says what it was told to, and moves the broker's world on as it does.
    struct Script<'a> {
        heard: Vec<Heard>,
        broker: &'a FakeBroker,
        db: &'a data_layer::control::Db,
    }
    impl Events for Script<'_> {
        fn next(&mut self, _patience: Duration) -> Result<Heard> {
            let host = self.db.root().host();
            host.block_on(host.sleep(Duration::from_secs(5)))?;
            self.broker.set_now(host.now());
            if self.heard.is_empty() {
                return Ok(Heard::Silence);
            }
            Ok(self.heard.remove(0))
        }
        fn is_connected(&self) -> bool {
            true
        }
    }

    fn session() -> (tempfile::TempDir, FakeBroker, String, data_layer::control::Db) {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        let now = UtcTime::parse("2017-12-01T14:30:10Z").unwrap();
        broker.set_now(now);
        let db = open(dir.path(), None, now).unwrap();
        (dir, broker, key, db)
    }

    fn filled(order: &BrokerOrder) -> Heard {
        let order = BrokerOrder { status: "filled".into(), filled_qty: order.qty, ..order.clone() };
        Heard::Update(Box::new(TradeUpdate { event: "fill".into(), execution_id: None, at: order.updated_at, qty: None, price: None, order }))
    }

    #[test]
    fn a_fill_is_heard_fetched_and_booked_and_the_watch_ends_with_the_last_order() {
        let (_dir, broker, key, db) = session();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        let orders: Vec<BrokerOrder> = broker.truth.lock().unwrap().orders.values().cloned().collect();
        broker.fill_all(UtcTime::parse("2017-12-01T14:30:12Z").unwrap());
        broker.truth.lock().unwrap().hide_fills = true;
        let mut said = Vec::new();
        let mut events = Script { heard: vec![filled(&orders[0]), filled(&orders[0])], broker: &broker, db: &db };
        broker.truth.lock().unwrap().hide_fills = false;
        let report = day.watch(&account, &key, &mut events, account.expires_at, &mut |t| said.push(t.to_string())).unwrap();
        assert_eq!((report.last.filled, report.last.unknown), (3, 0), "{report:?}");
        assert_eq!(crate::execution::positions::ledger(&day.log(), "SIM1").unwrap().per_symbol().len(), 3);
    }

    #[test]
    fn an_account_that_cannot_be_measured_is_said_aloud_and_trips_at_the_third_look() {
        let (_dir, broker, key, db) = session();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        broker.truth.lock().unwrap().blocked = true;
        let gap = || Heard::Gap("the stream broke".into());
        for (gaps, trips) in [(1, 0), (2, 3)] {
            let mut said = Vec::new();
            let mut events = Script { heard: (0..gaps).map(|_| gap()).collect(), broker: &broker, db: &db };
            let until = db.root().host().now().plus_seconds(40);
            let report = day.watch(&account, &key, &mut events, until, &mut |t| said.push(t.to_string())).unwrap();
            assert_eq!((report.reconciles, report.trips), (gaps + 1, trips), "{said:?}");
            assert_eq!(said.iter().filter(|t| t.contains("could not be measured") && t.contains("may not trade")).count(), gaps + 1, "{said:?}");
            assert_eq!(switches::read(&db, Switch::Breaker, "SIM1").stopped, trips > 0);
        }
    }

    #[test]
    fn a_gap_means_a_reconcile_and_a_stop_file_is_noticed() {
        let (_dir, broker, key, db) = session();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        store::write_atomic(db.root(), &DataPath::new(switches::STOP_FILE).unwrap(), b"enough").unwrap();
        let mut said = Vec::new();
        let mut events = Script { heard: vec![Heard::Silence, Heard::Gap("the stream broke".into()), Heard::Silence], broker: &broker, db: &db };
        let until = db.root().host().now().plus_seconds(60);
        let report = day.watch(&account, &key, &mut events, until, &mut |t| said.push(t.to_string())).unwrap();
        assert_eq!((report.gaps, report.reconciles), (1, 2), "one at the start, one after the gap");
        assert!(said.iter().any(|t| t.contains("STOP")), "{said:?}");
        assert!(said.iter().any(|t| t.contains("the stream broke")));
    }

    #[test]
    fn a_price_that_cannot_be_read_stops_its_own_line_alone() {
        use crate::pipelines::paper_day::{confirmation_token, tests::input};
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let key = {
            let db = open(dir.path(), None, evening()).unwrap();
            let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
            day.reconcile("SIM1").unwrap();
            let set = day.plan(&day.account_check().unwrap(), &input(crate::pipelines::paper_day::tests::TARGETS)).unwrap();
            day.consent(&set.run_key, &confirmation_token("SIM1", set.trading_day)).unwrap();
            set.run_key
        };
        // Sent in the session, when the close that was planned on is old.
        let later = UtcTime::parse("2017-12-01T15:30:00Z").unwrap();
        broker.set_now(later);
        broker.truth.lock().unwrap().unpriced.insert("AAPL".into());
        let db = open(dir.path(), None, later).unwrap();
        let sent = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().submit_all(&key).unwrap();
        assert_eq!((sent.sent, sent.refused), (2, 1), "{sent:?}");
        let stopped = sent.lines.iter().find(|l| l.symbol == "AAPL").unwrap();
        assert!(stopped.state == name::DROPPED && stopped.why.contains("reference price"), "{stopped:?}");
    }

    #[test]
    fn slices_go_at_their_moments_a_late_one_beside_the_next_and_nothing_after_the_last() {
        use crate::execution::schedule::cut::Pinned;
        use crate::pipelines::paper_day::{PlanInput, confirmation_token};
        use crate::portfolio::schedule::{Kind, Schedule};
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let schedule = Schedule { kind: Kind::Twap, duration_min: 15, ..Schedule::default() };
        let plan = PlanInput {
            schedule: Some(Pinned { schedule, sigma_daily: std::collections::BTreeMap::new() }),
            ..super::super::tests::input(&[("AAPL", 0.08), ("BBB", 0.005)])
        };
        let db = open(dir.path(), None, evening()).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        day.reconcile("SIM1").unwrap();
        let set = day.plan(&day.account_check().unwrap(), &plan).unwrap();
        let shape: Vec<_> = set.lines.iter().map(|l| (l.symbol.as_str(), l.qty, l.slice, l.style.as_str())).collect();
        assert_eq!(shape[..4], [("AAPL", 15.0, 1, "twap"), ("AAPL", 16.0, 2, "twap"), ("AAPL", 16.0, 3, "twap"), ("BBB", 10.0, 0, "next_open")]);
        let preview = day.preview(&set.run_key).unwrap();
        assert_eq!((preview.orders, preview.lines[0].slices, preview.lines[0].qty), (2, 3, 47.0));
        assert!(preview.notes.iter().any(|n| n.contains("BBB is sent whole")), "{:?}", preview.notes);
        day.consent(&set.run_key, &confirmation_token("SIM1", set.trading_day)).unwrap();
        let sent = day.submit_all(&set.run_key).unwrap();
        assert_eq!((sent.sent, sent.waiting), (1, 3), "{sent:?}");
        drop(db);
        // The desk wakes after the first moment: both slices go in the second, the third in its own.
        let at = |minute: i64| UtcTime::parse("2017-12-01T14:45:00Z").unwrap().plus_seconds(60 * minute);
        let look = |now: UtcTime| {
            broker.set_now(now);
            broker.fill_all(now.plus_seconds(-1));
            let db = open(dir.path(), None, now).unwrap();
            let sent = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().submit_all(&set.run_key).unwrap();
            (sent.sent, sent.waiting, sent.refused)
        };
        assert_eq!(look(at(3)), (1, 3, 0));
        assert_eq!(look(at(5)), (3, 1, 0));
        assert_eq!(look(at(16)), (3, 0, 1), "the last moment has passed");
    }
}
