//! Walk-forward splits: every model learns from the past alone, as it would have in life.

use crate::validation::cpcv::Split;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// How the days are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalkForward {
    /// Test blocks of equal length, in order of time.
    pub blocks: usize,
    /// Sessions to learn from before the first block.
    pub least_training_sessions: usize,
    /// Learn from at most this many of the newest sessions; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_sessions: Option<usize>,
}

/// Splits of `n_days` sessions whose labels end `span` sessions after their day: a training day's label ends before the
/// first test day, so nothing is left to embargo. The last block takes the remainder.
pub fn splits(n_days: usize, span: usize, cfg: &WalkForward) -> Result<Vec<Split>> {
    let first = cfg.least_training_sessions + span;
    if cfg.blocks == 0 || cfg.least_training_sessions == 0 || n_days < first + cfg.blocks {
        return Err(Error::new(code::ML_UNDEFINED, text!("{n_days} sessions cannot be walked forward"))
            .found(text!("{} blocks after {} sessions of training with labels of {span}", cfg.blocks, cfg.least_training_sessions))
            .fix("choose a longer window, or fewer blocks"));
    }
    let length = (n_days - first) / cfg.blocks;
    let block = |id: usize| {
        let from = first + id * length;
        let to = if id + 1 == cfg.blocks { n_days } else { from + length };
        let learned = 0..from - span;
        let start = cfg.window_sessions.map_or(0, |w| learned.end.saturating_sub(w));
        Split { id, test_groups: vec![id], train_days: (start..learned.end).collect(), test_days: (from..to).collect() }
    };
    Ok((0..cfg.blocks).map(block).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_training_label_reaches_the_first_test_day(n in 60_usize..400, span in 0_usize..12, blocks in 1_usize..8, window in 0_usize..80) {
            let cfg = WalkForward { blocks, least_training_sessions: 30, window_sessions: (window > 20).then_some(window) };
            let Ok(all) = splits(n, span, &cfg) else { return Ok(()) };
            let tested: Vec<usize> = all.iter().flat_map(|s| s.test_days.clone()).collect();
            prop_assert_eq!(tested, (30 + span..n).collect::<Vec<_>>());
            for s in &all {
                prop_assert!(s.train_days.iter().all(|t| t + span < s.test_days[0]));
                prop_assert!(s.train_days.len() >= 30.min(cfg.window_sessions.unwrap_or(30)));
            }
        }
    }

    #[test]
    fn too_few_sessions_are_refused() {
        let cfg = WalkForward { blocks: 4, least_training_sessions: 30, window_sessions: None };
        assert!(splits(35, 5, &cfg).unwrap_err().is(code::ML_UNDEFINED));
    }
}
