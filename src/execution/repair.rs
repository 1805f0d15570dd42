//! A person's repair of the journal: a compensating row with a name and a reason, never an edit.

use super::broker::Broker;
use super::log::{FillRow, OrderLog};
use super::positions::{self, EXTERNAL, Holding};
use super::reconcile::TOLERANCE_SHARES;
use crate::types::Side;
use data_layer::error::{Error, Result, code};
use data_layer::time::UtcTime;

/// What is repaired, by whom and why.
#[derive(Clone, Copy, Debug)]
pub struct Repair<'a> {
    pub account: &'a str,
    /// Whose book, where it ever traded the symbol; anything else belongs to nobody's strategy.
    pub strategy: &'a str,
    pub symbol: &'a str,
    /// Signed shares to add to the journal's.
    pub qty: f64,
    pub reason: &'a str,
    pub operator: &'a str,
}

impl Repair<'_> {
    /// What has to be typed.
    pub fn token(&self) -> String {
        format!("REPAIR {} {:+} {}", self.symbol, self.qty, self.account)
    }

    /// Book the difference. The shares come (or go) in kind at their average price, so that neither cash nor gains move. Refused unless the
    /// journal holds afterwards exactly what the broker holds: a repair explains a difference and makes none.
    pub fn book(&self, log: &OrderLog<'_>, broker: &dyn Broker, typed: &str, now: UtcTime) -> Result<()> {
        if !(self.qty.is_finite() && self.qty != 0.0) || self.reason.trim().is_empty() || self.operator.is_empty() {
            return Err(
                Error::new(code::USE_ARGUMENT, "a repair needs shares, an operator and a reason").fix("trademl paper repair SYMBOL --qty N --reason TEXT")
            );
        }
        let ledger = positions::ledger(log, self.account)?;
        let theirs = broker.positions()?.into_iter().find(|p| p.symbol == self.symbol);
        let (mine, broker) = (ledger.per_symbol().get(self.symbol).copied().unwrap_or(0.0), theirs.as_ref().map_or(0.0, |p| p.qty));
        if (mine + self.qty - broker).abs() > TOLERANCE_SHARES {
            return Err(Error::new(code::GATE_REFUSED, text!("{:+} shares of {} would not make the journal what the broker holds", self.qty, self.symbol))
                .found(text!("the journal has {mine}, the broker {broker}"))
                .fix(text!("trademl paper repair {} --qty {} --reason TEXT", self.symbol, broker - mine)));
        }
        if typed != self.token() {
            return Err(Error::new(code::GATE_REFUSED, "nothing was repaired: the confirmation was not given").fix(text!("type exactly: {}", self.token())));
        }
        let ours = log.fills(self.account)?.iter().any(|f| f.symbol == self.symbol && f.strategy == self.strategy);
        let strategy = if ours { self.strategy } else { EXTERNAL };
        let average = ledger.positions().get(&Holding::new(strategy, self.symbol)).map(|p| p.average_price);
        let price = average.or(theirs.map(|p| p.avg_price)).filter(|p| p.is_finite() && *p > 0.0);
        let price = price.ok_or_else(|| Error::new(code::DATA_MISSING, text!("neither the journal nor the broker has a price for {}", self.symbol)))?;
        log.insert_fill(&FillRow {
            fill_id: format!("repair|{}|{}|{now}", self.account, self.symbol),
            order_id: String::new(),
            ts: now,
            symbol: self.symbol.to_string(),
            side: if self.qty > 0.0 { Side::Buy } else { Side::Sell },
            qty: self.qty.abs(),
            price,
            fee: None,
            kind: "repair".into(),
            replaces: None,
            source: format!("{}: {}", self.operator, self.reason),
            account: self.account.to_string(),
            strategy: strategy.to_string(),
        })?;
        Ok(())
    }
}
