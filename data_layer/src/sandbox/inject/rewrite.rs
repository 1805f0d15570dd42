//! Faults that change what an answer says: rows doubled, lost, late, corrected or scaled, orders and events that mislead.
//!
//! A dialect's rows are wherever its answers keep them (`bars` by symbol, a list, `results`, `observations`, a company's
//! units, an Atom feed's entries); what a row's day and its prices are called differs as well.

use super::super::clock::seconds;
use super::super::faults::{Do, Fault};
use super::super::wire::{Call, Reply};
use crate::calendar::Calendar;
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Value, json};

mod feed;

/// A good answer as the fault makes it. Anything but a 200 stays as it is.
pub fn changed(mut reply: Reply, call: &Call, now: UtcTime, fault: &Fault, action: Do) -> Reply {
    if reply.status != 200 {
        return reply;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(&reply.body) else {
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        if text.contains("<feed") {
            reply.body = feed::changed(&text, now, fault, action).into_bytes();
        } else if let Some(line) = text.lines().last() {
            // A CSV has its last line doubled, whatever the change.
            reply.body.extend_from_slice(format!("{line}\r\n").as_bytes());
        }
        return reply;
    };
    match action {
        Do::DuplicateRows => lists(&mut value, &mut |_, rows| rows.extend(rows.last().cloned())),
        Do::DropSession => drop_session(&mut value, fault),
        Do::ForeignOrder => foreign_order(&mut value, fault, now),
        Do::WrongSymbol => wrong_symbol(&mut value, fault),
        Do::LateBars => late_bars(&mut value, late_from(now, fault)),
        Do::Revise => revise(&mut value, fault),
        Do::Scale => each_row(&mut value, &mut |_, row| multiply(row, fault.factor.unwrap_or(100.0))),
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

fn late_from(now: UtcTime, fault: &Fault) -> UtcTime {
    now.plus_seconds(-whole(fault.seconds.unwrap_or(7_200.0)))
}

/// Whether a session had closed at `then`; other days always had.
fn closed_by(day: TradingDay, then: UtcTime) -> bool {
    !Calendar::xnys().is_session(day) || Calendar::xnys().close(day) <= then
}

/// Every list of rows with the symbol that it stands under ("" where rows name theirs, or nobody does).
fn lists(value: &mut Value, change: &mut dyn FnMut(&str, &mut Vec<Value>)) {
    if let Value::Array(rows) = value {
        return change("", rows);
    }
    for name in ["bars", "results", "observations", "corporate_actions", "facts"] {
        match value.get_mut(name) {
            Some(Value::Array(rows)) => change("", rows),
            Some(inner @ Value::Object(_)) if name == "facts" => leaves(inner, change),
            Some(Value::Object(map)) => {
                for (symbol, rows) in map.iter_mut().filter_map(|(symbol, rows)| Some((symbol, rows.as_array_mut()?))) {
                    change(symbol, rows);
                }
            }
            _ => {}
        }
    }
}

/// Lists at any depth.
fn leaves(value: &mut Value, change: &mut dyn FnMut(&str, &mut Vec<Value>)) {
    match value {
        Value::Array(rows) => change("", rows),
        Value::Object(map) => map.values_mut().for_each(|v| leaves(v, change)),
        _ => {}
    }
}

fn each_row(value: &mut Value, change: &mut dyn FnMut(&str, &mut Value)) {
    lists(value, &mut |symbol, rows| rows.iter_mut().for_each(|row| change(symbol, row)));
}

fn foreign_order(value: &mut Value, fault: &Fault, now: UtcTime) {
    let Value::Array(orders) = value else { return };
    let symbol = fault.as_symbol.as_deref().unwrap_or("AAPL");
    orders.push(json!({"id": format!("of-somebody-else-{symbol}"), "client_order_id": "another-program-1", "symbol": symbol, "asset_class": "us_equity",
        "side": "sell", "type": "trailing_stop", "order_type": "trailing_stop", "trail_percent": "5", "time_in_force": "cls", "qty": null, "notional": "500",
        "filled_qty": "0", "filled_avg_price": null, "limit_price": null, "stop_price": null, "status": "new", "submitted_at": now, "updated_at": now, "legs": null}));
}

/// The day that a row is about.
fn day_of(row: &Value) -> Option<TradingDay> {
    let names = ["t", "date", "execution_date", "ex_dividend_date", "delistedDate", "filed", "ex_date"];
    let cell = names.iter().find_map(|n| row.get(n))?;
    match cell.as_i64() {
        Some(ms) => Some(UtcTime::from_micros(ms.saturating_mul(1_000)).day_in(&new_york())),
        None => cell.as_str()?.get(..10)?.parse().ok(),
    }
}

/// Prices, values and amounts of a row, as numbers or as text.
fn multiply(row: &mut Value, factor: f64) {
    let names = ["o", "h", "l", "c", "vw", "open", "high", "low", "close", "adjOpen", "adjHigh", "adjLow", "adjClose", "value", "val", "cash_amount", "rate"];
    for name in names {
        if let Some(price) = row.get(name).and_then(Value::as_f64) {
            row[name] = json!(price * factor);
        } else if let Some(price) = row.get(name).and_then(Value::as_str).and_then(|t| t.parse::<f64>().ok()) {
            row[name] = json!((price * factor).to_string());
        }
    }
}

/// The session that the fault names, else the newest of the answer.
fn session(value: &mut Value, fault: &Fault) -> Option<TradingDay> {
    let mut newest = fault.session;
    if newest.is_none() {
        each_row(value, &mut |_, row| newest = newest.max(day_of(row)));
    }
    newest
}

fn is_meant(fault: &Fault, symbol: &str) -> bool {
    fault.symbol.as_ref().is_none_or(|s| s == symbol || symbol.is_empty())
}

fn revise(value: &mut Value, fault: &Fault) {
    let day = session(value, fault);
    each_row(value, &mut |symbol, row| {
        if day_of(row) == day && is_meant(fault, symbol) {
            multiply(row, fault.factor.unwrap_or(1.01));
        }
    });
}

/// Rows of sessions that closed after `then` are left out, as if the vendor were still at work on them.
fn late_bars(value: &mut Value, then: UtcTime) {
    lists(value, &mut |_, rows| rows.retain(|row| day_of(row).is_none_or(|d| closed_by(d, then))));
    without_empty(value);
}

fn drop_session(value: &mut Value, fault: &Fault) {
    let Some(day) = session(value, fault) else { return };
    lists(value, &mut |symbol, rows| {
        if is_meant(fault, symbol) {
            rows.retain(|row| day_of(row) != Some(day));
        }
    });
    without_empty(value);
}

/// A symbol without bars is not named at all.
fn without_empty(value: &mut Value) {
    if let Some(bars) = value.get_mut("bars").and_then(Value::as_object_mut) {
        bars.retain(|_, rows| rows.as_array().is_none_or(|r| !r.is_empty()));
    }
}

fn skew(value: &mut Value, by: i64) {
    for name in ["timestamp", "serverTime"] {
        if let Some(at) = value.get(name).and_then(Value::as_str).and_then(|t| UtcTime::parse(t).ok()) {
            value[name] = json!(seconds(at.plus_seconds(by)));
        }
    }
}

/// The page token of the question, or one that leads to the first page.
fn cursor_loop(value: &mut Value, call: &Call) {
    if let Some(token) = value.get_mut("next_page_token") {
        let same = call.arg("page_token").map(str::to_string);
        *token = same.map_or_else(|| token.take(), Value::String);
    }
    if value.get("request_id").is_some() {
        let query: Vec<String> = call.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        value["next_url"] = json!(super::super::massive::address(call, &format!("{}?{}", call.path, query.join("&"))));
    }
    if let Some(offset) = call.arg("offset").and_then(|o| o.parse::<u64>().ok())
        && value.get("count").is_some()
    {
        value["offset"] = json!(offset);
        value["count"] = json!(u64::MAX);
    }
}

fn wrong_symbol(value: &mut Value, fault: &Fault) {
    let other = fault.as_symbol.clone().unwrap_or_else(|| "ZZZZ".into());
    if let Some(bars) = value.get_mut("bars").and_then(Value::as_object_mut) {
        let victim = bars.keys().find(|k| fault.symbol.as_ref().is_none_or(|s| s == *k)).cloned();
        if let Some(rows) = victim.and_then(|v| bars.remove(&v)) {
            bars.insert(other, rows);
        }
        return;
    }
    if let Some(cik) = value.get_mut("cik") {
        *cik = json!(999_999_999);
        return;
    }
    for name in ["symbol", "ticker"] {
        if let Some(symbol) = value.get_mut(name) {
            *symbol = Value::String(other.clone());
        }
        each_row(value, &mut |_, row| {
            if row.get(name).and_then(Value::as_str).is_some_and(|s| is_meant(fault, s)) {
                row[name] = json!(other);
            }
        });
    }
}
