//! `shadow`'s steps: weeks away are caught up, session by session.

use super::market::{self, Market, Ready};
use crate::kit::{Act, Outcome};
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::ledger;
use data_layer::schema::table;
use data_layer::time::{DateRange, TradingDay};
use engine::models::registry::Registry;
use engine::pipelines::shadow_day::{self, Scorer, ShadowInput, ShadowModel, ShadowReport};
use engine::portfolio;
use engine::types::{Matrix, Panel};
use std::collections::BTreeMap;

/// The newest session must have been audited, and not be RED.
pub fn data_of_the_day(act: &Act<'_>) -> Result<String> {
    let day = market::newest(act.root)?;
    let db = Db::open(act.root, Which::Node)?;
    let c = ledger::coverage(&db, table::CURATED_EQUITIES, "", DateRange::new(day, day.plus_days(1))?)?;
    if c.fraction() < 0.98 {
        return Err(Error::new(code::GATE_GREEN, format!("{day} is not GREEN enough to be scored"))
            .found(format!("{:.1} % GREEN of {}: {:?}", c.fraction() * 100.0, c.expected, c.codes))
            .fix("trademl node once"));
    }
    Ok(format!("{day}: {} GREEN of {}", crate::kit::percent(c.green, c.expected), c.expected))
}

struct Precomputed<'a> {
    panel: &'a Panel,
    scores: Matrix,
}

impl Scorer for Precomputed<'_> {
    fn score(&self, day: TradingDay) -> Result<Vec<(String, f64)>> {
        let at = self.panel.day_index(day).ok_or_else(|| Error::new(code::DATA_MISSING, format!("the drive has no session {day}")))?;
        Ok(market::named(self.panel, &self.scores, at))
    }
}

/// Bring every model's shadow book up to the newest session.
pub fn catch_up(act: &Act<'_>, strategy: &str) -> Result<Vec<ShadowReport>> {
    let market = Market::open(act.root)?;
    let registry = Registry::open(act.root)?;
    let ready = |m: &ShadowModel| -> Result<Ready> {
        let row = registry.model(&m.strategy, &m.version)?.ok_or_else(|| Error::bug("a shadowed model left the registry"))?;
        Ready::load(act.root, &row)
    };
    let load = |m: &ShadowModel| -> Result<Box<dyn Scorer + '_>> {
        let first = market.panel.days.partition_point(|d| *d < m.created_at.utc_day().plus_days(-7));
        let scores = ready(m)?.scores(&market.panel, first)?;
        Ok(Box::new(Precomputed { panel: &market.panel, scores }))
    };
    let targets = |m: &ShadowModel, scores: &[(String, f64)]| -> Result<BTreeMap<String, f64>> {
        let indexed: Vec<(usize, f64)> = scores.iter().enumerate().map(|(i, (_, v))| (i, *v)).collect();
        let chosen = portfolio::targets(&indexed, &ready(m)?.rule)?;
        Ok(chosen.weights.into_iter().map(|(i, w)| (scores[i].0.clone(), w)).collect())
    };
    let input = ShadowInput {
        panel: &market.panel,
        asof: market.asof,
        load: &load,
        targets: &targets,
        rebalance_sessions: 5,
        cost_bps_round_trip: 12.0,
        data_snapshot: &market.snapshot,
    };
    let reports = shadow_day::run(registry.db(), &input)?;
    Ok(reports.into_iter().filter(|r| r.strategy == strategy).collect())
}

/// What is said last.
pub fn outcome(reports: &[ShadowReport]) -> Outcome {
    let each: Vec<String> =
        reports.iter().map(|r| format!("{} ({}): {} sessions, net {:+.2} %", r.version, r.stage, r.added + r.kept, r.net_total * 100.0)).collect();
    let next = vec![("trademl evaluate".to_string(), "compare again once enough sessions were shadowed".to_string())];
    Outcome { summary: format!("shadow books are up to date: {}", each.join("; ")), next, ..Outcome::default() }
}
