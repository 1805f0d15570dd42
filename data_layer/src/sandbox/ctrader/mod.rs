//! cTrader's Open API on a loopback port of its own: protobuf or JSON over TLS, with a certificate whose root is trusted by name only.
//!
//! One port serves both: the first byte of a protobuf frame is that of its length, that of a websocket is a letter.
//! The certificate and its key are public, as the practice keys are. Its root can vouch for loopback names alone, its own key
//! was thrown away, and a client trusts it only where it is told to (`TRADEML_CTRADER_ROOT`), and only on loopback.

mod answers;
mod oauth;
mod spoil;
mod view;

pub use oauth::answer as oauth;

use super::State;
use super::faults::{Do, Fault};
use super::stream::{self, Event};
use super::wire::Call;
use crate::ctrader::dialect::Hear;
use crate::ctrader::messages as m;
use crate::ctrader::words::ExecutionType;
use crate::ctrader::{Wire, frame, json, tls};
use crate::error::Result;
use answers::{Answer, Seat, refusal};
use spoil::{Out, Spoil};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use view::ACCOUNT;

const ROOT: &[u8] = include_bytes!("../../../assets/sandbox/ctrader/root.pem");
const LEAF: &[u8] = include_bytes!("../../../assets/sandbox/ctrader/leaf.pem");
const LEAF_KEY: &[u8] = include_bytes!("../../../assets/sandbox/ctrader/leaf_key.pem");
/// Real time between the server's own signs of life, and without one of the client.
const HEARTBEAT: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_secs(45);

/// Write the root that a client is to trust; returns where it lies.
pub fn write_root(folder: &Path) -> Result<PathBuf> {
    let place = folder.join("ctrader_root.pem");
    if std::fs::read(&place).ok().as_deref() != Some(ROOT) {
        let mut file = std::fs::File::create(&place)?;
        std::io::Write::write_all(&mut file, ROOT)?;
        file.sync_all()?;
    }
    Ok(place)
}

/// Serve until the task is aborted.
pub fn spawn(listener: TcpListener, state: Arc<State>) -> Result<JoinHandle<()>> {
    let acceptor = tls::acceptor(LEAF, LEAF_KEY)?;
    Ok(tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((tcp, _)) = listener.accept().await else { continue };
            let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
            connections.spawn(async move {
                drop(tcp.set_nodelay(true));
                if let Ok(stream) = acceptor.accept(tcp).await {
                    // A client that goes away is no failure of the server.
                    drop(serve(state, stream).await);
                }
            });
            while connections.try_join_next().is_some() {}
        }
    }))
}

/// What becomes of a connection after an answer.
struct Done {
    seat: Seat,
    out: Out,
    told: Option<(String, &'static str)>,
    delay: Duration,
    close: bool,
}

/// The protocol that a client has begun to speak.
async fn serve(state: Arc<State>, stream: tokio_rustls::server::TlsStream<TcpStream>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if stream.fill_buf().await?.first() == Some(&b'G') {
        let (from, to) = json::accept(stream).await?;
        return converse(state, from, to).await;
    }
    let (from, to) = tokio::io::split(stream);
    converse(state, frame::Reader(from), frame::Writer(to)).await
}

async fn converse(state: Arc<State>, mut from: impl Hear + 'static, mut to: impl Spoil) -> std::io::Result<()> {
    let (heard, mut asked) = mpsc::channel::<m::Envelope>(64);
    let reader = tokio::spawn(async move {
        while let Ok(Some(envelope)) = from.hear().await {
            if heard.send(envelope).await.is_err() {
                return;
            }
        }
    });
    let mut events = state.events.subscribe();
    let (mut seat, mut told, mut held) = (Seat::default(), BTreeSet::new(), None);
    let mut beat = tokio::time::interval(HEARTBEAT);
    let ended = loop {
        tokio::select! {
            question = tokio::time::timeout(PATIENCE, asked.recv()) => {
                let Ok(Some(question)) = question else { break Ok(()) };
                let state = Arc::clone(&state);
                // The book writes to disk: keep that off the threads that serve connections.
                let Ok(done) = tokio::task::spawn_blocking(move || respond(&state, seat, &question)).await else { break Ok(()) };
                seat = done.seat;
                told.extend(done.told.map(|(order, event)| (order, event.to_string())));
                tokio::time::sleep(done.delay).await;
                let sent = to.send(done.out).await;
                if sent.is_err() || done.close {
                    break sent;
                }
            }
            event = events.recv() => match event {
                Ok(event) => {
                    if !seat.account || told.remove(&(event.order.id.clone(), event.name.clone())) {
                        continue;
                    }
                    let Some(news) = news(&state, event, &mut held) else { break Ok(()) };
                    if let Err(e) = to.send(Out::Whole(news)).await {
                        break Err(e);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => break Ok(()),
            },
            _ = beat.tick() => drop(to.say(&m::Heartbeat {}.wrapped(None)).await),
        }
    };
    reader.abort();
    to.close().await;
    ended
}

/// The messages of an event as the fault plan has it; `None`: the connection ends here.
fn news(state: &State, event: Event, held: &mut Option<Event>) -> Option<Vec<m::Envelope>> {
    let mut out = Vec::new();
    for event in stream::faulted(state, event, held) {
        // An event of a book that is being closed is told to nobody.
        out.extend(execution(state, &event?).map(|message| message.wrapped(None)));
    }
    Some(out)
}

fn execution(state: &State, event: &Event) -> Option<m::ExecutionEvent> {
    let kind = match event.name.as_str() {
        "new" => ExecutionType::Accepted,
        "fill" => ExecutionType::Filled,
        "partial_fill" => ExecutionType::PartialFill,
        "expired" => ExecutionType::Expired,
        "replaced" => ExecutionType::Replaced,
        _ => ExecutionType::Cancelled,
    };
    let guard = state.book().ok()?;
    let book = guard.as_ref()?;
    let number = book.number_of(&event.order.id).ok()??;
    let deal = event.fill.as_ref().and_then(|(n, fill)| view::deal(&state.world, book, *n as i64, fill).ok());
    let order = view::order(&state.world, book, number, &event.order).ok();
    Some(m::ExecutionEvent { account: ACCOUNT, kind: kind.number(), order, deal, ..m::ExecutionEvent::default() })
}

/// Answer one message as the fault plan has it.
fn respond(state: &State, mut seat: Seat, asked: &m::Envelope) -> Done {
    let fault = picked(state, asked).ok().flatten();
    let carry_out = |seat: &mut Seat| {
        answers::answer(state, seat, asked).unwrap_or_else(|e| {
            tracing::warn!(error = %e, "the sandbox could not answer");
            Answer { messages: vec![refusal(asked, "UNKNOWN_ERROR", "the sandbox could not answer")], told: None }
        })
    };
    let plain = |seat: Seat, answer: Answer| Done { seat, out: Out::Whole(answer.messages), told: answer.told, delay: Duration::ZERO, close: false };
    let only = |seat: Seat, message: m::Envelope| plain(seat, Answer { messages: vec![message], told: None });
    let Some(fault) = fault else {
        let answer = carry_out(&mut seat);
        return plain(seat, answer);
    };
    match fault.action {
        Do::Reset => Done { close: true, ..plain(seat, Answer::default()) },
        Do::ErrorBefore => only(seat, refusal(asked, "CANT_ROUTE_REQUEST", "the server cannot be reached")),
        Do::Status | Do::Body | Do::Html | Do::Entitlement => only(seat, canned(asked, &fault)),
        Do::LostAck => {
            carry_out(&mut seat);
            Done { close: true, ..plain(seat, Answer::default()) }
        }
        // The news of an order is the answer to who sent it: where the one is lost, the other is.
        Do::ErrorAfter => {
            let told = carry_out(&mut seat).told;
            Done { told, ..only(seat, refusal(asked, "TIMEOUT_ERROR", "the server did not answer in time")) }
        }
        Do::GzipBomb => Done { out: Out::Bomb, ..plain(seat, Answer::default()) },
        Do::Slow | Do::Drip => {
            let answer = carry_out(&mut seat);
            Done { delay: Duration::from_secs_f64(fault.seconds.unwrap_or(5.0).clamp(0.0, 300.0)), ..plain(seat, answer) }
        }
        Do::Truncate => {
            let answer = carry_out(&mut seat);
            Done { out: Out::Half(answer.messages), close: true, ..plain(seat, Answer { messages: Vec::new(), told: answer.told }) }
        }
        Do::DuplicateRows => {
            let mut answer = carry_out(&mut seat);
            answer.messages = answer.messages.iter().flat_map(|e| [e.clone(), e.clone()]).collect();
            plain(seat, answer)
        }
        other => {
            let mut answer = carry_out(&mut seat);
            answer.messages.iter_mut().for_each(|message| rewritten(state, message, &fault, other));
            plain(seat, answer)
        }
    }
}

/// The fault that a message meets: it is selected as a call named after the message.
fn picked(state: &State, asked: &m::Envelope) -> Result<Option<Fault>> {
    let named = named(asked.payload_type);
    if named.is_empty() {
        return Ok(None);
    }
    let symbol = m::NewOrderReq::unwrapped(asked).and_then(|q| view::symbol_of(&state.world, q.symbol).map(str::to_string));
    let method = if matches!(asked.payload_type, m::NewOrderReq::PAYLOAD | m::CancelOrderReq::PAYLOAD) { "POST" } else { "GET" };
    let body = serde_json::json!({ "symbol": symbol }).to_string().into_bytes();
    let call = Call { vendor: "ctrader".into(), method: method.into(), path: format!("/{named}"), body, ..Call::default() };
    let number = state.calls.count("ctrader", state.now())?;
    Ok(state.plan()?.pick(&call, state.now(), number))
}

/// The official name of a question; empty for what is none.
fn named(payload: u32) -> &'static str {
    use crate::ctrader::Named;
    macro_rules! names {
        ($($message:ident)*) => { match payload { $(m::$message::PAYLOAD => m::$message::NAME,)* _ => "" } };
    }
    names! {
        ApplicationAuthReq AccountAuthReq AccountListReq RefreshTokenReq VersionReq NewOrderReq CancelOrderReq AssetListReq SymbolsListReq SymbolByIdReq
        TraderReq ReconcileReq DealListReq OrderListReq OrderDetailsReq CashFlowReq PnlReq SubscribeSpotsReq UnsubscribeSpotsReq
    }
}

/// A refusal that the plan names: its text is the code.
fn canned(asked: &m::Envelope, fault: &Fault) -> m::Envelope {
    let code = fault.text.clone().unwrap_or_else(|| if fault.status == Some(429) { "REQUEST_FREQUENCY_EXCEEDED" } else { "UNKNOWN_ERROR" }.into());
    if code == ExecutionType::CancelRejected.as_str() {
        let event = m::ExecutionEvent { account: ACCOUNT, kind: ExecutionType::CancelRejected.number(), ..m::ExecutionEvent::default() };
        return event.wrapped(asked.client_msg_id.clone());
    }
    let error = m::ErrorRes {
        account: Some(ACCOUNT),
        code,
        description: Some("the fault plan says so".into()),
        retry_after_s: fault.retry_after,
        ..m::ErrorRes::default()
    };
    error.wrapped(asked.client_msg_id.clone())
}

/// Answers that mislead: another symbol than was asked for, an exponent that is not the account's, a list of symbols in doubt.
fn rewritten(state: &State, message: &mut m::Envelope, fault: &Fault, action: Do) {
    match action {
        Do::WrongSymbol => {
            let other = fault.as_symbol.as_deref().map_or(0, |s| view::symbol_id(&state.world, s));
            if let Some(mut event) = m::ExecutionEvent::unwrapped(message) {
                event.order.iter_mut().for_each(|o| o.trade.symbol = other);
                *message = event.wrapped(message.client_msg_id.clone());
            }
        }
        Do::WrongMoneyDigits => {
            if let Some(mut answer) = m::TraderRes::unwrapped(message) {
                answer.trader.money_digits = Some(fault.rows.map_or(2, |n| u32::try_from(n).unwrap_or(2)));
                *message = answer.wrapped(message.client_msg_id.clone());
            }
        }
        Do::ClockSkew => {
            if let Some(mut answer) = m::TraderRes::unwrapped(message) {
                let ahead = state.now().plus_seconds(fault.seconds.unwrap_or(300.0) as i64);
                answer.trader.registered_ms = Some(crate::ctrader::millis(ahead));
                *message = answer.wrapped(message.client_msg_id.clone());
            }
        }
        Do::PageShort => {
            if let Some(mut answer) = m::PnlRes::unwrapped(message) {
                answer.rows.truncate(fault.rows.unwrap_or(1));
                *message = answer.wrapped(message.client_msg_id.clone());
            }
            if m::RefreshTokenRes::unwrapped(message).is_some() {
                *message = m::RefreshTokenRes::default().wrapped(message.client_msg_id.clone());
            }
        }
        Do::TwinSymbol | Do::ForeignSymbol => {
            if let Some(mut list) = m::SymbolsListRes::unwrapped(message) {
                view::relisted(&mut list.symbols, fault.as_symbol.as_deref().unwrap_or_default(), action == Do::ForeignSymbol);
                *message = list.wrapped(message.client_msg_id.clone());
            }
        }
        _ => {}
    }
}
