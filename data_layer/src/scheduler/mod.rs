//! Working the queue off: one runner per vendor, several batches in flight, one transaction per batch.
//!
//! A freeze or a closed budget is state in the database, not control flow: a runner waits, or leaves with the moment at
//! which there is work again. Any number of drains may run on one root; leases keep them apart.

use crate::budget::{self, Pacer};
use crate::clock::ClockWatch;
use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::fetch::{DEADLINE, Fetcher, Network, Transport};
use crate::host::Host;
use crate::queue::{self, BatchSize, Wanted, Worker};
use crate::root::DataRoot;
use crate::sourcing::settings::Disk;
use crate::sourcing::{BackfillConfig, EdgeConfig, Vendor, Vendors, entitlement};
use crate::space;
use crate::time::UtcTime;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

mod batch;
mod beside;
mod commit;
pub mod probe;
pub mod tasks;
pub use probe::{Again, KeyCheck, KeyVerdict, know_lanes, probe_again, probe_key, probe_lanes};
pub use tasks::{Planned, bootstrap_tasks, forward_tasks, listing_tasks, macro_tasks, market_task, second_opinion};

/// Longest wait that `DrainUntil::Empty` sits through (a minute's freeze, a back-off); longer ones are reported.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// What a second of a simulated clock takes while others are waited for: a lease of 300 of them lasts three seconds.
const A_BLINK: Duration = Duration::from_millis(10);

/// Everything a drain needs. Cheap to clone; while a clone lives, the leases taken through it are respected.
#[derive(Clone)]
pub struct IngestContext {
    pub root: DataRoot,
    pub db: Arc<Db>,
    pub fetcher: Fetcher,
    pub worker: Arc<Worker>,
    /// How full the drive may become.
    pub disk: Disk,
}

impl IngestContext {
    /// A context that reaches vendors over the network, with the configuration of this host and drive.
    pub fn new(host: &Host, root: &DataRoot, db: Arc<Db>, vendors: Vendors, node_id: &str) -> Result<Self> {
        Self::with_transport(host, root, db, vendors, node_id, Arc::new(Network::new(host)))
    }

    /// The same over another transport.
    pub fn with_transport(host: &Host, root: &DataRoot, db: Arc<Db>, vendors: Vendors, node_id: &str, transport: Arc<dyn Transport>) -> Result<Self> {
        let edge = Arc::new(EdgeConfig::load(host)?);
        let wish = BackfillConfig::load(root)?;
        let slices = wish.slices;
        let worker = Arc::new(Worker::new(host, node_id, Duration::from_secs(edge.lease_ttl_seconds)));
        let fetcher = Fetcher {
            host: host.clone(),
            db: Some(Arc::clone(&db)),
            vendors: Arc::new(vendors),
            transport,
            pacer: Arc::new(Pacer::default()),
            slices,
            edge,
            deadline: DEADLINE,
            calls: Arc::new(AtomicU64::new(0)),
            clock: Arc::new(ClockWatch::new(host)),
        };
        // Practice on a crowded machine is nobody's harm: there only a full drive stops.
        let disk = if root.is_world() { Disk { warn: 1.0, stop: 1.0, ..wish.disk } } else { wish.disk };
        let ctx = Self { root: root.clone(), db, fetcher, worker, disk };
        know_lanes(&ctx)?;
        Ok(ctx)
    }

    pub fn host(&self) -> &Host {
        &self.fetcher.host
    }
    pub fn vendors(&self) -> &Vendors {
        &self.fetcher.vendors
    }
}

/// When a drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainUntil {
    /// Nothing is due (rows that wait longer than 20 minutes are reported in `waiting_until`).
    Empty,
    /// This moment has come, or nothing becomes due before it: nothing new is begun, what is in flight ends.
    /// On a simulated clock, which moves only when told, the same as `Empty`: waiting there would spin.
    Moment(UtcTime),
}

/// One step forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrainTick {
    pub vendor: Vendor,
    pub dataset: String,
    /// Of this vendor, since this drain began.
    pub tasks_done: u64,
    pub rows: u64,
    /// Calls of all vendors since this drain began.
    pub calls: u64,
    /// Rows of this dataset that are still waiting or being worked on.
    pub open: u64,
}

/// Somebody who wants to see progress.
pub trait DrainProgress: Send + Sync {
    fn tick(&self, tick: &DrainTick);
}

/// Nobody does.
pub struct Quiet;

impl DrainProgress for Quiet {
    fn tick(&self, _tick: &DrainTick) {}
}

/// What a drain did.
#[derive(Clone, Debug, Default)]
pub struct DrainReport {
    pub tasks_done: u64,
    /// HTTP requests sent, retries included.
    pub calls: u64,
    pub rows: u64,
    /// Rows of the queue that are now `FAILED`.
    pub failed: u64,
    /// Work remains and the first of it is due then.
    pub waiting_until: Option<UtcTime>,
    /// Stopped because the host was asked to.
    pub cancelled: bool,
    /// What a person should know: a rejected key, a lane outside the plan, an unknown refusal.
    pub notices: Vec<Error>,
}

impl DrainReport {
    /// Keep a notice, once.
    fn note(&mut self, notice: Error) {
        if !self.notices.iter().any(|n| n.body() == notice.body()) {
            self.notices.push(notice);
        }
    }
}

/// Work the queue off. `Err` is trouble of ours (the drive, a bug); vendors' trouble is in the report.
pub async fn drain(ctx: &IngestContext, stop: DrainUntil, progress: &dyn DrainProgress) -> Result<DrainReport> {
    let stop = if ctx.host().clock_is_simulated() { DrainUntil::Empty } else { stop };
    let before = ctx.fetcher.calls.load(Ordering::SeqCst);
    let (send, mut ticks) = tokio::sync::mpsc::unbounded_channel();
    let mut runners = JoinSet::new();
    let mut report = DrainReport::default();
    for vendor in Vendor::ALL.iter().copied() {
        let missing = ctx.vendors().missing_keys(vendor);
        if missing.is_empty() {
            runners.spawn(run_vendor(ctx.clone(), vendor, stop, before, send.clone()));
            continue;
        }
        // Before the database is locked below: the lanes are read from it too.
        let datasets = lanes(ctx, vendor, &BTreeSet::new());
        if queue::outlook(&*ctx.db.lock()?, vendor.as_str(), &datasets)?.pending > 0 {
            let what = text!("{vendor} has work waiting and no key: {} is not set", missing.join(" and "));
            report.notices.push(Error::new(code::KEY_MISSING, what).fix("trademl pi-data-node"));
        }
    }
    drop(send);
    loop {
        tokio::select! {
            Some(tick) = ticks.recv() => progress.tick(&tick),
            joined = runners.join_next() => {
                let Some(joined) = joined else { break };
                let part = joined.map_err(|e| Error::bug("a vendor runner died").cause(e.to_string()))??;
                report.tasks_done += part.tasks_done;
                report.rows += part.rows;
                report.failed += part.failed;
                part.notices.into_iter().for_each(|notice| report.note(notice));
                report.waiting_until = match (report.waiting_until, part.waiting_until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    while let Ok(tick) = ticks.try_recv() {
        progress.tick(&tick);
    }
    let room = space::room(&ctx.root)?;
    if room.level(&ctx.disk) == space::Level::Stop {
        report.notices.insert(0, room.refusal(&ctx.disk));
    }
    report.calls = ctx.fetcher.calls.load(Ordering::SeqCst) - before;
    report.cancelled = ctx.host().is_cancelled();
    Ok(report)
}

/// Datasets of a vendor whose lane may be asked: enabled, not refused by the plan, not halted in this drain.
fn lanes(ctx: &IngestContext, vendor: Vendor, halted: &BTreeSet<String>) -> Vec<String> {
    let blocked = ctx.db.lock().and_then(|conn| entitlement::all(&conn)).unwrap_or_default();
    let open = |dataset: &str| !halted.contains(dataset) && !blocked.get(&(vendor.as_str().to_string(), dataset.to_string())).is_some_and(|e| e.blocked());
    let all = ctx.vendors().endpoints.entries().iter().filter(|e| e.vendor == vendor && e.enabled());
    all.map(|e| e.dataset.clone()).filter(|d| open(d)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Rows of one window, and windows of one symbol, that fit one batch, by dataset.
#[derive(Debug)]
struct Sizes(BTreeMap<String, (usize, usize)>);

impl BatchSize for Sizes {
    fn rows(&self, dataset: &str) -> usize {
        self.0.get(dataset).map_or(1, |(rows, _)| *rows)
    }
    fn windows(&self, dataset: &str) -> usize {
        self.0.get(dataset).map_or(1, |(_, windows)| *windows)
    }
}

async fn run_vendor(ctx: IngestContext, vendor: Vendor, stop: DrainUntil, before: u64, ticks: UnboundedSender<DrainTick>) -> Result<DrainReport> {
    let mut out = DrainReport::default();
    let mut halted = BTreeSet::new();
    let mut flying: JoinSet<Result<(String, batch::Tally)>> = JoinSet::new();
    let mut stopped = false;
    loop {
        if let Err(doubt) = ctx.fetcher.believed() {
            // Nothing new is begun by a wrong clock, and what waits for a moment would wait for the wrong one.
            stopped = true;
            out.note(doubt);
        }
        let over = matches!(stop, DrainUntil::Moment(t) if ctx.host().now() >= t);
        while flying.len() < ctx.fetcher.edge.inflight(vendor) && !stopped && !over && !ctx.host().is_cancelled() {
            let leases = lease(&ctx, vendor, &halted)?;
            let Some(first) = leases.first() else { break };
            let dataset = first.dataset.clone();
            ctx.host().failpoint("task.lease.after")?;
            let ctx = ctx.clone();
            flying.spawn(async move { Ok((dataset, batch::run(&ctx, vendor, leases).await?)) });
        }
        if let Some(joined) = flying.join_next().await {
            let (dataset, tally) = joined.map_err(|e| Error::bug("a batch died").cause(e.to_string()))??;
            out.tasks_done += tally.tasks_done;
            out.rows += tally.rows;
            out.failed += tally.failed;
            stopped |= tally.stop_vendor;
            if tally.halt_lane {
                halted.insert(dataset.clone());
            }
            tally.notices.into_iter().for_each(|notice| out.note(notice));
            // From the kept counts: what this costs does not depend on how much is waiting.
            let open = queue::open(&*ctx.db.lock()?, &dataset)?;
            let calls = ctx.fetcher.calls.load(Ordering::SeqCst) - before;
            // Nobody listening is not a reason to stop.
            drop(ticks.send(DrainTick { vendor, dataset, tasks_done: out.tasks_done, rows: out.rows, calls, open }));
            continue;
        }
        if stopped || over || ctx.host().is_cancelled() {
            return Ok(out);
        }
        match rest(&ctx, vendor, &halted, stop)? {
            Rest::Wait(d) => ctx.host().sleep(d).await,
            Rest::Others => {
                ctx.host().sleep(Duration::from_secs(1)).await;
                if ctx.host().clock_is_simulated() {
                    // This clock has moved on at once, and the others work in real time: their leases must not run out in a blink.
                    ctx.host().wait_for_others(A_BLINK).await;
                }
            }
            Rest::Leave(until) => {
                out.waiting_until = until;
                return Ok(out);
            }
        }
    }
}

/// Take the next batch, unless the vendor is frozen or the drive nearly full.
fn lease(ctx: &IngestContext, vendor: Vendor, halted: &BTreeSet<String>) -> Result<Vec<queue::Lease>> {
    let datasets = lanes(ctx, vendor, halted);
    let endpoints = &ctx.vendors().endpoints;
    let size = |d: &String| endpoints.entry(vendor, d).map(|e| (d.clone(), (e.batch_symbols, e.batch_windows)));
    let sizes = Sizes(datasets.iter().filter_map(size).collect());
    let now = ctx.host().now();
    if space::room(&ctx.root)?.level(&ctx.disk) == space::Level::Stop {
        return Ok(Vec::new());
    }
    {
        // Looking first costs no write: an idle or frozen vendor causes none.
        let conn = ctx.db.lock()?;
        if !queue::is_open(&conn, now, vendor.as_str(), &datasets)? || budget::frozen(&conn, now, vendor.as_str())?.is_some() {
            return Ok(Vec::new());
        }
    }
    let wanted = Wanted { vendor: vendor.as_str(), datasets: &datasets, max: &sizes };
    ctx.db.write(|tx| queue::lease_batch(tx, now, &ctx.worker, &wanted))
}

enum Rest {
    Wait(Duration),
    /// Other workers hold rows: they end as done, or come back to us.
    Others,
    Leave(Option<UtcTime>),
}

/// Nothing can be leased and nothing is in flight: wait, or leave.
fn rest(ctx: &IngestContext, vendor: Vendor, halted: &BTreeSet<String>, stop: DrainUntil) -> Result<Rest> {
    let now = ctx.host().now();
    if stop == DrainUntil::Empty && space::room(&ctx.root)?.level(&ctx.disk) == space::Level::Stop {
        return Ok(Rest::Leave(None));
    }
    let datasets = lanes(ctx, vendor, halted);
    let conn = ctx.db.lock()?;
    let open = queue::outlook(&conn, vendor.as_str(), &datasets)?;
    let frozen = budget::frozen(&conn, now, vendor.as_str())?.map(|(until, _)| until);
    let until = |t: UtcTime| Duration::from_micros(u64::try_from(t.micros() - now.micros()).unwrap_or(0).max(1));
    if let DrainUntil::Moment(end) = stop {
        // Another worker's rows end as done, or come back to us.
        let next = if open.leased > 0 { Some(now) } else { open.next_due.map(|due| frozen.map_or(due, |f| f.max(due))) };
        return Ok(match next {
            Some(t) if t < end => Rest::Wait(until(t).clamp(Duration::from_secs(1), Duration::from_secs(60))),
            later => Rest::Leave(later),
        });
    }
    if open.leased > 0 {
        return Ok(Rest::Others);
    }
    let Some(due) = open.next_due else { return Ok(Rest::Leave(None)) };
    let next = frozen.map_or(due, |f| f.max(due));
    // A row that was tried and put off is waited for; one that is not due before a session's close is not: waiting
    // would move a simulated clock past the world that it follows.
    let tried = frozen.is_some() && due <= now || open.next_retry.is_some_and(|t| t <= next);
    if next <= now {
        return Ok(Rest::Wait(Duration::from_secs(1)));
    }
    Ok(if tried && until(next) <= PATIENCE { Rest::Wait(until(next)) } else { Rest::Leave(Some(next)) })
}

#[cfg(test)]
mod tests;
