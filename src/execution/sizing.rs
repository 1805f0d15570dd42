//! From target weights to order lines: the delta over targets and positions, exits included.

use super::order::{Reason, Reference, Skipped};
use crate::portfolio::{self, delta::DeltaInput};
use crate::types::Side;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One wanted name; `weight` as a share of equity, negative for a short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetWeight {
    pub symbol: String,
    pub weight: f64,
}

/// A line before it becomes an intent.
#[derive(Clone, Debug, PartialEq)]
pub struct SizedLine {
    pub symbol: String,
    pub side: Side,
    /// Whole shares, > 0.
    pub qty: f64,
    pub reason: Reason,
    /// Shrinks the strategy's own position without crossing zero.
    pub reduces: bool,
}

/// What sizing reads. Positions and open remainders are the strategy's own, in signed shares.
pub struct SizeInput<'a> {
    pub targets: &'a BTreeMap<String, f64>,
    pub positions: &'a BTreeMap<String, f64>,
    pub open_remaining: &'a BTreeMap<String, f64>,
    pub prices: &'a BTreeMap<String, Reference>,
    pub equity: f64,
}

/// Lines in their final order, and what got none.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SizedSet {
    pub lines: Vec<SizedLine>,
    pub skipped: Vec<Skipped>,
}

/// The portfolio's own delta ([`crate::portfolio::delta`]), which the backtest uses as well, on pinned reference prices. An
/// exit also needs a price here, because an order without one could not be checked.
pub fn delta(input: &SizeInput<'_>) -> SizedSet {
    let prices: BTreeMap<String, f64> = input.prices.iter().map(|(symbol, r)| (symbol.clone(), r.price)).collect();
    let wanted = DeltaInput {
        targets: input.targets,
        positions: input.positions,
        prices: &prices,
        equity: input.equity,
        open_remaining: input.open_remaining,
        fractional: false,
    };
    let mut out = SizedSet::default();
    let plan = match portfolio::delta::plan(&wanted) {
        Ok(plan) => plan,
        Err(error) => {
            out.skipped = input.targets.keys().map(|symbol| Skipped { symbol: symbol.clone(), reason: error.to_string() }).collect();
            return out;
        }
    };
    out.skipped = plan.skipped.into_iter().map(|s| Skipped { symbol: s.symbol, reason: s.reason }).collect();
    for line in plan.lines {
        if line.reference_price.is_none() {
            out.skipped.push(Skipped { symbol: line.symbol, reason: "no reference price for the exit; it stays until there is one".into() });
            continue;
        }
        let reason = match line.reason {
            portfolio::delta::Reason::Exit => Reason::Exit,
            portfolio::delta::Reason::Rebalance => Reason::Rebalance,
        };
        out.lines.push(SizedLine { symbol: line.symbol, side: line.side, qty: line.qty, reason, reduces: line.reduces });
    }
    out.skipped.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::time::UtcTime;

    fn prices(list: &[(&str, f64)]) -> BTreeMap<String, Reference> {
        let at = UtcTime::from_micros(0);
        list.iter().map(|(s, p)| ((*s).to_string(), Reference { price: *p, at, adv_shares: Some(1e6), sigma_daily: None, tradable: true })).collect()
    }
    fn map(list: &[(&str, f64)]) -> BTreeMap<String, f64> {
        list.iter().map(|(s, v)| ((*s).to_string(), *v)).collect()
    }
    fn run(targets: &[(&str, f64)], positions: &BTreeMap<String, f64>, equity: f64) -> SizedSet {
        let p = prices(&[("AAA", 100.0), ("BBB", 50.0), ("DEAR", 5_000.0)]);
        delta(&SizeInput { targets: &map(targets), positions, open_remaining: &BTreeMap::new(), prices: &p, equity })
    }

    #[test]
    fn lesson_088_unchanged_targets_trade_once_and_a_zero_target_goes_flat() {
        let mut held = BTreeMap::new();
        let targets = [("AAA", 0.05), ("BBB", -0.05)];
        let mut days_with_orders = 0;
        for _ in 0..10 {
            let set = run(&targets, &held, 100_000.0);
            days_with_orders += usize::from(!set.lines.is_empty());
            for l in &set.lines {
                *held.entry(l.symbol.clone()).or_insert(0.0) += l.side.sign() * l.qty;
            }
        }
        assert_eq!(days_with_orders, 1);
        assert_eq!(held, map(&[("AAA", 50.0), ("BBB", -100.0)]));
        let out = run(&[("AAA", 0.0)], &held, 100_000.0);
        assert_eq!(out.lines.len(), 2);
        assert!(out.lines.iter().all(|l| l.reason == Reason::Exit && l.reduces));
        for l in &out.lines {
            *held.get_mut(&l.symbol).unwrap() += l.side.sign() * l.qty;
        }
        assert!(held.values().all(|q| *q == 0.0));
    }

    #[test]
    fn lesson_059_a_floor_of_zero_is_no_order_and_says_so() {
        let set = run(&[("DEAR", 0.02)], &BTreeMap::new(), 50_000.0);
        assert!(set.lines.is_empty());
        assert_eq!(set.skipped.len(), 1);
    }

    #[test]
    fn a_flip_is_two_lines_with_the_reduction_first() {
        let set = run(&[("AAA", -0.05), ("BBB", 0.01)], &map(&[("AAA", 30.0)]), 100_000.0);
        let short: Vec<_> = set.lines.iter().map(|l| (l.symbol.as_str(), l.side, l.qty, l.reduces)).collect();
        assert_eq!(short, vec![("AAA", Side::Sell, 30.0, true), ("AAA", Side::Sell, 50.0, false), ("BBB", Side::Buy, 20.0, false)]);
    }

    #[test]
    fn a_missing_price_is_a_recorded_skip_never_a_guess() {
        let set = run(&[("ZZZ", 0.05)], &map(&[("YYY", 5.0)]), 100_000.0);
        assert!(set.lines.is_empty());
        assert_eq!(set.skipped.iter().map(|s| s.symbol.as_str()).collect::<Vec<_>>(), vec!["YYY", "ZZZ"]);
    }
}
