use super::*;
use crate::ledger;
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
