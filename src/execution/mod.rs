//! The order path: intent, journal, gates, submit, outcome, fills, positions, reconcile.
//!
//! One path for simulated, paper and (never by a wizard) live accounts; only the [`broker::Broker`] differs.
//! An order's row is written and on the platter before it is sent; its id is a function of what it is, so a copied
//! drive mints the same ids; an outcome that is not known is asked for, never assumed.
//! The ledger and the cost model are the backtest's and the shadow book's as well.

pub mod cost;
pub mod lob;
pub mod schedule;
pub mod account;
pub mod order;
pub mod state;
pub mod sizing;
pub mod tick;
pub mod log;
pub mod positions;
pub mod risk;
pub mod switches;
pub mod quarantine;
pub mod gates;
pub mod broker;
pub mod calibration;
pub mod orphan;
pub mod submit;
pub mod stream;
pub mod reconcile;
pub mod repair;

#[cfg(test)]
mod matrix_tests;
