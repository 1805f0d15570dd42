//! `trademl sandbox`: the outside world in a box, for other programs.

use crate::cli::SandboxArgs;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::sandbox::{self, SandboxConfig};

/// Serve until stopped. The first line on standard output says where, and with which keys.
pub fn run(host: &Host, args: &SandboxArgs) -> Result<u8> {
    let state_dir = args.state.clone().unwrap_or_else(|| host.state_dir().join("sandbox"));
    let config = SandboxConfig {
        world: args.world.clone(),
        data_dir: args.data.as_ref().map(|d| host.cwd().join(d)),
        state_dir: host.cwd().join(state_dir),
        port: args.port,
        seed: args.seed,
        faults: args.faults.as_ref().map(|f| host.cwd().join(f)),
        now: None,
    };
    let server = host.block_on(sandbox::start(host, config))??;
    super::emit(&server.ready_line());
    host.block_on(host.cancelled())?;
    Ok(0)
}
