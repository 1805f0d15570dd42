//! How much money changes hands, and how far a dollar of it moves the price.
//!
//! Dollars are unadjusted close x shares as traded that day: an adjusted price knows later dividends and splits.

use super::{History, Places, spec};
use crate::features::window::{Mean, MeanOfPresent, every_into, lagged, rolling_into};
use crate::features::{FeatureSpec, Scaling::CrossSection};

const WINDOW: usize = 20;
/// Amihud's ratio is `1e6 x mean(|R| / dollars)` over those of the last 20 sessions that traded, of which there must be this many.
const AMIHUD_MIN_SESSIONS: usize = 15;

pub const SPECS: &[FeatureSpec] =
    &[spec("adv_20", "liquidity", "usd", 19, CrossSection), spec("amihud_20", "liquidity", "return per million usd", 20, CrossSection)];

pub(super) fn rows(h: &History<'_>, out: &mut Places<'_, '_>) {
    let dollars: Vec<f64> = h.close_raw.iter().zip(&h.volume).map(|(c, v)| c * v).collect();
    rolling_into(&dollars, WINDOW, Mean, out.row());
    let moves = lagged(&h.close, 1, |now, before| (now / before - 1.0).abs());
    let per_dollar: Vec<f64> = moves.iter().zip(&dollars).map(|(r, d)| if *d > 0.0 { r / d } else { f64::NAN }).collect();
    every_into(&per_dollar, WINDOW, MeanOfPresent { times: 1e6, least: AMIHUD_MIN_SESSIONS }, out.row());
}
