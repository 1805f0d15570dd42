//! `equities_xs` v1: daily cross-sectional features of US equities.
//!
//! Windows count exchange sessions. A symbol without a close on a day has no features that day. Returns come from adjusted
//! prices only; levels in dollars from unadjusted prices only.

pub mod calendar;
pub mod context;
pub mod gap;
pub mod liquidity;
pub mod momentum;
pub mod volatility;

#[cfg(test)]
mod tests;

use crate::features::standardise::standardise;
use crate::features::{FeatureBlock, FeatureSpec, Scaling};
use crate::types::{Matrix, Panel, PointInTime};
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::time::TradingDay;
use rayon::prelude::*;

/// Name and version of this feature set, for configurations and artifacts.
pub const FEATURE_SET: &str = "equities_xs_v1";

const SESSIONS_PER_YEAR: f64 = 252.0;

/// One symbol's history with every impossible number turned into a missing one. Each slice has one value per session.
struct History<'a> {
    open: Vec<f64>,
    close: Vec<f64>,
    close_raw: Vec<f64>,
    /// Shares as traded.
    volume: Vec<f64>,
    symbol: &'a str,
}

impl<'a> History<'a> {
    fn of(panel: &'a Panel, s: usize) -> Self {
        let price = |m: &Matrix| m.row(s).iter().map(|&p| if p.is_finite() && p > 0.0 { p } else { f64::NAN }).collect();
        let volume = panel.volume_raw.row(s).iter().map(|&v| if v.is_finite() && v >= 0.0 { v } else { f64::NAN }).collect();
        Self { open: price(&panel.open), close: price(&panel.close), close_raw: price(&panel.close_raw), volume, symbol: &panel.symbols[s] }
    }
}

/// The rows of a block that belong to one symbol, handed out in the order of the columns. Each family fills its own, in the order of its
/// specs.
struct Places<'r, 'p>(std::slice::IterMut<'p, &'r mut [f64]>);

impl Places<'_, '_> {
    /// The next row, one value per session, with nothing in it yet. A row that no column asked for is empty.
    fn row(&mut self) -> &mut [f64] {
        let row = self.0.next();
        debug_assert!(row.is_some(), "a feature without a column");
        row.map_or(&mut [], |row| &mut **row)
    }
}

/// What every symbol needs to know of the panel's days.
struct Dates<'a> {
    days: &'a [TradingDay],
    /// Their numbers in the exchange's calendar.
    sessions: Vec<Option<usize>>,
    /// The features of the calendar, one value per day.
    rows: Vec<Vec<f64>>,
}

impl<'a> Dates<'a> {
    fn of(days: &'a [TradingDay]) -> Self {
        let calendar = Calendar::xnys();
        Self { days, sessions: days.iter().map(|d| calendar.index(*d)).collect(), rows: calendar::rows(days) }
    }
}

const fn spec(name: &'static str, family: &'static str, unit: &'static str, lookback_sessions: usize, scaling: Scaling) -> FeatureSpec {
    FeatureSpec { name, family, unit, lookback_sessions, scaling }
}

/// The features computed from prices and volumes alone, in the order of the columns.
pub fn registry() -> Vec<FeatureSpec> {
    registry_with(&PointInTime::default())
}

/// The features that can be computed with these sources, in the order of the columns.
pub fn registry_with(sources: &PointInTime) -> Vec<FeatureSpec> {
    let priced = [momentum::SPECS, gap::SPECS, volatility::SPECS, liquidity::SPECS, calendar::SPECS];
    priced.into_iter().flatten().copied().chain(context::specs(sources)).collect()
}

/// The longest lookback: no earlier session can have every feature.
pub fn warm_up_sessions() -> usize {
    registry().iter().map(|s| s.lookback_sessions).max().unwrap_or(0)
}

/// What the model sees: members of the universe only, z-scored per date (calendar features as they are).
pub fn build(panel: &Panel) -> Result<FeatureBlock> {
    let scalings: Vec<_> = registry_with(&panel.known).iter().map(|s| s.scaling).collect();
    Ok(standardise(panel, build_raw(panel)?, &scalings))
}

/// Features in their own units, for every symbol of the panel whether a member or not.
pub fn build_raw(panel: &Panel) -> Result<FeatureBlock> {
    let sources = &panel.known;
    let specs = registry_with(sources);
    let dates = Dates::of(&panel.days);
    // Every cell is written below: memory that is still untouched costs nothing until then.
    let untouched = || Matrix::from_vec(panel.n_symbols(), panel.n_days(), vec![0.0; panel.n_symbols() * panel.n_days()]);
    let mut columns = (0..specs.len()).map(|_| untouched()).collect::<Result<Vec<_>>>()?;
    let mut places: Vec<Vec<&mut [f64]>> = (0..panel.n_symbols()).map(|_| Vec::with_capacity(specs.len())).collect();
    for column in &mut columns {
        places.iter_mut().zip(column.rows_mut()).for_each(|(of_symbol, row)| of_symbol.push(row));
    }
    places.par_iter_mut().enumerate().for_each(|(s, places)| fill(&History::of(panel, s), &dates, sources, places));
    let names = specs.iter().map(|f| f.name.to_owned()).collect();
    let units = specs.iter().map(|f| f.unit).collect();
    let block = FeatureBlock { names, units, columns, excluded: context::excluded(sources) };
    block.check_shape(panel)?;
    Ok(block)
}

/// All features of one symbol, each into its row of sessions.
fn fill(h: &History<'_>, dates: &Dates<'_>, sources: &PointInTime, places: &mut [&mut [f64]]) {
    let mut out = Places(places.iter_mut());
    momentum::rows(h, &mut out);
    gap::rows(h, &mut out);
    volatility::rows(h, &mut out);
    liquidity::rows(h, &mut out);
    dates.rows.iter().for_each(|row| out.row().copy_from_slice(row));
    context::rows(sources, dates, h, &mut out);
    debug_assert_eq!(out.0.len(), 0, "a column without a feature");
    for t in (0..h.close.len()).filter(|&t| h.close[t].is_nan()) {
        places.iter_mut().for_each(|row| row[t] = f64::NAN);
    }
}
