//! What becomes of an order when the answer is lost, late, doubled or a lie, and when this process dies around it.

use super::*;

const NEW_ORDER: &str = "vendor: ctrader, path: '/ProtoOANewOrderReq', times: 1";

/// A fault of the one message that sends an order, what the adapter makes of it, and whether the order exists.
const CASES: &[(&str, &str, bool)] = &[
    ("do: lost_ack", "unknown", true),
    ("do: error_after", "unknown", true),
    ("do: truncate", "unknown", true),
    ("do: wrong_symbol, as_symbol: MSFT", "unknown", true),
    ("do: duplicate_rows", "accepted", true),
    ("do: error_before", "unknown", false),
    ("do: reset", "unknown", false),
    ("do: gzip_bomb", "unknown", false),
    ("do: status, status: 500, text: SERVER_IS_UNDER_MAINTENANCE", "unknown", false),
    ("do: status, status: 500, text: A_CODE_OF_TOMORROW", "unknown", false),
    ("do: status, status: 429", "not sent", false),
    ("do: status, status: 401, text: CH_ACCESS_TOKEN_INVALID", "not sent", false),
    ("do: status, status: 401, text: ACCOUNT_NOT_AUTHORIZED", "not sent", false),
    ("do: status, status: 403, text: NOT_ENOUGH_MONEY", "refused", false),
    ("do: status, status: 403, text: TRADING_DISABLED", "refused", false),
];

fn word(submitted: &Submitted) -> &'static str {
    match submitted {
        Submitted::Accepted(_) => "accepted",
        Submitted::Refused { .. } => "refused",
        Submitted::Duplicate => "duplicate",
        Submitted::RateLimited { .. } => "limited",
        Submitted::NotSent { .. } => "not sent",
        Submitted::Unknown(_) => "unknown",
    }
}

#[test]
fn lesson_090_each_fault_of_the_connection_has_its_outcome_and_the_order_is_found_or_not() {
    for dialect in Dialect::ALL {
        let street = Street::speaking(dialect);
        let broker = street.broker(&[]);
        for (n, (fault, outcome, exists)) in CASES.iter().enumerate() {
            let mut order = intent("AAPL", Side::Buy, 5.0);
            (order.line, order.client_order_id) = (n as u32, String::new());
            order.client_order_id = order.mint_id();
            street.faults(&format!("{{{NEW_ORDER}, {fault}}}"));
            assert_eq!(word(&broker.submit(&order)), *outcome, "{fault}");
            match broker.find_by_client_id(&order.client_order_id) {
                Lookup::Found(found) => assert!(*exists && found.matches(&order), "{fault}"),
                Lookup::NotFound => assert!(!exists, "{fault}"),
                Lookup::Unknown(why) => panic!("{fault}: {why}"),
            }
        }
        assert_eq!(street.orders().len(), CASES.iter().filter(|c| c.2).count(), "none was sent twice");
    }
}

#[test]
fn orders_that_no_broker_needs_to_see_are_refused_here() {
    let street = Street::new();
    let broker = street.broker(&[]);
    let refused = |change: &dyn Fn(&mut Intent)| {
        let mut i = intent("AAPL", Side::Buy, 5.0);
        change(&mut i);
        let Submitted::Refused { code, .. } = broker.submit(&i) else { panic!("{i:?} was not refused") };
        code
    };
    assert_eq!(refused(&|i| i.symbol = "NONE".into()), "SYMBOL_NOT_FOUND");
    assert_eq!(refused(&|i| i.qty = 0.5), "TRADING_BAD_VOLUME");
    assert_eq!(refused(&|i| i.client_order_id = "x".repeat(51)), "client_order_id");
    assert_eq!(refused(&|i| i.tif = crate::execution::order::Tif::Gtc), "unsupported");
    assert!(street.orders().is_empty());
    // A limit order for the day says when it ends: the server's default would let it live until somebody cancels it.
    let mut limit = intent("AAPL", Side::Buy, 5.0);
    (limit.order_type, limit.limit_price) = (crate::execution::order::OrderType::Limit, Some(1.25));
    let Submitted::Accepted(order) = broker.submit(&limit) else { panic!("not accepted") };
    assert!(order.matches(&limit));
    street.go("2017-12-01T21:00:00Z");
    follow(&broker.host, "2017-12-01T21:00:00Z");
    let Lookup::Found(ended) = broker.find_by_client_id(&limit.client_order_id) else { panic!("lost") };
    assert_eq!(ended.status, "expired");
}

/// One order set of one line, pinned.
pub(super) fn pinned(db: &Db, account: &str) -> String {
    let mut i = intent("AAPL", Side::Buy, 10.0);
    i.account = account.into();
    i.run_key = crate::execution::order::run_key(account, &i.strategy, i.trading_day, 0);
    i.client_order_id = i.mint_id();
    let id = i.client_order_id.clone();
    let mut set = OrderSet {
        run_key: i.run_key.clone(),
        order_set_hash: String::new(),
        account: account.into(),
        strategy: i.strategy.clone(),
        trading_day: i.trading_day,
        rebalance_no: 0,
        equity: 100_000.0,
        pinned_at: evening(),
        run_id: None,
        pins: Pins::default(),
        lines: vec![i],
    };
    set.order_set_hash = set.compute_hash().unwrap();
    OrderLog::new(db).pin_set(&set).unwrap();
    id
}

/// How many orders were sent, by the server's own count of that message.
fn sent(street: &Street) -> usize {
    street.orders().len()
}

#[test]
fn lesson_102_whatever_is_lost_an_order_is_sent_once_and_its_outcome_found_out() {
    for dialect in Dialect::ALL {
        for (fault, outcome, exists) in CASES {
            let street = Street::speaking(dialect);
            let root = street.root(&street.host(&[], None));
            let broker = CTraderBroker::new(&root, None).unwrap();
            let account = broker.account().unwrap().account;
            let db = Db::open(&root, Which::Journal).unwrap();
            reconcile::run(root.host(), &db, &broker, &account).unwrap();
            let id = pinned(&db, &account);
            street.faults(&format!("{{{NEW_ORDER}, {fault}}}"));
            let sender = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &crate::execution::submit::unhindered };
            let first = sender.send(&id).unwrap();
            let second = sender.resolve(&id).unwrap();
            match (outcome, exists) {
                (_, true) => assert_eq!((&first, &second), (&Outcome::Accepted, &Outcome::Accepted), "{fault}"),
                (&"not sent", _) => assert_eq!((&first, &second), (&Outcome::Accepted, &Outcome::Accepted), "{fault}: it goes again"),
                (&"refused", _) => assert!(matches!(first, Outcome::Refused { .. }), "{fault}"),
                _ => assert!(matches!((&first, &second), (Outcome::Unknown { .. }, Outcome::Unknown { .. })), "{fault}: {first:?} {second:?}"),
            }
            let exists = *exists || *outcome == "not sent";
            assert_eq!(sent(&street), usize::from(exists), "{fault}");
            // What never arrived is closed by the reconciler, and by nobody else.
            follow(root.host(), "2017-11-30T21:50:00Z");
            for _ in 0..3 {
                reconcile::run(root.host(), &db, &broker, &account).unwrap();
                follow(root.host(), &root.host().now().plus_seconds(60).to_string());
            }
            let state = OrderLog::new(&db).order(&id).unwrap().unwrap().state;
            let expected = if exists {
                "accepted"
            } else if *outcome == "refused" {
                "rejected"
            } else {
                "never_reached"
            };
            assert_eq!(state, expected, "{fault}");
            assert_eq!(sent(&street), usize::from(exists), "{fault}");
        }
    }
}

#[test]
fn lesson_117_a_crash_around_the_sending_never_makes_a_second_order() {
    let mut books = std::collections::BTreeSet::new();
    for (point, arrives) in [("order.intent.after", false), ("order.send.before", false), ("order.send.after", true), ("", true)] {
        let street = Street::new();
        let crash = (!point.is_empty()).then(|| (point.to_string(), 1));
        let id = {
            let root = street.root(&street.host(&[], crash));
            let broker = CTraderBroker::new(&root, None).unwrap();
            let account = broker.account().unwrap().account;
            let db = Db::open(&root, Which::Journal).unwrap();
            reconcile::run(root.host(), &db, &broker, &account).unwrap();
            let id = pinned(&db, &account);
            let died = Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &crate::execution::submit::unhindered }.send(&id);
            assert_eq!(died.is_err(), !point.is_empty(), "{point}");
            id
        };
        // The next process, at the end of the session.
        street.go("2017-12-01T21:05:00Z");
        let root = street.root(&street.host(&[], None));
        let broker = CTraderBroker::new(&root, None).unwrap();
        let account = broker.account().unwrap().account;
        let db = Db::open(&root, Which::Journal).unwrap();
        Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &crate::execution::submit::unhindered }.resolve(&id).unwrap();
        for _ in 0..3 {
            reconcile::run(root.host(), &db, &broker, &account).unwrap();
            follow(root.host(), &root.host().now().plus_seconds(60).to_string());
        }
        assert_eq!(sent(&street), usize::from(arrives), "{point}");
        let state = OrderLog::new(&db).order(&id).unwrap().unwrap().state;
        assert_eq!(state, if arrives { "filled" } else { "never_reached" }, "{point}");
        let ours = positions::ledger(&OrderLog::new(&db), &account).unwrap().per_symbol();
        let theirs: BTreeMap<String, f64> = broker.positions().unwrap().into_iter().map(|p| (p.symbol, p.qty)).collect();
        assert_eq!(ours.into_iter().filter(|(_, q)| *q != 0.0).collect::<BTreeMap<_, _>>(), theirs, "{point}");
        books.insert(format!("{arrives} {theirs:?}"));
    }
    assert_eq!(books.len(), 2, "one book where the order arrived, one where it did not");
}

#[test]
fn lesson_103_events_that_come_twice_late_or_not_at_all_end_in_the_same_book() {
    for dialect in Dialect::ALL {
        let mut ends = Vec::new();
        for fault in ["", "{do: duplicate_event}", "{do: reorder_events}", "{do: drop_stream, p: 0.5}"] {
            let street = Street::speaking(dialect);
            let root = street.root(&street.host(&[], None));
            let broker = CTraderBroker::new(&root, None).unwrap();
            let account = broker.account().unwrap().account;
            let db = Db::open(&root, Which::Journal).unwrap();
            let log = OrderLog::new(&db);
            reconcile::run(root.host(), &db, &broker, &account).unwrap();
            street.faults(fault);
            let mut stream = broker.stream();
            assert!(matches!(stream.next(Duration::from_millis(10)).unwrap(), Heard::Gap(_)), "a new stream is a gap");
            let id = pinned(&db, &account);
            assert_eq!(
                Sender { host: root.host(), log: OrderLog::new(&db), broker: &broker, again: &crate::execution::submit::unhindered }.send(&id).unwrap(),
                Outcome::Accepted
            );
            street.go(AFTER_OPEN);
            follow(root.host(), AFTER_OPEN);
            let (mut gaps, mut executions) = (0, Vec::new());
            let mut updates = 0;
            for _ in 0..12 {
                match stream.next(Duration::from_millis(150)).unwrap() {
                    Heard::Update(u) => {
                        updates += 1;
                        executions.extend(u.execution_id.clone());
                        take_in(&log, &u, root.host().now()).unwrap();
                    }
                    Heard::Gap(_) => gaps += 1,
                    Heard::Silence if gaps == 0 || stream.is_connected() => break,
                    Heard::Silence => {}
                }
            }
            // Without news this would say nothing about the stream.
            let least = if fault.contains("drop") { 0 } else { 1 + usize::from(!fault.contains("reorder")) };
            assert!(updates >= least, "{fault}: {updates} updates");
            assert!(!fault.contains("duplicate") || executions.iter().filter(|e| **e == executions[0]).count() >= 2, "{fault}: {executions:?}");
            reconcile::run(root.host(), &db, &broker, &account).unwrap();
            assert!(log.fills(&account).unwrap().iter().all(|f| executions.is_empty() || executions.contains(&f.fill_id)), "{fault}: one name on both ways");
            let row = log.order(&id).unwrap().unwrap();
            let ledger = positions::ledger(&log, &account).unwrap().per_symbol();
            ends.push((row.state, row.filled_qty, ledger));
        }
        assert_eq!(ends[0].0, "filled");
        assert!(ends.iter().all(|e| e == &ends[0]), "{ends:?}");
    }
}

#[test]
fn money_with_another_exponent_is_refused_and_never_traded_on() {
    let street = Street::new();
    let broker = street.broker(&[]);
    assert_eq!(broker.account().unwrap().equity, 100_000.0);
    street.faults("{vendor: ctrader, path: '/ProtoOATraderReq', do: wrong_money_digits, rows: 2}");
    let error = broker.account().unwrap_err();
    assert!(error.is(code::NET_MALFORMED) && error.body().found.as_deref().unwrap_or_default().contains("10^8, 10^2"), "{error}");
    // A process that hears the wrong one first knows what an earlier one was told, though nothing is held.
    let error = street.broker(&[]).account().unwrap_err();
    assert!(error.is(code::NET_MALFORMED) && error.body().found.as_deref().unwrap_or_default().contains("10^8, 10^2"), "{error}");
    street.faults("");
    assert_eq!(street.broker(&[]).account().unwrap().equity, 100_000.0);
}

#[test]
fn questions_are_put_again_after_too_many_and_after_a_broken_connection() {
    let street = Street::new();
    let broker = street.broker(&[]);
    for fault in [
        "times: 2, do: status, status: 429, retry_after: 1",
        "times: 1, do: reset",
        "times: 1, do: truncate",
        "times: 1, do: status, text: ACCOUNT_NOT_AUTHORIZED, status: 401",
    ] {
        street.faults(&format!("{{vendor: ctrader, path: '/ProtoOAReconcileReq', {fault}}}"));
        assert!(broker.open_orders().unwrap().is_empty(), "{fault}");
    }
    street.faults("{vendor: ctrader, path: '/ProtoOAReconcileReq', do: status, status: 429, retry_after: 1}");
    assert!(broker.open_orders().unwrap_err().is(code::NET_RATE_LIMITED));
}

#[test]
fn only_codes_of_the_official_list_count_as_a_definite_no() {
    let official = include_str!("../../../../../tests/golden/ctrader/enums.csv");
    for code in wire::DEFINITE {
        assert!(official.lines().any(|l| l.starts_with("Proto") && l.contains(&format!("ErrorCode,{code},"))), "{code}");
    }
    for open in ["UNKNOWN_ERROR", "TIMEOUT_ERROR", "CANT_ROUTE_REQUEST", "CONCURRENT_MODIFICATION", "CH_SERVER_NOT_REACHABLE", "PENDING_EXECUTION"] {
        assert!(!wire::DEFINITE.contains(&open), "{open}");
    }
}
