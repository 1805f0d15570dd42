//! A world: bars, listings and corporate actions in memory, columnar, one [`Series`] per symbol.

use super::minutes::{self, Minute};
use crate::calendar::Calendar;
use crate::error::{Error, Result, code};
use crate::time::{TradingDay, UtcTime};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How a world describes itself (`world.yml`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub id: String,
    pub version: u32,
    /// `raw` or `split`.
    #[serde(default = "raw")]
    pub adjusted: String,
    #[serde(default)]
    pub known_bias: String,
}

fn raw() -> String {
    "raw".into()
}

/// Daily bars of one symbol, ascending by day. `NaN` is a cell that the world does not hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub symbol: String,
    pub days: Vec<TradingDay>,
    pub open: Vec<f64>,
    pub high: Vec<f64>,
    pub low: Vec<f64>,
    pub close: Vec<f64>,
    pub volume: Vec<f64>,
}

impl Series {
    /// Number of bars up to and including `day`.
    pub fn upto(&self, day: TradingDay) -> usize {
        self.days.partition_point(|d| *d <= day)
    }
    /// Position of the bar of `day`.
    pub fn on(&self, day: TradingDay) -> Option<usize> {
        self.days.binary_search(&day).ok()
    }
    /// The newest close at or before `day`.
    pub fn close_at(&self, day: TradingDay) -> Option<f64> {
        self.close[..self.upto(day)].iter().rev().copied().find(|c| c.is_finite())
    }
    pub fn first(&self) -> Option<TradingDay> {
        self.days.first().copied()
    }
    pub fn last(&self) -> Option<TradingDay> {
        self.days.last().copied()
    }
}

/// When a symbol was listed, in the words of Alpha Vantage's listing status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub symbol: String,
    pub name: String,
    pub exchange: String,
    pub asset_type: String,
    pub ipo: Option<TradingDay>,
    /// The last day on which it traded.
    pub delisted: Option<TradingDay>,
}

impl Listing {
    /// Whether it traded on `day`, as far as `day` can know.
    pub fn active_on(&self, day: TradingDay) -> bool {
        self.ipo.is_none_or(|d| d <= day) && self.delisted.is_none_or(|d| day <= d)
    }
    /// Whether it was gone before `day`.
    pub fn gone_by(&self, day: TradingDay) -> bool {
        self.delisted.is_some_and(|d| d < day)
    }
}

/// A corporate action; `ratio` is new shares over old, of a spin-off the child's over the parent's.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub symbol: String,
    /// `split`, `dividend`, `name_change`, `cash_merger`, `worthless_removal` or `spin_off`.
    pub kind: String,
    pub ex_date: TradingDay,
    pub record_date: Option<TradingDay>,
    pub pay_date: Option<TradingDay>,
    pub ratio: Option<f64>,
    pub cash: Option<f64>,
    /// The ticker that goes on after a name change, or that a spin-off lists.
    pub new_symbol: Option<String>,
    /// What is told of it by whom and when, where that is not the ex-date by everybody.
    pub telling: Telling,
}

/// How vendors tell of an action: a statement that is moved has a row for each date, with one id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telling {
    /// The vendor's number of the event; without it one is made of symbol, kind and ex-date.
    pub id: Option<String>,
    /// The first day on which it is told: before the ex-date if it is announced, after it if it is late.
    pub from: Option<TradingDay>,
    /// The first day on which it is no longer told.
    pub until: Option<TradingDay>,
    /// The only vendor that tells it.
    pub by: Option<String>,
}

impl Action {
    /// The day it takes effect in an account: splits on the ex-date, dividends when paid.
    pub fn process_date(&self) -> TradingDay {
        if self.kind == "dividend" { self.pay_date.unwrap_or(self.ex_date) } else { self.ex_date }
    }
    /// Whether a vendor tells of it on a day.
    pub fn is_told(&self, vendor: &str, today: TradingDay) -> bool {
        let t = &self.telling;
        t.by.as_ref().is_none_or(|by| by == vendor) && t.from.unwrap_or(self.ex_date) <= today && t.until.is_none_or(|until| today < until)
    }
    /// Whether it comes to pass: what was taken back never does.
    pub fn happens(&self) -> bool {
        self.telling.until.is_none()
    }
}

/// A macro value and the days on which it was the published one; `until` is included, `None` = it still stands.
#[derive(Clone, Debug, PartialEq)]
pub struct MacroValue {
    pub series: String,
    pub observed: TradingDay,
    pub value: Option<f64>,
    pub from: TradingDay,
    pub until: Option<TradingDay>,
}

/// A symbol's stay in the S&P 500, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    pub symbol: String,
    pub from: TradingDay,
    pub to: Option<TradingDay>,
}

/// A company's numbers at the SEC, as its `companyfacts` body has them.
#[derive(Clone, PartialEq, Eq)]
pub struct Company {
    /// Ten digits.
    pub cik: String,
    pub name: String,
    /// Where the world says it.
    pub ticker: Option<String>,
    pub facts: Vec<u8>,
}

impl std::fmt::Debug for Company {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Company({}, {} bytes)", self.cik, self.facts.len())
    }
}

/// A day on which a company reports, and the days on which calendars say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub symbol: String,
    pub date: TradingDay,
    /// `bmo`, `amc`, `dmh`, or nothing.
    pub hour: String,
    pub announced: TradingDay,
    /// The first day on which it is no longer said: it was moved.
    pub withdrawn: Option<TradingDay>,
}

/// A contract's quote at the close of a day.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    pub symbol: String,
    pub day: TradingDay,
    pub bid: Option<f64>,
    pub ask: Option<f64>,
    pub last: Option<f64>,
}

/// Everything a sandbox serves. Built by [`super::load`].
#[derive(Clone, Debug)]
pub struct World {
    pub about: About,
    /// First and last day with a bar.
    pub first: TradingDay,
    pub last: TradingDay,
    /// Sorted by symbol.
    pub series: Vec<Series>,
    /// Sorted by symbol.
    pub listings: Vec<Listing>,
    /// Sorted by process date, then symbol.
    pub actions: Vec<Action>,
    /// Sorted by series, observation and first day of publication.
    pub macros: Vec<MacroValue>,
    /// Sorted by symbol and first day.
    pub stays: Vec<Stay>,
    /// What a synthetic market was made from.
    pub seed: Option<u64>,
    /// The first day with minute bars; `None` when the world holds none.
    pub minutes_from: Option<TradingDay>,
    /// Minutes that a folder brought; where there are none, a world with minutes makes them from its days.
    pub minutes: BTreeMap<(String, TradingDay), Vec<Minute>>,
    /// Sorted by number.
    pub companies: Vec<Company>,
    /// Sorted by day, then symbol.
    pub reports: Vec<Report>,
    /// By underlying, sorted by contract and day.
    pub chains: BTreeMap<String, Vec<Contract>>,
}

impl World {
    /// Put the parts together; `listings` may be empty, then they are read off the bars.
    pub fn assemble(about: About, mut series: Vec<Series>, mut listings: Vec<Listing>, mut actions: Vec<Action>) -> Result<Self> {
        series.retain(|s| !s.days.is_empty());
        series.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        let first = series.iter().filter_map(Series::first).min();
        let last = series.iter().filter_map(Series::last).max();
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Error::new(code::DATA_MISSING, format!("the world {}@{} holds no bars", about.id, about.version)));
        };
        if listings.is_empty() {
            listings = series.iter().map(|s| from_bars(s, last)).collect();
        }
        listings.sort_by(|a, b| (&a.symbol, a.ipo).cmp(&(&b.symbol, b.ipo)));
        actions.sort_by(|a, b| (a.process_date(), &a.symbol).cmp(&(b.process_date(), &b.symbol)));
        Ok(Self {
            about,
            first,
            last,
            series,
            listings,
            actions,
            macros: Vec::new(),
            stays: Vec::new(),
            seed: None,
            minutes_from: None,
            minutes: BTreeMap::new(),
            companies: Vec::new(),
            reports: Vec::new(),
            chains: BTreeMap::new(),
        })
    }

    /// The same world with macro values and index membership.
    #[must_use]
    pub fn with_reference(mut self, mut macros: Vec<MacroValue>, mut stays: Vec<Stay>) -> Self {
        macros.sort_by(|a, b| (&a.series, a.observed, a.from).cmp(&(&b.series, b.observed, b.from)));
        stays.sort_by(|a, b| (&a.symbol, a.from).cmp(&(&b.symbol, b.from)));
        (self.macros, self.stays) = (macros, stays);
        self
    }

    /// `replay@1`, `planted@2:7`.
    pub fn dataset(&self) -> String {
        let seed = self.seed.map_or_else(String::new, |s| format!(":{s}"));
        format!("{}@{}{seed}", self.about.id, self.about.version)
    }
    pub fn series(&self, symbol: &str) -> Option<&Series> {
        self.series.binary_search_by(|s| s.symbol.as_str().cmp(symbol)).ok().and_then(|i| self.series.get(i))
    }
    /// The listing of a ticker; the newest one of a ticker that was used twice.
    pub fn listing(&self, symbol: &str) -> Option<&Listing> {
        let end = self.listings.partition_point(|l| l.symbol.as_str() <= symbol);
        self.listings.get(end.checked_sub(1)?).filter(|l| l.symbol == symbol)
    }
    /// The days in `[from, to]` on which companies report, as a calendar of `today` has them.
    pub fn calendar(&self, today: TradingDay, from: TradingDay, to: TradingDay) -> impl Iterator<Item = &Report> {
        let stands = move |r: &&Report| r.announced <= today && r.withdrawn.is_none_or(|w| today < w);
        self.reports.iter().filter(move |r| from <= r.date && r.date <= to).filter(stands)
    }
    /// The minutes of a session; none where the world holds none.
    pub fn minutes_of(&self, symbol: &str, day: TradingDay) -> Vec<Minute> {
        if self.minutes_from.is_none_or(|from| day < from) {
            return Vec::new();
        }
        if !self.minutes.is_empty() {
            return self.minutes.get(&(symbol.to_string(), day)).cloned().unwrap_or_default();
        }
        let series = self.series(symbol);
        series.and_then(|s| s.on(day).map(|i| minutes::of_day(s, i))).unwrap_or_default()
    }
    /// The newest price of `symbol` at `now` and its moment: a minute of the running session, its open, or the last close.
    pub fn last_trade(&self, symbol: &str, now: UtcTime) -> Option<(f64, UtcTime)> {
        let calendar = Calendar::xnys();
        if let Some(day) = calendar.session_at(now) {
            let series = self.series(symbol)?;
            let passed = self.minutes_of(symbol, day).into_iter().rev().find(|m| m.start.plus_seconds(60) <= now);
            if let Some(m) = passed {
                return Some((m.ohlc[3], m.start.plus_seconds(59)));
            }
            let open = series.on(day).map(|i| series.open[i]).filter(|p| p.is_finite());
            if let Some(open) = open {
                return Some((open, calendar.open(day)));
            }
        }
        let day = calendar.last_closed(now).ok()?;
        let series = self.series(symbol)?;
        let last = series.days[..series.upto(day)].iter().rev().find(|d| series.on(**d).is_some_and(|i| series.close[i].is_finite()))?;
        Some((series.close_at(*last)?, calendar.close(*last)))
    }
    /// The newest close of `symbol` that is public at `now`.
    pub fn last_close(&self, symbol: &str, now: UtcTime) -> Option<f64> {
        let day = Calendar::xnys().last_closed(now).ok()?;
        self.series(symbol)?.close_at(day)
    }
}

/// A name whose last bar is the world's last day is still listed; any other was delisted on its last bar.
fn from_bars(s: &Series, world_last: TradingDay) -> Listing {
    Listing {
        symbol: s.symbol.clone(),
        name: s.symbol.clone(),
        exchange: "NYSE".into(),
        asset_type: "Stock".into(),
        ipo: s.first(),
        delisted: s.last().filter(|d| *d < world_last),
    }
}
