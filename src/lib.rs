//! From clean data to an order.
//!
//! Modules in dependency order: a module uses only those above it (`tests/suite/tidy.rs` keeps this).

pub mod types;
pub mod features;
pub mod labels;
pub mod validation;
pub mod portfolio;
pub mod execution;
pub mod backtest;
pub mod reports;
pub mod monitoring;
pub mod pipelines;
pub mod service;

pub mod features;

pub mod labels;

pub mod models;

pub mod validation;

pub mod portfolio;

pub mod execution;

pub mod backtest;

pub mod pipelines;
