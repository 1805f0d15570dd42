//! The adapter against the sandbox's server: real TLS, real frames and texts, every fault of the plan.

use super::session::News;
use super::*;
use crate::execution::broker::conformance::{AFTER_OPEN, conforms};
use crate::execution::broker::fake::{evening, scratch};
use crate::execution::broker::{Events, Heard};
use crate::execution::log::OrderLog;
use crate::execution::order::{OrderSet, Pins};
use crate::execution::stream::take_in;
use crate::execution::submit::{Outcome, Sender};
use crate::execution::{positions, reconcile};
use crate::types::Side;
use data_layer::control::{Db, Which};
use data_layer::ctrader::Wire;
use data_layer::env_file;
use data_layer::host::FakeHost;
use data_layer::root::FsFacts;
use data_layer::sandbox::{self, Sandbox, SandboxConfig, client};
use std::collections::BTreeMap;

mod access;
mod doubt;
mod outcomes;

/// The order of the other brokers' tests, sized at what the world's prices were.
pub(super) fn intent(symbol: &str, side: Side, qty: f64) -> Intent {
    let reference_price = if symbol == "MSFT" { 84.0 } else { 172.0 };
    Intent { reference_price, ..crate::execution::order::tests::intent(symbol, side, qty) }
}

/// A sandbox at [`evening`] with its own host, and a folder for the client.
pub(super) struct Street {
    pub dir: tempfile::TempDir,
    pub server: Host,
    pub sandbox: Sandbox,
    pub dialect: Dialect,
}

impl Street {
    pub fn new() -> Self {
        Self::speaking(Dialect::Protobuf)
    }

    pub fn speaking(dialect: Dialect) -> Self {
        let dir = scratch();
        let server = Host::fake(FakeHost { now: evening(), ..FakeHost::default() });
        let config = SandboxConfig { now: Some(evening()), ..SandboxConfig::replay(dir.path().join("sandbox")) };
        let sandbox = server.block_on(sandbox::start(&server, config)).unwrap().unwrap();
        Self { dir, server, sandbox, dialect }
    }

    /// A client process: the sandbox's variables with changes (an empty value removes one), maybe about to die.
    pub fn host(&self, changes: &[(&str, &str)], crash_at: Option<(String, u64)>) -> Host {
        let mut env = self.sandbox.env.clone();
        env.insert(Dialect::VARIABLE.into(), self.dialect.as_str().into());
        for (name, value) in changes {
            env.insert((*name).to_string(), (*value).to_string());
        }
        env.insert("TRADEML_ENV_FILE".into(), self.dir.path().join("env").to_string_lossy().into_owned());
        Host::fake(FakeHost { env, now: self.sandbox.now(), crash_at, ..FakeHost::default() })
    }

    pub fn root(&self, host: &Host) -> DataRoot {
        let place = self.dir.path().join("drive");
        if place.join(data_layer::root::SENTINEL).exists() {
            return DataRoot::open(host, &place).unwrap();
        }
        std::fs::create_dir_all(&place).unwrap();
        DataRoot::create(host, &place, "replay@1", FsFacts::default(), None).unwrap()
    }

    pub fn broker(&self, changes: &[(&str, &str)]) -> CTraderBroker {
        CTraderBroker::new(&self.root(&self.host(changes, None)), None).unwrap()
    }

    pub fn faults(&self, lines: &str) {
        let plan = format!("version: 1\nseed: 7\nfaults: [{lines}]");
        self.server.block_on(client::set_faults(&self.server, &self.sandbox.base(), &plan)).unwrap().unwrap();
    }

    pub fn go(&self, to: &str) {
        self.server.block_on(client::advance(&self.server, &self.sandbox.base(), UtcTime::parse(to).unwrap())).unwrap().unwrap();
    }

    /// Orders that the broker really has.
    pub fn orders(&self) -> Vec<BrokerOrder> {
        self.faults("");
        self.broker(&[]).orders_since(evening().plus_seconds(-60)).unwrap()
    }
}

/// Let the client's clock catch up with the world's.
pub(super) fn follow(host: &Host, to: &str) {
    let wait = UtcTime::parse(to).unwrap().seconds_since(host.now());
    if wait > 0.0 {
        host.block_on(host.sleep(Duration::from_secs_f64(wait))).unwrap();
    }
}

#[test]
fn lesson_094_the_ctrader_adapter_conforms_over_real_tls() {
    for dialect in Dialect::ALL {
        let street = Street::speaking(dialect);
        let broker = street.broker(&[]);
        conforms(&broker, &|| {
            street.go(AFTER_OPEN);
            follow(&broker.host, AFTER_OPEN);
        });
        let after = broker.account().unwrap();
        let held = &broker.positions().unwrap()[0];
        assert!((after.equity - after.cash - held.qty * held.price.unwrap()).abs() < 1e-6, "cash is what the positions leave of the equity");
        let (price, at) = broker.last_price("AAPL").unwrap().unwrap();
        assert!(price > 0.0 && at <= street.sandbox.now());
        assert_eq!(broker.last_price("NONE").unwrap(), None);
        // An order that was taken back is canceled, and can be taken back twice.
        let Submitted::Accepted(order) = broker.submit(&intent("MSFT", Side::Sell, 3.0)) else { panic!("not accepted") };
        broker.cancel(&order.id).unwrap();
        broker.cancel(&order.id).unwrap();
        let Lookup::Found(ended) = broker.find_by_client_id(&order.client_order_id) else { panic!("lost") };
        assert_eq!(ended.status, "canceled");
    }
}

#[test]
fn a_protocol_that_nobody_speaks_is_refused_and_each_has_its_port() {
    let street = Street::new();
    let host = street.host(&[(Dialect::VARIABLE, "soap")], None);
    assert!(CTraderBroker::new(&street.root(&host), None).err().unwrap().is(code::CFG_VALUE));
    for dialect in Dialect::ALL {
        let env = BTreeMap::from([(Dialect::VARIABLE.to_string(), dialect.as_str().to_string())]);
        let root = crate::execution::broker::fake::scratch();
        let host = Host::fake(FakeHost { env, now: evening(), ..FakeHost::default() });
        let root = DataRoot::create(&host, root.path(), "real", FsFacts::default(), None).unwrap();
        let address = CTraderBroker::new(&root, None).unwrap().address;
        assert_eq!((address.host.as_str(), address.port, address.dialect), (DEMO_HOST, dialect.port(), dialect));
    }
}

#[test]
fn one_account_over_two_protocols_is_one_account() {
    use crate::execution::broker::alpaca::{AlpacaBroker, AlpacaKeys};
    let street = Street::new();
    let host = street.host(&[], None);
    let (root, key) = (street.root(&host), |name: &str| street.sandbox.env[name].clone().into());
    let ctrader = CTraderBroker::new(&root, None).unwrap();
    let alpaca = AlpacaBroker::new(&root, AlpacaKeys { key: key("ALPACA_API_KEY"), secret: key("ALPACA_API_SECRET") }, None).unwrap();
    for (symbol, side, qty) in [("AAPL", Side::Buy, 10.0), ("MSFT", Side::Sell, 4.0)] {
        assert!(matches!(ctrader.submit(&intent(symbol, side, qty)), Submitted::Accepted(_)));
    }
    street.go("2017-12-05T21:05:00Z");
    follow(&host, "2017-12-05T21:05:00Z");
    let (a, b) = (ctrader.account().unwrap(), alpaca.account().unwrap());
    assert!((a.equity - b.equity).abs() < 0.01 && (a.cash - b.cash).abs() < 0.01, "{a:?} {b:?}");
    let view = |b: &dyn Broker| b.positions().unwrap().into_iter().map(|p| (p.symbol.clone(), p)).collect::<BTreeMap<_, _>>();
    let (mine, theirs) = (view(&ctrader), view(&alpaca));
    assert_eq!(mine.len(), 2);
    for (symbol, p) in &mine {
        let q = &theirs[symbol];
        assert!((p.qty - q.qty).abs() < 1e-9 && (p.avg_price - q.avg_price).abs() < 1e-5 && (p.price.unwrap() - q.price.unwrap()).abs() < 1e-5);
    }
    let prices = |fills: Vec<BrokerFill>| fills.into_iter().map(|f| (f.symbol, f.qty, f.price, f.at)).collect::<Vec<_>>();
    assert_eq!(prices(ctrader.fills_since(None).unwrap()), prices(alpaca.fills_since(None).unwrap()));
}
