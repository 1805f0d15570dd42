//! How long the rest usually takes: the median of this drive's own last runs, else what the practice drive takes.

use super::Run;
use crate::kit::journal::Event;
use crate::kit::step::{Step, split_lap};
use data_layer::error::Result;
use data_layer::time::UtcTime;
use std::collections::BTreeMap;

/// Earlier runs that count.
const REMEMBERED: usize = 5;

/// Usual seconds of each step, by id. A step that is not in it takes no time to speak of, or nobody knows.
pub(super) type Pace = BTreeMap<String, f64>;

impl Run<'_> {
    /// What the wizard's table says of a practice drive; on a real one, what the journal says.
    pub(super) fn learn_pace(&self) -> Result<Pace> {
        if self.root.is_world() {
            // A world's clock stands still while work is done: its journal cannot tell.
            return Ok(self.wizard.usually.iter().map(|(step, seconds)| ((*step).to_string(), f64::from(*seconds))).collect());
        }
        let Some(journal) = &self.journal else { return Ok(Pace::new()) };
        let mut taken: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut began: BTreeMap<(String, String), UtcTime> = BTreeMap::new();
        for (run, step, event, at) in journal.lately(self.wizard.name)? {
            let key = (run, step.clone());
            if event == Event::Started {
                began.insert(key, at);
            } else if let Some(start) = began.remove(&key) {
                taken.entry(split_lap(&step).0.to_string()).or_default().push(at.seconds_since(start).max(0.0));
            }
        }
        Ok(taken.into_iter().filter_map(|(step, all)| Some((step, median(&all[all.len().saturating_sub(REMEMBERED)..])?))).collect())
    }

    /// Usual seconds of the steps that are not done; `None` where nothing is known of any of them.
    pub(super) fn rest_of(&self, pace: &Pace) -> Option<f64> {
        let left: Vec<f64> = self.wizard.steps.iter().filter(|s| self.done(s).is_none()).filter_map(|s| pace.get(s.id).copied()).collect();
        (!left.is_empty()).then(|| left.iter().sum())
    }

    /// `, usually 48 s` after a step of which that is known.
    pub(super) fn usually(&self, step: &Step) -> String {
        self.pace.get(step.id).filter(|s| **s >= 1.0).map_or(String::new(), |s| text!(", usually {}", words(*s)))
    }
}

/// `about 50 s`, `about 3 min`, `about 2 h`.
pub fn words(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => text!("{:.0} s", s.max(1.0)),
        s if s < 5_400.0 => text!("{:.0} min", s / 60.0),
        s => text!("{:.1} h", s / 3_600.0),
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_what_a_person_wants_to_know() {
        assert_eq!([0.2, 48.4, 170.0, 9_000.0].map(words), ["1 s", "48 s", "3 min", "2.5 h"]);
        assert_eq!((median(&[]), median(&[9.0, 1.0, 2.0])), (None, Some(2.0)));
    }
}
