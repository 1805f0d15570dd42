//! Making bytes durable: the one place that replaces a file.
//!
//! Temporary file in the same folder, write, fsync, read back and compare, rename, fsync of the folder. A file under its
//! final name is therefore always whole. After an error from fsync nothing is retried on the same handle: the temporary
//! file is removed and the caller stops.

#![allow(clippy::disallowed_methods)]

use crate::error::{Error, Result, code};
use crate::host::Host;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Temporary files that threads of this process are writing now.
static IN_HAND: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The name of a temporary file, held while it is written.
///
/// Two threads may write the same segment at once, so each takes a name that is free. The names are the same in every
/// process: what a killed one left behind is written over by whoever does its work again, and does not pile up.
struct Temporary(PathBuf);

impl Temporary {
    fn of(folder: &Path, name: &str) -> Result<Self> {
        let mut in_hand = IN_HAND.lock().map_err(|_| Error::bug("a thread died while it named a temporary file"))?;
        let free = (0..=in_hand.len()).map(|n| folder.join(format!(".{name}.{n}.tmp"))).find(|p| !in_hand.contains(p));
        let place = free.ok_or_else(|| Error::bug("no name is left for a temporary file"))?;
        in_hand.insert(place.clone());
        Ok(Self(place))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Ok(mut in_hand) = IN_HAND.lock() {
            in_hand.remove(&self.0);
        }
    }
}

/// Write a whole file at `target`, or nothing. An existing file is replaced atomically.
pub fn replace(host: &Host, target: &Path, bytes: &[u8]) -> Result<()> {
    host.failpoint("store.write.before")?;
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else { return Err(Error::bug("a file without a folder or a name")) };
    create_folder(folder)?;
    let temp = Temporary::of(folder, &name.to_string_lossy())?;
    if let Err(error) = write_and_verify(&temp.0, bytes) {
        drop(fs::remove_file(&temp.0));
        return Err(error);
    }
    host.failpoint("store.rename.before")?;
    fs::rename(&temp.0, target)?;
    File::open(folder)?.sync_all()?;
    host.failpoint("store.rename.after")
}

/// Give a whole file that was written elsewhere on the drive its final name, durably; what had that name before is replaced.
pub fn rename(host: &Host, from: &Path, target: &Path) -> Result<()> {
    let Some(folder) = target.parent() else { return Err(Error::bug("a file without a folder")) };
    File::open(from)?.sync_all()?;
    host.failpoint("store.rename.before")?;
    fs::rename(from, target)?;
    File::open(folder)?.sync_all()?;
    host.failpoint("store.rename.after")
}

/// Another name for the same bytes, where the file system knows such a thing: replacing the first name leaves the second as
/// it is. `false` where it does not; the caller copies.
pub fn link(existing: &Path, target: &Path) -> Result<bool> {
    let Some(folder) = target.parent() else { return Err(Error::bug("a file without a folder")) };
    create_folder(folder)?;
    match fs::hard_link(existing, target) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(e.into()),
        Err(_) => return Ok(false),
    }
    File::open(folder)?.sync_all()?;
    Ok(true)
}

fn write_and_verify(temp: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(temp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    if fs::read(temp)? != bytes {
        return Err(Error::new(code::SSD_IO, "the drive returned other bytes than were written to it").fix("check the cable and the kernel log (dmesg)"));
    }
    Ok(())
}

/// Create a folder and make its name durable in every parent that was missing.
pub fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
        match fs::create_dir(folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.into()),
            _ => {}
        }
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporary_files_are_free_while_held_and_used_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Temporary::of(dir.path(), "x").unwrap(), Temporary::of(dir.path(), "x").unwrap());
        assert_ne!(a.0, b.0);
        let first = a.0.clone();
        drop(a);
        assert_eq!(Temporary::of(dir.path(), "x").unwrap().0, first);
    }

    #[test]
    fn threads_that_write_the_same_file_at_once_all_succeed_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::fake(crate::host::FakeHost::default());
        let target = dir.path().join("segment.parquet");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..4).for_each(|_| replace(&host, &target, b"the same bytes").unwrap()));
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
