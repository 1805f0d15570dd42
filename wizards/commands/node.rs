//! `trademl node`: the node's work without its wizard.

use super::{open_root, say};
use crate::cli::{NodeArgs, NodeCommand};
use crate::kit::logs::Log;
use crate::kit::report::{Reporter, Voice};
use crate::steps;
use data_layer::audit::AuditScope;
use data_layer::control;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::{DataPath, DataRoot};
use data_layer::sourcing::BackfillConfig;
use data_layer::{rebuild, space, store};
use jiff::tz::TimeZone;
use std::time::Duration;

/// Between two looks for new work.
const FORWARD: Duration = Duration::from_secs(15 * 60);

/// One round, rounds until stopped, or an audit.
pub fn run(host: &Host, log: &Log, args: &NodeArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    log.move_to(&root)?;
    let held = steps::preamble::hold(&root, "node", false)?;
    let (root, world) = steps::world::of_root(host, &root)?;
    let report = Reporter::new(&world.host, Voice::Plain, "node", Some(log.shown(host)));
    steps::preamble::believe_clock(&world.host, &root)?;
    match args.command {
        NodeCommand::Audit { full } => {
            let scope = if full { AuditScope::Full } else { AuditScope::Incremental };
            let found = steps::node::audit(&world.host, &root, &report, scope)?;
            say(&format!("{} partitions judged, {} rows healed, {} gaps remain", found.partitions, found.healed, found.still_missing));
        }
        NodeCommand::Run => keep_running(host, &world.host, &root, &report)?,
        NodeCommand::Once => round(&world.host, &root, &report, true)?,
    }
    drop(held);
    Ok(0)
}

/// Forward work every quarter of an hour; exports and backups once a day, after the maintenance time.
fn keep_running(machine: &Host, host: &Host, root: &DataRoot, report: &Reporter) -> Result<()> {
    if let Some(made) = rebuild::ensure_node_db(root)? {
        report.note(&format!("control/node.sqlite was damaged: made again from the files, the old one is {}", made.set_aside.unwrap_or_default()));
    }
    space::keep_reserve(root, &BackfillConfig::load(root)?.disk)?;
    while !host.is_cancelled() {
        let today = maintenance_due(machine, root)?;
        round(host, root, report, today.is_some())?;
        if let Some(today) = today {
            control::nightly_backup(root, &today)?;
            report.note(&format!("exported, and backed up as of {today}"));
        }
        host.block_on(host.sleep(FORWARD))?;
    }
    Ok(())
}

/// The machine's date, once its wall clock is past the maintenance time and today's backup is not there yet.
fn maintenance_due(machine: &Host, root: &DataRoot) -> Result<Option<String>> {
    let record = DataPath::new(format!("control/machines/{}.yml", machine.machine_id()))?;
    let record: serde_json::Value = store::read(root, &record)?.and_then(|b| serde_yaml::from_slice(&b).ok()).unwrap_or_default();
    let wanted = record["maintenance"].as_str().unwrap_or("02:00").to_string();
    let now = jiff::Timestamp::from_microsecond(machine.now().micros()).unwrap_or_default().to_zoned(TimeZone::system());
    let today = now.date().to_string();
    let done = root.locate(&DataPath::new(format!("control/backup/journal.sqlite.{today}"))?).exists();
    Ok((now.strftime("%H:%M").to_string() >= wanted && !done).then_some(today))
}

fn round(host: &Host, root: &DataRoot, report: &Reporter, exports: bool) -> Result<()> {
    let day = steps::node::once(host, root, report, exports)?;
    report.note(&format!("complete up to {day}"));
    Ok(())
}
