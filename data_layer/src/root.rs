//! `DataRoot`: the directory on the SSD. Every path below it comes from here, and only relative ones are recorded.

use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::time::UtcTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file that says "this is a TradeML drive".
pub const SENTINEL: &str = ".trademl-drive.json";

/// A path below a [`DataRoot`]: relative, `/`-separated, without `..`, without `:`. Serialised as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DataPath(String);

impl DataPath {
    /// Refuses anything that could leave the root or that another filesystem could not hold.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        let bad_part = |p: &str| p.is_empty() || p == "." || p == "..";
        if path.is_empty() || path.contains([':', '\\', '\0']) || path.split('/').any(bad_part) {
            return Err(Error::new(code::SSD_PATH, text!("'{path}' is not a path inside a data root")));
        }
        Ok(Self(path))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// A path below this one.
    pub fn join(&self, name: &str) -> Result<Self> {
        Self::new(format!("{}/{name}", self.0))
    }
    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}
impl TryFrom<String> for DataPath {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        Self::new(s)
    }
}
impl From<DataPath> for String {
    fn from(p: DataPath) -> Self {
        p.0
    }
}
impl fmt::Display for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Encode a symbol as a file-name part: `A-Z 0-9` stay, every other byte becomes `~` and two hex digits.
/// Symbols of more than 32 bytes are refused.
pub fn encode_symbol(symbol: &str) -> Result<String> {
    if symbol.is_empty() || symbol.len() > 32 {
        return Err(Error::new(code::SSD_PATH, text!("'{symbol}' is not an acceptable symbol (1 to 32 bytes)")));
    }
    let mut out = String::with_capacity(symbol.len());
    for byte in symbol.bytes() {
        match byte {
            b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            other => out.push_str(&format!("~{other:02X}")),
        }
    }
    Ok(out)
}

/// What the drive was found able to do when it was first used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct FsProbe {
    pub rename: bool,
    /// `honest`, `unknown` or `lying`.
    pub fsync: String,
    pub mode_bits: bool,
    pub wal: bool,
    pub case_sensitive: bool,
    pub write_through: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct FsFacts {
    #[serde(rename = "type")]
    pub kind: String,
    pub uuid: Option<String>,
    pub probe: FsProbe,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaVersions {
    pub node: u32,
    pub journal: u32,
    pub registry: u32,
}

/// The sentinel's contents (`docs/formats.md`): identity of the drive, never of a machine or a mount path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drive {
    pub v: u32,
    pub drive_id: String,
    pub created_at: UtcTime,
    pub created_by: String,
    /// `real`, or a world such as `replay@1`.
    pub dataset: String,
    pub schema: SchemaVersions,
    pub fs: FsFacts,
    /// The words with which a user accepted lost guarantees.
    #[serde(rename = "override")]
    pub accepted_without: Option<String>,
}

/// An opened data root.
#[derive(Clone)]
pub struct DataRoot(Arc<RootInner>);

struct RootInner {
    host: Host,
    base: PathBuf,
    drive: Drive,
}

impl fmt::Debug for DataRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataRoot({})", self.0.drive.drive_id)
    }
}

/// The folders of a fresh root.
pub const LAYOUT: &[&str] = &[
    "control",
    "control/machines",
    "control/locks",
    "control/backup",
    "raw",
    "curated",
    "reference",
    "manifests",
    "qc",
    "exports",
    "models",
    "reports",
    "logs",
];

impl DataRoot {
    /// Open an existing root. Refuses a directory without a sentinel, a source checkout, a damaged sentinel, and a
    /// root written by a newer schema (exit 8).
    pub fn open(host: &Host, base: &Path) -> Result<Self> {
        refuse_checkout(base)?;
        let sentinel = base.join(SENTINEL);
        let text = std::fs::read_to_string(&sentinel).map_err(|e| {
            let error = Error::new(code::SSD_NO_ROOT, text!("{} is not a TradeML data root", base.display())).fix("trademl pi-data-node");
            if e.kind() == std::io::ErrorKind::NotFound { error.cause(text!("it holds no {SENTINEL}")) } else { error.cause(e.to_string()) }
        })?;
        let drive: Drive = serde_json::from_str(&text)
            .map_err(|e| Error::new(code::SSD_DAMAGED, text!("{SENTINEL} cannot be read")).cause(e.to_string()).fix("trademl fsck"))?;
        let ours = crate::schema::VERSIONS;
        let theirs = &drive.schema;
        if theirs.node > ours.node || theirs.journal > ours.journal || theirs.registry > ours.registry || drive.v > 1 {
            return Err(Error::new(code::SSD_NEWER, "this drive was written by a newer TradeML")
                .found(text!(
                    "{} wrote schema {}/{}/{}, this binary knows {}/{}/{}",
                    drive.created_by,
                    theirs.node,
                    theirs.journal,
                    theirs.registry,
                    ours.node,
                    ours.journal,
                    ours.registry
                ))
                .fix("install the newer version, then run the same command"));
        }
        must_be_ours(base)?;
        Ok(Self(Arc::new(RootInner { host: host.clone(), base: base.to_path_buf(), drive })))
    }

    /// Lay out a fresh root and write its sentinel. An existing root is opened instead, if its dataset is the same.
    pub fn create(host: &Host, base: &Path, dataset: &str, fs: FsFacts, accepted_without: Option<String>) -> Result<Self> {
        refuse_checkout(base)?;
        if base.join(SENTINEL).exists() {
            let root = Self::open(host, base)?;
            root.require_dataset(dataset)?;
            return Ok(root);
        }
        for folder in LAYOUT {
            std::fs::create_dir_all(base.join(folder))?;
        }
        let drive = Drive {
            v: 1,
            drive_id: uuid::Uuid::from_bytes(host.random_bytes::<16>()).to_string(),
            created_at: host.now(),
            created_by: concat!("trademl ", env!("CARGO_PKG_VERSION")).to_string(),
            dataset: dataset.to_string(),
            schema: SchemaVersions { node: crate::schema::VERSIONS.node, journal: crate::schema::VERSIONS.journal, registry: crate::schema::VERSIONS.registry },
            fs,
            accepted_without,
        };
        let root = Self(Arc::new(RootInner { host: host.clone(), base: base.to_path_buf(), drive }));
        let json = serde_json::to_vec_pretty(&root.0.drive)?;
        crate::disk::replace(host, &base.join(SENTINEL), &json)?;
        Ok(root)
    }

    /// Write a lost or damaged sentinel again, from what is known of the drive elsewhere.
    pub fn restore(host: &Host, base: &Path, drive: &Drive) -> Result<Self> {
        refuse_checkout(base)?;
        crate::disk::replace(host, &base.join(SENTINEL), &serde_json::to_vec_pretty(drive)?)?;
        Self::open(host, base)
    }

    pub fn host(&self) -> &Host {
        &self.0.host
    }
    pub fn drive(&self) -> &Drive {
        &self.0.drive
    }
    /// The absolute place of a recorded path. Only `store` and SQLite may use it to touch the disk.
    pub fn locate(&self, path: &DataPath) -> PathBuf {
        self.0.base.join(&path.0)
    }
    /// The root itself, for messages.
    pub fn base(&self) -> &Path {
        &self.0.base
    }
    /// Refuse to mix worlds: data, models and manifests carry the dataset they belong to.
    pub fn require_dataset(&self, dataset: &str) -> Result<()> {
        if self.0.drive.dataset == dataset {
            return Ok(());
        }
        Err(Error::new(code::CFG_DATASET_MIXED, text!("this drive holds '{}' data; '{dataset}' data may not enter it", self.0.drive.dataset))
            .fix("use another data root: --root DIR"))
    }
    /// Whether the root belongs to a simulated world rather than to real markets.
    pub fn is_world(&self) -> bool {
        self.0.drive.dataset != "real"
    }
    /// The path of an absolute place inside this root.
    pub fn relative(&self, place: &Path) -> Result<DataPath> {
        let inside = place.strip_prefix(&self.0.base).map_err(|_| Error::new(code::SSD_PATH, "a path outside the data root was offered"))?;
        DataPath::new(inside.to_string_lossy().replace('\\', "/"))
    }
}

/// Whose drive it is: one whose databases this user may not write looks damaged, or mounted read-only, to everything that comes later.
fn must_be_ours(base: &Path) -> Result<()> {
    for name in ["node.sqlite", "journal.sqlite"] {
        let path = base.join("control").join(name);
        let opened = std::fs::OpenOptions::new().append(true).open(&path);
        if opened.is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied) {
            return Err(Error::new(code::HOST_SYSTEM, text!("{} may not be written by this user", path.display()))
                .cause("the drive belongs to another user of this machine; it is neither damaged nor read-only")
                .fix("run the same command as its owner (ls -l says who that is)")
                .fix(format!("or make it yours: sudo chown -R \"$USER\" '{}'", base.display())));
        }
    }
    Ok(())
}

/// A checkout of this program's own source is never a data root, nor is a directory below one.
pub fn refuse_checkout(base: &Path) -> Result<()> {
    for dir in base.ancestors() {
        let manifest = dir.join("Cargo.toml");
        let is_ours = std::fs::read_to_string(manifest).is_ok_and(|text| text.contains("name = \"trademl\""));
        if is_ours {
            return Err(Error::new(code::SSD_IS_CHECKOUT, "a checkout of TradeML's source cannot hold data")
                .found(dir.display().to_string())
                .fix("choose a folder outside it: --root /mnt/ssd/data_layer"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_030_a_data_path_cannot_leave_the_root_or_double_up() {
        for bad in ["", "/etc/passwd", "a//b", "../x", "a/../b", "a/./b", "c:/x", "a\\b"] {
            assert!(DataPath::new(bad).is_err(), "{bad}");
        }
        assert_eq!(DataPath::new("raw/x").unwrap().join("y.parquet").unwrap().as_str(), "raw/x/y.parquet");
    }

    #[test]
    fn lesson_113_symbols_become_safe_and_distinct_file_names() {
        assert_eq!(encode_symbol("BRK/B").unwrap(), "BRK~2FB");
        assert_eq!(encode_symbol("..").unwrap(), "~2E~2E");
        assert_ne!(encode_symbol("abc").unwrap().to_lowercase(), encode_symbol("ABC").unwrap().to_lowercase());
        assert!(encode_symbol(&"X".repeat(33)).is_err());
    }
}
