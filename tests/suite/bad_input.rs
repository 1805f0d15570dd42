//! Bad input gets its documented exit status, a reason, a way out, and loses nothing. Driven through the real program.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn trademl(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trademl"));
    command.args(args).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("TERM", "dumb").current_dir(home).stdin(Stdio::null());
    command
}

fn run(home: &Path, args: &[&str]) -> (i32, String) {
    text(trademl(home, args).output().unwrap())
}

fn text(out: Output) -> (i32, String) {
    (out.status.code().unwrap_or(-1), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn without_arguments_it_explains_itself_and_an_unknown_word_is_a_usage_error() {
    let home = home();
    assert_eq!(run(home.path(), &["--help"]).0, 0);
    assert!(run(home.path(), &["--help"]).1.contains("pi-data-node"));
    assert_eq!(run(home.path(), &["dance"]).0, 2);
}

#[test]
fn a_wizard_without_a_terminal_names_what_is_missing_and_ends() {
    let home = home();
    let (status, text) = run(home.path(), &["pi-data-node"]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("storage.root") && text.contains("--set"), "{text}");
}

#[test]
fn a_wizard_without_a_drive_says_where_to_begin() {
    let home = home();
    for wizard in ["train", "evaluate", "shadow", "paper-trade", "serve"] {
        let (status, text) = run(home.path(), &[wizard, "--yes"]);
        assert_eq!(status, 6, "{wizard}: {text}");
        assert!(text.contains("TML-SSD-001") && text.contains("trademl pi-data-node") && text.contains("log"), "{text}");
    }
}

#[test]
fn a_checkout_is_never_a_data_root() {
    let home = home();
    let (status, text) = run(home.path(), &["pi-data-node", "--yes", "--root", concat!(env!("CARGO_MANIFEST_DIR"), "/data")]);
    assert_eq!(status, 6, "{text}");
    assert!(text.contains("TML-SSD-002"), "{text}");
}

fn practice(home: &Path) -> std::path::PathBuf {
    let place = home.join("drive");
    crate::journey::copy(&crate::journey::before(0), &place);
    place
}

#[test]
fn a_newer_drive_is_refused_with_exit_8() {
    let home = home();
    let place = practice(home.path());
    let sentinel = place.join(".trademl-drive.json");
    let newer = std::fs::read_to_string(&sentinel).unwrap().replace("\"node\": ", "\"node\": 9");
    std::fs::write(&sentinel, newer).unwrap();
    let (status, text) = run(home.path(), &["train", "--yes", "--root", place.to_str().unwrap()]);
    assert_eq!(status, 8, "{text}");
    assert!(text.contains("TML-SSD-012"), "{text}");
}

#[test]
fn a_damaged_stage_file_is_named_and_its_backup_too() {
    let home = home();
    let place = home.path().join("drive");
    crate::journey::copy(&crate::journey::before(1), &place);
    let stage = place.join("control/stage.yml");
    let text = std::fs::read_to_string(&stage).unwrap().replace("stage: 0", "stage: 1");
    std::fs::write(&stage, text).unwrap();
    let (status, text) = run(home.path(), &["node", "once", "--root", place.to_str().unwrap()]);
    assert_eq!(status, 6, "{text}");
    assert!(text.contains("TML-CFG-004"), "{text}");
}

#[test]
fn answers_with_unknown_or_missing_keys_are_refused() {
    let home = home();
    let place = practice(home.path());
    let answers = home.path().join("answers.yml");
    let root = place.to_str().unwrap();
    std::fs::write(&answers, "version: 1\nwizard: train\nanswer: {}\n").unwrap();
    assert_eq!(run(home.path(), &["train", "--root", root, "--answers", answers.to_str().unwrap()]).0, 2);
    std::fs::write(&answers, "version: 1\nwizard: train\nanswers: {}\n").unwrap();
    let (status, text) = run(home.path(), &["train", "--root", root, "--answers", answers.to_str().unwrap()]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("model.name"), "{text}");
    // A key that no question uses is named.
    let place = home.path().join("filled");
    crate::journey::copy(&crate::journey::before(2), &place);
    std::fs::write(&answers, "version: 1\nwizard: shadow\nanswers: {model.name: equities_xs, modle.size: 3}\n").unwrap();
    let (status, text) = run(home.path(), &["shadow", "--root", place.to_str().unwrap(), "--answers", answers.to_str().unwrap()]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("modle.size"), "{text}");
}

#[test]
fn training_before_there_is_data_is_refused_with_the_command_that_helps() {
    let home = home();
    let place = practice(home.path());
    let (status, text) = run(home.path(), &["train", "--yes", "--root", place.to_str().unwrap()]);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("trademl pi-data-node"), "{text}");
}

#[test]
fn json_is_one_object_a_line_and_the_last_one_has_the_status() {
    let home = home();
    let place = practice(home.path());
    let out = trademl(home.path(), &["train", "--yes", "--json", "--root", place.to_str().unwrap()]).output().unwrap();
    let lines: Vec<serde_json::Value> =
        String::from_utf8_lossy(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect();
    let last = lines.last().unwrap();
    assert_eq!((last["status"].as_str(), last["exit"].as_i64()), (Some("refused"), Some(3)));
    assert!(last["error"]["code"].as_str().unwrap().starts_with("TML-"));
    assert!(lines.iter().all(|l| l["v"] == 1));
}

#[test]
fn the_same_wizard_twice_on_one_drive_is_refused_with_exit_7() {
    let home = home();
    let place = practice(home.path());
    let host = crate::journey::Machine::new("00000000000000aa").host(None);
    let root = data_layer::root::DataRoot::open(&host, &place).unwrap();
    let held = data_layer::attach::lock(&root, "wizard-train").unwrap();
    let (status, text) = run(home.path(), &["train", "--yes", "--root", place.to_str().unwrap()]);
    assert_eq!(status, 7, "{text}");
    drop(held);
}

#[test]
fn a_dry_run_changes_nothing() {
    let home = home();
    let place = home.path().join("drive");
    crate::journey::copy(&crate::journey::before(1), &place);
    let before = crate::journey::fingerprint(&place);
    let journal = std::fs::read(place.join("control/journal.sqlite")).unwrap();
    let (status, text) = run(home.path(), &["train", "--yes", "--dry-run", "--plain", "--root", place.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("nothing was written"), "{text}");
    assert_eq!(before, crate::journey::fingerprint(&place));
    let rows = |bytes: &[u8]| bytes.len();
    assert_eq!(rows(&journal), rows(&std::fs::read(place.join("control/journal.sqlite")).unwrap()));
}

#[test]
fn no_wizard_waits_for_a_terminal_that_is_not_there_and_each_names_what_it_wants() {
    for (at, (wizard, _)) in crate::journey::WIZARDS.iter().enumerate() {
        let home = home();
        let place = home.path().join("drive");
        crate::journey::copy(&crate::journey::before(at), &place);
        let (before, root) = ((at > 0).then(|| crate::journey::fingerprint(&place)), place.to_str().unwrap());
        let (status, text) = run(home.path(), &[wizard.name, "--root", root]);
        assert_eq!(status, 2, "{}: {text}", wizard.name);
        assert!(text.contains("TML-USE-002") && text.contains("--set ") && text.contains("answers:"), "{}: {text}", wizard.name);
        assert!(text.is_ascii() && !text.contains('\u{1b}'), "{}: {text}", wizard.name);
        // The same for a program: nothing but objects, and the last one says what to do.
        let out = trademl(home.path(), &[wizard.name, "--root", root, "--no-input", "--json"]).output().unwrap();
        let lines: Vec<serde_json::Value> =
            String::from_utf8_lossy(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{}: {l}: {e}", wizard.name))).collect();
        assert_eq!(lines.last().unwrap()["status"], "action_required", "{}", wizard.name);
        if let Some(before) = before {
            assert_eq!(before, crate::journey::fingerprint(&place), "{} wrote before it was answered", wizard.name);
        }
    }
}

#[test]
fn a_screen_reader_and_a_pipe_get_plain_lines_whatever_the_environment_says() {
    let home = home();
    let place = home.path().join("drive");
    crate::journey::copy(&crate::journey::before(2), &place);
    let root = place.to_str().unwrap();
    for (name, value) in [("ACCESSIBLE", "1"), ("TERM", "dumb"), ("NO_COLOR", "1"), ("TERM", "xterm-256color")] {
        for args in [vec!["shadow", "--yes", "--root", root], vec!["status", "--root", root], vec!["runs", "list", "--root", root]] {
            let (_, text) = text(trademl(home.path(), &args).env(name, value).output().unwrap());
            assert!(!text.is_empty() && text.is_ascii() && !text.contains('\u{1b}'), "{name}={value} {args:?}: {text}");
        }
    }
}

#[test]
fn an_error_is_explained_by_the_program_that_gave_it() {
    let home = home();
    let (status, text) = run(home.path(), &["explain", "TML-SSD-003"]);
    assert!(status == 0 && text.contains("TML-SSD-003") && text.contains("Exit status"), "{text}");
    let (status, text) = run(home.path(), &["explain"]);
    assert!(status == 0 && data_layer::error::code::ALL.iter().all(|c| text.contains(c.id)), "{text}");
    assert_eq!(run(home.path(), &["explain", "TML-NONE-1"]).0, 2);
}

#[test]
fn practice_time_passes_when_told_and_only_in_practice() {
    let home = home();
    let place = home.path().join("drive");
    crate::journey::copy(&crate::journey::before(1), &place);
    let root = place.to_str().unwrap();
    let (status, text) = run(home.path(), &["practice", "--root", root]);
    assert!(status == 0 && text.contains("2017-12-01 is over"), "{text}");
    let (status, text) = run(home.path(), &["practice", "open", "--root", root]);
    assert!(status == 0 && text.contains("2017-12-04 has opened"), "{text}");
    let (status, text) = run(home.path(), &["node", "once", "--root", root]);
    assert!(status == 0 && text.contains("complete up to 2017-12-01"), "{text}");
    let (host, real) = (crate::journey::Machine::new("00000000000000aa").host(None), home.path().join("real"));
    data_layer::root::DataRoot::create(&host, &real, "real", data_layer::root::FsFacts::default(), None).unwrap();
    let (status, text) = run(home.path(), &["practice", "--root", real.to_str().unwrap()]);
    assert!(status == 2 && text.contains("its time passes by itself"), "{text}");
}

#[test]
fn a_real_drive_is_planned_without_a_network_and_only_with_lanes_that_somebody_serves() {
    let home = home();
    let place = home.path().join("drive");
    let args = ["pi-data-node", "--root", place.to_str().unwrap(), "--set", "market.world=real", "--yes", "--dry-run", "--plain", "--offline"];
    let keys = [("ALPACA_API_KEY", "PKTEST00000000000001"), ("ALPACA_API_SECRET", "secret-of-a-test"), ("ALPHA_VANTAGE_API_KEY", "AVTEST")];
    let (status, text) = text(trademl(home.path(), &args).envs(keys).output().unwrap());
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("x BOOTSTRAP equities_eod") && text.contains("nothing was written"), "{text}");
    assert!(!text.contains("secret-of-a-test"), "{text}");
}

#[test]
fn a_model_is_judged_after_the_files_that_it_was_trained_on_have_grown() {
    let home = home();
    let place = home.path().join("drive");
    crate::journey::copy(&crate::journey::before(2), &place);
    let root = place.to_str().unwrap();
    for args in [vec!["practice", "--sessions", "2"], vec!["node", "once"], vec!["shadow", "--yes"]] {
        let (status, text) = run(home.path(), &[args.as_slice(), &["--root", root]].concat());
        assert_eq!(status, 0, "{args:?}: {text}");
    }
    let (status, text) = run(home.path(), &["evaluate", "--yes", "--root", root]);
    assert!([0, 3].contains(&status) && text.contains("Verdict recorded") && !text.contains("TML-SSD"), "{status}: {text}");
}

#[test]
fn the_registry_tells_who_is_champion_and_a_rollback_without_a_predecessor_is_refused() {
    let home = home();
    let place = home.path().join("drive");
    crate::journey::copy(&crate::journey::before(2), &place);
    let root = place.to_str().unwrap();
    let (status, text) = run(home.path(), &["model", "list", "--root", root]);
    assert!(status == 0 && text.contains("champion ") && text.contains("challenger "), "{text}");
    let (status, text) = run(home.path(), &["model", "history", "--root", root]);
    assert!(status == 0 && text.contains("new -> challenger"), "{text}");
    let (_, text) = run(home.path(), &["status", "--root", root]);
    assert!(text.contains("next  trademl evaluate") && text.contains("has not been judged"), "{text}");
    let (status, text) = run(home.path(), &["model", "rollback", "--reason", "a test", "--root", root]);
    assert!(status != 0 && text.contains("TML-ML-004"), "{text}");
}

/// A copy of the drive before the paper wizard, and a program that is run on it.
struct Book {
    home: tempfile::TempDir,
}

impl Book {
    fn new() -> Self {
        let book = Self { home: home() };
        crate::journey::copy(&crate::journey::before(4), &book.place());
        book
    }
    fn place(&self) -> std::path::PathBuf {
        self.home.path().join("drive")
    }
    fn run(&self, args: &[&str]) -> (i32, String) {
        run(self.home.path(), &[args, &["--root", self.place().to_str().unwrap()]].concat())
    }
    fn ok(&self, args: &[&str]) -> String {
        let (status, text) = self.run(args);
        assert_eq!(status, 0, "{args:?}: {text}");
        text
    }
}

#[test]
fn an_evening_without_its_prices_is_refused_before_it_can_write_a_false_report() {
    let book = Book::new();
    book.ok(&["paper-trade", "--yes", "--confirm", "PAPER SIMLOCAL 2017-12-01"]);
    book.ok(&["practice"]);
    let report = book.place().join("reports/daily/2017-12-01/SIMLOCAL.json");
    let (status, text) = book.run(&["paper-trade", "--yes"]);
    assert!(status == 3 && text.contains("older than the last session") && !report.exists(), "{text}");
    let said = book.ok(&["paper", "status"]);
    assert!(said.contains("circuit breaker  increases pass") && !said.contains("OPEN"), "nothing was tripped: {said}");
    book.ok(&["node", "once"]);
    let text = book.ok(&["paper-trade", "--yes"]);
    let day: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert!(day["orders"]["filled"].as_u64().unwrap() > 0 && day["equity"].as_f64().unwrap() != 100_000.0, "{day:#}");
    assert!(!text.contains("Equity 100000 USD") && !text.contains("-0 %"), "{text}");
}

#[test]
fn an_evening_in_one_command_sends_under_a_consent_alone_and_a_cancel_takes_its_orders_back() {
    let book = Book::new();
    let settled = book.ok(&["paper-trade", "--once"]);
    assert!(settled.contains("no order was planned, because there is no standing consent"), "{settled}");
    let (status, text) = book.run(&["paper", "standing", "--until", "2018-12-31"]);
    assert!(status == 3 && text.contains("trademl paper standing --root") && text.contains("--until 2017-12-30 --confirm"), "the fix works: {text}");
    book.ok(&["paper", "standing", "--until", "2017-12-15", "--confirm", "STANDING PAPER SIMLOCAL UNTIL 2017-12-15"]);
    // The same evening: what was not due for want of a consent is due now, and the settled evening is no answer to it.
    let sent = book.ok(&["paper-trade", "--once"]);
    let open = || book.ok(&["paper", "status"]).lines().filter(|l| l.starts_with("open ")).count();
    assert!(!sent.contains("no order was planned") && open() > 0, "{sent}");
    let before = open();
    let told: serde_json::Value = serde_json::from_str(&book.ok(&["paper", "status", "--json"])).unwrap();
    assert!(told["open_orders"].as_array().unwrap().len() == before && told["switches"]["kill_switch"]["stopped"] == false, "{told}");
    assert!(book.ok(&["paper-trade", "--once"]).contains("paper     done") && open() == before, "done once");
    assert_eq!(book.run(&["paper", "cancel", "tm1-none"]).0, 3);
    assert_eq!(book.run(&["paper", "cancel"]).0, 2, "which one?");
    let text = book.ok(&["paper", "cancel", "--all"]);
    assert!(text.contains(&format!("{before} orders taken back at the broker, 0 withdrawn")), "{text}");
    assert_eq!(open(), 0);
    book.ok(&["practice"]);
    let next = book.ok(&["paper-trade", "--once"]);
    assert!(next.contains("2017-12-01 is settled") || next.contains("of 2017-12-01"), "{next}");
    assert_eq!(open(), 0, "what a person took back is not sent again before the next rebalance");
}

#[test]
fn what_stops_the_orders_is_said_everywhere_and_wrong_words_lift_nothing() {
    let book = Book::new();
    book.ok(&["paper-trade", "--yes", "--confirm", "PAPER SIMLOCAL 2017-12-01"]);
    book.ok(&["paper", "stop"]);
    let stop = book.place().join("control/STOP");
    for words in ["wrong", "", "RESET NOBODY"] {
        let (status, text) = book.run(&["paper", "reset", "--account", "SIMLOCAL", "--reason", "x", "--confirm", words]);
        assert!(status == 3 && stop.exists() && text.contains("--confirm \"RESET SIMLOCAL\""), "{words}: {text}");
    }
    assert_eq!(book.run(&["paper", "reset", "--account", "NOBODY", "--reason", "x", "--confirm", "RESET NOBODY"]).0, 2, "no such account");
    assert_eq!(book.run(&["paper", "release", "ZZZZ", "--reason", "x"]).0, 2, "was never in quarantine");
    // Only the file is taken away: the journal's row still stops, and everybody says so.
    std::fs::remove_file(&stop).unwrap();
    let said = book.ok(&["paper", "status"]);
    assert!(said.contains("kill switch      ENGAGED: increases are STOPPED   no reason given"), "{said}");
    let (_, text) = book.run(&["doctor"]);
    assert!(text.contains("kill switch of SIMLOCAL ENGAGED: increases are STOPPED"), "{text}");
    let text = book.ok(&["paper-trade", "--yes"]);
    assert!(text.contains("kill switch of SIMLOCAL ENGAGED") && text.contains("trademl paper reset --account SIMLOCAL"), "{text}");
    book.ok(&["paper", "reset", "--account", "SIMLOCAL", "--reason", "looked", "--confirm", "RESET SIMLOCAL"]);
    assert!(book.run(&["doctor"]).1.contains("no order is stopped"));
    // What the model and the book stand on is not pulled away by a short command.
    let (status, text) = book.run(&["runs", "undo"]);
    assert!(status == 3 && text.contains("later runs stand on what it wrote") && text.contains("--confirm \"UNDO "), "{text}");
    assert!(book.place().join("control/stage.yml").exists());
}
