//! The one integration binary. Unit tests live beside the code; here is what needs several parts, or the real program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, clippy::too_many_lines)]

mod bad_input;
mod golden;
mod corporate;
mod ctrader_days;
mod damage;
mod doctor;
mod happy;
mod journey;
mod liquid;
mod paper_days;
mod planted;
mod plans;
mod reproducible;
mod resume;
mod rig;
mod several;
mod sliced_days;
mod storm;
mod strangers;
mod terminal;
mod tidy;
mod twin;
mod undo;
mod words;
mod workers;
