//! The real program on a pseudo-terminal: what is on the screen, cursor and modes included.

use crate::journey;

use portable_pty::{CommandBuilder, NativePtySystem, PtySize, PtySystem};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A program on an 80x24 (or other) screen.
pub struct Screen {
    pub parser: vt100::Parser,
    chunks: mpsc::Receiver<Vec<u8>>,
    writer: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    master: Box<dyn portable_pty::MasterPty + Send>,
    raw: Vec<u8>,
}

impl Screen {
    fn program(program: &str, home: &Path, args: &[&str], (cols, rows): (u16, u16), env: &[(&str, &str)]) -> Self {
        let pair = NativePtySystem::default().openpty(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        let mut command = CommandBuilder::new(program);
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
            let mut buffer = [0; 4096];
            while let Ok(n) = reader.read(&mut buffer) {
                if n == 0 || send.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { parser: vt100::Parser::new(rows.try_into().unwrap(), cols.try_into().unwrap(), 0), chunks, writer, child, master: pair.master, raw: Vec::new() }
    }

    /// Read until `text` is on the screen.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_times(text, 1);
    }

    /// Read until `text` is on the screen so many times.
    pub fn wait_for_times(&mut self, text: &str, times: usize) {
        self.wait_until(text, |screen| screen.contents().matches(text).count() >= times);
    }

    /// Read until the screen is as wanted.
    fn wait_until(&mut self, text: &str, is: impl Fn(&vt100::Screen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is(self.parser.screen()) {
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => {
                    self.parser.process(&chunk);
                    self.raw.extend(chunk);
                }
                Err(_) => panic!("'{text}' never appeared:\n{}", self.parser.screen().contents()),
            }
        }
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Wait until `text` is on the screen, then press `keys`.
    pub fn reply(&mut self, text: &str, keys: &str) {
        self.wait_for(text);
        self.send(keys);
    }

    pub fn send(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    fn resize(&mut self, cols: u16, rows: u16) {
        self.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        self.parser.set_size(rows.try_into().unwrap(), cols.try_into().unwrap());
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

pub const SIZE: (u16, u16) = (80, 24);
pub const CTRL_C: &str = "\u{3}";
pub const ESC: &str = "\u{1b}";
const SHIFT_TAB: &str = "\u{1b}[Z";
const CLEAR: &str = "\u{15}";

/// A shell around the program: it notes the terminal's modes before and after, and the exit status.
pub fn wrapped(home: &Path, args: &str, size: (u16, u16), env: &[(&str, &str)]) -> Screen {
    let script = format!("trap : INT HUP TERM; stty -g >before; '{}' {args}; echo $? >status; stty -g >after", env!("CARGO_BIN_EXE_trademl"));
    Screen::program("/bin/sh", home, &["-c", &script], size, env)
}

/// The wrapped program has ended with this status, the terminal is as it was, and the cursor can be seen.
pub fn ended_well(screen: &mut Screen, home: &Path, status: &str) {
    screen.end();
    let read = |name: &str| std::fs::read_to_string(home.join(name)).unwrap_or_default().trim().to_string();
    assert_eq!(read("status"), status, "{}", screen.parser.screen().contents());
    assert!(!read("before").is_empty() && read("before") == read("after"), "the terminal's modes have changed");
    assert!(!screen.parser.screen().hide_cursor(), "the cursor is hidden");
    assert!(!screen.parser.screen().bracketed_paste(), "bracketed paste is still on");
}

#[test]
fn the_first_question_shows_its_evidence_and_ctrl_c_leaves_a_sane_terminal() {
    let home = tempfile::tempdir().unwrap();
    let mut screen = wrapped(home.path(), "pi-data-node", SIZE, &[]);
    screen.reply("Where shall the data live?", CTRL_C);
    screen.reply("Paused", CTRL_C);
    ended_well(&mut screen, home.path(), "130");
}

#[test]
fn plain_mode_never_sends_an_escape_sequence_and_knows_the_pause_menu() {
    let home = tempfile::tempdir().unwrap();
    let mut screen = wrapped(home.path(), "pi-data-node --plain", (100, 90), &[]);
    screen.reply("Where shall the data live?", &format!("{}\r", home.path().join("drive").display()));
    screen.reply("Which market?", "1\r");
    screen.reply("What is this node called?", CTRL_C);
    screen.reply("Paused", "1\r:steps\r");
    screen.reply("here  3 Node id", ":back\r");
    // Behind the first question are the place and the market, and the drive that they made.
    screen.wait_for("is removed again");
    screen.wait_for_times("Where shall the data live?", 2);
    screen.send(CTRL_C);
    screen.wait_for_times("Paused", 2);
    screen.send(CTRL_C);
    ended_well(&mut screen, home.path(), "130");
    assert!(!screen.raw.contains(&0x1b) && screen.raw.is_ascii(), "{}", String::from_utf8_lossy(&screen.raw));
}

#[test]
fn a_dumb_terminal_and_a_closed_input_are_served_on_plain_lines() {
    let home = tempfile::tempdir().unwrap();
    let mut screen = wrapped(home.path(), "pi-data-node", SIZE, &[("TERM", "dumb")]);
    screen.reply("Where shall the data live?", "\u{4}");
    ended_well(&mut screen, home.path(), "2");
    assert!(screen.parser.screen().contents().contains("TML-USE-002"), "{}", screen.parser.screen().contents());
    assert!(!screen.raw.contains(&0x1b));
}

#[test]
fn a_typed_answer_survives_esc_and_a_wrong_one_is_kept_for_correction() {
    let home = tempfile::tempdir().unwrap();
    let drive = home.path().join("drive");
    let args = format!("pi-data-node --root {} --set market.world=practice", drive.display());
    let mut screen = wrapped(home.path(), &args, (100, 40), &[("NO_COLOR", "1")]);
    screen.reply("What is this node called?", "bad name\r");
    screen.reply("not accepted", &format!("{CLEAR}pi-kitchen\r"));
    screen.reply("Which symbols", ESC);
    screen.reply("pi-kitchen   (as answered the last time)", "half a word");
    screen.reply("half a word", SHIFT_TAB);
    screen.wait_for("nothing was asked before");
    // What was typed and not entered is there again.
    screen.wait_for_times("> half a word", 2);
    screen.send(CTRL_C);
    screen.reply("Paused", "3");
    ended_well(&mut screen, home.path(), "5");
    let raw = String::from_utf8_lossy(&screen.raw).into_owned();
    assert!(!raw.contains("\u{1b}[3") && !raw.contains("\u{1b}[9"), "colour in spite of NO_COLOR");
}

#[test]
fn a_pasted_path_with_quotes_a_blank_and_a_line_end_is_one_answer() {
    let home = tempfile::tempdir().unwrap();
    let drive = home.path().join("my drive");
    let mut screen = wrapped(home.path(), "pi-data-node", (100, 40), &[]);
    screen.wait_for("Where shall the data live?");
    screen.wait_for(">");
    assert!(screen.parser.screen().bracketed_paste());
    screen.send(&format!("\u{1b}[200~'{}'\r\u{1b}[201~", drive.display()));
    screen.reply("my drive'", "\r");
    screen.reply("Which market?", "?");
    screen.reply("belongs to one market for ever", CTRL_C);
    screen.reply("Paused", CTRL_C);
    ended_well(&mut screen, home.path(), "130");
}

#[test]
fn a_narrow_window_that_changes_its_size_stays_readable() {
    let home = tempfile::tempdir().unwrap();
    let mut screen = wrapped(home.path(), "pi-data-node", (60, 40), &[]);
    screen.reply("Where shall the data live?", &format!("{}\r", home.path().join("drive").display()));
    screen.wait_for("2) the real market");
    screen.resize(110, 40);
    screen.reply("real prices of 2013-2018, no keys, no network", "\u{1b}[B");
    screen.reply("> 2) the real market", CTRL_C);
    screen.reply("Paused", CTRL_C);
    ended_well(&mut screen, home.path(), "130");
}

#[test]
fn sigterm_and_sighup_at_a_question_restore_the_terminal_and_keep_the_answers() {
    for (signal, status) in [("TERM", "143"), ("HUP", "130")] {
        let home = tempfile::tempdir().unwrap();
        let drive = home.path().join("drive");
        let args = format!("pi-data-node --root {} --set market.world=practice", drive.display());
        let mut screen = wrapped(home.path(), &args, SIZE, &[]);
        screen.reply("What is this node called?", "pi-9\r");
        screen.wait_for("Which symbols");
        let shell = screen.child.process_id().unwrap();
        let program = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        assert!(std::process::Command::new("kill").args([&format!("-{signal}"), program.trim()]).status().unwrap().success());
        ended_well(&mut screen, home.path(), status);
        let mut again = wrapped(home.path(), &args, SIZE, &[]);
        again.reply("Which symbols", CTRL_C);
        again.reply("Paused", "3");
        ended_well(&mut again, home.path(), "5");
    }
}

/// Every prompt of a wizard in order, with the keys that answer it. Each is left by Ctrl-C twice first, and met again.
fn interrupted_everywhere(args: &str, prompts: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    for at in 0..prompts.len() {
        let mut screen = wrapped(home.path(), args, (100, 50), &[]);
        if at > 0 {
            screen.reply(prompts[at - 1].0, prompts[at - 1].1);
        }
        screen.reply(prompts[at].0, CTRL_C);
        screen.reply("Paused", CTRL_C);
        ended_well(&mut screen, home.path(), "130");
    }
    let mut screen = wrapped(home.path(), args, (100, 50), &[]);
    screen.reply(prompts[prompts.len() - 1].0, CTRL_C);
    screen.reply("Paused", "3");
    ended_well(&mut screen, home.path(), "5");
}

#[test]
fn ctrl_c_at_every_prompt_of_pi_data_node_keeps_everything() {
    let drive = tempfile::tempdir().unwrap();
    let place = drive.path().join("d");
    journey::fresh(&place);
    interrupted_everywhere(
        &format!("pi-data-node --root {}", place.display()),
        &[
            ("What is this node called?", "pi-1\r"),
            ("Which symbols shall", "\r"),
            ("When is the daily maintenance", "03:00\r"),
            ("Shall the node start with the machine?", "\r"),
            ("Fill the drive?", "2\r"),
            ("what will be written", "\r"),
        ],
    );
}

#[test]
fn ctrl_c_at_every_prompt_of_the_other_wizards_keeps_everything() {
    let drive = tempfile::tempdir().unwrap();
    let place = drive.path().join("d");
    journey::copy(&journey::before(2), &place);
    let root = place.display();
    interrupted_everywhere(&format!("train --root {root}"), &[("Which models?", "\r"), ("what will be written", "\r")]);
    interrupted_everywhere(&format!("evaluate --root {root}"), &[("Which strategy?", "\r"), ("Open the dark holdout", "\r")]);
    interrupted_everywhere(&format!("shadow --root {root}"), &[("Which strategy?", "\r")]);
    interrupted_everywhere(
        &format!("paper-trade --root {root}"),
        &[("Which broker?", "2\r"), ("How many orders may", "\r"), ("Plan orders for the next session?", "\r"), ("on, or anything else to refuse", "\r")],
    );
    interrupted_everywhere(&format!("serve --root {root}"), &[("Which strategy?", "\r"), ("Which address", "\r")]);
}

/// From every prompt back to the one before by each of the three ways, then forward again.
fn backward_everywhere(args: &str, prompts: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    let mut screen = wrapped(home.path(), args, (100, 400), &[]);
    let mut seen = vec![0; prompts.len()];
    let mut meet = |screen: &mut Screen, at: usize| {
        seen[at] += 1;
        screen.wait_for_times(prompts[at].0, seen[at]);
    };
    meet(&mut screen, 0);
    for at in 1..prompts.len() {
        screen.send(prompts[at - 1].1);
        meet(&mut screen, at);
        for back in [ESC, SHIFT_TAB, ":back\r"] {
            screen.send(back);
            meet(&mut screen, at - 1);
            // What was answered is the default now.
            screen.send("\r");
            meet(&mut screen, at);
        }
    }
    screen.send(CTRL_C);
    screen.reply("Paused", "3");
    ended_well(&mut screen, home.path(), "5");
}

#[test]
fn every_prompt_of_every_wizard_goes_back_by_esc_by_shift_tab_and_by_the_word() {
    let drive = tempfile::tempdir().unwrap();
    let (fresh, filled) = (drive.path().join("fresh"), drive.path().join("filled"));
    journey::fresh(&fresh);
    journey::copy(&journey::before(2), &filled);
    backward_everywhere(
        &format!("pi-data-node --root {}", fresh.display()),
        &[
            ("What is this node called?", "pi-1\r"),
            ("Which symbols shall", "\r"),
            ("When is the daily maintenance", "03:00\r"),
            ("Shall the node start with the machine?", "\r"),
            ("Fill the drive?", "\r"),
            ("what will be written", ""),
        ],
    );
    let root = filled.display();
    backward_everywhere(&format!("train --root {root}"), &[("Which models?", "\r"), ("what will be written", "")]);
    backward_everywhere(&format!("evaluate --root {root}"), &[("Which strategy?", "\r"), ("Open the dark holdout", "")]);
    backward_everywhere(
        &format!("paper-trade --root {root}"),
        &[("Which broker?", "\r"), ("How many orders may", "\r"), ("Plan orders for the next session?", "")],
    );
    backward_everywhere(&format!("serve --root {root}"), &[("Which strategy?", "\r"), ("Which address", "")]);
}

#[test]
fn a_very_wide_screen_and_wide_letters_stay_in_their_columns() {
    let home = tempfile::tempdir().unwrap();
    let drive = home.path().join("\u{8cc7}\u{6599}\u{5eab} drive");
    let mut screen = wrapped(home.path(), "pi-data-node", (300, 60), &[]);
    screen.reply("Where shall the data live?", &format!("{}\r", drive.display()));
    screen.wait_for("Which market?");
    screen.wait_for("2) the real market");
    // Each letter of the path takes two cells and is shown once: nothing was drawn over or twice.
    assert_eq!(screen.text().matches("\u{8cc7}\u{6599}\u{5eab} drive").count(), 2, "typed, and said back: {}", screen.text());
    screen.send("\u{1b}[B");
    screen.reply("> 2) the real market", "\u{1b}[A");
    screen.reply("> 1) practice", CTRL_C);
    screen.reply("Paused", CTRL_C);
    ended_well(&mut screen, home.path(), "130");
}

#[test]
fn a_suspended_program_gives_the_shell_back_and_comes_back_to_its_question() {
    let home = tempfile::tempdir().unwrap();
    // With job control, as in a shell that a person types into: Ctrl-Z returns to the shell, `fg` to the program.
    let program = env!("CARGO_BIN_EXE_trademl");
    let script =
        format!("trap : INT; set -m; stty -g >before; '{program}' pi-data-node; echo the shell is back; read line; fg; echo $? >status; stty -g >after");
    let mut screen = Screen::program("/bin/sh", home.path(), &["-c", &script], SIZE, &[]);
    screen.wait_for("Where shall the data live?");
    screen.reply(">", "\u{1a}");
    screen.wait_for("the shell is back");
    assert!(!screen.parser.screen().hide_cursor() && !screen.parser.screen().bracketed_paste());
    screen.send("\r");
    // From here on keys are the program's again.
    screen.wait_until("the prompt's own keys", vt100::Screen::bracketed_paste);
    screen.send("/typed/after");
    screen.reply("/typed/after", CTRL_C);
    screen.reply("Paused", CTRL_C);
    ended_well(&mut screen, home.path(), "130");
}
