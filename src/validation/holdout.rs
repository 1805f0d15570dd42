//! The dark holdout: the newest stretch of history, set aside when a family is first trained and looked at once.
//!
//! Nothing that is searched, chosen or compared before sees a label of it. Opening is an act of its own, and its outcome
//! stays in the ledger for ever; there is no second look, whatever the first one said.

use data_layer::time::{DateRange, TradingDay};
use serde::{Deserialize, Serialize};

/// How much is set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldoutConfig {
    /// Calendar months before the newest session; 0 sets nothing aside.
    pub months: u32,
}

/// The stretch to set aside; none when nothing is asked for, or everything would be. Where nothing was searched yet, it is the end of
/// `held`. Days up to `seen` were searched and cannot be made dark again: the stretch begins after them and is as long as asked for, so that
/// a part of it, or all, is still to come.
pub fn window(config: HoldoutConfig, held: DateRange, seen: Option<TradingDay>) -> Option<DateRange> {
    if config.months == 0 {
        return None;
    }
    // The mean month: where exactly it begins does not matter, that it never moves does.
    let days = (f64::from(config.months) * 365.25 / 12.0).round() as i32;
    let newest = held.end.plus_days(-days);
    let start = seen.map_or(newest, |seen| newest.max(seen.plus_days(1)));
    if start <= held.start { None } else { DateRange::new(start, start.plus_days(days)).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_months_are_set_aside_and_nothing_when_there_is_nothing_else() {
        let held = DateRange::new("2013-02-08".parse().unwrap(), "2018-02-08".parse().unwrap()).unwrap();
        let w = window(HoldoutConfig { months: 6 }, held, None).unwrap();
        assert_eq!((w.start.to_string(), w.end), ("2017-08-09".to_string(), held.end));
        assert!(window(HoldoutConfig { months: 0 }, held, None).is_none());
        assert!(window(HoldoutConfig { months: 120 }, held, None).is_none());
    }
    #[test]
    fn months_that_were_searched_are_never_sealed() {
        let held = DateRange::new("2013-02-08".parse().unwrap(), "2018-02-08".parse().unwrap()).unwrap();
        let after = |seen: &str| window(HoldoutConfig { months: 6 }, held, Some(seen.parse().unwrap())).unwrap();
        assert_eq!(after("2018-02-07").to_string(), "[2018-02-08, 2018-08-10)", "all of it is to come");
        assert_eq!(after("2017-12-29").start.to_string(), "2017-12-30", "a part of it");
        assert_eq!(after("2016-01-04"), window(HoldoutConfig { months: 6 }, held, None).unwrap());
    }
}
