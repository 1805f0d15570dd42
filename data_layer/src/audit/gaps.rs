//! What is worth asking a vendor for again.

use super::bars::{Ask, Catalogue};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Row, Status};
use crate::root::DataRoot;
use crate::schema::{dataset, table, timeframe};
use crate::time::{DateRange, TradingDay, UtcTime};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Where another vendor is to be asked: those that have answered already.
    pub answered: BTreeSet<String>,
}

/// What is worth asking for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Of whoever is asked first.
    pub again: Vec<Gap>,
    /// Of another vendor: one has said it twice that there is nothing, or nothing that can be used.
    pub elsewhere: Vec<Gap>,
}

impl Gaps {
    pub(super) fn extend(&mut self, other: Self) {
        self.again.extend(other.again);
        self.elsewhere.extend(other.elsewhere);
    }
}

/// After a second fruitless answer a gap rests this long …
const REST_SECONDS: f64 = 7.0 * 86_400.0;
/// … and after this many it is taken as the vendor's last word.
const LAST_WORD: usize = 4;

/// The gaps of a dataset in a window, sorted by symbol and day. Days that follow each other are one gap, as far as one row of
/// the queue reaches.
pub fn gaps(root: &DataRoot, db: &Db, catalogue: &Catalogue, name: &str, window: DateRange) -> Result<Gaps> {
    let minutes = name == dataset::EQUITIES_MINUTE;
    let key = if minutes { timeframe::MINUTE } else { timeframe::DAY };
    let mut rows = ledger::troubled(db, table::RAW_EQUITIES_BARS, window.start, window.end)?;
    rows.retain(|row| row.key.partition_key == key);
    let mut by_symbol: BTreeMap<String, BTreeMap<TradingDay, Row>> = BTreeMap::new();
    for row in rows {
        by_symbol.entry(row.key.symbol.clone()).or_default().insert(row.key.dt, row);
    }
    let wanted: BTreeMap<String, DateRange> = by_symbol.keys().map(|s| (s.clone(), window)).collect();
    let asks = catalogue.asks(&wanted);
    let now = root.host().now();
    let mut out = Gaps::default();
    for (symbol, days) in by_symbol {
        let asks = asks.get(symbol.as_str()).map_or(&[][..], Vec::as_slice);
        let (mut again, mut elsewhere) = (Joined::new(name), Joined::new(name));
        for row in days.into_values() {
            let answers: Vec<&Ask<'_>> = asks.iter().filter(|a| a.days.contains(row.key.dt)).collect();
            if is_worth_asking(&row, &answers, now) {
                again.add(&row, BTreeSet::new());
            }
            if let Some(answered) = was_said_twice(&row, &answers) {
                elsewhere.add(&row, answered);
            }
        }
        out.again.extend(again.gaps);
        out.elsewhere.extend(elsewhere.gaps);
    }
    Ok(out)
}

/// Days of one symbol, as gaps.
struct Joined<'a> {
    dataset: &'a str,
    /// The session that the last gap ends with.
    last: Option<usize>,
    gaps: Vec<Gap>,
}

impl<'a> Joined<'a> {
    fn new(dataset: &'a str) -> Self {
        Self { dataset, last: None, gaps: Vec::new() }
    }
    fn add(&mut self, row: &Row, answered: BTreeSet<String>) {
        let day = row.key.dt;
        let Some(index) = Calendar::xnys().index(day) else { return };
        let period = |day: TradingDay| if self.dataset == dataset::EQUITIES_MINUTE { day.0 - i32::from(day.weekday()) } else { i32::from(day.year()) };
        let follows = self.last.is_some_and(|last| last + 1 == index);
        self.last = Some(index);
        match self.gaps.last_mut().filter(|gap| follows && period(gap.range.start) == period(day) && gap.answered == answered) {
            Some(gap) => gap.range.end = day.plus_days(1),
            None => self.gaps.push(Gap {
                dataset: self.dataset.to_string(),
                symbol: row.key.symbol.clone(),
                range: DateRange { start: day, end: day.plus_days(1) },
                vendor: row.key.source_name.clone(),
                qc_code: row.verdict.qc_code.clone(),
                answered,
            }),
        }
    }
}

fn is_worth_asking(row: &Row, answers: &[&Ask<'_>], now: UtcTime) -> bool {
    let code = row.verdict.qc_code.as_str();
    match row.verdict.status {
        Status::Green => return false,
        // Bytes that were lost are always asked for again, and so is what nobody has answered for: whether somebody may be asked now is
        // for the planner to know, who has the keys.
        Status::Red if matches!(code, "MISSING" | "CHECKSUM_MISMATCH" | "NOT_ENTITLED") => return true,
        Status::Amber if !matches!(code, "SUSPICIOUS_EMPTY" | "NULL_CELLS" | "SHORT_SESSION") => return false,
        _ => {}
    }
    match (answers.len(), answers.iter().map(|a| a.at).max()) {
        (0 | 1, _) | (_, None) => true,
        (n, Some(newest)) => n < LAST_WORD && now.seconds_since(newest) >= REST_SECONDS,
    }
}

/// The vendors that have answered, where one of them has said it twice that it has nothing for a session, or nothing that can be
/// used; what another vendor says may then serve.
fn was_said_twice(row: &Row, answers: &[&Ask<'_>]) -> Option<BTreeSet<String>> {
    if !matches!(row.verdict.qc_code.as_str(), "SUSPICIOUS_EMPTY" | "VENDOR_EMPTY" | "NULL_CELLS" | "OHLC" | "SCHEMA" | "DUPLICATES" | "MISSING_ROWS") {
        return None;
    }
    let mut said: BTreeMap<&str, usize> = BTreeMap::new();
    answers.iter().for_each(|a| *said.entry(a.vendor).or_default() += 1);
    said.values().any(|n| *n > 1).then(|| said.keys().map(ToString::to_string).collect())
}
