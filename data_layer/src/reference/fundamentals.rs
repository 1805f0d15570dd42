//! Reported numbers by the day on which they were filed: what a reader of the filings knew at any moment.
//!
//! A number may be used from the session after it was filed. A later filing that restates a period adds a row and changes
//! none: asking about yesterday never changes when tomorrow's filing arrives.

use super::{ReferenceReport, read_table, sources};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::TradingDay;
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Company, concept (`us-gaap:Assets`) and unit.
pub type Item = (String, String, String);

/// One number as one filing stated it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    pub filed: TradingDay,
    /// Last day of the period, or the day of the balance sheet.
    pub end: TradingDay,
    /// First day of the period; `None` for a balance-sheet number.
    pub start: Option<TradingDay>,
    pub value: f64,
    /// Kept once for all the numbers of a filing.
    pub form: Arc<str>,
    pub accession: Arc<str>,
}

/// Every number, by what it measures, in order of filing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fundamentals(BTreeMap<Item, Vec<Reported>>);

impl Fundamentals {
    /// `reference/fundamentals`; a drive without the table knows nothing.
    pub fn load(root: &DataRoot) -> Result<Self> {
        let mut out = Self::default();
        if let Some(rows) = read_table(root, table::REF_FUNDAMENTALS)? {
            read(&rows, &mut out.0)?;
        }
        Ok(out)
    }
    /// What was known at a session's open: of the newest period, the newest statement that was filed before that session.
    pub fn usable_at_open(&self, item: &Item, session: TradingDay) -> Option<&Reported> {
        let yesterday = Calendar::xnys().previous(session).ok()?;
        self.0.get(item)?.iter().filter(|r| r.filed <= yesterday).max_by_key(|r| (r.end, r.filed, &r.accession))
    }
    /// One item's statements, in order of filing: what a drive that knows only these would say.
    pub fn of(item: Item, history: Vec<Reported>) -> Self {
        Self(BTreeMap::from([(item, history)]))
    }
    /// What is reported on.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.0.keys()
    }
    /// Every statement about an item, in order of filing.
    pub fn history(&self, item: &Item) -> &[Reported] {
        self.0.get(item).map_or(&[], Vec::as_slice)
    }
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn read(rows: &DataFrame, out: &mut BTreeMap<Item, Vec<Reported>>) -> Result<()> {
    let (cik, taxonomy, concept) = (frame::texts(rows, "cik")?, frame::texts(rows, "taxonomy")?, frame::texts(rows, "concept")?);
    let (unit, form, accession) = (frame::texts(rows, "unit")?, frame::texts(rows, "form")?, frame::texts(rows, "accession")?);
    let (start, end, filed) = (frame::days(rows, "period_start")?, frame::days(rows, "period_end")?, frame::days(rows, "filed")?);
    let value = frame::floats(rows, "value")?;
    let mut known: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut once = |text: Option<&str>| {
        let text = text.unwrap_or("");
        if let Some(known) = known.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        known.insert(Arc::clone(&new));
        new
    };
    for i in 0..rows.height() {
        let (Some(cik), Some(taxonomy), Some(concept), Some(unit)) = (cik[i], taxonomy[i], concept[i], unit[i]) else { continue };
        let (Some(end), Some(filed), Some(value)) = (end[i], filed[i], value[i]) else { continue };
        let row = Reported { filed, end, start: start[i], value, form: once(form[i]), accession: once(accession[i]) };
        out.entry((cik.into(), format!("{taxonomy}:{concept}"), unit.into())).or_default().push(row);
    }
    Ok(())
}

/// Merge every answer on the drive: the same statement of the same filing once.
pub(super) fn build(root: &DataRoot, report: &mut ReferenceReport) -> Result<Fundamentals> {
    let mut out = Fundamentals::default();
    for (_, manifest) in sources::manifests(root, table::RAW_FUNDAMENTALS)? {
        for segment in &manifest.segments {
            match sources::read(root, segment)? {
                Ok(rows) => read(&rows, &mut out.0)?,
                Err(_) => report.damaged.push(segment.path.to_string()),
            }
        }
    }
    for list in out.0.values_mut() {
        list.sort_by(|a, b| (a.filed, a.end, a.start, &a.accession).cmp(&(b.filed, b.end, b.start, &b.accession)));
        let mut seen = BTreeSet::new();
        list.retain(|r| seen.insert((r.accession.clone(), r.end, r.start, r.value.to_bits())));
    }
    Ok(out)
}

/// The taxonomy of an item, or its concept.
fn part(item: &Item, first: bool) -> &str {
    item.1.split_once(':').map_or("", |(taxonomy, concept)| if first { taxonomy } else { concept })
}

pub(super) fn frame(all: &Fundamentals) -> Result<DataFrame> {
    let rows: Vec<(&Item, &Reported)> = all.0.iter().flat_map(|(item, list)| list.iter().map(move |r| (item, r))).collect();
    frame::assemble(vec![
        frame::text_column("cik", &rows.iter().map(|r| Some(r.0.0.as_str())).collect::<Vec<_>>()),
        frame::text_column("taxonomy", &rows.iter().map(|r| Some(part(r.0, true))).collect::<Vec<_>>()),
        frame::text_column("concept", &rows.iter().map(|r| Some(part(r.0, false))).collect::<Vec<_>>()),
        frame::text_column("unit", &rows.iter().map(|r| Some(r.0.2.as_str())).collect::<Vec<_>>()),
        frame::day_column("period_start", &rows.iter().map(|r| r.1.start).collect::<Vec<_>>())?,
        frame::day_column("period_end", &rows.iter().map(|r| Some(r.1.end)).collect::<Vec<_>>())?,
        frame::float_column("value", &rows.iter().map(|r| Some(r.1.value)).collect::<Vec<_>>()),
        frame::text_column("form", &rows.iter().map(|r| Some(&*r.1.form)).collect::<Vec<_>>()),
        frame::text_column("accession", &rows.iter().map(|r| Some(&*r.1.accession)).collect::<Vec<_>>()),
        frame::day_column("filed", &rows.iter().map(|r| Some(r.1.filed)).collect::<Vec<_>>())?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_047_a_filing_counts_from_the_session_after_it_and_a_restatement_changes_no_yesterday() {
        let of = |t: &str| t.parse::<TradingDay>().unwrap();
        let item: Item = ("0000320193".into(), "dei:EntityCommonStockSharesOutstanding".into(), "shares".into());
        // Apple's cover pages of July and October 2009 (SEC EDGAR, public domain), and an invented restatement of the first.
        let stated = |filed: &str, end: &str, value: f64, accession: &str| Reported {
            filed: of(filed),
            end: of(end),
            start: None,
            value,
            form: "10-Q".into(),
            accession: accession.into(),
        };
        let mut all = Fundamentals(BTreeMap::from([(item.clone(), vec![stated("2009-07-22", "2009-06-27", 895_816_758.0, "0001193125-09-153165")])]));
        let known = |f: &Fundamentals, on: &str| f.usable_at_open(&item, of(on)).map(|r| r.value);
        assert_eq!((known(&all, "2009-07-22"), known(&all, "2009-07-23")), (None, Some(895_816_758.0)));
        let before: Vec<_> = ["2009-07-22", "2009-07-23", "2009-10-27"].map(|d| known(&all, d)).into();
        let list = all.0.get_mut(&item).unwrap();
        list.push(stated("2009-10-27", "2009-10-16", 900_678_473.0, "0001193125-09-214859"));
        list.push(stated("2010-01-25", "2009-06-27", 1.0, "restated"));
        let after: Vec<_> = ["2009-07-22", "2009-07-23", "2009-10-27"].map(|d| known(&all, d)).into();
        assert_eq!(after, before, "tomorrow's filings change nothing that was known");
        assert_eq!(known(&all, "2009-10-28"), Some(900_678_473.0));
        assert_eq!(known(&all, "2010-02-01"), Some(900_678_473.0), "an old period restated is not the newest number");
        assert_eq!(frame(&all).unwrap().height(), 3);
    }
}
