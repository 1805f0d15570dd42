//! What an answer becomes: segments and a manifest for each window that was asked for, and one transaction for all of them.

use super::IngestContext;
use super::batch::{Part, Tally};
use crate::bookmarks::{self, Bookmark};
use crate::error::{Error, Result};
use crate::queue::{self, Lease};
use crate::root::DataPath;
use crate::schema::{dataset, table, timeframe};
use crate::segment::{self, Asked, Manifest, Place, RequestRecord};
use crate::sourcing::Vendor;
use crate::time::{DateRange, UtcTime};
use crate::vendor::{Batch, Rows, Under};
use rusqlite::Transaction;

/// Outcome of a row whose symbol the vendor does not know.
pub(super) const UNKNOWN_SYMBOL: &str = "UNKNOWN_SYMBOL";

/// What an answer brought: rows, and the actions that came beside bars.
type Brought<'a> = (&'a Rows, Option<Rows>);

/// Encoding and synchronous writes leave the asynchronous threads alone.
pub(super) async fn commit_off_thread(
    ctx: &IngestContext,
    vendor: Vendor,
    parts: Vec<Part>,
    batch: Batch,
    (rows, beside): (Rows, Option<Rows>),
    records: Vec<RequestRecord>,
) -> Result<Tally> {
    let ctx = ctx.clone();
    let work = tokio::task::spawn_blocking(move || commit(&ctx, vendor, &parts, &batch, (&rows, beside), records));
    work.await.map_err(|e| Error::bug("a commit died").cause(e.to_string()))?
}

/// Segments, manifests, transaction. Each window has a manifest of its own, which holds what falls into it and vouches for nothing else:
/// what an answer holds between windows that were asked for together was no question, and is dropped.
pub(super) fn commit(
    ctx: &IngestContext,
    vendor: Vendor,
    parts: &[Part],
    batch: &Batch,
    (rows, beside): Brought<'_>,
    requests: Vec<RequestRecord>,
) -> Result<Tally> {
    if !still_ours(ctx, parts)? {
        return Ok(Tally::default());
    }
    let answer = Answer { ctx, vendor, batch, requests, at: segment::stamp(&ctx.root, &ctx.db)? };
    let mut written = Vec::with_capacity(parts.len());
    if let [part] = parts {
        written.push(answer.write(part, (rows, beside))?);
    } else {
        for part in parts {
            let actions = beside.as_ref().map(|all| all.within(part.range));
            written.push(answer.write(part, (&rows.within(part.range), actions))?);
        }
    }
    let (done, fresh) = ctx.db.write(|tx| {
        bookmarks::exact_from(tx, answer.at)?;
        let (mut done, mut fresh) = (Vec::new(), 0);
        for one in &mut written {
            fresh += one.enter(tx, &answer, &mut done)?;
        }
        queue::count(tx, "rows.raw", fresh)?;
        Ok((done, fresh))
    })?;
    for one in written.iter().filter(|one| !one.entered) {
        // The leases went to somebody else while this worker was held up: theirs is the answer, and this one is withdrawn.
        crate::store::remove(&ctx.root, &one.path)?;
        if let Some((path, _)) = &one.beside {
            crate::store::remove(&ctx.root, path)?;
        }
    }
    for id in &done {
        ctx.host().ack("task", &id.to_string());
    }
    Ok(Tally { tasks_done: done.len() as u64, rows: fresh, ..Tally::default() })
}

/// One answer, to one or several windows.
struct Answer<'a> {
    ctx: &'a IngestContext,
    vendor: Vendor,
    batch: &'a Batch,
    requests: Vec<RequestRecord>,
    at: UtcTime,
}

/// What lies on the drive for one window.
struct Written<'a> {
    /// Its rows of the queue, and how many rows came for each.
    leases: Vec<(&'a Lease, u64)>,
    path: DataPath,
    manifest: Manifest,
    beside: Option<(DataPath, Manifest)>,
    /// Whether a row was still ours, so that the database knows of it.
    entered: bool,
}

impl Answer<'_> {
    /// Segments, then the manifest.
    fn write<'p>(&self, part: &'p Part, (rows, beside): Brought<'_>) -> Result<Written<'p>> {
        let (ctx, batch, vendor) = (self.ctx, self.batch, self.vendor);
        let (table, tf) = place_of(&batch.dataset);
        let mut segments = Vec::new();
        rows.each_frame(vendor, part.range, &mut |range, mut frame, symbols| {
            let place = Place { table, vendor: vendor.as_str(), tf, range, symbols: if batch.symbols.is_empty() { &[] } else { &symbols } };
            let segment = segment::write(&ctx.root, &place, &mut frame)?;
            ctx.host().ack("segment", &segment.sha256);
            segments.push(segment);
            Ok(())
        })?;
        let manifest = Manifest {
            v: 1,
            dataset: batch.dataset.clone(),
            table: table.to_string(),
            tf: tf.to_string(),
            vendor: vendor.as_str().to_string(),
            segments,
            requests: self.requests.clone(),
            asked: Asked { symbols: batch.symbols.clone(), t0: part.range.start, t1: part.range.end, under: within(&batch.under, part.range) },
            complete: true,
            ingested_at: self.at,
            node_id: ctx.worker.node_id.clone(),
            code: concat!("trademl ", env!("CARGO_PKG_VERSION")).to_string(),
            world: ctx.root.drive().dataset.clone(),
        };
        let beside = beside.map(|actions| super::beside::write(ctx, vendor, &manifest, actions)).transpose()?;
        let path = segment::write_manifest(&ctx.root, &manifest)?;
        let counts = rows.counts();
        let came = |l: &Lease| if l.symbol.is_empty() { rows.len() as u64 } else { counts.get(l.symbol.as_str()).copied().unwrap_or(0) };
        let leases = part.leases.iter().map(|l| (l, came(l))).collect();
        Ok(Written { leases, path, manifest, beside, entered: false })
    }
}

impl Written<'_> {
    /// Finish the rows that are still ours, and enter what was written if any is; the number of raw rows that were not known before.
    fn enter(&mut self, tx: &Transaction<'_>, answer: &Answer<'_>, done: &mut Vec<i64>) -> Result<u64> {
        let (now, vendor) = (answer.ctx.host().now(), answer.vendor);
        let pages: u64 = self.manifest.requests.iter().map(|r| u64::from(r.pages)).sum();
        for (lease, rows) in &self.leases {
            if queue::complete(tx, now, lease, outcome_of(&self.manifest, *rows))? {
                let key = bookmarks::Key { vendor: vendor.as_str(), dataset: &lease.dataset, symbol: &lease.symbol, range: lease.range };
                bookmarks::put(tx, &key, &Bookmark { cursor: None, pages, rows: *rows, complete: true, updated_at: answer.at })?;
                if self.beside.is_some() {
                    super::beside::remember(tx, vendor, lease, &self.manifest)?;
                }
                done.push(lease.id);
                self.entered = true;
            }
        }
        if !self.entered {
            return Ok(0);
        }
        super::beside::enter(tx, self.beside.as_ref())?;
        segment::register(tx, &self.path, &self.manifest)
    }
}

/// What a row of the queue came to, by the answer and its own rows in it.
fn outcome_of(manifest: &Manifest, rows: u64) -> &'static str {
    match () {
        () if manifest.requests.iter().any(|r| r.http == 404) => UNKNOWN_SYMBOL,
        () if rows == 0 && manifest.table == table::RAW_EQUITIES_BARS => "EMPTY",
        () => "OK",
    }
}

/// Whether at least one lease is still held: a worker that slept through all of them writes nothing.
fn still_ours(ctx: &IngestContext, parts: &[Part]) -> Result<bool> {
    let conn = ctx.db.lock()?;
    for lease in parts.iter().flat_map(|p| &p.leases) {
        if queue::holds(&conn, lease)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Table and time frame of a dataset.
pub(super) fn place_of(name: &str) -> (&'static str, &'static str) {
    match name {
        dataset::CORP_ACTIONS => (table::RAW_CORP_ACTIONS, "none"),
        dataset::LISTINGS | dataset::DELISTINGS => (table::RAW_LISTINGS, "none"),
        dataset::MACROS_FRED | dataset::TREASURY => (table::RAW_MACROS, "none"),
        dataset::INDEX_MEMBERSHIP => (table::RAW_INDEX_MEMBERSHIP, "none"),
        dataset::FUNDAMENTALS | dataset::SHARES => (table::RAW_FUNDAMENTALS, "none"),
        dataset::COMPANIES => (table::RAW_COMPANIES, "none"),
        dataset::FILINGS => (table::RAW_FILINGS, "none"),
        dataset::EARNINGS_CALENDAR => (table::RAW_EARNINGS, "none"),
        dataset::OPTIONS_CHAINS => (table::RAW_OPTIONS, "none"),
        dataset::EQUITIES_MINUTE => (table::RAW_EQUITIES_BARS, timeframe::MINUTE),
        _ => (table::RAW_EQUITIES_BARS, timeframe::DAY),
    }
}

/// Under which tickers a window was asked for, of all that were asked for together.
fn within(under: &Under, window: DateRange) -> Under {
    let cut = |parts: &Vec<(String, DateRange)>| parts.iter().filter_map(|(ticker, days)| Some((ticker.clone(), days.intersect(&window)?))).collect();
    under.iter().map(|(symbol, parts)| (symbol.clone(), cut(parts))).collect()
}
