//! Corporate actions. `ratio` is new shares per old share everywhere (2:1 = 2.0, a 1:50 reverse split = 0.02); each
//! vendor's own convention was converted when its answer was decoded.

use super::{ReferenceReport, read_table, sources};
use crate::error::Result;
use crate::frame;
use crate::qc::Action;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::TradingDay;
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
    /// Dollars a share; null for splits.
    pub cash: Option<f64>,
    /// 1 = the preferred source.
    pub source_priority: i64,
}

impl CorpAction {
    pub fn is_split(&self) -> bool {
        // A unit split parts a unit into shares and warrants: it changes no share count.
        (self.event_type.contains("split") && self.event_type != "unit_split") || self.event_type.contains("stock_dividend")
    }
    pub fn is_cash(&self) -> bool {
        self.event_type.contains("dividend") && !self.is_split()
    }
    /// The effect on prices, or `None` for an action that has none here (a spin-off, a name change).
    pub fn effect(&self) -> Option<Action> {
        if self.is_split() {
            return self.ratio.map(|factor| Action { ex_date: self.ex_date, factor, cash: 0.0 });
        }
        self.cash.filter(|_| self.is_cash()).map(|cash| Action { ex_date: self.ex_date, factor: 1.0, cash })
    }
    fn is_usable(&self) -> bool {
        let positive = |v: Option<f64>| v.is_some_and(|v| v.is_finite() && v > 0.0);
        (!self.is_split() || positive(self.ratio)) && (!self.is_cash() || positive(self.cash))
    }
    fn family(&self) -> &str {
        if self.is_split() {
            "split"
        } else if self.is_cash() {
            "cash"
        } else {
            &self.event_type
        }
    }
}

/// Merge every answer on the drive: per (symbol, kind, ex-date) the preferred source's newest statement.
pub(super) fn build(root: &DataRoot, report: &mut ReferenceReport) -> Result<Vec<CorpAction>> {
    type Group = ((i64, std::cmp::Reverse<usize>), Vec<CorpAction>);
    let mut groups: BTreeMap<(String, TradingDay, String), Group> = BTreeMap::new();
    let mut ratios: BTreeMap<(String, TradingDay), BTreeMap<String, f64>> = BTreeMap::new();
    for (order, (_, manifest)) in sources::manifests(root, table::RAW_CORP_ACTIONS)?.into_iter().enumerate() {
        for segment in &manifest.segments {
            let Ok(rows) = sources::read(root, segment)? else {
                report.damaged.push(segment.path.to_string());
                continue;
            };
            let Ok(actions) = from_frame(&rows) else {
                report.damaged.push(segment.path.to_string());
                continue;
            };
            for action in actions {
                if !action.is_usable() {
                    report.rejected_actions += 1;
                    continue;
                }
                if let Some(ratio) = action.ratio.filter(|_| action.is_split()) {
                    ratios.entry((action.symbol.clone(), action.ex_date)).or_default().insert(manifest.vendor.clone(), ratio);
                }
                let rank = (action.source_priority, std::cmp::Reverse(order));
                let key = (action.symbol.clone(), action.ex_date, action.family().to_string());
                let group = groups.entry(key).or_insert_with(|| (rank, Vec::new()));
                if rank < group.0 {
                    *group = (rank, Vec::new());
                }
                if rank == group.0 && !group.1.contains(&action) {
                    group.1.push(action);
                }
            }
        }
    }
    for ((symbol, day), said) in ratios {
        let (low, high) = said.values().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(*r), h.max(*r)));
        if high / low > 1.001 {
            let words: Vec<String> = said.iter().map(|(vendor, ratio)| format!("{vendor} {ratio}")).collect();
            report.disagreements.push(format!("{symbol} {day}: {}", words.join(", ")));
        }
    }
    Ok(groups.into_values().flat_map(|(_, actions)| actions).collect())
}

/// A company goes on under another ticker from `date` on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TickerChange {
    pub date: TradingDay,
    pub old_symbol: String,
    pub new_symbol: String,
}

/// Every change of ticker that a source has told, once.
pub(super) fn ticker_changes(root: &DataRoot) -> Result<Vec<TickerChange>> {
    let mut out = BTreeSet::new();
    for (_, manifest) in sources::manifests(root, table::RAW_CORP_ACTIONS)? {
        for segment in &manifest.segments {
            // Damage is reported where the actions themselves are merged.
            let Ok(rows) = sources::read(root, segment)? else { continue };
            if frame::require(&rows, &["new_symbol", "ex_date", "event_type"]).is_err() {
                continue;
            }
            let (symbol, kind, date) = (frame::texts(&rows, "symbol")?, frame::texts(&rows, "event_type")?, frame::days(&rows, "ex_date")?);
            let new_symbol = frame::texts(&rows, "new_symbol")?;
            for i in 0..rows.height() {
                if let (Some(old), Some("name_change"), Some(date), Some(new)) = (symbol[i], kind[i], date[i], new_symbol[i])
                    && old != new
                {
                    out.insert(TickerChange { date, old_symbol: old.into(), new_symbol: new.into() });
                }
            }
        }
    }
    Ok(out.into_iter().collect())
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

fn from_frame(rows: &DataFrame) -> Result<Vec<CorpAction>> {
    let (symbol, kind, ex_date) = (frame::texts(rows, "symbol")?, frame::texts(rows, "event_type")?, frame::days(rows, "ex_date")?);
    let (record, pay) = (frame::days(rows, "record_date")?, frame::days(rows, "pay_date")?);
    let (ratio, cash, priority) = (frame::floats(rows, "ratio")?, frame::floats(rows, "cash")?, frame::floats(rows, "source_priority")?);
    let mut out = Vec::with_capacity(symbol.len());
    for i in 0..symbol.len() {
        let (Some(symbol), Some(kind), Some(ex_date)) = (symbol[i], kind[i], ex_date[i]) else { continue };
        out.push(CorpAction {
            symbol: symbol.into(),
            event_type: kind.to_ascii_lowercase(),
            ex_date,
            record_date: record[i],
            pay_date: pay[i],
            ratio: ratio[i],
            cash: cash[i],
            source_priority: priority[i].unwrap_or(1.0) as i64,
        });
    }
    Ok(out)
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
    ])
}

/// `reference/corp_actions` by symbol, in order of the ex-date. A drive without the table knows no actions.
pub fn load_actions(root: &DataRoot) -> Result<BTreeMap<String, Vec<CorpAction>>> {
    read_table(root, table::REF_CORP_ACTIONS)?.map_or(Ok(BTreeMap::new()), |rows| actions_of(&rows))
}

/// The rows of a `reference/corp_actions` table by symbol, in order of the ex-date.
pub fn actions_of(rows: &DataFrame) -> Result<BTreeMap<String, Vec<CorpAction>>> {
    let mut out: BTreeMap<String, Vec<CorpAction>> = BTreeMap::new();
    for action in from_frame(rows)? {
        out.entry(action.symbol.clone()).or_default().push(action);
    }
    out.values_mut().for_each(|list| list.sort_by_key(|a| a.ex_date));
    Ok(out)
}
