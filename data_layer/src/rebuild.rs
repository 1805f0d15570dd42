//! A lost or damaged `node.sqlite` is made again from the files: no vendor is called.

use crate::audit::{AuditScope, audit_scan};
use crate::calendar::Calendar;
use crate::control::{Db, Which, seal};
use crate::curate::{self, Depth};
use crate::error::{Result, code};
use crate::ledger::scope::{self, Scope};
use crate::reference;
use crate::root::{DataPath, DataRoot};
use crate::segment::{self, Manifest};
use crate::stage;
use crate::store;
use rusqlite::params;
use std::collections::{BTreeMap, BTreeSet};

mod remembered;

/// What a rebuild did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    pub manifests: u64,
    /// Segments now known to the database.
    pub segments: u64,
    /// Segments that a manifest names and that the database did not know.
    pub adopted: u64,
    /// Files below `raw/` that no manifest names; they were never acknowledged as data.
    pub removed: Vec<String>,
    /// Segments that a manifest names and that are not there; their partitions are RED.
    pub lost: Vec<String>,
    /// Ledger rows after the rebuild.
    pub partitions: u64,
    /// Where the old database was put aside, if there was one.
    pub set_aside: Option<String>,
}

/// Make `control/node.sqlite` again: segments from the manifests, the ledger from a full audit, the curated rows from
/// verified files. The ledger equals the lost one row for row. What was asked is known from the manifests, what was spent
/// from the old database or its backup; the queue starts empty: the planner seeds only what the ledger misses.
pub fn node_db(root: &DataRoot) -> Result<RebuildReport> {
    // What the rebuild needs is looked at before anything is put aside.
    let stage = stage::load_optional(root)?;
    let mut report = RebuildReport { set_aside: set_aside(root)?, ..RebuildReport::default() };
    // A manifest that cannot be trusted tells nothing; what it told is asked again when the drive is next mended.
    segment::scan(root, "manifests")?.1.iter().try_for_each(|(path, _)| segment::set_aside(root, path))?;
    let db = Db::open(root, Which::Node)?;
    remembered::bring_back(root, &db, report.set_aside.as_deref())?;
    let adopted = adopt(root, &db)?;
    (report.manifests, report.segments, report.adopted) = (adopted.manifests, adopted.segments, adopted.adopted);
    (report.removed, report.lost) = (adopted.removed, adopted.lost);
    if let Some(stage) = stage {
        let refreshed = reference::refresh_reference(root, &db)?;
        if let Some(scope) = scope_of(root, &db, &stage)? {
            audit_scan(root, &db, &refreshed, AuditScope::Full, scope.asof, scope.window())?;
        }
        curate::curate(root, &db, Depth::Full)?;
    }
    report.partitions =
        db.lock()?.query_row("SELECT coalesce(sum(partitions), 0) FROM ledger_counts", [], |r| r.get::<_, i64>(0)).map(|n| u64::try_from(n).unwrap_or(0))?;
    Ok(report)
}

/// Open `control/node.sqlite`; one that is damaged is put aside and made again from the files. `None`: it was good. A
/// newer schema is refused as it is: nothing is wrong with it.
pub fn ensure_node_db(root: &DataRoot) -> Result<Option<RebuildReport>> {
    let place = root.locate(&DataPath::new(Which::Node.path())?);
    // SQLite takes an empty file for a new database; with manifests on the drive it is a lost one.
    let empty = std::fs::metadata(&place).map_or(0, |m| m.len()) == 0;
    if empty && !store::list(root, &DataPath::new("manifests")?)?.is_empty() {
        return node_db(root).map(Some);
    }
    let verdict = Db::open(root, Which::Node).and_then(|db| db.integrity_check());
    match verdict {
        Ok(()) => Ok(None),
        Err(e) if e.is(code::SSD_DAMAGED) => node_db(root).map(Some),
        Err(e) => Err(e),
    }
}

/// Move an existing database (with its side files) out of the way.
#[allow(clippy::disallowed_methods)] // a damaged database is put aside, not written
fn set_aside(root: &DataRoot) -> Result<Option<String>> {
    seal::forget(root, Which::Node)?;
    let name = |n: u32| DataPath::new(format!("control/backup/node.sqlite.before-rebuild{}", if n == 0 { String::new() } else { format!("-{n}") }));
    let mut n = 0;
    // An earlier backup is never overwritten: it may be the good one.
    while root.locate(&name(n)?).exists() {
        n += 1;
    }
    let aside = name(n)?;
    let mut moved = None;
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let from = root.locate(&DataPath::new(format!("{}{suffix}", Which::Node.path()))?);
        let to = root.locate(&DataPath::new(format!("{aside}{suffix}"))?);
        if let Some(folder) = to.parent() {
            store::create_folder(folder)?;
        }
        match std::fs::rename(&from, &to) {
            Ok(()) => moved = Some(aside.to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => drop(std::fs::remove_file(&to)),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(moved)
}

/// The days the old ledger answered for, by the record on the drive or what a backup remembers; without either, the stage's
/// window up to the newest ingest.
fn scope_of(root: &DataRoot, db: &Db, stage: &stage::Stage) -> Result<Option<Scope>> {
    if let Some(scope) = scope::on_drive(root)? {
        return Ok(Some(scope));
    }
    if let Some(scope) = scope::in_db(&*db.lock()?)? {
        return Ok(Some(scope));
    }
    let Some(newest) = segment::all_manifests(root)?.into_iter().map(|(_, m)| m.ingested_at).max() else { return Ok(None) };
    let asof = Calendar::xnys().last_closed(newest)?;
    let years = i16::try_from(stage.target()?.eod_years).unwrap_or(5);
    Ok(Some(Scope { start: asof.minus_years(years), asof }))
}

/// What [`adopt`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    pub manifests: u64,
    pub segments: u64,
    pub adopted: u64,
    pub removed: Vec<String>,
    pub lost: Vec<String>,
}

/// Bring the `segments` table in line with the manifests and the files: a file that a manifest vouches for gets its row,
/// a file that none names is removed (its task was not finished and is fetched again), a row without a manifest goes. Others may
/// be committing meanwhile: what is theirs stays.
pub fn adopt(root: &DataRoot, db: &Db) -> Result<Adopted> {
    // The files first, then who vouches for them: what is committed in between is vouched for.
    let files = store::list(root, &DataPath::new("raw")?)?;
    let manifests = segment::all_manifests(root)?;
    for (path, manifest) in &manifests {
        root.require_dataset(&manifest.world).map_err(|e| e.during(path.as_str()))?;
    }
    let mut out = Adopted { manifests: manifests.len() as u64, ..Adopted::default() };
    let mut named: BTreeMap<&DataPath, (&DataPath, &Manifest, &segment::Segment)> = BTreeMap::new();
    for (path, manifest) in &manifests {
        for segment in &manifest.segments {
            named.entry(&segment.path).or_insert((path, manifest, segment));
        }
    }
    let unnamed = files.iter().filter(|p| p.as_str().ends_with(".parquet") && !p.as_str().starts_with("raw/_quarantine/") && !named.contains_key(p));
    out.removed = remove_garbage(root, db, &unnamed.collect::<Vec<_>>())?;
    let files: BTreeSet<&DataPath> = files.iter().collect();
    let there: BTreeSet<&DataPath> = named.keys().copied().filter(|p| files.contains(p) || root.locate(p).exists()).collect();
    out.lost = named.keys().filter(|p| !there.contains(**p)).map(ToString::to_string).collect();
    out.segments = there.len() as u64;
    out.adopted = db.write(|tx| {
        // Whoever calls this has moved answers, or found some that nobody had entered.
        segment::answers_changed(tx)?;
        let known: BTreeMap<String, String> =
            tx.prepare("SELECT path, manifest FROM segments")?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        let mut put = tx.prepare_cached(
            "INSERT INTO segments (path, table_name, source_name, partition_key, t0, t1, rows, bytes, sha256, manifest) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
        )?;
        let mut adopted = 0;
        for (path, (manifest_path, m, s)) in named.iter().filter(|(p, _)| there.contains(**p) && !known.contains_key(p.as_str())) {
            let (t0, t1) = (s.t0.to_string(), s.t1.to_string());
            let (rows, bytes) = (i64::try_from(s.rows).unwrap_or(0), i64::try_from(s.bytes).unwrap_or(0));
            put.execute(params![path.as_str(), m.table, m.vendor, m.tf, t0, t1, rows, bytes, s.sha256, manifest_path.as_str()])?;
            adopted += 1;
        }
        for (path, manifest) in known.iter().filter(|(p, _)| !DataPath::new(p.as_str()).is_ok_and(|p| named.contains_key(&p))) {
            // One that was written since the list was read vouches for its row.
            if !DataPath::new(manifest.as_str()).is_ok_and(|m| root.locate(&m).exists()) {
                tx.execute("DELETE FROM segments WHERE path=?1", [path])?;
            }
        }
        Ok(adopted)
    })?;
    Ok(out)
}

/// Remove files that no manifest names, unless somebody is at work. Between a segment and its manifest a commit looks like
/// garbage, but whoever commits holds a row of the queue: while none is held, and while this transaction lasts, nobody does.
fn remove_garbage(root: &DataRoot, db: &Db, unnamed: &[&DataPath]) -> Result<Vec<String>> {
    if unnamed.is_empty() {
        return Ok(Vec::new());
    }
    db.write(|tx| {
        if tx.prepare("SELECT 1 FROM backfill_queue WHERE status = 'LEASED' LIMIT 1")?.exists([])? {
            return Ok(Vec::new());
        }
        let manifests = segment::all_manifests(root)?;
        let named: BTreeSet<&DataPath> = manifests.iter().flat_map(|(_, m)| m.segments.iter().map(|s| &s.path)).collect();
        let garbage: Vec<&DataPath> = unnamed.iter().copied().filter(|p| !named.contains(p)).collect();
        garbage.iter().try_for_each(|path| store::remove(root, path))?;
        Ok(garbage.iter().map(ToString::to_string).collect())
    })
}

#[cfg(test)]
mod tests;
