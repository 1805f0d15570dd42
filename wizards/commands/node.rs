//! `trademl node`: the node's work without its wizard.

use super::{emit, open_root, say};
use crate::cli::{NodeArgs, NodeCommand, WatchArgs, Watched};
use crate::kit::logs::Log;
use crate::kit::notify;
use crate::kit::report::{Reporter, Voice, error_text};
use crate::steps;
use data_layer::audit::AuditScope;
use data_layer::control::{Db, Which};
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::node::{self, Node, Service, Times};
use data_layer::root::{DataPath, DataRoot};
use data_layer::scheduler::{DrainUntil, Quiet};
use data_layer::sourcing::{self, EdgeConfig};
use data_layer::time::{DateRange, TradingDay};
use data_layer::{env_file, findings, rebuild, reference, store};
use jiff::tz::TimeZone;
use std::collections::BTreeSet;

/// One round, rounds until stopped, or an audit.
pub fn run(host: &Host, log: &Log, args: &NodeArgs) -> Result<u8> {
    if matches!(args.command, NodeCommand::Watch) {
        return super::watch::run(host, &WatchArgs { what: Watched::Node, root: args.root.clone() });
    }
    let root = open_root(host, args.root.clone())?;
    log.move_to(&root)?;
    let held = steps::preamble::hold(&root, "node", false)?;
    let (root, world) = steps::world::of_root(host, &root)?;
    let report = Reporter::new(&world.host, Voice::Plain, "node", Some(log.shown(host)));
    // The service judges the clock before each round, and waits until it is right.
    if !matches!(args.command, NodeCommand::Run) {
        steps::preamble::believe_clock(&world.host, &root)?;
    }
    if let Some(made) = rebuild::ensure_node_db(&root)? {
        report.note(&text!("control/node.sqlite was damaged: made again from the files, the old one is {}", made.set_aside.unwrap_or_default()));
    }
    match &args.command {
        NodeCommand::Audit { full } => {
            let scope = if *full { AuditScope::Full } else { AuditScope::Incremental };
            let found = steps::node::audit(&world.host, &root, &report, scope)?;
            say(&text!("{} partitions judged, {} rows healed, {} gaps remain", found.partitions, found.healed, found.still_missing));
            super::drive::doubts(&root)?.iter().for_each(|line| say(line));
        }
        NodeCommand::Run => keep_running(host, &world.host, &root, &report)?,
        NodeCommand::Once => round(&world.host, &root, &report, true)?,
        NodeCommand::Fetch { dataset, symbols, from, to } => {
            let window = DateRange::new(from.parse()?, to.parse::<TradingDay>()?.plus_days(1))?;
            fetch(&steps::node::open(&world.host, &root)?, &report, dataset, symbols, window)?;
        }
        NodeCommand::Report { json } => findings_of(&world.host, &root, *json)?,
        NodeCommand::Watch => {}
    }
    drop(held);
    Ok(0)
}

/// Ask the vendor that serves a dataset, wait for what comes, and make the reference tables again.
fn fetch(node: &Node, report: &Reporter, dataset: &str, symbols: &[String], window: DateRange) -> Result<()> {
    node.believe_clock()?;
    node.seed(&node.wanted(dataset, symbols, window)?)?;
    let done = node.work(DrainUntil::Empty, &Quiet)?;
    done.notices.iter().for_each(|e| report.note(&error_text(e.body(), None)));
    reference::refresh_reference(node.root(), node.db())?;
    let rest = done.waiting_until.map_or(String::new(), |t| text!("; more is due at {t}"));
    say(&text!("{} tasks done, {} rows in {} calls, {} failed{rest}", done.tasks_done, done.rows, done.calls, done.failed));
    Ok(())
}

/// The report as Markdown and JSON below `reports/data/`, and one of them on standard output.
fn findings_of(host: &Host, root: &DataRoot, json: bool) -> Result<()> {
    let db = Db::open(root, Which::Node)?;
    let vendors = sourcing::vendors_from(host, root, &env_file::load(host)?)?;
    let found = findings::findings(root, &db)?.with_lanes(node::lanes(root, &db, &vendors)?);
    let (text, data) = (found.markdown(), store::canonical_json(&found)?);
    store::write_atomic(root, &DataPath::new("reports/data/findings.md")?, text.as_bytes())?;
    store::write_atomic(root, &DataPath::new("reports/data/findings.json")?, data.as_bytes())?;
    emit(if json { &data } else { &text });
    Ok(())
}

/// The four loops, until stopped. Trouble with a vendor is said and lived with; trouble with the drive ends it.
fn keep_running(machine: &Host, host: &Host, root: &DataRoot, report: &Reporter) -> Result<()> {
    let zone = TimeZone::system();
    let times = Times::new(&EdgeConfig::load(machine)?.loops, maintenance_time(machine, root)?.as_deref(), zone.clone())?;
    let mut service = Service::new(steps::node::open(host, root)?, machine, times, zone)?;
    report.note("the node runs; Ctrl-C stops it at a safe point");
    if root.is_world() {
        report.note("practice time stands still meanwhile: trademl practice lets it pass");
    }
    let mut told: BTreeSet<String> = BTreeSet::new();
    while !host.is_cancelled() {
        let round = match steps::node::service_round(&mut service, report) {
            Err(e) if host.is_cancelled() => {
                drop(e);
                break;
            }
            round => round?,
        };
        round.said.iter().for_each(|(which, said)| report.note(&text!("{:<14} {said}", which.as_str())));
        // The same trouble is told once, until it is over.
        let trouble: BTreeSet<String> = round.notices.iter().map(|e| error_text(e.body(), None)).collect();
        trouble.difference(&told).for_each(|text| report.note(text));
        told = trouble;
        notify::status(machine, &text!("next look at {}", round.next));
        service.rest(&round)?;
    }
    report.note("stopped; everything acknowledged is on the drive");
    Ok(())
}

/// The time that the wizard wrote into this machine's record.
pub(super) fn maintenance_time(machine: &Host, root: &DataRoot) -> Result<Option<String>> {
    let record = DataPath::new(format!("control/machines/{}.yml", machine.machine_id()))?;
    let record: serde_json::Value = store::read(root, &record)?.and_then(|b| serde_yaml::from_slice(&b).ok()).unwrap_or_default();
    Ok(record["maintenance"].as_str().map(str::to_string))
}

fn round(host: &Host, root: &DataRoot, report: &Reporter, exports: bool) -> Result<()> {
    let day = steps::node::once(host, root, report, exports)?;
    report.note(&text!("complete up to {day}"));
    Ok(())
}
