//! The outside world in a box: vendors' and a broker's HTTP dialects on one loopback port, over a world of real or invented prices.
//!
//! A client of the real service needs only another base URL: `http://127.0.0.1:<port>/<dialect>`. Dialects are pure
//! functions of (world, world clock, request), the broker's of its book too. The world clock moves only when told
//! ([`client::advance`]); nothing later than it is ever served. Faults are put in by a plan ([`faults`]).
//!
//! | path | what |
//! |---|---|
//! | `/alpaca_data/…` | bars and corporate actions ([`market_data`]) |
//! | `/alpaca_trading/…` | a simulated paper account ([`trading`]); `/alpaca_trading/stream` is its order stream |
//! | `/alpha_vantage/query` | listing status ([`alpha_vantage`]) |
//! | `/fred/fred/…` | macro series with vintages ([`fred`]) |
//! | `/finnhub/…` | the history of an index ([`finnhub`]) |
//! | `/tiingo/…` | prices of a symbol's whole life, with splits and cash ([`tiingo`]) |
//! | `/massive/…` | aggregates, a market's day, tickers, splits, dividends ([`massive`]) |
//! | `/fmp/…` | delisted companies ([`fmp`]) |
//! | `/sec_data/…`, `/sec_www/…` | companies' numbers by the day of their filing ([`sec`]) |
//! | `/treasury/…` | the yield curve ([`treasury`]) |
//! | `/ctrader_oauth/…` | the authorisation of the other broker, whose orders go to a TLS port of their own ([`ctrader`]) |
//! | `/_world…` | the steering wheel ([`world_api`]) |

mod account;
pub mod alpha_vantage;
mod book;
pub mod calls;
pub mod client;
pub mod clock;
mod corporate;
pub mod ctrader;
mod extras;
pub mod faults;
mod fills;
pub mod finnhub;
pub mod fmp;
pub mod fred;
mod inject;
pub mod keys;
pub mod limits;
pub mod load;
pub mod market_data;
pub mod massive;
mod massive_reference;
pub mod minutes;
mod orders;
mod refusals;
pub mod sec;
mod server;
mod stream;
pub mod synth;
pub mod tiingo;
pub mod trading;
pub mod treasury;
pub mod wire;
pub mod world;
pub mod world_api;

#[cfg(test)]
mod tests;

use crate::calendar::Calendar;
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::time::UtcTime;
use book::Book;
use calls::Calls;
use faults::Plan;
use inject::Outcome;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::{Call, Reply};
use world::World;

/// What to serve, and where its state is kept.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// `replay`, `planted` or `null`; not asked when `data_dir` is given.
    pub world: String,
    /// A folder of Parquet to serve instead.
    pub data_dir: Option<PathBuf>,
    /// The broker's book, the clock and the call log; made when absent. A sandbox on the same folder goes on where the last one stopped.
    pub state_dir: PathBuf,
    /// 0 takes any free port.
    pub port: u16,
    /// What a synthetic world is made from; the replay world draws nothing.
    pub seed: u64,
    /// A fault plan to start with.
    pub faults: Option<PathBuf>,
    /// Where the clock starts when the state holds none; `None`: the close of the world's first day. A stored clock is only moved forward.
    pub now: Option<UtcTime>,
}

impl SandboxConfig {
    /// The replay world with its state in `state_dir`, on any port, without faults.
    pub fn replay(state_dir: PathBuf) -> Self {
        Self { world: "replay".into(), data_dir: None, state_dir, port: 0, seed: 0, faults: None, now: None }
    }

    /// The built-in world that a dataset's name says (`planted@2:7`).
    pub fn of_dataset(dataset: &str, state_dir: PathBuf) -> Self {
        let (world, rest) = dataset.split_once('@').unwrap_or((dataset, ""));
        let seed = rest.split_once(':').and_then(|(_, s)| s.parse().ok()).unwrap_or(0);
        let world = if matches!(world, "planted" | "null") { world } else { "replay" };
        Self { world: world.into(), seed, ..Self::replay(state_dir) }
    }
}

/// Everything behind the port.
pub struct State {
    world: World,
    seed: u64,
    now: AtomicI64,
    /// `None` after shutdown. Whoever moves the clock holds it, so trading calls see one time.
    book: Mutex<Option<Book>>,
    plan: Mutex<Plan>,
    meter: Mutex<limits::Meter>,
    calls: Calls,
    /// What the order stream tells its listeners.
    events: tokio::sync::broadcast::Sender<stream::Event>,
}

impl State {
    fn open(cfg: &SandboxConfig) -> Result<Self> {
        let world = load::load(&cfg.world, cfg.seed, cfg.data_dir.as_deref())?;
        let plan = cfg.faults.as_deref().map(Plan::read).transpose()?.unwrap_or_default();
        crate::store::create_folder(&cfg.state_dir)?;
        let book = Book::open(&cfg.state_dir, &world.dataset())?;
        let stored = book.meta("now")?.map(|t| t.parse::<UtcTime>()).transpose()?;
        let start = stored.or(cfg.now).unwrap_or_else(|| Calendar::xnys().close(world.first));
        let calls = Calls::open(&cfg.state_dir)?;
        let state = Self {
            world,
            seed: cfg.seed,
            now: AtomicI64::new(start.micros()),
            book: Mutex::new(Some(book)),
            plan: Mutex::new(plan),
            meter: Mutex::default(),
            calls,
            events: tokio::sync::broadcast::channel(stream::BACKLOG).0,
        };
        if let Some(wanted) = cfg.now.filter(|t| *t > start) {
            state.advance(wanted)?;
        }
        Ok(state)
    }

    /// The world clock.
    pub fn now(&self) -> UtcTime {
        UtcTime::from_micros(self.now.load(Ordering::SeqCst))
    }

    fn plan(&self) -> Result<MutexGuard<'_, Plan>> {
        self.plan.lock().map_err(|_| Error::bug("a thread died while holding the fault plan"))
    }

    fn book(&self) -> Result<MutexGuard<'_, Option<Book>>> {
        self.book.lock().map_err(|_| Error::bug("a thread died while holding the sandbox's book"))
    }

    /// Move the clock forward, filling what fills on the way; backwards is `HOST_CLOCK`.
    fn advance(&self, to: UtcTime) -> Result<()> {
        let mut guard = self.book()?;
        let book = guard.as_mut().ok_or_else(closed)?;
        let now = self.now();
        if to < now {
            return Err(Error::new(code::HOST_CLOCK, format!("the world clock is at {now} and never goes back to {to}")));
        }
        if to > now {
            let plan = self.plan()?.clone();
            self.telling(book, |book| fills::advance(book, &self.world, &plan, now, to))?;
            self.now.store(to.micros(), Ordering::SeqCst);
        }
        Ok(())
    }

    /// Change the book, and tell the order stream's listeners what became of it.
    fn telling<T>(&self, book: &mut Book, change: impl FnOnce(&mut Book) -> Result<T>) -> Result<T> {
        if self.events.receiver_count() == 0 {
            return change(book);
        }
        let before = stream::Before::of(book)?;
        let out = change(book)?;
        for event in before.events(&self.world, book)? {
            // An error means that the last listener has just left.
            drop(self.events.send(event));
        }
        Ok(out)
    }

    /// Answer a request. Failures of our own become the vendor's 500, so that clients see what they would see outside.
    fn answer(&self, call: &Call) -> Outcome {
        self.try_answer(call).unwrap_or_else(|e| {
            tracing::warn!(error = %e, path = %call.path, "the sandbox could not answer");
            Outcome::plain(Reply::message(if e.is(code::SVC_REQUEST) { 503 } else { 500 }, &e.to_string()))
        })
    }

    fn try_answer(&self, call: &Call) -> Result<Outcome> {
        match call.vendor.as_str() {
            "_world" => return Ok(Outcome::plain(world_api::answer(self, call)?)),
            known if DIALECTS.contains(&known) => {}
            other => return Ok(Outcome::plain(Reply::message(404, &format!("the sandbox has no dialect '{other}'")))),
        }
        let number = self.calls.count(&call.vendor, self.now())?;
        let (fault, enforce) = {
            let mut plan = self.plan()?;
            (plan.pick(call, self.now(), number), plan.limits)
        };
        if let Some(fault) = fault {
            return inject::outcome(call, self.now(), &fault, |c| self.serve(c));
        }
        let mut meter = self.meter.lock().map_err(|_| Error::bug("a thread died while counting calls"))?;
        let refused = meter.refuse(call, self.now(), enforce);
        drop(meter);
        Ok(Outcome::plain(refused.map_or_else(|| self.serve(call), Ok)?))
    }

    /// The faultless dialects.
    fn serve(&self, call: &Call) -> Result<Reply> {
        let (world, now) = (&self.world, self.now());
        match call.vendor.as_str() {
            "alpaca_data" => Ok(market_data::answer(world, now, call)),
            "alpha_vantage" => Ok(alpha_vantage::answer(world, now, call)),
            "finnhub" => Ok(finnhub::answer(world, now, call)),
            "fmp" => Ok(fmp::answer(world, now, call)),
            "ctrader_oauth" => ctrader::oauth(self.book()?.as_mut().ok_or_else(closed)?, now, call),
            "fred" => Ok(fred::answer(world, now, call)),
            "massive" => Ok(massive::answer(world, now, call)),
            "sec_data" | "sec_www" => Ok(sec::answer(world, now, call)),
            "tiingo" => Ok(tiingo::answer(world, now, call)),
            "treasury" => Ok(treasury::answer(world, now, call)),
            _ => {
                let mut guard = self.book()?;
                let book = guard.as_mut().ok_or_else(closed)?;
                if call.method == "GET" {
                    return trading::answer(&self.world, book, self.now(), call);
                }
                self.telling(book, |book| trading::answer(&self.world, book, self.now(), call))
            }
        }
    }
}

fn closed() -> Error {
    Error::new(code::SVC_REQUEST, "the sandbox is shutting down")
}

/// YAML, strictly typed.
fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_yaml::from_str(text).map_err(|e| Error::new(code::CFG_PARSE, "the YAML is not what it should be").cause(e.to_string()).found(e.to_string()))
}

/// A running sandbox. Stops when dropped, [stopped](Sandbox::stop) or when the host is cancelled while [waiting](Sandbox::wait).
pub struct Sandbox {
    pub port: u16,
    /// `replay@1`.
    pub dataset: String,
    /// Base URLs, practice keys and `TRADEML_CLOCK=world`: what a client process needs.
    pub env: BTreeMap<String, String>,
    host: Host,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    /// The broker that does not speak HTTP.
    ctrader: JoinHandle<()>,
    /// Its address and the root to trust there.
    ctrader_env: BTreeMap<String, String>,
}

/// Open the world and serve it on `127.0.0.1`. Runs on the caller's runtime; returns when the port is open.
pub async fn start(host: &Host, cfg: SandboxConfig) -> Result<Sandbox> {
    let listener = server::bind(cfg.port).await?;
    let port = listener.local_addr()?.port();
    let state = Arc::new(State::open(&cfg)?);
    host.set_world_time(state.now());
    let (stop, stopped) = oneshot::channel();
    let task = server::spawn(listener, state.clone(), stopped);
    // The next port where a port was asked for, so that an address that somebody wrote down stays good.
    let beside = cfg.port.checked_add(1).filter(|p| *p > 1);
    let tls = match beside {
        Some(next) => match server::bind(next).await {
            Ok(listener) => listener,
            Err(_) => server::bind(0).await?,
        },
        None => server::bind(0).await?,
    };
    let ctrader_env = BTreeMap::from([
        ("TRADEML_BASE_URL_CTRADER".to_string(), format!("tls://127.0.0.1:{}", tls.local_addr()?.port())),
        ("TRADEML_CTRADER_ROOT".to_string(), ctrader::write_root(&host.cwd().join(&cfg.state_dir))?.to_string_lossy().into_owned()),
    ]);
    let ctrader = ctrader::spawn(tls, state.clone())?;
    let mut env = env(port, STARTER);
    env.extend(ctrader_env.clone());
    let dataset = state.world.dataset();
    Ok(Sandbox { port, dataset, env, host: host.clone(), state, stop: Some(stop), task: Some(task), ctrader, ctrader_env })
}

/// First parts of the paths that are served.
const DIALECTS: &[&str] =
    &["alpaca_data", "alpaca_trading", "alpha_vantage", "ctrader_oauth", "finnhub", "fmp", "fred", "massive", "sec_data", "sec_www", "tiingo", "treasury"];

/// What a practice drive is given: the vendors that its wizards ask for. Every further key is a choice, as it is outside.
const STARTER: &[&str] = &["alpaca_data", "alpaca_trading", "alpha_vantage", "ctrader_oauth", "finnhub", "fred"];

/// Base addresses of dialects, every practice key of theirs, and the clock.
fn env(port: u16, dialects: &[&str]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([("TRADEML_CLOCK".to_string(), "world".to_string())]);
    for name in dialects {
        out.insert(format!("TRADEML_BASE_URL_{}", name.to_ascii_uppercase()), format!("http://127.0.0.1:{port}/{name}"));
        out.extend(keys::of(name).iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())));
    }
    out
}

impl Sandbox {
    /// `http://127.0.0.1:<port>`.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The line that `trademl sandbox` prints first, as JSON.
    pub fn ready_line(&self) -> String {
        json!({"event": "sandbox.ready", "port": self.port, "dataset": self.dataset, "env": self.env_of_all()}).to_string()
    }

    /// The same as `env` for every dialect that is served.
    pub fn env_of_all(&self) -> BTreeMap<String, String> {
        let mut all = env(self.port, DIALECTS);
        all.extend(self.ctrader_env.clone());
        all
    }

    /// What the world's owner says against it.
    pub fn known_bias(&self) -> &str {
        &self.state.world.about.known_bias
    }

    /// The world clock, without a request.
    pub fn now(&self) -> UtcTime {
        self.state.now()
    }

    /// Serve until the host is cancelled, then stop.
    pub async fn wait(self) -> Result<()> {
        self.host.cancelled().await;
        self.stop().await
    }

    /// Close the book and the port, and wait until open requests are answered.
    pub async fn stop(mut self) -> Result<()> {
        self.shut();
        if let Some(task) = self.task.take() {
            task.await.map_err(|e| Error::bug(format!("the sandbox's server died: {e}")))?;
        }
        Ok(())
    }

    fn shut(&mut self) {
        self.ctrader.abort();
        if let Ok(mut book) = self.state.book.lock() {
            book.take();
        }
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.shut();
    }
}
