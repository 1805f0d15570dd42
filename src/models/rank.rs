//! Ranks and rank correlation over one cross-section.

use data_layer::error::{Error, Result, code};

/// Fewer names than this have no rank correlation worth the name.
pub const MIN_BREADTH: usize = 5;

/// Ranks from 1, ties averaged. Values must not be NaN.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut out = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let mut to = from + 1;
        while to < order.len() && values[order[to]] == values[order[from]] {
            to += 1;
        }
        let rank = (from + to + 1) as f64 / 2.0;
        order[from..to].iter().for_each(|i| out[*i] = rank);
        from = to;
    }
    out
}

/// Spearman's correlation (average ranks). `ML_UNDEFINED` with fewer than `least` pairs or when either side is constant.
pub fn spearman(a: &[f64], b: &[f64], least: usize) -> Result<f64> {
    let undefined = |why: &str| Error::new(code::ML_UNDEFINED, "a rank correlation is undefined").cause(why);
    if a.len() != b.len() || a.len() < least.max(2) {
        return Err(undefined(&text!("{} names are fewer than {}", a.len().min(b.len()), least.max(2))));
    }
    let (ra, rb) = (ranks(a), ranks(b));
    let mean = (a.len() + 1) as f64 / 2.0;
    let (mut cov, mut va, mut vb) = (0.0, 0.0, 0.0);
    for (x, y) in ra.iter().zip(&rb) {
        cov += (x - mean) * (y - mean);
        va += (x - mean) * (x - mean);
        vb += (y - mean) * (y - mean);
    }
    if va == 0.0 || vb == 0.0 {
        return Err(undefined("every name has the same value"));
    }
    Ok((cov / (va * vb).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_071_a_rank_correlation_of_three_names_is_undefined() {
        assert!(spearman(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], MIN_BREADTH).unwrap_err().is(code::ML_UNDEFINED));
        assert!((spearman(&[1., 2., 3., 4., 5.], &[2., 4., 6., 8., 10.], MIN_BREADTH).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(ranks(&[3.0, 1.0, 3.0]), vec![2.5, 1.0, 2.5]);
        assert!(spearman(&[1.0; 6], &[1., 2., 3., 4., 5., 6.], MIN_BREADTH).is_err());
    }
}
