use super::*;
use crate::host::{FakeHost, Host};
use crate::root::FsFacts;
use std::path::Path;

fn machine(id: &str, boot: &str, seconds_later: i64) -> Host {
    let base = FakeHost::default();
    Host::fake(FakeHost { machine_id: id.into(), boot_id: boot.into(), now: base.now.plus_seconds(seconds_later), ..base })
}

fn open(host: &Host, dir: &Path) -> DataRoot {
    DataRoot::create(host, dir, "real", FsFacts::default(), None).unwrap()
}

fn generation(root: &DataRoot) -> u64 {
    let journal = Db::open(root, Which::Journal).unwrap();
    let conn = journal.lock().unwrap();
    current_generation(&conn).unwrap()
}

#[test]
fn processes_of_one_boot_share_a_generation_and_a_new_boot_bumps_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = open(&machine("a", "boot-1", 0), dir.path());
    let (first, second) = (attach(&root, "pi", true).unwrap(), attach(&root, "pi", true).unwrap());
    assert_eq!((first.generation(), second.generation(), generation(&root)), (1, 1, 1));
    assert!(!second.moved_here());
    let rebooted = open(&machine("a", "boot-2", 1), dir.path());
    assert_eq!(attach(&rebooted, "pi", true).unwrap().generation(), 2);
    let journal = Db::open(&root, Which::Journal).unwrap();
    let error = check_generation(&journal.lock().unwrap(), first.generation()).unwrap_err();
    assert!(error.is(code::SSD_TAKEN_OVER));
    assert!(first.heartbeat().unwrap_err().is(code::SSD_TAKEN_OVER));
}

#[test]
fn another_machines_young_heartbeat_holds_the_drive_until_it_ages() {
    let dir = tempfile::tempdir().unwrap();
    let a = attach(&open(&machine("a", "b1", 0), dir.path()), "pi-1", true).unwrap();
    for later in [-119, 10, 119] {
        let error = attach(&open(&machine("b", "b9", later), dir.path()), "mac", true).unwrap_err();
        assert!(error.is(code::SSD_HELD), "{later}: {error}");
        assert!(error.body().found.as_deref().unwrap().contains("pi-1"));
    }
    let b = attach(&open(&machine("b", "b9", 121), dir.path()), "mac", true).unwrap();
    assert!(b.moved_here());
    assert_eq!((b.generation(), b.previous().unwrap().machine_id.as_str()), (2, "a"));
    assert!(a.heartbeat().unwrap_err().is(code::SSD_TAKEN_OVER));
    b.heartbeat().unwrap();
}

#[test]
fn a_released_drive_or_a_confirmed_take_over_need_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    drop(attach(&open(&machine("a", "b1", 0), dir.path()), "pi", false).unwrap());
    let b = attach(&open(&machine("b", "b2", 1), dir.path()), "mac", true).unwrap();
    assert_eq!(b.generation(), 2);
    let c = take_over(&open(&machine("c", "b3", 2), dir.path()), "pc").unwrap();
    assert_eq!(c.generation(), 3);
    assert!(b.detach().unwrap_err().is(code::SSD_TAKEN_OVER));
}

#[test]
fn a_heartbeat_that_moves_while_watched_holds_the_drive_whatever_its_date() {
    let dir = tempfile::tempdir().unwrap();
    let root = open(&machine("a", "b1", 0), dir.path());
    let a = attach(&root, "pi", false).unwrap();
    let stale = read_record(&root).unwrap().unwrap();
    a.heartbeat().unwrap();
    let moved = AttachRecord { heartbeat_at: stale.heartbeat_at.plus_seconds(30), ..stale.clone() };
    write_record(&root, &moved).unwrap();
    let other = open(&machine("b", "b2", 100_000), dir.path());
    assert!(watch_heartbeat(&other, &stale).unwrap_err().is(code::SSD_HELD));
    assert!(watch_heartbeat(&other, &moved).is_ok());
}

#[test]
fn locks_exclude_the_same_name_only_and_end_with_their_holder() {
    let dir = tempfile::tempdir().unwrap();
    let root = open(&machine("a", "b1", 0), dir.path());
    let held = wizard_lock(&root, "train").unwrap();
    let error = wizard_lock(&root, "train").unwrap_err();
    assert!(error.is(code::SSD_HELD) && error.body().found.as_deref().unwrap().contains("machine a"), "{:?}", error.body());
    assert!(is_locked(&root, "wizard-train").unwrap());
    let beside = wizard_lock(&root, "evaluate").unwrap();
    drop(held);
    wizard_lock(&root, "train").unwrap();
    assert_eq!(beside.name(), "wizard-evaluate");
    assert!(account_lock(&root, "SIM/1").is_ok());
}

#[test]
fn whoever_is_at_work_is_told_also_where_nothing_may_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = open(&machine("a", "b1", 0), dir.path());
    assert!(busy(&root).unwrap().is_empty());
    let guard = lock(&root, "node").unwrap();
    drop(lock(&root, "wizard-train").unwrap());
    let seen = busy(&root).unwrap();
    assert!(seen.len() == 1 && seen[0].starts_with("node: pid "), "{seen:?}");
    drop(guard);
    assert!(busy(&root).unwrap().is_empty());
}
