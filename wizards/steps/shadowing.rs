//! `shadow`'s steps: weeks away are caught up, session by session.

use super::market::{self, Market, Ready};
use crate::kit::{Act, Outcome};
use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::ledger;
use data_layer::root::DataRoot;
use data_layer::schema::table;
use data_layer::time::{DateRange, TradingDay};
use data_layer::words::joined;
use engine::models::registry::Registry;
use engine::pipelines::shadow_day::{self, ShadowInput, ShadowModel, ShadowReport, Shadowed};
use engine::types::Panel;

/// The newest session must have been audited, and not be RED.
pub fn data_of_the_day(act: &Act<'_>) -> Result<String> {
    let day = market::newest(act.root)?;
    let db = Db::open(act.root, Which::Node)?;
    let c = ledger::coverage(&db, table::CURATED_EQUITIES, "", DateRange::new(day, day.plus_days(1))?)?;
    if c.fraction() < 0.98 {
        return Err(Error::new(code::GATE_GREEN, text!("{day} is not GREEN enough to be scored"))
            .found(text!("{:.1} % GREEN of {}: {:?}", c.fraction() * 100.0, c.expected, c.codes))
            .fix("trademl node once"));
    }
    Ok(text!("{day}: {} GREEN of {}", crate::kit::percent(c.green, c.expected), c.expected))
}

/// Bring every model's shadow book up to the newest session.
pub fn catch_up(act: &Act<'_>, strategy: &str) -> Result<Vec<ShadowReport>> {
    let market = Market::open(act.root)?;
    let registry = Registry::open(act.root)?;
    let load = |m: &ShadowModel| -> Result<Shadowed> {
        let row = registry.model(&m.strategy, &m.version)?.ok_or_else(|| Error::bug("a shadowed model left the registry"))?;
        shadowed(&Ready::load(act.root, &row)?, &market.panel, m)
    };
    let input = ShadowInput { panel: &market.panel, asof: market.asof, load: &load };
    let reports = shadow_day::run(registry.db(), &input)?;
    Ok(reports.into_iter().filter(|r| r.strategy == strategy).collect())
}

/// A model's signal since its registration, with its rule.
pub fn shadowed(ready: &Ready, panel: &Panel, model: &ShadowModel) -> Result<Shadowed> {
    let first = panel.days.partition_point(|d| *d < model.created_at.utc_day().plus_days(-7));
    Ok(Shadowed { signal: ready.signal(panel, first)?, rule: ready.rule.clone() })
}

/// The newest session of the drive, where a later one has closed.
pub fn behind(host: &Host, root: &DataRoot) -> Result<Option<TradingDay>> {
    let newest = market::newest(root)?;
    Ok((newest < Calendar::xnys().last_closed(host.now())?).then_some(newest))
}

/// What is said last; `behind` is the newest session where a later one is not on the drive.
pub fn outcome(reports: &[ShadowReport], behind: Option<TradingDay>) -> Outcome {
    let each: Vec<String> =
        reports.iter().map(|r| text!("{} ({}): {} sessions, net {:+.2} %", r.version, r.stage, r.added + r.kept, r.net_total * 100.0)).collect();
    let mut next = vec![("trademl evaluate".to_string(), "compare again once enough sessions were shadowed".to_string())];
    let each = joined(&each, "; ");
    let summary = match behind {
        None => text!("shadow books are up to date: {each}"),
        Some(newest) => {
            next.insert(0, ("trademl node once".to_string(), "fetch the sessions since, then trademl shadow again".to_string()));
            text!("shadow books end with {newest}, the newest session on the drive; a later one has closed: {each}")
        }
    };
    Outcome { summary, next, ..Outcome::default() }
}
