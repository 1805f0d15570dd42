//! Damage: files of a drive are deleted, cut short, changed by one bit, or exchanged. All of it is found; what can be made
//! or asked again ends as it was, what cannot is refused; and at no moment is something GREEN that is not there and true.
//!
//! What is true is decided here, from the bytes of the undamaged drive, and not by the code under test.

pub mod answers;
pub mod truth;

use self::answers::{about_actions, ask_again, is_told};
use self::truth::{Files, Session, TABLES, Truth, lying_in, truth_of};
use crate::rig::{Dice, Rig, day, files, names, rounds, t};
use data_layer::audit::AuditScope;
use data_layer::control::{Db, Which};
use data_layer::curate::Depth;
use data_layer::error::Error;
use data_layer::fsck::{self, Level};
use data_layer::host::Host;
use data_layer::ledger::{self, Status};
use data_layer::rebuild;
use data_layer::time::DateRange;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use trademl::kit::report::{Reporter, Voice};
use trademl::steps;

/// The first session of which minutes are kept.
const MINUTES_FROM: &str = "2018-01-10";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deleted,
    Truncated,
    Flipped,
    Swapped,
}

struct Drive {
    rig: Rig,
    pristine: Files,
    /// What lies in each undamaged file.
    inside: BTreeMap<String, Vec<(Session, u64)>>,
    truth: Truth,
    ledger: Vec<String>,
}

/// Which part of the drive a file belongs to; `None`: not damaged here.
fn part(path: &str) -> Option<&'static str> {
    let known = [
        ("raw/", "raw"),
        ("manifests/", "manifests"),
        ("curated/", "curated"),
        ("reference/", "reference"),
        ("qc/", "qc"),
        ("exports/", "exports"),
        ("control/backup/", "backups"),
    ];
    match path {
        "control/node.sqlite" | "control/journal.sqlite" | "models/registry.sqlite" => Some("databases"),
        "control/stage.yml" => Some("stage"),
        p if p.ends_with(".seal") || p.ends_with(".bak") => None,
        p => known.iter().find(|(start, _)| p.starts_with(start)).map(|(_, name)| *name),
    }
}

/// Whether what is said of one file stands in the other: of damage to both one is told, and it cannot be known which.
fn depend(a: &str, b: &str) -> bool {
    let vouches = |a: &str, b: &str| {
        let night = a.strip_suffix("manifest.json").is_some_and(|folder| a.starts_with("exports/") && b.starts_with(folder));
        let digest = a.strip_prefix("qc/digests/").is_some_and(|name| name.trim_end_matches(".json").replace('~', "/") == b);
        night || digest || a == "qc/curated_deps.json" && b.starts_with("curated/")
    };
    vouches(a, b) || vouches(b, a)
}

/// What only a person can bring back: the program must not start on it.
fn must_be_refused(path: &str) -> bool {
    matches!(path, "control/journal.sqlite" | "models/registry.sqlite" | "control/stage.yml")
}

fn ledger_of(host: &Host, place: &Path) -> Vec<ledger::Row> {
    let root = data_layer::root::DataRoot::open(host, place).unwrap();
    ledger::all_rows(&Db::open(&root, Which::Node).unwrap()).unwrap()
}

/// The ledger without the moments at which something was seen: what is asked again is seen again.
fn verdicts(rows: &[ledger::Row]) -> Vec<String> {
    rows.iter().map(|r| format!("{:?} {:?} {} {} {:?}", r.key, r.verdict.status, r.verdict.qc_code, r.verdict.row_count, r.verdict.expected_rows)).collect()
}

impl Drive {
    /// Some weeks in the life of a node: a bootstrap, then sessions, nights, exports and backups.
    fn new(wanted: usize, until: &str) -> Self {
        let rig = Rig::new("2018-01-10T21:40:00Z");
        let window = DateRange::new(day("2017-01-11"), day("2018-01-11")).unwrap();
        let node = rig.node("node-1");
        rig.seed_with_minutes(&node, &names(window, wanted), window, day(MINUTES_FROM));
        let mut service = rig.service(node);
        rig.live(&mut service, t(until), |_, _| {});
        drop(service);
        // FRED answers with what is public when it is asked, and actions are told as they are announced. All of it is asked again now, so that
        // whatever is asked again later, at the same moment of this world, has the same answer.
        let by_its_moment =
            |p: &&String| ["macros_fred/", "corp_actions/"].iter().any(|of| ["raw/", "manifests/"].iter().any(|a| p.starts_with(&format!("{a}{of}"))));
        let lived = files(&rig.place);
        for path in lived.keys().filter(by_its_moment) {
            std::fs::remove_file(rig.place.join(path)).unwrap();
        }
        ask_again(&rig, &about_actions(&lived));
        audit_full(&rig, || ()).unwrap();
        // Both other databases exist on a drive that wizards have used.
        drop(Db::open(&rig.root(), Which::Registry).unwrap());
        drop(hold(&rig).unwrap());
        let pristine = files(&rig.place);
        let ledger = verdicts(&ledger_of(&rig.host, &rig.place));
        let inside: BTreeMap<_, _> = pristine.iter().map(|(path, bytes)| (path.clone(), lying_in(path, bytes))).collect();
        let truth = truth_of(&pristine, &inside);
        let held = |table: usize| truth.keys().filter(|((t, ..), _)| *t == table).count();
        assert!(held(0) > 200 && held(2) == held(0) && held(1) > 10 && held(3) == held(1), "{:?}", [0, 1, 2, 3].map(held));
        let drive = Self { rig, pristine, inside, truth, ledger };
        assert!(drive.findings().is_empty(), "{:?}", drive.findings());
        assert_eq!(drive.false_green(), Vec::<String>::new());
        drive
    }

    /// Everything that `fsck` does not pass, in its words.
    fn findings(&self) -> Vec<(Level, String)> {
        let all = fsck::run(&self.rig.root()).unwrap();
        all.into_iter().filter(|f| f.status != Level::Pass).map(|f| (f.status, format!("{}: {} ({})", f.id, f.what, f.found.unwrap_or_default()))).collect()
    }

    /// GREEN partitions of bars, by the day and by the minute, that do not lie on the drive as the vendor gave them or as they
    /// were made of that: prices, volume, factors, dividends, moments.
    fn false_green(&self) -> Vec<String> {
        let mut there: BTreeSet<(Session, u64)> = BTreeSet::new();
        for (path, bytes) in files(&self.rig.place) {
            match self.pristine.get(&path) {
                Some(same) if *same == bytes => there.extend(self.inside[&path].iter().cloned()),
                _ => there.extend(lying_in(&path, &bytes)),
            }
        }
        let mut out = Vec::new();
        for row in ledger_of(&self.rig.host, &self.rig.place).iter().filter(|r| r.verdict.status == Status::Green) {
            let of = |(_, name, key): &(&str, &str, &str)| *name == row.key.table_name && *key == row.key.partition_key;
            let Some(table) = TABLES.iter().position(of) else { continue };
            let session = (table, row.key.symbol.clone(), row.key.dt.0);
            let source = if row.key.source_name == "curator" { String::new() } else { row.key.source_name.clone() };
            let good = self.truth.get(&(session.clone(), source)).is_some_and(|digest| there.contains(&(session, *digest)));
            if !good {
                out.push(format!("{} {} {} {}", row.key.table_name, row.key.partition_key, row.key.symbol, row.key.dt));
            }
        }
        out
    }

    /// How many sessions of each table are judged.
    fn judged(&self) -> BTreeMap<String, usize> {
        let held = |table: usize| self.truth.keys().filter(|((t, ..), _)| *t == table).count();
        TABLES.iter().enumerate().map(|(i, (_, name, key))| (format!("{name} {key}"), held(i))).collect()
    }

    fn restore(&self) {
        for path in files(&self.rig.place).keys().filter(|p| !self.pristine.contains_key(*p)) {
            std::fs::remove_file(self.rig.place.join(path)).unwrap();
        }
        for (path, bytes) in &self.pristine {
            let place = self.rig.place.join(path);
            if std::fs::read(&place).ok().as_ref() != Some(bytes) {
                std::fs::create_dir_all(place.parent().unwrap()).unwrap();
                std::fs::write(place, bytes).unwrap();
            }
        }
        for side in ["control/node.sqlite", "control/journal.sqlite", "models/registry.sqlite"] {
            for suffix in ["-wal", "-shm", "-journal"] {
                drop(std::fs::remove_file(self.rig.place.join(format!("{side}{suffix}"))));
            }
        }
    }

    /// Do some damage; the paths that are not what they were.
    fn damage(&self, dice: &mut Dice, kind: Kind, path: &str, free: &BTreeSet<String>) -> Option<Vec<String>> {
        let place = self.rig.place.join(path);
        let bytes = &self.pristine[path];
        match kind {
            Kind::Deleted => std::fs::remove_file(place).unwrap(),
            Kind::Truncated if bytes.is_empty() => return None,
            Kind::Truncated => std::fs::write(place, &bytes[..dice.below(bytes.len())]).unwrap(),
            Kind::Flipped if bytes.is_empty() => return None,
            Kind::Flipped => {
                let mut bytes = bytes.clone();
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
                std::fs::write(place, bytes).unwrap();
            }
            Kind::Swapped => {
                let suffix = |p: &str| p.rsplit('.').next().unwrap_or_default().to_string();
                let alike = |p: &&String| part(p) == part(path) && suffix(p) == suffix(path) && self.pristine[*p] != *bytes && !must_be_refused(p);
                let others: Vec<&String> = free.iter().filter(alike).collect();
                let other = (*others.get(dice.below(others.len()))?).clone();
                std::fs::write(place, &self.pristine[&other]).unwrap();
                std::fs::write(self.rig.place.join(&other), bytes).unwrap();
                return Some(vec![path.to_string(), other]);
            }
        }
        Some(vec![path.to_string()])
    }
}

/// What every command does first.
fn hold(rig: &Rig) -> Result<steps::preamble::Hold, Error> {
    steps::preamble::hold(&rig.root(), "node", false)
}

/// `trademl node audit --full`, with a look at the drive before the vendors are asked.
fn audit_full<T>(rig: &Rig, look: impl FnOnce() -> T) -> Result<T, Error> {
    let held = hold(rig)?;
    let root = rig.root();
    rebuild::ensure_node_db(&root)?;
    let node = rig.node("node-1");
    node.mend()?;
    let window = node.window()?;
    node.audit(window, AuditScope::Full)?;
    node.curate(Depth::Full)?;
    drop(node);
    let seen = look();
    let quiet = Reporter::new(&rig.host, Voice::Silent, "node", None);
    steps::node::audit(&rig.host, &root, &quiet, AuditScope::Full)?;
    rig.node("node-1").export(data_layer::node::newest_due(&rig.host)?)?;
    drop(held);
    Ok(seen)
}

#[derive(Default)]
struct Tally {
    damages: usize,
    found: usize,
    healed: usize,
    refused: usize,
    false_green: usize,
    batches: usize,
    clean: usize,
    by: BTreeMap<(&'static str, Kind), usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn json(&self, seed: u64, judged: &BTreeMap<String, usize>) -> serde_json::Value {
        let by: BTreeMap<String, usize> = self.by.iter().map(|((part, kind), n)| (format!("{part} {kind:?}").to_lowercase(), *n)).collect();
        json!({"topic": "damage", "seed": seed, "damages": self.damages, "found": self.found, "healed": self.healed, "refused": self.refused,
               "false_green": self.false_green, "judged": judged, "batches": self.batches, "fsck_clean": self.clean, "by": by, "wrong": self.wrong})
    }
}

/// What is not as it was, except what tells when something was asked. An answer about actions of which others tell every day of every symbol
/// is not asked for again: what is made of all of them must be the same without it.
fn differences(drive: &Drive) -> Vec<String> {
    let now = files(&drive.rig.place);
    let same = |p: &str| p.starts_with("raw/") || p.starts_with("curated/") || p.starts_with("reference/");
    let (before, after) = (about_actions(&drive.pristine), about_actions(&now));
    // What is announced for days to come is asked for again with every session.
    let today = drive.rig.host.now().utc_day().to_string();
    let told =
        |a: &answers::Asked| a.symbols.iter().all(|symbol| is_told(symbol, a, &today, after.iter().filter(|b| b.segments.iter().all(|s| now.contains_key(s)))));
    let contained = |p: &str| {
        let of_it: Vec<_> = before.iter().filter(|a| a.segments.iter().any(|s| s == p)).collect();
        !now.contains_key(p) && !of_it.is_empty() && of_it.into_iter().all(&told)
    };
    let changed = |(p, bytes): &(&String, &_)| same(p) && !contained(p) && now.get(*p) != Some(*bytes);
    let mut out: Vec<String> = drive.pristine.iter().filter(changed).map(|(p, _)| format!("{p} is not as it was")).collect();
    out.extend(now.keys().filter(|p| same(p) && !p.starts_with("raw/_quarantine/") && !drive.pristine.contains_key(*p)).map(|p| format!("{p} is new")));
    if verdicts(&ledger_of(&drive.rig.host, &drive.rig.place)) != drive.ledger {
        out.push("the ledger says something else".into());
    }
    out
}

/// One batch of damage, and what became of it. Files that depend on each other are exchanged, but not damaged apart.
fn batch(drive: &Drive, dice: &mut Dice, size: usize, tally: &mut Tally) {
    let mut free: BTreeSet<String> = drive.pristine.keys().filter(|p| part(p).is_some()).cloned().collect();
    let alone = dice.below(12) == 0;
    free.retain(|p| must_be_refused(p) == alone);
    let mut done: Vec<(Kind, Vec<String>)> = Vec::new();
    while done.len() < if alone { 1 } else { size } {
        // First the part, then the file: there are a hundred raw files to one database.
        let parts: BTreeSet<&str> = free.iter().filter_map(|p| part(p)).collect();
        let Some(chosen) = parts.iter().nth(dice.below(parts.len())) else { break };
        let inside: Vec<&String> = free.iter().filter(|p| part(p) == Some(chosen)).collect();
        let path = inside[dice.below(inside.len())].clone();
        let kind = [Kind::Deleted, Kind::Truncated, Kind::Flipped, Kind::Swapped][dice.below(4)];
        free.remove(&path);
        if let Some(paths) = drive.damage(dice, kind, &path, &free) {
            free.retain(|p| !paths.iter().any(|hit| hit == p || depend(hit, p)));
            *tally.by.entry((part(&path).unwrap(), kind)).or_default() += 1;
            done.push((kind, paths));
        }
    }
    judge(drive, &done, alone, tally);
    drive.restore();
}

fn judge(drive: &Drive, done: &[(Kind, Vec<String>)], alone: bool, tally: &mut Tally) {
    tally.batches += 1;
    tally.damages += done.len();
    let story = || done.iter().map(|(kind, paths)| format!("{kind:?} {}", paths.join(" and "))).collect::<Vec<_>>().join("; ");
    let findings = drive.findings();
    // A manifest that is gone is told by what nothing answers any more.
    let told = |path: &String| {
        let gone = !drive.rig.place.join(path).exists() && path.starts_with("manifests/");
        findings.iter().any(|(_, words)| {
            words.contains(path.as_str()) || gone && (words.starts_with("answers") || words.starts_with("segments") || words.starts_with("orphans"))
        }) || path.starts_with("qc/digests/")
            && findings.iter().any(|(_, words)| words.contains(&path["qc/digests/".len()..].trim_end_matches(".json").replace('~', "/")))
    };
    for (kind, paths) in done {
        let missed: Vec<&String> = paths.iter().filter(|p| !told(p)).collect();
        let one_of_both = matches!(&paths[..], [a, b] if depend(a, b)) && missed.len() == 1;
        tally.found += usize::from(missed.is_empty() || one_of_both);
        if !missed.is_empty() && !one_of_both {
            tally.wrong.push(format!("not found: {kind:?} {missed:?} among {findings:?}"));
        }
    }
    match audit_full(&drive.rig, || drive.false_green()) {
        Ok(wrong) => {
            let after = drive.false_green();
            tally.false_green += wrong.len() + after.len();
            if let Some(first) = wrong.first().or(after.first()) {
                tally.wrong.push(format!("false GREEN: {first} after {}", story()));
            }
            let (left, changed) = (drive.findings(), differences(drive));
            tally.clean += usize::from(left.is_empty());
            if left.is_empty() && changed.is_empty() && !alone {
                tally.healed += done.len();
            } else {
                tally.wrong.push(format!("not healed: {} -> {left:?} {changed:?}", story()));
            }
        }
        Err(e) if alone => {
            tally.refused += 1;
            let path = &done[0].1[0];
            if !e.to_string().contains(path.as_str()) || e.body().fix.is_empty() {
                tally.wrong.push(format!("refused without naming it: {} {e} {:?}", story(), e.body()));
            }
        }
        Err(e) => tally.wrong.push(format!("not healed: {} -> {e} {:?}", story(), e.body())),
    }
}

fn play(drive: &Drive, seed: u64, damages: usize) -> Tally {
    let (mut dice, mut tally) = (Dice(seed), Tally::default());
    while tally.damages < damages {
        batch(drive, &mut dice, 5, &mut tally);
    }
    tally
}

#[test]
fn whatever_is_damaged_is_found_and_healed_or_refused_and_nothing_false_is_green() {
    let drive = Drive::new(3, "2018-01-17T12:00:00Z");
    let tally = play(&drive, 11, 20);
    assert!(tally.wrong.is_empty(), "{:#}", tally.json(11, &drive.judged()));
}

#[test]
#[ignore = "takes minutes: make damage"]
fn a_thousand_damages() {
    let drive = Drive::new(8, "2018-01-26T12:00:00Z");
    let began = std::time::Instant::now();
    let tally = play(&drive, 20_171_208, rounds(1_000));
    let mut line = tally.json(20_171_208, &drive.judged());
    line["seconds"] = json!(began.elapsed().as_secs());
    println!("{line}");
    assert!(tally.wrong.is_empty() && tally.found == tally.damages && tally.healed + tally.refused == tally.damages);
    assert_eq!(tally.clean + tally.refused, tally.batches, "fsck is clean after every batch that was not refused");
}
