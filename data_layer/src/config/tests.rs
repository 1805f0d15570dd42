use super::*;
use crate::host::FakeHost;
use serde::Deserialize;

#[derive(Debug, Deserialize, PartialEq)]
struct Edge {
    version: u32,
    inflight: BTreeMap<String, u32>,
    loops: Loops,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    targets: BTreeMap<u8, u32>,
}
#[derive(Debug, Deserialize, PartialEq)]
struct Loops {
    forward_minutes: u32,
    maintenance: String,
    note: Option<String>,
}
#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Calm,
    Fast {
        factor: f64,
    },
}

const BUILTIN: &str = "version: 1\ninflight: {default: 2, alpaca: 16}\nloops: {forward_minutes: 15, maintenance: \"02:00\", note: null}\n";

fn host_with(dir: &std::path::Path, env: &[(&str, &str)]) -> Host {
    let mut all: BTreeMap<String, String> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    all.insert("XDG_CONFIG_HOME".into(), dir.display().to_string());
    Host::fake(FakeHost { env: all, ..FakeHost::default() })
}

fn put(dir: &std::path::Path, path: &str, text: &str) {
    let place = dir.join("trademl/configs").join(path);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, text).unwrap();
}

#[test]
fn layers_override_in_order_and_say_where_each_value_came_from() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "edge.yml", "loops: {forward_minutes: 30}\n");
    put(dir.path(), "env/local/edge.yml", "inflight: {alpaca: 4}\nmode: {fast: {factor: 2}}\ntargets: {0: 5}\n");
    let host = host_with(dir.path(), &[("TRADEML_ENV", "local"), ("NODE_MAX_INFLIGHT_TIINGO", "1"), ("NODE_MAX_INFLIGHT_DEFAULT", "3")]);
    let flags = BTreeMap::from([("loops.maintenance".to_string(), "\"03:30\"".to_string())]);
    let loaded: Loaded<Edge> = load_with("edge", BUILTIN, &host, None, host.env_all(), &flags).unwrap();
    assert_eq!(loaded.value.inflight, BTreeMap::from([("alpaca".into(), 4), ("default".into(), 3), ("tiingo".into(), 1)]));
    assert_eq!(loaded.value.loops, Loops { forward_minutes: 30, maintenance: "03:30".into(), note: None });
    assert_eq!(loaded.value.mode, Mode::Fast { factor: 2.0 });
    assert_eq!(loaded.value.targets, BTreeMap::from([(0, 5)]));
    let origin = |key: &str| loaded.origins[key].as_str();
    assert_eq!(origin("version"), "built-in");
    assert_eq!(origin("loops.forward_minutes"), "host");
    assert_eq!(origin("inflight.alpaca"), "env/local");
    assert_eq!(origin("inflight.tiingo"), "environment NODE_MAX_INFLIGHT_TIINGO");
    assert_eq!(origin("loops.maintenance"), "flag");
    let plain: Loaded<Edge> = load("edge", BUILTIN, &host_with(&dir.path().join("none"), &[]), None).unwrap();
    assert_ne!(plain.sha256, loaded.sha256);
    assert_eq!(plain.value.mode, Mode::Calm);
}

#[test]
fn unknown_keys_are_errors_with_the_keys_path_and_layer() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "edge.yml", "loops: {forward_minuets: 30}\n");
    let error = load::<Edge>("edge", BUILTIN, &host_with(dir.path(), &[]), None).unwrap_err();
    assert!(error.is(code::CFG_UNKNOWN_KEY), "{error}");
    assert!(error.body().what.contains("loops.forward_minuets"), "{error}");
    assert_eq!(error.body().found.as_deref(), Some("it comes from the layer 'host'"));
    let error = from_yaml::<Edge>(&BUILTIN.replace("inflight: {default: 2", "inflight: {default: two"), "edge.yml").unwrap_err();
    assert!(error.is(code::CFG_VALUE) && error.body().what.contains("inflight.default"), "{error}");
    let error = from_yaml::<Edge>(&format!("{BUILTIN}mode: hasty\n"), "edge.yml").unwrap_err();
    assert!(error.is(code::CFG_UNKNOWN_KEY) && error.body().what.contains("'mode'"), "{error}");
}

#[test]
fn a_machines_config_is_not_read_from_the_drive_and_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let host = host_with(&dir.path().join("home"), &[]);
    let root = DataRoot::create(&host, &dir.path().join("ssd"), "real", crate::root::FsFacts::default(), None).unwrap();
    for name in ["edge", "node"] {
        let path = DataPath::new(format!("control/configs/{name}.yml")).unwrap();
        crate::store::write_atomic(&root, &path, b"loops: {forward_minutes: 99}\n").unwrap();
    }
    assert_eq!(load::<Edge>("edge", BUILTIN, &host, Some(&root)).unwrap().value.loops.forward_minutes, 15);
    let node = load::<Edge>("node", BUILTIN, &host, Some(&root)).unwrap();
    assert_eq!((node.value.loops.forward_minutes, node.origins["loops.forward_minutes"].as_str()), (99, "drive"));
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for i in 1..9 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(yaml_tree(&laughs, "bomb").unwrap_err().is(code::CFG_PARSE));
    assert!(yaml_tree(&"[".repeat(40), "deep").unwrap_err().is(code::CFG_PARSE));
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    assert!(yaml_tree(&deep, "deep").unwrap_err().to_string().contains("levels deep"));
    assert!(yaml_tree(&format!("a: {}", "x".repeat(MAX_BYTES)), "big").is_err());
    assert!(yaml_tree("a: 1\na: 2\n", "twice").is_err());
    assert!(yaml_tree("a: .nan\n", "nan").is_err());
    assert!(yaml_tree("a: !rm x\n", "tag").is_err());
    assert!(yaml_tree("a: 1\n---\nb: 2\n", "two documents").is_err());
    assert_eq!(yaml_tree("# nothing\n", "empty").unwrap(), Value::Null);
}

#[test]
fn symbols_that_look_like_booleans_stay_texts_when_quoted() {
    let tree = yaml_tree("symbols: [\"ON\", \"NO\", \"TRUE\", \"1E5\"]\n", "symbols").unwrap();
    assert_eq!(tree["symbols"], serde_json::json!(["ON", "NO", "TRUE", "1E5"]));
}
