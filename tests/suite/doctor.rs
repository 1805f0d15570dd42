//! Faults are planted on a small drive: `doctor` must find each, and the commands that it names must really mend them.

use crate::journey::copy;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A drive, a home and a faked machine whose disk is roomy.
struct Patient {
    dir: tempfile::TempDir,
}

const BIN: &str = env!("CARGO_BIN_EXE_trademl");

impl Patient {
    /// A filled drive of three names and its home, in good health.
    fn new() -> Self {
        static HEALTHY: OnceLock<Patient> = OnceLock::new();
        let healthy = HEALTHY.get_or_init(|| {
            let patient = Self { dir: tempfile::tempdir().unwrap() };
            patient.file("machine/proc/self/mountinfo", "36 35 98:0 / / rw,relatime - ext4 /dev/sda1 rw\n");
            patient.file("machine/statvfs/_", "1000000000000 900000000000\n");
            patient.file("symbols.txt", "AAPL\nMSFT\n");
            let answers = format!("--set universe.source=file --set universe.file={}", patient.path("symbols.txt").display());
            patient.sh(&format!("trademl pi-data-node --root {} --yes --set market.world=practice {answers}", patient.root().display()));
            // A second version of stage.yml, so that a good earlier one is beside it.
            patient.file("symbols.txt", "AAPL\nMSFT\nXOM\n");
            patient.sh(&format!("trademl pi-data-node --root {} --yes {answers}", patient.root().display()));
            patient.sh(&format!("trademl doctor --fix --root {}", patient.root().display()));
            patient
        });
        let patient = Self { dir: tempfile::tempdir().unwrap() };
        copy(healthy.dir.path(), patient.dir.path());
        // Paths of the original stand in the copied home.
        let env = patient.path("home/.config/trademl/.env");
        let text = std::fs::read_to_string(&env).unwrap().replace(&healthy.root().display().to_string(), &patient.root().display().to_string());
        std::fs::write(&env, text).unwrap();
        patient
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }
    fn root(&self) -> PathBuf {
        self.path("drive")
    }
    fn file(&self, inside: &str, text: &str) {
        let place = self.path(inside);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        let path = format!("{}:/usr/bin:/bin", Path::new(BIN).parent().unwrap().display());
        command.args(["-c", line]).env_clear().current_dir(self.dir.path());
        command.env("PATH", path).env("HOME", self.path("home")).env("TRADEML_SYSROOT", self.path("machine"));
        command.env("TRADEML_MACHINE_ID", "00000000000000aa").env("TRADEML_BOOT_ID", "boot-1");
        command
    }

    /// Run a command line; it must end well.
    fn sh(&self, line: &str) {
        let out = self.command(line).output().unwrap();
        assert!(out.status.success(), "{line}\n{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }

    /// Every finding that is not PASS: check, evidence, fix.
    fn ailments(&self) -> Vec<(String, String, String)> {
        let out = self.command(&format!("trademl doctor --json --deep --offline --root {}", self.root().display())).output().unwrap();
        let seen: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        let rows = seen["checks"].as_array().unwrap().iter().filter(|c| c["status"] != "PASS");
        rows.map(|c| (text(&c["id"]), text(&c["evidence"]), text(&c["fix"]))).collect()
    }

    fn sql(&self, db: &str, sql: &str) {
        // As a program that wrote these rows and was killed leaves it: without a seal.
        drop(std::fs::remove_file(self.root().join(format!("{db}.seal"))));
        let conn = rusqlite::Connection::open(self.root().join(db)).unwrap();
        conn.execute(sql, []).unwrap();
        // What a view's trigger changes counts here alone.
        assert!(conn.total_changes() > 0, "{sql}");
    }

    /// The `n`-th Parquet file below a folder of the drive.
    fn parquet(&self, folder: &str, n: usize) -> PathBuf {
        let (mut files, mut folders) = (Vec::new(), vec![self.root().join(folder)]);
        while let Some(dir) = folders.pop() {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                let place = entry.path();
                if place.is_dir() { folders.push(place) } else { files.push(place) }
            }
        }
        files.retain(|f| f.extension().is_some_and(|e| e == "parquet"));
        files.sort();
        files.swap_remove(n)
    }
}

fn flip(place: &Path) {
    let mut bytes = std::fs::read(place).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(place, bytes).unwrap();
}

/// A fault: what is wrong, which check must say so with which words, how it is planted.
type Fault = (&'static str, &'static str, fn(&Patient));

/// Plant, examine, do what is said, examine again.
fn cured(faults: &[Fault]) {
    let patient = Patient::new();
    assert_eq!(patient.ailments(), [], "the healthy drive is not healthy");
    for (_, _, plant) in faults {
        plant(&patient);
    }
    let found = patient.ailments();
    for (check, words, _) in faults {
        assert!(found.iter().any(|(id, evidence, _)| id == check && evidence.contains(words)), "'{words}' was not found by {check}:\n{found:#?}");
    }
    // What hides behind another fault is seen in a second look.
    let mut last = found;
    for _ in 0..2 {
        let mut done = BTreeSet::new();
        for (id, evidence, fix) in &last {
            assert!(!fix.is_empty(), "{id} ({evidence}) names no command");
            if !done.insert(fix.clone()) {
                continue;
            }
            // The doctor's own status speaks of everything that is still wrong.
            match fix.starts_with("trademl doctor") {
                true => drop(patient.command(fix).output().unwrap()),
                false => patient.sh(fix),
            }
        }
        last = patient.ailments();
        if last.is_empty() {
            return;
        }
    }
    panic!("still ill: {last:#?}");
}

#[test]
fn settings_and_leftovers_are_found_and_mended() {
    cured(&[
        ("folders", "reports", |p| std::fs::remove_dir_all(p.root().join("reports")).unwrap()),
        ("leftovers", "1 files", |p| p.file("drive/raw/.part.77.tmp", "half")),
        ("logs", "older than 14 days", |p| p.file("drive/logs/train-20200101T000000Z.jsonl", "{}\n")),
        ("env-file", "mode 0644", |p| {
            std::fs::set_permissions(p.path("home/.config/trademl/.env"), std::fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("remembered-root", "/nowhere", |p| {
            let env = p.path("home/.config/trademl/.env");
            let text = std::fs::read_to_string(&env).unwrap().replace(&p.root().display().to_string(), "/nowhere");
            std::fs::write(&env, format!("# a comment that stays\n{text}")).unwrap();
        }),
        ("edge-config", "inflite", |p| p.file("home/.config/trademl/configs/edge.yml", "version: 1\ninflite: {alpaca: 2}\n")),
        ("configs", "backfill.yml", |p| p.file("drive/control/configs/backfill.yml", "version: 1\nslicez: {}\n")),
        ("configs", "endpoints.yml", |p| p.file("drive/control/configs/endpoints.yml", "version: [1\n")),
        ("training-config", "cpvc", |p| p.file("drive/control/configs/training/equities_xs.yml", "cpvc: {groups: 8}\n")),
        ("kill-switch", "control/STOP", |p| p.file("drive/control/STOP", "")),
        ("attachment", "cannot be read", |p| p.file("drive/control/attach.json", "{\"machine")),
        ("stage", "stage.yml", |p| {
            let place = p.root().join("control/stage.yml");
            std::fs::write(&place, std::fs::read_to_string(&place).unwrap().replace("AAPL", "AAPX")).unwrap();
        }),
        ("units", "/gone/trademl", |p| {
            p.sh(&format!("trademl service install node --root {}", p.root().display()));
            let unit = p.path("home/.config/systemd/user/trademl-node.service");
            std::fs::write(&unit, std::fs::read_to_string(&unit).unwrap().replace(BIN, "/gone/trademl")).unwrap();
        }),
        ("units", "/gone/drive", |p| {
            p.sh(&format!("trademl service install serve --root {}", p.root().display()));
            let unit = p.path("home/.config/systemd/user/trademl-serve.service");
            let text = std::fs::read_to_string(&unit)
                .unwrap()
                .replace(&format!("TRADEML_ROOT={}", p.root().canonicalize().unwrap().display()), "TRADEML_ROOT=/gone/drive");
            std::fs::write(&unit, text).unwrap();
        }),
    ]);
}

#[test]
fn damaged_and_missing_files_are_found_and_mended() {
    cured(&[
        ("files", "raw/", |p| flip(&p.parquet("raw", 0))),
        ("files", "raw/", |p| std::fs::remove_file(p.parquet("raw", 1)).unwrap()),
        ("files", "other bytes", |p| flip(&p.parquet("curated", 0))),
        ("files", "no such file", |p| std::fs::remove_file(p.parquet("curated", 1)).unwrap()),
        ("segments", "1 raw files have no manifest", |p| {
            let known = p.parquet("raw", 2);
            std::fs::copy(&known, known.with_file_name("stray-0000.parquet")).unwrap();
        }),
        ("ledger-export", "not there", |p| std::fs::remove_file(p.root().join("qc/partition_status.parquet")).unwrap()),
        ("backups", "never backed up", |p| std::fs::remove_dir_all(p.root().join("control/backup")).unwrap()),
    ]);
}

#[test]
fn wrong_rows_are_found_and_mended() {
    cured(&[
        ("queue", "without an owner", |p| {
            p.sql("control/node.sqlite", "UPDATE backfill_queue SET status='LEASED', lease_owner=NULL WHERE id=(SELECT min(id) FROM backfill_queue)");
        }),
        ("queue", "without an outcome", |p| {
            p.sql("control/node.sqlite", "UPDATE backfill_queue SET outcome=NULL WHERE id=(SELECT max(id) FROM backfill_queue)")
        }),
        ("segments", "another digest", |p| p.sql("control/node.sqlite", "UPDATE segments SET sha256='00' WHERE path=(SELECT min(path) FROM segments)")),
        ("coverage", "RED", |p| p.sql("control/node.sqlite", "UPDATE partition_status SET status='RED', qc_code='OHLC' WHERE symbol='MSFT'")),
        ("ledger-export", "rows differ", |_| ()),
    ]);
}

#[test]
fn dead_leases_and_forgotten_segments_are_found_and_mended() {
    cured(&[
        ("leases", "nobody is at work", |p| {
            p.sql(
                "control/node.sqlite",
                "UPDATE backfill_queue SET status='LEASED', lease_owner='gone:1', lease_boot='boot-0', lease_pid=1, lease_expires_at='2026-01-01T00:00:00Z'
                 WHERE id=(SELECT min(id) FROM backfill_queue)",
            );
        }),
        ("segments", "files have a manifest and no row", |p| {
            p.sql("control/node.sqlite", "DELETE FROM segments WHERE path=(SELECT max(path) FROM segments)");
        }),
        ("attachment", "without leaving", |p| {
            let place = p.root().join("control/attach.json");
            let mut record: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
            record["released_at"].take();
            std::fs::write(&place, record.to_string()).unwrap();
        }),
    ]);
}

#[test]
fn damaged_databases_are_found_and_mended() {
    cured(&[
        ("node-db", "TML-SSD", |p| std::fs::write(p.root().join("control/node.sqlite"), "not a database at all".repeat(400)).unwrap()),
        ("journal-chain", "record 3", |p| p.sql("control/journal.sqlite", "UPDATE journal SET payload_json = '{\"value\":\"forged\"}' WHERE seq = 3")),
        ("registry", "TML-SSD", |p| {
            std::fs::write(p.root().join("control/backup/registry.sqlite.2026-11-20"), b"").unwrap();
            std::fs::write(p.root().join("models/registry.sqlite"), "garbage ".repeat(900)).unwrap();
        }),
    ]);
}

#[test]
fn lost_databases_are_found_and_mended() {
    cured(&[
        ("node-db", "is gone", |p| std::fs::remove_file(p.root().join("control/node.sqlite")).unwrap()),
        ("journal-chain", "TML-SSD", |p| std::fs::write(p.root().join("control/journal.sqlite"), "torn ".repeat(2_000)).unwrap()),
    ]);
}

#[test]
fn a_lost_or_torn_sentinel_is_written_again_from_the_journal() {
    for torn in [None, Some("{\"v\": 1, \"drive_id\":")] {
        let patient = Patient::new();
        let place = patient.root().join(".trademl-drive.json");
        let before: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
        match torn {
            None => std::fs::remove_file(&place).unwrap(),
            Some(text) => std::fs::write(&place, text).unwrap(),
        }
        let found = patient.ailments();
        let (id, _, fix) = found.iter().find(|(id, ..)| id == "sentinel").expect("a finding");
        assert!(id == "sentinel" && fix.starts_with("trademl doctor --fix"), "{found:?}");
        patient.sh(fix);
        assert_eq!(patient.ailments(), []);
        let after: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
        assert_eq!((&after["drive_id"], &after["dataset"]), (&before["drive_id"], &before["dataset"]));
    }
}

#[test]
fn the_exit_status_follows_the_worst_finding_and_nothing_is_mended_under_a_running_program() {
    let patient = Patient::new();
    let status = |line: &str| patient.command(line).output().unwrap().status.code().unwrap();
    let root = patient.root().display().to_string();
    assert_eq!(status(&format!("trademl doctor --offline --root {root}")), 0);
    patient.file("drive/control/STOP", "");
    assert_eq!(status(&format!("trademl doctor --offline --root {root}")), 3);
    let lock = std::fs::File::options().create(true).append(true).open(patient.root().join("control/locks/node")).unwrap();
    lock.lock().unwrap();
    assert_eq!(status(&format!("trademl doctor --fix --offline --root {root}")), 7);
    assert_eq!(status(&format!("trademl eject --root {root}")), 7);
    drop(lock);
    assert_eq!(status("trademl doctor --offline --root /nowhere"), 6);
}
