//! Making the day files that are stale: what is read for them, and what comes of it.

use super::adjust::{Adjusted, Step};
use super::rows::{self, Columns, Piece};
use super::table_file;
use super::{CurateReport, Deps, Planned, write_all};
use crate::audit::AuditConfig;
use crate::audit::bars::{Catalogue, Damaged};
use crate::audit::sheets::Sheets;
use crate::error::{Error, Result};
use crate::frame::{self, DataFrame};
use crate::qc::Action;
use crate::reference::CorpAction;
use crate::root::DataRoot;
use crate::time::{DateRange, TradingDay};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Symbols whose rows are in memory at once.
const SYMBOLS_AT_ONCE: usize = 200;

/// What curated days are made from.
pub(super) struct Sources<'a> {
    pub root: &'a DataRoot,
    pub catalogue: &'a Catalogue,
    pub actions: &'a BTreeMap<String, Vec<CorpAction>>,
    pub config: &'a AuditConfig,
}

/// Make the stale files, and tell the steps of the `unsure` symbols, also where no file of theirs has to be made.
pub(super) fn rebuild(
    from: &Sources<'_>,
    stale: &BTreeMap<&(String, i16), &Planned>,
    unsure: &BTreeSet<String>,
    deps: &mut Deps,
    report: &mut CurateReport,
) -> Result<()> {
    let mut by_symbol: BTreeMap<&str, Vec<i16>> = BTreeMap::new();
    stale.keys().for_each(|(symbol, year)| by_symbol.entry(symbol).or_default().push(*year));
    for symbol in unsure {
        by_symbol.entry(symbol).or_default();
    }
    let symbols: Vec<(&str, Vec<i16>)> = by_symbol.into_iter().collect();
    let renamed = from.catalogue.renamed();
    for batch in symbols.chunks(SYMBOLS_AT_ONCE) {
        from.root.host().check_cancelled()?;
        let held = from.read(batch, unsure)?;
        report.segments_read += held.together.segments_read + held.before.values().map(|s| s.segments_read).sum::<u64>();
        let raw = batch.iter().map(|(symbol, years)| held.of(symbol, years, from, report)).collect::<Vec<_>>();
        let jobs = raw.into_par_iter().map(|raw| {
            let renamed = renamed.contains(raw.symbol);
            raw.made(from.catalogue, renamed, from.config)
        });
        let mut files = Vec::new();
        for made in jobs.collect::<Result<Vec<_>>>()? {
            report.unapplied.extend(made.unapplied.iter().map(|why| format!("{} {why}", made.symbol)));
            deps.keep_steps(made.symbol, made.first, &made.steps, made.unknown);
            for (year, bytes) in made.years {
                let planned = stale.get(&(made.symbol.to_string(), year)).ok_or_else(|| Error::bug("a curated file that was not planned"))?;
                files.push((*planned, bytes));
            }
        }
        for (planned, output, written) in write_all(from.root, files)? {
            deps.files.insert(planned.path.clone(), output);
            *(if written { &mut report.rewritten } else { &mut report.unchanged }) += 1;
        }
    }
    Ok(())
}

/// Segments that some symbols are made from.
struct Held {
    /// The first day of each symbol's years that are made, and the days that are read for them.
    reach: BTreeMap<String, (TradingDay, DateRange)>,
    together: Sheets,
    /// By symbol, all that is older: the close before the year is further away than a year, or there is none.
    before: BTreeMap<String, Sheets>,
}

impl Sources<'_> {
    fn read(&self, batch: &[(&str, Vec<i16>)], unsure: &BTreeSet<String>) -> Result<Held> {
        let mut reach_of = BTreeMap::new();
        for (symbol, years) in batch {
            // Of a symbol whose steps were never told everything is read.
            let all = DateRange { start: TradingDay(0), end: TradingDay(40_000) };
            let of =
                if unsure.contains(*symbol) { (all.start, all) } else { (reach(&years[..1], false)?.start, reach(years, self.actions.contains_key(*symbol))?) };
            reach_of.insert((*symbol).to_string(), of);
        }
        let wanted: BTreeMap<String, DateRange> = reach_of.iter().map(|(symbol, (_, days))| (symbol.clone(), *days)).collect();
        let together = Sheets::read(self.root, self.catalogue, &wanted)?;
        let mut held = Held { reach: reach_of, together, before: BTreeMap::new() };
        for (symbol, _) in batch.iter().filter(|(symbol, _)| self.actions.contains_key(*symbol)) {
            let (first, _) = held.reach[*symbol];
            if !held.pieces(symbol).any(|piece| piece.has_before(first, symbol, self.catalogue)) {
                let ever = BTreeMap::from([((*symbol).to_string(), DateRange { start: TradingDay(0), end: first })]);
                held.before.insert((*symbol).to_string(), Sheets::read(self.root, self.catalogue, &ever)?);
            }
        }
        Ok(held)
    }
}

impl Held {
    fn pieces<'a>(&'a self, symbol: &'a str) -> impl Iterator<Item = Piece<'a>> {
        let (first, days) = self.reach.get(symbol).copied().unwrap_or((TradingDay(0), DateRange { start: TradingDay(0), end: TradingDay(0) }));
        let older = DateRange { start: TradingDay(0), end: first };
        let together = self.together.of(symbol).map(move |(sheet, from, to)| Piece { sheet, from, to, days });
        let before = self.before.get(symbol).into_iter().flat_map(move |sheets| sheets.of(symbol));
        together.chain(before.map(move |(sheet, from, to)| Piece { sheet, from, to, days: older }))
    }

    /// What a symbol's years are made from; those that damage reaches are left out, and reported.
    fn of<'a>(&'a self, symbol: &'a str, years: &[i16], from: &Sources<'_>, report: &mut CurateReport) -> Raw<'a> {
        let events: Vec<Action> = from.actions.get(symbol).into_iter().flatten().filter_map(CorpAction::effect).collect();
        // The factors of a year's prices come from the closes of later ones, and the first bar of a year has the dividends since
        // the last bar of the year before.
        let reaches = |d: &Damaged, year: i16| {
            let (first, last) = (d.days.start.year(), d.days.end.plus_days(-1).year());
            if events.is_empty() { first <= year && year <= last } else { year <= last + 1 }
        };
        // What was damaged among the older segments of one symbol counts for those after it in the batch as well.
        let older = self.before.range(..=symbol.to_string()).flat_map(|(_, sheets)| &sheets.damaged);
        let damaged: Vec<&Damaged> = self.together.damaged.iter().chain(older).filter(|d| d.symbols.contains(symbol)).collect();
        let (hurt, years): (Vec<i16>, Vec<i16>) = years.iter().partition(|year| damaged.iter().any(|d| reaches(d, **year)));
        report.skipped.extend(hurt.into_iter().map(|year| (symbol.to_string(), year)));
        let unknown = !damaged.is_empty() && !events.is_empty();
        let first = self.reach.get(symbol).map_or(TradingDay(0), |(first, _)| *first);
        Raw { symbol, first, unknown, years, pieces: self.pieces(symbol).collect(), events }
    }
}

/// What the years of a symbol are made from.
struct Raw<'a> {
    symbol: &'a str,
    /// The first day of the years that are made.
    first: TradingDay,
    /// Whether its steps cannot be told.
    unknown: bool,
    years: Vec<i16>,
    pieces: Vec<Piece<'a>>,
    events: Vec<Action>,
}

/// Files of a symbol by year (`None`: there is no row), and what was learnt of its actions.
struct Made<'a> {
    symbol: &'a str,
    first: TradingDay,
    unknown: bool,
    years: Vec<(i16, Option<Vec<u8>>)>,
    steps: Vec<Step>,
    unapplied: Vec<String>,
}

impl<'a> Raw<'a> {
    /// `renamed`: rows under the symbol may be another company's, so that somebody has to choose.
    fn made(self, catalogue: &Catalogue, renamed: bool, config: &AuditConfig) -> Result<Made<'a>> {
        let tables: Vec<DataFrame> = self.pieces.iter().map(|p| frame::rows(p.sheet.table(), p.from, p.to - p.from)).collect();
        let columns = self.pieces.iter().zip(&tables).map(|(piece, table)| Ok((*piece, Columns::of(table)?))).collect::<Result<Vec<_>>>()?;
        let plain = if renamed { None } else { rows::plain(&columns, catalogue) };
        let series;
        let rows = match plain {
            Some(rows) => rows,
            None => {
                series = rows::chosen(self.symbol, &self.pieces, catalogue, &config.source_order)?;
                rows::of_series(&series)
            }
        };
        let adjusted = Adjusted::of(rows, &self.events);
        let bytes = |year: &i16| Ok((*year, table_file::bytes(self.symbol, *year, &adjusted)?));
        let years = self.years.iter().map(bytes).collect::<Result<_>>()?;
        Ok(Made { symbol: self.symbol, first: self.first, unknown: self.unknown, years, steps: adjusted.steps, unapplied: adjusted.unapplied })
    }
}

/// The days to read so that these years of a symbol (in order) can be made. With actions the later years are read as well,
/// and the year before: a dividend's factor needs the close before its ex-date. What is older has no say.
pub(super) fn reach(years: &[i16], has_actions: bool) -> Result<DateRange> {
    let january = |year: i16| TradingDay::ymd(year, 1, 1).ok_or_else(|| Error::bug("a year outside the calendar"));
    let (first, last) = (years.iter().min().copied().unwrap_or(1970), years.iter().max().copied().unwrap_or(1970));
    if has_actions { DateRange::new(january(first - 1)?, TradingDay(40_000)) } else { DateRange::new(january(first)?, january(last + 1)?) }
}
