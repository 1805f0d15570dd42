//! Who may write to a drive: one machine at a time by generation and heartbeat, and on that machine by OS locks.
//!
//! `control/attach.json` names the machine; `meta.generation` in the journal grows by one with every new attachment, and a
//! writer of an older generation is fenced off with `SSD_TAKEN_OVER`. Processes of the same machine and boot share the
//! generation: they are kept apart by the locks of [`lock`], so that different wizards can run side by side.

mod locks;

use crate::control::{Db, Which};
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::store;
use crate::time::UtcTime;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::Duration;

pub use locks::{Guard, account_lock, busy, is_locked, lock, wait_lock, wizard_lock};

/// Where the attachment is recorded, below the root.
pub const ATTACH_FILE: &str = "control/attach.json";
/// Seconds between two heartbeats.
pub const HEARTBEAT_SECONDS: u64 = 30;
/// A heartbeat of another machine that is younger than this (seconds) holds the drive.
pub const HELD_SECONDS: f64 = 120.0;
/// How long a possibly dead heartbeat is watched (seconds).
pub const WATCH_SECONDS: u64 = 5;

/// The contents of `control/attach.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRecord {
    pub machine_id: String,
    pub boot_id: String,
    /// A label for people; decides nothing.
    pub node_id: String,
    pub generation: u64,
    pub attached_at: UtcTime,
    pub heartbeat_at: UtcTime,
    /// Set by [`Attachment::detach`]: the drive was left in order and may be attached elsewhere at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<UtcTime>,
}

/// This process's right to write.
#[derive(Debug)]
pub struct Attachment {
    root: DataRoot,
    record: Mutex<AttachRecord>,
    generation: u64,
    /// What the drive looked like before: for the "last used by" line.
    previous: Option<AttachRecord>,
}

/// Attach the drive to this machine. Another machine with a live heartbeat holds it (exit 7); with `watch`, a heartbeat that
/// seems old is watched for 5 seconds first, because two machines' clocks may disagree.
pub fn attach(root: &DataRoot, node_id: &str, watch: bool) -> Result<Attachment> {
    let previous = read_record(root)?;
    if let Some(record) = &previous {
        refuse_if_held(root, record)?;
        if watch && is_foreign(root, record) && record.released_at.is_none() {
            watch_heartbeat(root, record)?;
        }
    }
    claim(root, node_id, previous)
}

/// Attach although another machine seems alive: after a typed confirmation. The other one's next write fails with
/// `SSD_TAKEN_OVER`.
pub fn take_over(root: &DataRoot, node_id: &str) -> Result<Attachment> {
    let previous = read_record(root)?;
    claim(root, node_id, previous)
}

/// The record as it is on the drive; `None` when the drive was never attached. A damaged record counts as none: the
/// generation in the journal still fences older writers.
pub fn read_record(root: &DataRoot) -> Result<Option<AttachRecord>> {
    Ok(store::read(root, &DataPath::new(ATTACH_FILE)?)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The generation that may write. 0 before the first attachment.
pub fn current_generation(journal: &Connection) -> Result<u64> {
    let text: Option<String> = journal.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |r| r.get(0)).optional()?;
    text.map_or(Ok(0), |t| t.parse().map_err(|_| Error::new(code::SSD_DAMAGED, "the journal's generation is not a number").found(t)))
}

/// Refuse to write with an older generation: call it in the transaction of every journal append and order write.
pub fn check_generation(journal: &Connection, mine: u64) -> Result<()> {
    let now = current_generation(journal)?;
    if now == mine {
        return Ok(());
    }
    Err(Error::new(code::SSD_TAKEN_OVER, "another machine or boot has taken this drive over")
        .found(text!("this process attached as generation {mine}, the drive is at generation {now}"))
        .fix("continue where the drive is attached now, or start the same command here again"))
}

impl Attachment {
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Who used the drive before this process.
    pub fn previous(&self) -> Option<&AttachRecord> {
        self.previous.as_ref()
    }
    /// Whether the last user was another machine: host-scope questions are asked again.
    pub fn moved_here(&self) -> bool {
        self.previous.as_ref().is_some_and(|p| is_foreign(&self.root, p))
    }

    /// Say "still here"; every [`HEARTBEAT_SECONDS`]. Fails with `SSD_TAKEN_OVER` when the drive was taken over.
    pub fn heartbeat(&self) -> Result<()> {
        self.rewrite(|record, now| {
            record.heartbeat_at = now;
            record.released_at = None;
        })
    }

    /// Leave the drive in order, so that another machine need not wait for the heartbeat to age. Happens by itself when the
    /// value is dropped; a killed process leaves a heartbeat that ages.
    pub fn detach(&self) -> Result<()> {
        let released = self.record.lock().is_ok_and(|r| r.released_at.is_some());
        if released { Ok(()) } else { self.rewrite(|record, now| record.released_at = Some(now)) }
    }

    fn rewrite(&self, change: impl FnOnce(&mut AttachRecord, UtcTime)) -> Result<()> {
        if let Some(on_drive) = read_record(&self.root)?
            && on_drive.generation > self.generation
        {
            return Err(Error::new(code::SSD_TAKEN_OVER, "another machine or boot has taken this drive over")
                .found(describe(&on_drive, self.root.host().now()))
                .fix("continue where the drive is attached now, or start the same command here again"));
        }
        let mut record = self.record.lock().map_err(|_| Error::bug("a thread died while writing the heartbeat"))?;
        change(&mut record, self.root.host().now());
        write_record(&self.root, &record)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        drop(self.detach());
    }
}

fn is_foreign(root: &DataRoot, record: &AttachRecord) -> bool {
    record.machine_id != root.host().machine_id()
}

fn refuse_if_held(root: &DataRoot, record: &AttachRecord) -> Result<()> {
    let now = root.host().now();
    let age = now.seconds_since(record.heartbeat_at).abs();
    if !is_foreign(root, record) || record.released_at.is_some() || age >= HELD_SECONDS {
        return Ok(());
    }
    Err(held(record, now))
}

fn watch_heartbeat(root: &DataRoot, before: &AttachRecord) -> Result<()> {
    let host = root.host();
    host.block_on(host.sleep(Duration::from_secs(WATCH_SECONDS)))?;
    host.check_cancelled()?;
    match read_record(root)? {
        Some(after) if after.heartbeat_at != before.heartbeat_at && is_foreign(root, &after) => Err(held(&after, host.now())),
        _ => Ok(()),
    }
}

fn held(record: &AttachRecord, now: UtcTime) -> Error {
    Error::new(code::SSD_HELD, "the drive is in use by another machine")
        .cause("its heartbeat is alive; two machines writing to one drive would damage it")
        .found(describe(record, now))
        .fix("stop TradeML there (Ctrl-C), or wait two minutes if that machine is off")
        .fix("if you are sure that nothing writes there: run the same command with --take-over")
}

fn describe(record: &AttachRecord, now: UtcTime) -> String {
    let age = now.seconds_since(record.heartbeat_at);
    text!(
        "node '{}' on machine {}, generation {}, last heartbeat {} ({age:.0} s ago by this clock)",
        record.node_id,
        record.machine_id,
        record.generation,
        record.heartbeat_at
    )
}

/// Bump the generation, or join it where this machine and boot already hold the drive. One process at a time does this.
fn claim(root: &DataRoot, node_id: &str, previous: Option<AttachRecord>) -> Result<Attachment> {
    let _turn = wait_lock(root, "attach")?;
    let host = root.host();
    let journal = Db::open(root, Which::Journal)?;
    let on_drive = read_record(root)?;
    let at = current_generation(&*journal.lock()?)?;
    let joins = on_drive.as_ref().is_some_and(|r| r.machine_id == host.machine_id() && r.boot_id == host.boot_id() && r.generation == at);
    let generation = if joins { at } else { at + 1 };
    let now = host.now();
    let attached_at = on_drive.as_ref().filter(|_| joins).map_or(now, |r| r.attached_at);
    let record = AttachRecord {
        machine_id: host.machine_id().into(),
        boot_id: host.boot_id().into(),
        node_id: node_id.into(),
        generation,
        attached_at,
        heartbeat_at: now,
        released_at: None,
    };
    if !joins {
        let drive_id = root.drive().drive_id.clone();
        journal.write(|tx| {
            let put = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            tx.execute(put, ["generation", &generation.to_string()])?;
            tx.execute(put, ["drive_id", &drive_id])?;
            Ok(())
        })?;
    }
    write_record(root, &record)?;
    Ok(Attachment { root: root.clone(), record: Mutex::new(record), generation, previous })
}

fn write_record(root: &DataRoot, record: &AttachRecord) -> Result<()> {
    store::write_atomic(root, &DataPath::new(ATTACH_FILE)?, &serde_json::to_vec(record)?)?;
    Ok(())
}

#[cfg(test)]
mod tests;
