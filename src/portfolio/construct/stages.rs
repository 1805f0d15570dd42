//! The stages of a book, one function each. They change `book` in place and record what they changed.

use super::{Borrow, BorrowTable, Bound, Constructed, Context, Kelly};
use crate::portfolio::barbell::Barbell;
use crate::portfolio::limits::{self, Limits};
use crate::portfolio::linear::volatility;
use crate::portfolio::sizing::kelly::conservative_edge;
use crate::portfolio::sizing::pipeline::towards;
use crate::portfolio::sizing::vol_target;
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use std::collections::{BTreeMap, BTreeSet};

fn set(book: &mut Constructed, limit: &str, symbol: &str, after: f64) {
    let before = book.weights.insert(symbol.to_string(), after).unwrap_or(0.0);
    if before != after {
        book.bound.push(Bound { limit: limit.into(), subject: symbol.into(), before, after });
    }
}

fn gross(book: &Constructed) -> f64 {
    book.weights.values().map(|w| w.abs()).sum()
}

/// Scale the whole book; `before` and `after` are its gross exposure.
fn scale(book: &mut Constructed, limit: &str, factor: f64) {
    let before = gross(book);
    book.weights.values_mut().for_each(|w| *w *= factor);
    book.bound.push(Bound { limit: limit.into(), subject: String::new(), before, after: gross(book) });
}

/// No short without a lender, none beyond what is lent, and none that earns less than its fee.
pub(super) fn shorts(book: &mut Constructed, table: &BorrowTable, kelly: Option<&Kelly>) -> Result<()> {
    let edge = kelly.map(|k| conservative_edge(k.edge_per_year.value, k.edge_per_year.low, k.edge_per_year.high)).transpose()?;
    let shorts: Vec<(String, f64)> = book.weights.iter().filter(|(_, w)| **w < 0.0).map(|(s, w)| (s.clone(), *w)).collect();
    for (symbol, weight) in shorts {
        let (fee, most) = match table.tier(&symbol) {
            Borrow::None => {
                set(book, "no_borrow", &symbol, 0.0);
                continue;
            }
            Borrow::Easy { fee_bps_per_year } => (fee_bps_per_year, f64::INFINITY),
            Borrow::Hard { fee_bps_per_year, max_weight } => (fee_bps_per_year, max_weight),
        };
        if edge.is_some_and(|edge| edge <= fee / 1e4) {
            set(book, "borrow_fee", &symbol, 0.0);
        } else if weight.abs() > most {
            set(book, "hard_to_borrow", &symbol, -most);
        }
    }
    Ok(())
}

/// A name without a complete history has no risk that could be measured: it is left out.
pub(super) fn known(book: &mut Constructed, context: &Context) -> Result<()> {
    let (names, _) = context.covariance.as_ref().ok_or_else(|| missing("covariance", "the book"))?;
    let unknown: Vec<String> = book.weights.keys().filter(|s| !names.contains(s)).cloned().collect();
    unknown.iter().for_each(|s| set(book, "short_history", s, 0.0));
    book.weights.retain(|_, w| *w != 0.0);
    Ok(())
}

/// Weights in the order of the covariance.
fn ordered<'a>(book: &Constructed, context: &'a Context) -> Result<(Vec<f64>, &'a Matrix)> {
    let (names, cov) = context.covariance.as_ref().ok_or_else(|| missing("covariance", "the book"))?;
    Ok((names.iter().map(|n| book.weights.get(n).copied().unwrap_or(0.0)).collect(), cov))
}

/// Scale to the target, up as well as down. A book without names stays one; names without any movement refuse.
pub(super) fn aim(book: &mut Constructed, target: f64, context: &Context) -> Result<()> {
    if book.weights.is_empty() {
        return Ok(());
    }
    let (weights, cov) = ordered(book, context)?;
    // No cap here: those of the book follow.
    let scaled = vol_target::scale(&weights, cov, target, f64::MAX)?;
    if (scaled.scale - 1.0).abs() > 1e-12 {
        scale(book, "target_vol", scaled.scale);
    }
    Ok(())
}

/// At most `fraction` of the leverage that grows fastest: for a book of gross `g`, edge `e` a dollar of it and variance `v`, Kelly's
/// multiple of the book is `e g / v`.
pub(super) fn kelly(book: &mut Constructed, k: &Kelly, context: &Context) -> Result<()> {
    if book.weights.is_empty() {
        return Ok(());
    }
    let edge = conservative_edge(k.edge_per_year.value, k.edge_per_year.low, k.edge_per_year.high)?.max(0.0);
    let (weights, cov) = ordered(book, context)?;
    let variance = volatility(&weights, cov).powi(2);
    if !(variance > 0.0) {
        return Err(Error::new(code::ML_UNDEFINED, "a Kelly fraction is undefined").cause("the book has no volatility"));
    }
    let most = k.fraction * edge * gross(book) / variance;
    if most < 1.0 {
        scale(book, "kelly", most);
    }
    Ok(())
}

pub(super) fn sectors(book: &mut Constructed, cap: f64, of: &BTreeMap<String, String>) -> Result<()> {
    let mut sums: BTreeMap<&String, f64> = BTreeMap::new();
    for (symbol, weight) in &book.weights {
        *sums.entry(of.get(symbol).ok_or_else(|| missing("sector", symbol))?).or_insert(0.0) += weight.abs();
    }
    for (sector, sum) in sums.into_iter().filter(|(_, g)| *g > cap * (1.0 + 1e-12)) {
        book.weights.iter_mut().filter(|(s, _)| of.get(*s) == Some(sector)).for_each(|(_, w)| *w *= cap / sum);
        book.bound.push(Bound { limit: "max_sector_gross".into(), subject: sector.clone(), before: sum, after: cap });
    }
    Ok(())
}

pub(super) fn caps(book: &mut Constructed, limits: &Limits) -> Result<()> {
    let out = limits::apply(&book.weights, limits)?;
    book.weights = out.weights;
    book.bound.extend(out.bindings.into_iter().map(|b| Bound::of(b, |name| name)));
    Ok(())
}

/// Scale down, never up.
pub(super) fn calm(book: &mut Constructed, cap: f64, context: &Context) -> Result<()> {
    let (weights, cov) = ordered(book, context)?;
    let vol = volatility(&weights, cov);
    if vol > cap * (1.0 + 1e-12) {
        scale(book, "target_vol", cap / vol);
    }
    Ok(())
}

pub(super) fn turnover(book: &mut Constructed, cap: f64, context: &Context) {
    let names: BTreeSet<&String> = book.weights.keys().chain(context.held.keys()).collect();
    let of = |map: &BTreeMap<String, f64>| names.iter().map(|n| map.get(*n).copied().unwrap_or(0.0)).collect::<Vec<_>>();
    let (held, target) = (of(&context.held), of(&book.weights));
    let moves = |to: &[f64]| held.iter().zip(to).map(|(h, t)| (t - h).abs()).sum::<f64>();
    let moved = towards(&held, &target, cap, true);
    let (wanted, done) = (moves(&target), moves(&moved));
    let weights = names.iter().zip(moved).map(|(n, w)| ((*n).clone(), w)).collect();
    if done < wanted * (1.0 - 1e-12) {
        book.bound.push(Bound { limit: "max_turnover".into(), subject: String::new(), before: wanted, after: done });
    }
    book.weights = weights;
    book.weights.retain(|_, w| *w != 0.0);
}

pub(super) fn barbell(book: &mut Constructed, policy: &Barbell) -> Result<()> {
    let before: f64 = book.weights.values().sum();
    let out = policy.project(&book.weights)?;
    let after: f64 = out.weights.values().sum();
    book.bound.extend(out.active.into_iter().map(|active| Bound { limit: "barbell".into(), subject: active.name, before, after }));
    book.weights = out.weights;
    Ok(())
}

/// Cut towards zero to whole lots; what is worth less than the minimum is nothing. What is already held stays: selling it
/// because it is small would be a trade that the minimum is there to avoid.
pub(super) fn lots(book: &mut Constructed, lot: f64, min_notional: f64, context: &Context) -> Result<()> {
    for (symbol, weight) in book.weights.clone() {
        let price = context.prices.get(&symbol).copied().filter(|p| p.is_finite() && *p > 0.0).ok_or_else(|| missing("price", &symbol))?;
        let shares = (weight * context.equity_usd / price / lot).trunc() * lot;
        let notional = (shares * price).abs();
        let held = context.held.get(&symbol).is_some_and(|h| h * weight > 0.0);
        if notional < min_notional && !held {
            set(book, "min_notional_usd", &symbol, 0.0);
        } else if lot > 1.0 {
            // Half a share more than wanted, so that the order sizer's truncation gives exactly these lots.
            let kept = if shares == 0.0 { 0.0 } else { (shares + 0.5 * shares.signum()) * price / context.equity_usd };
            if kept.abs() < weight.abs() {
                set(book, "lot_shares", &symbol, kept);
            }
        }
    }
    Ok(())
}

fn missing(what: &str, of: &str) -> Error {
    Error::new(code::DATA_MISSING, text!("the {what} of {of} is not known, and a limit needs it"))
        .fix("take the limit out of the configuration, or supply the data")
}
