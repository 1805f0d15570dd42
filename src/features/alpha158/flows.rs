//! How often, and by how much in sum, price and volume rose and fell over a window.

use super::series::{Derived, LANES, Lanes, Series, put};
use super::{Cell, Family, TINY, WINDOWS, place};
use crate::wide::wide;

/// Rises and falls of a window.
struct Flow {
    known: Lanes,
    ups: Lanes,
    downs: Lanes,
    up: Lanes,
    down: Lanes,
}

impl Flow {
    const NONE: Self = Self { known: [0.0; LANES], ups: [0.0; LANES], downs: [0.0; LANES], up: [0.0; LANES], down: [0.0; LANES] };

    #[inline(always)]
    fn add(&mut self, step: &Lanes) {
        for l in 0..LANES {
            let v = step[l];
            self.known[l] += f64::from(!v.is_nan());
            self.ups[l] += f64::from(v > 0.0);
            self.downs[l] += f64::from(v < 0.0);
            // Of a missing step and zero the larger is zero.
            self.up[l] += v.max(0.0);
            self.down[l] += (-v).max(0.0);
        }
    }

    /// Rises, falls and their difference as shares of all movement; missing when nothing is known.
    #[inline(always)]
    fn shares(&self) -> [Lanes; 3] {
        let mut out = [[f64::NAN; LANES]; 3];
        for l in 0..LANES {
            let all = self.up[l] + self.down[l] + TINY;
            let all = if self.known[l] == 0.0 { f64::NAN } else { all };
            out[0][l] = self.up[l] / all;
            out[1][l] = self.down[l] / all;
            out[2][l] = (self.up[l] - self.down[l]) / all;
        }
        out
    }
}

wide! {
    /// Counts as shares of the sessions (`CNTP`, `CNTN`, `CNTD`), then sums (`SUMP`, `SUMN`, `SUMD`), each for all windows.
    fn walk<T: Cell>(steps: &Series, n: usize, counts: Option<&mut [Vec<T>]>, sums: &mut [Vec<T>]) {
        let (mut counts, windows, mut t) = (counts, WINDOWS.len(), 0);
        while t < n {
            let mut flow = Flow::NONE;
            let (mut q, mut age) = (0, 0);
            while q < windows {
                while age < WINDOWS[q] {
                    flow.add(&steps.before(t, age));
                    age += 1;
                }
                if let Some(rows) = &mut counts {
                    let mut out = [[0.0; LANES]; 3];
                    for l in 0..LANES {
                        // A session without a comparison counts as neither up nor down.
                        let (known, length) = ((t + l + 1) as f64, WINDOWS[q] as f64);
                        let sessions = if known < length { known } else { length };
                        out[0][l] = flow.ups[l] / sessions;
                        out[1][l] = flow.downs[l] / sessions;
                        out[2][l] = out[0][l] - out[1][l];
                    }
                    put(&mut rows[q], t, &out[0]);
                    put(&mut rows[windows + q], t, &out[1]);
                    put(&mut rows[2 * windows + q], t, &out[2]);
                }
                let shares = flow.shares();
                put(&mut sums[q], t, &shares[0]);
                put(&mut sums[windows + q], t, &shares[1]);
                put(&mut sums[2 * windows + q], t, &shares[2]);
                q += 1;
            }
            t += LANES;
        }
    }
}

/// `CNTP`, `CNTN`, `CNTD`, `SUMP`, `SUMN`, `SUMD`, `VSUMP`, `VSUMN`, `VSUMD`.
pub(super) fn family<T: Cell>(n: usize, derived: &Derived, rows: &mut [Vec<T>]) {
    let (counts, sums) = rows[place(Family::Cntp, 0)..].split_at_mut(3 * WINDOWS.len());
    walk(&derived.close_step, n, Some(counts), sums);
    walk(&derived.volume_step, n, None, &mut rows[place(Family::Vsump, 0)..]);
}
