//! `trademl fsck`: is everything that was acknowledged there, and true? Nothing is changed.

use crate::control::{Db, Which, newest_backup};
use crate::error::{Error, Result};
use crate::reference::sources;
use crate::root::{DataPath, DataRoot};
use crate::segment::{self, Manifest};
use crate::{curate, snapshot, stage, store};
use std::collections::{BTreeMap, BTreeSet};

mod acked;
mod control;
mod made;

/// How bad a finding is. Only `Fail` makes the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Pass,
    Warn,
    Fail,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable name of the check.
    pub id: &'static str,
    pub status: Level,
    pub what: String,
    pub found: Option<String>,
    pub fix: Option<String>,
}

impl Finding {
    fn pass(id: &'static str, what: impl Into<String>) -> Self {
        Self { id, status: Level::Pass, what: what.into(), found: None, fix: None }
    }
    fn warn(id: &'static str, what: impl Into<String>, found: impl Into<String>, fix: &str) -> Self {
        Self { id, status: Level::Warn, what: what.into(), found: Some(found.into()), fix: Some(fix.into()) }
    }
    fn fail(id: &'static str, what: impl Into<String>, found: impl Into<String>, fix: &str) -> Self {
        Self { id, status: Level::Fail, what: what.into(), found: Some(found.into()), fix: Some(fix.into()) }
    }
    /// An error met while checking is a finding, not the end of the check.
    fn of_error(id: &'static str, what: &str, error: &Error) -> Self {
        let fix = error.body().fix.first().cloned();
        Self { id, status: Level::Fail, what: what.into(), found: Some(error.to_string()), fix }
    }
}

/// Whether nothing failed.
pub fn is_sound(findings: &[Finding]) -> bool {
    findings.iter().all(|f| f.status != Level::Fail)
}

/// Findings of one kind that are named one by one.
const NAMED: usize = 20;

/// Check everything that can be checked without a vendor. Errors are findings; `Err` means that nothing could be checked.
pub fn run(root: &DataRoot) -> Result<Vec<Finding>> {
    let mut out = Vec::new();
    control::databases(root, &mut out);
    let (manifests, damaged) = match segment::scan(root, "manifests") {
        Ok(found) => found,
        Err(error) => {
            out.push(Finding::of_error("dataset", "every manifest belongs to this drive's dataset", &error));
            (Vec::new(), Vec::new())
        }
    };
    made::manifests(&damaged, &mut out);
    worlds(root, &manifests, &mut out);
    segments(root, &manifests, &mut out)?;
    // A database that is damaged has been told already; what it says is not worth comparing.
    let there = root.locate(&DataPath::new(Which::Node.path())?).exists();
    let db = if there { Db::open(root, Which::Node).ok().filter(|db| db.integrity_check().is_ok()) } else { None };
    if let Some(db) = db {
        control::segment_rows(&db, &manifests, &mut out)?;
        control::queue(&db, &mut out)?;
        control::ledger(&db, &mut out);
        made::answers(&*db.lock()?, &manifests, &mut out)?;
    } else if let Some(backup) = newest_backup(root, Which::Node)? {
        // The night's copy remembers the questions until then.
        made::answers(&backup, &manifests, &mut out)?;
    }
    curated(root, &mut out)?;
    made::tables(root, &mut out)?;
    made::records(root, &mut out);
    made::exports(root, &mut out)?;
    made::backups(root, &mut out)?;
    stray_files(root, &manifests, &mut out)?;
    match stage::load_optional(root) {
        Ok(None) => out.push(Finding::warn("stage", "the drive has a stage", "control/stage.yml is not there yet", "trademl pi-data-node")),
        Ok(Some(_)) => out.push(Finding::pass("stage", "control/stage.yml matches its digest")),
        Err(error) => out.push(Finding::of_error("stage", "control/stage.yml matches its digest", &error)),
    }
    snapshots(root, &mut out)?;
    acked::check(root, &manifests, &mut out)?;
    Ok(out)
}

fn worlds(root: &DataRoot, manifests: &[(DataPath, Manifest)], out: &mut Vec<Finding>) {
    let what = "every manifest belongs to this drive's dataset";
    match manifests.iter().find(|(_, m)| root.require_dataset(&m.world).is_err()) {
        Some((path, m)) => out.push(Finding::fail("dataset", what, text!("{path} holds '{}' data", m.world), "move that data to a root of its own")),
        None => out.push(Finding::pass("dataset", what)),
    }
}

fn segments(root: &DataRoot, manifests: &[(DataPath, Manifest)], out: &mut Vec<Finding>) -> Result<()> {
    let mut checked = BTreeMap::new();
    for (path, manifest) in manifests {
        for segment in &manifest.segments {
            root.host().check_cancelled()?;
            if checked.insert(segment.path.clone(), segment.sha256.clone()).is_some_and(|other| other == segment.sha256) {
                continue;
            }
            if let Err(code) = sources::read(root, segment)? {
                let what = text!("{} is what {path} says", segment.path);
                out.push(Finding::fail("segment", what, code.as_str(), "trademl node audit --full (it asks the vendor again)"));
            }
        }
    }
    if !out.iter().any(|f| f.id == "segment") {
        out.push(Finding::pass("segment", text!("{} raw segments match their manifests", checked.len())));
    }
    Ok(())
}

fn curated(root: &DataRoot, out: &mut Vec<Finding>) -> Result<()> {
    let deps = curate::Deps::load(root)?;
    let mut files = 0;
    for (path, sha256) in deps.made() {
        files += 1;
        match store::read(root, path)? {
            Some(bytes) if store::sha256_hex(&bytes) == sha256 => {}
            Some(_) => out.push(Finding::fail("curated", text!("{path} matches its digest"), "other bytes", "trademl node audit --full (it is made again)")),
            None => out.push(Finding::fail("curated", text!("{path} is there"), "no such file", "trademl node audit --full (it is made again)")),
        }
    }
    if let Some(path) = deps.pending().next() {
        let found = text!("{path} and others were being made");
        out.push(Finding::warn("curated.pending", "no curation is under way", found, "trademl node audit (it finishes the curation)"));
    }
    // Whoever reads the folder as one table would read it too.
    if let Some(path) = store::list(root, &DataPath::new("curated")?)?.into_iter().find(|path| !deps.files.contains_key(path)) {
        let found = text!("{path}, of which no curation knows");
        out.push(Finding::warn("curated.unknown", "every curated file is on record", found, "trademl node audit --full (it removes it)"));
    }
    if !out.iter().any(|f| f.id == "curated") {
        out.push(Finding::pass("curated", text!("{files} curated files match their digests")));
    }
    Ok(())
}

/// Files that a crash may leave: temporary ones, and segments whose manifest was never written.
fn stray_files(root: &DataRoot, manifests: &[(DataPath, Manifest)], out: &mut Vec<Finding>) -> Result<()> {
    let named: BTreeSet<&DataPath> = manifests.iter().flat_map(|(_, m)| m.segments.iter().map(|s| &s.path)).collect();
    let orphans: Vec<DataPath> =
        store::list(root, &DataPath::new("raw")?)?.into_iter().filter(|p| p.as_str().ends_with(".parquet") && !set_aside(p) && !named.contains(p)).collect();
    let what = "every raw file has a manifest";
    let mut warn = |found: String| out.push(Finding::warn("orphans", what, found, "nothing: the unfinished task writes it again"));
    orphans.iter().take(NAMED).for_each(|path| warn(text!("{path} has none")));
    if orphans.len() > NAMED {
        warn(text!("{} more have none either", orphans.len() - NAMED));
    }
    if orphans.is_empty() {
        out.push(Finding::pass("orphans", what));
    }
    let temps = temporary(root.base())?;
    if temps > 0 {
        out.push(Finding::warn("temporary", "no temporary files are left", text!("{temps} files"), "nothing: they are never read"));
    }
    Ok(())
}

/// What was set aside is kept for inspection; nothing vouches for it any more.
fn set_aside(path: &DataPath) -> bool {
    path.as_str().starts_with("raw/_quarantine/")
}

fn temporary(folder: &std::path::Path) -> Result<u64> {
    let mut count = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                count += u64::from(entry.file_name().to_string_lossy().ends_with(".tmp"));
            }
        }
    }
    Ok(count)
}

fn snapshots(root: &DataRoot, out: &mut Vec<Finding>) -> Result<()> {
    let mut good = 0;
    for path in store::list(root, &DataPath::new(snapshot::FOLDER)?)? {
        let Some(id) = path.file_name().strip_suffix(".txt") else { continue };
        match snapshot::files(root, id) {
            Ok(_) => good += 1,
            Err(error) => out.push(Finding::of_error("snapshot", &text!("{path} matches its name"), &error)),
        }
    }
    let mut files = 0;
    for path in store::list(root, &DataPath::new(store::KEPT)?)? {
        let digest = path.file_name().trim_end_matches(".parquet");
        match store::read(root, &path)?.filter(|bytes| store::sha256_hex(bytes) == digest) {
            Some(_) => files += 1,
            None => out.push(Finding::fail(
                "snapshot",
                text!("{path} matches its name"),
                "other bytes",
                "restore it from a copy of the drive, or train again: trademl train",
            )),
        }
    }
    if !out.iter().any(|f| f.id == "snapshot") {
        out.push(Finding::pass("snapshot", text!("{good} data snapshots and {files} kept files match their names")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
