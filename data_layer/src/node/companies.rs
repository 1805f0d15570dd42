//! What is asked of the SEC: who has which ticker, what each company of the stage filed, and its shares when it filed a report.
//!
//! One thing follows from another: companies are known once the list of tickers was read, and new numbers are due where a filing
//! of the kind that holds them arrived. Everything is worked out from what is stored, so that nothing is asked twice.

use super::{Node, newest_due};
use crate::error::Result;
use crate::frame;
use crate::queue::{Kind, NewTask, SeedReport};
use crate::reference::{self, sources};
use crate::scheduler;
use crate::schema::{dataset, table};
use crate::segment::{self, Manifest};
use crate::stage;
use crate::time::{DateRange, TradingDay, new_york};
use std::collections::{BTreeMap, BTreeSet};

/// Days after which the list of tickers is asked for again.
const LIST_DAYS: i32 = 7;
/// Days before the stage's first session from which counts of shares are wanted: the first session needs one.
const BEFORE_DAYS: i32 = 400;
/// Filings that hold a company's numbers.
const REPORTS: [&str; 4] = ["10-Q", "10-K", "20-F", "40-F"];
/// How far the days on which companies report are asked for.
pub(super) const CALENDAR_DAYS: i32 = 45;

impl Node {
    /// Ask for what is not known yet of the stage's companies. Nothing where no key opens the lane.
    pub fn seed_companies(&self) -> Result<SeedReport> {
        let stage = stage::load(self.root())?;
        if !stage.lanes.contains_key(dataset::COMPANIES) || !stage.is_active(dataset::COMPANIES) {
            return Ok(SeedReport::default());
        }
        let asof = newest_due(self.host())?;
        let mut tasks = self.list_of_tickers(asof)?;
        let symbols: BTreeSet<&String> = stage.universe.symbols.iter().collect();
        let known = reference::load_companies(self.root())?;
        let companies: BTreeSet<String> = known.into_iter().filter(|t| symbols.contains(&t.symbol)).map(|t| t.cik).collect();
        let (facts, filings) = (segment::manifests_for(self.root(), table::RAW_FUNDAMENTALS)?, segment::manifests_for(self.root(), table::RAW_FILINGS)?);
        let (counted, read) = (asked_until(facts.iter().map(|(_, m)| m), dataset::SHARES), asked_until(filings.iter().map(|(_, m)| m), dataset::FILINGS));
        let reports = self.newest_reports(filings.iter().map(|(_, m)| m))?;
        let (start, end) = (self.stage_window(&stage)?.start, asof.plus_days(1));
        for cik in companies {
            let from = read.get(&cik).copied();
            tasks.extend(self.of_company(dataset::FILINGS, &cik, from.unwrap_or(start), end, from.is_some())?);
            let from = counted.get(&cik).copied();
            // A report on the day that was asked last may have come after the question.
            let due = from.is_none_or(|from| reports.get(&cik).is_some_and(|filed| from.plus_days(-1) <= *filed && *filed < end));
            if due {
                tasks.extend(self.of_company(
                    dataset::SHARES,
                    &cik,
                    from.map_or(start.plus_days(-BEFORE_DAYS), |from| from.plus_days(-1)),
                    end,
                    from.is_some(),
                )?);
            }
        }
        let waiting = self.waiting()?;
        tasks.retain(|t| !waiting.contains_key(&(t.dataset.clone(), t.symbol.clone())));
        self.seed(&tasks)
    }

    /// The list, unless one of the last days is there.
    fn list_of_tickers(&self, asof: TradingDay) -> Result<Vec<NewTask>> {
        let lists = segment::manifests_for(self.root(), table::RAW_COMPANIES)?;
        let today = self.host().now().day_in(&new_york());
        let newest = lists.iter().filter(|(_, m)| m.complete).map(|(_, m)| m.ingested_at.day_in(&new_york())).max();
        if newest.is_some_and(|day| today.0 - day.0 < LIST_DAYS) {
            return Ok(Vec::new());
        }
        let kind = if newest.is_none() { Kind::Bootstrap } else { Kind::Forward };
        Ok(vec![scheduler::market_task(self.endpoints(), dataset::COMPANIES, DateRange::new(asof, asof.plus_days(1))?, kind, None)?])
    }

    fn of_company(&self, name: &str, cik: &str, start: TradingDay, end: TradingDay, again: bool) -> Result<Option<NewTask>> {
        let Ok(window) = DateRange::new(start, end) else { return Ok(None) };
        let kind = if again { Kind::Forward } else { Kind::Bootstrap };
        let task = scheduler::market_task(self.endpoints(), name, window, kind, None)?;
        Ok(Some(NewTask { symbol: cik.to_string(), ..task }))
    }

    /// The day of each company's newest filing that holds numbers.
    fn newest_reports<'m>(&self, manifests: impl Iterator<Item = &'m Manifest>) -> Result<BTreeMap<String, TradingDay>> {
        let mut out: BTreeMap<String, TradingDay> = BTreeMap::new();
        for segment in manifests.flat_map(|m| &m.segments) {
            let Ok(rows) = sources::read_columns(self.root(), segment, &["cik", "form", "filed"])? else { continue };
            let (cik, form, filed) = (frame::texts(&rows, "cik")?, frame::texts(&rows, "form")?, frame::days(&rows, "filed")?);
            for i in 0..rows.height() {
                let report = form[i].is_some_and(|form| REPORTS.contains(&form.trim_end_matches("/A")));
                if let (true, Some(cik), Some(day)) = (report, cik[i], filed[i]) {
                    let newest = out.entry(cik.to_string()).or_insert(day);
                    *newest = day.max(*newest);
                }
            }
        }
        Ok(out)
    }
}

/// The first day that was not asked yet, by company.
fn asked_until<'m>(manifests: impl Iterator<Item = &'m Manifest>, name: &str) -> BTreeMap<String, TradingDay> {
    let mut out: BTreeMap<String, TradingDay> = BTreeMap::new();
    for m in manifests.filter(|m| m.complete && m.dataset == name) {
        for cik in &m.asked.symbols {
            let until = out.entry(cik.clone()).or_insert(m.asked.t1);
            *until = m.asked.t1.max(*until);
        }
    }
    out
}
