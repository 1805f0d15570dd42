//! Do the gates work? Many searches in a market without any edge, and one where an edge was planted.
//!
//! A search tries many factor rules (weighted sums of the product's own standardised features), takes the best Sharpe
//! ratio it finds, and asks for promotion under the product's bars: Sharpe ratio, drawdown, deflated Sharpe ratio over all
//! rules tried, probability of overfitting. Before costs, which is easier to pass. In the null market hardly any search may
//! pass; in the planted one the search must, with the planted feature, and the rule must go on working on later days that
//! the search never saw. Both kinds of search try the same rules.

use crate::backtest::metric::{ic, max_drawdown, sharpe};
use crate::features::{FeatureBlock, equities_xs, standardise::zscore};
use crate::labels::horizon::{demean, forward};
use crate::types::{Matrix, Panel};
use crate::validation::bootstrap::{self, Interval, Plan};
use crate::validation::hurdles::{self, Bars, Measures, Verdict};
use crate::validation::{dsr, pbo};
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::time::{DateRange, TradingDay};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The feature whose value the planted market repeats two sessions later.
pub const PLANTED: &str = "ret_open_close";
/// Strength of the planted edge, in daily volatilities per standard deviation of the feature: a rank IC of about 0.06.
const ALPHA: f64 = 0.06;
/// Share of the days, at the end, that no search sees.
const SHADOW_SHARE: f64 = 0.25;

/// What is studied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    pub searches: usize,
    /// Rules that each search tries.
    pub configurations: usize,
    pub names: usize,
    pub sessions: usize,
    /// Blocks of the overfitting test.
    pub pbo_blocks: usize,
    pub seed: u64,
}

impl Default for Study {
    fn default() -> Self {
        Self { searches: 60, configurations: 1_000, names: 60, sessions: 1_260, pbo_blocks: pbo::BLOCKS, seed: 1 }
    }
}

/// How one search ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// Rules tried.
    pub tried: usize,
    /// Features of the winning rule with their weights.
    pub rule: Vec<(String, f64)>,
    pub sharpe_annual: f64,
    pub verdict: Verdict,
    /// Mean rank IC with its 99 % interval, on the days of the search and on the later ones.
    pub searched_ic: Option<Interval>,
    pub shadow_ic: Option<Interval>,
}

/// The outcome of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub study: Study,
    pub bars: Bars,
    /// Searches without an edge that would have been promoted.
    pub null_promoted: usize,
    pub null_share: f64,
    /// The largest Sharpe ratio that a search found in nothing.
    pub null_best_sharpe: f64,
    pub planted: Search,
    pub planted_found: bool,
    /// Whether the mean rank IC of the later days lies inside the interval of the searched days.
    pub planted_confirmed: bool,
    /// At most one null search in twenty passes; the planted one is found, passes and is confirmed.
    pub passed: bool,
}

/// Run the study. The same study gives the same outcome on any number of threads.
pub fn run(study: Study, bars: Bars) -> Result<Outcome> {
    if study.searches == 0 || study.configurations < 2 || study.names < 20 || study.sessions < 300 {
        return Err(Error::new(code::CFG_VALUE, "a study needs searches, two rules, 20 names and 300 sessions").found(format!("{study:?}")));
    }
    let null: Vec<Search> = (0..study.searches).into_par_iter().map(|i| search(study, study.seed + i as u64, 0.0, &bars)).collect::<Result<_>>()?;
    let planted = search(study, study.seed, ALPHA, &bars)?;
    let null_promoted = null.iter().filter(|s| s.verdict.passed).count();
    let null_share = null_promoted as f64 / study.searches as f64;
    let planted_found = planted.rule.iter().any(|(name, w)| name == PLANTED && *w > 0.0);
    let inside = |(searched, later): (Interval, Interval)| (searched.low..=searched.high).contains(&later.value);
    let planted_confirmed = planted.searched_ic.zip(planted.shadow_ic).is_some_and(inside);
    Ok(Outcome {
        study,
        bars,
        null_promoted,
        null_share,
        null_best_sharpe: null.iter().map(|s| s.sharpe_annual).fold(f64::MIN, f64::max),
        passed: null_share <= 0.05 && planted_found && planted.verdict.passed && planted_confirmed,
        planted,
        planted_found,
        planted_confirmed,
    })
}

/// One search in a market of its own.
fn search(study: Study, seed: u64, alpha: f64, bars: &Bars) -> Result<Search> {
    let panel = market(study, seed, alpha)?;
    let block = equities_xs::build(&panel)?;
    let labels = demean(&forward(&panel, 1, 1, true)?);
    let first = equities_xs::warm_up_sessions();
    let end = panel.n_days() - 2;
    let split = end - ((end - first) as f64 * SHADOW_SHARE) as usize;
    let varying: Vec<usize> = (0..block.names.len()).filter(|f| block.units[*f] == crate::features::STANDARD_UNIT).collect();
    let factors: Vec<Vec<f64>> = varying.iter().map(|f| factor_returns(&block.columns[*f], &labels, first..split)).collect();
    let rules = rules(varying.len(), study.configurations, seed);
    let days = split - first;
    let mut returns = Matrix::missing(rules.len(), days);
    for (r, rule) in rules.iter().enumerate() {
        let gross: f64 = rule.iter().map(|(_, w)| w.abs()).sum();
        for t in 0..days {
            returns.set(r, t, rule.iter().map(|(f, w)| w * factors[*f][t]).sum::<f64>() / gross);
        }
    }
    let sharpes: Vec<f64> = (0..rules.len()).map(|r| dsr::moments(returns.row(r)).map(|m| m.sharpe)).collect::<Result<_>>()?;
    let best = (1..sharpes.len()).fold(0, |b, r| if sharpes[r] > sharpes[b] { r } else { b });
    let won = returns.row(best);
    let deflated = dsr::deflated_sharpe(won, rules.len() as u64, dsr::trials_variance(&sharpes)?);
    let measures = Measures {
        sharpe: sharpe::annualised(won).into(),
        max_drawdown: max_drawdown::depth(won).into(),
        dsr: deflated.map(|d| d.dsr).into(),
        pbo: pbo::cscv(&returns, study.pbo_blocks).map(|p| p.pbo).into(),
    };
    let scores = score(&block, &varying, &rules[best]);
    let daily = ic::per_date(&scores, &labels)?;
    let mean = |v: &[f64]| crate::types::defined(v.iter().sum::<f64>() / v.len() as f64, "the mean rank IC", "no date has one");
    let known = |days: Range<usize>| daily[days].iter().flatten().copied().collect::<Vec<f64>>();
    let interval = |days| bootstrap::interval(&known(days), Plan { level: 0.99, ..Plan::of_block(5, seed) }, mean).ok();
    Ok(Search {
        tried: rules.len(),
        rule: rules[best].iter().map(|(f, w)| (block.names[varying[*f]].clone(), *w)).collect(),
        sharpe_annual: sharpe::annualised(won)?,
        verdict: hurdles::judge(&measures, bars)?,
        searched_ic: interval(first..split),
        shadow_ic: interval(split..end),
    })
}

/// Daily return of the long-short portfolio that holds every name in proportion to its feature, at a gross exposure of 1.
fn factor_returns(feature: &Matrix, labels: &Matrix, days: Range<usize>) -> Vec<f64> {
    let one = |t: usize| {
        let (mut earned, mut gross) = (0.0, 0.0);
        for s in 0..feature.rows() {
            let (x, y) = (feature.at(s, t), labels.at(s, t));
            if x.is_finite() && y.is_finite() {
                (earned, gross) = (earned + x * y, gross + x.abs());
            }
        }
        if gross > 0.0 { earned / gross } else { 0.0 }
    };
    days.map(one).collect()
}

/// Each feature alone in both directions, then random pairs and triples.
fn rules(features: usize, wanted: usize, seed: u64) -> Vec<Vec<(usize, f64)>> {
    let mut out: Vec<Vec<(usize, f64)>> = (0..features).flat_map(|f| [vec![(f, 1.0)], vec![(f, -1.0)]]).take(wanted).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x51EA_2C4B);
    while out.len() < wanted {
        let size = rng.random_range(2..=3_usize);
        let mut rule: Vec<(usize, f64)> = Vec::new();
        while rule.len() < size {
            let f = rng.random_range(0..features);
            if rule.iter().all(|(known, _)| *known != f) {
                rule.push((f, f64::from(rng.random_range(1..=4_u32)) * if rng.random_range(0..2_u32) == 0 { -1.0 } else { 1.0 }));
            }
        }
        out.push(rule);
    }
    out
}

fn score(block: &FeatureBlock, varying: &[usize], rule: &[(usize, f64)]) -> Matrix {
    let first = &block.columns[varying[0]];
    let mut out = Matrix::missing(first.rows(), first.cols());
    for s in 0..out.rows() {
        for t in 0..out.cols() {
            out.set(s, t, rule.iter().map(|(f, w)| w * block.columns[varying[*f]].at(s, t)).sum());
        }
    }
    out
}

/// Names that share a market factor. With `alpha`, a session's move repeats two sessions later, standardised over the
/// names and scaled by `alpha` daily volatilities.
fn market(study: Study, seed: u64, alpha: f64) -> Result<Panel> {
    let (n, d) = (study.names, study.sessions);
    let window = DateRange::new(TradingDay::ymd(2000, 1, 1).unwrap_or(TradingDay(0)), TradingDay::ymd(2030, 1, 1).unwrap_or(TradingDay(0)))?;
    let days = Calendar::xnys().sessions(window).get(..d).ok_or_else(|| Error::new(code::CFG_VALUE, "a study has at most 30 years of sessions"))?.to_vec();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = move || {
        let mut uniform = || (f64::from(rng.random_range(0..u32::MAX)) + 0.5) / f64::from(u32::MAX);
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    };
    let m = || Matrix::missing(n, d);
    let (mut open, mut close, mut volume) = (m(), m(), m());
    let mut price: Vec<f64> = (0..n).map(|s| 20.0 + 3.0 * s as f64).collect();
    let mut moves: Vec<Vec<f64>> = Vec::with_capacity(d);
    for t in 0..d {
        let market = 0.008 * normal();
        let signal = t.checked_sub(2).map(|before| zscore(&moves[before]));
        let mut today = Vec::with_capacity(n);
        for s in 0..n {
            let opened = price[s] * (1.0 + 0.003 * normal());
            let drift = signal.as_ref().map_or(0.0, |z| alpha * 0.015 * z[s]);
            let session = market + 0.015 * normal() + drift;
            price[s] = opened * (1.0 + session).max(0.2);
            open.set(s, t, opened);
            close.set(s, t, price[s]);
            volume.set(s, t, 1e6 * (0.3 * normal()).exp());
            today.push((price[s] / opened).ln());
        }
        moves.push(today);
    }
    let ones = Matrix::from_vec(n, d, vec![1.0; n * d])?;
    Ok(Panel {
        symbols: (0..n).map(|s| format!("S{s:03}")).collect(),
        high: close.clone(),
        low: open.clone(),
        vwap: close.clone(),
        volume_raw: volume.clone(),
        close_raw: close.clone(),
        member: ones,
        delisted: vec![None; n],
        days,
        open,
        close,
        volume,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_076_searches_in_nothing_are_refused_and_the_planted_edge_is_found() {
        let study = Study { searches: 8, configurations: 80, names: 30, sessions: 620, pbo_blocks: 8, seed: 3 };
        let o = run(study, Bars::default()).unwrap();
        assert_eq!(o.null_promoted, 0, "{o:?}");
        assert!(o.planted_found, "{:?}", o.planted);
        assert_eq!(o.passed, o.planted.verdict.passed && o.planted_confirmed, "nothing passes without the planted edge");
        assert!(o.null_best_sharpe > 1.0, "the best of many looks good: {}", o.null_best_sharpe);
        assert!(run(Study { names: 3, ..study }, Bars::default()).unwrap_err().is(code::CFG_VALUE));
    }
}
