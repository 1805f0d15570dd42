//! The resume suite: each wizard dies before and after every journal write; the drive moves to another place and another
//! machine, where it is 50 minutes later; the run is continued; the outcome equals that of an uninterrupted run.

use crate::journey::{Machine, WIZARDS, before, copy, fingerprint, play, play_later};
use data_layer::error::code;
use std::collections::BTreeMap;

/// Longer than any lease, and still the same evening.
const MINUTES_LATER: i64 = 50;

/// Die at the k-th passage of `point`, for every k, and continue elsewhere and later.
fn sweep(at: usize, point: &str, stride: u64) {
    let (start, done) = (before(at), before(at + 1));
    let expected = fingerprint(&done);
    let (here, there) = (Machine::new("00000000000000aa"), Machine::new("00000000000000bb"));
    let mut k = 1;
    loop {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().join("drive");
        copy(&start, &place);
        let (crashed, _) = play(&place, &here, Some((point.to_string(), k)), at);
        match crashed {
            Ok(_) => break,
            Err(e) => assert!(e.is(code::BUG_CRASH_POINT), "{} at {point}:{k}: {e}", WIZARDS[at].0.name),
        }
        let moved = scratch.path().join("moved");
        std::fs::rename(&place, &moved).unwrap();
        play_later(&moved, &there, None, at, MINUTES_LATER).0.unwrap_or_else(|e| panic!("{} after {point}:{k}: {e} {:?}", WIZARDS[at].0.name, e.body()));
        let got = fingerprint(&moved);
        assert_eq!(difference(&expected, &got), Vec::<String>::new(), "{} after {point}:{k}", WIZARDS[at].0.name);
        k += stride;
    }
    assert!(k > 3, "{} passed {point} {k} times only", WIZARDS[at].0.name);
}

fn difference(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    keys.into_iter()
        .filter(|k| a.get(*k) != b.get(*k))
        .map(|k| format!("{k}: {:.300} / {:.300}", a.get(k).cloned().unwrap_or_default(), b.get(k).cloned().unwrap_or_default()))
        .collect()
}

#[test]
fn pi_data_node_survives_a_crash_before_every_journal_write() {
    sweep(0, "journal.append.before", 1);
}

#[test]
fn pi_data_node_survives_a_crash_after_every_journal_write() {
    sweep(0, "journal.append.after", 1);
}

#[test]
fn pi_data_node_survives_crashes_of_the_drive_and_the_queue() {
    sweep(0, "control.commit.before", 9);
    sweep(0, "store.rename.before", 37);
}

#[test]
fn train_survives_a_crash_before_every_journal_write() {
    sweep(1, "journal.append.before", 1);
}

#[test]
fn train_survives_a_crash_after_every_journal_write() {
    sweep(1, "journal.append.after", 1);
}

#[test]
fn train_survives_a_crash_at_its_checkpoints() {
    sweep(1, "checkpoint.after", 3);
}

#[test]
fn evaluate_survives_a_crash_before_every_journal_write() {
    sweep(2, "journal.append.before", 1);
}

#[test]
fn evaluate_survives_a_crash_after_every_journal_write() {
    sweep(2, "journal.append.after", 1);
}

#[test]
fn shadow_survives_a_crash_before_every_journal_write() {
    sweep(3, "journal.append.before", 1);
}

#[test]
fn shadow_survives_a_crash_after_every_journal_write() {
    sweep(3, "journal.append.after", 1);
}

#[test]
fn paper_trade_survives_a_crash_before_every_journal_write() {
    sweep(4, "journal.append.before", 1);
}

#[test]
fn paper_trade_survives_a_crash_after_every_journal_write() {
    sweep(4, "journal.append.after", 1);
}

#[test]
fn lesson_089_no_order_is_sent_twice_whatever_the_moment_of_death() {
    sweep(4, "order.intent.after", 4);
    sweep(4, "order.send.after", 4);
}

#[test]
fn serve_survives_a_crash_before_every_journal_write() {
    sweep(5, "journal.append.before", 1);
}

#[test]
fn serve_survives_a_crash_after_every_journal_write() {
    sweep(5, "journal.append.after", 1);
}
