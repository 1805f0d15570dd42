//! Orders, deals and positions in the words of the order path, and the one place where an answer becomes an outcome.

use super::link::token_is_dead;
use super::session::{Failure, refusal};
use super::symbols::{No, Symbols, id_fits, volume};
use crate::execution::broker::{ActivityKind, BrokerActivity, BrokerFill, BrokerOrder, FillKind, Submitted, TradeUpdate};
use crate::execution::order::{Intent, OrderType, Tif};
use crate::types::Side;
use data_layer::ctrader::messages::{Envelope, ExecutionEvent, NewOrderReq};
use data_layer::ctrader::models::{Deal, DepositWithdraw, Order, Symbol};
use data_layer::ctrader::words::{self, BalanceChange, DealStatus, ExecutionType, OrderStatus, TimeInForce, TradeSide};
use data_layer::ctrader::{VOLUME_UNITS, Wire, millis, moment, money};

/// Written on every order of ours, with the time in force that it was meant to have: a day order waiting for the open and one for the
/// open are the same thing to this broker, and two things to us.
const LABEL: &str = "trademl ";
/// What every id that we give begins with.
const OUR_IDS: &str = "tm1-";
/// Seconds to wait where the server does not say how long.
pub(super) const RETRY_S: u64 = 2;

/// Codes after which nothing was done with an order. After any other the order may exist.
pub(super) const DEFINITE: &[&str] = &[
    "INVALID_REQUEST",
    "UNSUPPORTED_MESSAGE",
    "FRAME_TOO_LONG",
    "MARKET_CLOSED",
    "CH_CLIENT_AUTH_FAILURE",
    "CHANNEL_IS_BLOCKED",
    "SYMBOL_HAS_HOLIDAY",
    "SYMBOL_NOT_FOUND",
    "UNKNOWN_SYMBOL",
    "NO_QUOTES",
    "NOT_ENOUGH_MONEY",
    "MAX_EXPOSURE_REACHED",
    "POSITION_NOT_FOUND",
    "POSITION_NOT_OPEN",
    "POSITION_LOCKED",
    "TOO_MANY_POSITIONS",
    "TRADING_BAD_VOLUME",
    "TRADING_BAD_STOPS",
    "TRADING_BAD_PRICES",
    "TRADING_BAD_STAKE",
    "TRADING_BAD_EXPIRATION_DATE",
    "TRADING_DISABLED",
    "TRADING_NOT_ALLOWED",
    "SHORT_SELLING_NOT_ALLOWED",
];

/// Codes with which the server says that it was asked too often: it did nothing.
pub(super) fn too_often(code: &str) -> bool {
    matches!(code, "REQUEST_FREQUENCY_EXCEEDED" | "BLOCKED_PAYLOAD_TYPE")
}

/// Codes with which the server says that this session may not, or no longer, speak for the account: it did nothing.
pub(super) fn session_is_over(code: &str) -> bool {
    token_is_dead(code) || matches!(code, "ACCOUNT_NOT_AUTHORIZED" | "CH_CLIENT_NOT_AUTHENTICATED")
}

fn tif_word(tif: Tif) -> &'static str {
    match tif {
        Tif::Day => "day",
        Tif::Ioc => "ioc",
        Tif::Fok => "fok",
        Tif::Gtc => "gtc",
        Tif::Opg => "opg",
    }
}

/// The message of an order, or a no that needs no broker. `market_open`: a market order is executed at once, otherwise it waits
/// for the next opening. The time in force is always given.
pub(super) fn new_order(i: &Intent, account: i64, symbol: i64, rules: &Symbol, held: f64, market_open: bool) -> Result<NewOrderReq, No> {
    if !id_fits(&i.client_order_id) {
        return Err(("client_order_id", text!("the broker takes ids of 1 to 50 characters")));
    }
    let sells_short = i.side == Side::Sell && held - i.qty < -1e-9;
    let volume = volume(rules, i.qty, sells_short)?;
    let unsupported = || ("unsupported", text!("cTrader has no {:?} order with the time in force {:?}", i.order_type, i.tif));
    let (kind, tif) = match (i.order_type, i.tif) {
        (OrderType::Market, Tif::Opg) => (words::OrderType::Market, TimeInForce::MarketOnOpen),
        (OrderType::Market, Tif::Day) if market_open => (words::OrderType::Market, TimeInForce::ImmediateOrCancel),
        (OrderType::Market, Tif::Day) => (words::OrderType::Market, TimeInForce::MarketOnOpen),
        (OrderType::Market, Tif::Ioc) => (words::OrderType::Market, TimeInForce::ImmediateOrCancel),
        (OrderType::Market, Tif::Fok) => (words::OrderType::Market, TimeInForce::FillOrKill),
        (OrderType::Limit, Tif::Day) => (words::OrderType::Limit, TimeInForce::GoodTillDate),
        (OrderType::Limit, Tif::Gtc) => (words::OrderType::Limit, TimeInForce::GoodTillCancel),
        (OrderType::Limit, Tif::Ioc) => (words::OrderType::Limit, TimeInForce::ImmediateOrCancel),
        (OrderType::Limit, Tif::Fok) => (words::OrderType::Limit, TimeInForce::FillOrKill),
        (OrderType::Stop, Tif::Day) => (words::OrderType::Stop, TimeInForce::GoodTillDate),
        (OrderType::Stop, Tif::Gtc) => (words::OrderType::Stop, TimeInForce::GoodTillCancel),
        _ => return Err(unsupported()),
    };
    Ok(NewOrderReq {
        account,
        symbol,
        order_type: kind.number(),
        side: if i.side == Side::Buy { TradeSide::Buy } else { TradeSide::Sell }.number(),
        volume,
        limit_price: i.limit_price,
        stop_price: i.stop_price,
        time_in_force: Some(tif.number()),
        expires_ms: (tif == TimeInForce::GoodTillDate).then(|| millis(i.expires_at)),
        comment: None,
        label: Some(format!("{LABEL}{}", tif_word(i.tif))),
        client_order_id: Some(i.client_order_id.clone()),
    })
}

fn side_of(number: i32) -> Option<Side> {
    Some(if TradeSide::of(number)? == TradeSide::Buy { Side::Buy } else { Side::Sell })
}

/// The time in force that an order was meant to have; of an order that is not ours, the nearest of our words.
fn tif_of(o: &Order) -> Option<Tif> {
    let own = o.trade.label.as_deref().and_then(|l| l.strip_prefix(LABEL));
    let all = [Tif::Day, Tif::Ioc, Tif::Fok, Tif::Gtc, Tif::Opg];
    if let Some(tif) = own.and_then(|word| all.into_iter().find(|t| tif_word(*t) == word)) {
        return Some(tif);
    }
    // Absent means the documented default.
    Some(match o.time_in_force.map_or(Some(TimeInForce::ImmediateOrCancel), TimeInForce::of)? {
        TimeInForce::GoodTillDate => Tif::Day,
        TimeInForce::GoodTillCancel => Tif::Gtc,
        TimeInForce::ImmediateOrCancel => Tif::Ioc,
        TimeInForce::FillOrKill => Tif::Fok,
        TimeInForce::MarketOnOpen => Tif::Opg,
    })
}

/// An order as the broker tells it; `None` when something that identifies it is missing or unknown.
pub(super) fn order(o: &Order, symbols: &Symbols) -> Option<BrokerOrder> {
    let order_type = match words::OrderType::of(o.order_type)? {
        words::OrderType::Market | words::OrderType::MarketRange => OrderType::Market,
        words::OrderType::Limit => OrderType::Limit,
        words::OrderType::Stop | words::OrderType::StopLossTakeProfit => OrderType::Stop,
        words::OrderType::StopLimit => OrderType::StopLimit,
    };
    let filled_qty = o.executed_volume.unwrap_or(0) as f64 / VOLUME_UNITS;
    let status = match OrderStatus::of(o.status)? {
        OrderStatus::Accepted if filled_qty > 0.0 => "partially_filled",
        OrderStatus::Accepted => "accepted",
        OrderStatus::Filled => "filled",
        OrderStatus::Rejected => "rejected",
        OrderStatus::Expired => "expired",
        OrderStatus::Cancelled => "canceled",
    };
    let price = |p: Option<f64>| p.filter(|p| p.is_finite() && *p > 0.0);
    if o.id <= 0 || o.trade.symbol <= 0 || o.trade.volume <= 0 {
        return None;
    }
    Some(BrokerOrder {
        id: o.id.to_string(),
        client_order_id: o.client_order_id.clone().unwrap_or_default(),
        symbol: symbols.name(o.trade.symbol),
        side: side_of(o.trade.side)?,
        qty: o.trade.volume as f64 / VOLUME_UNITS,
        order_type,
        tif: tif_of(o)?,
        limit_price: price(o.limit_price).filter(|_| matches!(order_type, OrderType::Limit | OrderType::StopLimit)),
        stop_price: price(o.stop_price).filter(|_| matches!(order_type, OrderType::Stop | OrderType::StopLimit)),
        status: status.into(),
        filled_qty,
        filled_avg_price: price(o.execution_price).filter(|_| filled_qty > 0.0),
        submitted_at: o.trade.opened_ms.and_then(moment),
        updated_at: o.updated_ms.or(o.trade.opened_ms).and_then(moment),
    })
}

/// Whether a deal traded anything.
pub(super) fn executed(d: &Deal) -> bool {
    matches!(DealStatus::of(d.status), Some(DealStatus::Filled | DealStatus::PartiallyFilled)) && d.filled_volume > 0
}

/// The id of an execution. Servers count them from one: only with the account's name is it nobody else's.
fn execution_id(account: &str, d: &Deal) -> String {
    format!("{account}-{}", d.id)
}

/// An execution; `None` when it cannot be read. Its exponent must be the account's.
pub(super) fn fill(d: &Deal, account: &str, symbols: &Symbols, digits: Option<u32>) -> Option<BrokerFill> {
    if d.money_digits.is_some() && digits.is_some() && d.money_digits != digits {
        return None;
    }
    Some(BrokerFill {
        id: execution_id(account, d),
        order_id: d.order.to_string(),
        symbol: symbols.name(d.symbol),
        side: side_of(d.side)?,
        qty: d.filled_volume as f64 / VOLUME_UNITS,
        price: d.price.filter(|p| p.is_finite() && *p > 0.0)?,
        fee: d.commission.zip(d.money_digits.or(digits)).and_then(|(c, digits)| money(c.saturating_abs(), digits)),
        at: moment(d.executed_ms)?,
        kind: FillKind::Fill,
        replaces: None,
    })
}

/// A booking without an order; `None` for a transfer of the owner's own money, which is no event of the book.
pub(super) fn activity(row: &DepositWithdraw, symbols: &Symbols) -> Option<Option<BrokerActivity>> {
    let amount = money(row.delta.saturating_abs(), row.money_digits?)?;
    let (kind, amount) = match BalanceChange::of(row.operation) {
        Some(BalanceChange::Deposit | BalanceChange::DepositTransfer) => (ActivityKind::Transfer, amount),
        Some(BalanceChange::Withdraw | BalanceChange::WithdrawTransfer) => (ActivityKind::Transfer, -amount),
        Some(BalanceChange::DepositDividends) => (ActivityKind::Dividend, amount),
        Some(BalanceChange::WithdrawDividends) => (ActivityKind::Dividend, -amount),
        Some(BalanceChange::DepositSwap) => (ActivityKind::Interest, amount),
        Some(BalanceChange::WithdrawSwap) => (ActivityKind::Interest, -amount),
        None => (ActivityKind::Fee, if row.delta < 0 { -amount } else { amount }),
    };
    let symbol = row.note.as_deref().filter(|n| symbols.id(n).is_ok()).map(str::to_string);
    Some(Some(BrokerActivity { id: format!("cash-{}", row.id), kind, symbol, qty: 0.0, amount, at: moment(row.at_ms)? }))
}

/// An order of a list. One that is not ours and has a kind, a time in force or a state that this version does not know is kept with a state
/// that no specification lists: one stranger's order must not hide the rest.
pub(super) fn listed(o: &Order, symbols: &Symbols) -> Option<BrokerOrder> {
    let ours = o.trade.label.as_deref().is_some_and(|l| l.starts_with(LABEL)) || o.client_order_id.as_deref().is_some_and(|id| id.starts_with(OUR_IDS));
    order(o, symbols).or_else(|| {
        let known = Order {
            order_type: words::OrderType::Market.number(),
            time_in_force: Some(TimeInForce::GoodTillCancel.number()),
            status: OrderStatus::Accepted.number(),
            ..o.clone()
        };
        let kept = order(&known, symbols).filter(|_| !ours)?;
        Some(BrokerOrder { status: format!("unreadable {}/{}/{}", o.order_type, o.time_in_force.unwrap_or_default(), o.status), ..kept })
    })
}

/// The answer to a new order as an outcome. What is not certain is unknown.
pub(super) fn classify(answer: &Envelope, intent: &Intent, symbols: &Symbols) -> Submitted {
    if let Some(event) = ExecutionEvent::unwrapped(answer) {
        return classify_event(&event, intent, symbols);
    }
    match refusal(answer) {
        Some(Failure::Refused { code, text, .. }) if DEFINITE.contains(&code.as_str()) => Submitted::Refused { code, text },
        Some(Failure::Refused { code, .. }) => Submitted::Unknown(text!("the broker answered {code}")),
        _ => Submitted::Unknown(text!("the broker's answer cannot be read")),
    }
}

fn classify_event(event: &ExecutionEvent, intent: &Intent, symbols: &Symbols) -> Submitted {
    let code = event.error_code.clone().filter(|c| !c.is_empty());
    match event.order.as_ref().and_then(|o| order(o, symbols)) {
        Some(order) if !order.matches(intent) => Submitted::Unknown(text!("the broker's answer is about another order")),
        Some(order) if order.status == "rejected" => {
            Submitted::Refused { code: code.unwrap_or_else(|| "ORDER_REJECTED".into()), text: text!("the broker rejected the order") }
        }
        Some(order) => Submitted::Accepted(order),
        None => Submitted::Unknown(text!("the broker's answer cannot be read")),
    }
}

/// An event in the words of the order path; `None` when it cannot be read.
pub(super) fn update(event: &ExecutionEvent, account: &str, symbols: &Symbols) -> Option<TradeUpdate> {
    let order = order(event.order.as_ref()?, symbols)?;
    let name = match ExecutionType::of(event.kind)? {
        ExecutionType::Accepted => "new",
        ExecutionType::Filled => "fill",
        ExecutionType::PartialFill => "partial_fill",
        ExecutionType::Replaced => "replaced",
        ExecutionType::Cancelled => "canceled",
        ExecutionType::Expired => "expired",
        ExecutionType::Rejected => "rejected",
        ExecutionType::CancelRejected => "order_cancel_rejected",
        ExecutionType::Swap | ExecutionType::DepositWithdraw | ExecutionType::BonusDepositWithdraw => return None,
    };
    let deal = event.deal.as_ref().filter(|d| executed(d));
    Some(TradeUpdate {
        event: name.into(),
        execution_id: deal.map(|d| execution_id(account, d)),
        at: deal.and_then(|d| moment(d.executed_ms)).or(order.updated_at),
        qty: deal.map(|d| d.filled_volume as f64 / VOLUME_UNITS),
        price: deal.and_then(|d| d.price),
        order,
    })
}
