//! The limiter for second and minute windows.

use super::{Per, WindowSpec, turnstile};
use crate::error::Result;
use crate::host::Host;
use crate::root::DataRoot;
use crate::time::UtcTime;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How soon a call that waits behind one which is about to leave looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A vendor counts calls as they arrive, and of two that leave a window apart the second may travel faster: so much longer than it
/// lasts, a window holds what was sent.
const JITTER: Duration = Duration::from_millis(50);

/// Until when a window of this length holds a call that left at `at`.
pub(super) fn held_until(at: UtcTime, per: Per) -> UtcTime {
    at.plus_seconds(per.seconds()).plus(JITTER)
}

/// A call that was sent, or is about to be.
#[derive(Clone, Copy)]
struct Call {
    number: u64,
    /// When it was sent, by [`Host::steady`]; before that, when it was admitted.
    at: UtcTime,
    weight: u64,
    sent: bool,
}

/// One vendor's calls of the last moments.
#[derive(Default)]
struct Lane {
    /// One call at a time waits for room; those behind it wait for their turn.
    turn: tokio::sync::Mutex<u64>,
    calls: Mutex<VecDeque<Call>>,
    /// Held by whoever has a large answer of this vendor in memory.
    large: Arc<tokio::sync::Mutex<()>>,
}

impl Lane {
    fn calls(&self) -> MutexGuard<'_, VecDeque<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limiter of this process, one lane per vendor, so a slow vendor holds up nobody else. Other processes on the same drive
/// are met at the [`turnstile`], on the way out.
#[derive(Default)]
pub struct Pacer(Mutex<BTreeMap<String, Arc<Lane>>>);

/// A place in the windows, taken by [`Pacer::admit`]. One that is dropped before its call leaves is given back.
pub struct Ticket {
    lane: Arc<Lane>,
    number: u64,
    weight: u64,
}

impl Ticket {
    /// Where other processes on the drive have used the windows up, wait for them. Whether it waited: then what was known before is to be
    /// looked at again, else nothing may be, for the call leaves when the windows say that it left.
    pub async fn pass(&self, host: &Host, vendor: &str, specs: &[WindowSpec], drive: Option<&DataRoot>) -> Result<bool> {
        match drive {
            Some(drive) => turnstile::pass(host, drive, vendor, specs, self.weight, turnstile::PATIENCE).await,
            None => Ok(false),
        }
    }

    /// The call leaves now, and the vendor counts from here. Until then its place was taken in every window, however long the writing of
    /// the budget and the looks before it took.
    pub fn left(self, host: &Host) {
        let mut calls = self.lane.calls();
        if let Some(call) = calls.iter_mut().find(|c| c.number == self.number) {
            (call.at, call.sent) = (host.steady(), true);
        }
        calls.make_contiguous().sort_by_key(|c| c.at);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.calls().retain(|c| c.sent || c.number != self.number);
    }
}

impl Pacer {
    fn of(&self, vendor: &str) -> Arc<Lane> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.entry(vendor.to_string()).or_default().clone()
    }

    /// Wait until every short window has room, then take a place. Exact: no span of a window's length ever holds more than its
    /// cap. A place that is taken counts until its call has left and a window's length has gone by, however long it waits.
    pub async fn admit(&self, host: &Host, vendor: &str, specs: &[WindowSpec], weight: u64) -> Result<Ticket> {
        let lane = self.of(vendor);
        let mut turn = lane.turn.lock().await;
        loop {
            host.check_cancelled()?;
            let now = host.steady();
            let wait = {
                let mut calls = lane.calls();
                // A simulated clock may be set back; what was sent then was sent.
                calls.iter_mut().for_each(|c| c.at = c.at.min(now));
                calls.retain(|c| !c.sent || is_live(c.at, now, specs));
                let wait = specs.iter().filter_map(|s| wait_for(&calls, now, *s, weight)).max();
                if wait.is_none() {
                    *turn += 1;
                    calls.push_back(Call { number: *turn, at: now, weight, sent: false });
                }
                wait
            };
            let Some(wait) = wait else { return Ok(Ticket { lane: lane.clone(), number: *turn, weight }) };
            host.sleep(wait).await;
        }
    }

    /// [`Ticket::pass`], and the call leaves.
    pub async fn leaves(&self, host: &Host, vendor: &str, specs: &[WindowSpec], ticket: Ticket, drive: Option<&DataRoot>) -> Result<bool> {
        let waited = ticket.pass(host, vendor, specs, drive).await?;
        ticket.left(host);
        Ok(waited)
    }

    /// What a large answer of a vendor holds as long as it is in memory, so that there is one of them at a time.
    pub fn large(&self, vendor: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.of(vendor).large)
    }

    /// Units sent in the last window of this length.
    pub fn counted(&self, host: &Host, vendor: &str, per: Per) -> u64 {
        let (lane, now) = (self.of(vendor), host.steady());
        let calls = lane.calls();
        calls.iter().filter(|c| c.sent && now.seconds_since(c.at) < per.seconds() as f64).map(|c| c.weight).sum()
    }
}

/// Whether some window still holds a call that was sent then.
pub(super) fn is_live(at: UtcTime, now: UtcTime, specs: &[WindowSpec]) -> bool {
    specs.iter().any(|s| now < held_until(at, s.per))
}

/// How long until `weight` more units fit, or `None` when they fit now.
fn wait_for(calls: &VecDeque<Call>, now: UtcTime, spec: WindowSpec, weight: u64) -> Option<Duration> {
    // Those that have not left yet do so at any moment, or never: they are looked at again soon.
    let leaving = calls.iter().filter(|c| !c.sent).map(|c| (now.plus(LOOK_AGAIN), c.weight));
    let sent = calls.iter().filter(|c| c.sent).map(|c| (held_until(c.at, spec.per), c.weight)).filter(|(until, _)| now < *until);
    room(leaving.chain(sent), now, spec.calls.max(weight) - weight)
}

/// How long until those whose places are held hold no more than `free`; `None` when that is so now. Places: until when, how many,
/// the earliest first.
pub(super) fn room(places: impl Iterator<Item = (UtcTime, u64)>, now: UtcTime, free: u64) -> Option<Duration> {
    let places: Vec<(UtcTime, u64)> = places.collect();
    let mut used: u64 = places.iter().map(|(_, weight)| weight).sum();
    if used <= free {
        return None;
    }
    let last = places.into_iter().find(|(_, weight)| {
        used -= weight;
        used <= free
    });
    last.map(|(until, _)| Duration::from_micros(u64::try_from(until.micros() - now.micros()).unwrap_or(0).max(1)))
}
