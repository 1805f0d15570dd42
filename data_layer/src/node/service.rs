//! The node as a service: four loops over one drive, and the queue's worker between them.
//!
//! One thread of control: a loop that is due runs, then the queue is worked off until the next one is due. The worker
//! gives way, so a bootstrap of many days never keeps a new session from being asked for. When each loop last began is a
//! row of `heartbeats` on the drive, so a node that was away catches up once, on whatever machine it wakes.

use super::schedule::{Loop, Times};
use super::stages::{self, Decision, Names, decide};
use super::{Belief, Node, newest_due, runs};
use crate::audit::{self, AuditScope};
use crate::control::{self, Db};
use crate::coverage;
use crate::curate::Depth;
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::ledger;
use crate::queue;
use crate::reference::{ListingSpans, load_membership};
use crate::scheduler::{self, DrainProgress, DrainReport, DrainUntil};
use crate::schema::{dataset, table, timeframe};
use crate::sourcing::BackfillConfig;
use crate::space;
use crate::stage;
use crate::tickers::Tickers;
use crate::time::{TradingDay, UtcTime};
use jiff::tz::TimeZone;
use rusqlite::params;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Finished rows of the queue are kept for so many days.
const ROWS_KEPT_DAYS: i64 = 30;
/// Days between two weekly looks: cross-vendor probes and a full curation.
const WEEK: i32 = 7;
/// A large and a mid-size name, to see what a key may ask for.
const CANARIES: [&str; 2] = ["AAPL", "ADBE"];
/// After a loop failed it is tried again this much later, not at once and not only tomorrow.
const RETRY_SECONDS: i64 = 300;

/// When a loop last began, and what it said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoopBeat {
    pub name: String,
    pub at: UtcTime,
    pub detail: String,
}

/// The heartbeats of all loops and runners, by name.
pub fn beats(db: &Db) -> Result<Vec<LoopBeat>> {
    let conn = db.lock()?;
    let mut st = conn.prepare_cached("SELECT loop, at, detail_json FROM heartbeats ORDER BY loop")?;
    let rows: Vec<(String, String, String)> = st.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<std::result::Result<_, _>>()?;
    let beat = |(name, at, detail): (String, String, String)| {
        let detail: Value = serde_json::from_str(&detail).unwrap_or_default();
        Ok(LoopBeat { name, at: UtcTime::parse(&at)?, detail: detail["said"].as_str().unwrap_or_default().to_string() })
    };
    rows.into_iter().map(beat).collect()
}

/// What one round did.
#[derive(Debug)]
pub struct Round {
    /// Each loop that ran, with what it says.
    pub said: Vec<(Loop, String)>,
    pub drained: DrainReport,
    /// Trouble that does not end the service: a rejected key, a vendor that is away, a loop that failed.
    pub notices: Vec<Error>,
    /// When a loop is due next, by the machine's clock.
    pub next: UtcTime,
}

/// A node that keeps working.
pub struct Service {
    node: Node,
    /// The clock on the wall: nights are the machine's, whatever world the drive belongs to.
    machine: Host,
    times: Times,
    zone: TimeZone,
    /// Loops that failed, and when they are tried again.
    retry: Vec<(Loop, UtcTime)>,
    /// Whether runs of a process before this one are over in the books.
    settled: bool,
}

impl Service {
    /// Refused on a drive that was never filled.
    pub fn new(node: Node, machine: &Host, times: Times, zone: TimeZone) -> Result<Self> {
        node.held()?;
        space::keep_reserve(node.root(), &BackfillConfig::load(node.root())?.disk)?;
        Ok(Self { node, machine: machine.clone(), times, zone, retry: Vec::new(), settled: false })
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Run the loops that are due, then work the queue off until the next one is. Trouble with a vendor, and a loop that
    /// fails, are notices; a drive that cannot be used any more is an error. While the clock is not believed nothing is run, asked or
    /// written, and the round says so.
    pub fn round(&mut self, progress: &dyn DrainProgress) -> Result<Round> {
        let mut round = Round { said: Vec::new(), drained: DrainReport::default(), notices: Vec::new(), next: self.machine.now() };
        if let Belief::Wrong(why) | Belief::Unsure(why) = self.node.weigh_the_clock()? {
            return Ok(self.paused(round, why));
        }
        if !std::mem::replace(&mut self.settled, true) {
            runs::settle(self.node.db(), self.machine.now())?;
        }
        scheduler::know_lanes(&self.node.ctx)?;
        for which in Loop::ALL {
            self.machine.check_cancelled()?;
            if let Err(why) = self.node.ctx.fetcher.believed() {
                return Ok(self.paused(round, why));
            }
            if self.due(which)? > self.machine.now() {
                continue;
            }
            match self.run_or_mend(which, &mut round.notices) {
                Ok(said) => {
                    self.retry.retain(|(l, _)| *l != which);
                    self.beat(which, &said)?;
                    round.said.push((which, said));
                }
                Err(e) if ends_the_service(&e) => return Err(e),
                Err(e) => {
                    self.retry.retain(|(l, _)| *l != which);
                    self.retry.push((which, self.machine.now().plus_seconds(RETRY_SECONDS)));
                    round.notices.push(e);
                }
            }
        }
        round.next = self.next()?;
        let forward = self.forward_done()?;
        let until = if self.node.host().clock_is_simulated() { DrainUntil::Empty } else { DrainUntil::Moment(round.next) };
        round.drained = self.node.work(until, progress)?;
        round.notices.extend(round.drained.notices.iter().cloned());
        self.machine.check_cancelled()?;
        if let Err(why) = self.node.ctx.fetcher.believed() {
            return Ok(self.paused(round, why));
        }
        let over = queue::counts(self.node.db())?.keys().all(|(_, _, status)| status == "DONE" || status == "FAILED");
        if round.drained.tasks_done > 0 && (over || self.forward_done()? > forward) {
            // What a session or the end of a bootstrap brought is judged and made usable now, not at night.
            round.said.push((Loop::Light, self.settle()?));
        }
        Ok(round)
    }

    /// The rest of a round whose clock is not believed: the next one looks again.
    fn paused(&self, mut round: Round, why: Error) -> Round {
        // Each runner met it by itself, in the words of the vendor that it had heard.
        round.notices.retain(|notice| !notice.is(code::HOST_CLOCK));
        round.notices.push(why);
        round.next = self.machine.now().plus_seconds(RETRY_SECONDS);
        round
    }

    /// Wait until the next loop is due, or until asked to stop. Never longer than the loop that is due most often waits: the clock may
    /// be set back meanwhile.
    pub fn rest(&self, round: &Round) -> Result<()> {
        let left = round.next.seconds_since(self.machine.now()).min(self.times.longest_rest());
        if left > 0.0 { self.machine.block_on(self.machine.sleep(Duration::from_secs_f64(left))) } else { Ok(()) }
    }

    fn due(&self, which: Loop) -> Result<UtcTime> {
        let last = last_beat(self.node.db(), which)?;
        let due = self.times.due(which, last, self.machine.now());
        Ok(self.retry.iter().rev().find(|(l, _)| *l == which).map_or(due, |(_, again)| due.max(*again)))
    }

    fn next(&self) -> Result<UtcTime> {
        let mut all = Loop::ALL.iter().map(|l| self.due(*l)).collect::<Result<Vec<_>>>()?;
        all.sort();
        Ok(all.first().copied().unwrap_or_else(|| self.machine.now()))
    }

    fn beat(&self, which: Loop, said: &str) -> Result<()> {
        let (at, boot, detail) = (self.machine.now().to_string(), self.machine.boot_id().to_string(), json!({"said": said}).to_string());
        self.node.db().write(|tx| {
            tx.execute(
                "INSERT OR REPLACE INTO heartbeats (loop, at, boot_id, detail_json) VALUES (?1, ?2, ?3, ?4)",
                params![which.as_str(), at, boot, detail],
            )?;
            Ok(())
        })
    }

    /// A loop that meets damage on the drive mends what can be mended, and runs once more.
    fn run_or_mend(&self, which: Loop, notices: &mut Vec<Error>) -> Result<String> {
        match self.run(which, notices) {
            Err(e) if e.is(code::SSD_DAMAGED) && self.node.mend()? > 0 => self.run(which, notices),
            done => done,
        }
    }

    fn run(&self, which: Loop, notices: &mut Vec<Error>) -> Result<String> {
        runs::record(self.node.db(), &self.machine, which.as_str(), &json!({}), || {
            let said = match which {
                Loop::Forward => self.forward(),
                Loop::Light => self.plan(AuditScope::Incremental),
                Loop::Heavy => self.heavy(),
                Loop::Maintenance => self.maintain(notices),
            }?;
            Ok((said.clone(), json!({"said": said})))
        })
    }

    // --- the loops --------------------------------------------------------------------------------------------------

    fn forward(&self) -> Result<String> {
        let seeded = self.node.seed_forward()?;
        let new = seeded.inserted + seeded.revived;
        Ok(if new == 0 { "nothing new is due".into() } else { text!("{new} tasks for new sessions") })
    }

    fn plan(&self, scope: AuditScope) -> Result<String> {
        // A session that is due is asked for as today's before it is found missing. Where that fails, the forward loop says why.
        match self.node.seed_forward() {
            Err(e) if ends_the_service(&e) => return Err(e),
            _ => {}
        }
        let window = self.node.window()?;
        let audited = self.node.audit(window, scope)?;
        let seeded = self.node.seed_gaps(&audited)?;
        self.node.seed_actions(window)?;
        self.node.seed_companies()?;
        self.node.seed_lanes()?;
        let percent = |c: &ledger::Coverage| format!("{:.2} %", (c.fraction() * 1e4).floor() / 1e2);
        let minutes = if audited.minutes.expected == 0 { String::new() } else { text!(", minutes {}", percent(&audited.minutes)) };
        let doubts = if audited.doubts == 0 { String::new() } else { text!(", {} corporate actions in doubt", audited.doubts) };
        Ok(text!(
            "{} partitions judged, {} GREEN{minutes}, {} gaps{doubts}, {} asked again",
            audited.partitions_judged,
            percent(&audited.coverage),
            audited.gaps.len(),
            seeded.inserted + seeded.revived
        ))
    }

    fn heavy(&self) -> Result<String> {
        let aside = self.node.mend()?;
        let planned = self.plan(AuditScope::Full)?;
        // Rows carry the time of the drive's own world.
        let before = self.node.host().now().plus_seconds(-ROWS_KEPT_DAYS * 86_400);
        let purged = self.node.db().write(|tx| queue::purge(tx, before))?;
        space::keep_reserve(self.node.root(), &BackfillConfig::load(self.node.root())?.disk)?;
        // What is kept for people only does not grow for ever.
        space::tidy_bodies(self.node.root(), self.node.host().now().utc_day())?;
        runs::forget(self.node.db(), self.machine.now())?;
        let damaged = if aside > 0 { text!("; {aside} damaged files set aside") } else { String::new() };
        Ok(text!("{planned}{damaged}; {}; {purged} old rows removed", self.weigh_the_stage()?))
    }

    /// Promote the stage when its rule is met, and ask for what the next one wants.
    fn weigh_the_stage(&self) -> Result<String> {
        let (root, db) = (self.node.root(), self.node.db());
        let (stage, asof) = (stage::load(root)?, newest_due(self.node.host())?);
        let covered = |name: &str| {
            let (table, key) = match name {
                dataset::EQUITIES_EOD => (table::RAW_EQUITIES_BARS, timeframe::DAY),
                dataset::EQUITIES_MINUTE => (table::RAW_EQUITIES_BARS, timeframe::MINUTE),
                _ => return None,
            };
            ledger::coverage_held(db, table, key).ok().flatten().map(|(_, c)| c).filter(|c| c.expected > 0)
        };
        let (members, listings, tickers) = (load_membership(root)?, ListingSpans::load(root)?, Tickers::load(root)?);
        let renamed = stages::follow(&stage, asof, &tickers);
        if let Some(now) = &renamed {
            stage::write(root, now)?;
        }
        let stage = renamed.unwrap_or(stage);
        match decide(&stage, asof, covered, Names { members: &members, listings: &listings, tickers: &tickers }) {
            Decision::Stay(why) => Ok(text!("stage {} stays: {why}", stage.stage)),
            Decision::Promote(next) => {
                stage::write(root, &next)?;
                let seeded = self.node.seed(&self.node.bootstrap(&next, self.node.stage_window(&next)?, None)?)?;
                Ok(text!("stage {} begins: {} symbols, {} tasks", next.stage, next.universe.symbols.len(), seeded.inserted + seeded.revived))
            }
        }
    }

    fn maintain(&self, notices: &mut Vec<Error>) -> Result<String> {
        let today = self.machine.now().day_in(&self.zone);
        let weekly = self.week_is_over(today)?;
        let looked = self.look_at_lanes(notices)?;
        let curated = self.node.curate(if weekly { Depth::Full } else { Depth::Incremental })?;
        let probes = if weekly { self.node.seed_probes()? } else { queue::SeedReport::default() };
        // What last week's probes brought is compared before it is exported with the rest.
        let compared = audit::compare(self.node.root(), &audit::AuditConfig::builtin()?)?;
        let asof = newest_due(self.node.host())?;
        // The last of the room is for the databases: a workstation gets its files when there is room again.
        let full = space::room(self.node.root())?.level(&self.node.ctx.disk) == space::Level::Stop;
        if !full {
            self.node.export(asof)?;
        }
        coverage::write(self.node.root(), self.node.db(), asof)?;
        control::nightly_backup(self.node.root(), &today.to_string())?;
        if weekly {
            self.node.db().write(|tx| Ok(tx.execute("INSERT OR REPLACE INTO counters (name, value) VALUES ('weekly.day', ?1)", [today.0])?))?;
        }
        let probed = if weekly { text!(", {} cross-vendor probes asked", probes.inserted + probes.revived) } else { String::new() };
        let compared = if compared.pairs.is_empty() { String::new() } else { format!(", {}", compared.sentence()) };
        let exported = if full { text!("not exported: the drive is nearly full") } else { text!("exported {asof}") };
        Ok(text!("{} files made again{probed}{compared}{looked}, {exported}, backed up {today}", curated.rewritten))
    }

    /// What the keys may ask for changes with the vendors' plans: looked at weekly, and daily at first after a refusal.
    fn look_at_lanes(&self, notices: &mut Vec<Error>) -> Result<String> {
        let names = stage::load(self.node.root())?.universe.symbols;
        let mut some: Vec<String> = CANARIES.iter().map(ToString::to_string).filter(|name| names.contains(name)).collect();
        if some.is_empty() {
            some = names.first().into_iter().chain(names.last()).cloned().collect();
        }
        let host = self.node.host();
        let again = host.block_on(scheduler::probe_again(&self.node.ctx, &some))??;
        notices.extend(again.notices);
        let opened = if again.opened > 0 { text!(", {} of them open again", again.opened) } else { String::new() };
        Ok(if again.looked_at > 0 { text!(", {} lanes looked at again{opened}", again.looked_at) } else { String::new() })
    }

    fn week_is_over(&self, today: TradingDay) -> Result<bool> {
        use rusqlite::OptionalExtension;
        let conn = self.node.db().lock()?;
        let last: Option<i32> = conn.query_row("SELECT value FROM counters WHERE name = 'weekly.day'", [], |r| r.get(0)).optional()?;
        Ok(last.is_none_or(|day| today.0 - day >= WEEK || day > today.0))
    }

    fn settle(&self) -> Result<String> {
        let planned = self.plan(AuditScope::Incremental)?;
        self.node.curate(Depth::Incremental)?;
        // A light run that came before its time counts as one.
        self.beat(Loop::Light, &planned)?;
        Ok(planned)
    }

    fn forward_done(&self) -> Result<u64> {
        let counts = queue::counts(self.node.db())?;
        Ok(counts.iter().filter(|((_, kind, status), _)| kind == "FORWARD" && status == "DONE").map(|(_, n)| n).sum())
    }
}

fn last_beat(db: &Db, which: Loop) -> Result<Option<UtcTime>> {
    Ok(beats(db)?.into_iter().find(|b| b.name == which.as_str()).map(|b| b.at))
}

/// Trouble that another try on this drive, by this process, will not cure.
fn ends_the_service(e: &Error) -> bool {
    let id = e.body().code.id;
    ["TML-SSD", "TML-USE", "TML-BUG"].iter().any(|family| id.starts_with(family))
}
