//! Intervals by resampling blocks of a series: neighbouring days hang together, so single days must not be drawn alone.
//!
//! Circular block bootstrap (Politis and Romero 1992): blocks of equal length are drawn with replacement, wrapping around
//! the end, until the series is as long as before. The interval is the percentile interval of the statistic.

use super::calibration::percentile_of_sorted;
use data_layer::error::{Error, Result, code};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How intervals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Length of a block, in observations; at least the reach of the series' memory.
    pub block: usize,
    pub draws: usize,
    /// Share of the draws inside the interval.
    pub level: f64,
    pub seed: u64,
}

impl Plan {
    /// 1,000 draws at 90 %.
    pub fn of_block(block: usize, seed: u64) -> Self {
        Self { block: block.max(1), draws: 1_000, level: 0.9, seed }
    }
}

/// A statistic and the range in which resampling puts it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub level: f64,
    pub block: usize,
    pub draws: usize,
}

/// The interval of a statistic of `values`. Undefined when the statistic is, on the values or on most draws; a few draws
/// without a value (all of one block, say) are left out.
pub fn interval(values: &[f64], plan: Plan, statistic: impl Fn(&[f64]) -> Result<f64>) -> Result<Interval> {
    let undefined = |cause: String| Err(Error::new(code::ML_UNDEFINED, "the bootstrap interval is undefined").cause(cause));
    let n = values.len();
    if n < 2 * plan.block || plan.draws == 0 || !(plan.level > 0.0 && plan.level < 1.0) {
        return undefined(text!("{n} values, blocks of {}, {} draws", plan.block, plan.draws));
    }
    let value = statistic(values)?;
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut sample = Vec::with_capacity(n + plan.block);
    let mut found = Vec::with_capacity(plan.draws);
    for _ in 0..plan.draws {
        sample.clear();
        while sample.len() < n {
            let start = rng.random_range(0..n);
            sample.extend((start..start + plan.block).map(|i| values[i % n]));
        }
        sample.truncate(n);
        match statistic(&sample) {
            Ok(v) => found.push(v),
            Err(e) if e.is(code::ML_UNDEFINED) => {}
            Err(e) => return Err(e),
        }
    }
    if found.len() * 2 < plan.draws {
        return undefined(text!("the statistic is undefined on {} of {} draws", plan.draws - found.len(), plan.draws));
    }
    found.sort_by(f64::total_cmp);
    let tail = 50.0 * (1.0 - plan.level);
    let (low, high) = (percentile_of_sorted(&found, tail), percentile_of_sorted(&found, 100.0 - tail));
    Ok(Interval { value, low, high, level: plan.level, block: plan.block, draws: found.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;

    fn mean(v: &[f64]) -> Result<f64> {
        Ok(v.iter().sum::<f64>() / v.len() as f64)
    }

    #[test]
    fn the_interval_covers_as_often_as_it_says() {
        let covered = (0..100).filter(|seed| {
            let i = interval(&noise(*seed, 200), Plan { draws: 200, ..Plan::of_block(1, 7) }, mean).unwrap();
            i.low <= 0.0 && 0.0 <= i.high
        });
        assert!((80..=97).contains(&covered.count()));
    }

    #[test]
    fn memory_widens_the_interval_and_the_seed_decides_it() {
        let e = noise(3, 600);
        let smooth: Vec<f64> = e.windows(10).map(|w| w.iter().sum::<f64>() / 10.0).collect();
        let width = |block| {
            let i = interval(&smooth, Plan::of_block(block, 1), mean).unwrap();
            i.high - i.low
        };
        assert!(width(20) > 1.8 * width(1), "{} {}", width(20), width(1));
        assert_eq!(interval(&smooth, Plan::of_block(20, 1), mean).unwrap(), interval(&smooth, Plan::of_block(20, 1), mean).unwrap());
    }

    #[test]
    fn too_short_a_series_is_undefined() {
        assert!(interval(&[1.0, 2.0, 3.0], Plan::of_block(2, 1), mean).unwrap_err().is(code::ML_UNDEFINED));
        let never = |_: &[f64]| Err(Error::new(code::ML_UNDEFINED, "never"));
        assert!(interval(&noise(1, 50), Plan::of_block(2, 1), never).is_err());
    }
}
