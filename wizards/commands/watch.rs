//! `trademl watch`: the live screens.

use super::open_root;
use crate::cli::{WatchArgs, Watched};
use crate::dashboard::{self, NodeSnapshot, Snapshot};
use crate::steps;
use data_layer::control::{Db, Which};
use data_layer::error::Result;
use data_layer::host::Host;

/// Show a screen until the user leaves it.
pub fn run(host: &Host, args: &WatchArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    match args.what {
        Watched::Node => {
            let db = Db::open(&root, Which::Node)?;
            let mut last = NodeSnapshot::default();
            dashboard::run(
                host,
                || {
                    // A picture that cannot be taken (the drive is busy) is the one before.
                    last = steps::screens::node(host, &root, &db).unwrap_or_else(|_| last.clone());
                    Snapshot::Node(last.clone())
                },
                || false,
            )?;
        }
        #[cfg(feature = "research")]
        Watched::Paper => {
            let (root, world) = steps::world::of_root(host, &root)?;
            let db = Db::open(&root, Which::Journal)?;
            let mut screen = steps::paper::Screen::open(&world.host, &root, &db)?;
            let mut last = screen.picture()?;
            dashboard::run(
                host,
                || {
                    last = screen.picture().unwrap_or_else(|_| last.clone());
                    Snapshot::Paper(last.clone())
                },
                || false,
            )?;
        }
    }
    Ok(0)
}
