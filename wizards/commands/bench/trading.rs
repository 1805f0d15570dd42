//! The book: fifteen years of days through the one ledger, and the order path from a decision to its written intent.

use super::inputs::Inputs;
use super::measure::{Job, decimals};
use super::{Bench, Scale, made};
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result};
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts, FsProbe};
use data_layer::time::{TradingDay, UtcTime};
use engine::backtest;
use engine::execution::broker::{Broker, BrokerAccount, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, Lookup, Submitted};
use engine::execution::cost::CostModel;
use engine::execution::gates::Mode;
use engine::execution::order::{Intent, Reference};
use engine::execution::risk::Limits;
use engine::pipelines::paper_day::{PaperConfig, PaperDay, PlanInput, confirmation_token, default_sizer};
use engine::portfolio::{Limits as Caps, Rule, RuleConfig};
use engine::types::{Matrix, Panel, PointInTime};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// Sessions of the return that ranks, and of holding.
const LOOK_BACK: usize = 20;
const HOLD: usize = 5;
const CAPITAL: f64 = 1e6;

/// `daily.parquet`: the best and the worst tenth by the return of the last 20 sessions, half of the equity on each side, traded a session
/// later at its close, every fifth session, 5 bps a side, fractional shares. Ranking is inside the clock.
pub fn daily(bench: &mut Bench<'_>) -> Result<()> {
    let panel = panel(&bench.inputs, bench.scale)?;
    let (symbols, days) = (panel.n_symbols(), panel.n_days() - 1);
    let k = (symbols / 10).max(1);
    let half = Caps { max_weight_per_name: 1.0, max_long: 0.5, max_short: 0.5, max_gross: 1.0, max_net: 1.0 };
    let rule = RuleConfig {
        rule: Rule::TopBottom,
        top_n: k,
        bottom_n: k,
        rebalance_sessions: HOLD,
        fractional: true,
        capital_usd: CAPITAL,
        limits: Some(half),
        ..RuleConfig::default()
    };
    let cost = CostModel::flat(10.0);
    let line = bench.clock.measure(
        Job::new("backtest_daily", symbols * days, "symbol_bars"),
        || Ok(()),
        |()| backtest::run(&panel, &momentum(&panel), &rule, &cost, LOOK_BACK + 1..days + 1),
        |r| Ok(json!({"final_equity": decimals(r.equity.last().copied().unwrap_or(0.0), 2), "fills": r.fills.len()})),
    )?;
    bench.lines.push(line);
    Ok(())
}

/// The engine decides at a close and trades at the next open. What is decided a session earlier, on a panel whose opens are the closes
/// before them, trades at the close of the session after the score, sized there; one session more lets the last one trade.
fn panel(inputs: &Inputs, scale: Scale) -> Result<Panel> {
    let close = if inputs.are_made() { made::closes(scale)? } else { inputs.panel("daily.parquet", "close", "sectors.parquet")? };
    let (n, days) = (close.rows(), close.cols() + 1);
    let (mut closes, mut opens) = (Matrix::missing(n, days), Matrix::missing(n, days));
    for s in 0..n {
        closes.row_mut(s)[..days - 1].copy_from_slice(close.row(s));
        closes.row_mut(s)[days - 1] = close.at(s, days - 2);
        opens.row_mut(s)[1..].copy_from_slice(close.row(s));
    }
    let none = || Matrix::missing(n, days);
    Ok(Panel {
        days: made::sessions(days)?,
        symbols: (0..n).map(|s| format!("S{s:04}")).collect(),
        open: opens,
        high: none(),
        low: none(),
        close_raw: closes.clone(),
        close: closes,
        vwap: none(),
        volume: none(),
        volume_raw: none(),
        member: Matrix::from_vec(n, days, vec![1.0; n * days])?,
        delisted: vec![None; n],
        known: PointInTime::default(),
    })
}

/// The return over 20 sessions, known a session ago.
fn momentum(panel: &Panel) -> Matrix {
    let mut out = Matrix::missing(panel.n_symbols(), panel.n_days());
    for s in 0..panel.n_symbols() {
        let close = panel.close.row(s);
        let pairs = close[LOOK_BACK..].iter().zip(close);
        out.row_mut(s)[LOOK_BACK + 1..].iter_mut().zip(pairs).for_each(|(out, (now, before))| *out = now / before - 1.0);
    }
    out
}

/// An evening's orders through all gates into the journal of a drive, and of one in memory, where a sync costs nothing. A latency is the time
/// from the broker's answer to one order until the next is handed over: the answer recorded, the next order judged, its intent written.
pub fn orders(bench: &mut Bench<'_>) -> Result<()> {
    let n = bench.scale.pick(50, 200, 500);
    let memory = Path::new("/dev/shm");
    let mut places = vec![("order_intent", bench.work.join("orders"))];
    if memory.is_dir() {
        places.push(("order_intent_memory", memory.join(format!("trademl-bench-{}", bench.host.pid()))));
    }
    for (topic, place) in places {
        let mut latencies = Vec::new();
        let measured = bench.clock.measure(
            Job::new(topic, n, "orders").repeats(3),
            || Evening::prepare(&place, n),
            |evening| evening.send(),
            |sent| {
                latencies = sent.seconds;
                Ok(json!(sent.orders))
            },
        );
        drop(std::fs::remove_dir_all(&place));
        bench.lines.push(measured?.with_latencies(latencies));
    }
    Ok(())
}

/// A planned and confirmed set, and the broker that will take it.
struct Evening {
    db: Db,
    desk: Exchange,
    names: usize,
    key: String,
}

/// Orders that the broker took, and the time before each but the first.
struct Sent {
    orders: usize,
    seconds: Vec<f64>,
}

impl Evening {
    fn prepare(place: &PathBuf, names: usize) -> Result<Self> {
        if place.exists() {
            std::fs::remove_dir_all(place)?;
        }
        std::fs::create_dir_all(place)?;
        let now = UtcTime::parse("2017-11-30T21:30:00Z")?;
        let host = Host::fake(FakeHost { now, ..FakeHost::default() });
        let facts = FsFacts { probe: FsProbe { wal: true, ..FsProbe::default() }, ..FsFacts::default() };
        let db = Db::open(&DataRoot::create(&host, place, "replay@1", facts, None)?, Which::Journal)?;
        let mut evening = Self { db, desk: Exchange { now, book: Mutex::default() }, names, key: String::new() };
        let key = {
            let day = evening.day()?;
            let account = day.account_check()?;
            day.reconcile(&account.account)?;
            let set = day.plan(&account, &evening.input(account.asof, now))?;
            day.consent(&set.run_key, &confirmation_token(&set.account, set.trading_day))?;
            set.run_key
        };
        evening.key = key;
        Ok(evening)
    }

    fn day(&self) -> Result<PaperDay<'_>> {
        let wide = 10.0 * CAPITAL;
        let limits = Limits { gross_usd: wide, long_usd: wide, short_usd: wide, symbol_shares: wide, single_orders_a_day: 1_000, ..Limits::default() };
        let config = PaperConfig {
            strategy: "bench".into(),
            mode: Mode::Paper,
            limits,
            operator: "bench".into(),
            run_id: None,
            splits: Vec::new(),
            renames: Vec::new(),
        };
        PaperDay::new(&self.db, &self.desk, config, &default_sizer)
    }

    fn input(&self, asof: TradingDay, at: UtcTime) -> PlanInput {
        let names: Vec<String> = (0..self.names).map(|s| format!("S{s:04}")).collect();
        let reference = Reference { price: 50.0, at, adv_shares: Some(1e7), sigma_daily: None, tradable: true };
        PlanInput {
            asof,
            champion: BTreeMap::new(),
            targets: names.iter().map(|s| (s.clone(), 0.9 / self.names as f64)).collect(),
            prices: names.iter().map(|s| (s.clone(), reference.clone())).collect(),
            rebalance_no: 0,
            notes: Vec::new(),
            schedule: None,
            ceiling: None,
        }
    }

    fn send(self) -> Result<Sent> {
        let report = self.day()?.submit_all(&self.key)?;
        if report.sent != self.names {
            return Err(Error::bug(format!("{} of {} orders were sent", report.sent, self.names)));
        }
        let book = self.desk.book.into_inner().map_err(|_| Error::bug("a poisoned lock"))?;
        Ok(Sent { orders: book.orders.len(), seconds: book.seconds })
    }
}

/// Takes every order at once, and notes when it was asked.
struct Exchange {
    now: UtcTime,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    orders: Vec<BrokerOrder>,
    answered: Option<Instant>,
    seconds: Vec<f64>,
}

impl Exchange {
    fn orders(&self) -> Result<Vec<BrokerOrder>> {
        Ok(self.book.lock().map_err(|_| Error::bug("a poisoned lock"))?.orders.clone())
    }
}

impl Broker for Exchange {
    fn name(&self) -> &'static str {
        "bench"
    }
    fn refuses_duplicates(&self) -> bool {
        true
    }
    fn account(&self) -> Result<BrokerAccount> {
        let (account, currency, status) = ("SIMBENCH".to_string(), "USD".to_string(), "ACTIVE".to_string());
        Ok(BrokerAccount { account, equity: CAPITAL, cash: CAPITAL, buying_power: CAPITAL, currency, status, blocked: false })
    }
    fn clock(&self) -> Result<BrokerClock> {
        Ok(BrokerClock { now: self.now, is_open: false, next_open: None, next_close: None })
    }
    #[allow(clippy::disallowed_methods)] // a benchmark measures real time
    fn submit(&self, intent: &Intent) -> Submitted {
        let asked = Instant::now();
        let Ok(mut book) = self.book.lock() else { return Submitted::Unknown("a poisoned lock".into()) };
        let waited = book.answered.map(|before| asked.duration_since(before).as_secs_f64());
        book.seconds.extend(waited);
        let order = BrokerOrder::accepted(intent, format!("b-{}", intent.client_order_id), Some(self.now));
        book.orders.push(order.clone());
        book.answered = Some(Instant::now());
        Submitted::Accepted(order)
    }
    fn find_by_client_id(&self, client_order_id: &str) -> Lookup {
        match self.orders() {
            Ok(orders) => orders.into_iter().find(|o| o.client_order_id == client_order_id).map_or(Lookup::NotFound, Lookup::Found),
            Err(e) => Lookup::Unknown(e.to_string()),
        }
    }
    fn cancel(&self, _broker_order_id: &str) -> Result<()> {
        Ok(())
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>> {
        self.orders()
    }
    fn orders_since(&self, _after: UtcTime) -> Result<Vec<BrokerOrder>> {
        self.orders()
    }
    fn fills_since(&self, _after: Option<UtcTime>) -> Result<Vec<BrokerFill>> {
        Ok(Vec::new())
    }
    fn positions(&self) -> Result<Vec<BrokerPosition>> {
        Ok(Vec::new())
    }
}
