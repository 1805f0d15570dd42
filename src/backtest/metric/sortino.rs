//! Sortino ratio: mean excess over the downside deviation, which counts all observations.

use super::{SESSIONS_PER_YEAR, checked, mean, volatility};
use crate::types::defined;
use data_layer::error::Result;

/// Against a minimum acceptable return per period; undefined when no return falls short of it.
pub fn per_period(returns: &[f64], mar: f64) -> Result<f64> {
    checked(returns, 1, "the Sortino ratio")?;
    defined((mean(returns) - mar) / volatility::downside(returns, mar)?, "the Sortino ratio", "no return is below the minimum")
}

/// Against 0, times the square root of 252. With one return there is nothing to annualise.
pub fn annualised(returns: &[f64]) -> Result<f64> {
    checked(returns, 2, "the Sortino ratio")?;
    Ok(per_period(returns, 0.0)? * SESSIONS_PER_YEAR.sqrt())
}
