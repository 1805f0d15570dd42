//! FRED and ALFRED: macro series with the days on which each value was the published one.
//!
//! A plain request for observations answers with today's vintage, which is useless for the past. So a series is asked for
//! in two steps: its vintage dates, then one request per window of at most 2,000 of them. The API clips a value's
//! publication to the window asked for, so every window begins on a vintage date and ends the day before the next window
//! begins: what was cut there is joined again by [`crate::reference`]. The API gives dates and no hours: a value may be
//! used from the open of the session after its first day of publication.

use super::{Auth, Batch, Connector, Macro, Page, Request, Rows};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::TradingDay;
use serde::Deserialize;

/// The connector.
pub struct Fred;

/// The API refuses a window with more vintages than this.
pub const MAX_VINTAGES: usize = 2_000;
/// Longest list of vintage dates that one call answers.
const VINTAGE_PAGE: usize = 10_000;
/// What the API writes for "it still stands".
const OPEN_END: &str = "9999-12-31";

impl Connector for Fred {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        if batch.dataset != dataset::MACROS_FRED {
            return Err(Error::bug(text!("fred does not serve {}", batch.dataset)));
        }
        Ok(batch.symbols.iter().map(|series| vintage_dates(series, batch)).collect())
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        if request.path.ends_with("/vintagedates") { decode_vintages(batch, request, body) } else { decode_observations(batch, request, body) }
    }

    fn may_be_empty(&self, _dataset: &str) -> bool {
        true
    }
}

/// `GET /fred/series`: the cheapest call that needs a key.
pub fn series(id: &str) -> Request {
    request("/fred/series", vec![("series_id", id.to_string())])
}

fn request(path: &str, query: Vec<(&str, String)>) -> Request {
    let mut query: Vec<(String, String)> = query.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    query.push(("file_type".into(), "json".into()));
    Request {
        vendor: Vendor::Fred,
        base: Base::Fred,
        path: path.into(),
        query,
        auth: Auth::Query("api_key", "FRED_API_KEY"),
        api_version: "fred",
        weight: 1,
        unique: None,
    }
}

/// Vintages from the window's first day on: nothing of the window was published before it.
fn vintage_dates(series: &str, batch: &Batch) -> Request {
    request(
        "/fred/series/vintagedates",
        vec![
            ("series_id", series.to_string()),
            ("realtime_start", batch.range.start.to_string()),
            ("realtime_end", OPEN_END.into()),
            ("limit", VINTAGE_PAGE.to_string()),
            ("sort_order", "asc".into()),
        ],
    )
}

/// The window's observations as published from `from` to `to`, both included.
fn observations(series: &str, batch: &Batch, from: TradingDay, to: Option<TradingDay>) -> Request {
    request(
        "/fred/series/observations",
        vec![
            ("series_id", series.to_string()),
            ("observation_start", batch.range.start.to_string()),
            ("observation_end", batch.range.end.plus_days(-1).to_string()),
            ("realtime_start", from.to_string()),
            ("realtime_end", to.map_or_else(|| OPEN_END.to_string(), |d| d.to_string())),
            ("output_type", "1".into()),
            ("limit", batch.page_rows.min(100_000).to_string()),
            ("sort_order", "asc".into()),
        ],
    )
}

#[derive(Deserialize)]
struct Vintages {
    count: usize,
    offset: usize,
    vintage_dates: Vec<TradingDay>,
}

fn decode_vintages(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let list: Vintages = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let series = request.query_value("series_id").unwrap_or_default();
    if list.vintage_dates.windows(2).any(|w| w[0] >= w[1]) {
        return Err("the vintage dates are not in order".into());
    }
    // Of a list that goes on, the last date is kept back: it begins the next page, and so it ends this page's last window.
    let whole = list.offset + list.vintage_dates.len() >= list.count;
    if !whole && list.vintage_dates.len() < 2 {
        return Err(text!("{} of {} vintage dates, and no more", list.vintage_dates.len(), list.count));
    }
    let mine = if whole { list.vintage_dates.len() } else { list.vintage_dates.len() - 1 };
    let next = (!whole).then(|| request.with("offset", (list.offset + mine).to_string()));
    let starts: Vec<TradingDay> = list.vintage_dates[..mine].iter().copied().step_by(MAX_VINTAGES).collect();
    let after = list.vintage_dates.get(mine).copied();
    let ends = starts.iter().skip(1).copied().map(Some).chain(std::iter::once(after)).map(|next| next.map(|d| d.plus_days(-1)));
    let mut follow: Vec<Request> = starts.iter().zip(ends).map(|(from, to)| observations(series, batch, *from, to)).collect();
    if list.count == 0 {
        // Never revised since the window began: what stands now was published before.
        follow.push(observations(series, batch, batch.range.start, None));
    }
    Ok(Page { rows: Rows::Macros(Vec::new()), next, follow })
}

#[derive(Deserialize)]
struct Observations {
    count: usize,
    offset: usize,
    observations: Vec<Observation>,
}

#[derive(Deserialize)]
struct Observation {
    realtime_start: TradingDay,
    realtime_end: String,
    date: TradingDay,
    value: String,
}

fn decode_observations(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let list: Observations = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let series = request.query_value("series_id").unwrap_or_default();
    let uri = request.question();
    let have = list.observations.len();
    let mut rows = Vec::with_capacity(have);
    for o in list.observations {
        if !batch.range.contains(o.date) {
            return Err(text!("a value of {series} for {}, outside {}", o.date, batch.range));
        }
        let end = o.realtime_end.as_str();
        let realtime_end = if end == OPEN_END { None } else { Some(end.parse().map_err(|_| text!("'{end}' is not a date"))?) };
        if realtime_end.is_some_and(|e: TradingDay| e < o.realtime_start) {
            return Err(text!("a value of {series} for {} that ends before it begins", o.date));
        }
        rows.push(Macro {
            series: series.to_string(),
            observed: o.date,
            value: value(&o.value)?,
            realtime_start: o.realtime_start,
            realtime_end,
            source_uri: uri.clone(),
        });
    }
    let read = list.offset + have;
    if read < list.count && have == 0 {
        return Err(text!("{read} of {} observations, and no more", list.count));
    }
    let next = (read < list.count).then(|| request.with("offset", read.to_string()));
    Ok(Page { rows: Rows::Macros(rows), next, follow: Vec::new() })
}

/// A dot is a missing value, never zero.
fn value(text: &str) -> std::result::Result<Option<f64>, String> {
    match text.trim() {
        "." | "" => Ok(None),
        number => number.parse::<f64>().ok().filter(|v| v.is_finite()).map(Some).ok_or_else(|| text!("'{number}' is not a number")),
    }
}

#[cfg(test)]
#[path = "fred_tests.rs"]
mod tests;
