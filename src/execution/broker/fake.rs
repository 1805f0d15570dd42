//! A broker in memory for tests: it keeps its own truth, loses acknowledgements on demand and counts what it was sent.

use super::{Broker, BrokerAccount, BrokerClock, BrokerFill, BrokerOrder, BrokerPosition, FillKind, Lookup, Submitted};
use crate::execution::account::{Account, Event, Position};
use crate::execution::order::Intent;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts};
use data_layer::time::UtcTime;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// 16:30 in New York on 30 November 2017: the market has closed.
pub fn evening() -> UtcTime {
    UtcTime::parse("2017-11-30T21:30:00Z").unwrap()
}

pub fn host_at(now: UtcTime, crash_at: Option<(String, u64)>) -> Host {
    Host::fake(FakeHost { now, crash_at, ..FakeHost::default() })
}

/// A temporary folder, in memory where there is such a place: the crash matrices write and sync thousands of times.
pub fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A root of a world with its journal, at [`evening`].
pub fn journal() -> (tempfile::TempDir, DataRoot, Db) {
    let dir = scratch();
    let root = DataRoot::create(&host_at(evening(), None), dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let db = Db::open(&root, Which::Journal).unwrap();
    (dir, root, db)
}

/// What happens to the n-th POST (counted from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Accepted, but the answer is lost.
    LostAck,
    /// Never arrives, and the answer is lost too.
    LostRequest,
    RateLimited,
    /// Certainly not sent; again after so many seconds.
    NotSent(u64),
    Refused,
    /// Accepted with another quantity than asked for.
    WrongPayload,
}

#[derive(Default)]
pub struct Truth {
    pub now: Option<UtcTime>,
    pub orders: BTreeMap<String, BrokerOrder>,
    pub fills: Vec<BrokerFill>,
    pub posts: Vec<String>,
    pub refused_duplicates: usize,
    pub faults: BTreeMap<usize, Fault>,
    pub blind_lookups: BTreeSet<usize>,
    pub lookups: usize,
    pub hide_fills: bool,
    /// The list of executions cannot be asked for.
    pub fills_down: bool,
    /// Lists of orders and look-ups are behind everything else.
    pub orders_hidden: bool,
    /// What is sent is filled before its answer comes.
    pub fills_at_once: bool,
    pub blocked: bool,
    /// What the account has for new positions, where it is not twice the equity less what is held; not a number = the account does not say.
    pub free_usd: Option<f64>,
    /// Symbols whose newest trade cannot be asked for.
    pub unpriced: BTreeSet<String>,
    /// Orders, by the broker's id, that cannot be taken back now.
    pub uncancelable: BTreeSet<String>,
    /// Cash that went in (or out) outside of any order.
    pub cash_flow: f64,
    /// Shares that appeared (or vanished) outside of any order.
    pub moved: BTreeMap<String, f64>,
    /// New tickers of names that are held under an old one.
    pub renamed: BTreeMap<String, String>,
}

/// Cheap to share: the truth outlives hosts and journals.
pub struct FakeBroker {
    pub truth: Mutex<Truth>,
    pub dedups: bool,
    pub prices: BTreeMap<String, f64>,
}

/// All of an order at once, without a fee.
fn execution(order: &BrokerOrder, price: f64, at: UtcTime) -> BrokerFill {
    BrokerFill {
        id: format!("exec-{}", order.client_order_id),
        order_id: order.id.clone(),
        symbol: order.symbol.clone(),
        side: order.side,
        qty: order.qty,
        price,
        fee: Some(0.0),
        at,
        kind: FillKind::Fill,
        replaces: None,
    }
}

impl FakeBroker {
    pub fn new(now: UtcTime) -> Self {
        let prices = [("AAPL", 170.0), ("MSFT", 84.0), ("XOM", 83.0), ("BBB", 50.0)].into_iter().map(|(s, p)| (s.to_string(), p)).collect();
        Self { truth: Mutex::new(Truth { now: Some(now), ..Truth::default() }), dedups: true, prices }
    }
    pub fn set_now(&self, now: UtcTime) {
        self.truth.lock().unwrap().now = Some(now);
    }
    /// Fill everything that is open at the given moment.
    pub fn fill_all(&self, at: UtcTime) {
        let mut t = self.truth.lock().unwrap();
        let open: Vec<String> = t.orders.values().filter(|o| o.is_open()).map(|o| o.client_order_id.clone()).collect();
        for id in open {
            let o = t.orders.get_mut(&id).unwrap();
            let price = self.prices[&o.symbol];
            (o.status, o.filled_qty, o.filled_avg_price, o.updated_at) = ("filled".into(), o.qty, Some(price), Some(at));
            let fill = execution(o, price, at);
            t.fills.push(fill);
        }
    }
    fn ledger(&self) -> Account {
        let t = self.truth.lock().unwrap();
        let today = t.now.unwrap().utc_day();
        let mut ledger = Account::opened(today, 100_000.0).unwrap();
        for f in &t.fills {
            ledger.apply(today, Event::Fill { symbol: f.symbol.clone(), side: f.side, qty: f.qty, price: f.price, fee: 0.0 }).unwrap();
        }
        for symbol in ledger.positions().keys().cloned().collect::<Vec<_>>() {
            ledger.mark(today, &symbol, self.prices[&symbol]).unwrap();
        }
        ledger
    }
}

impl Broker for FakeBroker {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn refuses_duplicates(&self) -> bool {
        self.dedups
    }
    fn account(&self) -> Result<BrokerAccount> {
        let ledger = self.ledger();
        let (cash_flow, blocked, free_usd) = self.truth.lock().map(|t| (t.cash_flow, t.blocked, t.free_usd)).unwrap();
        Ok(BrokerAccount {
            account: "SIM1".into(),
            equity: ledger.equity(),
            cash: ledger.cash() + cash_flow,
            buying_power: free_usd.unwrap_or(2.0 * ledger.equity() - ledger.exposure().0),
            currency: "USD".into(),
            status: "ACTIVE".into(),
            blocked,
        })
    }
    fn clock(&self) -> Result<BrokerClock> {
        super::shadow::exchange_clock(self.truth.lock().unwrap().now.unwrap())
    }
    fn submit(&self, intent: &Intent) -> Submitted {
        let mut t = self.truth.lock().unwrap();
        let n = t.posts.len();
        t.posts.push(intent.client_order_id.clone());
        let fault = t.faults.get(&n).copied();
        match fault {
            Some(Fault::LostRequest) => return Submitted::Unknown("no answer in time".into()),
            Some(Fault::NotSent(s)) => return Submitted::NotSent { why: "the connection failed".into(), retry_after_s: s },
            Some(Fault::RateLimited) => return Submitted::RateLimited { retry_after_s: 3 },
            Some(Fault::Refused) => return Submitted::Refused { code: "40310000".into(), text: "insufficient buying power".into() },
            _ => {}
        }
        if self.dedups && t.orders.contains_key(&intent.client_order_id) {
            t.refused_duplicates += 1;
            return Submitted::Duplicate;
        }
        let mut order = BrokerOrder::accepted(intent, format!("b{n}"), t.now);
        if fault == Some(Fault::WrongPayload) {
            order.qty += 1.0;
        }
        if t.fills_at_once {
            let price = self.prices[&order.symbol];
            (order.status, order.filled_qty, order.filled_avg_price) = ("filled".into(), order.qty, Some(price));
            let fill = execution(&order, price, t.now.unwrap());
            t.fills.push(fill);
        }
        t.orders.insert(intent.client_order_id.clone(), order.clone());
        match fault {
            Some(Fault::LostAck | Fault::WrongPayload) => Submitted::Unknown("no answer in time".into()),
            _ => Submitted::Accepted(order),
        }
    }
    fn replace(&self, broker_order_id: &str, next: &Intent) -> Submitted {
        let old = self.truth.lock().unwrap().orders.values().find(|o| o.id == broker_order_id && o.is_open()).map(|o| o.client_order_id.clone());
        let Some(old) = old else { return Submitted::Refused { code: "42210000".into(), text: "order is not open".into() } };
        let submitted = self.submit(next);
        let mut t = self.truth.lock().unwrap();
        if t.orders.contains_key(&next.client_order_id) {
            let now = t.now;
            let order = t.orders.get_mut(&old).unwrap();
            (order.status, order.updated_at) = ("replaced".into(), now);
        }
        submitted
    }
    fn find_by_client_id(&self, client_order_id: &str) -> Lookup {
        let mut t = self.truth.lock().unwrap();
        let n = t.lookups;
        t.lookups += 1;
        if t.blind_lookups.contains(&n) {
            return Lookup::Unknown("status 503".into());
        }
        t.orders.get(client_order_id).filter(|_| !t.orders_hidden).cloned().map_or(Lookup::NotFound, Lookup::Found)
    }
    fn cancel(&self, broker_order_id: &str) -> Result<()> {
        let mut t = self.truth.lock().unwrap();
        if t.uncancelable.contains(broker_order_id) {
            return Err(Error::new(code::NET_RATE_LIMITED, "too many questions"));
        }
        for o in t.orders.values_mut().filter(|o| o.id == broker_order_id && o.is_open()) {
            o.status = "canceled".into();
        }
        Ok(())
    }
    fn open_orders(&self) -> Result<Vec<BrokerOrder>> {
        let t = self.truth.lock().unwrap();
        Ok(t.orders.values().filter(|o| o.is_open() && !t.orders_hidden).cloned().collect())
    }
    fn orders_since(&self, after: UtcTime) -> Result<Vec<BrokerOrder>> {
        let t = self.truth.lock().unwrap();
        Ok(t.orders.values().filter(|o| o.submitted_at > Some(after) && !t.orders_hidden).cloned().collect())
    }
    fn fills_since(&self, after: Option<UtcTime>) -> Result<Vec<BrokerFill>> {
        let t = self.truth.lock().unwrap();
        if t.fills_down {
            return Err(Error::new(code::NET_UNREACHABLE, "the broker does not answer"));
        }
        if t.hide_fills {
            return Ok(Vec::new());
        }
        Ok(t.fills.iter().filter(|f| after.is_none_or(|a| f.at >= a)).cloned().collect())
    }
    fn last_price(&self, symbol: &str) -> Result<Option<(f64, UtcTime)>> {
        if self.truth.lock().unwrap().unpriced.contains(symbol) {
            return Err(Error::new(code::NET_UNREACHABLE, "the broker does not answer"));
        }
        Ok(self.prices.get(symbol).copied().zip(self.truth.lock().unwrap().now))
    }
    fn positions(&self) -> Result<Vec<BrokerPosition>> {
        let ledger = self.ledger();
        let held = ledger.positions().iter();
        let (moved, renamed) = {
            let t = self.truth.lock().unwrap();
            (t.moved.clone(), t.renamed.clone())
        };
        let now_called = |s: &String| renamed.get(s).unwrap_or(s).clone();
        let qty = |s: &String, q: f64| q + moved.get(s).copied().unwrap_or(0.0);
        // What was paid is spread over the shares that there are now.
        let one = |(s, p): (&String, &Position)| BrokerPosition {
            symbol: now_called(s),
            qty: qty(s, p.qty),
            avg_price: p.average_price * p.qty / qty(s, p.qty),
            price: self.prices.get(s).copied(),
        };
        Ok(held.map(one).collect())
    }
}
