//! The only caller of vendors: budget, send, retry, classification, quarantine of bad bodies.
//!
//! The order is: offline? stopped? the clock believed? short windows, then the durable budget (which counts the call), then the wire. What
//! comes back is either a body worth decoding or a refusal with a class; trouble that may pass is retried here with a
//! jittered back-off. No key, host or port is in anything this module returns or writes.

use crate::budget::{self, Grant, Pacer, Per, Slices};
use crate::clock::{ClockWatch, Judgement};
use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::queue::{Kind, count};
use crate::root::{DataPath, DataRoot};
use crate::sourcing::vendors::is_loopback;
use crate::sourcing::{EdgeConfig, Secret, Vendor, Vendors};
use crate::time::UtcTime;
use crate::vendor::classify::{Answer, Class, classify};
use crate::vendor::{Auth, Request};
use secrecy::ExposeSecret;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod time_of_day;
pub mod transport;
pub use transport::{Broken, Call, Network, Raw, Room, Transport};

/// Longest body that is accepted of a vendor, decompressed: several times the longest that it has reason to send. Of those longer than
/// [`transport::LARGE_BYTES`] one is in memory at a time, until it is decoded. A longer one is cut off while it arrives, so
/// a compressed bomb costs no more memory than this.
pub fn max_body_bytes(vendor: Vendor) -> usize {
    match vendor {
        // All that a large company has ever reported has 20 MB.
        Vendor::SecEdgar => 64 << 20,
        // A page of 10,000 bars has 1.5 MB.
        Vendor::Alpaca => 8 << 20,
        // 100,000 values of a series, 50,000 minutes, all listings.
        _ => 24 << 20,
    }
}
/// Deadline of one request, to the last byte.
pub const DEADLINE: Duration = Duration::from_secs(120);
const RETRIES: u32 = 3;

/// Everything a call needs. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    pub host: Host,
    /// `None` before there is a drive: a key may be tried while no ledger exists yet.
    pub db: Option<Arc<Db>>,
    pub vendors: Arc<Vendors>,
    pub transport: Arc<dyn Transport>,
    pub pacer: Arc<Pacer>,
    pub slices: Slices,
    pub edge: Arc<EdgeConfig>,
    pub deadline: Duration,
    /// Requests that left this process.
    pub calls: Arc<AtomicU64>,
    /// What is thought of this machine's clock: no call leaves, and no answer is taken, while it is not believed.
    pub clock: Arc<ClockWatch>,
}

/// A body worth decoding. Another large one of the same vendor waits until this one is dropped.
#[derive(Debug)]
pub struct Body {
    pub http: u16,
    pub bytes: Vec<u8>,
    pub sha256: String,
    _room: Room,
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The vendor's (or the wire's) refusal; `words` are redacted.
    Vendor { class: Class, words: String, until: Option<UtcTime>, http: u16 },
    /// Our own ledger's: the vendor was not asked.
    Local { words: String, until: UtcTime },
}

impl Fetcher {
    /// One GET through budget and retries. `Err` is trouble of ours (drive, cancellation, a missing key), never the
    /// vendor's.
    pub async fn get(&self, request: &Request, kind: Kind) -> Result<std::result::Result<Body, Refusal>> {
        let mut attempt = 0;
        loop {
            self.host.check_cancelled()?;
            self.believed()?;
            let call = self.call(request)?;
            if let Some(refusal) = self.admit(request, kind).await? {
                return Ok(Err(refusal));
            }
            self.calls.fetch_add(1, Ordering::SeqCst);
            let (class, words, http, wait) = match self.transport.send(&call).await? {
                // Asking again would bring the same flood again.
                Err(Broken::TooLong) => (Class::Malformed, Broken::TooLong.to_string(), 0, None),
                Err(broken) => (Class::Transient, broken.to_string(), 0, None),
                Ok(raw) => {
                    self.clock.hear(&self.host, request.vendor, &raw.headers);
                    // What was asked with a wrong day in mind was the wrong question, and its answer would carry a wrong stamp.
                    self.believed()?;
                    let answer = Answer { vendor: request.vendor, status: raw.status, headers: &raw.headers, body: &raw.body };
                    let verdict = classify(&answer);
                    let now = self.host.now();
                    match verdict.class {
                        Class::Ok => {
                            let sha256 = crate::store::sha256_hex(&raw.body);
                            return Ok(Ok(Body { http: raw.status, bytes: raw.body, sha256, _room: call.room }));
                        }
                        Class::RateLimited { per, seconds } => {
                            let until = self.freeze(request.vendor, per, seconds, &raw, now).await?;
                            let words = self.vendors.redact(&verdict.words);
                            return Ok(Err(Refusal::Vendor { class: verdict.class, words, until: Some(until), http: raw.status }));
                        }
                        class => (class, verdict.words, raw.status, retry_after(&raw, now)),
                    }
                }
            };
            if class != Class::Transient || attempt >= RETRIES {
                let words = self.vendors.redact(&words);
                return Ok(Err(Refusal::Vendor { class, words, until: None, http }));
            }
            drop(call);
            attempt += 1;
            let wait = wait.filter(|d| *d <= Duration::from_secs(60)).unwrap_or_else(|| self.backoff(attempt));
            self.host.sleep(wait).await;
        }
    }

    /// `Err` (`HOST_CLOCK`) while the clock of this machine is not believed.
    pub fn believed(&self) -> Result<()> {
        match self.clock.judge(&self.host) {
            Judgement::Wrong(why) => Err(why),
            Judgement::Told | Judgement::Untold => Ok(()),
        }
    }

    /// 2, 4, 8 seconds, each between half and the whole of it: workers that failed together do not return together.
    fn backoff(&self, attempt: u32) -> Duration {
        let full = 2_000u64 << attempt.saturating_sub(1).min(4);
        let [random] = self.host.random_bytes::<1>();
        Duration::from_millis(full / 2 + full / 2 * u64::from(random) / 255)
    }

    /// The call with address and keys, after the last checks that keep worlds and the real market apart.
    fn call(&self, request: &Request) -> Result<Call> {
        let base = self.vendors.base(request.base)?;
        let unreachable = |why: &str| Error::new(code::NET_UNREACHABLE, text!("{} was not asked", request.vendor)).cause(why.to_string());
        if self.host.is_offline() {
            return Err(unreachable("--offline is set"));
        }
        if !is_loopback(base) {
            let world = self.db.as_ref().is_some_and(|db| db.root().is_world());
            if world || self.host.clock_is_simulated() {
                return Err(Error::new(code::NET_FORBIDDEN_HOST, text!("{} was not asked", request.vendor))
                    .cause("a simulated world or clock may talk to this machine only")
                    .fix("set the base URLs that `trademl sandbox` prints"));
            }
        }
        let mut call = Call {
            url: format!("{base}{}", request.path),
            query: request.query.clone(),
            secret_query: Vec::new(),
            headers: Vec::new(),
            timeout: self.deadline,
            max_bytes: max_body_bytes(request.vendor),
            room: Room::of(self.pacer.large(request.vendor.as_str())),
        };
        match request.auth {
            Auth::Headers(list) => {
                for (name, prefix, variable) in list {
                    let key = self.vendors.key(variable)?;
                    call.headers.push(((*name).to_string(), Secret::from(format!("{prefix}{}", key.expose_secret()))));
                }
            }
            Auth::Query(name, variable) => call.secret_query.push((name.to_string(), self.vendors.key(variable)?.clone())),
            Auth::None => {}
        }
        Ok(call)
    }

    /// Budget and pacing; a refusal when the call may not leave. When it may, it is already counted, and leaves at once.
    async fn admit(&self, request: &Request, kind: Kind) -> Result<Option<Refusal>> {
        let vendor = request.vendor;
        let short = self.short_windows(vendor)?;
        let ticket = self.pacer.admit(&self.host, vendor.as_str(), &short, request.weight).await?;
        let drive = self.db.as_ref().map(|db| db.root());
        let (Some(db), Some(limits)) = (&self.db, self.vendors.endpoints.limits(vendor, self.slices)) else {
            self.pacer.leaves(&self.host, vendor.as_str(), &short, ticket, drive).await?;
            return Ok(None);
        };
        let now = self.host.now();
        let grant = db.write(|tx| {
            if let Some(symbol) = &request.unique {
                let grant = budget::admit_symbol(tx, now, &limits, kind, symbol)?;
                if grant != Grant::Granted {
                    return Ok(grant);
                }
            }
            let grant = budget::spend(tx, now, &limits, kind, request.weight)?;
            if grant == Grant::Granted {
                count(tx, &format!("calls.{vendor}"), 1)?;
            }
            Ok(grant)
        })?;
        let grant = match grant {
            Grant::Granted if ticket.pass(&self.host, vendor.as_str(), &short, drive).await? => self.after_the_wait(db, &limits, (request, kind), now)?,
            said => said,
        };
        if grant == Grant::Granted {
            ticket.left(&self.host);
        }
        Ok(refused(grant))
    }

    /// Whether a call that was booked at `booked` may still leave: it may have waited for other processes since then, up to a
    /// minute, in which the vendor may have refused one of them, and a window may have ended. The vendor counts it in the one that
    /// is open now, so it is booked there as well. What was booked for a call that stays is not given back.
    fn after_the_wait(&self, db: &Db, limits: &budget::Limits, (request, kind): (&Request, Kind), booked: UtcTime) -> Result<Grant> {
        let now = self.host.now();
        {
            let conn = db.lock()?;
            if let Some((until, reason)) = budget::frozen(&conn, now, &limits.vendor)? {
                return Ok(Grant::Frozen { until, reason });
            }
            if !budget::began_since(&conn, now, limits, booked)? {
                return Ok(Grant::Granted);
            }
        }
        db.write(|tx| budget::spend(tx, now, limits, kind, request.weight))
    }

    /// Second and minute windows with what was learned about them.
    fn short_windows(&self, vendor: Vendor) -> Result<Vec<budget::WindowSpec>> {
        let mut specs = self.vendors.endpoints.short_windows(vendor);
        if let Some(db) = &self.db {
            let mut conn = db.lock()?;
            let tx = conn.transaction()?;
            for spec in &mut specs {
                spec.calls = budget::effective_cap(&tx, self.host.now(), vendor.as_str(), *spec)?;
            }
        }
        Ok(specs)
    }

    /// The vendor refused for its rate: learn, and be silent until its header, its window or our configuration says.
    async fn freeze(&self, vendor: Vendor, per: Option<Per>, seconds: Option<f64>, raw: &Raw, now: UtcTime) -> Result<UtcTime> {
        let number = |name: &str| raw.headers.get(name).and_then(|v| v.trim().parse::<f64>().ok());
        let reset = number("x-ratelimit-reset").map(|epoch| Duration::from_secs_f64((epoch - now.micros() as f64 / 1e6).clamp(1.0, 3_600.0)));
        let silence = retry_after(raw, now).or(reset).unwrap_or_else(|| {
            let configured = self.edge.freeze_seconds(vendor) as f64;
            Duration::from_secs_f64(seconds.unwrap_or(match per {
                Some(Per::Second) => 1.5,
                Some(Per::Minute) => 60.0,
                // After an hour's or a day's limit one call an hour finds out when it opens again.
                Some(_) => 3_600.0,
                None => configured,
            }))
        });
        let until = now.plus(silence);
        if let (Some(db), Some(limits)) = (&self.db, self.vendors.endpoints.limits(vendor, self.slices)) {
            let counted = match per {
                Some(p) if p < Per::Hour => Some(self.pacer.counted(&self.host, vendor.as_str(), p)),
                _ => None,
            };
            let stated = number("x-ratelimit-limit").map(|n| n as u64).filter(|n| *n > 0);
            db.write(|tx| {
                if let Some(per) = per {
                    budget::learn(tx, now, &limits, per, counted, stated)?;
                }
                budget::freeze(tx, now, vendor.as_str(), until, "the vendor's rate limit")
            })?;
        }
        Ok(until)
    }

    /// Keep a body that could not be used: `raw/_quarantine/<day>/<sha>.gz` and a `.json` that says why.
    pub fn quarantine(&self, root: &DataRoot, request: &Request, http: u16, body: &[u8], why: &str) -> Result<DataPath> {
        let sha = crate::store::sha256_hex(body);
        let folder = DataPath::new(format!("raw/_quarantine/{}", self.host.now().utc_day()))?;
        let path = folder.join(&format!("{sha}.gz"))?;
        // A refusal may repeat the key, and a proxy's page need not be UTF-8: what is kept is redacted as bytes.
        let kept = self.vendors.redact_bytes(body);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&kept)?;
        crate::store::write_atomic(root, &path, &gz.finish()?)?;
        let note = serde_json::json!({
            "v": 1, "source_uri": request.source_uri(), "http": http, "bytes": body.len(), "body_sha256": sha, "why": self.vendors.redact(why),
        });
        crate::store::write_atomic(root, &folder.join(&format!("{sha}.json"))?, crate::store::canonical_json(&note)?.as_bytes())?;
        Ok(path)
    }
}

/// Our own ledger's refusal, in words.
fn refused(grant: Grant) -> Option<Refusal> {
    match grant {
        Grant::Granted => None,
        Grant::Blocked { per, until } => Some(Refusal::Local { words: text!("the budget of this {} is used up", per.as_str()), until }),
        Grant::Frozen { until, reason } => Some(Refusal::Local { words: reason, until }),
    }
}

/// `Retry-After` in seconds or as an HTTP date.
fn retry_after(raw: &Raw, now: UtcTime) -> Option<Duration> {
    let text = raw.headers.get("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.clamp(0.001, 86_400.0)));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond();
    Some(Duration::from_micros(u64::try_from(at - now.micros()).unwrap_or(1).min(86_400_000_000)))
}

#[cfg(test)]
mod tests;
