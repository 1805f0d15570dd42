//! The node's service over weeks of a world: sessions asked for in time, nights kept, the stage promoted, nothing asked
//! twice.

use super::super::client;
use super::ingest::{Bench, bench, bench_of, bench_with, day, faults};
use super::{SandboxConfig, t};
use crate::curate;
use crate::ledger::{self, Coverage};
use crate::node::{Loop, Node, Round, RunState, Service, Times, beats, newest_due, newest_runs};
use crate::queue;
use crate::scheduler::Quiet;
use crate::schema::{dataset, table, timeframe};
use crate::sourcing::settings::Loops;
use crate::stage::{self, ExplainedLane, Lane, LaneState, Stage, Target, Universe};
use crate::time::{DateRange, UtcTime};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

const NAMES: [&str; 4] = ["AAPL", "JNJ", "MSFT", "XOM"];

/// A drive that was set up and told to fetch a year, and has fetched nothing yet.
fn set_up(b: &Bench) -> Service {
    serve(b, told(b))
}

pub(super) fn told(b: &Bench) -> Node {
    let node = Node::new(b.ctx.clone());
    let universe = Universe::new("test", NAMES.map(String::from).to_vec());
    let lanes = BTreeMap::from([(dataset::EQUITIES_EOD.to_string(), Lane::Plain(LaneState::Active))]);
    let mut first = Stage::initial(day("2017-11-30"), universe, lanes);
    first.promote.datasets = vec![dataset::EQUITIES_EOD.into()];
    first.targets = BTreeMap::from([(0, Target { symbols: 4, eod_years: 1, minute_years: 0 }), (1, Target { symbols: 4, eod_years: 2, minute_years: 0 })]);
    stage::write(node.root(), &first).unwrap();
    let window = DateRange::new(day("2016-12-01"), day("2017-12-01")).unwrap();
    node.seed(&node.bootstrap(&first, window, None).unwrap()).unwrap();
    node
}

pub(super) fn serve(b: &Bench, node: Node) -> Service {
    let times = Times::new(&Loops { forward_minutes: 240, planner_hours: 12, maintenance: "02:00".into() }, None, TimeZone::UTC).unwrap();
    Service::new(node, &b.host, times, TimeZone::UTC).unwrap()
}

/// Rounds until the world's clock has passed `end`.
pub(super) fn live(b: &Bench, service: &mut Service, end: UtcTime, mut look: impl FnMut(&Service, &Round)) {
    while b.host.now() < end {
        b.host.block_on(client::advance(&b.host, &b.sandbox.base(), b.host.now())).unwrap().unwrap();
        let round = service.round(&Quiet).unwrap();
        look(service, &round);
        service.rest(&round).unwrap();
    }
}

fn coverage(service: &Service) -> (DateRange, Coverage) {
    ledger::coverage_held(service.node().db(), table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap().unwrap()
}

#[test]
fn the_four_loops_keep_a_drive_complete_through_weeks_and_promote_its_stage() {
    let b = bench("2017-11-30T21:20:00Z");
    let mut service = set_up(&b);
    let (mut rounds, mut ran) = (0, BTreeMap::new());
    live(&b, &mut service, t("2017-12-12T00:00:00Z"), |service, round| {
        rounds += 1;
        assert!(round.notices.is_empty(), "{:?}", round.notices);
        round.said.iter().for_each(|(which, _)| *ran.entry(which.as_str()).or_insert(0) += 1);
        let (held, c) = coverage(service);
        assert_eq!(held.end, newest_due(service.node().host()).unwrap().plus_days(1), "a session is judged in the round that asks for it");
        assert_eq!(c.green, c.expected, "{:?}", c.codes);
    });
    // Nothing that was on its way was asked for again.
    let counts = queue::counts(service.node().db()).unwrap();
    assert!(counts.keys().all(|(_, kind, status)| kind != "GAP" && status == "DONE"), "{counts:?}");
    assert!(ran["planner_heavy"] == 12 && ran["maintenance"] == 12 && ran["forward"] > 60, "{ran:?} in {rounds} rounds");
    let stage = stage::load(service.node().root()).unwrap();
    assert_eq!((stage.stage, stage.history.len()), (1, 2));
    assert!(coverage(&service).0.start <= day("2015-12-03"), "{}", coverage(&service).0);
    let runs = newest_runs(service.node().db()).unwrap();
    assert!(runs.len() == 4 && runs.iter().all(|r| r.state == RunState::Succeeded && r.finished_at.is_some()), "{runs:?}");
    assert!(beats(service.node().db()).unwrap().iter().any(|beat| beat.name == Loop::Heavy.as_str() && beat.detail.contains("stage 1 stays")));
    assert!(service.node().root().base().join("control/backup/node.sqlite.2017-12-11").exists());
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn finished_rows_are_removed_by_the_clock_of_their_own_world() {
    let b = bench("2017-11-30T21:20:00Z");
    let (node, machine) = (told(&b), super::host());
    assert!(machine.now() > b.host.now().plus_seconds(86_400 * 365), "the machine lives years after the world");
    let row = |symbol: &str, days: i64| {
        let at = b.host.now().plus_seconds(-days * 86_400);
        let range = DateRange::new(at.utc_day(), at.utc_day().plus_days(1)).unwrap();
        let (kind, priority, vendor) = (queue::Kind::Forward, queue::Kind::Forward.priority(), "alpaca".to_string());
        let task =
            queue::NewTask { dataset: dataset::EQUITIES_EOD.into(), symbol: symbol.into(), range, kind, priority, vendor, not_before: None, run_id: None };
        node.db().write(|tx| {
            queue::seed(tx, at, &[task])?;
            tx.execute("UPDATE backfill_queue SET status = 'DONE', outcome = 'OK' WHERE symbol = ?1 AND kind = 'FORWARD'", [symbol])?;
            queue::recount(tx)
        })
    };
    for (symbol, days) in [("OLD", 31), ("YOUNG", 29)] {
        row(symbol, days).unwrap();
    }
    let times = Times::new(&Loops::default(), None, TimeZone::UTC).unwrap();
    let mut service = Service::new(node, &machine, times, TimeZone::UTC).unwrap();
    let round = service.round(&Quiet).unwrap();
    assert!(round.said.iter().any(|(which, _)| *which == Loop::Heavy), "{:?}", round.said);
    let kept = |symbol: &str| {
        let conn = service.node().db().lock().unwrap();
        conn.query_row("SELECT count(*) FROM backfill_queue WHERE symbol = ?1", [symbol], |r| r.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((kept("OLD"), kept("YOUNG")), (0, 1));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn actions_before_a_window_that_grew_are_asked_for() {
    let b = bench("2017-11-30T21:20:00Z");
    let node = told(&b);
    let window = DateRange::new(day("2017-06-01"), day("2017-12-01")).unwrap();
    node.work(crate::scheduler::DrainUntil::Empty, &Quiet).unwrap();
    node.heal(window, crate::audit::AuditScope::Incremental, &Quiet).unwrap();
    assert_eq!(node.seed_actions(window).unwrap().inserted, 0, "what was answered is not asked again");
    let grown = DateRange { start: day("2014-03-03"), ..window };
    assert_eq!(node.seed_actions(grown).unwrap().inserted, 3 * NAMES.len() as u64, "2014, 2015 and what of 2016 was not asked");
    assert_eq!(node.seed_actions(grown).unwrap().inserted, 0, "they are on their way");
    node.heal(grown, crate::audit::AuditScope::Incremental, &Quiet).unwrap();
    node.work(crate::scheduler::DrainUntil::Empty, &Quiet).unwrap();
    node.audit(grown, crate::audit::AuditScope::Incremental).unwrap();
    let rows = ledger::all_rows(node.db()).unwrap();
    let red = rows.iter().filter(|r| r.key.table_name == table::REF_CORP_ACTIONS && r.verdict.status != ledger::Status::Green).count();
    assert_eq!(red, 0);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_session_that_was_judged_before_it_was_asked_for_is_asked_for_as_todays() {
    let b = bench("2017-11-30T21:20:00Z");
    let node = told(&b);
    node.work(crate::scheduler::DrainUntil::Empty, &Quiet).unwrap();
    node.heal(node.window().unwrap(), crate::audit::AuditScope::Incremental, &Quiet).unwrap();
    assert_eq!(node.seed_forward().unwrap(), queue::SeedReport::default(), "nothing new is due");
    b.host.block_on(b.host.sleep(std::time::Duration::from_secs(86_400))).unwrap();
    b.host.block_on(client::advance(&b.host, &b.sandbox.base(), b.host.now())).unwrap().unwrap();
    // A planner that runs between the close and the next look for new sessions.
    let audited = node.audit(node.window().unwrap(), crate::audit::AuditScope::Incremental).unwrap();
    assert_eq!(audited.gaps.len(), NAMES.len());
    let asked = |dataset: &str| {
        let conn = node.db().lock().unwrap();
        let sql = "SELECT count(*) FROM backfill_queue WHERE kind = 'FORWARD' AND dataset = ?1 AND start_date <= '2017-12-01' AND end_date > '2017-12-01'";
        conn.query_row(sql, [dataset], |r| r.get::<_, i64>(0)).unwrap() as usize
    };
    node.seed_forward().unwrap();
    assert_eq!((asked(dataset::EQUITIES_EOD), asked(dataset::LISTINGS), asked(dataset::CORP_ACTIONS)), (NAMES.len(), 1, NAMES.len()));
    assert_eq!(node.seed_forward().unwrap(), queue::SeedReport::default(), "once");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_vendor_that_is_away_is_a_notice_and_the_next_round_catches_up() {
    let b = bench("2017-11-30T21:20:00Z");
    let mut service = set_up(&b);
    faults(&b, "{vendor: alpaca_data, do: status, status: 401, times: 1}");
    let first = service.round(&Quiet).unwrap();
    assert!(!first.notices.is_empty(), "a rejected key is said");
    live(&b, &mut service, t("2017-12-01T12:00:00Z"), |_, _| {});
    let (_, c) = coverage(&service);
    assert_eq!((c.green, c.expected > 0), (c.expected, true), "{:?}", c.codes);
    // A second service on the same drive goes on where this one was: nothing is due twice.
    let round = serve(&b, Node::new(b.ctx.clone())).round(&Quiet).unwrap();
    assert!(!round.said.iter().any(|(which, _)| matches!(which, Loop::Heavy | Loop::Maintenance)), "{:?}", round.said);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_drive_of_the_planted_world_reaches_stage_1_with_its_minutes() {
    let b = bench_of("planted@2:7", "2018-01-24T21:20:00Z");
    let from = b.host.block_on(client::world(&b.host, &b.sandbox.base())).unwrap().unwrap().minutes_from.unwrap();
    let node = Node::new(b.ctx.clone());
    let lane = ExplainedLane { state: LaneState::Active, reason: "the world holds minutes".into(), on: day("2018-01-24"), from: Some(from) };
    let lanes =
        BTreeMap::from([(dataset::EQUITIES_EOD.to_string(), Lane::Plain(LaneState::Active)), (dataset::EQUITIES_MINUTE.to_string(), Lane::Explained(lane))]);
    let mut first = Stage::initial(day("2018-01-24"), Universe::new("test", ["AAPL", "MSFT"].map(String::from).to_vec()), lanes);
    first.targets = BTreeMap::from([(0, Target { symbols: 2, eod_years: 1, minute_years: 1 }), (1, Target { symbols: 2, eod_years: 2, minute_years: 2 })]);
    stage::write(node.root(), &first).unwrap();
    let window = DateRange::new(day("2017-10-02"), day("2018-01-25")).unwrap();
    node.seed(&node.bootstrap(&first, window, None).unwrap()).unwrap();
    let mut service = serve(&b, node);
    live(&b, &mut service, t("2018-01-27T00:00:00Z"), |_, round| assert!(round.notices.is_empty(), "{:?}", round.notices));
    let (root, db) = (service.node().root(), service.node().db());
    // Every session since the world's first minute, the two that closed meanwhile included.
    let (_, minutes) = ledger::coverage_held(db, table::RAW_EQUITIES_BARS, timeframe::MINUTE).unwrap().unwrap();
    let sessions = crate::calendar::Calendar::xnys().sessions(DateRange::new(from, day("2018-01-27")).unwrap()).len() as u64;
    assert_eq!((minutes.green, minutes.expected), (2 * sessions, 2 * sessions), "{:?}", minutes.codes);
    let stage = stage::load(root).unwrap();
    assert_eq!(stage.stage, 1, "{:?}", stage.history);
    assert!(stage.history[1].why.contains("equities_minute 1.0000 GREEN"), "{}", stage.history[1].why);
    // Curated, and provable.
    let (_, curated) = ledger::coverage_held(db, table::CURATED_MINUTES, "").unwrap().unwrap();
    assert_eq!((curated.green, curated.expected), (minutes.green, minutes.expected));
    let file = crate::store::read_parquet(root, &curate::minutes_path_of("AAPL", day("2018-01-01")).unwrap()).unwrap();
    assert_eq!(file.height() as u64, sessions * 390);
    assert!(crate::fsck::is_sound(&crate::fsck::run(root).unwrap()));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

/// A node with every vendor's key: the first weekly night asks the second vendor about a few names, the next one compares.
fn probed(plan: &str) -> (Coverage, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset("replay@1", dir.path().join("state"));
    let b = bench_with(dir, cfg, "2017-11-30T21:20:00Z", true);
    faults(&b, plan);
    let mut service = set_up(&b);
    live(&b, &mut service, t("2017-12-03T00:00:00Z"), |_, round| assert!(round.notices.is_empty(), "{:?}", round.notices));
    let evidence = crate::store::read(service.node().root(), &crate::root::DataPath::new("qc/cross_vendor.json").unwrap()).unwrap().expect("recorded");
    let coverage = coverage(&service).1;
    drop(service);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
    (coverage, serde_json::from_slice(&evidence).unwrap())
}

#[test]
fn lesson_051_weekly_probes_compare_two_vendors_and_keep_the_evidence() {
    let (coverage, evidence) = probed("");
    let pair = &evidence["pairs"][0];
    assert_eq!((pair["vendor"].as_str(), pair["other_vendor"].as_str(), pair["symbols"].as_u64()), (Some("alpaca"), Some("tiingo"), Some(4)));
    let compared = pair["compared"].as_u64().unwrap();
    assert!(compared >= 16, "{evidence}");
    assert_eq!((pair["by_distance"]["same_to_a_cent"].as_u64(), evidence["apart"].as_array().unwrap().len()), (Some(compared), 0));
    assert!(!coverage.codes.contains_key("SOURCES_DISAGREE"), "{coverage:?}");

    // One name a quarter dearer at the second vendor: AMBER, with both words kept. One name a hair dearer: a note.
    let (coverage, evidence) = probed("{vendor: tiingo, symbol: XOM, do: scale, factor: 1.25}, {vendor: tiingo, symbol: JNJ, do: scale, factor: 1.004}");
    let of = |name: &str| evidence["apart"].as_array().unwrap().iter().filter(|a| a["symbol"] == name).cloned().collect::<Vec<_>>();
    let (far, near) = (of("XOM"), of("JNJ"));
    assert!(far.len() >= 4 && far.iter().all(|a| a["distance"] == "disagree" && a["apart_bps"].as_f64().unwrap() > 2_400.0), "{evidence}");
    assert!(near.len() == far.len() && near.iter().all(|a| a["distance"] == "noted"), "{evidence}");
    assert_eq!(coverage.codes["SOURCES_DISAGREE"], far.len() as u64);
    let (ours, theirs) = (far[0]["close"].as_f64().unwrap(), far[0]["other_close"].as_f64().unwrap());
    assert!((theirs / ours - 1.25).abs() < 1e-9);
}

#[test]
fn a_first_vendor_that_leaves_the_plan_is_stood_in_for_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset("replay@1", dir.path().join("state"));
    let b = bench_with(dir, cfg, "2017-11-30T21:20:00Z", true);
    let mut service = set_up(&b);
    live(&b, &mut service, t("2017-12-01T12:00:00Z"), |_, _| {});
    faults(&b, "{vendor: alpaca_data, path: '*bars*', do: entitlement, to: 2017-12-06T00:00:00Z}");
    let mut said = Vec::new();
    live(&b, &mut service, t("2017-12-12T00:00:00Z"), |_, round| said.extend(round.notices.iter().map(|n| n.body().what.clone())));
    assert_eq!(said, ["the alpaca key's plan does not include equities_eod"]);
    let c = coverage(&service).1;
    // Every session has its bar; where the other vendor's stands among the first one's, the series says so.
    assert!(c.codes.keys().all(|code| code == "OK" || code == "FEED_CHANGED") && c.codes["OK"] * 100 > c.expected * 99, "{:?}", c.codes);
    let served = |day: &str| {
        let all = crate::segment::manifests_for(service.node().root(), table::RAW_EQUITIES_BARS).unwrap();
        let of = all.iter().filter(|(_, m)| m.asked.t0 == self::day(day) && !m.segments.is_empty()).map(|(_, m)| m.vendor.clone());
        of.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(served("2017-12-04"), ["tiingo"], "while it was refused");
    assert_eq!(served("2017-12-11"), ["alpaca"], "it was looked at again");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_session_that_the_first_vendor_does_not_have_is_asked_of_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset("replay@1", dir.path().join("state"));
    let b = bench_with(dir, cfg, "2017-11-30T21:20:00Z", true);
    faults(&b, "{vendor: alpaca_data, path: '*bars*', do: drop_session, session: 2017-11-14}");
    let node = told(&b);
    node.work(crate::scheduler::DrainUntil::Empty, &Quiet).unwrap();
    let healed = node.heal(node.window().unwrap(), crate::audit::AuditScope::Incremental, &Quiet).unwrap();
    assert_eq!((healed.healed, healed.still_missing), (NAMES.len() as u64, 0));
    let (_, c) = ledger::coverage_held(node.db(), table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap().unwrap();
    // Every session has its bar; where the other vendor's stands among the first one's, the series says so.
    assert!(c.codes.keys().all(|code| code == "OK" || code == "FEED_CHANGED") && c.codes["OK"] * 100 > c.expected * 99, "{:?}", c.codes);
    let all = crate::segment::manifests_for(node.root(), table::RAW_EQUITIES_BARS).unwrap();
    let asked = |vendor: &str| all.iter().filter(|(_, m)| m.vendor == vendor && m.asked.t0 == day("2017-11-14")).count();
    assert_eq!((asked("alpaca"), asked("tiingo")), (1, NAMES.len()), "once again of the first, once of the second");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_symbol_that_no_vendor_knows_is_not_asked_for_again_and_again() {
    let b = bench("2017-11-30T21:20:00Z");
    faults(&b, r#"{vendor: alpaca_data, path: '*bars*', symbol: XOM, do: body, status: 400, text: '{"message":"invalid symbol: XOM"}'}"#);
    let node = told(&b);
    node.work(crate::scheduler::DrainUntil::Empty, &Quiet).unwrap();
    let heal = || {
        node.heal(node.window().unwrap(), crate::audit::AuditScope::Incremental, &Quiet).unwrap();
        let conn = node.db().lock().unwrap();
        conn.query_row("SELECT value FROM counters WHERE name = 'calls.alpaca'", [], |r| r.get::<_, i64>(0)).unwrap()
    };
    let asked_twice = heal();
    assert_eq!((heal(), heal()), (asked_twice, asked_twice), "it rests");
    let (_, c) = ledger::coverage_held(node.db(), table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap().unwrap();
    assert_eq!(c.codes.keys().map(String::as_str).collect::<Vec<_>>(), ["OK", "SUSPICIOUS_EMPTY"], "an answer, and not one to be content with");
    assert_eq!(c.codes["SUSPICIOUS_EMPTY"] * NAMES.len() as u64, c.expected);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_second_vendor_that_leaves_the_plan_is_one_sentence_and_no_loop() {
    let dir = tempfile::tempdir().unwrap();
    let cfg = SandboxConfig::of_dataset("replay@1", dir.path().join("state"));
    let b = bench_with(dir, cfg, "2017-11-30T21:20:00Z", true);
    faults(&b, "{vendor: tiingo, do: entitlement}");
    let mut service = set_up(&b);
    let mut said = Vec::new();
    live(&b, &mut service, t("2017-12-12T00:00:00Z"), |_, round| said.extend(round.notices.iter().map(|n| n.body().what.clone())));
    assert_eq!(said, ["the tiingo key's plan does not include equities_eod"], "said once in two weeks");
    let calls: i64 = {
        let conn = service.node().db().lock().unwrap();
        conn.query_row("SELECT COALESCE(SUM(spent), 0) FROM budget_spend WHERE vendor = 'tiingo' AND window = 'day' AND window_start <> ''", [], |r| r.get(0))
            .unwrap()
    };
    // Up to four were under way when the first was refused; the lane is looked at again after one, two and four days.
    assert!((4..=7).contains(&calls), "no retry loop: {calls} calls");
    assert_eq!(coverage(&service).1.fraction(), 1.0, "the first vendor serves on");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
