//! Massive (formerly Polygon): an independent check of two years of bars, splits, dividends and listings.
//!
//! `limit` counts base bars (minutes) and its default loses most of a history silently, so it is always sent, and
//! `next_url` is always followed; it comes without the key. A whole market day costs one call, a symbol's range another:
//! the plan takes whichever needs fewer. Prices are asked for unadjusted. The newest session is served the day after.

use super::{Action, Auth, Bar, Batch, Connector, Listing, Page, Request, Rows, Stamp};
use crate::calendar::Calendar;
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use serde::Deserialize;
use serde_json::Value;

/// The connector.
pub struct Massive;

const AUTH: Auth = Auth::Headers(&[("Authorization", "Bearer ", "MASSIVE_API_KEY")]);
const GROUPED: &str = "/v2/aggs/grouped/locale/us/market/stocks/";
const SPLITS: &str = "/v3/reference/splits";
const DIVIDENDS: &str = "/v3/reference/dividends";
const TICKERS: &str = "/v3/reference/tickers";

impl Connector for Massive {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        let cal = Calendar::xnys();
        let sessions = cal.sessions(batch.range);
        match batch.dataset.as_str() {
            dataset::EQUITIES_EOD if batch.symbols.len() > sessions.len() => Ok(sessions.iter().map(|d| grouped(*d)).collect()),
            dataset::EQUITIES_EOD => {
                let one = |days: DateRange, ticker: &String| {
                    let sessions = cal.sessions(days);
                    Some(bars(ticker, "day", &sessions.first()?.to_string(), &sessions.last()?.to_string()))
                };
                Ok(batch.questions().iter().flat_map(|(days, tickers)| tickers.iter().filter_map(|t| one(*days, t))).collect())
            }
            dataset::EQUITIES_MINUTE => {
                let ms = |t: UtcTime| (t.micros() / 1_000).to_string();
                let one = |ticker: &String, d: &TradingDay| bars(ticker, "minute", &ms(cal.open(*d)), &ms(cal.close(*d).plus_seconds(-60)));
                let mut out = Vec::new();
                for (days, tickers) in batch.questions() {
                    tickers.iter().for_each(|ticker| out.extend(cal.sessions(days).iter().map(|d| one(ticker, d))));
                }
                Ok(out)
            }
            dataset::CORP_ACTIONS => {
                Ok(batch.symbols.iter().flat_map(|s| [events(SPLITS, "execution_date", s, batch), events(DIVIDENDS, "ex_dividend_date", s, batch)]).collect())
            }
            dataset::LISTINGS => Ok(["true", "false"].iter().map(|active| tickers(batch.range.start, active)).collect()),
            other => Err(Error::bug(text!("massive does not serve {other}"))),
        }
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        let parsed: Answer = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        if !matches!(parsed.status.as_deref(), Some("OK" | "DELAYED")) {
            return Err(text!("status {:?} in a success", parsed.status));
        }
        let uri = request.question();
        let results = parsed.results.unwrap_or_default();
        let wanted = |ticker: &str| batch.symbols.iter().any(|s| s == ticker);
        if request.path.starts_with("/v2/aggs/ticker/") && parsed.ticker.as_deref().is_some_and(|t| !wanted(t)) {
            return Err(text!("bars of {}, which was not asked for", parsed.ticker.unwrap_or_default()));
        }
        let rows = match request.path.as_str() {
            p if p.starts_with("/v2/aggs/") => decode_bars(batch, request, results, &uri)?,
            SPLITS | DIVIDENDS => Rows::Actions(
                results
                    .iter()
                    .map(|v| {
                        action(v, request.path == SPLITS, &uri).filter(|a| wanted(&a.symbol)).ok_or("an event without its dates or amounts, or of another name")
                    })
                    .collect::<std::result::Result<_, _>>()?,
            ),
            _ => {
                let of = |v: &Value| listing(v, batch.range.start, &uri).ok_or("a ticker without its symbol");
                Rows::Listings(results.iter().map(of).collect::<std::result::Result<_, _>>()?)
            }
        };
        let next = parsed.next_url.filter(|u| !u.is_empty()).map(|u| continued(request, &u)).transpose()?;
        Ok(Page { rows, next, follow: Vec::new() })
    }

    fn may_be_empty(&self, name: &str) -> bool {
        name == dataset::CORP_ACTIONS
    }
}

/// `GET /v1/marketstatus/now`: the cheapest call that needs a key.
pub fn market_status() -> Request {
    request("/v1/marketstatus/now".into(), Vec::new())
}

fn request(path: String, query: Vec<(&str, String)>) -> Request {
    let query = query.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    Request { vendor: Vendor::Massive, base: Base::Massive, path, query, auth: AUTH, api_version: "v2", weight: 1, unique: None }
}

fn grouped(day: TradingDay) -> Request {
    request(format!("{GROUPED}{day}"), vec![("adjusted", "false".into()), ("include_otc", "false".into())])
}

fn bars(symbol: &str, span: &str, from: &str, to: &str) -> Request {
    let query = vec![("adjusted", "false".to_string()), ("sort", "asc".into()), ("limit", "50000".into())];
    request(format!("/v2/aggs/ticker/{symbol}/range/1/{span}/{from}/{to}"), query)
}

fn events(path: &str, day: &str, symbol: &str, batch: &Batch) -> Request {
    let mut out = request(path.into(), vec![("ticker", symbol.to_string()), ("limit", "1000".into()), ("order", "asc".into())]);
    out.query.push((format!("{day}.gte"), batch.range.start.to_string()));
    out.query.push((format!("{day}.lt"), batch.range.end.to_string()));
    out
}

fn tickers(day: TradingDay, active: &str) -> Request {
    let query = vec![("market", "stocks".to_string()), ("active", active.into()), ("date", day.to_string()), ("limit", "1000".into()), ("order", "asc".into())];
    request(TICKERS.into(), query)
}

/// The page behind `next_url`: its path and query on our own base address, without any key it may carry.
fn continued(request: &Request, url: &str) -> std::result::Result<Request, String> {
    let parsed = reqwest::Url::parse(url).map_err(|_| text!("'{url}' is not an address"))?;
    let query = parsed.query_pairs().filter(|(k, _)| !k.eq_ignore_ascii_case("apikey")).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    // The vendor's address may have a prefix that ours holds already.
    let path = ["/v2/aggs/", SPLITS, DIVIDENDS, TICKERS].iter().find_map(|known| parsed.path().find(known).map(|at| &parsed.path()[at..]));
    let path = path.filter(|p| p.starts_with("/v2/aggs/") || [SPLITS, DIVIDENDS, TICKERS].contains(p));
    path.map(|p| Request { path: p.into(), query, ..request.clone() }).ok_or_else(|| text!("the next page is said to be at {}", parsed.path()))
}

#[derive(Deserialize)]
struct Answer {
    status: Option<String>,
    ticker: Option<String>,
    /// Absent where there is nothing.
    results: Option<Vec<Value>>,
    #[serde(default)]
    next_url: Option<String>,
}

fn decode_bars(batch: &Batch, request: &Request, results: Vec<Value>, uri: &str) -> std::result::Result<Rows, String> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(rename = "T")]
        ticker: Option<String>,
        t: i64,
        o: Option<f64>,
        h: Option<f64>,
        l: Option<f64>,
        c: Option<f64>,
        v: Option<f64>,
        vw: Option<f64>,
        n: Option<i64>,
    }
    let whole_day = request.path.strip_prefix(GROUPED).map(|d| d.parse::<TradingDay>().map_err(|e| e.to_string())).transpose()?;
    let one = request.path.strip_prefix("/v2/aggs/ticker/").and_then(|p| p.split('/').next());
    let mut out = Vec::new();
    for value in results {
        let raw: Raw = serde_json::from_value(value).map_err(|e| e.to_string())?;
        let Some(ticker) = one.or(raw.ticker.as_deref()) else { return Err("a bar without a ticker".into()) };
        let holders = batch.holders(ticker);
        if holders.is_empty() {
            // The rest of the market came along.
            continue;
        }
        let stamp = UtcTime::from_micros(raw.t.checked_mul(1_000).ok_or("a stamp beyond all dates")?);
        // A whole market's day says its date in the address; its stamps are the end of the window.
        let date = whole_day.unwrap_or_else(|| stamp.day_in(&new_york()));
        if !batch.range.contains(date) {
            return Err(text!("a bar of {ticker} on {date}, outside {}", batch.range));
        }
        let ts = if whole_day.is_some() { super::midnight(date) } else { stamp };
        // Of a whole market's day the ticker may be somebody else's.
        let mine = holders.iter().filter(|(_, days)| days.contains(date));
        out.extend(mine.map(|(symbol, _)| Bar {
            date,
            ts,
            symbol: symbol.clone(),
            ohlc: [raw.o, raw.h, raw.l, raw.c],
            vwap: raw.vw,
            volume: raw.v,
            trades: raw.n,
            source_uri: uri.into(),
            vendor_ts: Stamp::Words(raw.t.to_string().into()),
            feed: "sip".into(),
            asked_symbol: ticker.into(),
        }));
    }
    Ok(Rows::Bars(out))
}

fn action(v: &Value, split: bool, uri: &str) -> Option<Action> {
    let day = |key: &str| v.get(key).and_then(Value::as_str).and_then(|t| t.parse::<TradingDay>().ok());
    let number = |key: &str| v.get(key).and_then(Value::as_f64).filter(|x| *x > 0.0);
    let symbol = v.get("ticker")?.as_str()?.to_string();
    let ex_date = day(if split { "execution_date" } else { "ex_dividend_date" })?;
    let (ratio, cash) = if split { (Some(number("split_to")? / number("split_from")?), None) } else { (None, Some(number("cash_amount")?)) };
    let event_type = match ratio {
        Some(r) if r < 1.0 => "reverse_split",
        Some(_) => "forward_split",
        None => "cash_dividend",
    };
    Some(Action {
        vendor_id: v.get("id").and_then(Value::as_str).map_or_else(|| format!("{symbol}:{ex_date}:{event_type}"), str::to_string),
        symbol,
        event_type: event_type.into(),
        ex_date: Some(ex_date),
        record_date: day("record_date"),
        pay_date: day("pay_date"),
        process_date: Some(ex_date),
        ratio,
        cash,
        new_symbol: None,
        source_uri: uri.into(),
        body: crate::store::canonical_json(v).ok()?,
    })
}

fn listing(v: &Value, asof: TradingDay, uri: &str) -> Option<Listing> {
    let text = |key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let gone = v.get("delisted_utc").and_then(Value::as_str).and_then(|t| t.get(..10)).and_then(|t| t.parse().ok());
    let active = v.get("active").and_then(Value::as_bool).unwrap_or(gone.is_none());
    Some(Listing {
        symbol: Some(text("ticker")).filter(|s| !s.is_empty())?,
        name: text("name"),
        exchange: text("primary_exchange"),
        // Common shares in the word of the listings' first source.
        asset_type: if text("type") == "CS" { "Stock".into() } else { text("type") },
        ipo_date: v.get("list_date").and_then(Value::as_str).and_then(|t| t.parse().ok()),
        delisting_date: gone,
        status: if active { "Active" } else { "Delisted" }.into(),
        asof,
        source_uri: uri.into(),
    })
}

#[cfg(test)]
#[path = "massive_tests.rs"]
mod tests;
