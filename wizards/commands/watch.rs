//! `trademl watch`: the live screens.

use super::open_root;
use crate::cli::{WatchArgs, Watched};
use crate::dashboard::{self, Snapshot};
use crate::steps;
use data_layer::control::{Db, Which};
use data_layer::error::Result;
use data_layer::host::Host;

/// Show a screen until the user leaves it. A picture that cannot be taken (the drive is busy) is the one before.
pub fn run(host: &Host, args: &WatchArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    match args.what {
        Watched::Node => {
            let db = Db::open(&root, Which::Node)?;
            let mut screen = steps::screens::NodeScreen::new(host, &root, &db);
            dashboard::run(host, kept(move || screen.picture().map(Snapshot::Node))?, || false, None)?;
        }
        #[cfg(feature = "research")]
        Watched::Train => {
            let screen = steps::training::Screen::open(host, &root)?;
            dashboard::run(host, kept(move || screen.picture().map(Snapshot::Train))?, || false, None)?;
        }
        #[cfg(feature = "research")]
        Watched::Paper => {
            let (root, world) = steps::world::of_root(host, &root)?;
            let db = Db::open(&root, Which::Journal)?;
            let mut screen = steps::paper::Screen::open(&world.host, &root, &db)?;
            let stop = || match super::paper::engage(&root, "live screen", "stopped from the live screen") {
                Ok(Ok(())) => "stopped: no account takes an increase; to go on: trademl paper status prints the command".to_string(),
                Ok(Err(e)) => text!("stopped by a file; the journal could not be written: {e}"),
                Err(e) => text!("NOT stopped: {e}"),
            };
            dashboard::run(host, kept(move || screen.picture().map(Snapshot::Paper))?, || false, Some(&stop))?;
        }
    }
    Ok(0)
}

/// A source that shows the last picture when a new one cannot be taken. The first must succeed.
fn kept(mut take: impl FnMut() -> Result<Snapshot> + Send) -> Result<impl FnMut() -> Snapshot + Send> {
    let mut last = take()?;
    Ok(move || {
        if let Ok(new) = take() {
            last = new;
        }
        last.clone()
    })
}
