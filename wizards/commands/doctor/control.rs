//! The control database against itself and against the files.

use super::repair::Repair;
use super::{Check, Exam, Family, Finding};
use crate::kit::recover::backups;
use data_layer::attach;
use data_layer::control::{Db, Which};
use data_layer::curate;
use data_layer::error::Result;
use data_layer::fsck::{self, Level};
use data_layer::ledger;
use data_layer::root::{DataPath, DataRoot};
use data_layer::schema::table;
use data_layer::segment;
use data_layer::store;
use data_layer::time::UtcTime;
use data_layer::words::joined;

pub const FAMILY: Family = Family {
    name: term!("control database and files"),
    checks: &[
        Check { id: "node-db", what: "queue, ledger and budgets are intact", rooted: true, look: node_db },
        Check { id: "queue", what: "what must always hold of the queue holds", rooted: true, look: queue },
        Check { id: "leases", what: "no task is held by somebody who is gone", rooted: true, look: leases },
        Check { id: "failed-tasks", what: "no task has given up", rooted: true, look: failed },
        Check { id: "segments", what: "the database knows exactly the raw files that manifests vouch for", rooted: true, look: segments },
        Check { id: "files", what: "every file that the ledger relies on is there", rooted: true, look: files },
        Check { id: "coverage", what: "what is stored was judged good", rooted: true, look: coverage },
        Check { id: "ledger-export", what: "the exported ledger is the ledger", rooted: true, look: export },
        Check { id: "backups", what: "what cannot be made again has a fresh copy", rooted: true, look: backup },
    ],
};

/// Days after which a backup is too old.
const BACKUP_DAYS: f64 = 8.0;

fn rebuild(exam: &Exam) -> String {
    format!("trademl rebuild{}", exam.at())
}

fn full_audit(exam: &Exam) -> String {
    format!("trademl node audit --full{}", exam.at())
}

/// The node's database, if it is there and sound; looking must never make one.
fn sound(root: &DataRoot) -> Option<Db> {
    let there = DataPath::new(Which::Node.path()).is_ok_and(|p| root.locate(&p).exists());
    if !there {
        return None;
    }
    let db = Db::open(root, Which::Node).ok()?;
    db.integrity_check().ok().map(|()| db)
}

fn set_up(root: &DataRoot) -> bool {
    root.base().join(data_layer::stage::PATH).exists()
}

fn node_db(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    if !root.locate(&DataPath::new(Which::Node.path())?).exists() {
        return Ok(vec![if segment::all_manifests(root).is_ok_and(|m| m.is_empty()) {
            Finding::warn("the drive was not set up yet", format!("trademl pi-data-node{}", exam.at()))
        } else {
            Finding::fail("control/node.sqlite is gone; manifests and files are there", rebuild(exam))
        }]);
    }
    Ok(vec![match Db::open(root, Which::Node).and_then(|db| db.integrity_check().map(|()| db)) {
        Ok(db) => {
            let tasks: i64 = db.lock()?.query_row("SELECT coalesce(sum(tasks), 0) FROM queue_counts", [], |r| r.get(0))?;
            Finding::pass(text!("control/node.sqlite, schema {}, {tasks} tasks", data_layer::schema::VERSIONS.node))
        }
        Err(error) => Finding::of(&error, Some(rebuild(exam))),
    }])
}

/// What must always hold, and how many rows break it.
const RULES: [(&str, &str); 3] = [
    ("tasks are finished without an outcome", "SELECT count(*) FROM backfill_queue WHERE status='DONE' AND ifnull(outcome,'')=''"),
    ("tasks are leased without an owner", "SELECT count(*) FROM backfill_queue WHERE status='LEASED' AND (lease_owner IS NULL OR lease_expires_at IS NULL)"),
    (
        "counts disagree with the queue",
        "SELECT count(*) FROM (SELECT dataset, kind, status, count(*) AS n FROM backfill_queue GROUP BY 1,2,3) AS q
         LEFT JOIN queue_counts AS c USING (dataset, kind, status) WHERE c.tasks IS NOT q.n",
    ),
];

fn queue(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(db) = exam.root.as_ref().and_then(sound) else { return Ok(Vec::new()) };
    let conn = db.lock()?;
    let mut out = Vec::new();
    for (what, sql) in RULES {
        let n: i64 = conn.query_row(sql, [], |r| r.get(0))?;
        if n > 0 {
            out.push(Finding::fail(text!("{n} {what}"), rebuild(exam)));
        }
    }
    if out.is_empty() {
        out.push(Finding::pass(text!("{} rules hold", RULES.len())));
    }
    Ok(out)
}

fn leases(exam: &Exam) -> Result<Vec<Finding>> {
    let Some((root, db)) = exam.root.as_ref().and_then(|r| Some((r, sound(r)?))) else { return Ok(Vec::new()) };
    let held: i64 = db.lock()?.query_row("SELECT count(*) FROM backfill_queue WHERE status='LEASED' AND lease_owner IS NOT NULL", [], |r| r.get(0))?;
    let busy = attach::busy(root)?;
    Ok(vec![match (held, busy.is_empty()) {
        (0, _) => Finding::pass("none"),
        (n, false) => Finding::pass(text!("{n} tasks are being worked on")),
        (n, true) => Finding::warn(text!("{n} tasks are leased and nobody is at work"), exam.doctor_fix()).mended_by(Repair::Leases),
    }])
}

fn failed(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(db) = exam.root.as_ref().and_then(sound) else { return Ok(Vec::new()) };
    let conn = db.lock()?;
    let n: i64 = conn.query_row("SELECT coalesce(sum(tasks), 0) FROM queue_counts WHERE status='FAILED'", [], |r| r.get(0))?;
    if n == 0 {
        return Ok(vec![Finding::pass("none")]);
    }
    let last: Option<String> =
        conn.query_row("SELECT last_error FROM backfill_queue WHERE status='FAILED' ORDER BY updated_at DESC LIMIT 1", [], |r| r.get(0))?;
    let seen = text!("{n} tasks gave up; the newest says: {}", last.unwrap_or_else(|| "nothing".into()));
    Ok(vec![Finding::warn(seen, full_audit(exam))])
}

fn segments(exam: &Exam) -> Result<Vec<Finding>> {
    let Some((root, db)) = exam.root.as_ref().and_then(|r| Some((r, sound(r)?))) else { return Ok(Vec::new()) };
    let manifests = segment::all_manifests(root)?;
    let named: std::collections::BTreeMap<&str, &str> =
        manifests.iter().flat_map(|(_, m)| m.segments.iter().map(|s| (s.path.as_str(), s.sha256.as_str()))).collect();
    let rows: Vec<(String, String)> =
        db.lock()?.prepare("SELECT path, sha256 FROM segments")?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut out = Vec::new();
    let wrong = rows.iter().filter(|(p, sha)| named.get(p.as_str()).is_some_and(|named| named != sha)).count();
    if wrong > 0 {
        out.push(Finding::fail(text!("{wrong} rows have another digest than their manifest"), rebuild(exam)));
    }
    let unknown = named.keys().filter(|p| !rows.iter().any(|(row, _)| row == *p)).count();
    let vouched_for_by_none = rows.iter().filter(|(p, _)| !named.contains_key(p.as_str())).count();
    let orphans = store::list(root, &DataPath::new("raw")?)?
        .iter()
        .filter(|p| p.as_str().ends_with(".parquet") && !p.as_str().starts_with("raw/_quarantine/") && !named.contains_key(p.as_str()))
        .count();
    for (n, what) in [
        (unknown, "files have a manifest and no row"),
        (vouched_for_by_none, "rows have no manifest"),
        (orphans, "raw files have no manifest: their task never finished, and is done again"),
    ] {
        if n > 0 {
            out.push(Finding::warn(text!("{n} {what}"), exam.doctor_fix()).mended_by(Repair::Segments));
        }
    }
    if out.is_empty() {
        out.push(Finding::pass(text!("{} segments of {} manifests", rows.len(), manifests.len())));
    }
    Ok(out)
}

fn files(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    if exam.deep {
        return deep(exam, root);
    }
    let mut bad: Vec<String> = Vec::new();
    let mut count = 0;
    for segment in segment::all_manifests(root)?.iter().flat_map(|(_, m)| &m.segments) {
        count += 1;
        match std::fs::metadata(root.locate(&segment.path)) {
            Ok(meta) if meta.len() == segment.bytes => {}
            Ok(meta) => bad.push(text!("{} has {} bytes, its manifest says {}", segment.path, meta.len(), segment.bytes)),
            Err(_) => bad.push(text!("{} is not there", segment.path)),
        }
    }
    for (path, _) in curate::Deps::load(root)?.made() {
        count += 1;
        if !root.locate(path).exists() {
            bad.push(text!("{path} is not there"));
        }
    }
    Ok(vec![match bad.first() {
        None => Finding::pass(text!("{count} files, by name and size")),
        Some(first) => Finding::fail(text!("{} of {count} files are not as recorded: {first}", bad.len()), full_audit(exam)),
    }])
}

/// Every byte against its digest: what `fsck` proves.
fn deep(exam: &Exam, root: &DataRoot) -> Result<Vec<Finding>> {
    let ours = ["segment", "curated", "curated.pending", "curated.unknown", "snapshot", "dataset", "manifests", "ledger"];
    let found = fsck::run(root)?;
    let mut out = Vec::new();
    for f in found.iter().filter(|f| f.status != Level::Pass && ours.contains(&f.id)) {
        let seen = text!("not so: {} ({})", f.what, f.found.clone().unwrap_or_default());
        out.push(if f.status == Level::Fail { Finding::fail(seen, full_audit(exam)) } else { Finding::warn(seen, full_audit(exam)) });
    }
    if out.is_empty() {
        let read: Vec<&str> = found.iter().filter(|f| ours.contains(&f.id)).map(|f| f.what.as_str()).collect();
        out.push(Finding::pass(joined(&read, "; ")));
    }
    Ok(out)
}

fn coverage(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(db) = exam.root.as_ref().and_then(sound) else { return Ok(Vec::new()) };
    let conn = db.lock()?;
    let (all, red): (i64, i64) =
        conn.query_row("SELECT coalesce(sum(partitions), 0), coalesce(sum(partitions * (status = 'RED')), 0) FROM ledger_counts", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })?;
    let share = crate::kit::percent(u64::try_from(all - red).unwrap_or(0), u64::try_from(all).unwrap_or(0));
    let codes: Vec<String> = conn
        .prepare("SELECT qc_code, sum(partitions) FROM ledger_counts WHERE status = 'RED' AND partitions > 0 GROUP BY 1 ORDER BY 2 DESC LIMIT 4")?
        .query_map([], |r| Ok(text!("{} {}", r.get::<_, i64>(1)?, r.get::<_, String>(0)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(vec![match (all, red) {
        (0, _) => Finding::pass("nothing was judged yet"),
        (all, 0) => Finding::pass(text!("{all} partitions, none RED")),
        // A few bad days of a vendor are the data's own story; much RED is a gap of ours.
        (all, red) if red * 1000 <= all => Finding::pass(text!("{share} of {all} partitions are not RED ({})", codes.join(", "))),
        (all, red) => Finding::warn(text!("{red} of {all} partitions are RED ({})", codes.join(", ")), full_audit(exam)),
    }])
}

fn export(exam: &Exam) -> Result<Vec<Finding>> {
    let Some((root, db)) = exam.root.as_ref().and_then(|r| Some((r, sound(r)?))) else { return Ok(Vec::new()) };
    let rows = ledger::all_rows(&db)?;
    let exported = store::read(root, &DataPath::new("qc/partition_status.parquet")?)?;
    let stale = |seen: String| Finding::warn(seen, exam.doctor_fix()).mended_by(Repair::Export);
    Ok(vec![match exported.map(ledger::read_export) {
        None if rows.is_empty() => Finding::pass("nothing to export yet"),
        None => stale("qc/partition_status.parquet is not there".into()),
        Some(Err(error)) => stale(text!("qc/partition_status.parquet cannot be read: {error}")),
        Some(Ok(seen)) => match ledger::differences(seen, rows.clone()).len() {
            0 => Finding::pass(text!("{} rows, the same", rows.len())),
            n => stale(text!("{n} of {} rows differ: it was not exported since", rows.len())),
        },
    }])
}

/// The day that backups are dated by: a practice drive lives in its world's time, which its newest session tells.
pub(super) fn today(root: &DataRoot) -> Result<UtcTime> {
    let newest = if root.is_world() { sound(root).map(|db| ledger::held(&db, table::RAW_EQUITIES_BARS)).transpose()?.flatten() } else { None };
    newest.map_or_else(|| Ok(root.host().now()), |held| UtcTime::parse(&format!("{}T00:00:00Z", held.end.plus_days(-1))))
}

fn backup(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = exam.root.as_ref().filter(|r| set_up(r)) else { return Ok(Vec::new()) };
    let newest = backups(root, Which::Journal)?.pop();
    let date = newest.as_ref().and_then(|p| p.as_str().rsplit('.').next()).and_then(|d| UtcTime::parse(&format!("{d}T00:00:00Z")).ok());
    let now = today(root)?;
    Ok(vec![match date {
        Some(at) if now.seconds_since(at).abs() <= BACKUP_DAYS * 86_400.0 => Finding::pass(newest.map_or(String::new(), |p| p.to_string())),
        Some(_) => {
            let seen = text!("the newest is {}", newest.map_or(String::new(), |p| p.to_string()));
            Finding::warn(seen, exam.doctor_fix()).mended_by(Repair::Backup)
        }
        None => Finding::warn("the journal and the registry were never backed up", exam.doctor_fix()).mended_by(Repair::Backup),
    }])
}
