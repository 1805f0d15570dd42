//! Probability of backtest overfitting by combinatorially symmetric cross-validation.
//!
//! Bailey, Borwein, Lopez de Prado and Zhu, "The Probability of Backtest Overfitting", J. Computational Finance 20(4), 2017.
//! The oldest `T mod S` rows are dropped; the rest is cut into S blocks; every half of the blocks is once in sample. The
//! best trial in sample (first on ties) is ranked out of sample: `omega = average rank / (N + 1)`, `logit = ln(omega / (1 -
//! omega))`, PBO = share of logits at or below 0. The statistic is the per-period Sharpe ratio with ddof 1; a trial without
//! variance has Sharpe 0.
//!
//! Sums of a block are made once, so a combination costs N x S/2 additions and 1,000 trials are affordable. The second half
//! of the combinations in lexicographic order mirrors the first, so each half is scored once and used on both sides.

use crate::types::{Matrix, defined};
use crate::wide::wide;
use data_layer::error::{Error, Result, code};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Blocks that the gate uses: C(16, 8) = 12,870 combinations.
pub const BLOCKS: usize = 16;
const MOST_BLOCKS: usize = 20;

/// What cross-validation says about the way the best trial was chosen. Vectors are in lexicographic order of the blocks
/// that are in sample.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Pbo {
    pub pbo: f64,
    pub n_trials: usize,
    pub n_combinations: usize,
    pub rows_used: usize,
    /// The best trial in sample, per combination.
    pub selected: Vec<usize>,
    pub is_sharpe: Vec<f64>,
    pub oos_sharpe: Vec<f64>,
    pub omega: Vec<f64>,
    pub logits: Vec<f64>,
    /// Share of combinations whose chosen trial loses out of sample.
    pub prob_oos_loss: f64,
    /// Of the chosen trials' out-of-sample Sharpe on their in-sample Sharpe; absent when the latter does not vary.
    pub slope_oos_on_is: Option<f64>,
    pub intercept_oos_on_is: Option<f64>,
    pub r2: Option<f64>,
    pub adj_r2: Option<f64>,
}

/// CSCV of `returns` (`trials x days`) with `blocks` blocks and no risk-free rate.
pub fn cscv(returns: &Matrix, blocks: usize) -> Result<Pbo> {
    cscv_excess(returns, blocks, 0.0)
}

/// As [`cscv`], of returns in excess of a rate per period.
///
/// Undefined with fewer than two trials, fewer than two rows a block, an odd number of blocks, or a missing return.
pub fn cscv_excess(returns: &Matrix, blocks: usize, rf_per_period: f64) -> Result<Pbo> {
    let (n, days) = (returns.rows(), returns.cols());
    let undefined = |cause: String| Err(Error::new(code::ML_UNDEFINED, "the probability of backtest overfitting is undefined").cause(cause));
    if !(2..=MOST_BLOCKS).contains(&blocks) || blocks % 2 == 1 {
        return Err(Error::new(code::CFG_VALUE, text!("the number of blocks must be even and from 2 to {MOST_BLOCKS}")).found(blocks.to_string()));
    }
    if n < 2 {
        return undefined(text!("it compares trials, and there is {n}; search a grid of at least two configurations"));
    }
    if days < 2 * blocks {
        return undefined(text!("{days} days do not make {blocks} blocks of at least 2"));
    }
    if returns.values().iter().any(|r| !r.is_finite()) {
        return undefined("a trial has a day without a return; all trials must cover the same days".into());
    }
    let length = days / blocks;
    let table = Table::of((0..n).map(|t| &returns.row(t)[days - length * blocks..]), blocks, length, rf_per_period);
    let halves = combinations(blocks);
    let half = halves.len() / 2;
    let scored: Vec<(Side, Side)> = halves[..half]
        .par_iter()
        .zip(halves[half..].par_iter().rev())
        .map_init(
            || (Vec::new(), Vec::new()),
            |(in_a, in_b), (a, b)| {
                sharpes(&table, a, n, in_a);
                sharpes(&table, b, n, in_b);
                (judge(in_a, in_b), judge(in_b, in_a))
            },
        )
        .collect();
    let first = scored.iter().map(|s| s.0);
    let second = scored.iter().rev().map(|s| s.1);
    Ok(summarise(&first.chain(second).collect::<Vec<_>>(), n, length * blocks))
}

/// Trials whose blocks are added up side by side. Each keeps its own sums in its own order: its neighbours change no bit of it.
const WIDTH: usize = 8;

/// One number for each of neighbouring trials.
type Lanes = [f64; WIDTH];

/// Sum, mean, centred sum of squares and range of one block, of neighbouring trials.
#[derive(Clone, Copy)]
struct Block {
    sum: Lanes,
    mean: Lanes,
    squares: Lanes,
    low: Lanes,
    high: Lanes,
}

/// The blocks of all trials: `WIDTH` trials after each other, each time all blocks. Places past the last trial hold zeros.
struct Table {
    groups: Vec<Vec<Block>>,
    length: f64,
}

impl Table {
    fn of<'a>(trials: impl Iterator<Item = &'a [f64]>, blocks: usize, length: usize, rf: f64) -> Self {
        let empty = Block { sum: [0.0; WIDTH], mean: [0.0; WIDTH], squares: [0.0; WIDTH], low: [0.0; WIDTH], high: [0.0; WIDTH] };
        let mut groups: Vec<Vec<Block>> = Vec::new();
        for (t, row) in trials.enumerate() {
            let lane = t % WIDTH;
            if lane == 0 {
                groups.push(vec![empty; blocks]);
            }
            for (block, chunk) in groups[t / WIDTH].iter_mut().zip(row.chunks_exact(length)) {
                let sum: f64 = chunk.iter().map(|r| r - rf).sum();
                let mean = sum / length as f64;
                (block.sum[lane], block.mean[lane]) = (sum, mean);
                block.squares[lane] = chunk.iter().map(|r| (r - rf - mean).powi(2)).sum();
                (block.low[lane], block.high[lane]) = chunk.iter().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(*r), h.max(*r)));
            }
        }
        Self { groups, length: length as f64 }
    }

    /// The Sharpe ratio of each of `WIDTH` neighbouring trials over the picked blocks.
    #[inline(always)]
    fn neighbours(&self, blocks: &[Block], picked: &[usize]) -> Lanes {
        let rows = picked.len() as f64 * self.length;
        let (mut sum, mut squares, mut low, mut high) = ([0.0; WIDTH], [0.0; WIDTH], [f64::MAX; WIDTH], [f64::MIN; WIDTH]);
        for b in picked {
            let b = &blocks[*b];
            for l in 0..WIDTH {
                sum[l] += b.sum[l];
                squares[l] += b.squares[l];
                low[l] = if b.low[l] < low[l] { b.low[l] } else { low[l] };
                high[l] = if b.high[l] > high[l] { b.high[l] } else { high[l] };
            }
        }
        // Within blocks, plus between blocks.
        let (mut mean, mut between) = (sum, [0.0; WIDTH]);
        for mean in &mut mean {
            *mean /= rows;
        }
        for b in picked {
            let b = &blocks[*b];
            for l in 0..WIDTH {
                let apart = b.mean[l] - mean[l];
                between[l] += apart * apart;
            }
        }
        let mut out = [0.0; WIDTH];
        for l in 0..WIDTH {
            let ratio = mean[l] / ((squares[l] + between[l] * self.length) / (rows - 1.0)).sqrt();
            out[l] = if low[l] == high[l] { 0.0 } else { ratio };
        }
        out
    }
}

wide! {
    /// The Sharpe ratio of each of `n` trials over the picked blocks.
    fn sharpes(table: &Table, picked: &[usize], n: usize, out: &mut Vec<f64>) {
        out.clear();
        for blocks in &table.groups {
            out.extend_from_slice(&table.neighbours(blocks, picked));
        }
        out.truncate(n);
    }
}

/// All halves of `blocks` blocks, as lists of block numbers, in lexicographic order. Entry `i` and entry `last - i` are
/// complements.
fn combinations(blocks: usize) -> Vec<Vec<usize>> {
    let k = blocks / 2;
    let mut current: Vec<usize> = (0..k).collect();
    let mut all = vec![current.clone()];
    while let Some(i) = (0..k).rev().find(|i| current[*i] < blocks - k + i) {
        current[i] += 1;
        for j in i + 1..k {
            current[j] = current[j - 1] + 1;
        }
        all.push(current.clone());
    }
    all
}

#[derive(Clone, Copy)]
struct Side {
    selected: usize,
    is: f64,
    oos: f64,
    omega: f64,
}

fn judge(inside: &[f64], outside: &[f64]) -> Side {
    let selected = (1..inside.len()).fold(0, |best, i| if inside[i] > inside[best] { i } else { best });
    let oos = outside[selected];
    let below = outside.iter().filter(|s| **s < oos).count() as f64;
    let equal = outside.iter().filter(|s| **s == oos).count() as f64;
    let rank = below + (equal + 1.0) / 2.0;
    Side { selected, is: inside[selected], oos, omega: rank / (outside.len() as f64 + 1.0) }
}

fn summarise(sides: &[Side], n_trials: usize, rows_used: usize) -> Pbo {
    let m = sides.len() as f64;
    let logits: Vec<f64> = sides.iter().map(|s| (s.omega / (1.0 - s.omega)).ln()).collect();
    let (mx, my) = (sides.iter().map(|s| s.is).sum::<f64>() / m, sides.iter().map(|s| s.oos).sum::<f64>() / m);
    let sxx: f64 = sides.iter().map(|s| (s.is - mx).powi(2)).sum();
    let syy: f64 = sides.iter().map(|s| (s.oos - my).powi(2)).sum();
    let sxy: f64 = sides.iter().map(|s| (s.is - mx) * (s.oos - my)).sum();
    let real = |v: f64| defined(v, "the regression", "no variation").ok();
    let slope = real(sxy / sxx);
    let r2 = real(sxy * sxy / (sxx * syy));
    Pbo {
        pbo: logits.iter().filter(|l| **l <= 0.0).count() as f64 / m,
        n_trials,
        n_combinations: sides.len(),
        rows_used,
        selected: sides.iter().map(|s| s.selected).collect(),
        is_sharpe: sides.iter().map(|s| s.is).collect(),
        oos_sharpe: sides.iter().map(|s| s.oos).collect(),
        omega: sides.iter().map(|s| s.omega).collect(),
        logits,
        prob_oos_loss: sides.iter().filter(|s| s.oos < 0.0).count() as f64 / m,
        slope_oos_on_is: slope,
        intercept_oos_on_is: slope.map(|b| my - b * mx),
        r2,
        adj_r2: r2.and_then(|r| real(1.0 - (1.0 - r) * (m - 1.0) / (m - 2.0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::{columns, compare, noise};
    use serde_json::Value;

    fn golden(case: &str, csv: &str) {
        let doc: Value = serde_json::from_str(case).unwrap();
        let blocks = doc["inputs"]["S"].as_u64().unwrap() as usize;
        let got = cscv_excess(&columns(csv), blocks, doc["inputs"]["rf_per_period"].as_f64().unwrap()).unwrap();
        compare(&serde_json::to_value(&got).unwrap(), &doc["expected"], 1e-10, 1e-9, "pbo");
    }

    #[test]
    fn lesson_060_published_worked_examples() {
        golden(include_str!("../../tests/golden/pbo/cran_pbo_unit_test.json"), include_str!("../../tests/golden/pbo/cran_pbo_unit_test.csv"));
        golden(include_str!("../../tests/golden/pbo/odd_n_median_ties.json"), include_str!("../../tests/golden/pbo/odd_n_median_ties.csv"));
        golden(include_str!("../../tests/golden/pbo/two_strategies.json"), include_str!("../../tests/golden/pbo/two_strategies.csv"));
        golden(include_str!("../../tests/golden/pbo/noise_with_one_edge.json"), include_str!("../../tests/golden/pbo/noise_with_one_edge.csv"));
    }

    #[test]
    fn lesson_060_noise_is_a_coin_toss_and_an_edge_is_not() {
        let run = |seed: u64, edge: f64| {
            let mut data = noise(seed, 20 * 480);
            data[..480].iter_mut().for_each(|r| *r += edge);
            cscv(&Matrix::from_vec(20, 480, data).unwrap(), 8).unwrap().pbo
        };
        let mean = (0..20).map(|s| run(s, 0.0)).sum::<f64>() / 20.0;
        assert!((0.35..=0.65).contains(&mean), "noise: {mean}");
        assert!(run(3, 0.4) < 0.02);
    }

    #[test]
    fn one_trial_too_few_days_or_a_missing_day_are_undefined() {
        let m = |r, c| Matrix::from_vec(r, c, noise(1, r * c)).unwrap();
        assert!(cscv(&m(1, 500), 16).unwrap_err().is(code::ML_UNDEFINED));
        assert!(cscv(&m(2, 31), 16).unwrap_err().is(code::ML_UNDEFINED));
        let mut holed = m(2, 64);
        holed.set(1, 5, f64::NAN);
        assert!(cscv(&holed, 16).unwrap_err().is(code::ML_UNDEFINED));
        assert!(cscv(&m(2, 500), 7).unwrap_err().is(code::CFG_VALUE));
    }

    #[test]
    fn halves_are_lexicographic_and_mirror() {
        let all = combinations(6);
        assert_eq!(all.len(), 20);
        assert!(all.is_sorted());
        for (i, a) in all.iter().enumerate() {
            let b = &all[19 - i];
            assert!((0..6).all(|x| a.contains(&x) != b.contains(&x)));
        }
    }

    #[test]
    fn a_flat_trial_has_sharpe_zero() {
        let mut data = noise(5, 64);
        data[..32].fill(0.001);
        let got = cscv(&Matrix::from_vec(2, 32, data).unwrap(), 4).unwrap();
        assert!(got.selected.iter().zip(&got.is_sharpe).all(|(s, sharpe)| *s != 0 || *sharpe == 0.0));
    }
}
