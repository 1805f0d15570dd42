//! `trademl model`: the registry without a wizard: who is champion, what was decided and by whom, the way back, and the copy
//! on an MLflow server.

use super::{emit, open_root, say};
use crate::cli::{ModelArgs, ModelCommand};
use crate::kit::logs::Log;
use crate::steps;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::store;
use data_layer::time::UtcTime;
use engine::models::mlflow;
use engine::models::registry::{ModelEvent, ModelRow, Registry};
use engine::pipelines::promote;

/// Who acts from the command line.
const OPERATOR: &str = "command line";

/// List models, tell their history, or put the previous champion back.
pub fn run(host: &Host, log: &Log, args: &ModelArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    match &args.command {
        ModelCommand::List { json } => list(&root, &args.strategy, *json)?,
        ModelCommand::History { json } => history(&root, &args.strategy, *json)?,
        ModelCommand::Rollback { reason } => {
            log.move_to(&root)?;
            let held = steps::preamble::hold(&root, "model", false)?;
            let (root, _world) = steps::world::of_root(host, &root)?;
            let version = promote::rollback(&root, &args.strategy, OPERATOR, reason)?;
            say(&text!("{} {version} is champion again; the decision and its reason are in the history", args.strategy));
            drop(held);
            // The registry has changed already; a copy that waits is no failure.
            match mlflow::deliver(&root) {
                Ok(None) => {}
                Ok(Some(delivered)) => say(&steps::mirror::sentence(&delivered)),
                Err(e) => say(&text!("the copy to MLflow was not made: {e}")),
            }
        }
        ModelCommand::Due { json } => due(host, &root, *json)?,
        ModelCommand::Mirror { json } => return mirror(host, &root, *json),
    }
    Ok(0)
}

/// What the night would find.
fn due(host: &Host, root: &DataRoot, json: bool) -> Result<()> {
    let (root, world) = steps::world::of_root(host, root)?;
    let session = Calendar::xnys().last_closed(world.host.now())?;
    let triggers = steps::training::due(&root, session)?;
    let fired = triggers.iter().any(|t| t.fired);
    if json {
        emit(&store::canonical_json(&serde_json::json!({"session": session, "due": fired, "triggers": triggers}))?);
        return Ok(());
    }
    for t in &triggers {
        say(&text!("{:<4} {:<9} {}", if t.fired { term!("due") } else { "" }, t.name, t.found));
    }
    say(match (triggers.is_empty(), fired) {
        (true, _) => "no model was trained on this drive yet: trademl train",
        (false, true) => "a new challenger is due: trademl train",
        (false, false) => "no new challenger is due",
    });
    Ok(())
}

/// Send what the server has not heard. Exit 4 while something waits, 3 when the server refused something.
fn mirror(host: &Host, root: &DataRoot, json: bool) -> Result<u8> {
    let held = steps::preamble::hold(root, "model", false)?;
    let (root, _world) = steps::world::of_root(host, root)?;
    let delivered = mlflow::deliver(&root)?.ok_or_else(|| {
        Error::new(code::USE_ANSWER_MISSING, text!("no MLflow server is named: {} is not set", mlflow::TRACKING_URI))
            .found(text!("{} entries would be sent", mlflow::waiting(&root).unwrap_or(0)))
            .fix(text!("{}=http://127.0.0.1:5000 trademl model mirror", mlflow::TRACKING_URI))
    })?;
    drop(held);
    if json {
        emit(&store::canonical_json(&delivered)?);
    } else {
        say(&steps::mirror::sentence(&delivered));
    }
    Ok(if delivered.waiting > 0 {
        4
    } else if !delivered.refused.is_empty() {
        3
    } else {
        0
    })
}

fn list(root: &DataRoot, strategy: &str, json: bool) -> Result<()> {
    let models = Registry::open(root)?.models(strategy)?;
    if json {
        emit(&store::canonical_json(&models)?);
        return Ok(());
    }
    if models.is_empty() {
        return Err(Error::new(code::ML_NO_CHAMPION, text!("no model of '{strategy}' is registered on this drive")).fix("trademl train"));
    }
    models.iter().for_each(|m| say(&model_line(m)));
    Ok(())
}

fn model_line(m: &ModelRow) -> String {
    let since = m.activated_at.map_or(String::new(), |t| text!(", since {}", minute(t)));
    text!("{:<11} {:<24} registered {}{since}", m.stage.as_str(), m.version, minute(m.created_at))
}

fn history(root: &DataRoot, strategy: &str, json: bool) -> Result<()> {
    let events = Registry::open(root)?.events(strategy)?;
    if events.is_empty() && !json {
        return Err(Error::new(code::ML_NO_CHAMPION, text!("no model of '{strategy}' is registered on this drive")).fix("trademl train"));
    }
    if json {
        emit(&store::canonical_json(&events)?);
    } else {
        events.iter().for_each(|e| say(&event_line(e)));
    }
    Ok(())
}

fn event_line(e: &ModelEvent) -> String {
    let from = e.from_stage.map_or("new", |s| s.as_str());
    let applied = if e.applied { "" } else { " (not applied)" };
    text!("{}  {:<24} {from} -> {}{applied} by {} ({}): {}", minute(e.at), e.version, e.to_stage.as_str(), e.operator, e.rule, e.reason)
}

/// `2026-11-21 17:42Z`
fn minute(t: UtcTime) -> String {
    t.to_string().replace('T', " ").chars().take(16).collect::<String>() + "Z"
}
