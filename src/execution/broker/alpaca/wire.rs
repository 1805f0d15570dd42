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
        client_order_id: text(v, "client_order_id")?.to_string(),
        symbol: text(v, "symbol")?.to_string(),
        side: side_of(text(v, "side")?)?,
        qty: number(v.get("qty"))?,
        order_type: kind,
        tif,
        ..as_far_as_read(v)?
    })
}

/// What our own ids begin with.
const OUR_IDS: &str = "tm1-";
/// Stands for a quantity that an order does not say: more shares than any account holds, so that nothing beside it counts as a reduction.
const ANY_QTY: f64 = 1e9;

/// An order of a list. One of somebody else may be of a kind that is not read here (a trailing stop, dollars in place of shares, several
/// legs): what is known of it is kept, so that it can be set aside. One of ours must be readable.
pub fn parse_listed(v: &Value) -> Option<BrokerOrder> {
    parse_order(v).or_else(|| as_far_as_read(v).filter(|order| !order.client_order_id.starts_with(OUR_IDS)))
}

/// What is known of any order, with a plain kind in place of its own and the most careful quantity.
fn as_far_as_read(v: &Value) -> Option<BrokerOrder> {
    let symbol_of = |v: &Value| text(v, "symbol").filter(|s| !s.is_empty()).map(str::to_string);
    let leg = || v.get("legs")?.as_array()?.iter().find_map(symbol_of);
    let sells = text(v, "side").is_some_and(|side| side.starts_with("sell"));
    Some(BrokerOrder {
        id: text(v, "id")?.to_string(),
        client_order_id: text(v, "client_order_id").unwrap_or_default().to_string(),
        symbol: symbol_of(v).or_else(leg).unwrap_or_else(|| "?".into()),
        side: if sells { Side::Sell } else { Side::Buy },
        qty: number(v.get("qty")).unwrap_or(ANY_QTY),
        order_type: OrderType::Market,
        tif: Tif::Gtc,
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
pub(super) const BOOKINGS: &str = "DIV,DIVCGL,DIVCGS,DIVFEE,DIVFT,DIVNRA,DIVROC,DIVTW,DIVTXEX,INT,INTNRA,INTTW,FEE,CFEE,PTC,MA,REORG,CSD,CSW,JNLC";

/// A row of `/v2/account/activities` that is no execution. Splits are none of these: they are known from the reference data, and
/// compared with the broker's own share count.
pub fn parse_activity(v: &Value) -> Option<BrokerActivity> {
    let kind = match text(v, "activity_type")? {
        t if t.starts_with("DIV") => ActivityKind::Dividend,
        t if t.starts_with("INT") => ActivityKind::Interest,
        "MA" | "REORG" => ActivityKind::Removal,
        "CSD" | "CSW" | "JNLC" => ActivityKind::Transfer,
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
        replaces: text(v, "previous_execution_id").filter(|id| !id.is_empty()).map(str::to_string),
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
    fn an_order_of_somebody_else_is_kept_whatever_its_kind_and_one_of_ours_must_be_readable() {
        let plain = json!({"id": "b1", "client_order_id": "app-1", "symbol": "AAPL", "side": "buy", "qty": "10", "type": "market",
            "time_in_force": "day", "status": "new", "filled_qty": "0"});
        let with = |key: &str, value: Value| {
            let mut v = plain.clone();
            v[key] = value;
            v
        };
        for odd in [with("type", json!("trailing_stop")), with("time_in_force", json!("cls")), with("qty", Value::Null), with("side", json!("buy_minus"))] {
            assert_eq!(parse_order(&odd), None, "{odd}");
            let kept = parse_listed(&odd).unwrap();
            assert!(kept.symbol == "AAPL" && kept.is_open() && kept.qty >= 10.0, "{kept:?}");
            let mut ours = odd.clone();
            ours["client_order_id"] = json!("tm1-0123");
            assert_eq!(parse_listed(&ours), None, "{ours}");
        }
        let legs = with("symbol", json!("")).as_object().cloned().map(|mut v| {
            v.insert("type".into(), json!("mleg"));
            v.insert("legs".into(), json!([{"symbol": "XOM"}]));
            Value::Object(v)
        });
        assert_eq!(parse_listed(&legs.unwrap()).unwrap().symbol, "XOM");
        assert_eq!(parse_listed(&json!({"client_order_id": "app-2"})), None, "without an id nothing can be set aside");
    }

    #[test]
    fn money_that_the_owner_moves_is_a_transfer_with_its_sign() {
        for (word, amount) in [("CSD", "2500"), ("CSW", "-300.5"), ("JNLC", "10")] {
            let row = json!({"activity_type": word, "id": "20240102::x", "date": "2024-01-02", "net_amount": amount});
            let a = parse_activity(&row).unwrap();
            assert_eq!((a.kind, a.amount, a.symbol), (ActivityKind::Transfer, amount.parse().unwrap(), None));
            assert!(BOOKINGS.split(',').any(|kind| kind == word), "{word} is asked for");
        }
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
