//! Our field numbers, labels and types against the official ones.

use super::{messages, models, words};
use std::collections::BTreeMap;

const FIELDS: &str = include_str!("../../../tests/golden/ctrader/fields.csv");
const NEWER: &str = include_str!("../../../tests/golden/ctrader/fields_newer.csv");
const ENUMS: &str = include_str!("../../../tests/golden/ctrader/enums.csv");

/// `(message, field)` to number, label and type.
fn official() -> BTreeMap<(String, String), (u32, String, String)> {
    let rows = FIELDS.lines().skip(1).chain(NEWER.lines().skip(1));
    rows.map(|line| {
        let c: Vec<&str> = line.split(',').collect();
        ((c[0].into(), c[1].into()), (c[2].parse().unwrap(), c[3].into(), c[4].into()))
    })
    .collect()
}

fn numbers() -> BTreeMap<(String, String), i32> {
    let rows = ENUMS.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.map(|c| ((c[0].to_string(), c[1].to_string()), c[2].parse().unwrap())).collect()
}

#[test]
fn every_field_that_we_use_has_the_official_number_label_and_type() {
    let (official, mut seen, mut wrong) = (official(), 0, Vec::new());
    for (message, _, fields) in messages::table().into_iter().chain(models::table()) {
        for (field, number, label, kind) in fields {
            let theirs = official.get(&(message.to_string(), (*field).to_string()));
            let ours = (*number, (*label).to_string(), (*kind).to_string());
            if theirs != Some(&ours) {
                wrong.push(format!("{message}.{field}: ours {ours:?}, theirs {theirs:?}"));
            }
            seen += 1;
        }
        // What we always send or need must not be missing from our side either.
        let own: Vec<&str> = fields.iter().map(|f| f.0).collect();
        for ((_, field), _) in official.iter().filter(|((m, _), (_, label, _))| m == message && label == "required") {
            assert!(own.contains(&field.as_str()), "{message}.{field} is required and not spoken");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 200, "{seen} fields were compared");
}

#[test]
fn every_message_has_the_official_payload_type() {
    let (numbers, mut compared) = (numbers(), 0);
    for (message, payload, _) in messages::table() {
        let Some(payload) = payload else { continue };
        // The table of fields names each message's own number by its default; the common ones are numbered apart.
        let family = if payload < 100 { "ProtoPayloadType" } else { "ProtoOAPayloadType" };
        let word = payload_word(message);
        assert_eq!(numbers.get(&(family.to_string(), word.clone())), Some(&(payload as i32)), "{message} as {word}");
        compared += 1;
    }
    assert!(compared >= 45, "{compared} messages were compared");
}

/// `ProtoOAOrderListReq` to `PROTO_OA_ORDER_LIST_REQ`, with the few whose number is called otherwise.
fn payload_word(message: &str) -> String {
    let exceptions = [
        ("ProtoErrorRes", "ERROR_RES"),
        ("ProtoHeartbeatEvent", "HEARTBEAT_EVENT"),
        ("ProtoOAGetAccountListByAccessTokenReq", "PROTO_OA_GET_ACCOUNTS_BY_ACCESS_TOKEN_REQ"),
        ("ProtoOAGetAccountListByAccessTokenRes", "PROTO_OA_GET_ACCOUNTS_BY_ACCESS_TOKEN_RES"),
        ("ProtoOAGetPositionUnrealizedPnLReq", "PROTO_OA_GET_POSITION_UNREALIZED_PNL_REQ"),
        ("ProtoOAGetPositionUnrealizedPnLRes", "PROTO_OA_GET_POSITION_UNREALIZED_PNL_RES"),
    ];
    if let Some((_, word)) = exceptions.iter().find(|(m, _)| *m == message) {
        return (*word).to_string();
    }
    let mut out = "PROTO_OA".to_string();
    for c in message.trim_start_matches("ProtoOA").chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[test]
fn every_word_has_the_official_number() {
    let numbers = numbers();
    for (family, word, number) in words::table() {
        assert_eq!(numbers.get(&(family.to_string(), word.to_string())), Some(&number), "{family}.{word}");
    }
    assert_eq!(words::TradeSide::of(2).unwrap().as_str(), "SELL");
    assert_eq!(words::TradeSide::of(3), None);
}
