//! Equal weights for the best and the worst names of a cross-section.

use crate::portfolio::construct::Construction;
use crate::portfolio::limits::Limits;
use crate::portfolio::schedule::Schedule;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// How a cross-section of scores becomes weights.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `top_n` long at equal weight, `bottom_n` short at equal weight, net 0 (long only, sum +1, when `bottom_n` is 0).
    #[default]
    TopBottom,
    /// The best `top_n` names, or the best `quantile` of the scored universe, long at equal weight, sum +1.
    LongOnlyTop,
}

/// The `portfolio:` section of a training configuration.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RuleConfig {
    pub rule: Rule,
    pub top_n: usize,
    /// Ignored by `long_only_top`.
    pub bottom_n: usize,
    /// `long_only_top` only: share of the scored universe that is bought, in (0, 1]; replaces `top_n`.
    pub quantile: Option<f64>,
    /// Sessions from one rebalance to the next.
    pub rebalance_sessions: usize,
    /// Round trip: half of it is paid on each side.
    pub cost_bps_round_trip: f64,
    /// Whole shares unless true.
    pub fractional: bool,
    /// Equity at the start of a simulation, in account currency.
    pub capital_usd: f64,
    /// Caps applied to the raw weights; none = the raw sleeve.
    pub limits: Option<Limits>,
    /// What else bounds the book; none = nothing does. Absent from the text when there is none, so that configurations written before it
    /// keep their digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub construction: Option<Construction>,
    /// How orders travel; none = whole, for the next open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
}

impl Default for RuleConfig {
    fn default() -> Self {
        Self {
            rule: Rule::TopBottom,
            top_n: 3,
            bottom_n: 3,
            quantile: None,
            rebalance_sessions: 5,
            cost_bps_round_trip: 12.0,
            fractional: false,
            capital_usd: 100_000.0,
            limits: None,
            construction: None,
            schedule: None,
        }
    }
}

impl RuleConfig {
    /// The best `n` names, long only: the rule of the momentum baseline.
    pub fn long_only(n: usize) -> Self {
        Self { rule: Rule::LongOnlyTop, top_n: n, bottom_n: 0, ..Self::default() }
    }
    /// Refuse a configuration that cannot mean anything; nothing is switched off by a zero.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: &str, found: String| Err(Error::new(code::CFG_VALUE, format!("portfolio.{what}")).found(found));
        if self.quantile.is_none() && self.top_n == 0 {
            return bad("top_n must be at least 1", "0".into());
        }
        if let Some(q) = self.quantile {
            if self.rule != Rule::LongOnlyTop {
                return bad("quantile is for rule long_only_top", format!("{q}"));
            }
            if !(q > 0.0 && q <= 1.0) {
                return bad("quantile must be in (0, 1]", format!("{q}"));
            }
        }
        if self.rebalance_sessions == 0 {
            return bad("rebalance_sessions must be at least 1", "0".into());
        }
        if !(self.cost_bps_round_trip.is_finite() && self.cost_bps_round_trip >= 0.0) {
            return bad("cost_bps_round_trip must be a number of at least 0", format!("{}", self.cost_bps_round_trip));
        }
        if !(self.capital_usd.is_finite() && self.capital_usd > 0.0) {
            return bad("capital_usd must be positive", format!("{}", self.capital_usd));
        }
        self.limits.as_ref().map_or(Ok(()), Limits::validate)?;
        self.schedule.as_ref().map_or(Ok(()), Schedule::validate)?;
        self.construction.as_ref().map_or(Ok(()), Construction::validate)
    }
}

/// A symbol that got no weight because it had no usable score.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    pub symbol: usize,
    pub reason: String,
}

/// Raw sleeve weights as fractions of equity; symbols absent from `weights` have weight 0.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct Targets {
    pub weights: BTreeMap<usize, f64>,
    pub n_scored: usize,
    pub excluded: Vec<Excluded>,
    pub notes: Vec<String>,
}

/// Weights from `(symbol index, score)` pairs, whatever their order.
///
/// Ties go to the smaller symbol index on both sides, so equal scores can put one symbol on both: it then leaves the
/// shorts. A short never exceeds `1 / bottom_n`, so the short side shrinks, and the long side is scaled to the same gross.
/// Refuses when fewer than `top_n + bottom_n` symbols have a score.
pub fn targets(scores: &[(usize, f64)], rule: &RuleConfig) -> Result<Targets> {
    rule.validate()?;
    let mut out = Targets::default();
    let mut scored = Vec::with_capacity(scores.len());
    once_each(scores)?;
    for &(symbol, score) in scores {
        if score.is_finite() {
            scored.push((symbol, score));
        } else {
            out.excluded.push(Excluded { symbol, reason: "no score".into() });
        }
    }
    out.excluded.sort_by_key(|e| e.symbol);
    out.n_scored = scored.len();
    let (top_n, bottom_n) = sides(rule, scored.len());
    if top_n + bottom_n > scored.len() || top_n == 0 {
        return Err(Error::new(code::ML_UNDEFINED, "there are too few scores to build the portfolio")
            .cause(text!("the rule needs {top_n} long and {bottom_n} short names"))
            .found(text!("{} symbols with a score, {} without", scored.len(), out.excluded.len()))
            .fix("lower portfolio.top_n and portfolio.bottom_n, or widen the universe"));
    }
    let longs: BTreeSet<usize> = first(&mut scored, top_n, |a, b| b.partial_cmp(a)).collect();
    let shorts: Vec<usize> = first(&mut scored, bottom_n, |a, b| a.partial_cmp(b)).filter(|s| !longs.contains(s)).collect();
    assign(&mut out, &longs, &shorts, bottom_n);
    Ok(out)
}

/// Refuse a symbol with two scores.
fn once_each(scores: &[(usize, f64)]) -> Result<()> {
    if scores.is_sorted_by(|a, b| a.0 < b.0) {
        return Ok(());
    }
    let mut symbols: Vec<usize> = scores.iter().map(|s| s.0).collect();
    symbols.sort_unstable();
    let twice = symbols.windows(2).find(|pair| pair[0] == pair[1]);
    twice.map_or(Ok(()), |pair| {
        let symbol = pair[0];
        Err(Error::bug(text!("symbol {symbol} was scored twice")))
    })
}

/// The `n` symbols whose scores come first, in no order: who is chosen matters, not in which place. Equal scores by symbol.
fn first(scored: &mut [(usize, f64)], n: usize, by: impl Fn(&f64, &f64) -> Option<Ordering>) -> impl Iterator<Item = usize> {
    if (1..scored.len()).contains(&n) {
        scored.select_nth_unstable_by(n - 1, |a, b| by(&a.1, &b.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0)));
    }
    scored[..n].iter().map(|s| s.0)
}

/// How many names the rule wants on each side of a universe of `n` scores.
fn sides(rule: &RuleConfig, n: usize) -> (usize, usize) {
    match (rule.rule, rule.quantile) {
        (Rule::TopBottom, _) => (rule.top_n, rule.bottom_n),
        (Rule::LongOnlyTop, None) => (rule.top_n, 0),
        // The floor keeps the book inside the quantile; one name is the least that is a portfolio.
        (Rule::LongOnlyTop, Some(q)) => (((q * n as f64) as usize).max(1).min(n), 0),
    }
}

fn assign(out: &mut Targets, longs: &BTreeSet<usize>, shorts: &[usize], bottom_n: usize) {
    let mut gross_long = 1.0;
    if bottom_n > 0 {
        if shorts.is_empty() {
            out.notes.push("every short candidate is also a long one (equal scores): all weights are 0".into());
            return;
        }
        let each = 1.0 / bottom_n as f64;
        if shorts.len() < bottom_n {
            gross_long = each * shorts.len() as f64;
            out.notes.push(text!("{} of {bottom_n} short names are also long: both sides shrink to {gross_long:.4} of equity", bottom_n - shorts.len()));
        }
        out.weights.extend(shorts.iter().map(|s| (*s, -each)));
    }
    let each = gross_long / longs.len() as f64;
    out.weights.extend(longs.iter().map(|s| (*s, each)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(top_n: usize, bottom_n: usize) -> RuleConfig {
        RuleConfig { top_n, bottom_n, ..RuleConfig::default() }
    }

    #[test]
    fn three_up_three_down() {
        let scores: Vec<_> = (0..8).map(|i| (i, i as f64)).collect();
        let t = targets(&scores, &rule(3, 3)).unwrap();
        assert_eq!(t.weights.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 5, 6, 7]);
        assert_eq!(t.weights[&7], 1.0 / 3.0);
        assert_eq!(t.weights[&0], -1.0 / 3.0);
    }

    #[test]
    fn a_symbol_on_both_sides_leaves_the_shorts_and_the_longs_shrink_with_them() {
        // Scores 1, 0, 0, 0: the longs are 0 and 1 (tie by index), the shorts 1 and 2, so 1 leaves the shorts.
        let t = targets(&[(0, 1.0), (1, 0.0), (2, 0.0), (3, 0.0)], &rule(2, 2)).unwrap();
        assert_eq!(t.weights, BTreeMap::from([(0, 0.25), (1, 0.25), (2, -0.5)]));
        assert_eq!(t.notes.len(), 1);
    }

    #[test]
    fn equal_scores_are_no_portfolio() {
        let t = targets(&(0..9).map(|i| (i, 0.5)).collect::<Vec<_>>(), &rule(3, 3)).unwrap();
        assert!(t.weights.is_empty() && t.notes.len() == 1);
    }

    #[test]
    fn missing_scores_are_listed_and_too_few_refuse() {
        let t = targets(&[(4, f64::NAN), (1, 2.0), (2, 1.0), (3, f64::INFINITY)], &rule(1, 1)).unwrap();
        assert_eq!(t.excluded.iter().map(|e| e.symbol).collect::<Vec<_>>(), [3, 4]);
        let err = targets(&[(1, 2.0), (2, f64::NAN)], &rule(1, 1)).unwrap_err();
        assert!(err.is(code::ML_UNDEFINED));
    }

    #[test]
    fn lesson_072_one_symbol_gets_the_weight_it_has_among_all() {
        let scores: Vec<_> = (0..20).map(|i| (i, ((i * 7) % 20) as f64)).collect();
        let mut turned = scores.clone();
        turned.reverse();
        assert_eq!(targets(&scores, &rule(3, 3)).unwrap().weights, targets(&turned, &rule(3, 3)).unwrap().weights);
    }

    #[test]
    fn long_only_by_number_and_by_quantile() {
        let scores: Vec<_> = (0..25).map(|i| (i, i as f64)).collect();
        assert_eq!(targets(&scores, &RuleConfig::long_only(5)).unwrap().weights.len(), 5);
        let t = targets(&scores, &RuleConfig { quantile: Some(0.1), ..RuleConfig::long_only(1) }).unwrap();
        assert_eq!(t.weights, BTreeMap::from([(23, 0.5), (24, 0.5)]));
    }

    #[test]
    fn a_zero_is_a_config_error_and_never_off() {
        assert!(rule(0, 3).validate().unwrap_err().is(code::CFG_VALUE));
        assert!(RuleConfig { rebalance_sessions: 0, ..rule(3, 3) }.validate().is_err());
        assert!(RuleConfig { cost_bps_round_trip: f64::NAN, ..rule(3, 3) }.validate().is_err());
        assert!(RuleConfig { capital_usd: 0.0, ..rule(3, 3) }.validate().is_err());
    }

    proptest! {
        #[test]
        fn long_equals_short_and_no_weight_exceeds_one(raw in proptest::collection::vec(-4i32..4, 6..40), top in 1usize..4, bottom in 0usize..4) {
            let scores: Vec<_> = raw.iter().enumerate().map(|(i, s)| (i, f64::from(*s))).collect();
            let t = targets(&scores, &rule(top, bottom)).unwrap();
            let long: f64 = t.weights.values().filter(|w| **w > 0.0).sum();
            let short: f64 = t.weights.values().filter(|w| **w < 0.0).sum();
            if bottom == 0 { prop_assert!((long - 1.0).abs() < 1e-12); } else { prop_assert!((long + short).abs() < 1e-12); }
            prop_assert!(t.weights.values().all(|w| w.abs() <= 1.0 + 1e-12));
        }
    }
}
