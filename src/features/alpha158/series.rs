//! A symbol's series, laid out so that neighbouring sessions look back side by side.
//!
//! Each value is made of its own window alone, by direct sums from the newest session to the oldest: nothing drifts, and a value
//! is the same bit for bit however much history precedes the window. One walk serves all windows, since each is the end of the next.

use super::{Bars, LOOKBACK_SESSIONS};

/// Sessions that are computed side by side.
pub(super) const LANES: usize = 16;
/// One number for each of them.
pub(super) type Lanes = [f64; LANES];

/// Values by session with room on both sides. What is not a finite number is missing.
pub(super) struct Series {
    values: Vec<f64>,
    /// The newest value that is there, at each session. Sums are made about it: since it lies in every window that holds anything,
    /// the sum of squares about it is at most (observations + 1) times the spread, and no digits are lost between the two.
    origins: Vec<f64>,
}

impl Series {
    pub(super) fn of(values: impl ExactSizeIterator<Item = f64>) -> Self {
        let n = values.len();
        let (mut padded, mut origins) = (vec![f64::NAN; LOOKBACK_SESSIONS], Vec::with_capacity(n + LANES));
        let mut origin = f64::NAN;
        for v in values {
            if v.is_finite() {
                origin = v;
            }
            origins.push(origin);
            padded.push(if v.is_finite() { v } else { f64::NAN });
        }
        padded.resize(LOOKBACK_SESSIONS + n + LANES, f64::NAN);
        origins.resize(n + LANES, f64::NAN);
        Self { values: padded, origins }
    }

    /// The value `age` sessions before `t` and before each of the sessions that follow it; `age` is at most the longest window.
    #[inline(always)]
    pub(super) fn before(&self, t: usize, age: usize) -> Lanes {
        lanes(&self.values, t + LOOKBACK_SESSIONS - age)
    }

    #[inline(always)]
    pub(super) fn origin(&self, t: usize) -> Lanes {
        lanes(&self.origins, t)
    }

    pub(super) fn is_missing(&self, t: usize) -> bool {
        self.values[t + LOOKBACK_SESSIONS].is_nan()
    }
}

/// `LANES` neighbours from a place that is followed by as many.
#[inline(always)]
fn lanes(values: &[f64], from: usize) -> Lanes {
    let mut out = [f64::NAN; LANES];
    out.copy_from_slice(&values[from..from + LANES]);
    out
}

/// Count, sum and sum of squares of the values that are there, about an origin.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub n: Lanes,
    pub sum: Lanes,
    pub squares: Lanes,
}

impl Sums {
    pub(super) const NONE: Self = Self { n: [0.0; LANES], sum: [0.0; LANES], squares: [0.0; LANES] };

    /// Take in a value about `origin`.
    #[inline(always)]
    pub(super) fn add(&mut self, v: &Lanes, origin: &Lanes) {
        for l in 0..LANES {
            let missing = v[l].is_nan();
            let d = if missing { 0.0 } else { v[l] - origin[l] };
            self.n[l] += if missing { 0.0 } else { 1.0 };
            self.sum[l] += d;
            self.squares[l] += d * d;
        }
    }

    /// `n sum(d^2) - sum(d)^2`.
    #[inline(always)]
    pub(super) fn spread(&self, l: usize) -> f64 {
        let spread = self.n[l] * self.squares[l] - self.sum[l] * self.sum[l];
        if spread < 0.0 { 0.0 } else { spread }
    }

    /// ddof 1; missing below two values.
    #[inline(always)]
    pub(super) fn std(&self, l: usize) -> f64 {
        let std = (self.spread(l) / self.n[l] / (self.n[l] - 1.0)).sqrt();
        if self.n[l] < 2.0 { f64::NAN } else { std }
    }

    /// Missing where nothing is there.
    #[inline(always)]
    pub(super) fn mean(&self, l: usize, origin: &Lanes) -> f64 {
        origin[l] + self.sum[l] / self.n[l]
    }
}

/// Series made from a symbol's bars once and used by several families.
pub(super) struct Derived {
    pub close: Series,
    pub volume: Series,
    /// `C_t - C_{t-1}`.
    pub close_step: Series,
    /// `V_t - V_{t-1}`.
    pub volume_step: Series,
    /// `|C_t / C_{t-1} - 1| x V_t`.
    pub weighted_move: Series,
    /// `ln(V + 1)`.
    pub log_volume: Series,
    /// `C_t / C_{t-1}`.
    pub close_ratio: Series,
    /// `ln(V_t / V_{t-1} + 1)`.
    pub log_volume_ratio: Series,
}

impl Derived {
    pub(super) fn of(bars: &Bars<'_>) -> Self {
        let (c, v) = (bars.close, bars.volume);
        let pair = |f: &dyn Fn(usize) -> f64| Series::of((0..c.len()).map(|t| if t == 0 { f64::NAN } else { f(t) }));
        Self {
            close: Series::of(c.iter().copied()),
            volume: Series::of(v.iter().copied()),
            close_step: pair(&|t| c[t] - c[t - 1]),
            volume_step: pair(&|t| v[t] - v[t - 1]),
            weighted_move: pair(&|t| (c[t] / c[t - 1] - 1.0).abs() * v[t]),
            log_volume: Series::of(v.iter().map(|v| (v + 1.0).ln())),
            close_ratio: pair(&|t| c[t] / c[t - 1]),
            log_volume_ratio: pair(&|t| (v[t] / v[t - 1] + 1.0).ln()),
        }
    }
}

/// Write a feature of neighbouring sessions.
#[inline(always)]
pub(super) fn put<T: super::Cell>(row: &mut [T], t: usize, values: &Lanes) {
    let row = &mut row[t..t + LANES];
    for l in 0..LANES {
        row[l] = T::of(values[l]);
    }
}
