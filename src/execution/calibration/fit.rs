//! The coefficients of the cost model from own fills: fee, half spread and square-root impact, by how much of a symbol changes hands.
//!
//! One order is one sample: `slippage = half_spread + y x unit`, where `unit` is `1e4 x sigma_daily x sqrt(quantity / ADV)` as it was known when
//! the order was sized. Ordinary least squares; the intervals are 95 % and treat the orders of a session as one piece of news, because they
//! share their market. What is put in force is the upper end of an interval, never the estimate, and what is cheaper than expected
//! counts `n / (n + 100)` only. A tier with too few fills keeps the dearer of what all fills of the account say and the defaults;
//! an account with too few keeps the defaults. Where orders were too alike in size to tell impact from spread, the spread is the
//! whole slippage and the coefficient of impact stays what it was: dearer than either.

use super::{ENOUGH_FILLS, ENOUGH_SESSIONS, Measured, Z_95};
use crate::execution::cost::{Coefficients, Liquidity, Tier};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A cheaper coefficient counts half at this many fills.
const SHRINK_FILLS: f64 = 100.0;
/// The coefficient of impact is known when half its interval is below this: then 0 and the default are two things.
const TELLS_Y: f64 = 1.0;

/// What the fills of a tier, or of the account, are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every coefficient is from own fills.
    Fitted,
    /// Fee and spread are; impact cannot be told apart from it, since all orders were about the same share of the market.
    SizesTooAlike,
    /// None is.
    TooFewFills,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// What one group of own fills says, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// None = all fills of the account.
    pub tier: Option<Tier>,
    pub outcome: Outcome,
    pub fills: u64,
    pub sessions: u64,
    pub first: Option<TradingDay>,
    pub last: Option<TradingDay>,
    pub fee_bps: Option<Estimate>,
    pub half_spread_bps: Option<Estimate>,
    pub y: Option<Estimate>,
    /// How much own fills count where they are cheaper than what was expected.
    pub weight: f64,
    /// To be put in force.
    pub coefficients: Coefficients,
}

/// All fills, then each tier in the order of [`Tier::ALL`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fits {
    pub account: Fit,
    pub tiers: Vec<Fit>,
}

impl Fits {
    /// One entry for each of [`Tier::ALL`]; none while even the account has too few fills.
    pub fn in_force(&self) -> Option<[Coefficients; 3]> {
        let own = self.account.outcome != Outcome::TooFewFills;
        let of = |k: usize| self.tiers.get(k).map_or(self.account.coefficients, |f| f.coefficients);
        own.then(|| [of(0), of(1), of(2)])
    }
}

/// One order: what it would have moved the price by at `y` = 1, what it slipped by, its fee.
#[derive(Clone, Copy, Debug)]
struct Sample {
    day: TradingDay,
    tier: Tier,
    unit: f64,
    slippage: f64,
    fee: f64,
}

impl Sample {
    fn of(m: &Measured) -> Option<Self> {
        let market: Liquidity = m.market?;
        let unit = market.impact_unit_bps(m.qty);
        let sample = Self { day: m.day, tier: Tier::of(market.adv_shares * m.open), unit, slippage: m.slippage_bps, fee: m.fee_bps };
        (unit.is_finite() && sample.slippage.is_finite() && sample.fee.is_finite()).then_some(sample)
    }
}

/// Fit the account, then each tier against what the account says.
pub fn fit(measured: &[Measured]) -> Fits {
    let samples: Vec<Sample> = measured.iter().filter_map(Sample::of).collect();
    let account = one(None, &samples, Coefficients::default());
    let before = account.coefficients.dearer(Coefficients::default());
    let of = |tier: Tier| one(Some(tier), &samples.iter().filter(|s| s.tier == tier).copied().collect::<Vec<_>>(), before);
    Fits { tiers: Tier::ALL.map(of).to_vec(), account }
}

fn one(tier: Option<Tier>, samples: &[Sample], before: Coefficients) -> Fit {
    let mut sessions: BTreeMap<TradingDay, Vec<&Sample>> = BTreeMap::new();
    samples.iter().for_each(|s| sessions.entry(s.day).or_default().push(s));
    let (fills, n) = (samples.len() as u64, samples.len() as f64);
    let weight = n / (n + SHRINK_FILLS);
    let mut out = Fit {
        tier,
        outcome: Outcome::TooFewFills,
        fills,
        sessions: sessions.len() as u64,
        first: sessions.keys().next().copied(),
        last: sessions.keys().next_back().copied(),
        fee_bps: None,
        half_spread_bps: None,
        y: None,
        weight,
        coefficients: before,
    };
    if fills < ENOUGH_FILLS || out.sessions < ENOUGH_SESSIONS {
        return out;
    }
    let by_session: Vec<Vec<&Sample>> = sessions.into_values().collect();
    let fee = average(&by_session, n, |s| s.fee);
    let line = line(&by_session, n).filter(|(_, y)| y.high - y.value < TELLS_Y);
    let spread = line.map_or_else(|| average(&by_session, n, |s| s.slippage), |l| l.0);
    let toward = |e: Estimate, before: f64| cautious(e.high, before, weight);
    out.coefficients = Coefficients {
        fee_bps: toward(fee, before.fee_bps),
        half_spread_bps: toward(spread, before.half_spread_bps),
        y: line.map_or(before.y, |l| toward(l.1, before.y)),
    };
    out.outcome = if line.is_some() { Outcome::Fitted } else { Outcome::SizesTooAlike };
    (out.fee_bps, out.half_spread_bps, out.y) = (Some(fee), Some(spread), line.map(|l| l.1));
    out
}

/// The upper end of an interval; what is below the number that stood before moves there only by `weight`. Never negative; rounded up to
/// the hundredths that are shown.
fn cautious(high: f64, before: f64, weight: f64) -> f64 {
    let high = high.max(0.0);
    let value = if high >= before { high } else { weight * high + (1.0 - weight) * before };
    (value * 100.0 - 1e-9).ceil() / 100.0
}

/// The mean of a number, its interval by sessions.
fn average(sessions: &[Vec<&Sample>], n: f64, of: impl Fn(&Sample) -> f64) -> Estimate {
    let mean = sessions.iter().flatten().map(|s| of(s)).sum::<f64>() / n;
    let spread: f64 = sessions.iter().map(|day| day.iter().map(|s| of(s) - mean).sum::<f64>().powi(2)).sum();
    around(mean, small_sample(sessions.len(), n, 1.0) * spread / (n * n))
}

fn around(value: f64, variance: f64) -> Estimate {
    let half = Z_95 * variance.sqrt();
    Estimate { value, low: value - half, high: value + half }
}

/// What makes a variance by groups honest when groups are few.
fn small_sample(groups: usize, n: f64, parameters: f64) -> f64 {
    let g = groups as f64;
    g / (g - 1.0) * (n - 1.0) / (n - parameters)
}

/// Half spread and coefficient of impact; none when all orders had one size.
fn line(sessions: &[Vec<&Sample>], n: f64) -> Option<(Estimate, Estimate)> {
    let all = || sessions.iter().flatten();
    let x0 = all().map(|s| s.unit).sum::<f64>() / n;
    let s0 = all().map(|s| s.slippage).sum::<f64>() / n;
    let sxx: f64 = all().map(|s| (s.unit - x0).powi(2)).sum();
    if !(sxx > 1e-12 * n * (1.0 + x0 * x0)) {
        return None;
    }
    let y = all().map(|s| (s.unit - x0) * (s.slippage - s0)).sum::<f64>() / sxx;
    let half_spread = s0 - y * x0;
    // Each order's pull on the two numbers, summed over a session.
    let (mut of_spread, mut of_y) = (0.0, 0.0);
    for day in sessions {
        let (mut a, mut b) = (0.0, 0.0);
        for s in day {
            let rest = s.slippage - half_spread - y * s.unit;
            let pull = rest * (s.unit - x0) / sxx;
            a += rest / n - x0 * pull;
            b += pull;
        }
        of_spread += a * a;
        of_y += b * b;
    }
    let honest = small_sample(sessions.len(), n, 2.0);
    Some((around(half_spread, honest * of_spread), around(y, honest * of_y)))
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
