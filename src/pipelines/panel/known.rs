//! What was public about the companies of a panel: counts of shares by filing, earnings dates by announcement.
//!
//! The tables are those of the pinned snapshot. A row of the panel is one listing of a ticker; it is told only what belongs to the
//! company that held the ticker on that day.

use super::{EARLIER, Files};
use crate::types::{Announcement, Panel, PointInTime};
use data_layer::error::Result;
use data_layer::reference;
use data_layer::root::DataRoot;
use data_layer::schema::table;
use data_layer::store;
use data_layer::time::TradingDay;
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// What the snapshot's reference tables tell of the panel's names; nothing where it has no such tables.
pub(super) fn load(root: &DataRoot, files: &Files, panel: &Panel) -> Result<PointInTime> {
    let read = |name: &str| -> Result<Option<DataFrame>> {
        let file = files.iter().find(|(path, _)| path.as_str() == format!("{name}.parquet"));
        file.map(|(path, sha256)| store::read_parquet_verified(root, path, sha256)).transpose()
    };
    let mut out = PointInTime::default();
    if let (Some(companies), Some(counts)) = (read(table::REF_COMPANIES)?, read(table::REF_SHARES)?) {
        let (tenures, counts) = (reference::tenures_of(&companies)?, reference::shares_of(&counts)?);
        let actions = read(table::REF_CORP_ACTIONS)?.map_or_else(|| Ok(BTreeMap::new()), |rows| reference::actions_of(&rows))?;
        let splits = reference::splits_by_company(&tenures, &actions);
        for (s, name) in panel.symbols.iter().enumerate() {
            let Some(life) = life(panel, s) else { continue };
            let steps = reference::shares_of_symbol(ticker(name), life, &tenures, &counts, &splits);
            if !steps.is_empty() {
                out.shares.insert(name.clone(), steps);
            }
        }
    }
    if let Some(rows) = read(table::REF_EARNINGS)? {
        let mut by_ticker: BTreeMap<String, Vec<Announcement>> = BTreeMap::new();
        for e in reference::earnings_of(&rows)? {
            let told = Announcement { announced: e.announced, date: e.report_date, withdrawn: e.withdrawn };
            by_ticker.entry(e.symbol).or_default().push(told);
        }
        for (s, name) in panel.symbols.iter().enumerate() {
            let (Some((from, to)), Some(all)) = (life(panel, s), by_ticker.get(ticker(name))) else { continue };
            let of_row: Vec<Announcement> = all.iter().copied().filter(|a| from <= a.date && to.is_none_or(|to| a.announced < to)).collect();
            if !of_row.is_empty() {
                out.earnings.insert(name.clone(), of_row);
            }
        }
    }
    Ok(out)
}

fn ticker(name: &str) -> &str {
    name.split(EARLIER).next().unwrap_or(name)
}

/// The days of a row, `[first bar, first day after the last bar)`, open where bars reach the panel's end.
fn life(panel: &Panel, s: usize) -> Option<(TradingDay, Option<TradingDay>)> {
    let close = panel.close.row(s);
    let (first, last) = (close.iter().position(|c| c.is_finite())?, close.iter().rposition(|c| c.is_finite())?);
    Some((panel.days[first], (last + 1 < panel.n_days()).then(|| panel.days[last].plus_days(1))))
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
