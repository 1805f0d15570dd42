//! Correlation of price and volume over a window.

use super::moments::deviations;
use super::series::{Derived, LANES, Series, Sums, put};
use super::{Cell, FLAT, Family, WINDOWS, place};
use crate::wide::wide;

wide! {
    /// Correlation over each window; missing where either series hardly varies over the window by itself. `a` and `b` are missing
    /// together; `alone` has the deviations of either over all its own values, if they are not those of the pairs.
    fn correlate<T: Cell>(a: &Series, b: &Series, n: usize, alone: Option<[[Vec<f64>; WINDOWS.len()]; 2]>, rows: &mut [Vec<T>]) {
        let mut t = 0;
        while t < n {
            let origins = (a.origin(t), b.origin(t));
            let (mut of_a, mut of_b, mut products) = (Sums::NONE, Sums::NONE, [0.0; LANES]);
            let (mut q, mut age) = (0, 0);
            while q < WINDOWS.len() {
                while age < WINDOWS[q] {
                    let (x, y) = (a.before(t, age), b.before(t, age));
                    of_a.add(&x, &origins.0);
                    of_b.add(&y, &origins.1);
                    for l in 0..LANES {
                        products[l] += if x[l].is_nan() { 0.0 } else { (x[l] - origins.0[l]) * (y[l] - origins.1[l]) };
                    }
                    age += 1;
                }
                let (mut da, mut db) = ([0.0; LANES], [0.0; LANES]);
                match &alone {
                    Some([a, b]) => {
                        da.copy_from_slice(&a[q][t..t + LANES]);
                        db.copy_from_slice(&b[q][t..t + LANES]);
                    }
                    None => {
                        for l in 0..LANES {
                            da[l] = of_a.std(l);
                            db[l] = of_b.std(l);
                        }
                    }
                }
                let mut out = [0.0; LANES];
                for l in 0..LANES {
                    let root = of_a.spread(l).sqrt() * of_b.spread(l).sqrt();
                    let flat = da[l] <= FLAT || db[l] <= FLAT || of_a.n[l] < 2.0 || !(root > 0.0);
                    let ratio = (of_a.n[l] * products[l] - of_a.sum[l] * of_b.sum[l]) / root;
                    out[l] = if flat { f64::NAN } else { ratio };
                }
                put(&mut rows[q], t, &out);
                q += 1;
            }
            t += LANES;
        }
    }
}

/// `CORR`, `CORD`.
pub(super) fn family<T: Cell>(n: usize, derived: &Derived, rows: &mut [Vec<T>]) {
    let pairs = [(&derived.close, &derived.log_volume, Family::Corr), (&derived.close_ratio, &derived.log_volume_ratio, Family::Cord)];
    for (a, b, family) in pairs {
        let rows = &mut rows[place(family, 0)..place(family, WINDOWS.len())];
        // Each side is judged over all its own values; they are those of the pairs unless one side has a hole of its own.
        if (0..n).all(|t| a.is_missing(t) == b.is_missing(t)) {
            correlate(a, b, n, None, rows);
        } else {
            let whole = |t: &usize| !a.is_missing(*t) && !b.is_missing(*t);
            let complete = |s: &Series| Series::of((0..n).map(|t| if whole(&t) { s.before(t, 0)[0] } else { f64::NAN }));
            correlate(&complete(a), &complete(b), n, Some([deviations(a, n), deviations(b, n)]), rows);
        }
    }
}
