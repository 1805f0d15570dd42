use super::*;
use crate::reference::{ListingSpans, load_listings, refresh_reference};
use crate::sourcing::Vendor;
use crate::testkit::{Kit, day, range};

fn change(date: &str, old: &str, new: &str) -> TickerChange {
    TickerChange { date: day(date), old_symbol: old.into(), new_symbol: new.into() }
}

fn listing(symbol: &str, name: &str, from: Option<&str>, to: Option<&str>) -> Listing {
    Listing {
        symbol: symbol.into(),
        name: name.into(),
        exchange: "NYSE".into(),
        asset_type: "Stock".into(),
        ipo_date: from.map(day),
        delisting_date: to.map(day),
        status: "Active".into(),
        asof: day("2023-01-03"),
    }
}

fn life(tickers: &Tickers, symbol: &str) -> Vec<(Option<String>, String, String)> {
    let text = |d: Option<TradingDay>| d.map_or_else(|| "-".into(), |d| d.to_string());
    tickers.life(symbol).unwrap_or_default().iter().map(|h| (h.ticker.clone(), text(h.from), text(h.to))).collect()
}

fn held(ticker: Option<&str>, from: &str, to: &str) -> (Option<String>, String, String) {
    (ticker.map(str::to_string), from.into(), to.into())
}

#[test]
fn lesson_048_a_company_is_followed_through_its_tickers_and_another_holder_of_one_is_not_it() {
    let chain = of(&[change("2015-03-02", "AA", "BB"), change("2022-06-09", "BB", "CC")], &[]);
    assert_eq!(life(&chain, "CC"), [held(Some("AA"), "-", "2015-03-02"), held(Some("BB"), "2015-03-02", "2022-06-09"), held(Some("CC"), "2022-06-09", "-")]);
    assert_eq!((chain.on("CC", day("2015-03-01")), chain.on("CC", day("2015-03-02"))), (Some("AA"), Some("BB")));
    assert_eq!(life(&chain, "BB").last().unwrap(), &held(None, "2022-06-09", "-"), "who gave a ticker up does not have it");
    assert_eq!(
        (chain.symbol_of("AA", day("2014-01-02")), chain.symbol_of("BB", day("2016-01-04")), chain.symbol_of("ZZ", day("2016-01-04"))),
        ("CC", "CC", "ZZ")
    );
    assert_eq!(chain.symbol_of("BB", day("2014-01-02")), "BB", "another company's then");
    let asked = chain.to_ask("CC", range("2022-01-01", "2023-01-01"));
    assert_eq!(asked, [("BB".into(), range("2022-01-01", "2022-06-09")), ("CC".into(), range("2022-06-09", "2023-01-01"))]);

    // Handed on within a day; and taken by a company of whose earlier ticker nobody tells.
    let handed = of(&[change("2020-01-06", "BB", "XX"), change("2020-01-06", "OO", "BB")], &[]);
    assert_eq!(life(&handed, "BB"), [held(Some("OO"), "-", "2020-01-06"), held(Some("BB"), "2020-01-06", "-")]);
    let taken = of(&[change("2020-01-06", "BB", "XX")], &[listing("BB", "Later", Some("2012-05-18"), None)]);
    assert_eq!(life(&taken, "BB"), [held(None, "-", "2020-01-06"), held(Some("BB"), "2020-01-06", "-")]);
    assert!(taken.to_ask("BB", range("2019-01-01", "2020-01-01")).is_empty(), "nobody is asked about it");

    // Two listings of other names that overlap; one that was corrected is one.
    let fund = listing("NN", "Some Fund", Some("2021-06-30"), Some("2022-02-01"));
    let company = listing("NN", "The Company", Some("2012-05-18"), None);
    let overlap = of(&[], &[company.clone(), fund.clone()]);
    assert_eq!(life(&overlap, "NN"), [held(None, "-", "2022-02-01"), held(Some("NN"), "2022-02-01", "-")]);
    assert!(of(&[], &[company, Listing { name: "THE COMPANY.".into(), ..fund }]).is_empty());
}

#[test]
fn a_listing_begins_with_the_company_and_not_with_its_ticker() {
    let kit = Kit::new();
    kit.stage(&["NN"]);
    kit.listings(
        "2018-01-02",
        &[("NN", Some("2017-06-09"), None), ("NN", Some("2015-01-02"), Some("2017-04-03")), ("OO", Some("2012-05-18"), Some("2017-06-09"))],
    );
    let renamed = crate::vendor::Action {
        symbol: "OO".into(),
        event_type: "name_change".into(),
        ex_date: Some(day("2017-06-09")),
        process_date: Some(day("2017-06-09")),
        new_symbol: Some("NN".into()),
        vendor_id: "1".into(),
        ..Default::default()
    };
    refresh_reference(&kit.root, &kit.db).unwrap();
    let spans = ListingSpans::load(&kit.root).unwrap();
    assert_eq!(spans.spans("NN").unwrap().len(), 2, "as long as nobody tells, there are two lives");
    kit.stated(Vendor::Alpaca, &["NN"], range("2017-01-01", "2018-01-01"), "2018-02-01T12:00:00Z", vec![renamed]);
    refresh_reference(&kit.root, &kit.db).unwrap();
    let of = |symbol: &str| ListingSpans::load(&kit.root).unwrap().spans(symbol).unwrap().to_vec();
    assert_eq!(of("NN"), [(Some(day("2012-05-18")), None)], "nine years are expected, and no other company's");
    assert_eq!(of("OO"), [(Some(day("2012-05-18")), Some(day("2017-06-09")))]);
    assert_eq!(Tickers::load(&kit.root).unwrap().on("NN", day("2016-01-04")), Some("OO"));
    assert_eq!(load_listings(&kit.root).unwrap().len(), 2);
}
