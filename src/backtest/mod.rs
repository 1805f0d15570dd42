//! Simulation of a scored universe on the same portfolio, cost and ledger code that trades it.

pub mod metric;
pub mod decide;
pub mod engine;
pub mod events;
pub mod summary;
pub mod what_if;

pub use decide::{Before, Decision, Signal, decide};
pub use engine::{BacktestResult, FillRecord, Note, run};
pub use summary::{Metric, SensitivityRow, Summary, sensitivity, summarise};
