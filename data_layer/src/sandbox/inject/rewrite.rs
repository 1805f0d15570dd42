//! Faults that change what an answer says: rows doubled, lost, late, corrected or scaled, orders and events that mislead.

use super::super::clock::seconds;
use super::super::faults::{Do, Fault};
use super::super::wire::{Call, Reply};
use crate::calendar::Calendar;
use crate::time::{TradingDay, UtcTime};
use serde_json::{Value, json};

/// A good answer as the fault makes it. Anything but a 200 stays as it is.
pub fn changed(mut reply: Reply, call: &Call, now: UtcTime, fault: &Fault, action: Do) -> Reply {
    if reply.status != 200 {
        return reply;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&reply.body) else {
        // A CSV has its last line doubled, whatever the change.
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        if let Some(line) = text.lines().last() {
            reply.body.extend_from_slice(format!("{line}\r\n").as_bytes());
        }
        return reply;
    };
    match action {
        Do::DuplicateRows => duplicate_rows(&mut value),
        Do::DropSession => drop_session(&mut value, fault),
        Do::WrongSymbol => wrong_symbol(&mut value, fault),
        Do::LateBars => late_bars(&mut value, now.plus_seconds(-whole(fault.seconds.unwrap_or(7_200.0)))),
        Do::Revise => revise(&mut value, fault),
        Do::Scale => each_bar(&mut value, |_, row| multiply(row, fault.factor.unwrap_or(100.0))),
        Do::ClockSkew => skew(&mut value, whole(fault.seconds.unwrap_or(300.0))),
        Do::CursorLoop => cursor_loop(&mut value, call),
        _ => {}
    }
    reply.body = value.to_string().into_bytes();
    reply
}

fn whole(seconds: f64) -> i64 {
    seconds.round() as i64
}

/// Every bar of the answer with its symbol.
fn each_bar(value: &mut Value, mut change: impl FnMut(&str, &mut Value)) {
    match value.get_mut("bars") {
        Some(Value::Object(bars)) => {
            for (symbol, rows) in bars {
                rows.as_array_mut().into_iter().flatten().for_each(|row| change(symbol, row));
            }
        }
        Some(Value::Array(rows)) => rows.iter_mut().for_each(|row| change("", row)),
        _ => {}
    }
}

fn day_of(row: &Value) -> Option<TradingDay> {
    row["t"].as_str()?.get(..10)?.parse().ok()
}

fn multiply(row: &mut Value, factor: f64) {
    for name in ["o", "h", "l", "c", "vw"] {
        if let Some(price) = row.get(name).and_then(Value::as_f64) {
            row[name] = json!(price * factor);
        }
    }
}

fn revise(value: &mut Value, fault: &Fault) {
    let mut newest = fault.session;
    if newest.is_none() {
        each_bar(value, |_, row| newest = newest.max(day_of(row)));
    }
    let wanted = |symbol: &str| fault.symbol.as_ref().is_none_or(|s| s == symbol || symbol.is_empty());
    each_bar(value, |symbol, row| {
        if day_of(row) == newest && wanted(symbol) {
            multiply(row, fault.factor.unwrap_or(1.01));
        }
    });
}

/// Bars of sessions that closed after `then` are left out, as if the vendor were still at work on them.
fn late_bars(value: &mut Value, then: UtcTime) {
    let there = |row: &Value| day_of(row).is_none_or(|d| !Calendar::xnys().is_session(d) || Calendar::xnys().close(d) <= then);
    match value.get_mut("bars") {
        Some(Value::Object(bars)) => {
            bars.values_mut().filter_map(Value::as_array_mut).for_each(|rows| rows.retain(|row| there(row)));
            bars.retain(|_, rows| rows.as_array().is_none_or(|r| !r.is_empty()));
        }
        Some(Value::Array(rows)) => rows.retain(|row| there(row)),
        _ => {}
    }
}

fn skew(value: &mut Value, by: i64) {
    if let Some(at) = value.get("timestamp").and_then(Value::as_str).and_then(|t| UtcTime::parse(t).ok()) {
        value["timestamp"] = json!(seconds(at.plus_seconds(by)));
    }
}

/// The page token of the question, or one that leads to the first page.
fn cursor_loop(value: &mut Value, call: &Call) {
    if let Some(token) = value.get_mut("next_page_token") {
        let same = call.arg("page_token").map(str::to_string);
        *token = same.map_or_else(|| token.take(), Value::String);
    }
    if let Some(offset) = call.arg("offset").and_then(|o| o.parse::<u64>().ok())
        && value.get("count").is_some()
    {
        value["offset"] = json!(offset);
        value["count"] = json!(u64::MAX);
    }
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
