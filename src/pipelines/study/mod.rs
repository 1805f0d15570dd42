//! Do the gates work? Many searches in markets without any edge, and one where an edge was planted.
//!
//! The markets are the sandbox's own worlds: `null` and `planted` differ in nothing but the edge. A search fits, scores out
//! of fold and trades many ridge configurations under the product's own portfolio rule and costs, chooses the best Sharpe
//! ratio it finds, and asks for promotion under the product's bars. Every configuration is counted as a trial. In the null
//! markets hardly any search may pass; in the planted one the search must, with the planted feature, and its model must be
//! promoted by the product's own rule and go on working on later days that the search never saw. Both halves search alike.

mod book;
mod market;
mod promotion;
mod ridge;
mod search;
mod trees;

pub use promotion::{Promoted, Shadow};
pub use ridge::Described;
pub use search::Search;

use crate::backtest::metric::ic;
use crate::validation::hurdles::{Bars, Measure, Measures, Verdict};
use crate::validation::pbo;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use market::Market;
use rayon::prelude::*;
use search::{Effort, Found};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use std::ops::Range;

/// The feature that the planted market's returns follow: the standing by the last 20 sessions.
pub const PLANTED: &str = "mom_20";
/// Share of null searches that may be promoted.
pub const TOLERATED: f64 = 0.05;
/// Of the interval in which the later rank IC must lie.
pub const LEVEL: f64 = 0.99;

/// What is studied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    pub searches: usize,
    /// Ridge configurations that each search tries.
    pub configurations: usize,
    /// LightGBM configurations of one more null search; 0 = none.
    pub tree_configurations: usize,
    /// Planted markets that are searched; the first model is followed through the registry, the others show how often an
    /// edge of this size clears the bars.
    pub planted: usize,
    /// Of a market's 1,257 sessions, the first so many.
    pub sessions: usize,
    /// Blocks of the overfitting test.
    pub pbo_blocks: usize,
    pub seed: u64,
}

impl Default for Study {
    fn default() -> Self {
        Self { searches: 60, configurations: 1_000, tree_configurations: 60, planted: 5, sessions: 1_257, pbo_blocks: pbo::BLOCKS, seed: 1 }
    }
}

/// The searches in nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NullHalf {
    pub searches: usize,
    /// Searches whose choice would be promoted.
    pub promoted: usize,
    pub share: f64,
    /// The same without costs, which is easier.
    pub promoted_before_costs: usize,
    /// The largest Sharpe ratio after costs that a search found in nothing.
    pub best_sharpe: f64,
    /// The best deflated Sharpe ratio after costs.
    pub best_dsr: f64,
}

/// A mean rank IC on searched days, and what it lets one expect of later ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Later {
    pub searched: f64,
    /// Newey-West.
    pub searched_error: f64,
    pub later: f64,
    pub later_error: f64,
    pub level: f64,
    /// Where the later mean lies with that probability if nothing changed: both periods are samples.
    pub low: f64,
    pub high: f64,
    pub inside: bool,
}

/// The search where there is something to find.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlantedHalf {
    pub search: Search,
    pub chosen: Described,
    /// Of the final model, by feature.
    pub weights: Vec<(String, f64)>,
    /// The five features that its scores on later days correlate with most.
    pub carriers: Vec<(String, f64)>,
    /// Whether the first of them is the planted one, in its direction.
    pub found: bool,
    pub later: Later,
    pub promoted: Promoted,
    /// Planted markets that were searched, this one included, and how many of their choices meet every bar.
    pub searched: usize,
    pub meet_every_bar: usize,
}

/// The outcome of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub study: Study,
    pub bars: Bars,
    pub null: NullHalf,
    /// One search in nothing with trees.
    pub null_trees: Option<Search>,
    pub planted: PlantedHalf,
    /// At most one null search in twenty passes, and the one with trees does not; the planted edge is found, passes every
    /// bar, is promoted by the rule, and is confirmed on later days.
    pub passed: bool,
}

/// Run the study. `drive` is an empty data root for the planted model's registry. The same study gives the same outcome on
/// any number of threads.
pub fn run(study: Study, bars: Bars, drive: &DataRoot) -> Result<Outcome> {
    if study.searches == 0 || study.planted == 0 || study.configurations < 2 {
        return Err(Error::new(code::CFG_VALUE, "a study needs a search of each kind and two configurations").found(format!("{study:?}")));
    }
    let null = null_half(study, &bars)?;
    let null_trees = (study.tree_configurations > 1).then(|| with_trees(study, &bars)).transpose()?;
    let planted = planted_half(study, &bars, drive)?;
    let refused = |s: &Search| !s.verdict.passed;
    let passed = null.share <= TOLERATED
        && null_trees.as_ref().is_none_or(refused)
        && planted.found
        && planted.search.verdict.passed
        && planted.promoted.promotion.applied
        && planted.later.inside;
    Ok(Outcome { study, bars, null, null_trees, planted, passed })
}

/// One search in each market of a world, with the seeds that follow the study's own.
fn searches(study: Study, bars: &Bars, world: &str, seeds: Range<u64>) -> Result<Vec<Search>> {
    let one = |i: u64| {
        let seed = study.seed + i;
        let market = Market::of_world(world, seed, study.sessions)?;
        search::ridge(&market, study.configurations, seed, bars, study.pbo_blocks, Effort::UntilRefused).map(|f| f.0.search)
    };
    seeds.into_par_iter().map(one).collect()
}

fn null_half(study: Study, bars: &Bars) -> Result<NullHalf> {
    let all = searches(study, bars, "null", 0..study.searches as u64)?;
    let promoted = all.iter().filter(|s| s.verdict.passed).count();
    let dsr = |v: &Verdict| v.rows.iter().find(|r| r.name == "dsr").and_then(|r| r.value);
    Ok(NullHalf {
        searches: all.len(),
        promoted,
        share: promoted as f64 / all.len() as f64,
        promoted_before_costs: all.iter().filter(|s| s.passes_before_costs).count(),
        best_sharpe: all.iter().map(|s| s.sharpe_annual).fold(f64::MIN, f64::max),
        best_dsr: all.iter().filter_map(|s| dsr(&s.verdict)).fold(0.0, f64::max),
    })
}

fn with_trees(study: Study, bars: &Bars) -> Result<Search> {
    let market = Market::of_world("null", study.seed, study.sessions)?;
    let trials = trees::trade_all(&market, study.tree_configurations, study.seed)?;
    Ok(search::judge(&trials, bars, study.pbo_blocks, Effort::Full)?.search)
}

fn planted_half(study: Study, bars: &Bars, drive: &DataRoot) -> Result<PlantedHalf> {
    let market = Market::of_world("planted", study.seed, study.sessions)?;
    let found = search::follow(&market, search::ridge(&market, study.configurations, study.seed, bars, study.pbo_blocks, Effort::Full)?)?;
    let later = later(&market, &found)?;
    let promoted = promotion::take_through(drive, &market, &found, measures(&found.searched.search.verdict))?;
    let others = searches(study, bars, "planted", 1..study.planted as u64)?;
    let meets = |s: &&Search| s.verdict.passed;
    Ok(PlantedHalf {
        searched: 1 + others.len(),
        meet_every_bar: others.iter().chain([&found.searched.search]).filter(meets).count(),
        found: found.carriers.first().is_some_and(|(name, r)| name == PLANTED && *r > 0.0),
        search: found.searched.search,
        chosen: found.chosen,
        weights: found.weights,
        carriers: found.carriers.into_iter().take(5).collect(),
        later,
        promoted,
    })
}

/// The numbers behind a verdict, as an evaluation carries them.
fn measures(verdict: &Verdict) -> Measures {
    let of = |name: &str| {
        let row = verdict.rows.iter().find(|r| r.name == name);
        row.and_then(|r| r.value).map_or_else(|| Measure::Missing(row.map_or_else(String::new, |r| r.reason.clone())), Measure::Value)
    };
    Measures { sharpe: of("sharpe"), max_drawdown: of("max_drawdown"), dsr: of("dsr"), pbo: of("pbo") }
}

/// The interval in which the later mean rank IC lies if the edge stays what it was, and whether it does.
fn later(market: &Market, found: &Found) -> Result<Later> {
    let part = |days: Range<usize>| -> Result<(f64, f64)> {
        let values: Vec<f64> = found.daily_ic[market.labelled(&days)].iter().flatten().copied().collect();
        let error = ic::newey_west_error(&values, market::SPAN)?;
        Ok((values.iter().sum::<f64>() / values.len() as f64, error))
    };
    let ((searched, searched_error), (later, later_error)) = (part(market.searched.clone())?, part(market.later.clone())?);
    let normal = Normal::new(0.0, 1.0).map_err(|e| Error::bug(e.to_string()))?;
    let reach = normal.inverse_cdf(0.5 + LEVEL / 2.0) * searched_error.hypot(later_error);
    let (low, high) = (searched - reach, searched + reach);
    Ok(Later { searched, searched_error, later, later_error, level: LEVEL, low, high, inside: (low..=high).contains(&later) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::host::{FakeHost, Host};
    use data_layer::root::FsFacts;

    #[test]
    fn lesson_076_searches_in_nothing_are_refused_and_the_planted_edge_is_found_and_promoted() {
        let study = Study { searches: 8, configurations: 150, tree_configurations: 0, planted: 1, seed: 1, ..Study::default() };
        let dir = tempfile::tempdir().unwrap();
        let drive = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "planted@2:1", FsFacts::default(), None).unwrap();
        let o = run(study, Bars::default(), &drive).unwrap();
        assert_eq!((o.null.searches, o.null.promoted, o.null.promoted_before_costs), (8, 0, 0), "{o:?}");
        assert!(o.null.best_sharpe > 1.0, "the best of many looks good: {}", o.null.best_sharpe);
        assert!(o.planted.found && o.planted.later.inside, "{:?}", o.planted);
        assert!(o.passed, "{:?}", o.planted);
        let none = Study { configurations: 1, ..study };
        assert!(run(none, Bars::default(), &drive).unwrap_err().is(code::CFG_VALUE));
    }
}
