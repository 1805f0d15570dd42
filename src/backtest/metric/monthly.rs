//! Compounded returns by calendar month and year.

use super::checked;
use data_layer::error::{Error, Result};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One row of the table.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct YearRow {
    pub year: i16,
    /// January first; null where the year has no session in the sample.
    pub months: [Option<f64>; 12],
    pub total: f64,
}

/// Years ascending.
pub fn table(days: &[TradingDay], returns: &[f64]) -> Result<Vec<YearRow>> {
    checked(returns, 1, "the monthly table")?;
    if days.len() != returns.len() {
        return Err(Error::bug(text!("{} days and {} returns", days.len(), returns.len())));
    }
    let mut years: BTreeMap<i16, ([Option<f64>; 12], f64)> = BTreeMap::new();
    for (day, r) in days.iter().zip(returns) {
        let row = years.entry(day.year()).or_insert(([None; 12], 1.0));
        let month = &mut row.0[usize::try_from(day.month() - 1).unwrap_or(0).min(11)];
        *month = Some((1.0 + month.unwrap_or(0.0)) * (1.0 + r) - 1.0);
        row.1 *= 1.0 + r;
    }
    Ok(years.into_iter().map(|(year, (months, total))| YearRow { year, months, total: total - 1.0 }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_compound_and_empty_months_are_null() {
        let days: Vec<TradingDay> = ["2017-01-30", "2017-01-31", "2017-03-01", "2018-01-02"].iter().map(|d| d.parse().unwrap()).collect();
        let t = table(&days, &[0.1, 0.1, -0.5, 0.02]).unwrap();
        assert!((t[0].months[0].unwrap() - 0.21).abs() < 1e-12 && t[0].months[1].is_none());
        assert!((t[0].total - (1.21 * 0.5 - 1.0)).abs() < 1e-12);
        assert_eq!(t[1].year, 2018);
    }
}
