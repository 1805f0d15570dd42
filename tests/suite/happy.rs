//! Every wizard from its first prompt to its last line, with real keys on a pseudo-terminal.

use crate::journey::{before, copy, fresh};
use crate::terminal::{CTRL_C, ESC, Screen, ended_well, wrapped};

const SIZE: (u16, u16) = (100, 60);

/// A drive as it is before wizard `n`, and a home.
fn drive(n: usize) -> (tempfile::TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("drive");
    if n == 0 {
        fresh(&place)
    } else {
        copy(&before(n), &place)
    }
    let shown = place.display().to_string();
    (home, shown)
}

fn played(args: &str, n: usize, status: &str, keys: &[(&str, &str)]) -> Screen {
    let (home, root) = drive(n);
    let mut screen = wrapped(home.path(), &format!("{args} --root {root}"), SIZE, &[]);
    for (text, key) in keys {
        screen.reply(text, key);
    }
    ended_well(&mut screen, home.path(), status);
    screen
}

#[test]
fn a_node_is_set_up_with_enter_and_an_answer_is_changed_in_the_review() {
    let mut screen = played(
        "pi-data-node",
        0,
        "0",
        &[
            ("What is this node called?", "\r"),
            ("Which symbols shall", "\r"),
            ("When is the daily maintenance", "04:30\r"),
            ("Shall the node start with the machine?", "2\r"),
            // Later: the last of the three.
            ("Fill the drive?", "\u{1b}[A"),
            ("> 3) later", "\r"),
            ("what will be written", "2\r"),
            // The first answer of the list is the node's name.
            ("> 1) Node id: node-1", "\r"),
            ("node-1   (as answered the last time)", "pi-kitchen\r"),
            ("> 1) Go ahead", "\r"),
        ],
    );
    screen.wait_for("the queue is seeded");
    let text = screen.text();
    assert!(text.contains("pi-kitchen") && text.contains("next"), "{text}");
}

#[test]
fn the_review_fits_a_small_screen_and_every_line_can_be_seen() {
    let (home, root) = drive(0);
    let mut screen = wrapped(home.path(), &format!("pi-data-node --root {root}"), (80, 24), &[]);
    for (text, key) in [("What is this node called?", "\r"), ("Which symbols shall", "\r"), ("When is the daily", "\r"), ("Shall the node start", "\r")] {
        screen.reply(text, key);
    }
    screen.reply("Fill the drive?", "3\r");
    screen.wait_for("4) Show every line");
    // Nothing has scrolled away: the heading is on the screen together with what a decision needs and the choices.
    for said in [
        "Review: what will be written",
        "new file: control/stage.yml (",
        "Node id",
        "1204 tasks of",
        "first GREEN",
        "space: about",
        "to undo:",
        "> 1) Go ahead",
    ] {
        assert!(screen.text().contains(said), "{said}: {}", screen.text());
    }
    screen.send("4\r");
    screen.wait_for("in a week:");
    screen.reply("4) Show every line", ESC);
    screen.reply("Fill the drive?", CTRL_C);
    screen.reply("Paused", "3");
    ended_well(&mut screen, home.path(), "5");
}

#[test]
fn a_model_is_trained_judged_and_shadowed_with_enter() {
    let mut screen = played("train", 1, "0", &[("Which models?", "\r"), ("what will be written", "\r")]);
    screen.wait_for("challenger");
    // The small model does not meet the bars: a refusal is an outcome, with its own status.
    let mut screen = played("evaluate", 2, "3", &[("Which strategy?", "\r"), ("Open the dark holdout", "\r")]);
    screen.wait_for("tear sheet");
    let mut screen = played("shadow", 3, "0", &[("Which strategy?", "\r")]);
    screen.wait_for("shadow books are up to date");
}

#[test]
fn the_paper_book_trades_after_the_exact_words_and_refuses_others() {
    let questions = [("Which broker?", "2\r"), ("How many orders may", "\r"), ("Plan orders for the next session?", "\r")];
    let mut keys = questions.to_vec();
    keys.push(("to go on, or anything else to refuse", "PAPER SIM000001 2017-12-01\r"));
    let mut screen = played("paper-trade", 4, "0", &keys);
    screen.wait_for("orders planned");
    for wrong in ["\r", "y\r", "paper sim000001 2017-12-01\r", "PAPER SIM000001 2017-11-30\r"] {
        let mut keys = questions.to_vec();
        keys.push(("to go on, or anything else to refuse", wrong));
        let mut screen = played("paper-trade", 4, "3", &keys);
        screen.wait_for("TML-GATE-001");
    }
}

#[test]
fn a_day_without_orders_asks_for_no_words() {
    let (home, root) = drive(5);
    let program = |line: &str| {
        let args: Vec<&str> = line.split(' ').chain(["--root", &root]).collect();
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_trademl")).args(args).env_clear().env("HOME", home.path()).output().unwrap();
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    program("practice close");
    program("node once");
    // The rule rebalances every fifth session: on the second one everything is held as it is. Nobody is there to confirm.
    let said = program("paper-trade --yes --no-input --set broker.kind=alpaca");
    for line in ["Nothing to send to account SIM000001", "there is nothing to confirm", "has no orders: there is nothing to send"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let again = program("paper-trade --yes --no-input --set broker.kind=alpaca");
    assert!(again.contains("there is nothing to send"), "{again}");
}

#[test]
fn the_service_answers_for_a_second_and_ends() {
    let keys = [("Which strategy?", "\r"), ("Which address", "127.0.0.1:0\r")];
    let mut screen = played("serve --set serve.stop_after=1", 5, "0", &keys);
    screen.wait_for("served for 1 seconds");
}
