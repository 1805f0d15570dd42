//! From a score to a probability: how often names with such a score beat their date's median, as measured before that day.
//!
//! The forecast of a date is the hit frequency of its score's decile over all earlier dates whose labels have ended:
//! nothing is fitted, nothing clamped. Compared with what happened, it gives the reliability curve of the tear sheet.

use crate::backtest::metric::ic::ranks;
use crate::types::Matrix;
use crate::validation::calibration::{self, Bin, Binning};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// Buckets of a date's scores.
const BUCKETS: usize = 10;
/// Outcomes that a bucket must have before it forecasts.
const LEAST_OUTCOMES: usize = 200;

/// How well the measured frequencies forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    pub forecasts: usize,
    pub brier: f64,
    /// Of always saying one half, for comparison.
    pub brier_of_a_coin: f64,
    pub log_loss: f64,
    /// Expected calibration error over the bins.
    pub ece: f64,
    pub bins: Vec<Bin>,
}

impl Confidence {
    pub fn sentence(&self) -> String {
        text!(
            "confidence: over {} forecasts Brier score {:.4} (a coin: {:.4}), log loss {:.4}, mean gap of forecast and frequency {:.4}",
            self.forecasts,
            self.brier,
            self.brier_of_a_coin,
            self.log_loss,
            self.ece
        )
    }
}

/// Forecast and judge. Labels end `span` sessions after their day. Undefined while no bucket has seen enough.
pub fn measure(scores: &Matrix, labels: &Matrix, span: usize) -> Result<Confidence> {
    let dates: Vec<Vec<(usize, bool)>> = (0..scores.cols()).map(|d| date(&scores.column(d), &labels.column(d))).collect();
    let mut seen = [(0_usize, 0_usize); BUCKETS];
    let (mut outcomes, mut forecasts) = (Vec::new(), Vec::new());
    for d in 0..dates.len() {
        // The label of day d - span - 1 ended yesterday.
        if let Some(ended) = d.checked_sub(span + 1) {
            for (bucket, hit) in &dates[ended] {
                seen[*bucket] = (seen[*bucket].0 + 1, seen[*bucket].1 + usize::from(*hit));
            }
        }
        for (bucket, hit) in &dates[d] {
            let (n, hits) = seen[*bucket];
            if n >= LEAST_OUTCOMES {
                outcomes.push(*hit);
                forecasts.push(hits as f64 / n as f64);
            }
        }
    }
    if forecasts.is_empty() {
        return Err(
            Error::new(code::ML_UNDEFINED, "the confidence of scores is undefined").cause(text!("no bucket has {LEAST_OUTCOMES} outcomes before a later date"))
        );
    }
    let bins = calibration::reliability(&outcomes, &forecasts, BUCKETS, Binning::Quantile)?;
    Ok(Confidence {
        forecasts: forecasts.len(),
        brier: calibration::brier(&outcomes, &forecasts)?,
        brier_of_a_coin: 0.25,
        log_loss: calibration::log_loss(&outcomes, &forecasts)?,
        ece: calibration::ece(&bins)?,
        bins,
    })
}

/// Bucket of each name's score, and whether its label beat the median of the date.
fn date(scores: &[f64], labels: &[f64]) -> Vec<(usize, bool)> {
    let both: Vec<usize> = (0..scores.len()).filter(|i| scores[*i].is_finite() && labels[*i].is_finite()).collect();
    if both.len() < BUCKETS {
        return Vec::new();
    }
    let mut sorted: Vec<f64> = both.iter().map(|i| labels[*i]).collect();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    let order = ranks(&both.iter().map(|i| scores[*i]).collect::<Vec<_>>());
    let bucket = |rank: f64| (((rank - 0.5) / both.len() as f64 * BUCKETS as f64) as usize).min(BUCKETS - 1);
    both.iter().zip(order).map(|(i, rank)| (bucket(rank), labels[*i] > median)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;

    const SYMBOLS: usize = 60;
    const DAYS: usize = 400;

    fn world(skill: f64) -> (Matrix, Matrix) {
        let n = SYMBOLS * DAYS;
        let (s, e) = (noise(1, n), noise(2, n));
        let y = s.iter().zip(&e).map(|(s, e)| skill * s + e).collect();
        (Matrix::from_vec(SYMBOLS, DAYS, s).unwrap(), Matrix::from_vec(SYMBOLS, DAYS, y).unwrap())
    }

    #[test]
    fn lesson_078_confidence_is_the_measured_frequency_and_its_curve_lies_on_the_diagonal() {
        let (s, y) = world(0.5);
        let c = measure(&s, &y, 6).unwrap();
        for b in &c.bins {
            let error = (b.frac_pos * (1.0 - b.frac_pos) / b.n as f64).sqrt();
            assert!((b.mean_pred - b.frac_pos).abs() < 4.0 * error + 0.02, "{b:?}");
        }
        assert!(c.brier < 0.24 && c.bins[c.bins.len() - 1].mean_pred > 0.65 && c.bins[0].mean_pred < 0.35, "{c:?}");
        let (s, y) = world(0.0);
        let c = measure(&s, &y, 6).unwrap();
        assert!((c.brier - 0.25).abs() < 0.002 && c.bins.iter().all(|b| (b.mean_pred - 0.5).abs() < 0.06), "nobody is sure of noise: {c:?}");
    }

    #[test]
    fn a_forecast_knows_no_label_that_had_not_ended() {
        let (s, y) = world(0.5);
        let whole = measure(&s, &y, 6).unwrap();
        let mut later = y.clone();
        // The labels of the last days enter outcomes, but no forecast.
        (0..SYMBOLS).for_each(|i| later.set(i, DAYS - 1, -later.at(i, DAYS - 1)));
        let other = measure(&s, &later, 6).unwrap();
        assert_eq!(whole.bins.iter().map(|b| b.mean_pred).collect::<Vec<_>>(), other.bins.iter().map(|b| b.mean_pred).collect::<Vec<_>>());
        let short = Matrix::missing(SYMBOLS, 10);
        assert!(measure(&short, &short, 6).unwrap_err().is(code::ML_UNDEFINED));
    }
}
