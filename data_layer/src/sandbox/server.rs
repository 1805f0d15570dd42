//! HTTP on one loopback port: requests become [`Call`]s, answers become responses, faulty connections are cut.

use super::State;
use super::inject::Outcome;
use super::wire::{Call, Reply};
use crate::error::Result;
use crate::time::UtcTime;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, Request, State as Shared};
use axum::http::Response;
use axum::serve::{IncomingStream, Listener};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Bodies above this size are not read.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// Serve until `stop` fires (or its sender is dropped).
pub fn spawn(listener: TcpListener, state: Arc<State>, stop: oneshot::Receiver<()>) -> JoinHandle<()> {
    let service = Router::new()
        .route("/alpaca_trading/stream", axum::routing::any(super::stream::upgrade))
        .fallback(handle)
        .with_state(state)
        .into_make_service_with_connect_info::<Tap>();
    tokio::spawn(async move {
        let stopped = async move {
            drop(stop.await);
        };
        if let Err(e) = axum::serve(CuttableListener(listener), service).with_graceful_shutdown(stopped).await {
            tracing::warn!(error = %e, "the sandbox's listener failed");
        }
    })
}

async fn handle(Shared(state): Shared<Arc<State>>, ConnectInfo(tap): ConnectInfo<Tap>, request: Request) -> Response<Body> {
    let outcome = match read(request).await {
        Ok(call) => {
            // The book writes to disk: keep that off the threads that serve connections.
            let world = Arc::clone(&state);
            let answered = tokio::task::spawn_blocking(move || world.answer(&call)).await;
            answered.unwrap_or_else(|_| Outcome::plain(Reply::message(500, "the sandbox failed; this is a bug")))
        }
        Err(reply) => Outcome::plain(reply),
    };
    if !outcome.delay.is_zero() {
        // Real time on purpose: the client's own patience is what a slow answer tests.
        tokio::time::sleep(outcome.delay).await;
    }
    if let Some(bytes) = outcome.cut_after {
        tap.bytes.store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
    let pieces = outcome.reply.body.len().div_ceil(DRIP_BYTES).max(1);
    let pause = outcome.drip.map_or(0, |whole| i64::try_from(whole.as_micros()).unwrap_or(i64::MAX) / i64::try_from(pieces).unwrap_or(1));
    tap.pause_micros.store(pause, Ordering::SeqCst);
    respond(outcome.reply, state.now())
}

async fn read(request: Request) -> std::result::Result<Call, Reply> {
    let (head, body) = request.into_parts();
    let query = Query::<Vec<(String, String)>>::try_from_uri(&head.uri).map_err(|_| Reply::message(400, "invalid query string"))?;
    let body = to_bytes(body, BODY_LIMIT_BYTES).await.map_err(|_| Reply::message(413, "request entity too large"))?;
    let path = head.uri.path();
    let rest = path.trim_start_matches('/');
    let vendor = rest.split('/').next().unwrap_or_default();
    let headers = head.headers.iter().filter_map(|(k, v)| Some((k.as_str().to_string(), v.to_str().ok()?.to_string()))).collect();
    Ok(Call {
        vendor: vendor.to_string(),
        method: head.method.as_str().to_string(),
        path: decoded(&rest[vendor.len()..]),
        query: query.0.into_iter().collect(),
        headers,
        body: body.to_vec(),
    })
}

/// Percent-decoded path; what is not valid stays as it is.
fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| path.get(i + 1..i + 3)).flatten().and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(hex.unwrap_or(bytes[i]));
        i += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_string())
}

/// Vendors say when they answered: here it is the world's time, not the machine's.
fn respond(reply: Reply, now: UtcTime) -> Response<Body> {
    let mut response = Response::builder().status(reply.status).header("content-type", reply.content_type);
    if let Ok(date) = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now.timestamp()) {
        response = response.header("date", date);
    }
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap_or_default()
}

/// Bytes that a dripping connection sends at once.
const DRIP_BYTES: usize = 64;

/// What a connection may still do.
#[derive(Clone)]
struct Tap {
    /// How many more bytes it may send; negative: as many as it likes.
    bytes: Arc<AtomicI64>,
    /// Real time between two drops of [`DRIP_BYTES`]; 0: it does not drip.
    pause_micros: Arc<AtomicI64>,
}

impl Connected<IncomingStream<'_, CuttableListener>> for Tap {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().tap.clone()
    }
}

struct CuttableListener(TcpListener);

impl Listener for CuttableListener {
    type Io = Cuttable;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Cuttable, std::net::SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        drop(stream.set_nodelay(true));
        let tap = Tap { bytes: Arc::new(AtomicI64::new(-1)), pause_micros: Arc::default() };
        (Cuttable { stream, tap, pause: None }, address)
    }

    fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that fails once its tap has run dry, and pauses between drops.
struct Cuttable {
    stream: TcpStream,
    tap: Tap,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let pause = u64::try_from(self.tap.pause_micros.load(Ordering::SeqCst)).unwrap_or(0);
        if let Some(waiting) = self.pause.as_mut() {
            std::task::ready!(waiting.as_mut().poll(cx));
            self.pause = None;
        }
        if pause > 0 {
            let wrote = Pin::new(&mut self.stream).poll_write(cx, &buf[..buf.len().min(DRIP_BYTES)]);
            if wrote.is_ready() {
                self.pause = Some(Box::pin(tokio::time::sleep(std::time::Duration::from_micros(pause))));
            }
            return wrote;
        }
        let left = self.tap.bytes.load(Ordering::SeqCst);
        let Ok(left) = usize::try_from(left) else { return Pin::new(&mut self.stream).poll_write(cx, buf) };
        if left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let part = &buf[..buf.len().min(left)];
        let wrote = Pin::new(&mut self.stream).poll_write(cx, part);
        if let Poll::Ready(Ok(n)) = &wrote {
            self.tap.bytes.fetch_sub(i64::try_from(*n).unwrap_or(0), Ordering::SeqCst);
        }
        wrote
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Bind the loopback interface; port 0 takes any free one.
pub async fn bind(port: u16) -> Result<TcpListener> {
    use crate::error::{Error, code};
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await.map_err(|e| {
        Error::new(code::SVC_BIND, format!("the sandbox cannot listen on 127.0.0.1:{port}"))
            .cause(e.to_string())
            .fix("choose another port, or any free one: trademl sandbox --port 0")
    })
}
