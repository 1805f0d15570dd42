//! What an act, a check or a send gets to work with.

use super::report::Reporter;
use data_layer::host::Host;
use data_layer::root::DataRoot;

/// The world as one step sees it.
pub struct Act<'a> {
    pub host: &'a Host,
    pub root: &'a DataRoot,
    pub report: &'a Reporter,
    pub step: &'static str,
    pub run: &'a str,
}

impl Act<'_> {
    /// Tell the person something while the step works.
    pub fn note(&self, text: &str) {
        self.report.note(&format!("         {text}"));
    }
    /// `done` of `total` units.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.report.progress(self.step, done, total, unit);
    }
}

#[cfg(feature = "research")]
impl engine::types::Progress for Act<'_> {
    fn tick(&self, done: u64, total: u64, what: &str) {
        self.progress(done, total, what);
    }
}
