//! Caps on a book of weights, applied in an order in which no later one can break an earlier one.
//!
//! Every step only shrinks weights towards zero, so after the last all caps hold at once: there is no renormalisation at
//! the end that could undo them. Order: name, long side, short side, gross, net.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Fractions of equity. A cap of 0 or below, or one that is not a number, is a configuration error, never "off".
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub max_weight_per_name: f64,
    pub max_long: f64,
    pub max_short: f64,
    pub max_gross: f64,
    pub max_net: f64,
}

impl Default for Limits {
    /// For an account of 100,000: 5 % a name, gross 100 %, long 80 %, short 20 %, net 100 %.
    fn default() -> Self {
        Self { max_weight_per_name: 0.05, max_long: 0.80, max_short: 0.20, max_gross: 1.0, max_net: 1.0 }
    }
}

impl Limits {
    pub fn validate(&self) -> Result<()> {
        let named = [
            ("max_weight_per_name", self.max_weight_per_name),
            ("max_long", self.max_long),
            ("max_short", self.max_short),
            ("max_gross", self.max_gross),
            ("max_net", self.max_net),
        ];
        for (name, value) in named {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::new(code::CFG_VALUE, text!("limits.{name} must be a positive number"))
                    .cause("a limit cannot be switched off with 0")
                    .found(value.to_string()));
            }
        }
        Ok(())
    }
}

/// What an account allows of any book.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    pub caps: Limits,
    /// Most shares of one name.
    pub shares_per_name: f64,
}

/// One cap that changed something.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Binding<K = usize> {
    pub limit: String,
    /// The capped name, or none for a cap on the whole book.
    pub symbol: Option<K>,
    pub cap: f64,
    /// The bounded quantity before the cap (a weight, or a sum of weights).
    pub before: f64,
}

/// Weights under the caps, and what bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Limited<K = usize> {
    pub weights: BTreeMap<K, f64>,
    pub bindings: Vec<Binding<K>>,
}

/// Apply all caps to `weights` (fractions of equity).
pub fn apply<K: Ord + Clone + std::fmt::Display>(weights: &BTreeMap<K, f64>, limits: &Limits) -> Result<Limited<K>> {
    limits.validate()?;
    if let Some((symbol, w)) = weights.iter().find(|(_, w)| !w.is_finite()) {
        return Err(Error::bug(text!("the weight of symbol {symbol} is {w}")));
    }
    let mut out = Limited { weights: weights.clone(), bindings: Vec::new() };
    for (symbol, w) in &mut out.weights {
        if w.abs() > limits.max_weight_per_name {
            out.bindings.push(Binding { limit: "max_weight_per_name".into(), symbol: Some(symbol.clone()), cap: limits.max_weight_per_name, before: w.abs() });
            *w = limits.max_weight_per_name.copysign(*w);
        }
    }
    shrink(&mut out, "max_long", limits.max_long, |w| w > 0.0);
    shrink(&mut out, "max_short", limits.max_short, |w| w < 0.0);
    shrink(&mut out, "max_gross", limits.max_gross, |_| true);
    net(&mut out, limits.max_net);
    Ok(out)
}

/// Scale the weights that `side` picks so that their absolute sum meets `cap`.
fn shrink<K>(out: &mut Limited<K>, name: &str, cap: f64, side: impl Fn(f64) -> bool) {
    let sum: f64 = out.weights.values().filter(|w| side(**w)).map(|w| w.abs()).sum();
    // A sum that exceeds the cap by rounding alone is at the cap: applying twice must change nothing.
    if sum <= cap * (1.0 + 1e-12) {
        return;
    }
    out.bindings.push(Binding { limit: name.into(), symbol: None, cap, before: sum });
    out.weights.values_mut().filter(|w| side(**w)).for_each(|w| *w *= cap / sum);
}

/// Shrink the larger side until the net exposure is within the cap.
fn net<K>(out: &mut Limited<K>, cap: f64) {
    let long: f64 = out.weights.values().filter(|w| **w > 0.0).sum();
    let short: f64 = -out.weights.values().filter(|w| **w < 0.0).sum::<f64>();
    let net = long - short;
    if net.abs() <= cap * (1.0 + 1e-12) {
        return;
    }
    out.bindings.push(Binding { limit: "max_net".into(), symbol: None, cap, before: net });
    let (larger, smaller) = (long.max(short), long.min(short));
    let scale = (smaller + cap) / larger;
    out.weights.values_mut().filter(|w| (**w > 0.0) == (net > 0.0)).for_each(|w| *w *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn book(weights: &[f64]) -> BTreeMap<usize, f64> {
        weights.iter().copied().enumerate().collect()
    }

    #[test]
    fn three_names_a_side_are_cut_to_five_percent_each_and_it_says_so() {
        let third = 1.0 / 3.0;
        let l = apply(&book(&[third, third, third, -third, -third, -third]), &Limits::default()).unwrap();
        assert!(l.weights.values().all(|w| w.abs() == 0.05));
        assert_eq!(l.bindings.len(), 6);
        assert_eq!(l.bindings[0].limit, "max_weight_per_name");
    }

    #[test]
    fn each_cap_binds_by_name() {
        let wide = Limits { max_weight_per_name: 9.0, max_long: 9.0, max_short: 9.0, max_gross: 9.0, max_net: 9.0 };
        let names = |l: Limits| apply(&book(&[0.6, 0.4, -0.5]), &l).unwrap().bindings.into_iter().map(|b| b.limit).collect::<Vec<_>>();
        assert!(names(wide).is_empty());
        assert_eq!(names(Limits { max_weight_per_name: 0.55, ..wide }), ["max_weight_per_name"]);
        assert_eq!(names(Limits { max_long: 0.8, ..wide }), ["max_long"]);
        assert_eq!(names(Limits { max_short: 0.2, ..wide }), ["max_short"]);
        assert_eq!(names(Limits { max_gross: 1.0, ..wide }), ["max_gross"]);
        assert_eq!(names(Limits { max_net: 0.3, ..wide }), ["max_net"]);
    }

    #[test]
    fn a_limit_of_zero_is_an_error() {
        let err = apply(&book(&[0.1]), &Limits { max_short: 0.0, ..Limits::default() }).unwrap_err();
        assert!(err.is(code::CFG_VALUE));
        assert!(apply(&book(&[0.1]), &Limits { max_net: f64::NAN, ..Limits::default() }).is_err());
    }

    proptest! {
        #[test]
        fn lesson_086_all_caps_hold_together_and_a_second_pass_changes_nothing(
            w in proptest::collection::vec(-1.0f64..1.0, 1..30), name in 0.01f64..0.5, long in 0.05f64..1.5, short in 0.05f64..1.0, gross in 0.1f64..2.0, net in 0.01f64..1.0
        ) {
            let l = Limits { max_weight_per_name: name, max_long: long, max_short: short, max_gross: gross, max_net: net };
            let once = apply(&book(&w), &l).unwrap().weights;
            let side = |s: f64| once.values().map(|w| (w * s).max(0.0)).sum::<f64>();
            prop_assert!(once.values().all(|w| w.abs() <= name + 1e-9));
            prop_assert!(side(1.0) <= long + 1e-9 && side(-1.0) <= short + 1e-9);
            prop_assert!(side(1.0) + side(-1.0) <= gross + 1e-9 && (side(1.0) - side(-1.0)).abs() <= net + 1e-9);
            let twice = apply(&once, &l).unwrap().weights;
            prop_assert!(once.iter().all(|(k, v)| (twice[k] - v).abs() <= 1e-9));
        }
    }
}
