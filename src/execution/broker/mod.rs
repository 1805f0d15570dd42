//! What every broker must be able to do, in the words of the order path.
//!
//! Calls are synchronous: network adapters bridge with [`Host::block_on`](data_layer::host::Host::block_on), so that the
//! order path reads from top to bottom and crashes at named points only.

use super::order::{Intent, OrderType, Tif};
use crate::types::Side;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::time::UtcTime;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub mod alpaca;
pub mod ctrader;
mod place;
pub mod shadow;
pub mod simulated;
#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod double;
#[cfg(test)]
pub(crate) mod fake;

/// Whose money it is and how much. Account currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerAccount {
    pub account: String,
    pub equity: f64,
    pub cash: f64,
    pub buying_power: f64,
    pub currency: String,
    pub status: String,
    /// The broker does not let this account trade.
    pub blocked: bool,
}

/// The broker's view of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerClock {
    pub now: UtcTime,
    pub is_open: bool,
    pub next_open: Option<UtcTime>,
    pub next_close: Option<UtcTime>,
}

/// An order as the broker tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerOrder {
    pub id: String,
    pub client_order_id: String,
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    pub order_type: OrderType,
    pub tif: Tif,
    pub limit_price: Option<f64>,
    pub stop_price: Option<f64>,
    pub status: String,
    pub filled_qty: f64,
    pub filled_avg_price: Option<f64>,
    pub submitted_at: Option<UtcTime>,
    pub updated_at: Option<UtcTime>,
}

impl BrokerOrder {
    /// The order that `intent` asks for, taken by a broker at `at` and not filled yet.
    pub fn accepted(intent: &Intent, id: String, at: Option<UtcTime>) -> Self {
        Self {
            id,
            client_order_id: intent.client_order_id.clone(),
            symbol: intent.symbol.clone(),
            side: intent.side,
            qty: intent.qty,
            order_type: intent.order_type,
            tif: intent.tif,
            limit_price: intent.limit_price,
            stop_price: intent.stop_price,
            status: "accepted".into(),
            filled_qty: 0.0,
            filled_avg_price: None,
            submitted_at: at,
            updated_at: at,
        }
    }

    /// Whether this is the order that `intent` describes.
    pub fn matches(&self, intent: &Intent) -> bool {
        use super::order::{close, same_price};
        self.client_order_id == intent.client_order_id
            && self.symbol == intent.symbol
            && self.side == intent.side
            && close(self.qty, intent.qty)
            && self.order_type == intent.order_type
            && self.tif == intent.tif
            && same_price(self.limit_price, intent.limit_price)
            && same_price(self.stop_price, intent.stop_price)
    }
    pub fn is_open(&self) -> bool {
        !super::state::is_closed(&self.status, self.tif)
    }
}

/// What kind of execution a fill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillKind {
    Fill,
    Bust,
    Correct,
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerFill {
    pub id: String,
    /// The broker's order id.
    pub order_id: String,
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    pub price: f64,
    pub fee: Option<f64>,
    pub at: UtcTime,
    pub kind: FillKind,
    /// The execution that a bust takes back or a correction stands in for, where the broker names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// What the broker booked without an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    Dividend,
    Interest,
    Fee,
    /// The lender's fee of a short, for a night.
    Borrow,
    /// All shares of a name left the account, for cash or for nothing.
    Removal,
    /// The owner's own money, in or out: nobody's gain or loss.
    Transfer,
}

impl ActivityKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dividend => "dividend",
            Self::Interest => "interest",
            Self::Fee => "fee",
            Self::Borrow => "borrow",
            Self::Removal => "removal",
            Self::Transfer => "transfer",
        }
    }
}

/// A booking without an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerActivity {
    pub id: String,
    pub kind: ActivityKind,
    pub symbol: Option<String>,
    /// Signed shares: those that a dividend was paid on, the change in a removal.
    pub qty: f64,
    /// Account currency, positive into the account.
    pub amount: f64,
    /// When it took effect: the beginning of its day.
    pub at: UtcTime,
}

/// Signed shares at an average price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerPosition {
    pub symbol: String,
    pub qty: f64,
    pub avg_price: f64,
    pub price: Option<f64>,
}

/// What came of sending an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    Accepted(BrokerOrder),
    /// A definitive no, with the broker's code and words.
    Refused {
        code: String,
        text: String,
    },
    /// The id is taken: fetch it and compare.
    Duplicate,
    /// Not sent; wait this long, look it up, then send again.
    RateLimited {
        retry_after_s: u64,
    },
    /// It certainly did not leave this machine, or the broker said that it did nothing with it: after this wait it may go, whether or not
    /// the broker would notice a second one.
    NotSent {
        why: String,
        retry_after_s: u64,
    },
    /// It may or may not have arrived: ask, never assume.
    Unknown(String),
}

/// What came of asking for an order by its client id.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    Found(BrokerOrder),
    NotFound,
    Unknown(String),
}

/// One message of the order stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TradeUpdate {
    /// `new`, `fill`, `partial_fill`, `canceled`, `trade_bust`, …
    pub event: String,
    pub execution_id: Option<String>,
    pub at: Option<UtcTime>,
    pub qty: Option<f64>,
    pub price: Option<f64>,
    pub order: BrokerOrder,
}

/// What the stream has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Update(Box<TradeUpdate>),
    /// Something may have been missed: reconcile. The text says why.
    Gap(String),
    /// Nothing within the time given.
    Silence,
}

/// Where order events come from.
pub trait Events {
    /// The next event, or silence after `patience` of real time.
    fn next(&mut self, patience: Duration) -> Result<Heard>;
    /// Whether events can be expected: without, the caller polls.
    fn is_connected(&self) -> bool;
}

/// For a broker without a stream: always silent, so that its caller polls.
pub struct NoStream {
    pub host: Host,
}

impl Events for NoStream {
    fn next(&mut self, patience: Duration) -> Result<Heard> {
        self.host.block_on(self.host.sleep(patience))?;
        Ok(Heard::Silence)
    }
    fn is_connected(&self) -> bool {
        false
    }
}

/// A broker, or something that stands in for one.
pub trait Broker {
    /// `alpaca`, `ctrader`, `simulated`, `shadow`.
    fn name(&self) -> &'static str;
    /// Whether the broker itself refuses a second order with the same client id; without that nothing is ever re-sent.
    fn refuses_duplicates(&self) -> bool;
    fn account(&self) -> Result<BrokerAccount>;
    fn clock(&self) -> Result<BrokerClock>;
    fn submit(&self, intent: &Intent) -> Submitted;
    fn find_by_client_id(&self, client_order_id: &str) -> Lookup;
    fn cancel(&self, broker_order_id: &str) -> Result<()>;
    /// Put `next` in the place of an open order. What the old one has filled stays; it may still fill until the broker says `replaced`.
    fn replace(&self, _broker_order_id: &str, _next: &Intent) -> Submitted {
        Submitted::Refused { code: "unsupported".into(), text: text!("{} does not replace orders; cancel and plan again", self.name()) }
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>>;
    /// All orders, in whatever state, submitted after `after`.
    fn orders_since(&self, after: UtcTime) -> Result<Vec<BrokerOrder>>;
    /// Executions at or after `after`, oldest first.
    fn fills_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerFill>>;
    fn positions(&self) -> Result<Vec<BrokerPosition>>;
    /// Dividends, interest, fees and names that ended, at or after `after`, oldest first.
    fn activities_since(&self, _after: Option<UtcTime>) -> Result<Vec<BrokerActivity>> {
        Ok(Vec::new())
    }
    /// The newest trade of a symbol and its moment, where the broker tells it.
    fn last_price(&self, _symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        Ok(None)
    }
    /// Whether an order that is sent during a session can fill in it.
    fn fills_within_session(&self) -> bool {
        true
    }
    /// Whether the account's cash moves by executions and activities alone, so that it can be compared with the journal's.
    fn tells_all_cash(&self) -> bool {
        true
    }
}
