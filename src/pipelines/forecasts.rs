//! Do challenger and champion forecast differently well? A test of Diebold and Mariano on the errors of their rankings.
//!
//! The two score in different units, so scores and outcomes are compared as ranks among the names that both score on a
//! date; a date's loss is the mean squared distance of the ranks. Labels overlap for the horizon, which the test's
//! long-run variance covers.

use crate::features::standardise::rank_centred;
use crate::types::Matrix;
use crate::validation::diebold_mariano::{self, Kernel, Loss};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Names that both must score on a date.
const LEAST_NAMES: usize = 10;

/// The outcome of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastTest {
    pub dates: usize,
    /// Challenger minus champion: below 0, the challenger's ranking is closer to what happened.
    pub mean_loss_difference: f64,
    /// With the small-sample correction.
    pub statistic: f64,
    pub p_two_sided: f64,
    pub kernel: Kernel,
}

impl ForecastTest {
    pub fn sentence(&self) -> String {
        let better = if self.mean_loss_difference < 0.0 { "challenger" } else { "champion" };
        text!(
            "Diebold-Mariano test of the rankings over {} dates: the {better}'s is closer to what happened, statistic {:.2}, p {:.3}",
            self.dates,
            self.statistic,
            self.p_two_sided
        )
    }
}

/// Compare two score tables (`symbols x days`) on the given days. Undefined without enough common dates, or when both
/// rank alike.
pub fn compare(ours: &Matrix, theirs: &Matrix, labels: &Matrix, days: Range<usize>, horizon: usize) -> Result<ForecastTest> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (x, y) in days.filter_map(|t| errors(ours, theirs, labels, t)) {
        a.push(x);
        b.push(y);
    }
    let (outcome, kernel) = diebold_mariano::test_or_bartlett(&a, &b, horizon, Loss::Mse)?;
    let statistic = outcome.statistic.ok_or_else(|| {
        Error::new(code::ML_UNDEFINED, "the comparison of forecasts is undefined").cause(text!("the losses give no variance: {:?}", outcome.status))
    })?;
    Ok(ForecastTest {
        dates: a.len(),
        mean_loss_difference: outcome.mean_loss_difference,
        statistic: statistic.corrected,
        p_two_sided: statistic.p_two_sided,
        kernel,
    })
}

/// Root of the mean squared distance of ranks on one date, of both.
fn errors(ours: &Matrix, theirs: &Matrix, labels: &Matrix, t: usize) -> Option<(f64, f64)> {
    let all = |s: &usize| ours.at(*s, t).is_finite() && theirs.at(*s, t).is_finite() && labels.at(*s, t).is_finite();
    let names: Vec<usize> = (0..labels.rows()).filter(all).collect();
    if names.len() < LEAST_NAMES {
        return None;
    }
    let ranks = |m: &Matrix| rank_centred(&names.iter().map(|s| m.at(*s, t)).collect::<Vec<_>>());
    let truth = ranks(labels);
    let distance = |m: &Matrix| (ranks(m).iter().zip(&truth).map(|(r, y)| (r - y).powi(2)).sum::<f64>() / names.len() as f64).sqrt();
    Some((distance(ours), distance(theirs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;

    #[test]
    fn the_better_ranking_is_named_and_equal_ones_are_undefined() {
        let (names, days) = (20, 120);
        let n = names * days;
        let matrix = |v: Vec<f64>| Matrix::from_vec(names, days, v).unwrap();
        let y = noise(1, n);
        let (good, bad) = (matrix(y.iter().zip(noise(2, n)).map(|(y, e)| y + 2.0 * e).collect()), matrix(noise(3, n)));
        let labels = matrix(y);
        let t = compare(&good, &bad, &labels, 0..days, 5).unwrap();
        assert!(t.mean_loss_difference < 0.0 && t.statistic < -3.0 && t.p_two_sided < 0.01 && t.dates == days, "{t:?}");
        assert!(t.sentence().contains("challenger"));
        let back = compare(&bad, &good, &labels, 0..days, 5).unwrap();
        assert!((back.statistic + t.statistic).abs() < 1e-9);
        assert!(compare(&good, &good, &labels, 0..days, 5).unwrap_err().is(code::ML_UNDEFINED));
        assert!(compare(&good, &bad, &labels, 0..3, 5).unwrap_err().is(code::ML_UNDEFINED));
    }
}
