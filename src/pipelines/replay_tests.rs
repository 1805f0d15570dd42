use super::*;
use crate::execution::broker::fake::{FakeBroker, evening, scratch};
use crate::execution::log::OrderLog;
use crate::pipelines::paper_day::tests::{MORNING, config, input, open as open_db};
use crate::pipelines::paper_day::{PaperDay, confirmation_token, default_sizer};
use data_layer::control::Db;

const OPEN: &str = "2017-12-01T14:30:00Z";

/// A settled day, its set and its fills; `targets` with a reference that knows volume and volatility.
fn settled(targets: &[(&str, f64)], price: impl Fn(&str, f64) -> f64) -> (tempfile::TempDir, Db, OrderSet, Vec<FillRow>) {
    let (dir, mut broker) = (scratch(), FakeBroker::new(evening()));
    let mut plan = input(targets);
    for reference in plan.prices.values_mut() {
        reference.sigma_daily = Some(0.02);
    }
    let key = {
        let db = open_db(dir.path(), None, evening()).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        day.reconcile(&account.account).unwrap();
        let set = day.plan(&account, &plan).unwrap();
        day.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day)).unwrap();
        day.submit_all(&set.run_key).unwrap();
        set.run_key
    };
    for (symbol, at) in broker.prices.clone() {
        broker.prices.insert(symbol.clone(), price(&symbol, at));
    }
    broker.set_now(UtcTime::parse(MORNING).unwrap());
    broker.fill_all(UtcTime::parse(OPEN).unwrap());
    let db = open_db(dir.path(), None, UtcTime::parse(MORNING).unwrap()).unwrap();
    PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().settle(&key).unwrap();
    let log = OrderLog::new(&db);
    let (set, fills) = (log.set(&key).unwrap().unwrap(), log.fills("SIM1").unwrap());
    (dir, db, set, fills)
}

/// A session of minutes that begins at `from` and moves by `step` each minute; `volume` shares in each.
fn session(from: f64, step: f64, volume: f64) -> Vec<RawMinute> {
    let open = UtcTime::parse(OPEN).unwrap();
    let one = |k: i32| {
        let p = from + step * f64::from(k);
        RawMinute { start: open.plus_seconds(60 * i64::from(k)), ohlc: [p, p.max(p + step), p.min(p + step), p + step], volume }
    };
    (0..390).map(one).collect()
}

#[test]
fn a_still_market_costs_the_book_alone_and_a_rising_one_costs_buyers_who_wait() {
    let (_dir, _db, set, fills) = settled(&[("AAPL", 0.08), ("XOM", -0.08)], |_, p| p * 1.001);
    let still = BTreeMap::from([("AAPL".to_string(), session(170.0, 0.0, 1e5)), ("XOM".to_string(), session(83.0, 0.0, 1e5))]);
    let r = replay(&set, &fills, &still, 0.1).unwrap();
    for row in &r.rows {
        for (style, p) in row.styles.iter().filter(|(style, _)| *style != resting::STYLE) {
            assert_eq!((p.left, p.market_bps), (0.0, Some(0.0)), "{style} {row:?}");
            assert!((p.cost_bps.unwrap() - 0.8).abs() < 0.5 && p.book_bps.unwrap() >= 0.8 - 1e-9, "{style} {p:?}");
        }
        assert!((row.assumed_bps.unwrap() - 6.0).abs() < 1e-9);
    }
    // The buyer paid a tenth of a percent, the seller got it.
    let realised: BTreeMap<&str, f64> = r.rows.iter().map(|row| (row.symbol.as_str(), row.realised_bps.unwrap())).collect();
    assert!((realised["AAPL"] - 10.0).abs() < 0.01 && (realised["XOM"] + 10.0).abs() < 0.01, "{realised:?}");
    let rising = BTreeMap::from([("AAPL".to_string(), session(170.0, 0.01, 1e5)), ("XOM".to_string(), session(83.0, 0.01, 1e5))]);
    let r = replay(&set, &fills, &rising, 0.1).unwrap();
    let of = |symbol: &str, style: &str| r.rows.iter().find(|row| row.symbol == symbol).unwrap().styles[style].clone();
    assert_eq!(of("AAPL", "next_open").market_bps, Some(0.0));
    assert!(of("AAPL", "twap").market_bps.unwrap() > 5.0 && of("XOM", "twap").market_bps.unwrap() < -5.0);
    assert!(of("AAPL", "almgren_chriss").market_bps.unwrap() <= of("AAPL", "twap").market_bps.unwrap() + 1e-9, "the trajectory hurries");
    assert_eq!(r, replay(&set, &fills, &rising, 0.1).unwrap());
}

#[test]
fn what_the_volume_has_no_room_for_waits_and_is_counted() {
    let (_dir, _db, set, fills) = settled(&[("AAPL", 0.08)], |_, p| p);
    let qty = set.lines[0].qty;
    // A tenth of 20 shares a minute: two, until the close.
    let thin = BTreeMap::from([("AAPL".to_string(), session(170.0, 0.0, 20.0))]);
    let r = replay(&set, &fills, &thin, 0.1).unwrap();
    assert_eq!(r.rows[0].styles["next_open"].left, 0.0, "{qty} shares in two a minute");
    let none = BTreeMap::from([("AAPL".to_string(), session(170.0, 0.0, 5.0))]);
    let r = replay(&set, &fills, &none, 0.1).unwrap();
    for p in r.rows[0].styles.values() {
        assert_eq!((p.filled, p.left, p.cost_bps), (0.0, qty, None));
    }
    assert!(r.styles["twap"].cost_bps.is_none() && (r.styles["twap"].left_usd - qty * 170.0).abs() < 1e-6);
}

#[test]
fn a_minute_without_a_trade_delays_a_slice_and_a_day_without_minutes_is_refused() {
    let (_dir, _db, set, fills) = settled(&[("AAPL", 0.08), ("MSFT", 0.05)], |_, p| p);
    let mut gaps = session(170.0, 0.01, 1e5);
    gaps.retain(|m| m.start.seconds_since(UtcTime::parse(OPEN).unwrap()) as i64 / 60 % 7 != 1);
    let r = replay(&set, &fills, &BTreeMap::from([("AAPL".to_string(), gaps)]), 0.1).unwrap();
    assert!(r.rows[0].styles.iter().all(|(style, p)| p.left == 0.0 || style == resting::STYLE), "{r:?}");
    assert_eq!(r.without_minutes, ["MSFT"]);
    let e = replay(&set, &fills, &BTreeMap::new(), 0.1).unwrap_err();
    assert!(e.is(code::DATA_MISSING) && e.body().found.as_ref().unwrap().contains("AAPL MSFT"), "{e:?}");
    for share in [0.0, 1.5, f64::NAN] {
        assert!(replay(&set, &fills, &BTreeMap::from([("AAPL".to_string(), session(170.0, 0.0, 1e5))]), share).unwrap_err().is(code::CFG_VALUE));
    }
}

#[test]
fn an_order_of_which_an_execution_was_taken_back_has_no_realised_cost() {
    let (_dir, _db, set, mut fills) = settled(&[("AAPL", 0.08)], |_, p| p);
    fills[0].kind = "bust".into();
    let r = replay(&set, &fills, &BTreeMap::from([("AAPL".to_string(), session(170.0, 0.0, 1e5))]), 0.1).unwrap();
    assert_eq!((r.rows[0].realised_bps, r.realised_bps), (None, None));
}

#[test]
fn a_resting_order_waits_behind_its_queue_is_filled_when_the_price_goes_through_and_is_left_when_it_runs_away() {
    let (_dir, _db, set, fills) = settled(&[("AAPL", 0.08), ("XOM", -0.08)], |_, p| p);
    let play = |step: f64, volume: f64| {
        let minutes = BTreeMap::from([("AAPL".to_string(), session(170.0, step, volume)), ("XOM".to_string(), session(83.0, step, volume))]);
        let r = replay(&set, &fills, &minutes, 0.1).unwrap();
        let of = |symbol: &str| r.rows.iter().find(|row| row.symbol == symbol).unwrap().styles[resting::STYLE].clone();
        (of("AAPL"), of("XOM"))
    };
    // The buyer's price is left behind at once in a rising market, the seller's is traded through; and the other way round.
    let (buyer, seller) = play(0.02, 300.0);
    assert_eq!((buyer.filled, buyer.cost_bps), (0.0, None), "324 shares stand before it, and 100 trade at its price: {buyer:?}");
    assert_eq!((seller.left, seller.cost_bps), (0.0, Some(0.0)), "{seller:?}");
    let (buyer, seller) = play(-0.02, 1e3);
    assert!(buyer.left == 0.0 && seller.filled == 0.0, "{buyer:?} {seller:?}");
    // A still market goes through nothing: the volume works through the queue first, and no minute gives more than its share.
    let (buyer, _) = play(0.0, 10.0);
    assert_eq!((buyer.left, buyer.cost_bps, buyer.market_bps), (0.0, Some(0.0), Some(0.0)), "33 minutes for the queue, 47 for the order: {buyer:?}");
    assert_eq!(play(0.0, 8.0).0.filled, 0.0, "a tenth of eight shares is none");
}
