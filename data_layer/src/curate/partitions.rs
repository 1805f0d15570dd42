//! Ledger rows of a curated table: what the raw row says, unless the curated file could not be made from it.

use crate::audit::EVER;
use crate::control::Db;
use crate::error::Result;
use crate::ledger::digests::Series;
use crate::ledger::{self, Row, Sheet, Status, Trust, Verdict};
use crate::qc::QcCode;
use crate::schema::table;
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

const CURATOR: &str = "curator";
/// Symbols whose rows are in memory at once.
const SYMBOLS_AT_ONCE: usize = 20;

/// A curated table and its partition key.
type Of = (&'static str, &'static str);

/// Make the curated rows mirror the raw ones. `skipped` names symbols and days whose file could not be made: RED.
/// Returns how many rows changed.
pub(super) fn mirror(db: &Db, of: Of, skipped: &[(&str, DateRange)]) -> Result<u64> {
    let mut by_symbol: BTreeMap<&str, Vec<DateRange>> = BTreeMap::new();
    skipped.iter().for_each(|(symbol, days)| by_symbol.entry(symbol).or_default().push(*days));
    let mut symbols = ledger::symbols_apart(db, table::RAW_EQUITIES_BARS, (CURATOR, of.0), of.1)?;
    symbols.extend(by_symbol.keys().map(|s| (*s).to_string()));
    let sources = ledger::sources(db, table::RAW_EQUITIES_BARS)?;
    let mut changed = 0;
    for some in symbols.into_iter().collect::<Vec<_>>().chunks(SYMBOLS_AT_ONCE) {
        let mut all: Vec<(Series, Vec<Row>)> = Vec::new();
        for symbol in some {
            let mut rows = Vec::new();
            for source in &sources {
                rows.extend(ledger::rows_of(db, source, table::RAW_EQUITIES_BARS, symbol, of.1, EVER.start, EVER.end)?);
            }
            rows.sort_by_key(|row| row.key.dt);
            let refused = |day: TradingDay| by_symbol.get(symbol.as_str()).is_some_and(|all| all.iter().any(|days| days.contains(day)));
            let want = rows.into_iter().map(|raw| mirrored(raw, refused)).collect();
            all.push((Series { table: of.0.into(), symbol: symbol.clone(), key: of.1.into(), days: EVER }, want));
        }
        let sheets: Vec<Sheet<'_>> = all
            .iter()
            .map(|(series, rows)| Sheet { series: series.clone(), lines: rows.iter().map(|r| r.verdict.line(CURATOR, r.key.dt)).collect(), kept: false })
            .collect();
        changed += ledger::bring(db, &sheets, Trust::Nobody)?;
    }
    Ok(changed)
}

/// The curated row of a raw one. Where the file could not be made GREEN and AMBER turn RED, a RED keeps its own reason.
fn mirrored(mut raw: Row, refused: impl Fn(TradingDay) -> bool) -> Row {
    if refused(raw.key.dt) && raw.verdict.status != Status::Red {
        let code = QcCode::ChecksumMismatch;
        raw.verdict = Verdict { status: code.status(), qc_code: code.as_str().into(), qc_score: code.score(), row_count: 0, ..raw.verdict };
    }
    raw
}
