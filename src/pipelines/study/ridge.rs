//! What a search tries: ridge regressions that differ in features, penalty, memory and target, in how their scores are
//! smoothed, and in how broad and how fast a book trades them.
//!
//! Every configuration is a model that somebody would fit; a rule and its mirror image are not two of them. The values of
//! a search are drawn independently, each feature by the toss of a coin. Products of
//! features and targets are summed once per date, so that a fit is the solution of a small system: a thousand
//! configurations on five folds cost less than their backtests.

use super::market::{Market, TARGETS};
use crate::labels::weights;
use crate::models::ridge::{Ridge, Sums};
use crate::portfolio::RuleConfig;
use crate::types::Matrix;
use data_layer::error::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Months after which a training day counts half; `None` = all days count alike.
const HALF_LIVES: [Option<f64>; 4] = [None, Some(36.0), Some(18.0), Some(9.0)];
/// Sessions over which scores are averaged exponentially (1 = as they are): each new score gets `2 / (sessions + 1)`.
pub const SMOOTHING_SESSIONS: [usize; 4] = [1, 5, 10, 20];
/// Share of the names that is held on each side.
const BREADTH: [f64; 4] = [0.05, 0.1, 0.2, 0.3];
/// Sessions from one rebalance to the next.
const REBALANCE_SESSIONS: [usize; 3] = [5, 10, 20];
/// Share of the features that a configuration keeps, each by itself.
const KEPT: f64 = 0.5;
/// Powers of ten of the penalty, in units of the mean diagonal.
const PENALTY: Range<f64> = -3.0..1.0;

/// One configuration. Indexes point into the lists above.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Ascending.
    pub features: Vec<usize>,
    pub penalty: f64,
    half_life: usize,
    pub smoothing: usize,
    pub target: usize,
    breadth: usize,
    rebalance: usize,
}

/// A configuration in words, for the outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Described {
    pub features: Vec<String>,
    pub penalty: f64,
    pub half_life_months: Option<f64>,
    pub smoothing_sessions: usize,
    pub target: String,
    /// Names on each side.
    pub names: usize,
    pub rebalance_sessions: usize,
}

impl Configuration {
    /// The product's own rule and costs, with the configuration's breadth and pace, in a market of `names`.
    pub fn rule(&self, names: usize) -> RuleConfig {
        let each = ((names as f64 * BREADTH[self.breadth]) as usize).max(1);
        let rebalance_sessions = REBALANCE_SESSIONS[self.rebalance];
        RuleConfig { top_n: each, bottom_n: each, rebalance_sessions, fractional: true, ..RuleConfig::default() }
    }

    pub fn describe(&self, names: &[String], market: usize) -> Described {
        let rule = self.rule(market);
        Described {
            names: rule.top_n,
            rebalance_sessions: rule.rebalance_sessions,
            features: self.features.iter().map(|f| names[*f].clone()).collect(),
            penalty: self.penalty,
            half_life_months: HALF_LIVES[self.half_life],
            smoothing_sessions: SMOOTHING_SESSIONS[self.smoothing],
            target: TARGETS[self.target].into(),
        }
    }
}

/// `wanted` configurations over so many features, drawn from a seed; no two are equal.
pub fn draw(features: usize, wanted: usize, seed: u64) -> Vec<Configuration> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x51EA_2C4B);
    let mut out: Vec<Configuration> = Vec::with_capacity(wanted);
    while out.len() < wanted {
        let kept: Vec<usize> = (0..features).filter(|_| rng.random_range(0.0..1.0) < KEPT).collect();
        let configuration = Configuration {
            features: kept,
            penalty: 10f64.powf(rng.random_range(PENALTY)),
            half_life: rng.random_range(0..HALF_LIVES.len()),
            smoothing: rng.random_range(0..SMOOTHING_SESSIONS.len()),
            target: rng.random_range(0..TARGETS.len()),
            breadth: rng.random_range(0..BREADTH.len()),
            rebalance: rng.random_range(0..REBALANCE_SESSIONS.len()),
        };
        if !configuration.features.is_empty() && !out.contains(&configuration) {
            out.push(configuration);
        }
    }
    out
}

/// Sums of products over sets of training days: one for each fold, and one for all searched days; by half-life and target.
pub struct Products {
    sets: Vec<Sums>,
}

impl Products {
    pub fn of(market: &Market) -> Self {
        let all: Vec<usize> = market.labelled(&market.searched).collect();
        let sets: Vec<&[usize]> = market.folds.iter().map(|f| f.train_days.as_slice()).chain([all.as_slice()]).collect();
        let days = &market.panel.days;
        let asof = days[market.searched.end - 1];
        let decay: Vec<Vec<f64>> =
            HALF_LIVES.iter().map(|h| h.map_or_else(|| vec![1.0; days.len()], |months| weights::time_decay(days, asof, months))).collect();
        let mut out = vec![Sums::new(market.names.len()); sets.len() * HALF_LIVES.len() * TARGETS.len()];
        for (target, values) in market.targets.iter().enumerate() {
            let by_date: Vec<Sums> = all.iter().map(|t| of_date(market, values, *t)).collect();
            for (set, days) in sets.iter().enumerate() {
                for (half_life, decay) in decay.iter().enumerate() {
                    let sums = &mut out[place(set, half_life, target)];
                    days.iter().for_each(|t| sums.merge(&by_date[t - market.searched.start], decay[*t]));
                }
            }
        }
        Self { sets: out }
    }

    /// The model of a configuration: of the days outside a fold, or of all searched days when `fold` is [`super::market::FOLDS`].
    pub fn fit(&self, c: &Configuration, fold: usize) -> Result<Ridge> {
        self.sets[place(fold, c.half_life, c.target)].of_features(&c.features).solve(c.penalty)
    }
}

fn place(set: usize, half_life: usize, target: usize) -> usize {
    (set * HALF_LIVES.len() + half_life) * TARGETS.len() + target
}

fn of_date(market: &Market, values: &Matrix, t: usize) -> Sums {
    let mut sums = Sums::new(market.names.len());
    for s in (0..values.rows()).filter(|s| market.usable[t][*s] && values.at(*s, t).is_finite()) {
        sums.add(market.row(t, s), values.at(s, t), 1.0);
    }
    sums
}

/// Features of every day, averaged over the sessions before as [`SMOOTHING_SESSIONS`] says: a score is linear in them, so
/// this is the average of the scores. `[smoothing][day]`, laid out like [`Market::rows`].
pub fn smoothed(market: &Market) -> Vec<Vec<Vec<f32>>> {
    let one = |sessions: &usize| {
        let share = 2.0 / (*sessions as f32 + 1.0);
        let mut out: Vec<Vec<f32>> = Vec::with_capacity(market.rows.len());
        for row in &market.rows {
            let next = match out.last() {
                Some(before) if *sessions > 1 => row.iter().zip(before).map(|(now, b)| b + share * (now - b)).collect(),
                _ => row.clone(),
            };
            out.push(next);
        }
        out
    };
    SMOOTHING_SESSIONS.iter().map(one).collect()
}

/// A fitted configuration's weights, by feature of the market.
pub fn spread(c: &Configuration, fitted: &Ridge) -> Vec<(usize, f32)> {
    c.features.iter().zip(&fitted.weights).map(|(f, w)| (*f, *w as f32)).collect()
}

/// A name's score: `row` has one value per feature of the market.
pub fn score(row: &[f32], weights: &[(usize, f32)]) -> f64 {
    let mut sum = 0.0_f32;
    for (feature, weight) in weights {
        sum += row[*feature] * weight;
    }
    f64::from(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_distinct_repeatable_and_never_mirror_each_other() {
        let all = draw(11, 300, 5);
        assert_eq!(all, draw(11, 300, 5));
        assert!(all.iter().enumerate().all(|(i, c)| !all[..i].contains(c)));
        assert_ne!(all, draw(11, 300, 6));
        let sizes: Vec<usize> = all.iter().map(|c| c.features.len()).collect();
        assert!(sizes.iter().any(|n| *n < 5) && sizes.iter().all(|n| *n > 0) && all.iter().all(|c| c.features.is_sorted() && c.penalty > 0.0));
    }

    #[test]
    fn a_fold_never_learns_from_its_own_days_nor_from_the_later_ones() {
        let market = Market::of_world("null", 3, 700).unwrap();
        let mut other = Market::of_world("null", 3, 700).unwrap();
        let fold = market.folds[2].test_days.clone();
        for values in &mut other.targets {
            for t in fold.iter().copied().chain(market.later.clone()) {
                (0..values.rows()).for_each(|s| values.set(s, t, -3.0 * values.at(s, t)));
            }
        }
        let c = &draw(market.names.len(), 1, 1)[0];
        let (a, b) = (Products::of(&market), Products::of(&other));
        assert_eq!(a.fit(c, 2).unwrap(), b.fit(c, 2).unwrap());
        assert_ne!(a.fit(c, 1).unwrap(), b.fit(c, 1).unwrap());
        assert!(market.folds.iter().flat_map(|f| &f.train_days).all(|t| t + super::super::market::SPAN < market.searched.end));
    }
}
