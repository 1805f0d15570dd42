//! Two synthetic markets, made from a seed: `planted` has a known edge, `null` has none and is otherwise the same.
//!
//! Hundred tickers (those of the first stage, so that every wizard's defaults work; their histories here are invented) over
//! the sessions of 2013-02-08 to 2018-02-07. A day's log return of name *i* is
//!
//! ```text
//! r = drift + beta * market + sector + sigma * noise + edge * sigma * z - variance / 2
//! ```
//!
//! where `z` is the name's place in the cross-section (mean 0, deviation 1, cut at 3) by its return over the 20 sessions
//! that end two sessions earlier. In `planted` `edge` is [`EDGE`], in `null` it is 0: in nothing else do they differ, not
//! even in a random draw. The rank correlation of `z` at a close with the return of the five sessions after the next open
//! is then about [`IC`]; a test measures it. Without the edge every name expects the same simple return on every day, so
//! that nothing known at a close orders the returns that follow: the drift is the same for all, half the variance is taken
//! off, and a bankruptcy strikes without notice on the last session (a slow decline would be a trend to sell).
//!
//! Around the prices: splits both ways, quarterly dividends, a ticker change, a ticker that is used again by another
//! company, two bankruptcies, a merger for cash, days on which a name is halted, a volatility index, a monthly series that
//! is revised, dated index membership, and minute bars of the last sessions ([`super::minutes`]).

mod events;
mod prices;

use super::world::{About, MacroValue, Stay, World};
use crate::calendar::Calendar;
use crate::error::{Error, Result};
use crate::time::{DateRange, TradingDay};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Version of the recipe: another recipe is another dataset.
pub const VERSION: u32 = 2;
/// Daily drift of one unit of `z`, in units of a name's own noise.
pub const EDGE: f64 = 0.04;
/// The rank correlation over five sessions that [`EDGE`] amounts to.
pub const IC: f64 = 0.08;

const NAMES: &str = include_str!("../../../assets/universe/stage0_100.txt");

/// Numbers from one seed, in one order.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }
    /// In `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
    /// A whole number in `[low, high)`.
    fn index(&mut self, low: usize, high: usize) -> usize {
        low + ((high.saturating_sub(low)) as f64 * self.unit()) as usize
    }
    /// Mean 0, deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// The market `planted` or `null` of a seed.
pub fn world(id: &str, seed: u64) -> Result<World> {
    let edge = if id == "planted" { EDGE } else { 0.0 };
    let days = sessions()?;
    let names: Vec<&str> = NAMES.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let plan = events::plan(&names, &days, seed);
    let market = prices::market(&names, &days, seed, edge, &plan);
    let about = About {
        id: id.into(),
        version: VERSION,
        adjusted: "raw".into(),
        known_bias: format!(
            "Synthetic: invented prices under real tickers, seed {seed}{}. Nothing found here says anything about a market.",
            if edge > 0.0 { ", with a planted edge" } else { ", without any edge" }
        ),
    };
    let stays: Vec<Stay> =
        plan.listings.iter().filter_map(|l| Some(Stay { symbol: l.symbol.clone(), from: l.ipo?, to: l.delisted.map(|d| d.plus_days(1)) })).collect();
    let macros = macros(&days, &market.volatility, seed)?;
    let minutes_from = days.get(days.len().saturating_sub(MINUTE_SESSIONS)).copied();
    let mut actions = plan.actions.clone();
    actions.extend(prices::cash_events(&plan, &days, &market.series));
    let world = World::assemble(about, market.series, plan.listings, actions)?.with_reference(macros, stays);
    Ok(World { seed: Some(seed), minutes_from, ..world })
}

/// How many of the last sessions have minute bars.
const MINUTE_SESSIONS: usize = 20;

fn sessions() -> Result<Vec<TradingDay>> {
    let day = |y, m, d| TradingDay::ymd(y, m, d).ok_or_else(|| Error::bug("a date of the synthetic markets"));
    Ok(Calendar::xnys().sessions(DateRange::new(day(2013, 2, 8)?, day(2018, 2, 8)?)?).to_vec())
}

/// The volatility index from the market's own volatility, and a monthly series whose first figure is corrected a month on.
fn macros(days: &[TradingDay], volatility: &[f64], seed: u64) -> Result<Vec<MacroValue>> {
    let calendar = Calendar::xnys();
    let mut out = Vec::new();
    for (day, v) in days.iter().zip(volatility) {
        let value = (v * 252f64.sqrt() * 1e4).round() / 100.0;
        out.push(MacroValue { series: "VIXCLS".into(), observed: *day, value: Some(value), from: calendar.next(*day)?, until: None });
    }
    let mut draw = Draw::new(seed, 3);
    let mut level = 230.0;
    let (first, last) = (days.first().copied().unwrap_or(TradingDay(0)), days.last().copied().unwrap_or(TradingDay(0)));
    for month in 0..60 {
        let (year, m) = (2013 + month / 12, (month % 12 + 1) as u8);
        let Some(observed) = TradingDay::ymd(year, m as i8, 1).filter(|d| *d >= first && *d <= last) else { continue };
        level *= 1.0 + draw.between(0.0, 0.004);
        let published = observed.plus_days(45);
        let corrected = published.plus_days(30);
        let figure = |x: f64| Some((x * 1_000.0).round() / 1_000.0);
        out.push(MacroValue {
            series: "CPIAUCSL".into(),
            observed,
            value: figure(level * (1.0 + 0.001 * draw.normal())),
            from: published,
            until: Some(corrected.plus_days(-1)),
        });
        out.push(MacroValue { series: "CPIAUCSL".into(), observed, value: figure(level), from: corrected, until: None });
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
