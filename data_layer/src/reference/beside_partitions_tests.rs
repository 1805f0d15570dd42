use super::*;
use crate::ledger;
use crate::reference::{audit_partitions, refresh_reference};
use crate::root::DataPath;
use crate::sourcing::entitlement::LiveStatus;
use crate::stage::{ExplainedLane, Lane, LaneState, Stage, Universe};
use crate::testkit::{Kit, day, range};
use crate::time::DateRange;
use crate::vendor::{Macro, Quote, Rows};
use std::collections::BTreeMap;

fn stage() -> Stage {
    Stage::initial(day("2018-01-02"), Universe::new("test", vec!["A".into()]), BTreeMap::new())
}

fn wish(kit: &Kit, datasets: &str) {
    let path = DataPath::new("control/configs/backfill.yml").unwrap();
    store::write_atomic(&kit.root, &path, format!("version: 1\ndatasets: {datasets}\n").as_bytes()).unwrap();
}

fn chain(kit: &Kit, underlying: &str, on: &str) {
    let quote = Quote {
        underlying: underlying.into(),
        date: day(on),
        contract: format!("{underlying}180216C00100000"),
        expiry: day("2018-02-16"),
        right: "C".into(),
        strike: 100.0,
        bid: Some(1.0),
        ask: Some(1.1),
        last: None,
        quoted_at: format!("{on}T20:59:59Z"),
        source_uri: "s".into(),
    };
    let window = DateRange { start: day(on), end: day(on).plus_days(1) };
    kit.commit_rows(Vendor::Alpaca, dataset::OPTIONS_CHAINS, &[underlying], window, &Rows::Quotes(vec![quote]), &format!("{on}T21:20:00Z"));
}

fn curve(kit: &Kit, window: DateRange) {
    let value =
        |d: &TradingDay| Macro { series: "BC_10YEAR".into(), observed: *d, value: Some(2.3), realtime_start: *d, realtime_end: None, source_uri: "s".into() };
    let rows = Calendar::xnys().sessions(window).iter().map(value).collect();
    kit.commit_rows(Vendor::Treasury, dataset::TREASURY, &[], window, &Rows::Macros(rows), "2018-01-20T22:00:00Z");
}

/// Code and count of each session of a table after an audit of the week.
fn told(kit: &Kit, stage: &Stage, table: &str) -> Vec<(String, String, u64, u64)> {
    let refreshed = refresh_reference(&kit.root, &kit.db).unwrap();
    assert!(refreshed.damaged.is_empty(), "{:?}", refreshed.damaged);
    let sessions = Calendar::xnys().sessions(range("2018-01-08", "2018-01-13"));
    audit_partitions(&kit.root, &kit.db, stage, sessions, &refreshed.damaged, false).unwrap();
    assert_eq!(audit_partitions(&kit.root, &kit.db, stage, sessions, &refreshed.damaged, false).unwrap(), 0, "nothing changes twice");
    assert_eq!(audit_partitions(&kit.root, &kit.db, stage, sessions, &refreshed.damaged, true).unwrap(), 0, "nor when all is read again");
    let all = ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table);
    all.map(|r| (r.key.dt.to_string()[8..].to_string(), r.verdict.qc_code, r.verdict.row_count, r.verdict.expected_rows.unwrap())).collect()
}

fn rows_of(rows: &[(&str, &str, u64, u64)]) -> Vec<(String, String, u64, u64)> {
    rows.iter().map(|(d, c, have, of)| ((*d).to_string(), (*c).to_string(), *have, *of)).collect()
}

#[test]
fn a_chain_is_expected_from_its_first_day_on_and_cannot_be_made_up_for() {
    let (kit, stage) = (Kit::new(), stage());
    wish(&kit, r#"{options_chains: {collect: true, symbols: ["SPY", "QQQ", "NEW"]}}"#);
    assert_eq!(told(&kit, &stage, table::RAW_OPTIONS), [], "nobody was asked yet");
    chain(&kit, "SPY", "2018-01-09");
    chain(&kit, "SPY", "2018-01-11");
    chain(&kit, "QQQ", "2018-01-11");
    let want = rows_of(&[("09", "OK", 1, 1), ("10", "NOT_SEEN", 0, 1), ("11", "OK", 2, 2), ("12", "MISSING", 0, 2)]);
    assert_eq!(told(&kit, &stage, table::RAW_OPTIONS), want);
    chain(&kit, "SPY", "2018-01-12");
    assert_eq!(told(&kit, &stage, table::RAW_OPTIONS)[3..], rows_of(&[("12", "MISSING", 1, 2)]));
    let friday = range("2018-01-12", "2018-01-13");
    kit.commit_rows(Vendor::Alpaca, dataset::OPTIONS_CHAINS, &["QQQ"], friday, &Rows::Quotes(Vec::new()), "2018-01-12T21:20:00Z");
    assert_eq!(told(&kit, &stage, table::RAW_OPTIONS)[3..], rows_of(&[("12", "SUSPICIOUS_EMPTY", 1, 2)]), "a chain without a contract");
    // An underlying that is not wanted any more is not expected any more.
    wish(&kit, r#"{options_chains: {collect: true, symbols: ["SPY"]}}"#);
    assert_eq!(told(&kit, &stage, table::RAW_OPTIONS)[2..], rows_of(&[("11", "OK", 1, 1), ("12", "OK", 1, 1)]));
    wish(&kit, r#"{options_chains: {collect: false, symbols: ["SPY"]}}"#);
    assert_eq!(told(&kit, &stage, table::RAW_OPTIONS), [], "a lane that is off has no rows");
}

#[test]
fn a_curve_is_missing_until_it_is_had_and_a_lane_that_is_shut_expects_nothing() {
    let (kit, stage) = (Kit::new(), stage());
    assert_eq!(told(&kit, &stage, table::RAW_MACROS), [], "it is wanted, and nobody was asked yet");
    curve(&kit, range("2018-01-09", "2018-01-11"));
    let (one, none) = (|d, c| (d, c, 1, 1), |d, c| (d, c, 0, 1));
    assert_eq!(told(&kit, &stage, table::RAW_MACROS), rows_of(&[one("09", "OK"), one("10", "OK"), none("11", "MISSING"), none("12", "MISSING")]));
    curve(&kit, range("2018-01-04", "2018-01-13"));
    let whole = rows_of(&["08", "09", "10", "11", "12"].map(|d| one(d, "OK")));
    assert_eq!(told(&kit, &stage, table::RAW_MACROS), whole);
    assert!(ledger::all_rows(&kit.db).unwrap().iter().all(|r| r.key.table_name != table::REF_MACROS), "of FRED nobody was asked");
    let reason = "by hand".to_string();
    let closed = Lane::Explained(ExplainedLane { state: LaneState::Off, reason, on: day("2018-01-02"), from: None });
    let mut off = stage.clone();
    off.lanes.insert(dataset::TREASURY.into(), closed);
    assert_eq!(told(&kit, &off, table::RAW_MACROS), []);
    assert_eq!(told(&kit, &stage, table::RAW_MACROS), whole);
    let entry = Endpoints::built_in().unwrap().entry(Vendor::Treasury, dataset::TREASURY).cloned().unwrap();
    let found = |live| kit.db.write(|tx| entitlement::record(tx, &entry, live, "no", kit.root.host().now())).unwrap();
    found(LiveStatus::EntitlementBlocked);
    assert_eq!(told(&kit, &stage, table::RAW_MACROS), []);
    found(LiveStatus::LiveVerified);
    assert_eq!(told(&kit, &stage, table::RAW_MACROS), whole);
}
