//! One batch: clamp, ask, decode, write, finish. Everything a batch brought is committed in one transaction, or nothing.

use super::IngestContext;
use super::commit::{UNKNOWN_SYMBOL, commit, commit_off_thread, place_of};
use super::probe::{know_lanes, outside_the_plan};
use super::tasks::{Clamp, clamp};
use crate::error::{Error, Result, code};
use crate::fetch::Refusal;
use crate::queue::{self, Failure, Lease};
use crate::schema::table;
use crate::segment::RequestRecord;
use crate::sourcing::entitlement::{self, LiveStatus};
use crate::sourcing::{Entry, Vendor};
use crate::tickers::{Tickers, knows_tickers_by_day};
use crate::time::{DateRange, UtcTime};
use crate::vendor::classify::Class;
use crate::vendor::{Batch, Connector, Page, Request, Rows, Under, connector, recognise};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// First wait after an attempt that failed; doubles each time.
const RETRY_BASE: Duration = Duration::from_secs(15);

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

/// Rows that share a window, and what of it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub leases: Vec<Lease>,
    pub range: DateRange,
}

/// What asking brought.
enum Gathered {
    Rows(Rows, Option<Rows>, Vec<RequestRecord>),
    Refused(Request, Refusal),
    Malformed(Request, u16, Vec<u8>, String),
}

/// Run leases that share vendor, dataset, kind, and either a window or a symbol, to their end.
pub(super) async fn run(ctx: &IngestContext, vendor: Vendor, leases: Vec<Lease>) -> Result<Tally> {
    let mut total = Tally::default();
    let Some(first) = leases.first() else { return Ok(total) };
    let entry = ctx.vendors().endpoints.entry(vendor, &first.dataset).cloned();
    let entry = entry.ok_or_else(|| Error::bug(text!("{vendor} has no lane for {}", first.dataset)))?;
    let connector = connector(vendor);
    let tickers = if is_by_ticker(&entry) { Tickers::load(&ctx.root)? } else { Tickers::default() };
    let mut groups = vec![due(ctx, &entry, leases, &mut total)?];
    while let Some(parts) = groups.pop() {
        let Some(batch) = batch_of(&entry, &tickers, &parts) else { continue };
        let group: Vec<Lease> = parts.iter().flat_map(|p| p.leases.iter().cloned()).collect();
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
            Gathered::Rows(rows, beside, records) => match commit_off_thread(ctx, vendor, parts, batch, (rows, beside), records).await {
                Err(e) if is_of_the_answer(&e) => total.add(put_back_with_notice(ctx, &group, e)?),
                done => total.add(done?),
            },
            Gathered::Malformed(request, http, body, why) => {
                let why = recognise::shape(&body).map_or_else(|| why.clone(), |what| text!("{why} (the body looks like {what})"));
                ctx.fetcher.quarantine(&ctx.root, &request, http, &body, &why)?;
                total.add(put_back(ctx, &group, &Failure::Attempt { error: text!("malformed answer: {why}"), base: RETRY_BASE })?);
            }
            Gathered::Refused(_, Refusal::Vendor { class: Class::UnknownSymbol, words, .. }) => {
                total.add(without_unknown(ctx, &entry, parts, &words, &mut groups)?);
            }
            // That may be true of one window only: each is asked alone.
            Gathered::Refused(_, Refusal::Vendor { class: Class::BeyondDepth | Class::WindowTooFresh, .. }) if parts.len() > 1 => {
                groups.extend(parts.into_iter().map(|part| vec![part]));
            }
            Gathered::Refused(request, refusal) => total.add(refused(ctx, &entry, &group, &request, refusal)?),
        }
    }
    Ok(total)
}

/// The windows of a batch and what of them may be asked for now. Rows of a window of which nothing may are put back, or finished.
fn due(ctx: &IngestContext, entry: &Entry, leases: Vec<Lease>, total: &mut Tally) -> Result<Vec<Part>> {
    let now = ctx.host().now();
    let by_window = |leases: Vec<(DateRange, Lease)>| {
        let mut out: BTreeMap<DateRange, Vec<Lease>> = BTreeMap::new();
        leases.into_iter().for_each(|(range, lease)| out.entry(range).or_default().push(lease));
        out
    };
    let mut asked = Vec::new();
    for (window, leases) in by_window(leases.into_iter().map(|l| (l.range, l)).collect()) {
        match clamp(&ctx.vendors().endpoints, entry, window, now)? {
            Clamp::Ask(range) => asked.extend(leases.into_iter().map(|l| (range, l))),
            Clamp::TooEarly(until) => total.add(put_back(ctx, &leases, &Failure::Postpone { error: "not due yet".into(), until })?),
            Clamp::BeforeDepth => total.add(finish_without_rows(ctx, &leases, "BEFORE_DEPTH")?),
            Clamp::TooLate => total.add(finish_without_rows(ctx, &leases, "TOO_LATE")?),
        }
    }
    Ok(by_window(asked).into_iter().map(|(range, leases)| Part { leases, range }).collect())
}

/// What is asked: the symbols of all rows, from the first day of their windows to the last. `None` without a row.
fn batch_of(entry: &Entry, tickers: &Tickers, parts: &[Part]) -> Option<Batch> {
    let symbols: BTreeSet<&str> = parts.iter().flat_map(|p| &p.leases).map(|l| l.symbol.as_str()).filter(|s| !s.is_empty()).collect();
    let range = DateRange { start: parts.iter().map(|p| p.range.start).min()?, end: parts.iter().map(|p| p.range.end).max()? };
    let symbols: Vec<String> = symbols.into_iter().map(str::to_string).collect();
    let under = under_tickers(tickers, entry, &symbols, range);
    Some(Batch { dataset: entry.dataset.clone(), symbols, range, page_rows: entry.page_rows, under })
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
fn without_unknown(ctx: &IngestContext, entry: &Entry, mut parts: Vec<Part>, words: &str, groups: &mut Vec<Vec<Part>>) -> Result<Tally> {
    let Some(Part { leases: mut group, range }) = parts.pop() else { return Ok(Tally::default()) };
    if !parts.is_empty() || group.len() == 1 {
        // Several windows are those of one symbol.
        parts.push(Part { leases: group, range });
        return not_known(ctx, entry, &parts);
    }
    let part = |leases: Vec<Lease>| vec![Part { leases, range }];
    let named = |l: &Lease| words.split(|c: char| !(c.is_ascii_alphanumeric() || "./-".contains(c))).any(|w| w.trim_matches(['.', '-']) == l.symbol);
    let (unknown, rest): (Vec<Lease>, Vec<Lease>) = group.iter().cloned().partition(named);
    if unknown.len() == 1 {
        groups.push(part(rest));
        return not_known(ctx, entry, &part(unknown));
    }
    let half = group.split_off(group.len() / 2);
    groups.push(part(half));
    groups.push(part(group));
    Ok(Tally::default())
}

/// Of bars it is an answer that the vendor knows no such symbol: it is kept like one, so that the audit asks the next vendor, and
/// this one no more often than one that has nothing.
fn not_known(ctx: &IngestContext, entry: &Entry, parts: &[Part]) -> Result<Tally> {
    if place_of(&entry.dataset).0 != table::RAW_EQUITIES_BARS {
        let leases: Vec<Lease> = parts.iter().flat_map(|p| p.leases.iter().cloned()).collect();
        return finish_without_rows(ctx, &leases, UNKNOWN_SYMBOL);
    }
    let Some(batch) = batch_of(entry, &Tickers::load(&ctx.root)?, parts) else { return Ok(Tally::default()) };
    let request = connector(entry.vendor).plan(&batch)?.into_iter().next().ok_or_else(|| Error::bug("an answer without a request"))?;
    let (body_sha256, api_version) = (crate::store::sha256_hex(b""), request.api_version.to_string());
    let record = RequestRecord { source_uri: request.source_uri(), http: 404, pages: 1, rows: 0, body_sha256, api_version };
    commit(ctx, entry.vendor, parts, &batch, (&Rows::Bars(Vec::new()), None), vec![record])
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
