//! Alpha Vantage's `LISTING_STATUS`: the one free listing that can be asked for a past date.
//!
//! Every refusal of this vendor is an HTTP 200 with a JSON object, also where CSV was asked for.

use super::{Auth, Batch, Connector, Listing, Page, Request, Rows};
use crate::error::{Error, Result};
use crate::schema::dataset;
use crate::sourcing::{Base, Vendor};
use crate::time::TradingDay;

/// The connector.
pub struct AlphaVantage;

const HEADER: [&str; 7] = ["symbol", "name", "exchange", "assetType", "ipoDate", "delistingDate", "status"];

impl Connector for AlphaVantage {
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>> {
        if batch.dataset != dataset::LISTINGS {
            return Err(Error::bug(text!("alpha_vantage does not serve {}", batch.dataset)));
        }
        Ok(["active", "delisted"].iter().map(|state| listing_status(batch.range.start, state)).collect())
    }

    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String> {
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
    Request {
        vendor: Vendor::AlphaVantage,
        base: Base::AlphaVantage,
        path: "/query".into(),
        query: vec![("function".into(), "LISTING_STATUS".into()), ("date".into(), day.to_string()), ("state".into(), state.into())],
        auth: Auth::Query("apikey", "ALPHA_VANTAGE_API_KEY"),
        api_version: "query",
        weight: 1,
        unique: None,
    }
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
