//! Reports as JSON, Markdown and HTML. The JSON is the report; the other two are views that add nothing.
//!
//! A page is one file: styles and charts are inside it, there is no script, and nothing is fetched.

pub mod svg;
pub mod view;
pub mod tear_sheet;
pub mod daily;
pub mod weekly;
pub mod compare;
#[cfg(test)]
mod sample;

pub use daily::{DailyReport, daily};
pub use tear_sheet::{TearSheet, tear_sheet};
pub use view::Rendered;
pub use weekly::{WeeklyReport, weekly};
