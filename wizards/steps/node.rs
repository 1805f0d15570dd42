//! The data node's work as steps: probe, pin, seed, drain, audit, heal, curate, export. Shared by the wizard, `node` and
//! `demo`.

use super::keys;
use crate::kit::Act;
use crate::kit::report::Reporter;
use data_layer::audit::AuditScope;
use data_layer::calendar::Calendar;
use data_layer::control::{self, Db, Which};
use data_layer::curate::Depth;
use data_layer::env_file;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::node::{self, Audited, Node, Round, Service};
use data_layer::queue;
use data_layer::root::DataRoot;
use data_layer::sandbox;
use data_layer::scheduler::{self, DrainProgress, DrainReport, DrainTick, DrainUntil, IngestContext, KeyVerdict};
use data_layer::schema::{dataset, table, timeframe};
use data_layer::sourcing::entitlement::{Entitlement, LiveStatus};
use data_layer::sourcing::{self, Vendor};
use data_layer::stage::{self, ExplainedLane, Lane, LaneState, Stage};
use data_layer::time::{DateRange, TradingDay};
use data_layer::words::joined;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The vendors that daily bars and their expectations need.
const VENDORS: &[Vendor] = &[Vendor::Alpaca, Vendor::AlphaVantage];

/// Datasets whose lane is written into the stage as the key was found able to have them.
const LANES: &[&str] =
    &[dataset::EQUITIES_EOD, dataset::EQUITIES_MINUTE, dataset::MACROS_FRED, dataset::INDEX_MEMBERSHIP, dataset::COMPANIES, dataset::EARNINGS_CALENDAR];
/// Lanes that open only where an answer with rows was seen: a world without companies answers, and has nothing to say.
const SEEN_ONLY: [&str; 2] = [dataset::COMPANIES, dataset::EARNINGS_CALENDAR];

/// Everything an ingest needs on this host and drive.
pub fn context(host: &Host, root: &DataRoot) -> Result<IngestContext> {
    let db = Arc::new(Db::open(root, Which::Node)?);
    let vendors = sourcing::vendors_from(host, root, &env_file::load(host)?)?;
    IngestContext::new(host, root, db, vendors, &keys::node_id(host)?)
}

/// The node on this host and drive.
pub fn open(host: &Host, root: &DataRoot) -> Result<Node> {
    Ok(Node::new(context(host, root)?))
}

/// One cheap live call per vendor; a rejected key stops here.
pub fn check_keys(act: &Act<'_>) -> Result<String> {
    if act.host.is_offline() {
        return Ok("not tried: --offline".into());
    }
    let ctx = context(act.host, act.root)?;
    let asked = |vendor: &Vendor| VENDORS.contains(vendor) || !act.root.is_world() && ctx.vendors().missing_keys(*vendor).is_empty() && has_key(*vendor);
    let mut said = Vec::new();
    for vendor in Vendor::ALL.iter().filter(|v| asked(v)) {
        let check = act.host.block_on(scheduler::probe_key(act.host, ctx.vendors(), *vendor, Some(Arc::clone(&ctx.db))))??;
        let error = |code, what: &str| Error::new(code, text!("{vendor}: {what}")).found(check.detail.clone());
        match check.verdict {
            KeyVerdict::Ok | KeyVerdict::NotEntitled => said.push(text!("{vendor} {}", check.detail)),
            // Without these the drive stays empty; without the others something is missing, and `doctor` keeps saying so.
            KeyVerdict::Rejected if VENDORS.contains(vendor) => {
                return Err(error(code::KEY_REJECTED, "the key was rejected")
                    .fix(format!("trademl config set {} < FILE, then run the same command", key_variable(*vendor))));
            }
            KeyVerdict::Unreachable if VENDORS.contains(vendor) => {
                return Err(error(code::NET_UNREACHABLE, "cannot be reached").fix("check the network, then run the same command; nothing was lost"));
            }
            KeyVerdict::Rejected => said.push(text!("{vendor} REJECTED the key ({}); its lanes stay closed", check.detail)),
            KeyVerdict::Unreachable => said.push(text!("{vendor} could not be asked ({}); the key is kept unchecked", check.detail)),
        }
    }
    Ok(joined(&said, "; "))
}

fn has_key(vendor: Vendor) -> bool {
    !sourcing::vendors::key_variables(vendor).is_empty()
}

fn key_variable(vendor: Vendor) -> &'static str {
    sourcing::vendors::key_variables(vendor).first().copied().unwrap_or("KEY")
}

/// Ask each vendor whether this key may have each dataset; what is refused is recorded with the vendor's words.
pub fn probe_lanes(act: &Act<'_>) -> Result<BTreeMap<String, Lane>> {
    let ctx = context(act.host, act.root)?;
    let today = Calendar::xnys().last_closed(act.host.now())?;
    let mut lanes = BTreeMap::new();
    for found in act.host.block_on(scheduler::probe_lanes(&ctx, &["AAPL".into(), "ADBE".into()]))?? {
        // The vendor that is asked first decides: a second one that refuses, or answers, opens and closes nothing.
        let first = ctx.vendors().endpoints.route(&found.dataset, today).is_ok_and(|e| e.vendor.as_str() == found.vendor);
        let silent = SEEN_ONLY.contains(&found.dataset.as_str()) && found.live == LiveStatus::Unprobed;
        if !LANES.contains(&found.dataset.as_str()) || !first || silent {
            continue;
        }
        let lane = lane(act, &found, today)?;
        lanes.insert(found.dataset, lane);
    }
    Ok(lanes)
}

/// What one vendor's answer to its canary says of a dataset.
fn lane(act: &Act<'_>, found: &Entitlement, today: TradingDay) -> Result<Lane> {
    let minutes = found.dataset == dataset::EQUITIES_MINUTE;
    let closed = |state| Lane::Explained(ExplainedLane { state, reason: found.detail.clone(), on: today, from: None });
    if found.blocked() {
        act.note(&text!("{}: not entitled ({})", found.dataset, found.detail));
        return Ok(closed(LaneState::NotEntitled));
    }
    // Minutes are the most calls by far: a vendor that had none of two large names on a whole session is not asked for years of them.
    if minutes && found.live == LiveStatus::Unprobed {
        act.note(&text!("{}: off ({} {})", found.dataset, found.vendor, found.detail));
        return Ok(closed(LaneState::Off));
    }
    if minutes { minute_lane(act, today) } else { Ok(Lane::Plain(LaneState::Active)) }
}

/// Minutes that the keys open. A synthetic world says itself how far back its minutes reach; of a real vendor the registry
/// knows.
fn minute_lane(act: &Act<'_>, today: TradingDay) -> Result<Lane> {
    let base = super::world::outside_base(act.host).filter(|_| act.root.is_world());
    let Some(base) = base else { return Ok(Lane::Plain(LaneState::Active)) };
    let world = act.host.block_on(sandbox::client::world(act.host, &base))??;
    let Some(from) = world.minutes_from else { return Ok(Lane::Plain(LaneState::Active)) };
    let reason = text!("the world {} holds minutes from {from} on", world.dataset);
    act.note(&text!("{}: {reason}", dataset::EQUITIES_MINUTE));
    Ok(Lane::Explained(ExplainedLane { state: LaneState::Active, reason, on: today, from: Some(from) }))
}

/// The stage's years of history, up to the last session whose data exists.
pub fn pin_window(act: &Act<'_>) -> Result<DateRange> {
    let asof = node::newest_due(act.host)?;
    let years = stage::load_optional(act.root)?.and_then(|s| s.target().ok().map(|t| t.eod_years)).unwrap_or(5);
    DateRange::new(asof.plus_days(1).minus_years(i16::try_from(years).unwrap_or(5)), asof.plus_days(1))
}

/// Datasets that some enabled lane serves with the keys of this host, at a window's end. What the keys really open is only
/// known when the vendors have been asked; of a practice world it is known that it has no minutes,
/// companies or calendars.
pub fn served(host: &Host, root: &DataRoot, window: DateRange) -> Result<BTreeSet<&'static str>> {
    let endpoints = sourcing::vendors_from(host, root, &env_file::load(host)?)?.endpoints;
    let practice = root.drive().dataset == super::world::PRACTICE;
    let lacks = |name: &str| practice && (name == dataset::EQUITIES_MINUTE || SEEN_ONLY.contains(&name));
    Ok(LANES.iter().copied().filter(|name| endpoints.route(name, window.end.plus_days(-1)).is_ok() && !lacks(name)).collect())
}

/// The tasks of a bootstrap, counted before anything is written: there need not be a database yet.
pub fn bootstrap(host: &Host, root: &DataRoot, stage: &Stage, window: DateRange, run: &str) -> Result<Vec<queue::NewTask>> {
    let endpoints = sourcing::vendors_from(host, root, &env_file::load(host)?)?.endpoints;
    node::bootstrap(root, &endpoints, stage, window, Some(run))
}

/// Seed the dated listings, the corporate actions, every symbol's years and the lanes beside the prices; say how these stand.
pub fn seed_bootstrap(act: &Act<'_>, window: DateRange) -> Result<queue::SeedReport> {
    super::preamble::believe_clock(act.host, act.root)?;
    let node = open(act.host, act.root)?;
    let mut report = node.seed(&node.bootstrap(&stage::load(act.root)?, window, Some(act.run))?)?;
    let beside = node.seed_lanes()?;
    (report.inserted, report.revived, report.kept) = (report.inserted + beside.inserted, report.revived + beside.revived, report.kept + beside.kept);
    act.note(&text!("{} tasks queued", report.inserted + report.revived));
    node.lanes()?.iter().for_each(|lane| act.note(&lane.sentence()));
    Ok(report)
}

/// Progress of a drain on a reporter.
struct Bar<'a> {
    report: &'a Reporter,
    step: &'a str,
}

impl DrainProgress for Bar<'_> {
    fn tick(&self, tick: &DrainTick) {
        self.report.progress(
            self.step,
            tick.tasks_done,
            tick.tasks_done + tick.open,
            &text!("tasks, {} rows, {} calls; now {}", tick.rows, tick.calls, tick.dataset),
        );
    }
}

/// What a drain did, for the journal.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Drained {
    pub tasks: u64,
    pub calls: u64,
    pub rows: u64,
}

/// Work the queue off until nothing is due.
pub fn drain(act: &Act<'_>) -> Result<Drained> {
    let report = drain_with(act.host, act.root, act.report, act.step)?;
    act.note(&text!("{} rows in {} calls", report.rows, report.calls));
    Ok(Drained { tasks: report.tasks_done, calls: report.calls, rows: report.rows })
}

fn drain_with(host: &Host, root: &DataRoot, report: &Reporter, step: &str) -> Result<DrainReport> {
    let done = open(host, root)?.work(DrainUntil::Empty, &Bar { report, step })?;
    report.progress_done();
    host.check_cancelled()?;
    if let Some(loud) = done.notices.first() {
        return Err(loud.clone());
    }
    if let Some(until) = done.waiting_until {
        report.note(&text!("         work remains; the vendors' limits open again at {until}"));
    }
    Ok(done)
}

/// Audit by reading contents; ask again for what is missing, a bounded number of times.
pub fn audit_and_heal(act: &Act<'_>, window: DateRange) -> Result<Audited> {
    open(act.host, act.root)?.heal(window, AuditScope::Incremental, &Bar { report: act.report, step: act.step })
}

/// What a curation did, for the journal.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Curated {
    pub rewritten: u64,
    pub unchanged: u64,
}

/// Rebuild the curated files whose inputs changed.
pub fn curate(act: &Act<'_>) -> Result<Curated> {
    let report = open(act.host, act.root)?.curate(Depth::Incremental)?;
    act.note(&text!("{} files made, {} as they were", report.rewritten, report.unchanged));
    Ok(Curated { rewritten: report.rewritten, unchanged: report.unchanged })
}

/// The nightly export of the newest session.
pub fn export(act: &Act<'_>) -> Result<String> {
    let day = node::newest_due(act.host)?;
    let folder = open(act.host, act.root)?.export(day)?;
    control::nightly_backup(act.root, &day.to_string())?;
    Ok(folder)
}

/// Coverage in a sentence; nothing missing goes unexplained.
pub fn coverage_line(act: &Act<'_>, window: DateRange) -> Result<String> {
    let db = Db::open(act.root, Which::Node)?;
    let c = ledger::coverage(&db, table::RAW_EQUITIES_BARS, timeframe::DAY, window)?;
    let codes: Vec<String> = c.codes.iter().filter(|(code, _)| *code != "OK").map(|(code, n)| text!("{n} {code}")).collect();
    let rest = if codes.is_empty() { term!("nothing missing").to_string() } else { codes.join(", ") };
    Ok(text!("{} GREEN of {} expected partitions ({rest})", crate::kit::percent(c.green, c.expected), c.expected))
}

/// Names of which the ledger knows no usable bar of a day in the window.
pub fn without_bars(root: &DataRoot, symbols: &[String], window: DateRange) -> Result<Vec<String>> {
    let db = Db::open(root, Which::Node)?;
    let known = ledger::coverage_by_symbol(&db, table::RAW_EQUITIES_BARS, timeframe::DAY, window)?;
    // An answer that was empty on a trading day is amber too, and holds no bar.
    let empty = |c: &ledger::Coverage| c.codes.get(data_layer::qc::QcCode::SuspiciousEmpty.as_str()).copied().unwrap_or(0);
    let has = |symbol: &&String| known.get(*symbol).is_some_and(|c| c.green + c.amber > empty(c));
    Ok(symbols.iter().filter(|symbol| !has(symbol)).cloned().collect())
}

/// Judge what is stored, over everything that the ledger answers for, and ask again for what is missing.
pub fn audit(host: &Host, root: &DataRoot, report: &Reporter, scope: AuditScope) -> Result<Audited> {
    let node = open(host, root)?;
    node.believe_clock()?;
    let held = node.held()?;
    if scope == AuditScope::Full {
        let bad = node.mend()?;
        if bad > 0 {
            report.note(&text!("  {bad} damaged files are mended or kept in raw/_quarantine; what is lost is asked again"));
        }
        node.work(DrainUntil::Empty, &Bar { report, step: "audit" })?;
    }
    let audited = node.heal(held, scope, &Bar { report, step: "audit" })?;
    report.progress_done();
    node.curate(if scope == AuditScope::Full { Depth::Full } else { Depth::Incremental })?;
    Ok(audited)
}

/// One round of the node's work up to now: ask for the sessions since the last one, audit, heal, curate, export.
pub fn once(host: &Host, root: &DataRoot, report: &Reporter, exports: bool) -> Result<TradingDay> {
    let node = open(host, root)?;
    node.believe_clock()?;
    node.held()?;
    node.seed_forward()?;
    drain_with(host, root, report, "forward")?;
    node.heal(node.window()?, AuditScope::Incremental, &Bar { report, step: "forward" })?;
    report.progress_done();
    node.curate(Depth::Incremental)?;
    let asof = node::newest_due(host)?;
    if exports {
        node.export(asof)?;
    }
    Ok(asof)
}

/// Work the queue off as the service does: with progress on the reporter.
pub fn service_round(service: &mut Service, report: &Reporter) -> Result<Round> {
    let round = service.round(&Bar { report, step: "node" })?;
    report.progress_done();
    Ok(round)
}
