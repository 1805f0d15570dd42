//! Carrying out a fault: what is answered in place of, or made of, the right answer.

use super::faults::{Do, Fault, fixture};
use super::wire::{Call, Reply};
use crate::error::Result;
use crate::time::TradingDay;
use serde_json::{Value, json};
use std::time::Duration;

/// An answer and what becomes of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reply: Reply,
    /// Close the connection after this many bytes of the answer (head included).
    pub cut_after: Option<u64>,
    /// Real time to wait before answering.
    pub delay: Duration,
}

impl Outcome {
    pub fn plain(reply: Reply) -> Self {
        Self { reply, cut_after: None, delay: Duration::ZERO }
    }
    fn cut(reply: Reply, bytes: u64) -> Self {
        Self { reply, cut_after: Some(bytes), delay: Duration::ZERO }
    }
}

/// A response's head is longer than this, so half a body beyond it never reaches the end.
const HEAD_BYTES: u64 = 100;

/// Answer `call` as `fault` says; `serve` is the faultless dialect.
pub fn outcome(call: &Call, fault: &Fault, serve: impl FnOnce(&Call) -> Result<Reply>) -> Result<Outcome> {
    Ok(match fault.action {
        Do::Status | Do::Body => Outcome::plain(canned(fault)),
        Do::Html => Outcome::plain(Reply::text(fault.status.unwrap_or(200), "text/html; charset=utf-8", HTML)),
        Do::Entitlement => Outcome::plain(entitlement(call)),
        Do::ErrorBefore => Outcome::plain(server_error(call)),
        Do::Reset => Outcome::cut(server_error(call), 0),
        Do::LostAck => Outcome::cut(serve(call)?, 0),
        Do::ErrorAfter => {
            serve(call)?;
            Outcome::plain(server_error(call))
        }
        Do::Truncate => {
            let reply = serve(call)?;
            let bytes = HEAD_BYTES + reply.body.len() as u64 / 2;
            Outcome::cut(reply, bytes)
        }
        Do::Slow => Outcome { delay: Duration::from_secs_f64(fault.seconds.unwrap_or(5.0).clamp(0.0, 300.0)), ..Outcome::plain(serve(call)?) },
        Do::PageShort => {
            let mut short = call.clone();
            let rows = fault.rows.unwrap_or(1).max(1).to_string();
            for name in ["limit", "page_size"] {
                short.query.insert(name.into(), rows.clone());
            }
            Outcome::plain(serve(&short)?)
        }
        Do::DuplicateRows => Outcome::plain(rewrite(serve(call)?, duplicate_rows)),
        Do::DropSession => Outcome::plain(rewrite(serve(call)?, |v| drop_session(v, fault))),
        Do::WrongSymbol => Outcome::plain(rewrite(serve(call)?, |v| wrong_symbol(v, fault))),
        other => Outcome::plain(Reply::message(501, &format!("the sandbox cannot do {other:?} yet"))),
    })
}

const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head><body><h1>We will be right back</h1></body></html>\n";

/// A fixed status and body.
fn canned(fault: &Fault) -> Reply {
    let status = fault.status.unwrap_or(200);
    let text = fault.fixture.as_deref().and_then(fixture).map(str::to_string).or_else(|| fault.text.clone());
    let text = text.unwrap_or_else(|| {
        let message = match status {
            429 => "too many requests.",
            401 => "unauthorized",
            403 => "forbidden.",
            404 => "not found",
            500..=599 => "internal server error occurred",
            _ => "the fault plan says so",
        };
        json!({ "message": message }).to_string()
    });
    let kind = if text.trim_start().starts_with(['{', '[']) { "application/json" } else { "text/plain; charset=utf-8" };
    let reply = Reply::text(status, kind, text);
    match fault.retry_after {
        Some(seconds) => reply.with_header("Retry-After", seconds.to_string()),
        None => reply,
    }
}

fn server_error(call: &Call) -> Reply {
    match call.vendor.as_str() {
        "alpaca_trading" => Reply::coded(500, 50_010_000, "internal server error occurred"),
        _ => Reply::message(500, "internal server error occurred"),
    }
}

fn entitlement(call: &Call) -> Reply {
    match call.vendor.as_str() {
        "alpha_vantage" => Reply::ok(&fixture("errors/av_premium.json").and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null)),
        "alpaca_trading" => Reply::message(403, "forbidden."),
        _ => Reply::message(403, "subscription does not permit querying this data"),
    }
}

/// Change a JSON answer; a CSV one has its last line doubled, whatever the change.
fn rewrite(mut reply: Reply, change: impl FnOnce(&mut Value)) -> Reply {
    if reply.status != 200 {
        return reply;
    }
    match serde_json::from_slice::<Value>(&reply.body) {
        Ok(mut value) => {
            change(&mut value);
            reply.body = value.to_string().into_bytes();
        }
        Err(_) => {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            if let Some(line) = text.lines().last() {
                reply.body.extend_from_slice(format!("{line}\r\n").as_bytes());
            }
        }
    }
    reply
}

fn duplicate_rows(value: &mut Value) {
    let double = |list: &mut Value| {
        if let Some(rows) = list.as_array_mut() {
            rows.extend(rows.last().cloned());
        }
    };
    match value.get_mut("bars") {
        Some(Value::Object(bars)) => bars.values_mut().for_each(double),
        Some(list) => double(list),
        None => double(value),
    }
}

fn drop_session(value: &mut Value, fault: &Fault) {
    let Some(bars) = value.get_mut("bars").and_then(Value::as_object_mut) else { return };
    let day_of = |row: &Value| row["t"].as_str().and_then(|t| t.get(..10)).and_then(|t| t.parse::<TradingDay>().ok());
    let newest = bars.values().filter_map(Value::as_array).flatten().filter_map(day_of).max();
    let Some(day) = fault.session.or(newest) else { return };
    for (symbol, rows) in bars.iter_mut() {
        if fault.symbol.as_ref().is_none_or(|s| s == symbol)
            && let Some(rows) = rows.as_array_mut()
        {
            rows.retain(|row| day_of(row) != Some(day));
        }
    }
    bars.retain(|_, rows| rows.as_array().is_none_or(|r| !r.is_empty()));
}

fn wrong_symbol(value: &mut Value, fault: &Fault) {
    let other = fault.as_symbol.clone().unwrap_or_else(|| "ZZZZ".into());
    if let Some(bars) = value.get_mut("bars").and_then(Value::as_object_mut) {
        let victim = bars.keys().find(|k| fault.symbol.as_ref().is_none_or(|s| s == *k)).cloned();
        if let Some(rows) = victim.and_then(|v| bars.remove(&v)) {
            bars.insert(other, rows);
        }
    } else if let Some(symbol) = value.get_mut("symbol") {
        *symbol = Value::String(other);
    }
}
