//! Alpaca's market-data dialect: bars, the newest trade of a symbol, and corporate actions.
//!
//! Field names, limits and texts follow the vendor's OpenAPI document of 2026-06. A day bar exists once its session has
//! closed by the world clock; it is stamped with New York midnight in UTC. `n` and `vw` are null where the world does not
//! know them.

use super::clock::{midnight, seconds};
use super::keys;
use super::wire::{Call, Reply};
use super::world::{Action, Series, World};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Map, Value, json};

/// A free key may not ask the consolidated feed for its last quarter of an hour.
const DELAY_SECONDS: i64 = 15 * 60;

/// Answer one market-data call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    if !keys::alpaca(call) {
        return Reply::json(401, &json!({"message": "unauthorized"}));
    }
    if call.method != "GET" {
        return Reply::message(405, "method not allowed");
    }
    let reply = match call.segments().as_slice() {
        ["v2", "stocks", "bars"] => bars(world, now, call, None),
        ["v2", "stocks", symbol, "bars"] => bars(world, now, call, Some(symbol)),
        ["v2", "stocks", symbol, "trades", "latest"] => latest_trade(world, now, symbol),
        ["v1beta1", "options", "snapshots", underlying] => chain(world, now, call, underlying),
        ["v1", "corporate-actions"] => corporate_actions(world, now, call),
        _ => Err(Reply::message(404, "endpoint not found.")),
    };
    keys::rate_headers(reply.unwrap_or_else(|refusal| refusal), now)
}

/// One request for bars, checked.
struct Ask {
    symbols: Vec<String>,
    start: UtcTime,
    end: UtcTime,
    limit: usize,
    descending: bool,
    minutes: bool,
    /// Position of the first minute of this page among all that were asked for.
    skip: usize,
    /// Symbol and day of the last row of the page before.
    after: Option<(String, TradingDay)>,
}

fn bars(world: &World, now: UtcTime, call: &Call, single: Option<&str>) -> std::result::Result<Reply, Reply> {
    let ask = read_ask(world, now, call, single)?;
    if ask.minutes {
        return Ok(minute_bars(world, now, &ask, single));
    }
    let (rows, more) = page(world, now, &ask);
    let token = match rows.last() {
        Some((s, i)) if more => Value::String(token(&s.symbol, s.days[*i])),
        _ => Value::Null,
    };
    let mut by_symbol: Map<String, Value> = Map::new();
    for (s, i) in rows {
        let entry = by_symbol.entry(s.symbol.clone()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = entry {
            list.push(row(s, i));
        }
    }
    Ok(Reply::ok(&match single {
        None => json!({"bars": by_symbol, "next_page_token": token}),
        Some(symbol) => json!({"bars": by_symbol.remove(symbol), "symbol": symbol, "next_page_token": token}),
    }))
}

/// Minutes by symbol and then time; the token is the position of the next one.
fn minute_bars(world: &World, now: UtcTime, ask: &Ask, single: Option<&str>) -> Reply {
    let closed = Calendar::xnys().last_closed(now).unwrap_or(TradingDay(i32::MIN));
    let from = world.minutes_from.unwrap_or(TradingDay(i32::MAX));
    let (mut at, mut shown) = (0usize, 0usize);
    let mut more = false;
    let mut by_symbol: Map<String, Value> = Map::new();
    'all: for symbol in &ask.symbols {
        let Some(series) = world.series(symbol) else { continue };
        let first = series.days.partition_point(|d| *d < from || Calendar::xnys().close(*d) <= ask.start);
        let last = series.days.partition_point(|d| *d <= closed && Calendar::xnys().open(*d) <= ask.end);
        let mut rows = Vec::new();
        for minute in (first..last).flat_map(|i| world.minutes_of(symbol, series.days[i])).filter(|m| m.start >= ask.start && m.start <= ask.end) {
            at += 1;
            if at <= ask.skip {
                continue;
            }
            if shown == ask.limit {
                more = true;
                break;
            }
            shown += 1;
            let [o, h, l, c] = minute.ohlc;
            rows.push(json!({"t": seconds(minute.start), "o": o, "h": h, "l": l, "c": c, "v": minute.volume as i64, "n": null, "vw": null}));
        }
        if ask.descending {
            rows.reverse();
        }
        if !rows.is_empty() {
            by_symbol.insert(symbol.clone(), Value::Array(rows));
        }
        if more {
            break 'all;
        }
    }
    let token = if more { Value::String(format!("m{}", ask.skip + shown)) } else { Value::Null };
    Reply::ok(&match single {
        None => json!({"bars": by_symbol, "next_page_token": token}),
        Some(symbol) => json!({"bars": by_symbol.remove(symbol), "symbol": symbol, "next_page_token": token}),
    })
}

/// The newest trade of one symbol, as the free feed tells it.
fn latest_trade(world: &World, now: UtcTime, symbol: &str) -> std::result::Result<Reply, Reply> {
    let (price, at) = world.last_trade(symbol, now).ok_or_else(|| Reply::message(404, &format!("no trade found for {symbol}")))?;
    Ok(Reply::ok(&json!({"symbol": symbol, "trade": {"t": at, "x": "V", "p": price, "s": 100, "c": ["@"], "i": 1, "z": "A"}})))
}

/// The newest quote of every contract on an underlying that is public, by pages.
fn chain(world: &World, now: UtcTime, call: &Call, underlying: &str) -> std::result::Result<Reply, Reply> {
    let limit = call.number("limit", 100, 1_000).map_err(|_| Reply::message(400, "invalid limit"))?;
    let skip = call.arg("page_token").map_or(Some(0), |t| t.strip_prefix("oc").and_then(|n| n.parse::<usize>().ok()));
    let skip = skip.ok_or_else(|| Reply::message(400, "invalid page_token"))?;
    if call.arg("feed").is_some_and(|f| f != "indicative") {
        return Err(Reply::message(403, "OPRA agreement is not signed"));
    }
    let closed = Calendar::xnys().last_closed(now).unwrap_or(TradingDay(i32::MIN));
    let known = world.chains.get(underlying).into_iter().flatten().filter(|c| c.day <= closed);
    // In order of contract and day: the newest of a contract replaces the one before it.
    let newest: std::collections::BTreeMap<&str, _> = known.map(|c| (c.symbol.as_str(), c)).collect();
    let mut snapshots = Map::new();
    for (symbol, c) in newest.iter().skip(skip).take(limit) {
        let at = seconds(Calendar::xnys().close(c.day).plus_seconds(-1));
        let mut one = json!({"latestQuote": {"t": at, "bp": c.bid, "ap": c.ask, "bs": 1, "as": 1, "bx": "C", "ax": "C", "c": "A"}});
        if let Some(price) = c.last {
            one["latestTrade"] = json!({"t": at, "p": price, "s": 1, "x": "C", "c": "a"});
        }
        snapshots.insert((*symbol).to_string(), one);
    }
    let next = if newest.len() > skip + limit { Value::String(format!("oc{}", skip + limit)) } else { Value::Null };
    Ok(Reply::ok(&json!({"snapshots": snapshots, "next_page_token": next})))
}

/// One bar in the vendor's short names. A cell that the world lacks is null.
fn row(s: &Series, i: usize) -> Value {
    let price = |x: f64| if x.is_finite() { json!(x) } else { Value::Null };
    let volume = if s.volume[i].is_finite() { json!(s.volume[i] as i64) } else { Value::Null };
    json!({"t": seconds(midnight(s.days[i])), "o": price(s.open[i]), "h": price(s.high[i]), "l": price(s.low[i]), "c": price(s.close[i]),
        "v": volume, "n": null, "vw": null})
}

/// Rows of one page, by symbol and then time, and whether there are more.
fn page<'w>(world: &'w World, now: UtcTime, ask: &Ask) -> (Vec<(&'w Series, usize)>, bool) {
    let mut rows = Vec::new();
    let closed = Calendar::xnys().last_closed(now).unwrap_or(TradingDay(i32::MIN));
    for symbol in &ask.symbols {
        if ask.after.as_ref().is_some_and(|(s, _)| symbol < s) {
            continue;
        }
        let Some(series) = world.series(symbol) else { continue };
        let from = series.days.partition_point(|d| midnight(*d) < ask.start);
        let to = series.days.partition_point(|d| *d <= closed && midnight(*d) <= ask.end).max(from);
        let seen = ask.after.as_ref().filter(|(s, _)| s == symbol).map(|(_, day)| *day);
        let fresh = |i: &usize| seen.is_none_or(|day| if ask.descending { series.days[*i] < day } else { series.days[*i] > day });
        let mut indexes: Vec<usize> = (from..to).filter(fresh).collect();
        if ask.descending {
            indexes.reverse();
        }
        for i in indexes {
            if rows.len() == ask.limit {
                return (rows, true);
            }
            rows.push((series, i));
        }
    }
    (rows, false)
}

fn read_ask(world: &World, now: UtcTime, call: &Call, single: Option<&str>) -> std::result::Result<Ask, Reply> {
    let bad = |text: String| Reply::message(400, &text);
    let mut symbols = single.map_or_else(|| call.list("symbols"), |s| vec![s.to_string()]);
    if symbols.is_empty() {
        return Err(bad("symbols is required".into()));
    }
    if let Some(odd) = symbols.iter().find(|s| !s.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'.' || b == b'/')) {
        return Err(bad(format!("invalid symbol: {odd}")));
    }
    symbols.sort();
    symbols.dedup();
    let minutes = timeframe(world, now, call.arg("timeframe"))?;
    adjustment(world, call.arg("adjustment").unwrap_or("raw"))?;
    let limit = call.number("limit", 1000, 10_000).map_err(|_| bad(format!("invalid limit: {}", call.arg("limit").unwrap_or_default())))?;
    let fresh = now.plus_seconds(-DELAY_SECONDS);
    let today = now.day_in(&new_york());
    let start = moment(call.arg("start")).map_err(|v| bad(format!("invalid start: {v}")))?.unwrap_or_else(|| midnight(today));
    let end = moment(call.arg("end")).map_err(|v| bad(format!("invalid end: {v}")))?.unwrap_or(fresh);
    if start > end && call.arg("end").is_some() {
        return Err(bad("end should not be before start".into()));
    }
    match call.arg("feed").unwrap_or("sip") {
        "sip" if end > fresh => return Err(Reply::message(403, "subscription does not permit querying recent SIP data")),
        "sip" | "iex" | "delayed_sip" => {}
        "otc" | "boats" => return Err(Reply::message(403, "subscription does not permit querying this feed")),
        other => return Err(bad(format!("invalid feed: {other}"))),
    }
    let descending = match call.arg("sort").unwrap_or("asc") {
        "asc" => false,
        "desc" => true,
        other => return Err(bad(format!("invalid sort: {other}"))),
    };
    let page_token = || bad("invalid page_token".into());
    let token = call.arg("page_token");
    let skip = token.filter(|_| minutes).map(|t| t.strip_prefix("m").and_then(|n| n.parse().ok()).ok_or_else(page_token)).transpose()?.unwrap_or(0);
    let after = token.filter(|_| !minutes).map(|t| read_token(t).ok_or_else(page_token)).transpose()?;
    Ok(Ask { symbols, start, end, limit, descending, minutes, skip, after })
}

/// Whether minutes are asked for; refused where the world holds none yet.
fn timeframe(world: &World, now: UtcTime, text: Option<&str>) -> std::result::Result<bool, Reply> {
    match text {
        Some("1Day" | "1D") => Ok(false),
        Some("1Min" | "1T") if world.minutes_from.is_some_and(|d| d <= now.day_in(&new_york())) => Ok(true),
        None => Err(Reply::message(400, "timeframe is required")),
        Some(t) if t.ends_with("Min") || t.ends_with('T') || t.ends_with("Hour") || t.ends_with('H') => {
            Err(Reply::message(403, &format!("subscription does not permit querying {t} bars (the world {} holds no minutes)", world.dataset())))
        }
        Some(t) => Err(Reply::message(400, &format!("invalid timeframe: {t}"))),
    }
}

/// A world that is split-adjusted is what it is; a raw one is served raw.
fn adjustment(world: &World, text: &str) -> std::result::Result<(), Reply> {
    let known = |part: &str| matches!(part, "raw" | "split" | "dividend" | "spin-off" | "all");
    if !text.split(',').all(known) {
        return Err(Reply::message(400, &format!("invalid adjustment: {text}")));
    }
    if text != "raw" && world.about.adjusted == "raw" && !world.actions.is_empty() {
        return Err(Reply::message(400, "the sandbox serves this world with adjustment=raw only"));
    }
    Ok(())
}

/// RFC 3339, or a date, which means midnight in New York: the stamp of that day's bar.
fn moment(text: Option<&str>) -> std::result::Result<Option<UtcTime>, String> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(day) = text.parse::<TradingDay>() {
        return Ok(Some(midnight(day)));
    }
    UtcTime::parse(text).map(Some).map_err(|_| text.to_string())
}

/// Opaque to callers: the last row of this page, like the vendor's own tokens.
fn token(symbol: &str, day: TradingDay) -> String {
    hex::encode(format!("{symbol}|D|{day}"))
}

fn read_token(text: &str) -> Option<(String, TradingDay)> {
    let plain = String::from_utf8(hex::decode(text).ok()?).ok()?;
    let (symbol, rest) = plain.split_once("|D|")?;
    Some((symbol.to_string(), rest.parse().ok()?))
}

/// Containers of the vendor's answer, by our kind and ratio.
fn container(a: &Action) -> (&'static str, &'static str) {
    match (a.kind.as_str(), a.ratio) {
        ("split", Some(r)) if r < 1.0 => ("reverse_splits", "reverse_split"),
        ("split", _) => ("forward_splits", "forward_split"),
        ("name_change", _) => ("name_changes", "name_change"),
        ("cash_merger", _) => ("cash_mergers", "cash_merger"),
        ("worthless_removal", _) => ("worthless_removals", "worthless_removal"),
        ("spin_off", _) => ("spin_offs", "spin_off"),
        _ => ("cash_dividends", "cash_dividend"),
    }
}

fn corporate_actions(world: &World, now: UtcTime, call: &Call) -> std::result::Result<Reply, Reply> {
    let today = now.day_in(&new_york());
    let day = |name: &str| -> std::result::Result<TradingDay, Reply> {
        call.arg(name).map_or(Ok(today), |t| t.get(..10).unwrap_or(t).parse().map_err(|_| Reply::message(400, &format!("invalid {name}: {t}"))))
    };
    // By the day an event is processed, which of a dividend is the day it is paid: one that is announced stands under a day to come.
    let (start, end) = (day("start")?, day("end")?);
    let limit = call.number("limit", 100, 1000).map_err(|_| Reply::message(400, "invalid limit"))?;
    let skip = call.arg("page_token").map_or(Some(0), |t| t.strip_prefix("ca").and_then(|n| n.parse::<usize>().ok()));
    let skip = skip.ok_or_else(|| Reply::message(400, "invalid page_token"))?;
    let (symbols, types) = (call.list("symbols"), call.list("types"));
    let wanted = |a: &&Action| {
        a.is_told("alpaca", today)
            && (start..=end).contains(&a.process_date())
            && (symbols.is_empty() || symbols.contains(&a.symbol) || a.kind == "name_change" && a.new_symbol.as_ref().is_some_and(|new| symbols.contains(new)))
            && (types.is_empty() || types.iter().any(|t| t == container(a).1))
    };
    let all: Vec<&Action> = world.actions.iter().filter(wanted).collect();
    let mut groups: Map<String, Value> = Map::new();
    for action in all.iter().skip(skip).take(limit) {
        let entry = groups.entry(container(action).0).or_insert_with(|| Value::Array(Vec::new()));
        if let (Value::Array(list), Ok(v)) = (entry, action_json(action)) {
            list.push(v);
        }
    }
    let next = if all.len() > skip + limit { Value::String(format!("ca{}", skip + limit)) } else { Value::Null };
    Ok(Reply::ok(&json!({"corporate_actions": groups, "next_page_token": next})))
}

/// One event in the field names of its container.
fn action_json(a: &Action) -> Result<Value> {
    let name = a.telling.id.clone().unwrap_or_else(|| format!("{} {} {}", a.symbol, a.kind, a.ex_date));
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("corporate action {name}").as_bytes());
    let mut v = match a.kind.as_str() {
        "split" => {
            let ratio = a.ratio.unwrap_or(1.0);
            let (new, old) = if ratio < 1.0 { (1.0, 1.0 / ratio) } else { (ratio, 1.0) };
            json!({"symbol": a.symbol, "cusip": "", "ex_date": a.ex_date, "new_rate": new, "old_rate": (old * 1e6).round() / 1e6})
        }
        "name_change" => json!({"old_symbol": a.symbol, "new_symbol": a.new_symbol, "old_cusip": "", "new_cusip": ""}),
        "cash_merger" => json!({"acquiree_symbol": a.symbol, "acquiree_cusip": "", "effective_date": a.ex_date, "rate": a.cash.unwrap_or(0.0)}),
        "worthless_removal" => json!({"symbol": a.symbol, "cusip": ""}),
        "spin_off" => json!({"source_symbol": a.symbol, "source_cusip": "", "source_rate": 1.0, "new_symbol": a.new_symbol, "new_cusip": "",
            "new_rate": a.ratio.unwrap_or(1.0), "ex_date": a.ex_date}),
        _ => json!({"symbol": a.symbol, "cusip": "", "ex_date": a.ex_date, "rate": a.cash.unwrap_or(0.0), "special": false, "foreign": false}),
    };
    if let Some(map) = v.as_object_mut() {
        map.insert("id".into(), json!(id.to_string()));
        map.insert("process_date".into(), serde_json::to_value(a.process_date())?);
        if matches!(a.kind.as_str(), "split" | "dividend" | "spin_off") {
            map.insert("record_date".into(), serde_json::to_value(a.record_date.unwrap_or(a.ex_date))?);
            map.insert("payable_date".into(), serde_json::to_value(a.pay_date.unwrap_or(a.ex_date))?);
        }
    }
    Ok(v)
}
