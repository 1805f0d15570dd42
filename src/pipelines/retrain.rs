//! When a new challenger is due: the newest model is old, the drive holds much more than it learnt from, the market no longer looks like
//! what it learnt, or the champion loses money in its shadow book. Each trigger says what it found, fired or not.

use crate::features::STANDARD_UNIT;
use crate::models::artifact::{self, FeatureList, Kind};
use crate::models::registry::{ModelRow, Registry};
use crate::models::shadow_days::ShadowDay;
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::prepare::{self, Block};
use crate::types::Panel;
use crate::validation::drift;
use crate::validation::gate::GateReport;
use data_layer::error::{Error, Result, code};
use data_layer::ledger::Coverage;
use data_layer::root::DataRoot;
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::ops::Range;

/// Sessions after training that the drift trigger needs, so that a holiday is no regime; two weeks of them, so that it can speak before
/// the model is due by its age.
const DRIFT_SESSIONS: usize = 10;
/// A champion's losses are told from chance at this probability, one-sided.
const BY_CHANCE: f64 = 0.05;

/// One reason to train, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// `age`, `coverage`, `drift` or `champion`.
    pub name: String,
    pub fired: bool,
    pub found: String,
}

impl Trigger {
    fn new(name: &str, fired: bool, found: String) -> Self {
        Self { name: name.into(), fired, found }
    }
}

/// What the triggers look at.
pub struct Evidence<'a> {
    /// The newest closed session.
    pub session: TradingDay,
    /// GREEN partitions of the prices over the window that would be trained on now.
    pub coverage: &'a Coverage,
    /// Prices as they are known now, far enough back to hold sessions from before the model's training ended.
    pub panel: &'a Panel,
}

/// The trained model that learnt from the newest session, and what it learnt from.
#[derive(Clone, Debug)]
pub struct Learnt {
    pub model: ModelRow,
    /// The configuration that it was trained under: its features are watched, by its limits.
    pub config: TrainingConfig,
    /// The features that it sees: not all that could be made today.
    pub features: Vec<String>,
    /// The last session of its data.
    pub asof: TradingDay,
    /// The gate that its data passed.
    pub gate: GateReport,
}

/// The trained model of a strategy that learnt from the newest session; `None` where there is only the baseline. Its artifact is verified.
/// A run that was continued weeks later registers late what it pinned early, so the day of the registration says nothing.
pub fn newest(root: &DataRoot, registry: &Registry, strategy: &str) -> Result<Option<Learnt>> {
    #[derive(Deserialize)]
    struct Metrics {
        asof: TradingDay,
        gate: GateReport,
    }
    let mut models = registry.models(strategy)?;
    models.sort_by(|a, b| (b.session(), b.created_at, &b.version).cmp(&(a.session(), a.created_at, &a.version)));
    for model in models {
        let verified = artifact::verify(root, &model)?;
        // A baseline learns nothing and keeps no record of it.
        if verified.manifest.kind == Kind::Lightgbm {
            let Metrics { asof, gate } = verified.json("metrics.json")?;
            let features = verified.json::<FeatureList>("feature_list.json")?.names();
            return Ok(Some(Learnt { model, config: verified.json("training_cfg.json")?, features, asof, gate }));
        }
    }
    Ok(None)
}

/// Every trigger, in a fixed order. `table` is the one that the evidence's coverage speaks of.
pub fn triggers(registry: &Registry, learnt: &Learnt, table: &str, e: &Evidence<'_>) -> Result<Vec<Trigger>> {
    Ok(vec![age(learnt, e), coverage(learnt, table, e), drifted(learnt, e)?, champion(registry, learnt)?])
}

fn age(learnt: &Learnt, e: &Evidence<'_>) -> Trigger {
    let (days, due) = (e.session.0 - learnt.asof.0, learnt.config.retrain().max_age_days);
    Trigger::new("age", days >= due, text!("what {} learnt is {days} days old; due at {due}", learnt.model.version))
}

fn coverage(learnt: &Learnt, table: &str, e: &Evidence<'_>) -> Trigger {
    let then = learnt.gate.rows.iter().find(|r| r.table == table).map_or(0, |r| r.coverage.green);
    if then == 0 {
        return Trigger::new("coverage", false, "what it was trained on is not recorded".into());
    }
    let (growth, due) = (e.coverage.green as f64 / then as f64 - 1.0, learnt.config.retrain().coverage_growth);
    let found = text!("{} GREEN partitions, {then} when it was trained: {:+.1} %; due at {:+.0} %", e.coverage.green, growth * 100.0, due * 100.0);
    Trigger::new("coverage", growth >= due, found)
}

/// The features as a model sees them after its training against before. Names stay where they are for weeks, so that a few of them move
/// an index by themselves: it must also be larger than over any earlier stretch of as many sessions.
fn drifted(learnt: &Learnt, e: &Evidence<'_>) -> Result<Trigger> {
    let asof = learnt.asof;
    let cut = e.panel.days.partition_point(|d| *d <= asof);
    let after = e.panel.n_days() - cut;
    if after < DRIFT_SESSIONS || cut < DRIFT_SESSIONS {
        return Ok(Trigger::new("drift", false, text!("{after} sessions since {asof}, {DRIFT_SESSIONS} needed to tell")));
    }
    let mut block = prepare::block(e.panel, &learnt.config.features)?;
    block.keep(&learnt.features);
    let Some((psi, name)) = largest_psi(&block, e.panel, 0..cut, cut..e.panel.n_days())? else {
        return Ok(Trigger::new("drift", false, "no feature has a distribution to compare".into()));
    };
    let mut usual = 0.0_f64;
    for end in (2 * after..=cut).rev().step_by(after) {
        usual = usual.max(largest_psi(&block, e.panel, 0..end - after, end - after..end)?.map_or(0.0, |(psi, _)| psi));
    }
    let due = learnt.config.retrain().feature_psi;
    let found = text!("PSI {psi:.2} of {name} over {after} sessions, {usual:.2} at most over as many before; due at {due:.2}");
    Ok(Trigger::new("drift", psi >= due && psi > usual, found))
}

/// The feature that moved most between two stretches of sessions.
fn largest_psi<'b>(block: &'b Block, panel: &Panel, before: Range<usize>, after: Range<usize>) -> Result<Option<(f64, &'b str)>> {
    let mut largest: Option<(f64, &str)> = None;
    // A feature that is not scaled within its day says which season it is: that moves by itself.
    for (f, name) in block.names.iter().enumerate().filter(|(f, _)| block.units[*f] == STANDARD_UNIT) {
        let seen = |days: &Range<usize>| -> Vec<f64> {
            let of = |s: usize| &block.columns[f].row(s)[days.clone()];
            (0..panel.n_symbols()).flat_map(of).copied().filter(|v| v.is_finite()).collect()
        };
        let psi = match drift::compare(&seen(&before), &seen(&after)) {
            Ok(d) => d.psi,
            Err(e) if e.is(code::ML_UNDEFINED) => continue,
            Err(e) => return Err(e),
        };
        if largest.is_none_or(|(most, _)| psi > most) {
            largest = Some((psi, name));
        }
    }
    Ok(largest)
}

/// Whether the champion's mean net return over its newest shadowed sessions lies below zero by more than chance. Only sessions that no
/// model has learnt from count: a training is the answer to a loss once, whoever stays champion.
fn champion(registry: &Registry, learnt: &Learnt) -> Result<Trigger> {
    let strategy = learnt.model.strategy.as_str();
    let Some(champion) = registry.champion_if_any(strategy)? else { return Ok(Trigger::new("champion", false, "there is none".into())) };
    let since = |d: &&ShadowDay| d.session > learnt.asof;
    let net: Vec<f64> = registry.shadow_days(strategy, &champion.version)?.iter().filter(since).filter_map(|d| d.net_return).collect();
    let needed = learnt.config.retrain().champion_sessions;
    let Some(newest) = net.len().checked_sub(needed).map(|from| &net[from..]) else {
        return Ok(Trigger::new("champion", false, text!("{} shadowed sessions since {}, {needed} needed to tell", net.len(), learnt.asof)));
    };
    let n = newest.len() as f64;
    let mean = newest.iter().sum::<f64>() / n;
    let sd = (newest.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    // Returns that do not vary are a book without positions: nothing is lost by it.
    if !(sd > 0.0) {
        return Ok(Trigger::new("champion", false, text!("{} earned {:+.1} bps on each of its last {needed} shadowed sessions", champion.version, mean * 1e4)));
    }
    let t = mean / (sd / n.sqrt());
    let bar = StudentsT::new(0.0, 1.0, n - 1.0).map_err(|e| Error::bug(e.to_string()))?.inverse_cdf(BY_CHANCE);
    let found = text!("{} earned {:+.1} bps a session over its last {needed}, t {t:+.2}; due below {bar:.2}", champion.version, mean * 1e4);
    Ok(Trigger::new("champion", t < bar, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::baseline::{self, Momentum};
    use crate::models::registry::Stage;
    use crate::pipelines::config::Retrain;
    use crate::pipelines::fixture;
    use crate::validation::gate::GateRow;

    /// Sessions that the model learnt from.
    const SEEN: usize = 310;
    const TABLE: &str = "curated/equities_ohlcv_adj";

    fn learnt(root: &DataRoot, asof: TradingDay, green: u64) -> Learnt {
        let registry = Registry::open(root).unwrap();
        let model = baseline::ensure_baseline(root, &registry, "equities_xs", &Momentum::default(), asof, "run").unwrap();
        let row = GateRow {
            table: TABLE.into(),
            window: data_layer::time::DateRange::new(asof.plus_days(-100), asof).unwrap(),
            threshold: 0.98,
            fraction: Some(1.0),
            coverage: Coverage { expected: green, green, ..Coverage::default() },
            passed: true,
            stated: None,
            rule: String::new(),
            found: String::new(),
            fix: None,
        };
        let config = TrainingConfig::built_in("equities_xs").unwrap();
        let features = crate::features::equities_xs::registry().iter().map(|f| f.name.to_string()).collect();
        Learnt { model, config, features, asof, gate: GateReport { rows: vec![row], minimum: Some(1.0), passed: true } }
    }

    fn fired(triggers: &[Trigger]) -> Vec<&str> {
        triggers.iter().filter(|t| t.fired).map(|t| t.name.as_str()).collect()
    }

    #[test]
    fn each_trigger_fires_alone_and_says_what_it_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = fixture::create(dir.path());
        let registry = Registry::open(&root).unwrap();
        assert!(newest(&root, &registry, "equities_xs").unwrap().is_none(), "nothing was trained yet");
        let panel = crate::features::fixture::random_panel(7, 30, 340, 0.0);
        // A night that can be: two weeks after training, long before the model is due by its age, with the panel of that session.
        let panel = panel.truncated(SEEN + DRIFT_SESSIONS - 1);
        let asof = panel.days[SEEN - 1];
        let tonight = panel.days[panel.n_days() - 1];
        assert!(tonight.0 - asof.0 < Retrain::default().max_age_days && Retrain::default().champion_sessions <= DRIFT_SESSIONS);
        let learnt = learnt(&root, asof, 1_000);
        assert!(newest(&root, &registry, "equities_xs").unwrap().is_none(), "a baseline is not trained");
        let held = Coverage { expected: 1_050, green: 1_050, ..Coverage::default() };
        let look =
            |session: TradingDay, coverage: &Coverage, panel: &Panel| triggers(&registry, &learnt, TABLE, &Evidence { session, coverage, panel }).unwrap();
        let quiet = look(asof.plus_days(27), &held, &panel);
        assert_eq!(quiet.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["age", "coverage", "drift", "champion"]);
        assert_eq!(fired(&quiet), Vec::<&str>::new(), "{quiet:?}");
        assert_eq!(fired(&look(asof.plus_days(28), &held, &panel)), ["age"], "of what it learnt, whenever it was registered");
        assert_ne!(learnt.model.created_at.utc_day(), asof);
        let more = Coverage { expected: 1_100, green: 1_100, ..Coverage::default() };
        assert_eq!(fired(&look(asof, &more, &panel)), ["coverage"]);
        assert!(look(asof, &more, &panel)[1].found.contains("+10.0 %"), "{:?}", look(asof, &more, &panel)[1]);
        // One name runs away after training: the others' momentum is squeezed together.
        let mut wild = panel.clone();
        for (n, t) in (SEEN..wild.n_days()).enumerate() {
            let price = wild.close.at(0, SEEN - 1) * 1.2_f64.powi(n as i32 + 1);
            [&mut wild.open, &mut wild.high, &mut wild.low, &mut wild.close].into_iter().for_each(|m| m.set(0, t, price));
        }
        let moved = look(tonight, &held, &wild);
        assert_eq!(fired(&moved), ["drift"], "{moved:?}");
        let early = look(panel.days[SEEN + 4], &held, &panel.truncated(SEEN + 4));
        assert!(!early[2].fired && early[2].found.contains("5 sessions since"), "{:?}", early[2]);
        // A champion that loses steadily, and one that loses within chance.
        for (bps, noise, due) in [(-20.0, 10.0, true), (-2.0, 100.0, false)] {
            let dir = tempfile::tempdir().unwrap();
            let root = fixture::create(dir.path());
            let registry = Registry::open(&root).unwrap();
            let learnt = super::tests::learnt(&root, asof, 1_000);
            for (n, session) in panel.days[SEEN..].iter().enumerate() {
                let net = (bps + if n % 2 == 0 { noise } else { -noise }) * 1e-4;
                let day = ShadowDay {
                    strategy: "equities_xs".into(),
                    version: learnt.model.version.clone(),
                    session: *session,
                    weights_sha256: "w".into(),
                    gross_return: Some(net),
                    net_return: Some(net),
                    turnover: Some(0.0),
                    inputs_sha256: "i".into(),
                };
                registry.record_shadow_day(&day).unwrap();
            }
            assert_eq!(registry.champion("equities_xs").unwrap().stage, Stage::Champion);
            let e = Evidence { session: tonight, coverage: &held, panel: &panel };
            assert_eq!(fired(&triggers(&registry, &learnt, TABLE, &e).unwrap()), if due { vec!["champion"] } else { vec![] });
            // The night after, a model has learnt from the loss, and as many other sessions are needed to tell.
            let answered = Learnt { asof: panel.days[SEEN + DRIFT_SESSIONS - 2], ..learnt };
            let again = triggers(&registry, &answered, TABLE, &e).unwrap();
            assert!(!again[3].fired && again[3].found.contains("1 shadowed sessions since"), "{:?}", again[3]);
        }
    }
}
