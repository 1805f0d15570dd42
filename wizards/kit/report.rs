//! What a run tells the outside: text for a person on standard error, or NDJSON events on standard output.
//!
//! Both are made from the same values. JSON is additive and versioned (`docs/events.md`).

use data_layer::error::{Body, Error};
use data_layer::host::Host;
use data_layer::words::tell;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a run speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Colour and bars on a terminal.
    Rich,
    /// One line an event, ASCII, no escape sequence.
    Plain,
    /// NDJSON.
    Json,
    /// Collected, for tests.
    Silent,
}

/// The run's mouth. Cheap to share; safe from any thread.
pub struct Reporter {
    host: Host,
    voice: Voice,
    wizard: &'static str,
    run: Mutex<String>,
    log: Mutex<Option<String>>,
    bar: Mutex<Option<indicatif::ProgressBar>>,
    last_line: AtomicU64,
    /// A full-screen view is up: lines and bars would garble it. Events are still logged.
    hushed: std::sync::atomic::AtomicBool,
    kept: Mutex<Vec<Value>>,
}

impl Reporter {
    pub fn new(host: &Host, voice: Voice, wizard: &'static str, log: Option<String>) -> Self {
        Self {
            host: host.clone(),
            voice,
            wizard,
            run: Mutex::new(String::new()),
            log: Mutex::new(log),
            bar: Mutex::new(None),
            last_line: AtomicU64::new(u64::MAX),
            hushed: std::sync::atomic::AtomicBool::new(false),
            kept: Mutex::new(Vec::new()),
        }
    }

    /// Keep quiet on a terminal while something else fills the screen.
    pub fn hush(&self, quiet: bool) {
        self.hushed.store(quiet, Ordering::SeqCst);
    }

    pub fn voice(&self) -> Voice {
        self.voice
    }

    /// Where this process logs, as shown to people.
    pub fn log(&self) -> Option<String> {
        self.log.lock().ok().and_then(|l| l.clone())
    }

    /// The log has moved.
    pub fn set_log(&self, place: String) {
        if let Ok(mut log) = self.log.lock() {
            *log = Some(place);
        }
    }

    pub fn set_run(&self, run: &str) {
        if let Ok(mut slot) = self.run.lock() {
            *slot = run.to_string();
        }
    }

    /// An event: `text` for people, `fields` for programs.
    pub fn event(&self, name: &str, text: &str, fields: Value) {
        tracing::info!(event = name, %text, "wizard");
        match self.voice {
            Voice::Json => self.json_line(name, fields),
            Voice::Silent => self.keep(name, fields),
            Voice::Rich | Voice::Plain if !text.is_empty() && !self.hushed.load(Ordering::SeqCst) => self.line(text),
            Voice::Rich | Voice::Plain => {}
        }
    }

    /// A sentence for the person.
    pub fn note(&self, text: &str) {
        self.event("note", text, json!({"text": text}));
    }

    /// Progress of the running step, `done` of `total`.
    pub fn progress(&self, step: &str, done: u64, total: u64, unit: &str) {
        match self.voice {
            Voice::Rich if !self.hushed.load(Ordering::SeqCst) => self.draw_bar(done, total, unit),
            Voice::Json | Voice::Plain if self.due(done, total) => {
                if self.voice == Voice::Json {
                    self.json_line("progress", json!({"step": step, "done": done, "total": total, "unit": unit}));
                } else {
                    self.line(&text!("  {done} of {total} {unit}"));
                }
            }
            _ => {}
        }
    }

    /// The step is over: take the bar away.
    pub fn progress_done(&self) {
        self.last_line.store(u64::MAX, Ordering::Relaxed);
        if let Ok(mut bar) = self.bar.lock()
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }

    /// One line per tenth of the way, so that a log stays readable.
    fn due(&self, done: u64, total: u64) -> bool {
        let tenth = (done * 10).checked_div(total).unwrap_or(0);
        self.last_line.swap(tenth, Ordering::Relaxed) != tenth
    }

    fn draw_bar(&self, done: u64, total: u64, unit: &str) {
        let Ok(mut slot) = self.bar.lock() else { return };
        let bar = slot.get_or_insert_with(|| {
            // The message gives way on a narrow screen: a bar that wraps cannot be drawn over.
            let template = &text!("  {{bar:20}} {{pos}}/{{len}}  {{eta}} {}  {{wide_msg}}", tell(term!("left")));
            let bar = indicatif::ProgressBar::with_draw_target(Some(total), indicatif::ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(indicatif::ProgressStyle::with_template(template).unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        });
        bar.set_length(total);
        bar.set_message(tell(unit).into_owned());
        bar.set_position(done);
    }

    fn line(&self, text: &str) {
        let text = &wrapped(&tell(text), screen_width());
        let suspended = self.bar.lock().ok().and_then(|bar| bar.as_ref().map(|b| b.suspend(|| write_stderr(text))));
        if suspended.is_none() {
            write_stderr(text);
        }
    }

    fn envelope(&self, fields: Value) -> Value {
        let run = self.run.lock().map(|r| r.clone()).unwrap_or_default();
        let mut out = json!({"v": 1, "ts": self.host.now().to_string(), "wizard": self.wizard, "run": run});
        if let (Some(out), Value::Object(fields)) = (out.as_object_mut(), fields) {
            out.extend(fields);
        }
        out
    }

    fn json_line(&self, name: &str, fields: Value) {
        let mut value = self.envelope(fields);
        value["event"] = Value::from(name);
        write_stdout(&value.to_string());
    }

    fn keep(&self, name: &str, fields: Value) {
        let mut value = self.envelope(fields);
        value["event"] = Value::from(name);
        if let Ok(mut kept) = self.kept.lock() {
            kept.push(value);
        }
    }

    /// The last line of a run: status, exit and what to do next.
    pub fn finish(&self, status: &str, exit: u8, next: &[(String, String)], error: Option<&Error>) {
        self.progress_done();
        if self.voice == Voice::Json {
            let next: Vec<Value> = next.iter().map(|(command, when)| json!({"command": command, "when": when})).collect();
            let mut value = json!({"v": 1, "ts": self.host.now().to_string(), "status": status, "exit": exit, "next": next});
            if let Some(error) = error {
                value["error"] = error_json(error.body(), self.log().as_deref());
            }
            write_stdout(&value.to_string());
            return;
        }
        if self.voice == Voice::Silent {
            return;
        }
        match error {
            Some(pause) if status == "paused" => self.line(&pause.body().what),
            Some(error) => self.line(&error_text(error.body(), self.log().as_deref())),
            None => {}
        }
        if !next.is_empty() {
            self.line(term!("next"));
            for (command, when) in next {
                let line = if command.chars().count() < 44 { text!("  {command:<44} {when}") } else { text!("  {command}\n      {when}") };
                self.line(&line);
            }
        }
    }

    /// What a silent reporter heard.
    pub fn heard(&self) -> Vec<Value> {
        self.kept.lock().map(|k| k.clone()).unwrap_or_default()
    }
}

/// Columns of the screen; `None` when nobody sees one (a log, a pipe).
fn screen_width() -> Option<usize> {
    let term = console::Term::stderr();
    term.is_term().then(|| usize::from(term.size().1).max(40))
}

/// Lines broken between words, continued under their own indentation.
pub fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_string() };
    text.lines().map(|line| wrap_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn wrap_line(line: &str, width: usize) -> String {
    if console::measure_text_width(line) <= width {
        return line.to_string();
    }
    let indent = line.chars().take_while(|c| *c == ' ').count() + 2;
    let (mut out, mut column) = (" ".repeat(indent - 2), indent - 2);
    for word in line.trim_start().split(' ') {
        // A run of blanks inside a line is a column: it stays.
        if word.is_empty() {
            out.push(' ');
            column += 1;
            continue;
        }
        let length = console::measure_text_width(word);
        if column > indent && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent - 2 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[allow(clippy::print_stderr)]
fn write_stderr(text: &str) {
    // A closed pipe must not end a run.
    drop(writeln!(std::io::stderr(), "{text}"));
}

#[allow(clippy::print_stdout)]
fn write_stdout(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}"));
    drop(out.flush());
}

/// The error as a person reads it, in their language, without colour.
pub fn error_text(body: &Body, log: Option<&str>) -> String {
    let mut out = text!("{}[{}]: {}", tell(term!("error")), body.code.id, tell(&body.what));
    let mut row = |label: &str, text: &str| out.push_str(&text!("\n  {:<6} {}", tell(label), tell(text)));
    if let Some(cause) = &body.cause {
        row(term!("cause"), cause);
    }
    if let Some(found) = &body.found {
        row(term!("found"), found);
    }
    for fix in &body.fix {
        row(term!("fix"), fix);
    }
    row(term!("docs"), &text!("docs/errors/{id}.md, or: trademl explain {id}", id = body.code.id));
    if let Some(log) = log {
        row(term!("log"), log);
    }
    out
}

/// The same error for programs.
pub fn error_json(body: &Body, log: Option<&str>) -> Value {
    json!({
        "code": body.code.id, "what": body.what, "cause": body.cause, "found": body.found, "fix": body.fix,
        "docs": format!("docs/errors/{}.md", body.code.id), "log": log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::error::code;

    #[test]
    fn long_lines_break_between_words_and_short_ones_stay() {
        let text = wrapped("  one two three four five six", Some(16));
        assert_eq!(text, "  one two three\n    four five\n    six");
        assert_eq!(wrapped("a  b", Some(10)), "a  b");
        assert_eq!(wrapped(&"x".repeat(50), None).len(), 50);
    }

    #[test]
    fn both_faces_of_an_error_say_the_same() {
        let error = Error::new(code::SSD_FULL, "the drive is full").cause("no space").fix("free some space");
        let text = error_text(error.body(), Some("~/log"));
        let json = error_json(error.body(), Some("~/log"));
        for part in ["TML-SSD-006", "the drive is full", "no space", "free some space", "docs/errors/TML-SSD-006.md", "~/log"] {
            assert!(text.contains(part) && json.to_string().contains(part), "{part}");
        }
    }
}
