//! Corporate actions. `ratio` is new shares per old share everywhere (2:1 = 2.0, a 1:50 reverse split = 0.02); each
//! vendor's own convention was converted when its answer was decoded.

use super::agreement::{self, Doubt};
use super::statements::{self, Told};
use super::{ReferenceReport, read_table, spun};
use crate::error::Result;
use crate::frame;
use crate::qc::{Action, QcCode};
use crate::root::DataRoot;
use crate::schema::table;
use crate::tickers::Tickers;
use crate::time::{TradingDay, UtcTime};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};

/// One corporate action.
#[derive(Clone, Debug, PartialEq)]
pub struct CorpAction {
    pub symbol: String,
    pub event_type: String,
    pub ex_date: TradingDay,
    pub record_date: Option<TradingDay>,
    pub pay_date: Option<TradingDay>,
    /// New shares per old share; null for cash.
    pub ratio: Option<f64>,
    /// Dollars a share; null for splits. Of a spin-off what its shares were worth at their first close, null until that is known.
    pub cash: Option<f64>,
    /// 1 = the preferred source.
    pub source_priority: i64,
    /// The ticker that goes on after a change of name, that acquires in a merger, or that a spin-off lists.
    pub new_symbol: Option<String>,
}

impl CorpAction {
    pub fn is_split(&self) -> bool {
        // A unit split parts a unit into shares and warrants: it changes no share count.
        (self.event_type.contains("split") && self.event_type != "unit_split") || self.event_type.contains("stock_dividend")
    }
    pub fn is_cash(&self) -> bool {
        self.event_type.contains("dividend") && !self.is_split()
    }
    /// Shares of another company, or rights to some, for every share that is held.
    pub fn is_in_kind(&self) -> bool {
        matches!(self.event_type.as_str(), "spin_off" | "rights_distribution")
    }
    /// The effect on prices, or `None` for an action that has none here (a name change), or none that is known.
    pub fn effect(&self) -> Option<Action> {
        if self.is_split() {
            return self.ratio.map(|factor| Action::split(self.ex_date, factor));
        }
        self.cash.filter(|_| self.is_cash() || self.is_in_kind()).map(|cash| Action { in_kind: self.is_in_kind(), ..Action::dividend(self.ex_date, cash) })
    }
    pub(super) fn is_usable(&self) -> bool {
        let positive = |v: Option<f64>| v.is_some_and(|v| v.is_finite() && v > 0.0);
        (!self.is_split() || positive(self.ratio)) && (!self.is_cash() || positive(self.cash))
    }
    /// Events of one family change prices in the same way.
    pub(super) fn family(&self) -> &str {
        if self.is_split() {
            "split"
        } else if self.is_cash() {
            "cash"
        } else {
            &self.event_type
        }
    }
}

/// The actions that are applied, and what is doubtful about them, from all that the vendors say.
pub(super) fn build(root: &DataRoot, told: &Told, report: &mut ReferenceReport) -> Result<(Vec<CorpAction>, Vec<Doubt>)> {
    report.damaged.extend(told.damaged.iter().cloned());
    report.rejected_actions = told.unusable.len();
    let (mut actions, mut doubts) = agreement::settle(told);
    spun::price(root, &mut actions, &mut doubts, &mut report.damaged)?;
    doubts.sort();
    report.disagreements = doubts.iter().filter(|d| d.code == QcCode::ActionsDisagree).map(|d| format!("{} {}: {}", d.symbol, d.ex_date, d.words)).collect();
    Ok((actions, doubts))
}

/// The actions that were known at a moment, by the answers that had come by then: what comes later never changes it.
pub fn actions_known_at(root: &DataRoot, moment: UtcTime) -> Result<BTreeMap<String, Vec<CorpAction>>> {
    let mut told = statements::read(root, Some(moment))?;
    told.rename(&Tickers::load(root)?);
    let (actions, _) = agreement::settle(&told);
    let mut out: BTreeMap<String, Vec<CorpAction>> = BTreeMap::new();
    actions.into_iter().for_each(|a| out.entry(a.symbol.clone()).or_default().push(a));
    Ok(out)
}

/// A company goes on under another ticker from `date` on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TickerChange {
    pub date: TradingDay,
    pub old_symbol: String,
    pub new_symbol: String,
}

/// Every change of ticker that a source tells, once.
pub(super) fn ticker_changes(told: &Told) -> Vec<TickerChange> {
    let change = |a: &CorpAction| {
        let new = a.new_symbol.as_ref().filter(|new| a.event_type == "name_change" && **new != a.symbol)?;
        Some(TickerChange { date: a.ex_date, old_symbol: a.symbol.clone(), new_symbol: new.clone() })
    };
    told.live.iter().filter_map(|s| change(&s.action)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The changes of ticker of the reference table; none on a drive that knows of none.
pub fn load_ticker_changes(root: &DataRoot) -> Result<Vec<TickerChange>> {
    let Some(rows) = super::read_table(root, table::REF_TICKER_CHANGES)? else { return Ok(Vec::new()) };
    let (date, old, new) = (frame::days(&rows, "date")?, frame::texts(&rows, "old_symbol")?, frame::texts(&rows, "new_symbol")?);
    let row = |i: usize| Some(TickerChange { date: date[i]?, old_symbol: old[i]?.to_string(), new_symbol: new[i]?.to_string() });
    Ok((0..rows.height()).filter_map(row).collect())
}

pub(super) fn changes_frame(rows: &[TickerChange]) -> Result<DataFrame> {
    frame::assemble(vec![
        frame::day_column("date", &rows.iter().map(|c| Some(c.date)).collect::<Vec<_>>())?,
        frame::text_column("old_symbol", &rows.iter().map(|c| Some(c.old_symbol.as_str())).collect::<Vec<_>>()),
        frame::text_column("new_symbol", &rows.iter().map(|c| Some(c.new_symbol.as_str())).collect::<Vec<_>>()),
    ])
}

/// The actions of a raw or a reference table, row by row; a row that names no symbol, type or ex-date is none.
pub(super) fn from_frame(rows: &DataFrame) -> Result<Vec<Option<CorpAction>>> {
    let (symbol, kind, ex_date) = (frame::texts(rows, "symbol")?, frame::texts(rows, "event_type")?, frame::days(rows, "ex_date")?);
    let (record, pay) = (frame::days(rows, "record_date")?, frame::days(rows, "pay_date")?);
    let (ratio, cash, priority) = (frame::floats(rows, "ratio")?, frame::floats(rows, "cash")?, frame::floats(rows, "source_priority")?);
    // Tables of earlier versions have no such column.
    let new_symbol = frame::texts(rows, "new_symbol").unwrap_or_else(|_| vec![None; rows.height()]);
    let row = |i: usize| {
        Some(CorpAction {
            symbol: symbol[i]?.into(),
            event_type: kind[i]?.to_ascii_lowercase(),
            ex_date: ex_date[i]?,
            record_date: record[i],
            pay_date: pay[i],
            ratio: ratio[i],
            cash: cash[i],
            source_priority: priority[i].unwrap_or(1.0) as i64,
            new_symbol: new_symbol[i].map(str::to_string),
        })
    };
    Ok((0..rows.height()).map(row).collect())
}

pub(super) fn frame(rows: &[CorpAction]) -> Result<DataFrame> {
    frame::assemble(vec![
        frame::text_column("symbol", &rows.iter().map(|a| Some(&a.symbol)).collect::<Vec<_>>()),
        frame::text_column("event_type", &rows.iter().map(|a| Some(&a.event_type)).collect::<Vec<_>>()),
        frame::day_column("ex_date", &rows.iter().map(|a| Some(a.ex_date)).collect::<Vec<_>>())?,
        frame::day_column("record_date", &rows.iter().map(|a| a.record_date).collect::<Vec<_>>())?,
        frame::day_column("pay_date", &rows.iter().map(|a| a.pay_date).collect::<Vec<_>>())?,
        frame::float_column("ratio", &rows.iter().map(|a| a.ratio).collect::<Vec<_>>()),
        frame::float_column("cash", &rows.iter().map(|a| a.cash).collect::<Vec<_>>()),
        frame::int_column("source_priority", &rows.iter().map(|a| Some(a.source_priority)).collect::<Vec<_>>()),
        frame::text_column("new_symbol", &rows.iter().map(|a| a.new_symbol.as_deref()).collect::<Vec<_>>()),
    ])
}

/// `reference/corp_actions` by symbol, in order of the ex-date. A drive without the table knows no actions.
pub fn load_actions(root: &DataRoot) -> Result<BTreeMap<String, Vec<CorpAction>>> {
    read_table(root, table::REF_CORP_ACTIONS)?.map_or(Ok(BTreeMap::new()), |rows| actions_of(&rows))
}

/// The rows of a `reference/corp_actions` table by symbol, in order of the ex-date.
pub fn actions_of(rows: &DataFrame) -> Result<BTreeMap<String, Vec<CorpAction>>> {
    let mut out: BTreeMap<String, Vec<CorpAction>> = BTreeMap::new();
    for action in from_frame(rows)?.into_iter().flatten() {
        out.entry(action.symbol.clone()).or_default().push(action);
    }
    out.values_mut().for_each(|list| list.sort_by_key(|a| a.ex_date));
    Ok(out)
}
