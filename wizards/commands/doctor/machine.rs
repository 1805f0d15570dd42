//! This machine: its clock, its settings, its private file.

use super::repair::Repair;
use super::{Check, Exam, Family, Finding, quoted};
use data_layer::env_file;
use data_layer::error::{Exit, Result};
use data_layer::root::SENTINEL;
use data_layer::sourcing::EdgeConfig;
use data_layer::{detect, time::UtcTime};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

pub const FAMILY: Family = Family {
    name: term!("machine"),
    checks: &[
        Check { id: "clock", what: "the clock is believable", rooted: false, look: clock },
        Check { id: "power", what: "the power supply holds", rooted: false, look: power },
        Check { id: "env-file", what: "the settings and keys of this machine are private and readable", rooted: false, look: env_file },
        Check { id: "remembered-root", what: "this machine remembers a drive that is there", rooted: false, look: remembered_root },
        Check { id: "edge-config", what: "this machine's limits can be read", rooted: false, look: edge_config },
    ],
};

/// No clock of a machine that runs this program can be earlier.
const BUILT: &str = "2026-01-01T00:00:00Z";

fn clock(exam: &Exam) -> Result<Vec<Finding>> {
    let now = exam.host.now();
    if exam.host.clock_is_simulated() {
        return Ok(vec![Finding::pass(text!("{now}, set by TRADEML_CLOCK"))]);
    }
    if now < UtcTime::parse(BUILT)? {
        return Ok(vec![Finding::fail(text!("{now}: earlier than this program"), "sudo timedatectl set-ntp true")]);
    }
    let facts = detect::machine::detect(&exam.host).facts;
    let seen = facts.iter().find(|f| f.name == "clock").map_or(String::new(), |f| text!("; {} ({})", f.value, f.evidence));
    Ok(vec![Finding::pass(text!("{now}{seen}"))])
}

/// A Raspberry Pi says since boot whether its supply was too weak; other machines say nothing.
fn power(exam: &Exam) -> Result<Vec<Finding>> {
    let facts = detect::machine::detect(&exam.host).facts;
    Ok(facts
        .iter()
        .filter(|f| f.name == "power")
        .map(|f| {
            if f.value.contains("under-voltage") || f.value.contains("throttled") {
                Finding::warn(
                    text!("{} ({})", f.value, f.evidence),
                    "use a supply of at least 5.1 V and 3 A (5 A for a Pi 5), and a short cable; then reboot: sudo reboot",
                )
            } else {
                Finding::pass(text!("{} ({})", f.value, f.evidence))
            }
        })
        .collect())
}

fn env_file(exam: &Exam) -> Result<Vec<Finding>> {
    let place = env_file::path(&exam.host);
    let Ok(meta) = std::fs::metadata(&place) else {
        return Ok(vec![Finding::pass(text!("{} is not there yet; nothing is set on this machine", place.display()))]);
    };
    let mode = meta.permissions().mode() & 0o777;
    if mode != 0o600 {
        let seen = text!("{} has mode {mode:04o}: others on this machine could read the keys", place.display());
        return Ok(vec![Finding::fail(seen, text!("chmod 600 {}", quoted(&place))).exit(Exit::Credentials).mended_by(Repair::EnvMode)]);
    }
    env_file::read(&exam.host)?;
    Ok(vec![Finding::pass(text!("{}, mode 0600", place.display()))])
}

fn remembered_root(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(text) = crate::steps::keys::remembered_root(&exam.host)? else {
        return Ok(vec![Finding::pass("none is remembered; commands take --root or TRADEML_ROOT")]);
    };
    let place = PathBuf::from(&text);
    if place.join(SENTINEL).exists() {
        return Ok(vec![Finding::pass(text)]);
    }
    let fix = match &exam.root {
        Some(root) => format!("trademl config set TRADEML_ROOT={}", quoted(root.base())),
        None => "plug the drive in and mount it, or: trademl pi-data-node".to_string(),
    };
    Ok(vec![Finding::warn(text!("{text} holds no {SENTINEL}: the drive is not mounted there, or has moved"), fix)])
}

fn edge_config(exam: &Exam) -> Result<Vec<Finding>> {
    Ok(vec![match EdgeConfig::load(&exam.host) {
        Ok(_) => Finding::pass("configs/edge.yml and its layers"),
        Err(error) => {
            let place = exam.host.config_dir().join("configs/edge.yml");
            Finding::of(&error, place.exists().then(|| super::drive::put_aside(&place)))
        }
    }])
}
