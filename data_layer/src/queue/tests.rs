use super::*;
use crate::control::Which;
use crate::host::{FakeHost, Host};
use crate::root::{DataRoot, FsFacts};
use crate::time::TradingDay;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(300);

fn at(seconds: i64) -> UtcTime {
    UtcTime::parse("2026-11-20T10:00:00Z").unwrap().plus_seconds(seconds)
}

fn db() -> (tempfile::TempDir, Db, Host) {
    db_on(FakeHost::default())
}

fn db_on(host: FakeHost) -> (tempfile::TempDir, Db, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::fake(host);
    let root = DataRoot::create(&host, dir.path(), "real", FsFacts::default(), None).unwrap();
    (dir, Db::open(&root, Which::Node).unwrap(), host)
}

fn task(symbol: &str, kind: Kind) -> NewTask {
    let range = DateRange::new("2017-01-01".parse().unwrap(), "2018-01-01".parse().unwrap()).unwrap();
    let priority = kind.priority();
    NewTask { dataset: "equities_eod".into(), symbol: symbol.into(), range, kind, priority, vendor: "alpaca".into(), not_before: None, run_id: None }
}

fn lease(db: &Db, now: UtcTime, worker: &Worker, max: usize) -> Vec<Lease> {
    let datasets = ["equities_eod".to_string(), "macros_fred".to_string()];
    db.write(|tx| lease_batch(tx, now, worker, &Wanted { vendor: "alpaca", datasets: &datasets, max: &max })).unwrap()
}

fn symbols(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|l| l.symbol.as_str()).collect()
}

#[test]
fn lesson_105_two_equal_market_wide_tasks_are_one_row() {
    let (_dir, db, _) = db();
    let macro_task = NewTask { dataset: "macros_fred".into(), symbol: String::new(), ..task("", Kind::Bootstrap) };
    let both = db.write(|tx| seed(tx, at(0), &[macro_task.clone(), macro_task.clone()])).unwrap();
    assert_eq!(both, SeedReport { inserted: 1, revived: 0, kept: 1 });
    assert_eq!(counts(&db).unwrap().values().sum::<u64>(), 1);
}

#[test]
fn seeding_again_revives_what_should_come_back_and_nothing_else() {
    let (_dir, db, host) = db();
    let worker = Worker::new(&host, "n", TTL);
    let all = [task("DONE", Kind::Bootstrap), task("GAP", Kind::Gap), task("PLAN", Kind::Bootstrap), task("WAIT", Kind::Bootstrap)];
    db.write(|tx| seed(tx, at(0), &all)).unwrap();
    for l in lease(&db, at(1), &worker, 9).iter().chain(&lease(&db, at(1), &worker, 9)) {
        match l.symbol.as_str() {
            "WAIT" => assert!(!db.write(|tx| fail(tx, at(2), l, &Failure::Release)).unwrap()),
            "PLAN" => assert!(db.write(|tx| complete(tx, at(2), l, NOT_ENTITLED)).unwrap()),
            _ => assert!(db.write(|tx| complete(tx, at(2), l, "OK")).unwrap()),
        }
    }
    let mut again = all.to_vec();
    again[3].vendor = "tiingo".into();
    assert_eq!(db.write(|tx| seed(tx, at(3), &again)).unwrap(), SeedReport { inserted: 0, revived: 2, kept: 2 });
    let vendor: String = db.lock().unwrap().query_row("SELECT vendor FROM backfill_queue WHERE symbol = 'WAIT'", [], |r| r.get(0)).unwrap();
    assert_eq!(vendor, "tiingo", "a waiting row follows the route");
}

#[test]
fn lesson_020_a_due_forward_row_goes_first_and_one_that_is_not_due_waits() {
    let (_dir, db, host) = db();
    let worker = Worker::new(&host, "n", TTL);
    let many: Vec<NewTask> = (0..50).map(|i| task(&format!("B{i:02}"), Kind::Bootstrap)).collect();
    let forward = NewTask { not_before: Some(at(100)), ..task("FWD", Kind::Forward) };
    db.write(|tx| seed(tx, at(0), &many)).unwrap();
    db.write(|tx| seed(tx, at(0), std::slice::from_ref(&forward))).unwrap();
    assert_eq!(symbols(&lease(&db, at(99), &worker, 3)), ["B00", "B01", "B02"]);
    assert_eq!(symbols(&lease(&db, at(100), &worker, 3)), ["FWD"], "although its priority number is the highest");
    assert_eq!(symbols(&lease(&db, at(100), &worker, 2)), ["B03", "B04"]);
}

#[test]
fn lesson_108_a_worker_that_slept_through_its_lease_changes_nothing() {
    let (_dir, db, host) = db();
    let (slow, quick) = (Worker::new(&host, "a", TTL), Worker::new(&host, "b", TTL));
    db.write(|tx| seed(tx, at(0), &[task("X", Kind::Bootstrap)])).unwrap();
    let old = lease(&db, at(0), &slow, 1);
    assert!(lease(&db, at(299), &quick, 1).is_empty(), "the lease still holds");
    let new = lease(&db, at(900), &quick, 1);
    assert_eq!((old[0].id, old[0].token + 1), (new[0].id, new[0].token));
    assert!(!db.write(|tx| complete(tx, at(901), &old[0], "OK")).unwrap());
    assert!(!db.write(|tx| fail(tx, at(901), &old[0], &Failure::Attempt { error: "x".into(), base: TTL })).unwrap());
    assert!(!db.write(|tx| renew(tx, at(901), &slow, &old[0])).unwrap());
    assert!(db.write(|tx| complete(tx, at(902), &new[0], "OK")).unwrap());
    let done: i64 = db.lock().unwrap().query_row("SELECT value FROM counters WHERE name = 'tasks.done'", [], |r| r.get(0)).unwrap();
    assert_eq!(done, 1, "one effect");
}

#[test]
fn lesson_034_leases_of_the_dead_are_free_at_once() {
    let (_dir, db, host) = db();
    db.write(|tx| seed(tx, at(0), &[task("X", Kind::Bootstrap), task("Y", Kind::Bootstrap)])).unwrap();
    let worker = Worker::new(&host, "n", TTL);
    {
        let crashed = Worker::new(&host, "n", TTL);
        assert_eq!(lease(&db, at(0), &crashed, 9).len(), 2);
        assert!(lease(&db, at(1), &worker, 9).is_empty(), "a living holder is respected");
    }
    assert_eq!(lease(&db, at(1), &worker, 9).len(), 2, "its process forgot it");
    db.lock().unwrap().execute("UPDATE backfill_queue SET lease_pid = 2147483000", []).unwrap();
    assert_eq!(lease(&db, at(2), &worker, 9).len(), 2, "its process is gone");
    let rebooted = Worker::new(&Host::fake(FakeHost { boot_id: "boot-2".into(), ..FakeHost::default() }), "n", TTL);
    assert_eq!(lease(&db, at(3), &rebooted, 9).len(), 2, "its boot is over");
}

#[test]
fn failed_only_after_eight_attempts_and_never_by_waiting() {
    let (_dir, db, host) = db();
    let worker = Worker::new(&host, "n", TTL);
    db.write(|tx| seed(tx, at(0), &[task("X", Kind::Bootstrap)])).unwrap();
    let mut now = at(0);
    for _ in 0..12 {
        let l = lease(&db, now, &worker, 1);
        let until = now.plus_seconds(60);
        assert!(!db.write(|tx| fail(tx, now, &l[0], &Failure::Postpone { error: "429".into(), until })).unwrap());
        now = until;
    }
    for attempt in 1..=8 {
        let l = lease(&db, now, &worker, 1);
        let failure = Failure::Attempt { error: "502".into(), base: Duration::from_secs(15) };
        assert_eq!(db.write(|tx| fail(tx, now, &l[0], &failure)).unwrap(), attempt == 8);
        assert!(lease(&db, now.plus_seconds(14), &worker, 1).is_empty(), "the back-off holds");
        now = now.plus_seconds(3_600);
    }
    assert!(lease(&db, now, &worker, 1).is_empty());
    assert_eq!(counts(&db).unwrap()[&("equities_eod".into(), "BOOTSTRAP".into(), "FAILED".into())], 1);
}

#[test]
fn a_lease_reads_a_few_rows_however_long_the_queue() {
    let (_dir, db, _) = db();
    let datasets = ["equities_eod".to_string()];
    let plan = |sql: &str, n: usize| -> Vec<String> {
        let conn = db.lock().unwrap();
        let mut st = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        st.query_map(rusqlite::params_from_iter(vec!["x"; n]), |r| r.get(3)).unwrap().map(std::result::Result::unwrap).collect()
    };
    let head = plan(&lease::head_sql(datasets.len()), 3);
    assert!(head[0].contains("idx_queue_due") && head.len() == 1, "{head:?}");
    for holder in [plan(lease::FIRST_HOLDER, 0), plan(lease::NEXT_HOLDER, 3)] {
        assert!(holder[0].contains("idx_queue_leased") && holder.len() == 1, "{holder:?}");
    }
    let batch = plan(lease::BATCH_SQL, 7);
    assert!(batch[0].contains("idx_queue_batch") && batch.len() == 1, "{batch:?}");
    let windows = plan(lease::WINDOWS_SQL, 7);
    assert!(windows[0].contains("sqlite_autoindex_backfill_queue_1 (dataset=? AND symbol=?)"), "{windows:?}");
    // What is open of a lane is told without a look at what is finished.
    let (pending, leased) = (plan(&lease::pending_sql(1), 2), plan(&lease::leased_sql(1), 2));
    assert!(pending[0].contains("idx_queue_batch") && leased[0].contains("idx_queue_leased"), "{pending:?} {leased:?}");
    assert_eq!(outlook(&db.lock().unwrap(), "alpaca", &[]).unwrap(), Outlook::default(), "no lane is open");
}

#[test]
fn sixty_four_windows_are_finished_and_the_next_taken_with_one_commit() {
    let (_dir, db, host) = db_on(FakeHost { crash_at: Some((String::new(), u64::MAX)), ..FakeHost::default() });
    let worker = Worker::new(&host, "n", TTL);
    let (datasets, first): (_, TradingDay) = (["equities_eod".to_string()], "2010-01-01".parse().unwrap());
    let day = |i: i32| NewTask { range: DateRange::new(first.plus_days(i), first.plus_days(i + 1)).unwrap(), ..task("X", Kind::Bootstrap) };
    db.write(|tx| seed(tx, at(0), &(0..640).map(day).collect::<Vec<_>>())).unwrap();
    let wanted = Wanted { vendor: "alpaca", datasets: &datasets, max: &64 };
    let (mut held, mut done, mut commits, before) = (Vec::new(), 0, 0, host.failpoints_passed());
    loop {
        held = db
            .write(|tx| {
                done += complete_all(tx, at(1), &held, "OK")?;
                lease_batches(tx, at(1), &worker, &wanted, 64)
            })
            .unwrap();
        commits += 1;
        if held.is_empty() {
            break;
        }
        assert!(held.array_windows().all(|[a, b]| a.range.start < b.range.start), "in the order of single leases");
    }
    assert_eq!((done, commits), (640, 11));
    assert_eq!(host.failpoints_passed() - before, 2 * 11, "one commit each, with a point before and after");
}

/// Up to three windows of one symbol.
#[derive(Debug)]
struct Windows;

impl BatchSize for Windows {
    fn rows(&self, _: &str) -> usize {
        1
    }
    fn windows(&self, _: &str) -> usize {
        3
    }
}

fn year(symbol: &str, year: i16, kind: Kind) -> NewTask {
    let first = |year| TradingDay::ymd(year, 1, 1).unwrap();
    NewTask { range: DateRange::new(first(year), first(year + 1)).unwrap(), ..task(symbol, kind) }
}

/// The next rows, as symbol and year.
fn lease_windows(db: &Db, now: UtcTime, worker: &Worker) -> (Vec<Lease>, Vec<String>) {
    let datasets = ["equities_eod".to_string()];
    let taken = db.write(|tx| lease_batch(tx, now, worker, &Wanted { vendor: "alpaca", datasets: &datasets, max: &Windows })).unwrap();
    let told = taken.iter().map(|l| format!("{} {} {}", l.symbol, l.range.start.year(), l.kind.as_str())).collect();
    (taken, told)
}

#[test]
fn windows_of_a_symbol_are_leased_together_and_only_those_of_its_kind() {
    let (_dir, db, host) = db();
    let worker = Worker::new(&host, "n", TTL);
    let years: Vec<NewTask> = (2013..2017).flat_map(|y| ["A", "B"].map(|s| year(s, y, Kind::Bootstrap))).collect();
    let other = |symbol: &str, y, kind, vendor: &str, not_before| NewTask { vendor: vendor.into(), not_before, ..year(symbol, y, kind) };
    let others = [
        other("A", 2017, Kind::Gap, "alpaca", None),
        other("A", 2018, Kind::Bootstrap, "tiingo", None),
        other("B", 2012, Kind::Bootstrap, "alpaca", Some(at(1_000))),
        NewTask { dataset: "macros_fred".into(), ..year("A", 2011, Kind::Bootstrap) },
        other("B", 2019, Kind::Forward, "alpaca", Some(at(2))),
        other("B", 2020, Kind::Forward, "alpaca", Some(at(2))),
    ];
    db.write(|tx| seed(tx, at(0), &[&years[..], &others[..]].concat())).unwrap();
    let next = |now| lease_windows(&db, at(now), &worker).1;
    assert_eq!(next(1), ["A 2013 BOOTSTRAP", "A 2014 BOOTSTRAP", "A 2015 BOOTSTRAP"], "no more than fit");
    assert_eq!(next(2), ["B 2019 FORWARD", "B 2020 FORWARD"], "today's work goes first, and nothing older rides along");
    assert_eq!(next(2), ["B 2013 BOOTSTRAP", "B 2014 BOOTSTRAP", "B 2015 BOOTSTRAP"], "what is not due stays");
    assert_eq!((next(2), next(2), next(2)), (vec!["A 2016 BOOTSTRAP".into()], vec!["B 2016 BOOTSTRAP".into()], vec!["A 2017 GAP".into()]));
    assert!(next(2).is_empty());
}

#[test]
fn windows_that_are_leased_together_change_hands_together() {
    let (_dir, db, host) = db();
    let (slow, quick) = (Worker::new(&host, "a", TTL), Worker::new(&host, "b", TTL));
    let years: Vec<NewTask> = (2013..2016).flat_map(|y| ["A", "B"].map(|s| year(s, y, Kind::Bootstrap))).collect();
    db.write(|tx| seed(tx, at(0), &years)).unwrap();
    let (old, _) = lease_windows(&db, at(0), &slow);
    let (beside, told) = lease_windows(&db, at(0), &quick);
    assert!(told.iter().all(|t| t.starts_with('B')), "{told:?}");
    assert_eq!(db.write(|tx| complete_all(tx, at(1), &beside, "OK")).unwrap(), 3);
    assert!(lease_windows(&db, at(299), &quick).0.is_empty(), "the leases still hold");
    let (new, _) = lease_windows(&db, at(900), &quick);
    assert_eq!(new.iter().map(|l| (l.id, l.token)).collect::<Vec<_>>(), old.iter().map(|l| (l.id, l.token + 1)).collect::<Vec<_>>());
    assert_eq!(db.write(|tx| complete_all(tx, at(901), &old, "OK")).unwrap(), 0, "none of them is its own any more");
    assert_eq!(db.write(|tx| complete_all(tx, at(902), &new, "OK")).unwrap(), 3);
}

#[test]
fn a_window_before_its_last_attempt_is_asked_alone() {
    let (_dir, db, host) = db();
    let worker = Worker::new(&host, "n", TTL);
    db.write(|tx| seed(tx, at(0), &[2013, 2014, 2015].map(|y| year("A", y, Kind::Bootstrap)))).unwrap();
    let (mut now, failure) = (at(0), Failure::Attempt { error: "malformed".into(), base: Duration::from_secs(15) });
    for _ in 1..MAX_ATTEMPTS {
        let (taken, _) = lease_windows(&db, now, &worker);
        assert_eq!(taken.len(), 3);
        taken.iter().for_each(|l| assert!(!db.write(|tx| fail(tx, now, l, &failure)).unwrap()));
        now = now.plus_seconds(3_600);
    }
    let fresh = NewTask { priority: -1, ..year("A", 2016, Kind::Bootstrap) };
    db.write(|tx| seed(tx, now, &[fresh])).unwrap();
    let alone: Vec<Vec<String>> = (0..4).map(|_| lease_windows(&db, now, &worker).1).collect();
    assert_eq!(alone, [2016, 2013, 2014, 2015].map(|y| vec![format!("A {y} BOOTSTRAP")]), "those that are sound do not fail with the one that is not");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 16, ..Default::default() })]
    #[test]
    fn the_counts_are_those_of_the_rows(steps in proptest::collection::vec((0_usize..5, 0_usize..6, 1_usize..4), 1..24)) {
        let (_dir, db, host) = db();
        let worker = Worker::new(&host, "a", TTL);
        for (i, (what, symbol, max)) in steps.into_iter().enumerate() {
            let now = at(i as i64 * 200);
            match what {
                0 | 1 => drop(db.write(|tx| seed(tx, now, &[task(&format!("S{symbol}"), if what == 0 { Kind::Gap } else { Kind::Forward })])).unwrap()),
                2 => drop(lease(&db, now, &worker, max)),
                3 => for l in lease(&db, now, &worker, max) {
                    db.write(|tx| complete(tx, now, &l, "OK")).unwrap();
                },
                _ => for l in lease(&db, now, &worker, max) {
                    db.write(|tx| fail(tx, now, &l, &Failure::Release)).unwrap();
                },
            }
            db.write(|tx| purge(tx, now.plus_seconds(-600))).unwrap();
        }
        let conn = db.lock().unwrap();
        let mut st = conn.prepare("SELECT dataset, kind, status, count(*) FROM backfill_queue GROUP BY 1, 2, 3").unwrap();
        let rows = st.query_map([], |r| Ok(((r.get(0)?, r.get(1)?, r.get(2)?), r.get::<_, i64>(3)?.unsigned_abs()))).unwrap();
        let want: BTreeMap<(String, String, String), u64> = rows.collect::<std::result::Result<_, _>>().unwrap();
        drop(st);
        drop(conn);
        proptest::prop_assert_eq!(counts(&db).unwrap(), want);
    }
}

#[test]
fn no_statement_of_a_lease_is_compiled_anew() {
    let (_dir, db, host) = db();
    let worker = Worker::new(&host, "n", TTL);
    db.write(|tx| seed(tx, at(0), &(0..20).map(|i| task(&format!("S{i:02}"), Kind::Bootstrap)).collect::<Vec<_>>())).unwrap();
    for _ in 0..9 {
        let taken = lease(&db, at(1), &worker, 2);
        assert_eq!(db.write(|tx| complete_all(tx, at(1), &taken, "OK")).unwrap(), 2);
    }
    let conn = db.lock().unwrap();
    for sql in [lease::head_sql(2), lease::BATCH_SQL.to_string()] {
        let st = conn.prepare_cached(&sql).unwrap();
        let (runs, compiled) = (st.get_status(rusqlite::StatementStatus::Run), st.get_status(rusqlite::StatementStatus::RePrepare));
        assert!(runs >= 8 && compiled == 0, "{runs} runs, compiled {compiled} times more: {sql}");
    }
}
