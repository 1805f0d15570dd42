//! What is asked about corporate actions after the bootstrap: the last months again with every session, because a vendor promises neither
//! to be in time nor to be right the first time; sessions that nobody was asked about, before a window that grew or of names that came
//! later; and the first close of what was spun off.

use super::{Node, newest_due};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::queue::{Kind, NewTask, SeedReport};
use crate::reference::{self, AHEAD_DAYS};
use crate::scheduler;
use crate::schema::{dataset, table};
use crate::segment;
use crate::sourcing::Endpoints;
use crate::stage::{self, Stage};
use crate::tickers::Tickers;
use crate::time::{DateRange, TradingDay};
use std::collections::{BTreeMap, BTreeSet};

/// How far back of a session its actions are asked for again.
const AGAIN_DAYS: i32 = 90;
/// Days after which a child whose first close did not come is asked about once more, over all of them.
const CHILD_DAYS: i32 = 9;

/// Let the rows that end with a window reach as far beyond it as its last session's actions may be filed.
pub(super) fn look_ahead(tasks: &mut [NewTask], end: TradingDay) {
    tasks.iter_mut().filter(|t| t.range.end == end).for_each(|t| t.range.end = end.plus_days(AHEAD_DAYS));
}

/// A row for each name of the stage: the months before the sessions that were `missed`, and what is announced beyond them. They begin with
/// a month, so that of the answers within a month each holds all of the one before it.
pub(super) fn again(endpoints: &Endpoints, stage: &Stage, missed: DateRange) -> Vec<NewTask> {
    let symbols = &stage.universe.symbols;
    let once = || scheduler::bootstrap_tasks(endpoints, dataset::CORP_ACTIONS, symbols, missed, Kind::Forward, None).tasks;
    let Ok(entry) = endpoints.route(dataset::CORP_ACTIONS, missed.end.plus_days(-1)) else { return once() };
    if entry.batch_symbols == 1 {
        // A call for each name, every night: more than such a lane has.
        return once();
    }
    let before = missed.start.plus_days(-AGAIN_DAYS);
    let start = TradingDay::ymd(before.year(), before.month(), 1).unwrap_or(before);
    let range = DateRange { start, end: missed.end.plus_days(AHEAD_DAYS) };
    let row = |symbol: &String| NewTask {
        dataset: entry.dataset.clone(),
        symbol: symbol.clone(),
        range,
        kind: Kind::Forward,
        priority: Kind::Forward.priority(),
        vendor: entry.vendor.as_str().to_string(),
        not_before: None,
        run_id: None,
    };
    symbols.iter().map(row).collect()
}

impl Node {
    /// Ask for the actions of every name of the stage over the parts of `window` that no answer covers, unless they are on their way
    /// or the vendor knows no such name.
    pub fn seed_actions(&self, window: DateRange) -> Result<SeedReport> {
        let stage = stage::load(self.root())?;
        if !stage.is_active(dataset::CORP_ACTIONS) {
            return Ok(SeedReport::default());
        }
        // What came beside another vendor's prices is a second opinion: the first vendor is asked all the same.
        let first = self.endpoints().route(dataset::CORP_ACTIONS, window.end.plus_days(-1)).map(|e| e.vendor.as_str()).unwrap_or_default();
        let mut answered: BTreeMap<String, Vec<DateRange>> = BTreeMap::new();
        for (_, m) in segment::manifests_for(self.root(), table::RAW_CORP_ACTIONS)?.into_iter().filter(|(_, m)| m.complete && m.vendor == first) {
            let range = DateRange { start: m.asked.t0, end: m.asked.t1 };
            for symbol in m.asked.symbols {
                answered.entry(symbol).or_default().push(range);
            }
        }
        let (waiting, unknown) = (self.waiting()?, self.unknown_to_the_vendor()?);
        let tickers = Tickers::load(self.root())?;
        let mut tasks: Vec<NewTask> = Vec::new();
        for symbol in stage.universe.symbols.iter().filter(|s| !unknown.contains(*s)) {
            let mut known = answered.get(symbol).cloned().unwrap_or_default();
            known.extend(waiting.get(&(dataset::CORP_ACTIONS.to_string(), symbol.clone())).into_iter().flatten());
            // Under its earlier tickers a company acted too, and what is filed under the day it is paid comes weeks after the ticker's end.
            let mut wanted = vec![(symbol.as_str(), window, known)];
            for (ticker, days) in tickers.earlier(symbol, window) {
                let mut known: Vec<DateRange> = answered.get(ticker).cloned().unwrap_or_default();
                known.extend(waiting.get(&(dataset::CORP_ACTIONS.to_string(), ticker.to_string())).into_iter().flatten());
                wanted.push((ticker, DateRange { start: days.start, end: days.end.plus_days(AHEAD_DAYS).min(window.end) }, known));
            }
            for (name, days, known) in wanted.into_iter().filter(|(name, ..)| !unknown.contains(*name)) {
                for gap in uncovered(days, known) {
                    tasks.extend(scheduler::bootstrap_tasks(self.endpoints(), dataset::CORP_ACTIONS, &[name.to_string()], gap, Kind::Gap, None).tasks);
                }
            }
        }
        look_ahead(&mut tasks, window.end);
        tasks.extend(self.children(&stage)?);
        self.seed(&tasks)
    }

    /// The first close of each company that a name of the stage spun off and whose worth is not known: asked for on its first day, and
    /// once more over the days after it. Never a third time: FORWARD rows stay done.
    fn children(&self, stage: &Stage) -> Result<Vec<NewTask>> {
        let (asof, calendar) = (newest_due(self.host())?, Calendar::xnys());
        let mut out = Vec::new();
        for action in reference::load_actions(self.root())?.into_values().flatten() {
            let unpriced = action.event_type == "spin_off" && action.cash.is_none() && stage.universe.symbols.contains(&action.symbol);
            let Some(child) = action.new_symbol.filter(|_| unpriced) else { continue };
            let first = if calendar.is_session(action.ex_date) { action.ex_date } else { calendar.next(action.ex_date)? };
            let all = DateRange { start: first, end: action.ex_date.plus_days(CHILD_DAYS + 1) };
            let later = (asof.plus_days(1) >= all.end).then_some(all);
            for range in [DateRange { start: first, end: first.plus_days(1) }].into_iter().chain(later).filter(|r| r.start <= asof) {
                let tasks = scheduler::bootstrap_tasks(self.endpoints(), dataset::EQUITIES_EOD, std::slice::from_ref(&child), range, Kind::Forward, None);
                out.extend(tasks.tasks);
            }
        }
        Ok(out)
    }

    fn unknown_to_the_vendor(&self) -> Result<BTreeSet<String>> {
        let conn = self.db().lock()?;
        let mut st = conn.prepare_cached("SELECT DISTINCT symbol FROM backfill_queue WHERE dataset = ?1 AND outcome IN ('UNKNOWN_SYMBOL', 'BEFORE_DEPTH')")?;
        let names = st.query_map([dataset::CORP_ACTIONS], |r| r.get(0))?.collect::<std::result::Result<_, _>>()?;
        Ok(names)
    }
}

/// The parts of a window that none of `known` covers, oldest first. Parts without a session have nothing to be asked about.
fn uncovered(window: DateRange, mut known: Vec<DateRange>) -> Vec<DateRange> {
    known.sort_by_key(|r| (r.start, r.end));
    let (mut out, mut from) = (Vec::new(), window.start);
    for range in known.into_iter().chain([DateRange { start: window.end, end: window.end }]) {
        let gap = DateRange { start: from, end: range.start.min(window.end) };
        if gap.start < gap.end && !Calendar::xnys().sessions(gap).is_empty() {
            out.push(gap);
        }
        from = from.max(range.end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::range;

    #[test]
    fn what_nobody_was_asked_about_is_what_is_left_of_the_window() {
        let window = range("2016-01-01", "2018-01-01");
        let left = |known: &[(&str, &str)]| uncovered(window, known.iter().map(|(a, b)| range(a, b)).collect());
        assert_eq!(left(&[]), [window]);
        assert_eq!(left(&[("2017-01-01", "2018-06-01")]), [range("2016-01-01", "2017-01-01")]);
        assert_eq!(left(&[("2017-06-01", "2017-07-03"), ("2015-01-01", "2016-12-01"), ("2016-11-01", "2017-06-03")]), [range("2017-07-03", "2018-01-01")]);
        assert_eq!(left(&[("2015-01-01", "2017-09-02"), ("2017-09-05", "2019-01-01")]), [], "a long weekend holds no session");
    }
}
