//! x

pub mod dashboard;
