//! How days of the ledger are kept: a row of `ledger_blocks` holds the days of one source, table, symbol and key in one quarter of
//! a year, with equal verdicts told once. `partition_status` is the view that shows them a row a day.

use super::digests::Line;
use super::{Key, Row, Status, Verdict};
use crate::error::{Error, Result, code};
use crate::time::{DateRange, TradingDay};
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write;

/// A quarter of a year as it is stored: 20172 is the second of 2017.
pub(super) type Quarter = i32;

pub(super) fn quarter_of(day: TradingDay) -> Quarter {
    let date = day.date();
    i32::from(date.year()) * 10 + (i32::from(date.month()) + 2) / 3
}

/// The quarters that a window meets, both included.
pub(super) fn quarters_of(window: DateRange) -> (Quarter, Quarter) {
    (quarter_of(window.start), quarter_of(window.end.plus_days(-1).max(window.start)))
}

/// The first day after a quarter.
fn end_of(quarter: Quarter) -> TradingDay {
    let (year, q) = (quarter.div_euclid(10), quarter.rem_euclid(10));
    let (year, month) = if q >= 4 { (year + 1, 1) } else { (year, q * 3 + 1) };
    let whole = |n: i32| i8::try_from(n).unwrap_or(1);
    i16::try_from(year).ok().and_then(|y| TradingDay::ymd(y, whole(month), 1)).unwrap_or(TradingDay(i32::MAX))
}

/// Where a block belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub source: String,
    pub table: String,
    pub symbol: String,
    pub quarter: Quarter,
    pub key: String,
}

impl Place {
    pub fn of(key: &Key) -> Self {
        Self {
            source: key.source_name.clone(),
            table: key.table_name.clone(),
            symbol: key.symbol.clone(),
            quarter: quarter_of(key.dt),
            key: key.partition_key.clone(),
        }
    }
    /// The row of one of its days.
    pub fn row(&self, dt: TradingDay, verdict: &Verdict) -> Row {
        let key = Key { source_name: self.source.clone(), table_name: self.table.clone(), symbol: self.symbol.clone(), dt, partition_key: self.key.clone() };
        Row { key, verdict: verdict.clone() }
    }
}

/// Days in order, each with the position of its verdict.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub verdicts: Vec<Verdict>,
    pub days: Vec<(TradingDay, u32)>,
}

/// A verdict as it is stored. Whoever changes one through the view may leave its code out, or name it in signs that JSON escapes:
/// such a text cannot be borrowed, and one of them must not make the days beside it unreadable.
#[derive(Serialize, Deserialize)]
struct Told<'a>(#[serde(borrow)] Cow<'a, str>, Option<Cow<'a, str>>, Option<f64>, u64, Option<u64>, Option<String>, Option<String>);

/// The columns of a block as they are stored.
pub(super) struct Stored {
    pub first: String,
    pub last: String,
    pub troubled: i64,
    pub days: String,
    pub verdicts: String,
    pub uuids: Vec<u8>,
}

impl Block {
    /// Append a later day.
    pub fn push(&mut self, line: &Line<'_>) {
        let same = |v: &Verdict| line.says(v);
        // Days in a row mostly have the verdict of the day before.
        let last = self.days.last().map(|(_, at)| *at as usize).filter(|at| same(&self.verdicts[*at]));
        let at = last.or_else(|| self.verdicts.iter().position(same)).unwrap_or_else(|| {
            self.verdicts.push(line.verdict());
            self.verdicts.len() - 1
        });
        self.days.push((line.dt, u32::try_from(at).unwrap_or(u32::MAX)));
    }

    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Every day with its verdict.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (TradingDay, &Verdict)> {
        self.days.iter().filter_map(|(day, at)| Some((*day, self.verdicts.get(*at as usize)?)))
    }

    /// Every day as a line of a source.
    pub fn lines<'a>(&'a self, source: &'a str) -> impl Iterator<Item = Line<'a>> {
        self.iter().map(move |(dt, v)| v.line(source, dt))
    }

    /// How many days each verdict has; verdicts without a day are left out.
    pub fn tally(&self, window: Option<DateRange>) -> Vec<(&Verdict, u64)> {
        let mut counts = vec![0u64; self.verdicts.len()];
        for (day, at) in &self.days {
            counts[*at as usize] += u64::from(window.is_none_or(|w| w.contains(*day)));
        }
        self.verdicts.iter().zip(counts).filter(|(_, n)| *n > 0).collect()
    }

    /// How many days two blocks do not say the same of.
    pub fn apart(&self, other: &Self) -> u64 {
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        let mut apart = 0;
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return apart,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let ours = if order.is_le() { ours.next() } else { None };
            let theirs = if order.is_ge() { theirs.next() } else { None };
            apart += u64::from(ours.map(|(_, v)| v) != theirs.map(|(_, v)| v));
        }
    }

    /// The block as it is stored.
    pub fn stored(&self, place: &Place) -> Result<Stored> {
        let told: Vec<Told<'_>> = self.verdicts.iter().map(told).collect();
        let troubled = i64::try_from(self.iter().filter(|(_, v)| v.status != Status::Green).count()).unwrap_or(i64::MAX);
        let day = |d: Option<&(TradingDay, u32)>| d.map(|(d, _)| d.to_string()).unwrap_or_default();
        let days: Vec<(i32, u32)> = self.days.iter().map(|(d, at)| (d.0, *at)).collect();
        Ok(Stored {
            first: day(self.days.first()),
            last: day(self.days.last()),
            troubled,
            days: serde_json::to_string(&days)?,
            verdicts: serde_json::to_string(&told)?,
            uuids: self.uuids(place)?,
        })
    }

    /// UUIDv5 of each day's unique key, so that a rebuilt ledger has the same ids.
    fn uuids(&self, Place { source, table, symbol, key, .. }: &Place) -> Result<Vec<u8>> {
        let mut name = format!("{source}|{table}|{symbol}|");
        let (stem, mut out) = (name.len(), Vec::with_capacity(16 * self.days.len()));
        for (day, _) in &self.days {
            name.truncate(stem);
            write!(name, "{day}|{key}").map_err(|e| Error::bug("a day that cannot be written").cause(e.to_string()))?;
            out.extend(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).as_bytes());
        }
        Ok(out)
    }

    /// A block as it was stored: the columns `days` and `verdicts`.
    pub fn parse(days: ValueRef<'_>, verdicts: ValueRef<'_>) -> Result<Self> {
        let odd = |why: String| Error::new(code::SSD_DAMAGED, "a block of the ledger cannot be read").cause(why).fix("trademl rebuild");
        let text = |v: ValueRef<'_>| v.as_str().map(str::to_string).map_err(|e| odd(e.to_string()));
        let days: Vec<(i32, u32)> = serde_json::from_str(&text(days)?).map_err(|e| odd(e.to_string()))?;
        let verdicts = text(verdicts)?;
        let verdicts: Vec<Told<'_>> = serde_json::from_str(&verdicts).map_err(|e| odd(e.to_string()))?;
        let verdicts = verdicts.into_iter().map(heard).collect::<Result<Vec<_>>>()?;
        let in_order = days.array_windows().all(|[a, b]| a.0 < b.0) && days.iter().all(|(_, at)| (*at as usize) < verdicts.len());
        if !in_order {
            return Err(odd("its days are out of order, or have no verdict".into()));
        }
        Ok(Self { verdicts, days: days.into_iter().map(|(day, at)| (TradingDay(day), at)).collect() })
    }
}

fn told(v: &Verdict) -> Told<'_> {
    let moment = |t: Option<crate::time::UtcTime>| t.map(|t| t.to_string());
    let (status, code) = (Cow::Borrowed(v.status.as_str()), Cow::Borrowed(v.qc_code.as_str()));
    Told(status, Some(code), Some(v.qc_score), v.row_count, v.expected_rows, moment(v.first_observed_at), moment(v.last_observed_at))
}

fn heard(Told(status, code, score, rows, expected, first, last): Told<'_>) -> Result<Verdict> {
    Ok(Verdict {
        status: Status::parse(&status)?,
        qc_code: code.map(Cow::into_owned).unwrap_or_default(),
        qc_score: score.unwrap_or(0.0),
        row_count: rows,
        expected_rows: expected,
        first_observed_at: first.map(|t| t.parse()).transpose()?,
        last_observed_at: last.map(|t| t.parse()).transpose()?,
    })
}

/// The blocks of lines of one source in order of the day.
pub(super) fn blocks_of<'a>(lines: impl IntoIterator<Item = &'a Line<'a>>) -> Vec<(Quarter, Block)> {
    let mut out: Vec<(Quarter, Block)> = Vec::new();
    let mut until = TradingDay(i32::MIN);
    for line in lines {
        if line.dt >= until {
            let quarter = quarter_of(line.dt);
            until = end_of(quarter);
            out.push((quarter, Block::default()));
        }
        if let Some((_, block)) = out.last_mut() {
            block.push(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::day;

    #[test]
    fn quarters_begin_and_end_where_the_calendar_says() {
        for (on, quarter, end) in [("2017-01-01", 20171, "2017-04-01"), ("2017-06-30", 20172, "2017-07-01"), ("2017-12-31", 20174, "2018-01-01")] {
            assert_eq!((quarter_of(day(on)), end_of(quarter)), (quarter, day(end)));
        }
    }
}
