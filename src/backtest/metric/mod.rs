//! Performance statistics, one a file. Inputs are simple returns per session; a number that is undefined is an error.

pub mod sharpe;
pub mod sortino;
pub mod volatility;
pub mod total_return;
pub mod max_drawdown;
pub mod calmar;
pub mod omega;
pub mod var_es;
pub mod hit_rate;
pub mod turnover;
pub mod relative;
pub mod ic;
pub mod deciles;
pub mod concentration;
pub mod monthly;

use data_layer::error::{Error, Result, code};

pub use crate::types::SESSIONS_PER_YEAR;

/// At least `least` returns, none missing.
pub(crate) fn checked(returns: &[f64], least: usize, name: &str) -> Result<()> {
    let undefined = |cause: String| Err(Error::new(code::ML_UNDEFINED, text!("{name} is undefined")).cause(cause));
    if returns.len() < least {
        return undefined(text!("it needs {least} sessions and has {}", returns.len()));
    }
    if returns.iter().any(|r| !r.is_finite()) {
        return undefined("a return is missing".into());
    }
    Ok(())
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation with ddof 1; exactly 0 when all values are equal. The caller has checked that there are two.
pub(crate) fn std(values: &[f64]) -> f64 {
    if values.iter().all(|v| *v == values[0]) {
        return 0.0;
    }
    let m = mean(values);
    (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}
