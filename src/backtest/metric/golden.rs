//! All metrics against stored vectors; null in a vector is an error here.

use super::{calmar, hit_rate, ic, max_drawdown, omega, relative, sharpe, sortino, total_return, var_es, volatility};
use crate::validation::dsr::moments;
use crate::validation::golden::{compare, numbers};
use serde_json::{Value, json};

fn metrics(r: &[f64]) -> Value {
    let dd = max_drawdown::drawdown(r).ok();
    let (v95, v99, g95) = (var_es::historical(r, 0.95).ok(), var_es::historical(r, 0.99).ok(), var_es::gaussian(r, 0.95).ok());
    let shape = moments(r).ok();
    json!({
        "n": r.len(), "total_return": total_return::total(r).ok(), "cagr": total_return::cagr(r).ok(), "ann_vol": volatility::annualised(r).ok(),
        "sharpe": sharpe::annualised(r).ok(), "sortino": sortino::annualised(r).ok(),
        "downside_dev_ann": volatility::downside(r, 0.0).ok().map(|d| d * 252f64.sqrt()), "omega": omega::ratio(r, 0.0).ok(),
        "max_drawdown": dd.as_ref().map(|d| d.depth), "dd_peak": dd.as_ref().and_then(|d| d.peak), "dd_trough": dd.as_ref().and_then(|d| d.trough),
        "longest_underwater": dd.as_ref().map(|d| d.longest_underwater), "calmar": calmar::ratio(r).ok(),
        "var_95": v95.map(|v| v.var), "es_95": v95.map(|v| v.es), "var_99": v99.map(|v| v.var), "es_99": v99.map(|v| v.es),
        "var_95_normal": g95.map(|v| v.var), "es_95_normal": g95.map(|v| v.es),
        "skew": shape.map(|m| m.skew), "kurtosis_raw": shape.map(|m| m.kurtosis), "hit_rate": hit_rate::share(r).ok(),
        "profit_factor": hit_rate::profit_factor(r).ok(), "best": r.iter().copied().reduce(f64::max), "worst": r.iter().copied().reduce(f64::min),
    })
}

fn series(text: &str, abs: f64, rel: f64) {
    let doc: Value = serde_json::from_str(text).unwrap();
    for (input, want) in doc["inputs"]["series"].as_array().unwrap().iter().zip(doc["expected"]["series"].as_array().unwrap()) {
        let returns: Vec<f64> = numbers(&input["returns"]).into_iter().filter(|r| r.is_finite()).collect();
        let mut want = want.clone();
        // A field of another convention, and the label.
        want.as_object_mut().unwrap().retain(|k, _| k != "name" && k != "cvar_95_empyrical_convention");
        compare(&metrics(&returns), &want, abs, rel, input["name"].as_str().unwrap());
    }
}

#[test]
fn degenerate_and_real_series() {
    series(include_str!("../../../tests/golden/risk_metrics/edge_cases.json"), 1e-12, 1e-10);
    series(include_str!("../../../tests/golden/risk_metrics/real_series.json"), 1e-11, 1e-9);
}

#[test]
fn published_examples() {
    let doc: Value = serde_json::from_str(include_str!("../../../tests/golden/risk_metrics/published_examples.json")).unwrap();
    let returns = |k: &str| numbers(&doc["inputs"][k]["returns"]);
    let got = json!({
        "sharpe": sharpe::per_period(&returns("sharpe"), 0.05).unwrap(), "sortino": sortino::per_period(&returns("sortino"), 0.0).unwrap(),
        "omega": omega::ratio(&returns("omega"), 0.01).unwrap(),
    });
    compare(&got, &doc["expected"], 1e-12, 1e-10, "published");
}

#[test]
fn against_a_benchmark() {
    let doc: Value = serde_json::from_str(include_str!("../../../tests/golden/risk_metrics/relative.json")).unwrap();
    for (input, want) in doc["inputs"]["series"].as_array().unwrap().iter().zip(doc["expected"]["series"].as_array().unwrap()) {
        let got = relative::to_benchmark(&numbers(&input["returns"]), &numbers(&input["benchmark"])).unwrap();
        compare(&serde_json::to_value(got).unwrap(), want, 1e-12, 1e-9, "relative");
    }
}

#[test]
fn trades_and_information_coefficients() {
    let doc: Value = serde_json::from_str(include_str!("../../../tests/golden/risk_metrics/trades_and_ic.json")).unwrap();
    let pnl = numbers(&doc["inputs"]["trade_pnl"]);
    let cross = |c: &Value| {
        let (p, y) = (numbers(&c["p"]), numbers(&c["y"]));
        let n = p.iter().zip(&y).filter(|(a, b)| a.is_finite() && b.is_finite()).count();
        json!({"n": n, "ic": ic::pearson(&p, &y).ok(), "rank_ic": ic::spearman(&p, &y).ok()})
    };
    let got = json!({
        "profit_factor": hit_rate::profit_factor(&pnl).unwrap(), "win_rate": hit_rate::share(&pnl).unwrap(),
        "win_rate_excluding_flat": hit_rate::share_without_flat(&pnl).unwrap(), "expectancy": hit_rate::expectancy(&pnl).unwrap(),
        "ic": doc["inputs"]["cross_sections"].as_array().unwrap().iter().map(cross).collect::<Vec<_>>(),
    });
    compare(&got, &doc["expected"], 1e-12, 1e-11, "trades");
}
