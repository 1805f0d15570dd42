//! The liquid universe through the wizard: a drive that holds a market's bars is told to keep what trades enough, and does, those that
//! are gone included.

use crate::journey::Machine;
use crate::rig::t;
use data_layer::calendar::Calendar;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, code};
use data_layer::host::Host;
use data_layer::root::{DataRoot, FsFacts};
use data_layer::sandbox::{self, Sandbox, SandboxConfig};
use data_layer::schema::{dataset, table};
use data_layer::stage::{self, Lane, LaneState};
use data_layer::time::{DateRange, TradingDay};
use data_layer::{ledger, reference, store};
use polars::prelude::{Column, DataFrame};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trademl::kit::Outcome;
use trademl::kit::report::{Reporter, Voice};
use trademl::kit::session::Session;

const ANSWERS: &str = "
version: 1
wizards:
  pi-data-node: {answers: {node.id: test-node}}
";

/// Shares traded a day at 50 dollars: plenty, plenty until it was delisted in November, a thousandth of that, and plenty from October on.
const NAMES: [(&str, &str, f64); 4] = [("BIG", "2017-11-30", 1e6), ("DEAD", "2017-11-07", 1e6), ("THIN", "2017-11-30", 1e3), ("YOUNG", "2017-11-30", 1e6)];

fn write_world(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let day = |text: &str| -> TradingDay { text.parse().unwrap() };
    let mut rows: Vec<(String, &str, f64, f64)> = Vec::new();
    for (symbol, last, shares) in NAMES {
        let first = if symbol == "YOUNG" { "2017-10-02" } else { "2017-06-01" };
        let window = DateRange::new(day(first), day(last).plus_days(1)).unwrap();
        // Closes that move a little: a price that stands still is no market.
        rows.extend(Calendar::xnys().sessions(window).iter().map(|d| (d.to_string(), symbol, 50.0 + f64::from(d.0 % 7) * 0.1, shares + f64::from(d.0 % 11))));
    }
    let close = Column::new("close".into(), rows.iter().map(|r| r.2).collect::<Vec<_>>());
    let columns = vec![
        Column::new("date".into(), rows.iter().map(|r| r.0.as_str()).collect::<Vec<_>>()),
        Column::new("Name".into(), rows.iter().map(|r| r.1).collect::<Vec<_>>()),
        close.clone().with_name("open".into()),
        close.clone().with_name("high".into()),
        close.clone().with_name("low".into()),
        close,
        Column::new("volume".into(), rows.iter().map(|r| r.3 as i64).collect::<Vec<_>>()),
    ];
    let mut frame = DataFrame::new(rows.len(), columns).unwrap();
    std::fs::write(folder.join("prices.parquet"), store::parquet_bytes(&mut frame).unwrap()).unwrap();
}

/// The market outside, and a drive of it.
struct Market {
    machine: Machine,
    _sandbox: Sandbox,
    host: Host,
    place: PathBuf,
}

impl Market {
    /// With the keys that a practice drive is given.
    fn new() -> Self {
        Self::with(|sandbox| sandbox.env.clone())
    }

    fn with(env: impl Fn(&Sandbox) -> BTreeMap<String, String>) -> Self {
        let machine = Machine::new("00000000000000aa");
        let outer = machine.host(None);
        write_world(&machine.home.path().join("market"));
        let now = t("2017-11-30T21:20:00Z");
        let config =
            SandboxConfig { data_dir: Some(machine.home.path().join("market")), now: Some(now), ..SandboxConfig::replay(machine.home.path().join("street")) };
        let sandbox = outer.block_on(sandbox::start(&outer, config)).unwrap().unwrap();
        let (host, place) = (outer.in_world(&env(&sandbox), now), machine.home.path().join("drive"));
        DataRoot::create(&host, &place, &sandbox.dataset, FsFacts::default(), None).unwrap();
        Self { machine, _sandbox: sandbox, host, place }
    }

    fn root(&self) -> DataRoot {
        DataRoot::open(&self.host, &self.place).unwrap()
    }

    fn node_wizard(&self, sets: &[String]) -> Result<Outcome, Error> {
        let report = Reporter::new(&self.host, Voice::Silent, trademl::pi_data_node::WIZARD.name, None);
        let mut session = Session::headless(&self.host, &trademl::pi_data_node::WIZARD, ANSWERS, sets, "test", report)?;
        session.run(&self.root(), trademl::pi_data_node::run)
    }

    fn fill(&self) {
        let list = self.machine.home.path().join("symbols.txt");
        std::fs::write(&list, "BIG\nDEAD\nTHIN\nYOUNG\n").unwrap();
        self.node_wizard(&["universe.source=file".into(), format!("universe.file={}", list.display())]).unwrap();
    }
}

#[test]
fn what_trades_enough_is_kept_and_what_is_gone_is_not_forgotten() {
    let market = Market::new();
    let liquid = ["universe.source=liquid".to_string()];
    let refused = market.node_wizard(&liquid).unwrap_err();
    let said = &refused.body().fix;
    assert!(
        refused.is(code::DATA_MISSING) && said.iter().any(|f| f.contains("universe.source=builtin")),
        "an empty drive has nothing to choose from: {refused}"
    );
    market.fill();
    assert_eq!(stage::load(&market.root()).unwrap().universe.symbols, ["BIG", "DEAD", "THIN", "YOUNG"]);

    market.node_wizard(&liquid).unwrap();
    let chosen = stage::load(&market.root()).unwrap().universe;
    // THIN trades 50,000 dollars a day; of YOUNG no month began after sixty sessions; DEAD belonged while it lived.
    assert_eq!((chosen.symbols.clone(), chosen.source.as_str()), (vec!["BIG".to_string(), "DEAD".into()], "liquid:1000000-usd:2017-11"));
    let root = market.root();
    let stays = reference::liquid_universe(&root, reference::MIN_ADV_USD).unwrap();
    let told: Vec<(&str, String, Option<String>)> = stays.iter().map(|s| (s.symbol.as_str(), s.from.to_string(), s.to.map(|d| d.to_string()))).collect();
    // Sixty sessions have passed late in August: September's decision is the first, and the floor was cleared by far.
    assert_eq!(told, [("BIG", "2017-09-01".to_string(), None), ("DEAD", "2017-09-01".into(), Some("2017-11-07".into()))]);
    assert!(stays.iter().all(|s| s.min_adv_usd == 1e6 && s.adv_60_usd > 49e6));
    // The drive judges the chosen alone from now on, the one that is gone up to the day on which it was delisted.
    let db = Db::open(&root, Which::Node).unwrap();
    let judged = |symbol: &str| ledger::rows_of(&db, "alpaca", table::RAW_EQUITIES_BARS, symbol, "1d", TradingDay(0), TradingDay(40_000)).unwrap();
    assert_eq!(judged("DEAD").last().map(|r| r.key.dt.to_string()).as_deref(), Some("2017-11-06"));
    assert!(judged("DEAD").iter().chain(&judged("BIG")).all(|r| r.verdict.status == ledger::Status::Green) && judged("THIN").is_empty());

    // The month's choice stands: said again, nothing of it changes.
    market.node_wizard(&liquid).unwrap();
    assert_eq!(stage::load(&market.root()).unwrap().universe, chosen);
}

/// A market outside without minutes: the first vendor refuses them, the second answers for the two large names and has none.
#[test]
fn minutes_that_no_vendor_showed_are_not_asked_for_by_the_year() {
    let market = Market::with(Sandbox::env_of_all);
    market.fill();
    let root = market.root();
    let lane = stage::load(&root).unwrap().lanes[dataset::EQUITIES_MINUTE].clone();
    let Lane::Explained(lane) = lane else { panic!("{lane:?}") };
    assert_eq!((lane.state, lane.reason.as_str()), (LaneState::Off, "answered, without rows for AAPL, ADBE"));
    let db = Db::open(&root, Which::Node).unwrap();
    let asked: i64 = db.lock().unwrap().query_row("SELECT count(*) FROM backfill_queue WHERE dataset = 'equities_minute'", [], |r| r.get(0)).unwrap();
    assert_eq!(asked, 0);
}
