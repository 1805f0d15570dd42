//! The promotion rule. The verdict is always recorded; it moves a model only when every condition holds and the
//! environment allows it.

use crate::models::registry::{Decision, ModelRow, Registry, Stage};
use crate::models::shadow_days::ShadowDay;
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::evaluate::{Comparison, Evaluation};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The variable that lets a passed verdict promote without a person.
pub const AUTO_PROMOTE: &str = "TRAINING_ENABLE_AUTO_PROMOTE";
/// Name of the rule in the registry's events.
pub const RULE: &str = "promote_if_beats_champion";
/// The condition that a model was shadowed long enough.
const SHADOW_WEEKS: &str = "shadow_weeks";
/// The condition that it was shadowed beside the champion.
const SHADOW_PAIRS: &str = "shadow_pairs";
/// The condition that the champion is the one that it was compared with.
const SAME_CHAMPION: &str = "same_champion";
/// Sessions of a full trading week.
const SESSIONS_PER_WEEK: usize = 5;

/// One condition of the rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub name: String,
    pub passed: bool,
    pub found: String,
}

/// What the rule says of a challenger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    pub strategy: String,
    pub version: String,
    pub conditions: Vec<Condition>,
    pub passed: bool,
    /// Whether the model was made champion.
    pub applied: bool,
    pub reason: String,
}

/// Whether promotion happens without a person. Unset: no, in every environment.
pub fn auto_promote_enabled(host: &Host) -> Result<bool> {
    match host.env(AUTO_PROMOTE).map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0" | "no") => Ok(false),
        Some("true" | "1" | "yes") => Ok(true),
        Some(other) => Err(Error::new(code::CFG_VALUE, text!("{AUTO_PROMOTE} must be true or false")).found(other.to_string())),
    }
}

/// Judge without recording: bars, champion, shadow weeks. Missing evidence fails its condition.
pub fn judge(registry: &Registry, config: &TrainingConfig, evaluation: &Evaluation) -> Result<Vec<Condition>> {
    let strategy = evaluation.strategy.as_str();
    let mut out = Vec::new();
    let mut add = |name: &str, passed: bool, found: String| out.push(Condition { name: name.into(), passed, found });
    let failed = evaluation.verdict.failed();
    add("bars", evaluation.verdict.passed, if failed.is_empty() { "every bar is met".into() } else { text!("not met: {}", failed.join(", ")) });
    let now = registry.champion_if_any(strategy)?.map(|m| m.version);
    match &evaluation.comparison {
        None => add("beats_champion", false, "it was not compared with a champion".into()),
        Some(c) => {
            add("beats_champion", c.beats, beaten(c));
            let same = now.as_ref() == Some(&c.champion_version);
            let who = now.as_deref().unwrap_or(term!("nobody"));
            add(
                SAME_CHAMPION,
                same,
                if same { text!("{who} is still champion") } else { text!("compared with {}, champion is {who} now", c.champion_version) },
            );
        }
    }
    let needed = shadow_sessions(config, registry.model(strategy, &evaluation.version)?.as_ref());
    let ours = registry.shadow_days(strategy, &evaluation.version)?;
    let marked: Vec<&ShadowDay> = ours.iter().filter(|d| d.net_return.is_some()).collect();
    add(SHADOW_WEEKS, marked.len() >= needed, text!("{} shadowed sessions with a return, {needed} needed", marked.len()));
    let theirs = now.map(|champion| registry.shadow_days(strategy, &champion)).transpose()?.unwrap_or_default();
    let pairs = pairs(&marked, &theirs);
    add(SHADOW_PAIRS, pairs.len() >= needed, text!("{} sessions were shadowed by both, {needed} needed", pairs.len()));
    let (passed, found) = shadow_lead(&pairs);
    let found = if pairs.len() < needed { text!("{found}; {needed} sessions of both are needed") } else { found };
    add("shadow_lead", passed && pairs.len() >= needed, found);
    Ok(out)
}

/// The two measures that decide, over the common sessions: a higher Sharpe ratio and no deeper a drawdown.
fn beaten(c: &Comparison) -> String {
    let of = |measure: &str, scale: f64, digits: usize| {
        let row = c.rows.iter().find(|r| r.measure == measure);
        let show = |v: Option<f64>| v.map_or(term!("undefined").to_string(), |v| format!("{:.digits$}", scale * v));
        (show(row.and_then(|r| r.challenger)), show(row.and_then(|r| r.champion)))
    };
    let ((sharpe, its), (deep, its_deep)) = (of("sharpe", 1.0, 2), of("max_drawdown", 100.0, 1));
    text!(
        "Sharpe {sharpe} against {its}, drawdown {deep} % against {its_deep} %, over the {} sessions from {} to {} in common with {}",
        c.sessions,
        c.first_session,
        c.last_session,
        c.champion_version
    )
}

/// Whether a verdict is owed to a model: it never had one, or the newest was given before it had its shadow weeks beside the champion of
/// now, which it has now. After that the same evidence is not looked at until it pleases.
pub fn is_owed(registry: &Registry, config: &TrainingConfig, model: &ModelRow) -> Result<bool> {
    let Some(last) = registry.events(&model.strategy)?.into_iter().rev().find(|e| e.version == model.version && e.rule == RULE) else { return Ok(true) };
    let verdict: Option<Promotion> = last.verdict.get("promotion").and_then(|p| serde_json::from_value(p.clone()).ok());
    let held = |p: &Promotion, name: &str| p.conditions.iter().find(|c| c.name == name).map(|c| c.passed);
    // A verdict that found no pairs, or another champion than it had compared with, has not looked at the evidence yet.
    let spent = |p: Promotion| held(&p, SHADOW_WEEKS) == Some(true) && held(&p, SHADOW_PAIRS) != Some(false) && held(&p, SAME_CHAMPION) != Some(false);
    if verdict.is_some_and(spent) {
        return Ok(false);
    }
    let ours = registry.shadow_days(&model.strategy, &model.version)?;
    let marked: Vec<&ShadowDay> = ours.iter().filter(|d| d.net_return.is_some()).collect();
    let both = match registry.champion_if_any(&model.strategy)? {
        Some(champion) => pairs(&marked, &registry.shadow_days(&model.strategy, &champion.version)?).len(),
        None => marked.len(),
    };
    Ok(both >= shadow_sessions(config, Some(model)))
}

/// Shadowed sessions that the rule asks for: what the model was trained under or what is configured now, whichever is more.
fn shadow_sessions(config: &TrainingConfig, model: Option<&ModelRow>) -> usize {
    let then = model.and_then(|m| m.config.pointer("/promotion/shadow_weeks")?.as_u64()).and_then(|weeks| usize::try_from(weeks).ok());
    (config.promotion.shadow_weeks as usize).max(then.unwrap_or(0)).max(1) * SESSIONS_PER_WEEK
}

/// Net returns of both on each session that both shadowed: ours, theirs.
fn pairs(ours: &[&ShadowDay], theirs: &[ShadowDay]) -> Vec<(f64, f64)> {
    let theirs: BTreeMap<TradingDay, f64> = theirs.iter().filter_map(|t| Some((t.session, t.net_return?))).collect();
    ours.iter().filter_map(|d| Some((d.net_return?, *theirs.get(&d.session)?))).collect()
}

/// The challenger's compounded net shadow return must exceed the champion's over the sessions that both shadowed, and in
/// most of its weeks.
fn shadow_lead(pairs: &[(f64, f64)]) -> (bool, String) {
    let grow = |values: &[(f64, f64)]| values.iter().fold((1.0, 1.0), |(a, b), (x, y)| (a * (1.0 + x), b * (1.0 + y)));
    let (a, b) = grow(pairs);
    let weeks: Vec<(f64, f64)> = pairs.chunks(SESSIONS_PER_WEEK).map(grow).collect();
    let won = weeks.iter().filter(|(x, y)| x > y).count();
    (a > b && won * 2 > weeks.len(), text!("net {:+.4} against {:+.4}; ahead in {won} of {} weeks", a - 1.0, b - 1.0, weeks.len()))
}

/// Judge, record the verdict as an event, and promote when everything passed and either `TRAINING_ENABLE_AUTO_PROMOTE` says
/// so or a person does (`by_hand`). A verdict that did not pass is never applied, whoever asks.
pub fn promote(root: &DataRoot, config: &TrainingConfig, evaluation: &Evaluation, operator: &str, by_hand: bool) -> Result<Promotion> {
    let registry = Registry::open(root)?;
    let conditions = judge(&registry, config, evaluation)?;
    let passed = conditions.iter().all(|c| c.passed);
    let allowed = by_hand || auto_promote_enabled(root.host())?;
    let failing: Vec<&str> = conditions.iter().filter(|c| !c.passed).map(|c| c.name.as_str()).collect();
    let reason = match (passed, allowed) {
        (true, true) => "every condition holds".to_string(),
        (true, false) => text!("every condition holds; {AUTO_PROMOTE} is not set, so nothing moves"),
        (false, _) => text!("refused by: {}", failing.join(", ")),
    };
    let applied = passed && allowed;
    let promotion = Promotion { strategy: evaluation.strategy.clone(), version: evaluation.version.clone(), conditions, passed, applied, reason };
    let verdict = serde_json::json!({"promotion": serde_json::to_value(&promotion)?, "evaluation": serde_json::to_value(evaluation)?});
    let decision = Decision { rule: RULE, verdict, operator, reason: &promotion.reason };
    if applied {
        registry.set_stage(&promotion.strategy, &promotion.version, Stage::Champion, &decision)?;
    } else {
        registry.record_verdict(&promotion.strategy, &promotion.version, Stage::Champion, &decision)?;
    }
    Ok(promotion)
}

/// Put the previous champion back: an event like any other, needing an operator and a reason.
pub fn rollback(root: &DataRoot, strategy: &str, operator: &str, reason: &str) -> Result<String> {
    if operator.trim().is_empty() || reason.trim().is_empty() {
        return Err(Error::new(code::USE_ANSWER_MISSING, "a rollback needs an operator and a reason"));
    }
    let registry = Registry::open(root)?;
    let previous = registry.events(strategy)?.into_iter().rev().find(|e| e.applied && e.from_stage == Some(Stage::Champion) && e.to_stage == Stage::Retired);
    let previous = previous.ok_or_else(|| Error::new(code::ML_NO_CHAMPION, text!("'{strategy}' has no earlier champion to go back to")))?;
    registry.set_stage(strategy, &previous.version, Stage::Champion, &Decision { rule: "rollback", verdict: serde_json::Value::Null, operator, reason })?;
    Ok(previous.version)
}
