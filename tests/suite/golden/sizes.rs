//! How much is bet.

use super::case::{Case, Checked, list, number, numbers};
use super::luck::matrix;
use engine::portfolio::linear;
use engine::portfolio::sizing::{kelly, pipeline, vol_target};
use engine::types::Matrix;
use serde_json::{Value, json};

/// One entry for each number of a list, under the number as it is written there.
fn for_each(values: &Value, of: impl Fn(f64) -> Value) -> Value {
    Value::Object(list(values).iter().map(|v| (v.to_string(), of(number(v)))).collect())
}

fn rows(m: &Matrix) -> Vec<&[f64]> {
    (0..m.rows()).map(|i| m.row(i)).collect()
}

pub fn kelly_binary(case: &Case) -> Checked {
    let one = |pb: &Value| {
        let k = kelly::binary(number(&pb[0]), number(&pb[1])).ok();
        let mut row = json!(k);
        row["fractional"] = for_each(case.input("fractions"), |c| json!(k.map(|k| c * k.full_kelly_long_only)));
        row
    };
    json!({"rows": list(case.input("p_b")).iter().map(one).collect::<Vec<_>>()}).into()
}

pub fn kelly_continuous(case: &Case) -> Checked {
    let fractions = case.input("fractions");
    let one = |ms: &Value| {
        let k = kelly::continuous(number(&ms[0]), number(&ms[1])).ok();
        let full = k.map(|k| k.full_kelly);
        json!({"full_kelly": full, "growth_at_full": k.map(|k| k.growth_at_full), "fractional": for_each(fractions, |c| json!(full.map(|f| c * f)))})
    };
    let m = kelly::multi(&matrix(&case.table(case.input("multi_returns_csv")).columns())).unwrap();
    let scaled = for_each(fractions, |c| json!(m.full_kelly.iter().map(|f| c * f).collect::<Vec<_>>()));
    json!({
        "single": list(case.input("mu_sigma")).iter().map(one).collect::<Vec<_>>(),
        "multi": {"mu_annual": m.mu_annual, "cov_annual": rows(&m.cov_annual), "full_kelly": m.full_kelly, "leverage": m.leverage, "fractional": scaled},
    })
    .into()
}

pub fn vol_targeting(case: &Case) -> Checked {
    let (_, cov) = linear::moments(&matrix(&case.table(case.input("returns_csv")).columns()), 252.0).unwrap();
    let (w, cap) = (numbers(case.input("weights")), case.number("gross_cap"));
    let by_target = for_each(case.input("targets"), |t| json!(vol_target::scale(&w, &cov, t, cap).ok()));
    json!({"portfolio_vol_full_cov": linear::volatility(&w, &cov), "portfolio_vol_diagonal_only": vol_target::diagonal_only(&w, &cov), "by_target": by_target})
        .into()
}

pub fn weight_pipeline(case: &Case) -> Checked {
    let one = |c: &Value| {
        let vols = numbers(&c["vols"]);
        let cov = linear::equal_correlation(&vols, number(&c["corr"]));
        let bounds = serde_json::from_value(c.clone()).unwrap();
        json!(pipeline::weights(&numbers(&c["scores"]), &vols, &cov, &numbers(&c["prev"]), &bounds).unwrap())
    };
    json!({"cases": list(case.input("cases")).iter().map(one).collect::<Vec<_>>()}).into()
}
