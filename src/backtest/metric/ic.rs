//! Information coefficient: the rank correlation of scores and realised returns within one date, then its mean over dates.
//!
//! Never pooled over dates: a level that drifts through time without any cross-section would look like skill. The mean's
//! t-statistic uses the Newey-West variance, because labels that span several sessions overlap.

use super::{checked, mean, std};
use crate::models::rank;
pub use crate::models::rank::ranks;
use crate::types::{Matrix, defined};
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Fewer pairs on a date are no cross-section.
pub const LEAST_NAMES: usize = 10;

/// Share of the mean that must be left without any one year.
const CARRIED: f64 = 0.25;

fn pairs(scores: &[f64], labels: &[f64]) -> (Vec<f64>, Vec<f64>) {
    scores.iter().zip(labels).filter(|(s, y)| s.is_finite() && y.is_finite()).map(|(s, y)| (*s, *y)).unzip()
}

/// Pearson correlation of the pairs that are complete; undefined when a side does not vary.
pub fn pearson(scores: &[f64], labels: &[f64]) -> Result<f64> {
    let (x, y) = pairs(scores, labels);
    checked(&x, 2, "the correlation")?;
    let (mx, my) = (mean(&x), mean(&y));
    let product: f64 = x.iter().zip(&y).map(|(a, b)| (a - mx) * (b - my)).sum();
    let spread = std(&x) * std(&y) * (x.len() as f64 - 1.0);
    Ok(defined(product / spread, "the correlation", "one side does not vary")?.clamp(-1.0, 1.0))
}

/// Spearman correlation (average ranks) of the pairs that are complete, whatever their number.
pub fn spearman(scores: &[f64], labels: &[f64]) -> Result<f64> {
    let (x, y) = pairs(scores, labels);
    rank::spearman(&x, &y, 2)
}

/// Spearman correlation of one date; undefined below [`LEAST_NAMES`] complete pairs.
pub fn of_date(scores: &[f64], labels: &[f64]) -> Result<f64> {
    let n = pairs(scores, labels).0.len();
    if n < LEAST_NAMES {
        return Err(Error::new(code::ML_UNDEFINED, "the information coefficient is undefined")
            .cause(text!("a cross-section needs {LEAST_NAMES} names with a score and a return"))
            .found(n.to_string()));
    }
    spearman(scores, labels)
}

/// The coefficient of each day (column) of two `symbols x days` tables; `None` where it is undefined.
pub fn per_date(scores: &Matrix, labels: &Matrix) -> Result<Vec<Option<f64>>> {
    if (scores.rows(), scores.cols()) != (labels.rows(), labels.cols()) {
        return Err(Error::bug("scores and labels differ in shape"));
    }
    (0..scores.cols()).map(|d| Ok(of_date(&scores.column(d), &labels.column(d)).ok())).collect()
}

/// Mean of one year.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct YearIc {
    pub mean: f64,
    pub dates: usize,
}

/// The coefficient over time.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct IcSummary {
    pub mean: f64,
    pub std: f64,
    /// Newey-West.
    pub t: f64,
    pub lags: usize,
    pub dates: usize,
    /// Dates without a coefficient.
    pub undefined: usize,
    pub positive_share: f64,
    pub by_year: BTreeMap<i16, YearIc>,
}

impl IcSummary {
    /// Years whose mean has the other sign than the whole, or without which less than a quarter of it is left: skill that is not there
    /// every year.
    pub fn unstable_years(&self) -> Vec<i16> {
        let without = |y: &YearIc| {
            let rest = self.dates - y.dates;
            if rest == 0 { self.mean } else { (self.mean * self.dates as f64 - y.mean * y.dates as f64) / rest as f64 }
        };
        let unstable = |y: &YearIc| y.mean * self.mean <= 0.0 || without(y) * self.mean.signum() < CARRIED * self.mean.abs();
        self.by_year.iter().filter(|(_, y)| unstable(y)).map(|(year, _)| *year).collect()
    }

    /// One line for a report; none where every year agrees.
    pub fn sentence(&self) -> Option<String> {
        let years: Vec<String> = self.unstable_years().iter().map(i16::to_string).collect();
        (!years.is_empty()).then(|| text!("the rank IC is not there every year; against the whole, or carrying it alone: {}", years.join(", ")))
    }
}

/// Summarise daily coefficients. `lags` is at least the label's span minus one session.
pub fn summarise(days: &[TradingDay], ic: &[Option<f64>], lags: usize) -> Result<IcSummary> {
    if days.len() != ic.len() {
        return Err(Error::bug(text!("{} days and {} coefficients", days.len(), ic.len())));
    }
    let defined_on: Vec<(TradingDay, f64)> = days.iter().zip(ic).filter_map(|(d, v)| v.map(|v| (*d, v))).collect();
    let values: Vec<f64> = defined_on.iter().map(|d| d.1).collect();
    checked(&values, 2, "the mean information coefficient")?;
    let mut years: BTreeMap<i16, Vec<f64>> = BTreeMap::new();
    defined_on.iter().for_each(|(d, v)| years.entry(d.year()).or_default().push(*v));
    Ok(IcSummary {
        mean: mean(&values),
        std: std(&values),
        t: newey_west_t(&values, lags)?,
        lags,
        dates: values.len(),
        undefined: ic.len() - values.len(),
        positive_share: values.iter().filter(|v| **v > 0.0).count() as f64 / values.len() as f64,
        by_year: years.into_iter().map(|(y, v)| (y, YearIc { mean: mean(&v), dates: v.len() })).collect(),
    })
}

/// The mean over its standard error, with Bartlett weights over `lags` autocovariances.
pub fn newey_west_t(values: &[f64], lags: usize) -> Result<f64> {
    let error = newey_west_error(values, lags)?;
    defined(mean(values) / error, "the t-statistic", "the values do not vary")
}

/// Standard error of the mean of a series whose neighbours hang together (Newey and West 1987).
pub fn newey_west_error(values: &[f64], lags: usize) -> Result<f64> {
    checked(values, 2, "the standard error")?;
    let (n, m) = (values.len(), mean(values));
    let covariance = |lag: usize| (lag..n).map(|i| (values[i] - m) * (values[i - lag] - m)).sum::<f64>() / n as f64;
    let last = lags.min(n - 1);
    let weighted: f64 = (1..=last).map(|j| 2.0 * (1.0 - j as f64 / (last as f64 + 1.0)) * covariance(j)).sum();
    let variance = if values.iter().all(|v| *v == values[0]) { 0.0 } else { covariance(0) + weighted };
    defined((variance / n as f64).sqrt(), "the standard error", "its variance is negative")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;

    fn days(n: usize) -> Vec<TradingDay> {
        (0..n).map(|i| TradingDay(17_000 + i as i32)).collect()
    }

    #[test]
    fn lesson_067_a_drifting_level_without_a_cross_section_is_no_skill() {
        let (symbols, n) = (20, 120);
        let (e, f) = (noise(1, symbols * n), noise(2, symbols * n));
        let level = |i: usize| (i % n) as f64 / 5.0;
        let scores = Matrix::from_vec(symbols, n, (0..symbols * n).map(|i| level(i) + e[i]).collect()).unwrap();
        let labels = Matrix::from_vec(symbols, n, (0..symbols * n).map(|i| level(i) + f[i]).collect()).unwrap();
        assert!(spearman(scores.values(), labels.values()).unwrap() > 0.9, "pooled");
        let s = summarise(&days(n), &per_date(&scores, &labels).unwrap(), 4).unwrap();
        assert!(s.mean.abs() < 0.06 && s.t.abs() < 3.0, "{s:?}");
    }

    #[test]
    fn lesson_071_three_names_are_no_cross_section() {
        let err = of_date(&[0.1, 0.2, 0.3], &[0.3, 0.1, 0.2]).unwrap_err();
        assert!(err.is(code::ML_UNDEFINED) && err.body().found.as_deref() == Some("3"));
        let mut scores: Vec<f64> = (0..10).map(f64::from).collect();
        assert!((of_date(&scores, &scores.clone()).unwrap() - 1.0).abs() < 1e-12);
        scores[4] = f64::NAN;
        assert!(of_date(&scores, &(0..10).map(f64::from).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn lesson_073_a_single_good_year_is_flagged() {
        let n = 800;
        let ic: Vec<Option<f64>> = noise(7, n).iter().enumerate().map(|(i, e)| Some(if i < 250 { 0.2 } else { -0.01 } + 0.02 * e)).collect();
        let s = summarise(&days(n), &ic, 4).unwrap();
        assert!(s.mean > 0.0 && !s.unstable_years().is_empty());
        let of = |means: [f64; 3]| {
            let values: Vec<Option<f64>> = noise(8, 750).iter().enumerate().map(|(i, e)| Some(means[i / 250] + 1e-4 * e)).collect();
            let days: Vec<TradingDay> = (0..750).map(|i| TradingDay(17_167 + i / 250 * 365 + i % 250)).collect();
            summarise(&days, &values, 4).unwrap()
        };
        assert_eq!(of([0.20, 0.001, 0.001]).unstable_years(), [2017], "all of the same sign, and one carries the others");
        assert_eq!(of([0.03, 0.02, 0.025]).unstable_years(), Vec::<i16>::new());
        assert!(of([0.20, 0.001, 0.001]).sentence().unwrap().contains("2017") && of([0.03, 0.02, 0.025]).sentence().is_none());
    }

    #[test]
    fn overlap_widens_the_error() {
        let e = noise(3, 600);
        let overlapping: Vec<f64> = (5..600).map(|i| 0.05 + e[i - 5..i].iter().sum::<f64>() / 5.0).collect();
        let (naive, honest) = (newey_west_t(&overlapping, 0).unwrap(), newey_west_t(&overlapping, 8).unwrap());
        assert!(honest.abs() < naive.abs() * 0.7);
        assert!(newey_west_t(&[0.1, 0.1, 0.1], 1).is_err());
    }
}
