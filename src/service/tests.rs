use super::source::Weights;
use super::*;
use crate::execution::broker::fake::{evening, host_at};
use data_layer::error::{Error, Result, code};
use proptest::prelude::*;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Default)]
struct Fake {
    version: Mutex<String>,
    reversed: AtomicBool,
    scored: AtomicUsize,
    events: Mutex<Vec<String>>,
}

impl SignalSource for Fake {
    fn champion(&self) -> Result<Option<Champion>> {
        let version = self.version.lock().unwrap().clone();
        Ok((!version.is_empty()).then(|| Champion {
            strategy: "equities_xs".into(),
            sha256: format!("sha-{version}"),
            version,
            metrics: json!({}),
            config: json!({}),
            activated_at: None,
            feature_set: "v1".into(),
            top_n: 2,
            bottom_n: 2,
        }))
    }
    fn latest(&self) -> Result<TradingDay> {
        "2017-11-30".parse()
    }
    fn not_green(&self, asof: TradingDay) -> Result<Option<String>> {
        Ok((asof > "2017-11-30".parse().unwrap()).then(|| "it has not happened yet".to_string()))
    }
    fn data_snapshot(&self) -> Result<String> {
        Ok("snap".into())
    }
    fn stop_trading(&self, operator: &str, reason: &str) -> Result<()> {
        self.record("stop", operator, reason, &json!({}))
    }
    fn universe(&self, _asof: TradingDay) -> Result<Universe> {
        Ok(Universe { id: "u".into(), symbols: (0..60).map(|i| format!("S{i:02}")).collect() })
    }
    fn score_all(&self, champion: &Champion, asof: TradingDay) -> Result<ScoreDay> {
        self.scored.fetch_add(1, Ordering::SeqCst);
        let sign = if champion.version == "v2" && self.reversed.load(Ordering::SeqCst) { -1.0 } else { 1.0 };
        let universe = self.universe(asof)?;
        let scores = universe.symbols.iter().skip(1).enumerate().map(|(i, s)| (s.clone(), sign * (i as f64 - 29.0))).collect();
        let excluded = vec![("S00".into(), "no volume".into())];
        Ok(ScoreDay { asof, universe, scores, excluded, exposure: 1.0, data_snapshot: "snap".into() })
    }
    fn verify(&self, champion: &Champion) -> Result<()> {
        if champion.version == "broken" { Err(Error::new(code::ML_ARTIFACT, "the digest differs")) } else { Ok(()) }
    }
    fn weights(&self, scores: &[(String, f64)], top_n: usize, bottom_n: usize) -> Result<Weights> {
        let mut order: Vec<&(String, f64)> = scores.iter().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut weights: std::collections::BTreeMap<String, f64> = order.iter().take(top_n).map(|s| (s.0.clone(), 1.0 / top_n as f64)).collect();
        weights.extend(order.iter().rev().take(bottom_n).map(|s| (s.0.clone(), -1.0 / bottom_n as f64)));
        Ok(Weights { weights, notes: vec![] })
    }
    fn record(&self, event: &str, operator: &str, _reason: &str, _detail: &serde_json::Value) -> Result<()> {
        self.events.lock().unwrap().push(format!("{event} by {operator}"));
        Ok(())
    }
}

const TOKEN: &str = "a-token-of-some-length";

struct Client {
    host: Host,
    base: String,
    token: bool,
}

impl Client {
    /// Status and JSON (or text) of a call.
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let url = format!("{}{path}", self.base);
        let client = self.host.http();
        let request = if method == "POST" { client.post(url).body(body.to_string()) } else { client.get(url) };
        let request = if self.token { request.header("authorization", format!("Bearer {TOKEN}")) } else { request };
        self.host
            .block_on(async {
                let response = request.send().await.unwrap();
                let status = response.status().as_u16();
                let text = response.text().await.unwrap();
                (status, serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
            })
            .unwrap()
    }
    fn generate(&self, body: &serde_json::Value) -> (u16, serde_json::Value) {
        self.call("POST", "/api/v1/signals/generate", &body.to_string())
    }
}

fn service(version: &str) -> (Arc<Fake>, Arc<ServiceState>, Client) {
    let host = host_at(evening(), None);
    let source = Arc::new(Fake { version: Mutex::new(version.to_string()), ..Fake::default() });
    let state = ServiceState::new(&host, "equities_xs", Arc::clone(&source) as Arc<dyn SignalSource>);
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let app = http::router(loopback, Some(TOKEN.to_string().into()), Arc::clone(&state)).unwrap();
    let base = host
        .block_on(async {
            let listener = tokio::net::TcpListener::bind(loopback).await.unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await });
            base
        })
        .unwrap();
    drop(state.reload(None));
    (source, Arc::clone(&state), Client { host, base, token: true })
}

#[test]
fn a_symbol_asked_for_alone_gets_the_same_answer_as_among_all() {
    let (source, _state, client) = service("v1");
    let (status, one) = client.generate(&json!({"symbols": ["S59"]}));
    assert_eq!(status, 200, "{one}");
    let (_, all) = client.generate(&json!({"symbols": ["S05", "S59", "S58", "S01", "S59"], "as_of_date": "2017-11-30"}));
    assert_eq!(one["signals"][0], all["signals"][3]);
    assert_eq!(all["signals"].as_array().unwrap().len(), 4);
    assert_eq!(one["signals"][0]["rank"], 1);
    assert_eq!(one["signals"][0]["target_weight"], 0.5);
    assert_eq!(one["signals"][0]["expected_return"], serde_json::Value::Null);
    assert_eq!(one["metadata"]["n_scored"], 59);
    assert_eq!(one["metadata"]["excluded"][0]["symbol"], "S00");
    assert_eq!(source.scored.load(Ordering::SeqCst), 1, "the scored day is kept");
}

#[test]
fn requests_that_cannot_be_answered_are_refused_in_json() {
    let (_source, _state, client) = service("v1");
    let cases = [
        (json!({"symbols": []}), 400),
        (json!({"symbols": ["S01"], "colour": "red"}), 400),
        (json!({"symbols": ["S01"], "as_of_date": "30/11/2017"}), 400),
        (json!({"symbols": ["S01"], "top_n": 50, "bottom_n": 50}), 400),
        (json!({"symbols": ["S00"]}), 404),
        (json!({"symbols": ["NONE"]}), 404),
        (json!({"symbols": ["S01"], "as_of_date": "2017-12-01"}), 422),
    ];
    for (body, wanted) in cases {
        let (status, answer) = client.generate(&body);
        assert_eq!(status, wanted, "{body} -> {answer}");
        assert!(answer["error"]["code"].as_str().unwrap().starts_with("TML-"));
    }
    assert_eq!(client.call("POST", "/api/v1/signals/generate", "not json").0, 400);
    let big = format!("{{\"symbols\": [\"{}\"]}}", "A".repeat(1 << 20));
    assert_eq!(client.call("POST", "/api/v1/signals/generate", &big).0, 413);
    assert_eq!(client.call("GET", "/nowhere", "").0, 404);
    assert_eq!(client.call("GET", "/api/v1/signals/generate", "").0, 405);
}

#[test]
fn without_a_model_it_is_up_and_not_ready() {
    let (_source, _state, client) = service("");
    assert_eq!(client.call("GET", "/health", "").0, 200);
    let (status, answer) = client.call("GET", "/ready", "");
    assert_eq!((status, &answer["ready"]), (503, &json!(false)));
    assert_eq!(client.generate(&json!({"symbols": ["S01"]})).0, 503);
    assert_eq!(client.call("GET", "/api/v1/model/info", "").0, 503);
    assert_eq!(client.call("POST", "/api/v1/model/rollback", r#"{"operator":"me","reason":"x"}"#).0, 409);
}

#[test]
fn every_route_but_health_needs_the_token_and_an_open_address_needs_one_at_all() {
    let (_source, state, mut client) = service("v1");
    client.token = false;
    assert_eq!(client.call("GET", "/health", "").0, 200);
    for path in ["/", "/ready", "/metrics", "/openapi.json", "/api/v1/model/info"] {
        assert_eq!(client.call("GET", path, "").0, 401, "{path}");
    }
    let open: SocketAddr = "0.0.0.0:8001".parse().unwrap();
    assert!(http::router(open, None, Arc::clone(&state)).unwrap_err().is(code::SVC_BIND));
    assert!(http::router(open, Some("short".to_string().into()), state).is_err());
}

#[test]
fn a_reload_that_fails_its_validation_keeps_the_old_model_until_somebody_overrides() {
    let (source, state, client) = service("v1");
    *source.version.lock().unwrap() = "v2".into();
    source.reversed.store(true, Ordering::SeqCst);
    let (status, answer) = client.call("POST", "/api/v1/model/reload", "");
    assert_eq!(status, 409, "{answer}");
    assert_eq!(client.call("GET", "/api/v1/model/info", "").1["version"], "v1");
    assert_eq!(client.call("GET", "/ready", "").0, 503);
    assert_eq!(client.call("POST", "/api/v1/model/reload", r#"{"override":true}"#).0, 400);
    let (status, answer) = client.call("POST", "/api/v1/model/reload", r#"{"override":true,"operator":"me","reason":"wanted"}"#);
    assert_eq!((status, &answer["previous_version"]), (200, &json!("v1")), "{answer}");
    assert_eq!(source.events.lock().unwrap().last().unwrap(), "reload by me");
    let (status, answer) = client.call("POST", "/api/v1/model/rollback", r#"{"operator":"me","reason":"bad"}"#);
    assert_eq!((status, &answer["version"], &answer["previous_version"]), (200, &json!("v1"), &json!("v2")));
    assert!(state.poll().unwrap().is_none(), "the poll does not bring a rolled-back version again");
    *source.version.lock().unwrap() = "broken".into();
    assert!(state.poll().is_err());
    assert_eq!(client.generate(&json!({"symbols": ["S01"]})).1["metadata"]["model_version"], "v1");
    assert!(client.call("GET", "/metrics", "").1.as_str().unwrap().contains("trademl_model_rollbacks_total 1"));
}

#[test]
fn no_answer_mixes_versions_while_models_are_swapped() {
    let (source, state, client) = service("v1");
    for n in 0..20 {
        *source.version.lock().unwrap() = format!("w{n}");
        state.reload(None).unwrap();
        let (status, answer) = client.generate(&json!({"symbols": ["S10"]}));
        assert_eq!(status, 200);
        let version = answer["metadata"]["model_version"].as_str().unwrap().to_string();
        assert_eq!(answer["metadata"]["model_sha256"], format!("sha-{version}"));
    }
}

#[test]
fn serve_ends_when_the_host_is_cancelled() {
    let host = host_at(evening(), None);
    let source = Arc::new(Fake::default());
    let state = ServiceState::new(&host, "equities_xs", source as Arc<dyn SignalSource>);
    host.cancel(15);
    host.block_on(serve(&host, "127.0.0.1:0".parse().unwrap(), None, state)).unwrap().unwrap();
}

proptest! {
    #[test]
    fn rank_percentages_stay_inside_0_and_1_and_follow_the_scores(values in prop::collection::vec(-5i32..5, 1..60)) {
        let scores: Vec<(String, f64)> = values.iter().enumerate().map(|(i, v)| (format!("S{i}"), f64::from(*v))).collect();
        let ranked = signals::ranks(&scores);
        for (a, (rank_a, pct_a)) in scores.iter().zip(&ranked) {
            prop_assert!(*pct_a > 0.0 && *pct_a < 1.0 && *rank_a >= 1);
            for (b, (rank_b, pct_b)) in scores.iter().zip(&ranked) {
                prop_assert_eq!(a.1 > b.1, pct_a > pct_b);
                prop_assert_eq!(a.1 > b.1, rank_a < rank_b);
            }
        }
    }
}
