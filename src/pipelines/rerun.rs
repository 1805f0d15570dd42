//! `trademl rerun`: a trained model made again from its snapshot, configuration and seed, and compared byte by byte.
//!
//! Nothing of the first run is reused but what it pinned: features, labels, splits, every fit, every control and every file
//! are made anew in a folder of their own, which is removed again. What a search pruned on its way is not searched again; the
//! cells that were cross-validated are.

use crate::models::baseline::CODE;
use crate::models::registry::{ModelRow, Registry};
use crate::pipelines::recall::{self, Recalled};
use crate::pipelines::splits::Work;
use crate::pipelines::{cv, fit, prepare, train};
use crate::types::Progress;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use data_layer::store;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Differences within one file that are told; more are counted.
const TOLD: usize = 5;

/// A file of the artifact, and how it came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub name: String,
    pub equal: bool,
    /// Bytes then and now.
    pub bytes: [usize; 2],
    /// Where they differ, in words.
    pub differences: Vec<String>,
}

/// The outcome of a rerun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rerun {
    pub strategy: String,
    pub version: String,
    pub run_id: String,
    pub data_snapshot: String,
    /// The program that trained the model, and this one.
    pub code: [String; 2],
    /// SHA-256 of their files; the first is not known of models of older registries.
    pub program_sha256: [Option<String>; 2],
    pub files: Vec<Compared>,
    /// Every file equal, byte for byte.
    pub equal: bool,
}

/// Make a model again. Refuses with what is missing when the snapshot is no longer whole.
pub fn rerun(root: &DataRoot, row: &ModelRow, progress: &dyn Progress, threads: usize) -> Result<Rerun> {
    let Recalled { mut pinned, cv: then, gate, verified } = recall::recall(root, row)?;
    pinned.again = true;
    clear(root, &pinned)?;
    let made = make(root, &pinned, &then, &gate, progress, threads);
    clear(root, &pinned)?;
    let made = made?;
    let mut files = made.iter().map(|(name, now)| compare(name, verified.file(name).unwrap_or_default(), now)).collect::<Result<Vec<_>>>()?;
    for name in verified.manifest.files.keys().filter(|name| !made.contains_key(*name)) {
        let differences = vec!["this program does not write it".to_string()];
        files.push(Compared { name: name.clone(), equal: false, bytes: [verified.file(name)?.len(), 0], differences });
    }
    Ok(Rerun {
        strategy: row.strategy.clone(),
        version: row.version.clone(),
        run_id: row.run_id.clone(),
        data_snapshot: row.data_snapshot.clone(),
        code: [pinned.code.clone(), CODE.to_string()],
        program_sha256: [trained_by(root, row)?, Some(root.host().program_sha256()?.to_string())],
        equal: files.iter().all(|f| f.equal),
        files,
    })
}

/// The program that registered a model.
fn trained_by(root: &DataRoot, row: &ModelRow) -> Result<Option<String>> {
    let events = Registry::open(root)?.events(&row.strategy)?;
    let first = events.iter().find(|e| e.version == row.version && e.from_stage.is_none());
    Ok(first.and_then(|e| e.verdict["program_sha256"].as_str().map(str::to_string)))
}

type Files = BTreeMap<String, Vec<u8>>;

fn make(
    root: &DataRoot,
    pinned: &train::Pinned,
    then: &cv::CvReport,
    gate: &crate::validation::gate::GateReport,
    progress: &dyn Progress,
    threads: usize,
) -> Result<Files> {
    let prepared = prepare::prepare(root, pinned)?;
    let leaks = train::leak_check(pinned, &prepared)?;
    let cells = then.cells.iter().map(|c| c.cell.clone()).collect();
    let now = cv::validate_cells(&Work { root, pinned, prepared: &prepared, progress, threads }, cells, Some(then.overfitting.ledger))?;
    let mut files = fit::make(root, pinned, &prepared, &now, gate, &leaks)?.files;
    // Where the returns of a cell lie is no property of the model.
    let first = train::Pinned { again: false, ..pinned.clone() };
    let (here, there) = (pinned.work()?.to_string(), first.work()?.to_string());
    if let Some(metrics) = files.get_mut("metrics.json") {
        *metrics = String::from_utf8_lossy(metrics).replace(&here, &there).into_bytes();
    }
    Ok(files)
}

fn clear(root: &DataRoot, pinned: &train::Pinned) -> Result<()> {
    store::list(root, &pinned.work()?)?.iter().try_for_each(|path| store::remove(root, path))
}

fn compare(name: &str, then: &[u8], now: &[u8]) -> Result<Compared> {
    let equal = then == now;
    let mut differences = Vec::new();
    if !equal && name.ends_with(".json") {
        let read =
            |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).map_err(|e| Error::new(code::ML_ARTIFACT, text!("{name} is not JSON")).cause(e.to_string()));
        if !then.is_empty() {
            walk("", &read(then)?, &read(now)?, &mut differences);
        }
    } else if !equal {
        let at = then.iter().zip(now).position(|(a, b)| a != b).unwrap_or(then.len().min(now.len()));
        let line = then[..at].iter().filter(|b| **b == b'\n').count() + 1;
        differences.push(if name.ends_with(".txt") { text!("from line {line} on") } else { text!("from byte {at} on") });
    }
    let more = differences.len().saturating_sub(TOLD);
    differences.truncate(TOLD);
    if more > 0 {
        differences.push(text!("and {more} more values"));
    }
    Ok(Compared { name: name.to_string(), equal, bytes: [then.len(), now.len()], differences })
}

/// Every leaf that differs, as `/a/b: then, now`.
fn walk(path: &str, then: &Value, now: &Value, out: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().for_each(|k| walk(&format!("{path}/{k}"), a.get(k).unwrap_or(&Value::Null), b.get(k).unwrap_or(&Value::Null), out));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a.iter().zip(b).enumerate().for_each(|(i, (x, y))| walk(&format!("{path}/{i}"), x, y, out)),
        _ if then == now => {}
        _ => {
            let short = |v: &Value| v.to_string().chars().take(60).collect::<String>();
            out.push(text!("{path}: {} then, {} now", short(then), short(now)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_where_it_is() {
        let c = compare("metrics.json", br#"{"a":1,"b":[1,2]}"#, br#"{"a":1,"b":[1,3]}"#).unwrap();
        assert_eq!((c.equal, c.differences), (false, vec!["/b/1: 2 then, 3 now".to_string()]));
        assert_eq!(compare("model.txt", b"a\nb\n", b"a\nc\n").unwrap().differences, ["from line 2 on"]);
        assert_eq!(compare("oof.parquet", b"abc", b"abd").unwrap().differences, ["from byte 2 on"]);
        assert!(compare("model.onnx", b"same", b"same").unwrap().equal);
    }
}
