//! From clean data to an order.
//!
//! Modules in dependency order: a module uses only those above it (`tests/suite/tidy.rs` keeps this).

#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::too_many_lines))]

#[macro_use]
extern crate text_macro;

mod wide;
pub mod types;
pub mod features;
pub mod labels;
pub mod models;
pub mod validation;
pub mod portfolio;
pub mod execution;
pub mod backtest;
pub mod monitoring;
pub mod reports;
pub mod pipelines;
pub mod service;
