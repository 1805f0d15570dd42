//! A book that is written down and never sent: every order is refused in words, nothing is ever filled.

use super::{Broker, BrokerAccount, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, Lookup, Submitted};
use crate::execution::order::Intent;
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::time::UtcTime;

/// Stands where a broker would, and sends nothing.
pub struct ShadowBroker {
    host: Host,
    equity: f64,
}

impl ShadowBroker {
    pub fn new(host: &Host, equity: f64) -> Self {
        Self { host: host.clone(), equity }
    }
}

/// The exchange's own clock at `now`.
pub(crate) fn exchange_clock(now: UtcTime) -> Result<BrokerClock> {
    let calendar = Calendar::xnys();
    let open_session = calendar.session_at(now);
    let last = calendar.last_closed(now)?;
    let next = calendar.next(open_session.unwrap_or(last))?;
    let next_close = calendar.close(open_session.unwrap_or(next));
    Ok(BrokerClock { now, is_open: open_session.is_some(), next_open: Some(calendar.open(next)), next_close: Some(next_close) })
}

impl Broker for ShadowBroker {
    fn name(&self) -> &'static str {
        "shadow"
    }
    fn refuses_duplicates(&self) -> bool {
        true
    }
    fn tells_all_cash(&self) -> bool {
        false
    }
    fn account(&self) -> Result<BrokerAccount> {
        let (equity, currency, status) = (self.equity, "USD".to_string(), "SHADOW".to_string());
        Ok(BrokerAccount { account: "SHADOW".into(), equity, cash: equity, buying_power: 0.0, currency, status, blocked: true })
    }
    fn clock(&self) -> Result<BrokerClock> {
        exchange_clock(self.host.now())
    }
    fn submit(&self, _intent: &Intent) -> Submitted {
        Submitted::Refused { code: "shadow".into(), text: "a shadow book sends nothing".into() }
    }
    fn find_by_client_id(&self, _client_order_id: &str) -> Lookup {
        Lookup::NotFound
    }
    fn cancel(&self, _broker_order_id: &str) -> Result<()> {
        Ok(())
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>> {
        Ok(Vec::new())
    }
    fn orders_since(&self, _after: UtcTime) -> Result<Vec<BrokerOrder>> {
        Ok(Vec::new())
    }
    fn fills_since(&self, _after: Option<UtcTime>) -> Result<Vec<BrokerFill>> {
        Ok(Vec::new())
    }
    fn positions(&self) -> Result<Vec<BrokerPosition>> {
        Ok(Vec::new())
    }
}
