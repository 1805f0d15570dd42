//! What is on the SSD and how it gets there.
//!
//! Modules in dependency order: a module uses only those above it (`tests/suite/tidy.rs` keeps this).

pub mod error;
pub mod time;
pub mod calendar;
pub mod schema;
pub mod host;
pub mod root;
pub mod store;
pub mod control;
pub mod sandbox;
