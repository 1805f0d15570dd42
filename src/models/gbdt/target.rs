//! What a learner is asked about a cross-section: the return itself, its grade among the names of its day, or whether it was
//! above the day's median.

use crate::models::rank::ranks;
use data_layer::error::{Error, Result, code};

/// Objectives that a training configuration may name, as LightGBM calls them.
pub const OBJECTIVES: [&str; 3] = ["regression", "lambdarank", "binary"];

/// Grades of a ranking: 0 for the worst tenth of a day to 9 for the best. LightGBM's own gain of grade g, 2^g - 1, would look at
/// almost nothing but the best tenth; a book that is long the best and short the worst wants both ends, so gains are linear.
pub const GRADES: usize = 10;

/// The target of each row; 0 where `labels` holds none. `days` numbers the day of each row, ascending.
pub fn targets(objective: &str, labels: &[f64], days: &[u32]) -> Result<Vec<f32>> {
    if labels.len() != days.len() || days.windows(2).any(|w| w[0] > w[1]) {
        return Err(Error::bug("targets need one ascending day for each label"));
    }
    match objective {
        "regression" => Ok(labels.iter().map(|y| if y.is_finite() { *y as f32 } else { 0.0 }).collect()),
        "lambdarank" => Ok(by_day(labels, days, |share| ((share * GRADES as f64) as usize).min(GRADES - 1) as f32)),
        "binary" => Ok(by_day(labels, days, |share| f32::from(u8::from(share > 0.5)))),
        other => Err(Error::new(code::CFG_VALUE, "model.objective is unknown").found(other.to_string()).fix(OBJECTIVES.join(", "))),
    }
}

/// `value` of the share of a day's labels that lie below each label, ties and itself counted half.
fn by_day(labels: &[f64], days: &[u32], value: impl Fn(f64) -> f32) -> Vec<f32> {
    let mut out = vec![0.0; labels.len()];
    let mut from = 0;
    while from < days.len() {
        let to = from + days[from..].partition_point(|d| *d == days[from]);
        let known: Vec<usize> = (from..to).filter(|r| labels[*r].is_finite()).collect();
        let values: Vec<f64> = known.iter().map(|r| labels[*r]).collect();
        for (r, rank) in known.iter().zip(ranks(&values)) {
            out[*r] = value((rank - 0.5) / known.len() as f64);
        }
        from = to;
    }
    out
}

/// How many of `rows` (ascending) fall on each day, in order: LightGBM's query sizes.
pub(super) fn groups(rows: &[u32], days: &[u32]) -> Result<Vec<i32>> {
    let mut out: Vec<(u32, i32)> = Vec::new();
    for row in rows {
        let day = *days.get(*row as usize).ok_or_else(|| Error::bug("a ranking needs the day of every row"))?;
        match out.last_mut() {
            Some((last, n)) if *last == day => *n += 1,
            _ => out.push((day, 1)),
        }
    }
    Ok(out.into_iter().map(|g| g.1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_and_halves_are_of_a_day_and_a_missing_label_counts_for_nothing() {
        let labels: Vec<f64> = (0..20).map(f64::from).chain([5.0, f64::NAN, -1.0]).collect();
        let days: Vec<u32> = [0; 20].into_iter().chain([1; 3]).collect();
        let grades = targets("lambdarank", &labels, &days).unwrap();
        assert_eq!(&grades[..6], &[0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!((grades[19], &grades[20..]), (9.0, &[7.0, 0.0, 2.0][..]));
        let above = targets("binary", &labels, &days).unwrap();
        assert_eq!((above[9], above[10], above[20], above[22]), (0.0, 1.0, 1.0, 0.0));
        assert_eq!(targets("binary", &[2.0, 2.0], &[0, 0]).unwrap(), [0.0, 0.0], "ties are above nothing");
        assert_eq!(targets("regression", &[f64::NAN, 0.5], &[0, 0]).unwrap(), [0.0, 0.5]);
        assert!(targets("tweedie", &[], &[]).unwrap_err().is(code::CFG_VALUE));
        assert_eq!(groups(&[0, 2, 20, 22], &days).unwrap(), [2, 2]);
        assert!(groups(&[99], &days).is_err());
    }
}
