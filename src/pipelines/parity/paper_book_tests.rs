use super::*;
use crate::execution::broker::fake::{FakeBroker, Fault};
use crate::execution::broker::simulated::Corporate;
use crate::execution::positions::CashEvent;
use crate::pipelines::parity::tests::{OPEN, day_with};
use data_layer::control::Db;

const SESSION: &str = "2017-12-01";

fn session() -> TradingDay {
    SESSION.parse().unwrap()
}

/// Corporate events and changes of ticker; prices nobody asks for.
#[derive(Default)]
struct Events {
    actions: Vec<(&'static str, &'static str, What)>,
    renames: Vec<(&'static str, &'static str, &'static str)>,
}

impl PriceSource for Events {
    fn open(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        None
    }
    fn last_close(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        None
    }
    fn renamed(&self, symbol: &str) -> Vec<(TradingDay, String)> {
        self.renames.iter().filter(|r| r.0 == symbol).map(|r| (r.1.parse().unwrap(), r.2.to_string())).collect()
    }
    fn corporate(&self, symbol: &str) -> Vec<Corporate> {
        self.actions.iter().filter(|a| a.0 == symbol).map(|a| Corporate { ex_date: a.1.parse().unwrap(), what: a.2.clone() }).collect()
    }
}

pub(crate) fn book(db: &Db, prices: &dyn PriceSource) -> PaperBook {
    PaperBook::at(&OrderLog::new(db), "SIM1", "equities_xs", session(), 5, prices).unwrap().unwrap()
}

fn booked(db: &Db, kind: &str, qty: Option<f64>, reason: &str) {
    let event = CashEvent {
        id: format!("{kind}|SIM1|AAPL"),
        account: "SIM1".into(),
        strategy: "external".into(),
        ts: UtcTime::parse("2017-12-01T20:00:00Z").unwrap(),
        kind: kind.into(),
        symbol: Some("AAPL".into()),
        qty,
        amount: 0.0,
        reason: reason.into(),
        operator: None,
    };
    assert!(positions::insert_cash_event(&OrderLog::new(db), &event).unwrap());
}

fn is_held(book: &PaperBook, name: &str) -> bool {
    book.followed.get(name).cloned().unwrap_or_default().is_held(book.shares.get(name).copied().unwrap_or(0.0))
}

/// A cent above the open.
fn dearer(broker: &mut FakeBroker) {
    broker.prices.insert("AAPL".into(), 170.01);
}

#[test]
fn a_price_off_the_open_and_the_last_bits_account_for_no_share() {
    let (_dir, db, ..) = day_with(OPEN, dearer);
    let good = book(&db, &Events::default());
    assert!(["AAPL", "MSFT", "XOM", "BBB"].iter().all(|name| is_held(&good, name)), "{good:?}");
    assert!(good.followed.values().all(|f| f.is_clear() && f.why.is_none()), "{:?}", good.followed);
    assert!((good.followed["AAPL"].target - 0.05 * 100_000.0 / 170.0).abs() < 1e-9 && good.shares["AAPL"] == 29.0);
    // A split that nobody knows of was booked: 58 shares are not what a target of 29 makes.
    booked(&db, "split", Some(2.0), "2 for one");
    let doubled = book(&db, &Events::default());
    assert_eq!(doubled.shares["AAPL"], 58.0);
    assert!(!is_held(&doubled, "AAPL") && is_held(&doubled, "MSFT"));
    assert_eq!(doubled.followed["AAPL"].why, None);
}

#[test]
fn targets_are_carried_through_splits_renames_and_delistings() {
    let (_dir, db, ..) = day_with(OPEN, |_| {});
    let split = Events { actions: vec![("AAPL", SESSION, What::Split(2.0)), ("AAPL", "2017-11-30", What::Split(7.0))], ..Events::default() };
    assert_eq!(book(&db, &split).followed["AAPL"].ratio, 2.0, "the close of the 30th is of shares that had split");
    booked(&db, "rename", None, "APPL");
    // The ticker went to another company long before, and goes on under a third name a day later.
    let renamed = Events { renames: vec![("AAPL", "2015-01-02", "OLD"), ("AAPL", SESSION, "APPL"), ("APPL", "2017-12-04", "APLE")], ..Events::default() };
    let moved = book(&db, &renamed);
    assert!(is_held(&moved, "APPL") && is_held(&moved, "AAPL") && !moved.shares.contains_key("AAPL"), "{moved:?}");
    let gone = Events { actions: vec![("MSFT", SESSION, What::Removal(80.0))], ..Events::default() };
    assert_eq!(targets(&moved.rebalance, session(), &gone)["MSFT"].target, 0.0, "shares of a name that is gone");
    // A split of the trading day that was learnt too late: the order was of other shares than those that it bought.
    let late = book(&db, &split).followed["AAPL"].clone();
    assert!(late.is_held(29.0) && matches!(late.why, Some((Cause::DataRevised, _))), "{late:?}");
}

#[test]
fn what_was_not_filled_and_what_was_filled_besides_counts_share_for_share() {
    let (_dir, db, ..) = day_with(OPEN, |broker| {
        broker.truth.lock().unwrap().faults.insert(1, Fault::Refused);
    });
    let log = OrderLog::new(&db);
    let refused = book(&db, &Events::default());
    let (name, short) = refused.followed.iter().find(|(_, f)| !f.is_clear()).map(|(n, f)| (n.clone(), f.clone())).unwrap();
    assert!(matches!(short.why, Some((Cause::Rejection, _))) && is_held(&refused, &name), "{name} {short:?}");
    assert!((short.target + short.astray).abs() < 1.0, "nothing of it is held: {short:?}");
    // The missing shares excuse no others.
    assert!(!short.is_held(2.0) && !short.is_held(short.target));
    // A manual order that never traded explains nothing; one that did explains what it traded.
    let set = log.set(&refused.rebalance.run_key).unwrap().unwrap();
    let mut by_hand = set.lines[0].clone();
    (by_hand.run_key, by_hand.rebalance_no, by_hand.reason) = ("SIM1|equities_xs|2017-12-01|1".into(), 1, crate::execution::order::Reason::Manual);
    by_hand.client_order_id = by_hand.mint_id();
    let mut own = OrderSet { run_key: by_hand.run_key.clone(), rebalance_no: 1, lines: vec![by_hand.clone()], ..set.clone() };
    own.order_set_hash = own.compute_hash().unwrap();
    log.pin_set(&own).unwrap();
    let before = book(&db, &Events::default()).followed[&by_hand.symbol].clone();
    assert!(before.is_clear() || before == short, "{before:?}");
    let fill = FillRow {
        fill_id: "by-hand".into(),
        order_id: by_hand.client_order_id.clone(),
        ts: UtcTime::parse("2017-12-01T16:00:00Z").unwrap(),
        symbol: by_hand.symbol.clone(),
        side: by_hand.side,
        qty: 3.0,
        price: 100.0,
        fee: None,
        kind: "fill".into(),
        replaces: None,
        source: "reconcile".into(),
        account: "SIM1".into(),
        strategy: "equities_xs".into(),
    };
    log.insert_fill(&fill).unwrap();
    let after = book(&db, &Events::default());
    assert_eq!(after.followed[&by_hand.symbol].astray - before.astray, 3.0 * by_hand.side.sign());
    assert!(is_held(&after, &by_hand.symbol), "{after:?}");
}

#[test]
fn an_order_that_fills_a_session_late_is_missing_until_then() {
    let (_dir, db, ..) = day_with("2017-12-04T14:30:00Z", |_| {});
    let PaperBook { followed, shares, .. } = book(&db, &Events::default());
    assert!(shares.is_empty(), "{shares:?}");
    assert!(followed.values().all(|f| f.is_held(0.0) && matches!(f.why, Some((Cause::Clock, _)))), "{followed:?}");
}
