//! Against a benchmark held over the same sessions.

use super::{SESSIONS_PER_YEAR, checked, mean, std};
use crate::types::defined;
use data_layer::error::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Relative {
    /// Annualised standard deviation of the differences.
    pub tracking_error: f64,
    /// Annualised mean difference over the tracking error.
    pub information_ratio: f64,
    pub beta: f64,
    /// Per session.
    pub alpha_daily: f64,
    pub correlation: f64,
}

/// Undefined when the benchmark, or the difference to it, does not vary.
pub fn to_benchmark(returns: &[f64], benchmark: &[f64]) -> Result<Relative> {
    checked(returns, 2, "the comparison with a benchmark")?;
    checked(benchmark, 2, "the comparison with a benchmark")?;
    if returns.len() != benchmark.len() {
        return Err(Error::bug(text!("{} returns and {} of the benchmark", returns.len(), benchmark.len())));
    }
    let difference: Vec<f64> = returns.iter().zip(benchmark).map(|(r, b)| r - b).collect();
    let (mr, mb) = (mean(returns), mean(benchmark));
    let n = returns.len() as f64;
    let covariance = returns.iter().zip(benchmark).map(|(r, b)| (r - mr) * (b - mb)).sum::<f64>() / (n - 1.0);
    let beta = defined(covariance / std(benchmark).powi(2), "beta", "the benchmark does not vary")?;
    let te = std(&difference);
    Ok(Relative {
        tracking_error: te * SESSIONS_PER_YEAR.sqrt(),
        information_ratio: defined(mean(&difference) / te, "the information ratio", "there is no tracking error")? * SESSIONS_PER_YEAR.sqrt(),
        beta,
        alpha_daily: mr - beta * mb,
        correlation: defined(covariance / (std(returns) * std(benchmark)), "the correlation", "the returns do not vary")?,
    })
}
