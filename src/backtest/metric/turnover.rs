//! Traded notional over equity, buys and sells both counted: at 1.0 a day, half of a round trip is paid on all of the equity.

use super::{SESSIONS_PER_YEAR, checked, mean};
use data_layer::error::Result;

/// Mean per session times 252.
pub fn annualised(per_session: &[f64]) -> Result<f64> {
    checked(per_session, 1, "the turnover")?;
    Ok(mean(per_session) * SESSIONS_PER_YEAR)
}
