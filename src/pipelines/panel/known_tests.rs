use super::super::{COLUMNS, load_files};
use super::*;
use data_layer::calendar::Calendar;
use data_layer::frame;
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataPath, FsFacts};
use data_layer::time::DateRange;
use polars::prelude::{Column, NamedFrom, Series};

fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}

fn days(name: &str, values: &[Option<&str>]) -> Column {
    frame::day_column(name, &values.iter().map(|v| v.map(day)).collect::<Vec<_>>()).unwrap()
}

fn texts(name: &str, values: &[&str]) -> Column {
    frame::text_column(name, &values.iter().map(|v| Some(*v)).collect::<Vec<_>>())
}

fn put(root: &DataRoot, path: &str, columns: Vec<Column>) -> (DataPath, String) {
    let mut rows = frame::assemble(columns).unwrap();
    let info = store::write_parquet(root, &DataPath::new(path).unwrap(), &mut rows).unwrap();
    (info.path, info.sha256)
}

fn bars(root: &DataRoot, symbol: &str, sessions: &[TradingDay]) -> (DataPath, String) {
    let mut columns = vec![
        frame::day_column("date", &sessions.iter().map(|d| Some(*d)).collect::<Vec<_>>()).unwrap(),
        frame::text_column("symbol", &vec![Some(symbol); sessions.len()]),
    ];
    columns.extend(COLUMNS.iter().map(|name| Column::from(Series::new((*name).into(), vec![10.0; sessions.len()]))));
    put(root, &format!("curated/equities_ohlcv_adj/sym={symbol}/dt=2020/part-0.parquet"), columns)
}

#[test]
fn a_panel_is_told_what_its_snapshot_holds_of_each_listing_and_a_model_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "real", FsFacts::default(), None).unwrap();
    let window = DateRange::new(day("2020-01-02"), day("2020-03-02")).unwrap();
    let sessions = Calendar::xnys().sessions(window).to_vec();
    // One company throughout, with a 2:1 split; another ticker whose company changes, and with it the row.
    let mut files: Files = vec![bars(&root, "AAA", &sessions), bars(&root, "T", &[&sessions[..10], &sessions[20..]].concat())];
    files.push(put(
        &root,
        "reference/listings.parquet",
        vec![
            texts("symbol", &["AAA", "T", "T"]),
            days("ipo_date", &[Some("2010-01-04"), Some("2010-01-04"), Some(&sessions[20].to_string())]),
            days("delisting_date", &[None, Some(&sessions[10].to_string()), None]),
        ],
    ));
    files.push(put(
        &root,
        "reference/companies.parquet",
        vec![
            texts("symbol", &["AAA", "T"]),
            days("from", &[Some("2010-01-04"), Some(&sessions[20].to_string())]),
            days("to", &[None, None]),
            texts("cik", &["1", "2"]),
            texts("name", &["A", "T"]),
            days("first_seen", &[Some("2020-02-28"), Some("2020-02-28")]),
            days("last_seen", &[Some("2020-02-28"), Some("2020-02-28")]),
            texts("evidence", &["listing", "listing"]),
            frame::bool_column("common", &[true, true]),
        ],
    ));
    files.push(put(
        &root,
        "reference/shares_outstanding.parquet",
        vec![
            texts("cik", &["1", "1", "2"]),
            days("filed", &[Some("2019-11-01"), Some("2020-02-03"), Some("2019-11-01")]),
            days("period_end", &[Some("2019-10-15"), Some("2020-01-25"), Some("2019-10-15")]),
            days("stated_on", &[Some("2019-10-15"), Some("2020-01-25"), Some("2019-10-15")]),
            frame::float_column("shares", &[Some(1e6), Some(2.2e6), Some(5e6)]),
            texts("concept", &["dei:x", "dei:x", "dei:x"]),
            texts("form", &["10-Q", "10-Q", "10-Q"]),
            texts("accession", &["a", "b", "c"]),
        ],
    ));
    files.push(put(
        &root,
        "reference/corp_actions.parquet",
        vec![
            texts("symbol", &["AAA"]),
            texts("event_type", &["forward_split"]),
            days("ex_date", &[Some("2020-01-15")]),
            days("record_date", &[None]),
            days("pay_date", &[None]),
            frame::float_column("ratio", &[Some(2.0)]),
            frame::float_column("cash", &[None]),
            frame::int_column("source_priority", &[Some(1)]),
        ],
    ));
    files.push(put(
        &root,
        "reference/earnings.parquet",
        vec![
            texts("symbol", &["AAA", "AAA", "T"]),
            days("report_date", &[Some("2020-02-05"), Some("2020-02-07"), Some("2020-01-10")]),
            days("announced", &[Some("2020-01-06"), Some("2020-01-27"), Some("2020-01-03")]),
            days("withdrawn", &[Some("2020-01-27"), None, None]),
            texts("hour", &["", "", ""]),
            texts("source_name", &["finnhub", "finnhub", "finnhub"]),
        ],
    ));
    let panel = load_files(&root, &files, window).unwrap().panel;
    let old = format!("T@{}", sessions[10]);
    assert_eq!(panel.symbols, ["AAA".to_string(), "T".into(), old.clone()]);
    assert_eq!(panel.known.shares["AAA"], [(sessions[0], 1e6), (day("2020-01-15"), 2e6), (day("2020-02-04"), 2.2e6)]);
    assert_eq!(panel.known.shares["T"], [(sessions[20], 5e6)]);
    assert!(!panel.known.shares.contains_key(&old), "the company that is gone has none, although its ticker has");
    assert_eq!(panel.known.earnings.keys().collect::<Vec<_>>(), ["AAA", &old], "the date in January was the old company's");

    let block = crate::features::equities_xs::build_raw(&panel).unwrap();
    let cell = |name: &str, on: &str| block.column(name).unwrap().at(0, panel.day_index(day(on)).unwrap());
    assert_eq!(cell("log_mktcap", "2020-02-03"), (10.0_f64 * 2e6).ln(), "what is filed on the third is known on the fourth");
    assert_eq!(cell("log_mktcap", "2020-02-04"), (10.0_f64 * 2.2e6).ln());
    assert_eq!((cell("sessions_to_earnings", "2020-01-24"), cell("sessions_to_earnings", "2020-01-27")), (8.0, 9.0), "the date was moved on the 27th");
    // The panel as it was known before the split, before the filing and before the date was moved.
    let early = panel.truncated(panel.day_index(day("2020-01-14")).unwrap());
    assert_eq!(
        (early.known.shares["AAA"].len(), early.known.earnings["AAA"].clone()),
        (1, vec![Announcement { withdrawn: None, ..panel.known.earnings["AAA"][0] }])
    );
}
