//! A limit order book that matches by price and then by time.
//!
//! Prices are whole ticks and quantities whole shares, so that nothing is ever rounded. An order that crosses takes from the best
//! price first and there from the oldest order; the rest of a limit order joins the end of its queue. Every order knows how many
//! shares stand before it. A book is a function of the orders it was given: the same sequence makes the same trades.

use crate::types::Side;
use std::collections::{BTreeMap, VecDeque};

/// An order's name in its book, in the order of arrival.
pub type Id = u64;

/// One match; the price is that of the order that was there first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub maker: Id,
    pub taker: Id,
    pub tick: i64,
    pub shares: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resting {
    id: Id,
    left: u64,
}

/// What became of an order when it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub id: Id,
    pub matches: Vec<Match>,
    /// Shares that now rest in the book; of a market order, those that found nobody and are gone.
    pub left: u64,
}

/// Both sides of one market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderBook {
    bids: BTreeMap<i64, VecDeque<Resting>>,
    asks: BTreeMap<i64, VecDeque<Resting>>,
    /// Where each resting order stands.
    place: BTreeMap<Id, (Side, i64)>,
    next: Id,
}

impl OrderBook {
    /// Best bid and best ask, in ticks.
    pub fn best(&self) -> (Option<i64>, Option<i64>) {
        (self.bids.keys().next_back().copied(), self.asks.keys().next().copied())
    }

    /// Shares at a price on one side.
    pub fn depth(&self, side: Side, tick: i64) -> u64 {
        self.side(side).get(&tick).map_or(0, |q| q.iter().map(|r| r.left).sum())
    }

    /// Shares that trade before this order does; none for an order that is not in the book.
    pub fn ahead(&self, id: Id) -> Option<u64> {
        let (side, tick) = self.place.get(&id)?;
        let queue = self.side(*side).get(tick)?;
        Some(queue.iter().take_while(|r| r.id != id).map(|r| r.left).sum())
    }

    /// Shares of an order that still rest.
    pub fn left(&self, id: Id) -> u64 {
        let queue = self.place.get(&id).and_then(|(side, tick)| self.side(*side).get(tick));
        queue.and_then(|q| q.iter().find(|r| r.id == id)).map_or(0, |r| r.left)
    }

    /// A limit order: takes what is as good as its price, and rests with what is left.
    pub fn limit(&mut self, side: Side, tick: i64, shares: u64) -> Placed {
        let (id, matches, left) = self.take(side, Some(tick), shares);
        if left > 0 {
            self.place.insert(id, (side, tick));
            self.side_mut(side).entry(tick).or_default().push_back(Resting { id, left });
        }
        Placed { id, matches, left }
    }

    /// A market order: takes what is there.
    pub fn market(&mut self, side: Side, shares: u64) -> Placed {
        let (id, matches, left) = self.take(side, None, shares);
        Placed { id, matches, left }
    }

    /// Take an order out of its queue; those behind it move up. Returns the shares that were left.
    pub fn cancel(&mut self, id: Id) -> Option<u64> {
        self.reduce(id, 0)
    }

    /// Make a resting order smaller; it keeps its place. Larger is a new order. Returns the shares taken away.
    pub fn reduce(&mut self, id: Id, to: u64) -> Option<u64> {
        let (side, tick) = *self.place.get(&id)?;
        let queue = self.side_mut(side).get_mut(&tick)?;
        let at = queue.iter().position(|r| r.id == id)?;
        let gone = queue.get(at)?.left.checked_sub(to)?;
        if to == 0 {
            queue.remove(at);
            if queue.is_empty() {
                self.side_mut(side).remove(&tick);
            }
            self.place.remove(&id);
        } else if let Some(resting) = queue.get_mut(at) {
            resting.left = to;
        }
        Some(gone)
    }

    fn take(&mut self, side: Side, limit: Option<i64>, shares: u64) -> (Id, Vec<Match>, u64) {
        let id = self.next;
        self.next += 1;
        let (mut left, mut matches) = (shares, Vec::new());
        let other = if side == Side::Buy { Side::Sell } else { Side::Buy };
        while left > 0 {
            let best = if side == Side::Buy { self.best().1 } else { self.best().0 };
            let Some(tick) = best.filter(|t| limit.is_none_or(|l| if side == Side::Buy { *t <= l } else { *t >= l })) else { break };
            let book = if other == Side::Buy { &mut self.bids } else { &mut self.asks };
            let Some(queue) = book.get_mut(&tick) else { break };
            while left > 0
                && let Some(maker) = queue.front_mut()
            {
                let traded = maker.left.min(left);
                matches.push(Match { maker: maker.id, taker: id, tick, shares: traded });
                (maker.left, left) = (maker.left - traded, left - traded);
                if maker.left == 0 {
                    self.place.remove(&maker.id);
                    queue.pop_front();
                }
            }
            if queue.is_empty() {
                book.remove(&tick);
            }
        }
        (id, matches, left)
    }

    fn side(&self, side: Side) -> &BTreeMap<i64, VecDeque<Resting>> {
        if side == Side::Buy { &self.bids } else { &self.asks }
    }
    fn side_mut(&mut self, side: Side) -> &mut BTreeMap<i64, VecDeque<Resting>> {
        if side == Side::Buy { &mut self.bids } else { &mut self.asks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_better_price_goes_first_and_at_one_price_the_older_order() {
        let mut b = OrderBook::default();
        let (first, second) = (b.limit(Side::Sell, 101, 50).id, b.limit(Side::Sell, 101, 30).id);
        let better = b.limit(Side::Sell, 100, 20).id;
        assert_eq!((b.ahead(first), b.ahead(second), b.best()), (Some(0), Some(50), (None, Some(100))));
        let taken = b.limit(Side::Buy, 101, 80);
        assert_eq!(taken.matches.iter().map(|m| (m.maker, m.tick, m.shares)).collect::<Vec<_>>(), [(better, 100, 20), (first, 101, 50), (second, 101, 10)]);
        assert_eq!((b.left(second), b.ahead(second), taken.left), (20, Some(0), 0));
        assert_eq!(b.market(Side::Buy, 100).left, 80, "what finds nobody is gone");
        assert_eq!(b, OrderBook { next: b.next, ..OrderBook::default() });
    }

    #[test]
    fn those_behind_move_up_and_a_smaller_order_keeps_its_place() {
        let mut b = OrderBook::default();
        let ids: Vec<Id> = [10, 20, 30].into_iter().map(|n| b.limit(Side::Buy, 99, n).id).collect();
        assert_eq!(b.ahead(ids[2]), Some(30));
        assert_eq!((b.reduce(ids[0], 4), b.ahead(ids[2])), (Some(6), Some(24)));
        assert_eq!((b.cancel(ids[1]), b.ahead(ids[2]), b.cancel(ids[1])), (Some(20), Some(4), None));
        assert_eq!(b.reduce(ids[2], 31), None, "larger is a new order");
        assert_eq!(b.depth(Side::Buy, 99), 34);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Limit(bool, i64, u64),
        Market(bool, u64),
        Cancel(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (any::<bool>(), 95i64..106, 1u64..50).prop_map(|(b, t, n)| Step::Limit(b, t, n)),
            (any::<bool>(), 1u64..80).prop_map(|(b, n)| Step::Market(b, n)),
            (0u64..60).prop_map(Step::Cancel),
        ]
    }

    /// Shares in, matched, resting, taken out.
    fn play(steps: &[Step]) -> (OrderBook, Vec<Match>, [u64; 4]) {
        let (mut book, mut matches, mut sums) = (OrderBook::default(), Vec::new(), [0u64; 4]);
        for s in steps {
            let side = |buy: bool| if buy { Side::Buy } else { Side::Sell };
            let placed = match s {
                Step::Limit(b, tick, n) => Some((book.limit(side(*b), *tick, *n), *n, true)),
                Step::Market(b, n) => Some((book.market(side(*b), *n), *n, false)),
                Step::Cancel(id) => {
                    sums[3] += book.cancel(*id).unwrap_or(0);
                    None
                }
            };
            if let Some((p, n, rests)) = placed {
                sums[0] += n;
                sums[1] += 2 * p.matches.iter().map(|m| m.shares).sum::<u64>();
                sums[3] += if rests { 0 } else { p.left };
                matches.extend(p.matches);
            }
        }
        sums[2] = [Side::Buy, Side::Sell].iter().map(|s| (90..111).map(|t| book.depth(*s, t)).sum::<u64>()).sum();
        (book, matches, sums)
    }

    proptest! {
        #[test]
        fn shares_are_conserved_the_book_never_crosses_and_the_same_orders_make_the_same_trades(steps in prop::collection::vec(step(), 1..80)) {
            let (book, matches, [came, matched, resting, gone]) = play(&steps);
            prop_assert_eq!(came, matched + resting + gone);
            let (bid, ask) = book.best();
            prop_assert!(bid.zip(ask).is_none_or(|(b, a)| b < a), "{:?} {:?}", bid, ask);
            prop_assert_eq!(play(&steps).1, matches.clone());
            // At one price, makers are served in the order in which they came.
            for pair in matches.windows(2).filter(|p| p[0].taker == p[1].taker && p[0].tick == p[1].tick) {
                prop_assert!(pair[0].maker < pair[1].maker);
            }
        }
    }
}
