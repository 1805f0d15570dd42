//! Ledger rows of what is known of companies: the list of tickers, filings, counts of shares, and the calendar of reports.
//!
//! Lists and calendars are today's: what one said on a day can be asked for on that day alone. From the first one on, a session
//! without one is `NOT_SEEN` for good, unless it is the newest, which is still asked for. Filings and counts of shares can be
//! asked for later: a session is GREEN once every known company of the stage was answered for it, and `MISSING` before that.

use super::partitions::{Answer, Found, Task, row, rows};
use super::{companies, sources};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::ledger::Row;
use crate::qc::QcCode;
use crate::root::{DataPath, DataRoot};
use crate::schema::{dataset, table};
use crate::segment;
use crate::sourcing::{Endpoints, Vendor};
use crate::store;
use crate::time::{DateRange, TradingDay};
use std::collections::{BTreeMap, BTreeSet};

/// Days for which a list of tickers counts: it is asked for weekly, on a session, which a long weekend may put off.
const LIST_STANDS_DAYS: i32 = 11;
/// Filings that hold a company's numbers.
const REPORTS: [&str; 4] = ["10-Q", "10-K", "20-F", "40-F"];
const SEC: &str = "sec_edgar";

pub(super) fn audit(task: &Task<'_>, found: &mut Found) -> Result<Filed> {
    let open = |lane: &str| task.stage.lanes.contains_key(lane) && task.stage.is_active(lane);
    let known = open(dataset::COMPANIES);
    for (lane, raw, table, vendor, stands) in [
        (dataset::COMPANIES, table::RAW_COMPANIES, table::REF_COMPANIES, SEC, LIST_STANDS_DAYS),
        (dataset::EARNINGS_CALENDAR, table::RAW_EARNINGS, table::REF_EARNINGS, "finnhub", 0),
    ] {
        if let Some(answers) = task.news(lane, raw, &open(lane).to_string(), found)? {
            let want = if open(lane) { seen_on_its_day(table, vendor, &answers, task.sessions, stands)? } else { Vec::new() };
            found.say(task.db, table, want)?;
        }
    }
    let staged: BTreeSet<&String> = task.stage.universe.symbols.iter().collect();
    let tenures = companies::load_companies(task.root)?;
    let ciks: BTreeSet<String> = tenures.into_iter().filter(|t| known && staged.contains(&t.symbol)).map(|t| t.cik).collect();
    let ciks: Vec<String> = ciks.into_iter().collect();
    let filed = task.news(dataset::FILINGS, table::RAW_FILINGS, &store::digest_of(&ciks)?, found)?;
    if let Some(answers) = &filed {
        found.say(task.db, table::RAW_FILINGS, of_companies(task, dataset::FILINGS, table::RAW_FILINGS, answers, &ciks)?)?;
    }
    // What is due of the shares follows from the filings.
    let filings: Vec<_> = segment::manifests_for(task.root, table::RAW_FILINGS)?.into_iter().map(|(path, _)| path).collect();
    let of = Filed { ciks, filings, answers: filed };
    if let Some(counted) = task.news(dataset::SHARES, table::RAW_FUNDAMENTALS, &of.words()?, found)? {
        found.say(task.db, table::REF_SHARES, companies_asked(task, dataset::SHARES, table::REF_SHARES, counted, &of)?)?;
    }
    Ok(of)
}

/// The companies of the stage, and the answers about what they filed.
pub(super) struct Filed {
    ciks: Vec<String>,
    filings: Vec<DataPath>,
    /// Read already, where something was new of them.
    answers: Option<Vec<Answer>>,
}

impl Filed {
    /// The digest of what rows of companies' numbers follow from.
    pub fn words(&self) -> Result<String> {
        store::digest_of(&(&self.ciks, &self.filings))
    }
}

/// Rows of a lane that is asked again when a company has filed a report.
pub(super) fn companies_asked(task: &Task<'_>, lane: &str, table: &str, answers: Vec<Answer>, of: &Filed) -> Result<Vec<Row>> {
    let read;
    let filed = match &of.answers {
        Some(filed) => filed,
        None => {
            read = task.answers(dataset::FILINGS, table::RAW_FILINGS)?;
            &read
        }
    };
    of_companies(task, lane, table, &standing(answers, filed, &report_days(task.root)?), &of.ciks)
}

/// One row for each session since the first list: GREEN where one that was seen at most `stands` days before says so.
fn seen_on_its_day(table: &str, vendor: &str, answers: &[Answer], sessions: &[TradingDay], stands: i32) -> Result<Vec<Row>> {
    let mut seen: BTreeMap<TradingDay, &Answer> = BTreeMap::new();
    for answer in answers.iter().filter(|a| a.symbols.is_none()) {
        seen.insert(Calendar::xnys().last_closed(answer.at)?, answer);
    }
    let Some(first) = seen.keys().next().or(sessions.last()).copied() else { return Ok(Vec::new()) };
    let judge = |dt: &TradingDay| {
        let newest = seen.range(..=*dt).next_back().filter(|(day, _)| dt.0 - day.0 <= stands).map(|(_, answer)| *answer);
        let code = match newest {
            Some(_) => QcCode::Ok,
            None if Some(dt) == sessions.last() => QcCode::Missing,
            None => QcCode::NotSeen,
        };
        let at = newest.map(|a| a.at);
        row(table, newest.map_or(vendor, |a| &a.vendor), *dt, code, (u64::from(newest.is_some()), 1), (at, at))
    };
    Ok(sessions.iter().filter(|dt| first <= **dt).map(judge).collect())
}

/// One row for each session that the lane reaches, as long as a company is known.
fn of_companies(task: &Task<'_>, lane: &str, table: &str, answers: &[Answer], ciks: &[String]) -> Result<Vec<Row>> {
    if ciks.is_empty() {
        return Ok(Vec::new());
    }
    let endpoints = Endpoints::load(task.root)?;
    let depth = endpoints.entry(Vendor::SecEdgar, lane).and_then(|entry| endpoints.depth(entry));
    let reached = task.sessions.partition_point(|dt| depth.is_some_and(|depth| *dt < depth));
    Ok(rows(table, SEC, answers, ciks, task.sessions.get(reached..).unwrap_or_default()))
}

/// Answers about shares hold for as long as the company's filings were read since and none of them is a report with new numbers.
fn standing(counted: Vec<Answer>, filed: &[Answer], reports: &BTreeMap<String, BTreeSet<TradingDay>>) -> Vec<Answer> {
    let mut read: BTreeMap<&str, TradingDay> = BTreeMap::new();
    for (answer, cik) in filed.iter().flat_map(|a| a.symbols.iter().flatten().map(move |cik| (a, cik))) {
        let until = read.entry(cik).or_insert(answer.to);
        *until = answer.to.max(*until);
    }
    let extended = |answer: &Answer, cik: &String| {
        // A report of the day that was asked last may have come after the question.
        let report = reports.get(cik).and_then(|days| days.range(answer.to.plus_days(-1)..).next());
        let until = [read.get(cik.as_str()), report].into_iter().flatten().min().copied();
        Answer { symbols: Some(BTreeSet::from([cik.clone()])), to: until.map_or(answer.to, |until| until.max(answer.to)), ..answer.clone() }
    };
    counted.iter().flat_map(|a| a.symbols.iter().flatten().map(move |cik| extended(a, cik))).collect()
}

/// The days on which each company filed a report that holds its numbers.
pub fn report_days(root: &DataRoot) -> Result<BTreeMap<String, BTreeSet<TradingDay>>> {
    let mut out: BTreeMap<String, BTreeSet<TradingDay>> = BTreeMap::new();
    for segment in segment::manifests_for(root, table::RAW_FILINGS)?.iter().flat_map(|(_, m)| &m.segments) {
        let Ok(rows) = sources::read_columns(root, segment, &["cik", "form", "filed"])? else { continue };
        let (cik, form, filed) = (frame::texts(&rows, "cik")?, frame::texts(&rows, "form")?, frame::days(&rows, "filed")?);
        for i in 0..rows.height() {
            let report = form[i].is_some_and(|form| REPORTS.contains(&form.trim_end_matches("/A")));
            if let (true, Some(cik), Some(day)) = (report, cik[i], filed[i]) {
                out.entry(cik.to_string()).or_default().insert(day);
            }
        }
    }
    Ok(out)
}

/// The days about which each company was asked in a lane, from the first to the last.
pub fn days_asked(root: &DataRoot, table: &str, lane: &str) -> Result<BTreeMap<String, DateRange>> {
    let mut out: BTreeMap<String, DateRange> = BTreeMap::new();
    for (_, m) in segment::manifests_for(root, table)?.into_iter().filter(|(_, m)| m.complete && m.dataset == lane) {
        for cik in m.asked.symbols {
            let hull = out.entry(cik).or_insert(DateRange { start: m.asked.t0, end: m.asked.t1 });
            *hull = DateRange { start: hull.start.min(m.asked.t0), end: hull.end.max(m.asked.t1) };
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "company_partitions_tests.rs"]
mod tests;
