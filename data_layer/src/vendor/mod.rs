//! Vendors' dialects as pure functions: `plan` turns a batch of tasks into requests, `decode` turns bytes into rows.
//!
//! Nothing here touches the network, the clock or the drive. A body that does not have the lane's shape is a refusal with
//! a reason, never an empty answer.

use crate::error::Result;
use crate::sourcing::vendors::encode_query;
use crate::sourcing::{Base, Vendor};
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub mod alpaca;
pub mod alpha_vantage;
pub mod classify;
pub mod finnhub;
pub mod fmp;
pub mod frames;
pub mod fred;
pub mod massive;
pub mod options;
pub mod recognise;
mod rows;
pub mod sec_edgar;
pub mod sec_identity;
pub mod tiingo;
pub mod treasury;

pub use rows::{Action, Bar, Company, Earnings, Fact, Filing, Listing, Macro, Member, Quote, Rows, Stamp};

/// How a key travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Headers, what stands before the key in them, and the variables that hold the keys.
    Headers(&'static [(&'static str, &'static str, &'static str)]),
    /// The vendor takes the key in the query only: parameter and variable.
    Query(&'static str, &'static str),
    None,
}

/// Parameters that only say which page of an answer is wanted.
const PAGING: &[&str] = &["page_token", "offset", "page", "cursor"];

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
    /// The name that a limit on distinct symbols counts, where the vendor has one.
    pub unique: Option<String>,
}

impl Request {
    /// `<vendor>:<path>?<query without key>`: the same on any host and port.
    pub fn source_uri(&self) -> String {
        let query: Vec<String> = self.query.iter().map(|(k, v)| format!("{k}={}", encode_query(v))).collect();
        if query.is_empty() { format!("{}:{}", self.vendor, self.path) } else { format!("{}:{}?{}", self.vendor, self.path, query.join("&")) }
    }
    /// The same request with one parameter set to another value: the next page, a later offset.
    #[must_use]
    pub fn with(&self, name: &str, value: impl Into<String>) -> Self {
        let mut next = self.clone();
        next.query.retain(|(k, _)| k != name);
        next.query.push((name.to_string(), value.into()));
        next
    }
    /// What rows name as their source: the question, not the page that it was answered on.
    pub(crate) fn question(&self) -> String {
        let mut first = self.clone();
        first.query.retain(|(k, _)| !PAGING.contains(&k.as_str()));
        first.source_uri()
    }
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// Rows of the queue that share vendor and dataset, and either a window or a symbol, already clamped to what may be asked. Of several
/// windows `range` is from the first day to the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub dataset: String,
    /// Sorted; empty for a whole market.
    pub symbols: Vec<String>,
    pub range: DateRange,
    pub page_rows: usize,
    /// Of symbols that were not always their own tickers, what to ask of a vendor that knows tickers as they were on the day.
    pub under: Under,
}

/// Tickers to ask under, each with its days, by symbol. A symbol with none cannot be asked for.
pub type Under = BTreeMap<String, Vec<(String, DateRange)>>;

impl Batch {
    /// The questions that bars are asked for with: days, and the tickers that share them. Nearly always one.
    pub(crate) fn questions(&self) -> BTreeMap<DateRange, Vec<String>> {
        let mut out: BTreeMap<DateRange, BTreeSet<String>> = BTreeMap::new();
        for symbol in &self.symbols {
            match self.under.get(symbol) {
                None => out.entry(self.range).or_default().extend([symbol.clone()]),
                Some(parts) => parts.iter().for_each(|(ticker, days)| out.entry(*days).or_default().extend([ticker.clone()])),
            }
        }
        out.into_iter().map(|(days, tickers)| (days, tickers.into_iter().collect())).collect()
    }
    /// The symbols whose company had a ticker, and the days on which it did; none: it was not asked for.
    pub(crate) fn holders(&self, ticker: &str) -> Vec<(Arc<str>, DateRange)> {
        let mut out: Vec<(Arc<str>, DateRange)> = Vec::new();
        if !self.under.contains_key(ticker) && self.symbols.iter().any(|s| s == ticker) {
            out.push((ticker.into(), self.range));
        }
        for (symbol, parts) in &self.under {
            out.extend(parts.iter().filter(|(t, _)| t == ticker).map(|(_, days)| (symbol.as_str().into(), *days)));
        }
        out
    }
}

/// One decoded page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub rows: Rows,
    /// The page after this one; only a page without it is the last.
    pub next: Option<Request>,
    /// Further questions that this answer gives rise to (a list of vintages: the windows to ask for).
    pub follow: Vec<Request>,
}

impl Page {
    /// A page that is complete in itself.
    pub fn last(rows: Rows) -> Self {
        Self { rows, next: None, follow: Vec::new() }
    }
}

/// A vendor's dialect.
pub trait Connector: Send + Sync {
    /// The cheapest requests that answer a batch.
    fn plan(&self, batch: &Batch) -> Result<Vec<Request>>;
    /// Bytes of one page to rows; the reason when they do not have the lane's shape.
    fn decode(&self, batch: &Batch, request: &Request, body: &[u8]) -> std::result::Result<Page, String>;
    /// Corporate actions that an answer about bars holds as well; `None` where the vendor's answers hold none.
    fn actions_beside(&self, _batch: &Batch, _request: &Request, _body: &[u8]) -> Option<Rows> {
        None
    }
    /// Whether a complete answer about something that exists may hold no row at all.
    fn may_be_empty(&self, dataset: &str) -> bool;
}

/// The connector of a vendor.
pub fn connector(vendor: Vendor) -> &'static dyn Connector {
    match vendor {
        Vendor::Alpaca => &alpaca::Alpaca,
        Vendor::AlphaVantage => &alpha_vantage::AlphaVantage,
        Vendor::Finnhub => &finnhub::Finnhub,
        Vendor::Fred => &fred::Fred,
        Vendor::Tiingo => &tiingo::Tiingo,
        Vendor::Massive => &massive::Massive,
        Vendor::Fmp => &fmp::Fmp,
        Vendor::SecEdgar => &sec_edgar::SecEdgar,
        Vendor::Treasury => &treasury::Treasury,
    }
}

/// New York's midnight at the start of a date: the stamp of its day bar.
pub(crate) fn midnight(day: TradingDay) -> UtcTime {
    new_york().to_zoned(day.date().at(0, 0, 0, 0)).map_or(UtcTime::from_micros(0), |z| UtcTime::from_micros(z.timestamp().as_microsecond()))
}

/// The date part of a stamp whose time says nothing.
fn day_of_stamp(text: &str) -> std::result::Result<TradingDay, String> {
    text.get(..10).unwrap_or(text).parse().map_err(|_| text!("'{text}' does not begin with a date"))
}
