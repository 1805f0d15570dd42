//! Three books of one session side by side: the simulation computed again, the shadow book as it was recorded, the paper book as it was
//! filled. What differs gets a cause, and a cause accounts for the shares that it moved and for no other: the paper book must hold what its
//! own record makes of its targets, and what is then left between the books must follow from arithmetic.

use super::paper_book::{Followed, PaperBook};
use super::{Cause, Difference, same};
use crate::backtest::{self, Before};
use crate::pipelines::shadow_day::seen::{Data, Seen};
use crate::pipelines::shadow_day::{Book, ShadowRow, Shadowed};
use crate::portfolio::Ceiling;
use crate::types::{Matrix, Panel};
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Weights closer than this are the same.
const SAME_WEIGHT: f64 = 1e-9;

/// The books of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BooksReport {
    /// The model that the paper book followed at its last rebalance.
    pub version: String,
    /// The close that it decided on.
    pub decided_on: Option<TradingDay>,
    /// Whether the recorded shadow row equals the simulation to the last bit; none where no row was due.
    pub shadow_reproduced: Option<bool>,
    /// Names that the simulation or the paper book holds, and those with the same share of equity in both.
    pub names: usize,
    pub names_equal: usize,
    pub differences: Vec<Difference>,
}

/// What the comparison is made from.
pub struct BooksInput<'a> {
    pub panel: &'a Panel,
    pub session: TradingDay,
    pub shadowed: &'a Shadowed,
    pub simulated: &'a Book,
    /// The shadow book's row of the session, and what it saw where the row says so.
    pub recorded: Option<(ShadowRow, Option<Seen>)>,
    /// Whether such a row is due.
    pub row_is_due: bool,
    pub paper: PaperBook,
    /// What the account allowed at the paper book's last rebalance.
    pub ceiling: Ceiling,
}

struct Compare<'a> {
    i: &'a BooksInput<'a>,
    /// Days of the panel: the session, and the close that the simulation last decided on before it.
    at: usize,
    decided: usize,
    out: Vec<Difference>,
}

/// Compare the books of a session.
pub fn compare(input: &BooksInput<'_>) -> Result<BooksReport> {
    let missing = || Error::new(code::DATA_MISSING, text!("the panel does not reach {}", input.session)).fix("trademl node once");
    let at = input.panel.day_index(input.session).ok_or_else(missing)?;
    let every = input.shadowed.rule.rebalance_sessions.max(1);
    let first = input.simulated.first;
    let decided = if at > first { first + (at - 1 - first) / every * every } else { first };
    let mut c = Compare { i: input, at, decided, out: Vec::new() };
    let shadow_reproduced = c.shadow_row();
    let (mut names, mut names_equal) = (0, 0);
    if at > first {
        c.decision()?;
        (names, names_equal) = c.weights()?;
    }
    let set = &input.paper.rebalance;
    Ok(BooksReport {
        version: set.pins.champion.get("version").cloned().unwrap_or_default(),
        decided_on: set.pins.asof,
        shadow_reproduced,
        names,
        names_equal,
        differences: c.out,
    })
}

impl Compare<'_> {
    fn differs(&mut self, subject: &str, cause: Cause, detail: String, usd: f64) {
        self.out.push(Difference { subject: subject.into(), cause, detail, usd });
    }

    /// The recorded row of the shadow book against the simulation, to the last bit.
    fn shadow_row(&mut self) -> Option<bool> {
        let n = self.at.checked_sub(self.i.simulated.first + 1)?;
        let (row, inputs) = (self.i.simulated.rows.get(n)?, self.i.simulated.inputs.get(n)?);
        let Some((recorded, seen)) = &self.i.recorded else {
            if self.i.row_is_due {
                self.differs("shadow", Cause::Clock, "the shadow book was not brought up to this session".into(), 0.0);
            }
            return None;
        };
        if recorded == row {
            return Some(true);
        }
        let close = same(recorded.gross_return, row.gross_return) && same(recorded.net_return, row.net_return) && same(recorded.turnover, row.turnover);
        let same_weights = recorded.weights_sha256 == row.weights_sha256;
        let (cause, why) = match seen.as_ref().map(|then| (inputs.since(then), then)) {
            _ if close && same_weights => (Cause::Rounding, "the last bits"),
            None => (Cause::Unexplained, "the row does not say what it was computed from"),
            // With the same weights only what was held can have earned otherwise.
            Some((Data::Revised, then)) if same_weights && inputs.held_alike(then) => (Cause::Unexplained, "no price of what it held was revised"),
            Some((Data::Revised, _)) => (Cause::DataRevised, "prices were revised"),
            Some((Data::Restated, _)) if self.within_adjusted_shares(n, recorded, row) => {
                (Cause::Rounding, "whole shares of prices that an action adjusts since")
            }
            Some((_, then)) if !inputs.scored_alike(then) => (Cause::Unexplained, "the model scores the same prices otherwise"),
            Some(_) => (Cause::Unexplained, "the same prices and scores"),
        };
        let numbers = text!("net {} recorded, {} now; turnover {}, {}", recorded.net_return, row.net_return, recorded.turnover, row.turnover);
        self.differs("shadow", cause, format!("{numbers}: {why}"), 0.0);
        Some(false)
    }

    /// Whether two rows are no farther apart than books that were cut to whole shares of prices that are adjusted differently: a share on each
    /// side of every name, of the price as it traded or as it is adjusted now, and as much again for the sessions before.
    fn within_adjusted_shares(&self, n: usize, recorded: &ShadowRow, row: &ShadowRow) -> bool {
        let (panel, rule, book) = (self.i.panel, &self.i.shadowed.rule, self.i.simulated);
        if rule.fractional {
            return false;
        }
        let none = BTreeMap::new();
        let before = n.checked_sub(1).map_or(&none, |n| &book.weights[n]);
        let (mut traded, mut earned) = (0.0, 0.0);
        for s in before.keys().chain(book.weights[n].keys()).collect::<BTreeSet<_>>().into_iter().filter_map(|name| panel.symbol_index(name)) {
            let at = |m: &Matrix, t: usize| last(m, s, t).unwrap_or(0.0);
            let (close, open, previous) = (at(&panel.close, self.at), at(&panel.open, self.at), at(&panel.close, self.at - 1));
            let share = 4.0 * close.max(previous).max(at(&panel.close_raw, self.at)).max(at(&panel.close_raw, self.at - 1)) / book.equity[n];
            traded += share;
            earned += share * ((close / previous - 1.0).abs().max((close / open - 1.0).abs()) + rule.cost_bps_round_trip / 1e4);
        }
        (recorded.turnover - row.turnover).abs() <= traded && (recorded.net_return - row.net_return).abs() <= earned
    }

    /// The pinned targets of the paper book's last rebalance, decided again from what was pinned with them.
    fn decision(&mut self) -> Result<()> {
        let (set, panel) = (&self.i.paper.rebalance, self.i.panel);
        let Some(asof) = set.pins.asof else {
            self.differs("decision", Cause::Unexplained, "the set does not say which close it was decided on".into(), 0.0);
            return Ok(());
        };
        let Some(t) = panel.day_index(asof) else {
            self.differs("decision", Cause::LateBar, text!("the drive's prices do not hold {asof}, on which the set was decided"), 0.0);
            return Ok(());
        };
        let worth = |(s, q): (&String, &f64)| Some((panel.symbol_index(s)?, q * set.pins.prices.get(s)?.price / set.equity));
        let before = Before { held: set.pins.positions.iter().filter_map(worth).collect(), equity_usd: set.equity, ceiling: Some(self.i.ceiling) };
        let again = backtest::decide(panel, self.i.shadowed.signal.signal(), &self.i.shadowed.rule, t, &before)?.weights;
        let again: BTreeMap<String, f64> = again.into_iter().map(|(s, w)| (panel.symbols[s].clone(), w)).collect();
        let revised = |name: &String| {
            let pinned = set.pins.prices.get(name).map(|r| r.price);
            pinned.zip(panel.symbol_index(name).and_then(|row| last(&panel.close_raw, row, t))).is_some_and(|(then, now)| !same(now, then))
        };
        let names: BTreeSet<&String> = again.keys().chain(set.pins.targets.keys()).collect();
        let changed = |name: &String| (weight(&set.pins.targets, name) == 0.0) != (weight(&again, name) == 0.0);
        // A revised name that came or went takes a place from another, or gives it one.
        let places = names.iter().filter(|name| changed(name) && revised(name)).count();
        let mut taken = 0;
        for name in names {
            let (pinned, now) = (weight(&set.pins.targets, name), weight(&again, name));
            if pinned == now {
                continue;
            }
            let displaced = changed(name) && !revised(name) && taken < places;
            taken += usize::from(displaced);
            let cause = match (same(pinned, now), revised(name) || displaced) {
                (true, _) => Cause::Rounding,
                (false, true) => Cause::DataRevised,
                (false, false) => Cause::Unexplained,
            };
            self.differs(name, cause, text!("the pinned target is {pinned}, decided again it is {now}"), (pinned - now) * set.equity);
        }
        Ok(())
    }

    /// Shares of equity at the close, name by name; returns how many there are and how many are equal.
    fn weights(&mut self) -> Result<(usize, usize)> {
        let (panel, paper, book) = (self.i.panel, &self.i.paper, self.i.simulated);
        let (simulated, _) = book.at(&self.i.shadowed.rule, self.at);
        let wanted = book.wanted(self.i.shadowed, panel, self.decided)?;
        let together = paper.rebalance.pins.asof == panel.days.get(self.decided).copied();
        let names: BTreeSet<&String> = simulated.keys().chain(paper.shares.keys()).chain(paper.followed.keys()).collect();
        let (mut all, mut equal) = (0, 0);
        for name in names {
            let (held, theirs) = (weight(&paper.shares, name), weight(&simulated, name));
            let followed = paper.followed.get(name).cloned().unwrap_or_default();
            let price = panel.symbol_index(name).and_then(|s| last(&panel.close_raw, s, self.at)).unwrap_or(0.0);
            let ours = held * price / paper.equity;
            let (kept, same) = (followed.is_held(held), (ours - theirs).abs() <= SAME_WEIGHT);
            all += usize::from(held != 0.0 || theirs != 0.0 || !kept);
            equal += usize::from(same && kept && (held != 0.0 || theirs != 0.0));
            if same && kept {
                continue;
            }
            let (cause, why) = match (kept, self.simulation_follows(name, theirs, weight(&wanted, name))) {
                (false, _) => (Cause::Unexplained, text!("{held} shares are held, its target and orders make {:.2}", followed.target + followed.astray)),
                (true, Err(why)) => (Cause::Unexplained, why),
                (true, Ok(())) if !together && followed.is_clear() => (Cause::Clock, text!("the books rebalance on different sessions")),
                (true, Ok(())) => self.between(name, ours - theirs, weight(&wanted, name), &followed),
            };
            let detail = text!("{:.4} % of the paper book, {:.4} % of the simulated one", 100.0 * ours, 100.0 * theirs);
            self.differs(name, cause, format!("{detail}: {why}"), (ours - theirs) * paper.equity);
        }
        Ok((all, equal))
    }

    /// Whether the simulated book holds its own target of a name, to an adjusted share; or what it should be.
    fn simulation_follows(&self, name: &str, theirs: f64, wanted: f64) -> std::result::Result<(), String> {
        let (panel, book, rule) = (self.i.panel, self.i.simulated, &self.i.shadowed.rule);
        let ((_, then_usd), (_, now_usd)) = (book.at(rule, self.decided), book.at(rule, self.at));
        let close = |t: usize| panel.symbol_index(name).and_then(|s| last(&panel.close, s, t)).unwrap_or(0.0);
        let (then, now) = (close(self.decided), close(self.at));
        let due = if wanted == 0.0 { 0.0 } else { wanted * now / then * then_usd / now_usd };
        if (theirs - due).abs() <= now / now_usd + SAME_WEIGHT {
            return Ok(());
        }
        Err(text!("the simulation should hold {:.4} % by its own target", 100.0 * due))
    }

    /// Why two books weigh a name otherwise that both hold what their own records make.
    fn between(&self, name: &str, apart: f64, wanted: f64, followed: &Followed) -> (Cause, String) {
        let (panel, paper) = (self.i.panel, &self.i.paper);
        if let Some(why) = followed.why.clone().filter(|_| !followed.is_clear()) {
            return why;
        }
        let pinned = weight(&paper.rebalance.pins.targets, name);
        if (pinned - wanted).abs() > SAME_WEIGHT {
            return (Cause::Limits, text!("the account's limits and holdings made {:.4} % of the target's {:.4} %", 100.0 * pinned, 100.0 * wanted));
        }
        let (_, simulated_usd) = self.i.simulated.at(&self.i.shadowed.rule, self.at);
        let row = panel.symbol_index(name);
        let at = |m: &Matrix, t: usize| row.and_then(|s| last(m, s, t)).unwrap_or(f64::NAN);
        let price = at(&panel.close_raw, self.at);
        if apart.abs() <= followed.grain.max(1.0) * price / paper.equity + price / simulated_usd {
            return (Cause::Rounding, text!("whole shares"));
        }
        let sized_at = paper.rebalance.pins.prices.get(name).map(|r| r.price);
        if sized_at.is_some_and(|p| !same(p, at(&panel.close_raw, self.decided))) {
            return (Cause::DataRevised, text!("the close that sized it has another value now"));
        }
        let factor = |t: usize| at(&panel.close_raw, t) / at(&panel.close, t);
        if (factor(self.decided) / factor(self.at) / followed.ratio - 1.0).abs() > 1e-6 {
            return (Cause::FillModel, text!("the simulation holds adjusted shares through a dividend"));
        }
        // The same target of two equities weighs otherwise as far as these grew apart since, and no farther.
        let (held, then_usd) =
            (weight(&self.i.simulated.at(&self.i.shadowed.rule, self.at).0, name), self.i.simulated.at(&self.i.shadowed.rule, self.decided).1);
        let follows = held * (simulated_usd / then_usd) / (paper.equity / paper.rebalance.equity);
        let grains = 2.0 * (followed.grain.max(1.0) * price / paper.equity + price / simulated_usd);
        if (held + apart - follows).abs() > grains {
            return (Cause::Unexplained, text!("the two equities that grew apart make {:.4} % of it", 100.0 * follows));
        }
        (Cause::FillModel, text!("whole shares, and two equities that grew apart by what the other names and the costs made"))
    }
}

fn weight(weights: &BTreeMap<String, f64>, name: &str) -> f64 {
    weights.get(name).copied().unwrap_or(0.0)
}

/// The last number at or before a day.
fn last(m: &Matrix, row: usize, t: usize) -> Option<f64> {
    m.row(row)[..=t].iter().rev().copied().find(|p| p.is_finite())
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
