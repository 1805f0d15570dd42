//! Sending an order, once. Everything that can be found out beforehand is asked for first; what fails up to there has certainly not left
//! this machine, and the order may go again.

use super::link::Link;
use super::session::{Failure, News, refusal};
use super::wire::{self, RETRY_S, session_is_over, too_often};
use super::{ANSWER, About, CTraderBroker, failed, malformed, symbols};
use crate::execution::broker::Submitted;
use crate::execution::broker::shadow::exchange_clock;
use crate::execution::order::{Intent, OrderType, Tif};
use crate::types::Side;
use data_layer::ctrader::messages::{self as m, Envelope};
use data_layer::ctrader::words::{ExecutionType, OrderStatus};
use data_layer::ctrader::{VOLUME_UNITS, Wire};
use data_layer::error::{Error, Result, code};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Seconds to wait after an order could not be prepared: three tries outlast a short outage.
const AGAIN_S: u64 = 15;
/// Two clocks that agree may still be this far apart, in seconds: what depends on the opening is not decided that close to it.
const CLOCK_SKEW_S: f64 = 5.0;
/// The broker's newest price may lie this far from the price that sized the order; beyond it the symbol is probably another thing.
const PRICE_BAND: f64 = 0.20;

/// What preparing an order came to.
enum Ready {
    Send(m::NewOrderReq),
    /// A no that needs no broker.
    No(symbols::No),
    /// Not now: after so many seconds.
    Wait(u64),
}

impl CTraderBroker {
    /// Prepare an order and send it, over the connection that it was prepared for.
    pub(super) fn send(&self, intent: &Intent) -> Submitted {
        for _ in 0..2 {
            let (link, question) = match self.ready(intent) {
                Ok((link, Ready::Send(question))) => (link, question),
                Ok((_, Ready::No((code, text)))) => return Submitted::Refused { code: code.into(), text },
                Ok((_, Ready::Wait(s))) => return Submitted::NotSent { why: text!("the market is about to open"), retry_after_s: s },
                Err(e) => return Submitted::NotSent { why: e.body().what.clone(), retry_after_s: AGAIN_S },
            };
            // Where a question had to log in anew, the numbers may be another session's.
            if self.is_current(&link) {
                return self.outcome(&link, &question, intent);
            }
        }
        Submitted::NotSent { why: text!("the connection broke"), retry_after_s: AGAIN_S }
    }

    fn ready(&self, intent: &Intent) -> Result<(Arc<Link>, Ready)> {
        let link = self.link()?;
        let ready = self.prepare(&link, intent)?;
        self.pace(false)?;
        Ok((link, ready))
    }

    fn outcome(&self, link: &Arc<Link>, question: &m::NewOrderReq, intent: &Intent) -> Submitted {
        let answer = match self.send_once(link, question, intent) {
            Ok(answer) => answer,
            Err(why) => {
                self.unlink(link);
                return Submitted::Unknown(why);
            }
        };
        match refusal(&answer) {
            Some(Failure::Refused { code, retry_after_s, .. }) if too_often(&code) => {
                Submitted::NotSent { why: text!("the broker's rate limit is exhausted"), retry_after_s: retry_after_s.unwrap_or(RETRY_S).clamp(1, 300) }
            }
            // The session is over, not the order: a new one may trade.
            Some(Failure::Refused { code, .. }) if session_is_over(&code) => {
                self.unlink(link);
                Submitted::NotSent { why: text!("the broker answered {code}"), retry_after_s: RETRY_S }
            }
            _ => wire::classify(&answer, intent, &link.symbols),
        }
    }

    /// Send an order once, and wait for what the server makes of it: the answer with our id, or news of an order with our client id.
    fn send_once(&self, link: &Link, question: &m::NewOrderReq, intent: &Intent) -> Result<Envelope, String> {
        let mut news = link.session.listen();
        let mut asked = link.session.send(question).map_err(|_| text!("the connection broke"))?;
        let waiting = async {
            loop {
                tokio::select! {
                    answered = &mut asked.answer => return answered.map_err(|_| text!("the connection broke")),
                    heard = news.recv() => match heard {
                        // What the server answers comes before what it tells, and counts before it.
                        Ok(News::Message(envelope)) if is_about(&envelope, &intent.client_order_id) => {
                            return Ok(asked.answer.try_recv().unwrap_or_else(|_| (*envelope).clone()));
                        }
                        Ok(News::Message(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Ok(News::Lost(why)) => return Err(why),
                        Err(broadcast::error::RecvError::Closed) => return Err(text!("the connection broke")),
                    },
                }
            }
        };
        let patient = async { tokio::time::timeout(ANSWER, waiting).await };
        self.host.block_on(patient).map_err(|e| e.to_string())?.unwrap_or_else(|_| Err(text!("no answer in time")))
    }

    fn prepare(&self, link: &Link, intent: &Intent) -> Result<Ready> {
        let id = match link.symbols.id(&intent.symbol) {
            Ok(id) => id,
            Err(no) => return Ok(Ready::No(no)),
        };
        let rules: m::SymbolByIdRes = self.ask(About::Now, |account| m::SymbolByIdReq { account, symbols: vec![id] })?;
        let rules = rules.symbols.into_iter().find(|s| s.id == id).ok_or_else(|| malformed("symbol"))?;
        // What is held matters only where a sale may not go below nothing.
        let may_not_short = intent.side == Side::Sell && rules.short_selling == Some(false);
        let held = if may_not_short { self.held()?.iter().find(|p| p.symbol == intent.symbol).map_or(0.0, |p| p.qty) } else { f64::INFINITY };
        if let Some(no) = self.another_price(intent)? {
            return Ok(Ready::No(no));
        }
        let clock = exchange_clock(self.host.now())?;
        if intent.order_type == OrderType::Market && matches!(intent.tif, Tif::Day | Tif::Opg) {
            if let Some(wait) = near_open(&clock) {
                return Ok(Ready::Wait(wait));
            }
            let waits_for_open = intent.tif == Tif::Opg || !clock.is_open;
            if waits_for_open && clock.next_open.is_none_or(|at| at >= intent.expires_at) {
                return Ok(Ready::No(("MARKET_CLOSED", text!("the next opening is not in the session of this order"))));
            }
        }
        Ok(wire::new_order(intent, link.account, id, &rules, held, clock.is_open).map_or_else(Ready::No, Ready::Send))
    }

    /// A symbol may have the ticker of a share and be something else. An order that only closes what is held is spared the question.
    fn another_price(&self, intent: &Intent) -> Result<Option<symbols::No>> {
        if intent.reduce_only {
            return Ok(None);
        }
        let Some((price, _)) = self.quote(&intent.symbol)? else { return Ok(None) };
        let off = (price / intent.reference_price - 1.0).abs();
        let words = || text!("the broker's {} costs {price}, the order was sized at {}: probably another instrument", intent.symbol, intent.reference_price);
        // Written so that a price that is no number is no match either.
        Ok((!(off <= PRICE_BAND)).then(|| ("price_mismatch", words())))
    }

    /// Take an order back, and send another for no more than is left of it. Amending in place would keep the old id, and a replacement whose
    /// answer was lost could not be found by its own. Safe to repeat until the new one was sent, which happens once.
    pub(super) fn send_instead(&self, old: i64, next: &Intent) -> Submitted {
        let not_sent = |e: &Error| Submitted::NotSent { why: e.body().what.clone(), retry_after_s: AGAIN_S };
        // What would be refused takes nothing back.
        match self.ready(next) {
            Ok((_, Ready::Send(_))) => {}
            Ok((_, Ready::No((code, text)))) => return Submitted::Refused { code: code.into(), text },
            Ok((_, Ready::Wait(s))) => return Submitted::NotSent { why: text!("the market is about to open"), retry_after_s: s },
            Err(e) => return not_sent(&e),
        }
        match self.room_after(old, next) {
            Ok(None) => self.send(next),
            Ok(Some((code, text))) => Submitted::Refused { code: code.into(), text },
            Err(e) => not_sent(&e),
        }
    }

    /// Take the old order back and see what it left; a no where that is not enough.
    fn room_after(&self, old: i64, next: &Intent) -> Result<Option<symbols::No>> {
        self.take_back(old)?;
        let order = self.ask::<m::OrderDetailsRes, _>(About::Past, |account| m::OrderDetailsReq { account, order: old })?.order;
        let left = (order.trade.volume - order.executed_volume.unwrap_or(0)) as f64 / VOLUME_UNITS;
        match OrderStatus::of(order.status) {
            Some(OrderStatus::Accepted) | None => Err(Error::new(code::NET_UNREACHABLE, text!("the order {old} is not over yet"))),
            Some(OrderStatus::Cancelled) if next.qty <= left + 1e-9 => Ok(None),
            _ => Ok(Some(("not_open", text!("the order {old} ended before it could be replaced")))),
        }
    }

    /// Take an order back. Safe to repeat, so it is, like any question.
    pub(super) fn take_back(&self, order: i64) -> Result<()> {
        let asked: Result<m::ExecutionEvent, Failure> = self.put(About::Now, |account| m::CancelOrderReq { account, order })?;
        match asked {
            Ok(event) if ExecutionType::of(event.kind) == Some(ExecutionType::CancelRejected) => {
                Err(Error::new(code::ORD_REFUSED, text!("cTrader did not take the order {order} back"))
                    .cause(event.error_code.unwrap_or_else(|| ExecutionType::CancelRejected.as_str().into())))
            }
            Ok(_) => Ok(()),
            // No longer there or no longer open, which the next look-up explains.
            Err(Failure::Refused { code, .. }) if matches!(code.as_str(), "ORDER_NOT_FOUND" | "UNABLE_TO_CANCEL_ORDER" | "ENTITY_NOT_FOUND") => Ok(()),
            Err(failure) => Err(failed(failure)),
        }
    }
}

/// Seconds to wait where an opening is so near that the two clocks may see it differently.
fn near_open(clock: &crate::execution::broker::BrokerClock) -> Option<u64> {
    let calendar = data_layer::calendar::Calendar::xnys();
    let opened = calendar.session_at(clock.now).map(|day| calendar.open(day));
    let away = [opened, clock.next_open].into_iter().flatten().map(|at| at.seconds_since(clock.now)).find(|s| s.abs() <= CLOCK_SKEW_S)?;
    Some((away + CLOCK_SKEW_S) as u64 + 1)
}

/// Whether news are of the order with this client id.
fn is_about(envelope: &Envelope, client_order_id: &str) -> bool {
    m::ExecutionEvent::unwrapped(envelope).and_then(|e| e.order).and_then(|o| o.client_order_id).is_some_and(|id| id == client_order_id)
}
