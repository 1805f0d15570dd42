//! Sending a pinned set through the gates, and settling it after the session.

use super::PaperDay;
use super::slices::Turn;
use crate::execution::account;
use crate::execution::broker::BrokerOrder;
use crate::execution::gates::{self, Gate, GateContext, Mode, Verdict};
use crate::execution::log::OrderRow;
use crate::execution::order::OrderSet;
use crate::execution::positions;
use crate::execution::quarantine::quarantined;
use crate::execution::reconcile::ReconcileReport;
use crate::execution::risk;
use crate::execution::state::{is_unknown, name};
use crate::execution::submit::{Outcome, REPLACE, Sender, outcome_of};
use crate::execution::switches::{self, Switch, SwitchState, TripReason};
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Result, code};
use data_layer::time::{DateRange, UtcTime, new_york};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How one line stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineResult {
    pub client_order_id: String,
    pub symbol: String,
    pub state: String,
    /// Why it was refused or is waiting; empty otherwise.
    pub why: String,
}

/// How a set stands after sending.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct SubmitReport {
    pub planned: usize,
    /// At the broker, filled or not.
    pub sent: usize,
    pub filled: usize,
    /// By the broker or by our gates.
    pub refused: usize,
    pub unknown: usize,
    /// Increases that wait for the reductions which fund them, and lines that could not be judged yet.
    pub waiting: usize,
    pub lines: Vec<LineResult>,
}

/// The state after a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettleReport {
    pub reconcile: ReconcileReport,
    pub orders: SubmitReport,
    pub at: UtcTime,
    pub equity: f64,
    pub cash: f64,
    /// The strategy's own positions, signed shares.
    pub positions: BTreeMap<String, f64>,
    pub expired: Vec<String>,
    pub snapshot: bool,
}

/// What is read once per sending run: fills only come in through a reconcile, so the journal's positions stand still.
struct Session {
    /// `Err` = why the broker could not be compared with the journal: reductions go on.
    reconciled: Result<(), String>,
    newest_stamp: Option<UtcTime>,
    all_positions: BTreeMap<String, f64>,
}

/// What is read afresh for every line.
struct Desk {
    /// Filled by orders of ours, and not yet in the journal's positions.
    unbooked: BTreeMap<String, f64>,
    /// What the broker's positions are worth a share, by the broker: names that no plan of ours has a price for.
    marks: BTreeMap<String, f64>,
    readable: Result<(), String>,
    broker_now: Option<UtcTime>,
    kill: SwitchState,
    breaker: SwitchState,
    quarantined: BTreeMap<String, String>,
    broker_positions: Option<BTreeMap<String, f64>>,
    foreign: Vec<BrokerOrder>,
    open: Vec<OrderRow>,
}

impl PaperDay<'_> {
    /// Send every line that may be sent. Safe to call again after any crash: what was sent is asked for, not repeated.
    pub fn submit_all(&self, run_key: &str) -> Result<SubmitReport> {
        let set = self.require_set(run_key)?;
        // Nobody is asked for words about nothing, and so there are none to be found in the morning.
        if set.lines.is_empty() {
            return Ok(SubmitReport::default());
        }
        self.require_consent(&set)?;
        let session = Session {
            reconciled: match self.reconcile(&set.account) {
                Ok(_) => Ok(()),
                Err(e) if e.is(code::BUG_CRASH_POINT) => return Err(e),
                Err(e) => Err(e.body().what.clone()),
            },
            newest_stamp: self.log().newest_stamp(&set.account)?,
            all_positions: positions::ledger(&self.log(), &set.account)?.per_symbol(),
        };
        let again = |row: &OrderRow| match self.judge(&set, row, &session, &self.desk(&set)?)? {
            Verdict::Send { .. } => Ok(None),
            Verdict::Refused(r) => Ok(Some(r.why)),
            Verdict::Stored | Verdict::Halt => Ok(Some("another order stands under its id".into())),
        };
        let sender = Sender { host: &self.host, log: self.log(), broker: self.broker, again: &again };
        let mut errors_in_row = 0;
        let mut waiting: BTreeMap<String, String> = BTreeMap::new();
        for line in &set.lines {
            let id = line.client_order_id.as_str();
            let Some(row) = self.log().order(id)? else { continue };
            let outcome = if row.state == name::PLANNED && self.closes_first(&set, &row)? {
                waiting.insert(id.to_string(), text!("the order that closes {} has to fill first", row.intent.symbol));
                None
            } else if row.state == name::PLANNED && !self.has_turn(&set, &row, &mut waiting)? {
                None
            } else if row.state == name::PLANNED {
                let desk = self.desk(&set)?;
                match self.judge(&set, &row, &session, &desk)? {
                    Verdict::Send { .. } => Some(sender.send(id)?),
                    Verdict::Refused(r) => {
                        self.refuse(&set, &row, &r, &mut waiting)?;
                        None
                    }
                    Verdict::Stored | Verdict::Halt => None,
                }
            } else if is_unknown(&row.state) {
                Some(sender.resolve(id)?)
            } else {
                None
            };
            match outcome {
                Some(Outcome::Unknown { .. }) => errors_in_row += 1,
                Some(_) => errors_in_row = 0,
                None => {}
            }
            if errors_in_row >= self.config.limits.broker_errors_in_row {
                let detail = text!("{errors_in_row} orders in a row have no known outcome");
                switches::trip(self.db, &set.account, TripReason::BrokerErrors, &detail, self.host.now())?;
                break;
            }
        }
        self.submit_report(&set, &waiting)
    }

    /// Whether this line opens a position whose opposite is still being closed by a line of the same set.
    fn closes_first(&self, set: &OrderSet, row: &OrderRow) -> Result<bool> {
        let twins = set.lines.iter().filter(|l| l.reduce_only && l.symbol == row.intent.symbol && l.client_order_id != row.id());
        for twin in twins {
            if !row.intent.reduce_only && self.log().order(&twin.client_order_id)?.is_some_and(|o| !o.is_closed()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a planned order may go now, as far as its slice is concerned. One whose day is over is dropped.
    fn has_turn(&self, set: &OrderSet, row: &OrderRow, waiting: &mut BTreeMap<String, String>) -> Result<bool> {
        match self.turn(set, row)? {
            Turn::Now => return Ok(true),
            Turn::Later(why) => drop(waiting.insert(row.id().to_string(), why)),
            Turn::Never => drop(self.log().mark(row.id(), name::DROPPED, Some(("late", "the last moment of its schedule has passed")), self.host.now())?),
        }
        Ok(false)
    }

    fn desk(&self, set: &OrderSet) -> Result<Desk> {
        let clock = self.broker_clock();
        let held = self.broker.positions().ok();
        let marks = held.iter().flatten().filter_map(|p| Some((p.symbol.clone(), p.price?))).collect();
        let held = held.map(|all| all.into_iter().map(|p| (p.symbol, p.qty)).collect());
        let at_broker = self.broker.open_orders();
        let open = self.log().open_orders(&set.account)?;
        // Without the list of open orders nothing can be called a reduction.
        let broker_positions = if at_broker.is_ok() { held } else { None };
        let own: BTreeSet<&str> = open.iter().map(OrderRow::id).collect();
        let foreign = at_broker.unwrap_or_default().into_iter().filter(|o| !own.contains(o.client_order_id.as_str())).collect();
        Ok(Desk {
            unbooked: self.log().unbooked(&set.account, set.trading_day.plus_days(-10))?,
            marks,
            readable: readable(self.db, &self.config.limits),
            broker_now: clock.ok().map(|c| c.now),
            kill: switches::read(self.db, Switch::Kill, &set.account),
            breaker: switches::read(self.db, Switch::Breaker, &set.account),
            quarantined: quarantined(self.db)?,
            broker_positions,
            foreign,
            open,
        })
    }

    /// What the broker leaves for new positions, or why nobody knows.
    fn free_usd(&self) -> Result<f64, String> {
        match self.broker.account() {
            Ok(account) if account.blocked => Err(text!("the broker does not let the account {} trade: {}", account.account, account.status)),
            Ok(account) if account.buying_power.is_finite() => Ok(account.buying_power),
            Ok(_) => Err("the broker names no buying power".into()),
            Err(e) => Err(text!("the account could not be read: {}", e.body().what)),
        }
    }

    fn judge(&self, set: &OrderSet, row: &OrderRow, session: &Session, desk: &Desk) -> Result<Verdict> {
        let intent = &row.intent;
        // An order and its replacement never both live on: the new one stands for both.
        let instead_of = intent.parent.as_deref().filter(|_| intent.style == REPLACE);
        let freed: f64 = desk.open.iter().filter(|o| Some(o.id()) == instead_of).map(|o| o.remaining() * o.intent.reference_price).sum();
        let others: Vec<OrderRow> = desk.open.iter().filter(|o| o.id() != row.id() && Some(o.id()) != instead_of).cloned().collect();
        let own_side: f64 = others.iter().filter(|o| o.intent.symbol == intent.symbol && o.intent.side == intent.side).map(OrderRow::remaining).sum();
        let foreign_side: f64 =
            desk.foreign.iter().filter(|o| o.symbol == intent.symbol && o.side == intent.side).map(|o| (o.qty - o.filled_qty).max(0.0)).sum();
        let reference = set.pins.prices.get(&intent.symbol);
        let mut prices: BTreeMap<String, f64> = set.pins.prices.iter().map(|(s, r)| (s.clone(), r.price)).collect();
        let mut price_age_s = reference.map(|r| open_seconds_between(r.at, self.host.now()));
        if price_age_s.is_some_and(|age| age > self.config.limits.price_age_s)
            && let Ok(Some((price, at))) = self.broker.last_price(&intent.symbol)
        {
            // The close that was planned on has aged: the worst case is measured at what the market says now. Where it says nothing, the
            // age is what refuses this line, and the others go on.
            prices.insert(intent.symbol.clone(), price);
            price_age_s = Some(open_seconds_between(at, self.host.now()));
        }
        for (symbol, mark) in &desk.marks {
            prices.entry(symbol.clone()).or_insert(*mark);
        }
        let mut held = session.all_positions.clone();
        for (symbol, filled) in &desk.unbooked {
            *held.entry(symbol.clone()).or_insert(0.0) += filled;
        }
        let lines = risk::lines(&held, &others);
        let broker_position = desk.broker_positions.as_ref().map(|p| p.get(&intent.symbol).copied().unwrap_or(0.0));
        // A reduction is judged without it, so that question is saved.
        let reduces = gates::reduces(intent, broker_position, own_side + foreign_side);
        let free_usd = if reduces { Ok(0.0) } else { self.free_usd().map(|free| free + freed) };
        Ok(gates::check(&GateContext {
            intent,
            mode: self.config.mode,
            live_consent: None,
            readable: desk.readable.clone(),
            local_now: self.host.now(),
            broker_now: desk.broker_now,
            clock_is_simulated: self.host.clock_is_simulated(),
            newest_stamp: session.newest_stamp,
            stored: None,
            broker_position,
            open_same_side: own_side + foreign_side,
            kill: &desk.kill,
            breaker: &desk.breaker,
            quarantined: desk.quarantined.contains_key(&intent.symbol),
            reconciled: session.reconciled.clone(),
            tradable: reference.map(|r| r.tradable),
            session_allows: self.host.now() < intent.expires_at,
            price_age_s,
            adv_shares: reference.and_then(|r| r.adv_shares),
            lines: &lines,
            prices: &prices,
            equity: set.equity,
            free_usd,
            limits: &self.config.limits,
            // One that is sent again was counted when it was sent first.
            orders_today: u32::try_from(self.sent_today(set)? - i64::from(is_unknown(&row.state))).unwrap_or(u32::MAX),
            // A rebalance may send its own lines; single orders of the same day count against the same ceiling.
            orders_allowed: self.config.limits.single_orders_a_day.max(u32::try_from(set.lines.len()).unwrap_or(u32::MAX)),
            unknown_in_symbol: others.iter().any(|o| o.intent.symbol == intent.symbol && is_unknown(&o.state)),
        }))
    }

    /// Orders of the strategy's day that left this machine, from the journal.
    fn sent_today(&self, set: &OrderSet) -> Result<i64> {
        Ok(self.db.lock()?.query_row(
            "SELECT count(*) FROM orders WHERE account = ?1 AND strategy_tag = ?2 AND trading_day = ?3 AND state NOT IN ('planned', 'dry_run', 'dropped', \
             'blocked_kill_switch', 'blocked_circuit_breaker')",
            params![set.account, set.strategy, set.trading_day.to_string()],
            |r| r.get(0),
        )?)
    }

    fn refuse(&self, set: &OrderSet, row: &OrderRow, refusal: &gates::Refusal, waiting: &mut BTreeMap<String, String>) -> Result<()> {
        let funding_open = set.lines.iter().any(|l| l.reduce_only && self.log().order(&l.client_order_id).ok().flatten().is_some_and(|o| !o.is_closed()));
        // The room may still come: an increase waits for the reductions of its own set.
        let waits = refusal.gate == Gate::RiskLimits && !row.intent.reduce_only && funding_open;
        match refusal.gate.ends_in() {
            Some(state) if !waits => {
                let gate = crate::execution::order::word(refusal.gate)?;
                self.log().mark(row.id(), state, Some((&gate, &refusal.why)), self.host.now())?;
            }
            _ => {
                waiting.insert(row.id().to_string(), refusal.why.clone());
            }
        }
        Ok(())
    }

    fn submit_report(&self, set: &OrderSet, waiting: &BTreeMap<String, String>) -> Result<SubmitReport> {
        let mut out = SubmitReport::default();
        for row in self.log().orders_of(&set.run_key)? {
            out.planned += 1;
            let mut why = row.refusal_text.clone().unwrap_or_default();
            match row.state.as_str() {
                name::PLANNED => {
                    out.waiting += 1;
                    why = waiting.get(row.id()).cloned().unwrap_or(why);
                }
                name::DROPPED | name::REJECTED | name::BLOCKED_CIRCUIT_BREAKER | name::BLOCKED_KILL_SWITCH | name::NEVER_REACHED | name::DRY_RUN => {
                    out.refused += 1
                }
                s if is_unknown(s) => out.unknown += 1,
                s => {
                    out.sent += 1;
                    out.filled += usize::from(s == name::FILLED);
                    why = String::new();
                }
            }
            out.lines.push(LineResult { client_order_id: row.id().to_string(), symbol: row.intent.symbol.clone(), state: row.state, why });
        }
        Ok(out)
    }

    /// After the session: fetch what happened, drop what was not sent in time, take back what is still open, write a snapshot.
    pub fn settle(&self, run_key: &str) -> Result<SettleReport> {
        let set = self.require_set(run_key)?;
        let broker_now = self.broker_clock()?.now;
        let reconcile = self.reconcile(&set.account)?;
        let again = |_: &OrderRow| Ok(Some("its day is being settled".to_string()));
        let sender = Sender { host: &self.host, log: self.log(), broker: self.broker, again: &again };
        let mut expired = Vec::new();
        for row in self.log().orders_of(run_key)? {
            if is_unknown(&row.state) {
                sender.resolve(row.id())?;
            } else if row.state == name::PLANNED && self.host.now() >= row.intent.expires_at {
                self.log().mark(row.id(), name::DROPPED, Some(("expired", "not sent before its session ended")), self.host.now())?;
                expired.push(row.intent.symbol.clone());
            }
        }
        let reconcile = self.end_overdue(&set, broker_now, reconcile)?;
        let account = self.broker.account()?;
        let ledger = positions::ledger(&self.log(), &set.account)?;
        let positions = ledger.of_strategy(&set.strategy);
        let at = Calendar::xnys().close(Calendar::xnys().last_closed(self.host.now())?);
        // The equity of a running session is not that of the close before it.
        let closed = Calendar::xnys().session_at(self.host.now()).is_none();
        let snapshot = closed && self.snapshot(&set.account, at, account.equity, account.cash, &ledger)?;
        Ok(SettleReport {
            reconcile,
            orders: self.submit_report(&set, &BTreeMap::new())?,
            at,
            equity: account.equity,
            cash: account.cash,
            positions,
            expired,
            snapshot,
        })
    }

    /// One snapshot per account and session close: the first one after the close stands.
    fn snapshot(&self, account: &str, at: UtcTime, equity: f64, cash: f64, ledger: &positions::Ledger) -> Result<bool> {
        let held: BTreeMap<String, &account::Position> = ledger.positions().iter().map(|(h, p)| (format!("{}|{}", h.strategy, h.symbol), p)).collect();
        let open: Vec<String> = self.log().open_orders(account)?.iter().map(|o| o.id().to_string()).collect();
        let hash = self.log().log_hash(account)?;
        let (held, open) = (data_layer::store::canonical_json(&held)?, data_layer::store::canonical_json(&open)?);
        self.db.write(|tx| {
            let n = tx.execute(
                "INSERT OR IGNORE INTO snapshots (account, ts, equity, cash, positions_json, open_orders_json, log_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![account, at.to_string(), equity, cash, held, open, hash],
            )?;
            Ok(n == 1)
        })
    }

    /// Whether an order of ours is at the broker and not over.
    pub fn open_outcomes(&self, run_key: &str) -> Result<Vec<(String, Outcome)>> {
        Ok(self.log().orders_of(run_key)?.iter().filter(|o| !o.is_closed() && o.state != name::PLANNED).map(|o| (o.id().to_string(), outcome_of(o))).collect())
    }

    /// Engage the kill switch of the account: no increase from now on; what is open stays open until cancelled.
    pub fn stop(&self, account: &str, reason: &str) -> Result<()> {
        switches::engage(self.db, account, reason, &self.config.operator, self.host.now())
    }

    /// Whether sending is pointless in this mode.
    pub fn is_dry_run(&self) -> bool {
        self.config.mode == Mode::DryRun
    }
}

/// Seconds during which the market was open between two moments: a close ages only while the market trades.
pub fn open_seconds_between(from: UtcTime, to: UtcTime) -> f64 {
    let calendar = Calendar::xnys();
    let (first, last) = (from.day_in(&new_york()), to.day_in(&new_york()));
    let Ok(range) = DateRange::new(first, last.plus_days(1)) else { return 0.0 };
    calendar.sessions(range).iter().map(|d| calendar.close(*d).min(to).seconds_since(calendar.open(*d).max(from)).max(0.0)).sum()
}

/// Whether the journal can be read and the limits can be used; otherwise the gates fail closed.
fn readable(db: &Db, limits: &risk::Limits) -> Result<(), String> {
    limits.check().map_err(|e| e.to_string())?;
    let counted = db.lock().and_then(|c| Ok(c.query_row("SELECT count(*) FROM switches", [], |r| r.get::<_, i64>(0))?));
    counted.map(drop).map_err(|e| e.to_string())
}
