//! A plausible evaluation and day, for the tests of the views.

use crate::backtest::metric::{deciles::Bucket, ic, max_drawdown, monthly};
use crate::backtest::what_if::WhatIf;
use crate::backtest::{Metric, SensitivityRow, Summary};
use crate::reports::daily::{Champion, DailyReport, Health, Mode, OrderCounts, PositionRow, PositionSide, StrategyRow};
use crate::reports::tear_sheet::{Condition, Curve, Histogram, IcSection, TearSheet, Window};
use crate::validation::calibration::Bin;
use crate::validation::golden::noise;
use crate::validation::hurdles::{self, Bars, Measure, Measures, judge};
use data_layer::calendar::Calendar;
use data_layer::error::{Error, code};
use data_layer::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

fn window(a: &str, b: &str) -> DateRange {
    DateRange::new(a.parse().unwrap(), b.parse().unwrap()).unwrap()
}

fn curve(name: &str, returns: &[f64]) -> Curve {
    let mut wealth = 1.0;
    let equity = returns.iter().map(|r| {
        wealth *= 1.0 + r;
        wealth
    });
    let metrics = vec![
        Metric::new("sharpe", "ratio", crate::backtest::metric::sharpe::annualised(returns)),
        Metric::new("cagr", "fraction/year", crate::backtest::metric::total_return::cagr(returns)),
        Metric::new("max_drawdown", "fraction", max_drawdown::depth(returns)),
        Metric::new("turnover", "fraction/year", Ok(21.4)),
        Metric::new("pnl", "account currency", Ok(48_211.97)),
        Metric::new("pnl_without_best_trade", "account currency", Ok(44_904.12)),
        Metric::new("calmar", "ratio", Err(Error::new(code::ML_UNDEFINED, "the Calmar ratio is undefined").cause("there is no drawdown"))),
    ];
    Curve { name: name.into(), equity: equity.collect(), summary: Summary { metrics } }
}

pub(crate) fn sheet() -> TearSheet {
    let days: Vec<TradingDay> = Calendar::xnys().sessions(window("2013-02-08", "2018-02-08")).to_vec();
    let n = days.len();
    let returns: Vec<f64> = noise(4, n).iter().map(|e| 0.0004 + 0.007 * e).collect();
    let baseline: Vec<f64> = noise(5, n).iter().map(|e| 0.0002 + 0.008 * e).collect();
    let coefficients: Vec<Option<f64>> = noise(6, n).iter().enumerate().map(|(i, e)| (i % 40 != 0).then_some(0.018 + 0.11 * e)).collect();
    let summary = ic::summarise(&days, &coefficients, 4).unwrap();
    let measures =
        Measures { sharpe: 1.12.into(), max_drawdown: 0.143.into(), dsr: 0.871.into(), pbo: Measure::Missing("the family has one configuration".into()) };
    let bucket = |i: usize| Bucket { bucket: i, n: 12_450, mean_return: -0.0011 + 0.00042 * i as f64 };
    let bin = |i: usize| Bin { bin: i, n: 900, mean_pred: 0.05 + 0.1 * i as f64, frac_pos: 0.08 + 0.092 * i as f64 };
    let cost = |m: f64| SensitivityRow { multiple: m, sharpe: Some(1.4 - 0.28 * m), cagr: Some(0.14 - 0.03 * m), max_drawdown: Some(0.14), costs: 5_100.0 * m };
    let what_if = |(circumstance, detail): (&str, &str)| WhatIf {
        circumstance: circumstance.into(),
        detail: detail.into(),
        sharpe: Some(0.81),
        total_return: Some(0.372),
        max_drawdown: Some(0.151),
        undefined: None,
    };
    TearSheet {
        v: 1,
        strategy: "equities_xs".into(),
        version: "2018-02-07-9f31c2aa".into(),
        mode: "backtest".into(),
        dataset: "replay@1".into(),
        asof: "2018-02-07".parse().unwrap(),
        window: Window {
            asked: window("2003-02-08", "2018-02-08"),
            held: window("2013-02-08", "2018-02-08"),
            caps: vec!["the drive holds prices from 2013-02-08 on".into()],
        },
        known_bias: Some("Prices are split-adjusted and of companies that still existed at the end: results are too good.".into()),
        verdict: judge(&measures, &Bars::default()).unwrap(),
        trials: 8,
        underwater: max_drawdown::underwater(&returns).unwrap(),
        monthly: monthly::table(&days, &returns).unwrap(),
        challenger: curve("challenger", &returns),
        champion: Some(curve("champion", &baseline)),
        common: None,
        promotion: vec![Condition { name: "beats_champion".into(), passed: true, found: "Sharpe 1.21 against 0.40".into() }],
        ic: Some(IcSection { days: days.clone(), values: coefficients, summary }),
        days,
        deciles: (0..10).map(bucket).collect(),
        calibration: (0..10).map(bin).collect(),
        cost_sensitivity: [0.5, 1.0, 2.0, 3.0].map(cost).to_vec(),
        what_if: [("as traded", ""), ("without its best month", "2016-11")].map(what_if).to_vec(),
        meanings: BTreeMap::from([("sharpe".into(), hurdles::meaning("sharpe").into())]),
        pbo_logits: Histogram::of(&noise(8, 12_870).iter().map(|e| 0.9 + e).collect::<Vec<_>>(), 24),
        notes: vec!["Top 3 long, bottom 3 short, every 5 sessions, 12 bps a round trip.".into(), "bars.pbo was loosened from 0.05 to 0.1".into()],
        undefined: BTreeMap::new(),
        inputs_sha256: "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab".into(),
    }
}

pub(crate) fn daily() -> DailyReport {
    let mut d = DailyReport::empty("2017-12-01".parse().unwrap(), Mode::Simulated, "replay@1", "SIM000001");
    (d.pnl, d.pnl_cumulative, d.equity) = (Some(-412.37), Some(1_893.55), Some(101_893.55));
    (d.gross_exposure, d.net_exposure, d.turnover) = (Some(0.2984), Some(0.0012), Some(0.0511));
    let row = |symbol: &str, qty: f64, price: f64| PositionRow {
        symbol: symbol.into(),
        weight: Some(qty * price / 101_893.55),
        side: if qty > 0.0 { PositionSide::Long } else { PositionSide::Short },
        strategy_tag: "equities_xs".into(),
        qty,
        price: Some(price),
    };
    d.positions = vec![row("AAPL", 29.0, 171.05), row("MSFT", 60.0, 84.26), row("GE", -280.0, 17.88)];
    d.strategies.insert("equities_xs".into(), StrategyRow { contribution: Some(-412.37), trials: Some(8), turnover: Some(0.0511), ..StrategyRow::default() });
    d.risk_metrics.window_sessions = 12;
    d.undefined.insert("risk_metrics.var_95".into(), "it needs 20 sessions and has 12".into());
    d.data_health.insert("equities_eod".into(), Health { green: 99, amber: 1, red: 0, expected: 100, codes: BTreeMap::from([("SHORT_SESSION".into(), 1)]) });
    d.orders = OrderCounts { planned: 3, sent: 3, filled: 2, refused: 1, unknown: 0 };
    d.execution.modelled_bps = Some(6.0);
    d.switches = BTreeMap::from([("kill_switch".into(), "ACTIVE".into()), ("circuit_breaker".into(), "OPEN".into())]);
    d.champion = Some(Champion { strategy: "equities_xs".into(), version: "2017-11-30-0a1b2c3d".into(), sha256: "ab".repeat(32) });
    d.known_bias = Some("Prices are split-adjusted.".into());
    d.links.insert("tear_sheet".into(), "models/equities_xs/2017-11-30-0a1b2c3d/tear_sheet.html".into());
    d
}
