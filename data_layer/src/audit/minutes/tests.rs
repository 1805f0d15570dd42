use super::*;
use crate::audit::{AuditScope, audit_scan};
use crate::ledger::Status;
use crate::reference::refresh_reference;
use crate::testkit::{Kit, RawMinute, day, good_bars, good_minutes, range};

/// Three weeks around Thanksgiving: the 23rd is a holiday, the 24th closes early.
fn window() -> DateRange {
    range("2017-11-13", "2017-12-02")
}

/// A drive with day bars of two symbols that expects a year of minutes.
fn kit() -> Kit {
    let kit = Kit::new();
    kit.stage_with_minutes(&["AAA", "BBB"], "2017-12-01", 1);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), None)]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &good_bars(&["AAA", "BBB"], window()));
    kit
}

fn minutes(symbol: &str, window: DateRange) -> Vec<RawMinute> {
    Calendar::xnys().sessions(window).iter().flat_map(|d| good_minutes(symbol, *d)).collect()
}

fn scan(kit: &Kit, depth: AuditScope) -> AuditReport {
    audit_scan(&kit.root, &kit.db, &Default::default(), depth, day("2017-12-01"), window()).unwrap()
}

fn rows(kit: &Kit) -> Vec<Row> {
    ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.partition_key == timeframe::MINUTE).collect()
}

fn code_of(kit: &Kit, symbol: &str, on: &str) -> String {
    rows(kit).into_iter().find(|r| r.key.symbol == symbol && r.key.dt == day(on)).map(|r| r.verdict.qc_code).unwrap_or_default()
}

#[test]
fn every_session_of_every_listed_name_is_expected_with_the_minutes_of_its_calendar() {
    let kit = kit();
    kit.commit_minutes("alpaca", &["AAA"], window(), &minutes("AAA", window()));
    let report = scan(&kit, AuditScope::Incremental);
    let sessions = Calendar::xnys().sessions(window()).len() as u64;
    assert_eq!((report.minutes.expected, report.minutes.green, report.minutes.codes["MISSING"]), (2 * sessions, sessions, sessions), "{:?}", report.minutes);
    let half = rows(&kit).into_iter().find(|r| r.key.symbol == "AAA" && r.key.dt == day("2017-11-24")).unwrap();
    assert_eq!((half.verdict.row_count, half.verdict.expected_rows), (210, Some(210)));
    // What is missing is asked for in rows of the queue's size: a week from Monday.
    let gaps: Vec<(String, String)> = report.gaps.iter().filter(|g| g.dataset == "equities_minute").map(|g| (g.symbol.clone(), g.range.to_string())).collect();
    assert_eq!(gaps.len(), 3, "{gaps:?}");
    assert!(gaps.iter().all(|(symbol, _)| symbol == "BBB"));
    // A stage without the lane expects none, and what was written of it goes.
    kit.stage(&["AAA", "BBB"]);
    let without = scan(&kit, AuditScope::Incremental);
    assert_eq!((without.minutes.expected, rows(&kit).len()), (0, 0));
}

#[test]
fn lesson_027_every_kind_of_harm_to_minutes_is_seen_and_named() {
    let kit = kit();
    let all = minutes("AAA", window());
    let on = |text: &str| day(text);
    let mut bent: Vec<RawMinute> = Vec::new();
    for m in all {
        let (d, i) = (m.bar.day, (m.ts.micros() - Calendar::xnys().open(m.bar.day).micros()) / 60_000_000);
        let mut copy = m.clone();
        match d {
            d if d == on("2017-11-13") && i % 5 == 0 => continue, // a fifth is missing
            d if d == on("2017-11-14") && i > 100 => continue,    // three quarters are missing
            d if d == on("2017-11-15") && i == 7 => copy.bar.ohlcv[1] = Some(1.0),
            d if d == on("2017-11-16") && i == 7 => copy.bar.ohlcv[2] = Some(0.0),
            d if d == on("2017-11-17") && i == 7 => bent.push(m.clone()), // twice
            d if d == on("2017-11-20") && i == 7 => copy.bar.ohlcv[4] = None,
            d if d == on("2017-11-21") => copy.bar.ohlcv[..4].iter_mut().for_each(|p| *p = p.map(|p| p * 100.0)),
            d if d == on("2017-11-22") && i >= 200 => copy.bar.feed = "iex",
            d if d == on("2017-11-27") => continue, // answered with nothing
            _ => {}
        }
        bent.push(copy);
    }
    kit.commit_minutes("alpaca", &["AAA"], window(), &bent);
    scan(&kit, AuditScope::Incremental);
    for (on, code) in [
        ("2017-11-13", "SHORT_SESSION"),
        ("2017-11-14", "MISSING_ROWS"),
        ("2017-11-15", "OHLC"),
        ("2017-11-16", "OHLC"),
        ("2017-11-17", "DUPLICATES"),
        ("2017-11-20", "NULL_CELLS"),
        ("2017-11-21", "SOURCES_DISAGREE"),
        ("2017-11-22", "FEED_CHANGED"),
        ("2017-11-24", "OK"),
        ("2017-11-27", "SUSPICIOUS_EMPTY"),
    ] {
        assert_eq!(code_of(&kit, "AAA", on), code, "{on}");
    }
}

#[test]
fn damaged_bytes_of_minutes_are_red_and_a_new_answer_heals_them() {
    let kit = kit();
    let week = range("2017-11-13", "2017-11-18");
    let rest = range("2017-11-18", "2017-12-02");
    let manifest = kit.commit_minutes("alpaca", &["AAA"], week, &minutes("AAA", week));
    kit.commit_minutes("alpaca", &["AAA", "BBB"], rest, &[minutes("AAA", rest), minutes("BBB", rest)].concat());
    kit.commit_minutes("alpaca", &["BBB"], week, &minutes("BBB", week));
    assert_eq!(scan(&kit, AuditScope::Incremental).minutes.fraction(), 1.0);
    let place = kit.place(&manifest.segments[0].path);
    let good = std::fs::read(&place).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&place, &bad).unwrap();
    let report = scan(&kit, AuditScope::Full);
    assert_eq!((report.minutes.red, report.minutes.codes["CHECKSUM_MISMATCH"]), (5, 5));
    assert_eq!(code_of(&kit, "AAA", "2017-11-13"), "CHECKSUM_MISMATCH");
    // A file that is gone is seen without reading the others.
    std::fs::remove_file(&place).unwrap();
    let report = scan(&kit, AuditScope::Incremental);
    assert_eq!((report.minutes.red, code_of(&kit, "AAA", "2017-11-13").as_str()), (5, "MISSING"));
    kit.commit_minutes("alpaca", &["AAA"], week, &minutes("AAA", week));
    assert_eq!(scan(&kit, AuditScope::Incremental).minutes.fraction(), 1.0);
}

#[test]
fn an_audit_costs_what_changed_and_equals_a_full_one() {
    let kit = kit();
    // A segment a session, as a node gets them day by day.
    for d in Calendar::xnys().sessions(window()) {
        let one = DateRange { start: *d, end: d.plus_days(1) };
        kit.commit_minutes("alpaca", &["AAA", "BBB"], one, &[minutes("AAA", one), minutes("BBB", one)].concat());
    }
    let sessions = Calendar::xnys().sessions(window()).len() as u64;
    let first = scan(&kit, AuditScope::Incremental);
    assert_eq!((first.minutes.green, first.minutes.expected), (2 * sessions, 2 * sessions));
    let again = scan(&kit, AuditScope::Incremental);
    assert_eq!((again.segments_read, again.bytes_read, again.partitions_judged, again.changed), (0, 0, 0, 0));
    // Two sessions of one name, weeks apart, are asked again: four segments of minutes are read (each session's old and new
    // one) and one of day bars, two partitions are judged, and none in between.
    for on in ["2017-11-13", "2017-12-01"] {
        let one = DateRange { start: day(on), end: day(on).plus_days(1) };
        kit.commit_minutes("alpaca", &["AAA"], one, &minutes("AAA", one));
    }
    let little = scan(&kit, AuditScope::Incremental);
    assert_eq!((little.partitions_judged, little.segments_read), (2, 5));
    let incremental = rows(&kit);
    scan(&kit, AuditScope::Full);
    assert_eq!(rows(&kit), incremental);
    // The cost of a session does not depend on how long the history is: the newest one alone.
    let one = range("2017-12-01", "2017-12-02");
    kit.commit_minutes("alpaca", &["BBB"], one, &minutes("BBB", one));
    assert_eq!(scan(&kit, AuditScope::Incremental).partitions_judged, 1);
}

#[test]
fn a_thin_name_is_excused_by_its_day_bar_and_judged_again_when_that_comes_late() {
    let kit = Kit::new();
    kit.stage_with_minutes(&["AAA"], "2017-12-01", 1);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None)]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    let one = range("2017-11-13", "2017-11-14");
    let audit = || audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Incremental, day("2017-11-13"), one).unwrap();
    // Ninety minutes with all of the day's volume.
    let volume = good_bars(&["AAA"], one)[0].ohlcv[4].unwrap();
    let mut thin: Vec<RawMinute> = minutes("AAA", one).into_iter().skip(300).collect();
    let n = thin.len() as f64;
    thin.iter_mut().for_each(|m| m.bar.ohlcv[4] = Some(volume / n));
    kit.commit_minutes("alpaca", &["AAA"], one, &thin);
    audit();
    assert_eq!(code_of(&kit, "AAA", "2017-11-13"), "MISSING_ROWS", "nothing proves that so few minutes are all");
    kit.commit("alpaca", &["AAA"], one, &good_bars(&["AAA"], one));
    assert_eq!(audit().minutes.green, 1);
    assert!(rows(&kit).iter().all(|r| r.verdict.status == Status::Green && r.verdict.row_count == 90));
}

#[test]
fn lesson_028_damaged_minutes_are_not_served_by_what_they_revised() {
    let kit = kit();
    let one = range("2017-11-13", "2017-11-14");
    kit.commit_minutes("alpaca", &["AAA"], one, &minutes("AAA", one));
    let mut revised = minutes("AAA", one);
    revised[7].bar.ohlcv[4] = Some(1.0);
    let newer = kit.commit_minutes("alpaca", &["AAA"], one, &revised);
    scan(&kit, AuditScope::Incremental);
    assert_eq!(code_of(&kit, "AAA", "2017-11-13"), "OK");
    let place = kit.place(&newer.segments[0].path);
    let mut bytes = std::fs::read(&place).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&place, bytes).unwrap();
    scan(&kit, AuditScope::Full);
    assert_eq!(code_of(&kit, "AAA", "2017-11-13"), "CHECKSUM_MISMATCH");
}
