//! Diebold–Mariano test: do two forecasts differ in accuracy by more than chance?
//!
//! Diebold and Mariano, "Comparing Predictive Accuracy", J. Business & Economic Statistics 13(3), 1995, with the
//! small-sample correction of Harvey, Leybourne and Newbold, Int. J. Forecasting 13(2), 1997, and Student's t with n - 1
//! degrees of freedom. The loss differential is `|e1|^power - |e2|^power`: a positive statistic says that the first
//! forecast loses more. The rectangular long-run variance of forecasts `h` steps ahead can be negative; that is a stated
//! outcome to be answered with Bartlett weights, never silently with another horizon.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// What an error costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Its square.
    Mse,
    /// Its size.
    Mae,
}

impl Loss {
    fn of(self, error: f64) -> f64 {
        match self {
            Self::Mse => error * error,
            Self::Mae => error.abs(),
        }
    }
}

/// How autocovariances up to lag `h - 1` enter the long-run variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// All with weight 1: unbiased for forecasts `h` steps ahead, and may be negative.
    Rectangular,
    /// With weight `1 - lag / h`: never negative.
    Bartlett,
}

/// Whether there is a statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[serde(rename = "OK")]
    Ok,
    /// The loss differential never moves.
    #[serde(rename = "ZERO_VARIANCE")]
    ZeroVariance,
    /// The rectangular estimate is negative: use [`Kernel::Bartlett`].
    #[serde(rename = "NEGATIVE_VARIANCE")]
    NegativeVariance,
}

/// The statistic and its probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistic {
    /// Without the small-sample correction.
    pub uncorrected: f64,
    pub corrected: f64,
    pub p_two_sided: f64,
    /// That the first forecast is not the better one.
    pub p_first_better: f64,
    /// That the second forecast is not the better one.
    pub p_second_better: f64,
}

/// The outcome of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub mean_loss_difference: f64,
    /// Long-run variance of the mean loss differential.
    pub variance_of_mean: f64,
    pub status: Status,
    /// Null unless `status` is `OK`.
    pub statistic: Option<Statistic>,
}

fn undefined(cause: String) -> Error {
    Error::new(code::ML_UNDEFINED, "the Diebold-Mariano test is undefined").cause(cause)
}

/// Test forecasts with errors `e1` and `e2` of the same outcomes, made `horizon` steps ahead.
///
/// Undefined with fewer than two outcomes, a missing error, or a horizon of 0 or not below the number of outcomes.
pub fn test(e1: &[f64], e2: &[f64], horizon: usize, loss: Loss, kernel: Kernel) -> Result<Outcome> {
    if e1.len() != e2.len() {
        return Err(Error::bug(text!("{} errors and {} errors", e1.len(), e2.len())));
    }
    let n = e1.len();
    if n < 2 || horizon == 0 || horizon >= n {
        return Err(undefined(text!("{n} outcomes and a horizon of {horizon}")));
    }
    let d: Vec<f64> = e1.iter().zip(e2).map(|(a, b)| loss.of(*a) - loss.of(*b)).collect();
    if d.iter().any(|v| !v.is_finite()) {
        return Err(undefined("a forecast or an outcome is missing".into()));
    }
    let (size, h) = (n as f64, horizon as f64);
    let mean = d.iter().sum::<f64>() / size;
    let covariance = |lag: usize| (lag..n).map(|t| (d[t] - mean) * (d[t - lag] - mean)).sum::<f64>() / size;
    let weight = |lag: usize| if kernel == Kernel::Bartlett { 1.0 - lag as f64 / h } else { 1.0 };
    let flat = d.iter().all(|v| *v == d[0]);
    let long_run = if flat { 0.0 } else { covariance(0) + (1..horizon).map(|lag| 2.0 * weight(lag) * covariance(lag)).sum::<f64>() };
    let outcome = |status, statistic| Outcome { mean_loss_difference: mean, variance_of_mean: long_run / size, status, statistic };
    if long_run == 0.0 {
        return Ok(outcome(Status::ZeroVariance, None));
    }
    if long_run < 0.0 {
        return Ok(outcome(Status::NegativeVariance, None));
    }
    let uncorrected = mean / (long_run / size).sqrt();
    let factor = (size + 1.0 - 2.0 * h + h * (h - 1.0) / size) / size;
    if factor <= 0.0 {
        return Err(undefined(text!("the small-sample correction needs more than {n} outcomes for a horizon of {horizon}")));
    }
    let corrected = uncorrected * factor.sqrt();
    let t = StudentsT::new(0.0, 1.0, size - 1.0).map_err(|e| undefined(e.to_string()))?;
    let below = t.cdf(corrected);
    // Of the smaller tail, computed directly: 1 - cdf would lose digits.
    let above = t.cdf(-corrected);
    let statistic = Statistic { uncorrected, corrected, p_two_sided: 2.0 * below.min(above), p_first_better: below, p_second_better: above };
    Ok(outcome(Status::Ok, Some(statistic)))
}

/// The rectangular test, and where its variance is negative the Bartlett one. The kernel that was used comes with it.
pub fn test_or_bartlett(e1: &[f64], e2: &[f64], horizon: usize, loss: Loss) -> Result<(Outcome, Kernel)> {
    let first = test(e1, e2, horizon, loss, Kernel::Rectangular)?;
    if first.status == Status::NegativeVariance {
        return Ok((test(e1, e2, horizon, loss, Kernel::Bartlett)?, Kernel::Bartlett));
    }
    Ok((first, Kernel::Rectangular))
}

/// Symmetric mean absolute percentage error, `mean 200 |y - f| / (|y| + |f|)`, in percent; a pair of zeros counts as 0.
pub fn smape_pct(outcomes: &[f64], forecasts: &[f64]) -> Result<f64> {
    let terms: Vec<f64> =
        outcomes.iter().zip(forecasts).map(|(y, f)| if y.abs() + f.abs() == 0.0 { 0.0 } else { 200.0 * (y - f).abs() / (y.abs() + f.abs()) }).collect();
    crate::types::defined(terms.iter().sum::<f64>() / terms.len() as f64, "the percentage error", "there are no forecasts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;

    #[test]
    fn equal_forecasts_have_no_statistic_and_a_better_one_is_found() {
        let (e1, e2) = (noise(1, 300), noise(2, 300));
        assert_eq!(test(&e1, &e1, 3, Loss::Mse, Kernel::Rectangular).unwrap().status, Status::ZeroVariance);
        let even = test(&e1, &e2, 1, Loss::Mse, Kernel::Rectangular).unwrap().statistic.unwrap();
        assert!(even.p_two_sided > 0.05, "{even:?}");
        let worse: Vec<f64> = e1.iter().map(|e| 2.0 * e).collect();
        let s = test(&worse, &e2, 1, Loss::Mae, Kernel::Bartlett).unwrap().statistic.unwrap();
        assert!(s.corrected > 5.0 && s.p_second_better < 1e-6, "{s:?}");
    }

    #[test]
    fn a_negative_variance_is_said_and_answered_with_bartlett_weights() {
        let e1: Vec<f64> = (0..30).map(|i| 1.0 + if i % 2 == 0 { 1.0 } else { 0.0 }).collect();
        let e2 = vec![1.0; 30];
        let first = test(&e1, &e2, 2, Loss::Mse, Kernel::Rectangular).unwrap();
        assert!(first.status == Status::NegativeVariance && first.statistic.is_none());
        let (second, kernel) = test_or_bartlett(&e1, &e2, 2, Loss::Mse).unwrap();
        assert!(kernel == Kernel::Bartlett && second.status == Status::Ok);
    }

    #[test]
    fn too_few_outcomes_or_a_missing_one_are_undefined() {
        assert!(test(&[1.0], &[1.0], 1, Loss::Mse, Kernel::Rectangular).unwrap_err().is(code::ML_UNDEFINED));
        assert!(test(&[1.0; 5], &[1.0; 5], 5, Loss::Mse, Kernel::Rectangular).unwrap_err().is(code::ML_UNDEFINED));
        assert!(test(&[1.0, f64::NAN, 2.0], &[1.0; 3], 1, Loss::Mse, Kernel::Rectangular).is_err());
    }
}
