//! Golden money cases and the two invariants of the ledger.

use super::*;
use proptest::prelude::*;

fn day(n: i32) -> TradingDay {
    TradingDay(17_000 + n)
}

fn fill(side: Side, qty: f64, price: f64, fee: f64) -> Event<&'static str> {
    Event::Fill { symbol: "ABC", side, qty, price, fee }
}

fn account(events: &[Event<&'static str>]) -> Account<&'static str> {
    let mut a = Account::opened(day(0), 10_000.0).unwrap();
    events.iter().for_each(|e| a.apply(day(1), e.clone()).unwrap());
    a
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-9 * want.abs().max(1.0), "{got} is not {want}");
}

#[test]
fn lesson_054_a_round_trip_in_money() {
    let a = account(&[fill(Side::Buy, 100.0, 20.0, 1.2), fill(Side::Sell, 100.0, 21.0, 1.3)]);
    near(a.cash(), 10_097.5);
    near(a.totals().realised, 100.0);
    near(a.totals().fees, 2.5);
    near(a.closed_trades()[0].pnl, 97.5);
    assert!(a.positions().is_empty());
}

#[test]
fn lesson_054_a_short_round_trip_in_money() {
    let a = account(&[fill(Side::Sell, 50.0, 40.0, 1.0), Event::Borrow { symbol: "ABC", amount: 0.5 }, fill(Side::Buy, 50.0, 44.0, 1.0)]);
    near(a.cash(), 10_000.0 - 200.0 - 2.5);
    near(a.totals().realised, -200.0);
    near(a.closed_trades()[0].pnl, -202.5);
}

#[test]
fn lesson_054_average_cost_and_a_partial_sale() {
    let mut a = account(&[fill(Side::Buy, 100.0, 10.0, 0.0), fill(Side::Buy, 300.0, 12.0, 0.0), fill(Side::Sell, 200.0, 13.0, 0.0)]);
    near(a.positions()["ABC"].average_price, 11.5);
    near(a.totals().realised, 300.0);
    a.mark(day(1), &"ABC", 11.0).unwrap();
    near(a.unrealised(), -100.0);
    near(a.equity(), 10_200.0);
    near(a.cash(), 8_000.0);
}

#[test]
fn lesson_054_a_flip_realises_the_closed_part_and_reopens_at_the_fill() {
    let mut a = account(&[fill(Side::Buy, 10.0, 100.0, 0.0), fill(Side::Sell, 25.0, 110.0, 5.0)]);
    near(a.totals().realised, 100.0);
    near(a.qty(&"ABC"), -15.0);
    near(a.positions()["ABC"].average_price, 110.0);
    near(a.positions()["ABC"].costs, 3.0);
    near(a.closed_trades()[0].pnl, 98.0);
    a.mark(day(1), &"ABC", 108.0).unwrap();
    near(a.equity(), 10_000.0 + 100.0 + 30.0 - 5.0);
}

#[test]
fn lesson_054_dividends_and_splits_in_money() {
    let mut a = account(&[fill(Side::Buy, 100.0, 20.0, 0.0), Event::Dividend { symbol: "ABC", per_share: 0.25 }, Event::Split { symbol: "ABC", ratio: 4.0 }]);
    near(a.cash(), 8_025.0);
    near(a.qty(&"ABC"), 400.0);
    near(a.positions()["ABC"].average_price, 5.0);
    near(a.equity(), 10_025.0);
    a.mark(day(1), &"ABC", 5.5).unwrap();
    near(a.equity(), 10_225.0);
    let short = account(&[fill(Side::Sell, 100.0, 20.0, 0.0), Event::Dividend { symbol: "ABC", per_share: 0.25 }]);
    near(short.cash(), 11_975.0);
}

#[test]
fn lesson_052_a_gain_is_counted_once() {
    let mut a = account(&[fill(Side::Buy, 100.0, 20.0, 0.0)]);
    a.mark(day(1), &"ABC", 23.0).unwrap();
    near(a.equity(), 10_300.0);
    near(a.cash(), 8_000.0);
    near(a.totals().realised + a.unrealised(), 300.0);
}

#[test]
fn lesson_058_two_calls_a_day_are_one_return_and_each_symbol_has_its_own_price() {
    let mut a = Account::opened(day(0), 1_000.0).unwrap();
    a.close_session(day(0));
    for (symbol, price) in [("A", 10.0), ("B", 50.0)] {
        a.apply(day(1), Event::Fill { symbol, side: Side::Buy, qty: 5.0, price, fee: 0.0 }).unwrap();
    }
    a.mark(day(1), &"A", 12.0).unwrap();
    a.mark(day(1), &"B", 49.0).unwrap();
    near(a.close_session(day(1)).equity, 1_005.0);
    near(a.close_session(day(1)).equity, 1_005.0);
    let returns = a.session_returns().unwrap();
    assert_eq!(returns.len(), 1);
    near(returns[0].1, 0.005);
}

#[test]
fn a_deposit_is_not_a_return() {
    let mut a: Account<&str> = Account::opened(day(0), 1_000.0).unwrap();
    a.close_session(day(0));
    a.apply(day(1), Event::Deposit { amount: 500.0 }).unwrap();
    a.close_session(day(1));
    near(a.session_returns().unwrap()[0].1, 0.0);
}

#[test]
fn impossible_numbers_are_refused_and_change_nothing() {
    let mut a = account(&[fill(Side::Buy, 1.0, 1.0, 0.0)]);
    let before = a.clone();
    for bad in
        [fill(Side::Buy, 0.0, 1.0, 0.0), fill(Side::Buy, 1.0, -1.0, 0.0), fill(Side::Buy, 1.0, 1.0, f64::NAN), Event::Split { symbol: "ABC", ratio: 0.0 }]
    {
        assert!(a.apply(day(1), bad).unwrap_err().is(code::ORD_REFUSED));
    }
    assert!(a.mark(day(1), &"ABC", f64::NAN).is_err());
    assert_eq!(a, before);
}

fn any_event() -> impl Strategy<Value = Event<usize>> {
    let fills = (0usize..3, any::<bool>(), 1u32..200, 1.0f64..300.0, 0.0f64..2.0).prop_map(|(symbol, buy, qty, price, fee)| Event::Fill {
        symbol,
        side: if buy { Side::Buy } else { Side::Sell },
        qty: f64::from(qty),
        price,
        fee,
    });
    prop_oneof![
        8 => fills,
        1 => (0usize..3, 0.0f64..2.0).prop_map(|(symbol, per_share)| Event::Dividend { symbol, per_share }),
        1 => (0usize..3, 0.0f64..2.0).prop_map(|(symbol, amount)| Event::Borrow { symbol, amount }),
        1 => (0usize..3, prop_oneof![Just(2.0), Just(0.1), Just(1.5)]).prop_map(|(symbol, ratio)| Event::Split { symbol, ratio }),
        1 => (-500.0f64..500.0).prop_map(|amount| Event::Deposit { amount }),
    ]
}

proptest! {
    /// I7: the change of equity is the sum of price gains, minus costs, plus income; and a replay of the log is the same.
    #[test]
    fn lesson_052_equity_is_explained_by_the_ledger(events in proptest::collection::vec((any_event(), 1.0f64..300.0), 1..60)) {
        let mut a = Account::opened(day(0), 50_000.0).unwrap();
        for (n, (event, mark)) in events.into_iter().enumerate() {
            let today = day(n as i32 + 1);
            a.apply(today, event).unwrap();
            let held: Vec<usize> = a.positions().keys().copied().collect();
            for symbol in held {
                a.mark(today, &symbol, mark * (symbol + 1) as f64).unwrap();
            }
            prop_assert!((a.equity() - a.explained_equity()).abs() <= 1e-9 * (1.0 + a.equity().abs() + a.totals().traded));
            let trades: f64 = a.trades().iter().map(|t| t.pnl).sum();
            let stray = a.totals().borrow + a.totals().fees + a.totals().dividends.abs();
            prop_assert!((trades - (a.equity() - a.totals().deposits)).abs() <= stray + 1e-6 * (1.0 + a.totals().traded));
        }
        let again = Account::replay(a.log()).unwrap();
        prop_assert_eq!(again.cash(), a.cash());
        prop_assert_eq!(again.positions(), a.positions());
        prop_assert_eq!(again.totals(), a.totals());
    }

    /// I8: buy and hold earns the total return, dividends and splits included; a round trip at one price costs its costs.
    #[test]
    fn lesson_052_buy_and_hold_is_the_total_return(p0 in 1.0f64..500.0, moves in proptest::collection::vec((0.8f64..1.25, 0.0f64..0.02, prop_oneof![8 => Just(1.0), 1 => Just(4.0), 1 => Just(0.5)]), 1..40)) {
        let mut a = Account::opened(day(0), p0 * 100.0).unwrap();
        a.apply(day(0), fill(Side::Buy, 100.0, p0, 0.0)).unwrap();
        let (mut price, mut shares, mut cash) = (p0, 100.0, 0.0);
        for (n, (step, yield_, ratio)) in moves.into_iter().enumerate() {
            let today = day(n as i32 + 1);
            a.apply(today, Event::Split { symbol: "ABC", ratio }).unwrap();
            (shares, price) = (shares * ratio, price / ratio);
            a.apply(today, Event::Dividend { symbol: "ABC", per_share: price * yield_ }).unwrap();
            cash += shares * price * yield_;
            price *= step;
            a.mark(today, &"ABC", price).unwrap();
        }
        let want = (shares * price + cash) / (p0 * 100.0);
        prop_assert!((a.equity() / (p0 * 100.0) - want).abs() <= 1e-9 * want);
    }

    #[test]
    fn lesson_052_a_round_trip_at_one_price_is_its_costs(qty in 1u32..10_000, price in 0.5f64..900.0, fee in 0.0f64..9.0, buy in any::<bool>()) {
        let (first, second) = if buy { (Side::Buy, Side::Sell) } else { (Side::Sell, Side::Buy) };
        let a = account(&[fill(first, f64::from(qty), price, fee), fill(second, f64::from(qty), price, fee)]);
        prop_assert!((a.equity() - 10_000.0 + 2.0 * fee).abs() <= 1e-9 * (1.0 + f64::from(qty) * price));
    }
}

#[test]
fn a_rename_keeps_shares_average_history_and_money() {
    let day = TradingDay(17_000);
    let buy = |symbol: &str, qty: f64, price: f64| Event::Fill { symbol: symbol.to_string(), side: Side::Buy, qty, price, fee: 1.0 };
    let rename = Event::Rename { symbol: "OLD".to_string(), to: "NEW".to_string() };
    let mut plain = Account::opened(day, 10_000.0).unwrap();
    plain.apply(day, buy("OLD", 10.0, 100.0)).unwrap();
    plain.mark(day, &"OLD".to_string(), 110.0).unwrap();
    let (before, position) = (plain.equity(), plain.positions()["OLD"].clone());
    plain.apply(day.plus_days(1), rename.clone()).unwrap();
    assert_eq!((plain.equity(), &plain.positions()["NEW"], plain.qty(&"OLD".to_string())), (before, &position, 0.0));
    plain.apply(day.plus_days(1), rename.clone()).unwrap();
    assert_eq!(plain.positions()["NEW"], position, "nothing is left to rename");
    // Bought under the new ticker before anybody said that they are the same.
    let mut both = Account::opened(day, 10_000.0).unwrap();
    both.apply(day, buy("OLD", 10.0, 100.0)).unwrap();
    both.apply(day, buy("NEW", 30.0, 120.0)).unwrap();
    let cash = both.cash();
    both.apply(day, rename).unwrap();
    let held = &both.positions()["NEW"];
    assert_eq!((held.qty, held.average_price, held.costs, both.cash()), (40.0, 115.0, 2.0, cash));
    assert!((both.equity() - both.explained_equity()).abs() < 1e-9);
    assert_eq!(Account::replay(both.log()).unwrap().positions(), both.positions());
}
