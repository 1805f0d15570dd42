use super::super::world::World;
use super::super::{load, market_data};
use super::*;
use crate::calendar::Calendar;
use crate::time::TradingDay;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;

fn replay() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| load::embedded().unwrap())
}

/// Every row of a paged answer as (symbol, stamp), and how many pages it took.
fn collect(now: UtcTime, query: &str) -> (Vec<(String, String)>, usize) {
    let (mut rows, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = market_data::answer(replay(), now, &call("GET", &format!("/alpaca_data/v2/stocks/bars?{query}&timeframe=1Day{token}"), ""));
        assert_eq!(page.status, 200, "{:?}", page.value());
        pages += 1;
        let v = page.value();
        for (symbol, bars) in v["bars"].as_object().unwrap() {
            rows.extend(bars.as_array().unwrap().iter().map(|b| (symbol.clone(), b["t"].as_str().unwrap().to_string())));
        }
        match v["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => return (rows, pages),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn paging_returns_every_row_once_for_any_limit(limit in 1usize..90, first in 0usize..90, n in 1usize..6, descending: bool) {
        let now = t("2014-04-30T21:00:00Z");
        let symbols: Vec<&str> = replay().series.iter().skip(first).take(n).map(|s| s.symbol.as_str()).collect();
        let sort = if descending { "desc" } else { "asc" };
        let query = format!("symbols={}&start=2014-03-03&end=2014-04-15&sort={sort}&limit=", symbols.join(","));
        let (whole, _) = collect(now, &format!("{query}10000"));
        let (paged, pages) = collect(now, &format!("{query}{limit}"));
        prop_assert_eq!(&paged, &whole);
        prop_assert_eq!(pages, whole.len().div_ceil(limit).max(1));
        let mut expected: Vec<(String, String)> = Vec::new();
        for s in &symbols {
            let days = replay().series(s).unwrap().days.iter().filter(|d| ("2014-03-03".."2014-04-16").contains(&d.to_string().as_str()));
            expected.extend(days.map(|d| (s.to_string(), super::super::clock::seconds(super::super::clock::midnight(*d)))));
        }
        prop_assert_eq!(whole.len(), expected.len());
        prop_assert_eq!(whole.into_iter().collect::<std::collections::BTreeSet<_>>(), expected.into_iter().collect());
    }
}

#[test]
fn no_bar_is_served_before_its_session_has_closed() {
    let calendar = Calendar::xnys();
    // A full day, the half day after Thanksgiving, the days around the clock changes, a Friday before a long weekend.
    for day in ["2017-11-22", "2017-11-24", "2017-03-10", "2017-03-13", "2017-11-03", "2017-11-06", "2017-09-01"] {
        let day: TradingDay = day.parse().unwrap();
        for seconds in [-86_400, -23_401, -14_400, -3_600, -900, -1, 0, 1, 899, 900, 3_600, 10_000] {
            let now = calendar.close(day).plus_seconds(seconds);
            // The widest question that the vendor answers, on the feed without a delay rule.
            let query = format!("symbols=AAPL,MSFT&start=2017-01-03&end={now}&feed=iex&limit=10000");
            let (rows, _) = collect(now, &query);
            let newest = rows.iter().map(|(_, stamp)| stamp[..10].parse::<TradingDay>().unwrap()).max().unwrap();
            assert_eq!(newest, calendar.last_closed(now).unwrap(), "at {now}");
            assert!(calendar.close(newest) <= now);
        }
    }
}

#[test]
fn the_consolidated_feed_keeps_its_last_quarter_of_an_hour() {
    let ask = |now: &str, query: &str| market_data::answer(replay(), t(now), &call("GET", &format!("/alpaca_data/v2/stocks/bars?symbols=A&{query}"), ""));
    let at = "2017-11-30T21:10:00Z";
    let fresh = ask(at, "timeframe=1Day&start=2017-11-01&end=2017-11-30T20:55:01Z");
    assert_eq!((fresh.status, fresh.value()["message"].as_str().unwrap()), (403, "subscription does not permit querying recent SIP data"));
    assert_eq!(ask(at, "timeframe=1Day&start=2017-11-01&end=2017-11-30T20:55:00Z").status, 200);
    assert_eq!(ask(at, "timeframe=1Day&start=2017-11-01").status, 200);
    let dated = ask(at, "timeframe=1Day&start=2017-11-30&end=2017-11-30").value();
    assert_eq!(dated["bars"]["A"].as_array().unwrap().len(), 1);
    assert_eq!(dated["bars"]["A"][0]["t"], "2017-11-30T05:00:00Z");
    let minutes = ask(at, "timeframe=1Min&start=2017-11-01&end=2017-11-02");
    assert_eq!(minutes.status, 403);
    assert!(!minutes.value()["message"].as_str().unwrap().contains("recent SIP"));
    for bad in ["", "timeframe=1Day&limit=0", "timeframe=1Day&limit=10001", "timeframe=1Day&start=x", "timeframe=1Day&feed=x", "timeframe=1Day&page_token=zz"] {
        assert_eq!(ask(at, bad).status, 400, "{bad}");
    }
}

#[test]
fn bars_carry_the_source_and_nulls_stay_null() {
    let now = t("2015-06-01T21:00:00Z");
    let ask = |q: &str| market_data::answer(replay(), now, &call("GET", &format!("/alpaca_data/v2/stocks/bars?timeframe=1Day&{q}"), "")).value();
    let v = ask("symbols=VRTX,NOPE,HLT&start=2015-05-12&end=2015-05-12");
    assert_eq!(v["bars"].as_object().unwrap().len(), 1);
    let bar = &v["bars"]["VRTX"][0];
    assert!(bar["o"].is_null() && bar["vw"].is_null() && bar["c"] == 124.08 && bar["v"] == 569_747);
    assert_eq!(ask("symbols=NOPE&start=2015-05-12&end=2015-05-12")["bars"], serde_json::json!({}));
    let wrong_key = Call { headers: BTreeMap::new(), ..call("GET", "/alpaca_data/v2/stocks/bars?symbols=A&timeframe=1Day", "") };
    assert_eq!(market_data::answer(replay(), now, &wrong_key).status, 401);
    let none = market_data::answer(replay(), now, &call("GET", "/alpaca_data/v1/corporate-actions?start=2013-01-01", ""));
    assert_eq!(none.value(), serde_json::json!({"corporate_actions": {}, "next_page_token": null}));
}

#[test]
fn a_folder_with_name_and_text_dates_is_a_world() {
    let small = small();
    let state = small.open();
    let dataset = state.world.dataset();
    assert!(dataset.starts_with("folder-") && dataset.ends_with("@1") && dataset.len() == "folder-12345678@1".len(), "{dataset}");
    assert_eq!(state.world.listing("C").unwrap().delisted, Some("2017-11-27".parse().unwrap()));
    assert_eq!(state.world.listing("A").unwrap().delisted, None);
    let listing = |date: &str, which: &str| {
        let reply = state.get(&format!("/alpha_vantage/query?function=LISTING_STATUS&apikey={}&date={date}&state={which}", keys::ALPHA_VANTAGE));
        String::from_utf8(reply.body).unwrap().lines().skip(1).map(str::to_string).collect::<Vec<_>>()
    };
    state.go("2017-11-27T21:30:00Z");
    assert_eq!(listing("2017-11-29", "active").len(), 3, "a day after the world clock knows no more than the clock");
    assert!(listing("2017-11-27", "delisted").is_empty());
    state.go("2017-11-29T21:30:00Z");
    assert_eq!(listing("2017-11-29", "delisted"), ["C,C,NYSE,Stock,2017-11-21,2017-11-27,Delisted"]);
    assert_eq!(listing("2017-11-24", "active")[2], "C,C,NYSE,Stock,2017-11-21,null,Active");
    let refused = state.get("/alpha_vantage/query?function=LISTING_STATUS&apikey=demo");
    assert_eq!((refused.status, refused.value()["Error Message"].is_string()), (200, true));
    drop(small.dir);
}

#[test]
fn worlds_say_their_name_and_serve_their_actions() {
    let small = small();
    let data = small.cfg.data_dir.clone().unwrap();
    std::fs::write(data.join("world.yml"), "id: tiny\nversion: 3\nadjusted: raw\nknown_bias: none\n").unwrap();
    std::fs::write(
        data.join("corp_actions.csv"),
        "symbol,event_type,ex_date,record_date,pay_date,ratio,cash\nA,split,2017-11-24,,,2,\nB,dividend,2017-11-22,,2017-11-28,,0.5\n",
    )
    .unwrap();
    let state = small.open();
    assert_eq!(state.world.dataset(), "tiny@3");
    let ask = |q: &str| state.get(&format!("/alpaca_data/v1/corporate-actions?start=2017-01-01&end=2017-12-31{q}")).value();
    assert_eq!(ask("")["corporate_actions"], serde_json::json!({}), "nothing has happened yet");
    state.go("2017-11-28T21:00:00Z");
    assert_eq!(ask("")["corporate_actions"]["forward_splits"][0]["new_rate"], 2.0);
    assert_eq!(ask("&types=cash_dividend")["corporate_actions"]["cash_dividends"][0]["rate"], 0.5);
    let first = ask("&limit=1");
    assert_eq!(first["next_page_token"], "ca1");
    assert!(ask("&limit=1&page_token=ca1")["corporate_actions"]["cash_dividends"].is_array());
    let adjusted = state.get("/alpaca_data/v2/stocks/bars?symbols=A&timeframe=1Day&start=2017-11-21&end=2017-11-22&adjustment=all");
    assert_eq!(adjusted.status, 400);
}

fn fred(target: &str, now: &str) -> Reply {
    super::super::fred::answer(replay(), t(now), &call("GET", &format!("/fred{target}&file_type=json&api_key={}", keys::FRED), ""))
}

#[test]
fn the_volatility_index_is_served_by_vintage_and_never_from_the_future() {
    let now = "2017-11-30T21:20:00Z";
    let plain = fred("/fred/series/observations?series_id=VIXCLS&observation_start=2017-11-20", now).value();
    let days: Vec<&str> = plain["observations"].as_array().unwrap().iter().filter_map(|o| o["date"].as_str()).collect();
    // The close of the 29th is published on the morning of the 30th, that of the 30th not yet.
    assert_eq!(days, ["2017-11-20", "2017-11-21", "2017-11-22", "2017-11-24", "2017-11-27", "2017-11-28", "2017-11-29"]);
    assert_eq!(plain["observations"][0]["realtime_start"], "2017-11-30", "without a period it is today's vintage");
    let vintages = fred(
        "/fred/series/observations?series_id=VIXCLS&observation_start=2017-11-22&observation_end=2017-11-22&realtime_start=2017-11-01&realtime_end=9999-12-31",
        now,
    )
    .value();
    let one = &vintages["observations"][0];
    assert_eq!((one["realtime_start"].as_str(), one["realtime_end"].as_str()), (Some("2017-11-24"), Some("9999-12-31")));
    let list = fred("/fred/series/vintagedates?series_id=VIXCLS&realtime_start=2017-11-27&realtime_end=9999-12-31", now).value();
    assert_eq!(list["vintage_dates"], serde_json::json!(["2017-11-27", "2017-11-28", "2017-11-29", "2017-11-30"]));
    assert_eq!(fred("/fred/series/observations?series_id=NOPE", now).status, 400);
    let wrong = super::super::fred::answer(replay(), t(now), &call("GET", "/fred/fred/series?series_id=VIXCLS&file_type=json&api_key=wrong", ""));
    assert!(wrong.value()["error_message"].as_str().unwrap().contains("api_key is not registered"));
}

#[test]
fn index_members_are_served_as_dated_changes_up_to_the_worlds_day() {
    let ask = |now: &str| {
        let mut c = call("GET", "/finnhub//index/historical-constituents?symbol=^GSPC", "");
        c.headers.insert("x-finnhub-token".into(), keys::FINNHUB.into());
        super::super::finnhub::answer(replay(), t(now), &c).value()["historicalConstituents"].as_array().unwrap().clone()
    };
    let (early, late) = (ask("2014-01-02T21:00:00Z"), ask("2017-11-30T21:00:00Z"));
    assert!(early.len() < late.len() && late.iter().all(|c| c["date"].as_str().unwrap() <= "2017-11-30"));
    let has = |list: &[Value], symbol: &str| list.iter().any(|c| c["symbol"] == symbol && c["action"] == "add");
    assert!(has(&late, "PYPL") && !has(&early, "PYPL"));
    let refused = super::super::finnhub::answer(replay(), t("2017-11-30T21:00:00Z"), &call("GET", "/finnhub/index/historical-constituents", ""));
    assert_eq!(refused.status, 401);
}
