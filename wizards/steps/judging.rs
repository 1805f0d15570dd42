//! `evaluate`'s steps: pick, compare, draw, record.

use crate::kit::report::Reporter;
use crate::kit::{Act, Outcome, Question};
use data_layer::error::{Error, Result, code};
use data_layer::reference::IndexCoverage;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use engine::backtest;
use engine::backtest::metric::{deciles, max_drawdown, monthly};
use engine::models::registry::{ModelRow, Registry, Stage};
use engine::pipelines::evaluate::{self, Evaluation, Evidence};
use engine::pipelines::holdout;
use engine::pipelines::promote::{self, Promotion};
use engine::pipelines::trial_stats;
use engine::reports;
use engine::reports::tear_sheet::{CommonSessions, Condition, Curve, Histogram, IcSection, TearSheet, Window};
use engine::validation::hurdles;
use serde::{Deserialize, Serialize};

/// Who is judged against whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    pub strategy: String,
    pub challenger: String,
    pub champion: String,
}

/// The challengers that a verdict is owed to, oldest first: those that never had one, and those that had it before their shadow weeks.
pub fn owed(root: &DataRoot, strategy: &str) -> Result<Vec<ModelRow>> {
    let registry = Registry::open(root)?;
    let config = super::training::config(root.host(), root, strategy)?.value;
    let mut out = Vec::new();
    for model in challengers(&registry, strategy)? {
        if promote::is_owed(&registry, &config, &model)? {
            out.push(model);
        }
    }
    Ok(out)
}

fn challengers(registry: &Registry, strategy: &str) -> Result<Vec<ModelRow>> {
    let mut all = registry.models(strategy)?;
    all.retain(|m| matches!(m.stage, Stage::Challenger | Stage::Shadow));
    Ok(all)
}

/// Who is judged now: those that a verdict is owed to; when there is none, the challengers of the newest session.
pub fn waiting(act: &Act<'_>, strategy: &str) -> Result<Vec<String>> {
    let all = challengers(&Registry::open(act.root)?, strategy)?;
    let newest = all.iter().map(ModelRow::session).max();
    let newest = newest.ok_or_else(|| Error::new(code::DATA_MISSING, text!("'{strategy}' has no challenger to judge")).fix("trademl train"))?;
    let mut chosen = owed(act.root, strategy)?;
    if chosen.is_empty() {
        chosen = all.iter().filter(|m| m.session() == newest).cloned().collect();
    }
    Ok(chosen.into_iter().map(|m| m.version).collect())
}

/// A challenger, and who is champion when its turn comes.
pub fn pick(act: &Act<'_>, strategy: &str, challenger: &str) -> Result<Pair> {
    let champion = Registry::open(act.root)?.champion(strategy)?;
    act.note(&text!("challenger {} against champion {}", challenger, champion.version));
    Ok(Pair { strategy: strategy.to_string(), challenger: challenger.to_string(), champion: champion.version })
}

/// Whether the sealed months are to be looked at, which can be done once.
pub fn holdout_question() -> Question {
    Question::confirm("holdout.open", "Open the dark holdout of this family now (once, for one model, for ever)?")
        .default(false, "sealed until somebody decides otherwise")
        .help("The newest months were kept from search, choice and comparison; the look fits the chosen recipe on the days before them. Opening them is recorded in the registry and shown in every later report.")
}

/// Open the family's holdout for the challenger.
pub fn look(act: &Act<'_>, pair: &Pair) -> Result<String> {
    let said = holdout::open(act.root, &pair.strategy, &pair.challenger, act.run)?.sentence();
    act.note(&said);
    Ok(said)
}

/// How the family's holdout stands.
pub fn holdout_words(root: &DataRoot, strategy: &str) -> Result<String> {
    Ok(match holdout::status(root, strategy)? {
        holdout::Status { opened: Some(opened), .. } => opened.sentence(),
        holdout::Status { sealed: Some(sealed), .. } => text!("the dark holdout {} stays sealed", sealed.window),
        _ => "no dark holdout is set aside".to_string(),
    })
}

/// Judge; the evidence itself is made again when it is drawn.
pub fn compare(act: &Act<'_>, pair: &Pair) -> Result<Evaluation> {
    Ok(evaluate::evaluate(act.root, &pair.strategy, &pair.challenger)?.0)
}

/// The pages of an evaluation, on the drive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sheet {
    pub html: DataPath,
    pub markdown: DataPath,
    pub json: DataPath,
}

/// Write the tear sheet as HTML, Markdown and JSON.
pub fn tear_sheet(act: &Act<'_>, pair: &Pair, evaluation: &Evaluation) -> Result<Sheet> {
    let (_, evidence) = evaluate::evaluate(act.root, &pair.strategy, &pair.challenger)?;
    let rendered = reports::tear_sheet(&sheet(act, pair, evaluation, &evidence)?)?;
    let base = format!("reports/evaluations/{}/{}", pair.strategy, pair.challenger);
    let write = |name: &str, text: &str| -> Result<DataPath> {
        let path = DataPath::new(format!("{base}/tear_sheet.{name}"))?;
        store::write_atomic(act.root, &path, text.as_bytes()).map(|f| f.path)
    };
    Ok(Sheet { html: write("html", &rendered.html)?, markdown: write("md", &rendered.md)?, json: write("json", &rendered.json)? })
}

fn sheet(act: &Act<'_>, pair: &Pair, evaluation: &Evaluation, e: &Evidence) -> Result<TearSheet> {
    let challenger = &e.challenger;
    let registry = Registry::open(act.root)?;
    let logits = trial_stats::logits(act.root, &registry, &e.config.family, &evaluation.data_snapshot)?;
    let champion = e.common.as_ref().map(|(_, theirs)| Curve {
        name: text!("{} (champion)", pair.champion),
        equity: aligned(theirs, &challenger.days),
        summary: backtest::summarise(theirs),
    });
    let common = e.common.as_ref().and_then(|(ours, _)| {
        let (first, last) = (*ours.days.first()?, *ours.days.last()?);
        Some(CommonSessions { first, last, sessions: ours.days.len(), challenger: backtest::summarise(ours) })
    });
    let config = super::training::config(act.host, act.root, &pair.strategy)?.value;
    let asked_for = promote::judge(&registry, &config, evaluation)?;
    let promotion = asked_for.into_iter().map(|c| Condition { name: c.name, passed: c.passed, found: c.found }).collect();
    let asked = evaluation.window.end.minus_years(e.config.window.years);
    let capped = evaluation.notes.iter().filter(|n| n.contains("were asked for")).cloned().collect();
    let ic_section = evaluation.ic.as_ref().map(|summary| IcSection { days: e.panel.days.clone(), values: e.daily_ic.clone(), summary: summary.clone() });
    let mut undefined = evaluation.undefined.clone();
    let buckets = deciles::by_score(&e.scores, &e.labels, 10).or_else(|error| {
        undefined.insert("deciles".into(), error.to_string());
        Ok::<_, Error>(Vec::new())
    })?;
    Ok(TearSheet {
        v: 1,
        strategy: pair.strategy.clone(),
        version: pair.challenger.clone(),
        mode: "backtest".into(),
        dataset: act.root.drive().dataset.clone(),
        asof: evaluation.window.end.plus_days(-1),
        window: Window { asked: data_layer::time::DateRange::new(asked, evaluation.window.end)?, held: evaluation.window, caps: capped },
        known_bias: known_bias(act.root),
        verdict: evaluation.verdict.clone(),
        trials: evaluation.trials as u64,
        days: challenger.days.clone(),
        underwater: max_drawdown::underwater(&challenger.net)?,
        monthly: monthly::table(&challenger.days, &challenger.net)?,
        challenger: Curve {
            name: pair.challenger.clone(),
            equity: challenger.equity.iter().map(|v| v / challenger.capital).collect(),
            summary: e.summary.clone(),
        },
        champion,
        common,
        promotion,
        ic: ic_section,
        deciles: buckets,
        calibration: e.confidence.as_ref().map(|c| c.bins.clone()).unwrap_or_default(),
        cost_sensitivity: e.sensitivity.clone(),
        what_if: e.what_if.clone(),
        meanings: evaluation.verdict.rows.iter().map(|r| (r.name.clone(), hurdles::meaning(&r.name).to_string())).filter(|m| !m.1.is_empty()).collect(),
        pbo_logits: logits.and_then(|l| Histogram::of(&l, 20)),
        notes: evaluation.notes.iter().cloned().chain(evaluation.excluded.iter().map(|x| text!("without {}: {}", x.name, x.reason))).collect(),
        undefined,
        inputs_sha256: store::digest_of(&(&pair, &evaluation.data_snapshot))?,
    })
}

/// A curve on other days: flat before its own first session, and after its last.
fn aligned(r: &backtest::BacktestResult, days: &[data_layer::time::TradingDay]) -> Vec<f64> {
    let at = |day| match r.days.partition_point(|d| *d <= day) {
        0 => 1.0,
        n => r.equity[n - 1] / r.capital,
    };
    days.iter().map(|d| at(*d)).collect()
}

/// Below this share of the index's members on their days results are those of survivors.
const ENOUGH_OF_THE_INDEX: f64 = 0.98;

/// What is known against the prices: of a world what it is made of, of a market which of the index's members are missing.
pub fn known_bias(root: &DataRoot) -> Option<String> {
    if root.is_world() {
        return Some(text!("replayed prices: only names that were in the index in February 2018 (survivorship), split-adjusted, dividends left out"));
    }
    // Reference tables that cannot be read stop the evaluation itself.
    let held = IndexCoverage::of_root(root).ok().flatten().filter(|c| c.least() < ENOUGH_OF_THE_INDEX)?;
    Some(text!("of the S&P 500's members on their days the prices hold {held}: the rest is survivorship"))
}

/// Record the verdict; promote only where the rule and the switch say so.
pub fn record(act: &Act<'_>, pair: &Pair, evaluation: &Evaluation) -> Result<Promotion> {
    let config = super::training::config(act.host, act.root, &pair.strategy)?.value;
    promote::promote(act.root, &config, evaluation, "evaluate", false)
}

/// What became of one challenger.
pub struct Judged {
    pub evidence: Evaluation,
    pub verdict: Promotion,
    pub sheet: Sheet,
}

/// The verdicts, bar by bar, and the last words. Refused is who judged and let nobody pass.
pub fn outcome(report: &Reporter, judged: &[Judged]) -> Outcome {
    for one in judged {
        if judged.len() > 1 {
            report.note(&text!("challenger {}", one.verdict.version));
        }
        bars(report, one);
    }
    let summary: Vec<String> = judged.iter().map(sentence).collect();
    let pages = |j: &Judged| [(term!("tear sheet").to_string(), j.sheet.html.to_string()), (term!("as text").to_string(), j.sheet.markdown.to_string())];
    let next = vec![
        ("trademl shadow".to_string(), "let it run beside the champion, sending nothing".to_string()),
        ("trademl paper-trade".to_string(), "trade the champion on paper".to_string()),
    ];
    Outcome {
        summary: summary.join("\n  "),
        next,
        links: judged.iter().flat_map(pages).collect(),
        refused: judged.iter().all(|j| !j.evidence.verdict.passed),
        ..Outcome::default()
    }
}

fn bars(report: &Reporter, judged: &Judged) {
    for loosened in &judged.evidence.loosened {
        report.event("verdict.loosened", &text!("  note  {loosened}"), serde_json::json!(loosened));
    }
    for row in &judged.evidence.verdict.rows {
        let mark = if row.passed { term!("pass") } else { term!("FAIL") };
        // What has no number is a comparison, or has a reason for it.
        let text = match row.value {
            Some(v) => text!("  {mark}  {:<19} {:>9}   bar {}", row.name, hurdles::shown(&row.name, v), row.bar),
            None => text!("  {mark}  {:<19} {}", row.name, row.reason),
        };
        report.event("verdict.row", &text, serde_json::json!(row));
    }
    for condition in &judged.verdict.conditions {
        let mark = if condition.passed { term!("pass") } else { term!("FAIL") };
        report.event("promotion.condition", &text!("  {mark}  {:<19} {}", condition.name, condition.found), serde_json::json!(condition));
    }
}

fn sentence(judged: &Judged) -> String {
    let verdict = if judged.evidence.verdict.passed { "meets every bar" } else { "is refused: it does not meet the bars" };
    let promotion = &judged.verdict;
    let applied = if promotion.applied { "applied" } else { "not applied" };
    text!("challenger {} {verdict}; promotion {}: {}", promotion.version, applied, promotion.reason)
}
