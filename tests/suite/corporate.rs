//! Nights on which shares change without an order: a split, a dividend, a delisting at the last price, a merger for cash. Book and
//! broker agree on shares and money before and after each, and none of them makes an order.

use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts, SENTINEL};
use data_layer::sandbox::world::World;
use data_layer::sandbox::{self, SandboxConfig, client, load};
use data_layer::store;
use data_layer::time::{TradingDay, UtcTime};
use engine::execution::broker::Broker;
use engine::execution::broker::alpaca::{AlpacaBroker, AlpacaKeys};
use engine::execution::broker::simulated::{Corporate, PriceSource, SimulatedBroker, What};
use engine::execution::gates::Mode;
use engine::execution::order::Reference;
use engine::execution::positions;
use engine::execution::quarantine::quarantined;
use engine::execution::reconcile::{Rename, Split};
use engine::execution::risk::Limits;
use engine::pipelines::paper_day::{AccountCheck, PaperConfig, PaperDay, PlanInput, confirmation_token, default_sizer};
use polars::prelude::{Column, DataFrame};
use std::collections::BTreeMap;
use std::path::Path;

const SESSIONS: [&str; 9] = ["2017-11-24", "2017-11-27", "2017-11-28", "2017-11-29", "2017-11-30", "2017-12-01", "2017-12-04", "2017-12-05", "2017-12-06"];

/// Prices stand still but for what is tested: A splits four for one on the 30th, B goes ex a dollar that day and pays it on the 4th, C
/// trades last on the 30th, at 20, and E is bought for 30 on the 1st.
fn price(symbol: &str, day: &str) -> Option<f64> {
    match symbol {
        "A" => Some(if day < "2017-11-30" { 100.0 } else { 25.0 }),
        "B" => Some(if day < "2017-11-30" { 50.0 } else { 49.0 }),
        "C" => (day <= "2017-11-30").then_some(20.0),
        "D" => Some(40.0),
        _ => (day <= "2017-11-30").then_some(29.0),
    }
}

const ACTIONS: &str = "symbol,event_type,ex_date,record_date,pay_date,ratio,cash,new_symbol
A,split,2017-11-30,,,4,,
B,dividend,2017-11-30,2017-12-01,2017-12-04,,1.0,
E,cash_merger,2017-12-01,,,,30.0,
";

fn write_world(folder: &Path) -> World {
    std::fs::create_dir_all(folder).unwrap();
    let rows: Vec<(&str, &str, f64)> =
        ["A", "B", "C", "D", "E"].into_iter().flat_map(|s| SESSIONS.into_iter().filter_map(move |d| Some((d, s, price(s, d)?)))).collect();
    let column = |name: &str| Column::new(name.into(), rows.iter().map(|r| r.2).collect::<Vec<_>>());
    let mut columns = vec![
        Column::new("date".into(), rows.iter().map(|r| r.0).collect::<Vec<_>>()),
        Column::new("Name".into(), rows.iter().map(|r| r.1).collect::<Vec<_>>()),
    ];
    columns.extend(["open", "high", "low", "close"].map(column));
    columns.push(Column::new("volume".into(), vec![1_000_000_i64; rows.len()]));
    let mut frame = DataFrame::new(rows.len(), columns).unwrap();
    std::fs::write(folder.join("prices.parquet"), store::parquet_bytes(&mut frame).unwrap()).unwrap();
    std::fs::write(folder.join("corp_actions.csv"), ACTIONS).unwrap();
    load::load("", 0, Some(folder)).unwrap()
}

/// The world as the simulated book reads it.
struct Tape<'a>(&'a World);

impl PriceSource for Tape<'_> {
    fn open(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        let s = self.0.series(symbol)?;
        s.on(day).map(|i| s.open[i])
    }
    fn last_close(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        self.0.series(symbol)?.close_at(day)
    }
    fn corporate(&self, symbol: &str) -> Vec<Corporate> {
        let at = |day: &str, what| vec![Corporate { ex_date: day.parse().unwrap(), what }];
        match symbol {
            "A" => at("2017-11-30", What::Split(4.0)),
            "B" => at("2017-11-30", What::Dividend(1.0)),
            "C" => at("2017-12-01", What::Removal(20.0)),
            "E" => at("2017-12-01", What::Removal(30.0)),
            _ => Vec::new(),
        }
    }
}

fn config() -> PaperConfig {
    let split = Split { symbol: "A".into(), ex_date: "2017-11-30".parse().unwrap(), ratio: 4.0 };
    PaperConfig {
        strategy: "s".into(),
        mode: Mode::Paper,
        limits: Limits::default(),
        operator: "test".into(),
        run_id: None,
        splits: vec![split],
        renames: Vec::new(),
    }
}

fn root(host: &Host, drive: &Path, dataset: &str) -> DataRoot {
    std::fs::create_dir_all(drive).unwrap();
    if drive.join(SENTINEL).exists() { DataRoot::open(host, drive).unwrap() } else { DataRoot::create(host, drive, dataset, FsFacts::default(), None).unwrap() }
}

fn input(world: &World, account: &AccountCheck, targets: BTreeMap<String, f64>) -> PlanInput {
    let at = Calendar::xnys().close(account.asof);
    let tape = Tape(world);
    let known = ["A", "B", "C", "D", "E"].into_iter().filter_map(|s| Some((s.to_string(), tape.last_close(s, account.asof)?)));
    let prices = known.map(|(s, price)| (s, Reference { price, at, adv_shares: Some(1e9), sigma_daily: None, tradable: true })).collect();
    PlanInput { asof: account.asof, champion: BTreeMap::new(), targets, prices, rebalance_no: 0, notes: Vec::new(), schedule: None, ceiling: None }
}

/// One evening: settle, compare book and broker, and see what an unchanged book would trade.
fn evening(world: &World, day: &PaperDay<'_>) -> (BTreeMap<String, f64>, f64) {
    let account = day.account_check().unwrap();
    let report = day.reconcile(&account.account).unwrap();
    assert!(report.complete && report.differences.iter().all(|d| d.kind == "split" || d.kind == "removal"), "{}: {:?}", account.asof, report.differences);
    assert!(quarantined(day.db).unwrap().is_empty(), "{}", account.asof);
    let ledger = positions::ledger(&day.log(), &account.account).unwrap();
    let theirs: BTreeMap<String, f64> = day.broker.positions().unwrap().into_iter().map(|p| (p.symbol, p.qty)).collect();
    assert_eq!(ledger.per_symbol(), theirs, "{}", account.asof);
    let broker = day.broker.account().unwrap();
    assert!((100_000.0 + ledger.cash() - broker.cash).abs() < 0.01, "{}: book {} broker {}", account.asof, 100_000.0 + ledger.cash(), broker.cash);
    let worth: f64 = theirs.iter().map(|(s, q)| q * Tape(world).last_close(s, account.asof).unwrap()).sum();
    assert!((100_000.0 + ledger.cash() + worth - broker.equity).abs() < 0.01, "{}: {worth} {broker:?}", account.asof);
    let unchanged = theirs.iter().map(|(s, q)| (s.clone(), (q + 0.5 * q.signum()) * Tape(world).last_close(s, account.asof).unwrap() / account.equity));
    let set = day.plan(&account, &input(world, &account, unchanged.collect())).unwrap();
    assert!(set.lines.is_empty(), "{}: {:?}", account.asof, set.lines);
    (theirs, broker.equity)
}

fn first_evening(world: &World, day: &PaperDay<'_>) {
    let account = day.account_check().unwrap();
    day.reconcile(&account.account).unwrap();
    let targets = [("A", 0.05), ("B", 0.05), ("C", 0.05), ("D", -0.04), ("E", -0.029)].into_iter().map(|(s, w)| (s.to_string(), w)).collect();
    let set = day.plan(&account, &input(world, &account, targets)).unwrap();
    day.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day)).unwrap();
    assert_eq!(day.submit_all(&set.run_key).unwrap().sent, 5);
}

/// What is held and what it is worth, evening by evening from the 28th on.
fn expected(costs: f64, dividend_on_pay_date: bool) -> Vec<(usize, f64)> {
    let before = 100_000.0 - costs;
    // B: 100 shares lose a dollar on the 30th and get it back when it is credited. E: 100 short at 29, bought out at 30.
    let ex = if dividend_on_pay_date { before - 100.0 } else { before };
    vec![(5, before), (5, before), (5, ex), (3, ex - 100.0), (3, before - 100.0), (3, before - 100.0)]
}

#[test]
fn book_and_alpacas_account_agree_through_a_split_a_dividend_a_delisting_and_a_merger() {
    let dir = tempfile::tempdir().unwrap();
    let world = write_world(&dir.path().join("world"));
    let host = Host::fake(FakeHost::default());
    let now = UtcTime::parse("2017-11-27T21:30:00Z").unwrap();
    let street = SandboxConfig { data_dir: Some(dir.path().join("world")), now: Some(now), ..SandboxConfig::replay(dir.path().join("street")) };
    let sandbox = host.block_on(sandbox::start(&host, street)).unwrap().unwrap();
    let process = |work: &mut dyn FnMut(&PaperDay<'_>)| {
        let host = Host::fake(FakeHost { env: sandbox.env.clone(), now: sandbox.now().plus_seconds(1), ..FakeHost::default() });
        let root = root(&host, &dir.path().join("drive"), &sandbox.dataset);
        let db = Db::open(&root, Which::Journal).unwrap();
        let key = |name: &str| sandbox.env[name].clone().into();
        let broker = AlpacaBroker::new(&root, AlpacaKeys { key: key("ALPACA_API_KEY"), secret: key("ALPACA_API_SECRET") }, None).unwrap();
        work(&PaperDay::new(&db, &broker, config(), &default_sizer).unwrap());
    };
    process(&mut |day| first_evening(&world, day));
    for (held, equity) in expected(0.0, true) {
        host.block_on(client::advance_by(&host, &sandbox.base(), "next_close")).unwrap().unwrap();
        process(&mut |day| {
            let (positions, worth) = evening(&world, day);
            assert_eq!((positions.len(), worth), (held, equity), "{positions:?}");
        });
    }
    process(&mut |day| {
        let totals = positions::ledger(&day.log(), "SIM000001").unwrap().totals();
        assert_eq!((totals.dividends, totals.realised), (100.0, -100.0), "the dividend is income, the merger a loss of the short");
    });
    host.block_on(sandbox.stop()).unwrap().unwrap();
}

#[test]
fn the_simulated_book_keeps_the_same_events_with_the_dividend_on_its_ex_date() {
    let dir = tempfile::tempdir().unwrap();
    let world = write_world(&dir.path().join("world"));
    let process = |now: UtcTime, work: &mut dyn FnMut(&PaperDay<'_>)| {
        let host = Host::fake(FakeHost { now, ..FakeHost::default() });
        let root = root(&host, &dir.path().join("drive"), "planted@1:7");
        let db = Db::open(&root, Which::Journal).unwrap();
        let tape = Tape(&world);
        let broker: SimulatedBroker<'_> = SimulatedBroker::new(&db, &tape, "SIMLOCAL", 100_000.0, 0.0).unwrap();
        assert_eq!(broker.name(), "simulated");
        work(&PaperDay::new(&db, &broker, config(), &default_sizer).unwrap());
    };
    let close = |day: &str| Calendar::xnys().close(day.parse().unwrap()).plus_seconds(1_800);
    process(close("2017-11-27"), &mut |day| first_evening(&world, day));
    for (day, (held, equity)) in SESSIONS[2..8].iter().zip(expected(0.0, false)) {
        process(close(day), &mut |desk| {
            let (positions, worth) = evening(&world, desk);
            assert_eq!((positions.len(), worth), (held, equity), "{day} {positions:?}");
        });
    }
}

/// OLD trades at 100 until the 30th and goes on as NEW, at 101, from the 1st.
struct Rechristened;

impl PriceSource for Rechristened {
    fn open(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        let change: TradingDay = "2017-12-01".parse().unwrap();
        match symbol {
            "OLD" => (day < change).then_some(100.0),
            _ => (day >= change).then_some(101.0),
        }
    }
    fn last_close(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        if symbol == "OLD" { Some(100.0) } else { self.open(symbol, day) }
    }
    fn renamed(&self, symbol: &str) -> Vec<(TradingDay, String)> {
        // Another company had the ticker years before.
        let change = |day: &str, to: &str| (day.parse().unwrap(), to.to_string());
        if symbol == "OLD" { vec![change("2015-06-01", "ELSE"), change("2017-12-01", "NEW")] } else { Vec::new() }
    }
}

#[test]
fn a_company_that_changes_its_ticker_stays_in_the_book_under_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let process = |now: &str, work: &mut dyn FnMut(&PaperDay<'_>, AccountCheck)| {
        let at = Calendar::xnys().close(now.parse().unwrap()).plus_seconds(1_800);
        let host = Host::fake(FakeHost { now: at, ..FakeHost::default() });
        let db = Db::open(&root(&host, &dir.path().join("drive"), "planted@1:7"), Which::Journal).unwrap();
        let broker = SimulatedBroker::new(&db, &Rechristened, "SIMLOCAL", 100_000.0, 0.0).unwrap();
        let rename = Rename { symbol: "OLD".into(), to: "NEW".into(), date: "2017-12-01".parse().unwrap() };
        let desk = PaperDay::new(&db, &broker, PaperConfig { splits: Vec::new(), renames: vec![rename], ..config() }, &default_sizer).unwrap();
        let account = desk.account_check().unwrap();
        let report = desk.reconcile(&account.account).unwrap();
        assert!(report.complete && report.quarantined.is_empty(), "{now}: {report:?}");
        assert_eq!(
            positions::ledger(&desk.log(), "SIMLOCAL").unwrap().per_symbol(),
            broker.positions().unwrap().into_iter().map(|p| (p.symbol, p.qty)).collect()
        );
        work(&desk, account);
    };
    let asked = |asof: TradingDay, symbol: &str| {
        let reference = Reference { price: 100.0, at: Calendar::xnys().close(asof), adv_shares: Some(1e9), sigma_daily: None, tradable: true };
        let (targets, prices) = (BTreeMap::from([(symbol.to_string(), 0.05)]), BTreeMap::from([(symbol.to_string(), reference)]));
        PlanInput { asof, champion: BTreeMap::new(), targets, prices, rebalance_no: 0, notes: Vec::new(), schedule: None, ceiling: None }
    };
    process("2017-11-28", &mut |desk, account| {
        let set = desk.plan(&account, &asked(account.asof, "OLD")).unwrap();
        desk.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day)).unwrap();
        assert_eq!(desk.submit_all(&set.run_key).unwrap().sent, 1);
    });
    process("2017-11-29", &mut |_, account| assert_eq!(account.equity, 100_000.0));
    process("2017-12-01", &mut |desk, account| {
        assert_eq!(account.equity, 100_050.0, "50 shares, a dollar more each");
        let ledger = positions::ledger(&desk.log(), "SIMLOCAL").unwrap();
        let held = &ledger.positions()[&positions::Holding::new("s", "NEW")];
        assert_eq!((held.qty, held.average_price, ledger.positions().len()), (50.0, 100.0, 1));
    });
    process("2017-12-04", &mut |_, account| assert_eq!(account.equity, 100_050.0));
}
