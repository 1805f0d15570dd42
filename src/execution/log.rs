//! The order log: sets, orders, reports and fills in `control/journal.sqlite`.
//!
//! Every write is one durable transaction. A set is written once, before the first order is sent; an order's state is
//! changed by compare-and-set on `version`; reports and fills are append-only and unique by what identifies them.

mod sql;

use self::sql::{insert_set, select_orders};
use super::order::{Intent, OrderSet, Pins, unword};
use super::state::{Source, StateKey, closed_locally, is_closed, key_of, name};
use crate::types::Side;
use data_layer::control::Db;
use data_layer::error::{Error, Result};
use data_layer::store::{canonical_json, digest_of};
use data_layer::time::{TradingDay, UtcTime};
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An order with what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderRow {
    pub intent: Intent,
    pub state: String,
    pub key: Option<StateKey>,
    pub filled_qty: f64,
    pub broker_order_id: Option<String>,
    pub refusal_code: Option<String>,
    pub refusal_text: Option<String>,
    pub version: i64,
}

impl OrderRow {
    pub fn id(&self) -> &str {
        &self.intent.client_order_id
    }
    pub fn is_closed(&self) -> bool {
        is_closed(&self.state, self.intent.tif)
    }
    /// Shares that may still fill, unsigned: zero when closed, and zero while certainly not sent.
    pub fn remaining(&self) -> f64 {
        if self.is_closed() || self.state == name::PLANNED { 0.0 } else { (self.intent.qty - self.filled_qty).max(0.0) }
    }
}

/// Something somebody said about an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub source: Source,
    /// Execution id, or a hash of the report.
    pub report_id: String,
    pub order_id: String,
    pub broker_ts: Option<UtcTime>,
    pub status: String,
    pub filled_qty: f64,
    pub broker_order_id: Option<String>,
    pub refusal: Option<(String, String)>,
    pub body: serde_json::Value,
    pub received_at: UtcTime,
}

/// What applying a report did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Applied {
    /// The report had not been seen before.
    pub new: bool,
    pub changed: bool,
    /// A broker's report overruled our own inference that the order was over: alarm and quarantine.
    pub reopened: bool,
    /// The status is in no specification: the order must be fetched.
    pub unknown_status: bool,
}

/// A row of `fills`. `qty` is positive, negative for a bust.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FillRow {
    pub fill_id: String,
    pub order_id: String,
    pub ts: UtcTime,
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    pub price: f64,
    pub fee: Option<f64>,
    /// `fill`, `bust`, `correct`, `synthetic`, or one of [`super::positions::IN_KIND`].
    pub kind: String,
    pub replaces: Option<String>,
    pub source: String,
    pub account: String,
    pub strategy: String,
}

/// The log of one drive.
#[derive(Clone, Copy)]
pub struct OrderLog<'a> {
    db: &'a Db,
}

impl<'a> OrderLog<'a> {
    pub fn new(db: &'a Db) -> Self {
        Self { db }
    }
    pub fn db(&self) -> &'a Db {
        self.db
    }

    /// Write a set and its orders as `planned`, or return the one that is already there: a set is never recomputed.
    pub fn pin_set(&self, set: &OrderSet) -> Result<OrderSet> {
        for line in &set.lines {
            line.check()?;
        }
        let fresh = self.db.write(|tx| {
            if tx.query_row("SELECT 1 FROM order_sets WHERE run_key = ?1", [&set.run_key], |_| Ok(())).optional()?.is_some() {
                return Ok(false);
            }
            insert_set(tx, set)?;
            Ok(true)
        })?;
        if fresh {
            return Ok(set.clone());
        }
        self.set(&set.run_key)?.ok_or_else(|| Error::bug("a pinned order set vanished"))
    }

    /// The pinned set of a run key. A set that no longer hashes to what was recorded is refused.
    pub fn set(&self, run_key: &str) -> Result<Option<OrderSet>> {
        let found = {
            let conn = self.db.lock()?;
            conn.query_row(
                "SELECT order_set_hash, account, strategy, trading_day, rebalance_no, equity, prices_json, pinned_at, run_id FROM order_sets WHERE run_key = ?1",
                [run_key],
                |r| {
                    Ok((
                        r.get::<_, String>(0)?,
                        r.get::<_, String>(1)?,
                        r.get::<_, String>(2)?,
                        r.get::<_, String>(3)?,
                        r.get::<_, u32>(4)?,
                        r.get::<_, f64>(5)?,
                        r.get::<_, String>(6)?,
                        r.get::<_, String>(7)?,
                        r.get::<_, Option<String>>(8)?,
                    ))
                },
            )
            .optional()?
        };
        let Some((hash, account, strategy, day, rebalance_no, equity, prices, pinned_at, run_id)) = found else { return Ok(None) };
        let pins: Pins = serde_json::from_str(&prices)?;
        let set = OrderSet {
            run_key: run_key.to_string(),
            order_set_hash: hash,
            account,
            strategy,
            trading_day: day.parse()?,
            rebalance_no,
            equity,
            pinned_at: UtcTime::parse(&pinned_at)?,
            run_id,
            pins,
            lines: self.orders_of(run_key)?.into_iter().map(|o| o.intent).collect(),
        };
        if set.compute_hash()? != set.order_set_hash {
            return Err(Error::new(data_layer::error::code::SSD_DAMAGED, text!("the order set {run_key} does not match its recorded digest"))
                .fix("send nothing; look at the journal: trademl fsck"));
        }
        Ok(Some(set))
    }

    /// The orders of a set, by line.
    pub fn orders_of(&self, run_key: &str) -> Result<Vec<OrderRow>> {
        self.select("WHERE run_key = ?1 ORDER BY line, slice, attempt", &[&run_key])
    }
    pub fn order(&self, id: &str) -> Result<Option<OrderRow>> {
        Ok(self.select("WHERE order_id = ?1", &[&id])?.pop())
    }
    /// Accounts for which a set was ever planned, the one of the newest trading day first.
    pub fn accounts(&self) -> Result<Vec<String>> {
        let conn = self.db.lock()?;
        let mut q = conn.prepare("SELECT account FROM order_sets GROUP BY account ORDER BY MAX(trading_day) DESC, account")?;
        let rows = q.query_map([], |r| r.get(0))?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }
    /// Every order of an account that is not over, oldest first.
    pub fn open_orders(&self, account: &str) -> Result<Vec<OrderRow>> {
        // The database leaves out what is over for every time in force; `is_closed` knows the rest.
        let tail = "WHERE account = ?1 AND state NOT IN ('filled', 'canceled', 'expired', 'rejected', 'replaced', 'never_reached', 'dropped', 'dry_run', \
             'blocked_kill_switch', 'blocked_circuit_breaker') ORDER BY created_at, order_id";
        let all = self.select(tail, &[&account])?;
        Ok(all.into_iter().filter(|o| !o.is_closed()).collect())
    }
    /// Shares that a strategy's open orders may still move, signed, by symbol.
    pub fn open_remaining(&self, account: &str, strategy: &str) -> Result<BTreeMap<String, f64>> {
        let mut out = BTreeMap::new();
        for o in self.open_orders(account)?.iter().filter(|o| o.intent.strategy == strategy && o.remaining() > 0.0) {
            *out.entry(o.intent.symbol.clone()).or_insert(0.0) += o.intent.side.sign() * o.remaining();
        }
        Ok(out)
    }
    pub fn by_broker_id(&self, account: &str, broker_order_id: &str) -> Result<Option<OrderRow>> {
        Ok(self.select("WHERE account = ?1 AND broker_order_id = ?2", &[&account, &broker_order_id])?.pop())
    }

    fn select(&self, tail: &str, args: &[&dyn rusqlite::ToSql]) -> Result<Vec<OrderRow>> {
        let conn = self.db.lock()?;
        select_orders(&conn, tail, args)
    }

    /// Keep a report and move the order's state to the maximum of the old and the reported key.
    pub fn apply(&self, report: &Report) -> Result<Applied> {
        self.db.write(|tx| apply_in(tx, report))
    }

    /// Record a state of our own making (no broker behind it). Returns whether the order is in that state now.
    pub fn mark(&self, id: &str, state: &str, why: Option<(&str, &str)>, now: UtcTime) -> Result<bool> {
        self.apply(&own_report(id, state, why, now))?;
        Ok(self.order(id)?.is_some_and(|o| o.state == state))
    }

    /// Claim a planned order for sending: exactly one caller, in whatever process, is told `true`.
    pub fn intend(&self, id: &str, now: UtcTime) -> Result<bool> {
        self.claim(id, name::INTENDED, None, now)
    }

    /// Take a planned order out of its set: `true` means that nobody sends it any more.
    pub fn withdraw(&self, id: &str, why: (&str, &str), now: UtcTime) -> Result<bool> {
        self.claim(id, name::DROPPED, Some(why), now)
    }

    fn claim(&self, id: &str, state: &str, why: Option<(&str, &str)>, now: UtcTime) -> Result<bool> {
        self.db.write(|tx| {
            let planned = tx.query_row("SELECT state FROM orders WHERE order_id = ?1", [id], |r| r.get::<_, String>(0)).optional()?;
            if planned.as_deref() != Some(name::PLANNED) {
                return Ok(false);
            }
            apply_in(tx, &own_report(id, state, why, now))?;
            Ok(true)
        })
    }

    /// When the intent to send the order was written first; none while it is planned.
    pub fn intended_at(&self, id: &str) -> Result<Option<UtcTime>> {
        let first = "SELECT min(received_at) FROM order_reports WHERE order_id = ?1 AND status = ?2";
        let at: Option<String> = self.db.lock()?.query_row(first, params![id, name::INTENDED], |r| r.get(0))?;
        at.map(|t| UtcTime::parse(&t)).transpose()
    }

    /// Signed shares per symbol that own orders for `since` and later days say are filled and no execution is booked for yet: they come
    /// with the next reconcile.
    pub fn unbooked(&self, account: &str, since: TradingDay) -> Result<BTreeMap<String, f64>> {
        let conn = self.db.lock()?;
        let mut q = conn.prepare_cached(
            "SELECT o.symbol, CASE o.side WHEN 'BUY' THEN 1.0 ELSE -1.0 END * \
             (o.filled_qty - coalesce((SELECT sum(f.qty) FROM fills f WHERE f.order_id = o.order_id AND f.qty > 0), 0)) AS missing \
             FROM orders o WHERE o.account = ?1 AND o.trading_day >= ?2 AND o.filled_qty > 0",
        )?;
        let mut out = BTreeMap::new();
        for row in q.query_map(params![account, since.to_string()], |r| Ok((r.get::<_, String>(0)?, r.get::<_, f64>(1)?)))? {
            let (symbol, missing) = row?;
            *out.entry(symbol).or_insert(0.0) += missing;
        }
        out.retain(|_, missing: &mut f64| missing.abs() > 1e-9);
        Ok(out)
    }

    /// Add a fill; `false` when it is already there.
    pub fn insert_fill(&self, fill: &FillRow) -> Result<bool> {
        self.db.write(|tx| {
            let n = tx.execute(
                "INSERT OR IGNORE INTO fills (fill_id, order_id, ts, symbol, side, qty, price, fee, kind, replaces, source, account, strategy_tag) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                params![
                    fill.fill_id,
                    fill.order_id,
                    fill.ts.to_string(),
                    fill.symbol,
                    fill.side.as_str(),
                    fill.qty,
                    fill.price,
                    fill.fee,
                    fill.kind,
                    fill.replaces,
                    fill.source,
                    fill.account,
                    fill.strategy
                ],
            )?;
            Ok(n == 1)
        })
    }

    /// All fills of an account by time, then id.
    pub fn fills(&self, account: &str) -> Result<Vec<FillRow>> {
        let conn = self.db.lock()?;
        let mut q = conn.prepare(
            "SELECT fill_id, order_id, ts, symbol, side, qty, price, fee, kind, replaces, source, account, strategy_tag FROM fills WHERE account = ?1 \
             ORDER BY ts, fill_id",
        )?;
        let mut rows = q.query([account])?;
        let mut out = Vec::new();
        while let Some(r) = rows.next()? {
            out.push(FillRow {
                fill_id: r.get(0)?,
                order_id: r.get(1)?,
                ts: UtcTime::parse(&r.get::<_, String>(2)?)?,
                symbol: r.get(3)?,
                side: unword(&r.get::<_, String>(4)?)?,
                qty: r.get(5)?,
                price: r.get(6)?,
                fee: r.get(7)?,
                kind: r.get(8)?,
                replaces: r.get(9)?,
                source: r.get(10)?,
                account: r.get(11)?,
                strategy: r.get(12)?,
            });
        }
        Ok(out)
    }

    /// SHA-256 over the order states and executions of an account: the log's hash in a snapshot.
    pub fn log_hash(&self, account: &str) -> Result<String> {
        type Parts = Vec<(String, String, f64, f64)>;
        let conn = self.db.lock()?;
        let read = |sql: &str| -> Result<Parts> {
            let mut q = conn.prepare(sql)?;
            Ok(q.query_map([account], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?.collect::<std::result::Result<_, _>>()?)
        };
        digest_of(&(
            read("SELECT order_id, state, filled_qty, qty FROM orders WHERE account = ?1 ORDER BY order_id")?,
            read("SELECT fill_id, kind, qty, price FROM fills WHERE account = ?1 ORDER BY fill_id")?,
        ))
    }

    /// The newest moment that the journal has stored for an account: the clock may not be behind it.
    pub fn newest_stamp(&self, account: &str) -> Result<Option<UtcTime>> {
        let conn = self.db.lock()?;
        let newest: Option<String> = conn.query_row(
            "SELECT max(t) FROM (SELECT max(ts) AS t FROM orders WHERE account = ?1 UNION ALL SELECT max(ts) FROM snapshots WHERE account = ?1 \
             UNION ALL SELECT max(r.received_at) FROM order_reports r JOIN orders o ON o.order_id = r.order_id WHERE o.account = ?1)",
            [account],
            |r| r.get(0),
        )?;
        newest.map(|t| UtcTime::parse(&t)).transpose()
    }
}

/// What we say of an order ourselves: no broker stands behind it.
fn own_report(id: &str, state: &str, why: Option<(&str, &str)>, now: UtcTime) -> Report {
    Report {
        source: Source::Manual,
        report_id: format!("{id}:{state}"),
        order_id: id.to_string(),
        broker_ts: None,
        status: state.to_string(),
        filled_qty: 0.0,
        broker_order_id: None,
        refusal: why.map(|(c, t)| (c.to_string(), t.to_string())),
        body: serde_json::json!({}),
        received_at: now,
    }
}

/// [`OrderLog::apply`] inside a transaction.
pub(crate) fn apply_in(tx: &Transaction<'_>, report: &Report) -> Result<Applied> {
    let new = tx.execute(
        "INSERT OR IGNORE INTO order_reports (source, report_id, order_id, broker_ts, status, filled_qty, body_json, received_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            report.source.as_str(),
            report.report_id,
            report.order_id,
            report.broker_ts.map(|t| t.to_string()),
            report.status,
            report.filled_qty,
            canonical_json(&report.body)?,
            report.received_at.to_string()
        ],
    )? == 1;
    let Some(row) = select_orders(tx, "WHERE order_id = ?1", &[&report.order_id])?.pop() else {
        return Ok(Applied { new, ..Applied::default() });
    };
    let filled = row.filled_qty.max(report.filled_qty);
    let key = key_of(&report.status, row.intent.tif, report.broker_ts, report.filled_qty, report.source);
    let wins = key.as_ref().is_some_and(|k| row.key.as_ref().is_none_or(|old| k > old));
    let broker_id = report.broker_order_id.as_ref().or(row.broker_order_id.as_ref());
    if !wins && filled == row.filled_qty && broker_id == row.broker_order_id.as_ref() {
        return Ok(Applied { new, unknown_status: key.is_none(), ..Applied::default() });
    }
    let (state, key_json) = if wins {
        (report.status.as_str(), serde_json::to_string(&key)?)
    } else {
        (row.state.as_str(), row.key.as_ref().map_or_else(|| Ok(String::new()), serde_json::to_string)?)
    };
    let (code, text) = match (&report.refusal, wins) {
        (Some((c, t)), true) => (Some(c.clone()), Some(t.clone())),
        _ => (row.refusal_code.clone(), row.refusal_text.clone()),
    };
    let n = tx.execute(
        "UPDATE orders SET state = ?1, state_key = ?2, filled_qty = ?3, broker_order_id = ?4, refusal_code = ?5, refusal_text = ?6, version = version + 1 \
         WHERE order_id = ?7 AND version = ?8",
        params![state, key_json, filled, broker_id, code, text, report.order_id, row.version],
    )?;
    if n != 1 {
        return Err(Error::bug("an order changed inside its own transaction"));
    }
    let reopened = wins && report.source != Source::Manual && closed_locally(&row.state) && row.state != name::DRY_RUN;
    Ok(Applied { new, changed: wins, reopened, unknown_status: key.is_none() })
}
