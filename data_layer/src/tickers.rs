//! Under which ticker the company behind a symbol was traded on each day.
//!
//! A symbol names a company by the ticker that it has today. Before a change of ticker the company was traded under another one, and
//! its present ticker was perhaps somebody else's: a vendor that answers about tickers as they were on the day has the company's bars
//! under the old one, and another company's under the new one. What is known comes from changes of ticker, and from two listings of
//! one ticker under different names that overlap. A symbol of which nothing is known was always its own ticker.

use crate::error::Result;
use crate::frame;
use crate::root::{DataPath, DataRoot};
use crate::schema::table;
use crate::sourcing::Vendor;
use crate::store;
use crate::time::{DateRange, TradingDay};
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// A stretch of a company's life, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub from: Option<TradingDay>,
    pub to: Option<TradingDay>,
    /// `None`: the ticker was another company's, and nobody has said under which one this company was traded.
    pub ticker: Option<String>,
}

impl Held {
    pub fn contains(&self, day: TradingDay) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day < to)
    }
    fn within(&self, range: DateRange) -> Option<DateRange> {
        let days = DateRange { start: self.from.map_or(range.start, |d| d.max(range.start)), end: self.to.map_or(range.end, |d| d.min(range.end)) };
        (days.start < days.end).then_some(days)
    }
}

/// The days of a question, and the ticker that was asked about.
pub type Asked = (String, DateRange);

/// The stretches of every symbol that was not always its own ticker, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tickers(BTreeMap<String, Vec<Held>>);

impl Tickers {
    /// `reference/tickers`; a drive that knows of no change has no such table.
    pub fn load(root: &DataRoot) -> Result<Self> {
        let path = DataPath::new(format!("{}.parquet", table::REF_TICKERS))?;
        store::read(root, &path)?
            .map_or_else(|| Ok(Self::default()), |bytes| tickers_of(&store::parquet_frame(bytes)?).map_err(|e| e.during(&text!("reading {path}"))))
    }

    pub(crate) fn new(lives: BTreeMap<String, Vec<Held>>) -> Self {
        Self(lives)
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
    /// The stretches of a symbol; `None` where it was always its own ticker, as far as is known.
    pub fn life(&self, symbol: &str) -> Option<&[Held]> {
        self.0.get(symbol).map(Vec::as_slice)
    }
    /// What a digest of files that are made under a symbol must hold of it; nothing for most.
    pub fn words(&self, symbol: &str) -> String {
        self.life(symbol).map_or_else(String::new, |life| format!("{life:?}"))
    }
    /// The ticker of a symbol's company on a day; `None` where nobody has said.
    pub fn on<'a>(&'a self, symbol: &'a str, day: TradingDay) -> Option<&'a str> {
        match self.life(symbol) {
            None => Some(symbol),
            Some(life) => life.iter().find(|h| h.contains(day)).and_then(|h| h.ticker.as_deref()),
        }
    }
    /// What to ask a vendor that knows tickers as they were on the day: nothing for stretches without a ticker.
    pub fn to_ask(&self, symbol: &str, range: DateRange) -> Vec<Asked> {
        match self.life(symbol) {
            None => vec![(symbol.to_string(), range)],
            Some(life) => life.iter().filter_map(|h| Some((h.ticker.clone()?, h.within(range)?))).collect(),
        }
    }
    /// The earlier tickers of a symbol and the days on which they were its company's.
    pub fn earlier<'a>(&'a self, symbol: &'a str, range: DateRange) -> impl Iterator<Item = (&'a str, DateRange)> {
        let life = self.life(symbol).unwrap_or_default();
        life.iter().filter_map(move |h| Some((h.ticker.as_deref().filter(|t| *t != symbol)?, h.within(range)?)))
    }
    /// The symbol under which a company is kept that had a ticker on a day.
    pub fn symbol_of<'a>(&'a self, ticker: &'a str, day: TradingDay) -> &'a str {
        let went_on =
            |(symbol, life): &(&String, &Vec<Held>)| symbol.as_str() != ticker && life.iter().any(|h| h.contains(day) && h.ticker.as_deref() == Some(ticker));
        let later = |(symbol, life): &(&'a String, &'a Vec<Held>)| (life.last().map(|h| (h.ticker.is_some(), h.from)), symbol.as_str());
        // Of several the last in a chain of changes: the ones before it gave their tickers up themselves.
        self.0.iter().filter(went_on).max_by_key(later).map_or(ticker, |(symbol, _)| symbol)
    }
    /// The symbol of the company that gave this ticker up and goes on under another one.
    pub fn successor<'a>(&'a self, symbol: &'a str) -> Option<&'a str> {
        let last = self.life(symbol)?.last().filter(|h| h.ticker.is_none())?;
        Some(self.symbol_of(symbol, last.from?.plus_days(-1))).filter(|new| *new != symbol)
    }
    pub(crate) fn frame(&self) -> Result<DataFrame> {
        let rows: Vec<(&String, &Held)> = self.0.iter().flat_map(|(symbol, life)| life.iter().map(move |h| (symbol, h))).collect();
        frame::assemble(vec![
            frame::text_column("symbol", &rows.iter().map(|r| Some(r.0)).collect::<Vec<_>>()),
            frame::text_column("ticker", &rows.iter().map(|r| r.1.ticker.as_deref()).collect::<Vec<_>>()),
            frame::day_column("from", &rows.iter().map(|r| r.1.from).collect::<Vec<_>>())?,
            frame::day_column("to", &rows.iter().map(|r| r.1.to).collect::<Vec<_>>())?,
        ])
    }
}

/// The rows of a `reference/tickers` table.
fn tickers_of(rows: &DataFrame) -> Result<Tickers> {
    let (symbol, ticker) = (frame::texts(rows, "symbol")?, frame::texts(rows, "ticker")?);
    let (from, to) = (frame::days(rows, "from")?, frame::days(rows, "to")?);
    let mut out: BTreeMap<String, Vec<Held>> = BTreeMap::new();
    for i in 0..rows.height() {
        let Some(symbol) = symbol[i] else { continue };
        out.entry(symbol.to_string()).or_default().push(Held { from: from[i], to: to[i], ticker: ticker[i].map(str::to_string) });
    }
    Ok(Tickers(out))
}

/// Whether a vendor answers about a ticker as it was on the day. The others answer about the company that has it now, whatever it was
/// called before.
pub fn knows_tickers_by_day(vendor: &str) -> bool {
    [Vendor::Alpaca, Vendor::Massive].iter().any(|v| v.as_str() == vendor)
}
