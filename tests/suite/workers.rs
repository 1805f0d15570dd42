//! Two workers on one root, as processes of their own: killed outright, or held still for longer than three leases and then
//! let go again. Nothing is done twice, nothing is lost.
//!
//! A worker is this test program, started again. Each follows a world clock of its own that moves by its own waits, so the
//! one that waits for the other's leases sees them run out while the other one stands still.

use crate::rig::{Dice, Rig, day, names, rounds, t};
use data_layer::fsck::{self, Level};
use data_layer::host::{FakeHost, Host};
use data_layer::queue::{Kind, NewTask};
use data_layer::rebuild;
use data_layer::root::DataRoot;
use data_layer::sandbox::load;
use data_layer::scheduler::{DrainUntil, Quiet};
use data_layer::schema::dataset;
use data_layer::sourcing::Vendor;
use data_layer::time::DateRange;
use rusqlite::{Connection, ErrorCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TOLD: &str = "TRADEML_TEST_WORKER";
const LATER: &str = "2018-01-20T02:00:00Z";
/// Windows of a week, each a batch of its own.
const WEEKS: i32 = 30;

/// The body of a worker: work the queue off, then go.
#[test]
#[ignore = "started by the other tests as a process of its own"]
fn a_worker_of_its_own() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    let env: BTreeMap<String, String> = serde_json::from_value(told["env"].clone()).unwrap();
    let host = Host::fake(FakeHost::default()).in_world(&env, t(LATER));
    let place = std::path::Path::new(told["place"].as_str().unwrap());
    let node = crate::rig::node_at(&host, place, told["node"].as_str().unwrap());
    let report = node.work(DrainUntil::Empty, &Quiet).unwrap();
    assert!(report.notices.is_empty(), "{:?}", report.notices);
}

/// A process that is ended with the test, however that ends.
struct Worker(Child);

impl Worker {
    fn start(rig: &Rig, name: &str) -> Self {
        let told = json!({"env": rig.env, "place": rig.place, "node": name});
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "workers::a_worker_of_its_own", "--ignored", "--nocapture"]);
        command.env(TOLD, told.to_string()).env("HOME", rig.place.with_file_name("home")).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }
    fn signal(&self, signal: Signal) {
        // One that has just ended hears nothing, which is as good.
        kill_process(Pid::from_child(&self.0), signal).ok();
    }
    /// Wait for its end; whether it ended by itself and well. One that does not end is killed, and did not end well.
    fn end(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(300);
        while !self.is_over() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.0.kill());
        self.0.wait().unwrap().success()
    }
    /// Batches that it holds leases of; it must stand still, or be over. Where nobody can look, because it stands still in the middle
    /// of a transaction, the most that a worker has under way.
    fn leased(&self, rig: &Rig, under_way: u64) -> u64 {
        let conn = Connection::open(rig.place.join("control/node.sqlite")).unwrap();
        conn.busy_timeout(Duration::from_millis(200)).unwrap();
        let sql = "SELECT count(DISTINCT start_date) FROM backfill_queue WHERE status = 'LEASED' AND lease_pid = ?1";
        match conn.query_row(sql, [self.0.id()], |r| r.get::<_, i64>(0)) {
            Ok(n) => n.unsigned_abs(),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => under_way,
            Err(e) => panic!("{e}"),
        }
    }
    /// What it said at its end.
    fn words(&mut self) -> String {
        let mut out = String::new();
        if let Some(mut pipe) = self.0.stderr.take() {
            drop(pipe.read_to_string(&mut out));
        }
        out
    }
    fn is_over(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[derive(Default, Debug)]
struct Tally {
    rounds: usize,
    kills: usize,
    pauses: usize,
    taken_over: usize,
    /// Pauses in which the other worker met a locked database and gave up loudly.
    locked_out: usize,
    tasks: i64,
    calls: u64,
    batches: u64,
    /// Manifests beyond one for each batch, left by a process that ended between its manifest and its transaction: killed, or locked
    /// out. The most that there may be of them are the batches that it had leased then.
    manifests_twice: u64,
    manifests_twice_allowed: u64,
    /// Calls beyond one for each batch, and the most that there may be of them: the batches that a worker had leased when it was
    /// killed, held still or locked out are asked again.
    calls_again: u64,
    calls_again_allowed: u64,
    wrong: Vec<String>,
}

impl Tally {
    fn json(&self, seed: u64) -> Value {
        json!({"topic": "workers", "seed": seed, "rounds": self.rounds, "kills": self.kills, "pauses": self.pauses, "taken_over": self.taken_over,
               "locked_out": self.locked_out,
               "tasks": self.tasks, "batches": self.batches, "calls": self.calls, "calls_again": self.calls_again,
               "calls_again_allowed": self.calls_again_allowed, "manifests_twice": self.manifests_twice,
               "manifests_twice_allowed": self.manifests_twice_allowed, "wrong": self.wrong})
    }
}

fn window() -> DateRange {
    let start = day("2017-01-02");
    DateRange { start, end: start.plus_days(7 * WEEKS) }
}

/// A week of each name as a task; the tasks of one week make a batch.
fn tasks(names: &[String]) -> Vec<NewTask> {
    let week = |n: i32| DateRange { start: window().start.plus_days(7 * n), end: window().start.plus_days(7 * n + 7) };
    let task = |n: i32, symbol: &String| NewTask {
        dataset: dataset::EQUITIES_EOD.into(),
        symbol: symbol.clone(),
        range: week(n),
        kind: Kind::Gap,
        priority: 1,
        vendor: "alpaca".into(),
        not_before: None,
        run_id: None,
    };
    (0..WEEKS).flat_map(|n| names.iter().map(move |s| task(n, s))).collect()
}

/// Calls that the vendor has counted.
fn calls(rig: &Rig) -> u64 {
    let reply = rig.host.block_on(async { reqwest::get(format!("{}/_world/calls", rig.base)).await.unwrap().text().await.unwrap() }).unwrap();
    let reply: Value = serde_json::from_str(&reply).unwrap();
    reply["calls"].as_array().unwrap().iter().filter(|c| c["vendor"] == "alpaca_data" && c["window"] == "total").map(|c| c["calls"].as_u64().unwrap()).sum()
}

/// Wait until the vendor has had so many calls, or a worker is over.
fn wait_for_calls(rig: &Rig, wanted: u64, workers: &mut [Worker]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while calls(rig) < wanted && Instant::now() < deadline && !workers.iter_mut().any(Worker::is_over) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One drive, two workers, some violence; then what is on the drive.
fn round(rig: &mut Rig, number: usize, names: &[String], truth: &BTreeMap<(String, i32), u64>, dice: &mut Dice, tally: &mut Tally) {
    rig.place = rig.place.with_file_name(format!("drive-{number}"));
    rig.create();
    let under_way = {
        let node = rig.node("node-0");
        node.seed(&tasks(names)).unwrap();
        node.ctx.fetcher.edge.inflight(Vendor::Alpaca) as u64
    };
    let before = calls(rig);
    let mut workers = vec![Worker::start(rig, "node-1"), Worker::start(rig, "node-2")];
    // Batches that were leased by a worker that was ended, and by one that was held still.
    let (mut ended, mut held) = (0, 0);
    let mut at = before;
    for _ in 0..1 + dice.below(3) {
        at += 1 + dice.below(12) as u64;
        wait_for_calls(rig, at, &mut workers);
        let which = dice.below(2);
        // What it has leased is counted while it stands still.
        workers[which].signal(Signal::STOP);
        let leased = workers[which].leased(rig, under_way);
        if dice.below(2) == 0 {
            workers[which].signal(Signal::KILL);
            workers[which].end();
            workers[which] = Worker::start(rig, ["node-1", "node-2"][which]);
            (tally.kills, ended) = (tally.kills + 1, ended + leased);
        } else {
            // The other one goes on, past every lease of the first, to the end of the queue.
            let done = workers[1 - which].end();
            (tally.pauses, held) = (tally.pauses + 1, held + leased);
            tally.taken_over += usize::from(done && open_tasks(rig) == 0);
            if !done {
                // Stopped in the middle of a transaction, or where calls leave, it holds what the other one needs, which can only give up loudly.
                let words = workers[1 - which].words();
                tally.wrong.extend((!words.contains("locked")).then(|| format!("round {number}: a worker ended badly: {words}")));
                (tally.locked_out, ended) = (tally.locked_out + 1, ended + workers[1 - which].leased(rig, under_way));
            }
            workers[which].signal(Signal::CONT);
            if !done {
                workers[1 - which] = Worker::start(rig, ["node-2", "node-1"][which]);
            }
            break;
        }
    }
    for worker in &mut workers {
        let ended = worker.end();
        tally.wrong.extend((!ended).then(|| format!("round {number}: a worker ended badly: {}", worker.words())));
    }
    tally.rounds += 1;
    let made = calls(rig) - before;
    let again = made.saturating_sub(WEEKS as u64);
    if again > ended + held || made < WEEKS as u64 {
        tally.wrong.push(format!("round {number}: {made} calls for {WEEKS} batches, of which {ended} and {held} may be asked again"));
    }
    tally.calls += made;
    (tally.calls_again, tally.calls_again_allowed) = (tally.calls_again + again, tally.calls_again_allowed + ended + held);
    look(rig, number, ended, truth, tally);
    std::fs::remove_dir_all(&rig.place).unwrap();
}

fn open_tasks(rig: &Rig) -> i64 {
    let conn = Connection::open(rig.place.join("control/node.sqlite")).unwrap();
    conn.busy_timeout(Duration::from_secs(5)).unwrap();
    conn.query_row("SELECT count(*) FROM backfill_queue WHERE status <> 'DONE'", [], |r| r.get(0)).unwrap()
}

/// What must hold of the drive, whatever happened. `ended`: batches that processes had leased which did not end by themselves.
fn look(rig: &Rig, number: usize, ended: u64, truth: &BTreeMap<(String, i32), u64>, tally: &mut Tally) {
    let conn = Connection::open(rig.place.join("control/node.sqlite")).unwrap();
    let count = |sql: &str| -> i64 { conn.query_row(sql, [], |r| r.get(0)).unwrap() };
    let tasks = count("SELECT count(*) FROM backfill_queue");
    let mut wrong = Vec::new();
    let mut same = |what: &str, found: i64, wanted: i64| wrong.extend((found != wanted).then(|| format!("round {number}: {what}: {found} for {wanted}")));
    same("tasks done", count("SELECT count(*) FROM backfill_queue WHERE status = 'DONE' AND outcome = 'OK'"), tasks);
    same("completions", count("SELECT value FROM counters WHERE name = 'tasks.done'"), tasks);
    same("rows brought", count("SELECT value FROM counters WHERE name = 'rows.raw'"), truth.len() as i64);
    same("segments", count("SELECT count(*) FROM segments"), i64::from(WEEKS));
    same("bookmarks", count("SELECT count(*) FROM bookmarks WHERE complete = 1"), tasks);
    let root = DataRoot::open(&rig.host, &rig.place).unwrap();
    let manifests = data_layer::segment::all_manifests(&root).unwrap();
    same("manifests, at least", (manifests.len() as i64).min(i64::from(WEEKS)), i64::from(WEEKS));
    let twice = manifests.len().saturating_sub(WEEKS as usize) as u64;
    if twice > ended {
        wrong.push(format!("round {number}: {twice} manifests too many, and {ended} batches of processes that were killed or locked out"));
    }
    // A start adopts what a killed process left; then every file is vouched for and true.
    rebuild::adopt(&root, &data_layer::control::Db::open(&root, data_layer::control::Which::Node).unwrap()).unwrap();
    let bad: Vec<_> = fsck::run(&root).unwrap().into_iter().filter(|f| f.status == Level::Fail).collect();
    wrong.extend((!bad.is_empty()).then(|| format!("round {number}: {bad:?}")));
    let found = bars(rig, &conn);
    wrong.extend((found != *truth).then(|| format!("round {number}: {} bars, {} in truth", found.len(), truth.len())));
    tally.tasks += tasks;
    tally.batches += WEEKS as u64;
    (tally.manifests_twice, tally.manifests_twice_allowed) = (tally.manifests_twice + twice, tally.manifests_twice_allowed + ended);
    tally.wrong.extend(wrong);
}

/// Every bar in the registered segments; one that stands twice counts as wrong.
fn bars(rig: &Rig, conn: &Connection) -> BTreeMap<(String, i32), u64> {
    let mut out = BTreeMap::new();
    let mut statement = conn.prepare("SELECT path FROM segments").unwrap();
    for path in statement.query_map([], |r| r.get::<_, String>(0)).unwrap() {
        let bytes = std::fs::read(rig.place.join(path.unwrap())).unwrap();
        for (key, close) in crate::damage::truth::closes(&bytes) {
            assert!(out.insert(key.clone(), close).is_none(), "{key:?} stands twice");
        }
    }
    out
}

fn play(rounds: usize, seed: u64) -> Tally {
    let mut rig = Rig::new(LATER);
    // Answers that take a moment: there is something to be killed in.
    rig.faults("version: 1\nfaults: [{vendor: alpaca_data, do: slow, seconds: 0.02, p: 0.7}]");
    let names = names(window(), 4);
    let world = load::load("planted", 7, None).unwrap();
    let inside = |d: &data_layer::time::TradingDay| window().contains(*d);
    let truth = world.series.iter().filter(|s| names.contains(&s.symbol));
    let truth = truth.flat_map(|s| s.days.iter().zip(&s.close).filter(|(d, _)| inside(d)).map(|(d, c)| ((s.symbol.clone(), d.0), c.to_bits()))).collect();
    let (mut dice, mut tally) = (Dice(seed), Tally::default());
    for number in 0..rounds {
        round(&mut rig, number, &names, &truth, &mut dice, &mut tally);
    }
    tally
}

#[test]
fn two_workers_of_which_one_is_killed_or_held_still_do_everything_once() {
    let tally = play(2, 5);
    assert!(tally.wrong.is_empty() && tally.kills + tally.pauses > 0, "{:#}", tally.json(5));
}

#[test]
#[ignore = "takes minutes: make workers"]
fn a_hundred_rounds_of_two_workers() {
    let began = Instant::now();
    let rounds = rounds(100);
    let tally = play(rounds, 1_789);
    let mut line = tally.json(1_789);
    line["seconds"] = json!(began.elapsed().as_secs());
    println!("{line}");
    assert!(tally.wrong.is_empty() && tally.rounds == rounds);
}
