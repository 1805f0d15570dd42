//! A finished training run, read back from the artifact that it left.

use crate::models::artifact::{self, Kind, Verified};
use crate::models::registry::{ModelRow, Registry};
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::cv::CvReport;
use crate::pipelines::train::Pinned;
use crate::validation::gate::GateReport;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use data_layer::time::DateRange;
use serde::Deserialize;
use serde_json::Value;

/// What `metrics.json` says of a model's making.
#[derive(Deserialize)]
struct Made {
    window_asked: DateRange,
    window_held: DateRange,
    window: DateRange,
    #[serde(default)]
    cap_note: Option<String>,
    config_sha256: String,
    cpcv: CvReport,
    gate: GateReport,
}

/// A run that can be asked again.
pub(crate) struct Recalled {
    pub pinned: Pinned,
    pub cv: CvReport,
    pub gate: GateReport,
    /// The artifact, every byte of it verified.
    pub verified: Verified,
}

/// A model by its version, or by the run that made it. None: `ML_ARTIFACT`.
pub fn find(registry: &Registry, strategy: &str, id: &str) -> Result<ModelRow> {
    let models = registry.models(strategy)?;
    models.into_iter().rev().find(|m| m.version == id || m.run_id == id).ok_or_else(|| {
        Error::new(code::ML_ARTIFACT, text!("the registry has no model of '{strategy}' with the version or training run {id}")).fix("trademl model list")
    })
}

/// The cross-validation of a run whose model is registered already, from its artifact.
pub fn report(root: &DataRoot, pinned: &Pinned) -> Result<Option<CvReport>> {
    let row = Registry::open(root)?.model(&pinned.strategy, &pinned.version)?;
    row.map(|row| Ok(recall(root, &row)?.cv)).transpose()
}

/// Everything that the run of a trained model rested on.
pub(crate) fn recall(root: &DataRoot, row: &ModelRow) -> Result<Recalled> {
    let verified = artifact::verify(root, row)?;
    if verified.manifest.kind != Kind::Lightgbm {
        return Err(Error::new(code::ML_ARTIFACT, text!("{} is a rule: it was not trained", row.version)).fix("trademl train"));
    }
    let made: Made = verified.json("metrics.json")?;
    let stated: Value = verified.json("metrics.json")?;
    let config: TrainingConfig = verified.json("training_cfg.json")?;
    let holdout = match stated.get("holdout") {
        Some(window) => serde_json::from_value(window.clone())?,
        // Older artifacts do not say: they were made while the family's holdout was sealed, or without one.
        None => Registry::open(root)?.sealed_holdout(&row.family)?.map(|s| s.window),
    };
    let pinned = Pinned {
        strategy: row.strategy.clone(),
        version: row.version.clone(),
        asof: verified.manifest.asof,
        window_asked: made.window_asked,
        window_held: made.window_held,
        window: made.window,
        cap_note: made.cap_note,
        holdout,
        snapshot: row.data_snapshot.clone(),
        dataset: verified.manifest.dataset.clone(),
        seed: config.model.seed,
        code: verified.manifest.code.clone(),
        config,
        config_sha256: made.config_sha256,
        run_id: row.run_id.clone(),
        again: false,
    };
    Ok(Recalled { pinned, cv: made.cpcv, gate: made.gate, verified })
}
