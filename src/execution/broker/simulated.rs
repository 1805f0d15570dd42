//! A broker inside this program: accepts orders into a persistent book and fills them at the next session's open; those that are sent
//! during a session get its close, since it knows no price between.
//!
//! Its book is rows of `order_reports` with the source `sim_book`; fills are a function of the book, the prices and the
//! time, so a killed process loses nothing and a copied drive sees the same executions.

use super::shadow::exchange_clock;
use super::{ActivityKind, Broker, BrokerAccount, BrokerActivity, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, FillKind, Lookup, Submitted};
use crate::execution::account::{Account, Event, Position};
use crate::execution::order::{Intent, OrderType};
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::store::canonical_json;
use data_layer::time::{TradingDay, UtcTime, new_york};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const BOOK: &str = "sim_book";
/// Positions that a dollar of equity carries overnight: the Federal Reserve's Regulation T.
const LEVERAGE: f64 = 2.0;

impl What {
    /// By what it multiplies shares.
    fn ratio(&self) -> f64 {
        if let Self::Split(ratio) = self { *ratio } else { 1.0 }
    }
}

/// Raw (unadjusted) prices of sessions that are over or running; `None` = no bar.
pub trait PriceSource {
    fn open(&self, symbol: &str, day: TradingDay) -> Option<f64>;
    /// The last close at or before `day`.
    fn last_close(&self, symbol: &str, day: TradingDay) -> Option<f64>;
    /// The lowest and the highest price of a session, where they are recorded.
    fn range(&self, _symbol: &str, _day: TradingDay) -> Option<(f64, f64)> {
        None
    }
    /// The tickers under which companies went on that had this one, and since when: it may have been used again.
    fn renamed(&self, _symbol: &str) -> Vec<(TradingDay, String)> {
        Vec::new()
    }
    /// What happened to a name without an order, by ex-date; changes of its ticker are in [`Self::renamed`].
    fn corporate(&self, _symbol: &str) -> Vec<Corporate> {
        Vec::new()
    }
}

/// A corporate event, at the beginning of its ex-date.
#[derive(Clone, Debug, PartialEq)]
pub struct Corporate {
    pub ex_date: TradingDay,
    pub what: What,
}

/// What it does to each share.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// New shares over old.
    Split(f64),
    /// Dollars, credited on the ex-date: the price falls by as much that day.
    Dividend(f64),
    /// Dollars for which all shares leave: a merger, a delisting at the last price, or nothing.
    Removal(f64),
    /// The shares go on under this ticker.
    Rename(String),
}

/// A simulated account; its name begins with `SIM`.
pub struct SimulatedBroker<'a> {
    db: &'a Db,
    prices: &'a dyn PriceSource,
    account: String,
    start_cash: f64,
    /// Cost of one side in basis points of the notional, booked as a fee.
    cost_bps: f64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    account: String,
    order: BrokerOrder,
    canceled_at: Option<UtcTime>,
    /// Of one side, as it was in force when the order came in: a cost that is accepted later changes no execution of before. None in rows
    /// from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_bps: Option<f64>,
}

/// What one side cost in rows that do not say.
const EARLIER_COST_BPS: f64 = 6.0;

impl<'a> SimulatedBroker<'a> {
    /// `cost_bps_round_trip` is split evenly over the two sides, and charged to orders that come in from now on.
    pub fn new(db: &'a Db, prices: &'a dyn PriceSource, account: &str, start_cash: f64, cost_bps_round_trip: f64) -> Result<Self> {
        if !account.starts_with("SIM") || !(start_cash > 0.0 && cost_bps_round_trip >= 0.0) {
            return Err(Error::new(code::CFG_VALUE, "a simulated account needs a name that begins with SIM, cash and a cost of at least 0 bps"));
        }
        Ok(Self { db, prices, account: account.to_string(), start_cash, cost_bps: cost_bps_round_trip / 2.0 })
    }

    fn now(&self) -> UtcTime {
        self.db.root().host().now()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let conn = self.db.lock()?;
        let mut q = conn.prepare("SELECT body_json FROM order_reports WHERE source = ?1 ORDER BY received_at, report_id")?;
        let bodies = q.query_map([BOOK], |r| r.get::<_, String>(0))?.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut out = Vec::new();
        for body in bodies {
            let entry: Entry = serde_json::from_str(&body)?;
            if entry.account == self.account {
                out.push(entry);
            }
        }
        Ok(out)
    }

    /// The one session that an order lives in: the one that it was sent during, else the next.
    fn session(&self, submitted: UtcTime) -> Result<TradingDay> {
        let calendar = Calendar::xnys();
        calendar.session_at(submitted).map_or_else(|| calendar.next(calendar.last_closed(submitted)?), Ok)
    }

    /// Its session's opening price, up to now. The opening is over for an order that was sent after it: that one gets the close.
    fn execution(&self, e: &Entry) -> Result<Option<(UtcTime, f64)>> {
        let Some(submitted) = e.order.submitted_at else { return Ok(None) };
        let (calendar, symbol, session) = (Calendar::xnys(), &e.order.symbol, self.session(submitted)?);
        let opening = self.prices.open(symbol, session);
        let (at, price) = match calendar.open(session) {
            open if submitted < open => (open, opening),
            // The last close is this session's only where it has a bar.
            _ => (calendar.close(session), opening.and_then(|_| self.prices.last_close(symbol, session))),
        };
        if at > self.now() || e.canceled_at.is_some_and(|canceled| canceled < at) {
            return Ok(None);
        }
        Ok(price.filter(|p| self.would_fill(&e.order, *p)).map(|price| (at, price)))
    }

    /// Market orders fill at any price; a limit order only where the price is through its limit.
    fn would_fill(&self, order: &BrokerOrder, price: f64) -> bool {
        if order.order_type == OrderType::Market {
            return price.is_finite() && price > 0.0;
        }
        order.limit_price.is_some_and(|limit| order.side.sign() * (limit - price) > 0.0) && order.stop_price.is_none()
    }

    fn present(&self, e: &Entry) -> Result<BrokerOrder> {
        let mut order = e.order.clone();
        if let Some((at, price)) = self.execution(e)? {
            (order.status, order.filled_qty, order.filled_avg_price, order.updated_at) = ("filled".into(), order.qty, Some(price), Some(at));
        } else if let Some(at) = e.canceled_at {
            (order.status, order.updated_at) = ("canceled".into(), Some(at));
        } else if let Some(submitted) = order.submitted_at {
            let close = Calendar::xnys().close(self.session(submitted)?);
            if self.now() >= close {
                (order.status, order.updated_at) = ("expired".into(), Some(close));
            }
        }
        Ok(order)
    }

    /// The account's ledger, marked at the last closes, and what was booked without an order.
    fn ledger(&self) -> Result<(Account, Vec<BrokerActivity>)> {
        let (day, today) = (Calendar::xnys().last_closed(self.now())?, self.now().day_in(&new_york()));
        let mut ledger = Account::opened(day, self.start_cash)?;
        let (fills, mut booked) = (self.fills_since(None)?, Vec::new());
        let symbols = self.names_of(&fills);
        let mut events: Vec<(TradingDay, &String, What)> =
            symbols.iter().flat_map(|s| self.prices.corporate(s).into_iter().map(move |c| (c.ex_date, s, c.what))).collect();
        events.extend(symbols.iter().flat_map(|s| self.prices.renamed(s).into_iter().map(move |(day, to)| (day, s, What::Rename(to)))));
        events.retain(|e| e.0 <= today);
        // A new name's events of the same day are about the shares that came with it.
        events.sort_by_key(|e| (e.0, !matches!(e.2, What::Rename(_)), e.1));
        let mut events = events.into_iter().peekable();
        for f in &fills {
            let on = f.at.day_in(&new_york());
            while let Some(event) = events.next_if(|e| e.0 <= on) {
                self.befall(&mut ledger, event, &mut booked)?;
            }
            let fee = f.fee.unwrap_or(0.0);
            ledger.apply(on, Event::Fill { symbol: f.symbol.clone(), side: f.side, qty: f.qty, price: f.price, fee })?;
        }
        events.try_for_each(|event| self.befall(&mut ledger, event, &mut booked))?;
        for symbol in ledger.positions().keys().cloned().collect::<Vec<_>>() {
            let price = self.prices.last_close(&symbol, day);
            let price = price.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{symbol} is held and has no close at or before {day}")))?;
            // On the morning of a split the last close is of the old shares.
            let split: f64 = self.prices.corporate(&symbol).iter().filter(|c| c.ex_date > day && c.ex_date <= today).map(|c| c.what.ratio()).product();
            ledger.mark(day.max(today), &symbol, price / split)?;
        }
        Ok((ledger, booked))
    }

    /// Every name that was traded, and those under which they go on.
    fn names_of(&self, fills: &[BrokerFill]) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = fills.iter().map(|f| f.symbol.clone()).collect();
        let mut next: Vec<String> = names.iter().cloned().collect();
        while let Some(name) = next.pop() {
            next.extend(self.prices.renamed(&name).into_iter().map(|(_, to)| to).filter(|to| names.insert(to.clone())));
        }
        names
    }

    fn befall(&self, ledger: &mut Account, (day, name, what): (TradingDay, &String, What), booked: &mut Vec<BrokerActivity>) -> Result<()> {
        let (held, symbol) = (ledger.qty(name), name.clone());
        if held == 0.0 {
            return Ok(());
        }
        let (kind, qty, per_share) = match what {
            What::Split(ratio) => return ledger.apply(day, Event::Split { symbol, ratio }),
            What::Rename(to) => return ledger.apply(day, Event::Rename { symbol, to }),
            What::Dividend(per_share) => (ActivityKind::Dividend, held, per_share),
            What::Removal(per_share) => (ActivityKind::Removal, -held, per_share),
        };
        booked.push(BrokerActivity {
            id: format!("sim-{}-{name}-{day}", kind.as_str()),
            kind,
            symbol: Some(symbol.clone()),
            qty,
            amount: held * per_share,
            at: UtcTime::midnight_in(&new_york(), day),
        });
        let event = if kind == ActivityKind::Dividend { Event::Dividend { symbol, per_share } } else { Event::Removal { symbol, per_share } };
        ledger.apply(day, event)
    }

    /// What open orders would add to positions, in dollars at the last closes.
    fn reserved(&self, ledger: &Account) -> Result<f64> {
        let (day, mut held, mut out) = (Calendar::xnys().last_closed(self.now())?, ledger.quantities(), 0.0);
        for order in self.open_orders()? {
            let qty = held.entry(order.symbol.clone()).or_default();
            let after = *qty + order.side.sign() * order.qty;
            out += (after.abs() - qty.abs()).max(0.0) * self.prices.last_close(&order.symbol, day).unwrap_or(0.0);
            *qty = after;
        }
        Ok(out)
    }

    fn accept(&self, intent: &Intent) -> Result<Submitted> {
        let now = self.now();
        let order = BrokerOrder::accepted(intent, format!("sim-{}", &intent.client_order_id), Some(now));
        if self.prices.last_close(&intent.symbol, Calendar::xnys().last_closed(now)?).is_none() {
            return Ok(Submitted::Refused { code: "40010001".into(), text: text!("asset \"{}\" not found", intent.symbol) });
        }
        let entry = Entry { account: self.account.clone(), order: order.clone(), canceled_at: None, cost_bps: Some(self.cost_bps) };
        let inserted = self.db.write(|tx| {
            Ok(tx.execute(
                "INSERT OR IGNORE INTO order_reports (source, report_id, order_id, broker_ts, status, body_json, received_at) VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?3)",
                params![BOOK, intent.client_order_id, now.to_string(), "accepted", canonical_json(&entry)?],
            )?)
        })?;
        Ok(if inserted == 1 { Submitted::Accepted(order) } else { Submitted::Duplicate })
    }
}

impl Broker for SimulatedBroker<'_> {
    fn name(&self) -> &'static str {
        "simulated"
    }
    fn refuses_duplicates(&self) -> bool {
        true
    }
    fn fills_within_session(&self) -> bool {
        false
    }
    /// This market stands still between its open and its close: the last price that it knows is the price of now.
    fn last_price(&self, symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        let (calendar, now) = (Calendar::xnys(), self.now());
        let opened = calendar.session_at(now).and_then(|today| self.prices.open(symbol, today));
        let price = opened.map_or_else(|| calendar.last_closed(now).map(|day| self.prices.last_close(symbol, day)), |open| Ok(Some(open)))?;
        Ok(price.map(|price| (price, now)))
    }
    fn account(&self) -> Result<BrokerAccount> {
        let (ledger, _) = self.ledger()?;
        let (cash, equity) = (ledger.cash(), ledger.equity());
        let (gross, _) = ledger.exposure();
        let reserved = self.reserved(&ledger)?;
        let (account, currency, status) = (self.account.clone(), "USD".to_string(), "ACTIVE".to_string());
        Ok(BrokerAccount { account, equity, cash, buying_power: (LEVERAGE * equity - gross - reserved).max(0.0), currency, status, blocked: false })
    }
    fn clock(&self) -> Result<BrokerClock> {
        exchange_clock(self.now())
    }
    fn submit(&self, intent: &Intent) -> Submitted {
        self.accept(intent).unwrap_or_else(|e| Submitted::Unknown(e.to_string()))
    }
    fn find_by_client_id(&self, client_order_id: &str) -> Lookup {
        let found = self.entries().and_then(|all| all.iter().find(|e| e.order.client_order_id == client_order_id).map(|e| self.present(e)).transpose());
        match found {
            Ok(Some(order)) => Lookup::Found(order),
            Ok(None) => Lookup::NotFound,
            Err(e) => Lookup::Unknown(e.to_string()),
        }
    }
    fn cancel(&self, broker_order_id: &str) -> Result<()> {
        let now = self.now();
        self.db.write(|tx| {
            let id = broker_order_id.trim_start_matches("sim-");
            let body: Option<String> =
                tx.query_row("SELECT body_json FROM order_reports WHERE source = ?1 AND report_id = ?2", [BOOK, id], |r| r.get(0)).optional()?;
            let Some(body) = body else { return Err(Error::new(code::ORD_REFUSED, "the simulated broker has no such order")) };
            let mut entry: Entry = serde_json::from_str(&body)?;
            entry.canceled_at = entry.canceled_at.or(Some(now));
            tx.execute("UPDATE order_reports SET body_json = ?1 WHERE source = ?2 AND report_id = ?3", params![canonical_json(&entry)?, BOOK, id])?;
            Ok(())
        })
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>> {
        let all = self.entries()?.iter().map(|e| self.present(e)).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().filter(BrokerOrder::is_open).collect())
    }
    fn orders_since(&self, after: UtcTime) -> Result<Vec<BrokerOrder>> {
        self.entries()?.iter().filter(|e| e.order.submitted_at > Some(after)).map(|e| self.present(e)).collect()
    }
    fn fills_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerFill>> {
        let mut out = Vec::new();
        for e in self.entries()? {
            let Some((at, price)) = self.execution(&e)? else { continue };
            if after.is_some_and(|t| at < t) {
                continue;
            }
            let fee = e.order.qty * price * e.cost_bps.unwrap_or(EARLIER_COST_BPS) / 1e4;
            out.push(BrokerFill {
                id: format!("simfill-{}", e.order.client_order_id),
                order_id: e.order.id.clone(),
                symbol: e.order.symbol.clone(),
                side: e.order.side,
                qty: e.order.qty,
                price,
                fee: Some(fee),
                at,
                kind: FillKind::Fill,
                replaces: None,
            });
        }
        out.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Ok(out)
    }
    fn activities_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerActivity>> {
        let mut all = self.ledger()?.1;
        all.retain(|a| after.is_none_or(|t| a.at >= t));
        Ok(all)
    }
    fn positions(&self) -> Result<Vec<BrokerPosition>> {
        let (ledger, _) = self.ledger()?;
        let position = |(symbol, p): (&String, &Position)| BrokerPosition {
            symbol: symbol.clone(),
            qty: p.qty,
            avg_price: p.average_price,
            price: ledger.mark_of(symbol).map(|m| m.1),
        };
        Ok(ledger.positions().iter().map(position).collect())
    }
}
