//! A smaller order, or another limit, in the place of an open one.
//!
//! The broker makes a new order of it, with a new id, and may still fill the old one until it says `replaced`. So a replacement is a
//! journalled order of its own with the old one as its parent, sent once like any other: an outcome that is not known is asked
//! for by id, and only the same replacement is ever sent again. It never asks for more shares than the old order still has: what
//! would be larger is another rebalance, with its own confirmation.

use super::{AccountCheck, PaperDay, SubmitReport, confirmation_token};
use crate::execution::log::OrderRow;
use crate::execution::order::{Intent, OrderSet, OrderType, Pins, run_key};
use crate::execution::state::{is_unknown, name};
use crate::execution::submit::REPLACE;
use crate::execution::tick::{Assigned, on_step};
use data_layer::error::{Error, Result, code};
use rusqlite::params;

/// From here on a rebalance number means a replacement.
pub const FIRST_REPLACEMENT: u32 = 2_000;

impl PaperDay<'_> {
    /// Replace an open order of the strategy. Called again with the same order it continues what was begun.
    pub fn replace(&self, account: &AccountCheck, order_id: &str, qty: f64, limit_price: Option<f64>) -> Result<SubmitReport> {
        if let Some(key) = self.unfinished_replacement(order_id)? {
            return self.confirm_and_send(&key);
        }
        let refuse = |why: String| Err(Error::new(code::ORD_REFUSED, text!("the order {order_id} cannot be replaced")).cause(why).fix("trademl paper status"));
        let Some(old) = self.log().order(order_id)?.filter(|o| o.intent.account == account.account && o.intent.strategy == self.config.strategy) else {
            return refuse("no such order of this account and strategy".into());
        };
        if old.is_closed() || old.state == name::PLANNED || is_unknown(&old.state) || old.broker_order_id.is_none() {
            return refuse(text!("it is {}", old.state));
        }
        if !(qty >= 1.0 && qty.fract() == 0.0 && qty <= old.remaining()) {
            return refuse(text!("{qty} shares are asked for, {} are left; a replacement is never larger", old.remaining()));
        }
        let is_limit = matches!(old.intent.order_type, OrderType::Limit | OrderType::StopLimit);
        if limit_price.is_some() && !is_limit {
            return refuse("a market order has no limit to change".into());
        }
        let set = self.replacement_set(account, &old, qty, limit_price)?;
        self.log().pin_set(&set)?;
        self.confirm_and_send(&set.run_key)
    }

    /// What can only get smaller needs no words of its own; its record is kept all the same.
    fn confirm_and_send(&self, key: &str) -> Result<SubmitReport> {
        let set = self.require_set(key)?;
        self.consent(key, &confirmation_token(&set.account, set.trading_day))?;
        self.submit_all(key)
    }

    fn unfinished_replacement(&self, order_id: &str) -> Result<Option<String>> {
        let conn = self.db.lock()?;
        let mut q =
            conn.prepare("SELECT run_key FROM orders WHERE parent = ?1 AND style = ?2 AND state IN ('planned', 'intended', 'submitted_unconfirmed')")?;
        Ok(q.query_map(params![order_id, REPLACE], |r| r.get(0))?.next().transpose()?)
    }

    fn replacement_set(&self, account: &AccountCheck, old: &OrderRow, qty: f64, limit_price: Option<f64>) -> Result<OrderSet> {
        let i = &old.intent;
        let made: u32 = self.db.lock()?.query_row(
            "SELECT count(*) FROM order_sets WHERE account = ?1 AND strategy = ?2 AND trading_day = ?3 AND rebalance_no >= ?4",
            params![i.account, i.strategy, i.trading_day.to_string(), FIRST_REPLACEMENT],
            |r| r.get(0),
        )?;
        let rebalance_no = FIRST_REPLACEMENT + made;
        let key = run_key(&i.account, &i.strategy, i.trading_day, rebalance_no);
        let pins = self.require_set(&i.run_key)?.pins;
        let mut next = Intent {
            run_key: key.clone(),
            rebalance_no,
            line: 0,
            qty,
            // A broker of currencies and contracts for difference has steps of its own.
            limit_price: limit_price
                .map(|p| if self.broker.name() == "ctrader" { p } else { on_step(i.side, p, i.trading_day, Assigned::Nothing) })
                .or(i.limit_price),
            style: REPLACE.into(),
            parent: Some(i.client_order_id.clone()),
            slice: 0,
            attempt: i.attempt + 1,
            created_at: self.host.now(),
            ..i.clone()
        };
        next.client_order_id = next.mint_id();
        let mut set = OrderSet {
            run_key: key,
            order_set_hash: String::new(),
            account: i.account.clone(),
            strategy: i.strategy.clone(),
            trading_day: i.trading_day,
            rebalance_no,
            equity: account.equity,
            pinned_at: self.host.now(),
            run_id: self.config.run_id.clone(),
            pins: Pins { asof: pins.asof, champion: pins.champion, prices: pins.prices, positions: pins.positions, ..Pins::default() },
            lines: vec![next],
        };
        set.order_set_hash = set.compute_hash()?;
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::super::default_sizer;
    use super::super::tests::{config, evening_steps, open};
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, Fault, evening, scratch};

    #[test]
    fn a_replacement_is_sent_once_whatever_is_lost_and_never_asks_for_more() {
        for fault in [None, Some(Fault::LostAck), Some(Fault::LostRequest)] {
            let (dir, broker) = (scratch(), FakeBroker::new(evening()));
            let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
            let db = open(dir.path(), None, evening().plus_seconds(60)).unwrap();
            let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
            let account = day.account_check().unwrap();
            let old = day.log().orders_of(&key).unwrap().remove(0);
            assert!(day.replace(&account, old.id(), old.intent.qty + 1.0, None).unwrap_err().is(code::ORD_REFUSED));
            assert!(day.replace(&account, old.id(), 5.0, Some(100.0)).is_err() && day.replace(&account, "tm1-none", 1.0, None).is_err());
            let n = broker.truth.lock().unwrap().posts.len();
            broker.truth.lock().unwrap().faults.extend(fault.map(|f| (n, f)));
            let sent = day.replace(&account, old.id(), 5.0, None).unwrap();
            assert_eq!((sent.sent, sent.unknown), (1, 0), "{fault:?} {sent:?}");
            let open_at_broker: Vec<(String, f64)> = broker
                .truth
                .lock()
                .unwrap()
                .orders
                .values()
                .filter(|o| o.is_open() && o.symbol == old.intent.symbol)
                .map(|o| (o.status.clone(), o.qty))
                .collect();
            assert_eq!(open_at_broker, [("accepted".to_string(), 5.0)], "{fault:?}");
            assert_eq!(day.log().order(old.id()).unwrap().unwrap().state, "replaced");
            assert!(day.reconcile("SIM1").unwrap().differences.is_empty());
        }
    }

    #[test]
    fn a_replacement_cut_off_at_any_point_is_continued_by_the_same_words() {
        for k in 1..60 {
            let (dir, broker) = (scratch(), FakeBroker::new(evening()));
            let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
            let work = |crash: Option<(String, u64)>, seconds: i64| {
                let db = open(dir.path(), crash, evening().plus_seconds(seconds))?;
                let day = PaperDay::new(&db, &broker, config(), &default_sizer)?;
                let old = day.log().orders_of(&key)?.remove(0);
                if old.state == "replaced" {
                    return Ok(());
                }
                day.replace(&day.account_check()?, old.id(), 5.0, None).map(drop)
            };
            let crashed = work(Some((String::new(), k)), 60).is_err();
            work(None, 120).unwrap();
            let t = broker.truth.lock().unwrap();
            assert_eq!(t.orders.values().filter(|o| o.is_open()).count(), 3, "crash {k}");
            assert_eq!(t.orders.len(), 4, "crash {k}: one replacement");
            if !crashed {
                assert!(k > 5);
                break;
            }
        }
    }
}
