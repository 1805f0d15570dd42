//! What each vendor says about corporate actions now: of every event, known by the vendor's own number for it, the newest statement.
//!
//! An answer is read again later, because a vendor promises neither to be in time nor to be right the first time. An event that is
//! stated again is what it is stated as last. One that a later complete answer over the same days leaves out was taken back: its
//! statement stays where it is in `raw/`, and is not applied. What is announced for a day that has not come yet is not told on.

use super::actions::CorpAction;
use super::sources;
use super::spans::Spans;
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::root::DataRoot;
use crate::schema::table;
use crate::segment::Manifest;
use crate::tickers::{Tickers, knows_tickers_by_day};
use crate::time::{DateRange, TradingDay, UtcTime};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};

/// How far ahead of a session the days must have been asked under which its actions may stand. A vendor that files a dividend under the
/// day it is paid has it weeks after the ex-date.
pub const AHEAD_DAYS: i32 = 60;
/// Days for which an answer is read whose every day was answered again: so long is it remembered what was taken back.
const REMEMBERED_DAYS: i32 = 30;
/// A vendor's first event proves that its list reaches back so many days further: no name acts every day.
const PROVEN_DAYS: i32 = 120;

/// One event as one vendor states it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub vendor: String,
    pub action: CorpAction,
    /// When the answer came.
    pub at: UtcTime,
}

/// All that the vendors say.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What stands, in the order of symbol and ex-date.
    pub live: Vec<Statement>,
    /// What stood once and was taken back not long ago.
    pub taken_back: Vec<Statement>,
    /// What stands without a usable ratio or amount.
    pub unusable: Vec<Statement>,
    pub damaged: Vec<String>,
    /// Days that were answered, by vendor and symbol; no symbol is the whole market.
    answered: BTreeMap<String, BTreeMap<String, Spans>>,
    /// Under which tickers companies were traded, once that is known.
    tickers: Tickers,
    proof: Proof,
}

/// The first source of actions, which files an event under the day it is processed, and whose list may not reach back for ever. The
/// others file it under its ex-date, beside the prices.
const FIRST: &str = "alpaca";

/// The last day (excluded) that a vendor must have been asked to know of an action of `day`.
pub(super) fn known_by(vendor: &str, day: TradingDay) -> TradingDay {
    day.plus_days(if vendor == FIRST { AHEAD_DAYS } else { 1 })
}

/// From when on the silence of the first source means that nothing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Proof {
    /// A world says itself how far it reaches, and of a few names nothing can be concluded.
    #[default]
    NotNeeded,
    /// The ex-date of its first event, where it told of any.
    From(Option<TradingDay>),
}

impl Proof {
    pub fn reaches(self, vendor: &str, day: TradingDay) -> bool {
        match self {
            Self::From(first) if vendor == FIRST => first.is_some_and(|first| first.plus_days(-PROVEN_DAYS) <= day),
            _ => true,
        }
    }
}

impl Told {
    /// Whether a vendor was asked about a symbol in such a way that it could have told an action of `day`.
    pub fn could_tell(&self, vendor: &str, symbol: &str, day: TradingDay) -> bool {
        let wanted = DateRange { start: day, end: known_by(vendor, day) };
        let symbol = if knows_tickers_by_day(vendor) { self.tickers.on(symbol, day).unwrap_or(symbol) } else { symbol };
        let asked = self.answered.get(vendor).is_some_and(|of| covers(of, symbol, wanted));
        asked && self.proof.reaches(vendor, day)
    }
    /// Put what is told of an earlier ticker under the symbol of the company that had it; what is told of whoever had a company's ticker
    /// before it is not the company's.
    pub fn rename(&mut self, tickers: &Tickers) {
        for list in [&mut self.live, &mut self.taken_back, &mut self.unusable] {
            list.retain_mut(|s| !knows_tickers_by_day(&s.vendor) || put_under(&mut s.action, tickers));
            list.sort_by(order);
        }
        self.tickers = tickers.clone();
    }
    pub fn vendors(&self) -> impl Iterator<Item = &String> {
        self.answered.keys()
    }
}

fn order(a: &Statement, b: &Statement) -> std::cmp::Ordering {
    (&a.action.symbol, a.action.ex_date, &a.action.event_type, &a.vendor).cmp(&(&b.action.symbol, b.action.ex_date, &b.action.event_type, &b.vendor))
}

/// Whose action it is; `false` where it is of no company that is kept. Only what changes prices is anybody's: the end of a ticker
/// stays the ticker's.
fn put_under(action: &mut CorpAction, tickers: &Tickers) -> bool {
    if !(action.is_split() || action.is_cash() || action.is_in_kind()) {
        return true;
    }
    // An action of the day of the change may be told of the old ticker still.
    for day in [action.ex_date, action.ex_date.plus_days(-1)] {
        let symbol = tickers.symbol_of(&action.symbol, day);
        if tickers.on(symbol, day) == Some(action.symbol.as_str()) {
            action.symbol = symbol.to_string();
            return true;
        }
    }
    false
}

fn covers(of: &BTreeMap<String, Spans>, symbol: &str, wanted: DateRange) -> bool {
    [symbol, ""].iter().any(|name| of.get(*name).is_some_and(|days| days.covers(wanted)))
}

/// A row of an answer.
struct Row {
    action: CorpAction,
    id: String,
    /// The day under which the vendor files it.
    filed: TradingDay,
}

/// Read the answers that came up to a moment (all of them where there is none), the newest first.
pub(super) fn read(root: &DataRoot, until: Option<UtcTime>) -> Result<Told> {
    let mut manifests = sources::manifests(root, table::RAW_CORP_ACTIONS)?;
    manifests.retain(|(_, m)| until.is_none_or(|t| m.ingested_at <= t));
    let mut out = Told::default();
    let Some(newest) = manifests.iter().map(|(_, m)| m.ingested_at).max() else { return Ok(out) };
    let due = Calendar::xnys().last_closed(newest)?;
    let mut spoken: BTreeSet<(String, String)> = BTreeSet::new();
    for (_, manifest) in manifests.iter().rev() {
        let window = DateRange { start: manifest.asked.t0, end: manifest.asked.t1 };
        let later = out.answered.get(&manifest.vendor);
        let said_again = later.is_some_and(|of| !manifest.asked.symbols.is_empty() && manifest.asked.symbols.iter().all(|s| covers(of, s, window)));
        if said_again && manifest.ingested_at.utc_day().plus_days(REMEMBERED_DAYS) < newest.utc_day() {
            // Each of its events was stated again since, or taken back.
            continue;
        }
        let Some(rows) = rows_of(root, manifest, &mut out.damaged)? else { continue };
        out.take(manifest, rows, &mut spoken, due);
        if manifest.complete {
            let of = out.answered.entry(manifest.vendor.clone()).or_default();
            let whole = manifest.asked.symbols.is_empty().then(String::new);
            manifest.asked.symbols.iter().cloned().chain(whole).for_each(|s| of.entry(s).or_default().add(window));
        }
    }
    // The answers come newest first; what one of them says together stays together.
    [&mut out.live, &mut out.taken_back, &mut out.unusable].into_iter().for_each(|list| list.sort_by(order));
    if !root.is_world() {
        out.proof = Proof::From(out.live.iter().filter(|s| s.vendor == FIRST).map(|s| s.action.ex_date).min());
    }
    Ok(out)
}

impl Told {
    fn take(&mut self, manifest: &Manifest, rows: Vec<Row>, spoken: &mut BTreeSet<(String, String)>, due: TradingDay) {
        let window = (manifest.asked.t0, manifest.asked.t1.plus_days(-1).max(manifest.asked.t0));
        let later = self.answered.get(&manifest.vendor);
        let (mut live, mut back, mut here) = (Vec::new(), Vec::new(), Vec::new());
        for Row { action, id, filed } in rows {
            let key = (manifest.vendor.clone(), id);
            if spoken.contains(&key) {
                continue;
            }
            here.push(key);
            // The name that was asked for when the row came.
            let by_new = |new: &&String| !manifest.asked.symbols.contains(&action.symbol) && manifest.asked.symbols.contains(*new);
            let name = action.new_symbol.as_ref().filter(by_new).unwrap_or(&action.symbol);
            let filed = filed.clamp(window.0, window.1);
            let gone = later.is_some_and(|of| covers(of, name, DateRange { start: filed, end: filed.plus_days(1) }));
            let statement = Statement { vendor: manifest.vendor.clone(), action, at: manifest.ingested_at };
            if gone { back.push(statement) } else { live.push(statement) }
        }
        spoken.extend(here);
        let has_come = |s: &Statement| s.action.ex_date <= due;
        self.taken_back.extend(back.into_iter().filter(has_come));
        let (usable, unusable): (Vec<_>, Vec<_>) = live.into_iter().filter(has_come).partition(|s| s.action.is_usable());
        self.live.extend(usable);
        self.unusable.extend(unusable);
    }
}

/// The rows of an answer; `None` where not all of it can be used, so that it vouches for nothing.
fn rows_of(root: &DataRoot, manifest: &Manifest, damaged: &mut Vec<String>) -> Result<Option<Vec<Row>>> {
    let mut out = Some(Vec::new());
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for segment in &manifest.segments {
        let rows = sources::read(root, segment)?.ok().and_then(|frame| parse(&frame, &mut times).ok());
        match (rows, out.as_mut()) {
            (Some(rows), Some(all)) => all.extend(rows),
            (Some(_), None) => {}
            (None, _) => {
                damaged.push(segment.path.to_string());
                out = None;
            }
        }
    }
    Ok(out)
}

fn parse(frame: &DataFrame, times: &mut BTreeMap<String, usize>) -> Result<Vec<Row>> {
    let n = frame.height();
    // Answers of earlier versions have no such columns.
    let ids = frame::texts(frame, "vendor_id").unwrap_or_else(|_| vec![None; n]);
    let filed = frame::days(frame, "process_date").unwrap_or_else(|_| vec![None; n]);
    let mut out = Vec::with_capacity(n);
    for (i, action) in super::actions::from_frame(frame)?.into_iter().enumerate() {
        let Some(action) = action else { continue };
        // Without a number an event is known by what it is, and the second of a day by its place in the answer.
        let id = ids[i].filter(|id| !id.is_empty()).map_or_else(
            || {
                let name = format!("{} {} {}", action.symbol, action.family(), action.ex_date);
                let n = times.entry(name.clone()).and_modify(|n| *n += 1).or_insert(1);
                format!("{name} {n}")
            },
            str::to_string,
        );
        out.push(Row { filed: filed[i].unwrap_or(action.ex_date), id, action });
    }
    Ok(out)
}

#[cfg(test)]
#[path = "statements_tests.rs"]
mod tests;
