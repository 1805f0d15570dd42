//! Three front ends for one question: a person at a terminal, an answers file, a test script.

pub mod answers;
pub mod plain;
pub mod scripted;
pub mod terminal;

use super::question::{Question, SecretSpec};
use data_layer::error::Result;
use serde_json::Value;

/// Where a question stands in its wizard: "step 4 of 11".
pub struct Place {
    pub step: &'static str,
    pub title: &'static str,
    pub n: usize,
    pub of: usize,
    pub why: &'static str,
}

/// What a person may answer to any question.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Value(Value),
    /// Esc, Shift-Tab or `:back`.
    Back,
    /// `:save`: keep everything and leave with exit 5.
    Pause,
}

/// What a person may answer to the review screen.
#[derive(Clone, Debug, PartialEq)]
pub enum ReviewReply {
    Accept,
    /// Change the answer of this step.
    Change(String),
    Back,
    Pause,
}

/// A front end. Wizards cannot print or read except through one.
pub trait Prompter {
    /// Ask; the reply has passed `question.validate`.
    fn ask(&mut self, place: &Place, question: &Question) -> Result<Reply>;
    /// Ask for a secret; `None` = skipped. Never echoed, never journalled.
    fn ask_secret(&mut self, place: &Place, spec: &SecretSpec, have: Option<&str>) -> Result<SecretReply>;
    /// Show the review (already rendered) and take the verdict. `steps` may be changed.
    fn review(&mut self, place: &Place, text: &str, steps: &[(String, String)]) -> Result<ReviewReply>;
    /// A typed confirmation: the text as typed. There is no default; end of input is a refusal.
    fn gate(&mut self, place: &Place, shown: &str, wanted: &str) -> Result<Option<String>>;
    /// Whether a person can be asked.
    fn interactive(&self) -> bool;
}

/// The answer to a secret question.
pub enum SecretReply {
    Set(secrecy::SecretString),
    /// Keep the stored one.
    Keep,
    Skip,
    Back,
    Pause,
}
