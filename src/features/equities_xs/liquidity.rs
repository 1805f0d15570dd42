//! How much money changes hands, and how far a dollar of it moves the price.
//!
//! Dollars are unadjusted close x shares as traded that day: an adjusted price knows later dividends and splits.

use super::{History, spec};
use crate::features::window::{lagged, mean, rolling};
use crate::features::{FeatureSpec, Scaling::CrossSection};

const WINDOW: usize = 20;
/// Amihud's ratio is undefined on a day without trade; this many of the window's sessions must have one.
const AMIHUD_MIN_SESSIONS: usize = 15;

pub const SPECS: &[FeatureSpec] =
    &[spec("adv_20", "liquidity", "usd", 19, CrossSection), spec("amihud_20", "liquidity", "return per million usd", 20, CrossSection)];

pub(super) fn rows(h: &History<'_>) -> Vec<Vec<f64>> {
    let dollars: Vec<f64> = h.close_raw.iter().zip(&h.volume).map(|(c, v)| c * v).collect();
    let moves = lagged(&h.close, 1, |now, before| (now / before - 1.0).abs());
    let per_dollar: Vec<f64> = moves.iter().zip(&dollars).map(|(r, d)| if *d > 0.0 { r / d } else { f64::NAN }).collect();
    vec![rolling(&dollars, WINDOW, mean), amihud(&per_dollar)]
}

/// `1e6 x mean(|R| / dollars)` over those of the last 20 sessions that traded.
fn amihud(per_dollar: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; per_dollar.len()];
    for t in 0..per_dollar.len() {
        let (mut n, mut sum) = (0_usize, 0.0);
        for v in &per_dollar[(t + 1).saturating_sub(WINDOW)..=t] {
            if !v.is_nan() {
                n += 1;
                sum += v;
            }
        }
        if n >= AMIHUD_MIN_SESSIONS {
            out[t] = 1e6 * sum / n as f64;
        }
    }
    out
}
