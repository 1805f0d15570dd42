//! Ctrl-C, SIGTERM, SIGHUP: the first asks the run to stop at its next safe point, a second one leaves at once. A prompt is
//! a safe point: it hears of the signal, and Ctrl-C opens its pause menu. However it ends, the cursor is visible, the
//! terminal sane and the run resumable.

use super::prompter::plain::Heard;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use rustix::termios::{self, OptionalActions, Termios};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, mpsc};

/// Who waits for a person now.
enum Prompt {
    Nobody,
    /// A front end that reads single keys and looks at [`take`].
    Keys,
    /// A front end that reads lines.
    Lines(mpsc::Sender<Heard>),
}

static PROMPT: Mutex<Prompt> = Mutex::new(Prompt::Nobody);

/// A signal that a key-reading prompt has not seen yet; 0 = none.
static PENDING: AtomicI32 = AtomicI32::new(0);

/// The terminal's modes as they were before a prompt changed them.
static MODES: Mutex<Option<Termios>> = Mutex::new(None);

fn set(prompt: Prompt) {
    if let Ok(mut slot) = PROMPT.lock() {
        *slot = prompt;
    }
}

/// While alive, signals are the key-reading prompt's.
pub struct PromptReadsKeys(());

impl PromptReadsKeys {
    pub fn begin() -> Self {
        set(Prompt::Keys);
        Self(())
    }
}

impl Drop for PromptReadsKeys {
    fn drop(&mut self) {
        set(Prompt::Nobody);
    }
}

/// While alive, signals are told to the line-reading prompt.
pub struct PromptReadsLines(());

impl PromptReadsLines {
    pub fn begin(to: mpsc::Sender<Heard>) -> Self {
        set(Prompt::Lines(to));
        Self(())
    }
}

impl Drop for PromptReadsLines {
    fn drop(&mut self) {
        set(Prompt::Nobody);
    }
}

/// The signal that arrived while keys were awaited.
pub fn take() -> Option<i32> {
    Some(PENDING.swap(0, Ordering::SeqCst)).filter(|n| *n != 0)
}

/// Remember the modes to go back to if the process must leave from here; `None` = they are restored.
pub fn keep_modes(modes: Option<Termios>) {
    if let Ok(mut slot) = MODES.lock() {
        *slot = modes;
    }
}

/// The modes that are to be restored, if a prompt has changed them.
pub fn kept_modes() -> Option<Termios> {
    MODES.lock().ok().and_then(|slot| slot.clone())
}

/// Ctrl-C in the pause menu.
pub fn interrupted() -> Error {
    Error::new(code::USE_INTERRUPTED, "stopped by Ctrl-C; everything answered so far is kept")
}

/// A signal ended a prompt.
pub fn stopped(number: i32) -> Error {
    if number == 15 {
        return Error::new(code::USE_TERMINATED, "asked to stop; everything answered so far is kept");
    }
    Error::new(code::USE_INTERRUPTED, "the terminal has gone; everything answered so far is kept")
}

/// Listen for signals in the background for the rest of the process's life.
pub fn listen(host: &Host) -> Result<()> {
    let host = host.clone();
    let listener = host.clone();
    host.block_on(async move {
        tokio::spawn(async move { watch(listener).await });
    })
}

async fn watch(host: Host) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return;
    };
    loop {
        let number = tokio::select! {
            _ = int.recv() => 2,
            _ = term.recv() => 15,
            _ = hup.recv() => 1,
        };
        if tell_prompt(number) && number == 2 {
            continue;
        }
        if host.is_cancelled() {
            leave(number);
        }
        host.cancel(number);
    }
}

/// Whether somebody waits for a person, and was told.
fn tell_prompt(number: i32) -> bool {
    match PROMPT.lock().as_deref() {
        Ok(Prompt::Keys) => PENDING.store(number, Ordering::SeqCst),
        Ok(Prompt::Lines(to)) => drop(to.send(if number == 2 { Heard::Interrupted } else { Heard::Stopped(number) })),
        _ => return false,
    }
    true
}

#[allow(clippy::disallowed_methods, clippy::print_stderr)] // the one abrupt way out
fn leave(number: i32) {
    if let Some(modes) = kept_modes() {
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &modes);
    }
    drop(console::Term::stderr().show_cursor());
    eprintln!("\nstopped; the run can be resumed with the same command");
    std::process::exit(128 + number);
}
