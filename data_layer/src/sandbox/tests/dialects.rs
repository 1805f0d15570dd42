//! The dialects of the second vendors, read to the end by the connectors that read the vendors themselves.

use super::ingest::{Bench, bench_with, day, faults};
use super::*;
use crate::queue::{Kind, NewTask, seed};
use crate::reference::{Fundamentals, Macros, refresh_reference};
use crate::scheduler::{self, DrainReport, DrainUntil, Quiet};
use crate::segment::all_manifests;
use crate::store;
use crate::time::DateRange;
use polars::prelude::{DataFrame, NamedFrom};
use std::collections::BTreeMap;

/// A synthetic market with splits, dividends, delistings and minutes, and every vendor's key.
pub fn market() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset("planted@2:7", dir.path().join("state"));
    bench_with(dir, cfg, "2018-02-07T23:20:00Z", true)
}

pub fn range(from: &str, to: &str) -> DateRange {
    DateRange::new(day(from), day(to)).unwrap()
}

/// Ask one vendor for symbols of a dataset, and work until nothing is due.
pub fn ask(b: &Bench, vendor: &str, dataset: &str, symbols: &[&str], window: DateRange) -> DrainReport {
    let task = |symbol: &&str| NewTask {
        dataset: dataset.into(),
        symbol: (*symbol).to_string(),
        range: window,
        kind: Kind::Gap,
        priority: Kind::Gap.priority(),
        vendor: vendor.into(),
        not_before: None,
        run_id: None,
    };
    let tasks: Vec<NewTask> = symbols.iter().map(task).collect();
    b.ctx.db.write(|tx| seed(tx, b.host.now(), &tasks)).unwrap();
    b.host.block_on(scheduler::drain(&b.ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap()
}

/// The rows that a vendor's answers left on the drive for a dataset, newest commit last.
pub fn stored(b: &Bench, vendor: &str, dataset: &str) -> Vec<DataFrame> {
    let all = all_manifests(&b.ctx.root).unwrap();
    let wanted = all.iter().map(|(_, m)| m).filter(|m| m.vendor == vendor && m.dataset == dataset);
    wanted.flat_map(|m| &m.segments).map(|s| store::read_parquet_verified(&b.ctx.root, &s.path, &s.sha256).unwrap()).collect()
}

/// (symbol, stamp) to close.
pub fn closes(b: &Bench, vendor: &str, dataset: &str) -> BTreeMap<(String, i64), f64> {
    let mut out = BTreeMap::new();
    for f in stored(b, vendor, dataset) {
        let ts = f.column("ts").unwrap().cast(&polars::prelude::DataType::Int64).unwrap();
        for i in 0..f.height() {
            let symbol = f.column("symbol").unwrap().str().unwrap().get(i).unwrap().to_string();
            out.insert((symbol, ts.i64().unwrap().get(i).unwrap()), f.column("close").unwrap().f64().unwrap().get(i).unwrap());
        }
    }
    out
}

fn done(report: &DrainReport) {
    let words: Vec<String> = report.notices.iter().map(ToString::to_string).collect();
    assert_eq!((report.failed, words), (0, Vec::new()));
    assert!(report.tasks_done > 0 && report.waiting_until.is_none(), "{report:?}");
}

#[test]
fn three_vendors_bring_the_same_bars_of_one_market() {
    let b = market();
    let window = range("2018-01-02", "2018-02-07");
    for vendor in ["alpaca", "tiingo", "massive"] {
        done(&ask(&b, vendor, "equities_eod", &["AAPL", "MSFT", "XOM"], window));
    }
    let ours = closes(&b, "alpaca", "equities_eod");
    assert_eq!(ours.len(), 3 * 25);
    assert_eq!(closes(&b, "tiingo", "equities_eod"), ours);
    assert_eq!(closes(&b, "massive", "equities_eod"), ours);
    // More names than sessions: the whole market's days, each one call.
    let names: Vec<&str> = include_str!("../../../assets/universe/stage0_100.txt").lines().take(8).collect();
    let days = range("2018-02-05", "2018-02-07");
    let report = ask(&b, "massive", "equities_eod", &names, days);
    done(&report);
    assert_eq!(report.calls, 2);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn lesson_005_pages_of_minutes_and_events_are_followed_to_the_end() {
    let b = market();
    faults(&b, "{vendor: massive, do: page_short, rows: 150}");
    let window = range("2018-02-05", "2018-02-07");
    done(&ask(&b, "massive", "equities_minute", &["AAPL"], window));
    let theirs = closes(&b, "massive", "equities_minute");
    faults(&b, "");
    done(&ask(&b, "alpaca", "equities_minute", &["AAPL"], window));
    assert_eq!((theirs.len(), &theirs), (780, &closes(&b, "alpaca", "equities_minute")));
    // Splits and dividends of every name, three and then one an answer, are the ones that the first vendor tells.
    let names: Vec<&str> = include_str!("../../../assets/universe/stage0_100.txt").lines().take(40).collect();
    let years = range("2013-02-08", "2018-02-07");
    let events = |vendor: &str| {
        done(&ask(&b, vendor, "corp_actions", &names, years));
        let mut out = Vec::new();
        for f in stored(&b, vendor, "corp_actions") {
            let text = |c: &str, i: usize| f.column(c).unwrap().str().unwrap().get(i).unwrap_or_default().to_string();
            let day = |i: usize| f.column("ex_date").unwrap().cast(&polars::prelude::DataType::Int32).unwrap().i32().unwrap().get(i);
            let number = |c: &str, i: usize| f.column(c).unwrap().f64().unwrap().get(i).map(|x| (x * 1e6).round() as i64);
            let kinds = ["forward_split", "reverse_split", "cash_dividend"];
            let rows = (0..f.height()).filter(|i| kinds.contains(&text("event_type", *i).as_str()));
            out.extend(rows.map(|i| (text("symbol", i), day(i), text("event_type", i), number("ratio", i), number("cash", i))));
        }
        out.sort();
        out.retain(|e| e.1.is_none_or(|d| d < day("2018-01-01").0));
        out
    };
    let first = events("alpaca");
    assert!(first.len() > 20, "{}", first.len());
    assert_eq!(events("tiingo"), first);
    faults(&b, "{vendor: massive, do: page_short, rows: 3}");
    assert_eq!(events("massive"), first);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn delisted_names_come_page_by_page_until_one_is_empty_or_the_window_is_over() {
    let b = market();
    faults(&b, "{vendor: fmp, do: page_short, rows: 2}");
    let held = || stored(&b, "fmp", "delistings").iter().map(DataFrame::height).sum::<usize>();
    let report = ask(&b, "fmp", "delistings", &[""], range("2010-01-04", "2018-02-07"));
    done(&report);
    let gone = held();
    assert!(gone > 2 && report.calls as usize == gone.div_ceil(2) + 1, "{gone} names in {} calls", report.calls);
    let report = ask(&b, "fmp", "delistings", &[""], range("2018-02-06", "2018-02-07"));
    done(&report);
    assert_eq!((report.calls, held()), (1, gone), "nobody left on that day, as the newest page shows");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn an_unknown_name_is_finished_and_a_class_of_shares_is_spelled_their_way() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset("replay@1", dir.path().join("state"));
    let b = bench_with(dir, cfg, "2017-11-30T23:20:00Z", true);
    let window = range("2017-11-27", "2017-11-30");
    done(&ask(&b, "tiingo", "equities_eod", &["BRK.B", "NOSUCH"], window));
    let bars = closes(&b, "tiingo", "equities_eod");
    assert_eq!(bars.keys().map(|k| k.0.as_str()).collect::<Vec<_>>(), ["BRK.B"; 3]);
    // The embedded world knows no company's filings: an honest refusal, finished at once.
    done(&ask(&b, "sec_edgar", "fundamentals", &["0000320193"], window));
    assert!(stored(&b, "sec_edgar", "fundamentals").is_empty());
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

/// A folder with a company's filings and a yield curve beside its prices.
pub fn folder_world() -> (TempDir, SandboxConfig) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("world");
    std::fs::create_dir_all(data.join("companyfacts")).unwrap();
    write_world(&data);
    // Apple's cover pages of 2017 and their numbers of shares (SEC EDGAR, public domain).
    let facts = r#"{"cik":320193,"entityName":"Apple Inc.","facts":{"dei":{"EntityCommonStockSharesOutstanding":{"label":"Shares","description":"","units":{"shares":[
        {"end":"2017-04-21","val":5213840000,"accn":"0000320193-17-000009","fy":2017,"fp":"Q2","form":"10-Q","filed":"2017-05-03"},
        {"end":"2017-07-21","val":5165228000,"accn":"0000320193-17-000009","fy":2017,"fp":"Q3","form":"10-Q","filed":"2017-08-02"},
        {"end":"2017-10-20","val":5134312000,"accn":"0000320193-17-000070","fy":2017,"fp":"FY","form":"10-K","filed":"2017-11-03"},
        {"end":"2018-01-26","val":5074013000,"accn":"0000320193-18-000007","fy":2018,"fp":"Q1","form":"10-Q","filed":"2018-02-02"}]}}}}}"#;
    std::fs::write(data.join("companyfacts/CIK0000320193.json"), facts).unwrap();
    std::fs::write(data.join("companyfacts/tickers.csv"), "cik,ticker\n0000320193,AAPL\n").unwrap();
    let curve = "series_id,observation_date,value,realtime_start,realtime_end\n\
        BC_1MONTH,2017-11-27,1.16,2017-11-27,\nBC_10YEAR,2017-11-27,2.32,2017-11-27,\n\
        BC_1MONTH,2017-11-28,.,2017-11-28,\nBC_10YEAR,2017-11-28,2.34,2017-11-28,\nBC_10YEAR,2018-11-28,3.06,2018-11-28,\n";
    std::fs::write(data.join("macros.csv"), curve).unwrap();
    let cfg = SandboxConfig { data_dir: Some(data), ..SandboxConfig::replay(dir.path().join("state")) };
    (dir, cfg)
}

#[test]
fn lesson_047_filings_and_yields_arrive_when_they_are_public_and_change_no_yesterday() {
    let (dir, cfg) = folder_world();
    let b = bench_with(dir, cfg, "2017-11-29T23:20:00Z", true);
    let window = range("2017-01-01", "2017-11-30");
    done(&ask(&b, "sec_edgar", "fundamentals", &["0000320193"], window));
    done(&ask(&b, "treasury", "treasury", &[""], window));
    refresh_reference(&b.ctx.root, &b.ctx.db).unwrap();
    let item = ("0000320193".to_string(), "dei:EntityCommonStockSharesOutstanding".to_string(), "shares".to_string());
    let days = ["2017-05-03", "2017-05-04", "2017-08-02", "2017-11-03", "2017-11-06", "2017-11-29"].map(day);
    let known = || {
        let facts = Fundamentals::load(&b.ctx.root).unwrap();
        days.map(|d| facts.usable_at_open(&item, d).map(|r| r.value))
    };
    let before = known();
    assert_eq!(before, [None, Some(5_213_840_000.0), Some(5_213_840_000.0), Some(5_165_228_000.0), Some(5_134_312_000.0), Some(5_134_312_000.0)]);
    let curve = Macros::load(&b.ctx.root).unwrap();
    assert_eq!(curve.usable_at_open("BC_10YEAR", day("2017-11-28")), Some((day("2017-11-27"), 2.32)), "a curve is known at the next open");
    assert_eq!(curve.value_as_of("BC_1MONTH", day("2017-11-28"), day("2017-11-29")), None, "no value is no value");
    // Tomorrow's filing, and what may not be seen yet.
    assert_eq!(Fundamentals::load(&b.ctx.root).unwrap().history(&item).len(), 3);
    b.host.block_on(super::super::client::advance(&b.host, &b.sandbox.base(), t("2018-02-05T23:20:00Z"))).unwrap().unwrap();
    done(&ask(&b, "sec_edgar", "fundamentals", &["0000320193"], range("2017-12-01", "2018-02-05")));
    refresh_reference(&b.ctx.root, &b.ctx.db).unwrap();
    assert_eq!(known(), before, "tomorrow's filing changes nothing that was known");
    assert_eq!(Fundamentals::load(&b.ctx.root).unwrap().usable_at_open(&item, day("2018-02-05")).map(|r| r.value), Some(5_074_013_000.0));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

/// A call with the practice keys of every vendor.
pub fn keyed(target: &str) -> Call {
    let mut out = call("GET", target, "");
    let authorization = if target.starts_with("/tiingo") { format!("Token {}", keys::TIINGO) } else { format!("Bearer {}", keys::MASSIVE) };
    for (name, value) in [("authorization", authorization), ("user-agent", keys::SEC_CONTACT.to_string()), ("host", "127.0.0.1:9".into())] {
        out.headers.insert(name.into(), value);
    }
    out.query.insert("apikey".into(), keys::FMP.into());
    out
}

#[test]
fn wrong_keys_unknown_places_and_lists_are_answered_in_each_vendors_words() {
    let (_dir, cfg) = folder_world();
    let state = State::open(&SandboxConfig { now: Some(t("2017-11-29T23:20:00Z")), ..cfg }).unwrap();
    let status = |c: &Call| state.answer(c).reply.status;
    for (target, wrong, odd) in [
        ("/tiingo/tiingo/daily/A/prices", 401, "/tiingo/tiingo/daily/ZZZZ/prices"),
        ("/massive/v1/marketstatus/now", 401, "/massive/v9/none"),
        ("/fmp/stable/delisted-companies", 401, "/fmp/nothing"),
        ("/sec_data/submissions/CIK0000320193.json", 403, "/sec_data/submissions/CIK0000000001.json"),
    ] {
        let bare = Call { headers: BTreeMap::new(), query: BTreeMap::new(), ..keyed(target) };
        assert_eq!((status(&bare), status(&keyed(target)), status(&keyed(odd))), (wrong, 200, 404), "{target}");
    }
    assert_eq!(status(&keyed("/fmp/stable/quote?symbol=A")), 402);
    assert_eq!(status(&keyed("/fmp/api/v3/profile/A")), 403);
    assert_eq!(status(&keyed("/massive/v2/last/trade/A")), 403);
    let tickers = state.answer(&keyed("/sec_www/files/company_tickers.json")).reply.value();
    assert_eq!((tickers["0"]["cik_str"].as_u64(), tickers["0"]["ticker"].as_str()), (Some(320_193), Some("AAPL")));
    let filed = state.answer(&keyed("/sec_data/submissions/CIK0000320193.json")).reply.value();
    assert_eq!(filed["filings"]["recent"]["filingDate"], serde_json::json!(["2017-11-03", "2017-08-02", "2017-05-03"]));
    let gone = state.answer(&keyed("/massive/v3/reference/tickers?active=false")).reply.value();
    assert_eq!((gone["results"][0]["ticker"].as_str(), gone["results"][0]["delisted_utc"].as_str()), (Some("C"), Some("2017-11-27T00:00:00Z")));
    let today = state.answer(&keyed("/massive/v2/aggs/grouped/locale/us/market/stocks/2017-11-29")).reply;
    assert_eq!(today.status, 403, "the day in progress is not served");
    let csv = state.answer(&keyed("/tiingo/tiingo/daily/A/prices?startDate=2017-11-28&format=csv")).reply;
    assert_eq!(String::from_utf8_lossy(&csv.body).lines().count(), 3);
}

#[test]
fn lesson_049_adjusted_columns_follow_later_events_and_raw_ones_do_not() {
    let (dir, cfg) = folder_world();
    let data = dir.path().join("world");
    std::fs::write(
        data.join("corp_actions.csv"),
        "symbol,event_type,ex_date,record_date,pay_date,ratio,cash\nA,split,2017-11-27,,,4,\nB,dividend,2017-11-28,,,,0.5\n",
    )
    .unwrap();
    let at = |now: &str, target: &str| {
        let state = State::open(&SandboxConfig { now: Some(t(now)), state_dir: dir.path().join(now.replace(':', "")), ..cfg.clone() }).unwrap();
        state.answer(&keyed(target)).reply.value()
    };
    let ask = "/tiingo/tiingo/daily/A/prices?startDate=2017-11-24&endDate=2017-11-27";
    let (early, late) = (at("2017-11-26T12:00:00Z", ask), at("2017-11-29T12:00:00Z", ask));
    let column = |v: &Value, i: usize, c: &str| v[i][c].as_f64().unwrap();
    assert_eq!((column(&early, 0, "adjClose"), column(&late, 0, "adjClose")), (103.0, 25.75));
    assert_eq!((column(&early, 0, "close"), column(&late, 0, "close"), column(&late, 1, "splitFactor")), (103.0, 103.0, 4.0));
    let paid = at("2017-11-29T12:00:00Z", "/tiingo/tiingo/daily/B/prices?startDate=2017-11-27&endDate=2017-11-28");
    assert_eq!((column(&paid, 1, "divCash"), column(&paid, 0, "adjClose")), (0.5, 54.0 * (1.0 - 0.5 / 54.0)));
    let raw = at("2017-11-29T12:00:00Z", "/massive/v2/aggs/ticker/A/range/1/day/2017-11-24/2017-11-24?adjusted=false");
    let split = at("2017-11-29T12:00:00Z", "/massive/v2/aggs/ticker/A/range/1/day/2017-11-24/2017-11-24");
    assert_eq!((raw["results"][0]["c"].as_f64(), split["results"][0]["c"].as_f64()), (Some(103.0), Some(25.75)));
}

#[test]
fn a_folders_own_minutes_are_served_as_they_are() {
    use polars::prelude::Column;
    let (dir, cfg) = folder_world();
    let stamps: Vec<i64> = ["2017-11-28T14:30:00Z", "2017-11-28T14:31:00Z", "2017-11-28T20:59:00Z"].map(|s| t(s).micros()).into();
    let column = |name: &str, x: f64| Column::new(name.into(), vec![x; 3]);
    let ts =
        polars::prelude::Series::new("ts".into(), stamps).cast(&polars::prelude::DataType::Datetime(polars::prelude::TimeUnit::Microseconds, None)).unwrap();
    let mut frame = DataFrame::new(
        3,
        vec![
            Column::from(ts),
            Column::new("symbol".into(), vec!["A"; 3]),
            column("open", 1.0),
            column("high", 2.0),
            column("low", 0.5),
            column("close", 1.5),
            column("volume", 10.0),
        ],
    )
    .unwrap();
    std::fs::write(dir.path().join("world/bars_1m.parquet"), store::parquet_bytes(&mut frame).unwrap()).unwrap();
    let b = bench_with(dir, cfg, "2017-11-29T23:20:00Z", true);
    let window = range("2017-11-28", "2017-11-29");
    done(&ask(&b, "alpaca", "equities_minute", &["A"], window));
    done(&ask(&b, "massive", "equities_minute", &["A"], window));
    assert_eq!(closes(&b, "alpaca", "equities_minute").len(), 3);
    assert_eq!(closes(&b, "massive", "equities_minute"), closes(&b, "alpaca", "equities_minute"));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_curve_without_a_years_entries_is_an_empty_feed() {
    let (_dir, cfg) = folder_world();
    let state = State::open(&SandboxConfig { now: Some(t("2017-11-29T23:20:00Z")), ..cfg }).unwrap();
    let path = "/treasury/resource-center/data-chart-center/interest-rates/pages/xml?data=daily_treasury_yield_curve";
    let entries = |period: &str| String::from_utf8(state.answer(&keyed(&format!("{path}&{period}"))).reply.body).unwrap().matches("<entry>").count();
    assert_eq!((entries("field_tdr_date_value=2017"), entries("field_tdr_date_value_month=201711")), (2, 2));
    assert_eq!((entries("field_tdr_date_value=2016"), entries("field_tdr_date_value=2018")), (0, 0), "next year's curve is not public");
}

#[test]
fn a_chain_is_read_page_by_page_and_its_quotes_are_judged() {
    let (dir, cfg) = folder_world();
    let head = "underlying,date,expiration,right,strike,bid,ask,last\n";
    // A crossed quote, one without a bid, and a worse strike that bids more than a better one asks.
    let rows = "A,2017-11-28,2017-12-15,C,90,12,12.5,12.2\nA,2017-11-28,2017-12-15,C,95,13,13.5,\nA,2017-11-28,2017-12-15,C,100,3.2,3,\n\
        A,2017-11-28,2017-12-15,C,150,0,0.05,\nA,2017-11-28,2017-12-15,P,100,2.5,2.7,2.6\nA,2018-11-28,2018-12-15,P,100,1,2,\n";
    std::fs::write(dir.path().join("world/option_chains.csv"), format!("{head}{rows}")).unwrap();
    let b = bench_with(dir, cfg, "2017-11-29T23:20:00Z", true);
    faults(&b, "{vendor: alpaca_data, do: page_short, rows: 2}");
    let report = ask(&b, "alpaca", "options_chains", &["A"], range("2017-11-29", "2017-11-30"));
    done(&report);
    assert_eq!((report.rows, report.calls), (5, 3), "five contracts by pages of two; next year's quote is not public");
    let found = crate::findings::findings(&b.ctx.root, &b.ctx.db).unwrap();
    let chain = found.sections.iter().find(|s| s.dataset == "options_chains").unwrap();
    let classes: Vec<(&str, u64)> = chain.anomalies.iter().map(|a| (a.class.as_str(), a.count)).collect();
    assert_eq!(classes, [("a worse strike bid above a better one's ask", 1), ("no bid", 1), ("the bid above the ask", 1)]);
    assert_eq!(found.unexplained, 0);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
