//! Full-screen views of a running node, a training run and a paper book.
//!
//! Three parts, as in any Elm-like program: [`Model`] holds what is shown, [`update`] changes it by one [`Event`], and
//! [`view`] draws it. All three are pure; only [`run`] touches the terminal, and it restores it however it ends. State is told
//! in words and letters (G, A, R) beside colour, so that it can be read without colours.

mod model;
mod node_view;
mod paper_view;
mod run;
mod text;
mod train_view;
mod view;

pub use model::{
    ConfigurationRow, CoverageRow, Event, EventRow, HeatRow, Key, Leave, LoopRow, Model, NodeSnapshot, OrderRow, PaperSnapshot, PositionRow, QueueRow,
    Severity, Snapshot, SwitchRow, TrainSnapshot, VendorRow, update,
};
pub use run::{possible, run};
pub use view::view;

#[cfg(test)]
mod tests;
