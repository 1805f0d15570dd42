//! Alpaca's order stream (`trade_updates`), with the one thing that a stream cannot be trusted with said aloud: gaps.
//!
//! After every connection, and whenever the stream breaks, the caller hears [`Heard::Gap`] and has to reconcile: what
//! happened in between is not told again. While there is no stream, the caller polls.

use super::wire::{number, parse_order, stamp, text};
use super::{AlpacaBroker, Transport};
use crate::execution::broker::{Events, Heard, TradeUpdate};
use data_layer::error::Result;
use data_layer::host::Host;
use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Real time for the handshake; a server that takes longer is not there.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Seconds before the next try, by the number of failures so far.
const BACKOFF_S: [u64; 5] = [1, 2, 5, 15, 60];

/// The stream of one paper account. It connects when first asked.
pub struct TradeStream<'a> {
    broker: &'a AlpacaBroker,
    socket: Option<Socket>,
    failures: usize,
}

impl AlpacaBroker {
    /// The account's order stream, at the same host as its orders.
    pub fn stream(&self) -> TradeStream<'_> {
        TradeStream { broker: self, socket: None, failures: 0 }
    }

    fn stream_url(&self) -> String {
        // The base was checked when the broker was made; only the scheme differs.
        let base = self.base.replacen("https://", "wss://", 1).replacen("http://", "ws://", 1);
        format!("{base}/stream")
    }
}

impl TradeStream<'_> {
    fn host(&self) -> &Host {
        &self.broker.host
    }

    async fn connect(&self) -> Result<Socket, Transport> {
        let (mut socket, _) = tokio_tungstenite::connect_async(self.broker.stream_url()).await.map_err(|_| Transport("the stream cannot be reached".into()))?;
        let keys = &self.broker.keys;
        let auth = json!({"action": "auth", "key": keys.key.expose_secret(), "secret": keys.secret.expose_secret()});
        say(&mut socket, &auth).await?;
        if answer(&mut socket).await?["data"]["status"] != "authorized" {
            return Err(Transport("the stream refused the keys".into()));
        }
        say(&mut socket, &json!({"action": "listen", "data": {"streams": ["trade_updates"]}})).await?;
        let listening = answer(&mut socket).await?;
        if listening["data"]["streams"].as_array().is_none_or(|s| s.iter().all(|s| s != "trade_updates")) {
            return Err(Transport("the stream does not tell of orders".into()));
        }
        Ok(socket)
    }

    fn reconnect(&mut self) -> Result<Heard> {
        if self.host().is_offline() {
            return Ok(Heard::Gap("this run is offline".into()));
        }
        // Making the HTTP client sets the process's TLS provider, which the stream needs as well.
        drop(self.host().http());
        if self.failures > 0 {
            let wait = BACKOFF_S[(self.failures - 1).min(BACKOFF_S.len() - 1)];
            self.host().block_on(self.host().sleep(Duration::from_secs(wait)))?;
        }
        let connected = self.host().block_on(async { tokio::time::timeout(HANDSHAKE, self.connect()).await })?;
        Ok(match connected.unwrap_or_else(|_| Err(Transport("the stream's handshake took too long".into()))) {
            Ok(socket) => {
                (self.socket, self.failures) = (Some(socket), 0);
                Heard::Gap("the stream was connected".into())
            }
            Err(Transport(why)) => {
                self.failures += 1;
                Heard::Gap(why)
            }
        })
    }
}

impl Events for TradeStream<'_> {
    fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    fn next(&mut self, patience: Duration) -> Result<Heard> {
        let host = self.host().clone();
        let Some(socket) = self.socket.as_mut() else { return self.reconnect() };
        let heard = host.block_on(async { tokio::time::timeout(patience, socket.next()).await })?;
        let lost = |s: &mut Self, why: &str| {
            s.socket = None;
            s.failures = 1;
            Ok(Heard::Gap(why.into()))
        };
        match heard {
            Err(_) => Ok(Heard::Silence),
            Ok(Some(Ok(Message::Text(t)))) => Ok(understood(t.as_bytes())),
            Ok(Some(Ok(Message::Binary(b)))) => Ok(understood(&b)),
            Ok(Some(Ok(Message::Close(_))) | None) => lost(self, "the stream was closed"),
            Ok(Some(Ok(_))) => Ok(Heard::Silence),
            Ok(Some(Err(_))) => lost(self, "the stream broke"),
        }
    }
}

/// An event, or a gap where the message cannot be read: something happened, and it has to be asked for.
fn understood(bytes: &[u8]) -> Heard {
    let message: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    if message["stream"] != "trade_updates" {
        return Heard::Silence;
    }
    parse_update(&message["data"]).map_or_else(|| Heard::Gap("an event could not be read".into()), |u| Heard::Update(Box::new(u)))
}

/// The `data` of a `trade_updates` message.
pub fn parse_update(v: &Value) -> Option<TradeUpdate> {
    Some(TradeUpdate {
        event: text(v, "event")?.to_string(),
        execution_id: text(v, "execution_id").map(str::to_string),
        at: stamp(v, "timestamp").or_else(|| stamp(v, "at")),
        qty: number(v.get("qty")),
        price: number(v.get("price")),
        order: parse_order(v.get("order")?)?,
    })
}

async fn say(socket: &mut Socket, value: &Value) -> Result<(), Transport> {
    socket.send(Message::Text(value.to_string().into())).await.map_err(|_| Transport("the stream broke".into()))
}

async fn answer(socket: &mut Socket) -> Result<Value, Transport> {
    loop {
        let broke = || Transport("the stream broke".into());
        match socket.next().await.ok_or_else(broke)?.map_err(|_| broke())? {
            Message::Text(t) => return serde_json::from_str(&t).map_err(|_| Transport("the stream's answer cannot be read".into())),
            Message::Binary(b) => return serde_json::from_slice(&b).map_err(|_| Transport("the stream's answer cannot be read".into())),
            Message::Close(_) => return Err(broke()),
            _ => {}
        }
    }
}
