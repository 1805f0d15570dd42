//! Which company had which ticker when: the bridge from filings, which know companies, to prices, which know tickers.
//!
//! The SEC's list of tickers has no past, so every list is kept with the day on which it was seen. The first list of a drive is
//! read backwards as far as the listing reaches that carried the ticker on that day; what a later list says counts from the day
//! it was seen. Tomorrow's list therefore changes no answer about yesterday, and a ticker that was used before leads to nobody
//! but its present holder's own listing.

use super::actions::TickerChange;
use super::listings::Listing;
use super::{ReferenceReport, sources};
use crate::error::Result;
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::{TradingDay, new_york};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};

/// A company's hold on a ticker, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenure {
    pub symbol: String,
    pub from: TradingDay,
    /// `None` = it holds it still.
    pub to: Option<TradingDay>,
    /// Ten digits.
    pub cik: String,
    pub name: String,
    /// First and last day on which a list said so; of a name that went before a change of ticker, those of its successor.
    pub first_seen: TradingDay,
    pub last_seen: TradingDay,
    /// `listing`, `list` or `ticker_change`: what the first day was taken from.
    pub evidence: String,
    /// Whether the ticker is one of common stock, as far as its listing tells.
    pub common: bool,
}

impl Tenure {
    pub fn contains(&self, day: TradingDay) -> bool {
        self.from <= day && self.to.is_none_or(|to| day < to)
    }
    /// The days on which this is one of several classes of a company's common stock.
    pub fn shared_with(&self, other: &Self) -> Option<(TradingDay, Option<TradingDay>)> {
        let seen_together = self.first_seen <= other.last_seen && other.first_seen <= self.last_seen;
        let both = self.cik == other.cik && self.symbol != other.symbol && self.common && other.common;
        if !both || !seen_together || [self, other].iter().any(|t| t.evidence == CHANGE && t.to.is_some()) {
            return None;
        }
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let from = self.from.max(other.from);
        to.is_none_or(|to| from < to).then_some((from, to))
    }
}

const CHANGE: &str = "ticker_change";

/// When each list named each pair of ticker and company.
#[derive(Default)]
struct Lists {
    days: BTreeSet<TradingDay>,
    /// Stretches of lists that follow each other, by ticker and company.
    seen: BTreeMap<(String, String), Vec<Seen>>,
}

impl Lists {
    /// A list of `day`, which is none of an earlier day than those before it, names a pair.
    fn name(&mut self, day: TradingDay, symbol: &str, cik: &str, name: &str) {
        self.days.insert(day);
        let before = self.days.range(..day).next_back().copied();
        let stretches = self.seen.entry((symbol.into(), cik.into())).or_default();
        match stretches.last_mut().filter(|s| s.last == day || Some(s.last) == before) {
            Some(stretch) => stretch.last = day,
            None => stretches.push(Seen { first: day, last: day, name: name.to_string() }),
        }
    }
}

struct Seen {
    first: TradingDay,
    last: TradingDay,
    name: String,
}

fn read_lists(root: &DataRoot, report: &mut ReferenceReport) -> Result<Lists> {
    let mut out = Lists::default();
    let zone = new_york();
    for (_, manifest) in sources::manifests(root, table::RAW_COMPANIES)?.into_iter().filter(|(_, m)| m.complete) {
        let day = manifest.ingested_at.day_in(&zone);
        for segment in &manifest.segments {
            let Ok(rows) = sources::read(root, segment)? else {
                report.damaged.push(segment.path.to_string());
                continue;
            };
            out.days.insert(day);
            let (cik, symbol, name) = (frame::texts(&rows, "cik")?, frame::texts(&rows, "symbol")?, frame::texts(&rows, "name")?);
            for i in 0..rows.height() {
                if let (Some(cik), Some(symbol)) = (cik[i], symbol[i]) {
                    out.name(day, symbol, cik, name[i].unwrap_or_default());
                }
            }
        }
    }
    Ok(out)
}

/// Every hold on a ticker that the lists, the listings and the changes of tickers tell of.
pub(super) fn build(root: &DataRoot, listings: &[Listing], changes: &[TickerChange], report: &mut ReferenceReport) -> Result<Vec<Tenure>> {
    Ok(tenures(&read_lists(root, report)?, listings, changes))
}

fn tenures(lists: &Lists, listings: &[Listing], changes: &[TickerChange]) -> Vec<Tenure> {
    let mut by_symbol: BTreeMap<&str, Vec<&Listing>> = BTreeMap::new();
    for l in listings {
        by_symbol.entry(&l.symbol).or_default().push(l);
    }
    let carried = |symbol: &str, day: TradingDay| {
        let covers = |l: &&&Listing| l.ipo_date.is_none_or(|d| d <= day) && l.delisting_date.is_none_or(|d| day < d);
        by_symbol.get(symbol).and_then(|all| all.iter().find(covers).copied())
    };
    let mut out: Vec<Tenure> = Vec::new();
    for ((symbol, cik), seen) in lists.seen.iter().flat_map(|(pair, stretches)| stretches.iter().map(move |s| (pair, s))) {
        let listing = carried(symbol, seen.first);
        // Only the first list may speak of the time before it was seen.
        let began = listing.and_then(|l| l.ipo_date).filter(|_| Some(&seen.first) == lists.days.first());
        let vanished = lists.days.range(seen.last.plus_days(1)..).next().copied();
        let ended = listing.and_then(|l| l.delisting_date).filter(|d| *d > seen.first);
        out.push(Tenure {
            symbol: symbol.clone(),
            from: began.unwrap_or(seen.first),
            to: [vanished, ended].into_iter().flatten().min(),
            cik: cik.clone(),
            name: seen.name.clone(),
            first_seen: seen.first,
            last_seen: seen.last,
            evidence: if began.is_some() { "listing" } else { "list" }.into(),
            common: listing.is_none_or(Listing::is_common_stock),
        });
    }
    follow(changes, &mut out, carried);
    out.sort();
    out
}

/// Changes of ticker, newest first: the old name was the same company's before, and the company's past is the new name's too.
fn follow<'l>(changes: &[TickerChange], out: &mut Vec<Tenure>, carried: impl Fn(&str, TradingDay) -> Option<&'l Listing>) {
    let mut newest_first: Vec<&TickerChange> = changes.iter().collect();
    newest_first.sort_by_key(|c| std::cmp::Reverse(c.date));
    for change in &newest_first {
        let after = out.iter().find(|t| t.symbol == change.new_symbol && change.date <= t.last_seen && t.to.is_none_or(|to| change.date < to)).cloned();
        let Some(after) = after.filter(|after| !out.iter().any(|t| t.symbol == change.old_symbol && t.cik == after.cik)) else { continue };
        let listing = carried(&change.old_symbol, change.date.plus_days(-1));
        let from = listing.and_then(|l| l.ipo_date).unwrap_or(after.from);
        // A change that came after the first list may have carried the old name on it: then that is a tenure of its own.
        if from < change.date && after.evidence != "list" {
            let symbol = change.old_symbol.clone();
            let before =
                Tenure { symbol, from, to: Some(change.date), evidence: CHANGE.into(), common: listing.is_none_or(Listing::is_common_stock), ..after.clone() };
            out.push(before);
        }
    }
    for change in newest_first.iter().rev() {
        let before = out.iter().find(|t| t.symbol == change.old_symbol && t.from < change.date).map(|t| (t.cik.clone(), t.from));
        let Some((cik, from)) = before else { continue };
        if let Some(after) = out.iter_mut().find(|t| t.symbol == change.new_symbol && t.cik == cik && from < t.from) {
            (after.from, after.evidence) = (from, CHANGE.into());
        }
    }
}

/// Who held a ticker on a day: of several claims the one that began last.
pub fn holder<'t>(tenures: &'t [Tenure], symbol: &str, day: TradingDay) -> Option<&'t Tenure> {
    tenures.iter().filter(|t| t.symbol == symbol && t.contains(day)).max_by_key(|t| (t.from, &t.cik))
}

pub(super) fn frame(rows: &[Tenure]) -> Result<DataFrame> {
    let text = |get: fn(&Tenure) -> &str| rows.iter().map(|t| Some(get(t))).collect::<Vec<_>>();
    frame::assemble(vec![
        frame::text_column("symbol", &text(|t| &t.symbol)),
        frame::day_column("from", &rows.iter().map(|t| Some(t.from)).collect::<Vec<_>>())?,
        frame::day_column("to", &rows.iter().map(|t| t.to).collect::<Vec<_>>())?,
        frame::text_column("cik", &text(|t| &t.cik)),
        frame::text_column("name", &text(|t| &t.name)),
        frame::day_column("first_seen", &rows.iter().map(|t| Some(t.first_seen)).collect::<Vec<_>>())?,
        frame::day_column("last_seen", &rows.iter().map(|t| Some(t.last_seen)).collect::<Vec<_>>())?,
        frame::text_column("evidence", &text(|t| &t.evidence)),
        frame::bool_column("common", &rows.iter().map(|t| t.common).collect::<Vec<_>>()),
    ])
}

/// The rows of a `reference/companies` table.
pub fn tenures_of(rows: &DataFrame) -> Result<Vec<Tenure>> {
    let (symbol, cik, name, evidence) =
        (frame::texts(rows, "symbol")?, frame::texts(rows, "cik")?, frame::texts(rows, "name")?, frame::texts(rows, "evidence")?);
    let (from, to) = (frame::days(rows, "from")?, frame::days(rows, "to")?);
    let (first, last, common) = (frame::days(rows, "first_seen")?, frame::days(rows, "last_seen")?, frame::bools(rows, "common")?);
    let text = |t: Option<&str>| t.unwrap_or_default().to_string();
    let row = |i: usize| {
        Some(Tenure {
            symbol: symbol[i]?.into(),
            from: from[i]?,
            to: to[i],
            cik: cik[i]?.into(),
            name: text(name[i]),
            first_seen: first[i]?,
            last_seen: last[i]?,
            evidence: text(evidence[i]),
            common: common[i],
        })
    };
    Ok((0..rows.height()).filter_map(row).collect())
}

/// `reference/companies`; a drive that was never told of companies knows none.
pub fn load_companies(root: &DataRoot) -> Result<Vec<Tenure>> {
    super::read_table(root, table::REF_COMPANIES)?.map_or(Ok(Vec::new()), |rows| tenures_of(&rows))
}

#[cfg(test)]
#[path = "companies_tests.rs"]
mod tests;
