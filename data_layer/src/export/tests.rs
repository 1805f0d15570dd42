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
    assert_eq!(last_imported(&desk.root).unwrap().map(|l| l.day), Some(day("2017-02-02")));
}
