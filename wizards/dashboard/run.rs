//! The loop around the pure parts: terminal in, terminal out.

use super::model::{Event, Key, Model, Snapshot, update};
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

/// How the dashboard was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// `q`: only the view ends.
    Quit,
    /// What was watched has ended.
    Over,
    /// Ctrl-C: the program was asked to stop ([`Host::cancel`] has been called).
    Interrupted,
}

/// How long the keyboard is waited for between two pictures.
const POLL: Duration = Duration::from_millis(250);
/// Polls between two calls of the source: about a second.
const POLLS_PER_SNAPSHOT: u32 = 4;

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
/// elsewhere. The source is called about once a second and should answer quickly.
pub fn run(host: &Host, mut source: impl FnMut() -> Snapshot, over: impl Fn() -> bool) -> Result<Leave> {
    if !possible() {
        return Err(Error::new(code::HOST_TERMINAL, "the dashboard needs a terminal").fix("trademl status --json"));
    }
    let mut model = Model::new(source());
    // `try_init` also sets a panic hook that restores the terminal before the message is printed.
    let restore = Restore;
    let mut terminal = ratatui::try_init()?;
    let keyboard = Keyboard::listen();
    let mut polls = 0;
    let leave = loop {
        terminal.draw(|frame| view(frame, &model))?;
        match keyboard.events.recv_timeout(POLL) {
            Ok(event) => model = update(model, event),
            Err(RecvTimeoutError::Timeout) => polls += 1,
            // The terminal cannot be read any more.
            Err(RecvTimeoutError::Disconnected) => break Leave::Quit,
        }
        if let Some(key) = model.leaving {
            break if key == Key::Interrupt { Leave::Interrupted } else { Leave::Quit };
        }
        if host.is_cancelled() {
            break Leave::Interrupted;
        }
        if over() {
            break Leave::Over;
        }
        if polls >= POLLS_PER_SNAPSHOT {
            polls = 0;
            model = update(model, Event::Fresh(Box::new(source())));
        }
    };
    keyboard.end(host);
    drop(restore);
    if leave == Leave::Interrupted && !host.is_cancelled() {
        host.cancel(2);
    }
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
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Key::Quit,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Char('?' | 'h') => Key::Help,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_footer_says() {
        let key = |code, modifiers| meaning(&KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Key::Quit);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Key::Interrupt);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Key::Other);
        assert_eq!(translate(&Input::Resize(60, 20)), Some(Event::Resize));
        assert_eq!(translate(&Input::FocusLost), None);
    }
}
