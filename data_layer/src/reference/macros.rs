//! Macro series as they were published: every value with the days on which it was the one that stood.
//!
//! Answers overlap: the same series is asked for again as time passes, and the vendor clips a value's publication to the
//! window asked for. Statements about one observation are therefore laid over each other in order of their first day, a
//! newer answer over an older one, and neighbours with the same value are joined. Any way of cutting the questions gives
//! the same table.

use super::sources::{self, Merged};
use super::{ReferenceReport, read_table};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::TradingDay;
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// A value that stood from `from` to `until` (included; `None` = it still does).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vintage {
    pub value: Option<f64>,
    pub from: TradingDay,
    pub until: Option<TradingDay>,
}

impl Vintage {
    /// Whether this was the published value at the end of `day`.
    pub fn stood_on(&self, day: TradingDay) -> bool {
        self.from <= day && self.until.is_none_or(|end| day <= end)
    }
}

/// Every series: observation day to its vintages, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Macros(BTreeMap<String, BTreeMap<TradingDay, Vec<Vintage>>>);

impl Macros {
    /// `reference/macros`; a drive without the table knows no series.
    pub fn load(root: &DataRoot) -> Result<Self> {
        let mut out = Self::default();
        let Some(rows) = read_table(root, table::REF_MACROS)? else { return Ok(out) };
        for s in statements(&rows)? {
            out.0.entry(s.series).or_default().entry(s.observed).or_default().push(s.vintage);
        }
        Ok(out)
    }
    /// Names of the series.
    pub fn series(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
    /// What stood for an observation at the end of a day: the vintage of that day. `None` when nothing was published yet,
    /// or when the vendor had no value.
    pub fn value_as_of(&self, series: &str, observed: TradingDay, day: TradingDay) -> Option<f64> {
        self.0.get(series)?.get(&observed)?.iter().find(|v| v.stood_on(day))?.value
    }
    /// The newest observation that was published by the end of a day, with its day.
    pub fn latest_as_of(&self, series: &str, day: TradingDay) -> Option<(TradingDay, f64)> {
        let known = self.0.get(series)?.range(..=day).rev();
        known.filter_map(|(observed, all)| Some((*observed, all.iter().find(|v| v.stood_on(day))?.value?))).next()
    }
    /// The newest observation that may be used at a session's open: what was published by the end of the session before.
    pub fn usable_at_open(&self, series: &str, session: TradingDay) -> Option<(TradingDay, f64)> {
        self.latest_as_of(series, Calendar::xnys().previous(session).ok()?)
    }
    /// Every observation of a series with its vintages.
    pub fn vintages(&self, series: &str) -> Option<&BTreeMap<TradingDay, Vec<Vintage>>> {
        self.0.get(series)
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Statement {
    series: String,
    observed: TradingDay,
    vintage: Vintage,
}

fn statements(rows: &DataFrame) -> Result<Vec<Statement>> {
    let (series, observed) = (frame::texts(rows, "series_id")?, frame::days(rows, "observation_date")?);
    let (value, from, until) = (frame::floats(rows, "value")?, frame::days(rows, "realtime_start")?, frame::days(rows, "realtime_end")?);
    let mut out = Vec::with_capacity(series.len());
    for i in 0..series.len() {
        let (Some(name), Some(observed), Some(from)) = (series[i], observed[i], from[i]) else { continue };
        out.push(Statement { series: name.into(), observed, vintage: Vintage { value: value[i], from, until: until[i] } });
    }
    Ok(out)
}

/// What was said of each observation of a series, each time by the newest answer that said so.
pub(super) type Said = BTreeMap<(String, TradingDay), Vec<(usize, Vintage)>>;

/// Merge every answer on the drive, older answers first; those that were merged before are not read again.
pub(super) fn build(root: &DataRoot, merged: &mut Merged<Said>, report: &mut ReferenceReport) -> Result<Macros> {
    let manifests = sources::manifests(root, table::RAW_MACROS)?;
    let from = merged.go_on(root, &manifests);
    for (order, (_, manifest)) in manifests.iter().enumerate().skip(from) {
        for segment in &manifest.segments {
            let rows = match sources::read(root, segment)? {
                Ok(rows) => statements(&rows),
                Err(_) => Ok(Vec::new()),
            };
            let Ok(rows) = rows else {
                merged.damaged.push(segment.path.to_string());
                continue;
            };
            if rows.is_empty() && segment.rows > 0 {
                merged.damaged.push(segment.path.to_string());
            }
            rows.into_iter().for_each(|s| hear(merged.value.entry((s.series, s.observed)).or_default(), order, s.vintage));
        }
    }
    report.damaged.extend(merged.damaged.iter().cloned());
    let mut out = Macros::default();
    for ((series, observed), all) in &merged.value {
        out.0.entry(series.clone()).or_default().insert(*observed, joined(all.clone()));
    }
    Ok(out)
}

/// Every session asks again for more than a year, and is told nearly the same: what was said before is kept once, by the newest that said it.
pub(super) fn hear(said: &mut Vec<(usize, Vintage)>, order: usize, vintage: Vintage) {
    said.retain(|(_, v)| *v != vintage);
    said.push((order, vintage));
}

/// Lay statements over each other: by first day, then age of the answer; equal neighbours become one.
pub(super) fn joined(mut said: Vec<(usize, Vintage)>) -> Vec<Vintage> {
    said.sort_by_key(|(order, v)| (v.from, *order));
    let mut out: Vec<Vintage> = Vec::with_capacity(said.len());
    for (_, v) in said {
        let Some(last) = out.last_mut() else {
            out.push(v);
            continue;
        };
        let overlaps = last.until.is_none_or(|end| end >= v.from);
        let touches = overlaps || last.until.is_some_and(|end| end.plus_days(1) == v.from);
        let same = last.value.map(f64::to_bits) == v.value.map(f64::to_bits);
        if last.from == v.from || (touches && same) {
            // The later word on the same publication: its end counts, unless it only repeats a part of what is known.
            let from = last.from;
            *last = Vintage { from, ..v };
        } else {
            if overlaps {
                last.until = Some(v.from.plus_days(-1));
            }
            out.push(v);
        }
    }
    out
}

pub(super) fn frame(macros: &Macros) -> Result<DataFrame> {
    let mut rows: Vec<(&str, TradingDay, &Vintage)> = Vec::with_capacity(macros.len());
    for (series, observations) in &macros.0 {
        for (observed, all) in observations {
            rows.extend(all.iter().map(|v| (series.as_str(), *observed, v)));
        }
    }
    frame::assemble(vec![
        frame::text_column("series_id", &rows.iter().map(|r| Some(r.0)).collect::<Vec<_>>()),
        frame::day_column("observation_date", &rows.iter().map(|r| Some(r.1)).collect::<Vec<_>>())?,
        frame::float_column("value", &rows.iter().map(|r| r.2.value).collect::<Vec<_>>()),
        frame::day_column("realtime_start", &rows.iter().map(|r| Some(r.2.from)).collect::<Vec<_>>())?,
        frame::day_column("realtime_end", &rows.iter().map(|r| r.2.until).collect::<Vec<_>>())?,
    ])
}

#[cfg(test)]
#[path = "macros_tests.rs"]
mod tests;
