//! A service whose machine's clock goes wrong: nothing is asked, judged or lost meanwhile, and afterwards the drive is what it would be.

use super::super::client;
use super::ingest::{Bench, bench, day};
use super::node::{serve, told};
use super::t;
use crate::error::code;
use crate::fetch::transport::{Call, Sending};
use crate::fetch::{Broken, Network, Transport};
use crate::ledger::{self, scope};
use crate::node::{Belief, Node, Round, Service};
use crate::scheduler::{IngestContext, Quiet};
use crate::schema::dataset;
use crate::segment;
use crate::sourcing::vendors_from;
use crate::time::UtcTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const DAY: i64 = 86_400;
const BEGIN: &str = "2017-11-30T21:20:00Z";

/// What must be equal after all: ledger and queue row by row, and the days that are answered for.
#[derive(Debug, PartialEq)]
struct State {
    ledger: BTreeMap<String, (String, u64)>,
    queue: BTreeMap<String, String>,
    scope: Option<scope::Scope>,
    on_drive: Option<scope::Scope>,
}

fn state(node: &Node) -> State {
    let rows = ledger::all_rows(node.db()).unwrap().into_iter();
    let conn = node.db().lock().unwrap();
    let mut st = conn.prepare("SELECT dataset || ' ' || symbol || ' ' || start_date || ' ' || end_date || ' ' || kind, status FROM backfill_queue").unwrap();
    State {
        ledger: rows.map(|r| (format!("{:?}", r.key), (r.verdict.qc_code, r.verdict.row_count))).collect(),
        queue: st.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect(),
        scope: scope::in_db(&conn).unwrap(),
        on_drive: scope::on_drive(node.root()).unwrap(),
    }
}

/// The service as a process that was just started would have it.
fn booted(b: &Bench) -> Service {
    booted_over(b, Arc::new(Network::new(&b.host)))
}

fn booted_over(b: &Bench, transport: Arc<dyn Transport>) -> Service {
    let vendors = vendors_from(&b.host, &b.ctx.root, &BTreeMap::new()).unwrap();
    serve(b, Node::new(IngestContext::with_transport(&b.host, &b.ctx.root, Arc::clone(&b.ctx.db), vendors, "node-1", transport).unwrap()))
}

fn is_paused(round: &Round) -> bool {
    round.notices.iter().any(|e| e.is(code::HOST_CLOCK))
}

/// Rounds until the world's clock has passed `end`, by the steady clock, which is right. `plan` sets the clock before each round and says
/// whether the machine is started anew.
fn live(b: &Bench, mut service: Service, end: &str, mut plan: impl FnMut(UtcTime) -> (i64, bool)) -> (Service, u64) {
    let mut paused = 0;
    while b.host.steady() < t(end) {
        b.host.block_on(client::advance(&b.host, &b.sandbox.base(), b.host.steady())).unwrap().unwrap();
        let (wrong, boots) = plan(b.host.steady());
        b.host.set_wrong_by(wrong);
        if boots {
            service = booted(b);
        }
        let before = service.node().ctx.fetcher.calls.load(Ordering::SeqCst);
        let round = service.round(&Quiet).unwrap();
        let calls = service.node().ctx.fetcher.calls.load(Ordering::SeqCst) - before;
        assert_eq!(is_paused(&round), wrong != 0, "{:?}", round.notices);
        if is_paused(&round) {
            paused += 1;
            assert!(round.said.is_empty() && round.drained.tasks_done == 0 && calls <= 1, "{calls} calls, {:?}", round.said);
        }
        service.rest(&round).unwrap();
    }
    (service, paused)
}

fn stop(b: Bench) {
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn lesson_109_a_clock_that_goes_wrong_changes_nothing_that_is_kept() {
    const END: &str = "2017-12-07T23:00:00Z";
    let undisturbed = {
        let b = bench(BEGIN);
        let (service, paused) = live(&b, serve(&b, told(&b)), END, |_| (0, false));
        assert_eq!(paused, 0);
        let held = state(service.node());
        stop(b);
        held
    };
    assert!(undisturbed.scope.is_some_and(|s| s.asof == day("2017-12-07")) && undisturbed.ledger.values().all(|(code, _)| code == "OK"), "{undisturbed:?}");
    // (by how much, whether the machine starts anew with it): once while the service runs, and once at a start.
    for (name, wrong, boots) in [
        ("three days ahead", 3 * DAY, false),
        ("years ahead", 900 * DAY, false),
        ("a day behind", -DAY, false),
        ("three days ahead after a start", 3 * DAY, true),
        ("a day behind after a start", -DAY, true),
    ] {
        let b = bench(BEGIN);
        let mut left = 2;
        let plan = |now: UtcTime| {
            if now < t("2017-12-05T22:30:00Z") || left == 0 {
                return (0, false);
            }
            left -= 1;
            (wrong, boots && left == 1)
        };
        let (service, paused) = live(&b, serve(&b, told(&b)), END, plan);
        assert_eq!(paused, 2, "{name}");
        assert_eq!(state(service.node()), undisturbed, "{name}");
        stop(b);
    }
}

/// A network beside which the clock is set while a number of calls have left.
struct Jumps {
    network: Network,
    host: crate::host::Host,
    left: AtomicU64,
    at: u64,
    by: AtomicI64,
}

impl Transport for Jumps {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        if self.left.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            self.host.set_wrong_by(self.by.load(Ordering::SeqCst));
        }
        self.network.send(call)
    }
}

#[test]
fn a_clock_that_jumps_between_a_call_and_its_answer_costs_that_answer() {
    for by in [3 * DAY, 900 * DAY, -DAY] {
        let b = bench(BEGIN);
        told(&b);
        let jumps = Arc::new(Jumps { network: Network::new(&b.host), host: b.host.clone(), left: AtomicU64::new(0), at: 3, by: AtomicI64::new(by) });
        let mut service = booted_over(&b, jumps);
        let round = service.round(&Quiet).unwrap();
        assert!(is_paused(&round) && round.notices.iter().filter(|e| e.is(code::HOST_CLOCK)).count() == 1, "{:?}", round.notices);
        let stamps = |node: &Node| segment::all_manifests(node.root()).unwrap().into_iter().map(|(_, m)| m.ingested_at).collect::<Vec<_>>();
        assert!(stamps(service.node()).iter().all(|at| (0.0..3_600.0).contains(&at.seconds_since(t(BEGIN)))), "by {by}");
        // Right again: what was under way comes as if nothing had been, and nothing counts as an attempt.
        b.host.set_wrong_by(0);
        let round = service.round(&Quiet).unwrap();
        assert!(!is_paused(&round) && round.drained.failed == 0, "{:?}", round.notices);
        let conn = service.node().db().lock().unwrap();
        let tried: i64 = conn.query_row("SELECT count(*) FROM backfill_queue WHERE attempts > 0 OR status <> 'DONE'", [], |r| r.get(0)).unwrap();
        drop(conn);
        assert_eq!(tried, 0);
        stop(b);
    }
}

#[test]
fn what_a_clock_ahead_left_on_a_drive_is_taken_back() {
    let b = bench(BEGIN);
    let (service, _) = live(&b, serve(&b, told(&b)), "2017-12-05T22:00:00Z", |_| (0, false));
    let good = state(service.node());
    // An earlier version of the program believed a clock that ran ahead: the world's clock runs with it, and nobody sees it.
    let node = service.node();
    let (now, root, db) = (b.host.steady(), node.root(), node.db());
    b.host.set_world_time(now.plus_seconds(20 * DAY));
    node.seed_forward().unwrap();
    let (path, newest) = segment::all_manifests(root).unwrap().into_iter().rfind(|(_, m)| m.dataset == dataset::EQUITIES_EOD).unwrap();
    let wrong = segment::Manifest { ingested_at: b.host.now(), ..newest.clone() };
    let wrong_path = segment::write_manifest(root, &wrong).unwrap();
    db.write(|tx| segment::register(tx, &wrong_path, &wrong)).unwrap();
    node.audit(node.window().unwrap(), crate::audit::AuditScope::Full).unwrap();
    let poisoned = state(node);
    assert!(poisoned.scope.unwrap().asof > day("2017-12-20") && poisoned.queue.len() > good.queue.len() && poisoned.ledger.len() > good.ledger.len());

    b.host.set_world_time(now);
    let service = booted(&b);
    assert!(matches!(service.node().weigh_the_clock().unwrap(), Belief::Sound));
    assert!(!root.locate(&wrong_path).exists() && root.locate(&path).exists(), "the answer of the future is set aside, its bytes are another's too");
    service.node().audit(service.node().window().unwrap(), crate::audit::AuditScope::Incremental).unwrap();
    let mut after = state(service.node());
    assert_eq!((after.scope, after.on_drive, &after.ledger), (good.scope, good.on_drive, &good.ledger));
    after.queue.retain(|key, _| !good.queue.contains_key(key));
    assert!(after.queue.keys().all(|key| key.contains("corp_actions") || key.contains("GAP") || key.contains("macros")), "{:?}", after.queue);
    // The next session comes in as ever.
    let (service, _) = live(&b, booted(&b), "2017-12-06T23:00:00Z", |_| (0, false));
    let end = state(service.node());
    assert!(end.scope.is_some_and(|s| s.asof == day("2017-12-06")) && end.ledger.values().all(|(code, _)| code == "OK"), "{end:?}");
    stop(b);
}

/// No network.
struct Nobody;

impl Transport for Nobody {
    fn send<'a>(&'a self, _call: &'a Call) -> Sending<'a> {
        Box::pin(async { Ok(Err(Broken::Timeout)) })
    }
}

#[test]
fn a_drive_left_alone_for_days_waits_until_somebody_tells_the_time() {
    let b = bench(BEGIN);
    let (_, _) = live(&b, serve(&b, told(&b)), "2017-12-01T02:00:00Z", |_| (0, false));
    b.host.set_world_time(t("2017-12-04T21:30:00Z"));
    let mut service = booted_over(&b, Arc::new(Nobody));
    let round = service.round(&Quiet).unwrap();
    assert!(is_paused(&round) && round.said.is_empty(), "{:?}", round.said);
    assert!(service.node().believe_clock().is_ok(), "somebody watches a command");
    // A clock before what the drive holds is wrong for a command too.
    b.host.set_world_time(t("2017-11-30T12:00:00Z"));
    assert!(booted_over(&b, Arc::new(Nobody)).node().believe_clock().unwrap_err().is(code::HOST_CLOCK));
    stop(b);
}

#[test]
fn an_answer_after_a_clock_was_corrected_goes_on_from_the_newest_stamp() {
    let b = bench(BEGIN);
    let (service, _) = live(&b, serve(&b, told(&b)), "2017-12-01T02:00:00Z", |_| (0, false));
    let (root, db, now) = (service.node().root(), service.node().db(), b.host.now());
    let newest = segment::newest(root, db).unwrap().unwrap();
    assert_eq!(segment::stamp(root, db).unwrap(), now.max(newest));
    let at = |t: UtcTime| {
        b.host.set_world_time(t);
        segment::stamp(root, db).unwrap()
    };
    assert_eq!(at(newest.plus_seconds(-90)), UtcTime::from_micros(newest.micros() + 1), "corrected by minutes: the later answer is later");
    assert_eq!(at(newest.plus_seconds(-90_000)), newest.plus_seconds(-90_000), "a stamp of a wrong clock is not followed");
    stop(b);
}
