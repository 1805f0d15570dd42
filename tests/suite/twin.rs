//! A wizard that a person answers and a wizard that a file answers leave the same drive behind, apart from recorded times
//! and from who answered.

use crate::journey::{self, Machine, WIZARDS, before, copy, fingerprint};
use data_layer::root::DataRoot;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use trademl::kit::prompter::answers::Given;
use trademl::kit::prompter::scripted::Scripted;
use trademl::kit::report::{Reporter, Voice};
use trademl::kit::session::{Flags, Session};
use trademl::steps;

/// The same answers as the file of the journey, typed.
fn person(machine: &Machine) -> Scripted {
    let list = machine.home.path().join("symbols.txt");
    Scripted::default()
        .answer("node-id", "test-node")
        .answer("universe-source", "file")
        .answer("universe-file", list.display().to_string())
        .answer("broker-kind", "alpaca")
        .answer("serve-address", "127.0.0.1:0")
        .gate_text("confirm", "PAPER SIM000001 2017-12-01")
}

fn typed(place: &Path, machine: &Machine, at: usize) {
    let host = machine.host(None);
    let (wizard, body) = WIZARDS[at];
    std::fs::write(machine.home.path().join("symbols.txt"), journey::SYMBOLS).unwrap();
    let root = DataRoot::open(&host, place).unwrap();
    let (root, world) = steps::world::of_root(&host, &root).unwrap();
    let report = Reporter::new(&world.host, Voice::Silent, wizard.name, None);
    // What nobody is asked for: a service that ends by itself.
    let stop = ["serve.stop_after=1".to_string()];
    let unasked: &[String] = if wizard.name == "serve" { &stop } else { &[] };
    let mut session = Session {
        host: world.host.clone(),
        flags: Flags::default(),
        voice: Voice::Silent,
        given: Given::new(wizard.name, None, unasked, &[]).unwrap(),
        prompter: Box::new(person(machine)),
        report,
        wizard,
        tag: Some("test".into()),
        place: None,
        made: None,
    };
    session.run(&root, body).unwrap_or_else(|e| panic!("{}: {e}", wizard.name));
}

/// The journal of a wizard's run without times, digests of the chain, the run's random id, and who answered.
fn journal(place: &Path, wizard: &str) -> Vec<String> {
    let conn = rusqlite::Connection::open(place.join("control/journal.sqlite")).unwrap();
    let sql = "SELECT run_id, step, visit, kind, scope, machine_id, inputs_sha256, payload_json FROM journal WHERE wizard = ?1 ORDER BY seq";
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([wizard], |r| {
        let texts: Vec<String> = (0..8)
            .map(|i| {
                r.get::<_, rusqlite::types::Value>(i).map(|v| match v {
                    rusqlite::types::Value::Text(t) => t,
                    rusqlite::types::Value::Integer(n) => n.to_string(),
                    other => format!("{other:?}"),
                })
            })
            .collect::<rusqlite::Result<_>>()?;
        Ok(texts)
    });
    rows.unwrap()
        .map(|row| {
            let row = row.unwrap();
            let mut payload: Value = serde_json::from_str(&row[7]).unwrap();
            if let Some(fields) = payload.as_object_mut() {
                fields.remove("source");
            }
            if payload["id"] == "serve.address" {
                payload["value"] = "a free port".into();
            }
            let text = format!("{} {payload}", row[1..7].join(" "));
            text.replace(&row[0], "RUN")
        })
        .collect()
}

fn small_files(place: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for name in ["control/stage.yml", "control/machines/00000000000000aa.yml"] {
        let text = std::fs::read_to_string(place.join(name)).unwrap_or_default();
        let timeless: Vec<&str> = text.lines().filter(|l| !l.starts_with("first_seen") && !l.starts_with("last_seen")).collect();
        out.insert(name.to_string(), timeless.join("\n"));
    }
    out
}

#[test]
fn a_person_and_a_file_leave_the_same_drive_behind() {
    for (at, (wizard, _)) in WIZARDS.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("drive");
        copy(&before(at), &place);
        typed(&place, &Machine::new("00000000000000aa"), at);
        let file = before(at + 1);
        let (mine, theirs) = (journal(&place, wizard.name), journal(&file, wizard.name));
        assert_eq!(mine.len(), theirs.len(), "{}", wizard.name);
        for (a, b) in mine.iter().zip(&theirs) {
            assert_eq!(a, b, "{}", wizard.name);
        }
        assert_eq!(small_files(&place), small_files(&file), "{}", wizard.name);
        let (mine, theirs) = (fingerprint(&place), fingerprint(&file));
        for (name, digest) in &theirs {
            assert_eq!(mine.get(name), Some(digest), "{}: {name}", wizard.name);
        }
        assert_eq!(mine.len(), theirs.len(), "{}", wizard.name);
    }
}
