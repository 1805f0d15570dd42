//! What `pi-data-node` writes: this machine's settings, the control database, the machine record, `stage.yml`.

pub mod asked;
pub mod space;

use super::node;
use crate::kit::{Act, FileChange, Outcome, Plan, undo};
use data_layer::control::{Db, Which};
use data_layer::detect;
use data_layer::env_file::{self, EnvFile};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::reference;
use data_layer::root::{DataPath, DataRoot, LAYOUT, encode_symbol};
use data_layer::schema::dataset;
use data_layer::stage::{self, Lane, LaneState, Stage, Universe};
use data_layer::store;
use data_layer::time::DateRange;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Stage 0: the hundred names.
const STAGE_0: &str = include_str!("../../data_layer/assets/universe/stage0_100.txt");

/// The answers, ready to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub node_id: String,
    pub universe: Universe,
    pub maintenance: String,
    pub service: String,
}

/// The symbols that an answer stands for.
pub fn universe(host: &Host, root: &DataRoot, source: &str, file: Option<&str>) -> Result<Universe> {
    Ok(match (source, file) {
        // Only the file's name is recorded: a path belongs to a machine.
        (_, Some(path)) => Universe::new(
            format!("file:{}", Path::new(path).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())),
            symbols_of(&crate::kit::read_text(Path::new(path))?)?,
        ),
        ("liquid", None) => liquid(host, root)?,
        _ => Universe::new(format!("{source}:stage0-100"), symbols_of(STAGE_0)?),
    })
}

/// Common stocks on the drive that traded enough money in some month, those that are gone included. Who belongs is decided once a
/// month, and so is the list: bars that come while it is being filled change nothing of it.
fn liquid(host: &Host, root: &DataRoot) -> Result<Universe> {
    let asof = data_layer::node::newest_due(host)?;
    let source = format!("liquid:{:.0}-usd:{:04}-{:02}", reference::MIN_ADV_USD, asof.year(), asof.month());
    if let Some(stage) = stage::load_optional(root)?.filter(|s| s.universe.source == source) {
        return Ok(stage.universe);
    }
    let stays = reference::liquid_universe(root, reference::MIN_ADV_USD)?;
    let symbols: BTreeSet<String> = stays.into_iter().map(|s| s.symbol).collect();
    if symbols.is_empty() {
        return Err(Error::new(code::DATA_MISSING, "no stock whose bars are on this drive trades enough to be chosen")
            .cause(text!(
                "the choice is made from stored bars: {} sessions at least, and ${:.0} a day on average",
                reference::ADV_SESSIONS,
                reference::MIN_ADV_USD
            ))
            .fix("trademl pi-data-node --set universe.source=builtin"));
    }
    Ok(Universe::new(source, symbols.into_iter().collect()))
}

/// Symbols of a list: one a line, `#` comments and blanks left out; what no vendor knows as a symbol and duplicates are refused.
fn symbols_of(text: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let symbol = line.split('#').next().unwrap_or("").trim();
        if symbol.is_empty() {
            continue;
        }
        if !is_symbol(symbol) {
            return Err(Error::new(code::USE_ANSWER_INVALID, text!("line {}: '{symbol}' is no symbol; one a line, in capitals, such as MSFT or BRK.B", n + 1)));
        }
        out.push(symbol.to_string());
    }
    let count = out.len();
    out.sort();
    out.dedup();
    if out.len() != count {
        return Err(Error::new(code::USE_ANSWER_INVALID, "the list of symbols names one of them twice"));
    }
    for symbol in &out {
        encode_symbol(symbol)?;
    }
    if out.is_empty() { Err(Error::new(code::USE_ANSWER_INVALID, "the list of symbols is empty")) } else { Ok(out) }
}

/// Capitals, digits, dots and dashes, beginning with a capital, as every vendor here writes them.
fn is_symbol(text: &str) -> bool {
    let tail = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || ".-".contains(c);
    text.len() <= 12 && text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(tail)
}

/// The first few of many names, and how many more there are.
fn some_of(names: &[String]) -> String {
    let first = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { text!("{first} and {} more", names.len() - 5) } else { first }
}

// --- the review -----------------------------------------------------------------------------------------------------

/// Everything that will be written, with the exact differences, and what can be promised.
pub fn plan(act: &Act<'_>, setup: &Setup) -> Result<Plan> {
    let before = env_file::read(act.host)?;
    let after = patched(act.host, act.root, setup)?;
    let stage = intended_stage(act, setup, BTreeMap::new())?;
    let window = node::pin_window(act)?;
    let sessions = data_layer::calendar::Calendar::xnys().sessions(window).len();
    let room = space::judge(act, need(&stage, sessions))?;
    let files = vec![
        FileChange { path: "this machine's .env (mode 0600, outside the drive)".into(), before: Some(shown(&before)), after: shown(&after) },
        FileChange { path: stage::PATH.into(), before: stage::load_optional(act.root)?.map(|s| s.render()), after: stage.render() },
    ];
    let (notes, asides) = promises(setup, sessions, room);
    Ok(Plan { files, work: work(act, setup, &stage, window)?, notes, asides })
}

/// Lanes that a key may or may not open; which ones is only known when the vendors have been asked.
const UNSURE: [&str; 4] = [dataset::EQUITIES_MINUTE, dataset::MACROS_FRED, dataset::INDEX_MEMBERSHIP, dataset::EARNINGS_CALENDAR];

/// The rows that will be queued, by kind and dataset. What depends on a probe says so.
fn work(act: &Act<'_>, setup: &Setup, stage: &Stage, window: DateRange) -> Result<Vec<(String, u64)>> {
    let open = |name: &&str| (name.to_string(), Lane::Plain(LaneState::Active));
    let served = node::served(act.host, act.root, window)?;
    let widest = intended_stage(act, setup, UNSURE.iter().filter(|name| served.contains(**name)).map(open).collect())?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for task in node::bootstrap(act.host, act.root, &widest, window, act.run)? {
        let sure = !UNSURE.contains(&task.dataset.as_str()) || stage.lanes.contains_key(&task.dataset);
        let condition = if sure { "" } else { ", if the keys open that lane" };
        *counts.entry(text!("{} {}{condition}", task.kind.as_str(), task.dataset)).or_default() += 1;
    }
    Ok(counts.into_iter().collect())
}

/// What the stage will take on the drive: minute bars only where their lane is open.
fn need(stage: &Stage, sessions: usize) -> space::Need {
    let minutes = stage.lanes.contains_key(dataset::EQUITIES_MINUTE) && stage.is_active(dataset::EQUITIES_MINUTE);
    let minute_sessions = if minutes { stage.target().map_or(0, |t| u64::from(t.minute_years) * 252) } else { 0 };
    space::Need { symbols: stage.universe.symbols.len() as u64, daily_sessions: sessions as u64, minute_sessions }
}

/// The file's lines with secret values masked.
fn shown(file: &EnvFile) -> String {
    file.values(&BTreeMap::new()).iter().fold(String::new(), |all, (key, value)| all + &format!("{key}={}\n", env_file::shown(key, value)))
}

/// What will be there when: arithmetic on the free plans' limits; and what else to know, which can wait.
fn promises(setup: &Setup, sessions: usize, room: String) -> (Vec<String>, Vec<String>) {
    let symbols = setup.universe.symbols.len();
    let bars = symbols.div_ceil(100) * (symbols.min(100) * sessions).div_ceil(10_000);
    // Bars, actions by year, one dated listing; 200 calls a minute, and as much again for reading them back.
    let minutes = (bars + symbols.div_ceil(100) * 6 + 2).div_ceil(200) * 2;
    let calls = if bars == 1 { term!("1 call").to_string() } else { text!("{bars} calls") };
    let mut notes = vec![
        text!("first GREEN within {minutes} min: {symbols} symbols x {sessions} sessions of daily bars, {calls} at 200 a minute"),
        room,
        "to undo: trademl runs undo (settings, stage.yml and waiting tasks go back; collected data stays)".into(),
    ];
    if setup.universe.source.starts_with("file:") {
        notes.push(text!("the list: {}; which of them the vendors know is seen when they are asked", some_of(&setup.universe.symbols)));
    }
    let asides = vec![
        "in a day: each new session asked for within 31 minutes of the close, exported at the maintenance time".into(),
        "in a week: dated listings refreshed (2 of 25 free calls a day), gaps healed or explained".into(),
        "beside the prices: what backfill.yml collects of the Treasury's curve, delistings, fundamentals and option chains, once a vendor has answered".into(),
    ];
    (notes, asides)
}

// --- the writes -----------------------------------------------------------------------------------------------------

fn patched(host: &Host, root: &DataRoot, setup: &Setup) -> Result<EnvFile> {
    let mut file = env_file::read(host)?;
    let machine = detect::machine::detect(host);
    file.set("EDGE_NODE_ID", &setup.node_id);
    file.set("TRADEML_ENV", "local");
    file.set("TRADEML_ROOT", &super::unfinished::meant(host, root).display().to_string());
    file.set("TRADEML_DRIVE", &root.drive().drive_id);
    if file.get("NODE_MAX_INFLIGHT_DEFAULT").is_none() {
        file.set("NODE_MAX_INFLIGHT_DEFAULT", &machine.suggested_inflight().to_string());
    }
    Ok(file)
}

pub fn write_env(act: &Act<'_>, setup: &Setup) -> Result<Vec<String>> {
    let file = patched(act.host, act.root, setup)?;
    undo::keep_variables(act, &env_file::read(act.host)?, &file)?;
    let report = env_file::save(act.host, &file)?;
    Ok(report.changes.into_iter().map(|c| c.key).collect())
}

pub fn create_control(act: &Act<'_>) -> Result<u32> {
    for folder in LAYOUT {
        store::create_folder(&act.root.locate(&DataPath::new(*folder)?))?;
    }
    Db::open(act.root, Which::Node)?;
    Ok(data_layer::schema::VERSIONS.node)
}

pub fn control_is_there(act: &Act<'_>, _: &u32) -> Result<bool> {
    Ok(act.root.locate(&DataPath::new(Which::Node.path())?).exists())
}

/// `control/machines/<machine_id>.yml`: no host name, path, key or serial number.
pub fn write_machine(act: &Act<'_>, setup: &Setup) -> Result<String> {
    let machine = detect::machine::detect(act.host);
    let path = DataPath::new(format!("control/machines/{}.yml", act.host.machine_id()))?;
    let seen = act.host.now().to_string();
    let first = store::read(act.root, &path)?.and_then(|b| serde_yaml::from_slice::<Value>(&b).ok()).and_then(|v| v["first_seen"].as_str().map(str::to_string));
    let record = json!({
        "version": 1, "machine_id": act.host.machine_id(), "node_id": setup.node_id, "first_seen": first.unwrap_or_else(|| seen.clone()), "last_seen": seen,
        "trademl": env!("CARGO_PKG_VERSION"), "os": machine.os, "arch": machine.arch, "model": machine.model, "memory_mb": machine.memory_mb,
        "timezone": machine.timezone, "maintenance": setup.maintenance, "service": setup.service, "host_steps": [],
    });
    let text = serde_yaml::to_string(&record).map_err(|e| Error::bug(e.to_string()))?;
    undo::keep(act, &path, text.as_bytes())?;
    store::write_atomic(act.root, &path, text.as_bytes())?;
    Ok(path.to_string())
}

fn intended_stage(act: &Act<'_>, setup: &Setup, lanes: BTreeMap<String, Lane>) -> Result<Stage> {
    let today = data_layer::calendar::Calendar::xnys().last_closed(act.host.now())?;
    Ok(match stage::load_optional(act.root)? {
        Some(mut have) => {
            have.universe = setup.universe.clone();
            have.lanes.extend(lanes);
            have
        }
        None => Stage::initial(today, setup.universe.clone(), lanes),
    })
}

pub fn write_stage(act: &Act<'_>, setup: &Setup, lanes: &BTreeMap<String, Lane>) -> Result<String> {
    let stage = intended_stage(act, setup, lanes.clone())?;
    undo::keep(act, &DataPath::new(stage::PATH)?, stage.render().as_bytes())?;
    stage::write(act.root, &stage)?;
    Ok(stage.universe.sha256)
}

/// `stage.yml` is there, whole, and holds the universe that was written.
pub fn stage_is_whole(act: &Act<'_>, universe_sha256: &String) -> Result<bool> {
    Ok(stage::load_optional(act.root)?.is_some_and(|s| s.universe.sha256 == *universe_sha256))
}

// --- the last words -------------------------------------------------------------------------------------------------

/// Set up, to be filled later.
pub fn set_up_only(root: &DataRoot) -> Outcome {
    let next = vec![(format!("trademl node run --root {}", root.base().display()), "fill the drive, and keep it full".into())];
    Outcome { summary: "the node is set up; the queue is seeded".into(), next, ..Outcome::default() }
}

/// Set up and filled; `bare` are the names that no source has a bar of.
pub fn filled(root: &DataRoot, setup: &Setup, bare: &[String]) -> Outcome {
    let place = root.base().display();
    let mut next = vec![
        (format!("trademl train --root {place}"), "train a model on what is GREEN".into()),
        (format!("trademl node run --root {place}"), "keep the drive full".into()),
        (format!("trademl status --root {place}"), "coverage, queue and budgets".into()),
    ];
    let all = setup.universe.symbols.len();
    let summary = match bare.len() {
        0 => "the drive is filled, audited and curated".to_string(),
        n => text!("the drive is filled as far as its sources go: no bar at all for {n} of {all} names: {}", some_of(bare)),
    };
    if bare.len() == all {
        next.remove(0);
    }
    if setup.service == "systemd" {
        next.insert(1, (format!("trademl service install node --root {place}"), "write the systemd unit that keeps it full from every start on".into()));
    }
    Outcome { summary, next, ..Outcome::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_lists_are_read_strictly() {
        assert_eq!(symbols_of("MSFT\n# comment\n\nAAPL # apple\n").unwrap(), ["AAPL", "MSFT"]);
        assert!(symbols_of("A\nA\n").is_err() && symbols_of("\n").is_err());
        for (list, line) in
            [("AAPL\nmsft\n", "line 2: 'msft'"), ("# mine\n\u{65e5}\u{672c}\n", "line 2: "), ("TSLA GOOG\n", "line 1: 'TSLA GOOG'"), ("1A\n", "line 1")]
        {
            assert!(symbols_of(list).unwrap_err().to_string().contains(line), "{list}");
        }
        assert_eq!(symbols_of("BRK.B\nBF-A # preferred\n").unwrap(), ["BF-A", "BRK.B"]);
        assert_eq!(symbols_of(STAGE_0).unwrap().len(), 100);
    }

    #[test]
    fn names_without_a_bar_are_said_and_not_trained_on() {
        let (dir, host) = (tempfile::tempdir().unwrap(), Host::fake(data_layer::host::FakeHost::default()));
        let root = DataRoot::create(&host, dir.path(), "replay@1", data_layer::root::FsFacts::default(), None).unwrap();
        let names = ["AAPL", "GONE"].map(String::from);
        let universe = Universe::new("file:list.txt", names.to_vec());
        let setup = Setup { node_id: "n".into(), universe, maintenance: "02:00".into(), service: "none".into() };
        assert_eq!(filled(&root, &setup, &[]).summary, "the drive is filled, audited and curated");
        let some = filled(&root, &setup, &names[1..]);
        assert!(some.summary.ends_with("no bar at all for 1 of 2 names: GONE") && some.next[0].0.contains("train"), "{some:?}");
        assert!(!filled(&root, &setup, &names).next.iter().any(|(command, _)| command.contains("train")));
    }
}
