//! Places that are only on their way to being a drive: one that was begun and not finished, and one that a dry run stands in for.
//!
//! The drive that was begun on this machine and not set up to its end: `pi-data-node` offers it again. The place is known for good
//! once the machine's settings are written; until then a line in the state directory remembers it.

use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::{DataRoot, SENTINEL};
use std::path::{Path, PathBuf};

fn record(host: &Host) -> PathBuf {
    host.state_dir().join("unfinished-drive")
}

/// Remember the place of a drive that was just made.
pub fn note(host: &Host, place: &Path) -> Result<()> {
    data_layer::disk::replace(host, &record(host), place.display().to_string().as_bytes())
}

/// The drive that was begun last, while it is there, and why it is offered.
pub fn place(host: &Host) -> Option<(PathBuf, String)> {
    let place = PathBuf::from(std::fs::read_to_string(record(host)).ok()?);
    place.join(SENTINEL).exists().then(|| (place, term!("begun here before, and not finished").to_string()))
}

fn rehearsal(host: &Host) -> PathBuf {
    host.state_dir().join("dry-run-of")
}

/// A dry run happens elsewhere, on behalf of `place`.
pub fn rehearse(host: &Host, place: &Path) -> Result<()> {
    data_layer::disk::replace(host, &rehearsal(host), place.display().to_string().as_bytes())
}

/// The place that is meant: the drive's own, or that which its dry run stands in for.
pub fn meant(host: &Host, root: &DataRoot) -> PathBuf {
    let stands_in = root.base() == scratch(host);
    let place = stands_in.then(|| std::fs::read_to_string(rehearsal(host)).ok()).flatten();
    place.map_or_else(|| root.base().to_path_buf(), PathBuf::from)
}

/// Where a dry run of a drive that does not exist yet happens.
pub fn scratch(host: &Host) -> PathBuf {
    host.state_dir().join("dry-run")
}
