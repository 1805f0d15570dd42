//! Ways to a better verdict that need no better model: each is tried here, and none works.

use super::fixture::{self, AllGreen};
use super::train::{self, Fit};
use super::{cv, evaluate, holdout, promote, trial_stats};
use crate::models::baseline;
use crate::models::registry::{Decision, ModelRow, Registry, Stage};
use crate::models::shadow_days::ShadowDay;
use crate::models::trials::STARTED_FOLD;
use crate::pipelines::config::TrainingConfig;
use crate::types::Silent;
use crate::validation::holdout::HoldoutConfig;
use data_layer::error::{Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use polars::prelude::{IntoColumn, IntoSeries};
use serde_json::Value;

const FAMILY: &str = "equities_xs";

fn trained(root: &DataRoot, config: &TrainingConfig) -> Result<(cv::CvReport, Fit)> {
    let pinned = fixture::pinned(root, config);
    let prepared = train::prepare(root, &pinned)?;
    let report = cv::cross_validate(root, &pinned, &prepared, &Silent)?;
    let leak = train::leak_check(&pinned, &prepared)?;
    let fit = train::fit_final(root, &pinned, &prepared, &report, &train::gate(&pinned, &AllGreen)?, &leak)?;
    train::register_challenger(root, &pinned, &report, &fit)?;
    Ok((report, fit))
}

fn with_champion(dir: &std::path::Path) -> (DataRoot, Registry, ModelRow) {
    let root = fixture::create(dir);
    let registry = Registry::open(&root).unwrap();
    let champion = baseline::ensure_baseline(&root, &registry, FAMILY, &super::tests::champion_rule(), fixture::days()[10], "01RUN").unwrap();
    (root, registry, champion)
}

#[test]
fn lesson_061_searching_another_window_counts_and_lifts_no_earlier_model() {
    let dir = tempfile::tempdir().unwrap();
    let (root, registry, _) = with_champion(dir.path());
    let (_, fit) = trained(&root, &fixture::config()).unwrap();
    let dsr = || {
        let (evaluation, evidence) = evaluate::evaluate(&root, FAMILY, &fit.version).unwrap();
        let judged = trial_stats::judge(&root, &registry, FAMILY, &evaluation.data_snapshot, &evidence.challenger.net).unwrap();
        (evaluation.trials, judged.deflated.unwrap())
    };
    let (n, before) = dsr();
    let mut other = fixture::config();
    other.window.years = 4;
    trained(&root, &other).unwrap();
    let (more, after) = dsr();
    let (evaluation, _) = evaluate::evaluate(&root, FAMILY, &fit.version).unwrap();
    assert!(evaluation.notes.iter().any(|n| n.starts_with("a blend of ") && n.ends_with("worth having")), "{:?}", evaluation.notes);
    assert_eq!((n, more), (2, 4), "the same grid over another window is another search");
    assert!(after.dsr <= before.dsr && after.sr0 >= before.sr0, "{before:?} {after:?}");
}

#[test]
fn lesson_061_a_run_that_is_stopped_for_what_it_showed_was_counted_before_its_first_fit() {
    let dir = tempfile::tempdir().unwrap();
    fixture::create(dir.path());
    let dying = DataRoot::open(&fixture::host(Some(("checkpoint.after", 1)), &[]), dir.path()).unwrap();
    assert!(trained(&dying, &fixture::config()).unwrap_err().is(code::BUG_CRASH_POINT));
    let root = DataRoot::open(&fixture::host(None, &[]), dir.path()).unwrap();
    let registry = Registry::open(&root).unwrap();
    let begun = registry.trials(FAMILY).unwrap();
    assert!(begun.len() == 2 && begun.iter().all(|t| t.status == "started" && t.fold == STARTED_FOLD && t.metrics.get("sharpe_per_period").is_none()));
    assert_eq!(registry.family(FAMILY).unwrap().n, 2);
    let mut other = fixture::config();
    other.model.learning_rate = 0.2;
    let (report, _) = trained(&root, &other).unwrap();
    assert_eq!(report.overfitting.trials, 4, "two that were looked at, and two that were finished");
    registry.verify_trials().unwrap();
}

#[test]
fn lesson_070_returns_that_were_changed_or_taken_away_leave_no_probability_of_overfitting() {
    let dir = tempfile::tempdir().unwrap();
    let (root, registry, _) = with_champion(dir.path());
    let (report, fit) = trained(&root, &fixture::config()).unwrap();
    let row = registry.model(FAMILY, &fit.version).unwrap().unwrap();
    let judged = || trial_stats::judge(&root, &registry, FAMILY, &row.data_snapshot, &[0.01, -0.01, 0.02]).unwrap();
    assert!(judged().columns == 2 && judged().undefined.get("pbo").is_none_or(|why| !why.contains("believed")));
    assert!(trial_stats::damaged_returns(&root, &registry).unwrap().is_empty());
    let rival = report.cells.iter().enumerate().find(|(i, _)| *i != report.chosen).unwrap().1.returns_path.clone().unwrap();
    let good = store::read(&root, &rival).unwrap().unwrap();
    // A worse rival makes the chosen one look chosen for good reasons.
    let mut frame = store::read_parquet(&root, &rival).unwrap();
    let worse = frame.column("net").unwrap().f64().unwrap() - 0.002;
    frame.replace("net", worse.into_series().into_column()).unwrap();
    store::write_parquet(&root, &rival, &mut frame).unwrap();
    for what in ["changed", "gone"] {
        let now = judged();
        assert!(now.pbo.is_none() && now.columns == 0 && now.undefined["pbo"].contains(what), "{what}: {now:?}");
        assert!(trial_stats::logits(&root, &registry, FAMILY, &row.data_snapshot).unwrap().is_none());
        let found = trial_stats::damaged_returns(&root, &registry).unwrap();
        assert!(found.len() == 1 && found[0].contains(rival.as_str()) && found[0].contains(what), "{found:?}");
        let (evaluation, _) = evaluate::evaluate(&root, FAMILY, &fit.version).unwrap();
        assert!(evaluation.verdict.failed().contains(&"pbo"));
        store::remove(&root, &rival).unwrap();
    }
    store::write_atomic(&root, &rival, &good).unwrap();
    assert_eq!(judged().columns, 2);
}

#[test]
fn months_that_a_search_has_seen_are_never_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    trained(&root, &fixture::config()).unwrap();
    let last = *fixture::days().last().unwrap();
    assert_eq!(Registry::open(&root).unwrap().searched_until(FAMILY).unwrap(), Some(last));
    let sealing = TrainingConfig { holdout: HoldoutConfig { months: 1 }, ..fixture::config() };
    let pinned = fixture::pinned(&root, &sealing);
    let window = pinned.holdout.unwrap();
    assert_eq!(window.start, last.plus_days(1), "what is to come can be dark, what was searched cannot");
    assert_eq!(window.end.0 - window.start.0, 30);
    assert_eq!(
        train::prepare(&root, &pinned).unwrap().cv_days.len(),
        train::prepare(&root, &fixture::pinned(&root, &fixture::config())).unwrap().cv_days.len()
    );
    // A month that has not passed cannot be looked at.
    let (_, fit) = trained(&root, &sealing).unwrap();
    let early = holdout::open(&root, FAMILY, &fit.version, "01RUN").unwrap_err();
    assert!(early.is(code::DATA_MISSING) && early.body().what.contains("ends before the holdout"), "{early}");
    assert!(holdout::status(&root, FAMILY).unwrap().opened.is_none());
}

#[test]
fn the_simulated_book_holds_no_name_that_the_router_would_not_trade() {
    let dir = tempfile::tempdir().unwrap();
    let (root, registry, _) = with_champion(dir.path());
    let floor = "liquidity: {sessions: 20, tier_usd: [1000000000000, 100000000]}\n";
    store::write_atomic(&root, &DataPath::new("control/configs/router.yml").unwrap(), floor.as_bytes()).unwrap();
    let (report, fit) = trained(&root, &fixture::config()).unwrap();
    let row = registry.model(FAMILY, &fit.version).unwrap().unwrap();
    let (evaluation, evidence) = evaluate::evaluate(&root, FAMILY, &fit.version).unwrap();
    let routing = evidence.config.routing.clone().expect("pinned with the run");
    let panel = &evidence.panel;
    let thin = |s: usize, day: TradingDay| {
        let decided = panel.day_index(day).unwrap() - 1;
        super::route::tier(&routing.liquidity, panel, s, decided) == Some(3)
    };
    assert!((0..panel.n_symbols()).any(|s| thin(s, panel.days[150])), "some names are too thin");
    let opened: Vec<_> = evidence.challenger.trades.iter().filter(|t| thin(t.symbol, t.opened)).collect();
    assert!(!evidence.challenger.fills.is_empty() && opened.is_empty(), "{opened:?}");
    assert!(evaluation.notes.iter().any(|n| n.contains("the router lets")), "{:?}", evaluation.notes);
    // The floor is a part of what was tried.
    assert_eq!(report.chosen().cell.config["routing"]["liquidity"]["tier_usd"][1], 100_000_000.0);
    assert_eq!(row.config["routing"], serde_json::to_value(&routing).unwrap());
}

fn shadow(registry: &Registry, version: &str, sessions: std::ops::Range<usize>, net: impl Fn(usize) -> f64) {
    for (i, session) in fixture::days().into_iter().enumerate().skip(sessions.start).take(sessions.len()) {
        let day = ShadowDay {
            strategy: FAMILY.into(),
            version: version.into(),
            session,
            weights_sha256: "w".into(),
            gross_return: Some(net(i)),
            net_return: Some(net(i)),
            turnover: Some(0.1),
            inputs_sha256: "i".into(),
        };
        registry.record_shadow_day(&day).unwrap();
    }
}

fn perfect(root: &DataRoot, version: &str) -> evaluate::Evaluation {
    let (mut evaluation, _) = evaluate::evaluate(root, FAMILY, version).unwrap();
    evaluation.verdict.rows.iter_mut().for_each(|r| r.passed = true);
    evaluation.verdict.passed = true;
    evaluation.comparison.as_mut().unwrap().beats = true;
    evaluation
}

fn weak(i: usize) -> f64 {
    if i.is_multiple_of(2) { 0.001 } else { -0.001 }
}

#[test]
fn a_champion_that_was_never_compared_is_not_replaced_and_the_verdict_is_still_owed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, registry, champion) = with_champion(dir.path());
    let (_, fit) = trained(&root, &fixture::config()).unwrap();
    let mut other = fixture::config();
    other.model.learning_rate = 0.2;
    let (_, rival) = trained(&root, &other).unwrap();
    let evaluation = perfect(&root, &fit.version);
    shadow(&registry, &fit.version, 0..20, |_| 0.002);
    shadow(&registry, &champion.version, 0..20, weak);
    // Between the comparison and the verdict somebody makes another model champion.
    let decision = Decision { rule: "by hand", verdict: Value::Null, operator: "op", reason: "test" };
    registry.set_stage(FAMILY, &rival.version, Stage::Champion, &decision).unwrap();
    shadow(&registry, &rival.version, 0..20, weak);
    let verdict = promote::promote(&root, &fixture::config(), &evaluation, "op", true).unwrap();
    assert!(!verdict.passed && verdict.reason == "refused by: same_champion", "{verdict:?}");
    assert_eq!(registry.champion(FAMILY).unwrap().version, rival.version);
    let challenger = registry.model(FAMILY, &fit.version).unwrap().unwrap();
    assert!(promote::is_owed(&registry, &fixture::config(), &challenger).unwrap(), "its evidence beside the champion of now was not looked at");
    let again = perfect(&root, &fit.version);
    assert!(promote::promote(&root, &fixture::config(), &again, "op", true).unwrap().applied);
}

#[test]
fn a_verdict_for_want_of_common_sessions_does_not_use_up_the_second_look() {
    let dir = tempfile::tempdir().unwrap();
    let (root, registry, champion) = with_champion(dir.path());
    let (_, fit) = trained(&root, &fixture::config()).unwrap();
    let evaluation = perfect(&root, &fit.version);
    // After a rollback the champion's book has a gap.
    shadow(&registry, &fit.version, 0..20, |_| 0.002);
    shadow(&registry, &champion.version, 8..20, weak);
    let verdict = promote::promote(&root, &fixture::config(), &evaluation, "op", true).unwrap();
    assert_eq!(verdict.reason, "refused by: shadow_pairs, shadow_lead");
    let challenger = registry.model(FAMILY, &fit.version).unwrap().unwrap();
    let owed = || promote::is_owed(&registry, &fixture::config(), &challenger).unwrap();
    assert!(!owed(), "twelve sessions are not twenty");
    shadow(&registry, &fit.version, 20..28, |_| 0.002);
    shadow(&registry, &champion.version, 20..28, weak);
    assert!(owed());
    assert!(promote::promote(&root, &fixture::config(), &evaluation, "op", true).unwrap().applied);
}

#[test]
fn the_shadow_weeks_of_a_model_are_those_that_it_was_trained_under_or_more() {
    let dir = tempfile::tempdir().unwrap();
    let (root, registry, champion) = with_champion(dir.path());
    let (_, fit) = trained(&root, &fixture::config()).unwrap();
    let evaluation = perfect(&root, &fit.version);
    shadow(&registry, &fit.version, 0..6, |_| 0.002);
    shadow(&registry, &champion.version, 0..6, weak);
    for weeks in [0, 1] {
        let mut today = fixture::config();
        today.promotion.shadow_weeks = weeks;
        let conditions = promote::judge(&registry, &today, &evaluation).unwrap();
        let found = conditions.iter().find(|c| c.name == "shadow_weeks").unwrap();
        assert!(!found.passed && found.found.contains("20 needed"), "{weeks}: {found:?}");
    }
    let mut longer = fixture::config();
    longer.promotion.shadow_weeks = 6;
    assert!(promote::judge(&registry, &longer, &evaluation).unwrap().iter().any(|c| c.found.contains("30 needed")));
}

#[test]
fn lesson_069_looser_bars_stand_in_the_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let (root, ..) = with_champion(dir.path());
    let mut loose = fixture::config();
    loose.bars.dsr = 0.51;
    let (_, fit) = trained(&root, &loose).unwrap();
    let (evaluation, _) = evaluate::evaluate(&root, FAMILY, &fit.version).unwrap();
    let said = |list: &[String]| list.iter().any(|n| n == "bars.dsr was loosened from 0.95 to 0.51");
    assert!(said(&evaluation.loosened) && said(&evaluation.notes), "{:?}", evaluation.loosened);
}

#[test]
fn a_registered_run_keeps_its_seals_and_returns_and_gives_its_report_back() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let (report, _) = trained(&root, &fixture::config()).unwrap();
    let pinned = fixture::pinned(&root, &fixture::config());
    let shown = super::splits::so_far(&root, &pinned).unwrap();
    super::splits::clear(&root, &pinned).unwrap();
    let left = store::list(&root, &pinned.work().unwrap()).unwrap();
    assert!(left.iter().all(|f| f.file_name() == "returns.parquet" || f.as_str().ends_with(".json")), "{left:?}");
    assert_eq!(left.iter().filter(|f| f.file_name() == "returns.parquet").count(), 2);
    assert_eq!(super::splits::so_far(&root, &pinned).unwrap(), shown);
    assert_eq!(super::recall::report(&root, &pinned).unwrap(), Some(report));
    assert!(trial_stats::damaged_returns(&root, &Registry::open(&root).unwrap()).unwrap().is_empty());
}
