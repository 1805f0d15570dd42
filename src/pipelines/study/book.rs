//! The product's portfolio rule over many score tables at once: the same orders, fills and ends of listings as
//! [`crate::backtest`], on dense arrays and for equal weights only. A test holds the two together to the last digits.

use super::market::Market;
use crate::portfolio::RuleConfig;
use crate::types::{Matrix, Panel};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Quantities below this are no order, as in [`crate::portfolio::delta`].
const NOTHING: f64 = 1e-9;

/// Daily returns of one book, from the session after the first decision.
pub struct Returns {
    pub net: Vec<f64>,
    /// Before costs.
    pub gross: Vec<f64>,
}

/// Prices by day, so that a session's names lie together.
pub struct Tape {
    /// `[day][symbol]`; not above 0 where there is none.
    open: Vec<Vec<f64>>,
    close: Vec<Vec<f64>>,
    /// The first day index after a listing's end, with the terminal value.
    ends: Vec<Option<(usize, Option<f64>)>>,
    /// The sessions after an end: only then must a book look for one.
    ended: BTreeSet<usize>,
}

impl Tape {
    pub fn of(panel: &Panel) -> Self {
        let by_day = |m: &Matrix| (0..m.cols()).map(|t| m.column(t)).collect();
        let end = |d: &Option<crate::types::Delisted>| d.map(|d| (panel.days.partition_point(|day| *day <= d.last), d.value));
        let ends: Vec<_> = panel.delisted.iter().map(end).collect();
        Self { open: by_day(&panel.open), close: by_day(&panel.close), ended: ends.iter().flatten().map(|e| e.0).collect(), ends }
    }
}

/// Whom the rule wants at one decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub longs: Vec<usize>,
    pub shorts: Vec<usize>,
    /// Share of equity on each side: less than 1 where short candidates are also long, 0 where all are.
    pub gross: f64,
}

/// The best and the worst names of a day; nobody when there are too few. `keys` is room to work in.
pub fn choose(market: &Market, day: usize, rule: &RuleConfig, score: impl Fn(usize) -> f64, keys: &mut Vec<(f64, usize)>) -> Wanted {
    keys.clear();
    for (s, usable) in market.usable[day].iter().enumerate() {
        let score = if *usable { score(s) } else { f64::NAN };
        if score.is_finite() {
            keys.push((score, s));
        }
    }
    best_and_worst(keys, rule.top_n, rule.bottom_n)
}

/// The product's order among equal scores: of them the names that stand first, on both sides; a name on both leaves the shorts, and the
/// longs shrink with them.
fn best_and_worst(keys: &mut [(f64, usize)], top: usize, bottom: usize) -> Wanted {
    if keys.len() < top + bottom {
        return Wanted::default();
    }
    let equal = |a: &(f64, usize), b: &(f64, usize)| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
    keys.select_nth_unstable_by(top - 1, |a, b| equal(b, a).then(a.1.cmp(&b.1)));
    let longs: Vec<usize> = keys[..top].iter().map(|k| k.1).collect();
    if bottom == 0 {
        return Wanted { longs, shorts: Vec::new(), gross: 1.0 };
    }
    keys.select_nth_unstable_by(bottom - 1, |a, b| equal(a, b).then(a.1.cmp(&b.1)));
    let shorts: Vec<usize> = keys[..bottom].iter().map(|k| k.1).filter(|s| !longs.contains(s)).collect();
    let gross = shorts.len() as f64 / bottom as f64;
    Wanted { longs, shorts, gross }
}

/// A book that decides on `market.searched.start` and every `rule.rebalance_sessions` after it (`wanted`, in that order).
pub fn trade(tape: &Tape, rule: &RuleConfig, days: std::ops::Range<usize>, wanted: &[Wanted]) -> Returns {
    let names = tape.ends.len();
    let rate = rule.cost_bps_round_trip / 2.0 / 1e4;
    let mut book = Book { cash: rule.capital_usd, costs: 0.0, rate, qty: vec![0.0; names], mark: vec![0.0; names], held: Vec::new() };
    let mut out = Returns { net: Vec::with_capacity(days.len()), gross: Vec::with_capacity(days.len()) };
    let mut orders = decide(&book, tape, wanted.first(), days.start);
    let mut equity = book.cash;
    for t in days.start + 1..days.end {
        let paid = book.costs;
        if !orders.is_empty() {
            book.open(&std::mem::take(&mut orders), &tape.open[t]);
        }
        if tape.ended.contains(&t) {
            book.finish(tape, t);
        }
        let after = book.close(&tape.close[t]);
        let net = after / equity - 1.0;
        out.net.push(net);
        out.gross.push(net + (book.costs - paid) / equity);
        equity = after;
        let since = t - days.start;
        if since.is_multiple_of(rule.rebalance_sessions) && t + 1 < days.end {
            orders = decide(&book, tape, wanted.get(since / rule.rebalance_sessions), t);
        }
    }
    out
}

struct Book {
    cash: f64,
    costs: f64,
    /// One-way cost as a fraction of notional.
    rate: f64,
    qty: Vec<f64>,
    mark: Vec<f64>,
    /// Names with a position, ascending.
    held: Vec<usize>,
}

impl Book {
    /// Fill what has an open price.
    fn open(&mut self, orders: &[(usize, f64)], prices: &[f64]) {
        for (s, signed) in orders {
            if prices[*s] > 0.0 {
                self.fill(*s, *signed, prices[*s]);
                self.held.push(*s);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.held.sort_unstable();
        self.held.dedup();
        self.held.retain(|s| self.qty[*s] != 0.0);
    }

    fn fill(&mut self, s: usize, signed: f64, price: f64) {
        let cost = self.rate * signed.abs() * price;
        self.cash -= signed * price + cost;
        self.costs += cost;
        if self.qty[s] == 0.0 {
            self.mark[s] = price;
        }
        self.qty[s] += signed;
        if self.qty[s].abs() < NOTHING {
            self.qty[s] = 0.0;
        }
    }

    /// Ends of listings before `t`: the terminal value without a fee, or a sale at the last price.
    fn finish(&mut self, tape: &Tape, t: usize) {
        for s in self.held.clone() {
            match tape.ends[s].filter(|(end, _)| *end <= t) {
                Some((_, Some(value))) => {
                    self.cash += self.qty[s] * value;
                    self.qty[s] = 0.0;
                }
                Some((_, None)) => self.fill(s, -self.qty[s], self.mark[s]),
                None => {}
            }
        }
        self.settle();
    }

    /// Mark to the closes there are; the equity.
    fn close(&mut self, prices: &[f64]) -> f64 {
        let mut equity = self.cash;
        for s in &self.held {
            if prices[*s] > 0.0 {
                self.mark[*s] = prices[*s];
            }
            equity += self.qty[*s] * self.mark[*s];
        }
        equity
    }
}

/// Signed quantities that lead to equal weights, at the closes of `t`. A day with too few names keeps the book.
fn decide(book: &Book, tape: &Tape, wanted: Option<&Wanted>, t: usize) -> Vec<(usize, f64)> {
    let Some(wanted) = wanted.filter(|w| !w.longs.is_empty()) else { return Vec::new() };
    let equity = book.cash + book.held.iter().map(|s| book.qty[*s] * book.mark[*s]).sum::<f64>();
    let mut target = vec![0.0; book.qty.len()];
    for (names, sign) in [(&wanted.longs, 1.0), (&wanted.shorts, -1.0)] {
        let each = sign * equity * wanted.gross / names.len().max(1) as f64;
        names.iter().for_each(|s| target[*s] = each / tape.close[t][*s]);
    }
    let mut orders = Vec::with_capacity(book.held.len() + wanted.longs.len());
    for s in 0..target.len() {
        let signed = target[s] - book.qty[s];
        if signed.abs() >= NOTHING {
            orders.push((s, signed));
        }
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest;
    use crate::execution::cost::CostModel;
    use crate::features::fixture::unit;

    #[test]
    fn ties_are_broken_as_the_products_rule_breaks_them() {
        for scores in [&[1.0, 0.0, 0.0][..], &[1.0, 0.0, 0.0, 0.0], &[0.5; 6], &[-0.0, 0.0, 1.0, 0.0, -1.0, -1.0]] {
            for (top, bottom) in [(1, 1), (2, 1), (1, 2), (2, 2), (1, 0)] {
                let mut keys: Vec<(f64, usize)> = scores.iter().copied().zip(0..).collect();
                let by_name: Vec<(usize, f64)> = scores.iter().copied().enumerate().collect();
                let Ok(theirs) = crate::portfolio::targets(&by_name, &RuleConfig { top_n: top, bottom_n: bottom, ..RuleConfig::default() }) else { continue };
                let ours = best_and_worst(&mut keys, top, bottom);
                let mut weights = std::collections::BTreeMap::new();
                weights.extend(ours.longs.iter().map(|s| (*s, ours.gross / top as f64)));
                weights.extend(ours.shorts.iter().map(|s| (*s, -ours.gross / ours.shorts.len() as f64)));
                weights.retain(|_, w| *w != 0.0);
                assert_eq!(weights, theirs.weights, "{scores:?}, {top} of {bottom}");
            }
        }
    }

    #[test]
    fn the_dense_book_earns_what_the_backtest_earns_through_every_event() {
        let market = Market::of_world("planted", 7, 1_257).unwrap();
        let days = 150..market.panel.n_days();
        let rule = RuleConfig { top_n: 20, bottom_n: 20, fractional: true, ..RuleConfig::default() };
        let tape = Tape::of(&market.panel);
        let mut scores = Matrix::missing(market.panel.n_symbols(), market.panel.n_days());
        for t in days.clone() {
            // A handful of values, as shallow trees give them: names tie on every day, and on some all do.
            let step = if t % 35 == 0 { f64::INFINITY } else { 8.0 };
            let score = |s: usize| if step.is_finite() { (unit(3, s, t, 1) * step).floor() } else { 0.0 };
            (0..scores.rows()).filter(|s| market.usable[t][*s]).for_each(|s| scores.set(s, t, score(s)));
        }
        let mut keys = Vec::new();
        let decisions = days.clone().step_by(rule.rebalance_sessions);
        let wanted: Vec<Wanted> = decisions.map(|t| choose(&market, t, &rule, |s| scores.at(s, t), &mut keys)).collect();
        let fast = trade(&tape, &rule, days.clone(), &wanted);
        let slow = backtest::run(&market.panel, &scores, &rule, &CostModel::flat(rule.cost_bps_round_trip), days).unwrap();
        assert_eq!(fast.net.len(), slow.net.len());
        for (i, day) in slow.days.iter().enumerate() {
            assert!((fast.net[i] - slow.net[i]).abs() < 1e-10 && (fast.gross[i] - slow.gross[i]).abs() < 1e-10, "{day}: {} {}", fast.net[i], slow.net[i]);
        }
        assert!(slow.notes.iter().any(|n| n.what.starts_with("delisted")) && slow.notes.iter().any(|n| n.what.starts_with("order dropped")));
    }
}
