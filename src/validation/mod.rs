//! Judging numbers: splits that do not leak, is a result luck, does it meet the bars; and the detectors that say so.

pub mod cpcv;
pub mod leak;
pub mod gate;
pub mod pbo;
pub mod dsr;
pub mod hurdles;
pub mod calibration;
pub mod bootstrap;
pub mod diagnostics;
pub mod diebold_mariano;
pub mod drift;
pub mod holdout;
pub mod walk_forward;
#[cfg(test)]
pub(crate) mod golden;
