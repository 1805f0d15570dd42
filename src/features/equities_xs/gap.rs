//! What happened overnight and during the session, and how far below its recent high a close stands.

use super::{History, Places, spec};
use crate::features::window::{Max, Mean, log_ratios_into, rolling_into};
use crate::features::{FeatureSpec, Scaling::CrossSection};

pub const SPECS: &[FeatureSpec] = &[
    spec("gap_overnight", "gap", "log return", 1, CrossSection),
    spec("ret_open_close", "gap", "log return", 0, CrossSection),
    spec("gap_overnight_mean_20", "gap", "log return", 20, CrossSection),
    spec("dd_20", "gap", "fraction", 19, CrossSection),
    spec("dd_60", "gap", "fraction", 59, CrossSection),
];

pub(super) fn rows(h: &History<'_>, out: &mut Places<'_, '_>) {
    let mut overnight = vec![f64::NAN; h.close.len()];
    if let (Some((_, rest)), Some((_, opens))) = (overnight.split_first_mut(), h.open.split_first()) {
        log_ratios_into(opens, &h.close, rest);
    }
    out.row().copy_from_slice(&overnight);
    log_ratios_into(&h.close, &h.open, out.row());
    rolling_into(&overnight, 20, Mean, out.row());
    drawdown(&h.close, 20, out.row());
    drawdown(&h.close, 60, out.row());
}

/// `C_t / max(C_{t-n+1..t}) - 1`: 0 at a new high, else negative.
fn drawdown(close: &[f64], n: usize, out: &mut [f64]) {
    rolling_into(close, n, Max, out);
    out.iter_mut().zip(close).for_each(|(high, c)| *high = c / *high - 1.0);
}
