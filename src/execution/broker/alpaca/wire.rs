//! The bodies of Alpaca's Trading API, and the one place where an answer becomes an outcome.

use crate::execution::broker::{ActivityKind, BrokerActivity, BrokerFill, BrokerOrder, BrokerPosition, FillKind, Submitted};
use crate::execution::order::{Intent, OrderType, Tif};
use crate::types::Side;
use data_layer::time::{UtcTime, new_york};
use serde_json::{Value, json};

/// `{"code": 40010001, "message": "…"}`, whose code is a number or, rarely, a string.
pub(super) fn broker_words(body: &str) -> Option<(String, String)> {
    let v: Value = serde_json::from_str(body).ok()?;
    let text = v.get("message")?.as_str()?.to_string();
    let code_text = v.get("code").map_or_else(String::new, |c| c.as_str().map_or_else(|| c.to_string(), str::to_string));
    Some((code_text, text))
}

/// A number, whether it came as one or as a string; never `NaN`.
pub(super) fn number(v: Option<&Value>) -> Option<f64> {
    let n = match v? {
        Value::Number(n) => n.as_f64()?,
        Value::String(s) => s.trim().parse().ok()?,
        _ => return None,
    };
    n.is_finite().then_some(n)
}

pub(super) fn text<'v>(v: &'v Value, key: &str) -> Option<&'v str> {
    v.get(key).and_then(Value::as_str)
}

pub(super) fn stamp(v: &Value, key: &str) -> Option<UtcTime> {
    text(v, key).and_then(|t| UtcTime::parse(t).ok())
}

fn side_of(word: &str) -> Option<Side> {
    match word {
        "buy" => Some(Side::Buy),
        "sell" | "sell_short" => Some(Side::Sell),
        _ => None,
    }
}

/// An order body; `None` when something that identifies it is missing.
pub fn parse_order(v: &Value) -> Option<BrokerOrder> {
    let kind = match text(v, "type").filter(|t| !t.is_empty()).or_else(|| text(v, "order_type"))? {
        "market" => OrderType::Market,
        "limit" => OrderType::Limit,
        "stop" => OrderType::Stop,
        "stop_limit" => OrderType::StopLimit,
        _ => return None,
    };
    let tif = match text(v, "time_in_force")? {
        "day" => Tif::Day,
        "ioc" => Tif::Ioc,
        "fok" => Tif::Fok,
        "gtc" => Tif::Gtc,
        "opg" => Tif::Opg,
        _ => return None,
    };
    Some(BrokerOrder {
        id: text(v, "id")?.to_string(),
        client_order_id: text(v, "client_order_id")?.to_string(),
        symbol: text(v, "symbol")?.to_string(),
        side: side_of(text(v, "side")?)?,
        qty: number(v.get("qty"))?,
        order_type: kind,
        tif,
        limit_price: number(v.get("limit_price")),
        stop_price: number(v.get("stop_price")),
        status: text(v, "status")?.to_string(),
        filled_qty: number(v.get("filled_qty")).unwrap_or(0.0),
        filled_avg_price: number(v.get("filled_avg_price")).filter(|p| *p > 0.0),
        submitted_at: stamp(v, "submitted_at"),
        updated_at: stamp(v, "updated_at").or_else(|| stamp(v, "submitted_at")),
    })
}

/// The kinds of activities that are no executions and change cash or shares.
pub(super) const BOOKINGS: &str = "DIV,DIVCGL,DIVCGS,DIVFEE,DIVFT,DIVNRA,DIVROC,DIVTW,DIVTXEX,INT,INTNRA,INTTW,FEE,CFEE,PTC,MA,REORG";

/// A row of `/v2/account/activities` that is no execution. Splits are none of these: they are known from the reference data, and
/// compared with the broker's own share count.
pub fn parse_activity(v: &Value) -> Option<BrokerActivity> {
    let kind = match text(v, "activity_type")? {
        t if t.starts_with("DIV") => ActivityKind::Dividend,
        t if t.starts_with("INT") => ActivityKind::Interest,
        "MA" | "REORG" => ActivityKind::Removal,
        _ => ActivityKind::Fee,
    };
    Some(BrokerActivity {
        id: text(v, "id")?.to_string(),
        kind,
        symbol: text(v, "symbol").filter(|s| !s.is_empty()).map(str::to_string),
        qty: number(v.get("qty")).unwrap_or(0.0),
        amount: number(v.get("net_amount"))?,
        at: UtcTime::midnight_in(&new_york(), text(v, "date")?.get(..10)?.parse().ok()?),
    })
}

/// A row of `/v2/account/activities/FILL`.
pub fn parse_fill(v: &Value) -> Option<BrokerFill> {
    let kind = match text(v, "type") {
        Some("trade_bust") => FillKind::Bust,
        Some("trade_correct") => FillKind::Correct,
        _ => FillKind::Fill,
    };
    Some(BrokerFill {
        id: text(v, "id")?.to_string(),
        order_id: text(v, "order_id")?.to_string(),
        symbol: text(v, "symbol")?.to_string(),
        side: side_of(text(v, "side")?)?,
        qty: number(v.get("qty"))?,
        price: number(v.get("price"))?,
        fee: number(v.get("commission")),
        at: stamp(v, "transaction_time")?,
        kind,
    })
}

pub(super) fn parse_position(v: &Value) -> Option<BrokerPosition> {
    let qty = number(v.get("qty"))?;
    let signed = if text(v, "side") == Some("short") { -qty.abs() } else { qty };
    Some(BrokerPosition {
        symbol: text(v, "symbol")?.to_string(),
        qty: signed,
        avg_price: number(v.get("avg_entry_price"))?,
        price: number(v.get("current_price")),
    })
}

/// The body of a POST.
pub(super) fn order_body(i: &Intent) -> Value {
    let kind = match i.order_type {
        OrderType::Market => "market",
        OrderType::Limit => "limit",
        OrderType::Stop => "stop",
        OrderType::StopLimit => "stop_limit",
    };
    let tif = match i.tif {
        Tif::Day => "day",
        Tif::Ioc => "ioc",
        Tif::Fok => "fok",
        Tif::Gtc => "gtc",
        Tif::Opg => "opg",
    };
    let side = if i.side == Side::Buy { "buy" } else { "sell" };
    let mut body = json!({
        "symbol": i.symbol, "qty": i.qty.to_string(), "side": side, "type": kind, "time_in_force": tif, "client_order_id": i.client_order_id
    });
    for (key, price) in [("limit_price", i.limit_price), ("stop_price", i.stop_price)] {
        if let Some(p) = price {
            body[key] = json!(p.to_string());
        }
    }
    body
}

/// The body of a PATCH: what may change, and the new order's own id.
pub(super) fn replace_body(i: &Intent) -> Value {
    let mut body = order_body(i);
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|key, _| !matches!(key.as_str(), "symbol" | "side" | "type"));
    }
    body
}

/// Status and body of a POST to an outcome. What is not certain is unknown.
pub fn classify_submit(status: u16, retry_after_s: Option<u64>, body: &str, intent: &Intent) -> Submitted {
    let words = broker_words(body);
    match (status, words) {
        (200..=299, _) => match serde_json::from_str::<Value>(body).ok().as_ref().and_then(parse_order) {
            Some(order) if order.matches(intent) => Submitted::Accepted(order),
            Some(_) => Submitted::Unknown("the broker's answer is about another order".into()),
            None => Submitted::Unknown("the broker's answer cannot be read".into()),
        },
        (429, _) => Submitted::RateLimited { retry_after_s: retry_after_s.unwrap_or(60).clamp(1, 300) },
        (408 | 409, _) => Submitted::Unknown(text!("status {status}")),
        (422, Some((_, text))) if text.to_ascii_lowercase().contains("client_order_id must be unique") => Submitted::Duplicate,
        (400..=499, Some((code, text))) => Submitted::Refused { code, text },
        _ => Submitted::Unknown(text!("status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::order::tests::intent;

    #[test]
    fn lesson_089_every_status_of_a_post_has_its_class() {
        let i = intent("AAPL", Side::Buy, 10.0);
        let body = json!({"id": "b1", "client_order_id": i.client_order_id, "symbol": "AAPL", "side": "buy", "qty": "10", "type": "market",
            "time_in_force": "day", "status": "accepted", "filled_qty": "0", "limit_price": null})
        .to_string();
        let class = |status, body: &str| classify_submit(status, None, body, &i);
        assert!(matches!(class(200, &body), Submitted::Accepted(_)));
        assert!(matches!(class(200, &body.replace("\"10\"", "\"11\"")), Submitted::Unknown(_)));
        assert!(matches!(class(200, "<html>"), Submitted::Unknown(_)));
        assert_eq!(class(422, r#"{"code": 40010001, "message": "client_order_id must be unique"}"#), Submitted::Duplicate);
        assert!(matches!(class(422, r#"{"code": 40010001, "message": "qty must be integer"}"#), Submitted::Refused { .. }));
        assert!(matches!(class(403, r#"{"code":40310000,"message":"insufficient buying power"}"#), Submitted::Refused { .. }));
        assert!(matches!(class(403, "<html>"), Submitted::Unknown(_)));
        for status in [408, 409, 500, 502, 503, 504] {
            assert!(matches!(class(status, r#"{"code":1,"message":"x"}"#), Submitted::Unknown(_)), "{status}");
        }
        assert_eq!(class(429, ""), Submitted::RateLimited { retry_after_s: 60 });
    }

    #[test]
    fn numbers_are_read_as_strings_or_numbers_and_positions_carry_their_sign() {
        let p = parse_position(&json!({"symbol": "AAPL", "qty": "-5", "side": "short", "avg_entry_price": "100.0", "current_price": "120.0"})).unwrap();
        assert_eq!((p.qty, p.avg_price), (-5.0, 100.0));
        assert_eq!(number(Some(&json!("NaN"))), None);
        let f = parse_fill(&json!({"activity_type": "FILL", "cum_qty": "2", "id": "20220202135509981::2d7be4ff", "leaves_qty": "0", "order_id": "b5",
            "price": "174.78", "qty": "2", "side": "buy", "symbol": "AAPL", "transaction_time": "2022-02-02T18:55:09.981482Z", "type": "fill"}))
        .unwrap();
        assert_eq!((f.qty, f.price, f.kind), (2.0, 174.78, FillKind::Fill));
    }
}
