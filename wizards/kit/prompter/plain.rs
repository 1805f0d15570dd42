//! The line-oriented face: numbered choices, one line an answer, no escape sequence ever. It serves dumb terminals, logs,
//! screen readers and PTY tests, and is the reference that the fancy one is a skin of.

use super::Place;
use super::talk::{Attention, Face, Input, PAUSED, Tone, typed};
use super::words::Word;
use crate::kit::signals;
use data_layer::error::{Error, Result, code};
use data_layer::words::tell;
use rustix::termios::{self, LocalModes, OptionalActions};
use std::io::{BufRead, Write};
use std::sync::mpsc;

/// What a source of lines says.
pub enum Heard {
    Line(String),
    End,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM or SIGHUP, by number.
    Stopped(i32),
}

/// Where lines come from.
pub trait Lines {
    /// The next line; a hidden one is not echoed where there is an echo.
    fn next(&mut self, hidden: bool) -> Result<Heard>;
    /// Let signals be heard as lines are, while the value lives.
    fn hear_signals(&self) -> Option<signals::PromptReadsLines> {
        None
    }
}

impl<R: BufRead> Lines for R {
    fn next(&mut self, _: bool) -> Result<Heard> {
        let mut line = String::new();
        Ok(if self.read_line(&mut line)? == 0 { Heard::End } else { Heard::Line(line) })
    }
}

/// Standard input, read by a thread of its own, so that a signal can be heard while a line is awaited.
pub struct Stdin {
    sender: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    wanted: mpsc::Sender<()>,
    /// A line was asked for and has not come yet (a pause menu came between).
    awaiting: bool,
}

impl Stdin {
    pub fn start() -> Self {
        let (sender, heard) = mpsc::channel();
        let (wanted, wishes) = mpsc::channel::<()>();
        let to_prompt = sender.clone();
        std::thread::spawn(move || {
            while wishes.recv().is_ok() {
                let mut line = String::new();
                let said = match std::io::stdin().lock().read_line(&mut line) {
                    Ok(0) | Err(_) => Heard::End,
                    Ok(_) => Heard::Line(line),
                };
                if to_prompt.send(said).is_err() {
                    return;
                }
            }
        });
        Self { sender, heard, wanted, awaiting: false }
    }
}

impl Lines for Stdin {
    fn next(&mut self, hidden: bool) -> Result<Heard> {
        let _echo = hidden.then(NoEcho::begin);
        if !self.awaiting {
            let _ = self.wanted.send(());
        }
        let said = self.heard.recv().unwrap_or(Heard::End);
        self.awaiting = matches!(said, Heard::Interrupted | Heard::Stopped(_));
        Ok(said)
    }

    fn hear_signals(&self) -> Option<signals::PromptReadsLines> {
        Some(signals::PromptReadsLines::begin(self.sender.clone()))
    }
}

/// While it lives, the terminal driver does not echo.
struct NoEcho(Option<termios::Termios>);

impl NoEcho {
    fn begin() -> Self {
        let before = termios::tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(modes) = &before {
            let mut quiet = modes.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &quiet);
        }
        signals::keep_modes(before.clone());
        Self(before)
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
        signals::keep_modes(None);
    }
}

/// Lines in, lines out (standard input and standard error in the real program).
pub struct Plain<L, W> {
    input: L,
    output: W,
    echoes: bool,
}

impl<L: Lines, W: Write> Plain<L, W> {
    /// `echoes` = what is typed is seen, so that a hidden line needs a line end of its own.
    pub fn new(input: L, output: W, echoes: bool) -> Self {
        Self { input, output, echoes }
    }

    fn prompt(&mut self) -> Result<()> {
        write!(self.output, "> ")?;
        self.output.flush()?;
        Ok(())
    }

    /// `None` = go on with the question.
    fn pause_menu(&mut self) -> Result<Option<Word>> {
        loop {
            writeln!(self.output, "\n{}", tell(PAUSED))?;
            self.prompt()?;
            match self.input.next(false)? {
                Heard::Line(line) => match line.trim() {
                    "1" | "" => return Ok(None),
                    "2" | ":back" => return Ok(Some(Word::Back)),
                    "3" | ":save" => return Ok(Some(Word::Save)),
                    _ => {}
                },
                Heard::Interrupted => return Err(signals::interrupted()),
                Heard::Stopped(number) => return Err(signals::stopped(number)),
                Heard::End => return Err(Error::new(code::USE_PAUSED, "the input ended; every answer is kept")),
            }
        }
    }
}

impl<L: Lines, W: Write> Face for Plain<L, W> {
    fn attend(&mut self) -> Attention {
        Attention::of(self.input.hear_signals())
    }

    fn say(&mut self, _: Tone, text: &str) -> Result<()> {
        Ok(writeln!(self.output, "{}", tell(text))?)
    }

    fn heading(&mut self, place: &Place, prompt: &str) -> Result<()> {
        Ok(writeln!(self.output, "[{}/{}] {}", place.n, place.of, tell(prompt))?)
    }

    fn line(&mut self, _: &str, hidden: bool) -> Result<Input> {
        loop {
            self.prompt()?;
            let heard = self.input.next(hidden)?;
            if hidden && self.echoes {
                writeln!(self.output)?;
            }
            match heard {
                Heard::End => return Ok(Input::End),
                Heard::Stopped(number) => return Err(signals::stopped(number)),
                Heard::Interrupted => {
                    if let Some(word) = self.pause_menu()? {
                        return Ok(Input::Word(word, String::new()));
                    }
                }
                Heard::Line(line) => {
                    if let Some(input) = typed(self, &line)? {
                        return Ok(input);
                    }
                }
            }
        }
    }

    fn pick(&mut self, labels: &[String], at: usize) -> Result<Input> {
        for (i, label) in labels.iter().enumerate() {
            let mark = if i == at { "*" } else { " " };
            writeln!(self.output, " {mark}{}) {}", i + 1, tell(label))?;
        }
        match self.line("", false)? {
            Input::Text(text) if text.is_empty() => Ok(Input::Pick(at)),
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::talk::Talk;
    use super::super::{GateReply, Prompter, Reply, ReviewReply, SecretReply, Sheet};
    use super::*;
    use crate::kit::{Choice, Question, SecretSpec};
    use secrecy::ExposeSecret;

    fn place() -> Place {
        Place { step: "a-b", title: "A", n: 1, of: 2, why: "Because.", outline: "  here [1/2] A".into(), part: (2, 7) }
    }

    fn sheet() -> Sheet {
        Sheet { whole: "text".into(), brief: Box::new(|_| "short".into()) }
    }

    fn talk<T>(input: &str, f: impl FnOnce(&mut dyn Prompter) -> T) -> (T, String) {
        let mut out = Vec::new();
        let reply = f(&mut Talk::new(Plain::new(input.as_bytes(), &mut out, false)));
        (reply, String::from_utf8(out).unwrap())
    }

    fn ask(input: &str, question: &Question) -> (Result<Reply>, String) {
        talk(input, |p| p.ask(&place(), question))
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
    fn back_save_help_and_the_list_of_steps_work_on_every_kind_of_question() {
        let select = Question::select("a.s", "Which?", vec![Choice::new("x", "X"), Choice::new("y", "Y")]).default("x", "first").help("More about it.");
        for q in [Question::text("a.b", "Name?").help("More about it."), Question::confirm("a.c", "Sure?").help("More about it."), select] {
            assert_eq!(ask(":back\n", &q).0.unwrap(), Reply::Back);
            assert_eq!(ask("\u{1b}\n", &q).0.unwrap(), Reply::Back);
            let (reply, text) = ask("?\n:steps\n:nonsense\n:save\n", &q);
            assert_eq!(reply.unwrap(), Reply::Pause);
            for said in ["More about it.", "here [1/2] A", "':nonsense' is not known", "Because.", "--set a."] {
                assert!(text.contains(said), "{said}: {text}");
            }
            assert!(ask("", &q).0.unwrap_err().is(code::USE_ANSWER_MISSING));
        }
    }

    #[test]
    fn a_choice_is_a_number_a_name_or_enter() {
        let q = Question::select("a.s", "Which?", vec![Choice::new("x", "The X"), Choice::new("y", "The Y")]).default("y", "second");
        for (typed, value) in [("\n", "y"), ("1\n", "x"), ("x\n", "x"), ("7\n2\n", "y")] {
            assert_eq!(ask(typed, &q).0.unwrap(), Reply::Value(value.into()), "{typed:?}");
        }
    }

    #[test]
    fn secrets_review_and_gates_know_the_same_words() {
        let spec = SecretSpec { var: "A_KEY", label: "A key", without: "nothing", required: true };
        assert!(matches!(talk(":back\n", |p| p.ask_secret(&place(), &spec, None)).0.unwrap(), SecretReply::Back));
        assert!(matches!(talk(":save\n", |p| p.ask_secret(&place(), &spec, None)).0.unwrap(), SecretReply::Pause));
        assert!(talk(":back\n", |p| p.ask_secret(&place(), &spec, None)).1.contains("[1/2] key 2 of 7: A key (A_KEY)"));
        match talk("?\n\n'PKABC'\n", |p| p.ask_secret(&place(), &spec, None)).0.unwrap() {
            SecretReply::Set(key) => assert_eq!(key.expose_secret(), "PKABC"),
            _ => panic!("the key was not taken"),
        }
        let steps = [("a-b".to_string(), "A: x".to_string())];
        let review = |input: &str| talk(input, |p| p.review(&place(), &sheet(), &steps)).0;
        assert_eq!(review("?\n:steps\n9\n1\n").unwrap(), ReviewReply::Accept);
        assert_eq!(review("2\n1\n").unwrap(), ReviewReply::Change("a-b".into()));
        assert_eq!(review(":back\n").unwrap(), ReviewReply::Back);
        assert!(review("").unwrap_err().is(code::USE_ANSWER_MISSING));
        let gate = |input: &str| talk(input, |p| p.gate(&place(), "orders", "GO")).0.unwrap();
        assert_eq!(gate("?\n:steps\ngo\n"), GateReply::Typed("go".into()));
        assert_eq!((gate(":back\n"), gate(":save\n"), gate("")), (GateReply::Back, GateReply::Pause, GateReply::Nobody));
    }
}
