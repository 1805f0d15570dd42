//! Steering a running sandbox over its `/_world` calls. Every answer also sets a world-following host clock.

use super::clock::ClockFace;
pub use super::world_api::WorldInfo;
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::time::UtcTime;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The sandbox's address, from the environment that it gave to its users; `None` when it is no sandbox's.
pub fn base_from(env: &BTreeMap<String, String>) -> Option<String> {
    let base = env.get("TRADEML_BASE_URL_ALPACA_DATA")?.strip_suffix("/alpaca_data")?;
    Some(base.to_string())
}

/// What world is served, and when it is.
pub async fn world(host: &Host, base: &str) -> Result<WorldInfo> {
    let info: WorldInfo = send(host.http().get(format!("{base}/_world"))).await?;
    host.set_world_time(info.now);
    Ok(info)
}

/// What the world clock says.
pub async fn clock(host: &Host, base: &str) -> Result<ClockFace> {
    let face: ClockFace = send(host.http().get(format!("{base}/_world/clock"))).await?;
    host.set_world_time(face.now);
    Ok(face)
}

/// Move the world clock to an instant. Backwards is refused (`HOST_CLOCK`).
pub async fn advance(host: &Host, base: &str, to: UtcTime) -> Result<ClockFace> {
    move_clock(host, base, json!({ "to": to })).await
}

/// Move the world clock by a word: `next_open`, `next_close`, `next_session` or `PT15M`.
pub async fn advance_by(host: &Host, base: &str, word: &str) -> Result<ClockFace> {
    move_clock(host, base, json!({ "advance": word })).await
}

/// Replace the fault plan with this YAML.
pub async fn set_faults(host: &Host, base: &str, plan: &str) -> Result<()> {
    let _: Value = send(host.http().post(format!("{base}/_world/faults")).body(plan.to_string())).await?;
    Ok(())
}

async fn move_clock(host: &Host, base: &str, body: Value) -> Result<ClockFace> {
    let face: ClockFace = send(host.http().post(format!("{base}/_world/clock")).body(body.to_string())).await?;
    host.set_world_time(face.now);
    Ok(face)
}

async fn send<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T> {
    let gone = |e: reqwest::Error| {
        Error::new(code::NET_UNREACHABLE, "the sandbox does not answer").cause(e.without_url().to_string()).fix("start it again: trademl sandbox")
    };
    let response = request.send().await.map_err(gone)?;
    let status = response.status();
    let body = response.bytes().await.map_err(gone)?;
    if !status.is_success() {
        let said = serde_json::from_slice::<Value>(&body).ok().and_then(|v| v.get("message").and_then(Value::as_str).map(str::to_string));
        let code = if status.as_u16() == 409 { code::HOST_CLOCK } else { code::USE_ARGUMENT };
        return Err(Error::new(code, "the sandbox refused").cause(said.unwrap_or_else(|| status.to_string())));
    }
    serde_json::from_slice(&body).map_err(|e| Error::new(code::NET_MALFORMED, "the sandbox's answer is not its format").cause(e.to_string()))
}
