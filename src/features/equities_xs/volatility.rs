//! Realised and downside volatility of daily log returns, per square root of a year of 252 sessions.

use super::{History, Places, SESSIONS_PER_YEAR, spec};
use crate::features::window::{Mean, StdDev, log_returns_into, rolling_into};
use crate::features::{FeatureSpec, Scaling::CrossSection};

pub const SPECS: &[FeatureSpec] = &[
    spec("rv_20", "volatility", "per sqrt(year)", 20, CrossSection),
    spec("rv_60", "volatility", "per sqrt(year)", 60, CrossSection),
    spec("dvol_20", "volatility", "per sqrt(year)", 20, CrossSection),
    spec("dvol_60", "volatility", "per sqrt(year)", 60, CrossSection),
];

pub(super) fn rows(h: &History<'_>, out: &mut Places<'_, '_>) {
    let annual = SESSIONS_PER_YEAR.sqrt();
    let mut r = vec![0.0; h.close.len()];
    log_returns_into(&h.close, 1, &mut r);
    // Over all n returns, not only the falling ones: min(r, 0) squared. A gap stays a gap.
    let falls: Vec<f64> = r.iter().map(|&x| if x > 0.0 { 0.0 } else { x * x }).collect();
    for n in [20, 60] {
        let row = out.row();
        rolling_into(&r, n, StdDev, row);
        row.iter_mut().for_each(|sd| *sd *= annual);
    }
    for n in [20, 60] {
        let row = out.row();
        rolling_into(&falls, n, Mean, row);
        row.iter_mut().for_each(|square| *square = square.sqrt() * annual);
    }
}
