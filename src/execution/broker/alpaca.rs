//! Alpaca's Trading API (specification of 2026-06) for paper accounts.
//!
//! Numbers come as strings. A live host is refused: there is no way to make the consent that it would need. The one
//! boundary where transport and answers become outcomes is [`classify_submit`] and [`Transport`].

mod prices;
pub mod stream;
mod wire;

use self::wire::{BOOKINGS, broker_words, number, order_body, parse_activity, parse_listed, parse_position, replace_body, stamp, text};
pub use self::wire::{classify_submit, parse_fill, parse_order};
use super::place::Place;
use super::{Broker, BrokerAccount, BrokerActivity, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, Lookup, Submitted};
use crate::execution::gates::LiveConsent;
use crate::execution::order::Intent;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::time::UtcTime;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::time::Duration;

const PAPER_HOST: &str = "paper-api.alpaca.markets";
const BASE_VARIABLE: &str = "TRADEML_BASE_URL_ALPACA_TRADING";
const PLACE: Place = Place { variable: BASE_VARIABLE, secure: "https", plain: Some("http"), paper: PAPER_HOST, live: "api.alpaca.markets" };
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pages of a listing; more than this is a loop on the other side.
const MAX_PAGES: usize = 1_000;

/// The key pair of a paper account.
pub struct AlpacaKeys {
    pub key: SecretString,
    pub secret: SecretString,
}

/// A paper account at Alpaca, or at a double on loopback.
pub struct AlpacaBroker {
    host: Host,
    base: String,
    keys: AlpacaKeys,
}

/// An answer, whatever its status.
struct Answer {
    status: u16,
    retry_after_s: Option<u64>,
    body: String,
}

/// No answer: the request may or may not have arrived.
struct Transport(String);

enum Verb<'a> {
    Get,
    Delete,
    Post(&'a Value),
    Patch(&'a Value),
}

impl AlpacaBroker {
    /// Refuses a live host, plain HTTP beyond loopback, and a root and a host of different worlds.
    pub fn new(root: &DataRoot, keys: AlpacaKeys, consent: Option<LiveConsent>) -> Result<Self> {
        let host = root.host().clone();
        let base = host.env(BASE_VARIABLE).map_or_else(|| format!("https://{PAPER_HOST}"), |b| b.trim_end_matches('/').to_string());
        let loopback = check_base(&base, consent.as_ref())?;
        if root.is_world() && !loopback {
            return Err(Error::new(code::CFG_DATASET_MIXED, text!("this drive holds '{}' data; its orders go to the sandbox only", root.drive().dataset))
                .fix("trademl sandbox"));
        }
        Ok(Self { host, base, keys })
    }

    fn call(&self, verb: &Verb<'_>, path: &str, query: &[(&str, String)]) -> Result<Answer, Transport> {
        self.call_at(&self.base, verb, path, query)
    }

    fn call_at(&self, base: &str, verb: &Verb<'_>, path: &str, query: &[(&str, String)]) -> Result<Answer, Transport> {
        if self.host.is_offline() {
            return Err(Transport("this run is offline".into()));
        }
        let url = format!("{base}{path}");
        let client = self.host.http();
        let request = match verb {
            Verb::Get => client.get(&url),
            Verb::Delete => client.delete(&url),
            Verb::Post(body) => client.post(&url).json(body),
            Verb::Patch(body) => client.patch(&url).json(body),
        };
        let request = request
            .query(query)
            .header("APCA-API-KEY-ID", self.keys.key.expose_secret())
            .header("APCA-API-SECRET-KEY", self.keys.secret.expose_secret())
            .timeout(CALL_TIMEOUT);
        let exchange = async {
            let response = request.send().await.map_err(|e| Transport(transport_words(e.is_timeout(), e.is_connect())))?;
            let status = response.status().as_u16();
            let retry_after_s = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
            let body = response.text().await.map_err(|_| Transport("the answer broke off".into()))?;
            Ok(Answer { status, retry_after_s, body })
        };
        self.host.block_on(exchange).map_err(|e| Transport(e.to_string()))?
    }

    fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let answer = self.call(&Verb::Get, path, query).map_err(|t| unreachable_error(&t.0))?;
        if answer.status == 200 {
            return serde_json::from_str(&answer.body)
                .map_err(|e| Error::new(code::NET_MALFORMED, text!("Alpaca answered {path} with something else than JSON")).cause(e.to_string()));
        }
        Err(status_error(path, &answer))
    }

    fn list(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<Value>> {
        match self.get(path, query)? {
            Value::Array(items) => Ok(items),
            _ => Err(malformed(path)),
        }
    }

    /// All orders of a status after a moment, paged by submission time.
    fn orders(&self, status: &str, after: Option<UtcTime>) -> Result<Vec<BrokerOrder>> {
        let mut out: Vec<BrokerOrder> = Vec::new();
        let mut from = after;
        for _ in 0..MAX_PAGES {
            let mut query = vec![("status", status.to_string()), ("limit", "500".to_string()), ("direction", "asc".to_string())];
            query.extend(from.map(|t| ("after", t.to_string())));
            let page = self.list("/v2/orders", &query)?;
            let full = page.len() >= 500;
            for item in &page {
                let order = parse_listed(item).ok_or_else(|| malformed("/v2/orders"))?;
                if !out.iter().any(|o| o.id == order.id) {
                    out.push(order);
                }
            }
            let newest = out.iter().filter_map(|o| o.submitted_at).max();
            if !full || newest == from {
                return Ok(out);
            }
            from = newest;
        }
        Err(Error::new(code::NET_MALFORMED, "Alpaca's order list does not end"))
    }
}

impl AlpacaBroker {
    /// All rows of an activity listing, oldest first, each once.
    fn paged(&self, path: &str, more: &[(&str, String)], after: Option<UtcTime>) -> Result<Vec<Value>> {
        let mut out: Vec<Value> = Vec::new();
        let id = |v: &Value| text(v, "id").map(str::to_string);
        for _ in 0..MAX_PAGES {
            let mut query = vec![("page_size", "100".to_string()), ("direction", "asc".to_string())];
            query.extend(more.iter().cloned());
            query.extend(after.map(|t| ("after", t.to_string())));
            query.extend(out.last().and_then(id).map(|id| ("page_token", id)));
            let page = self.list(path, &query)?;
            let (before, full) = (out.len(), page.len() >= 100);
            for row in page {
                let own = id(&row).ok_or_else(|| malformed(path))?;
                if !out.iter().any(|o| text(o, "id") == Some(own.as_str())) {
                    out.push(row);
                }
            }
            if !full || out.len() == before {
                return Ok(out);
            }
        }
        Err(Error::new(code::NET_MALFORMED, text!("Alpaca's list {path} does not end")))
    }
}

/// Whether the base is loopback. Everything but the paper host and loopback is refused.
fn check_base(base: &str, consent: Option<&LiveConsent>) -> Result<bool> {
    PLACE.check(base, consent)
}

fn transport_words(timeout: bool, connect: bool) -> String {
    if timeout {
        "no answer in time".into()
    } else if connect {
        "the connection failed".into()
    } else {
        "the connection broke".into()
    }
}

fn unreachable_error(why: &str) -> Error {
    Error::new(code::NET_UNREACHABLE, "Alpaca cannot be reached").cause(why)
}

fn malformed(path: &str) -> Error {
    Error::new(code::NET_MALFORMED, text!("Alpaca's answer to {path} does not have the documented form"))
}

fn status_error(path: &str, answer: &Answer) -> Error {
    let (code_text, text) = broker_words(&answer.body).unwrap_or_else(|| (answer.status.to_string(), "no reason given".into()));
    match answer.status {
        401 | 403 => Error::new(code::KEY_REJECTED, "Alpaca rejected the key")
            .cause(format!("{code_text}: {text}"))
            .fix("paper keys and live keys are different: make paper keys at https://app.alpaca.markets/paper/dashboard/overview"),
        429 => Error::new(code::NET_RATE_LIMITED, "Alpaca's rate limit is exhausted").cause(text),
        400..=499 => Error::new(code::ORD_REFUSED, text!("Alpaca refused {path}")).cause(format!("{code_text}: {text}")),
        status => Error::new(code::NET_UNREACHABLE, text!("Alpaca answered {path} with status {status}")).cause(text),
    }
}

impl Broker for AlpacaBroker {
    fn name(&self) -> &'static str {
        "alpaca"
    }
    fn refuses_duplicates(&self) -> bool {
        true
    }
    fn account(&self) -> Result<BrokerAccount> {
        let v = self.get("/v2/account", &[])?;
        let read = || {
            let flag = |key: &str| v.get(key).and_then(Value::as_bool).unwrap_or(false);
            let status = text(&v, "status")?.to_string();
            Some(BrokerAccount {
                account: text(&v, "account_number")?.to_string(),
                equity: number(v.get("equity"))?,
                cash: number(v.get("cash"))?,
                buying_power: number(v.get("buying_power"))?,
                currency: text(&v, "currency").unwrap_or("USD").to_string(),
                blocked: status != "ACTIVE" || flag("trading_blocked") || flag("account_blocked") || flag("trade_suspended_by_user"),
                status,
            })
        };
        read().ok_or_else(|| malformed("/v2/account"))
    }
    fn clock(&self) -> Result<BrokerClock> {
        let v = self.get("/v2/clock", &[])?;
        let now = stamp(&v, "timestamp").ok_or_else(|| malformed("/v2/clock"))?;
        let is_open = v.get("is_open").and_then(Value::as_bool).ok_or_else(|| malformed("/v2/clock"))?;
        Ok(BrokerClock { now, is_open, next_open: stamp(&v, "next_open"), next_close: stamp(&v, "next_close") })
    }
    fn submit(&self, intent: &Intent) -> Submitted {
        match self.call(&Verb::Post(&order_body(intent)), "/v2/orders", &[]) {
            Ok(a) => classify_submit(a.status, a.retry_after_s, &a.body, intent),
            Err(Transport(why)) => Submitted::Unknown(why),
        }
    }
    fn find_by_client_id(&self, client_order_id: &str) -> Lookup {
        match self.call(&Verb::Get, "/v2/orders:by_client_order_id", &[("client_order_id", client_order_id.to_string())]) {
            Ok(a) if a.status == 200 => match serde_json::from_str::<Value>(&a.body).ok().as_ref().and_then(parse_order) {
                Some(order) if order.client_order_id == client_order_id => Lookup::Found(order),
                _ => Lookup::Unknown("the broker's answer cannot be read".into()),
            },
            // A 404 counts only in the broker's own words: a proxy's page says nothing about an order.
            Ok(a) if a.status == 404 && broker_words(&a.body).is_some() => Lookup::NotFound,
            Ok(a) => Lookup::Unknown(text!("status {}", a.status)),
            Err(Transport(why)) => Lookup::Unknown(why),
        }
    }
    fn cancel(&self, broker_order_id: &str) -> Result<()> {
        let path = format!("/v2/orders/{broker_order_id}");
        let a = self.call(&Verb::Delete, &path, &[]).map_err(|t| unreachable_error(&t.0))?;
        // 422: no longer cancelable, which the next look-up explains.
        if matches!(a.status, 200..=299 | 404 | 422) { Ok(()) } else { Err(status_error(&path, &a)) }
    }
    fn replace(&self, broker_order_id: &str, next: &Intent) -> Submitted {
        match self.call(&Verb::Patch(&replace_body(next)), &format!("/v2/orders/{broker_order_id}"), &[]) {
            Ok(a) => classify_submit(a.status, a.retry_after_s, &a.body, next),
            Err(Transport(why)) => Submitted::Unknown(why),
        }
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>> {
        self.orders("open", None)
    }
    fn orders_since(&self, after: UtcTime) -> Result<Vec<BrokerOrder>> {
        self.orders("all", Some(after))
    }
    fn fills_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerFill>> {
        self.paged("/v2/account/activities/FILL", &[], after)?.iter().map(|v| parse_fill(v).ok_or_else(|| malformed("/v2/account/activities/FILL"))).collect()
    }
    fn activities_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerActivity>> {
        const PATH: &str = "/v2/account/activities";
        let rows = self.paged(PATH, &[("activity_types", BOOKINGS.to_string())], after)?;
        rows.iter().map(|v| parse_activity(v).ok_or_else(|| malformed(PATH))).collect()
    }
    fn positions(&self) -> Result<Vec<BrokerPosition>> {
        let items = self.list("/v2/positions", &[])?;
        items.iter().map(|v| parse_position(v).ok_or_else(|| malformed("/v2/positions"))).collect()
    }
    fn last_price(&self, symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        self.latest_trade(symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::execution::broker::fake::{evening, scratch};
    use data_layer::host::FakeHost;
    use data_layer::root::FsFacts;
    use std::collections::BTreeMap;

    #[test]
    fn a_live_key_at_the_paper_host_is_told_that_paper_keys_are_others() {
        for (status, body) in [(401, r#"{"message": "unauthorized."}"#), (403, r#"{"code": 40310000, "message": "forbidden."}"#)] {
            let error = status_error("/v2/account", &Answer { status, retry_after_s: None, body: body.into() });
            assert_eq!((error.is(code::KEY_REJECTED), error.code().exit.status()), (true, 4));
            assert!(error.body().fix[0].contains("paper keys and live keys are different"), "{:?}", error.body());
        }
    }

    /// Every way to name a host that somebody might try, and whether it is loopback or the paper host.
    const BASES: &[(Option<&str>, Where)] = &[
        (None, Where::Paper),
        (Some("https://paper-api.alpaca.markets"), Where::Paper),
        (Some("https://paper-api.alpaca.markets/"), Where::Paper),
        (Some("https://paper-api.alpaca.markets:443"), Where::Paper),
        (Some("http://127.0.0.1:8080/alpaca_trading"), Where::Loopback),
        (Some("http://localhost:1"), Where::Loopback),
        (Some("http://[::1]:8080"), Where::Loopback),
        (Some("https://api.alpaca.markets"), Where::Live),
        (Some("https://api.alpaca.markets/v2"), Where::Live),
        (Some("http://api.alpaca.markets"), Where::Elsewhere),
        (Some("https://API.ALPACA.MARKETS"), Where::Elsewhere),
        (Some("https://api.alpaca.markets."), Where::Elsewhere),
        (Some("https://paper-api.alpaca.markets.evil.example"), Where::Elsewhere),
        (Some("https://paper-api.alpaca.markets@evil.example"), Where::Elsewhere),
        (Some("https://evil.example/paper-api.alpaca.markets"), Where::Elsewhere),
        (Some("https://evil.example?paper-api.alpaca.markets"), Where::Elsewhere),
        (Some("https://evil.example#@paper-api.alpaca.markets"), Where::Elsewhere),
        (Some("http://paper-api.alpaca.markets"), Where::Elsewhere),
        (Some("http://127.0.0.1.evil.example"), Where::Elsewhere),
        (Some("http://127.evil.example"), Where::Elsewhere),
        (Some("http://0.0.0.0:80"), Where::Elsewhere),
        (Some("ftp://127.0.0.1"), Where::Elsewhere),
        (Some("127.0.0.1:80"), Where::Elsewhere),
        (Some("https://"), Where::Elsewhere),
    ];

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Where {
        Paper,
        Loopback,
        Live,
        Elsewhere,
    }

    #[test]
    fn no_combination_of_configuration_environment_and_consent_reaches_another_host() {
        let mut reached = 0;
        for (base, place) in BASES {
            for dataset in ["real", "replay@1"] {
                let dir = scratch();
                DataRoot::create(&Host::fake(FakeHost { now: evening(), ..FakeHost::default() }), dir.path(), dataset, FsFacts::default(), None).unwrap();
                for keys in [("PKTEST", "s"), ("AKLIVE", "s"), ("", "")] {
                    for more in [&[][..], &[("TRADEML_ENV", "production")][..], &[("APCA_API_BASE_URL", "https://api.alpaca.markets"), ("LIVE", "true")][..]] {
                        for consent in [false, true] {
                            let env = more.iter().copied().chain(base.map(|b| (BASE_VARIABLE, b))).map(|(k, v)| (k.to_string(), v.to_string()));
                            let host = Host::fake(FakeHost { env: env.collect::<BTreeMap<_, _>>(), now: evening(), ..FakeHost::default() });
                            let root = DataRoot::open(&host, dir.path()).unwrap();
                            let keys = AlpacaKeys { key: keys.0.to_string().into(), secret: keys.1.to_string().into() };
                            let made = AlpacaBroker::new(&root, keys, consent.then(LiveConsent::for_a_test));
                            let allowed = match place {
                                Where::Loopback => true,
                                Where::Paper => dataset == "real",
                                Where::Live => consent && dataset == "real",
                                Where::Elsewhere => false,
                            };
                            assert_eq!(made.is_ok(), allowed, "{base:?} {dataset} {more:?} consent {consent}");
                            reached += usize::from(allowed);
                        }
                    }
                }
            }
        }
        assert_eq!(BASES.len() * 2 * 3 * 3 * 2, 864, "the whole table was tried");
        assert!(reached > 0);
    }

    #[test]
    fn no_redirect_leads_away_from_the_paper_host() {
        let server = Host::fake(FakeHost { now: evening(), ..FakeHost::default() });
        let away = |_: axum::extract::Request| async { (axum::http::StatusCode::TEMPORARY_REDIRECT, [("location", "https://api.alpaca.markets/v2/account")]) };
        let base = server
            .block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let base = format!("http://{}", listener.local_addr().unwrap());
                tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(away)).await });
                base
            })
            .unwrap();
        let host = Host::fake(FakeHost { env: BTreeMap::from([(BASE_VARIABLE.to_string(), base)]), now: evening(), ..FakeHost::default() });
        let dir = scratch();
        let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
        let broker = AlpacaBroker::new(&root, AlpacaKeys { key: "k".to_string().into(), secret: "s".to_string().into() }, None).unwrap();
        assert!(broker.account().unwrap_err().body().what.contains("307"));
    }

    #[test]
    fn a_live_host_and_plain_http_are_refused() {
        assert!(check_base("https://api.alpaca.markets", None).unwrap_err().is(code::ORD_LIVE));
        assert!(check_base("https://paper-api.alpaca.markets.evil.example", None).unwrap_err().is(code::ORD_LIVE));
        assert!(check_base("https://paper-api.alpaca.markets@evil.example", None).unwrap_err().is(code::NET_FORBIDDEN_HOST));
        assert!(check_base("http://paper-api.alpaca.markets", None).unwrap_err().is(code::NET_FORBIDDEN_HOST));
        assert!(check_base("http://127.evil.example", None).is_err());
        assert!(!check_base("https://paper-api.alpaca.markets", None).unwrap());
        assert!(check_base("http://127.0.0.1:8080/alpaca_trading", None).unwrap());
    }
}
