//! Massive's (formerly Polygon's) dialect: aggregates of a ticker, a whole market's day, tickers, splits and dividends.
//!
//! Every answer has a status and a request id; what is empty has no `results`. Pages lead on by `next_url`, an address
//! without the key. The day in progress is not served on the free plan. `adjusted` is true unless said otherwise, and means
//! splits only. `limit` is 5,000 bars, 100 tickers or 10 events where it is not given: whoever forgets it loses the rest.

use super::clock::face;
use super::keys;
use super::massive_reference as reference;
use super::wire::{Call, Reply};
use super::world::{Series, World};
use crate::calendar::Calendar;
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Map, Value, json};

const MAX_BARS: usize = 50_000;

pub(super) type Answer = std::result::Result<Reply, Reply>;

/// Answer one call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    if let Some(rest) = call.path.strip_prefix("/massive/") {
        // The vendor's client keeps its base address and takes the whole path of `next_url`: ours then stands there twice.
        return answer(world, now, &Call { path: format!("/{rest}"), ..call.clone() });
    }
    let key = call.header("authorization").and_then(|h| h.strip_prefix("Bearer ")).or(call.arg("apiKey")).or(call.arg("apikey"));
    if key != Some(keys::MASSIVE) {
        return error(401, "Unknown API Key");
    }
    let reply = match call.segments().as_slice() {
        ["v2", "aggs", "ticker", ticker, "range", multiplier, span, from, to] => aggregates(world, now, call, ticker, (multiplier, span), (from, to)),
        ["v2", "aggs", "grouped", "locale", "us", "market", "stocks", day] => grouped(world, now, call, day),
        ["v3", "reference", "tickers"] => reference::tickers(world, now, call),
        ["v3", "reference", "splits"] => reference::splits(world, now, call),
        ["v3", "reference", "dividends"] => reference::dividends(world, now, call),
        ["v1", "marketstatus", "now"] => Ok(market_status(now)),
        ["v2", "last" | "snapshot", ..] | ["v3", "snapshot" | "trades" | "quotes", ..] => Err(not_authorized("You are not entitled to this data.")),
        _ => Err(Reply::json(404, &json!({"status": "NOT_FOUND", "request_id": id(call), "message": "Not Found"}))),
    };
    reply.unwrap_or_else(|refusal| refusal)
}

/// A refusal in the vendor's form.
pub fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({"status": "ERROR", "request_id": "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "error": text}))
}

/// A refusal that speaks of plans.
pub fn not_authorized(text: &str) -> Reply {
    let message = format!("{text} Please upgrade your plan at https://massive.com/pricing");
    Reply::json(403, &json!({"status": "NOT_AUTHORIZED", "request_id": "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "message": message}))
}

/// The same question has the same id.
pub(super) fn id(call: &Call) -> String {
    crate::store::sha256_hex(format!("{}{:?}", call.path, call.query).as_bytes())[..32].to_string()
}

/// An address of this server, as the caller reached it.
pub(super) fn address(call: &Call, rest: &str) -> String {
    format!("http://{}/massive{rest}", call.header("host").unwrap_or("127.0.0.1"))
}

/// Days are served from the midnight after them.
pub(super) fn newest(now: UtcTime) -> TradingDay {
    now.day_in(&new_york()).plus_days(-1)
}

fn market_status(now: UtcTime) -> Reply {
    let market = if face(now).is_ok_and(|f| f.is_open) { "open" } else { "closed" };
    Reply::ok(&json!({"market": market, "earlyHours": false, "afterHours": false, "serverTime": now, "currencies": {"fx": "open", "crypto": "open"},
        "exchanges": {"nyse": market, "nasdaq": market, "otc": market}}))
}

/// A date, or milliseconds since 1970.
fn moment(text: &str, end: bool) -> std::result::Result<UtcTime, Reply> {
    if let Ok(day) = text.parse::<TradingDay>() {
        let midnight = super::clock::midnight(if end { day.plus_days(1) } else { day });
        return Ok(if end { midnight.plus_seconds(-1) } else { midnight });
    }
    let ms: i64 = text.parse().map_err(|_| error(400, &format!("Could not parse the time '{text}'. Use YYYY-MM-DD or a millisecond timestamp")))?;
    Ok(UtcTime::from_micros(ms.saturating_mul(1_000)))
}

fn aggregates(world: &World, now: UtcTime, call: &Call, ticker: &str, (multiplier, span): (&str, &str), (from, to): (&str, &str)) -> Answer {
    let (start, end) = (moment(from, false)?, moment(to, true)?);
    if start > end {
        return Err(error(400, "The parameter 'to' cannot be a time that occurs before 'from'"));
    }
    if multiplier != "1" || !matches!(span, "day" | "minute") {
        return Err(error(400, "the sandbox aggregates 1 day and 1 minute"));
    }
    let (limit, descending) = paging(call)?;
    let series = world.series(ticker);
    let mut rows = match (series, span) {
        (None, _) => Vec::new(),
        (Some(s), "day") => days(world, s, now, (start, end), adjusted(call)),
        (Some(s), _) => minutes(world, s, now, (start, end)),
    };
    if descending {
        rows.reverse();
    }
    let more = rows.len() > limit;
    let mut body = envelope(call, ticker, adjusted(call));
    // The next page is asked for by where it begins (backwards: ends), as the vendor's own addresses do.
    if let Some((next, _)) = rows.get(limit) {
        let cursor = hex::encode(format!("{limit}|{}|{}", u8::from(descending), u8::from(adjusted(call))));
        let (a, b) = if descending { (from.to_string(), next.to_string()) } else { (next.to_string(), to.to_string()) };
        body.insert("next_url".into(), json!(address(call, &format!("/v2/aggs/ticker/{ticker}/range/1/{span}/{a}/{b}?cursor={cursor}"))));
    }
    rows.truncate(if more { limit } else { rows.len() });
    fill(&mut body, rows.into_iter().map(|(_, row)| row).collect());
    Ok(Reply::ok(&Value::Object(body)))
}

/// `limit` and direction, from the query or from the cursor of a later page.
fn paging(call: &Call) -> std::result::Result<(usize, bool), Reply> {
    let whole = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=MAX_BARS).contains(n));
    let wrong = || error(400, &format!("The parameter 'limit' must be between 1 and {MAX_BARS}"));
    let mut limit = call.arg("limit").map_or(Some(5_000), whole).ok_or_else(wrong)?;
    let mut descending = call.arg("sort") == Some("desc");
    if let Some((n, down, _)) = cursor(call) {
        (limit, descending) = (if call.arg("limit").is_some() { limit } else { n }, down);
    }
    Ok((limit, descending))
}

fn cursor(call: &Call) -> Option<(usize, bool, bool)> {
    let plain = String::from_utf8(hex::decode(call.arg("cursor")?).ok()?).ok()?;
    let mut parts = plain.split('|');
    Some((parts.next()?.parse().ok()?, parts.next()? == "1", parts.next()? == "1"))
}

fn adjusted(call: &Call) -> bool {
    cursor(call).map_or(call.arg("adjusted") != Some("false"), |c| c.2)
}

fn envelope(call: &Call, ticker: &str, adjusted: bool) -> Map<String, Value> {
    let mut body = Map::new();
    if !ticker.is_empty() {
        body.insert("ticker".into(), json!(ticker));
    }
    for (name, value) in [("adjusted", json!(adjusted)), ("status", json!("OK")), ("request_id", json!(id(call)))] {
        body.insert(name.into(), value);
    }
    body
}

fn fill(body: &mut Map<String, Value>, rows: Vec<Value>) {
    body.insert("queryCount".into(), json!(rows.len()));
    body.insert("resultsCount".into(), json!(rows.len()));
    if !rows.is_empty() {
        body.insert("count".into(), json!(rows.len()));
        body.insert("results".into(), Value::Array(rows));
    }
}

/// New shares over old after a day, for splits that have happened.
fn split_after(world: &World, symbol: &str, day: TradingDay, now: UtcTime) -> f64 {
    let today = now.day_in(&new_york());
    let of = world.actions.iter().filter(|a| a.symbol == symbol && a.kind == "split" && a.ex_date > day && a.ex_date <= today && a.happens());
    if world.about.adjusted == "raw" { of.filter_map(|a| a.ratio).product() } else { 1.0 }
}

fn bar(t: i64, [o, h, l, c]: [f64; 4], v: f64, split: f64) -> Value {
    let mut row = Map::from_iter([("t".to_string(), json!(t))]);
    for (name, x) in [("o", o / split), ("h", h / split), ("l", l / split), ("c", c / split), ("v", v * split)] {
        if x.is_finite() {
            row.insert(name.into(), json!(x));
        }
    }
    Value::Object(row)
}

fn day_bar(world: &World, s: &Series, i: usize, stamp: UtcTime, now: UtcTime, adjusted: bool) -> Value {
    let split = if adjusted { split_after(world, &s.symbol, s.days[i], now) } else { 1.0 };
    bar(stamp.micros() / 1_000, [s.open[i], s.high[i], s.low[i], s.close[i]], s.volume[i], split)
}

/// Day bars with the millisecond at which each begins: New York's midnight.
fn days(world: &World, s: &Series, now: UtcTime, (start, end): (UtcTime, UtcTime), adjusted: bool) -> Vec<(i64, Value)> {
    let stamp = |i: usize| super::clock::midnight(s.days[i]);
    let to = s.upto(newest(now));
    let wanted = (0..to).filter(|i| (start..=end).contains(&stamp(*i)));
    wanted.map(|i| (stamp(i).micros() / 1_000, day_bar(world, s, i, stamp(i), now, adjusted))).collect()
}

fn minutes(world: &World, s: &Series, now: UtcTime, (start, end): (UtcTime, UtcTime)) -> Vec<(i64, Value)> {
    let zone = new_york();
    let held = s.days[..s.upto(newest(now))].iter().filter(|d| (start.day_in(&zone)..=end.day_in(&zone)).contains(*d));
    let all = held.flat_map(|d| world.minutes_of(&s.symbol, *d)).filter(|m| (start..=end).contains(&m.start));
    all.map(|m| (m.start.micros() / 1_000, bar(m.start.micros() / 1_000, m.ohlc, m.volume, 1.0))).collect()
}

/// One day of every ticker; stamps are the end of the window.
fn grouped(world: &World, now: UtcTime, call: &Call, day: &str) -> Answer {
    let day: TradingDay = day.parse().map_err(|_| error(400, "The date must be YYYY-MM-DD"))?;
    if day > newest(now) {
        return Err(not_authorized("Attempted to request today's data before end of day."));
    }
    let mut body = envelope(call, "", adjusted(call));
    let stamp = if Calendar::xnys().is_session(day) { Calendar::xnys().close(day) } else { now };
    let rows = world.series.iter().filter_map(|s| s.on(day).map(|i| (s, i)));
    let rows = rows.map(|(s, i)| {
        let mut row = day_bar(world, s, i, stamp, now, adjusted(call));
        row["T"] = json!(s.symbol);
        row
    });
    fill(&mut body, rows.collect());
    Ok(Reply::ok(&Value::Object(body)))
}
