//! A parent order cut into slices, and when each of them may be sent.
//!
//! The cut is a function of what is pinned, so that a replay makes the same slices. Quantities never change once they are
//! journalled: a slice that missed its moment goes out beside the next one, as far as the cap has room, and what is left
//! after the last moment is not traded that day.

use super::almgren_chriss::Problem;
use super::twap::{self, MIN_SLICE_SHARES, MIN_SLICE_USD, MIN_SLICES, TwapRequest};
use crate::portfolio::schedule::{Kind, Schedule};
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::time::{TradingDay, UtcTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A slice may be sent this long after its moment.
pub const LATE_S: f64 = 60.0;
const SESSION_MIN: f64 = 390.0;

/// A schedule with what its cut was computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    pub schedule: Schedule,
    /// Standard deviation of daily returns, for Almgren and Chriss.
    pub sigma_daily: BTreeMap<String, f64>,
}

/// One order before it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    pub id: &'a str,
    pub symbol: &'a str,
    /// Whole shares.
    pub qty: f64,
    pub reference_price: f64,
    pub adv_shares: Option<f64>,
    pub trading_day: TradingDay,
    pub now: UtcTime,
}

/// The slices, in order; none when the order goes whole. The note says what was not as asked.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Cut {
    pub quantities: Vec<f64>,
    pub note: Option<String>,
}

impl Pinned {
    /// Cut a parent. What is too small for two slices goes whole; what the market cannot take is left for another day.
    pub fn cut(&self, p: &Parent<'_>) -> Result<Cut> {
        let s = &self.schedule;
        let whole = |why: String| Ok(Cut { quantities: Vec::new(), note: Some(text!("{} is sent whole: {why}", p.symbol)) });
        let Some(adv) = p.adv_shares.filter(|a| a.is_finite() && *a > 0.0) else { return whole("its daily volume is not known".into()) };
        let wanted = f64::from(s.duration_min * 60 / s.interval_s);
        let most = (p.qty / MIN_SLICE_SHARES).min(p.qty * p.reference_price / MIN_SLICE_USD).floor();
        if most < f64::from(MIN_SLICES) {
            return whole(text!("{} shares are too few for slices", p.qty));
        }
        let cap = self.cap_shares(adv);
        let taken = p.qty.min(wanted * cap);
        let note = (taken < p.qty).then(|| {
            text!("{}: {taken} of {} shares are planned, more would exceed {:.1} % of the daily volume a slice", p.symbol, p.qty, 100.0 * s.max_slice_adv_share)
        });
        let duration_min = ((wanted.min(most) * f64::from(s.interval_s) / 60.0) as u32).min(s.duration_min);
        let request = TwapRequest {
            parent: p.id.into(),
            qty: taken,
            reference_price: p.reference_price,
            adv_shares: adv,
            start: self.start(p.trading_day),
            duration_min,
            interval_s: s.interval_s,
            max_adv_share: s.max_slice_adv_share,
        };
        let equal: Vec<f64> = match twap::plan(&request, p.now) {
            Ok(plan) => plan.slices.iter().map(|s| s.qty).collect(),
            Err(e) => return whole(e.body().cause.clone().unwrap_or_default()),
        };
        let sigma = self.sigma_daily.get(p.symbol).copied().filter(|v| v.is_finite() && *v >= 0.0);
        match (s.kind, sigma) {
            (Kind::AlmgrenChriss, Some(sigma)) => Ok(Cut { quantities: self.trajectory(p, taken, adv, sigma, equal.len())?, note }),
            (Kind::AlmgrenChriss, None) => Ok(Cut { quantities: equal, note: Some(text!("{}: equal slices, its volatility is not known", p.symbol)) }),
            _ => Ok(Cut { quantities: equal, note }),
        }
    }

    /// Whole shares along the optimal trajectory, no slice above the cap.
    fn trajectory(&self, p: &Parent<'_>, shares: f64, adv: f64, sigma: f64, periods: usize) -> Result<Vec<f64>> {
        let s = &self.schedule;
        let spread = p.reference_price * s.spread_bps / 1e4;
        let days = periods as f64 * f64::from(s.interval_s) / 60.0 / SESSION_MIN;
        let problem =
            Problem { shares, days, periods, sigma: sigma * p.reference_price, eta: spread / (0.01 * adv), gamma: spread / (0.1 * adv), eps: spread / 2.0 };
        let trades = problem.trajectory(s.risk_aversion)?.trades;
        let cap = self.cap_shares(adv);
        let (mut wanted, mut done, mut out) = (0.0, 0.0, Vec::with_capacity(periods));
        for (k, trade) in trades.iter().enumerate() {
            wanted += trade;
            // What later slices can take at most must be enough for what is left.
            let least = shares - done - cap * (periods - 1 - k) as f64;
            let qty = (wanted.round() - done).max(least).clamp(0.0, cap).min(shares - done);
            done += qty;
            out.push(qty);
        }
        // The trajectory may end before its last period; a slice of nothing is no order.
        while out.last() == Some(&0.0) {
            out.pop();
        }
        Ok(out)
    }

    fn cap_shares(&self, adv: f64) -> f64 {
        (self.schedule.max_slice_adv_share * adv).floor()
    }

    fn start(&self, day: TradingDay) -> UtcTime {
        Calendar::xnys().open(day).plus_seconds(i64::from(self.schedule.start_after_open_min) * 60)
    }

    /// When a slice (from 1) may first be sent.
    pub fn at(&self, day: TradingDay, slice: u32) -> UtcTime {
        self.start(day).plus_seconds(i64::from(slice.saturating_sub(1)) * i64::from(self.schedule.interval_s))
    }

    /// Where `now` lies among the moments of `slices` slices.
    pub fn moment(&self, day: TradingDay, slices: u32, now: UtcTime) -> Moment {
        let next = (1..=slices).find(|k| self.at(day, *k) > now);
        let current = next.map_or(slices, |k| k - 1);
        match next {
            _ if current > 0 && now.seconds_since(self.at(day, current)) <= LATE_S => Moment::Open(current),
            Some(k) => Moment::Waiting(self.at(day, k)),
            None => Moment::Over,
        }
    }

    /// Whether a slice that missed its moment may go out in that of slice `current`, with what else goes out there.
    pub fn has_room(&self, adv: f64, beside: f64, qty: f64) -> bool {
        beside + qty <= self.cap_shares(adv)
    }
}

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This slice, and earlier ones that missed theirs.
    Open(u32),
    /// Nothing before then.
    Waiting(UtcTime),
    /// Nothing any more.
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day() -> TradingDay {
        "2017-12-01".parse().unwrap()
    }
    fn pinned(kind: Kind) -> Pinned {
        Pinned { schedule: Schedule { kind, ..Schedule::default() }, sigma_daily: BTreeMap::from([("AAPL".to_string(), 0.02)]) }
    }
    fn parent(qty: f64, adv: f64) -> Parent<'static> {
        let now = UtcTime::parse("2017-11-30T21:30:00Z").unwrap();
        Parent { id: "tm1-p", symbol: "AAPL", qty, reference_price: 170.0, adv_shares: Some(adv), trading_day: day(), now }
    }

    #[test]
    fn small_orders_go_whole_and_large_ones_are_cut_to_what_the_market_takes() {
        let p = pinned(Kind::Twap);
        let small = p.cut(&parent(15.0, 1e6)).unwrap();
        assert!(small.quantities.is_empty() && small.note.unwrap().contains("sent whole"));
        let cut = p.cut(&parent(1_200.0, 1e6)).unwrap();
        assert_eq!((cut.quantities, cut.note), (vec![100.0; 12], None));
        assert_eq!(p.cut(&parent(35.0, 1e6)).unwrap().quantities.len(), 3, "no slice below ten shares");
        let huge = p.cut(&parent(200_000.0, 1e6)).unwrap();
        assert_eq!((huge.quantities, huge.note.is_some()), (vec![10_000.0; 12], true));
        assert!(p.cut(&Parent { adv_shares: None, ..parent(100.0, 1.0) }).unwrap().note.unwrap().contains("volume is not known"));
    }

    #[test]
    fn the_optimal_trajectory_begins_faster_the_more_risk_is_disliked() {
        let p = |risk_aversion| Pinned { schedule: Schedule { risk_aversion, ..pinned(Kind::AlmgrenChriss).schedule }, ..pinned(Kind::AlmgrenChriss) };
        let first = |l| p(l).cut(&parent(12_000.0, 1e6)).unwrap().quantities[0];
        assert_eq!(first(0.0), 1_000.0, "without risk the straight line is cheapest");
        assert!(first(1e-4) > first(1e-5) && first(1e-5) > 1_000.0, "{} {}", first(1e-4), first(1e-5));
        let blind = Pinned { sigma_daily: BTreeMap::new(), ..p(1e-5) };
        assert!(blind.cut(&parent(1_200.0, 1e6)).unwrap().note.unwrap().contains("equal slices"));
    }

    #[test]
    fn a_slice_has_a_minute_and_the_late_go_beside_the_next_within_the_cap() {
        let p = pinned(Kind::Twap);
        let at = |s: i64| p.moment(day(), 3, p.at(day(), 1).plus_seconds(s));
        assert_eq!(p.at(day(), 1).to_string(), "2017-12-01T14:45:00.000000Z");
        assert_eq!(at(-1), Moment::Waiting(p.at(day(), 1)));
        assert_eq!((at(0), at(60), at(61)), (Moment::Open(1), Moment::Open(1), Moment::Waiting(p.at(day(), 2))));
        assert_eq!((at(600), at(660), at(661)), (Moment::Open(3), Moment::Open(3), Moment::Over));
        assert!(p.has_room(1e5, 500.0, 500.0) && !p.has_room(1e5, 501.0, 500.0));
    }

    proptest! {
        #[test]
        fn no_share_is_lost_and_no_slice_is_above_the_cap(qty in 20u32..50_000, adv in 1e5f64..1e7, lambda in -7f64..-3.0, twap: bool) {
            let mut p = pinned(if twap { Kind::Twap } else { Kind::AlmgrenChriss });
            p.schedule.risk_aversion = 10f64.powf(lambda);
            let cut = p.cut(&parent(f64::from(qty), adv)).unwrap();
            let planned = f64::from(qty).min(12.0 * (0.01 * adv).floor());
            prop_assert!(cut.quantities.is_empty() || (cut.quantities.iter().sum::<f64>() - planned).abs() < 1e-9, "{:?}", cut);
            prop_assert!(cut.quantities.iter().all(|q| *q >= 0.0 && *q <= (0.01 * adv).floor() && q.fract() == 0.0));
        }
    }
}
