//! Vendors' dialects as pure functions: `plan` turns a batch of tasks into requests, `decode` turns bytes into rows.
//!
//! Nothing here touches the network, the clock or the drive. A body that does not have the lane's shape is a refusal with
//! a reason, never an empty answer.

use crate::error::Result;
use crate::sourcing::vendors::encode_query;
use crate::sourcing::{Base, Vendor};
use crate::time::{DateRange, TradingDay, UtcTime};
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

pub mod alpaca;
pub mod alpha_vantage;
pub mod classify;
pub mod frames;

/// How a key travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Headers and the variables that hold their values.
    Headers(&'static [(&'static str, &'static str)]),
    /// The vendor takes the key in the query only: parameter and variable.
    Query(&'static str, &'static str),
    None,
}

/// One GET, without its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub vendor: Vendor,
    pub base: Base,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub auth: Auth,
    pub api_version: &'static str,
    /// Cost in the vendor's units.
    pub weight: u64,
}

impl Request {
    /// `<vendor>:<path>?<query without key>`: the same on any host and port.
    pub fn source_uri(&self) -> String {
        let query: Vec<String> = self.query.iter().map(|(k, v)| format!("{k}={}", encode_query(v))).collect();
        if query.is_empty() { format!("{}:{}", self.vendor, self.path) } else { format!("{}:{}?{}", self.vendor, self.path, query.join("&")) }
    }
    /// The same request for the page after `token`.
    #[must_use]
    pub fn page(&self, token: &str) -> Self {
        let mut next = self.clone();
        next.query.retain(|(k, _)| k != "page_token");
        next.query.push(("page_token".into(), token.into()));
        next
    }
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// Rows of the queue that share vendor, dataset and window, already clamped to what may be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub dataset: String,
    /// Sorted; empty for a whole market.
    pub symbols: Vec<String>,
    pub range: DateRange,
    pub page_rows: usize,
}

/// One bar as the vendor gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    pub date: TradingDay,
    /// Start of the bar.
    pub ts: UtcTime,
    pub symbol: String,
    /// Open, high, low, close.
    pub ohlc: [Option<f64>; 4],
    pub vwap: Option<f64>,
    pub volume: Option<f64>,
    pub trades: Option<i64>,
    pub source_uri: String,
    /// The stamp as the vendor wrote it.
    pub vendor_ts: String,
    pub feed: String,
    pub asked_symbol: String,
}

/// One corporate action.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Action {
    pub symbol: String,
    pub event_type: String,
    pub ex_date: Option<TradingDay>,
    pub record_date: Option<TradingDay>,
    pub pay_date: Option<TradingDay>,
    /// New shares per old share.
    pub ratio: Option<f64>,
    /// Cash per share.
    pub cash: Option<f64>,
    pub process_date: Option<TradingDay>,
    pub new_symbol: Option<String>,
    pub vendor_id: String,
    pub source_uri: String,
    /// The vendor's object as canonical JSON.
    pub body: String,
}

/// One row of a dated listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    pub symbol: String,
    pub name: String,
    pub exchange: String,
    pub asset_type: String,
    pub ipo_date: Option<TradingDay>,
    pub delisting_date: Option<TradingDay>,
    pub status: String,
    pub asof: TradingDay,
    pub source_uri: String,
}

/// Decoded rows of one dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    Bars(Vec<Bar>),
    Actions(Vec<Action>),
    Listings(Vec<Listing>),
}

impl Rows {
    pub fn len(&self) -> usize {
        match self {
            Self::Bars(v) => v.len(),
            Self::Actions(v) => v.len(),
            Self::Listings(v) => v.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Append rows of the same kind; the reason when they are of another.
    pub fn append(&mut self, other: Self) -> std::result::Result<(), String> {
        match (self, other) {
            (Self::Bars(a), Self::Bars(b)) => a.extend(b),
            (Self::Actions(a), Self::Actions(b)) => a.extend(b),
            (Self::Listings(a), Self::Listings(b)) => a.extend(b),
            _ => return Err("one request brought two kinds of rows".into()),
        }
        Ok(())
    }
    /// How many rows each symbol has.
    pub fn counts(&self) -> BTreeMap<&str, u64> {
        let mut out = BTreeMap::new();
        let symbols: Vec<&str> = match self {
            Self::Bars(v) => v.iter().map(|r| r.asked_symbol.as_str()).collect(),
            Self::Actions(v) => v.iter().map(|r| r.symbol.as_str()).collect(),
            Self::Listings(v) => v.iter().map(|r| r.symbol.as_str()).collect(),
        };
        for symbol in symbols {
            *out.entry(symbol).or_default() += 1;
        }
        out
    }
    /// Sort, drop exact repeats, refuse two different rows for one key.
    pub fn settle(&mut self) -> std::result::Result<(), String> {
        match self {
            Self::Bars(v) => {
                v.sort_by(|a, b| (&a.symbol, a.ts, &a.source_uri).cmp(&(&b.symbol, b.ts, &b.source_uri)));
                v.dedup();
                let clash = v.windows(2).find(|w| w[0].symbol == w[1].symbol && w[0].ts == w[1].ts);
                clash.map_or(Ok(()), |w| Err(format!("two different bars for {} at {}", w[0].symbol, w[0].ts)))
            }
            Self::Actions(v) => {
                v.sort_by(|a, b| {
                    (&a.symbol, a.ex_date, &a.event_type, &a.vendor_id, &a.body).cmp(&(&b.symbol, b.ex_date, &b.event_type, &b.vendor_id, &b.body))
                });
                v.dedup();
                Ok(())
            }
            Self::Listings(v) => {
                v.sort_by(|a, b| {
                    (&a.symbol, &a.status, a.ipo_date, a.delisting_date, &a.name).cmp(&(&b.symbol, &b.status, b.ipo_date, b.delisting_date, &b.name))
                });
                v.dedup();
                Ok(())
            }
        }
    }
    /// The rows as a frame per calendar year of the window, oldest first, with the symbols in it; years without rows are
    /// left out.
    pub fn frames(&self, vendor: Vendor, range: DateRange) -> Result<Vec<(DateRange, DataFrame, Vec<String>)>> {
        frames::by_year(self, vendor, range)
    }
}

/// One decoded page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub rows: Rows,
    /// Token of the page after this one; only a page without it is the last.
    pub next: Option<String>,
}

/// A vendor's dialect.
pub trait Connector: Send + Sync {
    /// The cheapest requests that answer a batch.
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>>;
    /// Bytes of one page to rows; the reason when they do not have the lane's shape.
    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String>;
    /// Whether a complete answer without any row is believable.
    fn may_be_empty(&self, dataset: &str) -> bool;
}

/// The connector of a vendor, if one is built in.
pub fn connector(vendor: Vendor) -> Option<&'static dyn Connector> {
    match vendor {
        Vendor::Alpaca => Some(&alpaca::Alpaca),
        Vendor::AlphaVantage => Some(&alpha_vantage::AlphaVantage),
        Vendor::Tiingo | Vendor::Massive | Vendor::Finnhub | Vendor::Fmp | Vendor::Fred | Vendor::SecEdgar | Vendor::Treasury => None,
    }
}
