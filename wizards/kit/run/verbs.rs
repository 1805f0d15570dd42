//! The verbs of a runbook: what each does the first time, and what it does on resume.

use super::{ASKED, Gate, MISSING, Run, Turn, convert, paused};
use crate::kit::act::Act;
use crate::kit::journal::Event;
use crate::kit::paths;
use crate::kit::prompter::{GateReply, ReviewReply, Sheet};
use crate::kit::question::Question;
use crate::kit::review::Plan;
use crate::kit::step::Step;
use data_layer::error::{Error, Result, code};
use data_layer::store::{digest_of, sha256_hex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;

impl Run<'_> {
    /// A choice or a consent. Answered once; shown as answered on resume; on another machine only host-scope
    /// questions come again.
    pub fn ask<T: DeserializeOwned>(&mut self, step: &'static Step) -> Result<T> {
        let mut question = step.question()?;
        let place = self.enter(step)?;
        if let Some(done) = self.done(step)
            && let Some(value) = done.payload.get("value").and_then(|kept| paths::from_journal(&self.root, &question, kept))
            && question.validate(&value).is_ok()
            && self.given.flag(&question).is_none_or(|flag| flag == value)
        {
            self.given.mark_used(question.id);
            self.answered(step, &place, question.display(&value), done.payload["source"] == ASKED, true);
            return convert(value);
        }
        self.recall(step, &mut question)?;
        let (value, source) = match self.given.look_up(&self.host, &question) {
            Some((value, source)) => {
                question
                    .validate(&value)
                    .map_err(|why| Error::new(code::USE_ANSWER_INVALID, text!("'{}' is not acceptable: {why}", question.id)).cause(text!("from: {source}")))?;
                (value, source)
            }
            None => self.obtain(&place, &question)?,
        };
        let kept = if self.journal.is_some() { paths::for_journal(&self.root, &question, &value)? } else { value.clone() };
        // What nobody said is no answer: recorded, it would be one the next time.
        if source != MISSING {
            self.commit(step, Event::Done, "", &json!({"id": question.id, "value": kept, "source": source}))?;
            self.answered(step, &place, question.display(&value), source == ASKED, false);
        }
        convert(value)
    }

    /// What a flag or a file may say and nobody is asked for; not kept for the next time.
    pub fn given<T: DeserializeOwned>(&self, question: &Question) -> Result<T> {
        let value = match (self.given.look_up(&self.host, question), &question.default) {
            (Some((value, source)), _) => {
                let invalid = |why| Error::new(code::USE_ANSWER_INVALID, text!("'{}' is not acceptable: {why}", question.id)).cause(text!("from: {source}"));
                question.validate(&value).map_err(invalid)?;
                value
            }
            (None, Some((default, _))) => default.clone(),
            (None, None) => return Err(question.missing()),
        };
        convert(value)
    }

    /// A computation or a write. Replayed when done with the same inputs; run again when in doubt, so `f` is idempotent.
    pub fn act<T, I>(&mut self, step: &'static Step, inputs: &I, f: impl FnOnce(&Act<'_>) -> Result<T>) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        I: Serialize,
    {
        self.act_verified(step, inputs, |_, _| Ok(true), f)
    }

    /// [`Run::act`] whose result is checked against the world on every resume: `Ok(false)` makes it stale, and it runs again.
    pub fn act_verified<T, I>(
        &mut self,
        step: &'static Step,
        inputs: &I,
        verify: impl FnOnce(&Act<'_>, &T) -> Result<bool>,
        f: impl FnOnce(&Act<'_>) -> Result<T>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        I: Serialize,
    {
        let place = self.enter(step)?;
        self.questions_are_over()?;
        let inputs = digest_of(inputs)?;
        if let Some(done) = self.done(step).filter(|d| d.inputs_sha256 == inputs)
            && let Ok(value) = serde_json::from_value::<T>(done.payload.clone())
        {
            if verify(&self.context(step), &value)? {
                self.step_done(step, &place, "", true);
                return Ok(value);
            }
            self.report.event(
                "step.stale",
                &text!("  stale  [{}/{}] {}{}: the drive no longer agrees; doing it again", place.n, place.of, step.title, self.lap_words()),
                json!({"step": self.key(step.id)}),
            );
        }
        self.plan_only(step)?;
        self.commit(step, Event::Started, &inputs, &json!({}))?;
        self.report.event(
            "step.started",
            &text!("  ...    [{}/{}] {}{}{}", place.n, place.of, step.title, self.lap_words(), self.usually(step)),
            json!({"step": self.key(step.id), "n": place.n, "of": place.of, "usual_seconds": self.pace.get(step.id)}),
        );
        let value = f(&self.context(step))?;
        self.report.progress_done();
        self.commit(step, Event::Done, &inputs, &serde_json::to_value(&value)?)?;
        self.step_done(step, &place, "", false);
        Ok(value)
    }

    /// A gate over facts: judged again on every pass, so nothing can be computed from it.
    pub fn check(&mut self, step: &'static Step, f: impl FnOnce(&Act<'_>) -> Result<String>) -> Result<()> {
        let place = self.enter(step)?;
        self.questions_are_over()?;
        let evidence = f(&self.context(step))?;
        let payload = json!({"evidence": evidence});
        if self.done(step).is_none_or(|d| d.payload != payload) {
            self.commit(step, Event::Done, "", &payload)?;
        }
        self.step_done(step, &place, &evidence, false);
        Ok(())
    }

    /// An effect outside (orders). In doubt, `find` asks the outside by idempotency key before `place` is tried.
    pub fn send<T, I>(
        &mut self,
        step: &'static Step,
        inputs: &I,
        find: impl FnOnce(&Act<'_>) -> Result<Option<T>>,
        place_it: impl FnOnce(&Act<'_>) -> Result<T>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        I: Serialize,
    {
        let place = self.enter(step)?;
        self.questions_are_over()?;
        self.plan_only(step)?;
        let inputs = digest_of(inputs)?;
        let before = self.state_of(step).filter(|s| s.inputs_sha256 == inputs).cloned();
        if let Some(done) = before.as_ref().filter(|s| s.kind == Event::Done) {
            self.step_done(step, &place, "", true);
            return convert(done.payload.clone());
        }
        // Also after a mended journal, or where this run began long ago: asking is cheap, sending twice is not.
        let mended = self.journal.as_ref().map_or(Ok(false), |j| j.was_mended())?;
        let in_doubt = self.resumed || mended || before.is_some_and(|s| s.kind == Event::Started);
        let found = if in_doubt { find(&self.context(step))? } else { None };
        let value = match found {
            Some(value) => value,
            None => {
                self.commit(step, Event::Started, &inputs, &json!({}))?;
                place_it(&self.context(step))?
            }
        };
        self.report.progress_done();
        self.commit(step, Event::Done, &inputs, &serde_json::to_value(&value)?)?;
        self.step_done(step, &place, "", false);
        Ok(value)
    }

    /// Something that runs until it is stopped; entered again on resume.
    pub fn keep_running(&mut self, step: &'static Step, f: impl FnOnce(&Act<'_>) -> Result<()>) -> Result<()> {
        let place = self.enter(step)?;
        self.questions_are_over()?;
        self.plan_only(step)?;
        self.commit(step, Event::Started, "", &json!({}))?;
        self.report.event("step.started", &text!("  ...    [{}/{}] {}", place.n, place.of, step.title), json!({"step": step.id, "n": place.n, "of": place.of}));
        let result = f(&self.context(step));
        self.report.progress_done();
        result
    }

    /// The one screen before the first write. Accepted once for the same answers and the same plan.
    pub fn review(&mut self, step: &'static Step, plan: impl FnOnce(&Act<'_>) -> Result<Plan>) -> Result<()> {
        let place = self.enter(step)?;
        self.questions_are_over()?;
        let shown: Vec<(String, String)> = self.answers.iter().map(|a| (a.label.clone(), a.shown.clone())).collect();
        let inputs = digest_of(&self.answers.iter().map(|a| (&a.label, &a.sealed)).collect::<Vec<_>>())?;
        if self.done(step).is_some_and(|d| d.inputs_sha256 == inputs) {
            self.step_done(step, &place, "accepted", true);
            return Ok(());
        }
        let plan = plan(&self.context(step))?;
        let text = plan.render(&shown);
        let work: BTreeMap<&str, u64> = plan.work.iter().map(|(k, n)| (k.as_str(), *n)).collect();
        let event = json!({"answers": shown, "files": plan.files.iter().map(|f| &f.path).collect::<Vec<_>>(), "work": work, "notes": plan.sentences().collect::<Vec<_>>()});
        if self.manner.dry_run {
            self.report.event("review", &text, event);
            self.turn = Some(Turn::PlanShown);
            return Err(Error::bug("a shown plan is not an error"));
        }
        if !self.prompter.interactive() || self.manner.yes {
            self.report.event("review", &text, event);
            self.commit(step, Event::Done, &inputs, &json!({"accepted": true}))?;
            return Ok(());
        }
        let steps: Vec<(String, String)> = self.answers.iter().map(|a| (a.step.clone(), text!("{}: {}", a.label, a.shown))).collect();
        let sheet = Sheet { whole: text, brief: Box::new(move |width| plan.brief(&shown, width)) };
        match self.prompter.review(&place, &sheet, &steps)? {
            ReviewReply::Accept => self.commit(step, Event::Done, &inputs, &json!({"accepted": true})),
            ReviewReply::Change(step) => Err(self.turn_back_to(&step)),
            ReviewReply::Back => Err(self.back()),
            ReviewReply::Pause => Err(paused()),
        }
    }

    /// This time there is nothing for a gate or a send to do: recorded with the reason, and said.
    pub fn pass_by(&mut self, step: &'static Step, why: &str) -> Result<()> {
        let place = self.enter(step)?;
        self.questions_are_over()?;
        let payload = json!({"nothing": why});
        if self.done(step).is_none_or(|d| d.payload != payload) {
            self.commit(step, Event::Done, "", &payload)?;
        }
        self.step_done(step, &place, why, false);
        Ok(())
    }

    /// A typed confirmation. There is no default: end of input, another word or no terminal without a token refuse.
    pub fn gate(&mut self, step: &'static Step, gate: &Gate<'_>) -> Result<()> {
        let place = self.enter(step)?;
        self.questions_are_over()?;
        let shown_sha256 = sha256_hex(gate.shown.as_bytes());
        if self.done(step).is_some_and(|d| d.payload["shown_sha256"] == shown_sha256.as_str()) {
            self.step_done(step, &place, "confirmed before, nothing has changed", true);
            return Ok(());
        }
        let reply = match self.given.take_token(gate.token) {
            Some(token) => GateReply::Typed(token),
            None => self.prompter.gate(&place, gate.shown, gate.token)?,
        };
        match reply {
            GateReply::Typed(words) if words == gate.token => {}
            GateReply::Back => return Err(self.back()),
            GateReply::Pause => return Err(paused()),
            refused => {
                let nobody = refused == GateReply::Nobody;
                return Err(Error::new(code::GATE_REFUSED, "the confirmation was not given")
                    .cause(if nobody { "there was nobody to confirm" } else { "the typed words were not the ones asked for" })
                    .fix(format!("trademl {} --confirm \"{}\"", self.wizard.name, gate.token)));
            }
        }
        let payload = json!({
            "gate": step.id, "shown_sha256": shown_sha256, "token_sha256": sha256_hex(gate.token.as_bytes()),
            "account": gate.account, "trading_day": gate.trading_day,
        });
        self.commit(step, Event::Done, &shown_sha256, &payload)?;
        self.step_done(step, &place, "confirmed", false);
        Ok(())
    }
}
