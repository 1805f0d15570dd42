//! A market made ready for a search: features, labels, who may trade when, and which days a search may see.

use crate::features::{STANDARD_UNIT, equities_xs, standardise};
use crate::labels::horizon;
use crate::pipelines::world_panel;
use crate::types::{Matrix, Panel};
use crate::validation::cpcv::{self, CpcvConfig, PurgeScope, Split};
use data_layer::error::{Error, Result, code};
use data_layer::sandbox::synth;
use std::ops::Range;

/// Sessions that a label earns over, as in the built-in training configuration; its trade begins a session after the signal.
pub const HORIZON: usize = 5;
/// The label of a day ends this many sessions after it.
pub const SPAN: usize = horizon::span(HORIZON, horizon::ENTRY_LAG);
/// Contiguous groups of days; each is scored by a model of the others.
pub const FOLDS: usize = 5;
/// Sessions after a test group that are not learnt from either.
const EMBARGO_SESSIONS: usize = 10;
/// Share of the days, at the end, that no search sees.
const LATER_SHARE: f64 = 0.25;

/// What a model is fitted to, per date: the return over its market, its z-score, or its rank.
pub const TARGETS: [&str; 3] = ["return", "z_score", "rank"];

/// One synthetic market.
pub struct Market {
    pub panel: Panel,
    /// Names of the features, in the order of a row.
    pub names: Vec<String>,
    /// Standardised features, `rows[day][symbol * names + feature]`; missing ones are 0, the mean of their day.
    pub rows: Vec<Vec<f32>>,
    /// `usable[day][symbol]`: a member with every feature that a model needs and a price to trade at.
    pub usable: Vec<Vec<bool>>,
    /// Forward returns, `symbols x days`.
    pub labels: Matrix,
    /// [`TARGETS`] of the labels.
    pub targets: Vec<Matrix>,
    /// Days that a search decides and earns on.
    pub searched: Range<usize>,
    /// Days that no search sees.
    pub later: Range<usize>,
    /// Folds over [`Self::searched`], as days of the panel.
    pub folds: Vec<Split>,
}

impl Market {
    /// The sandbox's world of that name (`null`, `planted`), cut to its first `sessions`.
    pub fn of_world(world: &str, seed: u64, sessions: usize) -> Result<Self> {
        let panel = world_panel::of_world(&synth::world(world, seed)?)?;
        let last = sessions.min(panel.n_days()).saturating_sub(1);
        Self::of_panel(panel.truncated(last))
    }

    fn of_panel(panel: Panel) -> Result<Self> {
        let first = equities_xs::warm_up_sessions();
        let n = panel.n_days();
        if n < first + 200 {
            return Err(Error::new(code::CFG_VALUE, "a study needs 200 sessions after its warm-up").found(text!("{n} sessions, {first} to warm up")));
        }
        let split = n - ((n - first) as f64 * LATER_SHARE) as usize;
        let block = equities_xs::build(&panel)?;
        let varying: Vec<usize> = (0..block.names.len()).filter(|f| block.units[*f] == STANDARD_UNIT).collect();
        let required = |name: &str| block.names.iter().position(|n| n == name).ok_or_else(|| Error::bug(text!("no feature {name}")));
        let required = [required("mom_20")?, required("rv_20")?, required("adv_20")?];
        let (mut rows, mut usable) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for t in 0..n {
            let complete = |s: usize| required.iter().all(|f| block.columns[*f].at(s, t).is_finite()) && panel.close.at(s, t) > 0.0;
            usable.push((0..panel.n_symbols()).map(|s| panel.member.at(s, t) > 0.0 && complete(s)).collect());
            let cell = |s: usize, f: &usize| Some(block.columns[*f].at(s, t) as f32).filter(|v| v.is_finite()).unwrap_or(0.0);
            rows.push((0..panel.n_symbols()).flat_map(|s| varying.iter().map(move |f| (s, f))).map(|(s, f)| cell(s, f)).collect());
        }
        let labels = horizon::forward(&panel, HORIZON, horizon::ENTRY_LAG, true)?;
        let targets = vec![horizon::demean(&labels), by_date(&labels, standardise::zscore), by_date(&labels, standardise::rank_centred)];
        let cfg = CpcvConfig { groups: FOLDS, test_groups: 1, embargo_sessions: EMBARGO_SESSIONS, scope: PurgeScope::Date };
        let mut folds = cpcv::splits(split - first, SPAN, &cfg)?;
        for fold in &mut folds {
            fold.train_days.iter_mut().chain(&mut fold.test_days).for_each(|d| *d += first);
            // A label that ends after the searched days would look at the later ones.
            fold.train_days.retain(|d| d + SPAN < split);
        }
        let names = varying.iter().map(|f| block.names[*f].clone()).collect();
        Ok(Self { names, rows, usable, labels, targets, searched: first..split, later: split..n, folds, panel })
    }

    /// Days of a range whose labels end inside it.
    pub fn labelled(&self, days: &Range<usize>) -> Range<usize> {
        days.start..days.end.saturating_sub(SPAN).max(days.start)
    }

    /// The features of one name on one day.
    pub fn row(&self, day: usize, symbol: usize) -> &[f32] {
        let k = self.names.len();
        &self.rows[day][symbol * k..(symbol + 1) * k]
    }
}

/// Each date's values through `scale`.
fn by_date(values: &Matrix, scale: fn(&[f64]) -> Vec<f64>) -> Matrix {
    let mut out = Matrix::missing(values.rows(), values.cols());
    for t in 0..values.cols() {
        for (s, v) in scale(&values.column(t)).into_iter().enumerate() {
            out.set(s, t, v);
        }
    }
    out
}
