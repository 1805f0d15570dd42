//! Positions, cash and buying power: folds over the executions, marked at the last close.

use super::book::{Fill, Order};
use super::corporate::{self, Booked, Event, What};
use super::wire::{decimal, money};
use super::world::World;
use crate::calendar::Calendar;
use crate::time::UtcTime;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Cash that a new practice account starts with, in dollars.
pub const STARTING_CASH_USD: f64 = 100_000.0;
/// Regulation T: half of a position is margin.
const MULTIPLIER: f64 = 2.0;
pub const ACCOUNT_NUMBER: &str = "SIM000001";

/// A holding: signed shares and their average entry price.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Holding {
    pub qty: f64,
    pub avg_entry: f64,
}

/// What an account holds at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Holdings {
    pub cash: f64,
    /// Only symbols with a position.
    pub by_symbol: BTreeMap<String, Holding>,
}

/// Fold the executions and the corporate events up to and including `until`.
pub fn holdings(world: &World, fills: &[Fill], until: UtcTime) -> Holdings {
    fold(&events_of(world, fills, until), fills, until).0
}

/// What corporate events booked to the account up to and including `until`, by the moment of booking.
pub fn booked(world: &World, fills: &[Fill], until: UtcTime) -> Vec<Booked> {
    let mut rows = fold(&events_of(world, fills, until), fills, until).1;
    rows.sort_by(|a, b| (a.at, &a.symbol, a.kind).cmp(&(b.at, &b.symbol, b.kind)));
    rows
}

fn events_of(world: &World, fills: &[Fill], until: UtcTime) -> Vec<Event> {
    let symbols: BTreeSet<&str> = fills.iter().map(|f| f.symbol.as_str()).collect();
    fills.iter().map(|f| f.at).min().map_or_else(Vec::new, |first| corporate::events(world, &symbols, first, until))
}

/// Events come before the executions of their day: they take effect when it begins.
fn fold(events: &[Event], fills: &[Fill], until: UtcTime) -> (Holdings, Vec<Booked>) {
    let mut out = Holdings { cash: STARTING_CASH_USD, by_symbol: BTreeMap::new() };
    let (mut rows, mut events) = (Vec::new(), events.iter().peekable());
    for fill in fills.iter().filter(|f| f.at <= until) {
        while let Some(event) = events.next_if(|e| e.at <= fill.at) {
            befall(&mut out, event, until, &mut rows);
        }
        let signed = fill.side.sign() * fill.qty;
        out.cash -= signed * fill.price;
        let held = out.by_symbol.entry(fill.symbol.clone()).or_default();
        *held = apply(*held, signed, fill.price);
        if held.qty.abs() < 1e-9 {
            out.by_symbol.remove(&fill.symbol);
        }
    }
    events.for_each(|event| befall(&mut out, event, until, &mut rows));
    (out, rows)
}

fn befall(h: &mut Holdings, event: &Event, until: UtcTime, rows: &mut Vec<Booked>) {
    let Some(held) = h.by_symbol.get_mut(&event.symbol) else { return };
    let row = |kind, qty, per_share, amount| Booked { kind, symbol: event.symbol.clone(), day: event.day, at: event.at, qty, per_share, amount };
    match event.what {
        What::Split(ratio) => {
            rows.push(row("SPLIT", held.qty * (ratio - 1.0), 0.0, 0.0));
            (held.qty, held.avg_entry) = (held.qty * ratio, held.avg_entry / ratio);
        }
        What::Dividend(per_share, paid) => {
            let at = super::clock::midnight(paid).max(event.at);
            if at <= until {
                let amount = held.qty * per_share;
                h.cash += amount;
                rows.push(Booked { day: paid, at, ..row("DIV", held.qty, per_share, amount) });
            }
        }
        What::Removal(per_share) => {
            let amount = held.qty * per_share;
            rows.push(row(if per_share > 0.0 { "MA" } else { "REORG" }, -held.qty, per_share, amount));
            h.cash += amount;
            h.by_symbol.remove(&event.symbol);
        }
    }
}

/// Average cost; a trade through zero starts anew at its own price.
fn apply(held: Holding, signed: f64, price: f64) -> Holding {
    let qty = held.qty + signed;
    let avg_entry = if held.qty * signed >= 0.0 {
        (held.qty * held.avg_entry + signed * price) / qty
    } else if held.qty * qty > 0.0 {
        held.avg_entry
    } else {
        price
    };
    Holding { qty, avg_entry }
}

/// An account's value at `now`.
pub struct Valuation {
    pub equity: f64,
    pub cash: f64,
    pub long: f64,
    /// Not positive.
    pub short: f64,
}

/// Mark holdings at the last close that is public at `now` (their entry price when there is none).
pub fn value(world: &World, h: &Holdings, now: UtcTime) -> Valuation {
    let (mut long, mut short) = (0.0, 0.0);
    for (symbol, held) in &h.by_symbol {
        let worth = held.qty * world.last_close(symbol, now).unwrap_or(held.avg_entry);
        if worth > 0.0 { long += worth } else { short += worth }
    }
    Valuation { equity: h.cash + long + short, cash: h.cash, long, short }
}

/// What open orders would add to positions, in dollars at last closes (limit orders: at their limit).
pub fn reserved(world: &World, h: &Holdings, open: &[Order], now: UtcTime) -> f64 {
    let mut projected: BTreeMap<&str, f64> = BTreeMap::new();
    let mut total = 0.0;
    for order in open {
        let at = projected.entry(order.symbol.as_str()).or_insert_with(|| h.by_symbol.get(&order.symbol).map_or(0.0, |p| p.qty));
        let after = *at + order.remaining();
        let price = order.limit_price.or_else(|| world.last_close(&order.symbol, now)).unwrap_or(0.0);
        total += (after.abs() - at.abs()).max(0.0) * price;
        *at = after;
    }
    total
}

/// Dollars that new positions may cost.
pub fn buying_power(v: &Valuation, reserved: f64) -> f64 {
    (MULTIPLIER * v.equity - v.long + v.short - reserved).max(0.0)
}

/// `GET /v2/account`. Amounts are strings, as the vendor sends them.
pub fn account_json(world: &World, id: &str, created_at: UtcTime, fills: &[Fill], open: &[Order], now: UtcTime) -> Value {
    let h = holdings(world, fills, now);
    let v = value(world, &h, now);
    let power = buying_power(&v, reserved(world, &h, open, now));
    let gross = v.long - v.short;
    let calendar = Calendar::xnys();
    let before = calendar.last_closed(now).and_then(|d| calendar.previous(d)).map_or(now, |d| calendar.close(d));
    let last = value(world, &holdings(world, fills, before), before);
    json!({
        "id": id, "account_number": ACCOUNT_NUMBER, "status": "ACTIVE", "crypto_status": "INACTIVE", "currency": "USD", "created_at": created_at,
        "cash": money(v.cash), "equity": money(v.equity), "portfolio_value": money(v.equity), "last_equity": money(last.equity),
        "long_market_value": money(v.long), "short_market_value": money(v.short), "position_market_value": money(gross),
        "buying_power": money(power), "regt_buying_power": money(power), "daytrading_buying_power": "0",
        "effective_buying_power": money(power), "non_marginable_buying_power": money(v.cash.min(v.equity).max(0.0)), "options_buying_power": "0",
        "initial_margin": money(gross / MULTIPLIER), "maintenance_margin": money(0.25 * v.long - 0.3 * v.short), "last_maintenance_margin": money(0.25 * last.long - 0.3 * last.short),
        "multiplier": decimal(MULTIPLIER), "sma": "0", "accrued_fees": "0", "pending_transfer_in": "0", "pending_transfer_out": "0", "pending_reg_taf_fees": "0",
        "intraday_adjustments": "0", "balance_asof": calendar.last_closed(now).map_or_else(|_| String::new(), |d| d.to_string()),
        "daytrade_count": 0, "pattern_day_trader": false, "trading_blocked": false, "transfers_blocked": false, "account_blocked": false,
        "trade_suspended_by_user": false, "shorting_enabled": true, "options_approved_level": 0, "options_trading_level": 0
    })
}

/// One entry of `GET /v2/positions`.
pub fn position_json(world: &World, symbol: &str, held: Holding, now: UtcTime) -> Value {
    let calendar = Calendar::xnys();
    let price = world.last_close(symbol, now).unwrap_or(held.avg_entry);
    let before =
        calendar.last_closed(now).and_then(|d| calendar.previous(d)).ok().and_then(|d| world.series(symbol).and_then(|s| s.close_at(d))).unwrap_or(price);
    let (cost, worth) = (held.qty * held.avg_entry, held.qty * price);
    let ratio = |a: f64, b: f64| if b.abs() > 0.0 { decimal((a / b * 1e6).round() / 1e6) } else { "0".into() };
    json!({
        "asset_id": asset_id(symbol), "symbol": symbol, "exchange": world.listing(symbol).map_or("NYSE", |l| l.exchange.as_str()), "asset_class": "us_equity",
        "asset_marginable": true, "qty": decimal(held.qty), "qty_available": decimal(held.qty), "side": if held.qty >= 0.0 { "long" } else { "short" },
        "avg_entry_price": decimal((held.avg_entry * 1e6).round() / 1e6), "market_value": money(worth), "cost_basis": money(cost),
        "unrealized_pl": money(worth - cost), "unrealized_plpc": ratio(worth - cost, cost.abs()),
        "unrealized_intraday_pl": money(held.qty * (price - before)), "unrealized_intraday_plpc": ratio(held.qty * (price - before), (held.qty * before).abs()),
        "current_price": decimal(price), "lastday_price": decimal(before), "change_today": ratio(price - before, before)
    })
}

/// The same id for a symbol in every run.
pub fn asset_id(symbol: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("asset {symbol}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::book::Side;

    #[test]
    fn average_cost_survives_reductions_and_restarts_through_zero() {
        let fill = |side, qty, price| Fill {
            id: String::new(),
            order_id: String::new(),
            symbol: "X".into(),
            side,
            qty,
            price,
            at: UtcTime::from_micros(0),
            short: false,
        };
        let fills = [fill(Side::Buy, 10.0, 100.0), fill(Side::Buy, 10.0, 110.0), fill(Side::Sell, 5.0, 120.0)];
        let of = |fills: &[Fill]| fold(&[], fills, UtcTime::from_micros(0)).0;
        let h = of(&fills);
        assert_eq!(h.by_symbol["X"], Holding { qty: 15.0, avg_entry: 105.0 });
        assert_eq!(h.cash, STARTING_CASH_USD - 1000.0 - 1100.0 + 600.0);
        let flipped = of(&[fills.to_vec(), vec![fill(Side::Sell, 20.0, 90.0)]].concat());
        assert_eq!(flipped.by_symbol["X"], Holding { qty: -5.0, avg_entry: 90.0 });
        let flat = of(&[fills.to_vec(), vec![fill(Side::Sell, 15.0, 90.0)]].concat());
        assert!(flat.by_symbol.is_empty());
    }

    #[test]
    fn events_change_shares_and_cash_and_never_the_worth_of_a_holding_at_its_own_price() {
        let day = |d: &str| d.parse::<crate::time::TradingDay>().unwrap();
        let at = |d: &str| crate::sandbox::clock::midnight(day(d));
        let trade = |side, qty, symbol: &str| Fill {
            id: String::new(),
            order_id: String::new(),
            symbol: symbol.into(),
            side,
            qty,
            price: 100.0,
            at: at("2017-01-03").plus_seconds(60),
            short: false,
        };
        let event = |symbol: &str, d: &str, what| Event { symbol: symbol.into(), day: day(d), at: at(d), what };
        let events = [
            event("S", "2017-01-05", What::Split(4.0)),
            event("S", "2017-01-06", What::Dividend(0.5, day("2017-01-20"))),
            event("T", "2017-01-06", What::Dividend(1.0, day("2017-01-06"))),
            event("T", "2017-01-09", What::Removal(90.0)),
        ];
        let fills = [trade(Side::Buy, 10.0, "S"), trade(Side::Sell, 5.0, "T")];
        let (h, rows) = fold(&events, &fills, at("2017-01-10"));
        assert_eq!(h.by_symbol, BTreeMap::from([("S".to_string(), Holding { qty: 40.0, avg_entry: 25.0 })]));
        assert_eq!(h.cash, STARTING_CASH_USD - 1_000.0 + 500.0 - 5.0 - 450.0, "a short pays the dividend and buys back at the terminal price");
        assert_eq!(rows.iter().map(|r| (r.kind, r.qty)).collect::<Vec<_>>(), [("SPLIT", 30.0), ("DIV", -5.0), ("MA", 5.0)]);
        let (paid, _) = fold(&events, &fills, at("2017-01-20"));
        assert_eq!(paid.cash - h.cash, 20.0, "on forty shares, on the pay date");
    }
}
