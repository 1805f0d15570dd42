//! Judging numbers: is a result luck, and does it meet the bars.

pub mod pbo;
pub mod dsr;
pub mod hurdles;
pub mod calibration;
#[cfg(test)]
pub(crate) mod golden;
