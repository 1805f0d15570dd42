//! Test panels and readers of the golden vectors.

use crate::types::{Delisted, Matrix, Panel, PointInTime};
use data_layer::calendar::Calendar;
use data_layer::time::{DateRange, TradingDay};
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) type TableRow = BTreeMap<String, String>;

pub(crate) fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A JSON array of numbers; null is missing.
pub(crate) fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

/// `|got - want| <= abs + rel |want|`, and missing only where missing is wanted.
pub(crate) fn near(got: f64, want: f64, abs: f64, rel: f64) -> bool {
    got.is_nan() == want.is_nan() && (want.is_nan() || (got - want).abs() <= abs + rel * want.abs())
}

pub(crate) fn table(text: &str) -> Vec<TableRow> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    reader.records().map(|r| header.iter().cloned().zip(r.unwrap().iter().map(str::to_owned)).collect()).collect()
}

/// A number, or missing where the cell is empty.
pub(crate) fn cell(row: &TableRow, name: &str) -> f64 {
    if row[name].is_empty() { f64::NAN } else { row[name].parse().unwrap() }
}

pub(crate) fn sessions(from: &str, to_excluded: &str) -> Vec<TradingDay> {
    let range = DateRange::new(from.parse().unwrap(), to_excluded.parse().unwrap()).unwrap();
    Calendar::xnys().sessions(range).to_vec()
}

/// Bars set on a grid of days. A column that the table lacks stays missing; all names are members throughout.
pub(crate) fn panel_of(days: Vec<TradingDay>, rows: &[TableRow]) -> Panel {
    let mut symbols: Vec<String> = rows.iter().map(|r| r["symbol"].clone()).collect();
    symbols.sort();
    symbols.dedup();
    let mut panel = empty(days, symbols);
    for row in rows {
        let (s, t) = (panel.symbol_index(&row["symbol"]).unwrap(), panel.day_index(row["date"].parse().unwrap()).unwrap());
        let value = |name: &str| row.get(name).map_or(f64::NAN, |_| cell(row, name));
        panel.open.set(s, t, value("open"));
        panel.high.set(s, t, value("high"));
        panel.low.set(s, t, value("low"));
        panel.close.set(s, t, value("close"));
        panel.close_raw.set(s, t, value("close"));
        panel.vwap.set(s, t, value("vwap"));
        panel.volume.set(s, t, value("volume"));
        panel.volume_raw.set(s, t, value("volume"));
    }
    panel
}

fn empty(days: Vec<TradingDay>, symbols: Vec<String>) -> Panel {
    let (rows, cols) = (symbols.len(), days.len());
    let m = || Matrix::missing(rows, cols);
    let member = Matrix::from_vec(rows, cols, vec![1.0; rows * cols]).unwrap();
    Panel {
        days,
        open: m(),
        high: m(),
        low: m(),
        close: m(),
        vwap: m(),
        volume: m(),
        volume_raw: m(),
        close_raw: m(),
        member,
        delisted: vec![None; rows],
        known: PointInTime::default(),
        symbols,
    }
}

/// A uniform number of [0, 1) that depends on its arguments only.
pub(crate) fn unit(seed: u64, a: usize, b: usize, what: u64) -> f64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (a as u64) << 40 ^ (b as u64) << 16 ^ what;
    for k in [0xBF58_476D_1CE4_E5B9_u64, 0x94D0_49BB_1331_11EB, 0xD6E8_FEB8_6659_FD93] {
        z = (z ^ (z >> 31)).wrapping_mul(k).wrapping_add(0x9E37_79B9_7F4A_7C15);
    }
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

/// Random walks from 2015-01-02 on; `gaps` is the share of missing bars. Every fifth name is a member only from the middle
/// on, and one name is delisted after two thirds.
pub(crate) fn random_panel(seed: u64, symbols: usize, n: usize, gaps: f64) -> Panel {
    let days = sessions("2015-01-02", "2021-01-01")[..n].to_vec();
    let mut panel = empty(days, (0..symbols).map(|s| format!("S{s:03}")).collect());
    for s in 0..symbols {
        let mut price = 20.0 + 10.0 * s as f64;
        for t in 0..n {
            let u = |what| unit(seed, s, t, what);
            let open = price * (1.0 + 0.01 * (u(1) - 0.5));
            price *= 1.0 + 0.04 * (u(2) - 0.5);
            if u(3) < gaps {
                continue;
            }
            panel.open.set(s, t, open);
            panel.high.set(s, t, open.max(price) * 1.002);
            panel.low.set(s, t, open.min(price) * 0.998);
            panel.close.set(s, t, price);
            panel.close_raw.set(s, t, price * 2.0);
            let shares = (1e5 + 1e6 * u(4)).floor();
            panel.vwap.set(s, t, (open + price) / 2.0);
            panel.volume.set(s, t, 2.0 * shares);
            panel.volume_raw.set(s, t, shares);
        }
        for t in 0..if s % 5 == 4 { n / 2 } else { 0 } {
            panel.member.set(s, t, 0.0);
        }
    }
    if symbols > 3 {
        let last = n * 2 / 3;
        panel.delisted[3] = Some(Delisted::on(panel.days[last]));
        for t in last + 1..n {
            panel.member.set(3, t, 0.0);
            for m in panel.prices_and_volumes() {
                m.set(3, t, f64::NAN);
            }
        }
    }
    panel
}
