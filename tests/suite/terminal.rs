//! The real program on a pseudo-terminal: what is on the screen, cursor and modes included.

use portable_pty::{CommandBuilder, NativePtySystem, PtySize, PtySystem};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A program on an 80x24 (or other) screen.
struct Screen {
    parser: vt100::Parser,
    chunks: mpsc::Receiver<Vec<u8>>,
    writer: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    raw: Vec<u8>,
}

impl Screen {
    fn start(home: &Path, args: &[&str], (cols, rows): (u16, u16), env: &[(&str, &str)]) -> Self {
        let pair = NativePtySystem::default().openpty(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_trademl"));
        command.args(args);
        command.env_clear();
        command.cwd(home);
        for (name, value) in [("HOME", home.to_str().unwrap()), ("PATH", "/usr/bin:/bin"), ("TERM", "xterm-256color"), ("LANG", "C.UTF-8")].iter().chain(env) {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let writer = pair.master.take_writer().unwrap();
        let (send, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            // Keeps the master side open until the program is gone.
            let _master = pair.master;
            let mut buffer = [0; 4096];
            while let Ok(n) = reader.read(&mut buffer) {
                if n == 0 || send.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { parser: vt100::Parser::new(rows.try_into().unwrap(), cols.try_into().unwrap(), 0), chunks, writer, child, raw: Vec::new() }
    }

    /// Read until `text` is on the screen.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.parser.screen().contents().contains(text) {
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => {
                    self.parser.process(&chunk);
                    self.raw.extend(chunk);
                }
                Err(_) => panic!("'{text}' never appeared:\n{}", self.parser.screen().contents()),
            }
        }
    }

    fn send(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// Wait for the end; the exit status.
    fn end(&mut self) -> u32 {
        let status = self.child.wait().unwrap().exit_code();
        while let Ok(chunk) = self.chunks.recv_timeout(Duration::from_millis(500)) {
            self.parser.process(&chunk);
            self.raw.extend(chunk);
        }
        status
    }
}

const SIZE: (u16, u16) = (80, 24);

#[test]
fn the_first_question_shows_its_evidence_and_ctrl_c_leaves_a_sane_terminal() {
    let home = tempfile::tempdir().unwrap();
    let mut screen = Screen::start(home.path(), &["pi-data-node"], SIZE, &[]);
    screen.wait_for("Where shall the data live?");
    screen.send("\u{3}");
    screen.wait_for("Paused");
    screen.send("\u{3}");
    assert_eq!(screen.end(), 130);
    assert!(!screen.parser.screen().hide_cursor(), "the cursor is hidden");
}

#[test]
fn plain_mode_never_sends_an_escape_sequence() {
    let home = tempfile::tempdir().unwrap();
    let mut screen = Screen::start(home.path(), &["pi-data-node", "--plain"], SIZE, &[]);
    screen.wait_for("Where shall the data live?");
    screen.send(&format!("{}\r", home.path().join("drive").display()));
    screen.wait_for("Which market?");
    screen.send("1\r");
    screen.wait_for("What is this node called?");
    screen.send(":save\r");
    assert_eq!(screen.end(), 5);
    assert!(!screen.raw.contains(&0x1b), "{}", String::from_utf8_lossy(&screen.raw));
}

#[test]
fn a_typed_answer_survives_esc_and_a_wrong_one_is_kept_for_correction() {
    let home = tempfile::tempdir().unwrap();
    let drive = home.path().join("drive");
    let mut screen =
        Screen::start(home.path(), &["pi-data-node", "--root", drive.to_str().unwrap(), "--set", "market.world=practice"], (100, 30), &[("NO_COLOR", "1")]);
    screen.wait_for("What is this node called?");
    screen.send("bad name\r");
    screen.wait_for("not accepted");
    screen.send("\u{15}pi-kitchen\r");
    screen.wait_for("Which symbols");
    screen.send("\u{1b}");
    screen.wait_for("pi-kitchen   (as answered the last time)");
    screen.send("\u{3}");
    screen.wait_for("Paused");
    screen.send("3");
    assert_eq!(screen.end(), 5);
    let raw = String::from_utf8_lossy(&screen.raw).into_owned();
    assert!(!raw.contains("\u{1b}[3") && !raw.contains("\u{1b}[9"), "colour in spite of NO_COLOR");
}
