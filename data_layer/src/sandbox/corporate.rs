//! What happens to holdings without an order: splits, dividends, and the end of a name.
//!
//! A split multiplies shares when its ex-date begins. A dividend belongs to who holds when its ex-date begins, and is credited
//! (to a short: charged) when its pay date begins, as the vendor books it. A name that was bought for cash, declared worthless, or
//! merely stopped trading leaves the account at its terminal price: the cash of the event, nothing, or its last close.

use super::clock::midnight;
use super::world::{Action, World};
use crate::time::{TradingDay, UtcTime};
use std::collections::BTreeSet;

/// An event that explains the end of a listing stands at most this many days after its last bar.
const EXPLAINED_WITHIN_DAYS: i32 = 10;

/// What an event does to a holding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// New shares over old.
    Split(f64),
    /// Dollars a share, and the day on which they are paid.
    Dividend(f64, TradingDay),
    /// Dollars a share, for all shares.
    Removal(f64),
}

/// One event of one name, at the beginning of a day in New York.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub symbol: String,
    pub day: TradingDay,
    pub at: UtcTime,
    pub what: What,
}

/// What was booked to an account.
#[derive(Clone, Debug, PartialEq)]
pub struct Booked {
    /// `DIV`, `SPLIT`, `MA` or `REORG`.
    pub kind: &'static str,
    pub symbol: String,
    pub day: TradingDay,
    pub at: UtcTime,
    /// Shares that the event is about, signed; for a split and a removal: the change.
    pub qty: f64,
    pub per_share: f64,
    /// Dollars into the account.
    pub amount: f64,
}

/// The events of `symbols` in `(from, until]`, by time.
pub fn events(world: &World, symbols: &BTreeSet<&str>, from: UtcTime, until: UtcTime) -> Vec<Event> {
    // A world whose bars are split-adjusted has no splits in its prices, and so none in its share counts.
    let split = |a: &Action| a.ratio.filter(|r| *r > 0.0 && world.about.adjusted == "raw").map(What::Split);
    let mut out: Vec<Event> = Vec::new();
    let mut add = |symbol: &str, day: TradingDay, what: What| {
        let at = midnight(day);
        if at > from && at <= until {
            out.push(Event { symbol: symbol.to_string(), day, at, what });
        }
    };
    for a in world.actions.iter().filter(|a| a.happens() && symbols.contains(a.symbol.as_str())) {
        let what = match a.kind.as_str() {
            "split" => split(a),
            "dividend" => a.cash.map(|cash| What::Dividend(cash, a.process_date())),
            "cash_merger" => a.cash.map(What::Removal),
            "worthless_removal" => Some(What::Removal(0.0)),
            _ => None,
        };
        what.into_iter().for_each(|w| add(&a.symbol, a.ex_date, w));
    }
    for listing in world.listings.iter().filter(|l| symbols.contains(l.symbol.as_str())) {
        let Some(last) = listing.delisted else { continue };
        let near = last..last.plus_days(EXPLAINED_WITHIN_DAYS);
        let explains = |a: &Action| matches!(a.kind.as_str(), "cash_merger" | "worthless_removal" | "name_change");
        let explained = world.actions.iter().any(|a| a.symbol == listing.symbol && explains(a) && near.contains(&a.ex_date));
        let terminal = world.series(&listing.symbol).and_then(|s| s.close_at(last));
        if let Some(price) = terminal.filter(|_| !explained) {
            add(&listing.symbol, last.plus_days(1), What::Removal(price));
        }
    }
    out.sort_by(|a, b| (a.at, &a.symbol).cmp(&(b.at, &b.symbol)));
    out
}
