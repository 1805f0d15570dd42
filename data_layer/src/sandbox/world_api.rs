//! `/_world`: what a test or the demo steers the sandbox with. Not a vendor; needs no key.

use super::State;
use super::clock::{face, target};
use super::faults::Plan;
use super::wire::{Call, Reply};
use crate::error::{Error, Result, code};
use crate::time::{TradingDay, UtcTime, new_york};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// What `GET /_world` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldInfo {
    pub dataset: String,
    pub seed: u64,
    pub now: UtcTime,
    /// The session in progress, else the last one that closed.
    pub session: TradingDay,
    /// First and last day with a bar.
    pub first: TradingDay,
    pub last: TradingDay,
    pub symbols: u64,
    /// `raw` or `split`.
    pub adjusted: String,
    pub known_bias: String,
    /// `active`, or `not_entitled` when the world holds no such data.
    pub lanes: BTreeMap<String, String>,
    /// The first day with minute bars; null where the world has none.
    #[serde(default)]
    pub minutes_from: Option<TradingDay>,
    /// Lines of the fault plan.
    pub faults: u64,
}

/// The body of `POST /_world/clock`: exactly one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    to: Option<UtcTime>,
    advance: Option<String>,
}

/// Answer one steering call.
pub fn answer(state: &State, call: &Call) -> Result<Reply> {
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "" | "/") => Ok(Reply::ok(&serde_json::to_value(info(state)?)?)),
        ("GET", "/clock") => Ok(Reply::ok(&serde_json::to_value(face(state.now())?)?)),
        ("POST", "/clock") => move_clock(state, call),
        ("GET", "/calls") => Ok(Reply::ok(&json!({"calls": state.calls.all()?}))),
        ("POST", "/faults") => replace_faults(state, call),
        _ => Ok(Reply::message(404, "the sandbox serves GET /_world, GET and POST /_world/clock, GET /_world/calls, POST /_world/faults")),
    }
}

/// The world as it stands.
pub fn info(state: &State) -> Result<WorldInfo> {
    let now = state.now();
    let world = &state.world;
    let lane = |name: &str, on: bool| (name.to_string(), if on { "active" } else { "not_entitled" }.to_string());
    Ok(WorldInfo {
        dataset: world.dataset(),
        seed: state.seed,
        now,
        session: face(now)?.session,
        first: world.first,
        last: world.last,
        symbols: world.series.len() as u64,
        adjusted: world.about.adjusted.clone(),
        known_bias: world.about.known_bias.clone(),
        lanes: BTreeMap::from([
            lane("equities_eod", true),
            lane("equities_minute", world.minutes_from.is_some_and(|d| d <= now.day_in(&new_york()))),
            lane("corp_actions", true),
            lane("listings", true),
            lane("macros_fred", !world.macros.is_empty()),
            lane("index_membership", !world.stays.is_empty()),
            lane("fundamentals", !world.companies.is_empty()),
            lane("treasury", world.macros.iter().any(|m| m.series.starts_with("BC_"))),
        ]),
        minutes_from: world.minutes_from,
        faults: state.plan()?.len() as u64,
    })
}

fn move_clock(state: &State, call: &Call) -> Result<Reply> {
    let refuse = |e: &Error| Ok(Reply::message(422, &e.body().what));
    let wanted: Move = match serde_json::from_slice(&call.body) {
        Ok(wanted) => wanted,
        Err(e) => return Ok(Reply::message(422, &format!("the body is not {{\"to\": …}} or {{\"advance\": …}}: {e}"))),
    };
    let to = match (wanted.to, wanted.advance) {
        (Some(to), None) => to,
        (None, Some(word)) => match target(state.now(), &word) {
            Ok(to) => to,
            Err(e) => return refuse(&e),
        },
        _ => return Ok(Reply::message(422, "give either \"to\" or \"advance\"")),
    };
    if let Err(e) = face(to) {
        return refuse(&e);
    }
    match state.advance(to) {
        Ok(()) => Ok(Reply::ok(&serde_json::to_value(face(state.now())?)?)),
        Err(e) if e.is(code::HOST_CLOCK) => Ok(Reply::message(409, &e.body().what)),
        Err(e) => Err(e),
    }
}

fn replace_faults(state: &State, call: &Call) -> Result<Reply> {
    match Plan::parse(&String::from_utf8_lossy(&call.body)) {
        Ok(plan) => {
            let lines = plan.len();
            *state.plan()? = plan;
            Ok(Reply::ok(&json!({ "faults": lines })))
        }
        Err(e) => Ok(Reply::message(422, &e.to_string())),
    }
}
