//! An event-driven simulation on minute or daily bars, with a record of every order, every change of its state and every fill.
//!
//! It shares what the desk uses: an order's state is the maximum of the same total order over reports ([`crate::execution::state`]),
//! costs come from the one cost model, money goes through the one ledger. A strategy sees a bar after it is over and may send or
//! take back orders; these meet the next bar first. A market order fills at its open, a limit order at the open where that is better than
//! its price, else at its price once the bar traded beyond it: a touch is not a fill. `max_volume_share` leaves the rest of an order
//! for later bars. Nothing is allocated per bar.

mod order;

pub use order::{Order, Status, Transition};

use crate::execution::account::{Account, Event};
use crate::execution::cost::CostModel;
use crate::execution::lob::walk::{Profile, Taker, walk};
use crate::execution::order::Tif;
use crate::types::{Matrix, Side};
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;

/// Bars of several symbols on one time grid; matrices are `symbols x bars`, a missing bar is NaN.
pub struct Bars<'a> {
    pub open: &'a Matrix,
    pub high: &'a Matrix,
    pub low: &'a Matrix,
    pub close: &'a Matrix,
    /// Shares; needed by `max_volume_share` only.
    pub volume: Option<&'a Matrix>,
    /// The session of each bar, ascending.
    pub days: &'a [TradingDay],
}

/// How a market order finds its price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pricing {
    /// The bar's open.
    Open,
    /// A walk through a typical book around the open.
    Book(Profile),
}

/// The rules of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    pub capital_usd: f64,
    /// Flat: one bar at a time knows no daily volume to price impact with.
    pub cost: CostModel,
    pub pricing: Pricing,
    /// Of a bar's volume, what all fills of one order may take; none = all of an order at once.
    pub max_volume_share: Option<f64>,
}

/// One execution. `cost` in account currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    pub order: u32,
    pub symbol: u32,
    pub bar: u32,
    pub side: Side,
    pub qty: f64,
    pub price: f64,
    pub cost: f64,
}

/// Decides after each bar.
pub trait Strategy {
    fn on_bar(&mut self, desk: &mut Desk<'_>, symbol: usize, bar: usize) -> Result<()>;
}

/// Everything that happened.
#[derive(Clone, Debug)]
pub struct Tape {
    pub orders: Vec<Order>,
    pub transitions: Vec<Transition>,
    pub fills: Vec<Fill>,
    pub account: Account<usize>,
    pub equity_usd: f64,
    pub bars: usize,
}

/// What a strategy works with: the bars so far, what it holds, and its orders.
pub struct Desk<'a> {
    bars: &'a Bars<'a>,
    rules: &'a Rules,
    account: Account<usize>,
    orders: Vec<Order>,
    transitions: Vec<Transition>,
    fills: Vec<Fill>,
    /// Open orders of each symbol, oldest first.
    open: Vec<Vec<u32>>,
    held: Vec<f64>,
    now: usize,
}

/// The bars of one symbol so far, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    pub open: &'a [f64],
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
}

impl<'a> Desk<'a> {
    /// The bars of a symbol that are over: the newest is that of now, and none is to come.
    pub fn past(&self, symbol: usize) -> Past<'a> {
        let until = |m: &'a Matrix| &m.row(symbol)[..=self.now];
        Past { open: until(self.bars.open), high: until(self.bars.high), low: until(self.bars.low), close: until(self.bars.close) }
    }
    /// Signed shares.
    pub fn position(&self, symbol: usize) -> f64 {
        self.held[symbol]
    }
    pub fn order(&self, id: u32) -> Option<&Order> {
        self.orders.get(id as usize)
    }
    /// Open orders of a symbol, oldest first.
    pub fn open_orders(&self, symbol: usize) -> &[u32] {
        &self.open[symbol]
    }

    /// Send an order; it meets the next bar of its symbol. `limit` makes it a limit order.
    pub fn submit(&mut self, symbol: usize, side: Side, qty: f64, limit: Option<f64>, tif: Tif) -> Result<u32> {
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if symbol >= self.open.len() || !positive(qty) || !limit.is_none_or(positive) || !matches!(tif, Tif::Day | Tif::Gtc | Tif::Ioc) {
            return Err(
                Error::new(code::ORD_REFUSED, "an impossible order was not sent").found(text!("symbol {symbol}, {qty} shares, limit {limit:?}, {tif:?}"))
            );
        }
        let id = u32::try_from(self.orders.len()).map_err(|_| Error::bug("a simulation has more orders than it can count"))?;
        self.orders.push(Order::planned(id, symbol, side, qty, limit, tif, self.now));
        for status in [Status::Intended, Status::Accepted] {
            self.report(id, status, 0.0, None);
        }
        self.open[symbol].push(id);
        Ok(id)
    }

    /// Take an order back; `false` when it is over already.
    pub fn cancel(&mut self, id: u32) -> bool {
        let Some(order) = self.orders.get(id as usize).filter(|o| !o.is_closed()) else { return false };
        let (symbol, filled) = (order.symbol as usize, order.filled_qty);
        self.report(id, Status::Canceled, filled, None);
        self.open[symbol].retain(|o| *o != id);
        true
    }

    /// One report about an order, applied as the desk's own journal applies it.
    fn report(&mut self, id: u32, status: Status, filled_qty: f64, price: Option<f64>) {
        if self.orders[id as usize].apply(status, self.now, filled_qty, price) {
            self.transitions.push(Transition { order: id, bar: self.now as u32, status });
        }
    }

    /// The new bar of a symbol meets its open orders.
    fn meet(&mut self, symbol: usize) -> Result<()> {
        let bar = self.now;
        let open = self.bars.open.at(symbol, bar);
        if !(open.is_finite() && open > 0.0) {
            return Ok(());
        }
        let (high, low) = (self.bars.high.at(symbol, bar), self.bars.low.at(symbol, bar));
        let mut k = 0;
        while k < self.open[symbol].len() {
            let id = self.open[symbol][k];
            let o = &self.orders[id as usize];
            let through = |price: f64, limit: f64| if o.side == Side::Buy { price < limit } else { price > limit };
            let price = match o.limit {
                None => Some(open),
                Some(limit) if through(open, limit) => Some(open),
                Some(limit) if through(if o.side == Side::Buy { low } else { high }, limit) => Some(limit),
                Some(_) => None,
            };
            let ioc = o.tif == Tif::Ioc;
            if let Some(price) = price {
                self.execute(id, symbol, price)?;
            }
            if ioc && !self.orders[id as usize].is_closed() {
                let filled = self.orders[id as usize].filled_qty;
                self.report(id, Status::Canceled, filled, None);
            }
            if self.orders[id as usize].is_closed() {
                self.open[symbol].remove(k);
            } else {
                k += 1;
            }
        }
        Ok(())
    }

    fn execute(&mut self, id: u32, symbol: usize, price: f64) -> Result<()> {
        let o = &self.orders[id as usize];
        let (side, rest, before, limit) = (o.side, o.qty - o.filled_qty, o.filled_qty, o.limit);
        let qty = match (self.rules.max_volume_share, self.bars.volume) {
            // A bar whose volume is not known fills nothing: the least of a number and NaN is the number.
            (Some(share), Some(volume)) => Some(volume.at(symbol, self.now)).filter(|v| v.is_finite()).map_or(0.0, |v| rest.min((share * v).floor()).max(0.0)),
            _ => rest,
        };
        if !(qty > 0.0) {
            return Ok(());
        }
        let price = match (self.rules.pricing, limit) {
            (Pricing::Book(profile), None) => walk(&Taker { side, shares: qty, mid: price, half_spread_bps: None, depth_usd: None, profile })?.vwap,
            _ => price,
        };
        let cost = self.rules.cost.rate(side, qty, price, None)? * qty * price;
        let (day, bar) = (self.bars.days[self.now], self.now as u32);
        self.account.apply(day, Event::Fill { symbol, side, qty, price, fee: cost })?;
        self.fills.push(Fill { order: id, symbol: symbol as u32, bar, side, qty, price, cost });
        self.held[symbol] += side.sign() * qty;
        let filled = before + qty;
        let status = if filled >= self.orders[id as usize].qty { Status::Filled } else { Status::PartiallyFilled };
        self.report(id, status, filled, Some(price));
        Ok(())
    }

    /// Day orders end with their session.
    fn end_session(&mut self) {
        for symbol in 0..self.open.len() {
            let mut k = 0;
            while k < self.open[symbol].len() {
                let id = self.open[symbol][k];
                // An order that was sent on a session's last bar belongs to the next session.
                let dies = self.orders[id as usize].tif == Tif::Day && (self.orders[id as usize].sent as usize) < self.now;
                if dies {
                    let filled = self.orders[id as usize].filled_qty;
                    self.report(id, Status::Expired, filled, None);
                    self.open[symbol].remove(k);
                } else {
                    k += 1;
                }
            }
        }
    }
}

/// Play all bars. Equity is marked at the last close of each symbol that is held.
pub fn run(bars: &Bars<'_>, rules: &Rules, strategy: &mut dyn Strategy) -> Result<Tape> {
    let (symbols, n) = (bars.close.rows(), bars.close.cols());
    let same = [bars.open, bars.high, bars.low].iter().chain(&bars.volume).all(|m| (m.rows(), m.cols()) == (symbols, n));
    if !same || bars.days.len() != n || n == 0 {
        return Err(Error::bug("the bars of a simulation do not have one shape"));
    }
    if rules.max_volume_share.is_some_and(|s| !(s > 0.0 && s <= 1.0 && bars.volume.is_some())) {
        return Err(Error::new(code::CFG_VALUE, "max_volume_share must be in (0, 1] and needs volumes").found(format!("{:?}", rules.max_volume_share)));
    }
    rules.cost.validate()?;
    let mut desk = Desk {
        bars,
        rules,
        account: Account::opened(bars.days[0], rules.capital_usd)?,
        orders: Vec::new(),
        transitions: Vec::new(),
        fills: Vec::new(),
        open: vec![Vec::new(); symbols],
        held: vec![0.0; symbols],
        now: 0,
    };
    for bar in 0..n {
        desk.now = bar;
        for symbol in 0..symbols {
            if !desk.open[symbol].is_empty() {
                desk.meet(symbol)?;
            }
            if bars.close.at(symbol, bar).is_finite() {
                strategy.on_bar(&mut desk, symbol, bar)?;
            }
        }
        if bars.days.get(bar + 1) != Some(&bars.days[bar]) {
            desk.end_session();
        }
    }
    for symbol in desk.account.positions().keys().copied().collect::<Vec<_>>() {
        if let Some(close) = bars.close.row(symbol).iter().rev().copied().find(|c| c.is_finite()) {
            desk.account.mark(bars.days[n - 1], &symbol, close)?;
        }
    }
    let equity_usd = desk.account.equity();
    Ok(Tape { orders: desk.orders, transitions: desk.transitions, fills: desk.fills, account: desk.account, equity_usd, bars: symbols * n })
}

#[cfg(test)]
mod tests;
