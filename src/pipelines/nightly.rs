//! The night's work as a graph of tasks, each recorded in the journal: what was done is not done again, what failed blocks
//! what needs it, loudly, and a night that was cut off goes on where it stopped.

use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::store::canonical_json;
use data_layer::time::{TradingDay, UtcTime};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One task. `needs` must be done before it; a task without needs runs whatever became of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub name: &'static str,
    pub needs: &'static [&'static str],
    pub what: &'static str,
    /// Tries in one night, the first included.
    pub attempts: u32,
}

/// The night of the workstation, in an order in which every task comes after what it needs.
pub const TASKS: &[Task] = &[
    Task { name: "refresh", needs: &[], what: "fetch, audit and curate the session's data", attempts: 4 },
    Task { name: "train", needs: &["refresh"], what: "train a challenger when one is due", attempts: 1 },
    Task { name: "evaluate", needs: &["train"], what: "judge the challenger; promote where the rule and the switch say so", attempts: 1 },
    Task { name: "shadow", needs: &["refresh"], what: "bring every model's shadow book up to the session", attempts: 2 },
    Task { name: "paper", needs: &["refresh"], what: "reconcile, report, and send the next session's orders", attempts: 3 },
    Task { name: "parity", needs: &["paper"], what: "replay the recorded day and give every difference a cause", attempts: 2 },
    Task { name: "mirror", needs: &[], what: "copy the registry to MLflow, where a server is named", attempts: 2 },
    Task { name: "notify", needs: &[], what: "say how the night went", attempts: 3 },
];

/// Between two tries.
const RETRY_S: [u64; 4] = [60, 300, 900, 900];

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Pending,
    /// Begun and never ended: the process died in it.
    Running,
    Done,
    /// Nothing was due.
    Skipped,
    /// A gate said no: an outcome, not a fault, and just as blocking.
    Refused,
    Failed,
    /// Something that it needs is not done.
    Blocked,
}

impl State {
    /// Whether what needs the task may run.
    pub fn satisfies(self) -> bool {
        matches!(self, Self::Done | Self::Skipped)
    }
}

/// A task of one night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub state: State,
    pub attempts: u32,
    pub detail: String,
    pub started_at: Option<UtcTime>,
    pub ended_at: Option<UtcTime>,
}

impl Default for Record {
    fn default() -> Self {
        Self { state: State::Pending, attempts: 0, detail: String::new(), started_at: None, ended_at: None }
    }
}

/// What a task has to say when it did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Done(String),
    Skipped(String),
}

/// A night, by the session that it follows.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Night {
    pub tasks: BTreeMap<String, Record>,
}

impl Night {
    /// Every task is done or had nothing to do.
    pub fn is_good(&self) -> bool {
        self.tasks.values().all(|r| r.state.satisfies())
    }
    /// One line a task, in their order.
    pub fn lines(&self, tasks: &[Task]) -> Vec<String> {
        let line = |t: &Task| {
            let r = self.tasks.get(t.name).cloned().unwrap_or_default();
            let state = crate::execution::order::word(r.state).unwrap_or_default();
            format!("{:<9} {state:<8} {}", t.name, r.detail).trim_end().to_string()
        };
        tasks.iter().map(line).collect()
    }
}

/// The recorded night of a session.
pub fn load(db: &Db, session: TradingDay) -> Result<Night> {
    let conn = db.lock()?;
    let json: Option<String> = conn.query_row("SELECT value FROM meta WHERE key = ?1", [key(session)], |r| r.get(0)).optional()?;
    json.map_or_else(|| Ok(Night::default()), |j| Ok(serde_json::from_str(&j)?))
}

fn key(session: TradingDay) -> String {
    format!("nightly|{session}")
}

fn store(db: &Db, session: TradingDay, night: &Night) -> Result<()> {
    let json = canonical_json(night)?;
    db.write(|tx| {
        tx.execute("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value", params![key(session), json])?;
        Ok(())
    })
}

/// Refuse a graph in which a task needs one that does not come before it.
pub fn check(tasks: &[Task]) -> Result<()> {
    for (n, task) in tasks.iter().enumerate() {
        if let Some(need) = task.needs.iter().find(|need| !tasks[..n].iter().any(|t| t.name == **need)) {
            return Err(Error::bug(text!("the task {} needs {need}, which does not come before it", task.name)));
        }
    }
    Ok(())
}

/// Run what is not done yet: the tasks that `only` names, or all of them where it names none. The error of a task is recorded, never lost; a crash of the
/// process is the only thing that ends a night early.
pub fn run(db: &Db, session: TradingDay, tasks: &[Task], only: &[&str], work: &mut dyn FnMut(&Task, &Night) -> Result<Said>) -> Result<Night> {
    check(tasks)?;
    if let Some(name) = only.iter().find(|name| tasks.iter().all(|t| t.name != **name)) {
        let known: Vec<&str> = tasks.iter().map(|t| t.name).collect();
        return Err(Error::new(code::USE_ARGUMENT, text!("the night has no task '{name}'")).found(known.join(", ")));
    }
    let mut night = load(db, session)?;
    for task in tasks.iter().filter(|t| only.is_empty() || only.contains(&t.name)) {
        // What was done is not done again; what was not due may be due by now: a consent was given, a channel configured.
        if night.tasks.get(task.name).is_some_and(|r| r.state == State::Done) {
            continue;
        }
        let missing: Vec<&str> = task.needs.iter().copied().filter(|n| !night.tasks.get(*n).is_some_and(|r| r.state.satisfies())).collect();
        if missing.is_empty() {
            attempt(db, session, task, &mut night, work)?;
        } else {
            let record = Record { state: State::Blocked, detail: text!("needs {}", missing.join(", ")), ..Record::default() };
            night.tasks.insert(task.name.to_string(), record);
            store(db, session, &night)?;
        }
    }
    Ok(night)
}

fn attempt(db: &Db, session: TradingDay, task: &Task, night: &mut Night, work: &mut dyn FnMut(&Task, &Night) -> Result<Said>) -> Result<()> {
    let host: Host = db.root().host().clone();
    let mut record = Record { started_at: Some(host.now()), ..Record::default() };
    for n in 0..task.attempts.max(1) {
        record.state = State::Running;
        record.attempts = n + 1;
        night.tasks.insert(task.name.to_string(), record.clone());
        store(db, session, night)?;
        let result = work(task, night);
        record.ended_at = Some(host.now());
        match result {
            Ok(Said::Done(detail)) => (record.state, record.detail) = (State::Done, detail),
            Ok(Said::Skipped(detail)) => (record.state, record.detail) = (State::Skipped, detail),
            Err(e) if e.is(code::BUG_CRASH_POINT) => return Err(e),
            Err(e) => {
                record.state = if e.code().exit.status() == 3 { State::Refused } else { State::Failed };
                let fix = e.body().fix.first().map_or(String::new(), |fix| text!("; fix: {fix}"));
                record.detail = format!("{}: {}{fix}", e.code().id, e.body().what);
            }
        }
        night.tasks.insert(task.name.to_string(), record.clone());
        store(db, session, night)?;
        // A refusal stands until something changes; a fault may pass.
        if record.state != State::Failed || n + 1 >= task.attempts {
            break;
        }
        host.block_on(host.sleep(Duration::from_secs(RETRY_S[(n as usize).min(RETRY_S.len() - 1)])))?;
        host.check_cancelled()?;
    }
    Ok(())
}

/// The same graph for a scheduler that a site already runs: every task calls `trademl nightly --only TASK`, with the arguments of the night.
pub fn definition(scheduler: &str, tasks: &[Task], arguments: &[String]) -> Result<String> {
    match scheduler {
        "airflow" => airflow(tasks, arguments),
        "prefect" => prefect(tasks, arguments),
        other => Err(Error::new(code::USE_ARGUMENT, text!("there is no definition for '{other}'")).found("known: airflow, prefect")),
    }
}

/// What another scheduler waits for before each task, and whether those have to succeed. A task without needs waits for the ends of all
/// that stand before it, however they ended: the machine does one thing at a time, and the last task can speak of all others.
fn waits<'a>(tasks: &'a [Task]) -> Vec<(&'a Task, Vec<&'a str>, bool)> {
    let mut out: Vec<(&'a Task, Vec<&'a str>, bool)> = Vec::new();
    for task in tasks {
        let alone = task.needs.is_empty();
        let awaited = |name: &str| out.iter().any(|(_, before, _)| before.contains(&name));
        let ends = || out.iter().map(|(t, ..)| t.name).filter(|name| !awaited(name)).collect();
        let before = if alone { ends() } else { task.needs.to_vec() };
        out.push((task, before, !alone));
    }
    out
}

/// The words of a task's command.
fn words<'a>(task: &Task, arguments: &'a [String]) -> Vec<std::borrow::Cow<'a, str>> {
    let own = ["trademl", "nightly", "--only", task.name].map(|word| word.to_string().into());
    own.into_iter().chain(arguments.iter().map(|word| word.as_str().into())).collect()
}

/// One word of a shell's command line.
fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:=@+,".contains(c));
    if plain && !word.is_empty() { word.to_string() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// A text as Python reads it: JSON's strings are Python's.
fn python(text: &str) -> Result<String> {
    Ok(serde_json::to_string(text)?)
}

fn airflow(tasks: &[Task], arguments: &[String]) -> Result<String> {
    let mut out = String::from(
        "\"\"\"TradeML's night. Written by `trademl nightly --emit airflow`; the commands keep the state, Airflow only calls them.\"\"\"\n\
         import pendulum\nfrom airflow import DAG\nfrom airflow.providers.standard.operators.bash import BashOperator\n\n\
         with DAG(\n    \"trademl_nightly\",\n    schedule=\"45 17 * * 1-5\",\n    start_date=pendulum.datetime(2024, 1, 1, tz=\"America/New_York\"),\n    catchup=False,\n    max_active_runs=1,\n) as dag:\n",
    );
    for (t, before, must_succeed) in waits(tasks) {
        // The command retries by itself and records it; a second layer of retries would hide that.
        let command = words(t, arguments).iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        out += &format!("    {0} = BashOperator(task_id=\"{0}\", bash_command={1}, retries=0", t.name, python(&command)?);
        out += if must_succeed || before.is_empty() { ")\n" } else { ", trigger_rule=\"all_done\")\n" };
    }
    for (t, before, _) in waits(tasks) {
        match before.as_slice() {
            [] => {}
            [one] => out += &format!("    {one} >> {}\n", t.name),
            many => out += &format!("    [{}] >> {}\n", many.join(", "), t.name),
        }
    }
    // A run is judged by its last tasks, and the last one speaks of a bad night without being bad itself: this one fails for it.
    let all: Vec<&str> = tasks.iter().map(|t| t.name).collect();
    out += "    verdict = BashOperator(task_id=\"verdict\", bash_command=\"exit 1\", retries=0, trigger_rule=\"one_failed\")\n";
    out += &format!("    [{}] >> verdict\n", all.join(", "));
    Ok(out)
}

fn prefect(tasks: &[Task], arguments: &[String]) -> Result<String> {
    let mut out = String::from(
        "\"\"\"TradeML's night. Written by `trademl nightly --emit prefect`; the commands keep the state, Prefect only calls them.\"\"\"\n\
         import subprocess\n\nfrom prefect import flow, task\n\n\n",
    );
    for t in tasks {
        let command = words(t, arguments).iter().map(|word| python(word)).collect::<Result<Vec<_>>>()?.join(", ");
        out += &format!("@task(name=\"{0}\")\ndef {0}():\n    subprocess.run([{command}], check=True)\n\n\n", t.name);
    }
    out += "@flow(name=\"trademl-nightly\")\ndef trademl_nightly():\n";
    let joined = |names: &[&str]| names.iter().map(|n| format!("{n}_")).collect::<Vec<_>>().join(", ");
    for (t, before, must_succeed) in waits(tasks) {
        if must_succeed || before.is_empty() {
            out += &format!("    {0}_ = {0}.submit(wait_for=[{1}])\n", t.name, joined(&before));
        } else {
            out += &format!("    for other in [{}]:\n        other.wait()\n    {1}_ = {1}.submit()\n", joined(&before), t.name);
        }
    }
    // The flow failed when any of its tasks did: the states of all are its answer.
    let all: Vec<&str> = tasks.iter().map(|t| t.name).collect();
    out += &format!("    return [{}]\n\n\nif __name__ == \"__main__\":\n    trademl_nightly()\n", joined(&all));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{evening, host_at, scratch};
    use data_layer::control::Which;
    use data_layer::root::{DataRoot, FsFacts, SENTINEL};
    use std::path::Path;

    fn open(dir: &Path, crash: Option<(String, u64)>) -> Result<Db> {
        let host = host_at(evening(), crash);
        let root = match dir.join(SENTINEL).exists() {
            true => DataRoot::open(&host, dir)?,
            false => DataRoot::create(&host, dir, "replay@1", FsFacts::default(), None)?,
        };
        Db::open(&root, Which::Journal)
    }
    fn session() -> TradingDay {
        "2017-11-30".parse().unwrap()
    }

    #[test]
    fn lesson_087_a_failed_stage_blocks_what_needs_it_and_nothing_else() {
        for broken in TASKS.iter().map(|t| t.name) {
            let dir = scratch();
            let db = open(dir.path(), None).unwrap();
            let night = run(&db, session(), TASKS, &[], &mut |t, _| {
                if t.name == broken { Err(Error::new(code::NET_UNREACHABLE, "down")) } else { Ok(Said::Done(String::new())) }
            })
            .unwrap();
            for t in TASKS {
                let r = &night.tasks[t.name];
                let needs_broken = t.needs.iter().any(|n| !night.tasks[*n].state.satisfies());
                let expected = if t.name == broken {
                    State::Failed
                } else if needs_broken {
                    State::Blocked
                } else {
                    State::Done
                };
                assert_eq!(r.state, expected, "{} with {broken} broken", t.name);
                assert_eq!(r.attempts, if t.name == broken { t.attempts } else { u32::from(r.state == State::Done) });
            }
            assert!(!night.is_good());
            // The fault passes: the same command does what is missing, and only that.
            let mut ran = Vec::new();
            let again = run(&db, session(), TASKS, &[], &mut |t, _| {
                ran.push(t.name);
                Ok(Said::Done(String::new()))
            })
            .unwrap();
            assert!(again.is_good() && ran.contains(&broken) && ran.iter().all(|n| !night.tasks[*n].state.satisfies()));
        }
    }

    #[test]
    fn what_was_not_due_is_looked_at_again_and_what_was_done_is_not() {
        let dir = scratch();
        let db = open(dir.path(), None).unwrap();
        run(&db, session(), TASKS, &[], &mut |t, _| Ok(if t.name == "paper" { Said::Skipped("no consent".into()) } else { Said::Done(String::new()) }))
            .unwrap();
        let mut ran = Vec::new();
        let again = run(&db, session(), TASKS, &[], &mut |t, _| {
            ran.push(t.name);
            Ok(Said::Done("20 orders".into()))
        })
        .unwrap();
        assert_eq!((ran, again.tasks["paper"].state), (vec!["paper"], State::Done));
    }

    #[test]
    fn a_night_that_died_goes_on_and_does_nothing_twice() {
        let mut done: BTreeMap<&str, u32> = BTreeMap::new();
        let dir = scratch();
        drop(open(dir.path(), None).unwrap());
        for k in 1..40 {
            let crashed = open(dir.path(), Some(("control.commit.before".into(), k))).and_then(|db| {
                run(&db, session(), TASKS, &[], &mut |t, _| {
                    *done.entry(t.name).or_insert(0) += 1;
                    Ok(Said::Done(String::new()))
                })
            });
            if crashed.is_ok() {
                break;
            }
        }
        let db = open(dir.path(), None).unwrap();
        assert!(load(&db, session()).unwrap().is_good());
        // A task whose end was not recorded is begun again; one whose end was is not.
        assert!(done.values().all(|n| *n <= 2), "{done:?}");
    }

    #[test]
    fn a_refusal_is_not_retried_and_one_task_can_be_asked_for() {
        let dir = scratch();
        let db = open(dir.path(), None).unwrap();
        let mut tries = 0;
        let night = run(&db, session(), TASKS, &["refresh"], &mut |_, _| {
            tries += 1;
            Err(Error::new(code::GATE_REFUSED, "no"))
        })
        .unwrap();
        assert_eq!((tries, night.tasks["refresh"].state, night.tasks.len()), (1, State::Refused, 1));
        let paper = run(&db, session(), TASKS, &["paper"], &mut |_, _| Ok(Said::Done(String::new()))).unwrap();
        assert_eq!(paper.tasks["paper"].state, State::Blocked);
        assert!(run(&db, session(), TASKS, &["refresh", "nothing"], &mut |_, _| Ok(Said::Done(String::new()))).is_err());
        assert!(paper.lines(TASKS)[0].starts_with("refresh   refused"));
    }

    #[test]
    fn the_definitions_for_schedulers_name_every_task_and_every_need() {
        for scheduler in ["airflow", "prefect"] {
            let text = definition(scheduler, TASKS, &[]).unwrap();
            assert!(TASKS.iter().all(|t| text.contains(&format!("--only {}", t.name)) || text.contains(&format!("\"--only\", \"{}\"", t.name))), "{text}");
        }
        let airflow = definition("airflow", TASKS, &[]).unwrap();
        assert!(
            airflow.contains("refresh >> paper") && airflow.contains("[evaluate, shadow, parity] >> mirror\n") && airflow.contains("    mirror >> notify\n"),
            "{airflow}"
        );
        assert!(definition("prefect", TASKS, &[]).unwrap().contains("paper_ = paper.submit(wait_for=[refresh_])"));
        assert!(definition("cron", TASKS, &[]).is_err());
    }

    #[test]
    fn a_definition_runs_the_night_that_it_was_asked_for() {
        let arguments = ["--root", "/mnt/my drive", "--answers", "/etc/o'clock.yml"].map(String::from);
        let airflow = definition("airflow", TASKS, &arguments).unwrap();
        let wanted = r#"bash_command="trademl nightly --only paper --root '/mnt/my drive' --answers '/etc/o'\\''clock.yml'""#;
        assert!(airflow.contains(wanted), "{airflow}");
        let prefect = definition("prefect", TASKS, &arguments).unwrap();
        assert!(prefect.contains(r#"["trademl", "nightly", "--only", "paper", "--root", "/mnt/my drive", "--answers", "/etc/o'clock.yml"]"#), "{prefect}");
    }
}
