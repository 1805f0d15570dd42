//! Judging numbers: splits that do not leak, and the detectors and gates that say so.

pub mod cpcv;
pub mod leak;
