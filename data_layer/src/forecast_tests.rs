use super::*;
use crate::queue::{Kind, seed};
use crate::scheduler::{bootstrap_tasks, listing_tasks};
use crate::testkit::{Kit, day, range};
use std::collections::BTreeSet;

fn at(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("S{i:03}")).collect()
}

fn foretold(kit: &Kit, endpoints: &Endpoints, now: &str) -> Forecast {
    let stage = crate::stage::load(&kit.root).unwrap();
    forecast(&kit.db, endpoints, Slices::default(), &|_| 16, &stage, at(now)).unwrap()
}

fn one<'a>(f: &'a Forecast, dataset: &str) -> &'a Outlook {
    f.datasets.iter().find(|d| d.dataset == dataset).unwrap()
}

#[test]
fn lesson_126_the_free_plans_say_when_it_will_be_there() {
    let kit = Kit::new();
    kit.stage(&["S000"]);
    let endpoints = Endpoints::built_in().unwrap();
    let now = "2026-11-20T10:00:00Z";
    // Stage 0: five years of day bars in 5 x 3 pages, a year of minutes asked by session in batches of 25.
    let mut tasks = bootstrap_tasks(&endpoints, "equities_eod", &names(100), range("2021-01-01", "2026-01-01"), Kind::Bootstrap, None).tasks;
    tasks.extend(bootstrap_tasks(&endpoints, "equities_minute", &names(100), range("2025-01-01", "2026-01-01"), Kind::Bootstrap, None).tasks);
    let month_ends: Vec<TradingDay> = (0..62).map(|i| day("2021-01-04").plus_days(i * 30)).collect();
    tasks.extend(listing_tasks(&endpoints, &month_ends, Kind::Bootstrap, None).unwrap());
    kit.db.write(|tx| seed(tx, at(now), &tasks)).unwrap();
    let f = foretold(&kit, &endpoints, now);
    assert_eq!((one(&f, "equities_eod").tasks, one(&f, "equities_eod").calls), (500, 15));
    let minute = one(&f, "equities_minute");
    assert_eq!(minute.calls, 4 * 250, "250 sessions in 2025");
    let took = minute.ready_at.unwrap().seconds_since(at(now));
    assert!((250.0..360.0).contains(&took), "1,015 calls at 200 a minute: {took}");
    // 124 calls at 21 of 25 a day (the rest is kept for forward work): the sixth day.
    let listings = one(&f, "listings");
    assert_eq!((listings.calls, listings.held_by.as_str()), (124, "day"));
    let days = listings.ready_at.unwrap().seconds_since(at(now)) / 86_400.0;
    assert!((5.0..6.0).contains(&days), "{days}");
    assert_eq!(f.complete_at, listings.ready_at);
    assert!(f.stage_1_at.unwrap() >= f.complete_at.unwrap());
}

#[test]
fn a_freeze_and_what_is_spent_push_it_back() {
    let kit = Kit::new();
    kit.stage(&["S000"]);
    let endpoints = Endpoints::built_in().unwrap();
    let now = at("2026-11-20T10:00:00Z");
    let tasks = bootstrap_tasks(&endpoints, "equities_eod", &names(100), range("2025-01-01", "2026-01-01"), Kind::Bootstrap, None).tasks;
    kit.db.write(|tx| seed(tx, now, &tasks)).unwrap();
    let early = foretold(&kit, &endpoints, "2026-11-20T10:00:00Z").complete_at.unwrap();
    kit.db.write(|tx| budget::freeze(tx, now, "alpaca", now.plus_seconds(600), "429")).unwrap();
    let late = foretold(&kit, &endpoints, "2026-11-20T10:00:00Z").complete_at.unwrap();
    assert!((late.seconds_since(early) - 600.0).abs() < 1.0);
}

#[test]
fn a_limit_on_distinct_symbols_reaches_into_the_next_month() {
    let kit = Kit::new();
    kit.stage(&["S000"]);
    let endpoints = Endpoints::built_in().unwrap().with_keys(BTreeSet::from([Vendor::Tiingo]));
    let now = at("2026-11-20T10:00:00Z");
    let tasks = bootstrap_tasks(&endpoints, "equities_eod", &names(700), range("2012-01-01", "2013-01-01"), Kind::Bootstrap, None).tasks;
    kit.db.write(|tx| seed(tx, now, &tasks)).unwrap();
    let f = foretold(&kit, &endpoints, "2026-11-20T10:00:00Z");
    let tiingo = one(&f, "equities_eod");
    assert_eq!((tiingo.vendor, tiingo.calls, tiingo.held_by.as_str()), (Vendor::Tiingo, 700, "unique_symbols_month"));
    assert_eq!(tiingo.ready_at, Some(at("2026-12-01T00:00:00Z")));
}

#[test]
fn windows_that_share_a_call_are_foretold_as_one() {
    let kit = Kit::new();
    kit.stage(&["S000"]);
    let endpoints = Endpoints::built_in().unwrap().with_keys(BTreeSet::from([Vendor::Tiingo]));
    let now = at("2026-11-20T10:00:00Z");
    let tasks = bootstrap_tasks(&endpoints, "equities_eod", &names(500), range("2011-01-01", "2016-01-01"), Kind::Bootstrap, None).tasks;
    kit.db.write(|tx| seed(tx, now, &tasks)).unwrap();
    let f = foretold(&kit, &endpoints, "2026-11-20T10:00:00Z");
    let tiingo = one(&f, "equities_eod");
    assert_eq!((tiingo.vendor, tiingo.tasks, tiingo.calls), (Vendor::Tiingo, 2_500, 500));
    let hours = tiingo.ready_at.unwrap().seconds_since(now) / 3_600.0;
    assert!((9.0..11.0).contains(&hours), "five hundred calls at fifty an hour: {hours}");
    // Of those at work the call that is under way is not to leave again.
    let packed = kit.db.lock().unwrap().execute("UPDATE backfill_queue SET status = 'LEASED' WHERE symbol = 'S000'", []).unwrap();
    assert_eq!((packed, one(&foretold(&kit, &endpoints, "2026-11-20T10:00:00Z"), "equities_eod").calls), (5, 500));
}
