//! The repairs that `--fix` does: each loses nothing, can be done again, and is the same as the command that was printed.

use super::Exam;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result};
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::queue::{self, Worker};
use data_layer::root::{DataPath, DataRoot, Drive, LAYOUT, SENTINEL, SchemaVersions};
use data_layer::schema::VERSIONS;
use data_layer::store;
use data_layer::time::UtcTime;
use data_layer::{attach, detect, env_file, rebuild, segment};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Days a log is kept.
const LOG_DAYS: i64 = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    Sentinel,
    Folders,
    Leftovers,
    OldLogs,
    EnvMode,
    Leases,
    Segments,
    Export,
    Backup,
    Attachment,
}

impl Repair {
    /// Do it; what was done, in a sentence.
    pub fn perform(self, exam: &Exam) -> Result<String> {
        let (host, base) = (&exam.host, exam.base.clone().unwrap_or_default());
        match self {
            Self::Sentinel => return restore_sentinel(host, &base),
            Self::EnvMode => return private(&env_file::path(host)),
            _ => {}
        }
        // The root may only just have come back.
        let root = &DataRoot::open(host, &base)?;
        match self {
            Self::Sentinel | Self::EnvMode => Ok(String::new()),
            Self::Folders => {
                LAYOUT.iter().try_for_each(|folder| store::create_folder(&base.join(folder)))?;
                Ok("the folders are there".into())
            }
            Self::Leftovers => remove(temporary(root)?),
            Self::OldLogs => remove(old_logs(root)?.0),
            Self::Leases => {
                let worker = Worker::new(host, &crate::steps::keys::node_id(host)?, Duration::from_secs(60));
                let freed = Db::open(root, Which::Node)?.write(|tx| queue::expire(tx, host.now(), &worker))?;
                Ok(text!("{freed} tasks are due again"))
            }
            Self::Segments => {
                let done = rebuild::adopt(root, &Db::open(root, Which::Node)?)?;
                Ok(text!("{} files adopted, {} without a manifest removed", done.adopted, done.removed.len()))
            }
            Self::Export => ledger::export(root, &Db::open(root, Which::Node)?).map(|f| text!("{} written", f.path)),
            Self::Backup => back_up(root),
            Self::Attachment => {
                std::fs::remove_file(root.locate(&DataPath::new(attach::ATTACH_FILE)?))?;
                Ok("removed; the next command attaches the drive".into())
            }
        }
    }
}

fn remove(files: Vec<PathBuf>) -> Result<String> {
    files.iter().try_for_each(std::fs::remove_file)?;
    Ok(text!("{} files removed", files.len()))
}

fn private(place: &Path) -> Result<String> {
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o600))?;
    Ok("mode 0600".into())
}

fn back_up(root: &DataRoot) -> Result<String> {
    let today = super::control::today(root)?.utc_day().to_string();
    let mut done = Vec::new();
    for which in [Which::Journal, Which::Registry] {
        if root.locate(&DataPath::new(which.path())?).exists() {
            done.push(Db::open(root, which)?.backup(&today)?.to_string());
        }
    }
    Ok(done.join(", "))
}

/// Temporary files anywhere below the root.
pub fn temporary(root: &DataRoot) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut folders = vec![root.base().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(".tmp") {
                out.push(entry.path());
            }
        }
    }
    out.sort();
    Ok(out)
}

/// Logs past their time, and the bytes of all.
pub fn old_logs(root: &DataRoot) -> Result<(Vec<PathBuf>, u64)> {
    let limit = root.host().now().plus_seconds(-LOG_DAYS * 86_400).compact();
    let (mut old, mut bytes) = (Vec::new(), 0);
    let Ok(entries) = std::fs::read_dir(root.base().join("logs")) else { return Ok((old, bytes)) };
    for entry in entries.flatten() {
        bytes += entry.metadata()?.len();
        let name = entry.file_name().to_string_lossy().into_owned();
        let stamp = name.strip_suffix(".jsonl").and_then(|n| n.rsplit('-').next()).unwrap_or_default();
        if stamp.len() == limit.len() && stamp < limit.as_str() {
            old.push(entry.path());
        }
    }
    old.sort();
    Ok((old, bytes))
}

/// What the journal of a drive without a readable sentinel knows about it.
pub fn known_drive(host: &Host, base: &Path) -> Option<Drive> {
    let conn = Connection::open_with_flags(base.join(Which::Journal.path()), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let drive_id: String = conn.query_row("SELECT value FROM meta WHERE key = 'drive_id'", [], |r| r.get(0)).optional().ok()??;
    let opened: (String, String) = conn
        .query_row("SELECT payload_json, at FROM journal WHERE kind = 'opened' ORDER BY seq LIMIT 1", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()
        .ok()??;
    let payload: serde_json::Value = serde_json::from_str(&opened.0).ok()?;
    Some(Drive {
        v: 1,
        drive_id,
        created_at: UtcTime::parse(&opened.1).ok()?,
        created_by: format!("trademl {}", payload["version"].as_str().unwrap_or(env!("CARGO_PKG_VERSION"))),
        dataset: payload["dataset"].as_str()?.to_string(),
        schema: SchemaVersions { node: VERSIONS.node, journal: VERSIONS.journal, registry: VERSIONS.registry },
        fs: detect::accept(host, base, None).map(|a| a.fs).unwrap_or_default(),
        accepted_without: None,
    })
}

fn restore_sentinel(host: &Host, base: &Path) -> Result<String> {
    let drive = known_drive(host, base).ok_or_else(|| Error::bug("a sentinel that nothing knows was to be restored"))?;
    let root = DataRoot::restore(host, base, &drive)?;
    // The manifests know the dataset too; a disagreement would be worse than no sentinel.
    for (path, manifest) in segment::all_manifests(&root)? {
        root.require_dataset(&manifest.world).map_err(|e| e.during(path.as_str()))?;
    }
    Ok(text!("{SENTINEL} written again: drive {}, dataset {}", drive.drive_id, drive.dataset))
}
