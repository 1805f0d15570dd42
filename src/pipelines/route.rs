//! From a model's scores to the signal that may be traded: the router over a panel, day by day. Trading asks it on the day, with the
//! GREEN share that the day has; a simulation of the past asks what it leaves of days that are GREEN, so that a book is judged by the
//! names that it could hold.
//!
//! A name's tier is the median of the dollars that changed hands over the last sessions; a day's regime is the volatility
//! of the average name. Both use what was known at that day's close.

use crate::backtest::Signal;
use crate::models::registry::{ModelRow, Registry};
use crate::models::router::{Liquidity, ROUTER, RouterConfig, SleeveState};
use crate::types::{Matrix, Panel, SESSIONS_PER_YEAR};
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use data_layer::time::TradingDay;
use std::collections::BTreeMap;
use std::ops::Range;

/// Sessions whose volatility names the regime.
const VOLATILITY_SESSIONS: usize = 20;
/// The regime that the configuration's volatility names.
pub const CRISIS: &str = "CRISIS";

/// Routed scores, how much of the book the regime leaves, and the days on which a sleeve was silenced, with the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutedRange {
    pub scores: Matrix,
    /// Share of the full book by day of the panel; 1 outside the range.
    pub exposure: Vec<f64>,
    pub silenced: BTreeMap<TradingDay, String>,
}

/// Scores that no router has seen: all of them, for the whole book.
impl From<Matrix> for RoutedRange {
    fn from(scores: Matrix) -> Self {
        Self { scores, exposure: Vec::new(), silenced: BTreeMap::new() }
    }
}

impl RoutedRange {
    /// What is traded.
    pub fn signal(&self) -> Signal<'_> {
        Signal { scores: &self.scores, exposure: &self.exposure }
    }

    /// Refuse when the sleeve may not speak on `day`.
    pub fn require(&self, sleeve: &str, day: TradingDay) -> Result<()> {
        let Some(why) = self.silenced.get(&day) else { return Ok(()) };
        Err(Error::new(code::GATE_GREEN, text!("the router silences '{sleeve}' on {day}")).cause(why.clone()).fix("trademl node once").fix("trademl status"))
    }
}

/// Route the scores of one sleeve on the given days. `green` is the smallest GREEN share of its tables on a day; `None`
/// when nobody has looked.
pub fn range(
    config: &RouterConfig,
    sleeve: &str,
    panel: &Panel,
    scores: &Matrix,
    days: Range<usize>,
    green: &dyn Fn(TradingDay) -> Result<Option<f64>>,
) -> Result<RoutedRange> {
    let mut out = RoutedRange { scores: Matrix::missing(scores.rows(), scores.cols()), exposure: vec![1.0; panel.n_days()], silenced: BTreeMap::new() };
    for t in days {
        let day = panel.days[t];
        let known = |s: &usize| scores.at(*s, t).is_finite();
        let of_day: BTreeMap<String, f64> = (0..scores.rows()).filter(known).map(|s| (panel.symbols[s].clone(), scores.at(s, t))).collect();
        let tiers = (0..scores.rows()).filter(known).filter_map(|s| Some((panel.symbols[s].clone(), tier(&config.liquidity, panel, s, t)?))).collect();
        let state = SleeveState { name: sleeve, green: green(day)?, scores: &of_day };
        let routed = config.route(regime(config, panel, t), &[state], &tiers)?;
        out.exposure[t] = routed.exposure;
        for (symbol, score) in &routed.scores {
            let s = panel.symbol_index(symbol).ok_or_else(|| Error::bug(text!("the router made up the name {symbol}")))?;
            out.scores.set(s, t, *score);
        }
        out.silenced.extend(routed.silenced.get(sleeve).map(|why| (day, why.clone())));
    }
    Ok(out)
}

/// What the router leaves of a sleeve on days that are GREEN: which names on which days, and how much of the book.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admitted {
    /// `symbols x days`, row by row; empty = everything.
    open: Vec<bool>,
    /// By day of the panel; empty = the whole book.
    exposure: Vec<f64>,
}

impl Admitted {
    /// The router over all days of a panel; everything where no router is given.
    pub fn of(router: Option<&RouterConfig>, sleeve: &str, panel: &Panel) -> Self {
        let Some((config, rule)) = router.and_then(|r| Some((r, r.sleeves.get(sleeve)?))) else { return Self::default() };
        let (n, days) = (panel.n_symbols(), panel.n_days());
        let exposure: Vec<f64> = (0..days).map(|t| config.factor(regime(config, panel, t), sleeve)).collect();
        let one = |s: usize, t: usize| exposure[t] > 0.0 && tier(&config.liquidity, panel, s, t).is_some_and(|tier| rule.liquidity_tiers.contains(&tier));
        let open = (0..n).flat_map(|s| (0..days).map(move |t| (s, t))).map(|(s, t)| one(s, t)).collect();
        Self { open, exposure }
    }

    /// The scores that pass, with the exposure of each day.
    pub fn through(&self, mut scores: Matrix) -> RoutedRange {
        scores.values_mut().iter_mut().zip(&self.open).filter(|(_, open)| !**open).for_each(|(v, _)| *v = f64::NAN);
        RoutedRange { scores, exposure: self.exposure.clone(), silenced: BTreeMap::new() }
    }

    /// The share of finite scores that pass.
    pub fn share(&self, scores: &Matrix) -> f64 {
        let known = scores.values().iter().filter(|v| v.is_finite()).count();
        let passed = self.through(scores.clone()).scores.values().iter().filter(|v| v.is_finite()).count();
        if known == 0 { 1.0 } else { passed as f64 / known as f64 }
    }
}

/// The router's configuration: built-in, then the drive's, then this machine's.
pub fn configured(root: &DataRoot) -> Result<RouterConfig> {
    let router: RouterConfig = data_layer::config::load("router", ROUTER, root.host(), Some(root))?.value;
    router.validate()?;
    Ok(router)
}

/// The tier of a name at the close of `t`: 1 is the most liquid; `None` when fewer than half the sessions have a volume.
pub fn tier(config: &Liquidity, panel: &Panel, s: usize, t: usize) -> Option<u8> {
    let from = (t + 1).saturating_sub(config.sessions);
    let mut dollars: Vec<f64> = (from..=t).map(|d| panel.close_raw.at(s, d) * panel.volume_raw.at(s, d)).filter(|v| v.is_finite()).collect();
    if dollars.len() * 2 < config.sessions {
        return None;
    }
    dollars.sort_by(f64::total_cmp);
    let median = dollars[dollars.len() / 2];
    let below = config.tier_usd.iter().filter(|least| median < **least).count();
    u8::try_from(below + 1).ok()
}

/// The regime at the close of `t`, where the configuration names one.
pub fn regime(config: &RouterConfig, panel: &Panel, t: usize) -> Option<&'static str> {
    if t < VOLATILITY_SESSIONS {
        return None;
    }
    let market = |d: usize| {
        let moves = (0..panel.n_symbols()).map(|s| panel.close.at(s, d) / panel.close.at(s, d - 1) - 1.0).filter(|r| r.is_finite());
        let (sum, n) = moves.fold((0.0, 0_usize), |(sum, n), r| (sum + r, n + 1));
        if n == 0 { 0.0 } else { sum / n as f64 }
    };
    let squares: f64 = (t + 1 - VOLATILITY_SESSIONS..=t).map(|d| market(d).powi(2)).sum();
    let volatility = (squares / VOLATILITY_SESSIONS as f64 * SESSIONS_PER_YEAR).sqrt();
    (volatility > config.crisis_volatility).then_some(CRISIS)
}

/// The model that speaks for a sleeve: the configured version, or the registry's champion.
pub fn champion(registry: &Registry, config: &RouterConfig, sleeve: &str) -> Result<ModelRow> {
    let Some(version) = config.sleeves.get(sleeve).and_then(|s| s.champion.as_ref()) else { return registry.champion(sleeve) };
    registry.model(sleeve, version)?.ok_or_else(|| {
        Error::new(code::ML_ARTIFACT, text!("the router names the model {version}, which the registry does not have"))
            .fix(text!("take sleeves.{sleeve}.champion out of router.yml, or name a registered version"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::{self, Before};
    use crate::features::fixture::random_panel;
    use crate::models::router::ROUTER;
    use crate::portfolio::RuleConfig;

    #[test]
    fn liquid_names_on_green_days_keep_their_raw_scores_and_the_rest_is_silent() {
        let mut panel = random_panel(3, 6, 60, 0.0);
        for t in 0..60 {
            panel.volume_raw.set(0, t, 10.0);
        }
        let config = RouterConfig::parse(ROUTER).unwrap();
        let mut scores = Matrix::missing(6, 60);
        (0..6).for_each(|s| (0..60).for_each(|t| scores.set(s, t, (s * 100 + t) as f64)));
        let green = |day: TradingDay| {
            Ok(if day == panel.days[50] {
                Some(0.5)
            } else if day == panel.days[51] {
                None
            } else {
                Some(1.0)
            })
        };
        let routed = range(&config, "equities_xs", &panel, &scores, 40..52, &green).unwrap();
        assert_eq!(tier(&config.liquidity, &panel, 0, 45), Some(3));
        assert!(routed.scores.at(0, 45).is_nan(), "its dollars are too few");
        assert_eq!(routed.scores.at(1, 45), scores.at(1, 45));
        assert!(routed.scores.column(50).iter().chain(&routed.scores.column(51)).all(|v| v.is_nan()));
        assert_eq!(routed.silenced.keys().copied().collect::<Vec<_>>(), [panel.days[50], panel.days[51]]);
        assert!(routed.require("equities_xs", panel.days[49]).is_ok());
        assert!(routed.require("equities_xs", panel.days[50]).unwrap_err().is(code::GATE_GREEN));
    }

    #[test]
    fn a_storm_is_a_crisis_and_tomorrow_does_not_make_it_one() {
        let mut panel = random_panel(3, 6, 60, 0.0);
        let config = RouterConfig::parse(ROUTER).unwrap();
        assert_eq!((regime(&config, &panel, 5), regime(&config, &panel, 50)), (None, None));
        for t in 51..60 {
            let shock = if t % 2 == 0 { 0.8 } else { 1.25 };
            (0..6).for_each(|s| panel.close.set(s, t, panel.close.at(s, t - 1) * shock));
        }
        assert_eq!((regime(&config, &panel, 50), regime(&config, &panel, 59)), (None, Some(CRISIS)));
        // Trading, asked day by day on GREEN data, and a simulation of the past say the same of names and of the book's size.
        for t in 30..60 {
            panel.volume_raw.set(0, t, 10.0);
        }
        let mut scores = Matrix::missing(6, 60);
        (0..6).for_each(|s| (20..60).for_each(|t| scores.set(s, t, (s * 100 + t) as f64)));
        let traded = range(&config, "equities_xs", &panel, &scores, 20..60, &|_| Ok(Some(1.0))).unwrap();
        let simulated = Admitted::of(config.of_sleeve("equities_xs").as_ref(), "equities_xs", &panel).through(scores.clone());
        let bits = |m: &Matrix| m.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((bits(&simulated.scores), &simulated.exposure), (bits(&traded.scores), &traded.exposure));
        assert!(simulated.scores.at(0, 59).is_nan() && simulated.exposure[59] == 0.5 && simulated.exposure[50] == 1.0);
        // Half the book is half the weights, name by name.
        let rule = RuleConfig { top_n: 2, bottom_n: 2, ..RuleConfig::default() };
        let weights = |signal: Signal<'_>| backtest::decide(&panel, signal, &rule, 59, &Before { equity_usd: 1e5, ..Before::default() }).unwrap().weights;
        let (half, whole) = (weights(simulated.signal()), weights(Signal { exposure: &[], ..simulated.signal() }));
        assert!(whole.len() == 4 && half.len() == 4 && whole.iter().all(|(s, w)| half[s] == 0.5 * w), "{half:?} {whole:?}");
    }
}
