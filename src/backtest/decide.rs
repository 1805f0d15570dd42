//! What to hold next: scores, the rule, and the book built under its limits. Backtest, shadow and paper decide here and nowhere else.

use crate::portfolio::construct::{Constructed, Context};
use crate::portfolio::linear::moments;
use crate::portfolio::{Bound, Ceiling, Construction, Limits, RuleConfig, SESSIONS_PER_YEAR, limits, targets};
use crate::types::{Matrix, Panel};
use data_layer::error::Result;
use std::collections::BTreeMap;

/// Sessions of volume and returns that price impact, and the fewest that will do.
pub(super) const LIQUIDITY_SESSIONS: usize = 20;
pub(super) const LIQUIDITY_LEAST: usize = 15;

/// What a book is made of: who is best on each day, and how much of the full book is held then.
#[derive(Clone, Copy, Debug)]
pub struct Signal<'a> {
    /// `symbols x days`, known at each close.
    pub scores: &'a Matrix,
    /// Share of the full book by day of the panel, at least 0; the whole book on days that it does not reach.
    pub exposure: &'a [f64],
}

impl<'a> From<&'a Matrix> for Signal<'a> {
    fn from(scores: &'a Matrix) -> Self {
        Self { scores, exposure: &[] }
    }
}

impl Signal<'_> {
    fn exposure_at(&self, t: usize) -> f64 {
        self.exposure.get(t).copied().unwrap_or(1.0)
    }
}

/// The book before a decision.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Signed shares of equity, by row of the panel.
    pub held: BTreeMap<usize, f64>,
    pub equity_usd: f64,
    /// What the account allows, beside the rule's own limits.
    pub ceiling: Option<Ceiling>,
}

/// What to hold, as signed shares of equity, and which limits shaped it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub weights: BTreeMap<usize, f64>,
    pub bound: Vec<Bound>,
}

/// Decide at the close of day `t` from the scores of members with a price. The day's exposure shrinks the finished book: a rule ranks,
/// so that no factor on the scores could.
pub fn decide<'s>(panel: &Panel, signal: impl Into<Signal<'s>>, rule: &RuleConfig, t: usize, before: &Before) -> Result<Decision> {
    let signal = signal.into();
    let mut out = full(panel, signal.scores, rule, t, before)?;
    out.weights.values_mut().for_each(|w| *w *= signal.exposure_at(t));
    Ok(out)
}

/// The whole book.
fn full(panel: &Panel, scores: &Matrix, rule: &RuleConfig, t: usize, before: &Before) -> Result<Decision> {
    let member = |s: &usize| panel.member.at(*s, t) > 0.0;
    let score = |s: usize| if price(&panel.close, s, t).is_some() { scores.at(s, t) } else { f64::NAN };
    let scored: Vec<(usize, f64)> = (0..panel.n_symbols()).filter(member).map(|s| (s, score(s))).collect();
    let raw = targets(&scored, rule)?.weights;
    let limits: Vec<Limits> = rule.limits.iter().copied().chain(before.ceiling.map(|c| c.caps)).collect();
    if limits.is_empty() && rule.construction.is_none() {
        return Ok(Decision { weights: raw, bound: Vec::new() });
    }
    let plain = Construction::default();
    let construction = match (&rule.construction, &before.ceiling) {
        (None, None) => return capped(panel, raw, &limits),
        (own, _) => own.as_ref().unwrap_or(&plain),
    };
    let mut book = construction.apply(&named(panel, &raw), &limits, &context(panel, construction, &raw, t, before)?)?;
    if let Some(ceiling) = &before.ceiling {
        in_shares(&mut book, panel, t, ceiling.shares_per_name / before.equity_usd, &limits)?;
    }
    let Constructed { weights, bound } = book;
    let weights = weights.into_iter().filter_map(|(name, w)| Some((panel.symbol_index(&name)?, w))).collect();
    Ok(Decision { weights, bound })
}

/// No name beyond the shares that the account may hold of it (`shares_per_usd` of equity). Weights only shrink, so every cap holds as before
/// but the one on the net exposure, which shrinks its larger side once more.
fn in_shares(book: &mut Constructed, panel: &Panel, t: usize, shares_per_usd: f64, limits: &[Limits]) -> Result<()> {
    let Constructed { weights, bound } = book;
    let mut cut = false;
    for (name, weight) in weights.iter_mut() {
        let Some(price) = panel.symbol_index(name).and_then(|s| price(&panel.close_raw, s, t)) else { continue };
        let (before, most) = (weight.abs(), shares_per_usd * price);
        if before > most {
            bound.push(Bound { limit: "symbol_shares".into(), subject: name.clone(), before, after: most });
            *weight = most.copysign(*weight);
            cut = true;
        }
    }
    for own in limits.iter().filter(|_| cut) {
        let limited = limits::apply(weights, own)?;
        bound.extend(limited.bindings.into_iter().map(|b| Bound::of(b, |name| name)));
        *weights = limited.weights;
    }
    Ok(())
}

/// A book that nothing but caps bounds: they need no more than its weights.
fn capped(panel: &Panel, mut weights: BTreeMap<usize, f64>, limits: &[Limits]) -> Result<Decision> {
    let mut bound = Vec::new();
    for limits in limits {
        let out = limits::apply(&weights, limits)?;
        weights = out.weights;
        bound.extend(out.bindings.into_iter().map(|b| Bound::of(b, |s| panel.symbols[s].clone())));
    }
    weights.retain(|_, w| *w != 0.0);
    Ok(Decision { weights, bound })
}

/// A usable price.
pub(super) fn price(m: &Matrix, symbol: usize, t: usize) -> Option<f64> {
    Some(m.at(symbol, t)).filter(|p| p.is_finite() && *p > 0.0)
}

/// Standard deviation of the last 20 daily returns up to `t`; none without at least 15 of them.
pub fn sigma_daily(panel: &Panel, symbol: usize, t: usize) -> Option<f64> {
    let from = t.checked_sub(LIQUIDITY_SESSIONS)?;
    let returns: Vec<f64> = panel.close.row(symbol)[from..=t].windows(2).map(|w| w[1] / w[0] - 1.0).filter(|r| r.is_finite()).collect();
    (returns.len() >= LIQUIDITY_LEAST).then(|| super::metric::std(&returns))
}

fn named(panel: &Panel, weights: &BTreeMap<usize, f64>) -> BTreeMap<String, f64> {
    weights.iter().filter_map(|(s, w)| Some((panel.symbols.get(*s)?.clone(), *w))).collect()
}

/// What is known at the close of `t`.
fn context(panel: &Panel, construction: &Construction, wanted: &BTreeMap<usize, f64>, t: usize, before: &Before) -> Result<Context> {
    let close = |s: &usize| Some((panel.symbols[*s].clone(), price(&panel.close, *s, t)?));
    let covariance = if construction.needs_history() { Some(covariance(panel, wanted, t, construction.history_sessions)?) } else { None };
    Ok(Context { prices: wanted.keys().filter_map(close).collect(), held: named(panel, &before.held), equity_usd: before.equity_usd, covariance })
}

/// The annual covariance of the last `sessions` daily returns up to `t`, of those wanted names that have all of them.
fn covariance(panel: &Panel, wanted: &BTreeMap<usize, f64>, t: usize, sessions: usize) -> Result<(Vec<String>, Matrix)> {
    let Some(first) = t.checked_sub(sessions) else { return Ok((Vec::new(), Matrix::missing(0, 0))) };
    let (mut names, mut returns) = (Vec::new(), Vec::new());
    for s in wanted.keys() {
        let own: Vec<f64> = panel.close.row(*s)[first..=t].windows(2).map(|w| w[1] / w[0] - 1.0).collect();
        if own.iter().all(|r| r.is_finite()) {
            names.push(panel.symbols[*s].clone());
            returns.extend(own);
        }
    }
    if names.is_empty() {
        return Ok((names, Matrix::missing(0, 0)));
    }
    let (_, cov) = moments(&Matrix::from_vec(names.len(), sessions, returns)?, SESSIONS_PER_YEAR)?;
    Ok((names, cov))
}
