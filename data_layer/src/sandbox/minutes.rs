//! Minute bars of a synthetic market, made when they are asked for: a path from the day's open to its close that touches
//! its high and its low and never leaves them, with volume that adds up to the day's.
//!
//! The path depends on symbol, day and the day's bar alone, so the same question always has the same answer. A minute in
//! which nothing trades has no bar, as in the market.

use super::world::Series;
use crate::calendar::Calendar;
use crate::time::UtcTime;
use sha2::{Digest, Sha256};

/// One minute: start, open, high, low, close, volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minute {
    pub start: UtcTime,
    pub ohlc: [f64; 4],
    pub volume: f64,
}

/// The regular minutes of the `i`-th day of a series.
pub fn of_day(s: &Series, i: usize) -> Vec<Minute> {
    let calendar = Calendar::xnys();
    let (open, close) = (calendar.open(s.days[i]), calendar.close(s.days[i]));
    let n = usize::try_from((close.micros() - open.micros()) / 60_000_000).unwrap_or(0);
    let (low, high) = (s.low[i], s.high[i]);
    if n < 2 || ![s.open[i], high, low, s.close[i], s.volume[i]].iter().all(|x| x.is_finite()) {
        return Vec::new();
    }
    let mut noise = Noise::new(&s.symbol, &s.days[i].to_string());
    // A bridge from open to close, folded back into the day's range, that meets both ends of it.
    let mut level: Vec<f64> = (0..=n).map(|_| noise.next() - 0.5).collect();
    level.iter_mut().fold(0.0, |sum, x| {
        *x += sum;
        *x
    });
    let (first, last) = (level[0], level[n]);
    let swing = (high - low) / (n as f64).sqrt();
    let at = |k: usize| {
        let share = k as f64 / n as f64;
        let straight = s.open[i] + (s.close[i] - s.open[i]) * share;
        let bridge = level[k] - first - (last - first) * share;
        round4((straight + bridge * swing).clamp(low, high))
    };
    let (top, bottom) = (noise.below(n), noise.below(n));
    let shape = |k: usize| 1.0 + 3.0 * ((k as f64 / n as f64) * 2.0 - 1.0).powi(2);
    let whole: f64 = (0..n).map(shape).sum();
    let mut left = s.volume[i];
    let mut out = Vec::with_capacity(n);
    for k in 0..n {
        let (a, b) = (if k == 0 { s.open[i] } else { at(k) }, if k + 1 == n { s.close[i] } else { at(k + 1) });
        let (mut h, mut l) = (a.max(b), a.min(b));
        if k == top {
            h = high;
        }
        if k == bottom {
            l = low;
        }
        let volume = if k + 1 == n { left } else { (s.volume[i] * shape(k) / whole).floor().min(left) };
        left -= volume;
        if volume > 0.0 {
            out.push(Minute { start: open.plus_seconds(60 * i64::try_from(k).unwrap_or(0)), ohlc: [a, h, l, b], volume });
        }
    }
    out
}

fn round4(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

/// Numbers in `[0, 1)` from a name and a day.
struct Noise {
    block: [u8; 32],
    used: usize,
}

impl Noise {
    fn new(symbol: &str, day: &str) -> Self {
        Self { block: Sha256::digest(format!("minutes|{symbol}|{day}").as_bytes()).into(), used: 0 }
    }
    fn next(&mut self) -> f64 {
        if self.used + 4 > self.block.len() {
            self.block = Sha256::digest(self.block).into();
            self.used = 0;
        }
        let four = self.block[self.used..self.used + 4].iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b));
        self.used += 4;
        f64::from(four) / (f64::from(u32::MAX) + 1.0)
    }
    fn below(&mut self, n: usize) -> usize {
        ((n as f64 * self.next()) as usize).min(n - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_add_up_to_the_day() {
        let day = |t: &str| t.parse().unwrap();
        let s = Series {
            symbol: "A".into(),
            days: vec![day("2017-11-22"), day("2017-11-24")],
            open: vec![100.0, 50.0],
            high: vec![103.0, 50.5],
            low: vec![99.5, 48.0],
            close: vec![101.0, 49.0],
            volume: vec![1_000_003.0, 5_000.0],
        };
        for (i, n) in [(0, 390), (1, 210)] {
            let m = of_day(&s, i);
            assert_eq!(m.len(), n, "every minute of a busy day, half-days included");
            assert_eq!((m[0].ohlc[0], m[n - 1].ohlc[3]), (s.open[i], s.close[i]));
            assert_eq!(m.iter().map(|x| x.volume).sum::<f64>(), s.volume[i]);
            assert_eq!(m.iter().map(|x| x.ohlc[1]).fold(f64::MIN, f64::max), s.high[i]);
            assert_eq!(m.iter().map(|x| x.ohlc[2]).fold(f64::MAX, f64::min), s.low[i]);
            assert!(m.iter().all(|x| x.ohlc[1] >= x.ohlc[0].max(x.ohlc[3]) && x.ohlc[2] <= x.ohlc[0].min(x.ohlc[3])));
            assert_eq!(m, of_day(&s, i), "the same question, the same answer");
        }
    }
}
