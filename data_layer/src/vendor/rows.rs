//! What vendors' answers decode to: one kind of row per dataset, the same from every vendor.

use super::frames;
use crate::error::Result;
use crate::root::encode_symbol;
use crate::sourcing::Vendor;
use crate::time::{DateRange, TradingDay, UtcTime};
use polars::prelude::DataFrame;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One bar as the vendor gave it. Texts that many bars have in common are kept once: a page of 10,000 minutes allocates a
/// handful of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    pub date: TradingDay,
    /// Start of the bar.
    pub ts: UtcTime,
    pub symbol: Arc<str>,
    /// Open, high, low, close.
    pub ohlc: [Option<f64>; 4],
    pub vwap: Option<f64>,
    pub volume: Option<f64>,
    pub trades: Option<i64>,
    pub source_uri: Arc<str>,
    pub vendor_ts: Stamp,
    pub feed: Arc<str>,
    pub asked_symbol: Arc<str>,
}

/// A bar's stamp as the vendor wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Stamp {
    /// The bar's start to the second, `2017-11-30T14:30:00Z`: written again when it is stored.
    Start,
    Words(Box<str>),
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

/// One value of a macro series and the days on which it was the one published, `[realtime_start, realtime_end]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Macro {
    pub series: String,
    /// The day, month or quarter that the value describes, by its first day.
    pub observed: TradingDay,
    /// `None` where the vendor says that it has none.
    pub value: Option<f64>,
    /// First day of publication.
    pub realtime_start: TradingDay,
    /// Last day of publication, included; `None` = it still stands.
    pub realtime_end: Option<TradingDay>,
    pub source_uri: String,
}

/// A name joins or leaves an index at the open of a day.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub index: String,
    pub symbol: String,
    pub date: TradingDay,
    pub joined: bool,
    pub source_uri: String,
}

/// One reported number with the day on which it was filed. What a company's many facts have in common is kept once: the file
/// of a large one holds hundreds of thousands of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The company's permanent number at the SEC, ten digits.
    pub cik: Arc<str>,
    /// `us-gaap`, `dei`, ...
    pub taxonomy: Arc<str>,
    pub concept: Arc<str>,
    pub unit: Arc<str>,
    /// First day of the period; `None` for a balance-sheet number.
    pub start: Option<TradingDay>,
    /// Last day of the period, or the day of the balance sheet.
    pub end: TradingDay,
    pub value: f64,
    pub accession: Box<str>,
    pub form: Arc<str>,
    pub filed: TradingDay,
    pub source_uri: Arc<str>,
}

impl Fact {
    fn order(&self) -> impl Ord + '_ {
        (&self.cik, &self.taxonomy, &self.concept, &self.unit, self.end, self.start, self.filed, &self.accession)
    }
}

/// One ticker of a company, as the SEC's list of companies stood when it was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Company {
    /// The company's permanent number at the SEC, ten digits.
    pub cik: String,
    pub symbol: String,
    pub name: String,
    /// The day that was asked for: the last one of the window.
    pub asof: TradingDay,
    pub source_uri: String,
}

/// One filing of a company.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filing {
    pub cik: String,
    pub filed: TradingDay,
    pub accession: String,
    pub form: String,
    /// The end of the period that it reports on, where the filing has one.
    pub report_date: Option<TradingDay>,
    /// When the SEC accepted it, as the SEC writes it: with a `Z`, yet older ones are New York's time.
    pub accepted: String,
    /// Items of an 8-K, `2.02,9.01`.
    pub items: String,
    pub source_uri: String,
}

/// A company's announced or past report date, as the vendor's calendar stood when it was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Earnings {
    pub symbol: String,
    pub date: TradingDay,
    /// `bmo` before the open, `amc` after the close, `dmh` during trading; empty when not said.
    pub hour: String,
    pub eps_estimate: Option<f64>,
    pub eps_actual: Option<f64>,
    pub revenue_estimate: Option<f64>,
    pub revenue_actual: Option<f64>,
    pub source_uri: String,
}

/// One contract of an option chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    pub underlying: String,
    /// The day on which the chain was asked for.
    pub date: TradingDay,
    pub contract: String,
    pub expiry: TradingDay,
    /// `C` or `P`.
    pub right: String,
    pub strike: f64,
    pub bid: Option<f64>,
    pub ask: Option<f64>,
    pub last: Option<f64>,
    /// The quote's stamp as the vendor wrote it.
    pub quoted_at: String,
    pub source_uri: String,
}

/// Decoded rows of one dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    Bars(Vec<Bar>),
    Actions(Vec<Action>),
    Listings(Vec<Listing>),
    Macros(Vec<Macro>),
    Members(Vec<Member>),
    Facts(Vec<Fact>),
    Earnings(Vec<Earnings>),
    Quotes(Vec<Quote>),
    Companies(Vec<Company>),
    Filings(Vec<Filing>),
}

impl Rows {
    pub fn len(&self) -> usize {
        match self {
            Self::Bars(v) => v.len(),
            Self::Actions(v) => v.len(),
            Self::Listings(v) => v.len(),
            Self::Macros(v) => v.len(),
            Self::Members(v) => v.len(),
            Self::Facts(v) => v.len(),
            Self::Earnings(v) => v.len(),
            Self::Quotes(v) => v.len(),
            Self::Companies(v) => v.len(),
            Self::Filings(v) => v.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Append rows of the same kind; the reason when they are of another. Nothing may be appended to anything.
    pub fn append(&mut self, other: Self) -> std::result::Result<(), String> {
        match (&mut *self, other) {
            (Self::Bars(a), Self::Bars(b)) => a.extend(b),
            (Self::Actions(a), Self::Actions(b)) => a.extend(b),
            (Self::Listings(a), Self::Listings(b)) => a.extend(b),
            (Self::Macros(a), Self::Macros(b)) => a.extend(b),
            (Self::Members(a), Self::Members(b)) => a.extend(b),
            (Self::Facts(a), Self::Facts(b)) => a.extend(b),
            (Self::Earnings(a), Self::Earnings(b)) => a.extend(b),
            (Self::Quotes(a), Self::Quotes(b)) => a.extend(b),
            (Self::Companies(a), Self::Companies(b)) => a.extend(b),
            (Self::Filings(a), Self::Filings(b)) => a.extend(b),
            (_, b) if b.is_empty() => {}
            (a, b) if a.is_empty() => *a = b,
            _ => return Err("one question brought two kinds of rows".into()),
        }
        Ok(())
    }
    /// What of bars or actions falls into a window, by the day they are filed under. Nothing else is asked for by several windows at once.
    pub fn within(&self, window: DateRange) -> Self {
        match self {
            Self::Bars(v) => Self::Bars(v.iter().filter(|b| window.contains(b.date)).cloned().collect()),
            Self::Actions(v) => Self::Actions(v.iter().filter(|a| a.process_date.or(a.ex_date).is_none_or(|day| window.contains(day))).cloned().collect()),
            other => other.clone(),
        }
    }
    /// What a row is counted under: the symbol, series or company that was asked for.
    fn symbols(&self) -> Vec<&str> {
        match self {
            Self::Bars(v) => v.iter().map(|r| &*r.symbol).collect(),
            Self::Actions(v) => v.iter().map(|r| r.symbol.as_str()).collect(),
            Self::Listings(v) => v.iter().map(|r| r.symbol.as_str()).collect(),
            Self::Macros(v) => v.iter().map(|r| r.series.as_str()).collect(),
            Self::Members(v) => v.iter().map(|r| r.symbol.as_str()).collect(),
            Self::Facts(v) => v.iter().map(|r| &*r.cik).collect(),
            Self::Earnings(v) => v.iter().map(|r| r.symbol.as_str()).collect(),
            Self::Quotes(v) => v.iter().map(|r| r.underlying.as_str()).collect(),
            Self::Companies(v) => v.iter().map(|r| r.symbol.as_str()).collect(),
            Self::Filings(v) => v.iter().map(|r| r.cik.as_str()).collect(),
        }
    }
    /// Symbols name files: an answer about one that cannot be a name is not the lane's format.
    pub fn check_names(&self) -> std::result::Result<(), String> {
        let bad = self.symbols().into_iter().find(|symbol| encode_symbol(symbol).is_err());
        bad.map_or(Ok(()), |symbol| {
            let begins: String = symbol.chars().take(20).collect();
            Err(text!("a symbol of {} bytes: '{begins}'", symbol.len()))
        })
    }
    /// How many rows each symbol has.
    pub fn counts(&self) -> BTreeMap<&str, u64> {
        let mut out = BTreeMap::new();
        // Rows of one symbol mostly follow each other.
        for run in self.symbols().chunk_by(|a, b| a == b) {
            *out.entry(run[0]).or_default() += run.len() as u64;
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
                return clash.map_or(Ok(()), |w| Err(text!("two different bars for {} at {}", w[0].symbol, w[0].ts)));
            }
            Self::Actions(v) => {
                v.sort_by(|a, b| {
                    (&a.symbol, a.ex_date, &a.event_type, &a.vendor_id, &a.body).cmp(&(&b.symbol, b.ex_date, &b.event_type, &b.vendor_id, &b.body))
                });
                v.dedup();
            }
            Self::Listings(v) => {
                v.sort_by(|a, b| {
                    (&a.symbol, &a.status, a.ipo_date, a.delisting_date, &a.name).cmp(&(&b.symbol, &b.status, b.ipo_date, b.delisting_date, &b.name))
                });
                v.dedup();
            }
            Self::Macros(v) => {
                v.sort_by(|a, b| (&a.series, a.observed, a.realtime_start).cmp(&(&b.series, b.observed, b.realtime_start)));
                v.dedup_by(|b, a| a.series == b.series && a.observed == b.observed && a.realtime_start == b.realtime_start && a.value == b.value);
                let key = |m: &Macro| (m.series.clone(), m.observed, m.realtime_start);
                let clash = v.windows(2).find(|w| key(&w[0]) == key(&w[1]));
                return clash.map_or(Ok(()), |w| Err(text!("two values of {} for {} from {} on", w[0].series, w[0].observed, w[0].realtime_start)));
            }
            Self::Members(v) => {
                v.sort_by(|a, b| (&a.index, &a.symbol, a.date, a.joined).cmp(&(&b.index, &b.symbol, b.date, b.joined)));
                v.dedup();
            }
            Self::Facts(v) => {
                v.sort_by(|a, b| a.order().cmp(&b.order()));
                v.dedup();
            }
            Self::Quotes(v) => {
                v.sort_by(|a, b| (a.date, &a.contract).cmp(&(b.date, &b.contract)));
                v.dedup();
            }
            Self::Earnings(v) => {
                v.sort_by(|a, b| (&a.symbol, a.date, &a.hour).cmp(&(&b.symbol, b.date, &b.hour)));
                v.dedup();
            }
            Self::Companies(v) => {
                v.sort_by(|a, b| (&a.symbol, &a.cik).cmp(&(&b.symbol, &b.cik)));
                v.dedup();
            }
            Self::Filings(v) => {
                v.sort();
                v.dedup();
            }
        }
        Ok(())
    }
    /// The rows as a frame per calendar year of the window, oldest first, with the symbols in it; years without rows are
    /// left out.
    pub fn frames(&self, vendor: Vendor, range: DateRange) -> Result<Vec<(DateRange, DataFrame, Vec<String>)>> {
        let mut out = Vec::new();
        self.each_frame(vendor, range, &mut |range, frame, symbols| {
            out.push((range, frame, symbols));
            Ok(())
        })?;
        Ok(out)
    }
    /// The same one after the other: a frame is made when the one before it was dealt with.
    pub fn each_frame(&self, vendor: Vendor, range: DateRange, take: frames::Take<'_>) -> Result<()> {
        frames::by_year(self, vendor, range, take)
    }
}
