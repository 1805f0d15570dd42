//! Answers keyed by step id, for tests: a wizard runs in process as a person would drive it.

use super::{GateReply, Place, Prompter, Reply, ReviewReply, SecretReply, Sheet};
use crate::kit::question::{Question, SecretSpec};
use data_layer::error::{Error, Result, code};
use std::collections::{BTreeMap, VecDeque};

/// A queue of replies per step. A step without one takes the question's default.
#[derive(Default)]
pub struct Scripted {
    replies: BTreeMap<String, VecDeque<Reply>>,
    reviews: VecDeque<ReviewReply>,
    gates: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    /// Every step that was really asked, in order.
    pub asked: Vec<String>,
    /// What the review and the gates showed.
    pub shown: Vec<String>,
}

impl Scripted {
    #[must_use]
    pub fn answer(mut self, step: &str, value: impl Into<serde_json::Value>) -> Self {
        self.replies.entry(step.to_string()).or_default().push_back(Reply::Value(value.into()));
        self
    }
    #[must_use]
    pub fn reply(mut self, step: &str, reply: Reply) -> Self {
        self.replies.entry(step.to_string()).or_default().push_back(reply);
        self
    }
    #[must_use]
    pub fn review_reply(mut self, reply: ReviewReply) -> Self {
        self.reviews.push_back(reply);
        self
    }
    #[must_use]
    pub fn gate_text(mut self, step: &str, text: &str) -> Self {
        self.gates.insert(step.to_string(), text.to_string());
        self
    }
    #[must_use]
    pub fn secret(mut self, var: &str, value: &str) -> Self {
        self.secrets.insert(var.to_string(), value.to_string());
        self
    }
}

impl Prompter for Scripted {
    fn ask(&mut self, place: &Place, question: &Question) -> Result<Reply> {
        self.asked.push(place.step.to_string());
        let scripted = self.replies.get_mut(place.step).and_then(VecDeque::pop_front);
        let reply = scripted.or_else(|| question.default.as_ref().map(|(v, _)| Reply::Value(v.clone()))).ok_or_else(|| question.missing())?;
        if let Reply::Value(value) = &reply {
            question.validate(value).map_err(|why| Error::new(code::USE_ANSWER_INVALID, text!("{}: {why}", question.id)))?;
        }
        Ok(reply)
    }
    fn ask_secret(&mut self, place: &Place, spec: &SecretSpec, have: Option<&str>) -> Result<SecretReply> {
        self.asked.push(format!("{}:{}", place.step, spec.var));
        Ok(match (self.secrets.get(spec.var), have) {
            (Some(value), _) => SecretReply::Set(value.clone().into()),
            (None, Some(_)) => SecretReply::Keep,
            (None, None) => SecretReply::Skip,
        })
    }
    fn review(&mut self, place: &Place, sheet: &Sheet, _: &[(String, String)]) -> Result<ReviewReply> {
        self.asked.push(place.step.to_string());
        self.shown.push(sheet.whole.clone());
        Ok(self.reviews.pop_front().unwrap_or(ReviewReply::Accept))
    }
    fn gate(&mut self, place: &Place, shown: &str, _: &str) -> Result<GateReply> {
        self.asked.push(place.step.to_string());
        self.shown.push(shown.to_string());
        Ok(self.gates.get(place.step).map_or(GateReply::Nobody, |text| GateReply::Typed(text.clone())))
    }
    fn interactive(&self) -> bool {
        true
    }
}
