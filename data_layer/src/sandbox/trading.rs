//! Alpaca's trading dialect: account, clock, calendar, assets, orders, positions and fills of a simulated account.
//!
//! Field names follow the vendor's OpenAPI document of 2026-06; amounts are strings, as there. The account's number begins
//! with `SIM`. One order may take a position through zero, which the real broker refuses.

use super::account;
use super::book::{Book, Fill, Order, Which};
use super::clock::{face, local};
use super::keys;
use super::orders;
use super::wire::{Call, Reply, decimal};
use super::world::World;
use crate::calendar::{Calendar, YEARS};
use crate::error::Result;
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Answer one trading call at `now`. `Err` is a failure of the book itself (the vendor's 500).
pub fn answer(world: &World, book: &mut Book, now: UtcTime, call: &Call) -> Result<Reply> {
    if !keys::alpaca_given(call) {
        return Ok(Reply::coded(401, 40_110_000, "request is not authorized"));
    }
    if !keys::alpaca(call) {
        return Ok(Reply::message(403, "forbidden."));
    }
    let reply = match (call.method.as_str(), call.segments().as_slice()) {
        ("GET", ["v2", "account"]) => get_account(world, book, now)?,
        ("GET", ["v2", "clock"]) => clock(now)?,
        ("GET", ["v2", "calendar"]) => calendar(call)?,
        ("GET", ["v2", "assets"]) => assets(world, now, call),
        ("GET", ["v2", "assets", one]) => asset(world, now, one),
        ("GET", ["v2", "positions"]) => positions(world, book, now)?,
        ("GET", ["v2", "positions", one]) => position(world, book, now, one)?,
        ("GET", ["v2", "account", "activities"]) => activities(world, book, now, call, &call.list("activity_types"))?,
        ("GET", ["v2", "account", "activities", kind]) => activities(world, book, now, call, &[(*kind).to_string()])?,
        ("POST", ["v2", "orders"]) => orders::place(world, book, now, call)?,
        ("GET", ["v2", "orders"]) => orders::list(book, call)?,
        ("DELETE", ["v2", "orders"]) => orders::cancel_all(book, now)?,
        ("GET", ["v2", "orders:by_client_order_id"]) => orders::by_client_id(book, call)?,
        ("GET", ["v2", "orders", id]) => orders::by_id(book, id)?,
        ("DELETE", ["v2", "orders", id]) => orders::cancel(book, now, id)?,
        ("PATCH", ["v2", "orders", id]) => orders::replace(world, book, now, id, call)?,
        _ => Reply::coded(404, 40_410_000, "endpoint not found"),
    };
    Ok(keys::rate_headers(reply, now))
}

fn get_account(world: &World, book: &Book, now: UtcTime) -> Result<Reply> {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("account {} {}", account::ACCOUNT_NUMBER, world.dataset()).as_bytes());
    let created = Calendar::xnys().open(world.first);
    let open = book.orders(Which::Open)?;
    Ok(Reply::ok(&account::account_json(world, &id.to_string(), created, &book.fills()?, &open, now)))
}

fn clock(now: UtcTime) -> Result<Reply> {
    let f = face(now)?;
    Ok(Reply::ok(&json!({"timestamp": local(now), "is_open": f.is_open, "next_open": local(f.next_open), "next_close": local(f.next_close)})))
}

fn calendar(call: &Call) -> Result<Reply> {
    let edge = |name: &str, default: Option<TradingDay>| call.arg(name).and_then(|t| t.get(..10).unwrap_or(t).parse().ok()).or(default);
    let (Some(start), Some(end)) = (edge("start", TradingDay::ymd(YEARS.0, 1, 1)), edge("end", TradingDay::ymd(YEARS.1, 12, 31))) else {
        return Ok(Reply::coded(422, 40_010_001, "invalid date"));
    };
    if start > end {
        return Ok(Reply::ok(&json!([])));
    }
    let c = Calendar::xnys();
    let days: Vec<Value> = c
        .sessions(DateRange::new(start, end.plus_days(1))?)
        .iter()
        .map(|d| {
            let close = local(c.close(*d));
            json!({"date": d, "open": "09:30", "close": close.get(11..16).unwrap_or("16:00"), "session_open": "0400", "session_close": "2000",
                "settlement_date": c.next(*d).unwrap_or(*d)})
        })
        .collect();
    Ok(Reply::ok(&Value::Array(days)))
}

/// Whether a symbol can be traded at `now`: listed, and not gone.
pub fn tradable(world: &World, symbol: &str, now: UtcTime) -> bool {
    let today = now.day_in(&new_york());
    world.series(symbol).is_some() && world.listing(symbol).is_none_or(|l| l.active_on(today))
}

fn asset_json(world: &World, symbol: &str, now: UtcTime) -> Value {
    let listing = world.listing(symbol);
    let active = tradable(world, symbol, now);
    json!({"id": account::asset_id(symbol), "class": "us_equity", "exchange": listing.map_or("NYSE", |l| l.exchange.as_str()), "symbol": symbol,
        "name": listing.map_or(symbol, |l| l.name.as_str()), "status": if active { "active" } else { "inactive" }, "tradable": active, "marginable": active,
        "shortable": active, "easy_to_borrow": active, "fractionable": active, "maintenance_margin_requirement": 30, "margin_requirement_long": "30",
        "margin_requirement_short": "30", "attributes": []})
}

fn assets(world: &World, now: UtcTime, call: &Call) -> Reply {
    let today = now.day_in(&new_york());
    let known = world.series.iter().filter(|s| world.listing(&s.symbol).and_then(|l| l.ipo).or(s.first()).is_none_or(|d| d <= today));
    let list: Vec<Value> = known
        .map(|s| asset_json(world, &s.symbol, now))
        .filter(|a| call.arg("status").is_none_or(|s| a["status"] == s) && call.arg("asset_class").is_none_or(|c| c == "us_equity"))
        .filter(|a| call.arg("exchange").is_none_or(|x| a["exchange"] == x))
        .collect();
    Reply::ok(&Value::Array(list))
}

fn asset(world: &World, now: UtcTime, one: &str) -> Reply {
    match world.series.iter().find(|s| s.symbol == one || account::asset_id(&s.symbol) == one) {
        Some(s) => Reply::ok(&asset_json(world, &s.symbol, now)),
        None => Reply::coded(404, 40_410_000, &format!("asset not found for {one}")),
    }
}

fn positions(world: &World, book: &Book, now: UtcTime) -> Result<Reply> {
    let held = account::holdings(world, &book.fills()?, now);
    Ok(Reply::ok(&Value::Array(held.by_symbol.iter().map(|(s, h)| account::position_json(world, s, *h, now)).collect())))
}

fn position(world: &World, book: &Book, now: UtcTime, one: &str) -> Result<Reply> {
    let held = account::holdings(world, &book.fills()?, now);
    let found = held.by_symbol.iter().find(|(s, _)| *s == one || account::asset_id(s) == one);
    Ok(match found {
        Some((s, h)) => Reply::ok(&account::position_json(world, s, *h, now)),
        None => Reply::coded(404, 40_410_000, "position does not exist"),
    })
}

/// One entry of the account's activities, with what pages and filters need.
struct Activity {
    at: UtcTime,
    id: String,
    body: Value,
}

/// Executions and corporate events of the kinds asked for (none: all) at the times to keep, by time.
fn all_activities(world: &World, book: &Book, now: UtcTime, kinds: &[String], keep: impl Fn(UtcTime) -> bool) -> Result<Vec<Activity>> {
    let wanted = |kind: &str| kinds.is_empty() || kinds.iter().any(|k| k == kind);
    let fills = book.fills()?;
    let mut out = Vec::new();
    if wanted("FILL") {
        let by_id: BTreeMap<String, Order> = book.orders(Which::All)?.into_iter().map(|o| (o.id.clone(), o)).collect();
        let mut filled: BTreeMap<&str, f64> = BTreeMap::new();
        for f in &fills {
            let cum = filled.entry(&f.order_id).or_default();
            *cum += f.qty;
            if keep(f.at) {
                out.push(Activity { at: f.at, id: f.id.clone(), body: activity_json(f, by_id.get(&f.order_id), *cum) });
            }
        }
    }
    for b in account::booked(world, &fills, now).iter().filter(|b| wanted(b.kind) && keep(b.at)) {
        let seed = format!("{} {} {}", b.kind, b.symbol, b.day);
        let digits: String = b.day.to_string().chars().filter(char::is_ascii_digit).collect();
        let id = format!("{digits}000000000::{}", uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, seed.as_bytes()));
        let body = json!({"activity_type": b.kind, "id": id, "date": b.day, "net_amount": decimal(b.amount), "symbol": b.symbol, "qty": decimal(b.qty),
            "per_share_amount": decimal(b.per_share), "status": "executed", "description": ""});
        out.push(Activity { at: b.at, id, body });
    }
    out.sort_by_key(|a| a.at);
    Ok(out)
}

/// `GET /v2/account/activities`: newest first by default, pages by the id of the last entry seen.
fn activities(world: &World, book: &Book, now: UtcTime, call: &Call, kinds: &[String]) -> Result<Reply> {
    let Ok(size) = call.number("page_size", 100, 100) else {
        return Ok(Reply::coded(422, 40_010_001, "page_size must be between 1 and 100"));
    };
    let time =
        |name: &str| call.arg(name).map(|t| orders::instant(t).ok_or_else(|| Reply::coded(422, 40_010_001, &format!("failed to parse {name}")))).transpose();
    let (after, until) = match (time("after"), time("until")) {
        (Ok(a), Ok(u)) => (a, u),
        (Err(reply), _) | (_, Err(reply)) => return Ok(reply),
    };
    let date = call.arg("date").and_then(|d| d.get(..10)).and_then(|d| d.parse::<TradingDay>().ok());
    let keep = |at: UtcTime| after.is_none_or(|t| at > t) && until.is_none_or(|t| at < t) && date.is_none_or(|d| at.day_in(&new_york()) == d);
    let mut rows = all_activities(world, book, now, kinds, keep)?;
    if call.arg("direction") != Some("asc") {
        rows.reverse();
    }
    let skip = match call.arg("page_token") {
        None => 0,
        Some(token) => match rows.iter().position(|f| f.id == token) {
            Some(i) => i + 1,
            None => return Ok(Reply::coded(422, 40_010_001, "invalid page_token")),
        },
    };
    let page: Vec<Value> = rows.into_iter().skip(skip).take(size).map(|f| f.body).collect();
    Ok(Reply::ok(&Value::Array(page)))
}

fn activity_json(f: &Fill, order: Option<&Order>, cum: f64) -> Value {
    let side = if f.short { "sell_short" } else { f.side.word() };
    let leaves = order.map_or(0.0, |o| (o.qty - cum).max(0.0));
    json!({"activity_type": "FILL", "id": f.id, "order_id": f.order_id, "symbol": f.symbol, "side": side, "qty": decimal(f.qty), "price": decimal(f.price),
        "cum_qty": decimal(cum), "leaves_qty": decimal(leaves), "type": if leaves > 0.0 { "partial_fill" } else { "fill" }, "transaction_time": f.at,
        "order_status": order.map_or("filled", |o| o.status.as_str())})
}
