//! The fancy front end: our own text, secret and gate fields on `console`, `dialoguer` for selects.
//!
//! Only raw key reads are used (`read_key_raw`), so that Ctrl-C arrives as a key and opens the pause menu instead of
//! killing the process with a hidden cursor.

use super::plain::clean_paste;
use super::{Place, Prompter, Reply, ReviewReply, SecretReply};
use crate::kit::question::{Kind, Question, SecretSpec};
use crate::kit::report::wrapped;
use crate::kit::signals::PromptOwnsKeys;
use console::{Key, Term, style};
use data_layer::error::{Error, Result, code};
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, Termios};

/// A person at a capable terminal. The conversation goes to standard error.
pub struct Terminal {
    term: Term,
    keys_shown: bool,
}

/// While it lives, every key is ours: nothing is echoed, edited or turned into a signal by the terminal driver, also
/// between two key reads (a paste arrives in one burst). Output processing stays on.
struct OurKeys {
    before: Option<Termios>,
    _signals: PromptOwnsKeys,
}

impl OurKeys {
    fn begin() -> Self {
        let before = termios::tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(modes) = &before {
            let mut raw = modes.clone();
            raw.local_modes.remove(LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::IEXTEN);
            raw.input_modes.remove(InputModes::ICRNL | InputModes::IXON);
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw);
        }
        Self { before, _signals: PromptOwnsKeys::begin() }
    }
}

impl Drop for OurKeys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// What ended a field.
enum Field {
    Line(String),
    Back,
    Pause,
    Help,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { term: Term::stderr(), keys_shown: false }
    }
}

impl Terminal {
    fn say(&self, text: &str) -> Result<()> {
        Ok(self.term.write_line(&wrapped(text, Some(usize::from(self.term.size().1).max(40))))?)
    }

    fn heading(&mut self, place: &Place, prompt: &str) -> Result<()> {
        self.say("")?;
        if !self.keys_shown {
            self.keys_shown = true;
            self.say(&style("Enter accepts, Esc goes back, ? explains, Ctrl-U clears, Ctrl-C pauses. Nothing typed is ever lost.").dim().to_string())?;
        }
        self.say(&format!("{} {}", style(format!("[{}/{}]", place.n, place.of)).cyan(), style(prompt).bold()))
    }

    /// A line editor: keeps the text after a failed validation, hides it for secrets.
    fn field(&self, initial: &str, hidden: bool) -> Result<Field> {
        let mut text = initial.to_string();
        loop {
            self.draw(&text, hidden)?;
            match self.term.read_key_raw()? {
                Key::Enter => {
                    self.say("")?;
                    return Ok(match text.trim() {
                        ":back" => Field::Back,
                        ":save" => Field::Pause,
                        ":help" => Field::Help,
                        _ => Field::Line(clean_paste(&text)),
                    });
                }
                Key::Escape | Key::BackTab => {
                    self.say("")?;
                    return Ok(Field::Back);
                }
                Key::CtrlC | Key::Char('\u{3}') => {
                    if let Some(left) = self.pause_menu()? {
                        return Ok(left);
                    }
                }
                Key::Char('\u{15}') => text.clear(),
                Key::Char('?') if text.is_empty() => {
                    self.say("")?;
                    return Ok(Field::Help);
                }
                Key::Backspace | Key::Char('\u{7f}' | '\u{8}') => {
                    text.pop();
                }
                Key::Char(c) if !c.is_control() => text.push(c),
                _ => {}
            }
        }
    }

    fn draw(&self, text: &str, hidden: bool) -> Result<()> {
        let shown = if hidden { "*".repeat(text.chars().count()) } else { text.to_string() };
        self.term.clear_line()?;
        Ok(self.term.write_str(&format!("> {shown}"))?)
    }

    /// `None` = go on with the question.
    fn pause_menu(&self) -> Result<Option<Field>> {
        self.say("")?;
        self.say("Paused. 1) go on   2) back one question   3) save and leave   Ctrl-C again leaves at once")?;
        loop {
            match self.term.read_key_raw()? {
                Key::Char('1') | Key::Enter => return Ok(None),
                Key::Char('2') => return Ok(Some(Field::Back)),
                Key::Char('3') => return Ok(Some(Field::Pause)),
                Key::CtrlC | Key::Char('\u{3}') => {
                    self.term.show_cursor()?;
                    return Err(Error::new(code::USE_INTERRUPTED, "stopped by Ctrl-C; everything answered so far is kept"));
                }
                _ => {}
            }
        }
    }

    fn explain(&self, place: &Place, help: &str) -> Result<()> {
        self.say(&format!("  why: {}", place.why))?;
        if help.is_empty() { Ok(()) } else { self.say(&format!("  {help}")) }
    }

    fn select(&self, place: &Place, question: &Question) -> Result<Reply> {
        let Kind::Select(choices) = &question.kind else { return Err(Error::bug("a select without choices")) };
        let at = question.default.as_ref().and_then(|(v, _)| choices.iter().position(|c| v.as_str() == Some(&c.value))).unwrap_or(0);
        let labels: Vec<&str> = choices.iter().map(|c| c.label.as_str()).collect();
        loop {
            let picked = dialoguer::Select::new().items(&labels).default(at).interact_on_opt(&self.term);
            self.term.show_cursor()?;
            match picked {
                Ok(Some(i)) => return Ok(Reply::Value(choices[i].value.as_str().into())),
                Ok(None) => return Ok(Reply::Back),
                Err(_) => match self.pause_menu()? {
                    Some(Field::Back) => return Ok(Reply::Back),
                    Some(Field::Pause) => return Ok(Reply::Pause),
                    _ => self.explain(place, &question.help)?,
                },
            }
        }
    }
}

impl Prompter for Terminal {
    fn ask(&mut self, place: &Place, question: &Question) -> Result<Reply> {
        let _keys = OurKeys::begin();
        self.heading(place, &question.prompt)?;
        if let Some((value, evidence)) = &question.default {
            self.say(&style(format!("  default: {}   ({evidence})", question.display(value))).dim().to_string())?;
        }
        if matches!(question.kind, Kind::Select(_)) {
            return self.select(place, question);
        }
        let mut kept = String::new();
        loop {
            let line = match self.field(&kept, false)? {
                Field::Back => return Ok(Reply::Back),
                Field::Pause => return Ok(Reply::Pause),
                Field::Help => {
                    self.explain(place, &question.help)?;
                    continue;
                }
                Field::Line(line) => line,
            };
            let value = match (&question.default, line.is_empty()) {
                (Some((value, _)), true) => Ok(value.clone()),
                _ => question.parse(&line),
            };
            match value.and_then(|v| question.validate(&v).map(|()| v)) {
                Ok(value) => return Ok(Reply::Value(value)),
                Err(why) => {
                    self.say(&format!("  {} {why}", style("not accepted:").red()))?;
                    kept = line;
                }
            }
        }
    }

    fn ask_secret(&mut self, place: &Place, spec: &SecretSpec, have: Option<&str>) -> Result<SecretReply> {
        let _keys = OurKeys::begin();
        self.heading(place, &format!("{} ({})", spec.label, spec.var))?;
        self.say(&format!("  without it: {}", spec.without))?;
        let skip = if spec.required { "" } else { "; type skip to do without" };
        self.say(&match have {
            Some(masked) => format!("  stored: {masked}; Enter keeps it{skip}"),
            None => format!("  paste it here, it is not shown{skip}"),
        })?;
        loop {
            match self.field("", true)? {
                Field::Back => return Ok(SecretReply::Back),
                Field::Pause => return Ok(SecretReply::Pause),
                Field::Help => self.explain(place, "Keys are kept in this machine's .env (mode 0600), never on the drive, in a log or in the journal.")?,
                Field::Line(line) if line.is_empty() && have.is_some() => return Ok(SecretReply::Keep),
                Field::Line(line) if (line.is_empty() || line == "skip") && !spec.required => return Ok(SecretReply::Skip),
                Field::Line(line) if line.is_empty() => self.say("  a key is needed here")?,
                Field::Line(line) => {
                    self.say(&format!("  taken ({} characters)", line.chars().count()))?;
                    return Ok(SecretReply::Set(line.into()));
                }
            }
        }
    }

    fn review(&mut self, place: &Place, text: &str, steps: &[(String, String)]) -> Result<ReviewReply> {
        let _keys = OurKeys::begin();
        self.heading(place, "Review: nothing has been written yet")?;
        self.say(text)?;
        let verdicts = vec!["Go ahead", "Change an answer", "Save and leave"];
        loop {
            let picked = dialoguer::Select::new().items(&verdicts).default(0).interact_on_opt(&self.term);
            self.term.show_cursor()?;
            match picked {
                Ok(Some(0)) => return Ok(ReviewReply::Accept),
                Ok(Some(1)) => {
                    let labels: Vec<&str> = steps.iter().map(|(_, label)| label.as_str()).collect();
                    if let Ok(Some(i)) = dialoguer::Select::new().items(&labels).default(0).interact_on_opt(&self.term) {
                        return Ok(ReviewReply::Change(steps[i].0.clone()));
                    }
                }
                Ok(Some(_)) => return Ok(ReviewReply::Pause),
                Ok(None) => return Ok(ReviewReply::Back),
                Err(_) => match self.pause_menu()? {
                    Some(Field::Back) => return Ok(ReviewReply::Back),
                    Some(Field::Pause) => return Ok(ReviewReply::Pause),
                    _ => {}
                },
            }
        }
    }

    fn gate(&mut self, place: &Place, shown: &str, wanted: &str) -> Result<Option<String>> {
        let _keys = OurKeys::begin();
        self.heading(place, "Confirmation")?;
        self.say(shown)?;
        self.say(&format!("Type  {}  to go on, or anything else to refuse:", style(wanted).bold()))?;
        match self.field("", false)? {
            Field::Line(line) => Ok(Some(line)),
            _ => Ok(None),
        }
    }

    fn interactive(&self) -> bool {
        true
    }
}

/// A secret typed without echo on a line-oriented terminal; `None` at the end of input.
pub fn read_hidden_line() -> Result<Option<String>> {
    Ok(Term::stderr().read_secure_line().map(Some)?)
}
