//! The daily loop: scores at the close of t become orders, orders fill at the open of t + 1, the account is marked at the close.
//!
//! Sizes come from the close of t, so an order never knows its own fill price. Prices are adjusted, so splits and dividends
//! are inside them. An order for a session without an open is dropped and noted; a position in a delisted symbol ends at
//! its terminal value, or at its last price where none is known; a position without a bar keeps its last mark. A book that
//! lost all its money is no series of returns: it is an error that names the day.

use super::decide::{Before, LIQUIDITY_LEAST, LIQUIDITY_SESSIONS, Signal, decide, price, sigma_daily};
use crate::execution::account::{Account, Event, Trade, session_return};
use crate::execution::cost::{CostModel, Liquidity, Pricing};
use crate::portfolio::delta::plan;
use crate::portfolio::{DeltaInput, DeltaLine, RuleConfig};
use crate::types::{Panel, Side};
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// One execution.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct FillRecord {
    pub day: TradingDay,
    /// Row of the panel.
    pub symbol: usize,
    pub side: Side,
    pub qty: f64,
    pub price: f64,
    /// Cost in account currency.
    pub cost: f64,
}

/// Something that did not go as the rule wanted, kept for the report.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Note {
    pub day: TradingDay,
    pub symbol: Option<String>,
    pub what: String,
}

/// A simulation. The vectors have one entry per session after the first decision: `days[0]` is the first session on which
/// an order could fill.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct BacktestResult {
    pub days: Vec<TradingDay>,
    /// Return of each session before costs.
    pub gross: Vec<f64>,
    /// Return of each session after costs.
    pub net: Vec<f64>,
    /// Traded notional (buys and sells) over the equity before.
    pub turnover: Vec<f64>,
    /// At the close, in account currency.
    pub equity: Vec<f64>,
    /// Absolute positions over equity at the close.
    pub gross_exposure: Vec<f64>,
    pub capital: f64,
    /// Fees, impact and borrow, in account currency.
    pub costs: f64,
    pub rebalances: usize,
    pub fills: Vec<FillRecord>,
    /// Round trips; those without a closing day are marked to the last close.
    pub trades: Vec<Trade<usize>>,
    pub notes: Vec<Note>,
    /// On how many rebalances each limit of the rule bound.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bound: BTreeMap<String, usize>,
}

/// Trade a signal (scores of `symbols x days`, known at each close) over the sessions `days` of the panel.
///
/// The first decision is at the close of `days.start`, later ones every `rule.rebalance_sessions`; none at the last close.
/// A rebalance without enough scores keeps the book and is noted. Undefined when not one rebalance was possible.
pub fn run<'s>(panel: &Panel, signal: impl Into<Signal<'s>>, rule: &RuleConfig, cost: &CostModel, days: Range<usize>) -> Result<BacktestResult> {
    let signal = signal.into();
    rule.validate()?;
    cost.validate()?;
    if (signal.scores.rows(), signal.scores.cols()) != (panel.n_symbols(), panel.n_days()) {
        return Err(Error::bug("the scores do not have the shape of the panel"));
    }
    if days.end > panel.n_days() || days.len() < 2 {
        return Err(Error::new(code::ML_UNDEFINED, "a simulation needs at least two sessions").found(text!("{} of {}", days.len(), panel.n_days())));
    }
    let account = Account::opened(panel.days[days.start], rule.capital_usd)?;
    let mut sim =
        Simulation { panel, signal, rule, cost, account, pending: Vec::new(), fills: Vec::new(), notes: Vec::new(), bound: BTreeMap::new(), rebalances: 0 };
    sim.account.close_session(panel.days[days.start]);
    sim.decide(days.start)?;
    let mut out = Series::default();
    for t in days.start + 1..days.end {
        sim.session(t, &mut out)?;
        if (t - days.start).is_multiple_of(rule.rebalance_sessions) && t + 1 < days.end {
            sim.decide(t)?;
        }
    }
    if sim.rebalances == 0 {
        return Err(Error::new(code::ML_UNDEFINED, "nothing was traded").cause("no rebalance day had enough scores for the rule"));
    }
    let totals = sim.account.totals();
    Ok(BacktestResult {
        days: panel.days[days.start + 1..days.end].to_vec(),
        gross: out.gross,
        net: out.net,
        turnover: out.turnover,
        equity: out.equity,
        gross_exposure: out.exposure,
        capital: rule.capital_usd,
        costs: totals.fees + totals.borrow,
        rebalances: sim.rebalances,
        trades: sim.account.trades(),
        fills: sim.fills,
        notes: sim.notes,
        bound: sim.bound,
    })
}

#[derive(Default)]
struct Series {
    gross: Vec<f64>,
    net: Vec<f64>,
    turnover: Vec<f64>,
    equity: Vec<f64>,
    exposure: Vec<f64>,
}

struct Simulation<'a> {
    panel: &'a Panel,
    signal: Signal<'a>,
    rule: &'a RuleConfig,
    cost: &'a CostModel,
    account: Account<usize>,
    pending: Vec<DeltaLine>,
    fills: Vec<FillRecord>,
    notes: Vec<Note>,
    bound: BTreeMap<String, usize>,
    rebalances: usize,
}

impl Simulation<'_> {
    fn note(&mut self, t: usize, symbol: Option<usize>, what: impl Into<String>) {
        let symbol = symbol.map(|s| self.panel.symbols[s].clone());
        self.notes.push(Note { day: self.panel.days[t], symbol, what: what.into() });
    }

    /// Targets and orders from what is known at the close of `t`.
    fn decide(&mut self, t: usize) -> Result<()> {
        let equity = self.account.equity();
        let held = self.account.valued().map(|(s, _, value)| (*s, value / equity)).collect();
        let weights = match decide(self.panel, self.signal, self.rule, t, &Before { held, equity_usd: equity, ceiling: None }) {
            Ok(decision) => {
                let limits: BTreeSet<String> = decision.bound.into_iter().map(|b| b.limit).collect();
                limits.into_iter().for_each(|l| *self.bound.entry(l).or_insert(0) += 1);
                decision.weights
            }
            Err(e) if e.is(code::ML_UNDEFINED) => {
                self.note(t, None, text!("no rebalance: {}", e.body().found.clone().unwrap_or_default()));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let positions = self.account.quantities();
        let close = |s: &usize| Some((*s, price(&self.panel.close, *s, t)?));
        let input = DeltaInput {
            targets: &weights,
            positions: &positions,
            prices: &weights.keys().chain(positions.keys()).filter_map(close).collect(),
            equity,
            open_remaining: &BTreeMap::new(),
            fractional: self.rule.fractional,
        };
        self.pending = plan(&input)?.lines;
        self.rebalances += 1;
        Ok(())
    }

    fn session(&mut self, t: usize, out: &mut Series) -> Result<()> {
        let day = self.panel.days[t];
        let before = *self.account.closings().values().next_back().ok_or_else(|| Error::bug("no closing before the first session"))?;
        let traded = self.account.totals().traded;
        self.carry(t)?;
        for line in std::mem::take(&mut self.pending) {
            match price(&self.panel.open, line.symbol, t) {
                Some(open) => self.fill(t, line.symbol, line.side, line.qty, open)?,
                None => self.note(t, Some(line.symbol), text!("order dropped, no open: {} {}", line.side.as_str(), line.qty)),
            }
        }
        self.close_delisted(t)?;
        self.account.mark_all(day, |s| price(&self.panel.close, *s, t))?;
        let after = self.account.close_session(day);
        if !(after.equity > 0.0) {
            return Err(self.ruined(day, after.equity));
        }
        let net = session_return(&before, &after)?;
        out.net.push(net);
        out.gross.push(net + (after.costs - before.costs) / before.equity);
        out.turnover.push((self.account.totals().traded - traded) / before.equity);
        out.equity.push(after.equity);
        out.exposure.push(self.account.exposure().0 / after.equity);
        Ok(())
    }

    /// Borrow on what was short overnight.
    fn carry(&mut self, t: usize) -> Result<()> {
        let rate = self.cost.borrow_rate_per_session();
        let tiers = self.rule.construction.as_ref().filter(|c| c.borrow.is_some());
        if rate == 0.0 && tiers.is_none() {
            return Ok(());
        }
        let shorts: Vec<(usize, f64)> = self.account.positions().iter().filter(|(_, p)| p.qty < 0.0).map(|(s, p)| (*s, -p.qty)).collect();
        for (symbol, qty) in shorts {
            let mark = self.account.mark_of(&symbol).map_or(0.0, |m| m.1);
            // A name's own tier beats the rate of all.
            let own = tiers.and_then(|c| c.borrow_fee_bps(&self.panel.symbols[symbol]));
            let rate = own.map_or(rate, |bps| self.cost.with_borrow(bps).borrow_rate_per_session());
            if rate == 0.0 {
                continue;
            }
            self.account.apply(self.panel.days[t], Event::Borrow { symbol, amount: qty * mark * rate })?;
        }
        Ok(())
    }

    fn fill(&mut self, t: usize, symbol: usize, side: Side, qty: f64, price: f64) -> Result<()> {
        let day = self.panel.days[t];
        let liquidity = if matches!(self.cost.pricing, Pricing::Flat { .. }) { None } else { self.liquidity(symbol, t) };
        let cost = self.cost.rate(side, qty, price, liquidity)? * qty * price;
        self.account.apply(day, Event::Fill { symbol, side, qty, price, fee: cost })?;
        self.fills.push(FillRecord { day, symbol, side, qty, price, cost });
        Ok(())
    }

    /// Volatility and volume over the sessions before `t`.
    fn liquidity(&self, symbol: usize, t: usize) -> Option<Liquidity> {
        let from = t.checked_sub(LIQUIDITY_SESSIONS + 1)?;
        let volume: Vec<f64> = self.panel.volume.row(symbol)[from + 1..t].iter().copied().filter(|v| v.is_finite()).collect();
        let sigma_daily = sigma_daily(self.panel, symbol, t - 1)?;
        (volume.len() >= LIQUIDITY_LEAST).then(|| Liquidity { sigma_daily, adv_shares: super::metric::mean(&volume) })
    }

    /// Positions in symbols that traded for the last time before `t` end: for what a share was worth in the end, without a
    /// fee, or sold at their last price where nobody says what that was.
    fn close_delisted(&mut self, t: usize) -> Result<()> {
        let day = self.panel.days[t];
        let ended = |s: usize| self.panel.delisted[s].filter(|d| d.last < day);
        let held: Vec<_> = self.account.positions().iter().filter_map(|(s, p)| Some((*s, p.qty, ended(*s)?.value))).collect();
        for (symbol, qty, value) in held {
            let side = if qty > 0.0 { Side::Sell } else { Side::Buy };
            let qty = qty.abs();
            if let Some(price) = value {
                self.account.apply(day, Event::Removal { symbol, per_share: price })?;
                self.fills.push(FillRecord { day, symbol, side, qty, price, cost: 0.0 });
                self.note(t, Some(symbol), text!("delisted: a share was worth {price} in the end"));
            } else {
                let last = self.account.mark_of(&symbol).map_or(0.0, |m| m.1);
                self.fill(t, symbol, side, qty, last)?;
                self.note(t, Some(symbol), text!("delisted: the position was closed at its last price of {last}"));
            }
        }
        Ok(())
    }

    /// The refusal of a book whose losses exceed its money; names the position that lost most.
    fn ruined(&self, day: TradingDay, equity: f64) -> Error {
        let worst = self.account.trades().into_iter().reduce(|a, b| if b.pnl < a.pnl { b } else { a });
        let worst = worst.map_or(String::new(), |t| {
            let side = if t.long { "long" } else { "short" };
            text!("; largest loss {:.2} on a {side} position in {}, opened {}", t.pnl, self.panel.symbols[t.symbol], t.opened)
        });
        Error::new(code::ML_UNDEFINED, "the book lost all its money")
            .cause("returns are undefined from that session on; a rule that can be ruined is refused")
            .found(text!("equity {equity:.2} on {day}{worst}"))
            .fix("bound what one name can lose: portfolio.limits in the training configuration")
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
