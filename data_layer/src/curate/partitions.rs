//! Ledger rows of a curated table: what the raw row says, unless the curated file could not be made from it.

use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Change, Key, Row, Status, Verdict};
use crate::qc::QcCode;
use crate::schema::table;
use crate::time::{DateRange, TradingDay, UtcTime};
use std::collections::BTreeMap;

const CURATOR: &str = "curator";

/// Raw rows whose curated row differs or is absent.
const DIFFERENT: &str = "SELECT r.symbol, r.dt, r.status, r.qc_score, r.row_count, r.expected_rows, r.qc_code, r.first_observed_at, r.last_observed_at
  FROM partition_status r LEFT JOIN partition_status c
    ON c.source_name='curator' AND c.table_name=?3 AND c.symbol=r.symbol AND c.dt=r.dt AND c.partition_key=?4
  WHERE r.source_name=?1 AND r.table_name=?2 AND r.partition_key=?4 AND (c.id IS NULL OR c.status<>r.status OR c.qc_code IS NOT r.qc_code
    OR c.row_count<>r.row_count OR c.first_observed_at IS NOT r.first_observed_at OR c.last_observed_at IS NOT r.last_observed_at)";

/// A curated table and its partition key.
type Of = (&'static str, &'static str);

/// Make the curated rows mirror the raw ones. `skipped` names symbols and days whose file could not be made: RED.
/// Returns how many rows changed.
pub(super) fn mirror(db: &Db, of: Of, skipped: &[(&str, DateRange)]) -> Result<u64> {
    let mut by_symbol: BTreeMap<&str, Vec<DateRange>> = BTreeMap::new();
    skipped.iter().for_each(|(symbol, days)| by_symbol.entry(symbol).or_default().push(*days));
    let is_skipped = |key: &Key| by_symbol.get(key.symbol.as_str()).is_some_and(|all| all.iter().any(|days| days.contains(key.dt)));
    let sources = ledger::sources(db, table::RAW_EQUITIES_BARS)?;
    let mut changes = Vec::new();
    for source in &sources {
        changes.extend(different(db, source, of)?.into_iter().filter(|row| !is_skipped(&row.key)).map(Change::Put));
        for (symbol, DateRange { start, end }) in skipped {
            let raw = ledger::rows_of(db, source, table::RAW_EQUITIES_BARS, symbol, of.1, *start, *end)?;
            let have = ledger::rows_of(db, CURATOR, of.0, symbol, of.1, *start, *end)?;
            let want: Vec<Row> = raw.into_iter().map(|raw| refused(raw, of)).collect();
            changes.extend(ledger::differences(have, want).into_iter().filter(|c| matches!(c, Change::Put(_))));
        }
    }
    changes.extend(orphans(db, &sources, of)?.into_iter().map(Change::Remove));
    ledger::apply(db, &changes)?;
    Ok(changes.len() as u64)
}

fn key(symbol: String, dt: TradingDay, (table, tf): Of) -> Key {
    Key { source_name: CURATOR.into(), table_name: table.into(), symbol, dt, partition_key: tf.into() }
}

/// The curated row of a raw one whose file could not be made: GREEN and AMBER turn RED, a RED keeps its own reason.
fn refused(raw: Row, of: Of) -> Row {
    let mut verdict = raw.verdict;
    if verdict.status != Status::Red {
        let code = QcCode::ChecksumMismatch;
        verdict = Verdict { status: code.status(), qc_code: code.as_str().into(), qc_score: code.score(), row_count: 0, ..verdict };
    }
    Row { key: key(raw.key.symbol, raw.key.dt, of), verdict }
}

fn different(db: &Db, source: &str, of: Of) -> Result<Vec<Row>> {
    let conn = db.lock()?;
    let mut statement = conn.prepare_cached(DIFFERENT)?;
    let mut rows = statement.query([source, table::RAW_EQUITIES_BARS, of.0, of.1])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        let time = |i| -> Result<Option<UtcTime>> { r.get::<_, Option<String>>(i)?.map(|t| t.parse()).transpose() };
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let verdict = Verdict {
            status: Status::parse(&r.get::<_, String>(2)?)?,
            qc_score: r.get::<_, Option<f64>>(3)?.unwrap_or(0.0),
            row_count: count(r.get(4)?),
            expected_rows: r.get::<_, Option<i64>>(5)?.map(count),
            qc_code: r.get::<_, Option<String>>(6)?.unwrap_or_default(),
            first_observed_at: time(7)?,
            last_observed_at: time(8)?,
        };
        out.push(Row { key: key(r.get(0)?, r.get::<_, String>(1)?.parse()?, of), verdict });
    }
    Ok(out)
}

/// Curated rows without a raw one.
fn orphans(db: &Db, sources: &[String], of: Of) -> Result<Vec<Key>> {
    let conn = db.lock()?;
    let list: Vec<String> = sources.iter().map(|s| format!("'{}'", s.replace('\'', "''"))).collect();
    let sql = format!(
        "SELECT c.symbol, c.dt FROM partition_status c WHERE c.source_name='curator' AND c.table_name=?1 AND NOT EXISTS (SELECT 1 FROM partition_status r
           WHERE r.source_name IN ({}) AND r.table_name=?2 AND r.symbol=c.symbol AND r.dt=c.dt AND r.partition_key=c.partition_key)",
        list.join(",")
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([of.0, table::RAW_EQUITIES_BARS])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(key(r.get(0)?, r.get::<_, String>(1)?.parse()?, of));
    }
    Ok(out)
}
