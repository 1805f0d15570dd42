use super::*;
use crate::ledger;
use crate::queue;
use crate::testkit::{Kit, day, good_bars, range};

fn filled() -> Kit {
    let kit = Kit::new();
    let window = range("2016-06-01", "2017-04-01");
    kit.stage(&["AAA", "BBB", "CCC"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2016-09-01"), Some("2017-02-01"))]);
    kit.actions(&["AAA", "BBB", "CCC"], window, &[("AAA", "split", "2017-01-10", Some(2.0), None), ("AAA", "dividend", "2016-11-01", None, Some(1.0))]);
    let mut bars = good_bars(&["AAA", "BBB", "CCC"], window);
    bars.retain(|b| b.day.0 % 37 != 0);
    kit.commit("alpaca", &["AAA", "BBB", "CCC"], window, &bars);
    kit.commit("tiingo", &["CCC"], window, &good_bars(&["CCC"], window));
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Incremental, day("2017-04-13"), range("2016-06-01", "2017-05-01")).unwrap();
    curate::curate_incremental(&kit.root, &kit.db).unwrap();
    kit
}

#[test]
fn lesson_111_a_lost_database_is_rebuilt_row_for_row_without_a_vendor() {
    let kit = filled();
    let before = ledger::all_rows(&kit.db).unwrap();
    let exported = ledger::export(&kit.root, &kit.db).unwrap();
    assert!(before.len() > 1_000);
    std::fs::remove_file(kit.place(&DataPath::new(Which::Node.path()).unwrap())).unwrap();
    kit.root.host().set_offline(true);
    let report = node_db(&kit.root).unwrap();
    let db = Db::open(&kit.root, Which::Node).unwrap();
    assert_eq!(ledger::all_rows(&db).unwrap(), before);
    assert_eq!(ledger::export(&kit.root, &db).unwrap(), exported);
    assert_eq!((report.lost.len(), report.removed.len(), report.partitions), (0, 0, before.len() as u64));
    assert_eq!(report.segments, db.lock().unwrap().query_row("SELECT count(*) FROM segments", [], |r| r.get::<_, i64>(0)).unwrap() as u64);
}

#[test]
fn lesson_107_a_file_without_a_row_is_adopted_or_removed_and_a_row_without_a_file_is_red() {
    let kit = filled();
    let stray = DataPath::new("raw/equities_bars/src=alpaca/tf=1d/y=2017/2017-01-01_2018-01-01_AAA_0123456789abcdef.parquet").unwrap();
    store::write_atomic(&kit.root, &stray, b"half a fetch").unwrap();
    let adopted = adopt(&kit.root, &kit.db).unwrap();
    assert_eq!(adopted.removed, [stray.to_string()]);
    assert_eq!(adopted.adopted, adopted.segments, "no segment was known to the database");
    assert_eq!(adopt(&kit.root, &kit.db).unwrap().adopted, 0);
    let victim = segment::manifests_for(&kit.root, "raw/equities_bars").unwrap()[0].1.segments[0].clone();
    std::fs::remove_file(kit.place(&victim.path)).unwrap();
    assert_eq!(adopt(&kit.root, &kit.db).unwrap().lost, [victim.path.to_string()]);
    let window = range("2016-06-01", "2017-05-01");
    let report = audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Incremental, day("2017-04-13"), window).unwrap();
    assert_eq!(report.coverage.codes["MISSING"] as usize, missing_after_loss(&kit, &victim), "every session the lost file vouched for is RED");
    assert!(report.gaps.iter().any(|g| g.symbol == "AAA" && g.qc_code == "MISSING"));
}

fn missing_after_loss(kit: &Kit, victim: &segment::Segment) -> usize {
    let spans = reference::ListingSpans::load(&kit.root).unwrap();
    let days = Calendar::xnys().sessions(crate::time::DateRange { start: victim.t0, end: victim.t1 });
    let lost = ["AAA", "BBB"].iter().flat_map(|s| days.iter().filter(|d| spans.expected(s, **d) != reference::Listed::No)).count();
    // Nobody has asked about the sessions from April on.
    let april = Calendar::xnys().sessions(range("2017-04-01", "2017-04-14")).len();
    lost + 2 * april
}

#[test]
fn lesson_037_a_manifest_of_another_world_is_refused_both_ways() {
    use crate::error::code;
    let (world, real) = (Kit::of("replay@1"), Kit::of("real"));
    let window = range("2017-01-01", "2017-02-01");
    for (from, to) in [(&world, &real), (&real, &world)] {
        to.stage(&["AAA"]);
        let manifest = from.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window));
        to.put_manifest(&manifest, 99);
        assert!(node_db(&to.root).unwrap_err().is(code::CFG_DATASET_MIXED));
        let db = Db::open(&to.root, Which::Node).unwrap();
        assert!(audit_scan(&to.root, &db, &Default::default(), AuditScope::Full, day("2017-02-01"), window).unwrap_err().is(code::CFG_DATASET_MIXED));
        assert!(curate::curate_incremental(&to.root, &db).unwrap_err().is(code::CFG_DATASET_MIXED));
        std::fs::remove_dir_all(to.place(&DataPath::new("manifests").unwrap())).unwrap();
    }
}

#[test]
fn lesson_038_a_damaged_database_is_kept_aside_and_made_again_or_was_good() {
    let kit = filled();
    let before = ledger::all_rows(&kit.db).unwrap();
    kit.db.close_for_unplug().unwrap();
    assert_eq!(ensure_node_db(&kit.root).unwrap(), None);
    kit.db.close_for_unplug().unwrap();
    let place = kit.place(&DataPath::new(Which::Node.path()).unwrap());
    let good = std::fs::read(&place).unwrap();
    let pages = good.len() / 4_096;
    let mut damages: Vec<Vec<u8>> = vec![Vec::new(), good[..good.len() / 2].to_vec(), b"not a database at all, but long enough to look".repeat(200)];
    for page in [1, pages / 2, pages - 1] {
        let mut torn = good.clone();
        torn[page * 4_096..(page + 1) * 4_096].fill(0xA5);
        damages.push(torn);
    }
    for (i, bytes) in damages.into_iter().enumerate() {
        for side in ["-wal", "-shm"] {
            drop(std::fs::remove_file(place.with_file_name(format!("node.sqlite{side}"))));
        }
        std::fs::write(&place, &bytes).unwrap();
        let healed = ensure_node_db(&kit.root).unwrap();
        // An empty file is a new database to SQLite: nothing to put aside, and nothing known.
        if i > 0 {
            let aside = healed.unwrap_or_else(|| panic!("damage {i} went unseen")).set_aside.unwrap();
            assert_eq!(std::fs::read(kit.place(&DataPath::new(aside).unwrap())).unwrap().len(), bytes.len(), "kept for inspection");
        } else {
            node_db(&kit.root).unwrap();
        }
        let db = Db::open(&kit.root, Which::Node).unwrap();
        assert_eq!(ledger::all_rows(&db).unwrap(), before, "damage {i}");
        db.close_for_unplug().unwrap();
    }
}

/// A row of the queue that a worker holds.
fn leased(kit: &Kit, worker: &queue::Worker, start: &str) -> queue::Lease {
    let now = kit.root.host().now();
    let range = crate::time::DateRange::new(day(start), day(start).plus_days(1)).unwrap();
    let (dataset, kind, vendor) = ("equities_eod".to_string(), queue::Kind::Gap, "alpaca".to_string());
    let task = queue::NewTask { dataset, symbol: "AAA".into(), range, kind, priority: 1, vendor, not_before: None, run_id: None };
    let wanted = queue::Wanted { vendor: "alpaca", datasets: &["equities_eod".to_string()], max: &1 };
    let leases = kit.db.write(|tx| {
        queue::seed(tx, now, &[task])?;
        queue::lease_batch(tx, now, worker, &wanted)
    });
    leases.unwrap().remove(0)
}

#[test]
fn what_somebody_commits_is_no_garbage_until_nobody_is_at_work() {
    let kit = filled();
    let worker = queue::Worker::new(kit.root.host(), "other", std::time::Duration::from_secs(600));
    let lease = leased(&kit, &worker, "2017-03-01");
    let path = DataPath::new("raw/equities_bars/src=alpaca/tf=1d/y=2017/2017-03-01_2017-03-02_AAA_0123456789abcdef.parquet").unwrap();
    store::write_atomic(&kit.root, &path, b"its manifest follows").unwrap();
    assert_eq!(adopt(&kit.root, &kit.db).unwrap().removed, Vec::<String>::new());
    assert!(kit.place(&path).exists(), "the worker's manifest will name it");
    kit.db.write(|tx| queue::fail(tx, kit.root.host().now(), &lease, &queue::Failure::Release)).unwrap();
    assert_eq!(adopt(&kit.root, &kit.db).unwrap().removed, [path.to_string()], "nobody is coming for it");
}

#[test]
fn two_that_commit_and_one_that_tidies_up_lose_nothing() {
    let kit = filled();
    let (root, template) = (kit.root.clone(), segment::all_manifests(&kit.root).unwrap().pop().unwrap().1);
    let commits = |name: &'static str| {
        let (root, template) = (root.clone(), template.clone());
        move || {
            let db = Db::open(&root, Which::Node).unwrap();
            let worker = queue::Worker::new(root.host(), name, std::time::Duration::from_secs(600));
            for n in 0..50 {
                let start = day("2016-06-01").plus_days(n);
                let range = crate::time::DateRange::new(start, start.plus_days(1)).unwrap();
                let (dataset, kind, vendor) = ("equities_eod".to_string(), queue::Kind::Gap, name.to_string());
                let task = queue::NewTask { dataset, symbol: name.to_uppercase(), range, kind, priority: 1, vendor, not_before: None, run_id: None };
                let wanted = queue::Wanted { vendor: name, datasets: &["equities_eod".to_string()], max: &1 };
                let now = root.host().now();
                let lease = db.write(|tx| queue::seed(tx, now, &[task]).and_then(|_| queue::lease_batch(tx, now, &worker, &wanted)));
                let Some(lease) = lease.unwrap().pop() else { continue };
                let path = DataPath::new(format!("raw/equities_bars/src={name}/tf=1d/y=2016/{start}_AAA.parquet")).unwrap();
                let file = store::write_atomic(&root, &path, format!("{name} {n}").as_bytes()).unwrap();
                std::thread::yield_now();
                let mut manifest = Manifest { vendor: name.into(), ..template.clone() };
                manifest.segments.truncate(1);
                let one = &mut manifest.segments[0];
                (one.path, one.sha256, one.bytes) = (path, file.sha256, file.bytes);
                let place = segment::write_manifest(&root, &manifest).unwrap();
                db.write(|tx| segment::register(tx, &place, &manifest).and_then(|_| queue::complete(tx, now, &lease, "OK"))).unwrap();
            }
        }
    };
    let threads = [std::thread::spawn(commits("tiingo")), std::thread::spawn(commits("massive"))];
    while threads.iter().any(|t| !t.is_finished()) {
        assert_eq!(adopt(&kit.root, &kit.db).unwrap().lost, Vec::<String>::new());
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    let adopted = adopt(&kit.root, &kit.db).unwrap();
    assert_eq!((adopted.lost.len(), adopted.removed.len(), adopted.adopted), (0, 0, 0));
    let known: i64 = kit.db.lock().unwrap().query_row("SELECT count(*) FROM segments", [], |r| r.get(0)).unwrap();
    assert_eq!(known as u64, adopted.segments);
    assert!(adopted.segments >= 100, "{adopted:?}");
}
