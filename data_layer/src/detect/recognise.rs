//! Existing state on a drive: whose it is, how far it came, what is left. Reads only.

use crate::attach::AttachRecord;
use crate::host::Host;
use crate::root::{Drive as Sentinel, SENTINEL};
use crate::time::UtcTime;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A wizard run that was opened and not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    pub run_id: String,
    pub wizard: String,
    /// The last step that was journalled.
    pub last_step: String,
    pub steps_done: u64,
    /// As written by the machine that ran it; for people only.
    pub at: String,
}

/// What was found under a directory that holds a sentinel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Existing {
    /// Where it is on this machine.
    pub path: String,
    /// `None` when the sentinel cannot be understood (damaged, or of a newer version).
    pub sentinel: Option<Sentinel>,
    pub attached: Option<AttachRecord>,
    /// The last attachment was by this machine.
    pub this_machine: bool,
    pub open_runs: Vec<OpenRun>,
    /// Queue rows by status: PENDING, LEASED, DONE, FAILED.
    pub queue: BTreeMap<String, u64>,
    /// Ledger rows by colour.
    pub ledger: BTreeMap<String, u64>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

impl Existing {
    /// One line: whose, how far, what is left.
    pub fn summary(&self) -> String {
        let whose = match (&self.attached, self.this_machine) {
            (Some(_), true) => "last used by this machine".to_string(),
            (Some(a), false) => text!("last used by node '{}' on another machine", a.node_id),
            (None, _) => "never attached".to_string(),
        };
        let when = self.attached.as_ref().map_or(String::new(), |a| text!(" at {}", a.heartbeat_at));
        let count = |key: &str| self.queue.get(key).copied().unwrap_or(0);
        let total: u64 = self.queue.values().sum();
        let queue = if total == 0 {
            "no tasks yet".to_string()
        } else {
            text!("{} of {total} tasks done, {} left, {} failed", count("DONE"), count("PENDING") + count("LEASED"), count("FAILED"))
        };
        let runs = match self.open_runs.as_slice() {
            [] => "no open run".to_string(),
            [one] => text!("'{}' stopped after step '{}'", one.wizard, one.last_step),
            many => text!("{} open runs", many.len()),
        };
        let dataset = self.sentinel.as_ref().map_or("unreadable sentinel".to_string(), |s| text!("dataset {}", s.dataset));
        format!("{dataset}, {whose}{when}; {queue}; {runs}")
    }
}

/// Sentinels directly on a drive or one folder down, in sorted order. At most 64 folders are looked into.
pub fn on_drive(host: &Host, mount_point: &str) -> Vec<Existing> {
    let base = super::place(host, mount_point);
    let mut folders: Vec<_> = std::fs::read_dir(&base).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders.truncate(64);
    folders.insert(0, base);
    folders
        .iter()
        .filter_map(|place| {
            let mut found = existing(host, place)?;
            found.path = super::mounts::logical(host, place);
            Some(found)
        })
        .collect()
}

/// What is under one directory; `None` without a sentinel.
pub fn existing(host: &Host, dir: &Path) -> Option<Existing> {
    let text = std::fs::read_to_string(dir.join(SENTINEL)).ok()?;
    let mut problems = Vec::new();
    let sentinel = serde_json::from_str::<Sentinel>(&text).map_err(|e| problems.push(format!("{SENTINEL}: {e}"))).ok();
    let attached: Option<AttachRecord> = std::fs::read(dir.join(crate::attach::ATTACH_FILE)).ok().and_then(|b| serde_json::from_slice(&b).ok());
    let mut query = |file: &str, f: &mut dyn FnMut(&Connection) -> rusqlite::Result<()>| {
        let place = dir.join(file);
        if !place.exists() {
            return;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if let Err(e) = Connection::open_with_flags(&place, flags).and_then(|c| f(&c)) {
            problems.push(format!("{file}: {e}"));
        }
    };
    let (mut open_runs, mut queue, mut ledger) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    query("control/journal.sqlite", &mut |c| {
        open_runs = read_runs(c)?;
        Ok(())
    });
    query("control/node.sqlite", &mut |c| {
        queue = counts(c, "SELECT status, sum(tasks) FROM queue_counts WHERE tasks > 0 GROUP BY status")?;
        ledger = counts(c, "SELECT status, sum(partitions) FROM ledger_counts WHERE partitions > 0 GROUP BY status")?;
        Ok(())
    });
    let this_machine = attached.as_ref().is_some_and(|a| a.machine_id == host.machine_id());
    Some(Existing { path: dir.display().to_string(), sentinel, attached, this_machine, open_runs, queue, ledger, problems })
}

fn counts(c: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<String, u64>> {
    c.prepare(sql)?.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs())))?.collect()
}

fn read_runs(c: &Connection) -> rusqlite::Result<Vec<OpenRun>> {
    let sql = "SELECT run_id, wizard,
        coalesce((SELECT step FROM journal s WHERE s.run_id = o.run_id AND s.step <> '' ORDER BY s.seq DESC LIMIT 1), ''),
        (SELECT count(DISTINCT step) FROM journal d WHERE d.run_id = o.run_id AND d.kind = 'done'),
        (SELECT at FROM journal l WHERE l.run_id = o.run_id ORDER BY l.seq DESC LIMIT 1)
        FROM journal o WHERE kind = 'opened' AND NOT EXISTS (SELECT 1 FROM journal z WHERE z.run_id = o.run_id AND z.kind = 'closed')
        GROUP BY run_id, wizard ORDER BY min(seq)";
    let row = |r: &rusqlite::Row<'_>| {
        let done: i64 = r.get(3)?;
        Ok(OpenRun { run_id: r.get(0)?, wizard: r.get(1)?, last_step: r.get(2)?, steps_done: done.unsigned_abs(), at: r.get(4)? })
    };
    c.prepare(sql)?.query_map([], row)?.collect()
}

/// How long ago a heartbeat was, in words; clocks of two machines may disagree, so this is for people only.
pub fn ago(now: UtcTime, then: UtcTime) -> String {
    let seconds = now.seconds_since(then);
    match seconds {
        s if s < 0.0 => "in this clock's future".into(),
        s if s < 120.0 => text!("{s:.0} seconds ago"),
        s if s < 7_200.0 => text!("{:.0} minutes ago", s / 60.0),
        s if s < 172_800.0 => text!("{:.0} hours ago", s / 3_600.0),
        s => text!("{:.0} days ago", s / 86_400.0),
    }
}
