//! A drive is filled from nothing and then lives through weeks in which the vendors misbehave: limits, errors, resets, cut
//! and malformed answers, late bars, bombs. Calls are counted by the sandbox, and on their way out, not by the node's ledger.
//!
//! The sandbox's clock follows the node's before every call, so what it counts in a minute was sent in that minute.

use crate::rig::{Rig, day, names, t};
use data_layer::budget::Per;
use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::fetch::transport::Sending;
use data_layer::fetch::{Call, Network, Transport};
use data_layer::forecast::{Forecast, forecast};
use data_layer::host::Host;
use data_layer::ledger::{self, Coverage};
use data_layer::node::{Node, Service, Times};
use data_layer::queue::{Kind, NewTask};
use data_layer::root::DataRoot;
use data_layer::sandbox::world::Series;
use data_layer::sandbox::{client, load};
use data_layer::scheduler::tasks::due_at;
use data_layer::scheduler::{DrainProgress, DrainTick, DrainUntil, IngestContext, Quiet};
use data_layer::schema::{dataset, table, timeframe};
use data_layer::sourcing::settings::Loops;
use data_layer::sourcing::{Vendor, vendors_from};
use data_layer::stage::{self, ExplainedLane, Lane, LaneState, Stage, Target, Universe};
use data_layer::time::{DateRange, TradingDay, UtcTime, new_york};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Seconds of the simulated clock that a call takes, shared by the calls in flight.
const LATENCY_SECONDS: f64 = 0.3;
/// How often the node looks for new sessions: what is asked later than this after it was due is late.
const FORWARD_MINUTES: u32 = 15;

/// The first session of which minutes are kept.
const FIRST_MINUTES: &str = "2018-01-10";

const STORM: &str = "
version: 1
seed: 23
faults:
  - {vendor: alpaca_data, p: 0.03, do: status, status: 429, retry_after: 30}
  - {vendor: alpaca_data, p: 0.01, do: status, status: 429}
  - {vendor: alpaca_data, p: 0.03, do: status, status: 503}
  - {vendor: alpaca_data, p: 0.03, do: reset}
  - {vendor: alpaca_data, p: 0.03, do: truncate}
  - {vendor: alpaca_data, p: 0.02, do: body, text: '{\"bars\": [not json'}
  - {vendor: alpaca_data, p: 0.02, do: html}
  - {vendor: alpaca_data, p: 0.03, do: slow, seconds: 0.05}
  - {vendor: alpaca_data, p: 0.05, do: page_short, rows: 500}
  - {vendor: alpaca_data, p: 0.05, do: late_bars, seconds: 7200}
  - {vendor: alpha_vantage, p: 0.05, do: status, status: 503}
  - {vendor: fred, p: 0.1, do: status, status: 500}
  - {vendor: finnhub, p: 0.1, do: reset}
";
/// Days of the storm on which a bomb comes.
const BOMBS: [i32; 2] = [4, 15];

/// A call as it left.
struct Sent {
    vendor: String,
    at: UtcTime,
    /// The first session of a question for day bars.
    session: Option<TradingDay>,
}

/// The network, with the world's clock told before each call, and a log.
struct Street {
    network: Network,
    host: Host,
    /// Tells the world how late it is, with a clock of its own: the world's answer must not set the node's clock back, which other
    /// calls have moved on meanwhile.
    guide: Host,
    base: String,
    sent: Mutex<Vec<Sent>>,
}

impl Transport for Street {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move {
            let at = self.host.now();
            // Two calls at once may come in the other order: the clock never goes back.
            client::advance(&self.guide, &self.base, at).await.ok();
            let vendor = call.url.split('/').nth(3).unwrap_or_default().to_string();
            let arg = |name: &str| call.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            let session = arg("start").filter(|_| arg("timeframe") == Some("1Day")).and_then(|s| UtcTime::parse(s).ok()).map(|s| s.day_in(&new_york()));
            self.sent.lock().unwrap().push(Sent { vendor, at, session });
            self.host.sleep(Duration::from_secs_f64(LATENCY_SECONDS / 4.0)).await;
            self.network.send(call).await
        })
    }
}

fn node_on(rig: &Rig) -> (Node, Arc<Street>) {
    let root = rig.root();
    let db = Arc::new(Db::open(&root, Which::Node).unwrap());
    let vendors = vendors_from(&rig.host, &root, &BTreeMap::new()).unwrap();
    let guide = rig.host.in_world(&rig.env, rig.host.now());
    let street = Arc::new(Street { network: Network::new(&rig.host), host: rig.host.clone(), guide, base: rig.base.clone(), sent: Mutex::default() });
    (Node::new(IngestContext::with_transport(&rig.host, &root, db, vendors, "node-1", street.clone()).unwrap()), street)
}

fn foretold(node: &Node) -> Forecast {
    let ctx = &node.ctx;
    let stage = stage::load(node.root()).unwrap();
    let inflight = |vendor: Vendor| ctx.fetcher.edge.inflight(vendor);
    forecast(node.db(), &ctx.vendors().endpoints, ctx.fetcher.slices, &inflight, &stage, ctx.host().now()).unwrap()
}

/// What is foretold at every tick of a drain.
struct Eta<'a> {
    node: &'a Node,
    said: Mutex<Vec<(UtcTime, Option<UtcTime>)>>,
}

impl DrainProgress for Eta<'_> {
    fn tick(&self, _tick: &DrainTick) {
        let f = foretold(self.node);
        self.said.lock().unwrap().push((f.at, f.complete_at));
    }
}

/// How far the end was missed, as a share of what was left, at a tenth, three, five and seven tenths of the way.
fn eta_errors(began: UtcTime, said: &[(UtcTime, Option<UtcTime>)], end: UtcTime) -> Vec<f64> {
    let whole = end.seconds_since(began);
    let at = |share: f64| said.iter().find(|(now, _)| now.seconds_since(began) >= share * whole);
    let miss = |(now, eta): &(UtcTime, Option<UtcTime>)| eta.map_or(f64::INFINITY, |eta| (eta.seconds_since(end) / end.seconds_since(*now)).abs());
    [0.1, 0.3, 0.5, 0.7].into_iter().filter_map(at).map(miss).collect()
}

/// A long queue against one vendor's limit: when it will be done is foretold on the way.
fn long_queue(windows: i32) -> Value {
    let rig = Rig::new("2018-01-05T21:40:00Z");
    let window = DateRange::new(day("2017-01-02"), day("2018-01-01")).unwrap();
    let few = names(window, 2);
    let (node, _street) = node_on(&rig);
    stage::write(node.root(), &stage_of(&few, window.end, 1)).unwrap();
    // Windows that differ are asked one by one.
    let week = |n: i32| {
        let start = window.end.plus_days(-7 * (n % 100) - 14);
        DateRange { start, end: start.plus_days(5 + n / 100) }
    };
    let task = |n: i32| NewTask {
        dataset: dataset::EQUITIES_EOD.into(),
        symbol: few[0].clone(),
        range: week(n),
        kind: Kind::Bootstrap,
        priority: 1,
        vendor: "alpaca".into(),
        not_before: None,
        run_id: None,
    };
    node.seed(&(0..windows).map(task).collect::<Vec<_>>()).unwrap();
    let (began, eta) = (rig.host.now(), Eta { node: &node, said: Mutex::default() });
    let report = node.work(DrainUntil::Empty, &eta).unwrap();
    let end = rig.host.now();
    let errors = eta_errors(began, &eta.said.lock().unwrap(), end);
    json!({"calls": report.calls, "simulated_seconds": end.seconds_since(began).round(), "eta_errors": rounded(&errors)})
}

fn rounded(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| (v * 1_000.0).round() / 1_000.0).collect()
}

fn stage_of(names: &[String], on: TradingDay, years: u16) -> Stage {
    let active = |name: &str| (name.to_string(), Lane::Plain(LaneState::Active));
    let mut lanes = BTreeMap::from([dataset::EQUITIES_EOD, dataset::CORP_ACTIONS, dataset::MACROS_FRED, dataset::INDEX_MEMBERSHIP].map(active));
    let minutes = ExplainedLane { state: LaneState::Active, reason: "the world's first minute".into(), on, from: Some(day(FIRST_MINUTES)) };
    lanes.insert(dataset::EQUITIES_MINUTE.into(), Lane::Explained(minutes));
    let mut stage = Stage::initial(on, Universe::new("test", names.to_vec()), lanes);
    let symbols = u32::try_from(names.len()).unwrap();
    // Stage 1 is foretold and not begun: the world has no more names.
    stage.promote.green = 2.0;
    stage.targets = BTreeMap::from([(0, Target { symbols, eod_years: years, minute_years: 1 }), (1, Target { symbols: 500, eod_years: 15, minute_years: 5 })]);
    stage
}

/// A number in kB of `/proc/self/status`, or bytes of `/proc/self/io`.
fn proc(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix(name)?.trim_start_matches(':').split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Sessions of a window on which the world itself has no bar of a name that is listed: halts. They are AMBER, and rightly so. Between two
/// companies that had a ticker one after the other there is nothing to halt.
fn halts(names: &[String], window: DateRange) -> u64 {
    let world = load::load("planted", 7, None).unwrap();
    let named = world.series.iter().filter(|s| names.contains(&s.symbol));
    let of = |s: &Series| {
        let listed = |d: TradingDay| world.listings.iter().any(|l| l.symbol == s.symbol && l.active_on(d));
        let within = |d: TradingDay| s.first().is_some_and(|first| first <= d) && s.last().is_some_and(|last| d <= last);
        Calendar::xnys().sessions(window).iter().filter(|d| within(**d) && listed(**d) && !s.days.contains(*d)).count() as u64
    };
    named.map(of).sum()
}

fn green(node: &Node, table: &str, tf: &str) -> Option<(DateRange, Coverage)> {
    ledger::coverage_held(node.db(), table, tf).unwrap()
}

/// Bytes that a folder takes up, as `du` counts them: whole blocks, folders too, a file with several names once. What a process writes is
/// counted by the kernel in the same blocks. A database's log is kept for a while only, and is none of it.
fn allocated(place: &Path) -> u64 {
    let (mut seen, mut stack, mut bytes) = (BTreeSet::new(), vec![place.to_path_buf()], 0);
    while let Some(at) = stack.pop() {
        let meta = std::fs::symlink_metadata(&at).unwrap();
        let name = at.to_string_lossy();
        if seen.insert(meta.ino()) && !name.ends_with("-wal") && !name.ends_with("-shm") {
            bytes += meta.blocks() * 512;
        }
        if meta.is_dir() {
            stack.extend(std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    bytes
}

/// The bootstrap: from nothing to audited, curated and exported.
fn fill(rig: &Rig, node: &Node, street: &Street, names: &[String], years: u16) -> Value {
    let end = day("2018-01-06");
    let written = proc("io", "write_bytes");
    let (wall, began) = (Instant::now(), rig.host.now());
    let first = stage_of(names, day("2018-01-05"), years);
    stage::write(node.root(), &first).unwrap();
    let window = DateRange::new(end.minus_years(i16::try_from(years).unwrap()).max(day("2013-02-08")), end).unwrap();
    let mut steps = vec![("begin", written)];
    let seeded = node.seed(&node.bootstrap(&first, window, None).unwrap()).unwrap();
    let stage_1 = foretold(node).stage_1_at;
    steps.push(("seed", proc("io", "write_bytes")));
    let report = node.work(DrainUntil::Empty, &Quiet).unwrap();
    steps.push(("work", proc("io", "write_bytes")));
    let audited = node.heal(window, data_layer::audit::AuditScope::Incremental, &Quiet).unwrap();
    steps.push(("audit", proc("io", "write_bytes")));
    node.curate(data_layer::curate::Depth::Incremental).unwrap();
    steps.push(("curate", proc("io", "write_bytes")));
    node.export(day("2018-01-05")).unwrap();
    steps.push(("export", proc("io", "write_bytes")));
    let by_step: BTreeMap<&str, u64> = steps.windows(2).map(|w| (w[1].0, w[1].1 - w[0].1)).collect();
    let (held, c) = green(node, table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap();
    let curated = green(node, table::CURATED_EQUITIES, timeframe::DAY).unwrap().1;
    let kept = allocated(&rig.place);
    let written = proc("io", "write_bytes") - written;
    json!({
        "symbols": names.len(), "tasks": seeded.inserted, "window": held.to_string(), "expected": c.expected, "green": c.green, "codes": c.codes,
        "halts": halts(names, held),
        "curated_green": curated.green, "gaps": audited.still_missing, "rows": report.rows, "calls": street.sent.lock().unwrap().len(),
        "simulated_seconds": rig.host.now().seconds_since(began).round(), "wall_seconds": wall.elapsed().as_secs(),
        "stage_1_days": stage_1.map(|at| (at.seconds_since(began) / 8_640.0).round() / 10.0),
        "bytes_written": written, "bytes_written_by": by_step, "bytes_kept": kept, "written_per_kept": (written as f64 / kept as f64 * 100.0).round() / 100.0,
    })
}

/// The most calls of a vendor in any span of so many seconds.
fn most_in(sent: &[Sent], vendor: &str, seconds: f64) -> u64 {
    let at: Vec<UtcTime> = sent.iter().filter(|s| s.vendor == vendor).map(|s| s.at).collect();
    let (mut most, mut from) = (0, 0);
    for (i, now) in at.iter().enumerate() {
        while now.seconds_since(at[from]) >= seconds {
            from += 1;
        }
        most = most.max(i + 1 - from);
    }
    most as u64
}

/// Windows in which more was sent than the vendor allows, by our log and by the sandbox's own count.
fn over(rig: &Rig, node: &Node, sent: &[Sent]) -> (u64, Value) {
    let text = rig.host.block_on(async { reqwest::get(format!("{}/_world/calls", rig.base)).await.unwrap().text().await.unwrap() }).unwrap();
    let counted: Value = serde_json::from_str(&text).unwrap();
    let (mut over, mut out) = (0, BTreeMap::new());
    for (dialect, vendor) in [("alpaca_data", Vendor::Alpaca), ("alpha_vantage", Vendor::AlphaVantage), ("fred", Vendor::Fred), ("finnhub", Vendor::Finnhub)] {
        let Some(limits) = node.ctx.vendors().endpoints.limits(vendor, node.ctx.fetcher.slices) else { continue };
        for spec in limits.windows.iter().filter(|w| w.per < Per::Month) {
            let mut most = most_in(sent, dialect, spec.per.seconds() as f64);
            let theirs = counted["calls"].as_array().unwrap().iter().filter(|c| c["vendor"] == dialect && c["window"] == spec.per.as_str());
            most = most.max(theirs.map(|c| c["calls"].as_u64().unwrap()).max().unwrap_or(0));
            over += u64::from(most > spec.calls);
            out.insert(format!("{vendor} {}", spec.per.as_str()), json!({"most": most, "limit": spec.calls}));
        }
    }
    (over, json!(out))
}

/// Seconds from the moment at which each session was due to the first question for it.
fn lateness(node: &Node, sent: &[Sent], window: DateRange) -> Vec<f64> {
    let entry = node.ctx.vendors().endpoints.entry(Vendor::Alpaca, dataset::EQUITIES_EOD).unwrap();
    let first = |session: TradingDay| sent.iter().filter(|s| s.session == Some(session) && s.at >= due_at(entry, session)).map(|s| s.at).min();
    let late = |d: &TradingDay| first(*d).map_or(f64::INFINITY, |at| at.seconds_since(due_at(entry, *d)));
    Calendar::xnys().sessions(window).iter().map(late).collect()
}

/// Days under the storm, then one in calm weather.
fn endure(rig: &Rig, node: Node, street: &Street, names: &[String], plan: &Plan) -> Value {
    let Plan { days, forward_minutes, .. } = *plan;
    let wall = Instant::now();
    let times = Times::new(&Loops { forward_minutes, planner_hours: 4, maintenance: "02:00".into() }, None, TimeZone::UTC).unwrap();
    let mut service = Service::new(node, &rig.host, times, TimeZone::UTC).unwrap();
    let (first, before) = (day("2018-01-06"), street.sent.lock().unwrap().len());
    let (mut notices, mut rounds) = (BTreeMap::<String, u64>::new(), 0);
    for n in 0..=days {
        let bomb = format!("  - {{vendor: alpaca_data, times: 1, do: gzip_bomb, mib: {}}}\n", plan.mib);
        let calm = "version: 1\nfaults: []".to_string();
        rig.faults(&if n == days {
            calm
        } else if plan.bombs.contains(&n) {
            format!("{STORM}{bomb}")
        } else {
            STORM.to_string()
        });
        rig.live(&mut service, t(&format!("{}T00:00:00Z", first.plus_days(n + 1))), |_, round| {
            rounds += 1;
            round.notices.iter().for_each(|e| *notices.entry(e.body().code.id.to_string()).or_default() += 1);
        });
    }
    let sent = street.sent.lock().unwrap();
    let (over, windows) = over(rig, service.node(), &sent);
    let late = lateness(service.node(), &sent, DateRange { start: first, end: first.plus_days(days) });
    let (held, c) = green(service.node(), table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap();
    let of_minutes = DateRange { start: day(FIRST_MINUTES), end: held.end };
    let minutes = green(service.node(), table::RAW_EQUITIES_BARS, timeframe::MINUTE).map(|(_, c)| c).unwrap_or_default();
    json!({
        "days": days, "sessions": late.len(), "rounds": rounds, "calls": sent.len() - before, "windows_over": over, "windows": windows,
        "forward_late": late.iter().filter(|s| **s > f64::from(forward_minutes) * 60.0).count(), "forward_worst_seconds": late.iter().copied().fold(0.0, f64::max),
        "expected": c.expected, "green": c.green, "codes": c.codes, "minutes_expected": minutes.expected, "minutes_green": minutes.green,
        "halts": halts(names, held), "minute_halts": halts(names, of_minutes), "minute_codes": minutes.codes, "notices": notices, "wall_seconds": wall.elapsed().as_secs(),
    })
}

/// How large and how long.
struct Plan {
    symbols: usize,
    years: u16,
    days: i32,
    bombs: &'static [i32],
    mib: u32,
    forward_minutes: u32,
}

fn whole(rig: &Rig, plan: &Plan) -> Value {
    let window = DateRange::new(day("2013-02-08"), day("2018-02-07")).unwrap();
    let (node, street) = node_on(rig);
    let names = names(window, plan.symbols);
    let filled = fill(rig, &node, &street, &names, plan.years);
    let storm = endure(rig, node, &street, &names, plan);
    let sound = data_layer::fsck::is_sound(&data_layer::fsck::run(&DataRoot::open(&rig.host, &rig.place).unwrap()).unwrap());
    json!({"topic": "storm", "world": crate::rig::WORLD, "bootstrap": filled, "storm": storm, "fsck": sound, "peak_rss_mb": proc("status", "VmHWM") / 1_024})
}

/// What is not GREEN is what the market's halts look like, answers of two vendors without a bar, and there are as many of these as halts.
fn assert_good(line: &Value) {
    let (b, s) = (&line["bootstrap"], &line["storm"]);
    let n = |v: &Value, name: &str| v[name].as_u64().unwrap();
    let rest = |codes: &Value| {
        let mut codes = codes.as_object().unwrap().clone();
        (codes.remove("OK").and_then(|n| n.as_u64()).unwrap_or(0), Value::Object(codes))
    };
    let but_halts = |v: &Value, [expected, green, halts, codes]: [&str; 4]| {
        let halts = n(v, halts);
        let only = if halts == 0 { json!({}) } else { json!({"VENDOR_EMPTY": halts}) };
        assert_eq!((n(v, green), rest(&v[codes])), (n(v, expected) - halts, (n(v, expected) - halts, only)), "{codes}: {line:#}");
    };
    but_halts(b, ["expected", "green", "halts", "codes"]);
    assert!(n(b, "curated_green") == n(b, "green") && b["gaps"] == 0, "{line:#}");
    assert!(s["windows_over"] == 0 && s["forward_late"] == 0 && line["fsck"] == true, "{line:#}");
    but_halts(s, ["expected", "green", "halts", "codes"]);
    but_halts(s, ["minutes_expected", "minutes_green", "minute_halts", "minute_codes"]);
}

/// Whether the end of every queue was foretold to a fifth of what was left, at four places on the way.
fn is_foretold(queue: &Value) -> bool {
    let errors = queue["eta_errors"].as_array().unwrap();
    errors.len() == 4 && errors.iter().all(|e| e.as_f64().is_some_and(|e| e < 0.2))
}

#[test]
fn a_storm_of_five_days_costs_no_bar_no_limit_and_no_time() {
    let line = whole(&Rig::new("2018-01-05T21:40:00Z"), &Plan { symbols: 3, years: 1, days: 5, bombs: &[2], mib: 128, forward_minutes: 120 });
    assert_good(&line);
    let queue = long_queue(60);
    assert!(queue["eta_errors"].as_array().unwrap().iter().all(Value::is_number), "{queue}");
}

#[test]
#[ignore = "takes a minute: part of make storm"]
fn a_long_queue_is_foretold_to_a_fifth() {
    for calls in [900, 3_600] {
        let queue = long_queue(calls);
        println!("{queue}");
        assert!(is_foretold(&queue), "{queue}");
    }
}

#[test]
#[ignore = "takes minutes: make storm"]
fn thirty_days_of_storm() {
    let mut line =
        whole(&Rig::outside("2018-01-05T21:40:00Z"), &Plan { symbols: 100, years: 5, days: 30, bombs: &BOMBS, mib: 1_024, forward_minutes: FORWARD_MINUTES });
    line["eta"] = json!([long_queue(900), long_queue(3_600)]);
    println!("{line}");
    assert_good(&line);
    assert!(line["eta"].as_array().unwrap().iter().all(is_foretold), "{}", line["eta"]);
    assert!(line["peak_rss_mb"].as_u64().unwrap() <= 300 && line["bootstrap"]["written_per_kept"].as_f64().unwrap() <= 1.5, "{line:#}");
}
