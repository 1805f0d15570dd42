//! Watching the book: tripwires on equity and data, coverage of the data, stored risk targets; saying so to people.

pub mod tripwires;
pub mod coverage;
pub mod email;
pub mod notify;
pub mod alarms;
