//! Ridge regression: the baseline that a learner of trees must beat.
//!
//! Rows are standardised features with missing values at 0, the mean of their day. Weighted least squares with an
//! intercept that is not shrunk; the penalty is a share of the mean diagonal, so that one number means the same for any
//! number of rows. Solved by Cholesky's factorisation of the normal equations.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// A fitted line through the features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ridge {
    pub intercept: f64,
    /// One per feature.
    pub weights: Vec<f64>,
}

/// Sums of a set of rows; sets can be added.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    cols: usize,
    weight: f64,
    /// Per feature: sum, then product with the label.
    x: Vec<f64>,
    xy: Vec<f64>,
    y: f64,
    /// Lower triangle of the products, row by row.
    xx: Vec<f64>,
}

impl Sums {
    pub fn new(cols: usize) -> Self {
        Self { cols, weight: 0.0, x: vec![0.0; cols], xy: vec![0.0; cols], y: 0.0, xx: vec![0.0; cols * (cols + 1) / 2] }
    }

    /// Add one row. A row without a label or weight must not be offered.
    pub fn add(&mut self, row: &[f32], label: f64, weight: f64) {
        self.weight += weight;
        self.y += weight * label;
        let mut at = 0;
        for (i, a) in row.iter().enumerate() {
            let a = if a.is_finite() { f64::from(*a) } else { 0.0 };
            let wa = weight * a;
            self.x[i] += wa;
            self.xy[i] += wa * label;
            if wa != 0.0 {
                for (b, sum) in row[..=i].iter().zip(&mut self.xx[at..]) {
                    *sum += wa * if b.is_finite() { f64::from(*b) } else { 0.0 };
                }
            }
            at += i + 1;
        }
    }

    /// Add another set of rows over the same features, each row counting `weight` times.
    pub fn merge(&mut self, other: &Self, weight: f64) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(a, b)| *a += weight * b);
        self.weight += weight * other.weight;
        self.y += weight * other.y;
        add(&mut self.x, &other.x);
        add(&mut self.xy, &other.xy);
        add(&mut self.xx, &other.xx);
    }

    /// The sums of the same rows over some of the features, ascending.
    pub fn of_features(&self, kept: &[usize]) -> Self {
        let pick = |from: &[f64]| kept.iter().map(|f| from[*f]).collect();
        let xx = kept.iter().enumerate().flat_map(|(i, a)| kept[..=i].iter().map(move |b| self.xx[a * (a + 1) / 2 + b])).collect();
        Self { cols: kept.len(), weight: self.weight, x: pick(&self.x), xy: pick(&self.xy), y: self.y, xx }
    }

    /// The best line with penalty `lambda` times the mean variance of a feature. Undefined without rows, or with a negative penalty.
    pub fn solve(&self, lambda: f64) -> Result<Ridge> {
        let undefined = |cause: &str| Err(Error::new(code::ML_UNDEFINED, "the ridge regression is undefined").cause(cause));
        if !(self.weight > 0.0 && lambda >= 0.0) {
            return undefined("it has no rows, or a negative penalty");
        }
        let k = self.cols;
        let mean: Vec<f64> = self.x.iter().map(|s| s / self.weight).collect();
        let y_mean = self.y / self.weight;
        // Centred products: the intercept drops out and is not shrunk.
        let mut a = vec![vec![0.0; k]; k];
        let mut at = 0;
        for i in 0..k {
            for j in 0..=i {
                a[i][j] = self.xx[at] - self.weight * mean[i] * mean[j];
                at += 1;
            }
        }
        let trace: f64 = (0..k).map(|i| a[i][i]).sum();
        let penalty = lambda * trace / k.max(1) as f64;
        (0..k).for_each(|i| a[i][i] += penalty);
        let b: Vec<f64> = (0..k).map(|i| self.xy[i] - self.y * mean[i]).collect();
        let weights = match cholesky(&mut a, &b) {
            Some(w) => w,
            None => return undefined("two features say the same; a penalty above 0 settles it"),
        };
        let intercept = y_mean - weights.iter().zip(&mean).map(|(w, m)| w * m).sum::<f64>();
        Ok(Ridge { intercept, weights })
    }
}

impl Ridge {
    /// The line's value at a row; missing features count as their day's mean.
    pub fn predict(&self, row: &[f32]) -> f64 {
        self.intercept + row.iter().zip(&self.weights).map(|(x, w)| if x.is_finite() { f64::from(*x) * w } else { 0.0 }).sum::<f64>()
    }
}

/// Solve `A w = b` for the symmetric `A` whose lower triangle is given; none when it is not positive definite.
fn cholesky(a: &mut [Vec<f64>], b: &[f64]) -> Option<Vec<f64>> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|m| a[i][m] * a[j][m]).sum();
            let rest = a[i][j] - inner;
            if i == j {
                if !(rest > 1e-12 * a[i][i].abs()) {
                    return None;
                }
                a[i][i] = rest.sqrt();
            } else {
                a[i][j] = rest / a[j][j];
            }
        }
    }
    let mut w = b.to_vec();
    for i in 0..n {
        let inner: f64 = (0..i).map(|m| a[i][m] * w[m]).sum();
        w[i] = (w[i] - inner) / a[i][i];
    }
    for i in (0..n).rev() {
        let inner: f64 = (i + 1..n).map(|m| a[m][i] * w[m]).sum();
        w[i] = (w[i] - inner) / a[i][i];
    }
    Some(w)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(rows: &[([f32; 2], f64)]) -> Sums {
        let mut s = Sums::new(2);
        rows.iter().for_each(|(x, y)| s.add(x, *y, 1.0));
        s
    }

    #[test]
    fn it_finds_a_line_shrinks_it_and_leaves_the_intercept_alone() {
        let rows: Vec<([f32; 2], f64)> = (0..40).map(|i| ([(i % 7) as f32, (i % 5) as f32], 3.0 + 2.0 * f64::from(i % 7) - f64::from(i % 5))).collect();
        let exact = sums(&rows).solve(0.0).unwrap();
        assert!((exact.weights[0] - 2.0).abs() < 1e-9 && (exact.weights[1] + 1.0).abs() < 1e-9 && (exact.intercept - 3.0).abs() < 1e-9);
        assert!((exact.predict(&[1.0, f32::NAN]) - 5.0).abs() < 1e-9, "a missing feature counts as 0");
        let heavy = sums(&rows).solve(1e6).unwrap();
        let mean = rows.iter().map(|r| r.1).sum::<f64>() / 40.0;
        assert!(heavy.weights.iter().all(|w| w.abs() < 1e-4) && (heavy.predict(&[3.0, 2.0]) - mean).abs() < 1e-3);
    }

    #[test]
    fn sets_of_rows_add_up_and_some_features_are_a_regression_of_their_own() {
        let row = |i: usize| ([(i % 7) as f32, (i % 5) as f32], (i % 3) as f64 + (i % 7) as f64);
        let (first, second): (Vec<_>, Vec<_>) = ((0..20).map(row).collect(), (20..40).map(row).collect());
        let mut both = sums(&first);
        both.merge(&sums(&second), 1.0);
        assert_eq!(both.solve(0.1).unwrap(), sums(&[first.clone(), second.clone()].concat()).solve(0.1).unwrap());
        let mut twice = sums(&first);
        twice.merge(&sums(&first), 1.0);
        let mut weighted = Sums::new(2);
        weighted.merge(&sums(&first), 2.0);
        assert_eq!(twice.solve(0.1).unwrap(), weighted.solve(0.1).unwrap());
        let mut alone = Sums::new(1);
        first.iter().for_each(|(x, y)| alone.add(&x[1..], *y, 1.0));
        assert_eq!(sums(&first).of_features(&[1]).solve(0.1).unwrap(), alone.solve(0.1).unwrap());
        assert_eq!(sums(&first).of_features(&[0, 1]), sums(&first));
    }

    #[test]
    fn weights_count_and_twins_need_a_penalty() {
        let mut s = Sums::new(2);
        s.add(&[0.0, 0.0], 1.0, 3.0);
        s.add(&[1.0, 1.0], 2.0, 3.0);
        s.add(&[0.0, 0.0], 9.0, 0.0);
        assert!(s.solve(0.0).unwrap_err().is(code::ML_UNDEFINED));
        let r = s.solve(1e-6).unwrap();
        assert!((r.predict(&[1.0, 1.0]) - 2.0).abs() < 1e-4 && (r.weights[0] - r.weights[1]).abs() < 1e-9);
        assert!(Sums::new(2).solve(1.0).unwrap_err().is(code::ML_UNDEFINED));
        assert!(s.solve(-1.0).is_err());
    }
}
