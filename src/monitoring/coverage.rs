//! Data health in the form of the daily report, and whether it is good enough to trade on.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the ledger says about one dataset in a window.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatasetHealth {
    pub green: u64,
    pub amber: u64,
    pub red: u64,
    pub expected: u64,
    pub codes: BTreeMap<String, u64>,
}

impl DatasetHealth {
    /// GREEN share of what was expected; undefined when nothing was.
    pub fn fraction(&self) -> Result<f64> {
        if self.expected == 0 {
            return Err(Error::new(code::ML_UNDEFINED, "the coverage is undefined").cause("nothing was expected in the window"));
        }
        Ok(self.green as f64 / self.expected as f64)
    }
}

/// Refuse to go on with a dataset below its threshold, naming it; an empty expectation does not pass.
pub fn require(health: &BTreeMap<String, DatasetHealth>, thresholds: &BTreeMap<String, f64>) -> Result<()> {
    for (dataset, minimum) in thresholds {
        let fraction = health.get(dataset).map_or_else(|| DatasetHealth::default().fraction(), DatasetHealth::fraction);
        match fraction {
            Ok(f) if f >= *minimum => {}
            other => {
                let found = other.map_or_else(|e| e.to_string(), |f| format!("{:.2} % GREEN", 100.0 * f));
                return Err(Error::new(code::GATE_GREEN, text!("{dataset} is not GREEN enough: {:.2} % are needed", 100.0 * minimum))
                    .found(found)
                    .fix("trademl node once"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_dataset_never_passes() {
        let thresholds = BTreeMap::from([("equities_eod".to_string(), 0.98)]);
        assert!(require(&BTreeMap::new(), &thresholds).unwrap_err().is(code::GATE_GREEN));
        let health = |green| BTreeMap::from([("equities_eod".to_string(), DatasetHealth { green, expected: 100, ..DatasetHealth::default() })]);
        assert!(require(&health(97), &thresholds).is_err());
        assert!(require(&health(98), &thresholds).is_ok());
    }
}
