//! From a pinned snapshot to rows: features of every member on every day, labels, weights, splits.

use crate::features;
use crate::labels::{self, horizon::Delisting};
use crate::models::artifact::ExcludedFeature;
use crate::pipelines::route::Admitted;
use crate::pipelines::train::Pinned;
use crate::pipelines::{config, panel};
use crate::types::{Matrix, Panel};
use crate::validation::cpcv::{self, Split};
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use data_layer::store;
use std::collections::BTreeMap;
use std::ops::Range;

/// The training table in memory. A row is a (day, symbol) pair; rows are sorted by day, then symbol.
pub struct Prepared {
    pub panel: Panel,
    pub notes: Vec<String>,
    /// Names of the features, in the order of a row.
    pub names: Vec<String>,
    pub units: Vec<String>,
    pub excluded: Vec<ExcludedFeature>,
    /// Day index into the panel, per row.
    pub day: Vec<u32>,
    /// Symbol index into the panel, per row.
    pub symbol: Vec<u32>,
    /// Row-major float32, standardised within each day; `NaN` = missing.
    pub features: Vec<f32>,
    /// `NaN` where the label's end lies after the panel's.
    pub labels: Vec<f64>,
    pub weights: Vec<f64>,
    /// Labels, `symbols x days`.
    pub label_matrix: Matrix,
    /// What of a signal may be traded.
    pub admitted: Admitted,
    /// Day indexes into the panel that have rows: first to last.
    pub days: Range<usize>,
    /// Days that the search may see: [`Self::days`] without those whose label would reach into the sealed holdout.
    pub cv_days: Range<usize>,
    /// Splits whose day indexes are those of the panel.
    pub splits: Vec<Split>,
    /// SHA-256 of rows, features, labels and weights: a checkpoint made from other inputs is not used.
    pub inputs_sha256: String,
}

impl Prepared {
    pub fn n_rows(&self) -> usize {
        self.day.len()
    }
    /// The features of one row.
    pub fn row(&self, r: usize) -> &[f32] {
        let k = self.names.len();
        &self.features[r * k..(r + 1) * k]
    }
    /// Rows of a day, as a range of row numbers.
    pub fn rows_of(&self, day: usize) -> Range<usize> {
        let day = u32::try_from(day).unwrap_or(u32::MAX);
        self.day.partition_point(|d| *d < day)..self.day.partition_point(|d| *d <= day)
    }
}

/// Features standardised within a day, with the cells that a model may see.
pub struct Block {
    pub names: Vec<String>,
    pub units: Vec<String>,
    pub excluded: Vec<ExcludedFeature>,
    pub columns: Vec<Matrix>,
    /// Indexes of the features without which a row is not used.
    pub required: Vec<usize>,
}

/// Build the features of a set and check that the required ones are there.
pub fn block(panel: &Panel, wanted: &config::Features) -> Result<Block> {
    let built = features::build(&wanted.set, panel)?;
    let excluded: Vec<ExcludedFeature> = built.excluded.iter().map(|e| ExcludedFeature { name: e.name.clone(), reason: e.reason.clone() }).collect();
    let place = |name: &String| -> Result<usize> {
        built.names.iter().position(|n| n == name).ok_or_else(|| {
            let why = excluded.iter().find(|e| e.name == *name).map_or("the feature set has no such feature".to_string(), |e| e.reason.clone());
            Error::new(code::DATA_MISSING, text!("the required feature '{name}' cannot be made on this drive"))
                .cause(why)
                .fix("take it out of features.required, or backfill the table it needs: trademl pi-data-node")
        })
    };
    let required = wanted.required.iter().map(place).collect::<Result<Vec<_>>>()?;
    let units = built.units.iter().map(|u| (*u).to_string()).collect();
    Ok(Block { names: built.names, units, excluded, columns: built.columns, required })
}

impl Block {
    /// Only these features; those that the block lacks stay away.
    pub fn keep(&mut self, names: &[String]) {
        let kept: Vec<usize> = (0..self.names.len()).filter(|&f| names.contains(&self.names[f])).collect();
        let place = |f: &usize| kept.iter().position(|k| k == f);
        self.required = self.required.iter().filter_map(place).collect();
        let mut at = 0..;
        let mut stays = || at.next().is_some_and(|f| kept.contains(&f));
        self.columns.retain(|_| stays());
        self.units = kept.iter().map(|&f| self.units[f].clone()).collect();
        self.names = kept.iter().map(|&f| self.names[f].clone()).collect();
    }
    /// The float32 row of one member on one day, or none when it is no member or lacks a required feature.
    pub fn row(&self, panel: &Panel, symbol: usize, day: usize, out: &mut Vec<f32>) -> bool {
        if panel.member.at(symbol, day) != 1.0 || self.required.iter().any(|f| !self.columns[*f].at(symbol, day).is_finite()) {
            return false;
        }
        out.extend(self.columns.iter().map(|c| {
            let v = c.at(symbol, day);
            if v.is_finite() { v as f32 } else { f32::NAN }
        }));
        true
    }
}

/// Load the snapshot, build features, labels, weights and splits.
pub fn prepare(root: &DataRoot, pinned: &Pinned) -> Result<Prepared> {
    let loaded = panel::load_files(root, &panel::files(root, &pinned.snapshot)?, pinned.window)?;
    from_panel(loaded.panel, loaded.notes, pinned)
}

/// [`prepare`] from a panel in memory.
pub fn from_panel(mut panel: Panel, mut notes: Vec<String>, pinned: &Pinned) -> Result<Prepared> {
    let cfg = &pinned.config;
    if let Some(universe) = &cfg.universe {
        universe.restrict(&mut panel);
    }
    if cfg.features.set == features::equities_xs::FEATURE_SET {
        features::equities_xs::context::settle(&mut panel);
        notes.extend(panel.known.left_out.values().map(|why| text!("left out: {why}")));
    }
    let block = block(&panel, &cfg.features)?;
    let none = BTreeMap::new();
    let delisting = if cfg.label.delist_aware { Delisting::Aware(&none) } else { Delisting::Strict };
    let labels::horizon::Labels { values: label_matrix, ends } = labels::horizon::forward_with(&panel, cfg.label.horizon, cfg.label.entry_lag, delisting)?;
    let unique = cfg.weights.uniqueness.then(|| labels::weights::uniqueness(&ends, cfg.label.entry_lag));
    let decay = labels::weights::time_decay(&panel.days, pinned.asof, cfg.weights.half_life_months);
    let mut p = Prepared {
        names: block.names.clone(),
        units: block.units.clone(),
        excluded: block.excluded.clone(),
        notes,
        day: Vec::new(),
        symbol: Vec::new(),
        features: Vec::new(),
        labels: Vec::new(),
        weights: Vec::new(),
        days: 0..0,
        cv_days: 0..0,
        splits: Vec::new(),
        inputs_sha256: String::new(),
        label_matrix,
        admitted: Admitted::of(cfg.routing.as_ref(), &pinned.strategy, &panel),
        panel,
    };
    for day in 0..p.panel.n_days() {
        for symbol in 0..p.panel.n_symbols() {
            if block.row(&p.panel, symbol, day, &mut p.features) {
                p.day.push(u32::try_from(day).unwrap_or(u32::MAX));
                p.symbol.push(u32::try_from(symbol).unwrap_or(u32::MAX));
                p.labels.push(p.label_matrix.at(symbol, day));
                // Times the horizon: the ordinary label of a name that is labelled every day keeps its weight.
                let unique = unique.as_ref().map_or(1.0, |u| u[symbol][day] * cfg.label.horizon as f64);
                p.weights.push(decay[day] * unique);
            }
        }
    }
    let (Some(first), Some(last)) = (p.day.first(), p.day.last()) else {
        return Err(Error::new(code::DATA_MISSING, "no symbol has a complete row on any day of the window")
            .found(text!("{} symbols, {} sessions", p.panel.n_symbols(), p.panel.n_days()))
            .fix("trademl pi-data-node"));
    };
    p.days = *first as usize..*last as usize + 1;
    p.cv_days = p.days.start..searchable_end(&p, pinned);
    p.splits = splits(&p, pinned)?;
    p.inputs_sha256 = digest(&p);
    Ok(p)
}

/// The first day whose label would use a price of the sealed holdout, or the end of the days.
fn searchable_end(p: &Prepared, pinned: &Pinned) -> usize {
    let Some(window) = &pinned.holdout else { return p.days.end };
    let sealed = p.panel.days.partition_point(|d| *d < window.start);
    sealed.saturating_sub(pinned.config.label.span()).clamp(p.days.start, p.days.end)
}

fn digest(p: &Prepared) -> String {
    let mut bytes = Vec::with_capacity(4 * p.features.len() + 24 * p.n_rows());
    p.features.iter().for_each(|v| bytes.extend_from_slice(&v.to_bits().to_le_bytes()));
    p.day.iter().chain(&p.symbol).for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    p.labels.iter().chain(&p.weights).for_each(|v| bytes.extend_from_slice(&v.to_bits().to_le_bytes()));
    store::sha256_hex(&bytes)
}

fn splits(p: &Prepared, pinned: &Pinned) -> Result<Vec<Split>> {
    let cfg = &pinned.config;
    let needed = cfg.cpcv.groups * (cfg.label.span() + 1);
    if p.cv_days.len() < needed {
        return Err(Error::new(code::DATA_MISSING, "the window is too short to cross-validate")
            .found(text!("{} sessions with rows; {} groups of more than {} need {needed}", p.cv_days.len(), cfg.cpcv.groups, cfg.label.span()))
            .fix("trademl pi-data-node"));
    }
    let mut splits = cpcv::splits(p.cv_days.len(), cfg.label.span(), &cfg.cpcv())?;
    for split in &mut splits {
        split.train_days.iter_mut().chain(&mut split.test_days).for_each(|d| *d += p.cv_days.start);
    }
    Ok(splits)
}

/// One value per row as a `symbols x days` matrix.
pub(crate) fn to_matrix(p: &Prepared, values: &[f64]) -> Matrix {
    let mut out = Matrix::missing(p.panel.n_symbols(), p.panel.n_days());
    for (r, v) in values.iter().enumerate() {
        out.set(p.symbol[r] as usize, p.day[r] as usize, *v);
    }
    out
}
