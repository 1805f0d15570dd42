//! Immutable Parquet files of raw rows and the manifests that vouch for them.

use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::store;
use crate::time::{TradingDay, UtcTime};
use serde::{Deserialize, Serialize};

/// One immutable Parquet file of raw rows.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Segment {
    pub path: DataPath,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
    pub symbols: Vec<String>,
    pub t0: TradingDay,
    /// Excluded.
    pub t1: TradingDay,
}

/// One call to a vendor, without its key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RequestRecord {
    pub source_uri: String,
    pub http: u16,
    pub pages: u32,
    pub rows: u64,
    pub body_sha256: String,
    pub api_version: String,
}

/// What was asked for: these symbols (none = all) in `[t0, t1)`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Asked {
    pub symbols: Vec<String>,
    pub t0: TradingDay,
    pub t1: TradingDay,
}

/// One commit: what was asked, what came, whether that was everything.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Manifest {
    pub v: u32,
    pub dataset: String,
    pub table: String,
    pub tf: String,
    pub vendor: String,
    pub segments: Vec<Segment>,
    pub requests: Vec<RequestRecord>,
    pub asked: Asked,
    pub complete: bool,
    pub ingested_at: UtcTime,
    pub node_id: String,
    pub code: String,
    pub world: String,
}

/// Every manifest on the drive, sorted by (ingested_at, path).
pub fn all_manifests(root: &DataRoot) -> Result<Vec<(DataPath, Manifest)>> {
    let mut out = Vec::new();
    for path in store::list(root, &DataPath::new("manifests")?)? {
        if path.as_str().starts_with("manifests/snapshots/") || !path.as_str().ends_with(".json") {
            continue;
        }
        let bytes = store::read(root, &path)?.unwrap_or_default();
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|e| Error::new(code::SSD_DAMAGED, format!("{path} cannot be read")).cause(e.to_string()))?;
        out.push((path, manifest));
    }
    out.sort_by(|a, b| (a.1.ingested_at, &a.0).cmp(&(b.1.ingested_at, &b.0)));
    Ok(out)
}

/// The manifests of one table.
pub fn manifests_for(root: &DataRoot, table: &str) -> Result<Vec<(DataPath, Manifest)>> {
    Ok(all_manifests(root)?.into_iter().filter(|(_, m)| m.table == table).collect())
}
