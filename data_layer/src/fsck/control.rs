//! The control databases: whole, and in agreement with the files.

use super::{Finding, NAMED};
use crate::control::{Db, Which, seal};
use crate::error::Result;
use crate::ledger::digests;
use crate::root::{DataPath, DataRoot};
use crate::segment::Manifest;
use std::collections::BTreeMap;

pub(super) fn databases(root: &DataRoot, out: &mut Vec<Finding>) {
    for which in [Which::Node, Which::Journal, Which::Registry] {
        let id = "database";
        let what = text!("{} is intact", which.path());
        let there = DataPath::new(which.path()).is_ok_and(|p| root.locate(&p).exists());
        if !there && seal::check(root, which).is_err() {
            out.push(Finding::fail(id, what, "no such file", "trademl doctor (it says what brings it back)"));
            continue;
        }
        if !there {
            // The registry and the journal come with their first use; a lost node.sqlite is made again from the files.
            if which == Which::Node {
                out.push(Finding::warn(id, what, "no such file", "trademl pi-data-node (it is made again from the files)"));
            }
            continue;
        }
        match Db::open(root, which).and_then(|db| db.integrity_check()) {
            Ok(()) => out.push(Finding::pass(id, what)),
            Err(error) => out.push(Finding::of_error(id, &what, &error)),
        }
    }
}

/// Rows of `segments` against the manifests. A manifest without its rows is only work left over: it is adopted at the next start.
pub(super) fn segment_rows(db: &Db, manifests: &[(DataPath, Manifest)], out: &mut Vec<Finding>) -> Result<()> {
    let what = "the segments table agrees with the manifests";
    let named: BTreeMap<&str, &str> = manifests.iter().flat_map(|(_, m)| m.segments.iter().map(|s| (s.path.as_str(), s.sha256.as_str()))).collect();
    let conn = db.lock()?;
    let rows: BTreeMap<String, String> =
        conn.prepare("SELECT path, sha256 FROM segments")?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let adrift: Vec<&String> = rows.iter().filter(|(path, sha256)| named.get(path.as_str()) != Some(&sha256.as_str())).map(|(path, _)| path).collect();
    for path in adrift.iter().take(NAMED) {
        out.push(Finding::fail("segments", what, text!("{path} has a row and no manifest that agrees with it"), "trademl node audit --full"));
    }
    if adrift.len() > NAMED {
        out.push(Finding::fail("segments", what, text!("{} more have none either", adrift.len() - NAMED), "trademl node audit --full"));
    }
    if !adrift.is_empty() {
        return Ok(());
    }
    match named.keys().filter(|path| !rows.contains_key(**path)).count() {
        0 => out.push(Finding::pass("segments", what)),
        n => out.push(Finding::warn("segments", what, text!("{n} segments are not in the table yet"), "nothing: they are adopted at the next start")),
    }
    Ok(())
}

/// Rows of the ledger against the digests of the audit that wrote them.
pub(super) fn ledger(db: &Db, out: &mut Vec<Finding>) {
    let what = "the ledger says what the last audit wrote";
    out.push(match digests::changed(db).map(|all| all.into_iter().next()) {
        Ok(None) => Finding::pass("ledger", what),
        Ok(Some(s)) => {
            let found = text!("other rows of {} {} {} in {}", s.table, s.key, s.symbol, s.days);
            Finding::fail("ledger", what, found, "trademl node audit --full (it judges again and writes what differs)")
        }
        Err(error) => Finding::of_error("ledger", what, &error),
    });
}

/// What must always hold of the queue.
const QUEUE: [(&str, &str); 4] = [
    ("no task exists twice", "SELECT count(*) FROM (SELECT 1 FROM backfill_queue GROUP BY dataset, symbol, start_date, end_date, kind HAVING count(*) > 1)"),
    ("every finished task has an outcome", "SELECT count(*) FROM backfill_queue WHERE status='DONE' AND ifnull(outcome,'')=''"),
    ("every leased task has an owner", "SELECT count(*) FROM backfill_queue WHERE status='LEASED' AND (lease_owner IS NULL OR lease_expires_at IS NULL)"),
    ("every window is half-open and not empty", "SELECT count(*) FROM backfill_queue WHERE start_date >= end_date"),
];

pub(super) fn queue(db: &Db, out: &mut Vec<Finding>) -> Result<()> {
    let conn = db.lock()?;
    for (what, sql) in QUEUE {
        match conn.query_row(sql, [], |r| r.get::<_, i64>(0))? {
            0 => out.push(Finding::pass("queue", what)),
            n => out.push(Finding::fail("queue", what, text!("{n} tasks"), "rename control/node.sqlite; it is made again from the files")),
        }
    }
    Ok(())
}
