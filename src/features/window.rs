//! Full-window kernels over one symbol's contiguous history.
//!
//! Every value is computed from its own window alone, by direct sums: no running total drifts, and the value at `t` is bit
//! for bit the same in any panel that holds the window, however much history precedes it.

use super::ln::logarithms;
use crate::wide::wide;

/// Windows that are computed side by side. Each keeps its own sums in its own order, so a value is the same bit for bit as alone;
/// neighbours share what a processor does in one instruction.
const SIDE: usize = 16;

/// One value for each of neighbouring windows: of the values that they share, window `l` holds the `n` from `l`.
type Side = [f64; SIDE];

/// What is made of a window of `n` observations.
pub(crate) trait Kernel {
    /// The values of neighbouring windows, given the `n + SIDE - 1` observations that they hold.
    fn side(&self, w: &[f64], n: usize) -> Side;
}

wide! {
    /// One value for every `n` observations that end at a session, whatever is missing among them, into as many places. Before the
    /// first stand missing ones.
    pub(crate) fn every_into<K: Kernel>(values: &[f64], n: usize, kernel: K, out: &mut [f64]) {
        let mut padded = vec![f64::NAN; values.len() + n - 1 + SIDE];
        padded[n - 1..n - 1 + values.len()].copy_from_slice(values);
        for (cells, first) in out.chunks_mut(SIDE).zip((0..values.len()).step_by(SIDE)) {
            let side = kernel.side(&padded[first..first + n - 1 + SIDE], n);
            cells.copy_from_slice(&side[..cells.len()]);
        }
    }
}

/// One value for each complete window of `n` observations, into as many places; missing where the window is short or has a gap.
pub(crate) fn rolling_into(values: &[f64], n: usize, kernel: impl Kernel, out: &mut [f64]) {
    every_into(values, n, kernel, out);
    let mut empty = |at: std::ops::Range<usize>| out[at.start.min(values.len())..at.end.min(values.len())].fill(f64::NAN);
    empty(0..n - 1);
    for (block, first) in values.chunks(SIDE).zip((0..).step_by(SIDE)) {
        // Gaps are few: a whole block is asked at once.
        if block.iter().fold(false, |gap, v| gap | v.is_nan()) {
            (0..block.len()).filter(|i| block[*i].is_nan()).for_each(|i| empty(first + i..first + i + n));
        }
    }
}

/// [`rolling_into`] a row of its own.
pub(crate) fn rolling(values: &[f64], n: usize, kernel: impl Kernel) -> Vec<f64> {
    let mut out = vec![0.0; values.len()];
    rolling_into(values, n, kernel, &mut out);
    out
}

pub(crate) struct Mean;

impl Kernel for Mean {
    #[inline(always)]
    fn side(&self, w: &[f64], n: usize) -> Side {
        let mut mean = [0.0; SIDE];
        for v in w.array_windows::<SIDE>() {
            for l in 0..SIDE {
                mean[l] += v[l];
            }
        }
        for mean in &mut mean {
            *mean /= n as f64;
        }
        mean
    }
}

/// Sample standard deviation (ddof = 1) in two passes; exactly 0 for a constant window.
pub(crate) struct StdDev;

impl Kernel for StdDev {
    #[inline(always)]
    fn side(&self, w: &[f64], n: usize) -> Side {
        let m = Mean.side(w, n);
        let mut ss = [0.0; SIDE];
        for v in w.array_windows::<SIDE>() {
            for l in 0..SIDE {
                ss[l] += (v[l] - m[l]) * (v[l] - m[l]);
            }
        }
        // The squares of a constant window are those of what its mean lost to rounding. Any that small is looked at.
        let lost = 4.0 * (n as f64).powi(3) * f64::EPSILON * f64::EPSILON;
        let small = (0..SIDE).fold(false, |small, l| small | (ss[l] <= lost * m[l] * m[l]));
        for ss in &mut ss {
            *ss = (*ss / (n - 1) as f64).sqrt();
        }
        if small {
            flatten(&mut ss, w, n);
        }
        ss
    }
}

/// No deviation where a window's values are equal.
#[cold]
fn flatten(deviations: &mut Side, w: &[f64], n: usize) {
    for (deviation, window) in deviations.iter_mut().zip(w.windows(n)) {
        if window.iter().all(|v| *v == window[0]) {
            *deviation = 0.0;
        }
    }
}

pub(crate) struct Max;

impl Kernel for Max {
    #[inline(always)]
    fn side(&self, w: &[f64], _: usize) -> Side {
        let mut hi = [f64::NEG_INFINITY; SIDE];
        for v in w.array_windows::<SIDE>() {
            for l in 0..SIDE {
                hi[l] = if v[l] > hi[l] { v[l] } else { hi[l] };
            }
        }
        hi
    }
}

/// `times` the mean of those that are there where at least `least` are; missing elsewhere.
pub(crate) struct MeanOfPresent {
    pub times: f64,
    pub least: usize,
}

impl Kernel for MeanOfPresent {
    #[inline(always)]
    fn side(&self, w: &[f64], _: usize) -> Side {
        let (mut sum, mut count) = ([0.0; SIDE], [0.0; SIDE]);
        for v in w.array_windows::<SIDE>() {
            for l in 0..SIDE {
                let missing = v[l].is_nan();
                sum[l] += if missing { 0.0 } else { v[l] };
                count[l] += f64::from(!missing);
            }
        }
        for l in 0..SIDE {
            let mean = self.times * sum[l] / count[l];
            sum[l] = if count[l] >= self.least as f64 { mean } else { f64::NAN };
        }
        sum
    }
}

/// `ln(now / before)` of each value and the one `lag` sessions earlier, into as many places; missing unless both are there.
pub(crate) fn log_returns_into(values: &[f64], lag: usize, out: &mut [f64]) {
    let (short, whole) = out.split_at_mut(lag.min(values.len()));
    short.fill(f64::NAN);
    log_ratios_into(&values[short.len()..], values, whole);
}

/// `ln(a / b)` of each pair, into as many places.
pub(crate) fn log_ratios_into(a: &[f64], b: &[f64], out: &mut [f64]) {
    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
        *out = a / b;
    }
    logarithms(out);
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
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn a_gap_empties_every_window_that_holds_it() {
        let x = [1.0, 2.0, f64::NAN, 4.0, 5.0, 6.0];
        let got = rolling(&x, 2, Mean);
        assert_eq!(got[1], 1.5);
        assert_eq!(got.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [true, false, true, true, false, false]);
        assert_eq!(rolling(&x, 3, Max)[5], 6.0);
    }

    #[test]
    fn a_constant_window_has_no_deviation_at_all() {
        assert_eq!(rolling(&[0.1; 7], 7, StdDev)[6], 0.0);
        assert!((rolling(&[1.0, 2.0, 3.0], 3, StdDev)[2] - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_return_needs_both_its_ends() {
        let mut out = [0.0; 5];
        log_returns_into(&[1.0, 2.0, f64::NAN, 4.0, 8.0], 1, &mut out);
        assert_eq!(out.map(f64::is_nan), [true, false, true, true, false]);
        assert_eq!((out[1], out[4]), (2.0f64.ln(), 2.0f64.ln()));
        let mut short = [0.0; 2];
        log_returns_into(&[1.0, 2.0], 5, &mut short);
        assert!(short.iter().all(|v| v.is_nan()));
    }

    /// One window at a time, in the plainest words.
    fn alone(values: &[f64], n: usize, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let whole = |t: usize| (t + 1 >= n).then(|| &values[t + 1 - n..=t]).filter(|w| w.iter().all(|v| !v.is_nan()));
        (0..values.len()).map(|t| whole(t).map_or(f64::NAN, &f)).collect()
    }

    proptest! {
        #[test]
        fn neighbours_never_change_a_value(values in vec(prop_oneof![9 => -1e6..1e6f64, 1 => Just(f64::NAN)], 0..70), n in 2usize..21) {
            let mean_alone = |w: &[f64]| w.iter().fold(0.0, |sum, v| sum + v) / w.len() as f64;
            let std_alone = |w: &[f64]| {
                let m = mean_alone(w);
                (w.iter().fold(0.0, |ss, v| ss + (v - m) * (v - m)) / (w.len() - 1) as f64).sqrt()
            };
            let bits = |v: Vec<f64>| v.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            prop_assert_eq!(bits(rolling(&values, n, Mean)), bits(alone(&values, n, mean_alone)));
            prop_assert_eq!(bits(rolling(&values, n, StdDev)), bits(alone(&values, n, std_alone)));
            prop_assert_eq!(bits(rolling(&values, n, Max)), bits(alone(&values, n, |w| w.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b)))));
            let present = |t: usize| values[(t + 1).saturating_sub(n)..=t].iter().copied().filter(|v| !v.is_nan()).collect::<Vec<_>>();
            let some = (0..values.len()).map(|t| if present(t).len() >= 2 { mean_alone(&present(t)) } else { f64::NAN }).collect();
            let mut every = vec![0.0; values.len()];
            every_into(&values, n, MeanOfPresent { times: 1.0, least: 2 }, &mut every);
            prop_assert_eq!(bits(every), bits(some));
        }
    }
}
