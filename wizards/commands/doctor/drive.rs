//! The drive itself: its sentinel, its filesystem, its room, its folders and leftovers.

use super::repair::{self, Repair};
use super::{Check, Exam, Family, Finding, quoted};
use data_layer::detect::{self, human_bytes};
use data_layer::error::{Exit, Result, code};
use data_layer::fsck::Level;
use data_layer::root::{DataPath, DataRoot, LAYOUT, SENTINEL};
use data_layer::sourcing::{BackfillConfig, Endpoints};
use data_layer::{segment, stage};
use std::path::Path;

pub const FAMILY: Family = Family {
    name: term!("drive"),
    checks: &[
        Check { id: "sentinel", what: "the drive says what it is", rooted: false, look: sentinel },
        Check { id: "mount", what: "the drive is mounted and can be written", rooted: true, look: mount },
        Check { id: "flushes", what: "the filesystem keeps what it was told to keep", rooted: true, look: flushes },
        Check { id: "space", what: "there is room, for a while", rooted: true, look: space },
        Check { id: "folders", what: "every folder is there", rooted: true, look: folders },
        Check { id: "leftovers", what: "no temporary file was left behind", rooted: true, look: leftovers },
        Check { id: "logs", what: "old logs are cleared away", rooted: true, look: logs },
        Check { id: "stage", what: "the stage matches its digest", rooted: true, look: stage_file },
        Check { id: "configs", what: "the drive's own configuration can be read", rooted: true, look: configs },
    ],
};

/// `mv FILE FILE.refused`: the built-in values hold again, and nothing is lost.
pub fn put_aside(place: &Path) -> String {
    let mut aside = place.as_os_str().to_owned();
    aside.push(".refused");
    text!("mv {} {}", quoted(place), quoted(Path::new(&aside)))
}

fn sentinel(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(base) = &exam.base else {
        return Ok(vec![Finding::fail("no data root is known on this machine", "trademl pi-data-node")]);
    };
    Ok(vec![match DataRoot::open(&exam.host, base) {
        Ok(root) => Finding::pass(text!("drive {} of dataset {}, made by {}", root.drive().drive_id, root.drive().dataset, root.drive().created_by)),
        Err(error) if !error.is(code::SSD_NEWER) && repair::known_drive(&exam.host, base).is_some() => {
            let seen = text!("{} {}, but its journal knows the drive", base.join(SENTINEL).display(), error.body().cause.clone().unwrap_or_default());
            Finding::fail(seen, exam.doctor_fix()).mended_by(Repair::Sentinel)
        }
        Err(error) => Finding::of(&error, None),
    }])
}

/// The mounted filesystem that holds the root.
fn mounted(root: &DataRoot) -> Option<detect::Drive> {
    let base = root.base().canonicalize().unwrap_or_else(|_| root.base().to_path_buf());
    detect::drives::for_directory(root.host(), &base).0
}

fn mount(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let Some(drive) = mounted(root) else { return Ok(vec![Finding::pass("the mount table does not say")]) };
    let seen = text!("{} {} at {}, {}", drive.device, drive.fs_type, drive.mount_point, drive.transport.words());
    if drive.read_only {
        return Ok(vec![Finding::fail(text!("{seen}: mounted read-only"), text!("sudo mount -o remount,rw {}", quoted(Path::new(&drive.mount_point))))]);
    }
    if let (Some(then), Some(now)) = (&root.drive().fs.uuid, &drive.fs_uuid)
        && then != now
    {
        let fix = "nothing if you copied the drive on purpose; otherwise mount the right one: lsblk -o NAME,UUID,MOUNTPOINT";
        return Ok(vec![Finding::warn(text!("{seen}: filesystem {now}, set up on {then}"), fix)]);
    }
    Ok(vec![Finding::pass(seen)])
}

fn flushes(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let fs = &root.drive().fs;
    let probe = &fs.probe;
    let seen = text!("{}: flushes {}, rename {}, modes {}, WAL {}", fs.kind, probe.fsync, yes(probe.rename), yes(probe.mode_bits), yes(probe.wal));
    if let Some(words) = &root.drive().accepted_without {
        return Ok(vec![Finding::warn(
            text!("without guarantees: {words}"),
            "move the data to an ext4 drive: trademl eject, copy the folder, trademl pi-data-node --root NEW",
        )]);
    }
    Ok(vec![if probe.fsync == "lying" {
        Finding::warn(text!("{seen}: a power cut may lose what was reported as written"), "use another enclosure or cable; then copy the folder to it")
    } else {
        Finding::pass(seen)
    }])
}

fn yes(ability: bool) -> &'static str {
    if ability { "yes" } else { "no" }
}

fn space(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let Some(drive) = mounted(root).filter(|d| d.total_bytes > 0) else { return Ok(vec![Finding::pass("the free space is not known")]) };
    let disk = BackfillConfig::load(root).map_or_else(|_| Default::default(), |c| c.disk);
    let used = 1.0 - drive.free_bytes as f64 / drive.total_bytes as f64;
    let mut seen = text!("{} free of {} on {}, {:.0} % used", human_bytes(drive.free_bytes), human_bytes(drive.total_bytes), drive.mount_point, used * 100.0);
    // The trend: what the last thirty days brought in.
    let since = root.host().now().plus_seconds(-30 * 86_400);
    let grown: u64 = segment::all_manifests(root)?.iter().filter(|(_, m)| m.ingested_at >= since).flat_map(|(_, m)| &m.segments).map(|s| s.bytes).sum();
    if grown > 0 {
        let room = drive.free_bytes.saturating_sub((drive.total_bytes as f64 * (1.0 - disk.stop)) as u64);
        seen.push_str(&text!("; {} of raw data in 30 days, room for about {} such months", human_bytes(grown), room / grown));
    }
    let fix = text!("du -h --max-depth=2 {} | sort -h | tail", exam.place(""));
    Ok(vec![match used {
        u if u >= disk.stop => Finding::fail(text!("{seen}: above the limit of {:.0} % (disk.stop of backfill.yml)", disk.stop * 100.0), fix),
        u if u >= disk.warn => Finding::warn(text!("{seen}: warned from {:.0} %", disk.warn * 100.0), fix),
        _ => Finding::pass(seen),
    }])
}

fn folders(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let missing: Vec<&str> = LAYOUT.iter().copied().filter(|f| !root.base().join(f).is_dir()).collect();
    Ok(vec![if missing.is_empty() {
        Finding::pass(text!("{} folders", LAYOUT.len()))
    } else {
        Finding::fail(text!("not there: {}", missing.join(", ")), exam.doctor_fix()).mended_by(Repair::Folders)
    }])
}

fn leftovers(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let found = repair::temporary(root)?;
    Ok(vec![match found.first() {
        None => Finding::pass("none"),
        Some(first) => {
            let seen = text!("{} files of an interrupted write, the first is {}; they are never read", found.len(), first.display());
            Finding::warn(seen, exam.doctor_fix()).mended_by(Repair::Leftovers)
        }
    }])
}

fn logs(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let (old, bytes) = repair::old_logs(root)?;
    Ok(vec![if old.is_empty() {
        Finding::pass(text!("{} of logs, none older than 14 days", human_bytes(bytes)))
    } else {
        Finding::warn(text!("{} logs are older than 14 days", old.len()), exam.doctor_fix()).mended_by(Repair::OldLogs)
    }])
}

fn stage_file(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let path = DataPath::new(stage::PATH)?;
    Ok(vec![match stage::load_optional(root) {
        Ok(Some(s)) => Finding::pass(text!("stage {}, {} symbols", s.stage, s.universe.symbols.len())),
        Ok(None) => Finding::warn("the drive has no stage yet", format!("trademl pi-data-node{}", exam.at())),
        Err(error) => {
            let backup = exam.place(&format!("{path}.bak"));
            let good = error.body().fix.iter().any(|f| f.starts_with("cp "));
            let fix = if good {
                text!("cp {backup} {}", exam.place(path.as_str()))
            } else {
                text!("rm {} && trademl pi-data-node{}", exam.place(path.as_str()), exam.at())
            };
            Finding::of(&error, Some(fix))
        }
    }])
}

fn configs(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (name, outcome) in [("backfill", BackfillConfig::load(root).map(drop)), ("endpoints", Endpoints::load(root).map(drop))] {
        if let Err(error) = outcome {
            out.push(Finding::of(&error, Some(put_aside(&root.base().join(format!("control/configs/{name}.yml"))))).exit(Exit::Usage));
        }
    }
    if out.iter().all(|f| f.level == Level::Pass) {
        out.push(Finding::pass("backfill and endpoints"));
    }
    Ok(out)
}
