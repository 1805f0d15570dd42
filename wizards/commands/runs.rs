//! `trademl runs`: look at, export and continue wizard runs.

use crate::cli::RunsCommand;
use crate::kit::journal::{Event, Journal, Record};
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use serde_json::Value;
use std::collections::BTreeMap;

/// What to print, and the wizard to continue, if any.
pub fn run(root: &DataRoot, command: &RunsCommand) -> Result<(String, Option<String>)> {
    let journal = Journal::open(root)?;
    match command {
        RunsCommand::List => Ok((list(&journal)?, None)),
        RunsCommand::Show { id } => Ok((show(&journal, &find(&journal, id)?.0)?, None)),
        RunsCommand::Export { id } => Ok((export(&journal, &find(&journal, id)?.0)?, None)),
        RunsCommand::Resume { id } => {
            let (first, last) = find(&journal, id)?;
            if last.kind == Event::Closed {
                return Err(Error::new(code::USE_NO_RUN, format!("run {} is finished", first.run_id)).fix(format!("trademl {}", first.wizard)));
            }
            Ok((String::new(), Some(first.wizard)))
        }
    }
}

fn list(journal: &Journal) -> Result<String> {
    let mut out = format!("{:<28}{:<14}{:<10}{}\n", "run", "wizard", "state", "begun");
    for (first, last) in journal.runs()? {
        let state = if last.kind == Event::Closed { "finished" } else { "open" };
        out.push_str(&format!("{:<28}{:<14}{:<10}{}\n", first.run_id, first.wizard, state, first.at));
    }
    Ok(out)
}

fn find(journal: &Journal, id: &str) -> Result<(Record, Record)> {
    let mut matches: Vec<(Record, Record)> = journal.runs()?.into_iter().filter(|(first, _)| first.run_id.starts_with(id)).collect();
    match (matches.pop(), matches.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(Error::new(code::USE_NO_RUN, format!("'{id}' is the beginning of several runs")).fix("trademl runs list")),
        (None, _) => Err(Error::new(code::USE_NO_RUN, format!("there is no run '{id}' on this drive")).fix("trademl runs list")),
    }
}

fn show(journal: &Journal, first: &Record) -> Result<String> {
    let mut out = String::new();
    for r in journal.records(&first.run_id)? {
        out.push_str(&format!("{:>6}  {}  {:<8} {:<20} {}\n", r.seq, r.at, r.kind.as_str(), r.step, r.payload_json));
    }
    Ok(out)
}

/// The last answer to every question; keys as references to the environment, gates left out.
fn export(journal: &Journal, first: &Record) -> Result<String> {
    let mut answers: BTreeMap<String, Value> = BTreeMap::new();
    for record in journal.records(&first.run_id)?.iter().filter(|r| r.kind == Event::Done) {
        let payload = record.payload()?;
        if let (Some(id), Some(value)) = (payload["id"].as_str(), payload.get("value")) {
            answers.insert(id.to_string(), value.clone());
        }
        for (var, how) in payload["vars"].as_object().into_iter().flatten() {
            let value = if how == "skipped" { Value::from("skip") } else { serde_json::json!({"from": format!("env:{var}")}) };
            answers.insert(format!("keys.{}", var.to_ascii_lowercase()), value);
        }
    }
    let file = serde_json::json!({"version": 1, "wizard": first.wizard, "answers": answers});
    serde_yaml::to_string(&file).map_err(|e| Error::bug(format!("an answers file could not be written: {e}")))
}
