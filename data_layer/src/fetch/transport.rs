//! The wire: one HTTP GET with a deadline and a cap on the body.

use crate::error::Result;
use crate::host::Host;
use crate::sourcing::Secret;
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// A GET as it leaves: address, query, and the keys apart from both.
#[derive(Debug)]
pub struct Call {
    /// Scheme, host and path.
    pub url: String,
    pub query: Vec<(String, String)>,
    pub secret_query: Vec<(String, Secret)>,
    pub headers: Vec<(String, Secret)>,
    pub timeout: Duration,
    /// Longer bodies (after decompression) are cut off and refused.
    pub max_bytes: usize,
    /// Where a large body waits for the one before it.
    pub room: Room,
}

/// A body longer than this is a large one.
pub const LARGE_BYTES: usize = 4 << 20;

/// Room for one large body: a vendor's calls share it. It is free again when this is dropped.
#[derive(Debug, Default)]
pub struct Room {
    shared: Arc<tokio::sync::Mutex<()>>,
    taken: Mutex<Option<OwnedMutexGuard<()>>>,
}

impl Room {
    pub fn of(shared: Arc<tokio::sync::Mutex<()>>) -> Self {
        Self { shared, taken: Mutex::new(None) }
    }
    /// Wait until nobody else has a large body.
    async fn enter(&self) {
        let guard = Arc::clone(&self.shared).lock_owned().await;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    }
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub status: u16,
    /// Lower-case names.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// Why there is no answer. The text names no URL, so no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    Timeout,
    /// Nobody listens there.
    Connect(String),
    /// The answer broke off.
    Cut(String),
    /// The body is longer than the cap.
    TooLong,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer within the deadline"),
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Cut(why) => write!(f, "the answer broke off: {why}"),
            Self::TooLong => f.write_str("the answer is longer than the cap"),
        }
    }
}

pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<std::result::Result<Raw, Broken>>> + Send + 'a>>;

/// Whatever carries a call.
pub trait Transport: Send + Sync {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a>;
}

/// The real network, through the host's client.
pub struct Network {
    host: Host,
}

impl Network {
    pub fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }
}

impl Transport for Network {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move { Ok(get(&self.host, call).await) })
    }
}

/// The deadline of the request builder covers everything up to the last byte, so a server that drips cannot hold us.
async fn get(host: &Host, call: &Call) -> std::result::Result<Raw, Broken> {
    let mut request = host.http().get(&call.url).timeout(call.timeout).query(&call.query);
    let secrets: Vec<(&str, &str)> = call.secret_query.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
    if !secrets.is_empty() {
        request = request.query(&secrets);
    }
    for (name, value) in &call.headers {
        request = request.header(name, value.expose_secret());
    }
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status().as_u16();
    let headers = response.headers().iter().filter_map(|(k, v)| Some((k.as_str().to_ascii_lowercase(), v.to_str().ok()?.to_string()))).collect();
    let mut body = Vec::new();
    let mut large = false;
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > call.max_bytes {
            return Err(Broken::TooLong);
        }
        if !large && body.len() + chunk.len() > LARGE_BYTES {
            // What has not been read stays at the vendor meanwhile.
            call.room.enter().await;
            large = true;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Raw { status, headers, body })
}

fn broken(e: reqwest::Error) -> Broken {
    // The library prints the URL, and with it the key of a vendor that takes it there.
    let e = e.without_url();
    if e.is_timeout() {
        Broken::Timeout
    } else if e.is_connect() {
        Broken::Connect(e.to_string())
    } else {
        Broken::Cut(e.to_string())
    }
}
