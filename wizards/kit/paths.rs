//! Answers that are paths. A path belongs to a machine, so the journal on the drive learns only the file's name; the path
//! itself is kept on this machine, in `$XDG_STATE_HOME/trademl/paths.json`.

use super::question::{Kind, Question};
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::DataRoot;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn memory(host: &Host) -> PathBuf {
    host.state_dir().join("paths.json")
}

fn known(host: &Host) -> BTreeMap<String, String> {
    std::fs::read(memory(host)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn key(root: &DataRoot, question: &str) -> String {
    format!("{} {question}", root.drive().drive_id)
}

/// What the journal may hold of an answer: a path becomes its last part, and is remembered here.
pub fn for_journal(root: &DataRoot, question: &Question, value: &Value) -> Result<Value> {
    let (Kind::Path, Some(path)) = (&question.kind, value.as_str()) else { return Ok(value.clone()) };
    let host = root.host();
    let mut all = known(host);
    let absolute = host.cwd().join(path).display().to_string();
    if all.insert(key(root, question.id), absolute.clone()).as_ref() != Some(&absolute) {
        data_layer::disk::replace(host, &memory(host), &serde_json::to_vec_pretty(&all)?)?;
    }
    Ok(Value::from(name_of(path)))
}

/// The answer that a journalled value stands for, on this machine; `None` where this machine never heard of it.
pub fn from_journal(root: &DataRoot, question: &Question, value: &Value) -> Option<Value> {
    let (Kind::Path, Some(name)) = (&question.kind, value.as_str()) else { return Some(value.clone()) };
    known(root.host()).remove(&key(root, question.id)).filter(|path| name_of(path) == name).map(Value::from)
}

/// The last part of a path.
pub fn name_of(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_string(), |n| n.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::host::FakeHost;
    use data_layer::root::FsFacts;

    #[test]
    fn a_path_stays_on_its_machine() {
        let dir = tempfile::tempdir().unwrap();
        let mut fake = FakeHost::default();
        fake.env.insert("XDG_STATE_HOME".into(), dir.path().join("here").display().to_string());
        let root = DataRoot::create(&Host::fake(fake), &dir.path().join("drive"), "real", FsFacts::default(), None).unwrap();
        let question = Question::path("universe.file", "Which file?");
        let kept = for_journal(&root, &question, &Value::from("/home/me/list.txt")).unwrap();
        assert_eq!(kept, "list.txt");
        assert_eq!(from_journal(&root, &question, &kept).unwrap(), "/home/me/list.txt");
        let mut other = FakeHost::default();
        other.env.insert("XDG_STATE_HOME".into(), dir.path().join("there").display().to_string());
        let elsewhere = DataRoot::open(&Host::fake(other), root.base()).unwrap();
        assert_eq!(from_journal(&elsewhere, &question, &kept), None);
    }
}
