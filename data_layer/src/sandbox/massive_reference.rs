//! Massive's reference lists: tickers as of a date, splits and dividends, by pages that a cursor leads through.

use super::massive::{Answer, address, error, id};
use super::wire::{Call, Reply};
use super::world::{Action, Listing, World};
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Map, Value, json};

const MAX_ROWS: usize = 1_000;
/// The query that a cursor carries on: everything that narrows or orders the list.
const KEPT: &[&str] = &["ticker", "market", "active", "date", "order", "sort", "limit", "execution_date", "ex_dividend_date"];

/// The parameters in force: those of the cursor on a later page, and where it begins.
fn asked(call: &Call) -> std::result::Result<(Call, usize), Reply> {
    let Some(text) = call.arg("cursor") else { return Ok((call.clone(), 0)) };
    let plain = hex::decode(text).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(|| error(400, "The cursor is not valid"))?;
    let mut whole = call.clone();
    let mut skip = 0;
    for (name, value) in plain.split('&').filter_map(|part| part.split_once('=')) {
        if name == "skip" {
            skip = value.parse().map_err(|_| error(400, "The cursor is not valid"))?;
        } else {
            whole.query.entry(name.to_string()).or_insert_with(|| value.to_string());
        }
    }
    Ok((whole, skip))
}

/// One page of `rows`, and the address of the next.
fn page(call: &Call, whole: &Call, rows: Vec<Value>, skip: usize, default: usize) -> Answer {
    let limit = whole.number("limit", default, MAX_ROWS).map_err(|_| error(400, &format!("The parameter 'limit' must be between 1 and {MAX_ROWS}")))?;
    let more = rows.len() > skip + limit;
    let shown: Vec<Value> = rows.into_iter().skip(skip).take(limit).collect();
    let mut body = Map::from_iter([("status".to_string(), json!("OK")), ("request_id".to_string(), json!(id(call)))]);
    body.insert("count".into(), json!(shown.len()));
    body.insert("results".into(), Value::Array(shown));
    if more {
        let kept = whole.query.iter().filter(|(k, _)| KEPT.iter().any(|name| k.split('.').next() == Some(*name)));
        let mut plain: Vec<String> = kept.map(|(k, v)| format!("{k}={v}")).collect();
        plain.push(format!("skip={}", skip + limit));
        body.insert("next_url".into(), json!(address(call, &format!("{}?cursor={}", call.path, hex::encode(plain.join("&"))))));
    }
    Ok(Reply::ok(&Value::Object(body)))
}

/// Tickers as they stood on `date` (without it: today).
pub(super) fn tickers(world: &World, now: UtcTime, call: &Call) -> Answer {
    let (whole, skip) = asked(call)?;
    let today = now.day_in(&new_york());
    let on = whole.arg("date").map(str::parse::<TradingDay>).transpose().map_err(|_| error(400, "The date must be YYYY-MM-DD"))?;
    let on = on.unwrap_or(today).min(today);
    let active = whole.arg("active") != Some("false");
    let wanted = |l: &&Listing| whole.arg("ticker").is_none_or(|t| t == l.symbol) && if active { l.active_on(on) } else { l.gone_by(on) };
    let mut rows: Vec<Value> = world.listings.iter().filter(wanted).map(|l| ticker(l, active)).collect();
    if whole.arg("order") == Some("desc") {
        rows.reverse();
    }
    page(call, &whole, rows, skip, 100)
}

fn ticker(l: &Listing, active: bool) -> Value {
    let mic = match l.exchange.as_str() {
        "NASDAQ" => "XNAS",
        "NYSE ARCA" => "ARCX",
        _ => "XNYS",
    };
    let kind = if l.asset_type == "Stock" { "CS" } else { l.asset_type.as_str() };
    let mut row = json!({"ticker": l.symbol, "name": l.name, "market": "stocks", "locale": "us", "primary_exchange": mic, "type": kind,
        "active": active, "currency_name": "usd"});
    if let Some(day) = l.delisted.filter(|_| !active) {
        row["delisted_utc"] = json!(format!("{day}T00:00:00Z"));
    }
    row
}

/// Whether a date passes the filters of its name: `name`, `name.gte`, `name.gt`, `name.lte`, `name.lt`.
fn passes(call: &Call, name: &str, day: TradingDay) -> bool {
    let bound = |suffix: &str| call.arg(&format!("{name}{suffix}")).and_then(|t| t.parse::<TradingDay>().ok());
    bound("").is_none_or(|d| day == d)
        && bound(".gte").is_none_or(|d| day >= d)
        && bound(".gt").is_none_or(|d| day > d)
        && bound(".lte").is_none_or(|d| day <= d)
        && bound(".lt").is_none_or(|d| day < d)
}

/// Events of one kind that have come to pass, by ex-date; newest first unless `order=asc`.
fn events(world: &World, now: UtcTime, call: &Call, kind: &str, date: &str, row: fn(&Action) -> Value) -> Answer {
    let (whole, skip) = asked(call)?;
    let today = now.day_in(&new_york());
    let wanted = |a: &&Action| {
        a.kind == kind
            && a.ex_date <= today
            && a.is_told("massive", today)
            && whole.arg("ticker").is_none_or(|t| t == a.symbol)
            && passes(&whole, date, a.ex_date)
    };
    let mut all: Vec<&Action> = world.actions.iter().filter(wanted).collect();
    all.sort_by(|a, b| (a.ex_date, &a.symbol).cmp(&(b.ex_date, &b.symbol)));
    if whole.arg("order") != Some("asc") {
        all.reverse();
    }
    page(call, &whole, all.into_iter().map(row).collect(), skip, 10)
}

fn event_id(a: &Action) -> String {
    format!("E{}", &crate::store::sha256_hex(format!("{} {} {}", a.symbol, a.kind, a.ex_date).as_bytes())[..16])
}

/// Splits; a world whose bars are split-adjusted has none.
pub(super) fn splits(world: &World, now: UtcTime, call: &Call) -> Answer {
    events(world, now, call, "split", "execution_date", |a| {
        let ratio = a.ratio.unwrap_or(1.0);
        let (to, from) = if ratio < 1.0 { (1.0, (1e6 / ratio).round() / 1e6) } else { (ratio, 1.0) };
        json!({"id": event_id(a), "ticker": a.symbol, "execution_date": a.ex_date, "split_from": from, "split_to": to})
    })
}

pub(super) fn dividends(world: &World, now: UtcTime, call: &Call) -> Answer {
    events(world, now, call, "dividend", "ex_dividend_date", |a| {
        json!({"id": event_id(a), "ticker": a.symbol, "cash_amount": a.cash.unwrap_or(0.0), "currency": "USD", "dividend_type": "CD",
            "ex_dividend_date": a.ex_date, "record_date": a.record_date.unwrap_or(a.ex_date), "pay_date": a.pay_date.unwrap_or(a.ex_date), "frequency": 4})
    })
}
