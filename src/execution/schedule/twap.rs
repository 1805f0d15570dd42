//! A parent order in equal slices over time, within what the market can take.
//!
//! The plan is a function of the parent order alone: the same parent is cut the same way on any machine.

use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::store::sha256_hex;
use data_layer::time::UtcTime;
use serde::{Deserialize, Serialize};

const DURATION_MIN: (u32, u32) = (5, 480);
const INTERVAL_S: (u32, u32) = (30, 300);
const MAX_DAYS_AHEAD: f64 = 5.0;
pub(super) const MIN_SLICES: u32 = 2;
pub(super) const MIN_SLICE_SHARES: f64 = 10.0;
pub(super) const MIN_SLICE_USD: f64 = 500.0;

/// What is to be spread, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwapRequest {
    /// The parent's client order id: decides where the odd shares go.
    pub parent: String,
    /// Whole shares.
    pub qty: f64,
    pub reference_price: f64,
    pub adv_shares: f64,
    pub start: UtcTime,
    pub duration_min: u32,
    pub interval_s: u32,
    /// Of the average daily volume, a slice.
    pub max_adv_share: f64,
}

/// One child order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// From 1: slice 0 is the parent.
    pub slice: u32,
    pub at: UtcTime,
    pub qty: f64,
}

/// A plan that fits the market. `cap_shares` bounds a slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwapPlan {
    pub slices: Vec<Slice>,
    pub cap_shares: f64,
}

/// Cut a parent order. A request outside the rules refuses with the nearest one inside them.
pub fn plan(request: &TwapRequest, now: UtcTime) -> Result<TwapPlan> {
    let r = request;
    let positive = |v: f64| v.is_finite() && v > 0.0;
    if !(positive(r.qty) && r.qty == r.qty.trunc() && positive(r.reference_price) && positive(r.adv_shares) && positive(r.max_adv_share)) {
        return Err(refused("it needs whole shares, a price and a volume", &text!("{} shares at {}, volume {}", r.qty, r.reference_price, r.adv_shares), None));
    }
    in_session(r, now)?;
    let inside = |v: u32, (low, high): (u32, u32)| v.clamp(low, high);
    let (duration_min, interval_s) = (inside(r.duration_min, DURATION_MIN), inside(r.interval_s, INTERVAL_S));
    if (duration_min, interval_s) != (r.duration_min, r.interval_s) {
        return Err(refused("the duration or the interval is outside its range", &shown(r), Some((duration_min, interval_s))));
    }
    let slices = duration_min * 60 / interval_s;
    let cap_shares = (r.max_adv_share * r.adv_shares).floor();
    let least = (r.qty / slices.max(1) as f64).floor();
    let largest = (r.qty / slices.max(1) as f64).ceil();
    if slices < MIN_SLICES || least < MIN_SLICE_SHARES || least * r.reference_price < MIN_SLICE_USD || largest > cap_shares {
        return Err(refused("the slices are too small, too few, or too large for the market", &shown(r), nearest(r, cap_shares)));
    }
    let shift = u64::from_str_radix(&sha256_hex(r.parent.as_bytes())[..15], 16).map_err(|e| Error::bug(e.to_string()))?;
    let quantities = spread(r.qty as u64, u64::from(slices), shift);
    let at = |i: u32| r.start.plus_seconds(i64::from(i * interval_s));
    let slices = quantities.into_iter().zip(0u32..).map(|(q, i)| Slice { slice: i + 1, at: at(i), qty: q as f64 }).collect();
    Ok(TwapPlan { slices, cap_shares })
}

/// The session must hold the whole plan, and not begin more than five days ahead.
fn in_session(r: &TwapRequest, now: UtcTime) -> Result<()> {
    let ahead = r.start.seconds_since(now);
    let end = r.start.plus_seconds(i64::from(r.duration_min) * 60);
    let calendar = Calendar::xnys();
    let fits = calendar.session_at(r.start).is_some_and(|day| end <= calendar.close(day));
    if fits && (0.0..=MAX_DAYS_AHEAD * 86_400.0).contains(&ahead) {
        return Ok(());
    }
    Err(refused("it does not lie inside one session of the next five days", &text!("{} to {end}", r.start), None))
}

/// `total` shares over `n` slices: equal, and the odd ones as evenly apart as they can be. `shift` turns the pattern.
pub fn spread(total: u64, n: u64, shift: u64) -> Vec<u64> {
    let (each, odd) = (total / n, total % n);
    (0..n).map(|i| each + u64::from(((i + shift % n) * odd) % n < odd)).collect()
}

/// The longest valid plan with the interval asked for, else with the longest one.
fn nearest(r: &TwapRequest, cap_shares: f64) -> Option<(u32, u32)> {
    let most = (r.qty / MIN_SLICE_SHARES).min(r.qty * r.reference_price / MIN_SLICE_USD).floor();
    let fewest = (r.qty / cap_shares.max(1.0)).ceil().max(f64::from(MIN_SLICES));
    let wanted = (r.duration_min * 60 / r.interval_s) as f64;
    let slices = wanted.clamp(fewest, most.max(fewest));
    let fits =
        |interval: u32| (slices <= most).then(|| (slices * f64::from(interval) / 60.0).ceil() as u32).filter(|d| (DURATION_MIN.0..=DURATION_MIN.1).contains(d));
    [r.interval_s, INTERVAL_S.1, INTERVAL_S.0].into_iter().find_map(|i| fits(i).map(|d| (d, i)))
}

fn shown(r: &TwapRequest) -> String {
    text!("{} shares over {} min every {} s", r.qty, r.duration_min, r.interval_s)
}

fn refused(why: &str, found: &str, instead: Option<(u32, u32)>) -> Error {
    let error = Error::new(code::ORD_REFUSED, "the order cannot be spread over time as asked").cause(why).found(found.to_string());
    match instead {
        Some((duration, interval)) => error.fix(text!("nearest valid plan: {duration} minutes, a slice every {interval} seconds")),
        None => error.fix("send the order whole, or choose other hours"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> TwapRequest {
        let start = UtcTime::parse("2017-12-01T15:00:00Z").unwrap();
        TwapRequest {
            parent: "tm1-p".into(),
            qty: 1_003.0,
            reference_price: 50.0,
            adv_shares: 1e6,
            start,
            duration_min: 50,
            interval_s: 300,
            max_adv_share: 0.01,
        }
    }
    fn now() -> UtcTime {
        UtcTime::parse("2017-11-30T21:30:00Z").unwrap()
    }

    #[test]
    fn odd_shares_are_spread_evenly_and_by_the_parent_alone() {
        assert_eq!(spread(103, 5, 0), [21, 20, 21, 20, 21]);
        assert_eq!(spread(100, 5, 3), [20; 5]);
        let a = plan(&request(), now()).unwrap();
        assert_eq!(a, plan(&request(), now().plus_seconds(60)).unwrap());
        assert_eq!((a.slices.len(), a.slices.iter().map(|s| s.qty).sum::<f64>()), (10, 1_003.0));
        let cut = |parent: usize| plan(&TwapRequest { parent: format!("tm1-{parent}"), ..request() }, now()).unwrap().slices;
        assert!((0..10).any(|p| cut(p) != a.slices), "the odd shares always go to the same places");
    }

    #[test]
    fn a_plan_outside_the_rules_refuses_with_one_inside() {
        let fix = |r: &TwapRequest| plan(r, now()).unwrap_err().body().fix.join(" ");
        assert!(fix(&TwapRequest { qty: 60.0, ..request() }).contains("nearest valid plan: 30 minutes, a slice every 300 seconds"));
        assert!(fix(&TwapRequest { duration_min: 2, ..request() }).contains("5 minutes"));
        assert!(fix(&TwapRequest { interval_s: 10, ..request() }).contains("every 30 seconds"));
        assert!(fix(&TwapRequest { adv_shares: 8_000.0, ..request() }).contains("nearest valid plan"));
        assert!(fix(&TwapRequest { start: UtcTime::parse("2017-12-01T20:50:00Z").unwrap(), ..request() }).contains("other hours"));
        assert!(plan(&TwapRequest { start: UtcTime::parse("2017-12-08T15:00:00Z").unwrap(), ..request() }, now()).is_err());
        assert!(plan(&TwapRequest { adv_shares: f64::NAN, ..request() }, now()).is_err());
    }

    proptest! {
        #[test]
        fn shares_are_conserved(total in 1u64..100_000, n in 1u64..200, shift: u64) {
            let cut = spread(total, n, shift);
            prop_assert_eq!(cut.iter().sum::<u64>(), total);
            prop_assert!(cut.iter().max().unwrap() - cut.iter().min().unwrap() <= 1);
        }
    }
}
