//! Nobody to ask: what the answers file, flags and environment did not say is missing, by name.
//!
//! Also the reader of answers files (`docs/answers.md`): YAML or JSON, versioned, unknown keys refused.

use super::{GateReply, Place, Prompter, Reply, ReviewReply, SecretReply, Sheet};
use crate::kit::question::{Question, SecretSpec};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use serde::Deserialize;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    wizard: Option<String>,
    #[serde(default)]
    answers: BTreeMap<String, Value>,
    #[serde(default)]
    confirm: Vec<String>,
    #[serde(default)]
    wizards: BTreeMap<String, Section>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
struct Section {
    #[serde(default)]
    answers: BTreeMap<String, Value>,
    #[serde(default)]
    confirm: Vec<String>,
}

/// Answers given before the questions: flags over the environment over the file.
#[derive(Default, Debug)]
pub struct Given {
    flags: BTreeMap<String, Value>,
    file: BTreeMap<String, Value>,
    /// Confirmation tokens, each used at most once.
    tokens: RefCell<Vec<String>>,
    used: RefCell<BTreeSet<String>>,
}

impl Given {
    /// Merge `--set id=value` flags, `--confirm` tokens and the wizard's section of an answers file.
    pub fn new(wizard: &str, text: Option<&str>, sets: &[String], confirms: &[String]) -> Result<Self> {
        let mut given = Self::default();
        if let Some(text) = text {
            let section = parse(text, wizard)?;
            given.file = section.answers;
            given.tokens.borrow_mut().extend(section.confirm);
        }
        for set in sets {
            let (id, value) = set.split_once('=').ok_or_else(|| {
                Error::new(code::USE_ARGUMENT, format!("--set {set} is not of the form id=value")).fix(format!("trademl {wizard} --questions"))
            })?;
            let value = serde_yaml::from_str::<Value>(value).ok().filter(|v| v.is_boolean() || v.is_i64()).unwrap_or_else(|| Value::from(value));
            given.flags.insert(id.to_string(), value);
        }
        given.tokens.borrow_mut().extend(confirms.iter().cloned());
        Ok(given)
    }

    /// The answer to `id`, if one was given, and where it came from.
    pub fn look_up(&self, host: &Host, question: &Question) -> Option<(Value, String)> {
        let id = question.id;
        if let Some(value) = self.flags.get(id) {
            self.used.borrow_mut().insert(id.to_string());
            return Some((question.said(value), "--set".into()));
        }
        if let Some((name, text)) = question.env.and_then(|name| host.env(name).map(|text| (name, text))) {
            let value = question.parse(text).unwrap_or_else(|_| Value::from(text));
            return Some((value, name.to_string()));
        }
        let value = self.file.get(id)?;
        self.used.borrow_mut().insert(id.to_string());
        Some((question.said(value), "answers file".into()))
    }

    /// A secret's value from `{from: env:NAME}`, `{from: file:PATH}` or the word `skip`; `None` when not given.
    pub fn secret(&self, host: &Host, spec: &SecretSpec) -> Result<Option<SecretReply>> {
        let id = spec.id();
        if let Some(value) = self.flags.get(&id).or_else(|| self.file.get(&id)) {
            self.used.borrow_mut().insert(id.clone());
            return resolve_secret(host, &id, value).map(Some);
        }
        Ok(host.env(spec.var).map(|v| SecretReply::Set(v.to_string().into())))
    }

    /// A `--set` flag, which may change an answer that the run already holds.
    pub fn flag(&self, question: &Question) -> Option<Value> {
        self.flags.get(question.id).map(|value| question.said(value))
    }

    /// The run already holds this answer: the given one is not a stray key.
    pub fn mark_used(&self, id: &str) {
        self.used.borrow_mut().insert(id.to_string());
    }

    /// Take the first unused token that equals `wanted`.
    pub fn take_token(&self, wanted: &str) -> Option<String> {
        let mut tokens = self.tokens.borrow_mut();
        let at = tokens.iter().position(|t| t == wanted)?;
        Some(tokens.remove(at))
    }

    /// Answers to questions that the wizard never asks, named before anything is made; a near miss names what was meant.
    pub fn refuse_unknown(&self, wizard: &str, known: &BTreeSet<String>) -> Result<()> {
        let Some(id) = self.file.keys().chain(self.flags.keys()).find(|id| !known.contains(*id)) else { return Ok(()) };
        let likeness = |other: &&String| similar::TextDiff::from_chars(id.as_str(), other.as_str()).ratio();
        let near = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|other| likeness(other) > 0.7);
        let error = Error::new(code::USE_ANSWER_UNUSED, text!("'{id}' is no question of {wizard}"));
        let error = if let Some(near) = near { error.found(text!("the nearest is '{near}'")) } else { error };
        Err(error.fix(format!("trademl {wizard} --questions")))
    }

    /// Keys of the answers that no question asked for; an error names them.
    pub fn refuse_unused(&self, wizard: &str) -> Result<()> {
        let used = self.used.borrow();
        let unused: Vec<&str> = self.file.keys().chain(self.flags.keys()).map(String::as_str).filter(|k| !used.contains(*k)).collect();
        if unused.is_empty() {
            return Ok(());
        }
        Err(Error::new(code::USE_ANSWER_UNUSED, text!("these answers belong to no question of {wizard}: {}", unused.join(", ")))
            .fix(format!("trademl {wizard} --questions")))
    }
}

fn parse(text: &str, wizard: &str) -> Result<Section> {
    // JSON is nearly YAML, but YAML refuses the tabs that JSON may be indented with.
    let parsed = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|e| e.to_string()),
        false => serde_yaml::from_str(text).map_err(|e| e.to_string()),
    };
    let file: File = parsed.map_err(|why| {
        Error::new(code::CFG_PARSE, "the answers file cannot be read").cause(why).fix("its form is: version: 1, wizard: NAME, answers: {id: value}")
    })?;
    if file.version != 1 {
        return Err(Error::new(code::CFG_VALUE, text!("the answers file has version {}, this program knows version 1", file.version)));
    }
    if let Some(name) = file.wizard.as_deref() {
        if name != wizard {
            return Err(Error::new(code::USE_ANSWER_INVALID, text!("the answers file is for {name}, not for {wizard}")));
        }
        return Ok(Section { answers: file.answers, confirm: file.confirm });
    }
    file.wizards.get(wizard).cloned().ok_or_else(|| {
        Error::new(code::USE_ANSWER_MISSING, text!("the answers file has nothing for {wizard}")).fix(text!("add a line below wizards: {wizard}: {{}}"))
    })
}

fn resolve_secret(host: &Host, id: &str, value: &Value) -> Result<SecretReply> {
    let bad = || {
        Error::new(code::USE_ANSWER_INVALID, text!("'{id}' must be 'skip' or {{from: env:NAME}} or {{from: file:PATH}}; keys are never written into answers"))
    };
    if value.as_str() == Some("skip") {
        return Ok(SecretReply::Skip);
    }
    let from = value.get("from").and_then(Value::as_str).ok_or_else(bad)?;
    let text = match from.split_once(':') {
        Some(("env", name)) => {
            host.env(name).map(str::to_string).ok_or_else(|| Error::new(code::KEY_MISSING, text!("{name} is not set in the environment")))?
        }
        Some(("file", path)) => crate::kit::read_text(std::path::Path::new(path))?.trim().to_string(),
        _ => return Err(bad()),
    };
    Ok(SecretReply::Set(text.into()))
}

/// The front end of a scheduler.
pub struct Answers;

impl Prompter for Answers {
    fn ask(&mut self, _: &Place, question: &Question) -> Result<Reply> {
        Err(question.missing())
    }
    fn ask_secret(&mut self, _: &Place, spec: &SecretSpec, have: Option<&str>) -> Result<SecretReply> {
        match (have, spec.required) {
            (Some(_), _) => Ok(SecretReply::Keep),
            (None, false) => Ok(SecretReply::Skip),
            (None, true) => Err(Error::new(code::KEY_MISSING, text!("{} is needed", spec.var)).cause(spec.without).fix(text!(
                "set {} in the environment, or keys.{}: {{from: file:PATH}} in the answers file",
                spec.var,
                spec.var.to_ascii_lowercase()
            ))),
        }
    }
    fn review(&mut self, _: &Place, _: &Sheet, _: &[(String, String)]) -> Result<ReviewReply> {
        Ok(ReviewReply::Accept)
    }
    fn gate(&mut self, _: &Place, _: &str, _: &str) -> Result<GateReply> {
        Ok(GateReply::Nobody)
    }
    fn interactive(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::host::FakeHost;

    #[test]
    fn flags_beat_environment_beat_file() {
        let mut fake = FakeHost::default();
        fake.env.insert("EDGE_NODE_ID".into(), "from-env".into());
        let host = Host::fake(fake);
        let text = "version: 1\nwizard: w\nanswers: {node.id: from-file, a.b: x}\n";
        let question = Question::text("node.id", "?").env("EDGE_NODE_ID");
        let given = Given::new("w", Some(text), &[], &[]).unwrap();
        assert_eq!(given.look_up(&host, &question).unwrap().0, Value::from("from-env"));
        let given = Given::new("w", Some(text), &["node.id=from-flag".into()], &[]).unwrap();
        assert_eq!(given.look_up(&host, &question).unwrap().0, Value::from("from-flag"));
        assert!(given.refuse_unused("w").unwrap_err().to_string().contains("a.b"));
    }

    #[test]
    fn a_token_is_used_once() {
        let given = Given::new("w", None, &[], &["PAPER A 2017-12-01".into()]).unwrap();
        assert!(given.take_token("PAPER A 2017-12-04").is_none());
        assert!(given.take_token("PAPER A 2017-12-01").is_some());
        assert!(given.take_token("PAPER A 2017-12-01").is_none());
    }

    #[test]
    fn unknown_keys_and_other_versions_are_refused() {
        assert!(Given::new("w", Some("version: 1\nwizard: w\nanswer: {}\n"), &[], &[]).is_err());
        assert!(Given::new("w", Some("version: 2\nwizard: w\n"), &[], &[]).is_err());
        assert!(Given::new("w", Some("version: 1\nwizard: other\n"), &[], &[]).is_err());
    }
}
