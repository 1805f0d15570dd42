//! How often, and by how much in sum, price and volume rose and fell over a window.

use super::running::Derived;
use super::{Bars, Cell, Family, TINY, place};

/// Rises and falls of a window. Sums are compensated (Neumaier), and exactly zero when nothing in the window moved.
#[derive(Default)]
struct Flow {
    known: usize,
    up: Side,
    down: Side,
}

#[derive(Default)]
struct Side {
    count: usize,
    sum: f64,
    lost: f64,
}

impl Side {
    fn add(&mut self, v: f64) {
        let total = self.sum + v;
        self.lost += if self.sum.abs() >= v.abs() { (self.sum - total) + v } else { (v - total) + self.sum };
        self.sum = total;
    }
    fn enter(&mut self, v: f64) {
        self.count += 1;
        self.add(v);
    }
    fn leave(&mut self, v: f64) {
        self.count -= 1;
        self.add(-v);
        if self.count == 0 {
            (self.sum, self.lost) = (0.0, 0.0);
        }
    }
    fn total(&self) -> f64 {
        self.sum + self.lost
    }
}

impl Flow {
    fn step(&mut self, steps: &[f64], t: usize, w: usize) {
        if steps[t].is_finite() {
            self.known += 1;
            match steps[t] {
                v if v > 0.0 => self.up.enter(v),
                v if v < 0.0 => self.down.enter(-v),
                _ => {}
            }
        }
        let Some(old) = t.checked_sub(w).map(|t| steps[t]).filter(|v| v.is_finite()) else { return };
        self.known -= 1;
        match old {
            v if v > 0.0 => self.up.leave(v),
            v if v < 0.0 => self.down.leave(-v),
            _ => {}
        }
    }

    /// Rises, falls and their difference as shares of all movement; missing when nothing is known.
    fn shares(&self) -> [f64; 3] {
        if self.known == 0 {
            return [f64::NAN; 3];
        }
        let (up, down) = (self.up.total(), self.down.total());
        [up, down, up - down].map(|v| v / (up + down + TINY))
    }
}

/// `CNTP`, `CNTN`, `CNTD`, `SUMP`, `SUMN`, `SUMD`, `VSUMP`, `VSUMN`, `VSUMD`.
pub(super) fn family<T: Cell>(bars: &Bars<'_>, derived: &Derived, w: usize, q: usize, rows: &mut [Vec<T>]) {
    let (mut price, mut volume) = (Flow::default(), Flow::default());
    for t in 0..bars.close.len() {
        price.step(&derived.close_step, t, w);
        volume.step(&derived.volume_step, t, w);
        // A session without a comparison counts as neither up nor down.
        let sessions = (t + 1).min(w) as f64;
        let (up, down) = (price.up.count as f64 / sessions, price.down.count as f64 / sessions);
        let (prices, volumes) = (price.shares(), volume.shares());
        let values = [
            (Family::Cntp, up),
            (Family::Cntn, down),
            (Family::Cntd, up - down),
            (Family::Sump, prices[0]),
            (Family::Sumn, prices[1]),
            (Family::Sumd, prices[2]),
            (Family::Vsump, volumes[0]),
            (Family::Vsumn, volumes[1]),
            (Family::Vsumd, volumes[2]),
        ];
        for (family, v) in values {
            rows[place(family, q)][t] = T::of(v);
        }
    }
}
