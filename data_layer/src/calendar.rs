//! XNYS/XNAS regular sessions, 1990–2030: the only authority on trading days.
//!
//! A table of special closures plus the exchange's rules (NYSE Rule 7.2 and its yearly announcements), because no
//! published crate is right before 2020. Checked day by day against `tests/golden/calendars`. 2029 and 2030 are rule
//! projections. Hours are the *scheduled* ones: an unscheduled short day may soften a quality verdict, never define one.

use crate::error::{Error, Result, code};
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use std::sync::OnceLock;

/// First and last year the calendar answers for.
pub const YEARS: (i16, i16) = (1990, 2030);

/// Full-day closures that no rule predicts.
const SPECIAL_CLOSURES: &[(i16, i8, i8)] = &[
    (1994, 4, 27), // funeral of Richard Nixon
    (2001, 9, 11), // attacks of 11 September, until the 14th
    (2001, 9, 12),
    (2001, 9, 13),
    (2001, 9, 14),
    (2004, 6, 11),  // funeral of Ronald Reagan
    (2007, 1, 2),   // mourning for Gerald Ford
    (2012, 10, 29), // hurricane Sandy
    (2012, 10, 30),
    (2018, 12, 5), // mourning for George H. W. Bush
    (2025, 1, 9),  // mourning for Jimmy Carter
];

/// Announced 13:00 closes outside the rules.
const SPECIAL_EARLY: &[(i16, i8, i8)] = &[(1997, 12, 26), (1999, 12, 31), (2003, 12, 26)];

/// The exchange's sessions, in order.
pub struct Calendar {
    sessions: Vec<TradingDay>,
}

impl Calendar {
    /// The New York Stock Exchange; Nasdaq keeps the same days and hours.
    pub fn xnys() -> &'static Calendar {
        static CALENDAR: OnceLock<Calendar> = OnceLock::new();
        CALENDAR.get_or_init(|| {
            let mut sessions = Vec::with_capacity(10_400);
            for year in YEARS.0..=YEARS.1 {
                let closed = closures(year);
                let (Some(mut day), Some(last)) = (TradingDay::ymd(year, 1, 1), TradingDay::ymd(year, 12, 31)) else { continue };
                while day <= last {
                    if day.weekday() < 5 && !closed.contains(&day) {
                        sessions.push(day);
                    }
                    day = day.plus_days(1);
                }
            }
            Calendar { sessions }
        })
    }

    /// Whether the exchange held (or has scheduled) a session on `day`.
    pub fn is_session(&self, day: TradingDay) -> bool {
        self.sessions.binary_search(&day).is_ok()
    }

    /// The sessions of a half-open window, in order.
    pub fn sessions(&self, range: DateRange) -> &[TradingDay] {
        let from = self.sessions.partition_point(|d| *d < range.start);
        let to = self.sessions.partition_point(|d| *d < range.end);
        &self.sessions[from..to.max(from)]
    }

    /// `n` sessions after `day` (before it, when negative). From a non-session, 1 is the next session and -1 the last.
    pub fn offset(&self, day: TradingDay, n: i32) -> Result<TradingDay> {
        let at = self.sessions.partition_point(|d| *d < day);
        let on = self.sessions.get(at) == Some(&day);
        let base = i64::try_from(at).unwrap_or(0);
        let target = base + i64::from(n) - i64::from(!on && n > 0);
        usize::try_from(target).ok().and_then(|i| self.sessions.get(i).copied()).ok_or_else(|| out_of_range(day))
    }

    /// The first session after `day`.
    pub fn next(&self, day: TradingDay) -> Result<TradingDay> {
        self.offset(day, 1)
    }

    /// The last session before `day`.
    pub fn previous(&self, day: TradingDay) -> Result<TradingDay> {
        self.offset(day, -1)
    }

    /// `day` itself if it is a session, else the last one before it.
    pub fn on_or_before(&self, day: TradingDay) -> Result<TradingDay> {
        if self.is_session(day) { Ok(day) } else { self.previous(day) }
    }

    /// Position of a session in the exchange's history, for distances counted in sessions.
    pub fn index(&self, day: TradingDay) -> Option<usize> {
        self.sessions.binary_search(&day).ok()
    }

    /// Scheduled opening in UTC (09:30 New York).
    pub fn open(&self, day: TradingDay) -> UtcTime {
        wall(day, 9, 30)
    }

    /// Scheduled close in UTC, early closes included.
    pub fn close(&self, day: TradingDay) -> UtcTime {
        match early_close_hour(day) {
            Some(hour) => wall(day, hour, 0),
            None => wall(day, 16, 0),
        }
    }

    /// Regular minutes of the session: 390, or 210 (270 before 1993) on an early close.
    pub fn minutes(&self, day: TradingDay) -> u32 {
        match early_close_hour(day) {
            Some(14) => 270,
            Some(_) => 210,
            None => 390,
        }
    }

    /// The session that a moment belongs to (`open <= t < close`), if any.
    pub fn session_at(&self, t: UtcTime) -> Option<TradingDay> {
        let day = t.day_in(&new_york());
        (self.is_session(day) && self.open(day) <= t && t < self.close(day)).then_some(day)
    }

    /// The last session whose close is at or before `t`.
    pub fn last_closed(&self, t: UtcTime) -> Result<TradingDay> {
        let day = t.day_in(&new_york());
        if self.is_session(day) && self.close(day) <= t { Ok(day) } else { self.previous(day) }
    }
}

fn out_of_range(day: TradingDay) -> Error {
    Error::new(code::CFG_VALUE, text!("no session that far from {day}")).cause(text!("the built-in exchange calendar covers {} to {}", YEARS.0, YEARS.1))
}

fn wall(day: TradingDay, hour: i8, minute: i8) -> UtcTime {
    let local = day.date().at(hour, minute, 0, 0);
    let micros = new_york().to_zoned(local).map_or(0, |z| z.timestamp().as_microsecond());
    UtcTime::from_micros(micros)
}

fn special(list: &[(i16, i8, i8)], day: TradingDay) -> bool {
    list.iter().any(|(y, m, d)| TradingDay::ymd(*y, *m, *d) == Some(day))
}

/// The hour of an early close, or `None` for a full day (or no session).
fn early_close_hour(day: TradingDay) -> Option<i8> {
    let (year, month, dom, wd) = (day.year(), day.month(), day.day_of_month(), day.weekday());
    let thanksgiving_friday = year >= 1992 && month == 11 && wd == 4 && (23..=29).contains(&dom);
    let christmas_eve = month == 12 && dom == 24 && wd < 4;
    // Wednesday 3 July closes early from 2013; before, a Friday 5 July did.
    let independence =
        year >= 1995 && month == 7 && ((dom == 3 && (matches!(wd, 0 | 1 | 3) || (wd == 2 && year >= 2013))) || (dom == 5 && wd == 4 && year < 2013));
    if !(thanksgiving_friday || christmas_eve || independence || special(SPECIAL_EARLY, day)) {
        return None;
    }
    Some(if year < 1993 { 14 } else { 13 })
}

/// Every weekday on which the exchange was closed in `year`.
fn closures(year: i16) -> Vec<TradingDay> {
    let mut out: Vec<TradingDay> = SPECIAL_CLOSURES.iter().filter(|c| c.0 == year).filter_map(|c| TradingDay::ymd(c.0, c.1, c.2)).collect();
    let fixed = |month, day| TradingDay::ymd(year, month, day).map(observed);
    // A New Year's Day on a Saturday is not made up for: 31 December stays a session.
    out.extend(TradingDay::ymd(year, 1, 1).filter(|d| d.weekday() != 5).map(observed));
    if year >= 1998 {
        out.extend(nth_weekday(year, 1, 0, 3)); // Martin Luther King Jr.
    }
    out.extend(nth_weekday(year, 2, 0, 3)); // Washington's birthday
    out.push(easter(year).plus_days(-2)); // Good Friday
    out.extend(TradingDay::ymd(year, 5, 31).map(|d| d.plus_days(-i32::from(d.weekday())))); // Memorial Day
    if year >= 2022 {
        out.extend(fixed(6, 19)); // Juneteenth
    }
    out.extend(fixed(7, 4));
    out.extend(nth_weekday(year, 9, 0, 1)); // Labor Day
    out.extend(nth_weekday(year, 11, 3, 4)); // Thanksgiving
    out.extend(fixed(12, 25));
    out
}

/// Saturday holidays are kept on Friday, Sunday ones on Monday.
fn observed(day: TradingDay) -> TradingDay {
    match day.weekday() {
        5 => day.plus_days(-1),
        6 => day.plus_days(1),
        _ => day,
    }
}

/// The n-th `weekday` (Monday 0) of a month.
fn nth_weekday(year: i16, month: i8, weekday: i32, n: i32) -> Option<TradingDay> {
    let first = TradingDay::ymd(year, month, 1)?;
    let ahead = (weekday - i32::from(first.weekday())).rem_euclid(7);
    Some(first.plus_days(ahead + 7 * (n - 1)))
}

/// Easter Sunday by the anonymous Gregorian algorithm (Meeus, "Astronomical Algorithms", ch. 8).
fn easter(year: i16) -> TradingDay {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y / 100, y % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (b - (b + 8) / 25 + 1) / 3;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let (month, day) = ((h + l - 7 * m + 114) / 31, (h + l - 7 * m + 114) % 31 + 1);
    TradingDay::ymd(year, i8::try_from(month).unwrap_or(4), i8::try_from(day).unwrap_or(1)).unwrap_or(TradingDay(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn answer_table() -> BTreeMap<TradingDay, String> {
        include_str!("../../tests/golden/calendars/xnys_sessions_1990_2030.csv")
            .lines()
            .skip(1)
            .map(|line| {
                let (day, close) = line.split_once(',').unwrap();
                (day.parse().unwrap(), close.to_string())
            })
            .collect()
    }

    #[test]
    fn lesson_035_every_day_from_1990_to_2030_equals_the_answer_table() {
        let table = answer_table();
        let calendar = Calendar::xnys();
        assert_eq!(calendar.sessions.len(), table.len());
        for (day, close) in &table {
            assert!(calendar.is_session(*day), "{day} should be a session");
            let hour = early_close_hour(*day).unwrap_or(16);
            assert_eq!(&format!("{hour}00"), close, "{day}");
        }
    }

    #[test]
    fn offsets_cross_holidays_and_start_anywhere() {
        let c = Calendar::xnys();
        let day = |s: &str| s.parse::<TradingDay>().unwrap();
        assert_eq!(c.next(day("2012-10-26")).unwrap(), day("2012-10-31"));
        assert_eq!(c.offset(day("2024-07-02"), 5).unwrap(), day("2024-07-10"));
        assert_eq!(c.previous(day("2017-12-03")).unwrap(), day("2017-12-01"));
        assert_eq!(c.next(day("2017-12-02")).unwrap(), day("2017-12-04"));
        assert_eq!(c.offset(day("2017-12-01"), 0).unwrap(), day("2017-12-01"));
        assert!(c.offset(day("2030-12-31"), 1).is_err());
    }

    #[test]
    fn hours_follow_daylight_saving_and_early_closes() {
        let c = Calendar::xnys();
        let day = |s: &str| s.parse::<TradingDay>().unwrap();
        assert_eq!(c.open(day("2024-03-08")).to_string(), "2024-03-08T14:30:00.000000Z");
        assert_eq!(c.open(day("2024-03-11")).to_string(), "2024-03-11T13:30:00.000000Z");
        assert_eq!(c.close(day("2024-07-03")).to_string(), "2024-07-03T17:00:00.000000Z");
        let before = UtcTime::parse("2024-07-03T16:59:00Z").unwrap();
        assert_eq!(c.session_at(before), Some(day("2024-07-03")));
        assert_eq!(c.session_at(before.plus_seconds(60)), None);
        assert_eq!(c.last_closed(before).unwrap(), day("2024-07-02"));
    }
}
