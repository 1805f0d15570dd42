//! Sample weights that forget: half as much for every half-life between a row's day and the training day.

use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;

/// Mean length of a month in calendar days.
const DAYS_PER_MONTH: f64 = 365.25 / 12.0;

/// `0.5 ^ (age in calendar days / half-life)`: 1 on the training day itself, not normalised. A day after `asof` weighs 0,
/// since nothing of it was known; [`time_decay_checked`] refuses it instead.
pub fn time_decay(days: &[TradingDay], asof: TradingDay, half_life_months: f64) -> Vec<f64> {
    days.iter().map(|day| if *day > asof { 0.0 } else { 0.5_f64.powf(f64::from(asof.0 - day.0) / (half_life_months * DAYS_PER_MONTH)) }).collect()
}

/// [`time_decay`], refusing a half-life that is not positive and any day after `asof`.
pub fn time_decay_checked(days: &[TradingDay], asof: TradingDay, half_life_months: f64) -> Result<Vec<f64>> {
    if !(half_life_months > 0.0 && half_life_months.is_finite()) {
        return Err(Error::new(code::CFG_VALUE, "the half-life of sample weights must be a positive number of months").found(half_life_months.to_string()));
    }
    match days.iter().find(|day| **day > asof) {
        Some(day) => Err(Error::new(code::CFG_VALUE, format!("a training row of {day} lies after the training day {asof}"))),
        None => Ok(time_decay(days, asof, half_life_months)),
    }
}

/// Kish's effective number of rows, `(sum w)^2 / sum w^2`. Undefined without weight.
pub fn effective_n(weights: &[f64]) -> Result<f64> {
    let (sum, squares) = weights.iter().fold((0.0, 0.0), |(a, b), w| (a + w, b + w * w));
    crate::types::defined(sum * sum / squares, "the effective number of rows", "the weights add up to nothing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::fixture::{golden, near, numbers};

    #[test]
    fn golden_half_life_of_18_months() {
        let g = golden(include_str!("../../tests/golden/time_decay_weights/half_life_18m.json"));
        let asof: TradingDay = g["inputs"]["asof"].as_str().unwrap().parse().unwrap();
        let days: Vec<TradingDay> = g["inputs"]["dates"].as_array().unwrap().iter().map(|d| d.as_str().unwrap().parse().unwrap()).collect();
        let months = g["inputs"]["half_life_months"].as_f64().unwrap();
        let got = time_decay_checked(&days, asof, months).unwrap();
        let ages: Vec<f64> = days.iter().map(|d| f64::from(asof.0 - d.0)).collect();
        assert_eq!(ages, numbers(&g["expected"]["age_days"]));
        assert_eq!(months * DAYS_PER_MONTH, g["expected"]["half_life_days"].as_f64().unwrap());
        for (a, b) in got.iter().zip(numbers(&g["expected"]["weights"])) {
            assert!(near(*a, b, 1e-13, 1e-12), "{a} is not {b}");
        }
        assert!(near(effective_n(&got).unwrap(), g["expected"]["effective_n_kish"].as_f64().unwrap(), 1e-13, 1e-12));
    }

    #[test]
    fn a_row_of_the_future_is_refused() {
        let (today, tomorrow) = (TradingDay(100), TradingDay(101));
        assert!(time_decay_checked(&[tomorrow], today, 18.0).unwrap_err().is(code::CFG_VALUE));
        assert!(time_decay_checked(&[today], today, 0.0).unwrap_err().is(code::CFG_VALUE));
        assert_eq!(time_decay(&[tomorrow, today], today, 18.0), [0.0, 1.0]);
        assert!(effective_n(&[]).unwrap_err().is(code::ML_UNDEFINED));
    }
}
