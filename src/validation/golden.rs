//! Comparing results with stored vectors: `|got - want| <= abs + rel x |want|`, null matches null only.

use crate::types::Matrix;
use serde_json::Value;

/// Panics with the path of the first difference. Only keys of `want` are looked at.
pub fn compare(got: &Value, want: &Value, abs: f64, rel: f64, path: &str) {
    match want {
        Value::Object(map) => map.iter().for_each(|(k, w)| compare(&got[k], w, abs, rel, &format!("{path}.{k}"))),
        Value::Array(items) => {
            assert_eq!(got.as_array().map(Vec::len), Some(items.len()), "{path}: length");
            items.iter().enumerate().for_each(|(i, w)| compare(&got[i], w, abs, rel, &format!("{path}[{i}]")));
        }
        Value::Number(n) => {
            let (w, g) = (n.as_f64().unwrap(), got.as_f64());
            assert!(g.is_some_and(|g| (g - w).abs() <= abs + rel * w.abs()), "{path}: {got} is not {w}");
        }
        _ => assert_eq!(got, want, "{path}"),
    }
}

/// A CSV of numbers with a header, as `columns x rows`.
pub fn columns(text: &str) -> Matrix {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<Vec<f64>> = reader.records().map(|r| r.unwrap().iter().map(|c| c.parse().unwrap_or(f64::NAN)).collect()).collect();
    let data = (0..rows[0].len()).flat_map(|c| rows.iter().map(move |r| r[c])).collect();
    Matrix::from_vec(rows[0].len(), rows.len(), data).unwrap()
}

/// A JSON array of numbers and nulls.
pub fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

/// Reproducible standard normal numbers.
pub fn noise(seed: u64, n: usize) -> Vec<f64> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let uniform = |rng: &mut rand_chacha::ChaCha8Rng| (rng.random_range(0..u32::MAX) as f64 + 0.5) / f64::from(u32::MAX);
    (0..n).map(|_| (-2.0 * uniform(&mut rng).ln()).sqrt() * (std::f64::consts::TAU * uniform(&mut rng)).cos()).collect()
}
