//! What becomes of open orders when the world clock moves.
//!
//! An order accepted before an opening takes part in it. Market orders fill at the open of the first such session in which
//! the symbol has a bar. Limit orders fill only *through* their price: at the open if that is better than the limit, else at
//! the limit once the session has traded beyond it, which is known at the close; a touch is not a fill. Without a fill, a
//! `day` limit order expires at the close and an `opg` order at the open. An order sent during a session fills at the open of a later
//! minute of it, a limit order once a minute trades through its price; a world without minutes knows one price after the opening,
//! the close, and that is what such an order gets or, if it is a limit order beyond its limit, misses. A market order for the opening (`moo`, cTrader's) waits for it from wherever it is sent, and
//! what an opening left of it waits for the next one.

use super::account::holdings;
use super::book::{self, Book, Fill, Order, Side, Which};
use super::faults::{Do, Fault, Plan};
use super::world::World;
use crate::calendar::Calendar;
use crate::error::Result;
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use rusqlite::Transaction;

/// A late execution is known this long after the open, where the plan names no time.
const LATE_S: f64 = 1_800.0;

/// How much of an order executes at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Rest,
    /// Half of the order; all that is left when a part was filled before.
    Half,
    /// What is left, and so many shares that nobody asked for.
    Over(usize),
}

/// One change to an order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Fill { amount: Amount, price: f64 },
    End(&'static str),
}

/// Move the book from `from` to `to` (`from < to`) and record the new time, in one transaction.
pub fn advance(book: &mut Book, world: &World, plan: &Plan, from: UtcTime, to: UtcTime) -> Result<()> {
    let mut orders = book.orders(Which::Open)?;
    let mut fills = if orders.is_empty() { Vec::new() } else { book.fills()? };
    let steps = steps(world, plan, &orders, from, to)?;
    book.write(|tx| {
        for (at, order, step) in steps {
            if orders[order].is_open() {
                apply(tx, world, at, step, &mut orders[order], &mut fills)?;
            }
        }
        book::set_meta(tx, "now", &to.to_string())
    })
}

fn apply(tx: &Transaction<'_>, world: &World, at: UtcTime, step: Step, o: &mut Order, fills: &mut Vec<Fill>) -> Result<()> {
    let (amount, price) = match step {
        Step::End(status) => {
            (o.status, o.updated_at) = (status.to_string(), at);
            return book::update_order(tx, o);
        }
        Step::Fill { amount, price } => (amount, price),
    };
    let rest = o.qty - o.filled_qty;
    let qty = match amount {
        Amount::Half if o.filled_qty == 0.0 && o.qty >= 2.0 => (o.qty / 2.0).floor(),
        Amount::Rest | Amount::Half => rest,
        Amount::Over(extra) => rest + extra as f64,
    };
    let before = holdings(world, fills, at).by_symbol.get(&o.symbol).map_or(0.0, |h| h.qty);
    // The first execution's name is as it always was; a later one adds what was filled before it.
    let nth = if o.filled_qty == 0.0 { String::new() } else { format!(" after {}", o.filled_qty) };
    let id = format!("{}::{}", stamp(at), uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("fill {}{nth}", o.id).as_bytes()));
    let short = o.side == Side::Sell && before <= 0.0;
    let fill = Fill { id, order_id: o.id.clone(), symbol: o.symbol.clone(), side: o.side, qty, price, at, short };
    book::insert_fill(tx, &fill)?;
    fills.push(fill);
    let paid = o.filled_avg_price.unwrap_or(0.0) * o.filled_qty + qty * price;
    (o.filled_qty, o.updated_at) = (o.filled_qty + qty, at);
    o.filled_avg_price = Some(if o.filled_qty == qty { price } else { paid / o.filled_qty });
    o.status = if o.filled_qty >= o.qty { "filled" } else { "partially_filled" }.into();
    book::update_order(tx, o)
}

/// `20171201143000000`, as in the vendor's activity ids.
fn stamp(t: UtcTime) -> String {
    let digits: String = t.to_string().chars().filter(char::is_ascii_digit).collect();
    digits.get(..17).unwrap_or(&digits).to_string()
}

/// Everything that may happen to `orders` in `(from, to]`, by time, then in the order of submission.
fn steps(world: &World, plan: &Plan, orders: &[Order], from: UtcTime, to: UtcTime) -> Result<Vec<(UtcTime, usize, Step)>> {
    let mut out = Vec::new();
    if orders.is_empty() {
        return Ok(out);
    }
    let calendar = Calendar::xnys();
    let zone = new_york();
    let window = DateRange::new(from.day_in(&zone), to.day_in(&zone).plus_days(1))?;
    for day in calendar.sessions(window) {
        for (i, order) in orders.iter().enumerate() {
            let course = if order.submitted_at < calendar.open(*day) { course(world, plan, order, *day) } else { within(world, order, *day) };
            out.extend(course.into_iter().filter(|(at, _)| *at > from && *at <= to).map(|(at, step)| (at, i, step)));
        }
    }
    out.sort_by_key(|(at, i, _)| (*at, *i));
    Ok(out)
}

/// A session in the life of one order: a function of the order and the world, so that a restart changes nothing.
fn course(world: &World, plan: &Plan, o: &Order, day: TradingDay) -> Vec<(UtcTime, Step)> {
    let (open, close) = (Calendar::xnys().open(day), Calendar::xnys().close(day));
    let mut out = Vec::new();
    let Some(series) = world.series(&o.symbol) else { return out };
    let bar = series.on(day);
    let opening = bar.map(|i| series.open[i]).filter(|p| p.is_finite());
    let taken = opening.filter(|price| o.limit_price.is_none_or(|limit| through(o.side, *price, limit)));
    if let Some(price) = taken {
        return execution(plan.befalls(Do::is_of_the_market, &o.symbol, &o.id, open), o, price, open, close);
    }
    if o.tif == "opg" {
        return vec![(open, Step::End("expired"))];
    }
    if let Some(limit) = o.limit_price {
        let extreme = bar.map(|i| if o.side == Side::Buy { series.low[i] } else { series.high[i] });
        if extreme.is_some_and(|p| p.is_finite() && through(o.side, p, limit)) {
            out.push((close, Step::Fill { amount: Amount::Rest, price: limit }));
        } else if o.tif == "day" {
            out.push((close, Step::End("expired")));
        }
    }
    // The symbol will never trade again: the broker cancels what is left.
    if series.last().is_some_and(|last| last < day) {
        out.push((close, Step::End("canceled")));
    }
    out
}

/// The rest of a session in the life of an order that was sent during it.
fn within(world: &World, o: &Order, day: TradingDay) -> Vec<(UtcTime, Step)> {
    let close = Calendar::xnys().close(day);
    let bars = world.minutes_of(&o.symbol, day);
    if o.submitted_at >= close || matches!(o.tif.as_str(), "opg" | "moo") {
        return Vec::new();
    }
    if bars.is_empty() {
        let at_close = world.series(&o.symbol).and_then(|series| series.on(day).map(|i| series.close[i])).filter(|p| p.is_finite());
        let taken = at_close.filter(|price| o.limit_price.is_none_or(|limit| through(o.side, *price, limit)));
        let fill = taken.map(|price| (close, Step::Fill { amount: Amount::Rest, price: o.limit_price.unwrap_or(price) }));
        let ended = (o.tif == "day").then_some((close, Step::End("expired")));
        return fill.or(ended).into_iter().collect();
    }
    for minute in bars.iter().filter(|m| m.start > o.submitted_at) {
        let [open, high, low, _] = minute.ohlc;
        let extreme = if o.side == Side::Buy { low } else { high };
        match o.limit_price {
            None => return vec![(minute.start, Step::Fill { amount: Amount::Rest, price: open })],
            Some(limit) if through(o.side, open, limit) => return vec![(minute.start, Step::Fill { amount: Amount::Rest, price: open })],
            Some(limit) if through(o.side, extreme, limit) => {
                return vec![(minute.start.plus_seconds(60).min(close), Step::Fill { amount: Amount::Rest, price: limit })];
            }
            Some(_) => {}
        }
    }
    if o.tif == "day" { vec![(close, Step::End("expired"))] } else { Vec::new() }
}

/// An order that the opening takes, in the way the fault plan has it.
fn execution(fault: Option<&Fault>, o: &Order, price: f64, open: UtcTime, close: UtcTime) -> Vec<(UtcTime, Step)> {
    let fill = |amount| Step::Fill { amount, price };
    let late = |seconds: f64| open.plus_seconds(seconds as i64).min(close);
    match fault.map(|f| (f.action, f.seconds, f.rows.unwrap_or(1))) {
        Some((Do::LateFill, seconds, _)) => vec![(late(seconds.unwrap_or(LATE_S)), fill(Amount::Rest))],
        Some((Do::Overfill, _, rows)) => vec![(open, fill(Amount::Over(rows)))],
        Some((Do::PartialFill, Some(seconds), _)) => vec![(open, fill(Amount::Half)), (late(seconds), fill(Amount::Rest))],
        Some((Do::PartialFill, None, _)) if matches!(o.tif.as_str(), "gtc" | "moo") => vec![(open, fill(Amount::Half))],
        Some((Do::PartialFill, None, _)) => vec![(open, fill(Amount::Half)), (close, Step::End("expired"))],
        _ => vec![(open, fill(Amount::Rest))],
    }
}

/// Whether `price` is strictly better than the limit.
fn through(side: Side, price: f64, limit: f64) -> bool {
    match side {
        Side::Buy => price < limit,
        Side::Sell => price > limit,
    }
}
