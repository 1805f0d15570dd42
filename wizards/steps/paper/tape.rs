//! The drive's prices and corporate events, as the simulated book and the replay read them.

use super::STRATEGY;
use crate::steps::market::{self, Market};
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::reference::{self, CorpAction, Delisting, TickerChange};
use data_layer::root::DataRoot;
use data_layer::time::TradingDay;
use engine::execution::broker::simulated::{Corporate, PriceSource, What};
use engine::execution::reconcile::{Rename, Split};
use engine::portfolio::RuleConfig;
use engine::portfolio::construct::BorrowTable;
use std::collections::BTreeMap;

/// A reason for a delisting stands at most this far from the last bar.
const EXPLAINED_WITHIN_DAYS: i32 = 10;
/// A desk that was away longer than this has its splits looked at by a person.
const LOOK_BACK_DAYS: i32 = 60;

/// What happened to names without an order, and what a night of a short costs.
pub struct Events {
    actions: BTreeMap<String, Vec<CorpAction>>,
    delistings: Vec<Delisting>,
    changes: Vec<TickerChange>,
    lenders: Option<BorrowTable>,
}

impl Events {
    pub fn load(root: &DataRoot) -> Result<Self> {
        Ok(Self {
            actions: reference::load_actions(root)?,
            delistings: reference::load_delistings(root)?,
            changes: reference::load_ticker_changes(root)?,
            lenders: lenders(root)?,
        })
    }

    /// Splits of the coming week, which hold back their symbols, and of the last weeks: they explain a quantity that changed while
    /// nobody looked.
    pub fn splits_around(&self, asof: TradingDay) -> Vec<Split> {
        let near = asof.plus_days(-LOOK_BACK_DAYS)..asof.plus_days(8);
        let split = |a: &CorpAction| Some(Split { symbol: a.symbol.clone(), ex_date: a.ex_date, ratio: a.ratio? });
        self.actions.values().flatten().filter(|a| a.is_split() && near.contains(&a.ex_date)).filter_map(split).collect()
    }
}

/// Who lends what by the rule of the strategy's champion: its backtest paid them. Nobody asks for a fee while there is none.
fn lenders(root: &DataRoot) -> Result<Option<BorrowTable>> {
    let Ok(row) = market::champion(root, STRATEGY) else { return Ok(None) };
    let Some(portfolio) = row.config.get("portfolio").cloned() else { return Ok(None) };
    let rule: RuleConfig = serde_json::from_value(portfolio)?;
    Ok(rule.construction.and_then(|c| c.borrow))
}

impl Events {
    /// Changes of ticker of the same days.
    pub fn renames_around(&self, asof: TradingDay) -> Vec<Rename> {
        let near = asof.plus_days(-LOOK_BACK_DAYS)..asof.plus_days(8);
        let rename = |c: &TickerChange| Rename { symbol: c.old_symbol.clone(), to: c.new_symbol.clone(), date: c.date };
        self.changes.iter().filter(|c| near.contains(&c.date)).map(rename).collect()
    }
}

/// Both together.
pub struct Tape<'a> {
    pub market: &'a Market,
    pub events: &'a Events,
}

impl Tape<'_> {
    /// The end of a name: its last session, and what a share was worth in the end.
    fn end(&self, symbol: &str) -> Option<Corporate> {
        let last = self.market.panel.delisted[self.market.panel.symbol_index(symbol)?]?.last;
        let near = last.plus_days(-EXPLAINED_WITHIN_DAYS)..last.plus_days(EXPLAINED_WITHIN_DAYS);
        let known = self.events.delistings.iter().find(|d| d.symbol == symbol && near.contains(&d.delist_date));
        // Another ticker goes on with these shares: nothing was paid for them.
        if known.is_some_and(|d| d.reason == "renamed") {
            return None;
        }
        let worth = known.and_then(|d| d.terminal_value).or_else(|| self.market.last_close(symbol, last))?;
        Some(Corporate { ex_date: Calendar::xnys().next(last).ok()?, what: What::Removal(worth) })
    }
}

impl PriceSource for Tape<'_> {
    fn open(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        let panel = &self.market.panel;
        let (s, d) = (panel.symbol_index(symbol)?, panel.day_index(day)?);
        let (open, close, raw) = (panel.open.at(s, d), panel.close.at(s, d), panel.close_raw.at(s, d));
        // Where nothing was adjusted, the price is as it was recorded, to the last bit.
        Some(if raw == close { open } else { open * raw / close }).filter(|v| v.is_finite())
    }
    fn last_close(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        self.market.last_close(symbol, day)
    }
    fn range(&self, symbol: &str, day: TradingDay) -> Option<(f64, f64)> {
        let panel = &self.market.panel;
        let (s, d) = (panel.symbol_index(symbol)?, panel.day_index(day)?);
        let unadjusted = panel.close_raw.at(s, d) / panel.close.at(s, d);
        let (low, high) = (panel.low.at(s, d) * unadjusted, panel.high.at(s, d) * unadjusted);
        (low.is_finite() && high.is_finite() && low > 0.0).then_some((low, high))
    }
    fn renamed(&self, symbol: &str) -> Vec<(TradingDay, String)> {
        self.events.changes.iter().filter(|c| c.old_symbol == symbol).map(|c| (c.date, c.new_symbol.clone())).collect()
    }
    fn corporate(&self, symbol: &str) -> Vec<Corporate> {
        let of = |a: &CorpAction| {
            let what = if a.is_split() { a.ratio.map(What::Split) } else { a.cash.filter(|_| a.is_cash()).map(What::Dividend) };
            what.map(|what| Corporate { ex_date: a.ex_date, what })
        };
        let known = self.events.actions.get(symbol).into_iter().flatten().filter_map(of);
        known.chain(self.end(symbol)).collect()
    }
    fn borrow_bps_per_year(&self, symbol: &str) -> f64 {
        self.events.lenders.as_ref().map_or(0.0, |table| table.tier(symbol).fee_bps_per_year())
    }
}
