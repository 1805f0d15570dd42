//! A recorded order set, played again through the event engine on the session's minutes: what it would have cost whole at the open, in equal
//! slices, along Almgren and Chriss's trajectory, or as a limit order that waits in its queue, beside what was assumed when it was pinned and what it did cost.
//!
//! Every style meets the same minutes. An order takes at most a share of a minute's volume, the rest waits for the next minute of the
//! session; each piece walks a typical book around the minute's open. So a style's cost against the session's open has two parts: what the
//! market did meanwhile (nobody's skill; with many days it averages out), and what the book took (the spread and the depth of a profile,
//! not of that day's book). Fees are in none of it. What own trading would have moved the following minutes by is not in recorded minutes.

mod resting;

use super::paper_day::plan::expected_cost;
use crate::backtest::events::{Bars, Desk, Pricing, Rules, Strategy, Tape, run};
use crate::execution::cost::CostModel;
use crate::execution::lob::walk::Profile;
use crate::execution::log::FillRow;
use crate::execution::order::{Intent, OrderSet, Tif};
use crate::execution::schedule::cut::{Parent, Pinned};
use crate::portfolio::Schedule;
use crate::portfolio::schedule::Kind;
use crate::types::{Matrix, Side};
use data_layer::calendar::Calendar;
use data_layer::curate::RawMinute;
use data_layer::error::{Error, Result, code};
use data_layer::store::digest_of;
use data_layer::time::{TradingDay, UtcTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the orders are sent.
const STYLES: [Kind; 3] = [Kind::None, Kind::Twap, Kind::AlmgrenChriss];

/// One parent order in one style. Costs in basis points of what was filled, against the session's open; positive is a cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Played {
    pub filled: f64,
    /// Shares that the session's volume had no room for.
    pub left: f64,
    /// None when nothing was filled.
    pub cost_bps: Option<f64>,
    /// Of that, what the market did between the open and the minutes of the fills.
    pub market_bps: Option<f64>,
    /// Of that, spread and depth.
    pub book_bps: Option<f64>,
}

/// One parent order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    pub open: f64,
    /// What it was expected to cost when it was pinned, fees included.
    pub assumed_bps: Option<f64>,
    /// What its own executions did cost against the open, without fees; none without whole executions.
    pub realised_bps: Option<f64>,
    /// By style: `next_open`, `twap`, `almgren_chriss`, `limit_at_open`.
    pub styles: BTreeMap<String, Played>,
}

/// A style over all orders, weighted by what was filled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Total {
    pub orders: usize,
    pub filled_usd: f64,
    /// Shares times the open of what was left.
    pub left_usd: f64,
    pub cost_bps: Option<f64>,
    pub market_bps: Option<f64>,
    pub book_bps: Option<f64>,
}

/// A set that was played again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    pub v: u32,
    pub run_key: String,
    pub account: String,
    pub trading_day: TradingDay,
    /// How the orders were really sent.
    pub sent_as: String,
    pub max_volume_share: f64,
    pub rows: Vec<Row>,
    pub styles: BTreeMap<String, Total>,
    /// Over the same orders: what was assumed, and what their executions did cost.
    pub assumed_bps: Option<f64>,
    pub realised_bps: Option<f64>,
    /// Names of the set without minutes of the session.
    pub without_minutes: Vec<String>,
    pub inputs_sha256: String,
}

/// An order before it is cut.
struct Whole<'a> {
    order: &'a Intent,
    qty: f64,
    assumed_bps: Option<f64>,
}

/// The grid: the evening before as bar 0, then every minute of the session.
struct Grid {
    days: Vec<TradingDay>,
    /// Open, high, low, close, volume.
    values: [Matrix; 5],
}

/// Play `set` again on `minutes` (as they traded), no order above `max_volume_share` of any minute. `fills` are the account's.
pub fn replay(set: &OrderSet, fills: &[FillRow], minutes: &BTreeMap<String, Vec<RawMinute>>, max_volume_share: f64) -> Result<Replayed> {
    let orders = parents(set)?;
    let (with, without): (Vec<_>, Vec<_>) = orders.into_iter().partition(|w| minutes.get(&w.order.symbol).is_some_and(|m| !m.is_empty()));
    let without_minutes: Vec<String> = without.iter().map(|w| w.order.symbol.clone()).collect();
    if without_minutes.is_empty() && with.is_empty() {
        return Err(Error::new(code::USE_ARGUMENT, text!("no order was planned for the session {}", set.trading_day)).fix("trademl paper parity"));
    }
    if with.is_empty() {
        return Err(Error::new(code::DATA_MISSING, text!("the drive has no minutes of {} for any order of that day", set.trading_day))
            .cause("orders are played on minute bars: this drive's lanes collect none of that day, or not yet (the practice market of real closes has none at all)")
            .found(without_minutes.join(" "))
            .fix("trademl coverage"));
    }
    let grid = Grid::of(set.trading_day, &with, minutes)?;
    let mut rows: Vec<Row> = with.iter().enumerate().map(|(s, w)| row(w, grid.open(s), fills, set)).collect();
    let mut styles = BTreeMap::new();
    for kind in STYLES {
        let tape = play(set, &with, &grid, kind, max_volume_share)?;
        for (s, (whole, row)) in with.iter().zip(&mut rows).enumerate() {
            let own = tape.fills.iter().filter(|f| f.symbol as usize == s);
            let pieces: Vec<Piece> = own.map(|f| Piece { bar: f.bar as usize, qty: f.qty, price: f.price }).collect();
            row.styles.insert(kind.as_str().into(), played(whole, s, &grid, &pieces));
        }
        styles.insert(kind.as_str().to_string(), total(&rows, kind.as_str()));
    }
    for (s, (whole, row)) in with.iter().zip(&mut rows).enumerate() {
        let pieces = resting::play(whole, s, &grid, set.trading_day, max_volume_share);
        row.styles.insert(resting::STYLE.into(), played(whole, s, &grid, &pieces));
    }
    styles.insert(resting::STYLE.to_string(), total(&rows, resting::STYLE));
    let weighted = |of: &dyn Fn(&Row) -> Option<f64>| mean(rows.iter().filter_map(|r| Some((r.qty * r.open, of(r)?))));
    Ok(Replayed {
        v: 1,
        run_key: set.run_key.clone(),
        account: set.account.clone(),
        trading_day: set.trading_day,
        sent_as: set.pins.schedule.as_ref().map_or(Kind::None, |p| p.schedule.kind).as_str().into(),
        max_volume_share,
        assumed_bps: weighted(&|r| r.assumed_bps),
        realised_bps: weighted(&|r| r.realised_bps),
        inputs_sha256: digest_of(&(
            &set.order_set_hash,
            max_volume_share,
            &grid.values.each_ref().map(|m| m.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
        ))?,
        rows,
        styles,
        without_minutes,
    })
}

/// The orders of a set before they were cut.
fn parents(set: &OrderSet) -> Result<Vec<Whole<'_>>> {
    let rates = expected_cost(set)?.map(|(_, rates)| rates).unwrap_or_default();
    let mut out: BTreeMap<u32, Whole<'_>> = BTreeMap::new();
    for l in &set.lines {
        out.entry(l.line).or_insert_with(|| Whole { order: l, qty: 0.0, assumed_bps: rates.get(&l.line).copied() }).qty += l.qty;
    }
    Ok(out.into_values().collect())
}

fn row(whole: &Whole<'_>, open: f64, fills: &[FillRow], set: &OrderSet) -> Row {
    let order = whole.order;
    let own: Vec<&FillRow> = fills.iter().filter(|f| set.lines.iter().any(|l| l.line == order.line && l.client_order_id == f.order_id)).collect();
    // Of an order of which an execution was taken back or corrected, nothing is said.
    let whole_ones = !own.is_empty() && own.iter().all(|f| f.kind == "fill" && f.qty > 0.0);
    let cost = || mean(own.iter().map(|f| (f.qty, bps(order.side, f.price, open))));
    Row {
        symbol: order.symbol.clone(),
        side: order.side,
        qty: whole.qty,
        open,
        assumed_bps: whole.assumed_bps,
        realised_bps: whole_ones.then(cost).flatten(),
        styles: BTreeMap::new(),
    }
}

fn bps(side: Side, price: f64, open: f64) -> f64 {
    1e4 * side.sign() * (price / open - 1.0)
}

/// A mean of `(weight, value)`; none of nothing.
fn mean(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (weight, sum) = values.fold((0.0, 0.0), |(w, s), (weight, value)| (w + weight, s + weight * value));
    (weight > 0.0).then(|| sum / weight)
}

impl Grid {
    fn of(day: TradingDay, orders: &[Whole<'_>], minutes: &BTreeMap<String, Vec<RawMinute>>) -> Result<Self> {
        let calendar = Calendar::xnys();
        let (open, close) = (calendar.open(day), calendar.close(day));
        let n = minute_of(open, close) + 1;
        let mut values: [Matrix; 5] = std::array::from_fn(|_| Matrix::missing(orders.len(), n));
        for (s, whole) in orders.iter().enumerate() {
            // The evening before, after which everything is sent.
            for m in &mut values[..4] {
                m.set(s, 0, whole.order.reference_price);
            }
            values[4].set(s, 0, 0.0);
            for minute in minutes.get(&whole.order.symbol).into_iter().flatten().filter(|m| m.start >= open && m.start < close) {
                let at = minute_of(open, minute.start) + 1;
                for (m, value) in values.iter_mut().zip(minute.ohlc.iter().chain([&minute.volume])) {
                    m.set(s, at, *value);
                }
            }
        }
        let mut days = vec![day; n];
        days[0] = calendar.previous(day)?;
        Ok(Self { days, values })
    }

    /// The first minute that traded, as the session's open.
    fn open(&self, symbol: usize) -> f64 {
        self.values[0].row(symbol)[1..].iter().copied().find(|p| p.is_finite()).unwrap_or(f64::NAN)
    }
}

/// Minutes from `open` to `t`.
fn minute_of(open: UtcTime, t: UtcTime) -> usize {
    usize::try_from((t.micros() - open.micros()).div_euclid(60_000_000)).unwrap_or(0)
}

/// Pieces of each order with the bar that each may first meet.
struct Pieces(Vec<Vec<(usize, f64)>>, Vec<Side>);

impl Strategy for Pieces {
    fn on_bar(&mut self, desk: &mut Desk<'_>, symbol: usize, bar: usize) -> Result<()> {
        // Whatever is due at the next bar, and what was due in minutes that had none.
        while let Some((_, qty)) = self.0[symbol].first().copied().filter(|(first, _)| *first <= bar + 1) {
            desk.submit(symbol, self.1[symbol], qty, None, Tif::Day)?;
            self.0[symbol].remove(0);
        }
        Ok(())
    }
}

fn play(set: &OrderSet, orders: &[Whole<'_>], grid: &Grid, kind: Kind, max_volume_share: f64) -> Result<Tape> {
    let pieces = orders.iter().map(|w| pieces(set, w, kind)).collect::<Result<_>>()?;
    let [open, high, low, close, volume] = &grid.values;
    let bars = Bars { open, high, low, close, volume: Some(volume), days: &grid.days };
    let capital_usd = 10.0 * set.equity;
    let rules = Rules { capital_usd, cost: CostModel::free(), pricing: Pricing::Book(Profile::UsEquity), max_volume_share: Some(max_volume_share) };
    run(&bars, &rules, &mut Pieces(pieces, orders.iter().map(|w| w.order.side).collect()))
}

/// Cut an order in a style, with the times and caps of the pinned schedule where there is one.
fn pieces(set: &OrderSet, whole: &Whole<'_>, kind: Kind) -> Result<Vec<(usize, f64)>> {
    if kind == Kind::None {
        return Ok(vec![(1, whole.qty)]);
    }
    let (order, open) = (whole.order, Calendar::xnys().open(set.trading_day));
    let reference = set.pins.prices.get(&order.symbol);
    let mut pinned = set.pins.schedule.clone().unwrap_or_else(|| Pinned { schedule: Schedule::default(), sigma_daily: BTreeMap::new() });
    pinned.schedule.kind = kind;
    if let Some(sigma) = reference.and_then(|r| r.sigma_daily) {
        pinned.sigma_daily.insert(order.symbol.clone(), sigma);
    }
    let cut = pinned.cut(&Parent {
        id: order.parent.as_deref().unwrap_or(&order.client_order_id),
        symbol: &order.symbol,
        qty: whole.qty,
        reference_price: order.reference_price,
        adv_shares: reference.and_then(|r| r.adv_shares),
        trading_day: set.trading_day,
        now: set.pinned_at,
    })?;
    if cut.quantities.is_empty() {
        return Ok(vec![(1, whole.qty)]);
    }
    let at = |k: u32| minute_of(open, pinned.at(set.trading_day, k)) + 1;
    Ok((1u32..).zip(cut.quantities).filter(|(_, qty)| *qty > 0.0).map(|(k, qty)| (at(k), qty)).collect())
}

/// What an order got in one bar.
struct Piece {
    bar: usize,
    qty: f64,
    price: f64,
}

fn played(whole: &Whole<'_>, symbol: usize, grid: &Grid, pieces: &[Piece]) -> Played {
    let (open, side) = (grid.open(symbol), whole.order.side);
    let filled: f64 = pieces.iter().map(|p| p.qty).sum();
    let cost_bps = mean(pieces.iter().map(|p| (p.qty, bps(side, p.price, open))));
    let market_bps = mean(pieces.iter().map(|p| (p.qty, bps(side, grid.values[0].at(symbol, p.bar), open))));
    Played { filled, left: whole.qty - filled, cost_bps, market_bps, book_bps: cost_bps.zip(market_bps).map(|(c, m)| c - m) }
}

fn total(rows: &[Row], style: &str) -> Total {
    let of = || rows.iter().filter_map(|r| Some((r, r.styles.get(style)?)));
    let weighted = |value: &dyn Fn(&Played) -> Option<f64>| mean(of().filter_map(|(r, p)| Some((p.filled * r.open, value(p)?))));
    Total {
        orders: of().count(),
        filled_usd: of().map(|(r, p)| p.filled * r.open).sum(),
        left_usd: of().map(|(r, p)| p.left * r.open).sum(),
        cost_bps: weighted(&|p| p.cost_bps),
        market_bps: weighted(&|p| p.market_bps),
        book_bps: weighted(&|p| p.book_bps),
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
