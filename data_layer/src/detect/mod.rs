//! What this machine and its drives are, with the evidence for every claim.
//!
//! Everything is read below [`Host::sysroot`], so that tests build a Raspberry Pi out of a folder. Nothing is written except
//! by [`probe`], which cleans up behind itself.

pub mod drives;
pub mod machine;
mod mounts;
pub mod probe;
pub mod recognise;
pub mod recommend;

use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use drives::{Drive, Suitability, Transport, Unmounted};
pub use machine::{Machine, MachineKind};
pub use probe::{Accepted, absent, accept, find};
pub use recognise::Existing;
pub use recommend::Recommendation;

/// One detected value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    pub value: String,
    /// The file or command that proves it, as a person would type it.
    pub evidence: String,
}

impl Fact {
    pub fn new(name: &str, value: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), evidence: evidence.into() }
    }
}

/// Everything the preamble of a wizard shows before its first question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detected {
    pub machine: Machine,
    /// Mounted drives that could matter, best first.
    pub drives: Vec<Drive>,
    /// Filesystems that are plugged in but not mounted.
    pub unmounted: Vec<Unmounted>,
    pub recommendation: Recommendation,
}

impl Detected {
    /// Lines of (name, value, evidence) for a screen.
    pub fn facts(&self) -> Vec<Fact> {
        let mut out = self.machine.facts.clone();
        out.extend(self.drives.iter().map(Drive::headline));
        out.extend(self.unmounted.iter().map(Unmounted::headline));
        out.push(Fact::new("recommended", self.recommendation.path.clone(), self.recommendation.reason.clone()));
        out
    }
}

/// Look at the machine and its drives.
pub fn detect(host: &Host) -> Detected {
    let machine = machine::detect(host);
    let (drives, unmounted) = drives::detect(host);
    let recommendation = recommend::recommend(host, &drives, &unmounted);
    Detected { machine, drives, unmounted, recommendation }
}

/// Where an absolute path of the machine is found: below the sysroot when one is faked.
pub(crate) fn place(host: &Host, path: &str) -> PathBuf {
    host.sysroot().join(path.trim_start_matches('/'))
}

/// A small text file below the sysroot, trimmed of blanks and NULs; `None` when it cannot be read.
pub(crate) fn read(host: &Host, path: &str) -> Option<String> {
    let bytes = std::fs::read(place(host, path)).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_string();
    (!text.is_empty()).then_some(text)
}

pub(crate) fn read_at(place: &Path) -> Option<String> {
    let text = std::fs::read_to_string(place).ok()?.trim().to_string();
    (!text.is_empty()).then_some(text)
}

/// Bytes as a person reads them: `931.5 GB` (powers of ten, as drives are sold).
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let value = bytes as f64;
    UNITS.iter().find(|(_, size)| value >= *size).map_or_else(|| format!("{bytes} B"), |(unit, size)| format!("{:.1} {unit}", value / size))
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
