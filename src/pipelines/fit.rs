//! The final fit on every labelled row, the artifact that holds it, and its entry in the registry.

use crate::models::artifact::{self, FeatureList, Kind, Manifest};
use crate::models::gbdt;
use crate::models::gbdt::trees::Forest;
use crate::models::onnx::{self, Parity};
use crate::models::registry::{ModelRow, Registry, Stage};
use crate::pipelines::cv::CvReport;
use crate::pipelines::splits;
use crate::pipelines::train::{Pinned, Prepared};
use crate::validation::cpcv;
use crate::validation::gate::GateReport;
use crate::validation::leak::LeakReport;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use polars::prelude::{DataFrame, DataType, NamedFrom, Series};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Rows of the most recent cross-sections that are stored with their predictions.
const GOLDEN_ROWS: usize = 100;

/// What the final fit left on the drive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    pub strategy: String,
    pub version: String,
    pub path: DataPath,
    /// SHA-256 of the artifact's manifest.
    pub sha256: String,
    pub trees: usize,
    pub train_rows: usize,
    pub parity: Parity,
}

/// Fit the chosen cell on all labelled rows and write the artifact. The same inputs make the same bytes.
pub fn fit_final(root: &DataRoot, pinned: &Pinned, p: &Prepared, cv: &CvReport, gate: &GateReport, leak: &LeakReport) -> Result<Fit> {
    if let Some(done) = already_fitted(root, pinned)? {
        return Ok(done);
    }
    let made = make(root, pinned, p, cv, gate, leak)?;
    let manifest = Manifest {
        v: 1,
        strategy: pinned.strategy.clone(),
        version: pinned.version.clone(),
        kind: Kind::Lightgbm,
        dataset: pinned.dataset.clone(),
        data_snapshot: pinned.snapshot.clone(),
        asof: pinned.asof,
        code: pinned.code.clone(),
        files: BTreeMap::new(),
    };
    let sha256 = artifact::write(root, manifest, &made.files)?;
    let path = artifact::folder(&pinned.strategy, &pinned.version)?;
    let (strategy, version) = (pinned.strategy.clone(), pinned.version.clone());
    Ok(Fit { strategy, version, path, sha256, trees: made.trees, train_rows: made.train_rows, parity: made.parity })
}

/// A fitted model's files, not yet on the drive.
pub(crate) struct Made {
    pub files: BTreeMap<String, Vec<u8>>,
    pub trees: usize,
    pub train_rows: usize,
    pub parity: Parity,
}

/// Fit the chosen cell and make every file of the artifact but its manifest.
pub(crate) fn make(root: &DataRoot, pinned: &Pinned, p: &Prepared, cv: &CvReport, gate: &GateReport, leak: &LeakReport) -> Result<Made> {
    cv.doubts.require()?;
    let cell = &cv.chosen().cell;
    let binned = splits::binned(p, &p.labels, &cell.params)?;
    let days: Vec<usize> = p.days.clone().collect();
    let train = splits::labelled_rows(p, &p.labels, &days);
    let golden = golden_rows(p);
    let features: Vec<f32> = golden.iter().flat_map(|r| p.row(*r).iter().copied()).collect();
    let params = splits::stopped(pinned, p, &p.labels, &binned, &cell.params, &days)?;
    let fitted = binned.fit(&train, &params, &features)?;
    let forest = Forest::parse(&fitted.text)?;
    let raw: Vec<f64> = features.chunks_exact(p.names.len()).map(|row| forest.raw(row)).collect();
    let scores = forest.predict_rows(&features);
    if raw != fitted.scores || gbdt::lightgbm_scores(&fitted.text, &features, p.names.len())? != raw {
        return Err(Error::new(code::ML_TRAIN, "our evaluator and LightGBM disagree on the trained model").fix("report this with the model's folder"));
    }
    let onnx = onnx::encode(&forest, &pinned.strategy)?;
    let parity = onnx::parity(&forest, &onnx, &features)?;
    if !parity.passed {
        return Err(Error::new(code::ML_ARTIFACT, "the ONNX form does not agree with the model").found(format!("{parity:?}")));
    }
    let list = FeatureList::new(&pinned.config.features.set, &p.names, &p.units, p.excluded.clone());
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    files.insert("model.txt".into(), fitted.text.into_bytes());
    files.insert("model.onnx".into(), onnx);
    files.insert("onnx_parity.json".into(), json_bytes(&parity)?);
    files.insert("feature_list.json".into(), json_bytes(&list)?);
    files.insert("training_cfg.json".into(), json_bytes(&pinned.config)?);
    files.insert("leak_report.json".into(), json_bytes(leak)?);
    files.insert("metrics.json".into(), json_bytes(&metrics(pinned, cv, gate, train.len())?)?);
    files.insert("oof.parquet".into(), store::parquet_bytes(&mut oof_frame(root, pinned, p, cv)?)?);
    files.insert("golden_rows.parquet".into(), store::parquet_bytes(&mut golden_frame(p, &golden, &scores)?)?);
    Ok(Made { files, trees: forest.len(), train_rows: train.len(), parity })
}

/// A registered model of this version is whole and stays as it is: its metrics tell the trial count of its own time.
fn already_fitted(root: &DataRoot, pinned: &Pinned) -> Result<Option<Fit>> {
    let Some(row) = Registry::open(root)?.model(&pinned.strategy, &pinned.version)? else { return Ok(None) };
    let verified = artifact::verify(root, &row)?;
    let metrics: Value = verified.json("metrics.json")?;
    Ok(Some(Fit {
        strategy: row.strategy,
        version: row.version,
        path: row.path,
        sha256: row.sha256,
        trees: Forest::parse(verified.text("model.txt")?)?.len(),
        train_rows: metrics.get("train_rows").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        parity: verified.json("onnx_parity.json")?,
    }))
}

/// Enter the fitted model as a challenger.
pub fn register_challenger(root: &DataRoot, pinned: &Pinned, cv: &CvReport, fit: &Fit) -> Result<ModelRow> {
    let registry = Registry::open(root)?;
    let chosen = cv.chosen();
    let row = ModelRow {
        strategy: fit.strategy.clone(),
        version: fit.version.clone(),
        path: fit.path.clone(),
        sha256: fit.sha256.clone(),
        stage: Stage::Challenger,
        family: pinned.config.family.clone(),
        metrics: json!({
            "mean_ic": chosen.ic.as_ref().map(|i| i.mean), "sharpe_annual": chosen.sharpe_annual,
            "pbo": cv.overfitting.pbo, "dsr": cv.overfitting.deflated.map(|d| d.dsr), "trials": cv.overfitting.trials,
        }),
        config: serde_json::to_value(&pinned.config)?,
        data_snapshot: pinned.snapshot.clone(),
        run_id: pinned.run_id.clone(),
        created_at: root.host().now(),
        activated_at: None,
        deactivated_at: None,
    };
    registry.register(&row, "train")?;
    registry.model(&fit.strategy, &fit.version)?.ok_or_else(|| Error::bug("a model that was just registered is not in the registry"))
}

fn json_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    Ok(store::canonical_json(value)?.into_bytes())
}

fn metrics(pinned: &Pinned, cv: &CvReport, gate: &GateReport, train_rows: usize) -> Result<Value> {
    Ok(json!({
        "v": 1, "strategy": pinned.strategy, "version": pinned.version, "asof": pinned.asof, "window_asked": pinned.window_asked,
        "window_held": pinned.window_held, "window": pinned.window, "cap_note": pinned.cap_note, "holdout": pinned.holdout, "config_sha256": pinned.config_sha256,
        "cpcv": serde_json::to_value(cv)?, "gate": serde_json::to_value(gate)?, "train_rows": train_rows,
    }))
}

/// Row numbers of the last whole cross-sections with at least [`GOLDEN_ROWS`] rows together.
fn golden_rows(p: &Prepared) -> Vec<usize> {
    let mut first = p.n_rows();
    for day in p.days.clone().rev() {
        let rows = p.rows_of(day);
        first = if rows.is_empty() { first } else { rows.start };
        if p.n_rows() - first >= GOLDEN_ROWS {
            break;
        }
    }
    (first..p.n_rows()).collect()
}

fn date_series(p: &Prepared, rows: impl Iterator<Item = usize>) -> Result<Series> {
    let days: Vec<i32> = rows.map(|r| p.panel.days[p.day[r] as usize].0).collect();
    Ok(Series::new("date".into(), days).cast(&DataType::Date)?)
}

fn golden_frame(p: &Prepared, rows: &[usize], scores: &[f64]) -> Result<DataFrame> {
    let symbols: Vec<&str> = rows.iter().map(|r| p.panel.symbols[p.symbol[*r] as usize].as_str()).collect();
    let mut columns = vec![date_series(p, rows.iter().copied())?.into(), Series::new("symbol".into(), symbols).into()];
    for (f, name) in p.names.iter().enumerate() {
        let values: Vec<Option<f64>> = rows.iter().map(|r| Some(f64::from(p.row(*r)[f])).filter(|v| !v.is_nan())).collect();
        columns.push(Series::new(name.as_str().into(), values).into());
    }
    columns.push(Series::new("score".into(), scores).into());
    Ok(DataFrame::new(rows.len(), columns)?)
}

/// `date, symbol, split, path, y, score, weight` of the chosen cell, sorted by date, symbol and split.
fn oof_frame(root: &DataRoot, pinned: &Pinned, p: &Prepared, cv: &CvReport) -> Result<DataFrame> {
    let config = pinned.config.cpcv();
    let groups = cpcv::folds(p.cv_days.len(), config.groups);
    let mut path_of: BTreeMap<(usize, usize), i32> = BTreeMap::new();
    for (path, parts) in cpcv::paths(&config).iter().enumerate() {
        for part in parts {
            path_of.insert(*part, i32::try_from(path).unwrap_or(-1));
        }
    }
    let mut entries: Vec<(u32, usize, i32, f64)> = Vec::new();
    for split in &p.splits {
        let scores = splits::load(root, pinned, p, "", &cv.chosen().cell, split)?
            .ok_or_else(|| Error::new(code::SSD_DAMAGED, text!("the checkpoint of split {} is gone", split.id)).fix("trademl train"))?;
        for (row, score) in scores {
            let at = p.day[row as usize] as usize - p.cv_days.start;
            let group = groups.iter().position(|g| g.contains(&at)).unwrap_or(usize::MAX);
            let path = path_of.get(&(split.id, group)).copied().ok_or_else(|| Error::bug("a tested row belongs to no path"))?;
            entries.push((row, split.id, path, score));
        }
    }
    entries.sort_by_key(|e| (e.0, e.1));
    let rows = || entries.iter().map(|e| e.0 as usize);
    let symbols: Vec<&str> = rows().map(|r| p.panel.symbols[p.symbol[r] as usize].as_str()).collect();
    let y: Vec<Option<f64>> = rows().map(|r| Some(p.labels[r]).filter(|y| y.is_finite())).collect();
    let columns = vec![
        date_series(p, rows())?.into(),
        Series::new("symbol".into(), symbols).into(),
        Series::new("split".into(), entries.iter().map(|e| i32::try_from(e.1).unwrap_or(-1)).collect::<Vec<i32>>()).into(),
        Series::new("path".into(), entries.iter().map(|e| e.2).collect::<Vec<i32>>()).into(),
        Series::new("y".into(), y).into(),
        Series::new("score".into(), entries.iter().map(|e| e.3).collect::<Vec<f64>>()).into(),
        Series::new("weight".into(), rows().map(|r| p.weights[r]).collect::<Vec<f64>>()).into(),
    ];
    Ok(DataFrame::new(entries.len(), columns)?)
}
