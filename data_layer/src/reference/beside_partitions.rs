//! Ledger rows of the lanes beside the prices: the Treasury's curve, chains of options, all numbers of companies.
//!
//! They are expected from the first answer on, while `backfill.yml` wants the lane, `stage.yml` does not shut it and no vendor's words
//! do; a lane that is off has no rows. The curve and companies' numbers can be had later: `MISSING` until then. A chain tells what
//! stands now: a session that nobody was asked about is `NOT_SEEN` for good, unless it is the newest, which is still asked for.
//! What FMP tells of delisted companies has no rows of its own: `reference/delistings` is answered for by the listings.

use super::company_partitions::{Filed, companies_asked};
use super::partitions::{Answer, Found, Task, row, rows};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::ledger::Row;
use crate::qc::QcCode;
use crate::schema::{dataset, table};
use crate::sourcing::{BackfillConfig, Endpoints, Entry, Vendor, entitlement};
use crate::store;
use crate::time::TradingDay;

/// The name under which a whole market is counted.
const MARKET: &str = "";

pub(super) fn audit(task: &Task<'_>, filed: &Filed, found: &mut Found) -> Result<()> {
    let (wish, endpoints) = (BackfillConfig::load(task.root)?, Endpoints::load(task.root)?);
    let refused = entitlement::all(&*task.db.lock()?)?;
    let on = |name: &str, vendor: Vendor| {
        let shut = refused.get(&(vendor.as_str().to_string(), name.to_string())).is_some_and(entitlement::Entitlement::blocked);
        wish.wants(name) && task.stage.is_active(name) && !shut
    };
    // The curve.
    let (lane, open) = (dataset::TREASURY, on(dataset::TREASURY, Vendor::Treasury));
    let due = due(task, endpoints.entry(Vendor::Treasury, lane))?;
    if let Some(answers) = task.news(lane, table::RAW_MACROS, &store::digest_of(&(open, due.last()))?, found)? {
        let from = first(&answers, due);
        let want = if open { rows(table::RAW_MACROS, Vendor::Treasury.as_str(), &answers, &[MARKET.to_string()], from) } else { Vec::new() };
        found.say(task.db, table::RAW_MACROS, want)?;
    }
    // Chains.
    let (lane, open) = (dataset::OPTIONS_CHAINS, on(dataset::OPTIONS_CHAINS, Vendor::Alpaca));
    let names = wish.underlyings();
    if let Some(answers) = task.news(lane, table::RAW_OPTIONS, &store::digest_of(&(open, names))?, found)? {
        let want = if open { chains(&answers, names, task.sessions) } else { Vec::new() };
        found.say(task.db, table::RAW_OPTIONS, want)?;
    }
    // Companies' numbers.
    let (lane, open) = (dataset::FUNDAMENTALS, on(dataset::FUNDAMENTALS, Vendor::SecEdgar));
    if let Some(answers) = task.news(lane, table::RAW_FUNDAMENTALS, &store::digest_of(&(open, filed.words()?))?, found)? {
        let want = if open && !answers.is_empty() { companies_asked(task, lane, table::REF_FUNDAMENTALS, answers, filed)? } else { Vec::new() };
        found.say(task.db, table::REF_FUNDAMENTALS, want)?;
    }
    Ok(())
}

/// The sessions whose data exists by now.
fn due<'a>(task: &Task<'a>, entry: Option<&Entry>) -> Result<&'a [TradingDay]> {
    let age = entry.map_or(0, |e| e.min_age_minutes * 60);
    let last = Calendar::xnys().last_closed(task.root.host().now().plus_seconds(-age))?;
    Ok(task.sessions.get(..task.sessions.partition_point(|d| *d <= last)).unwrap_or_default())
}

/// The sessions from the first that was ever answered for.
fn first<'a>(answers: &[Answer], sessions: &'a [TradingDay]) -> &'a [TradingDay] {
    let Some(from) = answers.iter().map(|a| a.from).min() else { return &[] };
    sessions.get(sessions.partition_point(|d| *d < from)..).unwrap_or_default()
}

/// A row for each session since the first chain: of as many underlyings as had been begun by then and are wanted still. An answer without a
/// contract is an answer, and not one to be content with.
fn chains(answers: &[Answer], names: &[String], sessions: &[TradingDay]) -> Vec<Row> {
    let of = |name: &String| answers.iter().filter(|a| a.symbols.as_ref().is_some_and(|s| s.contains(name))).collect::<Vec<_>>();
    let known: Vec<Vec<&Answer>> = names.iter().map(of).filter(|all| !all.is_empty()).collect();
    let mut out = Vec::new();
    for dt in sessions {
        let begun = || known.iter().filter(|all| all.iter().any(|a| a.from <= *dt));
        let seen: Vec<&Answer> = begun().filter_map(|all| all.iter().rfind(|a| a.from <= *dt && *dt < a.to).copied()).collect();
        let (wanted, answered) = (begun().count(), seen.len());
        let here = seen.iter().filter(|a| a.rows > 0).count();
        let code = match () {
            () if wanted == 0 => continue,
            () if here == wanted => QcCode::Ok,
            () if answered == wanted => QcCode::SuspiciousEmpty,
            () if Some(dt) == sessions.last() => QcCode::Missing,
            () => QcCode::NotSeen,
        };
        let at = |pick: fn(_, _) -> _| seen.iter().map(|a| a.at).reduce(pick);
        out.push(row(table::RAW_OPTIONS, Vendor::Alpaca.as_str(), *dt, code, (here as u64, wanted as u64), (at(std::cmp::min), at(std::cmp::max))));
    }
    out
}

#[cfg(test)]
#[path = "beside_partitions_tests.rs"]
mod tests;
