//! Triple-barrier labels (Lopez de Prado, Advances in Financial Machine Learning, ch. 3): which comes first, a profit
//! target, a stop, or the end of the holding period.

use crate::features::window::{StdDev, lagged, rolling};
use crate::wide::wide;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// Which prices may touch a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TouchPath {
    /// Closes only; a touch is strictly beyond the barrier, the exit is that close.
    Close,
    /// Whole bars, conservatively: an open beyond a barrier exits at the open; a bar that reaches both counts as the stop;
    /// otherwise the exit is the barrier itself, and reaching it is enough.
    Ohlc,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Barriers {
    /// Target and stop as multiples of the entry's daily volatility.
    pub target_mult: f64,
    pub stop_mult: f64,
    pub max_holding_sessions: usize,
    pub path: TouchPath,
}

impl Barriers {
    pub fn check(&self) -> Result<()> {
        if self.target_mult > 0.0 && self.stop_mult > 0.0 && self.max_holding_sessions > 0 {
            return Ok(());
        }
        Err(Error::new(code::CFG_VALUE, "triple barriers need positive multiples and a positive holding period").found(format!("{self:?}")))
    }
}

/// One symbol's bars, one value per session.
#[derive(Clone, Copy, Debug)]
pub struct Bars<'a> {
    pub open: &'a [f64],
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
}

/// The first touch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Touch {
    /// 1 target, -1 stop, 0 held to the end.
    pub label: i8,
    /// Index of the session in which it ended.
    pub end: usize,
    /// Simple return from the entry close.
    pub ret: f64,
}

/// Standard deviation (ddof = 1) of the `n` simple returns up to and including each session.
pub fn daily_volatility(close: &[f64], n: usize) -> Vec<f64> {
    rolling(&lagged(close, 1, |now, before| now / before - 1.0), n, StdDev)
}

/// Exponentially weighted deviation of simple returns with the given span, `alpha = 2 / (span + 1)`: the bias-corrected
/// estimator of pandas' `ewm(span).std()`. Missing below two returns; a missing return ages the others.
pub fn ewm_volatility(close: &[f64], span: f64) -> Vec<f64> {
    let returns = lagged(close, 1, |now, before| now / before - 1.0);
    let decay = 1.0 - 2.0 / (span + 1.0);
    let mut out = vec![f64::NAN; close.len()];
    let (mut weight, mut squared_weight, mut mean, mut spread, mut n) = (0.0, 0.0, 0.0, 0.0, 0_usize);
    for (t, r) in returns.iter().enumerate() {
        (weight, squared_weight, spread) = (weight * decay, squared_weight * decay * decay, spread * decay);
        if !r.is_nan() {
            // West's weighted update: no difference of large squares.
            let step = r - mean;
            weight += 1.0;
            squared_weight += 1.0;
            mean += step / weight;
            spread += step * (r - mean);
            n += 1;
        }
        if n >= 2 {
            out[t] = (spread / (weight - squared_weight / weight)).sqrt();
        }
    }
    out
}

/// The label of a position entered at the close of session `entry` when daily volatility was `sigma`. `None` when the data
/// end before either a touch or the holding period, or when entry price or volatility is missing.
pub fn first_touch(bars: Bars<'_>, entry: usize, sigma: f64, rule: &Barriers) -> Option<Touch> {
    let price = *bars.close.get(entry)?;
    if !(price > 0.0 && sigma > 0.0) {
        return None;
    }
    let (target, stop) = (rule.target_mult * sigma, -rule.stop_mult * sigma);
    let last = entry + rule.max_holding_sessions;
    let mut held = 0.0;
    for end in entry + 1..=last {
        let close = bars.close.get(end)? / price - 1.0;
        let hit = match rule.path {
            TouchPath::Close => close_touch(close, target, stop),
            TouchPath::Ohlc => bar_touch([bars.open[end], bars.high[end], bars.low[end]].map(|p| p / price - 1.0), target, stop),
        };
        if let Some((label, ret)) = hit {
            return Some(Touch { label, end, ret });
        }
        held = if close.is_nan() { held } else { close };
    }
    Some(Touch { label: 0, end: last, ret: held })
}

/// Entries whose closes are compared side by side.
const SIDE: usize = 8;

/// [`first_touch`] on closes for an entry at every session in turn, `sigma` being the volatility of each.
pub fn close_touches(close: &[f64], sigma: &[f64], rule: &Barriers, mut each: impl FnMut(Option<Touch>)) {
    let rule = Barriers { path: TouchPath::Close, ..*rule };
    let bars = Bars { open: close, high: close, low: close, close };
    let mut at = 0;
    while let (Some(closes), Some(now)) = (close.get(at..at + SIDE + rule.max_holding_sessions), sigma[at..].first_chunk()) {
        for touch in side_by_side(closes, now, &rule) {
            each(touch.map(|t| Touch { end: at + t.end, ..t }));
        }
        at += SIDE;
    }
    for entry in at..sigma.len() {
        each(first_touch(bars, entry, sigma[entry], &rule));
    }
}

/// Where the holdings of neighbouring entries ended; masks are all ones or none.
#[derive(Clone, Copy)]
struct Ends {
    up: [u64; SIDE],
    down: [u64; SIDE],
    held: [u64; SIDE],
    ret: [u64; SIDE],
}

wide! {
    /// Which entry is open is a mask, not a branch: where a holding ends cannot be foreseen.
    fn ends(close: &[f64], target: &[f64; SIDE], stop: &[f64; SIDE]) -> Ends {
        let mut price = [0.0; SIDE];
        price.copy_from_slice(&close[..SIDE]);
        let (mut open, mut e) = ([u64::MAX; SIDE], Ends { up: [0; SIDE], down: [0; SIDE], held: [0; SIDE], ret: [0; SIDE] });
        for closes in close[1..].array_windows::<SIDE>() {
            let mut any = 0;
            for l in 0..SIDE {
                let r = closes[l] / price[l] - 1.0;
                let seen = u64::from(!r.is_nan()).wrapping_neg() & open[l];
                e.ret[l] = (r.to_bits() & seen) | (e.ret[l] & !seen);
                // An open entry is held one session longer: its mask is minus one.
                e.held[l] = e.held[l].wrapping_sub(open[l]);
                e.up[l] |= u64::from(r > target[l]).wrapping_neg() & open[l];
                e.down[l] |= u64::from(r < -stop[l]).wrapping_neg() & open[l];
                open[l] &= !(e.up[l] | e.down[l]);
                any |= open[l];
            }
            if any == 0 {
                break;
            }
        }
        e
    }
}

/// The touches of `SIDE` entries, every one with its whole holding period in `close`; ends count from the first entry.
fn side_by_side(close: &[f64], sigma: &[f64; SIDE], rule: &Barriers) -> [Option<Touch>; SIDE] {
    let e = ends(close, &sigma.map(|s| rule.target_mult * s), &sigma.map(|s| rule.stop_mult * s));
    std::array::from_fn(|l| {
        let label = i8::from(e.up[l] != 0) - i8::from(e.down[l] != 0);
        (close[l] > 0.0 && sigma[l] > 0.0).then(|| Touch { label, end: l + e.held[l] as usize, ret: f64::from_bits(e.ret[l]) })
    })
}

fn close_touch(close: f64, target: f64, stop: f64) -> Option<(i8, f64)> {
    if close > target {
        Some((1, close))
    } else if close < stop {
        Some((-1, close))
    } else {
        None
    }
}

fn bar_touch([open, high, low]: [f64; 3], target: f64, stop: f64) -> Option<(i8, f64)> {
    if open <= stop {
        Some((-1, open))
    } else if open >= target {
        Some((1, open))
    } else if low <= stop {
        Some((-1, stop))
    } else if high >= target {
        Some((1, target))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::fixture::{cell, golden, near, numbers, table};
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn golden_volatility() {
        let g = golden(include_str!("../../tests/golden/labels_triple_barrier/barrier_volatility.json"));
        let history = g["inputs"]["close_history"].as_array().unwrap();
        let close: Vec<f64> = history.iter().map(|row| row["close"].as_f64().unwrap()).collect();
        let got = daily_volatility(&close, 20);
        let asked = g["inputs"].as_object().unwrap().values().filter_map(|v| v.as_array()).find(|v| v[0].is_string()).unwrap();
        for (day, want) in asked.iter().zip(numbers(&g["expected"]["rolling_std_20"])) {
            let t = history.iter().position(|row| row["date"] == *day).unwrap();
            assert!(near(got[t], want, 1e-14, 1e-9), "{day}: {} is not {want}", got[t]);
        }
    }

    #[test]
    fn golden_first_touch() {
        let g = golden(include_str!("../../tests/golden/labels_triple_barrier/triple_barrier.json"));
        let rows = table(include_str!("../../tests/golden/labels_triple_barrier/bars.csv"));
        let column = |name: &str| rows.iter().map(|r| cell(r, name)).collect::<Vec<_>>();
        let (open, high, low, close, sigma) = (column("open"), column("high"), column("low"), column("close"), column("sigma"));
        let bars = Bars { open: &open, high: &high, low: &low, close: &close };
        let days = g["inputs"]["max_holding_sessions"].as_u64().unwrap() as usize;
        let (pt, sl) = (g["inputs"]["pt_mult"].as_f64().unwrap(), g["inputs"]["sl_mult"].as_f64().unwrap());
        for (key, path, pt, sl) in
            [("close_path", TouchPath::Close, pt, sl), ("ohlc_path_conservative", TouchPath::Ohlc, pt, sl), ("close_path_pt1_sl1", TouchPath::Close, 1.0, 1.0)]
        {
            let rule = Barriers { target_mult: pt, stop_mult: sl, max_holding_sessions: days, path };
            rule.check().unwrap();
            for want in g["expected"][key].as_array().unwrap() {
                let t0 = rows.iter().position(|r| r["date"] == want["t0"].as_str().unwrap()).unwrap();
                let got = first_touch(bars, t0, sigma[t0], &rule);
                assert_eq!(got.map(|g| i64::from(g.label)), want["label"].as_i64(), "{key} {want}");
                let Some(got) = got else { continue };
                assert_eq!(rows[got.end]["date"], want["t1"].as_str().unwrap(), "{key} {want}");
                assert!(near(got.ret, want["ret"].as_f64().unwrap(), 1e-12, 1e-10), "{key} {want}: {}", got.ret);
            }
        }
    }

    #[test]
    fn barriers_that_cannot_be_touched_are_refused() {
        let rule = Barriers { target_mult: 0.0, stop_mult: 1.0, max_holding_sessions: 5, path: TouchPath::Ohlc };
        assert!(rule.check().unwrap_err().is(code::CFG_VALUE));
    }

    proptest! {
        #[test]
        fn neighbouring_entries_end_as_each_would_alone(
            close in vec(prop_oneof![12 => 90.0..110.0f64, 1 => Just(f64::NAN), 1 => Just(-1.0)], 0..80),
            sigma in vec(prop_oneof![9 => 0.0..0.1f64, 1 => Just(f64::NAN)], 80),
            hold in 1usize..14,
        ) {
            let rule = Barriers { target_mult: 1.0, stop_mult: 1.5, max_holding_sessions: hold, path: TouchPath::Close };
            let bars = Bars { open: &close, high: &close, low: &close, close: &close };
            let alone: Vec<_> = (0..close.len()).map(|t| first_touch(bars, t, sigma[t], &rule)).collect();
            let mut together = Vec::new();
            close_touches(&close, &sigma[..close.len()], &rule, |touch| together.push(touch));
            prop_assert_eq!(together, alone);
        }
    }
}
