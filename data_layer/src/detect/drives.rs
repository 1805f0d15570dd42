//! Mounted drives: filesystem, size, how they are attached, and whether flushes reach the platter.

use super::mounts::{Block, Mount, PSEUDO, block_device, logical, mounts, repeats, uuids};
use super::{Existing, Fact, human_bytes, place, read_at};
use crate::error::{Error, code};
use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    Usb,
    Nvme,
    Sata,
    SdCard,
    Network,
    Virtual,
    Unknown,
}

/// What a drive is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suitability {
    Good,
    /// Accepted when the user chooses it, never recommended as storage.
    Practice {
        why: String,
    },
    /// Refused without an override: (error code, why, remedy).
    Refused {
        code: String,
        why: String,
        remedy: String,
    },
}

/// One mounted filesystem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drive {
    /// The device as mounted, such as `/dev/sdb1`. Never recorded on the drive.
    pub device: String,
    pub mount_point: String,
    pub fs_type: String,
    pub fs_uuid: Option<String>,
    pub read_only: bool,
    pub model: Option<String>,
    pub transport: Transport,
    pub removable: bool,
    pub rotational: Option<bool>,
    /// `write back`, `write through`, or `None` where the kernel does not say.
    pub write_cache: Option<String>,
    /// Bytes; 0 when unknown.
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Holds the running system (or shares a disk with it).
    pub is_system: bool,
    pub suitability: Suitability,
    pub existing: Vec<Existing>,
    pub facts: Vec<Fact>,
}

/// A filesystem that is plugged in but mounted nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmounted {
    pub device: String,
    pub fs_uuid: String,
}

impl Unmounted {
    pub fn headline(&self) -> Fact {
        Fact::new("not mounted", text!("{} uuid {}", self.device, self.fs_uuid), text!("mount it with: sudo mount UUID={} /mnt/ssd", self.fs_uuid))
    }
    /// The refusal when a root was expected here.
    pub fn not_mounted(&self, wanted: &str) -> Error {
        let point = mount_point_of(wanted);
        Error::new(code::SSD_NOT_MOUNTED, text!("the drive is not mounted at {wanted}"))
            .found(text!("{} uuid {} is plugged in but mounted nowhere", self.device, self.fs_uuid))
            .fix(text!("sudo mkdir -p {point} && sudo mount UUID={} {point}, then run the same command", self.fs_uuid))
    }
}

/// Where a drive belongs whose data root is `wanted`: `/mnt/ssd` of `/mnt/ssd/data_layer`, `/media/pi/SSD` of what is below.
fn mount_point_of(wanted: &str) -> String {
    let depth = if wanted.starts_with("/media/") {
        3
    } else if wanted.starts_with("/run/media/") {
        4
    } else {
        2
    };
    let parts: Vec<&str> = wanted.split('/').filter(|p| !p.is_empty()).take(depth).collect();
    format!("/{}", parts.join("/"))
}

impl Drive {
    pub fn headline(&self) -> Fact {
        let ability = match &self.suitability {
            Suitability::Good => "suitable".to_string(),
            Suitability::Practice { why } => text!("practice only: {why}"),
            Suitability::Refused { why, .. } => text!("refused: {why}"),
        };
        let model = self.model.as_deref().unwrap_or("");
        let value = text!(
            "{} {} {} {}, {} free, {} [{ability}]",
            self.mount_point,
            self.fs_type,
            model,
            human_bytes(self.total_bytes),
            human_bytes(self.free_bytes),
            self.transport.words()
        );
        Fact::new("drive", value.replace("  ", " "), format!("/proc/self/mountinfo, {}", self.device))
    }
}

impl Transport {
    pub fn words(self) -> &'static str {
        match self {
            Self::Usb => "USB",
            Self::Nvme => "NVMe",
            Self::Sata => "SATA",
            Self::SdCard => "SD card",
            Self::Network => "network",
            Self::Virtual => "virtual disk",
            Self::Unknown => "unknown attachment",
        }
    }
}

/// All mounted drives that could matter, and what is plugged in without being mounted.
pub fn detect(host: &Host) -> (Vec<Drive>, Vec<Unmounted>) {
    let mounts = mounts(host);
    let uuids = uuids(host);
    let system_disk = mounts.iter().find(|m| m.mount_point == "/").and_then(|m| block_device(host, m)).map(|b| b.disk);
    let mut drives: Vec<Drive> =
        mounts.iter().filter(|m| matters(host, m) && !repeats(m, &mounts)).map(|m| describe(host, m, &uuids, system_disk.as_deref())).collect();
    drives.extend(mac_volumes(host));
    let mounted: Vec<String> = mounts.iter().filter_map(|m| block_device(host, m)).map(|b| b.name).collect();
    let unmounted = uuids
        .iter()
        .filter(|(name, _)| !mounted.contains(name) && !name.starts_with("loop"))
        .map(|(name, uuid)| Unmounted { device: format!("/dev/{name}"), fs_uuid: uuid.clone() })
        .filter(|u| {
            !system_disk.as_deref().and_then(|d| d.file_name()).is_some_and(|d| u.device.trim_start_matches("/dev/").starts_with(&*d.to_string_lossy()))
        })
        .collect();
    super::recommend::sort(&mut drives);
    (drives, unmounted)
}

fn matters(host: &Host, mount: &Mount) -> bool {
    let point = mount.mount_point.as_str();
    let below = |prefix: &str| point == prefix || point.starts_with(&format!("{prefix}/"));
    let hidden = ["/boot", "/proc", "/sys", "/dev", "/snap", "/var/lib/docker", "/var/lib/containers"].iter().any(|p| below(p));
    let run = below("/run") && !below("/run/media");
    !PSEUDO.contains(&mount.fs_type.as_str()) && !hidden && !run && !place(host, point).is_file()
}

fn describe(host: &Host, mount: &Mount, uuids: &BTreeMap<String, String>, system_disk: Option<&Path>) -> Drive {
    let block = block_device(host, mount);
    let transport = transport(mount, block.as_ref());
    let flag = |path: &str| block.as_ref().and_then(|b| read_at(&b.disk.join(path)));
    let (total_bytes, free_bytes) = space(host, &mount.mount_point);
    let is_system = mount.mount_point == "/" || block.as_ref().is_some_and(|b| system_disk == Some(b.disk.as_path()));
    let fs_uuid = block.as_ref().and_then(|b| uuids.get(&b.name).cloned());
    let mut drive = Drive {
        device: mount.source.clone(),
        mount_point: mount.mount_point.clone(),
        fs_type: mount.fs_type.clone(),
        fs_uuid,
        read_only: mount.read_only,
        model: model(block.as_ref()),
        transport,
        removable: flag("removable").as_deref() == Some("1"),
        rotational: flag("queue/rotational").map(|v| v == "1"),
        write_cache: flag("queue/write_cache"),
        total_bytes,
        free_bytes,
        is_system,
        suitability: Suitability::Good,
        existing: super::recognise::on_drive(host, &mount.mount_point),
        facts: Vec::new(),
    };
    drive.suitability = super::recommend::judge(&drive);
    drive.facts = facts(&drive, block.as_ref());
    drive
}

fn transport(mount: &Mount, block: Option<&Block>) -> Transport {
    if super::probe::is_network(&mount.fs_type) {
        return Transport::Network;
    }
    let Some(block) = block else { return Transport::Unknown };
    let path = block.resolved.to_string_lossy();
    let has = |prefix: &str| path.split('/').any(|p| p.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    match () {
        () if has("usb") => Transport::Usb,
        () if has("nvme") => Transport::Nvme,
        () if has("mmc") || has("mmcblk") => Transport::SdCard,
        () if has("ata") => Transport::Sata,
        () if has("virtio") || path.contains("/virtual/") || has("vd") => Transport::Virtual,
        () => Transport::Unknown,
    }
}

fn model(block: Option<&Block>) -> Option<String> {
    let disk = &block?.disk;
    let part = |name: &str| read_at(&disk.join("device").join(name));
    match (part("vendor").filter(|v| !v.starts_with("0x")), part("model").or_else(|| part("name"))) {
        (Some(vendor), Some(model)) => Some(format!("{vendor} {model}")),
        (None, Some(model)) => Some(model),
        _ => None,
    }
}

/// Bytes (total, free for ordinary users). A faked machine says it in `statvfs/<mount point with "_" for "/">`.
pub(super) fn space(host: &Host, mount_point: &str) -> (u64, u64) {
    if host.sysroot() != Path::new("/") {
        let text = super::read(host, &format!("statvfs/{}", mount_point.replace('/', "_"))).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap_or(0));
        return (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    }
    rustix::fs::statvfs(mount_point).map_or((0, 0), |s| (s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize))
}

fn facts(drive: &Drive, block: Option<&Block>) -> Vec<Fact> {
    let name = block.and_then(|b| b.disk.file_name()).map_or_else(|| drive.device.clone(), |n| n.to_string_lossy().into_owned());
    let sys = format!("/sys/block/{name}");
    let mut out = vec![
        Fact::new("mounted at", drive.mount_point.clone(), "/proc/self/mountinfo"),
        Fact::new("filesystem", format!("{}{}", drive.fs_type, if drive.read_only { " (read-only)" } else { "" }), "/proc/self/mountinfo"),
        Fact::new("size", text!("{}, {} free", human_bytes(drive.total_bytes), human_bytes(drive.free_bytes)), format!("df -h {}", drive.mount_point)),
        Fact::new("attached by", drive.transport.words(), sys.clone()),
        Fact::new("removable", if drive.removable { "yes" } else { "no" }, format!("{sys}/removable")),
    ];
    if let Some(uuid) = &drive.fs_uuid {
        out.push(Fact::new("filesystem uuid", uuid.clone(), "/dev/disk/by-uuid"));
    }
    if let Some(model) = &drive.model {
        out.push(Fact::new("model", model.clone(), format!("{sys}/device/model")));
    }
    if let Some(rotational) = drive.rotational {
        out.push(Fact::new("spinning", if rotational { "yes" } else { "no" }, format!("{sys}/queue/rotational")));
    }
    if let Some(cache) = &drive.write_cache {
        out.push(Fact::new("write cache", cache.clone(), format!("{sys}/queue/write_cache")));
    }
    out
}

/// macOS without `diskutil`: the folders of `/Volumes`, their space, and no claim about the rest.
fn mac_volumes(host: &Host) -> Vec<Drive> {
    if !cfg!(target_os = "macos") && !place(host, "Volumes").is_dir() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(place(host, "Volumes")).into_iter().flatten().flatten();
    entries
        .filter(|e| e.path().is_dir() && !std::fs::symlink_metadata(e.path()).is_ok_and(|m| m.is_symlink()))
        .map(|e| {
            let mount = Mount {
                numbers: String::new(),
                root: "/".into(),
                mount_point: format!("/Volumes/{}", e.file_name().to_string_lossy()),
                read_only: false,
                fs_type: "unknown".into(),
                source: "diskutil".into(),
            };
            describe(host, &mount, &BTreeMap::new(), None)
        })
        .collect()
}

/// The drive that holds an existing directory, whatever its filesystem, and what is plugged in unmounted.
pub fn for_directory(host: &Host, dir: &Path) -> (Option<Drive>, Vec<Unmounted>) {
    let logical = logical(host, dir);
    let mounts = mounts(host);
    let holds = |point: &str| point == "/" || logical == point || logical.starts_with(&format!("{point}/"));
    let mount = mounts.iter().filter(|m| holds(&m.mount_point)).max_by_key(|m| m.mount_point.len());
    let system_disk = mounts.iter().find(|m| m.mount_point == "/").and_then(|m| block_device(host, m)).map(|b| b.disk);
    let drive = mount.map(|m| describe(host, m, &uuids(host), system_disk.as_deref()));
    (drive, detect(host).1)
}
