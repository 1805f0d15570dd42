//! `curated/equities_ohlcv_adj`: one adjusted series per symbol, a file per (symbol, year), recomputed from raw segments
//! and corporate actions; and the minutes that take their factors from it. Equal inputs give equal bytes; only files whose
//! bytes change are written.

use crate::audit::AuditConfig;
use crate::audit::bars::Catalogue;
use crate::control::Db;
use crate::error::Result;
use crate::lost;
use crate::reference::{self, CorpAction};
use crate::root::{DataPath, DataRoot, encode_symbol};
use crate::schema::{dataset, table, timeframe};
use crate::segment;
use crate::store;
use crate::time::{DateRange, TradingDay};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};

mod adjust;
mod deps;
mod make;
mod minutes;
mod partitions;
mod price;
mod rows;
mod table_file;

pub use crate::schema::table::CURATED_EQUITIES as FOLDER;
pub use adjust::{Step, factors, steps};
pub use deps::{Deps, Output, PATH as DEPS};
use make::{Sources, reach};
pub use minutes::path_of as minutes_path_of;
pub use minutes::{RawMinute, session as raw_minutes};
pub use price::{AdjPrice, PriceFactor, RawPrice};

/// Whether the digests of existing files are taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// A file counts as good when it has the recorded length.
    Incremental,
    /// Every file is read; one that does not match its digest is made again.
    Full,
}

/// What a curation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurateReport {
    pub rewritten: u64,
    pub unchanged: u64,
    pub removed: u64,
    /// (symbol, year) that could not be made because a raw segment is damaged or lost; their partitions are RED.
    pub skipped: Vec<(String, i16)>,
    /// The same of minutes, by symbol and month.
    pub minutes_skipped: Vec<(String, DateRange)>,
    /// Actions that could not be applied, as `SYMBOL EX-DATE why`.
    pub unapplied: Vec<String>,
    /// Ledger rows written or removed.
    pub changed: u64,
    /// Raw segments that were read for it.
    pub segments_read: u64,
}

/// Bring the curated tables and their ledger rows in line with what is raw.
pub fn curate_incremental(root: &DataRoot, db: &Db) -> Result<CurateReport> {
    curate(root, db, Depth::Incremental)
}

/// As [`curate_incremental`], with a choice of how much is verified.
pub fn curate(root: &DataRoot, db: &Db, depth: Depth) -> Result<CurateReport> {
    let config = AuditConfig::builtin()?;
    let (days, minutes) = Catalogue::load_both(root)?;
    let mut deps = Deps::load(root)?;
    let mut report = CurateReport::default();
    let doubtful = curate_days(root, db, &days, &config, depth, &mut deps, &mut report)?;
    minutes::curate(root, db, &minutes, &config, (depth, &doubtful), &mut deps, &mut report)?;
    Ok(report)
}

/// The day files; the symbols whose factors nobody can tell now, so that nothing may be made with them.
fn curate_days(
    root: &DataRoot,
    db: &Db,
    catalogue: &Catalogue,
    config: &AuditConfig,
    depth: Depth,
    deps: &mut Deps,
    report: &mut CurateReport,
) -> Result<BTreeSet<String>> {
    let actions = reference::load_actions(root)?;
    let planned = plan(catalogue, &actions)?;
    let lost = not_to_be_made(root, db, catalogue, &actions)?;
    let (held, rest): (Vec<_>, Vec<_>) = planned.iter().partition(|((symbol, _), _)| lost.contains(symbol));
    report.skipped.extend(held.iter().map(|(key, _)| (*key).clone()));
    let stale: BTreeMap<&(String, i16), &Planned> = rest.into_par_iter().filter(|(_, p)| !deps.is_current(root, p, depth)).collect();
    report.unchanged = (planned.len() - held.len() - stale.len()) as u64;
    let mut gone = vanished(root, table::CURATED_EQUITIES, planned.values(), depth, deps)?;
    for symbol in &lost {
        // A year whose only manifest is lost is planned by nobody, and stays all the same.
        let folder = format!("{}/sym={}/dt=", table::CURATED_EQUITIES, encode_symbol(symbol)?);
        let year = |p: &DataPath| p.as_str().strip_prefix(&folder).and_then(|rest| rest.get(..4)).and_then(|y| y.parse::<i16>().ok());
        report.skipped.extend(gone.iter().filter_map(year).map(|y| (symbol.clone(), y)));
        gone.retain(|p| year(p).is_none());
    }
    // What could not be told the last time is told now, unless the bars or actions that tell it are gone: without them it would
    // be told wrongly, and nothing would be unsure any more.
    let unsure: BTreeSet<String> = deps.unsure.difference(&lost).cloned().collect();
    if !stale.is_empty() || !gone.is_empty() || !unsure.is_empty() {
        begin(root, stale.values().copied(), &gone, deps, report)?;
        make::rebuild(&Sources { root, catalogue, actions: &actions, config }, &stale, &unsure, deps, report)?;
        deps.store(root)?;
    }
    let years = report.skipped.iter().map(|(symbol, year)| Ok((symbol.as_str(), reach(&[*year], false)?))).collect::<Result<Vec<_>>>()?;
    report.changed = partitions::mirror(db, (table::CURATED_EQUITIES, timeframe::DAY), &years)?;
    Ok(lost.into_iter().chain(deps.unsure.iter().cloned()).collect())
}

/// Mark what will be made and take away what nothing asks for, before the first file is touched: after a crash nobody takes a
/// half-made set for a whole one.
fn begin<'a>(root: &DataRoot, stale: impl Iterator<Item = &'a Planned>, gone: &[DataPath], deps: &mut Deps, report: &mut CurateReport) -> Result<()> {
    stale.for_each(|p| deps.mark_pending(p));
    deps.store(root)?;
    for path in gone {
        store::remove(root, path)?;
        deps.files.remove(path);
        report.removed += 1;
    }
    Ok(())
}

/// Symbols whose prices would be adjusted wrongly: their corporate actions were known once and are not readable now, or they
/// have actions and lost bars, on which the factors of earlier days depend. Their files stay as they are, and are not GREEN,
/// until the answer is back.
fn not_to_be_made(root: &DataRoot, db: &Db, catalogue: &Catalogue, actions: &BTreeMap<String, Vec<CorpAction>>) -> Result<BTreeSet<String>> {
    let manifests = segment::manifests_for(root, table::RAW_CORP_ACTIONS)?;
    let readable = lost::readable(root, manifests.iter().map(|(_, m)| m))?;
    let bars: Vec<_> = catalogue.manifests.iter().map(|(_, m)| m).collect();
    let mut out: BTreeSet<String> = lost::find(db, Some(dataset::CORP_ACTIONS), &readable)?.into_iter().map(|l| l.symbol).collect();
    out.extend(lost::find(db, Some(dataset::EQUITIES_EOD), &bars)?.into_iter().map(|l| l.symbol).filter(|s| actions.contains_key(s)));
    Ok(out)
}

/// A file to be there, and the digest of everything it is made from.
pub struct Planned {
    pub path: DataPath,
    pub inputs: String,
}

/// The file of a symbol's year.
pub fn path_of(symbol: &str, year: i16) -> Result<DataPath> {
    DataPath::new(format!("{}/sym={}/dt={year:04}/part-0.parquet", table::CURATED_EQUITIES, encode_symbol(symbol)?))
}

/// By symbol and year the first days of the segments that hold some of it, each with its place in a list.
type Held<'a> = BTreeMap<&'a str, BTreeMap<i16, Vec<(TradingDay, usize)>>>;

fn plan(catalogue: &Catalogue, actions: &BTreeMap<String, Vec<CorpAction>>) -> Result<BTreeMap<(String, i16), Planned>> {
    let mut lines: Vec<String> = Vec::new();
    let mut sources = Held::new();
    for (_, manifest) in &catalogue.manifests {
        for segment in manifest.segments.iter().filter(|s| s.t0 < s.t1) {
            lines.push(format!("{} {} {}", segment.sha256, manifest.vendor, manifest.complete));
            for symbol in &segment.symbols {
                for year in segment.t0.year()..=segment.t1.plus_days(-1).year() {
                    sources.entry(symbol).or_default().entry(year).or_default().push((segment.t0, lines.len() - 1));
                }
            }
        }
    }
    let line = |at: &usize| lines.get(*at).map_or("", String::as_str);
    let of_symbol = |(symbol, years): (&str, BTreeMap<i16, Vec<(TradingDay, usize)>>)| {
        let mut out = Vec::with_capacity(years.len());
        let events: Vec<_> = actions.get(symbol).into_iter().flatten().filter_map(CorpAction::effect).map(|a| (a.ex_date, a.factor, a.cash)).collect();
        for (year, own) in &years {
            // A dividend's factor needs the close before it, so the other years' segments that begin before the last one are
            // inputs as well. A new session begins after it, and changes its own year alone.
            let due: Vec<_> = events.iter().filter(|(ex, ..)| ex.year() >= *year).collect();
            let last_cash = due.iter().filter(|(_, _, cash)| *cash != 0.0).map(|(ex, ..)| *ex).max();
            let closes = |(y, held): (&i16, &Vec<(TradingDay, usize)>)| {
                let before: Vec<&str> = held.iter().filter(|(t0, _)| last_cash.is_some_and(|ex| *t0 < ex)).map(|(_, at)| line(at)).collect();
                (*y != *year && !before.is_empty()).then_some((*y, before))
            };
            let others: Vec<_> = years.iter().filter_map(closes).collect();
            let own: Vec<&str> = own.iter().map(|(_, at)| line(at)).collect();
            // Lists have no keys to sort: they are canonical as they are written.
            let parts = serde_json::to_string(&("equities_ohlcv_adj 1", own, &due, &others))?;
            let inputs = store::sha256_hex((parts + &catalogue.tickers.words(symbol)).as_bytes());
            out.push(((symbol.to_string(), *year), Planned { path: path_of(symbol, *year)?, inputs }));
        }
        Ok(out)
    };
    let planned: Vec<Vec<_>> = sources.into_par_iter().map(of_symbol).collect::<Result<_>>()?;
    Ok(planned.into_iter().flatten().collect())
}

/// Files of a table, and records of files, that nothing asks for any more. A file that no record knows is looked for where every file
/// is read anyway, and where there are no records.
fn vanished<'a>(root: &DataRoot, table: &str, planned: impl Iterator<Item = &'a Planned>, depth: Depth, deps: &Deps) -> Result<Vec<DataPath>> {
    let wanted: HashSet<&DataPath> = planned.map(|p| &p.path).collect();
    let recorded: Vec<&DataPath> = deps.files.keys().filter(|p| p.as_str().starts_with(table)).collect();
    let mut out: BTreeSet<DataPath> = BTreeSet::new();
    if depth == Depth::Full || recorded.is_empty() {
        out.extend(store::list(root, &DataPath::new(table)?)?.into_iter().filter(|p| !wanted.contains(p)));
    }
    out.extend(recorded.into_iter().filter(|p| !wanted.contains(p)).cloned());
    Ok(out.into_iter().collect())
}

type Job<'a> = (&'a Planned, Option<Vec<u8>>);

/// Write the files that differ from what is there, all together: waiting for the drive is what costs.
fn write_all<'a>(root: &DataRoot, jobs: Vec<Job<'a>>) -> Result<Vec<(&'a Planned, Output, bool)>> {
    let looked = jobs.par_iter().map(|(planned, bytes)| match bytes {
        Some(bytes) => Ok(Some((store::read(root, &planned.path)?.as_ref() != Some(bytes), store::sha256_hex(bytes)))),
        None => Ok(None),
    });
    let looked = looked.collect::<Result<Vec<_>>>()?;
    let mut out = Vec::with_capacity(jobs.len());
    let mut fresh: Vec<(&DataPath, &[u8])> = Vec::new();
    for ((planned, bytes), looked) in jobs.iter().zip(looked) {
        let inputs = planned.inputs.clone();
        let (Some(bytes), Some((written, sha256))) = (bytes, looked) else {
            store::remove(root, &planned.path)?;
            out.push((*planned, Output { inputs, sha256: Some(String::new()), bytes: 0 }, false));
            continue;
        };
        if written {
            fresh.push((&planned.path, bytes));
        }
        out.push((*planned, Output { inputs, sha256: Some(sha256), bytes: bytes.len() as u64 }, written));
    }
    store::write_all(root, &fresh)?;
    Ok(out)
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
