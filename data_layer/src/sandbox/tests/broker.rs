use super::*;

fn limit(id: &str, side: &str, price: &str, tif: &str) -> String {
    format!(r#"{{"symbol":"A","qty":5,"side":"{side}","type":"limit","limit_price":"{price}","time_in_force":"{tif}","client_order_id":"{id}"}}"#)
}

const ORDERS: &str = "/alpaca_trading/v2/orders";

#[test]
fn a_market_order_fills_at_the_next_open_and_not_before() {
    let small = small();
    let s = small.open();
    assert_eq!(s.now(), t("2017-11-21T21:00:00Z"));
    let placed = s.post(ORDERS, &buy("o1", "A", 10));
    assert_eq!((placed.status, placed.value()["status"].as_str().unwrap()), (200, "accepted"));
    assert_eq!(placed.value()["qty"], "10");
    s.go("2017-11-22T14:29:59Z");
    assert_eq!(s.order("o1")["status"], "accepted");
    s.go("2017-11-22T14:30:00Z");
    let filled = s.order("o1");
    assert_eq!((filled["status"].as_str(), filled["filled_avg_price"].as_str(), filled["filled_qty"].as_str()), (Some("filled"), Some("101"), Some("10")));
    assert_eq!(filled["filled_at"], "2017-11-22T14:30:00.000000Z");
    let account = s.get("/alpaca_trading/v2/account").value();
    assert_eq!(account["account_number"], "SIM000001");
    assert_eq!((account["cash"].as_str(), account["equity"].as_str()), (Some("98990"), Some("100000")), "marked at the last close, 101");
    s.go("2017-11-22T21:00:00Z");
    let account = s.get("/alpaca_trading/v2/account").value();
    assert_eq!((account["equity"].as_str(), account["last_equity"].as_str()), (Some("100010"), Some("100000")));
    let position = &s.get("/alpaca_trading/v2/positions").value()[0];
    assert_eq!((position["qty"].as_str(), position["avg_entry_price"].as_str(), position["unrealized_pl"].as_str()), (Some("10"), Some("101"), Some("10")));
}

#[test]
fn an_order_sent_during_a_session_gets_its_close_and_one_sent_after_it_the_opening_behind_the_holiday() {
    let small = small();
    let s = small.open();
    let price_and_time = |id: &str| {
        let o = s.order(id);
        (o["filled_avg_price"].as_str().map(str::to_string), o["filled_at"].as_str().map(str::to_string))
    };
    let some = |price: &str, at: &str| (Some(price.to_string()), Some(at.to_string()));
    s.go("2017-11-22T18:00:00Z");
    s.post(ORDERS, &buy("during", "A", 1));
    // The close of the 22nd is 102.
    for (id, price) in [("beyond", "102.01"), ("at", "102"), ("short of", "101.99")] {
        s.post(ORDERS, &limit(id, "buy", price, "day"));
    }
    s.go("2017-11-22T20:59:59Z");
    assert_eq!(s.order("during")["status"], "accepted");
    s.go("2017-11-22T21:00:00Z");
    assert_eq!(price_and_time("during"), some("102", "2017-11-22T21:00:00.000000Z"));
    assert_eq!(price_and_time("beyond"), some("102.01", "2017-11-22T21:00:00.000000Z"));
    assert_eq!(["at", "short of"].map(|id| s.order(id)["status"].clone()), ["expired", "expired"]);
    s.post(ORDERS, &buy("after", "A", 1));
    s.go("2017-11-24T14:29:00Z");
    assert_eq!(s.order("after")["status"], "accepted");
    s.go("2017-11-24T14:30:00Z");
    assert_eq!(price_and_time("after"), some("102", "2017-11-24T14:30:00.000000Z"));
}

#[test]
fn limits_fill_only_through_their_price_and_day_orders_expire() {
    let small = small();
    let s = small.open();
    // Session of the 22nd: open 101, high 103, low 99.
    for (id, side, price, tif) in [
        ("better-open", "buy", "101.5", "day"),
        ("at-open", "buy", "101", "gtc"),
        ("touch", "buy", "99", "day"),
        ("through", "sell", "102.99", "day"),
        ("auction", "buy", "100.5", "opg"),
    ] {
        let at = if tif == "opg" { "2017-11-22T00:00:00Z" } else { "2017-11-21T21:00:00Z" };
        s.go(at.max(&s.now().to_string()[..]).to_string().as_str());
        assert_eq!(s.post(ORDERS, &limit(id, side, price, tif)).status, 200, "{id}");
    }
    s.go("2017-11-22T14:30:00Z");
    let seen = |id: &str| (s.order(id)["status"].as_str().unwrap().to_string(), s.order(id)["filled_avg_price"].as_str().map(str::to_string));
    assert_eq!(seen("better-open"), ("filled".into(), Some("101".into())));
    assert_eq!(seen("auction").0, "expired");
    assert_eq!(seen("at-open").0, "accepted");
    s.go("2017-11-22T21:00:00Z");
    assert_eq!(seen("touch").0, "expired");
    assert_eq!(seen("through"), ("filled".into(), Some("102.99".into())));
    assert_eq!(seen("at-open"), ("filled".into(), Some("101".into())), "the low went through it");
}

#[test]
fn orders_in_a_name_that_trades_no_more_are_cancelled_and_new_ones_refused() {
    let small = small();
    let s = small.open();
    s.go("2017-11-27T21:00:00Z");
    assert_eq!(s.post(ORDERS, &buy("late", "C", 1)).status, 200);
    s.go("2017-11-28T21:00:00Z");
    assert_eq!(s.order("late")["status"], "canceled");
    let refused = s.post(ORDERS, &buy("later", "C", 1));
    assert_eq!((refused.status, refused.value()["message"].as_str().unwrap()), (422, "asset C is not active"));
}

#[test]
fn client_order_ids_stay_taken_across_a_restart() {
    let small = small();
    {
        let s = small.open();
        assert_eq!(s.post(ORDERS, &buy("once", "A", 1)).status, 200);
        assert_eq!(s.answer(&call("DELETE", &format!("{ORDERS}/{}", s.order("once")["id"].as_str().unwrap()), "")).reply.status, 204);
        s.go("2017-11-22T21:00:00Z");
    }
    let s = small.open();
    assert_eq!(s.now(), t("2017-11-22T21:00:00Z"), "the clock is part of the state");
    let again = s.post(ORDERS, &buy("once", "A", 1));
    assert_eq!((again.status, again.value()), (422, serde_json::json!({"code": 40_010_001, "message": "client_order_id must be unique"})));
    assert_eq!(s.order("once")["status"], "canceled");
}

#[test]
fn a_book_belongs_to_one_world_and_one_sandbox() {
    let small = small();
    let running = small.open();
    assert!(State::open(&small.cfg).err().unwrap().is(crate::error::code::SSD_HELD));
    drop(running);
    let other = SandboxConfig { data_dir: None, ..small.cfg.clone() };
    assert!(State::open(&other).err().unwrap().is(crate::error::code::CFG_DATASET_MIXED));
}

#[test]
fn refusals_have_the_brokers_words() {
    let small = small();
    let s = small.open();
    let said = |body: &str| {
        let r = s.post(ORDERS, body);
        (r.status, r.value()["code"].as_u64().unwrap(), r.value()["message"].as_str().unwrap().to_string())
    };
    assert_eq!(said(r#"{"symbol":"A","side":"buy","type":"market","time_in_force":"day"}"#), (422, 40_010_001, "qty or notional is required".into()));
    assert_eq!(said(&buy("x", "NOPE", 1)).0, 422);
    assert_eq!(said(&buy("x", "A", 0)), (422, 40_010_001, "qty must be > 0".into()));
    assert_eq!(said(&buy("x", "A", 100_000)), (403, 40_310_000, "insufficient buying power".into()));
    assert_eq!(said(&limit("x", "buy", "100.001", "day")).1, 42_210_000);
    let opg = buy("x", "A", 1).replace("\"day\"", "\"opg\"");
    assert_eq!(said(&opg).0, 422, "16:00 is before 19:00");
    assert_eq!(said("not json").0, 422);
    let mut bare = call("GET", "/alpaca_trading/v2/account", "");
    bare.headers.insert("apca-api-secret-key".into(), "wrong".into());
    assert_eq!(s.answer(&bare).reply.status, 403);
    bare.headers.clear();
    assert_eq!(s.answer(&bare).reply.status, 401);
    assert_eq!(s.order("x")["code"], 40_410_000, "nothing of this reached the book");
}

#[test]
fn buying_power_counts_open_orders_and_shorts() {
    let small = small();
    let s = small.open();
    assert_eq!(s.post(ORDERS, &buy("a", "A", 1000)).status, 200); // 101,000 of 200,000
    let sell = buy("b", "B", 1500).replace("buy", "sell"); // 76,500
    assert_eq!(s.post(ORDERS, &sell).status, 200);
    assert_eq!(s.get("/alpaca_trading/v2/account").value()["buying_power"], "22500");
    assert_eq!(s.post(ORDERS, &buy("c", "A", 223)).status, 403);
    s.go("2017-11-22T21:00:00Z");
    let position = s.get("/alpaca_trading/v2/positions/B").value();
    assert_eq!((position["side"].as_str(), position["qty"].as_str(), position["market_value"].as_str()), (Some("short"), Some("-1500"), Some("-78000")));
    assert_eq!(s.post(ORDERS, &buy("cover", "B", 1500)).status, 200, "closing needs no buying power");
}

#[test]
fn listings_and_fills_can_be_paged() {
    let small = small();
    let s = small.open();
    for i in 0..7 {
        s.post(ORDERS, &buy(&format!("o{i}"), "A", 1));
    }
    let all = s.get(&format!("{ORDERS}?status=open&limit=500&direction=asc")).value();
    assert_eq!(all.as_array().unwrap().len(), 7);
    let third = all[2]["submitted_at"].as_str().unwrap();
    assert_eq!(s.get(&format!("{ORDERS}?status=all&direction=asc&after={third}")).value().as_array().unwrap().len(), 4);
    assert_eq!(s.get(&format!("{ORDERS}?status=closed")).value().as_array().unwrap().len(), 0);
    assert_eq!(s.get(&format!("{ORDERS}?limit=501")).status, 422);
    s.go("2017-11-22T21:00:00Z");
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let page = s.get(&format!("/alpaca_trading/v2/account/activities/FILL?page_size=3&direction=asc{token}")).value();
        let page = page.as_array().unwrap().clone();
        let Some(last) = page.last() else { break };
        token = format!("&page_token={}", last["id"].as_str().unwrap());
        seen.extend(page.iter().map(|f| f["order_id"].as_str().unwrap().to_string()));
    }
    let expected: Vec<String> = all.as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap().to_string()).collect();
    assert_eq!(seen, expected);
    assert_eq!(s.get("/alpaca_trading/v2/clock").value()["next_open"], "2017-11-24T09:30:00-05:00");
    assert_eq!(s.get("/alpaca_trading/v2/calendar?start=2017-11-23&end=2017-11-24").value()[0]["close"], "13:00");
    assert_eq!(s.get("/alpaca_trading/v2/assets?status=active").value().as_array().unwrap().len(), 3);
}

#[test]
fn a_replaced_order_makes_room_for_another_under_a_new_id() {
    let small = small();
    let s = small.open();
    let old = s.post(ORDERS, &buy("o1", "A", 10)).value()["id"].as_str().unwrap().to_string();
    let patch = |id: &str, body: &str| s.answer(&call("PATCH", &format!("{ORDERS}/{id}"), body)).reply;
    let new = patch(&old, r#"{"qty":"4","client_order_id":"o2"}"#);
    let new_body = new.value();
    assert_eq!((new.status, new_body["qty"].as_str(), new_body["replaces"].as_str()), (200, Some("4"), Some(old.as_str())));
    let before = s.order("o1");
    assert_eq!((before["status"].as_str(), before["replaced_by"].as_str()), (Some("replaced"), new_body["id"].as_str()));
    let again = patch(new_body["id"].as_str().unwrap(), r#"{"qty":"3","client_order_id":"o1"}"#);
    assert_eq!((again.status, again.value()["message"].as_str()), (422, Some("client_order_id must be unique")));
    assert_eq!((patch(&old, r#"{"qty":"2"}"#).status, patch("nobody", "{}").status), (422, 404));
    s.go("2017-11-22T14:30:00Z");
    assert_eq!((s.order("o1")["filled_qty"].as_str(), s.order("o2")["filled_qty"].as_str()), (Some("0"), Some("4")));
    assert_eq!(patch(new_body["id"].as_str().unwrap(), "{}").status, 422, "it is filled");
}

#[test]
fn an_order_sent_during_a_session_fills_at_a_later_minute_where_the_world_has_minutes() {
    let small = small();
    let mut s = small.open();
    s.world.minutes_from = Some("2017-11-01".parse().unwrap());
    s.go("2017-11-22T18:00:30Z");
    s.post(ORDERS, &buy("market", "A", 1));
    s.post(ORDERS, &limit("never", "buy", "50", "day"));
    let quote = s.get("/alpaca_data/v2/stocks/A/trades/latest").value();
    let price = quote["trade"]["p"].as_f64().unwrap();
    assert!((99.0..=103.0).contains(&price) && quote["trade"]["t"].as_str().unwrap() < "2017-11-22T18:00:30", "{quote}");
    assert_eq!(s.order("market")["status"], "accepted");
    s.go("2017-11-22T18:30:00Z");
    let filled = s.order("market");
    let paid: f64 = filled["filled_avg_price"].as_str().unwrap().parse().unwrap();
    assert!(filled["status"] == "filled" && (99.0..=103.0).contains(&paid) && filled["filled_at"].as_str().unwrap() > "2017-11-22T18:00:30", "{filled}");
    s.go("2017-11-22T21:00:00Z");
    assert_eq!(s.order("never")["status"], "expired");
}
