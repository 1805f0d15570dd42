//! Instants, exchange-local days and half-open windows.
//!
//! Everything stored is UTC (`2017-11-30T21:00:00.000000Z`); a [`TradingDay`] is a date on the exchange's own wall.

use crate::error::{Error, Result, code};
use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A moment in UTC with microsecond resolution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime(i64);

impl UtcTime {
    /// From microseconds since 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// Parse RFC 3339; anything finer than a microsecond is cut off.
    pub fn parse(text: &str) -> Result<Self> {
        let ts: Timestamp =
            text.parse().map_err(|e: jiff::Error| Error::new(code::CFG_VALUE, text!("'{text}' is not an RFC 3339 time")).cause(e.to_string()))?;
        Ok(Self(ts.as_microsecond()))
    }
    /// This instant moved by a signed number of seconds.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0 + seconds * 1_000_000)
    }
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0 + i64::try_from(d.as_micros()).unwrap_or(i64::MAX / 4))
    }
    /// Seconds from `earlier` to `self`; negative if `self` is before it.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }
    /// The calendar date in UTC.
    pub fn utc_day(self) -> TradingDay {
        TradingDay(i32::try_from(self.0.div_euclid(86_400_000_000)).unwrap_or(0))
    }
    /// The date on a wall in `zone`.
    pub fn day_in(self, zone: &TimeZone) -> TradingDay {
        TradingDay::from_date(zone.to_datetime(self.timestamp()).date())
    }
    /// The first instant of a day on a wall in `zone`.
    pub fn midnight_in(zone: &TimeZone, day: TradingDay) -> Self {
        let micros = zone.to_zoned(day.date().at(0, 0, 0, 0)).map_or(0, |z| z.timestamp().as_microsecond());
        Self(micros)
    }
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
    /// `20171130T210000Z`: for file names, which must not hold a colon.
    pub fn compact(self) -> String {
        self.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string()
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6fZ"))
    }
}
impl fmt::Debug for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for UtcTime {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::parse(s)
    }
}

/// A date on the primary exchange's wall (America/New_York), as days since 1970-01-01. Not every date is a session:
/// only [`crate::calendar`] knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TradingDay(pub i32);

impl TradingDay {
    pub fn from_date(date: Date) -> Self {
        Self(days_from_civil(date.year().into(), date.month().into(), date.day().into()))
    }
    /// The civil date. Dates outside jiff's range of years clamp to 1970-01-01.
    pub fn date(self) -> Date {
        let (year, month, day) = civil_from_days(self.0);
        i16::try_from(year).ok().and_then(|year| Date::new(year, month, day).ok()).unwrap_or(EPOCH)
    }
    /// From year, month (1..=12) and day of month; `None` if there is no such date.
    pub fn ymd(year: i16, month: i8, day: i8) -> Option<Self> {
        Date::new(year, month, day).ok().map(Self::from_date)
    }
    pub fn year(self) -> i16 {
        self.date().year()
    }
    /// 1..=12
    pub fn month(self) -> i8 {
        self.date().month()
    }
    /// 1..=31
    pub fn day_of_month(self) -> i8 {
        self.date().day()
    }
    /// Monday = 0 … Sunday = 6
    pub fn weekday(self) -> u8 {
        u8::try_from((self.0 + 3).rem_euclid(7)).unwrap_or(0)
    }
    /// This date moved by a signed number of calendar days.
    #[must_use]
    pub fn plus_days(self, days: i32) -> Self {
        Self(self.0 + days)
    }
    /// The same date `years` earlier (29 February becomes 28 February).
    #[must_use]
    pub fn minus_years(self, years: i16) -> Self {
        let d = self.date();
        Self::ymd(d.year() - years, d.month(), d.day()).or_else(|| Self::ymd(d.year() - years, d.month(), 28)).unwrap_or(self)
    }
}

const EPOCH: Date = Date::constant(1970, 1, 1);
const DAYS_OF_ERA: i32 = 146_097;

/// Year, month and day of a count of days since 1970-01-01 in the Gregorian calendar, by eras of 400 years that begin on 1 March
/// (Howard Hinnant, chrono-compatible low-level date algorithms): dates are read and written by the million.
fn civil_from_days(days: i32) -> (i32, i8, i8) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(DAYS_OF_ERA);
    let of_era = days.rem_euclid(DAYS_OF_ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let small = |n: i32| i8::try_from(n).unwrap_or(1);
    (era * 400 + year + i32::from(month <= 2), small(month), small(of_year - (153 * march + 2) / 5 + 1))
}

fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = year - i32::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl fmt::Display for TradingDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        if !(0..=9_999).contains(&date.year()) {
            return write!(f, "{date}");
        }
        let digit = |n: i32| b'0' + u8::try_from(n.rem_euclid(10)).unwrap_or(0);
        let (y, m, d) = (i32::from(date.year()), i32::from(date.month()), i32::from(date.day()));
        let text = [digit(y / 1_000), digit(y / 100), digit(y / 10), digit(y), b'-', digit(m / 10), digit(m), b'-', digit(d / 10), digit(d)];
        f.write_str(std::str::from_utf8(&text).unwrap_or(""))
    }
}
impl fmt::Debug for TradingDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for TradingDay {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || Error::new(code::CFG_VALUE, text!("'{s}' is not a date of the form YYYY-MM-DD"));
        if s.len() != 10 {
            return Err(bad());
        }
        s.parse::<Date>().map(Self::from_date).map_err(|_| bad())
    }
}

macro_rules! serde_as_text {
    ($t:ty) => {
        impl Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(|e: Error| serde::de::Error::custom(e.to_string()))
            }
        }
    };
}
serde_as_text!(UtcTime);
serde_as_text!(TradingDay);

/// Dates from `start` up to, but not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct DateRange {
    pub start: TradingDay,
    /// Excluded.
    pub end: TradingDay,
}

impl DateRange {
    /// A window; `start` must be before `end`.
    pub fn new(start: TradingDay, end: TradingDay) -> Result<Self> {
        if start >= end {
            return Err(Error::new(code::CFG_VALUE, text!("the window [{start}, {end}) is empty")));
        }
        Ok(Self { start, end })
    }
    pub fn contains(&self, day: TradingDay) -> bool {
        self.start <= day && day < self.end
    }
    /// The common part, if any.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}

impl fmt::Display for DateRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// The zone in which US exchanges keep their hours.
pub fn new_york() -> TimeZone {
    static ZONE: std::sync::OnceLock<TimeZone> = std::sync::OnceLock::new();
    ZONE.get_or_init(|| TimeZone::get("America/New_York").unwrap_or(TimeZone::UTC)).clone()
}
