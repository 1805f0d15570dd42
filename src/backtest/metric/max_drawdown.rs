//! Largest loss from a peak. Wealth is 1 before the first return, so a loss on the first day is a drawdown.

use super::checked;
use data_layer::error::Result;
use serde::{Deserialize, Serialize};

/// The deepest drawdown and the longest time under water.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Drawdown {
    /// Positive fraction; 0 when wealth never falls.
    pub depth: f64,
    /// Index into wealth, 0 = before the first return; absent without a drawdown.
    pub peak: Option<usize>,
    pub trough: Option<usize>,
    /// Sessions in a row below an earlier peak.
    pub longest_underwater: usize,
}

/// Loss from the running peak after each return, as fractions of 0 or below: the underwater curve.
pub fn underwater(returns: &[f64]) -> Result<Vec<f64>> {
    checked(returns, 1, "the drawdown")?;
    let (mut wealth, mut peak) = (1.0_f64, 1.0_f64);
    let step = |r: &f64| {
        wealth *= 1.0 + r;
        peak = peak.max(wealth);
        wealth / peak - 1.0
    };
    Ok(returns.iter().map(step).collect())
}

pub fn drawdown(returns: &[f64]) -> Result<Drawdown> {
    let curve = underwater(returns)?;
    let mut d = Drawdown { depth: 0.0, peak: None, trough: None, longest_underwater: 0 };
    let (mut peak, mut run) = (0, 0);
    for (i, loss) in curve.iter().enumerate() {
        run = if *loss < 0.0 { run + 1 } else { 0 };
        if run == 0 {
            peak = i + 1;
        }
        d.longest_underwater = d.longest_underwater.max(run);
        if -loss > d.depth {
            d = Drawdown { depth: -loss, peak: Some(peak), trough: Some(i + 1), ..d };
        }
    }
    Ok(d)
}

/// The depth alone.
pub fn depth(returns: &[f64]) -> Result<f64> {
    Ok(drawdown(returns)?.depth)
}
