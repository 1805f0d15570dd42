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
            reconciled: Ok(()),
            tradable: Some(true),
            session_allows: true,
            price_age_s: Some(0.0),
            adv_shares: Some(1e6),
            lines: &self.lines,
            prices: &self.prices,
            equity: 100_000.0,
            free_usd: Ok(100_000.0),
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
    assert_eq!(w.gate(&buy, |c| c.reconciled = Err("the broker is silent".into())), Some(Gate::Reconciled));
    assert_eq!(w.gate(&buy, |c| c.price_age_s = Some(31.0)), Some(Gate::Tradable));
    assert_eq!(w.gate(&buy, |c| c.orders_today = 25), Some(Gate::RiskLimits));
    assert_eq!(w.gate(&buy, |c| c.free_usd = Err("the account could not be read".into())), Some(Gate::Reconciled));
    assert_eq!(w.gate(&buy, |c| c.free_usd = Ok(f64::NAN)), Some(Gate::RiskLimits));
}

#[test]
fn a_price_that_ran_away_from_the_plan_refuses_an_increase_and_counts_in_the_limits() {
    let (mut w, buy) = (world(), intent("MSFT", Side::Buy, 180.0));
    assert_eq!(w.gate(&buy, |_| {}), None, "$18,000 are 18 % of the equity");
    w.prices.insert("MSFT".into(), 115.0);
    assert_eq!(w.gate(&buy, |_| {}), Some(Gate::RiskLimits), "$20,700 are not");
    for gap in [121.0, 79.0, f64::NAN] {
        w.prices.insert("MSFT".into(), gap);
        assert_eq!(w.gate(&intent("MSFT", Side::Buy, 1.0), |_| {}), Some(Gate::FatFinger), "{gap}");
    }
    w.prices.insert("AAPL".into(), 10.0);
    assert_eq!(w.check(&intent("AAPL", Side::Sell, 10.0), |_| {}), Verdict::Send { reduce_only: true }, "an exit is never held back");
}

#[test]
fn an_increase_needs_as_much_buying_power_as_it_costs_and_a_reduction_none() {
    let (w, buy) = (world(), intent("MSFT", Side::Buy, 10.0));
    assert_eq!(w.gate(&buy, |c| c.free_usd = Ok(999.99)), Some(Gate::RiskLimits), "10 shares at $100");
    assert_eq!(w.gate(&buy, |c| c.free_usd = Ok(1_000.0)), None);
    assert_eq!(w.check(&intent("AAPL", Side::Sell, 10.0), |c| c.free_usd = Ok(0.0)), Verdict::Send { reduce_only: true });
    assert_eq!(w.check(&intent("AAPL", Side::Sell, 10.0), |c| c.free_usd = Err("down".into())), Verdict::Send { reduce_only: true });
    // Ten are held: selling 25 closes them and opens a short of fifteen, of which only what is larger than before has to be paid for.
    let turn = intent("AAPL", Side::Sell, 25.0);
    assert_eq!(w.gate(&turn, |c| c.free_usd = Ok(499.0)), Some(Gate::RiskLimits));
    assert_eq!(w.gate(&turn, |c| c.free_usd = Ok(500.0)), None);
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
        (c.quarantined, c.reconciled, c.price_age_s, c.adv_shares, c.orders_today) = (true, Err("down".into()), None, None, 99);
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
