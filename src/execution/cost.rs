//! One cost model: fee, half spread, square-root impact, and the carry of shorts.
//!
//! Impact is the average adverse move of the whole parent order, `Y x sigma_daily x sqrt(quantity / ADV)` as a fraction of
//! the price, after Torre (1997) and Almgren, Thum, Hauptmann and Li (2005). A parent order is priced once: pricing its
//! slices one by one would make slicing look free. There is no cap inside; capping belongs to the sizer.

use crate::types::{SESSIONS_PER_YEAR, Side};
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// What a round trip costs until own fills say otherwise.
pub const DEFAULT_BPS_ROUND_TRIP: f64 = 12.0;
/// Multiples of the cost model that every report prints.
pub const SENSITIVITY: [f64; 4] = [0.5, 1.0, 2.0, 3.0];

/// How one order is priced.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Pricing {
    /// Half of the round trip on each side, whatever the size.
    Flat { bps_round_trip: f64 },
    /// Fee + half spread + impact; needs the symbol's volatility and volume, and refuses without them.
    Impact { fee_per_share: f64, half_spread_bps: f64, y: f64 },
}

/// The cost model of a simulation.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    pub pricing: Pricing,
    /// Carry of short positions, in bps of their value per year.
    pub borrow_bps_per_year: f64,
    /// Everything times this: the sensitivity table.
    pub multiple: f64,
}

impl Default for CostModel {
    fn default() -> Self {
        Self::flat(DEFAULT_BPS_ROUND_TRIP)
    }
}

/// Liquidity of a symbol as known when the order is decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Liquidity {
    /// Standard deviation of daily returns.
    pub sigma_daily: f64,
    /// Average daily volume in shares, over the same look-back.
    pub adv_shares: f64,
}

impl CostModel {
    pub fn flat(bps_round_trip: f64) -> Self {
        Self { pricing: Pricing::Flat { bps_round_trip }, borrow_bps_per_year: 0.0, multiple: 1.0 }
    }
    /// No cost at all: for identities in tests and for gross curves.
    pub fn free() -> Self {
        Self::flat(0.0)
    }
    #[must_use]
    pub fn scaled(self, multiple: f64) -> Self {
        Self { multiple: self.multiple * multiple, ..self }
    }
    #[must_use]
    pub fn with_borrow(self, borrow_bps_per_year: f64) -> Self {
        Self { borrow_bps_per_year, ..self }
    }
    /// Refuse numbers that would make trading free by accident or pay for it.
    pub fn validate(&self) -> Result<()> {
        let parts = match self.pricing {
            Pricing::Flat { bps_round_trip } => vec![bps_round_trip],
            Pricing::Impact { fee_per_share, half_spread_bps, y } => vec![fee_per_share, half_spread_bps, y],
        };
        if parts.iter().chain([&self.borrow_bps_per_year, &self.multiple]).all(|v| v.is_finite() && *v >= 0.0) {
            return Ok(());
        }
        Err(Error::new(code::CFG_VALUE, "a cost must be a number of at least 0").found(format!("{self:?}")))
    }
    /// The one-way cost of an order, as a fraction of its notional.
    pub fn rate(&self, side: Side, qty: f64, price: f64, liquidity: Option<Liquidity>) -> Result<f64> {
        let bps = match self.pricing {
            Pricing::Flat { bps_round_trip } => bps_round_trip / 2.0,
            Pricing::Impact { fee_per_share, half_spread_bps, y } => {
                let l = liquidity.unwrap_or(Liquidity { sigma_daily: f64::NAN, adv_shares: 0.0 });
                let spread = 2.0 * half_spread_bps * price / 1e4;
                let order = ImpactInput { side, qty, price, adv_shares: l.adv_shares, sigma_daily: l.sigma_daily, spread, y, fee_per_share };
                let cost = square_root(&order);
                cost.total_bps.filter(|b| b.is_finite()).ok_or_else(|| {
                    Error::new(code::ML_UNDEFINED, "the cost of an order is undefined").cause("the symbol has no volume or volatility to price impact with")
                })?
            }
        };
        Ok(bps * self.multiple / 1e4)
    }
    /// Carry of one session, as a fraction of the value that is short.
    pub fn borrow_rate_per_session(&self) -> f64 {
        self.borrow_bps_per_year * self.multiple / 1e4 / SESSIONS_PER_YEAR
    }
}

/// One parent order and its market.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImpactInput {
    pub side: Side,
    pub qty: f64,
    pub price: f64,
    pub adv_shares: f64,
    pub sigma_daily: f64,
    /// Full effective spread, in price.
    pub spread: f64,
    #[serde(rename = "Y")]
    pub y: f64,
    pub fee_per_share: f64,
}

/// Why an order's cost is or is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CostReason {
    #[serde(rename = "OK")]
    Ok,
    #[serde(rename = "NO_ADV")]
    NoAdv,
}

/// The parts of an order's cost; absent where they cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderCost {
    pub participation: Option<f64>,
    pub impact_bps: Option<f64>,
    pub half_spread_bps: f64,
    pub fee_bps: f64,
    pub total_bps: Option<f64>,
    pub cost_usd: Option<f64>,
    /// Price plus spread and impact, without the fee, which is a cash row of its own.
    pub expected_fill_price: Option<f64>,
    pub reason: CostReason,
}

/// Fee, half spread and square-root impact of one parent order.
pub fn square_root(o: &ImpactInput) -> OrderCost {
    let half_spread_bps = 0.5 * o.spread / o.price * 1e4;
    let fee_bps = o.fee_per_share / o.price * 1e4;
    if o.adv_shares.is_nan() || o.adv_shares <= 0.0 {
        let reason = CostReason::NoAdv;
        return OrderCost {
            participation: None,
            impact_bps: None,
            half_spread_bps,
            fee_bps,
            total_bps: None,
            cost_usd: None,
            expected_fill_price: None,
            reason,
        };
    }
    let participation = o.qty / o.adv_shares;
    let impact_bps = o.y * o.sigma_daily * participation.sqrt() * 1e4;
    let total_bps = impact_bps + half_spread_bps + fee_bps;
    OrderCost {
        participation: Some(participation),
        impact_bps: Some(impact_bps),
        half_spread_bps,
        fee_bps,
        total_bps: Some(total_bps),
        cost_usd: Some(total_bps / 1e4 * o.qty * o.price),
        expected_fill_price: Some(o.price * (1.0 + o.side.sign() * (impact_bps + half_spread_bps) / 1e4)),
        reason: CostReason::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn golden_square_root_orders() {
        let doc: Value = serde_json::from_str(include_str!("../../tests/golden/impact_cost/square_root.json")).unwrap();
        let orders: Vec<ImpactInput> = serde_json::from_value(doc["inputs"]["orders"].clone()).unwrap();
        for (order, expected) in orders.iter().zip(doc["expected"]["orders"].as_array().unwrap()) {
            let got = serde_json::to_value(square_root(order)).unwrap();
            for (key, want) in expected.as_object().unwrap() {
                match want.as_f64() {
                    Some(w) => assert!((got[key].as_f64().unwrap() - w).abs() <= 1e-10 + 1e-12 * w.abs(), "{key}: {} is not {w}", got[key]),
                    None => assert_eq!(&got[key], want, "{key}"),
                }
            }
        }
    }

    #[test]
    fn lesson_057_the_default_is_twelve_basis_points_and_never_zero() {
        let rate = CostModel::default().rate(Side::Buy, 100.0, 50.0, None).unwrap();
        assert_eq!(rate, 6e-4);
        assert!((10.0..=15.0).contains(&DEFAULT_BPS_ROUND_TRIP));
        assert_eq!(CostModel::default().scaled(3.0).rate(Side::Sell, 1.0, 1.0, None).unwrap(), 18e-4);
    }

    #[test]
    fn impact_without_a_volume_refuses_and_never_falls_back() {
        let model = CostModel { pricing: Pricing::Impact { fee_per_share: 0.0, half_spread_bps: 2.0, y: 1.0 }, ..CostModel::default() };
        assert!(model.rate(Side::Buy, 10.0, 20.0, None).unwrap_err().is(code::ML_UNDEFINED));
        let known = Liquidity { sigma_daily: 0.02, adv_shares: 1e6 };
        let rate = model.rate(Side::Buy, 10_000.0, 20.0, Some(known)).unwrap();
        assert!((rate - (2e-4 + 0.02 * 0.1)).abs() < 1e-12);
        assert!(CostModel::flat(-1.0).validate().unwrap_err().is(code::CFG_VALUE));
        assert!(CostModel::flat(f64::NAN).validate().is_err());
    }

    proptest! {
        #[test]
        fn cost_grows_with_size_and_is_the_same_on_both_sides(q in 1.0f64..1e6, more in 1.0f64..1e6) {
            let order = |side, qty| ImpactInput { side, qty, price: 40.0, adv_shares: 2e6, sigma_daily: 0.02, spread: 0.02, y: 1.0, fee_per_share: 0.005 };
            let bps = |side, qty| square_root(&order(side, qty)).total_bps.unwrap();
            prop_assert!(bps(Side::Buy, q + more) > bps(Side::Buy, q));
            prop_assert_eq!(bps(Side::Buy, q), bps(Side::Sell, q));
        }
    }
}
