//! A wizard run: straight-line Rust over a table of steps, resumable at any instant.
//!
//! The wizard's body is a function that is executed from the top each time: on a fresh start, after a crash, after
//! "back" and after "change an answer". What the journal already holds is replayed; the rest is asked or done. State is
//! therefore never anything but the fold of the journal.

use super::act::Act;
use super::journal::{Entry, Event, Journal, Record};
use super::paths;
use super::prompter::answers::Given;
use super::prompter::{Place, Prompter, Reply};
use super::question::{Kind, Question};
use super::report::Reporter;
use super::step::{Scope, Step, Wizard};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod laps;
pub mod pace;
pub mod resume;
mod secrets;
mod verbs;

pub use secrets::{KeyRing, Tried};

/// What a finished wizard hands back for the closing lines.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One line for the person.
    pub summary: String,
    /// Runnable commands and when to use them.
    pub next: Vec<(String, String)>,
    /// Reports and pages: name, path relative to the drive.
    pub links: Vec<(String, String)>,
    /// Exit 3 although everything was done: the recorded verdict is a refusal.
    pub refused: bool,
    /// The person went back behind the first question: this drive, made by this very call, is not the one.
    pub other_drive: bool,
}

/// How a run is allowed to behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Accept every default (never a gate).
    pub yes: bool,
    /// Show the plan and write nothing.
    pub dry_run: bool,
    /// This very call made the drive: it can be left by going back from the first question.
    pub fresh: bool,
}

/// The newest word of the journal about a step.
#[derive(Clone)]
struct StepState {
    kind: Event,
    visit: i64,
    payload: Value,
    inputs_sha256: String,
    machine_id: String,
}

/// The source of an answer that a person typed.
const ASKED: &str = "asked";
/// The source of a default that nobody accepted: the pass goes on only to name everything else that is missing.
const MISSING: &str = "missing";

/// An answer as the review shows it.
struct Answered {
    step: String,
    label: String,
    shown: String,
    /// The same as the journal may hold it: of a path only the name.
    sealed: String,
    /// A person typed it: going back stops here.
    by_person: bool,
}

/// Why a body stopped early without an error.
enum Turn {
    /// Un-answer this step and start again from the top.
    Rewind(String),
    /// `--dry-run` has shown its plan.
    PlanShown,
    /// Back behind the first question.
    OtherDrive,
}

/// A typed confirmation to be asked for: nothing but the exact `token` passes.
pub struct Gate<'a> {
    pub account: &'a str,
    pub trading_day: &'a str,
    /// Exactly what the person is shown; its digest is recorded.
    pub shown: &'a str,
    pub token: &'a str,
}

/// One run of one wizard.
pub struct Run<'a> {
    host: Host,
    root: DataRoot,
    journal: Option<Journal>,
    wizard: &'static Wizard,
    id: String,
    state: BTreeMap<String, StepState>,
    given: &'a Given,
    prompter: &'a mut dyn Prompter,
    report: &'a Reporter,
    manner: Manner,
    /// In the order of this pass.
    answers: Vec<Answered>,
    /// Questions without an answer and without anybody to ask, taken by default so that all can be named at once.
    missing: Vec<Error>,
    turn: Option<Turn>,
    current: Option<&'static Step>,
    /// The thing, out of several, that a part of the runbook is done for now.
    lap: Option<String>,
    /// The journal held this run already.
    resumed: bool,
    /// How long steps usually take here.
    pace: pace::Pace,
}

/// What a run is made of.
pub struct Parts<'a> {
    pub host: Host,
    pub root: DataRoot,
    /// `None` only for a dry run.
    pub journal: Option<Journal>,
    pub wizard: &'static Wizard,
    pub given: &'a Given,
    pub prompter: &'a mut dyn Prompter,
    pub report: &'a Reporter,
    pub manner: Manner,
    /// A caller's own name for this run (`demo 2017-12-01`), so that it can see what is already finished.
    pub tag: Option<String>,
}

impl<'a> Run<'a> {
    /// Continue the wizard's open run on this drive, or begin one.
    pub fn begin(parts: Parts<'a>) -> Result<Self> {
        let Parts { host, root, journal, wizard, given, prompter, report, manner, tag } = parts;
        let open = journal.as_ref().map(|j| j.open_run(wizard.name)).transpose()?.flatten();
        let resumed = open.is_some();
        let id = open.unwrap_or_else(|| ulid_now(&host));
        report.set_run(&id);
        let mut run = Self {
            host,
            root,
            journal,
            wizard,
            id,
            state: BTreeMap::new(),
            given,
            prompter,
            report,
            manner,
            answers: Vec::new(),
            missing: Vec::new(),
            turn: None,
            current: None,
            lap: None,
            resumed: false,
            pace: pace::Pace::new(),
        };
        run.pace = run.learn_pace()?;
        if resumed {
            run.fold()?;
        } else {
            let payload = json!({"version": env!("CARGO_PKG_VERSION"), "dataset": run.root.drive().dataset, "tag": tag});
            run.append("", 0, Event::Opened, Scope::Drive, "", &payload)?;
        }
        run.resumed = resumed;
        Ok(run)
    }

    /// Execute the body until it ends, rewinding as often as the person asks.
    pub fn drive(mut self, body: impl Fn(&mut Self) -> Result<Outcome>) -> Result<Outcome> {
        let mut announced = self.announce(self.resumed);
        loop {
            self.answers.clear();
            (self.current, self.lap) = (None, None);
            let result = std::mem::replace(&mut announced, Ok(())).and_then(|()| body(&mut self));
            match (self.turn.take(), result) {
                (Some(Turn::PlanShown), _) => return Ok(Outcome { summary: "dry run: nothing was written".into(), ..Outcome::default() }),
                (Some(Turn::OtherDrive), _) => return Ok(Outcome { other_drive: true, ..Outcome::default() }),
                (Some(Turn::Rewind(step)), _) => self.rewind(&step)?,
                (None, Ok(outcome)) => {
                    self.given.refuse_unused(self.wizard.name)?;
                    self.append("", 0, Event::Closed, Scope::Drive, "", &json!({"summary": outcome.summary, "refused": outcome.refused}))?;
                    return Ok(outcome);
                }
                (None, Err(error)) => {
                    self.record_failure(&error)?;
                    return Err(error);
                }
            }
        }
    }

    // --- what bodies may look at ------------------------------------------------------------------------------------

    pub fn host(&self) -> &Host {
        &self.host
    }
    pub fn root(&self) -> &DataRoot {
        &self.root
    }
    pub fn id(&self) -> &str {
        &self.id
    }
    pub fn report(&self) -> &Reporter {
        self.report
    }
    /// Whether this run may ask a person (and draw a dashboard).
    pub fn interactive(&self) -> bool {
        self.prompter.interactive() && !self.manner.yes
    }

    // --- plumbing ---------------------------------------------------------------------------------------------------

    fn context(&self, step: &'static Step) -> Act<'_> {
        Act { host: &self.host, root: &self.root, report: self.report, step: step.id, run: &self.id }
    }

    fn enter(&mut self, step: &'static Step) -> Result<Place> {
        self.host.check_cancelled()?;
        self.explain_gap(step);
        self.current = Some(step);
        Ok(Place { outline: self.outline(step), ..self.wizard.place(step) })
    }

    /// A number that is jumped over is said to be: the runbook took another way.
    fn explain_gap(&self, step: &Step) {
        let to = self.wizard.position(step.id);
        let from = self.current.map_or(0, |s| self.wizard.position(s.id));
        for (i, skipped) in self.wizard.steps.iter().enumerate().take(to.saturating_sub(1)).skip(from).filter(|(_, s)| !s.before_the_run()) {
            self.report.event(
                "step.skipped",
                &text!("  --     [{}/{}] {}: not needed here", i + 1, self.wizard.steps.len(), skipped.title),
                json!({"step": skipped.id, "n": i + 1, "of": self.wizard.steps.len()}),
            );
        }
    }

    /// All steps and how far each is, for `:steps`.
    fn outline(&self, here: &Step) -> String {
        let at = self.wizard.position(here.id);
        let mut out = text!("  {}: {} steps", self.wizard.name, self.wizard.steps.len());
        for (i, step) in self.wizard.steps.iter().enumerate() {
            let answer = self.answers.iter().find(|a| a.step == step.id).map_or(String::new(), |a| text!(": {}", a.shown));
            let mark = match i + 1 {
                n if n == at => term!("here"),
                n if n > at => "    ",
                _ if self.done(step).is_some() || step.before_the_run() => term!("done"),
                _ => "--",
            };
            out.push_str(&text!("\n  {mark:<4} {:>2} {}{answer}{}", i + 1, step.title, self.usually(step)));
        }
        out
    }

    /// The step's finished record, if it counts here: host steps only on the machine that did them.
    fn done(&self, step: &Step) -> Option<StepState> {
        let state = self.state_of(step).filter(|s| s.kind == Event::Done)?;
        let here = step.scope != Scope::Host || state.machine_id == self.host.machine_id();
        here.then(|| state.clone())
    }

    /// Offer what was answered the last time as the default, if it is still acceptable.
    fn recall(&self, step: &Step, question: &mut Question) -> Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let Some(record) = journal.remembered(self.wizard.name, step.id)? else { return Ok(()) };
        if step.scope == Scope::Host && record.machine_id != self.host.machine_id() {
            return Ok(());
        }
        let value = record.payload()?.get("value").and_then(|kept| paths::from_journal(&self.root, question, kept));
        if let Some(value) = value.filter(|v| question.validate(v).is_ok()) {
            question.default = Some((value, "as answered the last time".into()));
        }
        Ok(())
    }

    fn obtain(&mut self, place: &Place, question: &Question) -> Result<(Value, String)> {
        if let Some((value, evidence)) = question.default.as_ref().filter(|_| self.manner.yes) {
            return Ok((value.clone(), text!("default: {evidence}")));
        }
        if !self.prompter.interactive() {
            self.missing.push(question.missing());
            return match &question.default {
                Some((value, _)) => Ok((value.clone(), MISSING.into())),
                None => Err(self.all_missing()),
            };
        }
        match self.prompter.ask(place, question)? {
            Reply::Value(value) => Ok((value, ASKED.into())),
            Reply::Pause => Err(paused()),
            Reply::Back => Err(self.back()),
        }
    }

    /// Rewind to the question before this one; from the first one, ask it again.
    fn back(&mut self) -> Error {
        let here = self.current.map(|s| s.id).unwrap_or_default();
        let earlier = self.answers.iter().rev().find(|a| a.by_person).map(|a| a.step.clone());
        if earlier.is_none() && self.manner.fresh {
            self.turn = Some(Turn::OtherDrive);
            return Error::bug("another drive is not an error");
        }
        if earlier.is_none() {
            self.report.note("  nothing was asked before this one; for another drive leave with :save and start again with --root DIR");
        }
        self.turn_back_to(&earlier.unwrap_or_else(|| here.to_string()))
    }

    fn turn_back_to(&mut self, step: &str) -> Error {
        self.turn = Some(Turn::Rewind(step.to_string()));
        Error::bug("a rewind is not an error")
    }

    fn rewind(&mut self, step: &str) -> Result<()> {
        let visit = self.state.get(step).map_or(0, |s| s.visit) + 1;
        let scope = self.wizard.steps.iter().find(|s| s.id == step).map_or(Scope::Drive, |s| s.scope);
        self.append(step, visit, Event::Rewound, scope, "", &json!({}))
    }

    /// Before the first work: every answer that was needed is there, and every answer that was given was needed.
    fn questions_are_over(&mut self) -> Result<()> {
        let refused = if self.missing.is_empty() { self.given.refuse_unused(self.wizard.name) } else { Err(self.all_missing()) };
        // The step that stands next has not begun: the refusal is not its own.
        refused.inspect_err(|_| self.current = None)
    }

    /// A dry run ends where the work would begin.
    fn plan_only(&mut self, step: &'static Step) -> Result<()> {
        if !self.manner.dry_run {
            return Ok(());
        }
        self.report.note(&text!("  would  {} first; the rest follows from what it finds", step.title));
        self.turn = Some(Turn::PlanShown);
        Err(Error::bug("a shown plan is not an error"))
    }

    fn all_missing(&mut self) -> Error {
        let all = std::mem::take(&mut self.missing);
        let mut error = match all.first() {
            Some(first) if all.len() == 1 => return first.clone(),
            Some(_) => Error::new(code::USE_ANSWER_MISSING, text!("{} questions have no answer and there is nobody to ask", all.len())),
            None => Error::bug("no answer is missing"),
        };
        for one in &all {
            error = error.fix(text!("{}: {}", one.body().what, one.body().fix.join("  or  ")));
        }
        error.fix("--yes accepts the defaults")
    }

    fn answered(&mut self, step: &'static Step, place: &Place, shown: String, by_person: bool, replayed: bool) {
        self.step_done(step, place, &shown, replayed);
        let sealed = match step.question() {
            Ok(q) if matches!(q.kind, Kind::Path) => paths::name_of(&shown),
            _ => shown.clone(),
        };
        self.answers.push(Answered { step: step.id.to_string(), label: step.title.to_string(), shown, sealed, by_person });
    }

    fn step_done(&self, step: &Step, place: &Place, evidence: &str, replayed: bool) {
        let mark = if replayed { term!("kept  ") } else { term!("done  ") };
        let tail = if evidence.is_empty() { String::new() } else { text!(": {evidence}") };
        self.report.event(
            "step.done",
            &text!("  {mark} [{}/{}] {}{}{tail}", place.n, place.of, step.title, self.lap_words()),
            json!({"step": self.key(step.id), "n": place.n, "of": place.of, "replayed": replayed, "evidence": evidence}),
        );
        self.host.trace_step(place.n, step.id);
    }

    fn commit(&mut self, step: &'static Step, kind: Event, inputs: &str, payload: &Value) -> Result<()> {
        let visit = self.state_of(step).map_or(0, |s| s.visit);
        self.append(&self.key(step.id), visit, kind, step.scope, inputs, payload)
    }

    fn append(&mut self, step: &str, visit: i64, kind: Event, scope: Scope, inputs: &str, payload: &Value) -> Result<()> {
        if let Some(journal) = &self.journal {
            journal.append(&self.host, &self.id, self.wizard.name, &Entry { step, visit, kind, scope, inputs_sha256: inputs, payload })?;
        }
        let state = StepState { kind, visit, payload: payload.clone(), inputs_sha256: inputs.to_string(), machine_id: self.host.machine_id().to_string() };
        self.state.insert(step.to_string(), state);
        Ok(())
    }

    fn fold(&mut self) -> Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        for record in journal.records(&self.id)? {
            let payload = record.payload()?;
            let Record { step, visit, kind, inputs_sha256, machine_id, .. } = record;
            // A refusal or a pause says nothing about the step's own state.
            if matches!(kind, Event::Refused | Event::Paused) {
                continue;
            }
            self.state.insert(step, StepState { kind, visit, payload, inputs_sha256, machine_id });
        }
        Ok(())
    }

    fn record_failure(&mut self, error: &Error) -> Result<()> {
        let kind = match error.code() {
            c if c == code::BUG_CRASH_POINT || c == code::SSD_TAKEN_OVER => return Ok(()),
            c if c == code::USE_PAUSED || c == code::USE_INTERRUPTED || c == code::USE_TERMINATED => Event::Paused,
            _ => Event::Refused,
        };
        let (step, scope) = self.current.map_or((String::new(), Scope::Drive), |s| (self.key(s.id), s.scope));
        let payload = json!({"code": error.code().id, "what": error.body().what});
        // The drive may be the very thing that failed: the original error matters more than this record.
        if let Some(journal) = &self.journal
            && let Err(second) =
                journal.append(&self.host, &self.id, self.wizard.name, &Entry { step: &step, visit: 0, kind, scope, inputs_sha256: "", payload: &payload })
        {
            tracing::warn!(%second, "the refusal could not be journalled");
        }
        Ok(())
    }
}

fn paused() -> Error {
    Error::new(code::USE_PAUSED, "paused; every answer is kept")
}

fn convert<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Error::bug(text!("a recorded answer has another type than its step wants: {e}")))
}

/// Only a run's id is random, and it never enters data, models or order ids.
fn ulid_now(host: &Host) -> String {
    let ms = u64::try_from(host.now().micros() / 1000).unwrap_or(0);
    let random = u128::from_be_bytes(host.random_bytes::<16>());
    ulid::Ulid::from_parts(ms, random).to_string()
}
