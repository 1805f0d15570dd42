//! How many shares a company had, as its filings say: a row for each filing, kept whatever is filed later.
//!
//! A count is usable from the session after the filing. The cover page counts the shares of a named day, so splits after that day
//! are applied to it; a balance sheet is restated for every split before its filing, so only later ones are. A split's factor is
//! new over old, as everywhere.

use super::actions::CorpAction;
use super::companies::Tenure;
use super::fundamentals::{Fundamentals, Reported};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::TradingDay;
use crate::vendor::sec_edgar::SHARE_COUNTS;
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// One filing's count.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareCount {
    pub cik: String,
    pub filed: TradingDay,
    /// The day, or the last day of the period, that the count describes.
    pub period_end: TradingDay,
    /// Splits after this day are not in the count.
    pub stated_on: TradingDay,
    pub shares: f64,
    /// `dei:EntityCommonStockSharesOutstanding`, ...
    pub concept: String,
    pub form: String,
    pub accession: String,
}

/// A count this many times the one before, or the one before this many times it, is a slip of the unit until another filing
/// agrees: thousands were entered as shares, or shares as thousands.
const SLIP: f64 = 50.0;

/// The best count of every filing, by company in order of filing.
pub(super) fn build(all: &Fundamentals) -> Vec<ShareCount> {
    let mut best: BTreeMap<(&str, &str), (usize, &Reported)> = BTreeMap::new();
    let concepts: Vec<String> = SHARE_COUNTS.iter().map(|(taxonomy, concept)| format!("{taxonomy}:{concept}")).collect();
    for item in all.items() {
        let Some(rank) = concepts.iter().position(|c| *c == item.1).filter(|_| item.2 == "shares") else { continue };
        for r in all.history(item).iter().filter(|r| r.value.is_finite() && r.value > 0.0) {
            let newer = |old: &(usize, &Reported)| (old.0, std::cmp::Reverse((old.1.end, old.1.start))) > (rank, std::cmp::Reverse((r.end, r.start)));
            let place = best.entry((&item.0, &r.accession)).or_insert((rank, r));
            if newer(place) {
                *place = (rank, r);
            }
        }
    }
    let count = |((cik, accession), (rank, r)): ((&str, &str), (usize, &Reported))| ShareCount {
        cik: cik.into(),
        filed: r.filed,
        period_end: r.end,
        stated_on: if rank == 0 { r.end.min(r.filed) } else { r.filed },
        shares: r.value,
        concept: concepts[rank].clone(),
        form: r.form.to_string(),
        accession: accession.into(),
    };
    let mut out: Vec<ShareCount> = best.into_iter().map(count).collect();
    out.sort_by(|a, b| (&a.cik, a.filed, a.period_end, &a.accession).cmp(&(&b.cik, b.filed, b.period_end, &b.accession)));
    out
}

/// The splits in `(after, upto]` as one factor.
fn factor(splits: &[(TradingDay, f64)], after: TradingDay, upto: TradingDay) -> f64 {
    splits.iter().filter(|(ex, _)| after < *ex && *ex <= upto).map(|(_, ratio)| ratio).product()
}

/// One company's counts without slips of the unit. Each is judged by what was filed before it.
fn believable<'c>(counts: &'c [ShareCount], splits: &[(TradingDay, f64)]) -> Vec<&'c ShareCount> {
    let mut out: Vec<&ShareCount> = Vec::new();
    let mut doubted: Option<&ShareCount> = None;
    for now in counts {
        let times = |before: &ShareCount| now.shares / (before.shares * factor(splits, before.stated_on, now.stated_on));
        let near = |before: &ShareCount, limit: f64| (1.0 / limit..=limit).contains(&times(before));
        if out.last().is_none_or(|before| near(before, SLIP)) || doubted.is_some_and(|before| near(before, 2.0)) {
            out.push(now);
            doubted = None;
        } else {
            doubted = Some(now);
        }
    }
    out
}

/// Shares outstanding in the shares of each session, as steps: from this session on, at its close, this many. Nothing before the
/// first step. `counts` are one company's in order of filing, `splits` its `(ex-date, new over old)`.
pub fn steps(counts: &[ShareCount], splits: &[(TradingDay, f64)], from: TradingDay, to: Option<TradingDay>) -> Vec<(TradingDay, f64)> {
    let usable = |c: &ShareCount| Calendar::xnys().next(c.filed).ok();
    let known: Vec<(TradingDay, &ShareCount)> = believable(counts, splits).into_iter().filter_map(|c| Some((usable(c)?, c))).collect();
    let mut days: Vec<TradingDay> = known.iter().map(|(day, _)| *day).chain(splits.iter().map(|(ex, _)| *ex)).chain([from]).collect();
    days.retain(|d| from <= *d && to.is_none_or(|to| *d < to));
    days.sort();
    days.dedup();
    let mut out: Vec<(TradingDay, f64)> = Vec::new();
    for day in days {
        // An old period stated again, or filed late, is not the newest number.
        let newest = known.iter().filter(|(since, _)| *since <= day).max_by_key(|(_, c)| (c.period_end, c.filed, &c.accession));
        let Some((_, c)) = newest else { continue };
        let shares = c.shares * factor(splits, c.stated_on, day);
        if out.last().is_none_or(|(_, before)| *before != shares) {
            out.push((day, shares));
        }
    }
    out
}

/// The splits of each company, `(ex-date, new over old)`, under whichever ticker it had that day. Two classes split together once.
pub fn splits_by_company(tenures: &[Tenure], actions: &BTreeMap<String, Vec<CorpAction>>) -> BTreeMap<String, Vec<(TradingDay, f64)>> {
    let mut out: BTreeMap<String, BTreeMap<TradingDay, f64>> = BTreeMap::new();
    for t in tenures.iter().filter(|t| t.common) {
        for action in actions.get(&t.symbol).into_iter().flatten().filter(|a| a.is_split() && t.contains(a.ex_date)) {
            if let Some(ratio) = action.ratio {
                out.entry(t.cik.clone()).or_default().insert(action.ex_date, ratio);
            }
        }
    }
    out.into_iter().map(|(cik, list)| (cik, list.into_iter().collect())).collect()
}

/// The steps of a ticker over the days `[from, to)`: of whoever held it when. Where a company has several classes of common stock
/// under tickers of their own, its filings count them together, or each in a place that has no column: not known, told as NaN.
pub fn of_symbol(
    symbol: &str,
    (from, to): (TradingDay, Option<TradingDay>),
    tenures: &[Tenure],
    counts: &BTreeMap<String, Vec<ShareCount>>,
    splits: &BTreeMap<String, Vec<(TradingDay, f64)>>,
) -> Vec<(TradingDay, f64)> {
    let mut out: Vec<(TradingDay, f64)> = Vec::new();
    for t in tenures.iter().filter(|t| t.symbol == symbol && to.is_none_or(|to| t.from < to) && t.to.is_none_or(|end| from < end)) {
        let (first, last) = (t.from.max(from), t.to.into_iter().chain(to).min());
        let Some(list) = counts.get(&t.cik) else { continue };
        let shared: Vec<_> = tenures.iter().filter_map(|other| t.shared_with(other)).collect();
        let is_shared = |day: TradingDay| shared.iter().any(|(a, b)| *a <= day && b.is_none_or(|b| day < b));
        let own = steps(list, splits.get(&t.cik).map_or(&[][..], Vec::as_slice), first, last);
        let mut days: Vec<TradingDay> = own.iter().map(|s| s.0).chain(shared.iter().flat_map(|(a, b)| [Some(*a), *b]).flatten()).chain(last).collect();
        days.retain(|d| first <= *d && last.is_none_or(|last| *d <= last));
        days.sort();
        days.dedup();
        for day in days {
            let known = own.iter().rev().find(|s| s.0 <= day).map(|s| s.1);
            let value = known.filter(|_| !is_shared(day) && Some(day) != last).unwrap_or(f64::NAN);
            if out.last().map_or(value.is_finite(), |(_, before)| before.to_bits() != value.to_bits()) {
                out.push((day, value));
            }
        }
    }
    out.sort_by_key(|s| s.0);
    out
}

pub(super) fn frame(rows: &[ShareCount]) -> Result<DataFrame> {
    let text = |get: fn(&ShareCount) -> &str| rows.iter().map(|c| Some(get(c))).collect::<Vec<_>>();
    let day = |get: fn(&ShareCount) -> TradingDay| rows.iter().map(|c| Some(get(c))).collect::<Vec<_>>();
    frame::assemble(vec![
        frame::text_column("cik", &text(|c| &c.cik)),
        frame::day_column("filed", &day(|c| c.filed))?,
        frame::day_column("period_end", &day(|c| c.period_end))?,
        frame::day_column("stated_on", &day(|c| c.stated_on))?,
        frame::float_column("shares", &rows.iter().map(|c| Some(c.shares)).collect::<Vec<_>>()),
        frame::text_column("concept", &text(|c| &c.concept)),
        frame::text_column("form", &text(|c| &c.form)),
        frame::text_column("accession", &text(|c| &c.accession)),
    ])
}

/// The rows of a `reference/shares_outstanding` table, by company in order of filing.
pub fn shares_of(rows: &DataFrame) -> Result<BTreeMap<String, Vec<ShareCount>>> {
    let (cik, concept, form, accession) =
        (frame::texts(rows, "cik")?, frame::texts(rows, "concept")?, frame::texts(rows, "form")?, frame::texts(rows, "accession")?);
    let (filed, end, stated) = (frame::days(rows, "filed")?, frame::days(rows, "period_end")?, frame::days(rows, "stated_on")?);
    let shares = frame::floats(rows, "shares")?;
    let text = |t: Option<&str>| t.unwrap_or_default().to_string();
    let mut out: BTreeMap<String, Vec<ShareCount>> = BTreeMap::new();
    for i in 0..rows.height() {
        let (Some(cik), Some(filed), Some(period_end), Some(stated_on), Some(shares)) = (cik[i], filed[i], end[i], stated[i], shares[i]) else { continue };
        let (concept, form, accession) = (text(concept[i]), text(form[i]), text(accession[i]));
        out.entry(cik.into()).or_default().push(ShareCount { cik: cik.into(), filed, period_end, stated_on, shares, concept, form, accession });
    }
    Ok(out)
}

/// `reference/shares_outstanding`; none on a drive that was never told.
pub fn load_shares(root: &DataRoot) -> Result<BTreeMap<String, Vec<ShareCount>>> {
    super::read_table(root, table::REF_SHARES)?.map_or(Ok(BTreeMap::new()), |rows| shares_of(&rows))
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
