//! Mean realised return by score bucket: does a higher score earn more, all the way up.

use super::ic::ranks;
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// One bucket; 0 holds the lowest scores.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub bucket: usize,
    pub n: usize,
    pub mean_return: f64,
}

/// Mean label per bucket of score rank, ranked within each date (`symbols x days`). Dates with fewer than `buckets`
/// complete pairs are left out.
pub fn by_score(scores: &Matrix, labels: &Matrix, buckets: usize) -> Result<Vec<Bucket>> {
    if buckets == 0 || (scores.rows(), scores.cols()) != (labels.rows(), labels.cols()) {
        return Err(Error::bug("scores and labels differ in shape"));
    }
    let mut sums = vec![(0usize, 0.0); buckets];
    for d in 0..scores.cols() {
        let both = |r: &usize| scores.at(*r, d).is_finite() && labels.at(*r, d).is_finite();
        let rows: Vec<usize> = (0..scores.rows()).filter(both).collect();
        if rows.len() < buckets {
            continue;
        }
        let order = ranks(&rows.iter().map(|r| scores.at(*r, d)).collect::<Vec<_>>());
        for (row, rank) in rows.iter().zip(order) {
            let bucket = (((rank - 0.5) / rows.len() as f64 * buckets as f64) as usize).min(buckets - 1);
            sums[bucket] = (sums[bucket].0 + 1, sums[bucket].1 + labels.at(*row, d));
        }
    }
    let out: Vec<Bucket> =
        sums.iter().enumerate().filter(|(_, s)| s.0 > 0).map(|(bucket, (n, sum))| Bucket { bucket, n: *n, mean_return: sum / *n as f64 }).collect();
    if out.is_empty() {
        return Err(Error::new(code::ML_UNDEFINED, "returns by score are undefined").cause(text!("no date has {buckets} names with a score and a return")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_rank_within_the_date() {
        let scores = Matrix::from_vec(10, 1, (0..10).map(|i| f64::from(9 - i)).collect()).unwrap();
        let labels = Matrix::from_vec(10, 1, (0..10).map(|i| f64::from(9 - i) / 100.0).collect()).unwrap();
        let b = by_score(&scores, &labels, 5).unwrap();
        assert_eq!(b.len(), 5);
        assert!((b[0].mean_return - 0.005).abs() < 1e-12 && (b[4].mean_return - 0.085).abs() < 1e-12);
        assert!(by_score(&scores, &labels, 11).unwrap_err().is(code::ML_UNDEFINED));
    }
}
