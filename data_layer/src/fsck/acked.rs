//! What a test rig saw acknowledged (`RIG_ACKED` names a file of `ACK <kind> <id>` lines) must be on the drive.

use super::Finding;
use crate::control::{Db, Which};
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::segment::Manifest;
use crate::store;
use rusqlite::Connection;
use std::collections::BTreeSet;

pub(super) fn check(root: &DataRoot, manifests: &[(DataPath, Manifest)], out: &mut Vec<Finding>) -> Result<()> {
    let Some(list) = root.host().env("RIG_ACKED") else { return Ok(()) };
    let text = std::fs::read_to_string(list).map_err(|e| Error::new(code::USE_ARGUMENT, "RIG_ACKED cannot be read").cause(e.to_string()))?;
    let acked: BTreeSet<(&str, &str)> =
        text.lines().filter_map(|line| line.trim().strip_prefix("ACK ")).filter_map(|rest| rest.split_once(' ')).map(|(kind, id)| (kind, id.trim())).collect();
    let digests: BTreeSet<&str> = manifests.iter().flat_map(|(_, m)| m.segments.iter().map(|s| s.sha256.as_str())).collect();
    // A segment is acknowledged when its file is durable; its manifest follows. The file's name ends in its digest.
    let files: Vec<String> = store::list(root, &DataPath::new("raw")?)?.iter().map(|p| p.file_name().to_string()).collect();
    let has_file = |sha256: &str| sha256.get(..16).is_some_and(|start| files.iter().any(|f| f.contains(start)));
    let mut missing = Vec::new();
    for (kind, id) in &acked {
        let there = match *kind {
            "file" => DataPath::new(*id).is_ok_and(|p| root.locate(&p).exists()),
            "segment" => digests.contains(id) || has_file(id),
            "task" => id
                .parse::<i64>()
                .is_ok_and(|n| finds(root, Which::Node, "SELECT 1 FROM backfill_queue WHERE id=?1 AND status IN ('DONE','PENDING','LEASED')", n)),
            "journal" => id.parse::<i64>().is_ok_and(|n| finds(root, Which::Journal, "SELECT 1 FROM journal WHERE seq=?1", n)),
            "order" => finds(root, Which::Journal, "SELECT 1 FROM orders WHERE order_id=?1", *id),
            _ => true,
        };
        if !there {
            missing.push(format!("{kind} {id}"));
        }
    }
    let what = text!("{} acknowledged facts are on the drive", acked.len());
    match missing.first() {
        None => out.push(Finding::pass("acked", what)),
        Some(first) => {
            out.push(Finding::fail("acked", what, text!("{} are not, the first is {first}", missing.len()), "this is a durability defect: report it"))
        }
    }
    Ok(())
}

fn finds(root: &DataRoot, which: Which, sql: &str, value: impl rusqlite::ToSql) -> bool {
    // Opening a database that is not there would make an empty one: fsck changes nothing.
    if !DataPath::new(which.path()).is_ok_and(|p| root.locate(&p).exists()) {
        return false;
    }
    let look = |conn: &Connection| conn.prepare(sql)?.exists([value]);
    Db::open(root, which).ok().and_then(|db| db.lock().ok().and_then(|conn| look(&conn).ok())).unwrap_or(false)
}
