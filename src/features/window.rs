//! Full-window kernels over one symbol's contiguous history.
//!
//! Every value is computed from its own window alone, by direct sums: no running total drifts, and the value at `t` is bit
//! for bit the same in any panel that holds the window, however much history precedes it.

/// Apply `f` to each complete window of `n` observations; missing where the window is short or has a gap.
pub(crate) fn rolling(values: &[f64], n: usize, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut out = vec![f64::NAN; values.len()];
    let mut run = 0;
    for t in 0..values.len() {
        run = if values[t].is_nan() { 0 } else { run + 1 };
        if run >= n {
            out[t] = f(&values[t + 1 - n..=t]);
        }
    }
    out
}

pub(crate) fn mean(w: &[f64]) -> f64 {
    let mut sum = 0.0;
    for v in w {
        sum += v;
    }
    sum / w.len() as f64
}

/// Sample standard deviation (ddof = 1) in two passes; exactly 0 for a constant window.
pub(crate) fn std_dev(w: &[f64]) -> f64 {
    let m = mean(w);
    let (mut ss, mut lo, mut hi) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    for v in w {
        ss += (v - m) * (v - m);
        lo = if *v < lo { *v } else { lo };
        hi = if *v > hi { *v } else { hi };
    }
    if lo == hi { 0.0 } else { (ss / (w.len() - 1) as f64).sqrt() }
}

pub(crate) fn max(w: &[f64]) -> f64 {
    let mut hi = f64::NEG_INFINITY;
    for v in w {
        hi = if *v > hi { *v } else { hi };
    }
    hi
}

/// `f(now, before)` of each value and the one `lag` sessions earlier; missing unless both are there.
pub(crate) fn lagged(values: &[f64], lag: usize, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut out = vec![f64::NAN; values.len()];
    for t in lag..values.len() {
        if !values[t].is_nan() && !values[t - lag].is_nan() {
            out[t] = f(values[t], values[t - lag]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_empties_every_window_that_holds_it() {
        let x = [1.0, 2.0, f64::NAN, 4.0, 5.0, 6.0];
        let got = rolling(&x, 2, mean);
        assert_eq!(got[1], 1.5);
        assert_eq!(got.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [true, false, true, true, false, false]);
        assert_eq!(rolling(&x, 3, max)[5], 6.0);
    }

    #[test]
    fn a_constant_window_has_no_deviation_at_all() {
        assert_eq!(std_dev(&[0.1; 7]), 0.0);
        assert!((std_dev(&[1.0, 2.0, 3.0]) - 1.0).abs() < 1e-15);
    }
}
