//! The data node's work as steps: probe, pin, seed, drain, audit, heal, curate, export. Shared by the wizard, `node` and
//! `demo`.

mod damaged;

use super::keys;
use crate::kit::Act;
use crate::kit::report::Reporter;
use data_layer::audit::{self, AuditReport, AuditScope};
use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::queue::{self, Kind, NewTask};
use data_layer::root::DataRoot;
use data_layer::scheduler::{self, DrainProgress, DrainReport, DrainTick, DrainUntil, IngestContext, KeyVerdict};
use data_layer::schema::{dataset, table, timeframe};
use data_layer::sourcing::{self, BackfillConfig, Endpoints, Vendor};
use data_layer::stage::{self, ExplainedLane, Lane, LaneState, Stage};
use data_layer::time::{DateRange, TradingDay};
use data_layer::{curate as curation, env_file, export as nightly, reference};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rounds of "ask again for what is missing" before what is missing is reported.
const HEALING_ROUNDS: usize = 2;

/// The vendors that daily bars and their expectations need.
const VENDORS: &[Vendor] = &[Vendor::Alpaca, Vendor::AlphaVantage];

/// Datasets whose lane is written into the stage as the key was found able to have them.
const LANES: &[&str] = &[dataset::EQUITIES_EOD, dataset::EQUITIES_MINUTE, dataset::MACROS_FRED, dataset::INDEX_MEMBERSHIP];

/// How far back a macro series is asked for again each night: late and corrected values of the last weeks.
const MACRO_DAYS: i32 = 40;

/// Everything an ingest needs on this host and drive.
pub fn context(host: &Host, root: &DataRoot) -> Result<IngestContext> {
    let db = Arc::new(Db::open(root, Which::Node)?);
    let vendors = sourcing::vendors_from(host, root, &env_file::load(host)?)?;
    IngestContext::new(host, root, db, vendors, &keys::node_id(host)?)
}

/// The registry as it applies to the keys that this host holds.
fn endpoints(host: &Host, root: &DataRoot) -> Result<Endpoints> {
    Ok(sourcing::vendors_from(host, root, &env_file::load(host)?)?.endpoints)
}

/// One cheap live call per vendor; a rejected key stops here.
pub fn check_keys(act: &Act<'_>) -> Result<String> {
    if act.host.is_offline() {
        return Ok("not tried: --offline".into());
    }
    let ctx = context(act.host, act.root)?;
    let mut said = Vec::new();
    for vendor in VENDORS {
        let check = act.host.block_on(scheduler::probe_key(act.host, ctx.vendors(), *vendor, Some(Arc::clone(&ctx.db))))??;
        let error = |code, what: &str| Err(Error::new(code, format!("{vendor}: {what}")).found(check.detail.clone()));
        match check.verdict {
            KeyVerdict::Ok | KeyVerdict::NotEntitled => said.push(format!("{vendor} {}", check.detail)),
            KeyVerdict::Rejected => {
                return error(code::KEY_REJECTED, "the key was rejected")
                    .map_err(|e: Error| e.fix("correct the key in this machine's .env (docs/privacy.md says where), then run the same command"));
            }
            KeyVerdict::Unreachable => {
                return error(code::NET_UNREACHABLE, "cannot be reached")
                    .map_err(|e: Error| e.fix("check the network, then run the same command; nothing was lost"));
            }
        }
    }
    Ok(said.join("; "))
}

/// Ask each vendor whether this key may have each dataset; what is refused is recorded with the vendor's words.
pub fn probe_lanes(act: &Act<'_>) -> Result<BTreeMap<String, Lane>> {
    let ctx = context(act.host, act.root)?;
    let today = Calendar::xnys().last_closed(act.host.now())?;
    let mut lanes = BTreeMap::new();
    for found in act.host.block_on(scheduler::probe_lanes(&ctx, &["AAPL".into(), "ADBE".into()]))?? {
        if !LANES.contains(&found.dataset.as_str()) {
            continue;
        }
        let lane = match found.blocked() {
            false => Lane::Plain(LaneState::Active),
            true => Lane::Explained(ExplainedLane { state: LaneState::NotEntitled, reason: found.detail.clone(), on: today }),
        };
        if found.blocked() {
            act.note(&format!("{}: not entitled ({})", found.dataset, found.detail));
        }
        lanes.insert(found.dataset, lane);
    }
    Ok(lanes)
}

/// The stage's years of history, up to the last session whose data exists.
pub fn pin_window(act: &Act<'_>) -> Result<DateRange> {
    let asof = newest_due(act.host)?;
    let years = stage::load_optional(act.root)?.and_then(|s| s.target().ok().map(|t| t.eod_years)).unwrap_or(5);
    DateRange::new(asof.plus_days(1).minus_years(i16::try_from(years).unwrap_or(5)), asof.plus_days(1))
}

/// The last session that the vendors may be asked for now.
fn newest_due(host: &Host) -> Result<TradingDay> {
    Calendar::xnys().last_closed(host.now().plus_seconds(-16 * 60))
}

/// Seed the dated listings, the corporate actions and every symbol's years.
pub fn seed_bootstrap(act: &Act<'_>, window: DateRange) -> Result<queue::SeedReport> {
    let stage = stage::load(act.root)?;
    let tasks = bootstrap(act.host, act.root, &stage, window, act.run)?;
    let db = Db::open(act.root, Which::Node)?;
    let now = act.host.now();
    let report = db.write(|tx| queue::seed(tx, now, &tasks))?;
    act.note(&format!("{} tasks queued", report.inserted + report.revived));
    Ok(report)
}

/// The tasks of a bootstrap, for the review's count and for the seeding.
pub fn bootstrap(host: &Host, root: &DataRoot, stage: &Stage, window: DateRange, run: &str) -> Result<Vec<NewTask>> {
    let endpoints = endpoints(host, root)?;
    let symbols = &stage.universe.symbols;
    // The listing is asked for at the window's end only: one dated call tells who is listed and who has left.
    let asof = window.end.plus_days(-1);
    let mut tasks = scheduler::listing_tasks(&endpoints, &[asof], Kind::Bootstrap, Some(run))?;
    for name in [dataset::CORP_ACTIONS, dataset::EQUITIES_EOD, dataset::EQUITIES_MINUTE] {
        if stage.is_active(name) && (name != dataset::EQUITIES_MINUTE || stage.lanes.contains_key(name)) {
            tasks.extend(scheduler::bootstrap_tasks(&endpoints, name, symbols, window, Kind::Bootstrap, Some(run)).tasks);
        }
    }
    tasks.extend(beside_the_prices(root, stage, &endpoints, window, Kind::Bootstrap, Some(run))?);
    Ok(tasks)
}

/// Macro series and the index's history, where the key was found able to have them.
fn beside_the_prices(root: &DataRoot, stage: &Stage, endpoints: &Endpoints, window: DateRange, kind: Kind, run: Option<&str>) -> Result<Vec<NewTask>> {
    let open = |name: &str| stage.lanes.contains_key(name) && stage.is_active(name);
    let mut tasks = Vec::new();
    if open(dataset::MACROS_FRED) {
        let wish = BackfillConfig::load(root)?.datasets.remove(dataset::MACROS_FRED).unwrap_or_default();
        tasks.extend(scheduler::macro_tasks(endpoints, &wish.series, window, kind, run)?);
    }
    if open(dataset::INDEX_MEMBERSHIP) {
        tasks.push(scheduler::market_task(endpoints, dataset::INDEX_MEMBERSHIP, window, kind, run)?);
    }
    Ok(tasks)
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
            &format!("{} tasks, {} rows, {} calls", tick.dataset, tick.rows, tick.calls),
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
    act.note(&format!("{} rows in {} calls", report.rows, report.calls));
    Ok(Drained { tasks: report.tasks_done, calls: report.calls, rows: report.rows })
}

fn drain_with(host: &Host, root: &DataRoot, report: &Reporter, step: &str) -> Result<DrainReport> {
    let ctx = context(host, root)?;
    let done = host.block_on(scheduler::drain(&ctx, DrainUntil::Empty, &Bar { report, step }))??;
    report.progress_done();
    host.check_cancelled()?;
    if let Some(loud) = done.notices.first() {
        return Err(loud.clone());
    }
    if let Some(until) = done.waiting_until {
        report.note(&format!("         work remains; the vendors' limits open again at {until}"));
    }
    Ok(done)
}

/// What an audit found, for the journal.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Audited {
    pub partitions: u64,
    pub healed: u64,
    pub still_missing: u64,
}

/// Audit by reading contents; ask again for what is missing, a bounded number of times.
pub fn audit_and_heal(act: &Act<'_>, window: DateRange) -> Result<Audited> {
    heal(act.host, act.root, act.report, window, AuditScope::Incremental, act.step)
}

fn heal(host: &Host, root: &DataRoot, report: &Reporter, window: DateRange, scope: AuditScope, step: &str) -> Result<Audited> {
    let db = Db::open(root, Which::Node)?;
    let mut audited = audit_once(root, &db, window, scope)?;
    let mut healed = 0;
    for _ in 0..HEALING_ROUNDS {
        if audited.gaps.is_empty() {
            break;
        }
        let tasks = gap_tasks(host, root, &audited)?;
        let now = host.now();
        let seeded = db.write(|tx| queue::seed(tx, now, &tasks))?;
        if seeded.inserted + seeded.revived == 0 {
            break;
        }
        healed += drain_with(host, root, report, step)?.rows;
        audited = audit_once(root, &db, window, AuditScope::Incremental)?;
    }
    Ok(Audited { partitions: audited.partitions_judged, healed, still_missing: audited.gaps.len() as u64 })
}

fn audit_once(root: &DataRoot, db: &Db, window: DateRange, scope: AuditScope) -> Result<AuditReport> {
    reference::refresh_reference(root, db)?;
    audit::audit_scan(root, db, scope, window.end.plus_days(-1), window)
}

fn gap_tasks(host: &Host, root: &DataRoot, audited: &AuditReport) -> Result<Vec<NewTask>> {
    let endpoints = endpoints(host, root)?;
    let mut tasks = Vec::new();
    for gap in &audited.gaps {
        tasks.extend(scheduler::bootstrap_tasks(&endpoints, &gap.dataset, std::slice::from_ref(&gap.symbol), gap.range, Kind::Gap, None).tasks);
    }
    Ok(tasks)
}

/// What a curation did, for the journal.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Curated {
    pub rewritten: u64,
    pub unchanged: u64,
}

/// Rebuild the curated files whose inputs changed.
pub fn curate(act: &Act<'_>) -> Result<Curated> {
    let db = Db::open(act.root, Which::Node)?;
    let report = curation::curate_incremental(act.root, &db)?;
    act.note(&format!("{} files made, {} as they were", report.rewritten, report.unchanged));
    Ok(Curated { rewritten: report.rewritten, unchanged: report.unchanged })
}

/// The nightly export of the newest session.
pub fn export(act: &Act<'_>) -> Result<String> {
    let db = Db::open(act.root, Which::Node)?;
    ledger::export(act.root, &db)?;
    let day = newest_due(act.host)?;
    nightly::nightly(act.root, &db, day)?;
    Ok(format!("exports/nightly/{day}"))
}

/// Coverage in a sentence; nothing missing goes unexplained.
pub fn coverage_line(act: &Act<'_>, window: DateRange) -> Result<String> {
    let db = Db::open(act.root, Which::Node)?;
    let c = ledger::coverage(&db, table::RAW_EQUITIES_BARS, timeframe::DAY, window)?;
    let codes: Vec<String> = c.codes.iter().filter(|(code, _)| *code != "OK").map(|(code, n)| format!("{n} {code}")).collect();
    let rest = if codes.is_empty() { "nothing missing".to_string() } else { codes.join(", ") };
    Ok(format!("{} GREEN of {} expected partitions ({rest})", crate::kit::percent(c.green, c.expected), c.expected))
}

/// Judge what is stored, over everything that the ledger answers for, and ask again for what is missing.
pub fn audit(host: &Host, root: &DataRoot, report: &Reporter, scope: AuditScope) -> Result<Audited> {
    let db = Db::open(root, Which::Node)?;
    let held = ledger::held(&db, table::RAW_EQUITIES_BARS)?;
    let held = held.ok_or_else(|| Error::new(code::DATA_MISSING, "this drive was never filled").fix("trademl pi-data-node"))?;
    if scope == AuditScope::Full {
        let bad = damaged::set_aside(root, &db)?;
        if bad > 0 {
            report.note(&format!("  {bad} damaged raw files are kept in raw/_quarantine; the vendor is asked again"));
        }
    }
    let audited = heal(host, root, report, held, scope, "audit")?;
    let depth = if scope == AuditScope::Full { curation::Depth::Full } else { curation::Depth::Incremental };
    curation::curate(root, &db, depth)?;
    Ok(audited)
}

/// One round of the node's work up to now: ask for the sessions since the last one, audit, heal, curate, export.
pub fn once(host: &Host, root: &DataRoot, report: &Reporter, exports: bool) -> Result<TradingDay> {
    let db = Db::open(root, Which::Node)?;
    let (stage, endpoints) = (stage::load(root)?, endpoints(host, root)?);
    let calendar = Calendar::xnys();
    let asof = newest_due(host)?;
    let from = match ledger::held(&db, table::RAW_EQUITIES_BARS)? {
        Some(held) => held.end,
        None => return Err(Error::new(code::DATA_MISSING, "this drive was never filled").fix("trademl pi-data-node")),
    };
    if let Ok(missed) = DateRange::new(from, asof.plus_days(1)) {
        let mut tasks = scheduler::listing_tasks(&endpoints, &[asof], Kind::Forward, None)?;
        for session in calendar.sessions(missed) {
            tasks.extend(scheduler::forward_tasks(&endpoints, &stage.universe.symbols, *session, None)?);
        }
        tasks.extend(scheduler::bootstrap_tasks(&endpoints, dataset::CORP_ACTIONS, &stage.universe.symbols, missed, Kind::Forward, None).tasks);
        let recent = DateRange::new(missed.start.plus_days(-MACRO_DAYS), missed.end)?;
        tasks.extend(beside_the_prices(root, &stage, &endpoints, recent, Kind::Forward, None)?);
        let now = host.now();
        db.write(|tx| queue::seed(tx, now, &tasks))?;
    }
    drain_with(host, root, report, "forward")?;
    let start = ledger::held(&db, table::RAW_EQUITIES_BARS)?.map_or(from, |h| h.start);
    heal(host, root, report, DateRange::new(start, asof.plus_days(1))?, AuditScope::Incremental, "forward")?;
    curation::curate_incremental(root, &db)?;
    if exports {
        ledger::export(root, &db)?;
        nightly::nightly(root, &db, asof)?;
    }
    Ok(asof)
}
