//! Inputs made here when no folder is given: the same shapes and kinds of numbers, from a fixed seed.
//!
//! A comparison with another program reads the other's inputs from a folder instead; ratios between the two kinds mean nothing.

use super::Scale;
use super::inputs::{Array, Daily, Page};
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::frame;
use data_layer::qc::Action;
use data_layer::time::{DateRange, TradingDay};
use engine::types::Matrix;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::collections::BTreeMap;

const SEED: u64 = 20_240_601;

/// A stream of its own for each input, so that one can be made without the others.
struct Numbers(ChaCha8Rng);

impl Numbers {
    fn of(name: &str) -> Self {
        let name: u64 = name.bytes().fold(0, |sum, b| sum * 31 + u64::from(b));
        Self(ChaCha8Rng::seed_from_u64(SEED ^ name))
    }
    /// In (0, 1).
    fn uniform(&mut self) -> f64 {
        (f64::from(self.0.random_range(0..u32::MAX)) + 0.5) / f64::from(u32::MAX)
    }
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Returns of trials, `days x trials`; every seventh has a little skill.
pub fn returns(scale: Scale) -> Array {
    let (rows, cols) = scale.pick((1_024, 20), (2_016, 200), (3_776, 1_000));
    let mut n = Numbers::of("returns");
    let values = (0..rows * cols).map(|i| 0.0002 + 0.01 * n.normal() + if i % cols % 7 == 0 { 0.0002 } else { 0.0 }).collect();
    Array { rows, cols, values }
}

/// Closes, `symbols x sessions`: a common factor and noise of each name's own.
pub fn closes(scale: Scale) -> Result<Matrix> {
    let (symbols, days) = scale.pick((50, 504), (200, 2_016), (500, 3_780));
    let mut n = Numbers::of("daily");
    let market: Vec<f64> = (0..days).map(|_| 0.0003 + 0.01 * n.normal()).collect();
    let mut values = Vec::with_capacity(symbols * days);
    for _ in 0..symbols {
        let (mut price, beta, own) = (10.0 + 290.0 * n.uniform(), 0.6 + 0.8 * n.uniform(), 0.008 + 0.017 * n.uniform());
        for m in &market {
            price *= (beta * m + own * n.normal()).exp();
            values.push((price * 1e4).round() / 1e4);
        }
    }
    Matrix::from_vec(symbols, days, values)
}

/// Day bars with the closes of [`closes`].
pub fn daily(scale: Scale) -> Result<Daily> {
    let closes = closes(scale)?;
    let (names, n) = (closes.rows(), closes.cols());
    let one = sessions(n)?;
    let times = [1.0, 1.01, 0.99, 1.0, 1.0, 20_000.0];
    let column = |(name, times): (&str, f64)| {
        let values: Vec<Option<f64>> = (0..names).flat_map(|s| closes.row(s).iter().map(move |close| Some(times * close))).collect();
        frame::float_column(name, &values)
    };
    let table = frame::assemble(Daily::COLUMNS.into_iter().zip(times).map(column).collect())?;
    let symbols = (0..names).map(|s| (format!("S{s:04}"), s * n..(s + 1) * n)).collect();
    Ok(Daily { symbols, days: one.repeat(names), table })
}

/// A split of every tenth symbol and a dividend of every third; late: one more split.
pub fn events(late: bool) -> BTreeMap<String, Vec<Action>> {
    let day = |n: i32| TradingDay(14_613 + n); // from 2010-01-04
    if late {
        return BTreeMap::from([("S0000".to_string(), vec![Action::split(day(350), 2.0)])]);
    }
    let splits = (0..500).step_by(10).map(|s| (s, Action::split(day(100 + s % 200), 2.0)));
    let dividends = (0..500).step_by(3).map(|s| (s, Action::dividend(day(50 + s % 300), 0.25)));
    let mut out: BTreeMap<String, Vec<Action>> = BTreeMap::new();
    splits.chain(dividends).for_each(|(s, action)| out.entry(format!("S{s:04}")).or_default().push(action));
    out
}

/// Pages of 5 symbols and 2,000 minutes each.
pub fn pages(scale: Scale) -> Result<Vec<Page>> {
    let days = sessions(6)?;
    let mut n = Numbers::of("json");
    let page = |k: usize| {
        let mut bars = serde_json::Map::new();
        for j in 0..5 {
            let mut price = 20.0 + 380.0 * n.uniform();
            let bar = |q: usize| {
                let (open, at) = (price, Calendar::xnys().open(days[q / 390]).plus_seconds(60 * (q % 390) as i64));
                price *= 1.0 + 0.0006 * n.normal();
                let stamp = at.to_string().replace(".000000", "");
                let volume = (7.0 + n.normal()).exp() as u64;
                json!({"t": stamp, "o": open, "h": open.max(price), "l": open.min(price), "c": price, "v": volume, "n": volume / 37 + 1, "vw": price})
            };
            bars.insert(format!("S{:04}", (k * 5 + j) % 500), (0..2_000).map(bar).collect());
        }
        Page::of(&format!("page_{k:05}"), json!({"bars": bars, "next_page_token": null}).to_string().into_bytes())
    };
    (0..scale.pick(20, 200, 500)).map(page).collect()
}

/// Features, labels and days of a learner's table, rows sorted by day; 2 % of the features are missing.
pub fn table(scale: Scale) -> [Array; 3] {
    let (rows, cols) = scale.pick((20_000, 30), (250_000, 158), (1_890_000, 158));
    let days = (rows / 500).max(100);
    let mut n = Numbers::of("train");
    let (mut features, mut labels) = (Vec::with_capacity(rows * cols), Vec::with_capacity(rows));
    for _ in 0..rows {
        let mut row: Vec<f64> = (0..cols).map(|_| n.normal()).collect();
        labels.push(0.05 * row[0] + 0.03 * row[1] * row[3] - 0.04 * row[4].tanh() + n.normal());
        row.iter_mut().for_each(|v| {
            if n.uniform() < 0.02 {
                *v = f64::NAN;
            }
        });
        features.extend(row);
    }
    let day = (0..rows).map(|r| (r * days / rows) as f64).collect();
    [Array { rows, cols, values: features }, Array { rows, cols: 1, values: labels }, Array { rows, cols: 1, values: day }]
}

/// How many tasks the queue gets.
pub fn tasks(scale: Scale) -> usize {
    scale.pick(2_000, 50_000, 500_000)
}

/// The first `n` sessions from 2010 on.
pub fn sessions(n: usize) -> Result<Vec<TradingDay>> {
    let window = DateRange::new("2010-01-04".parse()?, "2030-01-01".parse()?)?;
    Ok(Calendar::xnys().sessions(window).iter().take(n).copied().collect())
}

/// A symbol's and a session's share of trouble in the audit: below 3 % missing, above 99 % a bad checksum, above 98 % short.
pub fn trouble(cells: usize) -> Vec<f64> {
    let mut n = Numbers::of("parts");
    (0..cells).map(|_| n.uniform()).collect()
}

/// Symbols, daily sessions and minute sessions of the audit.
pub fn grid(scale: Scale) -> (usize, usize, usize) {
    scale.pick((50, 300, 100), (200, 1_000, 250), (500, 3_780, 1_260))
}

/// Minute bars, `symbols x minutes`: open, high, low, close.
pub fn minutes(scale: Scale) -> Result<[Matrix; 4]> {
    let (symbols, n) = (scale.pick(5, 50, 500), 390 * scale.pick(10, 42, 21));
    let mut of = Numbers::of("minute");
    let mut columns: [Vec<f64>; 4] = std::array::from_fn(|_| Vec::with_capacity(symbols * n));
    let round = |v: f64| (v * 1e4).round() / 1e4;
    for s in 0..symbols {
        let mut close = 50.0 * (1 + s % 7) as f64;
        for _ in 0..n {
            let open = close;
            close = open * (0.0006 * of.normal()).exp();
            let reach = (0.0003 * of.normal()).abs();
            let bar = [open, open.max(close) * (1.0 + reach), open.min(close) * (1.0 - reach), close];
            columns.iter_mut().zip(bar).for_each(|(column, v)| column.push(round(v)));
        }
    }
    let [open, high, low, close] = columns.map(|c| Matrix::from_vec(symbols, n, c));
    Ok([open?, high?, low?, close?])
}
