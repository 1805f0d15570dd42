//! What a drive's data is like, in one report: counts, every class of anomaly with its explanation and examples, and checks
//! that nothing is known before it was public.
//!
//! Everything is read from the ledger, the reference tables and verified raw segments; nothing is taken from what a vendor
//! promised. An anomaly for which there is no explanation is said to be unexplained, and the report as a whole with it.

use crate::control::Db;
use crate::error::Result;
use crate::node::LaneStanding;
use crate::root::DataRoot;
use serde::Serialize;
use std::collections::BTreeMap;

mod actions;
mod bars;
mod filings;
mod minutes;
mod options;
mod text;
mod vintages;

/// Examples that are shown of a class.
const EXAMPLES: usize = 6;

/// One dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Section {
    pub dataset: String,
    /// What there is, in numbers.
    pub counts: BTreeMap<String, u64>,
    /// Partitions by `STATUS CODE`.
    pub codes: BTreeMap<String, u64>,
    pub anomalies: Vec<Anomaly>,
    pub checks: Vec<Check>,
}

/// One class of anomaly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anomaly {
    pub class: String,
    pub count: u64,
    /// What it is and why it is there; empty when that is not known.
    pub explanation: String,
    pub examples: Vec<String>,
}

/// Something that must never happen, counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub what: String,
    pub looked_at: u64,
    pub violations: u64,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    pub v: u32,
    /// The drive's dataset: `real`, or a world.
    pub world: String,
    /// Lanes beside the prices, with the keys of the host that reports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneStanding>,
    pub sections: Vec<Section>,
    /// Anomalies without an explanation.
    pub unexplained: u64,
    /// Checks that failed.
    pub violations: u64,
}

impl Findings {
    /// With what is collected beside the prices, and why the rest is not.
    #[must_use]
    pub fn with_lanes(self, lanes: Vec<LaneStanding>) -> Self {
        Self { lanes, ..self }
    }
    /// For people.
    pub fn markdown(&self) -> String {
        text::markdown(self)
    }
}

/// Read the drive. Datasets of which nothing is stored are left out.
pub fn findings(root: &DataRoot, db: &Db) -> Result<Findings> {
    let sections = [
        bars::section(root, db)?,
        minutes::section(root, db)?,
        actions::section(root)?,
        vintages::section(root)?,
        filings::section(root)?,
        options::section(root)?,
    ];
    let sections: Vec<Section> = sections.into_iter().flatten().collect();
    let unexplained = sections.iter().flat_map(|s| &s.anomalies).filter(|a| a.explanation.is_empty()).map(|a| a.count).sum();
    let violations = sections.iter().flat_map(|s| &s.checks).map(|c| c.violations).sum();
    Ok(Findings { v: 1, world: root.drive().dataset.clone(), lanes: Vec::new(), sections, unexplained, violations })
}

/// Collects a class: counts all, keeps the first few as examples.
#[derive(Debug, Default)]
struct Classes(BTreeMap<&'static str, (u64, Vec<String>)>);

impl Classes {
    fn add(&mut self, class: &'static str, example: impl FnOnce() -> String) {
        let entry = self.0.entry(class).or_default();
        entry.0 += 1;
        if entry.1.len() < EXAMPLES {
            entry.1.push(example());
        }
    }
    /// With the explanation of each class.
    fn explained(self, why: impl Fn(&str) -> &'static str) -> Vec<Anomaly> {
        self.0.into_iter().map(|(class, (count, examples))| Anomaly { class: class.into(), count, explanation: why(class).into(), examples }).collect()
    }
}

#[cfg(test)]
mod tests;
