//! Finnhub: the earnings calendar of the whole market, and the history of an index (a paid plan's lane).
//!
//! Candles and option chains are not asked for: the first are premium, the second is gone.

use super::{Auth, Batch, Connector, Earnings, Member, Page, Request, Rows};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::TradingDay;
use serde::Deserialize;

/// The connector.
pub struct Finnhub;

/// The vendor's name of the S&P 500, and ours.
const SP500: (&str, &str) = ("^GSPC", "sp500");

impl Connector for Finnhub {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        match batch.dataset.as_str() {
            dataset::INDEX_MEMBERSHIP => Ok(vec![request("/index/historical-constituents", vec![("symbol", SP500.0.to_string())])]),
            dataset::EARNINGS_CALENDAR => {
                let (from, to) = (batch.range.start.to_string(), batch.range.end.plus_days(-1).to_string());
                Ok(vec![request("/calendar/earnings", vec![("from", from), ("to", to)])])
            }
            other => Err(Error::bug(text!("finnhub does not serve {other}"))),
        }
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        let uri = request.question();
        let rows = if batch.dataset == dataset::INDEX_MEMBERSHIP { members(body, &uri)? } else { earnings(batch, body, &uri)? };
        Ok(Page::last(rows))
    }

    /// An index has changed, and on every session some company reports.
    fn may_be_empty(&self, _dataset: &str) -> bool {
        false
    }
}

/// `GET /stock/market-status`: a cheap call that any key may make.
pub fn market_status() -> Request {
    request("/stock/market-status", vec![("exchange", "US".to_string())])
}

fn request(path: &str, query: Vec<(&str, String)>) -> Request {
    let query = query.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    let auth = Auth::Headers(&[("X-Finnhub-Token", "", "FINNHUB_API_KEY")]);
    Request { vendor: Vendor::Finnhub, base: Base::Finnhub, path: path.into(), query, auth, api_version: "v1", weight: 1, unique: None }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Constituents {
    historical_constituents: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    action: String,
    symbol: String,
    date: TradingDay,
}

fn members(body: &[u8], uri: &str) -> std::result::Result<Rows, String> {
    let parsed: Constituents = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if parsed.historical_constituents.is_empty() {
        return Err("an index without a single change of its members".into());
    }
    let mut out = Vec::with_capacity(parsed.historical_constituents.len());
    for c in parsed.historical_constituents {
        let joined = match c.action.as_str() {
            "add" => true,
            "remove" => false,
            other => return Err(text!("an index change '{other}'")),
        };
        out.push(Member { index: SP500.1.into(), symbol: c.symbol, date: c.date, joined, source_uri: uri.to_string() });
    }
    Ok(Rows::Members(out))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calendar {
    earnings_calendar: Vec<Announced>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announced {
    symbol: String,
    date: TradingDay,
    #[serde(default)]
    hour: Option<String>,
    #[serde(default)]
    eps_estimate: Option<f64>,
    #[serde(default)]
    eps_actual: Option<f64>,
    #[serde(default)]
    revenue_estimate: Option<f64>,
    #[serde(default)]
    revenue_actual: Option<f64>,
}

fn earnings(batch: &Batch, body: &[u8], uri: &str) -> std::result::Result<Rows, String> {
    let parsed: Calendar = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let mut out = Vec::with_capacity(parsed.earnings_calendar.len());
    for e in parsed.earnings_calendar {
        if !batch.range.contains(e.date) {
            return Err(text!("a report of {} on {}, outside {}", e.symbol, e.date, batch.range));
        }
        out.push(Earnings {
            symbol: e.symbol,
            date: e.date,
            hour: e.hour.unwrap_or_default(),
            eps_estimate: e.eps_estimate,
            eps_actual: e.eps_actual,
            revenue_estimate: e.revenue_estimate,
            revenue_actual: e.revenue_actual,
            source_uri: uri.to_string(),
        });
    }
    Ok(Rows::Earnings(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DateRange;

    fn batch(name: &str) -> Batch {
        let range = DateRange::new("2019-10-01".parse().unwrap(), "2020-07-01".parse().unwrap()).unwrap();
        Batch { dataset: name.into(), symbols: Vec::new(), range, page_rows: 1_500, under: Default::default() }
    }

    #[test]
    fn index_changes_are_dated_and_another_shape_is_malformed() {
        let b = batch(dataset::INDEX_MEMBERSHIP);
        let request = Finnhub.plan(&b).unwrap().remove(0);
        assert_eq!(request.source_uri(), "finnhub:/index/historical-constituents?symbol=%5EGSPC");
        let body = br#"{"historicalConstituents":[{"action":"add","symbol":"TYL","date":"2020-06-22"},{"action":"remove","symbol":"JWN","date":"2020-06-22"}],"symbol":"^GSPC"}"#;
        let Rows::Members(rows) = Finnhub.decode(&b, &request, body).unwrap().rows else { panic!("members") };
        assert_eq!(rows.iter().map(|m| (m.symbol.as_str(), m.joined)).collect::<Vec<_>>(), [("TYL", true), ("JWN", false)]);
        for bad in [
            &br#"{"historicalConstituents":[],"symbol":"^GSPC"}"#[..],
            br#"{"s":"no_data"}"#,
            br#"{"historicalConstituents":[{"action":"moved","symbol":"A","date":"2020-01-01"}]}"#,
        ] {
            assert!(Finnhub.decode(&b, &request, bad).is_err());
        }
    }

    #[test]
    fn the_earnings_calendar_keeps_what_is_not_known_as_null() {
        let b = batch(dataset::EARNINGS_CALENDAR);
        let request = Finnhub.plan(&b).unwrap().remove(0);
        let body = br#"{"earningsCalendar":[{"date":"2020-01-28","epsActual":4.99,"epsEstimate":4.5474,"hour":"amc","symbol":"AAPL"},{"date":"2020-02-03","epsActual":null,"hour":"","symbol":"ZZZ"}]}"#;
        let Rows::Earnings(rows) = Finnhub.decode(&b, &request, body).unwrap().rows else { panic!("earnings") };
        assert_eq!((rows[0].eps_actual, rows[1].eps_actual, rows[0].revenue_actual), (Some(4.99), None, None));
        let late = br#"{"earningsCalendar":[{"date":"2021-01-28","symbol":"AAPL"}]}"#;
        assert!(Finnhub.decode(&b, &request, late).unwrap_err().contains("outside"));
    }
}
