//! The GREEN gate: a model trains only on a window whose every dependency is complete.
//!
//! For each dependency: GREEN / expected over the window, from the ledger, against its threshold; the minimum decides.
//! What the ledger does not know counts as missing, and missing fails. A dependency that no entitled lane serves either
//! refuses or, where the configuration says so, is stated in the verdict; it never counts as complete.

use data_layer::error::{Error, Result, code};
pub use data_layer::ledger::Coverage;
use data_layer::time::DateRange;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the gate learns what is complete: the ledger, or a test.
pub trait CoverageSource {
    /// What the ledger says of a table in a window.
    fn coverage(&self, table: &str, window: DateRange) -> Result<Coverage>;
    /// Why no entitled lane serves a table, if none does. Asked only where the ledger expects nothing of the table.
    fn no_lane(&self, table: &str) -> Result<Option<String>>;
}

/// What to do about a dependency that no entitled lane serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoLane {
    Refuse,
    State,
}

/// The judgement of one dependency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRow {
    pub table: String,
    pub window: DateRange,
    /// The smallest GREEN fraction accepted.
    pub threshold: f64,
    /// Null when nothing is known.
    pub fraction: Option<f64>,
    pub coverage: Coverage,
    pub passed: bool,
    /// Set when the dependency is done without, with the reason; it is then neither passed on evidence nor refused.
    pub stated: Option<String>,
    /// The rule in words.
    pub rule: String,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    pub fix: Option<String>,
}

/// The judgement of all dependencies, in the order of their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    pub rows: Vec<GateRow>,
    /// The smallest fraction over the dependencies that were judged; null when one of them is unknown.
    pub minimum: Option<f64>,
    pub passed: bool,
}

/// Judge every dependency (`table -> smallest GREEN fraction`) over `window`.
pub fn judge(dependencies: &BTreeMap<String, f64>, window: DateRange, no_lane: NoLane, source: &dyn CoverageSource) -> Result<GateReport> {
    if dependencies.is_empty() {
        return Err(Error::new(code::CFG_VALUE, "a training configuration must name its dependencies").fix("list at least one table under 'dependencies'"));
    }
    let mut rows = Vec::new();
    for (table, threshold) in dependencies {
        if !(*threshold > 0.0 && *threshold <= 1.0) {
            return Err(Error::new(code::CFG_VALUE, text!("the threshold of {table} is not in (0, 1]")).found(threshold.to_string()));
        }
        rows.push(judge_one(table, *threshold, window, no_lane, source)?);
    }
    let judged: Vec<Option<f64>> = rows.iter().filter(|r| r.stated.is_none()).map(|r| r.fraction).collect();
    let minimum = judged.iter().copied().collect::<Option<Vec<f64>>>().and_then(|v| v.into_iter().reduce(f64::min));
    // A report in which every dependency is merely stated rests on nothing.
    let passed = !judged.is_empty() && rows.iter().all(|r| r.passed || r.stated.is_some());
    Ok(GateReport { rows, minimum, passed })
}

fn judge_one(table: &str, threshold: f64, window: DateRange, no_lane: NoLane, source: &dyn CoverageSource) -> Result<GateRow> {
    let rule = format!("GREEN / expected >= {threshold}");
    let base = GateRow {
        table: table.into(),
        window,
        threshold,
        fraction: None,
        coverage: Coverage::default(),
        passed: false,
        stated: None,
        rule,
        found: String::new(),
        fix: None,
    };
    let coverage = source.coverage(table, window)?;
    // Evidence speaks first: what a lane that is gone left on the drive is judged as it is.
    let reason = if coverage.expected == 0 { source.no_lane(table)? } else { None };
    if let Some(reason) = reason {
        let found = text!("no entitled lane serves it: {reason}");
        return Ok(match no_lane {
            NoLane::State => GateRow { stated: Some(reason), found, ..base },
            NoLane::Refuse => GateRow {
                found,
                fix: Some("trademl pi-data-node (add a key whose plan holds it), or no_lane: state in the training configuration".into()),
                ..base
            },
        });
    }
    // Nothing expected is nothing known.
    let fraction = (coverage.expected > 0).then(|| coverage.fraction());
    let passed = fraction.is_some_and(|f| f >= threshold);
    let found = match fraction {
        None => "the ledger expects nothing and knows nothing: missing counts as RED".to_string(),
        Some(f) => {
            let worst: Vec<String> = coverage.codes.iter().filter(|(c, _)| *c != "OK").map(|(c, n)| format!("{n} {c}")).collect();
            let detail = if worst.is_empty() { String::new() } else { format!(" ({})", worst.join(", ")) };
            text!("{f:.4}: {} of {} partitions GREEN{detail}", coverage.green, coverage.expected)
        }
    };
    let fix = (!passed).then(|| format!("trademl node once   (asks again for what {table} lacks in {window}; which names lack what: trademl coverage)"));
    Ok(GateRow { fraction, coverage, passed, found, fix, ..base })
}

impl GateReport {
    /// Refuse unless every dependency passed or may be stated; the refusal names each failing one.
    pub fn require(&self) -> Result<()> {
        if self.passed {
            return Ok(());
        }
        let failing: Vec<&GateRow> = self.rows.iter().filter(|r| !r.passed && r.stated.is_none()).collect();
        let names: Vec<&str> = failing.iter().map(|r| r.table.as_str()).collect();
        let what = if names.is_empty() { "no dependency is served by an entitled lane".to_string() } else { text!("not GREEN enough: {}", names.join(", ")) };
        let found: Vec<String> = failing.iter().map(|r| text!("{} over {}: {} (rule: {})", r.table, r.window, r.found, r.rule)).collect();
        let mut error =
            Error::new(code::GATE_GREEN, what).cause("models train only on windows whose contents were read and found complete").found(found.join("; "));
        for row in failing {
            if let Some(fix) = &row.fix {
                error = error.fix(fix);
            }
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(BTreeMap<&'static str, (u64, u64)>, Option<&'static str>);

    impl CoverageSource for Fake {
        fn coverage(&self, table: &str, _: DateRange) -> Result<Coverage> {
            let (green, expected) = self.0.get(table).copied().unwrap_or((0, 0));
            let codes = BTreeMap::from([("MISSING".to_string(), expected - green)]);
            Ok(Coverage { expected, green, amber: 0, red: expected - green, codes })
        }
        fn no_lane(&self, table: &str) -> Result<Option<String>> {
            Ok((self.1 == Some(table)).then(|| "the plan has no corporate actions".to_string()))
        }
    }

    fn window() -> DateRange {
        DateRange::new("2015-01-02".parse().unwrap(), "2020-01-02".parse().unwrap()).unwrap()
    }

    fn dependencies() -> BTreeMap<String, f64> {
        BTreeMap::from([("curated/equities_ohlcv_adj".to_string(), 0.98), ("reference/corp_actions".to_string(), 0.99)])
    }

    #[test]
    fn lesson_036_the_minimum_decides_and_each_input_removed_refuses() {
        let full = BTreeMap::from([("curated/equities_ohlcv_adj", (99, 100)), ("reference/corp_actions", (100, 100))]);
        let report = judge(&dependencies(), window(), NoLane::Refuse, &Fake(full.clone(), None)).unwrap();
        assert!(report.passed && report.minimum == Some(0.99));
        report.require().unwrap();
        for table in full.keys() {
            let mut without = full.clone();
            without.remove(table);
            let report = judge(&dependencies(), window(), NoLane::State, &Fake(without, None)).unwrap();
            assert_eq!(report.minimum, None);
            let error = report.require().unwrap_err();
            assert!(error.is(code::GATE_GREEN));
            let body = error.body();
            assert!(body.found.as_ref().unwrap().contains(table) && body.found.as_ref().unwrap().contains("[2015-01-02, 2020-01-02)"));
            assert!(body.fix[0].contains("trademl node once"));
        }
    }

    #[test]
    fn below_the_threshold_refuses_with_the_actual_number() {
        let low = BTreeMap::from([("curated/equities_ohlcv_adj", (97, 100)), ("reference/corp_actions", (100, 100))]);
        let error = judge(&dependencies(), window(), NoLane::Refuse, &Fake(low, None)).unwrap().require().unwrap_err();
        assert!(error.body().found.as_ref().unwrap().contains("0.9700: 97 of 100 partitions GREEN (3 MISSING)"));
    }

    #[test]
    fn a_dependency_without_a_lane_refuses_or_is_stated_as_configured() {
        let fake = Fake(BTreeMap::from([("curated/equities_ohlcv_adj", (100, 100))]), Some("reference/corp_actions"));
        assert!(!judge(&dependencies(), window(), NoLane::Refuse, &fake).unwrap().passed);
        let stated = judge(&dependencies(), window(), NoLane::State, &fake).unwrap();
        assert!(stated.passed && stated.rows[1].stated.is_some() && !stated.rows[1].passed);
        let only = BTreeMap::from([("reference/corp_actions".to_string(), 0.99)]);
        assert!(judge(&only, window(), NoLane::State, &fake).unwrap().require().is_err(), "stated alone is no evidence");
    }
}
