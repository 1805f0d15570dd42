//! What is true of a drive, read from the bytes of the undamaged one: the judge of what the program calls GREEN.

use data_layer::root::encode_symbol;
use polars::prelude::{DataFrame, DataType, ParquetReader, SerReader};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A table, a symbol and a day.
pub(super) type Session = (usize, String, i32);

/// What each source says of a session (empty for what was made): of several answers of a vendor the newest, which revises the others.
pub(super) type Truth = BTreeMap<(Session, String), u64>;

fn frame(bytes: &[u8]) -> Option<DataFrame> {
    ParquetReader::new(std::io::Cursor::new(bytes.to_vec())).finish().ok()
}

/// Closes of the bars in a Parquet file, as bits.
pub fn closes(bytes: &[u8]) -> BTreeMap<(String, i32), u64> {
    let table = frame(bytes).unwrap();
    let symbols = table.column("symbol").unwrap().str().unwrap().clone();
    let days = table.column("date").unwrap().date().unwrap().phys.clone();
    let close = table.column("close").unwrap().f64().unwrap().clone();
    let bits = |i: usize| close.get(i).unwrap_or(f64::NAN).to_bits();
    (0..table.height()).map(|i| ((symbols.get(i).unwrap().to_string(), days.get(i).unwrap()), bits(i))).collect()
}

/// One digest of each symbol's session in a file: of every number of every row in it, the moments of minutes included.
fn sessions(table: &DataFrame) -> BTreeMap<(String, i32), u64> {
    let symbols = table.column("symbol").unwrap().str().unwrap().clone();
    let days = table.column("date").unwrap().date().unwrap().phys.clone();
    let numbers: Vec<_> = table.columns().iter().filter_map(|c| c.f64().ok().cloned()).collect();
    let moments = table.column("ts").ok().map(|c| c.cast(&DataType::Int64).unwrap().i64().unwrap().clone());
    let mut out: BTreeMap<(String, i32), DefaultHasher> = BTreeMap::new();
    for i in 0..table.height() {
        let state = out.entry((symbols.get(i).unwrap().to_string(), days.get(i).unwrap())).or_default();
        moments.iter().for_each(|m| m.get(i).hash(state));
        numbers.iter().for_each(|n| n.get(i).map(f64::to_bits).hash(state));
    }
    out.into_iter().map(|(key, state)| (key, state.finish())).collect()
}

/// The tables that are judged: where the files lie, their ledger rows' table and key.
pub(super) const TABLES: [(&str, &str, &str); 4] = [
    ("raw/equities_bars/", "raw/equities_bars", "1d"),
    ("raw/equities_bars/", "raw/equities_bars", "1m"),
    ("curated/equities_ohlcv_adj/", "curated/equities_ohlcv_adj", "1d"),
    ("curated/equities_minute_adj/", "curated/equities_minute_adj", "1m"),
];

/// The position in [`TABLES`] of a file's rows.
pub(super) fn table_of(path: &str) -> Option<usize> {
    let raw = |(_, name, key): &(&str, &str, &str)| !name.starts_with("raw") || path.contains(&format!("/tf={key}/"));
    TABLES.iter().position(|t| path.starts_with(t.0) && path.ends_with(".parquet") && raw(t))
}

/// Sessions that lie in one file, if the file is what it says: a raw one's name ends in the digest of its bytes, a curated one
/// stands in its symbol's folder.
pub(super) fn lying_in(path: &str, bytes: &[u8]) -> Vec<(Session, u64)> {
    let Some(table) = table_of(path) else { return Vec::new() };
    let named = path.trim_end_matches(".parquet").rsplit('_').next().unwrap_or_default();
    if path.starts_with("raw") && hex::encode(Sha256::digest(bytes)).get(..16) != Some(named) {
        return Vec::new();
    }
    let Some(rows) = frame(bytes) else { return Vec::new() };
    let at_home = |symbol: &str| path.starts_with("raw") || path.contains(&format!("/sym={}/", encode_symbol(symbol).unwrap()));
    sessions(&rows).into_iter().filter(|((symbol, _), _)| at_home(symbol)).map(|((symbol, day), digest)| ((table, symbol, day), digest)).collect()
}

/// The vendor of a raw file; nothing of a file that was made.
pub(super) fn source_of(path: &str) -> String {
    path.split('/').find_map(|part| part.strip_prefix("src=")).unwrap_or_default().to_string()
}

/// What is true of each session: where several files hold it, the one that the newest complete answer brought.
pub(super) fn truth_of(pristine: &Files, inside: &BTreeMap<String, Vec<(Session, u64)>>) -> Truth {
    let mut newest: BTreeMap<String, (bool, String)> = BTreeMap::new();
    for (_, bytes) in pristine.iter().filter(|(path, _)| path.starts_with("manifests/equities_bars/")) {
        let manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let rank = (manifest["complete"] == true, manifest["ingested_at"].as_str().unwrap().to_string());
        for segment in manifest["segments"].as_array().unwrap() {
            let known = newest.entry(segment["path"].as_str().unwrap().to_string()).or_default();
            *known = rank.clone().max(known.clone());
        }
    }
    let mut best: BTreeMap<(Session, String), ((bool, String), u64)> = BTreeMap::new();
    for (path, sessions) in inside {
        let rank = newest.get(path).cloned().unwrap_or_default();
        for (session, digest) in sessions {
            let known = best.entry((session.clone(), source_of(path))).or_insert_with(|| (rank.clone(), *digest));
            if rank > known.0 {
                *known = (rank.clone(), *digest);
            }
        }
    }
    best.into_iter().map(|(key, (_, digest))| (key, digest)).collect()
}
