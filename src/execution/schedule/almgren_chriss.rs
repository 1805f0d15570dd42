//! Optimal liquidation in discrete time, after Almgren and Chriss, "Optimal execution of portfolio transactions" (2000).
//!
//! With `tau = T / N` and `eta~ = eta - gamma tau / 2`, the trajectory that minimises `E + lambda V` is
//! `x_j = X sinh(kappa (T - t_j)) / sinh(kappa T)`, where `cosh(kappa tau) = 1 + lambda sigma^2 tau^2 / (2 eta~)`.
//! All impact coefficients are in dollars and shares; a fraction of the price is another quantity and never enters.

use crate::types::defined;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// The 5 % quantile of the cost, in standard deviations.
const LVAR_Z: f64 = 1.64;

/// A position to be closed. Negative shares are bought back; costs are the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "X")]
    pub shares: f64,
    /// Time to finish, in days.
    #[serde(rename = "T")]
    pub days: f64,
    #[serde(rename = "N")]
    pub periods: usize,
    /// Dollars per share and square root of a day.
    pub sigma: f64,
    /// Temporary impact, dollars x day per share squared.
    pub eta: f64,
    /// Permanent impact, dollars per share squared.
    pub gamma: f64,
    /// Half spread and fee, dollars per share.
    pub eps: f64,
}

/// The optimal way for one aversion to risk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Risk aversion, per dollar.
    pub lambda: f64,
    /// Urgency, per day; absent where there is no exponential shape (one period, negative aversion).
    pub kappa: Option<f64>,
    /// `1 / kappa`, days.
    pub half_life: Option<f64>,
    /// Shares left, from the start to the end: `N + 1` values.
    pub holdings: Vec<f64>,
    /// Shares traded in each period.
    pub trades: Vec<f64>,
    pub expected_cost: f64,
    pub variance: f64,
    pub std: f64,
    #[serde(rename = "utility_E_plus_lambda_V")]
    pub utility: f64,
    /// The cost that is exceeded with a probability of about 5 %.
    #[serde(rename = "lvar_1.64")]
    pub lvar: f64,
}

impl Problem {
    fn tau(&self) -> f64 {
        self.days / self.periods as f64
    }

    /// Temporary impact with the permanent impact's share inside a period taken out.
    fn eta_discrete(&self) -> f64 {
        self.eta - 0.5 * self.gamma * self.tau()
    }

    /// Refuse what has no optimum: with `eta~ <= 0` trading faster would be rewarded without end.
    pub fn check(&self) -> Result<()> {
        let at_least_0 = [self.sigma, self.gamma, self.eps].iter().all(|v| v.is_finite() && *v >= 0.0);
        let sized = self.shares.is_finite() && self.days.is_finite() && self.days > 0.0 && self.periods > 0;
        if sized && at_least_0 && self.eta_discrete() > 0.0 && self.eta.is_finite() {
            return Ok(());
        }
        Err(undefined("temporary impact must exceed half of what a period's permanent impact takes back", format!("{self:?}")))
    }

    /// The best trajectory at risk aversion `lambda`. Zero is the straight line; a negative one delays, as long as that has
    /// an optimum at all.
    pub fn trajectory(&self, lambda: f64) -> Result<Trajectory> {
        self.check()?;
        let tau = self.tau();
        let bend = defined(lambda * self.sigma * self.sigma * tau * tau / (2.0 * self.eta_discrete()), "a trajectory", "the risk aversion is not a number")?;
        let n = self.periods;
        let shape = Shape::of(bend, n)?;
        let holdings: Vec<f64> = (0..=n).map(|j| self.shares * shape.left(j, n)).collect();
        let trades: Vec<f64> = holdings.windows(2).map(|w| w[0] - w[1]).collect();
        let absolute: f64 = trades.iter().map(|q| q.abs()).sum();
        let squared: f64 = trades.iter().map(|q| q * q).sum();
        let expected_cost = 0.5 * self.gamma * self.shares * self.shares + self.eps * absolute + self.eta_discrete() / tau * squared;
        let variance = self.sigma * self.sigma * tau * holdings[1..].iter().map(|x| x * x).sum::<f64>();
        let kappa = shape.angle().map(|a| a / tau);
        let std = variance.sqrt();
        Ok(Trajectory {
            lambda,
            kappa,
            half_life: kappa.filter(|k| *k > 0.0).map(|k| 1.0 / k),
            holdings,
            trades,
            expected_cost,
            variance,
            std,
            utility: expected_cost + lambda * variance,
            lvar: expected_cost + LVAR_Z * std,
        })
    }
}

/// How holdings fall over the periods.
enum Shape {
    /// One period: everything at once, whatever the aversion.
    Single,
    Line,
    /// `kappa tau`.
    Exponential(f64),
    /// The angle of the delayed, concave path.
    Sine(f64),
}

impl Shape {
    fn of(bend: f64, periods: usize) -> Result<Self> {
        if periods == 1 {
            return Ok(Self::Single);
        }
        if bend == 0.0 {
            return Ok(Self::Line);
        }
        if bend > 0.0 {
            // acosh(1 + y) without the cancellation that 1 + y brings for a small y.
            return Ok(Self::Exponential((bend + (bend * (bend + 2.0)).sqrt()).ln_1p()));
        }
        let half = (-0.5 * bend).sqrt();
        let angle = 2.0 * half.min(1.0).asin();
        if half >= 1.0 || angle * periods as f64 >= std::f64::consts::PI {
            return Err(undefined("risk is liked so much that waiting for ever would be best", text!("bend {bend}")));
        }
        Ok(Self::Sine(angle))
    }

    fn angle(&self) -> Option<f64> {
        match self {
            Self::Line => Some(0.0),
            Self::Exponential(a) => Some(*a),
            Self::Single | Self::Sine(_) => None,
        }
    }

    /// The share that is left after `j` of `n` periods.
    fn left(&self, j: usize, n: usize) -> f64 {
        let (from_start, to_end, all) = (j as f64, (n - j) as f64, n as f64);
        match self {
            _ if j == 0 => 1.0,
            _ if j == n => 0.0,
            Self::Single | Self::Line => to_end / all,
            // sinh(a b) / sinh(a c) without overflow: exponents of at most zero only.
            Self::Exponential(a) => (-a * from_start).exp() * (-2.0 * a * to_end).exp_m1() / (-2.0 * a * all).exp_m1(),
            Self::Sine(a) => (a * to_end).sin() / (a * all).sin(),
        }
    }
}

fn undefined(why: &str, found: String) -> Error {
    Error::new(code::ML_UNDEFINED, "there is no optimal trajectory").cause(why).found(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Any vector of the topic: every row, every key, with the tolerance that the vector names for it.
    fn golden(text: &str) {
        let doc: Value = serde_json::from_str(text).unwrap();
        let problem: Problem = serde_json::from_value(doc["inputs"].clone()).unwrap();
        let lambdas = doc["inputs"]["lambdas"].as_array().unwrap();
        let rows = doc["expected"]["rows"].as_array().unwrap();
        assert_eq!(lambdas.len(), rows.len());
        for (lambda, row) in lambdas.iter().zip(rows) {
            let got = serde_json::to_value(problem.trajectory(lambda.as_f64().unwrap()).unwrap()).unwrap();
            for (key, want) in row.as_object().unwrap() {
                let tolerance = doc["tolerance"].get(key).unwrap_or(&doc["tolerance"]["default"]);
                let (abs, rel) = (tolerance["abs"].as_f64().unwrap(), tolerance["rel"].as_f64().unwrap());
                crate::validation::golden::compare(&got[key], want, abs, rel, &format!("{} {lambda} {key}", doc["case"]));
            }
        }
    }

    #[test]
    fn stored_vectors() {
        golden(include_str!("../../../tests/golden/almgren_chriss/ac2000_table1.json"));
        golden(include_str!("../../../tests/golden/almgren_chriss/buy.json"));
        golden(include_str!("../../../tests/golden/almgren_chriss/hourly.json"));
        golden(include_str!("../../../tests/golden/almgren_chriss/negative_lambda.json"));
        golden(include_str!("../../../tests/golden/almgren_chriss/negative_lambda_published_C.json"));
        golden(include_str!("../../../tests/golden/almgren_chriss/one_period.json"));
    }

    fn problem() -> Problem {
        Problem { shares: 1e6, days: 5.0, periods: 20, sigma: 0.95, eta: 2.5e-6, gamma: 2.5e-7, eps: 0.0625 }
    }

    #[test]
    fn an_extreme_urgency_does_not_overflow_and_what_has_no_optimum_refuses() {
        let fast = problem().trajectory(1e6).unwrap();
        assert!(fast.holdings.iter().all(|x| x.is_finite()) && fast.holdings[1] < 1.0);
        assert!(Problem { eta: 1e-9, ..problem() }.trajectory(1e-6).unwrap_err().is(code::ML_UNDEFINED));
        assert!(problem().trajectory(-1.0).unwrap_err().is(code::ML_UNDEFINED));
        assert!(problem().trajectory(f64::NAN).is_err());
        assert!(Problem { periods: 0, ..problem() }.trajectory(0.0).is_err());
    }

    proptest! {
        #[test]
        fn cost_rises_and_variance_falls_with_aversion_and_no_detour_is_better(l in -8f64..-4.0, more in 0.1f64..2.0, at in 1usize..19, by in -1e4f64..1e4) {
            let (p, lambda) = (problem(), 10f64.powf(l));
            let (a, b) = (p.trajectory(lambda).unwrap(), p.trajectory(lambda * 10f64.powf(more)).unwrap());
            prop_assert!(b.expected_cost >= a.expected_cost - 1e-6 && b.variance <= a.variance + 1e-3);
            // Hold a little more or less at one moment: the quadratic objective can only grow.
            let mut x = a.holdings.clone();
            x[at] += by;
            let trades: Vec<f64> = x.windows(2).map(|w| w[0] - w[1]).collect();
            let e = 0.5 * p.gamma * p.shares * p.shares + p.eps * trades.iter().map(|q| q.abs()).sum::<f64>()
                + p.eta_discrete() / p.tau() * trades.iter().map(|q| q * q).sum::<f64>();
            let v = p.sigma * p.sigma * p.tau() * x[1..].iter().map(|x| x * x).sum::<f64>();
            prop_assert!(e + lambda * v >= a.utility * (1.0 - 1e-12));
        }
    }
}
