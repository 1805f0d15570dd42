//! Challenger against champion: the same sessions, the same cost model, the challenger's own bars.

use crate::backtest::metric::ic::{self, IcSummary};
use crate::backtest::metric::{max_drawdown, sharpe};
use crate::backtest::what_if::{self, WhatIf};
use crate::backtest::{self, BacktestResult, SensitivityRow, Summary};
use crate::execution::calibration;
use crate::execution::cost::{CostModel, DEFAULT_BPS_ROUND_TRIP, Pricing};
use crate::labels;
use crate::models::artifact::{self, ExcludedFeature, Kind, Model, Scorer, Verified};
use crate::models::registry::{ModelRow, Registry};
use crate::pipelines::confidence::{self, Confidence};
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::cv::{CvReport, or_note};
use crate::pipelines::forecasts::{self, ForecastTest};
use crate::pipelines::route::Admitted;
use crate::pipelines::trial_stats::{self, Overfitting};
use crate::pipelines::{holdout, panel, score, stacking};
use crate::portfolio::RuleConfig;
use crate::types::{Matrix, Panel};
use crate::validation::gate::GateReport;
use crate::validation::hurdles::{self, Measure, Measures, Verdict};
use crate::validation::leak::LeakReport;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::time::{DateRange, TradingDay};
use polars::prelude::DataType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// One measure of both models over the same sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    pub measure: String,
    pub challenger: Option<f64>,
    pub champion: Option<f64>,
    /// Null when either is.
    pub better: Option<bool>,
}

/// Challenger against champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub champion_version: String,
    pub champion_kind: Kind,
    pub first_session: TradingDay,
    pub last_session: TradingDay,
    pub sessions: usize,
    pub rows: Vec<ComparisonRow>,
    /// t of the mean daily difference of net returns (Newey-West).
    pub difference_t: Option<f64>,
    /// Whose ranking is closer to what happened; null where the test is undefined.
    #[serde(default)]
    pub forecasts: Option<ForecastTest>,
    /// Higher net Sharpe ratio and no deeper drawdown. A measure that is undefined beats nothing.
    pub beats: bool,
}

/// The judgement of a challenger: small, serialisable, the same however often it is made on the same ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub strategy: String,
    pub version: String,
    pub data_snapshot: String,
    pub window: DateRange,
    pub measures: Measures,
    pub verdict: Verdict,
    pub ic: Option<IcSummary>,
    /// Distinct configurations ever tried in the family.
    pub trials: usize,
    /// Null when the challenger is the champion.
    pub comparison: Option<Comparison>,
    /// Caps, stated dependencies, narrow groups: what a reader must know.
    pub notes: Vec<String>,
    /// What the model was allowed to be judged by that asks for less than the program's own configuration; also among the notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loosened: Vec<String>,
    pub excluded: Vec<ExcludedFeature>,
    pub undefined: BTreeMap<String, String>,
}

/// Every series and table that a tear sheet shows.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub config: TrainingConfig,
    pub panel: Panel,
    /// Mean out-of-sample scores, `symbols x days`.
    pub scores: Matrix,
    pub labels: Matrix,
    pub daily_ic: Vec<Option<f64>>,
    /// How often a score was right, against how often it would have been said to be.
    pub confidence: Option<Confidence>,
    /// Sessions of the panel that were simulated.
    pub days: Range<usize>,
    pub challenger: BacktestResult,
    pub summary: Summary,
    pub sensitivity: Vec<SensitivityRow>,
    pub what_if: Vec<WhatIf>,
    /// Over the common sessions: challenger, champion.
    pub common: Option<(BacktestResult, BacktestResult)>,
    pub cv: CvReport,
    pub gate: GateReport,
    pub leak: LeakReport,
}

/// What `metrics.json` of a trained model holds that an evaluation needs.
#[derive(Deserialize)]
struct Trained {
    window: DateRange,
    cpcv: CvReport,
    gate: GateReport,
}

/// The registered model with its artifact, checked; a rule has no scores to judge.
fn learnt_model(root: &DataRoot, registry: &Registry, strategy: &str, version: &str) -> Result<(ModelRow, Verified)> {
    let row = registry
        .model(strategy, version)?
        .ok_or_else(|| Error::new(code::ML_ARTIFACT, text!("the registry has no model {strategy} {version}")).fix("trademl train"))?;
    let verified = artifact::verify(root, &row)?;
    if verified.manifest.kind != Kind::Lightgbm {
        return Err(Error::new(code::ML_ARTIFACT, "a rule was not trained and has no out-of-sample scores to judge").fix("trademl train"));
    }
    Ok((row, verified))
}

/// Judge a trained model from its artifact. Nothing is written.
pub fn evaluate(root: &DataRoot, strategy: &str, version: &str) -> Result<(Evaluation, Evidence)> {
    let registry = Registry::open(root)?;
    let (row, verified) = learnt_model(root, &registry, strategy, version)?;
    let trained: Trained = verified.json("metrics.json")?;
    let config: TrainingConfig = verified.json("training_cfg.json")?;
    let leak: LeakReport = verified.json("leak_report.json")?;
    let features: artifact::FeatureList = verified.json("feature_list.json")?;
    let panel = panel::load_files(root, &panel::files(root, &row.data_snapshot)?, trained.window)?.panel;
    let scores = oof_scores(&verified, &panel)?;
    let labels = labels::horizon::forward(&panel, config.label.horizon, config.label.entry_lag, config.label.delist_aware)?;
    let daily_ic = ic::per_date(&scores, &labels)?;
    let admitted = Admitted::of(config.routing.as_ref(), strategy, &panel);
    let routed = admitted.through(scores.clone());
    let days = scored_days(&routed.scores, &config.portfolio)?;
    let (cost, cost_note) = cost_of(root, &config.portfolio)?;
    let challenger = backtest::run(&panel, routed.signal(), &config.portfolio, &cost, days.clone())?;
    let mut undefined = BTreeMap::new();
    let ic = or_note(ic::summarise(&panel.days, &daily_ic, config.label.horizon), "ic", &mut undefined)?;
    let family = registry.family(&config.family)?;
    let stats = trial_stats::judge(root, &registry, &config.family, &row.data_snapshot, &challenger.net)?;
    let measures = Measures {
        sharpe: sharpe::annualised(&challenger.net).into(),
        max_drawdown: max_drawdown::depth(&challenger.net).into(),
        dsr: measure(stats.deflated.map(|d| d.dsr), stats.undefined.get("dsr")),
        pbo: measure(stats.pbo, stats.undefined.get("pbo")),
    };
    let (comparison, common) =
        against_champion(root, &registry, &row, (&panel, &scores, &labels, &admitted), &config, &cost)?.map_or((None, None), |(c, r)| (Some(c), Some(r)));
    undefined.extend(stats.undefined.clone());
    let confidence = or_note(confidence::measure(&scores, &labels, config.label.span()), "calibration", &mut undefined)?;
    let loosened = config.loosened();
    let mut notes = loosened.clone();
    notes.extend(self::notes(&trained, &stats, &holdout::status(root, &config.family)?));
    notes.extend(cost_note);
    notes.extend(ic.as_ref().and_then(IcSummary::sentence));
    notes.extend(confidence.as_ref().map(Confidence::sentence));
    notes.extend(stacking::beside(root, &row, &config, &panel, &scores, &labels)?.map(|blend| blend.sentence()));
    notes.extend(comparison.as_ref().and_then(|c| c.forecasts).map(|f| f.sentence()));
    let evaluation = Evaluation {
        strategy: strategy.into(),
        version: version.into(),
        data_snapshot: row.data_snapshot.clone(),
        window: trained.window,
        verdict: hurdles::judge(&measures, &config.bars)?,
        measures,
        ic,
        trials: family.n,
        comparison,
        notes,
        loosened,
        excluded: features.excluded,
        undefined,
    };
    let evidence = Evidence {
        summary: backtest::summarise(&challenger),
        what_if: what_if::table(&panel, routed.signal(), &config.portfolio, &cost, days.clone(), &challenger)?,
        sensitivity: backtest::sensitivity(&panel, routed.signal(), &config.portfolio, &cost, days.clone())?,
        config,
        panel,
        scores,
        labels,
        daily_ic,
        confidence,
        days,
        challenger,
        common,
        cv: trained.cpcv,
        gate: trained.gate,
        leak,
    };
    Ok((evaluation, evidence))
}

/// What trading costs in this judgement, and what a reader should know of it: own fills, as accepted for the accounts of this drive, take the
/// place of the default. They never loosen a cost that was configured above it.
fn cost_of(root: &DataRoot, rule: &RuleConfig) -> Result<(CostModel, Option<String>)> {
    let configured = CostModel::flat(rule.cost_bps_round_trip);
    if !root.locate(&DataPath::new(Which::Journal.path())?).exists() {
        return Ok((configured, None));
    }
    let Some(own) = calibration::of_drive(&Db::open(root, Which::Journal)?)? else { return Ok((configured, None)) };
    if rule.cost_bps_round_trip > DEFAULT_BPS_ROUND_TRIP {
        let note = text!("costs are the {:.2} bps a round trip of the configuration, although own fills were measured", rule.cost_bps_round_trip);
        return Ok((configured, Some(note)));
    }
    let model = own.model();
    let note = match model.pricing {
        Pricing::Fitted { .. } => text!("costs are by {} own fills: fee, spread and impact of each name's class", own.fills),
        _ => text!("costs are by {} own fills: {:.2} bps a side", own.fills, own.bps),
    };
    Ok((model, Some(note)))
}

fn measure(value: Option<f64>, reason: Option<&String>) -> Measure {
    value.map_or_else(|| Measure::Missing(reason.cloned().unwrap_or_else(|| "it was not computed".into())), Measure::Value)
}

fn notes(trained: &Trained, stats: &Overfitting, holdout: &holdout::Status) -> Vec<String> {
    let mut out = trained.cpcv.notes.clone();
    out.extend(trained.cpcv.doubts.sentences());
    out.extend((trained.cpcv.drift.sessions > 0).then(|| trained.cpcv.drift.sentence()));
    if let Some(n) = stats.effective_trials {
        out.push(text!(
            "the {} trials of this snapshot are as different as {n:.1} independent ones; the deflated Sharpe ratio counts all {}",
            stats.columns,
            stats.trials
        ));
    }
    match (&holdout.opened, &holdout.sealed) {
        (Some(opened), _) => out.push(opened.sentence()),
        (None, Some(sealed)) => out.push(text!("the dark holdout {} is sealed since {} and has not been opened", sealed.window, sealed.asof)),
        (None, None) => out.push("no dark holdout is set aside".into()),
    }
    for row in &trained.gate.rows {
        if let Some(reason) = &row.stated {
            out.push(text!("{} is done without: {reason}", row.table));
        }
    }
    out
}

/// Mean out-of-sample score by day and symbol of a trained model, on the grid of `panel`.
pub fn oof_scores(verified: &artifact::Verified, panel: &Panel) -> Result<Matrix> {
    let frame = verified.parquet("oof.parquet")?;
    let dates = frame.column("date")?.cast(&DataType::Int32)?;
    let (dates, symbols, scores) = (dates.i32()?, frame.column("symbol")?.str()?, frame.column("score")?.f64()?);
    let (mut sum, mut count) = (Matrix::missing(panel.n_symbols(), panel.n_days()), Matrix::missing(panel.n_symbols(), panel.n_days()));
    for ((date, symbol), score) in dates.iter().zip(symbols.iter()).zip(scores.iter()) {
        let (Some(date), Some(symbol), Some(score)) = (date, symbol, score) else {
            return Err(Error::new(code::ML_ARTIFACT, "the out-of-sample scores have empty cells").fix("trademl train"));
        };
        let (Some(d), Some(s)) = (panel.day_index(TradingDay(date)), panel.symbol_index(symbol)) else { continue };
        let (before, n) = (sum.at(s, d), count.at(s, d));
        sum.set(s, d, if before.is_finite() { before + score } else { score });
        count.set(s, d, if n.is_finite() { n + 1.0 } else { 1.0 });
    }
    for (total, n) in sum.values_mut().iter_mut().zip(count.values()) {
        *total /= n;
    }
    Ok(sum)
}

/// The span of days on which the rule has enough scores, first to last.
fn scored_days(scores: &Matrix, rule: &RuleConfig) -> Result<Range<usize>> {
    let needed = rule.top_n + rule.bottom_n;
    let enough = |d: usize| (0..scores.rows()).filter(|s| scores.at(*s, d).is_finite()).count() >= needed.max(1);
    let mut days = (0..scores.cols()).filter(|d| enough(*d));
    let first = days.next();
    let last = days.next_back().or(first);
    match (first, last) {
        (Some(first), Some(last)) => Ok(first..last + 1),
        _ => Err(Error::new(code::ML_UNDEFINED, "no session has enough scores for the portfolio rule").found(text!("{needed} names are needed"))),
    }
}

type Common = (BacktestResult, BacktestResult);

fn against_champion(
    root: &DataRoot,
    registry: &Registry,
    row: &ModelRow,
    (panel, scores, labels, admitted): (&Panel, &Matrix, &Matrix, &Admitted),
    config: &TrainingConfig,
    cost: &CostModel,
) -> Result<Option<(Comparison, Common)>> {
    let champion = registry.champion(&row.strategy)?;
    if champion.version == row.version {
        return Ok(None);
    }
    let model = artifact::load(root, &champion)?;
    let theirs = champion_scores(root, &champion, &model, panel)?;
    let rule = rule_of(&model)?;
    let (ours, routed) = (admitted.through(scores.clone()), admitted.through(theirs.clone()));
    let (a, b) = (scored_days(&ours.scores, &config.portfolio)?, scored_days(&routed.scores, &rule)?);
    let days = a.start.max(b.start)..a.end.min(b.end);
    let ours = backtest::run(panel, ours.signal(), &config.portfolio, cost, days.clone())?;
    let champion_run = backtest::run(panel, routed.signal(), &rule, cost, days.clone())?;
    let mut comparison = compare(&champion, model.manifest.kind, &ours, &champion_run, config.label.horizon)?;
    comparison.forecasts = or_note(forecasts::compare(scores, &theirs, labels, days, config.label.horizon), "forecasts", &mut BTreeMap::new())?;
    Ok(Some((comparison, (ours, champion_run))))
}

/// A trained champion is judged by its own out-of-sample scores, a rule by its scores: neither by what it was fitted on.
fn champion_scores(root: &DataRoot, row: &ModelRow, model: &Model, panel: &Panel) -> Result<Matrix> {
    match model.scorer {
        Scorer::Momentum(_) => score::score_range(model, panel, 0..panel.n_days()),
        Scorer::Trees(_) => oof_scores(&artifact::verify(root, row)?, panel),
    }
}

/// The portfolio rule that a model was built for.
pub fn rule_of(model: &Model) -> Result<RuleConfig> {
    let section = model.config.get("portfolio").cloned().ok_or_else(|| Error::new(code::ML_ARTIFACT, "the model's configuration has no portfolio rule"))?;
    Ok(serde_json::from_value(section)?)
}

/// Both over the same sessions, measure by measure.
pub(crate) fn compare(champion: &ModelRow, kind: Kind, ours: &BacktestResult, theirs: &BacktestResult, lags: usize) -> Result<Comparison> {
    let (a, b) = (backtest::summarise(ours), backtest::summarise(theirs));
    let row = |measure: &str, higher: bool| {
        let (x, y) = (a.get(measure), b.get(measure));
        let better = x.zip(y).map(|(x, y)| if higher { x > y } else { x < y });
        ComparisonRow { measure: measure.into(), challenger: x, champion: y, better }
    };
    let rows = vec![
        row("sharpe", true),
        row("max_drawdown", false),
        row("total_return", true),
        row("cagr", true),
        row("volatility", false),
        row("sortino", true),
        row("turnover", false),
    ];
    let difference: Vec<f64> = ours.net.iter().zip(&theirs.net).map(|(x, y)| x - y).collect();
    let no_deeper = rows[1].challenger.zip(rows[1].champion).is_some_and(|(x, y)| x <= y);
    let (Some(first), Some(last)) = (ours.days.first(), ours.days.last()) else {
        return Err(Error::new(code::ML_UNDEFINED, "challenger and champion share no session"));
    };
    Ok(Comparison {
        champion_version: champion.version.clone(),
        champion_kind: kind,
        first_session: *first,
        last_session: *last,
        sessions: ours.days.len(),
        beats: rows[0].better == Some(true) && no_deeper,
        rows,
        difference_t: or_note(ic::newey_west_t(&difference, lags), "t", &mut BTreeMap::new())?,
        forecasts: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::journal;
    use crate::execution::calibration::tests::sized;
    use crate::execution::calibration::{accept, acceptance, weigh};

    #[test]
    fn own_fills_that_were_accepted_take_the_place_of_the_default_and_of_nothing_stricter() {
        let (_dir, root, db) = journal();
        let rule = RuleConfig::default();
        assert_eq!(cost_of(&root, &rule).unwrap(), (CostModel::flat(12.0), None));
        let evidence = weigh(&sized(2.0));
        accept(&db, "SIM1", &evidence, &acceptance("SIM1", &evidence.proposal().unwrap()).unwrap(), "me").unwrap();
        let (model, note) = cost_of(&root, &rule).unwrap();
        assert_eq!(model, evidence.proposal().unwrap().model(), "what prices the preview judges the models");
        assert!(note.unwrap().contains("400 own fills"));
        let stricter = RuleConfig { cost_bps_round_trip: 30.0, ..RuleConfig::default() };
        let (model, note) = cost_of(&root, &stricter).unwrap();
        assert!(model == CostModel::flat(30.0) && note.unwrap().contains("30.00"));
    }
}
