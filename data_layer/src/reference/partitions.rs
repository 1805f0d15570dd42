//! Ledger rows of the reference tables: one per session, GREEN when an interval holding it was asked for, answered
//! completely, and the answer is still readable: by the making of the tables, which reads every answer before each audit, and by
//! this audit where something changed or all is read.

use super::{REF_LISTINGS, SP500, sources};
use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Key, Row, Verdict};
use crate::qc::QcCode;
use crate::root::{DataPath, DataRoot};
use crate::schema::{dataset, table};
use crate::segment::{Manifest, Segment};
use crate::stage::Stage;
use crate::store;
use crate::time::{DateRange, TradingDay, UtcTime};
use rusqlite::OptionalExtension;
use std::collections::BTreeSet;

/// Who answered for which sessions.
struct Answer {
    vendor: String,
    /// `None` = every symbol.
    symbols: Option<BTreeSet<String>>,
    from: TradingDay,
    to: TradingDay,
    at: UtcTime,
}

/// Bring the rows of the reference tables in line with the raw answers. Answers are read again if `afresh`, or where something
/// came, went, has another size, or is `damaged` now and was not, or the other way about: raw files that the making of the tables,
/// which reads all of them each time, could not use. Returns how many rows changed.
pub fn audit_partitions(root: &DataRoot, db: &Db, stage: &Stage, sessions: &[TradingDay], damaged: &[String], afresh: bool) -> Result<u64> {
    let damaged: BTreeSet<&str> = damaged.iter().map(String::as_str).collect();
    let (mut changes, mut seen) = (Vec::new(), Vec::new());
    let plan: [(&str, &str, &str, &[&str]); 4] = [
        (dataset::LISTINGS, table::RAW_LISTINGS, "alpha_vantage", &[REF_LISTINGS, table::REF_DELISTINGS, table::REF_UNIVERSE]),
        (dataset::CORP_ACTIONS, table::RAW_CORP_ACTIONS, "alpaca", &[table::REF_CORP_ACTIONS]),
        (dataset::MACROS_FRED, table::RAW_MACROS, "fred", &[table::REF_MACROS]),
        (dataset::INDEX_MEMBERSHIP, table::RAW_INDEX_MEMBERSHIP, "finnhub", &[table::REF_INDEX_MEMBERSHIP]),
    ];
    for (lane, raw, usual_vendor, tables) in plan {
        let manifests = sources::manifests(root, raw)?;
        let digest = digest(root, &manifests, stage, lane, sessions, &damaged)?;
        let known = known(db, lane)?;
        if !afresh && known.as_deref() == Some(&digest) {
            continue;
        }
        if known.as_deref() != Some(&digest) {
            seen.push((lane, digest));
        }
        let answers = answers(root, manifests, raw, lane, &damaged)?;
        // What is optional is expected only once it was asked for.
        let optional = matches!(lane, dataset::MACROS_FRED | dataset::INDEX_MEMBERSHIP);
        let active = stage.is_active(lane) && (!optional || !answers.is_empty());
        let asked: Vec<String> = match lane {
            dataset::MACROS_FRED => answers.iter().flat_map(|a| a.symbols.iter().flatten().cloned()).collect::<BTreeSet<_>>().into_iter().collect(),
            dataset::INDEX_MEMBERSHIP => vec![SP500.to_string()],
            _ => stage.universe.symbols.clone(),
        };
        for table in tables {
            let want = if active { rows(table, usual_vendor, &answers, &asked, sessions) } else { Vec::new() };
            let everything = DateRange { start: TradingDay(0), end: TradingDay(40_000) };
            let mut have = Vec::new();
            for source in ledger::sources(db, table)? {
                have.extend(ledger::rows_of(db, &source, table, "", "", everything.start, everything.end)?);
            }
            changes.extend(ledger::differences(have, want));
        }
    }
    ledger::apply(db, &changes)?;
    if !seen.is_empty() {
        db.write(|tx| {
            seen.iter().try_for_each(|(lane, digest)| Ok(tx.execute("INSERT OR REPLACE INTO audited_answers VALUES (?1, ?2)", [*lane, digest]).map(drop)?))
        })?;
    }
    Ok(changes.len() as u64)
}

/// The digest of all that the rows of a lane follow from: of its segments' bytes only whether they are there and can be used.
fn digest(root: &DataRoot, manifests: &[(DataPath, Manifest)], stage: &Stage, lane: &str, sessions: &[TradingDay], damaged: &BTreeSet<&str>) -> Result<String> {
    let size = |s: &Segment| (s.path.clone(), sources::size(root, &s.path), damaged.contains(s.path.as_str()));
    let answers: Vec<_> = manifests.iter().map(|(path, m)| (path, m.segments.iter().map(size).collect::<Vec<_>>())).collect();
    store::digest_of(&(answers, stage.is_active(lane), &stage.universe.symbols, sessions.first(), sessions.last(), sessions.len()))
}

/// The digest that the ledger's rows of a lane were last made from.
fn known(db: &Db, lane: &str) -> Result<Option<String>> {
    Ok(db.lock()?.prepare_cached("SELECT sha256 FROM audited_answers WHERE dataset = ?1")?.query_row([lane], |r| r.get(0)).optional()?)
}

fn answers(root: &DataRoot, manifests: Vec<(DataPath, Manifest)>, raw: &str, lane: &str, damaged: &BTreeSet<&str>) -> Result<Vec<Answer>> {
    let mut out = Vec::new();
    for (_, manifest) in manifests {
        if !manifest.complete || manifest.dataset != lane || manifest.segments.iter().any(|s| damaged.contains(s.path.as_str())) || !readable(root, &manifest)?
        {
            continue;
        }
        // A listing snapshot names every listing up to its day with its dates, so it answers for the past as well; so does
        // a list of all changes of an index.
        let whole_history = raw == table::RAW_LISTINGS || raw == table::RAW_INDEX_MEMBERSHIP;
        out.push(Answer {
            vendor: manifest.vendor,
            symbols: (!whole_history && !manifest.asked.symbols.is_empty()).then(|| manifest.asked.symbols.into_iter().collect()),
            from: if whole_history { TradingDay(0) } else { manifest.asked.t0 },
            to: manifest.asked.t1,
            at: manifest.ingested_at,
        });
    }
    Ok(out)
}

fn readable(root: &DataRoot, manifest: &Manifest) -> Result<bool> {
    for segment in &manifest.segments {
        if sources::read(root, segment)?.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn rows(table: &str, usual_vendor: &str, answers: &[Answer], symbols: &[String], sessions: &[TradingDay]) -> Vec<Row> {
    // How many of the stage's symbols each session was answered for, and when that was first and last said.
    struct Tally {
        answered: u64,
        first: Option<UtcTime>,
        last: Option<UtcTime>,
        vendor: Option<String>,
    }
    let mut tallies: Vec<Tally> = sessions.iter().map(|_| Tally { answered: 0, first: None, last: None, vendor: None }).collect();
    let span = |a: &Answer| (sessions.partition_point(|d| *d < a.from), sessions.partition_point(|d| *d < a.to));
    for a in answers {
        let (from, to) = span(a);
        for tally in tallies.get_mut(from..to).unwrap_or_default() {
            tally.first = Some(tally.first.map_or(a.at, |t| t.min(a.at)));
            tally.last = Some(tally.last.map_or(a.at, |t| t.max(a.at)));
            tally.vendor = Some(a.vendor.clone());
        }
    }
    let mut covered = vec![false; sessions.len()];
    for symbol in symbols {
        covered.iter_mut().for_each(|c| *c = false);
        for a in answers.iter().filter(|a| a.symbols.as_ref().is_none_or(|s| s.contains(symbol))) {
            let (from, to) = span(a);
            covered.get_mut(from..to).unwrap_or_default().iter_mut().for_each(|c| *c = true);
        }
        for (tally, yes) in tallies.iter_mut().zip(&covered) {
            tally.answered += u64::from(*yes);
        }
    }
    let wanted = symbols.len() as u64;
    let row = |(dt, t): (&TradingDay, Tally)| {
        let code = if t.vendor.is_some() && t.answered == wanted { QcCode::Ok } else { QcCode::Missing };
        Row {
            key: Key {
                source_name: t.vendor.unwrap_or_else(|| usual_vendor.to_string()),
                table_name: table.to_string(),
                symbol: String::new(),
                dt: *dt,
                partition_key: String::new(),
            },
            verdict: Verdict {
                status: code.status(),
                qc_code: code.as_str().to_string(),
                qc_score: code.score(),
                row_count: t.answered,
                expected_rows: Some(wanted),
                first_observed_at: t.first,
                last_observed_at: t.last,
            },
        }
    };
    sessions.iter().zip(tallies).map(row).collect()
}
