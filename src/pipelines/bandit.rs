//! What earlier searches earned, by regime: a memory on the drive that orders proposals and judges nothing.
//!
//! Thompson sampling over the configurations of a regime: each gets a draw from a normal around what it earned, wider the
//! less is known; what was learnt long ago counts half per [`HALF_LIFE_DAYS`]. A share of the proposals is drawn blindly;
//! it falls after a search that improved on everything before and rises after one that did not.

use crate::pipelines::train::Prepared;
use data_layer::error::Result;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const HALF_LIFE_DAYS: f64 = 90.0;
/// Share of blind proposals: at first, per step, and its bounds.
const EXPLORE: (f64, f64, f64, f64) = (0.30, 0.05, 0.10, 0.90);
/// Sessions of the volatility that names a regime, and of its history.
const NEAR: usize = 20;
const FAR: usize = 250;

/// What one configuration earned in one regime: net Sharpe ratios per session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    pub n: f64,
    pub mean: f64,
    /// Day of the newest lesson, counted from 1970.
    pub last: i32,
}

/// The memory of a family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub v: u32,
    pub explore: f64,
    /// The best mean so far, by regime.
    pub best: BTreeMap<String, f64>,
    pub arms: BTreeMap<String, BTreeMap<String, Arm>>,
    /// Runs whose lesson is in: a resumed run teaches once.
    pub learnt_from: Vec<String>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { v: 1, explore: EXPLORE.0, best: BTreeMap::new(), arms: BTreeMap::new(), learnt_from: Vec::new() }
    }
}

impl Memory {
    fn path(family: &str) -> Result<DataPath> {
        DataPath::new(format!("models/_search/{family}.json"))
    }

    /// The memory on the drive; an empty one where there is none. A damaged one is forgotten: it orders, it does not judge.
    pub fn load(root: &DataRoot, family: &str) -> Result<Self> {
        let bytes = store::read(root, &Self::path(family)?)?;
        Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default())
    }

    pub fn save(&self, root: &DataRoot, family: &str) -> Result<()> {
        store::write_atomic(root, &Self::path(family)?, store::canonical_json(self)?.as_bytes()).map(drop)
    }

    /// Places in `ids` of the configurations to try, at most `wanted`, in the order of the proposal.
    pub fn propose(&self, ids: &[String], wanted: usize, regime: &str, asof: TradingDay, seed: u64) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let wanted = wanted.min(ids.len());
        let blind = ((wanted as f64 * self.explore).round() as usize).min(wanted);
        let known = self.arms.get(regime);
        let mut drawn: Vec<(f64, usize)> = ids
            .iter()
            .enumerate()
            .map(|(i, id)| {
                let arm = known.and_then(|arms| arms.get(id)).cloned().unwrap_or_default();
                let age = f64::from(asof.0.saturating_sub(arm.last).max(0));
                let n = arm.n * 0.5_f64.powf(age / HALF_LIFE_DAYS);
                (n / (n + 1.0) * arm.mean + normal(&mut rng) * 0.1 / (n + 1.0).sqrt(), i)
            })
            .collect();
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut out: Vec<usize> = drawn[..wanted - blind].iter().map(|d| d.1).collect();
        let mut rest: Vec<usize> = drawn[wanted - blind..].iter().map(|d| d.1).collect();
        rest.sort_unstable();
        rest.shuffle(&mut rng);
        out.extend(rest.into_iter().take(blind));
        out
    }

    /// Take in what a search earned. False when this run has taught before, or there is nothing to learn.
    pub fn learn(&mut self, run: &str, asof: TradingDay, regime: &str, earned: &[(String, f64)]) -> bool {
        let Some(best) = earned.iter().map(|e| e.1).reduce(f64::max) else { return false };
        if self.learnt_from.iter().any(|r| r == run) {
            return false;
        }
        let improved = self.best.get(regime).is_none_or(|b| best > *b);
        self.explore = (self.explore + if improved { -EXPLORE.1 } else { EXPLORE.1 }).clamp(EXPLORE.2, EXPLORE.3);
        if improved {
            self.best.insert(regime.to_string(), best);
        }
        let arms = self.arms.entry(regime.to_string()).or_default();
        for (id, value) in earned {
            let arm = arms.entry(id.clone()).or_default();
            let kept = arm.n * 0.5_f64.powf(f64::from(asof.0.saturating_sub(arm.last).max(0)) / HALF_LIFE_DAYS);
            arm.mean = (kept * arm.mean + value) / (kept + 1.0);
            (arm.n, arm.last) = (kept + 1.0, asof.0);
        }
        self.learnt_from.push(run.to_string());
        true
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let mut uniform = || (f64::from(rng.random_range(0..u32::MAX)) + 0.5) / f64::from(u32::MAX);
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// The regime at the end of the searchable days: the volatility of the mean name over a month, against its own past year.
/// One-sided, so that the same history always has the same name.
pub(crate) fn regime(p: &Prepared) -> String {
    let market = |t: usize| {
        let moves: Vec<f64> = (0..p.panel.n_symbols()).map(|s| p.panel.close.at(s, t) / p.panel.close.at(s, t - 1) - 1.0).filter(|r| r.is_finite()).collect();
        if moves.is_empty() { 0.0 } else { moves.iter().sum::<f64>() / moves.len() as f64 }
    };
    let end = p.cv_days.end;
    let returns: Vec<f64> = (end.saturating_sub(FAR + NEAR).max(1)..end).map(market).collect();
    let spread = |w: &[f64]| (w.iter().map(|r| r * r).sum::<f64>() / w.len().max(1) as f64).sqrt();
    let past: Vec<f64> = returns.windows(NEAR).map(spread).collect();
    let Some(now) = past.last() else { return "UNKNOWN".into() };
    let below = past.iter().filter(|v| *v < now).count() as f64 / past.len() as f64;
    if below < 1.0 / 3.0 {
        "CALM"
    } else if below < 2.0 / 3.0 {
        "NORMAL"
    } else {
        "STRESSED"
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("{i:03}")).collect()
    }

    #[test]
    fn what_earned_before_is_proposed_first_and_old_lessons_fade() {
        let (ids, day) = (ids(40), TradingDay(18_000));
        let mut m = Memory::default();
        let earned: Vec<(String, f64)> = (0..20).map(|i| (format!("{i:03}"), if i < 4 { 0.5 } else { -0.5 })).collect();
        for run in 0..8 {
            assert!(m.learn(&format!("run-{run}"), day, "CALM", &earned));
        }
        assert!(!m.learn("run-3", day, "CALM", &earned), "a resumed run teaches once");
        m.explore = 0.1;
        let top: Vec<usize> = m.propose(&ids, 10, "CALM", day, 1);
        assert!((0..4).all(|i| top.contains(&i)) && top.iter().filter(|i| (4..20).contains(*i)).count() <= 2, "{top:?}");
        assert_eq!(top, m.propose(&ids, 10, "CALM", day, 1), "the seed decides");
        let faded = m.propose(&ids, 10, "CALM", TradingDay(18_000 + 3_000), 1);
        assert_eq!(faded, Memory { explore: m.explore, ..Memory::default() }.propose(&ids, 10, "CALM", day, 1));
        let mut all = m.propose(&ids, 99, "OTHER", day, 2);
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>(), "each at most once, none missing");
    }

    #[test]
    fn lesson_083_a_search_that_finds_nothing_better_explores_more() {
        let mut m = Memory::default();
        let one = |v: f64| vec![("a".to_string(), v)];
        assert!(m.learn("1", TradingDay(1), "CALM", &one(0.2)) && (m.explore - 0.25).abs() < 1e-12);
        for i in 0..40 {
            m.learn(&format!("worse-{i}"), TradingDay(2), "CALM", &one(0.1));
        }
        assert!((m.explore - 0.90).abs() < 1e-12);
        assert!(!m.learn("empty", TradingDay(3), "CALM", &[]));
    }
}
