//! From target weights to order lines: the delta over targets and positions, exits included.

use super::order::{Reason, Reference, Skipped};
use crate::types::Side;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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

/// `trunc(weight x equity / price) - position - open remainder` per symbol; weight 0 or absent is an exit; a floor of 0 is
/// no order. A change of sign is split in two lines, because only the first of them is a reduction. Reductions come
/// first, then symbols in order.
pub fn delta(input: &SizeInput<'_>) -> SizedSet {
    let mut out = SizedSet::default();
    let symbols: BTreeSet<&String> = input.targets.keys().chain(input.positions.keys()).collect();
    for symbol in symbols {
        let weight = input.targets.get(symbol).copied().unwrap_or(0.0);
        let held = input.positions.get(symbol).copied().unwrap_or(0.0);
        let open = input.open_remaining.get(symbol).copied().unwrap_or(0.0);
        if weight == 0.0 && held == 0.0 && open == 0.0 {
            continue;
        }
        match size_one(symbol, weight, held, open, input) {
            Ok(lines) => out.lines.extend(lines),
            Err(reason) => out.skipped.push(Skipped { symbol: symbol.clone(), reason }),
        }
    }
    out.lines.sort_by(|a, b| (!a.reduces, &a.symbol).cmp(&(!b.reduces, &b.symbol)));
    out
}

fn size_one(symbol: &str, weight: f64, held: f64, open: f64, input: &SizeInput<'_>) -> Result<Vec<SizedLine>, String> {
    if !weight.is_finite() || !input.equity.is_finite() {
        return Err("the target or the equity is not a number".into());
    }
    let wanted = if weight == 0.0 {
        0.0
    } else {
        let reference = input.prices.get(symbol).ok_or("no reference price")?;
        if !(reference.price.is_finite() && reference.price > 0.0) {
            return Err(format!("the reference price {} is not usable", reference.price));
        }
        (weight * input.equity / reference.price).trunc()
    };
    if !input.prices.contains_key(symbol) {
        return Err("no reference price for the exit; it stays until there is one".into());
    }
    let change = (wanted - held - open).trunc();
    if change == 0.0 {
        let reason = if wanted == 0.0 && held == 0.0 { "one share costs more than the target weight allows" } else { "already at its target" };
        return Err(reason.into());
    }
    let side = if change > 0.0 { Side::Buy } else { Side::Sell };
    let reason = if wanted == 0.0 { Reason::Exit } else { Reason::Rebalance };
    let line = |qty: f64, reduces: bool| SizedLine { symbol: symbol.to_string(), side, qty, reason, reduces };
    let closable = if held.signum() == side.sign() { 0.0 } else { held.abs().trunc() };
    let (first, second) = (change.abs().min(closable), change.abs() - change.abs().min(closable));
    let mut lines = Vec::new();
    if first > 0.0 {
        lines.push(line(first, true));
    }
    if second > 0.0 {
        lines.push(line(second, false));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::time::UtcTime;

    fn prices(list: &[(&str, f64)]) -> BTreeMap<String, Reference> {
        let at = UtcTime::from_micros(0);
        list.iter().map(|(s, p)| ((*s).to_string(), Reference { price: *p, at, adv_shares: Some(1e6), tradable: true })).collect()
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
