//! A run that goes on explains itself first: who set the drive up, where, when it last moved, what is done, what was in
//! doubt and how that is settled, what is next. Then Enter continues, where a person is there to press it.

use super::pace::words;
use super::{Run, paused};
use crate::kit::journal::{Event, Record};
use crate::kit::prompter::Reply;
use crate::kit::question::{Choice, Question};
use crate::kit::step::{Asks, Step, Verb, split_lap};
use data_layer::detect::recognise::ago;
use data_layer::error::Result;
use data_layer::root::DataPath;
use data_layer::store;
use data_layer::time::UtcTime;
use serde_json::{Value, json};

/// Asked when work, not a question, comes next. It has no step: nothing of it is recorded.
pub fn continue_question() -> Question {
    let choices = vec![Choice::new("go", "continue"), Choice::new("leave", "leave; everything stays as it is")];
    Question::select("run.continue", "Continue?", choices)
        .default("go", "what is done is kept, what was interrupted is settled first")
        .help("Continuing never repeats what is recorded as done and never sends an order twice. Answers can still be changed with :back.")
}

impl Run<'_> {
    /// The first lines of a run, new or continued.
    pub(super) fn announce(&mut self, resumed: bool) -> Result<()> {
        let of = self.wizard.steps.len();
        if !resumed {
            let prompts = |s: &Step| match s.asks {
                Asks::Nothing => 0,
                // A key each; practice brings its own.
                Asks::Secrets(keys) => {
                    if self.root.is_world() {
                        0
                    } else {
                        keys.len()
                    }
                }
                Asks::Question(_) | Asks::Token(_) => 1,
            };
            let asked: usize = self.wizard.steps.iter().map(prompts).sum();
            let work = self.rest_of(&self.pace).map_or(String::new(), |s| text!("; the work usually takes {}", words(s)));
            let text = text!("{}: {}\n  {of} steps, at most {asked} of them questions{work}", self.wizard.name, self.wizard.purpose);
            let fields = json!({"resumed": false, "done": 0, "in_doubt": 0, "of": of, "usual_seconds": self.rest_of(&self.pace)});
            self.report.event("run.opened", &text, fields);
            return Ok(());
        }
        // Told as the lap stands in which the run was left.
        self.lap = self.newest_lap()?;
        let done: Vec<&Step> = self.wizard.steps.iter().filter(|s| s.before_the_run() || self.done(s).is_some()).collect();
        let doubtful: Vec<&Step> = self.wizard.steps.iter().filter(|s| self.state_of(s).is_some_and(|state| state.kind == Event::Started)).collect();
        let next = self.wizard.steps.iter().find(|s| done.iter().all(|d| d.id != s.id) && !self.was_passed_over(s));
        let mut rows = vec![text!("{}: continuing run {}", self.wizard.name, self.id)];
        let mut row = |label: &str, text: String| rows.push(text!("  {label:<10} {text}"));
        let journal = self.journal.as_ref().map(|j| j.records(&self.id)).transpose()?.unwrap_or_default();
        if let (Some(first), Some(last)) = (journal.first(), journal.last()) {
            row("set up", text!("by {}, {}", self.whose(first), self.when(first)));
            let what = if last.step.is_empty() { last.kind.as_str().to_string() } else { text!("{} {}", self.place_of(&last.step), last.kind.as_str()) };
            row("last moved", text!("{}: {what}, on {}", self.when(last), self.whose(last)));
        }
        row("done", text!("{} of {of} steps{}", done.len(), done.last().map_or(String::new(), |s| text!(", the newest {}", self.place_of(&self.key(s.id))))));
        for step in &doubtful {
            row("in doubt", text!("{} was interrupted: {}", self.place_of(&self.key(step.id)), settled_by(step.verb)));
        }
        if let Some(next) = next {
            row("next", self.place_of(&self.key(next.id)));
        }
        if let Some(seconds) = self.rest_of(&self.pace) {
            row("the rest", text!("usually takes {}{}", words(seconds), self.lap_words()));
        }
        if self.state.values().any(|s| s.machine_id != self.host.machine_id()) {
            row("this is", "another machine: what belongs to a machine (keys, mount, limits) is asked again".into());
        }
        let fields = json!({"resumed": true, "done": done.len(), "in_doubt": doubtful.len(), "of": of, "next": next.map(|s| s.id)});
        let work_is_next = next.is_some_and(|s| !matches!(s.verb, Verb::Ask | Verb::Review | Verb::Gate));
        self.report.event("run.opened", &rows.join("\n"), fields);
        if work_is_next && self.interactive() { self.ask_to_continue(next) } else { Ok(()) }
    }

    fn ask_to_continue(&mut self, next: Option<&'static Step>) -> Result<()> {
        let Some(step) = next else { return Ok(()) };
        let mut place = self.wizard.place(step);
        place.outline = self.outline(step);
        place.step = "run-continue";
        match self.prompter.ask(&place, &continue_question())? {
            Reply::Value(Value::String(answer)) if answer == "leave" => Err(paused()),
            Reply::Pause => Err(paused()),
            Reply::Back => Err(self.back()),
            Reply::Value(_) => Ok(()),
        }
    }

    /// A step before the newest finished one that was never entered: the runbook took another way.
    fn was_passed_over(&self, step: &Step) -> bool {
        let newest = self.wizard.steps.iter().rposition(|s| self.done(s).is_some());
        newest.is_some_and(|n| self.wizard.position(step.id) <= n) && self.state_of(step).is_none()
    }

    fn place_of(&self, step: &str) -> String {
        let (id, lap) = split_lap(step);
        let title = self.wizard.steps.iter().find(|s| s.id == id).map_or(step, |s| s.title);
        let lap = lap.map_or(String::new(), |lap| format!(" ({lap})"));
        text!("[{}/{}] {title}{lap}", self.wizard.position(id), self.wizard.steps.len())
    }

    /// `node 'pi-1' on this machine`: the name from the machine's record on the drive.
    fn whose(&self, record: &Record) -> String {
        let place = if record.machine_id == self.host.machine_id() { "this machine" } else { "another machine" };
        let named = DataPath::new(format!("control/machines/{}.yml", record.machine_id))
            .and_then(|path| store::read(&self.root, &path))
            .ok()
            .flatten()
            .and_then(|bytes| serde_yaml::from_slice::<Value>(&bytes).ok())
            .and_then(|v| v["node_id"].as_str().map(str::to_string));
        named.map_or_else(|| place.to_string(), |name| text!("node '{name}' on {place}"))
    }

    /// The moment, and how long ago where this clock can tell (a practice world has its own).
    fn when(&self, record: &Record) -> String {
        let short = record.at.get(..16).map_or(record.at.clone(), |t| format!("{}Z", t.replace('T', " ")));
        match UtcTime::parse(&record.at) {
            Ok(at) if !self.root.is_world() => text!("{short} ({})", ago(self.host.now(), at)),
            _ => short,
        }
    }
}

/// What becomes of a step that was interrupted.
fn settled_by(verb: Verb) -> &'static str {
    match verb {
        Verb::Send => "every order is asked for by its id before anything is sent",
        Verb::KeepRunning => "it is entered again",
        _ => "it runs again, and finds what is already there",
    }
}
