//! What becomes of open orders when the world clock moves.
//!
//! An order accepted before an opening takes part in it. Market orders fill at the open of the first such session in which
//! the symbol has a bar. Limit orders fill only *through* their price: at the open if that is better than the limit, else at
//! the limit once the session has traded beyond it, which is known at the close; a touch is not a fill. Without a fill, a
//! `day` limit order expires at the close and an `opg` order at the open. A daily world knows no price inside a session,
//! so an order sent during one waits for the next opening.

use super::account::holdings;
use super::book::{self, Book, Fill, Order, Side, Which};
use super::world::World;
use crate::calendar::Calendar;
use crate::error::Result;
use crate::time::{DateRange, TradingDay, UtcTime, new_york};
use rusqlite::Transaction;

/// One change to the book.
enum Event {
    Fill { order: usize, price: f64, at: UtcTime },
    End { order: usize, status: &'static str, at: UtcTime },
}

/// Move the book from `from` to `to` (`from < to`) and record the new time, in one transaction.
pub fn advance(book: &mut Book, world: &World, from: UtcTime, to: UtcTime) -> Result<()> {
    let mut orders = book.orders(Which::Open)?;
    let mut fills = if orders.is_empty() { Vec::new() } else { book.fills()? };
    let events = events(world, &orders, from, to)?;
    book.write(|tx| {
        for event in &events {
            apply(tx, event, &mut orders, &mut fills)?;
        }
        book::set_meta(tx, "now", &to.to_string())
    })
}

fn apply(tx: &Transaction<'_>, event: &Event, orders: &mut [Order], fills: &mut Vec<Fill>) -> Result<()> {
    match event {
        Event::Fill { order, price, at } => {
            let Some(o) = orders.get_mut(*order) else { return Ok(()) };
            let before = holdings(fills, *at).by_symbol.get(&o.symbol).map_or(0.0, |h| h.qty);
            let id = format!("{}::{}", stamp(*at), uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("fill {}", o.id).as_bytes()));
            let short = o.side == Side::Sell && before <= 0.0;
            let fill = Fill { id, order_id: o.id.clone(), symbol: o.symbol.clone(), side: o.side, qty: o.qty, price: *price, at: *at, short };
            book::insert_fill(tx, &fill)?;
            fills.push(fill);
            (o.status, o.updated_at, o.filled_qty, o.filled_avg_price) = ("filled".into(), *at, o.qty, Some(*price));
            book::update_order(tx, o)
        }
        Event::End { order, status, at } => {
            let Some(o) = orders.get_mut(*order) else { return Ok(()) };
            (o.status, o.updated_at) = ((*status).to_string(), *at);
            book::update_order(tx, o)
        }
    }
}

/// `20171201143000000`, as in the vendor's activity ids.
fn stamp(t: UtcTime) -> String {
    let digits: String = t.to_string().chars().filter(char::is_ascii_digit).collect();
    digits.get(..17).unwrap_or(&digits).to_string()
}

/// Everything that happens to `orders` in `(from, to]`, in time order.
fn events(world: &World, orders: &[Order], from: UtcTime, to: UtcTime) -> Result<Vec<Event>> {
    let mut out = Vec::new();
    if orders.is_empty() {
        return Ok(out);
    }
    let calendar = Calendar::xnys();
    let zone = new_york();
    let window = DateRange::new(from.day_in(&zone), to.day_in(&zone).plus_days(1))?;
    let mut open: Vec<usize> = (0..orders.len()).collect();
    for day in calendar.sessions(window) {
        for (at, closing) in [(calendar.open(*day), false), (calendar.close(*day), true)] {
            if at <= from || at > to {
                continue;
            }
            open.retain(|i| {
                let event = (orders[*i].submitted_at < calendar.open(*day)).then(|| step(world, &orders[*i], *i, *day, at, closing)).flatten();
                let goes_on = event.is_none();
                out.extend(event);
                goes_on
            });
        }
    }
    Ok(out)
}

/// What an opening or a close does to one order.
fn step(world: &World, o: &Order, order: usize, day: TradingDay, at: UtcTime, closing: bool) -> Option<Event> {
    let series = world.series(&o.symbol)?;
    let bar = series.on(day);
    let opening = bar.map(|i| series.open[i]).filter(|p| p.is_finite());
    let end = |status| Some(Event::End { order, status, at });
    if !closing {
        return match (opening, o.limit_price) {
            (Some(price), None) => Some(Event::Fill { order, price, at }),
            (Some(price), Some(limit)) if through(o.side, price, limit) => Some(Event::Fill { order, price, at }),
            _ if o.tif == "opg" => end("expired"),
            _ => None,
        };
    }
    if let Some(limit) = o.limit_price {
        let extreme = bar.map(|i| if o.side == Side::Buy { series.low[i] } else { series.high[i] });
        if extreme.is_some_and(|p| p.is_finite() && through(o.side, p, limit)) {
            return Some(Event::Fill { order, price: limit, at });
        }
        if o.tif == "day" {
            return end("expired");
        }
    }
    // The symbol will never trade again: the broker cancels what is left.
    if series.last().is_some_and(|last| last < day) { end("canceled") } else { None }
}

/// Whether `price` is strictly better than the limit.
fn through(side: Side, price: f64, limit: f64) -> bool {
    match side {
        Side::Buy => price < limit,
        Side::Sell => price > limit,
    }
}
