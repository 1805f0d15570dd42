//! A small practice drive, and the six wizards played on it in process, headless, from answers.

use data_layer::error::Result;
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use trademl::kit::report::{Reporter, Voice};
use trademl::kit::session::Session;
use trademl::kit::{Outcome, Run, Wizard};
use trademl::steps;

pub type Body = fn(&mut Run<'_>) -> Result<Outcome>;

/// The six, in the order of the journey.
pub const WIZARDS: [(&Wizard, Body); 6] = [
    (&trademl::pi_data_node::WIZARD, trademl::pi_data_node::run),
    (&trademl::train::WIZARD, trademl::train::run),
    (&trademl::evaluate::WIZARD, trademl::evaluate::run),
    (&trademl::shadow::WIZARD, trademl::shadow::run),
    (&trademl::paper_trade::WIZARD, trademl::paper_trade::run),
    (&trademl::serve::WIZARD, trademl::serve::run),
];

pub const SYMBOLS: &str = "AAPL\nADBE\nAMGN\nAXP\nBA\nBAC\nC\nCAT\nCSCO\nCVX\nDIS\nGE\nGOOG\nHD\nIBM\nINTC\nJPM\nKO\nMCD\nMSFT\nNKE\nPFE\nWMT\nXOM\n";

const ANSWERS: &str = "
version: 1
wizards:
  pi-data-node: {answers: {node.id: test-node, universe.source: file}}
  train: {}
  evaluate: {}
  shadow: {}
  paper-trade: {answers: {broker.kind: alpaca}, confirm: [\"PAPER SIM000001 2017-12-01\"]}
  serve: {answers: {serve.stop_after: 1}}
";

/// Small enough for a test: fewer splits and rounds, the same code. The drive's layer of the configuration holds it.
const TRAINING: &str = "
cpcv: {groups: 4, test_groups: 1, embargo_sessions: 10, purge: date, min_oos_months: 6}
model: {kind: lightgbm, objective: regression, num_leaves: 7, learning_rate: 0.1, rounds: 10, max_bin: 63, seed: 1}
search: {grid: {num_leaves: [3, 7], min_data_in_leaf: [100]}}
";

/// A machine of a test, with a home of its own.
pub struct Machine {
    pub home: tempfile::TempDir,
    pub id: &'static str,
}

impl Machine {
    pub fn new(id: &'static str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), id }
    }
    pub fn host(&self, crash_at: Option<(String, u64)>) -> Host {
        let env = BTreeMap::from([("HOME".to_string(), self.home.path().display().to_string())]);
        Host::fake(FakeHost { env, machine_id: self.id.into(), boot_id: format!("boot-{}", self.id), crash_at, ..FakeHost::default() })
    }
}

/// Play one wizard on a drive.
pub fn play(place: &Path, machine: &Machine, crash_at: Option<(String, u64)>, at: usize) -> (Result<Outcome>, Host) {
    play_later(place, machine, crash_at, at, 0)
}

/// Play one wizard when the world's clock has moved on by `minutes`.
pub fn play_later(place: &Path, machine: &Machine, crash_at: Option<(String, u64)>, at: usize, minutes: i64) -> (Result<Outcome>, Host) {
    let mut sets = Vec::new();
    if WIZARDS[at].0.name == "pi-data-node" {
        let list = machine.home.path().join("symbols.txt");
        std::fs::write(&list, SYMBOLS).unwrap();
        sets.push(format!("universe.file={}", list.display()));
    }
    if WIZARDS[at].0.name == "serve" {
        sets.push(format!("serve.address=127.0.0.1:{}", free_port()));
    }
    play_answering(place, machine, crash_at, at, minutes, &sets)
}

/// [`play_later`] with answers (`id=value`) of one's own.
pub fn play_answering(place: &Path, machine: &Machine, crash_at: Option<(String, u64)>, at: usize, minutes: i64, sets: &[String]) -> (Result<Outcome>, Host) {
    let host = machine.host(crash_at);
    let (wizard, body) = WIZARDS[at];
    let result = DataRoot::open(&host, place).and_then(|root| {
        let (root, world) = steps::world::of_root(&host, &root)?;
        if let Some(sandbox) = world.sandbox.as_ref().filter(|_| minutes > 0) {
            let to = world.host.now().plus_seconds(minutes * 60);
            world.host.set_world_time(host.block_on(data_layer::sandbox::client::advance(&host, &sandbox.base(), to))??.now);
        }
        let report = Reporter::new(&world.host, Voice::Silent, wizard.name, None);
        Session::headless(&world.host, wizard, ANSWERS, sets, "test", report)?.run(&root, body)
    });
    (result, host)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An empty practice drive.
pub fn fresh(place: &Path) {
    let host = Machine::new("00000000000000aa").host(None);
    DataRoot::create(&host, place, steps::world::PRACTICE, FsFacts::default(), None).unwrap();
    let configs = place.join("control/configs/training");
    std::fs::create_dir_all(&configs).unwrap();
    std::fs::write(configs.join("equities_xs.yml"), TRAINING).unwrap();
    std::fs::write(configs.join("equities_xs_rank.yml"), TRAINING.replace("regression", "lambdarank")).unwrap();
}

/// The drive as it is before wizard `n` (0 = empty, 6 = after the last one): played once per test process.
pub fn before(n: usize) -> PathBuf {
    static STATES: [OnceLock<PathBuf>; 7] = [const { OnceLock::new() }; 7];
    static KEPT: OnceLock<tempfile::TempDir> = OnceLock::new();
    STATES[n]
        .get_or_init(|| {
            let place = KEPT.get_or_init(|| tempfile::tempdir().unwrap()).path().join(n.to_string());
            if n == 0 {
                fresh(&place);
            } else {
                copy(&before(n - 1), &place);
                play(&place, &Machine::new("00000000000000aa"), None, n - 1).0.unwrap_or_else(|e| panic!("{}: {e}", WIZARDS[n - 1].0.name));
            }
            place
        })
        .clone()
}

/// A copy of a drive.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Everything that must be equal however often a run was interrupted: bytes of the data and of the models, the ledger's
/// verdicts, the registry, the trials, the orders.
pub fn fingerprint(place: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for folder in ["curated", "reference", "models/equities_xs", "reports"] {
        hash_files(place, &place.join(folder), &mut out);
    }
    let rows = |db: &str, sql: &str| -> String {
        let conn = rusqlite::Connection::open(place.join(db)).unwrap();
        let Ok(mut statement) = conn.prepare(sql) else { return "no table".into() };
        let n = statement.column_count();
        let rows = statement
            .query_map([], |r| (0..n).map(|i| r.get::<_, rusqlite::types::Value>(i).map(|v| format!("{v:?}"))).collect::<rusqlite::Result<Vec<_>>>())
            .unwrap();
        rows.map(|r| r.unwrap().join("|")).collect::<Vec<_>>().join("\n")
    };
    out.insert(
        "ledger".into(),
        rows("control/node.sqlite", "SELECT source_name, table_name, symbol, dt, status, qc_code FROM partition_status ORDER BY 1,2,3,4"),
    );
    out.insert("registry".into(), rows("models/registry.sqlite", "SELECT strategy, version, sha256, stage FROM models ORDER BY 1,2"));
    out.insert("events".into(), rows("models/registry.sqlite", "SELECT version, from_stage, to_stage, rule, applied FROM model_events ORDER BY 1,2,3,4"));
    out.insert("trials".into(), rows("models/registry.sqlite", "SELECT family, config_sha256, metrics_json FROM trials ORDER BY 1,2"));
    out.insert("shadow".into(), rows("models/registry.sqlite", "SELECT version, session, weights_sha256 FROM shadow_days ORDER BY 1,2"));
    out.insert("orders".into(), rows("control/journal.sqlite", "SELECT order_id, symbol, side, qty, state FROM orders ORDER BY 1"));
    out.insert("broker".into(), rows("sandbox/book.sqlite", "SELECT count(*) FROM orders"));
    out
}

fn hash_files(root: &Path, folder: &Path, out: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            hash_files(root, &path, out);
        } else {
            let digest = Sha256::digest(std::fs::read(&path).unwrap());
            out.insert(path.strip_prefix(root).unwrap().display().to_string(), hex::encode(digest));
        }
    }
}

#[test]
fn the_journey_runs_from_an_empty_drive_to_a_served_signal() {
    let place = before(6);
    let print = fingerprint(&place);
    assert!(print["orders"].lines().count() > 5, "orders: {}", print["orders"]);
    assert!(print["registry"].contains("champion") && print["registry"].contains("challenger"));
    let sheets = print.keys().filter(|k| k.ends_with("tear_sheet.html")).count();
    assert_eq!(sheets, 1);
    let red = print["ledger"].lines().filter(|l| l.contains("RED") && l.contains("equities_bars")).count();
    assert_eq!(red, 0, "{}", print["ledger"].lines().filter(|l| l.contains("RED")).take(5).collect::<Vec<_>>().join("\n"));
}

#[test]
fn nothing_on_the_drive_names_the_machine_or_its_keys() {
    let place = before(6);
    let mut stack = vec![place.clone()];
    let needles = [place.display().to_string(), data_layer::sandbox::keys::ALPACA_SECRET.to_string(), hostname()];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                stack.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            for needle in &needles {
                let found = needle.len() > 3 && bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
                assert!(!found, "{} holds {needle}", path.display());
            }
        }
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string()
}
