//! `configs/training/<family>.yml`: what a model is made from, how it is searched and what it must clear.

use crate::features;
use crate::models::gbdt::Params;
use crate::models::gbdt::target::OBJECTIVES;
use crate::models::router::RouterConfig;
use crate::portfolio::RuleConfig;
use crate::types::Panel;
use crate::validation::cpcv::{CpcvConfig, PurgeScope};
use crate::validation::gate::NoLane;
use crate::validation::holdout::HoldoutConfig;
use crate::validation::hurdles::Bars;
use data_layer::error::{Error, Result, code};
use data_layer::reference::decided_adv;
use data_layer::store;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The built-in configuration of `equities_xs`.
pub const EQUITIES_XS: &str = include_str!("../../configs/training/equities_xs.yml");
/// The models that can be trained: the name of a configuration, and what is built in of it. All are of one family, so every
/// configuration that any of them scores counts against all.
pub const MODELS: [(&str, &str); 3] = [
    ("equities_xs", EQUITIES_XS),
    ("equities_xs_rank", include_str!("../../configs/training/equities_xs_rank.yml")),
    ("equities_xs_alpha158", include_str!("../../configs/training/equities_xs_alpha158.yml")),
];
/// The JSON Schema of all of them.
pub const EQUITIES_XS_SCHEMA: &str = include_str!("../../configs/training/equities_xs.schema.json");

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    pub version: u32,
    pub family: String,
    pub window: Window,
    pub dependencies: BTreeMap<String, f64>,
    pub no_lane: NoLane,
    pub features: Features,
    pub label: Label,
    pub weights: Weights,
    pub cpcv: Cpcv,
    pub model: Learner,
    pub search: Search,
    pub portfolio: RuleConfig,
    pub bars: Bars,
    pub promotion: Promotion,
    /// Which listed names may be traded; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub universe: Option<Tradable>,
    /// Set aside for one look.
    #[serde(default)]
    pub holdout: HoldoutConfig,
    /// When a new challenger is due; the defaults when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrain: Option<Retrain>,
    /// What the router left of the sleeve when the run was pinned: the names and the size that its books are simulated with. Written
    /// by the pin, never by a person; none in models of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<RouterConfig>,
}

/// Names that trade enough money.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Tradable {
    /// Dollars a day over the 60 sessions before the month.
    pub min_adv_usd: f64,
}

impl Tradable {
    /// Take the membership from names that do not trade enough, month by month.
    pub fn restrict(&self, panel: &mut Panel) {
        for s in 0..panel.n_symbols() {
            let dollars: Vec<f64> = panel.close_raw.row(s).iter().zip(panel.volume_raw.row(s)).map(|(c, v)| c * v).collect();
            let adv = decided_adv(&panel.days, &dollars);
            panel.member.row_mut(s).iter_mut().zip(adv).filter(|(_, adv)| !(*adv >= self.min_adv_usd)).for_each(|(member, _)| *member = 0.0);
        }
    }
}

/// What makes a new challenger due. Each alone is enough.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Retrain {
    /// Days since the newest session that the newest model learnt from.
    pub max_age_days: i32,
    /// Growth of the GREEN partitions, as a fraction of those that it was trained on.
    pub coverage_growth: f64,
    /// Population stability index of one feature after training against before.
    pub feature_psi: f64,
    /// Newest shadowed sessions over which the champion may not lose by more than chance.
    pub champion_sessions: usize,
}

impl Default for Retrain {
    fn default() -> Self {
        Self { max_age_days: 28, coverage_growth: 0.10, feature_psi: 0.25, champion_sessions: 10 }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub years: i16,
    pub cap_to_held: bool,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Features {
    pub set: String,
    pub required: Vec<String>,
}

/// `forward`: the return from `entry_lag` to `entry_lag + horizon` sessions after the signal.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Label {
    pub kind: String,
    pub horizon: usize,
    pub entry_lag: usize,
    pub delist_aware: bool,
}

impl Label {
    /// The label of day t ends this many sessions after it.
    pub fn span(&self) -> usize {
        self.horizon + self.entry_lag
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    pub half_life_months: f64,
    /// Whether a label also weighs what it does not share with others of its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uniqueness: bool,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cpcv {
    pub groups: usize,
    pub test_groups: usize,
    pub embargo_sessions: usize,
    /// `date`: all symbols.
    pub purge: String,
    pub min_oos_months: usize,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Learner {
    pub kind: String,
    pub objective: String,
    pub num_leaves: u32,
    pub learning_rate: f64,
    pub rounds: usize,
    #[serde(default = "all_bins")]
    pub max_bin: u32,
    pub seed: u64,
    /// Fewer rounds where the newest training days say so; always `rounds` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
}

/// The number of rounds is found on the newest days of a training fold, after a model of its older days; then the whole
/// fold is learnt with that many. The days that are tested have no part in it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Rounds without improvement.
    pub patience: usize,
    /// Share of the training days, the newest, that decide.
    pub valid_share: f64,
}

fn all_bins() -> u32 {
    255
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Search {
    pub grid: Grid,
    /// Cross-validate only the survivors of a cheaper search over the grid; all of it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halving: Option<Halving>,
}

/// Successive halving over walk-forward blocks.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Halving {
    /// Configurations of the grid that are tried.
    pub candidates: usize,
    /// One of this many survives a rung.
    pub eta: usize,
    /// Blocks, oldest first, that each rung is scored on.
    pub rungs: Vec<usize>,
    /// Survivors of the last rung, cross-validated in full.
    pub finalists: usize,
}

/// The searched values; an absent parameter keeps the model section's value.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Grid {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub num_leaves: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub min_data_in_leaf: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub learning_rate: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<usize>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    pub shadow_weeks: u32,
}

/// One configuration of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub id: usize,
    pub params: Params,
    /// What identifies the configuration in the trial ledger: everything that decides its scores and returns.
    pub config: Value,
    pub config_sha256: String,
}

/// What is built in of a model's configuration.
pub fn built_in(model: &str) -> Result<&'static str> {
    MODELS.iter().find(|(name, _)| *name == model).map(|(_, yaml)| *yaml).ok_or_else(|| {
        let known: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
        Error::new(code::CFG_VALUE, text!("there is no built-in training configuration for '{model}'")).found(text!("known: {}", known.join(", ")))
    })
}

impl TrainingConfig {
    /// The built-in configuration of a model.
    pub fn built_in(model: &str) -> Result<Self> {
        Self::parse(built_in(model)?)
    }

    /// Parse and validate YAML. Unknown keys are errors.
    pub fn parse(yaml: &str) -> Result<Self> {
        let config: Self = serde_yaml::from_str(yaml).map_err(|e| {
            let text = e.to_string();
            let kind = if text.contains("unknown field") { code::CFG_UNKNOWN_KEY } else { code::CFG_PARSE };
            Error::new(kind, "a training configuration cannot be read").cause(text).fix("compare it with configs/training/equities_xs.yml")
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Refuse values that cannot mean anything.
    pub fn validate(&self) -> Result<()> {
        let known = |what: &str, value: &str, only: &str| {
            if value == only { Ok(()) } else { Err(Error::new(code::CFG_VALUE, text!("{what} can only be '{only}'")).found(value.to_string())) }
        };
        known("version", &self.version.to_string(), "1")?;
        if !features::SETS.contains(&self.features.set.as_str()) {
            return Err(features::unknown_set(&self.features.set));
        }
        known("label.kind", &self.label.kind, "forward")?;
        known("cpcv.purge", &self.cpcv.purge, "date")?;
        known("model.kind", &self.model.kind, "lightgbm")?;
        if !OBJECTIVES.contains(&self.model.objective.as_str()) {
            return Err(Error::new(code::CFG_VALUE, text!("model.objective can only be one of {}", OBJECTIVES.join(", "))).found(self.model.objective.clone()));
        }
        let positive = [
            ("window.years", f64::from(self.window.years)),
            ("label.horizon", self.label.horizon as f64),
            ("label.entry_lag", self.label.entry_lag as f64),
            ("weights.half_life_months", self.weights.half_life_months),
            ("cpcv.test_groups", self.cpcv.test_groups as f64),
            ("model.learning_rate", self.model.learning_rate),
            ("retrain.max_age_days", f64::from(self.retrain().max_age_days)),
            ("retrain.coverage_growth", self.retrain().coverage_growth),
            ("retrain.feature_psi", self.retrain().feature_psi),
            ("model.rounds", self.model.rounds as f64),
            ("universe.min_adv_usd", self.universe.map_or(1.0, |u| u.min_adv_usd)),
            ("promotion.shadow_weeks", f64::from(self.promotion.shadow_weeks)),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::new(code::CFG_VALUE, text!("{name} must be positive")).found(value.to_string()));
            }
        }
        if self.cpcv.groups <= self.cpcv.test_groups {
            return Err(Error::new(code::CFG_VALUE, "cpcv.groups must exceed cpcv.test_groups").found(format!("{:?}", self.cpcv)));
        }
        if let Some(h) = &self.search.halving {
            let rising = h.rungs.windows(2).all(|w| w[0] < w[1]) && h.rungs.first().is_some_and(|r| *r > 0);
            if h.candidates == 0 || h.eta < 2 || h.finalists < 2 || !rising {
                return Err(
                    Error::new(code::CFG_VALUE, "search.halving needs candidates, eta and finalists of at least 2, and rising rungs").found(format!("{h:?}"))
                );
            }
        }
        if let Some(e) = self.model.early_stopping.filter(|e| e.patience == 0 || !(e.valid_share > 0.0 && e.valid_share <= 0.5)) {
            return Err(
                Error::new(code::CFG_VALUE, "model.early_stopping needs a patience of at least 1 and a share above 0, at most 0.5").found(format!("{e:?}"))
            );
        }
        if self.retrain().champion_sessions < 2 {
            return Err(Error::new(code::CFG_VALUE, "retrain.champion_sessions must be at least 2").found(self.retrain().champion_sessions.to_string()));
        }
        self.bars.validate()?;
        self.portfolio.validate()
    }

    /// Where this configuration asks for less than `other`: said in every later report.
    pub fn looser_than(&self, other: &Self) -> Vec<String> {
        let mut out = self.bars.looser_than(&other.bars);
        let mut note = |name: &str, ours: f64, theirs: f64| {
            if ours < theirs {
                out.push(text!("{name} was loosened from {theirs} to {ours}"));
            }
        };
        for (table, theirs) in &other.dependencies {
            note(&format!("dependencies.{table}"), self.dependencies.get(table).copied().unwrap_or(0.0), *theirs);
        }
        note("cpcv.embargo_sessions", self.cpcv.embargo_sessions as f64, other.cpcv.embargo_sessions as f64);
        note("cpcv.min_oos_months", self.cpcv.min_oos_months as f64, other.cpcv.min_oos_months as f64);
        note("portfolio.cost_bps_round_trip", self.portfolio.cost_bps_round_trip, other.portfolio.cost_bps_round_trip);
        note("promotion.shadow_weeks", f64::from(self.promotion.shadow_weeks), f64::from(other.promotion.shadow_weeks));
        note("holdout.months", f64::from(self.holdout.months), f64::from(other.holdout.months));
        out
    }

    /// [`Self::looser_than`] what the program brings along for this family.
    pub fn loosened(&self) -> Vec<String> {
        Self::built_in(&self.family).map(|given| self.looser_than(&given)).unwrap_or_default()
    }

    /// What makes a new challenger due.
    pub fn retrain(&self) -> Retrain {
        self.retrain.unwrap_or_default()
    }

    /// How the days are split.
    pub fn cpcv(&self) -> CpcvConfig {
        CpcvConfig { groups: self.cpcv.groups, test_groups: self.cpcv.test_groups, embargo_sessions: self.cpcv.embargo_sessions, scope: PurgeScope::Date }
    }

    fn base_params(&self) -> Params {
        let m = &self.model;
        Params {
            objective: m.objective.clone(),
            rounds: m.rounds,
            learning_rate: m.learning_rate,
            num_leaves: m.num_leaves,
            max_bin: m.max_bin,
            seed: m.seed,
            ..Params::default()
        }
    }

    /// Every configuration of the search, in the order of the grid.
    pub fn cells(&self) -> Result<Vec<Cell>> {
        let g = &self.search.grid;
        let base = self.base_params();
        let or = |values: &[u32], one: u32| if values.is_empty() { vec![one] } else { values.to_vec() };
        let rates = if g.learning_rate.is_empty() { vec![base.learning_rate] } else { g.learning_rate.clone() };
        let rounds = if g.rounds.is_empty() { vec![base.rounds] } else { g.rounds.clone() };
        let mut out: Vec<Cell> = Vec::new();
        for num_leaves in or(&g.num_leaves, base.num_leaves) {
            for min_data_in_leaf in or(&g.min_data_in_leaf, base.min_data_in_leaf) {
                for learning_rate in &rates {
                    for rounds in &rounds {
                        let params = Params { num_leaves, min_data_in_leaf, learning_rate: *learning_rate, rounds: *rounds, ..base.clone() };
                        let config = self.trial_config(&params)?;
                        let config_sha256 = store::digest_of(&config)?;
                        if out.iter().all(|c| c.config_sha256 != config_sha256) {
                            out.push(Cell { id: out.len(), params, config, config_sha256 });
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    fn trial_config(&self, params: &Params) -> Result<Value> {
        let mut config = json!({
            "family": self.family, "window": serde_json::to_value(&self.window)?, "holdout": serde_json::to_value(self.holdout)?, "features": serde_json::to_value(&self.features)?, "label": serde_json::to_value(&self.label)?,
            "weights": serde_json::to_value(&self.weights)?, "cpcv": serde_json::to_value(&self.cpcv)?,
            "portfolio": serde_json::to_value(&self.portfolio)?, "model": serde_json::to_value(params)?,
        });
        if let Some(routing) = &self.routing {
            config["routing"] = serde_json::to_value(routing)?;
        }
        if let Some(early) = self.model.early_stopping {
            config["early_stopping"] = serde_json::to_value(early)?;
        }
        if let Some(universe) = self.universe {
            config["universe"] = serde_json::to_value(universe)?;
        }
        Ok(config)
    }

    /// Digest of the searched space.
    pub fn space_sha256(&self) -> Result<String> {
        store::digest_of(&json!({"model": serde_json::to_value(&self.model)?, "search": serde_json::to_value(&self.search)?}))
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
