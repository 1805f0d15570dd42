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
        Some(day) => Err(Error::new(code::CFG_VALUE, text!("a training row of {day} lies after the training day {asof}"))),
        None => Ok(time_decay(days, asof, half_life_months)),
    }
}

/// Average uniqueness of labels (Lopez de Prado, Advances in Financial Machine Learning, ch. 4): a label shares each session
/// that it earns over with the other labels of its name that earn there too, and weighs the mean of its shares.
/// `ends[symbol][day]` as in [`super::horizon::Labels`]; a label of `day` earns from the session after its entry on.
/// 0 where there is no label.
pub fn uniqueness(ends: &[Vec<Option<usize>>], entry_lag: usize) -> Vec<Vec<f64>> {
    let one = |ends: &Vec<Option<usize>>| {
        let earns = |t: usize, end: usize| t + entry_lag + 1..(end + 1).max(t + entry_lag + 2);
        let mut crowd = vec![0_u32; ends.len() + entry_lag + 2];
        for (t, end) in ends.iter().enumerate().filter_map(|(t, e)| Some((t, (*e)?))) {
            earns(t, end).for_each(|d| crowd[d] += 1);
        }
        let share = |t: usize, end: usize| earns(t, end).map(|d| 1.0 / f64::from(crowd[d])).sum::<f64>() / earns(t, end).len() as f64;
        ends.iter().enumerate().map(|(t, e)| e.map_or(0.0, |end| share(t, end))).collect()
    };
    ends.iter().map(one).collect()
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
    fn labels_that_overlap_share_their_sessions_and_one_alone_counts_whole() {
        // Horizon 2, entry a session later: day 0 earns on sessions 2 and 3, day 1 on 3 and 4, day 5 on 7 and 8.
        let ends = vec![vec![Some(3), Some(4), None, None, None, Some(8), None, None, None]];
        let u = uniqueness(&ends, 1).remove(0);
        assert_eq!((u[0], u[1], u[2], u[5]), (0.75, 0.75, 0.0, 1.0));
        // One label a day at a horizon of five: every one in the middle shares each of its sessions with four others.
        let daily = vec![(0..40).map(|t| Some(t + 6)).filter(|e| e.is_some_and(|e| e < 40)).chain(std::iter::repeat_n(None, 6)).collect::<Vec<_>>()];
        let u = uniqueness(&daily, 1).remove(0);
        assert!((u[20] - 0.2).abs() < 1e-12 && u[0] > 0.4);
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
