//! What is asked of the SEC: who has which ticker, what each company of the stage filed, and its shares when it filed a report.
//!
//! One thing follows from another: companies are known once the list of tickers was read, and new numbers are due where a filing
//! of the kind that holds them arrived. Everything is worked out from what is stored, so that nothing is asked twice.

use super::{Node, newest_due};
use crate::error::Result;
use crate::queue::{Kind, NewTask, SeedReport};
use crate::reference;
use crate::scheduler;
use crate::schema::{dataset, table};
use crate::segment;
use crate::sourcing::Vendor;
use crate::stage;
use crate::time::{DateRange, TradingDay, new_york};
use std::collections::BTreeSet;

/// Days after which the list of tickers is asked for again.
const LIST_DAYS: i32 = 7;
/// Days before the stage's first session from which counts of shares are wanted: the first session needs one.
pub(super) const BEFORE_DAYS: i32 = 400;
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
        let asked = |lane: &str, raw: &str| reference::days_asked(self.root(), raw, lane);
        let (read, counted) = (asked(dataset::FILINGS, table::RAW_FILINGS)?, asked(dataset::SHARES, table::RAW_FUNDAMENTALS)?);
        let reports = reference::report_days(self.root())?;
        // All that the ledger answers for; before the first audit, what the stage asks for.
        let start = self.window().or_else(|_| self.stage_window(&stage))?.start;
        let (counts_from, end) = (start.plus_days(-BEFORE_DAYS), asof.plus_days(1));
        for cik in &companies {
            let hull = read.get(cik).copied();
            tasks.extend(self.of_company(dataset::FILINGS, cik, hull.map_or(start, |h| h.end), end, hull.is_some())?);
            tasks.extend(self.earlier(dataset::FILINGS, cik, start, hull)?);
            let hull = counted.get(cik).copied();
            // A report on the day that was asked last may have come after the question.
            let news = |until: TradingDay| reports.get(cik).is_some_and(|days| days.range(until.plus_days(-1)..end).next().is_some());
            if hull.is_none_or(|h| news(h.end)) {
                tasks.extend(self.of_company(dataset::SHARES, cik, hull.map_or(counts_from, |h| h.end.plus_days(-1)), end, hull.is_some())?);
            }
            tasks.extend(self.earlier(dataset::SHARES, cik, counts_from, hull)?);
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

    pub(super) fn of_company(&self, name: &str, cik: &str, start: TradingDay, end: TradingDay, again: bool) -> Result<Option<NewTask>> {
        let Ok(window) = DateRange::new(start, end) else { return Ok(None) };
        let kind = if again { Kind::Forward } else { Kind::Bootstrap };
        let task = scheduler::market_task(self.endpoints(), name, window, kind, None)?;
        Ok(Some(NewTask { symbol: cik.to_string(), ..task }))
    }

    /// What lies before the days that were asked about, where the window has grown backwards. Not before the lane's first day.
    pub(super) fn earlier(&self, name: &str, cik: &str, start: TradingDay, asked: Option<DateRange>) -> Result<Option<NewTask>> {
        let Some(asked) = asked else { return Ok(None) };
        let depth = self.endpoints().entry(Vendor::SecEdgar, name).and_then(|entry| self.endpoints().depth(entry));
        self.of_company(name, cik, depth.map_or(start, |depth| depth.max(start)), asked.start, false)
    }
}
