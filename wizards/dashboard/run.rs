//! The loop around the pure parts: terminal in, terminal out.

use super::model::{Event, Key, Leave, Model, Panic, Snapshot, update};
use super::view::view;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the keyboard is waited for between two looks at everything else.
const POLL: Duration = Duration::from_millis(250);
/// Polls between two snapshots: about a second.
const POLLS_PER_SNAPSHOT: u32 = 4;

/// What engages the kill switch; the words say what came of it.
pub type Stop<'a> = &'a dyn Fn() -> String;

/// Puts the terminal back, also when the loop panics or returns early.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        drop(ratatui::try_restore());
        let mut out = std::io::stdout();
        drop(ratatui::crossterm::execute!(out, ratatui::crossterm::cursor::Show));
    }
}

/// Whether there is a terminal to draw on and a keyboard to leave with.
pub fn possible() -> bool {
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}

/// Show snapshots until the user leaves, `over` says that there is nothing more to see, or the host is cancelled from
/// elsewhere. The source works on a thread of its own, about once a second: a drive that is slow to read never keeps a key
/// from being seen. With `stop`, the paper book's screen can engage the kill switch.
pub fn run(host: &Host, mut source: impl FnMut() -> Snapshot + Send, over: impl Fn() -> bool, stop: Option<Stop<'_>>) -> Result<Leave> {
    if !possible() {
        return Err(Error::new(code::HOST_TERMINAL, "the dashboard needs a terminal").fix("trademl status --json"));
    }
    let model = Model::new(source());
    let (ask, asked) = channel::<()>();
    let (send, pictures) = channel();
    let leave = std::thread::scope(|scope| {
        scope.spawn(move || while asked.recv().is_ok() && send.send(source()).is_ok() {});
        // Moved in, so that the asking ends with the watching and the source's thread with it.
        let ask = ask;
        watch(host, model, &|| ask.send(()).is_ok(), &pictures, &over, stop)
    })?;
    if leave == Leave::Interrupted && !host.is_cancelled() {
        host.cancel(2);
    }
    Ok(leave)
}

fn watch(
    host: &Host,
    mut model: Model,
    ask: &dyn Fn() -> bool,
    pictures: &Receiver<Snapshot>,
    over: &dyn Fn() -> bool,
    stop: Option<Stop<'_>>,
) -> Result<Leave> {
    // `try_init` also sets a panic hook that restores the terminal before the message is printed.
    let restore = Restore;
    let mut terminal = ratatui::try_init()?;
    let keyboard = Keyboard::listen();
    let (mut polls, mut changed) = (0, true);
    let leave = loop {
        if changed {
            terminal.draw(|frame| view(frame, &model))?;
        }
        changed = true;
        match keyboard.events.recv_timeout(POLL) {
            Ok(event) => model = update(model, event),
            Err(RecvTimeoutError::Timeout) => (polls, changed) = (polls + 1, false),
            // The terminal cannot be read any more.
            Err(RecvTimeoutError::Disconnected) => break Leave::Quit,
        }
        if let Some(leave) = model.leaving {
            break leave;
        }
        if model.panic == Panic::Asked {
            model.panic = Panic::Said(stop.map_or_else(|| "this screen cannot stop orders: trademl paper stop".into(), |stop| stop()));
        }
        if host.is_cancelled() {
            break Leave::Interrupted;
        }
        if over() {
            break Leave::Over;
        }
        if let Some(newest) = pictures.try_iter().last() {
            (model, changed) = (update(model, Event::Fresh(Box::new(newest))), true);
        }
        if polls >= POLLS_PER_SNAPSHOT {
            polls = 0;
            if !ask() {
                break Leave::Over;
            }
        }
    };
    keyboard.end(host);
    drop(restore);
    Ok(leave)
}

/// Reads the terminal on a thread of its own: on one that has hung up, reading never returns, and the screen must still see
/// that it is asked to stop.
struct Keyboard {
    events: Receiver<Event>,
    over: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

impl Keyboard {
    fn listen() -> Self {
        let (send, events) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let reader = std::thread::spawn(move || {
            while !seen.load(Ordering::SeqCst) {
                match event::poll(POLL / 2) {
                    Ok(false) => {}
                    Ok(true) => {
                        let Ok(input) = event::read() else { return };
                        if let Some(event) = translate(&input)
                            && send.send(event).is_err()
                        {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        });
        Self { events, over, reader }
    }

    /// Leave the terminal to others, unless the program is ending anyway.
    fn end(self, host: &Host) {
        self.over.store(true, Ordering::SeqCst);
        if !host.is_cancelled() {
            drop(self.reader.join());
        }
    }
}

/// What an input of the terminal means here; `None` = nothing.
fn translate(input: &Input) -> Option<Event> {
    match input {
        Input::Resize(..) => Some(Event::Resize),
        Input::Key(key) if key.kind != KeyEventKind::Release => Some(Event::Key(meaning(key))),
        _ => None,
    }
}

fn meaning(key: &KeyEvent) -> Key {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Esc => Key::Esc,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_footer_says() {
        let key = |code, modifiers| meaning(&KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Key::Char('q'));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Key::Interrupt);
        assert_eq!(key(KeyCode::Char('u'), KeyModifiers::CONTROL), Key::Other);
        assert_eq!(key(KeyCode::Char('S'), KeyModifiers::SHIFT), Key::Char('S'));
        assert_eq!(translate(&Input::Resize(60, 20)), Some(Event::Resize));
        assert_eq!(translate(&Input::FocusLost), None);
    }
}
