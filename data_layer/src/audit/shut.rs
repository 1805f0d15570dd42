//! Days of which nobody can be asked: every vendor whose lane reaches them has refused that lane in its own words.
//!
//! What counts is what the drive knows: the registry, what was found of each lane, and who has answered here before. A vendor whose
//! key was never here closes nothing and opens nothing; one core lane that was never refused is hope enough.

use super::EVER;
use crate::control::Db;
use crate::error::Result;
use crate::ledger;
use crate::qc::QcCode;
use crate::root::DataRoot;
use crate::schema::{dataset, table, timeframe};
use crate::sourcing::{EnableStatus, Endpoints, Entry, entitlement};
use crate::store;
use crate::time::{DateRange, TradingDay};
use rusqlite::{OptionalExtension, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// The days, sorted and disjoint; none on a drive whose lanes are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shut(Vec<DateRange>);

/// What is stored in the place of a digest where nothing is shut.
const OPEN: &str = "";

impl Shut {
    /// The days of bars of `tf`. `answered` are the vendors that have brought some; `asof` is the day from which a plan's rolling
    /// depth counts, by months: else a drive whose first vendor is away would have another day to judge every day.
    pub fn load(root: &DataRoot, db: &Db, tf: &str, answered: &BTreeSet<&str>, asof: TradingDay) -> Result<Self> {
        let (name, found) = (dataset_of(tf), entitlement::all(&*db.lock()?)?);
        if !found.values().any(|e| e.dataset == name && e.blocked()) {
            return Ok(Self::default());
        }
        let endpoints = Endpoints::load(root)?;
        let of = |e: &Entry| found.get(&(e.vendor.as_str().to_string(), e.dataset.clone()));
        let counts = |e: &&Entry| e.enable_status == EnableStatus::Core || of(e).is_some() || answered.contains(e.vendor.as_str());
        let month = |day: TradingDay| TradingDay::ymd(day.year(), day.month(), 1).unwrap_or(day);
        let lanes = endpoints.entries().iter().filter(|e| e.dataset == name && e.enabled()).filter(counts);
        Ok(Self::of(&lanes.map(|e| (endpoints.depth_on(e, asof).map(month), of(e).is_some_and(entitlement::Entitlement::blocked))).collect::<Vec<_>>()))
    }

    /// From lanes: the first day of each (`None`: all days), and whether it is refused.
    fn of(lanes: &[(Option<TradingDay>, bool)]) -> Self {
        let mut starts: BTreeSet<TradingDay> = lanes.iter().filter_map(|(from, _)| *from).collect();
        starts.insert(EVER.start);
        let ends = starts.iter().skip(1).chain([&EVER.end]);
        let shut = |day: TradingDay| {
            let mut reaching = lanes.iter().filter(|(from, _)| from.is_none_or(|from| from <= day)).peekable();
            reaching.peek().is_some() && reaching.all(|(_, refused)| *refused)
        };
        let mut out: Vec<DateRange> = Vec::new();
        for (start, end) in starts.iter().zip(ends).filter(|(start, _)| shut(**start)) {
            match out.last_mut().filter(|last| last.end == *start) {
                Some(last) => last.end = *end,
                None => out.push(DateRange { start: *start, end: *end }),
            }
        }
        Self(out)
    }

    pub fn contains(&self, day: TradingDay) -> bool {
        self.0.iter().any(|days| days.contains(day))
    }

    fn digest(&self) -> Result<String> {
        if self.0.is_empty() { Ok(OPEN.to_string()) } else { store::digest_of(&self.0) }
    }

    /// Where the ledger says something else about missing bars than these days do, by symbol, and what the next audit is to know then.
    /// Where no lane was shut or opened since the last audit, nothing is read.
    pub fn news(&self, db: &Db, tf: &str, window: DateRange) -> Result<(BTreeMap<String, Vec<DateRange>>, Option<String>)> {
        let digest = self.digest()?;
        let sql = "SELECT sha256 FROM audited_answers WHERE dataset = ?1";
        let known: Option<String> = db.lock()?.prepare_cached(sql)?.query_row([dataset_of(tf)], |r| r.get(0)).optional()?;
        if known.as_deref().unwrap_or(OPEN) == digest {
            return Ok((BTreeMap::new(), None));
        }
        let mut out: BTreeMap<String, Vec<DateRange>> = BTreeMap::new();
        for row in ledger::troubled(db, table::RAW_EQUITIES_BARS, window.start, window.end)?.into_iter().filter(|row| row.key.partition_key == tf) {
            let other = if self.contains(row.key.dt) { QcCode::Missing } else { QcCode::NotEntitled };
            if row.verdict.qc_code == other.as_str() {
                out.entry(row.key.symbol).or_default().push(DateRange { start: row.key.dt, end: row.key.dt.plus_days(1) });
            }
        }
        Ok((out, Some(digest)))
    }
}

/// Remember what an audit has reflected, in the transaction that closes it.
pub(super) fn remember(tx: &Transaction<'_>, tf: &str, digest: Option<&String>) -> Result<()> {
    let Some(digest) = digest else { return Ok(()) };
    tx.execute("INSERT OR REPLACE INTO audited_answers VALUES (?1, ?2)", [dataset_of(tf), digest])?;
    Ok(())
}

fn dataset_of(tf: &str) -> &'static str {
    if tf == timeframe::MINUTE { dataset::EQUITIES_MINUTE } else { dataset::EQUITIES_EOD }
}

#[cfg(test)]
#[path = "shut_tests.rs"]
mod tests;
