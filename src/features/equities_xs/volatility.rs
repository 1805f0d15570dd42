//! Realised and downside volatility of daily log returns, per square root of a year of 252 sessions.

use super::{History, SESSIONS_PER_YEAR, spec};
use crate::features::window::{Mean, StdDev, lagged, rolling};
use crate::features::{FeatureSpec, Scaling::CrossSection};

pub const SPECS: &[FeatureSpec] = &[
    spec("rv_20", "volatility", "per sqrt(year)", 20, CrossSection),
    spec("rv_60", "volatility", "per sqrt(year)", 60, CrossSection),
    spec("dvol_20", "volatility", "per sqrt(year)", 20, CrossSection),
    spec("dvol_60", "volatility", "per sqrt(year)", 60, CrossSection),
];

pub(super) fn rows(h: &History<'_>) -> Vec<Vec<f64>> {
    let annual = SESSIONS_PER_YEAR.sqrt();
    let r = lagged(&h.close, 1, |now, before| (now / before).ln());
    // Over all n returns, not only the falling ones: min(r, 0) squared. A gap stays a gap.
    let falls: Vec<f64> = r.iter().map(|&x| if x > 0.0 { 0.0 } else { x * x }).collect();
    let realised = |n| rolling(&r, n, StdDev).into_iter().map(|sd| sd * annual).collect();
    let downside = |n| rolling(&falls, n, Mean).into_iter().map(|square| square.sqrt() * annual).collect();
    vec![realised(20), realised(60), downside(20), downside(60)]
}
