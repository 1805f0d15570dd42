//! Mean, standard deviation and straight-line fit over a window.

use super::series::{Derived, LANES, Lanes, Series, Sums, put};
use super::{Bars, Cell, FLAT, Family, TINY, WINDOWS, place};
use crate::wide::wide;

/// [`Sums`] with a regression on time: `x` is 0 on the newest session and falls by one a session.
struct Trend {
    y: Sums,
    x: Lanes,
    xx: Lanes,
    xy: Lanes,
}

impl Trend {
    #[inline(always)]
    fn add(&mut self, v: &Lanes, origin: &Lanes, x: f64) {
        self.y.add(v, origin);
        for l in 0..LANES {
            let missing = v[l].is_nan();
            self.x[l] += if missing { 0.0 } else { x };
            self.xx[l] += if missing { 0.0 } else { x * x };
            self.xy[l] += if missing { 0.0 } else { x * (v[l] - origin[l]) };
        }
    }
}

wide! {
    /// `ROC`, `MA`, `STD`, `BETA`, `RSQR`, `RESI`.
    pub(super) fn close<T: Cell>(bars: &Bars<'_>, series: &Series, rows: &mut [Vec<T>]) {
        let mut t = 0;
        while t < bars.close.len() {
            let (c, origin) = (series.before(t, 0), series.origin(t));
            let mut fit = Trend { y: Sums::NONE, x: [0.0; LANES], xx: [0.0; LANES], xy: [0.0; LANES] };
            let (mut q, mut age) = (0, 0);
            while q < WINDOWS.len() {
                while age < WINDOWS[q] {
                    fit.add(&series.before(t, age), &origin, -(age as f64));
                    age += 1;
                }
                let before = series.before(t, age);
                let mut out = [[0.0; LANES]; 6];
                for l in 0..LANES {
                    let (n, std) = (fit.y.n[l], fit.y.std(l));
                    // Whole numbers, so exact.
                    let x_spread = n * fit.xx[l] - fit.x[l] * fit.x[l];
                    let product = n * fit.xy[l] - fit.x[l] * fit.y.sum[l];
                    let slope = if n < 2.0 { f64::NAN } else { product / x_spread };
                    let share = product * product / (x_spread * fit.y.spread(l));
                    let intercept = (fit.y.sum[l] - slope * fit.x[l]) / n;
                    out[0][l] = before[l] / c[l];
                    out[1][l] = fit.y.mean(l, &origin) / c[l];
                    out[2][l] = std / c[l];
                    out[3][l] = slope / c[l];
                    // A missing deviation is not "flat", as in the reference; it then has no regression either.
                    out[4][l] = if std <= FLAT || n < 2.0 { f64::NAN } else { share };
                    out[5][l] = (c[l] - origin[l] - intercept) / c[l];
                }
                put(&mut rows[place(Family::Roc, q)], t, &out[0]);
                put(&mut rows[place(Family::Ma, q)], t, &out[1]);
                put(&mut rows[place(Family::Std, q)], t, &out[2]);
                put(&mut rows[place(Family::Beta, q)], t, &out[3]);
                put(&mut rows[place(Family::Rsqr, q)], t, &out[4]);
                put(&mut rows[place(Family::Resi, q)], t, &out[5]);
                q += 1;
            }
            t += LANES;
        }
    }
}

wide! {
    /// `VMA`, `VSTD`, `WVMA`.
    pub(super) fn volume<T: Cell>(bars: &Bars<'_>, derived: &Derived, rows: &mut [Vec<T>]) {
        let (volume, moved) = (&derived.volume, &derived.weighted_move);
        let mut t = 0;
        while t < bars.volume.len() {
            let (v, origin, moved_origin) = (volume.before(t, 0), volume.origin(t), moved.origin(t));
            let (mut of_volume, mut of_moves) = (Sums::NONE, Sums::NONE);
            let (mut q, mut age) = (0, 0);
            while q < WINDOWS.len() {
                while age < WINDOWS[q] {
                    of_volume.add(&volume.before(t, age), &origin);
                    of_moves.add(&moved.before(t, age), &moved_origin);
                    age += 1;
                }
                let mut out = [[0.0; LANES]; 3];
                for l in 0..LANES {
                    out[0][l] = of_volume.mean(l, &origin) / (v[l] + TINY);
                    out[1][l] = of_volume.std(l) / (v[l] + TINY);
                    out[2][l] = of_moves.std(l) / (of_moves.mean(l, &moved_origin) + TINY);
                }
                put(&mut rows[place(Family::Vma, q)], t, &out[0]);
                put(&mut rows[place(Family::Vstd, q)], t, &out[1]);
                put(&mut rows[place(Family::Wvma, q)], t, &out[2]);
                q += 1;
            }
            t += LANES;
        }
    }
}

wide! {
    /// The standard deviation (ddof 1) of each of the windows of a series; missing below two values.
    pub(super) fn deviations(series: &Series, n: usize) -> [Vec<f64>; WINDOWS.len()] {
        let mut rows = [const { Vec::new() }; WINDOWS.len()];
        let mut t = 0;
        while t < n {
            let (origin, mut sums) = (series.origin(t), Sums::NONE);
            let (mut q, mut age) = (0, 0);
            while q < WINDOWS.len() {
                while age < WINDOWS[q] {
                    sums.add(&series.before(t, age), &origin);
                    age += 1;
                }
                let mut out = [0.0; LANES];
                for l in 0..LANES {
                    out[l] = sums.std(l);
                }
                rows[q].extend_from_slice(&out);
                q += 1;
            }
            t += LANES;
        }
        rows
    }
}
