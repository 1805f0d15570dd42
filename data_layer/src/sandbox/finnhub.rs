//! Finnhub's dialect: an index's history of members, the market's status, and the calendar of reports.

use super::clock::face;
use super::keys;
use super::wire::{Call, Reply};
use super::world::{Report, World};
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::json;

/// Answer one call at `now`. The official client asks for `//path`, so slashes do not count.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    let key = call.header("x-finnhub-token").or(call.arg("token"));
    if key != Some(keys::FINNHUB) {
        return error(401, "Invalid API key.");
    }
    match call.segments().as_slice() {
        // A world that knows no index is a plan without one: probed, shown and never asked again.
        ["index", "historical-constituents"] if !world.stays.is_empty() => constituents(world, now, call),
        ["stock", "market-status"] => Reply::ok(&json!({"exchange": "US", "isOpen": face(now).is_ok_and(|f| f.is_open), "timezone": "America/New_York",
            "session": null, "holiday": null, "t": now.micros().div_euclid(1_000_000)})),
        ["calendar", "earnings"] => earnings(world, now, call),
        _ => error(403, NO_ACCESS),
    }
}

fn earnings(world: &World, now: UtcTime, call: &Call) -> Reply {
    let today = now.day_in(&new_york());
    let day = |name: &str| call.arg(name).and_then(|text| text.parse::<TradingDay>().ok()).unwrap_or(today);
    // Estimates are another trade's; the dates are what a calendar is asked for.
    let row = |r: &Report| json!({"date": r.date, "epsActual": null, "epsEstimate": null, "hour": r.hour, "revenueActual": null, "revenueEstimate": null, "symbol": r.symbol});
    // The free plan looks back a month.
    let from = day("from").max(today.plus_days(-31));
    Reply::ok(&json!({"earningsCalendar": world.calendar(today, from, day("to")).map(row).collect::<Vec<_>>()}))
}

/// What a plan without the lane is told.
pub const NO_ACCESS: &str = "You don't have access to this resource.";

/// The vendor's form of every refusal.
pub fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({ "error": text }))
}

/// Changes up to the world's date, newest first, as the vendor lists them.
fn constituents(world: &World, now: UtcTime, call: &Call) -> Reply {
    if call.arg("symbol") != Some("^GSPC") {
        return Reply::ok(&json!({"historicalConstituents": [], "symbol": call.arg("symbol")}));
    }
    let today = now.day_in(&new_york());
    let joins = world.stays.iter().map(|s| (s.from, "add", &s.symbol));
    let leaves = world.stays.iter().filter_map(|s| Some((s.to?, "remove", &s.symbol)));
    let mut changes: Vec<_> = joins.chain(leaves).filter(|(day, ..)| *day <= today).collect();
    changes.sort_by(|a, b| (b.0, a.1, a.2).cmp(&(a.0, b.1, b.2)));
    let list: Vec<_> = changes.iter().map(|(date, action, symbol)| json!({"action": action, "symbol": symbol, "date": date})).collect();
    Reply::ok(&json!({"historicalConstituents": list, "symbol": "^GSPC"}))
}
