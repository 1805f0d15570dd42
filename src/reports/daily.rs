//! The report of one account and day. The keys are a contract: others read the JSON.

use crate::reports::svg::{self, Format, Frame};
use crate::reports::view::{Rendered, nulls, render};
use data_layer::error::Result;
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whose money it is; named on every page.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A broker of our own making.
    Simulated,
    /// No broker: what the orders would have done.
    Shadow,
    Paper,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum PositionSide {
    Long,
    Short,
}

/// A holding at the close. `weight` is signed, a fraction of equity; `qty` is signed shares.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PositionRow {
    pub symbol: String,
    pub weight: Option<f64>,
    pub side: PositionSide,
    pub strategy_tag: String,
    pub qty: f64,
    pub price: Option<f64>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct StrategyRow {
    pub sharpe: Option<f64>,
    pub turnover: Option<f64>,
    /// Gain since the start after costs, in account currency, open positions at their marks.
    pub contribution: Option<f64>,
    pub max_drawdown: Option<f64>,
    pub trials: Option<u64>,
    /// Cumulative gain without the best trade, in account currency.
    pub without_best_trade: Option<f64>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct RiskMetrics {
    /// Annualised.
    pub realized_vol: Option<f64>,
    pub max_drawdown: Option<f64>,
    pub var_95: Option<f64>,
    pub es_95: Option<f64>,
    pub window_sessions: u64,
}

/// Ledger counts of one dataset.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct Health {
    pub green: u64,
    pub amber: u64,
    pub red: u64,
    pub expected: u64,
    pub codes: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct OrderCounts {
    pub planned: u64,
    pub sent: u64,
    pub filled: u64,
    pub refused: u64,
    pub unknown: u64,
}

/// Modelled against realised cost, in bps of notional; `low` and `high` bound the realised mean.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct ExecutionCost {
    pub modelled_bps: Option<f64>,
    pub realised_bps: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub n: u64,
}

/// Difference between this account's gain and its simulation's, in account currency.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct Parity {
    pub explained: Option<f64>,
    pub unexplained: Option<f64>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Champion {
    pub strategy: String,
    pub version: String,
    pub sha256: String,
}

/// The keys of `reports/daily/<asof>/<account>.json`. Amounts in account currency, weights and returns as decimals.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DailyReport {
    pub v: u32,
    pub asof: TradingDay,
    pub mode: Mode,
    pub dataset: String,
    pub account: String,
    pub pnl: Option<f64>,
    pub pnl_cumulative: Option<f64>,
    pub equity: Option<f64>,
    pub gross_exposure: Option<f64>,
    pub net_exposure: Option<f64>,
    pub turnover: Option<f64>,
    pub positions: Vec<PositionRow>,
    pub strategies: BTreeMap<String, StrategyRow>,
    pub risk_metrics: RiskMetrics,
    pub data_health: BTreeMap<String, Health>,
    pub orders: OrderCounts,
    pub execution: ExecutionCost,
    pub parity: Parity,
    pub switches: BTreeMap<String, String>,
    pub champion: Option<Champion>,
    pub known_bias: Option<String>,
    /// Relative paths only.
    pub links: BTreeMap<String, String>,
    pub inputs_sha256: String,
    /// Dotted key of every null number and why it has no value.
    #[serde(default)]
    pub undefined: BTreeMap<String, String>,
}

impl DailyReport {
    /// An empty report of a day: every number is null, nothing is assumed.
    pub fn empty(asof: TradingDay, mode: Mode, dataset: &str, account: &str) -> Self {
        Self {
            v: 1,
            asof,
            mode,
            dataset: dataset.into(),
            account: account.into(),
            pnl: None,
            pnl_cumulative: None,
            equity: None,
            gross_exposure: None,
            net_exposure: None,
            turnover: None,
            positions: Vec::new(),
            strategies: BTreeMap::new(),
            risk_metrics: RiskMetrics::default(),
            data_health: BTreeMap::new(),
            orders: OrderCounts::default(),
            execution: ExecutionCost::default(),
            parity: Parity::default(),
            switches: BTreeMap::new(),
            champion: None,
            known_bias: None,
            links: BTreeMap::new(),
            inputs_sha256: String::new(),
            undefined: BTreeMap::new(),
        }
    }
    /// Take a value, or record why there is none under `key` (dotted, as in the JSON).
    pub fn take(&mut self, key: &str, value: Result<f64>) -> Option<f64> {
        match value {
            Ok(v) if v.is_finite() => Some(v),
            Ok(_) => self.missing(key, "it is not a number"),
            Err(e) => {
                let why = e.body().cause.clone().unwrap_or_else(|| e.body().what.clone());
                self.missing(key, &why)
            }
        }
    }
    fn missing(&mut self, key: &str, why: &str) -> Option<f64> {
        self.undefined.insert(key.into(), why.into());
        None
    }
}

/// Render the report. Deterministic; a null number without a reason gets the reason that none was recorded.
pub fn daily(report: &DailyReport) -> Result<Rendered> {
    let mut data = serde_json::to_value(report)?;
    let mut missing = Vec::new();
    nulls(&data, "", &["undefined", "champion", "known_bias"], &mut missing);
    for path in missing {
        if !report.undefined.contains_key(&path) {
            data["undefined"][path] = "no reason was recorded".into();
        }
    }
    let positions: Vec<&PositionRow> = report.positions.iter().filter(|p| p.weight.is_some()).collect();
    let labels: Vec<String> = positions.iter().map(|p| p.symbol.clone()).collect();
    let weights: Vec<Option<f64>> = positions.iter().map(|p| p.weight).collect();
    let frame = Frame::wide("Positions", "symbol", "share of equity").tall(200.0);
    let chart = if positions.is_empty() { svg::empty(&frame, "the account is flat") } else { svg::bars(&frame, &labels, &weights, Format::Percent(0)) };
    render("daily", &data, &BTreeMap::from([("positions", chart)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::sample;
    use crate::reports::view::tests::check_views;
    use serde_json::Value;

    #[test]
    fn the_views_add_nothing() {
        let r = daily(&sample::daily()).unwrap();
        check_views(&r);
        let back: DailyReport = serde_json::from_str(&r.json).unwrap();
        assert_eq!(back.positions, sample::daily().positions);
    }

    #[test]
    fn the_keys_are_the_contract() {
        let v: Value = serde_json::from_str(&daily(&sample::daily()).unwrap().json).unwrap();
        let keys: Vec<&str> = v.as_object().unwrap().keys().map(String::as_str).collect();
        let mut want = vec![
            "v",
            "asof",
            "mode",
            "dataset",
            "account",
            "pnl",
            "pnl_cumulative",
            "equity",
            "gross_exposure",
            "net_exposure",
            "turnover",
            "positions",
            "strategies",
            "risk_metrics",
            "data_health",
            "orders",
            "execution",
            "parity",
            "switches",
            "champion",
            "known_bias",
            "links",
            "inputs_sha256",
            "undefined",
        ];
        want.sort_unstable();
        let mut got = keys;
        got.sort_unstable();
        assert_eq!(got, want);
        assert_eq!(v["positions"][0]["side"], "LONG");
        assert_eq!(v["mode"], "simulated");
    }

    #[test]
    fn lesson_056_a_run_without_a_broker_says_shadow() {
        let day = TradingDay(17_500);
        let r = daily(&DailyReport::empty(day, Mode::Shadow, "replay@1", "SHADOW")).unwrap();
        assert!(r.md.lines().next().unwrap().contains("shadow") && r.html.contains("shadow"));
        assert!(!r.md.contains("paper"));
        check_views(&r);
    }

    #[test]
    fn every_null_has_a_reason() {
        let mut report = DailyReport::empty(TradingDay(17_500), Mode::Paper, "real", "P");
        report.pnl = report.take("pnl", Ok(f64::NAN));
        report.equity = Some(f64::INFINITY);
        let v: Value = serde_json::from_str(&daily(&report).unwrap().json).unwrap();
        let mut paths = Vec::new();
        nulls(&v, "", &["undefined", "champion", "known_bias"], &mut paths);
        assert!(paths.len() > 10 && paths.iter().all(|p| v["undefined"][p].is_string()), "{paths:?}");
        assert_eq!(v["undefined"]["pnl"], "it is not a number");
    }
}
