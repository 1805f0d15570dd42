//! Which drive to use, and why.

use super::drives::{Drive, Suitability, Transport, Unmounted};
use super::human_bytes;
use super::probe::{lost_guarantees, remedy};
use crate::error::code;
use crate::host::Host;
use serde::{Deserialize, Serialize};

/// Filesystems that keep renames, modes and flushes, and are journalled or copy-on-write.
pub const TRUSTED: &[&str] = &["ext4", "xfs", "btrfs", "apfs", "f2fs", "zfs", "bcachefs", "ext3"];

/// Below this much free space (bytes) a drive is not recommended: stage 0 with its indexes takes about 1 GB.
const LEAST_FREE: u64 = 2_000_000_000;

/// A proposed data root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// An absolute path of this machine; shown and typed, never recorded on the drive.
    pub path: String,
    pub reason: String,
    /// A plain folder on the system disk: good for practice, not for a node.
    pub practice: bool,
    /// Index into the list of drives, where it lies on one.
    pub drive: Option<usize>,
}

/// What a drive is good for, from its description alone.
pub fn judge(drive: &Drive) -> Suitability {
    if let Some(lost) = lost_guarantees(&drive.fs_type) {
        return Suitability::Refused {
            code: code::SSD_FILESYSTEM.id.into(),
            why: format!("{} {lost}", drive.fs_type),
            remedy: remedy(&drive.fs_type, &drive.device),
        };
    }
    if drive.read_only {
        let remedy = text!("sudo mount -o remount,rw {}", drive.mount_point);
        return Suitability::Refused { code: code::SSD_READ_ONLY.id.into(), why: "it is mounted read-only".into(), remedy };
    }
    let practice = |why: &str| Suitability::Practice { why: why.into() };
    if drive.transport == Transport::SdCard {
        return practice("SD cards wear out under a database's small writes");
    }
    if drive.is_system {
        return practice("the running system is on this disk");
    }
    if !TRUSTED.contains(&drive.fs_type.as_str()) {
        return practice("nothing is known about this filesystem's guarantees");
    }
    if drive.total_bytes > 0 && drive.free_bytes < LEAST_FREE && drive.existing.is_empty() {
        return practice("less than 2 GB is free");
    }
    Suitability::Good
}

/// Best first: suitable drives with TradeML state, then suitable ones by free space, then the rest.
pub(super) fn sort(drives: &mut [Drive]) {
    let rank = |d: &Drive| match d.suitability {
        Suitability::Good => 0,
        Suitability::Practice { .. } => 1,
        Suitability::Refused { .. } => 2,
    };
    drives.sort_by(|a, b| {
        let key = |d: &Drive| (rank(d), d.existing.is_empty(), std::cmp::Reverse(d.free_bytes));
        key(a).cmp(&key(b)).then_with(|| a.mount_point.cmp(&b.mount_point))
    });
}

/// Choose a place. Never the system disk or an SD card, except as a practice folder that is named as such.
pub fn recommend(host: &Host, drives: &[Drive], unmounted: &[Unmounted]) -> Recommendation {
    let good = drives.iter().enumerate().find(|(_, d)| d.suitability == Suitability::Good);
    if let Some((index, drive)) = good {
        if let Some(existing) = drive.existing.first() {
            let reason = text!("this drive already holds TradeML data: {}", existing.summary());
            return Recommendation { path: existing.path.clone(), reason, practice: false, drive: Some(index) };
        }
        let reason =
            text!("{} on {} with the most free space ({}), not the system disk", drive.fs_type, drive.transport.words(), human_bytes(drive.free_bytes));
        return Recommendation { path: format!("{}/data_layer", drive.mount_point.trim_end_matches('/')), reason, practice: false, drive: Some(index) };
    }
    let why = match (unmounted.first(), drives.iter().find_map(refusal)) {
        (Some(u), _) => text!("no suitable drive is mounted; {} (uuid {}) is plugged in: sudo mount UUID={} /mnt/ssd", u.device, u.fs_uuid, u.fs_uuid),
        (None, Some(why)) => text!("no suitable drive: {why}"),
        (None, None) => "no external drive was found".to_string(),
    };
    let home = host.env("HOME").unwrap_or("/var/tmp").trim_end_matches('/').to_string();
    Recommendation {
        path: format!("{home}/trademl-practice"),
        reason: text!("{why}; a folder on this machine is fine for practice"),
        practice: true,
        drive: None,
    }
}

fn refusal(drive: &Drive) -> Option<String> {
    match &drive.suitability {
        Suitability::Refused { why, .. } => Some(text!("{} is refused because {why}", drive.mount_point)),
        _ => None,
    }
}
