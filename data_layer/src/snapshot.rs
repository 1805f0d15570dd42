//! Data snapshots: the exact files a run may read, by digest.

use crate::curate::Deps;
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::schema::{TABLES_VERSION, table};
use crate::store;
use crate::time::DateRange;
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// Folder of the lists.
pub const FOLDER: &str = "manifests/snapshots";

/// `snap-` and 16 hex digits of the list's SHA-256.
pub type SnapshotId = String;

/// Pin every reference file and the curated files of the window's years. The same contents give the same id.
pub fn pin(root: &DataRoot, window: DateRange) -> Result<SnapshotId> {
    let deps = Deps::load(root)?;
    if let Some(path) = deps.pending().next() {
        return Err(Error::new(code::DATA_CONFLICT, "a curation was interrupted; its files are not a consistent set")
            .found(path.to_string())
            .fix("trademl node audit"));
    }
    let made: BTreeMap<&DataPath, &str> = deps.made().collect();
    let mut lines = Vec::new();
    for path in store::list(root, &DataPath::new(table::CURATED_EQUITIES)?)?.into_iter().filter(|p| within(p, window)) {
        let sha256 = digest(root, &path)?;
        if !made.contains_key(&path) {
            return Err(Error::new(code::DATA_CONFLICT, text!("nothing recorded how {path} was made"))
                .cause("another version of the program curated it, or the record of curation was lost")
                .fix("trademl node audit --full"));
        }
        if made.get(&path).is_none_or(|d| *d != sha256) {
            return Err(Error::new(code::SSD_DAMAGED, text!("{path} does not match its recorded digest")).fix("trademl node audit --full"));
        }
        lines.push(format!("{path} {sha256}"));
    }
    if let Some((path, _)) = made.iter().find(|(p, _)| within(p, window) && !lines.iter().any(|l| l.starts_with(p.as_str()))) {
        return Err(Error::new(code::DATA_MISSING, text!("{path} is not on the drive")).fix("trademl node audit --full"));
    }
    for path in store::list(root, &DataPath::new("reference")?)?.into_iter().filter(|p| p.as_str().ends_with(".parquet")) {
        lines.push(format!("{path} {}", digest(root, &path)?));
    }
    lines.sort();
    let text = lines.join("\n") + &text!("\nschema {}\n", TABLES_VERSION);
    let id = format!("snap-{}", &store::sha256_hex(text.as_bytes())[..16]);
    let path = DataPath::new(format!("{FOLDER}/{id}.txt"))?;
    if store::read(root, &path)?.as_deref() != Some(text.as_bytes()) {
        store::write_atomic(root, &path, text.as_bytes())?;
    }
    Ok(id)
}

/// The year is in the folder's name; whether a row belongs to a window is decided by its `date`.
fn within(path: &DataPath, window: DateRange) -> bool {
    let year = path.as_str().split('/').find_map(|part| part.strip_prefix("dt=")).and_then(|y| y.parse::<i16>().ok());
    year.is_some_and(|y| window.start.year() <= y && y <= window.end.plus_days(-1).year())
}

fn digest(root: &DataRoot, path: &DataPath) -> Result<String> {
    let bytes = store::read(root, path)?.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{path} vanished while it was read")))?;
    Ok(store::sha256_hex(&bytes))
}

/// The files of a snapshot with their digests, in order of the path. The list itself is verified against the id.
pub fn files(root: &DataRoot, id: &str) -> Result<Vec<(DataPath, String)>> {
    if !id.strip_prefix("snap-").is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(Error::new(code::USE_ARGUMENT, text!("'{id}' is not a data snapshot id")));
    }
    let path = DataPath::new(format!("{FOLDER}/{id}.txt"))?;
    let bytes = store::read(root, &path)?.ok_or_else(|| Error::new(code::DATA_MISSING, text!("there is no data snapshot {id} on this drive")))?;
    let damaged = || Error::new(code::SSD_DAMAGED, text!("{path} does not match its own name")).fix("trademl fsck");
    if format!("snap-{}", &store::sha256_hex(&bytes)[..16]) != id {
        return Err(damaged());
    }
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    let files = text.lines().filter(|l| !l.starts_with("schema ")).filter(|l| !l.is_empty());
    files.map(|line| line.rsplit_once(' ').ok_or_else(damaged).and_then(|(p, d)| Ok((DataPath::new(p)?, d.to_string())))).collect()
}

/// Keep every file of a snapshot as it is now: a model that was trained on it can be judged on it years later, although new
/// sessions have replaced the files since. Refused where a file is no longer the pinned one.
pub fn keep(root: &DataRoot, id: &str) -> Result<()> {
    for (path, sha256) in files(root, id)? {
        if !store::is_kept(root, &sha256)? && digest(root, &path)? != sha256 {
            return Err(Error::new(code::DATA_CONFLICT, text!("{path} was replaced while it was pinned")).fix("the same command again"));
        }
        store::keep(root, &path, &sha256)?;
    }
    Ok(())
}

/// Whether every file of a snapshot is kept.
pub fn is_kept(root: &DataRoot, id: &str) -> Result<bool> {
    let files = files(root, id)?;
    Ok(!files.is_empty() && files.iter().map(|(_, sha256)| store::is_kept(root, sha256)).collect::<Result<Vec<_>>>()?.into_iter().all(|kept| kept))
}

/// Read one file of a snapshot; refused unless its bytes are the pinned ones.
pub fn read(root: &DataRoot, id: &str, path: &DataPath) -> Result<DataFrame> {
    let sha256 = files(root, id)?.into_iter().find(|(p, _)| p == path).map(|(_, d)| d);
    let sha256 = sha256.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{path} is not part of {id}")))?;
    store::read_parquet_verified(root, path, &sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curate::curate_incremental;
    use crate::testkit::{Kit, bar_at, good_bars, range};

    #[test]
    fn a_snapshot_is_its_contents_and_refuses_others() {
        let kit = Kit::new();
        let window = range("2016-12-01", "2017-02-01");
        kit.stage(&["AAA"]);
        kit.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window));
        assert!(files(&kit.root, "snap-0000000000000000").is_err());
        curate_incremental(&kit.root, &kit.db).unwrap();
        let id = pin(&kit.root, range("2017-01-01", "2017-02-01")).unwrap();
        assert_eq!(pin(&kit.root, range("2017-01-01", "2017-02-01")).unwrap(), id);
        let pinned = files(&kit.root, &id).unwrap();
        assert_eq!(pinned.len(), 1, "only the year of the window");
        assert!(read(&kit.root, &id, &pinned[0].0).unwrap().height() > 15);
        // New data gives another snapshot, and the old one no longer reads as what it was.
        let day = range("2017-02-01", "2017-02-02");
        kit.commit("alpaca", &["AAA"], day, &[bar_at("AAA", day.start, 99.0)]);
        curate_incremental(&kit.root, &kit.db).unwrap();
        assert_ne!(pin(&kit.root, range("2017-01-01", "2017-02-01")).unwrap(), id);
        assert!(read(&kit.root, &id, &pinned[0].0).unwrap_err().is(code::SSD_DAMAGED));
    }

    #[test]
    fn a_kept_snapshot_reads_as_it_was_after_the_files_were_replaced() {
        let kit = Kit::new();
        let window = range("2017-01-01", "2017-02-01");
        kit.stage(&["AAA"]);
        kit.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window));
        curate_incremental(&kit.root, &kit.db).unwrap();
        let id = pin(&kit.root, window).unwrap();
        assert!(!is_kept(&kit.root, &id).unwrap());
        keep(&kit.root, &id).unwrap();
        keep(&kit.root, &id).unwrap();
        assert!(is_kept(&kit.root, &id).unwrap());
        let path = files(&kit.root, &id).unwrap()[0].0.clone();
        let before = read(&kit.root, &id, &path).unwrap();
        let day = range("2017-02-01", "2017-02-02");
        kit.commit("alpaca", &["AAA"], day, &[bar_at("AAA", day.start, 99.0)]);
        curate_incremental(&kit.root, &kit.db).unwrap();
        assert_eq!(crate::store::read_parquet(&kit.root, &path).unwrap().height(), before.height() + 1, "the file has grown");
        assert_eq!(read(&kit.root, &id, &path).unwrap(), before, "the snapshot has not");
        // What is kept is verified as well.
        let place = kit.path().join(crate::store::KEPT);
        for entry in std::fs::read_dir(place).unwrap().flatten() {
            std::fs::write(entry.path(), b"other").unwrap();
        }
        assert!(read(&kit.root, &id, &path).unwrap_err().is(code::SSD_DAMAGED));
    }

    #[test]
    fn a_damaged_curated_file_is_never_pinned() {
        let kit = Kit::new();
        let window = range("2017-01-01", "2017-02-01");
        kit.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window));
        curate_incremental(&kit.root, &kit.db).unwrap();
        let path = crate::curate::path_of("AAA", 2017).unwrap();
        let mut bytes = std::fs::read(kit.place(&path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(kit.place(&path), bytes).unwrap();
        assert!(pin(&kit.root, window).unwrap_err().is(code::SSD_DAMAGED));
        std::fs::remove_file(kit.place(&path)).unwrap();
        assert!(pin(&kit.root, window).unwrap_err().is(code::DATA_MISSING));
    }
}
