//! What happened overnight and during the session, and how far below its recent high a close stands.

use super::{History, spec};
use crate::features::window::{Max, Mean, rolling};
use crate::features::{FeatureSpec, Scaling::CrossSection};

pub const SPECS: &[FeatureSpec] = &[
    spec("gap_overnight", "gap", "log return", 1, CrossSection),
    spec("ret_open_close", "gap", "log return", 0, CrossSection),
    spec("gap_overnight_mean_20", "gap", "log return", 20, CrossSection),
    spec("dd_20", "gap", "fraction", 19, CrossSection),
    spec("dd_60", "gap", "fraction", 59, CrossSection),
];

pub(super) fn rows(h: &History<'_>) -> Vec<Vec<f64>> {
    let n = h.close.len();
    let mut overnight = vec![f64::NAN; n];
    for t in 1..n {
        overnight[t] = (h.open[t] / h.close[t - 1]).ln();
    }
    let session = (0..n).map(|t| (h.close[t] / h.open[t]).ln()).collect();
    let overnight_mean = rolling(&overnight, 20, Mean);
    vec![overnight, session, overnight_mean, drawdown(&h.close, 20), drawdown(&h.close, 60)]
}

/// `C_t / max(C_{t-n+1..t}) - 1`: 0 at a new high, else negative.
fn drawdown(close: &[f64], n: usize) -> Vec<f64> {
    rolling(close, n, Max).iter().zip(close).map(|(high, c)| c / high - 1.0).collect()
}
