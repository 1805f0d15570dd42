//! Watching the book: tripwires on equity and data, coverage of the data, stored risk targets.

pub mod tripwires;
pub mod coverage;
pub mod notify;
