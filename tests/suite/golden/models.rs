//! Trees: prediction from a model file, deterministic training, the ONNX form.

use super::case::{Case, Checked, Table, list, number, numbers, object, size, text};
use engine::models::gbdt::{Binned, Params, Rows, round_features, trees::Forest};
use engine::models::onnx::Ensemble;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Rows of a table's named columns.
fn rows(table: &Table, names: &[String]) -> Vec<Vec<f64>> {
    let columns: Vec<Vec<f64>> = names.iter().map(|n| table.numbers(n)).collect();
    (0..table.rows.len()).map(|r| columns.iter().map(|c| c[r]).collect()).collect()
}

pub fn lightgbm(case: &Case) -> Checked {
    let names: Vec<String> = list(case.input("features")).iter().map(|f| text(f).to_string()).collect();
    let forest = Forest::parse(&case.text(case.input("model_file"))).unwrap();
    assert_eq!(forest.features(), names);
    let wanted = rows(&case.table(case.input("predict_csv")), &names);
    let leaves = |row: &Vec<f64>| forest.trees().iter().map(|t| t.leaf(row)).collect::<Vec<usize>>();
    let (importance, report) = (forest.importance(), train(case, &names));
    let mut got = json!({
        "raw_score": wanted.iter().map(|r| forest.raw(r)).collect::<Vec<_>>(), "prediction": wanted.iter().map(|r| forest.predict(r)).collect::<Vec<_>>(),
        "importance_gain": by_name(&names, &importance.gains), "importance_split": by_name(&names, &importance.splits), "training": report,
    });
    for name in object(case.expected()).keys().filter(|k| k.starts_with("leaf_index_rows")) {
        let (from, to) = name.trim_start_matches("leaf_index_rows").split_once('_').unwrap();
        let range = from.parse::<usize>().unwrap()..=to.parse().unwrap();
        got[name] = json!(wanted[range].iter().map(leaves).collect::<Vec<_>>());
    }
    let failures = training_rule(&case.expected()["training"], &report);
    Checked { got, failures }
}

fn by_name<T: serde::Serialize>(names: &[String], values: &[T]) -> Value {
    Value::Object(names.iter().cloned().zip(values.iter().map(|v| json!(v))).collect())
}

/// Learn as the case says and measure the fit on the training rows and the rest.
fn train(case: &Case, names: &[String]) -> Value {
    let table = case.table(case.input("dataset_csv"));
    let all = rows(&table, names);
    let n = text(case.input("train_rows")).split(' ').find_map(|w| w.parse::<usize>().ok()).unwrap();
    let binary = text(&case.input("params")["objective"]) == "binary";
    let y: Vec<f64> = table.numbers("y").iter().map(|y| if binary { f64::from(u8::from(*y > 0.0)) } else { *y }).collect();
    let weights = round_features(&table.numbers(text(case.input("weight"))));
    let features: Vec<f32> = all.iter().flat_map(|r| round_features(r)).collect();
    let (x, labels) = (&features[..n * names.len()], round_features(&y[..n]));
    let params = params(case);
    let binned = Binned::new(&Rows { features: x, labels: &labels, weights: &weights[..n], names, days: &[] }, &params).unwrap();
    let used: Vec<u32> = (0..u32::try_from(n).unwrap()).collect();
    let fitted = binned.fit(&used, &params, &features).unwrap();
    let forest = Forest::parse(&fitted.text).unwrap();
    let predicted: Vec<f64> = features.chunks(names.len()).map(|r| forest.predict(r)).collect();
    let (train, test) = ((&y[..n], &predicted[..n]), (&y[n..], &predicted[n..]));
    let mut report = json!({"train_rows": n, "test_rows": all.len() - n, "n_trees": forest.len()});
    for (set, (y, p)) in [("train", train), ("test", test)] {
        let mean = |f: &dyn Fn(f64, f64) -> f64| y.iter().zip(p).map(|(y, p)| f(*y, *p)).sum::<f64>() / y.len() as f64;
        report[format!("{set}_rmse")] = json!(mean(&|y, p| (y - p).powi(2)).sqrt());
        report[format!("{set}_logloss")] = json!(mean(&|y, p| -(if y > 0.5 { p } else { 1.0 - p }).ln()));
        let centre = p.iter().sum::<f64>() / p.len() as f64;
        report[format!("{set}_pred_std")] = json!((p.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / p.len() as f64).sqrt());
    }
    report
}

fn params(case: &Case) -> Params {
    let said = object(case.input("params"));
    let (whole, real) = (|key: &str| size(&said[key]), |key: &str| number(&said[key]));
    // What every fit here pins by itself.
    let pinned = ["deterministic", "force_row_wise", "num_threads", "verbosity"];
    let own = ["objective", "learning_rate", "num_leaves", "min_data_in_leaf", "max_bin", "seed"];
    let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    let extra: BTreeMap<String, String> =
        said.iter().filter(|(k, _)| !pinned.contains(&k.as_str()) && !own.contains(&k.as_str())).map(|(k, v)| (k.clone(), plain(v))).collect();
    Params {
        objective: text(&said["objective"]).into(),
        rounds: case.size("num_boost_round"),
        learning_rate: real("learning_rate"),
        num_leaves: u32::try_from(whole("num_leaves")).unwrap(),
        min_data_in_leaf: u32::try_from(whole("min_data_in_leaf")).unwrap(),
        max_bin: u32::try_from(whole("max_bin")).unwrap(),
        seed: said["seed"].as_u64().unwrap(),
        categorical: list(case.input("categorical")).iter().map(|c| text(c).to_string()).collect(),
        monotone: BTreeMap::new(),
        extra,
    }
}

/// The rule for training: counts exact; the fit on held-out rows within 2 %, on training rows within 10 %.
fn training_rule(want: &Value, got: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (name, want) in want.as_object().into_iter().flatten() {
        let (w, g) = (number(want), number(&got[name]));
        let allowed = match name.as_str() {
            "train_rows" | "test_rows" | "n_trees" => 0.0,
            held_out if held_out.starts_with("test_") => 0.02,
            _ => 0.10,
        };
        if !((g - w).abs() <= allowed * w.abs()) {
            out.push(format!("training.{name}: {g} is not {w}"));
        }
    }
    out
}

pub fn onnx(case: &Case) -> Checked {
    let foreign = Ensemble::decode(&std::fs::read(case.file(case.input("onnx_file"))).unwrap()).unwrap();
    let forest = Forest::parse(&case.text(case.input("lightgbm_model"))).unwrap();
    let wanted = rows(&case.table(case.input("predict_csv")), forest.features());
    let boundary: Vec<Vec<f64>> = list(case.input("boundary_rows")).iter().map(numbers).collect();
    let theirs = |rows: &[Vec<f64>]| rows.iter().map(|r| foreign.predict(&round_features(r)).unwrap()).collect::<Vec<f32>>();
    let ours = |rows: &[Vec<f64>]| rows.iter().map(|r| forest.predict(r)).collect::<Vec<f64>>();
    let rounded: Vec<f64> = wanted.iter().map(|r| forest.predict(&round_features(r))).collect();
    json!({
        "onnxruntime": theirs(&wanted), "lightgbm_float64_inputs": ours(&wanted), "lightgbm_inputs_rounded_to_f32": rounded,
        "boundary_onnxruntime": theirs(&boundary), "boundary_lightgbm_f64": ours(&boundary),
    })
    .into()
}
