//! Simulation of a scored universe on the same portfolio, cost and ledger code that trades it.

pub mod metric;
pub mod engine;
pub mod summary;

pub use engine::{BacktestResult, FillRecord, Note, run, targets_at};
pub use summary::{Metric, SensitivityRow, Summary, sensitivity, summarise};
