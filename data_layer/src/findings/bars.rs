//! Day bars: every partition that is not GREEN, with what the bars around it say about the reason.

use super::{Classes, Section, actions};
use crate::audit::AuditConfig;
use crate::audit::bars::{self, Catalogue, Series};
use crate::calendar::Calendar;
use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Row};
use crate::qc::Bar;
use crate::root::DataRoot;
use crate::schema::{table, timeframe};
use crate::time::{DateRange, TradingDay};
use std::collections::{BTreeMap, BTreeSet};

/// Volume of a day over the median of the twenty sessions before it, from which on a move was traded, not mistyped.
const BUSY: f64 = 2.5;
/// Relative distance of a move from a split's ratio at which it looks like one.
const SPLIT_LIKE: f64 = 0.02;
/// Closes of neighbouring sessions that are nearer than this agree …
const AGREE: f64 = 0.1;
/// … and one that is further than this from both lies apart.
const APART: f64 = 0.2;
/// Sessions after a name's first bar in which its prices are those of a new listing.
const FIRST_WEEK: usize = 5;
const RATIOS: [f64; 8] = [2.0, 3.0, 1.5, 4.0, 5.0, 7.0, 10.0, 20.0];

pub(super) fn section(root: &DataRoot, db: &Db) -> Result<Option<Section>> {
    let all = ledger::all_rows(db)?;
    let rows: Vec<&Row> = all.iter().filter(|r| r.key.table_name == table::RAW_EQUITIES_BARS && r.key.partition_key == timeframe::DAY).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let mut out = Section { dataset: "equities_eod".into(), ..Section::default() };
    for row in &rows {
        *out.codes.entry(format!("{} {}", row.verdict.status.as_str(), row.verdict.qc_code)).or_default() += 1;
    }
    let symbols: BTreeSet<&str> = rows.iter().map(|r| r.key.symbol.as_str()).collect();
    let sessions: BTreeSet<TradingDay> = rows.iter().map(|r| r.key.dt).collect();
    out.counts = BTreeMap::from([
        ("partitions expected".into(), rows.len() as u64),
        ("symbols".into(), symbols.len() as u64),
        ("sessions".into(), sessions.len() as u64),
        ("bars stored".into(), rows.iter().map(|r| r.verdict.row_count).sum()),
    ]);
    let troubled: Vec<&Row> = rows.iter().copied().filter(|r| r.verdict.qc_code != "OK").collect();
    let series = series_of(root, &troubled, &sessions)?;
    let mut classes = Classes::default();
    for row in troubled {
        let empty = Series::default();
        let (class, example) = judge(row, series.get(&row.key.symbol).unwrap_or(&empty));
        classes.add(class, || format!("{} {}: {example}", row.key.symbol, row.key.dt));
    }
    out.anomalies = classes.explained(why);
    Ok(Some(out))
}

/// The bars of the symbols in trouble, over the whole window: an anomaly is judged by its neighbours.
fn series_of(root: &DataRoot, troubled: &[&Row], sessions: &BTreeSet<TradingDay>) -> Result<BTreeMap<String, Series>> {
    let (Some(first), Some(last)) = (sessions.first(), sessions.last()) else { return Ok(BTreeMap::new()) };
    let window = DateRange { start: *first, end: last.plus_days(1) };
    let wanted = troubled.iter().map(|r| (r.key.symbol.clone(), window)).collect();
    let catalogue = Catalogue::load(root, table::RAW_EQUITIES_BARS, timeframe::DAY)?;
    let order = AuditConfig::builtin()?.source_order;
    let collected = bars::collect(root, &catalogue, &wanted)?;
    Ok(collected.rows.into_iter().map(|(symbol, rows)| (symbol, bars::resolve(rows, &catalogue, &order))).collect())
}

/// A number as a person reads it.
pub(super) fn cell(value: Option<f64>) -> String {
    value.map_or("null".to_string(), |v| v.to_string())
}

/// The class of an anomaly and what was seen.
fn judge(row: &Row, series: &Series) -> (&'static str, String) {
    let day = row.key.dt;
    let here = series.bars.iter().position(|b| b.day == day);
    match (row.verdict.qc_code.as_str(), here) {
        ("NULL_CELLS", Some(i)) => ("cells are null", text!("no {}", missing(&series.bars[i]).join(", "))),
        ("MOVE_UNEXPLAINED", Some(i)) => moved(series, i),
        ("OHLC", Some(i)) => {
            let b = &series.bars[i];
            ("prices contradict each other", text!("open {} high {} low {} close {}", cell(b.open), cell(b.high), cell(b.low), cell(b.close)))
        }
        ("STALE_REPEAT", _) => ("the same close and volume again and again", String::new()),
        ("SOURCES_DISAGREE", Some(i)) => {
            let theirs = series.origins[i].other_close.map_or(String::new(), |c| text!(", another vendor {c}"));
            ("two vendors' closes are far apart", format!("{}{theirs}", cell(series.bars[i].close)))
        }
        ("MISSING" | "SUSPICIOUS_EMPTY" | "VENDOR_EMPTY" | "BEFORE_FIRST_BAR", _) => absent(row, series),
        (code, _) => (other(code), row.verdict.qc_code.clone()),
    }
}

fn missing(bar: &Bar) -> Vec<&'static str> {
    let cells = [("open", bar.open), ("high", bar.high), ("low", bar.low), ("close", bar.close), ("volume", bar.volume)];
    cells.into_iter().filter(|(_, v)| v.is_none()).map(|(name, _)| name).collect()
}

/// A close far from the one before it, without an action that explains it.
fn moved(series: &Series, i: usize) -> (&'static str, String) {
    let (before, bar) = (series.bars[..i].iter().rev().find_map(|b| b.close), series.bars[i].close);
    let (Some(before), Some(close)) = (before, bar) else { return ("a large move without an action, of unknown cause", String::new()) };
    let mut volumes: Vec<f64> = series.bars[i.saturating_sub(20)..i].iter().filter_map(|b| b.volume).collect();
    volumes.sort_by(f64::total_cmp);
    let usual = volumes.get(volumes.len() / 2).copied().unwrap_or(0.0);
    let busy = if usual > 0.0 { series.bars[i].volume.unwrap_or(0.0) / usual } else { 0.0 };
    let seen = text!("close {before} to {close} ({:+.1} %), volume {busy:.1} times the usual", (close / before - 1.0) * 100.0);
    if series.bars.iter().all(|b| b.volume.unwrap_or(0.0) == 0.0) {
        return ("a large move of something that is not traded", seen);
    }
    let ratio = (before / close).max(close / before);
    let stays = series.bars[i + 1..].iter().take(5).filter_map(|b| b.close).all(|c| (c / close - 1.0).abs() < 0.3);
    if busy >= BUSY {
        ("a large move that was traded", seen)
    } else if RATIOS.iter().any(|r| (ratio / r - 1.0).abs() < SPLIT_LIKE) && stays {
        ("a large move that looks like a split", seen)
    } else if let Some(words) = out_of_line(series, i) {
        ("a session out of line with those around it", format!("{seen}; {words}"))
    } else if !stays {
        ("a single close out of line", seen)
    } else if i <= FIRST_WEEK {
        ("a large move in a name's first week", seen)
    } else {
        ("a large move without an action, of unknown cause", seen)
    }
}

/// Whether this session, or the one before it, lies apart from two neighbours that agree; what was seen.
fn out_of_line(series: &Series, i: usize) -> Option<String> {
    let close = |k: usize| series.bars.get(k).and_then(|b| b.close);
    let far = |a: f64, b: f64| (a / b).max(b / a) - 1.0;
    let apart = |odd: usize| {
        let (before, here, after) = (close(odd.checked_sub(1)?)?, close(odd)?, close(odd + 1)?);
        (far(before, after) < AGREE && far(here, before) > APART && far(here, after) > APART).then_some((before, here, after))
    };
    let told = |odd: usize, (before, here, after): (f64, f64, f64)| text!("closes {before}, {here}, {after} around {}", series.bars[odd].day);
    apart(i).map(|three| told(i, three)).or_else(|| i.checked_sub(1).and_then(|odd| apart(odd).map(|three| told(odd, three))))
}

/// Where in a name's life a bar is missing.
fn absent(row: &Row, series: &Series) -> (&'static str, String) {
    let cal = Calendar::xnys();
    let Some((first, last)) = bars::extent(series) else { return ("a name without a single bar", row.verdict.qc_code.clone()) };
    let day = row.key.dt;
    if day < first {
        ("before a name's first bar", text!("its first bar is of {first}"))
    } else if day > last {
        ("after a name's last bar", text!("its last bar is of {last}"))
    } else {
        let hole = cal.sessions(DateRange { start: first, end: last.plus_days(1) }).len() - series.bars.len();
        ("a hole in a name's life", text!("one of {hole} sessions missing between {first} and {last}; {}", row.verdict.qc_code))
    }
}

fn other(code: &str) -> &'static str {
    match code {
        "MISSING_ROWS" => "fewer rows than expected",
        "CHECKSUM_MISMATCH" | "SCHEMA" => "stored bytes that are not what was stored",
        "DUPLICATES" => "two bars for one session",
        "NOT_ENTITLED" => "outside the key's plan",
        "FEED_CHANGED" => "the feed changed",
        "ACTIONS_DISAGREE" => actions::DISAGREE,
        "ACTION_UNAPPLIED" => actions::UNAPPLIED,
        "QUARANTINED" => "a bar of another company",
        "TICKER_UNKNOWN" => "a day whose ticker is not known",
        "BREAK_ACROSS_GAP" => "a break of the price across a gap",
        _ => "of no known class",
    }
}

fn why(class: &str) -> &'static str {
    match class {
        "cells are null" => "The source gives no value for these cells. They stay null, are never filled, and keep the session AMBER.",
        "a large move that was traded" => {
            "The price moved by more than 30 % on a multiple of the usual volume: news, not an error of data. AMBER because no corporate action \
             accounts for it; a second vendor's close would settle it."
        }
        "a large move of something that is not traded" => {
            "The series has no volume at all: an index, not a share. A volatility index moves by such amounts; no action could account for it."
        }
        "a large move that looks like a split" => {
            "The ratio of the closes is a split's, the price stays there and volume is ordinary: a split that the source's actions lack, or a spin-off."
        }
        "a single close out of line" => "The price is back within a week: one session's close is wrong at the source, or trading was halted around it.",
        "a session out of line with those around it" => {
            "The closes before and after it agree within a tenth, and its own lies more than a fifth from both, on ordinary volume: that session's bar \
             is wrong at the source. The way there and the way back are both AMBER; what the right prices were only a second vendor can say."
        }
        "a large move in a name's first week" => {
            "The name had been listed for a few sessions: a share that begins by a merger or a spin-off changes its terms then, and this source has no \
             actions to say which. Where the new level holds, it is the listing's."
        }
        "before a name's first bar" => "The name was listed later than the window begins and no listing date says so: expected until a dated listing is known.",
        "after a name's last bar" => "The source stops before the window ends and no delisting date says so.",
        "a hole in a name's life" => {
            "The source holds no bar for these sessions while the name was trading. The vendor was asked again and sent nothing; only a second vendor can fill it."
        }
        "a name without a single bar" => {
            "No source has a price of it: a name that is not listed there (a typing error in a list, perhaps), or one whose listing alone is known."
        }
        "prices contradict each other" => "Open or close lies outside low to high by more than rounding: wrong at the source, RED, never used.",
        "the same close and volume again and again" => "Five sessions or more with equal close and volume: the source repeated its last bar.",
        "two vendors' closes are far apart" => {
            "Beyond the tolerance for honest vendors: one of them is wrong by scale. Both words are in qc/cross_vendor.json."
        }
        "fewer rows than expected" => "An answer was complete and shorter than the session asks for.",
        "stored bytes that are not what was stored" => "Damage on the drive: found by digest, asked for again.",
        "two bars for one session" => "One answer said two things about one session.",
        "outside the key's plan" => "The vendor's plan does not include these sessions.",
        "the feed changed" => "A part of the series comes from another feed: closes and volumes may step there.",
        "a bar of another company" => {
            "The ticker was another company's on that day: the bar is never curated, and the company's own is asked for under the ticker it had."
        }
        "a day whose ticker is not known" => {
            "The listing has the company's date, and the ticker was another company's then. Nobody has said what this one was called, so nothing is asked."
        }
        "a break of the price across a gap" => {
            "More than ten sessions without a bar, then a price more than 30 % away that no action accounts for: a long halt, or another company's bars."
        }
        other => actions::why(other),
    }
}
