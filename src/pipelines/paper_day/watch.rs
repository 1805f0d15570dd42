//! A session with the book: events as they come, a reconcile after each gap and every five minutes, the tripwires, and what
//! had to wait for reductions.

use super::{AccountCheck, PaperDay, SubmitReport};
use crate::execution::broker::{Events, Heard};
use crate::execution::state::name;
use crate::execution::stream;
use crate::execution::switches::{self, Switch};
use data_layer::error::Result;
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
        let mut stopped = false;
        loop {
            let now = self.host.now();
            let since = due.last.map_or(f64::INFINITY, |t| now.seconds_since(t));
            let interval = if events.is_connected() { RECONCILE_S } else { POLL_S };
            if due.now || since >= interval {
                self.look(run_key, &mut out, note)?;
                due = Due { last: Some(self.host.now()), now: false };
                if self.nothing_left(run_key)? {
                    return Ok(out);
                }
            }
            if self.host.now() >= until || self.host.is_cancelled() {
                return Ok(out);
            }
            let kill = switches::read(self.db, Switch::Kill, &account.account);
            if kill.stopped && !stopped {
                note(&format!("the kill switch is {}: {}", kill.state, kill.reason));
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

    /// Reconcile, measure, and send what may go now. A broker that does not answer is asked again at the next look.
    fn look(&self, run_key: &str, out: &mut WatchReport, note: &mut dyn FnMut(&str)) -> Result<()> {
        out.reconciles += 1;
        match self.submit_all(run_key) {
            Ok(report) => out.last = report,
            Err(e) if e.code().exit.status() != 3 && !e.is(data_layer::error::code::BUG_CRASH_POINT) => note(&format!("the broker was asked in vain: {e}")),
            Err(e) => return Err(e),
        }
        if let Ok(fresh) = self.account_check() {
            // The set was confirmed on the last close; inside its own session that is not stale.
            let guard = self.guard(&fresh, self.host.now())?;
            out.trips += guard.touched.len();
            guard.touched.iter().for_each(|t| note(&t.text));
        }
        Ok(())
    }

    fn nothing_left(&self, run_key: &str) -> Result<bool> {
        Ok(self.log().orders_of(run_key)?.iter().all(|o| o.is_closed() && o.state != name::PLANNED))
    }
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
}
