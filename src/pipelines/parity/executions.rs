//! The executions of a day against those of the simulated broker: each order's price and moment, and the cause of what differs.

use super::{Cause, Replay, same, unfilled};
use crate::execution::log::{FillRow, OrderRow};
use data_layer::calendar::Calendar;
use data_layer::time::UtcTime;

/// An execution this far from the open (or the close) was not of it.
const MOMENT_S: f64 = 60.0;
/// How far beyond the recorded prices of its session an execution may lie: the tape that recorded them does not see every venue.
const BEYOND_RANGE: f64 = 0.01;
/// The same from the open, where no range was recorded.
const BEYOND_OPEN: f64 = 0.20;

/// What the simulated broker does with an order: it fills at the open, or at the close what was sent after the open.
#[derive(Clone, Copy)]
struct Simulated {
    at: UtcTime,
    price: f64,
    in_session: bool,
}

/// The whole order, at the simulation's price and moment.
fn is_simulated(row: &OrderRow, fill: &FillRow, simulated: Option<Simulated>) -> bool {
    let there = |s: Simulated| fill.price == s.price && fill.ts == s.at;
    fill.kind == "fill" && fill.qty == row.intent.qty && simulated.is_some_and(there)
}

impl Replay<'_> {
    /// What the simulated broker does with each order, against what happened.
    pub(super) fn executions(&mut self) -> usize {
        let mut reproduced = 0;
        for row in self.rows.clone() {
            let fills: Vec<FillRow> = self.fills.iter().filter(|f| f.order_id == row.id()).cloned().collect();
            let simulated = self.simulated(&row);
            reproduced += fills.iter().filter(|f| is_simulated(&row, f, simulated)).count();
            self.compare(&row, &fills, simulated);
        }
        reproduced
    }

    /// None where the drive has no bar of the session.
    fn simulated(&self, row: &OrderRow) -> Option<Simulated> {
        let (symbol, day) = (&row.intent.symbol, self.set.trading_day);
        let open = self.prices.open(symbol, day)?;
        if !self.sent_in_session.contains(row.id()) {
            return Some(Simulated { at: self.open, price: open, in_session: false });
        }
        Some(Simulated { at: Calendar::xnys().close(day), price: self.prices.last_close(symbol, day)?, in_session: true })
    }

    fn compare(&mut self, row: &OrderRow, fills: &[FillRow], simulated: Option<Simulated>) {
        let (id, qty) = (row.id().to_string(), row.intent.qty);
        let filled: f64 = fills.iter().map(|f| f.qty).sum();
        if filled > qty + 1e-9 {
            return self.differs(&id, Cause::Unexplained, text!("{filled} of {qty} shares were filled"), 0.0);
        }
        let Some(simulated) = simulated else {
            if filled > 0.0 {
                self.differs(&id, Cause::LateBar, text!("{filled} shares were filled in a session without an open on the drive"), 0.0);
            }
            return;
        };
        for fill in fills {
            self.price(row, fill, simulated);
        }
        if filled < qty - 1e-9 {
            let (cause, why) = unfilled(row, filled);
            self.differs(&id, cause, why, (qty - filled) * simulated.price);
        }
    }

    fn price(&mut self, row: &OrderRow, fill: &FillRow, Simulated { at, price, in_session }: Simulated) {
        let usd = fill.side.sign() * fill.qty * (fill.price - price);
        let off = fill.ts.seconds_since(at);
        let (id, symbol) = (fill.fill_id.as_str(), &row.intent.symbol);
        let (low, high) = self.possible(symbol, price);
        if fill.kind == "fill" && !(low..=high).contains(&fill.price) {
            let what = text!("{symbol} was filled at {}, where the session's prices lie between {low:.4} and {high:.4}", fill.price);
            self.differs(id, Cause::Unexplained, what, usd);
        } else if fill.kind != "fill" {
            self.differs(id, Cause::FillModel, text!("a {} execution of {} shares", fill.kind, fill.qty), usd);
        } else if off.abs() > MOMENT_S && in_session {
            let what = text!("{symbol}, sent during the session, was filled {:.0} s before its close, at {} where it was {price}", -off, fill.price);
            self.differs(id, Cause::Clock, what, usd);
        } else if off.abs() > MOMENT_S {
            self.differs(id, Cause::Clock, text!("{symbol} was filled {off:.0} s after the open, at {} where it was {price}", fill.price), usd);
        } else if fill.price == price {
            // At the simulation's price and moment; a part of the order is said once, with what is missing.
        } else if same(fill.price, price) {
            self.differs(id, Cause::Rounding, text!("filled at {}, the simulation fills at {price}", fill.price), usd);
        } else {
            self.differs(id, Cause::FillModel, text!("{symbol} was filled at {}, the simulation fills at {price}", fill.price), usd);
        }
    }

    /// Prices at which an execution of the session can have been.
    fn possible(&self, symbol: &str, open: f64) -> (f64, f64) {
        match self.prices.range(symbol, self.set.trading_day) {
            Some((low, high)) => (low.min(open) * (1.0 - BEYOND_RANGE), high.max(open) * (1.0 + BEYOND_RANGE)),
            None => (open * (1.0 - BEYOND_OPEN), open * (1.0 + BEYOND_OPEN)),
        }
    }
}
