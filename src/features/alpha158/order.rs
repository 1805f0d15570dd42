//! Quantiles of a window, and the rank of its newest value.

use super::series::{LANES, Series, put};
use super::{Bars, Cell, Family, WINDOWS, place};
use crate::wide::wide;

/// Places, at least those of the longest window.
const ROOM: usize = 64;

/// The last `w` values, ascending; those that are missing, and the places past them, are infinite.
struct Sorted {
    /// The places are from 1 to `ROOM`; one on either side is theirs to look at.
    values: [f64; ROOM + 2],
}

impl Sorted {
    /// Put `new` in the place of `old`, which is there. Every place takes the smaller or the larger of neighbours: no branch, and
    /// nothing depends on where either stands.
    #[inline(always)]
    fn exchange(&mut self, old: f64, new: f64) {
        // Without `old`: from its place on, the next one.
        let mut without = [f64::INFINITY; ROOM + 1];
        for i in 0..ROOM {
            let stays = if self.values[i + 1] < old { self.values[i + 1] } else { f64::INFINITY };
            let next = self.values[i + 2];
            without[i + 1] = if stays < next { stays } else { next };
        }
        without[0] = f64::NEG_INFINITY;
        // With `new`: it stands where what is before it is smaller and what is behind is larger.
        for i in 0..ROOM {
            let at_most = if without[i + 1] < new { without[i + 1] } else { new };
            self.values[i + 1] = if without[i] > at_most { without[i] } else { at_most };
        }
    }

    /// Linear interpolation between the neighbours of the `n` values that are there.
    #[inline(always)]
    fn quantile(&self, share: f64, n: usize) -> f64 {
        if n == 0 {
            return f64::NAN;
        }
        let at = share * (n - 1) as f64;
        let (below, part) = (at as usize, at - at.floor());
        let low = self.values[1 + below % ROOM];
        if part > 0.0 { low + (self.values[1 + (below + 1) % ROOM] - low) * part } else { low }
    }
}

wide! {
    /// `QTLU`, `QTLD`.
    fn quantiles<T: Cell>(close: &[f64], w: usize, upper: &mut [T], lower: &mut [T]) {
        let mut window = Sorted { values: [f64::INFINITY; ROOM + 2] };
        let mut n = 0usize;
        let known = |v: f64| if v.is_finite() { v } else { f64::INFINITY };
        for t in 0..close.len() {
            let (old, new) = (if t >= w { known(close[t - w]) } else { f64::INFINITY }, known(close[t]));
            window.exchange(old, new);
            n = n + usize::from(new < f64::INFINITY) - usize::from(old < f64::INFINITY);
            upper[t] = T::of(window.quantile(0.8, n) / close[t]);
            lower[t] = T::of(window.quantile(0.2, n) / close[t]);
        }
    }
}

wide! {
    /// `RANK`: the average rank as a share of the window; missing for a missing value.
    fn ranks<T: Cell>(series: &Series, n: usize, rows: &mut [Vec<T>]) {
        let mut t = 0;
        while t < n {
            let c = series.before(t, 0);
            let (mut below, mut equal, mut there) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            let (mut q, mut age) = (0, 0);
            while q < WINDOWS.len() {
                while age < WINDOWS[q] {
                    let v = series.before(t, age);
                    for l in 0..LANES {
                        below[l] += f64::from(v[l] < c[l]);
                        equal[l] += f64::from(v[l] == c[l]);
                        there[l] += f64::from(!v[l].is_nan());
                    }
                    age += 1;
                }
                let mut out = [f64::NAN; LANES];
                for l in 0..LANES {
                    let rank = (below[l] + (equal[l] + 1.0) / 2.0) / there[l];
                    out[l] = if c[l].is_nan() { f64::NAN } else { rank };
                }
                put(&mut rows[place(Family::Rank, q)], t, &out);
                q += 1;
            }
            t += LANES;
        }
    }
}

/// `QTLU`, `QTLD`, `RANK`.
pub(super) fn family<T: Cell>(bars: &Bars<'_>, series: &Series, rows: &mut [Vec<T>]) {
    ranks(series, bars.close.len(), rows);
    for (q, w) in WINDOWS.into_iter().enumerate() {
        let (upper, lower) = rows.split_at_mut(place(Family::Qtld, 0));
        quantiles(bars.close, w, &mut upper[place(Family::Qtlu, q)], &mut lower[q]);
    }
}
