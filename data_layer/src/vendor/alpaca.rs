//! Alpaca's market data: bars, corporate actions, calendar and clock.
//!
//! Bars come sorted by symbol, then time, over pages that cross symbols: a symbol missing on page 1 may come on page 2, so
//! absence is known only after the last page. `limit` is always sent (the default of 1,000 rows would cut silently) and
//! the token is always followed. Stamps are bar starts in UTC; a day bar carries New York's midnight.

use super::{Action, Auth, Bar, Batch, Connector, Page, Request, Rows, Stamp, midnight};
use crate::calendar::Calendar;
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version of the data API, stored with every row.
pub const DATA_VERSION: &str = "v2";

pub(crate) const AUTH: Auth = Auth::Headers(&[("APCA-API-KEY-ID", "", "ALPACA_API_KEY"), ("APCA-API-SECRET-KEY", "", "ALPACA_API_SECRET")]);

/// The connector.
pub struct Alpaca;

impl Connector for Alpaca {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        let cal = Calendar::xnys();
        match batch.dataset.as_str() {
            dataset::EQUITIES_EOD => {
                // `end` is the last session's close: an instant that has passed, whatever the clock says, so that the same
                // task always asks the same question.
                let one = |(days, tickers): (&DateRange, &Vec<String>)| {
                    let last = cal.sessions(*days).last()?;
                    Some(bars(batch, tickers, "1Day", midnight(days.start), cal.close(*last)))
                };
                Ok(batch.questions().iter().filter_map(one).collect())
            }
            dataset::EQUITIES_MINUTE => {
                // By session, not by range: pre- and after-market bars cannot be filtered out by the server.
                let minutes = |day: &TradingDay, tickers: &[String]| bars(batch, tickers, "1Min", cal.open(*day), cal.close(*day).plus_seconds(-60));
                let of = |(days, tickers): (&DateRange, &Vec<String>)| cal.sessions(*days).iter().map(|day| minutes(day, tickers)).collect::<Vec<_>>();
                Ok(batch.questions().iter().flat_map(of).collect())
            }
            dataset::CORP_ACTIONS => Ok(vec![request(
                Base::AlpacaData,
                "/v1/corporate-actions",
                vec![
                    ("symbols", batch.symbols.join(",")),
                    ("start", batch.range.start.to_string()),
                    ("end", batch.range.end.plus_days(-1).to_string()),
                    ("limit", batch.page_rows.min(1_000).to_string()),
                ],
                "v1",
            )]),
            dataset::OPTIONS_CHAINS => {
                let query = || vec![("feed", "indicative".to_string()), ("limit", batch.page_rows.min(1_000).to_string())];
                Ok(batch.symbols.iter().map(|s| request(Base::AlpacaData, &super::options::path(s), query(), "v1beta1")).collect())
            }
            other => Err(Error::bug(text!("alpaca does not serve {other}"))),
        }
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        match batch.dataset.as_str() {
            dataset::CORP_ACTIONS => decode_actions(request, body),
            dataset::OPTIONS_CHAINS => super::options::decode(batch.range.end.plus_days(-1), request, body),
            _ => decode_bars(batch, request, body),
        }
    }

    fn may_be_empty(&self, name: &str) -> bool {
        name == dataset::CORP_ACTIONS
    }
}

/// `GET /v2/clock` on the trading host: the cheapest authenticated call there is.
pub fn clock() -> Request {
    request(Base::AlpacaTrading, "/v2/clock", Vec::new(), DATA_VERSION)
}

/// `GET /v2/calendar` for a window.
pub fn calendar(range: DateRange) -> Request {
    request(Base::AlpacaTrading, "/v2/calendar", vec![("start", range.start.to_string()), ("end", range.end.plus_days(-1).to_string())], DATA_VERSION)
}

/// Session dates of a `/v2/calendar` answer, for comparison with the built-in calendar.
pub fn decode_calendar(body: &[u8]) -> std::result::Result<Vec<TradingDay>, String> {
    #[derive(Deserialize)]
    struct Day {
        date: TradingDay,
    }
    let days: Vec<Day> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    Ok(days.into_iter().map(|d| d.date).collect())
}

/// The feed for bars that end at `end`: the whole market once 16 minutes have passed, before that nothing at all (a free
/// key would see IEX alone, a few percent of the volume).
pub fn feed_for(end: UtcTime, now: UtcTime) -> Option<&'static str> {
    (now.seconds_since(end) >= 16.0 * 60.0).then_some("sip")
}

fn request(base: Base, path: &str, query: Vec<(&str, String)>, api_version: &'static str) -> Request {
    let query = query.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    Request { vendor: Vendor::Alpaca, base, path: path.to_string(), query, auth: AUTH, api_version, weight: 1, unique: None }
}

fn bars(batch: &Batch, tickers: &[String], timeframe: &str, start: UtcTime, end: UtcTime) -> Request {
    request(
        Base::AlpacaData,
        "/v2/stocks/bars",
        vec![
            ("symbols", tickers.join(",")),
            ("timeframe", timeframe.to_string()),
            ("start", rfc3339(start)),
            ("end", rfc3339(end)),
            ("limit", batch.page_rows.min(10_000).to_string()),
            ("adjustment", "raw".to_string()),
            ("feed", "sip".to_string()),
            // No symbol mapping: a ticker is asked about for the days on which it was the company's, so that what comes does not
            // depend on what the vendor knows of changes today.
            ("asof", "-".to_string()),
            ("sort", "asc".to_string()),
        ],
        DATA_VERSION,
    )
}

fn rfc3339(t: UtcTime) -> String {
    let text = t.to_string();
    format!("{}Z", text.split('.').next().unwrap_or(&text))
}

/// Texts are borrowed from the body.
#[derive(Deserialize)]
struct BarsBody<'a> {
    /// `null` when no symbol has a bar.
    #[serde(borrow)]
    bars: Option<BTreeMap<Cow<'a, str>, Vec<RawBar<'a>>>>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct RawBar<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    o: Option<f64>,
    h: Option<f64>,
    l: Option<f64>,
    c: Option<f64>,
    v: Option<f64>,
    #[serde(default)]
    n: Option<i64>,
    #[serde(default)]
    vw: Option<f64>,
}

fn decode_bars(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let parsed: BarsBody<'_> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let feed: Arc<str> = request.query_value("feed").unwrap_or_default().into();
    let uri: Arc<str> = request.question().into();
    let mut dates = Dates::default();
    let bars = parsed.bars.unwrap_or_default();
    let mut rows = Vec::with_capacity(bars.values().map(Vec::len).sum());
    for (ticker, list) in bars {
        let holders = batch.holders(&ticker);
        if holders.is_empty() {
            return Err(text!("bars of '{ticker}', which was not asked for"));
        }
        let ticker: Arc<str> = ticker.into();
        for raw in list {
            let (ts, vendor_ts) = match stamp(&raw.t) {
                Some(ts) => (ts, Stamp::Start),
                None => (UtcTime::parse(&raw.t).map_err(|e| e.to_string())?, Stamp::Words(raw.t.as_ref().into())),
            };
            let date = dates.of(ts);
            let mut mine = holders.iter().filter(|(_, days)| days.contains(date)).peekable();
            if mine.peek().is_none() {
                return Err(text!("a bar of {ticker} at {}, outside {}", raw.t, batch.range));
            }
            rows.extend(mine.map(|(symbol, _)| Bar {
                date,
                ts,
                symbol: symbol.clone(),
                ohlc: [raw.o, raw.h, raw.l, raw.c],
                vwap: raw.vw,
                volume: raw.v,
                trades: raw.n,
                source_uri: uri.clone(),
                vendor_ts: vendor_ts.clone(),
                feed: feed.clone(),
                asked_symbol: ticker.clone(),
            }));
        }
    }
    Ok(Page { rows: Rows::Bars(rows), next: next_page(request, parsed.next_page_token), follow: Vec::new() })
}

/// `2017-11-30T14:30:00Z`, which is all that bars are stamped with; anything else is left to the general parser.
fn stamp(text: &str) -> Option<UtcTime> {
    let b: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let number = |at: std::ops::Range<usize>| b[at].iter().try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')));
    if [b[4], b[7], b[10], b[13], b[16], b[19]] != *b"--T::Z" {
        return None;
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let day = TradingDay::ymd(i16::try_from(number(0..4)?).ok()?, i8::try_from(number(5..7)?).ok()?, i8::try_from(number(8..10)?).ok()?)?;
    Some(UtcTime::from_micros((i64::from(day.0) * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000_000))
}

/// New York's date of moments that mostly follow each other: the time zone is looked up once a day.
#[derive(Default)]
struct Dates {
    /// First moment of the date, first after it, the date.
    last: Option<(UtcTime, UtcTime, TradingDay)>,
}

impl Dates {
    fn of(&mut self, ts: UtcTime) -> TradingDay {
        if let Some((_, _, day)) = self.last.filter(|(from, to, _)| *from <= ts && ts < *to) {
            return day;
        }
        let zone = new_york();
        let day = ts.day_in(&zone);
        self.last = Some((UtcTime::midnight_in(&zone, day), UtcTime::midnight_in(&zone, day.plus_days(1)), day));
        day
    }
}

/// The page after this one.
fn next_page(request: &Request, token: Option<String>) -> Option<Request> {
    token.filter(|t| !t.is_empty()).map(|t| request.with("page_token", t))
}

#[derive(Deserialize)]
struct ActionsBody {
    corporate_actions: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    next_page_token: Option<String>,
}

fn decode_actions(request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let parsed: ActionsBody = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let uri = request.question();
    let mut rows = Vec::new();
    for (container, list) in parsed.corporate_actions {
        // `forward_splits` holds events of type `forward_split`; a container we do not know is kept as it is.
        let event_type = container.strip_suffix('s').unwrap_or(&container).to_string();
        for object in list {
            rows.push(action(&event_type, &object, &uri).ok_or_else(|| text!("an entry of {container} without a symbol or with a bad date"))?);
        }
    }
    Ok(Page { rows: Rows::Actions(rows), next: next_page(request, parsed.next_page_token), follow: Vec::new() })
}

/// One event; split ratios are new/old, a stock dividend of 5 % is 1.05.
fn action(event_type: &str, object: &Value, uri: &str) -> Option<Action> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    let number = |key: &str| object.get(key).and_then(Value::as_f64);
    let day = |key: &str| text(key).map(str::parse::<TradingDay>).transpose().ok();
    let symbol = ["symbol", "source_symbol", "acquiree_symbol", "old_symbol"].iter().find_map(|k| text(k))?;
    let rate = |new: &str, old: &str| number(new).zip(number(old)).filter(|(_, o)| *o > 0.0).map(|(n, o)| n / o);
    let (ratio, cash) = match event_type {
        "forward_split" | "reverse_split" | "unit_split" => (rate("new_rate", "old_rate"), None),
        "stock_dividend" => (number("rate").map(|r| 1.0 + r), None),
        "cash_dividend" | "cash_merger" | "redemption" => (None, number("rate")),
        "spin_off" => (rate("new_rate", "source_rate"), None),
        "stock_merger" => (rate("acquirer_rate", "acquiree_rate"), None),
        "stock_and_cash_merger" => (rate("acquirer_rate", "acquiree_rate"), number("cash_rate")),
        "worthless_removal" => (None, Some(0.0)),
        _ => (None, None),
    };
    let process_date = day("process_date")?;
    Some(Action {
        symbol: symbol.to_string(),
        event_type: event_type.to_string(),
        ex_date: day("ex_date")?.or(day("effective_date")?).or(process_date),
        record_date: day("record_date")?,
        pay_date: day("payable_date")?,
        ratio,
        cash,
        process_date,
        new_symbol: ["new_symbol", "acquirer_symbol"].iter().find_map(|k| text(k)).map(str::to_string),
        vendor_id: text("id").unwrap_or_default().to_string(),
        source_uri: uri.to_string(),
        body: crate::store::canonical_json(object).ok()?,
    })
}

#[cfg(test)]
#[path = "alpaca_tests.rs"]
mod tests;
