//! The vendors' plans, enforced by the server: a client that keeps its own ledger meets none of them, and one that believes
//! too much learns.

use super::super::limits::{Enforce, Meter, PLANS, Window, refusal};
use super::dialects::{ask, keyed, market, range};
use super::ingest::faults;
use super::*;
use crate::budget::Per;
use crate::queue::{Kind, NewTask, seed};
use crate::root::DataPath;
use crate::scheduler::{self, DrainUntil, IngestContext, Quiet};
use crate::sourcing::{Endpoints, Vendor, vendors_from};
use crate::vendor::classify::{Answer, Class, classify};
use std::collections::BTreeMap;

/// Which vendor a service's answers are judged as.
fn vendor(service: &str) -> Vendor {
    Vendor::parse(match service {
        "alpaca_data" => "alpaca",
        "sec" => "sec_edgar",
        other => other,
    })
    .unwrap()
}

#[test]
fn lesson_009_every_plans_refusal_has_its_class_and_its_window() {
    let now = t("2017-11-30T21:20:00Z");
    for (service, plan) in PLANS {
        for (window, _) in *plan {
            let reply = refusal(service, *window, now);
            let class = classify(&Answer { vendor: vendor(service), status: reply.status, headers: &BTreeMap::new(), body: &reply.body }).class;
            let expected = match (*service, window) {
                ("sec", _) => (None, Some(600.0)),
                ("alpha_vantage", Window::Second) => (Some(Per::Second), Some(1.5)),
                ("fred", _) => (Some(Per::Second), Some(20.0)),
                ("fmp", _) | (_, Window::Day | Window::EasternDay) => (Some(Per::Day), None),
                ("finnhub" | "alpaca_data" | "massive", _) => (Some(Per::Minute), None),
                (_, Window::SymbolsOfMonth) => (Some(Per::Month), None),
                _ => (Some(Per::Hour), None),
            };
            assert_eq!(class, Class::RateLimited { per: expected.0, seconds: expected.1 }, "{service} {window:?}");
        }
    }
    // Tiingo has been seen to refuse with 200.
    let body = refusal("tiingo", Window::Hour, now).body;
    let class = classify(&Answer { vendor: Vendor::Tiingo, status: 200, headers: &BTreeMap::new(), body: &body }).class;
    assert_eq!(class, Class::RateLimited { per: Some(Per::Hour), seconds: None });
}

/// How many of `n` calls pass, `step` seconds apart.
fn passed(meter: &mut Meter, from: UtcTime, n: usize, step: f64, target: impl Fn(usize) -> String) -> usize {
    let at = |i: usize| from.plus_seconds((i as f64 * step) as i64);
    (0..n).filter(|i| meter.refuse(&keyed(&target(*i)), at(*i), Enforce::All).is_none()).count()
}

#[test]
fn each_window_closes_and_opens_again() {
    let prices = |i: usize| format!("/tiingo/tiingo/daily/S{i}/prices");
    let noon = t("2017-11-30T17:00:00Z");
    let mut tiingo = Meter::default();
    assert_eq!(passed(&mut tiingo, noon, 70, 0.0, prices), 50, "an hour");
    assert_eq!(passed(&mut tiingo, noon.plus_seconds(3_600), 70, 0.0, prices), 50, "the next hour");
    let mut tiingo = Meter::default();
    assert_eq!(passed(&mut tiingo, t("2017-11-01T05:00:00Z"), 700, 100.0, prices), 500, "distinct symbols of a month");
    assert_eq!(passed(&mut tiingo, t("2017-11-15T05:00:00Z"), 40, 100.0, prices), 40, "known ones go on");
    assert_eq!(passed(&mut tiingo, t("2017-12-01T06:00:00Z"), 1, 0.0, |_| "/tiingo/tiingo/daily/NEW/prices".into()), 1, "the next month");
    let mut tiingo = Meter::default();
    let day: usize = (0..24).map(|h| passed(&mut tiingo, t("2017-11-30T05:00:00Z").plus_seconds(h * 3_600), 50, 0.0, |_| prices(1))).sum();
    assert_eq!(day, 1_000, "a day in New York");
    let mut massive = Meter::default();
    let status = |_| "/massive/v1/marketstatus/now".to_string();
    assert_eq!((passed(&mut massive, noon, 9, 1.0, status), passed(&mut massive, noon.plus_seconds(61), 9, 1.0, status)), (5, 5));
    let mut fmp = Meter::default();
    let gone = |_| "/fmp/stable/delisted-companies".to_string();
    assert_eq!((passed(&mut fmp, noon, 300, 1.0, gone), passed(&mut fmp, noon.plus_seconds(90_000), 1, 1.0, gone)), (250, 1));
    // The SEC is silent for ten minutes over both hosts, and asking begins them anew.
    let mut sec = Meter::default();
    assert_eq!(passed(&mut sec, noon, 15, 0.0, |i| if i % 2 == 0 { "/sec_data/submissions/X.json".into() } else { "/sec_www/files/x".into() }), 10);
    let (data, www) = (|_: usize| "/sec_data/x".to_string(), |_: usize| "/sec_www/x".to_string());
    assert_eq!((passed(&mut sec, noon.plus_seconds(500), 1, 1.0, www), passed(&mut sec, noon.plus_seconds(700), 1, 1.0, data)), (0, 0));
    assert_eq!(passed(&mut sec, noon.plus_seconds(1_301), 1, 1.0, data), 1);
    // Massive's free plan reaches two years back.
    let old = keyed("/massive/v2/aggs/ticker/A/range/1/day/2015-11-01/2015-11-30");
    let class = |r: &Reply| classify(&Answer { vendor: Vendor::Massive, status: r.status, headers: &BTreeMap::new(), body: &r.body }).class;
    assert_eq!(Meter::default().refuse(&old, noon, Enforce::Long).map(|r| class(&r)), Some(Class::BeyondDepth));
    assert!(Meter::default().refuse(&old, noon, Enforce::Off).is_none());
}

#[test]
fn the_registry_asks_for_no_more_than_the_plans_allow() {
    let endpoints = Endpoints::built_in().unwrap();
    for (service, plan) in PLANS {
        let ours = endpoints.limits(vendor(service), Default::default()).unwrap();
        for (window, most) in *plan {
            let per = match window {
                Window::Second => Per::Second,
                Window::Minute => Per::Minute,
                Window::Hour => Per::Hour,
                Window::Day | Window::EasternDay => Per::Day,
                Window::SymbolsOfMonth => Per::UniqueSymbolsMonth,
            };
            let seconds = if per == Per::UniqueSymbolsMonth { i64::MAX } else { per.seconds() };
            let strictest = ours.windows.iter().filter(|w| w.per == per || (w.per != Per::UniqueSymbolsMonth && w.per.seconds() <= seconds));
            assert!(strictest.clone().any(|w| w.calls as usize <= *most), "{service} {window:?}: {:?}", ours.windows);
        }
    }
}

fn names(n: usize) -> Vec<&'static str> {
    include_str!("../../../assets/universe/stage0_100.txt").lines().take(n).collect()
}

#[test]
fn a_bootstrap_of_more_than_an_hours_calls_meets_no_refusal() {
    let b = market();
    faults(&b, "");
    b.host.block_on(super::super::client::set_faults(&b.host, &b.sandbox.base(), "version: 1\nlimits: long\n")).unwrap().unwrap();
    let window = range("2018-02-01", "2018-02-07");
    let mut report = ask(&b, "tiingo", "equities_eod", &names(60), window);
    let (mut done, mut hours) = (report.tasks_done, 0);
    while let Some(until) = report.waiting_until {
        assert!(done <= 50 * (hours + 1), "{done}");
        b.host.block_on(super::super::client::advance(&b.host, &b.sandbox.base(), until)).unwrap().unwrap();
        report = b.host.block_on(scheduler::drain(&b.ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap();
        (done, hours) = (done + report.tasks_done, hours + 1);
        assert!(hours < 9);
    }
    let refused: u64 = crate::budget::ledger(&b.ctx.db.lock().unwrap()).unwrap().values().map(|(_, _, remote)| remote).sum();
    assert_eq!((done, report.failed, refused), (60, 0, 0));
    assert!(hours >= 1, "sixty calls do not fit an hour of fifty");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_plan_that_is_smaller_than_believed_is_learned_and_nothing_is_lost() {
    let b = market();
    let text = include_str!("../../../../configs/endpoints.yml").replace("{per: hour, calls: 50}", "{per: hour, calls: 90}");
    crate::store::write_atomic(&b.ctx.root, &DataPath::new("control/configs/endpoints.yml").unwrap(), text.as_bytes()).unwrap();
    let vendors = vendors_from(&b.host, &b.ctx.root, &BTreeMap::new()).unwrap();
    let ctx = IngestContext::new(&b.host, &b.ctx.root, b.ctx.db.clone(), vendors, "node-1").unwrap();
    b.host.block_on(super::super::client::set_faults(&b.host, &b.sandbox.base(), "version: 1\nlimits: long\n")).unwrap().unwrap();
    let window = range("2018-02-01", "2018-02-07");
    let task = |symbol: &&str| NewTask {
        dataset: "equities_eod".into(),
        symbol: (*symbol).into(),
        range: window,
        kind: Kind::Gap,
        priority: Kind::Gap.priority(),
        vendor: "tiingo".into(),
        not_before: None,
        run_id: None,
    };
    ctx.db.write(|tx| seed(tx, b.host.now(), &names(70).iter().map(task).collect::<Vec<_>>())).unwrap();
    let drain = || b.host.block_on(scheduler::drain(&ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap();
    let mut report = drain();
    assert_eq!((report.tasks_done, report.failed), (50, 0));
    let mut done = report.tasks_done;
    for _ in 0..6 {
        let Some(until) = report.waiting_until else { break };
        b.host.block_on(super::super::client::advance(&b.host, &b.sandbox.base(), until)).unwrap().unwrap();
        report = drain();
        done += report.tasks_done;
    }
    assert_eq!((done, report.failed, report.waiting_until), (70, 0, None));
    let cap: Option<i64> = {
        let conn = ctx.db.lock().unwrap();
        conn.query_row("SELECT MIN(learned_cap) FROM budget_spend WHERE vendor = 'tiingo'", [], |r| r.get(0)).unwrap()
    };
    assert!(cap.is_some_and(|c| c <= 53), "{cap:?}");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
