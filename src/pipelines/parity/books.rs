//! Three books of one session side by side: the simulation computed again, the shadow book as it was recorded, the paper book as it was
//! filled. What differs gets a cause. Rounding and the pinned decision are arithmetic; a limit of the account counts only where the book holds
//! what the limit left; an order that was kept back, or filled late, takes the whole of its name's difference.

use super::{Cause, Difference, replay, same};
use crate::backtest::{self, Before};
use crate::execution::broker::simulated::PriceSource;
use crate::execution::log::OrderLog;
use crate::execution::order::OrderSet;
use crate::execution::positions::{self, cash_events};
use crate::pipelines::shadow_day::{Book, ShadowRow, Shadowed};
use crate::portfolio::Limits as Caps;
use crate::types::Panel;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::time::{DateRange, TradingDay, UtcTime, new_york};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Weights closer than this are the same.
const SAME_WEIGHT: f64 = 1e-9;

/// The books of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BooksReport {
    /// The model that the paper book followed at its last rebalance.
    pub version: String,
    /// The close that it decided on.
    pub decided_on: Option<TradingDay>,
    /// Whether the recorded shadow row equals the simulation to the last bit; none where no row was due.
    pub shadow_reproduced: Option<bool>,
    /// Names that the simulation or the paper book holds, and those with the same share of equity in both.
    pub names: usize,
    pub names_equal: usize,
    pub differences: Vec<Difference>,
}

/// What the comparison is made from.
pub struct BooksInput<'a> {
    pub panel: &'a Panel,
    pub session: TradingDay,
    pub shadowed: &'a Shadowed,
    pub simulated: &'a Book,
    /// The shadow book's row of the session and the digest of what it saw.
    pub recorded: Option<(ShadowRow, String)>,
    /// Whether such a row is due.
    pub row_is_due: bool,
    pub paper: PaperBook,
    /// The caps of the account at the paper book's last rebalance, as shares of its equity then.
    pub ceiling: Caps,
    /// What the replays of the sets since then say about single names.
    pub kept_back: BTreeMap<String, (Cause, String)>,
}

/// The paper book at a close.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperBook {
    pub rebalance: OrderSet,
    /// Signed shares of the strategy.
    pub shares: BTreeMap<String, f64>,
    /// The account's, as it was snapshot at the close.
    pub equity: f64,
}

impl PaperBook {
    /// The strategy's book at the close of `session`; none before its first set, or where the account was not settled that evening.
    pub fn at(log: &OrderLog<'_>, account: &str, strategy: &str, session: TradingDay, every: usize) -> Result<Option<Self>> {
        let Some(rebalance) = last_rebalance(log, account, strategy, session, every)? else { return Ok(None) };
        let close = Calendar::xnys().close(session).to_string();
        let snapshot = "SELECT equity FROM snapshots WHERE account = ?1 AND ts = ?2";
        let equity: Option<f64> = log.db().lock()?.query_row(snapshot, params![account, close], |r| r.get(0)).optional()?;
        let Some(equity) = equity else { return Ok(None) };
        // What was only learnt in the evening still belongs to the day.
        let end = UtcTime::midnight_in(&new_york(), session.plus_days(1));
        let fills: Vec<_> = log.fills(account)?.into_iter().filter(|f| f.ts < end).collect();
        let cash: Vec<_> = cash_events(log, account)?.into_iter().filter(|c| c.ts < end).collect();
        let mut filled = BTreeMap::new();
        for f in &fills {
            if let Some(row) = log.order(&f.order_id)? {
                filled.insert(f.order_id.clone(), row.filled_qty);
            }
        }
        let shares = positions::fold(&fills, &cash, &filled)?.of_strategy(strategy);
        Ok(Some(Self { rebalance, shares, equity }))
    }
}

/// The newest set of a day on which the rule rebalances, counted from the account's first set, up to `session`.
fn last_rebalance(log: &OrderLog<'_>, account: &str, strategy: &str, session: TradingDay, every: usize) -> Result<Option<OrderSet>> {
    let sets = sets(log, account, strategy, session)?;
    let Some((first, _)) = sets.first().cloned() else { return Ok(None) };
    let due = |day: TradingDay| DateRange::new(first, day).map_or(0, |r| Calendar::xnys().sessions(r).len()).is_multiple_of(every.max(1));
    sets.iter().rev().find(|(day, _)| due(*day)).map_or(Ok(None), |(_, key)| log.set(key))
}

/// Days and keys of the scheduled sets up to `session`, oldest first.
pub fn sets(log: &OrderLog<'_>, account: &str, strategy: &str, session: TradingDay) -> Result<Vec<(TradingDay, String)>> {
    let sql =
        "SELECT trading_day, run_key FROM order_sets WHERE account = ?1 AND strategy = ?2 AND trading_day <= ?3 AND rebalance_no = 0 ORDER BY trading_day";
    let conn = log.db().lock()?;
    let mut q = conn.prepare(sql)?;
    let rows = q.query_map(params![account, strategy, session.to_string()], |r| Ok((r.get::<_, String>(0)?, r.get(1)?)))?;
    rows.map(|row| row.map_err(Error::from).and_then(|(day, key)| Ok((day.parse()?, key)))).collect()
}

/// Why names hold other quantities than their targets, by symbol, from the first day to the last: orders that were refused, held back, filled
/// in part or not at all, according to their replay; and orders that no rebalance made.
pub fn kept_back(
    log: &OrderLog<'_>,
    account: &str,
    strategy: &str,
    days: (TradingDay, TradingDay),
    prices: &dyn PriceSource,
) -> Result<BTreeMap<String, (Cause, String)>> {
    let (mut out, fills) = (BTreeMap::new(), log.fills(account)?);
    for (_, key) in sets(log, account, strategy, days.1)?.into_iter().filter(|(day, _)| *day >= days.0) {
        let mut symbols: BTreeMap<String, String> = log.orders_of(&key)?.into_iter().map(|o| (o.id().to_string(), o.intent.symbol)).collect();
        // A late execution is a difference of its own.
        let late: Vec<_> = fills.iter().filter(|f| symbols.contains_key(&f.order_id)).map(|f| (f.fill_id.clone(), f.symbol.clone())).collect();
        symbols.extend(late);
        for d in replay(log, &key, prices)?.differences {
            let held_back = (d.cause == Cause::Rejection).then(|| d.subject.clone());
            if let Some(symbol) = symbols.get(&d.subject).cloned().or(held_back) {
                out.insert(symbol, (d.cause, d.detail));
            }
        }
    }
    let sql = "SELECT symbol, reason FROM orders WHERE account = ?1 AND strategy_tag = ?2 AND trading_day >= ?3 AND trading_day <= ?4
               AND (reason IN ('risk_reduce', 'flatten', 'manual') OR style = 'replace')";
    let conn = log.db().lock()?;
    let mut q = conn.prepare(sql)?;
    let rows = q.query_map(params![account, strategy, days.0.to_string(), days.1.to_string()], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?;
    for row in rows {
        let (symbol, reason) = row?;
        out.insert(symbol, (Cause::Rejection, text!("an order outside the rebalance: {reason}")));
    }
    Ok(out)
}

struct Compare<'a> {
    i: &'a BooksInput<'a>,
    /// Days of the panel: the session, and the close that the simulation last decided on before it.
    at: usize,
    decided: usize,
    out: Vec<Difference>,
}

/// Compare the books of a session.
pub fn compare(input: &BooksInput<'_>) -> Result<BooksReport> {
    let missing = || Error::new(code::DATA_MISSING, text!("the panel does not reach {}", input.session)).fix("trademl node once");
    let at = input.panel.day_index(input.session).ok_or_else(missing)?;
    let every = input.shadowed.rule.rebalance_sessions.max(1);
    let first = input.simulated.first;
    let decided = if at > first { first + (at - 1 - first) / every * every } else { first };
    let mut c = Compare { i: input, at, decided, out: Vec::new() };
    let shadow_reproduced = c.shadow_row();
    let (mut names, mut names_equal) = (0, 0);
    if at > first {
        c.decision()?;
        (names, names_equal) = c.weights()?;
    }
    let set = &input.paper.rebalance;
    Ok(BooksReport {
        version: set.pins.champion.get("version").cloned().unwrap_or_default(),
        decided_on: set.pins.asof,
        shadow_reproduced,
        names,
        names_equal,
        differences: c.out,
    })
}

impl Compare<'_> {
    fn differs(&mut self, subject: &str, cause: Cause, detail: String, usd: f64) {
        self.out.push(Difference { subject: subject.into(), cause, detail, usd });
    }

    /// The recorded row of the shadow book against the simulation, to the last bit.
    fn shadow_row(&mut self) -> Option<bool> {
        let n = self.at.checked_sub(self.i.simulated.first + 1)?;
        let (row, inputs) = (self.i.simulated.rows.get(n)?, self.i.simulated.inputs.get(n)?);
        let Some((recorded, seen)) = &self.i.recorded else {
            if self.i.row_is_due {
                self.differs("shadow", Cause::Clock, "the shadow book was not brought up to this session".into(), 0.0);
            }
            return None;
        };
        if recorded == row {
            return Some(true);
        }
        let close = same(recorded.gross_return, row.gross_return) && same(recorded.net_return, row.net_return) && same(recorded.turnover, row.turnover);
        let cause = match (seen == inputs, close && recorded.weights_sha256 == row.weights_sha256) {
            (_, true) => Cause::Rounding,
            (true, false) => Cause::Unexplained,
            (false, false) => Cause::DataRevised,
        };
        self.differs(
            "shadow",
            cause,
            text!("net {} recorded, {} now; turnover {}, {}", recorded.net_return, row.net_return, recorded.turnover, row.turnover),
            0.0,
        );
        Some(false)
    }

    /// The pinned targets of the paper book's last rebalance, decided again from what was pinned with them.
    fn decision(&mut self) -> Result<()> {
        let (set, panel) = (&self.i.paper.rebalance, self.i.panel);
        let Some(t) = set.pins.asof.and_then(|day| panel.day_index(day)) else { return Ok(()) };
        let worth = |(s, q): (&String, &f64)| Some((panel.symbol_index(s)?, q * set.pins.prices.get(s)?.price / set.equity));
        let before = Before { held: set.pins.positions.iter().filter_map(worth).collect(), equity_usd: set.equity, ceiling: Some(self.i.ceiling) };
        let again = backtest::decide(panel, &self.i.shadowed.scores, &self.i.shadowed.rule, t, &before)?.weights;
        let again: BTreeMap<String, f64> = again.into_iter().map(|(s, w)| (panel.symbols[s].clone(), w)).collect();
        let revised = set.pins.prices.iter().any(|(s, r)| panel.symbol_index(s).and_then(|row| last_raw(panel, row, t)).is_some_and(|now| !same(now, r.price)));
        for name in again.keys().chain(set.pins.targets.keys()).collect::<BTreeSet<_>>() {
            let (pinned, now) = (weight(&set.pins.targets, name), weight(&again, name));
            if pinned == now {
                continue;
            }
            let cause = match (same(pinned, now), revised) {
                (true, _) => Cause::Rounding,
                (false, true) => Cause::DataRevised,
                (false, false) => Cause::Unexplained,
            };
            self.differs(name, cause, text!("the pinned target is {pinned}, decided again it is {now}"), (pinned - now) * set.equity);
        }
        Ok(())
    }

    /// Shares of equity at the close, name by name; returns how many there are and how many are equal.
    fn weights(&mut self) -> Result<(usize, usize)> {
        let (panel, paper, rule) = (self.i.panel, &self.i.paper, &self.i.shadowed.rule);
        let (simulated, simulated_usd) = self.i.simulated.at(rule, self.at);
        let targets = self.i.simulated.wanted(self.i.shadowed, panel, self.decided)?;
        let (_, decided_usd) = self.i.simulated.at(rule, self.decided);
        // Two books that hold the same shares of their equity drift apart by as much as the equities themselves do.
        let drift = (paper.equity / paper.rebalance.equity) / (simulated_usd / decided_usd) - 1.0;
        let together = paper.rebalance.pins.asof == panel.days.get(self.decided).copied();
        let names: BTreeSet<&String> = simulated.keys().chain(paper.shares.keys()).collect();
        let (all, mut equal) = (names.len(), 0);
        for name in names {
            let row = panel.symbol_index(name);
            let price = row.and_then(|s| last_raw(panel, s, self.at)).unwrap_or(0.0);
            let share = if simulated_usd > 0.0 { price / simulated_usd } else { 0.0 };
            let (ours, theirs) = (weight(&paper.shares, name) * price / paper.equity, weight(&simulated, name));
            let apart = ours - theirs;
            if apart.abs() <= SAME_WEIGHT {
                equal += 1;
                continue;
            }
            let usd = apart * paper.equity;
            let detail = text!("{:.4} % of the paper book, {:.4} % of the simulated one", 100.0 * ours, 100.0 * theirs);
            let (pinned, wanted) = (weight(&paper.rebalance.pins.targets, name), weight(&targets, name));
            let whole_shares = price / paper.equity + share + theirs.abs().max(ours.abs()) * drift.abs() * 1.01 + SAME_WEIGHT;
            let (cause, why) = if !together {
                (Cause::Clock, text!("the books rebalance on different sessions"))
            } else if let Some((cause, why)) = self.i.kept_back.get(name) {
                (*cause, why.clone())
            } else if (pinned - wanted).abs() > SAME_WEIGHT && holds(paper, name, pinned) {
                (Cause::Rejection, text!("the account's limits and holdings made {:.4} % of the target's {:.4} %", 100.0 * pinned, 100.0 * wanted))
            } else if apart.abs() <= whole_shares {
                (Cause::Rounding, text!("whole shares"))
            } else if row.is_some_and(|s| paid_or_split(panel, s, self.decided, self.at)) {
                (Cause::FillModel, text!("the simulation holds adjusted shares through a split or dividend"))
            } else {
                (Cause::Unexplained, text!("whole shares account for {:.4} %", 100.0 * whole_shares))
            };
            self.differs(name, cause, format!("{detail}: {why}"), usd);
        }
        Ok((all, equal))
    }
}

/// Whether the paper book holds its own target of a name, in whole shares: then what made the target made the difference.
fn holds(paper: &PaperBook, name: &str, pinned: f64) -> bool {
    let target = if pinned == 0.0 { Some(0.0) } else { paper.rebalance.pins.prices.get(name).map(|r| pinned * paper.rebalance.equity / r.price) };
    target.is_some_and(|shares| (weight(&paper.shares, name) - shares).abs() <= 1.0 + SAME_WEIGHT)
}

fn weight(weights: &BTreeMap<String, f64>, name: &str) -> f64 {
    weights.get(name).copied().unwrap_or(0.0)
}

/// The last unadjusted close at or before a day.
fn last_raw(panel: &Panel, symbol: usize, t: usize) -> Option<f64> {
    panel.close_raw.row(symbol)[..=t].iter().rev().copied().find(|p| p.is_finite())
}

/// Whether the adjustment of a name changed between two days.
fn paid_or_split(panel: &Panel, symbol: usize, from: usize, to: usize) -> bool {
    let factor = |t: usize| panel.close_raw.at(symbol, t) / panel.close.at(symbol, t);
    let (a, b) = (factor(from), factor(to));
    a.is_finite() && b.is_finite() && (a / b - 1.0).abs() > 1e-6
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
