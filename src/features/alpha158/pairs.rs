//! Correlation of price and volume over a window.

use super::moments::deviations;
use super::running::{Derived, Running, cancelled, origin, walk};
use super::{Bars, Cell, FLAT, Family, place};

/// Sums of the complete pairs of two series, each about its own origin.
struct Pair<'a> {
    a: &'a [f64],
    b: &'a [f64],
    origins: (f64, f64),
    n: f64,
    sums: (f64, f64),
    squares: (f64, f64),
    peaks: (f64, f64),
    product: f64,
}

impl Pair<'_> {
    fn add(&mut self, t: usize, sign: f64) {
        let (x, y) = (self.a[t], self.b[t]);
        if x.is_finite() && y.is_finite() {
            let (x, y) = (x - self.origins.0, y - self.origins.1);
            self.n += sign;
            self.sums = (self.sums.0 + sign * x, self.sums.1 + sign * y);
            self.squares = (self.squares.0 + sign * x * x, self.squares.1 + sign * y * y);
            self.peaks = (self.peaks.0.max(self.squares.0), self.peaks.1.max(self.squares.1));
            self.product += sign * x * y;
        }
    }
    /// Spread of each side, `n sum(x^2) - sum(x)^2`.
    fn spreads(&self) -> (f64, f64) {
        let spread = |sum: f64, squares: f64| (self.n * squares - sum * sum).max(0.0);
        (spread(self.sums.0, self.squares.0), spread(self.sums.1, self.squares.1))
    }
    fn correlation(&self) -> f64 {
        let (a, b) = self.spreads();
        let root = a.sqrt() * b.sqrt();
        if self.n < 2.0 || !(root > 0.0) { f64::NAN } else { (self.n * self.product - self.sums.0 * self.sums.1) / root }
    }
    /// Standard deviations (ddof 1) of the two sides of the complete pairs.
    fn deviations(&self) -> (f64, f64) {
        let (a, b) = self.spreads();
        let std = |spread: f64| (spread / self.n / (self.n - 1.0)).sqrt();
        if self.n < 2.0 { (f64::NAN, f64::NAN) } else { (std(a), std(b)) }
    }
}

impl Running for Pair<'_> {
    fn rebuild(&mut self, from: usize, to: usize) {
        let (a, b) = (self.a, self.b);
        let complete = |t: &usize| a[*t].is_finite() && b[*t].is_finite();
        self.origins = (origin((from..to).filter(complete).map(|t| a[t])), origin((from..to).filter(complete).map(|t| b[t])));
        (self.n, self.sums, self.squares, self.peaks, self.product) = (0.0, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), 0.0);
        (from..to).for_each(|t| self.add(t, 1.0));
    }
    fn slide(&mut self, new: usize, old: Option<usize>) {
        self.add(new, 1.0);
        if let Some(old) = old {
            self.add(old, -1.0);
        }
    }
    fn blurred(&self) -> bool {
        cancelled(self.n, self.sums.0, self.squares.0, self.peaks.0) || cancelled(self.n, self.sums.1, self.squares.1, self.peaks.1)
    }
}

/// Correlation over each window; missing where either series hardly varies over the window by itself.
fn correlate<T: Cell>(a: &[f64], b: &[f64], w: usize, out: &mut [T]) {
    let zero = (0.0, 0.0);
    let mut pair = Pair { a, b, origins: zero, n: 0.0, sums: zero, squares: zero, peaks: zero, product: 0.0 };
    // Each side is judged over all its own values; they are those of the pairs unless one side has a hole of its own.
    let same_holes = a.iter().zip(b).all(|(x, y)| x.is_finite() == y.is_finite());
    let alone = if same_holes { None } else { Some((deviations(a, w), deviations(b, w))) };
    walk(&mut pair, a.len(), w, |t, p| {
        let (da, db) = alone.as_ref().map_or_else(|| p.deviations(), |(a, b)| (a[t], b[t]));
        out[t] = T::of(if da <= FLAT || db <= FLAT { f64::NAN } else { p.correlation() });
    });
}

/// `CORR`, `CORD`.
pub(super) fn family<T: Cell>(bars: &Bars<'_>, derived: &Derived, w: usize, q: usize, rows: &mut [Vec<T>]) {
    correlate(bars.close, &derived.log_volume, w, &mut rows[place(Family::Corr, q)]);
    correlate(&derived.close_ratio, &derived.log_volume_ratio, w, &mut rows[place(Family::Cord, q)]);
}
