//! One key of a layered configuration, changed in this machine's own file and nowhere else. Comments and order are kept.

use data_layer::config::{self, Loaded};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::sourcing::EdgeConfig;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A configuration that this machine may override.
struct Layer {
    /// As in `edge.loops.forward_minutes`.
    name: String,
    built_in: &'static str,
    /// Whether all layers together are a configuration.
    check: fn(&Host, &Self) -> Result<()>,
}

fn layers() -> Vec<Layer> {
    let edge = Layer { name: "edge".into(), built_in: include_str!("../../../configs/edge.yml"), check: |host, _| EdgeConfig::load(host).map(drop) };
    #[cfg_attr(not(feature = "research"), allow(unused_mut))]
    let mut out = vec![edge];
    #[cfg(feature = "research")]
    out.push(Layer {
        name: "paper".into(),
        built_in: engine::pipelines::paper_day::settings::PAPER,
        check: |host, layer| {
            let loaded: Loaded<engine::pipelines::paper_day::settings::PaperSettings> = config::load(&layer.name, layer.built_in, host, None)?;
            loaded.value.validate()
        },
    });
    #[cfg(feature = "research")]
    out.extend(engine::pipelines::config::MODELS.map(|(model, built_in)| Layer {
        name: format!("training/{model}"),
        built_in,
        check: |host, layer| {
            let loaded: Loaded<engine::pipelines::config::TrainingConfig> = config::load(&layer.name, layer.built_in, host, None)?;
            loaded.value.validate()
        },
    }));
    out
}

/// What was changed.
#[derive(Debug)]
pub struct Changed {
    pub place: PathBuf,
    pub before: Value,
    pub after: Value,
}

/// Set `key` (`edge.loops.forward_minutes`) to a YAML value. `None` where the key belongs to no layered configuration.
/// Refused, with the file as it was, where the whole would not be a configuration any more.
pub fn set(host: &Host, key: &str, text: &str) -> Result<Option<Changed>> {
    let value = config::yaml_tree(text, key)?;
    change(host, key, |old, path| patched(old, path, &value))
}

/// Take `key` out of this machine's file: the layers below decide again.
pub fn unset(host: &Host, key: &str) -> Result<Option<Changed>> {
    change(host, key, removed)
}

fn change(host: &Host, key: &str, edit: impl FnOnce(&str, &[&str]) -> Result<String>) -> Result<Option<Changed>> {
    let layers = layers();
    let Some((layer, path)) = layers.iter().find_map(|l| Some((l, key.strip_prefix(&l.name)?.strip_prefix('.')?))) else { return Ok(None) };
    let in_force = |name: &str| -> Result<Value> {
        let loaded: Loaded<Value> = config::load(name, layer.built_in, host, None)?;
        Ok(path.split('.').try_fold(&loaded.value, |v, part| v.get(part)).cloned().unwrap_or_default())
    };
    let before = in_force(&layer.name)?;
    let place = host.config_dir().join("configs").join(format!("{}.yml", layer.name));
    let old = match std::fs::read_to_string(&place) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(e.into()),
    };
    let parts: Vec<&str> = path.split('.').collect();
    write(&place, &edit(old.as_deref().unwrap_or(""), &parts)?)?;
    if let Err(refused) = (layer.check)(host, layer) {
        match &old {
            Some(text) => write(&place, text)?,
            None => std::fs::remove_file(&place)?,
        }
        return Err(refused);
    }
    Ok(Some(Changed { place, before, after: in_force(&layer.name)? }))
}

/// The document with one value put at a path. Works on the lines of block style, which is how such a file is written; what it
/// made is read back and compared, so a line that was misunderstood is a refusal and never a wrong file.
fn patched(text: &str, path: &[&str], value: &Value) -> Result<String> {
    let mut wanted = if is_empty(text) { Value::Object(Map::new()) } else { config::yaml_tree(text, "this machine's file")? };
    put(&mut wanted, path, value);
    let made = if is_empty(text) && text.is_empty() { format!("{HEAD}{}", block(path, value, 0)) } else { edited(text, path, value) };
    if config::yaml_tree(&made, "the edited file").ok().as_ref() == Some(&wanted) {
        return Ok(made);
    }
    Err(Error::new(code::CFG_PARSE, text!("this machine's file is written in a way that cannot be edited at '{}'", path.join(".")))
        .cause("only lines of the form `key: value` are changed, so that nothing else is")
        .fix(text!("edit it by hand: {}: {value}", path.join(": "))))
}

/// The document without what stands at a path, and without the keys above it that hold nothing else.
fn removed(text: &str, path: &[&str]) -> Result<String> {
    let not_set = || Error::new(code::USE_ARGUMENT, text!("'{}' is not set in this machine's file", path.join("."))).fix("trademl config show --origin");
    if is_empty(text) {
        return Err(not_set());
    }
    let mut wanted = config::yaml_tree(text, "this machine's file")?;
    if !take(&mut wanted, path) {
        return Err(not_set());
    }
    let made = without(text, path);
    let same =
        if is_empty(&made) { wanted.as_object().is_none_or(Map::is_empty) } else { config::yaml_tree(&made, "the edited file").ok().as_ref() == Some(&wanted) };
    if same {
        return Ok(made);
    }
    Err(Error::new(code::CFG_PARSE, text!("this machine's file is written in a way that cannot be edited at '{}'", path.join(".")))
        .cause("only lines of the form `key: value` are changed, so that nothing else is")
        .fix("edit it by hand; trademl config show --origin names it"))
}

/// Take the value at a path out of a tree; `false` where there is none.
fn take(tree: &mut Value, path: &[&str]) -> bool {
    let (Some((first, rest)), Some(map)) = (path.split_first(), tree.as_object_mut()) else { return false };
    if rest.is_empty() {
        return map.remove(*first).is_some();
    }
    let Some(inside) = map.get_mut(*first) else { return false };
    let taken = take(inside, rest);
    if taken && inside.as_object().is_some_and(Map::is_empty) {
        map.remove(*first);
    }
    taken
}

/// The lines without the block of a path; a key above it that would be left without any goes too.
fn without(text: &str, path: &[&str]) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let (mut from, mut to, mut indent) = (0, lines.len(), 0);
    let mut cut = None;
    for part in path {
        let Some(at) = (from..to).find(|i| key_of(lines[*i]) == Some((indent, *part))) else { return text.to_string() };
        let end = (at + 1..to).find(|i| key_of(lines[*i]).is_some_and(|(n, _)| n <= indent)).unwrap_or(to);
        // Blank lines and comments behind the block belong to what follows.
        let last = (at..end).rev().find(|i| key_of(lines[*i]).is_some()).unwrap_or(at);
        let alone = (from..to).filter(|i| key_of(lines[*i]).is_some_and(|(n, _)| n == indent)).count() == 1;
        cut = match cut {
            Some((above, _)) if alone => Some((above, last + 1)),
            _ => Some((at, last + 1)),
        };
        let deeper = lines[at + 1..end].iter().find_map(|line| key_of(line).map(|(n, _)| n).filter(|n| *n > indent)).unwrap_or(indent + 2);
        (from, to, indent) = (at + 1, end, deeper);
    }
    if let Some((begin, end)) = cut {
        lines.drain(begin..end);
    }
    lines.join("\n") + "\n"
}

const HEAD: &str = "# What differs on this machine; everything else is built in.\n";

fn is_empty(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

fn put(tree: &mut Value, path: &[&str], value: &Value) {
    let Some((first, rest)) = path.split_first() else { return *tree = value.clone() };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Some(map) = tree.as_object_mut() {
        put(map.entry((*first).to_string()).or_insert(Value::Null), rest, value);
    }
}

/// Lines of block style for a path and its value; JSON is YAML, so a value needs no other form.
fn block(path: &[&str], value: &Value, indent: usize) -> String {
    let pad = " ".repeat(indent);
    match path {
        [] => String::new(),
        [last] => text!("{pad}{last}: {value}\n"),
        [first, rest @ ..] => text!("{pad}{first}:\n{}", block(rest, value, indent + 2)),
    }
}

fn edited(text: &str, path: &[&str], value: &Value) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let (mut from, mut to, mut indent) = (0, lines.len(), 0);
    for (depth, part) in path.iter().enumerate() {
        let Some(at) = (from..to).find(|i| key_of(&lines[*i]) == Some((indent, *part))) else {
            // Behind the last line of the block that it belongs to, before the blank lines and comments that follow.
            let end = (from..to).rev().find(|i| key_of(&lines[*i]).is_some()).map_or(to, |i| i + 1);
            lines.insert(end, block(&path[depth..], value, indent).trim_end().to_string());
            break;
        };
        if depth + 1 == path.len() {
            let comment = lines[at].find(" #").map_or(String::new(), |i| format!("  {}", lines[at][i + 1..].trim_end()));
            lines[at] = text!("{}{part}: {value}{comment}", " ".repeat(indent));
            break;
        }
        let inside = |line: &String| key_of(line).map(|(n, _)| n).filter(|n| *n > indent);
        let end = (at + 1..to).find(|i| key_of(&lines[*i]).is_some_and(|(n, _)| n <= indent)).unwrap_or(to);
        let deeper = lines[at + 1..end].iter().find_map(inside).unwrap_or(indent + 2);
        (from, to, indent) = (at + 1, end, deeper);
    }
    lines.join("\n") + "\n"
}

/// Indentation and key of a line `key: value`.
fn key_of(line: &str) -> Option<(usize, &str)> {
    let body = line.trim_start();
    let (key, rest) = body.split_once(':')?;
    let plain = !body.starts_with('#') && !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c));
    (plain && (rest.is_empty() || rest.starts_with(' '))).then_some((line.len() - body.len(), key))
}

#[allow(clippy::disallowed_methods)] // a setting of this machine, not data on a drive
fn write(place: &std::path::Path, text: &str) -> Result<()> {
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(place, text).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::host::FakeHost;

    fn host(dir: &std::path::Path) -> Host {
        Host::fake(FakeHost { env: [("XDG_CONFIG_HOME".to_string(), dir.display().to_string())].into(), ..FakeHost::default() })
    }

    #[test]
    fn one_value_changes_and_every_comment_stays() {
        let text = "# mine\nloops:\n    # often enough\n    forward_minutes: 15   # was 5\n    maintenance: \"02:00\"\n\n# calls\ninflight:\n  default: 2\n";
        let with = |path: &[&str], value: Value| patched(text, path, &value).unwrap();
        assert_eq!(with(&["loops", "forward_minutes"], 30.into()), text.replace("15   # was 5", "30  # was 5"));
        assert_eq!(with(&["loops", "planner_hours"], 6.into()), text.replace("\"02:00\"\n", "\"02:00\"\n    planner_hours: 6\n"));
        assert_eq!(with(&["inflight", "alpaca"], 8.into()), format!("{text}  alpaca: 8\n"));
        assert_eq!(with(&["freeze_seconds", "fred"], 90.into()), format!("{text}freeze_seconds:\n  fred: 90\n"));
        assert_eq!(patched("", &["a", "b"], &1.into()).unwrap(), format!("{HEAD}a:\n  b: 1\n"));
    }

    #[test]
    fn what_was_set_is_taken_out_again() {
        let text = "# mine\nloops:\n    # often enough\n    forward_minutes: 15   # was 5\n    maintenance: \"02:00\"\n\n# calls\ninflight:\n  default: 2\n";
        assert_eq!(removed(text, &["loops", "maintenance"]).unwrap(), text.replace("    maintenance: \"02:00\"\n", ""));
        assert_eq!(removed(text, &["inflight", "default"]).unwrap(), text.replace("inflight:\n  default: 2\n", ""));
        assert!(removed(text, &["loops", "planner_hours"]).unwrap_err().is(code::USE_ARGUMENT));
        assert!(removed("inflight: {default: 2}\n", &["inflight", "default"]).is_err());
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path());
        set(&host, "edge.loops.maintenance", "03:00").unwrap();
        let back = unset(&host, "edge.loops.maintenance").unwrap().unwrap();
        assert_eq!((back.before, back.after), (Value::from("03:00"), Value::from("02:00")));
        assert!(set(&host, "edge.loops.maintenance", "25:99").unwrap_err().is(code::CFG_VALUE));
    }

    #[test]
    fn what_it_does_not_understand_it_refuses() {
        let braces = "inflight: {default: 2, tiingo: 4}\n";
        let error = patched(braces, &["inflight", "alpaca"], &8.into()).unwrap_err();
        assert!(error.is(code::CFG_PARSE) && error.body().fix[0].contains("inflight: alpaca: 8"), "{:?}", error.body());
        // Through an alias a change would reach two places.
        assert!(patched("a: &x\n  b: 1\nc: *x\n", &["c", "b"], &8.into()).is_err());
    }

    #[test]
    fn a_value_that_would_break_the_configuration_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path());
        let changed = set(&host, "edge.loops.forward_minutes", "30").unwrap().unwrap();
        assert_eq!((changed.before, changed.after), (Value::from(15), Value::from(30)));
        let good = std::fs::read_to_string(&changed.place).unwrap();
        for (key, value) in [("edge.loops.forward_minuets", "30"), ("edge.inflight.alpacca", "3"), ("edge.inflight.alpaca", "many")] {
            assert!(set(&host, key, value).is_err(), "{key}");
            assert_eq!(std::fs::read_to_string(&changed.place).unwrap(), good, "{key}");
        }
        assert!(set(&host, "EDGE_NODE_ID", "x").unwrap().is_none());
    }
}
