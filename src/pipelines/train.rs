//! Training as a set of steps that the wizard calls one by one: pin, gate, prepare, leak check, cross-validate, fit,
//! register. What a step returns is small and serialisable, except [`Prepared`], which is made again on every resume.

pub use crate::pipelines::cv::{CellReport, CvReport, cross_validate};
pub use crate::pipelines::fit::{Fit, fit_final, register_challenger};
pub use crate::pipelines::prepare::{Prepared, prepare};

use crate::features;
use crate::models::baseline::CODE;
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::{holdout, route};
use crate::validation::gate::{self, CoverageSource, GateReport};
use crate::validation::leak::{self, LeakReport};
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::{DateRange, TradingDay};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Everything that must not move while a run lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    pub strategy: String,
    /// `<as-of day>-<8 hex>`: a function of configuration, snapshot, code and seed, so a resumed run makes the same one.
    pub version: String,
    /// The last session whose data may be used.
    pub asof: TradingDay,
    pub window_asked: DateRange,
    /// What the drive holds.
    pub window_held: DateRange,
    /// What is trained on: the common part.
    pub window: DateRange,
    /// Set when the drive holds less than was asked for.
    pub cap_note: Option<String>,
    /// The family's sealed holdout while nobody has opened it.
    #[serde(default)]
    pub holdout: Option<DateRange>,
    pub snapshot: String,
    pub dataset: String,
    pub seed: u64,
    pub code: String,
    pub config: TrainingConfig,
    pub config_sha256: String,
    /// For the registry's columns only; never enters the version, an artifact or a model.
    pub run_id: String,
    /// A rerun keeps its checkpoints apart from those of the run that it repeats.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl Pinned {
    /// Where checkpoints are kept until the model is registered, and the daily returns of each configuration for as long as models are judged.
    pub fn work(&self) -> Result<DataPath> {
        let again = if self.again { "again-" } else { "" };
        DataPath::new(format!("models/_work/{again}{}-{}", self.strategy, self.version))
    }
}

/// The windows of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    pub asked: DateRange,
    pub used: DateRange,
    pub cap_note: Option<String>,
}

/// The window to snapshot and train on, given what the drive holds.
pub fn windows(config: &TrainingConfig, asof: TradingDay, held: DateRange) -> Result<Windows> {
    let end = asof.plus_days(1);
    let asked = DateRange::new(end.minus_years(config.window.years), end)?;
    let nothing = || Error::new(code::DATA_MISSING, text!("the drive holds nothing of {asked}")).found(text!("held: {held}")).fix("trademl pi-data-node");
    let used = asked.intersect(&held).ok_or_else(nothing)?;
    if used.start <= asked.start.plus_days(7) {
        return Ok(Windows { asked, used, cap_note: None });
    }
    let years = f64::from(used.end.0 - used.start.0) / 365.25;
    let note = text!("{} years were asked for; the drive holds {years:.1} of them, {used}", config.window.years);
    if !config.window.cap_to_held {
        return Err(Error::new(code::GATE_GREEN, "the drive holds less history than the configuration asks for")
            .found(note)
            .fix("set window.cap_to_held: true in the training configuration, or backfill more history: trademl pi-data-node"));
    }
    Ok(Windows { asked, used, cap_note: Some(note) })
}

/// Fix what the run rests on. `held` is what the drive holds of the prices, `snapshot` the pinned data snapshot.
pub fn pin(root: &DataRoot, config: &TrainingConfig, asof: TradingDay, held: DateRange, snapshot: &str, run_id: &str) -> Result<Pinned> {
    config.validate()?;
    let w = windows(config, asof, held)?;
    let config = &TrainingConfig { routing: route::configured(root)?.of_sleeve(&config.family), ..config.clone() };
    let config_sha256 = store::digest_of(config)?;
    let holdout = holdout::seal(root, config, w.used, asof, run_id)?;
    let seed = config.model.seed;
    let digest = store::digest_of(&json!({"config": serde_json::to_value(config)?, "data_snapshot": snapshot, "code": CODE, "seed": seed}))?;
    Ok(Pinned {
        strategy: config.family.clone(),
        version: format!("{asof}-{}", &digest[..8]),
        asof,
        window_asked: w.asked,
        window_held: held,
        window: w.used,
        cap_note: w.cap_note,
        holdout,
        snapshot: snapshot.into(),
        dataset: root.drive().dataset.clone(),
        seed,
        code: CODE.into(),
        config: config.clone(),
        config_sha256,
        run_id: run_id.into(),
        again: false,
    })
}

/// Judge the GREEN gate over the pinned window. Call [`GateReport::require`] to refuse.
pub fn gate(pinned: &Pinned, source: &dyn CoverageSource) -> Result<GateReport> {
    gate::judge(&pinned.config.dependencies, pinned.window, pinned.config.no_lane, source)
}

/// Run the leak detector on exactly what the model will see. Call [`require_no_leak`] to refuse.
pub fn leak_check(pinned: &Pinned, prepared: &Prepared) -> Result<LeakReport> {
    let label = &pinned.config.label;
    let build = |panel: &crate::types::Panel| features::build(&pinned.config.features.set, panel);
    leak::inspect(&prepared.panel, &build, &prepared.label_matrix, label.span(), &prepared.splits, pinned.config.cpcv.embargo_sessions)
}

/// Refuse when the leak detector found look-ahead.
pub fn require_no_leak(report: &LeakReport) -> Result<()> {
    report.require()
}
