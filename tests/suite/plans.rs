//! What an evening plans on in a world: the closes of everything that trades there.

use data_layer::calendar::Calendar;
use data_layer::sandbox::world::World;
use data_layer::time::{TradingDay, UtcTime};
use engine::execution::order::Reference;
use engine::pipelines::paper_day::PlanInput;
use std::collections::BTreeMap;

/// Targets on the closes of `asof`, as they are known at `now`; volumes are no obstacle.
pub fn plan_of(world: &World, now: UtcTime, asof: TradingDay, targets: &BTreeMap<String, f64>) -> PlanInput {
    let at = Calendar::xnys().close(asof);
    let reference = |price| Reference { price, at, adv_shares: Some(1e9), sigma_daily: None, tradable: true };
    let prices = world.series.iter().filter_map(|s| Some((s.symbol.clone(), reference(world.last_close(&s.symbol, now)?))));
    PlanInput {
        asof,
        champion: BTreeMap::new(),
        targets: targets.clone(),
        prices: prices.collect(),
        rebalance_no: 0,
        notes: Vec::new(),
        schedule: None,
        ceiling: None,
    }
}
