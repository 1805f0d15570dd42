//! Sizing against stored vectors: any case of the topic, by what its inputs are.

use super::{kelly, pipeline, vol_target};
use crate::portfolio::linear;
use crate::types::Matrix;
use crate::validation::golden::{columns, compare, numbers};
use serde_json::{Map, Value, json};

fn fractional(fractions: &Value, full: impl Fn(f64) -> Value) -> Value {
    let entries = fractions.as_array().unwrap().iter().map(|f| (f.to_string(), full(f.as_f64().unwrap())));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn rows(m: &Matrix) -> Vec<&[f64]> {
    (0..m.rows()).map(|i| m.row(i)).collect()
}

fn kelly_binary(inputs: &Value) -> Value {
    let one = |pb: &Value| {
        let k = kelly::binary(pb[0].as_f64().unwrap(), pb[1].as_f64().unwrap()).unwrap();
        let mut row = serde_json::to_value(k).unwrap();
        row["fractional"] = fractional(&inputs["fractions"], |c| json!(c * k.full_kelly_long_only));
        row
    };
    json!({"rows": inputs["p_b"].as_array().unwrap().iter().map(one).collect::<Vec<_>>()})
}

fn kelly_continuous(inputs: &Value, csv: &str) -> Value {
    let one = |ms: &Value| {
        let k = kelly::continuous(ms[0].as_f64().unwrap(), ms[1].as_f64().unwrap()).ok();
        let full = k.map(|k| k.full_kelly);
        json!({"full_kelly": full, "growth_at_full": k.map(|k| k.growth_at_full), "fractional": fractional(&inputs["fractions"], |c| json!(full.map(|f| c * f)))})
    };
    let m = kelly::multi(&columns(csv)).unwrap();
    let scaled = fractional(&inputs["fractions"], |c| json!(m.full_kelly.iter().map(|f| c * f).collect::<Vec<_>>()));
    json!({
        "single": inputs["mu_sigma"].as_array().unwrap().iter().map(one).collect::<Vec<_>>(),
        "multi": {"mu_annual": m.mu_annual, "cov_annual": rows(&m.cov_annual), "full_kelly": m.full_kelly, "leverage": m.leverage, "fractional": scaled}
    })
}

fn vol_targeting(inputs: &Value, csv: &str) -> Value {
    let (_, cov) = linear::moments(&columns(csv), 252.0).unwrap();
    let w = numbers(&inputs["weights"]);
    let cap = inputs["gross_cap"].as_f64().unwrap();
    let by_target = fractional(&inputs["targets"], |t| serde_json::to_value(vol_target::scale(&w, &cov, t, cap).unwrap()).unwrap());
    json!({"portfolio_vol_full_cov": linear::volatility(&w, &cov), "portfolio_vol_diagonal_only": vol_target::diagonal_only(&w, &cov), "by_target": by_target})
}

fn weight_pipeline(inputs: &Value) -> Value {
    let one = |c: &Value| {
        let vols = numbers(&c["vols"]);
        let cov = linear::equal_correlation(&vols, c["corr"].as_f64().unwrap());
        let bounds = serde_json::from_value(c.clone()).unwrap();
        serde_json::to_value(pipeline::weights(&numbers(&c["scores"]), &vols, &cov, &numbers(&c["prev"]), &bounds).unwrap()).unwrap()
    };
    json!({"cases": inputs["cases"].as_array().unwrap().iter().map(one).collect::<Vec<_>>()})
}

#[test]
fn stored_vectors() {
    let vols = include_str!("../../../tests/golden/sizing/vol_target_returns.csv");
    let kelly = include_str!("../../../tests/golden/sizing/kelly_returns.csv");
    for text in [
        include_str!("../../../tests/golden/sizing/kelly_binary.json"),
        include_str!("../../../tests/golden/sizing/kelly_continuous.json"),
        include_str!("../../../tests/golden/sizing/vol_targeting.json"),
        include_str!("../../../tests/golden/sizing/weight_pipeline.json"),
    ] {
        let doc: Value = serde_json::from_str(text).unwrap();
        let inputs = &doc["inputs"];
        let got = match doc["case"].as_str().unwrap() {
            "kelly_binary" => kelly_binary(inputs),
            "kelly_continuous" => kelly_continuous(inputs, kelly),
            "vol_targeting" => vol_targeting(inputs, vols),
            "weight_pipeline" => weight_pipeline(inputs),
            other => panic!("the case {other} has no function"),
        };
        let tolerance = &doc["tolerance"]["default"];
        compare(&got, &doc["expected"], tolerance["abs"].as_f64().unwrap(), tolerance["rel"].as_f64().unwrap(), doc["case"].as_str().unwrap());
    }
}
