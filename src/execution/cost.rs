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
    /// Fee + half spread + impact as own fills have them, by how much of the symbol changes hands: one entry for each of [`Tier::ALL`].
    /// An order whose market is not known pays `unknown_bps` on its side.
    Fitted { tiers: [Coefficients; 3], unknown_bps: f64 },
}

/// How much of a symbol changes hands in a day, in dollars.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 50 million and more.
    Large,
    /// 5 million and more.
    Middle,
    Small,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Large, Self::Middle, Self::Small];
    const LARGE_USD: f64 = 50e6;
    const MIDDLE_USD: f64 = 5e6;

    /// The tier of a day's average volume in dollars; what cannot be compared is small.
    pub fn of(adv_usd: f64) -> Self {
        match adv_usd {
            v if v >= Self::LARGE_USD => Self::Large,
            v if v >= Self::MIDDLE_USD => Self::Middle,
            _ => Self::Small,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Middle => "middle",
            Self::Small => "small",
        }
    }
}

/// The parts of one side's cost.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    pub fee_bps: f64,
    pub half_spread_bps: f64,
    /// Of the square root: impact in daily standard deviations of an order as large as a day's volume.
    pub y: f64,
}

impl Default for Coefficients {
    /// Together half of the cautious round trip, and impact as in the literature on top.
    fn default() -> Self {
        Self { fee_bps: 1.0, half_spread_bps: DEFAULT_BPS_ROUND_TRIP / 2.0 - 1.0, y: 1.0 }
    }
}

impl Coefficients {
    /// One side of an order of `qty` shares, in basis points of its notional.
    pub fn bps(&self, qty: f64, market: Liquidity) -> f64 {
        self.fee_bps + self.half_spread_bps + self.y * market.impact_unit_bps(qty)
    }
    /// The higher of two, part by part.
    #[must_use]
    pub fn dearer(self, other: Self) -> Self {
        Self { fee_bps: self.fee_bps.max(other.fee_bps), half_spread_bps: self.half_spread_bps.max(other.half_spread_bps), y: self.y.max(other.y) }
    }
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

impl Liquidity {
    /// Both are numbers that impact can be priced with.
    pub fn is_known(&self) -> bool {
        self.sigma_daily.is_finite() && self.sigma_daily >= 0.0 && self.adv_shares.is_finite() && self.adv_shares > 0.0
    }
    /// What an order moves the price by when the coefficient of impact is 1, in basis points.
    pub fn impact_unit_bps(&self, qty: f64) -> f64 {
        1e4 * self.sigma_daily * (qty / self.adv_shares).sqrt()
    }
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
            Pricing::Fitted { tiers, unknown_bps } => tiers.iter().flat_map(|c| [c.fee_bps, c.half_spread_bps, c.y]).chain([unknown_bps]).collect(),
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
            Pricing::Fitted { tiers, unknown_bps } => match liquidity.filter(Liquidity::is_known) {
                Some(l) => tiers[Tier::of(l.adv_shares * price) as usize].bps(qty, l),
                None => unknown_bps,
            },
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

    #[test]
    fn a_fitted_cost_is_of_the_symbols_tier_and_an_unknown_market_has_its_own_price() {
        let of = |fee_bps, half_spread_bps, y| Coefficients { fee_bps, half_spread_bps, y };
        let tiers = [of(0.5, 1.0, 0.5), of(1.0, 3.0, 1.0), of(1.0, 9.0, 2.0)];
        let model = CostModel { pricing: Pricing::Fitted { tiers, unknown_bps: 6.0 }, ..CostModel::default() };
        model.validate().unwrap();
        let rate = |adv: f64| 1e4 * model.rate(Side::Buy, adv / 100.0, 50.0, Some(Liquidity { sigma_daily: 0.02, adv_shares: adv })).unwrap();
        for (adv, bps) in [(1e6, 1.5 + 0.5 * 20.0), (2e5, 4.0 + 20.0), (5e4, 10.0 + 40.0)] {
            assert!((rate(adv) - bps).abs() < 1e-9, "{adv} shares a day: {}", rate(adv));
        }
        for unknown in [None, Some(Liquidity { sigma_daily: f64::NAN, adv_shares: 1e6 }), Some(Liquidity { sigma_daily: 0.02, adv_shares: 0.0 })] {
            assert!((model.rate(Side::Sell, 10.0, 50.0, unknown).unwrap() - 6e-4).abs() < 1e-12);
        }
        let bad = CostModel { pricing: Pricing::Fitted { tiers: [of(0.0, -1.0, 0.0); 3], unknown_bps: 6.0 }, ..CostModel::default() };
        assert!(bad.validate().unwrap_err().is(code::CFG_VALUE));
        let all = Coefficients::default();
        assert_eq!(all.fee_bps + all.half_spread_bps, DEFAULT_BPS_ROUND_TRIP / 2.0);
        assert_eq!(all.dearer(of(2.0, 1.0, 0.0)), of(2.0, 5.0, 1.0));
        assert_eq!(Tier::ALL.map(|t| t as usize), [0, 1, 2]);
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
