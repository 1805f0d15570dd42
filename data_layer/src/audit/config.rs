//! Thresholds and the order of sources.

use crate::error::{Error, Result, code};
use crate::qc::QcConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What an audit and a curation are told.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditConfig {
    pub qc: QcConfig,
    /// Which vendor's bar serves a day that several have; others follow by name.
    pub source_order: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CuratorFile {
    version: u32,
    tables: BTreeMap<String, CuratedTable>,
    #[allow(dead_code)] // documented for people; the writer's values are pinned in `store`
    parquet: ParquetSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct CuratedTable {
    from: String,
    tf: String,
    source_order: Vec<String>,
    adjust: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct ParquetSettings {
    zstd: u32,
    row_group_rows: u32,
    decimals: Option<u32>,
}

const BUILTIN: &str = include_str!("../../../configs/curator.yml");

impl AuditConfig {
    /// The built-in `configs/curator.yml` with the standard thresholds.
    pub fn builtin() -> Result<Self> {
        Self::from_curator_yaml(BUILTIN, QcConfig::default())
    }
    /// From the text of a `curator.yml`.
    pub fn from_curator_yaml(text: &str, qc: QcConfig) -> Result<Self> {
        let file: CuratorFile =
            serde_yaml::from_str(text).map_err(|e| Error::new(code::CFG_PARSE, "configs/curator.yml cannot be understood").cause(e.to_string()))?;
        let table = file.tables.get("equities_ohlcv_adj").filter(|_| file.version == 1);
        let table = table.ok_or_else(|| Error::new(code::CFG_VALUE, "configs/curator.yml does not describe equities_ohlcv_adj in version 1"))?;
        Ok(Self { qc, source_order: table.source_order.clone() })
    }
}
