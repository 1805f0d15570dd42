//! Which days are looked at, and the altered panels on which features are computed again.

use crate::types::{Announcement, Delisted, Matrix, Panel, PointInTime};
use std::collections::BTreeSet;
use std::ops::Range;

/// Days at which the panel is cut.
const DATES: usize = 12;
/// Of those, how many are chosen because something happens there rather than evenly.
const EVENTS: usize = 4;
/// Names beyond this number teach nothing new about a look-ahead.
const SYMBOLS: usize = 60;
/// Of [`Panel::prices_and_volumes`], the first ones: prices.
const PRICES: usize = 6;

/// About [`DATES`] days, ascending, each with at least one later day: evenly spaced over the last three quarters, plus days
/// on which bars are missing that come back, or membership changes overnight.
pub(super) fn dates(panel: &Panel) -> Vec<usize> {
    let (first, last) = (panel.n_days() / 4, panel.n_days() - 2);
    let even = DATES - EVENTS;
    let mut out: BTreeSet<usize> = (0..even).map(|i| first + i * (last - first) / (even - 1)).collect();
    let mut events: Vec<(usize, usize)> = (first..=last).map(|t| (happenings(panel, t), t)).filter(|(n, _)| *n > 0).collect();
    events.sort_by_key(|&(n, t)| (std::cmp::Reverse(n), t));
    out.extend(events.into_iter().take(EVENTS).map(|(_, t)| t));
    out.into_iter().collect()
}

fn happenings(panel: &Panel, t: usize) -> usize {
    let returns = |s: &usize| panel.close.at(*s, t).is_nan() && !panel.close.at(*s, t + 1).is_nan();
    let moves = |s: &usize| panel.member.at(*s, t) != panel.member.at(*s, t + 1);
    (0..panel.n_symbols()).filter(|s| returns(s) || moves(s)).count()
}

/// Up to [`SYMBOLS`] names, evenly picked, with all their days.
pub(super) fn thinned(panel: &Panel) -> Panel {
    let n = panel.n_symbols();
    if n <= SYMBOLS {
        return panel.clone();
    }
    let keep: Vec<usize> = (0..SYMBOLS).map(|i| i * n / SYMBOLS).collect();
    let pick = |m: &Matrix| {
        let mut out = Matrix::missing(keep.len(), m.cols());
        keep.iter().enumerate().for_each(|(row, &s)| out.row_mut(row).copy_from_slice(m.row(s)));
        out
    };
    Panel {
        days: panel.days.clone(),
        symbols: keep.iter().map(|&s| panel.symbols[s].clone()).collect(),
        open: pick(&panel.open),
        high: pick(&panel.high),
        low: pick(&panel.low),
        close: pick(&panel.close),
        vwap: pick(&panel.vwap),
        volume: pick(&panel.volume),
        volume_raw: pick(&panel.volume_raw),
        close_raw: pick(&panel.close_raw),
        member: pick(&panel.member),
        delisted: keep.iter().map(|&s| panel.delisted[s]).collect(),
        known: panel.known.clone(),
    }
}

/// A number of [0, 1) that depends on its arguments only (SplitMix64's finaliser).
fn noise(a: usize, b: usize, what: u64) -> f64 {
    let mut z = (a as u64) << 32 ^ (b as u64) << 3 ^ what;
    for k in [0xBF58_476D_1CE4_E5B9_u64, 0x94D0_49BB_1331_11EB] {
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(k);
        z ^= z >> 27;
    }
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

/// Everything from day `from` on made different: prices and volumes, which bars exist, who is a member, who is delisted, what is
/// filed and announced.
pub(super) fn with_other_future(panel: &Panel, from: usize) -> Panel {
    let mut out = panel.clone();
    let (symbols, n) = (panel.n_symbols(), panel.n_days());
    for (what, m) in out.prices_and_volumes().into_iter().enumerate() {
        for s in 0..symbols {
            for t in from..n {
                let now = m.at(s, t);
                let base = if now.is_finite() { now } else { 50.0 };
                let gone = noise(s, t, 7) < 0.1;
                m.set(s, t, if gone { f64::NAN } else { base * (0.5 + noise(s, t, what as u64)) });
            }
        }
    }
    for s in 0..symbols {
        for t in from..n {
            if noise(s, from, 8) < 0.4 {
                out.member.set(s, t, 1.0 - panel.member.at(s, t));
            }
        }
        out.delisted[s] = match panel.delisted[s] {
            Some(end) if panel.days.get(from).is_none_or(|first| end.last < *first) => Some(end),
            Some(_) => None,
            None => (from < n && noise(s, from, 9) < 0.3).then(|| Delisted::on(panel.days[n - 1])),
        };
    }
    if let Some(day) = panel.days.get(from) {
        publish_otherwise(&mut out.known, day.0);
    }
    out
}

/// What becomes public on day `from` or later says something else: other counts, other dates, and none withdrawn that was.
fn publish_otherwise(known: &mut PointInTime, from: i32) {
    for (s, list) in known.shares.values_mut().enumerate() {
        list.iter_mut().filter(|(since, _)| since.0 >= from).enumerate().for_each(|(i, (_, n))| *n *= 0.2 + 3.0 * noise(s, i, 10));
    }
    for list in known.earnings.values_mut() {
        list.iter_mut().for_each(|a| a.withdrawn = a.withdrawn.filter(|w| w.0 < from));
        for a in list.iter_mut().filter(|a| a.announced.0 >= from) {
            *a = Announcement { date: a.date.plus_days(9), ..*a };
        }
    }
}

/// Prices of the given days changed, each by its own factor; no bar comes or goes.
pub(super) fn with_other_prices(panel: &Panel, days: Range<usize>) -> Panel {
    let mut out = panel.clone();
    for m in out.prices_and_volumes().into_iter().take(PRICES) {
        for s in 0..panel.n_symbols() {
            for t in days.clone() {
                m.set(s, t, m.at(s, t) * (1.1 + noise(s, t, 1)));
            }
        }
    }
    out
}

/// Bars of about a third of the names taken away on the given days.
pub(super) fn with_gaps(panel: &Panel, days: &[usize]) -> Panel {
    let mut out = panel.clone();
    for m in out.prices_and_volumes() {
        for s in 0..panel.n_symbols() {
            for &t in days.iter().filter(|&&t| noise(s, t, 5) < 0.34 || (s + t) % panel.n_symbols() == 0) {
                m.set(s, t, f64::NAN);
            }
        }
    }
    out
}
