//! Value at risk and expected shortfall of one session, as positive losses.

use super::{checked, mean, std};
use crate::validation::calibration::percentile_of_sorted;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// Losses at one confidence level.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct TailRisk {
    pub var: f64,
    /// Mean loss of the sessions at or beyond the VaR.
    pub es: f64,
}

/// From the empirical distribution: VaR is a linearly interpolated percentile.
pub fn historical(returns: &[f64], confidence: f64) -> Result<TailRisk> {
    checked(returns, 1, "the value at risk")?;
    let mut sorted = returns.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = percentile_of_sorted(&sorted, 100.0 * (1.0 - confidence));
    // Interpolation rounds: the smallest return is always in the tail.
    let tail: Vec<f64> = sorted.iter().copied().filter(|r| *r <= cut || *r == sorted[0]).collect();
    Ok(TailRisk { var: -cut, es: -mean(&tail) })
}

/// From a normal with the returns' mean and standard deviation (ddof 1); reported beside the historical one.
pub fn gaussian(returns: &[f64], confidence: f64) -> Result<TailRisk> {
    checked(returns, 2, "the value at risk")?;
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::new(code::CFG_VALUE, "a confidence level must be between 0 and 1").found(confidence.to_string()));
    }
    let z = Normal::standard().inverse_cdf(1.0 - confidence);
    let (m, s) = (mean(returns), std(returns));
    Ok(TailRisk { var: -(m + z * s), es: -(m - s * Normal::standard().pdf(z) / (1.0 - confidence)) })
}
