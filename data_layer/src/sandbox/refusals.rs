//! What each vendor says when it refuses: one sentence for one status, in the vendor's own form.

use super::wire::{Call, Reply};
use super::{faults, finnhub, fmp, limits, massive, sec, tiingo};
use crate::time::UtcTime;
use serde_json::{Value, json};

/// The plan does not hold this.
pub fn entitlement(call: &Call) -> Reply {
    match call.vendor.as_str() {
        "alpha_vantage" => Reply::ok(&faults::fixture("errors/av_premium.json").and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null)),
        "alpaca_trading" => Reply::message(403, "forbidden."),
        "finnhub" => finnhub::error(403, finnhub::NO_ACCESS),
        "fmp" => fmp::payment(),
        "massive" => massive::not_authorized("You are not entitled to this data."),
        "tiingo" => tiingo::detail(403, "You do not have permission to access this data. Please upgrade your plan."),
        // Public services have no plans: they only turn away whom they do not know.
        "sec_data" | "sec_www" => sec::blocked("Undeclared Automated Tool"),
        "treasury" => status(call, 403, UtcTime::from_micros(0)),
        _ => Reply::message(403, "subscription does not permit querying this data"),
    }
}

/// Trouble on the vendor's side.
pub fn server_error(call: &Call) -> Reply {
    match call.vendor.as_str() {
        "alpaca_trading" => Reply::coded(500, 50_010_000, "internal server error occurred"),
        _ => status(call, 500, UtcTime::from_micros(0)),
    }
}

/// A status with the body that the vendor puts to it.
pub fn status(call: &Call, status: u16, now: UtcTime) -> Reply {
    let text = match status {
        429 => "too many requests.",
        401 => "unauthorized",
        403 => "forbidden.",
        404 => "not found",
        500..=599 => "internal server error occurred",
        _ => "the fault plan says so",
    };
    let vendor = call.vendor.as_str();
    match (vendor, status) {
        ("finnhub" | "fmp" | "fred" | "massive" | "tiingo", 429) => limits::refusal(vendor, limits::Window::Hour, now),
        ("sec_data" | "sec_www", 429) => Reply { status, ..sec::blocked("Request Rate Threshold Exceeded") },
        ("sec_data" | "sec_www" | "treasury", _) => {
            Reply::text(status, "text/html", format!("<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>{text}</h1></body></html>"))
        }
        ("finnhub", 401) => finnhub::error(status, "Invalid API key."),
        ("finnhub", _) => finnhub::error(status, text),
        ("fmp", _) => fmp::error(status, text),
        ("fred", _) => Reply::json(status, &json!({"error_code": status, "error_message": text})),
        ("massive", _) => massive::error(status, text),
        ("tiingo", _) => tiingo::detail(status, text),
        _ => Reply::message(status, text),
    }
}
