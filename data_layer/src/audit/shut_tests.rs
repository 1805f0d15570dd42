use super::*;
use crate::audit::{AuditReport, AuditScope, audit_scan};
use crate::ledger::{Row, Status};
use crate::reference::refresh_reference;
use crate::sourcing::Vendor;
use crate::sourcing::entitlement::LiveStatus;
use crate::testkit::{Kit, day, good_bars, good_minutes, range};

#[test]
fn a_day_is_shut_where_every_lane_that_reaches_it_is_refused() {
    let of = |lanes: &[(Option<&str>, bool)]| Shut::of(&lanes.iter().map(|(from, refused)| (from.map(day), *refused)).collect::<Vec<_>>());
    let days = ["2000-01-03", "2016-01-04", "2024-06-03", "2026-11-20"].map(day);
    for (lanes, want) in [
        (&[][..], [false; 4]),
        (&[(None, true)][..], [true; 4]),
        (&[(None, false)][..], [false; 4]),
        // What no lane reaches is not refused by anybody: there is just nobody.
        (&[(Some("2016-01-01"), true)][..], [false, true, true, true]),
        // Somebody reaches the last two years, and somebody everything.
        (&[(Some("2016-01-01"), true), (Some("2024-06-01"), false)][..], [false, true, false, false]),
        (&[(Some("2016-01-01"), true), (Some("1962-01-01"), false)][..], [false; 4]),
        (&[(Some("2016-01-01"), false), (Some("1962-01-01"), true)][..], [true, false, false, false]),
        (&[(Some("2016-01-01"), true), (Some("1962-01-01"), true)][..], [true; 4]),
    ] {
        let shut = of(lanes);
        assert_eq!(days.map(|d| shut.contains(d)), want, "{lanes:?}");
    }
    let joined = of(&[(Some("2016-01-01"), true), (Some("1962-01-01"), true)]);
    assert_eq!(joined.0.len(), 1, "days that follow each other are one window: {joined:?}");
    assert_eq!(Shut::default().digest().unwrap(), OPEN);
}

fn window() -> DateRange {
    range("2017-11-13", "2017-12-02")
}

/// Day bars of the first week, and minutes of it; the rest was never had.
fn kit() -> Kit {
    let kit = Kit::new();
    kit.stage_with_minutes(&["AAA", "BBB"], "2017-12-01", 1);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None), ("BBB", Some("2010-01-04"), None)]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    let week = range("2017-11-13", "2017-11-18");
    kit.commit("alpaca", &["AAA", "BBB"], week, &good_bars(&["AAA", "BBB"], week));
    let minutes: Vec<_> = crate::calendar::Calendar::xnys().sessions(week).iter().flat_map(|d| good_minutes("AAA", *d)).collect();
    kit.commit_minutes("alpaca", &["AAA"], week, &minutes);
    kit
}

fn found(kit: &Kit, vendor: Vendor, name: &str, live: LiveStatus) {
    let endpoints = Endpoints::built_in().unwrap();
    let entry = endpoints.entry(vendor, name).unwrap();
    kit.db.write(|tx| entitlement::record(tx, entry, live, "your plan does not include this", kit.root.host().now())).unwrap();
}

fn scan(kit: &Kit, depth: AuditScope) -> AuditReport {
    audit_scan(&kit.root, &kit.db, &Default::default(), depth, day("2017-12-01"), window()).unwrap()
}

/// How often each code stands in the ledger for bars of `tf`.
fn codes(kit: &Kit, tf: &str) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    let bars = |r: &Row| r.key.table_name == table::RAW_EQUITIES_BARS && r.key.partition_key == tf;
    for row in ledger::all_rows(&kit.db).unwrap().into_iter().filter(bars) {
        assert!(row.verdict.qc_code != "NOT_ENTITLED" || row.verdict.status == Status::Red);
        *out.entry(row.verdict.qc_code).or_default() += 1;
    }
    out
}

fn counted<const N: usize>(codes: [(&str, usize); N]) -> BTreeMap<String, usize> {
    codes.into_iter().map(|(code, n)| (code.to_string(), n)).collect()
}

#[test]
fn missing_bars_that_no_plan_includes_are_not_entitled_until_a_lane_opens() {
    let kit = kit();
    let missing = counted([("OK", 10), ("MISSING", 18)]);
    let refused = counted([("OK", 10), ("NOT_ENTITLED", 18)]);
    scan(&kit, AuditScope::Incremental);
    assert_eq!(codes(&kit, timeframe::DAY), missing);
    use LiveStatus::{EntitlementBlocked, LiveVerified};
    for (vendor, live, want) in [
        (Vendor::Alpaca, EntitlementBlocked, &refused),
        // A second vendor is found to serve, loses the lane too, and gets it back.
        (Vendor::Tiingo, LiveVerified, &missing),
        (Vendor::Tiingo, EntitlementBlocked, &refused),
        (Vendor::Tiingo, LiveVerified, &missing),
        (Vendor::Tiingo, EntitlementBlocked, &refused),
        (Vendor::Alpaca, LiveVerified, &missing),
    ] {
        found(&kit, vendor, dataset::EQUITIES_EOD, live);
        let report = scan(&kit, AuditScope::Incremental);
        assert_eq!(&codes(&kit, timeframe::DAY), want, "{vendor} {live:?}");
        assert_eq!((report.changed, report.partitions_judged), (18, 18), "what is held is not judged again");
        assert!(report.gaps.iter().any(|g| g.dataset == dataset::EQUITIES_EOD), "it is worth asking for whenever somebody may be asked");
        assert_eq!(scan(&kit, AuditScope::Incremental).partitions_judged, 0, "and once is enough");
        assert_eq!(scan(&kit, AuditScope::Full).changed, 0, "reading everything says the same");
    }
}

#[test]
fn an_answer_is_an_answer_whatever_the_plan_says_later_and_minutes_have_lanes_of_their_own() {
    let kit = kit();
    kit.commit("alpaca", &["BBB"], range("2017-11-20", "2017-11-22"), &[]);
    found(&kit, Vendor::Alpaca, dataset::EQUITIES_EOD, LiveStatus::EntitlementBlocked);
    scan(&kit, AuditScope::Incremental);
    assert_eq!(codes(&kit, timeframe::DAY), counted([("OK", 10), ("SUSPICIOUS_EMPTY", 2), ("NOT_ENTITLED", 16)]));
    assert_eq!(codes(&kit, timeframe::MINUTE), counted([("OK", 5), ("MISSING", 23)]), "another lane");
    found(&kit, Vendor::Alpaca, dataset::EQUITIES_MINUTE, LiveStatus::EntitlementBlocked);
    assert_eq!(scan(&kit, AuditScope::Incremental).changed, 23);
    assert_eq!(codes(&kit, timeframe::MINUTE), counted([("OK", 5), ("NOT_ENTITLED", 23)]));
    found(&kit, Vendor::Alpaca, dataset::EQUITIES_MINUTE, LiveStatus::LiveVerified);
    assert_eq!(scan(&kit, AuditScope::Incremental).changed, 23);
    assert_eq!(codes(&kit, timeframe::MINUTE), counted([("OK", 5), ("MISSING", 23)]));
}
