//! Order rows to and from their columns.

use super::OrderRow;
use crate::execution::order::{Intent, OrderSet, unword, word};
use crate::execution::state::name;
use data_layer::error::Result;
use data_layer::store::canonical_json;
use data_layer::time::UtcTime;
use rusqlite::{Connection, Row, Transaction, params};

const ORDER_COLUMNS: &str = "order_id, run_key, account, strategy_tag, trading_day, line, symbol_id, symbol, side, qty, order_type, limit_price, stop_price, \
     tif, style, reduce_only, reason, parent, slice, attempt, reference_price, created_at, expires_at, state, state_key, filled_qty, broker_order_id, \
     refusal_code, refusal_text, version, (SELECT rebalance_no FROM order_sets s WHERE s.run_key = orders.run_key)";

/// A planned order has no key yet: nobody has reported anything, so the first report of any kind moves it.
pub(super) fn insert_set(tx: &Transaction<'_>, set: &OrderSet) -> Result<()> {
    tx.execute(
        "INSERT INTO order_sets (run_key, order_set_hash, account, strategy, trading_day, rebalance_no, equity, prices_json, pinned_at, lines, run_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            set.run_key,
            set.order_set_hash,
            set.account,
            set.strategy,
            set.trading_day.to_string(),
            set.rebalance_no,
            set.equity,
            canonical_json(&set.pins)?,
            set.pinned_at.to_string(),
            i64::try_from(set.lines.len()).unwrap_or(0),
            set.run_id
        ],
    )?;
    for l in &set.lines {
        tx.execute(
            "INSERT INTO orders (order_id, ts, symbol, side, qty, order_type, limit_price, tif, strategy_tag, run_key, line, account, trading_day, symbol_id, \
             stop_price, style, reduce_only, reason, parent, slice, attempt, reference_price, created_at, expires_at, state, state_key) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, '')",
            params![
                l.client_order_id,
                l.created_at.to_string(),
                l.symbol,
                l.side.as_str(),
                l.qty,
                word(l.order_type)?,
                l.limit_price,
                word(l.tif)?,
                l.strategy,
                l.run_key,
                l.line,
                l.account,
                l.trading_day.to_string(),
                l.symbol_id,
                l.stop_price,
                l.style,
                l.reduce_only,
                word(l.reason)?,
                l.parent,
                l.slice,
                l.attempt,
                l.reference_price,
                l.created_at.to_string(),
                l.expires_at.to_string(),
                name::PLANNED
            ],
        )?;
    }
    Ok(())
}

pub(super) fn select_orders(conn: &Connection, tail: &str, args: &[&dyn rusqlite::ToSql]) -> Result<Vec<OrderRow>> {
    let mut q = conn.prepare(&format!("SELECT {ORDER_COLUMNS} FROM orders {tail}"))?;
    let mut rows = q.query(args)?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(order_row(r)?);
    }
    Ok(out)
}

fn order_row(r: &Row<'_>) -> Result<OrderRow> {
    let text = |i: usize| r.get::<_, String>(i);
    let key: String = text(24)?;
    Ok(OrderRow {
        intent: Intent {
            client_order_id: text(0)?,
            run_key: text(1)?,
            account: text(2)?,
            strategy: text(3)?,
            trading_day: text(4)?.parse()?,
            rebalance_no: r.get(30)?,
            line: r.get(5)?,
            symbol_id: text(6)?,
            symbol: text(7)?,
            side: unword(&text(8)?)?,
            qty: r.get(9)?,
            order_type: unword(&text(10)?)?,
            limit_price: r.get(11)?,
            stop_price: r.get(12)?,
            tif: unword(&text(13)?)?,
            style: text(14)?,
            reduce_only: r.get(15)?,
            reason: unword(&text(16)?)?,
            parent: r.get(17)?,
            slice: r.get(18)?,
            attempt: r.get(19)?,
            reference_price: r.get(20)?,
            created_at: UtcTime::parse(&text(21)?)?,
            expires_at: UtcTime::parse(&text(22)?)?,
        },
        state: text(23)?,
        key: if key.is_empty() { None } else { serde_json::from_str(&key)? },
        filled_qty: r.get(25)?,
        broker_order_id: r.get(26)?,
        refusal_code: r.get(27)?,
        refusal_text: r.get(28)?,
        version: r.get(29)?,
    })
}
