//! From clean data to an order.
//!
//! Modules in dependency order: a module uses only those above it (`tests/suite/tidy.rs` keeps this).

pub mod types;
pub mod execution;
pub mod monitoring;
pub mod pipelines;
pub mod service;
