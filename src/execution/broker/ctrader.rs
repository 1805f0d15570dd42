//! cTrader's Open API (messages of 2025-07) for demo accounts.
//!
//! Protobuf over TLS, or JSON over a websocket over TLS; one connection for questions, orders and news. A live host is refused: there is no way to make the consent that
//! it would need, and an account that does not say that it is a demo account is refused as well. Whether this broker would notice an
//! order that is sent twice is not documented, so no order is ever sent twice: an order whose answer was lost is looked for among the
//! pending orders, the list of orders and the executions.

mod history;
mod link;
mod money;
pub mod oauth;
mod quote;
mod send;
mod session;
mod stream;
mod symbols;
mod wire;

pub use stream::EventStream;

use self::link::{ANSWER, Link, malformed, token_is_dead};
use self::session::Failure;
use self::wire::{session_is_over, too_often};
use super::place::{Place, host_of};
use super::shadow::exchange_clock;
use super::{Broker, BrokerAccount, BrokerActivity, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, Lookup, Submitted};
use crate::execution::gates::LiveConsent;
use crate::execution::order::Intent;
use data_layer::budget::{Pacer, Per, WindowSpec};
use data_layer::ctrader::dialect::Dialect;
use data_layer::ctrader::messages as m;
use data_layer::ctrader::{DEMO_HOST, LIVE_HOST, Wire};
use data_layer::env_file;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::time::UtcTime;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const BASE_VARIABLE: &str = "TRADEML_BASE_URL_CTRADER";
const PLACE: Place = Place { variable: BASE_VARIABLE, secure: "tls", plain: None, paper: DEMO_HOST, live: LIVE_HOST };
/// The server takes 50 questions a second, and 5 about the past.
const PACE: [WindowSpec; 1] = [WindowSpec { per: Per::Second, calls: 45 }];
const PACE_HISTORY: [WindowSpec; 1] = [WindowSpec { per: Per::Second, calls: 5 }];
/// Times that a question (never an order) is put before its failure stands.
const TRIES: u32 = 4;

/// Where the server is.
pub(super) struct Address {
    host: String,
    port: u16,
    dialect: Dialect,
    loopback: bool,
}

/// A demo account at cTrader, or at a double on loopback.
pub struct CTraderBroker {
    host: Host,
    address: Address,
    consent: Option<LiveConsent>,
    link: Mutex<Option<Arc<Link>>>,
    pacer: Pacer,
    root: DataRoot,
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
        let dialect = env_file::load(&host)?.get(Dialect::VARIABLE).map_or(Ok(Dialect::default()), |word| Dialect::named(word))?;
        let base = host.env(BASE_VARIABLE).map_or_else(|| format!("tls://{DEMO_HOST}:{}", dialect.port()), |b| b.trim_end_matches('/').to_string());
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
            None | Some("") => dialect.port(),
            Some(rest) => rest.strip_prefix(':').and_then(|p| p.parse().ok()).ok_or_else(form)?,
        };
        let address = Address { host: host_of(authority).to_string(), port, dialect, loopback };
        Ok(Self { host, address, consent, link: Mutex::default(), pacer: Pacer::default(), root: root.clone(), digits: Mutex::default() })
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

    /// Forget a connection that failed; one that took its place meanwhile stays.
    fn unlink(&self, failed: &Arc<Link>) {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).take_if(|current| Arc::ptr_eq(current, failed));
    }

    /// Whether questions still go over this connection.
    fn is_current(&self, link: &Arc<Link>) -> bool {
        let current = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.session.is_alive() && current.as_ref().is_some_and(|c| Arc::ptr_eq(c, link))
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

    /// Put a question until it is answered: again after a broken connection, a dead session, or too many questions. The inner error is the
    /// server's own no. Never for orders.
    fn put<A: Wire, Q: Wire>(&self, about: About, question: impl Fn(i64) -> Q) -> Result<Result<A, Failure>> {
        let mut failure = Failure::Malformed;
        for nth in 0..TRIES {
            let link = self.link()?;
            self.pace(about == About::Past)?;
            failure = match self.host.block_on(link.session.ask(&question(link.account), ANSWER))? {
                Ok(answer) => return Ok(Ok(answer)),
                Err(failure) => failure,
            };
            let wait = match &failure {
                Failure::Transport(_) => {
                    self.unlink(&link);
                    1 << nth
                }
                Failure::Refused { code, retry_after_s, .. } if too_often(code) => retry_after_s.unwrap_or(1 << nth).clamp(1, 60),
                Failure::Refused { code, .. } if session_is_over(code) => {
                    self.unlink(&link);
                    0
                }
                _ => break,
            };
            if nth + 1 < TRIES {
                self.host.block_on(self.host.sleep(Duration::from_secs(wait)))?;
            }
        }
        Ok(Err(failure))
    }

    /// [`Self::put`] where any no is an error.
    fn ask<A: Wire, Q: Wire>(&self, about: About, question: impl Fn(i64) -> Q) -> Result<A> {
        self.put(about, question)?.map_err(failed)
    }
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

impl Broker for CTraderBroker {
    fn name(&self) -> &'static str {
        "ctrader"
    }
    fn refuses_duplicates(&self) -> bool {
        false
    }
    /// Financing is told when a position ends, and the cash of contracts for difference is worked out.
    fn tells_all_cash(&self) -> bool {
        false
    }
    fn account(&self) -> Result<BrokerAccount> {
        self.whole_account()
    }
    /// The connection tells no time: it is the authorisation server's, and the exchange's hours are the calendar's.
    fn clock(&self) -> Result<BrokerClock> {
        exchange_clock(oauth::server_time(&self.host)?)
    }
    fn submit(&self, intent: &Intent) -> Submitted {
        self.send(intent)
    }
    fn find_by_client_id(&self, client_order_id: &str) -> Lookup {
        self.look_for(client_order_id).unwrap_or_else(|e| Lookup::Unknown(e.body().what.clone()))
    }
    fn cancel(&self, broker_order_id: &str) -> Result<()> {
        self.take_back(broker_order_id.parse().map_err(|_| malformed("order's number"))?)
    }
    fn replace(&self, broker_order_id: &str, next: &Intent) -> Submitted {
        match broker_order_id.parse() {
            Ok(old) => self.send_instead(old, next),
            Err(_) => Submitted::Refused { code: "ORDER_NOT_FOUND".into(), text: text!("{broker_order_id} is no order of this broker") },
        }
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>> {
        let link = self.link()?;
        let pending: m::ReconcileRes = self.ask(About::Now, |account| m::ReconcileReq { account })?;
        pending.orders.iter().map(|o| wire::listed(o, &link.symbols).ok_or_else(|| malformed("pending order"))).collect()
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
        self.held()
    }
    fn activities_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerActivity>> {
        self.activities_from(after)
    }
    fn last_price(&self, symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        self.quote(symbol)
    }
}

#[cfg(test)]
mod tests;
