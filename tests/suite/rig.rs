//! A node on a small drive of the planted market, its sandbox outside the drive, driven in process by the world's clock.

use data_layer::control::{Db, Which};
use data_layer::detect;
use data_layer::host::{FakeHost, Host};
use data_layer::node::{Node, Round, Service, Times};
use data_layer::root::DataRoot;
use data_layer::sandbox::{self, Sandbox, SandboxConfig, client, load};
use data_layer::scheduler::{IngestContext, Quiet};
use data_layer::schema::dataset;
use data_layer::sourcing::settings::Loops;
use data_layer::sourcing::vendors_from;
use data_layer::stage::{self, ExplainedLane, Lane, LaneState, Stage, Target, Universe};
use data_layer::time::{DateRange, TradingDay, UtcTime};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

pub const WORLD: &str = "planted@2:7";

pub fn t(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

pub fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}

/// SplitMix64: a test's own dice.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// How often a long test does what it does: `TRADEML_TEST_ROUNDS`, or so many times.
pub fn rounds(usual: usize) -> usize {
    std::env::var("TRADEML_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// A folder in memory where there is one: what is tested is not the disk.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The world outside, and the place of a drive.
pub struct Rig {
    _dir: tempfile::TempDir,
    pub place: PathBuf,
    pub host: Host,
    /// What a process needs in its environment to find the sandbox.
    pub env: BTreeMap<String, String>,
    /// The sandbox's address.
    pub base: String,
    _sandbox: World,
}

/// Where the sandbox runs: here, or as a process of its own that ends with the test.
enum World {
    Here(#[allow(dead_code)] Sandbox),
    Outside(Child),
}

impl Drop for World {
    fn drop(&mut self) {
        if let Self::Outside(child) = self {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Rig {
    /// A sandbox at an instant, and an empty drive of its world.
    pub fn new(now: &str) -> Self {
        let (dir, outer) = Self::outer(scratch());
        let config = SandboxConfig { now: Some(t(now)), ..SandboxConfig::of_dataset(WORLD, dir.path().join("street")) };
        let sandbox = outer.block_on(sandbox::start(&outer, config)).unwrap().unwrap();
        let (env, base) = (sandbox.env.clone(), sandbox.base());
        Self::with(dir, &outer, env, base, World::Here(sandbox), now)
    }

    /// The same with the sandbox as a process of its own, on a disk: what this process costs is the node's cost.
    pub fn outside(now: &str) -> Self {
        let (dir, outer) = Self::outer(tempfile::tempdir().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_trademl"));
        command.args(["sandbox", "--world", "planted", "--seed", "7", "--state"]).arg(dir.path().join("street"));
        let mut child = command.env("HOME", dir.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let env: BTreeMap<String, String> = serde_json::from_value(ready["env"].clone()).unwrap();
        let base = format!("http://127.0.0.1:{}", ready["port"]);
        outer.block_on(client::advance(&outer, &base, t(now))).unwrap().unwrap();
        Self::with(dir, &outer, env, base, World::Outside(child), now)
    }

    fn outer(dir: tempfile::TempDir) -> (tempfile::TempDir, Host) {
        let env = BTreeMap::from([("HOME".to_string(), dir.path().join("home").display().to_string())]);
        (dir, Host::fake(FakeHost { env, ..FakeHost::default() }))
    }

    fn with(dir: tempfile::TempDir, outer: &Host, env: BTreeMap<String, String>, base: String, sandbox: World, now: &str) -> Self {
        let (host, place) = (outer.in_world(&env, t(now)), dir.path().join("drive"));
        let rig = Self { _dir: dir, place, host, env, base, _sandbox: sandbox };
        rig.create();
        rig
    }

    /// An empty drive at the place, with the abilities that its file system shows, as a set-up would find them.
    pub fn create(&self) {
        let found = detect::accept(&self.host, &self.place, None).unwrap();
        DataRoot::create(&self.host, &self.place, WORLD, found.fs, found.accepted_without).unwrap();
    }

    pub fn root(&self) -> DataRoot {
        DataRoot::open(&self.host, &self.place).unwrap()
    }

    /// A node as a process that was just started would make it.
    pub fn node(&self, name: &str) -> Node {
        node_at(&self.host, &self.place, name)
    }

    /// Give the drive a stage of `names`, with the minutes of every session from a day on, and queue its bootstrap.
    pub fn seed_with_minutes(&self, node: &Node, names: &[String], window: DateRange, from: TradingDay) {
        let active = |name: &str| (name.to_string(), Lane::Plain(LaneState::Active));
        let mut lanes = BTreeMap::from([dataset::EQUITIES_EOD, dataset::CORP_ACTIONS, dataset::MACROS_FRED, dataset::INDEX_MEMBERSHIP].map(active));
        let minutes = ExplainedLane { state: LaneState::Active, reason: "the world's first minute".into(), on: window.end, from: Some(from) };
        lanes.insert(dataset::EQUITIES_MINUTE.into(), Lane::Explained(minutes));
        let mut first = Stage::initial(window.end, Universe::new("test", names.to_vec()), lanes);
        let wide = u32::try_from(names.len()).unwrap();
        first.promote.datasets = vec![dataset::EQUITIES_EOD.into()];
        first.targets = BTreeMap::from([(0, Target { symbols: wide, eod_years: 1, minute_years: 1 })]);
        stage::write(node.root(), &first).unwrap();
        node.seed(&node.bootstrap(&first, window, None).unwrap()).unwrap();
    }

    pub fn service(&self, node: Node) -> Service {
        let times = Times::new(&Loops { forward_minutes: 240, planner_hours: 12, maintenance: "02:00".into() }, None, TimeZone::UTC).unwrap();
        Service::new(node, &self.host, times, TimeZone::UTC).unwrap()
    }

    /// Rounds of a service until the world's clock has passed `end`.
    pub fn live(&self, service: &mut Service, end: UtcTime, mut look: impl FnMut(&Service, &Round)) {
        while self.host.now() < end {
            self.follow();
            let round = service.round(&Quiet).unwrap();
            look(service, &round);
            service.rest(&round).unwrap();
        }
    }

    /// Tell the world how late it is for this host, which moves its clock by its own waits.
    pub fn follow(&self) {
        self.host.block_on(client::advance(&self.host, &self.base, self.host.now())).unwrap().unwrap();
    }

    pub fn faults(&self, plan: &str) {
        self.host.block_on(client::set_faults(&self.host, &self.base, plan)).unwrap().unwrap();
    }
}

/// A node on a drive, as seen by a host.
pub fn node_at(host: &Host, place: &Path, name: &str) -> Node {
    let root = DataRoot::open(host, place).unwrap();
    let db = Arc::new(Db::open(&root, Which::Node).unwrap());
    let vendors = vendors_from(host, &root, &BTreeMap::new()).unwrap();
    Node::new(IngestContext::new(host, &root, db, vendors, name).unwrap())
}

/// Names of the planted market that trade through a window: those with corporate actions first.
pub fn names(window: DateRange, wanted: usize) -> Vec<String> {
    let world = load::load("planted", 7, None).unwrap();
    let through = |s: &&sandbox::world::Series| s.first().is_some_and(|d| d <= window.start) && s.last().is_some_and(|d| d >= window.end);
    let mut all: Vec<String> = world.series.iter().filter(through).map(|s| s.symbol.clone()).collect();
    let eventful = |name: &String| world.actions.iter().any(|a| a.symbol == *name && window.start <= a.ex_date && a.ex_date < window.end);
    all.sort_by_key(|name| (!eventful(name), name.clone()));
    all.truncate(wanted);
    all
}

/// Every file of a drive with its bytes, by relative path; locks and the attachment belong to no state.
pub fn files(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut stack = vec![place.to_path_buf()];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                stack.push(path);
                continue;
            }
            let name = path.strip_prefix(place).unwrap().display().to_string();
            if !name.starts_with("control/locks/") && name != "control/attach.json" {
                out.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    out
}
