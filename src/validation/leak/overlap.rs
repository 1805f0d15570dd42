//! No training label may meet a test label, nor start within the embargo after a block of test days.

use super::LeakReport;
use crate::validation::cpcv::Split;

/// Runs of consecutive days: `(first, last)`.
fn blocks(days: &[usize]) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for &d in days {
        match out.last_mut() {
            Some(block) if block.1 + 1 == d => block.1 = d,
            _ => out.push((d, d)),
        }
    }
    out
}

/// The first training day of a split that must not be there, looked for without using the splitter's own arithmetic.
fn offence(split: &Split, n_days: usize, span: usize, gap: usize) -> Option<String> {
    let end = |t: usize| (t + span).min(n_days.saturating_sub(1));
    if let Some(t) = split.train_days.iter().chain(&split.test_days).find(|&&t| t >= n_days) {
        return Some(text!("split {} names day {t} of a panel of {n_days}", split.id));
    }
    for (first, last) in blocks(&split.test_days) {
        let bad = |t: &&usize| {
            let meets = **t <= end(last) && end(**t) >= first;
            meets || (**t > last && **t <= end(last) + gap)
        };
        if let Some(t) = split.train_days.iter().find(bad) {
            return Some(text!("split {}: training day {t} with its label up to day {} against test days {first} to {last}", split.id, end(*t)));
        }
    }
    None
}

pub(super) fn check(report: &mut LeakReport, n_days: usize, span: usize, splits: &[Split], embargo: usize) {
    let subject = text!("{} splits", splits.len());
    if splits.is_empty() || splits.iter().any(|s| s.train_days.is_empty() || s.test_days.is_empty()) {
        report.add("split_overlap", subject, false, "there is no split, or one without training or test days");
        return;
    }
    for (name, gap, meaning) in [("split_overlap", 0, "no label spans meet"), ("split_embargo", embargo, "the embargo is kept")] {
        let found = splits.iter().find_map(|s| offence(s, n_days, span, gap));
        let fine = text!("{meaning} with labels of {span} sessions and an embargo of {gap}");
        report.add(name, subject.clone(), found.is_none(), found.unwrap_or(fine));
    }
}
