//! Which vendor serves which dataset: the registry of `configs/endpoints.yml` and what each key was found entitled to.
//!
//! Vendors, lanes' statuses and windows are typed: a misspelt name stops the program at start and never becomes a vendor
//! whose budget does not apply. No number here is a constant of the code.

use crate::budget::{Limits, Per, Reset, Slices, WindowSpec};
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::schema::dataset;
use crate::time::TradingDay;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub mod beside;
pub mod entitlement;
pub mod settings;
pub mod vendors;
pub use beside::BESIDE;
pub use entitlement::Entitlement;
pub use settings::{BackfillConfig, EdgeConfig};
pub use vendors::{Base, Secret, Vendors, vendors_from};

/// Every vendor there is, in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    Alpaca,
    Tiingo,
    Massive,
    Finnhub,
    AlphaVantage,
    Fmp,
    Fred,
    SecEdgar,
    Treasury,
}

impl Vendor {
    pub const ALL: &'static [Self] =
        &[Self::Alpaca, Self::Tiingo, Self::Massive, Self::Finnhub, Self::AlphaVantage, Self::Fmp, Self::Fred, Self::SecEdgar, Self::Treasury];
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alpaca => "alpaca",
            Self::Tiingo => "tiingo",
            Self::Massive => "massive",
            Self::Finnhub => "finnhub",
            Self::AlphaVantage => "alpha_vantage",
            Self::Fmp => "fmp",
            Self::Fred => "fred",
            Self::SecEdgar => "sec_edgar",
            Self::Treasury => "treasury",
        }
    }
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|v| v.as_str()).collect();
            Error::new(code::CFG_UNKNOWN_KEY, text!("'{text}' is not a vendor")).cause(text!("the vendors are {}", all.join(", ")))
        })
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Datasets that an entry may name.
pub const DATASETS: &[&str] = &[
    "equities_eod",
    "equities_minute",
    "corp_actions",
    "calendars",
    "listings",
    "delistings",
    "macros_fred",
    "earnings_calendar",
    "fundamentals",
    "treasury",
    "index_membership",
    "options_chains",
    "companies",
    "filings",
    "shares_outstanding",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocStatus {
    Documented,
    Undocumented,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnableStatus {
    Core,
    Supplemental,
    ResearchOnly,
    Disabled,
}

/// Where a number comes from: the vendor's documents, a public report, a live observation, our assumption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    S,
    R,
    O,
    A,
}

/// One vendor x dataset x lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub vendor: Vendor,
    pub dataset: String,
    pub lane: String,
    pub endpoint: String,
    pub priority: u32,
    #[serde(default)]
    pub hard_rpm: Option<u64>,
    #[serde(default)]
    pub soft_daily_cap: Option<u64>,
    #[serde(default)]
    pub burst_limit: Option<u64>,
    pub windows: Vec<WindowSpec>,
    pub reset: Reset,
    #[serde(default = "one")]
    pub weight: u64,
    /// The first day the plan serves.
    #[serde(default)]
    pub depth_from: Option<TradingDay>,
    /// The plan serves this many days back from today.
    #[serde(default)]
    pub depth_days: Option<i32>,
    /// Days beyond the newest session that may be asked for: a calendar of what is to come.
    #[serde(default)]
    pub ahead_days: i32,
    /// Whether the lane tells what stands at the moment of asking: a session may be asked about only until the next one opens.
    #[serde(default)]
    pub snapshot: bool,
    /// How long after the close a session's data may be asked for.
    #[serde(default)]
    pub min_age_minutes: i64,
    #[serde(default = "one_usize")]
    pub batch_symbols: usize,
    /// Windows of one symbol that share a call, where a call takes any range of days at one price.
    #[serde(default = "one_usize")]
    pub batch_windows: usize,
    #[serde(default = "one_usize")]
    pub page_rows: usize,
    pub doc_status: DocStatus,
    pub enable_status: EnableStatus,
    pub evidence: Evidence,
    pub observed_on: TradingDay,
    pub source_note: String,
    #[serde(default)]
    pub notes: String,
}

fn one() -> u64 {
    1
}
fn one_usize() -> usize {
    1
}

impl Entry {
    /// Whether the registry lets this lane be asked at all (what the key shows is judged apart).
    pub fn enabled(&self) -> bool {
        self.doc_status == DocStatus::Documented && self.enable_status != EnableStatus::Disabled
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    entries: Vec<Entry>,
}

/// The registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoints {
    entries: Vec<Entry>,
    /// On a simulated world's drive the plan's depth does not apply: the world says itself how far it reaches.
    ignore_depth: bool,
    /// Vendors whose key this host holds: only theirs and the core lanes are routed to.
    keyed: BTreeSet<Vendor>,
    /// What those keys were found not to hold.
    shut: Shut,
}

/// Lanes that a vendor has refused, known to all copies of a registry: what one worker learns, every plan of the process knows.
#[derive(Clone, Debug, Default)]
struct Shut(Arc<RwLock<BTreeSet<(Vendor, String)>>>);

impl PartialEq for Shut {
    /// Not what a registry says, but what became of it.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

const BUILT_IN: &str = include_str!("../../../configs/endpoints.yml");

impl Endpoints {
    /// The registry built into the program.
    pub fn built_in() -> Result<Self> {
        Self::parse(BUILT_IN, "endpoints.yml")
    }

    /// The drive's `control/configs/endpoints.yml` if there is one, else the built-in registry.
    pub fn load(root: &DataRoot) -> Result<Self> {
        let path = DataPath::new("control/configs/endpoints.yml")?;
        let mut out = match crate::store::read(root, &path)? {
            Some(bytes) => Self::parse(&String::from_utf8_lossy(&bytes), path.as_str())?,
            None => Self::built_in()?,
        };
        out.ignore_depth = root.is_world();
        Ok(out)
    }

    /// Parse and check; `name` appears in refusals.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let file: File = parse_yaml(text, name)?;
        require_version(file.version, name)?;
        let mut seen = BTreeMap::new();
        let mut shape: BTreeMap<Vendor, (Vec<WindowSpec>, Reset)> = BTreeMap::new();
        for e in &file.entries {
            let bad = |why: String| Err(Error::new(code::CFG_VALUE, format!("{name}: {} {} {}: {why}", e.vendor, e.dataset, e.lane)));
            if !DATASETS.contains(&e.dataset.as_str()) {
                return Err(Error::new(code::CFG_UNKNOWN_KEY, text!("{name}: '{}' is not a dataset", e.dataset)));
            }
            if seen.insert((e.vendor, e.dataset.clone(), e.lane.clone()), ()).is_some() {
                return bad("the lane is listed twice".into());
            }
            if e.windows.is_empty()
                || e.windows.iter().any(|w| w.calls == 0)
                || e.weight == 0
                || e.batch_symbols == 0
                || e.batch_windows == 0
                || e.page_rows == 0
            {
                return bad("limits must be at least 1, and there must be one".into());
            }
            if e.batch_windows > 1 && (e.batch_symbols > 1 || ![dataset::EQUITIES_EOD, dataset::CORP_ACTIONS].contains(&e.dataset.as_str())) {
                return bad("windows share a call only where it asks for one symbol's day bars or corporate actions".into());
            }
            if e.source_note.is_empty() {
                return bad("a number without its source is not accepted".into());
            }
            let (windows, reset) = shape.entry(e.vendor).or_insert_with(|| (e.windows.clone(), e.reset));
            if *windows != e.windows || *reset != e.reset {
                return bad("all lanes of a vendor share one key, so they must state the same windows and reset".into());
            }
        }
        Ok(Self { entries: file.entries, ignore_depth: false, keyed: BTreeSet::new(), shut: Shut::default() })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether this host has what a vendor wants of it, and the drive's world plays the vendor.
    pub fn is_keyed(&self, vendor: Vendor) -> bool {
        self.keyed.contains(&vendor)
    }

    /// The registry as it applies to a host that holds these vendors' keys.
    #[must_use]
    pub fn with_keys(mut self, keyed: BTreeSet<Vendor>) -> Self {
        self.keyed = keyed;
        self
    }

    /// The vendors for a dataset on a given day, best first: enabled lanes that reach back that far. A lane that is not
    /// core is used only where its key is: nobody must have every vendor's key.
    pub fn routes(&self, dataset: &str, asof: TradingDay) -> Vec<&Entry> {
        let mut out: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|e| e.dataset == dataset && e.enabled() && (e.enable_status == EnableStatus::Core || self.keyed.contains(&e.vendor)))
            .filter(|e| self.ignore_depth || e.depth_from.is_none_or(|d| d <= asof))
            .collect();
        out.sort_by_key(|e| (e.priority, e.vendor));
        out
    }

    /// Those of [`Self::routes`] that can be asked now: the key is here, and the vendor has not refused the lane.
    pub fn open_routes(&self, dataset: &str, asof: TradingDay) -> Vec<&Entry> {
        let shut = self.shut.0.read().unwrap_or_else(PoisonError::into_inner);
        // A registry that was given no keys knows of none.
        let open = |e: &&Entry| (self.keyed.is_empty() || self.keyed.contains(&e.vendor)) && !shut.contains(&(e.vendor, e.dataset.clone()));
        self.routes(dataset, asof).into_iter().filter(open).collect()
    }

    /// Which lanes the vendors have refused; the others are open.
    pub fn set_shut(&self, lanes: BTreeSet<(Vendor, String)>) {
        *self.shut.0.write().unwrap_or_else(PoisonError::into_inner) = lanes;
    }

    /// The vendor that is asked first: the best that can be asked now. Where none can, the best there is: its rows wait for a key,
    /// or for a plan that holds the lane again. A refusal names the dataset and the day.
    pub fn route(&self, dataset: &str, asof: TradingDay) -> Result<&Entry> {
        self.open_routes(dataset, asof)
            .into_iter()
            .next()
            .or_else(|| self.routes(dataset, asof).into_iter().next())
            .ok_or_else(|| Error::new(code::DATA_MISSING, text!("no enabled vendor lane serves {dataset} on {asof}")).fix("trademl status"))
    }

    /// The lane of one vendor for a dataset.
    pub fn entry(&self, vendor: Vendor, dataset: &str) -> Option<&Entry> {
        self.entries.iter().filter(|e| e.vendor == vendor && e.dataset == dataset).min_by_key(|e| e.priority)
    }

    /// The first day a lane may be asked for, or `None` when the drive belongs to a world.
    pub fn depth(&self, entry: &Entry) -> Option<TradingDay> {
        if self.ignore_depth { None } else { entry.depth_from }
    }

    /// The same with a plan that reaches a number of days back from `today`.
    pub fn depth_on(&self, entry: &Entry, today: TradingDay) -> Option<TradingDay> {
        let rolling = entry.depth_days.filter(|_| !self.ignore_depth).map(|n| today.plus_days(-n));
        self.depth(entry).max(rolling)
    }

    /// A vendor's limits.
    pub fn limits(&self, vendor: Vendor, slices: Slices) -> Option<Limits> {
        let e = self.entries.iter().find(|e| e.vendor == vendor)?;
        Some(Limits { vendor: vendor.as_str().into(), windows: e.windows.clone(), reset: e.reset, slices })
    }

    /// The short windows, which the in-process limiter keeps.
    pub fn short_windows(&self, vendor: Vendor) -> Vec<WindowSpec> {
        let of = self.entries.iter().find(|e| e.vendor == vendor);
        of.map_or_else(Vec::new, |e| e.windows.iter().copied().filter(|w| w.per < Per::Hour).collect())
    }
}

/// Parse YAML with unknown keys refused; errors name the file.
pub(crate) fn parse_yaml<T: DeserializeOwned>(text: &str, name: &str) -> Result<T> {
    serde_yaml::from_str(text).map_err(|e| {
        let why = e.to_string();
        let kind = if why.contains("unknown field") || why.contains("unknown variant") { code::CFG_UNKNOWN_KEY } else { code::CFG_PARSE };
        Error::new(kind, text!("{name} cannot be used")).cause(why)
    })
}

pub(crate) fn require_version(version: u32, name: &str) -> Result<()> {
    if version == 1 { Ok(()) } else { Err(Error::new(code::CFG_VALUE, text!("{name} has version {version}; this program reads version 1"))) }
}

#[cfg(test)]
mod tests;
