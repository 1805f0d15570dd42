//! A step of a runbook: a name, a sentence that says why it exists, and the scope that decides what survives a move.

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

/// One row of a wizard's table. `id` is stable: journals, answers files and scripts refer to it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Step {
    pub id: &'static str,
    pub verb: Verb,
    pub scope: Scope,
    pub title: &'static str,
    /// One sentence: why this step exists.
    pub why: &'static str,
}

impl Step {
    pub const fn new(id: &'static str, verb: Verb, scope: Scope, title: &'static str, why: &'static str) -> Self {
        Self { id, verb, scope, title, why }
    }
}

/// A wizard: its name, one line of purpose, its table of steps.
#[derive(Clone, Copy, Debug)]
pub struct Wizard {
    pub name: &'static str,
    pub purpose: &'static str,
    pub steps: &'static [Step],
}

impl Wizard {
    /// 1-based position of a step in the table; 0 when it is not in it.
    pub fn position(&self, id: &str) -> usize {
        self.steps.iter().position(|s| s.id == id).map_or(0, |i| i + 1)
    }
}
