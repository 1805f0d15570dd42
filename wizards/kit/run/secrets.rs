//! The verb for keys: one prompt a key, each tried as soon as it can be.

use super::{Run, paused};
use crate::kit::journal::Event;
use crate::kit::prompter::{Place, SecretReply};
use crate::kit::question::SecretSpec;
use crate::kit::step::Step;
use data_layer::error::Result;
use secrecy::SecretString;
use serde_json::json;
use std::collections::BTreeMap;

/// Where this machine keeps keys, and who can say whether one works.
pub trait KeyRing {
    /// The masked key, if this machine holds one.
    fn have(&self, var: &str) -> Option<String>;
    /// Keep a key here.
    fn store(&mut self, var: &str, secret: &SecretString) -> Result<()>;
    /// Who would be asked about the key that `var` completes; `None` = nobody yet, or nobody at all.
    fn judge_of(&self, var: &str) -> Result<Option<String>>;
    /// Ask.
    fn try_out(&self, var: &str) -> Result<Tried>;
}

/// What came of trying a key that was just typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Tried {
    /// In the vendor's words, or ours.
    Works(String),
    /// The vendor's words, and the variable to begin again with.
    Rejected { words: String, first: &'static str },
    /// Nobody could be asked; the reason.
    Unknown(String),
}

impl Run<'_> {
    /// One screen for several keys. The ring keeps them on this machine; the journal learns only the variables' names.
    pub fn ask_secrets(&mut self, step: &'static Step, ring: &mut dyn KeyRing) -> Result<()> {
        let specs = step.keys();
        let place = self.enter(step)?;
        let known = self.done(step).is_some() && specs.iter().all(|s| !s.required || ring.have(s.var).is_some());
        let mut by_person = false;
        if !known {
            // Practice brings its own keys; what could be done without is not asked for.
            let wanted: Vec<&SecretSpec> = specs.iter().filter(|s| s.required || !self.root.is_world()).collect();
            let mut set = BTreeMap::new();
            let mut at = 0;
            while let Some(spec) = wanted.get(at) {
                at += 1;
                let (reply, typed) = self.secret(&Place { part: (at, wanted.len()), ..place.clone() }, spec, ring)?;
                by_person |= typed;
                match reply {
                    SecretReply::Set(_) if self.manner.dry_run => drop(set.insert(spec.var, "set")),
                    SecretReply::Set(secret) => {
                        ring.store(spec.var, &secret)?;
                        set.insert(spec.var, "set");
                        let again = if typed { self.tried(spec.var, ring)? } else { None };
                        at = again.and_then(|first| wanted.iter().position(|s| s.var == first)).unwrap_or(at);
                    }
                    SecretReply::Keep => drop(set.entry(spec.var).or_insert("kept")),
                    SecretReply::Skip => drop(set.insert(spec.var, "skipped")),
                    SecretReply::Back => return Err(self.back()),
                    SecretReply::Pause => return Err(paused()),
                }
            }
            self.commit(step, Event::Done, "", &json!({"vars": set}))?;
        }
        let shown: Vec<String> = specs.iter().filter_map(|s| ring.have(s.var).map(|masked| text!("{} {masked}", s.var))).collect();
        let shown = match shown.is_empty() {
            _ if self.root.is_world() => "the practice world's own".to_string(),
            true => term!("none").to_string(),
            false => shown.join(", "),
        };
        specs.iter().for_each(|s| self.given.mark_used(&s.id()));
        self.answered(step, &place, shown, by_person, known);
        Ok(())
    }

    /// One key from a flag, a file, the environment or a person, and whether a person gave it.
    fn secret(&mut self, place: &Place, spec: &SecretSpec, ring: &dyn KeyRing) -> Result<(SecretReply, bool)> {
        let have = ring.have(spec.var);
        if let Some(reply) = self.given.secret(&self.host, spec)? {
            return Ok((reply, false));
        }
        // With nobody to ask, what can be done without is as it was.
        if !spec.required && (self.manner.yes || !self.prompter.interactive()) {
            return Ok((if have.is_some() { SecretReply::Keep } else { SecretReply::Skip }, false));
        }
        Ok((self.prompter.ask_secret(place, spec, have.as_deref())?, true))
    }

    /// Try a key that was typed, and say what came of it; the variable to ask for again when it was rejected. A vendor that
    /// cannot be asked is no reason to stop: the key is kept, and tried again after the review and by `doctor`.
    fn tried(&self, var: &str, ring: &dyn KeyRing) -> Result<Option<&'static str>> {
        let Some(judge) = ring.judge_of(var)? else { return Ok(None) };
        if self.host.is_offline() {
            self.report.note("  not tried: --offline");
            return Ok(None);
        }
        self.report.note(&text!("  asking {judge} whether it works"));
        match ring.try_out(var)? {
            Tried::Works(words) => self.report.note(&text!("  {judge}: {words}")),
            Tried::Unknown(why) => self.report.note(&text!("  {judge} could not be asked ({why}); saved unchecked, and tried again later")),
            Tried::Rejected { words, first } => {
                self.report.note(&text!("  {judge} REJECTED it ({words}); type it again, or press Enter to keep it as it is"));
                return Ok(Some(first));
            }
        }
        Ok(None)
    }
}
