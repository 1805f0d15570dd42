use super::fixture::{self, AllGreen};
use super::train::{self, CvReport, Fit, Pinned, Prepared};
use super::{cv, evaluate, panel, promote, recall, rerun, score};
use crate::models::artifact;
use crate::models::baseline::{self, Momentum};
use crate::models::registry::{Decision, Registry, Stage};
use crate::models::shadow_days::ShadowDay;
use crate::types::Silent;
use data_layer::error::{Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use serde_json::{Value, json};
use std::path::Path;

fn prepared(root: &DataRoot) -> (Pinned, Prepared) {
    let pinned = fixture::pinned(root, &fixture::config());
    let prepared = train::prepare(root, &pinned).unwrap();
    (pinned, prepared)
}

/// All steps of a run, from the gate to the registry.
fn run(root: &DataRoot, threads: usize) -> Result<(CvReport, Fit)> {
    let (pinned, prepared) = prepared(root);
    let gate = train::gate(&pinned, &AllGreen)?;
    gate.require()?;
    let leak = train::leak_check(&pinned, &prepared)?;
    train::require_no_leak(&leak)?;
    let report = cv::cross_validate_with(root, &pinned, &prepared, &Silent, threads)?;
    let fit = train::fit_final(root, &pinned, &prepared, &report, &gate, &leak)?;
    train::register_challenger(root, &pinned, &report, &fit)?;
    Ok((report, fit))
}

fn reopen(dir: &Path) -> DataRoot {
    DataRoot::open(&fixture::host(None, &[]), dir).unwrap()
}

pub(super) fn champion_rule() -> Momentum {
    let portfolio = json!({"rule": "long_only_top", "top_n": 4, "bottom_n": 0, "rebalance_sessions": 5, "cost_bps_round_trip": 12.0});
    Momentum { lookback_sessions: 60, skip_sessions: 5, portfolio, ..Momentum::default() }
}

#[test]
fn a_killed_run_continues_and_makes_the_same_model_with_any_number_of_threads() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (report, fit) = run(&fixture::create(a.path()), 2).unwrap();
    fixture::create(b.path());
    let dying = DataRoot::open(&fixture::host(Some(("checkpoint.after", 5)), &[]), b.path()).unwrap();
    assert!(run(&dying, 1).unwrap_err().is(code::BUG_CRASH_POINT));
    let checkpoints = |root: &DataRoot| store::list(root, &DataPath::new("models/_work").unwrap()).unwrap().len();
    assert_eq!(checkpoints(&reopen(b.path())), 10, "five splits were done, two files each");
    let (again, second) = run(&reopen(b.path()), 1).unwrap();
    assert_eq!((&report, &fit), (&again, &second));
    let trials = |dir: &Path| Registry::open(&reopen(dir)).unwrap().trials("equities_xs").unwrap();
    assert_eq!(trials(a.path()), trials(b.path()));
    assert_eq!(run(&reopen(b.path()), 2).unwrap().1, second, "a third run changes nothing");
    assert!(report.splits == 6 && report.overfitting.trials == 2 && report.overfitting.columns == 2);
}

#[test]
fn a_damaged_checkpoint_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let (pinned, prepared) = prepared(&root);
    let first = cv::cross_validate(&root, &pinned, &prepared, &Silent).unwrap();
    let files = store::list(&root, &pinned.work().unwrap()).unwrap();
    let victim = files.iter().find(|f| f.as_str().ends_with("split-03.parquet")).unwrap();
    std::fs::write(root.locate(victim), b"torn").unwrap();
    assert_eq!(cv::cross_validate(&root, &pinned, &prepared, &Silent).unwrap(), first);
    assert_ne!(std::fs::read(root.locate(victim)).unwrap(), b"torn");
}

#[test]
fn lesson_061_the_number_of_trials_comes_from_the_ledger_and_never_falls() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    run(&root, 2).unwrap();
    let n = |root: &DataRoot| Registry::open(root).unwrap().family("equities_xs").unwrap().n;
    assert_eq!(n(&root), 2);
    std::fs::remove_dir_all(root.locate(&DataPath::new("models/_work").unwrap())).unwrap();
    assert_eq!(n(&root), 2, "deleting the run's folder lowers nothing");
    let mut config = fixture::config();
    config.model.learning_rate = 0.2;
    let pinned = fixture::pinned(&root, &config);
    let prepared = train::prepare(&root, &pinned).unwrap();
    let report = cv::cross_validate(&root, &pinned, &prepared, &Silent).unwrap();
    assert_eq!((n(&root), report.overfitting.trials), (4, 4));
    let registry = Registry::open(&root).unwrap();
    assert!(registry.db().lock().unwrap().execute("DELETE FROM trials", []).is_err());
    assert!(registry.db().lock().unwrap().execute("UPDATE trials SET family = 'other'", []).is_err());
    registry.verify_trials().unwrap();
    registry.db().lock().unwrap().execute_batch("DROP TRIGGER trials_no_delete; DELETE FROM trials WHERE seq = 2").unwrap();
    assert!(registry.verify_trials().unwrap_err().is(code::SSD_CHAIN));
}

#[test]
fn lesson_071_a_tampered_artifact_or_one_of_another_world_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let (_, fit) = run(&root, 2).unwrap();
    let row = Registry::open(&root).unwrap().model("equities_xs", &fit.version).unwrap().unwrap();
    let model = artifact::load(&root, &row).unwrap();
    assert_eq!((model.manifest.data_snapshot.as_str(), model.manifest.dataset.as_str()), (fixture::snapshot(&root).as_str(), "null@2:7"));
    for name in ["model.txt", "oof.parquet", "golden_rows.parquet", "manifest.json"] {
        let place = root.locate(&row.path.join(name).unwrap());
        let good = std::fs::read(&place).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&place, &bad).unwrap();
        assert!(artifact::load(&root, &row).unwrap_err().is(code::ML_ARTIFACT), "{name}");
        std::fs::write(&place, &good).unwrap();
    }
    artifact::load(&root, &row).unwrap();
    let real = tempfile::tempdir().unwrap();
    let other = DataRoot::create(&fixture::host(None, &[]), real.path(), "real", data_layer::root::FsFacts::default(), None).unwrap();
    for file in store::list(&root, &row.path).unwrap() {
        store::write_atomic(&other, &file, &store::read(&root, &file).unwrap().unwrap()).unwrap();
    }
    assert!(artifact::load(&other, &row).unwrap_err().is(code::CFG_DATASET_MIXED));
}

#[test]
fn a_strategy_has_one_champion_and_a_rollback_is_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let registry = Registry::open(&root).unwrap();
    assert!(registry.champion("equities_xs").unwrap_err().is(code::ML_NO_CHAMPION));
    let asof = fixture::days()[10];
    let first = baseline::ensure_baseline(&root, &registry, "equities_xs", &Momentum::default(), asof, "01RUN").unwrap();
    let same = baseline::ensure_baseline(&root, &registry, "equities_xs", &champion_rule(), asof.plus_days(1), "02RUN").unwrap();
    assert_eq!(first, same);
    artifact::load(&root, &first).unwrap();
    let (_, fit) = run(&root, 2).unwrap();
    let decision = Decision { rule: "test", verdict: Value::Null, operator: "op", reason: "because" };
    registry.set_stage("equities_xs", &fit.version, Stage::Champion, &decision).unwrap();
    assert_eq!(registry.champion("equities_xs").unwrap().version, fit.version);
    assert_eq!(registry.model("equities_xs", &first.version).unwrap().unwrap().stage, Stage::Retired);
    let second = registry.db().lock().unwrap().execute("UPDATE models SET stage = 'champion'", []);
    assert!(second.is_err(), "the index refuses a second champion");
    assert!(promote::rollback(&root, "equities_xs", "op", "").is_err());
    assert_eq!(promote::rollback(&root, "equities_xs", "op", "drawdown").unwrap(), first.version);
    let events = registry.events("equities_xs").unwrap();
    assert!(events.iter().any(|e| e.rule == "rollback" && e.applied && e.reason == "drawdown"));
}

#[test]
fn lesson_076_a_market_without_an_edge_is_refused_and_the_verdict_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let registry = Registry::open(&root).unwrap();
    let champion = baseline::ensure_baseline(&root, &registry, "equities_xs", &champion_rule(), fixture::days()[10], "01RUN").unwrap();
    let (report, fit) = run(&root, 2).unwrap();
    let (evaluation, evidence) = evaluate::evaluate(&root, "equities_xs", &fit.version).unwrap();
    assert!(!evaluation.verdict.passed && evaluation.verdict.require().unwrap_err().is(code::GATE_HURDLES));
    assert_eq!(evaluation.trials, 2);
    let comparison = evaluation.comparison.as_ref().unwrap();
    assert_eq!(comparison.champion_version, champion.version);
    assert!(comparison.sessions > 50 && evaluation.notes.iter().any(|n| n.contains("15 years were asked for")));
    let chosen = report.chosen();
    let recomputed = crate::validation::dsr::moments(&evidence.challenger.net).unwrap().sharpe;
    assert!((recomputed - chosen.sharpe_per_period.unwrap()).abs() < 1e-9, "the artifact's scores are those that were judged");
    let eager = DataRoot::open(&fixture::host(None, &[(promote::AUTO_PROMOTE, "true")]), dir.path()).unwrap();
    for (root, by_hand) in [(&root, true), (&eager, false)] {
        let p = promote::promote(root, &fixture::config(), &evaluation, "op", by_hand).unwrap();
        assert!(!p.passed && !p.applied && p.reason.contains("bars"));
    }
    let recorded = registry.events("equities_xs").unwrap().into_iter().filter(|e| e.rule == promote::RULE && !e.applied).count();
    // The same verdict on the same evidence is one event, however often it is said.
    assert_eq!((recorded, registry.champion("equities_xs").unwrap().version), (1, champion.version));
}

#[test]
fn only_a_full_house_promotes_and_only_where_it_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let registry = Registry::open(&root).unwrap();
    let champion = baseline::ensure_baseline(&root, &registry, "equities_xs", &champion_rule(), fixture::days()[10], "01RUN").unwrap();
    let (_, fit) = run(&root, 2).unwrap();
    let (mut evaluation, _) = evaluate::evaluate(&root, "equities_xs", &fit.version).unwrap();
    evaluation.verdict.rows.iter_mut().for_each(|r| r.passed = true);
    evaluation.verdict.passed = true;
    evaluation.comparison.as_mut().unwrap().beats = true;
    let config = fixture::config();
    let without = promote::promote(&root, &config, &evaluation, "op", true).unwrap();
    assert!(!without.passed && without.reason.contains("shadow_weeks"));
    let challenger = registry.model("equities_xs", &fit.version).unwrap().unwrap();
    let owed = || promote::is_owed(&registry, &config, &challenger).unwrap();
    assert!(!owed(), "the weeks have not passed");
    for (i, session) in fixture::days().into_iter().take(20).enumerate() {
        let day = |version: &str, net: f64| ShadowDay {
            strategy: "equities_xs".into(),
            version: version.into(),
            session,
            weights_sha256: "w".into(),
            gross_return: Some(net),
            net_return: Some(net),
            turnover: Some(0.1),
            inputs_sha256: "i".into(),
        };
        registry.record_shadow_day(&day(&fit.version, 0.002)).unwrap();
        registry.record_shadow_day(&day(&fit.version, 0.002)).unwrap();
        assert!(registry.record_shadow_day(&day(&fit.version, 0.003)).unwrap_err().is(code::DATA_CONFLICT));
        assert!(!owed(), "{i} sessions beside the champion");
        registry.record_shadow_day(&day(&champion.version, if i % 2 == 0 { 0.001 } else { -0.001 })).unwrap();
    }
    assert!(owed(), "the first verdict was before its weeks, which are over now");
    let held_back = promote::promote(&root, &config, &evaluation, "op", false).unwrap();
    assert!(held_back.passed && !held_back.applied && held_back.reason.contains(promote::AUTO_PROMOTE));
    assert!(!owed(), "once");
    assert_eq!(registry.champion("equities_xs").unwrap().version, champion.version);
    assert!(promote::promote(&root, &config, &evaluation, "op", true).unwrap().applied);
    assert_eq!(registry.champion("equities_xs").unwrap().version, fit.version);
}

#[test]
fn lesson_072_a_days_scores_do_not_depend_on_later_data_and_equal_those_of_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let (_, fit) = run(&root, 2).unwrap();
    let row = Registry::open(&root).unwrap().model("equities_xs", &fit.version).unwrap().unwrap();
    let model = artifact::load(&root, &row).unwrap();
    let pinned = fixture::pinned(&root, &fixture::config());
    let panel = panel::load(&root, &pinned.snapshot, pinned.window).unwrap();
    let at = 150;
    let scores = score::score_day(&model, &panel, panel.days[at]).unwrap();
    assert_eq!(scores.len(), 14);
    let range = score::score_range(&model, &panel, at..at + 1).unwrap();
    for (symbol, value) in &scores {
        assert_eq!(range.at(panel.symbol_index(symbol).unwrap(), at), *value);
    }
}

#[test]
fn alpha158_trains_and_serves_by_configuration_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let mut config = fixture::config();
    config.features = crate::pipelines::config::Features { set: "alpha158_v1".into(), required: vec!["ROC20".into(), "STD20".into()] };
    let pinned = fixture::pinned(&root, &config);
    let prepared = train::prepare(&root, &pinned).unwrap();
    assert_eq!(prepared.names.len(), 158);
    let leak = train::leak_check(&pinned, &prepared).unwrap();
    train::require_no_leak(&leak).unwrap();
    let report = cv::cross_validate_with(&root, &pinned, &prepared, &Silent, 2).unwrap();
    let gate = train::gate(&pinned, &AllGreen).unwrap();
    let fit = train::fit_final(&root, &pinned, &prepared, &report, &gate, &leak).unwrap();
    let row = train::register_challenger(&root, &pinned, &report, &fit).unwrap();
    let model = artifact::load(&root, &row).unwrap();
    assert_eq!(model.features.feature_set, "alpha158_v1");
    let day = prepared.panel.days[150];
    assert_eq!(score::score_day(&model, &prepared.panel, day).unwrap().len(), prepared.rows_of(150).len());
    config.features.set = "alpha159".into();
    assert!(config.validate().unwrap_err().is(code::CFG_VALUE));
}

#[test]
fn a_required_feature_that_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let mut config = fixture::config();
    config.features.required.push("no_such_feature".into());
    let error = train::prepare(&root, &fixture::pinned(&root, &config)).err().unwrap();
    assert!(error.is(code::DATA_MISSING) && error.body().what.contains("no_such_feature"));
    config.window.cap_to_held = false;
    let days = fixture::days();
    let held = data_layer::time::DateRange::new(days[0], days[100]).unwrap();
    assert!(train::pin(&root, &config, days[99], held, &fixture::snapshot(&root), "r").unwrap_err().is(code::GATE_GREEN));
}

#[test]
fn a_rerun_makes_every_byte_again_also_after_more_trials_and_says_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let (_, fit) = run(&root, 2).unwrap();
    let mut other = fixture::config();
    other.model.learning_rate = 0.2;
    let pinned = fixture::pinned(&root, &other);
    cv::cross_validate(&root, &pinned, &train::prepare(&root, &pinned).unwrap(), &Silent).unwrap();
    let registry = Registry::open(&root).unwrap();
    let row = recall::find(&registry, "equities_xs", &fit.version).unwrap();
    assert_eq!(recall::find(&registry, "equities_xs", &row.run_id).unwrap().version, fit.version);
    assert!(recall::find(&registry, "equities_xs", "nothing").unwrap_err().is(code::ML_ARTIFACT));
    let before = store::list(&root, &DataPath::new("models").unwrap()).unwrap();
    let again = rerun::rerun(&root, &row, &Silent, 1).unwrap();
    assert!(again.equal && again.files.len() >= 9, "{again:#?}");
    assert_eq!(store::list(&root, &DataPath::new("models").unwrap()).unwrap(), before, "a rerun leaves nothing behind");
    assert_eq!(registry.family("equities_xs").unwrap().n, 4, "and is no new trial");
}

#[test]
fn a_ranking_and_a_classifier_go_the_whole_way_and_serve_what_they_learnt() {
    for objective in ["lambdarank", "binary"] {
        let dir = tempfile::tempdir().unwrap();
        let root = fixture::create(dir.path());
        let mut config = fixture::config();
        config.model.objective = objective.into();
        let pinned = fixture::pinned(&root, &config);
        let prepared = train::prepare(&root, &pinned).unwrap();
        let report = cv::cross_validate(&root, &pinned, &prepared, &Silent).unwrap();
        let gate = train::gate(&pinned, &AllGreen).unwrap();
        let leak = train::leak_check(&pinned, &prepared).unwrap();
        let fit = train::fit_final(&root, &pinned, &prepared, &report, &gate, &leak).unwrap();
        assert!(fit.parity.passed && fit.trees > 0, "{objective}");
        let row = train::register_challenger(&root, &pinned, &report, &fit).unwrap();
        let model = artifact::load(&root, &row).unwrap();
        let artifact::Scorer::Trees(forest) = &model.scorer else { panic!("{objective}") };
        assert_eq!(forest.is_logistic(), objective == "binary");
    }
}
