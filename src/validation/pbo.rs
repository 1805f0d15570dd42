//! Probability of backtest overfitting by combinatorially symmetric cross-validation.
//!
//! Bailey, Borwein, Lopez de Prado and Zhu, "The Probability of Backtest Overfitting", J. Computational Finance 20(4), 2017.
//! The oldest `T mod S` rows are dropped; the rest is cut into S blocks; every half of the blocks is once in sample. The
//! best trial in sample (first on ties) is ranked out of sample: `omega = average rank / (N + 1)`, `logit = ln(omega / (1 -
//! omega))`, PBO = share of logits at or below 0. The statistic is the per-period Sharpe ratio with ddof 1; a trial without
//! variance has Sharpe 0.
//!
//! Sums are made once for every subset of the first S/2 blocks and of the last; a combination joins one of each, so that it costs each
//! trial one step instead of S/2 and 1,000 trials are affordable. The second half of the combinations in lexicographic order mirrors the
//! first, so each half is scored once and used on both sides.

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
    let used: Vec<&[f64]> = (0..n).map(|t| &returns.row(t)[days - length * blocks..]).collect();
    let table = Table::of(&used, blocks, length, rf_per_period);
    let halves = combinations(blocks);
    let half = halves.len() / 2;
    let scored: Vec<(Side, Side)> = halves[..half]
        .par_iter()
        .zip(halves[half..].par_iter().rev())
        .map_init(
            || (Vec::new(), Vec::new()),
            |(in_a, in_b), (a, b)| {
                orders(&table, *a, n, in_a);
                orders(&table, *b, n, in_b);
                let rows = (blocks / 2 * length) as f64;
                (judge(in_a, in_b, rows), judge(in_b, in_a, rows))
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

/// Some blocks of neighbouring trials: the sum, the sum of squares around the mean, and the one value that all rows have (missing where
/// they differ).
#[derive(Clone, Copy)]
struct Part {
    sum: Lanes,
    squares: Lanes,
    level: Lanes,
}

impl Part {
    const NONE: Self = Self { sum: [0.0; WIDTH], squares: [0.0; WIDTH], level: [f64::NAN; WIDTH] };

    /// One block of at most `WIDTH` trials. Places past the last trial hold zeros.
    fn block(trials: &[&[f64]], at: std::ops::Range<usize>, rf: f64) -> Self {
        let (mut sum, mut squares, mut level) = ([0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH]);
        for (lane, trial) in trials.iter().enumerate() {
            let chunk = &trial[at.clone()];
            sum[lane] = chunk.iter().map(|r| r - rf).sum();
            let mean = sum[lane] / chunk.len() as f64;
            squares[lane] = chunk.iter().map(|r| (r - rf - mean).powi(2)).sum();
            level[lane] = if chunk.iter().all(|r| *r == chunk[0]) { chunk[0] } else { f64::NAN };
        }
        Self { sum, squares, level }
    }
}

/// How many blocks each of two parts has, as what joining them needs.
struct Join {
    /// One by the rows of either part; 0 for a part without blocks.
    a: f64,
    b: f64,
    /// The weight of the squared distance between the two means.
    between: f64,
    /// A part without blocks is as level as the other.
    a_is_none: bool,
    b_is_none: bool,
}

impl Join {
    fn of(a: u32, b: u32, length: f64) -> Self {
        let (a, b) = (f64::from(a) * length, f64::from(b) * length);
        let one_by = |rows: f64| if rows > 0.0 { 1.0 / rows } else { 0.0 };
        Self { a: one_by(a), b: one_by(b), between: a * b / (a + b), a_is_none: a == 0.0, b_is_none: b == 0.0 }
    }

    /// Both parts as one. The squares are those within either, plus those between them: nothing large is subtracted from something large.
    #[inline(always)]
    fn part(&self, a: &Part, b: &Part) -> Part {
        let mut out = Part::NONE;
        for l in 0..WIDTH {
            let apart = b.sum[l] * self.b - a.sum[l] * self.a;
            out.sum[l] = a.sum[l] + b.sum[l];
            out.squares[l] = a.squares[l] + b.squares[l] + apart * apart * self.between;
            let of_a = if self.a_is_none { b.level[l] } else { a.level[l] };
            let of_b = if self.b_is_none { a.level[l] } else { b.level[l] };
            out.level[l] = if of_a == of_b { of_a } else { f64::NAN };
        }
        out
    }
}

/// Every subset of the first half of the blocks, and every one of the last half, of all trials.
struct Table {
    /// By the bits of the subset, then by groups of `WIDTH` trials.
    early: Vec<Part>,
    late: Vec<Part>,
    groups: usize,
    /// Blocks of either half.
    half: usize,
    length: f64,
}

impl Table {
    fn of(trials: &[&[f64]], blocks: usize, length: usize, rf: f64) -> Self {
        let of_group = |trials: &[&[f64]]| (0..blocks).map(|b| Part::block(trials, b * length..(b + 1) * length, rf)).collect::<Vec<_>>();
        let groups: Vec<Vec<Part>> = trials.par_chunks(WIDTH).map(of_group).collect();
        let half = blocks / 2;
        let subsets = |first: usize| {
            let mut parts = vec![Part::NONE; groups.len() << half];
            for subset in 1..1_usize << half {
                // One block more than a smaller subset.
                let (block, rest) = (first + subset.trailing_zeros() as usize, subset & (subset - 1));
                let join = Join::of(rest.count_ones(), 1, length as f64);
                for (g, group) in groups.iter().enumerate() {
                    parts[subset * groups.len() + g] = join.part(&parts[rest * groups.len() + g], &group[block]);
                }
            }
            parts
        };
        Self { early: subsets(0), late: subsets(half), groups: groups.len(), half, length: length as f64 }
    }
}

wide! {
    /// What orders `n` trials as their Sharpe ratios over the picked blocks do, without their roots: the squared sum by the squares, with the
    /// sign of the sum. See [`sharpe`].
    fn orders(table: &Table, picked: u32, n: usize, out: &mut Vec<f64>) {
        let picked = picked as usize;
        let (early, late) = (picked & ((1 << table.half) - 1), picked >> table.half);
        let join = Join::of(early.count_ones(), late.count_ones(), table.length);
        let of = |subset: usize| subset * table.groups..(subset + 1) * table.groups;
        out.clear();
        for (a, b) in table.early[of(early)].iter().zip(&table.late[of(late)]) {
            let both = join.part(a, b);
            let mut order = [0.0; WIDTH];
            for l in 0..WIDTH {
                let ratio = both.sum[l] * both.sum[l].abs() / both.squares[l];
                order[l] = if both.level[l].is_nan() { ratio } else { 0.0 };
            }
            out.extend_from_slice(&order);
        }
        out.truncate(n);
    }
}

/// The Sharpe ratio of what [`orders`] gave, over `rows` rows.
fn sharpe(order: f64, rows: f64) -> f64 {
    order.abs().sqrt().copysign(order) * (rows - 1.0).sqrt() / rows
}

/// All halves of `blocks` blocks, a bit for each block, in lexicographic order of the lists of their numbers. Entry `i` and entry
/// `last - i` are complements.
fn combinations(blocks: usize) -> Vec<u32> {
    let k = blocks / 2;
    let mut current: Vec<usize> = (0..k).collect();
    let bits = |picked: &[usize]| picked.iter().fold(0, |bits, b| bits | 1 << b);
    let mut all = vec![bits(&current)];
    while let Some(i) = (0..k).rev().find(|i| current[*i] < blocks - k + i) {
        current[i] += 1;
        for j in i + 1..k {
            current[j] = current[j - 1] + 1;
        }
        all.push(bits(&current));
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

wide! {
    /// The first of the best trials inside, and its place among all outside. Both are what [`orders`] gave.
    fn judge(inside: &[f64], outside: &[f64], rows: f64) -> Side {
        let (groups, rest) = inside.as_chunks::<WIDTH>();
        let mut most = [f64::NEG_INFINITY; WIDTH];
        for group in groups {
            for l in 0..WIDTH {
                most[l] = if group[l] > most[l] { group[l] } else { most[l] };
            }
        }
        let most = most.iter().chain(rest).fold(f64::NEG_INFINITY, |most, v| if *v > most { *v } else { most });
        let selected = inside.iter().position(|v| *v == most).unwrap_or(0);
        let oos = outside[selected];
        let below: u64 = outside.iter().map(|v| u64::from(*v < oos)).sum();
        let equal: u64 = outside.iter().map(|v| u64::from(*v == oos)).sum();
        let rank = below as f64 + (equal as f64 + 1.0) / 2.0;
        Side { selected, is: sharpe(inside[selected], rows), oos: sharpe(oos, rows), omega: rank / (outside.len() as f64 + 1.0) }
    }
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
        let list = |bits: u32| (0..6).filter(|b| bits >> b & 1 == 1).collect::<Vec<_>>();
        assert!(all.iter().map(|bits| list(*bits)).is_sorted());
        assert!((0..20).all(|i| all[i] ^ all[19 - i] == 0b11_1111 && all[i].count_ones() == 3));
    }

    /// Each combination by itself, its rows side by side, in the plainest words.
    #[test]
    fn joined_subsets_give_the_ratios_of_the_rows() {
        let (trials, days, blocks) = (11, 200, 8);
        let mut data = noise(9, trials * days);
        // Three that never vary, one of them only in its first half; two that are equal.
        data[..2 * days].fill(0.002);
        data[2 * days..2 * days + days / 2].fill(-0.001);
        let (equal, from) = (data[3 * days..4 * days].to_vec(), 4 * days);
        data[from..5 * days].copy_from_slice(&equal);
        let returns = Matrix::from_vec(trials, days, data).unwrap();
        let got = cscv(&returns, blocks).unwrap();
        for (i, bits) in combinations(blocks).into_iter().enumerate() {
            let ratio = |t: usize, inside: bool| {
                let rows: Vec<f64> = (0..days).filter(|d| (bits >> (d / 25) & 1 == 1) == inside).map(|d| returns.at(t, d)).collect();
                let mean = rows.iter().sum::<f64>() / rows.len() as f64;
                let variance = rows.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (rows.len() - 1) as f64;
                if rows.iter().all(|r| *r == rows[0]) { 0.0 } else { mean / variance.sqrt() }
            };
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1e-3);
            let best = (0..trials).fold(0, |best, t| if ratio(t, true) > ratio(best, true) { t } else { best });
            assert_eq!(got.selected[i], best, "{bits:b}");
            assert!(near(got.is_sharpe[i], ratio(best, true)) && near(got.oos_sharpe[i], ratio(best, false)), "{bits:b}");
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
