//! A market order against a book whose depth falls off exponentially from the touch.
//!
//! Level `i` of ten stands `i` ticks (one basis point of the mid each) behind the touch and offers a share `exp(-0.8 i)` of the depth. What
//! the ten levels cannot fill trades fifty ticks behind the touch, and the walk says `exhausted`. Observed spread and depth replace
//! those of the profile; that a profile was used is part of the answer.

use crate::types::Side;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

const LEVELS: usize = 10;
const DECAY: f64 = 0.8;
/// Of the mid.
const TICK_BPS: f64 = 1.0;
const BEYOND_TICKS: f64 = 50.0;

/// Typical books, by what is traded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    UsEquity,
    International,
    Index,
    Fx,
    Crypto,
}

impl Profile {
    /// Depth in account currency on one side, and half of the spread in basis points.
    pub fn depth_and_half_spread(self) -> (f64, f64) {
        match self {
            Self::UsEquity => (100_000.0, 0.8),
            Self::International => (50_000.0, 1.5),
            Self::Index => (250_000.0, 0.5),
            Self::Fx => (500_000.0, 0.2),
            Self::Crypto => (30_000.0, 3.0),
        }
    }

    /// Shares that stand at the best price of one side.
    pub fn touch_shares(self, price: f64) -> f64 {
        let whole: f64 = (0..LEVELS).map(|i| (-DECAY * i as f64).exp()).sum();
        self.depth_and_half_spread().0 / whole / price
    }
}

/// An order and what is known of its market.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taker {
    pub side: Side,
    pub shares: f64,
    pub mid: f64,
    /// Observed; the profile's where absent.
    pub half_spread_bps: Option<f64>,
    /// Observed, in account currency on the side that is taken; the profile's where absent.
    pub depth_usd: Option<f64>,
    pub profile: Profile,
}

/// What the order came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// Volume-weighted price of all shares.
    pub vwap: f64,
    /// Against the mid, in basis points; a cost is positive on both sides.
    pub mid_slippage_bps: f64,
    /// `(price, shares)` of each level that was taken from.
    pub levels: Vec<(f64, f64)>,
    /// The levels were not enough.
    pub exhausted: bool,
    /// Spread or depth are the profile's, not observed.
    pub from_profile: bool,
}

/// Fill the whole order. A mid of 0 or below, or no depth, is an error and never a free fill.
pub fn walk(t: &Taker) -> Result<Walk> {
    let (depth, half_spread) = t.profile.depth_and_half_spread();
    let (depth, half_spread) = (t.depth_usd.unwrap_or(depth), t.half_spread_bps.unwrap_or(half_spread));
    let positive = |v: f64| v.is_finite() && v > 0.0;
    if !(positive(t.mid) && positive(t.shares) && positive(depth) && half_spread.is_finite() && half_spread >= 0.0) {
        return Err(Error::new(code::ML_UNDEFINED, "an order cannot be walked through this book")
            .cause("it needs shares, a mid price, depth, and a spread of at least 0")
            .found(text!("{} shares, mid {}, depth {depth}, half spread {half_spread} bps", t.shares, t.mid)));
    }
    let (sign, tick) = (t.side.sign(), t.mid * TICK_BPS / 1e4);
    let touch = t.mid * (1.0 + sign * half_spread / 1e4);
    let whole: f64 = (0..LEVELS).map(|i| (-DECAY * i as f64).exp()).sum();
    let (mut left, mut paid, mut levels) = (t.shares, 0.0, Vec::with_capacity(LEVELS + 1));
    let mut take = |price: f64, shares: f64| {
        paid += price * shares;
        levels.push((price, shares));
    };
    for i in 0..LEVELS {
        let price = touch + sign * tick * i as f64;
        let offered = depth * (-DECAY * i as f64).exp() / whole / price;
        let shares = offered.min(left);
        take(price, shares);
        left -= shares;
        if left <= 0.0 {
            break;
        }
    }
    let exhausted = left > 0.0;
    if exhausted {
        take(touch + sign * tick * BEYOND_TICKS, left);
    }
    let vwap = paid / t.shares;
    let from_profile = t.half_spread_bps.is_none() || t.depth_usd.is_none();
    Ok(Walk { vwap, mid_slippage_bps: sign * (vwap / t.mid - 1.0) * 1e4, levels, exhausted, from_profile })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taker(side: Side, shares: f64) -> Taker {
        Taker { side, shares, mid: 100.0, half_spread_bps: None, depth_usd: None, profile: Profile::UsEquity }
    }

    #[test]
    fn one_share_pays_half_the_spread_and_an_empty_market_refuses() {
        for side in [Side::Buy, Side::Sell] {
            let w = walk(&taker(side, 1.0)).unwrap();
            assert!((w.mid_slippage_bps - 0.8).abs() < 1e-9 && w.levels.len() == 1 && w.from_profile && !w.exhausted, "{w:?}");
        }
        let observed = walk(&Taker { half_spread_bps: Some(2.0), depth_usd: Some(1e6), ..taker(Side::Buy, 1.0) }).unwrap();
        assert!((observed.mid_slippage_bps - 2.0).abs() < 1e-9 && !observed.from_profile);
        for bad in [Taker { mid: 0.0, ..taker(Side::Buy, 1.0) }, Taker { depth_usd: Some(0.0), ..taker(Side::Buy, 1.0) }, taker(Side::Buy, f64::NAN)] {
            assert!(walk(&bad).unwrap_err().is(code::ML_UNDEFINED));
        }
        assert!(walk(&taker(Side::Sell, 5_000.0)).unwrap().exhausted, "half a million dollars against a hundred thousand");
    }

    proptest! {
        #[test]
        fn cost_grows_with_size_and_spread_shares_are_conserved_and_the_sides_mirror(
            shares in 1.0f64..3_000.0, more in 1.0f64..500.0, spread in 0.0f64..20.0, wider in 0.1f64..20.0, mid in 1.0f64..1_000.0,
        ) {
            let t = Taker { half_spread_bps: Some(spread), mid, ..taker(Side::Buy, shares) };
            let (w, larger) = (walk(&t).unwrap(), walk(&Taker { shares: shares + more, ..t }).unwrap());
            prop_assert!(larger.mid_slippage_bps >= w.mid_slippage_bps - 1e-9);
            let dearer = walk(&Taker { half_spread_bps: Some(spread + wider), ..t }).unwrap();
            prop_assert!(dearer.mid_slippage_bps > w.mid_slippage_bps);
            prop_assert!((w.levels.iter().map(|l| l.1).sum::<f64>() - shares).abs() < 1e-9 * shares);
            let sold = walk(&Taker { side: Side::Sell, ..t }).unwrap();
            prop_assert!((sold.mid_slippage_bps - w.mid_slippage_bps).abs() < 0.05 + 0.02 * w.mid_slippage_bps, "{} {}", sold.mid_slippage_bps, w.mid_slippage_bps);
        }
    }
}
