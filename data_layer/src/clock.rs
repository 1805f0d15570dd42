//! Whether the clock of this machine can be believed.
//!
//! A Pi has no battery clock: after a power cut it wakes in yesterday, or in 1970, until the network has told it the time; a bad
//! battery or a bad time server may put any clock years ahead. What speaks for and against a clock, strongest first:
//!
//! 1. what vendors say: every answer carries its moment (`Date`), which goes on from there with the machine's steady clock. One vendor
//!    of the last day that agrees is enough, because two clocks do not go wrong by the same amount; where all disagree, it is wrong;
//! 2. the time of the program's own source: no right clock is before it;
//! 3. the steady clock: it counts since the machine's start, its sleep included, and nobody sets it. The clock may not step against it.
//!
//! What the drive holds is weighed by whoever has a drive (`node`). Everything here counts UTC, so summer time is no step.

use crate::error::{Error, code};
use crate::host::Host;
use crate::sourcing::Vendor;
use crate::time::UtcTime;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Farther than this from what a vendor says, a clock is wrong. No answer takes as long, and no session's data is due sooner after its
/// close; a Pi that has no time server drifts so far in a quarter of a year.
const APART_SECONDS: f64 = 300.0;
/// A step against the steady clock, or to before what a drive holds, that puts a clock in doubt. Corrections of a drift are smaller.
pub const STEP_SECONDS: i64 = 600;
/// What a vendor said serves for so long; until then the steady clock drifts by seconds.
const TOLD_SECONDS: f64 = 86_400.0;
/// Waits of our own move a simulated clock on, and the world that it follows is not told.
const SIMULATED_LEAD_SECONDS: f64 = 86_400.0;

/// What is thought of the clock.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// A vendor says the same.
    Told,
    /// No vendor has said it lately, and nothing speaks against it.
    Untold,
    /// It cannot be believed.
    Wrong(Error),
}

/// What the time was when the steady clock stood at `steady`.
#[derive(Clone, Copy, Debug)]
struct Reading {
    time: UtcTime,
    steady: UtcTime,
}

impl Reading {
    /// What the time must be when the steady clock stands at `steady`.
    fn at(self, steady: UtcTime) -> UtcTime {
        UtcTime::from_micros(self.time.micros() + steady.micros() - self.steady.micros())
    }
}

#[derive(Debug)]
struct State {
    /// The clock itself when it was believed last.
    own: Reading,
    told: BTreeMap<Vendor, Reading>,
    questions: usize,
}

/// What was seen of the clock of this machine by one process.
#[derive(Debug)]
pub struct ClockWatch(Mutex<State>);

impl ClockWatch {
    /// Begins with the clock as it is.
    pub fn new(host: &Host) -> Self {
        let own = Reading { time: host.now(), steady: host.steady() };
        Self(Mutex::new(State { own, told: BTreeMap::new(), questions: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remember when a vendor answered, by its own clock. A cache on the way says how old its answer is (`Age`).
    pub fn hear(&self, host: &Host, vendor: Vendor, headers: &BTreeMap<String, String>) {
        let date = headers.get("date").and_then(|text| jiff::fmt::rfc2822::parse(text.trim()).ok());
        let Some(date) = date else { return };
        let age: i64 = headers.get("age").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let time = UtcTime::from_micros(date.timestamp().as_microsecond()).plus_seconds(age.clamp(0, 31 * 86_400));
        self.state().told.insert(vendor, Reading { time, steady: host.steady() });
    }

    /// What is thought of the clock now.
    pub fn judge(&self, host: &Host) -> Judgement {
        let (now, steady) = (host.now(), host.steady());
        let mut state = self.state();
        if host.clock_is_pinned() {
            return Judgement::Untold;
        }
        let recent = |r: &Reading| (0.0..=TOLD_SECONDS).contains(&steady.seconds_since(r.steady));
        let told: Vec<(Vendor, f64)> = state.told.iter().filter(|(_, r)| recent(r)).map(|(v, r)| (*v, now.seconds_since(r.at(steady)))).collect();
        let lead = if host.clock_is_simulated() { SIMULATED_LEAD_SECONDS } else { APART_SECONDS };
        let agrees = |ahead: f64| (-APART_SECONDS..=lead).contains(&ahead);
        if told.iter().any(|(_, ahead)| agrees(*ahead)) {
            state.own = Reading { time: now, steady };
            return Judgement::Told;
        }
        if let Some((vendor, ahead)) = told.first() {
            let by = in_words(ahead.abs());
            return Judgement::Wrong(wrong(if *ahead > 0.0 { text!("it is {by} ahead of {vendor}'s") } else { text!("it is {by} behind {vendor}'s") }));
        }
        if !host.clock_is_simulated() && now < host.built() {
            return Judgement::Wrong(wrong(text!("it is before {}, when this program was made", host.built())));
        }
        let step = now.seconds_since(state.own.at(steady));
        if step.abs() > STEP_SECONDS as f64 {
            let by = in_words(step.abs());
            return Judgement::Wrong(wrong(if step > 0.0 { text!("it was set {by} ahead") } else { text!("it was set {by} back") }));
        }
        state.own = Reading { time: now, steady };
        Judgement::Untold
    }

    /// How often somebody was asked for the time before: who is asked next goes by it.
    pub fn count_question(&self) -> usize {
        let mut state = self.state();
        state.questions += 1;
        state.questions - 1
    }
}

/// The refusal, with its fix.
pub fn wrong(why: String) -> Error {
    Error::new(code::HOST_CLOCK, text!("this machine's clock is not believed")).cause(why).fix("sudo timedatectl set-ntp true")
}

/// A span as people say it; the same one in every round, although moments pass.
fn in_words(seconds: f64) -> String {
    match seconds {
        s if s < 7_200.0 => text!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => text!("{:.0} hours", s / 3_600.0),
        s => text!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;
    use std::time::Duration;

    fn host() -> Host {
        let fake = Host::fake(FakeHost::default());
        fake.in_world(&BTreeMap::new(), fake.now())
    }
    fn said(watch: &ClockWatch, host: &Host, vendor: Vendor, at: UtcTime) {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at.timestamp()).unwrap();
        watch.hear(host, vendor, &BTreeMap::from([("date".to_string(), date)]));
    }
    fn pass(host: &Host, seconds: u64) {
        host.block_on(host.sleep(Duration::from_secs(seconds))).unwrap();
    }
    fn why(watch: &ClockWatch, host: &Host) -> String {
        match watch.judge(host) {
            Judgement::Wrong(e) => e.body().cause.clone().unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_step_against_the_steady_clock_is_seen_and_a_small_one_is_not() {
        let (host, day) = (host(), 86_400);
        let watch = ClockWatch::new(&host);
        // A machine that slept for a week: both clocks went on.
        pass(&host, 7 * 86_400);
        assert_eq!(why(&watch, &host), "Untold");
        for (by, words) in [(3 * day, "it was set 3 days ahead"), (900 * day, "it was set 900 days ahead"), (-day, "it was set 24 hours back"), (599, "Untold")]
        {
            host.set_wrong_by(by);
            assert_eq!(why(&watch, &host), words);
            host.set_wrong_by(0);
            assert_eq!(why(&watch, &host), "Untold", "back after {by}");
        }
    }

    #[test]
    fn a_vendor_that_agrees_outweighs_a_step_and_one_that_does_not() {
        let host = host();
        let watch = ClockWatch::new(&host);
        // The clock was wrong from the beginning, and is set right: a step, which the vendor explains.
        host.set_wrong_by(-86_400);
        let watch_of_the_wrong = ClockWatch::new(&host);
        said(&watch_of_the_wrong, &host, Vendor::Alpaca, host.steady());
        assert_eq!(why(&watch_of_the_wrong, &host), "it is 24 hours behind alpaca's");
        host.set_wrong_by(0);
        assert_eq!(why(&watch_of_the_wrong, &host), "Told");
        // One vendor's own clock is a day ahead.
        said(&watch, &host, Vendor::Alpaca, host.now().plus_seconds(86_400));
        assert!(why(&watch, &host).contains("behind alpaca's"));
        said(&watch, &host, Vendor::Fred, host.now().plus_seconds(-299));
        assert_eq!(why(&watch, &host), "Told");
        // What was said goes on with the steady clock, for a day.
        pass(&host, 86_000);
        assert_eq!(why(&watch, &host), "Told");
        host.set_wrong_by(3 * 86_400);
        assert_eq!(why(&watch, &host), "it is 2 days ahead of alpaca's");
        host.set_wrong_by(0);
        pass(&host, 500);
        assert_eq!(why(&watch, &host), "Untold");
    }

    #[test]
    fn an_answer_out_of_a_cache_says_how_old_it_is() {
        let host = host();
        let watch = ClockWatch::new(&host);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&host.now().plus_seconds(4_000).timestamp()).unwrap();
        let mut headers = BTreeMap::from([("date".to_string(), "yesterday".to_string())]);
        watch.hear(&host, Vendor::Treasury, &headers);
        assert_eq!(why(&watch, &host), "Untold", "a date that is none says nothing");
        host.set_wrong_by(7_600);
        headers.insert("date".into(), date);
        headers.insert("age".into(), "3600".into());
        let later = ClockWatch::new(&host);
        later.hear(&host, Vendor::Treasury, &headers);
        assert_eq!(why(&later, &host), "Told");
    }

    #[test]
    fn a_pinned_clock_is_what_it_is() {
        let host = Host::fake(FakeHost::default());
        let watch = ClockWatch::new(&host);
        said(&watch, &host, Vendor::Alpaca, host.now().plus_seconds(86_400));
        assert_eq!(why(&watch, &host), "Untold");
    }
}
