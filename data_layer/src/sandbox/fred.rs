//! FRED's and ALFRED's dialect: `GET /fred/series`, `/fred/series/vintagedates`, `/fred/series/observations`.
//!
//! The real-time rules are the vendor's: without `realtime_start` and `realtime_end` the answer is today's vintage; with
//! them, every value that was the published one on some day of that period, its own period clipped to it. Nothing that was
//! published after the world's date is ever served. More than 2,000 vintages in a period are refused.

use super::keys;
use super::wire::{Call, Reply};
use super::world::{MacroValue, World};
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MAX_VINTAGES: usize = 2_000;
const OPEN_END: &str = "9999-12-31";

type Answer = std::result::Result<Reply, Reply>;

/// Answer one call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    let today = now.day_in(&new_york());
    let reply = match (call.method.as_str(), call.path.as_str()) {
        _ if call.arg("api_key").is_none() => Err(bad("Bad Request.  The parameter api_key is not set.")),
        _ if call.arg("api_key") != Some(keys::FRED) => Err(bad(
            "Bad Request.  The value for variable api_key is not registered.  Read https://fred.stlouisfed.org/docs/api/api_key.html for more information.",
        )),
        _ if call.arg("file_type") != Some("json") => Err(bad("Bad Request.  The sandbox answers file_type=json only.")),
        ("GET", "/fred/series") => series(world, today, call),
        ("GET", "/fred/series/vintagedates") => vintages(world, today, call),
        ("GET", "/fred/series/observations") => observations(world, today, call),
        _ => Err(Reply::json(404, &json!({"error_code": 404, "error_message": "Not Found"}))),
    };
    reply.unwrap_or_else(|refusal| refusal)
}

fn bad(text: &str) -> Reply {
    Reply::json(400, &json!({"error_code": 400, "error_message": text}))
}

/// The values of the series that are public today.
fn known<'w>(world: &'w World, today: TradingDay, call: &Call) -> std::result::Result<Vec<&'w MacroValue>, Reply> {
    let Some(id) = call.arg("series_id") else { return Err(bad("Bad Request.  Variable series_id is not set.")) };
    let all: Vec<&MacroValue> = world.macros.iter().filter(|m| m.series == id && m.from <= today).collect();
    if all.is_empty() { Err(bad("Bad Request.  The series does not exist.")) } else { Ok(all) }
}

/// A date parameter with the vendor's default and its limits.
fn date(call: &Call, name: &str, default: TradingDay) -> std::result::Result<TradingDay, Reply> {
    match call.arg(name) {
        None => Ok(default),
        Some(OPEN_END) => Ok(TradingDay(i32::MAX)),
        Some("1776-07-04") => Ok(TradingDay(i32::MIN)),
        Some(text) => text.parse().map_err(|_| bad(&format!("Bad Request.  Variable {name} is not a YYYY-MM-DD date."))),
    }
}

/// The period that is asked about, `realtime_start` to `realtime_end`; today alone when nothing is said.
fn period(call: &Call, today: TradingDay) -> std::result::Result<(TradingDay, TradingDay), Reply> {
    let (from, to) = (date(call, "realtime_start", today)?, date(call, "realtime_end", today)?);
    if from > to {
        return Err(bad("Bad Request.  The value for variable realtime_start must be less than or equal to realtime_end."));
    }
    Ok((from, to))
}

fn text(day: TradingDay) -> String {
    match day.0 {
        i32::MAX => OPEN_END.into(),
        i32::MIN => "1776-07-04".into(),
        _ => day.to_string(),
    }
}

fn page(call: &Call, max: usize) -> std::result::Result<(usize, usize), Reply> {
    let limit = call.number("limit", max, max).map_err(|_| bad(&format!("Bad Request.  Variable limit is not between 1 and {max}.")))?;
    let offset = call.arg("offset").map_or(Ok(0), str::parse).map_err(|_| bad("Bad Request.  Variable offset is not a number."))?;
    Ok((limit, offset))
}

fn series(world: &World, today: TradingDay, call: &Call) -> Answer {
    let values = known(world, today, call)?;
    let (first, last) = (values.iter().map(|m| m.observed).min(), values.iter().map(|m| m.observed).max());
    let one = json!({"id": call.arg("series_id"), "realtime_start": today, "realtime_end": today, "title": call.arg("series_id"),
        "observation_start": first, "observation_end": last, "frequency_short": "D", "units_short": "Index"});
    Ok(Reply::ok(&json!({"realtime_start": today, "realtime_end": today, "seriess": [one]})))
}

/// Days on which something of the series was published or replaced.
fn vintage_days(values: &[&MacroValue], today: TradingDay) -> BTreeSet<TradingDay> {
    let ends = values.iter().filter_map(|m| m.until).map(|d| d.plus_days(1));
    values.iter().map(|m| m.from).chain(ends).filter(|d| *d <= today).collect()
}

fn vintages(world: &World, today: TradingDay, call: &Call) -> Answer {
    let values = known(world, today, call)?;
    let (limit, offset) = page(call, 10_000)?;
    let (from, to) = (date(call, "realtime_start", TradingDay(i32::MIN))?, date(call, "realtime_end", TradingDay(i32::MAX))?);
    let mut days: Vec<TradingDay> = vintage_days(&values, today).into_iter().filter(|d| (from..=to).contains(d)).collect();
    if call.arg("sort_order") == Some("desc") {
        days.reverse();
    }
    let shown: Vec<String> = days.iter().skip(offset).take(limit).map(ToString::to_string).collect();
    Ok(Reply::ok(&json!({"realtime_start": text(from), "realtime_end": text(to), "order_by": "vintage_date", "sort_order": "asc",
        "count": days.len(), "offset": offset, "limit": limit, "vintage_dates": shown})))
}

fn observations(world: &World, today: TradingDay, call: &Call) -> Answer {
    let values = known(world, today, call)?;
    let (limit, offset) = page(call, 100_000)?;
    let (from, to) = period(call, today)?;
    let vintages = vintage_days(&values, today).range(from..=to).count();
    if vintages > MAX_VINTAGES {
        return Err(bad(&format!(
            "Bad Request.  There are {vintages} vintage dates in the specified real-time period: {} to {}. This exceeds the maximum number of vintage dates allowed ({MAX_VINTAGES}).",
            text(from),
            text(to)
        )));
    }
    let (first, last) = (date(call, "observation_start", TradingDay(i32::MIN))?, date(call, "observation_end", TradingDay(i32::MAX))?);
    // What will be replaced after today still stands today.
    let end = |m: &MacroValue| m.until.filter(|d| *d < today).unwrap_or(TradingDay(i32::MAX));
    let wanted = |m: &&&MacroValue| (first..=last).contains(&m.observed) && m.from <= to && end(m) >= from;
    let mut found: Vec<&MacroValue> = values.iter().filter(wanted).copied().collect();
    if call.arg("sort_order") == Some("desc") {
        found.reverse();
    }
    let shown: Vec<Value> = found.iter().skip(offset).take(limit).map(|m| row(m, m.from.max(from), end(m).min(to))).collect();
    Ok(Reply::ok(&json!({"realtime_start": text(from), "realtime_end": text(to), "observation_start": text(first), "observation_end": text(last),
        "units": "lin", "output_type": 1, "file_type": "json", "order_by": "observation_date", "sort_order": call.arg("sort_order").unwrap_or("asc"),
        "count": found.len(), "offset": offset, "limit": limit, "observations": shown})))
}

fn row(m: &MacroValue, from: TradingDay, to: TradingDay) -> Value {
    let value = m.value.map_or_else(|| ".".to_string(), |v| v.to_string());
    json!({"realtime_start": text(from), "realtime_end": text(to), "date": m.observed, "value": value})
}
