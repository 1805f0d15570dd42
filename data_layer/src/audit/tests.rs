use super::*;
use crate::host::{FakeHost, Host};
use crate::ledger::{Row, Status};
use crate::root::DataPath;
use crate::testkit::{Kit, RawBar, bar_at, day, good_bars, range};
use std::collections::BTreeSet;

const LISTED: [(&str, Option<&str>, Option<&str>); 2] = [("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), None)];

fn kit() -> Kit {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB"]);
    kit.listings("2018-01-02", &LISTED);
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    kit
}

fn scan(kit: &Kit, scope: AuditScope, window: DateRange) -> AuditReport {
    audit_scan(&kit.root, &kit.db, &Default::default(), scope, window.end.plus_days(-1), window).unwrap()
}

fn raw_rows(kit: &Kit) -> Vec<Row> {
    ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table::RAW_EQUITIES_BARS).collect()
}

fn code_of(kit: &Kit, symbol: &str, on: &str) -> String {
    raw_rows(kit).into_iter().find(|r| r.key.symbol == symbol && r.key.dt == day(on)).map(|r| r.verdict.qc_code).unwrap_or_default()
}

#[test]
fn a_bar_is_held_against_the_one_before_it_however_long_ago_and_whichever_came_first() {
    let kit = kit();
    let window = range("2016-01-01", "2017-07-01");
    let of = |from: &str, to: &str, close: f64| {
        let days = range(from, to);
        let bars: Vec<RawBar> = Calendar::xnys().sessions(days).iter().map(|d| bar_at("AAA", *d, close + f64::from(d.0 % 5))).collect();
        kit.commit("alpaca", &["AAA"], days, &bars);
    };
    of("2017-03-01", "2017-07-01", 180.0);
    scan(&kit, AuditScope::Incremental, window);
    assert_eq!(code_of(&kit, "AAA", "2017-03-01"), "OK");
    of("2016-02-01", "2016-04-01", 20.0);
    scan(&kit, AuditScope::Incremental, window);
    assert_eq!(code_of(&kit, "AAA", "2017-03-01"), "BREAK_ACROSS_GAP", "what is before it came later");
    assert_eq!(scan(&kit, AuditScope::Full, window).changed, 0);
    of("2016-09-01", "2016-10-01", 170.0);
    scan(&kit, AuditScope::Incremental, window);
    assert_eq!([code_of(&kit, "AAA", "2016-09-01"), code_of(&kit, "AAA", "2017-03-01")], ["BREAK_ACROSS_GAP", "OK"]);
    assert_eq!(scan(&kit, AuditScope::Full, window).changed, 0);
}

fn without(bars: &[RawBar], symbol: &str, on: &str) -> Vec<RawBar> {
    bars.iter().filter(|b| b.symbol != symbol || b.day != day(on)).cloned().collect()
}

#[test]
fn lesson_026_writes_of_different_symbols_never_replace_each_other() {
    let kit = kit();
    let window = range("2017-01-01", "2017-04-01");
    let mut bars = good_bars(&["AAA", "BBB"], window);
    bars.sort_by_key(|b| (b.day.0 * 7919 % 101, b.symbol.clone()));
    for bar in bars.iter().take(100) {
        kit.commit("alpaca", &[&bar.symbol], DateRange { start: bar.day, end: bar.day.plus_days(1) }, std::slice::from_ref(bar));
    }
    let report = scan(&kit, AuditScope::Incremental, window);
    assert_eq!(report.coverage.green, 100);
    assert_eq!(report.coverage.codes["MISSING"], bars.len() as u64 - 100);
}

#[test]
fn lesson_027_every_row_that_is_not_there_is_found() {
    let kit = kit();
    let window = range("2017-01-01", "2017-07-01");
    let all = good_bars(&["AAA", "BBB"], window);
    let (kept, lost): (Vec<RawBar>, Vec<RawBar>) = all.iter().cloned().partition(|b| (b.day.0 * 31 + i32::from(b.symbol.as_bytes()[0])) % 9 != 0);
    kit.commit("alpaca", &["AAA", "BBB"], window, &kept);
    let report = scan(&kit, AuditScope::Full, window);
    assert_eq!(report.coverage.expected, all.len() as u64);
    let found: BTreeSet<(String, TradingDay)> =
        raw_rows(&kit).into_iter().filter(|r| r.verdict.status != Status::Green).map(|r| (r.key.symbol, r.key.dt)).collect();
    let want: BTreeSet<(String, TradingDay)> = lost.into_iter().map(|b| (b.symbol, b.day)).collect();
    assert_eq!(found, want);
}

#[test]
fn lesson_028_a_fetch_that_was_not_stored_is_red() {
    let kit = kit();
    let window = range("2017-01-01", "2017-02-01");
    let manifest = kit.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA", "BBB"], window));
    let place = kit.place(&manifest.segments[0].path);
    let good = std::fs::read(&place).unwrap();
    let expect = |what: &str| {
        let report = scan(&kit, AuditScope::Full, window);
        assert_eq!((report.coverage.green, report.coverage.red), (0, report.coverage.expected), "{what}");
        assert_eq!(code_of(&kit, "AAA", "2017-01-03"), what);
        assert_eq!(report.gaps.len(), 2, "one gap for each symbol");
    };
    std::fs::remove_file(&place).unwrap();
    expect("MISSING");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&place, &bad).unwrap();
    expect("CHECKSUM_MISMATCH");
    std::fs::write(&place, &good[..good.len() - 7]).unwrap();
    expect("CHECKSUM_MISMATCH");
    std::fs::write(&place, &good).unwrap();
    assert_eq!(scan(&kit, AuditScope::Full, window).coverage.fraction(), 1.0);
}

#[test]
fn lesson_028_a_segment_with_other_contents_than_declared_is_red() {
    let kit = kit();
    let window = range("2017-01-03", "2017-01-06");
    let mut manifest = kit.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window));
    manifest.segments[0].symbols = vec!["BBB".into()];
    manifest.asked.symbols = vec!["BBB".into()];
    kit.put_manifest(&manifest, 50);
    scan(&kit, AuditScope::Full, window);
    assert_eq!(code_of(&kit, "BBB", "2017-01-03"), "SCHEMA");
    assert_eq!(code_of(&kit, "AAA", "2017-01-03"), "OK");
}

#[test]
fn lesson_029_an_empty_answer_is_amber_asked_once_more_and_then_left_alone() {
    let kit = kit();
    let window = range("2017-01-01", "2017-02-01");
    let bars = without(&good_bars(&["AAA", "BBB"], window), "AAA", "2017-01-17");
    kit.commit("alpaca", &["AAA", "BBB"], window, &bars);
    let report = scan(&kit, AuditScope::Incremental, window);
    assert_eq!(code_of(&kit, "AAA", "2017-01-17"), "SUSPICIOUS_EMPTY");
    let hole = range("2017-01-17", "2017-01-18");
    assert_eq!(report.gaps.iter().map(|g| (g.symbol.as_str(), g.range)).collect::<Vec<_>>(), [("AAA", hole)]);
    // The second answer is empty as well; it is a month old, so it rests no longer: bounded by the number of answers.
    kit.commit("alpaca", &["AAA"], hole, &[]);
    assert_eq!(scan(&kit, AuditScope::Incremental, window).gaps.len(), 1);
    kit.commit("alpaca", &["AAA"], hole, &[]);
    kit.commit("alpaca", &["AAA"], hole, &[]);
    assert!(scan(&kit, AuditScope::Incremental, window).gaps.is_empty(), "four empty answers are the last word");
    assert_eq!(code_of(&kit, "AAA", "2017-01-17"), "SUSPICIOUS_EMPTY");
    kit.commit("tiingo", &["AAA"], hole, &[]);
    scan(&kit, AuditScope::Incremental, window);
    assert_eq!(code_of(&kit, "AAA", "2017-01-17"), "VENDOR_EMPTY");
    kit.commit("tiingo", &["AAA"], hole, &[bar_at("AAA", day("2017-01-17"), 146.0)]);
    assert_eq!(scan(&kit, AuditScope::Incremental, window).coverage.fraction(), 1.0);
}

#[test]
fn a_fresh_second_empty_answer_rests_for_a_week() {
    let at = crate::time::UtcTime::parse("2018-02-02T00:00:00Z").unwrap();
    let host = crate::host::Host::fake(crate::host::FakeHost { now: at, ..Default::default() });
    let kit = Kit::with_host("replay@1", host.clone());
    kit.stage(&["AAA"]);
    let window = range("2017-01-03", "2017-01-06");
    for expected in [1, 0] {
        kit.commit("alpaca", &["AAA"], window, &[]);
        assert_eq!(scan(&kit, AuditScope::Incremental, window).gaps.len(), expected);
    }
    host.block_on(host.sleep(std::time::Duration::from_secs(8 * 86_400))).unwrap();
    assert_eq!(scan(&kit, AuditScope::Incremental, window).gaps.len(), 1);
}

#[test]
fn lesson_033_nothing_yet_is_pending_and_no_alarm() {
    let kit = kit();
    let window = range("2017-01-01", "2017-02-01");
    let report = audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Incremental, day("2016-12-30"), window).unwrap();
    assert_eq!((report.coverage.red, report.coverage.expected, report.gaps.len()), (0, 0, 0));
    assert_eq!(report.pending_sessions, 20);
}

#[test]
fn lesson_036_taking_any_input_away_closes_the_gate() {
    let kit = kit();
    let window = range("2017-01-01", "2017-02-01");
    let fraction = |w: DateRange| ledger::coverage(&kit.db, table::RAW_EQUITIES_BARS, "1d", w).unwrap().fraction();
    assert_eq!(fraction(window), 0.0, "an empty ledger is not a complete one");
    kit.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA", "BBB"], window));
    scan(&kit, AuditScope::Incremental, window);
    assert_eq!(fraction(window), 1.0);
    assert!(fraction(range("2016-12-01", "2017-02-01")) < 0.55, "sessions that nobody audited are not GREEN");
    let refs = ledger::coverage(&kit.db, table::REF_CORP_ACTIONS, "", window).unwrap();
    assert_eq!((refs.green, refs.red), (0, 20), "nobody was asked for corporate actions");
}

#[test]
fn lesson_112_adjacent_windows_share_no_session() {
    let kit = kit();
    let (first, second) = (range("2017-01-01", "2017-01-17"), range("2017-01-17", "2017-02-01"));
    kit.commit("alpaca", &["AAA"], first, &good_bars(&["AAA"], first));
    kit.commit("alpaca", &["AAA"], second, &good_bars(&["AAA"], second));
    let whole = range("2017-01-01", "2017-02-01");
    scan(&kit, AuditScope::Incremental, whole);
    let cover = |w| ledger::coverage(&kit.db, table::RAW_EQUITIES_BARS, "1d", w).unwrap().expected;
    assert_eq!(cover(first) + cover(second), cover(whole));
    let rows = raw_rows(&kit);
    assert!(rows.iter().filter(|r| r.key.symbol == "AAA").all(|r| r.verdict.row_count == 1));
}

#[test]
fn content_decides_the_colour() {
    let kit = kit();
    let window = range("2017-01-01", "2017-02-01");
    let mut bars = good_bars(&["AAA"], window);
    bars[3].ohlcv[1] = Some(1.0); // the high below the low
    bars[5].ohlcv[0] = None;
    bars[8] = bar_at("AAA", bars[8].day, 300.0);
    let twice = bars[12].clone();
    let days: Vec<TradingDay> = [3, 5, 8, 9, 12].iter().map(|i| bars[*i].day).collect();
    bars.insert(13, twice);
    kit.commit("alpaca", &["AAA"], window, &bars);
    scan(&kit, AuditScope::Incremental, window);
    let codes: Vec<String> = days.iter().map(|d| code_of(&kit, "AAA", &d.to_string())).collect();
    assert_eq!(codes, ["OHLC", "NULL_CELLS", "MOVE_UNEXPLAINED", "MOVE_UNEXPLAINED", "DUPLICATES"]);
    let counts = ledger::coverage_by_day(&kit.db, table::RAW_EQUITIES_BARS, "1d", window).unwrap();
    assert_eq!((counts[&days[0]].red, counts[&days[1]].amber), (2, 1), "AAA's bad bar, BBB missing");
}

#[test]
fn a_revision_wins_when_newer_and_an_equal_refetch_changes_nothing() {
    let kit = kit();
    let window = range("2017-01-03", "2017-01-06");
    let bars = good_bars(&["AAA"], window);
    kit.commit("alpaca", &["AAA"], window, &bars);
    let first = scan(&kit, AuditScope::Incremental, window);
    kit.commit("alpaca", &["AAA"], window, &bars);
    let again = scan(&kit, AuditScope::Incremental, window);
    assert_eq!((first.revisions, again.revisions), (0, 0));
    let row = raw_rows(&kit).into_iter().find(|r| r.key.symbol == "AAA").unwrap();
    assert!(row.verdict.first_observed_at < row.verdict.last_observed_at);
    let mut changed = bars.clone();
    changed[1] = bar_at("AAA", bars[1].day, 141.0);
    kit.commit("alpaca", &["AAA"], window, &changed);
    assert_eq!(scan(&kit, AuditScope::Incremental, window).revisions, 1);
    let mut broken = bars.clone();
    broken[2].ohlcv[1] = Some(1.0);
    kit.commit_as("alpaca", &["AAA"], window, &broken, false);
    scan(&kit, AuditScope::Incremental, window);
    assert_eq!(code_of(&kit, "AAA", "2017-01-05"), "OK", "an incomplete answer does not replace a complete one");
}

#[test]
fn lesson_051_sources_may_differ_by_percents_but_not_by_scale() {
    let kit = kit();
    let window = range("2017-01-03", "2017-01-06");
    let bars = good_bars(&["AAA"], window);
    kit.commit("alpaca", &["AAA"], window, &bars);
    let mut other = bars.clone();
    for (bar, factor) in other.iter_mut().zip([1.0001, 1.04, 100.0]) {
        bar.ohlcv.iter_mut().for_each(|v| *v = v.map(|v| v * factor));
    }
    kit.commit("tiingo", &["AAA"], window, &other);
    let report = scan(&kit, AuditScope::Full, window);
    assert_eq!(report.close_notes, 2, "a cent is no note");
    let codes: Vec<String> = bars.iter().map(|b| code_of(&kit, "AAA", &b.day.to_string())).collect();
    assert_eq!(codes, ["OK", "OK", "SOURCES_DISAGREE"]);
    assert!(raw_rows(&kit).iter().filter(|r| r.key.symbol == "AAA").all(|r| r.key.source_name == "alpaca"));
}

#[test]
fn listings_decide_what_is_expected_and_their_correction_is_audited_again() {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB", "NEW"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), Some("2017-01-17"))]);
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    let window = range("2017-01-01", "2017-02-01");
    let mut bars = good_bars(&["AAA", "BBB"], window);
    bars.extend(good_bars(&["NEW"], range("2017-01-20", "2017-02-01")));
    kit.commit("alpaca", &["AAA", "BBB", "NEW"], window, &bars);
    let report = scan(&kit, AuditScope::Incremental, window);
    assert_eq!(report.unexpected_bars, 11, "bars of a delisted symbol are not asked for");
    assert_eq!(code_of(&kit, "BBB", "2017-01-17"), "");
    assert_eq!(code_of(&kit, "NEW", "2017-01-19"), "BEFORE_FIRST_BAR");
    assert_eq!(report.coverage.fraction(), (20 + 9 + 8) as f64 / (20 + 9 + 20) as f64);
    kit.listings("2018-01-03", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), Some("2017-01-23")), ("NEW", Some("2017-01-20"), None)]);
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    assert_eq!(scan(&kit, AuditScope::Incremental, window).coverage.fraction(), 1.0);
    assert_eq!(code_of(&kit, "BBB", "2017-01-20"), "OK");
    kit.stage(&["AAA"]);
    scan(&kit, AuditScope::Incremental, window);
    assert!(raw_rows(&kit).iter().all(|r| r.key.symbol == "AAA"), "symbols that left the stage leave the ledger");
}

#[test]
fn an_incremental_audit_reads_only_what_is_new_and_equals_a_full_one() {
    let kit = kit();
    let (old, new) = (range("2016-01-01", "2017-03-01"), range("2017-03-01", "2017-03-02"));
    let mut bars = good_bars(&["AAA", "BBB"], old);
    bars.retain(|b| b.day.0 % 11 != 0);
    for year in [range("2016-01-01", "2017-01-01"), range("2017-01-01", "2017-03-01")] {
        let part: Vec<RawBar> = bars.iter().filter(|b| year.contains(b.day)).cloned().collect();
        kit.commit("alpaca", &["AAA", "BBB"], year, &part);
    }
    let first = scan(&kit, AuditScope::Incremental, old);
    assert_eq!(first.segments_read, 2);
    let second = scan(&kit, AuditScope::Incremental, old);
    assert_eq!((second.segments_read, second.changed, second.symbols_judged), (0, 0, 0));
    kit.commit("alpaca", &["AAA", "BBB"], new, &[bar_at("AAA", new.start, 300.0), bar_at("BBB", new.start, 130.0)]);
    let whole = range("2016-01-01", "2017-03-02");
    let third = scan(&kit, AuditScope::Incremental, whole);
    assert_eq!(third.segments_read, 2, "the new one and the one before it, for the move");
    assert!(third.partitions_judged < 40, "{}", third.partitions_judged);
    assert_eq!(code_of(&kit, "AAA", "2017-03-01"), "MOVE_UNEXPLAINED");
    // An old hole is filled: what follows it is judged again.
    let hole = bars.windows(2).find(|w| w[0].symbol == "AAA" && w[1].day.0 - w[0].day.0 == 2).map(|w| w[0].day.plus_days(1)).unwrap();
    kit.commit("alpaca", &["AAA"], DateRange { start: hole, end: hole.plus_days(1) }, &[bar_at("AAA", hole, 20.0)]);
    scan(&kit, AuditScope::Incremental, whole);
    assert_eq!(code_of(&kit, "AAA", &hole.to_string()), "MOVE_UNEXPLAINED");
    let incremental = ledger::all_rows(&kit.db).unwrap();
    assert_eq!(scan(&kit, AuditScope::Full, whole).changed, 0);
    assert_eq!(ledger::all_rows(&kit.db).unwrap(), incremental);
    let export = ledger::export(&kit.root, &kit.db).unwrap();
    let bytes = std::fs::read(kit.place(&DataPath::new(ledger::EXPORT).unwrap())).unwrap();
    assert_eq!(crate::store::sha256_hex(&bytes), export.sha256);
    assert_eq!(ledger::read_export(bytes).unwrap(), incremental);
}

#[test]
fn an_audit_killed_at_any_point_and_repeated_gives_the_same_ledger() {
    use crate::host::{FakeHost, Host};
    let window = range("2017-01-01", "2017-02-01");
    let fill = |host: Host| {
        let kit = Kit::with_host("replay@1", host);
        kit.stage(&["AAA", "BBB"]);
        kit.listings("2018-01-02", &LISTED);
        kit.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA"], window));
        kit
    };
    let work = |root: &DataRoot, db: &Db| -> Result<()> {
        reference::refresh_reference(root, db)?;
        audit_scan(root, db, &Default::default(), AuditScope::Incremental, day("2017-01-31"), window)?;
        crate::curate::curate_incremental(root, db).map(drop)
    };
    let calm = fill(Host::fake(FakeHost::default()));
    work(&calm.root, &calm.db).unwrap();
    let want = ledger::all_rows(&calm.db).unwrap();
    let snapshot = crate::snapshot::pin(&calm.root, window).unwrap();
    // How many points there are is found by a plan that never strikes.
    let count = |k: u64| Host::fake(FakeHost { crash_at: Some((String::new(), k)), ..FakeHost::default() });
    let probe = fill(count(u64::MAX));
    let before = probe.root.host().failpoints_passed();
    work(&probe.root, &probe.db).unwrap();
    for k in before + 1..=probe.root.host().failpoints_passed() {
        let kit = fill(count(k));
        assert!(work(&kit.root, &kit.db).is_err(), "point {k}");
        let host = Host::fake(FakeHost::default());
        let root = DataRoot::open(&host, kit.path()).unwrap();
        let db = Db::open(&root, crate::control::Which::Node).unwrap();
        work(&root, &db).unwrap();
        assert_eq!(ledger::all_rows(&db).unwrap(), want, "point {k}");
        assert_eq!(crate::snapshot::pin(&root, window).unwrap(), snapshot, "point {k}");
    }
}

/// A kit whose host counts every passage through a point at which it writes.
fn counting() -> Kit {
    let kit = Kit::with_host("replay@1", Host::fake(FakeHost { crash_at: Some((String::new(), u64::MAX)), ..FakeHost::default() }));
    kit.stage(&["AAA", "BBB"]);
    kit.listings("2018-01-02", &LISTED);
    kit
}

#[test]
fn an_audit_of_what_did_not_change_reads_no_segment_and_writes_nothing() {
    let (kit, window) = (counting(), range("2016-01-04", "2017-02-01"));
    kit.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA", "BBB"], window));
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    let first = scan(&kit, AuditScope::Incremental, window);
    ledger::export(&kit.root, &kit.db).unwrap();
    let writes = kit.root.host().failpoints_passed();
    for depth in [AuditScope::Incremental, AuditScope::Full] {
        let again = scan(&kit, depth, window);
        let read = if depth == AuditScope::Full { first.segments_read } else { 0 };
        assert_eq!((again.segments_read, again.changed), (read, 0), "{depth:?}");
        assert_eq!((&again.coverage, &again.gaps), (&first.coverage, &first.gaps));
        ledger::export(&kit.root, &kit.db).unwrap();
        assert_eq!(kit.root.host().failpoints_passed(), writes, "no file and no transaction: {depth:?}");
    }
    assert!(ledger::digests::changed(&kit.db).unwrap().is_empty());
}

#[test]
fn what_a_new_session_costs_does_not_depend_on_the_years_before_it() {
    let cost = |from: &str| {
        let (kit, window, next) = (counting(), range(from, "2017-02-01"), range("2017-02-01", "2017-02-02"));
        kit.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA", "BBB"], window));
        reference::refresh_reference(&kit.root, &kit.db).unwrap();
        scan(&kit, AuditScope::Incremental, window);
        let writes = kit.root.host().failpoints_passed();
        kit.commit("alpaca", &["AAA", "BBB"], next, &good_bars(&["AAA", "BBB"], next));
        let report = scan(&kit, AuditScope::Incremental, DateRange { end: next.end, ..window });
        (report.partitions_judged, report.changed, report.segments_read, kit.root.host().failpoints_passed() - writes)
    };
    let (short, long) = (cost("2017-01-03"), cost("2012-01-03"));
    assert_eq!(short, long);
    assert!(short.0 < 50, "{short:?}");
}

#[test]
fn lesson_028_a_damaged_revision_leaves_nothing_green_of_what_it_revised() {
    let (kit, window) = (kit(), range("2017-01-03", "2017-01-06"));
    let bars = good_bars(&["AAA"], window);
    let older = kit.commit("alpaca", &["AAA"], window, &bars);
    let revised: Vec<RawBar> = bars.iter().map(|b| bar_at("AAA", b.day, 111.0)).collect();
    let newer = kit.commit("alpaca", &["AAA"], window, &revised);
    let codes = |depth| {
        scan(&kit, depth, window);
        raw_rows(&kit).into_iter().filter(|r| r.key.symbol == "AAA").map(|r| r.verdict.qc_code).collect::<Vec<_>>()
    };
    assert_eq!(codes(AuditScope::Incremental), ["OK"; 3]);
    let flip = |path: &DataPath| {
        let mut bytes = std::fs::read(kit.place(path)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(kit.place(path), bytes).unwrap();
    };
    flip(&newer.segments[0].path);
    assert_eq!(codes(AuditScope::Full), ["CHECKSUM_MISMATCH"; 3]);
    flip(&newer.segments[0].path);
    assert_eq!(codes(AuditScope::Full), ["OK"; 3]);
    // What was revised, and what was cut off, may be damaged: it serves nobody.
    let cut = kit.commit_as("alpaca", &["AAA"], window, &[bar_at("AAA", day("2017-01-03"), 90.0)], false);
    flip(&older.segments[0].path);
    flip(&cut.segments[0].path);
    assert_eq!(codes(AuditScope::Full), ["OK"; 3]);
    // A file that is gone is seen without reading the others.
    std::fs::remove_file(kit.place(&newer.segments[0].path)).unwrap();
    flip(&older.segments[0].path);
    assert_eq!(codes(AuditScope::Incremental), ["MISSING"; 3]);
}

#[test]
fn a_full_audit_makes_a_row_right_that_somebody_changed() {
    let (kit, window) = (counting(), range("2017-01-03", "2017-02-01"));
    kit.commit("alpaca", &["AAA", "BBB"], window, &good_bars(&["AAA", "BBB"], window));
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    scan(&kit, AuditScope::Incremental, window);
    let right = raw_rows(&kit);
    kit.db.lock().unwrap().execute("UPDATE partition_status SET status = 'RED', row_count = 0 WHERE symbol = 'BBB' AND dt = '2017-01-05'", []).unwrap();
    assert_eq!(ledger::digests::changed(&kit.db).unwrap().len(), 1, "fsck tells");
    assert_eq!(scan(&kit, AuditScope::Full, window).changed, 1);
    assert_eq!((raw_rows(&kit), ledger::digests::changed(&kit.db).unwrap()), (right, Vec::new()));
    let writes = kit.root.host().failpoints_passed();
    assert_eq!(scan(&kit, AuditScope::Full, window).changed, 0);
    assert_eq!(kit.root.host().failpoints_passed(), writes);
}
