//! Taking orders back. An order is confirmed for one session: what is still open after it is taken back at the broker, since not every
//! broker ends a day's order by itself (a market order for the open may wait for whichever open comes next).

use super::PaperDay;
use crate::execution::log::OrderRow;
use crate::execution::order::{OrderSet, Tif};
use crate::execution::reconcile::ReconcileReport;
use data_layer::error::Result;
use data_layer::time::UtcTime;

impl PaperDay<'_> {
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
    use super::super::default_sizer;
    use super::super::tests::{config, evening_steps, open};
    use super::*;
    use crate::execution::broker::NoStream;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use data_layer::error::code;

    const CLOSED: &str = "2017-12-01T21:00:30Z";

    fn statuses(broker: &FakeBroker) -> Vec<String> {
        broker.truth.lock().unwrap().orders.values().map(|o| o.status.clone()).collect()
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
