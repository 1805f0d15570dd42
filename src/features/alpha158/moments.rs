//! Mean, standard deviation and straight-line fit over a window.

use super::running::{Derived, Running, cancelled, origin, walk};
use super::{Bars, Cell, FLAT, Family, TINY, place};

/// Sums of values about an origin.
struct Moments<'a> {
    values: &'a [f64],
    origin: f64,
    n: f64,
    sum: f64,
    squares: f64,
    /// The largest `squares` since the sums were made.
    peak: f64,
}

impl<'a> Moments<'a> {
    fn of(values: &'a [f64]) -> Self {
        Self { values, origin: 0.0, n: 0.0, sum: 0.0, squares: 0.0, peak: 0.0 }
    }
    fn add(&mut self, t: usize, sign: f64) {
        let v = self.values[t];
        if v.is_finite() {
            let d = v - self.origin;
            self.n += sign;
            self.sum += sign * d;
            self.squares += sign * d * d;
            self.peak = self.peak.max(self.squares);
        }
    }
    fn mean(&self) -> f64 {
        if self.n > 0.0 { self.origin + self.sum / self.n } else { f64::NAN }
    }
    fn restart(&mut self, from: usize, to: usize) {
        self.origin = origin(self.values[from..to].iter().copied());
        (self.n, self.sum, self.squares, self.peak) = (0.0, 0.0, 0.0, 0.0);
    }
    /// ddof 1; missing below two values.
    fn std(&self) -> f64 {
        if self.n < 2.0 { f64::NAN } else { ((self.squares - self.sum * self.sum / self.n) / (self.n - 1.0)).max(0.0).sqrt() }
    }
}

impl Running for Moments<'_> {
    fn rebuild(&mut self, from: usize, to: usize) {
        self.restart(from, to);
        (from..to).for_each(|t| self.add(t, 1.0));
    }
    fn slide(&mut self, new: usize, old: Option<usize>) {
        self.add(new, 1.0);
        if let Some(old) = old {
            self.add(old, -1.0);
        }
    }
    fn blurred(&self) -> bool {
        cancelled(self.n, self.sum, self.squares, self.peak)
    }
}

/// The standard deviation (ddof 1) of each window of a series; missing below two values.
pub(super) fn deviations(values: &[f64], w: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; values.len()];
    walk(&mut Moments::of(values), values.len(), w, |t, m| out[t] = m.std());
    out
}

/// [`Moments`] with a regression on time: `x` is 0 on the newest session and falls by one a session.
struct Trend<'a> {
    y: Moments<'a>,
    x: f64,
    xx: f64,
    xy: f64,
    window: f64,
}

impl Trend<'_> {
    /// `n sum(x^2) - sum(x)^2`: whole numbers, so exact.
    fn x_spread(&self) -> f64 {
        self.y.n * self.xx - self.x * self.x
    }
    fn slope(&self) -> f64 {
        if self.y.n < 2.0 { f64::NAN } else { (self.y.n * self.xy - self.x * self.y.sum) / self.x_spread() }
    }
    fn r_squared(&self) -> f64 {
        let product = self.y.n * self.xy - self.x * self.y.sum;
        let spread = self.y.n * self.y.squares - self.y.sum * self.y.sum;
        let std = self.y.std();
        // A missing deviation is not "flat", as in the reference; it then has no regression either.
        if std <= FLAT || self.y.n < 2.0 { f64::NAN } else { product * product / (self.x_spread() * spread) }
    }
    /// The value minus the line, on the newest session.
    fn residual(&self, value: f64) -> f64 {
        let intercept = (self.y.sum - self.slope() * self.x) / self.y.n;
        value - self.y.origin - intercept
    }
    fn enter(&mut self, t: usize, x: f64, sign: f64) {
        let v = self.y.values[t];
        self.y.add(t, sign);
        if v.is_finite() {
            self.x += sign * x;
            self.xx += sign * x * x;
            self.xy += sign * x * (v - self.y.origin);
        }
    }
}

impl Running for Trend<'_> {
    fn rebuild(&mut self, from: usize, to: usize) {
        self.y.restart(from, to);
        (self.x, self.xx, self.xy) = (0.0, 0.0, 0.0);
        (from..to).for_each(|t| self.enter(t, t as f64 - (to as f64 - 1.0), 1.0));
    }
    fn slide(&mut self, new: usize, old: Option<usize>) {
        self.xy -= self.y.sum;
        self.xx += self.y.n - 2.0 * self.x;
        self.x -= self.y.n;
        self.enter(new, 0.0, 1.0);
        if let Some(old) = old {
            self.enter(old, -self.window, -1.0);
        }
    }
    fn blurred(&self) -> bool {
        self.y.blurred()
    }
}

/// `ROC`, `MA`, `STD`, `BETA`, `RSQR`, `RESI`.
pub(super) fn close<T: Cell>(bars: &Bars<'_>, w: usize, q: usize, rows: &mut [Vec<T>]) {
    let c = bars.close;
    let mut trend = Trend { y: Moments::of(c), x: 0.0, xx: 0.0, xy: 0.0, window: w as f64 };
    walk(&mut trend, c.len(), w, |t, fit| {
        let before = if t >= w { c[t - w] } else { f64::NAN };
        rows[place(Family::Roc, q)][t] = T::of(before / c[t]);
        rows[place(Family::Ma, q)][t] = T::of(fit.y.mean() / c[t]);
        rows[place(Family::Std, q)][t] = T::of(fit.y.std() / c[t]);
        rows[place(Family::Beta, q)][t] = T::of(fit.slope() / c[t]);
        rows[place(Family::Rsqr, q)][t] = T::of(fit.r_squared());
        rows[place(Family::Resi, q)][t] = T::of(fit.residual(c[t]) / c[t]);
    });
}

/// `VMA`, `VSTD`, `WVMA`.
pub(super) fn volume<T: Cell>(bars: &Bars<'_>, derived: &Derived, w: usize, q: usize, rows: &mut [Vec<T>]) {
    let v = bars.volume;
    walk(&mut Moments::of(v), v.len(), w, |t, m| {
        rows[place(Family::Vma, q)][t] = T::of(m.mean() / (v[t] + TINY));
        rows[place(Family::Vstd, q)][t] = T::of(m.std() / (v[t] + TINY));
    });
    walk(&mut Moments::of(&derived.weighted_move), v.len(), w, |t, m| {
        rows[place(Family::Wvma, q)][t] = T::of(m.std() / (m.mean() + TINY));
    });
}
