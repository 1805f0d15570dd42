//! What a quiet round costs. A drive is filled for years; a round that finds nothing new must not cost more with each of them.

use super::super::known;
use super::*;
use crate::fetch::transport::Sending;
use crate::fetch::{Call, Transport};
use crate::host::FakeHost;
use crate::queue::{Kind, NewTask};
use crate::scheduler::{IngestContext, Quiet};
use crate::segment;
use crate::sourcing::settings::Loops;
use crate::sourcing::vendors_from;
use crate::stage::{Stage, Target, Universe};
use crate::store::looks;
use crate::testkit::{Kit, day, good_bars};
use crate::time::DateRange;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nobody is asked anything.
struct Silence;

impl Transport for Silence {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        panic!("{} was called", call.url);
    }
}

const NOW: &str = "2018-03-01T12:00:00Z";

/// A drive that was kept for `years`, with an answer about bars, one about actions and a list of names for each `step` days, and every
/// row of the queue that brought them. So many `others` are listed.
fn drive(symbols: &[&str], others: usize, years: i16, step: i32) -> Kit {
    let kit = Kit::with_host("replay@1", Host::fake(FakeHost { now: UtcTime::parse(NOW).unwrap(), ..FakeHost::default() }));
    let universe = Universe::new("test", symbols.iter().map(ToString::to_string).collect());
    let mut stage = Stage::initial(day("2018-01-02"), universe, BTreeMap::new());
    stage.targets = BTreeMap::from([(0, Target { symbols: 100, eod_years: u16::try_from(years).unwrap(), minute_years: 0 })]);
    crate::stage::write(&kit.root, &stage).unwrap();
    let end = day("2018-03-01");
    let (mut from, mut rows) = (end.minus_years(years), Vec::new());
    while from < end {
        let window = DateRange::new(from, from.plus_days(step).min(end)).unwrap();
        let bars = good_bars(symbols, window);
        if bars.is_empty() {
            from = window.end;
            continue;
        }
        enter(&kit, &kit.commit("alpaca", symbols, window, &bars));
        enter(&kit, &kit.actions(symbols, DateRange { end: window.end.plus_days(70), ..window }, &[]));
        let others: Vec<String> = (0..others).map(|n| format!("X{n}")).collect();
        let all = symbols.iter().copied().chain(others.iter().map(String::as_str));
        let listed: Vec<_> = all.map(|s| (s, Some("1990-01-02"), None)).collect();
        enter(&kit, &kit.listings(&window.end.plus_days(-1).to_string(), &listed));
        for (dataset, symbol) in symbols.iter().flat_map(|s| [(dataset::EQUITIES_EOD, *s), (dataset::CORP_ACTIONS, *s)]) {
            let (dataset, symbol, vendor) = (dataset.to_string(), symbol.to_string(), "alpaca".to_string());
            let (kind, priority) = (Kind::Bootstrap, Kind::Bootstrap.priority());
            rows.push(NewTask { dataset, symbol, range: window, kind, priority, vendor, not_before: None, run_id: None });
        }
        from = window.end;
    }
    kit.db
        .write(|tx| {
            queue::seed(tx, kit.root.host().now(), &rows)?;
            tx.execute("UPDATE backfill_queue SET status = 'DONE', outcome = 'OK'", [])?;
            queue::recount(tx)
        })
        .unwrap();
    kit
}

/// Enter an answer as a commit does.
fn enter(kit: &Kit, manifest: &segment::Manifest) {
    kit.db.write(|tx| segment::register(tx, &crate::root::DataPath::new("manifests/entered.json")?, manifest)).unwrap();
}

fn service(kit: &Kit) -> Service {
    let host = kit.root.host().clone();
    let db = Arc::new(Db::open(&kit.root, control::Which::Node).unwrap());
    let vendors = vendors_from(&host, &kit.root, &BTreeMap::new()).unwrap();
    let ctx = IngestContext::with_transport(&host, &kit.root, db, vendors, "node-1", Arc::new(Silence)).unwrap();
    let times = Times::new(&Loops::default(), None, TimeZone::UTC).unwrap();
    Service::new(Node::new(ctx), &host, times, TimeZone::UTC).unwrap()
}

/// What SQLite goes through for a statement about a dataset of which nothing is open.
fn steps(kit: &Kit, sql: &str) -> i32 {
    let conn = kit.db.lock().unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let params = vec![dataset::CORP_ACTIONS; statement.parameter_count()];
    let mut rows = statement.query(rusqlite::params_from_iter(params)).unwrap();
    while rows.next().unwrap().is_some() {}
    drop(rows);
    statement.get_status(rusqlite::StatementStatus::VmStep)
}

/// What the rounds of a service cost, in files that are looked at: the first light one, one that finds nothing new, and what the loops
/// around it look at.
fn costs(kit: &Kit) -> [u64; 4] {
    let service = service(kit);
    let light = || looks::of(|| service.plan(AuditScope::Incremental).unwrap());
    let (first, said) = light();
    light();
    let (quiet, again) = light();
    assert!(again.contains("0 partitions judged, 100.00 % GREEN, 0 gaps, 0 asked again"), "{said} / {again}");
    let (forward, _) = looks::of(|| service.forward().unwrap());
    let (drained, _) = looks::of(|| service.node.work(DrainUntil::Empty, &Quiet).unwrap());
    [first, quiet, forward, drained]
}

#[test]
fn a_quiet_round_costs_the_same_on_a_young_and_on_an_old_drive() {
    let names = ["AAA", "BBB", "CCC"];
    let drives = [1, 4].map(|years| drive(&names, 0, years, 28));
    let [young, old] = drives.each_ref().map(costs);
    assert!(young[0] < old[0], "the first look goes through the drive");
    assert_eq!(young[1..], old[1..], "first, quiet, forward, drain: {young:?} {old:?}");
    for sql in [known::ANSWERS, known::LEDGER, known::OPEN, crate::node::WAITING] {
        let [young, old] = drives.each_ref().map(|kit| steps(kit, sql));
        assert_eq!(young, old, "{sql}");
    }
}

#[test]
fn a_planner_that_rests_acts_on_what_comes() {
    let (names, last) = (["AAA", "BBB"], DateRange::new(day("2018-02-28"), day("2018-03-01")).unwrap());
    let kit = drive(&names, 0, 1, 28);
    let service = service(&kit);
    let light = || service.plan(AuditScope::Incremental).unwrap();
    let quiet = |said: &str| said.starts_with("0 partitions judged");
    assert!(!quiet(&light()) && quiet(&light()));
    enter(&kit, &kit.commit("alpaca", &names, last, &good_bars(&names, last)));
    let said = light();
    assert!(said.starts_with("2 partitions judged") && quiet(&light()), "{said}");
    // The night's planner goes by nothing that is remembered, and finds what nobody told the database.
    let (_, lost) = segment::manifests_for(&kit.root, table::RAW_EQUITIES_BARS).unwrap().swap_remove(0);
    std::fs::remove_file(kit.place(&lost.segments[0].path)).unwrap();
    assert!(light().contains("100.00 % GREEN, 0 gaps"));
    let heavy = service.plan(AuditScope::Full).unwrap();
    assert!(!heavy.contains("100.00 % GREEN") && !heavy.contains(" 0 gaps"), "{heavy}");
    // What it has asked for waits, and is not asked for twice.
    let again = light();
    assert!(quiet(&again) && again.ends_with("0 asked again") && !again.contains(" 0 gaps"), "{again}");
}

#[test]
#[ignore = "a measurement: cargo test --workspace --lib -- --ignored --nocapture what_rounds_cost_over_years"]
fn what_rounds_cost_over_years() {
    let names: Vec<String> = (0..50).map(|n| format!("S{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for years in [1, 10] {
        let kit = drive(&names, 2_000, years, 1);
        let service = service(&kit);
        let cpu = || {
            let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
        };
        let measured = |what: &str, work: &dyn Fn()| {
            let before = cpu();
            let (files, ()) = looks::of(work);
            println!("{years} years, {what}: {files} files looked at, {:.4} s of CPU", cpu() - before);
        };
        for what in ["first", "second", "quiet", "quiet"] {
            measured(what, &|| drop(service.plan(AuditScope::Incremental).unwrap()));
        }
        let last = DateRange::new(day("2018-02-28"), day("2018-03-01")).unwrap();
        enter(&kit, &kit.commit("alpaca", &names, last, &good_bars(&names, last)));
        measured("an answer came", &|| drop(service.plan(AuditScope::Incremental).unwrap()));
        measured("quiet", &|| drop(service.plan(AuditScope::Incremental).unwrap()));
        measured("forward", &|| drop(service.forward().unwrap()));
        measured("drain", &|| drop(service.node.work(DrainUntil::Empty, &Quiet).unwrap()));
    }
}
