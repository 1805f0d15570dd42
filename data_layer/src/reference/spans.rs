//! Days as intervals that neither overlap nor touch.

use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

/// A set of days: the end of each interval by its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans(BTreeMap<TradingDay, TradingDay>);

impl Spans {
    pub fn add(&mut self, range: DateRange) {
        if range.start >= range.end {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        // Starts ascend and so do ends, so what meets the new interval stands together.
        let met: Vec<(TradingDay, TradingDay)> = self.0.range(..=end).rev().take_while(|(_, e)| **e >= start).map(|(s, e)| (*s, *e)).collect();
        for (s, e) in met {
            self.0.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.0.insert(start, end);
    }
    /// Whether every day of a range is in it.
    pub fn covers(&self, range: DateRange) -> bool {
        range.start >= range.end || self.0.range(..=range.start).next_back().is_some_and(|(_, end)| *end >= range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::range;

    #[test]
    fn intervals_that_meet_are_one() {
        let mut days = Spans::default();
        days.add(range("2017-01-10", "2017-01-20"));
        days.add(range("2017-02-01", "2017-02-10"));
        assert!(days.covers(range("2017-01-12", "2017-01-20")) && !days.covers(range("2017-01-12", "2017-02-02")));
        days.add(range("2017-01-20", "2017-02-01"));
        assert!(days.covers(range("2017-01-10", "2017-02-10")) && !days.covers(range("2017-01-09", "2017-01-11")));
        days.add(range("2017-01-05", "2017-03-01"));
        assert_eq!(days.0.len(), 1);
        assert!(days.covers(range("2017-02-28", "2017-03-01")) && !days.covers(range("2017-02-28", "2017-03-02")));
        let nothing = "2016-01-05".parse().unwrap();
        days.add(DateRange { start: nothing, end: nothing });
        assert_eq!(days.0.len(), 1, "no day is no interval");
    }
}
