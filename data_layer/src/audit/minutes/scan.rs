//! Reading minute segments, a session of one symbol at a time.

use super::Wanted;
use super::is_sound;
use crate::audit::bars::{Catalogue, Damaged, Origin};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::qc::{Minute, QcCode, Session, Summary};
use crate::reference::sources;
use crate::root::DataRoot;
use crate::segment::Segment;
use crate::time::{DateRange, TradingDay};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The columns that a verdict and a curated row are made from.
const COLUMNS: &[&str] = &["date", "ts", "symbol", "open", "high", "low", "close", "vwap", "volume", "session_id", "feed"];

/// One manifest's minutes of a session.
#[derive(Clone, Debug)]
pub(crate) struct Held<T> {
    pub manifest: usize,
    pub summary: Summary,
    pub kept: T,
}

/// What reading gave beside the sessions.
#[derive(Default)]
pub(crate) struct Scanned {
    pub damaged: Vec<Damaged>,
    /// Sessions that are stored under a symbol and are another company's, and the manifest that brought them last.
    pub of_others: BTreeMap<(String, TradingDay), usize>,
    pub segments_read: u64,
    pub bytes_read: u64,
}

type Visit<'a> = dyn FnMut(&str, usize, Session) + 'a;

/// Read every segment that holds something wanted, verify it, and hand its wanted sessions to `visit` with the manifest's
/// position. A bad segment contributes nothing.
pub(crate) fn scan(root: &DataRoot, catalogue: &Catalogue, wanted: &Wanted, visit: &mut Visit<'_>) -> Result<Scanned> {
    let mut out = Scanned::default();
    for (index, (_, manifest)) in catalogue.manifests.iter().enumerate() {
        for segment in manifest.segments.iter().filter(|s| concerns(s, wanted)) {
            root.host().check_cancelled()?;
            out.segments_read += 1;
            out.bytes_read += segment.bytes;
            let of_others = &mut out.of_others;
            let mut own = |symbol: &str, index: usize, session: Session| {
                if catalogue.is_of_another(index, symbol, session.day) {
                    of_others.insert((symbol.to_string(), session.day), index);
                } else {
                    visit(symbol, index, session);
                }
            };
            let code = match sources::read_columns(root, segment, COLUMNS)? {
                Ok(rows) => match take(&rows, segment, index, wanted, &mut own) {
                    Ok(true) => continue,
                    _ => QcCode::Schema,
                },
                Err(code) => code,
            };
            out.damaged.push(Damaged::of(manifest, index, segment, code));
        }
    }
    Ok(out)
}

fn concerns(segment: &Segment, wanted: &Wanted) -> bool {
    let days = DateRange { start: segment.t0, end: segment.t1 };
    segment.symbols.iter().any(|s| wanted.get(s).is_some_and(|w| w.iter().any(|w| w.intersect(&days).is_some())))
}

/// `Ok(false)`, or an error: the contents are not what the manifest describes.
fn take(rows: &DataFrame, segment: &Segment, manifest: usize, wanted: &Wanted, visit: &mut Visit<'_>) -> Result<bool> {
    let (symbol, day, ts) = (frame::texts(rows, "symbol")?, frame::days(rows, "date")?, frame::stamps(rows, "ts")?);
    let (open, high) = (frame::floats(rows, "open")?, frame::floats(rows, "high")?);
    let (low, close) = (frame::floats(rows, "low")?, frame::floats(rows, "close")?);
    let (vwap, volume) = (frame::floats(rows, "vwap")?, frame::floats(rows, "volume")?);
    let (session, feed) = (frame::texts(rows, "session_id")?, frame::texts(rows, "feed")?);
    let declared: BTreeSet<&str> = segment.symbols.iter().map(String::as_str).collect();
    // Where one session of one symbol ends and the next begins. Everything is checked before anything is handed on.
    let mut runs: Vec<(&str, TradingDay, std::ops::Range<usize>)> = Vec::new();
    let mut hours = (0, 0);
    for (i, ((s, d), t)) in symbol.iter().zip(&day).zip(&ts).enumerate() {
        let (Some(s), Some(d), Some(t)) = (*s, *d, *t) else { return Ok(false) };
        match runs.last_mut() {
            Some((last, on, rows)) if *last == s && *on == d => rows.end = i + 1,
            _ => {
                if d < segment.t0 || d >= segment.t1 || !declared.contains(s) {
                    return Ok(false);
                }
                // From midnight to midnight in New York, 9.5 hours before the open.
                let start = Calendar::xnys().open(d).micros() - 34_200_000_000;
                hours = (start, start + 86_400_000_000);
                runs.push((s, d, i..i + 1));
            }
        }
        if t.micros() < hours.0 || t.micros() >= hours.1 {
            return Ok(false);
        }
    }
    for (s, d, rows) in runs {
        if !wanted.get(s).is_some_and(|w| w.iter().any(|w| w.contains(d))) {
            continue;
        }
        let minute = |i: usize| {
            let ts = ts[i]?;
            Some(Minute { ts, ohlc: [open[i], high[i], low[i], close[i]], vwap: vwap[i], volume: volume[i] })
        };
        let mixed_feed = rows.clone().any(|i| feed[i] != feed[rows.start]);
        let session_id = session[rows.start].map(Arc::from);
        visit(s, manifest, Session { day: d, bars: rows.filter_map(minute).collect(), session_id, mixed_feed });
    }
    Ok(true)
}

/// The answer that serves a session when several say something about it: per vendor the newest complete one, then the first
/// vendor of `order` whose minutes are sound. A session that comes twice in one answer is a duplicate.
pub(crate) fn choose<T: Clone>(held: &[Held<T>], catalogue: &Catalogue, order: &[String]) -> Option<(Held<T>, Origin)> {
    let of = |h: &Held<T>| &catalogue.manifests[h.manifest].1;
    let vendors: BTreeSet<&str> = held.iter().map(|h| of(h).vendor.as_str()).collect();
    let mut best: Option<((bool, usize), Held<T>, Origin)> = None;
    for name in vendors {
        let mine = || held.iter().filter(|h| of(h).vendor == name);
        let Some(newest) = mine().max_by_key(|h| (of(h).complete, h.manifest)) else { continue };
        let mut chosen = newest.clone();
        if mine().filter(|h| h.manifest == newest.manifest).count() > 1 {
            chosen.summary.code = QcCode::Duplicates;
        }
        let times = || mine().map(|h| of(h).ingested_at);
        let origin = Origin {
            vendor: name.to_string(),
            standing: (of(newest).complete, newest.manifest),
            first: times().min().unwrap_or(of(newest).ingested_at),
            last: times().max().unwrap_or(of(newest).ingested_at),
            rows: chosen.summary.rows,
            revised: mine().any(|h| h.manifest < newest.manifest && h.summary.digest != newest.summary.digest),
            other_close: None,
        };
        let rank = (!is_sound(&chosen.summary), order.iter().position(|o| o == name).unwrap_or(order.len()));
        if best.as_ref().is_none_or(|(held, ..)| rank < *held) {
            best = Some((rank, chosen, origin));
        }
    }
    best.map(|(_, chosen, origin)| (chosen, origin))
}
