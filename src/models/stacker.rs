//! Blending several models: what is learnt from their out-of-sample scores alone.
//!
//! The blend of a group of days is learnt on the other groups, so that it is as out of sample as what it blends. Scores
//! are made comparable first: within each date, z-scores over the names that every model scores.

use crate::features::standardise::zscore;
use crate::models::gbdt::{Binned, Params, Rows, trees::Forest};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Rounds of coordinate descent; two dozen settle a handful of models.
const SWEEPS: usize = 200;

/// How scores are blended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Method {
    /// Weights of 0 or more by least squares: a model that adds nothing gets none, and none is bet against.
    Linear,
    /// Small trees over the scores: one model may count only where another agrees.
    Trees,
    /// Weights of a configuration.
    Manual { weights: Vec<f64> },
}

/// A learnt blend.
#[derive(Clone, Debug, PartialEq)]
pub enum Blend {
    Weights(Vec<f64>),
    Trees(Box<Forest>),
}

impl Blend {
    /// The blended score of one name from its models' standardised scores.
    pub fn score(&self, scores: &[f64]) -> f64 {
        match self {
            Self::Weights(w) => scores.iter().zip(w).map(|(s, w)| s * w).sum(),
            Self::Trees(forest) => forest.predict(&scores.iter().map(|s| *s as f32).collect::<Vec<_>>()),
        }
    }
}

/// Out-of-sample scores of several models on the same rows.
pub struct Scores {
    /// `of[model][row]`, standardised within each date; `NaN` where a model has none.
    of: Vec<Vec<f64>>,
    names: Vec<String>,
}

impl Scores {
    /// `raw[model][row]` with `days`, the ranges of rows of each date. Rows that a model does not score are left out for all.
    pub fn new(names: &[String], raw: &[Vec<f64>], days: &[Range<usize>]) -> Result<Self> {
        let n = raw.first().map_or(0, Vec::len);
        if raw.len() < 2 || names.len() != raw.len() || raw.iter().any(|r| r.len() != n) || days.iter().any(|d| d.end > n) {
            return Err(Error::bug("a blend needs scores of two models or more on the same rows"));
        }
        let complete = |r: usize| raw.iter().all(|m| m[r].is_finite());
        let mut of = vec![vec![f64::NAN; n]; raw.len()];
        for day in days {
            for (model, out) in raw.iter().zip(&mut of) {
                let section: Vec<f64> = day.clone().map(|r| if complete(r) { model[r] } else { f64::NAN }).collect();
                out[day.clone()].copy_from_slice(&zscore(&section));
            }
        }
        Ok(Self { of, names: names.to_vec() })
    }
    fn row(&self, r: usize) -> Vec<f64> {
        self.of.iter().map(|m| m[r]).collect()
    }
    fn usable(&self, labels: &[f64], rows: impl Iterator<Item = usize>) -> Vec<usize> {
        rows.filter(|r| labels[*r].is_finite() && self.of[0][*r].is_finite()).collect()
    }
}

/// Learn a blend from the given rows.
pub fn fit(scores: &Scores, labels: &[f64], rows: impl Iterator<Item = usize>, method: &Method, seed: u64) -> Result<Blend> {
    let rows = scores.usable(labels, rows);
    if rows.is_empty() {
        return Err(Error::new(code::ML_UNDEFINED, "there is nothing to learn a blend from").cause("no row has a label and every model's score"));
    }
    match method {
        Method::Manual { weights } if weights.len() == scores.of.len() => Ok(Blend::Weights(weights.clone())),
        Method::Manual { weights } => {
            Err(Error::new(code::CFG_VALUE, "a blend has a weight for each model").found(text!("{} weights, {} models", weights.len(), scores.of.len())))
        }
        Method::Linear => Ok(Blend::Weights(non_negative(scores, labels, &rows))),
        Method::Trees => trees(scores, labels, &rows, seed),
    }
}

/// Least squares with weights of 0 or more, by coordinate descent; scaled to add up to 1, equal where nothing helps.
fn non_negative(scores: &Scores, labels: &[f64], rows: &[usize]) -> Vec<f64> {
    let k = scores.of.len();
    let product = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| rows.iter().map(|r| a(*r) * b(*r)).sum::<f64>();
    let model = |i: usize| move |r: usize| scores.of[i][r];
    let gram: Vec<Vec<f64>> = (0..k).map(|i| (0..k).map(|j| product(&model(i), &model(j))).collect()).collect();
    let target: Vec<f64> = (0..k).map(|i| product(&model(i), &|r| labels[r])).collect();
    let mut w = vec![0.0; k];
    for _ in 0..SWEEPS {
        for i in 0..k {
            let others: f64 = (0..k).filter(|j| *j != i).map(|j| gram[i][j] * w[j]).sum();
            w[i] = if gram[i][i] > 0.0 { ((target[i] - others) / gram[i][i]).max(0.0) } else { 0.0 };
        }
    }
    let total: f64 = w.iter().sum();
    if total > 0.0 { w.iter().map(|v| v / total).collect() } else { vec![1.0 / k as f64; k] }
}

fn trees(scores: &Scores, labels: &[f64], rows: &[usize], seed: u64) -> Result<Blend> {
    let features: Vec<f32> = rows.iter().flat_map(|r| scores.row(*r)).map(|v| v as f32).collect();
    let y: Vec<f32> = rows.iter().map(|r| labels[*r] as f32).collect();
    let params = Params {
        rounds: 60,
        learning_rate: 0.05,
        num_leaves: 4,
        min_data_in_leaf: u32::try_from((rows.len() / 50).max(20)).unwrap_or(u32::MAX),
        max_bin: 63,
        seed,
        ..Params::default()
    };
    let weights = vec![1.0; rows.len()];
    let binned = Binned::new(&Rows { features: &features, labels: &y, weights: &weights, names: &scores.names, days: &[] }, &params)?;
    let all: Vec<u32> = (0..rows.len()).filter_map(|r| u32::try_from(r).ok()).collect();
    Ok(Blend::Trees(Box::new(Forest::parse(&binned.fit(&all, &params, &[])?.text)?)))
}

/// Blended scores of every row, each from a blend that was learnt on the other groups. `groups` are ranges of rows; the `gap` rows before
/// and after a group are no part of what its blend learns: the labels of the ones reach into it, its own reach into the others. `NaN`
/// where a model has no score or a group stands outside.
pub fn cross_blend(scores: &Scores, labels: &[f64], groups: &[Range<usize>], gap: usize, method: &Method, seed: u64) -> Result<Vec<f64>> {
    let mut out = vec![f64::NAN; labels.len()];
    for group in groups {
        let near = group.start.saturating_sub(gap)..group.end + gap;
        let others = groups.iter().filter(|g| *g != group).flat_map(Clone::clone).filter(|r| !near.contains(r));
        let blend = fit(scores, labels, others, method, seed)?;
        for r in group.clone().filter(|r| scores.of[0][*r].is_finite()) {
            out[r] = blend.score(&scores.row(r));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::rank::spearman;

    const NAMES: usize = 30;
    const DAYS: usize = 80;

    fn noise(seed: u64, n: usize) -> Vec<f64> {
        (0..n).map(|i| (0..4).map(|k| crate::features::fixture::unit(seed, i, k, 1) - 0.5).sum()).collect()
    }

    fn days() -> Vec<Range<usize>> {
        (0..DAYS).map(|d| d * NAMES..(d + 1) * NAMES).collect()
    }

    fn groups() -> Vec<Range<usize>> {
        (0..4).map(|g| g * 20 * NAMES..(g + 1) * 20 * NAMES).collect()
    }

    fn correlation(x: &[f64], y: &[f64]) -> f64 {
        days().iter().map(|d| spearman(&x[d.clone()], &y[d.clone()], 5).unwrap()).sum::<f64>() / DAYS as f64
    }

    #[test]
    fn complementary_models_are_blended_and_a_useless_one_gets_no_weight() {
        let n = NAMES * DAYS;
        let (a, b, e, useless) = (noise(1, n), noise(2, n), noise(3, n), noise(4, n));
        let y: Vec<f64> = (0..n).map(|i| a[i] + b[i] + 2.0 * e[i]).collect();
        let names: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let scores = Scores::new(&names, &[a.clone(), b.clone(), useless], &days()).unwrap();
        for method in [Method::Linear, Method::Trees] {
            let blended = cross_blend(&scores, &y, &groups(), 0, &method, 1).unwrap();
            assert!(correlation(&blended, &y) > correlation(&a, &y) + 0.05, "{method:?}: {}", correlation(&blended, &y));
        }
        let Blend::Weights(w) = fit(&scores, &y, 0..n, &Method::Linear, 1).unwrap() else { panic!("no weights") };
        assert!(w[2] < 0.1 && (w[0] - w[1]).abs() < 0.15 && (w.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{w:?}");
    }

    #[test]
    fn a_group_never_decides_its_own_blend() {
        let n = NAMES * DAYS;
        let (a, b) = (noise(5, n), noise(6, n));
        let mut y = noise(7, n);
        let scores = Scores::new(&["a".into(), "b".into()], &[a, b], &days()).unwrap();
        let before = cross_blend(&scores, &y, &groups(), 0, &Method::Linear, 1).unwrap();
        groups()[2].clone().for_each(|r| y[r] *= -50.0);
        let after = cross_blend(&scores, &y, &groups(), 0, &Method::Linear, 1).unwrap();
        assert_eq!(before[groups()[2].clone()], after[groups()[2].clone()]);
        assert_ne!(before[groups()[0].clone()], after[groups()[0].clone()]);
    }

    #[test]
    fn manual_weights_are_taken_and_a_wrong_number_of_them_is_refused() {
        let n = NAMES * DAYS;
        let scores = Scores::new(&["a".into(), "b".into()], &[noise(1, n), noise(2, n)], &days()).unwrap();
        let manual = |weights: Vec<f64>| fit(&scores, &noise(3, n), 0..n, &Method::Manual { weights }, 1);
        assert_eq!(manual(vec![0.7, 0.3]).unwrap(), Blend::Weights(vec![0.7, 0.3]));
        assert!(manual(vec![1.0]).unwrap_err().is(code::CFG_VALUE));
        assert!(fit(&scores, &vec![f64::NAN; n], 0..n, &Method::Linear, 1).unwrap_err().is(code::ML_UNDEFINED));
        assert!(Scores::new(&["a".into()], &[noise(1, n)], &days()).is_err());
    }
}
