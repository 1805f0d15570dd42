//! The SQLite files on the drive: pragmas, migrations, the schema gate, backup.
//!
//! `control/node.sqlite` (queue, ledger, budgets) can be rebuilt from the files; `control/journal.sqlite` (runs, orders,
//! switches) and `models/registry.sqlite` (models, trials) cannot, and are in the nightly backup.

use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::schema::{APPLICATION_ID, VERSIONS};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

pub mod seal;

/// Which of the three databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Node,
    Journal,
    Registry,
}

impl Which {
    pub fn path(self) -> &'static str {
        match self {
            Self::Node => "control/node.sqlite",
            Self::Journal => "control/journal.sqlite",
            Self::Registry => "models/registry.sqlite",
        }
    }
    fn version(self) -> u32 {
        match self {
            Self::Node => VERSIONS.node,
            Self::Journal => VERSIONS.journal,
            Self::Registry => VERSIONS.registry,
        }
    }
    /// Statements that bring version n to n + 1, in order.
    fn migrations(self) -> &'static [&'static str] {
        match self {
            Self::Node => &[
                include_str!("node_1.sql"),
                include_str!("node_2.sql"),
                include_str!("node_3.sql"),
                include_str!("node_4.sql"),
                include_str!("node_5.sql"),
                include_str!("node_6.sql"),
            ],
            Self::Journal => &[include_str!("journal_1.sql"), include_str!("journal_2.sql"), include_str!("journal_3.sql")],
            Self::Registry => &[include_str!("registry_1.sql"), include_str!("registry_2.sql"), include_str!("registry_3.sql")],
        }
    }
}

/// Statements that stay compiled: more than a drain, an audit or a trading day goes through in turn.
const STATEMENTS_KEPT: usize = 64;

/// How long another process that holds the database is waited for.
const WAIT: Duration = Duration::from_secs(30);

/// An open database. Calls are short; one connection behind a mutex serves a process.
pub struct Db {
    root: DataRoot,
    which: Which,
    conn: Mutex<Connection>,
    /// Waits for another process that ended in vain.
    in_vain: AtomicU64,
}

impl Db {
    /// Open, creating and migrating as needed. A newer schema is refused with exit 8; an older one is backed up first.
    pub fn open(root: &DataRoot, which: Which) -> Result<Self> {
        let path = DataPath::new(which.path())?;
        let place = root.locate(&path);
        if let Some(folder) = place.parent() {
            crate::store::create_folder(folder)?;
        }
        let mut conn = Connection::open(&place).map_err(|e| Error::from(e).during(&text!("opening {path}")))?;
        configure(root, which, &conn)?;
        migrate(root, which, &mut conn)?;
        Ok(Self { root: root.clone(), which, conn: Mutex::new(conn), in_vain: AtomicU64::new(0) })
    }

    /// The connection, for reads. A poisoned lock is a bug of ours.
    pub fn lock(&self) -> Result<MutexGuard<'_, Connection>> {
        self.conn.lock().map_err(|_| Error::bug("a thread died while holding a database"))
    }

    /// Run `f` in one `BEGIN IMMEDIATE` transaction; committed (and on the platter) when this returns `Ok`. Another process that holds the
    /// database is waited for once: whoever stood in line meanwhile has waited as long, and gives up too.
    pub fn write<T>(&self, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.in_line(|conn| self.write_on(conn, f))
    }

    /// [`Self::write`] for a change that adds thousands of rows. In a write-ahead log every new page goes to the drive twice, to the log
    /// and from there to the database; with a rollback journal it goes to its place at once, and as durably. Where anybody else has the
    /// database open the log stays: that is not waited for.
    pub fn write_much<T>(&self, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.in_line(|conn| {
            seal::lift(&self.root, self.which)?;
            let apart = keeps_journal(conn, "WAL")? && changes_journal(conn, "TRUNCATE")?;
            let written = self.write_on(conn, f);
            if apart {
                // Who came in meanwhile may be reading: then the next who opens the database brings the log back.
                changes_journal(conn, "WAL")?;
            }
            written
        })
    }

    /// Wait for the connection, and give up with whoever waited in vain meanwhile.
    fn in_line<T>(&self, f: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let before = self.in_vain.load(Ordering::SeqCst);
        let mut conn = self.lock()?;
        if self.in_vain.load(Ordering::SeqCst) != before {
            return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None).into());
        }
        let written = f(&mut conn);
        if matches!(&written, Err(e) if e.is(code::SSD_HELD)) {
            self.in_vain.fetch_add(1, Ordering::SeqCst);
        }
        written
    }

    fn write_on<T>(&self, conn: &mut Connection, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        seal::lift(&self.root, self.which)?;
        let value = f(&tx)?;
        let (before, after) = match self.which {
            Which::Registry => ("registry.commit.before", "registry.commit.after"),
            _ => ("control.commit.before", "control.commit.after"),
        };
        self.root.host().failpoint(before)?;
        tx.commit()?;
        self.root.host().failpoint(after)?;
        Ok(value)
    }

    /// The seal, where there is one, and `PRAGMA integrity_check`: `Ok(())`, or the first complaint.
    pub fn integrity_check(&self) -> Result<()> {
        seal::check(&self.root, self.which)?;
        let verdict: String = self.lock()?.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
        if verdict == "ok" { Ok(()) } else { Err(Error::new(code::SSD_DAMAGED, text!("{} is damaged", self.which.path())).found(verdict)) }
    }

    /// Copy the database to `control/backup/<file>.<suffix>` with SQLite's online backup.
    pub fn backup(&self, suffix: &str) -> Result<DataPath> {
        backup_connection(&self.root, self.which, &*self.lock()?, suffix)
    }

    /// Checkpoint and leave WAL, so that the drive can be unplugged with a single file per database.
    pub fn close_for_unplug(&self) -> Result<()> {
        let conn = self.lock()?;
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        conn.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))?;
        Ok(())
    }

    pub fn root(&self) -> &DataRoot {
        &self.root
    }
}

/// Backups of one database that are kept; the oldest goes first.
pub const BACKUPS_KEPT: usize = 7;

/// The nightly backup of all three databases, each read back before it counts, older ones than [`BACKUPS_KEPT`] removed.
/// `day` is the machine's date.
pub fn nightly_backup(root: &DataRoot, day: &str) -> Result<Vec<DataPath>> {
    let mut out = Vec::new();
    for which in [Which::Node, Which::Journal, Which::Registry] {
        let path = Db::open(root, which)?.backup(&format!("{day}.new"))?;
        let place = root.locate(&path);
        let copy = Connection::open(&place)?;
        let verdict: String = copy.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
        let version: u32 = copy.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        drop(copy);
        if verdict != "ok" || version != which.version() {
            crate::store::remove(root, &path)?;
            return Err(Error::new(code::SSD_DAMAGED, text!("the backup of {} is not good", which.path())).found(verdict).fix("trademl fsck"));
        }
        let name = which.path().rsplit('/').next().unwrap_or("db");
        let kept = DataPath::new(format!("control/backup/{name}.{day}"))?;
        // The seal of an earlier backup of this day would condemn the new one, were this process to die in between.
        seal::lift_from(root, &kept)?;
        // Renamed, never read: the database of a stage 1 drive does not fit a Pi's memory.
        crate::store::rename(root, &path, &kept)?;
        seal::lay_on(root, &kept)?;
        prune(root, name)?;
        out.push(kept);
    }
    Ok(out)
}

/// The newest backup of a database whose bytes are what they were when it was made, opened to be read; none where there is no such.
pub fn newest_backup(root: &DataRoot, which: Which) -> Result<Option<Connection>> {
    let name = which.path().rsplit('/').next().unwrap_or("db");
    let prefix = format!("control/backup/{name}.");
    let broken = seal::broken_backups(root)?;
    let all = crate::store::list(root, &DataPath::new("control/backup")?)?;
    let mut good: Vec<DataPath> =
        all.into_iter().filter(|p| p.as_str().starts_with(&prefix) && !p.as_str().ends_with(".seal") && !broken.contains(p)).collect();
    good.sort();
    let Some(newest) = good.pop() else { return Ok(None) };
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Some(Connection::open_with_flags(root.locate(&newest), flags)?))
}

/// Remove dated backups beyond the newest ones; those made before a migration or a rebuild stay.
fn prune(root: &DataRoot, name: &str) -> Result<()> {
    let prefix = format!("control/backup/{name}.");
    let dated = |p: &DataPath| p.as_str().strip_prefix(&prefix).is_some_and(|rest| rest.parse::<crate::time::TradingDay>().is_ok());
    let mut all = crate::store::list(root, &DataPath::new("control/backup")?)?;
    all.retain(dated);
    let extra = all.len().saturating_sub(BACKUPS_KEPT);
    all.iter().take(extra).try_for_each(|path| seal::remove_backup(root, path))
}

fn backup_connection(root: &DataRoot, which: Which, conn: &Connection, suffix: &str) -> Result<DataPath> {
    let name = which.path().rsplit('/').next().unwrap_or("db");
    let path = DataPath::new(format!("control/backup/{name}.{suffix}"))?;
    let place = root.locate(&path);
    if let Some(folder) = place.parent() {
        crate::store::create_folder(folder)?;
    }
    let mut target = Connection::open(place)?;
    rusqlite::backup::Backup::new(conn, &mut target)?.run_to_completion(512, Duration::ZERO, None)?;
    Ok(path)
}

fn keeps_journal(conn: &Connection, mode: &str) -> Result<bool> {
    let is: String = conn.query_row("PRAGMA journal_mode", [], |r| r.get(0))?;
    Ok(is.eq_ignore_ascii_case(mode))
}

/// Ask for a journal mode that only a database nobody else has open can change to. Whether it has it now: not waited for.
fn changes_journal(conn: &Connection, mode: &str) -> Result<bool> {
    conn.busy_timeout(Duration::ZERO)?;
    let asked = conn.query_row(&format!("PRAGMA journal_mode={mode}"), [], |r| r.get::<_, String>(0));
    conn.busy_timeout(WAIT)?;
    match asked {
        Ok(now) => Ok(now.eq_ignore_ascii_case(mode)),
        Err(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn configure(root: &DataRoot, which: Which, conn: &Connection) -> Result<()> {
    let wal = root.drive().fs.probe.wal;
    conn.busy_timeout(WAIT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // No plan depends on a bound value. Left to itself, SQLite compiles a statement anew each time when a bound column is compared beside a
    // partial index: leasing a task cost ten times its work.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let wanted = if wal { "WAL" } else { "TRUNCATE" };
    if wal && !keeps_journal(conn, wanted)? && seal::is_laid(root, which)? {
        // The change below is written into the file: what the seal says is looked at now or never.
        seal::check(root, which)?;
        seal::lift(root, which)?;
    }
    let got: String = conn.query_row(&format!("PRAGMA journal_mode={wanted}"), [], |r| r.get(0))?;
    if wal && !got.eq_ignore_ascii_case("wal") {
        conn.query_row("PRAGMA journal_mode=TRUNCATE", [], |_| Ok(()))?;
    }
    conn.execute_batch("PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; PRAGMA foreign_keys=ON;")?;
    Ok(())
}

fn migrate(root: &DataRoot, which: Which, conn: &mut Connection) -> Result<()> {
    let have: u32 = conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let want = which.version();
    if have == want {
        return Ok(());
    }
    if have > want {
        return Err(Error::new(code::SSD_NEWER, text!("{} was written by a newer TradeML", which.path()))
            .found(text!("its schema is {have}, this binary knows {want}"))
            .fix("install the newer version, then run the same command"));
    }
    if have > 0 {
        backup_connection(root, which, conn, &format!("before-v{want}"))?;
    }
    seal::lift(root, which)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now_at: u32 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    for step in which.migrations().iter().skip(now_at as usize) {
        tx.execute_batch(step)?;
    }
    tx.execute_batch(&format!("PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={want};"))?;
    tx.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests;
