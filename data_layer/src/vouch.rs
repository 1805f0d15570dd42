//! Files that are made from others, and the digests that vouch for them.
//!
//! Beside every table that can be made again stands `qc/digests/<path with ~ for />.json`: the digest of the bytes that are
//! being written and, until they are there, of the ones before. It is written first, so a crash never makes a good file
//! look damaged; a file that matches neither was changed by nobody of ours.

use crate::error::{Result, code};
use crate::root::{DataPath, DataRoot};
use crate::store::{self, FileInfo};
use serde::{Deserialize, Serialize};

/// Where the digests are.
pub const FOLDER: &str = "qc/digests";

/// What vouches for one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    now: String,
    /// The bytes before these, which a crash may have left; null where there was no file.
    before: Option<String>,
    /// The file was there once with either of them: its absence is a loss.
    settled: bool,
}

fn place(path: &DataPath) -> Result<DataPath> {
    DataPath::new(format!("{FOLDER}/{}.json", path.as_str().replace('/', "~")))
}

/// Write a file, and what vouches for it. Unchanged bytes are not written again; `true` when they were.
pub fn write(root: &DataRoot, path: &DataPath, bytes: Vec<u8>) -> Result<(FileInfo, bool)> {
    let (old, sha256, at) = (store::read(root, path)?, store::sha256_hex(&bytes), place(path)?);
    let put = |note: &Note| store::write_atomic(root, &at, &store::signed_json(note)?).map(drop);
    if old.as_deref() == Some(&bytes) {
        let said = store::read_signed::<Note>(root, &at).ok().flatten();
        if said.is_none_or(|note| note.now != sha256 || !note.settled) {
            put(&Note { now: sha256.clone(), before: None, settled: true })?;
        }
        return Ok((FileInfo { path: path.clone(), sha256, bytes: bytes.len() as u64 }, false));
    }
    let before = old.map(|b| store::sha256_hex(&b));
    let mut note = Note { now: sha256, settled: before.is_some(), before };
    put(&note)?;
    let info = store::write_atomic(root, path, &bytes)?;
    if !note.settled {
        note.settled = true;
        put(&note)?;
    }
    Ok((info, true))
}

/// Whether something vouches for these bytes of a file, and for nothing else.
pub fn stands(root: &DataRoot, path: &DataPath, sha256: &str) -> Result<bool> {
    let note = store::read_signed::<Note>(root, &place(path)?).or_else(|e| if e.is(code::SSD_DAMAGED) { Ok(None) } else { Err(e) })?;
    Ok(note.is_some_and(|note| note.settled && note.now == sha256))
}

/// What became of the files that something vouches for: those that are not what they were, by path, and why.
pub fn changed(root: &DataRoot) -> Result<Vec<(DataPath, &'static str)>> {
    let mut out = Vec::new();
    for at in store::list(root, &DataPath::new(FOLDER)?)? {
        let Some(name) = at.file_name().strip_suffix(".json") else { continue };
        let path = DataPath::new(name.replace('~', "/"))?;
        let note = match store::read_signed::<Note>(root, &at) {
            Ok(Some(note)) => note,
            Ok(None) => continue,
            Err(e) if e.is(code::SSD_DAMAGED) => {
                out.push((path, "its digest cannot be read"));
                continue;
            }
            Err(e) => return Err(e),
        };
        match store::read(root, &path)?.map(|bytes| store::sha256_hex(&bytes)) {
            None if note.settled => out.push((path, "no such file")),
            Some(is) if is != note.now && Some(&is) != note.before.as_ref() => out.push((path, "other bytes")),
            _ => {}
        }
    }
    Ok(out)
}

/// Files of a folder that nothing vouches for, though they should be.
pub fn unvouched(root: &DataRoot, folder: &str) -> Result<Vec<DataPath>> {
    let mut out = store::list(root, &DataPath::new(folder)?)?;
    out.retain(|path| place(path).is_ok_and(|at| !root.locate(&at).exists()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Kit;

    #[test]
    fn a_table_that_nobody_of_ours_changed_is_told_and_a_crash_is_not() {
        let kit = Kit::new();
        let path = DataPath::new("reference/x.parquet").unwrap();
        assert!(write(&kit.root, &path, b"one".to_vec()).unwrap().1);
        assert!(!write(&kit.root, &path, b"one".to_vec()).unwrap().1);
        assert!(changed(&kit.root).unwrap().is_empty());
        // A crash between the note and the file: both the old and the new bytes are good.
        write(&kit.root, &path, b"two".to_vec()).unwrap();
        std::fs::write(kit.place(&path), b"one").unwrap();
        assert!(changed(&kit.root).unwrap().is_empty());
        std::fs::write(kit.place(&path), b"six").unwrap();
        assert_eq!(changed(&kit.root).unwrap(), [(path.clone(), "other bytes")]);
        std::fs::remove_file(kit.place(&path)).unwrap();
        assert_eq!(changed(&kit.root).unwrap(), [(path.clone(), "no such file")]);
        write(&kit.root, &path, b"two".to_vec()).unwrap();
        std::fs::remove_file(kit.place(&place(&path).unwrap())).unwrap();
        assert_eq!(unvouched(&kit.root, "reference").unwrap(), [path]);
    }
}
