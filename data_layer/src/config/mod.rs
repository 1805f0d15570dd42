//! Configuration: layered YAML with provenance.
//!
//! Layers, weakest first: the file built into the program, the drive (`control/configs/`), this machine
//! (`$XDG_CONFIG_HOME/trademl/configs/`), its `env/<TRADEML_ENV>/` folder, environment variables, flags. Maps merge key by
//! key; lists and scalars replace. Unknown keys are errors that name the key's path and the layer it came from. The digest of
//! the merged result goes into the record of every run that used it.

mod strict;
mod tree;

use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::root::{DataPath, DataRoot};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use tree::{MAX_BYTES, MAX_DEPTH, MAX_NODES};

/// A configuration as it holds after all layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<T> {
    pub value: T,
    /// SHA-256 of the merged tree's canonical JSON.
    pub sha256: String,
    /// For every leaf (`inflight.alpaca`), the layer that decided it (`built-in`, `drive`, `host`, `env/local`,
    /// `environment NODE_MAX_INFLIGHT_ALPACA`, `flag`). Machine paths never appear here.
    pub origins: BTreeMap<String, String>,
}

/// Configurations that describe one machine and are therefore never read from the drive.
const MACHINE_ONLY: &[&str] = &["edge"];

/// Environment variables that set configuration keys: (configuration, variable prefix, path prefix). What follows the
/// prefix, in lower case, is the last key.
const FROM_ENVIRONMENT: &[(&str, &str, &str)] = &[("edge", "NODE_MAX_INFLIGHT_", "inflight"), ("edge", "VENDOR_FREEZE_SECONDS_", "freeze_seconds")];

/// Load `name` (such as `edge` or `training/equities_xs`) with the process's environment and without flags.
pub fn load<T: DeserializeOwned>(name: &str, builtin: &str, host: &Host, root: Option<&DataRoot>) -> Result<Loaded<T>> {
    load_with(name, builtin, host, root, host.env_all(), &BTreeMap::new())
}

/// Load `name` with an environment (process merged with the secrets file) and flags (`key.path` to a YAML scalar).
pub fn load_with<T: DeserializeOwned>(
    name: &str,
    builtin: &str,
    host: &Host,
    root: Option<&DataRoot>,
    env: &BTreeMap<String, String>,
    flags: &BTreeMap<String, String>,
) -> Result<Loaded<T>> {
    let mut merged = Merged::default();
    merged.lay("built-in", tree::parse(builtin, name)?, name)?;
    if let Some(root) = root.filter(|_| !MACHINE_ONLY.contains(&name)) {
        let path = DataPath::new(format!("control/configs/{name}.yml"))?;
        if let Some(bytes) = crate::store::read(root, &path)? {
            merged.lay("drive", tree::parse_bytes(&bytes, path.as_str())?, name)?;
        }
    }
    for (layer, place) in host_layers(name, host, env) {
        if let Some(bytes) = read_host_file(&place)? {
            merged.lay(&layer, tree::parse_bytes(&bytes, &place.display().to_string())?, name)?;
        }
    }
    for (config, prefix, path) in FROM_ENVIRONMENT.iter().filter(|(config, ..)| *config == name) {
        for (variable, text) in env.iter().filter(|(k, v)| k.starts_with(prefix) && !v.is_empty()) {
            let key = format!("{path}.{}", variable[prefix.len()..].to_lowercase());
            merged.set(&key, tree::parse(text, variable)?, &text!("environment {variable}"), config)?;
        }
    }
    for (key, text) in flags {
        merged.set(key, tree::parse(text, key)?, "flag", name)?;
    }
    merged.finish(name)
}

/// Read one self-contained YAML document strictly: size, depth and node limits, no duplicate or unknown keys. `what` names
/// it in errors. For files that are not layered (answers, fault plans, `stage.yml`).
pub fn from_yaml<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    let value = tree::parse(text, what)?;
    strict::read(&value).map_err(|problem| explain(problem, what, &BTreeMap::new()))
}

/// [`from_yaml`] without a target type.
pub fn yaml_tree(text: &str, what: &str) -> Result<Value> {
    tree::parse(text, what)
}

#[derive(Default)]
struct Merged {
    tree: Map<String, Value>,
    origins: BTreeMap<String, String>,
}

impl Merged {
    fn lay(&mut self, layer: &str, value: Value, name: &str) -> Result<()> {
        let overlay = match value {
            Value::Object(map) => map,
            Value::Null => return Ok(()),
            other => return Err(Error::new(code::CFG_PARSE, text!("{name}.yml ({layer}) is not a map of keys")).found(kind(&other))),
        };
        if let (Some(ours), Some(theirs)) = (self.tree.get("version"), overlay.get("version"))
            && ours != theirs
        {
            return Err(Error::new(code::CFG_VALUE, text!("{name}.yml ({layer}) has version {theirs}, this program knows version {ours}"))
                .fix("remove the file, or bring it up to date with docs/formats.md"));
        }
        merge(&mut self.tree, overlay, "", layer, &mut self.origins);
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value, layer: &str, name: &str) -> Result<()> {
        let nested = key.rsplit('.').fold(value, |inner, part| Value::Object(Map::from_iter([(part.to_string(), inner)])));
        self.lay(layer, nested, name)
    }

    fn finish<T: DeserializeOwned>(self, name: &str) -> Result<Loaded<T>> {
        let tree = Value::Object(self.tree);
        let value = strict::read(&tree).map_err(|problem| explain(problem, &format!("{name}.yml"), &self.origins))?;
        Ok(Loaded { value, sha256: crate::store::digest_of(&tree)?, origins: self.origins })
    }
}

fn merge(base: &mut Map<String, Value>, overlay: Map<String, Value>, prefix: &str, layer: &str, origins: &mut BTreeMap<String, String>) {
    for (key, value) in overlay {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (base.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more, &path, layer, origins),
            (_, value) => {
                origins.retain(|known, _| *known != path && !known.starts_with(&format!("{path}.")));
                note(&value, &path, layer, origins);
                base.insert(key, value);
            }
        }
    }
}

fn note(value: &Value, path: &str, layer: &str, origins: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                note(inner, &format!("{path}.{key}"), layer, origins);
            }
        }
        _ => {
            origins.insert(path.to_string(), layer.to_string());
        }
    }
}

fn host_layers(name: &str, host: &Host, env: &BTreeMap<String, String>) -> Vec<(String, PathBuf)> {
    let base = host.config_dir().join("configs");
    let mut layers = vec![("host".to_string(), base.join(format!("{name}.yml")))];
    let plain = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if let Some(stage) = env.get("TRADEML_ENV").filter(|v| plain(v)) {
        layers.push((format!("env/{stage}"), base.join("env").join(stage).join(format!("{name}.yml"))));
    }
    layers
}

fn read_host_file(place: &std::path::Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(place) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::new(code::CFG_PARSE, text!("{} cannot be read", place.display())).cause(e.to_string())),
    }
}

fn explain(problem: strict::Problem, what: &str, origins: &BTreeMap<String, String>) -> Error {
    let place = if problem.path.is_empty() { "the top level".to_string() } else { format!("'{}'", problem.path) };
    let code = if problem.unknown { code::CFG_UNKNOWN_KEY } else { code::CFG_VALUE };
    let what = if problem.unknown { text!("{what} has an unknown key or value at {place}") } else { text!("{what} has an unusable value at {place}") };
    let mut error =
        Error::new(code, what).cause(problem.message).fix("compare the file with the one in configs/ and its schema; then run the same command again");
    let inside = format!("{}.", problem.path);
    if let Some((_, layer)) = origins.iter().find(|(key, _)| **key == problem.path || key.starts_with(&inside)) {
        error = error.found(text!("it comes from the layer '{layer}'"));
    }
    error
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests;
