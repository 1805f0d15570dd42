//! Judging numbers: splits that do not leak, and the detectors and gates that say so.

pub mod cpcv;
pub mod leak;
//! Judging numbers: is a result luck, and does it meet the bars.

pub mod pbo;
pub mod dsr;
pub mod hurdles;
pub mod calibration;
#[cfg(test)]
pub(crate) mod golden;
