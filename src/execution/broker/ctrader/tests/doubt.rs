//! Connections that break at the wrong moment, symbols that could be two things, books that move while they are read.

use super::*;

#[test]
fn an_order_goes_over_the_connection_that_it_was_prepared_for() {
    for dialect in Dialect::ALL {
        let street = Street::speaking(dialect);
        for (n, fault) in ["do: reset", "do: truncate", "do: status, status: 401, text: CH_ACCESS_TOKEN_INVALID"].iter().enumerate() {
            let broker = street.broker(&[]);
            let order = numbered(n as u32);
            street.faults(&format!("{{vendor: ctrader, path: '/ProtoOASymbolByIdReq', times: 1, {fault}}}"));
            let submitted = broker.submit(&order);
            assert!(matches!(&submitted, Submitted::Accepted(o) if o.matches(&order)), "{fault}: {submitted:?}");
        }
        assert_eq!(street.orders().len(), 3);
    }
}

/// An order with an id of its own.
fn numbered(line: u32) -> Intent {
    let mut order = intent("AAPL", Side::Buy, 5.0);
    order.line = line;
    order.client_order_id = order.mint_id();
    order
}

#[test]
fn what_certainly_did_not_arrive_is_sent_when_the_broker_answers_again() {
    let street = Street::new();
    let broker = street.broker(&[]);
    broker.account().unwrap();
    // Four questions are lost, and with them this try; nothing was sent.
    street.faults("{vendor: ctrader, path: '/ProtoOASymbolByIdReq', times: 4, do: reset}");
    let submitted = broker.submit(&numbered(0));
    assert!(matches!(submitted, Submitted::NotSent { .. }), "{submitted:?}");
    assert!(street.orders().is_empty());
    // The sender waits, and sends it once.
    let root = street.root(&street.host(&[], None));
    let broker = CTraderBroker::new(&root, None).unwrap();
    let account = broker.account().unwrap().account;
    let db = Db::open(&root, Which::Journal).unwrap();
    reconcile::run(root.host(), &db, &broker, &account).unwrap();
    let id = outcomes::pinned(&db, &account);
    street.faults("{vendor: ctrader, path: '/ProtoOASymbolByIdReq', times: 8, do: reset}");
    let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &crate::execution::submit::unhindered };
    assert_eq!(sender.send(&id).unwrap(), Outcome::Accepted);
    assert_eq!(street.orders().len(), 1);
}

#[test]
fn a_symbol_in_doubt_is_neither_traded_nor_counted_as_ours() {
    let street = Street::new();
    let broker = street.broker(&[]);
    assert!(matches!(broker.submit(&numbered(0)), Submitted::Accepted(_)));
    street.go(AFTER_OPEN);
    street.faults("{vendor: ctrader, path: '/ProtoOASymbolsListReq', do: twin_symbol, as_symbol: AAPL}");
    let doubtful = street.broker(&[]);
    let Submitted::Refused { code, .. } = doubtful.submit(&numbered(1)) else { panic!("not refused") };
    assert_eq!(code, "ambiguous_symbol");
    let held = doubtful.positions().unwrap();
    assert_eq!((held.len(), held[0].qty), (1, 5.0));
    assert!(held[0].symbol.starts_with('#'), "{held:?}");
    assert!(doubtful.account().is_ok(), "what it is worth is not in doubt");
    // In another currency its worth cannot be added up.
    street.faults("{vendor: ctrader, path: '/ProtoOASymbolsListReq', do: foreign_symbol, as_symbol: AAPL}");
    let foreign = street.broker(&[]);
    let error = foreign.account().unwrap_err();
    assert!(error.is(code::ORD_REFUSED) && error.body().found.as_deref().unwrap_or_default().contains("AAPL"), "{error}");
    let Submitted::Refused { code, .. } = foreign.submit(&numbered(1)) else { panic!("not refused") };
    assert_eq!(code, "currency");
}

#[test]
fn a_symbol_that_costs_something_else_is_not_the_share_that_was_meant() {
    let street = Street::new();
    let broker = street.broker(&[]);
    for (reference_price, taken) in [(18.0, false), (1_900.0, false), (f64::MIN_POSITIVE, false), (172.0, true)] {
        let order = Intent { reference_price, ..numbered(0) };
        match broker.submit(&order) {
            Submitted::Accepted(_) => assert!(taken, "{reference_price}"),
            Submitted::Refused { code, .. } => assert_eq!((code.as_str(), taken), ("price_mismatch", false), "{reference_price}"),
            other => panic!("{reference_price}: {other:?}"),
        }
    }
    // What only closes a position is not kept from it by a price that fell.
    assert!(matches!(broker.submit(&Intent { reference_price: 18.0, reduce_only: true, side: Side::Sell, ..numbered(1) }), Submitted::Accepted(_)));
    assert_eq!(street.orders().len(), 2);
}

#[test]
fn near_the_opening_an_order_waits_until_both_clocks_agree_and_never_past_its_session() {
    let street = Street::new();
    let broker = street.broker(&[]);
    // The world has opened; this clock is slow and still before it.
    street.go("2017-12-01T14:30:01Z");
    follow(&broker.host, "2017-12-01T14:29:57Z");
    let early = broker.submit(&numbered(0));
    assert!(matches!(early, Submitted::NotSent { retry_after_s: 8..=9, .. }), "{early:?}");
    follow(&broker.host, "2017-12-01T14:30:03Z");
    assert!(matches!(broker.submit(&numbered(0)), Submitted::NotSent { retry_after_s: 3, .. }));
    assert!(street.orders().is_empty());
    follow(&broker.host, "2017-12-01T14:30:06Z");
    let Submitted::Accepted(order) = broker.submit(&numbered(0)) else { panic!("not accepted") };
    assert_eq!(order.tif, crate::execution::order::Tif::Day);
    // For the open, with the open behind it, it would wait for the next day's.
    let mut late = numbered(1);
    late.tif = crate::execution::order::Tif::Opg;
    let Submitted::Refused { code, .. } = broker.submit(&late) else { panic!("not refused") };
    assert_eq!(code, "MARKET_CLOSED");
}

#[test]
fn what_an_opening_leaves_of_an_order_for_it_waits_for_the_next_until_it_is_taken_back() {
    let street = Street::new();
    let broker = street.broker(&[]);
    street.faults("{do: partial_fill}");
    let Submitted::Accepted(order) = broker.submit(&intent("AAPL", Side::Buy, 10.0)) else { panic!("not accepted") };
    street.go("2017-12-01T22:00:00Z");
    follow(&broker.host, "2017-12-01T22:00:00Z");
    let open = broker.open_orders().unwrap();
    assert_eq!((open.len(), open[0].filled_qty), (1, 5.0), "no close ends it");
    // Too many questions do not keep it open.
    street.faults("{vendor: ctrader, path: '/ProtoOACancelOrderReq', times: 2, do: status, status: 429, retry_after: 1}");
    broker.cancel(&order.id).unwrap();
    assert!(broker.open_orders().unwrap().is_empty());
    street.faults("{vendor: ctrader, path: '/ProtoOACancelOrderReq', do: status, status: 400, text: ORDER_CANCEL_REJECTED}");
    assert!(broker.cancel(&order.id).unwrap_err().is(code::ORD_REFUSED), "a rejected cancelling is no cancelling");
    street.faults("{vendor: ctrader, path: '/ProtoOACancelOrderReq', times: 1, do: lost_ack}");
    broker.cancel(&order.id).unwrap();
    street.go("2017-12-04T15:00:00Z");
    follow(&broker.host, "2017-12-04T15:00:00Z");
    assert_eq!(broker.positions().unwrap()[0].qty, 5.0);
}

#[test]
fn an_account_whose_gains_are_not_all_told_is_asked_again_and_never_valued_without_them() {
    let street = Street::new();
    let broker = street.broker(&[]);
    assert!(matches!(broker.submit(&intent("AAPL", Side::Buy, 100.0)), Submitted::Accepted(_)));
    street.go("2017-12-01T22:00:00Z");
    let whole = broker.account().unwrap();
    assert_ne!(whole.equity, 100_000.0, "the position has gained or lost");
    street.faults("{vendor: ctrader, path: '/ProtoOAGetPositionUnrealizedPnLReq', times: 1, do: page_short, rows: 0}");
    assert_eq!(broker.account().unwrap(), whole);
    street.faults("{vendor: ctrader, path: '/ProtoOAGetPositionUnrealizedPnLReq', do: page_short, rows: 0}");
    assert!(broker.account().unwrap_err().is(code::NET_MALFORMED));
    // Where no gain is told a position has no price, and is there all the same.
    assert_eq!(broker.positions().unwrap()[0].price, None);
}

#[test]
fn a_server_that_hangs_up_after_each_login_is_called_less_and_less_often() {
    let street = Street::new();
    let broker = street.broker(&[]);
    let mut stream = broker.stream();
    let gap = |stream: &mut EventStream<'_>| while !matches!(stream.next(Duration::from_millis(300)).unwrap(), Heard::Gap(_)) {};
    gap(&mut stream);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let before = broker.host.now();
        street.faults("{vendor: ctrader, path: '/ProtoOAReconcileReq', times: 1, do: reset}");
        assert!(broker.open_orders().is_ok());
        assert!(broker.host.now().seconds_since(before) >= 1.0, "a question waits before it logs in again");
        gap(&mut stream);
        let lost = broker.host.now();
        gap(&mut stream);
        waits.push(broker.host.now().seconds_since(lost).round() as i64);
    }
    assert_eq!(waits, [1, 2, 5, 15]);
    // One that lasted is a good one.
    broker.host.block_on(broker.host.sleep(Duration::from_secs(120))).unwrap();
    street.faults("{vendor: ctrader, path: '/ProtoOAReconcileReq', times: 1, do: reset}");
    assert!(broker.open_orders().is_ok());
    gap(&mut stream);
    let lost = broker.host.now();
    gap(&mut stream);
    assert_eq!(broker.host.now().seconds_since(lost).round() as i64, 1);
}

#[test]
fn a_lost_unsubscribing_and_a_refused_subscribing_cost_no_price_of_another() {
    let street = Street::new();
    let broker = street.broker(&[]);
    let (price, _) = broker.last_price("AAPL").unwrap().unwrap();
    for fault in [
        "path: '/ProtoOAUnsubscribeSpotsReq', do: status, status: 400, text: UNKNOWN_ERROR",
        "path: '/ProtoOAUnsubscribeSpotsReq', do: reset",
        "path: '/ProtoOASubscribeSpotsReq', times: 1, do: reset",
    ] {
        street.faults(&format!("{{vendor: ctrader, {fault}}}"));
        assert_eq!(broker.last_price("AAPL").unwrap().map(|(p, _)| p), Some(price), "{fault}");
    }
    street.faults("{vendor: ctrader, path: '/ProtoOASubscribeSpotsReq', do: status, status: 400, text: NO_QUOTES}");
    assert_eq!(broker.last_price("AAPL").unwrap(), None, "a symbol without quotes has none");
}

#[test]
fn an_account_that_was_opened_tomorrow_still_has_a_past() {
    let street = Street::new();
    let broker = street.broker(&[]);
    let order = numbered(0);
    assert!(matches!(broker.submit(&order), Submitted::Accepted(_)));
    street.go(AFTER_OPEN);
    follow(&broker.host, AFTER_OPEN);
    street.faults("{vendor: ctrader, path: '/ProtoOATraderReq', do: clock_skew, seconds: 86400}");
    let later = street.broker(&[]);
    assert!(matches!(later.find_by_client_id(&order.client_order_id), Lookup::Found(o) if o.status == "filled"));
    assert_eq!(later.fills_since(None).unwrap().len(), 1);
}

#[test]
fn a_stranger_s_order_of_a_kind_of_tomorrow_hides_no_other() {
    use data_layer::ctrader::models::{LightSymbol, Order, TradeData};
    let symbols = symbols::Symbols::new(&[LightSymbol { id: 7, name: Some("AAPL".into()), quote_asset: Some(1), ..LightSymbol::default() }], 1);
    let trade = TradeData { symbol: 7, volume: 500, side: 1, ..TradeData::default() };
    let order = |order_type, status, label: &str| Order {
        id: 3,
        trade: TradeData { label: Some(label.into()), ..trade.clone() },
        order_type,
        status,
        time_in_force: Some(2),
        ..Order::default()
    };
    let kept = wire::listed(&order(99, 1, "manual"), &symbols).unwrap();
    assert_eq!((kept.symbol.as_str(), kept.qty, kept.is_open()), ("AAPL", 5.0, true));
    assert!(kept.status.contains("99"), "{kept:?}");
    assert!(wire::listed(&order(1, 77, "manual"), &symbols).is_some());
    assert!(wire::listed(&order(99, 1, "trademl day"), &symbols).is_none(), "an order of ours is understood or it is an error");
    assert!(wire::listed(&Order { trade: TradeData { side: 9, ..trade.clone() }, ..order(1, 1, "manual") }, &symbols).is_none());
}

#[test]
fn an_execution_is_named_after_its_account() {
    let street = Street::new();
    let broker = street.broker(&[]);
    assert!(matches!(broker.submit(&numbered(0)), Submitted::Accepted(_)));
    street.go(AFTER_OPEN);
    follow(&broker.host, AFTER_OPEN);
    let fills = broker.fills_since(None).unwrap();
    assert_eq!(fills[0].id, "SIM9000001-1", "the first execution of another account is another one");
}

#[test]
fn a_replacement_never_leaves_more_at_the_broker_than_the_old_order_had() {
    let street = Street::new();
    let broker = street.broker(&[]);
    let Submitted::Accepted(old) = broker.submit(&intent("AAPL", Side::Buy, 10.0)) else { panic!("not accepted") };
    let next = |line, qty| Intent { qty, ..numbered(line) };
    // What would be refused takes nothing back.
    assert!(matches!(broker.replace(&old.id, &next(1, 0.5)), Submitted::Refused { .. }));
    assert!(matches!(broker.replace(&old.id, &Intent { reference_price: 18.0, ..next(1, 4.0) }), Submitted::Refused { .. }));
    assert_eq!(broker.open_orders().unwrap()[0].qty, 10.0);
    // Whatever is lost on the way: first nothing was sent, then the answer was lost, and it is there once.
    street.faults("{vendor: ctrader, path: '/ProtoOAOrderDetailsReq', times: 4, do: reset}");
    assert!(matches!(broker.replace(&old.id, &next(1, 4.0)), Submitted::NotSent { .. }));
    assert!(broker.open_orders().unwrap().is_empty(), "taken back, and not yet replaced");
    street.faults("{vendor: ctrader, path: '/ProtoOANewOrderReq', times: 1, do: lost_ack}");
    assert!(matches!(broker.replace(&old.id, &next(1, 4.0)), Submitted::Unknown(_)));
    let Lookup::Found(found) = broker.find_by_client_id(&next(1, 4.0).client_order_id) else { panic!("lost") };
    assert!(found.matches(&next(1, 4.0)) && found.is_open());
    let Lookup::Found(ended) = broker.find_by_client_id(&old.client_order_id) else { panic!("lost") };
    assert_eq!(ended.status, "canceled");
    // Half of it fills at the open: the other half is all that can be replaced.
    street.faults("{do: partial_fill}");
    street.go("2017-12-01T15:00:00Z");
    follow(&broker.host, "2017-12-01T15:00:00Z");
    let Submitted::Refused { code, .. } = broker.replace(&found.id, &next(2, 3.0)) else { panic!("not refused") };
    assert_eq!(code, "not_open");
    assert_eq!((broker.positions().unwrap()[0].qty, broker.open_orders().unwrap().len()), (2.0, 0));
    assert!(matches!(broker.replace("none", &next(3, 1.0)), Submitted::Refused { .. }));
}
