//! The copy against a server that keeps what MLflow keeps, counts what it is asked, and can lose any one answer. `make mlflow`
//! does the same with a real `mlflow server`.

use super::*;
use crate::models::baseline::{self, Momentum};
use crate::models::registry::{Decision, Stage};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use data_layer::host::FakeHost;
use data_layer::root::FsFacts;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a server keeps. Two equal worlds were told the same things.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    experiments: Vec<String>,
    /// Tags, parameters and metrics by run, as sets: saying something twice is visible only where it would be on MLflow.
    runs: Vec<(BTreeMap<String, String>, BTreeMap<String, String>, BTreeSet<String>)>,
    files: BTreeMap<String, usize>,
    models: BTreeSet<String>,
    /// Run and tags of each version, from version 1 on.
    versions: Vec<(String, BTreeMap<String, String>)>,
    aliases: BTreeMap<String, String>,
}

#[derive(Default)]
struct Fake {
    kept: Mutex<Kept>,
    asked: Mutex<usize>,
    /// The answer to this call is lost, after the call has had its effect.
    lose: Option<usize>,
}

fn pairs(v: &Value) -> Vec<(String, String)> {
    v.as_array().into_iter().flatten().map(|t| (t["key"].as_str().unwrap().to_string(), t["value"].as_str().unwrap_or_default().to_string())).collect()
}

fn run_index(id: &Value) -> usize {
    id.as_str().unwrap().strip_prefix("run").unwrap().parse().unwrap()
}

fn missing() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "nothing of that name"}))
}

fn info(n: usize) -> Value {
    json!({"info": {"run_id": format!("run{n}"), "artifact_uri": format!("mlflow-artifacts:/1/run{n}/artifacts")}})
}

impl Kept {
    fn answer(&mut self, method: &Method, path: &str, query: &BTreeMap<String, String>, body: &Value) -> (StatusCode, Value) {
        let ok = |v: Value| (StatusCode::OK, v);
        match path {
            "experiments/get-by-name" => match self.experiments.iter().position(|e| *e == query["experiment_name"]) {
                Some(n) => ok(json!({"experiment": {"experiment_id": n.to_string()}})),
                None => missing(),
            },
            "experiments/create" => {
                self.experiments.push(body["name"].as_str().unwrap().into());
                ok(json!({}))
            }
            "runs/search" => {
                let wanted = body["filter"].as_str().unwrap().split('\'').nth(1).unwrap();
                let found = self.runs.iter().position(|r| r.0.get("trademl.model").is_some_and(|m| m == wanted));
                ok(found.map_or(json!({}), |n| json!({"runs": [info(n)]})))
            }
            "runs/create" => {
                self.runs.push((pairs(&body["tags"]).into_iter().collect(), BTreeMap::new(), BTreeSet::new()));
                ok(json!({"run": info(self.runs.len() - 1)}))
            }
            "runs/log-batch" => {
                assert!(body["params"].as_array().is_none_or(|p| p.len() <= 100));
                let run = &mut self.runs[run_index(&body["run_id"])];
                for (key, value) in pairs(&body["params"]) {
                    assert!(run.1.insert(key, value.clone()).is_none_or(|old| old == value), "a parameter may not change");
                }
                run.0.extend(pairs(&body["tags"]));
                run.2.extend(body["metrics"].as_array().into_iter().flatten().map(ToString::to_string));
                ok(json!({}))
            }
            "runs/update" => {
                self.runs[run_index(&body["run_id"])].0.insert("status".into(), body["status"].as_str().unwrap().into());
                ok(json!({}))
            }
            "registered-models/create" if !self.models.insert(body["name"].as_str().unwrap().into()) => {
                (StatusCode::BAD_REQUEST, json!({"error_code": "RESOURCE_ALREADY_EXISTS", "message": "known"}))
            }
            "registered-models/create" => ok(json!({})),
            "model-versions/search" => {
                let wanted = query["filter"].split('\'').nth(1).unwrap().to_string();
                let found = self.versions.iter().position(|v| v.0 == wanted);
                ok(found.map_or(json!({}), |n| json!({"model_versions": [{"version": (n + 1).to_string()}]})))
            }
            "model-versions/create" => {
                self.versions.push((body["run_id"].as_str().unwrap().into(), pairs(&body["tags"]).into_iter().collect()));
                ok(json!({"model_version": {"version": self.versions.len().to_string()}}))
            }
            "model-versions/get" => {
                let names: Vec<&String> = self.aliases.iter().filter(|(_, v)| **v == query["version"]).map(|(a, _)| a).collect();
                ok(json!({"model_version": {"aliases": names}}))
            }
            "model-versions/set-tag" => {
                let n: usize = body["version"].as_str().unwrap().parse().unwrap();
                self.versions[n - 1].1.insert(body["key"].as_str().unwrap().into(), body["value"].as_str().unwrap().into());
                ok(json!({}))
            }
            "registered-models/alias" if *method == Method::DELETE => {
                self.aliases.remove(body["alias"].as_str().unwrap());
                ok(json!({}))
            }
            "registered-models/alias" => {
                self.aliases.insert(body["alias"].as_str().unwrap().into(), body["version"].as_str().unwrap().into());
                ok(json!({}))
            }
            other => panic!("MLflow has no {method} {other}"),
        }
    }
}

async fn handle(State(fake): State<Arc<Fake>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes: Bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let mut query = BTreeMap::new();
    for pair in parts.uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap();
        query.insert(key.to_string(), value.replace("%2F", "/").replace("%3D", "=").replace("%27", "'"));
    }
    let path = parts.uri.path();
    if path == "/health" {
        return "OK".into_response();
    }
    let number = {
        let mut asked = fake.asked.lock().unwrap();
        *asked += 1;
        *asked
    };
    let (status, answer) = match path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/") {
        Some(name) => {
            fake.kept.lock().unwrap().files.insert(name.to_string(), bytes.len());
            (StatusCode::OK, json!({}))
        }
        None => {
            let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
            fake.kept.lock().unwrap().answer(&parts.method, path.strip_prefix("/api/2.0/mlflow/").unwrap(), &query, &body)
        }
    };
    if fake.lose == Some(number) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    (status, answer.to_string()).into_response()
}

/// A server on loopback; its address.
fn serve(host: &Host, fake: &Arc<Fake>) -> String {
    let fake = Arc::clone(fake);
    let bound = async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle).with_state(fake)).await });
        address
    };
    format!("http://{}", host.block_on(bound).unwrap())
}

/// A drive whose registry has seen a life: a baseline that is champion, a challenger that is refused and then promoted.
fn lived(dir: &Path, env: &[(&str, &str)]) -> DataRoot {
    let env = env.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    let root = DataRoot::create(&Host::fake(FakeHost { env, ..FakeHost::default() }), dir, "replay@1", FsFacts::default(), None).unwrap();
    let registry = Registry::open(&root).unwrap();
    baseline::ensure_baseline(&root, &registry, "equities_xs", &Momentum::default(), "2017-11-30".parse().unwrap(), "run-0").unwrap();
    let champion = registry.champion("equities_xs").unwrap();
    let row = crate::models::registry::ModelRow {
        version: "2017-11-30-aabbccdd".into(),
        stage: Stage::Challenger,
        metrics: json!({"mean_ic": 0.03, "pbo": null}),
        config: json!({"model": {"rounds": 50}, "window": {"years": 5}, "searched": [1, 2]}),
        run_id: "run-1".into(),
        activated_at: None,
        ..champion
    };
    registry.register(&row, "train").unwrap();
    let verdict = json!({"evaluation": {"verdict": {"rows": [{"name": "sharpe", "value": 0.8}, {"name": "beats", "value": null}]}}});
    let no = Decision { rule: "promote_if_beats_champion", verdict, operator: "evaluate", reason: "refused by: bars" };
    registry.record_verdict("equities_xs", &row.version, Stage::Champion, &no).unwrap();
    let yes = Decision { rule: "promote_if_beats_champion", verdict: Value::Null, operator: "jane", reason: "every condition holds" };
    registry.set_stage("equities_xs", &row.version, Stage::Champion, &yes).unwrap();
    root
}

/// The same drive with a server named in its environment.
fn with_server(dir: &Path, address: &str) -> DataRoot {
    let env = BTreeMap::from([(TRACKING_URI.to_string(), address.to_string())]);
    DataRoot::open(&Host::fake(FakeHost { env, ..FakeHost::default() }), dir).unwrap()
}

#[test]
fn a_life_of_the_registry_is_told_once_and_a_dead_server_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = lived(dir.path(), &[]);
    assert_eq!(deliver(&root).unwrap(), None, "nobody asked for a copy");
    let dead = with_server(dir.path(), "http://127.0.0.1:1");
    let waits = deliver(&dead).unwrap().unwrap();
    assert_eq!((waits.sent, waits.waiting), (0, waiting(&root).unwrap()));
    assert!(waits.away.unwrap().contains("did not answer"));

    let fake = Arc::new(Fake::default());
    let address = serve(root.host(), &fake);
    let alive = with_server(dir.path(), &address);
    let told = deliver(&alive).unwrap().unwrap();
    assert_eq!((told.sent, told.waiting, told.refused.len()), (waits.waiting, 0, 0));
    let kept = fake.kept.lock().unwrap().clone();
    assert_eq!(kept.experiments, ["trademl/equities_xs-replay-1"]);
    assert_eq!((kept.runs.len(), kept.versions.len()), (2, 2));
    assert_eq!(kept.aliases, BTreeMap::from([("champion".to_string(), "2".to_string())]));
    let (tags, params, metrics) = &kept.runs[1];
    assert_eq!((tags["status"].as_str(), tags["trademl.verdict"].as_str()), ("FINISHED", "every condition holds"));
    assert_eq!((params["model.rounds"].as_str(), params["searched"].as_str()), ("50", "[1,2]"));
    assert!(metrics.iter().any(|m| m.contains("mean_ic")) && metrics.iter().any(|m| m.contains("bar.sharpe")) && metrics.len() == 2);
    assert_eq!(kept.versions[0].1["trademl.stage"], "retired");
    assert!(kept.files.contains_key("1/run0/artifacts/model/manifest.json"));
    let asked = *fake.asked.lock().unwrap();
    assert_eq!(deliver(&alive).unwrap().unwrap().sent, 0);
    assert_eq!(*fake.asked.lock().unwrap(), asked, "what was sent is not sent again");
}

#[test]
fn an_answer_lost_at_any_call_makes_nothing_twice() {
    let whole = {
        let dir = tempfile::tempdir().unwrap();
        let (root, fake) = (lived(dir.path(), &[]), Arc::new(Fake::default()));
        deliver(&with_server(dir.path(), &serve(root.host(), &fake))).unwrap();
        let asked = *fake.asked.lock().unwrap();
        let kept = fake.kept.lock().unwrap().clone();
        (kept, asked)
    };
    assert!(whole.1 > 20, "{}", whole.1);
    for lose in 1..=whole.1 {
        let dir = tempfile::tempdir().unwrap();
        let (root, fake) = (lived(dir.path(), &[]), Arc::new(Fake { lose: Some(lose), ..Fake::default() }));
        let root2 = with_server(dir.path(), &serve(root.host(), &fake));
        let first = deliver(&root2).unwrap().unwrap();
        assert!(first.waiting > 0 && first.away.is_some(), "call {lose}");
        assert_eq!(deliver(&root2).unwrap().unwrap().waiting, 0, "call {lose}");
        assert_eq!(*fake.kept.lock().unwrap(), whole.0, "call {lose}");
    }
}

#[test]
fn a_copy_never_leaves_in_the_open_and_a_practice_drive_stays_at_home() {
    for (address, place) in [
        ("http://127.0.0.1:5000", Place::Here),
        ("http://[::1]:5000/", Place::Here),
        ("http://localhost", Place::Here),
        ("http://192.168.1.7:5000", Place::Near),
        ("http://pi.local:5000", Place::Near),
        ("https://mlflow.example.org/x", Place::Far),
        ("http://8.8.8.8", Place::Far),
    ] {
        assert_eq!(place_of(address).unwrap(), place, "{address}");
    }
    for wrong in ["file:///tmp/mlruns", "sqlite:///mlflow.db", "http://", "http://user:word@host"] {
        assert!(place_of(wrong).unwrap_err().is(code::CFG_VALUE), "{wrong}");
    }
    let dir = tempfile::tempdir().unwrap();
    drop(lived(dir.path(), &[]));
    assert!(deliver(&with_server(dir.path(), "https://mlflow.example.org")).unwrap_err().is(code::NET_FORBIDDEN_HOST));
    let real = tempfile::tempdir().unwrap();
    let env = BTreeMap::from([(TRACKING_URI.to_string(), "http://10.0.0.7:5000".to_string()), ("MLFLOW_TRACKING_TOKEN".to_string(), "t".to_string())]);
    let root = DataRoot::create(&Host::fake(FakeHost { env, ..FakeHost::default() }), real.path(), "real", FsFacts::default(), None).unwrap();
    assert!(configured(&root).err().unwrap().is(code::NET_FORBIDDEN_HOST), "a token goes through TLS only");
}
