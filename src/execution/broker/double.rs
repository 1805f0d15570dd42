//! An in-process double of the paper API over real HTTP on loopback, for the adapter's tests.

use super::fake::FakeBroker;
use super::{Broker, BrokerOrder, Lookup, Submitted};
use crate::execution::order::{OrderType, Tif, tests::intent};
use crate::types::Side;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_layer::host::Host;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The truth behind the double, and what the next answers are replaced by.
pub struct Double {
    pub broker: FakeBroker,
    /// Status of the next POST's answer in place of the true one (the order is accepted all the same); 0 = none.
    pub after_post: AtomicU16,
    /// Status of the next look-up's answer; 0 = none.
    pub on_lookup: AtomicU16,
}

fn body(o: &BrokerOrder) -> Value {
    let kind = if o.order_type == OrderType::Market { "market" } else { "limit" };
    let tif = if o.tif == Tif::Day { "day" } else { "opg" };
    json!({
        "id": o.id, "client_order_id": o.client_order_id, "symbol": o.symbol, "asset_class": "us_equity", "notional": null, "qty": o.qty.to_string(),
        "filled_qty": o.filled_qty.to_string(), "filled_avg_price": o.filled_avg_price.map(|p| p.to_string()), "order_class": "", "order_type": kind, "type": kind,
        "side": if o.side == Side::Buy { "buy" } else { "sell" }, "time_in_force": tif, "limit_price": o.limit_price.map(|p| p.to_string()), "stop_price": null,
        "status": o.status, "submitted_at": o.submitted_at, "updated_at": o.updated_at, "legs": null
    })
}

fn error(status: u16, code: i64, message: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(json!({"code": code, "message": message}))).into_response()
}

async fn post_order(State(d): State<Arc<Double>>, bytes: Bytes) -> Response {
    let v: Value = serde_json::from_slice(&bytes).unwrap();
    let side = if v["side"] == "buy" { Side::Buy } else { Side::Sell };
    let mut i = intent(v["symbol"].as_str().unwrap(), side, v["qty"].as_str().unwrap().parse().unwrap());
    i.client_order_id = v["client_order_id"].as_str().unwrap().to_string();
    let answer = match d.broker.submit(&i) {
        Submitted::Accepted(o) => axum::Json(body(&o)).into_response(),
        Submitted::Duplicate => error(422, 40_010_001, "client_order_id must be unique"),
        Submitted::Refused { text, .. } => error(403, 40_310_000, &text),
        Submitted::RateLimited { .. } | Submitted::NotSent { .. } => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3")], "{}").into_response(),
        Submitted::Unknown(_) => error(504, 50_410_000, "upstream timed out"),
    };
    match d.after_post.swap(0, Ordering::SeqCst) {
        0 => answer,
        status => error(status, 50_010_000, "internal server error"),
    }
}

async fn by_client_id(State(d): State<Arc<Double>>, Query(q): Query<BTreeMap<String, String>>) -> Response {
    match d.on_lookup.swap(0, Ordering::SeqCst) {
        0 => {}
        404 => return (StatusCode::NOT_FOUND, "<html>no such page</html>").into_response(),
        status => return error(status, 1, "later"),
    }
    match d.broker.find_by_client_id(&q["client_order_id"]) {
        Lookup::Found(o) => axum::Json(body(&o)).into_response(),
        _ => error(404, 40_410_000, "order not found"),
    }
}

async fn account(State(d): State<Arc<Double>>) -> Response {
    let a = d.broker.account().unwrap();
    let (equity, cash, power) = (a.equity.to_string(), a.cash.to_string(), a.buying_power.to_string());
    axum::Json(json!({"account_number": a.account, "equity": equity, "cash": cash, "buying_power": power, "currency": "USD", "status": "ACTIVE",
        "trading_blocked": false, "account_blocked": false}))
    .into_response()
}

async fn clock(State(d): State<Arc<Double>>) -> Response {
    let c = d.broker.clock().unwrap();
    axum::Json(json!({"timestamp": c.now, "is_open": c.is_open, "next_open": c.next_open, "next_close": c.next_close})).into_response()
}

async fn orders(State(d): State<Arc<Double>>, Query(q): Query<BTreeMap<String, String>>) -> Response {
    let t = d.broker.truth.lock().unwrap();
    let open = q.get("status").is_some_and(|s| s == "open");
    let list: Vec<Value> = t.orders.values().filter(|o| !open || o.is_open()).map(body).collect();
    axum::Json(list).into_response()
}

async fn fills(State(d): State<Arc<Double>>, Query(q): Query<BTreeMap<String, String>>) -> Response {
    let all = d.broker.fills_since(None).unwrap();
    let from = q.get("page_token").and_then(|t| all.iter().position(|f| &f.id == t)).map_or(0, |i| i + 1);
    let page: Vec<Value> = all[from..]
        .iter()
        .take(q.get("page_size").and_then(|s| s.parse().ok()).unwrap_or(100))
        .map(|f| {
            let side = if f.side == Side::Buy { "buy" } else { "sell" };
            json!({"activity_type": "FILL", "id": f.id, "order_id": f.order_id, "symbol": f.symbol, "side": side, "qty": f.qty.to_string(),
                "price": f.price.to_string(), "transaction_time": f.at, "type": "fill", "cum_qty": f.qty.to_string(), "leaves_qty": "0"})
        })
        .collect();
    axum::Json(page).into_response()
}

async fn positions(State(d): State<Arc<Double>>) -> Response {
    let list: Vec<Value> = d
        .broker
        .positions()
        .unwrap()
        .into_iter()
        .map(|p| {
            let side = if p.qty > 0.0 { "long" } else { "short" };
            json!({"symbol": p.symbol, "qty": p.qty.to_string(), "side": side, "avg_entry_price": p.avg_price.to_string(), "current_price": "1.0"})
        })
        .collect();
    axum::Json(list).into_response()
}

/// Serve the double; returns its base URL.
pub fn serve(host: &Host, double: &Arc<Double>) -> String {
    let app = axum::Router::new()
        .route("/v2/orders", post(post_order).get(orders))
        .route("/v2/orders:by_client_order_id", get(by_client_id))
        .route("/v2/account", get(account))
        .route("/v2/clock", get(clock))
        .route("/v2/account/activities/FILL", get(fills))
        .route("/v2/positions", get(positions))
        .with_state(Arc::clone(double));
    host.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        base
    })
    .unwrap()
}
