//! Ledger rows of the reference tables: one per session, GREEN when an interval holding it was asked for, answered
//! completely, and the answer is still readable: by the making of the tables, which reads every answer before each audit, and by
//! this audit where something changed or all is read.

use super::{REF_LISTINGS, SP500, action_partitions, beside_partitions, company_partitions, sources};
use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Change, Key, Row, Verdict};
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
#[derive(Clone)]
pub(super) struct Answer {
    pub vendor: String,
    /// `None` = every symbol.
    pub symbols: Option<BTreeSet<String>>,
    pub from: TradingDay,
    pub to: TradingDay,
    pub at: UtcTime,
    /// Rows that it brought.
    pub rows: u64,
}

/// What an audit of the reference tables looks at.
pub(super) struct Task<'a> {
    pub root: &'a DataRoot,
    pub db: &'a Db,
    pub stage: &'a Stage,
    pub sessions: &'a [TradingDay],
    damaged: BTreeSet<&'a str>,
    afresh: bool,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Found {
    changes: Vec<Change>,
    /// Lanes and the digests of what their rows now follow from.
    seen: Vec<(&'static str, String)>,
}

impl Found {
    /// The rows of a table are to be these.
    pub fn say(&mut self, db: &Db, table: &str, want: Vec<Row>) -> Result<()> {
        let everything = DateRange { start: TradingDay(0), end: TradingDay(40_000) };
        let mut have = Vec::new();
        for source in ledger::sources(db, table)? {
            have.extend(ledger::rows_of(db, &source, table, "", "", everything.start, everything.end)?);
        }
        self.changes.extend(ledger::differences(have, want));
        Ok(())
    }
}

impl Task<'_> {
    /// The answers of a lane, unless its rows were made from the same answers, stage, sessions and `more` already.
    pub fn news(&self, lane: &'static str, raw: &str, more: &str, found: &mut Found) -> Result<Option<Vec<Answer>>> {
        let manifests = sources::manifests(self.root, raw)?;
        let digest = self.digest(&manifests, lane, more)?;
        let known = known(self.db, lane)?;
        if known.as_deref() == Some(&digest) {
            if !self.afresh {
                return Ok(None);
            }
        } else {
            found.seen.push((lane, digest));
        }
        answers(self.root, manifests, raw, lane, &self.damaged).map(Some)
    }

    /// The answers of a lane.
    pub fn answers(&self, lane: &str, raw: &str) -> Result<Vec<Answer>> {
        answers(self.root, sources::manifests(self.root, raw)?, raw, lane, &self.damaged)
    }

    /// The digest of all that the rows of a lane follow from: of its segments' bytes only whether they are there and can be used.
    fn digest(&self, manifests: &[(DataPath, Manifest)], lane: &str, more: &str) -> Result<String> {
        let size = |s: &Segment| (s.path.clone(), sources::size(self.root, &s.path), self.damaged.contains(s.path.as_str()));
        let answers: Vec<_> = manifests.iter().map(|(path, m)| (path, m.segments.iter().map(size).collect::<Vec<_>>())).collect();
        let days = (self.sessions.first(), self.sessions.last(), self.sessions.len());
        store::digest_of(&(answers, self.stage.is_active(lane), &self.stage.universe.symbols, days, more))
    }
}

/// Bring the rows of the reference tables in line with the raw answers. Answers are read again if `afresh`, or where something
/// came, went, has another size, or is `damaged` now and was not, or the other way about: raw files that the making of the tables,
/// which reads all of them each time, could not use. Returns how many rows changed.
pub fn audit_partitions(root: &DataRoot, db: &Db, stage: &Stage, sessions: &[TradingDay], damaged: &[String], afresh: bool) -> Result<u64> {
    let task = Task { root, db, stage, sessions, damaged: damaged.iter().map(String::as_str).collect(), afresh };
    let mut found = Found::default();
    let plan: [(&str, &str, &str, &[&str]); 4] = [
        (dataset::LISTINGS, table::RAW_LISTINGS, "alpha_vantage", &[REF_LISTINGS, table::REF_DELISTINGS, table::REF_UNIVERSE]),
        (dataset::CORP_ACTIONS, table::RAW_CORP_ACTIONS, "alpaca", &[table::REF_CORP_ACTIONS]),
        (dataset::MACROS_FRED, table::RAW_MACROS, "fred", &[table::REF_MACROS]),
        (dataset::INDEX_MEMBERSHIP, table::RAW_INDEX_MEMBERSHIP, "finnhub", &[table::REF_INDEX_MEMBERSHIP]),
    ];
    for (lane, raw, usual_vendor, tables) in plan {
        let actions = if lane == dataset::CORP_ACTIONS { Some(action_partitions::Known::load(root, stage)?) } else { None };
        let more = actions.as_ref().map(action_partitions::Known::words).unwrap_or_default();
        let Some(answers) = task.news(lane, raw, &more, &mut found)? else { continue };
        // What is optional is expected only once it was asked for.
        let optional = matches!(lane, dataset::MACROS_FRED | dataset::INDEX_MEMBERSHIP);
        let active = stage.is_active(lane) && (!optional || !answers.is_empty());
        let asked: Vec<String> = match lane {
            dataset::MACROS_FRED => answers.iter().flat_map(|a| a.symbols.iter().flatten().cloned()).collect::<BTreeSet<_>>().into_iter().collect(),
            dataset::INDEX_MEMBERSHIP => vec![SP500.to_string()],
            _ => stage.universe.symbols.clone(),
        };
        for table in tables {
            let want = match &actions {
                _ if !active => Vec::new(),
                Some(known) => known.rows(&answers, &asked, sessions)?,
                None => rows(table, usual_vendor, &answers, &asked, sessions),
            };
            found.say(db, table, want)?;
        }
    }
    let filed = company_partitions::audit(&task, &mut found)?;
    beside_partitions::audit(&task, &filed, &mut found)?;
    ledger::apply(db, &found.changes)?;
    if !found.seen.is_empty() {
        let put = "INSERT OR REPLACE INTO audited_answers VALUES (?1, ?2)";
        db.write(|tx| found.seen.iter().try_for_each(|(lane, digest)| Ok(tx.execute(put, [*lane, digest]).map(drop)?)))?;
    }
    Ok(found.changes.len() as u64)
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
            rows: manifest.segments.iter().map(|s| s.rows).sum(),
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
/// How many of the stage's symbols a session was answered for, and when that was first and last said.
#[derive(Default)]
pub(super) struct Tally {
    pub answered: u64,
    pub first: Option<UtcTime>,
    pub last: Option<UtcTime>,
    pub vendor: Option<String>,
}

fn span(a: &Answer, sessions: &[TradingDay]) -> (usize, usize) {
    (sessions.partition_point(|d| *d < a.from), sessions.partition_point(|d| *d < a.to))
}

/// Who spoke of each session, and when.
pub(super) fn tallies(answers: &[Answer], sessions: &[TradingDay]) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = sessions.iter().map(|_| Tally::default()).collect();
    for a in answers {
        let (from, to) = span(a, sessions);
        for tally in tallies.get_mut(from..to).unwrap_or_default() {
            tally.first = Some(tally.first.map_or(a.at, |t| t.min(a.at)));
            tally.last = Some(tally.last.map_or(a.at, |t| t.max(a.at)));
            tally.vendor = Some(a.vendor.clone());
        }
    }
    tallies
}

/// The same with how many of the symbols each session was answered for.
pub(super) fn counted(answers: &[Answer], symbols: &[String], sessions: &[TradingDay], mut tallies: Vec<Tally>) -> Vec<Tally> {
    let mut covered = vec![false; sessions.len()];
    for symbol in symbols {
        covered.iter_mut().for_each(|c| *c = false);
        for a in answers.iter().filter(|a| a.symbols.as_ref().is_none_or(|s| s.contains(symbol))) {
            let (from, to) = span(a, sessions);
            covered.get_mut(from..to).unwrap_or_default().iter_mut().for_each(|c| *c = true);
        }
        for (tally, yes) in tallies.iter_mut().zip(&covered) {
            tally.answered += u64::from(*yes);
        }
    }
    tallies
}

/// A row for each session: GREEN where all of `symbols` were answered for.
pub(super) fn rows(table: &str, usual_vendor: &str, answers: &[Answer], symbols: &[String], sessions: &[TradingDay]) -> Vec<Row> {
    let wanted = symbols.len() as u64;
    let row = |(dt, t): (&TradingDay, Tally)| {
        let code = if t.vendor.is_some() && t.answered == wanted { QcCode::Ok } else { QcCode::Missing };
        row(table, t.vendor.as_deref().unwrap_or(usual_vendor), *dt, code, (t.answered, wanted), (t.first, t.last))
    };
    sessions.iter().zip(counted(answers, symbols, sessions, tallies(answers, sessions))).map(row).collect()
}

/// What is said of one session of a reference table: how many of how many answers are there, and when they first and last came.
pub(super) fn row(
    table: &str,
    vendor: &str,
    dt: TradingDay,
    code: QcCode,
    (row_count, expected): (u64, u64),
    (first_observed_at, last_observed_at): (Option<UtcTime>, Option<UtcTime>),
) -> Row {
    let key = Key { source_name: vendor.into(), table_name: table.into(), symbol: String::new(), dt, partition_key: String::new() };
    let (status, qc_code, qc_score, expected_rows) = (code.status(), code.as_str().to_string(), code.score(), Some(expected));
    Row { key, verdict: Verdict { status, qc_code, qc_score, row_count, expected_rows, first_observed_at, last_observed_at } }
}
