//! The same scores under other circumstances: how much of the result hangs on cheap trading, prompt trading, one month, or a
//! handful of names.

use super::metric::{max_drawdown, sharpe, total_return};
use super::{BacktestResult, Signal, run};
use crate::execution::cost::CostModel;
use crate::portfolio::RuleConfig;
use crate::types::{Matrix, Panel};
use data_layer::error::{Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Names whose profit is taken away.
const BEST_NAMES: usize = 10;

/// One circumstance and what would have been left.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct WhatIf {
    /// In words: `costs doubled`.
    pub circumstance: String,
    /// What was changed: the month, the names.
    pub detail: String,
    /// Annualised, after costs; the others are fractions. Null with its reason in `undefined`.
    pub sharpe: Option<f64>,
    pub total_return: Option<f64>,
    pub max_drawdown: Option<f64>,
    pub undefined: Option<String>,
}

/// The table of a result `base` that was made from the other arguments: as it was, costs doubled, every signal a session late,
/// without its best month, without its ten best names. The last two know the future: they ask how concentrated the profit is.
pub fn table<'s>(
    panel: &Panel,
    signal: impl Into<Signal<'s>>,
    rule: &RuleConfig,
    cost: &CostModel,
    days: Range<usize>,
    base: &BacktestResult,
) -> Result<Vec<WhatIf>> {
    let Signal { scores, exposure } = signal.into();
    let again = |scores: &Matrix, cost: &CostModel| run(panel, Signal { scores, exposure }, rule, cost, days.clone()).map(|r| r.net);
    let (month, without_month) = without_best_month(base);
    let names = best_names(base);
    let mut without_names = scores.clone();
    names.iter().for_each(|s| (0..scores.cols()).for_each(|d| without_names.set(*s, d, f64::NAN)));
    let list: Vec<&str> = names.iter().map(|s| panel.symbols[*s].as_str()).collect();
    [
        ("as traded", String::new(), Ok(base.net.clone())),
        ("costs doubled", String::new(), again(scores, &cost.scaled(2.0))),
        ("every signal a session late", String::new(), again(&late(scores), cost)),
        ("without its best month", month, Ok(without_month)),
        ("without its best names", list.join(" "), again(&without_names, cost)),
    ]
    .into_iter()
    .map(|(circumstance, detail, net)| row(circumstance, detail, net))
    .collect()
}

fn row(circumstance: &str, detail: String, net: Result<Vec<f64>>) -> Result<WhatIf> {
    let mut out = WhatIf { circumstance: circumstance.into(), detail, sharpe: None, total_return: None, max_drawdown: None, undefined: None };
    let measured = net.and_then(|net| Ok((sharpe::annualised(&net)?, total_return::total(&net)?, max_drawdown::depth(&net)?)));
    match measured {
        Ok((s, t, d)) => (out.sharpe, out.total_return, out.max_drawdown) = (Some(s), Some(t), Some(d)),
        Err(e) if e.is(code::ML_UNDEFINED) => out.undefined = Some(e.to_string()),
        Err(e) => return Err(e),
    }
    Ok(out)
}

/// Each score a session later; the first session has none.
fn late(scores: &Matrix) -> Matrix {
    let mut out = Matrix::missing(scores.rows(), scores.cols());
    for s in 0..scores.rows() {
        for d in 1..scores.cols() {
            out.set(s, d, scores.at(s, d - 1));
        }
    }
    out
}

/// The calendar month with the highest compounded return, and the other sessions' returns.
fn without_best_month(base: &BacktestResult) -> (String, Vec<f64>) {
    let month = |i: usize| base.days[i].to_string()[..7].to_string();
    let mut grown: BTreeMap<String, f64> = BTreeMap::new();
    base.net.iter().enumerate().for_each(|(i, r)| *grown.entry(month(i)).or_insert(1.0) *= 1.0 + r);
    let best = grown.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(m, _)| m.clone()).unwrap_or_default();
    let rest = base.net.iter().enumerate().filter(|(i, _)| month(*i) != best).map(|(_, r)| *r).collect();
    (best, rest)
}

/// Rows of the panel that earned most, best first; only those that earned.
fn best_names(base: &BacktestResult) -> Vec<usize> {
    let mut earned: BTreeMap<usize, f64> = BTreeMap::new();
    base.trades.iter().for_each(|t| *earned.entry(t.symbol).or_insert(0.0) += t.pnl);
    let mut order: Vec<(usize, f64)> = earned.into_iter().filter(|(_, pnl)| *pnl > 0.0).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.into_iter().take(BEST_NAMES).map(|e| e.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;
    use data_layer::error::Error;
    use data_layer::time::TradingDay;

    const NAMES: usize = 24;
    const DAYS: usize = 260;

    /// The scores know the return of the session after the fill and nothing else; one name also rises all the time.
    fn world() -> (Panel, Matrix) {
        let e = noise(3, NAMES * (DAYS + 2));
        let (mut close, mut scores) = (Matrix::missing(NAMES, DAYS), Matrix::missing(NAMES, DAYS));
        for s in 0..NAMES {
            let (mut price, own) = (50.0, &e[s * (DAYS + 2)..]);
            for t in 0..DAYS {
                price *= 1.0 + 0.006 * own[t] + if s == 0 { 0.004 } else { 0.0 };
                close.set(s, t, price);
                scores.set(s, t, own[t + 2] + if s == 0 { 5.0 } else { 0.0 });
            }
        }
        let ones = Matrix::from_vec(NAMES, DAYS, vec![1.0; NAMES * DAYS]).unwrap();
        let volume = Matrix::from_vec(NAMES, DAYS, vec![1e6; NAMES * DAYS]).unwrap();
        let panel = Panel {
            days: (0..DAYS).map(|i| TradingDay(17_000 + i as i32)).collect(),
            symbols: (0..NAMES).map(|s| format!("S{s:02}")).collect(),
            open: close.clone(),
            high: close.clone(),
            low: close.clone(),
            vwap: close.clone(),
            volume: volume.clone(),
            volume_raw: volume,
            close_raw: close.clone(),
            member: ones,
            delisted: vec![None; NAMES],
            known: crate::types::PointInTime::default(),
            close,
        };
        (panel, scores)
    }

    #[test]
    fn each_circumstance_takes_away_what_it_says() {
        let (panel, scores) = world();
        let rule = RuleConfig { rebalance_sessions: 1, ..RuleConfig::default() };
        let cost = CostModel::flat(12.0);
        let base = run(&panel, &scores, &rule, &cost, 0..DAYS).unwrap();
        let rows = table(&panel, &scores, &rule, &cost, 0..DAYS, &base).unwrap();
        let total = |i: usize| rows[i].total_return.unwrap();
        assert_eq!(total(0), total_return::total(&base.net).unwrap());
        assert!(total(0) > total(1) && total(0) > 0.5, "{rows:#?}");
        assert!(rows[2].sharpe.unwrap() < 0.6 * rows[0].sharpe.unwrap(), "news that comes late is worth little: {rows:#?}");
        assert!(total(3) < total(0) && rows[3].detail.len() == 7, "{rows:#?}");
        assert!(total(4) < total(0) && rows[4].detail.split(' ').any(|s| s == "S00"), "{rows:#?}");
        assert_eq!(rows[4].detail.split(' ').count(), BEST_NAMES);
    }

    #[test]
    fn a_circumstance_that_leaves_nothing_says_so() {
        let row = row("without its best month", "2018-01".into(), Ok(vec![])).unwrap();
        assert!(row.sharpe.is_none() && row.undefined.is_some());
        assert!(super::row("x", String::new(), Err(Error::bug("other"))).is_err());
    }
}
