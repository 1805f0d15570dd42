//! Trying a key, and finding out what it may ask for.

use super::IngestContext;
use crate::budget::{Pacer, Slices};
use crate::calendar::Calendar;
use crate::clock::ClockWatch;
use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::fetch::{Body, Fetcher, Network, Refusal};
use crate::host::Host;
use crate::queue::{self, Kind};
use crate::schema::dataset;
use crate::sourcing::entitlement::{self, Entitlement, LiveStatus};
use crate::sourcing::{BESIDE, BackfillConfig, EdgeConfig, Entry, Vendor, Vendors};
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use crate::vendor::classify::Class;
use crate::vendor::{Batch, Under, alpaca, alpha_vantage, connector, finnhub, fmp, fred, massive, sec_edgar, tiingo, treasury};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What trying a key showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyVerdict {
    Ok,
    Rejected,
    Unreachable,
    NotEntitled,
}

/// One live call with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCheck {
    pub vendor: Vendor,
    pub verdict: KeyVerdict,
    /// A sentence for the screen; never a key.
    pub detail: String,
    pub checked_at: UtcTime,
}

/// Try a vendor's key with its cheapest call. Alpaca: the clock. Alpha Vantage has no free call: this costs one of the
/// day's 25, and says so. With a ledger the call is counted; before there is a drive, `db` is `None`.
pub async fn probe_key(host: &Host, vendors: &Vendors, vendor: Vendor, db: Option<Arc<Db>>) -> Result<KeyCheck> {
    let missing = vendors.missing_keys(vendor);
    if !missing.is_empty() {
        return Err(Error::new(code::KEY_MISSING, text!("{} is not set", missing.join(" and "))).fix("trademl pi-data-node"));
    }
    let now = host.now();
    let (request, good) = match vendor {
        Vendor::Alpaca => (alpaca::clock(), "the key works"),
        Vendor::AlphaVantage => {
            let day = Calendar::xnys().last_closed(now)?;
            (alpha_vantage::listing_status(day, "delisted"), "the key works (this check used one of the day's 25 calls)")
        }
        Vendor::Fred => (fred::series("VIXCLS"), "the key works"),
        Vendor::Finnhub => (finnhub::market_status(), "the key works"),
        Vendor::Tiingo => (tiingo::test(), "the key works"),
        Vendor::Massive => (massive::market_status(), "the key works"),
        Vendor::Fmp => (fmp::delisted(0), "the key works"),
        Vendor::SecEdgar => (sec_edgar::company_facts("0000320193"), "the contact is accepted"),
        Vendor::Treasury => (treasury::curve(now.day_in(&new_york()).year()), "it answers; no key is needed"),
    };
    let fetcher = Fetcher {
        host: host.clone(),
        db,
        vendors: Arc::new(vendors.clone()),
        transport: Arc::new(Network::new(host)),
        pacer: Arc::new(Pacer::default()),
        slices: Slices::default(),
        edge: Arc::new(EdgeConfig::load(host)?),
        deadline: Duration::from_secs(20),
        calls: Arc::default(),
        clock: Arc::new(ClockWatch::new(host)),
    };
    let (verdict, detail) = match fetcher.get(&request, Kind::Forward).await {
        Ok(answer) => judge(vendor, answer, good),
        Err(e) if e.is(code::NET_UNREACHABLE) => (KeyVerdict::Unreachable, e.body().cause.clone().unwrap_or_else(|| e.body().what.clone())),
        Err(e) => return Err(e),
    };
    Ok(KeyCheck { vendor, verdict, detail, checked_at: now })
}

fn judge(vendor: Vendor, answer: std::result::Result<Body, Refusal>, good: &str) -> (KeyVerdict, String) {
    match answer {
        Ok(_) => (KeyVerdict::Ok, good.to_string()),
        Err(Refusal::Local { words, until }) => (KeyVerdict::Unreachable, text!("not asked: {words}, until {until}")),
        Err(Refusal::Vendor { class, words, http, .. }) => match class {
            Class::BadKey => (KeyVerdict::Rejected, words),
            Class::NotEntitled => (KeyVerdict::NotEntitled, words),
            // A vendor that counts our calls knows the key.
            Class::RateLimited { .. } => (KeyVerdict::Ok, text!("the key is known, and its rate limit is reached: {words}")),
            _ if http == 0 => (KeyVerdict::Unreachable, words),
            _ => (KeyVerdict::Unreachable, text!("{vendor} answered HTTP {http}: {words}")),
        },
    }
}

/// Ask each data lane that has a key for one session of these symbols (name a large and a mid-size one) and record what
/// the key may do. Alpha Vantage's listing lane is left as it is: a probe would cost a twelfth of its day.
pub async fn probe_lanes(ctx: &IngestContext, symbols: &[String]) -> Result<Vec<Entitlement>> {
    let wish = BackfillConfig::load(&ctx.root)?;
    let entries: Vec<Entry> = ctx.vendors().endpoints.entries().iter().filter(|e| e.enabled()).cloned().collect();
    for entry in entries.iter().filter(|e| is_probed(e, &wish) && may_be_asked(ctx, e)) {
        if let Some((live, words)) = probe_lane(ctx, entry, &canary(entry, symbols, &wish)).await? {
            keep(ctx, entry, live, &words)?;
        }
    }
    let conn = ctx.db.lock()?;
    Ok(entitlement::all(&conn)?.into_values().collect())
}

/// What looking again at lanes showed.
#[derive(Debug, Default)]
pub struct Again {
    pub looked_at: u64,
    /// Lanes that serve again.
    pub opened: u64,
    /// A lane that was refused for the first time, a key that is rejected, a vendor that is away.
    pub notices: Vec<Error>,
}

/// Look again at the lanes that were ever looked at or refused and are due: one that serves weekly, one that was refused daily at
/// first; and at lanes beside the prices that are wanted since and were never looked at. One that serves again is asked again for all
/// that it was refused.
pub async fn probe_again(ctx: &IngestContext, symbols: &[String]) -> Result<Again> {
    let (known, wish) = (entitlement::all(&*ctx.db.lock()?)?, BackfillConfig::load(&ctx.root)?);
    let mut out = Again::default();
    for entry in ctx.vendors().endpoints.entries().iter().filter(|e| e.enabled() && may_be_asked(ctx, e)) {
        let before = known.get(&(entry.vendor.as_str().to_string(), entry.dataset.clone()));
        let closed = before.is_some_and(Entitlement::blocked);
        let due = match before {
            Some(b) => b.lane == entry.lane && (closed || is_probed(entry, &wish)) && b.is_due(ctx.host().now()),
            None => BESIDE.contains(&entry.dataset.as_str()) && is_probed(entry, &wish),
        };
        if !due {
            continue;
        }
        out.looked_at += 1;
        // Of a lane that is closed one name tells enough.
        let some = if closed { &symbols[..symbols.len().min(1)] } else { symbols };
        let (live, words) = match probe_lane(ctx, entry, &canary(entry, some, &wish)).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(e) if e.is(code::KEY_REJECTED) || e.is(code::NET_UNREACHABLE) => {
                out.notices.push(e);
                continue;
            }
            Err(e) => return Err(e),
        };
        // An answer that says nothing of the plan opens nothing.
        let live = if closed && live != LiveStatus::LiveVerified { LiveStatus::EntitlementBlocked } else { live };
        keep(ctx, entry, live, &words)?;
        out.opened += u64::from(closed && live == LiveStatus::LiveVerified);
        if !closed && live == LiveStatus::EntitlementBlocked {
            out.notices.push(outside_the_plan(entry, words));
        }
    }
    Ok(out)
}

/// What a person is told once when a vendor refuses a lane.
pub(super) fn outside_the_plan(entry: &Entry, words: String) -> Error {
    Error::new(code::KEY_NOT_ENTITLED, text!("the {} key's plan does not include {}", entry.vendor, entry.dataset)).cause(words)
}

/// Record what a lane showed; its rows go, or come back, with it.
fn keep(ctx: &IngestContext, entry: &Entry, live: LiveStatus, words: &str) -> Result<()> {
    let now = ctx.host().now();
    ctx.db.write(|tx| {
        entitlement::record(tx, entry, live, words, now)?;
        match live {
            LiveStatus::EntitlementBlocked => queue::close_lane(tx, now, entry.vendor.as_str(), &entry.dataset, words)?,
            LiveStatus::LiveVerified => queue::reopen_lane(tx, now, entry.vendor.as_str(), &entry.dataset)?,
            LiveStatus::Unprobed | LiveStatus::LiveFailed => 0,
        };
        Ok(())
    })?;
    know_lanes(ctx)
}

/// Tell the registry which lanes the keys were found not to hold, by this process or another: no plan counts on them.
pub fn know_lanes(ctx: &IngestContext) -> Result<()> {
    let found = entitlement::all(&*ctx.db.lock()?)?;
    let shut = found.into_values().filter(Entitlement::blocked).filter_map(|e| Some((Vendor::parse(&e.vendor).ok()?, e.dataset)));
    ctx.vendors().endpoints.set_shut(shut.collect());
    Ok(())
}

/// Whether a vendor's key is here; of a vendor without one, whether the drive's world plays it.
fn may_be_asked(ctx: &IngestContext, entry: &Entry) -> bool {
    ctx.vendors().missing_keys(entry.vendor).is_empty() && ctx.vendors().endpoints.is_keyed(entry.vendor)
}

fn is_probed(entry: &Entry, wish: &BackfillConfig) -> bool {
    let name = entry.dataset.as_str();
    if BESIDE.contains(&name) {
        // Of the SEC its list of tickers is looked at: one public service, one contact.
        return wish.wants(name) && entry.vendor != Vendor::SecEdgar;
    }
    match entry.vendor {
        Vendor::Alpaca => matches!(name, dataset::EQUITIES_EOD | dataset::EQUITIES_MINUTE | dataset::CORP_ACTIONS),
        Vendor::Fred | Vendor::Finnhub | Vendor::Tiingo | Vendor::Massive => true,
        // A public service without a plan: one list tells whether it answers this contact.
        Vendor::SecEdgar => name == dataset::COMPANIES,
        // One of the day's 250 calls; the list of delisted companies is one of those beside prices.
        Vendor::Fmp => name == dataset::EARNINGS_CALENDAR,
        // A call of the day's few.
        Vendor::AlphaVantage | Vendor::Treasury => false,
    }
}

/// What a canary asks for: the symbols given, a series of the vendor's own, one of the wanted underlyings, or the whole market.
fn canary(entry: &Entry, symbols: &[String], wish: &BackfillConfig) -> Vec<String> {
    match entry.dataset.as_str() {
        dataset::MACROS_FRED => vec!["VIXCLS".into()],
        dataset::OPTIONS_CHAINS => wish.underlyings().first().cloned().into_iter().collect(),
        dataset::INDEX_MEMBERSHIP | dataset::EARNINGS_CALENDAR | dataset::LISTINGS | dataset::COMPANIES => Vec::new(),
        dataset::TREASURY | dataset::DELISTINGS => Vec::new(),
        _ => symbols.to_vec(),
    }
}

/// `None` when the answer says nothing about the plan (no network, rate limit, unknown words).
async fn probe_lane(ctx: &IngestContext, entry: &Entry, symbols: &[String]) -> Result<Option<(LiveStatus, String)>> {
    let now = ctx.host().now();
    let cal = Calendar::xnys();
    // The session before the newest one: certainly complete.
    let session = cal.previous(cal.last_closed(now.plus_seconds(-entry.min_age_minutes * 60))?)?;
    let mut symbols = symbols.to_vec();
    symbols.sort();
    symbols.dedup();
    // The Treasury has no curve on a bank holiday that is a session; its feeds are of a calendar year.
    let curve = entry.dataset == dataset::TREASURY;
    let first = TradingDay::ymd(session.year(), 1, 1).filter(|_| curve).map_or(session, |year| session.plus_days(-7).max(year));
    let batch =
        Batch { dataset: entry.dataset.clone(), symbols, range: DateRange::new(first, session.plus_days(1))?, page_rows: entry.page_rows, under: Under::new() };
    let connector = connector(entry.vendor);
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for request in connector.plan(&batch)? {
        let name = request.unique.clone().unwrap_or_else(|| entry.lane.clone());
        match ctx.fetcher.get(&request, Kind::QcProbe).await? {
            Ok(body) => match connector.decode(&batch, &request, &body.bytes) {
                Ok(page) if page.rows.is_empty() && page.follow.is_empty() && (curve || !connector.may_be_empty(&entry.dataset)) => {
                    let of = if batch.symbols.is_empty() { batch.range.to_string() } else { batch.symbols.join(", ") };
                    return Ok(Some((LiveStatus::Unprobed, text!("answered, without rows for {of}"))));
                }
                Ok(_) => good.push(name),
                Err(why) => return Ok(Some((LiveStatus::LiveFailed, why))),
            },
            Err(Refusal::Vendor { class: Class::NotEntitled, words, .. }) => refused.push((name, words)),
            Err(Refusal::Vendor { class: Class::BadKey, words, .. }) => {
                return Err(Error::new(code::KEY_REJECTED, text!("{} rejected the key", entry.vendor)).cause(words).fix("trademl pi-data-node"));
            }
            Err(_) => return Ok(None),
        }
    }
    Ok(match (good.is_empty(), refused.into_iter().next()) {
        (_, None) => (!good.is_empty()).then(|| (LiveStatus::LiveVerified, String::new())),
        (true, Some((_, words))) => Some((LiveStatus::EntitlementBlocked, words)),
        // One famous name proves nothing about the others: what works for some symbols only is not a lane.
        (false, Some((name, words))) => Some((LiveStatus::EntitlementBlocked, text!("the plan holds {} and not {name}: {words}", good.join(", ")))),
    })
}
