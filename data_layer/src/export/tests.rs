use super::*;
use crate::audit::{AuditScope, audit_scan};
use crate::curate::curate_incremental;
use crate::reference::refresh_reference;
use crate::testkit::{Kit, day, good_bars, range};

fn filled() -> Kit {
    let kit = Kit::new();
    let window = range("2017-01-01", "2017-02-01");
    kit.stage(&["AAA", "BBB"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), None)]);
    kit.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA", "BBB"], window));
    refresh(&kit);
    kit
}

fn refresh(kit: &Kit) {
    let refreshed = refresh_reference(&kit.root, &kit.db).unwrap();
    audit_scan(&kit.root, &kit.db, &refreshed, AuditScope::Incremental, day("2017-02-28"), range("2017-01-01", "2017-03-01")).unwrap();
    curate_incremental(&kit.root, &kit.db).unwrap();
}

#[test]
fn a_workstation_imports_a_full_export_and_then_the_changes() {
    let node = filled();
    let first = nightly(&node.root, &node.db, day("2017-02-01")).unwrap();
    assert!(first.full && first.files > 5);
    let february = range("2017-02-01", "2017-03-01");
    node.commit("alpaca", &["AAA"], february, &good_bars(&["AAA"], february));
    refresh(&node);
    let second = nightly(&node.root, &node.db, day("2017-02-02")).unwrap();
    assert!(!second.full && second.files < first.files);
    assert_eq!(nightly(&node.root, &node.db, day("2017-02-02")).unwrap(), second, "repeating a night changes nothing");

    let desk = Kit::new();
    let exports = node.place(&DataPath::new(FOLDER).unwrap());
    assert!(import(&desk.root, &desk.db, &exports.join("2017-02-02")).unwrap_err().is(code::DATA_MISSING), "the first night is not here yet");
    import(&desk.root, &desk.db, &exports).unwrap();
    assert_eq!(ledger::all_rows(&desk.db).unwrap(), ledger::all_rows(&node.db).unwrap());
    let window = range("2017-01-01", "2017-03-01");
    assert_eq!(crate::snapshot::pin(&desk.root, window).unwrap(), crate::snapshot::pin(&node.root, window).unwrap());
    assert_eq!(import(&desk.root, &desk.db, &exports).unwrap().files, 0, "importing again writes nothing");
}

#[test]
fn an_export_takes_no_room_until_what_it_holds_is_made_anew_and_then_stays_as_it_was() {
    use std::os::unix::fs::MetadataExt;
    let node = filled();
    nightly(&node.root, &node.db, day("2017-02-01")).unwrap();
    let (now, then) = ("reference/listings.parquet", "exports/nightly/2017-02-01/reference/listings.parquet");
    let of = |path: &str| node.place(&DataPath::new(path).unwrap());
    let before = std::fs::read(of(then)).unwrap();
    assert_eq!(std::fs::metadata(of(now)).unwrap().ino(), std::fs::metadata(of(then)).unwrap().ino(), "one file, two names");
    store::write_atomic(&node.root, &DataPath::new(now).unwrap(), b"made anew").unwrap();
    assert_eq!(std::fs::read(of(then)).unwrap(), before);
    // Somebody made it anew between the look and the second name.
    let (from, to) = (DataPath::new(now).unwrap(), DataPath::new("exports/nightly/2017-02-02/reference/listings.parquet").unwrap());
    let twin = Twin { from: from.clone(), to, sha256: store::sha256_hex(&before) };
    assert_eq!(store::name_again(&node.root, &[twin]).unwrap(), Some(from));
}

#[test]
fn lesson_037_an_export_of_another_world_or_with_damage_is_refused() {
    let node = filled();
    nightly(&node.root, &node.db, day("2017-02-01")).unwrap();
    let exports = node.place(&DataPath::new(FOLDER).unwrap());
    let real = Kit::of("real");
    assert!(import(&real.root, &real.db, &exports).unwrap_err().is(code::CFG_DATASET_MIXED));
    let file = exports.join("2017-02-01/reference/listings.parquet");
    std::fs::write(&file, b"not what it was").unwrap();
    let desk = Kit::new();
    assert!(import(&desk.root, &desk.db, &exports).unwrap_err().is(code::SSD_DAMAGED));
    assert!(store::list(&desk.root, &DataPath::new("curated").unwrap()).unwrap().is_empty(), "nothing was written");
}

#[test]
fn a_list_under_the_name_of_another_night_is_damage_itself() {
    let node = filled();
    for night in ["2017-02-01", "2017-02-02"] {
        nightly(&node.root, &node.db, day(night)).unwrap();
    }
    assert!(damaged(&node.root).unwrap().is_empty());
    let exports = node.place(&DataPath::new(FOLDER).unwrap());
    std::fs::copy(exports.join("2017-02-01").join(MANIFEST), exports.join("2017-02-02").join(MANIFEST)).unwrap();
    let found: Vec<String> = damaged(&node.root).unwrap().into_iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(found, [format!("{FOLDER}/2017-02-02/{MANIFEST}")]);
    assert!(mend(&node.root).unwrap() > 0 && damaged(&node.root).unwrap().is_empty());
}

#[test]
fn an_import_meets_each_night_once_and_under_its_own_name() {
    let node = filled();
    nightly(&node.root, &node.db, day("2017-02-01")).unwrap();
    let february = range("2017-02-01", "2017-03-01");
    node.commit("alpaca", &["AAA"], february, &good_bars(&["AAA"], february));
    refresh(&node);
    nightly(&node.root, &node.db, day("2017-02-02")).unwrap();
    let (exports, desk) = (node.place(&DataPath::new(FOLDER).unwrap()), Kit::new());
    let refused = |folder: &Path, what: &str| {
        let error = import(&desk.root, &desk.db, folder).unwrap_err();
        assert!(error.is(code::SSD_DAMAGED) && error.to_string().contains(what), "{error}");
        assert!(last_imported(&desk.root).unwrap().is_none(), "nothing was written");
    };
    // The list of the first night in the folder of the second: the second would never be missed.
    let (first, second) = (exports.join("2017-02-01").join(MANIFEST), exports.join("2017-02-02").join(MANIFEST));
    let good = std::fs::read(&second).unwrap();
    std::fs::copy(&first, &second).unwrap();
    refused(&exports, "2017-02-02");
    refused(&exports.join("2017-02-02"), "2017-02-02");
    std::fs::write(&second, good).unwrap();
    // A copy of a night under a name of its own.
    std::fs::create_dir(exports.join("copy")).unwrap();
    std::fs::copy(&first, exports.join("copy").join(MANIFEST)).unwrap();
    refused(&exports, "2017-02-01");
    std::fs::remove_dir_all(exports.join("copy")).unwrap();
    import(&desk.root, &desk.db, &exports).unwrap();
    assert_eq!(last_imported(&desk.root).unwrap().map(|l| l.day.day), Some(day("2017-02-02")));
}

/// Every file that is exported, with its digest.
fn contents(kit: &Kit) -> BTreeMap<DataPath, String> {
    let of = |part: &str| store::list(&kit.root, &DataPath::new(part).unwrap()).unwrap();
    let digest = |path: &DataPath| store::sha256_hex(&store::read(&kit.root, path).unwrap().unwrap());
    PARTS.iter().flat_map(|part| of(part)).map(|path| (path.clone(), digest(&path))).collect()
}

fn change(node: &Kit, month: u32) {
    let window = range(&format!("2017-02-{month:02}"), &format!("2017-02-{:02}", month + 1));
    node.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA", "BBB"], window));
    refresh(node);
}

#[test]
fn a_night_that_is_exported_twice_is_two_exports_and_both_arrive() {
    let node = filled();
    let friday = day("2017-02-03");
    let first = nightly(&node.root, &node.db, friday).unwrap();
    let exports = node.place(&DataPath::new(FOLDER).unwrap());
    let (desk, bytes) = (Kit::new(), std::fs::read(exports.join("2017-02-03").join(MANIFEST)).unwrap());
    import(&desk.root, &desk.db, &exports).unwrap();
    // A gap is healed on Sunday, and the same night is exported again.
    change(&node, 1);
    let second = nightly(&node.root, &node.db, friday).unwrap();
    assert_eq!((first.folder.as_str(), second.folder.as_str()), ("exports/nightly/2017-02-03", "exports/nightly/2017-02-03.2"));
    assert_eq!(std::fs::read(exports.join("2017-02-03").join(MANIFEST)).unwrap(), bytes, "what was exported stays as it is");
    change(&node, 2);
    let third = nightly(&node.root, &node.db, day("2017-02-06")).unwrap();
    assert!(!second.full && !third.full && damaged(&node.root).unwrap().is_empty());
    import(&desk.root, &desk.db, &exports).unwrap();
    assert_eq!(contents(&desk), contents(&node));
    let fresh = Kit::new();
    import(&fresh.root, &fresh.db, &exports).unwrap();
    assert_eq!(contents(&fresh), contents(&node));
    // All nights are lost and one full export has the name of a night that was imported: it is not taken for that.
    store::remove_folder(&node.root, &DataPath::new(FOLDER).unwrap()).unwrap();
    change(&node, 3);
    nightly(&node.root, &node.db, day("2017-02-06")).unwrap();
    assert!(import(&desk.root, &desk.db, &exports).unwrap().files > 0);
    assert_eq!(contents(&desk), contents(&node));
}

#[test]
fn old_nights_become_one_full_export_and_nobody_misses_them() {
    let node = filled();
    let exports = node.place(&DataPath::new(FOLDER).unwrap());
    let (early, late) = (Kit::new(), Kit::new());
    let few = bounds::Kept { nights: 2, bytes: u64::MAX };
    for n in 1..=12u32 {
        change(&node, n);
        nightly(&node.root, &node.db, day(&format!("2017-03-{n:02}"))).unwrap();
        bounds::keep_some(&node.root, few).unwrap();
        if n == 2 {
            import(&early.root, &early.db, &exports).unwrap();
        }
        if n > 9 {
            import(&late.root, &late.db, &exports).unwrap();
        }
    }
    let kept: Vec<String> = nights(&node.root).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["2017-03-09", "2017-03-10", "2017-03-11", "2017-03-12"], "the tenth night after the full one folded nine");
    assert!(damaged(&node.root).unwrap().is_empty());
    let fresh = Kit::new();
    for desk in [&early, &late, &fresh] {
        import(&desk.root, &desk.db, &exports).unwrap();
        assert_eq!(contents(desk), contents(&node));
    }
    // By bytes all are folded but the newest two, which hold no file.
    bounds::keep_some(&node.root, bounds::Kept { nights: 30, bytes: 1 }).unwrap();
    assert_eq!(nights(&node.root).unwrap().len(), 3);
    let again = Kit::new();
    import(&again.root, &again.db, &exports).unwrap();
    assert_eq!(contents(&again), contents(&node));
}
