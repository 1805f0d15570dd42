//! Ctrl-C, SIGTERM, SIGHUP: the first asks the run to stop at its next safe point, a second Ctrl-C leaves at once.
//! Either way the cursor is visible, the terminal sane and the run resumable.

use data_layer::error::Result;
use data_layer::host::Host;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the program is waiting for a line of input, so that there is no safe point to wait for.
static WAITING_FOR_INPUT: AtomicBool = AtomicBool::new(false);

/// While alive, a signal ends the process at once (after restoring the terminal).
pub struct WaitingForInput;

impl WaitingForInput {
    pub fn begin() -> Self {
        WAITING_FOR_INPUT.store(true, Ordering::SeqCst);
        Self
    }
}

impl Drop for WaitingForInput {
    fn drop(&mut self) {
        WAITING_FOR_INPUT.store(false, Ordering::SeqCst);
    }
}

/// Whether a front end reads single keys and treats Ctrl-C as one of them.
static PROMPT_OWNS_KEYS: AtomicBool = AtomicBool::new(false);

/// While alive, SIGINT is ignored: the front end's pause menu answers Ctrl-C.
pub struct PromptOwnsKeys;

impl PromptOwnsKeys {
    pub fn begin() -> Self {
        PROMPT_OWNS_KEYS.store(true, Ordering::SeqCst);
        Self
    }
}

impl Drop for PromptOwnsKeys {
    fn drop(&mut self) {
        PROMPT_OWNS_KEYS.store(false, Ordering::SeqCst);
    }
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
        if number == 2 && PROMPT_OWNS_KEYS.load(Ordering::SeqCst) {
            continue;
        }
        if host.is_cancelled() || WAITING_FOR_INPUT.load(Ordering::SeqCst) {
            leave(number);
        }
        host.cancel(number);
    }
}

#[allow(clippy::disallowed_methods, clippy::print_stderr)] // the one abrupt way out
fn leave(number: i32) {
    drop(console::Term::stderr().show_cursor());
    eprintln!("\nstopped; the run can be resumed with the same command");
    std::process::exit(128 + number);
}
