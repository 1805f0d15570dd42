//! What two vendors say about the same closes: the evidence behind `SOURCES_DISAGREE`, and behind the trust in the rest.
//!
//! Honest vendors differ by cents, and by percents now and then; a difference of scale is an error of one of them. Which
//! one cannot be told from two, so both words are kept.

use super::AuditConfig;
use super::bars::{self, Candidate, Catalogue};
use crate::error::Result;
use crate::ledger::store_if_changed;
use crate::root::{DataPath, DataRoot};
use crate::schema::{table, timeframe};
use crate::store;
use crate::time::{DateRange, TradingDay};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Closes that are listed one by one; the counts hold all of them.
const LISTED: usize = 500;
/// Half a cent: closes that are nearer than this are the same price.
const SAME_USD: f64 = 0.005;

/// How far apart two closes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    SameToACent,
    Near,
    /// Beyond the threshold of a note (`close_note_bps`).
    Noted,
    /// Beyond the tolerance (`sources_disagree`): the session is AMBER.
    Disagree,
}

/// One close of two vendors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Apart {
    pub symbol: String,
    pub day: TradingDay,
    pub vendor: String,
    pub close: f64,
    pub other_vendor: String,
    pub other_close: f64,
    pub apart_bps: f64,
    pub distance: Distance,
}

/// Two vendors' closes, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pair {
    pub vendor: String,
    pub other_vendor: String,
    pub symbols: usize,
    pub compared: u64,
    pub by_distance: BTreeMap<Distance, u64>,
    pub worst_bps: f64,
}

/// Everything that two vendors have said about the same day.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Compared {
    pub pairs: Vec<Pair>,
    /// Noted and disagreeing closes, the farthest first, at most 500.
    pub apart: Vec<Apart>,
}

impl Compared {
    /// One sentence for a log or a screen.
    pub fn sentence(&self) -> String {
        let of = |p: &Pair| {
            let count = |d: Distance| p.by_distance.get(&d).copied().unwrap_or(0);
            let (noted, disagree) = (count(Distance::Noted), count(Distance::Disagree));
            text!("{} closes of {} and {} compared, {noted} noted, {disagree} beyond tolerance", p.compared, p.vendor, p.other_vendor)
        };
        if self.pairs.is_empty() { "no second vendor was asked".into() } else { self.pairs.iter().map(of).collect::<Vec<_>>().join("; ") }
    }
}

/// Compare every day bar that two vendors or more have brought, and keep the evidence in `qc/cross_vendor.json`.
pub fn compare(root: &DataRoot, config: &AuditConfig) -> Result<Compared> {
    let catalogue = Catalogue::load(root, table::RAW_EQUITIES_BARS, timeframe::DAY)?;
    let collected = bars::collect(root, &catalogue, &asked_twice(&catalogue))?;
    let mut pairs: BTreeMap<(String, String), (Pair, BTreeSet<String>)> = BTreeMap::new();
    let mut out = Compared::default();
    for (symbol, candidates) in collected.rows {
        for one in twice(&symbol, &candidates, &catalogue, config) {
            let (pair, symbols) = pairs.entry((one.vendor.clone(), one.other_vendor.clone())).or_default();
            (pair.vendor, pair.other_vendor) = (one.vendor.clone(), one.other_vendor.clone());
            pair.compared += 1;
            pair.worst_bps = pair.worst_bps.max(one.apart_bps);
            *pair.by_distance.entry(one.distance).or_default() += 1;
            symbols.insert(symbol.clone());
            if one.distance >= Distance::Noted {
                out.apart.push(one);
            }
        }
    }
    out.pairs = pairs.into_values().map(|(pair, symbols)| Pair { symbols: symbols.len(), ..pair }).collect();
    out.apart.sort_by(|a, b| b.apart_bps.total_cmp(&a.apart_bps).then_with(|| (&a.symbol, a.day).cmp(&(&b.symbol, b.day))));
    out.apart.truncate(LISTED);
    if !out.pairs.is_empty() {
        store_if_changed(root, &DataPath::new("qc/cross_vendor.json")?, store::canonical_json(&out)?.into_bytes())?;
    }
    Ok(out)
}

/// Per symbol the days about which more than one vendor was asked: only those are read.
fn asked_twice(catalogue: &Catalogue) -> BTreeMap<String, DateRange> {
    let mut spans: BTreeMap<(&str, &str), DateRange> = BTreeMap::new();
    for (_, m) in &catalogue.manifests {
        for symbol in m.segments.iter().flat_map(|s| &s.symbols) {
            let days = DateRange { start: m.asked.t0, end: m.asked.t1 };
            let span = spans.entry((symbol, &m.vendor)).or_insert(days);
            *span = DateRange { start: span.start.min(days.start), end: span.end.max(days.end) };
        }
    }
    let mut out: BTreeMap<String, DateRange> = BTreeMap::new();
    for ((symbol, vendor), days) in &spans {
        for (_, other) in spans.range((*symbol, "")..).take_while(|((s, _), _)| s == symbol).filter(|((_, v), _)| v > vendor) {
            if let Some(both) = days.intersect(other) {
                let span = out.entry((*symbol).to_string()).or_insert(both);
                *span = DateRange { start: span.start.min(both.start), end: span.end.max(both.end) };
            }
        }
    }
    out
}

/// The days of a symbol on which two vendors have a close: the preferred one, and each other's word beside it.
fn twice(symbol: &str, candidates: &[Candidate], catalogue: &Catalogue, config: &AuditConfig) -> Vec<Apart> {
    let vendor_of = |c: &Candidate| catalogue.manifests[c.manifest].1.vendor.as_str();
    let place = |vendor: &str| config.source_order.iter().position(|o| o == vendor).unwrap_or(config.source_order.len());
    // The newest answer of a vendor is its word; candidates come in the order of their manifests.
    let mut said: BTreeMap<TradingDay, BTreeMap<(usize, &str), (usize, f64)>> = BTreeMap::new();
    for c in candidates {
        let Some(close) = c.bar.close.filter(|p| *p > 0.0) else { continue };
        let vendor = vendor_of(c);
        let word = said.entry(c.bar.day).or_default().entry((place(vendor), vendor)).or_insert((c.manifest, close));
        if c.manifest >= word.0 {
            *word = (c.manifest, close);
        }
    }
    let mut out = Vec::new();
    for (day, words) in said {
        let mut words = words.into_iter();
        let Some(((_, vendor), (_, close))) = words.next() else { continue };
        for ((_, other_vendor), (_, other_close)) in words {
            let apart = (close / other_close - 1.0).abs().max((other_close / close - 1.0).abs());
            let distance = if (close - other_close).abs() < SAME_USD {
                Distance::SameToACent
            } else if apart > config.qc.sources_disagree {
                Distance::Disagree
            } else if apart * 1e4 > config.qc.close_note_bps {
                Distance::Noted
            } else {
                Distance::Near
            };
            let apart_bps = (apart * 1e8).round() / 1e4;
            let (vendor, other_vendor) = (vendor.to_string(), other_vendor.to_string());
            out.push(Apart { symbol: symbol.into(), day, vendor, close, other_vendor, other_close, apart_bps, distance });
        }
    }
    out
}
