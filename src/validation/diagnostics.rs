//! Is what a model leaves over still predictable, and is it normal: autocorrelations, Ljung–Box, Jarque–Bera.
//!
//! Ljung and Box, Biometrika 65(2), 1978; Jarque and Bera, Int. Statistical Review 55(2), 1987. Autocovariances divide by
//! n; moments are of the population.

use crate::types::defined;
use crate::validation::dsr::{Moments, moments};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// A statistic and the probability of one at least as large by chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    pub statistic: f64,
    pub p: f64,
}

fn tail(statistic: f64, degrees: usize) -> Result<f64> {
    let undefined = |cause: String| Error::new(code::ML_UNDEFINED, "the test has no distribution").cause(cause);
    let chi = ChiSquared::new(degrees as f64).map_err(|e| undefined(e.to_string()))?;
    defined(chi.sf(statistic), "the probability", "the statistic is missing")
}

/// Autocorrelations at lags 1 to `lags`. Undefined when the series does not vary, has a hole, or is not longer than that.
pub fn autocorrelations(x: &[f64], lags: usize) -> Result<Vec<f64>> {
    let m = moments(x)?;
    if lags >= x.len() {
        return Err(Error::new(code::ML_UNDEFINED, "the autocorrelation is undefined").cause(text!("{} values and a lag of {lags}", x.len())));
    }
    let product = |lag: usize| (lag..x.len()).map(|t| (x[t] - m.mean) * (x[t - lag] - m.mean)).sum::<f64>();
    let spread = product(0);
    Ok((1..=lags).map(|lag| product(lag) / spread).collect())
}

/// Box and Pierce's statistic, `n sum rho^2`.
pub fn box_pierce(x: &[f64], lags: usize) -> Result<f64> {
    Ok(x.len() as f64 * autocorrelations(x, lags)?.iter().map(|r| r * r).sum::<f64>())
}

/// Ljung and Box's test of no autocorrelation up to `lags`; `fitted` is the number of fitted ARMA parameters whose
/// residuals these are. Undefined when it leaves no degree of freedom.
pub fn ljung_box(x: &[f64], lags: usize, fitted: usize) -> Result<Tested> {
    let n = x.len() as f64;
    let terms = autocorrelations(x, lags)?.into_iter().enumerate().map(|(i, r)| r * r / (n - (i + 1) as f64)).sum::<f64>();
    let statistic = n * (n + 2.0) * terms;
    match lags.checked_sub(fitted).filter(|d| *d > 0) {
        Some(degrees) => Ok(Tested { statistic, p: tail(statistic, degrees)? }),
        None => Err(Error::new(code::ML_UNDEFINED, "the test has no degree of freedom left").found(text!("{lags} lags, {fitted} fitted parameters"))),
    }
}

/// Jarque and Bera's test of normality, with the moments it rests on.
pub fn jarque_bera(x: &[f64]) -> Result<(Tested, Moments)> {
    let m = moments(x)?;
    let statistic = m.n as f64 / 6.0 * (m.skew * m.skew + (m.kurtosis - 3.0).powi(2) / 4.0);
    Ok((Tested { statistic, p: tail(statistic, 2)? }, m))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;

    #[test]
    fn noise_passes_and_a_moving_average_does_not() {
        let e = noise(4, 500);
        assert!(ljung_box(&e, 10, 0).unwrap().p > 0.01);
        let smooth: Vec<f64> = e.windows(3).map(|w| w.iter().sum()).collect();
        assert!(ljung_box(&smooth, 10, 0).unwrap().p < 1e-6);
        assert!(jarque_bera(&e).unwrap().0.p > 0.01);
        let fat: Vec<f64> = e.iter().map(|v| v.powi(3)).collect();
        assert!(jarque_bera(&fat).unwrap().0.p < 1e-6);
    }

    #[test]
    fn what_has_no_answer_is_undefined() {
        assert!(autocorrelations(&[1.0; 10], 2).unwrap_err().is(code::ML_UNDEFINED));
        assert!(autocorrelations(&[1.0, 2.0], 2).unwrap_err().is(code::ML_UNDEFINED));
        assert!(ljung_box(&noise(1, 50), 2, 2).unwrap_err().is(code::ML_UNDEFINED));
    }
}
