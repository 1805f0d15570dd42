//! Vendors' lanes from the first request to the reference tables, over the replay world.

use super::super::{Sandbox, start};
use super::*;
use crate::control::{Db, Which};
use crate::queue::{Kind, seed};
use crate::reference::{Macros, SP500, load_membership, refresh_reference};
use crate::root::{DataRoot, FsFacts};
use crate::scheduler::{self, DrainUntil, IngestContext, Quiet, macro_tasks, market_task};
use crate::sourcing::vendors_from;
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;
use std::sync::Arc;

fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}

/// A sandbox of the replay world at an instant, a drive of that world, and what an ingest needs.
struct Bench {
    _dir: TempDir,
    sandbox: Sandbox,
    host: Host,
    ctx: IngestContext,
}

fn bench(now: &str) -> Bench {
    let (dir, outer) = (tempfile::tempdir().unwrap(), host());
    let cfg = SandboxConfig { now: Some(t(now)), ..SandboxConfig::replay(dir.path().join("state")) };
    let sandbox = outer.block_on(start(&outer, cfg)).unwrap().unwrap();
    let host = outer.in_world(&sandbox.env, t(now));
    let root = DataRoot::create(&host, &dir.path().join("drive"), "replay@1", FsFacts::default(), None).unwrap();
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
