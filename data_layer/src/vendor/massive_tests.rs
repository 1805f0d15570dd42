use super::*;
use crate::time::DateRange;

fn batch(name: &str, symbols: &[&str], from: &str, to: &str) -> Batch {
    let range = DateRange::new(from.parse().unwrap(), to.parse().unwrap()).unwrap();
    Batch { dataset: name.into(), symbols: symbols.iter().map(ToString::to_string).collect(), range, page_rows: 50_000, under: Default::default() }
}

#[test]
fn lesson_005_the_limit_is_sent_and_the_next_address_is_followed_without_a_key() {
    let b = batch(dataset::EQUITIES_MINUTE, &["AAPL"], "2024-06-10", "2024-06-11");
    let request = Massive.plan(&b).unwrap().remove(0);
    assert_eq!(request.query_value("limit"), Some("50000"));
    let body = br#"{"status":"OK","results":[{"t":1718026200000,"o":1,"h":2,"l":0.5,"c":1.5,"v":10,"vw":1.2,"n":3}],
        "next_url":"https://api.massive.com/v2/aggs/ticker/AAPL/range/1/minute/1718026260000/1718049540000?cursor=abc&apiKey=SECRET"}"#;
    let page = Massive.decode(&b, &request, body).unwrap();
    let next = page.next.unwrap();
    assert_eq!(
        (next.path.as_str(), next.query.as_slice()),
        ("/v2/aggs/ticker/AAPL/range/1/minute/1718026260000/1718049540000", &[("cursor".to_string(), "abc".to_string())][..])
    );
    let elsewhere = br#"{"status":"OK","results":[],"next_url":"https://evil.example/steal?x=1"}"#;
    assert!(Massive.decode(&b, &request, elsewhere).is_err());
}

#[test]
fn the_cheaper_question_is_asked() {
    let few = Massive.plan(&batch(dataset::EQUITIES_EOD, &["A", "B"], "2024-06-03", "2024-06-14")).unwrap();
    assert_eq!((few.len(), few[0].path.as_str()), (2, "/v2/aggs/ticker/A/range/1/day/2024-06-03/2024-06-13"));
    let many = batch(dataset::EQUITIES_EOD, &["A", "B", "C"], "2024-06-10", "2024-06-12");
    let asks = Massive.plan(&many).unwrap();
    assert_eq!((asks.len(), asks[0].path.as_str()), (2, "/v2/aggs/grouped/locale/us/market/stocks/2024-06-10"));
    let body = br#"{"status":"OK","results":[{"T":"B","t":1718049600000,"o":1,"h":2,"l":1,"c":2,"v":5},{"T":"ZZZ","t":1718049600000,"c":2}]}"#;
    let Rows::Bars(rows) = Massive.decode(&many, &asks[0], body).unwrap().rows else { panic!("bars") };
    assert_eq!(rows.iter().map(|b| (&*b.symbol, b.date.to_string())).collect::<Vec<_>>(), [("B", "2024-06-10".to_string())]);
    assert!(Massive.decode(&many, &asks[0], br#"{"status":"OK","resultsCount":0}"#).unwrap().rows.is_empty());
    assert!(Massive.decode(&many, &asks[0], br#"{"status":"ERROR","error":"x"}"#).is_err());
}

#[test]
fn lesson_041_split_to_over_split_from() {
    let b = batch(dataset::CORP_ACTIONS, &["AAPL", "MNTS", "NVDA"], "2024-01-01", "2025-01-01");
    let asks = Massive.plan(&b).unwrap();
    let Rows::Actions(splits) = Massive.decode(&b, &asks[0], br#"{"status":"OK","results":[{"execution_date":"2024-06-10","split_from":1,"split_to":10,"ticker":"NVDA"},{"execution_date":"2023-08-24","split_from":50,"split_to":1,"ticker":"MNTS"}]}"#).unwrap().rows else { panic!("actions") };
    assert_eq!(splits.iter().map(|a| (a.event_type.as_str(), a.ratio)).collect::<Vec<_>>(), [("forward_split", Some(10.0)), ("reverse_split", Some(0.02))]);
    let Rows::Actions(paid) = Massive.decode(&b, &asks[1], br#"{"status":"OK","results":[{"cash_amount":0.24,"ex_dividend_date":"2024-02-09","pay_date":"2024-02-15","record_date":"2024-02-12","ticker":"AAPL"}]}"#).unwrap().rows else { panic!("actions") };
    assert_eq!((paid[0].cash, paid[0].pay_date.map(|d| d.to_string())), (Some(0.24), Some("2024-02-15".into())));
    assert!(
        Massive.decode(&b, &asks[0], br#"{"status":"OK","results":[{"execution_date":"2024-06-10","split_from":0,"split_to":10,"ticker":"NVDA"}]}"#).is_err()
    );
    let other = br#"{"status":"OK","results":[{"execution_date":"2024-06-10","split_from":1,"split_to":10,"ticker":"ZZZZ"}]}"#;
    assert!(Massive.decode(&b, &asks[0], other).is_err(), "an event of a name that was not asked for");
}

#[test]
fn bars_of_another_name_and_pages_behind_a_prefix() {
    let b = batch(dataset::EQUITIES_EOD, &["AAPL"], "2024-06-10", "2024-06-11");
    let request = Massive.plan(&b).unwrap().remove(0);
    assert!(Massive.decode(&b, &request, br#"{"status":"OK","ticker":"MSFT","results":[]}"#).unwrap_err().contains("MSFT"));
    let body = br#"{"status":"OK","ticker":"AAPL","results":[],"next_url":"http://127.0.0.1:9/massive/v2/aggs/ticker/AAPL/range/1/day/1/2?cursor=x"}"#;
    assert_eq!(Massive.decode(&b, &request, body).unwrap().next.unwrap().path, "/v2/aggs/ticker/AAPL/range/1/day/1/2");
}
