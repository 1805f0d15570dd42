//! Two tear sheets side by side.

use super::tear_sheet::TearSheet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One number of both; null where one has none.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub a: Option<f64>,
    pub b: Option<f64>,
}

/// Bars, trials, rank correlation, every metric and every what-if that either sheet has, in the order of the first.
pub fn rows(a: &TearSheet, b: &TearSheet) -> Vec<Row> {
    let (left, right) = (numbers(a), numbers(b));
    let by_name: BTreeMap<&str, Option<f64>> = right.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    let mut out: Vec<Row> = left.iter().map(|(name, v)| Row { name: name.clone(), a: *v, b: by_name.get(name.as_str()).copied().flatten() }).collect();
    out.extend(right.iter().filter(|(n, _)| left.iter().all(|l| l.0 != *n)).map(|(name, v)| Row { name: name.clone(), a: None, b: *v }));
    out
}

fn numbers(s: &TearSheet) -> Vec<(String, Option<f64>)> {
    let mut out = vec![("sessions".to_string(), Some(s.days.len() as f64)), ("trials in the family".to_string(), Some(s.trials as f64))];
    // Bars that are metrics too are told once, below.
    let metrics = &s.challenger.summary.metrics;
    out.extend(s.verdict.rows.iter().filter(|r| r.value.is_some() && metrics.iter().all(|m| m.name != r.name)).map(|r| (r.name.replace('_', " "), r.value)));
    out.push(("mean rank correlation".to_string(), s.ic.as_ref().map(|ic| ic.summary.mean)));
    out.extend(metrics.iter().map(|m| (m.name.replace('_', " "), m.value)));
    out.extend(s.what_if.iter().map(|w| (format!("Sharpe, {}", w.circumstance), w.sharpe)));
    out
}

/// What makes the two unlike: other sessions, other data, another world.
pub fn cautions(a: &TearSheet, b: &TearSheet) -> Vec<String> {
    let mut out = Vec::new();
    if a.days != b.days {
        out.push("they were judged on different sessions: a difference may be the market's".to_string());
    }
    if a.dataset != b.dataset {
        out.push(format!("they come from different data: {} and {}", a.dataset, b.dataset));
    }
    if a.trials != b.trials {
        out.push("more configurations had been tried when one of them was judged: its bar for luck is higher".to_string());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::sample;

    #[test]
    fn every_number_of_either_sheet_is_there_once_and_what_differs_is_said() {
        let a = sample::sheet();
        let mut b = TearSheet { trials: 12, dataset: "real".into(), ..sample::sheet() };
        b.what_if.retain(|w| w.circumstance != "as traded");
        let rows = rows(&a, &b);
        let names: std::collections::BTreeSet<&str> = rows.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names.len(), rows.len());
        let row = |name: &str| rows.iter().find(|r| r.name == name).unwrap();
        assert_eq!((row("trials in the family").a, row("trials in the family").b), (Some(8.0), Some(12.0)));
        assert_eq!((row("Sharpe, as traded").a, row("Sharpe, as traded").b), (Some(0.81), None));
        assert!(row("sharpe").a.is_some() && row("calmar").a.is_none());
        assert_eq!(cautions(&a, &b).len(), 2);
        assert!(cautions(&a, &a).is_empty());
    }
}
