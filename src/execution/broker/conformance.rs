//! What any broker must do, as a numbered list, run against each of them.

use super::alpaca::{AlpacaBroker, AlpacaKeys};
use super::double::{Double, serve};
use super::fake::{FakeBroker, Fault, evening, host_at};
use super::simulated::{PriceSource, SimulatedBroker};
use super::{ActivityKind, Broker, Lookup, Submitted};
use crate::execution::order::tests::intent;
use crate::execution::order::{Intent, OrderType};
use crate::types::Side;
use data_layer::control::{Db, Which};
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts};
use data_layer::time::{TradingDay, UtcTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The list. `fill` moves the broker's world past the next open.
pub(crate) fn conforms(broker: &dyn Broker, fill: &dyn Fn()) {
    let order = Intent { reference_price: 170.0, ..intent("AAPL", Side::Buy, 10.0) };
    // 1. The account says who it is, in numbers.
    let account = broker.account().unwrap();
    assert!(account.account.starts_with("SIM") && account.equity == 100_000.0 && !account.blocked);
    // 2. The clock knows when the market opens next.
    let clock = broker.clock().unwrap();
    assert!(!clock.is_open && clock.next_open.unwrap() > clock.now);
    // 3. An id that was never sent is not found.
    assert_eq!(broker.find_by_client_id(&order.client_order_id), Lookup::NotFound);
    // 4. A new order is accepted with its own payload.
    let Submitted::Accepted(accepted) = broker.submit(&order) else { panic!("not accepted") };
    assert!(accepted.matches(&order) && accepted.is_open());
    // 5. The same id is a duplicate, not a second order.
    if broker.refuses_duplicates() {
        assert_eq!(broker.submit(&order), Submitted::Duplicate);
    }
    // 6. It is found by its client id and listed as open, once.
    let Lookup::Found(found) = broker.find_by_client_id(&order.client_order_id) else { panic!("not found") };
    assert!(found.matches(&order));
    assert_eq!(broker.open_orders().unwrap().len(), 1);
    assert_eq!(broker.orders_since(evening().plus_seconds(-60)).unwrap().len(), 1);
    // 7. Nothing is filled or held before the next open.
    assert!(broker.fills_since(None).unwrap().is_empty() && broker.positions().unwrap().is_empty());
    // 8. After it, one execution, one position, no open order, and the look-up says filled.
    fill();
    let fills = broker.fills_since(None).unwrap();
    assert_eq!((fills.len(), fills[0].qty, &fills[0].order_id), (1, 10.0, &found.id));
    assert!(fills[0].at >= clock.next_open.unwrap());
    let held = broker.positions().unwrap();
    assert_eq!((held.len(), held[0].qty), (1, 10.0));
    assert!(broker.open_orders().unwrap().is_empty());
    let Lookup::Found(filled) = broker.find_by_client_id(&order.client_order_id) else { panic!("lost") };
    assert_eq!((filled.status.as_str(), filled.filled_qty), ("filled", 10.0));
    // 9. What is held takes from what is left for new positions.
    let left = broker.account().unwrap().buying_power;
    assert!(account.buying_power >= account.equity && left < account.buying_power, "{} before, {left} after", account.buying_power);
}

struct Prices;
impl PriceSource for Prices {
    fn open(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        Some(170.0)
    }
    fn last_close(&self, symbol: &str, _day: TradingDay) -> Option<f64> {
        (symbol != "NONE").then_some(170.0)
    }
}

pub(crate) const AFTER_OPEN: &str = "2017-12-01T14:31:00Z";

#[test]
fn lesson_094_the_simulated_broker_conforms_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&host_at(evening(), None), dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let db = Db::open(&root, Which::Journal).unwrap();
    let broker = SimulatedBroker::new(&db, &Prices, "SIM1", 100_000.0, 12.0).unwrap();
    let wait = UtcTime::parse(AFTER_OPEN).unwrap().seconds_since(evening());
    conforms(&broker, &|| root.host().block_on(root.host().sleep(std::time::Duration::from_secs_f64(wait))).unwrap());
    let before = broker.account().unwrap();
    assert!((before.equity - (100_000.0 - 1_700.0 * 6.0 / 1e4)).abs() < 1e-9);
    drop(db);
    let root = DataRoot::open(&host_at(UtcTime::parse(AFTER_OPEN).unwrap(), None), dir.path()).unwrap();
    let db = Db::open(&root, Which::Journal).unwrap();
    // A dearer cost in force later is for later orders.
    let again = SimulatedBroker::new(&db, &Prices, "SIM1", 100_000.0, 30.0).unwrap();
    assert_eq!(again.account().unwrap(), before);
    assert!(matches!(again.submit(&intent("NONE", Side::Buy, 1.0)), Submitted::Refused { .. }));
}

/// Opens at 170 and closes at 171.
struct Rising;
impl PriceSource for Rising {
    fn open(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        Some(170.0)
    }
    fn last_close(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        Some(171.0)
    }
}

#[test]
fn an_order_sent_during_a_session_gets_its_close_or_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    DataRoot::create(&host_at(evening(), None), dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let seen_at = |time: &str, work: &dyn Fn(&SimulatedBroker<'_>)| {
        let now = UtcTime::parse(time).unwrap();
        let root = DataRoot::open(&host_at(now, None), dir.path()).unwrap();
        let db = Db::open(&root, Which::Journal).unwrap();
        work(&SimulatedBroker::new(&db, &Rising, "SIM1", 100_000.0, 0.0).unwrap());
    };
    let ids = ["tm1-000000000000000000000011", "tm1-000000000000000000000012"];
    seen_at("2017-12-01T14:31:00Z", &|broker| {
        let mut market = intent("MSFT", Side::Buy, 5.0);
        market.client_order_id = ids[0].into();
        let limit = Intent { client_order_id: ids[1].into(), order_type: OrderType::Limit, limit_price: Some(170.5), ..market.clone() };
        assert!([&market, &limit].into_iter().all(|i| matches!(broker.submit(i), Submitted::Accepted(_))));
    });
    let look = |broker: &SimulatedBroker<'_>| {
        ids.map(|id| {
            let Lookup::Found(o) = broker.find_by_client_id(id) else { panic!("{id} is lost") };
            (o.status, o.filled_avg_price)
        })
    };
    seen_at("2017-12-01T20:59:59Z", &|broker| assert!(look(broker).iter().all(|o| *o == ("accepted".to_string(), None))));
    let ended = [("filled".to_string(), Some(171.0)), ("expired".to_string(), None)];
    seen_at("2017-12-01T21:00:00Z", &|broker| assert_eq!(look(broker), ended));
    seen_at("2017-12-04T14:30:00Z", &|broker| assert_eq!(look(broker), ended, "the next opening changes nothing"));
}

fn alpaca() -> (tempfile::TempDir, Arc<Double>, AlpacaBroker) {
    let double = Arc::new(Double { broker: FakeBroker::new(evening()), after_post: AtomicU16::new(0), on_lookup: AtomicU16::new(0) });
    let server: Host = host_at(evening(), None);
    let base = serve(&server, &double);
    // The serving host owns the runtime; keep it for the length of the test process.
    std::mem::forget(server);
    let env = BTreeMap::from([("TRADEML_BASE_URL_ALPACA_TRADING".to_string(), base)]);
    let host = Host::fake(FakeHost { env, now: evening(), ..FakeHost::default() });
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let keys = AlpacaKeys { key: "PKTEST".to_string().into(), secret: "secret".to_string().into() };
    (dir, double, AlpacaBroker::new(&root, keys, None).unwrap())
}

#[test]
fn lesson_094_the_alpaca_adapter_conforms_over_real_http() {
    let (_dir, double, broker) = alpaca();
    conforms(&broker, &|| double.broker.fill_all(UtcTime::parse(AFTER_OPEN).unwrap()));
}

#[test]
fn lesson_090_each_fault_of_the_wire_has_its_outcome() {
    let (_dir, double, broker) = alpaca();
    let order = intent("MSFT", Side::Buy, 5.0);
    double.after_post.store(500, Ordering::SeqCst);
    assert!(matches!(broker.submit(&order), Submitted::Unknown(_)), "a 500 after acceptance is unknown");
    assert!(matches!(broker.find_by_client_id(&order.client_order_id), Lookup::Found(_)));
    double.on_lookup.store(404, Ordering::SeqCst);
    assert!(matches!(broker.find_by_client_id(&order.client_order_id), Lookup::Unknown(_)), "a proxy's 404 is no answer");
    double.on_lookup.store(503, Ordering::SeqCst);
    assert!(matches!(broker.find_by_client_id(&order.client_order_id), Lookup::Unknown(_)));
    let n = double.broker.truth.lock().unwrap().posts.len();
    double.broker.truth.lock().unwrap().faults.extend([(n, Fault::RateLimited), (n + 1, Fault::LostAck), (n + 2, Fault::Refused)]);
    let mut next = order.clone();
    next.client_order_id = "tm1-000000000000000000000001".into();
    assert_eq!(broker.submit(&next), Submitted::RateLimited { retry_after_s: 3 });
    assert!(matches!(broker.submit(&next), Submitted::Unknown(_)));
    next.client_order_id = "tm1-000000000000000000000002".into();
    assert_eq!(broker.submit(&next), Submitted::Refused { code: "40310000".into(), text: "insufficient buying power".into() });
    // Nobody listens there: the connection fails.
    let env = BTreeMap::from([("TRADEML_BASE_URL_ALPACA_TRADING".to_string(), "http://127.0.0.1:9".to_string())]);
    let host = Host::fake(FakeHost { env, now: evening(), ..FakeHost::default() });
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let dead = AlpacaBroker::new(&root, AlpacaKeys { key: "k".to_string().into(), secret: "s".to_string().into() }, None).unwrap();
    assert!(matches!(dead.submit(&order), Submitted::Unknown(_)));
    assert!(matches!(dead.find_by_client_id("x"), Lookup::Unknown(_)));
    assert!(dead.account().is_err());
}

/// Lends a share that is worth 100 for 252 bps a year: a cent a night.
struct Lender;
impl PriceSource for Lender {
    fn open(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        Some(100.0)
    }
    fn last_close(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        Some(100.0)
    }
    fn borrow_bps_per_year(&self, symbol: &str) -> f64 {
        if symbol == "GME" { 252.0 } else { 0.0 }
    }
}

#[test]
fn a_short_pays_its_lender_every_night_and_a_long_pays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    DataRoot::create(&host_at(evening(), None), dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let at = |time: &str, lends: bool, work: &dyn Fn(&SimulatedBroker<'_>)| {
        let root = DataRoot::open(&host_at(UtcTime::parse(time).unwrap(), None), dir.path()).unwrap();
        let db = Db::open(&root, Which::Journal).unwrap();
        let prices: &dyn PriceSource = if lends { &Lender } else { &Rising };
        work(&SimulatedBroker::new(&db, prices, "SIM1", 100_000.0, 0.0).unwrap());
    };
    at(&evening().to_string(), true, &|broker| {
        for (n, (symbol, side)) in [("GME", Side::Sell), ("MSFT", Side::Sell), ("AAPL", Side::Buy)].into_iter().enumerate() {
            let order = Intent { client_order_id: format!("tm1-{n:024}"), ..intent(symbol, side, 50.0) };
            assert!(matches!(broker.submit(&order), Submitted::Accepted(_)));
        }
    });
    let nights = |broker: &SimulatedBroker<'_>| broker.activities_since(None).unwrap().into_iter().map(|a| (a.kind, a.symbol, a.amount)).collect::<Vec<_>>();
    let one = (ActivityKind::Borrow, Some("GME".to_string()), -0.5);
    at("2017-12-01T20:00:00Z", true, &|broker| assert!(nights(broker).is_empty(), "the first session is not over"));
    at("2017-12-01T21:00:30Z", true, &|broker| assert_eq!(nights(broker), std::slice::from_ref(&one)));
    // One more by the close of Monday; bought back on Tuesday, it costs nothing that night.
    at("2017-12-05T15:00:00Z", true, &|broker| {
        assert_eq!(nights(broker), [one.clone(), one.clone()]);
        assert_eq!(broker.account().unwrap().cash, 100_000.0 + 5_000.0 - 1.0);
        let back = Intent { client_order_id: "tm1-000000000000000000000099".into(), ..intent("GME", Side::Buy, 50.0) };
        assert!(matches!(broker.submit(&back), Submitted::Accepted(_)));
    });
    // A rate that is dropped later changes nothing of before.
    at("2017-12-06T22:00:00Z", false, &|broker| assert_eq!(nights(broker).len(), 2));
}
