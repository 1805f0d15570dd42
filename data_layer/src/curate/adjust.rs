//! Backward adjustment: what each action does to all earlier days of its symbol.

use super::price::{PriceFactor, RawPrice};
use super::rows::Row;
use crate::qc::Action;
use crate::time::TradingDay;
use serde::{Deserialize, Serialize};

/// One action's effect on every day before its ex-date.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub ex_date: TradingDay,
    /// Prices are multiplied with this: 1/factor of a split, 1 - cash/previous close of a dividend or of a spin-off's worth.
    pub price: f64,
    /// Volumes are multiplied with this: the split factor.
    pub split: f64,
}

/// Steps from actions and the raw closes before them, oldest first; and the actions that cannot be applied, with the reason.
/// `days` ascend, `close` is that of a day by its position. A dividend on a split's own ex-date is paid on new shares, so the close before it is restated first.
pub fn steps(days: &[TradingDay], close: impl Fn(usize) -> Option<f64>, actions: &[Action]) -> (Vec<Step>, Vec<String>) {
    let (mut out, mut unapplied) = (Vec::new(), Vec::new());
    let mut sorted = actions.to_vec();
    sorted.sort_by(|a, b| a.ex_date.cmp(&b.ex_date).then(a.cash.total_cmp(&b.cash)).then(a.factor.total_cmp(&b.factor)));
    for action in &sorted {
        if action.cash == 0.0 {
            out.push(Step { ex_date: action.ex_date, price: 1.0 / action.factor, split: action.factor });
            continue;
        }
        let before = days.partition_point(|day| *day < action.ex_date);
        let same_day: f64 = sorted.iter().filter(|a| a.ex_date == action.ex_date).map(|a| a.factor).product();
        match (0..before).rev().find_map(&close).map(|c| c / same_day) {
            None => {} // nothing earlier is held, so there is nothing to restate
            Some(close) if action.cash < close => out.push(Step { ex_date: action.ex_date, price: 1.0 - action.cash / close, split: 1.0 }),
            Some(close) => unapplied.push(text!("{}: a dividend of {} is not below the close of {close} before it", action.ex_date, action.cash)),
        }
    }
    (out, unapplied)
}

/// Cumulative `(price, split)` factors of each day: what every step with a later ex-date does to it. Both lists ascend.
pub fn factors(days: &[TradingDay], steps: &[Step]) -> Vec<(f64, f64)> {
    let (mut price, mut split, mut next) = (1.0, 1.0, steps.len());
    let mut out = Vec::with_capacity(days.len());
    for day in days.iter().rev() {
        while next > 0 && steps[next - 1].ex_date > *day {
            next -= 1;
            price *= steps[next].price;
            split *= steps[next].split;
        }
        out.push((price, split));
    }
    out.reverse();
    out
}

/// A symbol's adjusted series in order of the day, in columns of equal length.
#[derive(Default)]
pub struct Adjusted<'a> {
    pub raw: Vec<Row<'a>>,
    /// Cumulative price and split factors of every action after the day.
    pub factors: Vec<(f64, f64)>,
    /// Cash a share that the day's holder was entitled to on its open, in raw dollars.
    pub div_cash: Vec<f64>,
    /// Every action's effect, oldest first.
    pub steps: Vec<Step>,
    pub unapplied: Vec<String>,
}

impl<'a> Adjusted<'a> {
    pub fn of(raw: Vec<Row<'a>>, actions: &[Action]) -> Self {
        let days: Vec<TradingDay> = raw.iter().map(|r| r.day).collect();
        let (steps, unapplied) = steps(&days, |i| raw[i].close(), actions);
        let mut div_cash = vec![0.0; days.len()];
        for action in actions.iter().filter(|a| !a.in_kind) {
            // Of the first day there is nobody who held the share the day before.
            match days.partition_point(|day| *day < action.ex_date) {
                0 => {}
                on => div_cash.iter_mut().skip(on).take(1).for_each(|sum| *sum += action.cash),
            }
        }
        Self { factors: factors(&days, &steps), raw, div_cash, steps, unapplied }
    }
    /// The positions of a year's rows.
    pub fn rows_of(&self, year: i16) -> std::ops::Range<usize> {
        let before = |year: i16| TradingDay::ymd(year, 1, 1).map_or(self.raw.len(), |first| self.raw.partition_point(|r| r.day < first));
        before(year)..before(year.saturating_add(1))
    }
    /// One of the five prices of a row ([`Row::prices`]), adjusted.
    pub fn price(&self, row: usize, which: usize) -> Option<f64> {
        self.raw[row].prices[which].map(|p| RawPrice(p).adjust(PriceFactor(self.factors[row].0)).dollars())
    }
    pub fn volume(&self, row: usize) -> Option<f64> {
        self.raw[row].volume.map(|v| v * self.factors[row].1)
    }
}
