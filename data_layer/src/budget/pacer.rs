//! The limiter for second and minute windows.

use super::{Per, WindowSpec};
use crate::error::Result;
use crate::host::Host;
use crate::time::UtcTime;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A call as it was sent, or is about to be: its number, when, its weight.
type Call = (u64, UtcTime, u64);

/// One vendor's calls of the last moments.
#[derive(Default)]
struct Lane {
    /// One call at a time waits for room; those behind it wait for their turn.
    turn: tokio::sync::Mutex<u64>,
    sent: Mutex<VecDeque<Call>>,
}

impl Lane {
    fn sent(&self) -> std::sync::MutexGuard<'_, VecDeque<Call>> {
        self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The in-process limiter for second and minute windows: one per vendor, so a slow vendor holds up nobody else.
#[derive(Default)]
pub struct Pacer(Mutex<BTreeMap<String, Arc<Lane>>>);

/// A place in the windows, taken by [`Pacer::admit`]: its number and its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64, u64);

impl Pacer {
    fn of(&self, vendor: &str) -> Arc<Lane> {
        let mut map = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.entry(vendor.to_string()).or_default().clone()
    }

    /// Wait until every short window has room, then count the call. Exact: no span of a window's length ever holds
    /// more than its cap.
    pub async fn admit(&self, host: &Host, vendor: &str, specs: &[WindowSpec], weight: u64) -> Result<Ticket> {
        let lane = self.of(vendor);
        let mut turn = lane.turn.lock().await;
        loop {
            host.check_cancelled()?;
            let now = host.now();
            let longest = specs.iter().map(|s| s.per.seconds()).max().unwrap_or(0);
            let wait = {
                let mut sent = lane.sent();
                // A stamp after now comes from before the clock was set back.
                sent.retain(|(_, at, _)| *at <= now && now.seconds_since(*at) < longest as f64);
                let wait = specs.iter().filter_map(|s| wait_for(&sent, now, *s, weight)).max();
                if wait.is_none() {
                    *turn += 1;
                    sent.push_back((*turn, now, weight));
                }
                wait
            };
            let Some(wait) = wait else { return Ok(Ticket(*turn, weight)) };
            host.sleep(wait).await;
        }
    }

    /// The call leaves now: between its admission and this moment the budget was written, and the vendor counts from here.
    pub fn leaves(&self, vendor: &str, ticket: Ticket, now: UtcTime) {
        let lane = self.of(vendor);
        let mut sent = lane.sent();
        match sent.iter_mut().find(|(number, ..)| *number == ticket.0) {
            Some(call) => call.1 = now,
            // It waited for the budget so long that its admission was forgotten; it counts all the same.
            None => sent.push_back((ticket.0, now, ticket.1)),
        }
        sent.make_contiguous().sort_by_key(|(_, at, _)| *at);
    }

    /// Units sent in the last window of this length.
    pub async fn counted(&self, vendor: &str, per: Per, now: UtcTime) -> u64 {
        let lane = self.of(vendor);
        let sent = lane.sent();
        sent.iter().filter(|(_, at, _)| now.seconds_since(*at) < per.seconds() as f64).map(|(.., w)| w).sum()
    }
}

/// How long until `weight` more units fit, or `None` when they fit now.
fn wait_for(sent: &VecDeque<Call>, now: UtcTime, spec: WindowSpec, weight: u64) -> Option<Duration> {
    let length = spec.per.seconds();
    let inside: Vec<&Call> = sent.iter().filter(|(_, at, _)| now.seconds_since(*at) < length as f64).collect();
    let mut used: u64 = inside.iter().map(|(.., w)| w).sum();
    if used + weight <= spec.calls.max(weight) {
        return None;
    }
    for (_, at, w) in inside {
        used -= w;
        if used + weight <= spec.calls.max(weight) {
            let until = at.plus_seconds(length);
            return Some(Duration::from_micros(u64::try_from(until.micros() - now.micros()).unwrap_or(0).max(1)));
        }
    }
    None
}
