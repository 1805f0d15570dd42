//! What the filesystem under a chosen directory can do: refuse, warn, or record.
//!
//! Detection of the type comes first (a foreign or network filesystem is refused, or accepted with an override that records
//! the lost guarantees); then the abilities are tried out in a temporary folder that is removed again.

#![allow(clippy::disallowed_methods)] // tries a filesystem out, in a folder that it removes again

use super::drives::{Drive, Transport, Unmounted};
use super::{Fact, drives, recommend};
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::root::{FsFacts, FsProbe};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A directory that may become a data root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub fs: FsFacts,
    /// What goes into the sentinel's `override`: the lost guarantees and the user's words.
    pub accepted_without: Option<String>,
    /// Why this is a practice root and not a node's storage.
    pub practice: Option<String>,
    /// Sentences to show, such as about a write-through cache.
    pub warnings: Vec<String>,
    pub facts: Vec<Fact>,
}

/// Filesystems reached over a network.
pub fn is_network(fs_type: &str) -> bool {
    matches!(fs_type, "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "afpfs" | "ceph" | "glusterfs" | "fuse.sshfs" | "fuse.rclone" | "fuse.s3fs" | "davfs")
}

/// What a filesystem loses; `None` when nothing is known against it.
pub fn lost_guarantees(fs_type: &str) -> Option<&'static str> {
    match fs_type {
        "exfat" | "vfat" | "msdos" | "fuseblk.exfat" => {
            Some("has no journal and no file modes: after a power cut files may be torn without notice, and keys cannot be kept private")
        }
        "ntfs" | "ntfs3" | "fuseblk" | "hfs" | "hfsplus" => Some("is not native here: renames, modes and flushes are not guaranteed"),
        network if is_network(network) => Some("is a network share: locks and flushes are not guaranteed, and SQLite may be damaged"),
        _ => None,
    }
}

/// The way out of a refused filesystem.
pub fn remedy(fs_type: &str, device: &str) -> String {
    if is_network(fs_type) {
        return "use a drive that is plugged into this machine".into();
    }
    text!("copy its files away, then format it (this erases everything on it): sudo mkfs.ext4 -L TRADEML {device}")
}

/// Judge and probe a directory (which need not exist yet). `without_guarantees` holds the user's typed words where they
/// accept a filesystem that would be refused. A read-only mount is refused in any case.
pub fn accept(host: &Host, dir: &Path, without_guarantees: Option<&str>) -> Result<Accepted> {
    let base = nearest_existing(dir);
    if !base.is_dir() {
        return Err(Error::new(code::HOST_SYSTEM, text!("{} is a file, not a folder", base.display())).fix("name a folder: --root DIR"));
    }
    let (mounted, unmounted) = drives::for_directory(host, &base);
    refuse_empty_mount_point(host, dir, mounted.as_ref(), &unmounted, without_guarantees)?;
    let fs_type = mounted.as_ref().map_or("unknown", |m| m.fs_type.as_str()).to_string();
    let accepted_without = match (lost_guarantees(&fs_type), without_guarantees) {
        (Some(lost), None) => return Err(refused(&fs_type, lost, dir, mounted.as_ref())),
        (Some(lost), Some(words)) => Some(text!("{fs_type} {lost}; accepted with the words: {words}")),
        (None, _) => None,
    };
    if mounted.as_ref().is_some_and(|m| m.read_only) {
        let point = mounted.as_ref().map_or("DRIVE", |m| m.mount_point.as_str());
        return Err(Error::new(code::SSD_READ_ONLY, text!("{} is on a drive that is mounted read-only", dir.display()))
            .found(text!("{point} has the mount option 'ro'"))
            .fix(text!("sudo mount -o remount,rw {point}"))
            .fix("if it turned read-only by itself, look at the kernel log first: dmesg | tail"));
    }
    let write_through = mounted.as_ref().and_then(|m| m.write_cache.as_deref()) == Some("write through");
    let (probe, mut facts) = probe(host, (dir, &base, mounted.as_ref()), write_through)?;
    let mut warnings = Vec::new();
    if write_through && mounted.as_ref().is_some_and(|m| m.transport == Transport::Usb) {
        warnings
            .push("the kernel sends no flushes to this USB disk (its cache is reported as write-through): a power cut may lose the newest writes".to_string());
    }
    if accepted_without.is_some() || !probe.rename {
        warnings.push("this drive gives no durability guarantees; that is recorded on it".to_string());
    }
    facts.insert(0, Fact::new("filesystem", fs_type.clone(), "/proc/self/mountinfo"));
    let practice = match mounted.as_ref().map(recommend::judge) {
        Some(drives::Suitability::Practice { why }) => Some(why),
        None => Some("the filesystem's type is not known".to_string()),
        _ => None,
    };
    let uuid = mounted.and_then(|m| m.fs_uuid);
    Ok(Accepted { fs: FsFacts { kind: fs_type, uuid, probe }, accepted_without, practice, warnings, facts })
}

fn refused(fs_type: &str, lost: &str, dir: &Path, mounted: Option<&Drive>) -> Error {
    let device = mounted.map_or("DEVICE", |m| m.device.as_str());
    Error::new(code::SSD_FILESYSTEM, text!("{} is on {fs_type}, which cannot hold a data root", dir.display()))
        .cause(format!("{fs_type} {lost}"))
        .found(mounted.map_or_else(|| "no mount entry".to_string(), |m| text!("{} mounted at {}", m.device, m.mount_point)))
        .fix(remedy(fs_type, device))
        .fix("or accept the loss, which is recorded on the drive: --set storage.without_guarantees=\"I accept that data may be lost\"")
}

/// A folder below `/mnt` or `/media` that is on the system disk is a mount point whose drive is absent: writing there would
/// fill the SD card.
fn refuse_empty_mount_point(host: &Host, dir: &Path, mounted: Option<&Drive>, unmounted: &[Unmounted], words: Option<&str>) -> Result<()> {
    let logical = super::mounts::logical(host, dir);
    let conventional = ["/mnt/", "/media/", "/run/media/", "/Volumes/"].iter().any(|p| logical.starts_with(p));
    let on_system = mounted.is_some_and(|m| m.mount_point == "/");
    if !conventional || !on_system || words.is_some() || dir.join(crate::root::SENTINEL).exists() {
        return Ok(());
    }
    let wanted = logical;
    let error = match unmounted.first() {
        Some(drive) => drive.not_mounted(&wanted),
        None => Error::new(code::SSD_NOT_MOUNTED, text!("no drive is mounted at {wanted}")).fix("plug the drive in, mount it, then run the same command"),
    };
    Err(error.cause(text!("{wanted} is an ordinary folder on the system disk")).fix("or practise in a folder of your home: --root ~/trademl-practice"))
}

/// Why there is no data root in a directory that should hold one, as far as this machine can tell: the drive is not mounted,
/// it is mounted elsewhere, or there never was one.
pub fn absent(host: &Host, dir: &Path) -> Error {
    let (mounted, unmounted) = drives::for_directory(host, &nearest_existing(dir));
    let error = match refuse_empty_mount_point(host, dir, mounted.as_ref(), &unmounted, None) {
        Err(error) => error,
        Ok(()) => Error::new(code::SSD_NO_ROOT, text!("{} is not a TradeML data root", dir.display())),
    };
    let elsewhere: Vec<_> = drives::detect(host).0.into_iter().flat_map(|drive| drive.existing).collect();
    let seen: Vec<String> = elsewhere.iter().map(|e| text!("a data root at {}: {}", e.path, e.summary())).collect();
    let error = if seen.is_empty() { error } else { error.found(seen.join("; ")) };
    let error = elsewhere.iter().fold(error, |e, found| e.fix(format!("--root {}", found.path)));
    if error.is(code::SSD_NOT_MOUNTED) { error } else { error.fix("trademl pi-data-node") }
}

/// Where the drive of that id is mounted now; a device's name and its mount point may have changed since.
pub fn find(host: &Host, drive_id: &str) -> Option<PathBuf> {
    let all = drives::detect(host).0.into_iter().flat_map(|drive| drive.existing);
    let found = all.into_iter().find(|e| e.sentinel.as_ref().is_some_and(|s| s.drive_id == drive_id))?;
    Some(super::place(host, &found.path))
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let found = dir.ancestors().find(|d| !d.as_os_str().is_empty() && d.exists()).unwrap_or(Path::new("."));
    fs::canonicalize(found).unwrap_or_else(|_| found.to_path_buf())
}

/// Try the abilities out in a temporary folder inside `base`.
fn probe(host: &Host, (dir, base, mounted): (&Path, &Path, Option<&Drive>), write_through: bool) -> Result<(FsProbe, Vec<Fact>)> {
    let scratch = Scratch::new(host, base, |cause| forbidden(host, dir, base, mounted, cause))?;
    let dir = scratch.0.as_path();
    let probe = FsProbe {
        rename: replaces_by_rename(dir).unwrap_or(false),
        // Only a power cut proves that flushes are honest; nothing seen from inside does.
        fsync: "unknown".into(),
        mode_bits: keeps_modes(dir).unwrap_or(false),
        wal: wal_works(dir).unwrap_or(false),
        case_sensitive: fs::write(dir.join("Case"), b"x").is_ok() && !dir.join("case").exists(),
        write_through,
    };
    let yes = |b: bool| if b { "yes" } else { "no" };
    let facts = vec![
        Fact::new("replaces files by rename", yes(probe.rename), "tried: write, rename over, read back"),
        Fact::new("keeps file modes", yes(probe.mode_bits), "tried: chmod 600, stat"),
        Fact::new("SQLite WAL", yes(probe.wal), "tried: two connections on a small database"),
        Fact::new("case-sensitive names", yes(probe.case_sensitive), "tried: 'Case' against 'case'"),
        Fact::new("flushes reach the disk", if write_through { "not sent by the kernel (write-through)" } else { "unknown" }, "/sys/block/*/queue/write_cache"),
    ];
    Ok((probe, facts))
}

/// Where this user may not write. A folder that is still to be made is made for them; one that is there changes its owner only
/// where it is theirs to begin with (their home, a drive of its own): the owner of `/` or `/etc` is never to be changed.
fn forbidden(host: &Host, dir: &Path, base: &Path, mounted: Option<&Drive>, cause: String) -> Error {
    let error = Error::new(code::HOST_SYSTEM, text!("{} cannot be written by this user", base.display())).cause(cause);
    let at_home = host.env("HOME").is_some_and(|home| home.len() > 1 && dir.starts_with(home));
    let own_drive = mounted.is_some_and(|m| m.mount_point != "/" && dir.starts_with(&m.mount_point) && !SYSTEM.iter().any(|s| m.mount_point.starts_with(s)));
    let error = if dir != base && !dir.exists() {
        error.fix(format!("sudo install -d -o \"$USER\" '{}'", dir.display()))
    } else if at_home || own_drive {
        error.fix(format!("sudo chown \"$USER\" '{}'", dir.display()))
    } else {
        error
    };
    error.fix("or practise in a folder of your home: --root ~/trademl-practice")
}

/// Folders that systems mount for themselves.
const SYSTEM: [&str; 9] = ["/boot", "/dev", "/etc", "/nix", "/proc", "/run/lock", "/sys", "/usr", "/var"];

/// The temporary folder; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(host: &Host, base: &Path, forbidden: impl FnOnce(String) -> Error) -> Result<Self> {
        let dir = base.join(format!(".trademl-probe-{}-{}", host.pid(), hex::encode(host.random_bytes::<4>())));
        match fs::create_dir(&dir) {
            Ok(()) => Ok(Self(dir)),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Err(forbidden(e.to_string())),
            // It is there and takes no folder: a kernel's view of itself, not a place for files.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::new(code::HOST_SYSTEM, text!("no folder can be made in {}", base.display()))
                .cause(e.to_string())
                .fix("name a folder on a drive: --root DIR")),
            Err(e) => Err(Error::from(e).during(&text!("trying {}", base.display()))),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn replaces_by_rename(dir: &Path) -> std::io::Result<bool> {
    let (old, new) = (dir.join("rename.old"), dir.join("rename.new"));
    fs::write(&old, b"old")?;
    let mut file = File::create(&new)?;
    file.write_all(b"new")?;
    file.sync_all()?;
    fs::rename(&new, &old)?;
    File::open(dir)?.sync_all()?;
    Ok(fs::read(&old)? == b"new" && !new.exists())
}

#[cfg(unix)]
fn keeps_modes(dir: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let place = dir.join("mode");
    fs::write(&place, b"x")?;
    for mode in [0o644, 0o600] {
        fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
        if fs::metadata(&place)?.permissions().mode() & 0o777 != mode {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(not(unix))]
fn keeps_modes(_dir: &Path) -> std::io::Result<bool> {
    Ok(false)
}

fn wal_works(dir: &Path) -> Result<bool> {
    let place = dir.join("wal.sqlite");
    let writer = rusqlite::Connection::open(&place)?;
    let mode: String = writer.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0))?;
    writer.execute_batch("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (7);")?;
    let reader = rusqlite::Connection::open(&place)?;
    let seen: i64 = reader.query_row("SELECT x FROM t", [], |r| r.get(0))?;
    Ok(mode.eq_ignore_ascii_case("wal") && seen == 7)
}
