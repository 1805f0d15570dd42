//! How often, and how much, sessions or trades win.

use super::{checked, mean};
use crate::types::defined;
use data_layer::error::Result;

/// Share of values above 0; flat ones count in the denominator.
pub fn share(values: &[f64]) -> Result<f64> {
    checked(values, 1, "the hit rate")?;
    Ok(values.iter().filter(|v| **v > 0.0).count() as f64 / values.len() as f64)
}

/// Share of values above 0 among those that are not 0.
pub fn share_without_flat(values: &[f64]) -> Result<f64> {
    checked(values, 1, "the hit rate")?;
    let moved: Vec<f64> = values.iter().copied().filter(|v| *v != 0.0).collect();
    share(&moved)
}

/// Gains over absolute losses; undefined without a loss.
pub fn profit_factor(values: &[f64]) -> Result<f64> {
    checked(values, 1, "the profit factor")?;
    let gains: f64 = values.iter().filter(|v| **v > 0.0).sum();
    let losses: f64 = -values.iter().filter(|v| **v < 0.0).sum::<f64>();
    defined(gains / losses, "the profit factor", "there is no loss")
}

/// Mean gain.
pub fn expectancy(values: &[f64]) -> Result<f64> {
    checked(values, 1, "the expectancy")?;
    Ok(mean(values))
}
