use super::*;
use crate::time::DateRange;

fn batch(page_rows: usize) -> Batch {
    let range = DateRange::new("2016-01-01".parse().unwrap(), "2017-01-01".parse().unwrap()).unwrap();
    Batch { dataset: dataset::MACROS_FRED.into(), symbols: vec!["CPIAUCSL".into()], range, page_rows, under: Default::default() }
}

fn observed(rows: &str, count: usize, offset: usize) -> Vec<u8> {
    format!(
        r#"{{"realtime_start":"2016-01-01","realtime_end":"9999-12-31","output_type":1,"count":{count},"offset":{offset},"limit":2,"observations":[{rows}]}}"#
    )
    .into_bytes()
}

#[test]
fn lesson_013_a_dot_is_null_and_never_zero() {
    let b = batch(100_000);
    let request = observations("CPIAUCSL", &b, b.range.start, None);
    let body = observed(
        r#"{"realtime_start":"2016-02-19","realtime_end":"2016-03-15","date":"2016-01-01","value":"238.1"},{"realtime_start":"2016-03-16","realtime_end":"9999-12-31","date":"2016-02-01","value":"."}"#,
        2,
        0,
    );
    let page = Fred.decode(&b, &request, &body).unwrap();
    let Rows::Macros(rows) = page.rows else { panic!("macros") };
    assert_eq!((rows[0].value, rows[1].value), (Some(238.1), None));
    assert_eq!((rows[0].realtime_end, rows[1].realtime_end), (Some("2016-03-15".parse().unwrap()), None));
    assert!(page.next.is_none() && page.follow.is_empty());
    for bad in ["nan", "1e999", "n/a"] {
        let body = observed(&format!(r#"{{"realtime_start":"2016-02-19","realtime_end":"9999-12-31","date":"2016-01-01","value":"{bad}"}}"#), 1, 0);
        assert!(Fred.decode(&b, &request, &body).is_err(), "{bad}");
    }
}

#[test]
fn lesson_012_every_request_for_values_names_the_days_of_their_publication() {
    let b = batch(100_000);
    let first = Fred.plan(&b).unwrap().remove(0);
    assert_eq!(first.path, "/fred/series/vintagedates");
    let body = br#"{"count":3,"offset":0,"limit":10000,"vintage_dates":["2016-02-19","2016-03-16","2016-04-14"]}"#;
    let page = Fred.decode(&b, &first, body).unwrap();
    assert_eq!(page.follow.len(), 1);
    let ask = &page.follow[0];
    assert_eq!((ask.query_value("realtime_start"), ask.query_value("realtime_end")), (Some("2016-02-19"), Some("9999-12-31")));
    assert_eq!((ask.query_value("observation_start"), ask.query_value("observation_end")), (Some("2016-01-01"), Some("2016-12-31")));
    // A series that was not touched since: still asked for with the days of publication.
    let none = Fred.decode(&b, &first, br#"{"count":0,"offset":0,"limit":10000,"vintage_dates":[]}"#).unwrap();
    assert_eq!(none.follow[0].query_value("realtime_start"), Some("2016-01-01"));
    assert!(Fred.decode(&b, &first, br#"{"count":2,"offset":0,"vintage_dates":["2016-03-16","2016-02-19"]}"#).is_err(), "not in order");
}

#[test]
fn lesson_014_windows_begin_on_vintage_dates_and_leave_no_day_between_them() {
    let b = batch(100_000);
    let first = Fred.plan(&b).unwrap().remove(0);
    let day = |n: i32| b.range.start.plus_days(n);
    // 4,500 vintages every third day, over two pages of the list.
    let all: Vec<TradingDay> = (0..4_500).map(|i| day(i * 3)).collect();
    let page = |from: usize, to: usize| {
        let dates: Vec<String> = all[from..to].iter().map(|d| format!("\"{d}\"")).collect();
        format!(r#"{{"count":4500,"offset":{from},"vintage_dates":[{}]}}"#, dates.join(",")).into_bytes()
    };
    let one = Fred.decode(&b, &first, &page(0, 3_000)).unwrap();
    let next = one.next.clone().unwrap();
    assert_eq!(next.query_value("offset"), Some("2999"), "the last date of a page begins the next one");
    let two = Fred.decode(&b, &next, &page(2_999, 4_500)).unwrap();
    assert!(two.next.is_none());
    let windows: Vec<(String, String)> = one
        .follow
        .iter()
        .chain(&two.follow)
        .map(|r| (r.query_value("realtime_start").unwrap().to_string(), r.query_value("realtime_end").unwrap().to_string()))
        .collect();
    let begins = [all[0], all[2_000], all[2_999]];
    assert_eq!(windows.iter().map(|w| w.0.clone()).collect::<Vec<_>>(), begins.map(|d| d.to_string()));
    assert_eq!(windows[0].1, all[2_000].plus_days(-1).to_string());
    assert_eq!(windows[1].1, all[2_999].plus_days(-1).to_string());
    assert_eq!(windows[2].1, "9999-12-31");
}

#[test]
fn values_are_paged_to_the_end_and_a_short_answer_is_malformed() {
    let b = batch(2);
    let request = observations("CPIAUCSL", &b, b.range.start, None);
    let row = |m: u32| format!(r#"{{"realtime_start":"2016-12-01","realtime_end":"9999-12-31","date":"2016-{m:02}-01","value":"1"}}"#);
    let page = Fred.decode(&b, &request, &observed(&format!("{},{}", row(1), row(2)), 3, 0)).unwrap();
    let next = page.next.unwrap();
    assert_eq!(next.query_value("offset"), Some("2"));
    assert_eq!(next.question(), request.source_uri(), "rows name the question, not the page");
    assert!(Fred.decode(&b, &next, &observed(&row(3), 3, 2)).unwrap().next.is_none());
    assert!(Fred.decode(&b, &next, &observed("", 3, 2)).is_err());
    assert!(Fred.decode(&b, &request, br#"{"seriess":[]}"#).is_err());
}
