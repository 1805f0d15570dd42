//! Front ends for one question: a person at a terminal or on plain lines, an answers file, a test script.
//!
//! A person's conversation is written once ([`talk`]) and spoken through a face: [`plain`] lines, which are the reference,
//! or the keys and the list of a [`terminal`].

pub mod answers;
pub mod plain;
pub mod scripted;
pub mod talk;
pub mod terminal;
pub mod words;

use super::question::{Question, SecretSpec};
use data_layer::error::Result;
use serde_json::Value;

/// Where a question stands in its wizard: "step 4 of 11".
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub step: &'static str,
    pub title: &'static str,
    pub n: usize,
    pub of: usize,
    pub why: &'static str,
    /// All steps with their states, for `:steps`.
    pub outline: String,
    /// Where the step has several prompts: "key 2 of 7". Zeros where it has one.
    pub part: (usize, usize),
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

/// A review, already rendered in both lengths.
pub struct Sheet {
    pub whole: String,
    /// For a screen of so many columns that the whole does not fit.
    pub brief: Box<dyn Fn(usize) -> String>,
}

/// What a person may answer to a gate.
#[derive(Clone, Debug, PartialEq)]
pub enum GateReply {
    /// The words as typed; only the exact ones pass.
    Typed(String),
    Back,
    Pause,
    /// Nobody is there, or the input has ended: a refusal.
    Nobody,
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

/// A front end. Wizards cannot print or read except through one.
pub trait Prompter {
    /// Ask; the reply has passed `question.validate`.
    fn ask(&mut self, place: &Place, question: &Question) -> Result<Reply>;
    /// Ask for a secret. Never echoed, never journalled.
    fn ask_secret(&mut self, place: &Place, spec: &SecretSpec, have: Option<&str>) -> Result<SecretReply>;
    /// Show the review and take the verdict. `steps` may be changed.
    fn review(&mut self, place: &Place, sheet: &Sheet, steps: &[(String, String)]) -> Result<ReviewReply>;
    /// A typed confirmation. There is no default; end of input is a refusal.
    fn gate(&mut self, place: &Place, shown: &str, wanted: &str) -> Result<GateReply>;
    /// Whether a person can be asked.
    fn interactive(&self) -> bool;
}
