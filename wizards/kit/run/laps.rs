//! Laps: a part of the runbook that is done for each of several things (models, challengers). A step of a lap is recorded as
//! `STEP@LAP`; of one thing alone, as the step itself.

use super::{Run, StepState};
use crate::kit::step::{self, Step};
use data_layer::error::Result;

impl Run<'_> {
    /// Do a part of the runbook for each of several things, in their order.
    pub fn laps<A, T>(&mut self, things: &[A], name: impl Fn(&A) -> &str, mut body: impl FnMut(&mut Self, &A) -> Result<T>) -> Result<Vec<T>> {
        let mut out = Vec::with_capacity(things.len());
        for (n, thing) in things.iter().enumerate() {
            if things.len() > 1 {
                self.lap = Some(name(thing).to_string());
                self.report.note(&text!("  {} of {}: {}", n + 1, things.len(), name(thing)));
            }
            out.push(body(self, thing)?);
            self.lap = None;
        }
        Ok(out)
    }

    /// What the journal calls a step now.
    pub(super) fn key(&self, step: &str) -> String {
        self.lap.as_ref().map_or_else(|| step.to_string(), |lap| format!("{step}@{lap}"))
    }

    /// What the journal holds of a step, in this lap or outside of any.
    pub(super) fn state_of(&self, step: &Step) -> Option<&StepState> {
        self.state.get(&self.key(step.id)).or_else(|| self.state.get(step.id))
    }

    /// The lap that the journal moved in last.
    pub(super) fn newest_lap(&self) -> Result<Option<String>> {
        let records = self.journal.as_ref().map(|j| j.records(&self.id)).transpose()?.unwrap_or_default();
        Ok(records.iter().rev().find_map(|r| step::split_lap(&r.step).1.map(str::to_string)))
    }

    /// ` (LAP)` after a step's title.
    pub(super) fn lap_words(&self) -> String {
        self.lap.as_ref().map_or(String::new(), |lap| format!(" ({lap})"))
    }
}
