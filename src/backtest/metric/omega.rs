//! Gains above a threshold over losses below it.

use super::checked;
use crate::types::defined;
use data_layer::error::Result;

/// Undefined when no return is below `mar`. At 0 it is the profit factor of the sessions.
pub fn ratio(returns: &[f64], mar: f64) -> Result<f64> {
    checked(returns, 1, "the Omega ratio")?;
    let gains: f64 = returns.iter().map(|r| (r - mar).max(0.0)).sum();
    let losses: f64 = returns.iter().map(|r| (mar - r).max(0.0)).sum();
    defined(gains / losses, "the Omega ratio", "no return is below the threshold")
}
