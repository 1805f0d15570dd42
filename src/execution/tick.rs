//! The smallest step between two prices at which a US stock may be quoted, by date.
//!
//! Sixteenths until 2001-04-09, when all listed stocks had gone over to cents; since 2006-01-31 Rule 612 of Regulation NMS: a cent
//! from a dollar upwards, a hundredth of a cent below. Stocks of the tick-size pilot had five cents from 2016-10-03 to 2018-09-28.
//! The amended rule gives half a cent to stocks that their listing exchange finds narrow; the SEC has put it off to the first business
//! day of November 2026, and which stocks they are no free source tells. A whole cent is a step of every later regime, so prices
//! of stocks that nobody has assigned are cents.

use crate::types::Side;
use data_layer::time::TradingDay;

/// What a listing exchange or a plan assigned to a stock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assigned {
    #[default]
    Nothing,
    /// The pilot's test groups.
    Pilot,
    /// A narrow stock under the amended Rule 612.
    HalfPenny,
}

/// First days as `(year, month, day)`.
const DECIMAL: (i16, i8, i8) = (2001, 4, 9);
const RULE_612: (i16, i8, i8) = (2006, 1, 31);
const PILOT: [(i16, i8, i8); 2] = [(2016, 10, 3), (2018, 9, 29)];
const HALF_PENNY: (i16, i8, i8) = (2026, 11, 2);

fn reached(day: TradingDay, (year, month, first): (i16, i8, i8)) -> bool {
    (day.year(), day.month()) > (year, month) || TradingDay::ymd(year, month, first).is_some_and(|from| from <= day)
}

/// The step at a price on a day, in dollars.
pub fn increment_usd(day: TradingDay, price: f64, assigned: Assigned) -> f64 {
    if !reached(day, DECIMAL) {
        return 0.0625;
    }
    if price < 1.0 && reached(day, RULE_612) {
        return 0.0001;
    }
    match assigned {
        Assigned::Pilot if reached(day, PILOT[0]) && !reached(day, PILOT[1]) => 0.05,
        Assigned::HalfPenny if reached(day, HALF_PENNY) => 0.005,
        _ => 0.01,
    }
}

/// A limit price on a step, never more aggressive than asked for: a purchase not dearer, a sale not cheaper.
pub fn on_step(side: Side, price: f64, day: TradingDay, assigned: Assigned) -> f64 {
    let step = increment_usd(day, price, assigned);
    let steps = price / step;
    // What is a step but for the last bits of a float is one.
    let nearest = steps.round();
    let whole = if (steps - nearest).abs() < 1e-6 {
        nearest
    } else if side == Side::Buy {
        steps.floor()
    } else {
        steps.ceil()
    };
    (whole * step * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(text: &str) -> TradingDay {
        text.parse().unwrap()
    }

    #[test]
    fn the_step_follows_the_rule_of_the_day() {
        let table = [
            ("2001-04-06", 30.0, Assigned::Nothing, 0.0625),
            ("2001-04-09", 30.0, Assigned::Nothing, 0.01),
            ("2006-01-30", 0.5, Assigned::Nothing, 0.01),
            ("2006-01-31", 0.5, Assigned::Nothing, 0.0001),
            ("2006-01-31", 1.0, Assigned::Nothing, 0.01),
            ("2016-09-30", 30.0, Assigned::Pilot, 0.01),
            ("2016-10-03", 30.0, Assigned::Pilot, 0.05),
            ("2018-09-28", 30.0, Assigned::Pilot, 0.05),
            ("2018-10-01", 30.0, Assigned::Pilot, 0.01),
            ("2026-10-30", 30.0, Assigned::HalfPenny, 0.01),
            ("2026-11-02", 30.0, Assigned::HalfPenny, 0.005),
            ("2026-11-02", 0.9, Assigned::HalfPenny, 0.0001),
            ("2026-11-02", 30.0, Assigned::Nothing, 0.01),
        ];
        for (on, price, assigned, step) in table {
            assert_eq!(increment_usd(day(on), price, assigned), step, "{on} {price} {assigned:?}");
        }
    }

    #[test]
    fn a_limit_is_never_more_aggressive_than_asked_for_and_a_dollar_is_the_border() {
        let (on, free) = (day("2020-01-02"), Assigned::Nothing);
        for (price, buy, sell) in [(10.123, 10.12, 10.13), (10.12, 10.12, 10.12), (0.12345, 0.1234, 0.1235), (0.99995, 0.9999, 1.0), (1.0001, 1.0, 1.01)] {
            assert_eq!((on_step(Side::Buy, price, on, free), on_step(Side::Sell, price, on, free)), (buy, sell), "{price}");
        }
        assert_eq!(on_step(Side::Sell, 10.121, day("2026-11-03"), Assigned::HalfPenny), 10.125);
    }

    proptest! {
        #[test]
        fn a_price_on_a_step_stays_and_moves_by_less_than_one(price in 0.01_f64..5_000.0, buys in any::<bool>()) {
            let (on, side) = (day("2024-06-03"), if buys { Side::Buy } else { Side::Sell });
            let put = on_step(side, price, on, Assigned::Nothing);
            prop_assert_eq!(on_step(side, put, on, Assigned::Nothing), put);
            prop_assert!((put - price).abs() < increment_usd(on, price, Assigned::Nothing) + 1e-9);
            prop_assert!(side.sign() * (price - put) > -1e-6);
        }
    }
}
