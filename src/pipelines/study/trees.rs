//! The same search with LightGBM in place of ridge: dearer, so once, and with as many configurations as asked for.
//!
//! Trees learn from the days on which the rule decides: their labels hardly overlap, and a fit takes a fifth of the rows.

use super::book::{self, Returns, Tape};
use super::market::{FOLDS, Market, TARGETS};
use super::search;
use crate::models::gbdt::{Binned, Params, Rows};
use crate::portfolio::RuleConfig;
use crate::types::Matrix;
use data_layer::error::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// One configuration of the learner, and what it is fitted to.
#[derive(Clone, Debug, PartialEq)]
struct Configuration {
    params: Params,
    target: usize,
}

fn draw(wanted: usize, seed: u64) -> Vec<Configuration> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7EEE_5EED);
    let mut out: Vec<Configuration> = Vec::with_capacity(wanted);
    while out.len() < wanted {
        let mut pick = |n: usize| rng.random_range(0..n);
        let params = Params {
            num_leaves: [3, 7, 15, 31][pick(4)],
            min_data_in_leaf: [20, 50, 100, 200][pick(4)],
            learning_rate: [0.02, 0.05, 0.1][pick(3)],
            rounds: [20, 40, 80][pick(3)],
            max_bin: 63,
            extra: BTreeMap::from([("feature_fraction".to_string(), ["0.5", "0.75", "1.0"][pick(3)].to_string())]),
            ..Params::default()
        };
        let configuration = Configuration { params, target: pick(TARGETS.len()) };
        if !out.contains(&configuration) {
            out.push(configuration);
        }
    }
    out
}

/// Trade `wanted` configurations of trees out of fold. There are 1,296 different ones.
pub fn trade_all(market: &Market, wanted: usize, seed: u64) -> Result<Vec<Returns>> {
    let each = market.panel.n_symbols() / 5;
    let rule = RuleConfig { top_n: each, bottom_n: each, fractional: true, ..RuleConfig::default() };
    let (tape, decisions, fold_of) = (Tape::of(&market.panel), search::decisions(market, &rule), search::folds(market));
    let sample = Sample::of(market, &decisions);
    let one = |c: &Configuration| -> Result<Returns> {
        let mut scores = Matrix::missing(market.panel.n_symbols(), market.panel.n_days());
        let binned = Binned::new(&sample.rows(market, c.target), &c.params)?;
        for fold in 0..FOLDS {
            let train = sample.pick(|t| market.folds[fold].train_days.binary_search(&t).is_ok(), Some(c.target), market);
            let test = sample.pick(|t| fold_of[t - market.searched.start] == fold, None, market);
            let features: Vec<f32> = test.iter().flat_map(|r| sample.row(*r as usize, market.names.len()).iter().copied()).collect();
            let fitted = binned.fit(&train, &c.params, &features)?;
            for (r, score) in test.iter().zip(fitted.scores) {
                let (t, s) = sample.at[*r as usize];
                scores.set(s, t, score);
            }
        }
        let mut keys = Vec::new();
        let wanted: Vec<_> = decisions.iter().map(|t| book::choose(market, *t, &rule, |s| scores.at(s, *t), &mut keys)).collect();
        Ok(book::trade(&tape, &rule, market.searched.clone(), &wanted))
    };
    draw(wanted, seed).par_iter().map(one).collect()
}

/// The rows of the days on which the rule decides.
struct Sample {
    /// `(day, symbol)` of each row, ascending.
    at: Vec<(usize, usize)>,
    features: Vec<f32>,
    /// By target; 0 where there is none.
    labels: Vec<Vec<f32>>,
    weights: Vec<f32>,
}

impl Sample {
    fn of(market: &Market, days: &[usize]) -> Self {
        let at: Vec<(usize, usize)> = days.iter().flat_map(|t| (0..market.panel.n_symbols()).filter(|s| market.usable[*t][*s]).map(|s| (*t, s))).collect();
        let features = at.iter().flat_map(|(t, s)| market.row(*t, *s).iter().copied()).collect();
        let label = |m: &Matrix| at.iter().map(|(t, s)| Some(m.at(*s, *t) as f32).filter(|v| v.is_finite()).unwrap_or(0.0)).collect();
        let labels = market.targets.iter().map(label).collect();
        Self { features, labels, weights: vec![1.0; at.len()], at }
    }

    fn rows<'a>(&'a self, market: &'a Market, target: usize) -> Rows<'a> {
        Rows { features: &self.features, labels: &self.labels[target], weights: &self.weights, names: &market.names, days: &[] }
    }

    fn row(&self, r: usize, k: usize) -> &[f32] {
        &self.features[r * k..(r + 1) * k]
    }

    /// Rows of some days, those with a label where a target is named.
    fn pick(&self, day: impl Fn(usize) -> bool, target: Option<usize>, market: &Market) -> Vec<u32> {
        let known = |t: usize, s: usize| target.is_none_or(|i| market.targets[i].at(s, t).is_finite());
        let rows = self.at.iter().enumerate().filter(|(_, (t, s))| day(*t) && known(*t, *s));
        rows.filter_map(|(r, _)| u32::try_from(r).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_trade_every_searched_day_and_the_same_way_twice() {
        let market = Market::of_world("planted", 7, 520).unwrap();
        let a = trade_all(&market, 2, 1).unwrap();
        let b = trade_all(&market, 2, 1).unwrap();
        assert!(a.iter().zip(&b).all(|(x, y)| x.net == y.net && x.net.len() == market.searched.len() - 1));
        assert_ne!(a[0].net, a[1].net);
        assert_eq!(draw(40, 1), draw(40, 1));
    }
}
