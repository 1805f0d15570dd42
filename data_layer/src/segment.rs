//! Immutable Parquet files of raw rows, and the manifests that vouch for them.
//!
//! A commit is: segment files, then the manifest, then one transaction (rows of `segments`, queue, bookmarks). A segment
//! without a manifest is garbage; a manifest without rows is adopted by the rebuild. Names hold symbols, window and a
//! digest of the bytes, so nothing is ever overwritten by something else, and the same answers make the same files.

use crate::clock::STEP_SECONDS;
use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot, encode_symbol};
use crate::store;
use crate::time::{DateRange, TradingDay, UtcTime};
use polars::prelude::DataFrame;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One immutable Parquet file of raw rows.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Segment {
    pub path: DataPath,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
    /// Sorted; empty for a whole market.
    pub symbols: Vec<String>,
    pub t0: TradingDay,
    /// Excluded.
    pub t1: TradingDay,
}

/// One question to a vendor, without its key, over all its pages.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RequestRecord {
    pub source_uri: String,
    pub http: u16,
    pub pages: u32,
    pub rows: u64,
    /// Of the body; with several pages, of their digests one after another.
    pub body_sha256: String,
    pub api_version: String,
}

/// What was asked for: these symbols (none = the whole market) in `[t0, t1)`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Asked {
    pub symbols: Vec<String>,
    pub t0: TradingDay,
    pub t1: TradingDay,
    /// Symbols that were asked for under other tickers than their own, or partly so: each ticker and its days. No days: nothing could
    /// be asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub under: BTreeMap<String, Vec<(String, DateRange)>>,
}

impl Asked {
    /// The days of a symbol that were asked about under a ticker.
    pub fn under(&self, symbol: &str) -> Vec<(&str, DateRange)> {
        match self.under.get(symbol) {
            None => self.symbols.iter().find(|s| *s == symbol).map(|s| (s.as_str(), DateRange { start: self.t0, end: self.t1 })).into_iter().collect(),
            Some(parts) => parts.iter().map(|(ticker, days)| (ticker.as_str(), *days)).collect(),
        }
    }
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
    /// The dataset of the drive (`real`, or a world): data of one never enters a root of another.
    pub world: String,
}

/// Where a segment belongs.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// `raw/equities_bars` and the like.
    pub table: &'a str,
    pub vendor: &'a str,
    /// `1d`, `1m` or `none`.
    pub tf: &'a str,
    /// Within one calendar year.
    pub range: DateRange,
    /// Sorted; empty for a whole market.
    pub symbols: &'a [String],
}

/// Write one segment; an existing file of the same name holds the same bytes.
pub fn write(root: &DataRoot, place: &Place<'_>, frame: &mut DataFrame) -> Result<Segment> {
    let bytes = store::parquet_bytes(frame)?;
    let sha256 = store::sha256_hex(&bytes);
    let DateRange { start, end } = place.range;
    let name = format!("{start}_{end}_{}_{}.parquet", symbols_part(place.symbols)?, &sha256[..16]);
    let path = DataPath::new(format!("{}/src={}/tf={}/y={:04}/{name}", place.table, place.vendor, place.tf, start.year()))?;
    let there = store::read(root, &path)?.is_some_and(|old| old == bytes);
    if !there {
        store::write_atomic(root, &path, &bytes)?;
    }
    Ok(Segment { path, rows: frame.height() as u64, bytes: bytes.len() as u64, sha256, symbols: place.symbols.to_vec(), t0: start, t1: end })
}

/// The symbol itself, `m<count>-<8 hex>` for several, `all` for a whole market.
fn symbols_part(symbols: &[String]) -> Result<String> {
    match symbols {
        [] => Ok("all".into()),
        [one] => encode_symbol(one),
        many => Ok(format!("m{}-{}", many.len(), &store::sha256_hex(many.join("\n").as_bytes())[..8])),
    }
}

/// Write a manifest: `manifests/<table>/<vendor>/<ingest day>/<seq>-<digest16>.json`. The number only helps people to
/// read a folder in order; the digest makes the name unique.
pub fn write_manifest(root: &DataRoot, manifest: &Manifest) -> Result<DataPath> {
    root.require_dataset(&manifest.world)?;
    let json = store::canonical_json(manifest)?;
    let table = manifest.table.rsplit('/').next().unwrap_or(&manifest.table);
    let folder = DataPath::new(format!("manifests/{table}/{}/{}", manifest.vendor, manifest.ingested_at.utc_day()))?;
    let seq = store::list(root, &folder)?.len() + 1;
    let path = folder.join(&format!("{seq:06}-{}.json", &store::sha256_hex(json.as_bytes())[..16]))?;
    store::write_atomic(root, &path, json.as_bytes())?;
    Ok(path)
}

/// Enter a manifest's segments into `segments`; the number of rows that were not known before.
pub fn register(tx: &Transaction<'_>, path: &DataPath, manifest: &Manifest) -> Result<u64> {
    remember_newest(tx, manifest.ingested_at)?;
    answers_changed(tx)?;
    let mut fresh = 0;
    let mut st = tx.prepare_cached(
        "INSERT OR IGNORE INTO segments (path, table_name, source_name, partition_key, t0, t1, rows, bytes, sha256, manifest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let sql = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    for s in &manifest.segments {
        let new = st.execute(params![
            s.path.as_str(),
            manifest.table,
            manifest.vendor,
            manifest.tf,
            s.t0.to_string(),
            s.t1.to_string(),
            sql(s.rows),
            sql(s.bytes),
            s.sha256,
            path.as_str()
        ])?;
        fresh += if new == 1 { s.rows } else { 0 };
    }
    Ok(fresh)
}

/// The newest stamp of a manifest, in microseconds.
const NEWEST: &str = "manifests.newest";

/// The newest stamp of a manifest that was registered; of a database that does not know it yet, of those on the drive.
pub fn newest(root: &DataRoot, db: &Db) -> Result<Option<UtcTime>> {
    if let Some(known) = newest_in(&*db.lock()?)? {
        return Ok(Some(known));
    }
    let newest = scan(root, "manifests")?.0.last().map(|(_, m)| m.ingested_at);
    newest.map(|t| db.write(|tx| remember_newest(tx, t))).transpose()?;
    Ok(newest)
}

/// The stamp of an answer that came now. Of two answers the later one revises the earlier, so a clock that was corrected by minutes
/// between them goes on from the newest stamp until it has caught up: a stamp is at most those minutes later than its answer, never
/// earlier, and nothing counts as known before it was. A stamp farther ahead is of a clock that was wrong, and is not followed.
pub fn stamp(root: &DataRoot, db: &Db) -> Result<UtcTime> {
    let now = root.host().now();
    let follows = |newest: &UtcTime| now < *newest && *newest <= now.plus_seconds(STEP_SECONDS);
    Ok(newest(root, db)?.filter(follows).map_or(now, |newest| UtcTime::from_micros(newest.micros() + 1)))
}

/// Forget the newest stamp: it is looked for on the drive again.
pub fn forget_newest(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("DELETE FROM counters WHERE name = ?1", [NEWEST])?;
    Ok(())
}

fn newest_in(conn: &Connection) -> Result<Option<UtcTime>> {
    let micros: Option<i64> = conn.prepare_cached("SELECT value FROM counters WHERE name = ?1")?.query_row([NEWEST], |r| r.get(0)).optional()?;
    Ok(micros.map(UtcTime::from_micros))
}

fn remember_newest(tx: &Transaction<'_>, stamp: UtcTime) -> Result<()> {
    let put = "INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = max(value, ?2)";
    tx.prepare_cached(put)?.execute(params![NEWEST, stamp.micros()])?;
    Ok(())
}

/// How often answers came or went: the same number is the same answers.
const CHANGES: &str = "manifests.changes";

/// Count that answers came or went, in the transaction that says so.
pub fn answers_changed(tx: &Transaction<'_>) -> Result<()> {
    tx.prepare_cached("INSERT INTO counters (name, value) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1")?.execute([CHANGES])?;
    Ok(())
}

/// Every manifest on the drive, sorted by (ingested_at, path). One of another world is refused.
pub fn all_manifests(root: &DataRoot) -> Result<Vec<(DataPath, Manifest)>> {
    read_below(root, "manifests")
}

/// The manifests of one table (`raw/equities_bars`), in the same order.
pub fn manifests_for(root: &DataRoot, table: &str) -> Result<Vec<(DataPath, Manifest)>> {
    let mut out = read_below(root, &format!("manifests/{}", table.rsplit('/').next().unwrap_or(table)))?;
    out.retain(|(_, m)| m.table == table);
    Ok(out)
}

fn read_below(root: &DataRoot, folder: &str) -> Result<Vec<(DataPath, Manifest)>> {
    let (good, damaged) = scan(root, folder)?;
    damaged.into_iter().next().map_or(Ok(good), |(_, why)| Err(why))
}

/// The manifests below a folder that can be trusted, in their order, and those that cannot, with the reason. One of another
/// world is an error: it is no damage.
pub fn scan(root: &DataRoot, folder: &str) -> Result<(Vec<(DataPath, Manifest)>, Vec<(DataPath, Error)>)> {
    let (mut out, mut damaged) = (Vec::new(), Vec::new());
    for path in store::list(root, &DataPath::new(folder)?)? {
        if path.as_str().starts_with("manifests/snapshots/") || !path.as_str().ends_with(".json") {
            continue;
        }
        let Some(read) = read_one(root, &path)? else { continue };
        match read {
            Ok(manifest) => {
                root.require_dataset(&manifest.world)?;
                out.push((path, manifest));
            }
            Err(why) => damaged.push((path, why)),
        }
    }
    out.sort_by(|a, b| (a.1.ingested_at, &a.0).cmp(&(b.1.ingested_at, &b.0)));
    Ok((out, damaged))
}

/// Where files go that cannot be trusted.
pub const ASIDE: &str = "raw/_quarantine";

/// Keep a file for inspection in [`ASIDE`], out of the way: copied durably, then removed.
pub fn set_aside(root: &DataRoot, path: &DataPath) -> Result<()> {
    let Some(bytes) = store::read(root, path)? else { return Ok(()) };
    // The same file may be damaged twice: neither copy hides the other.
    let name = format!("{ASIDE}/{}~{}", path.as_str().replace('/', "~"), &store::sha256_hex(&bytes)[..16]);
    store::write_atomic(root, &DataPath::new(name)?, &bytes)?;
    store::remove(root, path)
}

/// A manifest's name ends in the digest of its bytes; the inner error is the damage. `None`: a worker whose lease had gone to
/// another has just withdrawn it.
fn read_one(root: &DataRoot, path: &DataPath) -> Result<Option<std::result::Result<Manifest, Error>>> {
    let Some(bytes) = store::read(root, path)? else { return Ok(None) };
    let damaged = |why: String| Error::new(code::SSD_DAMAGED, text!("{path} cannot be read")).cause(why).fix("trademl node audit --full");
    let digest = path.file_name().trim_end_matches(".json").rsplit('-').next().unwrap_or_default().to_string();
    if store::sha256_hex(&bytes).get(..16) != Some(digest.as_str()) {
        return Ok(Some(Err(damaged("its bytes do not match its name".into()))));
    }
    Ok(Some(serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))))
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
