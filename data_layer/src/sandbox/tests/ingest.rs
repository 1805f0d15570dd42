//! Vendors' lanes from the first request to the reference tables, over the replay world.

use super::super::{Sandbox, client, start};
use super::*;
use crate::control::{Db, Which};
use crate::queue::{Kind, seed};
use crate::reference::{Macros, SP500, load_membership, refresh_reference};
use crate::root::{DataRoot, FsFacts};
use crate::scheduler::{self, DrainUntil, IngestContext, Quiet, bootstrap_tasks, macro_tasks, market_task};
use crate::sourcing::vendors_from;
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}

/// A sandbox of the replay world at an instant, a drive of that world, and what an ingest needs.
pub struct Bench {
    _dir: TempDir,
    pub sandbox: Sandbox,
    pub host: Host,
    pub ctx: IngestContext,
}

pub fn bench(now: &str) -> Bench {
    bench_of("replay@1", now)
}

pub fn bench_of(dataset: &str, now: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset(dataset, dir.path().join("state"));
    bench_with(dir, cfg, now, false)
}

/// The same with every vendor's practice key, over any world.
pub fn bench_with(dir: TempDir, cfg: SandboxConfig, now: &str, all_vendors: bool) -> Bench {
    let outer = host();
    let sandbox = outer.block_on(start(&outer, SandboxConfig { now: Some(t(now)), ..cfg })).unwrap().unwrap();
    let env = if all_vendors { sandbox.env_of_all() } else { sandbox.env.clone() };
    let host = outer.in_world(&env, t(now));
    let root = DataRoot::create(&host, &dir.path().join("drive"), &sandbox.dataset, FsFacts::default(), None).unwrap();
    let db = Arc::new(Db::open(&root, Which::Node).unwrap());
    let vendors = vendors_from(&host, &root, &BTreeMap::new()).unwrap();
    let ctx = IngestContext::new(&host, &root, db, vendors, "node-1").unwrap();
    Bench { _dir: dir, sandbox, host, ctx }
}

#[test]
fn macro_vintages_and_index_membership_come_in_on_request() {
    let b = bench("2017-11-30T21:20:00Z");
    let window = DateRange::new(day("2017-01-01"), day("2017-12-01")).unwrap();
    let endpoints = &b.ctx.vendors().endpoints;
    let mut tasks = macro_tasks(endpoints, &["VIXCLS".into(), "NOPE".into()], window, Kind::Bootstrap, None).unwrap();
    tasks.push(market_task(endpoints, "index_membership", window, Kind::Bootstrap, None).unwrap());
    b.ctx.db.write(|tx| seed(tx, b.host.now(), &tasks)).unwrap();
    let report = b.host.block_on(scheduler::drain(&b.ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap();
    assert_eq!((report.tasks_done, report.failed, report.notices.len()), (3, 0, 0));
    let reference = refresh_reference(&b.ctx.root, &b.ctx.db).unwrap();
    assert_eq!(reference.damaged, Vec::<String>::new());
    let macros = Macros::load(&b.ctx.root).unwrap();
    assert_eq!(macros.series().collect::<Vec<_>>(), ["VIXCLS"]);
    // The close of 10 August, the jump of that summer, was published on the 11th and usable on the 14th.
    assert_eq!(macros.value_as_of("VIXCLS", day("2017-08-10"), day("2017-08-10")), None);
    assert_eq!(macros.value_as_of("VIXCLS", day("2017-08-10"), day("2017-08-11")), Some(16.04));
    assert_eq!(macros.usable_at_open("VIXCLS", day("2017-08-14")), Some((day("2017-08-10"), 16.04)));
    // No stamp is the day of the download.
    assert!(macros.vintages("VIXCLS").unwrap().iter().all(|(observed, v)| v[0].from > *observed && v[0].from <= observed.plus_days(5)));
    let members = load_membership(&b.ctx.root).unwrap();
    let on = |d: &str| members.iter().filter(|m| m.index_name == SP500 && m.contains(day(d))).count();
    assert!((495..=510).contains(&on("2014-01-02")) && (495..=510).contains(&on("2017-11-30")), "{} {}", on("2014-01-02"), on("2017-11-30"));
    assert!(members.iter().all(|m| m.end_date.is_none_or(|e| e <= day("2017-11-30"))), "the world does not know its future");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

fn drained(b: &Bench, dataset: &str, symbols: &[&str], window: DateRange) -> scheduler::DrainReport {
    let symbols: Vec<String> = symbols.iter().map(ToString::to_string).collect();
    let tasks = bootstrap_tasks(&b.ctx.vendors().endpoints, dataset, &symbols, window, Kind::Bootstrap, None).tasks;
    b.ctx.db.write(|tx| seed(tx, b.host.now(), &tasks)).unwrap();
    b.host.block_on(scheduler::drain(&b.ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap()
}

pub fn faults(b: &Bench, plan: &str) {
    b.host.block_on(client::set_faults(&b.host, &b.sandbox.base(), &format!("version: 1\nfaults: [{plan}]"))).unwrap().unwrap();
}

#[test]
fn lesson_018_a_bomb_is_refused_and_the_rest_goes_on() {
    let b = bench("2017-11-30T21:20:00Z");
    faults(&b, "{vendor: alpaca_data, times: 1, do: gzip_bomb, mib: 1024}");
    let window = DateRange::new(day("2017-11-01"), day("2017-12-01")).unwrap();
    let report = drained(&b, "equities_eod", &["AAPL", "MSFT"], window);
    // The first attempt met the bomb, was cut off at the cap and counted; the second brought the bars.
    assert_eq!((report.tasks_done, report.failed, report.rows, report.calls), (2, 0, 42, 2));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_looping_cursor_is_malformed_and_heals() {
    let b = bench("2017-11-30T21:20:00Z");
    faults(&b, "{vendor: alpaca_data, do: page_short, rows: 10, times: 1}, {vendor: alpaca_data, times: 1, do: cursor_loop}");
    let window = DateRange::new(day("2017-11-01"), day("2017-12-01")).unwrap();
    let report = drained(&b, "equities_eod", &["AAPL"], window);
    assert_eq!((report.tasks_done, report.failed, report.rows), (1, 0, 21));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_synthetic_market_comes_in_through_the_same_dialects() {
    let b = bench_of("planted@2:7", "2018-02-07T21:20:00Z");
    let window = DateRange::new(day("2018-02-01"), day("2018-02-08")).unwrap();
    let names = ["AAPL", "MSFT", "XOM"];
    let eod = drained(&b, "equities_eod", &names, window);
    let minutes = drained(&b, "equities_minute", &names, window);
    let actions = drained(&b, "corp_actions", &names, DateRange::new(day("2017-01-01"), day("2018-02-08")).unwrap());
    assert_eq!((eod.failed, minutes.failed, actions.failed), (0, 0, 0));
    assert_eq!(minutes.rows % 390, 0, "whole sessions: {}", minutes.rows);
    assert_eq!(minutes.rows, eod.rows * 390);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
