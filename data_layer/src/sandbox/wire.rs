//! A request and an answer as values, so that every dialect is a pure function from one to the other.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One request as a dialect sees it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// First part of the path: `alpaca_data`, `alpaca_trading`, `alpha_vantage`, `_world`.
    pub vendor: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// The vendor's own path, from its first `/`.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Call {
    /// A non-empty query parameter.
    pub fn arg(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
    /// Comma-separated values of a parameter; empty when it is absent.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.arg(name).map(|v| v.split(',').map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect()).unwrap_or_default()
    }
    /// A whole number within bounds, or the default when absent; `Err` carries the parameter's name.
    pub fn number(&self, name: &str, default: usize, max: usize) -> Result<usize, String> {
        match self.arg(name) {
            None => Ok(default),
            Some(text) => text.parse::<usize>().ok().filter(|n| (1..=max).contains(n)).ok_or_else(|| name.to_string()),
        }
    }
    /// The parts of the path between slashes.
    pub fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|s| !s.is_empty()).collect()
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(status: u16, value: &Value) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body: value.to_string().into_bytes() }
    }
    pub fn ok(value: &Value) -> Self {
        Self::json(200, value)
    }
    pub fn text(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into() }
    }
    /// `{"message": …}`: the market-data API's form of an error.
    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }
    /// `{"code": …, "message": …}`: the trading API's form of an error.
    pub fn coded(status: u16, code: u32, message: &str) -> Self {
        Self::json(status, &json!({ "code": code, "message": message }))
    }
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_string(), value.into()));
        self
    }
    /// The body parsed back, for tests and for faults that rewrite it.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Decimal text as the vendor writes amounts: at most nine places, no trailing zeros, never `-0`.
pub fn decimal(x: f64) -> String {
    let text = format!("{x:.9}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_string() }
}

/// Money rounded to a hundredth of a cent.
pub fn money(x: f64) -> String {
    decimal((x * 1e4).round() / 1e4)
}
