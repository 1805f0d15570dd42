//! `trademl runs`: look at wizard runs, export, take back and continue them, and mend their journal.

use crate::cli::RunsCommand;
use crate::kit::journal::{Entry, Event, Journal, Record};
use crate::kit::undo::{self, Fate};
use crate::kit::{Scope, paths, recover};
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use data_layer::words::joined;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What is left to do.
pub enum Then {
    Say(String),
    /// Continue this wizard.
    Continue(String),
}

/// Look, export, mend, take back, continue.
pub fn run(root: &DataRoot, command: &RunsCommand) -> Result<Then> {
    if matches!(command, RunsCommand::Recover) {
        return Ok(Then::Say(recover::recover(root)?.lines().join("\n")));
    }
    let journal = Journal::open(root)?;
    Ok(Then::Say(match command {
        RunsCommand::List { json } => list(&journal, *json)?,
        RunsCommand::Show { id, json } => show(&journal, &find(&journal, id)?.0, *json)?,
        RunsCommand::Export { id } => export(&journal, &find(&journal, id)?.0)?,
        RunsCommand::Undo { id, dry_run, confirm } => {
            let run = id.as_ref().map_or_else(|| newest_undoable(root, &journal), |id| find(&journal, id))?;
            if !dry_run {
                nothing_stands_on(root, &journal, &run.0, confirm.as_deref())?;
            }
            take_back(root, &run, *dry_run)?
        }
        RunsCommand::Resume { id } => {
            let (first, last) = find(&journal, id)?;
            if last.kind == Event::Closed {
                return Err(Error::new(code::USE_NO_RUN, text!("run {} is finished", first.run_id)).fix(format!("trademl {}", first.wizard)));
            }
            return Ok(Then::Continue(first.wizard));
        }
        RunsCommand::Recover => String::new(),
    }))
}

/// The newest run that left something which can be taken back.
fn newest_undoable(root: &DataRoot, journal: &Journal) -> Result<(Record, Record)> {
    for run in journal.runs()? {
        if undo::undo(root, &run.0, true)?.iter().any(|(_, fate)| matches!(fate, Fate::Undone(_))) {
            return Ok(run);
        }
    }
    Err(Error::new(code::USE_NO_RUN, "no run on this drive has left anything that can be taken back").fix("trademl runs list"))
}

/// What a set-up wrote is what later work was done with: it is not pulled away from under a model or a book without typed words.
fn nothing_stands_on(root: &DataRoot, journal: &Journal, run: &Record, typed: Option<&str>) -> Result<()> {
    // Where nothing can be taken back, the reasons for that are the answer.
    if !undo::undo(root, run, true)?.iter().any(|(_, fate)| matches!(fate, Fate::Undone(_))) {
        return Ok(());
    }
    // The newest run comes first.
    let later = journal.runs()?.into_iter().take_while(|(first, _)| first.run_id != run.run_id);
    let others: BTreeSet<String> =
        later.filter(|(first, last)| first.wizard != run.wizard && last.kind == Event::Closed).map(|(first, _)| first.wizard).collect();
    let words = format!("UNDO {}", run.run_id.chars().take(10).collect::<String>());
    if others.is_empty() || typed == Some(words.as_str()) {
        return Ok(());
    }
    Err(Error::new(code::GATE_REFUSED, text!("run {} stays: later runs stand on what it wrote", run.run_id))
        .found(joined(&others.into_iter().collect::<Vec<_>>(), ", "))
        .fix(format!("trademl runs undo {} --dry-run", run.run_id))
        .fix(format!("trademl runs undo {} --confirm \"{words}\"", run.run_id)))
}

/// Undo, line by line. An open run is closed by it: what it wanted is gone.
fn take_back(root: &DataRoot, (first, last): &(Record, Record), dry_run: bool) -> Result<String> {
    let held = if dry_run { None } else { Some(crate::steps::preamble::hold(root, &format!("wizard-{}", first.wizard), false)?) };
    let fates = undo::undo(root, first, dry_run)?;
    let lines: Vec<String> = fates
        .iter()
        .map(|(what, fate)| match fate {
            Fate::Undone(how) => text!("{}  {what}: {how}", if dry_run { "would undo" } else { "undone" }),
            Fate::Left(why) => text!("left    {what}: {why}"),
        })
        .collect();
    if !fates.iter().any(|(_, fate)| matches!(fate, Fate::Undone(_))) {
        let found = if lines.is_empty() { "it wrote nothing but its journal, or was undone before".to_string() } else { lines.join("\n         ") };
        return Err(Error::new(code::GATE_REFUSED, text!("nothing of run {} can be taken back", first.run_id)).found(found).fix("trademl runs list"));
    }
    if !dry_run && last.kind != Event::Closed {
        let payload = json!({"summary": "undone", "undone": true, "refused": false});
        let entry = Entry { step: "", visit: 0, kind: Event::Closed, scope: Scope::Drive, inputs_sha256: "", payload: &payload };
        Journal::open(root)?.append(root.host(), &first.run_id, &first.wizard, &entry)?;
    }
    drop(held);
    Ok(lines.join("\n"))
}

fn list(journal: &Journal, json: bool) -> Result<String> {
    let mut out = format!("{:<28}{:<14}{:<10}{}\n", "run", "wizard", "state", "begun");
    let mut all = Vec::new();
    for (first, last) in journal.runs()? {
        let state = if last.kind == Event::Closed { "finished" } else { "open" };
        out.push_str(&format!("{:<28}{:<14}{:<10}{}\n", first.run_id, first.wizard, state, minute(&first.at)));
        all.push(json!({"run_id": first.run_id, "wizard": first.wizard, "state": state, "begun_at": first.at, "last_at": last.at}));
    }
    if json { Ok(serde_json::to_string(&all)?) } else { Ok(out) }
}

/// `2026-11-21 17:42Z`
fn minute(at: &str) -> String {
    at.replace('T', " ").chars().take(16).collect::<String>() + "Z"
}

fn find(journal: &Journal, id: &str) -> Result<(Record, Record)> {
    let mut matches: Vec<(Record, Record)> = journal.runs()?.into_iter().filter(|(first, _)| first.run_id.starts_with(id)).collect();
    match (matches.pop(), matches.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(Error::new(code::USE_NO_RUN, text!("'{id}' is the beginning of several runs")).fix("trademl runs list")),
        (None, _) => Err(Error::new(code::USE_NO_RUN, text!("there is no run '{id}' on this drive")).fix("trademl runs list")),
    }
}

fn show(journal: &Journal, first: &Record, json: bool) -> Result<String> {
    let (mut out, mut all) = (String::new(), Vec::new());
    for r in journal.records(&first.run_id)? {
        out.push_str(&text!("{:>6}  {}  {:<8} {:<20} {}\n", r.seq, r.at, r.kind.as_str(), r.step, r.payload_json));
        all.push(json!({"seq": r.seq, "at": r.at, "kind": r.kind.as_str(), "step": r.step, "payload": r.payload()?}));
    }
    if json { Ok(serde_json::to_string(&all)?) } else { Ok(out) }
}

/// The last answer to every question; keys as references to the environment, gates left out.
fn export(journal: &Journal, first: &Record) -> Result<String> {
    let mut answers: BTreeMap<String, Value> = BTreeMap::new();
    let wizards = crate::wizards();
    let questions: Vec<_> = wizards.iter().filter(|w| w.name == first.wizard).flat_map(|w| w.steps).filter_map(|s| s.question().ok()).collect();
    for record in journal.records(&first.run_id)?.iter().filter(|r| r.kind == Event::Done) {
        let payload = record.payload()?;
        if let (Some(id), Some(value)) = (payload["id"].as_str(), payload.get("value")) {
            // A path is known in full only on the machine that gave it.
            let question = questions.iter().find(|q| q.id == id);
            let full = question.and_then(|q| paths::from_journal(journal.db().root(), q, value));
            answers.insert(id.to_string(), full.unwrap_or_else(|| value.clone()));
        }
        for (var, how) in payload["vars"].as_object().into_iter().flatten() {
            let value = if how == "skipped" { Value::from("skip") } else { json!({"from": format!("env:{var}")}) };
            answers.insert(format!("keys.{}", var.to_ascii_lowercase()), value);
        }
    }
    let file = json!({"version": 1, "wizard": first.wizard, "answers": answers});
    serde_yaml::to_string(&file).map_err(|e| Error::bug(text!("an answers file could not be written: {e}")))
}
