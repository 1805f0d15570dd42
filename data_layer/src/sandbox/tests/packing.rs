//! Windows of one symbol in one call: what they cost, and that nothing on the drive differs from having asked for each.

use super::dialects::range;
use super::ingest::{Bench, bench_with, day, faults};
use super::*;
use crate::audit::AuditScope;
use crate::curate;
use crate::ledger;
use crate::lost;
use crate::node::Node;
use crate::queue::{Kind, seed};
use crate::root::DataPath;
use crate::scheduler::{self, DrainReport, DrainUntil, IngestContext, Quiet};
use crate::segment::{Manifest, all_manifests};
use crate::sourcing::{Endpoints, vendors_from};
use crate::stage::{self, Lane, LaneState, Stage, Universe};
use crate::store;
use crate::time::DateRange;
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["AAPL", "MSFT", "XOM"];

/// A drive of the replay world, whose bars begin in 2013, with the built-in registry or one that packs no windows.
fn drive(packs: bool) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset("replay@1", dir.path().join("state"));
    let mut b = bench_with(dir, cfg, "2017-11-30T23:20:00Z", true);
    if !packs {
        let text = include_str!("../../../../configs/endpoints.yml").replace(", batch_windows: 100", "");
        store::write_atomic(&b.ctx.root, &DataPath::new("control/configs/endpoints.yml").unwrap(), text.as_bytes()).unwrap();
        let vendors = vendors_from(&b.host, &b.ctx.root, &BTreeMap::new()).unwrap();
        b.ctx = IngestContext::new(&b.host, &b.ctx.root, b.ctx.db.clone(), vendors, "node-1").unwrap();
    }
    b
}

/// The years 2012 to 2016 of some names, a row each.
fn five_years() -> DateRange {
    range("2012-01-01", "2017-01-01")
}

fn asked(b: &Bench, vendor: &str, dataset: &str, names: &[&str]) -> DrainReport {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut tasks = scheduler::bootstrap_tasks(&Endpoints::load(&b.ctx.root).unwrap(), dataset, &names, five_years(), Kind::Gap, None).tasks;
    tasks.iter_mut().for_each(|t| t.vendor = vendor.into());
    b.ctx.db.write(|tx| seed(tx, b.host.now(), &tasks)).unwrap();
    let report = b.host.block_on(scheduler::drain(&b.ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap();
    assert_eq!((report.tasks_done, report.failed), (tasks.len() as u64, 0), "{:?}", report.notices);
    report
}

fn rows_of(b: &Bench, sql: &str) -> Vec<String> {
    let conn = b.ctx.db.lock().unwrap();
    let mut st = conn.prepare(sql).unwrap();
    st.query_map([], |r| r.get::<_, String>(0)).unwrap().map(std::result::Result::unwrap).collect()
}

/// What is known of the questions, of the bars, and of the answers.
#[derive(Debug, PartialEq)]
struct Known {
    queue: Vec<String>,
    bookmarks: Vec<String>,
    ledger: Vec<String>,
    curated: Vec<(String, String)>,
    manifests: Vec<String>,
}

fn known(b: &Bench) -> Known {
    let node = Node::new(b.ctx.clone());
    let lanes = BTreeMap::from([("equities_eod".to_string(), Lane::Plain(LaneState::Active))]);
    let universe = Universe::new("test", NAMES.map(String::from).to_vec());
    stage::write(node.root(), &Stage::initial(day("2017-11-30"), universe, lanes)).unwrap();
    node.audit(five_years(), AuditScope::Full).unwrap();
    curate::curate_incremental(&b.ctx.root, &b.ctx.db).unwrap();
    let digest = |p: &DataPath| store::sha256_hex(&store::read(&b.ctx.root, p).unwrap().unwrap());
    let curated = store::list(&b.ctx.root, &DataPath::new("curated").unwrap()).unwrap();
    let told = |m: &Manifest| {
        let held: Vec<_> = m.segments.iter().map(|s| (s.rows, s.symbols.clone(), s.t0, s.t1)).collect();
        format!("{} {:?} {held:?} {} {}", m.dataset, m.asked, m.complete, m.requests.len())
    };
    let mut manifests: Vec<String> = all_manifests(&b.ctx.root).unwrap().iter().map(|(_, m)| told(m)).collect();
    manifests.sort();
    let verdict = |r: &ledger::Row| format!("{:?} {:?} {} {}", r.key, r.verdict.status, r.verdict.qc_code, r.verdict.row_count);
    Known {
        queue: rows_of(b, "SELECT symbol || start_date || end_date || kind || status || outcome || attempts FROM backfill_queue ORDER BY 1"),
        bookmarks: rows_of(b, "SELECT vendor || dataset || symbol || start_date || end_date || pages || ' ' || rows || complete FROM bookmarks ORDER BY 1"),
        ledger: ledger::all_rows(&b.ctx.db).unwrap().iter().map(verdict).collect(),
        curated: curated.iter().map(|p| (p.to_string(), digest(p))).collect(),
        manifests,
    }
}

fn stop(b: Bench) {
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn five_years_of_three_names_are_three_calls_and_leave_what_fifteen_do() {
    let (together, apart) = (drive(true), drive(false));
    let (packed, single) = (asked(&together, "tiingo", "equities_eod", &NAMES), asked(&apart, "tiingo", "equities_eod", &NAMES));
    assert_eq!((packed.calls, single.calls), (3, 15));
    assert_eq!(packed.rows, single.rows);
    let (one, other) = (known(&together), known(&apart));
    assert_eq!(one, other);
    assert!(one.ledger.len() > 3_000 && one.curated.len() >= 12, "{} {}", one.ledger.len(), one.curated.len());
    // The year before the world's first bar was asked for, and nothing came.
    let empty = rows_of(&together, "SELECT symbol FROM backfill_queue WHERE outcome = 'EMPTY' AND start_date = '2012-01-01' ORDER BY 1");
    assert_eq!(empty, NAMES);
    // Each question has an answer of its own, and each answer names the call that it came with.
    let manifests = all_manifests(&together.ctx.root).unwrap();
    let all: Vec<&Manifest> = manifests.iter().map(|(_, m)| m).collect();
    assert_eq!(lost::find(&together.ctx.db, None, &all).unwrap(), []);
    let bars = || all.iter().copied().filter(|m| m.dataset == "equities_eod");
    assert_eq!(bars().count(), 15);
    assert!(bars().all(|m| m.requests[0].source_uri.contains("startDate=2012-01-01&endDate=2016-12-31")));
    let without_2014: Vec<&Manifest> = all.iter().copied().filter(|m| m.asked.t0 != day("2014-01-01")).collect();
    let gone = lost::find(&together.ctx.db, None, &without_2014).unwrap();
    assert!(gone.len() == 6 && gone.iter().all(|l| l.range == (day("2014-01-01"), day("2015-01-01"))), "bars, and the actions beside them: {gone:?}");
    [together, apart].into_iter().for_each(stop);
}

#[test]
fn trouble_with_a_packed_call_is_retried_once_for_all_its_windows() {
    // What passes at once is tried again under the same lease; what is answered wrongly counts as one attempt of each row.
    for (fault, ended) in [("do: status, status: 503", "0DONE"), ("do: body, text: 'null'", "1DONE")] {
        let b = drive(true);
        faults(&b, &format!("{{vendor: tiingo, times: 1, {fault}}}"));
        let report = asked(&b, "tiingo", "equities_eod", &NAMES[..1]);
        assert_eq!(report.calls, 2, "{fault}");
        assert_eq!(rows_of(&b, "SELECT DISTINCT attempts || status FROM backfill_queue"), [ended], "{fault}");
        stop(b);
    }
}

#[test]
fn a_name_that_the_vendor_does_not_know_costs_one_call_for_all_its_windows() {
    let b = drive(true);
    let report = asked(&b, "tiingo", "equities_eod", &["NOPE"]);
    assert_eq!((report.calls, report.rows), (1, 0));
    assert_eq!(rows_of(&b, "SELECT outcome FROM backfill_queue"), vec!["UNKNOWN_SYMBOL"; 5]);
    let manifests = all_manifests(&b.ctx.root).unwrap();
    assert!(manifests.len() == 5 && manifests.iter().all(|(_, m)| m.requests[0].http == 404 && m.segments.is_empty()), "each window was answered");
    stop(b);
}

#[test]
fn events_of_five_years_come_in_as_if_each_year_was_asked_for() {
    let (together, apart) = (drive(true), drive(false));
    for (vendor, calls) in [("tiingo", (3, 15)), ("massive", (6, 30))] {
        let (packed, single) = (asked(&together, vendor, "corp_actions", &NAMES), asked(&apart, vendor, "corp_actions", &NAMES));
        assert_eq!((packed.calls, single.calls), calls, "{vendor}");
        assert_eq!(packed.rows, single.rows, "{vendor}");
    }
    assert_eq!(known(&together), known(&apart));
    [together, apart].into_iter().for_each(stop);
}
