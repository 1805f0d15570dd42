//! Several models in one run: each is a challenger of the same family, each gets a verdict, and a crash in the middle of the second
//! repeats nothing of the first.

use crate::journey::{Machine, before, copy, fingerprint, play_answering};
use data_layer::error::code;
use std::path::Path;

const TRAIN: usize = 1;
const EVALUATE: usize = 2;

fn both() -> Vec<String> {
    vec!["model.names=equities_xs,equities_xs_rank".to_string()]
}

fn column(place: &Path, db: &str, sql: &str) -> Vec<String> {
    let conn = rusqlite::Connection::open(place.join(db)).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    statement.query_map([], |r| r.get(0)).unwrap().map(|r| r.unwrap()).collect()
}

#[test]
fn two_models_of_one_run_are_trained_resumed_and_judged_one_after_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    let (here, there) = (Machine::new("00000000000000aa"), Machine::new("00000000000000bb"));
    let whole = scratch.path().join("whole");
    copy(&before(TRAIN), &whole);
    play_answering(&whole, &here, None, TRAIN, 0, &both()).0.unwrap();
    let versions = column(&whole, "models/registry.sqlite", "SELECT version FROM models WHERE stage = 'challenger' ORDER BY created_at, version");
    assert_eq!(versions.len(), 2, "{versions:?}");
    let objectives =
        column(&whole, "models/registry.sqlite", "SELECT DISTINCT config_json ->> '$.model.objective' FROM models WHERE stage = 'challenger' ORDER BY 1");
    assert_eq!(objectives, ["lambdarank", "regression"]);
    let steps = column(&whole, "control/journal.sqlite", "SELECT step || ' ' || kind FROM journal WHERE wizard = 'train' ORDER BY seq");
    let fitted: Vec<&String> = steps.iter().filter(|s| s.starts_with("fit") && s.ends_with(" done")).collect();
    assert_eq!(fitted, ["fit@equities_xs done", "fit@equities_xs_rank done"], "{steps:?}");

    // The second model is cut off here and there; on another machine the run goes on with it.
    let first = steps.iter().position(|s| s == "register@equities_xs done").unwrap() + 1;
    for k in [first + 2, first + 7, steps.len() - 2] {
        let place = scratch.path().join(format!("cut-{k}"));
        copy(&before(TRAIN), &place);
        let crash = Some(("journal.append.after".to_string(), k as u64));
        let crashed = play_answering(&place, &here, crash, TRAIN, 0, &both()).0.unwrap_err();
        assert!(crashed.is(code::BUG_CRASH_POINT), "{k}: {crashed}");
        play_answering(&place, &there, None, TRAIN, 0, &[]).0.unwrap_or_else(|e| panic!("{k}: {e} {:?}", e.body()));
        assert_eq!(fingerprint(&place), fingerprint(&whole), "{k}");
        let through = column(&place, "control/journal.sqlite", "SELECT step FROM journal WHERE step = 'cross-validate@equities_xs' AND kind = 'started'");
        assert_eq!(through.len(), 1, "{k}: the first model was cross-validated once");
    }

    let outcome = play_answering(&whole, &here, None, EVALUATE, 0, &[]).0.unwrap();
    assert!(versions.iter().all(|v| outcome.summary.contains(v)), "{}", outcome.summary);
    let judged = column(&whole, "models/registry.sqlite", "SELECT version FROM model_events WHERE rule = 'promote_if_beats_champion' ORDER BY rowid");
    assert_eq!(judged.len(), 2, "{judged:?}");
    // Both have a verdict: judging again takes both, because they are of the newest session, and comes to the same.
    let again = play_answering(&whole, &here, None, EVALUATE, 0, &[]).0.unwrap();
    assert_eq!(again.summary, outcome.summary);
}
