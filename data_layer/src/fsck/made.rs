//! What was answered, and what was made from it: manifests, reference tables, records, exports, backups.

use super::Finding;
use crate::control::seal;
use crate::curate::{self, Deps};
use crate::error::{Error, Result, code};
use crate::export;
use crate::ledger::{
    self,
    scope::{self, Scope},
};
use crate::lost;
use crate::root::{DataPath, DataRoot};
use crate::segment::Manifest;
use crate::store;
use crate::vouch;
use crate::words::joined;
use rusqlite::Connection;

const MEND: &str = "trademl node audit --full (it is asked or made again)";

pub(super) fn manifests(damaged: &[(DataPath, Error)], out: &mut Vec<Finding>) {
    for (path, why) in damaged {
        out.push(Finding::fail("manifests", text!("{path} matches its name"), why.to_string(), MEND));
    }
    if damaged.is_empty() {
        out.push(Finding::pass("manifests", "every manifest matches its name"));
    }
}

/// Every question that the bookmarks remember is answered by a manifest. `conn` is the database, or a backup of it where it cannot be read.
pub(super) fn answers(conn: &Connection, manifests: &[(DataPath, Manifest)], out: &mut Vec<Finding>) -> Result<()> {
    let what = "every answer that was had is still there";
    let all: Vec<&Manifest> = manifests.iter().map(|(_, m)| m).collect();
    let lost = lost::find_in(conn, None, &all)?;
    if lost.is_empty() {
        out.push(Finding::pass("answers", what));
        return Ok(());
    }
    let about: Vec<String> =
        lost.iter().take(5).map(|l| text!("{} {} {} of {} to {}", l.vendor, l.dataset, l.symbol, l.range.0, l.range.1).trim().to_string()).collect();
    out.push(Finding::fail("answers", what, text!("{} are not: {}", lost.len(), joined(&about, "; ")), MEND));
    Ok(())
}

/// Reference tables and the exported ledger are what was written.
pub(super) fn tables(root: &DataRoot, out: &mut Vec<Finding>) -> Result<()> {
    let changed = vouch::changed(root)?;
    for (path, found) in &changed {
        out.push(Finding::fail("tables", text!("{path} is what was written"), *found, MEND));
    }
    let mut unvouched = vouch::unvouched(root, "reference")?;
    unvouched.extend(vouch::unvouched(root, "qc")?.into_iter().filter(|p| p.as_str() == ledger::EXPORT));
    for path in &unvouched {
        out.push(Finding::warn("tables", text!("{path} is what was written"), "its digest is not there", MEND));
    }
    if changed.is_empty() && unvouched.is_empty() {
        out.push(Finding::pass("tables", "reference tables and the exported ledger are what was written"));
    }
    Ok(())
}

/// The small records below `qc/` match their own digests; the list of curated files is there where there are such files.
pub(super) fn records(root: &DataRoot, out: &mut Vec<Finding>) {
    let what = |path: &str| text!("{path} matches its own digest");
    let scope = DataPath::new(scope::PATH).and_then(|p| store::read_signed::<Scope>(root, &p)).map(|found| found.is_some());
    let deps = DataPath::new(curate::DEPS).and_then(|p| store::read_signed::<Deps>(root, &p)).map(|found| found.is_some());
    let any = |folder: &str| DataPath::new(folder).and_then(|p| store::list(root, &p)).is_ok_and(|all| !all.is_empty());
    for (path, read, needed) in [(scope::PATH, scope, any(curate::FOLDER)), (curate::DEPS, deps, any(curate::FOLDER))] {
        out.push(match read {
            Err(error) => Finding::fail("records", what(path), error.to_string(), MEND),
            Ok(false) if needed => Finding::fail("records", text!("{path} is there"), "no such file", MEND),
            Ok(_) => Finding::pass("records", what(path)),
        });
    }
}

pub(super) fn exports(root: &DataRoot, out: &mut Vec<Finding>) -> Result<()> {
    let damaged = export::damaged(root)?;
    for (path, _) in &damaged {
        out.push(Finding::fail("exports", text!("{path} is what was exported"), code::SSD_DAMAGED.id, MEND));
    }
    if damaged.is_empty() {
        out.push(Finding::pass("exports", "the nightly exports are what was exported"));
    }
    Ok(())
}

pub(super) fn backups(root: &DataRoot, out: &mut Vec<Finding>) -> Result<()> {
    let broken = seal::broken_backups(root)?;
    for path in &broken {
        out.push(Finding::fail("backups", text!("{path} is what was backed up"), "other bytes, or none", "trademl node audit --full (it is removed)"));
    }
    if broken.is_empty() {
        out.push(Finding::pass("backups", "every backup is what was backed up"));
    }
    Ok(())
}
