//! Highest high and lowest low of a window, and where they stand in it.

use super::{Bars, Cell, Family, TINY, place};

/// Sessions whose value may still become the extreme, best first: a monotonic queue. Ties keep the earlier session.
struct Best {
    sessions: Vec<u32>,
    head: usize,
    /// +1 for the highest, -1 for the lowest.
    sign: f64,
    /// Missing sessions, ascending, and how many of them have left the window.
    missing: Vec<u32>,
    gone: usize,
}

/// An extreme and its place in the window, counted from 1 at the oldest session.
struct Extreme {
    value: f64,
    place: f64,
}

impl Best {
    fn new(sign: f64) -> Self {
        Self { sessions: Vec::new(), head: 0, sign, missing: Vec::new(), gone: 0 }
    }

    fn step(&mut self, values: &[f64], t: usize, w: usize) -> Extreme {
        let from = (t + 1).saturating_sub(w);
        if values[t].is_finite() {
            while self.sessions.len() > self.head && self.sign * values[self.sessions[self.sessions.len() - 1] as usize] < self.sign * values[t] {
                self.sessions.pop();
            }
            self.sessions.push(t as u32);
        } else {
            self.missing.push(t as u32);
        }
        while self.sessions.get(self.head).is_some_and(|s| (*s as usize) < from) {
            self.head += 1;
        }
        while self.missing.get(self.gone).is_some_and(|s| (*s as usize) < from) {
            self.gone += 1;
        }
        let Some(best) = self.sessions.get(self.head).map(|s| *s as usize) else { return Extreme { value: f64::NAN, place: f64::NAN } };
        // The reference searches with NumPy's argmax, for which the first missing value is the largest and the smallest.
        let shown = self.missing.get(self.gone).map_or(best, |s| *s as usize);
        Extreme { value: values[best], place: (shown - from + 1) as f64 }
    }
}

/// `MAX`, `MIN`, `RSV`, `IMAX`, `IMIN`, `IMXD`.
pub(super) fn family<T: Cell>(bars: &Bars<'_>, w: usize, q: usize, rows: &mut [Vec<T>]) {
    let (mut high, mut low) = (Best::new(1.0), Best::new(-1.0));
    let length = w as f64;
    for (t, c) in bars.close.iter().enumerate() {
        let (top, bottom) = (high.step(bars.high, t, w), low.step(bars.low, t, w));
        rows[place(Family::Max, q)][t] = T::of(top.value / c);
        rows[place(Family::Min, q)][t] = T::of(bottom.value / c);
        rows[place(Family::Rsv, q)][t] = T::of((c - bottom.value) / (top.value - bottom.value + TINY));
        rows[place(Family::Imax, q)][t] = T::of(top.place / length);
        rows[place(Family::Imin, q)][t] = T::of(bottom.place / length);
        rows[place(Family::Imxd, q)][t] = T::of((top.place - bottom.place) / length);
    }
}
