//! Trying a key, and finding out what it may ask for.

use super::IngestContext;
use crate::budget::{Pacer, Slices};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::fetch::{Body, Fetcher, Network, Refusal};
use crate::host::Host;
use crate::queue::{self, Kind};
use crate::schema::dataset;
use crate::sourcing::entitlement::{self, Entitlement, LiveStatus};
use crate::sourcing::{EdgeConfig, Entry, Vendor, Vendors};
use crate::time::{DateRange, UtcTime, new_york};
use crate::vendor::classify::Class;
use crate::vendor::{Batch, alpaca, alpha_vantage, connector, finnhub, fmp, fred, massive, sec_edgar, tiingo, treasury};
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
    let entries: Vec<Entry> = ctx.vendors().endpoints.entries().iter().filter(|e| e.enabled()).cloned().collect();
    for entry in entries.iter().filter(|e| is_probed(e) && ctx.vendors().missing_keys(e.vendor).is_empty()) {
        let Some((live, words)) = probe_lane(ctx, entry, symbols).await? else { continue };
        let now = ctx.host().now();
        ctx.db.write(|tx| {
            entitlement::record(tx, entry, live, &words, now)?;
            if live == LiveStatus::EntitlementBlocked {
                queue::close_lane(tx, now, entry.vendor.as_str(), &entry.dataset, &words)?;
            }
            Ok(())
        })?;
    }
    let conn = ctx.db.lock()?;
    Ok(entitlement::all(&conn)?.into_values().collect())
}

fn is_probed(entry: &Entry) -> bool {
    match entry.vendor {
        Vendor::Alpaca => matches!(entry.dataset.as_str(), dataset::EQUITIES_EOD | dataset::EQUITIES_MINUTE | dataset::CORP_ACTIONS),
        Vendor::Fred | Vendor::Finnhub | Vendor::Tiingo | Vendor::Massive => true,
        // A public service without a plan: one list tells whether it answers this contact.
        Vendor::SecEdgar => entry.dataset == dataset::COMPANIES,
        // A call of the day's few.
        Vendor::AlphaVantage | Vendor::Fmp | Vendor::Treasury => false,
    }
}

/// What a canary asks for: the symbols given, a series of the vendor's own, or the whole market.
fn canary(entry: &Entry, symbols: &[String]) -> Vec<String> {
    match entry.dataset.as_str() {
        dataset::MACROS_FRED => vec!["VIXCLS".into()],
        dataset::INDEX_MEMBERSHIP | dataset::EARNINGS_CALENDAR | dataset::LISTINGS | dataset::COMPANIES => Vec::new(),
        _ => symbols.to_vec(),
    }
}

/// `None` when the answer says nothing about the plan (no network, rate limit, unknown words).
async fn probe_lane(ctx: &IngestContext, entry: &Entry, symbols: &[String]) -> Result<Option<(LiveStatus, String)>> {
    let now = ctx.host().now();
    let cal = Calendar::xnys();
    // The session before the newest one: certainly complete.
    let session = cal.previous(cal.last_closed(now.plus_seconds(-entry.min_age_minutes * 60))?)?;
    let mut symbols = canary(entry, symbols);
    symbols.sort();
    symbols.dedup();
    let batch = Batch { dataset: entry.dataset.clone(), symbols, range: DateRange::new(session, session.plus_days(1))?, page_rows: entry.page_rows };
    let connector = connector(entry.vendor);
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for request in connector.plan(&batch)? {
        let name = request.unique.clone().unwrap_or_else(|| entry.lane.clone());
        match ctx.fetcher.get(&request, Kind::QcProbe).await? {
            Ok(body) => match connector.decode(&batch, &request, &body.bytes) {
                Ok(page) if page.rows.is_empty() && page.follow.is_empty() && !connector.may_be_empty(&entry.dataset) => {
                    return Ok(Some((LiveStatus::Unprobed, text!("answered, without rows for {}", batch.symbols.join(", ")))));
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
