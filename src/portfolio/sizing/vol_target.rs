//! Scaling a book to a volatility. The full covariance is used: volatilities alone would ignore what diversifies.

use crate::portfolio::linear::volatility;
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// A scaled book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaled {
    pub scale_uncapped: f64,
    /// At most `gross_cap / gross`.
    pub scale: f64,
    pub weights: Vec<f64>,
    pub gross: f64,
    /// Annual, of the scaled weights.
    pub exante_vol: f64,
    pub gross_cap_binding: bool,
}

/// Scale `weights` to the annual volatility `target` under a cap on the sum of absolute weights. A book without
/// volatility is an error: no multiple of it has any.
pub fn scale(weights: &[f64], cov_annual: &Matrix, target: f64, gross_cap: f64) -> Result<Scaled> {
    let vol = volatility(weights, cov_annual);
    let gross: f64 = weights.iter().map(|w| w.abs()).sum();
    if !(vol > 0.0 && vol.is_finite() && target > 0.0 && target.is_finite() && gross_cap > 0.0) {
        return Err(Error::new(code::ML_UNDEFINED, "a volatility target cannot be met")
            .cause("the book has no volatility, or the target or the cap is not positive")
            .found(text!("volatility {vol}, target {target}, cap {gross_cap}")));
    }
    let scale_uncapped = target / vol;
    let cap = gross_cap / gross;
    let scale = scale_uncapped.min(cap);
    let weights: Vec<f64> = weights.iter().map(|w| w * scale).collect();
    Ok(Scaled {
        scale_uncapped,
        scale,
        gross: weights.iter().map(|w| w.abs()).sum(),
        exante_vol: volatility(&weights, cov_annual),
        weights,
        gross_cap_binding: scale_uncapped > cap,
    })
}

/// The volatility that ignores all correlation: shown beside the true one, never used.
pub fn diagonal_only(weights: &[f64], cov_annual: &Matrix) -> f64 {
    weights.iter().enumerate().map(|(i, w)| w * w * cov_annual.at(i, i)).sum::<f64>().sqrt()
}
