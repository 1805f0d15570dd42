//! Taking orders back: what a person cancels, and what outlived its session. An order is confirmed for one session: what is still open after it is taken back at the broker, since not every
//! broker ends a day's order by itself (a market order for the open may wait for whichever open comes next).

use super::PaperDay;
use crate::execution::broker::Lookup;
use crate::execution::log::OrderRow;
use crate::execution::order::{OrderSet, Tif};
use crate::execution::reconcile::ReconcileReport;
use crate::execution::state::{Source, name};
use crate::execution::submit::absorb;
use data_layer::error::{Error, Result, code};
use data_layer::time::UtcTime;
use serde::{Deserialize, Serialize};

/// What became of orders that a person took back, by their ids.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Cancelled {
    /// They had not been sent, and never will be.
    pub withdrawn: Vec<String>,
    /// The broker was told; what it filled before stays filled.
    pub taken_back: Vec<String>,
    /// Nobody knows yet whether the broker has them: the next reconcile asks, and they can be taken back then.
    pub unknown: Vec<String>,
}

impl PaperDay<'_> {
    /// Take back one open order of the strategy, or all of them. It restricts only, so it may be done beside a followed session: what is
    /// planned is claimed before anybody can send it, and a broker that is told twice has told once.
    pub fn cancel(&self, account: &str, order: Option<&str>) -> Result<Cancelled> {
        let mut open = self.log().open_orders(account)?;
        open.retain(|o| o.intent.strategy == self.config.strategy && order.is_none_or(|id| o.id() == id));
        if let (Some(id), true) = (order, open.is_empty()) {
            return Err(Error::new(code::ORD_REFUSED, text!("{id} is no open order of this account and strategy")).fix("trademl paper status"));
        }
        let (mut out, mut sent) = (Cancelled::default(), Vec::new());
        for row in open {
            let id = row.id().to_string();
            if row.state == name::PLANNED && self.log().withdraw(&id, ("canceled", "a person took it back"), self.host.now())? {
                out.withdrawn.push(id);
            } else if row.broker_order_id.is_some() {
                sent.push(row);
            } else {
                out.unknown.push(id);
            }
        }
        let told = self.take_back(&sent);
        // What became of them is known at once where the broker can be asked; where it cannot, the next reconcile learns it.
        for row in &sent {
            if let Lookup::Found(order) = self.broker.find_by_client_id(row.id()) {
                absorb(&self.log(), &order, Source::Reconcile, self.host.now())?;
            }
        }
        out.taken_back = told?;
        Ok(out)
    }

    /// Take back whatever of the strategy is open past its session by the broker's clock, and fetch what became of it. Nothing of the kind:
    /// the reconcile that was made before stands.
    pub(super) fn end_overdue(&self, set: &OrderSet, broker_now: UtcTime, before: ReconcileReport) -> Result<ReconcileReport> {
        // Two clocks that agree may still differ by this much, and nothing good comes of a session's last seconds.
        let now = broker_now.plus_seconds(self.config.limits.clock_skew_s.ceil() as i64);
        let mut overdue = self.log().open_orders(&set.account)?;
        overdue.retain(|o| o.intent.strategy == set.strategy && o.intent.tif != Tif::Gtc && now >= o.intent.expires_at && o.broker_order_id.is_some());
        if overdue.is_empty() {
            return Ok(before);
        }
        self.take_back(&overdue)?;
        let mut after = self.reconcile(&set.account)?;
        after.new_fills += before.new_fills;
        after.first_contact |= before.first_contact;
        after.differences.splice(0..0, before.differences);
        after.quarantined.extend(before.quarantined);
        after.released.extend(before.released);
        Ok(after)
    }

    /// Take orders back, each whatever becomes of the others; the first failure is told when all were tried. Returns the ids of those that
    /// were taken back.
    pub(super) fn take_back(&self, rows: &[OrderRow]) -> Result<Vec<String>> {
        let (mut out, mut failure) = (Vec::new(), None);
        for row in rows {
            let Some(id) = &row.broker_order_id else { continue };
            match self.broker.cancel(id) {
                Ok(()) => out.push(row.id().to_string()),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        failure.map_or(Ok(out), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::super::confirmation_token;
    use super::super::default_sizer;
    use super::super::tests::{TARGETS, config, evening_steps, input, open};
    use super::*;
    use crate::execution::broker::NoStream;
    use crate::execution::broker::fake::{FakeBroker, Fault, evening, scratch};

    const CLOSED: &str = "2017-12-01T21:00:30Z";

    fn statuses(broker: &FakeBroker) -> Vec<String> {
        broker.truth.lock().unwrap().orders.values().map(|o| o.status.clone()).collect()
    }

    #[test]
    fn a_person_takes_back_one_order_or_all_and_what_was_not_sent_is_never_sent() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        // One is lost on its way and cannot be asked for.
        broker.truth.lock().unwrap().faults.insert(2, Fault::LostRequest);
        broker.truth.lock().unwrap().blind_lookups.extend(0..40);
        let db = open(dir.path(), None, evening()).unwrap();
        let (key, sent) = evening_steps(&db, &broker).unwrap();
        assert_eq!((sent.sent, sent.unknown), (2, 1));
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        assert!(day.cancel("SIM1", Some("tm1-none")).unwrap_err().is(code::ORD_REFUSED));
        let first = day.log().orders_of(&key).unwrap().iter().find(|o| o.broker_order_id.is_some()).unwrap().id().to_string();
        assert_eq!(day.cancel("SIM1", Some(&first)).unwrap().taken_back, std::slice::from_ref(&first));
        assert_eq!(day.cancel("SIM1", Some(&first)).unwrap().taken_back, [first], "told again, nothing changes");
        let all = day.cancel("SIM1", None).unwrap();
        assert_eq!((all.withdrawn.len(), all.taken_back.len(), all.unknown.len()), (0, 2, 1), "{all:?}");
        assert_eq!(statuses(&broker), ["canceled"; 2]);
        broker.truth.lock().unwrap().blind_lookups.clear();
        day.reconcile("SIM1").unwrap();
        assert!(day.cancel("SIM1", None).unwrap().taken_back.is_empty());
        // Another evening: planned and confirmed, and taken back before it is sent.
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let db = open(dir.path(), None, evening()).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        day.reconcile("SIM1").unwrap();
        let set = day.plan(&account, &input(TARGETS)).unwrap();
        day.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day)).unwrap();
        assert_eq!(day.cancel("SIM1", None).unwrap().withdrawn.len(), 3);
        assert_eq!(day.submit_all(&set.run_key).unwrap().refused, 3);
        assert!(broker.truth.lock().unwrap().posts.is_empty());
    }

    #[test]
    fn what_did_not_open_in_its_session_is_taken_back_before_the_day_is_settled() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        let during = UtcTime::parse("2017-12-01T20:00:00Z").unwrap();
        broker.set_now(during);
        {
            let db = open(dir.path(), None, during).unwrap();
            let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
            day.settle(&key).unwrap();
            assert!(statuses(&broker).iter().all(|s| s == "accepted"), "the session still runs");
        }
        let closed = UtcTime::parse(CLOSED).unwrap();
        broker.set_now(closed);
        let db = open(dir.path(), None, closed).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let settled = day.settle(&key).unwrap();
        assert!(statuses(&broker).iter().all(|s| s == "canceled"), "{:?}", statuses(&broker));
        assert!(settled.orders.lines.iter().all(|l| l.state == "canceled"), "{settled:?}");
        // The next open finds nothing of it.
        broker.fill_all(UtcTime::parse("2017-12-04T14:30:00Z").unwrap());
        assert!(broker.truth.lock().unwrap().fills.is_empty());
    }

    #[test]
    fn a_watch_that_reaches_its_end_leaves_nothing_open_behind() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        let closed = UtcTime::parse(CLOSED).unwrap();
        broker.set_now(closed);
        let db = open(dir.path(), None, closed).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        let until = day.log().orders_of(&key).unwrap()[0].intent.expires_at;
        let mut events = NoStream { host: db.root().host().clone() };
        day.watch(&account, &key, &mut events, until, &mut |_| {}).unwrap();
        assert!(statuses(&broker).iter().all(|s| s == "canceled"), "{:?}", statuses(&broker));
        assert!(day.log().open_orders("SIM1").unwrap().is_empty());
    }

    #[test]
    fn one_order_that_cannot_be_taken_back_does_not_keep_the_others() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        let stuck = broker.truth.lock().unwrap().orders.values().min_by_key(|o| o.id.clone()).unwrap().id.clone();
        broker.truth.lock().unwrap().uncancelable.insert(stuck);
        let closed = UtcTime::parse(CLOSED).unwrap();
        broker.set_now(closed);
        let db = open(dir.path(), None, closed).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        assert!(day.settle(&key).unwrap_err().is(code::NET_RATE_LIMITED));
        let mut left = statuses(&broker);
        left.sort();
        assert_eq!(left, ["accepted", "canceled", "canceled"]);
        broker.truth.lock().unwrap().uncancelable.clear();
        assert!(day.settle(&key).unwrap().orders.lines.iter().all(|l| l.state == "canceled"));
    }
}
