//! Features: what a model sees of each `(symbol, day)`, computed from nothing that was unknown at that day's close.
//!
//! A feature is missing (`NaN`) where its window is not full; nothing is filled forward or back. `validation::leak` proves
//! the first sentence by recomputing on truncated and perturbed panels.

pub mod alpha158;
pub mod equities_xs;
mod ln;
pub mod standardise;
pub(crate) mod window;

#[cfg(test)]
pub(crate) mod fixture;

use crate::types::{Matrix, Panel};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// Names of the feature sets that a configuration can ask for.
pub const SETS: [&str; 2] = [equities_xs::FEATURE_SET, alpha158::FEATURE_SET];

/// How many columns a set has when every source is there.
pub fn width(set: &str) -> Result<usize> {
    match set {
        equities_xs::FEATURE_SET => Ok(equities_xs::registry().len()),
        alpha158::FEATURE_SET => Ok(alpha158::COUNT),
        other => Err(unknown_set(other)),
    }
}

/// What the model sees of a set, by its name: members of the universe only, standardised per date.
pub fn build(set: &str, panel: &Panel) -> Result<FeatureBlock> {
    match set {
        equities_xs::FEATURE_SET => equities_xs::build(panel),
        alpha158::FEATURE_SET => alpha158::build(panel),
        other => Err(unknown_set(other)),
    }
}

/// The refusal of a set that nobody builds.
pub fn unknown_set(name: &str) -> Error {
    Error::new(code::CFG_VALUE, text!("there is no feature set '{name}'")).found(text!("known: {}", SETS.join(", "))).fix("set features.set to one of them")
}

/// How a feature reaches the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Per-date z-score over the members of the universe.
    CrossSection,
    /// As computed: the same for every name on a date (a z-score would be 0 everywhere).
    AsIs,
}

/// The registry's row for one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSpec {
    pub name: &'static str,
    /// The file that computes it: `momentum`, `gap`, `volatility`, `liquidity`, `calendar`, `context`.
    pub family: &'static str,
    /// Unit before standardising, e.g. `log return`, `usd`.
    pub unit: &'static str,
    /// How many sessions before `t` the value at `t` can depend on.
    pub lookback_sessions: usize,
    pub scaling: Scaling,
}

/// The unit of every [`Scaling::CrossSection`] feature after standardising.
pub const STANDARD_UNIT: &str = "standard deviations";

/// A feature of the specification that is not computed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    pub name: String,
    pub reason: String,
}

/// Features of a panel: `columns[f]` is `symbols x days` and belongs to `names[f]`, `units[f]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureBlock {
    pub names: Vec<String>,
    pub units: Vec<&'static str>,
    pub columns: Vec<Matrix>,
    pub excluded: Vec<Excluded>,
}

impl FeatureBlock {
    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }
    pub fn column(&self, name: &str) -> Option<&Matrix> {
        self.index(name).map(|i| &self.columns[i])
    }
    /// The feature vector of one symbol on one day, in the order of `names`.
    pub fn vector(&self, symbol: usize, day: usize) -> Vec<f64> {
        self.columns.iter().map(|m| m.at(symbol, day)).collect()
    }
    /// Refuse a block whose parts do not fit together, or do not fit the panel they claim to describe.
    pub fn check_shape(&self, panel: &Panel) -> Result<()> {
        if self.names.len() != self.columns.len() || self.units.len() != self.columns.len() {
            let (n, u, c) = (self.names.len(), self.units.len(), self.columns.len());
            return Err(Error::bug(text!("a feature block has {n} names, {u} units and {c} columns")));
        }
        for (name, m) in self.names.iter().zip(&self.columns) {
            if m.rows() != panel.n_symbols() || m.cols() != panel.n_days() {
                let (rows, cols) = (panel.n_symbols(), panel.n_days());
                return Err(Error::bug(text!("feature {name} is {} x {}, its panel is {rows} x {cols}", m.rows(), m.cols())));
            }
        }
        Ok(())
    }
}
