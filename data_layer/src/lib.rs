//! What is on the SSD and how it gets there.
//!
//! Modules in dependency order: a module uses only those above it (`tests/suite/tidy.rs` keeps this).

// Tests build their worlds out of plain files; the product may not.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::too_many_lines))]

#[macro_use]
extern crate text_macro;
extern crate self as data_layer;

pub mod error;
pub mod words;
pub mod time;
pub mod calendar;
pub mod schema;
pub mod host;
pub mod disk;
pub mod root;
pub mod store;
pub mod vouch;
pub mod frame;
pub mod control;
pub mod config;
pub mod env_vars;
pub mod env_file;
pub mod attach;
pub mod detect;
pub mod queue;
pub mod budget;
pub mod bookmarks;
pub mod sourcing;
pub mod space;
pub mod tickers;
pub mod vendor;
pub mod clock;
pub mod segment;
pub mod lost;
pub mod fetch;
pub mod scheduler;
pub mod ledger;
pub mod qc;
pub mod stage;
pub mod forecast;
pub mod reference;
pub mod audit;
pub mod curate;
pub mod coverage;
pub mod snapshot;
pub mod export;
pub mod rebuild;
pub mod node;
pub mod findings;
pub mod fsck;
pub mod ctrader;
pub mod sandbox;
pub mod docs;

#[cfg(test)]
pub(crate) mod testkit;
