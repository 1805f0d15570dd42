//! Nightly exports for a workstation, and their import into its own data root.

use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::ledger;
use crate::root::{DataPath, DataRoot};
use crate::store::{self, FileInfo, Twin};
use crate::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

mod bounds;

/// Folder of the exports.
pub const FOLDER: &str = "exports/nightly";
const MANIFEST: &str = "manifest.json";
/// What is exported.
const PARTS: [&str; 3] = ["curated", "reference", "qc"];

/// One export: a day, and how often something was exported for it before. `2017-02-01`, `2017-02-01.2`: what is exported stays as
/// it is, and what came later the same night has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Night {
    pub day: TradingDay,
    /// From 1.
    pub nth: u32,
}

impl fmt::Display for Night {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nth == 1 { write!(f, "{}", self.day) } else { write!(f, "{}.{}", self.day, self.nth) }
    }
}

impl FromStr for Night {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (day, nth) = text.split_once('.').unwrap_or((text, "1"));
        let nth = nth.parse().ok().filter(|n| *n > 0 && (*n > 1) == text.contains('.'));
        let nth = nth.ok_or_else(|| Error::new(code::CFG_VALUE, text!("'{text}' is not the name of an export")))?;
        Ok(Self { day: day.parse()?, nth })
    }
}

impl Serialize for Night {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Night {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(|e: Error| serde::de::Error::custom(e.to_string()))
    }
}

/// `manifest.json` of one night, written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportManifest {
    pub v: u32,
    pub day: Night,
    pub drive_id: String,
    pub dataset: String,
    /// The export that this one builds on; null for a full one.
    pub since: Option<Night>,
    pub full: bool,
    pub files: Vec<FileInfo>,
    /// Files of earlier exports that are gone.
    pub removed: Vec<DataPath>,
    /// Digest of all that is exported up to and with this night: what a root that imported it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// What an export or an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    pub folder: String,
    pub full: bool,
    pub files: u64,
    pub bytes: u64,
    pub removed: u64,
}

/// Export what changed since the newest earlier export (all of it, the first time). Repeating a night without a change gives
/// nothing new; with one, what changed is an export of its own.
pub fn nightly(root: &DataRoot, db: &Db, day: TradingDay) -> Result<ExportReport> {
    ledger::export(root, db)?;
    let (newest, since, held) = held_before(root)?;
    let mut now = BTreeMap::new();
    for part in PARTS {
        for path in store::list(root, &DataPath::new(part)?)? {
            let bytes = store::read(root, &path)?.unwrap_or_default();
            now.insert(path.clone(), FileInfo { path, sha256: store::sha256_hex(&bytes), bytes: bytes.len() as u64 });
        }
    }
    let files: Vec<FileInfo> = now.values().filter(|f| held.get(&f.path) != Some(&f.sha256)).cloned().collect();
    let removed: Vec<DataPath> = held.keys().filter(|p| !now.contains_key(p)).cloned().collect();
    if let Some(newest) = since.filter(|n| n.day >= day && files.is_empty() && removed.is_empty()) {
        return Ok(report_of(&manifest_of(root, newest)?));
    }
    let night = match newest.filter(|n| n.day >= day) {
        Some(n) => Night { nth: n.nth + 1, ..n },
        None => Night { day, nth: 1 },
    };
    let folder = folder_of(night)?;
    let mut wanted = BTreeSet::from([folder.join(MANIFEST)?]);
    let twin = |file: &FileInfo| Ok(Twin { from: file.path.clone(), to: folder.join(file.path.as_str())?, sha256: file.sha256.clone() });
    let twins = files.iter().map(twin).collect::<Result<Vec<_>>>()?;
    if let Some(path) = store::name_again(root, &twins)? {
        return Err(Error::new(code::DATA_CONFLICT, text!("{path} changed while it was exported")).fix("run the export again"));
    }
    wanted.extend(twins.into_iter().map(|twin| twin.to));
    // What a process that died in the middle of this very night left behind.
    for stray in store::list(root, &folder)?.into_iter().filter(|p| !wanted.contains(p)) {
        store::remove(root, &stray)?;
    }
    let state = Some(state_of(&now.into_values().map(|f| (f.path, f.sha256)).collect())?);
    let (full, drive) = (since.is_none(), root.drive());
    let (drive_id, dataset) = (drive.drive_id.clone(), drive.dataset.clone());
    let manifest = ExportManifest { v: 1, day: night, drive_id, dataset, since, full, files, removed, state };
    ledger::store_if_changed(root, &folder.join(MANIFEST)?, store::signed_json(&manifest)?)?;
    bounds::keep_some(root, bounds::KEPT)?;
    Ok(report_of(&manifest))
}

fn report_of(manifest: &ExportManifest) -> ExportReport {
    ExportReport {
        folder: format!("{FOLDER}/{}", manifest.day),
        full: manifest.full,
        files: manifest.files.len() as u64,
        bytes: manifest.files.iter().map(|f| f.bytes).sum(),
        removed: manifest.removed.len() as u64,
    }
}

fn folder_of(night: Night) -> Result<DataPath> {
    DataPath::new(format!("{FOLDER}/{night}"))
}

fn state_of(held: &BTreeMap<DataPath, String>) -> Result<String> {
    store::digest_of(&held.iter().map(|(path, sha256)| (path.as_str(), sha256.as_str())).collect::<BTreeMap<_, _>>())
}

/// The newest export, the one to build on, and what all of them together hold. A night whose list was never written, because the
/// process died, is none yet.
fn held_before(root: &DataRoot) -> Result<(Option<Night>, Option<Night>, BTreeMap<DataPath, String>)> {
    let (mut newest, mut held, mut whole) = (None, BTreeMap::new(), false);
    for night in nights(root)? {
        if !root.locate(&folder_of(night)?.join(MANIFEST)?).exists() {
            continue;
        }
        newest = Some(night);
        // A night whose list is damaged is the end of the chain: what comes next is a full export.
        let Ok(manifest) = manifest_of(root, night) else {
            (held, whole) = (BTreeMap::new(), false);
            continue;
        };
        fold(&mut held, &manifest);
        whole |= manifest.full;
    }
    // Without its beginning, which somebody removed to make room, a chain is of use to nobody.
    Ok(if whole { (newest, newest, held) } else { (newest, None, BTreeMap::new()) })
}

/// The nights that have a folder, in order.
fn nights(root: &DataRoot) -> Result<BTreeSet<Night>> {
    let all = store::list(root, &DataPath::new(FOLDER)?)?;
    Ok(all.iter().filter_map(|p| p.as_str().strip_prefix(FOLDER)?.trim_start_matches('/').split('/').next()?.parse().ok()).collect())
}

fn manifest_of(root: &DataRoot, night: Night) -> Result<ExportManifest> {
    let path = folder_of(night)?.join(MANIFEST)?;
    let damaged = |what: String| Error::new(code::SSD_DAMAGED, what).fix("trademl node audit --full");
    let manifest: ExportManifest = store::read_signed(root, &path)?.ok_or_else(|| damaged(text!("{path} is not there")))?;
    // A whole list under the name of another night is damage too.
    if manifest.day != night {
        return Err(damaged(text!("{path} is the list of {}", manifest.day)));
    }
    Ok(manifest)
}

/// Files of the exports that are not what their lists say, with the digest that is wanted; `None` for a list itself.
pub fn damaged(root: &DataRoot) -> Result<Vec<(DataPath, Option<FileInfo>)>> {
    let mut out = Vec::new();
    for night in nights(root)? {
        let folder = folder_of(night)?;
        let Ok(manifest) = manifest_of(root, night) else {
            out.push((folder.join(MANIFEST)?, None));
            continue;
        };
        for file in manifest.files {
            let path = folder.join(file.path.as_str())?;
            if store::read(root, &path)?.is_none_or(|bytes| store::sha256_hex(&bytes) != file.sha256) {
                out.push((path, Some(file)));
            }
        }
    }
    Ok(out)
}

/// Make damaged exports good again; how many files. One that the drive still holds as it was is copied; where it does not,
/// all nights go, and the next export is a full one.
pub fn mend(root: &DataRoot) -> Result<u64> {
    let damaged = damaged(root)?;
    for (path, wanted) in &damaged {
        let good = wanted.as_ref().map(|w| Ok::<_, Error>(store::read(root, &w.path)?.filter(|bytes| store::sha256_hex(bytes) == w.sha256)));
        match good.transpose()?.flatten() {
            Some(bytes) => drop(store::write_atomic(root, path, &bytes)?),
            None => {
                store::list(root, &DataPath::new(FOLDER)?)?.iter().try_for_each(|path| store::remove(root, path))?;
                break;
            }
        }
    }
    Ok(damaged.len() as u64)
}

fn fold(held: &mut BTreeMap<DataPath, String>, manifest: &ExportManifest) {
    if manifest.full {
        held.clear();
    }
    manifest.removed.iter().for_each(|p| drop(held.remove(p)));
    held.extend(manifest.files.iter().map(|f| (f.path.clone(), f.sha256.clone())));
}

/// Import a folder of exports, or one night, into this root. Every file is verified before any is written; nights are
/// applied in order, and one that builds on a night this root has not imported is refused.
pub fn import(root: &DataRoot, db: &Db, folder: &Path) -> Result<ExportReport> {
    let mut nights = find_nights(folder)?;
    if nights.is_empty() {
        return Err(Error::new(code::DATA_MISSING, "there is no export in that folder").found(folder.display().to_string()).fix("trademl import DIR"));
    }
    nights.sort_by_key(|(_, m)| m.day);
    if let Some([(_, one), _]) = nights.array_windows().find(|[(_, a), (_, b)]| a.day == b.day) {
        return Err(Error::new(code::SSD_DAMAGED, text!("two folders hold the export of {}", one.day)).fix("import each night from one folder"));
    }
    let mut report = ExportReport { folder: folder.display().to_string(), ..ExportReport::default() };
    // What stands there now under the name of the night that was imported last may be something else: then all of it is taken
    // again, from the newest full export on.
    let known = last_imported(root)?;
    let mut last = known.clone().filter(|last| {
        let now = nights.iter().find(|(_, m)| m.drive_id == last.drive_id && m.day == last.day);
        now.is_none_or(|(_, m)| m.state == last.state)
    });
    for (dir, manifest) in nights {
        root.require_dataset(&manifest.dataset)?;
        if last.as_ref().is_some_and(|l| l.drive_id == manifest.drive_id && l.day >= manifest.day) {
            continue;
        }
        if !manifest.full && last.as_ref().map(|l| (&l.drive_id, Some(l.day))) != Some((&manifest.drive_id, manifest.since)) {
            return Err(Error::new(code::DATA_MISSING, text!("the export of {} builds on one that was not imported here", manifest.day))
                .found(manifest.since.map_or_else(String::new, |d| text!("it needs the one of {d}")))
                .fix("import the whole exports/nightly folder"));
        }
        apply_night(root, &dir, &manifest, &mut report)?;
        if manifest.full && known.as_ref().is_some_and(|k| k.drive_id == manifest.drive_id) {
            remove_others(root, &manifest, &mut report)?;
        }
        last = Some(Imported { drive_id: manifest.drive_id.clone(), day: manifest.day, state: manifest.state.clone() });
        store::write_atomic(root, &DataPath::new(IMPORTED)?, store::canonical_json(&last)?.as_bytes())?;
    }
    adopt_ledger(root, db)?;
    Ok(report)
}

const IMPORTED: &str = "control/imported.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Imported {
    drive_id: String,
    day: Night,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

fn last_imported(root: &DataRoot) -> Result<Option<Imported>> {
    store::read(root, &DataPath::new(IMPORTED)?)?.map_or(Ok(None), |b| Ok(serde_json::from_slice(&b)?))
}

fn find_nights(folder: &Path) -> Result<Vec<(std::path::PathBuf, ExportManifest)>> {
    let read = |dir: &Path| -> Result<Option<ExportManifest>> {
        let manifest: ExportManifest = match std::fs::read(dir.join(MANIFEST)) {
            Ok(bytes) => store::parse_signed(&bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // The list of another night would leave this one out, and nobody would miss it.
        let named: Option<Night> = dir.file_name().and_then(|name| name.to_str()?.parse().ok());
        match named.filter(|night| *night != manifest.day) {
            Some(night) => Err(Error::new(code::SSD_DAMAGED, text!("the export of {night} has the list of {}", manifest.day)).fix("copy the export again")),
            None => Ok(Some(manifest)),
        }
    };
    if let Some(manifest) = read(folder)? {
        return Ok(vec![(folder.to_path_buf(), manifest)]);
    }
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let dir = entry?.path();
        if dir.is_dir()
            && let Some(manifest) = read(&dir)?
        {
            out.push((dir, manifest));
        }
    }
    Ok(out)
}

fn apply_night(root: &DataRoot, dir: &Path, manifest: &ExportManifest, report: &mut ExportReport) -> Result<()> {
    let allowed = |p: &DataPath| PARTS.iter().any(|part| p.as_str().starts_with(&format!("{part}/")));
    if let Some(bad) = manifest.files.iter().map(|f| &f.path).chain(&manifest.removed).find(|p| !allowed(p)) {
        return Err(Error::new(code::SSD_PATH, text!("an export may not write {bad}")));
    }
    let read = |file: &FileInfo| -> Result<Vec<u8>> {
        let bytes = std::fs::read(dir.join(file.path.as_str()))?;
        if store::sha256_hex(&bytes) == file.sha256 {
            return Ok(bytes);
        }
        Err(Error::new(code::SSD_DAMAGED, text!("{} of the export of {} does not match its digest", file.path, manifest.day)).fix("copy the export again"))
    };
    for file in &manifest.files {
        read(file)?;
    }
    store::write_each(root, manifest.files.iter().map(|file| Ok((file.path.clone(), read(file)?))))?;
    report.files += manifest.files.len() as u64;
    report.bytes += manifest.files.iter().map(|f| f.bytes).sum::<u64>();
    for path in &manifest.removed {
        store::remove(root, path)?;
        report.removed += 1;
    }
    report.full |= manifest.full;
    Ok(())
}

/// What this drive exported once and a full export does not hold is gone there.
fn remove_others(root: &DataRoot, full: &ExportManifest, report: &mut ExportReport) -> Result<()> {
    let held: BTreeSet<&DataPath> = full.files.iter().map(|f| &f.path).collect();
    for part in PARTS {
        for path in store::list(root, &DataPath::new(part)?)?.into_iter().filter(|p| !held.contains(p)) {
            store::remove(root, &path)?;
            report.removed += 1;
        }
    }
    Ok(())
}

/// Take over the imported ledger: this root holds no raw data to make its own from.
fn adopt_ledger(root: &DataRoot, db: &Db) -> Result<()> {
    let Some(bytes) = store::read(root, &DataPath::new(ledger::EXPORT)?)? else { return Ok(()) };
    let want = ledger::read_export(bytes)?;
    let changes = ledger::differences(ledger::all_rows(db)?, want);
    ledger::apply(db, &changes)?;
    if let Some(scope) = ledger::scope::on_drive(root)? {
        db.write(|tx| ledger::scope::set_in_db(tx, scope))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
