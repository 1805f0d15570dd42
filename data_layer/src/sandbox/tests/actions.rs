//! Corporate actions as vendors really tell them: late, moved, weeks before they are paid, ahead of their day, by one vendor alone. The node
//! asks by itself, and what it makes is right on the night on which it could be known.

use super::ingest::{Bench, bench_with, day};
use super::node::{live, serve};
use super::*;
use crate::curate;
use crate::frame;
use crate::ledger;
use crate::node::{Node, newest_due};
use crate::queue::{Kind, NewTask, seed};
use crate::reference::{load_actions, load_doubts, refresh_reference};
use crate::scheduler::{self, DrainUntil, Quiet};
use crate::schema::{dataset, table};
use crate::stage::{self, Lane, LaneState, Stage, Universe};
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

const NAMES: [&str; 5] = ["D", "F", "M", "P", "S"];

/// A split of S and a dividend of D on 30 November, of which the one is told a session late and the other paid weeks later; a split of M
/// that was said to be on the 30th and is on the 1st; K, spun off by P on the 30th; a split of F, announced for a day to come.
const ACTIONS: &str = "symbol,event_type,ex_date,record_date,pay_date,ratio,cash,new_symbol,id,told_from,told_until,told_by
S,split,2017-11-30,,,4,,,,2017-12-01,,
D,dividend,2017-11-30,2017-12-01,2017-12-18,,1.0,,,,,
M,split,2017-11-30,,,2,,,m,,2017-12-01,
M,split,2017-12-01,,,2,,,m,2017-12-01,,
P,spin_off,2017-11-30,,,0.5,,K,,,,
F,split,2017-12-06,,,3,,,,2017-11-20,,
";

fn price(symbol: &str, on: TradingDay) -> Option<f64> {
    let from = |date: &str, old: f64, new: f64| if on < day(date) { old } else { new };
    Some(match symbol {
        "D" => from("2017-11-30", 50.0, 49.0),
        "F" => from("2017-12-06", 60.0, 20.0),
        "M" => from("2017-12-01", 80.0, 40.0),
        "P" => from("2017-11-30", 100.0, 90.0),
        "S" => from("2017-11-30", 100.0, 25.0),
        _ => return (on >= day("2017-11-30")).then_some(20.0),
    })
}

fn market(actions: &str) -> (TempDir, SandboxConfig) {
    let window = DateRange::new(day("2017-11-01"), day("2017-12-09")).unwrap();
    priced(&["D", "F", "K", "M", "P", "S"], window, price, &[("corp_actions.csv", actions)])
}

fn told(b: &Bench) -> Node {
    let node = Node::new(b.ctx.clone());
    let lanes = BTreeMap::from([(dataset::EQUITIES_EOD.to_string(), Lane::Plain(LaneState::Active))]);
    let first = Stage::initial(day("2017-11-29"), Universe::new("test", NAMES.map(String::from).to_vec()), lanes);
    stage::write(node.root(), &first).unwrap();
    let window = DateRange::new(day("2017-11-01"), day("2017-11-30")).unwrap();
    node.seed(&node.bootstrap(&first, window, None).unwrap()).unwrap();
    node
}

/// The factor of the first day of each name.
fn factors(node: &Node) -> BTreeMap<&'static str, f64> {
    let of = |name: &str| {
        let file = crate::store::read_parquet(node.root(), &curate::path_of(name, 2017).unwrap()).unwrap();
        frame::floats(&file, "price_factor").unwrap()[0].unwrap()
    };
    NAMES.into_iter().map(|name| (name, (of(name) * 1e6).round() / 1e6)).collect()
}

#[test]
fn late_moved_announced_and_unpaid_actions_are_right_on_the_night_they_can_be_known() {
    let (dir, cfg) = market(ACTIONS);
    let b = bench_with(dir, cfg, "2017-11-29T21:20:00Z", false);
    let mut service = serve(&b, told(&b));
    let mut nights: BTreeMap<TradingDay, (BTreeMap<&'static str, f64>, BTreeMap<String, String>)> = BTreeMap::new();
    live(&b, &mut service, t("2017-12-07T12:00:00Z"), |service, round| {
        assert!(round.notices.is_empty(), "{:?}", round.notices);
        let node = service.node();
        let rows = ledger::all_rows(node.db()).unwrap();
        let codes = rows.into_iter().filter(|r| r.key.table_name == table::REF_CORP_ACTIONS).map(|r| (r.key.dt.to_string(), r.verdict.qc_code)).collect();
        nights.insert(newest_due(node.host()).unwrap(), (factors(node), codes));
    });
    let one = |d: f64, f: f64, m: f64, p: f64, s: f64| BTreeMap::from([("D", d), ("F", f), ("M", m), ("P", p), ("S", s)]);
    let (before, codes) = &nights[&day("2017-11-29")];
    assert_eq!(*before, one(1.0, 1.0, 1.0, 1.0, 1.0));
    assert!(codes.values().all(|c| c == "OK"), "{codes:?}");
    // The dividend is there on the night of its ex-date, and so is the worth of what was spun off.
    assert_eq!(nights[&day("2017-11-30")].0, one(0.98, 1.0, 0.5, 0.9, 1.0));
    // A night later the late split is there, and the one that moved is one.
    assert_eq!(nights[&day("2017-12-01")].0, one(0.98, 1.0, 0.5, 0.9, 0.25));
    assert_eq!(nights[&day("2017-12-05")].0, one(0.98, 1.0, 0.5, 0.9, 0.25), "what is announced is not applied");
    let (last, codes) = &nights[&day("2017-12-06")];
    assert_eq!(*last, one(0.98, 0.333333, 0.5, 0.9, 0.25));
    assert!(codes.values().all(|c| c == "OK"), "{codes:?}");
    let moved: Vec<TradingDay> = load_actions(service.node().root()).unwrap()["M"].iter().map(|a| a.ex_date).collect();
    assert_eq!(moved, [day("2017-12-01")], "the factor is the same, the day is the new one");
    // A call a night for all names, and no more for the months before.
    let manifests = crate::segment::manifests_for(service.node().root(), table::RAW_CORP_ACTIONS).unwrap();
    let nightly = manifests.iter().filter(|(_, m)| m.asked.t1 > day("2018-01-29")).count();
    assert!(nightly <= 6 && manifests.iter().all(|(_, m)| m.asked.symbols.len() == NAMES.len()), "{nightly}");
    drop(service);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

/// Drain one vendor's lane for a few names.
fn asked(b: &Bench, vendor: &str, names: &[&str], window: DateRange) {
    let row = |name: &&str| NewTask {
        dataset: dataset::EQUITIES_EOD.into(),
        symbol: (*name).into(),
        range: window,
        kind: Kind::Gap,
        priority: 1,
        vendor: vendor.into(),
        not_before: None,
        run_id: None,
    };
    let tasks: Vec<NewTask> = names.iter().map(row).collect();
    b.ctx.db.write(|tx| seed(tx, b.host.now(), &tasks)).unwrap();
    let report = b.host.block_on(scheduler::drain(&b.ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap();
    assert_eq!((report.tasks_done, report.failed), (names.len() as u64, 0), "{:?}", report.notices);
}

#[test]
fn prices_that_carry_splits_and_dividends_tell_them_as_a_second_source() {
    let (dir, cfg) =
        market("symbol,event_type,ex_date,record_date,pay_date,ratio,cash,told_by\nS,split,2017-11-30,,,4,,tiingo\nD,dividend,2017-11-30,,,,1.0,tiingo\n");
    let b = bench_with(dir, cfg, "2017-12-05T23:30:00Z", true);
    let window = DateRange::new(day("2017-11-01"), day("2017-12-05")).unwrap();
    asked(&b, "tiingo", &["D", "S"], window);
    refresh_reference(&b.ctx.root, &b.ctx.db).unwrap();
    let actions = load_actions(&b.ctx.root).unwrap();
    assert_eq!((actions["S"][0].ratio, actions["D"][0].cash, actions["S"][0].source_priority), (Some(4.0), Some(1.0), 2));
    assert_eq!(load_doubts(&b.ctx.root).unwrap(), [], "nobody else was asked");
    curate::curate_incremental(&b.ctx.root, &b.ctx.db).unwrap();
    let file = crate::store::read_parquet(&b.ctx.root, &curate::path_of("S", 2017).unwrap()).unwrap();
    assert!(frame::floats(&file, "close").unwrap().iter().all(|c| *c == Some(25.0)));
    // Bars and actions of one answer have a manifest each, of the same bytes; a drive is sound with both.
    let of = |table: &str| -> std::collections::BTreeSet<String> {
        crate::segment::manifests_for(&b.ctx.root, table).unwrap().into_iter().map(|(_, m)| m.requests[0].body_sha256.clone()).collect()
    };
    assert_eq!((of(table::RAW_EQUITIES_BARS), of(table::RAW_CORP_ACTIONS).len()), (of(table::RAW_CORP_ACTIONS), 2));
    let found = crate::fsck::run(&b.ctx.root).unwrap();
    // Nothing was audited here, so that the record of an audit is not there.
    assert!(found.iter().all(|f| f.status != crate::fsck::Level::Fail || f.id == "records"), "{found:?}");
    // Lost, they are known to be lost.
    let (path, _) = crate::segment::manifests_for(&b.ctx.root, table::RAW_CORP_ACTIONS).unwrap().remove(0);
    std::fs::remove_file(b.ctx.root.locate(&path)).unwrap();
    let left: Vec<_> = crate::segment::manifests_for(&b.ctx.root, table::RAW_CORP_ACTIONS).unwrap();
    let lost = crate::lost::find(&b.ctx.db, Some(dataset::CORP_ACTIONS), &left.iter().map(|(_, m)| m).collect::<Vec<_>>()).unwrap();
    assert_eq!((lost.len(), lost[0].vendor.as_str()), (1, "tiingo"));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
