//! What was earned, at which risk and cost.

use super::case::{Case, Checked, list, number, numbers, object};
use engine::backtest::metric::{calmar, hit_rate, ic, max_drawdown, omega, relative, sharpe, sortino, total_return, var_es, volatility};
use engine::execution::cost::{self, ImpactInput};
use engine::execution::schedule::almgren_chriss::Problem;
use engine::validation::dsr::moments;
use serde_json::{Value, json};

fn of_series(r: &[f64]) -> Value {
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
        "var_95_normal": g95.map(|v| v.var), "es_95_normal": g95.map(|v| v.es), "cvar_95_empyrical_convention": smallest_twentieth(r),
        "skew": shape.map(|m| m.skew), "kurtosis_raw": shape.map(|m| m.kurtosis), "hit_rate": hit_rate::share(r).ok(),
        "profit_factor": hit_rate::profit_factor(r).ok(), "best": r.iter().copied().reduce(f64::max), "worst": r.iter().copied().reduce(f64::min),
    })
}

/// Another package's expected shortfall, for comparison: the mean of the `int((n - 1) / 20) + 1` smallest returns.
fn smallest_twentieth(r: &[f64]) -> Option<f64> {
    let mut sorted = r.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = (r.len().checked_sub(1)? as f64 * 0.05) as usize + 1;
    Some(-sorted[..n].iter().sum::<f64>() / n as f64)
}

pub fn metrics(case: &Case) -> Checked {
    let one = |s: &Value| {
        let returns: Vec<f64> = numbers(&s["returns"]).into_iter().filter(|r| r.is_finite()).collect();
        let mut got = of_series(&returns);
        got["name"] = s["name"].clone();
        got
    };
    json!({"series": list(case.input("series")).iter().map(one).collect::<Vec<_>>()}).into()
}

pub fn published_ratios(case: &Case) -> Checked {
    let bar = |v: &Value| v.get("benchmark").or_else(|| v.get("mar")).map_or(0.0, number);
    let mut got = json!({});
    for (name, input) in object(case.inputs()) {
        let returns = numbers(&input["returns"]);
        let value = match name.as_str() {
            "sharpe" => sharpe::per_period(&returns, bar(input)),
            "sortino" => sortino::per_period(&returns, bar(input)),
            "omega" => omega::ratio(&returns, bar(input)),
            other => panic!("no ratio is called '{other}'"),
        };
        got[name] = json!(value.ok());
    }
    got.into()
}

pub fn relative(case: &Case) -> Checked {
    let one = |s: &Value| {
        // Sessions that either side lacks are left out.
        let (r, b): (Vec<f64>, Vec<f64>) =
            numbers(&s["returns"]).into_iter().zip(numbers(&s["benchmark"])).filter(|(r, b)| r.is_finite() && b.is_finite()).unzip();
        let mut got = serde_json::to_value(relative::to_benchmark(&r, &b).unwrap()).unwrap();
        got["name"] = s["name"].clone();
        got
    };
    json!({"series": list(case.input("series")).iter().map(one).collect::<Vec<_>>()}).into()
}

pub fn trades(case: &Case) -> Checked {
    let pnl = numbers(case.input("trade_pnl"));
    let section = |c: &Value| {
        let (p, y) = (numbers(&c["p"]), numbers(&c["y"]));
        let n = p.iter().zip(&y).filter(|(a, b)| a.is_finite() && b.is_finite()).count();
        json!({"n": n, "ic": ic::pearson(&p, &y).ok(), "rank_ic": ic::spearman(&p, &y).ok()})
    };
    json!({
        "profit_factor": hit_rate::profit_factor(&pnl).ok(), "win_rate": hit_rate::share(&pnl).ok(),
        "win_rate_excluding_flat": hit_rate::share_without_flat(&pnl).ok(), "expectancy": hit_rate::expectancy(&pnl).ok(),
        "ic": list(case.input("cross_sections")).iter().map(section).collect::<Vec<_>>(),
    })
    .into()
}

pub fn impact(case: &Case) -> Checked {
    let orders: Vec<ImpactInput> = serde_json::from_value(case.input("orders").clone()).unwrap();
    json!({"orders": orders.iter().map(cost::square_root).collect::<Vec<_>>()}).into()
}

pub fn almgren_chriss(case: &Case) -> Checked {
    let problem: Problem = serde_json::from_value(case.inputs().clone()).unwrap();
    let rows = list(case.input("lambdas")).iter().map(|l| problem.trajectory(number(l)).unwrap());
    json!({"rows": rows.collect::<Vec<_>>()}).into()
}
