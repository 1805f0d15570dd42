//! Raw files that are not what their manifest says: set aside, so that the vendor is asked for them again.
//!
//! Nothing is deleted. The damaged file, the manifest that vouched for it and whatever only that manifest named move to
//! `raw/_quarantine/`; the audit that follows finds the gap and asks. Without this a damaged file would stay damaged for
//! ever: raw data is never overwritten.

use crate::control::Db;
use crate::error::Result;
use crate::rebuild;
use crate::root::{DataPath, DataRoot};
use crate::segment::{self, Segment};
use crate::store;
use std::collections::BTreeSet;

const ASIDE: &str = "raw/_quarantine";

/// Set aside what is damaged or missing; how many raw files that were.
pub fn set_aside(root: &DataRoot, db: &Db) -> Result<u64> {
    let manifests = segment::all_manifests(root)?;
    let mut bad: BTreeSet<&DataPath> = BTreeSet::new();
    for segment in manifests.iter().flat_map(|(_, m)| &m.segments) {
        root.host().check_cancelled()?;
        if !is_whole(root, segment)? {
            bad.insert(&segment.path);
        }
    }
    if bad.is_empty() {
        return Ok(0);
    }
    let (wrong, right): (Vec<_>, Vec<_>) = manifests.iter().partition(|(_, m)| m.segments.iter().any(|s| bad.contains(&s.path)));
    let still_named: BTreeSet<&DataPath> = right.iter().flat_map(|(_, m)| m.segments.iter().map(|s| &s.path)).collect();
    for (path, manifest) in wrong {
        for segment in manifest.segments.iter().filter(|s| !still_named.contains(&s.path)) {
            move_aside(root, &segment.path)?;
        }
        // Last: a crash before this finds the same manifest again.
        move_aside(root, path)?;
    }
    rebuild::adopt(root, db)?;
    Ok(bad.len() as u64)
}

fn is_whole(root: &DataRoot, segment: &Segment) -> Result<bool> {
    Ok(store::read(root, &segment.path)?.is_some_and(|bytes| store::sha256_hex(&bytes) == segment.sha256))
}

/// Copy durably, then remove.
fn move_aside(root: &DataRoot, path: &DataPath) -> Result<()> {
    let Some(bytes) = store::read(root, path)? else { return Ok(()) };
    store::write_atomic(root, &DataPath::new(format!("{ASIDE}/{}", path.as_str().replace('/', "~")))?, &bytes)?;
    store::remove(root, path)
}
