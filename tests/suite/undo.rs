//! What a wizard wrote is taken back where that is safe, and the reason is said where it is not.

use crate::journey::{before, copy};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    fn root(&self) -> PathBuf {
        self.dir.path().join("drive")
    }
    fn env(&self) -> PathBuf {
        self.dir.path().join(".config/trademl/.env")
    }
    fn run(&self, line: &str) -> Output {
        let line = line.replace("ROOT", &self.root().display().to_string());
        let mut command = Command::new("/bin/sh");
        let path = format!("{}:/usr/bin:/bin", Path::new(env!("CARGO_BIN_EXE_trademl")).parent().unwrap().display());
        command.args(["-c", &line]).env_clear().env("PATH", path).env("HOME", self.dir.path()).current_dir(self.dir.path()).output().unwrap()
    }
    fn ok(&self, line: &str) -> String {
        let out = self.run(line);
        let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{line}\n{text}");
        text
    }
    /// The newest run's id.
    fn newest(&self) -> String {
        self.ok("trademl runs list --root ROOT").lines().nth(1).unwrap().split_whitespace().next().unwrap().to_string()
    }
    fn rows(&self, sql: &str) -> i64 {
        rusqlite::Connection::open(self.root().join("control/node.sqlite")).unwrap().query_row(sql, [], |r| r.get(0)).unwrap()
    }
}

const LATER: &str = "trademl pi-data-node --root ROOT --yes --set market.world=practice --set node.start=later";

#[test]
fn a_set_up_is_taken_back_to_the_byte_and_twice_is_refused() {
    let home = Home::new();
    std::fs::create_dir_all(home.env().parent().unwrap()).unwrap();
    let private = "# mine\nTRADEML_ENV=prod   # stays\n";
    std::fs::write(home.env(), private).unwrap();
    home.ok(&format!("{LATER} --set node.id=first"));
    assert!(home.root().join("control/stage.yml").exists() && home.rows("SELECT count(*) FROM backfill_queue") > 100);
    let run = home.newest();
    let shown = home.ok(&format!("trademl runs undo {run} --dry-run --root ROOT"));
    assert!(shown.contains("would undo  control/stage.yml: removed") && home.root().join("control/stage.yml").exists(), "{shown}");
    let said = home.ok(&format!("trademl runs undo {run} --root ROOT"));
    for line in ["control/stage.yml: removed; it was not there before", "TRADEML_ENV of this machine: as it was before", "tasks that wait: withdrawn"] {
        assert!(said.contains(line), "{line}:\n{said}");
    }
    assert!(!home.root().join("control/stage.yml").exists());
    assert_eq!(home.rows("SELECT count(*) FROM backfill_queue"), 0);
    assert_eq!(home.rows("SELECT coalesce(sum(tasks), 0) FROM queue_counts"), 0);
    assert_eq!(std::fs::read_to_string(home.env()).unwrap(), private);
    let again = home.run(&format!("trademl runs undo {run} --root ROOT"));
    assert_eq!(again.status.code(), Some(3), "{}", String::from_utf8_lossy(&again.stderr));
    // The wizard begins anew on the same drive.
    home.ok(&format!("{LATER} --set node.id=second"));
    assert!(home.root().join("control/stage.yml").exists());
}

#[test]
fn what_was_changed_since_is_left_alone_and_said() {
    let home = Home::new();
    home.ok(&format!("{LATER} --set node.id=first"));
    let first = home.newest();
    std::fs::write(home.dir.path().join("two.txt"), "AAPL\nMSFT\n").unwrap();
    home.ok(&format!("{LATER} --set node.id=second --set universe.source=file --set universe.file=two.txt"));
    let said = home.ok(&format!("trademl runs undo {first} --root ROOT"));
    assert!(said.contains("left    control/stage.yml: it was changed after this run"), "{said}");
    assert!(std::fs::read_to_string(home.root().join("control/stage.yml")).unwrap().contains("MSFT"));
    let second = home.newest();
    let said = home.ok(&format!("trademl runs undo {second} --root ROOT"));
    assert!(said.contains("undone  control/stage.yml: as it was before"), "{said}");
    assert!(std::fs::read_to_string(home.root().join("control/stage.yml")).unwrap().contains("\"XOM\""));
}

#[test]
fn a_trained_model_a_verdict_and_orders_are_facts() {
    let home = Home::new();
    copy(&before(5), &home.root());
    let list = home.ok("trademl runs list --root ROOT");
    let told: Vec<serde_json::Value> = serde_json::from_str(&home.ok("trademl runs list --json --root ROOT")).unwrap();
    assert!(told.len() == list.lines().count() - 1 && told.iter().all(|run| list.contains(run["run_id"].as_str().unwrap())), "{told:?}");
    let records: Vec<serde_json::Value> =
        serde_json::from_str(&home.ok(&format!("trademl runs show {} --json --root ROOT", told[0]["run_id"].as_str().unwrap()))).unwrap();
    assert!(records[0]["kind"] == "opened" && records.iter().all(|r| r["seq"].is_u64()), "{records:?}");
    for (wizard, why) in [("train", "every trial is counted"), ("evaluate", "a verdict is recorded"), ("paper-trade", "cancel or close it there")] {
        let line = list.lines().find(|l| l.contains(wizard)).unwrap();
        let id = line.split_whitespace().next().unwrap();
        let out = home.run(&format!("trademl runs undo {id} --root ROOT"));
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(3) && text.contains(why), "{wizard}: {text}");
    }
}

#[test]
fn settings_are_shown_with_their_origin_and_changed_without_losing_a_comment() {
    let home = Home::new();
    std::fs::create_dir_all(home.env().parent().unwrap()).unwrap();
    std::fs::write(home.env(), "# keys of the kitchen Pi\nEDGE_NODE_ID=old   # a name\n").unwrap();
    let shown = home.ok("EDGE_SCHEDULER_MODE=per_vendor trademl config show --origin");
    assert!(shown.contains("EDGE_NODE_ID = old   (") && shown.contains(".env:2)"), "{shown}");
    assert!(shown.contains("EDGE_SCHEDULER_MODE = per_vendor   (environment)"), "{shown}");
    home.ok("trademl config set EDGE_NODE_ID=new");
    home.ok("printf 'PKSECRETSECRET\\r\\n' | trademl config set ALPACA_API_KEY");
    let text = std::fs::read_to_string(home.env()).unwrap();
    assert!(text.starts_with("# keys of the kitchen Pi\nEDGE_NODE_ID=new   # a name\n") && text.contains("ALPACA_API_KEY=PKSECRETSECRET\n"), "{text}");
    let shown = home.ok("trademl config show ALPACA_API_KEY --origin");
    assert!(!shown.contains("PKSECRETSECRET"), "{shown}");
    assert_eq!(home.run("trademl config set ALPACA_API_KEY=PKX").status.code(), Some(2));
    assert_eq!(home.run("trademl config set NO_SUCH_THING=1").status.code(), Some(2));
    home.ok("trademl config unset ALPACA_API_KEY");
    assert!(!std::fs::read_to_string(home.env()).unwrap().contains("ALPACA"));
}

#[test]
fn a_shell_is_offered_the_runs_models_and_symbols_of_the_drive() {
    let home = Home::new();
    copy(&before(5), &home.root());
    let offered = |words: &str, at: usize| home.ok(&format!("COMPLETE=bash _CLAP_COMPLETE_INDEX={at} trademl -- trademl {words}"));
    let newest = home.newest();
    assert!(offered("runs --root ROOT show ''", 5).contains(&newest), "{}", offered("runs --root ROOT show ''", 5));
    assert!(offered("model --root ROOT list --strategy ''", 6).contains("equities_xs"));
    assert!(offered("paper --root ROOT release AA", 5).contains("AAPL"));
    assert!(offered("paper --root ROOT digest --account ''", 6).contains("SIM000001"));
    assert!(offered("rerun --root ROOT ''", 4).contains("2017-11-30-"), "{}", offered("rerun --root ROOT ''", 4));
    // Without a drive nothing is offered, and nothing is said.
    assert!(offered("runs show ''", 3).lines().all(|l| l.starts_with("--")));
}
