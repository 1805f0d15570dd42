//! The signal service: scores and weights of the served model over loopback HTTP.
//!
//! A score depends on model, as-of date and universe, never on who else was asked for. One immutable snapshot answers a
//! request from its first to its last byte. Nothing is substituted: no older date, no default model, no mock features.

pub mod source;
pub mod signals;
pub mod reload;
pub mod metrics;
pub mod http;
#[cfg(test)]
mod tests;

pub use http::serve;
pub use source::{Champion, ScoreDay, SignalSource, Universe};

use crate::service::metrics::Metrics;
use arc_swap::ArcSwapOption;
use data_layer::host::Host;
use data_layer::time::{TradingDay, UtcTime};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Port of the service unless told otherwise.
pub const DEFAULT_PORT: u16 = 8001;
/// Seconds between looks at the registry.
pub const POLL_S: u64 = 300;

/// The model that answers, and its scores per day. Swapped as a whole, never changed.
pub struct Served {
    pub champion: Champion,
    pub loaded_at: UtcTime,
    /// What the shadow validation against the model before it said.
    pub validation: Value,
    /// Scored days by (data snapshot, as-of).
    pub days: Mutex<BTreeMap<(String, TradingDay), CachedDay>>,
}

/// A scored day and when it was scored.
#[derive(Clone)]
pub struct CachedDay {
    pub at: UtcTime,
    pub day: Arc<ScoreDay>,
}

/// Why the last reload did not happen.
#[derive(Clone, Debug, Default)]
pub struct ReloadState {
    /// Registry version that was last looked at, so that a rolled-back version is not loaded again by the poll.
    pub seen: Option<String>,
    pub problem: Option<String>,
}

/// Everything that the handlers share.
pub struct ServiceState {
    pub host: Host,
    pub source: Arc<dyn SignalSource>,
    pub strategy: String,
    pub started_at: UtcTime,
    pub served: ArcSwapOption<Served>,
    pub previous: ArcSwapOption<Served>,
    pub reload: Mutex<ReloadState>,
    pub metrics: Metrics,
}

impl ServiceState {
    /// No model is loaded yet: the service is up and "not ready".
    pub fn new(host: &Host, strategy: &str, source: Arc<dyn SignalSource>) -> Arc<Self> {
        Arc::new(Self {
            host: host.clone(),
            source,
            strategy: strategy.to_string(),
            started_at: host.now(),
            served: ArcSwapOption::empty(),
            previous: ArcSwapOption::empty(),
            reload: Mutex::new(ReloadState::default()),
            metrics: Metrics::default(),
        })
    }

    /// What is in the way of answering; empty = ready.
    pub fn reasons_not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.served.load().is_none() {
            reasons.push(format!("no model of {} is loaded", self.strategy));
        }
        match self.source.latest().and_then(|day| Ok((day, self.source.not_green(day)?))) {
            Ok((_, None)) => {}
            Ok((day, Some(why))) => reasons.push(format!("{day} is not GREEN: {why}")),
            Err(e) => reasons.push(e.to_string()),
        }
        if let Ok(state) = self.reload.lock()
            && let Some(problem) = &state.problem
        {
            reasons.push(format!("the last reload was refused: {problem}"));
        }
        reasons
    }
}
