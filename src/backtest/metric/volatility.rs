//! Volatility and downside deviation, as decimals per square root of a year.

use super::{SESSIONS_PER_YEAR, checked, std};
use data_layer::error::Result;

/// Standard deviation (ddof 1) times the square root of 252; 0 for equal returns.
pub fn annualised(returns: &[f64]) -> Result<f64> {
    checked(returns, 2, "the volatility")?;
    Ok(std(returns) * SESSIONS_PER_YEAR.sqrt())
}

/// Root of the mean squared shortfall below `mar`, over ALL returns, per period.
pub fn downside(returns: &[f64], mar: f64) -> Result<f64> {
    checked(returns, 1, "the downside deviation")?;
    Ok((returns.iter().map(|r| (r - mar).min(0.0).powi(2)).sum::<f64>() / returns.len() as f64).sqrt())
}
