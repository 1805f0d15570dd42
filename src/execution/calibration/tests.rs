use super::*;
use crate::execution::broker::fake::{evening, journal};
use crate::execution::order::tests::intent;
use crate::types::Side;
use proptest::prelude::*;

struct Opens(f64);
impl PriceSource for Opens {
    fn open(&self, symbol: &str, _day: TradingDay) -> Option<f64> {
        (symbol == "AAPL").then_some(self.0)
    }
    fn last_close(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        None
    }
}

fn pair(side: Side, price: f64, at: &str) -> (Ordered, FillRow) {
    let order = intent("AAPL", side, 10.0);
    let fill = FillRow {
        fill_id: "f".into(),
        order_id: order.client_order_id.clone(),
        ts: UtcTime::parse(at).unwrap(),
        symbol: "AAPL".into(),
        side,
        qty: 10.0,
        price,
        fee: Some(0.5),
        kind: "fill".into(),
        replaces: None,
        source: "reconcile".into(),
        account: "SIM1".into(),
        strategy: "s".into(),
    };
    (Ordered { intent: order, market: None }, fill)
}

const OPEN: &str = "2017-12-01T14:30:00Z";

fn costs(sessions: i32, each: usize, slippage: impl Fn(usize) -> f64) -> OwnCosts {
    let day = |i: usize| TradingDay(17_000 + (i / each) as i32);
    let one = |i: usize| Measured { order_id: i.to_string(), day: day(i), slippage_bps: slippage(i), fee_bps: 1.0, qty: 10.0, open: 50.0, market: None };
    OwnCosts { measured: (0..sessions as usize * each).map(one).collect(), unmeasured: 0 }
}

#[test]
fn a_fill_is_measured_against_the_open_it_was_sent_for_and_nothing_else() {
    let prices = Opens(100.0);
    for (side, price, bps) in [(Side::Buy, 100.1, 10.0), (Side::Sell, 99.9, 10.0), (Side::Buy, 99.9, -10.0)] {
        let (order, fill) = pair(side, price, OPEN);
        let m = measure(&order, &[&fill], &prices).unwrap();
        assert!((m.slippage_bps - bps).abs() < 1e-9 && (m.fee_bps - 5.0).abs() < 1e-9, "{m:?}");
    }
    let (order, fill) = pair(Side::Buy, 100.1, "2017-12-01T15:30:00Z");
    assert!(measure(&order, &[&fill], &prices).is_none(), "an hour later is not the open");
    let (mut order, fill) = pair(Side::Buy, 100.1, OPEN);
    order.intent.slice = 2;
    assert!(measure(&order, &[&fill], &prices).is_none(), "a slice was not sent for the open");
    let (order, fill) = pair(Side::Buy, 100.1, OPEN);
    assert!(measure(&order, &[&FillRow { symbol: "MSFT".into(), ..fill }], &prices).is_none(), "no recorded open");
}

#[test]
fn the_parts_of_an_order_are_one_fill_and_one_that_was_taken_back_is_none() {
    let (order, fill) = pair(Side::Buy, 100.1, OPEN);
    let part = |id: &str, qty: f64, price: f64| FillRow { fill_id: id.into(), qty, price, fee: Some(0.1), ..fill.clone() };
    let known = |id: &str| Ok((id == order.intent.client_order_id).then(|| order.clone()));
    let parts: Vec<FillRow> = (0..50).map(|n| part(&n.to_string(), 1.0, if n < 10 { 101.0 } else { 100.0 })).collect();
    let costs = by_order(&parts, known, &Opens(100.0)).unwrap();
    assert_eq!((costs.measured.len(), costs.unmeasured), (1, 0), "fifty parts are one piece of evidence");
    assert!((costs.measured[0].slippage_bps - 20.0).abs() < 1e-9 && (costs.measured[0].fee_bps - 10.0).abs() < 1e-9, "{costs:?}");
    assert_eq!(weigh(&costs).fills, 1);
    let mut busted = parts.clone();
    busted.push(FillRow { kind: "bust".into(), qty: -1.0, ..part("b", 1.0, 101.0) });
    assert_eq!(by_order(&busted, known, &Opens(100.0)).unwrap(), OwnCosts { measured: vec![], unmeasured: 1 });
    let later = [part("1", 5.0, 100.0), FillRow { ts: UtcTime::parse("2017-12-01T16:00:00Z").unwrap(), ..part("2", 5.0, 102.0) }];
    assert_eq!(by_order(&later, known, &Opens(100.0)).unwrap().unmeasured, 1, "half of it was filled at another moment");
    assert_eq!(by_order(&parts, |_| Ok(None), &Opens(100.0)).unwrap(), OwnCosts::default());
}

#[test]
fn too_few_fills_leave_the_cautious_default_and_enough_need_the_words() {
    let (_dir, _root, db) = journal();
    assert_eq!(in_force(&db, "SIM1").unwrap(), SideCost { bps: 6.0, basis: Basis::Default, fills: 0, tiers: None });
    for few in [costs(19, 6, |_| 3.0), costs(24, 4, |_| 3.0)] {
        let evidence = weigh(&few);
        assert_eq!(evidence.proposed_bps, None);
        assert!(accept(&db, "SIM1", &evidence, "COST SIM1 5.00", "me").unwrap_err().is(code::GATE_REFUSED));
    }
    let evidence = weigh(&costs(20, 5, |i| if i % 2 == 0 { 3.0 } else { -3.0 }));
    assert_eq!((evidence.proposed_bps, evidence.fills, evidence.sessions), (Some(5.0), 100, 20), "|3| and the fee of 1, and the buffer");
    for typed in ["", "yes", "COST SIM2 5.00", "COST SIM1 5"] {
        assert!(accept(&db, "SIM1", &evidence, typed, "me").unwrap_err().is(code::GATE_REFUSED));
    }
    assert!(history(&db, "SIM1").unwrap().is_empty(), "never silently");
    let change = accept(&db, "SIM1", &evidence, "COST SIM1 5.00", "me").unwrap();
    assert_eq!((change.before.bps, change.after.bps, change.at), (6.0, 5.0, evening()));
    assert_eq!(accept(&db, "SIM1", &evidence, "COST SIM1 5.00", "me").unwrap(), change, "once");
    let dearer = weigh(&costs(20, 6, |_| 8.0));
    accept(&db, "SIM1", &dearer, "COST SIM1 10.00", "me").unwrap();
    assert_eq!(in_force(&db, "SIM1").unwrap().bps, 10.0);
    assert_eq!(history(&db, "SIM1").unwrap().iter().map(|c| c.after.bps).collect::<Vec<_>>(), [5.0, 10.0]);
    assert_eq!(in_force(&db, "SIM2").unwrap().basis, Basis::Default, "an account's own");
}

/// As [`costs`], of orders of several sizes in a market that is known; each slips by `level`.
pub(crate) fn sized(level: f64) -> OwnCosts {
    let mut out = costs(40, 10, |_| level);
    for (i, m) in out.measured.iter_mut().enumerate() {
        let market = Liquidity { sigma_daily: 0.02, adv_shares: 1e7 };
        m.qty = 100.0 * (1 + i % 37) as f64 * (1 + i % 5) as f64;
        m.market = Some(market);
        m.slippage_bps += 0.5 * market.impact_unit_bps(m.qty) + if i % 2 == 0 { 0.3 } else { -0.3 };
    }
    out
}

#[test]
fn accepted_classes_bind_all_that_was_shown_and_price_every_order_by_its_market() {
    let (_dir, _root, db) = journal();
    assert_eq!(of_drive(&db).unwrap(), None);
    let evidence = weigh(&sized(2.0));
    let proposal = evidence.proposal().unwrap();
    let [large, middle, _] = proposal.tiers.unwrap();
    assert!(large.y < 1.0 && large.half_spread_bps < 5.0 && middle.y >= 1.0 && middle.half_spread_bps >= 5.0, "{proposal:?}");
    let words = acceptance("SIM1", &proposal).unwrap();
    assert!(accept(&db, "SIM1", &evidence, words.rsplit_once(' ').unwrap().0, "me").unwrap_err().is(code::GATE_REFUSED), "without the digest");
    let other = acceptance("SIM1", &weigh(&sized(2.01)).proposal().unwrap()).unwrap();
    assert!(accept(&db, "SIM1", &evidence, &other, "me").unwrap_err().is(code::GATE_REFUSED), "the words of other fills");
    let change = accept(&db, "SIM1", &evidence, &words, "me").unwrap();
    assert_eq!(change.evidence.fits.as_ref().unwrap().tiers[0].fills, 400, "the row keeps its evidence");
    assert_eq!(accept(&db, "SIM1", &evidence, &words, "me").unwrap(), change, "once");
    let (now, market) = (in_force(&db, "SIM1").unwrap(), Liquidity { sigma_daily: 0.02, adv_shares: 1e7 });
    let rate = |market| 1e4 * now.model().rate(Side::Buy, 1e5, 50.0, market).unwrap();
    assert!((rate(Some(market)) - large.bps(1e5, market)).abs() < 1e-9);
    assert!(rate(Some(Liquidity { adv_shares: 2e5, ..market })) > rate(Some(market)), "a class that was not seen is dearer");
    assert!(rate(None) >= 6.0, "an unknown market is not cheaper than the default");
    // A second, flat, dearer account: models are judged by the dearer of each part.
    accept(&db, "SIM2", &weigh(&costs(20, 5, |_| 20.0)), "COST SIM2 22.00", "me").unwrap();
    let both = of_drive(&db).unwrap().unwrap();
    assert_eq!((both.tiers.unwrap()[0].half_spread_bps, both.tiers.unwrap()[0].y, both.bps), (22.0, large.y, 22.0));
}

proptest! {
    #[test]
    fn a_proposal_is_never_free_and_never_below_what_the_median_fill_cost(level in 0.0f64..50.0, spread in 0.0f64..50.0) {
        let evidence = weigh(&costs(25, 4, |i| level + if i % 2 == 0 { spread } else { -spread }));
        let proposed = evidence.proposed_bps.unwrap();
        prop_assert!(proposed >= BUFFER_BPS / 2.0 && proposed + 0.005 >= evidence.median_bps.unwrap());
        prop_assert!(evidence.low_bps.unwrap() <= evidence.mean_bps.unwrap() + 1e-9);
    }
}
