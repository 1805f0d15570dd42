use crate::curate;
use crate::frame;
use crate::ledger::{self, Status};
use crate::qc::QcCode;
use crate::reference::{CorpAction, Doubt, actions_known_at, audit_partitions, load_actions, load_doubts, load_ticker_changes, refresh_reference};
use crate::schema::table;
use crate::sourcing::Vendor;
use crate::testkit::{Kit, bar_at, day, range};
use crate::time::{DateRange, UtcTime};
use crate::vendor::Action;
use std::collections::BTreeMap;

/// An event under the vendor's number, filed under `filed`.
fn event(id: &str, kind: &str, ex: &str, filed: &str, amount: f64) -> Action {
    let split = kind.contains("split") || kind == "spin_off";
    Action {
        symbol: "AAA".into(),
        event_type: kind.into(),
        ex_date: Some(day(ex)),
        process_date: Some(day(filed)),
        ratio: split.then_some(amount),
        cash: (!split && amount > 0.0).then_some(amount),
        vendor_id: id.into(),
        ..Action::default()
    }
}

fn split(id: &str, ex: &str, ratio: f64) -> Action {
    event(id, "forward_split", ex, ex, ratio)
}

fn applied(kit: &Kit) -> Vec<CorpAction> {
    refresh_reference(&kit.root, &kit.db).unwrap();
    load_actions(&kit.root).unwrap().into_values().flatten().collect()
}

fn doubts(kit: &Kit) -> Vec<Doubt> {
    load_doubts(&kit.root).unwrap()
}

fn wide() -> DateRange {
    range("2017-03-01", "2017-08-09")
}

#[test]
fn a_split_that_moved_is_one_split_on_its_new_date() {
    let kit = Kit::new();
    kit.stated(Vendor::Alpaca, &["AAA"], range("2017-06-09", "2017-06-10"), "2017-06-09T21:00:00Z", vec![split("x", "2017-06-09", 4.0)]);
    kit.stated(Vendor::Alpaca, &["AAA"], range("2017-06-12", "2017-06-13"), "2017-06-12T21:00:00Z", vec![split("x", "2017-06-12", 4.0)]);
    let all = applied(&kit);
    assert_eq!(all.iter().map(|a| (a.ex_date, a.ratio)).collect::<Vec<_>>(), [(day("2017-06-12"), Some(4.0))], "not twice");
    assert_eq!(doubts(&kit), []);
    // What was known before is what was known.
    let before = actions_known_at(&kit.root, UtcTime::parse("2017-06-10T00:00:00Z").unwrap()).unwrap();
    assert_eq!(before["AAA"].iter().map(|a| a.ex_date).collect::<Vec<_>>(), [day("2017-06-09")]);
    assert!(actions_known_at(&kit.root, UtcTime::parse("2017-06-09T20:00:00Z").unwrap()).unwrap().is_empty());
}

#[test]
fn every_dividend_of_a_day_counts_whichever_answer_brought_it() {
    let kit = Kit::new();
    let regular = event("a", "cash_dividend", "2017-05-10", "2017-05-26", 0.5);
    let special = event("b", "cash_dividend", "2017-05-10", "2017-05-31", 5.0);
    kit.stated(Vendor::Alpaca, &["AAA"], range("2017-05-26", "2017-05-27"), "2017-05-26T21:00:00Z", vec![regular.clone()]);
    kit.stated(Vendor::Alpaca, &["AAA"], range("2017-05-31", "2017-06-01"), "2017-05-31T21:00:00Z", vec![special]);
    // A row of prices has them as one, which is no disagreement.
    let row = event("AAA:2017-05-10:cash_dividend", "cash_dividend", "2017-05-10", "2017-05-10", 5.5);
    kit.stated(Vendor::Tiingo, &["AAA"], range("2017-05-01", "2017-06-01"), "2017-06-01T21:00:00Z", vec![row]);
    let cash: Vec<Option<f64>> = applied(&kit).iter().map(|a| a.cash).collect();
    assert_eq!((cash, doubts(&kit)), (vec![Some(0.5), Some(5.0)], vec![]));
    // An amount that the vendor corrects is corrected.
    kit.stated(
        Vendor::Alpaca,
        &["AAA"],
        wide(),
        "2017-06-02T21:00:00Z",
        vec![Action { cash: Some(0.4), ..regular }, event("b", "cash_dividend", "2017-05-10", "2017-05-31", 5.0)],
    );
    let cash: Vec<Option<f64>> = applied(&kit).iter().map(|a| a.cash).collect();
    assert_eq!(cash, [Some(0.4), Some(5.0)]);
    assert_eq!((doubts(&kit).len(), doubts(&kit)[0].code), (1, QcCode::ActionsDisagree), "now they differ by two per cent");
}

#[test]
fn what_a_later_complete_answer_leaves_out_was_taken_back() {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB"]);
    let both = ["AAA", "BBB"];
    let other = Action { symbol: "BBB".into(), ..split("y", "2017-06-09", 2.0) };
    kit.stated(Vendor::Alpaca, &both, wide(), "2017-06-09T21:00:00Z", vec![split("x", "2017-06-09", 4.0), other.clone()]);
    assert_eq!(applied(&kit).len(), 2);
    // An answer about other days, or about another name, takes nothing back.
    kit.stated(Vendor::Alpaca, &both, range("2017-06-10", "2017-06-20"), "2017-06-12T21:00:00Z", vec![]);
    kit.stated(Vendor::Alpaca, &["BBB"], wide(), "2017-06-13T21:00:00Z", vec![other.clone()]);
    assert_eq!(applied(&kit).len(), 2);
    kit.stated(Vendor::Alpaca, &both, wide(), "2017-06-14T21:00:00Z", vec![other.clone()]);
    assert_eq!(applied(&kit).iter().map(|a| a.symbol.as_str()).collect::<Vec<_>>(), ["BBB"]);
    assert!(doubts(&kit)[0].words.contains("took it back"), "{:?}", doubts(&kit));
    // The statement itself is still there, and weeks later what was said again since is not read any more, to the same end.
    kit.stated(Vendor::Alpaca, &both, wide(), "2017-07-28T21:00:00Z", vec![other]);
    assert_eq!(applied(&kit).iter().map(|a| a.symbol.as_str()).collect::<Vec<_>>(), ["BBB"]);
    assert_eq!(doubts(&kit), []);
    assert_eq!(actions_known_at(&kit.root, UtcTime::parse("2017-06-10T00:00:00Z").unwrap()).unwrap().len(), 2);
}

#[test]
fn what_was_taken_back_is_taken_out_of_its_own_prices_and_of_no_others() {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB"]);
    let (window, both) = (range("2017-01-03", "2017-06-15"), ["AAA", "BBB"]);
    kit.commit("alpaca", &both, window, &crate::testkit::good_bars(&both, window));
    let other = Action { symbol: "BBB".into(), ..split("y", "2017-06-09", 2.0) };
    let files = || -> BTreeMap<String, String> {
        refresh_reference(&kit.root, &kit.db).unwrap();
        curate::curate_incremental(&kit.root, &kit.db).unwrap();
        let digest = |s: &str| crate::store::sha256_hex(&std::fs::read(kit.place(&curate::path_of(s, 2017).unwrap())).unwrap());
        both.iter().map(|s| ((*s).to_string(), digest(s))).collect()
    };
    let plain = files();
    kit.stated(Vendor::Alpaca, &both, wide(), "2017-06-09T21:00:00Z", vec![split("x", "2017-06-09", 4.0), other.clone()]);
    let with = files();
    assert!(with["AAA"] != plain["AAA"] && with["BBB"] != plain["BBB"]);
    kit.stated(Vendor::Alpaca, &both, wide(), "2017-06-12T21:00:00Z", vec![other]);
    let after = files();
    assert_eq!((&after["AAA"], &after["BBB"]), (&plain["AAA"], &with["BBB"]), "to the byte what they were without it");
}

#[test]
fn what_is_announced_is_not_applied_before_its_day_has_closed() {
    let kit = Kit::new();
    let renamed = Action { new_symbol: Some("NEW".into()), ..event("n", "name_change", "2017-06-12", "2017-06-12", 0.0) };
    let told = vec![split("x", "2017-06-12", 4.0), renamed];
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-09T21:00:00Z", told.clone());
    assert!(applied(&kit).is_empty() && load_ticker_changes(&kit.root).unwrap().is_empty());
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-12T15:00:00Z", told.clone());
    assert!(applied(&kit).is_empty(), "its session is open");
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-12T20:20:00Z", told);
    assert_eq!((applied(&kit).len(), load_ticker_changes(&kit.root).unwrap().len()), (2, 1));
}

#[test]
fn two_vendors_that_date_one_split_apart_mean_one_and_differing_ratios_are_told() {
    let kit = Kit::new();
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-14T21:00:00Z", vec![split("x", "2017-06-09", 4.0)]);
    kit.stated(Vendor::Tiingo, &["AAA"], wide(), "2017-06-14T22:00:00Z", vec![split("t", "2017-06-12", 4.0)]);
    assert_eq!((applied(&kit).len(), doubts(&kit).len()), (1, 0));
    kit.stated(Vendor::Tiingo, &["AAA"], wide(), "2017-06-14T23:00:00Z", vec![split("t", "2017-06-12", 2.0)]);
    assert_eq!(applied(&kit).iter().map(|a| a.ratio).collect::<Vec<_>>(), [Some(4.0)]);
    assert_eq!(doubts(&kit)[0].words, "alpaca 4, tiingo 2");
    // What only the second tells is applied, and doubtful where the first should have told it too.
    kit.stated(Vendor::Tiingo, &["AAA"], wide(), "2017-06-15T00:00:00Z", vec![split("t", "2017-06-12", 4.0), split("u", "2017-04-03", 3.0)]);
    assert_eq!(applied(&kit).iter().map(|a| a.ratio).collect::<Vec<_>>(), [Some(3.0), Some(4.0)]);
    assert_eq!((doubts(&kit).len(), doubts(&kit)[0].words.as_str()), (1, "tiingo 3, alpaca nothing"));
}

#[test]
fn doubts_reach_the_ledger_with_a_code_of_their_own() {
    let kit = Kit::new();
    kit.stage(&["AAA"]);
    let stage = crate::stage::load(&kit.root).unwrap();
    let sessions = crate::calendar::Calendar::xnys().sessions(range("2017-06-05", "2017-06-10"));
    let bad = Action { ratio: None, ..split("z", "2017-06-06", 1.0) };
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-09T21:00:00Z", vec![split("x", "2017-06-08", 4.0), bad]);
    kit.stated(Vendor::Tiingo, &["AAA"], wide(), "2017-06-09T22:00:00Z", vec![split("t", "2017-06-08", 2.0), split("s", "2017-06-06", 2.0)]);
    let report = refresh_reference(&kit.root, &kit.db).unwrap();
    assert!(report.doubts >= 2 && report.rejected_actions == 1, "{report:?}");
    audit_partitions(&kit.root, &kit.db, &stage, sessions, &[], false).unwrap();
    let codes: Vec<String> =
        ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table::REF_CORP_ACTIONS).map(|r| r.verdict.qc_code).collect();
    assert_eq!(codes, ["OK", "ACTION_UNAPPLIED", "OK", "ACTIONS_DISAGREE", "OK"]);
    assert_eq!((QcCode::ActionsDisagree.status(), QcCode::ActionUnapplied.status()), (Status::Amber, Status::Amber));
    // Settled, they are GREEN again.
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-09T23:00:00Z", vec![split("x", "2017-06-08", 2.0), split("z", "2017-06-06", 2.0)]);
    assert_eq!(refresh_reference(&kit.root, &kit.db).unwrap().doubts, 0);
    audit_partitions(&kit.root, &kit.db, &stage, sessions, &[], false).unwrap();
    assert!(ledger::all_rows(&kit.db).unwrap().iter().filter(|r| r.key.table_name == table::REF_CORP_ACTIONS).all(|r| r.verdict.status == Status::Green));
}

#[test]
fn a_session_is_green_only_after_an_answer_that_could_know_of_its_actions() {
    let kit = Kit::new();
    kit.stage(&["AAA"]);
    let stage = crate::stage::load(&kit.root).unwrap();
    let sessions = crate::calendar::Calendar::xnys().sessions(range("2017-06-07", "2017-06-10"));
    let codes = || -> Vec<String> {
        audit_partitions(&kit.root, &kit.db, &stage, sessions, &[], false).unwrap();
        let rows = ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table::REF_CORP_ACTIONS);
        rows.map(|r| r.verdict.qc_code).collect()
    };
    // Before the last close, and not far enough ahead.
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-08T21:00:00Z", vec![]);
    assert_eq!(codes(), ["OK", "OK", "NOT_SEEN"]);
    kit.stated(Vendor::Alpaca, &["AAA"], range("2017-06-09", "2017-06-10"), "2017-06-09T21:00:00Z", vec![]);
    assert_eq!(codes(), ["OK", "OK", "NOT_SEEN"], "a dividend of that day is filed under the day it is paid");
    kit.stated(Vendor::Alpaca, &["AAA"], wide(), "2017-06-09T21:30:00Z", vec![]);
    assert_eq!(codes(), ["OK", "OK", "OK"]);
}

/// The silence of a list that did not reach back is no answer.
#[test]
fn what_the_first_source_never_reached_is_not_green() {
    let names: Vec<String> = (0..25).map(|i| format!("N{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let kit = Kit::of("real");
    kit.stage(&names);
    let stage = crate::stage::load(&kit.root).unwrap();
    let sessions = crate::calendar::Calendar::xnys().sessions(range("2014-06-02", "2014-06-05"));
    let first = Action { symbol: "N01".into(), ..split("x", "2016-06-09", 4.0) };
    kit.stated(Vendor::Alpaca, &names, range("2011-01-01", "2017-08-09"), "2017-06-08T21:00:00Z", vec![first]);
    let codes = || -> Vec<String> {
        refresh_reference(&kit.root, &kit.db).unwrap();
        audit_partitions(&kit.root, &kit.db, &stage, sessions, &[], false).unwrap();
        let rows = ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table::REF_CORP_ACTIONS);
        rows.map(|r| r.verdict.qc_code).collect()
    };
    assert_eq!(codes(), ["NOT_SEEN"; 3]);
    let old = Action { symbol: "N02".into(), ..split("t", "2014-06-03", 7.0) };
    kit.stated(Vendor::Tiingo, &names, range("2014-01-01", "2015-01-01"), "2017-06-08T22:00:00Z", vec![old]);
    assert_eq!(codes(), ["OK"; 3], "prices carry their own actions, and nothing is held against them");
    assert_eq!(load_actions(&kit.root).unwrap()["N02"][0].ratio, Some(7.0));
}

#[test]
fn a_spin_off_takes_its_worth_out_of_the_price_and_is_in_doubt_until_it_is_known() {
    let kit = Kit::new();
    kit.stage(&["AAA"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None)]);
    let (window, before) = (range("2017-01-03", "2017-06-15"), day("2017-06-09"));
    let price = |d| if d < before { 100.0 } else { 90.0 };
    let bars: Vec<_> = crate::calendar::Calendar::xnys().sessions(window).iter().map(|d| bar_at("AAA", *d, price(*d))).collect();
    kit.commit("alpaca", &["AAA"], window, &bars);
    let spun = Action { new_symbol: Some("KID".into()), ..event("s", "spin_off", "2017-06-09", "2017-06-09", 0.5) };
    kit.stated(Vendor::Alpaca, &["AAA"], range("2017-01-01", "2017-09-01"), "2017-06-20T21:00:00Z", vec![spun]);
    let work = || {
        let refreshed = refresh_reference(&kit.root, &kit.db).unwrap();
        crate::audit::audit_scan(&kit.root, &kit.db, &refreshed, crate::audit::AuditScope::Incremental, day("2017-06-14"), window).unwrap();
        curate::curate_incremental(&kit.root, &kit.db).unwrap();
        let rows = ledger::all_rows(&kit.db).unwrap();
        let codes: BTreeMap<String, String> =
            rows.into_iter().filter(|r| r.key.dt == before && r.key.symbol != "KID").map(|r| (r.key.table_name, r.verdict.qc_code)).collect();
        let file = crate::store::read_parquet(&kit.root, &curate::path_of("AAA", 2017).unwrap()).unwrap();
        let close = frame::floats(&file, "close").unwrap()[0].unwrap();
        let paid: f64 = frame::floats(&file, "div_cash").unwrap().into_iter().flatten().sum();
        (codes, close, paid)
    };
    let (codes, close, _) = work();
    assert_eq!(close, 100.0, "unadjusted");
    for table in [table::RAW_EQUITIES_BARS, table::CURATED_EQUITIES, table::REF_CORP_ACTIONS] {
        assert_eq!(codes[table], "ACTION_UNAPPLIED", "{table}: a fall of a tenth that nobody can tell from a loss");
    }
    assert!(doubts(&kit)[0].words.contains("the first close of KID is not known"), "{:?}", doubts(&kit));
    // Half a share of 20 dollars.
    let first = range("2017-06-09", "2017-06-10");
    kit.commit("alpaca", &["KID"], first, &[bar_at("KID", before, 20.0)]);
    let (codes, close, paid) = work();
    assert_eq!((close, paid), (90.0, 0.0), "10 of 100 dollars went to the other company, and none was cash");
    assert!([table::RAW_EQUITIES_BARS, table::CURATED_EQUITIES, table::REF_CORP_ACTIONS].iter().all(|t| codes[*t] == "OK"), "{codes:?}");
    assert_eq!(doubts(&kit), []);
}
