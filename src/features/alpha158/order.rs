//! Quantiles of a window, and the rank of its newest value, from a window kept in order.

use super::{Bars, Cell, Family, place};

/// The values of a window that are there, ascending.
struct Sorted {
    values: Vec<f64>,
}

impl Sorted {
    fn insert(&mut self, v: f64) {
        if v.is_finite() {
            let at = self.values.partition_point(|x| *x < v);
            self.values.insert(at, v);
        }
    }
    fn remove(&mut self, v: f64) {
        if v.is_finite() {
            let at = self.values.partition_point(|x| *x < v);
            self.values.remove(at);
        }
    }
    /// Linear interpolation between the neighbours.
    fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.values.len().checked_sub(1) else { return f64::NAN };
        let at = share * last as f64;
        let (below, part) = (at as usize, at - at.floor());
        let low = self.values[below];
        if part > 0.0 && below < last { low + (self.values[below + 1] - low) * part } else { low }
    }
    /// Average rank as a share of the window; missing for a missing value.
    fn rank(&self, v: f64) -> f64 {
        if !v.is_finite() {
            return f64::NAN;
        }
        let below = self.values.partition_point(|x| *x < v);
        let equal = self.values[below..].partition_point(|x| *x <= v);
        (below as f64 + (equal as f64 + 1.0) / 2.0) / self.values.len() as f64
    }
}

/// `QTLU`, `QTLD`, `RANK`.
pub(super) fn family<T: Cell>(bars: &Bars<'_>, w: usize, q: usize, rows: &mut [Vec<T>]) {
    let mut window = Sorted { values: Vec::with_capacity(w + 1) };
    for (t, c) in bars.close.iter().enumerate() {
        if t >= w {
            window.remove(bars.close[t - w]);
        }
        window.insert(*c);
        rows[place(Family::Qtlu, q)][t] = T::of(window.quantile(0.8) / c);
        rows[place(Family::Qtld, q)][t] = T::of(window.quantile(0.2) / c);
        rows[place(Family::Rank, q)][t] = T::of(window.rank(*c));
    }
}
