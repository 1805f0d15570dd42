use super::*;
use crate::audit::{AuditScope, audit_scan};
use crate::frame;
use crate::ledger::{self, Status};
use crate::reference::refresh_reference;
use crate::testkit::{Kit, RawBar, bar_at, day, good_bars, good_minutes, range};

fn window() -> DateRange {
    range("2016-11-01", "2017-03-01")
}

/// A drive with two flat symbols, AAA at 100 and BBB at 50.
fn flat() -> (Kit, Vec<RawBar>) {
    let kit = Kit::new();
    kit.stage(&["AAA", "BBB"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), None)]);
    let sessions = crate::calendar::Calendar::xnys().sessions(window());
    let bars: Vec<RawBar> = [("AAA", 100.0), ("BBB", 50.0)].iter().flat_map(|(s, p)| sessions.iter().map(move |d| bar_at(s, *d, *p))).collect();
    (kit, bars)
}

fn work(kit: &Kit) -> CurateReport {
    let refreshed = refresh_reference(&kit.root, &kit.db).unwrap();
    audit_scan(&kit.root, &kit.db, &refreshed, AuditScope::Incremental, day("2017-02-28"), window()).unwrap();
    curate_incremental(&kit.root, &kit.db).unwrap()
}

fn column(kit: &Kit, symbol: &str, year: i16, name: &str) -> Vec<f64> {
    let rows = store::read_parquet(&kit.root, &path_of(symbol, year).unwrap()).unwrap();
    frame::floats(&rows, name).unwrap().into_iter().map(|v| v.unwrap_or(f64::NAN)).collect()
}

pub(super) fn digests(kit: &Kit) -> BTreeMap<String, String> {
    let files = store::list(&kit.root, &DataPath::new(table::CURATED_EQUITIES).unwrap()).unwrap();
    files.into_iter().map(|p| (p.to_string(), store::sha256_hex(&std::fs::read(kit.place(&p)).unwrap()))).collect()
}

/// From its ex-date on AAA trades at a quarter: a 4:1 split.
fn quartered(bars: &[RawBar], from: &str) -> Vec<RawBar> {
    let price = |b: &RawBar| if b.symbol == "AAA" && b.day >= day(from) { 25.0 } else { b.ohlcv[3].unwrap() };
    bars.iter().map(|b| bar_at(&b.symbol, b.day, price(b))).collect()
}

#[test]
fn without_actions_the_adjusted_series_is_the_raw_one() {
    let (kit, bars) = flat();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    let report = work(&kit);
    assert_eq!((report.rewritten, report.unchanged), (4, 0));
    let rows = store::read_parquet(&kit.root, &path_of("AAA", 2017).unwrap()).unwrap();
    let names: Vec<String> = rows.get_column_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, crate::schema::columns::CURATED_EQUITIES);
    assert!(column(&kit, "AAA", 2017, "close").iter().all(|c| *c == 100.0));
    assert!(column(&kit, "AAA", 2017, "price_factor").iter().all(|c| *c == 1.0));
    assert!(column(&kit, "AAA", 2017, "div_cash").iter().all(|c| c.to_bits() == 0));
    let again = work(&kit);
    assert_eq!((again.rewritten, again.unchanged, again.changed), (0, 4, 0));
    let rows = ledger::all_rows(&kit.db).unwrap();
    let curated = rows.iter().filter(|r| r.key.table_name == table::CURATED_EQUITIES && r.key.source_name == "curator");
    assert_eq!(curated.filter(|r| r.verdict.status == Status::Green).count(), bars.len());
}

#[test]
fn lesson_042_a_late_split_changes_all_earlier_days_of_its_symbol_and_nothing_else() {
    let (kit, bars) = flat();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &quartered(&bars, "2017-02-01"));
    work(&kit);
    let before = digests(&kit);
    kit.actions(&["AAA", "BBB"], window(), &[("AAA", "split", "2017-02-01", Some(4.0), None)]);
    let report = work(&kit);
    assert_eq!((report.rewritten, report.unchanged), (2, 2));
    let after = digests(&kit);
    for (path, digest) in &before {
        assert_eq!(after[path] == *digest, path.contains("sym=BBB"), "{path}");
    }
    assert!(column(&kit, "AAA", 2016, "close").iter().all(|c| *c == 25.0));
    let split = column(&kit, "AAA", 2017, "split_factor");
    assert_eq!((split[0], *split.last().unwrap()), (4.0, 1.0));
    let (raw, volume) = (column(&kit, "AAA", 2017, "close_raw"), column(&kit, "AAA", 2017, "volume"));
    assert_eq!((raw[0], *raw.last().unwrap()), (100.0, 25.0));
    assert_eq!(volume[0], 4.0 * (1_000.0 + f64::from(day("2017-01-03").0)));
}

#[test]
fn lesson_044_a_split_is_not_a_loss() {
    let (kit, bars) = flat();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &quartered(&bars, "2017-02-01"));
    kit.actions(&["AAA"], window(), &[("AAA", "split", "2017-02-01", Some(4.0), None)]);
    work(&kit);
    let close = column(&kit, "AAA", 2017, "close");
    assert!(close.windows(2).all(|w| (w[1] / w[0] - 1.0).abs() < 1e-12));
    let rows = ledger::all_rows(&kit.db).unwrap();
    assert!(rows.iter().filter(|r| r.key.symbol == "AAA").all(|r| r.verdict.status == Status::Green), "the move is explained");
}

#[test]
fn lesson_041_forward_and_reverse_splits_and_dividends_have_their_known_factors() {
    let (kit, bars) = flat();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    let events = [
        ("AAA", "reverse_split", "2016-12-01", Some(0.02), None),
        ("AAA", "cash_dividend", "2017-01-10", None, Some(2.0)),
        ("BBB", "forward_split", "2017-02-01", Some(10.0), None),
    ];
    kit.actions(&["AAA", "BBB"], window(), &events);
    work(&kit);
    let (old, new) = (column(&kit, "AAA", 2016, "price_factor"), column(&kit, "AAA", 2017, "price_factor"));
    let close_to = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-12, "{a} is not {b}");
    close_to(old[0], 50.0 * 0.98);
    close_to(*old.last().unwrap(), 0.98);
    assert_eq!(*new.last().unwrap(), 1.0);
    close_to(column(&kit, "AAA", 2016, "split_factor")[0], 0.02);
    let paid = column(&kit, "AAA", 2017, "div_cash");
    assert_eq!(paid.iter().filter(|c| **c == 2.0).count(), 1);
    assert_eq!(paid.iter().sum::<f64>(), 2.0);
    close_to(column(&kit, "BBB", 2016, "price_factor")[0], 0.1);
}

#[test]
fn a_dividend_above_the_price_is_reported_and_not_applied() {
    let (kit, bars) = flat();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    kit.actions(&["AAA"], window(), &[("AAA", "cash_dividend", "2017-01-10", None, Some(100.0))]);
    let report = work(&kit);
    assert_eq!(report.unapplied.len(), 1);
    assert!(column(&kit, "AAA", 2016, "price_factor").iter().all(|f| *f == 1.0));
}

#[test]
fn amber_bars_are_curated_and_red_ones_are_not() {
    let (kit, mut bars) = flat();
    let (null, bad) = (bars[50].day, bars[60].day);
    bars[50].ohlcv[0] = None;
    bars[60].ohlcv[1] = Some(1.0);
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    work(&kit);
    let rows = store::read_parquet(&kit.root, &path_of("AAA", 2017).unwrap()).unwrap();
    let days = frame::days(&rows, "date").unwrap();
    assert!(days.contains(&Some(null)) && !days.contains(&Some(bad)));
    let verdict = |d| ledger::rows_of(&kit.db, "curator", table::CURATED_EQUITIES, "AAA", "1d", d, d.plus_days(1)).unwrap()[0].verdict.qc_code.clone();
    assert_eq!((verdict(null).as_str(), verdict(bad).as_str()), ("NULL_CELLS", "OHLC"));
}

#[test]
fn a_damaged_raw_segment_turns_the_curated_year_red_and_its_repair_green() {
    let (kit, bars) = flat();
    let manifest = kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    let place = kit.place(&manifest.segments[1].path);
    let good = std::fs::read(&place).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&place, &bad).unwrap();
    let report = work(&kit);
    assert_eq!(report.skipped.len(), 2);
    let coverage = || ledger::coverage(&kit.db, table::CURATED_EQUITIES, "", range("2017-01-01", "2017-03-01")).unwrap();
    assert_eq!(coverage().green, 0);
    std::fs::write(&place, &good).unwrap();
    audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Full, day("2017-02-28"), window()).unwrap();
    assert!(curate_incremental(&kit.root, &kit.db).unwrap().skipped.is_empty());
    assert_eq!(coverage().fraction(), 1.0);
}

#[test]
fn lesson_110_the_same_raw_data_gives_the_same_bytes_on_another_machine() {
    let fill = |kit: &Kit, symbols: &[&str]| {
        kit.stage(&["AAA", "BBB"]);
        for s in symbols {
            kit.commit("alpaca", &[s], window(), &good_bars(&[s], window()));
        }
        kit.actions(&["AAA", "BBB"], window(), &[("AAA", "cash_dividend", "2017-01-10", None, Some(0.37))]);
        work(kit);
    };
    let first = Kit::new();
    fill(&first, &["AAA", "BBB"]);
    let other = crate::host::Host::fake(crate::host::FakeHost { machine_id: "00000000000000bb".into(), boot_id: "boot-9".into(), ..Default::default() });
    let second = Kit::with_host("replay@1", other);
    fill(&second, &["AAA", "BBB"]);
    assert_eq!(digests(&first), digests(&second));
}

#[test]
fn outputs_whose_inputs_vanished_are_removed_and_a_damaged_output_is_made_again() {
    let (kit, bars) = flat();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    work(&kit);
    let want = digests(&kit);
    let stray = DataPath::new("curated/equities_ohlcv_adj/sym=OLD/dt=2010/part-0.parquet").unwrap();
    store::write_atomic(&kit.root, &stray, b"of another time").unwrap();
    let place = kit.place(&path_of("AAA", 2016).unwrap());
    let mut bytes = std::fs::read(&place).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&place, bytes).unwrap();
    let report = curate(&kit.root, &kit.db, Depth::Full).unwrap();
    assert_eq!((report.removed, report.rewritten), (1, 1));
    assert_eq!(digests(&kit), want);
    std::fs::remove_file(kit.place(&DataPath::new(deps::PATH).unwrap())).unwrap();
    assert_eq!(curate_incremental(&kit.root, &kit.db).unwrap().rewritten, 0, "without the record everything is made again, to the same bytes");
}

#[test]
fn lesson_032_no_absolute_path_is_recorded_anywhere() {
    let (kit, bars) = flat();
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    work(&kit);
    ledger::export(&kit.root, &kit.db).unwrap();
    crate::snapshot::pin(&kit.root, window()).unwrap();
    crate::export::nightly(&kit.root, &kit.db, day("2017-03-01")).unwrap();
    let needle = kit.path().to_string_lossy().into_owned();
    let mut folders = vec![kit.path().to_path_buf()];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(needle.len()).any(|w| w == needle.as_bytes()), "{}", path.display());
            }
        }
    }
}

#[test]
fn lesson_049_no_column_holds_a_vendors_own_adjustment() {
    let columns = crate::schema::columns::RAW_BARS.iter().chain(crate::schema::columns::CURATED_EQUITIES);
    assert!(columns.into_iter().all(|c| !c.starts_with("adj")));
}

/// Real events with the raw closes around them (round numbers for the reverse split), and what a holder earned.
#[test]
fn known_events_make_the_round_trip() {
    // (symbol, kind, ratio, cash, ex-date, session before, its raw close, raw close of the ex-date)
    type Known = (&'static str, &'static str, Option<f64>, Option<f64>, &'static str, &'static str, f64, f64);
    let events: [Known; 6] = [
        ("AAPL", "forward_split", Some(4.0), None, "2020-08-31", "2020-08-28", 499.23, 129.04),
        ("AAPL", "forward_split", Some(7.0), None, "2014-06-09", "2014-06-06", 645.57, 93.70),
        ("NVDA", "forward_split", Some(10.0), None, "2024-06-10", "2024-06-07", 1_208.88, 121.79),
        ("GOOGL", "forward_split", Some(20.0), None, "2022-07-18", "2022-07-15", 2_235.55, 109.03),
        ("MNTS", "reverse_split", Some(0.02), None, "2023-08-24", "2023-08-23", 0.10, 5.00),
        ("AAPL", "cash_dividend", None, Some(0.24), "2024-02-09", "2024-02-08", 188.32, 188.85),
    ];
    for (symbol, kind, ratio, cash, ex, before, raw_before, raw_after) in events {
        let kit = Kit::with_host(
            "replay@1",
            crate::host::Host::fake(crate::host::FakeHost { now: crate::time::UtcTime::parse("2025-01-02T12:00:00Z").unwrap(), ..Default::default() }),
        );
        kit.stage(&[symbol]);
        kit.listings("2024-12-31", &[(symbol, Some("2004-08-19"), None)]);
        let window = DateRange { start: day(before), end: day(ex).plus_days(1) };
        kit.commit("alpaca", &[symbol], window, &[bar_at(symbol, day(before), raw_before), bar_at(symbol, day(ex), raw_after)]);
        kit.actions(&[symbol], window, &[(symbol, kind, ex, ratio, cash)]);
        refresh_reference(&kit.root, &kit.db).unwrap();
        audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Incremental, day(ex), window).unwrap();
        curate_incremental(&kit.root, &kit.db).unwrap();
        let year = day(ex).year();
        let (close, raw) = (column(&kit, symbol, year, "close"), column(&kit, symbol, year, "close_raw"));
        assert_eq!(raw, [raw_before, raw_after], "{symbol} {ex}: the tape is kept");
        assert_eq!(close[1], raw_after, "{symbol} {ex}: later days are never restated");
        let earned = (raw_after * ratio.unwrap_or(1.0) + cash.unwrap_or(0.0)) / raw_before - 1.0;
        let adjusted = close[1] / close[0] - 1.0;
        assert!((adjusted - earned).abs() < 2e-5 && adjusted.abs() < 0.06, "{symbol} {ex}: {adjusted} for {earned}");
        // And back: the factors undo what they did.
        let factor = column(&kit, symbol, year, "price_factor");
        assert!((close[0] / factor[0] - raw_before).abs() < 1e-9, "{symbol} {ex}");
    }
}

/// Minutes of a drive whose day bars are flat, one segment a week; AAA trades at `price` of the day.
pub(super) fn minutes_of(kit: &Kit, week: DateRange, price: impl Fn(TradingDay) -> f64) {
    let one = |d: &TradingDay| {
        let (scale, minutes) = (price(*d), good_minutes("AAA", *d));
        let base = minutes[0].bar.ohlcv[3].unwrap_or(1.0);
        minutes.into_iter().map(move |mut m| {
            m.bar.ohlcv[..4].iter_mut().for_each(|p| *p = p.map(|p| p / base * scale));
            m
        })
    };
    let bars: Vec<_> = crate::calendar::Calendar::xnys().sessions(week).iter().flat_map(one).collect();
    kit.commit_minutes("alpaca", &["AAA"], week, &bars);
}

pub(super) fn minute_digests(kit: &Kit) -> BTreeMap<String, String> {
    let files = store::list(&kit.root, &DataPath::new(table::CURATED_MINUTES).unwrap()).unwrap();
    files.into_iter().map(|p| (p.to_string(), store::sha256_hex(&std::fs::read(kit.place(&p)).unwrap()))).collect()
}

fn first_and_last(kit: &Kit, month: &str, name: &str) -> (f64, f64) {
    let rows = store::read_parquet(&kit.root, &minutes_path_of("AAA", day(month)).unwrap()).unwrap();
    let values = frame::floats(&rows, name).unwrap();
    (values[0].unwrap(), values[values.len() - 1].unwrap())
}

#[test]
fn minutes_take_the_factors_of_their_session_and_a_late_split_restates_the_months_before_it_and_no_other() {
    let (kit, bars) = flat();
    kit.stage_with_minutes(&["AAA", "BBB"], "2017-02-28", 1);
    let bars = quartered(&bars, "2017-01-17");
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    let price = |d: TradingDay| if d >= day("2017-01-17") { 25.0 } else { 100.0 };
    for week in [range("2016-12-05", "2016-12-10"), range("2017-01-09", "2017-01-14"), range("2017-01-17", "2017-01-21"), range("2017-02-06", "2017-02-11")] {
        minutes_of(&kit, week, price);
    }
    work(&kit);
    let before = minute_digests(&kit);
    assert_eq!(before.len(), 3, "a file a month: {before:?}");
    let rows = store::read_parquet(&kit.root, &minutes_path_of("AAA", day("2017-01-01")).unwrap()).unwrap();
    let names: Vec<String> = rows.get_column_names().iter().map(ToString::to_string).collect();
    assert_eq!((names, rows.height()), (crate::schema::columns::CURATED_MINUTES.iter().map(ToString::to_string).collect(), 9 * 390));
    assert_eq!(first_and_last(&kit, "2016-12-01", "price_factor"), (1.0, 1.0));
    // Nothing changed: nothing is read, nothing is written.
    let again = work(&kit);
    assert_eq!((again.rewritten, again.changed), (0, 0));
    // The split becomes known a month late.
    kit.actions(&["AAA"], window(), &[("AAA", "split", "2017-01-17", Some(4.0), None)]);
    let late = work(&kit);
    let after = minute_digests(&kit);
    assert_ne!(after["curated/equities_minute_adj/sym=AAA/dt=2016-12/part-0.parquet"], before["curated/equities_minute_adj/sym=AAA/dt=2016-12/part-0.parquet"]);
    assert_ne!(after["curated/equities_minute_adj/sym=AAA/dt=2017-01/part-0.parquet"], before["curated/equities_minute_adj/sym=AAA/dt=2017-01/part-0.parquet"]);
    assert_eq!(after["curated/equities_minute_adj/sym=AAA/dt=2017-02/part-0.parquet"], before["curated/equities_minute_adj/sym=AAA/dt=2017-02/part-0.parquet"]);
    assert_eq!(late.minutes_skipped, []);
    assert_eq!(first_and_last(&kit, "2017-01-01", "price_factor"), (0.25, 1.0));
    assert_eq!(first_and_last(&kit, "2017-01-01", "split_factor"), (4.0, 1.0));
    let (first, last) = first_and_last(&kit, "2017-01-01", "close");
    assert!((first - 25.0).abs() < 0.1 && (last - 25.0).abs() < 0.1, "{first} {last}: the split is no move");
    // Read back as they traded.
    for (on, price) in [("2017-01-09", 100.0), ("2017-01-17", 25.0)] {
        let raw = crate::curate::raw_minutes(&kit.root, "AAA", day(on)).unwrap();
        assert_eq!((raw.len(), raw[0].start), (390, crate::calendar::Calendar::xnys().open(day(on))));
        assert!((raw[0].ohlc[0] - price).abs() < 0.1, "{on}: {:?}", raw[0]);
    }
    assert_eq!(crate::curate::raw_minutes(&kit.root, "AAA", day("2017-01-20")).unwrap().len(), 390);
    for (symbol, on) in [("AAA", "2017-01-23"), ("AAA", "2018-01-09"), ("NIX", "2017-01-09")] {
        assert_eq!(crate::curate::raw_minutes(&kit.root, symbol, day(on)).unwrap(), []);
    }
    // The day's own factor and the minutes' are one.
    assert_eq!(column(&kit, "AAA", 2017, "price_factor")[0], 0.25);
    // From nothing, the same bytes.
    for part in [table::CURATED_EQUITIES, table::CURATED_MINUTES, "qc/curated_deps.json"] {
        let place = kit.path().join(part);
        if place.is_dir() { std::fs::remove_dir_all(place).unwrap() } else { std::fs::remove_file(place).unwrap() }
    }
    work(&kit);
    assert_eq!(minute_digests(&kit), after);
}

#[test]
fn a_curation_of_minutes_costs_the_months_that_changed_and_leaves_out_what_is_not_sound() {
    let (kit, bars) = flat();
    kit.stage_with_minutes(&["AAA", "BBB"], "2017-02-28", 1);
    kit.commit("alpaca", &["AAA", "BBB"], window(), &bars);
    for week in [range("2016-11-07", "2016-11-12"), range("2016-12-05", "2016-12-10"), range("2017-01-09", "2017-01-14")] {
        minutes_of(&kit, week, |_| 100.0);
    }
    work(&kit);
    let before = minute_digests(&kit);
    // A new session touches its month alone, however many months there are.
    minutes_of(&kit, range("2017-01-17", "2017-01-18"), |_| 100.0);
    let report = work(&kit);
    assert_eq!((report.rewritten, minute_digests(&kit).iter().filter(|(p, d)| before.get(*p) != Some(*d)).count()), (1, 1));
    // A session with a price of zero is RED and left out of the file.
    minutes_of(&kit, range("2017-01-18", "2017-01-19"), |_| 0.0);
    work(&kit);
    let rows = store::read_parquet(&kit.root, &minutes_path_of("AAA", day("2017-01-01")).unwrap()).unwrap();
    assert_eq!(rows.height(), 6 * 390);
    let red = ledger::all_rows(&kit.db).unwrap().into_iter().find(|r| r.key.table_name == table::CURATED_MINUTES && r.key.dt == day("2017-01-18")).unwrap();
    assert_eq!((red.verdict.status, red.verdict.qc_code.as_str()), (Status::Red, "OHLC"));
    // Damage to a raw segment: the month is not made, and its partitions are not GREEN.
    let manifest = kit.commit_minutes("alpaca", &["AAA"], range("2017-02-06", "2017-02-07"), &good_minutes("AAA", day("2017-02-06")));
    std::fs::write(kit.place(&manifest.segments[0].path), b"PAR1").unwrap();
    let hurt = work(&kit);
    assert_eq!(hurt.minutes_skipped, [("AAA".to_string(), range("2017-02-01", "2017-03-01"))]);
    let of = |on: &str| ledger::all_rows(&kit.db).unwrap().into_iter().find(|r| r.key.table_name == table::CURATED_MINUTES && r.key.dt == day(on)).unwrap();
    assert_eq!(of("2017-02-06").verdict.status, Status::Red);
    assert!(!crate::fsck::is_sound(&crate::fsck::run(&kit.root).unwrap()), "fsck reads minutes as well");
}

/// A flat symbol with a dividend a year since `from`, curated up to the end of January 2018; then one more session.
fn one_more_session(from: &str) -> (CurateReport, Kit) {
    let kit = Kit::new();
    kit.stage(&["AAA"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None)]);
    let sessions = |w: DateRange| crate::calendar::Calendar::xnys().sessions(w).iter().map(|d| bar_at("AAA", *d, 100.0)).collect::<Vec<_>>();
    for year in day(from).year()..=2017 {
        let window = DateRange { start: TradingDay::ymd(year, 1, 1).unwrap(), end: TradingDay::ymd(year + 1, 1, 1).unwrap() };
        kit.commit("alpaca", &["AAA"], window, &sessions(window));
        let ex = format!("{year}-06-15");
        kit.actions(&["AAA"], window, &[("AAA", "cash_dividend", &ex, None, Some(1.0))]);
    }
    let (january, next) = (range("2018-01-01", "2018-01-20"), range("2018-01-20", "2018-01-24"));
    kit.commit("alpaca", &["AAA"], january, &sessions(january));
    kit.actions(&["AAA"], january, &[("AAA", "cash_dividend", "2018-01-03", None, Some(2.0))]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    curate_incremental(&kit.root, &kit.db).unwrap();
    kit.commit("alpaca", &["AAA"], next, &sessions(next));
    let report = curate_incremental(&kit.root, &kit.db).unwrap();
    (report, kit)
}

#[test]
fn a_new_session_costs_the_same_after_two_years_and_after_eight_and_gives_the_bytes_of_a_whole_curation() {
    let ((short, _), (long, kit)) = (one_more_session("2016-01-01"), one_more_session("2010-01-01"));
    assert_eq!((short.rewritten, long.rewritten), (1, 1));
    assert_eq!((short.segments_read, long.segments_read), (3, 3), "the year before, and this year's two");
    let (before, steps) = (digests(&kit), Deps::load(&kit.root).unwrap().steps);
    assert_eq!(steps["AAA"].len(), 9);
    std::fs::remove_dir_all(kit.path().join(table::CURATED_EQUITIES)).unwrap();
    std::fs::remove_file(kit.path().join(deps::PATH)).unwrap();
    let whole = curate_incremental(&kit.root, &kit.db).unwrap();
    assert_eq!((whole.rewritten, whole.segments_read), (9, 10));
    assert_eq!((digests(&kit), Deps::load(&kit.root).unwrap().steps), (before, steps));
}

#[test]
fn a_dividend_after_a_silence_of_years_still_finds_the_close_before_it() {
    let kit = Kit::new();
    kit.stage(&["AAA"]);
    let sessions = |w: DateRange| crate::calendar::Calendar::xnys().sessions(w).iter().map(|d| bar_at("AAA", *d, 100.0)).collect::<Vec<_>>();
    for window in [range("2012-03-01", "2012-04-01"), range("2017-01-10", "2017-02-01")] {
        kit.commit("alpaca", &["AAA"], window, &sessions(window));
    }
    kit.actions(&["AAA"], range("2012-01-01", "2018-01-01"), &[("AAA", "cash_dividend", "2017-01-10", None, Some(10.0))]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    curate_incremental(&kit.root, &kit.db).unwrap();
    assert_eq!(column(&kit, "AAA", 2012, "price_factor")[0], 0.9);
    let more = range("2017-02-01", "2017-02-08");
    kit.commit("alpaca", &["AAA"], more, &sessions(more));
    curate_incremental(&kit.root, &kit.db).unwrap();
    assert_eq!(Deps::load(&kit.root).unwrap().steps["AAA"][0].price, 0.9);
}
