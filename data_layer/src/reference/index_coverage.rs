//! Which share of an index's members a drive holds, by the day on which they were members: what is missing are mostly names that
//! were taken over, went bankrupt or shrank, and results without them are those of survivors.

use super::{Listed, ListingSpans, Membership, SP500, load_membership};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::root::{DataPath, DataRoot, encode_symbol};
use crate::schema::table;
use crate::store;
use crate::tickers::Tickers;
use crate::time::{DateRange, TradingDay};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Share of the index's members by year: how many there were and how many of them are held, counted on the first session of each month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexCoverage(pub BTreeMap<i16, (u64, u64)>);

impl IndexCoverage {
    pub fn of(members: &[Membership], listings: &ListingSpans, tickers: &Tickers, window: DateRange, held: impl Fn(&str) -> bool) -> Self {
        let mut out = Self::default();
        let mut month = None;
        for day in Calendar::xnys().sessions(window) {
            if month.replace((day.year(), day.month())) == Some((day.year(), day.month())) {
                continue;
            }
            let year = out.0.entry(day.year()).or_insert((0, 0));
            for m in members.iter().filter(|m| m.index_name == SP500 && m.contains(*day)) {
                let symbol = tickers.symbol_of(&m.symbol, *day);
                year.0 += 1;
                year.1 += u64::from(held(symbol) && listings.expected(symbol, *day) != Listed::No);
            }
        }
        out.0.retain(|_, (all, _)| *all > 0);
        out
    }

    /// Of the names and years whose curated prices a root holds; `None` where there are none.
    pub fn of_root(root: &DataRoot) -> Result<Option<Self>> {
        let folder = DataPath::new(table::CURATED_EQUITIES)?;
        let (mut symbols, mut years) = (BTreeSet::new(), BTreeSet::new());
        for path in store::list(root, &folder)? {
            let mut parts = path.as_str().trim_start_matches(folder.as_str()).trim_start_matches('/').split('/');
            let symbol = parts.next().and_then(|p| p.strip_prefix("sym=")).map(str::to_string);
            let year = parts.next().and_then(|p| p.strip_prefix("dt=")).and_then(|y| y.parse::<i16>().ok());
            if let (Some(symbol), Some(year)) = (symbol, year) {
                symbols.insert(symbol);
                years.insert(year);
            }
        }
        let (Some(first), Some(last)) = (years.first().and_then(|y| TradingDay::ymd(*y, 1, 1)), years.last().and_then(|y| TradingDay::ymd(y + 1, 1, 1))) else {
            return Ok(None);
        };
        let end = last.min(root.host().now().utc_day());
        let window = DateRange { start: first.min(end), end };
        let found = Self::of(&load_membership(root)?, &ListingSpans::load(root)?, &Tickers::load(root)?, window, |s| {
            encode_symbol(s).is_ok_and(|name| symbols.contains(&name))
        });
        Ok(Some(found).filter(|c| !c.0.is_empty()))
    }

    /// The smallest share of a year.
    pub fn least(&self) -> f64 {
        self.0.values().map(|(all, held)| *held as f64 / *all as f64).fold(1.0, f64::min)
    }
}

/// `2016 81 %, 2017 97 %`.
impl fmt::Display for IndexCoverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let years: Vec<String> = self.0.iter().map(|(year, (all, held))| format!("{year} {:.0} %", *held as f64 / *all as f64 * 100.0)).collect();
        f.write_str(&years.join(", "))
    }
}
