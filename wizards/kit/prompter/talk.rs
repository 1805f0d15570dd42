//! The conversation with a person, the same on every face: words, help, kept text, kept drafts, review and gates.

use super::words::{self, Word};
use super::{GateReply, Place, Prompter, Reply, ReviewReply, SecretReply, Sheet};
use crate::kit::question::{Kind, Question, SecretSpec};
use crate::kit::report::wrapped;
use data_layer::error::{Error, Result, code};
use data_layer::words::tell;
use serde_json::Value;
use std::any::Any;
use std::collections::BTreeMap;

/// What came back from a person.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A cleaned line; empty where only Enter was pressed.
    Text(String),
    /// A choice of a list.
    Pick(usize),
    /// A word or its key, with the unfinished text of the field.
    Word(Word, String),
    /// The input has ended: nobody is there any more.
    End,
}

/// How a line of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// Evidence and reasons: read when wanted.
    Faint,
    /// Something was not accepted.
    Wrong,
}

/// While it lives, keys and signals are the prompt's.
pub struct Attention {
    _guard: Option<Box<dyn Any>>,
}

impl Attention {
    pub fn of(guard: Option<impl Any>) -> Self {
        Self { _guard: guard.map(|g| Box::new(g) as Box<dyn Any>) }
    }
}

/// A way of showing lines and of reading answers. Ctrl-C and its pause menu belong to the face.
pub trait Face {
    /// Called before the first line of a question: from here on Ctrl-C opens the pause menu.
    fn attend(&mut self) -> Attention;
    fn say(&mut self, tone: Tone, text: &str) -> Result<()>;
    fn heading(&mut self, place: &Place, prompt: &str) -> Result<()>;
    /// A line, beginning with `initial`; `hidden` lines are not shown.
    fn line(&mut self, initial: &str, hidden: bool) -> Result<Input>;
    /// Columns and rows of a screen that scrolls away what does not fit; `None` where nothing is lost.
    fn screen(&self) -> Option<(usize, usize)> {
        None
    }
    /// One of several; `at` is where the choice begins.
    fn pick(&mut self, labels: &[String], at: usize) -> Result<Input>;
}

/// Said before the first question.
const KEYS: &str =
    "Enter accepts, Esc or :back goes back, ? explains, :steps lists, :save pauses, Ctrl-U clears, Ctrl-C opens a menu. Nothing typed is ever lost.";

/// The pause menu, on every face.
pub const PAUSED: &str = "Paused. 1) go on   2) back one question   3) save and leave   Ctrl-C again leaves at once";

/// Where keys are kept, for the help of every secret.
const KEPT: &str = "Keys are kept in this machine's .env (mode 0600), never on the drive, in a log or in the journal.";

/// Lines of a review's heading, reason and choices.
const AROUND_A_REVIEW: usize = 7;

/// Lines that a text takes on a screen.
fn lines_of(text: &str, columns: usize) -> usize {
    wrapped(text.trim_end(), Some(columns)).lines().count()
}

/// A person, spoken to through a face.
pub struct Talk<F> {
    face: F,
    introduced: bool,
    /// Text that was typed at a question and left there by going back.
    drafts: BTreeMap<&'static str, String>,
}

impl<F: Face> Talk<F> {
    pub fn new(face: F) -> Self {
        Self { face, introduced: false, drafts: BTreeMap::new() }
    }

    fn heading(&mut self, place: &Place, prompt: &str) -> Result<()> {
        self.face.say(Tone::Plain, "")?;
        if !self.introduced {
            self.introduced = true;
            self.face.say(Tone::Faint, KEYS)?;
            self.face.say(Tone::Plain, "")?;
        }
        self.face.heading(place, prompt)?;
        if place.why.is_empty() { Ok(()) } else { self.face.say(Tone::Faint, &format!("  {}", place.why)) }
    }

    /// Help and the list of steps are answered here; going back and saving are the caller's.
    fn explain(&mut self, word: Word, place: &Place, help: &str) -> Result<()> {
        let text = if word == Word::Steps { place.outline.clone() } else { help.to_string() };
        let text = if text.is_empty() { "  there is nothing more to say about this".into() } else { text };
        self.face.say(Tone::Plain, &text)
    }

    /// Which answer is to be changed; `None` = none, back to the review.
    fn changed(&mut self, place: &Place, steps: &[(String, String)]) -> Result<Option<ReviewReply>> {
        let labels: Vec<String> = steps.iter().map(|(_, label)| label.clone()).collect();
        match index(&self.face.pick(&labels, 0)?, labels.len()) {
            Picked::At(i) => return Ok(Some(ReviewReply::Change(steps[i].0.clone()))),
            Picked::End => return Err(unanswered()),
            Picked::Word(Word::Save) => return Ok(Some(ReviewReply::Pause)),
            Picked::Word(Word::Back) => {}
            Picked::Word(word) => self.explain(word, place, "  Choose the answer to change; what depends on it is asked again.")?,
            Picked::Nothing => self.wrong("there is no such answer")?,
        }
        Ok(None)
    }

    fn wrong(&mut self, why: &str) -> Result<()> {
        self.face.say(Tone::Wrong, &text!("  not accepted: {why}"))
    }

    fn read(&mut self, question: &Question, kept: &str) -> Result<Input> {
        match &question.kind {
            Kind::Select(choices) => {
                let labels: Vec<String> = choices.iter().map(|c| c.label.clone()).collect();
                let usual = || question.default.as_ref().and_then(|(v, _)| choices.iter().position(|c| v.as_str() == Some(&c.value)));
                // What a list leaves behind is where the choice stood.
                let at = kept.parse().ok().filter(|at| *at < labels.len()).or_else(usual).unwrap_or(0);
                self.face.pick(&labels, at)
            }
            _ => self.face.line(kept, false),
        }
    }
}

/// The value of an input, or why it is none.
fn value_of(question: &Question, input: &Input) -> std::result::Result<Value, String> {
    let value = match (input, &question.kind, &question.default) {
        (Input::Pick(i), Kind::Select(choices), _) => choices.get(*i).map(|c| Value::from(c.value.as_str())).ok_or("there is no such choice")?,
        (Input::Text(text), _, Some((default, _))) if text.is_empty() => default.clone(),
        (Input::Text(text), ..) => question.parse(text)?,
        _ => return Err("an answer is needed".into()),
    };
    question.validate(&value).map(|()| value)
}

fn help_of(question: &Question) -> String {
    let mut out = format!("  {}", question.help);
    match (&question.default, question.no_default) {
        // In a list Enter takes the line that is marked, wherever the mark was moved to.
        (Some((value, evidence)), _) if matches!(question.kind, Kind::Select(_)) => {
            out.push_str(&text!("\n  Enter takes the marked line; the proposal is: {}   ({evidence})", question.display(value)));
        }
        (Some((value, evidence)), _) => out.push_str(&text!("\n  Enter takes: {}   ({evidence})", question.display(value))),
        (None, Some(reason)) => out.push_str(&text!("\n  There is no default: {reason}.")),
        (None, None) => {}
    }
    out.push('\n');
    let values = match &question.kind {
        Kind::Select(choices) => choices.iter().map(|c| c.value.as_str()).collect::<Vec<_>>().join("|"),
        Kind::Confirm => "true|false".to_string(),
        _ => "VALUE".to_string(),
    };
    out.push_str(&match question.env {
        Some(env) => text!("  In a script: --set {}={values}, or {env} in the environment", question.id),
        None => text!("  In a script: --set {}={values}", question.id),
    });
    out
}

impl<F: Face> Prompter for Talk<F> {
    fn ask(&mut self, place: &Place, question: &Question) -> Result<Reply> {
        let _attention = self.face.attend();
        self.heading(place, &question.prompt)?;
        if let Some((value, evidence)) = &question.default {
            self.face.say(Tone::Faint, &text!("  default: {}   ({evidence})", question.display(value)))?;
        }
        if let Kind::Several(choices) = &question.kind {
            for (i, choice) in choices.iter().enumerate() {
                self.face.say(Tone::Plain, &format!("  {}) {}", i + 1, tell(&choice.label)))?;
            }
        }
        let mut kept = self.drafts.remove(place.step).unwrap_or_default();
        loop {
            let input = self.read(question, &kept)?;
            match &input {
                Input::Word(Word::Back, draft) => {
                    self.drafts.insert(place.step, draft.clone());
                    return Ok(Reply::Back);
                }
                Input::Word(Word::Save, _) => return Ok(Reply::Pause),
                Input::Word(word, draft) => {
                    kept.clone_from(draft);
                    self.explain(*word, place, &help_of(question))?;
                    continue;
                }
                Input::End => return Err(question.missing()),
                Input::Text(_) if matches!(question.kind, Kind::Select(_)) => {}
                Input::Text(text) => kept.clone_from(text),
                Input::Pick(_) => {}
            }
            match value_of(question, &input) {
                Ok(value) => return Ok(Reply::Value(value)),
                Err(why) => self.wrong(&why)?,
            }
        }
    }

    fn ask_secret(&mut self, place: &Place, spec: &SecretSpec, have: Option<&str>) -> Result<SecretReply> {
        let _attention = self.face.attend();
        let counted = match place.part {
            (n, of) if of > 1 => text!("key {n} of {of}: "),
            _ => String::new(),
        };
        self.heading(place, &text!("{counted}{} ({})", spec.label, spec.var))?;
        self.face.say(Tone::Plain, &text!("  without it: {}", spec.without))?;
        if let Some(place) = spec.obtained_at() {
            self.face.say(Tone::Faint, &text!("  where to get it: {place}"))?;
        }
        let skip = match (spec.required, have) {
            (true, _) => "",
            (false, Some(_)) => "; type skip to do without",
            (false, None) => "; Enter alone does without",
        };
        self.face.say(
            Tone::Plain,
            &match have {
                Some(masked) => text!("  stored: {masked}; Enter keeps it{skip}"),
                None => text!("  paste it here, it is not shown{skip}"),
            },
        )?;
        loop {
            match self.face.line("", true)? {
                Input::Word(Word::Back, _) => return Ok(SecretReply::Back),
                Input::Word(Word::Save, _) => return Ok(SecretReply::Pause),
                Input::Word(word, _) => {
                    self.explain(word, place, &text!("  {KEPT}\n  In a script: {} in the environment, or {} in an answers file", spec.var, spec.id()))?;
                }
                Input::End => return Err(spec.missing()),
                Input::Text(text) if text.is_empty() && have.is_some() => return Ok(SecretReply::Keep),
                Input::Text(text) if (text.is_empty() || text == "skip") && !spec.required => return Ok(SecretReply::Skip),
                Input::Text(text) if text.is_empty() => self.wrong("a key is needed here; :save leaves until you have one, Esc goes back")?,
                Input::Text(text) => {
                    self.face.say(Tone::Plain, &text!("  taken ({} characters)", text.chars().count()))?;
                    return Ok(SecretReply::Set(text.into()));
                }
                Input::Pick(_) => {}
            }
        }
    }

    fn review(&mut self, place: &Place, sheet: &Sheet, steps: &[(String, String)]) -> Result<ReviewReply> {
        let _attention = self.face.attend();
        self.heading(place, "Review: what will be written")?;
        let short = self.face.screen().filter(|(columns, rows)| lines_of(&sheet.whole, *columns) + AROUND_A_REVIEW > *rows);
        let text = short.map_or_else(|| sheet.whole.clone(), |(columns, _)| (sheet.brief)(columns));
        self.face.say(Tone::Plain, text.trim_end())?;
        let mut verdicts = [term!("Go ahead"), term!("Change an answer"), term!("Save and leave")].map(String::from).to_vec();
        verdicts.extend(short.map(|_| "Show every line".to_string()));
        loop {
            match index(&self.face.pick(&verdicts, 0)?, verdicts.len()) {
                Picked::At(0) => return Ok(ReviewReply::Accept),
                Picked::At(1) => {
                    if let Some(reply) = self.changed(place, steps)? {
                        return Ok(reply);
                    }
                }
                Picked::At(3) => self.face.say(Tone::Plain, sheet.whole.trim_end())?,
                Picked::At(_) | Picked::Word(Word::Save) => return Ok(ReviewReply::Pause),
                Picked::Word(Word::Back) => return Ok(ReviewReply::Back),
                Picked::Word(word) => self.explain(word, place, "  Lines with + are written, lines with - disappear. Nothing happens before you go ahead.")?,
                Picked::End => return Err(unanswered()),
                Picked::Nothing if short.is_some() => self.wrong("answer 1, 2, 3 or 4")?,
                Picked::Nothing => self.wrong("answer 1, 2 or 3")?,
            }
        }
    }

    fn gate(&mut self, place: &Place, shown: &str, wanted: &str) -> Result<GateReply> {
        let _attention = self.face.attend();
        self.heading(place, term!("Confirmation"))?;
        self.face.say(Tone::Plain, shown.trim_end())?;
        self.face.say(Tone::Plain, &text!("Type  {wanted}  to go on, or anything else to refuse:"))?;
        loop {
            match self.face.line("", false)? {
                Input::Text(text) => return Ok(GateReply::Typed(text)),
                Input::Word(Word::Back, _) => return Ok(GateReply::Back),
                Input::Word(Word::Save, _) => return Ok(GateReply::Pause),
                Input::Word(word, _) => self.explain(word, place, "  A gate has no default. In a script: --confirm \"WORDS\"; --yes never passes it.")?,
                Input::Pick(_) => {}
                Input::End => return Ok(GateReply::Nobody),
            }
        }
    }

    fn interactive(&self) -> bool {
        true
    }
}

enum Picked {
    At(usize),
    Word(Word),
    Nothing,
    End,
}

/// A choice by key, by number or by Enter (the first).
fn index(input: &Input, len: usize) -> Picked {
    match input {
        Input::Pick(i) if *i < len => Picked::At(*i),
        Input::Text(text) if text.is_empty() => Picked::At(0),
        Input::Text(text) => text.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|i| *i < len).map_or(Picked::Nothing, Picked::At),
        Input::Word(word, _) => Picked::Word(*word),
        Input::Pick(_) => Picked::Nothing,
        Input::End => Picked::End,
    }
}

fn unanswered() -> Error {
    Error::new(code::USE_ANSWER_MISSING, "the input ended before the review was accepted")
        .cause("nothing was written")
        .fix("--yes, or an answers file: --answers FILE")
}

/// A text line that may be a word: for faces that read whole lines.
pub fn typed(face: &mut impl Face, line: &str) -> Result<Option<Input>> {
    Ok(match words::read(line) {
        words::Line::Word(word) => Some(Input::Word(word, String::new())),
        words::Line::Text(text) => Some(Input::Text(text)),
        words::Line::Unknown(word) => {
            face.say(Tone::Wrong, &text!("  '{word}' is not known: {}", words::KNOWN))?;
            None
        }
    })
}
