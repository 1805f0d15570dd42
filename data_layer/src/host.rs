//! `Host`: the outside world as a value. Clock, environment, HTTP, randomness, cancellation and test hooks.
//!
//! Made once in `main` ([`Host::real`]), faked once in tests ([`Host::fake`]). Everything with a side effect takes a
//! `Host` (usually through [`crate::root::DataRoot`]); `clippy.toml` bans the back doors.

mod fail;
mod time;

pub use fail::FAILPOINTS;

use crate::error::{Error, Result, code};
use crate::time::UtcTime;
use fail::FailPlan;
use sha2::Digest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// How the program tells the time.
enum Clock {
    System,
    /// Stands at an instant and moves only by the program's own waits.
    Pinned(AtomicI64),
    /// Follows a sandbox's world clock as of the last [`Host::set_world_time`], plus the program's own waits.
    World(AtomicI64),
}

struct Inner {
    env: BTreeMap<String, String>,
    clock: Clock,
    /// By how much a simulated clock is set wrong, in microseconds.
    wrong: AtomicI64,
    machine_id: String,
    boot_id: String,
    host_label: String,
    sysroot: PathBuf,
    cwd: PathBuf,
    trace_steps: bool,
    shared: Arc<Shared>,
}

/// What a host and the hosts derived from it have in common: one process, one fate.
#[derive(Default)]
struct Shared {
    fail: Option<FailPlan>,
    trace_sink: Option<Mutex<Vec<String>>>,
    cancelled: AtomicBool,
    cancel_notify: tokio::sync::Notify,
    cancel_signal: AtomicI64,
    http: OnceLock<reqwest::Client>,
    program_sha256: OnceLock<String>,
    runtime: Bridge,
    offline: AtomicBool,
}

/// The async runtime, made when first needed. The last handle may be dropped by one of its own tasks, so it is shut down in
/// the background.
#[derive(Default)]
struct Bridge(OnceLock<tokio::runtime::Runtime>);

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A cheap handle; clones share everything.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({})", self.0.machine_id)
    }
}

/// The parts of a faked host; see [`Host::fake`].
#[derive(Clone, Debug)]
pub struct FakeHost {
    pub env: BTreeMap<String, String>,
    pub now: UtcTime,
    pub machine_id: String,
    pub boot_id: String,
    /// Stands in for `/` in host detection.
    pub sysroot: PathBuf,
    /// Die (return errors for ever) at the k-th passage of this point (`""` = any point).
    pub crash_at: Option<(String, u64)>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            env: BTreeMap::new(),
            now: UtcTime::from_micros(1_763_700_000_000_000),
            machine_id: "00000000000000aa".into(),
            boot_id: "boot-1".into(),
            sysroot: PathBuf::from("/nonexistent-sysroot"),
            crash_at: None,
        }
    }
}

impl Host {
    /// The machine this process runs on. Fails when `TRADEML_CLOCK` or `TRADEML_FAILPOINT` cannot be understood.
    #[allow(clippy::disallowed_methods)] // the one place that reads the real environment and machine
    pub fn real() -> Result<Self> {
        let env: BTreeMap<String, String> = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        let clock = match env.get("TRADEML_CLOCK").map(String::as_str) {
            None | Some("") => Clock::System,
            Some("world") => Clock::World(AtomicI64::new(system_micros())),
            Some(text) => Clock::Pinned(AtomicI64::new(UtcTime::parse(text).map_err(|e| e.during("TRADEML_CLOCK"))?.micros())),
        };
        let fail = env.get("TRADEML_FAILPOINT").filter(|v| !v.is_empty()).map(|v| FailPlan::parse(v)).transpose()?;
        let sysroot = PathBuf::from(env.get("TRADEML_SYSROOT").cloned().unwrap_or_else(|| "/".into()));
        let machine_id = env.get("TRADEML_MACHINE_ID").cloned().unwrap_or_else(|| read_machine_id(&sysroot));
        let boot_id = env.get("TRADEML_BOOT_ID").cloned().unwrap_or_else(|| {
            std::fs::read_to_string(sysroot.join("proc/sys/kernel/random/boot_id"))
                .map_or_else(|_| format!("pid-{}", std::process::id()), |s| s.trim().to_string())
        });
        let trace_steps = env.get("TRADEML_TRACE").is_some_and(|v| v == "steps");
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let host_label = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self::assemble(Inner {
            env,
            clock,
            wrong: AtomicI64::new(0),
            machine_id,
            boot_id,
            host_label,
            sysroot,
            cwd,
            trace_steps,
            shared: Arc::new(Shared { fail, ..Shared::default() }),
        }))
    }

    /// A host for tests: a pinned clock, its own environment, no real machine behind it.
    pub fn fake(fake: FakeHost) -> Self {
        let fail = fake.crash_at.map(|(name, kth)| FailPlan::unwinding(&name, kth));
        Self::assemble(Inner {
            env: fake.env,
            clock: Clock::Pinned(AtomicI64::new(fake.now.micros())),
            wrong: AtomicI64::new(0),
            machine_id: fake.machine_id,
            boot_id: fake.boot_id,
            host_label: "test".into(),
            sysroot: fake.sysroot,
            cwd: PathBuf::from("."),
            trace_steps: false,
            shared: Arc::new(Shared { fail, trace_sink: Some(Mutex::new(Vec::new())), program_sha256: OnceLock::from("0".repeat(64)), ..Shared::default() }),
        })
    }

    /// This machine seen through other glasses: `extra` on top of the environment, following a world's clock that
    /// stands at `now`. Cancellation, failpoints and the HTTP client are shared with `self`.
    #[must_use]
    pub fn in_world(&self, extra: &BTreeMap<String, String>, now: UtcTime) -> Self {
        let mut env = self.0.env.clone();
        env.extend(extra.iter().map(|(k, v)| (k.clone(), v.clone())));
        Self::assemble(Inner {
            env,
            clock: Clock::World(AtomicI64::new(now.micros())),
            wrong: AtomicI64::new(0),
            machine_id: self.0.machine_id.clone(),
            boot_id: self.0.boot_id.clone(),
            host_label: self.0.host_label.clone(),
            sysroot: self.0.sysroot.clone(),
            cwd: self.0.cwd.clone(),
            trace_steps: self.0.trace_steps,
            shared: Arc::clone(&self.0.shared),
        })
    }

    fn assemble(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    // --- environment ------------------------------------------------------------------------------------------------

    /// A non-empty environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.0.env.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
    /// Every variable of the process's environment: for prefixes such as `NODE_MAX_INFLIGHT_`.
    pub fn env_all(&self) -> &BTreeMap<String, String> {
        &self.0.env
    }
    /// The directory the program was started in.
    pub fn cwd(&self) -> &Path {
        &self.0.cwd
    }
    /// Where host detection looks for `/proc`, `/sys`, `/etc`.
    pub fn sysroot(&self) -> &Path {
        &self.0.sysroot
    }
    /// `$XDG_CONFIG_HOME/trademl`: keys and this machine's limits.
    pub fn config_dir(&self) -> PathBuf {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }
    /// `$XDG_STATE_HOME/trademl`: logs before the drive is known.
    pub fn state_dir(&self) -> PathBuf {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }
    fn xdg(&self, var: &str, fallback: &str) -> PathBuf {
        match (self.env(var), self.env("HOME")) {
            (Some(base), _) => PathBuf::from(base).join("trademl"),
            (None, Some(home)) => PathBuf::from(home).join(fallback).join("trademl"),
            (None, None) => self.0.cwd.join(".trademl"),
        }
    }

    // --- identity ---------------------------------------------------------------------------------------------------

    /// 16 hex digits that stay the same on this machine (`docs/formats.md`, "who may write").
    pub fn machine_id(&self) -> &str {
        &self.0.machine_id
    }
    /// Changes with every boot: leases of another boot are void.
    pub fn boot_id(&self) -> &str {
        &self.0.boot_id
    }
    /// For people reading a log; never enters a decision.
    pub fn host_label(&self) -> &str {
        &self.0.host_label
    }
    pub fn pid(&self) -> u32 {
        std::process::id()
    }
    /// Fresh random bytes; never used for anything that enters data, models or order ids.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0u8; N];
        for chunk in out.chunks_mut(16) {
            let id = uuid::Uuid::new_v4();
            let n = chunk.len();
            chunk.copy_from_slice(&id.as_bytes()[..n]);
        }
        out
    }

    // --- network ----------------------------------------------------------------------------------------------------

    /// The process's HTTP client (rustls, no redirects to other hosts, no proxy to loopback). Only `fetch` and the
    /// broker adapters use it.
    pub fn http(&self) -> reqwest::Client {
        self.0.shared.http.get_or_init(build_http).clone()
    }
    /// `--offline`: no call leaves this process.
    pub fn set_offline(&self, offline: bool) {
        self.0.shared.offline.store(offline, Ordering::SeqCst);
    }
    pub fn is_offline(&self) -> bool {
        self.0.shared.offline.load(Ordering::SeqCst)
    }

    /// SHA-256 of the running program's file, read once.
    pub fn program_sha256(&self) -> Result<&str> {
        if let Some(known) = self.0.shared.program_sha256.get() {
            return Ok(known);
        }
        let mut file = std::fs::File::open(std::env::current_exe()?)?;
        let (mut digest, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 20]);
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => break,
                n => digest.update(&buffer[..n]),
            }
        }
        Ok(self.0.shared.program_sha256.get_or_init(|| hex::encode(digest.finalize())))
    }

    /// Run a future to its end from synchronous code; the only such bridge in the program.
    pub fn block_on<F: std::future::Future>(&self, future: F) -> Result<F::Output> {
        if self.0.shared.runtime.0.get().is_none() {
            let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            drop(self.0.shared.runtime.0.set(built));
        }
        let runtime = self.0.shared.runtime.0.get().ok_or_else(|| Error::bug("the async runtime did not start"))?;
        Ok(runtime.block_on(future))
    }

    // --- cancellation -----------------------------------------------------------------------------------------------

    /// Ask everything to stop at the next safe point (`signal`: 2, 15 or 1).
    pub fn cancel(&self, signal: i32) {
        self.0.shared.cancel_signal.store(i64::from(signal), Ordering::SeqCst);
        self.0.shared.cancelled.store(true, Ordering::SeqCst);
        self.0.shared.cancel_notify.notify_waiters();
    }
    /// Forget a cancellation: the user chose to go on from the pause menu.
    pub fn uncancel(&self) {
        self.0.shared.cancelled.store(false, Ordering::SeqCst);
    }
    pub fn is_cancelled(&self) -> bool {
        self.0.shared.cancelled.load(Ordering::SeqCst)
    }
    /// Resolves when [`Host::cancel`] was called.
    pub async fn cancelled(&self) {
        loop {
            let waiting = self.0.shared.cancel_notify.notified();
            if self.is_cancelled() {
                return;
            }
            waiting.await;
        }
    }
    /// `Err` when cancelled: call it between units of work.
    pub fn check_cancelled(&self) -> Result<()> {
        if !self.is_cancelled() {
            return Ok(());
        }
        let code = if self.0.shared.cancel_signal.load(Ordering::SeqCst) == 15 { code::USE_TERMINATED } else { code::USE_INTERRUPTED };
        Err(Error::new(code, "stopped on request; the run can be resumed"))
    }

    // --- testing hooks ----------------------------------------------------------------------------------------------

    /// A named point of possible death (`docs/testing-hooks.md`). Aborts the process, or in tests returns an error,
    /// when the plan says so.
    pub fn failpoint(&self, name: &'static str) -> Result<()> {
        self.0.shared.fail.as_ref().map_or(Ok(()), |plan| plan.pass(name))
    }

    /// How many failpoints were passed (tests size their sweeps with it).
    pub fn failpoints_passed(&self) -> u64 {
        self.0.shared.fail.as_ref().map_or(0, FailPlan::passed)
    }

    /// `STEP <n> <id>` on stderr when `TRADEML_TRACE=steps`.
    pub fn trace_step(&self, n: usize, id: &str) {
        self.trace_line(|| text!("STEP {n} {id}"));
    }
    /// `ACK <kind> <id>` on stderr when `TRADEML_TRACE=steps`: the named thing is durable.
    pub fn ack(&self, kind: &str, id: &str) {
        self.trace_line(|| text!("ACK {kind} {id}"));
    }
    #[allow(clippy::print_stderr)] // the documented trace channel
    fn trace_line(&self, line: impl FnOnce() -> String) {
        if self.0.trace_steps {
            eprintln!("{}", line());
        } else if let Some(sink) = &self.0.shared.trace_sink
            && let Ok(mut sink) = sink.lock()
        {
            sink.push(line());
        }
    }
    /// What a fake host would have traced.
    pub fn traced(&self) -> Vec<String> {
        self.0.shared.trace_sink.as_ref().and_then(|s| s.lock().ok().map(|s| s.clone())).unwrap_or_default()
    }
}

#[allow(clippy::disallowed_methods)]
fn system_micros() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(0))
}

#[allow(clippy::disallowed_methods)]
fn read_machine_id(sysroot: &Path) -> String {
    use sha2::{Digest, Sha256};
    let os_id = ["etc/machine-id", "var/lib/dbus/machine-id"]
        .iter()
        .find_map(|p| std::fs::read_to_string(sysroot.join(p)).ok())
        .map(|s| s.trim().to_string())
        .filter(|s| !s.is_empty())
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let digest = Sha256::digest(format!("trademl-machine-1|{os_id}").as_bytes());
    hex::encode(digest)[..16].to_string()
}

fn build_http() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .user_agent(concat!("trademl/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(120))
        .build()
        .unwrap_or_default()
}
