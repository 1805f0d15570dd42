//! The wizards on markets whose truth is known: with an edge the model sees it and every bar says a number; without one it
//! ends refused. Whether an edge of this size is promoted is for the bars to say: the verdict is printed.

use data_layer::calendar::Calendar;
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataRoot, FsFacts};
use data_layer::sandbox::client;
use engine::models::registry::Registry;
use std::collections::BTreeMap;
use std::path::Path;
use trademl::kit::report::{Reporter, Voice};
use trademl::kit::session::Session;
use trademl::kit::{Outcome, Wizard};
use trademl::steps;

use crate::journey::Body;

const ANSWERS: &str = "
version: 1
wizards:
  pi-data-node: {answers: {node.id: test-node}}
  train: {}
  evaluate: {}
  shadow: {}
";

/// The last session of the synthetic worlds.
const LAST: &str = "2018-02-07";

struct Life {
    host: Host,
    root: DataRoot,
}

impl Life {
    fn play(&self, wizard: &'static Wizard, body: Body, tag: &str) -> Outcome {
        let report = Reporter::new(&self.host, Voice::Silent, wizard.name, None);
        let mut session = Session::headless(&self.host, wizard, ANSWERS, &[], tag, report).unwrap();
        let outcome = session.run(&self.root, body).unwrap_or_else(|e| panic!("{}: {e}", wizard.name));
        println!("{}: {}", wizard.name, outcome.summary);
        outcome
    }

    /// The newest decision about a model, condition by condition and bar by bar.
    fn verdict(&self) -> serde_json::Value {
        let events = Registry::open(&self.root).unwrap().events("equities_xs").unwrap();
        let verdict = events.into_iter().rev().find(|e| e.verdict.get("promotion").is_some()).unwrap().verdict;
        println!("{}", serde_json::to_string_pretty(&verdict["promotion"]["conditions"]).unwrap());
        println!("{}", serde_json::to_string_pretty(&verdict["evaluation"]["verdict"]["rows"]).unwrap());
        verdict
    }
}

/// Fill a drive from a world, train, judge, let the weeks to the world's end pass in the shadow book, judge again. Returns
/// whether the trained model is champion, and the last verdict.
fn live(dataset: &str, place: &Path) -> (bool, serde_json::Value) {
    let home = tempfile::tempdir().unwrap();
    let env = BTreeMap::from([("HOME".to_string(), home.path().display().to_string()), ("TRAINING_ENABLE_AUTO_PROMOTE".to_string(), "true".to_string())]);
    let host = Host::fake(FakeHost { env, ..FakeHost::default() });
    let root = DataRoot::create(&host, place, dataset, FsFacts::default(), None).unwrap();
    let (root, world) = steps::world::of_root(&host, &root).unwrap();
    let life = Life { host: world.host.clone(), root };
    life.play(&trademl::pi_data_node::WIZARD, trademl::pi_data_node::run, "first");
    life.play(&trademl::train::WIZARD, trademl::train::run, "first");
    life.play(&trademl::evaluate::WIZARD, trademl::evaluate::run, "first");
    let end = Calendar::xnys().close(LAST.parse().unwrap()).plus_seconds(20 * 60);
    let base = world.sandbox.as_ref().unwrap().base();
    life.host.set_world_time(life.host.block_on(client::advance(&life.host, &base, end)).unwrap().unwrap().now);
    let quiet = Reporter::new(&life.host, Voice::Silent, "node", None);
    steps::node::once(&life.host, &life.root, &quiet, false).unwrap();
    life.play(&trademl::shadow::WIZARD, trademl::shadow::run, "later");
    life.play(&trademl::evaluate::WIZARD, trademl::evaluate::run, "later");
    let verdict = life.verdict();
    let champion = Registry::open(&life.root).unwrap().champion("equities_xs").unwrap();
    (Some(champion.version.as_str()) == verdict["promotion"]["version"].as_str(), verdict)
}

#[test]
#[ignore = "takes minutes: make planted"]
fn the_wizards_see_the_edge_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let (promoted, verdict) = live("planted@2:7", &dir.path().join("drive"));
    let (evaluation, ic) = (&verdict["evaluation"], &verdict["evaluation"]["ic"]);
    assert!(ic["mean"].as_f64().unwrap() > 0.02 && ic["t"].as_f64().unwrap() > 2.0, "{ic}");
    let measured = |name: &str| evaluation["verdict"]["rows"].as_array().unwrap().iter().any(|r| r["name"] == name && r["value"].is_number());
    assert!(["sharpe", "max_drawdown", "dsr", "pbo"].into_iter().all(measured), "{}", evaluation["verdict"]);
    assert_eq!(promoted, verdict["promotion"]["passed"] == true, "{}", verdict["promotion"]["reason"]);
}

#[test]
#[ignore = "takes minutes: make planted"]
fn the_wizards_refuse_every_model_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (promoted, verdict) = live("null@2:7", &dir.path().join("drive"));
    assert!(!promoted && verdict["evaluation"]["verdict"]["passed"] == false, "{}", verdict["promotion"]["reason"]);
}
