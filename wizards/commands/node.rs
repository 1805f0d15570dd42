//! `trademl node`: the node's work without its wizard.

use super::open_root;
use crate::cli::{NodeArgs, NodeCommand};
use crate::kit::logs::Log;
use crate::kit::report::{Reporter, Voice};
use crate::steps;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::DataRoot;
use std::time::Duration;

/// Between two looks for new work.
const FORWARD: Duration = Duration::from_secs(15 * 60);

/// One round, or rounds until stopped.
pub fn run(host: &Host, log: &Log, args: &NodeArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    log.move_to(&root)?;
    let held = steps::preamble::hold(&root, "node", false)?;
    let (root, world) = steps::world::of_root(host, &root)?;
    let report = Reporter::new(&world.host, Voice::Plain, "node", Some(log.shown(host)));
    steps::preamble::believe_clock(&world.host, &root)?;
    match args.command {
        NodeCommand::Once => round(&world.host, &root, &report)?,
        NodeCommand::Run => loop {
            round(&world.host, &root, &report)?;
            world.host.block_on(world.host.sleep(FORWARD))?;
            if world.host.is_cancelled() {
                break;
            }
        },
    }
    drop(held);
    Ok(0)
}

fn round(host: &Host, root: &DataRoot, report: &Reporter) -> Result<()> {
    let day = steps::node::once(host, root, report, true)?;
    report.note(&format!("complete up to {day}"));
    Ok(())
}
