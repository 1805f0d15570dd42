//! A practice drive brings its own outside world: the sandbox, started in this process, with its clock and its keys.

use crate::kit::Outcome;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::sandbox::{self, Sandbox, SandboxConfig};
use data_layer::time::UtcTime;
use std::path::{Path, PathBuf};

/// The dataset of a drive that practises on the embedded prices.
pub const PRACTICE: &str = "replay@1";

/// Where a practice world begins: the evening of the day up to which the demonstration bootstraps.
pub const PRACTICE_NOW: &str = "2017-11-30T21:20:00Z";

/// A host that sees the drive's world, and the sandbox that must stay alive meanwhile.
pub struct World {
    pub host: Host,
    /// `None` when the world is real, or served by another process.
    pub sandbox: Option<Sandbox>,
}

/// The world that `dataset` belongs to, as seen from this process. A sandbox that the environment already names
/// (`TRADEML_BASE_URL_…`) is used; otherwise a practice drive starts its own, with its state below the drive.
pub fn enter(host: &Host, dataset: &str, state_dir: &Path, data_dir: Option<PathBuf>) -> Result<World> {
    if dataset == "real" {
        return Ok(World { host: host.clone(), sandbox: None });
    }
    if let Some(base) = outside_base(host) {
        let face = host.block_on(sandbox::client::world(host, &base))??;
        if face.dataset != dataset {
            return Err(Error::new(code::CFG_DATASET_MIXED, text!("the running sandbox serves '{}', this drive holds '{dataset}'", face.dataset))
                .fix("start the sandbox with the world of this drive, or use another --root"));
        }
        host.set_world_time(face.now);
        return Ok(World { host: host.clone(), sandbox: None });
    }
    let config = SandboxConfig { data_dir, ..SandboxConfig::of_dataset(dataset, state_dir.to_path_buf()) };
    let sandbox = host.block_on(sandbox::start(host, config))??;
    if sandbox.dataset != dataset {
        return Err(Error::new(code::CFG_DATASET_MIXED, text!("this drive holds '{dataset}', which this program does not carry"))
            .cause("its world was served from a folder")
            .fix("trademl sandbox --data DIR, then run the wizard with the variables it prints"));
    }
    let base = sandbox.base();
    let begin = UtcTime::parse(PRACTICE_NOW)?;
    let mut now = host.block_on(sandbox::client::world(host, &base))??.now;
    if now < begin {
        now = host.block_on(sandbox::client::advance(host, &base, begin))??.now;
    }
    Ok(World { host: host.in_world(&sandbox.env, now), sandbox: Some(sandbox) })
}

/// The world of an existing drive.
pub fn of_root(host: &Host, root: &DataRoot) -> Result<(DataRoot, World)> {
    let world = enter(host, &root.drive().dataset, &root.base().join("sandbox"), None)?;
    // The same drive, seen by the host that lives in its world.
    let root = DataRoot::open(&world.host, root.base())?;
    Ok((root, world))
}

/// Where time has to be told to pass, the closing lines say how.
pub fn passing(root: &DataRoot, mut outcome: Outcome) -> Outcome {
    if root.is_world() {
        outcome.next.push(("trademl practice".into(), "let the next session of the practice world pass".into()));
    }
    outcome
}

/// The sandbox that the environment points at, if its market-data address is a loopback one: `http://127.0.0.1:PORT`.
pub fn outside_base(host: &Host) -> Option<String> {
    let url = host.env("TRADEML_BASE_URL_ALPACA_DATA")?;
    let rest = url.strip_prefix("http://")?;
    let authority = rest.split('/').next()?;
    let loopback = authority.starts_with("127.0.0.1:") || authority.starts_with("localhost:") || authority.starts_with("[::1]:");
    loopback.then(|| format!("http://{authority}"))
}
