//! The shape of one bar, and its prices relative to the close.

use super::{Bars, Cell, TINY};

/// Larger of two, missing when either is.
fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Smaller of two, missing when either is.
fn less(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

pub(super) fn single<T: Cell>(bars: &Bars<'_>, rows: &mut [Vec<T>]) {
    for t in 0..bars.close.len() {
        let (o, h, l, c) = (bars.open[t], bars.high[t], bars.low[t], bars.close[t]);
        let range = h - l + TINY;
        let (top, bottom) = (h - greater(o, c), less(o, c) - l);
        let shift = 2.0 * c - h - l;
        let values = [
            (c - o) / o,
            (h - l) / o,
            (c - o) / range,
            top / o,
            top / range,
            bottom / o,
            bottom / range,
            shift / o,
            shift / range,
            o / c,
            h / c,
            l / c,
            bars.vwap[t] / c,
        ];
        for (row, v) in rows.iter_mut().zip(values) {
            row[t] = T::of(v);
        }
    }
}
