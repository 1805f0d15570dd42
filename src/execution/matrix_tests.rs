//! Crash at every transition, under every arrival of events: the book ends the same.
//!
//! An order lives its life at a broker that keeps its own truth. The desk hears of it by events that come twice and out of
//! order, dies at the k-th write for every k, is started again, hears everything once more in another order, and reconciles.

use super::broker::fake::{FakeBroker, Fault, evening, host_at, scratch};
use super::broker::{BrokerFill, BrokerOrder, FillKind, TradeUpdate};
use super::log::OrderLog;
use super::order::{OrderSet, Pins, tests::intent};
use super::stream;
use super::submit::Sender;
use super::{positions, reconcile};
use crate::types::Side;
use data_layer::control::{Db, Which};
use data_layer::error::{Result, code};
use data_layer::root::{DataRoot, FsFacts, SENTINEL};
use data_layer::time::UtcTime;
use std::collections::BTreeMap;
use std::path::Path;

/// The events of a life: name, status, filled shares. The broker's clock moves on with each.
type Life = &'static [(&'static str, &'static str, f64)];

const LIVES: &[(&str, Life)] = &[
    ("filled in two parts", &[("new", "new", 0.0), ("partial_fill", "partially_filled", 4.0), ("fill", "filled", 10.0)]),
    (
        "canceled after a part",
        &[("new", "new", 0.0), ("partial_fill", "partially_filled", 4.0), ("pending_cancel", "pending_cancel", 4.0), ("canceled", "canceled", 4.0)],
    ),
    ("expired", &[("new", "new", 0.0), ("a_name_from_the_future", "held", 0.0), ("expired", "expired", 0.0)]),
    ("filled although a cancel was on its way", &[("new", "new", 0.0), ("pending_cancel", "pending_cancel", 0.0), ("fill", "filled", 10.0)]),
];

fn open(dir: &Path, crash: Option<u64>, now: UtcTime) -> Result<Db> {
    let host = host_at(now, crash.map(|k| (String::new(), k)));
    let root = match dir.join(SENTINEL).exists() {
        true => DataRoot::open(&host, dir)?,
        false => DataRoot::create(&host, dir, "replay@1", FsFacts::default(), None)?,
    };
    Db::open(&root, Which::Journal)
}

fn plan(db: &Db) -> Result<String> {
    let line = intent("AAPL", Side::Buy, 10.0);
    let mut set = OrderSet {
        run_key: line.run_key.clone(),
        order_set_hash: String::new(),
        account: "SIM1".into(),
        strategy: line.strategy.clone(),
        trading_day: line.trading_day,
        rebalance_no: 0,
        equity: 100_000.0,
        pinned_at: evening(),
        run_id: None,
        pins: Pins::default(),
        lines: vec![line.clone()],
    };
    set.order_set_hash = set.compute_hash()?;
    OrderLog::new(db).pin_set(&set)?;
    Ok(line.client_order_id)
}

/// Send, or find out what became of the sending.
fn send(db: &Db, broker: &FakeBroker, id: &str) -> Result<()> {
    let sender = Sender { host: db.root().host(), log: OrderLog::new(db), broker, again: &crate::execution::submit::unhindered };
    let state = sender.log.order(id)?.map(|o| o.state);
    if state.as_deref() == Some("planned") { sender.send(id).map(drop) } else { sender.resolve(id).map(drop) }
}

/// The order lives at the broker; what its stream says of it.
fn live(broker: &FakeBroker, id: &str, life: Life) -> Vec<TradeUpdate> {
    let mut t = broker.truth.lock().unwrap();
    let (mut events, mut before) = (Vec::new(), 0.0);
    let start = UtcTime::parse("2017-12-01T14:30:00Z").unwrap();
    let accepted = t.orders[id].clone();
    for (n, (event, status, filled)) in life.iter().enumerate() {
        let at = start.plus_seconds(n as i64);
        let price = 170.0 + n as f64;
        let order = BrokerOrder { status: (*status).into(), filled_qty: *filled, filled_avg_price: Some(price), updated_at: Some(at), ..accepted.clone() };
        if *filled > before {
            let (qty, id) = (filled - before, format!("exec-{n}"));
            t.fills.push(BrokerFill {
                id,
                order_id: order.id.clone(),
                symbol: "AAPL".into(),
                side: Side::Buy,
                qty,
                price,
                fee: None,
                at,
                kind: FillKind::Fill,
                replaces: None,
            });
            before = *filled;
        }
        t.orders.insert(id.to_string(), order.clone());
        events.push(TradeUpdate { event: (*event).into(), execution_id: Some(format!("e{n}")), at: Some(at), qty: None, price: None, order });
    }
    events
}

/// Every event at least once, some twice, in an order that depends on `seed`.
fn arrival(events: &[TradeUpdate], seed: u64) -> Vec<TradeUpdate> {
    let mut out: Vec<TradeUpdate> = events.iter().chain(events.iter().skip(seed as usize % events.len())).cloned().collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for i in (1..out.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        out.swap(i, (state >> 33) as usize % (i + 1));
    }
    out
}

fn hear(db: &Db, broker: &FakeBroker, events: &[TradeUpdate]) -> Result<()> {
    let (log, now) = (OrderLog::new(db), db.root().host().now());
    for event in events {
        stream::take_in(&log, event, now)?;
    }
    reconcile::run(db.root().host(), db, broker, "SIM1").map(drop)
}

type Book = (String, f64, BTreeMap<String, f64>, f64, usize);

/// State, filled shares, positions, cash, and orders at the broker.
fn book(db: &Db, broker: &FakeBroker, id: &str) -> Book {
    let log = OrderLog::new(db);
    let row = log.order(id).unwrap().unwrap();
    let ledger = positions::ledger(&log, "SIM1").unwrap();
    (row.state, row.filled_qty, ledger.per_symbol(), ledger.cash(), broker.truth.lock().unwrap().orders.len())
}

/// One run that dies at the k-th point of passage (0 = lives); then a second process finishes. Says whether it died.
fn play(life: Life, fault: Option<Fault>, k: u64) -> (bool, Book) {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    broker.truth.lock().unwrap().faults.extend(fault.map(|f| (0, f)));
    let morning = UtcTime::parse("2017-12-01T15:00:00Z").unwrap();
    let mut id = String::new();
    let mut events = Vec::new();
    // First contact is with a flat account, before anything is sent.
    let db = open(dir.path(), None, evening().plus_seconds(-60)).unwrap();
    reconcile::run(db.root().host(), &db, &broker, "SIM1").unwrap();
    drop(db);
    let first = open(dir.path(), (k > 0).then_some(k), evening()).and_then(|db| {
        id = plan(&db)?;
        send(&db, &broker, &id)?;
        broker.set_now(morning);
        events = live(&broker, &id, life);
        hear(&db, &broker, &arrival(&events, k))
    });
    let died = first.is_err_and(|e| {
        assert!(e.is(code::BUG_CRASH_POINT), "{e}");
        true
    });
    let db = open(dir.path(), None, evening().plus_seconds(120)).unwrap();
    let id = plan(&db).unwrap();
    send(&db, &broker, &id).unwrap();
    if events.is_empty() {
        broker.set_now(morning);
        events = live(&broker, &id, life);
    }
    drop(db);
    let db = open(dir.path(), None, morning).unwrap();
    hear(&db, &broker, &arrival(&events, k + 77)).unwrap();
    hear(&db, &broker, &arrival(&events, k + 1)).unwrap();
    (died, book(&db, &broker, &id))
}

#[test]
fn lesson_095_a_crash_at_every_transition_under_any_arrival_of_events_gives_the_same_book() {
    for (n, (name, life)) in LIVES.iter().enumerate() {
        let fault = [None, Some(Fault::LostAck), Some(Fault::LostRequest), Some(Fault::RateLimited)][n];
        let (_, expected) = play(life, fault, 0);
        let end = life.last().unwrap();
        assert_eq!((expected.0.as_str(), expected.1, expected.4), (end.1, end.2, 1), "{name}");
        assert_eq!(expected.2.get("AAPL").copied().unwrap_or(0.0), end.2, "{name}");
        let mut k = 1;
        loop {
            let (died, got) = play(life, fault, k);
            assert_eq!(got, expected, "{name}, died at {k}");
            if !died {
                break;
            }
            k += 1;
        }
        assert!(k > 15, "{name}: only {k} points");
    }
}

#[test]
fn an_event_about_somebody_else_s_order_or_another_payload_is_set_aside() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let id = plan(&db).unwrap();
    send(&db, &broker, &id).unwrap();
    let mut event = live(&broker, &id, LIVES[0].1).remove(2);
    let log = OrderLog::new(&db);
    event.order.qty = 11.0;
    assert!(stream::take_in(&log, &event, evening()).unwrap().fetch);
    assert_eq!(log.order(&id).unwrap().unwrap().state, "accepted", "an order of eleven shares is not ours");
    event.order.client_order_id = "by-hand".into();
    event.order.symbol = "MSFT".into();
    assert!(stream::take_in(&log, &event, evening()).unwrap().foreign);
    let held = super::quarantine::quarantined(&db).unwrap();
    assert_eq!(held.keys().collect::<Vec<_>>(), ["AAPL", "MSFT"]);
}
