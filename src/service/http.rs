//! Routes, limits and the token. Errors are the JSON form of the program's one error type.

use super::reload::Override;
use super::signals::GenerateRequest;
use super::{POLL_S, ServiceState};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_layer::error::{Error, Exit, Result, code};
use data_layer::host::Host;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const MAX_BODY_BYTES: usize = 1 << 20;
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Listen on `addr` until the host is cancelled. Beyond loopback a token of at least 16 characters is required.
pub async fn serve(host: &Host, addr: SocketAddr, token: Option<SecretString>, state: Arc<ServiceState>) -> Result<()> {
    let app = router(addr, token, Arc::clone(&state))?;
    let listener = tokio::net::TcpListener::bind(addr)
        .await
        .map_err(|e| Error::new(code::SVC_BIND, format!("cannot listen on {addr}")).cause(e.to_string()).fix("choose another port: --port N"))?;
    first_load(&state).await;
    let poller = tokio::spawn(poll(host.clone(), Arc::clone(&state)));
    let stop = host.clone();
    let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    poller.abort();
    served.map_err(|e| Error::new(code::HOST_SYSTEM, "the service stopped").cause(e.to_string()))
}

/// The routes for an address; refuses an open address without a token.
pub fn router(addr: SocketAddr, token: Option<SecretString>, state: Arc<ServiceState>) -> Result<Router> {
    let strong = token.as_ref().is_some_and(|t| t.expose_secret().len() >= 16);
    if !addr.ip().is_loopback() && !strong {
        return Err(Error::new(code::SVC_BIND, format!("{addr} can be reached from outside, and there is no token of at least 16 characters"))
            .fix("listen on 127.0.0.1, or set TRADEML_SERVICE_TOKEN"));
    }
    // Only the digest of the token is kept: comparing digests takes the same time for every guess.
    let wanted = token.map(|t| <[u8; 32]>::from(Sha256::digest(t.expose_secret().as_bytes())));
    let app = Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/", get(index))
        .route("/api/v1/signals/generate", post(generate))
        .route("/api/v1/model/info", get(model_info))
        .route("/api/v1/model/reload", post(reload))
        .route("/api/v1/model/rollback", post(rollback))
        .route("/api/v1/paper/stop", post(stop_trading))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { ([("content-type", "application/json")], OPENAPI) }))
        .fallback(|| async { failure(&Error::new(code::SVC_REQUEST, "there is no such route"), StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { failure(&Error::new(code::SVC_REQUEST, "this route has another method"), StatusCode::METHOD_NOT_ALLOWED) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), move |s, h, r, n| guard(wanted, s, h, r, n)))
        .with_state(state);
    Ok(app)
}

/// The description of all routes (OpenAPI 3); `make readers` checks real answers against it.
const OPENAPI: &str = include_str!("../../docs/reference/openapi.json");

async fn first_load(state: &Arc<ServiceState>) {
    let s = Arc::clone(state);
    // Without a model the service is up and not ready; the reason is in /ready.
    drop(tokio::task::spawn_blocking(move || s.reload(None)).await);
}

async fn poll(host: Host, state: Arc<ServiceState>) {
    loop {
        // Real time on purpose: a simulated clock would jump ahead and spin here.
        tokio::time::sleep(Duration::from_secs(POLL_S)).await;
        if host.is_cancelled() {
            return;
        }
        let s = Arc::clone(&state);
        drop(tokio::task::spawn_blocking(move || s.poll()).await);
    }
}

/// Token, time limit and the count of answers, around every route.
async fn guard(wanted: Option<[u8; 32]>, State(state): State<Arc<ServiceState>>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let started = state.host.now();
    let open = request.uri().path() == "/health";
    let response = if open || wanted.is_none_or(|w| authorised(&headers, &w)) {
        let late = || failure(&Error::new(code::SVC_REQUEST, "the request took longer than 10 s"), StatusCode::GATEWAY_TIMEOUT);
        tokio::time::timeout(TIME_LIMIT, next.run(request)).await.unwrap_or_else(|_| late())
    } else {
        failure(&Error::new(code::SVC_REQUEST, "a valid token is needed").fix("send the header: Authorization: Bearer TOKEN"), StatusCode::UNAUTHORIZED)
    };
    let millis = (state.host.now().seconds_since(started) * 1e3).max(0.0) as u64;
    state.metrics.answered(response.status().as_u16(), millis);
    response
}

/// Constant time: both sides are digests, and every byte is looked at.
fn authorised(headers: &HeaderMap, wanted: &[u8; 32]) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer ")).unwrap_or("");
    let given = <[u8; 32]>::from(Sha256::digest(given.as_bytes()));
    given.iter().zip(wanted).fold(0u8, |acc, (a, b)| acc | (a ^ b)) == 0
}

/// The JSON form of an error.
pub fn error_json(error: &Error) -> Value {
    let b = error.body();
    json!({"code": b.code.id, "what": b.what, "cause": b.cause, "found": b.found, "fix": b.fix, "docs": format!("docs/errors/{}.md", b.code.id), "log": "logs/"})
}

fn failure(error: &Error, status: StatusCode) -> Response {
    (status, axum::Json(json!({"error": error_json(error)}))).into_response()
}

/// The status that an error has over HTTP.
fn status_of(error: &Error) -> StatusCode {
    let c = error.code();
    if c == code::SVC_REQUEST {
        StatusCode::BAD_REQUEST
    } else if c == code::DATA_MISSING {
        StatusCode::NOT_FOUND
    } else if c == code::GATE_GREEN || c == code::ML_UNDEFINED {
        StatusCode::UNPROCESSABLE_ENTITY
    } else if c == code::GATE_REFUSED || c == code::ML_ARTIFACT {
        StatusCode::CONFLICT
    } else if c == code::ML_NO_CHAMPION {
        StatusCode::SERVICE_UNAVAILABLE
    } else if c.exit == Exit::Bug {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn answer(result: Result<Value>) -> Response {
    match result {
        Ok(value) => axum::Json(value).into_response(),
        Err(e) => failure(&e, status_of(&e)),
    }
}

/// Parse a body strictly. An empty body is an empty object.
#[allow(clippy::result_large_err)] // the refusal is the answer itself
fn parse<T: DeserializeOwned>(body: std::result::Result<Bytes, BytesRejection>) -> std::result::Result<T, Response> {
    let bytes = body.map_err(|e| failure(&Error::new(code::SVC_REQUEST, "the body cannot be taken").cause(e.body_text()), e.status()))?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text)
        .map_err(|e| failure(&Error::new(code::SVC_REQUEST, "the body is not what this route takes").cause(e.to_string()), StatusCode::BAD_REQUEST))
}

/// Run blocking work off the server's threads.
async fn blocking(f: impl FnOnce() -> Result<Value> + Send + 'static) -> Response {
    let done = tokio::task::spawn_blocking(f).await;
    answer(done.unwrap_or_else(|_| Err(Error::bug("a request's work died"))))
}

fn no_model(state: &ServiceState) -> Error {
    Error::new(code::ML_NO_CHAMPION, format!("no model of {} is loaded", state.strategy)).fix("trademl train")
}

async fn health() -> Response {
    axum::Json(json!({"status": "up"})).into_response()
}

async fn ready(State(state): State<Arc<ServiceState>>) -> Response {
    let reasons = tokio::task::spawn_blocking(move || state.reasons_not_ready()).await.unwrap_or_else(|_| vec!["the check died".into()]);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({"ready": reasons.is_empty(), "reasons": reasons}))).into_response()
}

fn info(state: &ServiceState) -> Option<Value> {
    let served = state.served.load_full()?;
    let c = &served.champion;
    let problem = state.reload.lock().ok().and_then(|r| r.problem.clone());
    Some(json!({"strategy": c.strategy, "version": c.version, "sha256": c.sha256, "metrics": c.metrics, "config": c.config, "activated_at": c.activated_at,
        "loaded_at": served.loaded_at, "shadow_report": served.validation, "reload_problem": problem}))
}

async fn index(State(state): State<Arc<ServiceState>>) -> Response {
    let info = info(&state);
    let status = if info.is_some() { "serving" } else { "not ready" };
    let last = state.served.load().as_ref().map(|s| s.loaded_at);
    let uptime = state.host.now().seconds_since(state.started_at);
    axum::Json(json!({"status": status, "model_info": info, "last_reload": last, "uptime_s": uptime})).into_response()
}

async fn generate(State(state): State<Arc<ServiceState>>, body: std::result::Result<Bytes, BytesRejection>) -> Response {
    let request: GenerateRequest = match parse(body) {
        Ok(r) => r,
        Err(response) => return response,
    };
    let Some(served) = state.served.load_full() else { return answer(Err(no_model(&state))) };
    blocking(move || state.generate(&served, &request)).await
}

async fn model_info(State(state): State<Arc<ServiceState>>) -> Response {
    answer(info(&state).ok_or_else(|| no_model(&state)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadRequest {
    #[serde(default, rename = "override")]
    force: bool,
    operator: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedRequest {
    operator: String,
    reason: String,
}

async fn reload(State(state): State<Arc<ServiceState>>, body: std::result::Result<Bytes, BytesRejection>) -> Response {
    let request: ReloadRequest = match parse(body) {
        Ok(r) => r,
        Err(response) => return response,
    };
    let named = |s: Option<String>| s.filter(|t| !t.trim().is_empty());
    let force = match (request.force, named(request.operator), named(request.reason)) {
        (false, _, _) => None,
        (true, Some(operator), Some(reason)) => Some(Override { operator, reason }),
        (true, _, _) => return answer(Err(Error::new(code::SVC_REQUEST, "an override needs an operator and a reason"))),
    };
    blocking(move || {
        let r = state.reload(force.as_ref())?;
        Ok(json!({"reloaded": r.reloaded, "version": r.version, "previous_version": r.previous_version, "validation": r.validation, "message": r.message}))
    })
    .await
}

async fn rollback(State(state): State<Arc<ServiceState>>, body: std::result::Result<Bytes, BytesRejection>) -> Response {
    let request: SignedRequest = match parse(body) {
        Ok(r) => r,
        Err(response) => return response,
    };
    if request.operator.trim().is_empty() || request.reason.trim().is_empty() {
        return answer(Err(Error::new(code::SVC_REQUEST, "a rollback needs an operator and a reason")));
    }
    blocking(move || {
        let (version, previous_version) = state.rollback(&request.operator, &request.reason)?;
        Ok(json!({"version": version, "previous_version": previous_version}))
    })
    .await
}

/// The panic button. It only ever stops; nothing here lets an order through again.
async fn stop_trading(State(state): State<Arc<ServiceState>>, body: std::result::Result<Bytes, BytesRejection>) -> Response {
    let request: SignedRequest = match parse(body) {
        Ok(r) => r,
        Err(response) => return response,
    };
    if request.operator.trim().is_empty() || request.reason.trim().is_empty() {
        return answer(Err(Error::new(code::SVC_REQUEST, "a stop needs an operator and a reason")));
    }
    blocking(move || {
        state.source.stop_trading(&request.operator, &request.reason)?;
        Ok(json!({"stopped": true, "reset": "trademl paper reset"}))
    })
    .await
}

async fn metrics(State(state): State<Arc<ServiceState>>) -> Response {
    state.metrics.text().into_response()
}
