//! Whether a blend of several models is worth having: only when it is better than its best member where neither has been.
//!
//! A blend that is merely no worse is not chosen: it costs a second model to keep and explains nothing.

use crate::backtest::metric::ic;
use crate::models::stacker::{Method, Scores, cross_blend};
use crate::types::Matrix;
use data_layer::error::{Error, Result, code};
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One-sided bar for the t of the daily difference to the best member, 5 % by chance.
pub const BETTER_T: f64 = 1.645;

/// Out-of-sample scores of several models over one panel.
pub struct Members<'a> {
    pub names: Vec<String>,
    /// `symbols x days` each.
    pub scores: Vec<&'a Matrix>,
    pub labels: &'a Matrix,
    pub days: &'a [TradingDay],
    /// Groups of days; the blend of one is learnt on the others.
    pub groups: Vec<Range<usize>>,
    /// Sessions that a label spans: days this close to a group's edge are not learnt from by its neighbour.
    pub span: usize,
}

/// The judgement of a blend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub best_member: String,
    pub best_ic: f64,
    pub blend_ic: f64,
    /// Of the mean daily difference of rank ICs, blend minus best member.
    pub difference_t: Option<f64>,
    pub chosen: bool,
}

/// Blend out of sample and compare with the best member on the same days. Undefined when no member has a rank correlation.
pub fn judge(m: &Members<'_>, method: &Method, seed: u64) -> Result<(Judged, Matrix)> {
    let blend = blend(m, method, seed)?;
    let on_blended = |x: &Matrix| {
        let mut out = x.clone();
        out.values_mut().iter_mut().zip(blend.values()).for_each(|(v, b)| *v = if b.is_finite() { *v } else { f64::NAN });
        ic::per_date(&out, m.labels)
    };
    let daily = ic::per_date(&blend, m.labels)?;
    let members: Vec<Vec<Option<f64>>> = m.scores.iter().map(|s| on_blended(s)).collect::<Result<_>>()?;
    let mean = |d: &[Option<f64>]| {
        let known: Vec<f64> = d.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let best = members.iter().enumerate().filter_map(|(i, d)| Some((i, mean(d)?))).reduce(|a, b| if b.1 > a.1 { b } else { a });
    let (Some((best, best_ic)), Some(blend_ic)) = (best, mean(&daily)) else {
        return Err(Error::new(code::ML_UNDEFINED, "the blend cannot be judged").cause("no date has a rank correlation of every model"));
    };
    let difference: Vec<f64> = daily.iter().zip(&members[best]).filter_map(|(a, b)| Some((*a)? - (*b)?)).collect();
    let difference_t = match ic::newey_west_t(&difference, m.span) {
        Ok(t) => Some(t),
        Err(e) if e.is(code::ML_UNDEFINED) => None,
        Err(e) => return Err(e),
    };
    let chosen = blend_ic > best_ic && difference_t.is_some_and(|t| t > BETTER_T);
    Ok((Judged { best_member: m.names[best].clone(), best_ic, blend_ic, difference_t, chosen }, blend))
}

/// Blended scores, `symbols x days`.
fn blend(m: &Members<'_>, method: &Method, seed: u64) -> Result<Matrix> {
    let (symbols, days) = (m.labels.rows(), m.labels.cols());
    // Rows by day, then symbol, so that a date is a range of rows.
    let by_day = |x: &Matrix| (0..days).flat_map(|d| x.column(d)).collect::<Vec<f64>>();
    let raw: Vec<Vec<f64>> = m.scores.iter().map(|s| by_day(s)).collect();
    let mut labels = by_day(m.labels);
    // A label that reaches into the next group teaches nobody.
    for group in &m.groups {
        for d in group.end.saturating_sub(m.span).max(group.start)..group.end {
            labels[d * symbols..(d + 1) * symbols].fill(f64::NAN);
        }
    }
    let dates: Vec<Range<usize>> = (0..days).map(|d| d * symbols..(d + 1) * symbols).collect();
    let groups: Vec<Range<usize>> = m.groups.iter().map(|g| g.start * symbols..g.end * symbols).collect();
    let blended = cross_blend(&Scores::new(&m.names, &raw, &dates)?, &labels, &groups, method, seed)?;
    let mut out = Matrix::missing(symbols, days);
    for d in 0..days {
        for s in 0..symbols {
            out.set(s, d, blended[d * symbols + s]);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::golden::noise;

    const SYMBOLS: usize = 25;
    const DAYS: usize = 240;

    fn matrix(data: Vec<f64>) -> Matrix {
        Matrix::from_vec(SYMBOLS, DAYS, data).unwrap()
    }

    fn judged(a: &Matrix, b: &Matrix, labels: &Matrix, method: &Method) -> Judged {
        let days: Vec<TradingDay> = (0..DAYS).map(|d| TradingDay(17_000 + d as i32)).collect();
        let groups = (0..6).map(|g| g * 40..(g + 1) * 40).collect();
        judge(&Members { names: vec!["a".into(), "b".into()], scores: vec![a, b], labels, days: &days, groups, span: 2 }, method, 1).unwrap().0
    }

    #[test]
    fn lesson_077_noise_is_never_blended_and_complements_are() {
        let n = SYMBOLS * DAYS;
        for seed in 0..10 {
            let (a, b, y) = (matrix(noise(seed, n)), matrix(noise(seed + 100, n)), matrix(noise(seed + 200, n)));
            let j = judged(&a, &b, &y, &Method::Linear);
            assert!(!j.chosen || j.blend_ic < 0.03, "{j:?}");
        }
        let (a, b, e) = (noise(1, n), noise(2, n), noise(3, n));
        let y = matrix((0..n).map(|i| a[i] + b[i] + 3.0 * e[i]).collect());
        for method in [Method::Linear, Method::Trees, Method::Manual { weights: vec![0.5, 0.5] }] {
            let j = judged(&matrix(a.clone()), &matrix(b.clone()), &y, &method);
            assert!(j.chosen && j.blend_ic > j.best_ic, "{method:?} {j:?}");
        }
    }

    #[test]
    fn lesson_077_a_good_model_is_not_diluted_with_a_useless_one() {
        let n = SYMBOLS * DAYS;
        let (a, e) = (noise(4, n), noise(5, n));
        let y = matrix((0..n).map(|i| a[i] + 2.0 * e[i]).collect());
        let j = judged(&matrix(a), &matrix(noise(6, n)), &y, &Method::Manual { weights: vec![0.5, 0.5] });
        assert!(!j.chosen && j.best_member == "a" && j.blend_ic < j.best_ic, "{j:?}");
    }
}
