//! Whether a blend of several models is worth having: only when it is better than its best member where neither has been.
//!
//! A blend that is merely no worse is not chosen: it costs a second model to keep and explains nothing.

use crate::backtest::metric::ic;
use crate::models::artifact;
use crate::models::registry::{ModelRow, Registry, Stage};
use crate::models::stacker::{Method, Scores, cross_blend};
use crate::pipelines::config::TrainingConfig;
use crate::pipelines::evaluate;
use crate::types::{Matrix, Panel};
use crate::validation::cpcv;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use data_layer::time::TradingDay;
use data_layer::words::joined;
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
    /// Sessions that a label spans, and those of the embargo: days this close to a group, before it and after it, teach its blend nothing.
    pub span: usize,
    pub embargo: usize,
}

/// The judgement of a blend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What was blended.
    pub members: Vec<String>,
    pub best_member: String,
    pub best_ic: f64,
    pub blend_ic: f64,
    /// Of the mean daily difference of rank ICs, blend minus best member.
    pub difference_t: Option<f64>,
    pub chosen: bool,
}

impl Judged {
    /// One line for a report.
    pub fn sentence(&self) -> String {
        let t = self.difference_t.map_or(term!("undefined").to_string(), |t| format!("{t:.1}"));
        let worth = if self.chosen { term!("worth having") } else { term!("not worth having") };
        text!(
            "a blend of {}: mean rank IC {:.4}, {} alone {:.4}, t of the difference {t}: {worth}",
            joined(&self.members, ", "),
            self.blend_ic,
            self.best_member,
            self.best_ic
        )
    }
}

/// What a linear blend of a model with the other trained models of its strategy and snapshot would be worth. `scores` are the model's own, out
/// of sample, on the grid of `panel`. Nothing where there is no other, or no rank correlation; another model that does not verify is left
/// out, which its own evaluation will say.
pub fn beside(root: &DataRoot, model: &ModelRow, config: &TrainingConfig, panel: &Panel, scores: &Matrix, labels: &Matrix) -> Result<Option<Judged>> {
    let (mut names, mut others) = (vec![model.version.clone()], Vec::new());
    for other in Registry::open(root)?.models(&model.strategy)? {
        let stands = matches!(other.stage, Stage::Challenger | Stage::Shadow | Stage::Champion);
        if !stands || other.version == model.version || other.data_snapshot != model.data_snapshot {
            continue;
        }
        let Ok(verified) = artifact::verify(root, &other) else { continue };
        others.push(evaluate::oof_scores(&verified, panel)?);
        names.push(other.version);
    }
    let scored = |d: &usize| (0..scores.rows()).any(|s| scores.at(s, *d).is_finite());
    let (Some(first), Some(last), false) = ((0..scores.cols()).find(scored), (0..scores.cols()).rfind(scored), others.is_empty()) else { return Ok(None) };
    let groups = cpcv::folds(last + 1 - first, config.cpcv.groups).into_iter().map(|g| g.start + first..g.end + first).collect();
    let (span, embargo) = (config.label.span(), config.cpcv.embargo_sessions);
    let scores = std::iter::once(scores).chain(&others).collect();
    let members = Members { names, scores, labels, days: &panel.days, groups, span, embargo };
    match judge(&members, &Method::Linear, config.model.seed) {
        Ok((judged, _)) => Ok(Some(judged)),
        Err(e) if e.is(code::ML_UNDEFINED) => Ok(None),
        Err(e) => Err(e),
    }
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
    Ok((Judged { members: m.names.clone(), best_member: m.names[best].clone(), best_ic, blend_ic, difference_t, chosen }, blend))
}

/// Blended scores, `symbols x days`.
fn blend(m: &Members<'_>, method: &Method, seed: u64) -> Result<Matrix> {
    let (symbols, days) = (m.labels.rows(), m.labels.cols());
    // Rows by day, then symbol, so that a date is a range of rows.
    let by_day = |x: &Matrix| (0..days).flat_map(|d| x.column(d)).collect::<Vec<f64>>();
    let raw: Vec<Vec<f64>> = m.scores.iter().map(|s| by_day(s)).collect();
    let labels = by_day(m.labels);
    let dates: Vec<Range<usize>> = (0..days).map(|d| d * symbols..(d + 1) * symbols).collect();
    let groups: Vec<Range<usize>> = m.groups.iter().map(|g| g.start * symbols..g.end * symbols).collect();
    let blended = cross_blend(&Scores::new(&m.names, &raw, &dates)?, &labels, &groups, (m.span + m.embargo) * symbols, method, seed)?;
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
        judge(&Members { names: vec!["a".into(), "b".into()], scores: vec![a, b], labels, days: &days, groups, span: 2, embargo: 1 }, method, 1).unwrap().0
    }

    #[test]
    fn labels_that_overlap_a_group_from_either_side_teach_its_blend_nothing() {
        let n = SYMBOLS * DAYS;
        let (a, b, y) = (matrix(noise(7, n)), matrix(noise(8, n)), noise(9, n));
        let days: Vec<TradingDay> = (0..DAYS).map(|d| TradingDay(17_000 + d as i32)).collect();
        let of = |y: &[f64]| {
            let (labels, groups) = (matrix(y.to_vec()), (0..6).map(|g| g * 40..(g + 1) * 40).collect());
            let members = Members { names: vec!["a".into(), "b".into()], scores: vec![&a, &b], labels: &labels, days: &days, groups, span: 6, embargo: 0 };
            blend(&members, &Method::Linear, 1).unwrap()
        };
        // The group of days 80 to 119: its neighbours' labels of the six days on either side are turned round.
        let group = |m: &Matrix| (80..120).flat_map(|d| m.column(d)).map(f64::to_bits).collect::<Vec<_>>();
        let turned = |days: std::ops::Range<usize>| -> Vec<f64> { (0..n).map(|i| if days.contains(&(i % DAYS)) { -50.0 * y[i] } else { y[i] }).collect() };
        let usual = group(&of(&y));
        assert_eq!(group(&of(&turned(74..80))), usual, "before");
        assert_eq!(group(&of(&turned(120..126))), usual, "after");
        assert_ne!(group(&of(&turned(126..132))), usual, "beyond");
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
