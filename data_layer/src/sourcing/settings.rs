//! `backfill.yml` (what is asked for, when it is good) and `edge.yml` (this machine), typed.

use super::{Vendor, parse_yaml, require_version};
use crate::budget::Slices;
use crate::config::{self, Loaded};
use crate::env_file;
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::root::DataRoot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many years of a dataset are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Years {
    Count(u16),
    Word(FromStage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromStage {
    FromStage,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetWish {
    #[serde(default)]
    pub years: Option<Years>,
    #[serde(default)]
    pub series: Vec<String>,
    /// Whether a lane of [`super::beside::BESIDE`] is collected.
    #[serde(default)]
    pub collect: Option<bool>,
    /// Underlyings whose option chains are wanted.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// Days between two looks at a list.
    #[serde(default)]
    pub every_days: Option<u16>,
    /// Companies that are asked about in a day, at most.
    #[serde(default)]
    pub companies_a_day: Option<u16>,
}

/// Thresholds of the quality checks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Qc {
    pub red_below: f64,
    pub suspicious_above: f64,
    pub half_day: [f64; 2],
    pub move_without_action: f64,
    pub close_note_bps: f64,
}

impl Default for Qc {
    fn default() -> Self {
        Self { red_below: 0.90, suspicious_above: 1.20, half_day: [0.45, 0.90], move_without_action: 0.30, close_note_bps: 20.0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    pub warn: f64,
    pub stop: f64,
    pub reserve_mib: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self { warn: 0.85, stop: 0.92, reserve_mib: 64 }
    }
}

/// `backfill.yml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillConfig {
    pub version: u32,
    #[serde(default)]
    pub slices: Slices,
    #[serde(default)]
    pub datasets: BTreeMap<String, DatasetWish>,
    #[serde(default)]
    pub qc: Qc,
    #[serde(default)]
    pub disk: Disk,
}

impl BackfillConfig {
    pub fn built_in() -> Result<Self> {
        Self::parse(BACKFILL, "backfill.yml")
    }
    /// The built-in file under the drive's and this machine's layers.
    pub fn load(root: &DataRoot) -> Result<Self> {
        let loaded: Loaded<Self> = config::load("backfill", BACKFILL, root.host(), Some(root))?;
        loaded.value.checked("backfill.yml")
    }
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        parse_yaml::<Self>(text, name)?.checked(name)
    }
    fn checked(self, name: &str) -> Result<Self> {
        let out = self;
        require_version(out.version, name)?;
        let s = out.slices;
        let ordered = 0.0 < s.all_work && s.all_work <= s.probe_and_forward && s.probe_and_forward <= 1.0;
        if !ordered {
            return Err(Error::new(code::CFG_VALUE, text!("{name}: slices must grow from above 0 to at most 1")));
        }
        if let Some(unknown) = out.datasets.keys().find(|d| !super::DATASETS.contains(&d.as_str())) {
            return Err(Error::new(code::CFG_UNKNOWN_KEY, text!("{name}: '{unknown}' is not a dataset")));
        }
        out.check_beside(name)?;
        Ok(out)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loops {
    pub forward_minutes: u32,
    pub planner_hours: u32,
    pub maintenance: String,
}

impl Default for Loops {
    fn default() -> Self {
        Self { forward_minutes: 15, planner_hours: 4, maintenance: "02:00".into() }
    }
}

/// `H:MM` of a day.
pub fn is_wall_time(text: &str) -> bool {
    let parts: Vec<Option<u8>> = text.split(':').map(|part| part.parse().ok()).collect();
    matches!(parts.as_slice(), [Some(h), Some(m)] if *h < 24 && *m < 60)
}

const EDGE: &str = include_str!("../../../configs/edge.yml");
const BACKFILL: &str = include_str!("../../../configs/backfill.yml");

/// `edge.yml`: never read from the drive, because it describes a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    pub version: u32,
    #[serde(default)]
    pub inflight: BTreeMap<String, usize>,
    #[serde(default)]
    pub freeze_seconds: BTreeMap<String, u64>,
    #[serde(default)]
    pub loops: Loops,
    #[serde(default = "ttl")]
    pub lease_ttl_seconds: u64,
}

fn ttl() -> u64 {
    300
}

impl EdgeConfig {
    pub fn built_in() -> Result<Self> {
        Self::parse(EDGE, "edge.yml")
    }
    /// The built-in file under this machine's layers: its `configs/edge.yml`, then `NODE_MAX_INFLIGHT_*` and
    /// `VENDOR_FREEZE_SECONDS_*` of the process and of its secrets file.
    pub fn load(host: &Host) -> Result<Self> {
        let env = env_file::load(host)?;
        let loaded: Loaded<Self> = config::load_with("edge", EDGE, host, None, &env, &BTreeMap::new())?;
        loaded.value.checked("edge.yml")
    }
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        parse_yaml::<Self>(text, name)?.checked(name)
    }
    fn checked(self, name: &str) -> Result<Self> {
        let out = self;
        require_version(out.version, name)?;
        for key in out.inflight.keys().chain(out.freeze_seconds.keys()).filter(|k| *k != "default") {
            Vendor::parse(key).map_err(|e| e.during(name))?;
        }
        if out.inflight.values().any(|n| *n == 0) || out.lease_ttl_seconds < 30 {
            return Err(Error::new(code::CFG_VALUE, text!("{name}: at least one call in flight and a lease of 30 s are needed")));
        }
        if !is_wall_time(&out.loops.maintenance) {
            return Err(Error::new(code::CFG_VALUE, text!("{name}: loops.maintenance '{}' is no time of day such as 02:00", out.loops.maintenance)));
        }
        Ok(out)
    }
    /// Calls in flight at once.
    pub fn inflight(&self, vendor: Vendor) -> usize {
        *self.inflight.get(vendor.as_str()).or_else(|| self.inflight.get("default")).unwrap_or(&1)
    }
    /// How long to leave a vendor alone after a refusal that names no time.
    pub fn freeze_seconds(&self, vendor: Vendor) -> u64 {
        *self.freeze_seconds.get(vendor.as_str()).or_else(|| self.freeze_seconds.get("default")).unwrap_or(&60)
    }
}
