use super::*;
use crate::reference::{load_actions, load_companies, refresh_reference};
use crate::schema::dataset;
use crate::sourcing::Vendor;
use crate::testkit::{Kit, day, range};
use crate::vendor::sec_edgar::SecEdgar;
use crate::vendor::{Batch, Company, Connector, Rows};

const APPLE: &str = include_str!("../../../tests/golden/companyfacts/CIK0000320193.facts");

/// A filing's count, stated on its period's end.
fn count(filed: &str, end: &str, shares: f64) -> ShareCount {
    let (cik, concept) = ("0000000001".to_string(), "dei:EntityCommonStockSharesOutstanding".to_string());
    ShareCount { cik, filed: day(filed), period_end: day(end), stated_on: day(end), shares, concept, form: "10-Q".into(), accession: filed.into() }
}

fn on(steps: &[(TradingDay, f64)], at: &str) -> Option<f64> {
    steps.iter().rev().find(|s| s.0 <= day(at)).map(|s| s.1)
}

/// A drive that asked for Apple's shares in a window, with its listing, its ticker and its splits.
fn apple(kit: &Kit, from: &str, to: &str) {
    let window = range(from, to);
    let b = Batch { dataset: dataset::SHARES.into(), symbols: vec!["0000320193".into()], range: window, page_rows: 1, under: Default::default() };
    let request = SecEdgar.plan(&b).unwrap().remove(0);
    let rows = SecEdgar.decode(&b, &request, APPLE.as_bytes()).unwrap().rows;
    kit.commit_rows(Vendor::SecEdgar, dataset::SHARES, &["0000320193"], window, &rows, "2026-02-02T22:00:00Z");
}

fn identified(kit: &Kit) {
    kit.listings("2026-02-02", &[("AAPL", Some("1980-12-12"), None)]);
    let company = Company { cik: "0000320193".into(), symbol: "AAPL".into(), name: "Apple Inc.".into(), asof: day("2026-02-02"), source_uri: "x".into() };
    kit.commit_rows(Vendor::SecEdgar, dataset::COMPANIES, &[], range("2026-02-02", "2026-02-03"), &Rows::Companies(vec![company]), "2026-02-02T22:00:00Z");
    let splits = [("AAPL", "forward_split", "2014-06-09", Some(7.0), None), ("AAPL", "forward_split", "2020-08-31", Some(4.0), None)];
    kit.actions(&["AAPL"], range("2009-01-01", "2026-02-03"), &splits);
}

fn steps_of(kit: &Kit) -> Vec<(TradingDay, f64)> {
    refresh_reference(&kit.root, &kit.db).unwrap();
    let (tenures, counts) = (load_companies(&kit.root).unwrap(), load_shares(&kit.root).unwrap());
    let splits = splits_by_company(&tenures, &load_actions(&kit.root).unwrap());
    of_symbol("AAPL", (day("2009-01-02"), None), &tenures, &counts, &splits)
}

#[test]
fn apples_shares_are_those_of_the_newest_filing_in_the_shares_of_the_day() {
    let kit = Kit::new();
    identified(&kit);
    apple(&kit, "2009-01-01", "2026-02-03");
    let steps = steps_of(&kit);
    assert_eq!(on(&steps, "2009-07-22"), None, "filed that day: usable from the next session");
    assert_eq!(on(&steps, "2009-07-23"), Some(895_816_758.0));
    // 7:1 on 2014-06-09, between the April and the July filing.
    assert_eq!((on(&steps, "2014-06-06"), on(&steps, "2014-06-09")), (Some(861_381_000.0), Some(6_029_667_000.0)));
    assert_eq!((on(&steps, "2014-07-23"), on(&steps, "2014-07-24")), (Some(6_029_667_000.0), Some(5_987_867_000.0)));
    // 4:1 on 2020-08-31: the cover page of July knows nothing of it.
    assert_eq!((on(&steps, "2020-08-28"), on(&steps, "2020-08-31")), (Some(4_275_634_000.0), Some(17_102_536_000.0)));
    assert_eq!(on(&steps, "2020-11-02"), Some(17_001_802_000.0));
    let jumps = steps.windows(2).filter(|w| !(0.9..1.1).contains(&(w[1].1 / w[0].1))).count();
    assert_eq!(jumps, 2, "only the two splits move the count by more than a tenth");
}

#[test]
fn lesson_047_asking_about_yesterday_never_changes_when_tomorrows_filings_arrive() {
    let (early, late) = (Kit::new(), Kit::new());
    identified(&early);
    identified(&late);
    apple(&early, "2009-01-01", "2014-05-01");
    apple(&late, "2009-01-01", "2014-05-01");
    apple(&late, "2014-05-01", "2026-02-03");
    let (then, now) = (steps_of(&early), steps_of(&late));
    let mut t = day("2009-01-02");
    while t < day("2014-07-24") {
        assert_eq!(on(&then, &t.to_string()), on(&now, &t.to_string()), "{t}");
        t = t.plus_days(1);
    }
    assert_ne!(then.len(), now.len());
}

#[test]
fn an_amendment_replaces_its_period_and_an_old_period_stated_again_does_not_come_back() {
    let counts = [
        count("2017-05-01", "2017-04-20", 100.0),
        count("2017-06-01", "2017-04-20", 104.0),
        count("2017-08-01", "2017-07-20", 110.0),
        count("2017-09-01", "2017-04-20", 103.0),
    ];
    let steps = steps(&counts, &[], day("2017-01-03"), None);
    assert_eq!(steps, [(day("2017-05-02"), 100.0), (day("2017-06-02"), 104.0), (day("2017-08-02"), 110.0)]);
}

#[test]
fn a_balance_sheet_is_restated_for_a_split_before_its_filing_and_a_cover_page_is_not() {
    let splits = [(day("2017-07-25"), 2.0)];
    let cover = count("2017-08-01", "2017-07-20", 100.0);
    let sheet = ShareCount { stated_on: day("2017-08-01"), concept: "us-gaap:CommonStockSharesOutstanding".into(), ..count("2017-08-01", "2017-06-30", 200.0) };
    for one in [cover, sheet] {
        assert_eq!(steps(&[one], &splits, day("2017-01-03"), None), [(day("2017-08-02"), 200.0)]);
    }
}

#[test]
fn a_slip_of_the_unit_is_passed_over_until_another_filing_agrees() {
    let list = |third: f64| [count("2017-02-01", "2017-01-20", 5e7), count("2017-05-01", "2017-04-20", 5e4), count("2017-08-01", "2017-07-20", third)];
    assert_eq!(steps(&list(5.1e7), &[], day("2017-01-03"), None), [(day("2017-02-02"), 5e7), (day("2017-08-02"), 5.1e7)]);
    assert_eq!(steps(&list(5.2e4), &[], day("2017-01-03"), None).last(), Some(&(day("2017-08-02"), 5.2e4)));
    let split = [(day("2017-04-03"), 0.001)];
    assert_eq!(steps(&list(5e4)[..2], &split, day("2017-01-03"), None), [(day("2017-02-02"), 5e7), (day("2017-04-03"), 5e4)], "a reverse split is no slip");
}

#[test]
fn of_a_company_with_two_classes_the_count_is_not_known_while_both_are_listed() {
    let tenure = |symbol: &str, from: &str| Tenure {
        symbol: symbol.into(),
        from: day(from),
        to: None,
        cik: "0000000001".into(),
        name: String::new(),
        first_seen: day("2018-02-01"),
        last_seen: day("2018-03-01"),
        evidence: "listing".into(),
        common: true,
    };
    let tenures = [tenure("GOOG", "2014-04-03"), tenure("GOOGL", "2004-08-19")];
    let counts = BTreeMap::from([("0000000001".to_string(), vec![count("2014-02-03", "2014-01-20", 336.0), count("2014-05-02", "2014-04-20", 675.0)])]);
    let of = |symbol: &str, tenures: &[Tenure]| of_symbol(symbol, (day("2010-01-04"), None), tenures, &counts, &BTreeMap::new());
    let steps = of("GOOGL", &tenures);
    assert_eq!((steps.len(), steps[0], steps[1].0), (2, (day("2014-02-04"), 336.0), day("2014-04-03")));
    assert!(steps[1].1.is_nan() && of("GOOG", &tenures).is_empty());
    let preferred = Tenure { common: false, ..tenures[0].clone() };
    assert_eq!(of("GOOGL", &[preferred, tenures[1].clone()]).last(), Some(&(day("2014-05-05"), 675.0)), "preferred stock is no class of it");
}

#[test]
fn a_ticker_that_changed_hands_has_each_companys_shares_in_its_own_time() {
    let tenure = |cik: &str, from: &str, to: Option<&str>| Tenure {
        symbol: "T".into(),
        from: day(from),
        to: to.map(day),
        cik: cik.into(),
        name: String::new(),
        first_seen: day(from),
        last_seen: day(from),
        evidence: "list".into(),
        common: true,
    };
    let tenures = [tenure("a", "2017-01-03", Some("2017-06-01")), tenure("b", "2017-09-01", None)];
    let counts = BTreeMap::from([
        ("a".to_string(), vec![count("2017-02-01", "2017-01-20", 10.0), count("2017-08-01", "2017-07-20", 11.0)]),
        ("b".to_string(), vec![count("2017-02-01", "2017-01-20", 70.0)]),
    ]);
    let steps = of_symbol("T", (day("2017-01-03"), None), &tenures, &counts, &BTreeMap::new());
    assert_eq!((steps[0], steps[1].0, steps[2]), ((day("2017-02-02"), 10.0), day("2017-06-01"), (day("2017-09-01"), 70.0)));
    assert!(steps[1].1.is_nan() && steps.len() == 3);
}
