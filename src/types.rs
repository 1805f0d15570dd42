//! Shapes that every later module shares: a dense matrix, a price panel, scores and weights.

use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sessions in a year.
pub const SESSIONS_PER_YEAR: f64 = 252.0;

/// A dense `rows x cols` table of f64 in row-major order. `NaN` means missing *inside* the engine; it never leaves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// All missing.
    pub fn missing(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![f64::NAN; rows * cols] }
    }
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f64>) -> Result<Self> {
        if data.len() != rows * cols {
            return Err(Error::bug(text!("{} values do not make a {rows} x {cols} matrix", data.len())));
        }
        Ok(Self { rows, cols, data })
    }
    pub fn rows(&self) -> usize {
        self.rows
    }
    pub fn cols(&self) -> usize {
        self.cols
    }
    pub fn row(&self, r: usize) -> &[f64] {
        &self.data[r * self.cols..(r + 1) * self.cols]
    }
    pub fn row_mut(&mut self, r: usize) -> &mut [f64] {
        &mut self.data[r * self.cols..(r + 1) * self.cols]
    }
    /// The rows, in order.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.data.chunks_exact_mut(self.cols.max(1))
    }
    pub fn at(&self, r: usize, c: usize) -> f64 {
        self.data[r * self.cols + c]
    }
    pub fn set(&mut self, r: usize, c: usize, v: f64) {
        self.data[r * self.cols + c] = v;
    }
    pub fn values(&self) -> &[f64] {
        &self.data
    }
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }
    /// One column as a vector (a cross-section, when rows are symbols and columns are days).
    pub fn column(&self, c: usize) -> Vec<f64> {
        (0..self.rows).map(|r| self.at(r, c)).collect()
    }
}

/// Adjusted daily prices on the exchange's session grid: every matrix is `symbols x days`, so that one symbol's history
/// is contiguous. A session without a bar is missing; nothing is filled forward. A row is one listing, not one ticker: a
/// ticker that another company took over later has a row for each of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Sessions, ascending, without gaps.
    pub days: Vec<TradingDay>,
    /// Tickers, ascending; an earlier holder of a ticker is `TICKER@<first day without a listing>`.
    pub symbols: Vec<String>,
    pub open: Matrix,
    pub high: Matrix,
    pub low: Matrix,
    pub close: Matrix,
    /// Volume-weighted average price, adjusted like the close; missing where no source has one.
    pub vwap: Matrix,
    /// Shares, restated for later splits like the prices: comparable over time, and a dollar amount only times an
    /// adjusted price.
    pub volume: Matrix,
    /// Shares as they traded that day: with `close_raw`, the dollars that changed hands.
    pub volume_raw: Matrix,
    /// Unadjusted close, for liquidity in dollars and for order sizing.
    pub close_raw: Matrix,
    /// `in_universe[symbol][day]`: 1 when the symbol was a member that day, 0 when not.
    pub member: Matrix,
    /// Per symbol, how its listing ended, if that is known at the panel's end.
    pub delisted: Vec<Option<Delisted>>,
    /// What was public about the companies, each with the day since when.
    pub known: PointInTime,
}

/// An earnings date, public since `announced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub announced: TradingDay,
    pub date: TradingDay,
    /// The first day on which it was known to be wrong.
    pub withdrawn: Option<TradingDay>,
}

/// Sources with publication dates, by symbol of the panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointInTime {
    /// `(public since, shares outstanding in that day's shares)`, ascending by day; NaN = not known from there on.
    pub shares: BTreeMap<String, Vec<(TradingDay, f64)>>,
    pub earnings: BTreeMap<String, Vec<Announcement>>,
    /// Why a source that is there is not used: `shares` or `earnings`, and the reason.
    pub left_out: BTreeMap<&'static str, String>,
}

impl PointInTime {
    /// What was public at the close of `day`.
    fn as_of(&self, day: TradingDay) -> Self {
        let shares = |list: &Vec<(TradingDay, f64)>| list.iter().copied().filter(|(since, _)| *since <= day).collect();
        let dates = |list: &Vec<Announcement>| {
            let then = |a: &Announcement| Announcement { withdrawn: a.withdrawn.filter(|w| *w <= day), ..*a };
            list.iter().filter(|a| a.announced <= day).map(then).collect()
        };
        Self {
            shares: self.shares.iter().map(|(s, list)| (s.clone(), shares(list))).collect(),
            earnings: self.earnings.iter().map(|(s, list)| (s.clone(), dates(list))).collect(),
            left_out: self.left_out.clone(),
        }
    }
}

/// The end of a listing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delisted {
    /// The last session on which it traded.
    pub last: TradingDay,
    /// What a share was worth after that, in the adjusted dollars of its last close (0 = nothing); `None` where no event
    /// says so: its last close counts then.
    pub value: Option<f64>,
}

impl Delisted {
    /// An end of which nothing but the day is known.
    pub fn on(last: TradingDay) -> Self {
        Self { last, value: None }
    }
}

impl Panel {
    pub fn n_days(&self) -> usize {
        self.days.len()
    }
    pub fn n_symbols(&self) -> usize {
        self.symbols.len()
    }
    pub fn day_index(&self, day: TradingDay) -> Option<usize> {
        self.days.binary_search(&day).ok()
    }
    pub fn symbol_index(&self, symbol: &str) -> Option<usize> {
        self.symbols.binary_search_by(|s| s.as_str().cmp(symbol)).ok()
    }
    /// Every matrix of prices, then of volumes: what is missing together when a bar is missing.
    pub fn prices_and_volumes(&mut self) -> [&mut Matrix; 8] {
        [&mut self.open, &mut self.high, &mut self.low, &mut self.close, &mut self.close_raw, &mut self.vwap, &mut self.volume, &mut self.volume_raw]
    }
    /// The panel as it was known at the close of day index `last`: later columns are gone.
    pub fn truncated(&self, last: usize) -> Self {
        let n = (last + 1).min(self.n_days());
        let cut = |m: &Matrix| {
            let data = (0..m.rows()).flat_map(|r| m.row(r)[..n].iter().copied()).collect();
            Matrix { rows: m.rows(), cols: n, data }
        };
        let end = self.days.get(n.saturating_sub(1)).copied();
        Self {
            days: self.days[..n].to_vec(),
            symbols: self.symbols.clone(),
            open: cut(&self.open),
            high: cut(&self.high),
            low: cut(&self.low),
            close: cut(&self.close),
            vwap: cut(&self.vwap),
            volume: cut(&self.volume),
            volume_raw: cut(&self.volume_raw),
            close_raw: cut(&self.close_raw),
            member: cut(&self.member),
            delisted: self.delisted.iter().map(|d| d.filter(|d| Some(d.last) <= end)).collect(),
            known: end.map_or_else(PointInTime::default, |day| self.known.as_of(day)),
        }
    }
}

/// Buy or sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    /// +1 for a buy, -1 for a sell.
    pub fn sign(self) -> f64 {
        match self {
            Self::Buy => 1.0,
            Self::Sell => -1.0,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
        }
    }
}

/// A statistic that may be undefined for its input: an error with a reason, never `NaN` or infinity.
pub fn defined(value: f64, name: &str, reason: &str) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::new(code::ML_UNDEFINED, text!("{name} is undefined")).cause(reason))
}

/// Progress of a long act: `done` of `total` units. Implemented by the wizard kit; ignored in tests.
pub trait Progress: Sync {
    fn tick(&self, done: u64, total: u64, what: &str);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn tick(&self, _done: u64, _total: u64, _what: &str) {}
}
