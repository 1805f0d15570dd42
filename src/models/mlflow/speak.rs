//! An entry of the outbox in MLflow's words.

use super::client::{Answer, Failure, Server, or_absent, or_existing};
use super::outbox::{self, Entry};
use crate::models::registry::{ModelEvent, ModelRow, Registry, Stage};
use data_layer::error::{Error, Result};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::UtcTime;
use serde_json::{Map, Value, json};

/// The tag by which a run is found again; unique to a model.
const MODEL_TAG: &str = "trademl.model";
/// Parameters of one call, and characters of one value, that the API takes.
const PARAMS_A_CALL: usize = 100;
const PARAM_CHARS: usize = 6_000;

/// Say one entry. The outer error is the drive's, the inner one the server's.
pub(super) fn say(server: &Server, root: &DataRoot, registry: &Registry, entry: &Entry) -> Result<Answer<Value>> {
    let row = registry.model(&entry.strategy, &entry.version)?.ok_or_else(|| Error::bug("an event names a model that is not in the registry"))?;
    let event = registry.event(entry.event)?;
    if entry.first {
        return make_known(server, root, &row, &event);
    }
    let answer = outbox::answer_of_model(registry, &entry.strategy, &entry.version)?.unwrap_or_default();
    let (Some(run), Some(version), Some(artifacts)) = (answer["run_id"].as_str(), answer["model_version"].as_str(), answer["artifacts"].as_str()) else {
        return Ok(Err(Failure::Refused { code: "MODEL_REFUSED".into(), what: "the server did not take the model that this is about".into() }));
    };
    tell(server, root, &row, &event, &Known { run, version, artifacts })
}

/// The name that a strategy's models have on the server. A practice world's never mix with real ones.
fn model_name(root: &DataRoot, strategy: &str) -> String {
    match root.drive().dataset.as_str() {
        "real" => strategy.to_string(),
        world => format!("{strategy}-{}", world.replace(['@', ':', '/', '.'], "-")),
    }
}

/// A model's first event: experiment, run with its artifacts, registered model and version.
fn make_known(server: &Server, root: &DataRoot, row: &ModelRow, event: &ModelEvent) -> Result<Answer<Value>> {
    let files = artifact_files(root, row)?;
    let model = model_name(root, &row.strategy);
    let spoken = || -> Answer<Value> {
        let experiment = experiment(server, &format!("trademl/{model}"))?;
        let (run, artifacts) = run_of(server, &experiment, row, &model)?;
        for chunk in params(row).chunks(PARAMS_A_CALL) {
            server.post("runs/log-batch", json!({"run_id": run, "params": chunk}))?;
        }
        server.post("runs/log-batch", json!({"run_id": run, "metrics": metrics(&row.metrics, row.created_at)}))?;
        upload(server, &artifacts, &files)?;
        server.post("runs/update", json!({"run_id": run, "status": "FINISHED", "end_time": millis(row.created_at)}))?;
        if let Some(program) = event.verdict["program_sha256"].as_str() {
            server.post("runs/log-batch", json!({"run_id": run, "tags": [tag("trademl.program_sha256", program)]}))?;
        }
        or_existing(server.post("registered-models/create", json!({"name": model, "tags": [tag("trademl.dataset", &root.drive().dataset)]})))?;
        let version = version_of(server, &model, &run, &artifacts, row)?;
        point(server, &model, &version, event.to_stage)?;
        Ok(json!({"run_id": run, "model": model, "model_version": version, "artifacts": artifacts}))
    };
    Ok(spoken())
}

/// What the server already knows of a model.
struct Known<'a> {
    run: &'a str,
    version: &'a str,
    artifacts: &'a str,
}

/// A later event: its verdict on the run, its stage on the version, its alias.
fn tell(server: &Server, root: &DataRoot, row: &ModelRow, event: &ModelEvent, known: &Known<'_>) -> Result<Answer<Value>> {
    let sheets = tear_sheet(root, row)?;
    let model = model_name(root, &row.strategy);
    let spoken = || -> Answer<Value> {
        let tags = [tag("trademl.verdict", &event.reason), tag("trademl.rule", &event.rule), tag("trademl.operator", &event.operator)];
        server.post("runs/log-batch", json!({"run_id": known.run, "tags": tags, "metrics": metrics(&bars(&event.verdict), event.at)}))?;
        upload(server, known.artifacts, &sheets)?;
        if event.applied {
            let stage = json!({"name": model, "version": known.version, "key": "trademl.stage", "value": event.to_stage.as_str()});
            server.post("model-versions/set-tag", stage)?;
            point(server, &model, known.version, event.to_stage)?;
        }
        Ok(json!({"run_id": known.run, "model": model, "model_version": known.version}))
    };
    Ok(spoken())
}

fn experiment(server: &Server, name: &str) -> Answer<String> {
    let find = || or_absent(server.get(&format!("experiments/get-by-name?experiment_name={}", name.replace('/', "%2F"))));
    let id = |v: &Value| v["experiment"]["experiment_id"].as_str().map(str::to_string);
    if let Some(found) = find()?.as_ref().and_then(id) {
        return Ok(found);
    }
    or_existing(server.post("experiments/create", json!({"name": name})))?;
    find()?.as_ref().and_then(id).ok_or_else(|| Failure::Away("the experiment that was made cannot be found".into()))
}

/// The run of a model, with the address of its artifacts: found by its tag, made when there is none.
fn run_of(server: &Server, experiment: &str, row: &ModelRow, model: &str) -> Answer<(String, String)> {
    let own = format!("{model}/{}", row.version);
    let asked = json!({"experiment_ids": [experiment], "filter": format!("tags.`{MODEL_TAG}` = '{own}'"), "max_results": 1});
    let found = server.post("runs/search", asked)?;
    let info = match found["runs"].get(0) {
        Some(run) => run["info"].clone(),
        None => {
            let tags = [
                tag(MODEL_TAG, &own),
                tag("trademl.run", &row.run_id),
                tag("trademl.data_snapshot", &row.data_snapshot),
                tag("trademl.manifest_sha256", &row.sha256),
                tag("mlflow.source.name", "trademl train"),
                tag("mlflow.user", "trademl"),
            ];
            let made = json!({"experiment_id": experiment, "run_name": row.version, "start_time": millis(row.created_at), "tags": tags});
            server.post("runs/create", made)?["run"]["info"].clone()
        }
    };
    let text = |key: &str| info[key].as_str().map(str::to_string).ok_or_else(|| Failure::Away(text!("a run without {key}")));
    Ok((text("run_id")?, text("artifact_uri")?))
}

/// The version that stands for a run: found by the run, made when there is none.
fn version_of(server: &Server, model: &str, run: &str, artifacts: &str, row: &ModelRow) -> Answer<String> {
    let found = server.get(&format!("model-versions/search?filter=run_id%3D%27{run}%27&max_results=1"))?;
    let version = |v: &Value| v["version"].as_str().map(str::to_string).or_else(|| v["version"].as_i64().map(|n| n.to_string()));
    if let Some(known) = found["model_versions"].get(0).and_then(version) {
        return Ok(known);
    }
    let tags = [tag("trademl.version", &row.version), tag("trademl.manifest_sha256", &row.sha256), tag("trademl.stage", row.stage.as_str())];
    let made = server.post("model-versions/create", json!({"name": model, "source": format!("{artifacts}/model"), "run_id": run, "tags": tags}))?;
    version(&made["model_version"]).ok_or_else(|| Failure::Away("a version without a number".into()))
}

/// Give a version the alias of its stage, and take the other from it.
fn point(server: &Server, model: &str, version: &str, stage: Stage) -> Answer<()> {
    let wanted = match stage {
        Stage::Champion => Some("champion"),
        Stage::Challenger | Stage::Shadow => Some("challenger"),
        Stage::Candidate | Stage::Retired | Stage::Rejected => None,
    };
    let known = server.get(&format!("model-versions/get?name={model}&version={version}"))?;
    let has = |alias: &str| known["model_version"]["aliases"].as_array().is_some_and(|all| all.iter().any(|a| a == alias));
    for alias in ["champion", "challenger"].into_iter().filter(|a| Some(*a) != wanted && has(a)) {
        or_absent(server.delete("registered-models/alias", json!({"name": model, "alias": alias})))?;
    }
    if let Some(alias) = wanted {
        server.post("registered-models/alias", json!({"name": model, "alias": alias, "version": version}))?;
    }
    Ok(())
}

/// Artifacts go through the server; a store of its own (S3, say) would need its keys, which this program does not ask for.
fn upload(server: &Server, artifacts: &str, files: &[(String, Vec<u8>)]) -> Answer<()> {
    let Some(below) = artifacts.strip_prefix("mlflow-artifacts:") else { return Ok(()) };
    // `mlflow-artifacts:/1/RUN/artifacts`, or with a host before the path.
    let below = below.strip_prefix("//").map_or(below, |rest| rest.split_once('/').map_or("", |r| r.1)).trim_start_matches('/');
    files.iter().try_for_each(|(name, bytes)| server.upload(&format!("{below}/{name}"), bytes.clone()))
}

/// Every file of a model's folder, the manifest first.
fn artifact_files(root: &DataRoot, row: &ModelRow) -> Result<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    let Some(manifest) = store::read(root, &row.path.join("manifest.json")?)? else { return Ok(out) };
    let named: Value = serde_json::from_slice(&manifest)?;
    for name in named["files"].as_object().into_iter().flat_map(Map::keys) {
        if let Some(bytes) = store::read(root, &row.path.join(name)?)? {
            out.push((format!("model/{name}"), bytes));
        }
    }
    out.insert(0, ("model/manifest.json".into(), manifest));
    Ok(out)
}

/// The pages of the newest evaluation, where there is one.
fn tear_sheet(root: &DataRoot, row: &ModelRow) -> Result<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    for name in ["tear_sheet.html", "tear_sheet.json", "tear_sheet.md"] {
        let path = DataPath::new(format!("reports/evaluations/{}/{}/{name}", row.strategy, row.version))?;
        out.extend(store::read(root, &path)?.map(|bytes| (format!("evaluation/{name}"), bytes)));
    }
    Ok(out)
}

fn tag(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value.chars().take(PARAM_CHARS).collect::<String>()})
}

fn millis(t: UtcTime) -> i64 {
    t.micros().div_euclid(1_000)
}

/// The configuration as `section.key` with values as text.
fn params(row: &ModelRow) -> Vec<Value> {
    let mut out = Vec::new();
    flatten("", &row.config, &mut out);
    out.into_iter().filter(|(key, _)| key.len() <= 250).map(|(key, value)| tag(&key, &value)).collect()
}

fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, v)| flatten(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, v, out));
        }
        Value::String(text) => out.push((prefix.to_string(), text.clone())),
        other => out.push((prefix.to_string(), other.to_string())),
    }
}

/// Numbers of a flat object, stamped so that saying them again changes nothing.
fn metrics(values: &Value, at: UtcTime) -> Vec<Value> {
    let numbers = values.as_object().into_iter().flatten().filter_map(|(key, v)| Some((key, v.as_f64()?)));
    numbers.map(|(key, value)| json!({"key": key, "value": value, "timestamp": millis(at), "step": 0})).collect()
}

/// The bars of a verdict by name, as `bar.sharpe`.
fn bars(verdict: &Value) -> Value {
    let rows = verdict["evaluation"]["verdict"]["rows"].as_array().cloned().unwrap_or_default();
    let named = rows.iter().filter_map(|r| Some((format!("bar.{}", r["name"].as_str()?), r["value"].clone())));
    Value::Object(named.collect())
}
