//! When an evening is looked at: on which prices, after which session, and what stops the account.

use super::{Desk, Kind, words::Stop};
use crate::kit::Act;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::time::{TradingDay, UtcTime};
use engine::execution::switches;
use engine::pipelines::paper_day::AccountCheck;
use serde::{Deserialize, Serialize};

/// What an evening's looks at the account depend on; when it moves on, they are done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The newest session that the drive has prices of.
    pub prices: TradingDay,
    /// The session that closed last. Whether another one is open by now changes nothing: what was planned in the evening may be
    /// confirmed in the morning.
    pub closed: TradingDay,
}

/// When the newest data that are traded on were true, as far as they can be expected. In a running session they are those of the close before,
/// by design; after a close, the node still has to fetch and check the session before anything is planned on it. Older ones are as old as
/// they are.
pub(super) fn data_at(prices: TradingDay, account: &AccountCheck, now: UtcTime) -> Result<UtcTime> {
    let calendar = Calendar::xnys();
    let expected = if account.market_open { account.asof } else { calendar.previous(account.asof)? };
    Ok(if prices >= expected { now } else { calendar.close(prices) })
}

impl Desk {
    pub fn moment(&self, host: &Host) -> Result<Moment> {
        Ok(Moment { prices: self.market.asof, closed: Calendar::xnys().last_closed(host.now())? })
    }

    /// Switches that stop the account's increases.
    pub fn stops(&self, account: &str) -> Vec<Stop> {
        switches::stops(&self.db, account).iter().map(|(switch, state)| Stop::new(&self.db, *switch, state, account)).collect()
    }

    /// The account before its evening. A simulated book is worth what the drive's prices say: on those of an earlier session it
    /// would be settled, valued and reported falsely for ever.
    pub fn account_of_the_day(&self, act: &Act<'_>) -> Result<AccountCheck> {
        if matches!(self.broker, Kind::Simulated) {
            self.prices_are_there(act.host)?;
        }
        self.account(act)
    }

    /// The newest prices must be those of the last session that closed.
    pub(super) fn prices_are_there(&self, host: &Host) -> Result<()> {
        let wanted = Calendar::xnys().last_closed(host.now())?;
        if self.market.asof >= wanted {
            return Ok(());
        }
        Err(Error::new(code::GATE_GREEN, "the drive's prices are older than the last session")
            .found(text!("newest {}, last session {wanted}", self.market.asof))
            .fix("trademl node once"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_data_is_judged_once_they_can_be_there() {
        let day = |text: &str| text.parse::<TradingDay>().unwrap();
        let at = |text: &str| UtcTime::parse(text).unwrap();
        let look = |prices: &str, asof: &str, now: &str, market_open: bool| {
            let account = AccountCheck {
                broker: "alpaca".into(),
                account: "SIM1".into(),
                equity: 1.0,
                cash: 1.0,
                buying_power: 1.0,
                currency: "USD".into(),
                asof: day(asof),
                trading_day: day(asof),
                market_open,
                broker_now: at(now),
                expires_at: at(now),
                clock_ahead_s: 0.0,
            };
            data_at(day(prices), &account, at(now)).unwrap()
        };
        // Ten minutes after the close nobody has fetched the session yet.
        let (evening, noon) = ("2017-12-01T21:10:00Z", "2017-12-04T17:00:00Z");
        assert_eq!(look("2017-11-30", "2017-12-01", evening, false), at(evening));
        assert_eq!(look("2017-12-01", "2017-12-04", noon, true), at("2017-12-01T21:00:00Z"), "a session was not fetched at all");
        assert_eq!(look("2017-12-01", "2017-12-01", noon, true), at(noon));
        assert_eq!(look("2017-11-29", "2017-12-01", evening, false), at("2017-11-29T21:00:00Z"));
    }
}
