//! FMP's stable interface: delisted companies by pages, the calendar of reports, and a name's profile.
//!
//! Other calls for single symbols are outside the free plan (402). The old interface below `/api/` is closed (403).

use super::keys;
use super::wire::{Call, Reply};
use super::world::{Listing, Report, World};
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Value, json};

const PAGE_ROWS: usize = 100;

/// Answer one call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    let key = call.arg("apikey").or(call.header("apikey"));
    if key != Some(keys::FMP) {
        return error(401, "Invalid API KEY. Feel free to create a Free API Key or visit https://site.financialmodelingprep.com/faqs for more information.");
    }
    match call.segments().as_slice() {
        ["stable", "delisted-companies"] => delisted(world, now, call),
        ["stable", "earnings-calendar"] => earnings(world, now, call),
        ["stable", "profile"] => profile(world, now, call.arg("symbol").unwrap_or_default()),
        ["stable", ..] => payment(),
        ["api", ..] => error(
            403,
            "Legacy Endpoint : Due to Legacy endpoints being no longer supported - This endpoint is only available for legacy users who have valid subscriptions prior August 31, 2025.",
        ),
        _ => error(404, "Not Found"),
    }
}

/// The vendor's form of most refusals.
pub fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({ "Error Message": text }))
}

/// What lies outside the plan is said in plain text.
pub fn payment() -> Reply {
    Reply::text(
        402,
        "text/plain; charset=utf-8",
        "Premium Query Parameter: Special Endpoint : This value set for 'symbol' is not available under your current subscription please visit our subscription page to upgrade your plan",
    )
}

/// Names that are gone by today, newest first, 100 a page at most; a page beyond the end is empty.
fn delisted(world: &World, now: UtcTime, call: &Call) -> Reply {
    let today = now.day_in(&new_york());
    let Ok(limit) = call.number("limit", PAGE_ROWS, usize::MAX) else { return error(400, "limit must be a number above 0") };
    let Some(page) = call.arg("page").map_or(Some(0), |p| p.parse::<usize>().ok()) else { return error(400, "page must be a number") };
    let limit = limit.min(PAGE_ROWS);
    let mut gone: Vec<&Listing> = world.listings.iter().filter(|l| l.gone_by(today)).collect();
    gone.sort_by(|a, b| (b.delisted, &a.symbol).cmp(&(a.delisted, &b.symbol)));
    let row = |l: &&Listing| json!({"symbol": l.symbol, "companyName": l.name, "exchange": l.exchange, "ipoDate": l.ipo, "delistedDate": l.delisted});
    Reply::ok(&Value::Array(gone.iter().skip(page.saturating_mul(limit)).take(limit).map(row).collect()))
}

fn earnings(world: &World, now: UtcTime, call: &Call) -> Reply {
    let today = now.day_in(&new_york());
    let day = |name: &str| call.arg(name).and_then(|text| text.parse::<TradingDay>().ok()).unwrap_or(today);
    let row = |r: &Report| {
        json!({"symbol": r.symbol, "date": r.date, "epsActual": null, "epsEstimated": null, "revenueActual": null, "revenueEstimated": null,
        "lastUpdated": today})
    };
    Reply::ok(&Value::Array(world.calendar(today, day("from"), day("to")).map(row).collect()))
}

fn profile(world: &World, now: UtcTime, symbol: &str) -> Reply {
    let Some(listing) = world.listing(symbol) else { return Reply::ok(&json!([])) };
    let active = listing.active_on(now.day_in(&new_york()));
    Reply::ok(&json!([{"symbol": symbol, "price": world.last_close(symbol, now), "companyName": listing.name, "currency": "USD",
        "exchange": listing.exchange, "exchangeFullName": listing.exchange, "ipoDate": listing.ipo, "isActivelyTrading": active, "isEtf": false,
        "isAdr": false, "isFund": false, "defaultImage": true}]))
}
