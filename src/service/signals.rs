//! Scores, ranks and weights of a request: the whole universe is ranked, then the request is filtered out of it.

use super::source::{Champion, ScoreDay, Weights};
use super::{CachedDay, Served, ServiceState};
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Scored days are kept this long, and never across data snapshots.
const CACHE_S: f64 = 3_600.0;
/// Scored days kept in memory.
const CACHE_DAYS: usize = 64;

/// `POST /api/v1/signals/generate`. Unknown fields are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    pub symbols: Vec<String>,
    pub as_of_date: Option<TradingDay>,
    pub top_n: Option<usize>,
    pub bottom_n: Option<usize>,
}

/// One symbol's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signal {
    pub symbol: String,
    pub score: f64,
    /// Dense, 1 = best.
    pub rank: usize,
    /// In (0, 1), higher is better.
    pub rank_pct: f64,
    /// Null until a calibrated map exists; never a rescaled score.
    pub expected_return: Value,
    pub target_weight: f64,
}

/// Dense ranks and rank percentages of a cross-section, in the order of the input.
pub fn ranks(scores: &[(String, f64)]) -> Vec<(usize, f64)> {
    let mut sorted: Vec<f64> = scores.iter().map(|(_, s)| *s).collect();
    sorted.sort_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    let n = sorted.len() as f64;
    scores
        .iter()
        .map(|(_, s)| {
            let below = sorted.partition_point(|v| v < s);
            let ties = sorted.partition_point(|v| v <= s) - below - 1;
            let better = distinct.len() - distinct.partition_point(|v| v <= s);
            (better + 1, (below as f64 + ties as f64 / 2.0 + 0.5) / n)
        })
        .collect()
}

impl ServiceState {
    /// The scored day of a model, from its cache when data and age allow. Blocking.
    pub fn score_day(&self, served: &Served, asof: TradingDay) -> Result<Arc<ScoreDay>> {
        let key = (self.source.data_snapshot()?, asof);
        let now = self.host.now();
        let poisoned = || Error::bug("a thread died while holding the score cache");
        if let Some(hit) = served.days.lock().map_err(|_| poisoned())?.get(&key)
            && now.seconds_since(hit.at) <= CACHE_S
        {
            return Ok(Arc::clone(&hit.day));
        }
        let day = Arc::new(checked(self.source.score_all(&served.champion, asof)?)?);
        let mut days = served.days.lock().map_err(|_| poisoned())?;
        if days.len() >= CACHE_DAYS {
            days.clear();
        }
        days.insert(key, CachedDay { at: now, day: Arc::clone(&day) });
        Ok(day)
    }

    /// Answer a request from one snapshot. Blocking.
    pub fn generate(&self, served: &Served, request: &GenerateRequest) -> Result<Value> {
        let asked = check_symbols(&request.symbols)?;
        let asof = match request.as_of_date {
            Some(day) => day,
            None => self.source.latest()?,
        };
        if let Some(why) = self.source.not_green(asof)? {
            return Err(Error::new(code::GATE_GREEN, format!("{asof} cannot be scored")).cause(why).fix("trademl node once"));
        }
        let day = self.score_day(served, asof)?;
        let c = &served.champion;
        let (top_n, bottom_n) = (request.top_n.unwrap_or(c.top_n), request.bottom_n.unwrap_or(c.bottom_n));
        if top_n == 0 || top_n + bottom_n > day.scores.len() {
            return Err(Error::new(code::SVC_REQUEST, "top_n must be at least 1, and top_n + bottom_n at most the number of scored names")
                .found(format!("{top_n} + {bottom_n} of {}", day.scores.len())));
        }
        let mut weights = self.source.weights(&day.scores, top_n, bottom_n)?;
        if day.exposure != 1.0 {
            weights.weights.values_mut().for_each(|w| *w *= day.exposure);
            weights.notes.push(text!("the regime of the day leaves {:.0} % of the book", day.exposure * 100.0));
        }
        let signals = select(&day, &weights, &asked)?;
        Ok(json!({"signals": signals, "metadata": metadata(self, c, &day, &weights, top_n, bottom_n)}))
    }
}

/// A score that is not a number, or a symbol scored twice, is a defect of the model, not an answer.
fn checked(day: ScoreDay) -> Result<ScoreDay> {
    let mut seen = std::collections::BTreeSet::new();
    for (symbol, score) in &day.scores {
        if !score.is_finite() || !seen.insert(symbol) {
            return Err(Error::new(code::ML_UNDEFINED, format!("the score of {symbol} is not usable")).found(score.to_string()));
        }
    }
    Ok(day)
}

fn check_symbols(symbols: &[String]) -> Result<Vec<&str>> {
    let good = |s: &&String| !s.is_empty() && s.len() <= 32;
    if symbols.is_empty() || !symbols.iter().all(|s| good(&s)) {
        return Err(Error::new(code::SVC_REQUEST, "symbols must be a list of at least one symbol of 1 to 32 bytes"));
    }
    let mut asked: Vec<&str> = symbols.iter().map(String::as_str).collect();
    asked.sort_unstable();
    asked.dedup();
    Ok(asked)
}

fn select(day: &ScoreDay, weights: &Weights, asked: &[&str]) -> Result<Vec<Signal>> {
    let ranked: BTreeMap<&str, (f64, usize, f64)> =
        day.scores.iter().zip(ranks(&day.scores)).map(|((symbol, score), (rank, pct))| (symbol.as_str(), (*score, rank, pct))).collect();
    let missing: Vec<&str> = asked.iter().copied().filter(|s| !ranked.contains_key(s)).collect();
    if !missing.is_empty() {
        return Err(Error::new(code::DATA_MISSING, format!("no score on {} for: {}", day.asof, missing.join(", ")))
            .cause("not in the universe that day, or without the data that the features need"));
    }
    Ok(asked
        .iter()
        .filter_map(|symbol| {
            let (score, rank, rank_pct) = *ranked.get(symbol)?;
            let target_weight = weights.weights.get(*symbol).copied().unwrap_or(0.0);
            Some(Signal { symbol: (*symbol).to_string(), score, rank, rank_pct, expected_return: Value::Null, target_weight })
        })
        .collect())
}

fn metadata(state: &ServiceState, c: &Champion, day: &ScoreDay, weights: &Weights, top_n: usize, bottom_n: usize) -> Value {
    let excluded: Vec<Value> = day.excluded.iter().map(|(s, r)| json!({"symbol": s, "reason": r})).collect();
    json!({
        "as_of_date": day.asof, "universe_id": day.universe.id, "universe_size": day.universe.symbols.len(), "n_scored": day.scores.len(),
        "excluded": excluded, "model_version": c.version, "model_sha256": c.sha256, "feature_set": c.feature_set, "data_snapshot": day.data_snapshot,
        "strategy": c.strategy, "top_n": top_n, "bottom_n": bottom_n, "notes": weights.notes, "generated_at": state.host.now()
    })
}
