//! What one side of a trade costs by own fills: measured, proposed, and in force only after a person has typed it.
//!
//! The parts in which an order was filled are one fill at their mean price: a broker that cuts it into fifty gives no more evidence for it.
//! It is measured against the open that it was sent for, as the drive recorded it: the night between the close that sized an
//! order and that open is the market's, not the order's. Orders that were filled at another moment than the open, slices, and those of which an
//! execution was taken back, corrected or only inferred are counted and not measured. Two things come of them: the coefficients of the cost model
//! for each class of symbols ([`fit`]), and one flat number for orders whose market is not known: for a round trip twice the
//! median of |slippage| + fee, and a buffer on top, so that no luck makes trading free. Below [`ENOUGH_FILLS`] fills or [`ENOUGH_SESSIONS`]
//! sessions there is neither, and the cautious default stays. Changes are rows that are never edited, each with its evidence. What is in
//! force prices the preview of an account and the report of its day; a judgement of models takes the dearest of all accounts.

pub mod fit;

use super::broker::simulated::PriceSource;
use super::cost::{Coefficients, CostModel, DEFAULT_BPS_ROUND_TRIP, Liquidity, Pricing};
use super::log::{FillRow, OrderLog};
use super::order::{Intent, OrderSet};
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::store::{canonical_json, digest_of};
use data_layer::time::{TradingDay, UtcTime, new_york};
use fit::{Fits, fit};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
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
    /// By class of symbols, in the order of [`super::cost::Tier::ALL`]; `bps` is then of orders whose market is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<[Coefficients; 3]>,
}

impl Default for SideCost {
    fn default() -> Self {
        Self { bps: DEFAULT_BPS_ROUND_TRIP / 2.0, basis: Basis::Default, fills: 0, tiers: None }
    }
}

impl SideCost {
    /// As everything that prices orders takes it. Where classes have their own cost, an order of an unknown market is not cheaper than the default.
    pub fn model(&self) -> CostModel {
        match self.tiers {
            Some(tiers) => CostModel { pricing: Pricing::Fitted { tiers, unknown_bps: self.unknown_bps() }, ..CostModel::default() },
            None => CostModel::flat(2.0 * self.bps),
        }
    }
    fn unknown_bps(&self) -> f64 {
        self.bps.max(DEFAULT_BPS_ROUND_TRIP / 2.0)
    }
    /// The dearer of two, part by part; a flat cost is a spread without impact.
    fn dearer(&self, other: &Self) -> Self {
        let tiers = |c: &Self| c.tiers.unwrap_or([Coefficients { fee_bps: 0.0, half_spread_bps: c.bps, y: 0.0 }; 3]);
        let (a, b) = (tiers(self), tiers(other));
        let both = [a[0].dearer(b[0]), a[1].dearer(b[1]), a[2].dearer(b[2])];
        let tiers = (self.tiers.is_some() || other.tiers.is_some()).then_some(both);
        Self { bps: self.bps.max(other.bps), basis: Basis::OwnFills, fills: self.fills + other.fills, tiers }
    }
}

/// One order's fill against the open that it was sent for; positive is a cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub order_id: String,
    pub day: TradingDay,
    pub slippage_bps: f64,
    pub fee_bps: f64,
    /// Shares that were filled, and the open in dollars.
    pub qty: f64,
    pub open: f64,
    /// Of the symbol as it was known when the order was sized; none where that was not pinned.
    pub market: Option<Liquidity>,
}

/// What was ordered, and its market as pinned.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered {
    pub intent: Intent,
    pub market: Option<Liquidity>,
}

impl Ordered {
    /// An order of a set that pinned what it knew.
    pub fn of(set: &OrderSet, intent: Intent) -> Self {
        Self { market: set.pins.prices.get(&intent.symbol).and_then(super::order::Reference::liquidity), intent }
    }
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
    /// For one side, whatever is ordered; none without enough fills.
    pub proposed_bps: Option<f64>,
    /// The coefficients of the cost model; none in rows from before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<Fits>,
}

impl Evidence {
    /// What could be put in force; none without enough fills.
    pub fn proposal(&self) -> Option<SideCost> {
        let tiers = self.fits.as_ref().and_then(Fits::in_force);
        Some(SideCost { bps: self.proposed_bps?, basis: Basis::OwnFills, fills: self.fills, tiers })
    }
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
fn measure(ordered: &Ordered, fills: &[&FillRow], prices: &dyn PriceSource) -> Option<Measured> {
    let first = fills.first()?;
    let day = first.ts.day_in(&new_york());
    let open = prices.open(&first.symbol, day).filter(|p| p.is_finite() && *p > 0.0)?;
    let at_the_open = |f: &&&FillRow| f.ts.seconds_since(Calendar::xnys().open(day)).abs() <= OPEN_S;
    let whole = |f: &&&FillRow| f.kind == "fill" && f.qty > 0.0 && f.symbol == first.symbol && f.side == first.side;
    if !for_the_open(&ordered.intent) || !fills.iter().all(|f| whole(&f) && at_the_open(&f)) {
        return None;
    }
    let qty: f64 = fills.iter().map(|f| f.qty).sum();
    let price = fills.iter().map(|f| f.qty * f.price).sum::<f64>() / qty;
    let fee: f64 = fills.iter().filter_map(|f| f.fee).sum();
    let slippage_bps = 1e4 * first.side.sign() * (price / open - 1.0);
    Some(Measured { order_id: first.order_id.clone(), day, slippage_bps, fee_bps: 1e4 * fee / (qty * open), qty, open, market: ordered.market })
}

/// Every order that has fills among `fills`, measured or counted. `order` finds what was ordered; what nobody ordered is left out.
pub fn by_order<'f>(
    fills: impl IntoIterator<Item = &'f FillRow>,
    order: impl Fn(&str) -> Result<Option<Ordered>>,
    prices: &dyn PriceSource,
) -> Result<OwnCosts> {
    let mut of: BTreeMap<&str, Vec<&FillRow>> = BTreeMap::new();
    // What was there before us is no execution.
    for fill in fills.into_iter().filter(|f| !f.order_id.is_empty() && f.kind != "adopted") {
        of.entry(&fill.order_id).or_default().push(fill);
    }
    let mut out = OwnCosts::default();
    for (id, fills) in of {
        let Some(ordered) = order(id)? else { continue };
        match measure(&ordered, &fills, prices) {
            Some(m) => out.measured.push(m),
            None => out.unmeasured += 1,
        }
    }
    out.measured.sort_by(|a, b| (a.day, &a.order_id).cmp(&(b.day, &b.order_id)));
    Ok(out)
}

/// Every order of an account that was filled.
pub fn own_costs(log: &OrderLog<'_>, account: &str, prices: &dyn PriceSource) -> Result<OwnCosts> {
    // The market of each order as its set pinned it; a set is read once.
    let sets: RefCell<BTreeMap<String, Option<OrderSet>>> = RefCell::default();
    let ordered = |id: &str| -> Result<Option<Ordered>> {
        let Some(row) = log.order(id)? else { return Ok(None) };
        let key = row.intent.run_key.clone();
        if !sets.borrow().contains_key(&key) {
            let set = log.set(&key)?;
            sets.borrow_mut().insert(key.clone(), set);
        }
        Ok(Some(match sets.borrow().get(&key) {
            Some(Some(set)) => Ordered::of(set, row.intent),
            _ => Ordered { intent: row.intent, market: None },
        }))
    };
    by_order(&log.fills(account)?, ordered, prices)
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
        fits: Some(fit(&costs.measured)),
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

/// Of every change in the journal.
const KEY: &str = "cost_model|";

fn key(account: &str) -> String {
    format!("{KEY}{account}|")
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

/// What models are judged by: the dearest, part by part, of what was accepted for any account of the drive; none while nothing was.
pub fn of_drive(db: &Db) -> Result<Option<SideCost>> {
    let mut newest: BTreeMap<String, SideCost> = BTreeMap::new();
    let conn = db.lock()?;
    let mut q = conn.prepare("SELECT key, value FROM meta WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key")?;
    let rows = q.query_map([KEY], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?.collect::<std::result::Result<Vec<_>, _>>()?;
    for (key, json) in rows {
        let account = key.rsplit_once('|').map_or(key.as_str(), |k| k.0);
        newest.insert(account.to_string(), serde_json::from_str::<Change>(&json)?.after);
    }
    Ok(newest.into_values().filter(|c| c.basis == Basis::OwnFills).reduce(|a, b| a.dearer(&b)))
}

/// What has to be typed to accept a proposal: where classes have their own cost, with a digest of all of it.
pub fn acceptance(account: &str, proposal: &SideCost) -> Result<String> {
    let digest = proposal.tiers.map(|_| digest_of(proposal)).transpose()?;
    let digest = digest.map_or_else(String::new, |d| format!(" {}", &d[..8.min(d.len())]));
    Ok(format!("COST {account} {:.2}{digest}", proposal.bps))
}

/// Put the proposal in force. Needs enough fills and the exact words; the same proposal a second time changes nothing.
pub fn accept(db: &Db, account: &str, evidence: &Evidence, typed: &str, operator: &str) -> Result<Change> {
    let Some(after) = evidence.proposal() else {
        return Err(Error::new(code::GATE_REFUSED, "there are too few own fills to say what trading costs")
            .cause(text!("{ENOUGH_FILLS} fills at the open over {ENOUGH_SESSIONS} sessions are needed; until then the cautious default stands"))
            .found(text!("{} fills over {} sessions", evidence.fills, evidence.sessions)));
    };
    let wanted = acceptance(account, &after)?;
    if typed != wanted {
        return Err(Error::new(code::GATE_REFUSED, "the cost stays as it is: the confirmation was not given").fix(format!("type exactly: {wanted}")));
    }
    let past = history(db, account)?;
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
#[path = "calibration/tests.rs"]
pub(crate) mod tests;
