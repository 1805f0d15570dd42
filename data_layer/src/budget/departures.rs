//! When calls that are still to be made will leave: the windows as they stand, and one call after the other laid into them.
//!
//! Calls do not leave evenly. A minute's 200 leave as fast as those in flight come back, then none does until the first of them is a
//! minute old. So each call is followed: it leaves when every window has room, and holds its place in each as the limiter and the
//! ledger hold it. Nothing is written or locked here.

use super::pacer::held_until;
use super::{Limits, Per, WindowSpec, active, effective_cap, frozen, turnstile};
use crate::error::Result;
use crate::queue::Kind;
use crate::root::DataRoot;
use crate::time::UtcTime;
use rusqlite::Connection;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a call is under way, answer and writing included, where nothing better is known.
const TURNAROUND: Duration = Duration::from_millis(300);
/// What holds a call up that no window does: those before it that are under way.
const LATENCY: &str = "latency";
/// So many calls are followed one by one. By then every window of fewer calls repeats itself, and whole rounds of the slowest
/// are skipped.
const FOLLOWED: u64 = 4_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// The calls of one vendor from now on.
#[derive(Clone, Debug)]
pub struct Departures {
    now: UtcTime,
    /// None leaves before this: the end of a freeze.
    from: UtcTime,
    windows: Vec<Sliding>,
    day: Option<Day>,
    turnaround: Duration,
    /// Calls that have left and are not answered yet.
    under_way: u64,
}

/// A window that slides: each call holds a place in it for its length.
#[derive(Clone, Debug)]
struct Sliding {
    name: &'static str,
    cap: u64,
    length: i64,
    /// Until when places are held, and how many, the earliest first.
    held: VecDeque<(i64, u64)>,
    used: u64,
    /// How long calls waited for this window.
    waited: i64,
}

/// A day that begins at a known moment.
#[derive(Clone, Debug)]
struct Day {
    left: u64,
    share: u64,
    resets: i64,
    waited: i64,
}

impl Sliding {
    fn new(name: &'static str, cap: u64, length: Duration, held: impl IntoIterator<Item = (UtcTime, u64)>) -> Self {
        let cap = cap.max(1);
        let mut held: Vec<(i64, u64)> = held.into_iter().map(|(until, calls)| (until.micros(), calls.min(cap))).collect();
        held.sort_unstable();
        let used = held.iter().map(|(_, calls)| calls).sum();
        Self { name, cap, length: i64::try_from(length.as_micros()).unwrap_or(i64::MAX).max(1), held: held.into(), used, waited: 0 }
    }

    /// From when on there is room for one call more.
    fn room(&mut self) -> i64 {
        let mut from = i64::MIN;
        while self.used >= self.cap {
            let Some((until, calls)) = self.held.pop_front() else { break };
            self.used -= calls;
            from = until;
        }
        from
    }

    fn take(&mut self, at: i64) {
        self.held.push_back((at.saturating_add(self.length), 1));
        self.used += 1;
    }
}

impl Day {
    /// From when on there is room for one call more that would leave at `at`.
    fn room(&mut self, at: i64) -> i64 {
        if at >= self.resets {
            self.resets = self.resets.saturating_add(((at - self.resets) / DAY_MICROS + 1).saturating_mul(DAY_MICROS));
            self.left = self.share;
        }
        if self.left > 0 {
            return at;
        }
        let opens = self.resets;
        (self.left, self.resets) = (self.share, opens.saturating_add(DAY_MICROS));
        opens
    }
}

impl Departures {
    /// A vendor's windows as the ledger and the turnstile know them at `now`; `inflight` calls may be under way at once.
    pub fn of(conn: &Connection, drive: &DataRoot, limits: &Limits, inflight: usize, now: UtcTime) -> Result<Self> {
        let known = lately(drive, &limits.vendor, now);
        let inflight = inflight.max(1);
        let turnaround = measured(&known, inflight).unwrap_or(TURNAROUND);
        let back = |at: UtcTime| at.plus(turnaround);
        let flying = known.iter().filter(|(at, _)| back(*at) > now).map(|(at, _)| (back(*at), 1));
        let flying = Sliding::new(LATENCY, inflight as u64, turnaround, flying);
        let under_way = flying.used.min(flying.cap);
        let (mut windows, mut day) = (vec![flying], None);
        for spec in &limits.windows {
            let cap = effective_cap(conn, now, &limits.vendor, *spec)?;
            match spec.per {
                Per::Second | Per::Minute => windows.push(short(*spec, cap, &known, now)),
                Per::Hour | Per::Day => {
                    let cap = if spec.per == Per::Day { limits.slices.allowance(cap, Kind::Bootstrap) } else { cap };
                    let window = active(conn, now, limits, spec.per)?;
                    if window.known_reset {
                        day = Some(Day { left: cap.saturating_sub(window.spent), share: cap.max(1), resets: window.end.micros(), waited: 0 });
                    } else {
                        // Calls are counted together for so long, and leave together.
                        let length = spec.per.seconds() + spec.per.bucket_seconds();
                        windows.push(Sliding::new(spec.per.as_str(), cap, Duration::from_secs(length.unsigned_abs()), window.leaving));
                    }
                }
                _ => {}
            }
        }
        let from = frozen(conn, now, &limits.vendor)?.map_or(now, |(until, _)| until.max(now));
        Ok(Self { now, from, windows, day, turnaround, under_way })
    }

    /// Calls that have left lately and are not answered yet.
    pub fn under_way(&self) -> u64 {
        self.under_way
    }

    /// When the last of `calls` that are still to leave is answered, and which window held them up longest. Without any: when those
    /// under way are.
    pub fn answered(&self, calls: u64) -> (UtcTime, &'static str) {
        let mut line = self.clone();
        let last = if calls > 0 { line.follow(calls) } else { self.now.micros() };
        let back = if calls.max(self.under_way) > 0 { i64::try_from(self.turnaround.as_micros()).unwrap_or(i64::MAX) } else { 0 };
        let waits = line.windows.iter().map(|w| (w.waited, w.name)).chain(line.day.iter().map(|d| (d.waited, Per::Day.as_str())));
        let held_by = waits.max_by_key(|(waited, _)| *waited).map_or(LATENCY, |(_, name)| name);
        (UtcTime::from_micros(last.saturating_add(back)), held_by)
    }

    /// When the last of so many calls leaves.
    fn follow(&mut self, calls: u64) -> i64 {
        let at = self.each(self.from.micros(), calls.min(FOLLOWED));
        let Some(rest) = calls.checked_sub(FOLLOWED) else { return at };
        let (slowest, round, length) = self.slowest();
        let skipped = i64::try_from(rest / round).unwrap_or(i64::MAX).saturating_mul(length);
        self.skip(slowest, skipped);
        let rest = rest % round;
        let at = self.each(at.saturating_add(skipped), rest.min(FOLLOWED));
        // What is left of a round with more calls than are followed is taken to leave evenly.
        let even = rest.saturating_sub(FOLLOWED) as f64 * length as f64 / round as f64;
        at.saturating_add(even as i64)
    }

    /// So many calls leave, the first not before `at`: when the last does.
    fn each(&mut self, at: i64, calls: u64) -> i64 {
        (0..calls).fold(at, |at, _| self.next(at))
    }

    /// The next call leaves, not before `after`.
    fn next(&mut self, after: i64) -> i64 {
        let (mut at, mut by) = (after, None);
        for (n, window) in self.windows.iter_mut().enumerate() {
            let room = window.room();
            if room > at {
                (at, by) = (room, Some(n));
            }
        }
        let open = self.day.as_mut().map_or(at, |d| d.room(at));
        match (&mut self.day, by) {
            (Some(day), _) if open > at => day.waited = day.waited.saturating_add(open - after),
            (_, Some(n)) => self.windows[n].waited = self.windows[n].waited.saturating_add(at - after),
            _ => {}
        }
        self.windows.iter_mut().for_each(|w| w.take(open));
        if let Some(day) = &mut self.day {
            day.left -= 1;
        }
        open
    }

    /// The window that decides in the long run, `None` for the day: its calls and its length.
    fn slowest(&self) -> (Option<usize>, u64, i64) {
        let sliding = self.windows.iter().enumerate().map(|(n, w)| (Some(n), w.cap, w.length));
        let day = self.day.iter().map(|d| (None, d.share, DAY_MICROS));
        let pace = |(_, calls, length): &(Option<usize>, u64, i64)| *calls as f64 / *length as f64;
        sliding.chain(day).min_by(|a, b| pace(a).total_cmp(&pace(b))).unwrap_or((None, 1, 1))
    }

    /// Whole rounds of the slowest window go by, after which all is as it was. A day that is never used up begins when it does.
    fn skip(&mut self, slowest: Option<usize>, micros: i64) {
        for window in &mut self.windows {
            window.held.iter_mut().for_each(|(until, _)| *until = until.saturating_add(micros));
        }
        match (slowest.and_then(|n| self.windows.get_mut(n)), &mut self.day) {
            (Some(window), _) => window.waited = window.waited.saturating_add(micros),
            (None, Some(day)) => {
                day.resets = day.resets.saturating_add(micros);
                day.waited = day.waited.saturating_add(micros);
            }
            (None, None) => {}
        }
    }
}

/// A window of a second or a minute with the calls that are in it.
fn short(spec: WindowSpec, cap: u64, known: &[(UtcTime, u64)], now: UtcTime) -> Sliding {
    let length = Duration::from_micros(u64::try_from(held_until(now, spec.per).micros() - now.micros()).unwrap_or(0));
    let held = known.iter().map(|(at, calls)| (held_until(*at, spec.per), *calls)).filter(|(until, _)| *until > now);
    Sliding::new(spec.per.as_str(), cap, length, held)
}

/// The calls of the last minute that the turnstile knows, by the clock that says `now`. A moment that is yet to come was written by
/// another start of the machine, or is nonsense: it says nothing.
fn lately(drive: &DataRoot, vendor: &str, now: UtcTime) -> Vec<(UtcTime, u64)> {
    let stored = turnstile::stored(drive, vendor);
    // A simulated clock serves for both, and may be told by the drive.
    let steady = if drive.host().clock_is_simulated() { now } else { drive.host().steady() };
    let oldest = held_until(UtcTime::from_micros(0), Per::Minute).micros();
    let ago = |at: UtcTime| steady.micros().checked_sub(at.micros()).filter(|ago| (0..oldest).contains(ago));
    let mut known: Vec<(UtcTime, u64)> = stored.into_iter().filter_map(|(at, calls)| Some((UtcTime::from_micros(now.micros() - ago(at)?), calls))).collect();
    known.sort_unstable();
    known
}

/// How long a call is under way, by the calls known: no more than `inflight` are at once, so the one that leaves so many later has waited
/// for an answer to this one. The pauses of a window touch only the calls next to them, so the middle one of many tells.
fn measured(known: &[(UtcTime, u64)], inflight: usize) -> Option<Duration> {
    if known.len() < 4 * inflight {
        return None;
    }
    let mut spans: Vec<i64> = known.iter().zip(known.iter().skip(inflight)).map(|((a, _), (b, _))| b.micros() - a.micros()).collect();
    spans.sort_unstable();
    spans.get(spans.len() / 2).map(|micros| Duration::from_micros(micros.unsigned_abs()))
}

#[cfg(test)]
#[path = "departures_tests.rs"]
mod tests;
