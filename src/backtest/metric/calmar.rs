//! Annual growth over the largest drawdown.

use super::{max_drawdown, total_return};
use crate::types::defined;
use data_layer::error::Result;

/// Undefined without a drawdown.
pub fn ratio(returns: &[f64]) -> Result<f64> {
    defined(total_return::cagr(returns)? / max_drawdown::depth(returns)?, "the Calmar ratio", "there is no drawdown")
}
