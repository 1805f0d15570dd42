//! From a passed gate to a known outcome: the intent is on the platter before the POST, an unknown outcome is asked for,
//! and nothing is sent twice on a guess.

use super::broker::{Broker, BrokerOrder, Lookup, Submitted};
use super::log::{Applied, OrderLog, OrderRow, Report};
use super::quarantine::quarantine;
use super::state::{Source, is_unknown, name};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::store::digest_of;
use data_layer::time::UtcTime;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Waits before the look-ups of an unknown order.
const LOOKUP_WAITS_S: [u64; 3] = [2, 4, 8];
/// Two "no such order" must be this far apart before the order may be sent again.
const NOT_FOUND_APART_S: f64 = 5.0;
/// POSTs of one order in one visit, the first included.
const MAX_POSTS: usize = 3;

/// The style of an order that takes the place of its parent at the broker.
pub const REPLACE: &str = "replace";

/// How an order stands after it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    Accepted,
    Refused {
        code: String,
        text: String,
    },
    /// Still not known: counts in full against the limits, and its symbol takes no increase.
    Unknown {
        why: String,
    },
}

/// The pieces that sending needs.
pub struct Sender<'a> {
    pub host: &'a Host,
    pub log: OrderLog<'a>,
    pub broker: &'a dyn Broker,
    /// Asked immediately before every POST that does not follow at once from a passed gate: why the order may not go now, or nothing.
    /// Between the first POST and the next one a switch may have been thrown and a price may have aged.
    pub again: &'a dyn Fn(&OrderRow) -> Result<Option<String>>,
}

impl Sender<'_> {
    /// Gate 13 and the POST. The row must be `planned`.
    pub fn send(&self, id: &str) -> Result<Outcome> {
        if !self.log.intend(id, self.host.now())? {
            let state = self.require(id)?.state;
            return Err(Error::new(code::ORD_REFUSED, text!("order {id} is {state}, not planned: it is not sent")));
        }
        self.host.failpoint("order.intent.after")?;
        let row = self.require(id)?;
        self.post(&row)
    }

    /// Find out about an order that may or may not have been sent; send it (again) only when it certainly never arrived.
    pub fn resolve(&self, id: &str) -> Result<Outcome> {
        let row = self.require(id)?;
        if !is_unknown(&row.state) {
            return Ok(outcome_of(&row));
        }
        // Whoever sent it before counts: what is sent now is no first POST.
        self.ask_then_maybe_post(&row, 1)
    }

    fn post(&self, row: &OrderRow) -> Result<Outcome> {
        self.post_nth(row, 1)
    }

    fn post_nth(&self, row: &OrderRow, nth: usize) -> Result<Outcome> {
        self.host.failpoint("order.send.before")?;
        let submitted = match self.replaced(row)? {
            Some(old) => self.broker.replace(&old, &row.intent),
            None => self.broker.submit(&row.intent),
        };
        self.host.failpoint("order.send.after")?;
        match submitted {
            Submitted::Accepted(order) if order.matches(&row.intent) => self.accept(row, &order),
            Submitted::Accepted(_) => self.unknown(row, "the broker's answer is about another order", nth),
            Submitted::Refused { code, text } if nth == 1 => self.refuse(row, code, text),
            // An earlier one may have arrived after all, and be the very reason: no more buying power, for one.
            Submitted::Refused { code, text } => match self.broker.find_by_client_id(row.id()) {
                Lookup::Found(order) => self.found(row, &order),
                Lookup::NotFound => self.refuse(row, code, text),
                Lookup::Unknown(why) => Ok(Outcome::Unknown { why }),
            },
            Submitted::Duplicate => self.unknown(row, "the broker has this id already", nth),
            Submitted::Unknown(why) => self.unknown(row, &why, nth),
            Submitted::NotSent { why, retry_after_s } => self.not_sent(row, &why, retry_after_s, nth),
            Submitted::RateLimited { retry_after_s } => {
                self.host.block_on(self.host.sleep(Duration::from_secs(retry_after_s)))?;
                self.unknown(row, "the broker's rate limit is exhausted", nth)
            }
        }
    }

    /// Nothing arrived, so nothing can arrive twice: the same order goes again, a few times and as long as its day lasts.
    fn not_sent(&self, row: &OrderRow, why: &str, retry_after_s: u64, nth: usize) -> Result<Outcome> {
        if nth < MAX_POSTS {
            self.host.block_on(self.host.sleep(Duration::from_secs(retry_after_s)))?;
            self.host.check_cancelled()?;
            if self.host.now() < row.intent.expires_at {
                return match (self.again)(row)? {
                    None => self.post_nth(row, nth + 1),
                    Some(stopped) => {
                        self.log.mark(row.id(), name::UNCONFIRMED, Some(("unknown", why)), self.host.now())?;
                        Ok(Outcome::Unknown { why: stopped })
                    }
                };
            }
        }
        self.unknown(row, why, nth)
    }

    /// The broker's id of the order that this one takes the place of; none for an order of its own.
    fn replaced(&self, row: &OrderRow) -> Result<Option<String>> {
        if row.intent.style != REPLACE {
            return Ok(None);
        }
        let old = row.intent.parent.as_deref().map(|id| self.require(id)).transpose()?;
        let id = old.and_then(|o| o.broker_order_id);
        id.map(Some).ok_or_else(|| Error::new(code::ORD_REFUSED, text!("{} replaces an order that the broker never named", row.id())))
    }

    /// A replacement that the broker took ends the old order: fetch what became of it.
    fn follow_replaced(&self, row: &OrderRow) -> Result<()> {
        let Some(old) = row.intent.parent.as_deref().filter(|_| row.intent.style == REPLACE) else { return Ok(()) };
        if let Lookup::Found(order) = self.broker.find_by_client_id(old) {
            absorb(&self.log, &order, Source::Reconcile, self.host.now())?;
        }
        Ok(())
    }

    fn unknown(&self, row: &OrderRow, why: &str, nth: usize) -> Result<Outcome> {
        self.log.mark(row.id(), name::UNCONFIRMED, Some(("unknown", why)), self.host.now())?;
        self.ask_then_maybe_post(row, nth)
    }

    fn ask_then_maybe_post(&self, row: &OrderRow, posts: usize) -> Result<Outcome> {
        let mut first_not_found: Option<UtcTime> = None;
        let mut certain = false;
        let mut why = "it was not found and not refused".to_string();
        for wait in LOOKUP_WAITS_S {
            self.host.block_on(self.host.sleep(Duration::from_secs(wait)))?;
            match self.broker.find_by_client_id(row.id()) {
                Lookup::Found(order) => return self.found(row, &order),
                Lookup::NotFound => {
                    let now = self.host.now();
                    certain |= first_not_found.is_some_and(|first| now.seconds_since(first) >= NOT_FOUND_APART_S);
                    first_not_found.get_or_insert(now);
                }
                Lookup::Unknown(reason) => {
                    (first_not_found, certain, why) = (None, false, reason);
                }
            }
        }
        let may_send = certain && self.broker.refuses_duplicates() && self.host.now() < row.intent.expires_at && posts < MAX_POSTS;
        if !may_send {
            return Ok(Outcome::Unknown { why });
        }
        match (self.again)(row)? {
            None => self.post_nth(row, posts + 1),
            Some(stopped) => Ok(Outcome::Unknown { why: stopped }),
        }
    }

    /// The broker knows the id: equal is accepted, different halts everything about the symbol.
    fn found(&self, row: &OrderRow, order: &BrokerOrder) -> Result<Outcome> {
        if order.matches(&row.intent) {
            return self.accept(row, order);
        }
        quarantine(self.log.db(), &row.intent.symbol, "the broker holds another order under one of our ids", self.host.now())?;
        Err(Error::new(code::ORD_HALT, text!("order {} is another order at the broker", row.id()))
            .found(text!("{:?} {} {} instead of {:?} {} {}", order.side, order.qty, order.symbol, row.intent.side, row.intent.qty, row.intent.symbol))
            .fix("look at the order at the broker's own site before anything else"))
    }

    fn accept(&self, row: &OrderRow, order: &BrokerOrder) -> Result<Outcome> {
        self.log.apply(&report_of(order, Source::Reconcile, self.host.now())?)?;
        self.host.ack("order", row.id());
        self.follow_replaced(row)?;
        Ok(outcome_of(&self.require(row.id())?))
    }

    fn refuse(&self, row: &OrderRow, code: String, text: String) -> Result<Outcome> {
        self.log.apply(&Report {
            source: Source::Reconcile,
            report_id: format!("{}:refused:{}", row.id(), row.intent.attempt),
            order_id: row.id().to_string(),
            broker_ts: None,
            status: name::REJECTED.into(),
            filled_qty: 0.0,
            broker_order_id: None,
            refusal: Some((code.clone(), text.clone())),
            body: serde_json::json!({"code": code, "message": text}),
            received_at: self.host.now(),
        })?;
        self.host.ack("order", row.id());
        Ok(Outcome::Refused { code, text })
    }

    fn require(&self, id: &str) -> Result<OrderRow> {
        self.log.order(id)?.ok_or_else(|| Error::bug(text!("order {id} is not in the journal")))
    }
}

/// What the stored state of an order amounts to.
pub fn outcome_of(row: &OrderRow) -> Outcome {
    if is_unknown(&row.state) {
        return Outcome::Unknown { why: row.state.clone() };
    }
    if row.state == name::REJECTED {
        let (code, text) = (row.refusal_code.clone().unwrap_or_default(), row.refusal_text.clone().unwrap_or_default());
        return Outcome::Refused { code, text };
    }
    Outcome::Accepted
}

/// A broker's order as a report; equal reports have equal ids.
pub fn report_of(order: &BrokerOrder, source: Source, now: UtcTime) -> Result<Report> {
    Ok(Report {
        source,
        report_id: digest_of(order)?,
        order_id: order.client_order_id.clone(),
        broker_ts: order.updated_at,
        status: order.status.clone(),
        filled_qty: order.filled_qty,
        broker_order_id: Some(order.id.clone()),
        refusal: None,
        body: serde_json::to_value(order)?,
        received_at: now,
    })
}

/// Apply what a broker says about an order, and act on what that reveals.
pub(crate) fn absorb(log: &OrderLog<'_>, order: &BrokerOrder, source: Source, now: UtcTime) -> Result<Applied> {
    let applied = log.apply(&report_of(order, source, now)?)?;
    if order.filled_qty > order.qty + 1e-9 {
        quarantine(log.db(), &order.symbol, "the broker filled more than was ordered", now)?;
    }
    if applied.reopened {
        quarantine(log.db(), &order.symbol, "the broker knows an order that was taken for over", now)?;
    }
    Ok(applied)
}

/// Nothing stands against sending again.
#[cfg(test)]
pub(crate) fn unhindered(_: &OrderRow) -> Result<Option<String>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, Fault, evening, journal};
    use crate::execution::order::{OrderSet, Pins, tests::intent};
    use crate::types::Side;
    use data_layer::control::Db;

    fn set(db: &Db, symbols: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        for (n, s) in symbols.iter().enumerate() {
            let mut i = intent(s, Side::Buy, 10.0);
            i.line = n as u32;
            i.client_order_id = i.mint_id();
            lines.push(i);
        }
        let first = &lines[0];
        let mut set = OrderSet {
            run_key: first.run_key.clone(),
            order_set_hash: String::new(),
            account: "SIM1".into(),
            strategy: first.strategy.clone(),
            trading_day: first.trading_day,
            rebalance_no: 0,
            equity: 100_000.0,
            pinned_at: evening(),
            run_id: None,
            pins: Pins::default(),
            lines,
        };
        set.order_set_hash = set.compute_hash().unwrap();
        OrderLog::new(db).pin_set(&set).unwrap();
        set.lines.iter().map(|l| l.client_order_id.clone()).collect()
    }

    #[test]
    fn lesson_089_lost_acknowledgements_and_lost_requests_end_in_exactly_one_order() {
        for fault in [Fault::LostAck, Fault::LostRequest, Fault::RateLimited] {
            let (_dir, root, db) = journal();
            let broker = FakeBroker::new(evening());
            broker.truth.lock().unwrap().faults.insert(0, fault);
            let id = set(&db, &["AAPL"]).remove(0);
            let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &unhindered };
            assert_eq!(sender.send(&id).unwrap(), Outcome::Accepted, "{fault:?}");
            let t = broker.truth.lock().unwrap();
            assert_eq!(t.orders.len(), 1);
            assert_eq!(t.posts.len(), if fault == Fault::LostAck { 1 } else { 2 });
            assert_eq!(sender.log.order(&id).unwrap().unwrap().state, "accepted");
        }
    }

    #[test]
    fn lesson_102_a_broker_without_dedup_never_sees_a_second_post() {
        let (_dir, root, db) = journal();
        let mut broker = FakeBroker::new(evening());
        broker.dedups = false;
        broker.truth.lock().unwrap().faults.insert(0, Fault::LostRequest);
        let id = set(&db, &["AAPL"]).remove(0);
        let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &unhindered };
        assert!(matches!(sender.send(&id).unwrap(), Outcome::Unknown { .. }));
        assert!(matches!(sender.resolve(&id).unwrap(), Outcome::Unknown { .. }));
        assert_eq!(broker.truth.lock().unwrap().posts.len(), 1);
    }

    #[test]
    fn what_certainly_was_not_sent_goes_again_a_few_times_and_within_its_day() {
        for (faults, accepted, posts) in [(vec![15], true, 2), (vec![15, 15], true, 3), (vec![15, 15, 15], false, 3), (vec![172_800], false, 1)] {
            let (_dir, root, db) = journal();
            let mut broker = FakeBroker::new(evening());
            broker.dedups = false;
            broker.truth.lock().unwrap().faults.extend(faults.iter().enumerate().map(|(n, s)| (n, Fault::NotSent(*s))));
            let id = set(&db, &["AAPL"]).remove(0);
            let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &unhindered };
            let first = sender.send(&id).unwrap();
            assert_eq!(first == Outcome::Accepted, accepted, "{faults:?}: {first:?}");
            // What another process did before is not known, so it is asked for and never sent.
            sender.resolve(&id).unwrap();
            let t = broker.truth.lock().unwrap();
            assert_eq!((t.orders.len(), t.posts.len()), (usize::from(accepted), posts), "{faults:?}");
        }
    }

    #[test]
    fn lesson_117_a_404_between_blind_look_ups_is_not_enough_to_send_again() {
        let (_dir, root, db) = journal();
        let broker = FakeBroker::new(evening());
        {
            let mut t = broker.truth.lock().unwrap();
            t.faults.insert(0, Fault::LostRequest);
            t.blind_lookups.extend([1, 2]);
        }
        let id = set(&db, &["AAPL"]).remove(0);
        let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &unhindered };
        assert!(matches!(sender.send(&id).unwrap(), Outcome::Unknown { .. }));
        assert_eq!(broker.truth.lock().unwrap().posts.len(), 1);
        assert_eq!(sender.log.order(&id).unwrap().unwrap().remaining(), 10.0);
        assert_eq!(sender.resolve(&id).unwrap(), Outcome::Accepted);
    }

    #[test]
    fn what_was_stopped_meanwhile_is_not_sent_again() {
        for fault in [Fault::LostRequest, Fault::NotSent(15)] {
            let (_dir, root, db) = journal();
            let broker = FakeBroker::new(evening());
            broker.truth.lock().unwrap().faults.insert(0, fault);
            let id = set(&db, &["AAPL"]).remove(0);
            let stopped = |_: &OrderRow| Ok(Some("the kill switch is ENGAGED".to_string()));
            let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &stopped };
            let why = Outcome::Unknown { why: "the kill switch is ENGAGED".into() };
            assert_eq!((sender.send(&id).unwrap(), sender.resolve(&id).unwrap()), (why.clone(), why), "{fault:?}");
            assert_eq!(broker.truth.lock().unwrap().posts.len(), 1, "{fault:?}");
            assert_eq!(sender.log.order(&id).unwrap().unwrap().remaining(), 10.0, "it still counts in full");
        }
    }

    #[test]
    fn another_payload_under_our_id_halts_and_a_refusal_is_final() {
        let (_dir, root, db) = journal();
        let broker = FakeBroker::new(evening());
        broker.truth.lock().unwrap().faults.extend([(0, Fault::WrongPayload), (1, Fault::Refused)]);
        let ids = set(&db, &["AAPL", "MSFT"]);
        let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &unhindered };
        assert!(sender.send(&ids[0]).unwrap_err().is(code::ORD_HALT));
        assert!(matches!(sender.send(&ids[1]).unwrap(), Outcome::Refused { .. }));
        assert!(sender.send(&ids[1]).is_err());
        assert_eq!(sender.log.order(&ids[1]).unwrap().unwrap().remaining(), 0.0);
    }
}
