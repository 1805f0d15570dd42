//! The practice account in cTrader's words: the same book that the Alpaca dialect shows, as a netted account of contracts for difference.
//!
//! Money is not spent on a position here: the balance is the cash that would be left if every position were closed at its own
//! entry price, and equity adds what has been gained since.

use super::super::account;
use super::super::book::{Book, Fill, Order, Side};
use super::super::world::World;
use crate::calendar::Calendar;
use crate::ctrader::models::{self, CtidAccount, Deal, DepositWithdraw, LightSymbol, Position, PositionPnl, Symbol, TradeData, Trader};
use crate::ctrader::words::{
    AccessRights, AccountType, BalanceChange, DealStatus, OrderStatus, OrderType, PositionStatus, TimeInForce, TradeSide, TradingMode,
};
use crate::ctrader::{VOLUME_UNITS, millis};
use crate::error::Result;
use crate::time::UtcTime;
use serde::{Deserialize, Serialize};

/// Exponent of every amount.
pub const DIGITS: u32 = 8;
/// The practice account, and a live one that nobody may trade.
pub const ACCOUNT: i64 = 9_000_001;
pub const LIVE_ACCOUNT: i64 = 9_000_002;
const LOGIN: i64 = 5_000_001;
/// Dollars.
pub const ASSET: i64 = 15;
/// Ids of symbols begin above this; another server has others.
const FIRST_SYMBOL: i64 = 1_000;
const FIRST_POSITION: i64 = 500_000;
/// The number of a symbol's double lies this far above its own.
const TWIN: i64 = 100_000;

/// What the book has no column for, kept beside it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tag {
    pub client_order_id: String,
    pub label: Option<String>,
    pub comment: Option<String>,
    pub time_in_force: i32,
    pub expires_ms: Option<i64>,
}

impl Tag {
    /// The key of the book's side table.
    pub fn key(order: &str) -> String {
        format!("ctrader {order}")
    }

    /// What an order was sent with; of one that came by another dialect, what it would have been.
    pub fn of(book: &Book, o: &Order) -> Result<Self> {
        if let Some(kept) = book.meta(&Self::key(&o.id))? {
            return Ok(serde_json::from_str(&kept)?);
        }
        let time_in_force = match (o.tif.as_str(), o.limit_price) {
            ("gtc", _) => TimeInForce::GoodTillCancel,
            ("opg", _) | (_, None) => TimeInForce::MarketOnOpen,
            _ => TimeInForce::GoodTillDate,
        };
        Ok(Self { client_order_id: o.client_order_id.clone(), time_in_force: time_in_force.number(), ..Self::default() })
    }
}

pub fn money(usd: f64) -> i64 {
    (usd * 10f64.powi(DIGITS as i32)).round() as i64
}

fn volume(shares: f64) -> i64 {
    (shares.abs() * VOLUME_UNITS).round() as i64
}

fn side(side: Side) -> i32 {
    if side == Side::Buy { TradeSide::Buy.number() } else { TradeSide::Sell.number() }
}

pub fn symbol_id(world: &World, symbol: &str) -> i64 {
    world.series.iter().position(|s| s.symbol == symbol).map_or(0, |i| FIRST_SYMBOL + 1 + i as i64)
}

pub fn symbol_of(world: &World, id: i64) -> Option<&str> {
    let place = usize::try_from(id - FIRST_SYMBOL - 1).ok()?;
    world.series.get(place).map(|s| s.symbol.as_str())
}

/// The accounts of the practice token: a demo account, and a live one.
pub fn accounts() -> Vec<CtidAccount> {
    let one = |id: i64, is_live, login| CtidAccount { id: id.unsigned_abs(), is_live: Some(is_live), login: Some(login), broker: Some("SIM".into()) };
    vec![one(ACCOUNT, false, LOGIN), one(LIVE_ACCOUNT, true, LOGIN + 1)]
}

pub fn light_symbols(world: &World, now: UtcTime) -> Vec<LightSymbol> {
    let all = world.series.iter().map(|s| LightSymbol {
        id: symbol_id(world, &s.symbol),
        name: Some(s.symbol.clone()),
        enabled: Some(super::super::trading::tradable(world, &s.symbol, now)),
        base_asset: Some(ASSET + 1),
        quote_asset: Some(ASSET),
        description: world.listing(&s.symbol).map(|l| l.name.clone()),
    });
    all.collect()
}

/// A list that leaves doubt about a name: a second number for it, or another currency.
pub fn relisted(all: &mut Vec<LightSymbol>, name: &str, foreign: bool) {
    if foreign {
        all.iter_mut().filter(|s| s.name.as_deref() == Some(name)).for_each(|s| s.quote_asset = Some(ASSET + 2));
        return;
    }
    let named = all.iter().filter(|s| s.name.as_deref() == Some(name));
    let twins: Vec<LightSymbol> = named.map(|s| LightSymbol { id: s.id + TWIN, name: Some(format!("{name}.US")), ..s.clone() }).collect();
    all.extend(twins);
}

pub fn symbol(world: &World, id: i64, now: UtcTime) -> Option<Symbol> {
    let name = symbol_of(world, id)?;
    let mode = if super::super::trading::tradable(world, name, now) { TradingMode::Enabled } else { TradingMode::DisabledWithoutPendings };
    Some(Symbol {
        id,
        digits: 2,
        pip_position: 2,
        short_selling: Some(true),
        max_volume: Some(100_000_000),
        min_volume: Some(100),
        step_volume: Some(100),
        trading_mode: Some(mode.number()),
        lot_size: Some(100),
    })
}

/// The balance: cash, had every position been closed at its entry price.
pub fn trader(world: &World, book: &Book, now: UtcTime) -> Result<Trader> {
    let held = account::holdings(world, &book.fills()?, now);
    let entries: f64 = held.by_symbol.values().map(|h| h.qty * h.avg_entry).sum();
    Ok(Trader {
        account: ACCOUNT,
        balance: money(held.cash + entries),
        access_rights: Some(AccessRights::FullAccess.number()),
        deposit_asset: ASSET,
        leverage_in_cents: Some(200),
        login: Some(LOGIN),
        account_type: Some(AccountType::Netted.number()),
        broker: Some("SIM".into()),
        registered_ms: Some(millis(Calendar::xnys().open(world.first))),
        money_digits: Some(DIGITS),
    })
}

pub fn positions(world: &World, book: &Book, now: UtcTime) -> Result<Vec<Position>> {
    let held = account::holdings(world, &book.fills()?, now);
    let one = |(symbol, h): (&String, &account::Holding)| {
        let id = symbol_id(world, symbol);
        let side = if h.qty > 0.0 { Side::Buy } else { Side::Sell };
        Position {
            id: FIRST_POSITION + id,
            trade: TradeData { symbol: id, volume: volume(h.qty), side: self::side(side), ..TradeData::default() },
            status: PositionStatus::Open.number(),
            swap: 0,
            price: Some(h.avg_entry),
            updated_ms: Some(millis(now)),
            commission: Some(0),
            used_margin: Some(money((h.qty * h.avg_entry).abs() / 2.0).unsigned_abs()),
            money_digits: Some(DIGITS),
        }
    };
    Ok(held.by_symbol.iter().map(one).collect())
}

/// Gains since entry, at last closes.
pub fn pnl(world: &World, book: &Book, now: UtcTime) -> Result<Vec<PositionPnl>> {
    let held = account::holdings(world, &book.fills()?, now);
    let one = |(symbol, h): (&String, &account::Holding)| {
        let gain = money(h.qty * (world.last_close(symbol, now).unwrap_or(h.avg_entry) - h.avg_entry));
        PositionPnl { position: FIRST_POSITION + symbol_id(world, symbol), gross: gain, net: gain }
    };
    Ok(held.by_symbol.iter().map(one).collect())
}

pub fn order(world: &World, book: &Book, number: i64, o: &Order) -> Result<models::Order> {
    let tag = Tag::of(book, o)?;
    let status = match o.status.as_str() {
        "accepted" | "partially_filled" => OrderStatus::Accepted,
        "filled" => OrderStatus::Filled,
        "expired" => OrderStatus::Expired,
        _ => OrderStatus::Cancelled,
    };
    let kind = if o.limit_price.is_some() { OrderType::Limit } else { OrderType::Market };
    let id = symbol_id(world, &o.symbol);
    Ok(models::Order {
        id: number,
        trade: TradeData {
            symbol: id,
            volume: volume(o.qty),
            side: side(o.side),
            opened_ms: Some(millis(o.submitted_at)),
            label: tag.label,
            comment: tag.comment,
        },
        order_type: kind.number(),
        status: status.number(),
        expires_ms: tag.expires_ms,
        execution_price: o.filled_avg_price,
        executed_volume: Some(volume(o.filled_qty)),
        updated_ms: Some(millis(o.updated_at)),
        closing: Some(false),
        limit_price: o.limit_price,
        stop_price: None,
        client_order_id: Some(tag.client_order_id),
        time_in_force: Some(tag.time_in_force),
        position: Some(FIRST_POSITION + id),
        stop_out: None,
    })
}

pub fn deal(world: &World, book: &Book, number: i64, f: &Fill) -> Result<Deal> {
    let id = symbol_id(world, &f.symbol);
    Ok(Deal {
        id: number,
        order: book.number_of(&f.order_id)?.unwrap_or_default(),
        position: FIRST_POSITION + id,
        volume: volume(f.qty),
        filled_volume: volume(f.qty),
        symbol: id,
        created_ms: millis(f.at),
        executed_ms: millis(f.at),
        updated_ms: Some(millis(f.at)),
        price: Some(f.price),
        side: side(f.side),
        status: DealStatus::Filled.number(),
        commission: Some(0),
        close: None,
        money_digits: Some(DIGITS),
    })
}

/// Dividends, with the name of the symbol as their note.
pub fn cash_flow(world: &World, book: &Book, now: UtcTime) -> Result<Vec<DepositWithdraw>> {
    let rows = account::booked(world, &book.fills()?, now);
    let dividends = rows.iter().enumerate().filter(|(_, b)| b.kind == "DIV");
    let one = |(i, b): (usize, &super::super::corporate::Booked)| DepositWithdraw {
        operation: if b.amount >= 0.0 { BalanceChange::DepositDividends } else { BalanceChange::WithdrawDividends }.number(),
        id: i as i64 + 1,
        balance: 0,
        delta: money(b.amount.abs()),
        at_ms: millis(b.at),
        note: Some(b.symbol.clone()),
        money_digits: Some(DIGITS),
    };
    Ok(dividends.map(one).collect())
}
