//! Forward returns over exchange sessions: `C[t + lag + k] / C[t + lag] - 1`.
//!
//! A signal made at the close of `t` is traded at `t + 1` at the earliest, hence [`ENTRY_LAG`]. A missing bar at either end
//! gives no label, never the next bar that happens to exist. Dropping names that were delisted inside the horizon would
//! train on survivors, so the delisting-aware variant sells them for what a share was worth in the end.

use crate::types::{Matrix, Panel};
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use std::collections::BTreeMap;

/// Sessions between a signal and the entry of its trade.
pub const ENTRY_LAG: usize = 1;

/// How many sessions after the signal its label ends: the `span` that cross-validation purges.
pub const fn span(horizon: usize, entry_lag: usize) -> usize {
    entry_lag + horizon
}

/// What happens to a position whose name stops trading before the horizon ends.
#[derive(Clone, Copy, Debug)]
pub enum Delisting<'a> {
    /// No label. Biased towards survivors; for comparison only.
    Strict,
    /// Sold at the last close times `1 + delisting return` (by symbol, decimal); where none is given, for the panel's own
    /// terminal value, and at the last close where that is not known either.
    Aware(&'a BTreeMap<String, f64>),
}

/// Labels with the session each one ends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// `symbols x days`, decimal returns; missing where there is no label.
    pub values: Matrix,
    /// `ends[symbol][day]`: index of the last session whose price the label uses; `None` exactly where there is no label.
    pub ends: Vec<Vec<Option<usize>>>,
}

/// Forward returns, `symbols x days`. With `delist_aware`, a name that stops trading is sold for its terminal value.
pub fn forward(panel: &Panel, horizon: usize, entry_lag: usize, delist_aware: bool) -> Result<Matrix> {
    let none = BTreeMap::new();
    let rule = if delist_aware { Delisting::Aware(&none) } else { Delisting::Strict };
    forward_with(panel, horizon, entry_lag, rule).map(|labels| labels.values)
}

/// Forward returns and where each of them ends. Errors when `horizon` is 0.
pub fn forward_with(panel: &Panel, horizon: usize, entry_lag: usize, rule: Delisting<'_>) -> Result<Labels> {
    if horizon == 0 {
        return Err(Error::new(code::CFG_VALUE, "a label's horizon must be at least one session").found("0"));
    }
    let n = panel.n_days();
    let mut labels = Labels { values: Matrix::missing(panel.n_symbols(), n), ends: vec![vec![None; n]; panel.n_symbols()] };
    for s in 0..panel.n_symbols() {
        let close = panel.close.row(s);
        let (last, gain) = match rule {
            Delisting::Strict => (None, None),
            Delisting::Aware(returns) => (panel.delisted[s], returns.get(&panel.symbols[s])),
        };
        let traded = last.map(|d| sessions_through(&panel.days, d.last));
        let settle = |close: f64| match (gain, last.and_then(|d| d.value)) {
            (Some(gain), _) => close * (1.0 + gain),
            (None, Some(value)) => value,
            (None, None) => close,
        };
        for t in 0..n {
            let (entry, exit) = (t + entry_lag, t + entry_lag + horizon);
            let Some((end, price)) = exit_price(close, entry, exit, traded, &settle) else { continue };
            if close[entry] > 0.0 && price.is_finite() {
                labels.values.set(s, t, price / close[entry] - 1.0);
                labels.ends[s][t] = Some(end);
            }
        }
    }
    Ok(labels)
}

/// How many of the panel's sessions are on or before `day`.
fn sessions_through(days: &[TradingDay], day: TradingDay) -> usize {
    days.partition_point(|d| *d <= day)
}

/// Where and at what price a position entered at `entry` is closed. `traded` counts the sessions up to the delisting;
/// `settle` makes the terminal value from the last close.
fn exit_price(close: &[f64], entry: usize, exit: usize, traded: Option<usize>, settle: &dyn Fn(f64) -> f64) -> Option<(usize, f64)> {
    match traded {
        Some(traded) if exit >= traded => {
            let last = traded.checked_sub(1).filter(|&last| entry <= last)?;
            let price = (entry..=last).rev().map(|i| close[i]).find(|p| p.is_finite())?;
            Some((last, settle(price)))
        }
        _ => close.get(exit).map(|&price| (exit, price)),
    }
}

/// Each date's labels minus their mean over the names that have one.
pub fn demean(labels: &Matrix) -> Matrix {
    let mut out = labels.clone();
    for t in 0..labels.cols() {
        let (mut n, mut sum) = (0_usize, 0.0);
        for s in 0..labels.rows() {
            if !labels.at(s, t).is_nan() {
                n += 1;
                sum += labels.at(s, t);
            }
        }
        for s in 0..labels.rows() {
            out.set(s, t, labels.at(s, t) - sum / n as f64);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::fixture::{cell, golden, near, panel_of, random_panel, table};
    use crate::types::Delisted;
    use proptest::prelude::*;

    fn golden_panel() -> (Panel, BTreeMap<String, f64>) {
        let g = golden(include_str!("../../tests/golden/labels_forward/forward_returns.json"));
        let days: Vec<TradingDay> = g["inputs"]["session_grid"].as_array().unwrap().iter().map(|d| d.as_str().unwrap().parse().unwrap()).collect();
        let rows = table(include_str!("../../tests/golden/labels_forward/prices.csv"));
        let mut panel = panel_of(days, &rows);
        let gone = &g["inputs"]["delistings"][0];
        let symbol = gone["symbol"].as_str().unwrap();
        let s = panel.symbol_index(symbol).unwrap();
        panel.delisted[s] = Some(Delisted::on(gone["last_session"].as_str().unwrap().parse().unwrap()));
        (panel, BTreeMap::from([(symbol.to_owned(), gone["delisting_return"].as_f64().unwrap())]))
    }

    fn compare(text: &str, aware: bool) {
        let (panel, returns) = golden_panel();
        let rule = if aware { Delisting::Aware(&returns) } else { Delisting::Strict };
        let rows = table(text);
        for k in [1, 5, 20] {
            for lag in [0, 1] {
                let got = forward_with(&panel, k, lag, rule).unwrap();
                for row in &rows {
                    let (s, t) = (panel.symbol_index(&row["symbol"]).unwrap(), panel.day_index(row["date"].parse().unwrap()).unwrap());
                    let want = cell(row, &format!("y{k}_lag{lag}"));
                    assert!(near(got.values.at(s, t), want, 1e-13, 1e-11), "{row:?} k {k} lag {lag}: {}", got.values.at(s, t));
                    let end = got.ends[s][t].map_or(String::new(), |e| panel.days[e].to_string());
                    assert_eq!(end, row[&format!("t1_{k}_lag{lag}")], "{row:?} k {k} lag {lag}");
                }
            }
        }
    }

    #[test]
    fn golden_strict() {
        compare(include_str!("../../tests/golden/labels_forward/expected_strict.csv"), false);
    }

    #[test]
    fn golden_delist_aware() {
        compare(include_str!("../../tests/golden/labels_forward/expected_delist_aware.csv"), true);
    }

    #[test]
    fn golden_demeaned() {
        let (panel, _) = golden_panel();
        let got = demean(&forward(&panel, 5, 0, false).unwrap());
        for row in table(include_str!("../../tests/golden/labels_forward/expected_xs_demeaned.csv")) {
            let (s, t) = (panel.symbol_index(&row["symbol"]).unwrap(), panel.day_index(row["date"].parse().unwrap()).unwrap());
            assert!(near(got.at(s, t), cell(&row, "y5_xs_demeaned"), 1e-13, 1e-11), "{row:?}: {}", got.at(s, t));
        }
    }

    #[test]
    fn lesson_048_a_bankruptcy_inside_the_horizon_costs_money() {
        let (panel, returns) = golden_panel();
        let s = panel.symbol_index("XOM").unwrap();
        let t = panel.day_index("2008-11-19".parse().unwrap()).unwrap();
        assert!(forward(&panel, 5, ENTRY_LAG, false).unwrap().at(s, t).is_nan());
        assert!(forward_with(&panel, 5, ENTRY_LAG, Delisting::Aware(&returns)).unwrap().values.at(s, t) < -0.2);
    }

    #[test]
    fn lesson_048_a_share_that_ended_worthless_is_a_total_loss_and_a_merger_pays_its_cash() {
        let mut panel = random_panel(1, 4, 40, 0.0);
        let last = panel.delisted[3].unwrap().last;
        let t = panel.day_index(last).unwrap() - 2;
        panel.delisted[3] = Some(Delisted { last, value: Some(0.0) });
        assert_eq!(forward(&panel, 5, ENTRY_LAG, true).unwrap().at(3, t), -1.0);
        let cash = panel.close.at(3, t + 1) * 1.25;
        panel.delisted[3] = Some(Delisted { last, value: Some(cash) });
        assert!((forward(&panel, 5, ENTRY_LAG, true).unwrap().at(3, t) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn lesson_053_a_label_ignores_the_close_that_made_the_signal() {
        let panel = random_panel(1, 4, 40, 0.0);
        let mut jumped = panel.clone();
        (0..4).for_each(|s| jumped.close.set(s, 10, 1e6));
        let (a, b) = (forward(&panel, 5, ENTRY_LAG, true).unwrap(), forward(&jumped, 5, ENTRY_LAG, true).unwrap());
        assert_eq!(a.column(10), b.column(10));
        assert_ne!(a.column(9), b.column(9), "the next session's close is the entry of the signal before it");
    }

    #[test]
    fn a_horizon_of_nothing_is_refused() {
        assert!(forward(&random_panel(1, 2, 30, 0.0), 0, 1, true).unwrap_err().is(code::CFG_VALUE));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn labels_are_unchanged_by_what_follows_their_end(seed in 0_u64..1000, horizon in 1_usize..8, lag in 0_usize..3, cut in 12_usize..30) {
            let mut panel = random_panel(seed, 4, 40, 0.1);
            panel.delisted[1] = Some(Delisted { value: Some(3.0), ..Delisted::on(panel.days[20]) });
            let full = forward(&panel, horizon, lag, true).unwrap();
            let early = forward(&panel.truncated(cut), horizon, lag, true).unwrap();
            for t in 0..=cut.saturating_sub(horizon + lag) {
                for s in 0..4 {
                    prop_assert_eq!(full.at(s, t).to_bits(), early.at(s, t).to_bits());
                }
            }
        }
    }
}
