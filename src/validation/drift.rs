//! How far a sample has moved from the one a model was trained on: population stability index and Kullback–Leibler
//! divergence.
//!
//! Bins are cut at the deciles of the reference; the outer ones are open, so that a live value outside the training range
//! is counted and not lost; missing values have a bin of their own. Shares are of all rows and at least the floor; a bin
//! that is empty in both samples says nothing.

use super::calibration::percentile_of_sorted;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// Number of quantile bins.
pub const BINS: usize = 10;
/// Smallest share of a bin.
pub const FLOOR: f64 = 1e-4;
/// Above this a sample has moved a little, above the second a lot.
pub const ALERT: f64 = 0.1;
pub const ALARM: f64 = 0.2;

/// The comparison of two samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Right-closed cuts between the bins, ascending and distinct.
    pub inner_edges: Vec<f64>,
    /// Rows per bin; the last bin holds the missing values.
    pub reference_counts: Vec<usize>,
    pub current_counts: Vec<usize>,
    /// Population stability index: the sum of both divergences.
    pub psi: f64,
    /// Of the current sample from the reference, in nats.
    pub kl: f64,
    /// Of the reference from the current sample.
    pub kl_reverse: f64,
    /// `kl` after the floored shares were scaled to add up to 1.
    pub kl_renormalised: f64,
}

/// Compare with deciles and the usual floor.
pub fn compare(reference: &[f64], current: &[f64]) -> Result<Drift> {
    compare_with(reference, current, BINS, FLOOR)
}

/// Compare `current` with `reference`; `NaN` is missing, infinities fall into the open bins. Undefined when either is
/// empty, or the reference has no value at all.
pub fn compare_with(reference: &[f64], current: &[f64], bins: usize, floor: f64) -> Result<Drift> {
    let undefined = |cause: &str| Err(Error::new(code::ML_UNDEFINED, "drift is undefined").cause(cause));
    if bins < 2 || !(floor > 0.0 && floor < 1.0) {
        return Err(Error::new(code::CFG_VALUE, "drift needs at least two bins and a floor between 0 and 1").found(text!("{bins} bins, floor {floor}")));
    }
    let mut sorted: Vec<f64> = reference.iter().copied().filter(|v| !v.is_nan()).collect();
    if sorted.is_empty() {
        return undefined("the reference has no values");
    }
    if current.is_empty() {
        return undefined("there is nothing to compare with the reference");
    }
    sorted.sort_by(f64::total_cmp);
    let mut inner_edges: Vec<f64> = (1..bins).map(|i| percentile_of_sorted(&sorted, 100.0 * i as f64 / bins as f64)).collect();
    inner_edges.dedup();
    let (a, b) = (counts(reference, &inner_edges), counts(current, &inner_edges));
    let used: Vec<usize> = (0..a.len()).filter(|i| a[*i] + b[*i] > 0).collect();
    let share = |counts: &[usize], rows: usize| used.iter().map(|i| (counts[*i] as f64 / rows as f64).max(floor)).collect::<Vec<f64>>();
    let (p, q) = (share(&a, reference.len()), share(&b, current.len()));
    let divergence = |of: &[f64], from: &[f64]| of.iter().zip(from).map(|(x, y)| x * (x / y).ln()).sum::<f64>();
    let scaled = |s: &[f64]| {
        let total: f64 = s.iter().sum();
        s.iter().map(|v| v / total).collect::<Vec<f64>>()
    };
    Ok(Drift {
        psi: p.iter().zip(&q).map(|(r, c)| (c - r) * (c / r).ln()).sum(),
        kl: divergence(&q, &p),
        kl_reverse: divergence(&p, &q),
        kl_renormalised: divergence(&scaled(&q), &scaled(&p)),
        inner_edges,
        reference_counts: a,
        current_counts: b,
    })
}

/// Rows per right-closed bin; the last entry counts the missing ones.
fn counts(values: &[f64], edges: &[f64]) -> Vec<usize> {
    let mut out = vec![0; edges.len() + 2];
    for v in values {
        let bin = if v.is_nan() { edges.len() + 1 } else { edges.partition_point(|e| e < v) };
        out[bin] += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;
    use proptest::prelude::*;

    #[test]
    fn values_outside_the_training_range_are_not_lost() {
        let far: Vec<f64> = noise(2, 50).iter().map(|v| v + 100.0).collect();
        let d = compare(&noise(1, 200), &far).unwrap();
        assert!(d.psi > 5.0 && d.current_counts[9] == 50);
        assert!(compare(&[], &[1.0]).unwrap_err().is(code::ML_UNDEFINED));
        assert!(compare(&[f64::NAN], &[1.0]).is_err() && compare(&[1.0], &[]).is_err());
    }

    proptest! {
        #[test]
        fn psi_is_never_negative_and_zero_for_the_same_sample(seed in 0_u64..500, n in 1_usize..80, shift in -2.0_f64..2.0) {
            let a = noise(seed, n);
            let b: Vec<f64> = noise(seed + 1, 2 * n).iter().map(|v| v + shift).collect();
            prop_assert_eq!(compare(&a, &a).unwrap().psi, 0.0);
            let d = compare(&a, &b).unwrap();
            prop_assert!(d.psi >= 0.0 && (d.psi - d.kl - d.kl_reverse).abs() < 1e-9);
        }
    }
}
