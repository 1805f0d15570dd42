//! Orders at the simulated broker: placing, finding, listing, replacing, cancelling.

use super::account;
use super::book::{self, Book, Order, Side, Which};
use super::trading::tradable;
use super::wire::{Call, Reply, decimal, money};
use super::world::World;
use crate::calendar::Calendar;
use crate::error::Result;
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Value, json};

/// The vendor's code for a body it cannot accept; several messages share it.
const BAD_BODY: u32 = 40_010_001;
/// Well-formed but not acceptable.
const UNPROCESSABLE: u32 = 42_210_000;
const FORBIDDEN: u32 = 40_310_000;
const NOT_FOUND: u32 = 40_410_000;

/// `POST /v2/orders`.
pub fn place(world: &World, book: &mut Book, now: UtcTime, call: &Call) -> Result<Reply> {
    let body = call.json();
    if !body.is_object() {
        return Ok(Reply::coded(422, BAD_BODY, "request body format is invalid"));
    }
    let order = match prepare(world, book, now, &body)? {
        Ok(order) => order,
        Err(reply) => return Ok(reply),
    };
    book.write(|tx| book::insert_order(tx, &order))?;
    Ok(Reply::ok(&json(&order)))
}

/// The order that a body asks for, checked and stamped but not yet in the book; or the refusal.
pub fn prepare(world: &World, book: &Book, now: UtcTime, body: &Value) -> Result<std::result::Result<Order, Reply>> {
    let count = book.orders(Which::All)?.len();
    let mut order = match read(body, count) {
        Ok(order) => order,
        Err(reply) => return Ok(Err(reply)),
    };
    if book.by_client_id(&order.client_order_id)?.is_some() {
        return Ok(Err(Reply::coded(422, BAD_BODY, "client_order_id must be unique")));
    }
    if let Err(reply) = check(world, now, &order) {
        return Ok(Err(reply));
    }
    if let Err(reply) = fund(world, book, now, &order, None)? {
        return Ok(Err(reply));
    }
    // Submission times are distinct, so that listings can be paged by them.
    order.submitted_at = book.last_submission()?.map_or(now, |t| now.max(t.plus_micro()));
    order.updated_at = order.submitted_at;
    Ok(Ok(order))
}

trait PlusMicro {
    fn plus_micro(self) -> Self;
}
impl PlusMicro for UtcTime {
    fn plus_micro(self) -> Self {
        Self::from_micros(self.micros() + 1)
    }
}

/// A decimal that may come as a number or as text.
fn amount(body: &Value, name: &str) -> std::result::Result<Option<f64>, Reply> {
    let bad = || Reply::coded(422, BAD_BODY, &format!("invalid {name}"));
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) if s.is_empty() => Ok(None),
        Some(Value::String(s)) => s.parse::<f64>().ok().filter(|x| x.is_finite()).map(Some).ok_or_else(bad),
        Some(v) => v.as_f64().map(Some).ok_or_else(bad),
    }
}

/// The order that a body asks for; nothing in it depends on the world yet.
fn read(body: &Value, count: usize) -> std::result::Result<Order, Reply> {
    let refuse = |message: &str| Reply::coded(422, BAD_BODY, message);
    let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if word("symbol").is_empty() {
        return Err(refuse("symbol is required"));
    }
    if amount(body, "notional")?.is_some() {
        return Err(refuse("notional orders are not served by the sandbox; send qty"));
    }
    let qty = amount(body, "qty")?.ok_or_else(|| refuse("qty or notional is required"))?;
    if qty <= 0.0 {
        return Err(refuse("qty must be > 0"));
    }
    let side = match word("side") {
        "buy" => Side::Buy,
        "sell" | "sell_short" => Side::Sell,
        _ => return Err(refuse("side must be buy or sell")),
    };
    let limit = amount(body, "limit_price")?;
    let limit_price = match (word("type"), limit) {
        ("market", None) => None,
        ("market", Some(_)) => return Err(refuse("market orders require no limit price")),
        ("limit", Some(p)) if p > 0.0 => Some(p),
        ("limit", Some(_)) => return Err(refuse("limit price must be > 0")),
        ("limit", None) => return Err(refuse("limit orders require a limit price")),
        ("stop" | "stop_limit" | "trailing_stop", _) => return Err(Reply::coded(422, UNPROCESSABLE, "stop orders are not served by the sandbox")),
        _ => return Err(refuse("invalid order type")),
    };
    let tif = word("time_in_force");
    if !matches!(tif, "day" | "gtc" | "opg") {
        return Err(refuse("invalid time_in_force: the sandbox serves day, gtc and opg"));
    }
    if !matches!(word("order_class"), "" | "simple") {
        return Err(Reply::coded(422, UNPROCESSABLE, "only simple orders are served by the sandbox"));
    }
    let client = word("client_order_id");
    if client.len() > 128 {
        return Err(refuse("client_order_id must be no more than 128 characters"));
    }
    let new_id = |what: &str| uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, what.as_bytes()).to_string();
    let client_order_id = if client.is_empty() { new_id(&format!("unnamed order {count}")) } else { client.to_string() };
    let never = UtcTime::from_micros(0);
    Ok(Order {
        id: new_id(&format!("order {client_order_id}")),
        client_order_id,
        symbol: word("symbol").to_string(),
        side,
        qty,
        limit_price,
        tif: tif.to_string(),
        status: "accepted".into(),
        submitted_at: never,
        updated_at: never,
        filled_qty: 0.0,
        filled_avg_price: None,
        replaces: None,
        replaced_by: None,
    })
}

/// What the market's rules say about it.
fn check(world: &World, now: UtcTime, o: &Order) -> std::result::Result<(), Reply> {
    let refuse = |message: String| Err(Reply::coded(422, UNPROCESSABLE, &message));
    if world.series(&o.symbol).is_none() {
        return refuse(format!("asset \"{}\" not found", o.symbol));
    }
    if !tradable(world, &o.symbol, now) {
        return refuse(format!("asset {} is not active", o.symbol));
    }
    if o.qty.fract() != 0.0 && (o.tif != "day" || o.limit_price.is_some() || o.side == Side::Sell) {
        return refuse("fractional orders must be DAY market orders to buy".into());
    }
    if let Some(price) = o.limit_price {
        let unit = if price >= 1.0 { 100.0 } else { 10_000.0 };
        if ((price * unit).round() - price * unit).abs() > 1e-6 {
            return refuse(format!("invalid limit_price {}. sub-penny increment does not fulfill minimum pricing criteria", decimal(price)));
        }
    }
    if o.tif == "opg" && !opening_auction_open(now) {
        return refuse("opg orders are accepted between 7:00pm and 9:28am ET".into());
    }
    Ok(())
}

/// Orders for the opening auction: from 19:00 to 09:28 New York time.
fn opening_auction_open(now: UtcTime) -> bool {
    let day = now.day_in(&new_york());
    let cut = Calendar::xnys().open(day).plus_seconds(-120);
    let evening = Calendar::xnys().open(day).plus_seconds(19 * 3600 - (9 * 3600 + 1800));
    now < cut || now >= evening
}

/// Whether the account can pay for it. Costs are estimated at the limit or the last close.
fn fund(world: &World, book: &Book, now: UtcTime, o: &Order, instead_of: Option<&str>) -> Result<std::result::Result<(), Reply>> {
    let held = account::holdings(world, &book.fills()?, now);
    let mut open = book.orders(Which::Open)?;
    open.retain(|other| Some(other.id.as_str()) != instead_of);
    let reserved = account::reserved(world, &held, &open, now);
    let with = account::reserved(world, &held, &[open, vec![o.clone()]].concat(), now);
    let power = account::buying_power(&account::value(world, &held, now), reserved);
    let cost = with - reserved;
    if cost > power {
        let body = json!({"code": FORBIDDEN, "message": "insufficient buying power", "buying_power": money(power), "cost_basis": money(cost)});
        return Ok(Err(Reply::json(403, &body)));
    }
    Ok(Ok(()))
}

/// `GET /v2/orders/{id}`.
pub fn by_id(book: &Book, id: &str) -> Result<Reply> {
    Ok(book.by_id(id)?.map_or_else(|| Reply::coded(404, NOT_FOUND, &format!("order not found for {id}")), |o| Reply::ok(&json(&o))))
}

/// `GET /v2/orders:by_client_order_id`.
pub fn by_client_id(book: &Book, call: &Call) -> Result<Reply> {
    let id = call.arg("client_order_id").unwrap_or_default();
    Ok(book.by_client_id(id)?.map_or_else(|| Reply::coded(404, NOT_FOUND, &format!("order not found for {id}")), |o| Reply::ok(&json(&o))))
}

/// RFC 3339 or a date (midnight in New York).
pub fn instant(text: &str) -> Option<UtcTime> {
    text.parse::<TradingDay>().map(super::clock::midnight).ok().or_else(|| UtcTime::parse(text).ok())
}

/// `GET /v2/orders`: by submission time, newest first by default; `after` and `until` are exclusive.
pub fn list(book: &Book, call: &Call) -> Result<Reply> {
    let bad = |name: &str| Reply::coded(422, BAD_BODY, &format!("invalid {name}"));
    let which = match call.arg("status").unwrap_or("open") {
        "open" => Which::Open,
        "closed" => Which::Closed,
        "all" => Which::All,
        _ => return Ok(bad("status")),
    };
    let Ok(limit) = call.number("limit", 50, 500) else { return Ok(bad("limit")) };
    let (after, until) = (call.arg("after").map(instant), call.arg("until").map(instant));
    if after == Some(None) || until == Some(None) {
        return Ok(bad(if after == Some(None) { "after" } else { "until" }));
    }
    let symbols = call.list("symbols");
    let mut orders = book.orders(which)?;
    orders.retain(|o| {
        after.flatten().is_none_or(|t| o.submitted_at > t)
            && until.flatten().is_none_or(|t| o.submitted_at < t)
            && (symbols.is_empty() || symbols.contains(&o.symbol))
            && call.arg("side").is_none_or(|s| s == o.side.word())
    });
    if call.arg("direction") != Some("asc") {
        orders.reverse();
    }
    Ok(Reply::ok(&Value::Array(orders.iter().take(limit).map(json).collect())))
}

/// `PATCH /v2/orders/{id}`: a new order, with a new id, in the place of an open one. What the old one has filled stays its own.
pub fn replace(world: &World, book: &mut Book, now: UtcTime, id: &str, call: &Call) -> Result<Reply> {
    let Some(mut old) = book.by_id(id)? else {
        return Ok(Reply::coded(404, NOT_FOUND, &format!("order not found for {id}")));
    };
    if !old.is_open() {
        return Ok(Reply::coded(422, UNPROCESSABLE, &format!("order is already in \"{}\" state", old.status)));
    }
    let change = call.json();
    let (qty, limit) = match (amount(&change, "qty"), amount(&change, "limit_price")) {
        (Ok(qty), Ok(limit)) => (qty.unwrap_or(old.qty), limit.or(old.limit_price)),
        (Err(reply), _) | (_, Err(reply)) => return Ok(reply),
    };
    let word = |name: &str, before: &str| change.get(name).and_then(Value::as_str).filter(|w| !w.is_empty()).unwrap_or(before).to_string();
    let kind = if limit.is_some() { "limit" } else { "market" };
    let count = book.orders(Which::All)?.len();
    let body = json!({"symbol": old.symbol, "side": old.side.word(), "qty": qty, "type": kind, "limit_price": limit,
        "time_in_force": word("time_in_force", &old.tif), "client_order_id": word("client_order_id", "")});
    let mut new = match read(&body, count) {
        Ok(order) => order,
        Err(reply) => return Ok(reply),
    };
    if book.by_client_id(&new.client_order_id)?.is_some() {
        return Ok(Reply::coded(422, BAD_BODY, "client_order_id must be unique"));
    }
    if let Err(reply) = check(world, now, &new) {
        return Ok(reply);
    }
    (old.status, old.updated_at) = ("replaced".into(), now.max(old.submitted_at));
    if let Err(reply) = fund(world, book, now, &new, Some(&old.id))? {
        return Ok(reply);
    }
    new.submitted_at = book.last_submission()?.map_or(now, |t| now.max(t.plus_micro()));
    new.updated_at = new.submitted_at;
    book.write(|tx| book::replace_order(tx, &old, &new))?;
    Ok(Reply::ok(&json(&Order { replaces: Some(old.id), ..new })))
}

/// `DELETE /v2/orders/{id}`.
pub fn cancel(book: &mut Book, now: UtcTime, id: &str) -> Result<Reply> {
    let Some(mut order) = book.by_id(id)? else {
        return Ok(Reply::coded(404, NOT_FOUND, &format!("order not found for {id}")));
    };
    if !order.is_open() {
        return Ok(Reply::coded(422, UNPROCESSABLE, &format!("order is already in \"{}\" state", order.status)));
    }
    (order.status, order.updated_at) = ("canceled".into(), now.max(order.submitted_at));
    book.write(|tx| book::update_order(tx, &order))?;
    Ok(Reply::text(204, "application/json", ""))
}

/// `DELETE /v2/orders`.
pub fn cancel_all(book: &mut Book, now: UtcTime) -> Result<Reply> {
    let mut orders = book.orders(Which::Open)?;
    book.write(|tx| {
        for order in &mut orders {
            (order.status, order.updated_at) = ("canceled".into(), now.max(order.submitted_at));
            book::update_order(tx, order)?;
        }
        Ok(())
    })?;
    Ok(Reply::json(207, &Value::Array(orders.iter().map(|o| json!({"id": o.id, "status": 200})).collect())))
}

/// An order in the vendor's form.
pub fn json(o: &Order) -> Value {
    let kind = if o.limit_price.is_some() { "limit" } else { "market" };
    let when = |status: &str| (o.status == status).then_some(o.updated_at);
    json!({
        "id": o.id, "client_order_id": o.client_order_id, "created_at": o.submitted_at, "updated_at": o.updated_at, "submitted_at": o.submitted_at,
        "filled_at": when("filled"), "expired_at": when("expired"), "canceled_at": when("canceled"), "failed_at": null, "replaced_at": when("replaced"),
        "replaced_by": o.replaced_by, "replaces": o.replaces, "asset_id": account::asset_id(&o.symbol), "symbol": o.symbol, "asset_class": "us_equity", "notional": null,
        "qty": decimal(o.qty), "filled_qty": decimal(o.filled_qty), "filled_avg_price": o.filled_avg_price.map(decimal), "order_class": "",
        "order_type": kind, "type": kind, "side": o.side.word(), "time_in_force": if o.tif == "moo" { "gtc" } else { o.tif.as_str() }, "limit_price": o.limit_price.map(decimal), "stop_price": null,
        "status": o.status, "extended_hours": false, "legs": null, "trail_percent": null, "trail_price": null, "hwm": null, "subtag": null, "source": null
    })
}
