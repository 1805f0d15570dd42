//! What the last audit had seen, in `node.sqlite`: it makes the next one cost only what changed. Losing it costs one full audit.

use crate::control::Db;
use crate::error::Result;
use crate::root::{DataPath, DataRoot};
use crate::schema::timeframe;
use crate::store;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// Where the symbols of a time frame are remembered. Manifests are remembered together.
fn symbols_of(tf: &str) -> &'static str {
    if tf == timeframe::MINUTE { "audited_symbols_minute" } else { "audited_symbols" }
}

/// Manifests and symbols (with the digest of their reference facts) that the ledger already reflects.
#[derive(Default)]
pub(crate) struct Seen {
    pub manifests: BTreeSet<String>,
    pub symbols: BTreeMap<String, String>,
}

impl Seen {
    /// What of this was not known.
    pub fn news<'a>(&self, manifests: impl Iterator<Item = &'a str>, symbols: &'a BTreeMap<String, String>, dropped: &'a [String]) -> News<'a> {
        News {
            manifests: manifests.filter(|path| !self.manifests.contains(*path)).collect(),
            symbols: symbols.iter().filter(|(symbol, facts)| self.symbols.get(*symbol) != Some(facts)).map(|(s, f)| (s.as_str(), f.as_str())).collect(),
            dropped,
        }
    }
}

/// What the next audit shall know.
pub(crate) struct News<'a> {
    manifests: Vec<&'a str>,
    symbols: Vec<(&'a str, &'a str)>,
    dropped: &'a [String],
}

impl News<'_> {
    pub fn is_empty(&self) -> bool {
        self.manifests.is_empty() && self.symbols.is_empty() && self.dropped.is_empty()
    }

    pub fn save(&self, conn: &Connection, tf: &str) -> Result<()> {
        let mut put = conn.prepare_cached("INSERT OR IGNORE INTO audited_manifests (path) VALUES (?1)")?;
        for path in &self.manifests {
            put.execute([path])?;
        }
        let table = symbols_of(tf);
        let mut put = conn.prepare_cached(&format!("INSERT INTO {table} VALUES (?1, ?2) ON CONFLICT (symbol) DO UPDATE SET facts_sha256=?2"))?;
        for (symbol, digest) in &self.symbols {
            put.execute(params![symbol, digest])?;
        }
        let mut remove = conn.prepare_cached(&format!("DELETE FROM {table} WHERE symbol=?1"))?;
        for symbol in self.dropped {
            remove.execute([symbol])?;
        }
        Ok(())
    }
}

pub(crate) fn load(db: &Db, tf: &str) -> Result<Seen> {
    let conn = db.lock()?;
    let manifests = conn.prepare("SELECT path FROM audited_manifests")?.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    let sql = format!("SELECT symbol, facts_sha256 FROM {}", symbols_of(tf));
    let symbols = conn.prepare(&sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    Ok(Seen { manifests, symbols })
}

/// Manifests that an audit has seen and that are not on the drive any more: what they said is not known now.
pub(crate) fn gone(root: &DataRoot, db: &Db) -> Result<Vec<String>> {
    let mut out: Vec<String> = load(db, timeframe::DAY)?.manifests.into_iter().collect();
    out.retain(|path| !DataPath::new(path.as_str()).is_ok_and(|p| store::size(root, &p).is_some()));
    Ok(out)
}

pub(crate) fn forget(db: &Db, gone: &[String]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    db.write(|tx| gone.iter().try_for_each(|path| Ok(tx.execute("DELETE FROM audited_manifests WHERE path = ?1", [path]).map(drop)?)))
}
