use super::super::{Sandbox, client, start};
use super::*;
use crate::error::code;

fn running(host: &Host, small: &Small) -> Sandbox {
    host.block_on(start(host, small.cfg.clone())).unwrap().unwrap()
}

/// Send one request with the practice keys; `Err` is a broken connection.
fn send(host: &Host, method: &str, url: String, body: &str) -> Result<(u16, String), reqwest::Error> {
    let request = host
        .http()
        .request(method.parse().unwrap(), url)
        .header("APCA-API-KEY-ID", keys::ALPACA_ID)
        .header("APCA-API-SECRET-KEY", keys::ALPACA_SECRET)
        .body(body.to_string());
    host.block_on(async move {
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    })
    .unwrap()
}

#[test]
fn the_clock_moves_forward_only_and_survives_a_restart() {
    let (host, small) = (host(), small());
    let sandbox = running(&host, &small);
    let base = sandbox.base();
    let info = host.block_on(client::world(&host, &base)).unwrap().unwrap();
    assert_eq!((info.first.to_string(), info.last.to_string(), info.symbols), ("2017-11-21".into(), "2017-11-29".into(), 3));
    assert_eq!(info.lanes["equities_minute"], "not_entitled");
    assert_eq!(client::base_from(&sandbox.env).unwrap(), base);
    let ready: Value = serde_json::from_str(&sandbox.ready_line()).unwrap();
    assert_eq!((ready["event"].as_str(), ready["env"]["TRADEML_CLOCK"].as_str()), (Some("sandbox.ready"), Some("world")));
    let face = host.block_on(client::advance_by(&host, &base, "next_close")).unwrap().unwrap();
    assert_eq!(face.now, t("2017-11-22T21:00:00Z"));
    let back = host.block_on(client::advance(&host, &base, t("2017-11-22T20:59:59Z"))).unwrap();
    assert!(back.unwrap_err().is(code::HOST_CLOCK));
    let (status, _) = send(&host, "POST", format!("{base}/_world/clock"), r#"{"to":"2017-11-21T00:00:00Z"}"#).unwrap();
    assert_eq!(status, 409);
    assert_eq!(send(&host, "POST", format!("{base}/_world/clock"), r#"{"advance":"soon"}"#).unwrap().0, 422);
    drop(sandbox);
    let again = running(&host, &small);
    assert_eq!(host.block_on(client::clock(&host, &again.base())).unwrap().unwrap().now, t("2017-11-22T21:00:00Z"));
    host.block_on(again.stop()).unwrap().unwrap();
}

#[test]
fn a_lost_acknowledgement_leaves_the_order_in_the_book() {
    let (host, small) = (host(), small());
    let sandbox = running(&host, &small);
    let orders = format!("{}/alpaca_trading/v2/orders", sandbox.base());
    let plan = |text: &str| host.block_on(client::set_faults(&host, &sandbox.base(), text)).unwrap();
    plan("version: 1\nfaults: [{vendor: alpaca_trading, path: '/v2/orders', method: POST, times: 1, do: lost_ack}]").unwrap();
    assert!(send(&host, "POST", orders.clone(), &buy("once", "A", 1)).is_err());
    let (status, body) = send(&host, "GET", format!("{orders}:by_client_order_id?client_order_id=once"), "").unwrap();
    assert!(status == 200 && body.contains("\"once\""));
    assert_eq!(send(&host, "POST", orders.clone(), &buy("once", "A", 1)).unwrap().0, 422);
    plan("version: 1\nfaults: [{method: POST, nth: 1, do: reset}, {method: POST, nth: 1, do: error_after}, {method: POST, nth: 1, do: error_before}]").unwrap();
    assert!(send(&host, "POST", orders.clone(), &buy("reset", "A", 1)).is_err());
    assert_eq!(send(&host, "POST", orders.clone(), &buy("after", "A", 1)).unwrap().0, 500);
    assert_eq!(send(&host, "POST", orders.clone(), &buy("before", "A", 1)).unwrap().0, 500);
    let found = |id: &str| send(&host, "GET", format!("{orders}:by_client_order_id?client_order_id={id}"), "").unwrap().0;
    assert_eq!((found("reset"), found("after"), found("before")), (404, 200, 404));
    assert!(plan("version: 1\nfaults: [{do: status}]").is_err());
}

#[test]
fn bodies_are_truncated_doubled_shortened_and_replaced_as_planned() {
    let (host, small) = (host(), small());
    let sandbox = running(&host, &small);
    host.block_on(client::advance(&host, &sandbox.base(), t("2017-11-29T22:00:00Z"))).unwrap().unwrap();
    let url = format!("{}/alpaca_data/v2/stocks/bars?symbols=A,B&timeframe=1Day&start=2017-11-21&end=2017-11-29", sandbox.base());
    let with = |fault: &str| {
        host.block_on(client::set_faults(&host, &sandbox.base(), &format!("version: 1\nfaults: [{fault}]"))).unwrap().unwrap();
        send(&host, "GET", url.clone(), "")
    };
    let bars = |fault: &str| serde_json::from_str::<Value>(&with(fault).unwrap().1).unwrap()["bars"].clone();
    let n = |v: &Value| v.as_array().map_or(0, Vec::len);
    assert_eq!(n(&bars("")["A"]), 6);
    assert!(with("{do: truncate}").is_err());
    assert_eq!(n(&bars("{do: duplicate_rows}")["B"]), 7);
    let dropped = bars("{do: drop_session, symbol: A, session: '2017-11-24'}");
    assert_eq!((n(&dropped["A"]), n(&dropped["B"])), (5, 6));
    assert_eq!(n(&bars("{do: page_short, rows: 2}")["A"]), 2);
    assert_eq!(n(&bars("{do: wrong_symbol, symbol: B, as_symbol: Q}")["Q"]), 6);
    assert_eq!(with("{do: status, status: 429}").unwrap().0, 429);
    assert!(with("{do: html}").unwrap().1.starts_with("<!DOCTYPE"));
    assert!(with("{do: body, fixture: errors/av_information_day.json}").unwrap().1.contains("25 requests per day"));
    assert_eq!(with("{do: entitlement}").unwrap().0, 403);
    assert_eq!(with("{do: slow, seconds: 0.01}").unwrap().0, 200);
    let (_, calls) = send(&host, "GET", format!("{}/_world/calls", sandbox.base()), "").unwrap();
    let calls: Value = serde_json::from_str(&calls).unwrap();
    let total = calls["calls"].as_array().unwrap().iter().find(|c| c["vendor"] == "alpaca_data" && c["window"] == "total").unwrap().clone();
    assert_eq!(total["calls"], 11);
    assert_eq!(send(&host, "GET", format!("{}/nowhere/x", sandbox.base()), "").unwrap().0, 404);
}
