//! Keys from the bytes of a terminal.
//!
//! While a prompt waits the terminal driver neither echoes nor edits nor raises signals, also between two keys (a paste
//! arrives in one burst); bracketed paste is on. A read ends after a tenth of a second without a byte: that tells a lone Esc
//! from an escape sequence, and lets a signal or a new window size be seen.

use crate::kit::signals;
use console::Term;
use data_layer::error::Result;
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::collections::VecDeque;

const PASTE_ON: &str = "\u{1b}[?2004h";
const PASTE_OFF: &str = "\u{1b}[?2004l";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    /// A bracketed paste, as it came.
    Paste(String),
    Enter,
    Escape,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    Home,
    EndOfLine,
    Delete,
    Backspace,
    /// Ctrl-U
    Clear,
    /// Ctrl-W
    ClearWord,
    /// Ctrl-C
    Interrupt,
    /// Ctrl-Z
    Suspend,
    /// Ctrl-D, or the terminal has gone.
    End,
    Resized,
    Other,
}

/// The keyboard, with what was typed ahead.
#[derive(Default)]
pub struct Keyboard {
    bytes: VecDeque<u8>,
    size: Option<(u16, u16)>,
}

/// While it lives, every key is ours.
pub struct Raw {
    before: Option<Termios>,
    _signals: signals::PromptReadsKeys,
}

impl Raw {
    fn begin() -> Self {
        let before = termios::tcgetattr(rustix::stdio::stdin()).ok();
        signals::keep_modes(before.clone());
        enter(before.as_ref());
        Self { before, _signals: signals::PromptReadsKeys::begin() }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        leave(self.before.as_ref());
        signals::keep_modes(None);
    }
}

fn enter(before: Option<&Termios>) {
    let Some(modes) = before else { return };
    let mut raw = modes.clone();
    raw.local_modes.remove(LocalModes::ISIG | LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::IEXTEN);
    raw.input_modes.remove(InputModes::ICRNL | InputModes::IXON);
    raw.special_codes[SpecialCodeIndex::VMIN] = 0;
    raw.special_codes[SpecialCodeIndex::VTIME] = 1;
    let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw);
    drop(Term::stderr().write_str(PASTE_ON));
}

fn leave(before: Option<&Termios>) {
    let Some(modes) = before else { return };
    drop(Term::stderr().write_str(PASTE_OFF));
    let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, modes);
}

impl Keyboard {
    pub fn begin(&mut self) -> Raw {
        self.size = Some(Term::stderr().size());
        Raw::begin()
    }

    /// Stop this job as Ctrl-Z does everywhere, with a sane terminal meanwhile; returns when it is continued.
    pub fn suspend(&self) {
        let ours = termios::tcgetattr(rustix::stdio::stdin()).ok();
        leave(signals::kept_modes().as_ref());
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        if let Some(ours) = ours {
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &ours);
            drop(Term::stderr().write_str(PASTE_ON));
        }
    }

    /// Wait for a key. SIGTERM and SIGHUP end the wait with an error that leads to their exit status.
    pub fn next(&mut self) -> Result<Key> {
        loop {
            if let Some(first) = self.byte() {
                return Ok(self.key(first));
            }
            match signals::take() {
                Some(2) => return Ok(Key::Interrupt),
                Some(number) => return Err(signals::stopped(number)),
                None => {}
            }
            if termios::tcgetattr(rustix::stdio::stdin()).is_err() {
                return Ok(Key::End);
            }
            let size = Some(Term::stderr().size());
            if size != self.size {
                self.size = size;
                return Ok(Key::Resized);
            }
        }
    }

    /// One byte, or `None` when nothing comes for a tenth of a second.
    fn byte(&mut self) -> Option<u8> {
        if self.bytes.is_empty() {
            let mut buffer = [0; 1024];
            let n = rustix::io::read(rustix::stdio::stdin(), &mut buffer).unwrap_or(0);
            self.bytes.extend(&buffer[..n]);
        }
        self.bytes.pop_front()
    }

    fn key(&mut self, first: u8) -> Key {
        match first {
            b'\r' | b'\n' => Key::Enter,
            0x1b => self.sequence(),
            0x03 => Key::Interrupt,
            0x04 => Key::End,
            0x01 => Key::Home,
            0x05 => Key::EndOfLine,
            0x02 => Key::Left,
            0x06 => Key::Right,
            0x08 | 0x7f => Key::Backspace,
            0x0c => Key::Resized,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::Clear,
            0x17 => Key::ClearWord,
            0x1a => Key::Suspend,
            0x00..=0x1f => Key::Other,
            _ => self.character(first),
        }
    }

    fn character(&mut self, first: u8) -> Key {
        let length = match first {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        let mut bytes = vec![first];
        while bytes.len() < length {
            let Some(next) = self.byte() else { break };
            bytes.push(next);
        }
        std::str::from_utf8(&bytes).ok().and_then(|s| s.chars().next()).map_or(Key::Other, Key::Char)
    }

    /// What follows an Esc.
    fn sequence(&mut self) -> Key {
        let Some(second) = self.byte() else { return Key::Escape };
        if second != b'[' && second != b'O' {
            // Esc and then another key, typed quickly: going back matters more.
            self.bytes.push_front(second);
            return Key::Escape;
        }
        let mut code = String::new();
        loop {
            match self.byte() {
                Some(end @ 0x40..=0x7e) => {
                    code.push(char::from(end));
                    break;
                }
                Some(more) => code.push(char::from(more)),
                None => return Key::Escape,
            }
        }
        match code.as_str() {
            "A" => Key::Up,
            "B" => Key::Down,
            "C" => Key::Right,
            "D" => Key::Left,
            "H" | "1~" | "7~" => Key::Home,
            "F" | "4~" | "8~" => Key::EndOfLine,
            "3~" => Key::Delete,
            "Z" => Key::BackTab,
            "200~" => self.paste(),
            _ => Key::Other,
        }
    }

    /// Everything up to the end mark of a bracketed paste.
    fn paste(&mut self) -> Key {
        const END: &[u8] = b"\x1b[201~";
        let mut bytes = Vec::new();
        while let Some(next) = self.byte() {
            bytes.push(next);
            if bytes.ends_with(END) {
                bytes.truncate(bytes.len() - END.len());
                break;
            }
        }
        Key::Paste(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of a burst of bytes; the end mark keeps the reader from asking a real terminal.
    fn keys(text: &str) -> Vec<Key> {
        let mut board = Keyboard::default();
        board.bytes.extend(text.as_bytes());
        let mut out = Vec::new();
        while let Some(first) = board.bytes.pop_front() {
            out.push(board.key(first));
        }
        out
    }

    #[test]
    fn bytes_become_keys() {
        assert_eq!(keys("a\u{e9}\u{4e2d}\r"), [Key::Char('a'), Key::Char('\u{e9}'), Key::Char('\u{4e2d}'), Key::Enter]);
        assert_eq!(keys("\u{1b}[A\u{1b}[Z\u{1b}OF\u{1b}[3~"), [Key::Up, Key::BackTab, Key::EndOfLine, Key::Delete]);
        assert_eq!(keys("\u{3}\u{15}\u{17}\u{1a}\u{7f}"), [Key::Interrupt, Key::Clear, Key::ClearWord, Key::Suspend, Key::Backspace]);
        assert_eq!(keys("\u{1b}x"), [Key::Escape, Key::Char('x')]);
    }

    #[test]
    fn a_bracketed_paste_is_one_key_whatever_it_holds() {
        let text = "\u{1b}[200~/mnt/my ssd\rsecond\u{3}\u{1b}[201~\r";
        assert_eq!(keys(text), [Key::Paste("/mnt/my ssd\rsecond\u{3}".into()), Key::Enter]);
    }
}
