//! A limit order at the session's open that waits in its queue until the close, through a book of price and then time.
//!
//! It joins behind what a typical book shows at the touch. A minute that only touches its price sends the part of its volume that traded
//! there; one that trades through it has taken the queue before it, and fills as much of it as the share of volume lets. What it does not
//! get by the close is left: that is the price of waiting, and no cost in basis points shows it. What would have cancelled before us, and
//! the moment within a minute, are not in minute bars.

use super::{Grid, Piece, Whole};
use crate::execution::lob::matching::OrderBook;
use crate::execution::lob::walk::Profile;
use crate::execution::tick::{Assigned, increment_usd, on_step};
use crate::types::Side;
use data_layer::time::TradingDay;

/// Its name among the styles.
pub(super) const STYLE: &str = "limit_at_open";

/// What an order got, minute by minute. Shares in whole numbers: a remainder below one is left.
pub(super) fn play(whole: &Whole<'_>, symbol: usize, grid: &Grid, day: TradingDay, max_volume_share: f64) -> Vec<Piece> {
    let (side, open) = (whole.order.side, grid.open(symbol));
    let limit = on_step(side, open, day, Assigned::Nothing);
    let step = increment_usd(day, limit, Assigned::Nothing);
    let tick = (limit / step).round() as i64;
    let mut book = OrderBook::default();
    book.limit(side, tick, whole_shares(Profile::UsEquity.touch_shares(limit)));
    let own = book.limit(side, tick, whole_shares(whole.qty)).id;
    let other = if side == Side::Buy { Side::Sell } else { Side::Buy };
    let [_, high, low, _, volume] = &grid.values;
    let mut out = Vec::new();
    for bar in 1..grid.days.len() {
        let (high, low, volume) = (high.at(symbol, bar), low.at(symbol, bar), volume.at(symbol, bar));
        let left = book.left(own);
        if left == 0 || !(high.is_finite() && low.is_finite() && volume > 0.0) {
            continue;
        }
        // How far the minute traded on our side of the limit, and how wide it was; both in dollars.
        let (beyond, range) = (if side == Side::Buy { limit - low } else { high - limit }, high - low);
        if beyond < -0.5 * step {
            continue;
        }
        let (ahead, ours) = (book.ahead(own).unwrap_or(0), left.min(whole_shares(max_volume_share * volume)));
        let there = ((beyond.max(0.0) + step) / (range + step)).min(1.0);
        let arriving = if beyond >= 0.5 * step { ahead + ours } else { whole_shares(there * volume).min(ahead + ours) };
        let got: u64 = book.market(other, arriving).matches.iter().filter(|m| m.maker == own).map(|m| m.shares).sum();
        if got > 0 {
            out.push(Piece { bar, qty: got as f64, price: limit });
        }
    }
    out
}

fn whole_shares(shares: f64) -> u64 {
    shares.max(0.0).floor() as u64
}
