//! One search: every configuration is scored out of fold and traded, the best is chosen, and the product's bars judge it.

use super::book::{self, Returns, Tape, Wanted};
use super::market::{FOLDS, Market};
use super::ridge::{self, Configuration, Described, Products};
use crate::backtest::metric::{ic, max_drawdown, sharpe};
use crate::portfolio::RuleConfig;
use crate::types::Matrix;
use crate::validation::hurdles::{self, Bars, Measure, Measures, Verdict};
use crate::validation::{dsr, pbo};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// How one search ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// Configurations tried; the deflated Sharpe ratio counts all of them.
    pub tried: usize,
    /// Of the chosen one, after costs.
    pub sharpe_annual: f64,
    /// Over all trials, after costs, annualised.
    pub trials_mean: f64,
    pub trials_deviation: f64,
    pub verdict: Verdict,
    /// Whether the best configuration before costs would pass the same bars before costs, which is easier.
    pub passes_before_costs: bool,
}

/// A search and what it chose.
pub struct Searched {
    pub search: Search,
    /// Index of the chosen trial.
    pub best: usize,
}

/// Days on which a rule decides.
pub fn decisions(market: &Market, rule: &RuleConfig) -> Vec<usize> {
    market.searched.clone().step_by(rule.rebalance_sessions).collect()
}

/// Fit, score and trade every configuration.
pub fn trade_all(market: &Market, products: &Products, smoothed: &[Vec<Vec<f32>>], all: &[Configuration]) -> Result<Vec<Returns>> {
    let (tape, k) = (Tape::of(&market.panel), market.names.len());
    let fold_of = folds(market);
    let mut keys = Vec::new();
    let mut out = Vec::with_capacity(all.len());
    for c in all {
        let rule = c.rule(market.panel.n_symbols());
        let weights: Vec<Vec<(usize, f32)>> = (0..FOLDS).map(|fold| Ok(ridge::spread(c, &products.fit(c, fold)?))).collect::<Result<_>>()?;
        let mut wanted: Vec<Wanted> = Vec::new();
        for t in decisions(market, &rule) {
            let (rows, weights) = (&smoothed[c.smoothing][t], &weights[fold_of[t - market.searched.start]]);
            wanted.push(book::choose(market, t, &rule, |s| ridge::score(&rows[s * k..(s + 1) * k], weights), &mut keys));
        }
        out.push(book::trade(&tape, &rule, market.searched.clone(), &wanted));
    }
    Ok(out)
}

/// The fold that tests each searched day.
pub fn folds(market: &Market) -> Vec<usize> {
    let mut out = vec![0; market.searched.len()];
    for fold in &market.folds {
        fold.test_days.iter().for_each(|t| out[t - market.searched.start] = fold.id);
    }
    out
}

/// Whether the blocks of the overfitting test are combined although another bar refuses already: dear, and of no
/// consequence for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    Full,
    UntilRefused,
}

/// Choose the best of all trials and hold it against the bars: every trial counts, in N, in the variance, and in PBO.
pub fn judge(trials: &[Returns], bars: &Bars, blocks: usize, effort: Effort) -> Result<Searched> {
    let net: Vec<&[f64]> = trials.iter().map(|r| r.net.as_slice()).collect();
    let gross: Vec<&[f64]> = trials.iter().map(|r| r.gross.as_slice()).collect();
    let (best, sharpes, measures) = measure(&net, bars, blocks, effort)?;
    let (_, _, before_costs) = measure(&gross, bars, blocks, Effort::UntilRefused)?;
    let n = sharpes.len() as f64;
    let year = |per_period: f64| per_period * 252f64.sqrt();
    let search = Search {
        tried: trials.len(),
        sharpe_annual: sharpe::annualised(net[best])?,
        trials_mean: year(sharpes.iter().sum::<f64>() / n),
        trials_deviation: year(dsr::trials_variance(&sharpes)?.sqrt()),
        verdict: hurdles::judge(&measures, bars)?,
        passes_before_costs: hurdles::judge(&before_costs, bars)?.passed,
    };
    Ok(Searched { search, best })
}

/// The best trial, the Sharpe ratio per session of each, and what the best one measures.
fn measure(trials: &[&[f64]], bars: &Bars, blocks: usize, effort: Effort) -> Result<(usize, Vec<f64>, Measures)> {
    let sharpes: Vec<f64> = trials.iter().map(|r| dsr::moments(r).map(|m| m.sharpe)).collect::<Result<_>>()?;
    let best = (1..sharpes.len()).fold(0, |b, r| if sharpes[r] > sharpes[b] { r } else { b });
    let won = *trials.get(best).ok_or_else(|| Error::new(code::ML_UNDEFINED, "a search without a trial chooses nothing"))?;
    let deflated = dsr::deflated_sharpe(won, trials.len() as u64, dsr::trials_variance(&sharpes)?);
    let mut measures = Measures {
        sharpe: sharpe::annualised(won).into(),
        max_drawdown: max_drawdown::depth(won).into(),
        dsr: deflated.map(|d| d.dsr).into(),
        pbo: Measure::Missing("another bar refuses already".into()),
    };
    let refused = hurdles::judge(&measures, bars)?.failed().iter().any(|bar| !matches!(*bar, "pbo" | "consistent"));
    if effort == Effort::Full || !refused {
        measures.pbo = pbo::cscv(&Matrix::from_vec(trials.len(), won.len(), trials.concat())?, blocks).map(|p| p.pbo).into();
    }
    Ok((best, sharpes, measures))
}

/// A search with everything that is needed to go on with its choice.
pub struct Found {
    pub searched: Searched,
    pub chosen: Described,
    pub rule: RuleConfig,
    /// Weight of each feature in the model of all searched days. Features have a deviation of 1.
    pub weights: Vec<(String, f64)>,
    /// Mean correlation of the model's scores with each feature over the later days, the strongest first: what carries it.
    pub carriers: Vec<(String, f64)>,
    /// Out-of-fold scores of the searched days, scores of the final model on the later ones; `symbols x days`.
    pub scores: Matrix,
    pub daily_ic: Vec<Option<f64>>,
}

/// Search a market with ridge configurations drawn from `seed`.
pub fn ridge(market: &Market, configurations: usize, seed: u64, bars: &Bars, blocks: usize, effort: Effort) -> Result<(Searched, Configuration, Products)> {
    let (products, smoothed) = (Products::of(market), ridge::smoothed(market));
    let mut all = ridge::draw(market.names.len(), configurations, seed);
    let searched = judge(&trade_all(market, &products, &smoothed, &all)?, bars, blocks, effort)?;
    let chosen = all.swap_remove(searched.best);
    Ok((searched, chosen, products))
}

/// Scores of the chosen configuration on every day: out of fold where it was searched, of its final model later.
pub fn follow(market: &Market, (searched, c, products): (Searched, Configuration, Products)) -> Result<Found> {
    let k = market.names.len();
    let (fold_of, smoothed) = (folds(market), ridge::smoothed(market));
    let fitted = products.fit(&c, FOLDS)?;
    let mut models: Vec<Vec<(usize, f32)>> = (0..FOLDS).map(|fold| Ok(ridge::spread(&c, &products.fit(&c, fold)?))).collect::<Result<_>>()?;
    models.push(ridge::spread(&c, &fitted));
    let mut scores = Matrix::missing(market.panel.n_symbols(), market.panel.n_days());
    for t in market.searched.start..market.later.end {
        let model = &models[fold_of.get(t - market.searched.start).copied().unwrap_or(FOLDS)];
        let row = &smoothed[c.smoothing][t];
        for s in (0..market.panel.n_symbols()).filter(|s| market.usable[t][*s]) {
            scores.set(s, t, ridge::score(&row[s * k..(s + 1) * k], model));
        }
    }
    Ok(Found {
        searched,
        chosen: c.describe(&market.names, market.panel.n_symbols()),
        rule: c.rule(market.panel.n_symbols()),
        weights: c.features.iter().zip(&fitted.weights).map(|(f, w)| (market.names[*f].clone(), *w)).collect(),
        carriers: carriers(market, &scores),
        daily_ic: ic::per_date(&scores, &market.labels)?,
        scores,
    })
}

/// Mean correlation of the later days' scores with each feature, the strongest first.
fn carriers(market: &Market, scores: &Matrix) -> Vec<(String, f64)> {
    let of = |f: usize| {
        let daily = market.later.clone().filter_map(|t| {
            let feature: Vec<f64> = (0..scores.rows()).map(|s| f64::from(market.row(t, s)[f])).collect();
            ic::pearson(&scores.column(t), &feature).ok()
        });
        let (sum, n) = daily.fold((0.0, 0_usize), |(sum, n), r| (sum + r, n + 1));
        if n == 0 { 0.0 } else { sum / n as f64 }
    };
    let mut out: Vec<(String, f64)> = market.names.iter().enumerate().map(|(f, name)| (name.clone(), of(f))).collect();
    out.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    out
}
