//! An order of a simulation: the desk's states and their total order, without text.

use crate::execution::order::Tif;
use crate::execution::state::{Source, class_and_rank, name};
use crate::types::Side;

/// A state of the order path. Its name, class and rank are those of [`crate::execution::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Planned,
    Intended,
    Accepted,
    PartiallyFilled,
    Filled,
    Canceled,
    Expired,
}

/// All of them.
#[cfg(test)]
pub(super) const ALL: [Status; 7] =
    [Status::Planned, Status::Intended, Status::Accepted, Status::PartiallyFilled, Status::Filled, Status::Canceled, Status::Expired];

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => name::PLANNED,
            Self::Intended => name::INTENDED,
            Self::Accepted => "accepted",
            Self::PartiallyFilled => "partially_filled",
            Self::Filled => name::FILLED,
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }
    fn source(self) -> Source {
        if self <= Self::Intended { Source::Manual } else { Source::Reconcile }
    }
}

/// What decides between two reports, compared from the left: class, stamp, rank, filled shares, source.
type Key = (u8, i64, u8, i64, Source);

/// The key of a report; the name breaks no tie that can arise here.
pub(super) fn key(status: Status, tif: Tif, bar: usize, filled_qty: f64) -> Key {
    let (class, rank) = class_and_rank(status.name(), tif).unwrap_or((0, 0));
    let stamp = if status.source() == Source::Manual { i64::MIN } else { bar as i64 };
    (class, stamp, rank, (filled_qty * 1e9).round() as i64, status.source())
}

/// One order with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    pub id: u32,
    pub symbol: u32,
    pub side: Side,
    pub qty: f64,
    pub limit: Option<f64>,
    pub tif: Tif,
    pub status: Status,
    /// The bar after which it was sent.
    pub sent: u32,
    /// The bar of its newest report.
    pub updated: u32,
    pub filled_qty: f64,
    /// Volume-weighted; 0 while nothing is filled.
    pub filled_price: f64,
    /// None until the first report: whatever it says, it moves the order.
    key: Option<Key>,
}

/// A change of an order's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub order: u32,
    pub bar: u32,
    pub status: Status,
}

impl Order {
    pub(super) fn planned(id: u32, symbol: usize, side: Side, qty: f64, limit: Option<f64>, tif: Tif, bar: usize) -> Self {
        let (symbol, bar32) = (symbol as u32, bar as u32);
        Self { id, symbol, side, qty, limit, tif, status: Status::Planned, sent: bar32, updated: bar32, filled_qty: 0.0, filled_price: 0.0, key: None }
    }

    /// Nothing more is expected to happen.
    pub fn is_closed(&self) -> bool {
        self.key.is_some_and(|k| k.0 > 0)
    }

    /// Apply a report: the state is the maximum of all reports, and shares that were filled stay filled. `price` is of the shares that
    /// this report adds. Returns whether the state changed.
    pub(super) fn apply(&mut self, status: Status, bar: usize, filled_qty: f64, price: Option<f64>) -> bool {
        if let Some(price) = price.filter(|_| filled_qty > self.filled_qty) {
            self.filled_price = (self.filled_price * self.filled_qty + price * (filled_qty - self.filled_qty)) / filled_qty;
        }
        self.filled_qty = self.filled_qty.max(filled_qty);
        let key = Some(key(status, self.tif, bar, filled_qty));
        if key <= self.key {
            return false;
        }
        (self.status, self.updated, self.key) = (status, bar as u32, key);
        true
    }
}
