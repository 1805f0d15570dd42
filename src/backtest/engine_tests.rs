//! Timing, money and corner cases of the daily loop.

use super::*;
use crate::types::{Delisted, Matrix};
use crate::validation::golden::noise;

/// Independent random walks with a gap between close and open.
fn market(symbols: usize, days: usize, seed: u64) -> Panel {
    let e = noise(seed, symbols * days * 2);
    let (mut open, mut close) = (Matrix::missing(symbols, days), Matrix::missing(symbols, days));
    for s in 0..symbols {
        let mut price = 50.0 + s as f64;
        for t in 0..days {
            price *= 1.0 + 0.003 * e[(s * days + t) * 2];
            open.set(s, t, price);
            price *= 1.0 + 0.02 * e[(s * days + t) * 2 + 1].clamp(-3.0, 3.0);
            close.set(s, t, price);
        }
    }
    Panel {
        days: (0..days).map(|i| TradingDay(17_000 + i as i32)).collect(),
        symbols: (0..symbols).map(|s| format!("S{s:03}")).collect(),
        high: close.clone(),
        low: open.clone(),
        vwap: close.clone(),
        volume: Matrix::from_vec(symbols, days, vec![1e6; symbols * days]).unwrap(),
        volume_raw: Matrix::from_vec(symbols, days, vec![1e6; symbols * days]).unwrap(),
        close_raw: close.clone(),
        member: Matrix::from_vec(symbols, days, vec![1.0; symbols * days]).unwrap(),
        delisted: vec![None; symbols],
        known: crate::types::PointInTime::default(),
        open,
        close,
    }
}

fn scores(panel: &Panel, f: impl Fn(usize, usize) -> f64) -> Matrix {
    let data = (0..panel.n_symbols()).flat_map(|s| (0..panel.n_days()).map(move |t| (s, t))).map(|(s, t)| f(s, t)).collect();
    Matrix::from_vec(panel.n_symbols(), panel.n_days(), data).unwrap()
}

fn daily() -> RuleConfig {
    RuleConfig { rebalance_sessions: 1, fractional: true, ..RuleConfig::default() }
}

#[test]
fn lesson_053_the_bar_that_made_the_signal_earns_nothing() {
    let p = market(30, 400, 11);
    let same_bar = scores(&p, |s, t| p.close.at(s, t) / p.open.at(s, t) - 1.0);
    let r = run(&p, &same_bar, &daily(), &CostModel::free(), 0..400).unwrap();
    let mean = r.gross.iter().sum::<f64>() / r.gross.len() as f64;
    let se = super::super::metric::std(&r.gross) / (r.gross.len() as f64).sqrt();
    assert!(mean.abs() < 3.0 * se, "{mean} +- {se}");
    // The same rule with tomorrow's bar would be rich: the test can tell the difference.
    let peek = scores(&p, |s, t| if t + 1 < 400 { p.close.at(s, t + 1) / p.open.at(s, t + 1) - 1.0 } else { 0.0 });
    let cheat = run(&p, &peek, &daily(), &CostModel::free(), 0..400).unwrap();
    assert!(cheat.gross.iter().sum::<f64>() / 399.0 > 20.0 * se);
}

#[test]
fn lesson_053_orders_fill_at_the_next_open() {
    let p = market(8, 6, 1);
    let r = run(&p, &scores(&p, |s, _| s as f64), &RuleConfig { rebalance_sessions: 100, ..daily() }, &CostModel::free(), 2..6).unwrap();
    assert_eq!(r.fills.len(), 6);
    assert!(r.fills.iter().all(|f| f.day == p.days[3] && f.price == p.open.at(f.symbol, 3)));
    assert_eq!(r.days, p.days[3..6]);
}

#[test]
fn lesson_054_one_share_bought_and_held_in_money() {
    let mut p = market(1, 3, 1);
    for (t, (o, c)) in [(10.0, 10.0), (12.0, 13.0), (14.0, 15.0)].into_iter().enumerate() {
        p.open.set(0, t, o);
        p.close.set(0, t, c);
    }
    let rule = RuleConfig { capital_usd: 1_000.0, rebalance_sessions: 9, ..RuleConfig::long_only(1) };
    let r = run(&p, &scores(&p, |_, _| 1.0), &rule, &CostModel::flat(100.0), 0..3).unwrap();
    // 100 shares sized at 10, filled at 12, half of 100 bps on 1,200.
    assert_eq!((r.fills[0].qty, r.fills[0].price), (100.0, 12.0));
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    near(r.costs, 6.0);
    near(r.equity[0], 1_000.0 - 1_200.0 - 6.0 + 1_300.0);
    near(r.equity[1], 1_294.0);
    near(r.net[0], 0.094);
    near(r.gross[0], 0.1);
    near(r.turnover[0], 1.2);
    near(r.trades[0].pnl, 294.0);
}

#[test]
fn lesson_052_gains_minus_costs_are_the_change_of_equity() {
    let p = market(20, 120, 5);
    let r = run(&p, &scores(&p, |s, t| ((s * 31 + t * 17) % 23) as f64), &RuleConfig::default(), &CostModel::default().with_borrow(50.0), 0..120).unwrap();
    let pnl: f64 = r.trades.iter().map(|t| t.pnl).sum();
    assert!((pnl - (r.equity.last().unwrap() - r.capital)).abs() < 1e-6, "{pnl}");
    let compounded = r.net.iter().map(|x| 1.0 + x).product::<f64>();
    assert!((compounded * r.capital - r.equity.last().unwrap()).abs() < 1e-6);
    let paid: f64 = r.fills.iter().map(|f| f.cost).sum();
    assert!(paid > 0.0 && r.costs > paid);
}

#[test]
fn buy_and_hold_is_the_price_ratio() {
    let p = market(1, 60, 8);
    let rule = RuleConfig { rebalance_sessions: 1_000, fractional: true, ..RuleConfig::long_only(1) };
    let r = run(&p, &scores(&p, |_, _| 1.0), &rule, &CostModel::free(), 0..60).unwrap();
    let shares = rule.capital_usd / p.close.at(0, 0);
    let want = rule.capital_usd + shares * (p.close.at(0, 59) - p.open.at(0, 1));
    assert!((r.equity.last().unwrap() - want).abs() <= 1e-9 * want);
}

#[test]
fn a_missing_open_drops_the_order_and_says_so() {
    let mut p = market(8, 6, 1);
    p.open.set(7, 1, f64::NAN);
    let r = run(&p, &scores(&p, |s, _| s as f64), &RuleConfig { rebalance_sessions: 100, ..daily() }, &CostModel::free(), 0..6).unwrap();
    assert_eq!(r.fills.len(), 5);
    assert!(r.notes.iter().any(|n| n.symbol.as_deref() == Some("S007") && n.what.starts_with("order dropped")));
}

#[test]
fn lesson_048_a_delisted_position_is_closed_at_its_last_price_and_costs_money() {
    let mut p = market(8, 10, 1);
    for t in 5..10 {
        p.open.set(7, t, f64::NAN);
        p.close.set(7, t, f64::NAN);
    }
    p.close.set(7, 4, 1.0);
    p.delisted[7] = Some(Delisted::on(p.days[4]));
    let r = run(&p, &scores(&p, |s, _| s as f64), &RuleConfig { rebalance_sessions: 100, ..daily() }, &CostModel::free(), 0..10).unwrap();
    let last = r.fills.iter().find(|f| f.symbol == 7 && f.side == Side::Sell).unwrap();
    assert_eq!((last.price, last.day), (1.0, p.days[5]));
    assert!(r.trades.iter().any(|t| t.symbol == 7 && t.pnl < -30_000.0));
    assert!(r.notes.iter().any(|n| n.what.contains("delisted")));
}

#[test]
fn lesson_048_a_worthless_share_takes_all_of_a_long_and_a_book_that_owes_money_is_refused_by_name() {
    let mut p = market(8, 10, 1);
    for t in 5..10 {
        p.open.set(7, t, f64::NAN);
        p.close.set(7, t, f64::NAN);
    }
    p.delisted[7] = Some(Delisted { value: Some(0.0), ..Delisted::on(p.days[4]) });
    let rule = RuleConfig { rebalance_sessions: 100, ..daily() };
    let r = run(&p, &scores(&p, |s, _| s as f64), &rule, &CostModel::free(), 0..10).unwrap();
    let last = r.fills.iter().find(|f| f.symbol == 7 && f.side == Side::Sell).unwrap();
    assert_eq!((last.price, last.day, last.cost), (0.0, p.days[5], 0.0));
    let loss = r.fills.iter().find(|f| f.symbol == 7).map(|f| f.qty * f.price).unwrap();
    assert!(r.trades.iter().any(|t| t.symbol == 7 && (t.pnl + loss).abs() < 1e-6));
    // The same name sold short, and then a hundred times dearer.
    let mut p = market(8, 10, 1);
    p.close.set(7, 4, 100.0 * p.close.at(7, 3));
    let e = run(&p, &scores(&p, |s, _| -(s as f64)), &rule, &CostModel::free(), 0..10).unwrap_err();
    assert!(e.is(code::ML_UNDEFINED) && e.body().found.as_deref().unwrap().contains("short position in S007"), "{e}");
}

#[test]
fn a_day_with_too_few_scores_keeps_the_book_and_none_at_all_is_undefined() {
    let p = market(8, 12, 1);
    let gap = scores(&p, |s, t| if t == 5 { f64::NAN } else { s as f64 });
    let r = run(&p, &gap, &RuleConfig { rebalance_sessions: 5, ..daily() }, &CostModel::free(), 0..12).unwrap();
    assert_eq!((r.rebalances, r.notes.len()), (2, 1));
    let err = run(&p, &scores(&p, |_, _| f64::NAN), &daily(), &CostModel::free(), 0..12).unwrap_err();
    assert!(err.is(code::ML_UNDEFINED));
}

#[test]
fn lesson_082_two_cells_of_a_sweep_differ_in_trades() {
    let p = market(20, 60, 5);
    let s = scores(&p, |s, t| ((s * 31 + t * 17) % 23) as f64);
    let fills = |n: usize| run(&p, &s, &RuleConfig { top_n: n, bottom_n: n, ..daily() }, &CostModel::default(), 0..60).unwrap().fills;
    assert_ne!(fills(2), fills(3));
}

#[test]
fn impact_uses_only_what_was_known_before_the_fill() {
    let mut p = market(8, 60, 4);
    let cost = CostModel { pricing: Pricing::Impact { fee_per_share: 0.0, half_spread_bps: 2.0, y: 1.0 }, ..CostModel::default() };
    let s = scores(&p, |s, _| s as f64);
    let rule = RuleConfig { rebalance_sessions: 100, ..daily() };
    let before = run(&p, &s, &rule, &cost, 30..34).unwrap();
    for t in 31..60 {
        (0..8).for_each(|s| p.volume.set(s, t, 5.0));
    }
    assert_eq!(run(&p, &s, &rule, &cost, 30..34).unwrap().fills, before.fills);
    assert!(before.costs > 0.0);
    assert!(run(&p, &s, &rule, &cost, 0..10).unwrap_err().is(code::ML_UNDEFINED));
}

#[test]
fn limits_bind_in_the_simulation_too() {
    let p = market(8, 10, 1);
    let s = scores(&p, |s, _| s as f64);
    let capped = RuleConfig { limits: Some(crate::portfolio::Limits::default()), ..daily() };
    let r = run(&p, &s, &capped, &CostModel::free(), 0..10).unwrap();
    assert!(r.gross_exposure.iter().all(|g| *g < 0.32));
}

#[test]
fn a_constructed_book_keeps_its_volatility_pays_its_lenders_and_counts_what_bound() {
    use crate::portfolio::construct::{Borrow, BorrowTable, Construction};
    let p = market(8, 60, 1);
    let s = scores(&p, |s, _| s as f64);
    let plain = RuleConfig { bottom_n: 2, fractional: true, ..daily() };
    let calm = Construction { target_vol: Some(0.01), history_sessions: 20, ..Construction::default() };
    let lent = BorrowTable { default: Borrow::Easy { fee_bps_per_year: 400.0 }, names: BTreeMap::new() };
    let of = |construction| run(&p, &s, &RuleConfig { construction: Some(construction), ..plain.clone() }, &CostModel::free(), 30..60).unwrap();
    let (free, small) = (run(&p, &s, &plain, &CostModel::free(), 30..60).unwrap(), of(calm.clone()));
    assert!(small.gross_exposure.iter().zip(&free.gross_exposure).all(|(a, b)| a < b), "{:?}", small.gross_exposure);
    assert_eq!((small.bound["target_vol"], free.bound.len()), (small.rebalances, 0));
    let carried = of(Construction { borrow: Some(lent), ..Construction::default() });
    assert!(carried.costs > 0.0 && free.costs == 0.0, "a short pays the fee of its tier");
    let early = run(&p, &s, &RuleConfig { construction: Some(calm), ..plain }, &CostModel::free(), 5..30).unwrap();
    assert!(early.fills.iter().all(|f| f.day > p.days[19]), "no name is held before its risk can be measured");
}
