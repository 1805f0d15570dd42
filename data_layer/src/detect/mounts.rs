//! Mount table and sysfs: which filesystem is where, and which hardware is under it.

use super::place;
use crate::host::Host;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub numbers: String,
    pub root: String,
    pub mount_point: String,
    pub read_only: bool,
    pub fs_type: String,
    pub source: String,
}

/// Filesystems of the kernel's own making, and small ones that nobody stores data on.
pub(super) const PSEUDO: &[&str] = &[
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "tmpfs",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "pstore",
    "bpf",
    "mqueue",
    "hugetlbfs",
    "configfs",
    "fusectl",
    "efivarfs",
    "autofs",
    "binfmt_misc",
    "rpc_pipefs",
    "nsfs",
    "squashfs",
    "ramfs",
    "fuse.gvfsd-fuse",
    "fuse.portal",
    "iso9660",
    "erofs",
];

/// Parse mountinfo; a later mount on the same point hides the earlier one.
pub(super) fn mounts(host: &Host) -> Vec<Mount> {
    let text = super::read(host, "proc/self/mountinfo").unwrap_or_default();
    let mut seen: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in text.lines().filter_map(parse_mount) {
        seen.insert(mount.mount_point.clone(), mount);
    }
    seen.into_values().collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let has_ro = |options: &str| options.split(',').any(|o| o == "ro");
    Some(Mount {
        numbers: (*left.get(2)?).to_string(),
        root: unescape(left.get(3)?),
        mount_point: unescape(left.get(4)?),
        read_only: has_ro(left.get(5)?) || right.get(2).is_some_and(|o| has_ro(o)),
        fs_type: (*right.first()?).to_string(),
        source: unescape(right.get(1)?),
    })
}

/// Blanks in mount points are written as `\040`.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (bytes[at], octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A bind mount or subvolume of a filesystem that is also mounted nearer to its root.
pub(super) fn repeats(mount: &Mount, all: &[Mount]) -> bool {
    let rank = |m: &Mount| (m.mount_point != "/", m.root.len(), m.mount_point.len(), m.mount_point.clone());
    all.iter().any(|other| other.source == mount.source && other.numbers == mount.numbers && rank(other) < rank(mount))
}

pub(super) struct Block {
    /// `sdb1`
    pub name: String,
    /// The directory of the whole disk in sysfs, links resolved.
    pub disk: PathBuf,
    /// The directory of the hardware that holds the data, below encryption and logical volumes.
    pub resolved: PathBuf,
}

pub(super) fn block_device(host: &Host, mount: &Mount) -> Option<Block> {
    let by_number = place(host, &format!("sys/dev/block/{}", mount.numbers));
    let by_name = mount.source.strip_prefix("/dev/").map(|n| place(host, &format!("sys/class/block/{n}")));
    let mut resolved = std::fs::canonicalize(by_number).ok().or_else(|| by_name.and_then(|p| std::fs::canonicalize(p).ok()))?;
    let name = resolved.file_name()?.to_string_lossy().into_owned();
    // An encrypted or logical volume stands on another device: what matters is the hardware below.
    for _ in 0..4 {
        let Some(below) = std::fs::read_dir(resolved.join("slaves")).ok().and_then(|mut d| d.next()).and_then(Result::ok) else { break };
        let Ok(next) = std::fs::canonicalize(below.path()) else { break };
        resolved = next;
    }
    let disk = if resolved.join("partition").exists() { resolved.parent()?.to_path_buf() } else { resolved.clone() };
    Some(Block { name, disk, resolved })
}

/// Device name (`sdb1`) to filesystem UUID.
pub(super) fn uuids(host: &Host) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(place(host, "dev/disk/by-uuid")).into_iter().flatten().flatten();
    entries
        .filter_map(|e| {
            let device = std::fs::read_link(e.path()).ok()?;
            Some((device.file_name()?.to_string_lossy().into_owned(), e.file_name().to_string_lossy().into_owned()))
        })
        .collect()
}

/// An absolute path as the (possibly faked) machine sees it.
pub(super) fn logical(host: &Host, dir: &Path) -> String {
    let faked = host.sysroot() != Path::new("/");
    let sysroot = std::fs::canonicalize(host.sysroot()).unwrap_or_else(|_| host.sysroot().to_path_buf());
    let inside = dir.strip_prefix(&sysroot).or_else(|_| dir.strip_prefix(host.sysroot()));
    match inside {
        Ok(rest) if faked => format!("/{}", rest.display()),
        _ => dir.display().to_string(),
    }
}
