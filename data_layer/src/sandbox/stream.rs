//! The broker's order stream: `trade_updates` over a websocket, as the vendor speaks it.
//!
//! A client authenticates, listens, and is told of every change of an order from then on; what happened before is not told
//! again, so a client that was away has to ask. Frames are binary, as the paper service sends them. The fault plan can send
//! an event twice, hold one back until after the next, or break the stream off.

use super::State;
use super::account::holdings;
use super::book::{Book, Fill, Order, Which};
use super::faults::Do;
use super::keys;
use super::orders;
use super::wire::decimal;
use super::world::World;
use crate::error::Result;
use crate::time::UtcTime;
use axum::extract::State as Shared;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Events that a slow client may be behind before it loses some.
pub(super) const BACKLOG: usize = 1_024;

/// One event, with what the fault plan needs to know.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub symbol: String,
    pub id: String,
    pub at: UtcTime,
    /// In the form of `trade_updates`.
    pub body: Value,
    /// `new`, `fill`, `partial_fill`, or the status in which the order ended.
    pub name: String,
    /// The order as it was then.
    pub order: Order,
    /// The execution, and its place in the list of all, from 1.
    pub fill: Option<(usize, Fill)>,
}

/// What the book looked like before a change.
pub(super) struct Before {
    open: BTreeSet<String>,
    fills: usize,
    orders: usize,
}

impl Before {
    pub fn of(book: &Book) -> Result<Self> {
        let open = book.orders(Which::Open)?.into_iter().map(|o| o.id).collect();
        Ok(Self { open, fills: book.fills()?.len(), orders: book.orders(Which::All)?.len() })
    }

    /// The events that lead from then to now: acceptances, executions in their order, and endings.
    pub fn events(&self, world: &World, book: &Book) -> Result<Vec<Event>> {
        let all = book.orders(Which::All)?;
        let fills = book.fills()?;
        let mut out: Vec<Event> = all[self.orders.min(all.len())..].iter().map(|o| event("new", o, None, o.submitted_at, json!({}))).collect();
        for (n, fill) in fills.iter().enumerate().skip(self.fills) {
            let Some(order) = all.iter().find(|o| o.id == fill.order_id) else { continue };
            let mut then = order.clone();
            then.filled_qty = fills[..=n].iter().filter(|f| f.order_id == order.id).map(|f| f.qty).sum();
            let done = then.filled_qty >= order.qty;
            (then.status, then.updated_at) = (if done { "filled" } else { "partially_filled" }.into(), fill.at);
            let position = holdings(world, &fills[..=n], fill.at).by_symbol.get(&fill.symbol).map_or(0.0, |h| h.qty);
            let more = json!({"price": decimal(fill.price), "qty": decimal(fill.qty), "position_qty": decimal(position)});
            let execution = fill.id.split_once("::").map_or(fill.id.as_str(), |(_, id)| id);
            let told = event(if done { "fill" } else { "partial_fill" }, &then, Some(execution), fill.at, more);
            out.push(Event { fill: Some((n + 1, fill.clone())), ..told });
        }
        let ended = all.iter().enumerate().filter(|(n, o)| !o.is_open() && o.status != "filled" && (*n >= self.orders || self.open.contains(&o.id)));
        out.extend(ended.map(|(_, o)| event(&o.status, o, None, o.updated_at, json!({}))));
        out.sort_by_key(|e| e.at);
        Ok(out)
    }
}

fn event(name: &str, order: &Order, execution: Option<&str>, at: UtcTime, more: Value) -> Event {
    let seed = format!("event {name} {} {}", order.id, order.filled_qty);
    let id = execution.map_or_else(|| uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, seed.as_bytes()).to_string(), str::to_string);
    let mut data = json!({"event": name, "execution_id": id, "timestamp": at, "at": at, "order": orders::json(order)});
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    let body = json!({"stream": "trade_updates", "data": data});
    Event { symbol: order.symbol.clone(), id, at, body, name: name.to_string(), order: order.clone(), fill: None }
}

/// `GET /alpaca_trading/stream`.
pub(super) async fn upgrade(Shared(state): Shared<Arc<State>>, ws: WebSocketUpgrade) -> Response {
    ws.on_upgrade(move |socket| async move {
        // A client that goes away is no failure of the stream.
        drop(serve(&state, socket).await);
    })
}

async fn serve(state: &State, mut socket: WebSocket) -> std::result::Result<(), axum::Error> {
    // From here on nothing is missed, even before the client listens.
    let mut events = state.events.subscribe();
    let mut listening = false;
    let mut authorised = false;
    let mut held: Option<Event> = None;
    loop {
        tokio::select! {
            asked = socket.recv() => {
                let Some(message) = asked.transpose()? else { return Ok(()) };
                let Some(answer) = reply(&message, &mut authorised, &mut listening) else { continue };
                socket.send(binary(&answer)).await?;
            }
            event = events.recv(), if listening => match event {
                Ok(event) => {
                    for event in faulted(state, event, &mut held) {
                        match event {
                            Some(event) => socket.send(binary(&event.body)).await?,
                            None => return Ok(()),
                        }
                    }
                }
                // Too slow, or the sandbox stops: the stream ends, and the client has to ask what it missed.
                Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => return Ok(()),
            },
        }
    }
}

fn binary(value: &Value) -> Message {
    Message::Binary(value.to_string().into_bytes().into())
}

/// The vendor's handshake: authenticate, then listen.
fn reply(message: &Message, authorised: &mut bool, listening: &mut bool) -> Option<Value> {
    let bytes: &[u8] = match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
        _ => return None,
    };
    let asked: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    match asked["action"].as_str() {
        Some("auth" | "authenticate") => {
            let part = |short: &str, long: &str| asked[short].as_str().or_else(|| asked["data"][long].as_str()).unwrap_or_default().to_string();
            *authorised = part("key", "key_id") == keys::ALPACA_ID && part("secret", "secret_key") == keys::ALPACA_SECRET;
            let status = if *authorised { "authorized" } else { "unauthorized" };
            Some(json!({"stream": "authorization", "data": {"status": status, "action": "authenticate"}}))
        }
        Some("listen") if *authorised => {
            let streams = asked["data"]["streams"].clone();
            *listening = streams.as_array().is_some_and(|s| s.iter().any(|s| s == "trade_updates"));
            Some(json!({"stream": "listening", "data": {"streams": if *listening { json!(["trade_updates"]) } else { json!([]) }}}))
        }
        _ => Some(json!({"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}})),
    }
}

/// An event as the fault plan has it: once, twice, later, or the end of the stream (`None`).
pub(super) fn faulted(state: &State, event: Event, held: &mut Option<Event>) -> Vec<Option<Event>> {
    let fault = state.plan().ok().and_then(|plan| plan.befalls(Do::is_of_the_stream, &event.symbol, &event.id, event.at).map(|f| f.action));
    let before = held.take();
    match fault {
        Some(Do::DropStream) => vec![None],
        Some(Do::ReorderEvents) if before.is_none() => {
            *held = Some(event);
            Vec::new()
        }
        Some(Do::DuplicateEvent) => [Some(event.clone()), Some(event)].into_iter().chain(before.map(Some)).collect(),
        _ => std::iter::once(Some(event)).chain(before.map(Some)).collect(),
    }
}
