//! The little linear algebra that a book of a few hundred names needs: covariance, products, a symmetric solver.

use crate::types::Matrix;
use data_layer::error::{Error, Result, code};

/// Means of the rows of `series` (names x observations), and their covariance with ddof 1, both times `periods`.
/// Two passes: a running sum of squares loses the digits that small returns have.
pub fn moments(series: &Matrix, periods: f64) -> Result<(Vec<f64>, Matrix)> {
    let (n, t) = (series.rows(), series.cols());
    if t < 2 || series.values().iter().any(|v| !v.is_finite()) {
        return Err(Error::new(code::ML_UNDEFINED, "a covariance is undefined").cause("it needs two complete observations").found(text!("{t} observations")));
    }
    let mean: Vec<f64> = (0..n).map(|i| series.row(i).iter().sum::<f64>() / t as f64).collect();
    let mut cov = Matrix::missing(n, n);
    for i in 0..n {
        for j in 0..=i {
            let pairs = series.row(i).iter().zip(series.row(j));
            let c = pairs.map(|(a, b)| (a - mean[i]) * (b - mean[j])).sum::<f64>() / (t as f64 - 1.0) * periods;
            cov.set(i, j, c);
            cov.set(j, i, c);
        }
    }
    Ok((mean.iter().map(|m| m * periods).collect(), cov))
}

/// A covariance from volatilities and one correlation for all pairs.
pub fn equal_correlation(vols: &[f64], correlation: f64) -> Matrix {
    let mut cov = Matrix::missing(vols.len(), vols.len());
    for (i, a) in vols.iter().enumerate() {
        for (j, b) in vols.iter().enumerate() {
            cov.set(i, j, if i == j { a * a } else { correlation * a * b });
        }
    }
    cov
}

/// `a' M b`.
pub fn quadratic(a: &[f64], m: &Matrix, b: &[f64]) -> f64 {
    (0..m.rows()).map(|i| a[i] * m.row(i).iter().zip(b).map(|(x, y)| x * y).sum::<f64>()).sum()
}

/// `sqrt(w' C w)`; rounding below zero is zero.
pub fn volatility(weights: &[f64], cov: &Matrix) -> f64 {
    quadratic(weights, cov, weights).max(0.0).sqrt()
}

/// Solve `m x = b` for a symmetric positive definite `m` by Cholesky's factors. A matrix that is not refuses: a pseudo
/// solution would be a position that nobody asked for.
pub fn solve_spd(m: &Matrix, b: &[f64]) -> Result<Vec<f64>> {
    let n = m.rows();
    let mut l = Matrix::from_vec(n, n, vec![0.0; n * n])?;
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l.at(i, k) * l.at(j, k)).sum();
            let rest = m.at(i, j) - dot;
            if i != j {
                l.set(i, j, rest / l.at(j, j));
            } else if rest > 1e-14 * m.at(i, i).abs() && rest.is_finite() {
                l.set(i, i, rest.sqrt());
            } else {
                return Err(
                    Error::new(code::ML_UNDEFINED, "a system of equations has no unique solution").cause("two of its names move as one, or one does not move")
                );
            }
        }
    }
    let mut x = b.to_vec();
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| l.at(i, k) * x[k]).sum();
        x[i] = (x[i] - dot) / l.at(i, i);
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| l.at(k, i) * x[k]).sum();
        x[i] = (x[i] - dot) / l.at(i, i);
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_a_singular_one_refused() {
        let m = Matrix::from_vec(2, 2, vec![4.0, 1.0, 1.0, 3.0]).unwrap();
        let x = solve_spd(&m, &[1.0, 2.0]).unwrap();
        assert!((x[0] - 1.0 / 11.0).abs() < 1e-15 && (x[1] - 7.0 / 11.0).abs() < 1e-15);
        let twins = Matrix::from_vec(2, 2, vec![1.0, 1.0, 1.0, 1.0]).unwrap();
        assert!(solve_spd(&twins, &[1.0, 2.0]).unwrap_err().is(code::ML_UNDEFINED));
    }

    #[test]
    fn a_missing_return_makes_no_covariance() {
        let m = Matrix::from_vec(1, 3, vec![0.1, f64::NAN, 0.2]).unwrap();
        assert!(moments(&m, 252.0).unwrap_err().is(code::ML_UNDEFINED));
    }
}
