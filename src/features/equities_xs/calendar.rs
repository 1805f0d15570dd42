//! Day of the week and month of the year as points on a circle: the same for every name on a date, so never z-scored.

use super::spec;
use crate::features::{FeatureSpec, Scaling::AsIs};
use data_layer::time::TradingDay;
use std::f64::consts::TAU;

pub const SPECS: &[FeatureSpec] = &[
    spec("dow_sin", "calendar", "sine", 0, AsIs),
    spec("dow_cos", "calendar", "cosine", 0, AsIs),
    spec("moy_sin", "calendar", "sine", 0, AsIs),
    spec("moy_cos", "calendar", "cosine", 0, AsIs),
];

/// Computed once for a panel: the rows are the same for each of its symbols.
pub(super) fn rows(days: &[TradingDay]) -> Vec<Vec<f64>> {
    let week: Vec<f64> = days.iter().map(|d| TAU * f64::from(d.weekday()) / 5.0).collect();
    let year: Vec<f64> = days.iter().map(|d| TAU * f64::from(d.month() - 1) / 12.0).collect();
    let of = |angles: &[f64], f: fn(f64) -> f64| angles.iter().map(|a| f(*a)).collect::<Vec<_>>();
    vec![of(&week, f64::sin), of(&week, f64::cos), of(&year, f64::sin), of(&year, f64::cos)]
}
