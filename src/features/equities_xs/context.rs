//! Features that need a source with its own publication dates: shares outstanding as filed, announced earnings dates.
//!
//! Each is looked up as of the day: a filing or an announcement counts from the day it was public. Without the source the
//! feature is excluded by name, and so it is where the source covers too little; it is never approximated with today's figure.

use super::{Dates, History, Places, spec};
use crate::features::ln::logarithms;
use crate::features::window::{Mean, rolling_into};
use crate::features::{Excluded, FeatureSpec, Scaling::CrossSection};
use crate::types::{Announcement, Panel, PointInTime};
use data_layer::calendar::Calendar;
use data_layer::time::TradingDay;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A source is used where it knows this part of the members' days at least: of those that are still listed, and of those that are
/// not. Otherwise a gap would tell which names were known to somebody later, or which were about to go.
const MIN_COVERAGE: f64 = 0.8;

pub const SHARES: &[FeatureSpec] =
    &[spec("turnover_20", "context", "fraction of shares", 19, CrossSection), spec("log_mktcap", "context", "log usd", 0, CrossSection)];
pub const EARNINGS: &[FeatureSpec] = &[spec("sessions_to_earnings", "context", "sessions", 0, CrossSection)];

/// Leave out what covers too little of a panel, by name and with the numbers. Training decides; a model that was trained with a
/// source is used with it.
pub fn settle(panel: &mut Panel) {
    let dates = Dates::of(&panel.days);
    let mut known = std::mem::take(&mut panel.known);
    let short = |source: &str, value: &dyn Fn(&str) -> Vec<f64>| too_little(panel, value).map(|why| text!("{source}: {why}"));
    if !known.shares.is_empty() {
        let filed = |symbol: &str| known.shares.get(symbol).map_or(&[][..], Vec::as_slice);
        if let Some(why) = short("shares outstanding as filed", &|symbol| shares_on(filed(symbol), dates.days)) {
            known.shares.clear();
            known.left_out.insert("shares", why);
        }
    }
    if !known.earnings.is_empty() {
        let told = |symbol: &str| known.earnings.get(symbol).map_or(&[][..], Vec::as_slice);
        if let Some(why) = short("earnings dates as announced", &|symbol| sessions_to_earnings(told(symbol), &dates)) {
            known.earnings.clear();
            known.left_out.insert("earnings", why);
        }
    }
    panel.known = known;
}

/// Why a source is not used; `None` where it covers enough of the names that stayed, and of those that left.
fn too_little(panel: &Panel, value: &dyn Fn(&str) -> Vec<f64>) -> Option<String> {
    // Members' days, and those with a value: of names that stayed, and of names that left.
    let mut seen = [(0_u64, 0_u64); 2];
    for (s, symbol) in panel.symbols.iter().enumerate() {
        let group = &mut seen[usize::from(panel.delisted[s].is_some())];
        for (t, v) in value(symbol).iter().enumerate().filter(|(t, _)| panel.member.at(s, *t) > 0.0 && panel.close.at(s, *t).is_finite()) {
            debug_assert!(t < panel.n_days());
            *group = (group.0 + 1, group.1 + u64::from(v.is_finite()));
        }
    }
    let share = |(all, known): (u64, u64)| if all == 0 { 1.0 } else { known as f64 / all as f64 };
    let [stayed, left] = seen.map(share);
    let percent = |v: f64| format!("{:.1} %", (v * 1e3).floor() / 10.0);
    (stayed.min(left) < MIN_COVERAGE).then(|| {
        text!(
            "known for {} of the members' days of names that stayed and {} of those that left, {} needed of each",
            percent(stayed),
            percent(left),
            percent(MIN_COVERAGE)
        )
    })
}

pub(super) fn specs(known: &PointInTime) -> Vec<FeatureSpec> {
    let shares = if known.shares.is_empty() { &[][..] } else { SHARES };
    let earnings = if known.earnings.is_empty() { &[][..] } else { EARNINGS };
    shares.iter().chain(earnings).copied().collect()
}

/// What cannot be computed, for want of which source.
pub(super) fn excluded(known: &PointInTime) -> Vec<Excluded> {
    let mut out = Vec::new();
    let mut no = |specs: &[FeatureSpec], source: &str, needs: &str| {
        let reason = known.left_out.get(source).cloned().unwrap_or_else(|| text!("needs {needs}; no entitled source has delivered them"));
        out.extend(specs.iter().map(|spec| Excluded { name: spec.name.into(), reason: reason.clone() }));
    };
    if known.shares.is_empty() {
        no(SHARES, "shares", "shares outstanding with their filing dates");
    }
    if known.earnings.is_empty() {
        no(EARNINGS, "earnings", "earnings dates with the day each was announced");
    }
    let sector = "needs dated sector membership; only today's sectors are known, and today's sectors were not known then";
    out.push(Excluded { name: "sector".into(), reason: sector.into() });
    out
}

pub(super) fn rows(known: &PointInTime, dates: &Dates<'_>, h: &History<'_>, out: &mut Places<'_, '_>) {
    if !known.shares.is_empty() {
        let filed = known.shares.get(h.symbol).map_or(&[][..], Vec::as_slice);
        let shares = shares_on(filed, dates.days);
        let turned: Vec<f64> = h.volume.iter().zip(&shares).map(|(v, n)| v / n).collect();
        rolling_into(&turned, 20, Mean, out.row());
        let value = out.row();
        value.iter_mut().zip(h.close_raw.iter().zip(&shares)).for_each(|(value, (c, n))| *value = c * n);
        logarithms(value);
    }
    if !known.earnings.is_empty() {
        let told = known.earnings.get(h.symbol).map_or(&[][..], Vec::as_slice);
        out.row().copy_from_slice(&sessions_to_earnings(told, dates));
    }
}

/// Per day, the latest count that was public, in that day's shares. `filed` and `days` ascend.
fn shares_on(filed: &[(TradingDay, f64)], days: &[TradingDay]) -> Vec<f64> {
    let (mut next, mut known) = (0, f64::NAN);
    let mut as_of = |day: TradingDay| {
        while let Some((_, n)) = filed.get(next).filter(|(since, _)| *since <= day) {
            known = if *n > 0.0 { *n } else { f64::NAN };
            next += 1;
        }
        known
    };
    days.iter().map(|d| as_of(*d)).collect()
}

/// Per day, the sessions to the next earnings date that had been announced by then; 0 on the date itself.
fn sessions_to_earnings(known: &[Announcement], at: &Dates<'_>) -> Vec<f64> {
    let calendar = Calendar::xnys();
    // A date between two sessions is met by the next one.
    let session = |day: TradingDay| calendar.index(day).or_else(|| calendar.index(calendar.next(day).ok()?));
    let mut dates: Vec<(Announcement, Option<usize>)> = known.iter().map(|a| (*a, session(a.date))).collect();
    dates.sort_unstable_by_key(|(a, _)| (a.date, a.announced));
    let mut told: Vec<usize> = (0..dates.len()).collect();
    told.sort_by_key(|i| dates[*i].0.announced);
    let (mut told, mut open) = (told.into_iter().peekable(), BinaryHeap::new());
    let mut count = |(day, session): (TradingDay, Option<usize>)| {
        open.extend(std::iter::from_fn(|| told.next_if(|i| dates[*i].0.announced <= day)).map(Reverse));
        // What is past, or was withdrawn, never stands again.
        let stands = |a: &Announcement| day <= a.date && a.withdrawn.is_none_or(|w| day < w);
        while open.peek().is_some_and(|Reverse(i)| !stands(&dates[*i].0)) {
            open.pop();
        }
        match (open.peek().and_then(|Reverse(i)| dates[*i].1), session) {
            (Some(to), Some(from)) => (to - from) as f64,
            _ => f64::NAN,
        }
    };
    at.days.iter().copied().zip(at.sessions.iter().copied()).map(&mut count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::fixture::random_panel;

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
        let known = [Announcement { announced: day("2015-04-20"), date: day("2015-04-27"), withdrawn: None }];
        let sessions = sessions_to_earnings(&known, &Dates::of(&["2015-04-17", "2015-04-20", "2015-04-27", "2015-04-28"].map(day)));
        assert!(sessions[0].is_nan() && sessions[3].is_nan());
        assert_eq!(sessions[1..3], [5.0, 0.0]);
    }

    #[test]
    fn a_date_that_was_moved_counts_until_it_was_moved() {
        let at = ["2015-04-20", "2015-04-22", "2015-04-23", "2015-04-27"].map(day);
        let told = [
            Announcement { announced: day("2015-04-20"), date: day("2015-04-27"), withdrawn: Some(day("2015-04-23")) },
            Announcement { announced: day("2015-04-23"), date: day("2015-04-29"), withdrawn: None },
        ];
        assert_eq!(sessions_to_earnings(&told, &Dates::of(&at)), [5.0, 3.0, 4.0, 2.0]);
    }

    #[test]
    fn a_source_that_knows_the_living_better_than_the_dead_is_left_out_by_name() {
        let mut panel = random_panel(6, 10, 60, 0.0);
        let count = vec![(panel.days[0], 1e6)];
        panel.known.shares = panel.symbols.iter().map(|s| (s.clone(), count.clone())).collect();
        let mut whole = panel.clone();
        settle(&mut whole);
        assert_eq!((whole.known.shares.len(), whole.known.left_out.len()), (10, 0));
        // The one name of ten that left the market: nine tenths of all are known, and none of those that left.
        assert!(panel.delisted[3].is_some());
        panel.known.shares.remove("S003");
        settle(&mut panel);
        assert!(panel.known.shares.is_empty());
        let block = crate::features::build("equities_xs_v1", &panel).unwrap();
        let why = &block.excluded.iter().find(|e| e.name == "log_mktcap").unwrap().reason;
        assert!(why.contains("0.0 % of those that left"), "{why}");
        assert!(block.column("log_mktcap").is_none() && whole.known.shares.len() == 10);
    }
}
