//! Answers that were had and are gone: what a bookmark says was fetched and no manifest on the drive vouches for any more.
//!
//! Bars that are missing show as gaps in the ledger. An answer of another kind, or one that was empty, leaves no gap when its
//! manifest goes: a lost list of splits would silently make wrong prices. The bookmarks remember every question.

use crate::bookmarks;
use crate::control::Db;
use crate::error::Result;
use crate::root::DataRoot;
use crate::segment::Manifest;
use crate::store;
use crate::time::{DateRange, TradingDay, UtcTime};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};

/// A window's end is cut to what exists when it is asked; days so near to the asking are not counted as lost.
const GRACE_DAYS: i32 = 5;

/// How much later than its answer came an old bookmark may have been written: the commit between them waited for the drive.
const COMMIT_SECONDS: i64 = 3_600;

/// How far the first day of a plan that reaches a number of years back may move while a question waits.
const DEPTH_DAYS: i32 = 31;

/// A question whose answer is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    pub vendor: String,
    pub dataset: String,
    /// Empty for a whole market.
    pub symbol: String,
    pub range: (TradingDay, TradingDay),
    /// When it was answered.
    pub at: UtcTime,
}

/// Windows that were asked and when each was answered, by (vendor, dataset, symbol).
type Answered<'a> = BTreeMap<(&'a str, &'a str, &'a str), Vec<(DateRange, UtcTime)>>;

/// What of the bookmarks (of one dataset, or of all) no complete manifest of `manifests` answers, sorted.
pub fn find(db: &Db, dataset: Option<&str>, manifests: &[&Manifest]) -> Result<Vec<Lost>> {
    find_in(&*db.lock()?, dataset, manifests)
}

/// [`find`] by the bookmarks of another copy of the database. Every question that was ever asked is gone through, one at a time: of so
/// many only those that are lost are kept.
pub fn find_in(conn: &Connection, dataset: Option<&str>, manifests: &[&Manifest]) -> Result<Vec<Lost>> {
    let mut answered: Answered<'_> = BTreeMap::new();
    for m in manifests.iter().filter(|m| m.complete && dataset.is_none_or(|name| m.dataset == name)) {
        let window = DateRange { start: m.asked.t0, end: m.asked.t1 };
        let whole = m.asked.symbols.is_empty().then_some("");
        for symbol in m.asked.symbols.iter().map(String::as_str).chain(whole) {
            answered.entry((&m.vendor, &m.dataset, symbol)).or_default().push((window, m.ingested_at));
        }
    }
    answered.values_mut().for_each(|all| all.sort_by_key(|(window, _)| window.start));
    let mut out: BTreeSet<Lost> = BTreeSet::new();
    let exact = bookmarks::exact_since(conn)?;
    let mut statement = conn.prepare_cached(
        "SELECT vendor, dataset, symbol, start_date, end_date, updated_at FROM bookmarks WHERE complete = 1 AND (?1 IS NULL OR dataset = ?1)",
    )?;
    let mut rows = statement.query([dataset])?;
    while let Some(r) = rows.next()? {
        let text = |i: usize| r.get_ref(i)?.as_str().map_err(|e| rusqlite::Error::FromSqlConversionFailure(i, rusqlite::types::Type::Text, e.into()));
        let (vendor, dataset, symbol) = (text(0)?, text(1)?, text(2)?);
        let (range, at) = ((text(3)?.parse()?, text(4)?.parse()?), UtcTime::parse(text(5)?)?);
        if !answered.get(&(vendor, dataset, symbol)).is_some_and(|all| is_answered(all, range, at, exact)) {
            out.insert(Lost { vendor: vendor.into(), dataset: dataset.into(), symbol: symbol.into(), range, at });
        }
    }
    Ok(out.into_iter().collect())
}

/// Whether one of the windows (in order of their first day) is the question that was asked at `at`: it begins with it, or at the first day
/// that the plan still reached, and ends with it, or at what existed then. Another question that happens to cover it is not its answer, nor is
/// what the vendor said to the same question before.
/// `exact` is the moment from which bookmarks carry that of their answer: two answers to one question are told apart.
fn is_answered(windows: &[(DateRange, UtcTime)], (start, end): (TradingDay, TradingDay), at: UtcTime, exact: Option<UtcTime>) -> bool {
    let due = end.min(at.utc_day().plus_days(-GRACE_DAYS));
    let its_end = |w: &DateRange| w.end <= end && w.end >= due;
    let its_start = |w: &DateRange| w.start == start || w.end == end;
    let late = if exact.is_some_and(|since| since <= at) { 0 } else { COMMIT_SECONDS };
    // A symbol has a question for every session: only those that begin where this one may have begun are looked at.
    let from = windows.partition_point(|(w, _)| w.start < start);
    let near = windows.iter().skip(from).take_while(|(w, _)| w.start <= start.plus_days(DEPTH_DAYS));
    near.into_iter().any(|(w, answered)| its_start(w) && its_end(w) && answered.plus_seconds(late) >= at)
}

/// Manifests all of whose files are there with the bytes that they name.
pub fn readable<'a>(root: &DataRoot, manifests: impl Iterator<Item = &'a Manifest>) -> Result<Vec<&'a Manifest>> {
    let mut out = Vec::new();
    for manifest in manifests {
        let mut whole = true;
        for segment in &manifest.segments {
            whole &= store::read(root, &segment.path)?.is_some_and(|bytes| store::sha256_hex(&bytes) == segment.sha256);
        }
        if whole {
            out.push(manifest);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{day, range};

    #[test]
    fn a_question_is_answered_by_its_own_window_up_to_what_existed() {
        let (asked, at) = ((day("2017-01-01"), day("2018-01-01")), UtcTime::parse("2017-12-02T00:00:00Z").unwrap());
        let then = |windows: &[DateRange]| windows.iter().map(|w| (*w, at)).collect::<Vec<_>>();
        let answered = |windows: &[DateRange]| is_answered(&then(windows), asked, at, None);
        assert!(answered(&[range("2017-01-01", "2017-12-01")]), "cut to what existed");
        assert!(answered(&[range("2017-01-01", "2018-01-01")]));
        assert!(!answered(&[range("2016-12-01", "2017-06-01"), range("2017-06-01", "2017-12-01")]), "other questions");
        assert!(!answered(&[range("2017-01-01", "2017-06-01")]));
        assert!(!answered(&[range("2017-11-30", "2017-12-01")]), "a session of its own does not answer for the year");
        assert!(!answered(&[]));
        let before = |seconds: i64, exact| is_answered(&[(range("2017-01-01", "2017-12-01"), at.plus_seconds(-seconds))], asked, at, exact);
        assert!(before(60, None) && before(60, Some(at.plus_seconds(1))), "an old bookmark was written a little later");
        assert!(!before(86_400, None), "what it said the day before was revised by what is lost");
        assert!(before(0, Some(at)) && !before(60, Some(at)), "what it said a minute before was revised by what is lost");
        let session = (day("2017-12-01"), day("2017-12-02"));
        assert!(is_answered(&then(&[range("2017-12-01", "2017-12-02")]), session, at, None));
        assert!(!is_answered(&then(&[range("2017-01-01", "2017-12-01")]), session, at, None));
    }

    proptest::proptest! {
        #[test]
        fn of_many_windows_those_that_begin_elsewhere_need_no_look(
            windows in proptest::collection::vec((0i32..120, 1i32..60, 0i64..3), 0..30), start in 0i32..120, days in 1i32..60, at in 0i64..3
        ) {
            let stamp = |n: i64| UtcTime::parse("2017-06-01T00:00:00Z").unwrap().plus_seconds(n * 3_000);
            let window = |start: i32, days: i32| DateRange { start: TradingDay(17_300 + start), end: TradingDay(17_300 + start + days) };
            let mut windows: Vec<(DateRange, UtcTime)> = windows.into_iter().map(|(start, days, at)| (window(start, days), stamp(at))).collect();
            windows.sort_by_key(|(w, _)| w.start);
            let (asked, at) = (window(start, days), stamp(at));
            for exact in [None, Some(stamp(0)), Some(stamp(1))] {
                let one_by_one = windows.iter().any(|one| is_answered(std::slice::from_ref(one), (asked.start, asked.end), at, exact));
                proptest::prop_assert_eq!(is_answered(&windows, (asked.start, asked.end), at, exact), one_by_one);
            }
        }
    }
}
