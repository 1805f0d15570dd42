//! The broker's push channel: order events as reports.
//!
//! An event moves an order's state and filled quantity, never a position: positions are the fold of executions, and those
//! are fetched. So an event that comes twice, late, or out of order, or that never comes, changes nothing in the end.

use super::broker::{BrokerOrder, TradeUpdate};
use super::log::{Applied, OrderLog, Report};
use super::orphan;
use super::quarantine::quarantine;
use super::state::Source;
use super::submit::absorb;
use data_layer::error::Result;
use data_layer::store::digest_of;
use data_layer::time::UtcTime;

/// What an event did, and what has to follow.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Taken {
    pub applied: Applied,
    /// Executions have to be fetched.
    pub fetch: bool,
    /// The order is not one of ours.
    pub foreign: bool,
}

/// Events after which nothing has to be fetched: the order's state says it all.
const QUIET: &[&str] = &[
    "new",
    "accepted",
    "pending_new",
    "pending_cancel",
    "pending_replace",
    "calculated",
    "stopped",
    "suspended",
    "canceled",
    "expired",
    "rejected",
    "replaced",
    "done_for_day",
    "order_cancel_rejected",
    "order_replace_rejected",
];

/// Apply an event. Safe to repeat, in any order.
pub fn take_in(log: &OrderLog<'_>, update: &TradeUpdate, now: UtcTime) -> Result<Taken> {
    let (db, symbol) = (log.db(), update.order.symbol.as_str());
    if matches!(update.event.as_str(), "trade_bust" | "trade_correct") {
        quarantine(db, symbol, "an execution was taken back or corrected", now)?;
    }
    let Some(row) = log.order(&update.order.client_order_id)? else {
        orphan::record(db, &update.order, now)?;
        return Ok(Taken { foreign: true, fetch: true, ..Taken::default() });
    };
    if !update.order.matches(&row.intent) {
        quarantine(db, symbol, "the broker holds another order under one of our ids", now)?;
        return Ok(Taken { fetch: true, ..Taken::default() });
    }
    let stamped = BrokerOrder { updated_at: update.at.or(update.order.updated_at), ..update.order.clone() };
    let applied = absorb(log, &stamped, Source::Stream, now)?;
    // A name that no specification lists is kept, and the order is asked for.
    let fetch = applied.unknown_status || !QUIET.contains(&update.event.as_str());
    if fetch {
        log.apply(&kept(update, now)?)?;
    }
    Ok(Taken { applied, fetch, foreign: false })
}

/// The event itself, kept append-only beside the state that it led to.
fn kept(update: &TradeUpdate, now: UtcTime) -> Result<Report> {
    Ok(Report {
        source: Source::Stream,
        report_id: digest_of(update)?,
        order_id: update.order.client_order_id.clone(),
        broker_ts: update.at,
        status: format!("event:{}", update.event),
        filled_qty: update.order.filled_qty,
        broker_order_id: Some(update.order.id.clone()),
        refusal: None,
        body: serde_json::to_value(update)?,
        received_at: now,
    })
}
