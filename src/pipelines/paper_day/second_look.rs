//! What may have changed between two looks of one send: fills that nobody booked yet, switches, a broker that cannot be compared.

use super::tests::{TARGETS, config, input, open, settled_morning};
use super::{PaperConfig, PaperDay, PlanInput, confirmation_token, default_sizer};
use crate::execution::broker::fake::{FakeBroker, Fault, evening, scratch};
use crate::execution::risk::Limits;
use crate::execution::state::name;
use crate::execution::switches::{self, Switch};

/// Plan, confirm and return the key of a set for the next session.
fn confirmed(day: &PaperDay<'_>, plan: &PlanInput) -> String {
    let account = day.account_check().unwrap();
    day.reconcile(&account.account).unwrap();
    let set = day.plan(&account, plan).unwrap();
    day.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day)).unwrap();
    set.run_key
}

#[test]
fn what_is_filled_while_a_set_is_sent_counts_in_the_worst_case() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    // Room for two of three orders of about $5,000.
    let tight = PaperConfig { limits: Limits { gross_usd: 12_000.0, ..Limits::default() }, ..config() };
    let day = PaperDay::new(&db, &broker, tight, &default_sizer).unwrap();
    let key = confirmed(&day, &input(TARGETS));
    broker.truth.lock().unwrap().fills_at_once = true;
    let sent = day.submit_all(&key).unwrap();
    assert_eq!((sent.filled, sent.refused), (2, 1), "{sent:?}");
    assert!(sent.lines.iter().any(|l| l.why.contains("gross exposure")), "{sent:?}");
    // After the reconcile the executions are booked, and counted once.
    day.reconcile("SIM1").unwrap();
    assert!(day.log().unbooked("SIM1", "2017-12-01".parse().unwrap()).unwrap().is_empty());
}

#[test]
fn a_switch_that_is_thrown_while_an_outcome_is_unknown_stops_the_second_post() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let key = confirmed(&day, &input(&[("AAPL", 0.05)]));
    // The request is lost and nobody can be asked: the order stays unknown.
    broker.truth.lock().unwrap().faults.insert(0, Fault::LostRequest);
    broker.truth.lock().unwrap().blind_lookups.extend(0..40);
    assert_eq!(day.submit_all(&key).unwrap().unknown, 1);
    day.stop("SIM1", "enough").unwrap();
    broker.truth.lock().unwrap().blind_lookups.clear();
    let again = day.submit_all(&key).unwrap();
    assert_eq!((again.unknown, again.sent), (1, 0), "{again:?}");
    assert_eq!(broker.truth.lock().unwrap().posts.len(), 1, "an order that never arrived is not sent past the kill switch");
}

#[test]
fn reductions_go_on_where_the_account_cannot_be_compared_and_the_third_failure_in_a_row_trips() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let (db, _) = settled_morning(dir.path(), &broker);
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let key = confirmed(&day, &PlanInput { asof: "2017-12-01".parse().unwrap(), ..input(&[("MSFT", 0.08)]) });
    broker.truth.lock().unwrap().fills_down = true;
    let sent = day.submit_all(&key).unwrap();
    let state = |symbol: &str| sent.lines.iter().find(|l| l.symbol == symbol).map(|l| (l.state.clone(), l.why.clone())).unwrap();
    assert_eq!((sent.sent, sent.waiting), (2, 1), "{sent:?}");
    assert!(state("MSFT").0 == name::PLANNED && state("MSFT").1.contains("could not be reconciled"), "{sent:?}");
    let tripped = || switches::read(&db, Switch::Breaker, "SIM1").stopped;
    assert!(!tripped(), "one failure is a hiccup");
    let wait = || db.root().host().block_on(db.root().host().sleep(std::time::Duration::from_secs(30))).unwrap();
    wait();
    day.submit_all(&key).unwrap();
    assert!(!tripped());
    wait();
    day.submit_all(&key).unwrap();
    assert!(tripped(), "three are not");
}

#[test]
fn an_order_is_taken_for_never_having_arrived_counted_from_its_sending_not_from_its_planning() {
    let (dir, mut broker) = (scratch(), FakeBroker::new(evening()));
    broker.dedups = false;
    let key = {
        let db = open(dir.path(), None, evening()).unwrap();
        confirmed(&PaperDay::new(&db, &broker, config(), &default_sizer).unwrap(), &input(&[("AAPL", 0.05)]))
    };
    // An hour later the person has read the preview; the request is lost.
    let sent_at = evening().plus_seconds(3_600);
    broker.truth.lock().unwrap().faults.insert(0, Fault::LostRequest);
    let look = |after_s: i64| {
        let now = sent_at.plus_seconds(after_s);
        broker.set_now(now);
        let db = open(dir.path(), None, now).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        if after_s == 0 {
            drop(day.submit_all(&key).unwrap())
        } else {
            drop(day.reconcile("SIM1").unwrap())
        }
        day.log().orders_of(&key).unwrap().remove(0).state
    };
    for after_s in [0, 60, 120, 180] {
        assert_eq!(look(after_s), name::UNCONFIRMED, "{after_s} s after the POST it may still turn up");
    }
    assert_eq!(look(400), name::NEVER_REACHED);
}

#[test]
fn an_execution_that_comes_before_the_name_of_its_order_is_not_given_to_somebody_else() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let key = confirmed(&day, &input(&[("AAPL", 0.05)]));
    {
        let mut t = broker.truth.lock().unwrap();
        (t.fills_at_once, t.orders_hidden) = (true, true);
        t.faults.insert(0, Fault::LostAck);
    }
    assert_eq!(day.submit_all(&key).unwrap().unknown, 1);
    // The list of executions is ahead of the orders: the shares are there, and nobody is said to have bought them.
    let report = day.reconcile("SIM1").unwrap();
    assert!(report.differences.iter().all(|d| d.kind == "quantity") && day.log().fills("SIM1").unwrap().is_empty(), "{report:?}");
    broker.truth.lock().unwrap().orders_hidden = false;
    let report = day.reconcile("SIM1").unwrap();
    assert!(report.differences.is_empty() && report.released == ["AAPL"], "{report:?}");
    let fills = day.log().fills("SIM1").unwrap();
    assert_eq!((fills.len(), fills[0].strategy.as_str()), (1, "equities_xs"));
    assert_eq!(broker.truth.lock().unwrap().orders.len(), 1);
}
