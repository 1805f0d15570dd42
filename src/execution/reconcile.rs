//! Reconciliation: what the broker says against what the journal says, and quarantine where they differ.
//!
//! Runs at start, before a rebalance and after a session. It repairs missed reports and fills, asks for orders of unknown
//! outcome, sets unknown broker orders aside as orphans, and compares positions to the share.

mod corporate;
mod executions;
mod money;

pub use money::Money;

use super::broker::{Broker, BrokerOrder, BrokerPosition, Lookup};
use super::log::{FillRow, OrderLog, OrderRow, Report};
use super::order::Tif;
use super::orphan;
use super::positions::{self, EXTERNAL, Ledger};
use super::quarantine::{QUANTITY, quarantine, quarantined, release};
use super::state::{Source, name};
use super::submit::absorb;
use crate::types::Side;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::store::canonical_json;
use data_layer::time::{TradingDay, UtcTime};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Single look-ups in one run.
const MAX_LOOKUPS: usize = 100;
/// Orders are fetched from this long before the last success.
const OVERLAP_S: i64 = 60;
/// Executions are fetched from this long before the last success: late ones replace synthetic fills.
const LATE_FILLS_S: i64 = 7 * 86_400;
/// After this long and two clean runs, an order that the broker never saw is closed.
const NEVER_REACHED_AFTER_S: f64 = 300.0;
/// Shares closer than this are the same number.
pub(super) const TOLERANCE_SHARES: f64 = 1e-9;
/// Of the average price.
const TOLERANCE_AVERAGE: f64 = 1e-4;

/// One thing on which the broker and the journal differ (or differed until now).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `orphan_order`, `orphan_fill`, `missed_fill`, `overfill`, `quantity`, `adopted`, `reopened`, `unknown_order`, `never_reached`, `vanished`,
    /// `wrong_fill`, `average_price`, `cash`, `split`, `rename`, `removal`, `bust`, `correct`.
    pub kind: String,
    pub subject: String,
    pub detail: String,
}

/// What a run found and did.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ReconcileReport {
    pub id: String,
    /// Everything could be fetched and compared.
    pub complete: bool,
    pub first_contact: bool,
    pub orders_seen: usize,
    pub new_fills: usize,
    pub unknown_orders: Vec<String>,
    pub differences: Vec<Difference>,
    pub quarantined: Vec<String>,
    pub released: Vec<String>,
    /// None where it could not be compared: shares or orders in doubt, or a broker that does not tell every movement.
    #[serde(default)]
    pub money: Option<Money>,
}

/// The start of the last complete run of an account.
pub fn last_success(db: &Db, account: &str) -> Result<Option<UtcTime>> {
    let conn = db.lock()?;
    let at: Option<String> =
        conn.query_row("SELECT max(started_at) FROM reconciles WHERE ok = 1 AND substr(id, 1, length(?1) + 1) = ?1 || '|'", [account], |r| r.get(0))?;
    at.map(|t| UtcTime::parse(&t)).transpose()
}

/// Runs that could not be completed since the last one that could.
pub fn failures_in_row(db: &Db, account: &str) -> Result<u32> {
    let since = last_success(db, account)?.map(|t| t.to_string()).unwrap_or_default();
    let failed = "SELECT count(*) FROM reconciles WHERE ok = 0 AND substr(id, 1, length(?1) + 1) = ?1 || '|' AND started_at > ?2";
    Ok(db.lock()?.query_row(failed, params![account, since], |r| r.get(0))?)
}

/// Shares are multiplied by `ratio` on the ex-date, according to the reference data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    pub symbol: String,
    pub ex_date: TradingDay,
    pub ratio: f64,
}

/// From `date` on, the company trades as `to`, according to the reference data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    pub symbol: String,
    pub to: String,
    pub date: TradingDay,
}

/// One run. An `Err` means that the broker could not be asked: the gate stays shut.
pub fn run(host: &Host, db: &Db, broker: &dyn Broker, account: &str) -> Result<ReconcileReport> {
    run_knowing(host, db, broker, account, (&[], &[]))
}

/// [`run`], with the splits and renames that may explain a difference.
pub fn run_knowing(host: &Host, db: &Db, broker: &dyn Broker, account: &str, (splits, renames): (&[Split], &[Rename])) -> Result<ReconcileReport> {
    let mut r = Run { splits, renames, host, log: OrderLog::new(db), broker, account, out: ReconcileReport::default() };
    let started = host.now();
    let since = last_success(db, account)?;
    r.out.id = format!("{account}|{started}");
    r.out.first_contact = since.is_none();
    let result = r.all(since);
    let mut out = r.out;
    out.complete = result.is_ok();
    let differences = canonical_json(&(&out.differences, result.as_ref().err().map(ToString::to_string)))?;
    db.write(|tx| {
        tx.execute(
            "INSERT OR REPLACE INTO reconciles (id, started_at, ok, differences_json, unbooked_cash) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![out.id, started.to_string(), out.complete, differences, out.money.map(|m| m.unbooked)],
        )?;
        Ok(())
    })?;
    result.map(|()| out)
}

struct Run<'a> {
    splits: &'a [Split],
    renames: &'a [Rename],
    host: &'a Host,
    log: OrderLog<'a>,
    broker: &'a dyn Broker,
    account: &'a str,
    out: ReconcileReport,
}

impl Run<'_> {
    fn all(&mut self, since: Option<UtcTime>) -> Result<()> {
        let mut seen: BTreeMap<String, BrokerOrder> = BTreeMap::new();
        for order in self.broker.open_orders()? {
            seen.insert(order.id.clone(), order);
        }
        if let Some(t) = since {
            for order in self.broker.orders_since(t.plus_seconds(-OVERLAP_S))? {
                seen.insert(order.id.clone(), order);
            }
        }
        self.out.orders_seen = seen.len();
        for order in seen.values() {
            self.take_in(order)?;
        }
        self.look_up_unseen(&seen)?;
        if self.out.first_contact {
            self.adopt()?;
        } else {
            let from = since.map(|t| t.plus_seconds(-LATE_FILLS_S));
            for fill in self.broker.fills_since(from)? {
                self.take_fill(&fill)?;
            }
            for activity in self.broker.activities_since(from)? {
                self.take_activity(&activity)?;
            }
        }
        self.repair_missed_fills()?;
        self.compare_positions()
    }

    fn differs(&mut self, kind: &str, subject: &str, detail: String) {
        self.out.differences.push(Difference { kind: kind.into(), subject: subject.into(), detail });
    }

    fn hold(&mut self, symbol: &str, reason: &str) -> Result<()> {
        quarantine(self.log.db(), symbol, reason, self.host.now())?;
        self.out.quarantined.push(symbol.to_string());
        Ok(())
    }

    fn take_in(&mut self, order: &BrokerOrder) -> Result<()> {
        let now = self.host.now();
        let Some(row) = self.log.order(&order.client_order_id)? else { return self.orphan(order) };
        if !order.matches(&row.intent) {
            self.differs("unknown_order", row.id(), "the broker holds another order under this id".into());
            return self.hold(&order.symbol, "the broker holds another order under one of our ids");
        }
        let applied = absorb(&self.log, order, Source::Reconcile, now)?;
        if order.filled_qty > order.qty + TOLERANCE_SHARES {
            self.differs("overfill", row.id(), text!("{} shares of {} were filled", order.filled_qty, order.qty));
            self.out.quarantined.push(order.symbol.clone());
        }
        if applied.reopened {
            self.differs("reopened", row.id(), text!("it was {}, the broker says {}", row.state, order.status));
        }
        if applied.unknown_status {
            self.differs("unknown_order", row.id(), text!("the status '{}' is in no specification", order.status));
        }
        Ok(())
    }

    fn orphan(&mut self, order: &BrokerOrder) -> Result<()> {
        if orphan::record(self.log.db(), order, self.host.now())? {
            self.differs("orphan_order", &order.id, text!("{} {} {} is not ours", order.side.as_str(), order.qty, order.symbol));
            self.out.quarantined.push(order.symbol.clone());
        }
        Ok(())
    }

    /// Ask one by one for our orders that the lists did not show, whatever their age.
    fn look_up_unseen(&mut self, seen: &BTreeMap<String, BrokerOrder>) -> Result<()> {
        let known: BTreeSet<&str> = seen.values().map(|o| o.client_order_id.as_str()).collect();
        let open = self.log.open_orders(self.account)?;
        let unseen: Vec<&OrderRow> = open.iter().filter(|o| o.state != name::PLANNED && !known.contains(o.id())).collect();
        for row in unseen.iter().take(MAX_LOOKUPS) {
            match self.broker.find_by_client_id(row.id()) {
                Lookup::Found(order) => self.take_in(&order)?,
                Lookup::NotFound => self.not_found(row)?,
                Lookup::Unknown(why) => return Err(Error::new(code::NET_UNREACHABLE, text!("the broker did not say what became of {}", row.id())).cause(why)),
            }
        }
        if unseen.len() > MAX_LOOKUPS {
            return Err(Error::new(code::NET_RATE_LIMITED, text!("{} orders are still to be asked for one by one", unseen.len() - MAX_LOOKUPS))
                .cause("the broker's lists do not show them")
                .fix("trademl paper-trade (the next look goes on)"));
        }
        Ok(())
    }

    /// The broker does not know the order. After five minutes and two clean runs it is taken for never having arrived.
    fn not_found(&mut self, row: &OrderRow) -> Result<()> {
        let (now, id) = (self.host.now(), row.id());
        self.out.unknown_orders.push(id.to_string());
        // An order is pinned long before its turn: what counts is since when it may be at the broker.
        let sent_at = self.log.intended_at(id)?.unwrap_or(row.intent.created_at);
        let clean_runs: i64 = self.log.db().lock()?.query_row(
            "SELECT count(*) FROM reconciles WHERE ok = 1 AND substr(id, 1, length(?1) + 1) = ?1 || '|' AND started_at > ?2",
            params![self.account, sent_at.to_string()],
            |r| r.get(0),
        )?;
        if row.broker_order_id.is_some() {
            return self.vanished(row, clean_runs >= 2 && now >= row.intent.expires_at);
        }
        let old = now.seconds_since(sent_at) >= NEVER_REACHED_AFTER_S;
        // An order that may still be sent again under its own id is left to the sender.
        let resendable = self.broker.refuses_duplicates() && now < row.intent.expires_at;
        if old && clean_runs >= 2 && !resendable {
            self.log.mark(id, name::NEVER_REACHED, Some(("never_reached", "the broker never saw it")), now)?;
            self.differs("never_reached", id, "the broker never saw it".into());
        }
        Ok(())
    }

    /// The broker had acknowledged the order and denies it now. Its symbol takes no increase until somebody has looked; an
    /// order for a session that is over can do nothing any more, and is taken for expired.
    fn vanished(&mut self, row: &OrderRow, over: bool) -> Result<()> {
        self.differs("vanished", row.id(), text!("it was {}, and the broker does not know it any more", row.state));
        self.hold(&row.intent.symbol, "the broker denies an order that it had accepted")?;
        if over && row.intent.tif != Tif::Gtc {
            self.log.apply(&Report {
                source: Source::Reconcile,
                report_id: format!("{}:vanished", row.id()),
                order_id: row.id().to_string(),
                broker_ts: None,
                status: "expired".into(),
                filled_qty: row.filled_qty,
                broker_order_id: None,
                refusal: Some(("vanished".into(), "the broker denies it after its session".into())),
                body: serde_json::json!({}),
                received_at: self.host.now(),
            })?;
        }
        Ok(())
    }

    /// First contact: what the account holds belongs to somebody else and is never touched.
    fn adopt(&mut self) -> Result<()> {
        for p in self.broker.positions()? {
            if p.qty == 0.0 {
                continue;
            }
            let now = self.host.now();
            self.log.insert_fill(&FillRow {
                fill_id: format!("adopted-{}-{}", self.account, p.symbol),
                order_id: String::new(),
                ts: now,
                symbol: p.symbol.clone(),
                side: if p.qty > 0.0 { Side::Buy } else { Side::Sell },
                qty: p.qty.abs(),
                price: p.avg_price,
                fee: None,
                kind: "adopted".into(),
                replaces: None,
                source: "reconcile".into(),
                account: self.account.to_string(),
                strategy: EXTERNAL.into(),
            })?;
            self.differs("adopted", &p.symbol, text!("{} shares were there before", p.qty));
        }
        Ok(())
    }

    /// What happened before the first contact is inside the adopted positions and cash.
    fn before_us(&self, at: UtcTime) -> Result<bool> {
        let first: Option<String> = self.log.db().lock()?.query_row(
            "SELECT min(started_at) FROM reconciles WHERE ok = 1 AND substr(id, 1, length(?1) + 1) = ?1 || '|'",
            [self.account],
            |r| r.get(0),
        )?;
        first.map_or(Ok(false), |t| Ok(at < UtcTime::parse(&t)?))
    }

    /// A broker that reports a filled quantity without executions: a synthetic fill stands in until the real one comes.
    fn repair_missed_fills(&mut self) -> Result<()> {
        for id in self.short_of_fills()? {
            let Some(row) = self.log.order(&id)? else { continue };
            let (have, notional) = self.booked(&id)?;
            let missing = row.filled_qty - have;
            let implied = self.reported_average(&row)?.map(|average| (average * row.filled_qty - notional) / missing);
            // An average that contradicts the executions implies no price: the reference stands in until the execution comes.
            let price = implied.filter(|p| p.is_finite() && *p > 0.0).unwrap_or(row.intent.reference_price);
            let now = self.host.now();
            self.log.insert_fill(&FillRow {
                fill_id: format!("{id}_reconcile_{}_{missing}", row.filled_qty),
                order_id: id.clone(),
                ts: now,
                symbol: row.intent.symbol.clone(),
                side: row.intent.side,
                qty: missing,
                price,
                fee: None,
                kind: "synthetic".into(),
                replaces: None,
                source: "reconcile".into(),
                account: self.account.to_string(),
                strategy: row.intent.strategy.clone(),
            })?;
            self.differs("missed_fill", &id, text!("{missing} of {} filled shares had no execution", row.filled_qty));
        }
        Ok(())
    }

    /// Own orders with more filled shares than executions, synthetic ones included. An execution that was taken back was one:
    /// a bust is never repaired away. A correction counts as what it leaves.
    fn short_of_fills(&self) -> Result<Vec<String>> {
        let conn = self.log.db().lock()?;
        let mut q = conn.prepare(
            "SELECT o.order_id FROM orders o WHERE o.account = ?1 AND o.filled_qty > 0 \
             AND o.filled_qty - coalesce((SELECT sum(f.qty) FROM fills f WHERE f.order_id = o.order_id AND (f.qty > 0 OR f.kind = 'correct')), 0) > ?2 ORDER BY o.order_id",
        )?;
        Ok(q.query_map(params![self.account, TOLERANCE_SHARES], |r| r.get(0))?.collect::<std::result::Result<_, _>>()?)
    }

    /// Shares and dollars of an order's executions.
    fn booked(&self, id: &str) -> Result<(f64, f64)> {
        let conn = self.log.db().lock()?;
        Ok(conn.query_row(
            "SELECT coalesce(sum(qty), 0), coalesce(sum(qty * price), 0) FROM fills WHERE order_id = ?1 AND (qty > 0 OR kind = 'correct')",
            [id],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )?)
    }

    /// The average price that the broker last reported for the filled quantity.
    fn reported_average(&self, row: &OrderRow) -> Result<Option<f64>> {
        let conn = self.log.db().lock()?;
        let body: Option<String> = conn
            .query_row(
                "SELECT body_json FROM order_reports WHERE order_id = ?1 AND filled_qty = ?2 AND source != 'sim_book' ORDER BY received_at DESC LIMIT 1",
                params![row.id(), row.filled_qty],
                |r| r.get(0),
            )
            .optional()?;
        let body = body.and_then(|b| serde_json::from_str::<serde_json::Value>(&b).ok());
        Ok(body.and_then(|v| v.get("filled_avg_price").and_then(serde_json::Value::as_f64)))
    }

    /// I1: the fold of the journal equals the broker's positions, share for share.
    fn compare_positions(&mut self) -> Result<()> {
        let listed = self.broker.positions()?;
        let theirs: BTreeMap<String, f64> = listed.iter().map(|p| (p.symbol.clone(), p.qty)).collect();
        self.renamed(&theirs)?;
        let ledger = positions::ledger(&self.log, self.account)?;
        self.compare_averages(&listed, &ledger);
        let ours = ledger.per_symbol();
        let held = quarantined(self.log.db())?;
        let symbols: BTreeSet<&String> = ours.keys().chain(theirs.keys()).chain(held.keys()).collect();
        for symbol in symbols {
            let (mine, broker) = (ours.get(symbol).copied().unwrap_or(0.0), theirs.get(symbol).copied().unwrap_or(0.0));
            if (mine - broker).abs() > TOLERANCE_SHARES && self.split_explains(symbol, broker)? {
                continue;
            }
            if (mine - broker).abs() > TOLERANCE_SHARES {
                self.differs("quantity", symbol, text!("the journal has {mine}, the broker {broker}"));
                self.hold(symbol, QUANTITY)?;
            } else if held.get(symbol).is_some_and(|reason| reason == QUANTITY) {
                release(self.log.db(), symbol, "reconcile", "the quantities are equal again", self.host.now())?;
                self.out.released.push(symbol.clone());
            }
        }
        self.out.quarantined.sort();
        self.out.quarantined.dedup();
        self.compare_cash(&ledger)
    }

    /// I2: where both hold the same shares, all of one strategy, both paid the same for them, to a basis point. A difference is told and stops
    /// nothing: it is about a price that was booked, such as one that stands in for an execution that never came.
    fn compare_averages(&mut self, listed: &[BrokerPosition], ledger: &Ledger) {
        for p in listed.iter().filter(|p| p.avg_price.is_finite() && p.avg_price > 0.0) {
            let mut own = ledger.positions().iter().filter(|(h, _)| h.symbol == p.symbol);
            let (Some((holding, mine)), None) = (own.next(), own.next()) else { continue };
            let same = holding.strategy != EXTERNAL && (mine.qty - p.qty).abs() <= TOLERANCE_SHARES;
            if same && (mine.average_price / p.avg_price - 1.0).abs() > TOLERANCE_AVERAGE {
                self.differs("average_price", &p.symbol, text!("the journal paid {:.4} a share, the broker says {:.4}", mine.average_price, p.avg_price));
            }
        }
    }
}
