//! How much the exports may hold: after so many nights, or bytes, the oldest become one full export.

use super::{ExportManifest, MANIFEST, Night, fold, folder_of, manifest_of, nights};
use crate::error::Result;
use crate::ledger;
use crate::root::DataRoot;
use crate::store::{self, FileInfo, Twin};
use std::collections::BTreeMap;

/// What is kept beside the full export that the others build on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub nights: usize,
    pub bytes: u64,
}

/// A month of nights: a workstation that stayed away longer takes all of it again.
pub(super) const KEPT: Kept = Kept { nights: 30, bytes: 4 << 30 };
/// Folding costs a step for each file of the drive, so it is done once in so many nights.
const SLACK: usize = 7;

/// Fold the oldest nights into one full export where there are too many. The night that becomes full holds what it and those before
/// it held together, so who has imported it has imported the same. Files are not copied but named twice, where the file system
/// can; a crash in between leaves nights that are removed the next time.
pub(super) fn keep_some(root: &DataRoot, kept: Kept) -> Result<()> {
    let all: Vec<Night> = nights(root)?.into_iter().collect();
    let lists = all.iter().map(|n| manifest_of(root, *n)).collect::<Result<Vec<_>>>();
    // Damage is mended first.
    let Ok(lists) = lists else { return Ok(()) };
    let size = |m: &ExportManifest| m.files.iter().map(|f| f.bytes).sum::<u64>();
    let Some(after_the_full) = lists.iter().rposition(|m| m.full).map(|at| at + 1) else { return Ok(()) };
    let total: u64 = lists[after_the_full..].iter().map(size).sum();
    let Some(base) = (if lists.len() - after_the_full > kept.nights + SLACK || total > kept.bytes {
        // Half the bytes, so that this is not due again tomorrow.
        let mut bytes = 0;
        let fits = |m: &&ExportManifest| {
            bytes += size(m);
            bytes <= kept.bytes / 2
        };
        let stay = lists.iter().rev().take(kept.nights).take_while(fits).count();
        lists.len().checked_sub(stay + 1)
    } else {
        after_the_full.checked_sub(1)
    }) else {
        return Ok(());
    };
    if !lists[base].full {
        make_full(root, &lists[..=base])?;
    }
    all[..base].iter().try_for_each(|night| store::remove_folder(root, &folder_of(*night)?))
}

/// The last of these nights becomes what all of them together are.
fn make_full(root: &DataRoot, lists: &[ExportManifest]) -> Result<()> {
    let Some(last) = lists.last() else { return Ok(()) };
    let (mut held, mut place) = (BTreeMap::new(), BTreeMap::new());
    for list in lists {
        fold(&mut held, list);
        place.extend(list.files.iter().map(|f| (f.path.clone(), (list.day, f.bytes))));
    }
    let folder = folder_of(last.day)?;
    let (mut files, mut twins) = (Vec::with_capacity(held.len()), Vec::new());
    for (path, sha256) in held {
        let Some((night, bytes)) = place.get(&path) else { continue };
        if *night != last.day {
            let (from, to) = (folder_of(*night)?.join(path.as_str())?, folder.join(path.as_str())?);
            twins.push(Twin { from, to, sha256: sha256.clone() });
        }
        files.push(FileInfo { path, sha256, bytes: *bytes });
    }
    // A damaged file goes with its damage: the next look at the exports names it.
    store::name_again(root, &twins)?;
    let full = ExportManifest { since: None, full: true, files, removed: Vec::new(), ..last.clone() };
    ledger::store_if_changed(root, &folder.join(MANIFEST)?, store::signed_json(&full)?)?;
    Ok(())
}
