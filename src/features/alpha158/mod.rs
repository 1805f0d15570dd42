//! Alpha158: the 158 daily price and volume features of Microsoft's Qlib (MIT licence), equal to its operators in float64.
//!
//! Nine describe the bar, four its prices relative to the close, and 29 families look back over 5, 10, 20, 30 and 60
//! sessions. Qlib's conventions are kept, the odd ones too: a window emits as soon as it holds one observation; a missing
//! bar is skipped by sums and moments, ends an `IMAX` (the first missing bar wins), and counts as "not up" in `CNTP`; an
//! infinite intermediate is missing; `RSQR`, `CORR` and `CORD` are missing where a side hardly varies.
//!
//! Every value is made of its own window alone, by direct sums from its newest session to its oldest: nothing drifts, and a value is
//! the same bit for bit in any panel that holds the window. One walk back serves all windows, and neighbouring sessions are walked
//! side by side ([`series`]); only quantiles keep a sorted window as they go.

mod bar;
mod extremes;
mod flows;
mod moments;
mod order;
mod pairs;
mod series;

#[cfg(test)]
mod tests;

use self::series::{Derived, LANES};
use crate::features::standardise::standardise;
use crate::features::{Excluded, FeatureBlock, Scaling};
use crate::types::{Matrix, Panel};
use data_layer::error::{Error, Result};
use rayon::prelude::*;

/// Name and version of this feature set, for configurations and artifacts.
pub const FEATURE_SET: &str = "alpha158_v1";
/// Number of features.
pub const COUNT: usize = 158;
/// The windows, in sessions.
pub const WINDOWS: [usize; 5] = [5, 10, 20, 30, 60];
/// No value looks further back than this many sessions.
pub const LOOKBACK_SESSIONS: usize = 60;
/// Keeps divisions by a range or a volume of zero finite, as Qlib does.
const TINY: f64 = 1e-12;
/// Standard deviations up to this count as none in `RSQR`, `CORR` and `CORD`.
const FLAT: f64 = 2e-5;
const VWAP: usize = 12;

/// Features of one bar: name and Qlib expression.
const SINGLE: [(&str, &str); 13] = [
    ("KMID", "($close-$open)/$open"),
    ("KLEN", "($high-$low)/$open"),
    ("KMID2", "($close-$open)/($high-$low+1e-12)"),
    ("KUP", "($high-Greater($open, $close))/$open"),
    ("KUP2", "($high-Greater($open, $close))/($high-$low+1e-12)"),
    ("KLOW", "(Less($open, $close)-$low)/$open"),
    ("KLOW2", "(Less($open, $close)-$low)/($high-$low+1e-12)"),
    ("KSFT", "(2*$close-$high-$low)/$open"),
    ("KSFT2", "(2*$close-$high-$low)/($high-$low+1e-12)"),
    ("OPEN0", "$open/$close"),
    ("HIGH0", "$high/$close"),
    ("LOW0", "$low/$close"),
    ("VWAP0", "$vwap/$close"),
];

/// Families of one feature per window: name and Qlib expression, `%d` standing for the window.
const ROLLING: [(&str, &str); 29] = [
    ("ROC", "Ref($close, %d)/$close"),
    ("MA", "Mean($close, %d)/$close"),
    ("STD", "Std($close, %d)/$close"),
    ("BETA", "Slope($close, %d)/$close"),
    ("RSQR", "Rsquare($close, %d)"),
    ("RESI", "Resi($close, %d)/$close"),
    ("MAX", "Max($high, %d)/$close"),
    ("MIN", "Min($low, %d)/$close"),
    ("QTLU", "Quantile($close, %d, 0.8)/$close"),
    ("QTLD", "Quantile($close, %d, 0.2)/$close"),
    ("RANK", "Rank($close, %d)"),
    ("RSV", "($close-Min($low, %d))/(Max($high, %d)-Min($low, %d)+1e-12)"),
    ("IMAX", "IdxMax($high, %d)/%d"),
    ("IMIN", "IdxMin($low, %d)/%d"),
    ("IMXD", "(IdxMax($high, %d)-IdxMin($low, %d))/%d"),
    ("CORR", "Corr($close, Log($volume+1), %d)"),
    ("CORD", "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), %d)"),
    ("CNTP", "Mean($close>Ref($close, 1), %d)"),
    ("CNTN", "Mean($close<Ref($close, 1), %d)"),
    ("CNTD", "Mean($close>Ref($close, 1), %d)-Mean($close<Ref($close, 1), %d)"),
    ("SUMP", "Sum(Greater($close-Ref($close, 1), 0), %d)/(Sum(Abs($close-Ref($close, 1)), %d)+1e-12)"),
    ("SUMN", "Sum(Greater(Ref($close, 1)-$close, 0), %d)/(Sum(Abs($close-Ref($close, 1)), %d)+1e-12)"),
    ("SUMD", "(Sum(Greater($close-Ref($close, 1), 0), %d)-Sum(Greater(Ref($close, 1)-$close, 0), %d))/(Sum(Abs($close-Ref($close, 1)), %d)+1e-12)"),
    ("VMA", "Mean($volume, %d)/($volume+1e-12)"),
    ("VSTD", "Std($volume, %d)/($volume+1e-12)"),
    ("WVMA", "Std(Abs($close/Ref($close, 1)-1)*$volume, %d)/(Mean(Abs($close/Ref($close, 1)-1)*$volume, %d)+1e-12)"),
    ("VSUMP", "Sum(Greater($volume-Ref($volume, 1), 0), %d)/(Sum(Abs($volume-Ref($volume, 1)), %d)+1e-12)"),
    ("VSUMN", "Sum(Greater(Ref($volume, 1)-$volume, 0), %d)/(Sum(Abs($volume-Ref($volume, 1)), %d)+1e-12)"),
    ("VSUMD", "(Sum(Greater($volume-Ref($volume, 1), 0), %d)-Sum(Greater(Ref($volume, 1)-$volume, 0), %d))/(Sum(Abs($volume-Ref($volume, 1)), %d)+1e-12)"),
];

/// A family of [`ROLLING`]; its five rows follow each other. Some are written together with the one before.
#[allow(dead_code)]
#[derive(Clone, Copy)]
#[repr(usize)]
enum Family {
    Roc,
    Ma,
    Std,
    Beta,
    Rsqr,
    Resi,
    Max,
    Min,
    Qtlu,
    Qtld,
    Rank,
    Rsv,
    Imax,
    Imin,
    Imxd,
    Corr,
    Cord,
    Cntp,
    Cntn,
    Cntd,
    Sump,
    Sumn,
    Sumd,
    Vma,
    Vstd,
    Wvma,
    Vsump,
    Vsumn,
    Vsumd,
}

/// Place of a family's feature for the window with number `q`.
fn place(family: Family, q: usize) -> usize {
    SINGLE.len() + family as usize * WINDOWS.len() + q
}

/// Names and Qlib expressions of all features, in the order of the columns.
pub fn fields() -> Vec<(String, String)> {
    let single = SINGLE.iter().map(|(name, text)| ((*name).to_string(), (*text).to_string()));
    let of = |(name, text): &(&str, &str), w: usize| (format!("{name}{w}"), text.replace("%d", &w.to_string()));
    single.chain(ROLLING.iter().flat_map(|family| WINDOWS.iter().map(move |w| of(family, *w)))).collect()
}

/// The precision in which features are written; kernels always compute in f64.
pub trait Cell: Copy + Send + Sync {
    const MISSING: Self;
    fn of(value: f64) -> Self;
}

impl Cell for f64 {
    const MISSING: Self = f64::NAN;
    fn of(value: f64) -> Self {
        value
    }
}

impl Cell for f32 {
    const MISSING: Self = f32::NAN;
    fn of(value: f64) -> Self {
        value as f32
    }
}

/// One symbol's adjusted bars, one value per session; `NaN` where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Bars<'a> {
    pub open: &'a [f64],
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
    pub volume: &'a [f64],
    pub vwap: &'a [f64],
}

/// All features of one symbol: row `f` of the result holds feature `f`, one value per session. Values are Qlib's own, so a
/// price of zero gives an infinity here; [`build`] turns those into missing values.
pub fn compute<T: Cell>(bars: &Bars<'_>) -> Result<Vec<Vec<T>>> {
    let n = bars.close.len();
    if [bars.open, bars.high, bars.low, bars.volume, bars.vwap].iter().any(|column| column.len() != n) {
        return Err(Error::bug("the columns of a symbol's bars differ in length"));
    }
    // Whole groups of neighbours, cut off at the end.
    let mut rows = vec![vec![T::MISSING; n.next_multiple_of(LANES)]; COUNT];
    bar::single(bars, &mut rows);
    let derived = Derived::of(bars);
    moments::close(bars, &derived.close, &mut rows);
    moments::volume(bars, &derived, &mut rows);
    extremes::family(bars, &mut rows);
    order::family(bars, &derived.close, &mut rows);
    pairs::family(n, &derived, &mut rows);
    flows::family(n, &derived, &mut rows);
    rows.iter_mut().for_each(|row| row.truncate(n));
    Ok(rows)
}

/// What a model sees: members of the universe only, z-scored per date.
pub fn build(panel: &Panel) -> Result<FeatureBlock> {
    let block = build_raw(panel)?;
    let scalings = vec![Scaling::CrossSection; block.names.len()];
    Ok(standardise(panel, block, &scalings))
}

/// Features in their own units. `VWAP0` is left out by name where the panel holds no volume-weighted price.
pub fn build_raw(panel: &Panel) -> Result<FeatureBlock> {
    let with_vwap = panel.vwap.values().iter().any(|v| v.is_finite());
    let kept: Vec<usize> = (0..COUNT).filter(|f| with_vwap || *f != VWAP).collect();
    let mut columns = vec![Matrix::missing(panel.n_symbols(), panel.n_days()); kept.len()];
    // A few symbols at a time: all of them at once would double the memory.
    for first in (0..panel.n_symbols()).step_by(CHUNK) {
        let symbols: Vec<usize> = (first..panel.n_symbols().min(first + CHUNK)).collect();
        let computed: Vec<Vec<Vec<f64>>> = symbols.par_iter().map(|s| compute(&of_symbol(panel, *s))).collect::<Result<_>>()?;
        for (s, rows) in symbols.iter().zip(&computed) {
            for (column, f) in columns.iter_mut().zip(&kept) {
                for (t, (cell, v)) in column.row_mut(*s).iter_mut().zip(&rows[*f]).enumerate() {
                    *cell = if v.is_finite() && panel.close.at(*s, t).is_finite() { *v } else { f64::NAN };
                }
            }
        }
    }
    let all = fields();
    let excluded = if with_vwap {
        Vec::new()
    } else {
        vec![Excluded { name: SINGLE[VWAP].0.into(), reason: "needs a volume-weighted price; no bar on this drive has one".into() }]
    };
    let block = FeatureBlock { names: kept.iter().map(|f| all[*f].0.clone()).collect(), units: vec!["ratio"; kept.len()], columns, excluded };
    block.check_shape(panel)?;
    Ok(block)
}

/// Symbols computed at a time.
const CHUNK: usize = 16;

fn of_symbol(panel: &Panel, s: usize) -> Bars<'_> {
    Bars {
        open: panel.open.row(s),
        high: panel.high.row(s),
        low: panel.low.row(s),
        close: panel.close.row(s),
        volume: panel.volume.row(s),
        vwap: panel.vwap.row(s),
    }
}
