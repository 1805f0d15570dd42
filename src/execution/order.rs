//! What an order is: identity, payload, the set of a rebalance.

use super::calibration::SideCost;
use super::cost::Liquidity;
use super::schedule::cut::Pinned;
use crate::portfolio::Ceiling;
use crate::types::Side;
use data_layer::error::{Error, Result, code};
use data_layer::store::{digest_of, sha256_hex};
use data_layer::time::{TradingDay, UtcTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Spelled as in the `orders` table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderType {
    #[serde(rename = "MKT")]
    Market,
    #[serde(rename = "LMT")]
    Limit,
    #[serde(rename = "STP")]
    Stop,
    #[serde(rename = "STP_LMT")]
    StopLimit,
}

/// How long an order lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Tif {
    Day,
    Ioc,
    Fok,
    Gtc,
    Opg,
}

/// Why an order exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Rebalance,
    Exit,
    RiskReduce,
    Flatten,
    Manual,
}

/// The text of a unit enum under serde, for a database column.
pub(crate) fn word<T: Serialize>(value: T) -> Result<String> {
    match serde_json::to_value(value)? {
        serde_json::Value::String(s) => Ok(s),
        _ => Err(Error::bug("an enum that is not a word was stored")),
    }
}

/// The reverse of [`word`].
pub(crate) fn unword<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    Ok(serde_json::from_value(serde_json::Value::String(text.to_string()))?)
}

/// `account|strategy|trading_day|rebalance_no`: names the set of a rebalance, on whatever machine it is computed.
pub fn run_key(account: &str, strategy: &str, trading_day: TradingDay, rebalance_no: u32) -> String {
    format!("{account}|{strategy}|{trading_day}|{rebalance_no}")
}

/// One order as it was decided. Quantities are whole shares, prices in account currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub client_order_id: String,
    pub run_key: String,
    pub account: String,
    pub strategy: String,
    /// The session in which the order may fill.
    pub trading_day: TradingDay,
    pub rebalance_no: u32,
    pub line: u32,
    pub symbol_id: String,
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    pub order_type: OrderType,
    pub limit_price: Option<f64>,
    pub stop_price: Option<f64>,
    pub tif: Tif,
    pub style: String,
    /// Planned as a reduction; the gates classify again against the broker's own position.
    pub reduce_only: bool,
    pub reason: Reason,
    pub parent: Option<String>,
    pub slice: u32,
    pub attempt: u32,
    pub reference_price: f64,
    pub created_at: UtcTime,
    /// Not sent by then: dropped, never sent the next day.
    pub expires_at: UtcTime,
}

impl Intent {
    /// `tm1-` and 24 hex digits of SHA-256 over what the order *is*: no clock, random number, price, quantity or host.
    pub fn mint_id(&self) -> String {
        let side = self.side.as_str();
        let text = format!(
            "v1|{}|{}|{}|{}|{}|{}|{side}|{}|{}",
            self.account, self.strategy, self.trading_day, self.rebalance_no, self.line, self.symbol_id, self.attempt, self.slice
        );
        format!("tm1-{}", &sha256_hex(text.as_bytes())[..24])
    }

    /// Signed quantity: positive buys.
    pub fn signed_qty(&self) -> f64 {
        self.side.sign() * self.qty
    }

    /// Dollars at the reference price.
    pub fn notional_usd(&self) -> f64 {
        self.qty * self.reference_price
    }

    /// Whether two orders would do the same: symbol, side, quantity, type, prices, time in force.
    pub fn same_payload(&self, other: &Self) -> bool {
        self.symbol == other.symbol
            && self.side == other.side
            && close(self.qty, other.qty)
            && self.order_type == other.order_type
            && same_price(self.limit_price, other.limit_price)
            && same_price(self.stop_price, other.stop_price)
            && self.tif == other.tif
    }

    /// Refuse quantities and prices that no broker could take.
    pub fn check(&self) -> Result<()> {
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let price_ok = |p: Option<f64>, needed: bool| if needed { p.is_some_and(positive) } else { p.is_none() };
        let limit = matches!(self.order_type, OrderType::Limit | OrderType::StopLimit);
        let stop = matches!(self.order_type, OrderType::Stop | OrderType::StopLimit);
        if positive(self.qty) && positive(self.reference_price) && price_ok(self.limit_price, limit) && price_ok(self.stop_price, stop) {
            return Ok(());
        }
        Err(Error::new(code::ORD_REFUSED, text!("the order for {} has no usable quantity or price", self.symbol)).found(text!(
            "qty {}, reference {}, limit {:?}, stop {:?}",
            self.qty,
            self.reference_price,
            self.limit_price,
            self.stop_price
        )))
    }
}

pub(crate) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9
}

pub(crate) fn same_price(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => close(a, b),
        _ => false,
    }
}

/// A price that sizes and checks an order, with the moment it was true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub price: f64,
    pub at: UtcTime,
    /// Average daily volume of the last 20 sessions, shares; `None` = not known (the order will be refused).
    pub adv_shares: Option<f64>,
    /// Standard deviation of the last 20 daily returns; what an order's size is expected to move the price by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma_daily: Option<f64>,
    pub tradable: bool,
}

impl Reference {
    /// Its market as impact is priced with; none where volume or volatility is not known.
    pub fn liquidity(&self) -> Option<Liquidity> {
        Some(Liquidity { sigma_daily: self.sigma_daily?, adv_shares: self.adv_shares? }).filter(Liquidity::is_known)
    }
}

/// A name that was wanted but got no order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    pub symbol: String,
    pub reason: String,
}

/// Everything that the lines were computed from; never recomputed on resume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
pub struct Pins {
    pub asof: Option<TradingDay>,
    pub champion: BTreeMap<String, String>,
    pub targets: BTreeMap<String, f64>,
    pub prices: BTreeMap<String, Reference>,
    /// The strategy's own position per symbol before the rebalance, signed shares.
    pub positions: BTreeMap<String, f64>,
    /// Signed remaining shares of the strategy's own open orders.
    #[serde(default)]
    pub open_remaining: BTreeMap<String, f64>,
    pub skipped: Vec<Skipped>,
    pub notes: Vec<String>,
    /// How orders are spread over the session; none = whole, for its open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Pinned>,
    /// What the account allowed of the targets; none in sets from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
    /// What one side was expected to cost when the orders were sized; none in sets from before there was such a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<SideCost>,
}

/// The orders of one rebalance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderSet {
    pub run_key: String,
    pub order_set_hash: String,
    pub account: String,
    pub strategy: String,
    pub trading_day: TradingDay,
    pub rebalance_no: u32,
    pub equity: f64,
    pub pinned_at: UtcTime,
    pub run_id: Option<String>,
    pub pins: Pins,
    /// Reductions first, then by symbol.
    pub lines: Vec<Intent>,
}

impl OrderSet {
    /// SHA-256 of the pinned inputs and the lines, without the moments at which they were written.
    pub fn compute_hash(&self) -> Result<String> {
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|l| (&l.client_order_id, &l.symbol, l.side, l.qty, l.order_type, l.limit_price, l.stop_price, l.tif, l.reason, l.reference_price))
            .collect();
        digest_of(&(&self.run_key, self.equity, &self.pins, lines))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn intent(symbol: &str, side: Side, qty: f64) -> Intent {
        let day: TradingDay = "2017-12-01".parse().unwrap();
        let mut i = Intent {
            client_order_id: String::new(),
            run_key: run_key("SIM1", "equities_xs", day, 0),
            account: "SIM1".into(),
            strategy: "equities_xs".into(),
            trading_day: day,
            rebalance_no: 0,
            line: 0,
            symbol_id: symbol.into(),
            symbol: symbol.into(),
            side,
            qty,
            order_type: OrderType::Market,
            limit_price: None,
            stop_price: None,
            tif: Tif::Day,
            style: "next_open".into(),
            reduce_only: false,
            reason: Reason::Rebalance,
            parent: None,
            slice: 0,
            attempt: 0,
            reference_price: 100.0,
            created_at: UtcTime::parse("2017-11-30T21:30:00Z").unwrap(),
            expires_at: UtcTime::parse("2017-12-01T21:00:00Z").unwrap(),
        };
        i.client_order_id = i.mint_id();
        i
    }

    #[test]
    fn an_id_is_28_characters_that_every_broker_takes_and_never_depends_on_the_clock() {
        let a = intent("AAPL", Side::Buy, 10.0);
        let mut b = a.clone();
        b.created_at = b.created_at.plus_seconds(99);
        b.qty = 11.0;
        assert_eq!(a.mint_id(), b.mint_id());
        assert_eq!(a.mint_id().len(), 28);
        assert!(a.mint_id().bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
    }

    proptest! {
        #[test]
        fn lesson_097_ids_differ_whenever_the_order_differs(l1 in 0u32..40, l2 in 0u32..40, n1 in 0u32..3, n2 in 0u32..3, a1 in 0u32..3, a2 in 0u32..3, buy in any::<bool>()) {
            let make = |line, rebalance_no, attempt, side| {
                let mut i = intent("AAPL", side, 1.0);
                (i.line, i.rebalance_no, i.attempt) = (line, rebalance_no, attempt);
                i.mint_id()
            };
            let side = if buy { Side::Buy } else { Side::Sell };
            prop_assert_eq!((l1, n1, a1) == (l2, n2, a2), make(l1, n1, a1, side) == make(l2, n2, a2, side));
            prop_assert_ne!(make(l1, n1, a1, Side::Buy), make(l1, n1, a1, Side::Sell));
        }
    }
}
