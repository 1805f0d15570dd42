//! A day whose orders travel in slices, from the targets to the parity report: planned in the evening, cut by TWAP or by Almgren and Chriss,
//! sent at their moments at a sandbox that knows minutes, by a desk that is killed between and within the moments, reconciled, reported
//! and replayed. Nothing is sent twice, each slice is filled at a minute after its moment, and nothing is left without a cause.

use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::ctrader::dialect::Dialect;
use data_layer::error::{Result, code};
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts, SENTINEL};
use data_layer::sandbox::world::World;
use data_layer::sandbox::{self, Sandbox, SandboxConfig, client, load};
use data_layer::time::{TradingDay, UtcTime};
use engine::execution::broker::alpaca::{AlpacaBroker, AlpacaKeys};
use engine::execution::broker::ctrader::CTraderBroker;
use engine::execution::broker::simulated::PriceSource;
use engine::execution::broker::{Broker, Events, Heard};
use engine::execution::gates::Mode;
use engine::execution::order::{OrderSet, Reference};
use engine::execution::positions;
use engine::execution::risk::Limits;
use engine::execution::schedule::cut::Pinned;
use engine::execution::state::name;
use engine::pipelines::paper_day::report::ReportInput;
use engine::pipelines::paper_day::{PaperConfig, PaperDay, PlanInput, confirmation_token, default_sizer};
use engine::pipelines::parity::{self, Cause};
use engine::portfolio::Schedule;
use engine::portfolio::schedule::Kind;
use engine::reports::{self, daily};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// In the synthetic world's last weeks, which have minutes.
const EVENING: &str = "2018-01-23T21:30:00Z";

#[derive(Clone, Copy, Debug)]
enum At {
    Alpaca,
    CTrader(Dialect),
}

struct Street {
    dir: tempfile::TempDir,
    server: Host,
    sandbox: Sandbox,
    world: Rc<World>,
    clock: UtcTime,
    at: At,
    kills: u64,
}

/// The world's prices, as a drive would have recorded them.
struct Tape<'a>(&'a World);

impl PriceSource for Tape<'_> {
    fn open(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        let series = self.0.series(symbol)?;
        series.on(day).map(|i| series.open[i])
    }
    fn last_close(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        self.0.last_close(symbol, Calendar::xnys().close(day))
    }
}

impl Street {
    fn open(at: At) -> Self {
        let (dir, server) = (tempfile::tempdir().unwrap(), Host::fake(FakeHost::default()));
        let now = UtcTime::parse(EVENING).unwrap();
        let config = SandboxConfig { now: Some(now), ..SandboxConfig::of_dataset("planted@2:7", dir.path().join("street")) };
        let sandbox = server.block_on(sandbox::start(&server, config)).unwrap().unwrap();
        Self { dir, server, sandbox, world: Rc::new(load::load("planted", 7, None).unwrap()), clock: now, at, kills: 0 }
    }

    fn advance(&mut self, word: &str) {
        self.server.block_on(client::advance_by(&self.server, &self.sandbox.base(), word)).unwrap().unwrap();
        self.clock = self.clock.max(self.sandbox.now());
    }

    /// A fresh process on the drive, which may be about to die at its k-th write.
    fn process<T>(&mut self, crash_at: Option<u64>, work: &mut dyn FnMut(&PaperDay<'_>) -> Result<T>) -> Result<T> {
        self.clock = self.clock.plus_seconds(1);
        let mut env = self.sandbox.env.clone();
        if let At::CTrader(dialect) = self.at {
            env.insert(Dialect::VARIABLE.into(), dialect.as_str().into());
        }
        let key = |name: &str| env[name].clone().into();
        let keys = AlpacaKeys { key: key("ALPACA_API_KEY"), secret: key("ALPACA_API_SECRET") };
        let host = Host::fake(FakeHost { env, now: self.clock, crash_at: crash_at.map(|k| (String::new(), k)), ..FakeHost::default() });
        let drive = self.dir.path().join("drive");
        std::fs::create_dir_all(&drive).unwrap();
        let fresh = !drive.join(SENTINEL).exists();
        let root = if fresh { DataRoot::create(&host, &drive, "planted@2:7", FsFacts::default(), None)? } else { DataRoot::open(&host, &drive)? };
        let db = Db::open(&root, Which::Journal)?;
        let broker: Box<dyn Broker> = match self.at {
            At::Alpaca => Box::new(AlpacaBroker::new(&root, keys, None)?),
            At::CTrader(_) => Box::new(CTraderBroker::new(&root, None)?),
        };
        let limits = Limits { symbol_shares: 50_000.0, ..Limits::default() };
        let config =
            PaperConfig { strategy: "s".into(), mode: Mode::Paper, limits, operator: "drill".into(), run_id: None, splits: Vec::new(), renames: Vec::new() };
        let out = PaperDay::new(&db, broker.as_ref(), config, &default_sizer).and_then(|day| work(&day));
        self.clock = self.clock.max(host.now());
        out
    }

    /// Die at these writes, one process after another; the last process lives.
    fn killed_at<T>(&mut self, writes: &[u64], mut work: impl FnMut(&PaperDay<'_>) -> Result<T>) -> T {
        for k in writes {
            match self.process(Some(*k), &mut work) {
                Err(e) if e.is(code::BUG_CRASH_POINT) => self.kills += 1,
                Err(e) => panic!("{e}: {:?}", e.body()),
                Ok(_) => {}
            }
        }
        self.process(None, &mut work).unwrap_or_else(|e| panic!("{e}: {:?}", e.body()))
    }

    fn input(&self, kind: Kind) -> PlanInput {
        let now = self.sandbox.now();
        let asof = Calendar::xnys().last_closed(now).unwrap();
        let at = Calendar::xnys().close(asof);
        let (mut prices, mut targets) = (BTreeMap::new(), BTreeMap::new());
        // Shares that are cheap enough for three slices of five percent of the equity.
        let traded = self.world.series.iter().filter_map(|s| Some((s, s.on(asof).and_then(|_| self.world.last_close(&s.symbol, now))?)));
        for (s, price) in traded.filter(|(_, price)| (10.0..120.0).contains(price)).take(3) {
            prices.insert(s.symbol.clone(), Reference { price, at, adv_shares: Some(1e7), sigma_daily: Some(0.02), tradable: true });
            targets.insert(s.symbol.clone(), if targets.len() == 1 { -0.05 } else { 0.05 });
        }
        let schedule = Schedule { kind, duration_min: 15, ..Schedule::default() };
        let sigma_daily = prices.keys().map(|s| (s.clone(), 0.02)).collect();
        PlanInput {
            asof,
            champion: BTreeMap::new(),
            targets,
            prices,
            rebalance_no: 0,
            notes: Vec::new(),
            schedule: Some(Pinned { schedule, sigma_daily }),
            ceiling: None,
        }
    }
}

/// The whole day; returns how many slices there were.
fn sliced_day(at: At, kind: Kind) -> usize {
    let mut street = Street::open(at);
    let input = street.input(kind);
    let set = street.killed_at(&[4, 9], |day| {
        let account = day.account_check()?;
        day.reconcile(&account.account)?;
        let set = day.plan(&account, &input)?;
        day.consent(&set.run_key, &confirmation_token(&account.account, set.trading_day))?;
        let sent = day.submit_all(&set.run_key)?;
        assert_eq!((sent.sent, sent.waiting), (0, set.lines.len()), "no slice goes before its moment: {sent:?}");
        Ok(set)
    });
    assert!(set.lines.iter().all(|l| l.slice > 0 && l.parent.is_some() && l.style == kind.as_str()), "{:?}", set.lines);
    let moments = set.lines.iter().map(|l| l.slice).max().unwrap();
    street.advance("next_open");
    street.advance("PT15M");
    for moment in 1..=moments {
        // Killed before and after a slice is written, then a process that lives, five seconds apart at most.
        let sent = street.killed_at(&[2, 3 + u64::from(moment), 11], |day| day.submit_all(&set.run_key));
        let due = set.lines.iter().filter(|l| l.slice <= moment).count();
        assert_eq!((sent.sent, sent.waiting, sent.refused, sent.unknown), (due, set.lines.len() - due, 0, 0), "moment {moment}: {sent:?}");
        street.advance("PT5M");
    }
    street.advance("next_close");
    street.advance("PT10M");
    let settled = street.killed_at(&[3, 8], |day| day.settle(&set.run_key));
    assert!(settled.reconcile.differences.is_empty() && settled.orders.filled == set.lines.len(), "{settled:?}");
    assert!(street.kills > 6, "{} kills", street.kills);
    audited(&mut street, &set);
    reported(&mut street, &set);
    set.lines.len()
}

/// The broker has each slice once, filled at the open of the first minute that began after it was sent; the book is the target.
fn audited(street: &mut Street, set: &OrderSet) {
    let open = Calendar::xnys().open(set.trading_day);
    let bars: BTreeMap<String, Vec<_>> = set.lines.iter().map(|l| (l.symbol.clone(), street.world.minutes_of(&l.symbol, set.trading_day))).collect();
    street.killed_at(&[], |day| {
        let orders = day.broker.orders_since(UtcTime::from_micros(0))?;
        let ids: BTreeSet<_> = orders.iter().map(|o| o.client_order_id.clone()).collect();
        assert_eq!((orders.len(), ids.len()), (set.lines.len(), set.lines.len()), "each slice is at the broker once");
        for row in day.log().orders_of(&set.run_key)? {
            assert_eq!(row.state, name::FILLED);
            let fills: Vec<_> = day.log().fills(&set.account)?.into_iter().filter(|f| f.order_id == row.id()).collect();
            let [fill] = fills.as_slice() else { panic!("{fills:?}") };
            let first = open.plus_seconds(15 * 60 + 300 * i64::from(row.intent.slice - 1));
            assert!(fill.ts > first && fill.ts.seconds_since(first) <= 120.0, "slice {} at {}", row.intent.slice, fill.ts);
            let minute = bars[&row.intent.symbol].iter().find(|m| m.start == fill.ts).unwrap();
            assert!((fill.price - minute.ohlc[0]).abs() < 1e-6, "{fill:?} {minute:?}");
        }
        let held: BTreeMap<String, f64> = day.broker.positions()?.into_iter().map(|p| (p.symbol, p.qty)).collect();
        assert_eq!(positions::ledger(&day.log(), &set.account)?.per_symbol(), held);
        for (symbol, weight) in &set.pins.targets {
            assert_eq!(held[symbol], (weight * set.equity / set.pins.prices[symbol].price).trunc());
        }
        Ok(())
    });
}

/// The daily report counts every slice, and the replay mints each again and has a cause for each difference.
fn reported(street: &mut Street, set: &OrderSet) {
    let asof = set.trading_day;
    let of = |price: &dyn Fn(&str) -> Option<f64>| set.pins.targets.keys().map(|s| (s.clone(), price(s).unwrap())).collect::<BTreeMap<_, _>>();
    let input = ReportInput {
        asof,
        mode: daily::Mode::Paper,
        closes: of(&|s| Tape(&street.world).last_close(s, asof)),
        data_health: BTreeMap::new(),
        known_bias: None,
        links: BTreeMap::new(),
        trials: None,
        opens: BTreeMap::from([(asof, of(&|s| Tape(&street.world).open(s, asof)))]),
    };
    let report = street.killed_at(&[], |day| day.daily_report(&set.run_key, &input));
    let rendered = reports::daily(&report).unwrap();
    let json: serde_json::Value = serde_json::from_str(&rendered.json).unwrap();
    assert_eq!((json["orders"]["planned"].as_u64(), json["orders"]["filled"].as_u64()), (Some(set.lines.len() as u64), Some(set.lines.len() as u64)));
    assert_eq!(json["positions"].as_array().unwrap().len(), 3);
    assert!(report.parity.unexplained.unwrap().abs() < 0.05, "{:?}", report.parity);
    assert_eq!(json["execution"]["n"].as_u64(), Some(0), "a slice is not measured against the open");
    let world = Rc::clone(&street.world);
    let replayed = street.killed_at(&[], |day| parity::replay(&day.log(), &set.run_key, &Tape(&world)));
    assert_eq!((replayed.unexplained, replayed.orders, replayed.orders_reproduced), (0, set.lines.len(), set.lines.len()), "{:?}", replayed.differences);
    assert!(replayed.differences.iter().all(|d| d.cause == Cause::Clock), "{:?}", replayed.differences);
    assert_eq!(replayed.differences.len(), set.lines.len());
}

#[test]
fn a_sliced_day_is_sent_once_filled_reconciled_reported_and_replayed_whatever_dies_between_the_slices() {
    let twap = sliced_day(At::Alpaca, Kind::Twap);
    let chriss = sliced_day(At::CTrader(Dialect::Json), Kind::AlmgrenChriss);
    assert!(twap == 9 && chriss >= 6, "{twap} and {chriss} slices");
}

/// The stream of a broker, for so many silences; then the session is over.
struct Quiet<'a> {
    inner: Box<dyn Events + 'a>,
    host: &'a Host,
    left: usize,
}

impl Events for Quiet<'_> {
    fn next(&mut self, patience: Duration) -> Result<Heard> {
        if self.left == 0 {
            self.host.block_on(self.host.sleep(Duration::from_secs(86_400)))?;
        }
        self.left = self.left.saturating_sub(1);
        self.inner.next(patience)
    }
    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }
}

/// Seconds of processor that this process has used.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// What waiting costs: prints the share of a core that a watch takes while nothing happens, the sandbox in the same process included.
#[test]
#[ignore = "takes a minute: what an idle watch costs"]
fn an_idle_watch_takes_next_to_nothing() {
    let street = Street::open(At::Alpaca);
    let input = street.input(Kind::Twap);
    let host = Host::fake(FakeHost { env: street.sandbox.env.clone(), now: street.clock, ..FakeHost::default() });
    let drive = street.dir.path().join("idle");
    std::fs::create_dir_all(&drive).unwrap();
    let root = DataRoot::create(&host, &drive, "planted@2:7", FsFacts::default(), None).unwrap();
    let db = Db::open(&root, Which::Journal).unwrap();
    let key = |name: &str| street.sandbox.env[name].clone().into();
    let broker = AlpacaBroker::new(&root, AlpacaKeys { key: key("ALPACA_API_KEY"), secret: key("ALPACA_API_SECRET") }, None).unwrap();
    let config = PaperConfig {
        strategy: "s".into(),
        mode: Mode::Paper,
        limits: Limits { symbol_shares: 50_000.0, ..Limits::default() },
        operator: "drill".into(),
        run_id: None,
        splits: Vec::new(),
        renames: Vec::new(),
    };
    let day = PaperDay::new(&db, &broker, config, &default_sizer).unwrap();
    let account = day.account_check().unwrap();
    day.reconcile(&account.account).unwrap();
    let set = day.plan(&account, &input).unwrap();
    day.consent(&set.run_key, &confirmation_token(&account.account, set.trading_day)).unwrap();
    let mut quiet = Quiet { inner: Box::new(broker.stream()), host: &host, left: 75 };
    let (before, begun) = (cpu_s(), std::time::Instant::now());
    let seen = day.watch(&account, &set.run_key, &mut quiet, host.now().plus_seconds(3_600), &mut |_| {}).unwrap();
    let (used, passed) = (cpu_s() - before, begun.elapsed().as_secs_f64());
    println!("{used:.2} s of CPU in {passed:.0} s: {:.2} % of a core, {} looks", 100.0 * used / passed, seen.reconciles);
    assert!(passed > 30.0, "it watched for {passed} s only");
}
