//! A digest of a database that lies closed.
//!
//! SQLite notices damage to its own structure, never to a value: a bit that turns in a price, a count or a state is read as
//! it stands. Whoever leaves a drive in order therefore writes down what each database hashes to, and whoever comes next
//! compares. The first write after that takes the seal away, durably, before it is committed; a killed process leaves none.

use super::Which;
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::store;
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;

/// Bytes read at once: a ledger of a large drive does not fit a Pi's memory.
const PIECE_BYTES: usize = 1 << 20;

fn place(path: &DataPath) -> Result<DataPath> {
    DataPath::new(format!("{path}.seal"))
}

/// SHA-256 of a file, read in pieces; `None` when there is none.
fn digest(root: &DataRoot, path: &DataPath) -> Result<Option<String>> {
    let mut file = match File::open(root.locate(path)) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::from(e).during(&text!("reading {path}"))),
    };
    let (mut hash, mut piece) = (Sha256::new(), vec![0u8; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Some(hex::encode(hash.finalize()))),
            n => hash.update(&piece[..n]),
        }
    }
}

/// Seal a database that nobody is using; `false` when somebody is, or there is none.
pub fn lay(root: &DataRoot, which: Which) -> Result<bool> {
    let path = DataPath::new(which.path())?;
    if !root.locate(&path).exists() {
        return Ok(false);
    }
    let mut conn = Connection::open(root.locate(&path))?;
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    // While this is held nobody else commits, so what is hashed is what stays.
    let Ok(held) = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate) else { return Ok(false) };
    if busy != 0 || wal_bytes(root, &path) > 0 {
        return Ok(false);
    }
    lay_on(root, &path)?;
    held.rollback()?;
    Ok(true)
}

fn wal_bytes(root: &DataRoot, path: &DataPath) -> u64 {
    DataPath::new(format!("{path}-wal")).ok().and_then(|p| std::fs::metadata(root.locate(&p)).ok()).map_or(0, |m| m.len())
}

/// Seal any file that nobody writes to.
pub(super) fn lay_on(root: &DataRoot, path: &DataPath) -> Result<()> {
    let Some(sha256) = digest(root, path)? else { return Ok(()) };
    store::write_atomic(root, &place(path)?, sha256.as_bytes()).map(drop)
}

/// Take the seal away before a change. Costs one call to the system where there is none.
pub(super) fn lift(root: &DataRoot, which: Which) -> Result<()> {
    lift_from(root, &DataPath::new(which.path())?)
}

/// [`lift`] for any file.
pub(super) fn lift_from(root: &DataRoot, path: &DataPath) -> Result<()> {
    store::remove_durably(root, &place(path)?).map(drop)
}

/// Whether a file is sealed and is not what the seal says, or is gone.
pub fn is_broken(root: &DataRoot, path: &DataPath) -> Result<bool> {
    let Some(said) = store::read(root, &place(path)?)? else { return Ok(false) };
    if digest(root, path)?.is_some_and(|found| found.as_bytes() == said) {
        return Ok(false);
    }
    // Who writes lifts the seal first: one that is gone by now was lifted while the file was read.
    Ok(store::read(root, &place(path)?)? == Some(said))
}

/// Whether a seal lies on a database.
pub(super) fn is_laid(root: &DataRoot, which: Which) -> Result<bool> {
    Ok(root.locate(&place(&DataPath::new(which.path())?)?).exists())
}

/// `Err` when a sealed database is not as it was left.
pub fn check(root: &DataRoot, which: Which) -> Result<()> {
    if !is_broken(root, &DataPath::new(which.path())?)? {
        return Ok(());
    }
    let fix = match which {
        Which::Node => "trademl rebuild (it is made again from the files)",
        Which::Journal => "trademl runs recover",
        Which::Registry => "copy the newest control/backup/registry.sqlite.<day> over it (inside the data root), remove models/registry.sqlite.seal",
    };
    Err(Error::new(code::SSD_DAMAGED, text!("{} is damaged", which.path()))
        .cause("its bytes are not those that were there when the drive was last left in order")
        .fix(fix))
}

/// Forget the seal of a database that was put aside or replaced.
pub fn forget(root: &DataRoot, which: Which) -> Result<()> {
    lift(root, which)
}

/// Backups whose bytes are not what they were when they were made.
pub fn broken_backups(root: &DataRoot) -> Result<Vec<DataPath>> {
    let mut out = Vec::new();
    for seal in store::list(root, &DataPath::new("control/backup")?)? {
        let Some(path) = seal.as_str().strip_suffix(".seal") else { continue };
        let path = DataPath::new(path)?;
        if is_broken(root, &path)? {
            out.push(path);
        }
    }
    Ok(out)
}

/// Remove a backup and its seal.
pub(super) fn remove_backup(root: &DataRoot, path: &DataPath) -> Result<()> {
    store::remove(root, path)?;
    store::remove(root, &place(path)?)
}

/// Damaged backups are removed: one that cannot be trusted is worse than none. How many.
pub fn drop_broken_backups(root: &DataRoot) -> Result<u64> {
    let broken = broken_backups(root)?;
    broken.iter().try_for_each(|path| remove_backup(root, path))?;
    Ok(broken.len() as u64)
}
