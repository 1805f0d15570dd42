use super::*;
use crate::reference::refresh_reference;
use crate::sourcing::Vendor;
use crate::testkit::{Kit, day, range};
use crate::vendor::{Company, Rows};
use proptest::prelude::*;

/// What a list seen on a day says: (ticker, company).
fn seen(kit: &Kit, on: &str, pairs: &[(&str, &str)]) {
    let asof = day(on);
    let row = |(symbol, cik): &(&str, &str)| Company {
        cik: format!("{cik:0>10}"),
        symbol: (*symbol).into(),
        name: format!("Company {cik}"),
        asof,
        source_uri: "sec_edgar:/files/company_tickers.json".into(),
    };
    let rows = Rows::Companies(pairs.iter().map(row).collect());
    let window = range(on, &asof.plus_days(1).to_string());
    kit.commit_rows(Vendor::SecEdgar, "companies", &[], window, &rows, &format!("{on}T22:00:00Z"));
}

fn known(kit: &Kit) -> Vec<Tenure> {
    refresh_reference(&kit.root, &kit.db).unwrap();
    load_companies(&kit.root).unwrap()
}

fn who(tenures: &[Tenure], symbol: &str, on: &str) -> Option<String> {
    holder(tenures, symbol, day(on)).map(|t| t.cik.trim_start_matches('0').to_string())
}

#[test]
fn a_ticker_that_was_used_before_leads_to_nobody_but_its_holder() {
    let kit = Kit::new();
    kit.listings(
        "2018-01-02",
        &[("WM", Some("1990-01-02"), Some("2008-09-26")), ("WM", Some("2009-01-05"), None), ("OLD", None, None), ("NEW", Some("2017-06-01"), None)],
    );
    seen(&kit, "2018-02-01", &[("WM", "823768"), ("OLD", "7"), ("NONE", "8")]);
    seen(&kit, "2018-03-01", &[("WM", "823768"), ("NEW", "9"), ("NONE", "8")]);
    let all = known(&kit);
    assert_eq!((who(&all, "WM", "2008-01-02"), who(&all, "WM", "2009-01-05").as_deref()), (None, Some("823768")), "the bank is another company");
    assert_eq!((who(&all, "OLD", "2018-01-31"), who(&all, "OLD", "2018-02-01").as_deref()), (None, Some("7")), "nobody says since when it is listed");
    assert_eq!(who(&all, "OLD", "2018-03-01"), None, "the newer list no longer holds it");
    assert_eq!((who(&all, "NEW", "2018-02-28"), who(&all, "NEW", "2018-03-01").as_deref()), (None, Some("9")), "a later list speaks from its day on");
    assert_eq!((who(&all, "NONE", "2018-01-31"), who(&all, "NONE", "2018-04-02").as_deref()), (None, Some("8")));
}

#[test]
fn a_ticker_goes_to_another_company_on_the_day_a_list_says_so() {
    let kit = Kit::new();
    seen(&kit, "2018-02-01", &[("T", "1")]);
    seen(&kit, "2018-02-08", &[("T", "2")]);
    seen(&kit, "2018-02-15", &[("T", "2")]);
    let all = known(&kit);
    let told: Vec<Option<String>> = ["2018-02-01", "2018-02-07", "2018-02-08", "2018-03-01"].iter().map(|d| who(&all, "T", d)).collect();
    assert_eq!(told, [Some("1".into()), Some("1".into()), Some("2".into()), Some("2".into())]);
}

#[test]
fn a_change_of_ticker_is_the_same_company_under_both_names() {
    let change = |date: &str, old: &str, new: &str| TickerChange { date: day(date), old_symbol: old.into(), new_symbol: new.into() };
    let listing = |symbol: &str, from: &str, to: Option<&str>| Listing {
        symbol: symbol.into(),
        name: "Inc".into(),
        exchange: "NYSE".into(),
        asset_type: "Stock".into(),
        ipo_date: Some(day(from)),
        delisting_date: to.map(day),
        status: "Active".into(),
        asof: day("2022-01-03"),
    };
    let listings = [listing("FB", "2012-05-18", Some("2022-06-09")), listing("META", "2022-06-09", None)];
    let mut lists = Lists::default();
    lists.name(day("2022-07-01"), "META", "1", "Meta");
    let all = tenures(&lists, &listings, &[change("2022-06-09", "FB", "META")]);
    assert_eq!(
        (who(&all, "FB", "2015-01-02").as_deref(), who(&all, "FB", "2022-06-08").as_deref(), who(&all, "FB", "2022-06-09")),
        (Some("1"), Some("1"), None)
    );
    assert_eq!(who(&all, "META", "2015-01-02").as_deref(), Some("1"), "prices under the new name reach back as far as the company");
    assert!(all[0].shared_with(&all[1]).is_none(), "one company under two names in turn has one class");
}

#[test]
fn only_common_stock_counts_as_a_class() {
    let paper = |symbol: &str, name: &str| Listing {
        symbol: symbol.into(),
        name: name.into(),
        exchange: "NYSE".into(),
        asset_type: "Stock".into(),
        ipo_date: None,
        delisting_date: None,
        status: "Active".into(),
        asof: day("2018-01-02"),
    };
    let common = [
        ("JPM", "JPMorgan Chase & Co"),
        ("UNT", "Unit Corp"),
        ("O", "Realty Income Trust"),
        ("BRK-B", "Berkshire Hathaway Inc - Class B"),
        ("RGS", "Regis Corp"),
    ];
    let other = [
        ("JPM-P-D", "JPMorgan Chase & Co"),
        ("TBB", "AT&T Inc 5.35% Notes 2066"),
        ("BABA", "Alibaba Group Holding Ltd - ADR"),
        ("SPAQ-WS", "Spartan Energy"),
        ("XYZU", "Acquisition Corp - Units (1 Share 1 Warrant)"),
        ("PSA-P-W", "Public Storage 5.2% Cumulative Preferred"),
    ];
    common.iter().for_each(|(s, n)| assert!(paper(s, n).is_common_stock(), "{s}"));
    other.iter().for_each(|(s, n)| assert!(!paper(s, n).is_common_stock(), "{s}"));
    assert!(!Listing { asset_type: "ETF".into(), ..paper("SPY", "SPDR S&P 500") }.is_common_stock());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn tomorrows_list_changes_no_answer_about_yesterday(choices in proptest::collection::vec((0_usize..4, 0_usize..3), 6..20), cut in 1_usize..4) {
        // Four lists a week apart; each names some of four tickers with one of three companies.
        let days: Vec<TradingDay> = (0..4).map(|w| day("2018-02-01").plus_days(7 * w)).collect();
        let lists_until = |n: usize| {
            let mut out = Lists::default();
            for (w, on) in days.iter().enumerate().take(n) {
                out.days.insert(*on);
                for (ticker, company) in choices.iter().enumerate().filter(|(i, _)| i % 4 == w).map(|(_, c)| c) {
                    out.name(*on, &format!("T{ticker}"), &company.to_string(), "");
                }
            }
            out
        };
        let (then, now) = (tenures(&lists_until(cut), &[], &[]), tenures(&lists_until(4), &[], &[]));
        for ticker in 0..4 {
            for on in (days[0].0 - 5..days[cut].0).map(TradingDay) {
                let symbol = format!("T{ticker}");
                let cik = |t: &[Tenure]| holder(t, &symbol, on).map(|t| t.cik.clone());
                prop_assert_eq!(cik(&then), cik(&now), "{} on {}", symbol, on);
            }
        }
    }
}
