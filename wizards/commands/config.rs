//! `trademl config`: what is set, and where it comes from; one setting changed without touching the rest of its file.

mod layer;

use super::{emit, open_root, say};
use crate::cli::{ConfigArgs, ConfigCommand};
use data_layer::config::Loaded;
use data_layer::env_file;
use data_layer::env_vars;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// One setting in force.
struct Setting {
    key: String,
    value: String,
    origin: String,
}

/// `trademl config`.
pub fn run(host: &Host, args: &ConfigArgs) -> Result<u8> {
    match &args.command {
        ConfigCommand::Show { key, origin, json } => show(host, args, key.as_deref(), *origin, *json),
        ConfigCommand::Set { setting } => set(host, setting),
        ConfigCommand::Unset { key } => unset(host, key),
        ConfigCommand::Path => {
            say(&env_file::path(host).display().to_string());
            Ok(0)
        }
    }
}

fn show(host: &Host, args: &ConfigArgs, key: Option<&str>, origin: bool, as_json: bool) -> Result<u8> {
    let mut all = variables(host)?;
    all.extend(layered(host, args)?);
    let chosen: Vec<&Setting> = all.iter().filter(|s| key.is_none_or(|k| s.key == k || s.key.starts_with(&format!("{k}.")))).collect();
    if let Some(key) = key.filter(|_| chosen.is_empty()) {
        return Err(Error::new(code::USE_ARGUMENT, text!("'{key}' is not set, and has no default")).fix("trademl config show"));
    }
    if as_json {
        let rows: Vec<Value> = chosen.iter().map(|s| json!({"key": s.key, "value": s.value, "origin": s.origin})).collect();
        emit(&json!({"v": 1, "settings": rows}).to_string());
        return Ok(0);
    }
    for s in chosen {
        let tail = if origin { format!("   ({})", s.origin) } else { String::new() };
        say(&text!("{} = {}{tail}", s.key, s.value));
    }
    Ok(0)
}

/// Environment variables of this program that hold a value: the process's, then the private file's.
fn variables(host: &Host) -> Result<Vec<Setting>> {
    let place = env_file::path(host);
    let text = std::fs::read_to_string(&place).unwrap_or_default();
    let file = env_file::read(host)?.values(host.env_all());
    let mut out = Vec::new();
    for (key, value) in env_file::load(host)?.into_iter().filter(|(k, _)| env_vars::find(k).is_some()) {
        let origin = match (host.env(&key).is_some(), file.contains_key(&key)) {
            (true, true) => text!("environment (it wins over {})", line_of(&text, &key, &place)),
            (true, false) => "environment".to_string(),
            (false, _) => line_of(&text, &key, &place),
        };
        out.push(Setting { value: env_file::shown(&key, &value), key, origin });
    }
    Ok(out)
}

/// `FILE:LINE` of the last line that sets a variable.
fn line_of(text: &str, key: &str, place: &std::path::Path) -> String {
    let sets = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("export ").unwrap_or(line).trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let at = text.lines().enumerate().filter(|(_, line)| sets(line)).last().map_or(0, |(i, _)| i + 1);
    format!("{}:{at}", place.display())
}

/// The layered configurations, leaf by leaf, with the layer that decided each.
fn layered(host: &Host, args: &ConfigArgs) -> Result<Vec<Setting>> {
    let root = open_root(host, args.root.clone()).ok();
    let edge: Loaded<Value> = data_layer::config::load("edge", include_str!("../../configs/edge.yml"), host, root.as_ref())?;
    #[cfg_attr(not(feature = "research"), allow(unused_mut))]
    let mut out = leaves("edge", &edge);
    #[cfg(feature = "research")]
    out.extend(leaves("paper", &data_layer::config::load("paper", engine::pipelines::paper_day::settings::PAPER, host, root.as_ref())?));
    #[cfg(feature = "research")]
    for (model, built_in) in engine::pipelines::config::MODELS {
        let name = format!("training/{model}");
        out.extend(leaves(&name, &data_layer::config::load(&name, built_in, host, root.as_ref())?));
    }
    Ok(out)
}

fn leaves(name: &str, loaded: &Loaded<Value>) -> Vec<Setting> {
    let at = |path: &str| path.split('.').try_fold(&loaded.value, |v, part| v.get(part)).cloned().unwrap_or_default();
    loaded
        .origins
        .iter()
        .map(|(path, layer)| Setting { key: format!("{name}.{path}"), value: at(path).to_string(), origin: text!("{layer} {name}.yml") })
        .collect()
}

/// The one setting of `edge.yml` that a wizard asks for.
const MAINTENANCE: &str = "edge.loops.maintenance";

fn set(host: &Host, setting: &str) -> Result<u8> {
    let (key, given) = setting.split_once('=').map_or((setting, None), |(k, v)| (k, Some(v)));
    if let (MAINTENANCE, Some(value)) = (key, given)
        && let Some(answered) = super::open_root(host, None).ok().and_then(|root| super::node::maintenance_time(host, &root).ok().flatten())
    {
        return Err(Error::new(code::USE_ARGUMENT, text!("the maintenance time of this machine is the wizard's answer, {answered}"))
            .cause("it is kept on the drive, in this machine's record, and stands before edge.yml")
            .fix(format!("trademl pi-data-node --set maintenance.time={value}")));
    }
    if let Some(value) = given
        && let Some(changed) = layer::set(host, key, value)?
    {
        say(&text!("{key}: {} -> {}", changed.before, changed.after));
        say(&text!("{} written; every comment is kept", changed.place.display()));
        return Ok(0);
    }
    if env_vars::find(key).is_none() {
        return Err(Error::new(code::USE_ARGUMENT, text!("'{key}' is no setting of this program"))
            .fix("trademl config show")
            .fix("all of them: docs/reference/environment.md"));
    }
    let value = match given {
        Some(_) if env_vars::is_secret(key) => {
            return Err(Error::new(code::USE_ARGUMENT, text!("{key} is a secret: a command line can be read by every process of this machine"))
                .fix(format!("trademl config set {key} < FILE")));
        }
        Some(value) => value.to_string(),
        None => typed(key)?,
    };
    if value.trim().is_empty() {
        return Err(Error::new(code::USE_ARGUMENT, text!("{key} was given no value")).fix(format!("trademl config unset {key}")));
    }
    let mut file = env_file::read(host)?;
    file.set(key, value.trim());
    report(&env_file::save(host, &file)?)
}

/// A value from standard input, without echo at a terminal.
fn typed(key: &str) -> Result<String> {
    if std::io::stdin().is_terminal() {
        let term = console::Term::stderr();
        term.write_str(&text!("{key} (not shown): "))?;
        return Ok(crate::kit::prompter::words::clean_paste(&term.read_secure_line()?));
    }
    Ok(crate::kit::prompter::words::clean_paste(&std::io::read_to_string(std::io::stdin())?))
}

fn unset(host: &Host, key: &str) -> Result<u8> {
    if let Some(changed) = layer::unset(host, key)? {
        say(&text!("{key}: {} -> {}", changed.before, changed.after));
        say(&text!("{} written; every comment is kept", changed.place.display()));
        return Ok(0);
    }
    if env_vars::find(key).is_none() {
        return Err(Error::new(code::USE_ARGUMENT, text!("'{key}' is no setting of this program")).fix("trademl config show"));
    }
    let mut file = env_file::read(host)?;
    if !file.remove(key) {
        say(&text!("{key} was not set in {}", env_file::path(host).display()));
        return Ok(0);
    }
    report(&env_file::save(host, &file)?)
}

fn report(saved: &env_file::SaveReport) -> Result<u8> {
    for change in &saved.changes {
        let text = |v: &Option<String>| v.clone().unwrap_or_else(|| "(unset)".into());
        say(&text!("{}: {} -> {}", change.key, text(&change.before), text(&change.after)));
    }
    say(&text!("{} {}", saved.path.display(), if saved.written { "written; every comment is kept" } else { "is as it was" }));
    Ok(0)
}
