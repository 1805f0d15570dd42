//! Lanes beside the prices: which of them are collected, why the others are not, and what is asked of those that are.
//!
//! A lane is on where `backfill.yml` wants it, `stage.yml` does not shut it, the registry documents and enables it, its key is here, and
//! a vendor has answered a small question about it. What is asked follows from what is stored, so that nothing is asked twice.

use super::companies::BEFORE_DAYS;
use super::{Node, newest_due};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::queue::{Kind, NewTask, SeedReport};
use crate::reference;
use crate::root::DataRoot;
use crate::scheduler::{self, tasks::due_at};
use crate::schema::{dataset, table};
use crate::segment;
use crate::sourcing::entitlement::{self, Entitlement, LiveStatus};
use crate::sourcing::{BESIDE, BackfillConfig, Entry, Vendor, Vendors};
use crate::stage::{self, Lane, LaneState, Stage};
use crate::time::{DateRange, TradingDay};
use crate::words::joined;
use rusqlite::params;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Days of the Treasury's curve that are read again with a new one: corrections come within days.
const CURVE_AGAIN_DAYS: i32 = 7;
/// Days of the list of delisted companies that are read again: it is filled in late.
const GONE_AGAIN_DAYS: i32 = 35;

/// Whether a lane is collected, in a plain sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStanding {
    pub dataset: String,
    pub on: bool,
    /// Of whom and how often; or why not.
    pub why: String,
}

impl LaneStanding {
    /// For people: `treasury: on, …`.
    pub fn sentence(&self) -> String {
        let word = if self.on { term!("on") } else { term!("off") };
        text!("{}: {word}, {}", self.dataset, self.why)
    }
}

/// How each lane beside the prices stands with the keys of this host.
pub fn lanes(root: &DataRoot, db: &Db, vendors: &Vendors) -> Result<Vec<LaneStanding>> {
    let look = Look {
        wish: BackfillConfig::load(root)?,
        stage: stage::load_optional(root)?,
        found: entitlement::all(&*db.lock()?)?,
        vendors,
        asof: newest_due(root.host())?,
    };
    let standing = |name: &str| match look.lane(name) {
        Ok(entry) => LaneStanding { dataset: name.to_string(), on: true, why: look.what(entry) },
        Err(why) => LaneStanding { dataset: name.to_string(), on: false, why },
    };
    Ok(BESIDE.iter().map(|name| standing(name)).collect())
}

/// What decides whether a lane is on.
struct Look<'a> {
    wish: BackfillConfig,
    stage: Option<Stage>,
    found: BTreeMap<(String, String), Entitlement>,
    vendors: &'a Vendors,
    asof: TradingDay,
}

impl Look<'_> {
    /// The lane that is asked, or why there is none.
    fn lane(&self, name: &str) -> std::result::Result<&Entry, String> {
        if !self.wish.wants(name) {
            let of_nobody = name == dataset::OPTIONS_CHAINS && self.wish.datasets.get(name).and_then(|w| w.collect) == Some(true);
            return Err(match of_nobody {
                true => text!("no underlying is named: datasets.{name}.symbols in backfill.yml"),
                false => text!("as datasets.{name}.collect in backfill.yml says"),
            });
        }
        match self.stage.as_ref().and_then(|s| s.lanes.get(name)) {
            Some(Lane::Explained(lane)) if lane.state != LaneState::Active => return Err(text!("shut in stage.yml: {}", lane.reason)),
            Some(lane) if lane.state() != LaneState::Active => return Err(text!("shut in stage.yml")),
            _ => {}
        }
        let endpoints = &self.vendors.endpoints;
        let documented = || endpoints.entries().iter().filter(|e| e.dataset == name && e.enabled());
        let Some(best) = documented().min_by_key(|e| (e.priority, e.vendor)) else {
            return Err(text!("endpoints.yml has no lane of it that is documented and enabled"));
        };
        if name == dataset::FUNDAMENTALS && !self.knows_companies() {
            return Err(text!("it needs the list of companies, which is not collected (SEC_CONTACT, then trademl pi-data-node)"));
        }
        let open = |e: &&Entry| self.is_here(e.vendor) && !self.of(e).is_some_and(Entitlement::blocked);
        let Some(entry) = endpoints.routes(name, self.asof).into_iter().find(open) else {
            return Err(self.closed(best));
        };
        self.verified(entry).map(|()| entry)
    }

    fn is_here(&self, vendor: Vendor) -> bool {
        self.vendors.missing_keys(vendor).is_empty() && self.vendors.endpoints.is_keyed(vendor)
    }

    fn knows_companies(&self) -> bool {
        self.stage.as_ref().is_some_and(|s| s.lanes.contains_key(dataset::COMPANIES) && s.is_active(dataset::COMPANIES))
    }

    /// Why nobody may be asked, of the best lane.
    fn closed(&self, entry: &Entry) -> String {
        let missing = self.vendors.missing_keys(entry.vendor);
        if !missing.is_empty() {
            return text!("{} is not set", missing.join(" and "));
        }
        match self.of(entry).filter(|e| e.blocked()) {
            Some(e) => text!("the {} key's plan does not include {}: {}", entry.vendor, entry.dataset, e.detail),
            None => text!("this drive's market has no {}", entry.vendor),
        }
    }

    fn of(&self, entry: &Entry) -> Option<&Entitlement> {
        self.found.get(&(entry.vendor.as_str().to_string(), entry.dataset.clone()))
    }

    /// Whether the vendor was seen to answer. Of the SEC, which has no plans, the list of companies says so.
    fn verified(&self, entry: &Entry) -> std::result::Result<(), String> {
        if entry.dataset == dataset::FUNDAMENTALS {
            return Ok(());
        }
        match self.of(entry) {
            None => Err(text!("{} has not been tried yet: at the next maintenance, or by trademl pi-data-node", entry.vendor)),
            Some(e) if e.live == LiveStatus::LiveVerified => Ok(()),
            Some(e) => Err(text!("{} did not answer as it should when it was tried: {}", entry.vendor, e.detail)),
        }
    }

    /// Of whom, how much and how often.
    fn what(&self, entry: &Entry) -> String {
        let vendor = entry.vendor;
        match entry.dataset.as_str() {
            dataset::TREASURY => text!("the curve of each session from {vendor}, one call"),
            dataset::DELISTINGS => text!("the newest pages of {vendor} every {} days", self.wish.delistings_every()),
            dataset::FUNDAMENTALS => text!("each company's numbers from {vendor} after a report, at most {} companies a day", self.wish.companies_a_day()),
            _ => text!("after each session from {vendor}: {}", joined(self.wish.underlyings(), ", ")),
        }
    }
}

impl Node {
    /// How each lane beside the prices stands.
    pub fn lanes(&self) -> Result<Vec<LaneStanding>> {
        lanes(self.root(), self.db(), self.ctx.vendors())
    }

    fn lanes_on(&self) -> Result<BTreeSet<String>> {
        Ok(self.lanes()?.into_iter().filter(|lane| lane.on).map(|lane| lane.dataset).collect())
    }

    /// Ask for what is not known yet in the lanes that are on.
    pub fn seed_lanes(&self) -> Result<SeedReport> {
        let on = self.lanes_on()?;
        if on.is_empty() {
            return Ok(SeedReport::default());
        }
        let (asof, wish, stage) = (newest_due(self.host())?, BackfillConfig::load(self.root())?, stage::load(self.root())?);
        let start = self.window().or_else(|_| self.stage_window(&stage))?.start;
        let mut tasks = Vec::new();
        if on.contains(dataset::TREASURY) {
            tasks.extend(self.of_market(dataset::TREASURY, table::RAW_MACROS, start, asof, (1, CURVE_AGAIN_DAYS))?);
        }
        if on.contains(dataset::DELISTINGS) {
            let every = i32::from(wish.delistings_every());
            tasks.extend(self.of_market(dataset::DELISTINGS, table::RAW_LISTINGS, start, asof, (every, GONE_AGAIN_DAYS))?);
        }
        if on.contains(dataset::FUNDAMENTALS) {
            tasks.extend(self.numbers(&stage, start, asof, &wish)?);
        }
        let waiting = self.waiting()?;
        tasks.retain(|t| !waiting.contains_key(&(t.dataset.clone(), t.symbol.clone())));
        if on.contains(dataset::OPTIONS_CHAINS) {
            tasks.extend(self.chains(asof)?);
        }
        self.seed(&tasks)
    }

    /// Rows for the chains of the newest session, as long as it is the newest: what stands later is another session's. Asked for once:
    /// a FORWARD row that is done stays done.
    pub(super) fn chains(&self, asof: TradingDay) -> Result<Vec<NewTask>> {
        let late = self.host().now() >= Calendar::xnys().open(Calendar::xnys().next(asof)?);
        if late || !self.lanes_on()?.contains(dataset::OPTIONS_CHAINS) {
            return Ok(Vec::new());
        }
        scheduler::forward_tasks(self.endpoints(), dataset::OPTIONS_CHAINS, BackfillConfig::load(self.root())?.underlyings(), asof, None)
    }

    /// A lane that is asked about the whole market: all of the window at first, then every so many days what is new and a few days before
    /// it; and what lies before the days that were asked about, where the window has grown backwards.
    fn of_market(&self, name: &str, raw: &str, start: TradingDay, asof: TradingDay, (every, again): (i32, i32)) -> Result<Vec<NewTask>> {
        let answers = segment::manifests_for(self.root(), raw)?;
        let asked = answers.iter().filter(|(_, m)| m.complete && m.dataset == name).map(|(_, m)| (m.asked.t0, m.asked.t1));
        let asked = asked.reduce(|(a, b), (from, to)| (a.min(from), b.max(to)));
        let end = asof.plus_days(1);
        let entry = self.endpoints().route(name, asof)?;
        let start = self.endpoints().depth(entry).map_or(start, |depth| depth.max(start));
        let mut wanted = Vec::new();
        match asked {
            None => wanted.push((start, end, Kind::Bootstrap)),
            Some((from, to)) => {
                wanted.push((start, from, Kind::Bootstrap));
                if end.0 - to.0 >= every {
                    wanted.push((to.plus_days(-again), end, Kind::Forward));
                }
            }
        }
        let mut out = Vec::new();
        for (from, to, kind) in wanted {
            let Ok(window) = DateRange::new(from, to) else { continue };
            let task = scheduler::market_task(self.endpoints(), name, window, kind, None)?;
            // Asked before the day is published, the answer would end the day before and count as this row's.
            out.push(NewTask { not_before: (kind == Kind::Forward).then(|| due_at(entry, asof)), ..task });
        }
        Ok(out)
    }

    /// All numbers of companies: of those that have filed a report since they were asked about, then of those that never were, then
    /// earlier years; no more of them than a day may have.
    fn numbers(&self, stage: &Stage, start: TradingDay, asof: TradingDay, wish: &BackfillConfig) -> Result<Vec<NewTask>> {
        let symbols: BTreeSet<&String> = stage.universe.symbols.iter().collect();
        let known = reference::load_companies(self.root())?;
        let companies: BTreeSet<String> = known.into_iter().filter(|t| symbols.contains(&t.symbol)).map(|t| t.cik).collect();
        let mut asked = reference::days_asked(self.root(), table::RAW_FUNDAMENTALS, dataset::FUNDAMENTALS)?;
        // That the SEC has no numbers of a company is an answer too, and leaves none behind.
        for (cik, days) in self.without_numbers()? {
            asked.entry(cik).or_insert(days);
        }
        let (reports, from, end) = (reference::report_days(self.root())?, start.plus_days(-BEFORE_DAYS), asof.plus_days(1));
        let (mut new, mut first, mut early) = (Vec::new(), Vec::new(), Vec::new());
        for cik in &companies {
            let hull = asked.get(cik).copied();
            match hull {
                None => first.extend(self.of_company(dataset::FUNDAMENTALS, cik, from, end, false)?),
                // A report on the day that was asked last may have come after the question.
                Some(h) if reports.get(cik).is_some_and(|days| days.range(h.end.plus_days(-1)..end).next().is_some()) => {
                    new.extend(self.of_company(dataset::FUNDAMENTALS, cik, h.end.plus_days(-1), end, true)?);
                }
                Some(_) => {}
            }
            early.extend(self.earlier(dataset::FUNDAMENTALS, cik, from, hull)?);
        }
        let left = usize::from(wish.companies_a_day()).saturating_sub(self.seeded_today(dataset::FUNDAMENTALS)?);
        Ok(new.into_iter().chain(first).chain(early).take(left).collect())
    }

    /// Companies that the SEC has no file of, and the days about which it was asked last.
    fn without_numbers(&self) -> Result<BTreeMap<String, DateRange>> {
        let conn = self.db().lock()?;
        let sql = "SELECT symbol, start_date, max(end_date) FROM backfill_queue WHERE dataset = ?1 AND outcome = 'UNKNOWN_SYMBOL' GROUP BY symbol";
        let mut st = conn.prepare_cached(sql)?;
        let rows = st.query_map([dataset::FUNDAMENTALS], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        let rows: Vec<(String, String, String)> = rows.collect::<std::result::Result<_, _>>()?;
        rows.into_iter().map(|(cik, start, end)| Ok((cik, DateRange::new(start.parse()?, end.parse()?)?))).collect()
    }

    /// Rows of a dataset that were put in today (UTC), or wait since earlier, those that somebody asked for by hand left out.
    fn seeded_today(&self, name: &str) -> Result<usize> {
        let today = self.host().now().utc_day().to_string();
        let sql = "SELECT count(*) FROM backfill_queue WHERE dataset = ?1 AND kind IN ('BOOTSTRAP', 'FORWARD')
                   AND (created_at >= ?2 OR status IN ('PENDING', 'LEASED'))";
        let n: i64 = self.db().lock()?.query_row(sql, params![name, today], |r| r.get(0))?;
        Ok(usize::try_from(n).unwrap_or(0))
    }
}
