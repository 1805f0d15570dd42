//! The thirteen gates between a planned order and the broker, in order; the first failure wins.
//!
//! Pure functions over a [`GateContext`]: what was read, when, by whom is decided by the caller. Gate 13 (writing the
//! intent) is `submit`'s.

use super::log::OrderRow;
use super::order::{Intent, OrderType};
use super::risk::{self, Limits, Line};
use super::state::name;
use super::switches::SwitchState;
use data_layer::error::{Error, code};
use data_layer::time::UtcTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the program may do with orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The default: everything but the sending.
    DryRun,
    /// A paper account, or a simulated one.
    Paper,
    Live,
}

/// The right to use a live account. No wizard, command or configuration can make one.
#[derive(Clone, Debug)]
pub struct LiveConsent(#[allow(dead_code)] ());

#[cfg(test)]
impl LiveConsent {
    pub(crate) fn for_a_test() -> Self {
        Self(())
    }
}

/// Everything the gates look at, for one order.
pub struct GateContext<'a> {
    pub intent: &'a Intent,
    pub mode: Mode,
    pub live_consent: Option<&'a LiveConsent>,
    /// `Err` = the journal, a switch or the limits cannot be read, with the reason.
    pub readable: Result<(), String>,
    pub local_now: UtcTime,
    pub broker_now: Option<UtcTime>,
    /// Our clock only moves with our own waits: it may run ahead of a world that stands still.
    pub clock_is_simulated: bool,
    pub newest_stamp: Option<UtcTime>,
    /// The row under the same id, when it is past `planned`.
    pub stored: Option<&'a OrderRow>,
    /// The broker's own position, fetched now; `None` = not known, so nothing counts as reducing.
    pub broker_position: Option<f64>,
    /// Remaining shares of all other open orders on this order's side, own and foreign.
    pub open_same_side: f64,
    pub kill: &'a SwitchState,
    pub breaker: &'a SwitchState,
    pub quarantined: bool,
    pub reconciled: bool,
    pub tradable: Option<bool>,
    pub session_allows: bool,
    /// Seconds of open market since the reference price was true; `None` = not known.
    pub price_age_s: Option<f64>,
    pub adv_shares: Option<f64>,
    pub lines: &'a BTreeMap<String, Line>,
    pub prices: &'a BTreeMap<String, f64>,
    pub equity: f64,
    pub limits: &'a Limits,
    pub orders_today: u32,
    pub orders_allowed: u32,
    /// The symbol has an order whose outcome is not known.
    pub unknown_in_symbol: bool,
}

/// Which gate said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    Mode = 1,
    Readable,
    Clock,
    Idempotency,
    Classify,
    KillSwitch,
    CircuitBreaker,
    Quarantine,
    Reconciled,
    Tradable,
    FatFinger,
    RiskLimits,
}

impl Gate {
    /// The HTTP status with which a service answers this refusal.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Readable => 503,
            Self::Idempotency => 409,
            Self::Mode | Self::KillSwitch | Self::CircuitBreaker => 403,
            _ => 422,
        }
    }
    /// The state in which the order ends, or `None` when it stays planned (nothing about the order itself is wrong).
    pub fn ends_in(self) -> Option<&'static str> {
        match self {
            Self::Mode => Some(name::DRY_RUN),
            Self::Readable | Self::Clock | Self::Idempotency | Self::Classify | Self::Reconciled => None,
            Self::KillSwitch => Some(name::BLOCKED_KILL_SWITCH),
            Self::CircuitBreaker => Some(name::BLOCKED_CIRCUIT_BREAKER),
            Self::Quarantine | Self::Tradable | Self::FatFinger | Self::RiskLimits => Some(name::DROPPED),
        }
    }
}

/// A refusal in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub gate: Gate,
    pub why: String,
}

/// What the gates decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Write the intent and send it.
    Send {
        reduce_only: bool,
    },
    /// The same order is already there: answer with it.
    Stored,
    /// The same id with another payload.
    Halt,
    Refused(Refusal),
}

/// Opposite to the broker's position, and no larger than what of it is not already being closed: it can shrink a
/// position, never flip it.
pub fn reduces(intent: &Intent, broker_position: Option<f64>, open_same_side: f64) -> bool {
    broker_position.is_some_and(|held| held * intent.side.sign() < 0.0 && intent.qty <= held.abs() - open_same_side + 1e-9)
}

/// Gates 1 to 12.
pub fn check(c: &GateContext<'_>) -> Verdict {
    let refuse = |gate: Gate, why: String| Verdict::Refused(Refusal { gate, why });
    if let Some(why) = mode(c) {
        return refuse(Gate::Mode, why);
    }
    if let Err(why) = &c.readable {
        return refuse(Gate::Readable, text!("{why}; nothing is sent. Flatten at the broker's own site if you must"));
    }
    if let Some(why) = clock(c) {
        return refuse(Gate::Clock, why);
    }
    if let Some(stored) = c.stored {
        return if stored.intent.same_payload(c.intent) { Verdict::Stored } else { Verdict::Halt };
    }
    let reduce_only = reduces(c.intent, c.broker_position, c.open_same_side);
    let increases: [(bool, Gate, String); 5] = [
        (c.kill.stopped, Gate::KillSwitch, text!("the kill switch is {}: {}", c.kill.state, c.kill.reason)),
        (c.breaker.stopped, Gate::CircuitBreaker, text!("the circuit breaker is {}: {}", c.breaker.state, c.breaker.reason)),
        (c.quarantined, Gate::Quarantine, text!("{} is in quarantine", c.intent.symbol)),
        (c.unknown_in_symbol, Gate::Quarantine, text!("an order for {} has an outcome that is not known yet", c.intent.symbol)),
        (!c.reconciled, Gate::Reconciled, "the account was not reconciled yet".into()),
    ];
    for (stop, gate, why) in increases {
        if stop && !reduce_only {
            return refuse(gate, why);
        }
    }
    if let Some(why) = tradable(c, reduce_only) {
        return refuse(Gate::Tradable, why);
    }
    if let Some(why) = fat_finger(c, reduce_only) {
        return refuse(Gate::FatFinger, why);
    }
    if let Some(why) = limits(c, reduce_only) {
        return refuse(Gate::RiskLimits, why);
    }
    Verdict::Send { reduce_only }
}

fn mode(c: &GateContext<'_>) -> Option<String> {
    match c.mode {
        Mode::DryRun => Some("dry run: nothing is sent".into()),
        Mode::Live if c.live_consent.is_none() => Some("a live account needs a consent that this program does not give".into()),
        Mode::Paper | Mode::Live => None,
    }
}

/// Waits of ours that a standing world does not see may add up to this much.
const SIMULATED_LEAD_S: f64 = 3_600.0;

fn clock(c: &GateContext<'_>) -> Option<String> {
    let Some(broker) = c.broker_now else { return Some("the broker's clock could not be read".into()) };
    let ahead = c.local_now.seconds_since(broker);
    let allowed_ahead = if c.clock_is_simulated { SIMULATED_LEAD_S } else { c.limits.clock_skew_s };
    if ahead > allowed_ahead || -ahead > c.limits.clock_skew_s {
        return Some(text!("this machine's clock is {ahead:.1} s from the broker's"));
    }
    match c.newest_stamp {
        Some(newest) if c.local_now < newest => Some(text!("the clock ({}) is behind the journal ({newest})", c.local_now)),
        _ => None,
    }
}

fn tradable(c: &GateContext<'_>, reduce_only: bool) -> Option<String> {
    let symbol = &c.intent.symbol;
    if c.tradable != Some(true) {
        return Some(text!("{symbol} is not known to be tradable"));
    }
    if !c.session_allows || c.local_now >= c.intent.expires_at {
        return Some(text!("the session {} does not take this order any more", c.intent.trading_day));
    }
    if reduce_only {
        return None;
    }
    if c.limits.blacklist.contains(symbol) {
        return Some(text!("{symbol} is on the blacklist"));
    }
    match c.price_age_s {
        Some(age) if age <= c.limits.price_age_s => None,
        Some(age) => Some(text!("the reference price of {symbol} is {age:.0} s of open market old, {:.0} s are allowed", c.limits.price_age_s)),
        None => Some(text!("the age of the reference price of {symbol} is not known")),
    }
}

fn fat_finger(c: &GateContext<'_>, reduce_only: bool) -> Option<String> {
    let (i, l) = (c.intent, c.limits);
    if matches!(i.order_type, OrderType::Limit | OrderType::StopLimit) {
        let off = i.limit_price.map_or(f64::INFINITY, |p| (p / i.reference_price - 1.0).abs());
        if off > l.limit_price_band {
            return Some(text!("the limit price is {:.1} % from the reference, {:.1} % are allowed", 100.0 * off, 100.0 * l.limit_price_band));
        }
    }
    if reduce_only {
        return None;
    }
    if i.notional_usd() > l.order_notional_usd {
        return Some(text!("${:.0} in one order, ${:.0} are allowed", i.notional_usd(), l.order_notional_usd));
    }
    if i.qty > l.order_qty {
        return Some(text!("{} shares in one order, {} are allowed", i.qty, l.order_qty));
    }
    match c.adv_shares {
        Some(adv) if adv.is_finite() && adv > 0.0 && i.qty <= l.order_adv_share * adv => None,
        Some(adv) if adv.is_finite() && adv > 0.0 => {
            Some(text!("{} shares are more than {:.0} % of the average daily volume of {adv:.0}", i.qty, 100.0 * l.order_adv_share))
        }
        _ => Some(text!("the average daily volume of {} is not known", i.symbol)),
    }
}

fn limits(c: &GateContext<'_>, reduce_only: bool) -> Option<String> {
    if reduce_only {
        return None;
    }
    if c.orders_today >= c.orders_allowed {
        return Some(text!("{} orders today, {} are allowed", c.orders_today, c.orders_allowed));
    }
    match risk::breach(c.intent, c.lines, c.prices, c.equity, c.limits) {
        Ok(breach) => breach,
        Err(e) => Some(e.body().what.clone()),
    }
}

/// A refusal as the program's error.
pub fn error_of(refusal: &Refusal) -> Error {
    let code = if refusal.gate == Gate::KillSwitch { code::GATE_KILL_SWITCH } else { code::ORD_REFUSED };
    Error::new(code, refusal.why.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::order::tests::intent;
    use crate::types::Side;

    /// What a context points at, in a shape in which every gate passes.
    struct World {
        kill: SwitchState,
        breaker: SwitchState,
        limits: Limits,
        lines: BTreeMap<String, Line>,
        prices: BTreeMap<String, f64>,
        stored: Option<OrderRow>,
    }

    fn world() -> World {
        let go = SwitchState { stopped: false, state: "ACTIVE".into(), reason: "r".into(), operator: "o".into(), at: None };
        World {
            kill: go.clone(),
            breaker: go,
            limits: Limits::default(),
            lines: BTreeMap::from([("AAPL".to_string(), Line { held: 10.0, ..Line::default() })]),
            prices: BTreeMap::from([("AAPL".to_string(), 100.0), ("MSFT".to_string(), 100.0)]),
            stored: None,
        }
    }

    impl World {
        fn check(&self, intent: &Intent, bend: impl FnOnce(&mut GateContext<'_>)) -> Verdict {
            let now = UtcTime::parse("2017-11-30T21:40:00Z").unwrap();
            let mut c = GateContext {
                intent,
                mode: Mode::Paper,
                live_consent: None,
                readable: Ok(()),
                local_now: now,
                broker_now: Some(now),
                clock_is_simulated: false,
                newest_stamp: None,
                stored: self.stored.as_ref(),
                broker_position: Some(if intent.symbol == "AAPL" { 10.0 } else { 0.0 }),
                open_same_side: 0.0,
                kill: &self.kill,
                breaker: &self.breaker,
                quarantined: false,
                reconciled: true,
                tradable: Some(true),
                session_allows: true,
                price_age_s: Some(0.0),
                adv_shares: Some(1e6),
                lines: &self.lines,
                prices: &self.prices,
                equity: 100_000.0,
                limits: &self.limits,
                orders_today: 0,
                orders_allowed: 25,
                unknown_in_symbol: false,
            };
            bend(&mut c);
            check(&c)
        }
        fn gate(&self, intent: &Intent, bend: impl FnOnce(&mut GateContext<'_>)) -> Option<Gate> {
            match self.check(intent, bend) {
                Verdict::Refused(r) => Some(r.gate),
                _ => None,
            }
        }
    }

    #[test]
    fn everything_in_order_is_sent_and_each_gate_refuses_an_increase() {
        let (w, buy) = (world(), intent("MSFT", Side::Buy, 10.0));
        assert_eq!(w.check(&buy, |_| {}), Verdict::Send { reduce_only: false });
        assert_eq!(w.gate(&buy, |c| c.mode = Mode::DryRun), Some(Gate::Mode));
        assert_eq!(w.gate(&buy, |c| c.mode = Mode::Live), Some(Gate::Mode));
        assert_eq!(w.gate(&buy, |c| c.readable = Err("no journal".into())), Some(Gate::Readable));
        assert_eq!(w.gate(&buy, |c| c.broker_now = Some(c.local_now.plus_seconds(6))), Some(Gate::Clock));
        assert_eq!(w.gate(&buy, |c| c.newest_stamp = Some(c.local_now.plus_seconds(1))), Some(Gate::Clock));
        assert_eq!(w.gate(&buy, |c| c.quarantined = true), Some(Gate::Quarantine));
        assert_eq!(w.gate(&buy, |c| c.unknown_in_symbol = true), Some(Gate::Quarantine));
        assert_eq!(w.gate(&buy, |c| c.reconciled = false), Some(Gate::Reconciled));
        assert_eq!(w.gate(&buy, |c| c.price_age_s = Some(31.0)), Some(Gate::Tradable));
        assert_eq!(w.gate(&buy, |c| c.orders_today = 25), Some(Gate::RiskLimits));
    }

    #[test]
    fn lesson_098_a_missing_price_age_volume_or_tradability_refuses() {
        let (w, buy) = (world(), intent("MSFT", Side::Buy, 10.0));
        assert_eq!(w.gate(&buy, |c| c.price_age_s = None), Some(Gate::Tradable));
        assert_eq!(w.gate(&buy, |c| c.tradable = None), Some(Gate::Tradable));
        assert_eq!(w.gate(&buy, |c| c.adv_shares = None), Some(Gate::FatFinger));
        assert_eq!(w.gate(&buy, |c| c.adv_shares = Some(f64::NAN)), Some(Gate::FatFinger));
    }

    #[test]
    fn lesson_091_a_retry_at_a_full_limit_is_answered_with_the_stored_order() {
        let (mut w, buy) = (world(), intent("MSFT", Side::Buy, 900.0));
        assert_eq!(w.gate(&buy, |_| {}), Some(Gate::RiskLimits));
        w.stored = Some(OrderRow {
            intent: buy.clone(),
            state: "accepted".into(),
            key: None,
            filled_qty: 0.0,
            broker_order_id: None,
            refusal_code: None,
            refusal_text: None,
            version: 1,
        });
        assert_eq!(w.check(&buy, |_| {}), Verdict::Stored);
        let other = Intent { qty: 901.0, ..buy };
        assert_eq!(w.check(&other, |_| {}), Verdict::Halt);
    }

    #[test]
    fn lesson_093_reduce_only_passes_every_switch_but_can_never_flip_a_position() {
        let (mut w, sell) = (world(), intent("AAPL", Side::Sell, 10.0));
        (w.kill.stopped, w.breaker.stopped) = (true, true);
        let passed = w.check(&sell, |c| {
            (c.quarantined, c.reconciled, c.price_age_s, c.adv_shares, c.orders_today) = (true, false, None, None, 99);
        });
        assert_eq!(passed, Verdict::Send { reduce_only: true });
        assert!(!reduces(&sell, Some(9.0), 0.0), "it would flip");
        assert!(!reduces(&sell, Some(10.0), 1.0), "another sell is already closing it");
        assert!(!reduces(&sell, Some(-10.0), 0.0), "it would increase a short");
        assert!(!reduces(&sell, None, 0.0), "unknown is not reducing");
        assert_eq!(w.gate(&sell, |c| c.broker_now = None), Some(Gate::Clock));
        let buy = intent("MSFT", Side::Buy, 1.0);
        assert_eq!(w.gate(&buy, |_| {}), Some(Gate::KillSwitch));
        w.kill.stopped = false;
        assert_eq!(w.gate(&buy, |_| {}), Some(Gate::CircuitBreaker));
    }
}
