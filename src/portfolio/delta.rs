//! Order quantities: what is missing between the targets and what is already held or on its way.
//!
//! Over the union of targets and positions: `trunc(weight x equity / price) - position - signed remaining of own open
//! orders`. A weight of 0, or none, is an exit. The quantity is cut towards zero; 0 is no order, never 1. A line that would
//! cross zero is split into the part that closes and the part that opens, because only the first may pass as reduce-only.

use crate::types::Side;
use data_layer::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a line exists.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Towards a target that is not zero.
    Rebalance,
    /// The position goes to zero, or is closed before its side changes.
    Exit,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rebalance => term!("rebalance"),
            Self::Exit => term!("exit"),
        }
    }
}

/// One order to be sent.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DeltaLine<K = usize> {
    pub symbol: K,
    pub side: Side,
    /// Shares, positive.
    pub qty: f64,
    pub reason: Reason,
    /// It shrinks the position and cannot flip it.
    pub reduces: bool,
    pub target_weight: f64,
    /// Shares the target stands for.
    pub target_qty: f64,
    pub position: f64,
    /// Absent only for an exit of a symbol without a price.
    pub reference_price: Option<f64>,
}

/// A symbol that gets no order although it has a target or a position.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Skipped<K = usize> {
    pub symbol: K,
    pub target_weight: f64,
    pub reason: String,
}

/// Lines in sending order (reductions first, then by symbol) and the symbols without one.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DeltaPlan<K = usize> {
    pub lines: Vec<DeltaLine<K>>,
    pub skipped: Vec<Skipped<K>>,
}

/// What the sizes are computed from. Quantities are signed shares; a symbol absent from a map has 0 of it.
pub struct DeltaInput<'a, K> {
    pub targets: &'a BTreeMap<K, f64>,
    pub positions: &'a BTreeMap<K, f64>,
    /// Reference prices, pinned by the caller.
    pub prices: &'a BTreeMap<K, f64>,
    pub equity: f64,
    /// Signed remaining quantity of the strategy's own open orders.
    pub open_remaining: &'a BTreeMap<K, f64>,
    /// Keep fractions of a share.
    pub fractional: bool,
}

/// Whole-share orders that lead from `positions` to `targets` (see [`DeltaInput`] for the arguments).
pub fn delta<K: Ord + Clone>(
    targets: &BTreeMap<K, f64>,
    positions: &BTreeMap<K, f64>,
    prices: &BTreeMap<K, f64>,
    equity: f64,
    open_remaining: &BTreeMap<K, f64>,
) -> Result<DeltaPlan<K>> {
    plan(&DeltaInput { targets, positions, prices, equity, open_remaining, fractional: false })
}

/// As [`delta`], with the choice of fractional shares.
pub fn plan<K: Ord + Clone>(input: &DeltaInput<'_, K>) -> Result<DeltaPlan<K>> {
    if !input.equity.is_finite() {
        return Err(Error::bug(text!("orders cannot be sized from an equity of {}", input.equity)));
    }
    let mut union: Vec<&K> = input.targets.keys().chain(input.positions.keys()).chain(input.open_remaining.keys()).collect();
    union.sort();
    union.dedup();
    let mut plan = DeltaPlan { lines: Vec::new(), skipped: Vec::new() };
    for symbol in union {
        one(input, symbol, &mut plan);
    }
    // Stable: within reductions and increases the order by symbol stays.
    plan.lines.sort_by_key(|l| !l.reduces);
    Ok(plan)
}

fn one<K: Ord + Clone>(input: &DeltaInput<'_, K>, symbol: &K, plan: &mut DeltaPlan<K>) {
    let get = |map: &BTreeMap<K, f64>| map.get(symbol).copied().unwrap_or(0.0);
    let (weight, position, open) = (get(input.targets), get(input.positions), get(input.open_remaining));
    let price = input.prices.get(symbol).copied().filter(|p| p.is_finite() && *p > 0.0);
    let mut skip = |reason: String| plan.skipped.push(Skipped { symbol: symbol.clone(), target_weight: weight, reason });
    if !(weight.is_finite() && position.is_finite() && open.is_finite()) {
        return skip("the weight, the position or the open quantity is not a number".into());
    }
    let cut = |q: f64| if input.fractional { q } else { q.trunc() };
    let target_qty = match price {
        _ if weight == 0.0 => 0.0,
        Some(p) => cut(weight * input.equity / p),
        None => return skip("no reference price".into()),
    };
    let signed = cut(target_qty - position - open);
    if signed == 0.0 || signed.abs() < 1e-9 {
        if weight != 0.0 && target_qty == 0.0 && position == 0.0 {
            return skip("the target is worth less than one share".into());
        }
        return skip("already at the target".into());
    }
    let side = if signed > 0.0 { Side::Buy } else { Side::Sell };
    let mut push = |qty: f64, reduces: bool| {
        let reason = if reduces && (target_qty == 0.0 || target_qty.signum() != position.signum()) { Reason::Exit } else { Reason::Rebalance };
        let symbol = symbol.clone();
        plan.lines.push(DeltaLine { symbol, side, qty, reason, reduces, target_weight: weight, target_qty, position, reference_price: price });
    };
    let closing = if position != 0.0 && position.signum() != signed.signum() { signed.abs().min(cut(position.abs())) } else { 0.0 };
    if closing > 0.0 {
        push(closing, true);
    }
    if signed.abs() - closing > 1e-9 {
        push(signed.abs() - closing, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Map = BTreeMap<usize, f64>;

    fn orders(targets: &[(usize, f64)], positions: &[(usize, f64)], prices: &[(usize, f64)], equity: f64, open: &[(usize, f64)]) -> DeltaPlan {
        let map = |x: &[(usize, f64)]| x.iter().copied().collect::<Map>();
        let (targets, positions, prices, open) = (map(targets), map(positions), map(prices), map(open));
        delta(&targets, &positions, &prices, equity, &open).unwrap()
    }

    fn signed(plan: &DeltaPlan) -> Vec<(usize, f64, bool)> {
        plan.lines.iter().map(|l| (l.symbol, l.qty * l.side.sign(), l.reduces)).collect()
    }

    #[test]
    fn lesson_088_unchanged_targets_trade_once_and_a_zero_target_goes_flat() {
        let (targets, prices) = ([(1, 0.3), (2, -0.2)], [(1, 33.0), (2, 7.0)]);
        let mut held = Map::new();
        for day in 0..10 {
            let positions: Vec<_> = held.iter().map(|(k, v)| (*k, *v)).collect();
            let p = orders(&targets, &positions, &prices, 10_000.0, &[]);
            assert_eq!(p.lines.is_empty(), day > 0, "day {day}: {:?}", p.lines);
            p.lines.iter().for_each(|l| *held.entry(l.symbol).or_default() += l.qty * l.side.sign());
        }
        assert_eq!(held, Map::from([(1, 90.0), (2, -285.0)]));
        let out = orders(&[(1, 0.0)], &[(1, 90.0), (2, -285.0)], &prices, 10_000.0, &[]);
        assert_eq!(signed(&out), [(1, -90.0, true), (2, 285.0, true)]);
        assert!(out.lines.iter().all(|l| l.reason == Reason::Exit));
    }

    #[test]
    fn lesson_059_a_dear_share_gets_no_order_and_never_one() {
        let p = orders(&[(1, 0.02)], &[], &[(1, 5_000.0)], 50_000.0, &[]);
        assert!(p.lines.is_empty());
        assert_eq!(p.skipped[0].reason, "the target is worth less than one share");
        assert_eq!(signed(&orders(&[(1, 0.02)], &[], &[(1, 999.0)], 50_000.0, &[])), [(1, 1.0, false)]);
    }

    #[test]
    fn open_orders_count_with_their_sign() {
        assert!(orders(&[(1, 0.5)], &[(1, 20.0)], &[(1, 10.0)], 1_000.0, &[(1, 30.0)]).lines.is_empty());
        // A target that is gone while a buy is still working: sell what it would add and what is held.
        assert_eq!(signed(&orders(&[], &[(1, 20.0)], &[(1, 10.0)], 1_000.0, &[(1, 30.0)])), [(1, -20.0, true), (1, -30.0, false)]);
    }

    #[test]
    fn reductions_come_first_and_a_flip_is_two_lines() {
        let p = orders(&[(1, 0.5), (2, -0.1), (3, 0.1)], &[(2, 5.0), (3, 40.0)], &[(1, 10.0), (2, 10.0), (3, 10.0)], 1_000.0, &[]);
        assert_eq!(signed(&p), [(2, -5.0, true), (3, -30.0, true), (1, 50.0, false), (2, -10.0, false)]);
        assert_eq!(p.lines[0].reason, Reason::Exit);
        assert_eq!(p.lines[1].reason, Reason::Rebalance);
    }

    #[test]
    fn no_price_skips_an_entry_but_not_an_exit() {
        let p = orders(&[(1, 0.5)], &[(2, 7.0)], &[], 1_000.0, &[]);
        assert_eq!(signed(&p), [(2, -7.0, true)]);
        assert_eq!(p.skipped[0].reason, "no reference price");
    }

    #[test]
    fn shorts_are_cut_towards_zero_too() {
        assert_eq!(signed(&orders(&[(1, -0.1)], &[], &[(1, 30.0)], 1_000.0, &[])), [(1, -3.0, false)]);
    }

    proptest! {
        #[test]
        fn the_lines_lead_to_the_target_and_reductions_never_flip(
            weights in proptest::collection::vec(-0.3f64..0.3, 8), held in proptest::collection::vec(-50i32..50, 8), open in proptest::collection::vec(-9i32..9, 8)
        ) {
            let idx = |x: &[f64]| x.iter().copied().enumerate().collect::<Vec<_>>();
            let held: Vec<f64> = held.into_iter().map(f64::from).collect();
            let open: Vec<f64> = open.into_iter().map(f64::from).collect();
            let p = orders(&idx(&weights), &idx(&held), &idx(&[17.0; 8]), 10_000.0, &idx(&open));
            for s in 0..8 {
                let traded: f64 = p.lines.iter().filter(|l| l.symbol == s).map(|l| l.qty * l.side.sign()).sum();
                prop_assert_eq!(held[s] + open[s] + traded, (weights[s] * 10_000.0 / 17.0).trunc());
            }
            for l in p.lines.iter().filter(|l| l.reduces) {
                prop_assert!(l.qty <= l.position.abs() && l.side.sign() == -l.position.signum());
            }
        }
    }
}
