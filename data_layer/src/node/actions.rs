//! Corporate actions of sessions that nobody was asked about: those before a window that grew, and those of names that came later.

use super::Node;
use crate::error::Result;
use crate::queue::{Kind, NewTask, SeedReport};
use crate::scheduler;
use crate::schema::{dataset, table};
use crate::segment;
use crate::stage;
use crate::time::DateRange;
use std::collections::{BTreeMap, BTreeSet};

impl Node {
    /// Ask for the actions of every name of the stage over the parts of `window` that no answer covers, unless they are on their way
    /// or the vendor knows no such name.
    pub fn seed_actions(&self, window: DateRange) -> Result<SeedReport> {
        let stage = stage::load(self.root())?;
        if !stage.is_active(dataset::CORP_ACTIONS) {
            return Ok(SeedReport::default());
        }
        let mut answered: BTreeMap<String, Vec<DateRange>> = BTreeMap::new();
        for (_, m) in segment::manifests_for(self.root(), table::RAW_CORP_ACTIONS)?.into_iter().filter(|(_, m)| m.complete) {
            let range = DateRange { start: m.asked.t0, end: m.asked.t1 };
            for symbol in m.asked.symbols {
                answered.entry(symbol).or_default().push(range);
            }
        }
        let (waiting, unknown) = (self.waiting()?, self.unknown_to_the_vendor()?);
        let mut tasks: Vec<NewTask> = Vec::new();
        for symbol in stage.universe.symbols.iter().filter(|s| !unknown.contains(*s)) {
            let mut known = answered.remove(symbol).unwrap_or_default();
            known.extend(waiting.get(&(dataset::CORP_ACTIONS.to_string(), symbol.clone())).into_iter().flatten());
            for gap in uncovered(window, known) {
                let one = std::slice::from_ref(symbol);
                tasks.extend(scheduler::bootstrap_tasks(self.endpoints(), dataset::CORP_ACTIONS, one, gap, Kind::Gap, None).tasks);
            }
        }
        self.seed(&tasks)
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
        if gap.start < gap.end && !crate::calendar::Calendar::xnys().sessions(gap).is_empty() {
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
