//! Taking, keeping, finishing and giving back rows of the queue.

use super::{Kind, MAX_ATTEMPTS, NOT_ENTITLED, count, counts};
use crate::error::Result;
use crate::time::{DateRange, TradingDay, UtcTime};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

/// Whoever takes leases: one value per drain. While it lives, its leases are respected by its own process; once it is
/// dropped, or the process is gone, they are void at once and nobody waits for their time to run out.
#[derive(Debug)]
pub struct Worker {
    pub node_id: String,
    pub boot_id: String,
    pub pid: u32,
    pub ttl: Duration,
    owner: String,
}

/// Owners alive in this process (a process id alone may be reused after a restart).
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn live() -> std::sync::MutexGuard<'static, BTreeSet<String>> {
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Worker {
    pub fn new(host: &crate::host::Host, node_id: &str, ttl: Duration) -> Self {
        let owner = format!("{node_id}:{}", hex::encode(host.random_bytes::<8>()));
        live().insert(owner.clone());
        Self { node_id: node_id.to_string(), boot_id: host.boot_id().to_string(), pid: host.pid(), ttl, owner }
    }
    /// What stands in `lease_owner`.
    pub fn owner(&self) -> &str {
        &self.owner
    }
    /// Whether the holder of a lease taken on this boot is still there.
    fn holder_alive(&self, owner: &str, pid: u32) -> bool {
        if pid == self.pid {
            return live().contains(owner);
        }
        let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
        rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        live().remove(&self.owner);
    }
}

/// A leased row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: i64,
    pub token: i64,
    pub dataset: String,
    pub symbol: String,
    pub range: DateRange,
    pub kind: Kind,
    pub vendor: String,
    pub attempts: i64,
    pub run_id: Option<String>,
}

impl Lease {
    /// What the row is counted under.
    fn counted(&self) -> (&str, &str) {
        (&self.dataset, self.kind.as_str())
    }
}

/// Return to `PENDING` every lease that ran out, belongs to another boot, or whose holder is gone. Costs a step through an index for
/// each holder, however many rows it holds.
pub fn expire(tx: &Transaction<'_>, now: UtcTime, worker: &Worker) -> Result<u64> {
    let now = now.to_string();
    let mut freed = 0;
    for Holder { boot, owner, pid, first_end } in holders(tx)? {
        let alive = boot.as_deref() == Some(worker.boot_id.as_str()) && worker.holder_alive(owner.as_deref().unwrap_or(""), pid.unwrap_or(0));
        if alive && first_end.as_ref().is_some_and(|end| *end > now) {
            continue;
        }
        let sql = "UPDATE backfill_queue INDEXED BY idx_queue_leased SET status = 'PENDING', lease_owner = NULL, updated_at = ?1
             WHERE status = 'LEASED' AND lease_boot IS ?2 AND lease_owner IS ?3 AND lease_pid IS ?4
               AND (?5 OR lease_expires_at IS NULL OR lease_expires_at <= ?1) RETURNING dataset, kind";
        freed += counts::move_all(tx, "LEASED", "PENDING", sql, params![now, boot, owner, pid, !alive])?;
    }
    Ok(freed)
}

/// Whoever holds rows, and when the first of these leases ends.
struct Holder {
    boot: Option<String>,
    owner: Option<String>,
    pid: Option<u32>,
    first_end: Option<String>,
}

/// From holder to holder through the index over leased rows, each by the one after the last.
pub(super) const FIRST_HOLDER: &str = "SELECT lease_boot, lease_owner, lease_pid, lease_expires_at FROM backfill_queue INDEXED BY idx_queue_leased
 WHERE status = 'LEASED' ORDER BY lease_boot, lease_owner, lease_pid, lease_expires_at LIMIT 1";
pub(super) const NEXT_HOLDER: &str = "SELECT lease_boot, lease_owner, lease_pid, lease_expires_at FROM backfill_queue INDEXED BY idx_queue_leased
 WHERE status = 'LEASED' AND (lease_boot, lease_owner, lease_pid) > (?1, ?2, ?3) ORDER BY lease_boot, lease_owner, lease_pid, lease_expires_at LIMIT 1";

fn holders(tx: &Transaction<'_>) -> Result<Vec<Holder>> {
    let read = |r: &Row<'_>| Ok(Holder { boot: r.get(0)?, owner: r.get(1)?, pid: r.get(2)?, first_end: r.get(3)? });
    let mut out = Vec::new();
    let mut next = tx.prepare_cached(FIRST_HOLDER)?.query_row([], read).optional()?;
    while let Some(holder) = next {
        let known = holder.boot.is_some() && holder.owner.is_some() && holder.pid.is_some();
        if !known {
            // A row that nobody of ours leased: nothing can be skipped by what it does not say.
            let sql = "SELECT DISTINCT lease_boot, lease_owner, lease_pid, min(lease_expires_at) OVER (PARTITION BY lease_boot, lease_owner, lease_pid)
                       FROM backfill_queue WHERE status = 'LEASED'";
            return Ok(tx.prepare(sql)?.query_map([], read)?.collect::<std::result::Result<_, _>>()?);
        }
        next = tx.prepare_cached(NEXT_HOLDER)?.query_row(params![holder.boot, holder.owner, holder.pid], read).optional()?;
        out.push(holder);
    }
    Ok(out)
}

/// What a runner may take.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub vendor: &'a str,
    /// Datasets whose lane is open.
    pub datasets: &'a [String],
    /// What fits a batch, by dataset.
    pub max: &'a dyn BatchSize,
}

/// How much of a dataset fits one batch.
pub trait BatchSize: std::fmt::Debug {
    /// Rows of one window.
    fn rows(&self, dataset: &str) -> usize;
    /// Windows of one symbol, where a call takes any range of days at one price.
    fn windows(&self, _dataset: &str) -> usize {
        1
    }
}

impl BatchSize for usize {
    fn rows(&self, _dataset: &str) -> usize {
        *self
    }
}

/// Lease the next batch: the first due row of the vendor (FORWARD before all else, then priority, age, id) and the rows
/// that share its dataset, kind and window, in the same order; where windows are packed, those that share its dataset, kind and symbol.
/// Empty when nothing is due.
pub fn lease_batch(tx: &Transaction<'_>, now: UtcTime, worker: &Worker, wanted: &Wanted<'_>) -> Result<Vec<Lease>> {
    let mut taking = Taking::begin(tx, now, worker, wanted)?;
    taking.batch(usize::MAX)?;
    taking.end()
}

/// Lease batch after batch, as [`lease_batch`] would one at a time, until `rows` are taken or nothing is due.
pub fn lease_batches(tx: &Transaction<'_>, now: UtcTime, worker: &Worker, wanted: &Wanted<'_>, rows: usize) -> Result<Vec<Lease>> {
    let mut taking = Taking::begin(tx, now, worker, wanted)?;
    while taking.taken.len() < rows && taking.batch(rows - taking.taken.len())? {}
    taking.end()
}

/// The leases of one transaction, and what its statements have in common.
struct Taking<'a> {
    tx: &'a Transaction<'a>,
    worker: &'a Worker,
    wanted: &'a Wanted<'a>,
    now: String,
    expires: String,
    head: String,
    taken: Vec<Lease>,
}

impl<'a> Taking<'a> {
    fn begin(tx: &'a Transaction<'_>, now: UtcTime, worker: &'a Worker, wanted: &'a Wanted<'a>) -> Result<Self> {
        expire(tx, now, worker)?;
        let (head, expires) = (head_sql(wanted.datasets.len()), now.plus(worker.ttl).to_string());
        Ok(Self { tx, worker, wanted, now: now.to_string(), expires, head, taken: Vec::new() })
    }

    /// Take the next batch, of `room` rows at most; `false` when nothing is due.
    fn batch(&mut self, room: usize) -> Result<bool> {
        if self.wanted.datasets.is_empty() {
            return Ok(false);
        }
        let due = due_params(self.wanted, &self.now);
        let head = self.tx.prepare_cached(&self.head)?.query_row(params_from_iter(due), Raw::read).optional()?;
        let Some(head) = head else { return Ok(false) };
        let mut take = self.tx.prepare_cached(
            "UPDATE backfill_queue SET status = 'LEASED', lease_owner = ?2, lease_boot = ?3, lease_pid = ?4, lease_token = lease_token + 1,
               lease_expires_at = ?5, updated_at = ?6 WHERE id = ?1",
        )?;
        for raw in self.companions(head, room)? {
            take.execute(params![raw.id, self.worker.owner, self.worker.boot_id, self.worker.pid, self.expires, self.now])?;
            self.taken.push(raw.lease()?);
        }
        Ok(true)
    }

    /// The first due row and those that go with it.
    fn companions(&self, head: Raw, room: usize) -> Result<Vec<Raw>> {
        let (vendor, [dataset, symbol, start, end, kind, _]) = (self.wanted.vendor, &head.text);
        let fits = |most: usize| i64::try_from(most.clamp(1, room.max(1))).unwrap_or(1);
        let (limit, windows) = (fits(self.wanted.max.rows(dataset)), fits(self.wanted.max.windows(dataset)));
        let (mut st, rows);
        if windows > 1 && head.attempts < LAST_ATTEMPT {
            st = self.tx.prepare_cached(WINDOWS_SQL)?;
            rows = st.query_map(params![vendor, self.now, dataset, kind, symbol, LAST_ATTEMPT, windows], Raw::read)?;
        } else if limit > 1 {
            st = self.tx.prepare_cached(BATCH_SQL)?;
            rows = st.query_map(params![vendor, self.now, dataset, kind, start, end, limit], Raw::read)?;
        } else {
            return Ok(vec![head]);
        }
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    fn end(self) -> Result<Vec<Lease>> {
        counts::moved(self.tx, "PENDING", "LEASED", self.taken.iter().map(Lease::counted))?;
        Ok(self.taken)
    }
}

/// The first due row: FORWARD before all else, then priority, age, id; the order of an index over waiting rows.
pub(super) fn head_sql(datasets: usize) -> String {
    let marks = vec!["?"; datasets].join(", ");
    format!(
        "SELECT id, lease_token, dataset, symbol, start_date, end_date, kind, vendor, attempts, run_id FROM backfill_queue
         WHERE vendor = ? AND status = 'PENDING' AND (next_not_before IS NULL OR next_not_before <= ?) AND dataset IN ({marks})
         ORDER BY (kind <> 'FORWARD'), priority, created_at, id LIMIT 1"
    )
}

/// The due rows that share a dataset, kind and window.
pub(super) const BATCH_SQL: &str = "SELECT id, lease_token, dataset, symbol, start_date, end_date, kind, vendor, attempts, run_id FROM backfill_queue
 WHERE vendor = ?1 AND status = 'PENDING' AND (next_not_before IS NULL OR next_not_before <= ?2)
   AND dataset = ?3 AND kind = ?4 AND start_date = ?5 AND end_date = ?6 ORDER BY priority, created_at, id LIMIT ?7";

/// From so many attempts on a row is asked alone: if it is what spoils the answer, the other windows of its symbol need not fail with it.
const LAST_ATTEMPT: i64 = MAX_ATTEMPTS - 1;

/// The due rows that share a dataset, kind and symbol. The table's own key leads to them: a symbol has few rows however long the queue is.
/// The plus keeps the indexes that begin with the vendor, and hold all its rows, out of it.
pub(super) const WINDOWS_SQL: &str = "SELECT id, lease_token, dataset, symbol, start_date, end_date, kind, vendor, attempts, run_id FROM backfill_queue
 WHERE +vendor = ?1 AND +status = 'PENDING' AND (next_not_before IS NULL OR next_not_before <= ?2)
   AND dataset = ?3 AND kind = ?4 AND symbol = ?5 AND attempts < ?6 ORDER BY priority, created_at, id LIMIT ?7";

/// Whether a vendor has a row that is due, or one that somebody holds. Costs a step through an index, and a look at what is held.
pub fn is_open(conn: &Connection, now: UtcTime, vendor: &str, datasets: &[String]) -> Result<bool> {
    if datasets.is_empty() {
        return Ok(false);
    }
    let wanted = Wanted { vendor, datasets, max: &1 };
    if conn.prepare_cached(&head_sql(datasets.len()))?.exists(params_from_iter(due_params(&wanted, &now.to_string())))? {
        return Ok(true);
    }
    let marks = vec!["?"; datasets.len()].join(", ");
    let held = format!("SELECT 1 FROM backfill_queue INDEXED BY idx_queue_leased WHERE status = 'LEASED' AND vendor = ? AND dataset IN ({marks}) LIMIT 1");
    Ok(conn.prepare_cached(&held)?.exists(params_from_iter(std::iter::once(vendor).chain(datasets.iter().map(String::as_str))))?)
}

fn due_params<'a>(wanted: &Wanted<'a>, now: &'a str) -> impl Iterator<Item = &'a str> {
    [wanted.vendor, now].into_iter().chain(wanted.datasets.iter().map(String::as_str))
}

struct Raw {
    id: i64,
    token: i64,
    text: [String; 6],
    attempts: i64,
    run_id: Option<String>,
}

impl Raw {
    fn read(r: &Row<'_>) -> rusqlite::Result<Self> {
        let text = [r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?, r.get(7)?];
        Ok(Self { id: r.get(0)?, token: r.get(1)?, text, attempts: r.get(8)?, run_id: r.get(9)? })
    }
    fn lease(self) -> Result<Lease> {
        let [dataset, symbol, start, end, kind, vendor] = self.text;
        let range = DateRange::new(start.parse::<TradingDay>()?, end.parse::<TradingDay>()?)?;
        Ok(Lease {
            id: self.id,
            token: self.token + 1,
            dataset,
            symbol,
            range,
            kind: Kind::parse(&kind)?,
            vendor,
            attempts: self.attempts,
            run_id: self.run_id,
        })
    }
}

/// Whether a lease is still ours.
pub fn holds(conn: &Connection, lease: &Lease) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM backfill_queue WHERE id = ?1 AND lease_token = ?2 AND status = 'LEASED'")?.exists(params![lease.id, lease.token])?)
}

/// Push the end of a lease out; `false` when it is no longer ours.
pub fn renew(tx: &Transaction<'_>, now: UtcTime, worker: &Worker, lease: &Lease) -> Result<bool> {
    let n = tx.prepare_cached("UPDATE backfill_queue SET lease_expires_at = ?3 WHERE id = ?1 AND lease_token = ?2 AND status = 'LEASED'")?.execute(params![
        lease.id,
        lease.token,
        now.plus(worker.ttl).to_string()
    ])?;
    Ok(n == 1)
}

/// Finish a row. `false`, and nothing changed, when the lease is no longer ours.
pub fn complete(tx: &Transaction<'_>, now: UtcTime, lease: &Lease, outcome: &str) -> Result<bool> {
    Ok(complete_all(tx, now, std::slice::from_ref(lease), outcome)? == 1)
}

/// Finish the rows whose leases are still ours; how many these are. A row that is done is as short as it was before it was leased, which
/// leaves room for the next lease beside it.
pub fn complete_all(tx: &Transaction<'_>, now: UtcTime, leases: &[Lease], outcome: &str) -> Result<u64> {
    let now = now.to_string();
    let mut done = tx.prepare_cached(
        "UPDATE backfill_queue SET status = 'DONE', outcome = ?3, lease_owner = NULL, lease_boot = NULL, lease_pid = NULL, lease_expires_at = NULL,
           last_error = NULL, updated_at = ?4
         WHERE id = ?1 AND lease_token = ?2 AND status = 'LEASED'",
    )?;
    let mut ours = Vec::with_capacity(leases.len());
    for lease in leases {
        if done.execute(params![lease.id, lease.token, outcome, now])? == 1 {
            ours.push(lease.counted());
        }
    }
    let n = ours.len() as u64;
    counts::moved(tx, "LEASED", "DONE", ours)?;
    count(tx, "tasks.done", n)?;
    Ok(n)
}

/// What to do with a row that could not be finished.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// Trouble that may pass: counts as an attempt, waits longer each time, `FAILED` after [`MAX_ATTEMPTS`].
    Attempt { error: String, base: Duration },
    /// Not the row's fault (a rate limit, a closed budget, a window still too fresh): waits, counts nothing.
    Postpone { error: String, until: UtcTime },
    /// Given back untouched: we are stopping.
    Release,
}

/// Give a row back. `Ok(true)` when it is now `FAILED`.
pub fn fail(tx: &Transaction<'_>, now: UtcTime, lease: &Lease, failure: &Failure) -> Result<bool> {
    let (status, attempts, not_before, error) = match failure {
        Failure::Attempt { error, base } => {
            let attempts = lease.attempts + 1;
            let wait = base.saturating_mul(1u32 << u32::try_from(lease.attempts.clamp(0, 7)).unwrap_or(7)).min(Duration::from_secs(3_600));
            let dead = attempts >= MAX_ATTEMPTS;
            (if dead { "FAILED" } else { "PENDING" }, attempts, Some(now.plus(wait)), Some(error))
        }
        Failure::Postpone { error, until } => ("PENDING", lease.attempts, Some(*until), Some(error)),
        Failure::Release => ("PENDING", lease.attempts, None, None),
    };
    let n = tx
        .prepare_cached(
            "UPDATE backfill_queue SET status = ?3, attempts = ?4, next_not_before = ?5, last_error = coalesce(?6, last_error), lease_owner = NULL, updated_at = ?7
             WHERE id = ?1 AND lease_token = ?2 AND status = 'LEASED'",
        )?
        .execute(params![lease.id, lease.token, status, attempts, not_before.map(|t| t.to_string()), error, now.to_string()])?;
    if n == 1 {
        counts::moved(tx, "LEASED", status, [lease.counted()])?;
    }
    let failed = n == 1 && status == "FAILED";
    count(tx, "tasks.failed", u64::from(failed))?;
    Ok(failed)
}

/// Close every waiting row of a lane that the key's plan does not include.
pub fn close_lane(tx: &Transaction<'_>, now: UtcTime, vendor: &str, dataset: &str, words: &str) -> Result<u64> {
    let sql = "UPDATE backfill_queue SET status = 'DONE', outcome = ?4, last_error = ?5, updated_at = ?3
         WHERE vendor = ?1 AND dataset = ?2 AND status = 'PENDING' RETURNING dataset, kind";
    let n = counts::move_all(tx, "PENDING", "DONE", sql, params![vendor, dataset, now.to_string(), NOT_ENTITLED, words])?;
    count(tx, "tasks.done", n)?;
    Ok(n)
}

/// Rows that [`close_lane`] closed wait again: the plan holds the lane after all.
pub fn reopen_lane(tx: &Transaction<'_>, now: UtcTime, vendor: &str, dataset: &str) -> Result<u64> {
    let sql = "UPDATE backfill_queue SET status = 'PENDING', outcome = NULL, last_error = NULL, attempts = 0, next_not_before = NULL, updated_at = ?3
         WHERE vendor = ?1 AND dataset = ?2 AND status = 'DONE' AND outcome = ?4 RETURNING dataset, kind";
    let n = counts::move_all(tx, "DONE", "PENDING", sql, params![vendor, dataset, now.to_string(), NOT_ENTITLED])?;
    count(tx, "queue.revived", n)?;
    Ok(n)
}

/// What a vendor's rows are waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Earliest moment at which a waiting row is due.
    pub next_due: Option<UtcTime>,
    /// The same over rows that were tried before.
    pub next_retry: Option<UtcTime>,
    pub pending: u64,
    pub leased: u64,
}

/// The state of a vendor's open rows in some datasets. Costs a step for each of them: rows that are finished are not looked at, however
/// many there are.
pub fn outlook(conn: &Connection, vendor: &str, datasets: &[String]) -> Result<Outlook> {
    if datasets.is_empty() {
        // Every lane is closed; an index cannot be told to look for nothing.
        return Ok(Outlook::default());
    }
    let all = || std::iter::once(vendor).chain(datasets.iter().map(String::as_str));
    let (due, pending, retry): (Option<String>, i64, Option<String>) =
        conn.prepare_cached(&pending_sql(datasets.len()))?.query_row(params_from_iter(all()), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let leased: i64 = conn.prepare_cached(&leased_sql(datasets.len()))?.query_row(params_from_iter(all()), |r| r.get(0))?;
    let next_due = due.map(|t| UtcTime::parse(&t)).transpose()?;
    let next_retry = retry.map(|t| UtcTime::parse(&t)).transpose()?;
    Ok(Outlook { next_due, next_retry, pending: pending.unsigned_abs(), leased: leased.unsigned_abs() })
}

/// Through indexes over waiting and over leased rows. Left to itself, SQLite would go through all rows of a dataset where there is one.
pub(super) fn pending_sql(datasets: usize) -> String {
    let marks = vec!["?"; datasets].join(", ");
    format!(
        "SELECT min(coalesce(next_not_before, created_at)), count(*), min(CASE WHEN last_error IS NOT NULL THEN coalesce(next_not_before, created_at) END)
         FROM backfill_queue INDEXED BY idx_queue_batch WHERE vendor = ? AND status = 'PENDING' AND dataset IN ({marks})"
    )
}

pub(super) fn leased_sql(datasets: usize) -> String {
    let marks = vec!["?"; datasets].join(", ");
    format!("SELECT count(*) FROM backfill_queue INDEXED BY idx_queue_leased WHERE status = 'LEASED' AND vendor = ? AND dataset IN ({marks})")
}
