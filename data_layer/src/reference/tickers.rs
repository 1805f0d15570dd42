//! Under which ticker the company behind a symbol was traded on each day.
//!
//! A symbol names a company by the ticker that it has today. Before a change of ticker the company was traded under another one, and
//! its present ticker was perhaps somebody else's: a vendor that answers about tickers as they were on the day has the company's bars
//! under the old one, and another company's under the new one. What is known comes from changes of ticker, and from two listings of
//! one ticker under different names that overlap. A symbol of which nothing is known was always its own ticker.

use super::actions::TickerChange;
use super::listings::Listing;
use super::read_table;
use crate::error::Result;
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::sourcing::Vendor;
use crate::time::{DateRange, TradingDay};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};

/// Changes of ticker that one company is followed through.
const LONGEST: usize = 20;
/// Days by which a listing's own dates may miss the change of ticker that they tell of.
const NEAR_DAYS: i32 = 10;

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

/// A company gives a ticker up, and goes on under another one if that is known.
struct Event<'a> {
    day: TradingDay,
    old: &'a str,
    new: Option<&'a str>,
}

impl Tickers {
    /// `reference/tickers`; a drive that knows of no change has no such table.
    pub fn load(root: &DataRoot) -> Result<Self> {
        read_table(root, table::REF_TICKERS)?.map_or_else(|| Ok(Self::default()), |rows| tickers_of(&rows))
    }

    pub(super) fn of(changes: &[TickerChange], listings: &[Listing]) -> Self {
        let mut events: Vec<Event<'_>> = changes.iter().map(|c| Event { day: c.date, old: &c.old_symbol, new: Some(&c.new_symbol) }).collect();
        let by_symbol = by_symbol(listings);
        for (symbol, rows) in &by_symbol {
            events.extend(handed_on(rows).map(|day| Event { day, old: symbol, new: None }));
        }
        let names: BTreeSet<&str> = events.iter().flat_map(|e| [Some(e.old), e.new]).flatten().collect();
        let rows_of = |symbol: &str| by_symbol.get(symbol).map_or(&[][..], Vec::as_slice);
        let known = names.into_iter().map(|symbol| (symbol.to_string(), life(symbol, &events, rows_of(symbol))));
        Self(known.filter(|(symbol, life)| !is_plain(symbol, life)).collect())
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
    /// Listings as the companies' and not the tickers': of a symbol whose company had another ticker before, the listing begins with
    /// the company, and the listings of whoever had the ticker before it are another company's.
    pub(super) fn restate(&self, listings: &[Listing]) -> Vec<Listing> {
        let all = by_symbol(listings);
        let mut out = Vec::with_capacity(listings.len());
        for (symbol, rows) in &all {
            let Some(life) = self.life(symbol) else {
                out.extend(rows.iter().map(|l| (*l).clone()));
                continue;
            };
            let own_from = life.iter().rfind(|h| h.ticker.as_deref() == Some(symbol)).and_then(|h| h.from);
            let mut own: Vec<Listing> =
                rows.iter().filter(|l| l.delisting_date.is_none_or(|to| own_from.is_none_or(|from| from < to))).map(|l| (*l).clone()).collect();
            if let Some(first) = own.iter_mut().min_by_key(|l| l.ipo_date) {
                first.ipo_date = began(life, &all, first.ipo_date);
            }
            out.extend(own);
        }
        out.sort_by(|a, b| (&a.symbol, a.ipo_date, a.delisting_date).cmp(&(&b.symbol, b.ipo_date, b.delisting_date)));
        out
    }

    pub(super) fn frame(&self) -> Result<DataFrame> {
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

fn by_symbol(listings: &[Listing]) -> BTreeMap<&str, Vec<&Listing>> {
    let mut out: BTreeMap<&str, Vec<&Listing>> = BTreeMap::new();
    for l in listings {
        out.entry(&l.symbol).or_default().push(l);
    }
    out
}

/// The days on which a listing of a ticker ended while another one, of another name, is said to have been there already: a listing may
/// carry the date of its company, and two companies never had one ticker together.
fn handed_on<'a>(rows: &'a [&Listing]) -> impl Iterator<Item = TradingDay> + 'a {
    let plain = |l: &Listing| l.name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect::<String>();
    rows.iter().filter_map(move |gone| {
        let end = gone.delisting_date?;
        let overlaps =
            |l: &&&Listing| l.ipo_date.is_some_and(|d| d.plus_days(NEAR_DAYS) < end) && l.delisting_date.is_none_or(|d| end.plus_days(NEAR_DAYS) < d);
        rows.iter().find(overlaps).filter(|l| plain(l) != plain(gone)).map(|_| end)
    })
}

fn is_plain(symbol: &str, life: &[Held]) -> bool {
    matches!(life, [only] if only.from.is_none() && only.to.is_none() && only.ticker.as_deref() == Some(symbol))
}

/// The stretches of one symbol, oldest first: from today back through every change that led to its ticker.
fn life(symbol: &str, events: &[Event<'_>], listings: &[&Listing]) -> Vec<Held> {
    let given_up = events.iter().filter(|e| e.old == symbol).map(|e| e.day).max();
    let again = |day: TradingDay| {
        let taken = events.iter().any(|e| e.new == Some(symbol) && day <= e.day);
        // A list that is newer than the change, and still names it, names its next holder.
        let listed = |l: &&Listing| {
            l.ipo_date.is_some_and(|d| day < d) || (day.plus_days(NEAR_DAYS) < l.asof && l.delisting_date.is_none_or(|d| day.plus_days(NEAR_DAYS) < d))
        };
        taken || listings.iter().any(listed)
    };
    let (mut out, mut ticker, mut end) = (Vec::new(), symbol.to_string(), None);
    if let Some(day) = given_up.filter(|day| !again(*day)) {
        out.push(Held { from: Some(day), to: None, ticker: None });
        end = Some(day);
    }
    for _ in 0..LONGEST {
        let before = |e: &&Event<'_>| end.is_none_or(|end| e.day < end) && (e.new == Some(ticker.as_str()) || e.old == ticker);
        // A ticker that is handed on within a day is given up first.
        let Some(last) = events.iter().filter(before).max_by_key(|e| (e.day, e.new == Some(ticker.as_str()))) else {
            out.push(Held { from: None, to: end, ticker: Some(ticker) });
            break;
        };
        out.push(Held { from: Some(last.day), to: end, ticker: Some(ticker.clone()) });
        end = Some(last.day);
        if last.new != Some(ticker.as_str()) {
            out.push(Held { from: None, to: end, ticker: None });
            break;
        }
        ticker = last.old.to_string();
    }
    out.reverse();
    out
}

/// The first day of a company: its own listing's where that is early enough, else that of the first ticker it is known to have had.
fn began(life: &[Held], listings: &BTreeMap<&str, Vec<&Listing>>, own: Option<TradingDay>) -> Option<TradingDay> {
    let first = life.iter().find(|h| h.ticker.is_some())?;
    let (ticker, end) = (first.ticker.as_deref()?, first.to);
    let carried = |l: &&&Listing| end.is_none_or(|end| l.ipo_date.is_none_or(|d| d < end) && l.delisting_date.is_none_or(|d| end <= d.plus_days(NEAR_DAYS)));
    let earlier = listings.get(ticker).and_then(|rows| rows.iter().find(carried)).map(|l| l.ipo_date);
    match (own, earlier) {
        // The listing has the date of the last change, and nobody has listed the ticker before it.
        (Some(own), None) if end.is_some_and(|end| end.plus_days(-NEAR_DAYS) <= own) => None,
        (own, None) => own,
        (own, Some(earlier)) => own.zip(earlier).map(|(a, b)| a.min(b)),
    }
}

#[cfg(test)]
#[path = "tickers_tests.rs"]
mod tests;
