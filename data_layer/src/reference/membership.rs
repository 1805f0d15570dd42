//! Dated index membership: a vendor's list of changes where a key is entitled to one, else the open dataset shipped with
//! the program (`assets/index_membership`, MIT, refreshed by hand). No free plan includes historical constituents.

use super::{ReferenceReport, read_table, sources};
use crate::error::{Error, Result, code};
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::TradingDay;
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// Name of the one index that is shipped.
pub const SP500: &str = "sp500";
const SPANS: &str = include_str!("../../assets/index_membership/sp500_ticker_start_end.csv");

/// A symbol's stay in an index, `[start_date, end_date)`; no end = still in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    pub index_name: String,
    pub symbol: String,
    pub start_date: TradingDay,
    pub end_date: Option<TradingDay>,
}

impl Membership {
    pub fn contains(&self, day: TradingDay) -> bool {
        self.start_date <= day && self.end_date.is_none_or(|end| day < end)
    }
}

/// The newest vendor answer on the drive, else the shipped spans.
pub(super) fn build(root: &DataRoot, report: &mut ReferenceReport) -> Result<Vec<Membership>> {
    for (_, manifest) in sources::manifests(root, table::RAW_INDEX_MEMBERSHIP)?.into_iter().rev().filter(|(_, m)| m.complete && !m.segments.is_empty()) {
        let mut changes = Vec::new();
        for segment in &manifest.segments {
            match sources::read(root, segment)? {
                Ok(rows) => changes.extend(changes_of(&rows)?),
                Err(_) => report.damaged.push(segment.path.to_string()),
            }
        }
        // An answer that lost a part of itself would leave names in the index for ever: the one before it serves.
        if !manifest.segments.iter().any(|s| report.damaged.iter().any(|d| d == s.path.as_str())) {
            return Ok(spans(changes));
        }
    }
    embedded()
}

/// Index and symbol, then when, and whether it joined.
type Change = ((String, String), TradingDay, bool);

fn changes_of(rows: &DataFrame) -> Result<Vec<Change>> {
    let (index, symbol) = (frame::texts(rows, "index_name")?, frame::texts(rows, "symbol")?);
    let (date, action) = (frame::days(rows, "date")?, frame::texts(rows, "action")?);
    let row = |i: usize| Some(((index[i]?.to_string(), symbol[i]?.to_string()), date[i]?, action[i]? == "add"));
    Ok((0..rows.height()).filter_map(row).collect())
}

/// Changes to stays. A name that leaves without ever having joined was a member from the first day of the list on.
fn spans(changes: Vec<Change>) -> Vec<Membership> {
    let Some(first) = changes.iter().map(|c| c.1).min() else { return Vec::new() };
    let mut by_name: BTreeMap<(String, String), Vec<(TradingDay, bool)>> = BTreeMap::new();
    for (name, day, joined) in changes {
        by_name.entry(name).or_default().push((day, joined));
    }
    let mut out = Vec::new();
    for ((index_name, symbol), mut events) in by_name {
        // Leaving and joining on one day (a ticker handed on) is leaving first.
        events.sort();
        let stay = |start_date, end_date| Membership { index_name: index_name.clone(), symbol: symbol.clone(), start_date, end_date };
        let mut since: Option<TradingDay> = events.first().filter(|(_, joined)| !joined).map(|_| first);
        for (day, joined) in events {
            match (since, joined) {
                (None, true) => since = Some(day),
                (Some(start), false) => {
                    if start < day {
                        out.push(stay(start, Some(day)));
                    }
                    since = None;
                }
                _ => {}
            }
        }
        out.extend(since.map(|start| stay(start, None)));
    }
    out.sort();
    out
}

/// The shipped spans, sorted.
pub(super) fn embedded() -> Result<Vec<Membership>> {
    let bad = |line: &str| Error::bug(text!("the shipped index membership has a bad line '{line}'"));
    let mut out = Vec::new();
    for line in SPANS.lines().skip(1).map(str::trim).filter(|l| !l.is_empty()) {
        let mut cells = line.split(',');
        let (Some(symbol), Some(start), end) = (cells.next(), cells.next(), cells.next().unwrap_or("")) else { return Err(bad(line)) };
        let end_date = if end.is_empty() { None } else { Some(end.parse().map_err(|_| bad(line))?) };
        out.push(Membership { index_name: SP500.into(), symbol: symbol.into(), start_date: start.parse().map_err(|_| bad(line))?, end_date });
    }
    out.sort();
    Ok(out)
}

pub(super) fn frame(rows: &[Membership]) -> Result<DataFrame> {
    frame::assemble(vec![
        frame::text_column("index_name", &rows.iter().map(|m| Some(&m.index_name)).collect::<Vec<_>>()),
        frame::text_column("symbol", &rows.iter().map(|m| Some(&m.symbol)).collect::<Vec<_>>()),
        frame::day_column("start_date", &rows.iter().map(|m| Some(m.start_date)).collect::<Vec<_>>())?,
        frame::day_column("end_date", &rows.iter().map(|m| m.end_date).collect::<Vec<_>>())?,
    ])
}

/// `reference/index_membership`, in file order.
pub fn load_membership(root: &DataRoot) -> Result<Vec<Membership>> {
    let Some(rows) = read_table(root, table::REF_INDEX_MEMBERSHIP)? else { return Ok(Vec::new()) };
    let (index, symbol) = (frame::texts(&rows, "index_name")?, frame::texts(&rows, "symbol")?);
    let (start, end) = (frame::days(&rows, "start_date")?, frame::days(&rows, "end_date")?);
    (0..rows.height())
        .map(|i| {
            let missing = || Error::new(code::SSD_DAMAGED, "reference/index_membership has an empty cell");
            Ok(Membership {
                index_name: index[i].ok_or_else(missing)?.into(),
                symbol: symbol[i].ok_or_else(missing)?.into(),
                start_date: start[i].ok_or_else(missing)?,
                end_date: end[i],
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_become_stays_and_a_leaver_without_a_join_was_always_in() {
        let day = |t: &str| t.parse::<TradingDay>().unwrap();
        let change = |symbol: &str, on: &str, joined| (("sp500".to_string(), symbol.to_string()), day(on), joined);
        let got = spans(vec![
            change("AAL", "1997-01-15", false),
            change("AAL", "2015-03-23", true),
            change("AAL", "2024-09-23", false),
            change("A", "2000-06-05", true),
            change("OLD", "2001-01-02", false),
            change("OLD", "1996-01-02", true),
        ]);
        let of = |symbol: &str| got.iter().filter(|m| m.symbol == symbol).map(|m| (m.start_date, m.end_date)).collect::<Vec<_>>();
        assert_eq!(of("AAL"), [(day("1996-01-02"), Some(day("1997-01-15"))), (day("2015-03-23"), Some(day("2024-09-23")))]);
        assert_eq!(of("A"), [(day("2000-06-05"), None)]);
        assert_eq!(of("OLD"), [(day("1996-01-02"), Some(day("2001-01-02")))]);
    }
}
