//! One server, and the few calls of its REST API that the copy needs.

use super::credentials;
use data_layer::error::Result;
use data_layer::host::Host;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::time::Duration;

/// A server that is up answers this soon.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// Later may be better: no connection, a fault of the server, wrong credentials.
    Away(String),
    /// The server understood and said no.
    Refused { code: String, what: String },
}

pub(super) type Answer<T> = std::result::Result<T, Failure>;

pub(super) enum Credentials {
    Password(String, SecretString),
    Token(SecretString),
}

/// What is sent.
enum Body {
    Nothing,
    Json(Value),
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

pub(super) struct Server {
    host: Host,
    base: String,
    credentials: Option<Credentials>,
}

impl Server {
    pub(super) fn new(host: &Host, address: &str) -> Result<Self> {
        Ok(Self { host: host.clone(), base: address.trim_end_matches('/').to_string(), credentials: credentials(host) })
    }

    pub(super) fn address(&self) -> &str {
        &self.base
    }

    /// Whether anybody answers at all, asked before the first real call so that a dead server costs seconds.
    pub(super) fn is_up(&self) -> Answer<()> {
        self.call(Verb::Get, "/health", Body::Nothing, FIRST_ANSWER).map(drop)
    }

    pub(super) fn get(&self, path: &str) -> Answer<Value> {
        self.api(Verb::Get, path, Body::Nothing)
    }

    pub(super) fn post(&self, path: &str, body: Value) -> Answer<Value> {
        self.api(Verb::Post, path, Body::Json(body))
    }

    pub(super) fn delete(&self, path: &str, body: Value) -> Answer<Value> {
        self.api(Verb::Delete, path, Body::Json(body))
    }

    fn api(&self, verb: Verb, path: &str, body: Body) -> Answer<Value> {
        let text = self.call(verb, &format!("/api/2.0/mlflow/{path}"), body, TIMEOUT)?;
        serde_json::from_str(&text).map_err(|_| Failure::Away(text!("{path}: the answer is not JSON; is {} an MLflow server?", self.base)))
    }

    /// Put a file below a run's artifacts. The same file again replaces itself.
    pub(super) fn upload(&self, artifact_path: &str, bytes: Vec<u8>) -> Answer<()> {
        self.call(Verb::Put, &format!("/api/2.0/mlflow-artifacts/artifacts/{artifact_path}"), Body::Bytes(bytes), TIMEOUT).map(drop)
    }

    fn call(&self, verb: Verb, path: &str, body: Body, limit: Duration) -> Answer<String> {
        if self.host.is_offline() {
            return Err(Failure::Away("this run is offline".into()));
        }
        let url = format!("{}{path}", self.base);
        let http = self.host.http();
        let mut request = match verb {
            Verb::Get => http.get(url),
            Verb::Post => http.post(url),
            Verb::Put => http.put(url),
            Verb::Delete => http.delete(url),
        }
        .timeout(limit);
        request = match &self.credentials {
            None => request,
            Some(Credentials::Password(user, password)) => request.basic_auth(user, Some(password.expose_secret())),
            Some(Credentials::Token(token)) => request.bearer_auth(token.expose_secret()),
        };
        request = match body {
            Body::Nothing => request,
            Body::Json(value) => request.json(&value),
            Body::Bytes(bytes) => request.header("content-type", "application/octet-stream").body(bytes),
        };
        let asked = async {
            let answer = request.send().await.map_err(|_| Failure::Away(text!("{} did not answer", self.base)))?;
            let status = answer.status().as_u16();
            let text = answer.text().await.map_err(|_| Failure::Away(text!("{} broke off its answer", self.base)))?;
            Ok::<_, Failure>((status, text))
        };
        let (status, text) = self.host.block_on(asked).map_err(|e| Failure::Away(e.to_string()))??;
        judge(status, text)
    }
}

/// MLflow's errors are `{"error_code", "message"}` with a status of 4xx or 5xx.
fn judge(status: u16, text: String) -> Answer<String> {
    let said = || serde_json::from_str::<Value>(&text).unwrap_or_default();
    let word = |key: &str| said()[key].as_str().map(|s| s.chars().take(300).collect::<String>());
    match status {
        200..=299 => Ok(text),
        401 | 403 => Err(Failure::Away(text!("the server refuses the credentials (status {status})"))),
        // A route that is not there belongs to something that is no MLflow server, or to one that is being set up.
        400..=499 if status != 408 && status != 429 && word("error_code").is_some() => {
            Err(Failure::Refused { code: word("error_code").unwrap_or_default(), what: word("message").unwrap_or_else(|| text!("status {status}")) })
        }
        _ => Err(Failure::Away(text!("the server answers with status {status}"))),
    }
}

/// What exists already is as good as made.
pub(super) fn or_existing(answer: Answer<Value>) -> Answer<Value> {
    match answer {
        Err(Failure::Refused { code, .. }) if code == "RESOURCE_ALREADY_EXISTS" => Ok(json!({})),
        other => other,
    }
}

/// What does not exist is nothing, not a failure.
pub(super) fn or_absent(answer: Answer<Value>) -> Answer<Option<Value>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Refused { code, .. }) if code == "RESOURCE_DOES_NOT_EXIST" => Ok(None),
        Err(other) => Err(other),
    }
}
