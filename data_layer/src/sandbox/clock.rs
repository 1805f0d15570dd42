//! The world clock: stands still until told, and never goes back.

use crate::calendar::Calendar;
use crate::error::{Error, Result, code};
use crate::time::{TradingDay, UtcTime, new_york};
use serde::{Deserialize, Serialize};

/// What `GET /_world/clock` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockFace {
    pub now: UtcTime,
    /// The session in progress, else the last one that closed.
    pub session: TradingDay,
    pub is_open: bool,
    pub next_open: UtcTime,
    pub next_close: UtcTime,
}

/// The clock's face at `now`.
pub fn face(now: UtcTime) -> Result<ClockFace> {
    let calendar = Calendar::xnys();
    let running = calendar.session_at(now);
    let session = match running {
        Some(day) => day,
        None => calendar.last_closed(now)?,
    };
    Ok(ClockFace { now, session, is_open: running.is_some(), next_open: next(now, Calendar::open)?, next_close: next(now, Calendar::close)? })
}

/// The first instant after `now` among the opens (or closes) of the coming sessions.
fn next(now: UtcTime, at: fn(&Calendar, TradingDay) -> UtcTime) -> Result<UtcTime> {
    let calendar = Calendar::xnys();
    let mut day = now.day_in(&new_york());
    loop {
        if calendar.is_session(day) && at(calendar, day) > now {
            return Ok(at(calendar, day));
        }
        day = calendar.next(day)?;
    }
}

/// Where `{"advance": word}` leads: `next_open`, `next_close`, `next_session` (the opening of the first session on a
/// later date), or a duration such as `PT15M`.
pub fn target(now: UtcTime, word: &str) -> Result<UtcTime> {
    let calendar = Calendar::xnys();
    match word {
        "next_open" => next(now, Calendar::open),
        "next_close" => next(now, Calendar::close),
        "next_session" => Ok(calendar.open(calendar.next(now.day_in(&new_york()))?)),
        duration => {
            let span: jiff::SignedDuration = duration.parse().map_err(|e: jiff::Error| {
                Error::new(code::USE_ARGUMENT, format!("'{duration}' is not next_open, next_close, next_session or a duration like PT15M")).cause(e.to_string())
            })?;
            Ok(now.plus_seconds(span.as_secs()))
        }
    }
}

/// RFC 3339 with New York's offset, as the broker writes its clock.
pub fn local(t: UtcTime) -> String {
    jiff::Timestamp::from_microsecond(t.micros()).map_or_else(|_| t.to_string(), |ts| ts.to_zoned(new_york()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}

/// `2017-11-30T05:00:00Z`: midnight in New York, the vendor's stamp of a day bar.
pub fn midnight(day: TradingDay) -> UtcTime {
    UtcTime::midnight_in(&new_york(), day)
}

/// UTC without fractions.
pub fn seconds(t: UtcTime) -> String {
    jiff::Timestamp::from_microsecond(t.micros()).map_or_else(|_| t.to_string(), |ts| ts.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(s: &str) -> UtcTime {
        UtcTime::parse(s).unwrap()
    }

    #[test]
    fn faces_and_targets_know_half_days_and_weekends() {
        let f = face(t("2017-11-24T17:59:59Z")).unwrap();
        assert!(f.is_open && f.session.to_string() == "2017-11-24" && f.next_close == t("2017-11-24T18:00:00Z"));
        let f = face(t("2017-11-24T18:00:00Z")).unwrap();
        assert!(!f.is_open && f.session.to_string() == "2017-11-24");
        assert_eq!((f.next_open, f.next_close), (t("2017-11-27T14:30:00Z"), t("2017-11-27T21:00:00Z")));
        let before_open = t("2017-11-27T12:00:00Z");
        assert_eq!(target(before_open, "next_open").unwrap(), t("2017-11-27T14:30:00Z"));
        assert_eq!(target(before_open, "next_session").unwrap(), t("2017-11-28T14:30:00Z"));
        assert_eq!(target(before_open, "PT15M").unwrap(), t("2017-11-27T12:15:00Z"));
        assert!(target(before_open, "soon").is_err());
        assert_eq!(seconds(midnight("2017-07-03".parse().unwrap())), "2017-07-03T04:00:00Z");
        assert_eq!(local(t("2017-11-27T14:30:00Z")), "2017-11-27T09:30:00-05:00");
    }
}
