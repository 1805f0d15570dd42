//! Days on which the broker lies, the account is restricted, the corporate calendar interferes, or somebody changes the
//! rules at noon. Each is refused or resolved, loudly, and leaves a record.

use super::tests::{MORNING, TARGETS, config, evening_steps, input, open};
use super::*;
use crate::execution::broker::fake::{FakeBroker, Fault, evening, scratch};
use crate::execution::broker::{BrokerFill, FillKind};
use crate::execution::order::Skipped;
use crate::execution::positions;
use crate::execution::quarantine::quarantined;
use crate::execution::state::name;
use crate::execution::submit::Sender;
use crate::execution::switches::Switch;
use crate::types::Side;
use std::collections::BTreeMap;

fn morning() -> UtcTime {
    UtcTime::parse(MORNING).unwrap()
}

/// The evening is done; the market opened and everything filled.
fn after_the_open() -> (tempfile::TempDir, FakeBroker, String) {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
    broker.set_now(morning());
    broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
    (dir, broker, key)
}

fn kinds(report: &ReconcileReport) -> Vec<&str> {
    report.differences.iter().map(|d| d.kind.as_str()).collect()
}

fn id_of(db: &Db, key: &str, symbol: &str) -> String {
    OrderLog::new(db).orders_of(key).unwrap().into_iter().find(|o| o.intent.symbol == symbol).unwrap().intent.client_order_id
}

#[test]
fn an_order_that_was_accepted_and_vanished_is_quarantined_and_expires_with_its_session() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let (key, _) = evening_steps(&db, &broker).unwrap();
    let id = id_of(&db, &key, "AAPL");
    broker.truth.lock().unwrap().orders.remove(&id);
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let report = day.reconcile("SIM1").unwrap();
    assert_eq!((kinds(&report), &report.quarantined), (vec!["vanished"], &vec!["AAPL".to_string()]));
    assert_eq!(day.log().order(&id).unwrap().unwrap().remaining(), 29.0, "until its session is over it may still fill");
    drop(db);
    broker.set_now(morning());
    for minute in 0..2 {
        let db = open(dir.path(), None, morning().plus_seconds(60 * minute)).unwrap();
        PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().reconcile("SIM1").unwrap();
    }
    let db = open(dir.path(), None, morning().plus_seconds(120)).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    day.reconcile("SIM1").unwrap();
    let row = day.log().order(&id).unwrap().unwrap();
    assert_eq!((row.state.as_str(), row.remaining()), ("expired", 0.0));
    assert!(quarantined(&db).unwrap().contains_key("AAPL"), "only a person ends it");
}

#[test]
fn a_fill_above_the_ordered_quantity_is_booked_as_it_is_and_its_symbol_set_aside() {
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let id = id_of(&db, &key, "AAPL");
    {
        let mut t = broker.truth.lock().unwrap();
        t.orders.get_mut(&id).unwrap().filled_qty = 30.0;
        t.fills.iter_mut().find(|f| f.id == format!("exec-{id}")).unwrap().qty = 30.0;
    }
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let report = day.reconcile("SIM1").unwrap();
    assert!(kinds(&report).contains(&"overfill"), "{report:?}");
    assert_eq!(positions::ledger(&day.log(), "SIM1").unwrap().per_symbol()["AAPL"], 30.0);
    assert!(quarantined(&db).unwrap()["AAPL"].contains("more than was ordered"));
}

#[test]
fn an_execution_of_another_symbol_is_not_booked_under_our_order() {
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let id = id_of(&db, &key, "MSFT");
    broker.truth.lock().unwrap().fills.iter_mut().find(|f| f.id == format!("exec-{id}")).unwrap().symbol = "BBB".into();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let report = day.reconcile("SIM1").unwrap();
    assert!(kinds(&report).contains(&"wrong_fill"), "{report:?}");
    assert!(["BBB", "MSFT"].iter().all(|s| report.quarantined.contains(&(*s).to_string())), "{report:?}");
}

#[test]
fn a_bust_is_a_new_row_with_quarantine_and_never_an_edit() {
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    day.settle(&key).unwrap();
    let original = day.log().fills("SIM1").unwrap();
    {
        let mut t = broker.truth.lock().unwrap();
        let first = t.fills[0].clone();
        let bust = BrokerFill { id: "bust-1".into(), kind: FillKind::Bust, ..first.clone() };
        t.moved.insert(first.symbol.clone(), 0.0);
        t.fills.push(bust);
    }
    let report = day.reconcile("SIM1").unwrap();
    assert!(kinds(&report).contains(&"bust"));
    let after = day.log().fills("SIM1").unwrap();
    assert_eq!(after.len(), original.len() + 1);
    assert!(original.iter().all(|f| after.contains(f)));
}

#[test]
fn a_correction_stands_in_for_the_execution_that_it_corrects() {
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    day.settle(&key).unwrap();
    let before = positions::ledger(&day.log(), "SIM1").unwrap();
    let first = broker.truth.lock().unwrap().fills.iter().find(|f| f.symbol == "AAPL").cloned().unwrap();
    // The broker's own book: the fake keeps the execution as it was, at the corrected price the shares are the same.
    broker.truth.lock().unwrap().moved.insert("AAPL".into(), -first.qty);
    let corrected = BrokerFill { id: "correct-1".into(), kind: FillKind::Correct, price: first.price + 1.0, ..first.clone() };
    broker.truth.lock().unwrap().fills.push(corrected);
    for _ in 0..2 {
        let report = day.reconcile("SIM1").unwrap();
        assert!(!kinds(&report).contains(&"quantity"), "{report:?}");
    }
    let after = positions::ledger(&day.log(), "SIM1").unwrap();
    assert_eq!(after.per_symbol(), before.per_symbol(), "no share on top of those that are there");
    assert!((after.cash() - before.cash() + first.qty).abs() < 1e-6, "each cost a dollar more");
    assert_eq!(quarantined(&db).unwrap().keys().collect::<Vec<_>>(), ["AAPL"]);
    let rows = day.log().fills("SIM1").unwrap();
    assert_eq!(rows.iter().filter(|f| f.replaces.as_deref() == Some(first.id.as_str())).count(), 2);
}

#[test]
fn a_correction_of_an_unknown_execution_books_nothing_and_is_said_once() {
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    day.settle(&key).unwrap();
    let before = positions::ledger(&day.log(), "SIM1").unwrap().per_symbol();
    let first = broker.truth.lock().unwrap().fills[0].clone();
    broker.truth.lock().unwrap().moved.insert(first.symbol.clone(), -first.qty * first.side.sign());
    let corrected = BrokerFill { id: "correct-1".into(), kind: FillKind::Correct, replaces: Some("never-seen".into()), ..first.clone() };
    broker.truth.lock().unwrap().fills.push(corrected);
    let said = |report: &ReconcileReport| kinds(report).contains(&"correct");
    assert!(said(&day.reconcile("SIM1").unwrap()) && !said(&day.reconcile("SIM1").unwrap()));
    assert_eq!(positions::ledger(&day.log(), "SIM1").unwrap().per_symbol(), before);
    assert!(quarantined(&db).unwrap().contains_key(&first.symbol));
}

#[test]
fn no_more_is_sold_than_the_journal_and_the_broker_both_hold() {
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    day.settle(&key).unwrap();
    // The journal has 29 of AAPL, the broker 7; and 59 of MSFT where the broker has 70.
    broker.truth.lock().unwrap().moved = BTreeMap::from([("AAPL".into(), -22.0), ("MSFT".into(), 11.0)]);
    day.reconcile("SIM1").unwrap();
    let account = day.account_check().unwrap();
    let set = day.plan(&account, &PlanInput { asof: account.asof, ..input(&[]) }).unwrap();
    let sold: Vec<_> = set.lines.iter().filter(|l| l.symbol != "XOM").map(|l| (l.symbol.as_str(), l.qty, l.reduce_only)).collect();
    assert_eq!(sold, [("AAPL", 7.0, true), ("MSFT", 59.0, true)], "{:?}", set.pins.notes);
    assert!(set.pins.notes.iter().any(|n| n.contains("AAPL counts as 7 shares")), "{:?}", set.pins.notes);
}

#[test]
fn a_person_repairs_a_difference_of_shares_exactly_and_the_symbol_is_free_again() {
    use crate::execution::repair::Repair;
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    day.settle(&key).unwrap();
    broker.truth.lock().unwrap().moved.insert("AAPL".into(), -9.0);
    day.reconcile("SIM1").unwrap();
    let before = positions::ledger(&day.log(), "SIM1").unwrap();
    let of = |qty| Repair { account: "SIM1", strategy: "equities_xs", symbol: "AAPL", qty, reason: "a spin-off", operator: "me" };
    let book = |qty: f64, typed: &str| of(qty).book(&day.log(), &broker, typed, db.root().host().now());
    let wrong = book(-8.0, &of(-8.0).token()).unwrap_err();
    assert!(wrong.body().fix[0].contains("--qty -9"), "{wrong:?}");
    assert!(book(-9.0, "yes").unwrap_err().is(code::GATE_REFUSED));
    assert!(quarantined(&db).unwrap().contains_key("AAPL"));
    book(-9.0, "REPAIR AAPL -9 SIM1").unwrap();
    let report = day.reconcile("SIM1").unwrap();
    assert_eq!(report.released, ["AAPL"]);
    let after = positions::ledger(&day.log(), "SIM1").unwrap();
    assert_eq!((after.per_symbol()["AAPL"], after.cash(), after.totals().realised), (20.0, before.cash(), before.totals().realised));
    assert!(quarantined(&db).unwrap().is_empty());
}

#[test]
fn a_fraction_that_a_split_left_is_paid_out_and_shares_that_come_in_end_nothing() {
    let (dir, broker, key) = after_the_open();
    let db = open(dir.path(), None, morning()).unwrap();
    let split = Split { symbol: "AAPL".into(), ex_date: "2017-12-01".parse().unwrap(), ratio: 1.5 };
    let day = PaperDay::new(&db, &broker, PaperConfig { splits: vec![split], ..config() }, &default_sizer).unwrap();
    day.settle(&key).unwrap();
    // 29 shares become 43.5, of which the broker keeps 43.
    broker.truth.lock().unwrap().moved.insert("AAPL".into(), 14.0);
    let report = day.reconcile("SIM1").unwrap();
    assert!(kinds(&report).contains(&"split") && !kinds(&report).contains(&"quantity"), "{report:?}");
    assert_eq!(positions::ledger(&day.log(), "SIM1").unwrap().per_symbol()["AAPL"], 43.0);
    // This broker spreads what was paid over the 43; half a share of it went out in cash.
    assert_eq!(kinds(&day.reconcile("SIM1").unwrap()), ["average_price"]);
    assert!(quarantined(&db).unwrap().is_empty());
}

#[test]
fn a_restricted_account_and_one_that_owes_cash_take_no_increase() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    broker.truth.lock().unwrap().blocked = true;
    assert!(day.account_check().unwrap_err().is(code::ORD_REFUSED));
    {
        let mut t = broker.truth.lock().unwrap();
        (t.blocked, t.cash_flow) = (false, -100_001.0);
    }
    let account = day.account_check().unwrap();
    assert!(account.cash < 0.0);
    let set = day.plan(&account, &input(TARGETS)).unwrap();
    assert!(set.lines.is_empty());
    assert!(set.pins.skipped.iter().all(|s| s.reason.contains("cash is negative")), "{:?}", set.pins.skipped);
}

#[test]
fn limits_that_change_after_the_confirmation_end_it() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let account = day.account_check().unwrap();
    let set = day.plan(&account, &input(TARGETS)).unwrap();
    let words = confirmation_token("SIM1", set.trading_day);
    let first = day.consent(&set.run_key, &words).unwrap();
    for limits in [Limits { gross_usd: 200_000.0, ..Limits::default() }, Limits { gross_usd: 50_000.0, ..Limits::default() }] {
        let noon = PaperDay::new(&db, &broker, PaperConfig { limits, ..config() }, &default_sizer).unwrap();
        assert!(noon.submit_all(&set.run_key).unwrap_err().is(code::GATE_REFUSED));
    }
    assert!(broker.truth.lock().unwrap().posts.is_empty());
    let tighter = PaperConfig { limits: Limits { gross_usd: 50_000.0, ..Limits::default() }, ..config() };
    let noon = PaperDay::new(&db, &broker, tighter, &default_sizer).unwrap();
    assert_ne!(noon.consent(&set.run_key, &words).unwrap().id, first.id);
    assert_eq!(noon.submit_all(&set.run_key).unwrap().sent, 3);
}

#[test]
fn a_split_overnight_is_booked_when_the_broker_shows_it_and_quarantined_when_nobody_knows_of_it() {
    for known in [true, false] {
        let (dir, broker, key) = after_the_open();
        let db = open(dir.path(), None, morning()).unwrap();
        let split = Split { symbol: "AAPL".into(), ex_date: "2017-12-01".parse().unwrap(), ratio: 4.0 };
        let config = PaperConfig { splits: if known { vec![split] } else { vec![] }, ..config() };
        let day = PaperDay::new(&db, &broker, config, &default_sizer).unwrap();
        day.settle(&key).unwrap();
        broker.truth.lock().unwrap().moved.insert("AAPL".into(), 3.0 * 29.0);
        let report = day.reconcile("SIM1").unwrap();
        assert_eq!(kinds(&report), if known { ["split"] } else { ["quantity"] });
        assert_eq!(report.quarantined.is_empty(), known);
        let ledger = positions::ledger(&day.log(), "SIM1").unwrap();
        let held = &ledger.positions()[&positions::Holding::new("equities_xs", "AAPL")];
        assert_eq!((held.qty, held.average_price), if known { (116.0, 42.5) } else { (29.0, 170.0) });
        assert!(day.reconcile("SIM1").unwrap().differences.len() == usize::from(!known), "booked once");
    }
}

#[test]
fn a_new_ticker_keeps_the_position_and_an_unknown_one_is_quarantined() {
    for known in [true, false] {
        let (dir, broker, key) = after_the_open();
        let db = open(dir.path(), None, morning()).unwrap();
        let rename = Rename { symbol: "AAPL".into(), to: "APPL".into(), date: "2017-12-01".parse().unwrap() };
        let config = PaperConfig { renames: if known { vec![rename] } else { vec![] }, ..config() };
        let day = PaperDay::new(&db, &broker, config, &default_sizer).unwrap();
        // The reference data may know it before the broker does: nothing is booked until the broker shows it.
        assert!(day.settle(&key).unwrap().reconcile.differences.is_empty());
        broker.truth.lock().unwrap().renamed.insert("AAPL".into(), "APPL".into());
        let report = day.reconcile("SIM1").unwrap();
        assert_eq!(kinds(&report), if known { vec!["rename"] } else { vec!["quantity", "quantity"] });
        assert_eq!(report.quarantined.is_empty(), known);
        let ledger = positions::ledger(&day.log(), "SIM1").unwrap();
        let name = if known { "APPL" } else { "AAPL" };
        let held = &ledger.positions()[&positions::Holding::new("equities_xs", name)];
        assert_eq!((held.qty, held.average_price), (29.0, 170.0));
        assert_eq!(day.reconcile("SIM1").unwrap().differences.len(), if known { 0 } else { 2 }, "booked once");
    }
}

#[test]
fn no_order_goes_out_for_either_ticker_on_the_day_it_changes() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    for (symbol, to) in [("MSFT", "MSFX"), ("MSFX", "MSFT")] {
        let renames = vec![Rename { symbol: symbol.into(), to: to.into(), date: "2017-12-01".parse().unwrap() }];
        let day = PaperDay::new(&db, &broker, PaperConfig { renames, ..config() }, &default_sizer).unwrap();
        let input = PlanInput { rebalance_no: u32::from(symbol == "MSFX"), ..input(TARGETS) };
        let set = day.plan(&day.account_check().unwrap(), &input).unwrap();
        assert_eq!(set.pins.skipped, [Skipped { symbol: "MSFT".into(), reason: "its ticker changes on the trading day".into() }]);
    }
}

#[test]
fn a_symbol_that_splits_on_the_trading_day_gets_no_order_at_yesterday_s_price() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let splits = vec![Split { symbol: "MSFT".into(), ex_date: "2017-12-01".parse().unwrap(), ratio: 2.0 }];
    let day = PaperDay::new(&db, &broker, PaperConfig { splits, ..config() }, &default_sizer).unwrap();
    let set = day.plan(&day.account_check().unwrap(), &input(TARGETS)).unwrap();
    assert_eq!(set.lines.len(), 2);
    assert_eq!(set.pins.skipped, [Skipped { symbol: "MSFT".into(), reason: "its shares split on the trading day".into() }]);
}

#[test]
fn a_halt_a_missing_volume_and_a_delisted_position_are_refused_or_kept_with_a_reason() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let account = day.account_check().unwrap();
    day.reconcile("SIM1").unwrap();
    let mut wanted = input(TARGETS);
    wanted.prices.get_mut("AAPL").unwrap().tradable = false;
    wanted.prices.get_mut("MSFT").unwrap().adv_shares = Some(0.0);
    wanted.targets.insert("GONE".into(), 0.03);
    let set = day.plan(&account, &wanted).unwrap();
    assert_eq!(set.pins.skipped[0].symbol, "GONE");
    day.consent(&set.run_key, &confirmation_token("SIM1", set.trading_day)).unwrap();
    let sent = day.submit_all(&set.run_key).unwrap();
    let why = |s: &str| sent.lines.iter().find(|l| l.symbol == s).unwrap().why.clone();
    assert!(why("AAPL").contains("not known to be tradable") && why("MSFT").contains("average daily volume"), "{sent:?}");
    assert_eq!((sent.sent, sent.refused), (1, 2));
}

#[test]
fn two_processes_that_send_the_same_set_send_each_order_once_even_where_the_broker_would_take_it_twice() {
    let dir = scratch();
    let mut broker = FakeBroker::new(evening());
    broker.dedups = false;
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let account = day.account_check().unwrap();
    let set = day.plan(&account, &input(TARGETS)).unwrap();
    let other = open(dir.path(), None, evening()).unwrap();
    let race = |db: &Db| {
        let sender = Sender { host: db.root().host(), log: OrderLog::new(db), broker: &broker, again: &crate::execution::submit::unhindered };
        set.lines.iter().filter(|l| sender.send(&l.client_order_id).is_ok()).count()
    };
    let won = std::thread::scope(|s| {
        let a = s.spawn(|| race(&db));
        let b = s.spawn(|| race(&other));
        a.join().unwrap() + b.join().unwrap()
    });
    assert_eq!((won, broker.truth.lock().unwrap().posts.len()), (3, 3));
}

#[test]
fn lesson_109_no_order_while_the_clock_is_not_believable() {
    let plans: [i64; 8] = [-86_400 * 365 * 47, -86_400 * 7, -86_400, -3_600, -6, 3_601, 86_400, 86_400 * 400];
    for ahead in plans {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let local = evening().plus_seconds(ahead);
        let db = open(dir.path(), None, local).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        let sent = day.plan(&account, &input(TARGETS)).and_then(|set| {
            day.consent(&set.run_key, &confirmation_token("SIM1", set.trading_day))?;
            day.submit_all(&set.run_key)
        });
        assert!(sent.is_err() || sent.is_ok_and(|s| s.sent == 0), "{ahead} s");
        assert!(broker.truth.lock().unwrap().posts.is_empty(), "{ahead} s");
    }
}

#[test]
fn lesson_096_a_switch_and_a_position_are_on_the_drive_before_anybody_is_told() {
    let (dir, broker, key) = after_the_open();
    let mut seen = None;
    for k in 1..60 {
        let died = open(dir.path(), Some(("control.commit.after".into(), k)), morning())
            .and_then(|db| {
                let day = PaperDay::new(&db, &broker, config(), &default_sizer)?;
                day.settle(&key)?;
                day.stop("SIM1", "drill")
            })
            .is_err();
        let db = open(dir.path(), None, morning().plus_seconds(60)).unwrap();
        let full: i64 = db.lock().unwrap().query_row("PRAGMA synchronous", [], |r| r.get(0)).unwrap();
        assert!(full >= 2, "acknowledged rows are synchronous");
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let held: BTreeMap<String, f64> = day.settle(&key).unwrap().positions;
        assert_eq!(seen.get_or_insert_with(|| held.clone()), &held);
        if !died {
            assert!(switches::read(&db, Switch::Kill, "SIM1").stopped);
            return;
        }
    }
    panic!("the settlement never came to its end");
}

#[test]
fn a_broker_that_answers_with_another_order_stops_everything_about_the_symbol() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    broker.truth.lock().unwrap().faults.insert(0, Fault::WrongPayload);
    let db = open(dir.path(), None, evening()).unwrap();
    assert!(evening_steps(&db, &broker).unwrap_err().is(code::ORD_HALT));
    assert_eq!(quarantined(&db).unwrap().len(), 1);
    let rows = OrderLog::new(&db).orders_of("SIM1|equities_xs|2017-12-01|0").unwrap();
    assert_eq!(rows.iter().filter(|o| o.state == name::PLANNED).count(), 2, "nothing after it was sent");
    assert_eq!(rows.iter().filter(|o| o.intent.side == Side::Sell && o.state != name::PLANNED).count(), 0);
}

#[test]
fn money_that_no_row_explains_is_told_and_twice_in_a_row_it_halts_increases_until_a_person_has_looked() {
    let (dir, broker, key) = after_the_open();
    let look = |minute: i64, cash_flow: f64| {
        broker.truth.lock().unwrap().cash_flow = cash_flow;
        let db = open(dir.path(), None, morning().plus_seconds(60 * minute)).unwrap();
        let report = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().reconcile("SIM1").unwrap();
        let breaker = switches::read(&db, Switch::Breaker, "SIM1");
        (kinds(&report).contains(&"cash"), breaker.stopped, breaker.reason)
    };
    PaperDay::new(&open(dir.path(), None, morning()).unwrap(), &broker, config(), &default_sizer).unwrap().settle(&key).unwrap();
    assert!(!look(1, 0.02).0, "cents are rounding");
    assert!(matches!(look(2, -5.0), (true, false, _)), "a difference of five dollars is told");
    assert!(matches!(look(3, -5.0), (true, false, _)), "and stops nothing, however often");
    assert!(matches!(look(4, 40.0), (true, false, _)), "one run may have come between a booking and its row");
    assert!(!look(5, 0.0).0);
    assert!(!look(6, 40.0).1);
    let (_, stopped, reason) = look(7, 40.0);
    assert!(stopped && reason.contains("+40.00 off"), "{reason}");
    // Whoever lets increases through again has looked: from here on it is judged anew.
    let db = open(dir.path(), None, morning().plus_seconds(480)).unwrap();
    switches::reset(&db, Switch::Breaker, "SIM1", "RESET RECONCILE_FAILED", "me", "a fee of last year", morning().plus_seconds(480)).unwrap();
    drop(db);
    assert!(matches!(look(9, 40.0), (false, false, _)));
    assert!(!look(10, 60.0).1 && look(11, 60.0).1);
}
