//! What a row of a shadow book was computed from, as digests of prices as they traded: a dividend or a split restates every adjusted
//! price before it and revises none, so adjustments have a digest of their own.

use super::{ShadowModel, Shadowed};
use crate::types::{Matrix, Panel};
use data_layer::error::Result;
use data_layer::store::{digest_of, sha256_hex};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// Sessions before the first decision whose prices count as seen: the longest look-back of a feature.
const HISTORY_SESSIONS: usize = 252;
/// The kind of digest; rows of another kind cannot be compared.
const KIND: &str = "v2";

/// The digests of a row. All but the first are chains: they stand for every session since the book began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Sessions of history that `history` is of; fewer where the panel begins later.
    sessions: usize,
    /// Prices and shares of every name before the first decision, as they traded.
    history: String,
    /// The same, and who was a member, since.
    market: String,
    /// Opens and closes of the names in the book.
    held: String,
    /// What every name's prices were adjusted by.
    adjusted: String,
    /// The model, its rule and its scores. They are no data and excuse nothing.
    model: String,
}

/// How the data of now relate to those that a row was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    Same,
    /// Prices as they traded are the same; a later split or dividend adjusts them otherwise.
    Restated,
    Revised,
}

impl Seen {
    /// What happened to the data since `then`.
    pub fn since(&self, then: &Self) -> Data {
        // A panel that begins later has forgotten history; what it still has decides.
        let history = self.sessions != then.sessions || self.history == then.history;
        match (history && self.market == then.market, self.adjusted == then.adjusted) {
            (false, _) => Data::Revised,
            (true, false) => Data::Restated,
            (true, true) => Data::Same,
        }
    }
    /// Whether both books had seen the same prices of what they held.
    pub fn held_alike(&self, other: &Self) -> bool {
        self.held == other.held
    }
    pub fn scored_alike(&self, other: &Self) -> bool {
        self.model == other.model
    }
    /// A stored text; none for one of another kind.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ').map(str::to_string);
        (parts.next()? == KIND).then_some(())?;
        let sessions = parts.next()?.parse().ok()?;
        Some(Self { sessions, history: parts.next()?, market: parts.next()?, held: parts.next()?, adjusted: parts.next()?, model: parts.next()? })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND} {} {} {} {} {} {}", self.sessions, self.history, self.market, self.held, self.adjusted, self.model)
    }
}

/// What was seen by each session after `days.start`, of which `weights` are the books at the close.
pub(super) fn inputs(model: &ShadowModel, shadowed: &Shadowed, panel: &Panel, days: Range<usize>, weights: &[BTreeMap<String, f64>]) -> Result<Vec<Seen>> {
    let first = days.start;
    let sessions = first.min(HISTORY_SESSIONS);
    let history = digest(&(first - sessions..=first).flat_map(|t| traded(panel, t)).collect::<Vec<u8>>());
    let adjusted = digest(&factors(panel, first));
    let mut seen = Seen { sessions, history, market: String::new(), held: String::new(), adjusted, model: digest_of(&(&model.sha256, &shadowed.rule))? };
    let mut out = Vec::new();
    for (t, weights) in (first + 1..days.end).zip(weights) {
        seen.market = chained(&seen.market, &[traded(panel, t), finite(panel, &panel.member, t)].concat());
        seen.held = chained(&seen.held, &weights.keys().filter_map(|name| panel.symbol_index(name)).flat_map(|s| bar(panel, s, t)).collect::<Vec<u8>>());
        seen.adjusted = chained(&seen.adjusted, &factors(panel, t));
        if (t - 1 - first).is_multiple_of(shadowed.rule.rebalance_sessions) {
            let shrunk = shadowed.signal.exposure.get(t - 1).filter(|e| **e != 1.0).map_or(Vec::new(), |e| e.to_bits().to_le_bytes().to_vec());
            seen.model = chained(&seen.model, &[finite(panel, &shadowed.signal.scores, t - 1), shrunk].concat());
        }
        out.push(seen.clone());
    }
    Ok(out)
}

fn digest(bytes: &[u8]) -> String {
    sha256_hex(bytes)[..16].to_string()
}

fn chained(before: &str, bytes: &[u8]) -> String {
    digest(&[before.as_bytes(), bytes].concat())
}

/// One name's open and close as they traded; nothing where there was no bar. Only the close is recorded as it traded: the open
/// is computed back, and ten-thousandths of a dollar of it are the record's.
fn bar(panel: &Panel, s: usize, t: usize) -> Vec<u8> {
    let (open, close, raw) = (panel.open.at(s, t), panel.close.at(s, t), panel.close_raw.at(s, t));
    if !raw.is_finite() {
        return Vec::new();
    }
    let mut out = panel.symbols[s].clone().into_bytes();
    out.extend(raw.to_bits().to_le_bytes());
    out.extend(units(open * raw / close, 1e4).to_le_bytes());
    out
}

/// Whole units of `1 / scale`; what is no number is its own.
fn units(value: f64, scale: f64) -> i64 {
    if value.is_finite() { (value * scale).round() as i64 } else { i64::MIN }
}

/// Every bar of a session, and the shares that changed hands; a name without one leaves no trace.
fn traded(panel: &Panel, t: usize) -> Vec<u8> {
    let names = (0..panel.n_symbols()).filter(|s| panel.close_raw.at(*s, t).is_finite());
    names.flat_map(|s| [bar(panel, s, t), units(panel.volume_raw.at(s, t), 1.0).to_le_bytes().to_vec()].concat()).collect()
}

/// What the prices of each name were adjusted by, to a billionth.
fn factors(panel: &Panel, t: usize) -> Vec<u8> {
    let factor = |s: usize| units(panel.close.at(s, t) / panel.close_raw.at(s, t), 1e9);
    (0..panel.n_symbols()).filter(|s| factor(*s) != i64::MIN).flat_map(|s| [panel.symbols[s].as_bytes(), &factor(s).to_le_bytes()].concat()).collect()
}

fn finite(panel: &Panel, m: &Matrix, t: usize) -> Vec<u8> {
    let of = |s: usize| [panel.symbols[s].as_bytes(), &m.at(s, t).to_bits().to_le_bytes()].concat();
    (0..panel.n_symbols()).filter(|s| m.at(*s, t).is_finite()).flat_map(of).collect()
}
