//! When a loop is due. Pure: the times of the last runs and the present moment decide.

use crate::error::{Error, Result, code};
use crate::sourcing::settings::Loops;
use crate::time::UtcTime;
use jiff::ToSpan;
use jiff::tz::TimeZone;

/// A loop of the node. What works the queue off runs between them and gives way when one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loop {
    /// New sessions are asked for.
    Forward,
    /// What is new is judged, and what is missing asked for again.
    Light,
    /// Everything is read and judged, the stage is weighed, old rows are removed.
    Heavy,
    /// Curation, cross-vendor probes, exports, backups.
    Maintenance,
}

impl Loop {
    /// In the order in which those that are due together run.
    pub const ALL: [Self; 4] = [Self::Forward, Self::Light, Self::Heavy, Self::Maintenance];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Light => "planner_light",
            Self::Heavy => "planner_heavy",
            Self::Maintenance => "maintenance",
        }
    }
}

/// How often, and when at night.
#[derive(Clone, Debug)]
pub struct Times {
    forward_seconds: i64,
    light_seconds: i64,
    /// Hour and minute on the wall of `zone`.
    daily: (i8, i8),
    zone: TimeZone,
}

impl Times {
    /// From `edge.yml`; `maintenance` (`HH:MM`, this machine's record) goes before the file's. Anything else is an error.
    pub fn new(loops: &Loops, maintenance: Option<&str>, zone: TimeZone) -> Result<Self> {
        let text = maintenance.unwrap_or(&loops.maintenance);
        let bad = || Error::new(code::CFG_VALUE, text!("'{text}' is not a time of day")).fix("loops.maintenance in edge.yml: \"02:00\"");
        let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
        let (hour, minute) = (hour.parse::<i8>().map_err(|_| bad())?, minute.parse::<i8>().map_err(|_| bad())?);
        if !(0..24).contains(&hour) || !(0..60).contains(&minute) || loops.forward_minutes == 0 || loops.planner_hours == 0 {
            return Err(bad());
        }
        let seconds = |n: u32, unit: i64| i64::from(n) * unit;
        Ok(Self { forward_seconds: seconds(loops.forward_minutes, 60), light_seconds: seconds(loops.planner_hours, 3_600), daily: (hour, minute), zone })
    }

    /// When `which` is due after it last began at `last`; not later than `now` means now. A last run that lies in the
    /// future was recorded by a clock that has been set back since: then the loop is due.
    pub fn due(&self, which: Loop, last: Option<UtcTime>, now: UtcTime) -> UtcTime {
        let Some(last) = last.filter(|t| *t <= now) else { return now };
        match which {
            Loop::Forward => last.plus_seconds(self.forward_seconds),
            Loop::Light => last.plus_seconds(self.light_seconds),
            Loop::Heavy | Loop::Maintenance => self.nightly_after(last),
        }
    }

    /// Seconds after which some loop is due, whatever the clock says.
    pub fn longest_rest(&self) -> f64 {
        self.forward_seconds.min(self.light_seconds) as f64
    }

    /// The first maintenance time after `t`. A time that the clocks skip in spring is the moment they jump to.
    fn nightly_after(&self, t: UtcTime) -> UtcTime {
        let wall = self.zone.to_datetime(t.timestamp()).date();
        let at = |days: i64| {
            let date = wall.checked_add(days.days()).unwrap_or(wall);
            let moment = date.at(self.daily.0, self.daily.1, 0, 0).to_zoned(self.zone.clone());
            moment.map_or(t.plus_seconds(86_400), |z| UtcTime::from_micros(z.timestamp().as_microsecond()))
        };
        (0..3).map(at).find(|moment| *moment > t).unwrap_or_else(|| t.plus_seconds(86_400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn times(zone: &str) -> Times {
        Times::new(&Loops::default(), None, TimeZone::get(zone).unwrap()).unwrap()
    }

    #[test]
    fn what_never_ran_is_due_and_the_rest_after_its_time() {
        let (times, now) = (times("UTC"), t("2026-11-21T12:00:00Z"));
        for which in Loop::ALL {
            assert_eq!(times.due(which, None, now), now, "{which:?}");
            assert_eq!(times.due(which, Some(t("2026-11-24T12:00:00Z")), now), now, "{which:?} after a clock that ran ahead");
        }
        let last = Some(t("2026-11-21T11:00:00Z"));
        assert_eq!(times.due(Loop::Forward, last, now), t("2026-11-21T11:15:00Z"));
        assert_eq!(times.due(Loop::Light, last, now), t("2026-11-21T15:00:00Z"));
        assert_eq!(times.due(Loop::Heavy, last, now), t("2026-11-22T02:00:00Z"));
    }

    #[test]
    fn a_night_without_power_is_caught_up_once() {
        let times = times("America/New_York");
        // Last on Thursday night; the machine comes back on Saturday noon.
        let (last, back) = (t("2026-11-19T07:00:05Z"), t("2026-11-21T17:00:00Z"));
        assert!(times.due(Loop::Maintenance, Some(last), back) <= back);
        assert_eq!(times.due(Loop::Maintenance, Some(back), back), t("2026-11-22T07:00:00Z"));
    }

    #[test]
    fn a_night_of_23_or_25_hours_has_one_maintenance() {
        let times = times("America/New_York");
        // 02:00 does not exist on 2026-03-08 and exists twice (in part) on 2026-11-01.
        assert_eq!(times.due(Loop::Heavy, Some(t("2026-03-07T07:00:00Z")), t("2026-03-07T08:00:00Z")), t("2026-03-08T07:00:00Z"));
        assert_eq!(times.due(Loop::Heavy, Some(t("2026-03-08T07:00:00Z")), t("2026-03-08T08:00:00Z")), t("2026-03-09T06:00:00Z"));
        let autumn = times.due(Loop::Heavy, Some(t("2026-10-31T06:00:00Z")), t("2026-10-31T07:00:00Z"));
        assert_eq!(autumn, t("2026-11-01T07:00:00Z"));
        assert_eq!(times.due(Loop::Heavy, Some(autumn), autumn), t("2026-11-02T07:00:00Z"));
    }

    #[test]
    fn a_time_of_day_that_is_none_is_refused() {
        for bad in ["25:00", "2", "02:60", "", "x:y", "-1:00"] {
            assert!(Times::new(&Loops::default(), Some(bad), TimeZone::UTC).unwrap_err().is(code::CFG_VALUE), "{bad}");
        }
        assert!(Times::new(&Loops { forward_minutes: 0, ..Loops::default() }, None, TimeZone::UTC).is_err());
    }
}
