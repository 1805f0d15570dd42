//! Which (symbol, days) must be judged again: what changed since the last audit, and the sessions it can influence.

use super::bars::{self, Catalogue, Collected};
use super::minutes::Wanted;
use super::{Facts, shut, state};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::ledger::scope::{self, Scope};
use crate::qc::LOOKBACK_SESSIONS;
use crate::reference::sources;
use crate::root::DataRoot;
use crate::schema::timeframe;
use crate::store;
use crate::time::{DateRange, TradingDay};
use std::collections::{BTreeMap, BTreeSet};

/// How much an audit reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditScope {
    /// Every segment is read and hashed again.
    Full,
    /// Only what is new, and what new data or facts can change.
    Incremental,
}

/// The work of one audit.
pub(super) struct Plan {
    pub depth: AuditScope,
    /// Days to judge, per symbol.
    pub dirty: BTreeMap<String, DateRange>,
    /// Days to read for that: the verdict on a bar looks back.
    pub reach: BTreeMap<String, DateRange>,
    /// Symbols that are no longer expected at all.
    pub dropped: Vec<String>,
    /// Days whose bars are new, without the sessions that they can influence.
    pub touched: Wanted,
    /// All that the ledger answers for.
    everything: DateRange,
    facts: BTreeMap<String, String>,
    /// What the next audit is to know of lanes that were shut or opened.
    shut: Option<String>,
    seen: state::Seen,
}

impl Plan {
    /// A bar is compared with the one before it however long ago that was. Where nothing near is held on one side of the days to judge,
    /// what is far is read too: the bar before them, and the one after them, which may come after another bar now.
    pub fn reach_further(&mut self, root: &DataRoot, catalogue: &Catalogue, collected: &mut Collected) -> Result<()> {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        for (symbol, days) in &mut self.dirty {
            let held: Vec<TradingDay> = collected.rows.get(symbol).into_iter().flatten().map(|c| c.bar.day).collect();
            let reach = self.reach.get(symbol).map_or(days.start, |r| r.start);
            if held.iter().any(|d| days.contains(*d)) && !held.iter().any(|d| *d < days.start) {
                before.insert(symbol.clone(), DateRange { start: TradingDay(0), end: reach });
            }
            let last = Calendar::xnys().sessions(DateRange { start: days.end.plus_days(-2 * LOOKBACK_SESSIONS), end: days.end });
            let near = last.get(last.len().saturating_sub(NEAR_THE_END)..).unwrap_or_default();
            if days.end < self.everything.end && !held.iter().any(|d| near.contains(d)) {
                after.insert(symbol.clone(), DateRange { start: days.end, end: self.everything.end });
                days.end = self.everything.end;
            }
        }
        for wanted in [before, after] {
            let more = bars::collect(root, catalogue, &wanted)?;
            collected.segments_read += more.segments_read;
            collected.bytes_read += more.bytes_read;
            collected.damaged.extend(more.damaged);
            more.rows.into_iter().for_each(|(symbol, rows)| collected.rows.entry(symbol).or_default().extend(rows));
            more.of_others.into_iter().for_each(|(symbol, rows)| collected.of_others.entry(symbol).or_default().extend(rows));
        }
        Ok(())
    }
}

/// Sessions at the end of the days to judge that are certainly after all that is new.
const NEAR_THE_END: usize = 8;

/// `days` widened by the reach of a verdict, `before` and `after`.
fn widen(days: DateRange, before: bool, after: bool) -> DateRange {
    let calendar = Calendar::xnys();
    let move_by = |day: TradingDay, n: i32| calendar.offset(day, n).unwrap_or_else(|_| day.plus_days(n * 2));
    DateRange {
        start: if before { move_by(days.start, -LOOKBACK_SESSIONS) } else { days.start },
        end: if after { move_by(days.end, LOOKBACK_SESSIONS).plus_days(1) } else { days.end },
    }
}

#[allow(clippy::too_many_arguments)]
pub(super) fn make(
    root: &DataRoot,
    db: &Db,
    catalogue: &Catalogue,
    facts: &Facts,
    symbols: &[String],
    depth: AuditScope,
    known: Option<Scope>,
    whole: Scope,
) -> Result<Plan> {
    let seen = state::load(db, timeframe::DAY)?;
    let everything = whole.window();
    let mut spans: BTreeMap<&str, Vec<DateRange>> = BTreeMap::new();
    let wanted: BTreeSet<&str> = symbols.iter().map(String::as_str).collect();
    let mut touched = Wanted::new();
    let mut touch = |names: &[String], days: DateRange| {
        for name in names {
            if let Some(name) = wanted.get(name.as_str()) {
                spans.entry(name).or_default().push(widen(days, false, true));
                touched.entry((*name).to_string()).or_default().push(days);
            }
        }
    };
    for (path, manifest) in &catalogue.manifests {
        if !seen.manifests.contains(path.as_str()) {
            touch(&manifest.asked.symbols, DateRange { start: manifest.asked.t0, end: manifest.asked.t1 });
        }
        for segment in &manifest.segments {
            let lost = || sources::size(root, &segment.path) != Some(segment.bytes);
            if !seen.manifests.contains(path.as_str()) || lost() {
                touch(&segment.symbols, DateRange { start: segment.t0, end: segment.t1 });
            }
        }
    }
    let (mut refused, shut) = facts.shut.news(db, timeframe::DAY, everything)?;
    let mut plan = Plan {
        depth,
        dirty: BTreeMap::new(),
        reach: BTreeMap::new(),
        dropped: Vec::new(),
        touched,
        everything,
        facts: BTreeMap::new(),
        shut,
        seen: state::Seen::default(),
    };
    for symbol in &wanted {
        let digest = facts_digest(facts, symbol)?;
        let mut changed = spans.remove(symbol).unwrap_or_default();
        changed.extend(refused.remove(*symbol).unwrap_or_default());
        if let Some(known) = known {
            // Sessions that the ledger has never answered for.
            changed.push(DateRange { start: everything.start, end: known.start });
            changed.push(DateRange { start: known.asof.plus_days(1), end: everything.end });
        }
        let hull = changed.iter().filter_map(|d| d.intersect(&everything)).reduce(|a, b| DateRange { start: a.start.min(b.start), end: a.end.max(b.end) });
        let unknown_start = facts.spans.spans(symbol).is_none_or(|s| s.iter().any(|(from, _)| from.is_none()));
        let afresh = depth == AuditScope::Full || known.is_none() || seen.symbols.get(*symbol) != Some(&digest);
        // Without a listing date, the first bar decides what is excused before it: such a symbol is judged as a whole.
        let days = if afresh || (unknown_start && hull.is_some()) { Some(everything) } else { hull };
        if let Some(days) = days.filter(|d| d.start < d.end) {
            plan.reach.insert((*symbol).to_string(), widen(days, true, false));
            plan.dirty.insert((*symbol).to_string(), days);
        }
        plan.facts.insert((*symbol).to_string(), digest);
    }
    plan.dropped = seen.symbols.keys().filter(|s| !wanted.contains(s.as_str())).cloned().collect();
    plan.seen = seen;
    Ok(plan)
}

/// Digest of what the reference tables say about a symbol.
fn facts_digest(facts: &Facts, symbol: &str) -> Result<String> {
    let spans: Option<Vec<[Option<TradingDay>; 2]>> = facts.spans.spans(symbol).map(|s| s.iter().map(|(a, b)| [*a, *b]).collect());
    let actions: Option<Vec<(TradingDay, f64, f64)>> = facts.actions.get(symbol).map(|l| l.iter().map(|a| (a.ex_date, a.factor, a.cash)).collect());
    let doubts: Option<Vec<_>> = facts.doubts.get(symbol).map(|of| of.iter().map(|(day, code)| (*day, code.as_str())).collect());
    match (doubts, told(facts, symbol)) {
        (None, None) => store::digest_of(&(spans, actions)),
        (Some(doubts), None) => store::digest_of(&(spans, actions, doubts)),
        (doubts, Some(life)) => store::digest_of(&(spans, actions, doubts, life)),
    }
}

/// The tickers of a symbol that was not always its own.
pub(super) fn told<'a>(facts: &'a Facts, symbol: &str) -> Option<Vec<(Option<TradingDay>, Option<TradingDay>, Option<&'a str>)>> {
    facts.tickers.life(symbol).map(|life| life.iter().map(|h| (h.from, h.to, h.ticker.as_deref())).collect())
}

/// Remember what the ledger now reflects. Runs after its rows are committed, so that a crash in between repeats work, never skips it.
pub(super) fn finish(db: &Db, catalogue: &Catalogue, plan: &Plan, whole: Scope) -> Result<()> {
    let news = plan.seen.news(catalogue.manifests.iter().map(|(p, _)| p.as_str()), &plan.facts, &plan.dropped);
    if news.is_empty() && plan.shut.is_none() && scope::in_db(&*db.lock()?)? == Some(whole) {
        return Ok(());
    }
    db.write(|tx| {
        news.save(tx, timeframe::DAY)?;
        shut::remember(tx, timeframe::DAY, plan.shut.as_ref())?;
        scope::set_in_db(tx, whole)
    })
}
