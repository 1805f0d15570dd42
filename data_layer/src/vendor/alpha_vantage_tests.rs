use super::*;
use crate::time::DateRange;

const CSV: &str = "symbol,name,exchange,assetType,ipoDate,delistingDate,status\nA,Agilent Technologies Inc,NYSE,Stock,1999-11-18,null,Active\nAAA,AAF First Priority CLO Bond ETF,NYSE ARCA,ETF,2020-09-09,,Active\n";

fn batch() -> Batch {
    let day: TradingDay = "2020-11-30".parse().unwrap();
    Batch {
        dataset: "listings".into(),
        symbols: Vec::new(),
        range: DateRange::new(day, day.plus_days(1)).unwrap(),
        page_rows: 100_000,
        under: Default::default(),
    }
}

#[test]
fn a_dated_listing_is_two_calls_without_the_key() {
    let uris: Vec<String> = AlphaVantage.plan(&batch()).unwrap().iter().map(Request::source_uri).collect();
    assert_eq!(
        uris,
        [
            "alpha_vantage:/query?function=LISTING_STATUS&date=2020-11-30&state=active",
            "alpha_vantage:/query?function=LISTING_STATUS&date=2020-11-30&state=delisted"
        ]
    );
}

#[test]
fn rows_decode_and_missing_dates_are_null() {
    let plan = AlphaVantage.plan(&batch()).unwrap();
    let page = AlphaVantage.decode(&batch(), &plan[0], CSV.as_bytes()).unwrap();
    let Rows::Listings(rows) = &page.rows else { panic!() };
    assert_eq!((rows.len(), rows[0].ipo_date, rows[0].delisting_date), (2, "1999-11-18".parse().ok(), None));
    let (_, frame, symbols) = page.rows.frames(Vendor::AlphaVantage, batch().range).unwrap().remove(0);
    assert_eq!(symbols, ["A", "AAA"]);
    let names: Vec<String> = frame.get_column_names().iter().take(8).map(ToString::to_string).collect();
    assert_eq!(names, crate::schema::columns::LISTINGS);
}

#[test]
fn lesson_009_json_html_or_another_state_is_never_parsed_as_a_listing() {
    let plan = AlphaVantage.plan(&batch()).unwrap();
    for bad in [
        "{\"Information\":\"25 requests per day\"}",
        "<html></html>",
        "",
        "symbol,name\nA,B\n",
        &CSV.replace("1999-11-18", "yesterday"),
        &CSV.replace("Active", "Delisted"),
    ] {
        assert!(AlphaVantage.decode(&batch(), &plan[0], bad.as_bytes()).is_err(), "{bad}");
    }
    let header = &CSV[..CSV.find('\n').unwrap() + 1];
    assert!(AlphaVantage.decode(&batch(), &plan[0], header.as_bytes()).is_err(), "no active symbol at all");
    assert!(AlphaVantage.decode(&batch(), &plan[1], header.as_bytes()).is_ok(), "no delisted one is possible");
}
