//! What the last audit had seen, in `node.sqlite`: it makes the next one cost only what changed. Losing it costs one full audit.

use crate::control::Db;
use crate::error::Result;
use crate::root::{DataPath, DataRoot};
use crate::schema::timeframe;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

const TABLES: &str = "CREATE TABLE IF NOT EXISTS audited_manifests (path TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS audited_symbols (symbol TEXT PRIMARY KEY, facts_sha256 TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS audited_symbols_minute (symbol TEXT PRIMARY KEY, facts_sha256 TEXT NOT NULL) WITHOUT ROWID;";

/// Where the symbols of a time frame are remembered. Manifests are remembered together.
fn symbols_of(tf: &str) -> &'static str {
    if tf == timeframe::MINUTE { "audited_symbols_minute" } else { "audited_symbols" }
}

/// Manifests and symbols (with the digest of their reference facts) that the ledger already reflects.
pub(crate) struct Seen {
    pub manifests: BTreeSet<String>,
    pub symbols: BTreeMap<String, String>,
}

pub(crate) fn load(db: &Db, tf: &str) -> Result<Seen> {
    db.write(|tx| Ok(tx.execute_batch(TABLES)?))?;
    let conn = db.lock()?;
    let manifests = conn.prepare("SELECT path FROM audited_manifests")?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    let sql = format!("SELECT symbol, facts_sha256 FROM {}", symbols_of(tf));
    let symbols = conn.prepare(&sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    Ok(Seen { manifests, symbols })
}

pub(crate) fn save(conn: &Connection, tf: &str, manifests: &[&str], symbols: &BTreeMap<String, String>, dropped: &[String]) -> Result<()> {
    let mut put = conn.prepare_cached("INSERT OR IGNORE INTO audited_manifests (path) VALUES (?1)")?;
    for path in manifests {
        put.execute([path])?;
    }
    let table = symbols_of(tf);
    let mut put = conn.prepare_cached(&format!("INSERT INTO {table} VALUES (?1, ?2) ON CONFLICT (symbol) DO UPDATE SET facts_sha256=?2"))?;
    for (symbol, digest) in symbols {
        put.execute(params![symbol, digest])?;
    }
    let mut remove = conn.prepare_cached(&format!("DELETE FROM {table} WHERE symbol=?1"))?;
    for symbol in dropped {
        remove.execute([symbol])?;
    }
    Ok(())
}

/// Manifests that an audit has seen and that are not on the drive any more: what they said is not known now.
pub(crate) fn gone(root: &DataRoot, db: &Db) -> Result<Vec<String>> {
    let mut out: Vec<String> = load(db, timeframe::DAY)?.manifests.into_iter().collect();
    out.retain(|path| !DataPath::new(path.as_str()).is_ok_and(|p| root.locate(&p).exists()));
    Ok(out)
}

pub(crate) fn forget(db: &Db, gone: &[String]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    db.write(|tx| gone.iter().try_for_each(|path| Ok(tx.execute("DELETE FROM audited_manifests WHERE path = ?1", [path]).map(drop)?)))
}
