//! Whether a result is luck: calibration, drift, tests of forecasts, Sharpe ratios, overfitting.

use super::case::{Case, Checked, list, number, numbers, object, size, text};
use engine::types::Matrix;
use engine::validation::calibration::{self, Binning};
use engine::validation::diebold_mariano::{self, Kernel, Loss};
use engine::validation::dsr::{self, SharpeSample};
use engine::validation::{diagnostics, drift, pbo};
use serde_json::{Map, Value, json};

/// The number at the end of a name.
fn trailing(name: &str) -> Option<usize> {
    name.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|d| d.parse().ok())
}

pub fn calibration(case: &Case) -> Checked {
    let y: Vec<bool> = numbers(case.input("y")).iter().map(|y| *y == 1.0).collect();
    let p = numbers(case.input("p"));
    let mut got = json!({"brier": calibration::brier(&y, &p).ok(), "log_loss": calibration::log_loss(&y, &p).ok()});
    for name in object(case.expected()).keys().filter(|k| k.starts_with("ece_") || k.starts_with("reliability_")) {
        let binning = if name.contains("_quantile_") { Binning::Quantile } else { Binning::Uniform };
        let Some(bins) = trailing(name) else { continue };
        let table = calibration::reliability(&y, &p, bins, binning).unwrap();
        got[name] = if name.starts_with("ece_") { json!(calibration::ece(&table).ok()) } else { json!(table) };
    }
    got.into()
}

fn dm(e1: &[f64], e2: &[f64], h: usize, loss: Loss, kernel: Kernel) -> Value {
    let o = diebold_mariano::test(e1, e2, h, loss, kernel).unwrap();
    let s = o.statistic;
    json!({
        "mean_loss_diff": o.mean_loss_difference, "lrv_over_n": o.variance_of_mean, "status": o.status,
        "stat_uncorrected": s.map(|s| s.uncorrected), "stat": s.map(|s| s.corrected), "p_two_sided": s.map(|s| s.p_two_sided),
        "p_less(model1 better)": s.map(|s| s.p_first_better), "p_greater(model2 better)": s.map(|s| s.p_second_better),
    })
}

pub fn diebold_mariano(case: &Case) -> Checked {
    let one = |c: &Value| {
        let (y, f1, f2) = (numbers(&c["y"]), numbers(&c["f1"]), numbers(&c["f2"]));
        let errors = |f: &[f64]| y.iter().zip(f).map(|(y, f)| y - f).collect::<Vec<f64>>();
        let (e1, e2) = (errors(&f1), errors(&f2));
        let loss = if text(&c["loss"]) == "mae" { Loss::Mae } else { Loss::Mse };
        let h = size(&c["h"]);
        // The paired t-test is the same statistic at a horizon of one.
        let paired = diebold_mariano::test(&e1, &e2, 1, loss, Kernel::Rectangular).unwrap().statistic;
        let mean = |v: &[f64], p: i32| v.iter().map(|e| e.abs().powi(p)).sum::<f64>() / v.len() as f64;
        json!({
            "name": c["name"], "acf": dm(&e1, &e2, h, loss, Kernel::Rectangular), "bartlett": dm(&e1, &e2, h, loss, Kernel::Bartlett),
            "paired_t": paired.map(|s| json!({"stat": s.corrected, "p": s.p_two_sided})),
            "rmse1": mean(&e1, 2).sqrt(), "rmse2": mean(&e2, 2).sqrt(), "mae1": mean(&e1, 1), "mae2": mean(&e2, 1),
            "smape1_pct": diebold_mariano::smape_pct(&y, &f1).ok(), "smape2_pct": diebold_mariano::smape_pct(&y, &f2).ok(),
        })
    };
    json!({"cases": list(case.input("cases")).iter().map(one).collect::<Vec<_>>()}).into()
}

pub fn drift(case: &Case) -> Checked {
    let (reference, current) = (numbers(case.input("reference")), numbers(case.input("current")));
    let d = drift::compare_with(&reference, &current, case.size("n_bins"), case.number("floor")).unwrap();
    let mut got = json!({
        "inner_edges": d.inner_edges, "ref_counts": d.reference_counts, "cur_counts": d.current_counts, "psi": d.psi, "kl_cur_ref": d.kl,
        "kl_ref_cur": d.kl_reverse, "kl_cur_ref_renormalised": d.kl_renormalised,
    });
    for name in object(case.expected()).keys() {
        if let Some(bar) = name.strip_prefix("psi_alert_").and_then(|b| b.parse::<f64>().ok()) {
            got[name] = json!(d.psi > bar);
        }
    }
    got.into()
}

pub fn diagnostics(case: &Case) -> Checked {
    let want = list(&case.expected()["series"]);
    let one = |(s, want): (&Value, &Value)| {
        let x = numbers(&s["x"]);
        let (normal, m) = diagnostics::jarque_bera(&x).unwrap();
        let mut got = json!({"jarque_bera": normal.statistic, "jb_p": normal.p, "skew": m.skew, "kurtosis_raw": m.kurtosis});
        let mut tests = Map::new();
        for lags in want["ljung_box"].as_object().into_iter().flat_map(Map::keys) {
            let n: usize = lags.parse().unwrap();
            let q = diagnostics::ljung_box(&x, n, 0).unwrap();
            tests.insert(lags.clone(), json!({"stat": q.statistic, "p": q.p, "p_df_adjusted_2": diagnostics::ljung_box(&x, n, 2).ok().map(|t| t.p)}));
        }
        got["ljung_box"] = Value::Object(tests);
        for name in object(want).keys() {
            let Some(n) = trailing(name) else { continue };
            if name.starts_with("acf_1_") {
                got[name] = json!(diagnostics::autocorrelations(&x, n).unwrap());
            } else if name.starts_with("box_pierce_") {
                got[name] = json!(diagnostics::box_pierce(&x, n).unwrap());
            }
        }
        got
    };
    json!({"series": list(case.input("series")).iter().zip(want).map(one).collect::<Vec<_>>()}).into()
}

/// Moments that a case names; a normal's where it does not.
fn sample(v: &Value) -> SharpeSample {
    let f = |k: &str, default: f64| v[k].as_f64().unwrap_or(default);
    SharpeSample { sharpe: f("sr", 0.0), n: f("T", 0.0) as usize, skew: f("skew", 0.0), kurtosis: f("kurt", 3.0) }
}

pub fn sharpe_empirical(case: &Case) -> Checked {
    let want = list(&case.expected()["series"]);
    let one = |(s, want): (&Value, &Value)| {
        let returns: Vec<f64> = numbers(&s["returns"]).into_iter().filter(|r| r.is_finite()).collect();
        let m = dsr::moments(&returns).unwrap();
        let s = SharpeSample::from(m);
        let mut got = json!({"T": m.n, "sr": m.sharpe, "skew": m.skew, "kurt": m.kurtosis});
        for name in object(want).keys() {
            if name == "psr0" {
                got[name] = json!(dsr::psr(&s, 0.0).ok());
            } else if name.starts_with("psr0_if_unbiased") {
                got[name] = json!(dsr::psr(&unbiased(&s), 0.0).ok());
            } else if let Some((n, v)) = name.strip_prefix("dsr_N").and_then(|rest| rest.split_once("_V")) {
                got[name] = json!(dsr::deflate(&s, n.parse().unwrap(), v.parse().unwrap()).ok().map(|d| d.dsr));
            } else if name.starts_with("min_trl_obs_") {
                got[name] = json!(dsr::min_track_record(&s, 0.0, trailing(name).unwrap() as f64 / 100.0).ok());
            }
        }
        got
    };
    json!({"series": list(case.input("series")).iter().zip(want).map(one).collect::<Vec<_>>()}).into()
}

/// With the bias-corrected moments that pandas gives: for comparison, nothing here uses them.
fn unbiased(s: &SharpeSample) -> SharpeSample {
    let n = s.n as f64;
    let excess = (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * (s.kurtosis - 3.0) + 6.0);
    SharpeSample { skew: s.skew * (n * (n - 1.0)).sqrt() / (n - 2.0), kurtosis: excess + 3.0, ..*s }
}

pub fn sharpe_grid(case: &Case) -> Checked {
    let v = case.number("var_sr_per_period");
    let counts: Vec<u64> = list(case.input("N")).iter().map(|n| n.as_u64().unwrap()).collect();
    let one = |row: &Value| {
        let s = sample(row);
        let mut got = json!({"psr0": dsr::psr(&s, 0.0).ok()});
        for n in &counts {
            got[format!("dsr_N{n}")] = json!(dsr::deflate(&s, *n, v).ok().map(|d| d.dsr));
        }
        got
    };
    let sr0 = counts.iter().map(|n| (n.to_string(), json!(v.sqrt() * dsr::expected_maximum(*n)))).collect::<Map<_, _>>();
    json!({"rows": list(case.input("rows")).iter().map(one).collect::<Vec<_>>(), "sr0": sr0}).into()
}

/// An example, or the one it refers to ("as X with N=46, skew 0") with what is said to differ.
fn example(inputs: &Value, name: &str) -> Value {
    let Some(words) = inputs[name].as_str() else { return inputs[name].clone() };
    let (base, changes) = words.strip_prefix("as ").and_then(|w| w.split_once(" with ")).unwrap_or_else(|| panic!("'{words}' says nothing known"));
    let mut out = inputs[base].clone();
    for change in changes.split(',') {
        let (key, value) = change.trim().split_once(['=', ' ']).unwrap();
        out[key] = json!(value.parse::<f64>().unwrap());
    }
    out
}

pub fn sharpe_published(case: &Case) -> Checked {
    let mut got = Map::new();
    for name in object(case.expected()).keys() {
        let e = example(case.inputs(), name);
        let f = |k: &str| e[k].as_f64();
        let trials = f("N").unwrap_or(1.0) as u64;
        let value = if name.starts_with("psr_") {
            dsr::psr(&sample(&e), f("benchmark").unwrap_or(0.0))
        } else if name.starts_with("dsr_") {
            dsr::deflate(&sample(&e), trials, f("var_sr").unwrap()).map(|d| d.dsr)
        } else if name.starts_with("sr0_") {
            Ok(f("var_sr").unwrap().sqrt() * dsr::expected_maximum(trials))
        } else if name.starts_with("emax_") {
            Ok(dsr::expected_maximum(trials))
        } else if name.starts_with("mintrl_years_") {
            let root = f("ppy").unwrap().sqrt();
            let s = SharpeSample { sharpe: f("sr_ann").unwrap() / root, ..sample(&e) };
            dsr::min_track_record(&s, f("benchmark_ann").unwrap() / root, f("prob").unwrap()).map(|n| n / f("ppy").unwrap())
        } else if name.starts_with("minbtl_years_") {
            dsr::min_backtest_years(trials, f("sr_is_ann").unwrap())
        } else {
            panic!("no statistic is called '{name}'")
        };
        got.insert(name.clone(), json!(value.ok()));
    }
    Value::Object(got).into()
}

/// The first of the largest.
fn first_best(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

pub fn sharpe_trials(case: &Case) -> Checked {
    let trials = case.table(case.input("returns_csv")).columns();
    let sharpes: Vec<f64> = trials.iter().map(|t| dsr::moments(t).unwrap().sharpe).collect();
    let best = first_best(&sharpes);
    let d = dsr::deflated_sharpe(&trials[best], sharpes.len() as u64, dsr::trials_variance(&sharpes).unwrap()).unwrap();
    json!({
        "trial_sharpes": sharpes, "best": best, "V_ddof1": d.trials_variance, "sr0": d.sr0, "skew": d.skew, "kurt": d.kurtosis, "psr0": d.psr0,
        "dsr": d.dsr, "dsr_excess": d.sharpe - d.sr0,
    })
    .into()
}

/// Trials x days from series of trials.
pub fn matrix(series: &[Vec<f64>]) -> Matrix {
    Matrix::from_vec(series.len(), series.first().map_or(0, Vec::len), series.concat()).unwrap()
}

pub fn overfitting(case: &Case) -> Checked {
    let returns = matrix(&case.table(case.input("returns_csv")).columns());
    let rate = case.inputs().get("rf_per_period").map_or(0.0, number);
    serde_json::to_value(pbo::cscv_excess(&returns, case.size("S"), rate).unwrap()).unwrap().into()
}
