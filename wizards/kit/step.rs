//! A step of a runbook: a name, a sentence that says why it exists, and the scope that decides what survives a move.

use super::prompter::Place;
use super::question::{Question, SecretSpec};
use data_layer::error::{Error, Result};
use serde::Serialize;

/// What a finished step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Stays done when the drive moves to another machine.
    Drive,
    /// Belongs to one machine and is asked again on another.
    Host,
    /// Belongs to an account; verified again on every resume.
    Account,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drive => "drive",
            Self::Host => "host",
            Self::Account => "account",
        }
    }
}

/// What a step does, as the runbook pages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Ask,
    Act,
    Check,
    Review,
    Gate,
    Send,
    KeepRunning,
}

/// What a step wants to know. The words are data, so that `--questions` and the front ends speak of the same thing.
#[derive(Clone, Copy, Debug)]
pub enum Asks {
    Nothing,
    Question(fn() -> Question),
    Secrets(&'static [SecretSpec]),
    /// Typed words that follow this form; there is no default and `--yes` does not give them.
    Token(&'static str),
}

/// One row of a wizard's table. `id` is stable: journals, answers files and scripts refer to it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Step {
    pub id: &'static str,
    pub verb: Verb,
    pub scope: Scope,
    pub title: &'static str,
    /// One sentence: why this step exists.
    pub why: &'static str,
    #[serde(skip)]
    pub asks: Asks,
}

impl Step {
    /// A step that asks nothing.
    pub const fn new(id: &'static str, verb: Verb, scope: Scope, title: &'static str, why: &'static str) -> Self {
        Self { id, verb, scope, title, why, asks: Asks::Nothing }
    }
    /// A question.
    pub const fn ask(id: &'static str, scope: Scope, title: &'static str, why: &'static str, question: fn() -> Question) -> Self {
        Self { id, verb: Verb::Ask, scope, title, why, asks: Asks::Question(question) }
    }
    /// One screen for several keys, which stay on this machine.
    pub const fn secrets(id: &'static str, title: &'static str, why: &'static str, keys: &'static [SecretSpec]) -> Self {
        Self { id, verb: Verb::Ask, scope: Scope::Host, title, why, asks: Asks::Secrets(keys) }
    }
    /// A typed confirmation of the form `token`.
    pub const fn gate(id: &'static str, title: &'static str, why: &'static str, token: &'static str) -> Self {
        Self { id, verb: Verb::Gate, scope: Scope::Account, title, why, asks: Asks::Token(token) }
    }
    /// Whether it is settled before there is a journal: which drive, and of which market.
    pub fn before_the_run(&self) -> bool {
        matches!(self.id, "storage-root" | "market-world")
    }
    /// This step's question.
    pub fn question(&self) -> Result<Question> {
        match self.asks {
            Asks::Question(make) => Ok(make()),
            _ => Err(Error::bug(text!("the step '{}' asks no question", self.id))),
        }
    }
    /// The keys that this step asks for.
    pub fn keys(&self) -> &'static [SecretSpec] {
        if let Asks::Secrets(keys) = self.asks { keys } else { &[] }
    }
}

/// A step as the journal names it, taken apart: the step's id, and the lap (`cross-validate@equities_xs_rank`) if it has one.
pub fn split_lap(recorded: &str) -> (&str, Option<&str>) {
    recorded.split_once('@').map_or((recorded, None), |(id, lap)| (id, Some(lap)))
}

/// A wizard: its name, one line of purpose, its table of steps.
#[derive(Clone, Copy, Debug)]
pub struct Wizard {
    pub name: &'static str,
    pub purpose: &'static str,
    pub steps: &'static [Step],
    /// Seconds that steps take on the practice drive with two cores; the shorter ones are left out.
    pub usually: &'static [(&'static str, u32)],
}

impl Wizard {
    /// 1-based position of a step in the table; 0 when it is not in it.
    pub fn position(&self, id: &str) -> usize {
        self.steps.iter().position(|s| s.id == id).map_or(0, |i| i + 1)
    }
    /// Where a step stands: "step 4 of 11".
    pub fn place(&self, step: &Step) -> Place {
        Place { step: step.id, title: step.title, n: self.position(step.id), of: self.steps.len(), why: step.why, ..Place::default() }
    }
}
