//! What is worth asking a vendor for again.

use super::bars::{Ask, Catalogue};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Row, Status};
use crate::root::DataRoot;
use crate::schema::{dataset, table, timeframe};
use crate::time::{DateRange, TradingDay, UtcTime};
use std::collections::BTreeMap;

/// A window of one symbol to fetch again; the caller makes it a GAP task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub dataset: String,
    pub symbol: String,
    /// Within one calendar year; minutes: within one week from Monday.
    pub range: DateRange,
    /// The vendor that is named in the ledger for the first day.
    pub vendor: String,
    /// The ledger's code of the first day.
    pub qc_code: String,
}

/// After a second fruitless answer a gap rests this long …
const REST_SECONDS: f64 = 7.0 * 86_400.0;
/// … and after this many it is taken as the vendor's last word.
const LAST_WORD: usize = 4;

/// The gaps of a dataset in a window, sorted by symbol and day. Days that follow each other are one gap, as far as one row of
/// the queue reaches.
pub fn gaps(root: &DataRoot, db: &Db, catalogue: &Catalogue, name: &str, window: DateRange) -> Result<Vec<Gap>> {
    let minutes = name == dataset::EQUITIES_MINUTE;
    let key = if minutes { timeframe::MINUTE } else { timeframe::DAY };
    let period = |day: TradingDay| if minutes { day.0 - i32::from(day.weekday()) } else { i32::from(day.year()) };
    let mut rows = ledger::troubled(db, table::RAW_EQUITIES_BARS, window.start, window.end)?;
    rows.retain(|row| row.key.partition_key == key);
    let mut by_symbol: BTreeMap<String, BTreeMap<TradingDay, Row>> = BTreeMap::new();
    for row in rows {
        by_symbol.entry(row.key.symbol.clone()).or_default().insert(row.key.dt, row);
    }
    let wanted: BTreeMap<String, DateRange> = by_symbol.keys().map(|s| (s.clone(), window)).collect();
    let asks = catalogue.asks(&wanted);
    let now = root.host().now();
    let mut out = Vec::new();
    for (symbol, days) in by_symbol {
        let asks = asks.get(symbol.as_str()).map_or(&[][..], Vec::as_slice);
        let mut run: Option<(usize, Gap)> = None;
        for (day, row) in days.into_iter().filter(|(_, row)| is_worth_asking(row, asks, now)) {
            let Some(index) = Calendar::xnys().index(day) else { continue };
            match &mut run {
                Some((last, gap)) if *last + 1 == index && period(gap.range.start) == period(day) => {
                    *last = index;
                    gap.range.end = day.plus_days(1);
                }
                _ => {
                    let range = DateRange { start: day, end: day.plus_days(1) };
                    let (vendor, qc_code) = (row.key.source_name, row.verdict.qc_code);
                    let gap = Gap { dataset: name.to_string(), symbol: symbol.clone(), range, vendor, qc_code };
                    out.extend(run.replace((index, gap)).map(|(_, gap)| gap));
                }
            }
        }
        out.extend(run.map(|(_, gap)| gap));
    }
    Ok(out)
}

fn is_worth_asking(row: &Row, asks: &[Ask<'_>], now: UtcTime) -> bool {
    let code = row.verdict.qc_code.as_str();
    match row.verdict.status {
        Status::Green => return false,
        // Bytes that were lost are always asked for again.
        Status::Red if matches!(code, "MISSING" | "CHECKSUM_MISMATCH") => return true,
        Status::Amber if !matches!(code, "SUSPICIOUS_EMPTY" | "NULL_CELLS" | "SHORT_SESSION") => return false,
        _ => {}
    }
    let answers: Vec<&Ask<'_>> = asks.iter().filter(|a| a.days.contains(row.key.dt)).collect();
    match (answers.len(), answers.iter().map(|a| a.at).max()) {
        (0 | 1, _) | (_, None) => true,
        (n, Some(newest)) => n < LAST_WORD && now.seconds_since(newest) >= REST_SECONDS,
    }
}
