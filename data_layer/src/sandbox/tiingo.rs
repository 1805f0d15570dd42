//! Tiingo's dialect: `GET /tiingo/daily/{ticker}` and `/tiingo/daily/{ticker}/prices`, a symbol's whole life in one answer.
//!
//! `close` is raw; the `adj*` columns are adjusted for splits and dividends as of the world's date, so they change when a
//! later event comes: only the raw ones may be kept. Splits and cash stand in the rows of their ex-dates. A session's bar
//! is there an hour and a half after the close.

use super::keys;
use super::wire::{Call, Reply};
use super::world::{Listing, Series, World};
use crate::calendar::Calendar;
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Value, json};

/// How long after the close a session's bar appears.
const READY_SECONDS: i64 = 90 * 60;

/// Answer one call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    let key = call.header("authorization").and_then(|h| h.strip_prefix("Token ")).or(call.arg("token")).map(str::trim);
    if key != Some(keys::TIINGO) {
        return detail(401, "Invalid token.");
    }
    match call.segments().as_slice() {
        ["api", "test"] => Reply::ok(&json!({"message": "You successfully sent a request"})),
        ["tiingo", "daily", ticker] => meta(world, now, ticker),
        ["tiingo", "daily", ticker, "prices"] => prices(world, now, ticker, call),
        ["tiingo", "news", ..] => detail(403, "You do not have permission to access the News API"),
        _ => detail(404, "Not found."),
    }
}

/// The vendor's form of every refusal.
pub fn detail(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({ "detail": text }))
}

/// The world's spelling of the vendor's ticker: share classes stand behind a hyphen there.
fn ours(ticker: &str) -> String {
    ticker.to_ascii_uppercase().replace('-', ".")
}

fn newest(now: UtcTime) -> TradingDay {
    Calendar::xnys().last_closed(now.plus_seconds(-READY_SECONDS)).unwrap_or(TradingDay(i32::MIN))
}

fn meta(world: &World, now: UtcTime, ticker: &str) -> Reply {
    let known = |l: &&Listing| l.ipo.is_none_or(|d| d <= now.day_in(&new_york()));
    let symbol = ours(ticker);
    let (Some(listing), Some(series)) = (world.listing(&symbol).filter(known), world.series(&symbol)) else { return detail(404, "Not found.") };
    let last = series.days[..series.upto(newest(now))].last();
    Reply::ok(&json!({"ticker": ticker.to_ascii_uppercase(), "name": listing.name, "exchangeCode": listing.exchange, "description": "",
        "startDate": series.first(), "endDate": last}))
}

fn prices(world: &World, now: UtcTime, ticker: &str, call: &Call) -> Reply {
    let symbol = ours(ticker);
    let Some(series) = world.series(&symbol).filter(|s| s.first().is_some_and(|d| d <= newest(now))) else {
        return detail(404, &format!("Error: Ticker '{ticker}' not found"));
    };
    if call.arg("resampleFreq").is_some_and(|f| f != "daily") {
        return detail(400, "Error: the sandbox resamples nothing: resampleFreq=daily");
    }
    let to = series.upto(newest(now));
    let day = |name: &str| call.arg(name).map(|t| t.get(..10).unwrap_or(t).parse::<TradingDay>()).transpose();
    let (Ok(start), Ok(end)) = (day("startDate"), day("endDate")) else { return detail(400, "Error: startDate and endDate are dates: YYYY-MM-DD") };
    let from = start.map_or(to.saturating_sub(1), |d| series.days.partition_point(|x| *x < d));
    let to = end.map_or(to, |d| series.upto(d).min(to));
    let events = Events::of(world, &symbol, now);
    let mut rows: Vec<Value> = (from..to.max(from)).map(|i| row(series, i, &events)).collect();
    if call.arg("sort") == Some("-date") {
        rows.reverse();
    }
    if call.arg("format") == Some("csv") { csv(&rows) } else { Reply::ok(&Value::Array(rows)) }
}

/// Splits and cash of one name by ex-date, as far as they are known.
struct Events {
    splits: Vec<(TradingDay, f64)>,
    cash: Vec<(TradingDay, f64)>,
}

impl Events {
    fn of(world: &World, symbol: &str, now: UtcTime) -> Self {
        let today = now.day_in(&new_york());
        let known = || world.actions.iter().filter(|a| a.symbol == symbol && a.ex_date <= today && a.is_told("tiingo", today));
        // Prices that are split-adjusted already have no splits to show.
        let raw = world.about.adjusted == "raw";
        Self {
            splits: known().filter(|a| raw && a.kind == "split").filter_map(|a| Some((a.ex_date, a.ratio?))).collect(),
            cash: known().filter(|a| a.kind == "dividend").filter_map(|a| Some((a.ex_date, a.cash?))).collect(),
        }
    }
    /// New shares over old between the close of `day` and now.
    fn split_after(&self, day: TradingDay) -> f64 {
        self.splits.iter().filter(|(ex, _)| *ex > day).map(|(_, ratio)| ratio).product()
    }
    /// What a close of `day` is multiplied by for the dividends since: one less each share of the close before its ex-date.
    fn cash_after(&self, day: TradingDay, series: &Series) -> f64 {
        let kept = |(ex, cash): &(TradingDay, f64)| series.close_at(ex.plus_days(-1)).filter(|c| *c > *cash).map_or(1.0, |c| 1.0 - cash / c);
        self.cash.iter().filter(|(ex, _)| *ex > day).map(kept).product()
    }
    fn on(list: &[(TradingDay, f64)], day: TradingDay) -> Option<f64> {
        list.iter().find(|(ex, _)| *ex == day).map(|(_, x)| *x)
    }
}

fn row(s: &Series, i: usize, events: &Events) -> Value {
    let number = |x: f64| if x.is_finite() { json!(x) } else { Value::Null };
    let day = s.days[i];
    let (splits, cash) = (events.split_after(day), events.cash_after(day, s));
    let adjusted = |x: f64| number(x / splits * cash);
    let volume = |x: f64| if x.is_finite() { json!(x.round() as i64) } else { Value::Null };
    json!({"date": format!("{day}T00:00:00.000Z"), "close": number(s.close[i]), "high": number(s.high[i]), "low": number(s.low[i]),
        "open": number(s.open[i]), "volume": volume(s.volume[i]), "adjClose": adjusted(s.close[i]), "adjHigh": adjusted(s.high[i]),
        "adjLow": adjusted(s.low[i]), "adjOpen": adjusted(s.open[i]), "adjVolume": volume(s.volume[i] * splits),
        "divCash": Events::on(&events.cash, day).unwrap_or(0.0), "splitFactor": Events::on(&events.splits, day).unwrap_or(1.0)})
}

const COLUMNS: [&str; 13] =
    ["date", "close", "high", "low", "open", "volume", "adjClose", "adjHigh", "adjLow", "adjOpen", "adjVolume", "divCash", "splitFactor"];

fn csv(rows: &[Value]) -> Reply {
    let mut text = format!("{}\n", COLUMNS.join(","));
    for row in rows {
        let cell = |name: &&str| match &row[*name] {
            Value::String(s) => s.get(..10).unwrap_or(s).to_string(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        text.push_str(&format!("{}\n", COLUMNS.iter().map(cell).collect::<Vec<_>>().join(",")));
    }
    Reply::text(200, "text/csv", text)
}
