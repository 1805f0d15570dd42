//! One batch: clamp, ask, decode, write, finish. Everything a batch brought is committed in one transaction, or nothing.

use super::IngestContext;
use super::probe::{know_lanes, outside_the_plan};
use super::tasks::{Clamp, clamp};
use crate::bookmarks::{self, Bookmark};
use crate::error::{Error, Result, code};
use crate::fetch::Refusal;
use crate::queue::{self, Failure, Lease};
use crate::schema::{dataset, table, timeframe};
use crate::segment::{self, Asked, Manifest, Place, RequestRecord};
use crate::sourcing::entitlement::{self, LiveStatus};
use crate::sourcing::{Entry, Vendor};
use crate::tickers::{Tickers, knows_tickers_by_day};
use crate::time::{DateRange, UtcTime};
use crate::vendor::classify::Class;
use crate::vendor::{Batch, Connector, Page, Request, Rows, Under, connector, recognise};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// First wait after an attempt that failed; doubles each time.
const RETRY_BASE: Duration = Duration::from_secs(15);

/// Outcome of a row whose symbol the vendor does not know.
const UNKNOWN_SYMBOL: &str = "UNKNOWN_SYMBOL";

/// What a batch came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub tasks_done: u64,
    pub rows: u64,
    pub failed: u64,
    /// The key is wrong: ask this vendor nothing more.
    pub stop_vendor: bool,
    /// This dataset is not asked again in this drain.
    pub halt_lane: bool,
    pub notices: Vec<Error>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.tasks_done += other.tasks_done;
        self.rows += other.rows;
        self.failed += other.failed;
        self.stop_vendor |= other.stop_vendor;
        self.halt_lane |= other.halt_lane;
        self.notices.extend(other.notices);
    }
}

/// What asking brought.
enum Gathered {
    Rows(Rows, Option<Rows>, Vec<RequestRecord>),
    Refused(Request, Refusal),
    Malformed(Request, u16, Vec<u8>, String),
}

/// Run leases that share vendor, dataset, kind and window to their end.
pub(super) async fn run(ctx: &IngestContext, vendor: Vendor, leases: Vec<Lease>) -> Result<Tally> {
    let mut total = Tally::default();
    let Some(first) = leases.first() else { return Ok(total) };
    let entry = ctx.vendors().endpoints.entry(vendor, &first.dataset).cloned();
    let entry = entry.ok_or_else(|| Error::bug(text!("{vendor} has no lane for {}", first.dataset)))?;
    let connector = connector(vendor);
    let now = ctx.host().now();
    let range = match clamp(&ctx.vendors().endpoints, &entry, first.range, now)? {
        Clamp::Ask(range) => range,
        Clamp::TooEarly(until) => return put_back(ctx, &leases, &Failure::Postpone { error: "not due yet".into(), until }),
        Clamp::BeforeDepth => return finish_without_rows(ctx, &leases, "BEFORE_DEPTH"),
    };
    let tickers = if is_by_ticker(&entry) { Tickers::load(&ctx.root)? } else { Tickers::default() };
    let mut groups = vec![leases];
    while let Some(group) = groups.pop() {
        let mut symbols: Vec<String> = group.iter().map(|l| l.symbol.clone()).filter(|s| !s.is_empty()).collect();
        symbols.sort();
        let under = under_tickers(&tickers, &entry, &symbols, range);
        let batch = Batch { dataset: entry.dataset.clone(), symbols, range, page_rows: entry.page_rows, under };
        let gathered = match gather(ctx, connector, &batch, &group).await {
            Ok(gathered) => gathered,
            Err(e) if ctx.host().is_cancelled() => {
                drop(e);
                total.add(put_back(ctx, &group, &Failure::Release)?);
                continue;
            }
            Err(e) if e.is(code::HOST_CLOCK) => {
                total.add(put_back(ctx, &group, &Failure::Release)?);
                total.add(Tally { stop_vendor: true, notices: vec![e], ..Tally::default() });
                continue;
            }
            Err(e) if is_of_the_answer(&e) => {
                total.add(put_back_with_notice(ctx, &group, e)?);
                continue;
            }
            Err(e) => return Err(e),
        };
        match gathered {
            Gathered::Rows(rows, beside, records) => match commit_off_thread(ctx, vendor, group.clone(), batch, (rows, beside), records).await {
                Err(e) if is_of_the_answer(&e) => total.add(put_back_with_notice(ctx, &group, e)?),
                done => total.add(done?),
            },
            Gathered::Malformed(request, http, body, why) => {
                let why = recognise::shape(&body).map_or_else(|| why.clone(), |what| text!("{why} (the body looks like {what})"));
                ctx.fetcher.quarantine(&ctx.root, &request, http, &body, &why)?;
                total.add(put_back(ctx, &group, &Failure::Attempt { error: text!("malformed answer: {why}"), base: RETRY_BASE })?);
            }
            Gathered::Refused(_, Refusal::Vendor { class: Class::UnknownSymbol, words, .. }) => {
                total.add(without_unknown(ctx, &entry, range, group, &words, &mut groups)?);
            }
            Gathered::Refused(request, refusal) => total.add(refused(ctx, &entry, &group, &request, refusal)?),
        }
    }
    Ok(total)
}

/// Whether a lane answers with bars of whoever had a ticker on the day.
fn is_by_ticker(entry: &Entry) -> bool {
    place_of(&entry.dataset).0 == table::RAW_EQUITIES_BARS && knows_tickers_by_day(entry.vendor.as_str())
}

/// The tickers to ask under, of the symbols that were not always their own.
fn under_tickers(tickers: &Tickers, entry: &Entry, symbols: &[String], range: DateRange) -> Under {
    let renamed = symbols.iter().filter(|s| is_by_ticker(entry) && tickers.life(s).is_some());
    let parts = renamed.map(|s| (s.clone(), tickers.to_ask(s, range)));
    parts.filter(|(s, parts)| !matches!(parts.as_slice(), [(ticker, days)] if ticker == s && *days == range)).collect()
}

/// Ask every question of the plan and every question that its answers give rise to, every page of each. Absence is known
/// only after the last page.
async fn gather(ctx: &IngestContext, connector: &dyn Connector, batch: &Batch, leases: &[Lease]) -> Result<Gathered> {
    let (mut all, mut beside): (Option<Rows>, Option<Rows>) = (None, None);
    let mut records = Vec::new();
    let kind = leases.first().map_or(queue::Kind::Gap, |l| l.kind);
    let mut renewed = ctx.host().now();
    let plan = connector.plan(batch)?;
    let first = plan.first().cloned();
    let mut asked = BTreeSet::new();
    let mut questions: VecDeque<Request> = plan.into();
    while let Some(question) = questions.pop_front() {
        let mut page = question.clone();
        let (mut digests, mut rows_here, mut http) = (Vec::new(), 0u64, 0u16);
        loop {
            renewed = renew(ctx, leases, renewed)?;
            if !asked.insert(page.source_uri()) {
                return Ok(Gathered::Malformed(page, http, Vec::new(), "the pages go in a circle: the same one was asked for twice".into()));
            }
            let body = match ctx.fetcher.get(&page, kind).await? {
                Ok(body) => body,
                Err(refusal) => return Ok(Gathered::Refused(page, refusal)),
            };
            let named = |page: Page| if batch.symbols.is_empty() { Ok(page) } else { page.rows.check_names().map(|()| page) };
            let decoded = match connector.decode(batch, &page, &body.bytes).and_then(named) {
                Ok(decoded) => decoded,
                Err(why) => return Ok(Gathered::Malformed(page, body.http, body.bytes, why)),
            };
            if let Some(more) = connector.actions_beside(batch, &page, &body.bytes) {
                beside = Some(super::beside::joined(beside, more));
            }
            http = body.http.max(http);
            if !decoded.rows.is_empty() && decoded.next.is_some() && digests.contains(&body.sha256) {
                return Ok(Gathered::Malformed(page, body.http, body.bytes, "the pages go in a circle: one came twice under two numbers".into()));
            }
            rows_here += decoded.rows.len() as u64;
            digests.push(body.sha256.clone());
            questions.extend(decoded.follow);
            let merged = match all.as_mut() {
                None => {
                    all = Some(decoded.rows);
                    Ok(())
                }
                Some(have) => have.append(decoded.rows),
            };
            if let Err(why) = merged {
                return Ok(Gathered::Malformed(page, body.http, body.bytes, why));
            }
            let Some(next) = decoded.next else { break };
            page = next;
        }
        let body_sha256 = if digests.len() == 1 { digests.concat() } else { crate::store::sha256_hex(digests.concat().as_bytes()) };
        records.push(RequestRecord {
            source_uri: question.source_uri(),
            http,
            pages: u32::try_from(digests.len()).unwrap_or(u32::MAX),
            rows: rows_here,
            body_sha256,
            api_version: question.api_version.to_string(),
        });
    }
    // A window without a session has nothing to ask: an answer of no rows.
    let mut rows = all.unwrap_or(Rows::Bars(Vec::new()));
    match rows.settle() {
        Ok(()) => Ok(Gathered::Rows(rows, beside, records)),
        Err(why) => {
            let request = first.ok_or_else(|| Error::bug("rows without a request"))?;
            Ok(Gathered::Malformed(request, 200, Vec::new(), why))
        }
    }
}

/// Keep the leases for as long as pages come.
fn renew(ctx: &IngestContext, leases: &[Lease], last: UtcTime) -> Result<UtcTime> {
    let now = ctx.host().now();
    if now.seconds_since(last) < ctx.worker.ttl.as_secs_f64() / 3.0 {
        return Ok(last);
    }
    ctx.db.write(|tx| leases.iter().try_for_each(|l| queue::renew(tx, now, &ctx.worker, l).map(drop)))?;
    Ok(now)
}

/// Encoding and synchronous writes leave the asynchronous threads alone.
async fn commit_off_thread(
    ctx: &IngestContext,
    vendor: Vendor,
    leases: Vec<Lease>,
    batch: Batch,
    (rows, beside): (Rows, Option<Rows>),
    records: Vec<RequestRecord>,
) -> Result<Tally> {
    let ctx = ctx.clone();
    let work = tokio::task::spawn_blocking(move || commit(&ctx, vendor, &leases, &batch, (&rows, beside), records));
    work.await.map_err(|e| Error::bug("a commit died").cause(e.to_string()))?
}

/// Segments, manifest, transaction.
fn commit(ctx: &IngestContext, vendor: Vendor, leases: &[Lease], batch: &Batch, brought: (&Rows, Option<Rows>), requests: Vec<RequestRecord>) -> Result<Tally> {
    let (rows, beside) = brought;
    if !still_ours(ctx, leases)? {
        return Ok(Tally::default());
    }
    let (table, tf) = place_of(&batch.dataset);
    let host = ctx.host();
    let mut segments = Vec::new();
    rows.each_frame(vendor, batch.range, &mut |range, mut frame, symbols| {
        let place = Place { table, vendor: vendor.as_str(), tf, range, symbols: if batch.symbols.is_empty() { &[] } else { &symbols } };
        let segment = segment::write(&ctx.root, &place, &mut frame)?;
        host.ack("segment", &segment.sha256);
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
        requests,
        asked: Asked { symbols: batch.symbols.clone(), t0: batch.range.start, t1: batch.range.end, under: batch.under.clone() },
        complete: true,
        ingested_at: segment::stamp(&ctx.root, &ctx.db)?,
        node_id: ctx.worker.node_id.clone(),
        code: concat!("trademl ", env!("CARGO_PKG_VERSION")).to_string(),
        world: ctx.root.drive().dataset.clone(),
    };
    let beside = beside.map(|actions| super::beside::write(ctx, vendor, &manifest, actions)).transpose()?;
    let path = segment::write_manifest(&ctx.root, &manifest)?;
    let now = host.now();
    let counts = rows.counts();
    let pages: u64 = manifest.requests.iter().map(|r| u64::from(r.pages)).sum();
    let mut done = Vec::new();
    let fresh = ctx.db.write(|tx| {
        bookmarks::exact_from(tx, manifest.ingested_at)?;
        for lease in leases {
            let rows = if lease.symbol.is_empty() { rows.len() as u64 } else { counts.get(lease.symbol.as_str()).copied().unwrap_or(0) };
            if queue::complete(tx, now, lease, outcome_of(&manifest, rows))? {
                let key = bookmarks::Key { vendor: vendor.as_str(), dataset: &lease.dataset, symbol: &lease.symbol, range: lease.range };
                bookmarks::put(tx, &key, &Bookmark { cursor: None, pages, rows, complete: true, updated_at: manifest.ingested_at })?;
                if beside.is_some() {
                    super::beside::remember(tx, vendor, lease, &manifest)?;
                }
                done.push(lease.id);
            }
        }
        if done.is_empty() {
            return Ok(None);
        }
        let fresh = segment::register(tx, &path, &manifest)?;
        super::beside::enter(tx, beside.as_ref())?;
        queue::count(tx, "rows.raw", fresh)?;
        Ok(Some(fresh))
    })?;
    let Some(fresh) = fresh else {
        // The leases went to somebody else while this worker was held up: theirs is the answer, and this one is withdrawn.
        crate::store::remove(&ctx.root, &path)?;
        if let Some((path, _)) = &beside {
            crate::store::remove(&ctx.root, path)?;
        }
        return Ok(Tally::default());
    };
    for id in &done {
        host.ack("task", &id.to_string());
    }
    Ok(Tally { tasks_done: done.len() as u64, rows: fresh, ..Tally::default() })
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
fn still_ours(ctx: &IngestContext, leases: &[Lease]) -> Result<bool> {
    let conn = ctx.db.lock()?;
    for lease in leases {
        if queue::holds(&conn, lease)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Table and time frame of a dataset.
fn place_of(name: &str) -> (&'static str, &'static str) {
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

fn put_back(ctx: &IngestContext, leases: &[Lease], failure: &Failure) -> Result<Tally> {
    let now = ctx.host().now();
    let failed = ctx.db.write(|tx| {
        let mut failed = 0;
        for lease in leases {
            failed += u64::from(queue::fail(tx, now, lease, failure)?);
        }
        Ok(failed)
    })?;
    Ok(Tally { failed, ..Tally::default() })
}

/// Trouble with what was asked or answered, not with the drive, the keys or the host: it is the row's, and the others go on.
fn is_of_the_answer(e: &Error) -> bool {
    let id = e.body().code.id;
    e.is(code::SSD_PATH) || ["TML-BUG", "TML-DATA", "TML-QC"].iter().any(|family| id.starts_with(family))
}

fn put_back_with_notice(ctx: &IngestContext, leases: &[Lease], e: Error) -> Result<Tally> {
    let mut tally = put_back(ctx, leases, &Failure::Attempt { error: e.to_string(), base: RETRY_BASE })?;
    tally.notices.push(e);
    Ok(tally)
}

fn finish_without_rows(ctx: &IngestContext, leases: &[Lease], outcome: &str) -> Result<Tally> {
    let now = ctx.host().now();
    let done = ctx.db.write(|tx| queue::complete_all(tx, now, leases, outcome))?;
    Ok(Tally { tasks_done: done, ..Tally::default() })
}

/// One unknown symbol must not spoil the batch it shares a request with: it is finished, or the batch is halved until it
/// stands alone.
fn without_unknown(ctx: &IngestContext, entry: &Entry, range: DateRange, mut group: Vec<Lease>, words: &str, groups: &mut Vec<Vec<Lease>>) -> Result<Tally> {
    if group.len() == 1 {
        return not_known(ctx, entry, &group, range);
    }
    let named = |l: &Lease| words.split(|c: char| !(c.is_ascii_alphanumeric() || "./-".contains(c))).any(|w| w.trim_matches(['.', '-']) == l.symbol);
    let (unknown, rest): (Vec<Lease>, Vec<Lease>) = group.iter().cloned().partition(named);
    if unknown.len() == 1 {
        groups.push(rest);
        return not_known(ctx, entry, &unknown, range);
    }
    let half = group.split_off(group.len() / 2);
    groups.push(half);
    groups.push(group);
    Ok(Tally::default())
}

/// Of bars it is an answer that the vendor knows no such symbol: it is kept like one, so that the audit asks the next vendor, and
/// this one no more often than one that has nothing.
fn not_known(ctx: &IngestContext, entry: &Entry, leases: &[Lease], range: DateRange) -> Result<Tally> {
    if place_of(&entry.dataset).0 != table::RAW_EQUITIES_BARS {
        return finish_without_rows(ctx, leases, UNKNOWN_SYMBOL);
    }
    let symbols: Vec<String> = leases.iter().map(|l| l.symbol.clone()).collect();
    let under = under_tickers(&Tickers::load(&ctx.root)?, entry, &symbols, range);
    let batch = Batch { dataset: entry.dataset.clone(), symbols, range, page_rows: entry.page_rows, under };
    let request = connector(entry.vendor).plan(&batch)?.into_iter().next().ok_or_else(|| Error::bug("an answer without a request"))?;
    let (body_sha256, api_version) = (crate::store::sha256_hex(b""), request.api_version.to_string());
    let record = RequestRecord { source_uri: request.source_uri(), http: 404, pages: 1, rows: 0, body_sha256, api_version };
    commit(ctx, entry.vendor, leases, &batch, (&Rows::Bars(Vec::new()), None), vec![record])
}

/// What a refusal means for the rows, the lane and the vendor.
fn refused(ctx: &IngestContext, entry: &Entry, leases: &[Lease], request: &Request, refusal: Refusal) -> Result<Tally> {
    let now = ctx.host().now();
    let vendor = entry.vendor;
    let (class, words, until, http) = match refusal {
        Refusal::Local { words, until } => return put_back(ctx, leases, &Failure::Postpone { error: words, until }),
        Refusal::Vendor { class, words, until, http } => (class, words, until, http),
    };
    match class {
        Class::RateLimited { .. } => {
            put_back(ctx, leases, &Failure::Postpone { error: text!("rate limited: {words}"), until: until.unwrap_or(now.plus_seconds(60)) })
        }
        // The registry clamps windows to the plan; where the plan moved on overnight, the vendor has the last word.
        Class::BeyondDepth => finish_without_rows(ctx, leases, "BEFORE_DEPTH"),
        Class::WindowTooFresh => put_back(ctx, leases, &Failure::Postpone { error: words, until: now.plus_seconds(15 * 60) }),
        Class::NotEntitled => {
            let done = ctx.db.write(|tx| {
                let done = queue::complete_all(tx, now, leases, queue::NOT_ENTITLED)?;
                entitlement::record(tx, entry, LiveStatus::EntitlementBlocked, &words, now)?;
                Ok(done + queue::close_lane(tx, now, vendor.as_str(), &entry.dataset, &words)?)
            })?;
            know_lanes(ctx)?;
            Ok(Tally { tasks_done: done, halt_lane: true, notices: vec![outside_the_plan(entry, words)], ..Tally::default() })
        }
        Class::BadKey => {
            let mut tally = put_back(ctx, leases, &Failure::Release)?;
            tally.stop_vendor = true;
            tally.notices.push(Error::new(code::KEY_REJECTED, text!("{vendor} rejected the key")).cause(words).fix("trademl pi-data-node"));
            Ok(tally)
        }
        Class::Transient | Class::Malformed | Class::SuspiciousEmpty => {
            let error = if words.is_empty() { text!("HTTP {http}") } else { words };
            put_back(ctx, leases, &Failure::Attempt { error, base: RETRY_BASE })
        }
        other => {
            ctx.fetcher.quarantine(&ctx.root, request, http, words.as_bytes(), &format!("{other:?}"))?;
            let mut tally = put_back(ctx, leases, &Failure::Postpone { error: words.clone(), until: now.plus_seconds(6 * 3_600) })?;
            tally.halt_lane = true;
            tally.notices.push(
                Error::new(code::NET_MALFORMED, text!("{vendor} refused {} in words that are not known", entry.dataset))
                    .cause(words)
                    .found(text!("HTTP {http}")),
            );
            Ok(tally)
        }
    }
}
