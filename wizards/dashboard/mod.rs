//! Full-screen views of a running node and of a paper book.
//!
//! Three parts, as in any Elm-like program: [`Model`] holds what is shown, [`update`] changes it by one [`Event`], and
//! [`view`] draws it. All three are pure; only [`run`] touches the terminal, and it restores it however it ends. State is told
//! in words and letters (G, A, R) beside colour, so that it can be read without colours.

mod model;
mod node_view;
mod paper_view;
mod run;
mod text;
mod view;

pub use model::{
    CoverageRow, Event, EventRow, Key, Model, NodeSnapshot, OrderRow, PaperSnapshot, PositionRow, QueueRow, Severity, Snapshot, SwitchRow, VendorRow, update,
};
pub use run::{Leave, possible, run};
pub use view::view;

#[cfg(test)]
mod tests;
