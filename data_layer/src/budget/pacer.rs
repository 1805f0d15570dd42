//! The limiter for second and minute windows.

use super::{Per, WindowSpec};
use crate::error::Result;
use crate::host::Host;
use crate::time::UtcTime;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Sent = Arc<tokio::sync::Mutex<VecDeque<(UtcTime, u64)>>>;

/// The in-process limiter for second and minute windows: one per vendor, so a slow vendor holds up nobody else.
#[derive(Default)]
pub struct Pacer(Mutex<BTreeMap<String, Sent>>);

impl Pacer {
    fn of(&self, vendor: &str) -> Sent {
        let mut map = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.entry(vendor.to_string()).or_default().clone()
    }

    /// Wait until every short window has room, then count the call. Exact: no span of a window's length ever holds
    /// more than its cap.
    pub async fn admit(&self, host: &Host, vendor: &str, specs: &[WindowSpec], weight: u64) -> Result<()> {
        let sent = self.of(vendor);
        let mut sent = sent.lock().await;
        loop {
            host.check_cancelled()?;
            let now = host.now();
            let longest = specs.iter().map(|s| s.per.seconds()).max().unwrap_or(0);
            // A stamp after now comes from before the clock was set back.
            sent.retain(|(at, _)| *at <= now && now.seconds_since(*at) < longest as f64);
            let Some(wait) = specs.iter().filter_map(|s| wait_for(&sent, now, *s, weight)).max() else {
                sent.push_back((now, weight));
                return Ok(());
            };
            host.sleep(wait).await;
        }
    }

    /// Units sent in the last window of this length.
    pub async fn counted(&self, vendor: &str, per: Per, now: UtcTime) -> u64 {
        let sent = self.of(vendor);
        let sent = sent.lock().await;
        sent.iter().filter(|(at, _)| now.seconds_since(*at) < per.seconds() as f64).map(|(_, w)| w).sum()
    }
}

/// How long until `weight` more units fit, or `None` when they fit now.
fn wait_for(sent: &VecDeque<(UtcTime, u64)>, now: UtcTime, spec: WindowSpec, weight: u64) -> Option<Duration> {
    let length = spec.per.seconds();
    let inside: Vec<&(UtcTime, u64)> = sent.iter().filter(|(at, _)| now.seconds_since(*at) < length as f64).collect();
    let mut used: u64 = inside.iter().map(|(_, w)| w).sum();
    if used + weight <= spec.calls.max(weight) {
        return None;
    }
    for (at, w) in inside {
        used -= w;
        if used + weight <= spec.calls.max(weight) {
            let until = at.plus_seconds(length);
            return Some(Duration::from_micros(u64::try_from(until.micros() - now.micros()).unwrap_or(0).max(1)));
        }
    }
    None
}
