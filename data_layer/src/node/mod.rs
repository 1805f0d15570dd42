//! The data node's work: what is asked for, what is judged, what is asked for again, what is made of it.
//!
//! The wizard does these once, step by step; [`Service`] does them for years, in four loops.

use crate::audit::{self, AuditReport, AuditScope, Gap};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::curate::{self, CurateReport, Depth};
use crate::error::{Error, Result, code};
use crate::export;
use crate::host::Host;
use crate::ledger;
use crate::qc::QcCode;
use crate::queue::{self, Kind, NewTask, SeedReport};
use crate::reference::{self, ListingSpans, Memory};
use crate::root::DataRoot;
use crate::scheduler::{self, DrainProgress, DrainReport, DrainUntil, IngestContext};
use crate::schema::{dataset, table};
use crate::sourcing::{BackfillConfig, Endpoints};
use crate::stage::{self, Stage};
use crate::time::{DateRange, TradingDay};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;

mod actions;
mod clock;
mod companies;
mod damaged;
mod forward;
mod known;
mod lanes;
mod runs;
mod schedule;
mod service;
mod stages;

pub use clock::Belief;
pub use lanes::{LaneStanding, lanes};
pub use runs::{Run, RunState, newest as newest_runs};
pub use schedule::{Loop, Times};
pub use service::{LoopBeat, Round, Service, beats};
pub use stages::{Decision, Names, decide};

/// Rounds of "ask again for what is missing" before what is missing is reported.
const HEALING_ROUNDS: usize = 2;
/// How far back a macro series is asked for again each session. A value is published weeks after the month that it is of (a quarter's, up to
/// four months), and corrected for a year.
const MACRO_DAYS: i32 = 400;
/// The same with a month's first session: yearly revisions reach five years back.
const MACRO_DAYS_MONTHLY: i32 = 2_200;
/// Seconds after a close at which a session's data exists at the earliest.
const SETTLING_SECONDS: i64 = 16 * 60;
/// Names that a weekly probe compares between two vendors, and sessions of each.
const PROBED: (usize, i32) = (5, 7);

/// The last session that the vendors may be asked for now.
pub fn newest_due(host: &Host) -> Result<TradingDay> {
    Calendar::xnys().last_closed(host.now().plus_seconds(-SETTLING_SECONDS))
}

/// The tasks of a bootstrap: the dated listing, corporate actions, every symbol's years, and what stands beside prices.
pub fn bootstrap(root: &DataRoot, endpoints: &Endpoints, stage: &Stage, window: DateRange, run: Option<&str>) -> Result<Vec<NewTask>> {
    let symbols = &stage.universe.symbols;
    // The listing is asked for at the window's end only: one dated call tells who is listed and who has left.
    let asof = window.end.plus_days(-1);
    let mut tasks = scheduler::listing_tasks(endpoints, &[asof], Kind::Bootstrap, run)?;
    let listings = ListingSpans::load(root)?;
    for name in [dataset::CORP_ACTIONS, dataset::EQUITIES_EOD, dataset::EQUITIES_MINUTE] {
        if stage.is_active(name) && (name != dataset::EQUITIES_MINUTE || stage.lanes.contains_key(name)) {
            let Some(window) = (if name == dataset::EQUITIES_MINUTE { minutes_of(endpoints, stage, window)? } else { Some(window) }) else { continue };
            let mut some = scheduler::bootstrap_tasks(endpoints, name, symbols, window, Kind::Bootstrap, run).tasks;
            // Of a name that has left, or came later, no year is asked for in which it was not listed.
            some.retain(|t| name == dataset::CORP_ACTIONS || listings.overlaps(&t.symbol, t.range));
            if name == dataset::CORP_ACTIONS {
                actions::look_ahead(&mut some, window.end);
            }
            tasks.extend(some);
        }
    }
    tasks.extend(beside_the_prices(root, endpoints, stage, window, Kind::Bootstrap, run)?);
    Ok(tasks)
}

/// The part of a window whose minutes are expected.
fn minutes_of(endpoints: &Endpoints, stage: &Stage, window: DateRange) -> Result<Option<DateRange>> {
    let from = stage.minutes_from(endpoints)?;
    Ok(from.map(|from| DateRange { start: from.max(window.start), ..window }).filter(|w| w.start < w.end))
}

/// Macro series, the index's history and the calendar of reports, where the key was found able to have them.
fn beside_the_prices(root: &DataRoot, endpoints: &Endpoints, stage: &Stage, window: DateRange, kind: Kind, run: Option<&str>) -> Result<Vec<NewTask>> {
    let open = |name: &str| stage.lanes.contains_key(name) && stage.is_active(name);
    let mut tasks = Vec::new();
    if open(dataset::MACROS_FRED) {
        let wish = BackfillConfig::load(root)?.datasets.remove(dataset::MACROS_FRED).unwrap_or_default();
        tasks.extend(scheduler::macro_tasks(endpoints, &wish.series, window, kind, run)?);
    }
    if open(dataset::INDEX_MEMBERSHIP) {
        tasks.push(scheduler::market_task(endpoints, dataset::INDEX_MEMBERSHIP, window, kind, run)?);
    }
    if open(dataset::EARNINGS_CALENDAR) {
        let today = window.end.plus_days(-1);
        let ahead = DateRange::new(today, today.plus_days(companies::CALENDAR_DAYS))?;
        tasks.push(scheduler::market_task(endpoints, dataset::EARNINGS_CALENDAR, ahead, kind, run)?);
    }
    Ok(tasks)
}

/// Sessions, and as far before them as their publications may be about.
fn with_revisions(missed: DateRange) -> Result<DateRange> {
    let month = |d: TradingDay| (d.year(), d.month());
    let mut begins_a_month = false;
    for session in Calendar::xnys().sessions(missed) {
        begins_a_month |= month(Calendar::xnys().previous(*session)?) != month(*session);
    }
    let back = if begins_a_month { MACRO_DAYS_MONTHLY } else { MACRO_DAYS };
    DateRange::new(missed.start.plus_days(-back), missed.end)
}

/// Rows that wait or are being worked on, through the index over the state of rows.
const WAITING: &str = "SELECT dataset, symbol, start_date, end_date FROM backfill_queue WHERE status IN ('PENDING', 'LEASED')";

/// What an audit with healing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    pub partitions: u64,
    /// Rows that came when asked again.
    pub healed: u64,
    pub still_missing: u64,
}

/// A drive, its vendors and its database.
pub struct Node {
    pub ctx: IngestContext,
    /// What audits have read of the answers that every session brings anew.
    memory: Mutex<Memory>,
}

impl Node {
    pub fn new(ctx: IngestContext) -> Self {
        Self { ctx, memory: Mutex::default() }
    }
    pub fn host(&self) -> &Host {
        self.ctx.host()
    }
    pub fn root(&self) -> &DataRoot {
        &self.ctx.root
    }
    pub fn db(&self) -> &Db {
        &self.ctx.db
    }
    fn endpoints(&self) -> &Endpoints {
        &self.ctx.vendors().endpoints
    }

    // --- what is asked for ------------------------------------------------------------------------------------------

    /// [`bootstrap`] with this node's lanes.
    pub fn bootstrap(&self, stage: &Stage, window: DateRange, run: Option<&str>) -> Result<Vec<NewTask>> {
        bootstrap(self.root(), self.endpoints(), stage, window, run)
    }

    pub fn seed(&self, tasks: &[NewTask]) -> Result<SeedReport> {
        let now = self.host().now();
        self.db().write(|tx| queue::seed(tx, now, tasks))
    }

    /// What the ledger answers for; before the first audit, what the bootstrap was told to fetch. A drive that knows
    /// neither has nothing to go on from. Sessions that are not over are not held, whatever a clock that ran ahead once said.
    pub fn held(&self) -> Result<DateRange> {
        let DateRange { start, end } = self.answered_for()?;
        let over = newest_due(self.host())?.plus_days(1);
        Ok(DateRange { start, end: end.min(over).max(start.plus_days(1)) })
    }

    fn answered_for(&self) -> Result<DateRange> {
        if let Some(held) = ledger::held(self.db(), table::RAW_EQUITIES_BARS)? {
            return Ok(held);
        }
        let asked: (Option<String>, Option<String>) = self.db().lock()?.query_row(
            "SELECT min(start_date), max(end_date) FROM backfill_queue WHERE dataset = ?1 AND kind = 'BOOTSTRAP'",
            [dataset::EQUITIES_EOD],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?;
        match asked {
            (Some(start), Some(end)) => DateRange::new(start.parse()?, end.parse()?),
            _ => Err(Error::new(code::DATA_MISSING, "this drive was never filled").fix("trademl pi-data-node")),
        }
    }

    /// The years that a stage asks for, as far back as some vendor's lane reaches.
    pub fn stage_window(&self, stage: &Stage) -> Result<DateRange> {
        let end = newest_due(self.host())?.plus_days(1);
        let wanted = end.minus_years(i16::try_from(stage.target()?.eod_years).unwrap_or(i16::MAX));
        let lanes = self.endpoints().routes(dataset::EQUITIES_EOD, end.plus_days(-1));
        let depths: Option<Vec<TradingDay>> = lanes.iter().map(|entry| self.endpoints().depth(entry)).collect();
        let reach = depths.and_then(|all| all.into_iter().min());
        DateRange::new(reach.map_or(wanted, |depth| depth.max(wanted)), end)
    }

    /// The window that is judged now: all that is held and all that the stage asks for, up to the newest session that is
    /// due.
    pub fn window(&self) -> Result<DateRange> {
        let (held, asked) = (self.held()?, self.stage_window(&stage::load(self.root())?)?);
        Ok(DateRange { start: held.start.min(asked.start), end: held.end.max(asked.end) })
    }

    /// Rows for every session since the last for which there are some, or that the ledger does not answer for. A session that an
    /// audit found missing before it was asked for is asked for all the same: its list of names and its calendar of reports
    /// are to be had on that day only.
    pub fn seed_forward(&self) -> Result<SeedReport> {
        let (asof, held, known) = (newest_due(self.host())?, self.held()?.end, forward::seeded_until(self.db())?);
        let Ok(missed) = DateRange::new(known.map_or(held, |until| until.min(held)), asof.plus_days(1)) else {
            if known.is_none() {
                self.db().write(|tx| forward::seeded(tx, held))?;
            }
            return Ok(SeedReport::default());
        };
        let stage = stage::load(self.root())?;
        let listings = ListingSpans::load(self.root())?;
        // Names that are certainly not listed on any of these sessions have no bars to be asked for.
        let symbols: &Vec<String> = &stage.universe.symbols.iter().filter(|s| listings.overlaps(s, missed)).cloned().collect();
        let mut tasks = scheduler::listing_tasks(self.endpoints(), &[asof], Kind::Forward, None)?;
        let minutes = minutes_of(self.endpoints(), &stage, missed)?;
        for session in Calendar::xnys().sessions(missed) {
            tasks.extend(scheduler::forward_tasks(self.endpoints(), dataset::EQUITIES_EOD, symbols, *session, None)?);
            if minutes.is_some_and(|w| w.contains(*session)) {
                tasks.extend(scheduler::forward_tasks(self.endpoints(), dataset::EQUITIES_MINUTE, symbols, *session, None)?);
            }
        }
        tasks.extend(actions::again(self.endpoints(), &stage, missed));
        tasks.extend(self.chains(asof)?);
        tasks.extend(beside_the_prices(self.root(), self.endpoints(), &stage, with_revisions(missed)?, Kind::Forward, None)?);
        let now = self.host().now();
        self.db().write(|tx| {
            forward::seeded(tx, missed.end)?;
            queue::seed(tx, now, &tasks)
        })
    }

    /// Ask again for what an audit missed, unless it is on its way: a row that waits covers the window. What a vendor has said
    /// twice that it does not have is asked of the next one. What every vendor's plan refuses waits until a lane opens: then the ledger
    /// says so, and it is asked for.
    pub fn seed_gaps(&self, audited: &AuditReport) -> Result<SeedReport> {
        let waiting = self.waiting()?;
        let on_its_way = |gap: &&Gap| {
            let windows = waiting.get(&(gap.dataset.clone(), gap.symbol.clone()));
            windows.is_some_and(|all| all.iter().any(|w| w.start <= gap.range.start && gap.range.end <= w.end))
        };
        let refused =
            |gap: &&Gap| gap.qc_code == QcCode::NotEntitled.as_str() && self.endpoints().open_routes(&gap.dataset, gap.range.end.plus_days(-1)).is_empty();
        let tasks: Vec<NewTask> = audited
            .gaps
            .iter()
            .filter(|gap| !on_its_way(gap) && !refused(gap))
            .flat_map(|gap| {
                let symbol = std::slice::from_ref(&gap.symbol);
                scheduler::bootstrap_tasks(self.endpoints(), &gap.dataset, symbol, gap.range, Kind::Gap, None).tasks
            })
            .chain(
                audited
                    .elsewhere
                    .iter()
                    .filter(|gap| !on_its_way(gap))
                    .filter_map(|gap| scheduler::second_opinion(self.endpoints(), &gap.dataset, &gap.symbol, gap.range, &gap.answered, self.host().now())),
            )
            .collect();
        self.seed(&tasks)
    }

    /// Windows of the rows that wait or are being worked on, by dataset and symbol.
    fn waiting(&self) -> Result<BTreeMap<(String, String), Vec<DateRange>>> {
        let conn = self.db().lock()?;
        let mut st = conn.prepare_cached(WAITING)?;
        type Row = (String, String, String, String);
        let rows: Vec<Row> = st.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?.collect::<std::result::Result<_, _>>()?;
        let mut out: BTreeMap<_, Vec<DateRange>> = BTreeMap::new();
        for (dataset, symbol, start, end) in rows {
            out.entry((dataset, symbol)).or_default().push(DateRange::new(start.parse()?, end.parse()?)?);
        }
        Ok(out)
    }

    /// The tasks of one dataset over a window, whatever the stage holds; asking again asks again. Companies, series and names
    /// are the symbols; a market's dataset has none.
    pub fn wanted(&self, name: &str, symbols: &[String], window: DateRange) -> Result<Vec<NewTask>> {
        let run = None;
        match name {
            dataset::EQUITIES_EOD | dataset::EQUITIES_MINUTE | dataset::CORP_ACTIONS => {
                Ok(scheduler::bootstrap_tasks(self.endpoints(), name, symbols, window, Kind::Gap, run).tasks)
            }
            _ if symbols.is_empty() => Ok(vec![scheduler::market_task(self.endpoints(), name, window, Kind::Gap, run)?]),
            _ => {
                let one = scheduler::market_task(self.endpoints(), name, window, Kind::Gap, run)?;
                Ok(symbols.iter().map(|s| NewTask { symbol: s.clone(), ..one.clone() }).collect())
            }
        }
    }

    /// The last sessions of a few names from the vendor that comes second, so that two opinions can be compared. Which
    /// names is decided by the week. Nothing where no second vendor has a key.
    pub fn seed_probes(&self) -> Result<SeedReport> {
        let asof = newest_due(self.host())?;
        let Some(entry) = self.endpoints().open_routes(dataset::EQUITIES_EOD, asof).into_iter().nth(1) else { return Ok(SeedReport::default()) };
        let range = DateRange::new(asof.plus_days(1 - PROBED.1), asof.plus_days(1))?;
        let mut names = stage::load(self.root())?.universe.symbols;
        let week = asof.0.div_euclid(7);
        names.sort_by_cached_key(|name| crate::store::sha256_hex(format!("{week} {name}").as_bytes()));
        let probe = |symbol: &String| NewTask {
            dataset: entry.dataset.clone(),
            symbol: symbol.clone(),
            range,
            kind: Kind::QcProbe,
            priority: Kind::QcProbe.priority(),
            vendor: entry.vendor.as_str().to_string(),
            not_before: None,
            run_id: None,
        };
        self.seed(&names.iter().take(PROBED.0).map(probe).collect::<Vec<_>>())
    }

    // --- what is done -----------------------------------------------------------------------------------------------

    /// Work the queue off.
    pub fn work(&self, until: DrainUntil, progress: &dyn DrainProgress) -> Result<DrainReport> {
        self.host().block_on(scheduler::drain(&self.ctx, until, progress))?
    }

    /// Judge what is stored in a window, by reading it.
    pub fn audit(&self, window: DateRange, scope: AuditScope) -> Result<AuditReport> {
        let refreshed = {
            let mut memory = self.memory.lock().map_err(|_| Error::bug("a thread died while making the reference tables"))?;
            if scope == AuditScope::Full {
                *memory = Memory::default();
            }
            reference::refresh_on(self.root(), &mut memory)?
        };
        if scope == AuditScope::Full {
            // From all bars, so it goes with the audit that reads all bars.
            reference::refresh_liquid(self.root(), reference::MIN_ADV_USD)?;
        }
        audit::audit_scan(self.root(), self.db(), &refreshed, scope, window.end.plus_days(-1), window)
    }

    /// Audit, and ask again for what is missing, a bounded number of times.
    pub fn heal(&self, window: DateRange, scope: AuditScope, progress: &dyn DrainProgress) -> Result<Audited> {
        let mut audited = self.audit(window, scope)?;
        let mut healed = 0;
        for _ in 0..HEALING_ROUNDS {
            let seeded = [self.seed_gaps(&audited)?, self.seed_actions(window)?, self.seed_companies()?, self.seed_lanes()?];
            if seeded.iter().all(|s| s.inserted + s.revived == 0) {
                break;
            }
            let report = self.work(DrainUntil::Empty, progress)?;
            self.host().check_cancelled()?;
            healed += report.rows;
            audited = self.audit(window, AuditScope::Incremental)?;
        }
        Ok(Audited { partitions: audited.partitions_judged, healed, still_missing: audited.gaps.len() as u64 })
    }

    /// What is damaged is moved to `raw/_quarantine`, and what is lost is asked again in the same words; exports and
    /// backups that are not what they were are made again or removed. How many files that were.
    pub fn mend(&self) -> Result<u64> {
        // Rows of workers that are gone hold nothing back.
        self.db().write(|tx| queue::expire(tx, self.host().now(), &self.ctx.worker))?;
        let aside = damaged::set_aside(self.root(), self.db(), None)?;
        self.seed(&damaged::to_ask_again(self.root(), self.db())?)?;
        Ok(aside + export::mend(self.root())?)
    }

    pub fn curate(&self, depth: Depth) -> Result<CurateReport> {
        curate::curate(self.root(), self.db(), depth)
    }

    /// The ledger's export and the nightly one of `day`; the folder of the latter.
    pub fn export(&self, day: TradingDay) -> Result<String> {
        ledger::export(self.root(), self.db())?;
        Ok(export::nightly(self.root(), self.db(), day)?.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_macro_series_is_asked_for_as_far_back_as_its_publications_reach() {
        let of = |start: &str, end: &str| with_revisions(DateRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()).unwrap();
        // The consumer prices of January are published in the middle of March's first half; a quarter's product four months after its first day.
        let window = of("2018-03-13", "2018-03-14");
        assert!(window.contains("2018-01-01".parse().unwrap()) && window.contains("2017-10-01".parse().unwrap()));
        assert_eq!((window.start.to_string().as_str(), window.end.to_string().as_str()), ("2017-02-06", "2018-03-14"));
        // Once a month, whichever session of the missed ones begins it, five years.
        for (start, end) in [("2018-03-01", "2018-03-02"), ("2018-02-27", "2018-03-03")] {
            assert!(of(start, end).contains("2013-01-01".parse().unwrap()), "{start}");
        }
    }
}
