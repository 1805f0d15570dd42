//! How well probabilities match frequencies: Brier score, log loss, reliability bins, expected calibration error.
//!
//! Definitions follow scikit-learn: log loss clips to the machine epsilon of f64; uniform bins have edges `i / B` and are
//! right-closed; quantile bins have linearly interpolated percentiles as edges; empty bins are dropped.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// How probabilities are cut into bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binning {
    Uniform,
    Quantile,
}

/// One bin that is not empty.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    pub bin: usize,
    pub n: usize,
    pub mean_pred: f64,
    /// Share of positive outcomes.
    pub frac_pos: f64,
}

fn check(outcomes: &[bool], p: &[f64]) -> Result<()> {
    let undefined = |cause: &str| Err(Error::new(code::ML_UNDEFINED, "calibration is undefined").cause(cause));
    if outcomes.is_empty() {
        return undefined("there are no forecasts");
    }
    if outcomes.len() != p.len() {
        return Err(Error::bug(text!("{} outcomes and {} forecasts", outcomes.len(), p.len())));
    }
    if p.iter().any(|p| !(0.0..=1.0).contains(p)) {
        return undefined("a forecast is not a probability");
    }
    Ok(())
}

fn truth(y: bool) -> f64 {
    if y { 1.0 } else { 0.0 }
}

/// Mean squared difference of forecast and outcome.
pub fn brier(outcomes: &[bool], p: &[f64]) -> Result<f64> {
    check(outcomes, p)?;
    Ok(outcomes.iter().zip(p).map(|(y, p)| (p - truth(*y)).powi(2)).sum::<f64>() / p.len() as f64)
}

/// Mean negative log likelihood, in nats.
pub fn log_loss(outcomes: &[bool], p: &[f64]) -> Result<f64> {
    check(outcomes, p)?;
    let clip = |p: f64| p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    let each = outcomes.iter().zip(p).map(|(y, p)| -(if *y { clip(*p) } else { 1.0 - clip(*p) }).ln());
    Ok(each.sum::<f64>() / p.len() as f64)
}

/// Mean forecast against frequency, per bin.
pub fn reliability(outcomes: &[bool], p: &[f64], bins: usize, binning: Binning) -> Result<Vec<Bin>> {
    check(outcomes, p)?;
    if bins == 0 {
        return Err(Error::bug("no bins"));
    }
    let edges: Vec<f64> = match binning {
        Binning::Uniform => (1..bins).map(|i| i as f64 * (1.0 / bins as f64)).collect(),
        Binning::Quantile => {
            let mut sorted = p.to_vec();
            sorted.sort_by(f64::total_cmp);
            (1..bins).map(|i| percentile_of_sorted(&sorted, i as f64 * (1.0 / bins as f64) * 100.0)).collect()
        }
    };
    let mut sums = vec![(0usize, 0.0, 0.0); bins];
    for (y, p) in outcomes.iter().zip(p) {
        let bin = &mut sums[edges.iter().filter(|e| **e < *p).count()];
        *bin = (bin.0 + 1, bin.1 + p, bin.2 + truth(*y));
    }
    let filled = sums.iter().enumerate().filter(|(_, s)| s.0 > 0);
    Ok(filled.map(|(bin, (n, pred, pos))| Bin { bin, n: *n, mean_pred: pred / *n as f64, frac_pos: pos / *n as f64 }).collect())
}

/// Expected calibration error: the bins' absolute gaps, weighted by their counts.
pub fn ece(bins: &[Bin]) -> Result<f64> {
    let n: usize = bins.iter().map(|b| b.n).sum();
    if n == 0 {
        return Err(Error::new(code::ML_UNDEFINED, "calibration is undefined").cause("there are no forecasts"));
    }
    Ok(bins.iter().map(|b| b.n as f64 / n as f64 * (b.mean_pred - b.frac_pos).abs()).sum())
}

/// Linearly interpolated percentile (0..=100) of ascending values, rounded the way NumPy rounds.
pub(crate) fn percentile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q / 100.0 * last as f64;
    let low = (at.floor() as usize).min(last);
    let (a, b, t) = (sorted[low], sorted[(low + 1).min(last)], at - low as f64);
    if t >= 0.5 { b - (b - a) * (1.0 - t) } else { a + (b - a) * t }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_probability_is_undefined() {
        assert!(brier(&[true], &[1.2]).unwrap_err().is(code::ML_UNDEFINED));
        assert!(log_loss(&[], &[]).unwrap_err().is(code::ML_UNDEFINED));
        assert!(reliability(&[true], &[f64::NAN], 10, Binning::Uniform).is_err());
    }
}
