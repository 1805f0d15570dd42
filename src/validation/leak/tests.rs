//! A zoo of planted leaks, all caught; our own features, labels and splits, all passed.

use super::*;
use crate::features::fixture::{random_panel, unit};
use crate::features::{alpha158, equities_xs};
use crate::labels::horizon::{demean, forward};
use crate::validation::cpcv::{CpcvConfig, PurgeScope, splits};
use std::collections::BTreeSet;

const SPAN: usize = 6;

fn world() -> Panel {
    random_panel(7, 12, 170, 0.01)
}

fn labels_of(panel: &Panel) -> Matrix {
    forward(panel, 5, 1, true).unwrap()
}

fn honest_splits(n_days: usize, span: usize) -> Vec<Split> {
    let cfg = CpcvConfig { groups: 6, test_groups: 2, embargo_sessions: 5, scope: PurgeScope::Date };
    splits(n_days, span, &cfg).unwrap()
}

fn block(names: &[&str], columns: Vec<Matrix>) -> FeatureBlock {
    FeatureBlock { names: names.iter().map(|n| (*n).to_owned()).collect(), units: vec!["test"; columns.len()], columns, excluded: Vec::new() }
}

/// One value per member with a close.
fn each(panel: &Panel, f: impl Fn(usize, usize) -> f64) -> Matrix {
    let mut m = Matrix::missing(panel.n_symbols(), panel.n_days());
    for s in 0..panel.n_symbols() {
        for t in (0..panel.n_days()).filter(|&t| panel.member.at(s, t) > 0.0 && !panel.close.at(s, t).is_nan()) {
            m.set(s, t, f(s, t));
        }
    }
    m
}

fn get(m: &Matrix, s: usize, t: usize) -> f64 {
    if t < m.cols() { m.at(s, t) } else { f64::NAN }
}

fn known(m: &Matrix, s: usize) -> Vec<f64> {
    m.row(s).iter().copied().filter(|v| !v.is_nan()).collect()
}

/// The close of `t - 5`, and with tomorrow's close in place of today's.
fn momentum(p: &Panel, ahead: usize) -> Matrix {
    each(p, |s, t| if t < 5 { f64::NAN } else { get(&p.close, s, t + ahead) / p.close.at(s, t - 5) - 1.0 })
}

/// A missing close taken from the next day that has one.
fn filled_back(p: &Panel) -> Matrix {
    let mut m = Matrix::missing(p.n_symbols(), p.n_days());
    for s in 0..p.n_symbols() {
        for t in 1..p.n_days() {
            let next = (t..p.n_days()).map(|i| p.close.at(s, i)).find(|c| !c.is_nan()).unwrap_or(f64::NAN);
            m.set(s, t, next / p.close.at(s, t - 1));
        }
    }
    m
}

fn centred(p: &Panel) -> Matrix {
    each(p, |s, t| (t.saturating_sub(2)..=t + 2).map(|i| get(&p.close, s, i)).filter(|c| !c.is_nan()).sum::<f64>() / p.close.at(s, t))
}

fn full_sample_z(p: &Panel) -> Matrix {
    each(p, |s, t| {
        let all = known(&p.close, s);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let sd = (all.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        (p.close.at(s, t) - mean) / sd
    })
}

fn interpolated(p: &Panel) -> Matrix {
    each(p, |s, t| {
        let today = p.close.at(s, t);
        let before = if t > 0 { p.close.at(s, t - 1) } else { f64::NAN };
        if before.is_nan() { (today + get(&p.close, s, t + 1)) / 2.0 } else { today / before }
    })
}

type Zoo = Vec<(&'static str, fn(&Panel) -> Matrix)>;

fn zoo() -> Zoo {
    vec![
        ("centred_moving_average", centred),
        ("full_sample_z", full_sample_z),
        ("full_sample_min_max", |p| each(p, |s, t| p.close.at(s, t) / known(&p.close, s).into_iter().fold(0.0, f64::max))),
        ("next_day_return", |p| each(p, |s, t| get(&p.close, s, t + 1) / p.close.at(s, t) - 1.0)),
        ("next_open_gap", |p| each(p, |s, t| get(&p.open, s, t + 1) / p.close.at(s, t) - 1.0)),
        ("next_volume", |p| each(p, |s, t| get(&p.volume, s, t + 1))),
        ("label", |p| labels_of(p)),
        ("back_filled", filled_back),
        ("interpolated", interpolated),
        ("look_ahead_max", |p| each(p, |s, t| (t..t + 5).map(|i| get(&p.high, s, i)).fold(0.0, f64::max) / p.close.at(s, t))),
        ("tomorrows_momentum", |p| momentum(p, 1)),
        ("members_at_the_end", |p| each(p, |s, _| p.member.at(s, p.n_days() - 1))),
        ("member_tomorrow", |p| each(p, |s, t| get(&p.member, s, t + 1))),
        ("survivors", |p| each(p, |s, _| f64::from(u8::from(p.delisted[s].is_none())))),
        ("price_in_todays_terms", |p| each(p, |s, t| p.close.at(s, t) / known(&p.close, s).last().unwrap())),
        ("everybody", |p| p.close.clone()),
        ("days_left", |p| each(p, |_, t| (p.n_days() - t) as f64)),
    ]
}

fn failed(report: &LeakReport, subject: &str) -> BTreeSet<String> {
    report.failures().filter(|c| c.subject == subject).map(|c| c.name.clone()).collect()
}

#[test]
fn every_planted_leak_is_caught_and_the_honest_feature_beside_it_is_not() {
    let panel = world();
    let labels = labels_of(&panel);
    let zoo = zoo();
    let names: Vec<&str> = zoo.iter().map(|z| z.0).chain(["honest"]).collect();
    let build = |p: &Panel| Ok(block(&names, zoo.iter().map(|z| z.1(p)).chain([momentum(p, 0)]).collect()));
    let report = inspect(&panel, &build, &labels, SPAN, &honest_splits(170, SPAN), 5).unwrap();
    for (name, _) in &zoo {
        assert!(!failed(&report, name).is_empty(), "{name} was not caught");
    }
    assert!(failed(&report, "honest").is_empty(), "{:?}", failed(&report, "honest"));
    assert!(failed(&report, "labels").is_empty() && !report.passed());
    assert!(failed(&report, "label").contains("label_smell") && failed(&report, "everybody") == BTreeSet::from(["membership".to_owned()]));
    let refusal = report.require().unwrap_err();
    assert!(refusal.is(code::GATE_LEAK) && refusal.body().cause.as_ref().unwrap().contains("centred_moving_average"));
}

#[test]
fn lesson_046_a_centred_filter_is_flagged_and_a_trailing_one_is_not() {
    let panel = world();
    let trailing = |p: &Panel| each(p, |s, t| (t.saturating_sub(4)..=t).map(|i| p.close.at(s, i)).filter(|c| !c.is_nan()).sum::<f64>());
    let build = |p: &Panel| Ok(block(&["centred", "trailing"], vec![centred(p), trailing(p)]));
    let report = inspect(&panel, &build, &labels_of(&panel), SPAN, &honest_splits(170, SPAN), 5).unwrap();
    assert!(failed(&report, "centred").contains("truncate") && failed(&report, "centred").contains("append"));
    assert!(failed(&report, "trailing").is_empty());
}

#[test]
fn our_own_features_labels_and_splits_pass() {
    let panel = world();
    let report = inspect(&panel, &equities_xs::build, &labels_of(&panel), SPAN, &honest_splits(170, SPAN), 5).unwrap();
    assert!(report.passed(), "{:?}", report.failures().collect::<Vec<_>>());
    assert!(report.require().is_ok());
    let back: LeakReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(back, report);
    assert!(!LeakReport::default().passed(), "nothing checked is not passed");
}

#[test]
fn a_price_that_a_vendor_begins_to_send_later_is_no_look_ahead() {
    let mut panel = world();
    for s in 0..panel.n_symbols() {
        panel.vwap.row_mut(s)[..120].fill(f64::NAN);
    }
    let early = alpha158::build(&panel.truncated(100)).unwrap();
    assert_eq!((early.names.len(), early.excluded[0].name.as_str()), (157, "VWAP0"));
    let report = inspect(&panel, &alpha158::build, &labels_of(&panel), SPAN, &honest_splits(170, SPAN), 5).unwrap();
    assert!(report.passed(), "{:?}", report.failures().take(3).collect::<Vec<_>>());
}

#[test]
fn values_computed_elsewhere_that_know_the_label_are_smelt() {
    let panel = world();
    let labels = labels_of(&panel);
    // Cut to the panel it is given, so that no recomputation can tell; noise hides half of the answer.
    let kept = labels.clone();
    let build = move |p: &Panel| Ok(block(&["stored"], vec![each(p, |s, t| kept.at(s, t) + 0.04 * (unit(5, s, t, 0) - 0.5))]));
    let report = inspect(&panel, &build, &labels, SPAN, &honest_splits(170, SPAN), 5).unwrap();
    assert_eq!(failed(&report, "stored"), BTreeSet::from(["label_smell".to_owned()]));
}

#[test]
fn a_builder_that_ignores_its_panel_is_caught() {
    let panel = world();
    let fixed = equities_xs::build(&panel).unwrap();
    let report = inspect(&panel, &move |_: &Panel| Ok(fixed.clone()), &labels_of(&panel), SPAN, &honest_splits(170, SPAN), 5).unwrap();
    assert!(!report.passed());
    let one = Matrix::missing(1, 1);
    let report = inspect(&panel, &move |_: &Panel| Ok(block(&["x"], vec![one.clone()])), &labels_of(&panel), SPAN, &honest_splits(170, SPAN), 5).unwrap();
    assert_eq!(failed(&report, "features"), BTreeSet::from(["shape".to_owned()]));
}

fn honest(p: &Panel) -> Result<FeatureBlock> {
    Ok(block(&["honest"], vec![momentum(p, 0)]))
}

#[test]
fn lesson_053_labels_that_begin_at_the_signals_own_close_are_refused() {
    let panel = world();
    let labels = forward(&panel, 5, 0, true).unwrap();
    let report = inspect(&panel, &honest, &labels, 5, &honest_splits(170, 5), 5).unwrap();
    assert_eq!(failed(&report, "labels"), BTreeSet::from(["label_entry".to_owned()]));
}

#[test]
fn labels_that_reach_further_than_their_span_are_refused_by_name() {
    let panel = world();
    let report = inspect(&panel, &honest, &labels_of(&panel), 5, &honest_splits(170, 5), 5).unwrap();
    let found = report.failures().find(|c| c.name == "label_definition").unwrap();
    assert!(found.detail.contains("to t+6, not to t+5"), "{}", found.detail);
    let mut odd = labels_of(&panel);
    (0..12).for_each(|s| odd.set(s, 100, unit(1, s, 0, 0)));
    let report = inspect(&panel, &honest, &odd, SPAN, &honest_splits(170, SPAN), 5).unwrap();
    assert_eq!(failed(&report, "labels"), BTreeSet::from(["label_definition".to_owned()]));
}

#[test]
fn demeaned_and_strict_labels_are_recognised() {
    let panel = world();
    for labels in [demean(&labels_of(&panel)), forward(&panel, 5, 1, false).unwrap()] {
        let report = inspect(&panel, &honest, &labels, SPAN, &honest_splits(170, SPAN), 5).unwrap();
        assert!(report.passed(), "{:?}", report.failures().collect::<Vec<_>>());
    }
}

#[test]
fn a_label_source_is_made_again_and_its_reach_checked() {
    let panel = world();
    let run = |build: &dyn Fn(&Panel) -> Result<Matrix>, span: usize| {
        let labels = build(&panel).unwrap();
        let source = LabelSource { build, span, entry_lag: 1 };
        inspect_with(&panel, &honest, &labels, source, &honest_splits(170, span), 5).unwrap()
    };
    assert!(run(&|p: &Panel| forward(p, 5, 1, true), 6).passed());
    let late = run(&|p: &Panel| forward(p, 8, 1, true), 6);
    assert!(failed(&late, "labels").contains("label_future"));
    let scaled = run(
        &|p: &Panel| {
            let m = forward(p, 5, 1, true)?;
            Ok(each(p, |s, t| m.at(s, t) / known(&m, s).len() as f64))
        },
        6,
    );
    assert!(failed(&scaled, "labels").contains("label_future"), "scaled by the whole sample");
}

#[test]
fn lesson_063_a_purge_shorter_than_the_label_is_caught_at_every_horizon() {
    let n = 400;
    for span in [1, 2, 5, 6, 10, 20, 21] {
        let fine = honest_splits(n, span);
        let short = honest_splits(n, span - 1);
        let judge = |splits: &[Split], embargo| {
            let mut report = LeakReport::default();
            overlap::check(&mut report, n, span, splits, embargo);
            report.failures().map(|c| c.name.clone()).collect::<Vec<_>>()
        };
        assert!(judge(&fine, 5).is_empty(), "{span}");
        assert_eq!(judge(&fine, 6), ["split_embargo"], "{span}: a session short of the embargo");
        assert!(judge(&short, 4).contains(&"split_overlap".to_owned()), "{span}: purged by one session too few");
    }
    // Five days purged while labels span twenty.
    let mut report = LeakReport::default();
    overlap::check(&mut report, n, 20, &honest_splits(n, 5), 10);
    assert_eq!(report.failures().count(), 2);
    let mut report = LeakReport::default();
    overlap::check(&mut report, n, 20, &[], 10);
    assert!(!report.passed(), "no split is no evidence");
}

#[test]
fn too_little_to_inspect_is_an_error() {
    let panel = random_panel(1, 3, 19, 0.0);
    let e = inspect(&panel, &honest, &labels_of(&panel), SPAN, &[], 5).unwrap_err();
    assert!(e.is(code::ML_UNDEFINED));
}

#[test]
fn each_recomputation_catches_what_it_is_there_for() {
    let panel = random_panel(9, 12, 170, 0.0);
    let names = ["full_sample_z", "member_tomorrow", "back_filled", "interpolated"];
    let build = |p: &Panel| {
        let columns = vec![full_sample_z(p), each(p, |s, t| get(&p.member, s, t + 1)), filled_back(p), interpolated(p)];
        Ok(block(&names, columns))
    };
    let report = inspect(&panel, &build, &labels_of(&panel), SPAN, &honest_splits(170, SPAN), 5).unwrap();
    let caught = |name: &str, check: &str| assert!(failed(&report, name).contains(check), "{name} by {check}: {:?}", failed(&report, name));
    for check in ["truncate", "append", "future_change", "back_fill"] {
        caught("full_sample_z", check);
    }
    caught("member_tomorrow", "future_change");
    // Without a gap of its own, this panel shows these two only because gaps are planted in it.
    caught("back_filled", "back_fill");
    caught("interpolated", "back_fill");
    assert!(!failed(&report, "interpolated").contains("truncate"));
}
