use super::*;

fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}
fn batch(dataset: &str, symbols: &[&str], from: &str, to: &str) -> Batch {
    let range = DateRange::new(day(from), day(to)).unwrap();
    Batch { dataset: dataset.into(), symbols: symbols.iter().map(ToString::to_string).collect(), range, page_rows: 10_000, under: Default::default() }
}
fn bars_of(page: Page) -> Vec<Bar> {
    match page.rows {
        Rows::Bars(v) => v,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lesson_008_the_request_names_limit_adjustment_and_the_whole_markets_feed() {
    let plan = Alpaca.plan(&batch("equities_eod", &["AAPL", "BRK.B"], "2017-01-01", "2018-01-01")).unwrap();
    let uris: Vec<String> = plan.iter().map(Request::source_uri).collect();
    assert_eq!(
        uris,
        [
            "alpaca:/v2/stocks/bars?symbols=AAPL,BRK.B&timeframe=1Day&start=2017-01-01T05:00:00Z&end=2017-12-29T21:00:00Z&limit=10000&adjustment=raw&feed=sip&asof=-&sort=asc"
        ]
    );
    let close = UtcTime::parse("2017-12-29T21:00:00Z").unwrap();
    assert_eq!(feed_for(close, close.plus_seconds(16 * 60)), Some("sip"));
    assert_eq!(feed_for(close, close.plus_seconds(16 * 60 - 1)), None, "never another feed in its place");
}

#[test]
fn lesson_112_adjacent_windows_share_no_session_and_minutes_are_asked_by_session() {
    let plan = |from: &str, to: &str| Alpaca.plan(&batch("equities_minute", &["AAPL"], from, to)).unwrap();
    let window = |r: &Request| (r.query_value("start").unwrap().to_string(), r.query_value("end").unwrap().to_string());
    let early: Vec<_> = plan("2017-11-20", "2017-11-25").iter().map(window).collect();
    assert_eq!(early.len(), 4, "Thanksgiving is no session");
    assert_eq!(early[3], ("2017-11-24T14:30:00Z".into(), "2017-11-24T17:59:00Z".into()), "the last regular minute of a half-day");
    let (a, b) = (plan("2017-11-20", "2017-11-22"), plan("2017-11-22", "2017-11-25"));
    assert_eq!(a.iter().chain(&b).map(window).collect::<Vec<_>>(), early);
}

#[test]
fn a_day_bar_belongs_to_new_yorks_date_and_missing_is_null() {
    let b = batch("equities_eod", &["AAPL", "TSLA"], "2022-03-09", "2022-03-15");
    let request = Alpaca.plan(&b).unwrap().remove(0);
    let body = br#"{"bars":{"AAPL":[{"t":"2022-03-09T05:00:00Z","o":161.51,"h":163.41,"l":159.41,"c":162.95,"v":88496480,"n":700291,"vw":161.942117},
        {"t":"2022-03-14T04:00:00Z","o":null,"h":2,"l":1,"c":1,"v":3}],"TSLA":[]},"next_page_token":"abc"}"#;
    let page = Alpaca.decode(&b, &request, body).unwrap();
    assert_eq!(page.next.as_ref().and_then(|r| r.query_value("page_token")), Some("abc"));
    let bars = bars_of(page);
    assert_eq!((bars[0].date, bars[1].date), (day("2022-03-09"), day("2022-03-14")));
    assert_eq!((bars[1].ohlc[0], bars[1].vwap, bars[0].trades), (None, None, Some(700_291)));
    assert_eq!((&*bars[0].feed, &bars[0].vendor_ts), ("sip", &Stamp::Start));
    let second = Alpaca.decode(&b, &request.with("page_token", "abc"), br#"{"bars":null,"next_page_token":null}"#).unwrap();
    assert!(second.rows.is_empty() && second.next.is_none());
    assert_eq!(&*bars[0].source_uri, request.source_uri(), "rows name the question, not the page");
}

#[test]
fn lesson_009_another_shape_is_malformed_and_never_empty() {
    let b = batch("equities_eod", &["AAPL"], "2022-03-09", "2022-03-15");
    let request = Alpaca.plan(&b).unwrap().remove(0);
    for bad in [
        "{}x",
        r#"{"bars":[]}"#,
        r#"{"bars":{"AAPL":[{"t":"2022-03-09T05:00:00Z","o":"161.51","h":1,"l":1,"c":1,"v":1}]}}"#,
        r#"{"bars":{"MSFT":[{"t":"2022-03-09T05:00:00Z","o":1,"h":1,"l":1,"c":1,"v":1}]}}"#,
        r#"{"bars":{"AAPL":[{"t":"2022-03-15T04:00:00Z","o":1,"h":1,"l":1,"c":1,"v":1}]}}"#,
        r#"{"bars":{"AAPL":[{"t":"2022-03-09T05:00"#,
    ] {
        assert!(Alpaca.decode(&b, &request, bad.as_bytes()).is_err(), "{bad}");
    }
}

fn actions(body: &str) -> Vec<Action> {
    let b = batch("corp_actions", &["AAPL"], "2020-01-01", "2021-01-01");
    let request = Alpaca.plan(&b).unwrap().remove(0);
    match Alpaca.decode(&b, &request, body.as_bytes()).unwrap().rows {
        Rows::Actions(v) => v,
        other => panic!("{other:?}"),
    }
}

#[test]
fn split_ratios_are_new_over_old() {
    let got = actions(
        r#"{"corporate_actions":{"forward_splits":[{"id":"1","symbol":"AAPL","ex_date":"2020-08-31","new_rate":4,"old_rate":1,"process_date":"2020-08-31","payable_date":"2020-08-28"},
        {"id":"2","symbol":"NVDA","ex_date":"2024-06-10","new_rate":10,"old_rate":1,"process_date":"2024-06-10"}],
        "reverse_splits":[{"id":"3","symbol":"MNTS","ex_date":"2023-08-24","new_rate":1,"old_rate":50,"process_date":"2023-08-24"}],
        "cash_dividends":[{"id":"4","symbol":"AAPL","ex_date":"2024-02-09","rate":0.24,"process_date":"2024-02-15","special":false}],
        "stock_dividends":[{"id":"5","symbol":"MSBC","ex_date":"2023-05-19","rate":0.05,"process_date":"2023-05-19"}],
        "cash_mergers":[{"id":"6","acquiree_symbol":"GLOP","effective_date":"2023-08-11","process_date":"2023-08-11","rate":5.37}],
        "name_changes":[{"id":"7","old_symbol":"FB","new_symbol":"META","process_date":"2022-06-09"}],
        "novelties":[{"id":"8","symbol":"X","process_date":"2022-06-09"}]},"next_page_token":null}"#,
    );
    let by_id = |id: &str| got.iter().find(|a| a.vendor_id == id).unwrap();
    assert_eq!((by_id("1").ratio, by_id("1").ex_date, by_id("1").event_type.as_str()), (Some(4.0), Some(day("2020-08-31")), "forward_split"));
    assert_eq!((by_id("2").ratio, by_id("3").ratio), (Some(10.0), Some(0.02)));
    assert_eq!((by_id("4").cash, by_id("4").ratio, by_id("4").ex_date), (Some(0.24), None, Some(day("2024-02-09"))));
    assert_eq!((by_id("5").ratio, by_id("6").cash, by_id("6").symbol.as_str()), (Some(1.05), Some(5.37), "GLOP"));
    assert_eq!((by_id("7").symbol.as_str(), by_id("7").new_symbol.as_deref()), ("FB", Some("META")));
    assert_eq!(by_id("8").event_type, "noveltie", "an unknown container is kept");
    assert!(actions(r#"{"corporate_actions":{},"next_page_token":null}"#).is_empty());
}

#[test]
fn frames_have_the_tables_columns_and_one_per_year() {
    let b = batch("equities_eod", &["AAPL"], "2021-12-30", "2022-01-05");
    let request = Alpaca.plan(&b).unwrap().remove(0);
    let body = br#"{"bars":{"AAPL":[{"t":"2022-01-03T05:00:00Z","o":1,"h":1,"l":1,"c":1,"v":1},{"t":"2021-12-31T05:00:00Z","o":1,"h":1,"l":1,"c":1,"v":1}]}}"#;
    let mut rows = Alpaca.decode(&b, &request, body).unwrap().rows;
    rows.settle().unwrap();
    let frames = rows.frames(Vendor::Alpaca, b.range).unwrap();
    assert_eq!(frames.iter().map(|f| f.0.to_string()).collect::<Vec<_>>(), ["[2021-12-30, 2022-01-01)", "[2022-01-01, 2022-01-05)"]);
    let names: Vec<String> = frames[0].1.get_column_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, crate::schema::columns::RAW_BARS);
}

proptest::proptest! {
    #[test]
    fn stamps_and_dates_read_quickly_are_what_the_general_parser_reads(seconds in 0i64..2_000_000_000, step in 0i64..200_000) {
        let mut dates = Dates::default();
        for n in 0..3 {
            let ts = UtcTime::from_micros((seconds + n * step) * 1_000_000);
            let text = rfc3339(ts);
            proptest::prop_assert_eq!(stamp(&text), Some(ts));
            proptest::prop_assert_eq!(dates.of(ts), ts.day_in(&new_york()));
        }
    }
}

#[test]
fn a_stamp_of_another_form_is_left_to_the_general_parser() {
    for text in
        ["2017-11-30T14:30:00.5Z", "2017-11-30T24:30:00Z", "2017-13-30T14:30:00Z", "2017-11-30 14:30:00Z", "2017-11-30T14:30:00+", "2017-1x-30T14:30:00Z", ""]
    {
        assert_eq!(stamp(text), None, "{text}");
    }
}
