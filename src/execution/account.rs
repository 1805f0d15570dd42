//! One event ledger for backtest, shadow and paper: positions and cash are the fold of fills and cash events, nothing else.
//!
//! Average cost. A flip realises the part that is closed and reopens at the fill price. Fees, dividends and borrow are cash
//! rows of their own and never part of a price, so `equity change = price gains - costs + income` holds to rounding.
//! Marks are per symbol and session; closing the same session twice is one return.

use crate::types::Side;
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Shares below this are no position (fractions that meet again after a split).
const DUST: f64 = 1e-9;

/// Something that changes cash or a position. `qty` is in shares and positive; money is in account currency.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Event<K = String> {
    /// Positive in, negative out.
    Deposit {
        amount: f64,
    },
    Fill {
        symbol: K,
        side: Side,
        qty: f64,
        price: f64,
        fee: f64,
    },
    /// A cost without a fill, positive.
    Fee {
        symbol: Option<K>,
        amount: f64,
    },
    /// Cash per share on the ex-date: longs receive it, shorts pay it.
    Dividend {
        symbol: K,
        per_share: f64,
    },
    /// Cash on a holding as a broker booked it: positive in, negative out (a short pays its dividends).
    Income {
        symbol: Option<K>,
        amount: f64,
    },
    /// Shares are multiplied by `ratio` = new / old on the ex-date.
    Split {
        symbol: K,
        ratio: f64,
    },
    /// The company goes on under another ticker: the shares, their price and their history move there.
    Rename {
        symbol: K,
        to: K,
    },
    /// The name is gone: all shares leave at this price, which may be 0. Nothing was traded.
    Removal {
        symbol: K,
        per_share: f64,
    },
    /// Carry of a short, positive.
    Borrow {
        symbol: K,
        amount: f64,
    },
}

/// What is held of one symbol, and what its current round trip has earned so far.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Position {
    /// Signed shares.
    pub qty: f64,
    /// Average price of the open quantity.
    pub average_price: f64,
    pub opened: TradingDay,
    /// Of the current round trip, without fees.
    pub realised: f64,
    /// Fees and borrow of the current round trip, positive.
    pub costs: f64,
    /// Dividends of the current round trip.
    pub income: f64,
}

/// A position from flat to flat (or to the other side).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Trade<K = String> {
    pub symbol: K,
    pub opened: TradingDay,
    /// Absent while it is open: its gain is then marked to the market.
    pub closed: Option<TradingDay>,
    pub long: bool,
    /// After costs and with income.
    pub pnl: f64,
}

/// Totals since the first event.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Default)]
pub struct Totals {
    pub deposits: f64,
    pub realised: f64,
    pub fees: f64,
    pub borrow: f64,
    pub dividends: f64,
    /// Absolute notional of all fills.
    pub traded: f64,
}

/// A session's closing record.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Closing {
    pub equity: f64,
    /// All deposits so far: a flow is not a return.
    pub deposits: f64,
    /// All costs so far.
    pub costs: f64,
}

/// The ledger of one account, or of one strategy's share of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Account<K = String> {
    cash: f64,
    positions: BTreeMap<K, Position>,
    /// The last price of each position: the same keys.
    marks: BTreeMap<K, (TradingDay, f64)>,
    totals: Totals,
    trades: Vec<Trade<K>>,
    closings: BTreeMap<TradingDay, Closing>,
    log: Vec<(TradingDay, Event<K>)>,
}

impl<K: Ord + Clone> Default for Account<K> {
    fn default() -> Self {
        let (positions, marks, closings) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { cash: 0.0, positions, marks, totals: Totals::default(), trades: Vec::new(), closings, log: Vec::new() }
    }
}

impl<K: Ord + Clone> Account<K> {
    /// An account with a first deposit.
    pub fn opened(day: TradingDay, amount: f64) -> Result<Self> {
        let mut account = Self::default();
        account.apply(day, Event::Deposit { amount })?;
        Ok(account)
    }
    /// The same account from its log: positions, cash and totals are equal to the last bit.
    pub fn replay(log: &[(TradingDay, Event<K>)]) -> Result<Self> {
        let mut account = Self::default();
        log.iter().try_for_each(|(day, event)| account.apply(*day, event.clone()))?;
        Ok(account)
    }
    pub fn cash(&self) -> f64 {
        self.cash
    }
    pub fn totals(&self) -> Totals {
        self.totals
    }
    pub fn positions(&self) -> &BTreeMap<K, Position> {
        &self.positions
    }
    /// Signed shares; 0 when flat.
    pub fn qty(&self, symbol: &K) -> f64 {
        self.positions.get(symbol).map_or(0.0, |p| p.qty)
    }
    /// Signed shares by symbol, as the order sizer reads them.
    pub fn quantities(&self) -> BTreeMap<K, f64> {
        self.positions.iter().map(|(k, p)| (k.clone(), p.qty)).collect()
    }
    pub fn log(&self) -> &[(TradingDay, Event<K>)] {
        &self.log
    }
    /// Finished round trips, in order of closing.
    pub fn closed_trades(&self) -> &[Trade<K>] {
        &self.trades
    }

    /// Book one event. A number that is not finite, a quantity or price of 0 or below, or a ratio of 0 or below refuses and
    /// changes nothing.
    pub fn apply(&mut self, day: TradingDay, event: Event<K>) -> Result<()> {
        check(&event)?;
        match &event {
            Event::Deposit { amount } => {
                self.cash += amount;
                self.totals.deposits += amount;
            }
            Event::Fill { symbol, side, qty, price, fee } => self.fill(day, symbol, side.sign() * qty, *price, *fee),
            Event::Fee { symbol, amount } => {
                self.cash -= amount;
                self.totals.fees += amount;
                if let Some(p) = symbol.as_ref().and_then(|s| self.positions.get_mut(s)) {
                    p.costs += amount;
                }
            }
            Event::Borrow { symbol, amount } => {
                self.cash -= amount;
                self.totals.borrow += amount;
                if let Some(p) = self.positions.get_mut(symbol) {
                    p.costs += amount;
                }
            }
            Event::Dividend { symbol, per_share } => {
                if let Some(p) = self.positions.get_mut(symbol) {
                    let amount = p.qty * per_share;
                    p.income += amount;
                    self.cash += amount;
                    self.totals.dividends += amount;
                }
            }
            Event::Income { symbol, amount } => {
                self.cash += amount;
                self.totals.dividends += amount;
                if let Some(p) = symbol.as_ref().and_then(|s| self.positions.get_mut(s)) {
                    p.income += amount;
                }
            }
            Event::Removal { symbol, per_share } => {
                let (held, traded) = (self.qty(symbol), self.totals.traded);
                if held != 0.0 {
                    self.fill(day, symbol, -held, *per_share, 0.0);
                }
                self.totals.traded = traded;
            }
            Event::Rename { symbol, to } => self.rename(day, symbol, to),
            Event::Split { symbol, ratio } => {
                if let Some(p) = self.positions.get_mut(symbol) {
                    p.qty *= ratio;
                    p.average_price /= ratio;
                }
                if let Some(mark) = self.marks.get_mut(symbol) {
                    mark.1 /= ratio;
                }
            }
        }
        self.log.push((day, event));
        Ok(())
    }

    fn rename(&mut self, day: TradingDay, symbol: &K, to: &K) {
        let (Some(old), Some(mark)) = (self.positions.remove(symbol), self.marks.remove(symbol)) else { return };
        if self.marks.get(to).is_none_or(|own| own.0 <= mark.0) {
            self.marks.insert(to.clone(), mark);
        }
        if !self.positions.contains_key(to) {
            self.positions.insert(to.clone(), old);
            return;
        }
        // Shares that are already held under the new ticker: as if these were bought there at their own average, without money.
        let (cash, traded) = (self.cash, self.totals.traded);
        self.fill(day, to, old.qty, old.average_price, 0.0);
        (self.cash, self.totals.traded) = (cash, traded);
        if let Some(p) = self.positions.get_mut(to) {
            (p.realised, p.costs, p.income) = (p.realised + old.realised, p.costs + old.costs, p.income + old.income);
        }
    }

    fn fill(&mut self, day: TradingDay, symbol: &K, signed: f64, price: f64, fee: f64) {
        self.cash -= signed * price + fee;
        self.totals.fees += fee;
        self.totals.traded += (signed * price).abs();
        let Some(p) = self.positions.get_mut(symbol) else {
            let fresh = Position { qty: signed, average_price: price, opened: day, realised: 0.0, costs: fee, income: 0.0 };
            self.positions.insert(symbol.clone(), fresh);
            // Until its first close a new position is worth what was paid.
            self.marks.insert(symbol.clone(), (day, price));
            return;
        };
        if p.qty.signum() == signed.signum() {
            let qty = p.qty + signed;
            p.average_price = (p.average_price * p.qty + price * signed) / qty;
            p.qty = qty;
            p.costs += fee;
            return;
        }
        let closing = signed.abs().min(p.qty.abs());
        let gain = closing * p.qty.signum() * (price - p.average_price);
        self.totals.realised += gain;
        p.realised += gain;
        let rest = p.qty + signed;
        // The fee of a flip belongs to both round trips, by quantity.
        let share = closing / signed.abs();
        p.costs += fee * share;
        if rest.abs() >= DUST && rest.signum() == p.qty.signum() {
            p.qty = rest;
            return;
        }
        let pnl = p.realised - p.costs + p.income;
        self.trades.push(Trade { symbol: symbol.clone(), opened: p.opened, closed: Some(day), long: p.qty > 0.0, pnl });
        if rest.abs() >= DUST {
            *p = Position { qty: rest, average_price: price, opened: day, realised: 0.0, costs: fee * (1.0 - share), income: 0.0 };
        } else {
            self.positions.remove(symbol);
            self.marks.remove(symbol);
        }
    }

    /// Record a position's own price of a session. Older sessions and prices that are not positive refuse; a symbol that is not held has
    /// nothing to mark.
    pub fn mark(&mut self, day: TradingDay, symbol: &K, price: f64) -> Result<()> {
        match self.marks.get_mut(symbol) {
            Some(mark) => renew(mark, day, price),
            None => priced(price),
        }
    }
    /// [`Account::mark`] every position that `price` knows a price of.
    pub fn mark_all(&mut self, day: TradingDay, mut price: impl FnMut(&K) -> Option<f64>) -> Result<()> {
        for (symbol, mark) in &mut self.marks {
            if let Some(price) = price(symbol) {
                renew(mark, day, price)?;
            }
        }
        Ok(())
    }
    /// The last mark of a position and its session.
    pub fn mark_of(&self, symbol: &K) -> Option<(TradingDay, f64)> {
        self.marks.get(symbol).copied()
    }
    /// Every position with its marked value: both maps are in the order of the same keys, so that nothing is looked up.
    pub fn valued(&self) -> impl Iterator<Item = (&K, &Position, f64)> {
        debug_assert!(self.positions.keys().eq(self.marks.keys()), "a position without a mark, or a mark without a position");
        self.positions.iter().zip(self.marks.values()).map(|((k, p), (_, price))| (k, p, p.qty * price))
    }
    /// Cash plus the marked value of all positions.
    pub fn equity(&self) -> f64 {
        self.cash + self.valued().map(|(_, _, value)| value).sum::<f64>()
    }
    /// Marked gains of the open quantity, without fees.
    pub fn unrealised(&self) -> f64 {
        self.valued().map(|(_, p, value)| value - p.qty * p.average_price).sum()
    }
    /// `(gross, net)` exposure in account currency.
    pub fn exposure(&self) -> (f64, f64) {
        self.valued().fold((0.0, 0.0), |(gross, net), (_, _, v)| (gross + v.abs(), net + v))
    }
    /// Gains on prices + income - costs + deposits: equals equity by construction of the ledger (tested, not assumed).
    pub fn explained_equity(&self) -> f64 {
        let t = self.totals;
        t.deposits + t.realised + self.unrealised() + t.dividends - t.fees - t.borrow
    }

    /// Close a session with the marks it has. Called again for the same session it replaces that session's record.
    pub fn close_session(&mut self, day: TradingDay) -> Closing {
        let closing = Closing { equity: self.equity(), deposits: self.totals.deposits, costs: self.totals.fees + self.totals.borrow };
        self.closings.insert(day, closing);
        closing
    }
    pub fn closings(&self) -> &BTreeMap<TradingDay, Closing> {
        &self.closings
    }
    /// Return of each closed session but the first, after costs, deposits taken out.
    pub fn session_returns(&self) -> Result<Vec<(TradingDay, f64)>> {
        let rows: Vec<_> = self.closings.iter().collect();
        rows.windows(2).map(|w| Ok((*w[1].0, session_return(w[0].1, w[1].1)?))).collect()
    }
    /// All round trips, those still open with their marked gain and no closing day.
    pub fn trades(&self) -> Vec<Trade<K>> {
        let open = self.valued().map(|(k, p, value)| {
            let pnl = p.realised + value - p.qty * p.average_price - p.costs + p.income;
            Trade { symbol: k.clone(), opened: p.opened, closed: None, long: p.qty > 0.0, pnl }
        });
        self.trades.iter().cloned().chain(open).collect()
    }
}

fn priced(price: f64) -> Result<()> {
    if price.is_finite() && price > 0.0 {
        return Ok(());
    }
    Err(Error::new(code::DATA_MISSING, "a position cannot be marked at a price that is missing").found(price.to_string()))
}

fn renew(mark: &mut (TradingDay, f64), day: TradingDay, price: f64) -> Result<()> {
    priced(price)?;
    if mark.0 > day {
        return Err(Error::bug(text!("a mark of {day} is older than the one held")));
    }
    *mark = (day, price);
    Ok(())
}

/// The return from one closing to the next, without the deposits between them.
pub fn session_return(from: &Closing, to: &Closing) -> Result<f64> {
    let r = (to.equity - (to.deposits - from.deposits)) / from.equity - 1.0;
    if from.equity > 0.0 && r.is_finite() {
        return Ok(r);
    }
    Err(Error::new(code::ML_UNDEFINED, "the return of a session is undefined").cause("the equity before it is not positive").found(from.equity.to_string()))
}

fn check<K>(event: &Event<K>) -> Result<()> {
    let positive = |v: f64| v.is_finite() && v > 0.0;
    let at_least_0 = |v: f64| v.is_finite() && v >= 0.0;
    let ok = match event {
        Event::Deposit { amount } | Event::Income { amount, .. } => amount.is_finite(),
        Event::Fill { qty, price, fee, .. } => positive(*qty) && positive(*price) && at_least_0(*fee),
        Event::Fee { amount, .. } | Event::Borrow { amount, .. } => at_least_0(*amount),
        Event::Dividend { per_share, .. } | Event::Removal { per_share, .. } => at_least_0(*per_share),
        Event::Split { ratio, .. } => positive(*ratio),
        Event::Rename { .. } => true,
    };
    if ok { Ok(()) } else { Err(Error::new(code::ORD_REFUSED, "an event with an impossible number was not booked")) }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
