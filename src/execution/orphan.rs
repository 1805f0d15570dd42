//! Orders at the broker that the journal does not know: recorded, and their symbol put under quarantine.

use super::broker::BrokerOrder;
use super::quarantine::quarantine;
use data_layer::control::Db;
use data_layer::error::Result;
use data_layer::store::canonical_json;
use data_layer::time::UtcTime;
use rusqlite::params;

/// Record an order that is not ours. Returns whether it is news: seen for the first time, or still able to trade.
pub fn record(db: &Db, order: &BrokerOrder, now: UtcTime) -> Result<bool> {
    let body = canonical_json(order)?;
    let fresh = db.write(|tx| {
        let settled = (!order.is_open()).then(|| now.to_string());
        let n = tx.execute(
            "INSERT OR IGNORE INTO orphan_orders (broker_order_id, body_json, seen_at, settled_at) VALUES (?1, ?2, ?3, ?4)",
            params![order.id, body, now.to_string(), settled],
        )?;
        tx.execute(
            "UPDATE orphan_orders SET body_json = ?2, settled_at = coalesce(settled_at, ?3) WHERE broker_order_id = ?1",
            params![order.id, body, settled],
        )?;
        Ok(n == 1)
    })?;
    let news = fresh || order.is_open();
    if news {
        quarantine(db, &order.symbol, "an order that is not ours", now)?;
    }
    Ok(news)
}
