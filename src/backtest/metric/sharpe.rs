//! Sharpe ratio: mean over standard deviation (ddof 1). Annualised for display, per period inside tests of significance.

use super::{SESSIONS_PER_YEAR, checked, mean, std};
use crate::types::defined;
use data_layer::error::Result;

/// Of returns in excess of `benchmark` per period; undefined with fewer than two returns or without variation.
pub fn per_period(returns: &[f64], benchmark: f64) -> Result<f64> {
    checked(returns, 2, "the Sharpe ratio")?;
    defined((mean(returns) - benchmark) / std(returns), "the Sharpe ratio", "the returns do not vary")
}

/// Times the square root of 252.
pub fn annualised(returns: &[f64]) -> Result<f64> {
    Ok(per_period(returns, 0.0)? * SESSIONS_PER_YEAR.sqrt())
}
