//! From wanted weights to a book that can be held: shorting that is possible, volatility, Kelly, sectors, caps, turnover,
//! whole lots, the barbell. One order for backtest, shadow and paper.
//!
//! The stages, in their order: shorts without a lender, beyond what is lent, or dearer than their edge; the volatility target, up or
//! down; the Kelly fraction of the conservative edge; sectors; the caps of [`Limits`]; the volatility again, now only down; the
//! turnover limit, after which the caps and the volatility are looked at once more; the barbell's projection; lots and minimums.
//!
//! What follows the volatility target only shrinks weights, so all limits hold together at the end. Only the barbell enlarges: it
//! replaces the caps of a book that asks for it. Each stage that changes something says which limit bound, where, and by how much.

mod stages;

use crate::portfolio::barbell::Barbell;
use crate::portfolio::limits::{Binding, Limits};
use crate::portfolio::sizing::kelly::{FRACTION_RANGE, conservative_edge};
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How hard a name is to borrow, and what that costs a year.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "tier", deny_unknown_fields)]
pub enum Borrow {
    /// General collateral.
    Easy { fee_bps_per_year: f64 },
    /// Located for each order, dearer, and limited.
    Hard { fee_bps_per_year: f64, max_weight: f64 },
    /// Nobody lends it: no short.
    None,
}

impl Borrow {
    /// Carry in bps of the value that is short, per year.
    pub fn fee_bps_per_year(self) -> f64 {
        match self {
            Self::Easy { fee_bps_per_year } | Self::Hard { fee_bps_per_year, .. } => fee_bps_per_year,
            Self::None => 0.0,
        }
    }
}

/// Who lends what. A name without an entry of its own is of the default tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BorrowTable {
    pub default: Borrow,
    #[serde(default)]
    pub names: BTreeMap<String, Borrow>,
}

impl BorrowTable {
    pub fn tier(&self, symbol: &str) -> Borrow {
        self.names.get(symbol).copied().unwrap_or(self.default)
    }
}

/// What a year is expected to earn on a dollar of gross exposure, after costs, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// A part of Kelly's leverage, on the cautious end of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kelly {
    /// In `[0.2, 0.5]`.
    pub fraction: f64,
    pub edge_per_year: Edge,
}

/// The `portfolio.construction:` section. Fractions of equity. What is absent was not asked for; 0 is a configuration error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Construction {
    /// Annual volatility that the book is scaled to, by the covariance of the last `history_sessions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_vol: Option<f64>,
    pub history_sessions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kelly: Option<Kelly>,
    /// Absolute weight of all names of a sector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sector_gross: Option<f64>,
    /// The sector of each name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sectors: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub borrow: Option<BorrowTable>,
    /// Sum of absolute changes in one rebalance; moves towards zero are free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turnover: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_notional_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lot_shares: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barbell: Option<Barbell>,
}

impl Default for Construction {
    fn default() -> Self {
        Self {
            target_vol: None,
            history_sessions: 60,
            kelly: None,
            max_sector_gross: None,
            sectors: BTreeMap::new(),
            borrow: None,
            max_turnover: None,
            min_notional_usd: None,
            lot_shares: None,
            barbell: None,
        }
    }
}

/// What is known when the book is built. Nothing in it is younger than the decision.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub prices: BTreeMap<String, f64>,
    /// Signed shares of equity before the rebalance.
    pub held: BTreeMap<String, f64>,
    pub equity_usd: f64,
    /// Names in the order of the annual covariance. A name outside it has too short a history.
    pub covariance: Option<(Vec<String>, Matrix)>,
}

/// One limit that changed something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub limit: String,
    /// A symbol, a sector, or empty for the whole book.
    pub subject: String,
    pub before: f64,
    pub after: f64,
}

impl Bound {
    /// A cap that bound, its symbol called as people know it.
    pub(crate) fn of<K>(binding: Binding<K>, name: impl FnOnce(K) -> String) -> Self {
        Self { limit: binding.limit, subject: binding.symbol.map_or_else(String::new, name), before: binding.before, after: binding.cap }
    }
    /// One line for a person.
    pub fn sentence(&self) -> String {
        let of = match (self.limit.as_str(), self.subject.as_str()) {
            ("max_long", _) => "the long side",
            ("max_short", _) => "the short side",
            ("max_net", _) => "the net exposure",
            ("max_turnover", _) => "the turnover",
            (_, "") => "the gross exposure",
            (_, subject) => subject,
        };
        text!("{of} goes from {:.1} % to {:.1} % of equity: {} bound", self.before * 100.0, self.after * 100.0, self.limit)
    }
}

/// A book that can be held, and why it is not the one that was wanted.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Constructed {
    pub weights: BTreeMap<String, f64>,
    pub bound: Vec<Bound>,
}

impl Construction {
    /// Whether the covariance of the names is needed.
    pub fn needs_history(&self) -> bool {
        self.target_vol.is_some() || self.kelly.is_some()
    }

    pub fn validate(&self) -> Result<()> {
        let named = [
            ("target_vol", self.target_vol),
            ("max_sector_gross", self.max_sector_gross),
            ("max_turnover", self.max_turnover),
            ("min_notional_usd", self.min_notional_usd),
            ("lot_shares", self.lot_shares),
        ];
        let bad = |name: &str, why: &str, found: String| {
            Err(Error::new(code::CFG_VALUE, format!("portfolio.construction.{name} {why}"))
                .cause("a limit is switched off by leaving it out, never by 0")
                .found(found))
        };
        for (name, value) in named {
            if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
                return bad(name, "must be a positive number", format!("{value:?}"));
            }
        }
        if self.history_sessions < 20 {
            return bad("history_sessions", "must be at least 20", self.history_sessions.to_string());
        }
        if let Some(k) = &self.kelly {
            if !(FRACTION_RANGE.0..=FRACTION_RANGE.1).contains(&k.fraction) {
                return bad("kelly.fraction", "must be between 0.2 and 0.5", k.fraction.to_string());
            }
            conservative_edge(k.edge_per_year.value, k.edge_per_year.low, k.edge_per_year.high)?;
        }
        for tier in self.borrow.iter().flat_map(|b| b.names.values().chain([&b.default])) {
            let cap = if let Borrow::Hard { max_weight, .. } = tier { *max_weight } else { 1.0 };
            if !(tier.fee_bps_per_year() >= 0.0 && tier.fee_bps_per_year().is_finite() && cap > 0.0 && cap.is_finite()) {
                return bad("borrow", "needs fees of at least 0 and positive weights", format!("{tier:?}"));
            }
        }
        if self.max_sector_gross.is_some() && self.sectors.is_empty() {
            return bad("sectors", "must name the sector of each name when max_sector_gross is set", "none".into());
        }
        Ok(())
    }

    /// Carry of a short in `symbol`, bps per year, where a table says so.
    pub fn borrow_fee_bps(&self, symbol: &str) -> Option<f64> {
        self.borrow.as_ref().map(|b| b.tier(symbol).fee_bps_per_year())
    }

    /// Apply every stage to `wanted`, with each of `limits` as caps. A limit whose data are missing refuses or drops the name, aloud: it is
    /// never skipped.
    pub fn apply(&self, wanted: &BTreeMap<String, f64>, limits: &[Limits], context: &Context) -> Result<Constructed> {
        self.validate()?;
        let mut book = Constructed { weights: wanted.clone(), bound: Vec::new() };
        if let Some(table) = &self.borrow {
            stages::shorts(&mut book, table, self.kelly.as_ref())?;
        }
        if self.needs_history() {
            stages::known(&mut book, context)?;
        }
        if let Some(target) = self.target_vol {
            stages::aim(&mut book, target, context)?;
        }
        if let Some(kelly) = &self.kelly {
            stages::kelly(&mut book, kelly, context)?;
        }
        if let Some(cap) = self.max_sector_gross {
            stages::sectors(&mut book, cap, &self.sectors)?;
        }
        self.caps(&mut book, limits, context)?;
        if let Some(cap) = self.max_turnover {
            stages::turnover(&mut book, cap, context);
            // A book that is half on its way can be less balanced than either end.
            self.caps(&mut book, limits, context)?;
        }
        if let Some(policy) = &self.barbell {
            stages::barbell(&mut book, policy)?;
        }
        if self.lot_shares.is_some() || self.min_notional_usd.is_some() {
            stages::lots(&mut book, self.lot_shares.unwrap_or(1.0), self.min_notional_usd.unwrap_or(0.0), context)?;
        }
        book.weights.retain(|_, w| *w != 0.0);
        Ok(book)
    }

    fn caps(&self, book: &mut Constructed, limits: &[Limits], context: &Context) -> Result<()> {
        limits.iter().try_for_each(|l| stages::caps(book, l))?;
        match self.target_vol {
            Some(cap) => stages::calm(book, cap, context),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
