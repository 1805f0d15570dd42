use super::*;
use crate::host::{FakeHost, Host};
use crate::ledger::{self, Change, Key, Row, Status, Verdict};
use crate::root::{FsFacts, FsProbe};
use crate::schema::table;
use crate::testkit::{Kit, day};

fn row(symbol: &str, on: &str, status: Status, code: &str) -> Change {
    let key =
        Key { source_name: "alpaca".into(), table_name: table::RAW_EQUITIES_BARS.into(), symbol: symbol.into(), dt: day(on), partition_key: "1Day".into() };
    let verdict =
        Verdict { status, qc_code: code.into(), qc_score: 1.0, row_count: 1, expected_rows: Some(1), first_observed_at: None, last_observed_at: None };
    Change::Put(Row { key, verdict })
}

#[test]
fn an_older_drive_is_backed_up_and_migrated_and_its_counts_are_right() {
    let kit = Kit::new();
    let place = kit.root.locate(&DataPath::new(Which::Node.path()).unwrap());
    drop(std::fs::remove_file(&place));
    let old = Connection::open(&place).unwrap();
    old.execute_batch(include_str!("node_1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO partition_status (id, source_name, table_name, symbol, dt, partition_key, status, qc_code) VALUES
           ('af72ee6f-3fd9-5ffc-a8de-ad0ab6dc7e57', 'alpaca', 'raw/equities_bars', 'A', '2018-01-02', '1Day', 'GREEN', 'OK'),
           ('5ee5a47c-bf1a-5c74-9f04-9e9f4f9d3f36', 'alpaca', 'raw/equities_bars', 'A', '2018-04-03', '1Day', 'RED', NULL),
           ('e3f4a0f5-28e9-5cf0-a3f9-1c1f6b0b2b0c', 'alpaca', 'raw/equities_bars', 'A', '2018-01-03', '1Day', 'RED', NULL);
         INSERT INTO backfill_queue (dataset, start_date, end_date, kind, priority, created_at, updated_at) VALUES
           ('macros_fred', '2018-01-02', '2018-01-03', 'GAP', 1, '2018-01-03T00:00:00Z', '2018-01-03T00:00:00Z');
         PRAGMA user_version=1;",
    )
    .unwrap();
    drop(old);
    let db = Db::open(&kit.root, Which::Node).unwrap();
    assert!(kit.root.locate(&DataPath::new("control/backup/node.sqlite.before-v6").unwrap()).exists());
    assert_eq!(crate::queue::counts(&db).unwrap().values().sum::<u64>(), 1);
    let (_, c) = ledger::coverage_held(&db, table::RAW_EQUITIES_BARS, "1Day").unwrap().unwrap();
    assert_eq!((c.expected, c.green, c.red), (3, 1, 2));
    let days: Vec<String> = ledger::all_rows(&db).unwrap().iter().map(|r| format!("{} {}", r.key.dt, r.verdict.status.as_str())).collect();
    assert_eq!(days, ["2018-01-02 GREEN", "2018-01-03 RED", "2018-04-03 RED"]);
    let ids = "SELECT id FROM partition_status ORDER BY dt";
    let ids: Vec<String> = db.lock().unwrap().prepare(ids).unwrap().query_map([], |r| r.get(0)).unwrap().map(std::result::Result::unwrap).collect();
    assert_eq!(ids, ["af72ee6f-3fd9-5ffc-a8de-ad0ab6dc7e57", "e3f4a0f5-28e9-5cf0-a3f9-1c1f6b0b2b0c", "5ee5a47c-bf1a-5c74-9f04-9e9f4f9d3f36"]);
}

#[test]
fn the_kept_coverage_equals_the_counted_one() {
    let kit = Kit::new();
    let put = [
        row("A", "2018-01-02", Status::Green, "OK"),
        row("A", "2018-01-03", Status::Red, "MISSING_ROWS"),
        row("B", "2018-01-02", Status::Amber, "SHORT_SESSION"),
        row("B", "2018-01-03", Status::Green, "OK"),
    ];
    ledger::apply(&kit.db, &put).unwrap();
    let healed = row("A", "2018-01-03", Status::Green, "OK");
    let Change::Put(gone) = row("B", "2018-01-02", Status::Amber, "") else { unreachable!() };
    ledger::apply(&kit.db, &[healed, Change::Remove(gone.key)]).unwrap();
    let (held, kept) = ledger::coverage_held(&kit.db, table::RAW_EQUITIES_BARS, "1Day").unwrap().unwrap();
    assert_eq!(kept, ledger::coverage(&kit.db, table::RAW_EQUITIES_BARS, "1Day", held).unwrap());
    assert_eq!((kept.expected, kept.green), (3, 3));
}

#[test]
fn nightly_backups_are_read_back_and_the_oldest_go() {
    let kit = Kit::new();
    for n in 1..=9 {
        let made = nightly_backup(&kit.root, &format!("2026-11-{n:02}")).unwrap();
        assert_eq!(made.len(), 3);
    }
    Db::open(&kit.root, Which::Journal).unwrap().backup("before-v9").unwrap();
    let names: Vec<String> = crate::store::list(&kit.root, &DataPath::new("control/backup").unwrap()).unwrap().iter().map(ToString::to_string).collect();
    let of = |name: &str| names.iter().filter(|n| n.contains(name) && !n.ends_with(".seal")).count();
    assert_eq!(names.iter().filter(|n| n.ends_with(".seal")).count(), 3 * BACKUPS_KEPT, "a removed backup leaves no seal");
    assert_eq!((of("node.sqlite"), of("journal.sqlite"), of("registry.sqlite")), (BACKUPS_KEPT, BACKUPS_KEPT + 1, BACKUPS_KEPT));
    assert!(!names.iter().any(|n| n.ends_with(".new") || n.ends_with("2026-11-02")));
    let copy = Connection::open(kit.root.locate(&DataPath::new("control/backup/node.sqlite.2026-11-09").unwrap())).unwrap();
    assert_eq!(copy.query_row::<u32, _, _>("PRAGMA user_version", [], |r| r.get(0)).unwrap(), VERSIONS.node);
}

#[test]
fn a_process_that_holds_the_database_is_waited_for_once_however_many_stand_in_line() {
    let kit = Kit::new();
    let other = Connection::open(kit.root.locate(&DataPath::new(Which::Node.path()).unwrap())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    kit.db.lock().unwrap().busy_timeout(std::time::Duration::from_secs(2)).unwrap();
    let line = std::sync::Barrier::new(8);
    let stand = || {
        line.wait();
        kit.db.write(|_| Ok(())).unwrap_err().is(code::SSD_HELD)
    };
    let gave_up: Vec<bool> = std::thread::scope(|s| (0..8).map(|_| s.spawn(stand)).collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect());
    assert_eq!((gave_up, kit.db.in_vain.load(Ordering::SeqCst)), (vec![true; 8], 1));
    other.execute_batch("ROLLBACK").unwrap();
    kit.db.write(|_| Ok(())).unwrap();
}

#[test]
fn a_change_that_adds_much_goes_past_the_log_where_nobody_else_has_the_database_open() {
    let dir = tempfile::tempdir().unwrap();
    let facts = FsFacts { probe: FsProbe { wal: true, ..FsProbe::default() }, ..FsFacts::default() };
    let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "replay@1", facts, None).unwrap();
    let (place, log) = (root.locate(&DataPath::new(Which::Node.path()).unwrap()), root.locate(&DataPath::new("control/node.sqlite-wal").unwrap()));
    let db = Db::open(&root, Which::Node).unwrap();
    let journal = |db: &Db| db.lock().unwrap().query_row::<String, _, _>("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
    let put = |tx: &Transaction<'_>, name: &str| {
        let many = "INSERT INTO counters SELECT ?1 || value, 1 FROM (WITH RECURSIVE n(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM n LIMIT 5000) SELECT * FROM n)";
        Ok(tx.execute(many, [name])?)
    };
    let logged = || std::fs::metadata(&log).map_or(0, |m| m.len());

    // A seal of a drive that was left in order goes before the first byte changes.
    drop(db);
    assert!(seal::lay(&root, Which::Node).unwrap());
    let db = Db::open(&root, Which::Node).unwrap();
    db.write_much(|tx| put(tx, "alone")).unwrap();
    assert_eq!((journal(&db).as_str(), logged()), ("wal", 0));
    db.integrity_check().unwrap();

    // Taken back: the log is there again, and nothing of the change.
    db.write_much(|tx| put(tx, "never").and_then(|_| Err::<(), _>(Error::bug("no")))).unwrap_err();
    assert_eq!((journal(&db).as_str(), logged()), ("wal", 0));

    let other = Connection::open(&place).unwrap();
    let counted = |name: &str| other.query_row::<i64, _, _>("SELECT count(*) FROM counters WHERE name LIKE ?1 || '%'", [name], |r| r.get(0)).unwrap();
    assert_eq!([counted("alone"), counted("never")], [5_000, 0]);
    db.write_much(|tx| put(tx, "beside")).unwrap();
    assert_eq!((journal(&db).as_str(), counted("beside")), ("wal", 5_000));
    assert!(logged() > 100_000, "somebody else has the database open, and reads on");
}
