//! Realised and downside volatility of daily log returns, per square root of a year of 252 sessions.

use super::{History, SESSIONS_PER_YEAR, spec};
use crate::features::window::{lagged, mean, rolling, std_dev};
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
    let realised = |n| rolling(&r, n, |w, n| std_dev(w, n).map(|sd| sd * annual));
    let downside = |n| rolling(&falls, n, |w, n| mean(w, n).map(|square| square.sqrt() * annual));
    vec![realised(20), realised(60), downside(20), downside(60)]
}
