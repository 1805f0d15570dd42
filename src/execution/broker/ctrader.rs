//! cTrader's Open API (messages of 2025-07) for demo accounts.
//!
//! Protobuf over TLS, one connection for questions, orders and news. A live host is refused: there is no way to make the consent that
//! it would need, and an account that does not say that it is a demo account is refused as well. Whether this broker would notice an
//! order that is sent twice is not documented, so no order is ever sent twice: an order whose answer was lost is looked for among the
//! pending orders, the list of orders and the executions.

mod history;
mod link;
pub mod oauth;
mod session;
mod stream;
mod symbols;
mod wire;

pub use stream::EventStream;

use self::link::{ANSWER, Link, malformed, token_is_dead};
use self::session::{Failure, News};
use self::wire::too_often;
use super::place::{Place, host_of};
use super::shadow::exchange_clock;
use super::{Broker, BrokerAccount, BrokerActivity, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, Lookup, Submitted};
use crate::execution::gates::LiveConsent;
use crate::execution::order::Intent;
use crate::types::Side;
use data_layer::budget::{Pacer, Per, WindowSpec};
use data_layer::ctrader::messages::{self as m, Envelope};
use data_layer::ctrader::models::{Position, Trader};
use data_layer::ctrader::words::{AccessRights, PositionStatus, TradeSide};
use data_layer::ctrader::{DEMO_HOST, LIVE_HOST, PORT, QUOTE_UNITS, VOLUME_UNITS, Wire, moment, money};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::time::UtcTime;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

const BASE_VARIABLE: &str = "TRADEML_BASE_URL_CTRADER";
const PLACE: Place = Place { variable: BASE_VARIABLE, secure: "tls", plain: None, paper: DEMO_HOST, live: LIVE_HOST };
/// The server takes 50 questions a second, and 5 about the past.
const PACE: [WindowSpec; 1] = [WindowSpec { per: Per::Second, calls: 45 }];
const PACE_HISTORY: [WindowSpec; 1] = [WindowSpec { per: Per::Second, calls: 5 }];
/// Times that a question (never an order) is put before its failure stands.
const TRIES: u32 = 4;
/// Real time for a subscription's first quote.
const QUOTE: Duration = Duration::from_secs(5);

/// Where the server is.
pub(super) struct Address {
    host: String,
    port: u16,
    loopback: bool,
}

/// A demo account at cTrader, or at a double on loopback.
pub struct CTraderBroker {
    host: Host,
    address: Address,
    consent: Option<LiveConsent>,
    link: Mutex<Option<Arc<Link>>>,
    pacer: Pacer,
    /// The exponent of the account's money, once it was told.
    digits: Mutex<Option<u32>>,
}

/// Whether a question is about the past, which the server answers less often.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Now,
    Past,
}

impl CTraderBroker {
    /// Refuses a live host, anything but TLS, and a root and a host of different worlds. Nothing is sent yet.
    pub fn new(root: &DataRoot, consent: Option<LiveConsent>) -> Result<Self> {
        let host = root.host().clone();
        let base = host.env(BASE_VARIABLE).map_or_else(|| format!("tls://{DEMO_HOST}:{PORT}"), |b| b.trim_end_matches('/').to_string());
        let loopback = PLACE.check(&base, consent.as_ref())?;
        if root.is_world() && !loopback {
            return Err(Error::new(code::CFG_DATASET_MIXED, text!("this drive holds '{}' data; its orders go to the sandbox only", root.drive().dataset))
                .fix("trademl sandbox"));
        }
        let authority = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest);
        let form = || Error::new(code::NET_FORBIDDEN_HOST, text!("{BASE_VARIABLE} is not of the form tls://HOST:PORT"));
        if authority.contains(['/', '?', '#']) {
            return Err(form());
        }
        let port = match authority.strip_prefix(host_of(authority)).or_else(|| authority.split_once(']').map(|(_, rest)| rest)) {
            None | Some("") => PORT,
            Some(rest) => rest.strip_prefix(':').and_then(|p| p.parse().ok()).ok_or_else(form)?,
        };
        let address = Address { host: host_of(authority).to_string(), port, loopback };
        Ok(Self { host, address, consent, link: Mutex::default(), pacer: Pacer::default(), digits: Mutex::default() })
    }

    /// The open account; connects where there is no connection.
    fn link(&self) -> Result<Arc<Link>> {
        let mut current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = current.as_ref().filter(|l| l.session.is_alive()) {
            return Ok(Arc::clone(link));
        }
        *current = None;
        let fresh = Arc::new(link::open(self)?);
        *current = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    fn unlink(&self) {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Wait for room in the server's windows.
    fn pace(&self, past: bool) -> Result<()> {
        let admitted = async {
            if past {
                self.pacer.admit(&self.host, "ctrader_history", &PACE_HISTORY, 1).await?;
            }
            self.pacer.admit(&self.host, "ctrader", &PACE, 1).await
        };
        self.host.block_on(admitted)?.map(drop)
    }

    /// Put a question until it is answered: again after a broken connection, a dead token, or too many questions. Never for orders.
    fn ask<A: Wire, Q: Wire>(&self, about: About, question: impl Fn(i64) -> Q) -> Result<A> {
        let mut failure = Failure::Malformed;
        for nth in 0..TRIES {
            let link = self.link()?;
            self.pace(about == About::Past)?;
            failure = match self.host.block_on(link.session.ask(&question(link.account), ANSWER))? {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match &failure {
                Failure::Transport(_) => self.unlink(),
                Failure::Refused { code, retry_after_s, .. } if too_often(code) => {
                    let wait = retry_after_s.unwrap_or(1 << nth).clamp(1, 60);
                    self.host.block_on(self.host.sleep(Duration::from_secs(wait)))?;
                }
                Failure::Refused { code, .. } if token_is_dead(code) || matches!(code.as_str(), "ACCOUNT_NOT_AUTHORIZED" | "CH_CLIENT_NOT_AUTHENTICATED") => {
                    self.unlink();
                }
                _ => break,
            }
        }
        Err(failed(failure))
    }

    /// The exponent of the account's money. It never changes, and every message about the account has the same.
    fn exponent(&self, told: Option<u32>) -> Result<u32> {
        let told = told.ok_or_else(|| malformed("account's money"))?;
        let mut known = self.digits.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *known.get_or_insert(told);
        if first == told {
            return Ok(told);
        }
        Err(Error::new(code::NET_MALFORMED, "cTrader tells the account's money with two different exponents")
            .cause("an amount read with the wrong one is wrong by powers of ten")
            .found(format!("10^{first}, 10^{told}")))
    }

    /// Send an order once, and wait for what the server makes of it: the answer with our id, or news of an order with our client id.
    fn send_once(&self, link: &Link, question: &m::NewOrderReq, intent: &Intent) -> Result<Envelope, String> {
        let mut news = link.session.listen();
        let mut answer = link.session.send(question).map_err(|_| text!("the connection broke"))?;
        let waiting = async {
            loop {
                tokio::select! {
                    answered = &mut answer => return answered.map_err(|_| text!("the connection broke")),
                    heard = news.recv() => match heard {
                        Ok(News::Message(envelope)) if is_about(&envelope, &intent.client_order_id) => return Ok((*envelope).clone()),
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

    fn prepare(&self, link: &Link, intent: &Intent) -> Result<std::result::Result<m::NewOrderReq, symbols::No>> {
        let id = match link.symbols.id(&intent.symbol) {
            Ok(id) => id,
            Err(no) => return Ok(Err(no)),
        };
        let rules: m::SymbolByIdRes = self.ask(About::Now, |account| m::SymbolByIdReq { account, symbols: vec![id] })?;
        let rules = rules.symbols.into_iter().find(|s| s.id == id).ok_or_else(|| malformed("symbol"))?;
        // What is held matters only where a sale may not go below nothing.
        let may_not_short = intent.side == Side::Sell && rules.short_selling == Some(false);
        let held = if may_not_short { self.positions()?.iter().find(|p| p.symbol == intent.symbol).map_or(0.0, |p| p.qty) } else { f64::INFINITY };
        let open = exchange_clock(self.host.now())?.is_open;
        Ok(wire::new_order(intent, link.account, id, &rules, held, open))
    }

    /// Open positions with their gains, and the exponent of those.
    fn book(&self) -> Result<(Trader, Vec<Position>, BTreeMap<i64, (i64, i64)>, u32)> {
        let trader = self.ask::<m::TraderRes, _>(About::Now, |account| m::TraderReq { account })?.trader;
        let digits = self.exponent(trader.money_digits)?;
        let reconciled: m::ReconcileRes = self.ask(About::Now, |account| m::ReconcileReq { account })?;
        let open: Vec<Position> = reconciled.positions.into_iter().filter(|p| PositionStatus::of(p.status) == Some(PositionStatus::Open)).collect();
        for position in &open {
            if position.money_digits.is_some() {
                self.exponent(position.money_digits)?;
            }
        }
        let gains: m::PnlRes = self.ask(About::Now, |account| m::PnlReq { account })?;
        if !gains.rows.is_empty() {
            self.exponent(Some(gains.money_digits))?;
        }
        Ok((trader, open, gains.rows.iter().map(|g| (g.position, (g.gross, g.net))).collect(), digits))
    }
}

/// Whether news are of the order with this client id.
fn is_about(envelope: &Envelope, client_order_id: &str) -> bool {
    m::ExecutionEvent::unwrapped(envelope).and_then(|e| e.order).and_then(|o| o.client_order_id).is_some_and(|id| id == client_order_id)
}

/// A failed question as the program's error.
fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Transport(why) => Error::new(code::NET_UNREACHABLE, "cTrader cannot be reached").cause(why),
        Failure::Malformed => malformed("question"),
        Failure::Refused { code: word, text, .. } => {
            let kind = match word.as_str() {
                w if too_often(w) => code::NET_RATE_LIMITED,
                "CH_CLIENT_AUTH_FAILURE"
                | "CH_CLIENT_NOT_AUTHENTICATED"
                | "CH_OA_CLIENT_NOT_FOUND"
                | "ACCOUNT_NOT_AUTHORIZED"
                | "CH_CTID_TRADER_ACCOUNT_NOT_FOUND" => code::KEY_REJECTED,
                w if token_is_dead(w) => code::KEY_REJECTED,
                "CH_SERVER_NOT_REACHABLE" | "SERVER_IS_UNDER_MAINTENANCE" | "CANT_ROUTE_REQUEST" | "TIMEOUT_ERROR" | "UNKNOWN_ERROR" => code::NET_UNREACHABLE,
                _ => code::ORD_REFUSED,
            };
            let error = Error::new(kind, "cTrader refused").cause(format!("{word}: {text}"));
            if kind == code::KEY_REJECTED { error.fix("trademl paper authorize") } else { error }
        }
    }
}

/// Signed shares of a position.
fn signed(p: &Position) -> Option<f64> {
    let sign = if TradeSide::of(p.trade.side)? == TradeSide::Buy { 1.0 } else { -1.0 };
    Some(sign * p.trade.volume as f64 / VOLUME_UNITS)
}

impl Broker for CTraderBroker {
    fn name(&self) -> &'static str {
        "ctrader"
    }
    fn refuses_duplicates(&self) -> bool {
        false
    }
    /// Contracts for difference cost no cash: what is reported as cash is what would be left of the equity without the positions, as in
    /// an account that had paid for them. Buying power is the free margin, not multiplied by any leverage.
    fn account(&self) -> Result<BrokerAccount> {
        let link = self.link()?;
        let (trader, open, gains, digits) = self.book()?;
        let usd = |v: i64| money(v, digits).ok_or_else(|| malformed("account's money"));
        let mut equity = usd(trader.balance)?;
        let (mut worth, mut margin) = (0.0, 0.0);
        for p in &open {
            let (gross, net) = gains.get(&p.id).copied().unwrap_or_default();
            let entry = p.price.filter(|e| e.is_finite() && *e > 0.0).ok_or_else(|| malformed("position"))?;
            equity += usd(net)?;
            worth += signed(p).ok_or_else(|| malformed("position"))? * entry + usd(gross)?;
            margin += usd(i64::try_from(p.used_margin.unwrap_or(0)).unwrap_or(i64::MAX))?;
        }
        let rights = trader.access_rights.map_or(Some(AccessRights::FullAccess), AccessRights::of);
        Ok(BrokerAccount {
            account: link.name.clone(),
            equity,
            cash: equity - worth,
            buying_power: (equity - margin).max(0.0),
            currency: link.currency.clone(),
            status: rights.map_or("UNKNOWN", AccessRights::as_str).to_string(),
            blocked: rights != Some(AccessRights::FullAccess),
        })
    }
    /// The connection tells no time: it is the authorisation server's, and the exchange's hours are the calendar's.
    fn clock(&self) -> Result<BrokerClock> {
        exchange_clock(oauth::server_time(&self.host)?)
    }
    fn submit(&self, intent: &Intent) -> Submitted {
        let ready = self.link().and_then(|link| Ok((self.prepare(&link, intent)?, link)));
        let (question, link) = match ready {
            Ok((Ok(question), link)) => (question, link),
            Ok((Err((code, text)), _)) => return Submitted::Refused { code: code.into(), text },
            Err(e) => return Submitted::Unknown(e.body().what.clone()),
        };
        if let Err(e) = self.pace(false) {
            return Submitted::Unknown(e.body().what.clone());
        }
        match self.send_once(&link, &question, intent) {
            Ok(answer) => wire::classify(&answer, intent, &link.symbols),
            Err(why) => {
                self.unlink();
                Submitted::Unknown(why)
            }
        }
    }
    fn find_by_client_id(&self, client_order_id: &str) -> Lookup {
        self.look_for(client_order_id).unwrap_or_else(|e| Lookup::Unknown(e.body().what.clone()))
    }
    fn cancel(&self, broker_order_id: &str) -> Result<()> {
        let Ok(order) = broker_order_id.parse() else { return Err(malformed("order's number")) };
        let link = self.link()?;
        self.pace(false)?;
        let asked: Result<m::ExecutionEvent, Failure> = self.host.block_on(link.session.ask(&m::CancelOrderReq { account: link.account, order }, ANSWER))?;
        match asked {
            Ok(_) => Ok(()),
            // No longer there or no longer open, which the next look-up explains.
            Err(Failure::Refused { code, .. }) if matches!(code.as_str(), "ORDER_NOT_FOUND" | "UNABLE_TO_CANCEL_ORDER" | "ENTITY_NOT_FOUND") => Ok(()),
            Err(failure) => {
                self.unlink();
                Err(failed(failure))
            }
        }
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>> {
        let link = self.link()?;
        let pending: m::ReconcileRes = self.ask(About::Now, |account| m::ReconcileReq { account })?;
        pending.orders.iter().map(|o| wire::order(o, &link.symbols).ok_or_else(|| malformed("pending order"))).collect()
    }
    fn orders_since(&self, after: UtcTime) -> Result<Vec<BrokerOrder>> {
        let mut orders = self.orders_from(after)?;
        orders.retain(|o| o.submitted_at.is_none_or(|t| t > after));
        Ok(orders)
    }
    fn fills_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerFill>> {
        self.fills_from(after)
    }
    fn positions(&self) -> Result<Vec<BrokerPosition>> {
        let link = self.link()?;
        let (_, open, gains, digits) = self.book()?;
        let one = |p: &Position| {
            let (qty, avg_price) = (signed(p).filter(|q| *q != 0.0)?, p.price.filter(|e| e.is_finite() && *e > 0.0)?);
            let price = gains.get(&p.id).and_then(|(gross, _)| money(*gross, digits)).map(|gross| avg_price + gross / qty);
            Some(BrokerPosition { symbol: link.symbols.name(p.trade.symbol), qty, avg_price, price })
        };
        open.iter().map(|p| one(p).ok_or_else(|| malformed("position"))).collect()
    }
    fn activities_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerActivity>> {
        self.activities_from(after)
    }
    /// The middle of the newest quote; none where it has no moment.
    fn last_price(&self, symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        let link = self.link()?;
        let Ok(id) = link.symbols.id(symbol) else { return Ok(None) };
        let mut news = link.session.listen();
        let subscribed = self.ask::<m::SubscribeSpotsRes, _>(About::Now, |account| m::SubscribeSpotsReq { account, symbols: vec![id], with_time: Some(true) });
        subscribed?;
        let first = async {
            loop {
                match news.recv().await {
                    Ok(News::Message(e)) => match m::SpotEvent::unwrapped(&e).filter(|s| s.symbol == id) {
                        Some(quote) => return Some(quote),
                        None => continue,
                    },
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Ok(News::Lost(_)) | Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        };
        let quote = self.host.block_on(async { tokio::time::timeout(QUOTE, first).await })?.ok().flatten();
        self.ask::<m::UnsubscribeSpotsRes, _>(About::Now, |account| m::UnsubscribeSpotsReq { account, symbols: vec![id] })?;
        let Some(quote) = quote else { return Ok(None) };
        let sides: Vec<f64> = [quote.bid, quote.ask].into_iter().flatten().filter(|p| *p > 0).map(|p| p as f64 / QUOTE_UNITS).collect();
        let price = (!sides.is_empty()).then(|| sides.iter().sum::<f64>() / sides.len() as f64);
        Ok(price.zip(quote.at_ms.and_then(moment)))
    }
}

#[cfg(test)]
mod tests;
