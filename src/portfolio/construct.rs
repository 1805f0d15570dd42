//! From wanted weights to a book that can be held: shorting that is possible, sectors, volatility, turnover, whole lots.
//!
//! Every stage only shrinks the book or leaves it as it is, except the barbell, which is last and exact; so after the last stage
//! all of them hold at once. Each that changes something says which limit bound, where, and by how much.

use crate::portfolio::barbell::Barbell;
use crate::portfolio::linear::volatility;
use crate::portfolio::sizing::pipeline::towards;
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How hard a name is to borrow, and what that costs a year.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "tier")]
pub enum Borrow {
    /// General collateral.
    Easy { fee_bps_per_year: f64 },
    /// Located for each order, dearer, and limited.
    Hard { fee_bps_per_year: f64, max_weight: f64 },
    /// Nobody lends it: no short.
    None,
}

/// What bounds a book. Fractions of equity. `None` is a limit that was not asked for; 0 is a configuration error.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Construction {
    /// Absolute weight of all names of a sector.
    pub max_sector_gross: Option<f64>,
    /// Annual volatility that is scaled down to, never up.
    pub max_vol: Option<f64>,
    /// Sum of absolute changes in one rebalance; moves towards zero are free.
    pub max_turnover: Option<f64>,
    pub min_notional_usd: Option<f64>,
    pub lot_shares: Option<f64>,
    pub barbell: Option<Barbell>,
}

/// What is known about the names. A name without an entry has no sector, cannot be borrowed, and has no price.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub sectors: BTreeMap<String, String>,
    pub borrow: BTreeMap<String, Borrow>,
    pub prices: BTreeMap<String, f64>,
    pub held: BTreeMap<String, f64>,
    pub equity_usd: f64,
    /// Names in the order of the annual covariance.
    pub covariance: Option<(Vec<String>, Matrix)>,
    /// Expected annual return of a short after which its borrow fee is not worth paying, by name.
    pub short_edge: BTreeMap<String, f64>,
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

/// A book that can be held, and why it is not the one that was wanted.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Constructed {
    pub weights: BTreeMap<String, f64>,
    pub bound: Vec<Bound>,
}

impl Construction {
    pub fn validate(&self) -> Result<()> {
        let named = [
            ("max_sector_gross", self.max_sector_gross),
            ("max_vol", self.max_vol),
            ("max_turnover", self.max_turnover),
            ("min_notional_usd", self.min_notional_usd),
            ("lot_shares", self.lot_shares),
        ];
        for (name, value) in named {
            if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
                return Err(Error::new(code::CFG_VALUE, format!("construction.{name} must be a positive number")).found(format!("{value:?}")));
            }
        }
        Ok(())
    }

    /// Apply every stage to `wanted`. A limit whose data are missing refuses: it is never skipped.
    pub fn apply(&self, wanted: &BTreeMap<String, f64>, context: &Context) -> Result<Constructed> {
        self.validate()?;
        let mut book = Constructed { weights: wanted.clone(), bound: Vec::new() };
        shorts(&mut book, context);
        if let Some(cap) = self.max_sector_gross {
            sectors(&mut book, cap, context)?;
        }
        if let Some(cap) = self.max_vol {
            calm(&mut book, cap, context)?;
        }
        if let Some(cap) = self.max_turnover {
            turnover(&mut book, cap, context);
        }
        if let Some(policy) = &self.barbell {
            barbell(&mut book, policy)?;
        }
        if self.lot_shares.is_some() || self.min_notional_usd.is_some() {
            lots(&mut book, self.lot_shares.unwrap_or(1.0), self.min_notional_usd.unwrap_or(0.0), context)?;
        }
        book.weights.retain(|_, w| *w != 0.0);
        Ok(book)
    }
}

fn set(book: &mut Constructed, limit: &str, symbol: &str, after: f64) {
    let before = book.weights.insert(symbol.to_string(), after).unwrap_or(0.0);
    if before != after {
        book.bound.push(Bound { limit: limit.into(), subject: symbol.into(), before, after });
    }
}

/// No short without a lender, none beyond what is lent, and none that earns less than its fee.
fn shorts(book: &mut Constructed, context: &Context) {
    let shorts: Vec<(String, f64)> = book.weights.iter().filter(|(_, w)| **w < 0.0).map(|(s, w)| (s.clone(), *w)).collect();
    for (symbol, weight) in shorts {
        let tier = context.borrow.get(&symbol).copied().unwrap_or(Borrow::None);
        let (fee, most) = match tier {
            Borrow::None => {
                set(book, "no_borrow", &symbol, 0.0);
                continue;
            }
            Borrow::Easy { fee_bps_per_year } => (fee_bps_per_year, f64::INFINITY),
            Borrow::Hard { fee_bps_per_year, max_weight } => (fee_bps_per_year, max_weight),
        };
        if context.short_edge.get(&symbol).is_some_and(|edge| *edge <= fee / 1e4) {
            set(book, "borrow_fee", &symbol, 0.0);
        } else if weight.abs() > most {
            set(book, "hard_to_borrow", &symbol, -most);
        }
    }
}

fn sectors(book: &mut Constructed, cap: f64, context: &Context) -> Result<()> {
    let mut gross: BTreeMap<&String, f64> = BTreeMap::new();
    for (symbol, weight) in &book.weights {
        let sector = context.sectors.get(symbol).ok_or_else(|| missing("sector", symbol))?;
        *gross.entry(sector).or_insert(0.0) += weight.abs();
    }
    for (sector, sum) in gross.into_iter().filter(|(_, g)| *g > cap * (1.0 + 1e-12)) {
        let members = book.weights.iter_mut().filter(|(s, _)| context.sectors.get(*s) == Some(sector));
        members.for_each(|(_, w)| *w *= cap / sum);
        book.bound.push(Bound { limit: "max_sector_gross".into(), subject: sector.clone(), before: sum, after: cap });
    }
    Ok(())
}

fn calm(book: &mut Constructed, cap: f64, context: &Context) -> Result<()> {
    let (names, cov) = context.covariance.as_ref().ok_or_else(|| missing("covariance", "the book"))?;
    if let Some(symbol) = book.weights.keys().find(|s| !names.contains(s)) {
        return Err(missing("volatility", symbol));
    }
    let weights: Vec<f64> = names.iter().map(|n| book.weights.get(n).copied().unwrap_or(0.0)).collect();
    let vol = volatility(&weights, cov);
    if vol > cap * (1.0 + 1e-12) {
        book.weights.values_mut().for_each(|w| *w *= cap / vol);
        book.bound.push(Bound { limit: "max_vol".into(), subject: String::new(), before: vol, after: cap });
    }
    Ok(())
}

fn turnover(book: &mut Constructed, cap: f64, context: &Context) {
    let names: std::collections::BTreeSet<&String> = book.weights.keys().chain(context.held.keys()).collect();
    let of = |map: &BTreeMap<String, f64>| names.iter().map(|n| map.get(*n).copied().unwrap_or(0.0)).collect::<Vec<_>>();
    let (held, target) = (of(&context.held), of(&book.weights));
    let wanted: f64 = held.iter().zip(&target).map(|(h, t)| (t - h).abs()).sum();
    let moved = towards(&held, &target, cap, true);
    let done: f64 = held.iter().zip(&moved).map(|(h, t)| (t - h).abs()).sum();
    let weights = names.iter().zip(moved).map(|(n, w)| ((*n).clone(), w)).collect();
    if done < wanted * (1.0 - 1e-12) {
        book.bound.push(Bound { limit: "max_turnover".into(), subject: String::new(), before: wanted, after: done });
    }
    book.weights = weights;
}

fn barbell(book: &mut Constructed, policy: &Barbell) -> Result<()> {
    let out = policy.project(&book.weights)?;
    for active in out.active {
        let after: f64 = out.weights.values().sum();
        book.bound.push(Bound { limit: "barbell".into(), subject: active.name, before: book.weights.values().sum(), after });
    }
    book.weights = out.weights;
    Ok(())
}

/// Cut towards zero to whole lots; what is worth less than the minimum is nothing.
fn lots(book: &mut Constructed, lot: f64, min_notional: f64, context: &Context) -> Result<()> {
    for (symbol, weight) in book.weights.clone() {
        let price = context.prices.get(&symbol).copied().filter(|p| p.is_finite() && *p > 0.0).ok_or_else(|| missing("price", &symbol))?;
        let shares = (weight * context.equity_usd / price / lot).trunc() * lot;
        let notional = (shares * price).abs();
        let kept = if notional < min_notional { 0.0 } else { shares * price / context.equity_usd };
        // A lot of one share is the order sizer's business; only what is lost to a minimum or a larger lot is said.
        let limit = if notional < min_notional { "min_notional_usd" } else { "lot_shares" };
        set(book, limit, &symbol, kept);
    }
    Ok(())
}

fn missing(what: &str, of: &str) -> Error {
    Error::new(code::DATA_MISSING, format!("the {what} of {of} is not known, and a limit needs it"))
        .fix("take the limit out of the configuration, or supply the data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portfolio::linear::equal_correlation;
    use proptest::prelude::*;

    fn book(list: &[(&str, f64)]) -> BTreeMap<String, f64> {
        list.iter().map(|(s, w)| ((*s).to_string(), *w)).collect()
    }
    fn limits(c: &Constructed) -> Vec<(&str, &str)> {
        c.bound.iter().map(|b| (b.limit.as_str(), b.subject.as_str())).collect()
    }

    #[test]
    fn shorts_need_a_lender_room_and_an_edge_above_the_fee() {
        let context = Context {
            borrow: BTreeMap::from([
                ("GC".to_string(), Borrow::Easy { fee_bps_per_year: 30.0 }),
                ("HTB".to_string(), Borrow::Hard { fee_bps_per_year: 800.0, max_weight: 0.02 }),
                ("DEAR".to_string(), Borrow::Hard { fee_bps_per_year: 5_000.0, max_weight: 0.02 }),
            ]),
            short_edge: BTreeMap::from([("DEAR".to_string(), 0.10), ("HTB".to_string(), 0.20)]),
            ..Context::default()
        };
        let out = Construction::default().apply(&book(&[("GC", -0.05), ("HTB", -0.05), ("DEAR", -0.01), ("WHO", -0.01), ("L", 0.05)]), &context).unwrap();
        assert_eq!(out.weights, book(&[("GC", -0.05), ("HTB", -0.02), ("L", 0.05)]));
        assert_eq!(limits(&out), [("borrow_fee", "DEAR"), ("hard_to_borrow", "HTB"), ("no_borrow", "WHO")]);
    }

    #[test]
    fn a_limit_without_its_data_refuses_and_zero_is_not_off() {
        let wanted = book(&[("A", 0.1)]);
        for c in [
            Construction { max_sector_gross: Some(0.3), ..Construction::default() },
            Construction { max_vol: Some(0.1), ..Construction::default() },
            Construction { lot_shares: Some(100.0), ..Construction::default() },
        ] {
            assert!(c.apply(&wanted, &Context::default()).unwrap_err().is(code::DATA_MISSING));
        }
        assert!(Construction { max_vol: Some(0.0), ..Construction::default() }.apply(&wanted, &Context::default()).unwrap_err().is(code::CFG_VALUE));
        assert_eq!(Construction::default().apply(&wanted, &Context::default()).unwrap().weights, wanted, "nothing configured changes nothing");
    }

    #[test]
    fn lots_and_minimums_cut_towards_zero_and_say_so() {
        let context = Context { prices: book(&[("A", 33.0), ("B", 400.0)]), equity_usd: 100_000.0, ..Context::default() };
        let c = Construction { lot_shares: Some(100.0), min_notional_usd: Some(1_000.0), ..Construction::default() };
        let out = c.apply(&book(&[("A", 0.10), ("B", 0.01)]), &context).unwrap();
        assert_eq!(out.weights, book(&[("A", 0.099)]));
        assert_eq!(limits(&out), [("lot_shares", "A"), ("min_notional_usd", "B")]);
    }

    proptest! {
        #[test]
        fn every_limit_holds_at_the_end(w in prop::collection::vec(-0.2f64..0.2, 4), held in prop::collection::vec(-0.05f64..0.05, 4)) {
            let names = ["A", "B", "C", "D"];
            let named = |v: &[f64]| names.iter().zip(v).map(|(n, w)| ((*n).to_string(), *w)).collect::<BTreeMap<_, _>>();
            let easy = Borrow::Easy { fee_bps_per_year: 30.0 };
            let context = Context {
                sectors: names.iter().enumerate().map(|(i, n)| ((*n).to_string(), ["tech", "oil"][i % 2].to_string())).collect(),
                borrow: names.iter().map(|n| ((*n).to_string(), easy)).collect(),
                held: named(&held),
                covariance: Some((names.iter().map(|n| (*n).to_string()).collect(), equal_correlation(&[0.2, 0.3, 0.25, 0.4], 0.4))),
                ..Context::default()
            };
            let c = Construction { max_sector_gross: Some(0.15), max_vol: Some(0.03), ..Construction::default() };
            let out = c.apply(&named(&w), &context).unwrap();
            let gross = |sector: &str| out.weights.iter().filter(|(s, _)| context.sectors[*s] == sector).map(|(_, w)| w.abs()).sum::<f64>();
            prop_assert!(gross("tech") <= 0.15 + 1e-12 && gross("oil") <= 0.15 + 1e-12);
            let (order, cov) = context.covariance.as_ref().unwrap();
            let weights: Vec<f64> = order.iter().map(|n| out.weights.get(n).copied().unwrap_or(0.0)).collect();
            prop_assert!(volatility(&weights, cov) <= 0.03 + 1e-12);
            prop_assert!(out.weights.iter().all(|(s, x)| x.abs() <= named(&w)[s].abs() + 1e-15), "stages only shrink");
            prop_assert_eq!(c.apply(&out.weights, &context).unwrap().weights, out.weights.clone());
            // A turnover limit holds back enlargements only.
            let slow = Construction { max_turnover: Some(0.01), ..Construction::default() }.apply(&named(&w), &context).unwrap();
            let enlarged: f64 = names.iter().map(|n| {
                let (h, t) = (context.held[*n], slow.weights.get(*n).copied().unwrap_or(0.0));
                if t * h >= 0.0 { (t.abs() - h.abs()).max(0.0) } else { t.abs() }
            }).sum();
            prop_assert!(enlarged <= 0.01 + 1e-12, "{enlarged}");
        }
    }
}
