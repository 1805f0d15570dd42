//! The audit: expected against present, by reading contents.
//!
//! Expected = the exchange's sessions x the listing intervals of the stage's symbols, never what arrived. Present = rows
//! of segments whose bytes were read and hashed. Every expected (symbol, session) pair gets one row in the ledger.

use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::ledger::digests::Series;
use crate::ledger::{self, Coverage, Row, Sheet, Trust, scope::Scope};
use crate::qc::{Action, QcCode};
use crate::reference::{self, ListingSpans, ReferenceReport};
use crate::root::{DataPath, DataRoot};
use crate::schema::{dataset, table, timeframe};
use crate::segment;
use crate::stage;
use crate::store;
use crate::tickers::Tickers;
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

pub mod bars;
pub(crate) mod sheets;
mod compare;
mod config;
mod gaps;
pub(crate) mod minutes;
mod plan;
mod shut;
pub(crate) mod state;
mod verdict;

pub use compare::{Apart, Compared, Distance, Pair, compare};
pub use config::AuditConfig;
pub use gaps::{Gap, Gaps, gaps};
pub use plan::AuditScope;

/// What an audit found and changed.
#[derive(Clone, Debug, Default)]
pub struct AuditReport {
    /// The days the ledger now answers for.
    pub scope: Option<Scope>,
    pub symbols_judged: usize,
    pub partitions_judged: u64,
    /// Ledger rows written or removed.
    pub changed: u64,
    pub segments_read: u64,
    pub bytes_read: u64,
    /// Segments whose bytes are not what their manifest says.
    pub damaged: Vec<(String, QcCode)>,
    /// Bars whose values a later answer of the same vendor changed.
    pub revisions: u64,
    /// Stored bars on days on which the symbol was not listed.
    pub unexpected_bars: u64,
    /// Closes on which two sources differ by more than the note threshold.
    pub close_notes: u64,
    /// Sessions of the window that have not happened yet.
    pub pending_sessions: u64,
    /// Coverage of the day bars of `raw/equities_bars` over the window that was asked about.
    pub coverage: Coverage,
    /// The same of the minute bars; nothing is expected where no minutes are collected.
    pub minutes: Coverage,
    /// What is worth asking a vendor for again.
    pub gaps: Vec<Gap>,
    /// Corporate actions that are in doubt.
    pub doubts: usize,
    /// What is worth asking another vendor for.
    pub elsewhere: Vec<Gap>,
}

/// Audit: read what is new (or everything), bring `partition_status` in line, and list the gaps. `refreshed` is what the making of
/// the reference tables has just found: an answer that it could not use vouches for nothing. `asof` is the last session that is
/// due; sessions of `window` after it are pending.
pub fn audit_scan(root: &DataRoot, db: &Db, refreshed: &ReferenceReport, scope: AuditScope, asof: TradingDay, window: DateRange) -> Result<AuditReport> {
    let config = &AuditConfig::builtin()?;
    let stage = stage::load(root)?;
    let calendar = Calendar::xnys();
    let asked = Scope { start: window.start, asof: asof.min(window.end.plus_days(-1)) };
    // What was judged while a clock ran ahead is not expected yet: the scope comes back, and the rows beyond it go.
    let over = calendar.last_closed(root.host().now())?.max(asked.asof);
    let judged = ledger::scope::in_db(&*db.lock()?)?;
    let known = judged.map(|s| s.up_to(over));
    let whole = asked.join(known).join(ledger::scope::on_drive(root)?.map(|s| s.up_to(over)));
    ledger::scope::set_on_drive(root, whole)?;
    let too_far = judged.is_some_and(|s| s.asof > whole.asof);

    let mut report = AuditReport { scope: Some(whole), doubts: refreshed.doubts, ..AuditReport::default() };
    let pending = DateRange { start: asof.plus_days(1).max(window.start), end: window.end };
    report.pending_sessions = calendar.sessions(pending).len() as u64;
    let (catalogue, minutes) = bars::Catalogue::load_both(root)?;
    let gone = state::gone(root, db)?;
    let scope = if gone.is_empty() { scope } else { AuditScope::Full };
    let symbols = if stage.is_active(dataset::EQUITIES_EOD) { stage.universe.symbols.clone() } else { Vec::new() };
    let shut = |of: &bars::Catalogue, tf: &str| shut::Shut::load(root, db, tf, &of.vendors(), whole.asof);
    let facts = Facts {
        spans: ListingSpans::load(root)?,
        tickers: catalogue.tickers.clone(),
        actions: effects(root)?,
        doubts: doubts(root)?,
        shut: shut(&catalogue, timeframe::DAY)?,
        shut_minutes: shut(&minutes, timeframe::MINUTE)?,
    };
    let mut plan = plan::make(root, db, &catalogue, &facts, &symbols, scope, known, whole)?;

    judge(root, db, &catalogue, &facts, &mut plan, config, &mut report)?;
    if too_far {
        report.changed += ledger::forget_from(db, table::RAW_EQUITIES_BARS, timeframe::DAY, whole.window().end)?;
    }
    plan::finish(db, &catalogue, &plan, whole)?;
    let minute_window = minutes::window_of(root, &stage, whole.window())?;
    let task = minutes::Task {
        root,
        db,
        days: &catalogue,
        minutes: &minutes,
        facts: &facts,
        config,
        symbols: minute_window.map_or(&[][..], |_| &symbols),
        window: minute_window.unwrap_or(DateRange { start: whole.start, end: whole.start }),
        depth: scope,
        touched: &plan.touched,
    };
    task.run(&mut report)?;
    state::forget(db, &gone)?;
    report.changed += reference::audit_partitions(root, db, &stage, calendar.sessions(whole.window()), &refreshed.damaged, scope == AuditScope::Full)?;
    report.coverage = ledger::coverage_kept(db, table::RAW_EQUITIES_BARS, timeframe::DAY, window)?;
    report.minutes = ledger::coverage_kept(db, table::RAW_EQUITIES_BARS, timeframe::MINUTE, window)?;
    let mut gaps = gaps::gaps(root, db, &catalogue, dataset::EQUITIES_EOD, window)?;
    gaps.extend(gaps::gaps(root, db, &minutes, dataset::EQUITIES_MINUTE, window)?);
    (report.gaps, report.elsewhere) = (gaps.again, gaps.elsewhere);
    Ok(report)
}

/// What the reference tables say.
pub(crate) struct Facts {
    pub spans: ListingSpans,
    pub tickers: Tickers,
    pub actions: BTreeMap<String, Vec<Action>>,
    /// Sessions of a symbol on which an action is in doubt.
    pub doubts: BTreeMap<String, BTreeMap<TradingDay, QcCode>>,
    /// Days whose day bars, and whose minutes, nobody may be asked for.
    pub shut: shut::Shut,
    pub shut_minutes: shut::Shut,
}

/// The session on which each doubtful action shows in the prices. An action that is not applied weighs more than two that differ.
fn doubts(root: &DataRoot) -> Result<BTreeMap<String, BTreeMap<TradingDay, QcCode>>> {
    let mut out: BTreeMap<String, BTreeMap<TradingDay, QcCode>> = BTreeMap::new();
    for d in reference::load_doubts(root)? {
        let code = out.entry(d.symbol.clone()).or_default().entry(d.session()?).or_insert(d.code);
        *code = (*code).max(d.code);
    }
    Ok(out)
}

fn effects(root: &DataRoot) -> Result<BTreeMap<String, Vec<Action>>> {
    let all = reference::load_actions(root)?;
    Ok(all.into_iter().map(|(symbol, list)| (symbol, list.iter().filter_map(reference::CorpAction::effect).collect())).collect())
}

/// Judge the planned (symbol, days) rectangles and write the differences.
fn judge(
    root: &DataRoot,
    db: &Db,
    catalogue: &bars::Catalogue,
    facts: &Facts,
    plan: &mut plan::Plan,
    config: &AuditConfig,
    report: &mut AuditReport,
) -> Result<()> {
    let mut collected = bars::collect(root, catalogue, &plan.reach)?;
    plan.reach_further(root, catalogue, &mut collected)?;
    (report.segments_read, report.bytes_read) = (collected.segments_read, collected.bytes_read);
    report.damaged = collected.damaged.iter().map(|d| (d.path.to_string(), d.code)).collect();
    let asks = catalogue.asks(&plan.dirty);
    let lost = lost_of(root, db, catalogue, dataset::EQUITIES_EOD, plan.depth)?;
    let mut found = Found::new(plan.depth, timeframe::DAY);
    for (symbol, days) in &plan.dirty {
        root.host().check_cancelled()?;
        let series = bars::resolve(collected.rows.remove(symbol).unwrap_or_default(), catalogue, &config.source_order);
        let of_others = bars::resolve(collected.of_others.remove(symbol).unwrap_or_default(), catalogue, &config.source_order);
        let input = verdict::Input {
            symbol,
            days: *days,
            spans: facts.spans.spans(symbol),
            actions: facts.actions.get(symbol).map_or(&[][..], Vec::as_slice),
            doubts: facts.doubts.get(symbol),
            asks: asks.get(symbol.as_str()).map_or(&[][..], Vec::as_slice),
            damaged: &collected.damaged,
            lost: &lost,
            series: &series,
            of_others: &of_others,
            tickers: &facts.tickers,
            shut: &facts.shut,
        };
        let judged = verdict::judge(&input, config);
        report.symbols_judged += 1;
        report.partitions_judged += judged.rows.len() as u64;
        report.revisions += judged.revisions;
        report.unexpected_bars += judged.unexpected_bars;
        report.close_notes += judged.close_notes;
        found.judged(symbol, *days, judged.rows);
        report.changed += found.write_if_many(db)?;
    }
    for symbol in &plan.dropped {
        found.nothing(symbol, EVER);
    }
    report.changed += found.write(db)?;
    Ok(())
}

/// Answers that are gone and would supersede what is judged. They are looked for where everything is judged, as it is when a
/// manifest has gone, and as long as one was ever set aside: on a drive without damage this costs nothing.
pub(crate) fn lost_of(root: &DataRoot, db: &Db, catalogue: &bars::Catalogue, dataset: &str, depth: AuditScope) -> Result<Vec<bars::Damaged>> {
    let aside = |path: &DataPath| path.file_name().starts_with("manifests~");
    if depth == AuditScope::Incremental && !store::list(root, &DataPath::new(segment::ASIDE)?)?.iter().any(aside) {
        return Ok(Vec::new());
    }
    catalogue.lost(db, dataset)
}

/// All days that a ledger may hold.
pub(crate) const EVER: DateRange = DateRange { start: TradingDay(0), end: TradingDay(40_000) };

/// What an audit found of raw bars of one time frame, on its way into the ledger.
pub(crate) struct Found {
    tf: &'static str,
    trust: Trust,
    /// Rows of a series, and whether they are expected again.
    series: Vec<(Series, Vec<Row>, bool)>,
    rows: usize,
}

impl Found {
    /// An incremental audit reads nothing where the ledger is known to say what was found; a full one reads the rows themselves,
    /// which somebody else may have changed.
    pub fn new(depth: AuditScope, tf: &'static str) -> Self {
        let trust = if depth == AuditScope::Full { Trust::Nobody } else { Trust::Digests };
        Self { tf, trust, series: Vec::new(), rows: 0 }
    }
    fn series(&self, symbol: &str, days: DateRange) -> Series {
        Series { table: table::RAW_EQUITIES_BARS.into(), symbol: symbol.into(), key: self.tf.into(), days }
    }
    /// The verdicts on a symbol's days.
    pub fn judged(&mut self, symbol: &str, days: DateRange, rows: Vec<Row>) {
        self.rows += rows.len();
        self.series.push((self.series(symbol, days), rows, true));
    }
    /// Days of a symbol that are not expected.
    pub fn nothing(&mut self, symbol: &str, days: DateRange) {
        self.series.push((self.series(symbol, days), Vec::new(), false));
    }
    pub fn write_if_many(&mut self, db: &Db) -> Result<u64> {
        if self.rows < ledger::ROWS_PER_COMMIT { Ok(0) } else { self.write(db) }
    }
    /// Bring the ledger in line; how many rows changed.
    pub fn write(&mut self, db: &Db) -> Result<u64> {
        let all = std::mem::take(&mut self.series);
        self.rows = 0;
        let sheets: Vec<Sheet<'_>> =
            all.iter().map(|(series, rows, kept)| Sheet { series: series.clone(), lines: rows.iter().map(Row::line).collect(), kept: *kept }).collect();
        ledger::bring(db, &sheets, self.trust)
    }
}

#[cfg(test)]
mod lost_tests;
#[cfg(test)]
mod tests;
