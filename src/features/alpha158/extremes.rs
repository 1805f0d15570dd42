//! Highest high and lowest low of a window, and where they stand in it.

use super::series::{LANES, Lanes, Series, put};
use super::{Bars, Cell, Family, TINY, WINDOWS, place};
use crate::wide::wide;

/// The best value of the sessions walked so far, the highest or (of negated values) the lowest, and how long ago it was. Ties keep
/// the earlier session. The reference searches with NumPy's argmax, for which the first missing value is the largest and the
/// smallest: the age of the oldest missing session is kept too.
struct Best {
    value: Lanes,
    age: Lanes,
    missing: Lanes,
}

impl Best {
    const NONE: Self = Self { value: [f64::NEG_INFINITY; LANES], age: [0.0; LANES], missing: [-1.0; LANES] };

    /// `known`: sessions since the first one, which is as far back as anything can be missing.
    #[inline(always)]
    fn add(&mut self, v: &Lanes, sign: f64, age: f64, known: &Lanes) {
        for l in 0..LANES {
            let better = sign * v[l] >= self.value[l];
            self.value[l] = if better { sign * v[l] } else { self.value[l] };
            self.age[l] = if better { age } else { self.age[l] };
            self.missing[l] = if v[l].is_nan() & (age <= known[l]) { age } else { self.missing[l] };
        }
    }
    #[inline(always)]
    fn value(&self, l: usize, sign: f64) -> f64 {
        if self.value[l] == f64::NEG_INFINITY { f64::NAN } else { sign * self.value[l] }
    }
    /// Counted from 1 at the oldest session of a window of `sessions`.
    #[inline(always)]
    fn place(&self, l: usize, sessions: f64) -> f64 {
        let age = if self.missing[l] < 0.0 { self.age[l] } else { self.missing[l] };
        if self.value[l] == f64::NEG_INFINITY { f64::NAN } else { sessions - age }
    }
}

/// `MAX`, `MIN`, `RSV`, `IMAX`, `IMIN`, `IMXD`.
pub(super) fn family<T: Cell>(bars: &Bars<'_>, rows: &mut [Vec<T>]) {
    walk(bars, &Series::of(bars.high.iter().copied()), &Series::of(bars.low.iter().copied()), rows);
}

wide! {
    fn walk<T: Cell>(bars: &Bars<'_>, highs: &Series, lows: &Series, rows: &mut [Vec<T>]) {
        let mut t = 0;
        while t < bars.close.len() {
            let (mut c, mut known) = ([f64::NAN; LANES], [0.0; LANES]);
            for l in 0..LANES {
                known[l] = (t + l) as f64;
                if t + l < bars.close.len() {
                    c[l] = bars.close[t + l];
                }
            }
            let (mut high, mut low) = (Best::NONE, Best::NONE);
            let (mut q, mut age) = (0, 0);
            while q < WINDOWS.len() {
                while age < WINDOWS[q] {
                    high.add(&highs.before(t, age), 1.0, age as f64, &known);
                    low.add(&lows.before(t, age), -1.0, age as f64, &known);
                    age += 1;
                }
                let length = WINDOWS[q] as f64;
                let mut out = [[0.0; LANES]; 6];
                for l in 0..LANES {
                    let sessions = if known[l] + 1.0 < length { known[l] + 1.0 } else { length };
                    let (top, bottom) = (high.value(l, 1.0), low.value(l, -1.0));
                    let (top_at, bottom_at) = (high.place(l, sessions), low.place(l, sessions));
                    out[0][l] = top / c[l];
                    out[1][l] = bottom / c[l];
                    out[2][l] = (c[l] - bottom) / (top - bottom + TINY);
                    out[3][l] = top_at / length;
                    out[4][l] = bottom_at / length;
                    out[5][l] = (top_at - bottom_at) / length;
                }
                put(&mut rows[place(Family::Max, q)], t, &out[0]);
                put(&mut rows[place(Family::Min, q)], t, &out[1]);
                put(&mut rows[place(Family::Rsv, q)], t, &out[2]);
                put(&mut rows[place(Family::Imax, q)], t, &out[3]);
                put(&mut rows[place(Family::Imin, q)], t, &out[4]);
                put(&mut rows[place(Family::Imxd, q)], t, &out[5]);
                q += 1;
            }
            t += LANES;
        }
    }
}
