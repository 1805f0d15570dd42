//! Making bytes durable: the one place that replaces a file.
//!
//! Temporary file in the same folder, write, fsync, read back and compare, rename, fsync of the folder. A file under its
//! final name is therefore always whole. After an error from fsync nothing is retried on the same handle: the temporary
//! file is removed and the caller stops.

#![allow(clippy::disallowed_methods)]

use crate::error::{Error, Result, code};
use crate::host::Host;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files written by this process: tells their temporary names apart.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Write a whole file at `target`, or nothing. An existing file is replaced atomically.
pub fn replace(host: &Host, target: &Path, bytes: &[u8]) -> Result<()> {
    host.failpoint("store.write.before")?;
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else { return Err(Error::bug("a file without a folder or a name")) };
    create_folder(folder)?;
    // Two threads may write the same segment at once: each has its own temporary file, and both end in the same bytes.
    let temp = folder.join(format!(".{}.{}-{}.tmp", name.to_string_lossy(), host.pid(), WRITES.fetch_add(1, Ordering::Relaxed)));
    if let Err(error) = write_and_verify(&temp, bytes) {
        drop(fs::remove_file(&temp));
        return Err(error);
    }
    host.failpoint("store.rename.before")?;
    fs::rename(&temp, target)?;
    File::open(folder)?.sync_all()?;
    host.failpoint("store.rename.after")
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
