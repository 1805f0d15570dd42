//! Sums over a sliding window that do not drift, and the series that several families share.

use super::Bars;

/// A window's sums are rebuilt from its values at least this often, in sessions (or once per window length).
const REBUILD: usize = 20;
/// When what is left of a sum of squares is this small a share of what was there, digits are lost: rebuild.
const CANCELLED: f64 = 1e-5;

/// Sums that can slide.
pub(super) trait Running {
    /// Make the sums of sessions `from..to` anew, about an origin inside the window.
    fn rebuild(&mut self, from: usize, to: usize);
    /// Add session `new`; drop session `old`, if the window is full.
    fn slide(&mut self, new: usize, old: Option<usize>);
    /// Whether the sums have lost too many digits.
    fn blurred(&self) -> bool;
}

/// Walk a window of `w` sessions over `n` sessions. The first windows are shorter.
pub(super) fn walk<R: Running>(sums: &mut R, n: usize, w: usize, mut each: impl FnMut(usize, &R)) {
    let every = w.max(REBUILD);
    let mut since = every;
    for t in 0..n {
        let from = (t + 1).saturating_sub(w);
        since += 1;
        if since < every {
            sums.slide(t, t.checked_sub(w));
        }
        if since >= every || sums.blurred() {
            sums.rebuild(from, t + 1);
            since = 0;
        }
        each(t, sums);
    }
}

/// Whether the spread, or the sum of squares itself, is little more than the rounding of larger numbers that were
/// subtracted from each other. `peak` is the largest sum of squares since the sums were made.
pub(super) fn cancelled(n: f64, sum: f64, squares: f64, peak: f64) -> bool {
    peak > 0.0 && (squares < CANCELLED * peak || n * squares - sum * sum < CANCELLED * n * squares)
}

/// An origin close to the mean of the values that are there: exact when they are all equal.
pub(super) fn origin(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let mut finite = values.filter(|v| v.is_finite());
    let Some(first) = finite.clone().next() else { return 0.0 };
    let (mut n, mut sum) = (0.0, 0.0);
    for v in finite.by_ref() {
        n += 1.0;
        sum += v - first;
    }
    first + sum / n
}

/// Series made from a symbol's bars once and used by several families.
pub(super) struct Derived {
    /// `C_t - C_{t-1}`.
    pub close_step: Vec<f64>,
    /// `V_t - V_{t-1}`.
    pub volume_step: Vec<f64>,
    /// `|C_t / C_{t-1} - 1| x V_t`.
    pub weighted_move: Vec<f64>,
    /// `ln(V + 1)`.
    pub log_volume: Vec<f64>,
    /// `C_t / C_{t-1}`.
    pub close_ratio: Vec<f64>,
    /// `ln(V_t / V_{t-1} + 1)`.
    pub log_volume_ratio: Vec<f64>,
}

impl Derived {
    pub(super) fn of(bars: &Bars<'_>) -> Self {
        let (c, v) = (bars.close, bars.volume);
        let pair = |f: &dyn Fn(usize) -> f64| -> Vec<f64> {
            // An infinite intermediate counts as missing.
            (0..c.len()).map(|t| if t == 0 { f64::NAN } else { Some(f(t)).filter(|x| x.is_finite()).unwrap_or(f64::NAN) }).collect()
        };
        Self {
            close_step: pair(&|t| c[t] - c[t - 1]),
            volume_step: pair(&|t| v[t] - v[t - 1]),
            weighted_move: pair(&|t| (c[t] / c[t - 1] - 1.0).abs() * v[t]),
            log_volume: v.iter().map(|v| Some((v + 1.0).ln()).filter(|x| x.is_finite()).unwrap_or(f64::NAN)).collect(),
            close_ratio: pair(&|t| c[t] / c[t - 1]),
            log_volume_ratio: pair(&|t| (v[t] / v[t - 1] + 1.0).ln()),
        }
    }
}
