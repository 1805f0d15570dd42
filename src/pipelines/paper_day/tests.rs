use super::*;
use crate::execution::broker::fake::{FakeBroker, Fault, evening, host_at, scratch};
use crate::execution::order::Reference;
use crate::execution::state::name;
use crate::execution::switches::Switch;
use crate::reports::daily::{DailyReport, Mode as ReportMode, OrderCounts};
use data_layer::control::Which;
use data_layer::root::{DataRoot, FsFacts};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const MORNING: &str = "2017-12-01T21:30:00Z";

pub(crate) fn input(targets: &[(&str, f64)]) -> PlanInput {
    let at = UtcTime::parse("2017-11-30T21:00:00Z").unwrap();
    let reference = |p: f64| Reference { price: p, at, adv_shares: Some(1e6), sigma_daily: None, tradable: true };
    PlanInput {
        asof: "2017-11-30".parse().unwrap(),
        champion: BTreeMap::from([("strategy".into(), "equities_xs".into()), ("version".into(), "v1".into()), ("sha256".into(), "aa".into())]),
        targets: targets.iter().map(|(s, w)| ((*s).to_string(), *w)).collect(),
        prices: [("AAPL", 170.0), ("MSFT", 84.0), ("XOM", 83.0), ("BBB", 50.0)].into_iter().map(|(s, p)| (s.to_string(), reference(p))).collect(),
        rebalance_no: 0,
        notes: vec![],
        schedule: None,
        ceiling: None,
    }
}

pub(crate) fn config() -> PaperConfig {
    PaperConfig {
        strategy: "equities_xs".into(),
        mode: Mode::Paper,
        limits: Limits::default(),
        operator: "me".into(),
        run_id: None,
        splits: Vec::new(),
        renames: Vec::new(),
    }
}

pub(crate) fn open(dir: &Path, crash: Option<(String, u64)>, now: UtcTime) -> Result<Db> {
    let host = host_at(now, crash);
    let root = if dir.join(data_layer::root::SENTINEL).exists() {
        DataRoot::open(&host, dir)?
    } else {
        DataRoot::create(&host, dir, "replay@1", FsFacts::default(), None)?
    };
    Db::open(&root, Which::Journal)
}

pub(crate) const TARGETS: &[(&str, f64)] = &[("AAPL", 0.05), ("MSFT", 0.05), ("XOM", -0.05)];

/// The evening's steps, as a wizard would call them (again) on a fresh process.
pub(crate) fn evening_steps(db: &Db, broker: &FakeBroker) -> Result<(String, SubmitReport)> {
    let day = PaperDay::new(db, broker, config(), &default_sizer)?;
    let account = day.account_check()?;
    day.reconcile(&account.account)?;
    let set = day.plan(&account, &input(TARGETS))?;
    day.preview(&set.run_key)?;
    day.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day))?;
    Ok((set.run_key.clone(), day.submit_all(&set.run_key)?))
}

/// The evening's orders filled at the open and settled after the close, with the key of their set.
pub(crate) fn settled_morning(dir: &Path, broker: &FakeBroker) -> (Db, String) {
    let (key, _) = evening_steps(&open(dir, None, evening()).unwrap(), broker).unwrap();
    let morning = UtcTime::parse(MORNING).unwrap();
    broker.set_now(morning);
    broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
    let db = open(dir, None, morning).unwrap();
    PaperDay::new(&db, broker, config(), &default_sizer).unwrap().settle(&key).unwrap();
    (db, key)
}

fn settle(db: &Db, broker: &FakeBroker, run_key: &str) -> Result<(SettleReport, DailyReport)> {
    let day = PaperDay::new(db, broker, config(), &default_sizer)?;
    let settled = day.settle(run_key)?;
    let report = day.daily_report(
        run_key,
        &ReportInput {
            asof: "2017-12-01".parse().unwrap(),
            mode: ReportMode::Paper,
            closes: broker.prices.clone(),
            data_health: BTreeMap::new(),
            known_bias: Some("none".into()),
            links: BTreeMap::new(),
            trials: Some(3),
            opens: BTreeMap::from([
                // A set from yesterday is not measured against today's opens.
                ("2017-12-01".parse().unwrap(), broker.prices.clone()),
                ("2017-12-04".parse().unwrap(), broker.prices.iter().map(|(s, p)| (s.clone(), 2.0 * p)).collect()),
            ]),
        },
    )?;
    Ok((settled, report))
}

#[test]
fn a_paper_day_from_targets_to_report() {
    let dir = scratch();
    let broker = FakeBroker::new(evening());
    let db = open(dir.path(), None, evening()).unwrap();
    let (key, sent) = evening_steps(&db, &broker).unwrap();
    assert_eq!((sent.planned, sent.sent, sent.filled), (3, 3, 0));
    assert_eq!(key, "SIM1|equities_xs|2017-12-01|0");
    drop(db);
    let morning = UtcTime::parse(MORNING).unwrap();
    broker.set_now(morning);
    broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
    let db = open(dir.path(), None, morning).unwrap();
    let (settled, report) = settle(&db, &broker, &key).unwrap();
    assert_eq!(settled.orders.filled, 3);
    assert_eq!(settled.positions, BTreeMap::from([("AAPL".into(), 29.0), ("MSFT".into(), 59.0), ("XOM".into(), -60.0)]));
    assert!(settled.reconcile.differences.is_empty(), "{:?}", settled.reconcile.differences);
    assert_eq!(report.orders, OrderCounts { planned: 3, sent: 3, filled: 3, refused: 0, unknown: 0 });
    assert!(report.parity.unexplained.unwrap().abs() < 1e-6);
    assert_eq!(report.switches["kill_switch"], "ACTIVE");
    assert!(report.undefined.contains_key("risk_metrics.var_95"));
    let (execution, modelled) = (&report.execution, Some(6.0));
    assert_eq!((execution.modelled_bps, execution.realised_bps, execution.n), (modelled, Some(0.0), 3), "the default, and fills at the very open");
    crate::reports::daily(&report).unwrap();
}

#[test]
fn lesson_117_a_crash_at_every_point_of_the_evening_ends_with_no_double_and_no_missing_order() {
    for faults in [vec![], vec![(0, Fault::LostAck), (1, Fault::LostRequest), (2, Fault::LostAck), (3, Fault::RateLimited)]] {
        let mut crashes = 0;
        for k in 1..400 {
            let dir = scratch();
            let broker = FakeBroker::new(evening());
            broker.truth.lock().unwrap().faults.extend(faults.clone());
            drop(open(dir.path(), None, evening()).unwrap());
            let crashed = open(dir.path(), Some((String::new(), k)), evening()).and_then(|db| evening_steps(&db, &broker).map(drop)).is_err();
            // The drive goes into another machine, a little later: the same steps again.
            let later = evening().plus_seconds(120);
            let db = open(dir.path(), None, later).unwrap();
            let (key, _) = evening_steps(&db, &broker).unwrap();
            let (_, again) = evening_steps(&db, &broker).unwrap();
            let t = broker.truth.lock().unwrap();
            let ids: Vec<String> = OrderLog::new(&db).set(&key).unwrap().unwrap().lines.iter().map(|l| l.client_order_id.clone()).collect();
            assert_eq!(t.orders.len(), 3, "crash {k}");
            assert!(ids.iter().all(|id| t.orders.contains_key(id)), "crash {k}");
            assert_eq!((again.sent, again.unknown, again.waiting), (3, 0, 0), "crash {k}: {again:?}");
            crashes += usize::from(crashed);
            if !crashed {
                break;
            }
        }
        assert!(crashes > 30, "only {crashes} points were passed");
    }
}

#[test]
fn a_crash_at_every_point_of_the_morning_settles_to_the_same_book() {
    let morning = UtcTime::parse(MORNING).unwrap();
    let mut first: Option<(BTreeMap<String, f64>, DailyReport)> = None;
    for k in (1..200).step_by(3) {
        let dir = scratch();
        let broker = FakeBroker::new(evening());
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        broker.set_now(morning);
        broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
        let crashed = open(dir.path(), Some((String::new(), k)), morning).and_then(|db| settle(&db, &broker, &key)).is_err();
        let (settled, report) = settle(&open(dir.path(), None, morning.plus_seconds(90)).unwrap(), &broker, &key).unwrap();
        let seen = (settled.positions, report);
        assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen, "crash {k}");
        if !crashed {
            return;
        }
    }
    panic!("the morning has more points than were tried");
}

#[test]
fn lesson_095_a_crash_around_the_send_is_treated_as_unknown() {
    for point in ["order.intent.after", "order.send.before", "order.send.after"] {
        let dir = scratch();
        let broker = FakeBroker::new(evening());
        let db = open(dir.path(), Some((point.to_string(), 1)), evening()).unwrap();
        assert!(evening_steps(&db, &broker).unwrap_err().is(code::BUG_CRASH_POINT));
        let posts = broker.truth.lock().unwrap().posts.len();
        drop(db);
        let db = open(dir.path(), None, evening().plus_seconds(60)).unwrap();
        let key = "SIM1|equities_xs|2017-12-01|0";
        assert_eq!(OrderLog::new(&db).orders_of(key).unwrap()[0].state, name::INTENDED, "{point}");
        evening_steps(&db, &broker).unwrap();
        let t = broker.truth.lock().unwrap();
        assert_eq!((t.orders.len(), t.refused_duplicates), (3, 0), "{point}");
        assert_eq!(t.posts.len(), 3, "{point}: {posts} before the crash");
    }
}

#[test]
fn nothing_is_sent_without_the_exact_words_for_this_account_and_day() {
    let dir = scratch();
    let broker = FakeBroker::new(evening());
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let account = day.account_check().unwrap();
    day.reconcile("SIM1").unwrap();
    let set = day.plan(&account, &input(TARGETS)).unwrap();
    for typed in ["", "y", "yes", "paper SIM1 2017-12-01", "PAPER SIM1", "PAPER SIM1 2017-11-30", "PAPER SIM2 2017-12-01", "PAPER SIM1 2017-12-01 "] {
        assert!(day.consent(&set.run_key, typed).unwrap_err().is(code::GATE_REFUSED), "{typed}");
    }
    assert!(day.submit_all(&set.run_key).unwrap_err().is(code::GATE_REFUSED));
    assert!(switches::read(&db, Switch::Kill, "SIM1").stopped);
    assert!(broker.truth.lock().unwrap().posts.is_empty());
    // The pinned set is what is sent, whatever is asked for afterwards.
    let other = day.plan(&account, &input(&[("BBB", 0.05)])).unwrap();
    assert_eq!(other, set);
}

#[test]
fn a_set_without_orders_needs_no_words_and_stops_no_morning() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let set = day.plan(&day.account_check().unwrap(), &input(&[])).unwrap();
    assert!(set.lines.is_empty());
    assert_eq!(day.submit_all(&set.run_key).unwrap(), SubmitReport::default());
    broker.set_now(UtcTime::parse("2017-12-01T14:31:00Z").unwrap());
    let db = open(dir.path(), None, UtcTime::parse("2017-12-01T14:31:00Z").unwrap()).unwrap();
    let morning = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    assert_eq!(morning.submit_all(&set.run_key).unwrap(), SubmitReport::default());
    assert!(broker.truth.lock().unwrap().posts.is_empty());
}

#[test]
fn the_kill_switch_blocks_increases_and_a_dry_run_sends_nothing() {
    for dry in [false, true] {
        let dir = scratch();
        let broker = FakeBroker::new(evening());
        let db = open(dir.path(), None, evening()).unwrap();
        let config = PaperConfig { mode: if dry { Mode::DryRun } else { Mode::Paper }, ..config() };
        let day = PaperDay::new(&db, &broker, config, &default_sizer).unwrap();
        let account = day.account_check().unwrap();
        let set = day.plan(&account, &input(TARGETS)).unwrap();
        day.consent(&set.run_key, &confirmation_token("SIM1", set.trading_day)).unwrap();
        day.stop("SIM1", "enough").unwrap();
        let report = day.submit_all(&set.run_key).unwrap();
        assert_eq!((report.sent, report.refused), (0, 3));
        let state = if dry { name::DRY_RUN } else { name::BLOCKED_KILL_SWITCH };
        assert!(report.lines.iter().all(|l| l.state == state));
        assert!(broker.truth.lock().unwrap().posts.is_empty());
    }
}

#[test]
fn an_increase_that_the_account_cannot_carry_is_dropped_and_one_whose_account_is_silent_waits() {
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    broker.truth.lock().unwrap().free_usd = Some(f64::NAN);
    let (key, sent) = evening_steps(&db, &broker).unwrap();
    assert_eq!((sent.sent, sent.refused, sent.waiting), (0, 0, 3), "nothing is wrong with the orders: {sent:?}");
    assert!(sent.lines[0].why.contains("buying power"), "{:?}", sent.lines);
    // 29 x 170 and 59 x 84 do not fit, 60 x 83 neither: the fake account does not shrink, so each line is judged by itself.
    broker.truth.lock().unwrap().free_usd = Some(4_940.0);
    let (_, sent) = evening_steps(&db, &broker).unwrap();
    assert_eq!((sent.sent, sent.refused, sent.waiting), (1, 2, 0), "{sent:?}");
    let refused = sent.lines.iter().find(|l| l.symbol == "XOM").unwrap();
    assert_eq!((refused.state.as_str(), refused.why.as_str()), (name::DROPPED, "$4980 of XOM where the broker leaves $4940 for new positions"));
    // What is at the broker stays there, whatever the account has left.
    broker.truth.lock().unwrap().free_usd = Some(0.0);
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    assert_eq!(day.submit_all(&key).unwrap().sent, 1);
    assert_eq!(broker.truth.lock().unwrap().posts.len(), 1);
}

#[test]
fn lesson_101_an_order_of_somebody_else_is_never_adopted_and_quarantines_its_symbol() {
    let dir = scratch();
    let broker = FakeBroker::new(evening());
    let db = open(dir.path(), None, evening()).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    // Same symbol, side and second as ours will have, but another id.
    let mut foreign = crate::execution::order::tests::intent("AAPL", crate::types::Side::Buy, 29.0);
    foreign.client_order_id = "by-hand".into();
    broker.submit(&foreign);
    let (_, sent) = evening_steps(&db, &broker).unwrap();
    assert_eq!((sent.sent, sent.refused), (2, 1));
    let aapl = sent.lines.iter().find(|l| l.symbol == "AAPL").unwrap();
    assert!(aapl.why.contains("quarantine"), "{aapl:?}");
    let report = day.reconcile("SIM1").unwrap();
    assert!(report.differences.iter().any(|d| d.kind == "orphan_order"));
}

#[test]
fn a_missed_fill_is_repaired_and_later_replaced_by_the_execution() {
    let dir = scratch();
    let broker = FakeBroker::new(evening());
    let db = open(dir.path(), None, evening()).unwrap();
    let (key, _) = evening_steps(&db, &broker).unwrap();
    drop(db);
    let morning = UtcTime::parse(MORNING).unwrap();
    broker.set_now(morning);
    broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
    broker.truth.lock().unwrap().hide_fills = true;
    let db = open(dir.path(), None, morning).unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let settled = day.settle(&key).unwrap();
    assert_eq!(settled.reconcile.differences.iter().filter(|d| d.kind == "missed_fill").count(), 3);
    assert!(settled.reconcile.quarantined.is_empty());
    broker.truth.lock().unwrap().hide_fills = false;
    let again = day.settle(&key).unwrap();
    assert_eq!((again.reconcile.new_fills, &again.positions), (3, &settled.positions));
    assert!(again.reconcile.differences.is_empty());
}

#[test]
fn lesson_100_the_day_s_count_comes_from_the_journal_and_survives_a_restart() {
    let dir = scratch();
    let broker = FakeBroker::new(evening());
    let limits = Limits { single_orders_a_day: 3, ..Limits::default() };
    let db = open(dir.path(), None, evening()).unwrap();
    evening_steps(&db, &broker).unwrap();
    drop(db);
    let db = open(dir.path(), None, evening().plus_seconds(60)).unwrap();
    let day = PaperDay::new(&db, &broker, PaperConfig { limits, ..config() }, &default_sizer).unwrap();
    let account = day.account_check().unwrap();
    let more = PlanInput { rebalance_no: 1, ..input(&[("AAPL", 0.05), ("MSFT", 0.05), ("XOM", -0.05), ("BBB", 0.01)]) };
    let set = day.plan(&account, &more).unwrap();
    assert_eq!(set.lines.len(), 1, "what is on its way is not ordered again");
    day.consent(&set.run_key, &confirmation_token("SIM1", set.trading_day)).unwrap();
    let report = day.submit_all(&set.run_key).unwrap();
    assert!(report.lines[0].why.contains("3 orders today, 3 are allowed"), "{report:?}");
}

#[test]
fn a_price_ages_only_while_the_market_is_open() {
    let t = |s: &str| UtcTime::parse(s).unwrap();
    assert_eq!(send::open_seconds_between(t("2017-11-30T21:00:00Z"), t("2017-12-01T14:30:00Z")), 0.0);
    assert_eq!(send::open_seconds_between(t("2017-11-30T21:00:00Z"), t("2017-12-01T14:30:40Z")), 40.0);
    assert_eq!(send::open_seconds_between(t("2017-12-01T15:00:00Z"), t("2017-12-01T15:00:10Z")), 10.0);
}

#[test]
fn an_accepted_cost_prices_each_line_of_the_preview_by_its_size_and_the_report_expects_the_same() {
    use crate::execution::calibration::tests::sized;
    use crate::execution::calibration::{accept, acceptance, weigh};
    let (dir, broker) = (scratch(), FakeBroker::new(evening()));
    let db = open(dir.path(), None, evening()).unwrap();
    let evidence = weigh(&sized(2.0));
    accept(&db, "SIM1", &evidence, &acceptance("SIM1", &evidence.proposal().unwrap()).unwrap(), "me").unwrap();
    let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
    let account = day.account_check().unwrap();
    day.reconcile(&account.account).unwrap();
    let mut plan = input(&[("AAPL", 0.05), ("MSFT", 0.05), ("BBB", 0.01)]);
    // One market is known and large, one known and small, one unknown.
    for (symbol, adv) in [("AAPL", 1e7), ("MSFT", 2e4)] {
        let reference = plan.prices.get_mut(symbol).unwrap();
        (reference.adv_shares, reference.sigma_daily) = (Some(adv), Some(0.02));
    }
    let set = day.plan(&account, &plan).unwrap();
    let preview = day.preview(&set.run_key).unwrap();
    let bps = |s: &str| preview.lines.iter().find(|l| l.symbol == s).unwrap().cost_bps.unwrap();
    assert!(bps("AAPL") < 6.0 && bps("MSFT") > 10.0 && bps("BBB") >= 6.0, "{:?}", preview.lines);
    let cost = preview.cost.clone().unwrap();
    let usd: f64 = preview.lines.iter().map(|l| l.cost_bps.unwrap() / 1e4 * l.notional_usd).sum();
    assert!((cost.usd - usd).abs() < 1e-9 && (cost.bps.unwrap() - 1e4 * usd / preview.notional_usd).abs() < 1e-9);
    assert_eq!(cost.side, crate::execution::calibration::in_force(&db, "SIM1").unwrap(), "pinned whole");
    assert_eq!(preview.shown_sha256, day.preview(&set.run_key).unwrap().shown_sha256);
}
