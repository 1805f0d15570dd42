//! When an evening is looked at: on which prices, after which session, and what stops the account.

use super::{Desk, Kind, words::Stop};
use crate::kit::Act;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::time::TradingDay;
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
