//! Compounded return and its annual rate.

use super::{SESSIONS_PER_YEAR, checked};
use crate::types::defined;
use data_layer::error::Result;

/// Product of `1 + r`, minus 1.
pub fn total(returns: &[f64]) -> Result<f64> {
    checked(returns, 1, "the total return")?;
    Ok(returns.iter().map(|r| 1.0 + r).product::<f64>() - 1.0)
}

/// Compound annual growth rate with 252 sessions a year; undefined once wealth is below 0.
pub fn cagr(returns: &[f64]) -> Result<f64> {
    let wealth = total(returns)? + 1.0;
    defined(wealth.powf(SESSIONS_PER_YEAR / returns.len() as f64) - 1.0, "the annual growth", "wealth fell below zero")
}
