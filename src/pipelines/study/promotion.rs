//! What becomes of the chosen model under the product's own rule of promotion: registered as a challenger, compared with
//! the champion, shadowed beside it on days that no search saw, and judged.

use super::market::{HORIZON, Market};
use super::search::Found;
use crate::backtest;
use crate::backtest::metric::ic;
use crate::execution::cost::CostModel;
use crate::models::artifact::{self, Kind};
use crate::models::baseline::{self, Momentum};
use crate::models::registry::{ModelRow, Registry, Stage};
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::cv::or_note;
use crate::pipelines::evaluate::{self, Evaluation};
use crate::pipelines::promote::{self, Promotion};
use crate::pipelines::shadow_day::{self, ShadowInput, ShadowModel, Shadowed};
use crate::portfolio::RuleConfig;
use crate::validation::hurdles::Measures;
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::root::DataRoot;
use data_layer::store;
use data_layer::time::DateRange;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

const STRATEGY: &str = "equities_xs";
/// Seconds after a close at which a model is registered: the evening.
const EVENING: i64 = 20 * 60;

/// A model's shadow book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub version: String,
    pub sessions: usize,
    /// Compounded, after costs.
    pub net_total: f64,
}

/// How the model fared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promoted {
    /// Challenger and champion.
    pub shadow: Vec<Shadow>,
    /// Condition by condition, and whether it was applied.
    pub promotion: Promotion,
    /// The strategy's champion afterwards, as the registry says.
    pub champion: String,
}

/// Take the model of a search through the registry of `drive`, which must hold no champion yet. The clock of the steps is
/// the market's own.
pub fn take_through(drive: &DataRoot, market: &Market, found: &Found, measures: Measures) -> Result<Promoted> {
    let panel = &market.panel;
    let (asof, last) = (panel.days[market.searched.end - 1], panel.days[market.later.end - 1]);
    let host = drive.host().in_world(&BTreeMap::new(), Calendar::xnys().close(asof).plus_seconds(EVENING));
    let root = DataRoot::open(&host, drive.base())?;
    let (registry, config, rule) = (Registry::open(&root)?, TrainingConfig::built_in(STRATEGY)?, found.rule.clone());
    let champion = baseline::ensure_baseline(&root, &registry, STRATEGY, &Momentum::default(), asof, "study")?;
    let challenger = register(&root, &registry, found, market, &rule)?;
    let evaluation = Evaluation {
        strategy: STRATEGY.into(),
        version: challenger.version.clone(),
        data_snapshot: challenger.data_snapshot.clone(),
        window: DateRange::new(panel.days[0], asof.plus_days(1))?,
        measures,
        verdict: found.searched.search.verdict.clone(),
        ic: or_note(ic::summarise(&panel.days[market.searched.clone()], &found.daily_ic[market.searched.clone()], HORIZON), "ic", &mut BTreeMap::new())?,
        trials: found.searched.search.tried,
        comparison: Some(compare(market, found, &rule, &champion)?),
        notes: Vec::new(),
        loosened: Vec::new(),
        excluded: Vec::new(),
        undefined: BTreeMap::new(),
    };
    let momentum = Momentum::default().scores(panel);
    let load = |m: &ShadowModel| -> Result<Shadowed> {
        Ok(if m.version == challenger.version {
            Shadowed { signal: found.scores.clone().into(), rule: rule.clone() }
        } else {
            Shadowed { signal: momentum.clone().into(), rule: serde_json::from_value(Momentum::default().portfolio)? }
        })
    };
    host.set_world_time(Calendar::xnys().close(last).plus_seconds(EVENING));
    let input = ShadowInput { panel, asof: last, load: &load };
    let reports = shadow_day::run(registry.db(), &input)?;
    let shadow = reports.into_iter().map(|r| Shadow { version: r.version, sessions: r.added + r.kept, net_total: r.net_total }).collect();
    let promotion = promote::promote(&root, &config, &evaluation, "study", true)?;
    Ok(Promoted { shadow, promotion, champion: registry.champion(STRATEGY)?.version })
}

/// Enter the model, with a file that says what it is.
fn register(root: &DataRoot, registry: &Registry, found: &Found, market: &Market, rule: &RuleConfig) -> Result<ModelRow> {
    let asof = market.panel.days[market.searched.end - 1];
    let model = json!({"kind": "ridge", "configuration": found.chosen, "weights": found.weights, "portfolio": rule});
    let version = format!("{asof}-{}", &store::digest_of(&model)?[..8]);
    let path = artifact::folder(STRATEGY, &version)?;
    let file = store::write_atomic(root, &path.join("model.json")?, store::canonical_json(&model)?.as_bytes())?;
    let row = ModelRow {
        strategy: STRATEGY.into(),
        version,
        path,
        sha256: file.sha256,
        stage: Stage::Challenger,
        family: STRATEGY.into(),
        metrics: serde_json::to_value(&found.searched.search)?,
        config: model,
        data_snapshot: root.drive().dataset.clone(),
        run_id: "study".into(),
        created_at: root.host().now(),
        activated_at: None,
        deactivated_at: None,
    };
    registry.register(&row, "study")?;
    Ok(row)
}

/// Challenger and champion over the searched days on which both have scores, at the same cost.
fn compare(market: &Market, found: &Found, rule: &RuleConfig, champion: &ModelRow) -> Result<evaluate::Comparison> {
    let (panel, momentum) = (&market.panel, Momentum::default());
    let days = market.searched.start.max(momentum.lookback_sessions)..market.searched.end;
    let cost = CostModel::flat(rule.cost_bps_round_trip);
    let ours = backtest::run(panel, &found.scores, rule, &cost, days.clone())?;
    let theirs = backtest::run(panel, &momentum.scores(panel), &serde_json::from_value(momentum.portfolio)?, &cost, days)?;
    evaluate::compare(champion, Kind::Momentum, &ours, &theirs, HORIZON)
}
