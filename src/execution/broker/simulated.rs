//! A broker inside this program: accepts orders into a persistent book and fills them at the next session's open; those that are sent
//! during a session get its close, since it knows no price between.
//!
//! Its book is rows of `order_reports` with the source `sim_book`; fills are a function of the book, the prices and the
//! time, so a killed process loses nothing and a copied drive sees the same executions.

use super::shadow::exchange_clock;
use super::{ActivityKind, Broker, BrokerAccount, BrokerActivity, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, FillKind, Lookup, Submitted};
use crate::execution::account::{Account, Event, Position};
use crate::execution::order::{Intent, OrderType};
use crate::types::SESSIONS_PER_YEAR;
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::store::canonical_json;
use data_layer::time::{DateRange, TradingDay, UtcTime, new_york};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    /// What lending a share of it costs now, in basis points of its value a year.
    fn borrow_bps_per_year(&self, _symbol: &str) -> f64 {
        0.0
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
    /// What is short by this order costs a year, as it was then; none where nothing is asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    borrow_bps: Option<f64>,
}

/// What moves the account, in the order of a day: events come before its trades, the night comes after them.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A new name's events are about the shares that came with it.
    Renamed(String, String),
    Befell(String, What),
    Traded(BrokerFill, f64),
    /// Of the one name, from its close to the next open.
    Lent(String),
}

impl Step {
    fn rank(&self) -> u8 {
        match self {
            Self::Renamed(..) => 0,
            Self::Befell(..) => 1,
            Self::Traded(..) => 2,
            Self::Lent(_) => 3,
        }
    }
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
        let (mut booked, mut lent_at) = (Vec::new(), BTreeMap::new());
        for (day, step) in self.steps(day, today)? {
            self.take(&mut ledger, day, step, &mut lent_at, &mut booked)?;
        }
        for symbol in ledger.positions().keys().cloned().collect::<Vec<_>>() {
            let price = self.prices.last_close(&symbol, day);
            let price = price.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{symbol} is held and has no close at or before {day}")))?;
            // On the morning of a split the last close is of the old shares.
            let split: f64 = self.prices.corporate(&symbol).iter().filter(|c| c.ex_date > day && c.ex_date <= today).map(|c| c.what.ratio()).product();
            ledger.mark(day.max(today), &symbol, price / split)?;
        }
        Ok((ledger, booked))
    }

    /// Everything that moved the account up to now, in order. Nights are counted only where an order was taken in that pays for them.
    fn steps(&self, closed: TradingDay, today: TradingDay) -> Result<Vec<(TradingDay, Step)>> {
        let entries = self.entries()?;
        let mut out: Vec<(TradingDay, Step)> = Vec::new();
        for (fill, borrow) in self.executions(&entries)? {
            out.push((fill.at.day_in(&new_york()), Step::Traded(fill, borrow)));
        }
        let first = out.first().map_or(closed, |(day, _)| *day);
        // No night is over in the first session.
        let nights = if entries.iter().any(|e| e.borrow_bps.is_some()) && first <= closed {
            Calendar::xnys().sessions(DateRange::new(first, closed.plus_days(1))?)
        } else {
            &[]
        };
        for name in self.names_of(&out) {
            out.extend(self.prices.corporate(&name).into_iter().map(|c| (c.ex_date, Step::Befell(name.clone(), c.what))));
            out.extend(self.prices.renamed(&name).into_iter().map(|(day, to)| (day, Step::Renamed(name.clone(), to))));
            out.extend(nights.iter().map(|day| (*day, Step::Lent(name.clone()))));
        }
        out.retain(|(day, _)| *day <= today);
        // Names in order, trades as they happened.
        out.sort_by_key(|a| (a.0, a.1.rank()));
        Ok(out)
    }

    fn take(&self, ledger: &mut Account, day: TradingDay, step: Step, rates: &mut BTreeMap<String, f64>, booked: &mut Vec<BrokerActivity>) -> Result<()> {
        match step {
            Step::Traded(f, borrow) => {
                rates.insert(f.symbol.clone(), borrow);
                ledger.apply(day, Event::Fill { fee: f.fee.unwrap_or(0.0), symbol: f.symbol, side: f.side, qty: f.qty, price: f.price })
            }
            Step::Renamed(symbol, to) if ledger.qty(&symbol) != 0.0 => {
                let rate = rates.get(&symbol).copied().unwrap_or(0.0);
                rates.insert(to.clone(), rate);
                ledger.apply(day, Event::Rename { symbol, to })
            }
            Step::Befell(name, what) => self.befall(ledger, (day, &name, what), booked),
            Step::Lent(symbol) => {
                let (short, rate) = (-ledger.qty(&symbol), rates.get(&symbol).copied().unwrap_or(0.0));
                let close = self.prices.last_close(&symbol, day).unwrap_or(0.0);
                let amount = short * close * rate / 1e4 / SESSIONS_PER_YEAR;
                if short <= 0.0 || amount <= 0.0 {
                    return Ok(());
                }
                let (id, at) = (format!("sim-borrow-{symbol}-{day}"), Calendar::xnys().close(day));
                booked.push(BrokerActivity { id, kind: ActivityKind::Borrow, symbol: Some(symbol.clone()), qty: -short, amount: -amount, at });
                ledger.apply(day, Event::Borrow { symbol, amount })
            }
            Step::Renamed(..) => Ok(()),
        }
    }

    /// Every name that was traded, and those under which they go on.
    fn names_of(&self, steps: &[(TradingDay, Step)]) -> BTreeSet<String> {
        let traded = |(_, step): &(TradingDay, Step)| if let Step::Traded(f, _) = step { Some(f.symbol.clone()) } else { None };
        let mut names: BTreeSet<String> = steps.iter().filter_map(traded).collect();
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

    /// What the book's orders were filled at, oldest first, each with what a share that it sells short costs a year.
    fn executions(&self, entries: &[Entry]) -> Result<Vec<(BrokerFill, f64)>> {
        let mut out = Vec::new();
        for e in entries {
            let Some((at, price)) = self.execution(e)? else { continue };
            let fill = BrokerFill {
                id: format!("simfill-{}", e.order.client_order_id),
                order_id: e.order.id.clone(),
                symbol: e.order.symbol.clone(),
                side: e.order.side,
                qty: e.order.qty,
                price,
                fee: Some(e.order.qty * price * e.cost_bps.unwrap_or(EARLIER_COST_BPS) / 1e4),
                at,
                kind: FillKind::Fill,
                replaces: None,
            };
            out.push((fill, e.borrow_bps.unwrap_or(0.0)));
        }
        out.sort_by(|a, b| (a.0.at, &a.0.id).cmp(&(b.0.at, &b.0.id)));
        Ok(out)
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
        let borrow_bps = Some(self.prices.borrow_bps_per_year(&intent.symbol)).filter(|bps| *bps > 0.0);
        let entry = Entry { account: self.account.clone(), order: order.clone(), canceled_at: None, cost_bps: Some(self.cost_bps), borrow_bps };
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
        let all = self.executions(&self.entries()?)?;
        Ok(all.into_iter().map(|(fill, _)| fill).filter(|f| after.is_none_or(|t| f.at >= t)).collect())
    }
    /// All of them, whatever is asked for: an event that the reference data learn late is booked on its own day, long before.
    fn activities_since(&self, _after: Option<UtcTime>) -> Result<Vec<BrokerActivity>> {
        Ok(self.ledger()?.1)
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
