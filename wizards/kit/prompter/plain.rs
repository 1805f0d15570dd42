//! The line-oriented front end: numbered choices, one line an answer, no escape sequence ever. It serves dumb terminals,
//! logs, screen readers and PTY tests, and is the reference that the fancy one is a skin of.

use super::{Place, Prompter, Reply, ReviewReply, SecretReply};
use crate::kit::question::{Kind, Question, SecretSpec};
use crate::kit::signals::WaitingForInput;
use data_layer::error::{Error, Result, code};
use std::io::{BufRead, Write};

/// Reads lines from `input`, writes to `output` (standard input and standard error in the real program).
pub struct Plain<R, W> {
    input: R,
    output: W,
    /// Reads a secret without echo; `None` = plain line (tests, pipes).
    hidden: Option<fn() -> Result<Option<String>>>,
    keys_shown: bool,
}

/// Words with a colon that work on every question.
enum Command {
    Back,
    Pause,
    Help,
}

impl<R: BufRead, W: Write> Plain<R, W> {
    pub fn new(input: R, output: W, hidden: Option<fn() -> Result<Option<String>>>) -> Self {
        Self { input, output, hidden, keys_shown: false }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        writeln!(self.output, "{text}")?;
        Ok(())
    }

    fn prompt(&mut self, text: &str) -> Result<()> {
        write!(self.output, "{text}")?;
        self.output.flush()?;
        Ok(())
    }

    /// One line, or `None` at the end of input. Pasted quotes, carriage returns and bracketed-paste marks are dropped.
    fn line(&mut self) -> Result<Option<String>> {
        let _waiting = WaitingForInput::begin();
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(clean_paste(&line)))
    }

    fn heading(&mut self, place: &Place, prompt: &str) -> Result<()> {
        self.say("")?;
        if !self.keys_shown {
            self.keys_shown = true;
            self.say("(Enter accepts, :back goes back, :help explains, :save pauses, Ctrl-C stops; nothing typed is lost)")?;
        }
        self.say(&format!("[{}/{}] {prompt}", place.n, place.of))
    }

    fn options(&mut self, question: &Question) -> Result<()> {
        if let Kind::Select(choices) = &question.kind {
            for (i, choice) in choices.iter().enumerate() {
                self.say(&format!("  {}) {}", i + 1, choice.label))?;
            }
        }
        if let Some((value, evidence)) = &question.default {
            let shown = question.display(value);
            self.say(&format!("  default: {shown}   ({evidence})"))?;
        }
        Ok(())
    }

    fn explain(&mut self, place: &Place, help: &str) -> Result<()> {
        self.say(&format!("  why: {}", place.why))?;
        if help.is_empty() { Ok(()) } else { self.say(&format!("  {help}")) }
    }
}

fn command(line: &str) -> Option<Command> {
    match line.trim() {
        ":back" | "\u{1b}" => Some(Command::Back),
        ":save" | ":pause" => Some(Command::Pause),
        ":help" | "?" => Some(Command::Help),
        _ => None,
    }
}

/// What a paste leaves around a value: bracketed-paste marks, line ends, quotes, blanks.
pub fn clean_paste(line: &str) -> String {
    let line = line.replace("\u{1b}[200~", "").replace("\u{1b}[201~", "");
    let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let unquoted = line.strip_prefix('"').and_then(|l| l.strip_suffix('"')).or_else(|| line.strip_prefix('\'').and_then(|l| l.strip_suffix('\'')));
    unquoted.unwrap_or(line).to_string()
}

fn end_of_input(id: &str) -> Error {
    Error::new(code::HOST_TERMINAL, "the input ended before the question was answered")
        .found(id)
        .fix(format!("--set {id}=VALUE, or an answers file: --answers FILE"))
}

impl<R: BufRead, W: Write> Prompter for Plain<R, W> {
    fn ask(&mut self, place: &Place, question: &Question) -> Result<Reply> {
        self.heading(place, &question.prompt)?;
        self.options(question)?;
        loop {
            self.prompt("> ")?;
            let Some(line) = self.line()? else { return Err(end_of_input(question.id)) };
            match command(&line) {
                Some(Command::Back) => return Ok(Reply::Back),
                Some(Command::Pause) => return Ok(Reply::Pause),
                Some(Command::Help) => {
                    self.explain(place, &question.help)?;
                    continue;
                }
                None => {}
            }
            let value = match (&question.default, line.is_empty()) {
                (Some((value, _)), true) => Ok(value.clone()),
                _ => question.parse(&line),
            };
            match value.and_then(|v| question.validate(&v).map(|()| v)) {
                Ok(value) => {
                    self.say(&format!("  {}", question.display(&value)))?;
                    return Ok(Reply::Value(value));
                }
                Err(why) => self.say(&format!("  not accepted: {why}"))?,
            }
        }
    }

    fn ask_secret(&mut self, place: &Place, spec: &SecretSpec, have: Option<&str>) -> Result<SecretReply> {
        self.heading(place, &format!("{} ({})", spec.label, spec.var))?;
        self.say(&format!("  without it: {}", spec.without))?;
        let skip = if spec.required { "" } else { ", 'skip' does without" };
        self.say(&match have {
            Some(masked) => format!("  stored: {masked}   Enter keeps it{skip}"),
            None => format!("  paste it here; it is not shown{skip}"),
        })?;
        loop {
            self.prompt("> ")?;
            let typed = match self.hidden {
                Some(read) => read()?.map(|l| clean_paste(&l)),
                None => self.line()?,
            };
            let Some(line) = typed else { return Err(end_of_input(&format!("keys.{}", spec.var.to_ascii_lowercase()))) };
            match command(&line) {
                Some(Command::Back) => return Ok(SecretReply::Back),
                Some(Command::Pause) => return Ok(SecretReply::Pause),
                Some(Command::Help) => {
                    self.explain(place, "Keys are kept in this machine's .env (mode 0600), never on the drive, in a log or in the journal.")?
                }
                None if line.is_empty() && have.is_some() => return Ok(SecretReply::Keep),
                None if (line.is_empty() || line == "skip") && !spec.required => {
                    self.say("  skipped")?;
                    return Ok(SecretReply::Skip);
                }
                None if line.is_empty() => self.say("  a key is needed here")?,
                None => {
                    self.say(&format!("  taken ({} characters)", line.chars().count()))?;
                    return Ok(SecretReply::Set(line.into()));
                }
            }
        }
    }

    fn review(&mut self, place: &Place, text: &str, steps: &[(String, String)]) -> Result<ReviewReply> {
        self.heading(place, "Review: nothing has been written yet")?;
        self.say(text)?;
        loop {
            self.say("  1) go ahead   2) change an answer   3) save and leave")?;
            self.prompt("> ")?;
            let Some(line) = self.line()? else { return Err(end_of_input("review")) };
            match (command(&line), line.as_str()) {
                (Some(Command::Back), _) => return Ok(ReviewReply::Back),
                (Some(Command::Pause), _) | (_, "3") => return Ok(ReviewReply::Pause),
                (_, "1" | "y" | "yes" | "") => return Ok(ReviewReply::Accept),
                (_, "2") => {
                    for (i, (_, label)) in steps.iter().enumerate() {
                        self.say(&format!("  {}) {label}", i + 1))?;
                    }
                    self.prompt("which? > ")?;
                    let Some(line) = self.line()? else { return Err(end_of_input("review")) };
                    let chosen = line.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).and_then(|i| steps.get(i));
                    match chosen {
                        Some((step, _)) => return Ok(ReviewReply::Change(step.clone())),
                        None => self.say("  no such answer")?,
                    }
                }
                _ => self.say("  answer 1, 2 or 3")?,
            }
        }
    }

    fn gate(&mut self, place: &Place, shown: &str, wanted: &str) -> Result<Option<String>> {
        self.heading(place, "Confirmation")?;
        self.say(shown)?;
        self.say(&format!("Type  {wanted}  to go on, or anything else to refuse:"))?;
        self.prompt("> ")?;
        self.line()
    }

    fn interactive(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { step: "a-b", title: "A", n: 1, of: 2, why: "because" };

    fn ask(input: &str, question: &Question) -> (Result<Reply>, String) {
        let mut out = Vec::new();
        let reply = Plain::new(input.as_bytes(), &mut out, None).ask(&PLACE, question);
        (reply, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_wrong_answer_is_explained_and_asked_again() {
        let q = Question::number("a.b", "How many?", 1, 5).default(3, "three is usual");
        let (reply, text) = ask("nine\n9\n\n", &q);
        assert_eq!(reply.unwrap(), Reply::Value(3.into()));
        assert_eq!(text.matches("not accepted").count(), 2);
        assert!(!text.contains('\u{1b}') && text.is_ascii(), "{text}");
    }

    #[test]
    fn back_save_and_end_of_input_are_told_apart() {
        let q = Question::text("a.b", "Name?");
        assert_eq!(ask(":back\n", &q).0.unwrap(), Reply::Back);
        assert_eq!(ask("?\n:save\n", &q).0.unwrap(), Reply::Pause);
        assert!(ask("", &q).0.unwrap_err().is(code::HOST_TERMINAL));
    }

    #[test]
    fn a_bracketed_paste_with_quotes_and_carriage_return_is_cleaned() {
        assert_eq!(clean_paste("\u{1b}[200~\"PKABC\"\u{1b}[201~\r\n"), "PKABC");
        assert_eq!(clean_paste("  /mnt/my ssd \n"), "/mnt/my ssd");
    }
}
