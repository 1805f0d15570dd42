//! Log returns over 5, 20, 60 and 126 sessions: `ln(C_t / C_{t-k})` from adjusted closes. Only the two end points must be
//! there.

use super::{History, Places, spec};
use crate::features::window::log_returns_into;
use crate::features::{FeatureSpec, Scaling::CrossSection};

const HORIZONS: [usize; 4] = [5, 20, 60, 126];

pub const SPECS: &[FeatureSpec] = &[
    spec("mom_5", "momentum", "log return", 5, CrossSection),
    spec("mom_20", "momentum", "log return", 20, CrossSection),
    spec("mom_60", "momentum", "log return", 60, CrossSection),
    spec("mom_126", "momentum", "log return", 126, CrossSection),
];

pub(super) fn rows(h: &History<'_>, out: &mut Places<'_, '_>) {
    HORIZONS.iter().for_each(|&k| log_returns_into(&h.close, k, out.row()));
}
