//! Alpha Vantage's dialect: `GET /query?function=LISTING_STATUS` and `EARNINGS_CALENDAR`. Every refusal is HTTP 200 with a JSON body.
//!
//! The free plan's 25 calls a day are not enforced here; a fault plan may answer with the refusal instead.

use super::keys;
use super::wire::{Call, Reply};
use super::world::{Listing, World};
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::json;

/// Answer one call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    if call.path != "/query" || call.method != "GET" {
        return Reply::text(404, "text/html", "<!DOCTYPE html><html><head><title>Not Found</title></head><body><h1>Not Found</h1></body></html>");
    }
    if call.arg("apikey") != Some(keys::ALPHA_VANTAGE) {
        return error(
            "the parameter apikey is invalid or missing. Please claim your free API key on (https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds.",
        );
    }
    match call.arg("function") {
        Some("LISTING_STATUS") => listing_status(world, now, call),
        Some("EARNINGS_CALENDAR") => earnings_calendar(world, now, call),
        Some("TIME_SERIES_DAILY_ADJUSTED" | "HISTORICAL_OPTIONS") => Reply::ok(&json!({"Information":
            "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints"})),
        Some(other) => error(&format!("Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for {other}.")),
        None => error("Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/)."),
    }
}

fn error(text: &str) -> Reply {
    Reply::ok(&json!({ "Error Message": text }))
}

fn listing_status(world: &World, now: UtcTime, call: &Call) -> Reply {
    let today = now.day_in(&new_york());
    let asof = match call.arg("date").map(str::parse::<TradingDay>) {
        None => today,
        Some(Ok(day)) if day >= TradingDay::ymd(2010, 1, 1).unwrap_or(day) => day.min(today),
        Some(_) => return error("Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for LISTING_STATUS."),
    };
    let state = call.arg("state").unwrap_or("active");
    if !matches!(state, "active" | "delisted") {
        return error("Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for LISTING_STATUS.");
    }
    let mut csv = String::from("symbol,name,exchange,assetType,ipoDate,delistingDate,status\r\n");
    for listing in &world.listings {
        let shown = if state == "active" { listing.active_on(asof) } else { listing.gone_by(asof) };
        if shown {
            csv.push_str(&line(listing, state == "active"));
        }
    }
    Reply::text(200, "application/x-download", csv)
}

/// From today on, three months unless six or twelve are asked for.
fn earnings_calendar(world: &World, now: UtcTime, call: &Call) -> Reply {
    let today = now.day_in(&new_york());
    let days = match call.arg("horizon") {
        Some("12month") => 365,
        Some("6month") => 182,
        _ => 91,
    };
    let mut csv = String::from("symbol,name,reportDate,fiscalDateEnding,estimate,currency,timeOfTheDay\r\n");
    for r in world.calendar(today, today, today.plus_days(days)) {
        let time = match r.hour.as_str() {
            "bmo" => "pre-market",
            "amc" => "post-market",
            _ => "",
        };
        csv.push_str(&format!("{0},{0},{1},,,USD,{time}\r\n", r.symbol, r.date));
    }
    Reply::text(200, "application/x-download", csv)
}

/// One row. A name that is active on the asked day shows no delisting date, whatever the future holds.
fn line(l: &Listing, active: bool) -> String {
    let day = |d: Option<TradingDay>| d.map_or_else(|| "null".to_string(), |d| d.to_string());
    let (delisted, status) = if active { ("null".to_string(), "Active") } else { (day(l.delisted), "Delisted") };
    let name = l.name.replace([',', '"', '\n', '\r'], " ");
    format!("{},{name},{},{},{},{delisted},{status}\r\n", l.symbol, l.exchange, l.asset_type, day(l.ipo))
}
