//! Carrying out a fault: what is answered in place of, or made of, the right answer.

use super::faults::{Do, Fault, fixture};
use super::refusals;
use super::wire::{Call, Reply};
use crate::error::Result;
use crate::time::UtcTime;
use std::time::Duration;

mod rewrite;

/// An answer and what becomes of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reply: Reply,
    /// Close the connection after this many bytes of the answer (head included).
    pub cut_after: Option<u64>,
    /// Real time to wait before answering.
    pub delay: Duration,
    /// Real time over which the answer is spread, a few bytes at a time.
    pub drip: Option<Duration>,
}

impl Outcome {
    pub fn plain(reply: Reply) -> Self {
        Self { reply, cut_after: None, delay: Duration::ZERO, drip: None }
    }
    fn cut(reply: Reply, bytes: u64) -> Self {
        Self { cut_after: Some(bytes), ..Self::plain(reply) }
    }
}

/// A response's head is longer than this, so half a body beyond it never reaches the end.
const HEAD_BYTES: u64 = 100;

/// Answer `call` at world time `now` as `fault` says; `serve` is the faultless dialect.
pub fn outcome(call: &Call, now: UtcTime, fault: &Fault, serve: impl FnOnce(&Call) -> Result<Reply>) -> Result<Outcome> {
    Ok(match fault.action {
        Do::Status | Do::Body => Outcome::plain(canned(call, now, fault)),
        Do::Html => Outcome::plain(Reply::text(fault.status.unwrap_or(200), "text/html; charset=utf-8", HTML)),
        Do::Entitlement => Outcome::plain(refusals::entitlement(call)),
        Do::ErrorBefore => Outcome::plain(refusals::server_error(call)),
        Do::Reset => Outcome::cut(refusals::server_error(call), 0),
        Do::LostAck => Outcome::cut(serve(call)?, 0),
        Do::ErrorAfter => {
            serve(call)?;
            Outcome::plain(refusals::server_error(call))
        }
        Do::Truncate => {
            let reply = serve(call)?;
            let bytes = HEAD_BYTES + reply.body.len() as u64 / 2;
            Outcome::cut(reply, bytes)
        }
        Do::Slow => Outcome { delay: real_seconds(fault, 5.0), ..Outcome::plain(serve(call)?) },
        Do::PageShort => {
            let mut short = call.clone();
            let rows = fault.rows.unwrap_or(1).max(1).to_string();
            for name in ["limit", "page_size"] {
                short.query.insert(name.into(), rows.clone());
            }
            Outcome::plain(serve(&short)?)
        }
        // Where pages are numbered, every page is the first one.
        Do::CursorLoop if call.query.contains_key("page") => {
            let mut first = call.clone();
            first.query.insert("page".into(), "0".into());
            Outcome::plain(serve(&first)?)
        }
        Do::Drip => Outcome { drip: Some(real_seconds(fault, 5.0)), ..Outcome::plain(serve(call)?) },
        Do::GzipBomb => Outcome::plain(bomb(fault.mib.unwrap_or(1_024))),
        other => Outcome::plain(rewrite::changed(serve(call)?, call, now, fault, other)),
    })
}

const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head><body><h1>We will be right back</h1></body></html>\n";

/// A fixed status and body: the plan's, or what the vendor says with that status.
fn canned(call: &Call, now: UtcTime, fault: &Fault) -> Reply {
    let status = fault.status.unwrap_or(200);
    let reply = match fault.fixture.as_deref().and_then(fixture).or(fault.text.as_deref()) {
        Some(text) => {
            let kind = if text.trim_start().starts_with(['{', '[']) { "application/json" } else { "text/plain; charset=utf-8" };
            Reply::text(status, kind, text)
        }
        None => refusals::status(call, status, now),
    };
    match fault.retry_after {
        Some(seconds) => reply.with_header("Retry-After", seconds.to_string()),
        None => reply,
    }
}

fn real_seconds(fault: &Fault, default: f64) -> Duration {
    Duration::from_secs_f64(fault.seconds.unwrap_or(default).clamp(0.0, 300.0))
}

/// `mib` MiB of zeros as gzip: one compressed MiB repeated, so that a gibibyte costs a megabyte here too.
fn bomb(mib: u32) -> Reply {
    const MIB: usize = 1 << 20;
    let zeros = vec![0u8; MIB];
    let mut one = Vec::with_capacity(4_096);
    let mut deflate = flate2::Compress::new(flate2::Compression::best(), false);
    // A full flush ends on a byte and forgets what came before, so the piece can stand behind itself.
    if deflate.compress_vec(&zeros, &mut one, flate2::FlushCompress::Full).is_err() {
        return Reply::message(500, "the sandbox could not make its bomb");
    }
    let mut crc = flate2::Crc::new();
    crc.update(&zeros);
    let mut total = flate2::Crc::new();
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    for _ in 0..mib {
        body.extend_from_slice(&one);
        total.combine(&crc);
    }
    body.extend_from_slice(&[0x03, 0x00]);
    body.extend_from_slice(&total.sum().to_le_bytes());
    body.extend_from_slice(&total.amount().to_le_bytes());
    Reply::text(200, "application/json", body).with_header("Content-Encoding", "gzip")
}
