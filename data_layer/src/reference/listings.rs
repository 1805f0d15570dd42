//! When each symbol was listed. Built from dated listing snapshots; the newest statement about a listing wins.

use super::actions::CorpAction;
use super::sources::{self, Merged};
use super::{REF_LISTINGS, ReferenceReport, read_table};
use crate::error::Result;
use crate::frame;
use crate::root::{DataPath, DataRoot};
use crate::schema::{columns, dataset, table};
use crate::segment::Manifest;
use crate::time::{DateRange, TradingDay};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};

/// One listing of a symbol. A reused ticker has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub symbol: String,
    pub name: String,
    pub exchange: String,
    pub asset_type: String,
    pub ipo_date: Option<TradingDay>,
    /// First day on which the symbol was no longer listed.
    pub delisting_date: Option<TradingDay>,
    pub status: String,
    /// Day of the snapshot that said so.
    pub asof: TradingDay,
}

/// Words in a listing's name of paper that is not common stock. A trust may be one: real estate trusts are companies.
const OTHER_PAPER: [&str; 14] =
    ["preferred", "pfd", "warrant", "warrants", "rights", "units", "notes", "debentures", "debenture", "depositary", "adr", "ads", "etf", "etn"];

impl Listing {
    /// Whether this is common stock of a company: no fund, preferred stock, warrant, right, unit, note or receipt.
    pub fn is_common_stock(&self) -> bool {
        let class = self.symbol.split(['-', '/', ' ']).nth(1).unwrap_or_default();
        let other =
            self.name.contains('%') || self.name.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| OTHER_PAPER.contains(&w.to_ascii_lowercase().as_str()));
        let suffix = class.starts_with('P') && class != "PUB" || matches!(class, "W" | "WS" | "WT" | "U" | "UN" | "R" | "RT");
        self.asset_type.eq_ignore_ascii_case("stock") && !other && !suffix
    }
}

/// A delisting, as `reference/delistings` holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delisting {
    pub symbol: String,
    pub delist_date: TradingDay,
    /// `worthless`, `merger`, `renamed`, or `delisted` where nothing more is known.
    pub reason: String,
    /// Dollars that a share was worth in the end, where an event says so.
    pub terminal_value: Option<f64>,
}

/// Whether a bar of a symbol is expected on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Yes,
    No,
    /// Nobody has said when the symbol was first listed: expected, but its absence before the first bar is explained.
    Unknown,
}

/// Listing intervals by symbol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListingSpans(BTreeMap<String, Vec<(Option<TradingDay>, Option<TradingDay>)>>);

impl ListingSpans {
    /// From `reference/listings`; a drive without that table knows no listings.
    pub fn load(root: &DataRoot) -> Result<Self> {
        Ok(Self::of(&load_listings(root)?))
    }
    pub fn of(listings: &[Listing]) -> Self {
        let mut out: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for l in listings {
            out.entry(l.symbol.clone()).or_default().push((l.ipo_date, l.delisting_date));
        }
        Self(out)
    }
    /// Whether a bar of `symbol` is expected on the session `day`.
    pub fn expected(&self, symbol: &str, day: TradingDay) -> Listed {
        Self::within(self.spans(symbol), day)
    }
    /// As [`Self::expected`], for the intervals of one symbol.
    pub fn within(spans: Option<&[(Option<TradingDay>, Option<TradingDay>)]>, day: TradingDay) -> Listed {
        let Some(spans) = spans else { return Listed::Unknown };
        let mut verdict = Listed::No;
        for (from, to) in spans {
            if to.is_some_and(|t| day >= t) {
                continue;
            }
            match from {
                Some(from) if *from <= day => return Listed::Yes,
                None => verdict = Listed::Unknown,
                Some(_) => {}
            }
        }
        verdict
    }
    /// Whether a symbol was listed on some day of a range, or nobody has said when it was.
    pub fn overlaps(&self, symbol: &str, range: DateRange) -> bool {
        let meets = |(from, to): &(Option<TradingDay>, Option<TradingDay>)| from.is_none_or(|from| from < range.end) && to.is_none_or(|to| range.start < to);
        self.spans(symbol).is_none_or(|spans| spans.iter().any(meets))
    }
    /// `[listed, delisted)` intervals of a symbol; `None` when no snapshot names it.
    pub fn spans(&self, symbol: &str) -> Option<&[(Option<TradingDay>, Option<TradingDay>)]> {
        self.0.get(symbol).map(Vec::as_slice)
    }
}

/// The newest statement about each listing.
pub(super) type Newest = BTreeMap<(String, Option<TradingDay>), Listing>;

/// What lists of companies came to, so far as they were read.
#[derive(Default)]
pub(super) struct Lists {
    snapshots: Merged<Newest>,
    delisted: Merged<Newest>,
}

/// Merge every snapshot on the drive; those that were merged before are not read again. A list of delisted companies is a second
/// opinion: it tells of names that no snapshot knows, and moves no day of one that does, because what is expected of a symbol would follow.
pub(super) fn build(root: &DataRoot, lists: &mut Lists, report: &mut ReferenceReport) -> Result<Vec<Listing>> {
    let (second, first): (Vec<_>, Vec<_>) = sources::manifests(root, table::RAW_LISTINGS)?.into_iter().partition(|(_, m)| m.dataset == dataset::DELISTINGS);
    let mut out = settle(newest(root, &first, &mut lists.snapshots, report)?);
    let more = newest(root, &second, &mut lists.delisted, report)?;
    let known: BTreeSet<String> = out.iter().map(|l| l.symbol.clone()).collect();
    out.extend(settle(more.into_iter().filter(|l| !known.contains(&l.symbol)).collect()));
    out.sort_by(|a, b| (&a.symbol, a.ipo_date, a.delisting_date).cmp(&(&b.symbol, b.ipo_date, b.delisting_date)));
    Ok(out)
}

/// What the answers say of each listing, the newest word of each.
fn newest(root: &DataRoot, answers: &[(DataPath, Manifest)], merged: &mut Merged<Newest>, report: &mut ReferenceReport) -> Result<Vec<Listing>> {
    let from = merged.go_on(root, answers);
    for segment in answers.iter().skip(from).flat_map(|(_, m)| &m.segments) {
        let rows = match sources::read(root, segment)? {
            Ok(rows) if frame::require(&rows, columns::LISTINGS).is_ok() => rows,
            _ => {
                merged.damaged.push(segment.path.to_string());
                continue;
            }
        };
        for listing in from_frame(&rows)? {
            let key = (listing.symbol.clone(), listing.ipo_date);
            if merged.value.get(&key).is_none_or(|old| old.asof <= listing.asof) {
                merged.value.insert(key, listing);
            }
        }
    }
    report.damaged.extend(merged.damaged.iter().cloned());
    Ok(merged.value.values().cloned().collect())
}

/// Only the newest snapshot says who is listed. An older "active" row is superseded by a newer active one of the symbol
/// (its first day was corrected) or by a delisting; a name that simply vanished ended when a snapshot first lacked it.
fn settle(rows: Vec<Listing>) -> Vec<Listing> {
    let is_active = |l: &&Listing| l.delisting_date.is_none();
    let snapshots: BTreeSet<TradingDay> = rows.iter().filter(is_active).map(|l| l.asof).collect();
    let mut active: BTreeMap<String, TradingDay> = BTreeMap::new();
    for l in rows.iter().filter(is_active) {
        let asof = active.entry(l.symbol.clone()).or_insert(l.asof);
        *asof = (*asof).max(l.asof);
    }
    // Delistings without a first day borrow it from the active row that they end.
    let first_day: BTreeMap<String, Option<TradingDay>> = rows.iter().filter(is_active).map(|l| (l.symbol.clone(), l.ipo_date)).collect();
    let ended: BTreeSet<String> = rows.iter().filter(|l| l.delisting_date.is_some() && l.ipo_date.is_none()).map(|l| l.symbol.clone()).collect();
    let mut out = Vec::with_capacity(rows.len());
    for mut l in rows {
        if let Some(end) = l.delisting_date {
            let lent = first_day.get(&l.symbol).copied().flatten().filter(|first| *first < end);
            l.ipo_date = l.ipo_date.or(lent);
        } else if active.get(&l.symbol) != Some(&l.asof) {
            continue;
        } else if let Some(next) = snapshots.range(l.asof.plus_days(1)..).next() {
            if ended.contains(&l.symbol) {
                continue;
            }
            l.delisting_date = Some(*next);
            l.status = "Vanished".into();
        }
        out.push(l);
    }
    out.sort_by(|a, b| (&a.symbol, a.ipo_date, a.delisting_date).cmp(&(&b.symbol, b.ipo_date, b.delisting_date)));
    out
}

fn from_frame(rows: &DataFrame) -> Result<Vec<Listing>> {
    let text = |name: &str| -> Result<Vec<String>> { Ok(frame::texts(rows, name)?.into_iter().map(|t| t.unwrap_or("").to_string()).collect()) };
    let (symbol, name, exchange) = (text("symbol")?, text("name")?, text("exchange")?);
    let (asset_type, status) = (text("asset_type")?, text("status")?);
    let (ipo, delisted, asof) = (frame::days(rows, "ipo_date")?, frame::days(rows, "delisting_date")?, frame::days(rows, "asof")?);
    let mut out = Vec::with_capacity(symbol.len());
    for i in 0..symbol.len() {
        let Some(asof) = asof[i] else { continue };
        if symbol[i].is_empty() {
            continue;
        }
        out.push(Listing {
            symbol: symbol[i].clone(),
            name: name[i].clone(),
            exchange: exchange[i].clone(),
            asset_type: asset_type[i].clone(),
            ipo_date: ipo[i],
            delisting_date: delisted[i],
            status: status[i].clone(),
            asof,
        });
    }
    Ok(out)
}

pub(super) fn frame(rows: &[Listing]) -> Result<DataFrame> {
    let text = |f: &dyn Fn(&Listing) -> &str| rows.iter().map(|l| Some(f(l).to_string())).collect::<Vec<_>>();
    let day = |f: &dyn Fn(&Listing) -> Option<TradingDay>| rows.iter().map(f).collect::<Vec<_>>();
    frame::assemble(vec![
        frame::text_column("symbol", &text(&|l| &l.symbol)),
        frame::text_column("name", &text(&|l| &l.name)),
        frame::text_column("exchange", &text(&|l| &l.exchange)),
        frame::text_column("asset_type", &text(&|l| &l.asset_type)),
        frame::day_column("ipo_date", &day(&|l| l.ipo_date))?,
        frame::day_column("delisting_date", &day(&|l| l.delisting_date))?,
        frame::text_column("status", &text(&|l| &l.status)),
        frame::day_column("asof", &day(&|l| Some(l.asof)))?,
    ])
}

/// Why a listing ended, and what a share was worth then, as the corporate actions around its last day tell.
fn end_of(listing: &Listing, actions: &[CorpAction]) -> (&'static str, Option<f64>) {
    let Some(gone) = listing.delisting_date else { return ("listed", None) };
    let near = |a: &&CorpAction| a.symbol == listing.symbol && (a.ex_date.0 - gone.0).abs() <= 10;
    let found = actions.iter().filter(near).find_map(|a| match a.event_type.as_str() {
        "worthless_removal" => Some(("worthless", Some(0.0))),
        "cash_merger" => Some(("merger", a.cash)),
        "stock_merger" | "stock_and_cash_merger" => Some(("merger", None)),
        "name_change" => Some(("renamed", None)),
        _ => None,
    });
    found.unwrap_or(("delisted", None))
}

pub(super) fn delistings_frame(rows: &[Listing], actions: &[CorpAction]) -> Result<DataFrame> {
    let gone: Vec<&Listing> = rows.iter().filter(|l| l.delisting_date.is_some()).collect();
    let ends: Vec<(&str, Option<f64>)> = gone.iter().map(|l| end_of(l, actions)).collect();
    frame::assemble(vec![
        frame::text_column("symbol", &gone.iter().map(|l| Some(l.symbol.as_str())).collect::<Vec<_>>()),
        frame::day_column("delist_date", &gone.iter().map(|l| l.delisting_date).collect::<Vec<_>>())?,
        frame::text_column("reason", &ends.iter().map(|e| Some(e.0)).collect::<Vec<_>>()),
        frame::float_column("terminal_value", &ends.iter().map(|e| e.1).collect::<Vec<_>>()),
        frame::int_column("source_priority", &vec![Some(1); gone.len()]),
    ])
}

/// The dated universe: every listing, and the stage's symbols that no snapshot names. `to` is excluded, null = open.
/// Common stock is eligible; funds, preferreds, warrants and units are not.
pub(super) fn universe_frame(rows: &[Listing], staged: &[String]) -> Result<DataFrame> {
    let known: BTreeSet<&str> = rows.iter().map(|l| l.symbol.as_str()).collect();
    let mut all: Vec<(&str, Option<TradingDay>, Option<TradingDay>, &str, bool)> =
        rows.iter().map(|l| (l.symbol.as_str(), l.ipo_date, l.delisting_date, "listings", l.is_common_stock())).collect();
    all.extend(staged.iter().filter(|s| !known.contains(s.as_str())).map(|s| (s.as_str(), None, None, "stage", true)));
    all.sort();
    frame::assemble(vec![
        frame::text_column("symbol", &all.iter().map(|r| Some(r.0)).collect::<Vec<_>>()),
        frame::day_column("from", &all.iter().map(|r| r.1).collect::<Vec<_>>())?,
        frame::day_column("to", &all.iter().map(|r| r.2).collect::<Vec<_>>())?,
        frame::text_column("source", &all.iter().map(|r| Some(r.3)).collect::<Vec<_>>()),
        frame::bool_column("eligible", &all.iter().map(|r| r.4).collect::<Vec<_>>()),
    ])
}

/// `reference/listings`, in file order.
pub fn load_listings(root: &DataRoot) -> Result<Vec<Listing>> {
    read_table(root, REF_LISTINGS)?.map_or(Ok(Vec::new()), |rows| from_frame(&rows))
}

/// `reference/delistings`, in file order.
pub fn load_delistings(root: &DataRoot) -> Result<Vec<Delisting>> {
    let Some(rows) = read_table(root, table::REF_DELISTINGS)? else { return Ok(Vec::new()) };
    let (symbol, day, reason) = (frame::texts(&rows, "symbol")?, frame::days(&rows, "delist_date")?, frame::texts(&rows, "reason")?);
    // Drives of earlier versions have no such column.
    let value = frame::floats(&rows, "terminal_value").unwrap_or_else(|_| vec![None; rows.height()]);
    let row = |i: usize| {
        Some(Delisting { symbol: symbol[i]?.to_string(), delist_date: day[i]?, reason: reason[i].unwrap_or("").to_string(), terminal_value: value[i] })
    };
    Ok((0..rows.height()).filter_map(row).collect())
}
