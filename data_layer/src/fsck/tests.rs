use super::*;
use crate::audit::{AuditScope, audit_scan};
use crate::host::{FakeHost, Host};
use crate::stage;
use crate::testkit::{Kit, day, good_bars, range};

fn filled_with(host: Host) -> Kit {
    let kit = Kit::with_host("replay@1", host);
    let window = range("2017-01-01", "2017-03-01");
    kit.stage(&["AAA"]);
    kit.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window));
    crate::rebuild::adopt(&kit.root, &kit.db).unwrap();
    audit_scan(&kit.root, &kit.db, &Default::default(), AuditScope::Incremental, day("2017-02-28"), window).unwrap();
    curate::curate_incremental(&kit.root, &kit.db).unwrap();
    snapshot::pin(&kit.root, window).unwrap();
    kit
}

fn filled() -> Kit {
    filled_with(Host::fake(FakeHost::default()))
}

fn failures(kit: &Kit) -> Vec<&'static str> {
    run(&kit.root).unwrap().into_iter().filter(|f| f.status == Level::Fail).map(|f| f.id).collect()
}

#[test]
fn a_sound_drive_passes() {
    let kit = filled();
    let findings = run(&kit.root).unwrap();
    assert!(is_sound(&findings), "{findings:#?}");
    assert!(findings.iter().all(|f| f.status == Level::Pass), "{findings:#?}");
}

fn flip(kit: &Kit, path: &str) {
    let place = kit.place(&DataPath::new(path).unwrap());
    let mut bytes = std::fs::read(&place).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    std::fs::write(place, bytes).unwrap();
}

#[test]
fn a_curated_file_that_no_curation_knows_is_told_and_goes_with_the_next_full_one() {
    let kit = filled();
    let (known, stray) = [2017, 1999].map(|year| kit.place(&curate::path_of("AAA", year).unwrap())).into();
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::copy(&known, &stray).unwrap();
    let told = |findings: &[Finding]| findings.iter().any(|f| f.id == "curated.unknown" && f.status == Level::Warn);
    assert!(told(&run(&kit.root).unwrap()));
    curate::curate(&kit.root, &kit.db, curate::Depth::Full).unwrap();
    assert!(!told(&run(&kit.root).unwrap()) && known.exists() && !stray.exists());
}

#[test]
fn every_kind_of_damage_is_found() {
    let kit = filled();
    let segment = segment::all_manifests(&kit.root).unwrap()[0].1.segments[0].path.to_string();
    flip(&kit, &segment);
    assert_eq!(failures(&kit), ["segment"]);
    flip(&kit, &segment);
    flip(&kit, curate::path_of("AAA", 2017).unwrap().as_str());
    assert_eq!(failures(&kit), ["curated"]);
    flip(&kit, curate::path_of("AAA", 2017).unwrap().as_str());
    flip(&kit, stage::PATH);
    assert_eq!(failures(&kit), ["stage"]);
    flip(&kit, stage::PATH);
    let list = store::list(&kit.root, &DataPath::new(snapshot::FOLDER).unwrap()).unwrap()[0].to_string();
    flip(&kit, &list);
    assert_eq!(failures(&kit), ["snapshot"]);
    flip(&kit, &list);
    std::fs::remove_file(kit.place(&DataPath::new(&*segment).unwrap())).unwrap();
    assert_eq!(failures(&kit), ["segment"]);
}

#[test]
fn a_finished_task_without_an_outcome_and_stray_files_are_found() {
    let kit = filled();
    kit.db
        .write(|tx| {
            tx.execute(
                "INSERT INTO backfill_queue (dataset, symbol, start_date, end_date, kind, priority, status, created_at, updated_at)
                 VALUES ('equities_eod','AAA','2017-01-01','2018-01-01','GAP',1,'DONE','t','t')",
                [],
            )?;
            Ok(())
        })
        .unwrap();
    assert_eq!(failures(&kit), ["queue"]);
    std::fs::write(kit.path().join("raw/.x.parquet.1.tmp"), b"").unwrap();
    std::fs::write(kit.path().join("raw/x.parquet"), b"").unwrap();
    let warned: Vec<_> = run(&kit.root).unwrap().into_iter().filter(|f| f.status == Level::Warn).map(|f| f.id).collect();
    assert_eq!(warned, ["orphans", "temporary"]);
}

#[test]
fn acknowledged_facts_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("acked");
    let mut fake = FakeHost::default();
    fake.env.insert("RIG_ACKED".into(), list.display().to_string());
    let kit = filled_with(Host::fake(fake));
    let traced = kit.root.host().traced();
    std::fs::write(&list, traced.join("\n")).unwrap();
    assert!(failures(&kit).is_empty());
    std::fs::write(&list, "ACK file raw/nothing.parquet\nACK segment 00\nACK task 7\n").unwrap();
    assert_eq!(failures(&kit), ["acked"]);
}

#[test]
fn an_answer_that_went_with_its_database_is_remembered_by_the_night_s_copy() {
    use crate::bookmarks::{self, Bookmark, Key};
    let kit = filled();
    let (path, manifest) = segment::all_manifests(&kit.root).unwrap().remove(0);
    let key = Key { vendor: "alpaca", dataset: crate::schema::dataset::EQUITIES_EOD, symbol: "AAA", range: range("2017-01-01", "2017-03-01") };
    let mark = Bookmark { cursor: None, pages: 1, rows: 3, complete: true, updated_at: manifest.ingested_at };
    kit.db.write(|tx| bookmarks::exact_from(tx, manifest.ingested_at).and_then(|()| bookmarks::put(tx, &key, &mark))).unwrap();
    crate::control::nightly_backup(&kit.root, "2017-03-02").unwrap();
    assert!(!failures(&kit).contains(&"answers"));
    std::fs::remove_file(kit.place(&path)).unwrap();
    assert!(failures(&kit).contains(&"answers"), "the database remembers the question");
    for name in ["node.sqlite", "node.sqlite-wal", "node.sqlite-shm"] {
        drop(std::fs::remove_file(kit.place(&DataPath::new(format!("control/{name}")).unwrap())));
    }
    let told = run(&kit.root).unwrap();
    let answers = told.iter().find(|f| f.id == "answers").unwrap();
    assert!(answers.status == Level::Fail && format!("{answers:?}").contains("alpaca"), "{answers:?}");
}
