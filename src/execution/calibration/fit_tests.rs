use super::*;
use crate::validation::golden::noise;
use proptest::prelude::*;

/// What fills are made of.
#[derive(Clone, Copy, Debug)]
struct Planted {
    half_spread: f64,
    y: f64,
    /// Standard deviation of what an order's own luck, and its session's, add in basis points.
    luck: f64,
    market: f64,
}

/// `each` orders a session; their share of the daily volume runs from 0.0001 to `largest`, in a name of `adv_usd` a day at 50 dollars.
fn fills(p: Planted, sessions: usize, each: usize, largest: f64, adv_usd: f64, seed: u64) -> Vec<Measured> {
    let (own, common) = (noise(seed, sessions * each), noise(seed ^ 77, sessions));
    let market = Liquidity { sigma_daily: 0.02, adv_shares: adv_usd / 50.0 };
    let one = |i: usize| {
        let part = ((i * 7919) % 1_000) as f64 / 1_000.0;
        let qty = market.adv_shares * (1e-4 + part * (largest - 1e-4));
        let slippage_bps = p.half_spread + p.y * market.impact_unit_bps(qty) + p.luck * own[i] + p.market * common[i / each];
        Measured { order_id: format!("{i:06}"), day: TradingDay(17_000 + (i / each) as i32), slippage_bps, fee_bps: 0.4, qty, open: 50.0, market: Some(market) }
    };
    (0..sessions * each).map(one).collect()
}

const LUCKY: Planted = Planted { half_spread: 2.0, y: 0.6, luck: 8.0, market: 1.0 };

#[test]
fn many_fills_give_back_what_was_planted_and_what_is_put_in_force_is_above_it() {
    let fits = fit(&fills(LUCKY, 200, 20, 0.05, 1e9, 1));
    let large = &fits.tiers[0];
    assert_eq!((large.outcome, large.fills, large.sessions), (Outcome::Fitted, 4_000, 200));
    let (spread, y) = (large.half_spread_bps.unwrap(), large.y.unwrap());
    assert!(spread.low < 2.0 && 2.0 < spread.high && (spread.value - 2.0).abs() < 0.8, "{spread:?}");
    assert!(y.low < 0.6 && 0.6 < y.high && (y.value - 0.6).abs() < 0.05, "{y:?}");
    let c = large.coefficients;
    assert!(c.half_spread_bps >= 2.0 && c.half_spread_bps < 3.5 && c.y >= 0.6 && c.y < 0.75 && (0.4..0.5).contains(&c.fee_bps), "{c:?}");
    // The other tiers saw nothing: the dearer of the account's own and the defaults.
    assert_eq!(fits.tiers[1].outcome, Outcome::TooFewFills);
    assert_eq!(fits.tiers[1].coefficients, Coefficients::default().dearer(fits.account.coefficients));
}

#[test]
fn tiers_that_cost_differently_are_told_apart() {
    let dear = Planted { half_spread: 15.0, y: 1.4, ..LUCKY };
    let mut both = fills(LUCKY, 60, 20, 0.05, 1e9, 2);
    both.extend(fills(dear, 60, 20, 0.05, 1e6, 3));
    let fits = fit(&both);
    let [large, middle, small] = fits.in_force().unwrap();
    assert!(large.half_spread_bps < 6.0 && large.y < 0.9, "{large:?}");
    assert!(small.half_spread_bps >= 14.0 && small.y >= 1.3, "dearer than the default is believed at once: {small:?}");
    assert!(middle.half_spread_bps >= 5.0 && middle.y >= 1.0, "{middle:?}");
}

#[test]
fn sizes_that_are_all_alike_leave_impact_where_it_was_and_call_the_whole_slippage_spread() {
    for largest in [1e-4, 1.05e-4] {
        let fits = fit(&fills(LUCKY, 40, 10, largest, 1e9, 4));
        let large = &fits.tiers[0];
        assert_eq!((large.outcome, large.y), (Outcome::SizesTooAlike, None), "{largest}");
        assert_eq!(large.coefficients.y, 1.0);
        let whole = 2.0 + 0.6 * 2.0;
        assert!(large.half_spread_bps.unwrap().high > whole && large.coefficients.half_spread_bps > whole, "{large:?}");
    }
}

#[test]
fn orders_whose_market_was_not_known_say_nothing_about_impact() {
    let mut blind = fills(LUCKY, 40, 10, 0.05, 1e9, 5);
    blind.iter_mut().for_each(|m| m.market = None);
    let fits = fit(&blind);
    assert_eq!((fits.account.fills, fits.account.outcome, fits.in_force()), (0, Outcome::TooFewFills, None));
}

#[test]
fn nine_intervals_of_ten_and_more_hold_what_was_planted() {
    let (mut spread, mut impact) = (0, 0);
    for seed in 0..200 {
        let f = fit(&fills(LUCKY, 40, 5, 0.05, 1e9, 1_000 + seed)).account;
        let holds = |e: Estimate, planted: f64| usize::from(e.low <= planted && planted <= e.high);
        spread += holds(f.half_spread_bps.unwrap(), 2.0);
        impact += f.y.map_or(1, |y| holds(y, 0.6));
    }
    assert!(spread >= 180 && impact >= 180, "of 200: {spread} and {impact}");
}

proptest! {
    #[test]
    fn without_enough_evidence_nothing_is_ever_cheaper_than_the_default(
        sessions in 1usize..40, each in 1usize..12, half_spread in -20.0f64..20.0, y in -2.0f64..3.0, luck in 0.0f64..30.0, seed in 0u64..500,
    ) {
        let fits = fit(&fills(Planted { half_spread, y, luck, market: 1.0 }, sessions, each, 0.05, 1e9, seed));
        let enough = (sessions * each) as u64 >= ENOUGH_FILLS && sessions as u64 >= ENOUGH_SESSIONS;
        prop_assert_eq!(fits.in_force().is_some(), enough);
        for f in fits.tiers.iter().chain([&fits.account]) {
            let c = f.coefficients;
            prop_assert!(c.fee_bps >= 0.0 && c.half_spread_bps >= 0.0 && c.y >= 0.0, "{:?}", f);
            if f.outcome == Outcome::TooFewFills {
                prop_assert_eq!(c.dearer(Coefficients::default()), c);
            }
        }
    }

    #[test]
    fn dearer_fills_never_make_a_cheaper_model(
        more in 0.0f64..20.0, steeper in 0.0f64..1.0, half_spread in 0.0f64..10.0, y in 0.0f64..1.5, seed in 0u64..200,
    ) {
        let of = |p: Planted| fit(&fills(p, 30, 8, 0.05, 1e9, seed)).tiers[0].coefficients;
        let base = Planted { half_spread, y, ..LUCKY };
        let (before, spread, impact) = (of(base), of(Planted { half_spread: half_spread + more, ..base }), of(Planted { y: y + steeper, ..base }));
        prop_assert!(spread.half_spread_bps >= before.half_spread_bps && spread.y >= before.y - 0.011, "{:?} {:?}", before, spread);
        prop_assert!(impact.y >= before.y && impact.half_spread_bps >= before.half_spread_bps - 0.011, "{:?} {:?}", before, impact);
    }

    #[test]
    fn caution_is_monotone_between_the_interval_and_what_stood_before(high in -10.0f64..30.0, up in 0.0f64..10.0, before in 0.0f64..20.0, weight in 0.0f64..1.0) {
        let (a, b) = (cautious(high, before, weight), cautious(high + up, before, weight));
        prop_assert!(b >= a && a >= 0.0 && a + 1e-9 >= high.max(0.0).min(before) && a <= high.max(0.0).max(before) + 0.01);
    }
}
