//! `qc/curated_deps.json`: what each curated file was made from, and its digest. Losing it costs one full curation.

use super::{Depth, Planned, Step};
use crate::error::{Result, code};
use crate::ledger::store_if_changed;
use crate::reference::sources;
use crate::root::{DataPath, DataRoot};
use crate::store;
use crate::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where the record is.
pub const PATH: &str = "qc/curated_deps.json";

/// One curated file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub bytes: u64,
    /// Digest of the segments and actions it was made from.
    pub inputs: String,
    /// Digest of its bytes; null while it is being made; empty when its inputs hold no usable row, so that there is no file.
    pub sha256: Option<String>,
}

/// The record of all curated files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deps {
    pub v: u32,
    pub files: BTreeMap<DataPath, Output>,
    /// What each symbol's actions do to the days before them; symbols without any are left out. Minutes are made with these.
    pub steps: BTreeMap<String, Vec<Step>>,
    /// Symbols whose steps could not be told because a raw segment is damaged.
    pub unsure: BTreeSet<String>,
}

const VERSION: u32 = 2;

impl Default for Deps {
    fn default() -> Self {
        Self { v: VERSION, files: BTreeMap::new(), steps: BTreeMap::new(), unsure: BTreeSet::new() }
    }
}

impl Deps {
    /// Read the record; a missing, damaged or older one is empty.
    pub fn load(root: &DataRoot) -> Result<Self> {
        match store::read_signed::<Self>(root, &DataPath::new(PATH)?) {
            Ok(found) => Ok(found.filter(|deps| deps.v == VERSION).unwrap_or_default()),
            Err(e) if e.is(code::SSD_DAMAGED) => Ok(Self::default()),
            Err(e) => Err(e),
        }
    }
    /// Remember the steps of a symbol from a day on; those before are what they were. They are `unknown` where it has events and
    /// one of its segments is damaged.
    pub(super) fn keep_steps(&mut self, symbol: &str, from: TradingDay, steps: &[Step], unknown: bool) {
        if unknown {
            self.unsure.insert(symbol.to_string());
            return;
        }
        self.unsure.remove(symbol);
        let mut kept: Vec<Step> = self.steps.remove(symbol).unwrap_or_default().into_iter().filter(|s| s.ex_date < from).collect();
        kept.extend(steps.iter().filter(|s| s.ex_date >= from));
        if !kept.is_empty() {
            self.steps.insert(symbol.to_string(), kept);
        }
    }
    pub(super) fn store(&self, root: &DataRoot) -> Result<()> {
        store_if_changed(root, &DataPath::new(PATH)?, self.signed()?).map(drop)
    }
    /// What [`store::signed_json`] makes of it. The fields of an output and of a step stand in order, so that thousands of them need
    /// not be sorted.
    fn signed(&self) -> Result<Vec<u8>> {
        let (files, steps) = (serde_json::to_string(&self.files)?, serde_json::to_string(&self.steps)?);
        store::signed(BTreeMap::from([("files", files), ("steps", steps), ("unsure", serde_json::to_string(&self.unsure)?), ("v", self.v.to_string())]))
    }
    pub(super) fn mark_pending(&mut self, planned: &Planned) {
        self.files.insert(planned.path.clone(), Output { inputs: String::new(), sha256: None, bytes: 0 });
    }
    /// Whether the file is there and was made from exactly these inputs.
    pub(super) fn is_current(&self, root: &DataRoot, planned: &Planned, depth: Depth) -> bool {
        let Some(output) = self.files.get(&planned.path).filter(|o| o.inputs == planned.inputs) else { return false };
        match output.sha256.as_deref() {
            None => false,
            Some("") => true,
            Some(_) if depth == Depth::Incremental => sources::size(root, &planned.path) == Some(output.bytes),
            Some(sha256) => store::read(root, &planned.path).ok().flatten().is_some_and(|bytes| store::sha256_hex(&bytes) == sha256),
        }
    }
    /// Files that a curation was making when it was interrupted.
    pub fn pending(&self) -> impl Iterator<Item = &DataPath> {
        self.files.iter().filter(|(_, o)| o.sha256.is_none()).map(|(p, _)| p)
    }
    /// Files that should be there, with their digests.
    pub fn made(&self) -> impl Iterator<Item = (&DataPath, &str)> {
        self.files.iter().filter_map(|(p, o)| o.sha256.as_deref().filter(|s| !s.is_empty()).map(|s| (p, s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_signed_as_any_other_and_damage_to_it_is_found() {
        let mut deps = Deps::default();
        for (n, sha256) in [(1, None), (12, Some(String::new())), (3, Some("ab\"\\,{".to_string()))] {
            let path = DataPath::new(format!("curated/equities_ohlcv_adj/sym=A{n}/dt=2017/part-0.parquet")).unwrap();
            deps.files.insert(path, Output { bytes: n, inputs: "\"sha256\":\"".into(), sha256 });
        }
        deps.steps.insert("AAA".into(), vec![Step { ex_date: TradingDay(17_000), price: 1.0 / 3.0, split: 1e21 }]);
        let bytes = deps.signed().unwrap();
        assert_eq!(bytes, store::signed_json(&deps).unwrap());
        assert_eq!(store::parse_signed::<Deps>(&bytes).unwrap(), deps);
        let spaced = String::from_utf8(bytes.clone()).unwrap().replacen(':', ": ", 1);
        assert_eq!(store::parse_signed::<Deps>(spaced.as_bytes()).unwrap(), deps);
        for at in 0..bytes.len() {
            let mut hurt = bytes.clone();
            hurt[at] ^= 1;
            assert!(store::parse_signed::<Deps>(&hurt).is_err(), "a flipped bit at {at}");
        }
    }
}
