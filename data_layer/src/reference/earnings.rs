//! Days on which companies report, each with the day on which the market could know it.
//!
//! A vendor's calendar is today's: it is asked each session and kept, and a date counts from the first close after it was seen
//! until a later calendar that reaches as far no longer holds it. What has happened is told by the filing: an 8-K with item 2.02 is
//! an announcement of results, known when the SEC accepted it.

use super::companies::Tenure;
use super::{ReferenceReport, sources};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::{TradingDay, UtcTime, new_york};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};

/// A day on which a company reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EarningsDate {
    pub symbol: String,
    pub report_date: TradingDay,
    /// The first session at whose close it was known.
    pub announced: TradingDay,
    /// The first session at whose close it no longer stood.
    pub withdrawn: Option<TradingDay>,
    /// `bmo`, `amc`, `dmh`, or nothing.
    pub hour: String,
    pub source_name: String,
}

/// Every date that a calendar or a filing has told.
pub(super) fn build(root: &DataRoot, companies: &[Tenure], report: &mut ReferenceReport) -> Result<Vec<EarningsDate>> {
    let mut out = calendars(root, report)?;
    out.extend(filed(root, companies, report)?);
    out.sort();
    out.dedup();
    Ok(out)
}

/// The first session at whose close something seen at `at` was known.
fn known_at(at: UtcTime) -> Option<TradingDay> {
    let cal = Calendar::xnys();
    let day = at.day_in(&new_york());
    if cal.is_session(day) && at <= cal.close(day) { Some(day) } else { cal.next(day).ok() }
}

/// Vendor by vendor, calendar after calendar.
fn calendars(root: &DataRoot, report: &mut ReferenceReport) -> Result<Vec<EarningsDate>> {
    let mut out = Vec::new();
    let mut standing: BTreeMap<(String, String, TradingDay), usize> = BTreeMap::new();
    for (_, manifest) in sources::manifests(root, table::RAW_EARNINGS)?.into_iter().filter(|(_, m)| m.complete) {
        let Some(at) = known_at(manifest.ingested_at) else { continue };
        let mut said: BTreeMap<(String, TradingDay), String> = BTreeMap::new();
        let mut whole = true;
        for segment in &manifest.segments {
            let Ok(rows) = sources::read_columns(root, segment, &["symbol", "report_date", "hour"])? else {
                report.damaged.push(segment.path.to_string());
                whole = false;
                continue;
            };
            let (symbol, date, hour) = (frame::texts(&rows, "symbol")?, frame::days(&rows, "report_date")?, frame::texts(&rows, "hour")?);
            for i in 0..rows.height() {
                if let (Some(symbol), Some(date)) = (symbol[i], date[i].filter(|d| at <= *d)) {
                    said.insert((symbol.into(), date), hour[i].unwrap_or_default().into());
                }
            }
        }
        let asked = |date: TradingDay| manifest.asked.symbols.is_empty() && at.max(manifest.asked.t0) <= date && date < manifest.asked.t1;
        // What a calendar that was read in part does not hold may stand in the rest of it.
        let gone = |k: &(String, String, TradingDay)| whole && k.0 == manifest.vendor && asked(k.2) && !said.contains_key(&(k.1.clone(), k.2));
        let withdrawn: Vec<_> = standing.keys().filter(|k| gone(k)).cloned().collect();
        for key in withdrawn {
            if let Some(row) = standing.remove(&key).and_then(|i| out.get_mut(i)) {
                let row: &mut EarningsDate = row;
                row.withdrawn = Some(at);
            }
        }
        for ((symbol, report_date), hour) in said {
            standing.entry((manifest.vendor.clone(), symbol.clone(), report_date)).or_insert_with(|| {
                out.push(EarningsDate { symbol, report_date, announced: at, withdrawn: None, hour, source_name: manifest.vendor.clone() });
                out.len() - 1
            });
        }
    }
    Ok(out)
}

/// Announcements of results that were filed, under every ticker that the company had that day.
fn filed(root: &DataRoot, companies: &[Tenure], report: &mut ReferenceReport) -> Result<Vec<EarningsDate>> {
    let mut by_cik: BTreeMap<&str, Vec<&Tenure>> = BTreeMap::new();
    for t in companies {
        by_cik.entry(&t.cik).or_default().push(t);
    }
    let mut out = BTreeSet::new();
    for (_, manifest) in sources::manifests(root, table::RAW_FILINGS)? {
        for segment in &manifest.segments {
            let Ok(rows) = sources::read(root, segment)? else {
                report.damaged.push(segment.path.to_string());
                continue;
            };
            let (cik, form, items, accepted) =
                (frame::texts(&rows, "cik")?, frame::texts(&rows, "form")?, frame::texts(&rows, "items")?, frame::texts(&rows, "accepted")?);
            for i in 0..rows.height() {
                let results = form[i] == Some("8-K") && items[i].is_some_and(|list| list.split(',').any(|item| item.trim() == "2.02"));
                let (true, Some(day)) = (results, accepted[i].and_then(accepted_at).and_then(known_at)) else { continue };
                for t in by_cik.get(cik[i].unwrap_or_default()).into_iter().flatten().filter(|t| t.contains(day)) {
                    out.insert(EarningsDate {
                        symbol: t.symbol.clone(),
                        report_date: day,
                        announced: day,
                        withdrawn: None,
                        hour: String::new(),
                        source_name: manifest.vendor.clone(),
                    });
                }
            }
        }
    }
    Ok(out.into_iter().collect())
}

/// The later of the two moments that a stamp may mean: the SEC marks it as UTC, and older ones were New York's wall.
fn accepted_at(text: &str) -> Option<UtcTime> {
    let wall = text.trim_end_matches('Z').parse::<jiff::civil::DateTime>().ok()?;
    let moment = new_york().to_zoned(wall).ok()?.timestamp().as_microsecond();
    Some(UtcTime::from_micros(moment))
}

pub(super) fn frame(rows: &[EarningsDate]) -> Result<DataFrame> {
    frame::assemble(vec![
        frame::text_column("symbol", &rows.iter().map(|e| Some(e.symbol.as_str())).collect::<Vec<_>>()),
        frame::day_column("report_date", &rows.iter().map(|e| Some(e.report_date)).collect::<Vec<_>>())?,
        frame::day_column("announced", &rows.iter().map(|e| Some(e.announced)).collect::<Vec<_>>())?,
        frame::day_column("withdrawn", &rows.iter().map(|e| e.withdrawn).collect::<Vec<_>>())?,
        frame::text_column("hour", &rows.iter().map(|e| Some(e.hour.as_str())).collect::<Vec<_>>()),
        frame::text_column("source_name", &rows.iter().map(|e| Some(e.source_name.as_str())).collect::<Vec<_>>()),
    ])
}

/// The rows of a `reference/earnings` table.
pub fn earnings_of(rows: &DataFrame) -> Result<Vec<EarningsDate>> {
    let (symbol, hour, source) = (frame::texts(rows, "symbol")?, frame::texts(rows, "hour")?, frame::texts(rows, "source_name")?);
    let (date, announced, withdrawn) = (frame::days(rows, "report_date")?, frame::days(rows, "announced")?, frame::days(rows, "withdrawn")?);
    let text = |t: Option<&str>| t.unwrap_or_default().to_string();
    let row = |i: usize| {
        let (symbol, report_date, announced) = (symbol[i]?.to_string(), date[i]?, announced[i]?);
        Some(EarningsDate { symbol, report_date, announced, withdrawn: withdrawn[i], hour: text(hour[i]), source_name: text(source[i]) })
    };
    Ok((0..rows.height()).filter_map(row).collect())
}

/// `reference/earnings`; none on a drive that was never told.
pub fn load_earnings(root: &DataRoot) -> Result<Vec<EarningsDate>> {
    super::read_table(root, table::REF_EARNINGS)?.map_or(Ok(Vec::new()), |rows| earnings_of(&rows))
}

#[cfg(test)]
#[path = "earnings_tests.rs"]
mod tests;
