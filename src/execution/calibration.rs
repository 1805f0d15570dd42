//! What one side of a trade costs by own fills: measured, proposed, and in force only after a person has typed it.
//!
//! The parts in which an order was filled are one fill at their mean price: a broker that cuts it into fifty gives no more evidence for it.
//! It is measured against the open that it was sent for, as the drive recorded it: the night between the close that sized an
//! order and that open is the market's, not the order's. Orders that were filled at another moment than the open, slices, and those of which an
//! execution was taken back, corrected or only inferred are counted and not measured. There is one cost for an account, not one for each
//! symbol. The proposal for a round trip is twice the median of |slippage| + fee, and a buffer on top, so that no luck makes trading free; below
//! [`ENOUGH_FILLS`] fills or [`ENOUGH_SESSIONS`] sessions there is none, and the cautious default stays. Changes are rows that are never edited.

use super::broker::simulated::PriceSource;
use super::cost::DEFAULT_BPS_ROUND_TRIP;
use super::log::{FillRow, OrderLog};
use super::order::Intent;
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::store::canonical_json;
use data_layer::time::{TradingDay, UtcTime, new_york};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Fewer own fills than this prove nothing about their cost.
pub const ENOUGH_FILLS: u64 = 100;
/// The fills of one open move together: so many opens are needed beside.
pub const ENOUGH_SESSIONS: u64 = 20;
/// What a round trip costs beyond its median, in basis points.
const BUFFER_BPS: f64 = 2.0;
/// An execution later than this after the open was not of the open.
pub const OPEN_S: f64 = 60.0;
/// Two-sided 95 %.
const Z_95: f64 = 1.96;

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Nothing is known yet: the cautious guess.
    Default,
    OwnFills,
}

/// The expected cost of one side, in basis points of the notional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideCost {
    pub bps: f64,
    pub basis: Basis,
    /// Own fills behind it.
    pub fills: u64,
}

impl Default for SideCost {
    fn default() -> Self {
        Self { bps: DEFAULT_BPS_ROUND_TRIP / 2.0, basis: Basis::Default, fills: 0 }
    }
}

/// One order's fill against the open that it was sent for; positive is a cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub order_id: String,
    pub day: TradingDay,
    pub slippage_bps: f64,
    pub fee_bps: f64,
}

/// The orders whose fills could be measured, oldest first, and how many could not.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct OwnCosts {
    pub measured: Vec<Measured>,
    pub unmeasured: u64,
}

/// What the fills say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Orders that were filled at the open, each once.
    pub fills: u64,
    pub sessions: u64,
    pub unmeasured: u64,
    pub first: Option<TradingDay>,
    pub last: Option<TradingDay>,
    /// Of |slippage| + fee, one side.
    pub median_bps: Option<f64>,
    /// Mean of slippage + fee over sessions, with its 95 % interval.
    pub mean_bps: Option<f64>,
    pub low_bps: Option<f64>,
    pub high_bps: Option<f64>,
    /// For one side; none without enough fills.
    pub proposed_bps: Option<f64>,
}

/// One change of the cost in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub at: UtcTime,
    pub operator: String,
    pub before: SideCost,
    pub after: SideCost,
    pub evidence: Evidence,
}

/// An order that goes whole, for the open of its session.
fn for_the_open(order: &Intent) -> bool {
    order.style == "next_open" && order.slice == 0
}

/// Measure what was filled of one order against the recorded open of its session; none where that cannot be said.
fn measure(order: &Intent, fills: &[&FillRow], prices: &dyn PriceSource) -> Option<Measured> {
    let first = fills.first()?;
    let day = first.ts.day_in(&new_york());
    let open = prices.open(&first.symbol, day).filter(|p| p.is_finite() && *p > 0.0)?;
    let at_the_open = |f: &&&FillRow| f.ts.seconds_since(Calendar::xnys().open(day)).abs() <= OPEN_S;
    let whole = |f: &&&FillRow| f.kind == "fill" && f.qty > 0.0 && f.symbol == first.symbol && f.side == first.side;
    if !for_the_open(order) || !fills.iter().all(|f| whole(&f) && at_the_open(&f)) {
        return None;
    }
    let qty: f64 = fills.iter().map(|f| f.qty).sum();
    let price = fills.iter().map(|f| f.qty * f.price).sum::<f64>() / qty;
    let fee: f64 = fills.iter().filter_map(|f| f.fee).sum();
    let slippage_bps = 1e4 * first.side.sign() * (price / open - 1.0);
    Some(Measured { order_id: first.order_id.clone(), day, slippage_bps, fee_bps: 1e4 * fee / (qty * open) })
}

/// Every order that has fills among `fills`, measured or counted. `order` finds what was ordered; what nobody ordered is left out.
pub fn by_order<'f>(
    fills: impl IntoIterator<Item = &'f FillRow>,
    order: impl Fn(&str) -> Result<Option<Intent>>,
    prices: &dyn PriceSource,
) -> Result<OwnCosts> {
    let mut of: BTreeMap<&str, Vec<&FillRow>> = BTreeMap::new();
    // What was there before us is no execution.
    for fill in fills.into_iter().filter(|f| !f.order_id.is_empty() && f.kind != "adopted") {
        of.entry(&fill.order_id).or_default().push(fill);
    }
    let mut out = OwnCosts::default();
    for (id, fills) in of {
        let Some(intent) = order(id)? else { continue };
        match measure(&intent, &fills, prices) {
            Some(m) => out.measured.push(m),
            None => out.unmeasured += 1,
        }
    }
    out.measured.sort_by(|a, b| (a.day, &a.order_id).cmp(&(b.day, &b.order_id)));
    Ok(out)
}

/// Every order of an account that was filled.
pub fn own_costs(log: &OrderLog<'_>, account: &str, prices: &dyn PriceSource) -> Result<OwnCosts> {
    by_order(&log.fills(account)?, |id| Ok(log.order(id)?.map(|row| row.intent)), prices)
}

/// What the fills say, and, when there are enough, what one side should be expected to cost.
pub fn weigh(costs: &OwnCosts) -> Evidence {
    let mut cautious: Vec<f64> = costs.measured.iter().map(|m| m.slippage_bps.abs() + m.fee_bps).collect();
    cautious.sort_by(f64::total_cmp);
    let mut by_session: BTreeMap<TradingDay, Vec<f64>> = BTreeMap::new();
    costs.measured.iter().for_each(|m| by_session.entry(m.day).or_default().push(m.slippage_bps + m.fee_bps));
    let means: Vec<f64> = by_session.values().map(|v| v.iter().sum::<f64>() / v.len() as f64).collect();
    let n = means.len() as f64;
    let mean = (n > 0.0).then(|| means.iter().sum::<f64>() / n);
    let half = mean.filter(|_| n > 1.0).map(|m| Z_95 * (means.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt());
    let (fills, sessions) = (cautious.len() as u64, by_session.len() as u64);
    let median = median(&cautious);
    let days: BTreeSet<TradingDay> = by_session.into_keys().collect();
    Evidence {
        fills,
        sessions,
        unmeasured: costs.unmeasured,
        first: days.first().copied(),
        last: days.last().copied(),
        median_bps: median,
        mean_bps: mean,
        low_bps: mean.zip(half).map(|(m, h)| m - h),
        high_bps: mean.zip(half).map(|(m, h)| m + h),
        proposed_bps: median.filter(|_| fills >= ENOUGH_FILLS && sessions >= ENOUGH_SESSIONS).map(|m| cents((2.0 * m + BUFFER_BPS) / 2.0)),
    }
}

/// Hundredths of a basis point, as they are typed and shown.
fn cents(bps: f64) -> f64 {
    (bps * 100.0).round() / 100.0
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn key(account: &str) -> String {
    format!("cost_model|{account}|")
}

/// Every change of an account's cost, oldest first.
pub fn history(db: &Db, account: &str) -> Result<Vec<Change>> {
    let conn = db.lock()?;
    let mut q = conn.prepare("SELECT value FROM meta WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key")?;
    let rows = q.query_map([key(account)], |r| r.get::<_, String>(0))?.collect::<std::result::Result<Vec<_>, _>>()?;
    rows.iter().map(|json| Ok(serde_json::from_str(json)?)).collect()
}

/// What one side is expected to cost now: the last accepted value, or the default.
pub fn in_force(db: &Db, account: &str) -> Result<SideCost> {
    Ok(history(db, account)?.pop().map(|c| c.after).unwrap_or_default())
}

/// What has to be typed to accept a proposal.
pub fn acceptance(account: &str, bps: f64) -> String {
    format!("COST {account} {bps:.2}")
}

/// Put the proposal in force. Needs enough fills and the exact words; the same proposal a second time changes nothing.
pub fn accept(db: &Db, account: &str, evidence: &Evidence, typed: &str, operator: &str) -> Result<Change> {
    let Some(bps) = evidence.proposed_bps else {
        return Err(Error::new(code::GATE_REFUSED, "there are too few own fills to say what trading costs")
            .cause(text!("{ENOUGH_FILLS} fills at the open over {ENOUGH_SESSIONS} sessions are needed; until then the cautious default stands"))
            .found(text!("{} fills over {} sessions", evidence.fills, evidence.sessions)));
    };
    let wanted = acceptance(account, bps);
    if typed != wanted {
        return Err(Error::new(code::GATE_REFUSED, "the cost stays as it is: the confirmation was not given").fix(format!("type exactly: {wanted}")));
    }
    let past = history(db, account)?;
    let after = SideCost { bps, basis: Basis::OwnFills, fills: evidence.fills };
    if let Some(last) = past.last().filter(|c| c.after == after) {
        return Ok(last.clone());
    }
    let before = past.last().map(|c| c.after.clone()).unwrap_or_default();
    let change = Change { at: db.root().host().now(), operator: operator.into(), before, after, evidence: evidence.clone() };
    let json = canonical_json(&change)?;
    db.write(|tx| {
        // The number is part of the key: of two that accept at once, one fails.
        tx.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", params![format!("{}{:06}", key(account), past.len()), json])?;
        Ok(())
    })?;
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{evening, journal};
    use crate::execution::order::tests::intent;
    use crate::types::Side;
    use proptest::prelude::*;

    struct Opens(f64);
    impl PriceSource for Opens {
        fn open(&self, symbol: &str, _day: TradingDay) -> Option<f64> {
            (symbol == "AAPL").then_some(self.0)
        }
        fn last_close(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
            None
        }
    }

    fn pair(side: Side, price: f64, at: &str) -> (Intent, FillRow) {
        let order = intent("AAPL", side, 10.0);
        let fill = FillRow {
            fill_id: "f".into(),
            order_id: order.client_order_id.clone(),
            ts: UtcTime::parse(at).unwrap(),
            symbol: "AAPL".into(),
            side,
            qty: 10.0,
            price,
            fee: Some(0.5),
            kind: "fill".into(),
            replaces: None,
            source: "reconcile".into(),
            account: "SIM1".into(),
            strategy: "s".into(),
        };
        (order, fill)
    }

    const OPEN: &str = "2017-12-01T14:30:00Z";

    fn costs(sessions: i32, each: usize, slippage: impl Fn(usize) -> f64) -> OwnCosts {
        let one = |i: usize| Measured { order_id: i.to_string(), day: TradingDay(17_000 + (i / each) as i32), slippage_bps: slippage(i), fee_bps: 1.0 };
        OwnCosts { measured: (0..sessions as usize * each).map(one).collect(), unmeasured: 0 }
    }

    #[test]
    fn a_fill_is_measured_against_the_open_it_was_sent_for_and_nothing_else() {
        let prices = Opens(100.0);
        for (side, price, bps) in [(Side::Buy, 100.1, 10.0), (Side::Sell, 99.9, 10.0), (Side::Buy, 99.9, -10.0)] {
            let (order, fill) = pair(side, price, OPEN);
            let m = measure(&order, &[&fill], &prices).unwrap();
            assert!((m.slippage_bps - bps).abs() < 1e-9 && (m.fee_bps - 5.0).abs() < 1e-9, "{m:?}");
        }
        let (order, fill) = pair(Side::Buy, 100.1, "2017-12-01T15:30:00Z");
        assert!(measure(&order, &[&fill], &prices).is_none(), "an hour later is not the open");
        let (mut order, fill) = pair(Side::Buy, 100.1, OPEN);
        order.slice = 2;
        assert!(measure(&order, &[&fill], &prices).is_none(), "a slice was not sent for the open");
        let (order, fill) = pair(Side::Buy, 100.1, OPEN);
        assert!(measure(&order, &[&FillRow { symbol: "MSFT".into(), ..fill }], &prices).is_none(), "no recorded open");
    }

    #[test]
    fn the_parts_of_an_order_are_one_fill_and_one_that_was_taken_back_is_none() {
        let (order, fill) = pair(Side::Buy, 100.1, OPEN);
        let part = |id: &str, qty: f64, price: f64| FillRow { fill_id: id.into(), qty, price, fee: Some(0.1), ..fill.clone() };
        let known = |id: &str| Ok((id == order.client_order_id).then(|| order.clone()));
        let parts: Vec<FillRow> = (0..50).map(|n| part(&n.to_string(), 1.0, if n < 10 { 101.0 } else { 100.0 })).collect();
        let costs = by_order(&parts, known, &Opens(100.0)).unwrap();
        assert_eq!((costs.measured.len(), costs.unmeasured), (1, 0), "fifty parts are one piece of evidence");
        assert!((costs.measured[0].slippage_bps - 20.0).abs() < 1e-9 && (costs.measured[0].fee_bps - 10.0).abs() < 1e-9, "{costs:?}");
        assert_eq!(weigh(&costs).fills, 1);
        let mut busted = parts.clone();
        busted.push(FillRow { kind: "bust".into(), qty: -1.0, ..part("b", 1.0, 101.0) });
        assert_eq!(by_order(&busted, known, &Opens(100.0)).unwrap(), OwnCosts { measured: vec![], unmeasured: 1 });
        let later = [part("1", 5.0, 100.0), FillRow { ts: UtcTime::parse("2017-12-01T16:00:00Z").unwrap(), ..part("2", 5.0, 102.0) }];
        assert_eq!(by_order(&later, known, &Opens(100.0)).unwrap().unmeasured, 1, "half of it was filled at another moment");
        assert_eq!(by_order(&parts, |_| Ok(None), &Opens(100.0)).unwrap(), OwnCosts::default());
    }

    #[test]
    fn too_few_fills_leave_the_cautious_default_and_enough_need_the_words() {
        let (_dir, _root, db) = journal();
        assert_eq!(in_force(&db, "SIM1").unwrap(), SideCost { bps: 6.0, basis: Basis::Default, fills: 0 });
        for few in [costs(19, 6, |_| 3.0), costs(24, 4, |_| 3.0)] {
            let evidence = weigh(&few);
            assert_eq!(evidence.proposed_bps, None);
            assert!(accept(&db, "SIM1", &evidence, "COST SIM1 5.00", "me").unwrap_err().is(code::GATE_REFUSED));
        }
        let evidence = weigh(&costs(20, 5, |i| if i % 2 == 0 { 3.0 } else { -3.0 }));
        assert_eq!((evidence.proposed_bps, evidence.fills, evidence.sessions), (Some(5.0), 100, 20), "|3| and the fee of 1, and the buffer");
        for typed in ["", "yes", "COST SIM2 5.00", "COST SIM1 5"] {
            assert!(accept(&db, "SIM1", &evidence, typed, "me").unwrap_err().is(code::GATE_REFUSED));
        }
        assert!(history(&db, "SIM1").unwrap().is_empty(), "never silently");
        let change = accept(&db, "SIM1", &evidence, "COST SIM1 5.00", "me").unwrap();
        assert_eq!((change.before.bps, change.after.bps, change.at), (6.0, 5.0, evening()));
        assert_eq!(accept(&db, "SIM1", &evidence, "COST SIM1 5.00", "me").unwrap(), change, "once");
        let dearer = weigh(&costs(20, 6, |_| 8.0));
        accept(&db, "SIM1", &dearer, "COST SIM1 10.00", "me").unwrap();
        assert_eq!(in_force(&db, "SIM1").unwrap().bps, 10.0);
        assert_eq!(history(&db, "SIM1").unwrap().iter().map(|c| c.after.bps).collect::<Vec<_>>(), [5.0, 10.0]);
        assert_eq!(in_force(&db, "SIM2").unwrap().basis, Basis::Default, "an account's own");
    }

    proptest! {
        #[test]
        fn a_proposal_is_never_free_and_never_below_what_the_median_fill_cost(level in 0.0f64..50.0, spread in 0.0f64..50.0) {
            let evidence = weigh(&costs(25, 4, |i| level + if i % 2 == 0 { spread } else { -spread }));
            let proposed = evidence.proposed_bps.unwrap();
            prop_assert!(proposed >= BUFFER_BPS / 2.0 && proposed + 0.005 >= evidence.median_bps.unwrap());
            prop_assert!(evidence.low_bps.unwrap() <= evidence.mean_bps.unwrap() + 1e-9);
        }
    }
}
