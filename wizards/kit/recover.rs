//! A journal that cannot be trusted: kept aside as it is, and cut back to what can.
//!
//! Records after the first one whose hash does not follow are dropped from the journal, never edited. Nothing is lost that
//! the drive or the broker does not know: an answer is asked again, an act finds its work done, an order is looked up by its
//! id before it could be sent. Orders and fills have tables of their own and are not touched by a cut.

use super::journal::Journal;
use super::question::{Choice, Question};
use data_layer::attach;
use data_layer::control::{Db, Which, seal};
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use rusqlite::params;

/// Asked where a wizard meets a broken chain. It has no step: there is no journal to record it in.
pub fn question() -> Question {
    let choices = vec![Choice::new("mend", "mend it: keep it aside, go on from the records that follow"), Choice::new("leave", "leave everything as it is")];
    Question::select("journal.mend", "Mend the journal?", choices)
        .default("mend", "nothing that the drive or the broker knows is lost")
        .help("The broken journal stays in control/backup. Dropped answers are asked again; work finds what it did; an order is looked up by its id first.")
}

/// What a recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The damaged journal as it was, below the root.
    pub kept_aside: Option<DataPath>,
    /// The backup that took its place, where the file itself was unreadable.
    pub restored: Option<DataPath>,
    pub kept: i64,
    pub dropped: i64,
}

impl Recovery {
    /// What a person is told.
    pub fn lines(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(aside) = &self.kept_aside {
            out.push(text!("the journal as it was is kept as {aside}"));
        }
        if let Some(backup) = &self.restored {
            out.push(text!("restored from {backup}: what happened since is asked again, or found on the drive and at the broker"));
        }
        match (self.dropped, self.kept_aside.is_some()) {
            (0, false) => out.push(text!("the journal is sound: {} records, every hash follows", self.kept)),
            (0, true) => {}
            (n, _) => out.push(text!("{} records kept, {n} dropped after the break; their steps are settled again from the facts on the drive", self.kept)),
        }
        out
    }
}

/// Bring the journal to a state whose chain is whole. A sound journal is left alone.
pub fn recover(root: &DataRoot) -> Result<Recovery> {
    let busy = attach::busy(root)?;
    if !busy.is_empty() {
        return Err(Error::new(code::SSD_HELD, "somebody is writing to this journal")
            .found(busy.join("; "))
            .fix("stop it first (Ctrl-C in its window), then run the same command"));
    }
    mend(root)
}

/// [`recover`] by whoever holds the drive.
pub fn mend(root: &DataRoot) -> Result<Recovery> {
    let _turn = attach::wait_lock(root, "attach")?;
    let opened = Db::open(root, Which::Journal).and_then(|db| db.integrity_check().map(|()| db));
    match opened {
        Ok(db) => cut(root, &db),
        Err(error) if error.is(code::SSD_DAMAGED) || error.is(code::SSD_DATABASE) => replace(root),
        Err(error) => Err(error),
    }
}

/// Drop everything from the first record on that does not follow from the ones before it.
fn cut(root: &DataRoot, db: &Db) -> Result<Recovery> {
    let count = |sql: &str| -> Result<i64> { Ok(db.lock()?.query_row(sql, [], |r| r.get(0))?) };
    let all = count("SELECT count(*) FROM journal")?;
    let Some(broken) = Journal::unverified(root)?.first_break()? else {
        return Ok(Recovery { kept: all, ..Recovery::default() });
    };
    let aside = db.backup(&free_name(root)?)?;
    let dropped = db.write(|tx| {
        tx.execute(
            "INSERT INTO meta (key, value) VALUES ('mended', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![broken.seq.to_string()],
        )?;
        Ok(tx.execute("DELETE FROM journal WHERE seq >= ?1", params![broken.seq])?)
    })?;
    let dropped = i64::try_from(dropped).unwrap_or(0);
    Ok(Recovery { kept_aside: Some(aside), restored: None, kept: all - dropped, dropped })
}

/// The file itself is unreadable: put it aside, and take the newest backup whose chain is whole, or begin a new journal.
#[allow(clippy::disallowed_methods)] // a damaged database is put aside, not written
fn replace(root: &DataRoot) -> Result<Recovery> {
    let aside = DataPath::new(format!("control/backup/journal.sqlite.{}", free_name(root)?))?;
    store::create_folder(&root.locate(&DataPath::new("control/backup")?))?;
    seal::forget(root, Which::Journal)?;
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let from = root.locate(&DataPath::new(format!("{}{suffix}", Which::Journal.path()))?);
        match std::fs::rename(&from, root.locate(&DataPath::new(format!("{aside}{suffix}"))?)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    let mut out = Recovery { kept_aside: Some(aside), ..Recovery::default() };
    for backup in backups(root, Which::Journal)?.into_iter().rev() {
        let bytes = store::read(root, &backup)?.unwrap_or_default();
        store::write_atomic(root, &DataPath::new(Which::Journal.path())?, &bytes)?;
        let sound = Db::open(root, Which::Journal).and_then(|db| db.integrity_check()).and_then(|()| Journal::unverified(root)?.verify_chain());
        if sound.is_ok() {
            out.restored = Some(backup);
            break;
        }
        std::fs::remove_file(root.locate(&DataPath::new(Which::Journal.path())?))?;
    }
    // The generation must never fall: an older writer would be let in again.
    let db = Db::open(root, Which::Journal)?;
    let known = attach::read_record(root)?.map_or(0, |r| r.generation);
    let generation = known.max(attach::current_generation(&*db.lock()?)?);
    db.write(|tx| {
        let put = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        tx.execute(put, ["generation", &generation.to_string()])?;
        tx.execute(put, ["drive_id", &root.drive().drive_id])?;
        tx.execute(put, ["mended", "file"])?;
        Ok(())
    })?;
    out.kept = db.lock()?.query_row("SELECT count(*) FROM journal", [], |r| r.get(0))?;
    Ok(out)
}

/// Dated backups of a database, oldest first.
pub fn backups(root: &DataRoot, which: Which) -> Result<Vec<DataPath>> {
    let name = which.path().rsplit('/').next().unwrap_or_default();
    let dated = |p: &DataPath| p.file_name().strip_prefix(name).and_then(|s| s.strip_prefix('.')).is_some_and(|s| s.len() == 10 && s.starts_with("20"));
    let mut out: Vec<DataPath> = store::list(root, &DataPath::new("control/backup")?)?.into_iter().filter(|p| dated(p)).collect();
    out.sort();
    Ok(out)
}

/// A suffix that no earlier damaged journal has.
fn free_name(root: &DataRoot) -> Result<String> {
    for n in 1..1_000 {
        let suffix = format!("broken-{n}");
        if !root.locate(&DataPath::new(format!("control/backup/journal.sqlite.{suffix}"))?).exists() {
            return Ok(suffix);
        }
    }
    Err(Error::bug("a thousand broken journals"))
}
