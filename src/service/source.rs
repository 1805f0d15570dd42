//! What the service needs to know about models and data, so that it can be tested without either.

use data_layer::error::Result;
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The registry's row of the model in service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Champion {
    pub strategy: String,
    pub version: String,
    pub sha256: String,
    pub metrics: Value,
    pub config: Value,
    pub activated_at: Option<String>,
    pub feature_set: String,
    pub top_n: usize,
    pub bottom_n: usize,
}

/// Who belonged to the universe on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Universe {
    pub id: String,
    pub symbols: Vec<String>,
}

/// One whole cross-section, scored.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreDay {
    pub asof: TradingDay,
    pub universe: Universe,
    /// Finite scores only, in any order.
    pub scores: Vec<(String, f64)>,
    /// Members without a score, with the reason.
    pub excluded: Vec<(String, String)>,
    /// The share of the full book that the regime of the day leaves.
    pub exposure: f64,
    pub data_snapshot: String,
}

/// Weights of a whole cross-section.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Weights {
    pub weights: BTreeMap<String, f64>,
    pub notes: Vec<String>,
}

/// Models, data and the portfolio rule behind the service. Calls may block: the service makes them off its own threads.
pub trait SignalSource: Send + Sync + 'static {
    /// The registry's champion; `None` when there is none.
    fn champion(&self) -> Result<Option<Champion>>;
    /// The newest session that could be scored.
    fn latest(&self) -> Result<TradingDay>;
    /// `None` when the day is a GREEN session, else the reason why not.
    fn not_green(&self, asof: TradingDay) -> Result<Option<String>>;
    /// The identity of the data that a score would be computed from now.
    fn data_snapshot(&self) -> Result<String>;
    fn universe(&self, asof: TradingDay) -> Result<Universe>;
    /// Scores of the whole universe of `asof` by this model.
    fn score_all(&self, champion: &Champion, asof: TradingDay) -> Result<ScoreDay>;
    /// Digest, feature list, schema and golden rows of an artifact, before it may serve.
    fn verify(&self, champion: &Champion) -> Result<()>;
    /// The raw sleeve weights of the portfolio rule.
    fn weights(&self, scores: &[(String, f64)], top_n: usize, bottom_n: usize) -> Result<Weights>;
    /// Stop every increase of every paper account, now. Reductions pass.
    fn stop_trading(&self, operator: &str, reason: &str) -> Result<()>;
    /// Keep a record of a reload, a rollback or an override.
    fn record(&self, event: &str, operator: &str, reason: &str, detail: &Value) -> Result<()>;
}
