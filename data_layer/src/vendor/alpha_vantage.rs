//! Alpha Vantage's `LISTING_STATUS`, the one free listing that can be asked for a past date, and its `EARNINGS_CALENDAR` of
//! the months to come.
//!
//! Every refusal of this vendor is an HTTP 200 with a JSON object, also where CSV was asked for.

use super::{Auth, Batch, Connector, Earnings, Listing, Page, Request, Rows};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::TradingDay;

/// The connector.
pub struct AlphaVantage;

/// The first columns of the earnings calendar; a time of day may follow.
const CALENDAR: [&str; 6] = ["symbol", "name", "reportDate", "fiscalDateEnding", "estimate", "currency"];
const HEADER: [&str; 7] = ["symbol", "name", "exchange", "assetType", "ipoDate", "delistingDate", "status"];

impl Connector for AlphaVantage {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        match batch.dataset.as_str() {
            dataset::LISTINGS => Ok(["active", "delisted"].iter().map(|state| listing_status(batch.range.start, state)).collect()),
            dataset::EARNINGS_CALENDAR => Ok(vec![query(vec![("function".into(), "EARNINGS_CALENDAR".into()), ("horizon".into(), "3month".into())])]),
            other => Err(Error::bug(text!("alpha_vantage does not serve {other}"))),
        }
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
        if batch.dataset == dataset::EARNINGS_CALENDAR {
            return calendar(batch, request, body);
        }
        let asof = batch.range.start;
        let state = request.query_value("state").unwrap_or_default();
        let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(body);
        let header: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(|h| h.trim().to_string()).collect();
        if header != HEADER {
            return Err(text!("the header is '{}'", header.join(",")));
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| e.to_string())?;
            let field = |i: usize| record.get(i).unwrap_or_default().trim();
            let (symbol, status) = (field(0), field(6));
            if symbol.is_empty() || !status.eq_ignore_ascii_case(state) {
                return Err(text!("a row of '{symbol}' with status '{status}' in the {state} list"));
            }
            rows.push(Listing {
                symbol: symbol.to_string(),
                name: field(1).to_string(),
                exchange: field(2).to_string(),
                asset_type: field(3).to_string(),
                ipo_date: day(field(4))?,
                delisting_date: day(field(5))?,
                status: status.to_string(),
                asof,
                source_uri: request.source_uri(),
            });
        }
        if rows.is_empty() && state == "active" {
            return Err("no listed symbol at all".into());
        }
        Ok(Page::last(Rows::Listings(rows)))
    }

    fn may_be_empty(&self, _dataset: &str) -> bool {
        false
    }
}

/// The list as it stood on a date; `state` is `active` or `delisted`.
pub fn listing_status(day: TradingDay, state: &str) -> Request {
    query(vec![("function".into(), "LISTING_STATUS".into()), ("date".into(), day.to_string()), ("state".into(), state.into())])
}

fn query(query: Vec<(String, String)>) -> Request {
    let auth = Auth::Query("apikey", "ALPHA_VANTAGE_API_KEY");
    Request { vendor: Vendor::AlphaVantage, base: Base::AlphaVantage, path: "/query".into(), query, auth, api_version: "query", weight: 1, unique: None }
}

/// The calendar as it stands now. What lies outside the window was not asked for: the vendor knows horizons only.
fn calendar(batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(body);
    let header: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(|h| h.trim().to_string()).collect();
    if !header.starts_with(&CALENDAR.map(String::from)) {
        return Err(text!("the header is '{}'", header.join(",")));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let field = |i: usize| record.get(i).unwrap_or_default().trim();
        let date: TradingDay = field(2).parse().map_err(|_| text!("'{}' is not a date", field(2)))?;
        if batch.range.contains(date) {
            let hour = match field(6) {
                "pre-market" => "bmo",
                "post-market" => "amc",
                _ => "",
            };
            let eps_estimate = field(4).parse().ok().filter(|v: &f64| v.is_finite());
            let (symbol, source_uri) = (field(0).to_string(), request.question());
            rows.push(Earnings { symbol, date, hour: hour.into(), eps_estimate, eps_actual: None, revenue_estimate: None, revenue_actual: None, source_uri });
        }
    }
    Ok(Page::last(Rows::Earnings(rows)))
}

/// `null` and nothing are a missing date; anything else must be one.
fn day(text: &str) -> std::result::Result<Option<TradingDay>, String> {
    match text {
        "" | "null" => Ok(None),
        other => other.parse().map(Some).map_err(|_| text!("'{other}' is not a date")),
    }
}

#[cfg(test)]
#[path = "alpha_vantage_tests.rs"]
mod tests;
