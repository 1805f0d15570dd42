//! The numbers a report prints about one simulation, each with its reason when it is undefined.

use crate::backtest::decide::Signal;
use crate::backtest::engine::{BacktestResult, run};
use crate::backtest::metric::{calmar, concentration, hit_rate, max_drawdown, omega, sharpe, sortino, total_return, turnover, var_es, volatility};
use crate::execution::cost::{CostModel, SENSITIVITY};
use crate::portfolio::RuleConfig;
use crate::types::Panel;
use data_layer::error::Result;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One number of a report.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    /// `ratio`, `fraction`, `fraction/year`, `account currency`, `count`.
    pub unit: String,
    /// Null when undefined.
    pub value: Option<f64>,
    /// Why it is undefined.
    pub undefined: Option<String>,
}

impl Metric {
    pub fn new(name: &str, unit: &str, value: Result<f64>) -> Self {
        let (value, undefined) = match value {
            Ok(v) if v.is_finite() => (Some(v), None),
            Ok(_) => (None, Some("it is not a number".to_string())),
            Err(e) => (None, Some(e.body().cause.clone().unwrap_or_else(|| e.body().what.clone()))),
        };
        Self { name: name.into(), unit: unit.into(), value, undefined }
    }
}

/// Metrics in the order they are printed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct Summary {
    pub metrics: Vec<Metric>,
}

impl Summary {
    /// The value of a metric; `None` when it is undefined or not there.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|m| m.name == name)?.value
    }
}

/// All metrics of a simulation, after costs unless the name says gross.
pub fn summarise(r: &BacktestResult) -> Summary {
    let net = &r.net;
    let pnl: Vec<f64> = r.trades.iter().map(|t| t.pnl).collect();
    let hold = concentration::leave_best_out(&pnl);
    let part = |f: fn(&concentration::Concentration) -> f64| hold.as_ref().map(f).map_err(Clone::clone);
    let metrics = vec![
        Metric::new("sharpe", "ratio", sharpe::annualised(net)),
        Metric::new("sharpe_gross", "ratio", sharpe::annualised(&r.gross)),
        Metric::new("sortino", "ratio", sortino::annualised(net)),
        Metric::new("calmar", "ratio", calmar::ratio(net)),
        Metric::new("omega", "ratio", omega::ratio(net, 0.0)),
        Metric::new("total_return", "fraction", total_return::total(net)),
        Metric::new("cagr", "fraction/year", total_return::cagr(net)),
        Metric::new("volatility", "fraction/year", volatility::annualised(net)),
        Metric::new("max_drawdown", "fraction", max_drawdown::depth(net)),
        Metric::new("var_95", "fraction", var_es::historical(net, 0.95).map(|v| v.var)),
        Metric::new("es_95", "fraction", var_es::historical(net, 0.95).map(|v| v.es)),
        Metric::new("hit_rate", "fraction", hit_rate::share(net)),
        Metric::new("turnover", "fraction/year", turnover::annualised(&r.turnover)),
        Metric::new("costs", "account currency", Ok(r.costs)),
        Metric::new("trades", "count", Ok(r.trades.len() as f64)),
        Metric::new("trade_hit_rate", "fraction", hit_rate::share(&pnl)),
        Metric::new("profit_factor", "ratio", hit_rate::profit_factor(&pnl)),
        Metric::new("pnl", "account currency", part(|c| c.pnl)),
        Metric::new("pnl_without_best_trade", "account currency", part(|c| c.without_best_trade)),
    ];
    Summary { metrics }
}

/// The same book at another cost.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct SensitivityRow {
    /// Of the cost model.
    pub multiple: f64,
    pub sharpe: Option<f64>,
    pub cagr: Option<f64>,
    pub max_drawdown: Option<f64>,
    pub costs: f64,
}

/// The simulation again at 0.5, 1, 2 and 3 times the cost.
pub fn sensitivity<'s>(panel: &Panel, signal: impl Into<Signal<'s>>, rule: &RuleConfig, cost: &CostModel, days: Range<usize>) -> Result<Vec<SensitivityRow>> {
    let signal = signal.into();
    let one = |multiple: &f64| {
        let r = run(panel, signal, rule, &cost.scaled(*multiple), days.clone())?;
        let s = summarise(&r);
        Ok(SensitivityRow { multiple: *multiple, sharpe: s.get("sharpe"), cagr: s.get("cagr"), max_drawdown: s.get("max_drawdown"), costs: r.costs })
    };
    SENSITIVITY.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Matrix;
    use crate::validation::golden::noise;
    use data_layer::time::TradingDay;

    fn panel() -> (Panel, Matrix) {
        let (n, d) = (12, 80);
        let e = noise(2, n * d);
        let mut close = Matrix::missing(n, d);
        (0..n).for_each(|s| {
            let mut p = 40.0;
            (0..d).for_each(|t| {
                p *= 1.0 + 0.01 * e[s * d + t];
                close.set(s, t, p);
            });
        });
        let ones = Matrix::from_vec(n, d, vec![1.0; n * d]).unwrap();
        let p = Panel {
            days: (0..d).map(|i| TradingDay(17_000 + i as i32)).collect(),
            symbols: (0..n).map(|s| format!("S{s:02}")).collect(),
            open: close.clone(),
            high: close.clone(),
            low: close.clone(),
            vwap: close.clone(),
            volume: ones.clone(),
            volume_raw: ones.clone(),
            close_raw: close.clone(),
            member: ones,
            delisted: vec![None; n],
            known: crate::types::PointInTime::default(),
            close,
        };
        let scores = Matrix::from_vec(n, d, noise(9, n * d)).unwrap();
        (p, scores)
    }

    #[test]
    fn lesson_057_the_sensitivity_table_gets_worse_with_cost() {
        let (p, s) = panel();
        let rows = sensitivity(&p, &s, &RuleConfig::default(), &CostModel::default(), 0..80).unwrap();
        assert_eq!(rows.iter().map(|r| r.multiple).collect::<Vec<_>>(), [0.5, 1.0, 2.0, 3.0]);
        assert!(rows.windows(2).all(|w| w[1].cagr < w[0].cagr && w[1].costs > w[0].costs));
    }

    #[test]
    fn every_number_is_a_value_or_a_reason() {
        let (p, s) = panel();
        let r = run(&p, &s, &RuleConfig::default(), &CostModel::default(), 0..80).unwrap();
        let summary = summarise(&r);
        assert!(summary.metrics.iter().all(|m| m.value.is_some() != m.undefined.is_some()));
        assert!(summary.get("sharpe").is_some() && summary.get("sharpe") < summary.get("sharpe_gross"));
        let short = BacktestResult { net: vec![0.01], gross: vec![0.01], turnover: vec![1.0], trades: vec![], ..r };
        let m = summarise(&short);
        assert!(m.get("sharpe").is_none());
        assert!(m.metrics[0].undefined.as_deref().unwrap().contains("needs 2 sessions"));
        assert!(!serde_json::to_string(&m).unwrap().contains("NaN"));
    }
}
