//! How large a position may be: Kelly fractions, volatility targets, and the one order in which they are applied.
//!
//! Estimates are shrunk before they come here; these are the algebra alone. A size that is undefined (a volatility of
//! zero, a singular covariance) is an error, never a large number.

pub mod kelly;
pub mod vol_target;
pub mod pipeline;

#[cfg(test)]
mod golden;
