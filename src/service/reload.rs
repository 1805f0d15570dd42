//! Hot reload: verify the artifact, validate it in the shadow of the one in service, swap the pointer, keep the old one.

use super::signals::ranks;
use super::source::{Champion, ScoreDay};
use super::{Served, ServiceState};
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const MIN_SPEARMAN: f64 = 0.5;
const MAX_RANK_MOVE: f64 = 0.5;
/// Rows compared at least, in whole cross-sections.
const SHADOW_ROWS: usize = 100;
/// Sessions looked back at most for those rows.
const SHADOW_SESSIONS: usize = 20;

/// Who overrides a failed validation, and why.
#[derive(Clone, Debug)]
pub struct Override {
    pub operator: String,
    pub reason: String,
}

/// What a reload did.
#[derive(Clone, Debug)]
pub struct Reloaded {
    pub reloaded: bool,
    pub version: String,
    pub previous_version: Option<String>,
    pub validation: Value,
    pub message: String,
}

impl ServiceState {
    /// Load the registry's champion. `Err(GATE_REFUSED)` = validation failed and the old one stays. Blocking.
    pub fn reload(&self, force: Option<&Override>) -> Result<Reloaded> {
        let result = self.try_reload(force);
        if let Ok(mut state) = self.reload.lock() {
            state.problem = result.as_ref().err().map(|e| e.body().what.clone());
        }
        result
    }

    /// The periodic look: only a version that was not seen before is loaded. Blocking.
    pub fn poll(&self) -> Result<Option<Reloaded>> {
        let version = self.source.champion()?.map(|c| c.version);
        let seen = self.reload.lock().map_err(|_| poisoned())?.seen.clone();
        if version.is_none() || version == seen { Ok(None) } else { self.reload(None).map(Some) }
    }

    fn try_reload(&self, force: Option<&Override>) -> Result<Reloaded> {
        let champion = self
            .source
            .champion()?
            .ok_or_else(|| Error::new(code::ML_NO_CHAMPION, format!("the registry has no champion for {}", self.strategy)).fix("trademl train"))?;
        self.reload.lock().map_err(|_| poisoned())?.seen = Some(champion.version.clone());
        let old = self.served.load_full();
        if let Some(old) = &old
            && old.champion.version == champion.version
            && old.champion.sha256 == champion.sha256
        {
            let message = "this version is in service already".to_string();
            return Ok(Reloaded { reloaded: false, version: champion.version, previous_version: None, validation: old.validation.clone(), message });
        }
        self.source.verify(&champion)?;
        let (validation, failures) = match &old {
            None => (json!({"status": "pending", "note": "there was no model to compare with"}), Vec::new()),
            Some(old) => self.shadow_validation(old, &champion)?,
        };
        if !failures.is_empty() && force.is_none() {
            return Err(Error::new(code::GATE_REFUSED, format!("{} is not loaded: {}", champion.version, failures.join("; "))).found(validation.to_string()));
        }
        let (operator, reason) = force.map_or(("trademl", "validated"), |o| (o.operator.as_str(), o.reason.as_str()));
        self.source.record("reload", operator, reason, &validation)?;
        let previous_version = old.as_ref().map(|o| o.champion.version.clone());
        let version = champion.version.clone();
        let served = Served { champion, loaded_at: self.host.now(), validation: validation.clone(), days: Mutex::new(BTreeMap::new()) };
        self.served.store(Some(Arc::new(served)));
        if old.is_some() {
            self.previous.store(old);
        }
        self.metrics.reloaded();
        let message = if failures.is_empty() { "loaded" } else { "loaded against the validation" };
        Ok(Reloaded { reloaded: true, version, previous_version, validation, message: message.into() })
    }

    /// Swap back to the model before. Blocking only for the record.
    pub fn rollback(&self, operator: &str, reason: &str) -> Result<(String, String)> {
        let (Some(old), Some(back)) = (self.served.load_full(), self.previous.load_full()) else {
            return Err(Error::new(code::GATE_REFUSED, "there is nothing to roll back to"));
        };
        let versions = (back.champion.version.clone(), old.champion.version.clone());
        self.source.record("rollback", operator, reason, &json!({"version": versions.0, "previous_version": versions.1}))?;
        self.served.store(Some(back));
        self.previous.store(None);
        self.metrics.rolled_back();
        Ok(versions)
    }

    /// Old against new on recent whole cross-sections.
    fn shadow_validation(&self, old: &Served, new: &Champion) -> Result<(Value, Vec<String>)> {
        let fresh = Served { champion: new.clone(), loaded_at: self.host.now(), validation: Value::Null, days: Mutex::new(BTreeMap::new()) };
        let mut pairs: Vec<(f64, f64)> = Vec::new();
        let mut raw: Vec<(f64, f64)> = Vec::new();
        let mut day = self.source.latest()?;
        for _ in 0..SHADOW_SESSIONS {
            if self.source.not_green(day)?.is_none() {
                let (a, b) = (self.score_day(old, day)?, self.score_day(&fresh, day)?);
                collect(&a, &b, &mut pairs, &mut raw);
            }
            if pairs.len() >= SHADOW_ROWS {
                break;
            }
            day = Calendar::xnys().previous(day)?;
        }
        if pairs.len() < 3 {
            return Ok((json!({"status": "failed", "rows": pairs.len()}), vec!["there are too few rows to compare".into()]));
        }
        let n = pairs.len() as f64;
        let spearman = correlation(&pairs);
        let mean_old = pairs.iter().map(|p| p.0).sum::<f64>() / n;
        let spread = pairs.iter().map(|p| (p.0 - mean_old).abs()).sum::<f64>() / n;
        let moved = pairs.iter().map(|p| (p.1 - p.0).abs()).sum::<f64>() / n / spread;
        let flips = raw.iter().filter(|(a, b)| a.signum() != b.signum()).count() as f64 / raw.len() as f64;
        let halves = pairs.iter().filter(|(a, b)| (*a > 0.5) != (*b > 0.5)).count() as f64 / n;
        let mut failures = Vec::new();
        if !(spearman.is_finite() && spearman >= MIN_SPEARMAN) {
            failures.push(format!("the rank correlation with the model in service is {spearman:.2}, {MIN_SPEARMAN} is needed"));
        }
        if !(moved.is_finite() && moved <= MAX_RANK_MOVE) {
            failures.push(format!("ranks move by {moved:.2} of their spread, {MAX_RANK_MOVE} is allowed"));
        }
        let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
        let status = if failures.is_empty() { "passed" } else { "failed" };
        let report = json!({"status": status, "rows": pairs.len(), "spearman": finite(spearman), "rank_move": finite(moved), "sign_changes": finite(flips),
            "half_changes": finite(halves), "failures": failures});
        Ok((report, failures))
    }
}

fn poisoned() -> Error {
    Error::bug("a thread died while holding the reload state")
}

/// Rank percentages and scores of the names that both models scored.
fn collect(a: &ScoreDay, b: &ScoreDay, pairs: &mut Vec<(f64, f64)>, raw: &mut Vec<(f64, f64)>) {
    let table =
        |d: &ScoreDay| -> BTreeMap<String, (f64, f64)> { d.scores.iter().zip(ranks(&d.scores)).map(|((s, v), (_, pct))| (s.clone(), (*v, pct))).collect() };
    let (ta, tb) = (table(a), table(b));
    for (symbol, (va, pa)) in ta {
        if let Some((vb, pb)) = tb.get(&symbol) {
            pairs.push((pa, *pb));
            raw.push((va, *vb));
        }
    }
}

/// Pearson's correlation; of rank percentages it is Spearman's.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (ma, mb) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        ab += (a - ma) * (b - mb);
        aa += (a - ma).powi(2);
        bb += (b - mb).powi(2);
    }
    ab / (aa * bb).sqrt()
}
