use super::*;
use crate::ledger::{self, Status};
use crate::testkit::{Kit, day, range};
use std::collections::BTreeSet;

#[test]
fn listings_merge_snapshots_and_answer_what_is_expected() {
    let kit = Kit::new();
    kit.stage(&["AAA", "NEW"]);
    kit.listings("2017-01-03", &[("AAA", Some("2010-01-04"), None), ("GONE", Some("2010-01-04"), None), ("RE", Some("2000-01-03"), Some("2005-01-03"))]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-02-01"), None), ("GONE", Some("2010-01-04"), Some("2017-06-01")), ("RE", Some("2015-01-02"), None)]);
    let report = refresh_reference(&kit.root, &kit.db).unwrap();
    assert_eq!((report.listings, report.delistings), (4, 2));
    let spans = ListingSpans::load(&kit.root).unwrap();
    assert_eq!(spans.expected("AAA", day("2010-01-15")), Listed::No, "the corrected date counts");
    assert_eq!(spans.expected("AAA", day("2018-01-02")), Listed::Yes);
    assert_eq!(spans.expected("GONE", day("2017-05-31")), Listed::Yes);
    assert_eq!(spans.expected("GONE", day("2017-06-01")), Listed::No, "half-open");
    assert_eq!(spans.expected("RE", day("2004-12-31")), Listed::Yes);
    assert_eq!(spans.expected("RE", day("2010-01-04")), Listed::No, "the ticker was nobody's");
    assert_eq!(spans.expected("RE", day("2016-01-04")), Listed::Yes);
    assert_eq!(spans.expected("NEW", day("2016-01-04")), Listed::Unknown);
    let gone = load_delistings(&kit.root).unwrap();
    assert_eq!(gone.iter().map(|d| d.symbol.as_str()).collect::<Vec<_>>(), ["GONE", "RE"]);
    assert!(refresh_reference(&kit.root, &kit.db).unwrap().rewritten.is_empty(), "unchanged inputs write nothing");
}

#[test]
fn a_name_that_vanishes_or_is_delisted_without_a_first_day_ends() {
    let kit = Kit::new();
    kit.listings("2017-01-03", &[("AAA", Some("2010-01-04"), None), ("LOST", Some("2010-01-04"), None), ("DEAD", Some("2010-01-04"), None)]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("DEAD", None, Some("2017-06-01"))]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    let spans = ListingSpans::load(&kit.root).unwrap();
    assert_eq!(spans.expected("LOST", day("2017-12-29")), Listed::Yes);
    assert_eq!(spans.expected("LOST", day("2018-01-02")), Listed::No);
    assert_eq!(spans.expected("DEAD", day("2017-05-31")), Listed::Yes);
    assert_eq!(spans.expected("DEAD", day("2017-06-01")), Listed::No);
    assert_eq!(spans.spans("DEAD").unwrap().len(), 1);
}

#[test]
fn lesson_048_index_membership_is_dated() {
    let kit = Kit::new();
    refresh_reference(&kit.root, &kit.db).unwrap();
    let all = load_membership(&kit.root).unwrap();
    assert!(all.len() > 1_200);
    let on = |text: &str| all.iter().filter(|m| m.contains(day(text))).count();
    assert!((490..=510).contains(&on("2013-02-08")), "{}", on("2013-02-08"));
    assert!((490..=510).contains(&on("2018-02-07")), "{}", on("2018-02-07"));
    let frc = all.iter().find(|m| m.symbol == "FRC").unwrap();
    assert!(frc.contains(day("2023-05-03")) && !frc.contains(day("2023-05-04")), "a failed bank was a member until it failed");
}

#[test]
fn lesson_041_a_split_ratio_is_new_over_old_and_a_bad_one_is_rejected() {
    let kit = Kit::new();
    let window = range("2015-01-01", "2025-01-01");
    kit.actions(
        &["AAPL", "NVDA", "REV"],
        window,
        &[
            ("AAPL", "forward_split", "2020-08-31", Some(4.0), None),
            ("NVDA", "forward_split", "2024-06-10", Some(10.0), None),
            ("REV", "reverse_split", "2019-01-02", Some(0.02), None),
            ("AAPL", "cash_dividend", "2024-02-09", None, Some(0.24)),
            ("BAD", "split", "2020-01-02", Some(0.0), None),
            ("BAD", "split", "2020-01-03", None, None),
        ],
    );
    let report = refresh_reference(&kit.root, &kit.db).unwrap();
    assert_eq!((report.corp_actions, report.rejected_actions), (4, 2));
    let actions = load_actions(&kit.root).unwrap();
    assert_eq!(actions["AAPL"][0].effect().unwrap().factor, 4.0);
    assert_eq!(actions["REV"][0].effect().unwrap().factor, 0.02);
    assert_eq!(actions["AAPL"][1].effect().unwrap().cash, 0.24);
}

#[test]
fn a_session_is_green_only_when_all_symbols_were_answered_and_the_answer_is_readable() {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB"]);
    let stage = crate::stage::load(&kit.root).unwrap();
    let sessions = crate::calendar::Calendar::xnys().sessions(range("2017-01-01", "2017-01-11"));
    // What is asked by the day of processing must reach weeks beyond a session to know of its dividends.
    kit.actions(&["AAA", "BBB"], range("2017-01-01", "2017-03-06"), &[]);
    kit.actions(&["AAA"], range("2017-03-06", "2017-05-01"), &[]);
    let listed = kit.listings("2017-01-05", &[("AAA", Some("2010-01-04"), None)]);
    audit_partitions(&kit.root, &kit.db, &stage, sessions, &[], false).unwrap();
    let colours = |table: &str| -> Vec<Status> {
        ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table).map(|r| r.verdict.status).collect()
    };
    let (g, r) = (Status::Green, Status::Red);
    let a = Status::Amber;
    assert_eq!(colours("reference/corp_actions"), [g, g, g, a, a, a]);
    assert_eq!(colours("reference/delistings"), [g, g, g, r, r, r]);
    assert_eq!(audit_partitions(&kit.root, &kit.db, &stage, sessions, &[], false).unwrap(), 0, "nothing changes twice");
    std::fs::remove_file(kit.place(&listed.segments[0].path)).unwrap();
    audit_partitions(&kit.root, &kit.db, &stage, sessions, &[], false).unwrap();
    assert_eq!(colours("reference/delistings"), [r; 6]);
}

#[test]
fn an_answer_that_was_changed_without_changing_its_length_is_red_until_it_is_as_it_was() {
    let kit = Kit::new();
    kit.stage(&["AAA"]);
    let stage = crate::stage::load(&kit.root).unwrap();
    let window = range("2017-01-03", "2017-01-06");
    let sessions = crate::calendar::Calendar::xnys().sessions(window);
    let asked = range("2017-01-03", "2017-03-08");
    let actions = kit.actions(&["AAA"], asked, &[("AAA", "forward_split", "2017-01-04", Some(2.0), None)]);
    let listed = kit.listings("2017-01-05", &[("AAA", Some("2010-01-04"), None)]);
    // As a node does it: the tables are made, then the sessions are judged.
    let audit = |afresh: bool| {
        let refreshed = refresh_reference(&kit.root, &kit.db).unwrap();
        audit_partitions(&kit.root, &kit.db, &stage, sessions, &refreshed.damaged, afresh).unwrap()
    };
    let colours = |table: &str| -> BTreeSet<Status> {
        ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table).map(|r| r.verdict.status).collect()
    };
    let (green, red) = (BTreeSet::from([Status::Green]), BTreeSet::from([Status::Red]));
    audit(false);
    for (manifest, table) in [(actions, table::REF_CORP_ACTIONS), (listed, REF_LISTINGS)] {
        assert_eq!((colours(table), audit(false)), (green.clone(), 0));
        let place = kit.place(&manifest.segments[0].path);
        let good = std::fs::read(&place).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        std::fs::write(&place, &bad).unwrap();
        assert!(audit(false) > 0);
        assert_eq!((colours(table), audit(false)), (red.clone(), 0), "{table}: its rows are gone from the table");
        std::fs::write(&place, &good).unwrap();
        audit(false);
        assert_eq!(colours(table), green, "{table}");
        // Found by an audit that reads everything, healed before one that does not.
        std::fs::write(&place, &bad).unwrap();
        audit(true);
        assert_eq!(colours(table), red, "{table}");
        std::fs::write(&place, &good).unwrap();
        audit(false);
        assert_eq!(colours(table), green, "{table}");
    }
}

#[test]
fn sources_that_disagree_about_a_split_are_named_and_the_preferred_one_serves() {
    let kit = Kit::new();
    let window = range("2020-01-01", "2021-01-01");
    kit.actions(&["AAPL"], window, &[("AAPL", "forward_split", "2020-08-31", Some(4.0), None)]);
    kit.actions_from("tiingo", 2, &["AAPL"], window, &[("AAPL", "forward_split", "2020-08-31", Some(4.0), None)]);
    assert_eq!(refresh_reference(&kit.root, &kit.db).unwrap().disagreements, Vec::<String>::new());
    kit.actions_from("massive", 3, &["AAPL"], window, &[("AAPL", "forward_split", "2020-08-31", Some(0.25), None)]);
    let report = refresh_reference(&kit.root, &kit.db).unwrap();
    assert_eq!((report.disagreements.len(), report.corp_actions), (1, 1));
    assert!(report.disagreements[0].contains("alpaca 4, massive 0.25, tiingo 4"), "{}", report.disagreements[0]);
    assert_eq!(load_actions(&kit.root).unwrap()["AAPL"][0].ratio, Some(4.0));
}

#[test]
fn a_delisting_has_a_reason_and_a_last_value_where_an_event_tells() {
    let kit = Kit::new();
    kit.listings("2018-01-02", &[("BROKE", None, Some("2017-03-01")), ("SOLD", None, Some("2017-06-01")), ("GONE", None, Some("2017-09-01"))]);
    let window = range("2017-01-01", "2018-01-01");
    kit.actions(
        &["BROKE", "SOLD"],
        window,
        &[("BROKE", "worthless_removal", "2017-03-02", None, Some(0.0)), ("SOLD", "cash_merger", "2017-06-01", None, Some(41.5))],
    );
    refresh_reference(&kit.root, &kit.db).unwrap();
    let of: Vec<(String, Option<f64>)> = load_delistings(&kit.root).unwrap().into_iter().map(|d| (d.reason, d.terminal_value)).collect();
    assert_eq!(of, [("worthless".to_string(), Some(0.0)), ("delisted".into(), None), ("merger".into(), Some(41.5))]);
}

#[test]
fn tables_made_with_a_memory_are_those_made_without_and_read_what_is_new() {
    let (kit, fresh) = (Kit::new(), |kit: &Kit| refresh_reference(&kit.root, &kit.db).unwrap());
    let mut memory = Memory::default();
    let mut remembered = |kit: &Kit| refresh_on(&kit.root, &mut memory).unwrap();
    // Names come, go, and vanish; a list may also come late.
    let lists: [(&str, &[(&str, Option<&str>, Option<&str>)]); 4] = [
        ("2018-01-02", &[("AAA", Some("2000-01-03"), None), ("BBB", None, None), ("CCC", Some("2017-05-01"), None)]),
        ("2018-01-03", &[("AAA", Some("2000-01-03"), None), ("CCC", Some("2017-05-02"), None)]),
        ("2018-01-01", &[("DDD", Some("2001-01-02"), None)]),
        ("2018-01-04", &[("AAA", Some("2000-01-03"), Some("2018-01-04")), ("CCC", Some("2017-05-02"), None)]),
    ];
    for (asof, rows) in lists {
        kit.listings(asof, rows);
        let with = remembered(&kit);
        let table = load_listings(&kit.root).unwrap();
        let without = fresh(&kit);
        assert!(without.rewritten.is_empty() && with.damaged.is_empty(), "{asof}: {without:?}");
        assert_eq!((with.listings, with.delistings, table), (without.listings, without.delistings, load_listings(&kit.root).unwrap()));
    }
    // One that is damaged is said to be each time, and when it is whole again nothing is left of that.
    let path = crate::segment::manifests_for(&kit.root, table::RAW_LISTINGS).unwrap()[1].1.segments[0].path.clone();
    let whole = std::fs::read(kit.place(&path)).unwrap();
    std::fs::write(kit.place(&path), &whole[..whole.len() - 1]).unwrap();
    for _ in 0..2 {
        assert_eq!(remembered(&kit).damaged, [path.to_string()]);
    }
    std::fs::write(kit.place(&path), &whole).unwrap();
    assert!(remembered(&kit).damaged.is_empty());
    assert!(fresh(&kit).rewritten.is_empty());
    // What was read is not read again: bytes that were changed in place are found by whoever reads all.
    std::fs::write(kit.place(&path), vec![0; whole.len()]).unwrap();
    assert!(remembered(&kit).damaged.is_empty() && fresh(&kit).damaged == [path.to_string()]);
    std::fs::write(kit.place(&path), &whole).unwrap();
    // A manifest that has gone takes what it said along.
    let (gone, _) = crate::segment::manifests_for(&kit.root, table::RAW_LISTINGS).unwrap().swap_remove(2);
    std::fs::remove_file(kit.place(&gone)).unwrap();
    remembered(&kit);
    assert!(load_listings(&kit.root).unwrap().iter().all(|l| l.symbol != "DDD") && fresh(&kit).rewritten.is_empty());
}
