//! Getting smaller without a person: what a tripped breaker does to the book, where a typed permission allows it.
//!
//! Three levels. *Tighten* takes back every open order that would enlarge a position. *Reduce* halves each position of the strategy towards
//! zero, once for each trip. *Flatten* closes them. The targets of a trip are stored when it happens and aimed at until they are
//! reached or a person resets the breaker, so a second look, a restart or another machine changes nothing. The orders are an
//! order set like any other: pinned, journalled, with ids that follow from the day, through all gates, which let only
//! reductions pass while the breaker is tripped.

use super::replace::FIRST_REPLACEMENT;
use super::{AccountCheck, PaperDay, SubmitReport, confirmation_token, plan};
use crate::execution::order::{OrderSet, Pins, Reason, Reference, run_key};
use crate::execution::positions;
use crate::execution::sizing::SizedLine;
use crate::execution::state::name;
use crate::execution::switches::{self, Switch};
use crate::monitoring::tripwires::{self, Action, RiskAction, Touched};
use crate::types::Side;
use data_layer::error::{Error, Result, code};
use data_layer::store::sha256_hex;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const GATE: &str = "paper-trade.risk_actions";
/// From here on a rebalance number means a reduction of risk.
pub const FIRST_RISK_REBALANCE: u32 = 1_000;

/// What was done about a trip.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct RiskReport {
    /// Orders that would have enlarged a position and were taken back.
    pub taken_back: Vec<String>,
    pub action: Option<RiskAction>,
    /// The order set of the reduction; none when there was nothing left to reduce.
    pub run_key: Option<String>,
    pub orders: SubmitReport,
}

impl RiskReport {
    /// What a person should hear; nothing when nothing was done.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.taken_back.is_empty() {
            out.push(text!("{} open orders that would enlarge a position were taken back", self.taken_back.len()));
        }
        if let (Some(action), Some(key)) = (self.action, &self.run_key) {
            let word = if action == RiskAction::Flatten { "flatten" } else { "reduce" };
            let o = &self.orders;
            out.push(text!("{word}: {key}: {} of {} orders sent, {} filled, {} refused", o.sent, o.planned, o.filled, o.refused));
        }
        out
    }
}

/// What has to be typed to allow reductions without a person.
pub fn risk_token(account: &str, action: RiskAction) -> String {
    text!("ALLOW {} {account}", if action == RiskAction::Flatten { "FLATTEN" } else { "REDUCE" })
}

/// What a touched wire asks for. Stale data and a silent broker take back increases only: nobody sells on prices that are not known.
fn wanted(touched: &[Touched]) -> Option<Option<RiskAction>> {
    use switches::TripReason::{DailyLossExceeded, MaxDrawdown, Slippage};
    let tripped = touched.iter().filter(|t| t.action > Action::Warn);
    tripped
        .map(|t| match (t.action, t.reason) {
            (Action::FlattenPlan, _) => Some(RiskAction::Flatten),
            (_, DailyLossExceeded | MaxDrawdown | Slippage) => Some(RiskAction::Reduce),
            _ => None,
        })
        .max_by_key(|a| a.map_or(0, |a| if a == RiskAction::Flatten { 2 } else { 1 }))
}

impl PaperDay<'_> {
    /// Record the typed permission. It holds until it is taken back; a new one replaces the old.
    pub fn allow_risk_actions(&self, account: &str, action: RiskAction, typed: &str) -> Result<()> {
        let wanted = risk_token(account, action);
        if typed != wanted {
            return Err(Error::new(code::GATE_REFUSED, "risk reductions stay a printed plan").fix(text!("type exactly: {wanted}")));
        }
        self.forbid_risk_actions(account)?;
        let now = self.host.now();
        let id = sha256_hex(format!("{GATE}|{account}|{wanted}|{now}").as_bytes());
        let word = crate::execution::order::word(action)?;
        self.db.write(|tx| {
            tx.execute(
                "INSERT OR IGNORE INTO consents (id, gate, account, trading_day, shown_sha256, token_sha256, limits_json, granted_at, run_id) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, '{}', ?7, ?8)",
                params![id, GATE, account, now.utc_day().to_string(), word, sha256_hex(typed.as_bytes()), now.to_string(), self.config.operator],
            )?;
            Ok(())
        })
    }

    /// Back to a printed plan. Returns how many permissions ended.
    pub fn forbid_risk_actions(&self, account: &str) -> Result<usize> {
        let gone = format!("{GATE}.revoked");
        self.db.write(|tx| Ok(tx.execute("UPDATE consents SET gate = ?1 WHERE gate = ?2 AND account = ?3", params![gone, GATE, account])?))
    }

    /// How far reductions may go without a person; none when nobody allowed any.
    pub fn risk_actions_allowed(&self, account: &str) -> Result<Option<RiskAction>> {
        let newest = "SELECT shown_sha256 FROM consents WHERE gate = ?1 AND account = ?2 ORDER BY granted_at DESC, id LIMIT 1";
        let word: Option<String> = self.db.lock()?.query_row(newest, params![GATE, account], |r| r.get(0)).optional()?;
        word.map(|w| crate::execution::order::unword(&w)).transpose()
    }

    /// Do what the touched wires ask for, as far as it is allowed. Safe to call at every look.
    pub fn act_on_risk(&self, account: &AccountCheck, touched: &[Touched], prices: &BTreeMap<String, Reference>) -> Result<RiskReport> {
        let mut out = RiskReport::default();
        let breaker = switches::read(self.db, Switch::Breaker, &account.account);
        let (Some(allowed), Some(action), Some(tripped_at)) = (self.risk_actions_allowed(&account.account)?, wanted(touched), breaker.at) else {
            return Ok(out);
        };
        if !breaker.stopped {
            return Ok(out);
        }
        out.taken_back = self.tighten(&account.account)?;
        let Some(action) = action.map(|a| if allowed == RiskAction::Reduce { RiskAction::Reduce } else { a }) else { return Ok(out) };
        out.action = Some(action);
        let first = self.first_trip(&account.account)?.unwrap_or_else(|| tripped_at.to_string());
        let held = positions::ledger(&self.log(), &account.account)?.of_strategy(&self.config.strategy);
        let word = crate::execution::order::word(action)?;
        let targets = tripwires::risk_targets(self.db, &account.account, &text!("{word} since {first}"), action, &held)?;
        let Some(set) = self.risk_set(account, action, &held, &targets, prices)? else { return Ok(out) };
        self.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day))?;
        out.orders = self.submit_all(&set.run_key)?;
        out.run_key = Some(set.run_key);
        Ok(out)
    }

    /// When the breaker tripped for the first time since it last let increases through: the name of this trip.
    fn first_trip(&self, account: &str) -> Result<Option<String>> {
        let first = "SELECT min(at) FROM switches WHERE name = 'circuit_breaker' AND account = ?1 AND state = 'TRIPPED' AND seq > \
             coalesce((SELECT max(seq) FROM switches WHERE name = 'circuit_breaker' AND account = ?1 AND state = 'OPEN'), 0)";
        Ok(self.db.lock()?.query_row(first, [account], |r| r.get(0))?)
    }

    /// How often the breaker let increases through again: a trip after that is another one, with sets of its own on the same day.
    fn resets(&self, account: &str) -> Result<u32> {
        let opened = "SELECT count(*) % ?2 FROM switches WHERE name = 'circuit_breaker' AND account = ?1 AND state = 'OPEN'";
        Ok(self.db.lock()?.query_row(opened, params![account, (FIRST_REPLACEMENT - FIRST_RISK_REBALANCE) / 2], |r| r.get(0))?)
    }

    /// Take back every open order that would enlarge a position. One that is unknown is asked for by the next reconcile first.
    fn tighten(&self, account: &str) -> Result<Vec<String>> {
        let held = positions::ledger(&self.log(), account)?.of_strategy(&self.config.strategy);
        let (mut out, mut sent) = (Vec::new(), Vec::new());
        for row in self.log().open_orders(account)? {
            let position = held.get(&row.intent.symbol).copied().unwrap_or(0.0);
            let reduces = position * row.intent.side.sign() < 0.0 && row.remaining() <= position.abs() + 1e-9;
            if row.intent.strategy != self.config.strategy || reduces {
                continue;
            }
            if row.state == name::PLANNED {
                self.log().mark(row.id(), name::BLOCKED_CIRCUIT_BREAKER, Some(("risk", "the circuit breaker tripped")), self.host.now())?;
                out.push(row.id().to_string());
            } else {
                sent.push(row);
            }
        }
        out.extend(self.take_back(&sent)?);
        Ok(out)
    }

    /// The day's set of reductions towards the stored targets: pinned at the first call, afterwards only read.
    fn risk_set(
        &self,
        account: &AccountCheck,
        action: RiskAction,
        held: &BTreeMap<String, f64>,
        targets: &BTreeMap<String, f64>,
        prices: &BTreeMap<String, Reference>,
    ) -> Result<Option<OrderSet>> {
        let rebalance_no = FIRST_RISK_REBALANCE + 2 * self.resets(&account.account)? + u32::from(action == RiskAction::Flatten);
        let key = run_key(&account.account, &self.config.strategy, account.trading_day, rebalance_no);
        if let Some(set) = self.log().set(&key)? {
            return Ok(Some(set));
        }
        // What is already on its way towards zero need not be sent again.
        let open = self.log().open_remaining(&account.account, &self.config.strategy)?;
        let towards_zero = |s: &String, q: f64| open.get(s).copied().filter(|o| o * q < 0.0).unwrap_or(0.0);
        let after: BTreeMap<String, f64> = held.iter().map(|(s, q)| (s.clone(), q + towards_zero(s, *q))).collect();
        let steps = tripwires::steps(&after, targets);
        if steps.is_empty() {
            return Ok(None);
        }
        let reason = if action == RiskAction::Flatten { Reason::Flatten } else { Reason::RiskReduce };
        let lines: Vec<SizedLine> = steps
            .iter()
            .filter(|(symbol, _)| prices.contains_key(*symbol))
            .map(|(symbol, shares)| SizedLine {
                symbol: symbol.clone(),
                side: if *shares > 0.0 { Side::Buy } else { Side::Sell },
                qty: shares.abs(),
                reason,
                reduces: true,
            })
            .collect();
        let unpriced = steps.keys().filter(|s| !prices.contains_key(*s)).map(|s| text!("{s} has no price: close it at the broker"));
        let mut set = OrderSet {
            run_key: key,
            order_set_hash: String::new(),
            account: account.account.clone(),
            strategy: self.config.strategy.clone(),
            trading_day: account.trading_day,
            rebalance_no,
            equity: account.equity,
            pinned_at: self.host.now(),
            run_id: self.config.run_id.clone(),
            pins: Pins {
                asof: Some(account.asof),
                prices: prices.clone(),
                positions: held.clone(),
                open_remaining: open,
                notes: unpriced.collect(),
                ..Pins::default()
            },
            lines: Vec::new(),
        };
        set.lines = plan::lines_of(&set, &lines, account.expires_at)?.0;
        set.order_set_hash = set.compute_hash()?;
        self.log().pin_set(&set).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MORNING, config, evening_steps, input, open};
    use super::super::{AccountCheck, default_sizer};
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use data_layer::time::UtcTime;

    fn lost(day: &PaperDay<'_>, equity: f64) -> AccountCheck {
        AccountCheck { equity, ..day.account_check().unwrap() }
    }

    #[test]
    fn lesson_099_a_trip_halves_once_on_the_right_side_and_a_deeper_one_closes_whatever_is_repeated() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        let morning = UtcTime::parse(MORNING).unwrap();
        broker.set_now(morning);
        broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
        let prices = input(&[]).prices;
        let look = |at: UtcTime, equity: f64, crash: Option<(String, u64)>| {
            broker.set_now(at);
            let db = open(dir.path(), crash, at)?;
            let day = PaperDay::new(&db, &broker, config(), &default_sizer)?;
            let account = lost(&day, equity);
            let touched = day.guard(&account, at)?.touched;
            day.act_on_risk(&account, &touched, &prices)
        };
        {
            let db = open(dir.path(), None, morning).unwrap();
            let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
            day.settle(&key).unwrap();
            let account = lost(&day, 89_000.0);
            let touched = day.guard(&account, morning).unwrap().touched;
            assert_eq!(day.act_on_risk(&account, &touched, &prices).unwrap(), RiskReport::default(), "nobody allowed it: a plan stays a plan");
            assert!(day.allow_risk_actions("SIM1", RiskAction::Reduce, "yes").unwrap_err().is(code::GATE_REFUSED));
            day.allow_risk_actions("SIM1", RiskAction::Flatten, &risk_token("SIM1", RiskAction::Flatten)).unwrap();
        }
        let posts = || broker.truth.lock().unwrap().posts.len();
        let before = posts();
        // Killed on the way, and looked at again and again: three orders, one a name.
        assert!(look(morning.plus_seconds(5), 89_000.0, Some(("order.send.after".into(), 2))).is_err());
        for k in 1..4 {
            let report = look(morning.plus_seconds(5 + 30 * k), 89_000.0, None).unwrap();
            assert_eq!((report.action, report.orders.planned, report.orders.sent), (Some(RiskAction::Reduce), 3, 3), "{report:?}");
        }
        assert_eq!(posts() - before, 3);
        let open_orders = || -> BTreeMap<String, f64> {
            let t = broker.truth.lock().unwrap();
            t.orders.values().filter(|o| o.is_open()).map(|o| (o.symbol.clone(), o.side.sign() * o.qty)).collect()
        };
        assert_eq!(
            open_orders(),
            BTreeMap::from([("AAPL".into(), -15.0), ("MSFT".into(), -30.0), ("XOM".into(), 30.0)]),
            "29, 59 and -60 shares, halved towards zero"
        );
        // They fill at the next open; the next day's looks aim at the same half, which is reached.
        broker.fill_all(UtcTime::parse("2017-12-04T14:30:00Z").unwrap());
        let next = UtcTime::parse("2017-12-04T21:30:00Z").unwrap();
        broker.set_now(next);
        {
            let db = open(dir.path(), None, next).unwrap();
            PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().reconcile("SIM1").unwrap();
        }
        assert_eq!(look(next.plus_seconds(5), 89_000.0, None).unwrap().run_key, None, "halved once for this trip");
        let report = look(next.plus_seconds(60), 84_000.0, None).unwrap();
        assert_eq!((report.action, report.orders.sent), (Some(RiskAction::Flatten), 3));
        assert_eq!(open_orders(), BTreeMap::from([("AAPL".into(), -14.0), ("MSFT".into(), -29.0), ("XOM".into(), 30.0)]));
    }

    #[test]
    fn open_increases_are_taken_back_and_stale_data_sell_nothing() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (_, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        let db = open(dir.path(), None, evening().plus_seconds(60)).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        day.allow_risk_actions("SIM1", RiskAction::Reduce, &risk_token("SIM1", RiskAction::Reduce)).unwrap();
        let account = day.account_check().unwrap();
        let touched = day.guard(&account, UtcTime::parse("2017-11-30T15:00:00Z").unwrap()).unwrap().touched;
        // One that cannot be taken back now does not keep the others; the next look tries again.
        let first = broker.truth.lock().unwrap().orders.values().map(|o| o.id.clone()).min().unwrap();
        broker.truth.lock().unwrap().uncancelable.insert(first);
        assert!(day.act_on_risk(&account, &touched, &input(&[]).prices).unwrap_err().is(code::NET_RATE_LIMITED));
        assert_eq!(broker.truth.lock().unwrap().orders.values().filter(|o| o.status == "canceled").count(), 2);
        broker.truth.lock().unwrap().uncancelable.clear();
        let report = day.act_on_risk(&account, &touched, &input(&[]).prices).unwrap();
        assert_eq!((report.taken_back.len(), report.action), (3, None), "{touched:?}");
        assert!(broker.truth.lock().unwrap().orders.values().all(|o| o.status == "canceled"));
        assert_eq!(day.forbid_risk_actions("SIM1").unwrap(), 1);
        assert_eq!(day.risk_actions_allowed("SIM1").unwrap(), None);
    }
}
