//! Which (symbol, days) must be judged again: what changed since the last audit, and the sessions it can influence.

use super::minutes::Wanted;
use super::{Facts, bars::Catalogue, state};
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
    facts: BTreeMap<String, String>,
    seen: state::Seen,
}

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
    let mut plan =
        Plan { depth, dirty: BTreeMap::new(), reach: BTreeMap::new(), dropped: Vec::new(), touched, facts: BTreeMap::new(), seen: state::Seen::default() };
    for symbol in &wanted {
        let digest = facts_digest(facts, symbol)?;
        let mut changed = spans.remove(symbol).unwrap_or_default();
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
    match facts.doubts.get(symbol) {
        None => store::digest_of(&(spans, actions)),
        Some(doubts) => store::digest_of(&(spans, actions, doubts.iter().map(|(day, code)| (*day, code.as_str())).collect::<Vec<_>>())),
    }
}

/// Remember what the ledger now reflects. Runs after its rows are committed, so that a crash in between repeats work, never skips it.
pub(super) fn finish(db: &Db, catalogue: &Catalogue, plan: &Plan, whole: Scope) -> Result<()> {
    let news = plan.seen.news(catalogue.manifests.iter().map(|(p, _)| p.as_str()), &plan.facts, &plan.dropped);
    if news.is_empty() && scope::in_db(&*db.lock()?)? == Some(whole) {
        return Ok(());
    }
    db.write(|tx| {
        news.save(tx, timeframe::DAY)?;
        scope::set_in_db(tx, whole)
    })
}
