//! Controls that can fail, and a holdout that opens once.

use super::fixture::{self, AllGreen};
use super::{cv, evaluate, holdout, train};
use crate::models::registry::Registry;
use crate::pipelines::controls::{Control, ControlReport, Doubts, labels_of, nested};
use crate::pipelines::splits::{self, Batch, Work};
use crate::types::Silent;
use crate::validation::golden::noise;
use data_layer::error::code;
use data_layer::time::DateRange;

#[test]
fn lesson_068_labels_permuted_within_a_date_score_nothing_and_a_model_that_was_tested_on_its_training_rows_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let pinned = fixture::pinned(&root, &fixture::config());
    let prepared = train::prepare(&root, &pinned).unwrap();
    let report = cv::cross_validate_with(&root, &pinned, &prepared, &Silent, 2).unwrap();
    let permuted = report.doubts.controls.iter().find(|c| c.control == Control::PermutedWithinDate).unwrap();
    assert!(permuted.must_fail && !permuted.caught && permuted.t.unwrap().abs() < 4.0, "{permuted:?}");
    assert_eq!((report.doubts.controls.len(), report.doubts.baselines.len()), (3, 2));
    assert!(report.doubts.baselines.iter().all(|b| b.mean_ic.is_some() && b.sharpe_annual.is_some()), "{:?}", report.doubts);
    assert!(report.doubts.require().is_ok() && report.doubts.sentences().len() >= 5);
    // The planted mistake: the test days are trained on. Permuted labels are now learnt by heart.
    let mut leaky = prepared.splits.clone();
    leaky.truncate(1);
    let tested = leaky[0].test_days.clone();
    leaky[0].train_days.extend(tested);
    leaky[0].train_days.sort_unstable();
    let labels = labels_of(&prepared, Control::PermutedWithinDate, pinned.config.label.span(), pinned.seed);
    let mut cell = report.chosen().cell.clone();
    (cell.params.rounds, cell.params.num_leaves, cell.params.min_data_in_leaf) = (60, 31, 5);
    cell.config_sha256 = "f".repeat(64);
    let work = Work { root: &root, pinned: &pinned, prepared: &prepared, progress: &Silent, threads: 1 };
    work.run(&Batch { tag: "leaky", labels: &labels, cells: std::slice::from_ref(&cell), splits: &leaky }).unwrap();
    let scores = splits::mean_scores(&root, &pinned, &prepared, "leaky", &cell, &leaky).unwrap();
    let daily = crate::backtest::metric::ic::per_date(&cv::to_matrix(&prepared, &scores), &cv::to_matrix(&prepared, &labels)).unwrap();
    let t = crate::backtest::metric::ic::summarise(&prepared.panel.days, &daily, 5).unwrap().t;
    assert!(t > super::controls::CAUGHT_T, "{t}");
    let caught = ControlReport { control: Control::PermutedWithinDate, mean_ic: Some(0.3), t: Some(t), dates: 60, must_fail: true, caught: true };
    assert!(Doubts { controls: vec![caught], ..Doubts::default() }.require().unwrap_err().is(code::GATE_LEAK));
}

#[test]
fn the_labels_of_a_control_keep_no_answer_of_their_own_day() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let pinned = fixture::pinned(&root, &fixture::config());
    let p = train::prepare(&root, &pinned).unwrap();
    let span = pinned.config.label.span();
    let permuted = labels_of(&p, Control::PermutedWithinDate, span, 1);
    let sorted = |values: Vec<f64>| {
        let mut v: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        v.sort_by(f64::total_cmp);
        v
    };
    for day in p.cv_days.clone() {
        let rows = p.rows_of(day);
        assert_eq!(sorted(permuted[rows.clone()].to_vec()), sorted(p.labels[rows].to_vec()));
    }
    assert!(permuted.iter().zip(&p.labels).filter(|(a, b)| a != b).count() > p.n_rows() / 2);
    let beyond = labels_of(&p, Control::BeyondHorizon, span, 1);
    let r = p.rows_of(p.cv_days.start + 3).start;
    let (s, d) = (p.symbol[r] as usize, p.day[r] as usize);
    assert_eq!(beyond[r], p.label_matrix.at(s, d + span));
    assert_eq!(labels_of(&p, Control::PlaceboDates, span, 7).len(), p.n_rows());
}

#[test]
fn lesson_066_a_choice_made_without_the_days_it_is_judged_on_finds_nothing_in_noise() {
    // 200 configurations of pure noise over 8 groups: the best looks good, and the nested choice does not.
    let (cells, days) = (200, 800);
    let daily: Vec<Vec<Option<f64>>> = (0..cells).map(|c| noise(c, days).iter().map(|e| Some(0.1 * e)).collect()).collect();
    let mean = |c: &[Option<f64>]| c.iter().flatten().sum::<f64>() / days as f64;
    let best = daily.iter().map(|c| mean(c)).fold(f64::MIN, f64::max);
    let groups: Vec<_> = (0..8).map(|g| g * 100..(g + 1) * 100).collect();
    let error = 0.1 / (days as f64).sqrt();
    assert!(best > 2.0 * error, "{best}");
    assert!(nested(&daily, &groups).unwrap().abs() < 3.0 * error);
    assert!(nested(&[vec![None; 800]], &groups).unwrap_err().is(code::ML_UNDEFINED));
}

#[test]
fn lesson_083_a_killed_search_resumes_with_the_same_proposals_and_the_same_winner() {
    let config = || {
        let mut c = fixture::config();
        c.search.grid.num_leaves = vec![3, 4, 5, 6, 7, 8];
        c.search.halving = Some(crate::pipelines::config::Halving { candidates: 4, eta: 2, rungs: vec![1, 2], finalists: 2 });
        c
    };
    let run = |root: &data_layer::root::DataRoot| {
        let pinned = fixture::pinned(root, &config());
        let prepared = train::prepare(root, &pinned).unwrap();
        cv::cross_validate_with(root, &pinned, &prepared, &Silent, 1)
    };
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = run(&fixture::create(a.path())).unwrap();
    assert_eq!(whole.cells.len(), 2);
    fixture::create(b.path());
    for k in [2, 5, 9] {
        let dying = data_layer::root::DataRoot::open(&fixture::host(Some(("checkpoint.after", k)), &[]), b.path()).unwrap();
        assert!(run(&dying).unwrap_err().is(code::BUG_CRASH_POINT));
    }
    let again = data_layer::root::DataRoot::open(&fixture::host(None, &[]), b.path()).unwrap();
    assert_eq!(run(&again).unwrap(), whole);
    let trials = Registry::open(&again).unwrap().trials("equities_xs").unwrap();
    let distinct: std::collections::BTreeSet<_> = trials.iter().map(|t| t.config_sha256.clone()).collect();
    assert_eq!(distinct.len(), 4, "pruned candidates count");
    assert!(trials.iter().any(|t| t.status == "pruned") && whole.overfitting.trials == 4);
    let memory = crate::pipelines::bandit::Memory::load(&again, "equities_xs").unwrap();
    assert!(memory.learnt_from.len() == 1 && memory.arms.values().map(std::collections::BTreeMap::len).sum::<usize>() == 4);
}

#[test]
fn lesson_066_a_sealed_holdout_is_seen_by_nothing_and_opens_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture::create(dir.path());
    let mut config = fixture::config();
    config.holdout.months = 2;
    config.cpcv.min_oos_months = 1;
    let pinned = fixture::pinned(&root, &config);
    let window: DateRange = pinned.holdout.unwrap();
    let p = train::prepare(&root, &pinned).unwrap();
    let last_label = p.cv_days.end - 1 + config.label.span();
    assert!(p.panel.days[last_label] < window.start && p.days.end > p.cv_days.end);
    let report = cv::cross_validate_with(&root, &pinned, &p, &Silent, 2).unwrap();
    assert!(report.last_session < window.start);
    let (gate, leak) = (train::gate(&pinned, &AllGreen).unwrap(), train::leak_check(&pinned, &p).unwrap());
    let fit = train::fit_final(&root, &pinned, &p, &report, &gate, &leak).unwrap();
    train::register_challenger(&root, &pinned, &report, &fit).unwrap();
    // A later configuration cannot move the seal.
    config.holdout.months = 1;
    assert_eq!(fixture::pinned(&root, &config).holdout, Some(window));
    let opened = holdout::open(&root, "equities_xs", &fit.version, "01LOOK").unwrap();
    assert!(opened.sessions > 20 && opened.mean_ic.is_some() && opened.window == window);
    assert_eq!(holdout::open(&root, "equities_xs", &fit.version, "02LOOK").unwrap(), opened, "the same look again is the record");
    // From now on nothing is set aside, another model gets no look, and every report says so.
    assert_eq!(fixture::pinned(&root, &config).holdout, None);
    let registry = Registry::open(&root).unwrap();
    let other = crate::models::holdouts::Opened { version: "another".into(), ..opened.clone() };
    assert!(registry.record_opened_holdout(&other, "03LOOK").unwrap_err().is(code::GATE_REFUSED));
    for sql in ["DELETE FROM holdouts", "UPDATE holdouts SET family = 'x'", "DELETE FROM holdout_seals", "UPDATE holdout_seals SET asof = ''"] {
        assert!(registry.db().lock().unwrap().execute(sql, []).is_err(), "{sql}");
    }
    crate::models::baseline::ensure_baseline(&root, &registry, "equities_xs", &super::tests::champion_rule(), fixture::days()[10], "01RUN").unwrap();
    let (evaluation, _) = evaluate::evaluate(&root, "equities_xs", &fit.version).unwrap();
    assert!(evaluation.notes.contains(&opened.sentence()) && evaluation.notes.iter().any(|n| n.starts_with("control: ")));
}
