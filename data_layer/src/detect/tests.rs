use super::fixture::{Fixture, MMC, NVME, USB};
use super::*;
use crate::attach;
use crate::control::{Db, Which};
use crate::error::code;
use crate::root::DataRoot;

#[test]
fn a_raspberry_pi_with_a_usb_ssd_is_described_with_evidence() {
    let f = Fixture::pi_with_ssd("ext4", "rw", "write back");
    let found = detect(&f.host());
    assert_eq!((found.machine.kind, found.machine.model.as_str()), (MachineKind::RaspberryPi, "Raspberry Pi 5 Model B Rev 1.0"));
    assert_eq!((found.machine.memory_mb, found.machine.cores, found.machine.timezone.as_str()), (8051, 2, "Europe/London"));
    assert_eq!(found.machine.os, "Debian GNU/Linux 12 (bookworm)");
    let points: Vec<&str> = found.drives.iter().map(|d| d.mount_point.as_str()).collect();
    assert_eq!(points, ["/mnt/ssd", "/"]);
    let ssd = &found.drives[0];
    assert_eq!((ssd.transport, ssd.rotational, ssd.fs_uuid.as_deref()), (Transport::Usb, Some(false), Some("ssd-uuid")));
    assert_eq!((ssd.model.as_deref(), ssd.write_cache.as_deref()), (Some("Samsung PSSD T7"), Some("write back")));
    assert!(matches!(&found.drives[1].suitability, Suitability::Practice { why } if why.contains("SD cards")));
    assert_eq!((found.recommendation.path.as_str(), found.recommendation.practice), ("/mnt/ssd/data_layer", false));
    assert!(found.recommendation.reason.contains("871.0 GB"), "{}", found.recommendation.reason);
    assert!(found.facts().iter().all(|fact| !fact.evidence.is_empty()));
}

#[test]
fn nvme_is_seen_and_the_drive_with_most_free_space_wins() {
    let mut f = Fixture::pi_with_ssd("ext4", "rw", "write back");
    f.disk(NVME, "nvme0n1", "nvme0n1p1", "259:1", "nvme-uuid", "write back");
    f.mount("259:1", "/mnt/big disk", "xfs", "/dev/nvme0n1p1", "rw", (2_000_000_000_000, 1_900_000_000_000));
    f.mount("259:1", "/srv/bind", "xfs", "/dev/nvme0n1p1", "rw", (2_000_000_000_000, 1_900_000_000_000));
    let found = detect(&f.host());
    assert_eq!((found.drives[0].mount_point.as_str(), found.drives[0].transport), ("/srv/bind", Transport::Nvme));
    assert_eq!(found.drives.len(), 3, "a second mount of the same filesystem is listed once");
}

#[test]
fn without_a_drive_a_practice_folder_is_proposed_and_what_is_plugged_in_is_named() {
    let mut f = Fixture::raspberry_pi();
    f.disk(MMC, "mmcblk0", "mmcblk0p2", "179:2", "root-uuid", "write back");
    f.mount("179:2", "/", "ext4", "/dev/mmcblk0p2", "rw", (31_000_000_000, 20_000_000_000));
    f.disk(USB, "sdb", "sdb1", "8:17", "ssd-uuid", "write back");
    let found = detect(&f.host());
    assert_eq!(found.unmounted, [Unmounted { device: "/dev/sdb1".into(), fs_uuid: "ssd-uuid".into() }]);
    assert!(found.recommendation.practice && found.recommendation.path == "/home/pi/trademl-practice");
    assert!(found.recommendation.reason.contains("sudo mount UUID=ssd-uuid"), "{}", found.recommendation.reason);
    let error = accept(&f.host(), &f.path("/mnt/ssd/data_layer"), None).unwrap_err();
    assert!(error.is(code::SSD_NOT_MOUNTED) && error.body().fix[0].contains("UUID=ssd-uuid"), "{:?}", error.body());
    assert!(!f.path("/mnt").exists(), "the SD card is untouched");
    let home = accept(&f.host(), &f.path("/home/pi/trademl-practice"), None).unwrap();
    assert!(home.practice.is_some() && home.fs.kind == "ext4");
}

#[test]
fn an_absent_drive_is_told_from_one_that_is_not_mounted_and_one_that_is_elsewhere() {
    let mut f = Fixture::raspberry_pi();
    f.disk(MMC, "mmcblk0", "mmcblk0p2", "179:2", "root-uuid", "write back");
    f.mount("179:2", "/", "ext4", "/dev/mmcblk0p2", "rw", (31_000_000_000, 20_000_000_000));
    f.disk(USB, "sdb", "sdb1", "8:17", "ssd-uuid", "write back");
    let error = absent(&f.host(), &f.path("/mnt/ssd/data_layer"));
    let fix = &error.body().fix;
    assert!(error.is(code::SSD_NOT_MOUNTED) && fix[0].contains("mount UUID=ssd-uuid") && fix[0].ends_with("/mnt/ssd, then run the same command"), "{fix:?}");
    assert!(fix.iter().all(|f| f != "trademl pi-data-node"), "a new drive on the SD card is no remedy: {fix:?}");
    let nowhere = absent(&f.host(), &f.path("/home/pi/data"));
    assert!(nowhere.is(code::SSD_NO_ROOT) && nowhere.body().fix == ["trademl pi-data-node"], "{:?}", nowhere.body());

    // The same drive, as another device at another place.
    f.mount("8:17", "/media/pi/SSD", "ext4", "/dev/sdb1", "rw", (931_500_000_000, 871_000_000_000));
    let root = DataRoot::create(&f.host(), &f.path("/media/pi/SSD/data_layer"), "replay@1", Default::default(), None).unwrap();
    let elsewhere = absent(&f.host(), &f.path("/home/pi/data"));
    assert!(elsewhere.body().fix.contains(&"--root /media/pi/SSD/data_layer".to_string()), "{:?}", elsewhere.body());
    assert_eq!(find(&f.host(), &root.drive().drive_id), Some(f.path("/media/pi/SSD/data_layer")));
    assert_eq!(find(&f.host(), "another"), None);
}

#[test]
fn lesson_113_foreign_filesystems_are_refused_with_the_remedy_or_recorded() {
    for fs in ["exfat", "vfat", "ntfs3", "nfs4", "cifs", "fuse.sshfs", "9p"] {
        let f = Fixture::pi_with_ssd(fs, "rw", "write back");
        let found = detect(&f.host());
        let ssd = found.drives.iter().find(|d| d.mount_point == "/mnt/ssd").unwrap();
        assert!(matches!(&ssd.suitability, Suitability::Refused { code, .. } if code == "TML-SSD-004"), "{fs}");
        assert!(found.recommendation.practice, "{fs}");
        let place = f.path("/mnt/ssd");
        let error = accept(&f.host(), &place, None).unwrap_err();
        assert!(error.is(code::SSD_FILESYSTEM) && !error.body().fix.is_empty(), "{fs}");
        let accepted = accept(&f.host(), &place, Some("I accept that data may be lost")).unwrap();
        let words = accepted.accepted_without.unwrap();
        assert!(words.starts_with(fs) && words.contains("I accept") && !accepted.warnings.is_empty(), "{words}");
    }
}

#[test]
fn lesson_039_a_network_share_is_named_and_refused() {
    let mut f = Fixture::raspberry_pi();
    f.mount("0:55", "/mnt/nas", "nfs4", "nas:/export", "rw", (1, 1));
    let error = accept(&f.host(), &f.path("/mnt/nas"), None).unwrap_err();
    assert!(error.body().what.contains("nfs4") && error.body().fix[0].contains("plugged into this machine"), "{:?}", error.body());
}

#[test]
fn a_read_only_mount_is_refused_even_with_an_override() {
    let f = Fixture::pi_with_ssd("ext4", "ro", "write back");
    assert!(matches!(&detect(&f.host()).drives.last().unwrap().suitability, Suitability::Refused { code, .. } if code == "TML-SSD-005"));
    for words in [None, Some("go on")] {
        let error = accept(&f.host(), &f.path("/mnt/ssd"), words).unwrap_err();
        assert!(error.is(code::SSD_READ_ONLY) && error.body().fix[0].contains("remount,rw /mnt/ssd"));
    }
}

#[test]
fn lesson_114_a_write_through_usb_disk_is_warned_about_and_recorded() {
    let f = Fixture::pi_with_ssd("ext4", "rw", "write through");
    let accepted = accept(&f.host(), &f.path("/mnt/ssd/data_layer"), None).unwrap();
    assert!(accepted.fs.probe.write_through && accepted.fs.probe.fsync == "unknown");
    assert!(accepted.warnings.iter().any(|w| w.contains("no flushes")));
    let honest = Fixture::pi_with_ssd("ext4", "rw", "write back");
    let accepted = accept(&honest.host(), &honest.path("/mnt/ssd/data_layer"), None).unwrap();
    assert!(accepted.warnings.is_empty() && accepted.practice.is_none() && accepted.accepted_without.is_none());
    assert_eq!((accepted.fs.kind.as_str(), accepted.fs.uuid.as_deref()), ("ext4", Some("ssd-uuid")));
}

#[test]
fn the_probe_finds_this_filesystems_abilities_and_leaves_nothing_behind() {
    let f = Fixture::pi_with_ssd("ext4", "rw", "write back");
    let accepted = accept(&f.host(), &f.path("/mnt/ssd/new/folder"), None).unwrap();
    let probe = &accepted.fs.probe;
    assert!(probe.rename && probe.mode_bits && probe.wal, "{probe:?}");
    assert_eq!(std::fs::read_dir(f.path("/mnt/ssd")).unwrap().count(), 0);
}

#[test]
fn existing_state_says_whose_how_far_and_what_is_left() {
    let f = Fixture::pi_with_ssd("ext4", "rw", "write back");
    let host = f.host();
    let root = DataRoot::create(&host, &f.path("/mnt/ssd/data_layer"), "replay@1", Default::default(), None).unwrap();
    attach::attach(&root, "pi-1", false).unwrap();
    let journal = Db::open(&root, Which::Journal).unwrap();
    let sql = "INSERT INTO journal (run_id, wizard, step, kind, scope, schema, prev_hash, hash, at, host_label) VALUES (?1, ?2, ?3, ?4, 'drive', 1, '', '', 't', 'h')";
    for row in [["r1", "train", "", "opened"], ["r1", "train", "", "closed"], ["r2", "pi-data-node", "", "opened"], ["r2", "pi-data-node", "seed", "done"]] {
        journal.write(|tx| Ok(tx.execute(sql, row)?)).unwrap();
    }
    let node = Db::open(&root, Which::Node).unwrap();
    let task = "INSERT INTO backfill_queue (dataset, symbol, start_date, end_date, kind, priority, status, created_at, updated_at) VALUES ('d', ?1, 'a', 'b', 'GAP', 1, ?2, '', '')";
    for (symbol, status) in [("A", "DONE"), ("B", "PENDING"), ("C", "LEASED")] {
        node.write(|tx| Ok(tx.execute(task, [symbol, status])? + tx.execute("INSERT INTO queue_counts VALUES ('d', 'GAP', ?1, 1)", [status])?)).unwrap();
    }
    let found = detect(&host);
    let existing = &found.drives[0].existing[0];
    assert_eq!((existing.path.as_str(), existing.this_machine), ("/mnt/ssd/data_layer", true));
    let runs: Vec<_> = existing.open_runs.iter().map(|r| (r.wizard.as_str(), r.last_step.as_str(), r.steps_done)).collect();
    assert_eq!(runs, [("pi-data-node", "seed", 1)]);
    let summary = existing.summary();
    assert!(summary.contains("dataset replay@1") && summary.contains("1 of 3 tasks done, 2 left, 0 failed"), "{summary}");
    assert!(existing.problems.is_empty() && found.recommendation.reason.contains("already holds"), "{existing:?}");
    std::fs::write(f.path("/mnt/ssd/data_layer/.trademl-drive.json"), "{").unwrap();
    let damaged = recognise::existing(&host, &f.path("/mnt/ssd/data_layer")).unwrap();
    assert!(damaged.sentinel.is_none() && damaged.problems.len() == 1);
}

#[test]
fn a_machine_that_tells_nothing_is_no_error() {
    let f = Fixture::new();
    let found = detect(&f.host());
    assert!(found.drives.is_empty() && found.recommendation.practice);
    let accepted = accept(&f.host(), &f.path("/anything"), None).unwrap();
    assert_eq!((accepted.fs.kind.as_str(), accepted.practice.is_some()), ("unknown", true));
}
