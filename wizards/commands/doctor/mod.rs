//! `trademl doctor`: one screen of checks, each PASS, WARN or FAIL with its evidence and the command that mends it.
//!
//! A check is a function from what can be looked at ([`Exam`]) to findings. Families are files; their order here is the
//! order on the screen. Nothing is changed unless `--fix` is given, and then only by [`repair`]s that lose nothing.

mod control;
mod drive;
mod journal;
mod machine;
mod network;
mod repair;
#[cfg(feature = "research")]
mod research;
mod service;

use super::{emit, say};
use crate::cli::DoctorArgs;
use crate::kit::session::Flags;
use data_layer::attach;
use data_layer::error::{Error, Exit, Result, code};
use data_layer::fsck::Level;
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::words::joined;
use repair::Repair;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a check may look at.
pub struct Exam {
    pub host: Host,
    /// Where the drive should be; `None` when no root is known on this machine.
    pub base: Option<PathBuf>,
    /// The opened root; `None` when it cannot be opened, which is a finding of its own.
    pub root: Option<DataRoot>,
    /// Read every byte.
    pub deep: bool,
}

impl Exam {
    /// ` --root DIR` for a command, quoted for a shell.
    fn at(&self) -> String {
        self.base.as_ref().map_or(String::new(), |b| text!(" --root {}", quoted(b)))
    }
    /// A path below the root, as a shell wants it.
    fn place(&self, path: &str) -> String {
        quoted(&self.base.clone().unwrap_or_default().join(path))
    }
    fn doctor_fix(&self) -> String {
        format!("trademl doctor --fix{}", self.at())
    }
}

/// A path in single quotes where a shell needs them.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-~+".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// What one check found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub level: Level,
    /// What was looked at and seen.
    pub evidence: String,
    /// A command that a shell can run.
    pub fix: Option<String>,
    /// The same, done by `--fix`.
    pub repair: Option<Repair>,
    /// Where a FAIL leads.
    pub exit: Exit,
}

impl Finding {
    fn pass(evidence: impl Into<String>) -> Self {
        Self { level: Level::Pass, evidence: evidence.into(), fix: None, repair: None, exit: Exit::Done }
    }
    fn warn(evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warn, evidence: evidence.into(), fix: Some(fix.into()), repair: None, exit: Exit::Done }
    }
    fn fail(evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, evidence: evidence.into(), fix: Some(fix.into()), repair: None, exit: Exit::Host }
    }
    fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
    /// The fix is one that `--fix` does.
    fn mended_by(mut self, repair: Repair) -> Self {
        self.repair = Some(repair);
        self
    }
    /// An error met while looking is a finding.
    fn of(error: &Error, fix: Option<String>) -> Self {
        let body = error.body();
        let seen = joined(&[Some(body.what.clone()), body.cause.clone(), body.found.clone()].into_iter().flatten().collect::<Vec<_>>(), "; ");
        let fix = fix.or_else(|| body.fix.first().cloned()).unwrap_or_else(|| "trademl doctor --deep".into());
        Self { level: Level::Fail, evidence: text!("{seen} ({})", body.code.id), fix: Some(fix), repair: None, exit: body.code.exit }
    }
}

/// A check: its stable id, what it makes sure of, and how.
pub struct Check {
    pub id: &'static str,
    pub what: &'static str,
    /// Whether it needs an opened root.
    pub rooted: bool,
    pub look: fn(&Exam) -> Result<Vec<Finding>>,
}

/// Checks that belong together.
pub struct Family {
    pub name: &'static str,
    pub checks: &'static [Check],
}

/// Every family, in the order of the screen.
pub fn families() -> Vec<&'static Family> {
    #[cfg_attr(not(feature = "research"), allow(unused_mut))]
    let mut out = vec![&machine::FAMILY, &drive::FAMILY, &control::FAMILY, &journal::FAMILY, &network::FAMILY, &service::FAMILY];
    #[cfg(feature = "research")]
    out.push(&research::FAMILY);
    out
}

/// A finding with the check that made it.
pub struct Row {
    pub family: &'static str,
    pub id: &'static str,
    pub what: &'static str,
    pub finding: Finding,
}

/// Look at everything. An error inside a check is its finding; cancelling ends the examination.
pub fn examine(exam: &Exam) -> Result<Vec<Row>> {
    let mut out = Vec::new();
    for family in families() {
        for check in family.checks.iter().filter(|c| !c.rooted || exam.root.is_some()) {
            exam.host.check_cancelled()?;
            let findings = (check.look)(exam).unwrap_or_else(|error| vec![Finding::of(&error, None)]);
            out.extend(findings.into_iter().map(|finding| Row { family: family.name, id: check.id, what: check.what, finding }));
        }
    }
    Ok(out)
}

/// The root that is meant, opened if it can be.
pub fn exam(host: &Host, root: Option<PathBuf>, deep: bool) -> Exam {
    let remembered = crate::steps::keys::remembered_root(host).ok().flatten();
    let flags = Flags { root, ..Flags::default() };
    let base = flags.root.or_else(|| host.env("TRADEML_ROOT").map(PathBuf::from)).or_else(|| remembered.map(PathBuf::from)).map(|p| host.cwd().join(p));
    let root = base.as_ref().and_then(|b| DataRoot::open(host, b).ok());
    Exam { host: host.clone(), base, root, deep }
}

/// `trademl doctor`.
pub fn run(host: &Host, args: &DoctorArgs) -> Result<u8> {
    host.set_offline(args.offline);
    let mut seen = exam(host, args.root.clone(), args.deep);
    let mut rows = examine(&seen)?;
    let mut mended = Vec::new();
    if args.fix {
        if let Some(root) = &seen.root {
            let busy = attach::busy(root)?;
            if !busy.is_empty() {
                return Err(Error::new(code::SSD_HELD, "the drive is in use: nothing is mended under a running program")
                    .found(busy.join("; "))
                    .fix("stop it first (Ctrl-C in its window), then run the same command"));
            }
        }
        for row in &rows {
            if let Some(repair) = &row.finding.repair {
                mended.push(json!({"id": row.id, "done": repair.perform(&seen)?}));
            }
        }
        seen = exam(host, args.root.clone(), args.deep);
        rows = examine(&seen)?;
    }
    if args.json {
        emit(&as_json(&rows, &mended).to_string())
    } else {
        print(&seen, &rows, &mended)
    }
    Ok(rows.iter().find(|r| r.finding.level == Level::Fail).map_or(0, |r| r.finding.exit.status()))
}

fn worst(rows: &[Row]) -> Level {
    rows.iter().map(|r| r.finding.level).max().unwrap_or(Level::Pass)
}

fn as_json(rows: &[Row], mended: &[Value]) -> Value {
    let checks: Vec<Value> = rows
        .iter()
        .map(|r| {
            json!({
                "family": r.family, "id": r.id, "what": r.what, "status": r.finding.level.as_str(), "evidence": r.finding.evidence, "fix": r.finding.fix,
                "safe": r.finding.repair.is_some(),
            })
        })
        .collect();
    json!({"v": 1, "ok": worst(rows) == Level::Pass, "worst": worst(rows).as_str(), "checks": checks, "mended": mended})
}

fn print(exam: &Exam, rows: &[Row], mended: &[Value]) {
    for done in mended {
        say(&text!("mended {:<18} {}", done["id"].as_str().unwrap_or_default(), done["done"].as_str().unwrap_or_default()));
    }
    let mut family = "";
    for row in rows {
        if row.family != family {
            family = row.family;
            say(family);
        }
        say(&text!("  {:<5} {:<18} {}", row.finding.level.as_str(), row.id, row.finding.evidence));
        if let Some(fix) = row.finding.fix.as_ref().filter(|_| row.finding.level != Level::Pass) {
            say(&text!("        {:<18} {fix}", "fix"));
        }
    }
    let count = |level| rows.iter().filter(|r| r.finding.level == level).count();
    let place = exam.base.as_ref().map_or(term!("no data root").to_string(), |b| b.display().to_string());
    say(&text!("{} PASS, {} WARN, {} FAIL   ({place})", count(Level::Pass), count(Level::Warn), count(Level::Fail)));
    let depth = if exam.deep { "every byte was read" } else { "sizes and names were compared; --deep reads every byte" };
    say(&text!("{depth}{}", if exam.host.is_offline() { "; --offline: keys and clock skew were not tried" } else { "" }));
}
