//! Backward adjustment: what each action does to all earlier days of its symbol.

use super::price::{PriceFactor, RawPrice};
use crate::audit::bars::Series;
use crate::ledger::Status;
use crate::qc::{Action, Bar, bar_code};
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
/// A dividend on a split's own ex-date is paid on new shares, so the close before it is restated first.
pub fn steps(bars: &[Bar], actions: &[Action]) -> (Vec<Step>, Vec<String>) {
    let (mut out, mut unapplied) = (Vec::new(), Vec::new());
    let mut sorted = actions.to_vec();
    sorted.sort_by(|a, b| a.ex_date.cmp(&b.ex_date).then(a.cash.total_cmp(&b.cash)).then(a.factor.total_cmp(&b.factor)));
    for action in &sorted {
        if action.cash == 0.0 {
            out.push(Step { ex_date: action.ex_date, price: 1.0 / action.factor, split: action.factor });
            continue;
        }
        let before = bars.partition_point(|b| b.day < action.ex_date);
        let close = bars[..before].iter().rev().find_map(|b| b.close);
        let same_day: f64 = sorted.iter().filter(|a| a.ex_date == action.ex_date).map(|a| a.factor).product();
        match close.map(|c| c / same_day) {
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

/// A row of the curated table.
#[derive(Clone, Debug)]
pub struct AdjustedBar {
    pub raw: Bar,
    pub vendor: String,
    /// Cumulative factors of every action after this day.
    pub price_factor: f64,
    pub split_factor: f64,
    /// Cash a share that this day's holder was entitled to on this day's open, in raw dollars.
    pub div_cash: f64,
}

impl AdjustedBar {
    pub fn price(&self, raw: Option<f64>) -> Option<f64> {
        raw.map(|p| RawPrice(p).adjust(PriceFactor(self.price_factor)).dollars())
    }
    pub fn volume(&self) -> Option<f64> {
        self.raw.volume.map(|v| v * self.split_factor)
    }
}

/// A symbol's adjusted series in order of the day.
#[derive(Clone, Debug, Default)]
pub struct Adjusted {
    pub bars: Vec<AdjustedBar>,
    /// Every action's effect, oldest first.
    pub steps: Vec<Step>,
    pub unapplied: Vec<String>,
}

impl Adjusted {
    /// Bars that failed their own check, or came twice, are left out: the ledger calls them RED.
    pub fn of(series: Series, actions: &[Action]) -> Self {
        let kept: Vec<(Bar, String)> = series
            .bars
            .into_iter()
            .zip(series.origins)
            .filter(|(bar, origin)| origin.rows == 1 && bar_code(bar).status() != Status::Red)
            .map(|(bar, origin)| (bar, origin.vendor))
            .collect();
        let raw: Vec<Bar> = kept.iter().map(|(bar, _)| bar.clone()).collect();
        let (steps, unapplied) = steps(&raw, actions);
        let days: Vec<TradingDay> = raw.iter().map(|b| b.day).collect();
        let row = |(i, ((bar, vendor), (price_factor, split_factor))): (usize, ((Bar, String), (f64, f64)))| {
            let since = i.checked_sub(1).map(|j| days[j]);
            // Written as a fold from 0.0: an empty float sum is -0.0.
            let due = |a: &&Action| !a.in_kind && a.ex_date <= bar.day && since.is_some_and(|s| s < a.ex_date);
            let div_cash = actions.iter().filter(due).fold(0.0, |sum, a| sum + a.cash);
            AdjustedBar { raw: bar, vendor, price_factor, split_factor, div_cash }
        };
        Self { bars: kept.into_iter().zip(factors(&days, &steps)).enumerate().map(row).collect(), steps, unapplied }
    }
}
