//! Scores to weights in one fixed order: z-score, divide by volatility, volatility target, Kelly fraction, name cap, gross
//! cap, turnover.
//!
//! The order matters: caps come after everything that enlarges, turnover last because it is about the path. A turnover
//! limit can keep a position above its cap for a day; `exempt_reductions` lets moves towards zero through it, as a
//! book with money in it should.

use crate::portfolio::linear::volatility;
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// A z-score beyond this says more about the outlier than about the name.
const MAX_Z: f64 = 3.0;

/// What bounds a book. Fractions of equity; `target_vol` per year; `max_turnover` is the sum of absolute changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    pub name_cap: f64,
    pub gross_cap: f64,
    pub target_vol: f64,
    pub kelly_fraction: f64,
    pub max_turnover: f64,
    /// Moves towards zero do not count against the turnover and are never held back by it.
    #[serde(default)]
    pub exempt_reductions: bool,
}

/// Every stage on the way, so that a reader sees which one shaped a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    pub z: Vec<f64>,
    pub risk_scaled: Vec<f64>,
    pub vol_targeted: Vec<f64>,
    pub after_kelly_fraction: Vec<f64>,
    pub after_name_cap: Vec<f64>,
    pub after_gross_cap: Vec<f64>,
    #[serde(rename = "final")]
    pub weights: Vec<f64>,
    pub gross: f64,
    pub net: f64,
    pub turnover: f64,
    pub exante_vol: f64,
    pub name_cap_ok: bool,
    pub gross_cap_ok: bool,
}

/// Weights from scores. All slices have one entry a name; `vols` and `cov` are annual; `prev` is what is held.
pub fn weights(scores: &[f64], vols: &[f64], cov: &Matrix, prev: &[f64], bounds: &Bounds) -> Result<Stages> {
    let n = scores.len();
    if vols.len() != n || prev.len() != n || cov.rows() != n || cov.cols() != n {
        return Err(Error::bug("scores, volatilities, covariance and weights are of different lengths"));
    }
    let numbers = scores.iter().chain(vols).chain(prev).chain(cov.values());
    let positive = [bounds.name_cap, bounds.gross_cap, bounds.target_vol, bounds.kelly_fraction].iter().all(|b| b.is_finite() && *b > 0.0);
    if !(positive && bounds.max_turnover >= 0.0) || numbers.into_iter().any(|v| !v.is_finite()) {
        return Err(Error::new(code::CFG_VALUE, "weights cannot be built from these scores and bounds").found(format!("{bounds:?}")));
    }
    let z = standardised(scores);
    let risk_scaled: Vec<f64> = z.iter().zip(vols).map(|(z, vol)| if *vol > 0.0 { z / vol } else { 0.0 }).collect();
    let vol = volatility(&risk_scaled, cov);
    let scale = if vol > 0.0 { bounds.target_vol / vol } else { 0.0 };
    let vol_targeted: Vec<f64> = risk_scaled.iter().map(|w| w * scale).collect();
    let after_kelly_fraction: Vec<f64> = vol_targeted.iter().map(|w| w * bounds.kelly_fraction).collect();
    let after_name_cap: Vec<f64> = after_kelly_fraction.iter().map(|w| w.clamp(-bounds.name_cap, bounds.name_cap)).collect();
    let gross: f64 = after_name_cap.iter().map(|w| w.abs()).sum();
    let shrink = if gross > bounds.gross_cap { bounds.gross_cap / gross } else { 1.0 };
    let after_gross_cap: Vec<f64> = after_name_cap.iter().map(|w| w * shrink).collect();
    let weights = towards(prev, &after_gross_cap, bounds.max_turnover, bounds.exempt_reductions);
    let gross: f64 = weights.iter().map(|w| w.abs()).sum();
    Ok(Stages {
        gross,
        net: weights.iter().sum(),
        turnover: weights.iter().zip(prev).map(|(w, p)| (w - p).abs()).sum(),
        exante_vol: volatility(&weights, cov),
        name_cap_ok: weights.iter().all(|w| w.abs() <= bounds.name_cap + 1e-12),
        gross_cap_ok: gross <= bounds.gross_cap + 1e-12,
        z,
        risk_scaled,
        vol_targeted,
        after_kelly_fraction,
        after_name_cap,
        after_gross_cap,
        weights,
    })
}

/// Cross-sectional z-scores (ddof 1), clipped. Equal scores say nothing; a single score says its sign.
fn standardised(scores: &[f64]) -> Vec<f64> {
    if let [one] = scores {
        return vec![if *one == 0.0 { 0.0 } else { one.signum() }];
    }
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let sd = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    if scores.iter().all(|s| *s == scores[0]) || !(sd > 0.0) {
        return vec![0.0; scores.len()];
    }
    scores.iter().map(|s| ((s - mean) / sd).clamp(-MAX_Z, MAX_Z)).collect()
}

/// Move from `prev` towards `target` as far as the turnover allows, every name by the same share of its way.
pub fn towards(prev: &[f64], target: &[f64], max_turnover: f64, exempt_reductions: bool) -> Vec<f64> {
    // The part of a move that shrinks the position: up to the target, and at most down to zero.
    let reduced = |p: f64, t: f64| if p * t <= 0.0 { 0.0 } else { p.abs().min(t.abs()).copysign(p) };
    let start: Vec<f64> = prev.iter().zip(target).map(|(p, t)| if exempt_reductions { reduced(*p, *t) } else { *p }).collect();
    let wanted: f64 = start.iter().zip(target).map(|(s, t)| (t - s).abs()).sum();
    let factor = if wanted > max_turnover { max_turnover / wanted } else { 1.0 };
    start.iter().zip(target).map(|(s, t)| s + factor * (t - s)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portfolio::linear::equal_correlation;
    use proptest::prelude::*;

    #[test]
    fn a_reduction_is_never_held_back_when_it_is_exempt() {
        assert_eq!(towards(&[0.10, 0.0], &[0.05, 0.05], 0.0, true), [0.05, 0.0]);
        assert_eq!(towards(&[0.10, -0.05], &[-0.05, 0.0], 0.01, true), [-0.01, 0.0]);
        assert_eq!(towards(&[0.10], &[0.05], 0.03, false), [0.07]);
        assert_eq!(towards(&[0.10], &[0.05], 1.0, false), [0.05]);
    }

    #[test]
    fn bounds_that_switch_something_off_and_missing_numbers_refuse() {
        let bounds = Bounds { name_cap: 0.05, gross_cap: 1.0, target_vol: 0.1, kelly_fraction: 0.3, max_turnover: 0.1, exempt_reductions: true };
        let cov = equal_correlation(&[0.2, 0.3], 0.1);
        assert!(weights(&[1.0, 2.0], &[0.2, 0.3], &cov, &[0.0, 0.0], &bounds).is_ok());
        assert!(weights(&[1.0, f64::NAN], &[0.2, 0.3], &cov, &[0.0, 0.0], &bounds).is_err());
        assert!(weights(&[1.0, 2.0], &[0.2, 0.3], &cov, &[0.0, 0.0], &Bounds { name_cap: 0.0, ..bounds }).unwrap_err().is(code::CFG_VALUE));
        assert!(weights(&[1.0], &[0.2, 0.3], &cov, &[0.0, 0.0], &bounds).is_err());
    }

    proptest! {
        #[test]
        fn caps_hold_when_reductions_are_exempt(scores in prop::collection::vec(-3.0f64..3.0, 6), prev in prop::collection::vec(-0.2f64..0.2, 6), turnover in 0.0f64..0.5) {
            let vols = [0.2, 0.3, 0.25, 0.4, 0.15, 0.5];
            let bounds = Bounds { name_cap: 0.05, gross_cap: 0.2, target_vol: 0.12, kelly_fraction: 0.4, max_turnover: turnover, exempt_reductions: true };
            let out = weights(&scores, &vols, &equal_correlation(&vols, 0.3), &prev, &bounds).unwrap();
            prop_assert!(out.name_cap_ok && out.gross_cap_ok, "{:?}", out);
        }
    }
}
