//! Growth-optimal fractions (Kelly 1956; Thorp 2006), of which a book uses a part: the estimates behind them are noisy.

use crate::portfolio::linear;
use crate::types::{Matrix, defined};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// The share of full Kelly that a book may use.
pub const FRACTION_RANGE: (f64, f64) = (0.2, 0.5);

/// A bet that wins `b` per 1 staked with probability `p`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BinaryKelly {
    /// `p - (1 - p) / b`; negative when the bet is not worth taking.
    pub full_kelly_raw: f64,
    /// The same, and 0 for a negative edge: nobody sells a single-name signal short because it is weak.
    pub full_kelly_long_only: f64,
    /// Expected log growth per bet at the long-only fraction.
    pub log_growth_at_full: f64,
}

/// The fraction of wealth to stake on a binary bet. A probability outside `[0, 1]` or odds of 0 or below refuse.
pub fn binary(p: f64, b: f64) -> Result<BinaryKelly> {
    if !((0.0..=1.0).contains(&p) && b.is_finite() && b > 0.0) {
        return Err(undefined("a probability between 0 and 1 and positive odds are needed", text!("p {p}, odds {b}")));
    }
    let raw = p - (1.0 - p) / b;
    let f = raw.max(0.0);
    // A certain win stakes everything, and the branch that never happens costs nothing.
    let term = |weight: f64, wealth: f64| if weight == 0.0 { 0.0 } else { weight * wealth.ln() };
    Ok(BinaryKelly { full_kelly_raw: raw, full_kelly_long_only: f, log_growth_at_full: term(p, 1.0 + b * f) + term(1.0 - p, 1.0 - f) })
}

/// One asset with an annual excess return and volatility.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContinuousKelly {
    /// Leverage `mu / sigma^2`.
    pub full_kelly: f64,
    /// Annual log growth at it, `mu^2 / (2 sigma^2)`.
    pub growth_at_full: f64,
}

/// The growth-optimal leverage in one asset. A volatility of 0 is an error.
pub fn continuous(mu: f64, sigma: f64) -> Result<ContinuousKelly> {
    let variance = sigma * sigma;
    let (why, found) = ("the volatility is zero or missing", text!("mu {mu}, sigma {sigma}"));
    if !(variance > 0.0 && mu.is_finite() && variance.is_finite()) {
        return Err(undefined(why, found));
    }
    Ok(ContinuousKelly { full_kelly: defined(mu / variance, "a Kelly fraction", why)?, growth_at_full: 0.5 * mu * mu / variance })
}

/// Several assets at once.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiKelly {
    pub mu_annual: Vec<f64>,
    pub cov_annual: Matrix,
    /// `Sigma^-1 mu`.
    pub full_kelly: Vec<f64>,
    /// Sum of the absolute fractions.
    pub leverage: f64,
}

/// The growth-optimal book of simple daily excess returns (`assets x days`). A singular covariance is an error.
pub fn multi(daily: &Matrix) -> Result<MultiKelly> {
    let (mu_annual, cov_annual) = linear::moments(daily, crate::portfolio::SESSIONS_PER_YEAR)?;
    let full_kelly = linear::solve_spd(&cov_annual, &mu_annual)?;
    let leverage = full_kelly.iter().map(|f| f.abs()).sum();
    Ok(MultiKelly { mu_annual, cov_annual, full_kelly, leverage })
}

/// An edge to bet on: the lower end of its interval, and 0 when the interval reaches the other side of zero.
pub fn conservative_edge(value: f64, low: f64, high: f64) -> Result<f64> {
    if !(low.is_finite() && high.is_finite() && low <= value && value <= high) {
        return Err(undefined("the edge has no interval around it", format!("{low} .. {value} .. {high}")));
    }
    Ok(if low > 0.0 {
        low
    } else if high < 0.0 {
        high
    } else {
        0.0
    })
}

fn undefined(why: &str, found: String) -> Error {
    Error::new(code::ML_UNDEFINED, "a Kelly fraction is undefined").cause(why).found(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_staked_without_odds_volatility_or_an_edge_beyond_doubt() {
        assert!(binary(0.6, 0.0).unwrap_err().is(code::ML_UNDEFINED));
        assert!(binary(1.1, 1.0).is_err() && binary(f64::NAN, 1.0).is_err());
        assert!(continuous(0.1, 0.0).is_err() && continuous(0.1, 1e-200).is_err());
        assert_eq!(conservative_edge(0.02, 0.01, 0.03).unwrap(), 0.01);
        assert_eq!(conservative_edge(-0.02, -0.03, -0.01).unwrap(), -0.01);
        assert_eq!(conservative_edge(0.02, -0.01, 0.05).unwrap(), 0.0);
        assert!(conservative_edge(0.02, 0.03, 0.05).is_err());
    }

    proptest! {
        #[test]
        fn no_other_stake_grows_faster(p in 0.05f64..0.95, b in 0.2f64..5.0, other in 0.0f64..0.999) {
            let k = binary(p, b).unwrap();
            let growth = p * (1.0 + b * other).ln() + (1.0 - p) * (1.0 - other).ln();
            prop_assert!(growth <= k.log_growth_at_full + 1e-12);
        }
    }
}
