//! Probabilistic and deflated Sharpe ratios, minimum track record and backtest lengths.
//!
//! Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", J. Risk 15(2), 2012, and "The Deflated Sharpe Ratio",
//! J. Portfolio Management 40(5), 2014. Everything is per period: the Sharpe ratio is mean / standard deviation (ddof 1) of
//! the returns as they are, skewness and raw kurtosis are of the population, `T - 1` stands under the root, and the variance
//! of trial Sharpes counts all trials (ddof 1). DSR is a probability: the bar is 0.95, and 0.5 is what luck gives.

use crate::types::{Matrix, defined};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

/// Shape of a series of returns, per period.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    pub n: usize,
    pub mean: f64,
    /// ddof 1
    pub std: f64,
    /// mean / std
    pub sharpe: f64,
    /// Population.
    pub skew: f64,
    /// Population, raw: 3 for a normal.
    pub kurtosis: f64,
}

/// Moments of `returns`; undefined with fewer than two values, a missing one, or no variance.
pub fn moments(returns: &[f64]) -> Result<Moments> {
    let undefined = |cause: &str| Err(Error::new(code::ML_UNDEFINED, "the Sharpe ratio is undefined").cause(cause));
    if returns.len() < 2 {
        return undefined("it needs at least two returns");
    }
    if returns.iter().any(|r| !r.is_finite()) {
        return undefined("a return is missing");
    }
    if returns.iter().all(|r| *r == returns[0]) {
        return undefined("the returns do not vary");
    }
    let n = returns.len() as f64;
    let mean = returns.iter().sum::<f64>() / n;
    let central = |p: i32| returns.iter().map(|r| (r - mean).powi(p)).sum::<f64>() / n;
    let m2 = central(2);
    let std = (m2 * n / (n - 1.0)).sqrt();
    Ok(Moments { n: returns.len(), mean, std, sharpe: mean / std, skew: central(3) / m2.powf(1.5), kurtosis: central(4) / (m2 * m2) })
}

/// A Sharpe ratio and what its sampling error depends on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct SharpeSample {
    /// Per period.
    pub sharpe: f64,
    pub n: usize,
    pub skew: f64,
    pub kurtosis: f64,
}

impl From<Moments> for SharpeSample {
    fn from(m: Moments) -> Self {
        Self { sharpe: m.sharpe, n: m.n, skew: m.skew, kurtosis: m.kurtosis }
    }
}

impl SharpeSample {
    /// `1 - skew SR + (kurtosis - 1) / 4 SR^2`: the variance of the estimate times T - 1.
    fn spread(&self) -> f64 {
        1.0 - self.skew * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe * self.sharpe
    }
}

/// The probability that the true Sharpe ratio exceeds `benchmark` (per period).
pub fn psr(s: &SharpeSample, benchmark: f64) -> Result<f64> {
    if s.n < 2 || s.spread() <= 0.0 {
        return Err(Error::new(code::ML_UNDEFINED, "the probabilistic Sharpe ratio is undefined").cause("too few returns, or moments that no sample can have"));
    }
    let z = (s.sharpe - benchmark) * (s.n as f64 - 1.0).sqrt() / s.spread().sqrt();
    Ok(normal().cdf(defined(z, "the probabilistic Sharpe ratio", "an input is missing")?))
}

/// The Sharpe ratio that the best of `trials` skill-less trials is expected to show, in standard deviations of the trials'
/// Sharpe ratios; 0 for one trial.
pub fn expected_maximum(trials: u64) -> f64 {
    if trials < 2 {
        return 0.0;
    }
    let n = trials as f64;
    (1.0 - EULER_GAMMA) * normal().inverse_cdf(1.0 - 1.0 / n) + EULER_GAMMA * normal().inverse_cdf(1.0 - 1.0 / (n * std::f64::consts::E))
}

/// A deflated Sharpe ratio and everything it was made of.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Deflated {
    /// A probability.
    pub dsr: f64,
    /// Per period.
    pub sharpe: f64,
    /// What luck alone would show, per period; at its largest over the history of the trials, where that is known.
    pub sr0: f64,
    pub psr0: f64,
    /// All configurations ever tried in the family.
    pub trials: u64,
    /// Of their per-period Sharpe ratios, ddof 1.
    pub trials_variance: f64,
    pub n: usize,
    pub skew: f64,
    pub kurtosis: f64,
}

/// Deflate the Sharpe ratio of `returns` by the number of trials and the variance of their per-period Sharpe ratios.
pub fn deflated_sharpe(returns: &[f64], trials: u64, trials_variance: f64) -> Result<Deflated> {
    let m = moments(returns)?;
    deflate(&m.into(), trials, trials_variance)
}

/// As [`deflated_sharpe`], from a sample's moments.
pub fn deflate(s: &SharpeSample, trials: u64, trials_variance: f64) -> Result<Deflated> {
    let undefined = |cause: &str| Err(Error::new(code::ML_UNDEFINED, "the deflated Sharpe ratio is undefined").cause(cause));
    if trials == 0 {
        return undefined("the number of trials is not recorded");
    }
    if !(trials_variance.is_finite() && trials_variance >= 0.0) {
        return undefined("the variance of the trials' Sharpe ratios is missing");
    }
    against(s, &Luck { trials, trials_variance, sr0: trials_variance.sqrt() * expected_maximum(trials) })
}

fn against(s: &SharpeSample, luck: &Luck) -> Result<Deflated> {
    let Luck { trials, trials_variance, sr0 } = *luck;
    let (dsr, psr0) = (psr(s, sr0)?, psr(s, 0.0)?);
    Ok(Deflated { dsr, sharpe: s.sharpe, sr0, psr0, trials, trials_variance, n: s.n, skew: s.skew, kurtosis: s.kurtosis })
}

/// What the best of a family's trials shows by luck alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Luck {
    /// All configurations ever tried.
    pub trials: u64,
    /// Of all their per-period Sharpe ratios, ddof 1.
    pub trials_variance: f64,
    /// The largest that luck was expected to show at any time, per period. A ledger only grows, and so does this: flat trials after
    /// a wide search lower the variance, and would otherwise lower the bar for what the wide search had found.
    pub sr0: f64,
}

/// From the history of a ledger, row by row: distinct configurations so far, and the row's Sharpe ratio where it has one. Undefined
/// when several configurations were tried and fewer than two Sharpe ratios tell how far they lie apart.
pub fn luck(history: &[(u64, Option<f64>)]) -> Result<Luck> {
    let trials = history.last().map_or(0, |(n, _)| *n);
    let (mut count, mut mean, mut squares, mut sr0) = (0_u64, 0.0, 0.0, 0.0_f64);
    let variance = |count: u64, squares: f64| if count < 2 { 0.0 } else { squares / (count - 1) as f64 };
    for (n, sharpe) in history {
        if let Some(sharpe) = sharpe.filter(|s| s.is_finite()) {
            count += 1;
            let off = sharpe - mean;
            mean += off / count as f64;
            squares += off * (sharpe - mean);
        }
        sr0 = sr0.max(variance(count, squares).sqrt() * expected_maximum(*n));
    }
    if count == 0 || (trials > 1 && count < 2) {
        return Err(Error::new(code::ML_UNDEFINED, "what luck alone would show is undefined")
            .cause(text!("{trials} configurations were tried and {count} of their runs have a Sharpe ratio: nothing tells how far they lie apart")));
    }
    Ok(Luck { trials, trials_variance: variance(count, squares), sr0 })
}

/// Deflate the Sharpe ratio of `returns` by what luck alone would show.
pub fn deflated_by(returns: &[f64], luck: &Luck) -> Result<Deflated> {
    against(&moments(returns)?.into(), luck)
}

/// Variance (ddof 1) of trial Sharpe ratios; 0 for one trial, which nothing was chosen from.
pub fn trials_variance(sharpes: &[f64]) -> Result<f64> {
    if sharpes.is_empty() || sharpes.iter().any(|s| !s.is_finite()) {
        return Err(Error::new(code::ML_UNDEFINED, "the variance of the trials' Sharpe ratios is undefined").cause("a trial has no Sharpe ratio"));
    }
    if sharpes.len() == 1 {
        return Ok(0.0);
    }
    let n = sharpes.len() as f64;
    let mean = sharpes.iter().sum::<f64>() / n;
    Ok(sharpes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

/// How many independent trials a set of return series (`trials x days`) is worth: the participation ratio of its
/// correlation matrix, `N^2 / sum of squared correlations`. N for unrelated trials, 1 for copies of one.
pub fn effective_trials(returns: &Matrix) -> Result<f64> {
    let n = returns.rows();
    if n == 0 {
        return Err(Error::new(code::ML_UNDEFINED, "the effective number of trials is undefined").cause("there are no trials"));
    }
    let standard = |t: usize| -> Result<Vec<f64>> {
        let m = moments(returns.row(t))?;
        let scale = m.std * ((m.n as f64) - 1.0).sqrt();
        Ok(returns.row(t).iter().map(|r| (r - m.mean) / scale).collect())
    };
    let rows: Vec<Vec<f64>> = (0..n).map(standard).collect::<Result<_>>()?;
    let squares: f64 = (0..n).map(|i| (0..i).map(|j| 2.0 * rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum::<f64>().powi(2)).sum::<f64>() + 1.0).sum();
    defined((n * n) as f64 / squares, "the effective number of trials", "a trial does not vary")
}

/// Observations needed before a Sharpe ratio above `benchmark` is believed with `confidence`; undefined at or below it.
pub fn min_track_record(s: &SharpeSample, benchmark: f64, confidence: f64) -> Result<f64> {
    if s.sharpe <= benchmark {
        return Err(Error::new(code::ML_UNDEFINED, "no track record is long enough").cause("the Sharpe ratio does not exceed the benchmark"));
    }
    defined(1.0 + s.spread() * (normal().inverse_cdf(confidence) / (s.sharpe - benchmark)).powi(2), "the minimum track record", "an input is missing")
}

/// Years of backtest below which `trials` skill-less trials are expected to show an annual Sharpe ratio of `sharpe_annual`.
pub fn min_backtest_years(trials: u64, sharpe_annual: f64) -> Result<f64> {
    defined((expected_maximum(trials) / sharpe_annual).powi(2), "the minimum backtest length", "the Sharpe ratio is 0")
}

fn normal() -> Normal {
    Normal::standard()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::{columns, compare, noise, numbers};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn sample(v: &Value) -> SharpeSample {
        let f = |k: &str, d: f64| v[k].as_f64().unwrap_or(d);
        SharpeSample { sharpe: f("sr", 0.0), n: f("T", 0.0) as usize, skew: f("skew", 0.0), kurtosis: f("kurt", 3.0) }
    }

    #[test]
    fn lesson_061_published_examples() {
        let doc: Value = serde_json::from_str(include_str!("../../tests/golden/dsr_psr/published_examples.json")).unwrap();
        let i = &doc["inputs"];
        let v = i["dsr_N100"]["var_sr"].as_f64().unwrap();
        let base = sample(&i["dsr_N100"]);
        let normal_shape = SharpeSample { skew: 0.0, kurtosis: 3.0, ..base };
        let years = |ppy: f64, skew: f64, kurtosis: f64| {
            let s = SharpeSample { sharpe: 2.0 / ppy.sqrt(), n: 0, skew, kurtosis };
            min_track_record(&s, 1.0 / ppy.sqrt(), 0.95).unwrap() / ppy
        };
        let got = json!({
            "psr_hedge_fund_nonnormal": psr(&sample(&i["psr_hedge_fund_nonnormal"]), 0.0).unwrap(),
            "psr_normal_approx": psr(&sample(&i["psr_normal_approx"]), 0.0).unwrap(),
            "dsr_N100": deflate(&base, 100, v).unwrap().dsr,
            "dsr_N46": deflate(&base, 46, v).unwrap().dsr,
            "dsr_N88_normal": deflate(&normal_shape, 88, v).unwrap().dsr,
            "sr0_N100": deflate(&base, 100, v).unwrap().sr0,
            "emax_100": expected_maximum(100),
            "mintrl_years_daily": years(250.0, 0.0, 3.0),
            "mintrl_years_weekly": years(52.0, 0.0, 3.0),
            "mintrl_years_monthly": years(12.0, 0.0, 3.0),
            "mintrl_years_monthly_hfr": years(12.0, -0.72, 5.78),
            "minbtl_years_N45": min_backtest_years(45, 1.0).unwrap(),
        });
        compare(&got, &doc["expected"], 1e-10, 1e-9, "published");
    }

    #[test]
    fn lesson_061_grid_of_moments_and_trials() {
        let doc: Value = serde_json::from_str(include_str!("../../tests/golden/dsr_psr/grid.json")).unwrap();
        let v = doc["inputs"]["var_sr_per_period"].as_f64().unwrap();
        for (row, want) in doc["inputs"]["rows"].as_array().unwrap().iter().zip(doc["expected"]["rows"].as_array().unwrap()) {
            let s = sample(row);
            let mut got = json!({"psr0": psr(&s, 0.0).unwrap()});
            for n in numbers(&doc["inputs"]["N"]) {
                got[format!("dsr_N{n}")] = json!(deflate(&s, n as u64, v).unwrap().dsr);
            }
            compare(&got, want, 1e-10, 1e-9, "grid");
        }
        for (n, sr0) in doc["expected"]["sr0"].as_object().unwrap() {
            let got = v.sqrt() * expected_maximum(n.parse().unwrap());
            compare(&json!(got), sr0, 1e-10, 1e-9, "sr0");
        }
    }

    #[test]
    fn lesson_061_real_series_and_a_real_trial_matrix() {
        let doc: Value = serde_json::from_str(include_str!("../../tests/golden/dsr_psr/empirical.json")).unwrap();
        for (series, want) in doc["inputs"]["series"].as_array().unwrap().iter().zip(doc["expected"]["series"].as_array().unwrap()) {
            let m = moments(&numbers(&series["returns"])).unwrap();
            let s = m.into();
            let got = json!({"T": m.n, "sr": m.sharpe, "skew": m.skew, "kurt": m.kurtosis, "psr0": psr(&s, 0.0).unwrap(),
                "dsr_N20_V0.001": deflate(&s, 20, 0.001).unwrap().dsr, "min_trl_obs_95": min_track_record(&s, 0.0, 0.95).ok(),
                "psr0_if_unbiased_moments(pandas, pypbo)": want["psr0_if_unbiased_moments(pandas, pypbo)"]});
            compare(&got, want, 1e-10, 1e-9, "empirical");
        }
        let doc: Value = serde_json::from_str(include_str!("../../tests/golden/dsr_psr/trials_matrix.json")).unwrap();
        let trials = columns(include_str!("../../tests/golden/dsr_psr/trials.csv"));
        let sharpes: Vec<f64> = (0..trials.rows()).map(|t| moments(trials.row(t)).unwrap().sharpe).collect();
        let best = (0..sharpes.len()).max_by(|a, b| sharpes[*a].total_cmp(&sharpes[*b])).unwrap();
        let d = deflated_sharpe(trials.row(best), sharpes.len() as u64, trials_variance(&sharpes).unwrap()).unwrap();
        let got = json!({"trial_sharpes": sharpes, "best": best, "V_ddof1": d.trials_variance, "sr0": d.sr0, "skew": d.skew, "kurt": d.kurtosis,
            "psr0": d.psr0, "dsr": d.dsr, "dsr_excess": d.sharpe - d.sr0});
        compare(&got, &doc["expected"], 1e-10, 1e-9, "trials");
    }

    #[test]
    fn lesson_061_the_best_of_a_thousand_noise_strategies_does_not_pass() {
        let (runs, trials, days) = (20, 1_000, 60);
        let passed = (0..runs)
            .filter(|seed| {
                let data = noise(*seed, trials * days);
                let all: Vec<Moments> = data.chunks(days).map(|r| moments(r).unwrap()).collect();
                let sharpes: Vec<f64> = all.iter().map(|m| m.sharpe).collect();
                let best = all.iter().max_by(|a, b| a.sharpe.total_cmp(&b.sharpe)).unwrap();
                deflate(&(*best).into(), trials as u64, trials_variance(&sharpes).unwrap()).unwrap().dsr >= 0.95
            })
            .count();
        assert!(passed <= 1, "{passed} of {runs} noise searches passed");
    }

    #[test]
    fn it_falls_with_trials_and_variance_and_is_half_at_itself() {
        let s = SharpeSample { sharpe: 0.1, n: 500, skew: -0.5, kurtosis: 6.0 };
        assert!((psr(&s, 0.1).unwrap() - 0.5).abs() < 1e-12);
        let dsr = |n, v| deflate(&s, n, v).unwrap().dsr;
        assert!(dsr(10, 1e-3) > dsr(100, 1e-3) && dsr(100, 1e-3) > dsr(100, 2e-3));
        assert_eq!(dsr(1, 1e-3), psr(&s, 0.0).unwrap());
    }

    #[test]
    fn copies_are_one_trial_and_unrelated_trials_are_many() {
        let one = noise(1, 300);
        let copies = Matrix::from_vec(3, 300, [one.clone(), one.iter().map(|r| 2.0 * r + 1.0).collect(), one.clone()].concat()).unwrap();
        assert!((effective_trials(&copies).unwrap() - 1.0).abs() < 1e-9);
        let apart = effective_trials(&Matrix::from_vec(10, 3_000, noise(2, 30_000)).unwrap()).unwrap();
        assert!((9.5..=10.0).contains(&apart), "{apart}");
        assert!(effective_trials(&Matrix::from_vec(2, 3, vec![0.0; 6]).unwrap()).unwrap_err().is(code::ML_UNDEFINED));
    }

    proptest! {
        #[test]
        fn lesson_061_no_further_trial_ever_raises_the_deflated_sharpe_ratio(
            rows in proptest::collection::vec((0_u64..2, proptest::option::of(-0.1..0.1_f64)), 2..40),
            sharpe in -0.1..0.2_f64,
        ) {
            let mut n = 0;
            let history: Vec<(u64, Option<f64>)> = rows.into_iter().map(|(new, s)| { n = (n + new).max(1); (n, s) }).collect();
            let s = SharpeSample { sharpe, n: 750, skew: -0.3, kurtosis: 5.0 };
            let mut last = 1.0_f64;
            for k in 1..=history.len() {
                let Ok(luck) = luck(&history[..k]) else { continue };
                let dsr = against(&s, &luck).unwrap().dsr;
                prop_assert!(dsr <= last + 1e-12, "{dsr} after {last}, row {k}");
                last = dsr;
            }
        }
    }

    #[test]
    fn flat_trials_after_a_wide_search_lower_no_bar_and_one_sharpe_of_several_trials_is_no_variance() {
        let wide: Vec<(u64, Option<f64>)> = [0.065, 0.01, -0.02, 0.03].into_iter().zip(1..).map(|(s, n)| (n, Some(s))).collect();
        let flat = (0..4).map(|i| (5 + i, Some(0.02)));
        let longer: Vec<_> = wide.iter().copied().chain(flat).collect();
        let (before, after) = (luck(&wide).unwrap(), luck(&longer).unwrap());
        assert!(after.trials_variance < before.trials_variance && after.sr0 >= before.sr0, "{before:?} {after:?}");
        let sharpes: Vec<f64> = wide.iter().filter_map(|w| w.1).collect();
        assert!((before.trials_variance - trials_variance(&sharpes).unwrap()).abs() < 1e-15);
        assert_eq!(luck(&[(1, Some(0.1))]).unwrap().sr0, 0.0, "one trial: nothing was chosen");
        for undefined in [&[][..], &[(1, None)], &[(1, Some(0.1)), (2, None), (5, None)]] {
            assert!(luck(undefined).unwrap_err().is(code::ML_UNDEFINED));
        }
    }

    #[test]
    fn degenerate_inputs_are_errors() {
        for returns in [&[][..], &[0.01], &[0.01, 0.01, 0.01], &[0.01, f64::NAN, 0.02]] {
            assert!(moments(returns).unwrap_err().is(code::ML_UNDEFINED));
        }
        assert!(deflated_sharpe(&[0.01, 0.02, -0.01], 0, 0.1).is_err());
        assert!(deflated_sharpe(&[0.01, 0.02, -0.01], 5, f64::NAN).is_err());
    }
}
