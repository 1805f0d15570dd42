//! What the practice broker answers: a function of its state and of who has introduced themselves on this connection.

use super::super::State;
use super::super::book::{self, Book};
use super::super::orders;
use super::oauth;
use super::view::{self, ACCOUNT, Tag};
use crate::calendar::Calendar;
use crate::ctrader::messages as m;
use crate::ctrader::words::{ExecutionType, OrderType, Scope, TimeInForce, TradeSide};
use crate::ctrader::{MAX_CLIENT_ORDER_ID, MAX_SPAN_MS, QUOTE_UNITS, VOLUME_UNITS, Wire, moment};
use crate::error::Result;
use crate::sandbox::keys;
use crate::time::UtcTime;
use serde_json::json;

/// Who has introduced themselves on a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seat {
    pub application: bool,
    pub account: bool,
}

/// What is sent back: messages, and the order whose news this connection has with them.
#[derive(Default)]
pub struct Answer {
    pub messages: Vec<m::Envelope>,
    /// Order and event that need not be told again here.
    pub told: Option<(String, &'static str)>,
}

impl Answer {
    fn one(message: &impl Wire, asked: &m::Envelope) -> Self {
        Self { messages: vec![message.wrapped(asked.client_msg_id.clone())], told: None }
    }
}

/// A refusal in the words of the API.
pub fn refusal(asked: &m::Envelope, code: &str, description: &str) -> m::Envelope {
    let error = m::ErrorRes { account: Some(ACCOUNT), code: code.into(), description: Some(description.into()), ..m::ErrorRes::default() };
    error.wrapped(asked.client_msg_id.clone())
}

fn refused(asked: &m::Envelope, code: &str, description: &str) -> Answer {
    Answer { messages: vec![refusal(asked, code, description)], told: None }
}

fn order_error(asked: &m::Envelope, code: &str, order: Option<i64>, description: &str) -> Answer {
    Answer::one(&m::OrderErrorEvent { account: ACCOUNT, code: code.into(), order, description: Some(description.into()) }, asked)
}

/// Answer one message.
pub fn answer(state: &State, seat: &mut Seat, asked: &m::Envelope) -> Result<Answer> {
    if let Some(done) = introduced(state, seat, asked)? {
        return Ok(done);
    }
    let mut guard = state.book()?;
    let book = guard.as_mut().ok_or_else(super::super::closed)?;
    if let Some(q) = m::NewOrderReq::unwrapped(asked) {
        return place(state, book, asked, &q);
    }
    if let Some(q) = m::CancelOrderReq::unwrapped(asked) {
        return cancel(state, book, asked, &q);
    }
    Ok(match looked_up(state, book, asked)? {
        Some(answer) => answer,
        None => refused(asked, "UNSUPPORTED_MESSAGE", "the sandbox does not know this message"),
    })
}

/// The steps before anything else is answered; `None` once they are done.
fn introduced(state: &State, seat: &mut Seat, asked: &m::Envelope) -> Result<Option<Answer>> {
    if asked.payload_type == m::Heartbeat::PAYLOAD {
        return Ok(Some(Answer::default()));
    }
    if m::VersionReq::unwrapped(asked).is_some() {
        return Ok(Some(Answer::one(&m::VersionRes { version: "91".into() }, asked)));
    }
    if let Some(q) = m::ApplicationAuthReq::unwrapped(asked) {
        if q.client_id != keys::CTRADER_CLIENT_ID || q.client_secret != keys::CTRADER_CLIENT_SECRET {
            return Ok(Some(refused(asked, "CH_CLIENT_AUTH_FAILURE", "clientId or clientSecret is incorrect")));
        }
        seat.application = true;
        return Ok(Some(Answer::one(&m::ApplicationAuthRes {}, asked)));
    }
    if !seat.application {
        return Ok(Some(refused(asked, "CH_CLIENT_NOT_AUTHENTICATED", "the application has not introduced itself")));
    }
    let mut guard = state.book()?;
    let book = guard.as_mut().ok_or_else(super::super::closed)?;
    if let Some(q) = m::RefreshTokenReq::unwrapped(asked) {
        let Some(pair) = oauth::renew(book, state.now(), &q.refresh_token)? else {
            return Ok(Some(refused(asked, "CH_ACCESS_TOKEN_INVALID", "the refresh token is unknown or was used")));
        };
        let renewed = m::RefreshTokenRes { access_token: pair.access, token_type: "bearer".into(), expires_in_s: oauth::LIFE_S, refresh_token: pair.refresh };
        return Ok(Some(Answer::one(&renewed, asked)));
    }
    if let Some(q) = m::AccountListReq::unwrapped(asked) {
        if !oauth::valid(book, state.now(), &q.access_token)? {
            return Ok(Some(refused(asked, "CH_ACCESS_TOKEN_INVALID", "the access token is invalid")));
        }
        let list = m::AccountListRes { access_token: q.access_token, scope: Some(Scope::Trade.number()), accounts: view::accounts() };
        return Ok(Some(Answer::one(&list, asked)));
    }
    if let Some(q) = m::AccountAuthReq::unwrapped(asked) {
        if q.account != ACCOUNT {
            return Ok(Some(refused(asked, "CANT_ROUTE_REQUEST", "this is the demo environment")));
        }
        if !oauth::valid(book, state.now(), &q.access_token)? {
            return Ok(Some(refused(asked, "OA_AUTH_TOKEN_EXPIRED", "the access token is expired or unknown")));
        }
        seat.account = true;
        return Ok(Some(Answer::one(&m::AccountAuthRes { account: ACCOUNT }, asked)));
    }
    Ok((!seat.account).then(|| refused(asked, "ACCOUNT_NOT_AUTHORIZED", "the account has not been authorised on this connection")))
}

/// Rows of a list that lie in `[from, to]`, with whether there are more than fit.
fn page<T>(rows: Vec<(i64, T)>, from_ms: Option<i64>, to_ms: Option<i64>, most: usize) -> (Vec<T>, bool) {
    let inside: Vec<T> = rows.into_iter().filter(|(at, _)| from_ms.is_none_or(|f| *at >= f) && to_ms.is_none_or(|t| *at <= t)).map(|(_, row)| row).collect();
    let more = inside.len() > most;
    // The newest come first when there are too many.
    let skip = inside.len().saturating_sub(most);
    (inside.into_iter().skip(skip).collect(), more)
}

/// Rows of one answer.
const CHUNK: usize = 100;

fn too_wide(from_ms: Option<i64>, to_ms: Option<i64>) -> bool {
    from_ms.zip(to_ms).is_some_and(|(from, to)| to < from || to - from > MAX_SPAN_MS)
}

fn looked_up(state: &State, book: &Book, asked: &m::Envelope) -> Result<Option<Answer>> {
    let (world, now, account) = (&state.world, state.now(), ACCOUNT);
    let wide = || refused(asked, "INCORRECT_BOUNDARIES", "the period is longer than a week");
    Ok(Some(match asked.payload_type {
        m::TraderReq::PAYLOAD => Answer::one(&m::TraderRes { account, trader: view::trader(world, book, now)? }, asked),
        m::AssetListReq::PAYLOAD => {
            let dollar = crate::ctrader::models::Asset { id: view::ASSET, name: "USD".into(), digits: Some(2) };
            Answer::one(&m::AssetListRes { account, assets: vec![dollar] }, asked)
        }
        m::SymbolsListReq::PAYLOAD => Answer::one(&m::SymbolsListRes { account, symbols: view::light_symbols(world, now) }, asked),
        m::SymbolByIdReq::PAYLOAD => {
            let wanted = m::SymbolByIdReq::unwrapped(asked).unwrap_or_default().symbols;
            Answer::one(&m::SymbolByIdRes { account, symbols: wanted.iter().filter_map(|id| view::symbol(world, *id, now)).collect() }, asked)
        }
        m::ReconcileReq::PAYLOAD => {
            let open = orders_with_numbers(state, book)?.into_iter().filter(|(_, o)| o.status == 1).map(|(_, o)| o);
            Answer::one(&m::ReconcileRes { account, positions: view::positions(world, book, now)?, orders: open.collect() }, asked)
        }
        m::PnlReq::PAYLOAD => Answer::one(&m::PnlRes { account, rows: view::pnl(world, book, now)?, money_digits: view::DIGITS }, asked),
        m::OrderListReq::PAYLOAD => {
            let q = m::OrderListReq::unwrapped(asked).unwrap_or_default();
            if too_wide(q.from_ms, q.to_ms) {
                return Ok(Some(wide()));
            }
            let (orders, has_more) = page(orders_with_numbers(state, book)?, q.from_ms, q.to_ms, CHUNK);
            Answer::one(&m::OrderListRes { account, orders, has_more }, asked)
        }
        m::DealListReq::PAYLOAD => {
            let q = m::DealListReq::unwrapped(asked).unwrap_or_default();
            if too_wide(q.from_ms, q.to_ms) {
                return Ok(Some(wide()));
            }
            let most = q.max_rows.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(CHUNK);
            let (deals, has_more) = page(deals(state, book)?, q.from_ms, q.to_ms, most.min(CHUNK));
            Answer::one(&m::DealListRes { account, deals, has_more }, asked)
        }
        m::OrderDetailsReq::PAYLOAD => {
            let number = m::OrderDetailsReq::unwrapped(asked).unwrap_or_default().order;
            let Some(order) = book.by_number(number)? else { return Ok(Some(order_error(asked, "ORDER_NOT_FOUND", Some(number), "order not found"))) };
            let deals = deals(state, book)?.into_iter().map(|(_, d)| d).filter(|d| d.order == number).collect();
            Answer::one(&m::OrderDetailsRes { account, order: view::order(world, book, number, &order)?, deals }, asked)
        }
        m::CashFlowReq::PAYLOAD => {
            let q = m::CashFlowReq::unwrapped(asked).unwrap_or_default();
            if too_wide(Some(q.from_ms), Some(q.to_ms)) {
                return Ok(Some(wide()));
            }
            let rows = view::cash_flow(world, book, now)?.into_iter().filter(|r| (q.from_ms..=q.to_ms).contains(&r.at_ms)).collect();
            Answer::one(&m::CashFlowRes { account, rows }, asked)
        }
        m::SubscribeSpotsReq::PAYLOAD => spots(state, asked),
        m::UnsubscribeSpotsReq::PAYLOAD => Answer::one(&m::UnsubscribeSpotsRes { account }, asked),
        _ => return Ok(None),
    }))
}

/// Orders by number, with the moment of their last change.
fn orders_with_numbers(state: &State, book: &Book) -> Result<Vec<(i64, crate::ctrader::models::Order)>> {
    let all = book.orders(book::Which::All)?;
    let one = |(i, o): (usize, &book::Order)| {
        let order = view::order(&state.world, book, i as i64 + 1, o)?;
        Ok((order.updated_ms.unwrap_or_default(), order))
    };
    all.iter().enumerate().map(one).collect()
}

fn deals(state: &State, book: &Book) -> Result<Vec<(i64, crate::ctrader::models::Deal)>> {
    let all = book.fills()?;
    let one = |(i, f): (usize, &book::Fill)| {
        let deal = view::deal(&state.world, book, i as i64 + 1, f)?;
        Ok((deal.executed_ms, deal))
    };
    all.iter().enumerate().map(one).collect()
}

/// The subscription's answer, and the newest price of each symbol right behind it.
fn spots(state: &State, asked: &m::Envelope) -> Answer {
    let q = m::SubscribeSpotsReq::unwrapped(asked).unwrap_or_default();
    let mut out = Answer::one(&m::SubscribeSpotsRes { account: ACCOUNT }, asked);
    for id in q.symbols {
        let Some(name) = view::symbol_of(&state.world, id) else { return refused(asked, "SYMBOL_NOT_FOUND", "there is no such symbol") };
        let traded = state.world.last_trade(name, state.now());
        let quote = traded.map(|(price, _)| (price * QUOTE_UNITS).round() as u64);
        let at_ms = traded.map(|(_, at)| crate::ctrader::millis(at));
        out.messages.push(m::SpotEvent { account: ACCOUNT, symbol: id, bid: quote, ask: quote, at_ms }.wrapped(None));
    }
    out
}

/// The shares of a volume that the symbol's rules allow.
fn shares(volume: i64) -> Option<f64> {
    ((100..=100_000_000).contains(&volume) && volume % 100 == 0).then(|| volume as f64 / VOLUME_UNITS)
}

/// The book's time in force, or the code of a refusal.
fn lifetime(q: &m::NewOrderReq, now: UtcTime) -> std::result::Result<&'static str, &'static str> {
    let tif = q.time_in_force.map_or(Some(TimeInForce::GoodTillCancel), TimeInForce::of).ok_or("INVALID_REQUEST")?;
    let open = Calendar::xnys().session_at(now).is_some();
    match (OrderType::of(q.order_type), tif) {
        // Nothing ends it but an opening in which the name trades, or somebody who takes it back.
        (Some(OrderType::Market), TimeInForce::MarketOnOpen) => Ok("moo"),
        (Some(OrderType::Market), TimeInForce::ImmediateOrCancel | TimeInForce::FillOrKill) => open.then_some("day").ok_or("MARKET_CLOSED"),
        (Some(OrderType::Limit), TimeInForce::GoodTillCancel) => Ok("gtc"),
        (Some(OrderType::Limit), TimeInForce::GoodTillDate) => {
            q.expires_ms.and_then(moment).filter(|t| *t > now).map(|_| "day").ok_or("TRADING_BAD_EXPIRATION_DATE")
        }
        _ => Err("INVALID_REQUEST"),
    }
}

/// A new order. This broker takes a client order id as often as it is sent: nobody may rely on a refusal.
fn place(state: &State, book: &mut Book, asked: &m::Envelope, q: &m::NewOrderReq) -> Result<Answer> {
    let (world, now) = (&state.world, state.now());
    let bad = |code: &str, text: &str| Ok(order_error(asked, code, None, text));
    let Some(symbol) = view::symbol_of(world, q.symbol) else { return bad("SYMBOL_NOT_FOUND", "there is no such symbol") };
    let Some(side) = TradeSide::of(q.side) else { return bad("INVALID_REQUEST", "there is no such side") };
    let Some(qty) = shares(q.volume) else { return bad("TRADING_BAD_VOLUME", "the volume is not a whole number of steps") };
    let client = q.client_order_id.clone().unwrap_or_default();
    if client.len() > MAX_CLIENT_ORDER_ID {
        return bad("INVALID_REQUEST", "clientOrderId is too long");
    }
    let tif = match lifetime(q, now) {
        Ok(tif) => tif,
        Err(code) => return bad(code, "the order's type, time in force and expiry do not go together now"),
    };
    let limit = q.limit_price.filter(|_| OrderType::of(q.order_type) == Some(OrderType::Limit));
    let body = json!({"symbol": symbol, "side": if side == TradeSide::Buy { "buy" } else { "sell" }, "qty": qty, "type": if limit.is_some() { "limit" } else { "market" },
        "limit_price": limit, "time_in_force": if tif == "moo" { "gtc" } else { tif }, "client_order_id": unused(book, &client)?});
    let order = match orders::prepare(world, book, now, &body)? {
        Ok(order) => book::Order { tif: tif.into(), ..order },
        Err(reply) if reply.status == 403 => return bad("NOT_ENOUGH_MONEY", "not enough funds to allocate margin"),
        Err(reply) => return bad("TRADING_DISABLED", reply.value()["message"].as_str().unwrap_or("refused")),
    };
    let time_in_force = q.time_in_force.unwrap_or(TimeInForce::GoodTillCancel.number());
    let tag = Tag { client_order_id: client, label: q.label.clone(), comment: q.comment.clone(), time_in_force, expires_ms: q.expires_ms };
    let kept = serde_json::to_string(&tag)?;
    state.telling(book, |book| {
        book.write(|tx| {
            book::insert_order(tx, &order)?;
            book::set_meta(tx, &Tag::key(&order.id), &kept)
        })
    })?;
    told(state, book, asked, &order, ExecutionType::Accepted, "new")
}

/// The client id, or one of its own for each time that it comes again: the book's ids are unique.
fn unused(book: &Book, client: &str) -> Result<String> {
    let mut id = client.to_string();
    let mut again = 1;
    while !id.is_empty() && book.by_client_id(&id)?.is_some() {
        again += 1;
        id = format!("{client}#{again}");
    }
    Ok(id)
}

fn cancel(state: &State, book: &mut Book, asked: &m::Envelope, q: &m::CancelOrderReq) -> Result<Answer> {
    let Some(order) = book.by_number(q.order)? else { return Ok(order_error(asked, "ORDER_NOT_FOUND", Some(q.order), "order not found")) };
    if !order.is_open() {
        return Ok(order_error(asked, "UNABLE_TO_CANCEL_ORDER", Some(q.order), "the order is not open"));
    }
    let now = state.now();
    state.telling(book, |book| orders::cancel(book, now, &order.id))?;
    let order = book.by_number(q.order)?.unwrap_or(order);
    told(state, book, asked, &order, ExecutionType::Cancelled, "canceled")
}

fn told(state: &State, book: &Book, asked: &m::Envelope, o: &book::Order, kind: ExecutionType, event: &'static str) -> Result<Answer> {
    let number = book.number_of(&o.id)?.unwrap_or_default();
    let order = Some(view::order(&state.world, book, number, o)?);
    let event_message = m::ExecutionEvent { account: ACCOUNT, kind: kind.number(), order, ..m::ExecutionEvent::default() };
    Ok(Answer { told: Some((o.id.clone(), event)), ..Answer::one(&event_message, asked) })
}
