//! The paper book at a close, and what it should hold by its own record: the targets of its last rebalance carried through splits, changes
//! of ticker and delistings, and every share by which its orders did not do what the targets asked, with the cause of each.

use super::{Cause, sized_again, unfilled};
use crate::execution::broker::simulated::{PriceSource, What};
use crate::execution::log::{FillRow, OrderLog, OrderRow};
use crate::execution::order::OrderSet;
use crate::execution::positions::{self, cash_events};
use crate::pipelines::paper_day::due::{carried_out, sessions_between};
use crate::pipelines::paper_day::plan::reason_word;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result};
use data_layer::time::{TradingDay, UtcTime, new_york};
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};

/// Shares closer than this are the same number.
const DUST: f64 = 1e-6;

/// The paper book at a close.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperBook {
    pub rebalance: OrderSet,
    /// Signed shares of the strategy.
    pub shares: BTreeMap<String, f64>,
    /// What the rebalance and its orders make of each name.
    pub followed: BTreeMap<String, Followed>,
    /// The account's, as it was snapshot at the close.
    pub equity: f64,
}

/// A name as its record has it, in signed shares of the session.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Followed {
    /// What the pinned weight asks for, not cut to whole shares.
    pub target: f64,
    /// Shares for one of the day on which the target was sized.
    pub ratio: f64,
    /// The most that whole shares leave: one of that day.
    pub grain: f64,
    /// What orders did besides the target, or did not do of it.
    pub astray: f64,
    /// Why, by the largest part of it; a part without a cause comes before all others.
    pub why: Option<(Cause, String)>,
}

impl Followed {
    /// Whether so many shares are what the record makes.
    pub fn is_held(&self, shares: f64) -> bool {
        (shares - self.target - self.astray).abs() <= self.grain + DUST
    }
    /// Whether its orders did what the target asked.
    pub fn is_clear(&self) -> bool {
        self.astray.abs() <= DUST && self.why.as_ref().is_none_or(|(cause, _)| *cause != Cause::Unexplained)
    }
}

impl PaperBook {
    /// The strategy's book at the close of `session`; none before its first set, or where the account was not settled that evening.
    pub fn at(log: &OrderLog<'_>, account: &str, strategy: &str, session: TradingDay, every: usize, prices: &dyn PriceSource) -> Result<Option<Self>> {
        let Some(rebalance) = last_rebalance(log, account, strategy, session, every)? else { return Ok(None) };
        let close = Calendar::xnys().close(session).to_string();
        let snapshot = "SELECT equity FROM snapshots WHERE account = ?1 AND ts = ?2";
        let equity: Option<f64> = log.db().lock()?.query_row(snapshot, params![account, close], |r| r.get(0)).optional()?;
        let Some(equity) = equity else { return Ok(None) };
        let end = end_of(session);
        let fills: Vec<_> = log.fills(account)?.into_iter().filter(|f| f.ts < end).collect();
        let cash: Vec<_> = cash_events(log, account)?.into_iter().filter(|c| c.ts < end).collect();
        let shares = positions::fold(&fills, &cash, &filled(log, &fills)?)?.of_strategy(strategy);
        let followed = followed(log, &rebalance, session, prices)?;
        Ok(Some(Self { rebalance, shares, followed, equity }))
    }
}

/// What was only learnt in the evening still belongs to the day.
fn end_of(session: TradingDay) -> UtcTime {
    UtcTime::midnight_in(&new_york(), session.plus_days(1))
}

/// Shares that the broker says were filled, by order.
fn filled(log: &OrderLog<'_>, fills: &[FillRow]) -> Result<BTreeMap<String, f64>> {
    let ids: BTreeSet<&String> = fills.iter().map(|f| &f.order_id).collect();
    ids.into_iter().filter_map(|id| log.order(id).transpose()).map(|row| row.map(|r| (r.id().to_string(), r.filled_qty))).collect()
}

/// The newest set up to `session` that was decided by the rule and carried out. Sets of older programs do not say whether they were decided:
/// of those it is one of a day on which the rule rebalances, counted from the account's first.
fn last_rebalance(log: &OrderLog<'_>, account: &str, strategy: &str, session: TradingDay, every: usize) -> Result<Option<OrderSet>> {
    let sets = carried_out(log, account, strategy, session)?;
    let Some((first, _)) = sets.first().cloned() else { return Ok(None) };
    for (day, key) in sets.iter().rev() {
        let due = sessions_between(first, *day).is_multiple_of(every.max(1));
        if let Some(set) = log.set(key)?.filter(|set| set.pins.ceiling.is_some() || due) {
            return Ok(Some(set));
        }
    }
    Ok(None)
}

/// Days and keys of the scheduled sets up to `session`, oldest first.
pub fn sets(log: &OrderLog<'_>, account: &str, strategy: &str, session: TradingDay) -> Result<Vec<(TradingDay, String)>> {
    let sql =
        "SELECT trading_day, run_key FROM order_sets WHERE account = ?1 AND strategy = ?2 AND trading_day <= ?3 AND rebalance_no = 0 ORDER BY trading_day";
    let conn = log.db().lock()?;
    let mut q = conn.prepare(sql)?;
    let rows = q.query_map(params![account, strategy, session.to_string()], |r| Ok((r.get::<_, String>(0)?, r.get(1)?)))?;
    rows.map(|row| row.map_err(Error::from).and_then(|(day, key)| Ok((day.parse()?, key)))).collect()
}

/// What became of a share of a name after one day and up to another: the name that it has now, and how many there are of it.
fn carried(prices: &dyn PriceSource, symbol: &str, after: TradingDay, until: TradingDay) -> (String, f64) {
    // What traded on the day of a change under the old ticker goes on under the new one.
    let (mut name, mut ratio, mut from, mut seen) = (symbol.to_string(), 1.0, after, after.plus_days(-1));
    loop {
        let moved = prices.renamed(&name).into_iter().filter(|(day, _)| *day > seen && *day <= until).min();
        // Events of the day of a change are about the new name.
        let last = moved.as_ref().map_or(until, |(day, _)| day.plus_days(-1));
        for event in prices.corporate(&name).iter().filter(|c| c.ex_date > from && c.ex_date <= last) {
            match event.what {
                What::Split(by) => ratio *= by,
                What::Removal(_) => ratio = 0.0,
                What::Dividend(_) => {}
            }
        }
        let Some((day, to)) = moved else { return (name, ratio) };
        (name, from, seen) = (to, from.max(day.plus_days(-1)), day);
    }
}

/// The close that a set decided on.
fn asof(set: &OrderSet) -> TradingDay {
    set.pins.asof.unwrap_or_else(|| set.trading_day.plus_days(-1))
}

/// What the pinned targets alone make of each name at the close of `session`.
pub(crate) fn targets(set: &OrderSet, session: TradingDay, prices: &dyn PriceSource) -> BTreeMap<String, Followed> {
    let (pins, asof) = (&set.pins, asof(set));
    let mut out: BTreeMap<String, Followed> = BTreeMap::new();
    for symbol in pins.targets.keys().chain(pins.positions.keys()).chain(pins.open_remaining.keys()).collect::<BTreeSet<_>>() {
        let of = |map: &BTreeMap<String, f64>| map.get(symbol).copied().unwrap_or(0.0);
        let weight = of(&pins.targets);
        let price = pins.prices.get(symbol).map(|r| r.price).filter(|p| *p > 0.0);
        let (name, ratio) = carried(prices, symbol, asof, session);
        let entry = out.entry(name).or_default();
        entry.ratio = ratio;
        entry.target += price.map_or(0.0, |p| weight * set.equity / p) * ratio;
        // An exit leaves nothing but a fraction that was there.
        let grain = if weight == 0.0 { (of(&pins.positions) + of(&pins.open_remaining)).fract().abs() } else { 1.0 };
        entry.grain = entry.grain.max(if ratio > 0.0 { grain * ratio.max(1.0) } else { 0.0 });
    }
    out
}

/// What the rebalance and everything that its strategy filled since make of each name at the close of `session`.
pub fn followed(log: &OrderLog<'_>, set: &OrderSet, session: TradingDay, prices: &dyn PriceSource) -> Result<BTreeMap<String, Followed>> {
    let fills = log.fills(&set.account)?;
    let filled = filled(log, &fills)?;
    let standing = positions::standing(&fills, &filled);
    let standing = standing.into_iter().filter(|(f, _)| f.strategy == set.strategy).collect();
    let mut course = Course { log, set, session, prices, standing, parts: BTreeMap::new() };
    course.kept_back();
    let known = course.scheduled()?;
    course.others(&known)?;
    let mut out = targets(set, session, prices);
    for (name, parts) in course.parts {
        let entry = out.entry(name).or_default();
        entry.astray = parts.iter().map(|p| p.shares).sum();
        let worst = |a: &&Part, b: &&Part| (a.cause == Cause::Unexplained, a.shares.abs()).partial_cmp(&(b.cause == Cause::Unexplained, b.shares.abs()));
        entry.why = parts.iter().max_by(|a, b| worst(a, b).unwrap_or(std::cmp::Ordering::Equal)).map(|p| (p.cause, p.why.clone()));
    }
    Ok(out)
}

/// Signed shares of the session by which the book left its target.
struct Part {
    shares: f64,
    cause: Cause,
    why: String,
}

/// A symbol, the day after which it moved, and signed shares.
type Move = (String, TradingDay, f64);

struct Course<'a> {
    log: &'a OrderLog<'a>,
    set: &'a OrderSet,
    session: TradingDay,
    prices: &'a dyn PriceSource,
    /// The strategy's fills, each with the shares that stand of it.
    standing: Vec<(&'a FillRow, f64)>,
    parts: BTreeMap<String, Vec<Part>>,
}

impl Course<'_> {
    /// One circumstance moved shares, or kept them from moving: each of a symbol and after a day. What cancels out is none.
    fn moved(&mut self, shares: Vec<Move>, cause: Cause, why: &str) {
        let mut net: BTreeMap<String, f64> = BTreeMap::new();
        for (symbol, after, shares) in shares {
            let (name, ratio) = carried(self.prices, &symbol, after, self.session);
            *net.entry(name).or_insert(0.0) += shares * ratio;
        }
        for (name, shares) in net.into_iter().filter(|(_, shares)| shares.abs() > DUST) {
            self.parts.entry(name).or_default().push(Part { shares, cause, why: why.into() });
        }
    }

    /// Fills up to the evening of the session that `of` says yes to.
    fn done(&self, of: impl Fn(&FillRow) -> bool) -> Vec<Move> {
        let end = end_of(self.session);
        let ours = self.standing.iter().filter(|(f, _)| f.ts < end && of(f));
        ours.map(|(f, qty)| (f.symbol.clone(), f.ts.day_in(&new_york()), f.side.sign() * qty)).collect()
    }

    /// Lines of the rebalance that were never ordered, what a schedule left of the others, and exits that had no price.
    fn kept_back(&mut self) {
        let (set, asof) = (self.set, asof(self.set));
        let (kept, lost) = sized_again(set);
        for (line, why) in lost {
            self.moved(vec![(line.symbol.clone(), asof, -line.side.sign() * line.qty)], Cause::Rejection, &why);
        }
        let mut left: BTreeMap<&str, f64> = BTreeMap::new();
        kept.iter().for_each(|l| *left.entry(&l.symbol).or_insert(0.0) -= l.side.sign() * l.qty);
        set.lines.iter().for_each(|l| *left.entry(&l.symbol).or_insert(0.0) += l.signed_qty());
        for (symbol, shares) in left {
            let (cause, why) = match set.pins.schedule {
                Some(_) => (Cause::Rejection, "the schedule left them for another day"),
                None => (Cause::Unexplained, "its order does not follow from its target"),
            };
            self.moved(vec![(symbol.to_string(), asof, shares)], cause, why);
        }
        for (symbol, held) in set.pins.positions.iter().filter(|(s, _)| !set.pins.prices.contains_key(*s)) {
            if let Some(skipped) = set.pins.skipped.iter().find(|s| s.symbol == *symbol) {
                self.moved(vec![(symbol.clone(), asof, *held)], Cause::Rejection, &skipped.reason);
            }
        }
    }

    /// The orders of the rebalance against what was filled of them, and orders of the sets since, which should have none; returns the ids.
    fn scheduled(&mut self) -> Result<BTreeSet<String>> {
        let mut known = BTreeSet::new();
        for (day, key) in sets(self.log, &self.set.account, &self.set.strategy, self.session)? {
            if day < self.set.trading_day {
                continue;
            }
            for row in self.log.orders_of(&key)? {
                known.insert(row.id().to_string());
                self.order(&row, key == self.set.run_key);
            }
        }
        Ok(known)
    }

    fn order(&mut self, row: &OrderRow, asked: bool) {
        let mut moves = self.done(|f| f.order_id == row.id());
        let by_then = row.intent.side.sign() * moves.iter().map(|m| m.2).sum::<f64>();
        let in_all: f64 = self.standing.iter().filter(|(f, _)| f.order_id == row.id()).map(|(_, qty)| qty).sum();
        let (qty, missing) = (row.intent.qty, row.intent.qty - by_then);
        let (cause, why) = if !asked {
            (Cause::Unexplained, text!("an order between two rebalances: {} {}", row.intent.side.as_str(), qty))
        } else if missing < -DUST {
            (Cause::Unexplained, text!("{by_then} of {qty} shares were filled"))
        } else if missing <= DUST {
            // What is left of it is of another share than it was sized for.
            (Cause::DataRevised, text!("an action of its day was not known when it was sized"))
        } else if in_all > by_then + DUST {
            (Cause::Clock, text!("{missing} of {qty} shares were filled after the session"))
        } else {
            unfilled(row, by_then)
        };
        if asked {
            moves.push((row.intent.symbol.clone(), asof(self.set), -row.intent.signed_qty()));
        }
        self.moved(moves, cause, &why);
    }

    /// What was filled since the rebalance by orders that are not of a scheduled set, and by older ones that were still open.
    fn others(&mut self, known: &BTreeSet<String>) -> Result<()> {
        let pinned_at = self.set.pinned_at;
        let ids: BTreeSet<&String> = self.standing.iter().filter(|(f, _)| f.ts > pinned_at && !known.contains(&f.order_id)).map(|(f, _)| &f.order_id).collect();
        let mut older: Vec<Move> = self.set.pins.open_remaining.iter().map(|(s, open)| (s.clone(), asof(self.set), -open)).collect();
        for id in ids {
            let moves = self.done(|f| f.order_id == *id && f.ts > pinned_at);
            match self.log.order(id)? {
                Some(row) if row.intent.rebalance_no > 0 => {
                    let reason = reason_word(row.intent.reason);
                    self.moved(moves, Cause::Rejection, &text!("an order outside the rebalance: {reason}"));
                }
                Some(_) => older.extend(moves),
                None => self.moved(moves, Cause::Unexplained, &text!("an execution without an order of ours")),
            }
        }
        self.moved(older, Cause::Clock, "an order of an earlier session was open at the rebalance");
        Ok(())
    }
}

#[cfg(test)]
#[path = "paper_book_tests.rs"]
mod tests;
