//! Minute bars: how many a session has, what they add up to, and how that compares with the day's own bar.

use super::bars::cell;
use super::{Classes, Section};
use crate::audit::AuditConfig;
use crate::audit::bars::{self, Catalogue};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::ledger;
use crate::qc::{Bar, QcCode, bar_code};
use crate::root::DataRoot;
use crate::schema::{table, timeframe};
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

pub(super) fn section(root: &DataRoot, db: &Db) -> Result<Option<Section>> {
    let by_session = sessions(root)?;
    if by_session.is_empty() {
        return Ok(None);
    }
    let daily = days(root, by_session.keys())?;
    let cal = Calendar::xnys();
    let mut out = Section { dataset: "equities_minute".into(), ..Section::default() };
    let (mut classes, mut whole, mut total) = (Classes::default(), 0, 0);
    for ((symbol, day), minutes) in &by_session {
        let expected = usize::try_from((cal.close(*day).micros() - cal.open(*day).micros()) / 60_000_000).unwrap_or(0);
        total += minutes.len() as u64;
        let name = || format!("{symbol} {day}");
        match minutes.len() {
            n if n == expected => whole += 1,
            n if n < expected => classes.add("minutes without a bar", || text!("{}: {n} of {expected}", name())),
            n => classes.add("more bars than minutes", || text!("{}: {n} of {expected}", name())),
        }
        for bar in minutes {
            match bar_code(bar) {
                QcCode::Ok => {}
                QcCode::NullCells => classes.add("cells are null", name),
                _ => classes.add("prices contradict each other", name),
            }
        }
        let Some(bar) = daily.get(&(symbol.clone(), *day)) else {
            classes.add("no day bar to compare with", name);
            continue;
        };
        let sum: f64 = minutes.iter().filter_map(|m| m.volume).sum();
        let high = minutes.iter().filter_map(|m| m.high).fold(f64::MIN, f64::max);
        let low = minutes.iter().filter_map(|m| m.low).fold(f64::MAX, f64::min);
        let volume = bar.volume.filter(|v| *v > 0.0).unwrap_or(f64::NAN);
        if bar.high.is_some_and(|h| high > h * 1.0001) || bar.low.is_some_and(|l| low < l * 0.9999) {
            classes.add("minutes outside the day's range", || text!("{}: {low} to {high}, the day's {} to {}", name(), cell(bar.low), cell(bar.high)));
        }
        if (sum / volume - 1.0).abs() > 0.02 {
            classes.add("minutes' volume is not the day's", || {
                text!("{}: {sum:.0} in minutes, {volume:.0} in the day bar ({:+.1} %)", name(), (sum / volume - 1.0) * 100.0)
            });
        }
        let last = minutes.last().and_then(|m| m.close).unwrap_or(f64::NAN);
        if bar.close.is_some_and(|c| (last / c - 1.0).abs() > 0.0005) {
            classes.add("the last minute's close is not the day's", || text!("{}: {last} and {}", name(), cell(bar.close)));
        }
    }
    out.counts = BTreeMap::from([
        ("minutes stored".into(), total),
        ("sessions of symbols".into(), by_session.len() as u64),
        ("sessions with every minute".into(), whole),
    ]);
    for row in ledger::all_rows(db)? {
        if row.key.table_name == table::RAW_EQUITIES_BARS && row.key.partition_key == timeframe::MINUTE {
            *out.codes.entry(format!("{} {}", row.verdict.status.as_str(), row.verdict.qc_code)).or_default() += 1;
        }
    }
    out.anomalies = classes.explained(why);
    Ok(Some(out))
}

type Sessions = BTreeMap<(String, TradingDay), Vec<Bar>>;

/// Every stored minute by symbol and session: the newest answer about a session is its word.
fn sessions(root: &DataRoot) -> Result<Sessions> {
    let catalogue = Catalogue::load(root, table::RAW_EQUITIES_BARS, timeframe::MINUTE)?;
    let mut wanted: BTreeMap<String, DateRange> = BTreeMap::new();
    for segment in catalogue.manifests.iter().flat_map(|(_, m)| &m.segments) {
        for symbol in &segment.symbols {
            let span = wanted.entry(symbol.clone()).or_insert(DateRange { start: segment.t0, end: segment.t1 });
            *span = DateRange { start: span.start.min(segment.t0), end: span.end.max(segment.t1) };
        }
    }
    let mut out = Sessions::new();
    for (symbol, candidates) in bars::collect(root, &catalogue, &wanted)?.rows {
        let mut newest: BTreeMap<TradingDay, usize> = BTreeMap::new();
        for c in &candidates {
            let best = newest.entry(c.bar.day).or_insert(c.manifest);
            *best = (*best).max(c.manifest);
        }
        for c in candidates {
            if newest.get(&c.bar.day) == Some(&c.manifest) {
                out.entry((symbol.clone(), c.bar.day)).or_default().push(c.bar);
            }
        }
    }
    Ok(out)
}

/// The day bars of the same sessions.
fn days<'a>(root: &DataRoot, sessions: impl Iterator<Item = &'a (String, TradingDay)>) -> Result<BTreeMap<(String, TradingDay), Bar>> {
    let mut wanted: BTreeMap<String, DateRange> = BTreeMap::new();
    for (symbol, day) in sessions {
        let span = wanted.entry(symbol.clone()).or_insert(DateRange { start: *day, end: day.plus_days(1) });
        *span = DateRange { start: span.start.min(*day), end: span.end.max(day.plus_days(1)) };
    }
    let catalogue = Catalogue::load(root, table::RAW_EQUITIES_BARS, timeframe::DAY)?;
    let order = AuditConfig::builtin()?.source_order;
    let mut out = BTreeMap::new();
    for (symbol, rows) in bars::collect(root, &catalogue, &wanted)?.rows {
        out.extend(bars::resolve(rows, &catalogue, &order).bars.into_iter().map(|b| ((symbol.clone(), b.day), b)));
    }
    Ok(out)
}

fn why(class: &str) -> &'static str {
    match class {
        "minutes without a bar" => {
            "The source has no bar for these minutes. In a quiet name nothing traded; in a busy one the source lost them. Above 90 % the session stands."
        }
        "more bars than minutes" => "The answer holds bars outside the regular session, or two for one minute.",
        "cells are null" => "The source gives no value; it stays null.",
        "prices contradict each other" => "Open or close lies outside low to high: wrong at the source.",
        "no day bar to compare with" => "No day bar of this session is stored.",
        "minutes' volume is not the day's" => {
            "The day bar counts the auctions and trades reported late or outside the regular minutes; the minutes do not. The share is the auctions' and the extended hours'."
        }
        "the last minute's close is not the day's" => "The day's close is the closing auction's price; the last minute ends with the last trade before it.",
        "minutes outside the day's range" => "The day bar leaves out trades (odd lots, late prints) that the minutes hold.",
        _ => "",
    }
}
