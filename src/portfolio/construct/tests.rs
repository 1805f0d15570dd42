use super::*;
use crate::portfolio::barbell::Sleeve;
use crate::portfolio::linear::{equal_correlation, volatility};
use proptest::prelude::*;

const NAMES: [&str; 4] = ["A", "B", "C", "D"];

fn book(list: &[(&str, f64)]) -> BTreeMap<String, f64> {
    list.iter().map(|(s, w)| ((*s).to_string(), *w)).collect()
}
fn named(v: &[f64]) -> BTreeMap<String, f64> {
    NAMES.iter().zip(v).map(|(n, w)| ((*n).to_string(), *w)).collect()
}
fn bound(c: &Constructed) -> Vec<(&str, &str)> {
    c.bound.iter().map(|b| (b.limit.as_str(), b.subject.as_str())).collect()
}
fn plain() -> Construction {
    Construction::default()
}
fn edge(value: f64, low: f64, high: f64) -> Option<Kelly> {
    Some(Kelly { fraction: 0.25, edge_per_year: Edge { value, low, high } })
}
/// Four names at 20 % to 40 % a year.
fn risky() -> Context {
    let covariance = Some((NAMES.iter().map(|n| (*n).to_string()).collect(), equal_correlation(&[0.2, 0.3, 0.25, 0.4], 0.4)));
    Context { covariance, equity_usd: 100_000.0, ..Context::default() }
}
fn vol(weights: &BTreeMap<String, f64>, context: &Context) -> f64 {
    let (names, cov) = context.covariance.as_ref().unwrap();
    volatility(&names.iter().map(|n| weights.get(n).copied().unwrap_or(0.0)).collect::<Vec<_>>(), cov)
}

#[test]
fn shorts_need_a_lender_room_and_an_edge_above_the_fee() {
    let hard = |fee_bps_per_year| Borrow::Hard { fee_bps_per_year, max_weight: 0.02 };
    let names =
        BTreeMap::from([("GC".to_string(), Borrow::Easy { fee_bps_per_year: 30.0 }), ("HTB".to_string(), hard(800.0)), ("DEAR".to_string(), hard(5_000.0))]);
    let c = Construction { borrow: Some(BorrowTable { default: Borrow::None, names }), ..plain() };
    let wanted = book(&[("GC", -0.05), ("HTB", -0.05), ("DEAR", -0.01), ("WHO", -0.01), ("L", 0.05)]);
    let out = c.apply(&wanted, &[], &Context::default()).unwrap();
    assert_eq!(out.weights, book(&[("DEAR", -0.01), ("GC", -0.05), ("HTB", -0.02), ("L", 0.05)]));
    assert_eq!(bound(&out), [("hard_to_borrow", "HTB"), ("no_borrow", "WHO")]);
    assert_eq!((c.borrow_fee_bps("HTB"), plain().borrow_fee_bps("HTB")), (Some(800.0), None));
    // An edge of 10 % a year pays for 800 bps, not for 5,000.
    let cov = equal_correlation(&[0.1; 5], 0.0);
    let context = Context { covariance: Some((wanted.keys().cloned().collect(), cov)), ..Context::default() };
    let out = Construction { kelly: edge(0.2, 0.1, 0.3), ..c }.apply(&wanted, &[], &context).unwrap();
    assert!(bound(&out).contains(&("borrow_fee", "DEAR")) && !bound(&out).contains(&("borrow_fee", "HTB")), "{out:?}");
}

#[test]
fn a_limit_without_its_data_refuses_and_zero_is_not_off() {
    let wanted = book(&[("A", 0.1)]);
    let sectors = BTreeMap::from([("B".to_string(), "tech".to_string())]);
    for c in [
        Construction { max_sector_gross: Some(0.3), sectors: sectors.clone(), ..plain() },
        Construction { target_vol: Some(0.1), ..plain() },
        Construction { lot_shares: Some(100.0), ..plain() },
    ] {
        assert!(c.apply(&wanted, &[], &Context::default()).unwrap_err().is(code::DATA_MISSING));
    }
    let kelly = |fraction| Some(Kelly { fraction, edge_per_year: Edge { value: 0.1, low: 0.05, high: 0.2 } });
    for c in [
        Construction { target_vol: Some(0.0), ..plain() },
        Construction { kelly: kelly(0.9), ..plain() },
        Construction { history_sessions: 3, ..plain() },
        Construction { max_sector_gross: Some(0.3), ..plain() },
        Construction { borrow: Some(BorrowTable { default: Borrow::Easy { fee_bps_per_year: -1.0 }, names: BTreeMap::new() }), ..plain() },
    ] {
        assert!(c.apply(&wanted, &[], &risky()).unwrap_err().is(code::CFG_VALUE), "{c:?}");
    }
    assert_eq!(plain().apply(&wanted, &[], &Context::default()).unwrap().weights, wanted, "nothing configured changes nothing");
}

#[test]
fn the_volatility_target_scales_up_as_well_as_down_and_the_caps_come_after_it() {
    let context = risky();
    let wanted = book(&[("A", 0.05), ("B", -0.05)]);
    let c = Construction { target_vol: Some(0.10), ..plain() };
    let out = c.apply(&wanted, &[], &context).unwrap();
    assert!(out.weights["A"] > 0.05 && (vol(&out.weights, &context) - 0.10).abs() < 1e-12, "{out:?}");
    let capped = c.apply(&wanted, &[Limits { max_short: 0.10, ..Limits::default() }], &context).unwrap();
    assert!(capped.weights["A"] <= 0.05 && vol(&capped.weights, &context) <= 0.10 + 1e-12);
    assert!(bound(&capped).contains(&("max_weight_per_name", "A")), "{capped:?}");
    let young = book(&[("A", 0.05), ("NEW", 0.05)]);
    let out = c.apply(&young, &[], &context).unwrap();
    assert!(out.weights.keys().eq(["A"]) && bound(&out).contains(&("short_history", "NEW")));
}

#[test]
fn kelly_holds_a_book_to_a_part_of_what_its_cautious_edge_is_worth() {
    let context = risky();
    let wanted = named(&[0.5, 0.0, 0.0, 0.0]);
    let with = |k| Construction { kelly: k, ..plain() }.apply(&wanted, &[], &context).unwrap();
    // A quarter of 0.03 / 0.04: 18.75 % in a name of 20 % volatility.
    assert!((with(edge(0.05, 0.03, 0.08)).weights["A"] - 0.25 * 0.03 / 0.04).abs() < 1e-12);
    assert_eq!(with(edge(0.9, 0.8, 1.0)).weights, wanted.iter().filter(|(_, w)| **w != 0.0).map(|(s, w)| (s.clone(), *w)).collect());
    let nothing = with(edge(0.05, -0.01, 0.08));
    assert!(nothing.weights.is_empty() && bound(&nothing) == [("kelly", "")], "an edge that may be none is not bet on");
}

#[test]
fn lots_and_minimums_cut_towards_zero_and_say_so() {
    let context = Context { prices: book(&[("A", 33.0), ("B", 400.0), ("C", 10.0)]), held: book(&[("C", 0.002)]), equity_usd: 100_000.0, covariance: None };
    let c = Construction { lot_shares: Some(100.0), min_notional_usd: Some(1_000.0), ..plain() };
    let out = c.apply(&book(&[("A", 0.12), ("B", 0.005)]), &[], &context).unwrap();
    assert_eq!((out.weights["A"] * 100_000.0 / 33.0).trunc(), 300.0);
    assert_eq!(bound(&out), [("lot_shares", "A"), ("min_notional_usd", "B")]);
    let small = Construction { min_notional_usd: Some(1_000.0), ..plain() }.apply(&book(&[("C", 0.002)]), &[], &context).unwrap();
    assert_eq!(small.weights, book(&[("C", 0.002)]), "a holding is not sold for being small");
}

#[test]
fn the_barbell_comes_last_and_says_which_of_its_bounds_hold() {
    let sleeves = [("A", Sleeve::Core), ("B", Sleeve::Spec)].into_iter().map(|(s, v)| (s.to_string(), v)).collect();
    let c = Construction { barbell: Some(Barbell { sleeves, ..Barbell::default() }), ..plain() };
    let out = c.apply(&book(&[("A", 0.5), ("B", 0.5)]), &[], &Context::default()).unwrap();
    assert!((out.weights["A"] - 0.10).abs() < 1e-9 && (out.weights["B"] - 0.05).abs() < 1e-9, "{out:?}");
    assert!(out.bound.iter().all(|b| b.limit == "barbell") && out.bound.iter().any(|b| b.subject == "A at most"), "{out:?}");
    assert!(c.apply(&book(&[("A", -0.1)]), &[], &Context::default()).unwrap_err().is(code::CFG_VALUE));
}

proptest! {
    #[test]
    fn every_limit_holds_at_the_end(w in prop::collection::vec(-0.2f64..0.2, 4), held in prop::collection::vec(-0.05f64..0.05, 4), turnover in 0.01f64..0.5) {
        let context = Context { held: named(&held), ..risky() };
        let c = Construction {
            max_sector_gross: Some(0.15),
            sectors: NAMES.iter().enumerate().map(|(i, n)| ((*n).to_string(), ["tech", "oil"][i % 2].to_string())).collect(),
            borrow: Some(BorrowTable { default: Borrow::Easy { fee_bps_per_year: 30.0 }, names: BTreeMap::new() }),
            target_vol: Some(0.03),
            max_turnover: Some(turnover),
            ..plain()
        };
        let caps = Limits { max_weight_per_name: 0.08, max_long: 0.2, max_short: 0.1, max_gross: 0.22, max_net: 0.05 };
        let out = c.apply(&named(&w), &[caps], &context).unwrap();
        let of = |sector: &str| out.weights.iter().filter(|(s, _)| c.sectors[*s] == sector).map(|(_, w)| w.abs()).sum::<f64>();
        prop_assert!(of("tech") <= 0.15 + 1e-12 && of("oil") <= 0.15 + 1e-12);
        prop_assert!(vol(&out.weights, &context) <= 0.03 + 1e-12);
        let side = |sign: f64| out.weights.values().map(|w| (w * sign).max(0.0)).sum::<f64>();
        prop_assert!(out.weights.values().all(|w| w.abs() <= 0.08 + 1e-12) && side(1.0) <= 0.2 + 1e-12 && side(-1.0) <= 0.1 + 1e-12);
        prop_assert!(side(1.0) + side(-1.0) <= 0.22 + 1e-12 && (side(1.0) - side(-1.0)).abs() <= 0.05 + 1e-12);
        prop_assert!(out.bound.iter().all(|b| !b.sentence().is_empty()));
        // What grows in size, grows by no more than the turnover allows.
        let grown: f64 = out.weights.iter().map(|(s, w)| { let h = context.held[s]; if h * w <= 0.0 { w.abs() } else { (w.abs() - h.abs()).max(0.0) } }).sum();
        prop_assert!(grown <= turnover + 1e-12);
    }
}
