//! Dated index membership, from an open dataset shipped with the program (`assets/index_membership`, MIT).
//!
//! No free service publishes historical constituents; the file is refreshed by hand.

use super::read_table;
use crate::error::{Error, Result, code};
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::TradingDay;
use polars::prelude::DataFrame;

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

/// The shipped spans, sorted.
pub(super) fn embedded() -> Result<Vec<Membership>> {
    let bad = |line: &str| Error::bug(format!("the shipped index membership has a bad line '{line}'"));
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
