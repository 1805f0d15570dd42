//! A model's folder, `models/<strategy>/<version>/`: written once, `manifest.json` last, verified at every load.
//!
//! The manifest holds the SHA-256 of every other file; the registry holds the SHA-256 of the manifest. A changed byte
//! anywhere refuses the model, and so do golden rows whose stored predictions are not reproduced.

use crate::models::baseline::Momentum;
use crate::models::gbdt::trees::Forest;
use crate::models::registry::ModelRow;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Kinds of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Lightgbm,
    Momentum,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub v: u32,
    pub strategy: String,
    pub version: String,
    pub kind: Kind,
    /// `real`, or the world whose data trained it: such a model refuses every other root.
    pub dataset: String,
    pub data_snapshot: String,
    pub asof: TradingDay,
    pub code: String,
    /// SHA-256 by file name.
    pub files: BTreeMap<String, String>,
}

/// One feature of a model, in the order of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureColumn {
    pub name: String,
    pub dtype: String,
    pub unit: String,
}

/// A feature that the model does without, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExcludedFeature {
    pub name: String,
    pub reason: String,
}

/// `feature_list.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureList {
    pub feature_set: String,
    pub columns: Vec<FeatureColumn>,
    pub excluded: Vec<ExcludedFeature>,
}

impl FeatureList {
    /// The list of a block of float32 features.
    pub fn new(feature_set: &str, names: &[String], units: &[String], excluded: Vec<ExcludedFeature>) -> Self {
        let column = |(name, unit): (&String, &String)| FeatureColumn { name: name.clone(), dtype: "float32".into(), unit: unit.clone() };
        Self { feature_set: feature_set.into(), columns: names.iter().zip(units).map(column).collect(), excluded }
    }
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|c| c.name.clone()).collect()
    }
}

/// How a model scores.
#[derive(Clone, Debug, PartialEq)]
pub enum Scorer {
    Trees(Forest),
    Momentum(Momentum),
}

/// A verified model, ready to score.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub manifest: Manifest,
    /// SHA-256 of the manifest: the model's identity in signals and reports.
    pub sha256: String,
    pub path: DataPath,
    pub features: FeatureList,
    /// `training_cfg.json`.
    pub config: Value,
    /// `metrics.json`.
    pub metrics: Value,
    pub scorer: Scorer,
}

/// The folder of a model.
pub fn folder(strategy: &str, version: &str) -> Result<DataPath> {
    DataPath::new(format!("models/{strategy}/{version}"))
}

/// Write the files, then the manifest. Returns the manifest's SHA-256. Writing the same model again changes nothing.
pub fn write(root: &DataRoot, mut manifest: Manifest, files: &BTreeMap<String, Vec<u8>>) -> Result<String> {
    let folder = folder(&manifest.strategy, &manifest.version)?;
    manifest.files.clear();
    for (name, bytes) in files {
        let info = store::write_atomic(root, &folder.join(name)?, bytes)?;
        manifest.files.insert(name.clone(), info.sha256);
    }
    let bytes = store::canonical_json(&manifest)?.into_bytes();
    Ok(store::write_atomic(root, &folder.join("manifest.json")?, &bytes)?.sha256)
}

fn refused(what: String) -> Error {
    Error::new(code::ML_ARTIFACT, what).fix("trademl fsck").fix("trademl train")
}

/// A model's files, each checked against the manifest, the manifest against `sha256`.
pub struct Verified {
    pub manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

impl Verified {
    pub fn file(&self, name: &str) -> Result<&[u8]> {
        self.files.get(name).map(Vec::as_slice).ok_or_else(|| refused(text!("the model has no {name}")))
    }
    pub fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(self.file(name)?).map_err(|e| refused(text!("the model's {name} is not what it should be")).cause(e.to_string()))
    }
    pub fn parquet(&self, name: &str) -> Result<DataFrame> {
        store::parquet_frame(self.file(name)?.to_vec())
    }
    pub fn text(&self, name: &str) -> Result<&str> {
        std::str::from_utf8(self.file(name)?).map_err(|_| refused(text!("the model's {name} is not text")))
    }
}

/// Read and verify a registered model's files. A model of another world is refused.
pub fn verify(root: &DataRoot, row: &ModelRow) -> Result<Verified> {
    let path = row.path.join("manifest.json")?;
    let bytes = store::read(root, &path)?.ok_or_else(|| refused(text!("{path} is not on the drive")))?;
    let found = store::sha256_hex(&bytes);
    if found != row.sha256 {
        return Err(refused(text!("{path} does not match the registry")).found(text!("SHA-256 {found}, registered {}", row.sha256)));
    }
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| refused(text!("{path} cannot be read")).cause(e.to_string()))?;
    if manifest.strategy != row.strategy || manifest.version != row.version {
        return Err(refused(text!("{path} belongs to {} {}", manifest.strategy, manifest.version)));
    }
    root.require_dataset(&manifest.dataset).map_err(|e| e.during("loading a model"))?;
    let mut files = BTreeMap::new();
    for (name, sha256) in &manifest.files {
        let path = row.path.join(name)?;
        let bytes = store::read(root, &path)?.ok_or_else(|| refused(text!("{path} is not on the drive")))?;
        if store::sha256_hex(&bytes) != *sha256 {
            return Err(refused(text!("{path} does not match the model's manifest")));
        }
        files.insert(name.clone(), bytes);
    }
    Ok(Verified { manifest, files })
}

/// Load a registered model: verified, parsed, its golden rows reproduced.
pub fn load(root: &DataRoot, row: &ModelRow) -> Result<Model> {
    let verified = verify(root, row)?;
    let features: FeatureList = verified.json("feature_list.json")?;
    let scorer = match verified.manifest.kind {
        Kind::Lightgbm => {
            let forest = Forest::parse(verified.text("model.txt")?)?;
            if forest.features() != features.names() {
                return Err(refused("model.txt and feature_list.json name different features".into()));
            }
            check_golden(&forest, &features, &verified.parquet("golden_rows.parquet")?)?;
            Scorer::Trees(forest)
        }
        Kind::Momentum => Scorer::Momentum(verified.json("training_cfg.json")?),
    };
    Ok(Model {
        sha256: row.sha256.clone(),
        path: row.path.clone(),
        features,
        config: verified.json("training_cfg.json")?,
        metrics: verified.json("metrics.json")?,
        scorer,
        manifest: verified.manifest,
    })
}

/// Every golden row must give its stored score bit for bit.
fn check_golden(forest: &Forest, features: &FeatureList, golden: &DataFrame) -> Result<()> {
    let column = |name: &str| -> Result<Vec<f64>> {
        let values = golden.column(name)?.f64()?;
        Ok(values.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
    };
    let columns = features.columns.iter().map(|c| column(&c.name)).collect::<Result<Vec<_>>>()?;
    for (i, want) in column("score")?.into_iter().enumerate() {
        let row: Vec<f32> = columns.iter().map(|c| c[i] as f32).collect();
        let got = forest.predict(&row);
        if got != want {
            return Err(refused("the model does not reproduce its golden rows".into()).found(text!("row {i}: {got} in place of {want}")));
        }
    }
    Ok(())
}
