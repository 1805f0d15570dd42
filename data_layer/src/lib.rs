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
pub mod frame;
pub mod control;
pub mod ledger;
pub mod qc;
pub mod stage;
pub mod segment;
pub mod reference;
pub mod audit;
pub mod curate;
pub mod snapshot;
pub mod export;
pub mod rebuild;
pub mod fsck;

#[cfg(test)]
pub(crate) mod testkit;
