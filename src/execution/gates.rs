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
    /// `Err` = why the broker and the journal could not be compared.
    pub reconciled: Result<(), String>,
    pub tradable: Option<bool>,
    pub session_allows: bool,
    /// Seconds of open market since the reference price was true; `None` = not known.
    pub price_age_s: Option<f64>,
    pub adv_shares: Option<f64>,
    pub lines: &'a BTreeMap<String, Line>,
    pub prices: &'a BTreeMap<String, f64>,
    pub equity: f64,
    /// Dollars that the broker leaves for new positions, its open orders taken off, fetched now; `Err` = why it is not known.
    pub free_usd: Result<f64, String>,
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
    let increases: [(bool, Gate, String); 6] = [
        (c.kill.stopped, Gate::KillSwitch, text!("the kill switch is {}: {}", c.kill.state, c.kill.reason)),
        (c.breaker.stopped, Gate::CircuitBreaker, text!("the circuit breaker is {}: {}", c.breaker.state, c.breaker.reason)),
        (c.quarantined, Gate::Quarantine, text!("{} is in quarantine", c.intent.symbol)),
        (c.unknown_in_symbol, Gate::Quarantine, text!("an order for {} has an outcome that is not known yet", c.intent.symbol)),
        (c.reconciled.is_err(), Gate::Reconciled, text!("the account could not be reconciled: {}", c.reconciled.clone().err().unwrap_or_default())),
        (c.free_usd.is_err(), Gate::Reconciled, c.free_usd.clone().err().unwrap_or_default()),
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
    let market = c.prices.get(&i.symbol).copied().unwrap_or(i.reference_price);
    let gap = (market / i.reference_price - 1.0).abs();
    // Written so that a number that is none refuses.
    if !(gap <= l.price_gap) {
        return Some(text!(
            "{} stands at {market:.2}, {:.0} % from the {:.2} that was planned on; {:.0} % are allowed",
            i.symbol,
            100.0 * gap,
            i.reference_price,
            100.0 * l.price_gap
        ));
    }
    let notional = i.qty * i.reference_price.max(market);
    if notional > l.order_notional_usd {
        return Some(text!("${notional:.0} in one order, ${:.0} are allowed", l.order_notional_usd));
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
        Ok(Some(breach)) => Some(breach),
        Ok(None) => risk::beyond_margin(c.intent, c.lines, c.prices, *c.free_usd.as_ref().unwrap_or(&0.0)),
        Err(e) => Some(e.body().what.clone()),
    }
}

/// A refusal as the program's error.
pub fn error_of(refusal: &Refusal) -> Error {
    let code = if refusal.gate == Gate::KillSwitch { code::GATE_KILL_SWITCH } else { code::ORD_REFUSED };
    Error::new(code, refusal.why.clone())
}

#[cfg(test)]
#[path = "gates_tests.rs"]
mod tests;
