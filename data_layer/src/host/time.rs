//! The two clocks of a host: the one that tells the date, and the one that nobody sets.

use super::{Clock, Host, system_micros};
use crate::time::UtcTime;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Host {
    /// The present moment by this host's clock.
    pub fn now(&self) -> UtcTime {
        match &self.0.clock {
            Clock::System => UtcTime::from_micros(system_micros()),
            Clock::Pinned(at) | Clock::World(at) => UtcTime::from_micros(at.load(Ordering::SeqCst) + self.0.wrong.load(Ordering::SeqCst)),
        }
    }

    /// A moment for measuring spans: counted since this machine started, its sleep included, so that no setting of the clock
    /// makes a span longer or shorter. It says nothing about the date. A simulated clock serves for both, as long as it is right.
    pub fn steady(&self) -> UtcTime {
        match &self.0.clock {
            Clock::System => {
                // Elsewhere the monotonic clock goes on in a machine's sleep; on Linux it is this one.
                #[cfg(target_os = "linux")]
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                #[cfg(not(target_os = "linux"))]
                let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                UtcTime::from_micros(t.tv_sec * 1_000_000 + t.tv_nsec / 1_000)
            }
            Clock::Pinned(at) | Clock::World(at) => UtcTime::from_micros(at.load(Ordering::SeqCst)),
        }
    }

    /// Set a simulated clock wrong by so many seconds, for tests of what a wrong clock does: spans stay right. 0 sets it right. No
    /// effect on the machine's clock.
    pub fn set_wrong_by(&self, seconds: i64) {
        self.0.wrong.store(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// When this program was made: no clock that is right is before it. Source without a history is no older than the first of it.
    pub fn built(&self) -> UtcTime {
        const FIRST_SOURCE: i64 = 1_767_225_600; // 2026-01-01
        let seconds = option_env!("TRADEML_BUILT_AT").and_then(|s| s.parse().ok()).unwrap_or(FIRST_SOURCE);
        UtcTime::from_micros(seconds * 1_000_000)
    }

    /// Whether this clock stands still unless moved (pinned, or a world's).
    pub fn clock_is_simulated(&self) -> bool {
        !matches!(self.0.clock, Clock::System)
    }

    /// Whether the clock was given and not told by anybody: then it is what it is.
    pub fn clock_is_pinned(&self) -> bool {
        matches!(self.0.clock, Clock::Pinned(_))
    }

    /// Whether the clock follows a sandbox's world clock.
    pub fn follows_world_clock(&self) -> bool {
        matches!(self.0.clock, Clock::World(_))
    }

    /// Tell a world-following clock what the sandbox says. No effect on other clocks.
    pub fn set_world_time(&self, t: UtcTime) {
        if let Clock::World(at) = &self.0.clock {
            at.store(t.micros(), Ordering::SeqCst);
        }
    }

    /// Wait. A simulated clock moves on at once; a real one sleeps, and wakes early when cancelled.
    pub async fn sleep(&self, d: Duration) {
        match &self.0.clock {
            Clock::Pinned(at) | Clock::World(at) => {
                at.fetch_add(i64::try_from(d.as_micros()).unwrap_or(0), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
            Clock::System => self.wait_for_others(d).await,
        }
    }

    /// Wait for another process: it takes its time in the real world, whatever this clock says. Wakes early when cancelled.
    pub async fn wait_for_others(&self, d: Duration) {
        tokio::select! {
            () = tokio::time::sleep(d) => {}
            () = self.cancelled() => {}
        }
    }
}
