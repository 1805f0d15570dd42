//! What happens to the account's orders, as it happens. After every connection, and whenever it breaks, the caller hears a gap and
//! has to reconcile: what happened in between is not told again.

use super::CTraderBroker;
use super::link::Link;
use super::session::News;
use super::wire::update;
use crate::execution::broker::{Events, Heard};
use data_layer::ctrader::Wire;
use data_layer::ctrader::messages::ExecutionEvent;
use data_layer::error::Result;
use data_layer::time::UtcTime;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// Seconds before the next try, by the number of failures so far.
const BACKOFF_S: [u64; 5] = [1, 2, 5, 15, 60];

/// A connection that lasted this long was a good one, in seconds, whatever it told.
const LASTED_S: f64 = 60.0;

/// The events of one account, over the connection that its orders go over as well.
pub struct EventStream<'a> {
    broker: &'a CTraderBroker,
    heard: Option<(Arc<Link>, broadcast::Receiver<News>)>,
    /// Connections in a row that could not be made, or broke before they were good for anything.
    failures: usize,
    since: UtcTime,
}

impl CTraderBroker {
    /// The account's order events. It connects when first asked.
    pub fn stream(&self) -> EventStream<'_> {
        EventStream { broker: self, heard: None, failures: 0, since: self.host.now() }
    }
}

impl EventStream<'_> {
    fn reconnect(&mut self) -> Result<Heard> {
        if self.failures > 0 {
            let wait = BACKOFF_S[(self.failures - 1).min(BACKOFF_S.len() - 1)];
            self.broker.host.block_on(self.broker.host.sleep(Duration::from_secs(wait)))?;
        }
        Ok(match self.broker.link() {
            Ok(link) => {
                let listening = link.session.listen();
                (self.heard, self.since) = (Some((link, listening)), self.broker.host.now());
                Heard::Gap(text!("the stream was connected"))
            }
            Err(e) => {
                self.failures += 1;
                Heard::Gap(e.body().what.clone())
            }
        })
    }

    fn lost(&mut self, why: String) -> Heard {
        let lasted = self.broker.host.now().seconds_since(self.since) >= LASTED_S;
        (self.heard, self.failures) = (None, if lasted { 1 } else { self.failures + 1 });
        Heard::Gap(why)
    }
}

impl Events for EventStream<'_> {
    fn is_connected(&self) -> bool {
        self.heard.as_ref().is_some_and(|(link, _)| link.session.is_alive())
    }

    fn next(&mut self, patience: Duration) -> Result<Heard> {
        let Some((link, listening)) = self.heard.as_mut() else { return self.reconnect() };
        // A connection that broke before anybody listened to it tells nothing of its end.
        if !link.session.is_alive() && listening.is_empty() {
            return Ok(self.lost(text!("the connection broke")));
        }
        // Quotes come the same way, and are no news of an order.
        let of_orders = async {
            loop {
                match listening.recv().await {
                    Ok(News::Message(envelope)) if envelope.payload_type != ExecutionEvent::PAYLOAD => {}
                    heard => return heard,
                }
            }
        };
        let heard = self.broker.host.block_on(async { tokio::time::timeout(patience, of_orders).await })?;
        Ok(match heard {
            Err(_) => Heard::Silence,
            Ok(Ok(News::Message(envelope))) => {
                self.failures = 0;
                let event = ExecutionEvent::unwrapped(&envelope);
                // Bookings of money are no news of an order, and are fetched with the rest.
                let told = event.as_ref().and_then(|e| update(e, &link.name, &link.symbols));
                told.map_or_else(|| Heard::Gap(text!("an event could not be read")), |u| Heard::Update(Box::new(u)))
            }
            Ok(Ok(News::Lost(why))) => self.lost(why),
            Ok(Err(broadcast::error::RecvError::Lagged(_))) => Heard::Gap(text!("events came faster than they were read")),
            Ok(Err(broadcast::error::RecvError::Closed)) => self.lost(text!("the connection broke")),
        })
    }
}
