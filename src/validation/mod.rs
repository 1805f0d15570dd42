//! Judging a model before it may be believed: cross-validation, overfitting statistics, gates.

pub mod calibration;
pub mod cpcv;
pub mod dsr;
pub mod gate;
pub mod hurdles;
pub mod leak;
pub mod pbo;
#[cfg(test)]
pub(crate) mod golden;
