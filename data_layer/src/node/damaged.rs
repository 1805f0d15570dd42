//! What the drive holds and cannot trust: set aside, so that the vendor is asked for it again.
//!
//! Nothing that a manifest vouches for is deleted. A damaged raw file, the manifest that vouched for it and whatever only
//! that manifest named move to `raw/_quarantine/`; so does a damaged manifest. What they answered is then found lost and is
//! asked in the very same words. Without this a damaged file would stay damaged for ever: raw data is never overwritten.

use crate::control::{Db, seal};
use crate::error::Result;
use crate::lost;
use crate::queue::{Kind, NewTask};
use crate::rebuild;
use crate::root::{DataPath, DataRoot};
use crate::segment::{self, Manifest, Segment};
use crate::store;
use crate::time::{DateRange, UtcTime};
use std::collections::BTreeSet;

/// Set aside what is damaged or missing: raw files, manifests, backups; how many. So are answers that carry a stamp after `latest`, the
/// moment that no right clock has reached yet.
pub fn set_aside(root: &DataRoot, db: &Db, latest: Option<UtcTime>) -> Result<u64> {
    let dropped = seal::drop_broken_backups(root)?;
    let (manifests, damaged) = segment::scan(root, "manifests")?;
    damaged.iter().try_for_each(|(path, _)| segment::set_aside(root, path))?;
    let mut bad: BTreeSet<&DataPath> = BTreeSet::new();
    for segment in manifests.iter().flat_map(|(_, m)| &m.segments) {
        root.host().check_cancelled()?;
        if !is_whole(root, segment)? {
            bad.insert(&segment.path);
        }
    }
    let ahead = |m: &Manifest| latest.is_some_and(|t| m.ingested_at > t);
    let (wrong, right): (Vec<_>, Vec<_>) = manifests.iter().partition(|(_, m)| ahead(m) || m.segments.iter().any(|s| bad.contains(&s.path)));
    let still_named: BTreeSet<&DataPath> = right.iter().flat_map(|(_, m)| m.segments.iter().map(|s| &s.path)).collect();
    for (path, manifest) in wrong {
        for segment in manifest.segments.iter().filter(|s| !still_named.contains(&s.path)) {
            // One that was damaged may have come again meanwhile: a commit writes the same bytes under the same name.
            if !bad.contains(&segment.path) || !is_whole(root, segment)? {
                segment::set_aside(root, &segment.path)?;
            }
        }
        // Last: a crash before this finds the same manifest again.
        segment::set_aside(root, path)?;
    }
    // A manifest may also have gone altogether: then its files are garbage, and what it said is asked again.
    rebuild::adopt(root, db)?;
    Ok((bad.len() + damaged.len()) as u64 + dropped)
}

/// What was answered once and is not on the drive any more, as work to be done: the same windows, from the same vendors.
pub fn to_ask_again(root: &DataRoot, db: &Db) -> Result<Vec<NewTask>> {
    let manifests = segment::all_manifests(root)?;
    let all: Vec<&Manifest> = manifests.iter().map(|(_, m)| m).collect();
    let task = |lost: lost::Lost| {
        let range = DateRange::new(lost.range.0, lost.range.1)?;
        let (dataset, symbol, vendor) = (lost.dataset, lost.symbol, lost.vendor);
        Ok(NewTask { dataset, symbol, range, kind: Kind::Gap, priority: Kind::Gap.priority(), vendor, not_before: None, run_id: None })
    };
    lost::find(db, None, &all)?.into_iter().map(task).collect()
}

fn is_whole(root: &DataRoot, segment: &Segment) -> Result<bool> {
    Ok(store::read(root, &segment.path)?.is_some_and(|bytes| store::sha256_hex(&bytes) == segment.sha256))
}
