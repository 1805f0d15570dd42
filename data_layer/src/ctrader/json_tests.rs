use super::*;
use crate::ctrader::Wire;
use crate::ctrader::messages as m;
use crate::ctrader::models::{Order, TradeData};
use proptest::prelude::*;

/// The example of the official documentation.
const OFFICIAL: &str = r#"{"clientMsgId": "cm_id_2", "payloadType": 2100, "payload": {"clientId": "34Rsd_T098asHkl", "clientSecret": "validClientSecret"}}"#;

#[test]
fn the_official_example_is_the_message_that_it_stands_for() {
    let envelope = parse(OFFICIAL).unwrap();
    let question = m::ApplicationAuthReq { client_id: "34Rsd_T098asHkl".into(), client_secret: "validClientSecret".into() };
    assert_eq!(m::ApplicationAuthReq::unwrapped(&envelope).unwrap(), question);
    assert_eq!(envelope.client_msg_id.as_deref(), Some("cm_id_2"));
    let ours: Value = serde_json::from_str(&text(&question.wrapped(Some("cm_id_2".into()))).unwrap()).unwrap();
    assert_eq!(ours, serde_json::from_str::<Value>(OFFICIAL).unwrap());
}

#[test]
fn words_and_strings_of_digits_are_numbers_and_what_is_not_known_is_left_out() {
    let said = r#"{"payloadType": 2106, "payload": {"ctidTraderAccountId": "9000001", "symbolId": 7, "orderType": "MARKET", "tradeSide": 2, "volume": "100",
        "timeInForce": "GOOD_TILL_CANCEL", "limitPrice": "12.5", "guaranteedStopLoss": false, "stopPrice": null}}"#;
    let q = m::NewOrderReq::unwrapped(&parse(said).unwrap()).unwrap();
    assert_eq!((q.account, q.symbol, q.order_type, q.side, q.volume), (9_000_001, 7, 1, 2, 100));
    assert_eq!((q.time_in_force, q.limit_price, q.stop_price), (Some(2), Some(12.5), None));
    let newer = parse(r#"{"payloadType": 2999, "payload": {"anything": [1]}}"#).unwrap();
    assert_eq!((newer.payload_type, newer.payload), (2999, Some(vec![])));
    assert_eq!(parse(r#"{"payloadType": 51}"#).unwrap(), m::Heartbeat {}.wrapped(None));
}

#[test]
fn what_is_not_of_the_protocol_is_refused() {
    let deep = format!("{}1", "[".repeat(200_000));
    let order = |field: &str| format!(r#"{{"payloadType": 2106, "payload": {{{field}}}}}"#);
    for bad in [
        "",
        "GET / HTTP/1.1",
        "[]",
        r#"{"payload": {}}"#,
        r#"{"payloadType": -1}"#,
        r#"{"payloadType": 2100, "payload": 5}"#,
        r#"{"payloadType": 2100, "clientMsgId": 5}"#,
        deep.as_str(),
        &order(r#""volume": 1.5"#),
        &order(r#""orderType": "SIDEWAYS""#),
        &order(r#""tradeSide": true"#),
        &order(r#""limitPrice": "NaN""#),
        &order(r#""comment": 5"#),
    ] {
        assert_eq!(parse(bad).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bad:.60}");
    }
    let unknown = Envelope { payload_type: 2999, payload: None, client_msg_id: None };
    assert_eq!(text(&unknown).unwrap_err().kind(), io::ErrorKind::InvalidData);
    let half = Envelope { payload: Some(vec![0x18]), ..m::VersionReq {}.wrapped(None) };
    assert!(text(&half).is_err());
}

#[test]
fn every_part_of_every_message_is_known_by_its_table_or_is_a_word() {
    let families: Vec<&str> = words::table().into_iter().map(|(family, ..)| family).collect();
    let plain = ["bool", "int32", "int64", "uint32", "uint64", "double", "string"];
    for (name, _, fields) in messages::table().into_iter().chain(models::table()).filter(|t| t.0 != "ProtoMessage") {
        for (field, _, _, kind) in fields {
            assert!(plain.contains(kind) || MESSAGES.contains_key(kind) || families.contains(kind) || kind.ends_with("Type"), "{name}.{field}: {kind}");
        }
    }
}

proptest! {
    #[test]
    fn a_message_comes_back_from_its_text_as_it_was(
        account in any::<i64>(), ids in prop::collection::vec(any::<i64>(), 0..4), price in prop::option::of(-1e12f64..1e12), label in ".{0,12}", volume in any::<i64>(),
    ) {
        let trade = TradeData { symbol: volume, volume, side: 1, label: Some(label.clone()), ..TradeData::default() };
        let order = Order { id: account, trade, execution_price: price, ..Order::default() };
        let event = m::ExecutionEvent { account, kind: 3, order: Some(order), ..m::ExecutionEvent::default() };
        let back = parse(&text(&event.wrapped(Some(label.clone()))).unwrap()).unwrap();
        prop_assert_eq!(back.client_msg_id.as_deref(), Some(label.as_str()));
        prop_assert_eq!(m::ExecutionEvent::unwrapped(&back).unwrap(), event);
        let list = m::SymbolByIdReq { account, symbols: ids };
        prop_assert_eq!(m::SymbolByIdReq::unwrapped(&parse(&text(&list.wrapped(None)).unwrap()).unwrap()).unwrap(), list);
    }

    #[test]
    fn no_text_and_no_bytes_make_it_panic(said in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        drop(parse(&said));
        drop(parse(&format!(r#"{{"payloadType": 2126, "payload": {said}}}"#)));
        drop(text(&Envelope { payload_type: 2126, payload: Some(bytes), client_msg_id: None }));
    }
}
