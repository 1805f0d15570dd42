//! Features that need a source with its own publication dates: shares outstanding as filed, announced earnings dates.
//!
//! Each is looked up as of the day: a filing or an announcement counts from the day it was public. Without the source the
//! feature is excluded by name; it is never approximated with today's figure.

use super::{Dates, History, spec};
use crate::features::window::{Mean, rolling};
use crate::features::{Excluded, FeatureSpec, Scaling::CrossSection};
use data_layer::calendar::Calendar;
use data_layer::time::TradingDay;
use std::collections::BTreeMap;

/// An earnings date, public since `announced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub announced: TradingDay,
    pub date: TradingDay,
}

/// Sources with publication dates, by symbol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointInTime {
    /// `(public since, shares outstanding)`, ascending by day.
    pub shares: BTreeMap<String, Vec<(TradingDay, f64)>>,
    pub earnings: BTreeMap<String, Vec<Announcement>>,
}

pub const SHARES: &[FeatureSpec] =
    &[spec("turnover_20", "context", "fraction of shares", 19, CrossSection), spec("log_mktcap", "context", "log usd", 0, CrossSection)];
pub const EARNINGS: &[FeatureSpec] = &[spec("sessions_to_earnings", "context", "sessions", 0, CrossSection)];

impl PointInTime {
    pub(super) fn specs(&self) -> Vec<FeatureSpec> {
        let shares = if self.shares.is_empty() { &[][..] } else { SHARES };
        let earnings = if self.earnings.is_empty() { &[][..] } else { EARNINGS };
        shares.iter().chain(earnings).copied().collect()
    }

    /// What cannot be computed, for want of which source.
    pub(super) fn excluded(&self) -> Vec<Excluded> {
        let no = |name: &str, reason: &str| Excluded { name: name.into(), reason: reason.into() };
        let mut out = Vec::new();
        if self.shares.is_empty() {
            out.push(no("turnover_20", "needs shares outstanding with their filing dates; no entitled source has delivered them"));
            out.push(no("log_mktcap", "needs shares outstanding with their filing dates; no entitled source has delivered them"));
        }
        if self.earnings.is_empty() {
            out.push(no("sessions_to_earnings", "needs earnings dates with the day each was announced; no entitled source has delivered them"));
        }
        out.push(no("sector", "needs dated sector membership; only today's sectors are known, and today's sectors were not known then"));
        out
    }

    pub(super) fn rows(&self, symbol: &str, dates: &Dates<'_>, h: &History<'_>) -> Vec<Vec<f64>> {
        let mut out = Vec::new();
        if !self.shares.is_empty() {
            let filed = self.shares.get(symbol).map_or(&[][..], Vec::as_slice);
            let shares = shares_on(filed, dates.days);
            let turned: Vec<f64> = h.volume.iter().zip(&shares).map(|(v, n)| v / n).collect();
            out.push(rolling(&turned, 20, Mean));
            out.push(h.close_raw.iter().zip(&shares).map(|(c, n)| (c * n).ln()).collect());
        }
        if !self.earnings.is_empty() {
            let known = self.earnings.get(symbol).map_or(&[][..], Vec::as_slice);
            out.push(sessions_to_earnings(known, dates));
        }
        out
    }
}

/// Per day, the latest count that was public. `filed` and `days` ascend.
fn shares_on(filed: &[(TradingDay, f64)], days: &[TradingDay]) -> Vec<f64> {
    let (mut next, mut known) = (0, f64::NAN);
    let mut as_of = |day: TradingDay| {
        while let Some((_, n)) = filed.get(next).filter(|(since, _)| *since <= day) {
            known = if *n > 0.0 { *n } else { known };
            next += 1;
        }
        known
    };
    days.iter().map(|d| as_of(*d)).collect()
}

/// Per day, the sessions to the next earnings date that had been announced by then; 0 on the date itself.
fn sessions_to_earnings(known: &[Announcement], at: &Dates<'_>) -> Vec<f64> {
    let calendar = Calendar::xnys();
    let mut dates: Vec<(TradingDay, TradingDay, Option<usize>)> = known.iter().map(|a| (a.date, a.announced, calendar.index(a.date))).collect();
    dates.sort_unstable();
    let mut passed = 0;
    let count = |(day, session): (TradingDay, Option<usize>)| {
        passed += dates[passed..].iter().take_while(|d| d.0 < day).count();
        let next = dates[passed..].iter().find(|d| d.1 <= day).and_then(|d| d.2);
        match (next, session) {
            (Some(to), Some(from)) => (to - from) as f64,
            _ => f64::NAN,
        }
    };
    at.days.iter().copied().zip(at.sessions.iter().copied()).map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> TradingDay {
        text.parse().unwrap()
    }

    #[test]
    fn lesson_047_a_filing_or_an_announcement_counts_from_the_day_it_was_public() {
        let filed = [(day("2015-02-03"), 10.0), (day("2015-05-05"), 20.0)];
        let days = ["2015-02-02", "2015-05-04", "2015-05-05"].map(day);
        let shares = shares_on(&filed, &days);
        assert!(shares[0].is_nan());
        assert_eq!(shares[1..], [10.0, 20.0]);
        assert_eq!(shares_on(&filed[..1], &days)[1], 10.0, "tomorrow's file changes nothing today");
        let known = [Announcement { announced: day("2015-04-20"), date: day("2015-04-27") }];
        let sessions = sessions_to_earnings(&known, &Dates::of(&["2015-04-17", "2015-04-20", "2015-04-27", "2015-04-28"].map(day)));
        assert!(sessions[0].is_nan() && sessions[3].is_nan());
        assert_eq!(sessions[1..3], [5.0, 0.0]);
    }
}
