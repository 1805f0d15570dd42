//! Verified segments of day bars as they stand: for whoever needs their rows in columns, and few of them or each but once.

use super::bars::{Candidate, Catalogue, Damaged, Run, concerns, runs, take_piece};
use crate::error::Result;
use crate::frame;
use crate::qc::QcCode;
use crate::reference::sources;
use crate::root::DataRoot;
use crate::segment::Segment;
use crate::store;
use crate::time::{DateRange, TradingDay};
use polars::prelude::DataFrame;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The columns that a row is made from, beside its day and symbol.
const NUMBERS: &[&str] = &["open", "high", "low", "close", "vwap", "volume"];
const TEXTS: &[&str] = &["session_id", "feed"];

/// The rows of a verified segment that are wanted, as they stand in it: nothing is copied until somebody needs it.
pub struct Sheet {
    /// Position of its manifest.
    pub manifest: usize,
    table: DataFrame,
    days: Vec<Option<TradingDay>>,
    /// A wanted symbol, its first row and the one after its last.
    runs: Vec<(String, usize, usize)>,
}

/// What reading segments as [`Sheet`]s gave, in order of their manifests.
#[derive(Default)]
pub struct Sheets {
    pub sheets: Vec<Sheet>,
    pub damaged: Vec<Damaged>,
    pub segments_read: u64,
}

impl Sheets {
    /// As [`collect`]: every segment that holds something wanted is read and verified, several at a time.
    pub fn read(root: &DataRoot, catalogue: &Catalogue, wanted: &BTreeMap<String, DateRange>) -> Result<Self> {
        let mut all: Vec<(usize, &Segment)> = Vec::new();
        for (index, (_, manifest)) in catalogue.manifests.iter().enumerate() {
            all.extend(manifest.segments.iter().filter(|s| concerns(s, wanted)).map(|s| (index, s)));
        }
        let read = |(manifest, segment): &(usize, &Segment)| {
            root.host().check_cancelled()?;
            let bytes = sources::verified(root, segment)?;
            Ok(bytes.and_then(|bytes| Sheet::of(&bytes, segment, *manifest, wanted).unwrap_or(Err(QcCode::Schema))))
        };
        let found: Vec<std::result::Result<Sheet, QcCode>> = all.par_iter().map(read).collect::<Result<_>>()?;
        let mut out = Self { segments_read: all.len() as u64, ..Self::default() };
        for ((index, segment), found) in all.into_iter().zip(found) {
            match found {
                Ok(sheet) => out.sheets.push(sheet),
                Err(code) => out.damaged.push(Damaged::of(&catalogue.manifests[index].1, index, segment, code)),
            }
        }
        Ok(out)
    }
    /// The sheets that hold rows of a symbol, with the first of them and the one after the last.
    pub fn of<'a>(&'a self, symbol: &'a str) -> impl Iterator<Item = (&'a Sheet, usize, usize)> {
        let rows = move |sheet: &'a Sheet| sheet.runs.iter().filter(move |(s, ..)| s == symbol).map(move |(_, from, to)| (sheet, *from, *to));
        self.sheets.iter().flat_map(rows)
    }
}

impl Sheet {
    /// `Err` of the inner result: the contents are not what the manifest describes.
    fn of(bytes: &[u8], segment: &Segment, manifest: usize, wanted: &BTreeMap<String, DateRange>) -> Result<std::result::Result<Self, QcCode>> {
        let index = store::parquet_rows(bytes, &["date", "symbol"], (0, usize::MAX))?;
        let mut days = frame::days(&index, "date")?;
        if index.height() as u64 != segment.rows {
            return Ok(Err(QcCode::Schema));
        }
        let Some(mut runs) = runs(&index, &days, segment)? else { return Ok(Err(QcCode::Schema)) };
        // A segment holds many symbols: of the rows before the first and after the last that is wanted no numbers are made.
        runs.retain(|(symbol, ..)| wanted.contains_key(*symbol));
        let start = runs.iter().map(|(_, from, _)| *from).min().unwrap_or(0);
        let end = runs.iter().map(|(.., to)| *to).max().unwrap_or(0);
        let table = store::parquet_rows(bytes, &[NUMBERS, TEXTS].concat(), (start, end - start))?;
        frame::require_numbers(&table, NUMBERS)?;
        frame::require_texts(&table, TEXTS)?;
        days.truncate(end);
        days.drain(..start);
        let runs = runs.into_iter().map(|(symbol, from, to)| (symbol.to_string(), from - start, to - start)).collect();
        Ok(Ok(Self { manifest, days, runs, table }))
    }
    pub fn table(&self) -> &DataFrame {
        &self.table
    }
    pub fn days(&self, from: usize, to: usize) -> impl Iterator<Item = TradingDay> {
        self.days.get(from..to).unwrap_or_default().iter().flatten().copied()
    }
    /// Rows of a symbol, on these days, as [`collect`] gives them.
    pub fn candidates(&self, (symbol, from, to, days): Run<'_>, names: &mut HashMap<String, Arc<str>>) -> Result<Vec<Candidate>> {
        let mut out = BTreeMap::new();
        take_piece(&self.table, &[(symbol, from, to, days)], &self.days, self.manifest, names, &mut out)?;
        Ok(out.remove(symbol).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Calendar;
    use crate::schema::{table, timeframe};
    use crate::testkit::{Kit, good_bars, range};

    /// A drive that is a year old has a segment a night. A thread that waits while it reads one must not begin with the next on top of it.
    #[test]
    fn a_year_of_nights_is_read_side_by_side_on_little_stack() {
        let (kit, year) = (Kit::new(), range("2017-01-01", "2018-01-01"));
        for day in Calendar::xnys().sessions(year) {
            let night = DateRange { start: *day, end: day.plus_days(1) };
            kit.commit("alpaca", &["AAA", "BBB"], night, &good_bars(&["AAA", "BBB"], night));
        }
        let catalogue = Catalogue::load(&kit.root, table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).stack_size(512 * 1_024).build().unwrap();
        let read = pool.install(|| Sheets::read(&kit.root, &catalogue, &BTreeMap::from([("BBB".to_string(), year)]))).unwrap();
        let days: Vec<TradingDay> = read.of("BBB").flat_map(|(sheet, from, to)| sheet.days(from, to)).collect();
        assert_eq!((read.segments_read, days.as_slice(), read.damaged.len()), (251, Calendar::xnys().sessions(year), 0));
    }
}
