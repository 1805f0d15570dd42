//! Making bytes durable: the one place that replaces a file.
//!
//! Temporary file in the same folder, write, fsync, read back and compare, rename, fsync of the folder. A file under its
//! final name is therefore always whole. After an error from fsync nothing is retried on the same handle: the temporary
//! file is removed and the caller stops.

#![allow(clippy::disallowed_methods)]

use crate::error::{Error, Result, code};
use crate::host::Host;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Temporary files that threads of this process are writing now.
static IN_HAND: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A temporary file, held while it is written.
///
/// Two threads, or two processes of which one woke up late, may write the same segment at once, so each takes a name that is
/// free: threads by [`IN_HAND`], processes by a lock on the file. The names are the same in every process: what a killed one
/// left behind is written over by whoever does its work again, and does not pile up.
struct Temporary {
    place: PathBuf,
    file: File,
}

impl Temporary {
    fn of(folder: &Path, name: &str) -> Result<Self> {
        let mut in_hand = IN_HAND.lock().map_err(|_| Error::bug("a thread died while it named a temporary file"))?;
        for n in 0..MOST_AT_ONCE {
            let place = folder.join(format!(".{name}.{n}.tmp"));
            if in_hand.contains(&place) {
                continue;
            }
            if let Some(file) = take(&place)? {
                in_hand.insert(place.clone());
                return Ok(Self { place, file });
            }
        }
        Err(Error::bug("no name is left for a temporary file"))
    }
}

/// More writers of one file than ever meet.
const MOST_AT_ONCE: usize = 1_000;

/// Open a temporary file for this process alone; `None` while another one writes it.
fn take(place: &Path) -> Result<Option<File>> {
    let file = File::options().create(true).read(true).write(true).truncate(false).open(place)?;
    if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
        return Ok(None);
    }
    // Between opening and locking its writer may have given it its final name: then it is not ours to write.
    let still = fs::metadata(place).is_ok_and(|there| file.metadata().is_ok_and(|mine| mine.ino() == there.ino()));
    Ok(still.then_some(file))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Ok(mut in_hand) = IN_HAND.lock() {
            in_hand.remove(&self.place);
        }
    }
}

/// Write a whole file at `target`, or nothing. An existing file is replaced atomically.
pub fn replace(host: &Host, target: &Path, bytes: &[u8]) -> Result<()> {
    host.failpoint("store.write.before")?;
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else { return Err(Error::bug("a file without a folder or a name")) };
    create_folder(folder)?;
    let temp = Temporary::of(folder, &name.to_string_lossy())?;
    if let Err(error) = write_and_verify(&temp, bytes) {
        drop(fs::remove_file(&temp.place));
        return Err(error);
    }
    host.failpoint("store.rename.before")?;
    fs::rename(&temp.place, target)?;
    File::open(folder)?.sync_all()?;
    host.failpoint("store.rename.after")
}

/// Files that are waited for together: enough for the drive to be waited for seldom.
const AT_ONCE: usize = 2_000;

/// Files of one folder of first names: a folder lets one thread in at a time, so each thread fills one of its own.
const A_FOLDER: usize = 100;

/// [`replace`] for many files: each is whole under its final name or not there, and the drive is waited for twice for every
/// [`AT_ONCE`] of them. A crash in between leaves some replaced and the others as they were. Returns how often the drive was
/// waited for.
///
/// They get their first names in a few folders within `beside`, on the same file system: a folder of its own for each file, or a
/// first name in the one where it belongs, would be written to the drive twice, once with the first name and once with the second.
pub fn replace_all(host: &Host, beside: &Path, files: &[(PathBuf, &[u8])]) -> Result<u64> {
    if files.is_empty() {
        return Ok(0);
    }
    create_folder(beside)?;
    sweep(beside)?;
    // Held while the folder beside it is in use: the lock of one file stands for all in the folder.
    let lock = Temporary::of(beside, "files")?;
    let first_names = folder_of(&lock.place);
    let waits = files.chunks(AT_ONCE).try_fold(0, |waits, some| Ok(waits + replace_some(host, &first_names, some)?));
    if waits.is_ok() {
        fs::remove_dir_all(&first_names)?;
        fs::remove_file(&lock.place)?;
    }
    waits
}

/// The folder of first names that a lock stands for.
fn folder_of(lock: &Path) -> PathBuf {
    lock.with_extension("folder")
}

/// Remove what killed processes left in a folder of temporary files; what somebody writes now stays.
fn sweep(beside: &Path) -> Result<()> {
    for entry in fs::read_dir(beside)? {
        let place = entry?.path();
        let in_hand = IN_HAND.lock().map_err(|_| Error::bug("a thread died while it named a temporary file"))?;
        if place.extension().is_none_or(|e| e != "tmp") || in_hand.contains(&place) {
            continue;
        }
        // Held until it is gone: nobody else begins to write it meanwhile.
        if let Some(_held) = take(&place)? {
            match fs::remove_dir_all(folder_of(&place)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => fs::remove_file(&place)?,
            }
        }
    }
    Ok(())
}

fn replace_some(host: &Host, first_names: &Path, files: &[(PathBuf, &[u8])]) -> Result<u64> {
    fs::create_dir_all(first_names)?;
    // Opened before the writing: what fails to reach the drive after that is said to this handle.
    let before = File::open(first_names)?;
    let named = |n: usize| first_names.join((n / A_FOLDER).to_string()).join(n.to_string());
    let staged: Vec<(PathBuf, &PathBuf, &[u8])> = files.iter().enumerate().map(|(n, (target, bytes))| (named(n), target, *bytes)).collect();
    let mut waits = stage_all(host, &before, &staged).inspect_err(|_| drop(fs::remove_dir_all(first_names)))?;
    let folders: BTreeSet<&Path> = files.iter().filter_map(|(target, _)| target.parent()).collect();
    folders.par_iter().try_for_each(|folder| create_folder_together(folder))?;
    for (first, target, _) in &staged {
        host.failpoint("store.rename.before")?;
        fs::rename(first, target)?;
    }
    waits += sync_together(Some(&before), folders.into_iter())?;
    files.iter().try_for_each(|_| host.failpoint("store.rename.after"))?;
    Ok(waits)
}

/// Write all files under their first names, wait for them together, read each back.
fn stage_all(host: &Host, before: &File, staged: &[(PathBuf, &PathBuf, &[u8])]) -> Result<u64> {
    staged.par_chunks(A_FOLDER).try_for_each(|some| {
        some.first().and_then(|(first, ..)| first.parent()).map_or(Ok(()), fs::create_dir_all)?;
        for (first, _, bytes) in some {
            host.failpoint("store.write.before")?;
            File::create(first)?.write_all(bytes)?;
        }
        Ok::<(), Error>(())
    })?;
    let waits = sync_together(Some(before), staged.iter().map(|(first, ..)| first.as_path()))?;
    staged.par_iter().try_for_each(|(first, _, bytes)| verify(first, bytes))?;
    Ok(waits)
}

/// Wait until these files or folders, all on one file system, are on the drive. Linux has one call for that, which since 5.8
/// also says to a handle that was opened before the writing when it failed: `before`; elsewhere each is waited for.
#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
fn sync_together<'a>(before: Option<&File>, mut places: impl Iterator<Item = &'a Path>) -> Result<u64> {
    #[cfg(target_os = "linux")]
    if let Some(handle) = before {
        rustix::fs::syncfs(handle).map_err(std::io::Error::from)?;
        return Ok(1);
    }
    let mut waits = 0;
    places.try_for_each(|place| {
        waits += 1;
        File::open(place)?.sync_all()
    })?;
    Ok(waits)
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
    link_all(&[(existing.to_path_buf(), target.to_path_buf())])
}

/// [`link`] for many files, of which the drive is waited for once.
pub fn link_all(pairs: &[(PathBuf, PathBuf)]) -> Result<bool> {
    let mut folders = BTreeSet::new();
    for (existing, target) in pairs {
        let Some(folder) = target.parent() else { return Err(Error::bug("a file without a folder")) };
        if folders.insert(folder) {
            create_folder_together(folder)?;
        }
        match fs::hard_link(existing, target) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(e.into()),
            Err(_) => return Ok(false),
        }
    }
    let before = folders.first().map(File::open).transpose()?;
    sync_together(before.as_ref(), folders.into_iter())?;
    Ok(true)
}

/// A folder for files that are waited for together: where one call waits for the whole file system, its name needs no wait of its own.
fn create_folder_together(folder: &Path) -> Result<()> {
    if cfg!(target_os = "linux") { Ok(fs::create_dir_all(folder)?) } else { create_folder(folder) }
}

fn write_and_verify(temp: &Temporary, bytes: &[u8]) -> Result<()> {
    let mut file = &temp.file;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    verify(&temp.place, bytes)
}

fn verify(temp: &Path, bytes: &[u8]) -> Result<()> {
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
        assert_ne!(a.place, b.place);
        let first = a.place.clone();
        drop(a);
        assert_eq!(Temporary::of(dir.path(), "x").unwrap().place, first);
    }

    #[test]
    fn many_files_are_whole_and_wait_for_the_drive_as_often_as_few() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::fake(crate::host::FakeHost::default());
        let write = |n: usize| {
            let files: Vec<(PathBuf, Vec<u8>)> = (0..n).map(|i| (dir.path().join(format!("a/{i}/part-0")), vec![i as u8; 100 + i])).collect();
            let borrowed: Vec<(PathBuf, &[u8])> = files.iter().map(|(p, b)| (p.clone(), b.as_slice())).collect();
            let waits = replace_all(&host, dir.path(), &borrowed).unwrap();
            assert!(files.iter().all(|(p, b)| fs::read(p).unwrap() == *b && fs::read_dir(p.parent().unwrap()).unwrap().count() == 1));
            waits
        };
        let few = write(3);
        if cfg!(target_os = "linux") {
            assert_eq!((few, write(300)), (2, 2));
        }
        assert_eq!(replace_all(&host, dir.path(), &[]).unwrap(), 0);
    }

    #[test]
    fn what_a_killed_process_began_is_swept_away_and_what_another_writes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join("all");
        let files: Vec<(PathBuf, &[u8])> = (0..9).map(|i| (dir.path().join(format!("all/{i}/part-0")), &b"bytes"[..])).collect();
        let killed = Host::fake(crate::host::FakeHost { crash_at: Some(("store.rename.before".into(), 4)), ..crate::host::FakeHost::default() });
        assert!(replace_all(&killed, &beside, &files).is_err());
        let first_names = |lock: &str| fs::read_dir(folder_of(&beside.join(lock)).join("0")).map_or(0, Iterator::count);
        let done = files.iter().filter(|(place, _)| place.exists()).count();
        assert_eq!((first_names(".files.0.tmp"), done), (6, 3), "side by side, until each has its own name");
        // Another process is at work under the next lock; the one that died holds none.
        let other = beside.join(".files.1.tmp");
        let held = take(&other).unwrap().unwrap();
        fs::create_dir_all(folder_of(&other).join("0")).unwrap();
        fs::write(folder_of(&other).join("0/0"), b"of the other").unwrap();
        replace_all(&Host::fake(crate::host::FakeHost::default()), &beside, &files[3..]).unwrap();
        assert!(!beside.join(".files.0.tmp").exists() && !beside.join(".files.0.folder").exists() && first_names(".files.1.tmp") == 1);
        assert!(files.iter().all(|(place, bytes)| fs::read(place).unwrap() == *bytes));
        drop(held);
        replace_all(&Host::fake(crate::host::FakeHost::default()), &beside, &files[..1]).unwrap();
        assert!(!other.exists() && !folder_of(&other).exists());
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
